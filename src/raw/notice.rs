//! The notice: who is to be told of the next message in an empty queue, and who sent it. What each step leaves if the process dies
//! there is in `docs/recovery.md`; this file packs, checks and exchanges the words.
//!
//! | state | meaning | who leaves it |
//! |---|---|---|
//! | NONE | nobody is registered | lock holder: FULL or READY |
//! | FULL | registered; the queue has not been empty since | lock holder: READY, NONE |
//! | READY | registered; the next message that no waiting receiver will take is told of | lock holder: FIRED, NONE |
//! | FIRED | the registrant is being told; the place is free | the registrant: NONE. Lock holder: FULL, READY, NONE |

use super::Shared;
use super::word::Owner;
use crate::message::Sender;
use crate::sync::{AtomicU32, Ordering, futex};
use std::time::Duration;

const STATE: u32 = 3;
const NONE: u32 = 0;
const FULL: u32 = 1;
const READY: u32 = 2;
const FIRED: u32 = 3;
const OWNER_SHIFT: u32 = 2;
const OWNER: u32 = (1 << 12) - 1;
const SEQUENCE: u32 = 1 << 14;

/// A registration word, as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registration(u32);

impl Registration {
    /// Whether somebody waits to be told.
    pub(crate) fn is_pending(self) -> bool {
        matches!(self.0 & STATE, FULL | READY)
    }

    /// Whether its registrant is being told.
    pub(crate) fn is_fired(self) -> bool {
        self.0 & STATE == FIRED
    }

    /// Whose it is, unless it is nobody's.
    pub(crate) fn registrant(self) -> Option<Owner> {
        let index = (self.0 >> OWNER_SHIFT & OWNER).checked_sub(1)?;
        (self.0 & STATE != NONE && index <= Owner::INDEX_MAX).then(|| Owner::of_index(index))
    }

    /// Whether both are of one act of registering.
    pub(crate) fn same(self, other: Registration) -> bool {
        (self.0 ^ other.0) & !STATE == 0
    }

    fn in_state(self, state: u32) -> Registration {
        Registration(self.0 & !STATE | state)
    }
}

/// See the module.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Notice {
    word: AtomicU32,
    pid: AtomicU32,
    uid: AtomicU32,
}

// SAFETY: repr(C), atomics only, no padding.
unsafe impl Shared for Notice {}

impl Notice {
    pub(crate) fn load(&self) -> Registration {
        // Acquire, partner `fire`: who sees FIRED sees the sender's numbers.
        Registration(self.word.load(Ordering::Acquire))
    }

    /// Registers `owner`. The lock is held, and nobody is registered.
    pub(crate) fn register(&self, owner: Owner, empty: bool) -> Registration {
        let next = (self.word.load(Ordering::Relaxed) & !(SEQUENCE - 1)).wrapping_add(SEQUENCE);
        let state = if empty { READY } else { FULL };
        let word = next | (owner.index() + 1) << OWNER_SHIFT | state;
        self.word.store(word, Ordering::Release);
        Registration(word)
    }

    /// Whether somebody is registered, and the queue has not been empty since.
    #[inline(always)]
    pub(crate) fn awaits_emptiness(&self) -> bool {
        self.word.load(Ordering::Relaxed) & STATE == FULL
    }

    /// N1: the queue is empty. The lock is held.
    #[inline(always)]
    pub(crate) fn emptied(&self) {
        let word = Registration(self.word.load(Ordering::Relaxed));
        if word.0 & STATE == FULL {
            self.word.store(word.in_state(READY).0, Ordering::Relaxed);
        }
    }

    /// Whether the next message that no waiting receiver takes is to be told of. The lock is held.
    pub(crate) fn is_ready(&self) -> bool {
        self.word.load(Ordering::Relaxed) & STATE == READY
    }

    /// N2, N3: the registrant will be told. The lock is held.
    pub(crate) fn fire(&self, sender: Sender) -> Registration {
        self.pid.store(sender.pid, Ordering::Relaxed);
        self.uid.store(sender.uid, Ordering::Relaxed);
        let fired = Registration(self.word.load(Ordering::Relaxed)).in_state(FIRED);
        // Release, partner `load`.
        self.word.store(fired.0, Ordering::Release);
        fired
    }

    /// Who sent what `fired` tells of; nobody known if another was registered meanwhile.
    pub(crate) fn sender(&self, fired: Registration) -> Sender {
        let sender = Sender { pid: self.pid.load(Ordering::Acquire), uid: self.uid.load(Ordering::Acquire) };
        if self.load() == fired { sender } else { Sender::default() }
    }

    /// Takes a registration back. The lock is held.
    pub(crate) fn clear(&self) {
        let none = Registration(self.word.load(Ordering::Relaxed)).in_state(NONE);
        self.word.store(none.0, Ordering::Release);
    }

    /// The registrant has been told. Wakes whoever waits for that.
    pub(crate) fn acknowledge(&self, registration: Registration) {
        let (fired, none) = (registration.in_state(FIRED), registration.in_state(NONE));
        let _ = self.word.compare_exchange(fired.0, none.0, Ordering::AcqRel, Ordering::Relaxed);
        futex::wake(&self.word, u32::MAX);
    }

    /// Wakes the registrant.
    pub(crate) fn wake(&self) {
        futex::wake(&self.word, u32::MAX);
    }

    /// Sleeps while the registrant of `fired` has not been told, at most `timeout`; false when it has been, or the time is over.
    pub(crate) fn sleep_until_told(&self, fired: Registration, timeout: Duration) -> bool {
        self.load() == fired && matches!(futex::wait(&self.word, fired.0, timeout), futex::Slept::Awake)
    }

    /// Sleeps while the word is what was seen and `nudge` is 0, until somebody dies who has bequeathed `will`, at most `timeout`. Returns
    /// whether there was such a death.
    pub(crate) fn sleep(&self, seen: Registration, nudge: &AtomicU32, will: &AtomicU32, timeout: Duration) -> bool {
        let slept = futex::wait_for_either_or_bequest(&self.word, seen.0, nudge, will, timeout);
        slept == futex::Slept::Bequeathed
    }
}
