//! Where everything lies in a semaphore's file: `docs/format.md` as code. All semaphores have the same layout.

use super::{ATTACH_ENTRIES, PAGE, Place};
use crate::raw::Shared;
use crate::raw::owner::Entry;
use crate::raw::permits::{Available, Desk, Record, Totals};
use crate::sync::{AtomicU32, AtomicU64};
use std::mem::{offset_of, size_of};

/// How many acquisitions can be held or waited for at a time.
pub(crate) const RECORDS: u32 = 1 << 16;
/// How many records are reserved at a time: a page.
pub(crate) const CHUNK: u32 = (PAGE / size_of::<Record>() as u64) as u32;

const ATTACH_AT: u64 = 4096;
const RECORDS_AT: u64 = ATTACH_AT + (ATTACH_ENTRIES + 1) * size_of::<Entry>() as u64;

/// The length of the file.
pub(crate) const FILE_SIZE: u64 = RECORDS_AT + RECORDS as u64 * size_of::<Record>() as u64;
/// What is reserved at creation: the header and the first page of attach entries.
pub(crate) const FIXED_BYTES: (u64, u64) = (0, ATTACH_AT + PAGE);

pub(crate) const HEADER_PLACE: Place = Place { offset: 0, len: 1 };
pub(crate) const ATTACH_PLACE: Place = Place { offset: ATTACH_AT, len: ATTACH_ENTRIES };
pub(crate) const RECORDS_PLACE: Place = Place { offset: RECORDS_AT, len: RECORDS as u64 };

/// The header's words that change, from byte 320 on.
#[repr(C)]
pub(crate) struct Header {
    fixed: [AtomicU64; 40],
    /// 0 open, 1 closed, 2 unlinked.
    pub life: AtomicU32,
    pub fresh: AtomicU32,
    spare_1: AtomicU64,
    pub attach_high: AtomicU32,
    spare_2: [AtomicU32; 11],
    pub available: Available,
    spare_3: [AtomicU64; 15],
    pub desk: Desk,
    pub totals: Totals,
}

// SAFETY: repr(C), atomics and structs of atomics only, no padding (asserted below).
#[allow(unsafe_code, reason = "a promise about a layout")]
unsafe impl Shared for Header {}

const _: () = {
    assert!(offset_of!(Header, life) == 320);
    assert!(offset_of!(Header, fresh) == 324);
    assert!(offset_of!(Header, attach_high) == 336);
    assert!(offset_of!(Header, available) == 384);
    assert!(offset_of!(Header, desk) == 512);
    assert!(offset_of!(Header, totals) == 576);
    assert!(size_of::<Header>() == 600);
    assert!(size_of::<Totals>() == 24 && size_of::<Entry>() == 64);
    assert!(RECORDS_AT == 266_240 && CHUNK == 32);
};

/// The page of records that begins with record `first`.
pub(crate) fn record_page(first: u32) -> (u64, u64) {
    (RECORDS_AT + u64::from(first) * size_of::<Record>() as u64, PAGE)
}
