//! A shared mapping of a file, or of no file. It knows its address and length, and nothing of what lies in it.

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

/// The size of a page. (Not rustix's, which reads what valgrind hides from programs, and crashes there.)
pub(crate) fn page_size() -> usize {
    // SAFETY: it takes a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).expect("every C library knows the size of a page")
}

/// `len` bytes of a file (or of none), mapped readable, writable and shared until this value is dropped.
pub(crate) struct Mapping {
    /// Invariant M1: `address` is the start of a mapping of `len` bytes, readable and writable, that lasts as long as this
    /// value and is never moved.
    address: NonNull<u8>,
    len: usize,
}

// SAFETY: by M1 the mapping is plain memory, valid in every thread of the process.
unsafe impl Send for Mapping {}
// SAFETY: as above; this type hands out an address, and no access through `&self` is made here.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `fd`. Pages are not reserved by this.
    pub(crate) fn new(fd: BorrowedFd<'_>, len: usize) -> io::Result<Mapping> {
        Mapping::window(fd, 0, len)
    }

    /// Maps `len` bytes of `fd` from `start` on, which has to be a multiple of the page size.
    pub(crate) fn window(fd: BorrowedFd<'_>, start: u64, len: usize) -> io::Result<Mapping> {
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::NORESERVE);
        // SAFETY: a null hint lets the kernel choose a free range, so no existing memory is replaced.
        let address = unsafe { mmap(std::ptr::null_mut(), len, prot, flags, fd, start)? };
        Mapping::made(address, len)
    }

    /// The first `len` bytes of `fd`, which need be open for reading only, as they are when each page is looked at; what is written
    /// there stays in this process.
    pub(crate) fn copy(fd: BorrowedFd<'_>, len: usize) -> io::Result<Mapping> {
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: as above.
        let address = unsafe { mmap(std::ptr::null_mut(), len, prot, flags, fd, 0)? };
        Mapping::made(address, len)
    }

    /// `len` bytes of no file, zero at first, shared with fork children.
    pub(crate) fn anonymous(len: usize) -> io::Result<Mapping> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: as above.
        let address = unsafe { mmap_anonymous(std::ptr::null_mut(), len, prot, MapFlags::SHARED)? };
        Mapping::made(address, len)
    }

    fn made(address: *mut c_void, len: usize) -> io::Result<Mapping> {
        let address = NonNull::new(address.cast::<u8>()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Mapping { address, len })
    }

    /// Fork children shall not have it.
    pub(crate) fn keep_from_children(&self) -> io::Result<()> {
        let start = self.address.as_ptr().cast::<c_void>();
        // SAFETY: by M1 this is a whole mapping of ours; what changes is what a child has, in which nothing of this value lives: the thread
        // that owns it is not there.
        unsafe { madvise(start, self.len, Advice::LinuxDontFork) }?;
        Ok(())
    }

    /// Its first byte.
    #[inline(always)]
    pub(crate) fn address(&self) -> NonNull<u8> {
        self.address
    }

    /// Its length in bytes.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: by M1 this is a whole mapping of ours, and whoever borrowed from it borrowed from `self`.
        let result = unsafe { munmap(self.address.as_ptr().cast::<c_void>(), self.len) };
        debug_assert!(result.is_ok(), "munmap of a mapping of ours cannot fail");
    }
}

/// Asks the processor to fetch the line of `place` for reading. A hint: it changes nothing and cannot fault.
#[inline(always)]
pub(crate) fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetcht0 accesses no memory architecturally and raises no exception, whatever the address (Intel SDM 2B,
    // PREFETCHh; AMD APM 3, PREFETCHlevel).
    unsafe {
        std::arch::asm!("prefetcht0 [{}]", in(reg) place, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Asks the processor to fetch the line of `place` for writing, away from other processors. A hint, as [`prefetch`] is.
#[inline(always)]
pub(crate) fn prefetch_write<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above; processors without prefetchw treat it as a no-operation (AMD APM 3, PREFETCHW).
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) place, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
