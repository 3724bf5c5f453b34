//! The facade over atomics, the futex and the processor's hints: what the protocols of [`raw`](crate::raw) are written with. A
//! model checker's twins would be put under the same names here, and nowhere else.
//!
//! No algorithm is here.

pub(crate) use crate::sys::futex;
pub(crate) use crate::sys::keeper;
pub(crate) use crate::sys::memory::prefetch_write;
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// The store-load barrier after an atomic read-modify-write. On x86 the locked instruction has been one already.
#[inline(always)]
pub(crate) fn fence_after_rmw() {
    if cfg!(target_arch = "x86_64") {
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// Tells the processor that this is a spin loop.
#[inline(always)]
pub(crate) fn pause() {
    std::hint::spin_loop();
}
