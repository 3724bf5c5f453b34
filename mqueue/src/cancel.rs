//! Cancelling a thread that waits in the library: it has a seat in a list, by which `pthread_cancel` finds it and ends its wait. No
//! unwinding happens here.

use crate::{process, sys};
use chappe::Interrupter;
use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A thread that has waited, or is about to.
#[derive(Clone)]
pub struct Seat {
    thread: libc::pthread_t,
    interrupter: Interrupter,
    /// Its wait was ended because it was cancelled.
    cancelled: Arc<AtomicBool>,
}

impl Seat {
    pub fn is_of(&self, thread: libc::pthread_t) -> bool {
        self.thread == thread
    }
}

/// How many threads have seats: while none has, there is nobody to wake.
static SEATS: AtomicUsize = AtomicUsize::new(0);

/// Gives the seat up when the thread ends, also by being cancelled.
struct Sitting(Seat);

impl Drop for Sitting {
    fn drop(&mut self) {
        let mut state = process::lock();
        let leaving = state.seats.iter().position(|seat| Arc::ptr_eq(&seat.cancelled, &self.0.cancelled));
        let seat = leaving.map(|index| state.seats.swap_remove(index));
        SEATS.store(state.seats.len(), Ordering::Relaxed);
        drop(state);
        drop(seat);
    }
}

thread_local! {
    static SITTING: OnceCell<Sitting> = const { OnceCell::new() };
}

/// Sees to it that this thread can be found. True if it could not before: somebody may have looked for it in vain, so the caller
/// has to look whether it was cancelled before it waits. (A thread that is ending already waits without a seat.)
pub fn take_seat() -> bool {
    SITTING.try_with(|sitting| {
        let new = sitting.get().is_none();
        sitting.get_or_init(sit_down);
        new
    }) == Ok(true)
}

fn sit_down() -> Sitting {
    let seat = Seat {
        thread: sys::this_thread(),
        interrupter: Interrupter::of_this_thread(),
        cancelled: Arc::new(AtomicBool::new(false)),
    };
    let mut state = process::lock();
    state.seats.push(seat.clone());
    SEATS.store(state.seats.len(), Ordering::Relaxed);
    drop(state);
    Sitting(seat)
}

/// Whether this thread's wait was ended by [`wake`] since it was last asked.
pub fn was_cancelled() -> bool {
    let taken =
        |sitting: &OnceCell<Sitting>| sitting.get().is_some_and(|s| s.0.cancelled.swap(false, Ordering::Acquire));
    SITTING.try_with(taken) == Ok(true)
}

/// The thread has been cancelled; if it waits, its wait ends.
pub fn wake(thread: libc::pthread_t) {
    if SEATS.load(Ordering::Relaxed) == 0 {
        return;
    }
    let found = process::lock().seats.iter().find(|seat| seat.is_of(thread)).cloned();
    if let Some(seat) = found {
        // Partner: `was_cancelled`, after the wait has ended.
        seat.cancelled.store(true, Ordering::Release);
        seat.interrupter.interrupt();
    }
}
