//! A keeper: a thread whose end the kernel writes into a word, before it takes the process's memory down. A hint that the
//! process is ending, long before its descriptors are closed.
//!
//! Sources: get_robust_list(2); the kernel's Documentation/locking/robust-futex-ABI.rst; membarrier(2). Nothing but the head's
//! `list_op_pending` is used: there is no list, and no pointer in shared memory. musl, glibc and others give each thread a head
//! of their own, which is put back.

use super::futex;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What the kernel leaves in the word: FUTEX_OWNER_DIED, with or without FUTEX_WAITERS.
const OWNER_DIED: u32 = 0x4000_0000;
/// "Somebody waits": else the kernel marks without waking.
const WAITERS: u32 = 0x8000_0000;

/// `struct robust_list_head` of the kernel.
#[repr(C)]
struct Head {
    list: *const Head,
    futex_offset: libc::c_long,
    list_op_pending: *const AtomicU32,
}

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
    let before = current_head()?;
    // SAFETY: gettid has no arguments and cannot fail.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
    let mut head = Head { list: ptr::null(), futex_offset: 0, list_op_pending: ptr::null() };
    head.list = &raw const head;
    head.list_op_pending = word;
    set_head(&raw const head)?;
    word.store(tid | WAITERS, Ordering::SeqCst);
    // Whoever watches the word already watches for 0.
    futex::wake(word, u32::MAX);
    while order.0.load(Ordering::Acquire) == KEEPING {
        futex::wait(&order.0, KEEPING, Duration::from_secs(1 << 30));
    }
    let kept = tid | WAITERS;
    // Only if it says still what was written here.
    let _ = word.compare_exchange(kept, 0, Ordering::SeqCst, Ordering::Relaxed);
    set_head(before)
}

/// The head that the C library has given this thread.
fn current_head() -> io::Result<*const Head> {
    let (mut head, mut len) = (ptr::null::<Head>(), 0usize);
    // SAFETY: 0 is this thread; both pointers are valid for one word each.
    let result = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
    if result == 0 { Ok(head) } else { Err(io::Error::last_os_error()) }
}

fn set_head(head: *const Head) -> io::Result<()> {
    // SAFETY: the kernel reads the head when this thread ends. `keep` sets its own, which lives in its frame and whose word is
    // borrowed as long, and puts the former one back before it returns; a thread that ends inside ends with its frame in place.
    let result = unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Head>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
