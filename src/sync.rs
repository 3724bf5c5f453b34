//! The facade over atomics and the futex. Under `--cfg loom` the same names are the model checker's twins, so that the
//! protocols of [`raw`](crate::raw) are written once and checked as they are.
//!
//! No algorithm is here, and no `cfg` is anywhere else in the library but in the list of modules.

#[cfg(not(loom))]
pub(crate) use real::*;

#[cfg(loom)]
pub(crate) use twin::*;

#[cfg(not(loom))]
mod real {
    pub(crate) use crate::sys::futex;
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
}

#[cfg(loom)]
mod twin {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    /// The store-load barrier after an atomic read-modify-write.
    pub(crate) fn fence_after_rmw() {
        fence(Ordering::SeqCst);
    }

    /// The model has no caches.
    pub(crate) fn prefetch_write<T>(_: *const T) {}

    /// Lets another modelled thread run.
    pub(crate) fn pause() {
        loom::thread::yield_now();
    }
}
