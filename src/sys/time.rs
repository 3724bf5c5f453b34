//! Times as the kernel takes them.

use libc::{clockid_t, time_t, timespec};
use std::time::{Duration, SystemTime};

/// What a clock shows.
pub(crate) fn time(clock: clockid_t) -> Duration {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the timespec lives through the call.
    let result = unsafe { libc::clock_gettime(clock, &raw mut now) };
    debug_assert_eq!(result, 0, "both clocks are always there");
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A time that the type cannot express becomes the latest that it can.
pub(crate) fn to_timespec(time: Duration) -> timespec {
    timespec { tv_sec: time_t::try_from(time.as_secs()).unwrap_or(time_t::MAX), tv_nsec: time.subsec_nanos().into() }
}

/// A time of the wall clock. What is before the epoch is past, as the epoch is.
pub(crate) fn wall(time: SystemTime) -> timespec {
    to_timespec(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_too_far_away_become_the_latest() {
        let latest = to_timespec(Duration::MAX);
        assert_eq!((latest.tv_sec, latest.tv_nsec), (time_t::MAX, 999_999_999));
    }
}
