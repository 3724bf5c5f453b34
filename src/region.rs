//! A region: one mapped file, and the only maker of references into it. It knows offsets and lengths; what lies there is
//! the business of whoever asks.
//!
//! The file can be shortened by whoever may write it. What is touched beyond its last page then are zeros of this process's own, and the
//! region is *lost*: what was read from it is not to be believed, and what was written there nobody sees. (The rest of its last page is
//! zeros for everybody, as if somebody had written them.)

use crate::raw::Shared;
use crate::sys::file;
use crate::sys::memory::{self, Mapping};
use crate::sys::sigbus::Watched;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};

/// A cache line.
const LINE: usize = 64;

/// See the module.
pub(crate) struct Region {
    watched: Watched,
}

/// The place of `len` values of type `T`, checked against one region.
pub(crate) struct Area<T> {
    /// Invariant A1: `offset` is a multiple of the alignment of `T`, and `offset + len * size_of::<T>()` is at most the
    /// length of the region that made this value. Whoever holds an area uses it with that region only (they are fields
    /// of one struct).
    offset: usize,
    len: usize,
    of: PhantomData<T>,
}

impl Region {
    /// Maps the first `len` bytes of the file behind `fd`.
    ///
    /// A mapping keeps the open file description that it was made through, and a fork child keeps the mapping. So it is made
    /// through a description of its own, on which nobody ever takes a byte lock: else the child would keep its dead
    /// parent's bytes.
    pub(crate) fn new(fd: BorrowedFd<'_>, len: u64) -> io::Result<Region> {
        Ok(Region { watched: Watched::new(through_another(fd, len)?) })
    }

    /// As [`new`](Region::new), but fork children do not inherit it.
    pub(crate) fn for_this_process(fd: BorrowedFd<'_>, len: u64) -> io::Result<Region> {
        let mapping = through_another(fd, len)?;
        mapping.keep_from_children()?;
        Ok(Region { watched: Watched::here_only(mapping) })
    }

    /// Maps the first `len` bytes of the file behind `fd` to look at them: `fd` need be open for reading only, and nobody else sees
    /// what is stored there.
    pub(crate) fn to_look(fd: BorrowedFd<'_>, len: u64) -> io::Result<Region> {
        let len = usize::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Region { watched: Watched::new(Mapping::copy(fd, len)?) })
    }

    #[inline(always)]
    fn mapping(&self) -> &Mapping {
        self.watched.mapping()
    }

    /// Whether a page was missing that was touched before this call. It stays so. (A copy tells by itself.)
    #[inline(always)]
    pub(crate) fn is_lost(&self) -> bool {
        self.watched.is_lost()
    }

    /// The area of `len` values at `offset`. A place outside the region is a fault of ours, not of a peer: the layout was
    /// checked against the file before it was mapped.
    pub(crate) fn area<T: Shared>(&self, offset: u64, len: u64) -> Area<T> {
        let (offset, len) = (usize::try_from(offset).unwrap_or(usize::MAX), usize::try_from(len).unwrap_or(usize::MAX));
        let end = len.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(offset));
        assert!(end.is_some_and(|end| end <= self.mapping().len()), "an area outside its region");
        assert!(offset.is_multiple_of(align_of::<T>()), "an area out of alignment");
        Area { offset, len, of: PhantomData }
    }

    /// The values of an area.
    #[inline(always)]
    pub(crate) fn slice<T: Shared>(&self, area: &Area<T>) -> &[T] {
        debug_assert!(area.offset + area.len * size_of::<T>() <= self.mapping().len());
        // SAFETY: by A1 the offset lies within the mapping.
        let first = unsafe { self.mapping().address().add(area.offset) }.cast::<T>();
        // SAFETY: by A1 `len` values lie within the mapping, which is page-aligned, so they are aligned; `T: Shared` is
        // valid for every bit pattern and all atomics, so what other processes store meanwhile breaks no rule of a shared
        // reference. The mapping lives as long as `self`.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), area.len) }
    }

    /// The one value at the beginning of an area that was made for at least one.
    #[inline(always)]
    pub(crate) fn one<T: Shared>(&self, area: &Area<T>) -> &T {
        &self.slice(area)[0]
    }

    /// Copies bytes into the region; false if they do not lie within it, and then nothing is copied, or if it is lost.
    #[inline]
    pub(crate) fn copy_in(&self, offset: u64, bytes: &[u8]) -> bool {
        let Some(to) = self.bytes_at(offset, bytes.len()) else { return false };
        // SAFETY: `bytes_at` has checked that the bytes lie within the mapping, and `bytes` is memory of this process that no
        // mapping of ours overlaps. No reference to payload bytes exists anywhere. A peer that breaks the protocol can store
        // to them meanwhile; the bytes are then its garbage, as they would be had it stored before.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        !self.watched.is_lost_by_now()
    }

    /// Appends bytes of the region to a vector that has room for them; false, and nothing appended, if they do not lie within
    /// it, or if it is lost. (The caller makes the room, for a length that a peer wrote must not abort the process.)
    #[inline]
    pub(crate) fn copy_to_vec(&self, offset: u64, len: usize, to: &mut Vec<u8>) -> bool {
        let Some(from) = self.bytes_at(offset, len) else { return false };
        let end = to.len();
        if to.capacity() - end < len {
            return false;
        }
        // SAFETY: there is room for `len` bytes behind `end`.
        let place = unsafe { to.as_mut_ptr().add(end) };
        // SAFETY: as in `copy_in`, with the vector's spare room as the other side.
        unsafe { std::ptr::copy_nonoverlapping(from, place, len) };
        if self.watched.is_lost_by_now() {
            return false;
        }
        // SAFETY: these bytes have just been written.
        unsafe { to.set_len(end + len) };
        true
    }

    /// Copies bytes of the region into a slice of the same length; false if they do not lie within it, and then nothing is copied, or
    /// if it is lost.
    #[inline]
    pub(crate) fn copy_out(&self, offset: u64, to: &mut [u8]) -> bool {
        let Some(from) = self.bytes_at(offset, to.len()) else { return false };
        // SAFETY: as in `copy_in`, the other way round.
        unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
        !self.watched.is_lost_by_now()
    }

    /// Asks for the lines of `len` bytes at `offset`, for reading.
    #[inline(always)]
    pub(crate) fn prefetch(&self, offset: u64, len: u64) {
        for at in (offset..offset + len).step_by(LINE) {
            if let Some(line) = self.bytes_at(at, 0) {
                memory::prefetch(line);
            }
        }
    }

    /// Asks for the lines of `len` bytes at `offset`, for writing.
    #[inline(always)]
    pub(crate) fn prefetch_write(&self, offset: u64, len: u64) {
        for at in (offset..offset + len).step_by(LINE) {
            if let Some(line) = self.bytes_at(at, 0) {
                memory::prefetch_write(line);
            }
        }
    }

    /// The address of `len` bytes at `offset`, if all of them lie within the mapping.
    #[inline(always)]
    fn bytes_at(&self, offset: u64, len: usize) -> Option<*mut u8> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(len)?;
        if end > self.mapping().len() {
            return None;
        }
        // SAFETY: `offset` is at most the mapping's length.
        Some(unsafe { self.mapping().address().add(offset) }.as_ptr())
    }
}

fn through_another(fd: BorrowedFd<'_>, len: u64) -> io::Result<Mapping> {
    let len = usize::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
    Mapping::new(file::reopen_to_map(fd)?.as_fd(), len)
}
