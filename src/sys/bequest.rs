//! A bequest: the kernel wakes one who sleeps on a word if this thread dies now. Two stores to memory of the thread's own, no system call.
//!
//! The place *pending* of the [robust list](super::robust_list) names a lock that a thread is about to take or has just given back. If the
//! thread ends with a word there whose low 30 bits are 0, nobody owns the lock, and the kernel wakes one who sleeps on it without
//! touching it: the thread may have died between giving the lock back and waking the next (`handle_futex_death` in kernel/futex/core.c,
//! since Linux 5.5). The words bequeathed here are always 0 and are no locks.

use super::robust_list::{self, Head};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};

thread_local! {
    /// The thread's head, once it was asked for. It has no destructor, so that reading it is one load.
    static HEAD: Cell<*mut Head> = const { Cell::new(ptr::null_mut()) };
    /// What a thread that has none uses; the kernel does not know of it.
    static UNKNOWN: Cell<Head> = const { Cell::new(Head { list: ptr::null(), futex_offset: 0, pending: ptr::null() }) };
}

/// See the module. Lasts until it is dropped; one that is made meanwhile takes its place for as long as it lasts itself.
pub(crate) struct Bequest<'a> {
    /// Invariant B1: the head of the thread that made this value, which lasts as long as the thread. The value is not `Send`, so it is
    /// used and dropped by that thread.
    head: NonNull<Head>,
    before: *const u8,
    word: PhantomData<&'a AtomicU32>,
}

impl Bequest<'_> {
    /// From now on the kernel wakes one who sleeps on `word` if this thread dies. It may not be able to: it is a hint.
    #[inline(always)]
    pub(crate) fn new(word: &AtomicU32) -> Bequest<'_> {
        let head = head();
        // SAFETY: B1. Only this thread uses its head, and the kernel when it ends.
        let offset = unsafe { (*head.as_ptr()).futex_offset };
        let entry = ptr::from_ref(word).cast::<u8>().wrapping_offset(-(offset as isize));
        // SAFETY: B1. A signal handler that takes a robust lock between this and the next store leaves null here, as it found it.
        let before = unsafe { (*head.as_ptr()).pending };
        // SAFETY: B1. The kernel looks at it when this thread ends; by then `word`, which is borrowed, is mapped still.
        let place = unsafe { &raw mut (*head.as_ptr()).pending };
        // SAFETY: as above.
        unsafe { place.write_volatile(entry) };
        // What follows is not done before it: it is the kernel that looks, between two instructions of this thread.
        compiler_fence(Ordering::SeqCst);
        Bequest { head, before, word: PhantomData }
    }
}

impl Drop for Bequest<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        // SAFETY: B1.
        let place = unsafe { &raw mut (*self.head.as_ptr()).pending };
        // SAFETY: as above.
        unsafe { place.write_volatile(self.before) };
    }
}

#[inline(always)]
fn head() -> NonNull<Head> {
    NonNull::new(HEAD.get()).unwrap_or_else(ask)
}

#[cold]
fn ask() -> NonNull<Head> {
    let known = robust_list::current().ok().and_then(NonNull::new);
    let head = known.unwrap_or_else(|| UNKNOWN.with(|head| NonNull::from(head).cast()));
    HEAD.set(head.as_ptr());
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::futex::{self, Slept};
    use std::thread;
    use std::time::Duration;

    fn word() -> &'static AtomicU32 {
        Box::leak(Box::new(AtomicU32::new(0)))
    }

    /// Starts a thread that ends in the middle of what it does, as by a kill, inside and outside of another bequest.
    fn die(will: &'static AtomicU32, other: &'static AtomicU32, undone: bool) {
        // Nobody can join such a thread.
        drop(thread::spawn(move || {
            let outer = Bequest::new(if undone { other } else { will });
            let inner = Bequest::new(if undone { will } else { other });
            drop(inner);
            // SAFETY: the thread ends here. What it owns is never freed, so nobody is left with a dangling reference.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
            drop(outer);
        }));
    }

    #[test]
    fn who_sleeps_on_the_word_is_woken_by_a_death() {
        let (event, will, other) = (word(), word(), word());
        let sleep = move || futex::wait_or_bequest(event, 0, will, Duration::from_secs(60));
        let sleeper = thread::spawn(sleep);
        // It may not be asleep yet: so there are deaths until it is woken.
        while !sleeper.is_finished() {
            die(will, other, false);
            thread::yield_now();
        }
        assert_eq!(sleeper.join().unwrap(), Slept::Bequeathed);
    }

    #[test]
    fn a_bequest_that_was_dropped_wakes_nobody() {
        let (event, will, other) = (word(), word(), word());
        let slept = thread::spawn(move || futex::wait_or_bequest(event, 0, will, Duration::from_secs(1)));
        while !slept.is_finished() {
            die(will, other, true);
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(slept.join().unwrap(), Slept::TimedOut);
    }
}
