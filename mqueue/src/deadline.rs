//! Absolute times of CLOCK_REALTIME, as `mq_timedsend` and `mq_timedreceive` take them.

use crate::errno::Errno;
use std::time::{Duration, SystemTime};

/// When to give up.
#[derive(Clone, Copy)]
pub struct Deadline(libc::timespec);

impl Deadline {
    /// Refuses what Linux refuses, and as early: before anything else is looked at.
    pub fn new(time: libc::timespec) -> Result<Deadline, Errno> {
        let valid = time.tv_sec >= 0 && (0..1_000_000_000).contains(&time.tv_nsec);
        if valid { Ok(Deadline(time)) } else { Err(libc::EINVAL) }
    }

    /// As the library takes it; `None` for a time that never comes.
    pub fn time(self) -> Option<SystemTime> {
        // Both parts are in range, by the check.
        let since = Duration::new(self.0.tv_sec.try_into().unwrap_or(0), self.0.tv_nsec.try_into().unwrap_or(0));
        SystemTime::UNIX_EPOCH.checked_add(since)
    }

    /// Whether the time has come.
    pub fn is_over(self) -> bool {
        self.time().is_some_and(|time| time <= SystemTime::now())
    }
}
