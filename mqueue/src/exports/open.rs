//! `mq_open`, `mq_close`, `mq_unlink`: the pointers of C become values here.

use super::attributes::Attributes;
use crate::setup::{self, Asked};
use crate::{name, sys};
use std::ffi::{CStr, c_char, c_int};

/// `mqd_t mq_open(const char *name, int oflag, ...)`. The third and fourth argument are there only with O_CREAT.
///
/// # Safety
/// `name` is a C string. With O_CREAT, `attributes` is null or a `struct mq_attr`.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mq_open(
    name: *const c_char,
    flags: c_int,
    mode: libc::mode_t,
    attributes: *const Attributes,
) -> c_int {
    // Without O_CREAT the two registers hold anything.
    let create = flags & libc::O_CREAT != 0;
    let attributes = if create { attributes } else { std::ptr::null() };
    // SAFETY: null, or given with O_CREAT: then the caller says that it is null or valid.
    let attributes = unsafe { attributes.as_ref() };
    let asked = attributes.map(|asked| Asked { messages: asked.messages_max, message_size: asked.message_size });
    // SAFETY: the caller says that it is a C string.
    let name = unsafe { CStr::from_ptr(name) };
    sys::returned(sys::shielded(|| setup::open(name::check(name.to_bytes())?, flags, mode & 0o777, asked)))
}

/// `mq_open` without the two variadic arguments, as fortified programs call it.
///
/// # Safety
/// `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn __mq_open_2(name: *const c_char, flags: c_int) -> c_int {
    if flags & libc::O_CREAT != 0 {
        sys::fortify_fail("invalid mq_open call: O_CREAT without mode and attr");
    }
    // SAFETY: the caller's promise; without O_CREAT the last argument is not looked at.
    unsafe { mq_open(name, flags, 0, std::ptr::null()) }
}

/// `int mq_close(mqd_t)`: as Linux has it, this is `close`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn mq_close(mqd: c_int) -> c_int {
    // SAFETY: closing is what the caller asks for.
    unsafe { super::close::close_here(mqd) }
}

/// `int mq_unlink(const char *name)`.
///
/// # Safety
/// `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mq_unlink(name: *const c_char) -> c_int {
    // SAFETY: the caller says so.
    let name = unsafe { CStr::from_ptr(name) };
    sys::returned(sys::shielded(|| setup::unlink(name::check(name.to_bytes())?).map(|()| 0)))
}
