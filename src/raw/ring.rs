//! The ring as senders see it: claim the next ticket, commit a message. It takes no lock and never waits.
//!
//! It is a bounded ring of cells that lead to slots; unlike in the usual bounded MPMC ring (D. Vyukov) the claim and the
//! publication are on the slot, so a slow or dead sender blocks nobody.

use super::word::{CELLS, Cell, Owner, Ticket, Word};
use super::{Corrupt, Shared, at};
use crate::sync::{AtomicU32, AtomicU64, Ordering, prefetch_write};

/// A slot, one cache line. See `docs/format.md` for who writes what when.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Slot {
    pub word: AtomicU64,
    pub meta: AtomicU64,
    /// Bytes of this slot's extent that are reserved.
    pub backed: AtomicU64,
    pub redelivered: AtomicU32,
    /// Who sent the message: attach index + 1. For people.
    pub sender: AtomicU32,
    pub spare: [AtomicU32; 8],
}

// SAFETY: repr(C), atomics only, and no padding (asserted by the layout).
unsafe impl Shared for Slot {}

/// How many tickets a sender walks past before it takes the words for damaged: each step is a claim by somebody else.
const STEPS_MAX: u32 = 1 << 20;

/// How many sends ahead a slot's lines are fetched: in a batch, a transfer between processors takes as long as several sends.
const FORESIGHT: u64 = 8;

/// See the module.
pub(crate) struct Ring<'a> {
    pub tail: &'a AtomicU64,
    pub cells: &'a [AtomicU64; CELLS],
    pub slots: &'a [Slot],
}

/// A slot that is ours to write, and its place in the order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub slot: u32,
    pub ticket: Ticket,
}

impl Ring<'_> {
    /// Claims the lowest ticket that is armed; `None` if none is.
    ///
    /// The one CAS decides capacity, slot, place in the order and owner at once.
    #[inline]
    pub(crate) fn claim(&self, me: Owner) -> Result<Option<Claim>, Corrupt> {
        // Acquire, partner `raise`: with the hint come the claims below it.
        let tail = self.tail.load(Ordering::Acquire);
        let mut ticket = Ticket::new(tail);
        for _ in 0..STEPS_MAX {
            // Acquire, partner `Ledger::arm_slot`: the slot word was armed before the cell.
            let cell = Cell::from_raw(self.cells[ticket.cell()].load(Ordering::Acquire));
            let ahead = cell.after(ticket);
            if ahead < 0 {
                return Ok(None);
            }
            if ahead > 0 {
                // Armed for a later ticket: at most CELLS are armed at once, so all below that window are spent.
                ticket = ticket.plus((ahead.unsigned_abs() + 1).saturating_sub(CELLS as u64).max(1));
                continue;
            }
            let slot = at(self.slots, cell.slot())?;
            let (armed, claimed) = (Word::armed(ticket).raw(), Word::claimed(ticket, me).raw());
            if slot.word.compare_exchange(armed, claimed, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                self.raise(tail, ticket.next());
                return Ok(Some(Claim { slot: cell.slot(), ticket }));
            }
            ticket = ticket.next();
        }
        Err(Corrupt)
    }

    /// Raises `tail` to `to`, before the claim commits: so a message whose send returned lies below `tail`, and a receiver need
    /// not look at tickets above it, whose lines the senders are about to write.
    #[inline]
    fn raise(&self, mut seen: u64, to: Ticket) {
        // Each turn but the last means that somebody else raised it.
        while to.after(Ticket::new(seen)) > 0 {
            match self.tail.compare_exchange_weak(seen, to.raw(), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Whether a sender that would find the queue full has reason to look again.
    pub(crate) fn armed(&self) -> bool {
        let ticket = Ticket::new(self.tail.load(Ordering::Acquire));
        Cell::from_raw(self.cells[ticket.cell()].load(Ordering::Acquire)).after(ticket) >= 0
    }

    /// The slot of a send some steps on, fetched for writing while there is time; the receivers had its line last.
    #[inline]
    pub(crate) fn foresee(&self, claimed: Ticket) -> Option<u32> {
        let ticket = claimed.plus(FORESIGHT);
        let cell = Cell::from_raw(self.cells[ticket.cell()].load(Ordering::Relaxed));
        let slot = self.slots.get(cell.slot() as usize).filter(|_| cell.after(ticket) == 0)?;
        prefetch_write(slot);
        Some(cell.slot())
    }

    /// Commits the message in a claimed slot: from here on it is sent.
    #[inline]
    pub(crate) fn commit(&self, claim: Claim) -> Result<(), Corrupt> {
        // Partners: the loads in `Ledger::drain`, which see payload and meta with it; and the event (see `Event::signal`).
        at(self.slots, claim.slot)?.word.swap(Word::ready(claim.ticket).raw(), Ordering::SeqCst);
        Ok(())
    }
}
