//! Byte locks: open-file-description locks on single bytes of a file, beyond its end. The kernel frees one when the last
//! copy of the descriptor goes, at death too, in whatever pid namespace.
//!
//! Source: fcntl(2), "Open file description locks". rustix has no OFD locks, hence libc.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Where the locks lie: far beyond every file's end.
const BASE: i64 = 1 << 62;

/// Takes byte `index` if no other open file description has it. A byte of one's own is taken again.
pub(crate) fn try_take(fd: BorrowedFd<'_>, index: u32) -> io::Result<bool> {
    match set(fd, libc::F_OFD_SETLK, index, libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes byte `index`, waiting for the one who has it.
pub(crate) fn take(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    set(fd, libc::F_OFD_SETLKW, index, libc::F_WRLCK)
}

/// Gives byte `index` back.
pub(crate) fn release(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    set(fd, libc::F_OFD_SETLK, index, libc::F_UNLCK)
}

/// Whether nobody else has byte `index`: an answer to look at, since it may be taken at any time.
pub(crate) fn is_free(fd: BorrowedFd<'_>, index: u32) -> io::Result<bool> {
    let mut lock = range(index, libc::F_WRLCK);
    // SAFETY: the descriptor is open, and `lock` is a valid flock that outlives the call and may be written.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::from(lock.l_type) == libc::F_UNLCK)
}

/// Gives back every byte that this description has.
pub(crate) fn release_all(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut all = range(0, libc::F_UNLCK);
    all.l_len = 0;
    set_range(fd, libc::F_OFD_SETLK, &all)
}

/// The reverse of [`take_for_process`].
pub(crate) fn release_for_process(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    set(fd, libc::F_SETLK, index, libc::F_UNLCK)
}

/// Takes byte `index` for this *process*, whatever descriptors it closes later, as long as none of them leads to this file: a
/// record lock as POSIX has it, which survives exec, is not inherited by children, and excludes byte locks as those do it.
/// The byte must be one's own, and [shared](share) first, so that the two do not exclude each other.
pub(crate) fn take_for_process(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    set(fd, libc::F_SETLK, index, libc::F_RDLCK)
}

/// Makes byte `index`, which is one's own, a lock that excludes [`try_take`] and [`take`] but not its like.
pub(crate) fn share(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    set(fd, libc::F_OFD_SETLK, index, libc::F_RDLCK)
}

fn range(index: u32, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: BASE + i64::from(index),
        l_len: 1,
        l_pid: 0,
    }
}

fn set(fd: BorrowedFd<'_>, command: libc::c_int, index: u32, kind: libc::c_int) -> io::Result<()> {
    set_range(fd, command, &range(index, kind))
}

fn set_range(fd: BorrowedFd<'_>, command: libc::c_int, lock: &libc::flock) -> io::Result<()> {
    loop {
        // SAFETY: the descriptor is open, and `lock` is a valid flock that outlives the call.
        let result = unsafe { libc::fcntl(fd.as_raw_fd(), command, std::ptr::from_ref(lock)) };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
