//! chappe as a channel. It uses the public API only, with default attributes where the shape fits them.

use crate::channel::{Channel, Shape, Taken, Transport, Wait};
use crate::measure::Result;
use chappe::{CAPACITY_DEFAULT, MESSAGE_SIZE_DEFAULT, Queue, QueueOptions, RecvError};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A queue by name; whoever attaches opens it.
pub struct Ours {
    options: QueueOptions,
    name: String,
    maker: u32,
}

/// An open queue.
pub struct OurEnd {
    pub queue: Queue,
    wait: Wait,
}

/// A name that no other measurement of this run uses.
pub fn fresh_name() -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    format!("/bench-{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed))
}

impl Transport for Ours {
    type End = OurEnd;

    fn create(shape: Shape<'_>) -> Result<Ours> {
        let mut options = Queue::options();
        options.dir(shape.dir);
        if shape.depth != CAPACITY_DEFAULT as usize {
            options.capacity(shape.depth.try_into()?);
        }
        if shape.size as u64 > MESSAGE_SIZE_DEFAULT {
            options.message_size(shape.size as u64);
        }
        let name = fresh_name();
        // The handle goes at once: the queue stays until it is unlinked, and every process opens its own.
        options.create_new(&name)?;
        Ok(Ours { options, name, maker: std::process::id() })
    }

    fn attach(&self, wait: Wait) -> Result<OurEnd> {
        Ok(OurEnd { queue: self.options.open(&self.name)?, wait })
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        if self.maker == std::process::id() {
            // Nobody is there to be told; the whole directory goes at the end anyway.
            let _ = self.options.unlink(&self.name);
        }
    }
}

impl Channel for OurEnd {
    #[inline]
    fn send(&self, message: &[u8], priority: u16) -> Result<()> {
        Ok(self.queue.send(message, priority)?)
    }

    #[inline]
    fn recv(&self, buffer: &mut [u8]) -> Result<Taken> {
        let received = match self.wait {
            Wait::Blocking => self.queue.recv_into(buffer)?,
            Wait::Polling => loop {
                match self.queue.try_recv_into(buffer) {
                    Err(RecvError::Empty) => spin_loop(),
                    other => break other?,
                }
            },
        };
        Ok(Taken { len: received.len, priority: received.priority })
    }
}
