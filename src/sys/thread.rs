//! Threads: a small number for each of the first few that run at a time, and starting one that no signal handler runs on.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

/// How many threads have a number at a time.
pub(crate) const NUMBERED: usize = 32;

/// Bit n: number n is taken.
static TAKEN: AtomicU32 = AtomicU32::new(0);

const UNASKED: u32 = u32::MAX;
const NONE: u32 = u32::MAX - 1;

thread_local! {
    /// The number, or one of the two constants. It has no destructor, so that reading it is one load.
    static NUMBER: Cell<u32> = const { Cell::new(UNASKED) };
    /// Gives the number back when the thread ends.
    static GUARD: Guard = const { Guard };
}

struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        let number = NUMBER.replace(NONE);
        if number < NONE {
            // Partner: `take`. What this thread did under its number is visible to the next one that has it.
            TAKEN.fetch_and(!(1 << number), Ordering::Release);
        }
    }
}

/// The number of this thread, below [`NUMBERED`]: no other thread has it while this one runs. `None` if there are too many
/// threads, or this one is ending.
#[inline(always)]
pub(crate) fn number() -> Option<u32> {
    let number = NUMBER.get();
    if number < NONE { Some(number) } else { ask(number) }
}

#[cold]
fn ask(number: u32) -> Option<u32> {
    if number == NONE || GUARD.try_with(|_| ()).is_err() {
        return None;
    }
    let free = |taken: u32| (taken != u32::MAX).then(|| taken | (taken + 1));
    let before = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, free).ok();
    // Asked once only: a thread that finds none goes without.
    NUMBER.set(before.map_or(NONE, u32::trailing_ones));
    before.map(u32::trailing_ones)
}

/// Starts a thread that blocks all signals, so that the program's handlers run where the program expects them; but not SIGBUS, which
/// [watched](super::sigbus) mappings need. Its stack is small: what it runs is ours.
pub(crate) fn spawn_quiet(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    spawn(std::thread::Builder::new().name(name.into()).stack_size(128 << 10), run)
}

/// The same with the usual stack, for code of the program's.
pub(crate) fn spawn_quiet_for_users(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    spawn(std::thread::Builder::new().name(name.into()), run)
}

fn spawn(builder: std::thread::Builder, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let before = block_signals();
    let spawned = builder.spawn(run);
    restore_signals(&before);
    spawned
}

fn block_signals() -> libc::sigset_t {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset writes a whole set and cannot fail with a valid pointer.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: `all` was written above; it fails only for a number that is no signal's.
    unsafe { libc::sigdelset(all.as_mut_ptr(), libc::SIGBUS) };
    // SAFETY: `all` was written above, `before` has room for a set; the call fails only for an unknown first argument.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    // SAFETY: the call above has written it.
    unsafe { before.assume_init() }
}

fn restore_signals(before: &libc::sigset_t) {
    // SAFETY: a valid set, and no place for the old one.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_numbers_of_their_own_and_give_them_back() {
        let mine = number();
        let others: Vec<Option<u32>> = (0..100).map(|_| std::thread::spawn(number).join().unwrap()).collect();
        assert!(others.iter().all(|other| other.is_some() && *other != mine));
        assert_eq!(number(), mine);
    }
}
