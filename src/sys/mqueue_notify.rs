//! Being notified of a message in a kernel queue, through a socket: `mq_notify` as the kernel has it. Who waits on the socket, and
//! what happens then, is not decided here.
//!
//! Sources: mq_notify(3), and the kernel's ipc/mqueue.c (there `NOTIFY_COOKIE_LEN`, `NOTIFY_WOKENUP`, `NOTIFY_REMOVED`).

use super::mqueue::uninterrupted;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// How many bytes the kernel sends through the socket of a notification.
const COOKIE_BYTES: usize = 32;

/// What the kernel writes into the last of them when a message came.
const WOKEN: u8 = 1;

/// What a registration for a notification tells of itself: the message came, or it was removed. Nobody can write into it but
/// the kernel: it has no address.
pub(crate) struct Bell(OwnedFd);

impl Bell {
    /// Not registered yet. It takes a socket of the family that has no network in it.
    pub(crate) fn new() -> io::Result<Bell> {
        // SAFETY: it takes numbers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else has it.
        Ok(Bell(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// `mq_notify` with SIGEV_THREAD as the kernel has it, which is what the C library builds its own on: no signal is sent,
    /// but bytes through this socket. The library's would start a thread per process that never ends, and would never say
    /// that a registration is gone.
    pub(crate) fn register(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let cookie = [0u8; COOKIE_BYTES];
        // SAFETY: the struct is numbers and a pointer, and zero is a value of each.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD;
        event.sigev_signo = self.0.as_raw_fd();
        event.sigev_value.sival_ptr = cookie.as_ptr().cast_mut().cast();
        // SAFETY: the event lives through the call, and so does the cookie, which the kernel copies.
        match unsafe { libc::syscall(libc::SYS_mq_notify, fd.as_raw_fd(), &raw const event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits until the registration is over: whether because a message came.
    pub(crate) fn wait(&self) -> io::Result<bool> {
        let mut cookie = [0u8; COOKIE_BYTES];
        let (socket, start) = (self.0.as_raw_fd(), cookie.as_mut_ptr().cast());
        // SAFETY: start and length are those of a live array.
        let received = uninterrupted(|| unsafe { libc::recv(socket, start, COOKIE_BYTES, 0) });
        let length = received.map_err(io::Error::from_raw_os_error)?;
        Ok(length == COOKIE_BYTES && cookie[COOKIE_BYTES - 1] == WOKEN)
    }
}

/// `mq_notify` without an event: if this process is registered, it is not any more.
pub(crate) fn unregister(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: null is allowed, and means to remove.
    match unsafe { libc::syscall(libc::SYS_mq_notify, fd.as_raw_fd(), std::ptr::null::<libc::sigevent>()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
