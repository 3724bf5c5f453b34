//! The clock, the same for all processes, and what reading it costs.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// How long one process waits for a step of another before it takes it for dead.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// CLOCK_MONOTONIC in nanoseconds: comparable between processes, which `Instant` is not once it is written down.
#[inline]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What one reading costs, in nanoseconds.
pub fn cost() -> f64 {
    const READINGS: u32 = 100_000;
    let start = now();
    for _ in 0..READINGS {
        std::hint::black_box(now());
    }
    (now() - start) as f64 / f64::from(READINGS)
}

/// Spins until the clock shows `instant`; returns at once if that is past.
#[inline]
pub fn spin_until(instant: u64) {
    while now() < instant {
        std::hint::spin_loop();
    }
}
