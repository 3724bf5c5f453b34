//! The words that live in shared memory, and their protocols. Nothing here makes a system call (but for the futex, through
//! the facade), allocates (but where a rebuild or a walk needs a list), or reads a clock; nothing knows where in a file a word lies.
//!
//! The ring never waits and the event never moves data: a queue is their composition, in [`shm`](crate::shm).

pub(crate) mod event;
pub(crate) mod index;
pub(crate) mod ledger;
pub(crate) mod lock;
pub(crate) mod notice;
pub(crate) mod owner;
pub(crate) mod permits;
pub(crate) mod ring;
pub(crate) mod word;

#[cfg(test)]
mod tests;

use crate::sync::{AtomicU32, AtomicU64};

/// A type that may be laid over shared bytes.
///
/// # Safety
/// The type is `repr(C)` or an atomic integer, has no padding, holds no pointer, and every bit pattern is a valid value of it;
/// and all of it is atomics, so that a shared reference stays sound while other processes store to it.
pub(crate) unsafe trait Shared {}

// SAFETY: an atomic integer is valid for every bit pattern.
unsafe impl Shared for AtomicU32 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU64 {}
// SAFETY: an array of such has no padding of its own.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

/// A shared word makes no sense. Whoever meets it stops, with everything as it was or as its own store left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

/// Slots are listed by number + 1, so that 0 is "none" and zero pages are empty lists.
pub(crate) fn unlisted(number: u32) -> Option<u32> {
    number.checked_sub(1)
}

/// The slot with this number.
#[inline(always)]
pub(crate) fn at<T>(items: &[T], number: u32) -> Result<&T, Corrupt> {
    items.get(number as usize).ok_or(Corrupt)
}
