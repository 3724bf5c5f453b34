//! The facade over atomics, the futex, byte locks, the clock and the processor's hints: what the protocols of [`raw`](crate::raw) and
//! [`shm`](crate::shm) are written with; and the sizes that a model has smaller. Package `models` builds the same files with twins
//! under the same names in the place of this file, and nowhere else.
//!
//! No algorithm is here.

pub(crate) use crate::sys::bequest::Bequest;
pub(crate) use crate::sys::bytelock;
pub(crate) use crate::sys::futex;
pub(crate) use crate::sys::keeper;
pub(crate) use crate::sys::memory::prefetch_write;
pub(crate) use crate::sys::process::{roster, unix_nanos_coarse};
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Instant;

/// How many cells the ring has; a cell belongs to the tickets that are equal modulo this.
pub(crate) const CELLS: usize = 512;
/// How many tickets are kept armed while there are free slots, for slots without a large extent; at most [`CELLS`]. The rest of the
/// free slots lie on a stack, so that the memory in use follows the depth of the queue.
pub(crate) const WINDOW: u64 = 256;
/// The same for slots whose extent is reserved: few, since each costs memory and cache.
pub(crate) const WINDOW_WIDE: u64 = 8;
/// How many priorities there are.
pub(crate) const LEVELS: usize = 32768;
/// How often a taker of the lock looks before it asks whether the holder lives.
pub(crate) const SPINS: u32 = 400;
/// Whether atomics have the size that they have in a file, so that layouts can be asserted.
#[allow(dead_code, reason = "it is used in constant assertions, which Rust 1.88 does not count")]
pub(crate) const AS_IN_A_FILE: bool = true;

const _: () = assert!(CELLS * size_of::<AtomicU64>() == 4096 && LEVELS / 64 * size_of::<AtomicU64>() == 4096);

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

/// The monotonic clock.
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}
