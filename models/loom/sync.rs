//! The twins of the library's `src/sync.rs`, under the same names: loom's atomics, which show every value that the memory model
//! allows, and a futex made of one of loom's mutexes. There is no time: a wake that is lost is a deadlock, which loom reports.

pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// A ring so small that its end is reached.
pub(crate) const CELLS: usize = 2;
pub(crate) const WINDOW: u64 = 2;
pub(crate) const WINDOW_WIDE: u64 = 1;
pub(crate) const LEVELS: usize = 64;
/// Loom's atomics are larger.
pub(crate) const AS_IN_A_FILE: bool = false;

pub(crate) fn fence_after_rmw() {
    fence(Ordering::SeqCst);
}

pub(crate) fn prefetch_write<T>(_: *const T) {}

pub(crate) mod keeper {
    //! There are no keepers.

    pub(crate) fn is_marked(_: u32) -> bool {
        false
    }
}

pub(crate) mod futex {
    //! Compare and sleep under one mutex, wake under the same.

    use super::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::time::Duration;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Slept {
        Awake,
        TimedOut,
    }

    struct Sleeper {
        woken: Mutex<bool>,
        bell: Condvar,
    }

    loom::lazy_static! {
        static ref SLEEPERS: Mutex<HashMap<usize, Vec<Arc<Sleeper>>>> = Mutex::new(HashMap::new());
    }

    pub(crate) fn wait(word: &AtomicU32, expected: u32, _: Duration) -> Slept {
        let sleeper = Arc::new(Sleeper { woken: Mutex::new(false), bell: Condvar::new() });
        {
            let mut sleepers = SLEEPERS.lock().unwrap();
            if word.load(Ordering::Relaxed) != expected {
                return Slept::Awake;
            }
            sleepers.entry(std::ptr::from_ref(word).addr()).or_default().push(sleeper.clone());
        }
        let mut woken = sleeper.woken.lock().unwrap();
        while !*woken {
            woken = sleeper.bell.wait(woken).unwrap();
        }
        Slept::Awake
    }

    pub(crate) fn wait_watching(word: &AtomicU32, expected: u32, _: &[(&AtomicU32, u32)], time: Duration) -> Slept {
        wait(word, expected, time)
    }

    pub(crate) fn wait_or_bequest(word: &AtomicU32, expected: u32, _: &AtomicU32, time: Duration) -> Slept {
        wait(word, expected, time)
    }

    pub(crate) fn wait_for_either_or_bequest(
        word: &AtomicU32,
        expected: u32,
        _: &AtomicU32,
        _: &AtomicU32,
        time: Duration,
    ) -> Slept {
        wait(word, expected, time)
    }

    pub(crate) fn wait_interruptibly(
        word: &AtomicU32,
        expected: u32,
        _: &AtomicU32,
        _: &AtomicU32,
        time: Duration,
    ) -> Slept {
        wait(word, expected, time)
    }

    /// Wakes those who came first, as the kernel does.
    pub(crate) fn wake(word: &AtomicU32, count: u32) {
        let mut sleepers = SLEEPERS.lock().unwrap();
        let Some(here) = sleepers.get_mut(&std::ptr::from_ref(word).addr()) else { return };
        let count = here.len().min(count as usize);
        for sleeper in here.drain(..count) {
            *sleeper.woken.lock().unwrap() = true;
            sleeper.bell.notify_one();
        }
    }
}
