//! A named pipe that holds a few packets of one byte, so that poll, select and epoll show one of three states: none (writable),
//! some (readable and writable), as many as fit (readable). It carries no data.
//!
//! Sources: fifo(7), pipe(7) (O_DIRECT: packets), fcntl(2) (F_SETPIPE_SZ), ioctl_tty(2) (FIONREAD).

use super::file::{self, Facts, File};
use super::memory::page_size;
use super::process;
use crate::message::Access;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// How many packets fit: a page holds one.
pub(crate) const ROOM: u32 = 4;

/// Makes one; `AlreadyExists` if the name is taken. It has exactly this mode, and this group if that may be given, when it
/// gets its name; before, it has another one, under which a death leaves it. Returns what was made.
pub(crate) fn create(path: &Path, mode: u32, gid: u32) -> io::Result<Facts> {
    let mut before = path.as_os_str().to_owned();
    before.push(format!(".{:x}-{:x}", std::process::id(), process::unix_nanos()));
    let before = Path::new(&before);
    fs::mknodat(fs::CWD, before, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    let named = furnish(before, mode, gid).and_then(|facts| {
        fs::renameat_with(fs::CWD, before, fs::CWD, path, RenameFlags::NOREPLACE)?;
        Ok(facts)
    });
    if named.is_err() {
        let _ = file::remove(before);
    }
    named
}

fn furnish(path: &Path, mode: u32, gid: u32) -> io::Result<Facts> {
    // What stands under the name may be somebody else's by now, who may rename here.
    let fd = fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let facts = facts_if_fifo(&fd)?.filter(|facts| facts.uid == process::effective_uid()).ok_or(Errno::BADMSG)?;
    let itself = file::own_path(fd.as_fd())?;
    // Not one of ours, perhaps: then its members are refused.
    let _ = fs::chownat(fs::CWD, itself.as_c_str(), None, Some(fs::Gid::from_raw(gid)), AtFlags::empty());
    fs::chmodat(fs::CWD, itself.as_c_str(), Mode::from_raw_mode(mode), AtFlags::empty())?;
    Ok(facts)
}

/// What a FIFO is; `None` if the descriptor or path leads to something else.
pub(crate) fn facts_if_fifo(fd: impl AsFd) -> io::Result<Option<Facts>> {
    let stat = fs::fstat(fd.as_fd())?;
    let is_fifo = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
    Ok(if is_fifo { Some(file::facts(fd.as_fd())?) } else { None })
}

/// One that is open for reading and writing, whose packets are put in and taken out.
pub(crate) struct Fifo {
    fd: File,
    facts: Facts,
}

impl Drop for Fifo {
    fn drop(&mut self) {
        if !self.is_intact() {
            self.fd.disown();
        }
    }
}

impl Fifo {
    /// Opens one; an error if it is something else.
    pub(crate) fn open(path: &Path) -> io::Result<Fifo> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
        let fd = fs::open(path, flags, Mode::empty())?;
        let facts = facts_if_fifo(&fd)?.ok_or(Errno::INVAL)?;
        fs::fcntl_setfl(&fd, OFlags::NONBLOCK | OFlags::DIRECT)?;
        Ok(Fifo { fd: File::from(fd), facts })
    }

    pub(crate) fn facts(&self) -> Facts {
        self.facts
    }

    /// Another description of it, for this access, without O_NONBLOCK. It waits for nobody, because this one is open for both.
    pub(crate) fn again(&self, access: Access) -> io::Result<OwnedFd> {
        let mode = match access {
            Access::Receive => OFlags::RDONLY,
            Access::Send => OFlags::WRONLY,
            Access::Both => OFlags::RDWR,
        };
        if !self.is_intact() {
            return Err(Errno::BADF.into());
        }
        Ok(fs::open(
            file::own_path(self.fd.as_fd())?.as_c_str(),
            mode | OFlags::CLOEXEC | OFlags::NOCTTY,
            Mode::empty(),
        )?)
    }

    /// Sees to it that [`ROOM`] packets fit. It lasts as long as somebody has the FIFO open.
    pub(crate) fn set_room(&self) -> io::Result<()> {
        let bytes = ROOM as usize * page_size();
        // More than fit, by a stranger: one who goes on putting them in faster than this takes them out wins.
        for _ in 0..rustix::pipe::fcntl_getpipe_size(&self.fd)? {
            match rustix::pipe::fcntl_setpipe_size(&self.fd, bytes) {
                Ok(_) => return Ok(()),
                Err(Errno::BUSY) => drop(self.take()?),
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::BUSY.into())
    }

    /// Whether the descriptor still leads to the FIFO: somebody may have closed it under us, and its number be used again.
    pub(crate) fn is_intact(&self) -> bool {
        file::facts(self.fd.as_fd()).is_ok_and(|facts| facts.same_file(self.facts))
    }

    /// How many packets there are.
    pub(crate) fn packets(&self) -> io::Result<u32> {
        let bytes = rustix::io::ioctl_fionread(&self.fd)?;
        Ok(u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    /// Puts a packet in; false if none fits.
    pub(crate) fn put(&self) -> io::Result<bool> {
        again(|| rustix::io::write(&self.fd, &[0]))
    }

    /// Takes a packet out; false if there is none.
    pub(crate) fn take(&self) -> io::Result<bool> {
        let mut packet = [0; 1];
        again(|| rustix::io::read(&self.fd, &mut packet))
    }
}

/// Repeats a call that a signal handler interrupted; false if it would block.
fn again(mut call: impl FnMut() -> rustix::io::Result<usize>) -> io::Result<bool> {
    loop {
        match call() {
            Ok(_) => return Ok(true),
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    fn shown(fifo: &Fifo) -> PollFlags {
        let mut polled = [PollFd::from_borrowed_fd(fifo.fd.as_fd(), PollFlags::IN | PollFlags::OUT)];
        poll(&mut polled, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
        polled[0].revents()
    }

    #[test]
    fn it_shows_three_states() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        create(&path, 0o600, rustix::process::getegid().as_raw()).unwrap();
        let fifo = Fifo::open(&path).unwrap();
        fifo.set_room().unwrap();
        assert_eq!(shown(&fifo), PollFlags::OUT);
        for packets in 1..ROOM {
            assert!(fifo.put().unwrap());
            assert_eq!(fifo.packets().unwrap(), packets);
            assert_eq!(shown(&fifo), PollFlags::IN | PollFlags::OUT);
        }
        assert!(fifo.put().unwrap());
        assert_eq!(shown(&fifo), PollFlags::IN);
        assert!(!fifo.put().unwrap());
        while fifo.take().unwrap() {}
        assert_eq!(shown(&fifo), PollFlags::OUT);
    }
}
