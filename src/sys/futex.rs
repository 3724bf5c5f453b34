//! The futex: sleep while a 32-bit word has a value, wake those who sleep on it. Always the process-shared kind.
//!
//! Source: futex(2).

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slept {
    /// Woken, or the word had another value, or a signal came: look again.
    Awake,
    /// The time ran out.
    TimedOut,
    /// The kernel refused, with this error number: the word is not mapped any more, say.
    Refused(i32),
}

/// Sleeps while `*word == expected`, at most `timeout` (CLOCK_MONOTONIC).
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Duration) -> Slept {
    // Bounded sleeps only, so this never saturates in practice.
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    match futex::wait(word, Flags::empty(), expected, Some(&timeout)) {
        Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Slept::Awake,
        Err(Errno::TIMEDOUT) => Slept::TimedOut,
        Err(errno) => Slept::Refused(errno.raw_os_error()),
    }
}

/// Wakes at most `count` sleepers. Nobody there is no error, and nothing else can go wrong with a mapped word.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    let _ = futex::wake(word, Flags::empty(), count.min(i32::MAX as u32));
}
