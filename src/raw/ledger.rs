//! The ledger: what the lock holder does with slots. Drain the ring into the index, choose, take, hand back, void, and build all
//! caches anew from the slot words. Every method wants the lock held; none waits.
//!
//! The order of the stores is the protocol: `docs/recovery.md` names each step and what a death after it leaves.

use super::index::{Index, LEVELS_PER_PAGE, Link};
use super::lock::Lock;
use super::ring::Slot;
use super::word::{CELLS, Cell, FIRST_TICKET, Meta, Owner, State, Ticket, Word};
use super::{Corrupt, Shared, at, unlisted};
use crate::sync::{AtomicU32, AtomicU64, Ordering, Ordering::Relaxed, fence, prefetch_write};

pub(crate) use crate::sync::{WINDOW, WINDOW_WIDE};

/// How many tickets ahead of the drain slots are fetched.
const FORESIGHT: u64 = 8;

/// The words of the lock holder, two cache lines.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Desk {
    pub lock: Lock,
    pub count: AtomicU32,
    pub head: AtomicU64,
    pub arm: AtomicU64,
    pub top: AtomicU64,
    pub free: AtomicU32,
    pub slow: AtomicU32,
    pub slow_count: AtomicU32,
    pub taken: AtomicU32,
    pub received: AtomicU64,
    pub high_water: AtomicU64,
    pub mid: [AtomicU64; 8],
}

// SAFETY: repr(C), atomics only, and no padding (asserted by the layout).
unsafe impl Shared for Desk {}

/// Totals that change seldom.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Totals {
    pub voided: AtomicU64,
    pub purged: AtomicU64,
    pub send_blocked: AtomicU64,
    pub recv_blocked: AtomicU64,
    pub recovered: AtomicU64,
    pub redelivered: AtomicU64,
}

// SAFETY: repr(C), atomics of one size.
unsafe impl Shared for Totals {}

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Ledger<'a> {
    pub desk: &'a Desk,
    pub tail: &'a AtomicU64,
    pub cells: &'a [AtomicU64; CELLS],
    pub slots: &'a [Slot],
    pub links: &'a [Link],
    pub index: Index<'a>,
    pub fresh: &'a AtomicU32,
    pub totals: &'a Totals,
}

/// The message that a receiver gets next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chosen {
    pub slot: u32,
    pub ticket: Ticket,
    pub meta: Meta,
    /// Taken past the index: it is still at `head`.
    direct: bool,
}

/// Where a slot went when it was handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// On offer to senders.
    Armed,
    /// On the stack of free slots: nobody but the lock holder touches it.
    Free(u32),
}

impl Ledger<'_> {
    /// The next message, left where it is; `None` if there is none.
    #[inline]
    pub(crate) fn choose(&self) -> Result<Option<Chosen>, Corrupt> {
        if self.desk.count.load(Relaxed) == 0
            && self.desk.slow_count.load(Relaxed) == 0
            && let Some(chosen) = self.only_one()?
        {
            return Ok(Some(chosen));
        }
        self.drain_sent()?;
        self.best()
    }

    /// The next of the messages that were drained; `None` if there is none. For a batch: what was sent since it began may wait
    /// for the next one, and looking for it each time would take `tail` from the senders each time.
    #[inline]
    pub(crate) fn best(&self) -> Result<Option<Chosen>, Corrupt> {
        let Some(number) = self.index.best()? else { return Ok(None) };
        let slot = at(self.slots, number)?;
        let Some(State::Ready(ticket)) = Word::from_raw(slot.word.load(Relaxed)).state() else { return Err(Corrupt) };
        Ok(Some(Chosen { slot: number, ticket, meta: Meta::from_raw(slot.meta.load(Relaxed)), direct: false }))
    }

    /// The message at `head` if it is the only one: `tail` says that no send beyond it is complete.
    #[inline]
    fn only_one(&self) -> Result<Option<Chosen>, Corrupt> {
        let ticket = self.head();
        if self.tail().after(ticket) != 1 {
            return Ok(None);
        }
        let Some((number, word)) = self.armed_slot(ticket)? else { return Ok(None) };
        if word != Word::ready(ticket) {
            return Ok(None);
        }
        let meta = Meta::from_raw(at(self.slots, number)?.meta.load(Relaxed));
        Ok(Some(Chosen { slot: number, ticket, meta, direct: true }))
    }

    /// The slot that is armed for a ticket, and its word now; `None` if the ticket was not handed out yet.
    #[inline]
    fn armed_slot(&self, ticket: Ticket) -> Result<Option<(u32, Word)>, Corrupt> {
        let cell = Cell::from_raw(self.cells[ticket.cell()].load(Relaxed));
        if cell.after(ticket) != 0 {
            return Ok(None);
        }
        // Acquire, partner `Ring::commit`: a READY word brings its payload and meta.
        let word = at(self.slots, cell.slot())?.word.load(Ordering::Acquire);
        Ok(Some((cell.slot(), Word::from_raw(word))))
    }

    /// Whether a receiver that found nothing has reason to look again. Needs no lock; a hint.
    pub(crate) fn stirring(&self) -> bool {
        let head = self.head();
        let is_ready = |slot: &Slot| matches!(Word::from_raw(slot.word.load(Relaxed)).state(), Some(State::Ready(_)));
        // The slots are looked at only when there is something in them: their senders are writing to these lines.
        let slow = unlisted(self.desk.slow.load(Relaxed)).and_then(|number| self.slots.get(number as usize));
        self.desk.count.load(Relaxed) != 0
            || slow.is_some_and(is_ready)
            || (self.tail().after(head) > 0
                && self.armed_slot(head).is_ok_and(|found| found.is_some_and(|(_, word)| word == Word::ready(head))))
    }

    /// Moves what was sent since the last time out of the ring: complete messages into the index, others into the slow list;
    /// then looks once more at all slow ones, for one may have become complete before a later one did. It stops at `tail`:
    /// every send that returned is below. What is claimed beyond is left for the next time.
    #[inline]
    fn drain_sent(&self) -> Result<(), Corrupt> {
        self.drain_until(Some(self.tail()))
    }

    /// As [`drain_sent`](Ledger::drain_sent), up to the first ticket that is not claimed: a claim whose owner died before it
    /// raised `tail` is found, too.
    pub(crate) fn drain(&self) -> Result<(), Corrupt> {
        self.drain_until(None)
    }

    fn drain_until(&self, end: Option<Ticket>) -> Result<(), Corrupt> {
        let mut ticket = self.head();
        for _ in 0..CELLS {
            if let Some(end) = end {
                if end.after(ticket) <= 0 {
                    break;
                }
                self.foresee(ticket, end);
            }
            let Some((number, word)) = self.armed_slot(ticket)? else { break };
            match word.state() {
                Some(State::Ready(of)) if of == ticket => self.index.append(number, self.index.priority(number)?)?,
                Some(State::Claimed(of, _)) if of == ticket => self.push_slow(number)?,
                Some(State::Armed(of)) if of == ticket => break,
                _ => return Err(Corrupt),
            }
            ticket = ticket.next();
            self.desk.head.store(ticket.raw(), Relaxed);
        }
        if self.desk.slow_count.load(Relaxed) != 0 {
            self.look_at_slow()?;
        }
        let depth = u64::from(self.desk.count.load(Relaxed));
        if depth > self.desk.high_water.load(Relaxed) {
            self.desk.high_water.store(depth, Relaxed);
        }
        Ok(())
    }

    /// Fetches the slot of a ticket some steps on, for writing, since it will be handed back; not one that is not sent yet.
    #[inline]
    fn foresee(&self, ticket: Ticket, end: Ticket) {
        let ticket = ticket.plus(FORESIGHT);
        let cell = Cell::from_raw(self.cells[ticket.cell()].load(Relaxed));
        if end.after(ticket) > 0
            && let Some(slot) = self.slots.get(cell.slot() as usize)
        {
            prefetch_write(slot);
        }
    }

    /// The slot of the message that will be next as far as is known, fetched for the receive after this one.
    #[inline]
    pub(crate) fn foreseen(&self) -> Option<u32> {
        let number = self.index.best().ok()??;
        prefetch_write(self.slots.get(number as usize)?);
        Some(number)
    }

    fn look_at_slow(&self) -> Result<(), Corrupt> {
        self.each_slow(|number, word| match word.state() {
            Some(State::Ready(ticket)) => {
                self.drop_slow(number)?;
                self.index.insert(number, self.index.priority(number)?, ticket)
            }
            Some(State::Claimed(..)) => Ok(()),
            _ => Err(Corrupt),
        })
    }

    /// Commits the receipt of a chosen message: its slot goes back into circulation.
    #[inline]
    pub(crate) fn consume(&self, chosen: Chosen) -> Result<Put, Corrupt> {
        self.leave_queue(chosen)?;
        self.count_received();
        self.hand_back(chosen.slot, chosen.ticket)
    }

    /// Puts a chosen message into a receiver's hands; it stays in place, and comes back if the receiver dies.
    pub(crate) fn take(&self, chosen: Chosen, me: Owner) -> Result<(), Corrupt> {
        at(self.slots, chosen.slot)?.word.store(Word::taken(chosen.ticket, me).raw(), Ordering::Release);
        self.leave_queue(chosen)?;
        self.desk.taken.store(self.desk.taken.load(Relaxed).wrapping_add(1), Relaxed);
        Ok(())
    }

    /// Commits the receipt of a taken message. Returns what became of its slot.
    pub(crate) fn finish(&self, chosen: Chosen) -> Result<Put, Corrupt> {
        self.desk.taken.store(self.desk.taken.load(Relaxed).saturating_sub(1), Relaxed);
        self.count_received();
        self.hand_back(chosen.slot, chosen.ticket)
    }

    #[inline]
    fn count_received(&self) {
        self.desk.received.store(self.desk.received.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Whether nothing is left, or on its way, once this one is received.
    pub(crate) fn is_last(&self, chosen: Chosen) -> Result<bool, Corrupt> {
        let next = if chosen.direct { chosen.ticket.next() } else { self.head() };
        let claimed = self.armed_slot(next)?.is_some_and(|(_, word)| !matches!(word.state(), Some(State::Armed(_))));
        let (count, slow) = (self.desk.count.load(Relaxed), self.desk.slow_count.load(Relaxed));
        Ok(count == u32::from(!chosen.direct) && slow == 0 && !claimed)
    }

    #[inline]
    fn leave_queue(&self, chosen: Chosen) -> Result<(), Corrupt> {
        if chosen.direct {
            self.desk.head.store(chosen.ticket.next().raw(), Relaxed);
            return Ok(());
        }
        self.index.remove(chosen.slot, chosen.meta.priority())
    }

    /// Puts a slot back into circulation: armed while few tickets are, else on the stack of free ones.
    #[inline]
    fn hand_back(&self, number: u32, ticket: Ticket) -> Result<Put, Corrupt> {
        let slot = at(self.slots, number)?;
        let window = if slot.backed.load(Relaxed) == 0 { WINDOW } else { WINDOW_WIDE };
        if self.armed() < window {
            self.arm_slot(number, slot)?;
            return Ok(Put::Armed);
        }
        slot.word.store(Word::free(ticket).raw(), Ordering::Release);
        self.push_free(number)?;
        Ok(Put::Free(number))
    }

    /// Offers a slot to senders under the next ticket. The slot first, then the cell: the other way round, a sender could
    /// fail its claim on a ticket that nobody holds.
    #[inline]
    fn arm_slot(&self, number: u32, slot: &Slot) -> Result<(), Corrupt> {
        let ticket = Ticket::new(self.desk.arm.load(Relaxed));
        // Release, partner the claim's CAS: what was read from the slot was read before.
        slot.word.store(Word::armed(ticket).raw(), Ordering::Release);
        // Release, partner the cell's load in `Ring::claim`.
        self.cells[ticket.cell()].store(Cell::new(number, ticket).raw(), Ordering::Release);
        self.desk.arm.store(ticket.next().raw(), Relaxed);
        Ok(())
    }

    /// How many tickets are armed, or claimed and not drained; damaged words count as many.
    #[inline]
    fn armed(&self) -> u64 {
        u64::try_from(Ticket::new(self.desk.arm.load(Relaxed)).after(self.head())).unwrap_or(u64::MAX)
    }

    /// Arms free slots until `window` tickets are armed; `reserve` makes pages for slots that were never used, and raises
    /// `fresh`. Returns whether any ticket is armed.
    pub(crate) fn refill<E: From<Corrupt>>(
        &self,
        window: u64,
        mut reserve: impl FnMut() -> Result<bool, E>,
    ) -> Result<bool, E> {
        self.drain()?;
        while self.armed() < window {
            match self.pop_free()? {
                Some(number) => self.arm_slot(number, at(self.slots, number)?)?,
                None if self.armed() > 0 => break,
                None if reserve()? => {}
                None => break,
            }
        }
        // All below head are claimed, so the hint may be raised to it; ahead of arm it is damaged, and senders would see "full"
        // for ever.
        let (head, tail) = (self.head(), self.tail());
        if tail.after(Ticket::new(self.desk.arm.load(Relaxed))) > 0 {
            self.tail.store(head.raw(), Ordering::Release);
            // A sender may have seen the damage and not raised it: what it has sent meanwhile must come below.
            fence(Ordering::SeqCst);
            self.drain()?;
        }
        self.raise_tail();
        Ok(self.armed() > 0)
    }

    /// Whether a refill may find anything. Needs no lock; a hint.
    pub(crate) fn could_refill(&self) -> bool {
        self.desk.free.load(Relaxed) != 0 || self.fresh() < self.slots.len() as u32
    }

    /// Takes slots `from..to`, which were reserved just now, into circulation.
    pub(crate) fn adopt(&self, from: u32, to: u32) -> Result<(), Corrupt> {
        self.fresh.store(to, Ordering::Release);
        (from..to).rev().try_for_each(|number| self.push_free(number))
    }

    /// Takes back the claim that `owner` (oneself, or a dead one whose byte is held) has on a slow slot.
    pub(crate) fn void(&self, number: u32) -> Result<Put, Corrupt> {
        let Some(State::Claimed(ticket, _)) = Word::from_raw(at(self.slots, number)?.word.load(Relaxed)).state() else {
            return Err(Corrupt);
        };
        self.drop_slow(number)?;
        self.totals.voided.fetch_add(1, Relaxed);
        self.hand_back(number, ticket)
    }

    /// Puts in order every word that names `owner`: its claims are void, what it had taken is ready again. The caller holds
    /// the owner's byte, and has drained *after* it got it. Returns whether there was anything.
    pub(crate) fn recover(&self, owner: Owner) -> Result<bool, Corrupt> {
        let mut found = false;
        self.each_slow(|number, word| match word.state() {
            Some(State::Claimed(_, of)) if of == owner => {
                found = true;
                self.void(number).map(|_| ())
            }
            _ => Ok(()),
        })?;
        if self.desk.taken.load(Relaxed) == 0 {
            return Ok(found);
        }
        for number in 0..self.fresh() {
            if let Some(State::Taken(ticket, of)) = Word::from_raw(at(self.slots, number)?.word.load(Relaxed)).state()
                && of == owner
            {
                found = true;
                self.redeliver(number, ticket)?;
            }
        }
        Ok(found)
    }

    fn redeliver(&self, number: u32, ticket: Ticket) -> Result<(), Corrupt> {
        let slot = at(self.slots, number)?;
        slot.redelivered.store(slot.redelivered.load(Relaxed).saturating_add(1), Relaxed);
        slot.word.store(Word::ready(ticket).raw(), Ordering::Release);
        self.desk.taken.store(self.desk.taken.load(Relaxed).saturating_sub(1), Relaxed);
        self.totals.redelivered.fetch_add(1, Relaxed);
        self.index.insert(number, self.index.priority(number)?, ticket)
    }

    /// Throws away every message of the index; each is a commit of its own, and `freed` is told of each. Returns how many.
    pub(crate) fn purge(&self, mut freed: impl FnMut(Put)) -> Result<u32, Corrupt> {
        let mut purged = 0;
        self.drain()?;
        // Bounded by the number of slots: nothing is added to the index meanwhile.
        while let Some(number) = self.index.best()? {
            let ticket = Word::from_raw(at(self.slots, number)?.word.load(Relaxed)).ticket();
            self.index.remove(number, self.index.priority(number)?)?;
            freed(self.hand_back(number, ticket)?);
            purged += 1;
            if purged as usize > self.slots.len() {
                return Err(Corrupt);
            }
        }
        self.totals.purged.fetch_add(u64::from(purged), Relaxed);
        Ok(purged)
    }

    /// Builds every cache anew from the slot words: after this, it does not matter where the last holder died.
    pub(crate) fn rebuild(&self) -> Result<(), Corrupt> {
        let mut states = Vec::with_capacity(self.fresh() as usize);
        for number in 0..self.fresh() {
            let word = Word::from_raw(at(self.slots, number)?.word.load(Ordering::Acquire));
            states.push((number, word.state().ok_or(Corrupt)?));
        }
        self.index.clear();
        for word in [&self.desk.free, &self.desk.slow, &self.desk.slow_count, &self.desk.taken] {
            word.store(0, Relaxed);
        }
        let head = self.rebuild_ring(&states);
        self.rebuild_lists(states, head)
    }

    /// Cells, `arm` and `head`; returns `head`.
    fn rebuild_ring(&self, states: &[(u32, State)]) -> Ticket {
        let latest = |a: Ticket, b: Ticket| if b.after(a) > 0 { b } else { a };
        // A slot that was never armed has ticket 0, which is none.
        let tickets = states.iter().map(|(_, state)| ticket_of(*state)).filter(|ticket| ticket.raw() != 0);
        let arm = tickets.reduce(latest).map_or(FIRST_TICKET, Ticket::next);
        let mut head = arm;
        for (number, state) in states {
            if let State::Armed(ticket) = *state {
                self.cells[ticket.cell()].store(Cell::new(*number, ticket).raw(), Ordering::Release);
                head = if head.after(ticket) > 0 { ticket } else { head };
            }
        }
        self.desk.arm.store(arm.raw(), Relaxed);
        self.desk.head.store(head.raw(), Relaxed);
        head
    }

    /// Index, slow list, free stack, and the number taken.
    fn rebuild_lists(&self, mut states: Vec<(u32, State)>, head: Ticket) -> Result<(), Corrupt> {
        // By rising ticket, relative to `head`, so that every message can be appended.
        states.sort_by_key(|(_, state)| ticket_of(*state).after(head));
        for (number, state) in states {
            match state {
                State::Ready(ticket) if head.after(ticket) > 0 => {
                    self.index.append(number, self.index.priority(number)?)?;
                }
                State::Claimed(ticket, _) if head.after(ticket) > 0 => self.push_slow(number)?,
                State::Free(_) => self.push_free(number)?,
                State::Taken(..) => self.desk.taken.store(self.desk.taken.load(Relaxed).wrapping_add(1), Relaxed),
                // At or above head: the next drain meets it.
                State::Ready(_) | State::Claimed(..) | State::Armed(_) => {}
            }
        }
        Ok(())
    }

    /// Slots that are reserved; a wild word counts as all.
    pub(crate) fn fresh(&self) -> u32 {
        self.fresh.load(Ordering::Acquire).min(self.slots.len() as u32)
    }

    /// Every send that returned has a ticket below this. Acquire, partner `Ring::raise`.
    #[inline]
    fn tail(&self) -> Ticket {
        Ticket::new(self.tail.load(Ordering::Acquire))
    }

    #[inline]
    fn head(&self) -> Ticket {
        Ticket::new(self.desk.head.load(Relaxed))
    }

    /// How many messages were sent so far; exact right after a drain.
    pub(crate) fn sent(&self) -> u64 {
        let claimed = u64::try_from(self.head().after(FIRST_TICKET)).unwrap_or(0);
        let slow = u64::from(self.desk.slow_count.load(Relaxed));
        let unfinished = self.totals.voided.load(Relaxed).saturating_add(slow);
        claimed.saturating_sub(unfinished)
    }

    fn push_free(&self, number: u32) -> Result<(), Corrupt> {
        at(self.links, number)?.next.store(self.desk.free.load(Relaxed), Relaxed);
        self.desk.free.store(number + 1, Relaxed);
        Ok(())
    }

    fn pop_free(&self) -> Result<Option<u32>, Corrupt> {
        let Some(number) = unlisted(self.desk.free.load(Relaxed)) else { return Ok(None) };
        let word = Word::from_raw(at(self.slots, number)?.word.load(Relaxed));
        if !matches!(word.state(), Some(State::Free(_))) {
            return Err(Corrupt);
        }
        self.desk.free.store(at(self.links, number)?.next.load(Relaxed), Relaxed);
        Ok(Some(number))
    }

    /// Raises `tail` to `head`, below which all is claimed. Senders raise it at the same time; it never goes back.
    fn raise_tail(&self) {
        let head = self.head();
        let raise = |now: u64| (head.after(Ticket::new(now)) > 0).then_some(head.raw());
        // An error says that it is high enough.
        let _ = self.tail.fetch_update(Ordering::AcqRel, Relaxed, raise);
    }

    /// Calls `visit` for each free slot.
    pub(crate) fn each_free(&self, mut visit: impl FnMut(u32)) -> Result<(), Corrupt> {
        let mut number = unlisted(self.desk.free.load(Relaxed));
        for _ in 0..=self.slots.len() {
            let Some(slot) = number else { return Ok(()) };
            number = unlisted(at(self.links, slot)?.next.load(Relaxed));
            visit(slot);
        }
        Err(Corrupt)
    }

    fn push_slow(&self, number: u32) -> Result<(), Corrupt> {
        let first = self.desk.slow.load(Relaxed);
        let link = at(self.links, number)?;
        link.next.store(first, Relaxed);
        link.previous.store(0, Relaxed);
        if let Some(first) = unlisted(first) {
            at(self.links, first)?.previous.store(number + 1, Relaxed);
        }
        self.desk.slow.store(number + 1, Relaxed);
        self.desk.slow_count.store(self.desk.slow_count.load(Relaxed).wrapping_add(1), Relaxed);
        Ok(())
    }

    fn drop_slow(&self, number: u32) -> Result<(), Corrupt> {
        let link = at(self.links, number)?;
        let (previous, next) = (link.previous.load(Relaxed), link.next.load(Relaxed));
        match unlisted(previous) {
            Some(previous) => at(self.links, previous)?.next.store(next, Relaxed),
            None => self.desk.slow.store(next, Relaxed),
        }
        if let Some(next) = unlisted(next) {
            at(self.links, next)?.previous.store(previous, Relaxed);
        }
        self.desk.slow_count.store(self.desk.slow_count.load(Relaxed).saturating_sub(1), Relaxed);
        Ok(())
    }

    /// Calls `visit` for each slow slot with its word now; `visit` may take that slot out of the list.
    fn each_slow(&self, mut visit: impl FnMut(u32, Word) -> Result<(), Corrupt>) -> Result<(), Corrupt> {
        let mut number = unlisted(self.desk.slow.load(Relaxed));
        for _ in 0..=self.slots.len() {
            let Some(slot) = number else { return Ok(()) };
            number = unlisted(at(self.links, slot)?.next.load(Relaxed));
            // Acquire, partner `Ring::commit`.
            visit(slot, Word::from_raw(at(self.slots, slot)?.word.load(Ordering::Acquire)))?;
        }
        Err(Corrupt)
    }
}

fn ticket_of(state: State) -> Ticket {
    match state {
        State::Free(ticket) | State::Armed(ticket) | State::Ready(ticket) => ticket,
        State::Claimed(ticket, _) | State::Taken(ticket, _) => ticket,
    }
}

/// The page of the level table that a priority lies on.
pub(crate) fn level_page(priority: u16) -> u16 {
    priority / LEVELS_PER_PAGE
}
