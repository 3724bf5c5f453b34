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

/// As [`wait`], and also while each of the `watched` words, at most 127, has the value beside it. On a kernel that cannot (before 5.16) only the
/// first word counts.
pub(crate) fn wait_watching(
    word: &AtomicU32,
    expected: u32,
    watched: &[(&AtomicU32, u32)],
    timeout: Duration,
) -> Slept {
    if watched.is_empty() {
        return wait(word, expected, timeout);
    }
    let one = |word: &AtomicU32, value: u32| {
        let mut one = futex::Wait::new();
        one.val = value.into();
        one.uaddr = futex::WaitPtr::new(std::ptr::from_ref(word).cast_mut().cast());
        one.flags = futex::WaitFlags::SIZE_U32;
        one
    };
    let mut waits = vec![one(word, expected)];
    waits.extend(watched.iter().map(|(word, value)| one(word, *value)));
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let until = Duration::new(now.tv_sec as u64, now.tv_nsec as u32).saturating_add(timeout);
    let until = Timespec {
        tv_sec: i64::try_from(until.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(until.subsec_nanos()),
    };
    match futex::waitv(&waits, futex::WaitvFlags::empty(), Some(&until), futex::ClockId::Monotonic) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Slept::Awake,
        Err(Errno::TIMEDOUT) => Slept::TimedOut,
        // The kernel cannot, or not now: then only the first word counts.
        Err(_) => wait(word, expected, timeout),
    }
}

/// Wakes at most `count` sleepers. Nobody there is no error, and nothing else can go wrong with a mapped word.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    let _ = futex::wake(word, Flags::empty(), count.min(i32::MAX as u32));
}
