//! Memory that a test shares with the processes it starts: a file that is mapped as a struct of atomics, beside what is tested. What is
//! written there outlives a writer that is killed.

use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::path::Path;

/// What can be shared.
///
/// # Safety
/// The type is `repr(C)` and consists of atomics only, for which every byte pattern is valid, zeros above all.
pub unsafe trait Words: Sync + 'static {}

/// The words in a file, as long as this lives.
pub struct Shared<T: Words>(&'static T);

impl<T: Words> Shared<T> {
    /// Maps the file, which is made, full of zeros, if it is not there. Only ever one type of words is in a file.
    pub fn map(path: &Path) -> Shared<T> {
        let file = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        let size = size_of::<T>();
        file.set_len(size as u64).unwrap();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses; the descriptor is open.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), size, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(start, libc::MAP_FAILED, "{}: {}", path.display(), std::io::Error::last_os_error());
        // SAFETY: the mapping is page-aligned, as long as a T, unmapped by `drop` only, which the borrow of `deref` cannot outlive, and
        // the file is never shortened; `Words` promises that any bytes are a valid T, which others may change meanwhile.
        Shared(unsafe { &*start.cast::<T>() })
    }

    /// Keeps it for the life of the process.
    pub fn leak(self) -> &'static T {
        let words = self.0;
        std::mem::forget(self);
        words
    }
}

impl<T: Words> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

impl<T: Words> Drop for Shared<T> {
    fn drop(&mut self) {
        let start = std::ptr::from_ref(self.0).cast_mut().cast();
        // SAFETY: this mapping was made by `map`, and no reference into it is left: `deref` lends it for no longer than this lives.
        unsafe { libc::munmap(start, size_of::<T>()) };
    }
}
