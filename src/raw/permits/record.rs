//! A record: one acquisition, from when it is begun to when it is given back, and its states.

use crate::raw::Shared;
use crate::raw::event::Event;
use crate::raw::word::Owner;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing.
    Free,
    /// Holds so many permits, or is about to: see [`Available::take`].
    Held(u64),
    /// Waits for so many permits.
    Waiting(u64),
    /// Waits for so many signals: never rejected.
    Wanting(u64),
    /// Waited for more permits than there are now.
    Rejected,
    /// Waits until no permit is held.
    Idling,
    /// No permit was held.
    Idle,
    /// Its waiter has given up; it is in its list until the lock holder takes it out. `pooled`: it goes back to all then.
    Gone { idler: bool, pooled: bool },
}

pub(super) const STATE_SHIFT: u32 = 60;
pub(super) const PERMITS_MASK: u64 = (1 << 56) - 1;

impl State {
    pub(super) const HELD: u64 = 1 << STATE_SHIFT;
    pub(super) const WAITING: u64 = 2 << STATE_SHIFT;
    pub(super) const WANTING: u64 = 3 << STATE_SHIFT;
    pub(super) const REJECTED: u64 = 4 << STATE_SHIFT;
    pub(super) const IDLING: u64 = 5 << STATE_SHIFT;
    pub(super) const IDLE: u64 = 6 << STATE_SHIFT;
    pub(super) const GONE: u64 = 7 << STATE_SHIFT;

    #[inline(always)]
    pub(crate) fn raw(self) -> u64 {
        match self {
            State::Free => 0,
            State::Held(permits) => State::HELD | permits,
            State::Waiting(permits) => State::WAITING | permits,
            State::Wanting(permits) => State::WANTING | permits,
            State::Rejected => State::REJECTED,
            State::Idling => State::IDLING,
            State::Idle => State::IDLE,
            State::Gone { idler, pooled } => State::GONE | u64::from(idler) << 1 | u64::from(pooled),
        }
    }

    /// The state in a word; one that makes no sense says nothing.
    pub(crate) fn from_raw(raw: u64) -> State {
        let permits = raw & PERMITS_MASK;
        match raw & !PERMITS_MASK {
            State::HELD => State::Held(permits),
            State::WAITING => State::Waiting(permits),
            State::WANTING => State::Wanting(permits),
            State::REJECTED => State::Rejected,
            State::IDLING => State::Idling,
            State::IDLE => State::Idle,
            State::GONE => State::Gone { idler: permits & 2 != 0, pooled: permits & 1 != 0 },
            _ => State::Free,
        }
    }
}

/// How many words a label takes.
pub(super) const LABEL_WORDS: usize = 8;
/// A label as it is stored: padded with zeros.
pub(crate) type Label = [u8; LABEL_WORDS * 8];

/// One acquisition, from when it is begun to when it is given back. Two cache lines: what changes, and what is for people.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Record {
    pub(super) state: AtomicU64,
    pub(super) owner: AtomicU32,
    pub event: Event,
    pub(super) ticket: AtomicU64,
    pub(super) since: AtomicU64,
    pub(super) next: AtomicU32,
    pub(super) previous: AtomicU32,
    /// Whether its waiter is woken by a ring, not by its event.
    pub(super) rung: AtomicU32,
    pub(super) spare: [AtomicU32; 5],
    pub(super) label: [AtomicU64; LABEL_WORDS],
}

// SAFETY: repr(C), atomics and structs of atomics only, no padding (asserted by the layout).
unsafe impl Shared for Record {}

impl Record {
    /// Partner: the exchange that granted, in [`Permits::settle`].
    #[inline(always)]
    pub(crate) fn state(&self) -> State {
        State::from_raw(self.state.load(Ordering::Acquire))
    }

    #[inline(always)]
    pub(super) fn is_free(&self) -> bool {
        self.state.load(Ordering::Acquire) == 0
    }

    /// E1, by its waiter, without the lock: it waits no longer. False if it has been served, or rejected, in the meantime.
    pub(crate) fn abandon(&self, pooled: bool) -> bool {
        let before = self.state();
        let idler = match before {
            State::Waiting(_) | State::Wanting(_) => false,
            State::Idling => true,
            _ => return false,
        };
        self.change(before, State::Gone { idler, pooled })
    }

    /// Partner: the waiter, which gives up by an exchange, too. SeqCst: the signal that follows looks at the event.
    pub(super) fn change(&self, from: State, to: State) -> bool {
        self.state.compare_exchange(from.raw(), to.raw(), Ordering::SeqCst, Ordering::Acquire).is_ok()
    }

    /// How many permits it holds.
    pub(super) fn held(&self) -> u64 {
        match self.state() {
            State::Held(permits) => permits,
            _ => 0,
        }
    }

    #[inline(always)]
    pub(super) fn set(&self, state: State) {
        self.state.store(state.raw(), Ordering::Release);
    }

    /// Who may use it.
    pub(crate) fn owner(&self) -> Option<Owner> {
        Owner::from_bits(self.owner.load(Ordering::Relaxed))
    }

    pub(crate) fn ticket(&self) -> u64 {
        self.ticket.load(Ordering::Relaxed)
    }

    pub(crate) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    pub(crate) fn rung(&self) -> bool {
        self.rung.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn set_label(&self, label: &Label) {
        for (word, bytes) in self.label.iter().zip(label.chunks_exact(8)) {
            word.store(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), Ordering::Relaxed);
        }
    }

    pub(crate) fn label(&self) -> Label {
        let mut label = [0; LABEL_WORDS * 8];
        let words = self.label.iter().map(|word| word.load(Ordering::Relaxed));
        label.chunks_mut(8).zip(words).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
        label
    }
}

/// What one waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Permits, to hold.
    Permit,
    /// Signals, to take for good.
    Signal,
    /// That no permit is held.
    Idle,
}
