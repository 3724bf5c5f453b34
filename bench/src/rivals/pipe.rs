//! The kernel's pipe: bytes in order, no messages, no priorities. Messages here are all of one size, so that the reader
//! knows where each ends; up to 4096 bytes (PIPE_BUF) a message is written and read whole.

use crate::channel::{Channel, Shape, Taken, Transport, Wait};
use crate::measure::Result;
use rustix::fs::OFlags;
use rustix::io::{Errno, fcntl_dupfd_cloexec, read, write};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use std::hint::spin_loop;
use std::os::fd::OwnedFd;

/// The most that an unprivileged process may ask for by default (fs.pipe-max-size).
const ROOM_MAX: usize = 1 << 20;

pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    size: usize,
}

impl Transport for Pipe {
    type End = Pipe;

    fn create(shape: Shape<'_>) -> Result<Pipe> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        if shape.size > 4096 {
            // Large messages want a large pipe; for small ones the default of 64 KiB is plenty. Refused, it stays as it is.
            let _ = fcntl_setpipe_size(&writer, ROOM_MAX);
        }
        Ok(Pipe { reader, writer, size: shape.size })
    }

    fn attach(&self, wait: Wait) -> Result<Pipe> {
        if wait == Wait::Polling {
            // This is the mode of the reading end for all who share it; all readers of one measurement wait alike.
            rustix::fs::fcntl_setfl(&self.reader, OFlags::NONBLOCK)?;
        }
        let (reader, writer) = (fcntl_dupfd_cloexec(&self.reader, 0)?, fcntl_dupfd_cloexec(&self.writer, 0)?);
        Ok(Pipe { reader, writer, size: self.size })
    }
}

impl Channel for Pipe {
    #[inline]
    fn send(&self, message: &[u8], _priority: u16) -> Result<()> {
        let mut rest = message;
        while !rest.is_empty() {
            rest = &rest[write(&self.writer, rest)?..];
        }
        Ok(())
    }

    #[inline]
    fn recv(&self, buffer: &mut [u8]) -> Result<Taken> {
        let mut got = 0;
        while got < self.size {
            match read(&self.reader, &mut buffer[got..self.size]) {
                Ok(0) => return Err("the pipe ended".into()),
                Ok(bytes) => got += bytes,
                Err(Errno::AGAIN) => spin_loop(),
                Err(other) => return Err(other.into()),
            }
        }
        Ok(Taken { len: got, priority: 0 })
    }
}
