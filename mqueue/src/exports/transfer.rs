//! `mq_send` and `mq_receive`, plain and timed. They try at once; only a call that would have to wait asks whether it may.
//!
//! All four are cancellation points. An attempt ends with an answer, or with [`Step::Cancelled`]: then everything is given back, the
//! outermost frame looks whether the thread ends here, and if it does not (cancellation is disabled) tries again.

use crate::deadline::Deadline;
use crate::errno::{self, Errno};
use crate::table::{Held, READ, WRITE};
use crate::{cancel, find, sys};
use chappe::{PRIORITY_MAX, Received, RecvError, SendError};
use std::ffi::{c_char, c_int, c_uint};

/// How an attempt ended.
enum Step<R> {
    Done(R),
    /// The thread may have been cancelled.
    Cancelled,
}

/// `int mq_send(mqd_t, const char *, size_t, unsigned)`.
///
/// # Safety
/// `message` has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mq_send(mqd: c_int, message: *const c_char, length: usize, priority: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { send(mqd, message, length, priority, None) }
}

/// `int mq_timedsend(mqd_t, const char *, size_t, unsigned, const struct timespec *)`. A null time is for ever, as on Linux.
///
/// # Safety
/// As [`mq_send`]; `time` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mq_timedsend(
    mqd: c_int,
    message: *const c_char,
    length: usize,
    priority: c_uint,
    time: *const libc::timespec,
) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { deadline(time) } {
        // SAFETY: the caller's promise.
        Ok(deadline) => unsafe { send(mqd, message, length, priority, deadline) },
        Err(errno) => sys::fail(errno),
    }
}

/// `ssize_t mq_receive(mqd_t, char *, size_t, unsigned *)`.
///
/// # Safety
/// `buffer` has room for `length` bytes; `priority` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mq_receive(
    mqd: c_int,
    buffer: *mut c_char,
    length: usize,
    priority: *mut c_uint,
) -> isize {
    // SAFETY: the caller's promise.
    unsafe { receive(mqd, buffer, length, priority, None) }
}

/// `ssize_t mq_timedreceive(mqd_t, char *, size_t, unsigned *, const struct timespec *)`. A null time is for ever, as on Linux.
///
/// # Safety
/// As [`mq_receive`]; `time` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mq_timedreceive(
    mqd: c_int,
    buffer: *mut c_char,
    length: usize,
    priority: *mut c_uint,
    time: *const libc::timespec,
) -> isize {
    // SAFETY: the caller's promise.
    match unsafe { deadline(time) } {
        // SAFETY: the caller's promise.
        Ok(deadline) => unsafe { receive(mqd, buffer, length, priority, deadline) },
        Err(errno) => sys::fail(errno),
    }
}

/// # Safety
/// Null, or a `struct timespec`.
unsafe fn deadline(time: *const libc::timespec) -> Result<Option<Deadline>, Errno> {
    // SAFETY: the caller's promise.
    let time = unsafe { time.as_ref() };
    time.map(|time| Deadline::new(*time)).transpose()
}

/// # Safety
/// `message` has `length` bytes.
#[inline(always)]
unsafe fn send(
    mqd: c_int,
    message: *const c_char,
    length: usize,
    priority: c_uint,
    deadline: Option<Deadline>,
) -> c_int {
    loop {
        sys::cancellation_point();
        let step = sys::caught(|| {
            let priority = u16::try_from(priority).ok().filter(|p| *p <= PRIORITY_MAX).ok_or(libc::EINVAL)?;
            let held = find::queue(mqd)?;
            if !held.permits(WRITE) {
                return Err(libc::EBADF);
            }
            if length > held.shared().message_size {
                return Err(libc::EMSGSIZE);
            }
            let message = if length == 0 { std::ptr::dangling() } else { message.cast::<u8>() };
            // SAFETY: the caller says that there are so many bytes; a message size, which is not exceeded, is below isize::MAX.
            let message = unsafe { std::slice::from_raw_parts(message, length) };
            match held.shared().queue.try_send(message, priority) {
                Ok(()) => Ok(Step::Done(0)),
                Err(error @ (SendError::Full | SendError::Busy)) => {
                    wait_to_send(mqd, &held, message, priority, deadline, error)
                }
                Err(error) => Err(errno::of_send(error)),
            }
        });
        match step {
            Ok(Step::Done(result)) => return result,
            Ok(Step::Cancelled) => {}
            Err(errno) => return sys::fail(errno),
        }
    }
}

#[cold]
fn wait_to_send(
    mqd: c_int,
    held: &Held,
    message: &[u8],
    priority: u16,
    deadline: Option<Deadline>,
    error: SendError,
) -> Result<Step<c_int>, Errno> {
    sys::shielded(|| {
        if sys::flags(mqd)? & libc::O_NONBLOCK != 0 {
            return Err(errno::of_send(error));
        }
        if cancel::take_seat() {
            return Ok(Step::Cancelled);
        }
        let queue = &held.shared().queue;
        loop {
            let sent = match slice(deadline)? {
                None => queue.send(message, priority),
                Some(slice) => queue.send_timeout(message, priority, slice),
            };
            match sent {
                Ok(()) => return Ok(Step::Done(0)),
                Err(SendError::TimedOut | SendError::Busy) => {}
                Err(SendError::Interrupted) if cancel::was_cancelled() => return Ok(Step::Cancelled),
                Err(error) => return Err(errno::of_send(error)),
            }
        }
    })
}

/// # Safety
/// `buffer` has room for `length` bytes; `priority` is null or valid.
#[inline(always)]
unsafe fn receive(
    mqd: c_int,
    buffer: *mut c_char,
    length: usize,
    priority: *mut c_uint,
    deadline: Option<Deadline>,
) -> isize {
    loop {
        sys::cancellation_point();
        let step = sys::caught(|| {
            let held = find::queue(mqd)?;
            if !held.permits(READ) {
                return Err(libc::EBADF);
            }
            let room = held.shared().message_size;
            if length < room {
                return Err(libc::EMSGSIZE);
            }
            // SAFETY: the caller says that there is room for `length` bytes, and `room`, a message size, is neither 0 nor more than
            // that or isize::MAX. The bytes are only written; whatever they are is a value for C's memory.
            let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), room) };
            match held.shared().queue.try_recv_into(buffer) {
                Ok(received) => Ok(Step::Done(received)),
                Err(error @ (RecvError::Empty | RecvError::Busy)) => {
                    wait_to_receive(mqd, &held, buffer, deadline, error)
                }
                Err(error) => Err(errno::of_recv(error)),
            }
        });
        match step {
            Ok(Step::Done(received)) => {
                if !priority.is_null() {
                    // SAFETY: the caller says that it is valid if it is not null.
                    unsafe { priority.write(received.priority.into()) };
                }
                return received.len as isize;
            }
            Ok(Step::Cancelled) => {}
            Err(errno) => return sys::fail(errno),
        }
    }
}

#[cold]
fn wait_to_receive(
    mqd: c_int,
    held: &Held,
    buffer: &mut [u8],
    deadline: Option<Deadline>,
    error: RecvError,
) -> Result<Step<Received>, Errno> {
    sys::shielded(|| {
        if sys::flags(mqd)? & libc::O_NONBLOCK != 0 {
            return Err(errno::of_recv(error));
        }
        if cancel::take_seat() {
            return Ok(Step::Cancelled);
        }
        let queue = &held.shared().queue;
        loop {
            let received = match slice(deadline)? {
                None => queue.recv_into(buffer),
                Some(slice) => queue.recv_into_timeout(buffer, slice),
            };
            match received {
                Ok(received) => return Ok(Step::Done(received)),
                Err(RecvError::TimedOut | RecvError::Busy) => {}
                Err(RecvError::Interrupted) if cancel::was_cancelled() => return Ok(Step::Cancelled),
                Err(error) => return Err(errno::of_recv(error)),
            }
        }
    })
}

/// How long to wait at once; `None` for ever.
fn slice(deadline: Option<Deadline>) -> Result<Option<std::time::Duration>, Errno> {
    deadline.map(|deadline| deadline.slice().ok_or(libc::ETIMEDOUT)).transpose()
}
