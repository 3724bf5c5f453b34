//! The event: a word on which one side sleeps until the other has news. It moves no data and counts no sleepers.
//!
//! | W | who may be asleep | transitions |
//! |---|---|---|
//! | 0 | those that the last waker woke, or whose wake died with it (their sleep is bounded) | announce: W = 1 |
//! | 1 | anyone | signal: sequence + 1, W = 0, wake |
//!
//! A sleeper sets W *before* it looks for the last time, so a waker that published before it looked at W either sees W or
//! was seen. A woken sleeper does the same again, so it never leaves others behind a clear W. Nothing is lost when a sleeper
//! is killed: W then causes one wake in vain.
//!
//! A second flag, A, asks whoever has news to look after more than sleepers (see `docs/recovery.md`, the doorbell). It is set
//! before its setter looks, as W is.

use super::Shared;
use crate::sync::{AtomicU32, Ordering, fence, fence_after_rmw, futex};
use std::time::Duration;

/// "Someone may sleep here."
const W: u32 = 1;
/// "Whoever has news shall look after the doorbell and the registration."
const A: u32 = 2;
const FLAGS: u32 = W | A;
/// One step of the sequence.
const STEP: u32 = 4;

/// See the module.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Event(AtomicU32);

// SAFETY: one atomic integer.
unsafe impl Shared for Event {}

/// What the word was when a sleeper announced itself; the futex sleeps only while it still is.
#[derive(Clone, Copy)]
pub(crate) struct Announced(u32);

impl Event {
    /// Says that someone is about to sleep. What is looked at after this was either published before the next signal, or
    /// the signal will wake.
    pub(crate) fn announce(&self) -> Announced {
        // Partner: `signal`, which publishes, fences, and loads W.
        let before = self.0.fetch_or(W, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        Announced(before | W)
    }

    /// Sleeps until a signal after `announced`, at most `timeout`.
    pub(crate) fn sleep(&self, announced: Announced, timeout: Duration) -> futex::Slept {
        futex::wait(&self.0, announced.0, timeout)
    }

    /// As [`sleep`](Event::sleep), and no longer than each of the `watched` words has the value beside it.
    pub(crate) fn sleep_watching(
        &self,
        announced: Announced,
        watched: &[(&AtomicU32, u32)],
        timeout: Duration,
    ) -> futex::Slept {
        futex::wait_watching(&self.0, announced.0, watched, timeout)
    }

    /// As [`sleep`](Event::sleep), and no longer than until somebody dies who has bequeathed `will`.
    pub(crate) fn sleep_or_bequest(&self, announced: Announced, will: &AtomicU32, timeout: Duration) -> futex::Slept {
        futex::wait_or_bequest(&self.0, announced.0, will, timeout)
    }

    /// As [`sleep_or_bequest`](Event::sleep_or_bequest), and no longer than `interrupt` is 0 and no signal handler runs that was
    /// installed without SA_RESTART.
    pub(crate) fn sleep_interruptibly(
        &self,
        announced: Announced,
        will: &AtomicU32,
        interrupt: &AtomicU32,
        timeout: Duration,
    ) -> futex::Slept {
        futex::wait_interruptibly(&self.0, announced.0, will, interrupt, timeout)
    }

    /// Wakes up to `news` sleepers if there may be any. The caller has just published by an atomic read-modify-write. Returns
    /// whether it shall see to the doorbell and the registration.
    #[inline(always)]
    pub(crate) fn signal(&self, news: u32) -> bool {
        // Partners: `announce` and `draw_attention`. The publication is ordered before this load.
        fence_after_rmw();
        let word = self.0.load(Ordering::Relaxed);
        if word & FLAGS == 0 {
            return false;
        }
        if word & W != 0 {
            self.wake(news);
        }
        word & A != 0
    }

    /// Sets or clears A. What is looked at after it was set was either published before the next signal, or that signal
    /// says so.
    pub(crate) fn draw_attention(&self, yes: bool) {
        if yes {
            self.0.fetch_or(A, Ordering::SeqCst);
            fence(Ordering::SeqCst);
        } else {
            self.0.fetch_and(!A, Ordering::SeqCst);
        }
    }

    /// Whether A is set.
    #[inline(always)]
    pub(crate) fn has_attention(&self) -> bool {
        self.0.load(Ordering::Relaxed) & A != 0
    }

    /// Wakes all sleepers, whether W is set or not: a clear W means only that somebody was woken and has not looked yet.
    pub(crate) fn signal_all(&self) {
        let advance = |word: u32| Some(after(word));
        // The closure always gives a word, so this cannot fail. SeqCst: the news is published before.
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::Relaxed, advance);
        futex::wake(&self.0, u32::MAX);
    }

    #[cold]
    fn wake(&self, news: u32) {
        let advance = |word: u32| (word & W != 0).then(|| after(word));
        if self.0.fetch_update(Ordering::SeqCst, Ordering::Relaxed, advance).is_ok() {
            futex::wake(&self.0, news);
        }
    }
}

/// The word after a signal: the next sequence, W clear.
fn after(word: u32) -> u32 {
    (word & !FLAGS).wrapping_add(STEP) | (word & FLAGS & !W)
}
