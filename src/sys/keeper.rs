//! A keeper: a thread whose end the kernel writes into a word, before it takes the process's memory down. A hint that the
//! process is ending, long before its descriptors are closed.
//!
//! It gives its thread a [head](super::robust_list) of its own, and puts the C library's back. Sources: those of that file; membarrier(2).

use super::futex;
use super::robust_list::{self, Head};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What the kernel leaves in the word: FUTEX_OWNER_DIED, with or without FUTEX_WAITERS.
const OWNER_DIED: u32 = 0x4000_0000;
/// "Somebody waits": else the kernel marks without waking.
const WAITERS: u32 = 0x8000_0000;

/// Whether the kernel has written that the thread which kept this word has ended.
pub(crate) fn is_marked(word: u32) -> bool {
    word & OWNER_DIED != 0
}

/// Nobody has told the keeper to leave, and it has not touched the word.
const STARTING: u32 = 0;
/// The keeper has, or is about to.
const KEEPING: u32 = 1;
/// It shall leave.
const LEAVE: u32 = 2;

/// What a keeper is told, and how far it is.
pub(crate) struct Order(AtomicU32);

impl Order {
    pub(crate) fn new() -> Order {
        Order(AtomicU32::new(STARTING))
    }

    /// Tells the keeper to leave. Returns whether it may have touched the word: if not, it never will.
    pub(crate) fn leave(&self) -> bool {
        let before = self.0.swap(LEAVE, Ordering::AcqRel);
        futex::wake(&self.0, 1);
        before == KEEPING
    }
}

/// Keeps `word` from now until it is ordered to leave. If this thread ends before, the kernel marks the word and wakes one who
/// sleeps on it. To be run on a thread of its own, which holds no robust mutex.
pub(crate) fn keep(word: &AtomicU32, order: &Order) -> io::Result<()> {
    // Before the word says anything: a recoverer that sees the mark passes a barrier, which must reach this process.
    register_for_barriers()?;
    if order.0.compare_exchange(STARTING, KEEPING, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return Ok(());
    }
    let before = robust_list::current()?;
    // SAFETY: gettid has no arguments and cannot fail.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
    let mut head = Head { list: ptr::null(), futex_offset: 0, pending: ptr::null() };
    head.list = &raw const head;
    head.pending = ptr::from_ref(word).cast();
    // SAFETY: the head lives in this frame, and the word is borrowed as long; the former head is put back before it returns. A thread
    // that ends inside ends with its frame in place.
    unsafe { robust_list::set(&raw const head) }?;
    word.store(tid | WAITERS, Ordering::SeqCst);
    // Whoever watches the word already watches for 0.
    futex::wake(word, u32::MAX);
    while order.0.load(Ordering::Acquire) == KEEPING {
        futex::wait(&order.0, KEEPING, Duration::from_secs(1 << 30));
    }
    let kept = tid | WAITERS;
    // Only if it says still what was written here.
    let _ = word.compare_exchange(kept, 0, Ordering::SeqCst, Ordering::Relaxed);
    // SAFETY: the head that the C library gave this thread.
    unsafe { robust_list::set(before) }
}

const MEMBARRIER_GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
const MEMBARRIER_REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

/// Lets [`barrier`] reach this process. It takes some microseconds while the process has one thread, and ten milliseconds when it
/// has more; once only, and children inherit it.
pub(crate) fn register_for_barriers() -> io::Result<()> {
    membarrier(MEMBARRIER_REGISTER_GLOBAL_EXPEDITED)
}

/// Returns when every thread of every process that [keeps](keep) a word has passed a memory barrier, and with it a point at
/// which a pending SIGKILL ends it.
pub(crate) fn barrier() -> io::Result<()> {
    membarrier(MEMBARRIER_GLOBAL_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> io::Result<()> {
    // SAFETY: membarrier reads no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
