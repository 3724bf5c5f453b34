//! This process: the one lock over what this library keeps in it, and what a fork does to that.
//!
//! The lock is never held while `chappe` is called or anything of the caller's, and nothing is dropped under it that could take it.

use crate::cancel::Seat;
use crate::shared::{Key, Shared};
use crate::sys;
use crate::table::Entry;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError, Weak};

/// What the lock is over.
pub struct State {
    /// Entries that no descriptor has.
    pub free: Vec<&'static Entry>,
    /// Entries whose descriptors were closed while the only thread used some.
    pub limbo: Vec<&'static Entry>,
    /// The queues that are open.
    pub queues: Vec<(Key, Weak<Shared>)>,
    /// The threads that have waited.
    pub seats: Vec<Seat>,
}

static STATE: Mutex<State> =
    Mutex::new(State { free: Vec::new(), limbo: Vec::new(), queues: Vec::new(), seats: Vec::new() });

/// Who holds the lock over a fork.
static HELD: Mutex<Option<Held>> = Mutex::new(None);

struct Held {
    _state: MutexGuard<'static, State>,
}

// SAFETY: the guard is put into HELD and taken out again by one thread: the one that forks, which is also the only one of the child.
unsafe impl Send for Held {}

/// Counts the forks between the first process and this one.
static GENERATION: AtomicU32 = AtomicU32::new(1);

/// The process that the memory belongs to; 0 before there is anything in it.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// The lock. A panic while it was held left nothing half-done.
pub fn lock() -> MutexGuard<'static, State> {
    static HANDLERS: Once = Once::new();
    HANDLERS.call_once(|| {
        OWNER.store(sys::pid(), Ordering::Relaxed);
        // SAFETY: the three handlers are functions that live as long as the program: a library with thread locals that have
        // destructors is not unloaded, and atfork handlers go with a library that is.
        let result = unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
        assert_eq!(result, 0, "pthread_atfork fails only for lack of a few bytes of memory");
    });
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Not 0, and another one in a fork child.
#[inline]
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Whether this is a process of its own with another's memory: between vfork and exec. What it closes is closed for itself only.
pub fn borrowed() -> bool {
    OWNER.load(Ordering::Relaxed) != sys::pid()
}

extern "C" fn before() {
    let held = Held { _state: lock() };
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
}

extern "C" fn after_in_parent() {
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

extern "C" fn after_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    OWNER.store(sys::pid(), Ordering::Relaxed);
    after_in_parent();
    // The other threads are not in this process. Theirs was the memory; it is not given back, for they might have been at it.
    let me = sys::this_thread();
    let others: Vec<Seat> = {
        let mut state = lock();
        let (mine, others) = state.seats.drain(..).partition(|seat| seat.is_of(me));
        state.seats = mine;
        others
    };
    std::mem::forget(others);
}
