//! The twins of the library's `src/sync.rs`, under the same names: every access to shared memory, every byte lock and every call
//! of the futex is a step, and time passes only when nobody can go on.

pub(crate) use crate::atomic::{AtomicU32, AtomicU64};
pub(crate) use crate::sys::keeper;
use crate::world;
pub(crate) use std::sync::atomic::Ordering;
use std::time::Instant;

/// A ring so small that its end is reached in every model.
pub(crate) const CELLS: usize = 2;
pub(crate) const WINDOW: u64 = 2;
pub(crate) const WINDOW_WIDE: u64 = 1;
/// As in the library: a queue's file is laid out by it.
pub(crate) const LEVELS: usize = 32768;
pub(crate) const SPINS: u32 = 1;
pub(crate) const AS_IN_A_FILE: bool = true;

/// All is sequentially consistent here: weaker orders are loom's.
pub(crate) fn fence(_: Ordering) {}

pub(crate) fn fence_after_rmw() {}

pub(crate) fn pause() {}

pub(crate) fn prefetch_write<T>(_: *const T) {}

pub(crate) fn now() -> Instant {
    world::now()
}

/// For people; the same in every run.
pub(crate) fn unix_nanos_coarse() -> u64 {
    1
}

/// Wills are not modelled: after a death a sleep has its bound, when nobody can go on.
pub(crate) struct Bequest<'a>(std::marker::PhantomData<&'a AtomicU32>);

impl Bequest<'_> {
    pub(crate) fn new(_: &AtomicU32) -> Bequest<'_> {
        Bequest(std::marker::PhantomData)
    }
}

/// Handles of one process stand for processes, which have a roster each, and no threads beside.
pub(crate) struct Roster;

pub(crate) fn roster() -> Roster {
    Roster
}

pub(crate) mod bytelock {
    //! The real byte locks; each call is a step.

    pub(crate) use crate::sys::bytelock::{release_all, release_for_process, share, take_for_process};
    use crate::{sys, world};
    use std::io;
    use std::os::fd::BorrowedFd;

    pub(crate) fn try_take(fd: BorrowedFd<'_>, index: u32) -> io::Result<bool> {
        match world::step_on_byte() {
            world::Step::Ghost => Ok(false),
            _ => sys::bytelock::try_take(fd, index).inspect(|taken| world::done_on_byte("try byte", index, *taken)),
        }
    }

    pub(crate) fn take(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
        sys::bytelock::take(fd, index)
    }

    pub(crate) fn release(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
        match world::step_on_byte() {
            world::Step::Ghost => Ok(()),
            _ => sys::bytelock::release(fd, index).inspect(|()| world::done_on_byte("release byte", index, true)),
        }
    }

    pub(crate) fn is_free(fd: BorrowedFd<'_>, index: u32) -> io::Result<bool> {
        match world::step_on_byte() {
            world::Step::Ghost => Ok(false),
            _ => sys::bytelock::is_free(fd, index).inspect(|free| world::done_on_byte("look at byte", index, *free)),
        }
    }
}

pub(crate) mod futex {
    //! A futex among the actors of a world; outside, the kernel's.

    use super::{AtomicU32, Ordering::SeqCst};
    pub(crate) use crate::sys::futex::Slept;
    use crate::{sys, world};
    use std::time::Duration;

    /// A sleep has no time-out but the one that the world decides on when nobody can go on.
    pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Duration) -> Slept {
        match world::step(std::ptr::from_ref(word).addr()) {
            world::Step::Ghost => Slept::Awake,
            world::Step::Shared(place) if world::is_explored() => {
                let now = word.load_unseen();
                world::done("wait", place, now.into(), None);
                if now == expected { world::sleep(place, timeout) } else { Slept::Awake }
            }
            _ => sys::futex::wait(word, expected, timeout),
        }
    }

    /// Keepers' marks are not modelled.
    pub(crate) fn wait_watching(
        word: &AtomicU32,
        expected: u32,
        _watched: &[(&AtomicU32, u32)],
        timeout: Duration,
    ) -> Slept {
        wait(word, expected, timeout)
    }

    pub(crate) fn wait_or_bequest(word: &AtomicU32, expected: u32, _: &AtomicU32, timeout: Duration) -> Slept {
        wait(word, expected, timeout)
    }

    pub(crate) fn wait_for_either_or_bequest(
        word: &AtomicU32,
        expected: u32,
        _: &AtomicU32,
        _: &AtomicU32,
        timeout: Duration,
    ) -> Slept {
        wait(word, expected, timeout)
    }

    /// Nor are interruptions.
    pub(crate) fn wait_interruptibly(
        word: &AtomicU32,
        expected: u32,
        _: &AtomicU32,
        _: &AtomicU32,
        timeout: Duration,
    ) -> Slept {
        wait(word, expected, timeout)
    }

    pub(crate) fn wake(word: &AtomicU32, count: u32) {
        match world::step(std::ptr::from_ref(word).addr()) {
            world::Step::Ghost => {}
            world::Step::Shared(place) if world::is_explored() => {
                world::done("wake", place, count.into(), None);
                world::wake(place, count);
            }
            _ => sys::futex::wake(word, count),
        }
    }

    impl AtomicU32 {
        fn load_unseen(&self) -> u32 {
            std::sync::atomic::AtomicU32::load(self, SeqCst)
        }
    }
}
