//! A consumer's hand: a receive buffer that outlives its process, because it is a file. Whatever `recv_into` has put there
//! can be looked at after a SIGKILL; so a message that was received but not yet written down is not missing from the
//! account. It is no part of how the library works.

use crate::exit::Failure;
use rustix::mm::{MapFlags, ProtFlags, mmap};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

/// The buffer of a living consumer. Mapped until the process ends.
pub struct Hand {
    bytes: &'static mut [u8],
}

fn path(dir: &Path, consumer: u32) -> PathBuf {
    dir.join(format!("hand.{consumer}"))
}

impl Hand {
    /// Makes the hand of this consumer.
    pub fn new(dir: &Path, consumer: u32, size: usize) -> Result<Hand, Failure> {
        let path = path(dir, consumer);
        let failed = |error: std::io::Error| Failure::system(format!("make {}", path.display()), &error);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
        file.set_len(size as u64).map_err(failed)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses a free place for a fresh mapping; nothing that exists is touched.
        let start = unsafe { mmap(std::ptr::null_mut(), size, protection, MapFlags::SHARED, &file, 0) };
        let start = start.map_err(|error| failed(error.into()))?;
        // SAFETY: `start` is page-aligned, valid for `size` bytes, which the file has, and never unmapped. The slice is the
        // only access to it: the file is new, in the demo's private directory, and others read it after our death only.
        let bytes = unsafe { std::slice::from_raw_parts_mut(start.cast(), size) };
        Ok(Hand { bytes })
    }

    /// The buffer.
    pub fn bytes(&mut self) -> &mut [u8] {
        self.bytes
    }
}

/// What the hand of a dead consumer holds; nothing if it died before it had one.
pub fn of_dead(dir: &Path, consumer: u32) -> Vec<u8> {
    std::fs::read(path(dir, consumer)).unwrap_or_default()
}
