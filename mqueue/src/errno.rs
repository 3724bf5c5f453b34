//! What each error of the library is called in C. Plain data.

use chappe::{AccessError, NotifyError, OpenError, RecvError, SendError};
use std::ffi::c_int;
use std::io;

/// A number of `errno.h`.
pub type Errno = c_int;

/// A panic was caught: a fault of this library, which must not unwind into C.
pub const PANIC: Errno = libc::ENOTRECOVERABLE;

/// The queue was ended by [`Queue::close`](chappe::Queue::close) or `Queue::unlink`, which POSIX does not have: as for a System V
/// queue that was removed.
const ENDED: Errno = libc::EIDRM;

pub fn of_open(error: &OpenError) -> Errno {
    match error {
        OpenError::NotFound { .. } => libc::ENOENT,
        OpenError::Exists { .. } => libc::EEXIST,
        OpenError::NotAnObject { .. } | OpenError::Version { .. } | OpenError::Corrupt { .. } => libc::EBADMSG,
        OpenError::Full { .. } => libc::EMFILE,
        OpenError::System { source, .. } => of_io(source),
        _ => libc::EINVAL,
    }
}

pub fn of_io(error: &io::Error) -> Errno {
    of_system(error.raw_os_error().unwrap_or(libc::EIO))
}

/// POSIX names one error for a lack of permission; a full attach table is as if there were no descriptor left.
fn of_system(errno: Errno) -> Errno {
    match errno {
        libc::EPERM => libc::EACCES,
        libc::EUSERS => libc::EMFILE,
        other => other,
    }
}

pub fn of_send(error: SendError) -> Errno {
    match error {
        SendError::Full | SendError::Busy => libc::EAGAIN,
        SendError::TimedOut => libc::ETIMEDOUT,
        SendError::Interrupted => libc::EINTR,
        SendError::TooLong { .. } => libc::EMSGSIZE,
        SendError::Priority(_) => libc::EINVAL,
        SendError::Closed | SendError::Unlinked => ENDED,
        SendError::NoSpace => libc::ENOSPC,
        SendError::Corrupt => libc::EBADMSG,
        SendError::System(errno) => of_system(errno),
        _ => libc::EIO,
    }
}

pub fn of_recv(error: RecvError) -> Errno {
    match error {
        RecvError::Empty | RecvError::Busy => libc::EAGAIN,
        RecvError::TimedOut => libc::ETIMEDOUT,
        RecvError::Interrupted => libc::EINTR,
        RecvError::BufferTooSmall { .. } => libc::EMSGSIZE,
        RecvError::Closed | RecvError::Unlinked => ENDED,
        RecvError::Corrupt => libc::EBADMSG,
        RecvError::System(errno) => of_system(errno),
        _ => libc::EIO,
    }
}

pub fn of_access(error: AccessError) -> Errno {
    match error {
        AccessError::Busy => libc::EAGAIN,
        AccessError::Corrupt => libc::EBADMSG,
        AccessError::System(errno) => of_system(errno),
        _ => libc::EIO,
    }
}

pub fn of_notify(error: NotifyError) -> Errno {
    match error {
        NotifyError::Registered => libc::EBUSY,
        NotifyError::Busy => libc::EAGAIN,
        NotifyError::Corrupt => libc::EBADMSG,
        NotifyError::System(errno) => of_system(errno),
        _ => libc::EIO,
    }
}
