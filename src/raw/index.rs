//! The index: which drained messages there are, by priority. A three-level bitmap of 64-bit words over 32768 priorities, and
//! for each priority a list of slots by rising ticket. Constant time at any depth. A cache: whoever steals the lock builds
//! it anew. Only the lock holder touches it, so every access is relaxed.

use super::ledger::Desk;
use super::ring::Slot;
use super::word::{Meta, Ticket, Word};
use super::{Corrupt, Shared, at, unlisted};
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};

pub(crate) use crate::sync::LEVELS;

/// Words of the lowest bitmap.
pub(crate) const LEAVES: usize = LEVELS / 64;
/// Levels that share a page of the level table, and thereby a bit of `levels_backed`.
pub(crate) const LEVELS_PER_PAGE: u16 = 512;

/// The first and last slot of a priority, each + 1; 0 is none.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Level {
    first: AtomicU32,
    last: AtomicU32,
}

/// The neighbours of a slot in the list that it is in, each + 1; 0 is none.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Link {
    pub next: AtomicU32,
    pub previous: AtomicU32,
}

// SAFETY: repr(C), two atomics of the same size.
unsafe impl Shared for Level {}
// SAFETY: as above.
unsafe impl Shared for Link {}

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Index<'a> {
    pub desk: &'a Desk,
    pub leaf: &'a [AtomicU64; LEAVES],
    pub levels: &'a [Level],
    pub links: &'a [Link],
    pub slots: &'a [Slot],
    pub levels_backed: &'a AtomicU64,
}

impl<'a> Index<'a> {
    /// Adds a message whose ticket is higher than that of all drained so far.
    #[inline]
    pub(crate) fn append(&self, number: u32, priority: u16) -> Result<(), Corrupt> {
        let level = self.level(priority)?;
        let last = unlisted(level.last.load(Relaxed));
        self.put_after(number, priority, last)
    }

    /// Adds a message at its place by ticket: one that was slow, or that comes back from a dead receiver.
    pub(crate) fn insert(&self, number: u32, priority: u16, ticket: Ticket) -> Result<(), Corrupt> {
        let mut place = unlisted(self.level(priority)?.last.load(Relaxed));
        // Later messages of the same priority are few: those sent while this one was slow. Bounded by the list itself.
        for _ in 0..self.slots.len() {
            let Some(other) = place else { break };
            let other_ticket = Word::from_raw(at(self.slots, other)?.word.load(Relaxed)).ticket();
            if ticket.after(other_ticket) > 0 {
                break;
            }
            place = unlisted(at(self.links, other)?.previous.load(Relaxed));
        }
        self.put_after(number, priority, place)
    }

    /// Links a slot behind `place`, or first in its level.
    #[inline]
    fn put_after(&self, number: u32, priority: u16, place: Option<u32>) -> Result<(), Corrupt> {
        let level = self.level(priority)?;
        let link = at(self.links, number)?;
        let after = match place {
            Some(before) => &at(self.links, before)?.next,
            None => &level.first,
        };
        let next = after.load(Relaxed);
        link.previous.store(place.map_or(0, |before| before + 1), Relaxed);
        link.next.store(next, Relaxed);
        match unlisted(next) {
            Some(next) => at(self.links, next)?.previous.store(number + 1, Relaxed),
            None => level.last.store(number + 1, Relaxed),
        }
        after.store(number + 1, Relaxed);
        if place.is_none() && next == 0 {
            self.mark(priority);
        }
        self.desk.count.store(self.desk.count.load(Relaxed).wrapping_add(1), Relaxed);
        Ok(())
    }

    /// Takes a message out.
    #[inline]
    pub(crate) fn remove(&self, number: u32, priority: u16) -> Result<(), Corrupt> {
        let level = self.level(priority)?;
        let link = at(self.links, number)?;
        let (previous, next) = (link.previous.load(Relaxed), link.next.load(Relaxed));
        match unlisted(previous) {
            Some(previous) => at(self.links, previous)?.next.store(next, Relaxed),
            None => level.first.store(next, Relaxed),
        }
        match unlisted(next) {
            Some(next) => at(self.links, next)?.previous.store(previous, Relaxed),
            None => level.last.store(previous, Relaxed),
        }
        if previous == 0 && next == 0 {
            self.unmark(priority);
        }
        self.desk.count.store(self.desk.count.load(Relaxed).wrapping_sub(1), Relaxed);
        Ok(())
    }

    /// The oldest message of the highest priority.
    #[inline]
    pub(crate) fn best(&self) -> Result<Option<u32>, Corrupt> {
        let Some(priority) = self.highest(LEVELS as u32) else { return Ok(None) };
        let first = self.level(priority)?.first.load(Relaxed);
        unlisted(first).filter(|number| (*number as usize) < self.slots.len()).map(Some).ok_or(Corrupt)
    }

    /// The first `max` messages in the order of receiving.
    pub(crate) fn walk(&self, max: usize) -> Result<Vec<u32>, Corrupt> {
        let mut found = Vec::new();
        let mut below = LEVELS as u32;
        while let Some(priority) = self.highest(below) {
            let mut number = unlisted(self.level(priority)?.first.load(Relaxed));
            while let Some(slot) = number {
                if found.len() == max {
                    return Ok(found);
                }
                // A list that runs in a circle ends here.
                if found.len() > self.slots.len() {
                    return Err(Corrupt);
                }
                found.push(slot);
                number = unlisted(at(self.links, slot)?.next.load(Relaxed));
            }
            below = u32::from(priority);
        }
        Ok(found)
    }

    /// Empties the index, whatever state a dead holder left it in.
    pub(crate) fn clear(&self) {
        self.desk.top.store(0, Relaxed);
        self.desk.mid.iter().chain(self.leaf).for_each(|word| word.store(0, Relaxed));
        self.desk.count.store(0, Relaxed);
        let backed = self.levels_backed.load(Relaxed);
        let pages = self.levels.chunks(LEVELS_PER_PAGE.into()).enumerate();
        for (_, page) in pages.filter(|(number, _)| backed >> number & 1 == 1) {
            for level in page {
                level.first.store(0, Relaxed);
                level.last.store(0, Relaxed);
            }
        }
    }

    /// The priority of the message in a slot.
    #[inline]
    pub(crate) fn priority(&self, number: u32) -> Result<u16, Corrupt> {
        Ok(Meta::from_raw(at(self.slots, number)?.meta.load(Relaxed)).priority())
    }

    /// The list of a priority, if its page was reserved: whoever sent with that priority saw to it.
    #[inline]
    fn level(&self, priority: u16) -> Result<&'a Level, Corrupt> {
        if self.levels_backed.load(Relaxed) >> (priority / LEVELS_PER_PAGE) & 1 == 0 {
            return Err(Corrupt);
        }
        at(self.levels, u32::from(priority))
    }

    #[inline]
    fn mark(&self, priority: u16) {
        let (leaf, mid) = (usize::from(priority / 64), usize::from(priority / 4096));
        set(&self.leaf[leaf], u32::from(priority) % 64);
        set(&self.desk.mid[mid], leaf as u32 % 64);
        set(&self.desk.top, mid as u32);
    }

    #[inline]
    fn unmark(&self, priority: u16) {
        let (leaf, mid) = (usize::from(priority / 64), usize::from(priority / 4096));
        if clear(&self.leaf[leaf], u32::from(priority) % 64) && clear(&self.desk.mid[mid], leaf as u32 % 64) {
            clear(&self.desk.top, mid as u32);
        }
    }

    /// The highest priority below `limit` that has a message.
    #[inline]
    fn highest(&self, limit: u32) -> Option<u16> {
        let (leaf, mid) = (limit / 64, limit / 4096);
        if let Some(bit) = self.leaf.get(leaf as usize).and_then(|word| top_bit(word, limit % 64)) {
            return Some((leaf * 64 + bit) as u16);
        }
        let leaf = match self.desk.mid.get(mid as usize).and_then(|word| top_bit(word, leaf % 64)) {
            Some(bit) => mid * 64 + bit,
            None => {
                let mid = top_bit(&self.desk.top, mid)?;
                mid * 64 + top_bit(self.desk.mid.get(mid as usize)?, 64)?
            }
        };
        Some((leaf * 64 + top_bit(&self.leaf[leaf as usize], 64)?) as u16)
    }
}

/// The highest set bit below `limit`, which is at most 64.
#[inline]
fn top_bit(word: &AtomicU64, limit: u32) -> Option<u32> {
    let mask = if limit >= 64 { u64::MAX } else { (1 << limit) - 1 };
    (word.load(Relaxed) & mask).checked_ilog2()
}

#[inline]
fn set(word: &AtomicU64, bit: u32) {
    word.store(word.load(Relaxed) | 1 << bit, Relaxed);
}

/// Clears a bit; true if none is left.
#[inline]
fn clear(word: &AtomicU64, bit: u32) -> bool {
    let left = word.load(Relaxed) & !(1 << bit);
    word.store(left, Relaxed);
    left == 0
}
