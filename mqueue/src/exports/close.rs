//! Wrappers of what closes or replaces descriptors: `close`, `close_range`, `closefrom`, `dup2`, `dup3`. They take an entry out of the
//! table before the number can be used again.

use crate::{find, next, sys, table};
use std::ffi::{c_int, c_uint};

/// `int close(int)`.
///
/// # Safety
/// As close(2): nobody uses the descriptor afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn close(fd: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { close_here(fd) }
}

/// [`close`], for this library's own calls: the dynamic linker resolves exported names, and where this library was loaded with dlopen
/// the first `close` that it finds is the C library's.
///
/// # Safety
/// As [`close`].
pub unsafe fn close_here(fd: c_int) -> c_int {
    if table::active() && find::forget(fd) {
        // SAFETY: the caller's promise. Here it is no cancellation point: the table waits for it.
        let result = sys::shielded(|| Ok(unsafe { next::close(fd) }));
        table::closed(fd);
        return sys::returned(result);
    }
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
    let ours = || table::known(first as usize, last as usize);
    let active = table::active() && closes;
    if active {
        ours().for_each(|fd| _ = find::forget(fd));
    }
    // SAFETY: the caller's promise.
    let result = unsafe { next::close_range(first, last, flags) };
    if active {
        ours().for_each(table::closed);
    }
    result
}

/// `void closefrom(int)`.
///
/// # Safety
/// As [`close`], for all of them.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn closefrom(low: c_int) {
    let ours = || table::known(low.max(0) as usize, usize::MAX);
    let active = table::active();
    if active {
        ours().for_each(|fd| _ = find::forget(fd));
    }
    // SAFETY: the caller's promise.
    unsafe { next::closefrom(low) };
    if active {
        ours().for_each(table::closed);
    }
}

/// `int dup2(int, int)`.
///
/// # Safety
/// As [`close`], for `to`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn dup2(from: c_int, to: c_int) -> c_int {
    let ours = about_to_replace(from, to);
    // SAFETY: the caller's promise.
    let result = unsafe { next::dup2(from, to) };
    if ours {
        table::closed(to);
    }
    result
}

/// `int dup3(int, int, int)`.
///
/// # Safety
/// As [`close`], for `to`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    let ours = flags & !libc::O_CLOEXEC == 0 && about_to_replace(from, to);
    // SAFETY: the caller's promise.
    let result = unsafe { next::dup3(from, to, flags) };
    if ours {
        table::closed(to);
    }
    result
}

/// If the call is going to fail, nothing is replaced. True if [`table::closed`] is to be called afterwards.
fn about_to_replace(from: c_int, to: c_int) -> bool {
    table::active() && from != to && sys::is_open(from) && find::forget(to)
}
