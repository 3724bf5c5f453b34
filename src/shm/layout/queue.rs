//! Where everything lies in a queue's file: `docs/format.md` as code. It computes and checks; it maps and stores nothing.

use super::{ATTACH_ENTRIES, FILE_SIZE_MAX, OutOfRange, PAGE, Place, in_range};
use crate::message::{CAPACITY_MAX, MESSAGE_SIZE_MAX};
use crate::raw::Shared;
use crate::raw::event::Event;
use crate::raw::index::{LEAVES, LEVELS, Level, Link};
use crate::raw::ledger::{Desk, Totals};
use crate::raw::notice::Notice;
use crate::raw::owner::Entry;
use crate::raw::ring::Slot;
use crate::raw::word::CELLS;
use crate::stat::Attributes;
use crate::sync::{AtomicU32, AtomicU64};
use std::mem::{offset_of, size_of};

/// The largest inline size.
const INLINE_MAX: u64 = 256;
/// How many slots are reserved at a time.
pub(crate) const CHUNK: u32 = 64;

const HEADER: u64 = 0;
const CELLS_AT: u64 = 4096;
const LEAF_AT: u64 = 8192;
const ATTACH_AT: u64 = 12288;
const LEVELS_AT: u64 = ATTACH_AT + (ATTACH_ENTRIES + 1) * size_of::<Entry>() as u64;
const LINKS_AT: u64 = LEVELS_AT + (LEVELS * size_of::<Level>()) as u64;

/// The header's words that change, from byte 320 on. What was fixed at creation lies before and is read once, not mapped.
#[repr(C)]
pub(crate) struct Header {
    fixed: [AtomicU64; 40],
    /// 0 open, 1 closed, 2 unlinked.
    pub life: AtomicU32,
    pub fresh: AtomicU32,
    pub levels_backed: AtomicU64,
    pub attach_high: AtomicU32,
    spare_1: [AtomicU32; 11],
    pub tail: AtomicU64,
    spare_2: [AtomicU64; 15],
    pub desk: Desk,
    pub receivers: Event,
    pub notice: Notice,
    /// Always 0: whoever sleeps sleeps on it, too, and the kernel wakes one when a participant dies in the middle of a call.
    pub will: AtomicU32,
    spare_3: [AtomicU32; 11],
    pub senders: Event,
    /// 1: some participant polls the doorbell.
    pub polled: AtomicU32,
    /// Packets in the doorbell, or [`PACKETS_UNKNOWN`].
    pub packets: AtomicU32,
    /// 0, or [`MODE_IS_SET`] and permission bits.
    pub mode: AtomicU32,
    /// Inode of the doorbell, or 0.
    pub bell: AtomicU64,
    spare_4: [AtomicU32; 10],
    pub totals: Totals,
    spare_5: [AtomicU64; 10],
}

/// Nobody knows how many packets are in the doorbell.
pub(crate) const PACKETS_UNKNOWN: u32 = u32::MAX;
/// In `mode`: there are permission bits.
pub(crate) const MODE_IS_SET: u32 = 1 << 31;

// SAFETY: repr(C), atomics and structs of atomics only, no padding (asserted below).
#[allow(unsafe_code, reason = "a promise about a layout")]
unsafe impl Shared for Header {}

const _: () = {
    assert!(offset_of!(Header, life) == 320);
    assert!(offset_of!(Header, fresh) == 324);
    assert!(offset_of!(Header, levels_backed) == 328);
    assert!(offset_of!(Header, attach_high) == 336);
    assert!(offset_of!(Header, tail) == 384);
    assert!(offset_of!(Header, desk) == 512);
    assert!(offset_of!(Header, receivers) == 640);
    assert!(offset_of!(Header, notice) == 644);
    assert!(offset_of!(Header, will) == 656);
    assert!(offset_of!(Header, senders) == 704);
    assert!(offset_of!(Header, polled) == 708);
    assert!(offset_of!(Header, packets) == 712);
    assert!(offset_of!(Header, mode) == 716);
    assert!(offset_of!(Header, bell) == 720);
    assert!(offset_of!(Header, totals) == 768);
    assert!(size_of::<Header>() == 896);
    assert!(offset_of!(Desk, head) == 8 && offset_of!(Desk, free) == 32 && offset_of!(Desk, received) == 48);
    assert!(offset_of!(Desk, mid) == 64 && size_of::<Desk>() == 128);
    assert!(offset_of!(Slot, meta) == 8 && offset_of!(Slot, backed) == 16 && offset_of!(Slot, redelivered) == 24);
    assert!(size_of::<Slot>() == 64 && size_of::<Entry>() == 64 && size_of::<Link>() == 8 && size_of::<Level>() == 8);
    assert!(size_of::<Totals>() == 48);
    assert!(CELLS * 8 <= PAGE as usize);
    assert!(LEAVES * 8 <= PAGE as usize);
    assert!(LINKS_AT == 536_576);
};

/// The layout of one queue, computed from its attributes. A private copy: shared memory cannot change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub attributes: Attributes,
    /// Bytes of a message that lie beside its slot.
    pub inline: u64,
    /// Bytes of an extent; 0 if every message fits inline.
    pub extent: u64,
    pub links: Place,
    pub slots: Place,
    inline_at: u64,
    extents_at: u64,
    pub file_size: u64,
}

impl Header {
    /// Wakes everybody who sleeps, on both sides.
    pub(crate) fn wake_all(&self) {
        self.receivers.signal_all();
        self.senders.signal_all();
    }
}

impl Layout {
    pub(crate) const HEADER: Place = Place { offset: HEADER, len: 1 };
    pub(crate) const CELLS: Place = Place { offset: CELLS_AT, len: 1 };
    pub(crate) const LEAF: Place = Place { offset: LEAF_AT, len: 1 };
    pub(crate) const ATTACH: Place = Place { offset: ATTACH_AT, len: ATTACH_ENTRIES };
    pub(crate) const LEVELS: Place = Place { offset: LEVELS_AT, len: LEVELS as u64 };

    /// The layout for these attributes.
    pub(crate) fn new(attributes: Attributes) -> Result<Layout, OutOfRange> {
        let Attributes { capacity, message_size } = attributes;
        let n = in_range("capacity", capacity.into(), 1, CAPACITY_MAX.into())?;
        in_range("message size", message_size, 1, MESSAGE_SIZE_MAX)?;
        let inline = message_size.next_multiple_of(64).min(INLINE_MAX);
        let extent = if message_size > inline { message_size.next_multiple_of(PAGE) } else { 0 };
        // At most 2^24 × (2^40 + a little), which a u64 just holds: 2^64 − 1 is above it only without the little.
        let product = n.checked_mul(extent).filter(|bytes| *bytes <= FILE_SIZE_MAX);
        let extents =
            product.ok_or(OutOfRange("capacity × message size", 1, FILE_SIZE_MAX, n.saturating_mul(extent)))?;
        let links = Place { offset: LINKS_AT, len: n };
        let slots = Place { offset: (LINKS_AT + n * size_of::<Link>() as u64).next_multiple_of(PAGE), len: n };
        let inline_at = (slots.offset + n * size_of::<Slot>() as u64).next_multiple_of(PAGE);
        let extents_at = (inline_at + n * inline).next_multiple_of(PAGE);
        let file_size = extents_at + extents;
        Ok(Layout { attributes, inline, extent, links, slots, inline_at, extents_at, file_size })
    }

    /// Where the payload of a message of this length lies, in this slot.
    #[inline]
    pub(crate) fn payload(&self, slot: u32, length: u64) -> u64 {
        if length <= self.inline {
            self.inline_at + u64::from(slot) * self.inline
        } else {
            self.extents_at + u64::from(slot) * self.extent
        }
    }

    /// What is reserved at creation: the pages before the level table that are used from the start.
    pub(crate) fn fixed_bytes() -> (u64, u64) {
        (HEADER, ATTACH_AT + PAGE)
    }

    /// A page of the level table.
    pub(crate) fn level_page(page: u16) -> (u64, u64) {
        (LEVELS_AT + u64::from(page) * PAGE, PAGE)
    }

    /// What slots `from..to` need: links, slots, inline bytes.
    pub(crate) fn slot_bytes(&self, from: u32, to: u32) -> [(u64, u64); 3] {
        let (from, count) = (u64::from(from), u64::from(to - from));
        let range = |start: u64, size: u64| (start + from * size, count * size);
        [
            range(self.links.offset, size_of::<Link>() as u64),
            range(self.slots.offset, size_of::<Slot>() as u64),
            range(self.inline_at, self.inline),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(capacity: u32, message_size: u64) -> Option<Layout> {
        Layout::new(Attributes { capacity, message_size }).ok()
    }

    #[test]
    fn the_extremes_of_the_attributes() {
        assert_eq!(layout(1, 1).unwrap().inline, 64);
        assert_eq!(layout(1, 256).unwrap().extent, 0);
        assert_eq!(layout(1, 257).unwrap().extent, 4096);
        assert!(layout(1, MESSAGE_SIZE_MAX).is_some());
        assert!(layout(CAPACITY_MAX, 64).is_some());
        assert!(layout(CAPACITY_MAX, MESSAGE_SIZE_MAX).is_none());
        assert!(layout(0, 1).is_none() && layout(1, 0).is_none() && layout(CAPACITY_MAX + 1, 1).is_none());
        assert!(layout(1, MESSAGE_SIZE_MAX + 1).is_none());
    }

    #[test]
    fn areas_do_not_overlap() {
        for (capacity, size) in [(1, 1), (1024, 65536), (1000, 100), (7, 300)] {
            let layout = layout(capacity, size).unwrap();
            let links_end = layout.links.offset + u64::from(capacity) * 8;
            let slots_end = layout.slots.offset + u64::from(capacity) * 64;
            assert!(links_end <= layout.slots.offset && slots_end <= layout.inline_at);
            assert!(layout.payload(capacity - 1, 1) + layout.inline <= layout.extents_at);
            if layout.extent > 0 {
                assert_eq!(layout.payload(capacity - 1, size) + layout.extent, layout.file_size);
            }
        }
    }
}
