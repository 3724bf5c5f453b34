//! Wrappers of what closes or replaces descriptors: `close`, `close_range`, `closefrom`, `dup2`, `dup3`. They take an entry out of the
//! table before the number can be used again.

use crate::{find, next, sys, table};
use std::ffi::{c_int, c_uint};

/// Once a descriptor of a queue goes, the table forgets it.
#[inline(always)]
pub fn about_to_close(fd: c_int) {
    if table::active() {
        find::forget(fd);
    }
}

/// `int close(int)`.
///
/// # Safety
/// As close(2): nobody uses the descriptor afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn close(fd: c_int) -> c_int {
    about_to_close(fd);
    // SAFETY: the caller's promise.
    unsafe { next::close(fd) }
}

/// `int close_range(unsigned, unsigned, int)`.
///
/// # Safety
/// As [`close`], for all of them.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    // Only marking them for exec closes nothing; with flags that are unknown the call fails.
    let closes = flags == 0 || flags == libc::CLOSE_RANGE_UNSHARE as c_int;
    if table::active() && closes {
        table::known(first as usize, last as usize).for_each(find::forget);
    }
    // SAFETY: the caller's promise.
    unsafe { next::close_range(first, last, flags) }
}

/// `void closefrom(int)`.
///
/// # Safety
/// As [`close`], for all of them.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn closefrom(low: c_int) {
    if table::active() {
        table::known(low.max(0) as usize, usize::MAX).for_each(find::forget);
    }
    // SAFETY: the caller's promise.
    unsafe { next::closefrom(low) }
}

/// `int dup2(int, int)`.
///
/// # Safety
/// As [`close`], for `to`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn dup2(from: c_int, to: c_int) -> c_int {
    about_to_replace(from, to);
    // SAFETY: the caller's promise.
    unsafe { next::dup2(from, to) }
}

/// `int dup3(int, int, int)`.
///
/// # Safety
/// As [`close`], for `to`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    if flags & !libc::O_CLOEXEC == 0 {
        about_to_replace(from, to);
    }
    // SAFETY: the caller's promise.
    unsafe { next::dup3(from, to, flags) }
}

/// If the call is going to fail, nothing is replaced.
fn about_to_replace(from: c_int, to: c_int) {
    if table::active() && from != to && sys::is_open(from) {
        find::forget(to);
    }
}
