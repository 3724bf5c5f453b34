//! Files: opening one without being led astray, making one that has no name yet, reserving its pages.

use rustix::fs::{self, AtFlags, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What fstat(2) tells of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub regular: bool,
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    /// Bytes of memory or disk that the file takes.
    pub memory: u64,
}

impl Facts {
    /// Whether both are of one file.
    pub(crate) fn same_file(self, other: Facts) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Opens an existing file for reading and writing. A symbolic link is refused (ELOOP), and a FIFO does not block.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(fs::open(path, flags, Mode::empty())?)
}

/// Opens the file behind a descriptor anew: another open file description, which holds none of the locks of the first.
pub(crate) fn reopen(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    Ok(fs::open(own_path(fd)?.as_c_str(), flags, Mode::empty())?)
}

/// The way to a descriptor's file that needs no name.
fn own_path(fd: BorrowedFd<'_>) -> io::Result<CString> {
    Ok(CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd()))?)
}

/// A new file in `dir` that has no name; [`name`] gives it one when it is complete, and a death before leaves nothing.
pub(crate) fn create_unnamed(dir: &Path, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
    let fd = fs::open(dir, flags, Mode::from_raw_mode(0o600))?;
    fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
    Ok(fd)
}

/// Gives an unnamed file its name, atomically; a name that is taken is `AlreadyExists`.
pub(crate) fn name(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    // linkat with AT_EMPTY_PATH would want a capability; the way through /proc wants none (open(2), O_TMPFILE).
    Ok(fs::linkat(fs::CWD, own_path(fd)?.as_c_str(), fs::CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// What the file is.
pub(crate) fn facts(fd: BorrowedFd<'_>) -> io::Result<Facts> {
    Ok(to_facts(&fs::fstat(fd)?))
}

/// What the file at `path` is, not following a last symbolic link.
pub(crate) fn facts_at(path: &Path) -> io::Result<Facts> {
    Ok(to_facts(&fs::lstat(path)?))
}

fn to_facts(stat: &fs::Stat) -> Facts {
    Facts {
        regular: fs::FileType::from_raw_mode(stat.st_mode).is_file(),
        device: stat.st_dev,
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        memory: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
    }
}

/// Sets the length; new bytes read as zero and take no memory yet.
pub(crate) fn set_len(fd: BorrowedFd<'_>, len: u64) -> io::Result<()> {
    Ok(fs::ftruncate(fd, len)?)
}

/// Makes sure that these bytes can be touched: takes their pages now, or says that there is no room. Idempotent.
pub(crate) fn reserve(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    loop {
        match fs::fallocate(fd, FallocateFlags::KEEP_SIZE, offset, len) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Gives the pages of these bytes back; they read as zero afterwards.
pub(crate) fn give_back(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    Ok(fs::fallocate(fd, FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE, offset, len)?)
}

/// Reads the first bytes of the file, as many as there are and fit.
pub(crate) fn read_start(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(fd, &mut buffer[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(filled)
}

/// Removes a name.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    Ok(fs::unlink(path)?)
}

/// Writes the first bytes of the file.
pub(crate) fn write_start(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::pwrite(fd, &bytes[written..], written as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
