//! System calls and calls of the C library, each wrapped once, with no policy. None of them goes through our own wrappers.

use crate::errno::{self, Errno};
use std::ffi::{c_int, c_long};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

unsafe extern "C-unwind" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
    fn pthread_testcancel();
}

/// PTHREAD_CANCEL_DISABLE of glibc and of musl.
const CANCEL_DISABLE: c_int = 1;

pub fn errno() -> Errno {
    // SAFETY: the function has no condition; it gives the address of this thread's errno.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the address is valid and aligned as long as the thread lives.
    unsafe { place.read() }
}

pub fn set_errno(errno: Errno) {
    // SAFETY: as in `errno`.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as in `errno`.
    unsafe { place.write(errno) }
}

/// What a failing call returns.
pub fn fail<R: From<i8>>(errno: Errno) -> R {
    set_errno(errno);
    R::from(-1)
}

/// Where the thread ends if it was cancelled. The frames from here to the program hold nothing that has a destructor.
#[inline(always)]
pub fn cancellation_point() {
    // SAFETY: it returns, or unwinds; every caller up to the exported function owns nothing, and that one is `C-unwind`.
    unsafe { pthread_testcancel() }
}

/// Runs `work` where a panic goes no further; then the result is what `failed` makes of [`PANIC`](errno::PANIC).
#[inline(always)]
pub fn caught<R>(failed: impl FnOnce(Errno) -> R, work: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| failed(errno::PANIC))
}

/// Runs `work` where a panic goes no further and the thread cannot be cancelled: what it opens and closes on the way would be
/// cancellation points, and its frames own things.
pub fn shielded<R>(work: impl FnOnce() -> Result<R, Errno>) -> Result<R, Errno> {
    let mut before = 0;
    // SAFETY: the address is that of a local; the call fails only for an unknown state.
    unsafe { pthread_setcancelstate(CANCEL_DISABLE, &mut before) };
    let result = caught(Err, work);
    // SAFETY: as above; `before` is what the first call wrote. Switching on is no cancellation point.
    unsafe { pthread_setcancelstate(before, &mut before) };
    result
}

/// What the kernel says of a descriptor.
pub fn stat(fd: c_int) -> Result<libc::stat, Errno> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: there is room for what the kernel writes: its struct and libc's are one on the architectures of this crate.
    let result = unsafe { libc::syscall(libc::SYS_fstat, fd, stat.as_mut_ptr()) };
    if result != 0 {
        return Err(errno());
    }
    // SAFETY: all zeros is a value, and the kernel has written another.
    Ok(unsafe { stat.assume_init() })
}

/// The status flags of the open description.
pub fn flags(fd: c_int) -> Result<c_int, Errno> {
    // SAFETY: F_GETFL takes no third argument and touches no memory.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 { Err(errno()) } else { Ok(flags) }
}

pub fn set_flags(fd: c_int, flags: c_int) -> Result<(), Errno> {
    // SAFETY: F_SETFL takes an int and touches no memory.
    let result = unsafe { libc::fcntl(fd, libc::F_SETFL, flags) };
    if result < 0 { Err(errno()) } else { Ok(()) }
}

/// Whether both are of one open description, as far as the kernel tells.
pub fn is_duplicate(one: c_int, other: c_int) -> bool {
    const KCMP_FILE: c_int = 0;
    // SAFETY: the call takes numbers.
    unsafe { libc::syscall(libc::SYS_kcmp, pid(), pid(), KCMP_FILE, one, other) == 0 }
}

pub fn is_open(fd: c_int) -> bool {
    // SAFETY: F_GETFD takes no third argument and touches no memory.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Asked of the kernel each time: a child of vfork has its parent's memory.
pub fn pid() -> libc::pid_t {
    // SAFETY: the call has no condition.
    let pid: c_long = unsafe { libc::syscall(libc::SYS_getpid) };
    pid as libc::pid_t
}

pub fn this_thread() -> libc::pthread_t {
    // SAFETY: the call has no condition.
    unsafe { libc::pthread_self() }
}

/// Ends the program as the C library's fortified functions do.
pub fn fortify_fail(reason: &str) -> ! {
    let text = format!("*** {reason} ***: terminated\n");
    // SAFETY: the address and length are those of the text. Whether it is read is not ours.
    unsafe { libc::syscall(libc::SYS_write, libc::STDERR_FILENO, text.as_ptr(), text.len()) };
    std::process::abort()
}

/// A number that a caller says is open. Not negative.
pub fn borrow(fd: c_int) -> BorrowedFd<'static> {
    // SAFETY: it is not negative, and the caller of the C function answers for its being open; if it is not, the calls made on it
    // fail with EBADF.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// A result as C functions return it.
#[inline(always)]
pub fn returned<R: From<i8>>(result: Result<R, Errno>) -> R {
    result.unwrap_or_else(fail)
}
