//! Absolute times of CLOCK_REALTIME, as `mq_timedsend` and `mq_timedreceive` take them.

use crate::errno::Errno;
use crate::sys;
use std::time::Duration;

/// The library waits by the monotonic clock. It is asked to wait this long at most, then the wall clock is looked at again: so
/// one that is set meanwhile is noticed.
const SLICE: Duration = Duration::from_millis(500);

/// When to give up.
#[derive(Clone, Copy)]
pub struct Deadline(libc::timespec);

impl Deadline {
    /// Refuses what Linux refuses, and as early: before anything else is looked at.
    pub fn new(time: libc::timespec) -> Result<Deadline, Errno> {
        let valid = time.tv_sec >= 0 && (0..1_000_000_000).contains(&time.tv_nsec);
        if valid { Ok(Deadline(time)) } else { Err(libc::EINVAL) }
    }

    /// For how long to wait before looking at the clock again; `None` when the time has come.
    pub fn slice(self) -> Option<Duration> {
        let now = sys::wall_clock();
        let left = since_epoch(self.0).checked_sub(since_epoch(now))?;
        (!left.is_zero()).then_some(left.min(SLICE))
    }
}

/// Both parts are in range: of a [`Deadline`] by its check, of the clock because the kernel says so (and before 1970 it is 1970).
fn since_epoch(time: libc::timespec) -> Duration {
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
