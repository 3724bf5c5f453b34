//! Packed words: tickets, the slot word, the cell, the meta word. Shifts and masks are here and nowhere else.
//!
//! The layouts and the state table are in `docs/format.md`.

pub(crate) use crate::sync::CELLS;

/// The first ticket. Not 0, so that a cell of zeros is armed for none.
pub(crate) const FIRST_TICKET: Ticket = Ticket(CELLS as u64);

const TICKET_BITS: u32 = 49;
const TICKET_MASK: u64 = (1 << TICKET_BITS) - 1;
const OWNER_BITS: u32 = 12;
const OWNER_MASK: u64 = (1 << OWNER_BITS) - 1;
const CELL_TICKET_BITS: u32 = 40;
const CELL_TICKET_MASK: u64 = (1 << CELL_TICKET_BITS) - 1;
const LENGTH_BITS: u32 = 41;
const PRIORITY_SHIFT: u32 = 48;

/// A place in the order of sends. Never used twice; compared by signed distance, so that it may wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl Ticket {
    /// The ticket in a shared word; bits that it does not have are cut off.
    #[inline(always)]
    pub(crate) fn new(raw: u64) -> Ticket {
        Ticket(raw & TICKET_MASK)
    }

    #[inline(always)]
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn next(self) -> Ticket {
        self.plus(1)
    }

    #[inline(always)]
    pub(crate) fn plus(self, steps: u64) -> Ticket {
        Ticket::new(self.0.wrapping_add(steps))
    }

    /// How far this ticket is after `other`; negative if it is before.
    #[inline(always)]
    pub(crate) fn after(self, other: Ticket) -> i64 {
        sign_extend(self.0.wrapping_sub(other.0), TICKET_BITS)
    }

    /// Its cell.
    #[inline(always)]
    pub(crate) fn cell(self) -> usize {
        (self.0 as usize) % CELLS
    }
}

#[inline(always)]
fn sign_extend(value: u64, bits: u32) -> i64 {
    ((value << (64 - bits)) as i64) >> (64 - bits)
}

/// A participant as slot words and the lock name it: its attach index + 1, 1 to 4095.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(u32);

impl Owner {
    /// How many attach entries can be named.
    pub(crate) const INDEX_MAX: u32 = OWNER_MASK as u32 - 1;

    /// The owner of an attach index.
    #[inline(always)]
    pub(crate) fn of_index(index: u32) -> Owner {
        debug_assert!(index <= Owner::INDEX_MAX);
        Owner(index + 1)
    }

    /// The owner in these bits, if they name one.
    #[inline(always)]
    pub(crate) fn from_bits(bits: u32) -> Option<Owner> {
        (bits != 0 && bits <= Owner::INDEX_MAX + 1).then_some(Owner(bits))
    }

    #[inline(always)]
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// Its attach index.
    #[inline(always)]
    pub(crate) fn index(self) -> u32 {
        self.0 - 1
    }
}

/// The states of a slot, and what each carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// In nobody's hands, not on offer; the ticket is the last one it had.
    Free(Ticket),
    /// Offered to senders under this ticket.
    Armed(Ticket),
    /// Being written by this sender.
    Claimed(Ticket, Owner),
    /// Holds a message.
    Ready(Ticket),
    /// Holds a message that this receiver is copying out.
    Taken(Ticket, Owner),
}

/// The word of a slot: the truth about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    const FREE: u64 = 0;
    const ARMED: u64 = 1;
    const CLAIMED: u64 = 2;
    const READY: u64 = 3;
    const TAKEN: u64 = 4;

    #[inline(always)]
    pub(crate) fn from_raw(raw: u64) -> Word {
        Word(raw)
    }

    #[inline(always)]
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn pack(state: u64, owner: u32, ticket: Ticket) -> Word {
        Word(state << 61 | u64::from(owner) << TICKET_BITS | ticket.0)
    }

    #[inline(always)]
    pub(crate) fn free(ticket: Ticket) -> Word {
        Word::pack(Word::FREE, 0, ticket)
    }

    #[inline(always)]
    pub(crate) fn armed(ticket: Ticket) -> Word {
        Word::pack(Word::ARMED, 0, ticket)
    }

    #[inline(always)]
    pub(crate) fn claimed(ticket: Ticket, owner: Owner) -> Word {
        Word::pack(Word::CLAIMED, owner.0, ticket)
    }

    #[inline(always)]
    pub(crate) fn ready(ticket: Ticket) -> Word {
        Word::pack(Word::READY, 0, ticket)
    }

    #[inline(always)]
    pub(crate) fn taken(ticket: Ticket, owner: Owner) -> Word {
        Word::pack(Word::TAKEN, owner.0, ticket)
    }

    #[inline(always)]
    pub(crate) fn ticket(self) -> Ticket {
        Ticket(self.0 & TICKET_MASK)
    }

    /// What the word says, if it says anything.
    #[inline]
    pub(crate) fn state(self) -> Option<State> {
        let ticket = self.ticket();
        let bits = (self.0 >> TICKET_BITS & OWNER_MASK) as u32;
        match (self.0 >> 61, Owner::from_bits(bits)) {
            (Word::FREE, None) => Some(State::Free(ticket)),
            (Word::ARMED, None) => Some(State::Armed(ticket)),
            (Word::CLAIMED, Some(owner)) => Some(State::Claimed(ticket, owner)),
            (Word::READY, None) => Some(State::Ready(ticket)),
            (Word::TAKEN, Some(owner)) => Some(State::Taken(ticket, owner)),
            _ => None,
        }
    }
}

/// A cell of the ring: which slot is armed for a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell(u64);

impl Cell {
    #[inline(always)]
    pub(crate) fn new(slot: u32, ticket: Ticket) -> Cell {
        Cell(u64::from(slot) << CELL_TICKET_BITS | (ticket.0 & CELL_TICKET_MASK))
    }

    #[inline(always)]
    pub(crate) fn from_raw(raw: u64) -> Cell {
        Cell(raw)
    }

    #[inline(always)]
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn slot(self) -> u32 {
        (self.0 >> CELL_TICKET_BITS) as u32
    }

    /// How far the ticket it is armed for is after `ticket`.
    #[inline(always)]
    pub(crate) fn after(self, ticket: Ticket) -> i64 {
        sign_extend(self.0.wrapping_sub(ticket.0), CELL_TICKET_BITS)
    }
}

/// Length and priority of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta(u64);

impl Meta {
    #[inline(always)]
    pub(crate) fn new(length: u64, priority: u16) -> Meta {
        debug_assert!(length < 1 << LENGTH_BITS && priority < 1 << 15);
        Meta(u64::from(priority) << PRIORITY_SHIFT | length)
    }

    #[inline(always)]
    pub(crate) fn from_raw(raw: u64) -> Meta {
        Meta(raw)
    }

    #[inline(always)]
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) fn length(self) -> u64 {
        self.0 & ((1 << LENGTH_BITS) - 1)
    }

    /// Always a valid priority: the bits above it are cut off.
    #[inline(always)]
    pub(crate) fn priority(self) -> u16 {
        (self.0 >> PRIORITY_SHIFT) as u16 & 0x7fff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_they_were_given() {
        let (ticket, owner) = (Ticket::new(TICKET_MASK - 3), Owner::of_index(Owner::INDEX_MAX));
        assert_eq!(Word::free(ticket).state(), Some(State::Free(ticket)));
        assert_eq!(Word::armed(ticket).state(), Some(State::Armed(ticket)));
        assert_eq!(Word::claimed(ticket, owner).state(), Some(State::Claimed(ticket, owner)));
        assert_eq!(Word::ready(ticket).state(), Some(State::Ready(ticket)));
        assert_eq!(Word::taken(ticket, owner).state(), Some(State::Taken(ticket, owner)));
        assert_eq!(Word::from_raw(0).state(), Some(State::Free(Ticket(0))));
    }

    #[test]
    fn words_that_make_no_sense_are_seen() {
        for raw in [u64::MAX, 5 << 61, 7 << 61, 1 << 61 | 1 << TICKET_BITS, 2 << 61, 1 << TICKET_BITS] {
            assert_eq!(Word::from_raw(raw).state(), None, "{raw:#x}");
        }
    }

    #[test]
    fn tickets_wrap() {
        let last = Ticket::new(TICKET_MASK);
        assert_eq!(last.next().raw(), 0);
        assert_eq!(last.next().after(last), 1);
        assert_eq!(last.after(last.next()), -1);
        assert_eq!(Cell::new(7, last).after(last), 0);
        assert_eq!(Cell::new(7, last.next()).after(last), 1);
        assert_eq!(Cell::new(0xff_ffff, last).slot(), 0xff_ffff);
    }

    #[test]
    fn meta_holds_the_largest() {
        let meta = Meta::new(1 << 40, 32767);
        assert_eq!((meta.length(), meta.priority()), (1 << 40, 32767));
        assert!(Meta::from_raw(u64::MAX).priority() <= 32767);
    }
}
