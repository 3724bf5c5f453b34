//! The doorbell of a queue in an epoll of its own.

use chappe::{Access, OpenError, Queue};
use rustix::event::{Timespec, epoll};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How often one who waits to be told looks whether the test is over, and at nothing else.
pub const GLANCE: Duration = Duration::from_millis(50);

/// An epoll of a doorbell, which somebody has to arm.
pub struct Bell {
    set: OwnedFd,
    _bell: OwnedFd,
}

impl Bell {
    pub fn new(queue: &Queue, access: Access, flags: epoll::EventFlags) -> Result<Bell, OpenError> {
        let bell = queue.doorbell(access)?;
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        epoll::add(&set, &bell, epoll::EventData::new_u64(1), flags).unwrap();
        Ok(Bell { set, _bell: bell })
    }

    /// Waits for an event, for a glance.
    pub fn rings(&self) -> bool {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(1);
        let glance = Timespec { tv_sec: 0, tv_nsec: GLANCE.as_nanos() as i64 };
        match epoll::wait(&self.set, rustix::buffer::spare_capacity(&mut events), Some(&glance)) {
            // It was stopped for a moment.
            Ok(_) | Err(rustix::io::Errno::INTR) => !events.is_empty(),
            Err(error) => panic!("epoll_wait: {error}"),
        }
    }
}
