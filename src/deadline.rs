//! How long a call may wait. The four forms of every verb (`try_x`, `x`, `x_timeout`, `x_deadline`) become one value here.
//!
//! Time is CLOCK_MONOTONIC, which is what `std::time::Instant` is on Linux; a jump of the wall clock changes nothing. Only the forms
//! that are POSIX's go by the wall clock: they sleep by the monotonic one too, for a bounded time, and look at the wall clock then.

use std::time::{Duration, Instant, SystemTime};

/// How long a call may wait for the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all: the `try_` forms.
    No,
    /// As [`No`](Wait::No), and for the lock only a few milliseconds: those who make others wait meanwhile.
    Briefly,
    /// Until this instant.
    Until(Instant),
    /// Until the wall clock shows this.
    UntilWall(SystemTime),
    /// As long as it takes.
    Forever,
}

impl Wait {
    /// A timeout counted from now. One that the clock cannot express means for ever.
    pub(crate) fn timeout(timeout: Duration) -> Wait {
        Instant::now().checked_add(timeout).map_or(Wait::Forever, Wait::Until)
    }

    /// The time left, no more than `bound`; `None` when it has run out.
    pub(crate) fn left(self, bound: Duration) -> Option<Duration> {
        match self {
            Wait::No | Wait::Briefly => None,
            Wait::Forever => Some(bound),
            Wait::Until(instant) => {
                let left = instant.saturating_duration_since(Instant::now());
                (!left.is_zero()).then_some(left.min(bound))
            }
            Wait::UntilWall(time) => {
                let left = time.duration_since(SystemTime::now()).unwrap_or_default();
                (!left.is_zero()).then_some(left.min(bound))
            }
        }
    }
}
