//! `mq_send` and `mq_receive`, plain and timed. They try at once; only a call that would have to wait asks whether it may.
//!
//! All four are cancellation points. An attempt ends with an answer, or with [`AGAIN`]: then everything is given back, the
//! outermost frame looks whether the thread ends here, and if it does not (cancellation is disabled) tries again.

use crate::deadline::Deadline;
use crate::errno::{self, Errno};
use crate::table::{self, Held, READ, WRITE};
use crate::{cancel, find, sys};
use chappe::{PRIORITY_MAX, RecvError, SendError};
use std::ffi::{c_char, c_int, c_uint};

/// How an attempt ended, in one register: enums that are written in parts and read as a whole cost as much as the atomics do. What was
/// done (0 or more), or an error, negated, or [`AGAIN`].
type Step = isize;

/// The thread may have been cancelled, or the descriptor been replaced by another thread.
const AGAIN: Step = isize::MIN;

fn failed(errno: Errno) -> Step {
    -(errno as isize)
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

/// What the caller gets for it, or `None` for another attempt.
#[inline(always)]
fn answer(step: Step) -> Option<isize> {
    match step {
        AGAIN => None,
        done @ 0.. => Some(done),
        errno => Some(sys::fail(-errno as Errno)),
    }
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
        let step = sys::caught(failed, || {
            if priority > c_uint::from(PRIORITY_MAX) {
                return failed(libc::EINVAL);
            }
            let mut held = match find::queue(mqd) {
                Ok(held) if held.permits(WRITE) => held,
                Ok(_) => return failed(libc::EBADF),
                Err(errno) => return failed(errno),
            };
            if length > held.shared().message_size {
                return failed(libc::EMSGSIZE);
            }
            let message = if length == 0 { std::ptr::dangling() } else { message.cast::<u8>() };
            // SAFETY: the caller says that there are so many bytes; a message size, which is not exceeded, is below isize::MAX.
            let message = unsafe { std::slice::from_raw_parts(message, length) };
            match held.shared().queue.try_send(message, priority as u16) {
                Ok(()) => 0,
                Err(error) => send_on(mqd, &mut held, message, priority as u16, deadline, error),
            }
        });
        if let Some(answer) = answer(step) {
            return answer as c_int;
        }
    }
}

/// It could not be sent at once.
#[cold]
fn send_on(
    mqd: c_int,
    held: &mut Held,
    message: &[u8],
    priority: u16,
    deadline: Option<Deadline>,
    error: SendError,
) -> Step {
    let waited = sys::shielded(|| {
        if !matches!(error, SendError::Full | SendError::Busy) || never_waits(mqd)? {
            return Err(errno::of_send(error));
        }
        if !table::has(mqd, held) || cancel::take_seat() {
            return Ok(AGAIN);
        }
        held.count();
        let queue = &held.shared().queue;
        loop {
            let sent = match deadline.and_then(Deadline::time) {
                None => queue.send(message, priority),
                Some(time) => queue.send_until(message, priority, time),
            };
            match sent {
                Ok(()) => return Ok(0),
                Err(SendError::Busy) if !deadline.is_some_and(Deadline::is_over) => {}
                Err(SendError::Busy) => return Err(libc::ETIMEDOUT),
                Err(SendError::Interrupted) if cancel::was_cancelled() => return Ok(AGAIN),
                Err(error) => return Err(errno::of_send(error)),
            }
        }
    });
    waited.unwrap_or_else(failed)
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
    let mut received_priority = 0;
    loop {
        sys::cancellation_point();
        let step = sys::caught(failed, || {
            let mut held = match find::queue(mqd) {
                Ok(held) if held.permits(READ) => held,
                Ok(_) => return failed(libc::EBADF),
                Err(errno) => return failed(errno),
            };
            let room = held.shared().message_size;
            if length < room {
                return failed(libc::EMSGSIZE);
            }
            // SAFETY: the caller says that there is room for `length` bytes, and `room`, a message size, is neither 0 nor more than
            // that or isize::MAX. The bytes are only written; whatever they are is a value for C's memory.
            let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), room) };
            match held.shared().queue.try_recv_into(buffer) {
                Ok(received) => {
                    received_priority = received.priority;
                    received.len as isize
                }
                Err(error) => receive_on(mqd, &mut held, buffer, deadline, error, &mut received_priority),
            }
        });
        if let Some(answer) = answer(step) {
            if answer >= 0 && !priority.is_null() {
                // SAFETY: the caller says that it is valid if it is not null.
                unsafe { priority.write(received_priority.into()) };
            }
            return answer;
        }
    }
}

/// It could not be received at once.
#[cold]
fn receive_on(
    mqd: c_int,
    held: &mut Held,
    buffer: &mut [u8],
    deadline: Option<Deadline>,
    error: RecvError,
    priority: &mut u16,
) -> Step {
    let waited = sys::shielded(|| {
        if !matches!(error, RecvError::Empty | RecvError::Busy) || never_waits(mqd)? {
            return Err(errno::of_recv(error));
        }
        if !table::has(mqd, held) || cancel::take_seat() {
            return Ok(AGAIN);
        }
        held.count();
        let queue = &held.shared().queue;
        loop {
            let received = match deadline.and_then(Deadline::time) {
                None => queue.recv_into(buffer),
                Some(time) => queue.recv_into_until(buffer, time),
            };
            match received {
                Ok(received) => {
                    *priority = received.priority;
                    return Ok(received.len as isize);
                }
                Err(RecvError::Busy) if !deadline.is_some_and(Deadline::is_over) => {}
                Err(RecvError::Busy) => return Err(libc::ETIMEDOUT),
                Err(RecvError::Interrupted) if cancel::was_cancelled() => return Ok(AGAIN),
                Err(error) => return Err(errno::of_recv(error)),
            }
        }
    });
    waited.unwrap_or_else(failed)
}

/// Whether the description says so that the number has now, which may be another one than the queue's: see [`table::has`].
fn never_waits(mqd: c_int) -> Result<bool, Errno> {
    Ok(sys::flags(mqd)? & libc::O_NONBLOCK != 0)
}
