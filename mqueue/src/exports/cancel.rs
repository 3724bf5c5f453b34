//! The wrapper of `pthread_cancel`: a thread that waits in this library does not wait in the C library, which could not wake it.

use crate::{cancel, next, sys};
use std::ffi::c_int;

/// `int pthread_cancel(pthread_t)`.
///
/// # Safety
/// As pthread_cancel(3): the thread lives, or was not joined yet.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pthread_cancel(thread: libc::pthread_t) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe { next::pthread_cancel(thread) };
    if result == 0 {
        let _ = sys::shielded(|| {
            cancel::wake(thread);
            Ok(())
        });
    }
    result
}
