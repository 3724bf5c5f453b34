//! The head of a thread's robust list: what the kernel looks at when the thread ends. Only the place *pending* is used here: there is
//! no list, and no pointer in shared memory.
//!
//! Sources: get_robust_list(2), set_robust_list(2); the kernel's Documentation/locking/robust-futex-ABI.rst. musl, glibc and others give each
//! thread a head of their own; musl not before the thread uses a robust mutex.

use std::io;
use std::ptr;

/// `struct robust_list_head` of the kernel.
#[repr(C)]
pub(super) struct Head {
    pub list: *const Head,
    /// What the kernel adds to an entry to get at its word.
    pub futex_offset: libc::c_long,
    /// The entry whose word is being locked or unlocked at this moment.
    pub pending: *const u8,
}

/// The head that this thread has; null if none.
pub(super) fn current() -> io::Result<*mut Head> {
    let (mut head, mut len) = (ptr::null_mut::<Head>(), 0usize);
    // SAFETY: 0 is this thread; both pointers are valid for one word each.
    let result = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
    if result == 0 { Ok(head) } else { Err(io::Error::last_os_error()) }
}

/// Gives this thread another head.
///
/// # Safety
/// The kernel reads the head, and writes to the word that `pending` leads to, when this thread ends: both last until another head is set.
pub(super) unsafe fn set(head: *const Head) -> io::Result<()> {
    // SAFETY: what the kernel does with it later is the caller's promise; now it only remembers the address.
    let result = unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Head>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
