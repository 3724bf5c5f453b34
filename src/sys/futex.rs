//! The futex: sleep while a 32-bit word has a value, wake those who sleep on it. Always the process-shared kind.
//!
//! Source: futex(2).

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slept {
    /// Woken, or the word had another value, or a signal came: look again.
    Awake,
    /// The time ran out.
    TimedOut,
    /// The kernel has told of a death: see [`bequest`](super::bequest).
    Bequeathed,
    /// A signal handler ran that was installed without SA_RESTART, or the word for interruptions was changed.
    Interrupted,
    /// The kernel refused, with this error number: the word is not mapped any more, say.
    Refused(i32),
}

/// Sleeps while `*word == expected`, at most `timeout` (CLOCK_MONOTONIC).
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Duration) -> Slept {
    match futex::wait(word, Flags::empty(), expected, Some(&timespec(timeout))) {
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
    let mut waits = vec![one_of_several(word, expected)];
    waits.extend(watched.iter().map(|(word, value)| one_of_several(word, *value)));
    match futex::waitv(&waits, futex::WaitvFlags::empty(), Some(&instant_after(timeout)), futex::ClockId::Monotonic) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Slept::Awake,
        Err(Errno::TIMEDOUT) => Slept::TimedOut,
        // The kernel cannot, or not now: then only the first word counts.
        Err(_) => wait(word, expected, timeout),
    }
}

/// As [`wait`], and also until somebody dies who has bequeathed `will`. On a kernel that cannot sleep on two words (before 5.16) only the
/// first counts.
pub(crate) fn wait_or_bequest(word: &AtomicU32, expected: u32, will: &AtomicU32, timeout: Duration) -> Slept {
    until_the_last(&[one_of_several(word, expected), as_it_is(will)], timeout)
        .unwrap_or_else(|| wait(word, expected, timeout))
}

/// As [`wait_or_bequest`], and also while `other` is 0.
pub(crate) fn wait_for_either_or_bequest(
    word: &AtomicU32,
    expected: u32,
    other: &AtomicU32,
    will: &AtomicU32,
    timeout: Duration,
) -> Slept {
    until_the_last(&[one_of_several(word, expected), one_of_several(other, 0), as_it_is(will)], timeout)
        .unwrap_or_else(|| wait(word, expected, timeout))
}

/// Sleeps on several, of which the last is a will: if more were woken the kernel tells of the last, and a death must not be missed.
/// `None` if the kernel cannot, or not now, or a filter that is older than the call forbids it.
fn until_the_last(waits: &[futex::Wait], timeout: Duration) -> Option<Slept> {
    match futex::waitv(waits, futex::WaitvFlags::empty(), Some(&instant_after(timeout)), futex::ClockId::Monotonic) {
        Ok(woken) if woken + 1 == waits.len() => Some(Slept::Bequeathed),
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Some(Slept::Awake),
        Err(Errno::TIMEDOUT) => Some(Slept::TimedOut),
        Err(_) => None,
    }
}

/// As [`wait_or_bequest`], and also while `interrupt` is 0 and no signal handler runs that was installed without SA_RESTART: the kernel
/// restarts this call after others, which it does with no other timed wait on a futex. On a kernel that does not have the call (before
/// 5.16) every handler interrupts, and `interrupt` is looked at only before the sleep.
pub(crate) fn wait_interruptibly(
    word: &AtomicU32,
    expected: u32,
    will: &AtomicU32,
    interrupt: &AtomicU32,
    timeout: Duration,
) -> Slept {
    // The last of those that were woken is told of: a death is not seen afterwards, the word for interruptions is.
    let waits = [one_of_several(word, expected), one_of_several(interrupt, 0), as_it_is(will)];
    let until = instant_after(timeout);
    match futex::waitv(&waits, futex::WaitvFlags::empty(), Some(&until), futex::ClockId::Monotonic) {
        Ok(1) | Err(Errno::INTR) => Slept::Interrupted,
        Ok(2) => Slept::Bequeathed,
        Ok(_) | Err(Errno::AGAIN) => Slept::Awake,
        Err(Errno::TIMEDOUT) => Slept::TimedOut,
        Err(_) => wait_or_any_handler(word, expected, timeout),
    }
}

#[cold]
fn wait_or_any_handler(word: &AtomicU32, expected: u32, timeout: Duration) -> Slept {
    match futex::wait(word, Flags::empty(), expected, Some(&timespec(timeout))) {
        Err(Errno::INTR) => Slept::Interrupted,
        Ok(()) | Err(Errno::AGAIN) => Slept::Awake,
        Err(Errno::TIMEDOUT) => Slept::TimedOut,
        Err(errno) => Slept::Refused(errno.raw_os_error()),
    }
}

fn one_of_several(word: &AtomicU32, value: u32) -> futex::Wait {
    let mut one = futex::Wait::new();
    one.val = value.into();
    one.uaddr = futex::WaitPtr::new(std::ptr::from_ref(word).cast_mut().cast());
    one.flags = futex::WaitFlags::SIZE_U32;
    one
}

/// A word that somebody may wake, whatever it says.
fn as_it_is(word: &AtomicU32) -> futex::Wait {
    one_of_several(word, word.load(Ordering::Relaxed))
}

/// So long from now, by the monotonic clock.
fn instant_after(timeout: Duration) -> Timespec {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    timespec(Duration::new(now.tv_sec as u64, now.tv_nsec as u32).saturating_add(timeout))
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) }
}

/// Wakes at most `count` sleepers. Nobody there is no error, and nothing else can go wrong with a mapped word.
pub(crate) fn wake(word: &AtomicU32, count: u32) {
    let _ = futex::wake(word, Flags::empty(), count.min(i32::MAX as u32));
}
