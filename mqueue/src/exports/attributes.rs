//! `mq_getattr` and `mq_setattr`. O_NONBLOCK is the descriptor's own flag, so it is that of the open description.

use crate::errno::{self, Errno};
use crate::{find, sys};
use std::ffi::{c_int, c_long};

/// `struct mq_attr`.
#[repr(C)]
pub struct Attributes {
    flags: c_long,
    pub messages_max: c_long,
    pub message_size: c_long,
    messages_now: c_long,
    reserved: [c_long; 4],
}

/// `int mq_getattr(mqd_t, struct mq_attr *)`.
///
/// # Safety
/// `now` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mq_getattr(mqd: c_int, now: *mut Attributes) -> c_int {
    // SAFETY: the caller's promise; null is "nothing to change".
    unsafe { mq_setattr(mqd, std::ptr::null(), now) }
}

/// `int mq_setattr(mqd_t, const struct mq_attr *, struct mq_attr *)`.
///
/// # Safety
/// Both are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mq_setattr(mqd: c_int, new: *const Attributes, before: *mut Attributes) -> c_int {
    // SAFETY: the caller's promise.
    let flags = unsafe { new.as_ref() }.map(|new| new.flags);
    let result = sys::shielded(|| exchange(mqd, flags));
    match result {
        Err(errno) => sys::fail(errno),
        Ok(attributes) => {
            if !before.is_null() {
                // SAFETY: the caller says that it is valid if it is not null.
                unsafe { before.write(attributes) };
            }
            0
        }
    }
}

fn exchange(mqd: c_int, new: Option<c_long>) -> Result<Attributes, Errno> {
    let nonblock = c_long::from(libc::O_NONBLOCK);
    if new.is_some_and(|flags| flags & !nonblock != 0) {
        return Err(libc::EINVAL);
    }
    let (held, flags) = find::queue_and_flags(mqd)?;
    let queue = &held.shared().queue;
    let attributes = Attributes {
        flags: c_long::from(flags) & nonblock,
        messages_max: queue.capacity() as c_long,
        message_size: queue.message_size() as c_long,
        messages_now: queue.len().map_err(errno::of_access)? as c_long,
        reserved: [0; 4],
    };
    if let Some(new) = new {
        sys::set_flags(mqd, flags & !libc::O_NONBLOCK | new as c_int)?;
    }
    Ok(attributes)
}
