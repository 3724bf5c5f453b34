//! Wrappers of what waits for readiness: `poll`, `ppoll`, `select`, `pselect`, `epoll_ctl`, `epoll_wait`. They see to it that the doorbells of the
//! queues among the descriptors ring, and leave everything else to the C library.

use crate::table::{DESCRIPTORS_MAX, Found};
use crate::{find, next, process, shared, sys, table};
use std::ffi::{c_int, c_ulong};
use std::sync::atomic::{AtomicU32, Ordering};

/// If this is a queue, its doorbell rings from now on. False if that cannot be: then the caller would sleep beside a message.
#[inline]
fn arm(fd: c_int) -> bool {
    match table::look(fd) {
        Found::NotOurs | Found::Closing => true,
        Found::Ours(held) if held.shared().is_armed() => true,
        Found::Ours(_) | Found::Unknown => look_and_arm(fd),
    }
}

#[cold]
fn look_and_arm(fd: c_int) -> bool {
    let before = sys::errno();
    let armed = sys::shielded(|| find::any(fd).map_or(Ok(()), |held| held.shared().arm()));
    sys::set_errno(before);
    armed.is_ok()
}

/// What a call that waits for readiness says when a doorbell cannot be armed: no thread to be had, say.
const CANNOT_ARM: c_int = libc::ENOMEM;

/// # Safety
/// `fds` has `count` elements.
#[inline(always)]
unsafe fn arm_polled(fds: *const libc::pollfd, count: libc::nfds_t) -> bool {
    // More than a process can have is for the kernel to refuse.
    if !table::active() || fds.is_null() || count as usize > DESCRIPTORS_MAX {
        return true;
    }
    // SAFETY: the caller's promise.
    let fds = unsafe { std::slice::from_raw_parts(fds, count as usize) };
    fds.iter().filter(|polled| polled.fd >= 0).all(|polled| arm(polled.fd))
}

/// `int poll(struct pollfd *, nfds_t, int)`.
///
/// # Safety
/// `fds` has `count` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn poll(fds: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int) -> c_int {
    // SAFETY: the caller's promise.
    if !unsafe { arm_polled(fds, count) } {
        return sys::fail(CANNOT_ARM);
    }
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
    // SAFETY: the caller's promise.
    if fit(count, room) && !unsafe { arm_polled(fds, count) } {
        return sys::fail(CANNOT_ARM);
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
    if !unsafe { arm_polled(fds, count) } {
        return sys::fail(CANNOT_ARM);
    }
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
    // SAFETY: the caller's promise.
    if fit(count, room) && !unsafe { arm_polled(fds, count) } {
        return sys::fail(CANNOT_ARM);
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
/// Each set is null, or a whole `fd_set`, and longer for descriptors beyond that which are open.
#[inline(always)]
unsafe fn arm_selected(count: c_int, sets: [*mut libc::fd_set; 3]) -> bool {
    if !table::active() || count <= 0 {
        return true;
    }
    let count = count as usize;
    sets.into_iter().filter(|set| !set.is_null()).all(|set| {
        // The kernel looks at no more than there are descriptors, whatever the count: so a set need not be longer than the type.
        // SAFETY: the caller's promise.
        let words = unsafe { std::slice::from_raw_parts(set.cast::<c_ulong>(), count.min(FD_SETSIZE).div_ceil(BITS)) };
        let short = words.iter().enumerate().all(|(index, word)| arm_word(index * BITS, *word, count));
        // Programs allocate longer ones for more descriptors. Of a number that is open the kernel looks at the bit, too.
        // SAFETY: the caller's promise, for a descriptor that is open.
        short && beyond(count).all(|fd| !unsafe { is_set(set, fd) } || arm(fd))
    })
}

const BITS: usize = c_ulong::BITS as usize;
const FD_SETSIZE: usize = libc::FD_SETSIZE;

/// The queues among the descriptors that do not fit into the type.
fn beyond(count: usize) -> impl Iterator<Item = c_int> {
    let numbers = (count > FD_SETSIZE).then(|| table::known(FD_SETSIZE, count - 1));
    numbers.into_iter().flatten().filter(|fd| matches!(table::look(*fd), Found::Ours(_)))
}

/// # Safety
/// The set has this bit.
unsafe fn is_set(set: *mut libc::fd_set, fd: c_int) -> bool {
    // SAFETY: the caller's promise.
    let word = unsafe { set.cast::<c_ulong>().add(fd as usize / BITS) };
    // SAFETY: as above.
    unsafe { *word >> (fd as usize % BITS) & 1 == 1 }
}

fn arm_word(first: usize, mut word: c_ulong, count: usize) -> bool {
    while word != 0 {
        let fd = first + word.trailing_zeros() as usize;
        if fd < count && !arm(fd as c_int) {
            return false;
        }
        word &= word - 1;
    }
    true
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
    if !unsafe { arm_selected(count, [read, write, except]) } {
        return sys::fail(CANNOT_ARM);
    }
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
    if !unsafe { arm_selected(count, [read, write, except]) } {
        return sys::fail(CANNOT_ARM);
    }
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
    if table::active() && operation != libc::EPOLL_CTL_DEL && !arm(fd) {
        return sys::fail(CANNOT_ARM);
    }
    // SAFETY: the caller's promise.
    unsafe { next::epoll_ctl(epoll, operation, fd, event) }
}

/// The [generation](process::generation) of the process that last waited on an epoll set.
static WAITED: AtomicU32 = AtomicU32::new(1);

/// What an ancestor armed and put into a set that this process has from it is armed by this process, too: the ancestor may be gone.
#[inline(always)]
fn arm_inherited() -> bool {
    !table::active() || WAITED.load(Ordering::Relaxed) == process::generation() || arm_anew()
}

#[cold]
fn arm_anew() -> bool {
    let before = sys::errno();
    let armed =
        sys::shielded(|| shared::all().iter().filter(|queue| queue.was_armed()).try_for_each(|queue| queue.arm()));
    sys::set_errno(before);
    if armed.is_ok() {
        WAITED.store(process::generation(), Ordering::Relaxed);
    }
    armed.is_ok()
}

/// `int epoll_wait(int, struct epoll_event *, int, int)`.
///
/// # Safety
/// As epoll_wait(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_wait(
    epoll: c_int,
    events: *mut libc::epoll_event,
    count: c_int,
    timeout: c_int,
) -> c_int {
    if !arm_inherited() {
        return sys::fail(CANNOT_ARM);
    }
    // SAFETY: the caller's promise.
    unsafe { next::epoll_wait(epoll, events, count, timeout) }
}

/// `int epoll_pwait(int, struct epoll_event *, int, int, const sigset_t *)`.
///
/// # Safety
/// As epoll_pwait(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_pwait(
    epoll: c_int,
    events: *mut libc::epoll_event,
    count: c_int,
    timeout: c_int,
    mask: *const libc::sigset_t,
) -> c_int {
    if !arm_inherited() {
        return sys::fail(CANNOT_ARM);
    }
    // SAFETY: the caller's promise.
    unsafe { next::epoll_pwait(epoll, events, count, timeout, mask) }
}

/// `int epoll_pwait2(int, struct epoll_event *, int, const struct timespec *, const sigset_t *)`.
///
/// # Safety
/// As epoll_pwait2(2).
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn epoll_pwait2(
    epoll: c_int,
    events: *mut libc::epoll_event,
    count: c_int,
    timeout: *const libc::timespec,
    mask: *const libc::sigset_t,
) -> c_int {
    if !arm_inherited() {
        return sys::fail(CANNOT_ARM);
    }
    // SAFETY: the caller's promise.
    unsafe { next::epoll_pwait2(epoll, events, count, timeout, mask) }
}
