//! The lock: one word that names its holder. It excludes; it does not know who is alive, and it does not wait by itself
//! (that is composed in [`shm`](crate::shm), which can ask).
//!
//! | owner | sleepers bit | meaning | transitions |
//! |---|---|---|---|
//! | 0 | 0 | free | acquire |
//! | 0 | 1 | free; damage or a waker that died | acquire (keeps the bit) |
//! | me | 0 | held, nobody sleeps | release; a waiter sets the bit |
//! | me | 1 | held, someone may sleep | release and wake one |

use super::Shared;
use super::word::Owner;
use crate::sync::{AtomicU32, Ordering, fence_after_rmw, futex};
use std::time::Duration;

const SLEEPERS: u32 = 1 << 31;
const OWNER: u32 = (1 << 12) - 1;
const TAG_SHIFT: u32 = 12;
const TAG: u32 = (1 << 19) - 1;

/// How a participant signs the lock: its index, and the incarnation of its entry (the low 19 bits), so that one who comes after it
/// under the same index signs otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signature(u32);

impl Signature {
    pub(crate) fn new(owner: Owner, incarnation: u32) -> Signature {
        Signature(owner.bits() | (incarnation & TAG) << TAG_SHIFT)
    }
}

/// A holder, as it was seen.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub owner: Owner,
    word: u32,
}

impl Seen {
    /// Whether this incarnation has signed.
    pub(crate) fn is_of(self, incarnation: u32) -> bool {
        self.word >> TAG_SHIFT & TAG == incarnation & TAG
    }
}

/// See the module.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Lock(AtomicU32);

// SAFETY: one atomic integer.
unsafe impl Shared for Lock {}

impl Lock {
    /// Takes the lock if it is free and nobody sleeps on it.
    #[inline(always)]
    pub(crate) fn try_acquire(&self, me: Signature) -> bool {
        // Partner: the swap in `release`: what the last holder did is visible.
        self.0.compare_exchange(0, me.0, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// As [`try_acquire`](Lock::try_acquire), for one that has slept: others may sleep still, so the bit is set.
    pub(crate) fn try_acquire_contended(&self, me: Signature) -> bool {
        let seen = self.0.load(Ordering::Relaxed);
        let take = || self.0.compare_exchange(seen, me.0 | SLEEPERS, Ordering::Acquire, Ordering::Relaxed);
        seen & OWNER == 0 && take().is_ok()
    }

    /// Who holds it, as far as one can see.
    pub(crate) fn holder(&self) -> Option<Seen> {
        let word = self.0.load(Ordering::Acquire);
        Owner::from_bits(word & OWNER).map(|owner| Seen { owner, word })
    }

    /// Takes the lock from `dead`, of whom the caller has found out after it had seen it there that it is dead (or, where `dead` has
    /// one's own index, by having its byte). False if the lock is not as it was seen any more.
    pub(crate) fn steal(&self, dead: Seen, me: Signature) -> bool {
        self.replace(dead, me.0 | SLEEPERS)
    }

    fn replace(&self, seen: Seen, by: u32) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        // Partner: the dead holder's stores came before its death was seen; Acquire takes what earlier holders released.
        let take = || self.0.compare_exchange(word, by, Ordering::Acquire, Ordering::Relaxed);
        word & !SLEEPERS == seen.word & !SLEEPERS && take().is_ok()
    }

    /// Sleeps while `holder` has the lock, at most `timeout`.
    pub(crate) fn sleep(&self, holder: Owner, timeout: Duration) {
        let seen = self.0.load(Ordering::Relaxed);
        if seen & OWNER != holder.bits() {
            return;
        }
        let asleep = seen | SLEEPERS;
        if seen == asleep || self.0.compare_exchange(seen, asleep, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            futex::wait(&self.0, asleep, timeout);
        }
    }

    /// Gives the lock back and wakes one sleeper. A full barrier: what follows is not done before it.
    #[inline(always)]
    pub(crate) fn release(&self) {
        let before = self.0.swap(0, Ordering::SeqCst);
        fence_after_rmw();
        if before & SLEEPERS != 0 {
            futex::wake(&self.0, 1);
        }
    }
}
