//! Wrappers of what waits for readiness: `poll`, `ppoll`, `select`, `pselect`, `epoll_ctl`. They see to it that the doorbells of the
//! queues among the descriptors ring, and leave everything else to the C library.

use crate::table::{DESCRIPTORS_MAX, Found};
use crate::{find, next, sys, table};
use std::ffi::{c_int, c_ulong};

/// If this is a queue, its doorbell rings from now on. What cannot be done here shows in what the C library's function reports.
#[inline]
fn arm(fd: c_int) {
    let done = match table::look(fd) {
        Found::NotOurs | Found::Closing => true,
        Found::Ours(held) => held.shared().is_armed(),
        Found::Unknown => false,
    };
    if !done {
        look_and_arm(fd);
    }
}

#[cold]
fn look_and_arm(fd: c_int) {
    let before = sys::errno();
    let _ = sys::shielded(|| find::any(fd).map_or(Ok(()), |held| held.shared().arm()));
    sys::set_errno(before);
}

/// # Safety
/// `fds` has `count` elements.
#[inline(always)]
unsafe fn arm_polled(fds: *const libc::pollfd, count: libc::nfds_t) {
    // More than a process can have is for the kernel to refuse.
    if table::active() && !fds.is_null() && count as usize <= DESCRIPTORS_MAX {
        // SAFETY: the caller's promise.
        let fds = unsafe { std::slice::from_raw_parts(fds, count as usize) };
        fds.iter().for_each(|polled| arm(polled.fd));
    }
}

/// `int poll(struct pollfd *, nfds_t, int)`.
///
/// # Safety
/// `fds` has `count` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn poll(fds: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { arm_polled(fds, count) };
    // SAFETY: the caller's promise.
    unsafe { next::poll(fds, count, timeout) }
}

/// `poll` as fortified programs call it.
///
/// # Safety
/// As [`poll`], if the elements fit into `room` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __poll_chk(
    fds: *mut libc::pollfd,
    count: libc::nfds_t,
    timeout: c_int,
    room: usize,
) -> c_int {
    if fit(count, room) {
        // SAFETY: the caller's promise.
        unsafe { arm_polled(fds, count) };
    }
    // SAFETY: the caller's promise; what does not fit ends the program there.
    unsafe { next::__poll_chk(fds, count, timeout, room) }
}

/// `int ppoll(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *)`.
///
/// # Safety
/// As ppoll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn ppoll(
    fds: *mut libc::pollfd,
    count: libc::nfds_t,
    timeout: *const libc::timespec,
    mask: *const libc::sigset_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { arm_polled(fds, count) };
    // SAFETY: the caller's promise.
    unsafe { next::ppoll(fds, count, timeout, mask) }
}

/// `ppoll` as fortified programs call it.
///
/// # Safety
/// As [`ppoll`], if the elements fit into `room` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __ppoll_chk(
    fds: *mut libc::pollfd,
    count: libc::nfds_t,
    timeout: *const libc::timespec,
    mask: *const libc::sigset_t,
    room: usize,
) -> c_int {
    if fit(count, room) {
        // SAFETY: the caller's promise.
        unsafe { arm_polled(fds, count) };
    }
    // SAFETY: the caller's promise; what does not fit ends the program there.
    unsafe { next::__ppoll_chk(fds, count, timeout, mask, room) }
}

fn fit(count: libc::nfds_t, room: usize) -> bool {
    (count as usize).checked_mul(size_of::<libc::pollfd>()).is_some_and(|bytes| bytes <= room)
}

/// Arms what is in one of the sets.
///
/// # Safety
/// Each set is null, or has `count` bits, in whole words.
#[inline(always)]
unsafe fn arm_selected(count: c_int, sets: [*mut libc::fd_set; 3]) {
    if !table::active() || count <= 0 || count as usize > DESCRIPTORS_MAX {
        return;
    }
    let words = (count as usize).div_ceil(c_ulong::BITS as usize);
    for set in sets.into_iter().filter(|set| !set.is_null()) {
        // A set may be longer than the type: programs allocate more for more descriptors.
        // SAFETY: the caller's promise.
        let words = unsafe { std::slice::from_raw_parts(set.cast::<c_ulong>(), words) };
        for (index, word) in words.iter().enumerate() {
            arm_word(index * c_ulong::BITS as usize, *word, count as usize);
        }
    }
}

fn arm_word(first: usize, mut word: c_ulong, count: usize) {
    while word != 0 {
        let fd = first + word.trailing_zeros() as usize;
        if fd < count {
            arm(fd as c_int);
        }
        word &= word - 1;
    }
}

/// `int select(int, fd_set *, fd_set *, fd_set *, struct timeval *)`.
///
/// # Safety
/// As select(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn select(
    count: c_int,
    read: *mut libc::fd_set,
    write: *mut libc::fd_set,
    except: *mut libc::fd_set,
    timeout: *mut libc::timeval,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { arm_selected(count, [read, write, except]) };
    // SAFETY: the caller's promise.
    unsafe { next::select(count, read, write, except, timeout) }
}

/// `int pselect(int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *)`.
///
/// # Safety
/// As pselect(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pselect(
    count: c_int,
    read: *mut libc::fd_set,
    write: *mut libc::fd_set,
    except: *mut libc::fd_set,
    timeout: *const libc::timespec,
    mask: *const libc::sigset_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { arm_selected(count, [read, write, except]) };
    // SAFETY: the caller's promise.
    unsafe { next::pselect(count, read, write, except, timeout, mask) }
}

/// `int epoll_ctl(int, int, int, struct epoll_event *)`.
///
/// # Safety
/// As epoll_ctl(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_ctl(
    epoll: c_int,
    operation: c_int,
    fd: c_int,
    event: *mut libc::epoll_event,
) -> c_int {
    if table::active() && operation != libc::EPOLL_CTL_DEL {
        arm(fd);
    }
    // SAFETY: the caller's promise.
    unsafe { next::epoll_ctl(epoll, operation, fd, event) }
}
