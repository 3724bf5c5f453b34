//! Wrappers of what treats a descriptor as a file: `read`, `pread`, `write`, `lseek`, `fstat`. A queue is a small text file that can be read,
//! as in Linux's message queue file system.

use crate::errno::{self, Errno};
use crate::table::{Held, READ, WRITE};
use crate::text::{self, FILE_SIZE};
use crate::{find, next, sys};
use chappe::QueueStat;
use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering;

/// `ssize_t read(int, void *, size_t)`.
///
/// # Safety
/// `buffer` has room for `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn read(fd: c_int, buffer: *mut c_void, count: usize) -> isize {
    // SAFETY: the caller's promise.
    match unsafe { read_text(fd, buffer, count, None) } {
        Some(result) => sys::returned(result),
        // SAFETY: the caller's promise.
        None => unsafe { next::read(fd, buffer, count) },
    }
}

/// `read` as fortified programs call it, with the room that the buffer has. Asking for more ends the program.
///
/// # Safety
/// As [`read`], if `count` is not above `room`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __read_chk(fd: c_int, buffer: *mut c_void, count: usize, room: usize) -> isize {
    if count <= room {
        // SAFETY: the caller's promise.
        unsafe { read(fd, buffer, count) }
    } else {
        // SAFETY: it does not read.
        unsafe { next::__read_chk(fd, buffer, count, room) }
    }
}

/// `ssize_t pread(int, void *, size_t, off_t)`.
///
/// # Safety
/// As [`read`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pread(fd: c_int, buffer: *mut c_void, count: usize, offset: i64) -> isize {
    // SAFETY: the caller's promise.
    match unsafe { read_text(fd, buffer, count, Some(offset)) } {
        Some(result) => sys::returned(result),
        // SAFETY: the caller's promise.
        None => unsafe { next::pread(fd, buffer, count, offset) },
    }
}

/// `ssize_t pread64(int, void *, size_t, off64_t)`: the same on 64-bit systems.
///
/// # Safety
/// As [`read`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pread64(fd: c_int, buffer: *mut c_void, count: usize, offset: i64) -> isize {
    // SAFETY: the caller's promise.
    unsafe { pread(fd, buffer, count, offset) }
}

/// `pread` as fortified programs call it.
///
/// # Safety
/// As [`__read_chk`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __pread_chk(
    fd: c_int,
    buffer: *mut c_void,
    count: usize,
    offset: i64,
    room: usize,
) -> isize {
    if count <= room {
        // SAFETY: the caller's promise.
        unsafe { pread(fd, buffer, count, offset) }
    } else {
        // SAFETY: it does not read.
        unsafe { next::__pread_chk(fd, buffer, count, offset, room) }
    }
}

/// `pread64` as fortified programs call it.
///
/// # Safety
/// As [`__read_chk`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __pread64_chk(
    fd: c_int,
    buffer: *mut c_void,
    count: usize,
    offset: i64,
    room: usize,
) -> isize {
    // SAFETY: the caller's promise.
    unsafe { __pread_chk(fd, buffer, count, offset, room) }
}

/// Reads at `offset`, or where the last read ended. `None` if the descriptor is none of ours. (No cancellation point: it never
/// waits.)
///
/// # Safety
/// `buffer` has room for `count` bytes.
#[inline]
unsafe fn read_text(fd: c_int, buffer: *mut c_void, count: usize, offset: Option<i64>) -> Option<Result<isize, Errno>> {
    if find::is_other(fd) {
        return None;
    }
    let part = sys::shielded(|| Ok(find::certain(fd).map(|held| part(&held, count, offset))));
    let part = match part {
        Ok(part) => part?,
        Err(errno) => return Some(Err(errno)),
    };
    Some(part.map(|part| {
        // SAFETY: the caller says that there is room for `count` bytes, and the part has no more; it is memory of ours.
        unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(part.as_ptr(), part.len()) };
        part.len() as isize
    }))
}

fn part(held: &Held, count: usize, offset: Option<i64>) -> Result<Vec<u8>, Errno> {
    if !held.permits(READ) {
        return Err(libc::EBADF);
    }
    let from = usize::try_from(offset.unwrap_or_else(|| held.position.load(Ordering::Relaxed)));
    let from = from.map_err(|_| libc::EINVAL)?;
    let line = text::line(held.shared())?.into_bytes();
    let from = from.min(line.len());
    let part = &line[from..][..count.min(line.len() - from)];
    if offset.is_none() {
        held.position.fetch_add(part.len() as i64, Ordering::Relaxed);
    }
    Ok(part.to_vec())
}

/// `ssize_t write(int, const void *, size_t)`.
///
/// # Safety
/// `buffer` has `count` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn write(fd: c_int, buffer: *const c_void, count: usize) -> isize {
    if !find::is_other(fd)
        && let Some(refusal) = refuse_write(fd)
    {
        return sys::fail(refusal);
    }
    // SAFETY: the caller's promise.
    unsafe { next::write(fd, buffer, count) }
}

/// What is wrong with it, if it is ours.
fn refuse_write(fd: c_int) -> Option<Errno> {
    let refusal = |held: Held| if held.permits(WRITE) { libc::EINVAL } else { libc::EBADF };
    sys::shielded(|| Ok(find::certain(fd).map(refusal))).unwrap_or(None)
}

/// `off_t lseek(int, off_t, int)`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lseek(fd: c_int, offset: i64, whence: c_int) -> i64 {
    let seek = || Ok(find::certain(fd).map(|held| seek(&held, offset, whence)));
    let sought = if find::is_other(fd) { Ok(None) } else { sys::shielded(seek) };
    match sought {
        Ok(Some(result)) => sys::returned(result),
        // SAFETY: the call touches no memory.
        _ => unsafe { next::lseek(fd, offset, whence) },
    }
}

/// `off64_t lseek64(int, off64_t, int)`: the same on 64-bit systems.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn lseek64(fd: c_int, offset: i64, whence: c_int) -> i64 {
    lseek(fd, offset, whence)
}

fn seek(held: &Held, offset: i64, whence: c_int) -> Result<i64, Errno> {
    let inside = (0..FILE_SIZE).contains(&offset);
    let to = match whence {
        libc::SEEK_SET => Some(offset),
        libc::SEEK_CUR => held.position.load(Ordering::Relaxed).checked_add(offset),
        libc::SEEK_END => FILE_SIZE.checked_add(offset),
        libc::SEEK_DATA if inside => Some(offset),
        libc::SEEK_HOLE if inside => Some(FILE_SIZE),
        libc::SEEK_DATA | libc::SEEK_HOLE => return Err(libc::ENXIO),
        _ => None,
    };
    let to = to.filter(|to| *to >= 0).ok_or(libc::EINVAL)?;
    held.position.store(to, Ordering::Relaxed);
    Ok(to)
}

/// Of the queue, which need not be those of its doorbell.
fn facts(held: &Held) -> Result<QueueStat, Errno> {
    held.shared().queue.stat().map_err(errno::of_access)
}

/// `int fstat(int, struct stat *)`. Of a queue: a regular file, and the queue's mode and owner.
///
/// # Safety
/// `stat` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fstat(fd: c_int, stat: *mut libc::stat) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe { next::fstat(fd, stat) };
    if result == 0
        && !find::is_other(fd)
        && let Ok(Some(queue)) = sys::shielded(|| find::certain(fd).map(|held| facts(&held)).transpose())
    {
        // SAFETY: the caller's promise, and the C library's function has written it.
        let stat = unsafe { &mut *stat };
        stat.st_mode = libc::S_IFREG | queue.mode;
        (stat.st_uid, stat.st_gid) = (queue.uid, queue.gid);
        stat.st_size = FILE_SIZE;
    }
    result
}

/// `int fstat64(int, struct stat64 *)`: the same on 64-bit systems.
///
/// # Safety
/// As [`fstat`].
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fstat64(fd: c_int, stat: *mut libc::stat) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { fstat(fd, stat) }
}
