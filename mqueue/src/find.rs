//! From a descriptor to its queue, where the table does not say: one that was duplicated, came over a socket, or was never ours. And
//! what happens when a descriptor goes.

use crate::errno::Errno;
use crate::shared::{self, Key, Shared};
use crate::table::{self, Found, Held, READ, WRITE};
use crate::{process, sys};
use chappe::{Access, QueueOptions};
use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The library's own descriptors of doorbells are in packet mode, which those that are given out never are.
const INTERNAL: c_int = libc::O_DIRECT;

/// The queue of a descriptor that is used as one: `mq_send` and its like. EBADF if it is none.
#[inline(always)]
pub fn queue(fd: c_int) -> Result<Held, Errno> {
    match table::look(fd) {
        Found::Ours(held) => Ok(held),
        Found::Closing => Err(libc::EBADF),
        // What is written down may be out of date, and who sends to it thinks that it is a queue.
        Found::NotOurs | Found::Unknown => resolve(fd),
    }
}

/// The device of pipes without a name, which are no doorbells; 0 before it is known.
static PIPES: AtomicU64 = AtomicU64::new(0);

/// To be called before the first queue is open. From then on what programs write to in signal handlers, pipes mostly, is seen to be no
/// queue without a lock and without allocating.
pub fn learn_pipes() {
    if PIPES.load(Ordering::Relaxed) == 0
        && let Ok((end, _)) = std::io::pipe()
        && let Ok(stat) = sys::stat(end.as_raw_fd())
    {
        PIPES.store(stat.st_dev, Ordering::Relaxed);
    }
}

/// Whether there is nothing to be done for this descriptor, as far as a look tells.
#[inline(always)]
pub fn is_other(fd: c_int) -> bool {
    !table::active() || matches!(table::look(fd), Found::NotOurs)
}

/// The queue of a descriptor that somebody polls or reads, if it is one.
pub fn any(fd: c_int) -> Option<Held> {
    match table::look(fd) {
        Found::Ours(held) => Some(held),
        Found::NotOurs | Found::Closing => None,
        Found::Unknown => resolve(fd).ok(),
    }
}

/// As [`any`], and certainly this descriptor's: the number may have been closed and used again in a way that nobody saw.
pub fn certain(fd: c_int) -> Option<Held> {
    let held = any(fd)?;
    if sys::stat(fd).is_ok_and(|stat| Key::of(&stat) == held.shared().key) {
        return Some(held);
    }
    drop(table::clear(fd));
    table::closed(fd);
    None
}

/// The queue of a descriptor, and the flags of its open description: of the same one, also if another thread replaces it meanwhile.
pub fn queue_and_flags(fd: c_int) -> Result<(Held, c_int), Errno> {
    // Each turn means that another thread closed or replaced the descriptor meanwhile.
    loop {
        let (held, flags) = (queue(fd)?, sys::flags(fd)?);
        if table::has(fd, &held) {
            return Ok((held, flags));
        }
    }
}

#[cold]
fn resolve(fd: c_int) -> Result<Held, Errno> {
    sys::shielded(|| {
        let stat = sys::stat(fd).map_err(|_| libc::EBADF)?;
        let flags = sys::flags(fd)?;
        let fifo = stat.st_mode & libc::S_IFMT == libc::S_IFIFO && stat.st_dev != PIPES.load(Ordering::Relaxed);
        let doorbell = fifo && flags & INTERNAL == 0;
        let shared = doorbell.then(|| by_file(fd, &stat)).flatten();
        let Some(shared) = shared else {
            table::put_not_ours(fd);
            return Err(libc::EBADF);
        };
        let permits = access(flags) & authority(fd, &shared);
        table::put_found(fd, shared, permits);
        match table::look(fd) {
            // Looked at again: it may have been closed, and the number used again, before it was written down.
            Found::Ours(held) if sys::stat(fd).is_ok_and(|stat| Key::of(&stat) == held.shared().key) => Ok(held),
            Found::Ours(_) => {
                drop(table::clear(fd));
                table::closed(fd);
                Err(libc::EBADF)
            }
            _ => Err(libc::EBADF),
        }
    })
}

fn by_file(fd: c_int, stat: &libc::stat) -> Option<Arc<Shared>> {
    let key = Key::of(stat);
    shared::known(key).or_else(|| {
        let queue = QueueOptions::new().interruptible(true).open_by_doorbell(borrow(fd)?).ok()?;
        Some(shared::adopt(queue, key))
    })
}

/// What a descriptor that turned up may be used for: what one of the same open description may, or else what the queue's mode grants this
/// process. The FIFO itself is open to everybody who may do either, since who receives rings, too.
fn authority(fd: c_int, shared: &Arc<Shared>) -> u8 {
    for other in table::known(0, usize::MAX).filter(|other| *other != fd) {
        if let Found::Ours(held) = table::look(other)
            && Arc::ptr_eq(held.shared(), shared)
            && sys::is_duplicate(fd, other)
        {
            return [READ, WRITE].into_iter().filter(|bit| held.permits(*bit)).sum();
        }
    }
    let grants = |access, bit| if shared.queue.grants(access) { bit } else { 0 };
    grants(Access::Receive, READ) | grants(Access::Send, WRITE)
}

/// What an open description permits.
pub fn access(flags: c_int) -> u8 {
    match flags & libc::O_ACCMODE {
        _ if flags & libc::O_PATH != 0 => 0,
        libc::O_RDONLY => READ,
        libc::O_WRONLY => WRITE,
        libc::O_RDWR => READ | WRITE,
        _ => 0,
    }
}

/// The number is about to be closed, or replaced. If this says that it was ours, [`table::closed`] is to be called afterwards.
pub fn forget(fd: c_int) -> bool {
    let before = sys::errno();
    // A duplicate that was never used is nothing to this library, unless there is a registration to end with it.
    let known = match table::look(fd) {
        Found::Unknown => Shared::registered_once(),
        Found::NotOurs | Found::Ours(_) => true,
        Found::Closing => false,
    };
    let mut ours = false;
    // What a child of vfork closes stays open in its parent, whose memory this is.
    if known && !process::borrowed() {
        // Nobody can be told of an error here; the descriptor is closed all the same.
        let _ = sys::shielded(|| {
            let _ = any(fd);
            ours = leave(fd);
            Ok(())
        });
    }
    sys::set_errno(before);
    ours
}

fn leave(fd: c_int) -> bool {
    let Some(held) = table::clear(fd) else { return false };
    let _ = held.shared().cancel_registration();
    if Arc::strong_count(held.shared()) == 1 && Shared::is_unlinked(fd) {
        keep_for_others(fd, &held);
    }
    true
}

/// The last descriptor that is known of a queue without a name goes. Others may be there that were never used; by them the queue
/// could not be found again.
fn keep_for_others(closing: c_int, held: &Held) {
    let Ok(directory) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers = directory.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<c_int>().ok());
    for fd in numbers.filter(|fd| *fd != closing) {
        let same = sys::stat(fd).is_ok_and(|stat| Key::of(&stat) == held.shared().key);
        if let (true, Ok(flags)) = (same, sys::flags(fd))
            && flags & INTERNAL == 0
        {
            table::put_found(fd, held.shared().clone(), access(flags));
        }
    }
}

/// `None` for a number that is none.
fn borrow(fd: c_int) -> Option<BorrowedFd<'static>> {
    (fd >= 0).then(|| sys::borrow(fd))
}
