//! One who gives a victim that sleeps in a call what it waits for.

use super::step::{self, Child};
use super::{asleep, readable};
use chappe::{Queue, QueueOptions, QueueStat};
use std::io::{PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

pub struct Waker {
    child: Child,
    /// Tells it that there is nobody to wake any more.
    in_vain: (PipeReader, PipeWriter),
}

impl Waker {
    /// Starts one who does `act` as soon as `victim` sleeps and `waits` says that somebody does so on the queue.
    pub fn start(
        victim: u32,
        options: &QueueOptions,
        waits: fn(&QueueStat) -> bool,
        act: impl FnOnce(&Queue) -> bool,
    ) -> Waker {
        let in_vain = std::io::pipe().expect("a pipe");
        let child = Child::fork(|| {
            let queue = options.open("/q").expect("the waker opens");
            let blocked = || queue.stat().is_ok_and(|stat| waits(&stat));
            while !(asleep(victim) && blocked() && asleep(victim)) {
                if readable(in_vain.0.as_raw_fd(), Duration::ZERO) {
                    return false;
                }
                std::thread::sleep(Duration::from_micros(100));
            }
            act(&queue)
        });
        Waker { child, in_vain }
    }

    /// The victim is dead: waits for the end of the waker. Whether it has acted.
    pub fn end(mut self) -> Result<bool, String> {
        self.in_vain.1.write_all(b"x").map_err(|error| error.to_string())?;
        let pid = self.child.0.expect("just forked");
        let status = step::wait_bounded(pid).ok_or("the waker hangs")?;
        self.child.0 = None;
        if libc::WIFEXITED(status) { Ok(status == 0) } else { Err(format!("the waker ended with {status:#x}")) }
    }
}
