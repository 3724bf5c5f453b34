//! A few words of memory shared with forked children: the gate they start at, and lines to bounce. Not a place for
//! messages.

use crate::measure::Result;
use crate::measure::clock::{PATIENCE, now};
use rustix::event::Timespec;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::thread::futex::{self, Flags};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// Types that are valid when all their bytes are zero, and that processes may share: atomics, or what the C library guards.
///
/// # Safety
/// The implementor holds nothing but atomics, padding, and cells that only the C library's own functions touch; it needs no
/// drop, and its alignment is at most a page's.
pub unsafe trait Zeroed: Sync {}

/// A `T` of zeroes in memory that children share with their parent after fork.
pub struct Shared<T: Zeroed>(NonNull<T>);

impl<T: Zeroed> Shared<T> {
    pub fn new() -> Result<Shared<T>> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), size_of::<T>(), protection, flags) }?;
        Ok(Shared(NonNull::new(start.cast()).ok_or("mmap gave a null pointer")?))
    }
}

impl<T: Zeroed> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mapping is page-aligned, of T's size, zeroed by the kernel (valid by `Zeroed`), and lives until drop;
        // whoever shares it goes through atomics or the C library's functions only (`Zeroed`).
        unsafe { self.0.as_ref() }
    }
}

impl<T: Zeroed> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this size, and no reference outlives `self`.
        let unmapped = unsafe { munmap(self.0.as_ptr().cast(), size_of::<T>()) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Where the processes of one measurement wait for each other, so that none is measured while another is still starting.
#[derive(Default)]
pub struct Gate {
    arrived: AtomicU32,
    finished: AtomicU32,
}

// SAFETY: two atomics and nothing else.
unsafe impl Zeroed for Gate {}

impl Gate {
    /// Waits until `parties` have called this. Yields between looks: the parties may share one CPU.
    ///
    /// # Errors
    /// When one of them has not come after ten seconds: it has died, and says why itself.
    pub fn arrive(&self, parties: u32) -> Result<()> {
        const PATIENCE_NANOS: u64 = 10_000_000_000;
        let start = now();
        self.arrived.fetch_add(1, SeqCst);
        while self.arrived.load(SeqCst) < parties {
            if now() - start > PATIENCE_NANOS {
                return Err("a process of this measurement did not start".into());
            }
            rustix::thread::sched_yield();
        }
        Ok(())
    }

    /// Whether this was the last of `parties` to finish.
    pub fn last_of(&self, parties: u32) -> bool {
        self.finished.fetch_add(1, SeqCst) + 1 == parties
    }

    /// How many have arrived.
    pub fn arrived(&self) -> u32 {
        self.arrived.load(SeqCst)
    }
}

/// A number that only grows, which processes set and sleep on: which step a measurement has come to.
#[derive(Default)]
pub struct Bell(AtomicU32);

impl Bell {
    pub fn ring(&self, step: u32) {
        self.0.store(step, SeqCst);
        // It fails only for addresses that are no word's.
        let _ = futex::wake(&self.0, Flags::empty(), u32::MAX);
    }

    pub fn has_rung(&self, step: u32) -> bool {
        self.0.load(SeqCst) >= step
    }

    /// Sleeps until `step` has been rung.
    ///
    /// # Errors
    /// When that takes too long: whoever should ring it has died, and says why itself.
    pub fn wait_for(&self, step: u32) -> Result<()> {
        let start = now();
        while !self.has_rung(step) {
            if now() - start > PATIENCE.as_nanos() as u64 {
                return Err("a process of this measurement did not come to its next step".into());
            }
            let (seen, pause) = (self.0.load(SeqCst), Timespec { tv_sec: 0, tv_nsec: 100_000_000 });
            if seen < step {
                // Whatever woke us, the number tells.
                let _ = futex::wait(&self.0, Flags::empty(), seen, Some(&pause));
            }
        }
        Ok(())
    }

    /// The same without sleeping, for one who has a CPU to itself.
    pub fn spin_for(&self, step: u32) -> Result<()> {
        let start = now();
        while !self.has_rung(step) {
            if now() - start > PATIENCE.as_nanos() as u64 {
                return Err("a process of this measurement did not come to its next step".into());
            }
            rustix::thread::sched_yield();
        }
        Ok(())
    }
}
