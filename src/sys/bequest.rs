//! A bequest: the kernel wakes one who sleeps on a word if this thread dies now. Two stores to memory of the thread's own, no system call.
//!
//! The place *pending* of the [robust list](super::robust_list) names a lock that a thread is about to take or has just given back. If the
//! thread ends with a word of 0 there, nobody owns the lock, and the kernel wakes one who sleeps on it without touching it: the thread
//! may have died between giving the lock back and waking the next (`handle_futex_death` in kernel/futex/core.c, since Linux 5.5). The
//! words bequeathed here are always 0 and are no locks.
//!
//! The place is used only if it is free. A signal handler may have come in the middle of a robust mutex's taking, and that mutex needs
//! the place more: without it nobody would be told that its owner has died.

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

/// See the module. Lasts until it is dropped; one that is made meanwhile, or while the thread takes or gives back a robust mutex, does
/// nothing.
pub(crate) struct Bequest<'a> {
    /// Invariant B1: the head of the thread that made this value, which lasts as long as the thread: the C library's, which nobody
    /// replaces but for a moment in which no such value is made. The value is not `Send`, so it is used and dropped by that thread.
    head: NonNull<Head>,
    /// Whether the place was free.
    stands: bool,
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
        // SAFETY: B1. A signal handler that uses the place between this and the next store leaves null here, as it found it.
        let stands = unsafe { (*head.as_ptr()).pending }.is_null();
        if stands {
            // SAFETY: B1. The kernel looks at it when this thread ends; by then `word`, which is borrowed, is mapped still.
            let place = unsafe { &raw mut (*head.as_ptr()).pending };
            // SAFETY: as above.
            unsafe { place.write_volatile(entry) };
        }
        // What follows is not done before it: it is the kernel that looks, between two instructions of this thread.
        compiler_fence(Ordering::SeqCst);
        Bequest { head, stands, word: PhantomData }
    }
}

impl Drop for Bequest<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        if self.stands {
            // SAFETY: B1.
            let place = unsafe { &raw mut (*self.head.as_ptr()).pending };
            // SAFETY: as above.
            unsafe { place.write_volatile(ptr::null()) };
        }
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

    /// Starts a thread that ends after `begin`, as by a kill; what `begin` gives is not dropped.
    fn die<T>(begin: impl FnOnce() -> T + Send + 'static) {
        // Nobody can join such a thread.
        drop(thread::spawn(move || {
            let begun = begin();
            // SAFETY: the thread ends here. What it owns is never freed, so nobody is left with a dangling reference.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
            drop(begun);
        }));
    }

    /// Somebody sleeps on a will for `timeout` while threads die again and again, as they may come before it sleeps.
    fn slept<T>(will: &'static AtomicU32, timeout: Duration, begin: impl Fn() -> T + Send + Copy + 'static) -> Slept {
        let event = word();
        let sleeper = thread::spawn(move || futex::wait_or_bequest(event, 0, will, timeout));
        while !sleeper.is_finished() {
            die(begin);
            thread::sleep(Duration::from_millis(1));
        }
        sleeper.join().unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn who_sleeps_on_the_word_is_woken_by_a_death() {
        let (will, other) = (word(), word());
        let within = move || {
            let outer = Bequest::new(will);
            drop(Bequest::new(other));
            (outer, Bequest::new(other))
        };
        assert_eq!(slept(will, LONG, within), Slept::Bequeathed);
    }

    #[test]
    fn a_bequest_that_was_dropped_wakes_nobody() {
        let will = word();
        assert_eq!(slept(will, SHORT, move || drop(Bequest::new(will))), Slept::TimedOut);
    }

    /// A handler called in the middle of the taking of a robust mutex took the mutex's place, and nobody was told of the owner's death.
    #[test]
    fn a_mutex_that_is_being_taken_keeps_its_place() {
        let (mutex, will) = (word(), word());
        let taking = move || {
            // SAFETY: it takes no parameters.
            let tid = unsafe { libc::syscall(libc::SYS_gettid) };
            let head = head().as_ptr();
            // SAFETY: the head is this thread's (B1).
            let offset = unsafe { (*head).futex_offset };
            let entry = ptr::from_ref(mutex).cast::<u8>().wrapping_offset(-(offset as isize));
            // SAFETY: as above.
            let place = unsafe { &raw mut (*head).pending };
            // SAFETY: as above; the mutex lasts for ever.
            unsafe { place.write_volatile(entry) };
            mutex.store(u32::try_from(tid).unwrap(), Ordering::SeqCst);
            Bequest::new(will)
        };
        die(taking);
        const OWNER_DIED: u32 = 0x4000_0000;
        let until = std::time::Instant::now() + LONG;
        while mutex.load(Ordering::SeqCst) != OWNER_DIED {
            assert!(std::time::Instant::now() < until, "the word is {:#x}", mutex.load(Ordering::SeqCst));
            thread::yield_now();
        }
    }

    /// The kernel tells of one of the words that were woken; that of the interruption is still set afterwards, the death is not.
    #[test]
    fn an_interruption_at_the_same_time_hides_no_death() {
        let (event, will, interrupt) = (word(), word(), word());
        let (tell, told) = std::sync::mpsc::channel();
        let sleeper = thread::spawn(move || {
            tell.send(rustix::thread::gettid()).unwrap();
            futex::wait_interruptibly(event, 0, will, interrupt, LONG)
        });
        let path = format!("/proc/self/task/{}/syscall", told.recv().unwrap());
        // In the middle of futex_waitv(2), whose number is the same everywhere: it sleeps on all of them.
        while !std::fs::read_to_string(&path).unwrap().starts_with("449 ") {
            thread::yield_now();
        }
        // Both under the kernel's locks, so that the sleeper does not run in between.
        let (or, equal) = (rustix::thread::futex::WakeOp::Or, rustix::thread::futex::WakeOpCmp::Eq);
        let none = rustix::thread::futex::Flags::empty();
        assert_eq!(rustix::thread::futex::wake_op(will, none, 1, 1, interrupt, or, equal, 0, 0), Ok(2));
        assert_eq!(sleeper.join().unwrap(), Slept::Bequeathed);
    }
}
