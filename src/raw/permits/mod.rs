//! Permits: the count of free ones, a record for each holder and waiter, and the protocol between them. It does not know who is
//! alive, and it does not wait.
//!
//! The records are the truth; the count and the lists are caches. `docs/format.md` has the words and the table of states,
//! `docs/recovery.md` the steps: the names in comments are those of that page.

mod count;
mod record;

pub(crate) use count::{Available, Fast, PERMITS_MAX};
pub(crate) use record::{Label, Purpose, Record, State};

use super::lock::Lock;
use super::word::Owner;
use super::{Corrupt, Shared, at, unlisted};
use crate::sync::{AS_IN_A_FILE, AtomicU32, AtomicU64, Ordering, fence};
use count::{Count, FROZEN, SLOW};
use record::PERMITS_MASK;
use std::mem::offset_of;

/// What only the lock holder changes.
#[repr(C)]
#[derive(Default)]
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

const _: () = if AS_IN_A_FILE {
    assert!(offset_of!(Record, owner) == 8 && offset_of!(Record, event) == 12 && offset_of!(Record, ticket) == 16);
    assert!(offset_of!(Record, since) == 24 && offset_of!(Record, next) == 32 && offset_of!(Record, rung) == 40);
    assert!(offset_of!(Record, label) == 64 && size_of::<Record>() == 128);
    assert!(offset_of!(Desk, waiting) == 4 && offset_of!(Desk, permits) == 8 && offset_of!(Desk, next_ticket) == 16);
    assert!(offset_of!(Desk, first) == 24 && offset_of!(Desk, idlers) == 36 && size_of::<Desk>() == 64);
};

/// Counters, for people.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Totals {
    pub blocked: AtomicU64,
    pub recovered: AtomicU64,
    pub recovered_permits: AtomicU64,
}

// SAFETY: repr(C), atomics only, no padding.
unsafe impl Shared for Totals {}

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
