//! Where everything lies in a queue's file: `docs/format.md` as code. It computes and checks; it maps and stores nothing.

use crate::message::{CAPACITY_MAX, MESSAGE_SIZE_MAX};
use crate::name::{Kind, NAME_BYTES_MAX, Name};
use crate::raw::Shared;
use crate::raw::event::Event;
use crate::raw::index::{LEAVES, LEVELS, Level, Link};
use crate::raw::ledger::{Desk, Totals};
use crate::raw::owner::Entry;
use crate::raw::ring::Slot;
use crate::raw::word::{CELLS, Owner};
use crate::stat::Attributes;
use crate::sync::{AtomicU32, AtomicU64};
use std::mem::{offset_of, size_of};

/// `chappe\r\n`, read as a little-endian number. (The line end shows files that went through a text filter.)
const MAGIC: u64 = u64::from_le_bytes(*b"chappe\r\n");
/// The layout version that this library speaks.
pub(crate) const VERSION: u32 = 1;
/// The unit of areas and reservations. Larger pages reserve more than was asked for, which is all right.
const PAGE: u64 = 4096;
/// The largest inline size.
const INLINE_MAX: u64 = 256;
/// The longest file that is tried: what 47 bits of address space can hold beside everything else.
const FILE_SIZE_MAX: u64 = 1 << 46;
/// How many slots are reserved at a time.
pub(crate) const CHUNK: u32 = 64;

/// The attach entries that exist; the last one names nobody, and its byte is the creator's.
const ENTRIES: u64 = 4096;
/// The byte lock that the creator of an ephemeral queue holds.
pub(crate) const CREATOR_BYTE: u32 = Owner::INDEX_MAX + 1;
/// The byte lock of whoever removes the name of this file.
pub(crate) const NAME_BYTE: u32 = CREATOR_BYTE + 1;

const FLAG_EPHEMERAL: u32 = 1;

const HEADER: u64 = 0;
const CELLS_AT: u64 = 4096;
const LEAF_AT: u64 = 8192;
const ATTACH_AT: u64 = 12288;
const LEVELS_AT: u64 = ATTACH_AT + ENTRIES * size_of::<Entry>() as u64;
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
    spare_3: [AtomicU32; 15],
    pub senders: Event,
    spare_4: [AtomicU32; 15],
    pub totals: Totals,
    spare_5: [AtomicU64; 10],
}

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
    assert!(offset_of!(Header, senders) == 704);
    assert!(offset_of!(Header, totals) == 768);
    assert!(size_of::<Header>() == 896);
    assert!(offset_of!(Desk, head) == 8 && offset_of!(Desk, free) == 32 && offset_of!(Desk, received) == 48);
    assert!(offset_of!(Desk, mid) == 64 && size_of::<Desk>() == 128);
    assert!(offset_of!(Slot, meta) == 8 && offset_of!(Slot, backed) == 16 && offset_of!(Slot, redelivered) == 24);
    assert!(size_of::<Slot>() == 64 && size_of::<Entry>() == 64 && size_of::<Link>() == 8 && size_of::<Level>() == 8);
    assert!(size_of::<Totals>() == 48);
    assert!(CELLS * 8 == PAGE as usize && LEAVES * 8 == PAGE as usize);
    assert!(LINKS_AT == 536_576);
};

/// The life of a queue; the word is only ever raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    Open = 0,
    Closed = 1,
    Unlinked = 2,
}

impl Life {
    /// The life in a word; what makes no sense has ended.
    #[inline(always)]
    pub(crate) fn from_word(word: u32) -> Life {
        match word {
            0 => Life::Open,
            1 => Life::Closed,
            _ => Life::Unlinked,
        }
    }
}

/// An area of a file: where it begins, and how many values it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub offset: u64,
    pub len: u64,
}

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

/// Why attributes have no layout: name, lowest, highest, and what was asked for.
pub(crate) struct OutOfRange(pub &'static str, pub u64, pub u64, pub u64);

impl Layout {
    pub(crate) const HEADER: Place = Place { offset: HEADER, len: 1 };
    pub(crate) const CELLS: Place = Place { offset: CELLS_AT, len: 1 };
    pub(crate) const LEAF: Place = Place { offset: LEAF_AT, len: 1 };
    pub(crate) const ATTACH: Place = Place { offset: ATTACH_AT, len: ENTRIES - 1 };
    pub(crate) const LEVELS: Place = Place { offset: LEVELS_AT, len: LEVELS as u64 };

    /// The layout for these attributes.
    pub(crate) fn new(attributes: Attributes) -> Result<Layout, OutOfRange> {
        let Attributes { capacity, message_size } = attributes;
        let in_range = |what, value, high| {
            if (1..=high).contains(&value) { Ok(value) } else { Err(OutOfRange(what, 1, high, value)) }
        };
        let n = in_range("capacity", capacity.into(), CAPACITY_MAX.into())?;
        in_range("message size", message_size, MESSAGE_SIZE_MAX)?;
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

    /// The pages of attach entries up to and with the one that `index` lies on: all of them, since whoever reads the table
    /// goes up to the highest index in use.
    pub(crate) fn attach_pages(index: u32) -> (u64, u64) {
        (ATTACH_AT, ((u64::from(index) + 1) * size_of::<Entry>() as u64).next_multiple_of(PAGE))
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

    /// The first bytes of the file: everything that is fixed at creation.
    pub(crate) fn fixed_header(&self, name: &Name, ephemeral: bool, created: u64) -> [u8; 320] {
        let mut bytes = [0; 320];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &MAGIC.to_ne_bytes());
        put(8, &VERSION.to_ne_bytes());
        put(12, &kind_number(Kind::Queue).to_ne_bytes());
        put(16, &self.attributes.capacity.to_ne_bytes());
        put(20, &(self.inline as u32).to_ne_bytes());
        put(24, &self.attributes.message_size.to_ne_bytes());
        put(32, &self.file_size.to_ne_bytes());
        put(48, &created.to_ne_bytes());
        put(56, &(if ephemeral { FLAG_EPHEMERAL } else { 0 }).to_ne_bytes());
        put(60, &(name.as_bytes().len() as u32).to_ne_bytes());
        put(64, name.as_bytes());
        bytes
    }
}

fn kind_number(kind: Kind) -> u32 {
    match kind {
        Kind::Queue => 1,
    }
}

/// What the fixed part of a header says, checked.
#[derive(Debug)]
pub(crate) struct Identity {
    pub layout: Layout,
    pub name: Name,
    pub ephemeral: bool,
    pub created: u64,
}

/// Why a file is not taken for a queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotOurs(&'static str),
    Version(u32),
}

/// Reads and checks the fixed part of a header: `bytes` is the beginning of a file of `file_size` bytes.
pub(crate) fn identify(bytes: &[u8], file_size: u64) -> Result<Identity, Refusal> {
    let no = |reason| Err(Refusal::NotOurs(reason));
    let Some(bytes) = bytes.first_chunk::<320>() else { return no("it is too short for a header") };
    let u32_at = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
    let u64_at = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
    if u64_at(0) != MAGIC {
        return no("it does not begin with the magic number");
    }
    if u32_at(8) != VERSION {
        return Err(Refusal::Version(u32_at(8)));
    }
    if u32_at(12) != kind_number(Kind::Queue) {
        return no("it holds another kind of object");
    }
    let attributes = Attributes { capacity: u32_at(16), message_size: u64_at(24) };
    let Ok(layout) = Layout::new(attributes) else { return no("its attributes are out of range") };
    if u64::from(u32_at(20)) != layout.inline || u64_at(32) != layout.file_size {
        return no("its header contradicts itself");
    }
    if u64_at(40) != 0 {
        return no("its messages have a type, which this version cannot check");
    }
    if file_size != layout.file_size {
        return no("it does not have the length that its header says: it was truncated or extended");
    }
    let name_len = u32_at(60) as usize;
    let name = bytes[64..].get(..name_len).filter(|_| name_len <= NAME_BYTES_MAX).map(Name::new);
    let Some(Ok(name)) = name else { return no("the name in its header is no name") };
    Ok(Identity { layout, name, ephemeral: u32_at(56) & FLAG_EPHEMERAL != 0, created: u64_at(48) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(capacity: u32, message_size: u64) -> Option<Layout> {
        Layout::new(Attributes { capacity, message_size }).ok()
    }

    #[test]
    fn a_header_is_read_back() {
        let layout = layout(10, 1000).unwrap();
        let name = Name::new([b'n'; 255]).unwrap();
        let bytes = layout.fixed_header(&name, true, 7);
        let identity = identify(&bytes, layout.file_size).unwrap();
        assert_eq!((identity.layout, identity.name, identity.ephemeral, identity.created), (layout, name, true, 7));
    }

    #[test]
    fn any_changed_byte_of_magic_version_kind_or_geometry_is_refused() {
        // Sizes at which no change of an attribute leaves the file's length as it is.
        let layout = layout(10, 4096).unwrap();
        let good = layout.fixed_header(&Name::new("n").unwrap(), false, 7);
        for at in 0..48 {
            let mut bytes = good;
            bytes[at] ^= 1;
            assert!(identify(&bytes, layout.file_size).is_err(), "byte {at}");
        }
        assert!(identify(&good, layout.file_size - 1).is_err());
        assert!(identify(&good[..319], layout.file_size).is_err());
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
