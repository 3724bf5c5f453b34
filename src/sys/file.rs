//! Files: opening one without being led astray, making one that has no name yet, reserving its pages.

use super::held::{self, Purpose};
use super::process::{self, Enrolled};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{self, AtFlags, FallocateFlags, Mode, OFlags, inotify};
use rustix::io::Errno;
use std::ffi::{CString, OsString};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What fstat(2) tells of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub regular: bool,
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of memory or disk that the file takes.
    pub memory: u64,
}

impl Facts {
    /// Whether both are of one file.
    pub(crate) fn same_file(self, other: Facts) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// An open file of an object. A fork child gets a description of its own under its number, but for what was opened elsewhere. Dropping it
/// closes the descriptor, unless this process, as a command, holds a permit by a record lock
/// on the file, which closing any descriptor of it would give back: then it stays open, as long as the process.
pub(crate) struct File {
    fd: ManuallyDrop<OwnedFd>,
    purpose: Purpose,
    /// If it is for byte locks.
    enrolled: Option<Enrolled>,
    disowned: AtomicBool,
}

impl File {
    fn new(open: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<File> {
        let environment = held::environment();
        let (fd, enrolled) = process::enroll(|| {
            held::settle(environment);
            open()
        })?;
        Ok(File::of(fd, Purpose::Bytes, Some(enrolled)))
    }

    fn of(fd: OwnedFd, purpose: Purpose, enrolled: Option<Enrolled>) -> File {
        File { fd: ManuallyDrop::new(fd), purpose, enrolled, disowned: AtomicBool::new(false) }
    }

    /// Somebody closed the descriptor under us: its number is nobody's, or another file's, and not to be closed again.
    pub(crate) fn disown(&self) {
        self.disowned.store(true, Ordering::Relaxed);
    }
}

/// One on which no byte is ever taken.
impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        File::of(fd, Purpose::Lent, None)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let disowned = self.disowned.load(Ordering::Relaxed);
        if !disowned && held::is_held(self.as_fd()) {
            // Also across a further exec. It was open already, and so can be left so.
            let _ = keep_across_exec(self.as_fd());
            if let Some(enrolled) = self.enrolled {
                process::rest(enrolled);
            }
            // SAFETY: it is taken here only, and not used afterwards.
            held::keep(unsafe { ManuallyDrop::take(&mut self.fd) }, self.purpose);
            return;
        }
        let mut close = || {
            if disowned {
                return;
            }
            // SAFETY: as above.
            let fd = unsafe { ManuallyDrop::take(&mut self.fd) };
            // Not by the C library's function: another library may have put its own in its place, which must not run under the roster.
            // SAFETY: it was taken out of its owner, and is not used afterwards.
            unsafe { rustix::io::close(fd.into_raw_fd()) };
        };
        match self.enrolled {
            Some(enrolled) => process::dismiss(enrolled, close),
            None => close(),
        }
    }
}

/// Opens an existing file for reading and writing. A symbolic link is refused (ELOOP), and a FIFO does not block.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    open_with(path, flags)
}

/// Opens a file, or takes a descriptor of it that was left open.
fn open_with(path: &Path, flags: OFlags) -> io::Result<File> {
    let found = || fs::lstat(path).ok().map(|stat| to_facts(&stat));
    File::new(|| match held::kept(found, flags & OFlags::ACCMODE, Purpose::Bytes) {
        Some(fd) => Ok(fd),
        None => Ok(fs::open(path, flags, Mode::empty())?),
    })
}

/// As [`open`], for reading only.
pub(crate) fn open_to_look(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    open_with(path, flags)
}

/// Opens the file behind a descriptor anew: another open file description, which holds none of the locks of the first.
pub(crate) fn reopen(fd: BorrowedFd<'_>) -> io::Result<File> {
    File::new(|| open_again(fd, Purpose::Bytes))
}

/// As [`reopen`], to be mapped: no byte is ever taken on it, so a fork child may share it.
pub(crate) fn reopen_to_map(fd: BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::of(open_again(fd, Purpose::Mapping)?, Purpose::Mapping, None))
}

fn open_again(fd: BorrowedFd<'_>, purpose: Purpose) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match held::kept(|| facts(fd).ok(), OFlags::RDWR, purpose) {
        Some(kept) => Ok(kept),
        None => Ok(fs::open(own_path(fd)?.as_c_str(), flags, Mode::empty())?),
    }
}

/// The path that a descriptor was opened by, as the kernel remembers it.
pub(crate) fn path_of(fd: BorrowedFd<'_>) -> io::Result<PathBuf> {
    Ok(PathBuf::from(OsString::from_vec(fs::readlink(own_path(fd)?.as_c_str(), Vec::new())?.into_bytes())))
}

/// The way to a descriptor's file that needs no name.
pub(super) fn own_path(fd: BorrowedFd<'_>) -> io::Result<CString> {
    Ok(CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd()))?)
}

/// A new file in `dir` that has no name; [`name`] gives it one when it is complete, and a death before leaves nothing.
pub(crate) fn create_unnamed(dir: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
    let file = File::new(|| Ok(fs::open(dir, flags, Mode::from_raw_mode(0o600))?))?;
    fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(file)
}

/// A new file in memory that never has a name.
pub(crate) fn create_anonymous(mode: u32) -> io::Result<File> {
    let file = File::new(|| Ok(fs::memfd_create(c"chappe", fs::MemfdFlags::CLOEXEC)?))?;
    fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(file)
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

/// Whether the file has a name.
pub(crate) fn has_name(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(fs::fstat(fd)?.st_nlink > 0)
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
        gid: stat.st_gid,
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
    read_at(fd, 0, buffer)
}

/// Reads the bytes of the file from `offset` on, as many as there are and fit.
pub(crate) fn read_at(fd: BorrowedFd<'_>, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(fd, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(filled)
}

/// A program that takes this one's place gets the descriptor, too.
pub(crate) fn keep_across_exec(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?)
}

/// Changes nothing but the file's times, which whoever [watches](Watch) it is told of.
pub(crate) fn touch(fd: BorrowedFd<'_>) -> io::Result<()> {
    let now = fs::Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW };
    Ok(fs::futimens(fd, &fs::Timestamps { last_access: now, last_modification: now })?)
}

/// Tells when a description of a file that was open for writing is closed by the last who had it, and when the file is
/// [touched](touch). Source: inotify(7).
pub(crate) struct Watch {
    fd: OwnedFd,
    facts: Facts,
}

impl Watch {
    pub(crate) fn new(file: BorrowedFd<'_>) -> io::Result<Watch> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let events = inotify::WatchFlags::CLOSE_WRITE | inotify::WatchFlags::ATTRIB;
        inotify::add_watch(&fd, own_path(file)?.as_c_str(), events)?;
        let facts = facts(fd.as_fd())?;
        Ok(Watch { fd, facts })
    }

    /// Waits for news, and takes them; without a timeout, for ever. Returns whether there were any.
    pub(crate) fn await_news(&self, timeout: Option<Duration>) -> bool {
        let mut polled = [PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::IN)];
        let ready = rustix::event::poll(&mut polled, timeout.map(timespec).as_ref());
        // Somebody may have closed it under us, and its number be used again: then it tells nothing more.
        if !facts(self.fd.as_fd()).is_ok_and(|facts| facts.same_file(self.facts)) {
            std::thread::sleep(Duration::from_millis(500));
            return false;
        }
        let mut buffer = [0u8; 4096];
        // Until it would block: what comes while this reads is news, too. An error of the poll is as good as news: one looks.
        while rustix::io::read(&self.fd, &mut buffer).is_ok_and(|count| count > 0) {}
        ready != Ok(0)
    }
}

fn timespec(time: Duration) -> rustix::event::Timespec {
    rustix::event::Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
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
