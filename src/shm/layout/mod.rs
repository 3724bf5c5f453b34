//! What the files of all kinds of objects begin with: who they are, checked before anything is mapped. Where the rest lies is
//! in [`queue`] and [`semaphore`]. It computes and checks; it maps and stores nothing.

pub(crate) mod queue;
pub(crate) mod semaphore;

use crate::name::{Kind, NAME_BYTES_MAX, Name};
use crate::raw::owner::Entry;
use crate::raw::word::Owner;
use crate::stat::Attributes;

/// `chappe\r\n`, read as a little-endian number. (The line end shows files that went through a text filter.)
const MAGIC: u64 = u64::from_le_bytes(*b"chappe\r\n");
/// The layout version that this library speaks.
pub(crate) const VERSION: u32 = 1;
/// The unit of areas and reservations. Larger pages reserve more than was asked for, which is all right.
pub(crate) const PAGE: u64 = 4096;
/// The longest file that is tried: what 47 bits of address space can hold beside everything else.
const FILE_SIZE_MAX: u64 = 1 << 46;
/// How long the part of a header is that is fixed at creation.
const FIXED: usize = 320;

/// The attach entries that can be used; the bytes behind theirs are the creator's and the name's.
pub(crate) const ATTACH_ENTRIES: u64 = Owner::INDEX_MAX as u64 + 1;
/// The byte lock that the creator of an ephemeral object holds.
pub(crate) const CREATOR_BYTE: u32 = Owner::INDEX_MAX + 1;
/// The byte lock of whoever removes the name of this file.
pub(crate) const NAME_BYTE: u32 = CREATOR_BYTE + 1;

const FLAG_EPHEMERAL: u32 = 1;
const FLAG_STRICT: u32 = 2;

/// The life of an object; the word is only ever raised.
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

/// The pages of an attach table up to and with the one that entry `index` lies on: all of them, since whoever reads the table
/// goes up to the highest index in use.
pub(crate) fn attach_pages(table: Place, index: u32) -> (u64, u64) {
    (table.offset, ((u64::from(index) + 1) * size_of::<Entry>() as u64).next_multiple_of(PAGE))
}

/// Why attributes have no layout: name, lowest, highest, and what was asked for.
#[derive(Debug)]
pub(crate) struct OutOfRange(pub &'static str, pub u64, pub u64, pub u64);

/// The value, if it is from `low` to `high`.
pub(crate) fn in_range(what: &'static str, value: u64, low: u64, high: u64) -> Result<u64, OutOfRange> {
    if (low..=high).contains(&value) { Ok(value) } else { Err(OutOfRange(what, low, high, value)) }
}

/// Where everything lies in one file. A private copy: shared memory cannot change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Geometry {
    Queue(queue::Layout),
    Semaphore,
}

impl Geometry {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Geometry::Queue(_) => Kind::Queue,
            Geometry::Semaphore => Kind::Semaphore,
        }
    }

    pub(crate) fn file_size(self) -> u64 {
        match self {
            Geometry::Queue(layout) => layout.file_size,
            Geometry::Semaphore => semaphore::FILE_SIZE,
        }
    }

    /// What is reserved at creation.
    pub(crate) fn fixed_bytes(self) -> (u64, u64) {
        match self {
            Geometry::Queue(_) => queue::Layout::fixed_bytes(),
            Geometry::Semaphore => semaphore::FIXED_BYTES,
        }
    }

    /// The three numbers of the header that a kind has for itself.
    fn numbers(self) -> (u32, u32, u64) {
        match self {
            Geometry::Queue(layout) => {
                (layout.attributes.capacity, layout.inline as u32, layout.attributes.message_size)
            }
            Geometry::Semaphore => (semaphore::RECORDS, 0, 0),
        }
    }

    fn from_numbers(kind: Kind, numbers: (u32, u32, u64)) -> Result<Geometry, &'static str> {
        let geometry = match kind {
            Kind::Queue => {
                let attributes = Attributes { capacity: numbers.0, message_size: numbers.2 };
                Geometry::Queue(queue::Layout::new(attributes).map_err(|_| "its attributes are out of range")?)
            }
            Kind::Semaphore => Geometry::Semaphore,
        };
        if geometry.numbers() == numbers { Ok(geometry) } else { Err("its header contradicts itself") }
    }
}

fn kind_number(kind: Kind) -> u32 {
    match kind {
        Kind::Queue => 1,
        Kind::Semaphore => 2,
    }
}

/// What the fixed part of a header says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub geometry: Geometry,
    /// `None`: it was created without a name.
    pub name: Option<Name>,
    pub ephemeral: bool,
    /// Permits come back only when nothing of their holder is left, not even a system call under way.
    pub strict: bool,
    pub created: u64,
}

impl Identity {
    /// The first bytes of the file: everything that is fixed at creation.
    pub(crate) fn to_bytes(&self) -> [u8; FIXED] {
        let mut bytes = [0; FIXED];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        let (first, second, third) = self.geometry.numbers();
        let name = self.name.as_ref().map_or(&[][..], Name::as_bytes);
        put(0, &MAGIC.to_ne_bytes());
        put(8, &VERSION.to_ne_bytes());
        put(12, &kind_number(self.geometry.kind()).to_ne_bytes());
        put(16, &first.to_ne_bytes());
        put(20, &second.to_ne_bytes());
        put(24, &third.to_ne_bytes());
        put(32, &self.geometry.file_size().to_ne_bytes());
        put(48, &self.created.to_ne_bytes());
        let flag = |on: bool, bit: u32| if on { bit } else { 0 };
        let flags = flag(self.ephemeral, FLAG_EPHEMERAL) | flag(self.strict, FLAG_STRICT);
        put(56, &flags.to_ne_bytes());
        put(60, &(name.len() as u32).to_ne_bytes());
        put(64, name);
        bytes
    }
}

/// Why a file is not taken for an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotOurs(&'static str),
    Version(u32),
}

/// Reads and checks the fixed part of a header of this kind: `bytes` is the beginning of a file of `file_size` bytes.
pub(crate) fn identify(kind: Kind, bytes: &[u8], file_size: u64) -> Result<Identity, Refusal> {
    let no = |reason| Err(Refusal::NotOurs(reason));
    let Some(bytes) = bytes.first_chunk::<FIXED>() else { return no("it is too short for a header") };
    let u32_at = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
    let u64_at = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
    if u64_at(0) != MAGIC {
        return no("it does not begin with the magic number");
    }
    if u32_at(8) != VERSION {
        return Err(Refusal::Version(u32_at(8)));
    }
    if u32_at(12) != kind_number(kind) {
        return no("it holds another kind of object");
    }
    let geometry = Geometry::from_numbers(kind, (u32_at(16), u32_at(20), u64_at(24))).map_err(Refusal::NotOurs)?;
    if u64_at(32) != geometry.file_size() {
        return no("its header contradicts itself");
    }
    if u64_at(40) != 0 {
        return no("its messages have a type, which this version cannot check");
    }
    if file_size != geometry.file_size() {
        return no("it does not have the length that its header says: it was truncated or extended");
    }
    let Some(name) = name_in(bytes, u32_at(60) as usize) else { return no("the name in its header is no name") };
    let flag = |bit: u32| u32_at(56) & bit != 0;
    let (ephemeral, strict) = (flag(FLAG_EPHEMERAL), flag(FLAG_STRICT));
    Ok(Identity { geometry, name, ephemeral, strict, created: u64_at(48) })
}

/// The name in a header, if it has one; `None` if what is there is no name.
fn name_in(bytes: &[u8], len: usize) -> Option<Option<Name>> {
    let text = bytes[64..].get(..len).filter(|_| len <= NAME_BYTES_MAX)?;
    if text.is_empty() { Some(None) } else { Name::new(text).ok().map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identities() -> [Identity; 3] {
        // Sizes at which no change of an attribute leaves the file's length as it is.
        let layout = queue::Layout::new(Attributes { capacity: 10, message_size: 4096 }).unwrap();
        let queue = Geometry::Queue(layout);
        let name = Some(Name::new([b'n'; 255]).unwrap());
        [
            Identity { geometry: queue, name: name.clone(), ephemeral: true, strict: false, created: 7 },
            Identity { geometry: Geometry::Semaphore, name, ephemeral: false, strict: true, created: 7 },
            Identity { geometry: Geometry::Semaphore, name: None, ephemeral: false, strict: false, created: 7 },
        ]
    }

    #[test]
    fn a_header_is_read_back() {
        for identity in identities() {
            let geometry = identity.geometry;
            assert_eq!(identify(geometry.kind(), &identity.to_bytes(), geometry.file_size()), Ok(identity));
        }
    }

    #[test]
    fn any_changed_byte_of_magic_version_kind_or_geometry_is_refused() {
        for identity in identities() {
            let (good, geometry) = (identity.to_bytes(), identity.geometry);
            for at in 0..48 {
                let mut bytes = good;
                bytes[at] ^= 1;
                assert!(identify(geometry.kind(), &bytes, geometry.file_size()).is_err(), "byte {at}");
            }
            assert!(identify(geometry.kind(), &good, geometry.file_size() - 1).is_err());
            assert!(identify(geometry.kind(), &good[..319], geometry.file_size()).is_err());
        }
    }
}
