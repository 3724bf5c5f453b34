//! Permits: the count of free ones, a record for each holder and waiter, and the protocol between them. It does not know who is
//! alive, and it does not wait.
//!
//! The records are the truth; the count and the lists are caches. `docs/format.md` has the words and the table of states,
//! `docs/recovery.md` the steps: the names in comments are those of that page.

use super::event::Event;
use super::lock::Lock;
use super::word::Owner;
use super::{Corrupt, Shared, at, unlisted};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use std::mem::offset_of;

/// The most permits that there can be, and that can be asked for.
pub(crate) const PERMITS_MAX: u64 = 1 << 48;

const COUNT_BITS: u32 = 50;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// What a count of 0 is written as, so that sums and differences never carry into the bits above.
const BIAS: i64 = 1 << (COUNT_BITS - 1);
const EPOCH_STEP: u64 = 1 << COUNT_BITS;
const EPOCH_MASK: u64 = !COUNT_MASK & !SLOW & !FROZEN;
/// The fast path is closed: somebody waits, or the semaphore has ended.
const SLOW: u64 = 1 << 62;
/// A recount is under way.
const FROZEN: u64 = 1 << 63;

/// The word of free permits, as it was read: {frozen 1, slow 1, epoch 12, count 50}.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(u64);

impl Count {
    fn new(free: i64) -> Count {
        Count((free.clamp(-BIAS, BIAS - 1) + BIAS) as u64)
    }

    /// How many permits are free; negative if more are held than there are.
    #[inline(always)]
    pub(crate) fn free(self) -> i64 {
        (self.0 & COUNT_MASK) as i64 - BIAS
    }

    /// Whether so many are free.
    #[inline(always)]
    fn has(self, permits: u64) -> bool {
        permits <= PERMITS_MAX && self.0 & COUNT_MASK >= BIAS as u64 + permits
    }

    fn frozen(self) -> bool {
        self.0 & FROZEN != 0
    }

    #[inline(always)]
    fn slow(self) -> bool {
        self.0 & (SLOW | FROZEN) != 0
    }

    /// Whether both were read between the same two recounts.
    #[inline(always)]
    fn same_epoch(self, other: Count) -> bool {
        (self.0 ^ other.0) & EPOCH_MASK == 0
    }

    #[inline(always)]
    fn less(self, permits: u64) -> Count {
        Count(self.0.wrapping_sub(permits))
    }

    #[inline(always)]
    fn more(self, permits: u64) -> Count {
        Count(self.0.wrapping_add(permits))
    }

    /// With another count, everything else as it is.
    fn with(self, free: i64) -> Count {
        Count(self.0 & !COUNT_MASK | Count::new(free).0)
    }

    /// What a recount leaves: the next epoch, not frozen.
    fn recounted(self, free: i64, slow: bool) -> Count {
        let epoch = (self.0 & EPOCH_MASK).wrapping_add(EPOCH_STEP) & EPOCH_MASK;
        Count(Count::new(free).0 | epoch | if slow { SLOW } else { 0 })
    }
}

/// How many permits are free: a cache.
#[repr(C)]
pub(crate) struct Available(AtomicU64);

// SAFETY: one atomic integer.
unsafe impl Shared for Available {}

impl Available {
    #[cfg(test)]
    pub(crate) fn new() -> Available {
        Available(AtomicU64::new(0))
    }

    #[inline(always)]
    pub(crate) fn load(&self) -> Count {
        Count(self.0.load(Ordering::Relaxed))
    }

    /// Before a record is stored to: that store is not to be seen by a recount that this load has not seen the end of.
    #[inline(always)]
    fn load_first(&self) -> Count {
        Count(self.0.load(Ordering::Acquire))
    }

    /// Partners: other exchanges of this word. Acquire: what those who released before did is visible; Release: what the caller
    /// did is, and what its record says is seen by whoever freezes the word later.
    #[inline(always)]
    fn exchange(&self, from: Count, to: Count) -> Result<(), Count> {
        self.0.compare_exchange_weak(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed).map(drop).map_err(Count)
    }

    /// A1 to A3: takes permits without the lock, into a record that only the caller takes into and that is free. The record says
    /// *held* before the count is changed. So a recount that comes after the exchange counts it, and one that comes before makes
    /// the exchange fail, by the epoch: the count is never too high. It is too low if a recount counted a record whose exchange
    /// then failed, which [`Fast::Overtaken`] tells.
    #[inline(always)]
    pub(crate) fn take(&self, record: &Record, permits: u64, since: impl FnOnce() -> u64) -> Fast {
        if !record.is_free() {
            return Fast::Slow;
        }
        let first = self.load_first();
        if first.slow() || !first.has(permits) {
            return Fast::Slow;
        }
        // Ordered before the exchange by its Release half. Partner: F1.
        record.state.store(State::Held(permits).raw(), Ordering::Relaxed);
        let mut seen = first;
        while let Err(now) = self.exchange(seen, seen.less(permits)) {
            if now.slow() || !now.has(permits) || !now.same_epoch(first) {
                return self.withdraw(record, first);
            }
            seen = now;
        }
        // For people only, and so not before the exchange, which would wait for it.
        record.since.store(since(), Ordering::Relaxed);
        Fast::Done
    }

    /// A2 failed: the record is free again. Has a recount seen it meanwhile?
    #[cold]
    fn withdraw(&self, record: &Record, first: Count) -> Fast {
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
    fn update(&self, change: impl Fn(Count) -> Option<Count>) -> bool {
        self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |raw| change(Count(raw)).map(|count| count.0)).is_ok()
    }

    fn add(&self, permits: i64) {
        self.update(|count| Some(count.with(count.free().saturating_add(permits))));
    }

    /// Closes the fast path.
    pub(crate) fn slow_down(&self) {
        self.0.fetch_or(SLOW, Ordering::SeqCst);
    }
}

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

const STATE_SHIFT: u32 = 60;
const PERMITS_MASK: u64 = (1 << 56) - 1;

impl State {
    const HELD: u64 = 1 << STATE_SHIFT;
    const WAITING: u64 = 2 << STATE_SHIFT;
    const WANTING: u64 = 3 << STATE_SHIFT;
    const REJECTED: u64 = 4 << STATE_SHIFT;
    const IDLING: u64 = 5 << STATE_SHIFT;
    const IDLE: u64 = 6 << STATE_SHIFT;
    const GONE: u64 = 7 << STATE_SHIFT;

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
const LABEL_WORDS: usize = 8;
/// A label as it is stored: padded with zeros.
pub(crate) type Label = [u8; LABEL_WORDS * 8];

/// One acquisition, from when it is begun to when it is given back. Two cache lines: what changes, and what is for people.
#[repr(C)]
pub(crate) struct Record {
    state: AtomicU64,
    owner: AtomicU32,
    pub event: Event,
    ticket: AtomicU64,
    since: AtomicU64,
    next: AtomicU32,
    previous: AtomicU32,
    /// Whether its waiter is woken by a ring, not by its event.
    rung: AtomicU32,
    spare: [AtomicU32; 5],
    label: [AtomicU64; LABEL_WORDS],
}

// SAFETY: repr(C), atomics and structs of atomics only, no padding (asserted by the layout).
unsafe impl Shared for Record {}

impl Record {
    #[cfg(test)]
    pub(crate) fn new() -> Record {
        let (zero, none) = (|| AtomicU64::new(0), || AtomicU32::new(0));
        Record {
            state: zero(),
            owner: none(),
            event: Event::new(),
            ticket: zero(),
            since: zero(),
            next: none(),
            previous: none(),
            rung: none(),
            spare: std::array::from_fn(|_| none()),
            label: std::array::from_fn(|_| zero()),
        }
    }

    /// Partner: the exchange that granted, in [`Permits::settle`].
    #[inline(always)]
    pub(crate) fn state(&self) -> State {
        State::from_raw(self.state.load(Ordering::Acquire))
    }

    #[inline(always)]
    fn is_free(&self) -> bool {
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
    fn change(&self, from: State, to: State) -> bool {
        self.state.compare_exchange(from.raw(), to.raw(), Ordering::SeqCst, Ordering::Acquire).is_ok()
    }

    /// How many permits it holds.
    fn held(&self) -> u64 {
        match self.state() {
            State::Held(permits) => permits,
            _ => 0,
        }
    }

    #[inline(always)]
    fn set(&self, state: State) {
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

/// What only the lock holder changes.
#[repr(C)]
pub(crate) struct Desk {
    pub lock: Lock,
    /// How many records wait: the list from `first`.
    pub waiting: AtomicU32,
    /// How many permits there are.
    pub permits: AtomicU64,
    next_ticket: AtomicU64,
    first: AtomicU32,
    last: AtomicU32,
    /// Records that nobody owns.
    free: AtomicU32,
    /// Records that wait until no permit is held.
    idlers: AtomicU32,
    spare: [AtomicU32; 6],
}

// SAFETY: repr(C), atomics and structs of atomics only, no padding (asserted by the layout).
unsafe impl Shared for Desk {}

impl Desk {
    #[cfg(test)]
    pub(crate) fn new() -> Desk {
        let (zero, none) = (|| AtomicU64::new(0), || AtomicU32::new(0));
        Desk {
            lock: Lock::new(),
            waiting: none(),
            permits: zero(),
            next_ticket: zero(),
            first: none(),
            last: none(),
            free: none(),
            idlers: none(),
            spare: std::array::from_fn(|_| none()),
        }
    }
}

const _: () = {
    assert!(offset_of!(Record, owner) == 8 && offset_of!(Record, event) == 12 && offset_of!(Record, ticket) == 16);
    assert!(offset_of!(Record, since) == 24 && offset_of!(Record, next) == 32 && offset_of!(Record, rung) == 40);
    assert!(offset_of!(Record, label) == 64 && size_of::<Record>() == 128);
    assert!(offset_of!(Desk, waiting) == 4 && offset_of!(Desk, permits) == 8 && offset_of!(Desk, next_ticket) == 16);
    assert!(offset_of!(Desk, first) == 24 && offset_of!(Desk, idlers) == 36 && size_of::<Desk>() == 64);
};

/// Counters, for people.
#[repr(C)]
pub(crate) struct Totals {
    pub blocked: AtomicU64,
    pub recovered: AtomicU64,
    pub recovered_permits: AtomicU64,
}

// SAFETY: repr(C), atomics only, no padding.
unsafe impl Shared for Totals {}

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

/// See the module. Methods that say so need the lock.
#[derive(Clone, Copy)]
pub(crate) struct Permits<'a> {
    pub desk: &'a Desk,
    pub available: &'a Available,
    pub records: &'a [Record],
    pub fresh: &'a AtomicU32,
    pub life: &'a AtomicU32,
}

impl<'a> Permits<'a> {
    /// Whether so many permits could be taken now without the lock. A hint.
    #[inline(always)]
    pub(crate) fn promising(&self, permits: u64) -> bool {
        let count = self.available.load();
        !count.slow() && count.has(permits)
    }

    /// Whether the fast path is closed. A hint.
    pub(crate) fn queued(&self) -> bool {
        self.available.load().slow()
    }

    /// The record with this number.
    #[inline(always)]
    pub(crate) fn record(&self, number: u32) -> Result<&'a Record, Corrupt> {
        at(self.records, number)
    }

    /// The records that are reserved.
    pub(crate) fn used(&self) -> &'a [Record] {
        let fresh = self.fresh.load(Ordering::Acquire) as usize;
        &self.records[..fresh.min(self.records.len())]
    }

    /// The records that are reserved, with their numbers.
    pub(crate) fn numbered(&self) -> impl DoubleEndedIterator<Item = (u32, &'a Record)> {
        let used = self.used();
        (0..used.len() as u32).zip(used)
    }

    /// Under the lock: gives a record of its own to `owner`; `None` if there is none and more must be [added](Permits::add_fresh).
    pub(crate) fn claim(&self, owner: Owner, label: &Label) -> Result<Option<u32>, Corrupt> {
        let Some(number) = unlisted(self.desk.free.load(Ordering::Relaxed)) else { return Ok(None) };
        let record = self.record(number)?;
        self.desk.free.store(record.next.load(Ordering::Relaxed), Ordering::Relaxed);
        record.set_label(label);
        record.rung.store(0, Ordering::Relaxed);
        record.owner.store(owner.bits(), Ordering::Release);
        Ok(Some(number))
    }

    /// Under the lock: a free record goes to nobody.
    pub(crate) fn discard(&self, number: u32) -> Result<(), Corrupt> {
        let record = self.record(number)?;
        record.owner.store(0, Ordering::Release);
        record.next.store(self.desk.free.load(Ordering::Relaxed), Ordering::Relaxed);
        self.desk.free.store(number + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Under the lock: records up to `fresh` have been reserved.
    pub(crate) fn add_fresh(&self, fresh: u32) -> Result<(), Corrupt> {
        let before = self.fresh.load(Ordering::Relaxed);
        self.fresh.store(fresh, Ordering::Release);
        (before..fresh).rev().try_for_each(|number| self.discard(number))
    }

    /// Under the lock: the record, which holds permits, belongs to `owner` from now on.
    pub(crate) fn move_to(&self, number: u32, owner: Owner) -> Result<(), Corrupt> {
        self.record(number)?.owner.store(owner.bits(), Ordering::Release);
        Ok(())
    }

    /// Under the lock: takes permits into a free record, if so many are free and nobody waits for permits.
    pub(crate) fn take(&self, number: u32, permits: u64, since: u64) -> Result<bool, Corrupt> {
        let record = self.record(number)?;
        let no_queue = self.desk.first.load(Ordering::Relaxed) == 0;
        let taken = no_queue && self.take_off(permits);
        if taken {
            record.since.store(since, Ordering::Relaxed);
            record.set(State::Held(permits));
        }
        Ok(taken)
    }

    fn take_off(&self, permits: u64) -> bool {
        self.available.update(|count| count.has(permits).then(|| count.less(permits)))
    }

    /// Under the lock: a free record takes its place in the queue. `rung`: its waiter is woken by a ring.
    pub(crate) fn enqueue(
        &self,
        number: u32,
        permits: u64,
        purpose: Purpose,
        rung: bool,
        since: u64,
    ) -> Result<(), Corrupt> {
        let record = self.record(number)?;
        let ticket = self.desk.next_ticket.load(Ordering::Relaxed);
        self.desk.next_ticket.store(ticket.wrapping_add(1), Ordering::Relaxed);
        record.ticket.store(ticket, Ordering::Relaxed);
        record.since.store(since, Ordering::Relaxed);
        record.rung.store(rung.into(), Ordering::Relaxed);
        record.set(match purpose {
            Purpose::Permit => State::Waiting(permits),
            Purpose::Signal => State::Wanting(permits),
            Purpose::Idle => State::Idling,
        });
        match purpose {
            Purpose::Idle => self.push_idler(number, record),
            _ => self.push_last(number, record)?,
        }
        // Before the look at the count that follows: who gives back after that look finds the fast path closed.
        self.available.slow_down();
        Ok(())
    }

    fn push_last(&self, number: u32, record: &Record) -> Result<(), Corrupt> {
        let last = self.desk.last.load(Ordering::Relaxed);
        record.next.store(0, Ordering::Relaxed);
        record.previous.store(last, Ordering::Relaxed);
        match unlisted(last) {
            Some(before) => self.record(before)?.next.store(number + 1, Ordering::Relaxed),
            None => self.desk.first.store(number + 1, Ordering::Relaxed),
        }
        self.desk.last.store(number + 1, Ordering::Relaxed);
        self.desk.waiting.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn push_idler(&self, number: u32, record: &Record) {
        record.next.store(self.desk.idlers.load(Ordering::Relaxed), Ordering::Relaxed);
        self.desk.idlers.store(number + 1, Ordering::Relaxed);
    }

    fn unlink_waiter(&self, record: &Record) -> Result<(), Corrupt> {
        let (next, previous) = (record.next.load(Ordering::Relaxed), record.previous.load(Ordering::Relaxed));
        match unlisted(previous) {
            Some(before) => self.record(before)?.next.store(next, Ordering::Relaxed),
            None => self.desk.first.store(next, Ordering::Relaxed),
        }
        match unlisted(next) {
            Some(after) => self.record(after)?.previous.store(previous, Ordering::Relaxed),
            None => self.desk.last.store(previous, Ordering::Relaxed),
        }
        self.desk.waiting.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    fn unlink_idler(&self, number: u32) -> Result<(), Corrupt> {
        let mut link = &self.desk.idlers;
        for _ in 0..=self.records.len() {
            let Some(here) = unlisted(link.load(Ordering::Relaxed)) else { return Ok(()) };
            let record = self.record(here)?;
            if here == number {
                link.store(record.next.load(Ordering::Relaxed), Ordering::Relaxed);
                return Ok(());
            }
            link = &record.next;
        }
        Err(Corrupt)
    }

    /// Under the lock: the record says nothing any more, whatever it said; what it held goes back.
    pub(crate) fn give(&self, number: u32) -> Result<(), Corrupt> {
        let record = self.record(number)?;
        match record.state() {
            State::Held(permits) => {
                record.set(State::Free);
                self.available.add(permits as i64);
            }
            State::Waiting(_) | State::Wanting(_) => {
                self.unlink_waiter(record)?;
                record.set(State::Free);
            }
            State::Idling => {
                self.unlink_idler(number)?;
                record.set(State::Free);
            }
            State::Gone { .. } => return self.clear(number),
            _ => record.set(State::Free),
        }
        Ok(())
    }

    /// E2, under the lock: a record whose waiter has given up is taken out of its list. Others are left as they are.
    pub(crate) fn clear(&self, number: u32) -> Result<(), Corrupt> {
        let record = self.record(number)?;
        let State::Gone { idler, pooled } = record.state() else { return Ok(()) };
        if idler {
            self.unlink_idler(number)?
        } else {
            self.unlink_waiter(record)?
        }
        record.set(State::Free);
        if pooled { self.discard(number) } else { Ok(()) }
    }

    /// Under the lock: what the record holds goes out of circulation.
    pub(crate) fn forget(&self, number: u32) -> Result<(), Corrupt> {
        let record = self.record(number)?;
        let State::Held(permits) = record.state() else { return Err(Corrupt) };
        // Fewer, if the semaphore was made smaller than what is held: then it owes the rest still.
        let all = self.desk.permits.load(Ordering::Relaxed);
        let taken = permits.min(all);
        // The commit: a death from here on leaves a semaphore without them.
        self.desk.permits.store(all - taken, Ordering::Relaxed);
        record.set(State::Free);
        self.available.add((permits - taken) as i64);
        Ok(())
    }

    /// Under the lock: some of what one record holds goes to another of the same owner, which is free.
    pub(crate) fn split(&self, from: u32, to: u32, permits: u64) -> Result<(), Corrupt> {
        let (from, to) = (self.record(from)?, self.record(to)?);
        let State::Held(all) = from.state() else { return Err(Corrupt) };
        let left = all.checked_sub(permits).ok_or(Corrupt)?;
        to.since.store(from.since(), Ordering::Relaxed);
        to.set(State::Held(permits));
        from.set(State::Held(left));
        Ok(())
    }

    /// Under the lock: what one record holds goes to another of the same owner.
    pub(crate) fn merge(&self, from: u32, to: u32) -> Result<(), Corrupt> {
        let (from, to) = (self.record(from)?, self.record(to)?);
        let (State::Held(more), State::Held(some)) = (from.state(), to.state()) else { return Err(Corrupt) };
        to.set(State::Held((some + more) & PERMITS_MASK));
        from.set(State::Free);
        Ok(())
    }

    /// Under the lock: there are `permits` from now on.
    pub(crate) fn set_permits(&self, permits: u64) {
        let before = self.desk.permits.swap(permits, Ordering::Relaxed);
        self.available.add((permits as i64).saturating_sub(before.min(PERMITS_MAX) as i64));
    }

    /// Under the lock, after there have become fewer permits: whoever waits for more than there are now is told, wherever it stands.
    pub(crate) fn reject_too_large(&self, mut changed: impl FnMut(u32, &Record)) -> Result<(), Corrupt> {
        if self.life.load(Ordering::SeqCst) != 0 {
            return Ok(());
        }
        let mut next = self.desk.first.load(Ordering::Relaxed);
        for _ in 0..=self.records.len() {
            let Some(number) = unlisted(next) else { return Ok(()) };
            let record = self.record(number)?;
            next = record.next.load(Ordering::Relaxed);
            let state = record.state();
            if matches!(state, State::Waiting(permits) if self.too_many(permits).is_some())
                && record.change(state, State::Rejected)
            {
                self.unlink_waiter(record)?;
                changed(number, record);
            }
        }
        Err(Corrupt)
    }

    /// Whether a request for so many can never be granted as things are. With no permits at all it waits.
    pub(crate) fn too_many(&self, permits: u64) -> Option<u64> {
        let all = self.desk.permits.load(Ordering::Relaxed);
        (permits > all && (all > 0 || permits > PERMITS_MAX)).then_some(all)
    }

    /// Under the lock: whether no permit is held.
    pub(crate) fn is_idle(&self) -> bool {
        self.available.load().free() == self.desk.permits.load(Ordering::Relaxed) as i64
    }

    /// G1 to G6, under the lock: grants what can be granted, first come, first served, and opens the fast path if nobody waits any
    /// more. `changed` is told each record that its waiter has to look at.
    pub(crate) fn settle(&self, mut changed: impl FnMut(u32, &Record)) -> Result<(), Corrupt> {
        self.grant(&mut changed)?;
        if self.desk.idlers.load(Ordering::Relaxed) != 0 && self.is_idle() {
            self.tell_idlers(&mut changed)?;
        }
        if self.nobody_waits() {
            self.speed_up();
        }
        Ok(())
    }

    /// G1 to G4. After the end nobody is granted anything any more: who waits leaves.
    fn grant(&self, changed: &mut impl FnMut(u32, &Record)) -> Result<(), Corrupt> {
        // Each turn takes one out, or finds that it gives up, which it does once.
        for _ in 0..=2 * self.records.len() {
            let first = unlisted(self.desk.first.load(Ordering::Relaxed));
            let Some(number) = first.filter(|_| self.life.load(Ordering::SeqCst) == 0) else { break };
            let record = self.record(number)?;
            let state = record.state();
            let permits = match state {
                State::Waiting(permits) | State::Wanting(permits) if self.take_off(permits) => permits,
                State::Waiting(_) | State::Wanting(_) => break,
                State::Gone { idler: false, .. } => {
                    self.clear(number)?;
                    continue;
                }
                _ => return Err(Corrupt),
            };
            if record.change(state, State::Held(permits)) {
                self.unlink_waiter(record)?;
                changed(number, record);
            } else {
                // It has given up this moment: the next turn takes it out.
                self.available.add(permits as i64);
            }
        }
        Ok(())
    }

    fn tell_idlers(&self, changed: &mut impl FnMut(u32, &Record)) -> Result<(), Corrupt> {
        for _ in 0..=self.records.len() {
            let Some(number) = unlisted(self.desk.idlers.load(Ordering::Relaxed)) else { return Ok(()) };
            let record = self.record(number)?;
            if !record.change(State::Idling, State::Idle) {
                self.clear(number)?;
                continue;
            }
            self.desk.idlers.store(record.next.load(Ordering::Relaxed), Ordering::Relaxed);
            changed(number, record);
        }
        Err(Corrupt)
    }

    fn nobody_waits(&self) -> bool {
        self.desk.first.load(Ordering::Relaxed) == 0 && self.desk.idlers.load(Ordering::Relaxed) == 0
    }

    /// Opens the fast path, unless the semaphore has ended.
    fn speed_up(&self) {
        if self.life.load(Ordering::SeqCst) == 0 && self.available.load().slow() {
            self.available.update(|count| Some(Count(count.0 & !SLOW)));
            self.stay_slow_after_the_end();
        }
    }

    /// Partner: whoever ends the semaphore raises `life`, then closes the fast path. Either that came after the caller's exchange,
    /// or `life` is seen here.
    fn stay_slow_after_the_end(&self) {
        if self.life.load(Ordering::SeqCst) != 0 {
            self.available.slow_down();
        }
    }

    /// F1 to F3, under the lock: counts anew what is free. It waits for nobody: whoever is in the middle of a fast step finds
    /// that it was overtaken.
    pub(crate) fn recount(&self) {
        // F1. Partners: the exchanges of the fast path, whose records are seen below if they came before; and `withdraw`.
        self.available.0.fetch_or(FROZEN, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let held = self.used().iter().fold(0i64, |sum, record| sum.saturating_add(record.held() as i64));
        let permits = self.desk.permits.load(Ordering::Relaxed) as i64;
        let slow = !self.nobody_waits();
        // F3. SeqCst: see `stay_slow_after_the_end`. Only the end's flag can have been set meanwhile.
        let recounted = self.available.load().recounted(permits.saturating_sub(held), slow);
        self.available.0.swap(recounted.0, Ordering::SeqCst);
        self.stay_slow_after_the_end();
    }

    /// Under the lock that was taken from the dead: builds the lists and the count from the records.
    pub(crate) fn rebuild(&self) -> Result<(), Corrupt> {
        let (desk, mut waiting) = (self.desk, Vec::new());
        for word in [&desk.waiting, &desk.first, &desk.last, &desk.free, &desk.idlers] {
            word.store(0, Ordering::Relaxed);
        }
        for (number, record) in self.numbered().rev() {
            if record.owner().is_none() {
                record.set(State::Free);
                self.discard(number)?;
                continue;
            }
            match record.state() {
                State::Waiting(_) | State::Wanting(_) => waiting.push((record.ticket(), number)),
                State::Idling => self.push_idler(number, record),
                State::Gone { pooled, .. } => {
                    record.set(State::Free);
                    if pooled {
                        self.discard(number)?;
                    }
                }
                _ => {}
            }
        }
        waiting.sort_unstable();
        for (_, number) in &waiting {
            self.push_last(*number, self.record(*number)?)?;
        }
        if let Some((ticket, _)) = waiting.last() {
            desk.next_ticket.fetch_max(ticket.wrapping_add(1), Ordering::Relaxed);
        }
        self.recount();
        Ok(())
    }

    /// V3, under the lock and the byte of `owner`: its records say nothing any more, and what it held goes back. Returns how many
    /// permits that were.
    pub(crate) fn recover(&self, owner: Owner) -> Result<u64, Corrupt> {
        let mut came_back = 0u64;
        for (number, record) in self.numbered() {
            if record.owner() != Some(owner) {
                continue;
            }
            match record.state() {
                State::Held(permits) => came_back = came_back.saturating_add(permits),
                State::Waiting(_) | State::Wanting(_) => self.unlink_waiter(record)?,
                State::Idling => self.unlink_idler(number)?,
                State::Gone { idler: true, .. } => self.unlink_idler(number)?,
                State::Gone { idler: false, .. } => self.unlink_waiter(record)?,
                _ => {}
            }
            record.set(State::Free);
            self.discard(number)?;
        }
        self.recount();
        Ok(came_back)
    }
}

#[cfg(test)]
mod tests;
