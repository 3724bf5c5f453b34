//! The count of free permits, in one word, and the two steps that need no lock: taking and giving back. It knows a record as where
//! a permit is written, and nothing of who waits.

use super::record::{Record, State};
use crate::raw::Shared;
use crate::sync::{AtomicU64, Ordering, fence};

/// The most permits that there can be, and that can be asked for.
pub(crate) const PERMITS_MAX: u64 = 1 << 48;

pub(super) const COUNT_BITS: u32 = 50;
pub(super) const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// What a count of 0 is written as, so that sums and differences never carry into the bits above.
pub(super) const BIAS: i64 = 1 << (COUNT_BITS - 1);
pub(super) const EPOCH_STEP: u64 = 1 << COUNT_BITS;
pub(super) const EPOCH_MASK: u64 = !COUNT_MASK & !SLOW & !FROZEN;
/// The fast path is closed: somebody waits, or the semaphore has ended.
pub(super) const SLOW: u64 = 1 << 62;
/// A recount is under way.
pub(super) const FROZEN: u64 = 1 << 63;

/// The word of free permits, as it was read: {frozen 1, slow 1, epoch 12, count 50}.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(super) u64);

impl Count {
    pub(super) fn new(free: i64) -> Count {
        Count((free.clamp(-BIAS, BIAS - 1) + BIAS) as u64)
    }

    /// How many permits are free; negative if more are held than there are.
    #[inline(always)]
    pub(crate) fn free(self) -> i64 {
        (self.0 & COUNT_MASK) as i64 - BIAS
    }

    /// Whether so many are free.
    #[inline(always)]
    pub(super) fn has(self, permits: u64) -> bool {
        permits <= PERMITS_MAX && self.0 & COUNT_MASK >= BIAS as u64 + permits
    }

    pub(super) fn frozen(self) -> bool {
        self.0 & FROZEN != 0
    }

    #[inline(always)]
    pub(super) fn slow(self) -> bool {
        self.0 & (SLOW | FROZEN) != 0
    }

    /// Whether both were read between the same two recounts.
    #[inline(always)]
    pub(super) fn same_epoch(self, other: Count) -> bool {
        (self.0 ^ other.0) & EPOCH_MASK == 0
    }

    #[inline(always)]
    pub(super) fn less(self, permits: u64) -> Count {
        Count(self.0.wrapping_sub(permits))
    }

    #[inline(always)]
    pub(super) fn more(self, permits: u64) -> Count {
        Count(self.0.wrapping_add(permits))
    }

    /// With another count, everything else as it is.
    pub(super) fn with(self, free: i64) -> Count {
        Count(self.0 & !COUNT_MASK | Count::new(free).0)
    }

    /// What a recount leaves: the next epoch, not frozen.
    pub(super) fn recounted(self, free: i64, slow: bool) -> Count {
        let epoch = (self.0 & EPOCH_MASK).wrapping_add(EPOCH_STEP) & EPOCH_MASK;
        Count(Count::new(free).0 | epoch | if slow { SLOW } else { 0 })
    }
}

/// How many permits are free: a cache.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Available(pub(super) AtomicU64);

// SAFETY: one atomic integer.
unsafe impl Shared for Available {}

impl Available {
    #[inline(always)]
    pub(crate) fn load(&self) -> Count {
        Count(self.0.load(Ordering::Relaxed))
    }

    /// Before a record is stored to: that store is not to be seen by a recount that this load has not seen the end of.
    #[inline(always)]
    pub(super) fn load_first(&self) -> Count {
        Count(self.0.load(Ordering::Acquire))
    }

    /// Partners: other exchanges of this word. Acquire: what those who released before did is visible; Release: what the caller
    /// did is, and what its record says is seen by whoever freezes the word later.
    #[inline(always)]
    pub(super) fn exchange(&self, from: Count, to: Count) -> Result<(), Count> {
        self.0.compare_exchange_weak(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed).map(drop).map_err(Count)
    }

    /// A1 to A3: takes permits without the lock, into a record that only the caller takes into and that is free. The record says
    /// *held* before the count is changed. So a recount that comes after the exchange counts it, and one that comes before makes
    /// the exchange fail, by the epoch: the count is never too high. It is too low if a recount counted a record whose exchange
    /// then failed, which [`Fast::Overtaken`] tells.
    #[inline(always)]
    pub(crate) fn take(&self, record: &Record, permits: u64, since: impl FnOnce() -> u64) -> Fast {
        let Some(first) = self.begin(record, permits) else { return Fast::Slow };
        let taken = self.finish(record, permits, first);
        if taken == Fast::Done {
            // For people only, and so not before the exchange, which would wait for it.
            record.since.store(since(), Ordering::Relaxed);
        }
        taken
    }

    /// A1: the count, if the permits can be had.
    #[inline(always)]
    pub(super) fn begin(&self, record: &Record, permits: u64) -> Option<Count> {
        if !record.is_free() {
            return None;
        }
        Some(self.load_first()).filter(|first| !first.slow() && first.has(permits))
    }

    /// A2, A3, A3'.
    #[inline(always)]
    pub(super) fn finish(&self, record: &Record, permits: u64, first: Count) -> Fast {
        // Ordered before the exchange by its Release half. Partner: F1.
        record.state.store(State::Held(permits).raw(), Ordering::Relaxed);
        let mut seen = first;
        while let Err(now) = self.exchange(seen, seen.less(permits)) {
            if now.slow() || !now.has(permits) || !now.same_epoch(first) {
                return self.withdraw(record, first);
            }
            seen = now;
        }
        Fast::Done
    }

    /// A2 failed: the record is free again. Has a recount seen it meanwhile?
    #[cold]
    pub(super) fn withdraw(&self, record: &Record, first: Count) -> Fast {
        record.set(State::Free);
        // Partner: F1. Either the recount that comes next sees the record free, or its flag, or its epoch, is seen here.
        fence(Ordering::SeqCst);
        let now = self.load();
        if now.frozen() || !now.same_epoch(first) { Fast::Overtaken } else { Fast::Slow }
    }

    /// B1 to B3: gives back without the lock. The record is free before the count is changed: a recount that comes after the
    /// exchange, or before it, counts it as given back, and one before makes the exchange fail. `Slow`: nothing was done.
    #[inline(always)]
    pub(crate) fn give(&self, record: &Record, permits: u64) -> Fast {
        let first = self.load_first();
        if first.slow() {
            return Fast::Slow;
        }
        // Ordered before the exchange by its Release half. Partner: F1.
        record.set(State::Free);
        let mut seen = first;
        while let Err(now) = self.exchange(seen, seen.more(permits)) {
            if now.slow() || !now.same_epoch(first) {
                // Whether the permits have been put back is known to nobody: they are counted anew.
                return Fast::Overtaken;
            }
            seen = now;
        }
        Fast::Done
    }

    /// Changes the count, whatever else happens to the word meanwhile.
    pub(super) fn update(&self, change: impl Fn(Count) -> Option<Count>) -> bool {
        self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |raw| change(Count(raw)).map(|count| count.0)).is_ok()
    }

    pub(super) fn add(&self, permits: i64) {
        self.update(|count| Some(count.with(count.free().saturating_add(permits))));
    }

    /// Closes the fast path.
    pub(crate) fn slow_down(&self) {
        self.0.fetch_or(SLOW, Ordering::SeqCst);
    }
}

/// What became of a step without the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fast {
    /// It is done.
    Done,
    /// It is not done, and must be with the lock.
    Slow,
    /// It was overtaken: the record is free, the count may be too low, and must be [counted anew](Permits::recount).
    Overtaken,
}
