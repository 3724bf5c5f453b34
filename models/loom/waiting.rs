//! The event and the lock. Real: `raw::event`, `raw::lock`. Stand-ins: the loops of `shm::wait` and `shm::member` around them, without
//! spinning and without time.

use crate::raw::event::Event;
use crate::raw::lock::{Lock, Signature};
use crate::raw::word::Owner;
use crate::sync::{AtomicU32, Ordering};
use loom::thread;
use std::sync::Arc;
use std::time::Duration;

/// Not looked at: there is no time.
pub(crate) const FOR_EVER: Duration = Duration::MAX;

pub(crate) fn signature(index: u32) -> Signature {
    Signature::new(Owner::of_index(index), 1)
}

/// W1 to W4: until an attempt gives something.
pub(crate) fn wait_for<T>(event: &Event, mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        let announced = event.announce();
        if let Some(found) = attempt() {
            return found;
        }
        event.sleep(announced, FOR_EVER);
    }
}

/// Takes the lock, and does something under it.
pub(crate) fn locked<T>(lock: &Lock, index: u32, act: impl FnOnce() -> T) -> T {
    let me = signature(index);
    let mut taken = lock.try_acquire(me);
    while !taken {
        if let Some(holder) = lock.holder() {
            lock.sleep(holder.owner, FOR_EVER);
        }
        taken = lock.try_acquire_contended(me);
    }
    let result = act();
    lock.release();
    result
}

/// News and a sleeper: what is published before a signal is seen by the last look, or the signal wakes.
pub(crate) fn a_wake_is_not_lost() {
    let shared = Arc::new((Event::default(), AtomicU32::new(0)));
    let sender = shared.clone();
    let sender = thread::spawn(move || {
        sender.1.swap(1, Ordering::SeqCst);
        sender.0.signal(1);
    });
    wait_for(&shared.0, || (shared.1.load(Ordering::Acquire) == 1).then_some(()));
    sender.join().unwrap();
}

/// Two sleepers and one who ends it for all: nobody sleeps on, though a signal comes in between.
pub(crate) fn an_end_reaches_all() {
    let shared = Arc::new((Event::default(), AtomicU32::new(0)));
    let sleepers: Vec<_> = (0..2)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || wait_for(&shared.0, || (shared.1.load(Ordering::Acquire) == 1).then_some(())))
        })
        .collect();
    shared.0.signal(1);
    shared.1.fetch_max(1, Ordering::SeqCst);
    shared.0.signal_all();
    sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
}

/// Whoever draws attention and then looks has seen the news, or whoever has the news is told to look after more.
pub(crate) fn attention_is_not_overlooked() {
    let shared = Arc::new((Event::default(), AtomicU32::new(0)));
    let sender = shared.clone();
    let sender = thread::spawn(move || {
        sender.1.swap(1, Ordering::SeqCst);
        sender.0.signal(1)
    });
    shared.0.draw_attention(true);
    let seen = shared.1.load(Ordering::Acquire) == 1;
    assert!(sender.join().unwrap() || seen, "news that nobody shows");
}

/// Three take the lock in turn, asleep if need be: they exclude each other, and see what the last one did.
pub(crate) fn the_lock_excludes_and_wakes() {
    let shared = Arc::new((Lock::default(), AtomicU32::new(0)));
    let count = |shared: &(Lock, AtomicU32), index: u32| {
        locked(&shared.0, index, || {
            let seen = shared.1.load(Ordering::Relaxed);
            shared.1.store(seen + 1, Ordering::Relaxed);
        });
    };
    let others: Vec<_> = (1..3)
        .map(|index| {
            let shared = shared.clone();
            thread::spawn(move || count(&shared, index))
        })
        .collect();
    count(&shared, 0);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(shared.1.load(Ordering::Relaxed), 3, "all have counted");
}

/// One dies with the lock; of two who come, at most one steals it, and sees what the dead one did.
pub(crate) fn the_lock_is_stolen_once() {
    // The lock, what it protects, and whose byte is free. Whoever gets a dead one's byte sees all that it did.
    let shared = Arc::new((Lock::default(), AtomicU32::new(0), AtomicU32::new(0)));
    let dead = shared.clone();
    let dead = thread::spawn(move || {
        if dead.0.try_acquire(signature(0)) {
            dead.1.store(1, Ordering::Relaxed);
            dead.2.store(Owner::of_index(0).bits(), Ordering::Release);
        }
    });
    let come = |shared: &(Lock, AtomicU32, AtomicU32), index: u32| {
        let me = signature(index);
        let stolen = loop {
            if shared.0.try_acquire(me) {
                break false;
            }
            let holder = shared.0.holder();
            let dead = holder.filter(|holder| shared.2.load(Ordering::Acquire) == holder.owner.bits());
            if dead.is_some_and(|dead| shared.0.steal(dead, me)) {
                break true;
            }
            thread::yield_now();
        };
        let seen = shared.1.load(Ordering::Relaxed);
        assert!(!stolen || seen == 1, "the thief does not see what the dead one did: {seen}");
        shared.1.store(seen + 2, Ordering::Relaxed);
        shared.0.release();
        stolen
    };
    let other = shared.clone();
    let other = thread::spawn(move || come(&other, 1));
    let (first, second) = (come(&shared, 2), other.join().unwrap());
    dead.join().unwrap();
    assert!(!(first && second), "stolen once");
}
