//! Tests of single raw parts, each named after the fault that it would let back in. Whole protocols are tested from outside,
//! on real queues and real processes.

use super::event::Event;
use super::lock::Lock;
use super::word::Owner;
use crate::sync::futex::Slept;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

/// Far longer than anything here takes: a sleep that lasts so long was not woken.
const FOREVER: Duration = Duration::from_secs(60);

/// Sleepers on one event, each announced; the handles give how each sleep ended.
fn sleepers(event: &Arc<Event>, count: usize) -> Vec<thread::JoinHandle<Slept>> {
    let announced = Arc::new(Barrier::new(count + 1));
    let threads = (0..count).map(|_| {
        let (event, barrier) = (event.clone(), announced.clone());
        thread::spawn(move || {
            let seen = event.announce();
            barrier.wait();
            event.sleep(seen, FOREVER)
        })
    });
    let threads = threads.collect();
    announced.wait();
    threads
}

/// Two sleep; a signal wakes one and clears W; the queue is closed before that one has set W again. A clear W does not say
/// that nobody sleeps: the close must wake the second one, too.
#[test]
fn wake_all_does_not_rely_on_the_flag() {
    let event = Arc::new(Event::new());
    let threads = sleepers(&event, 2);
    event.signal(1);
    event.signal_all();
    for sleeper in threads {
        assert_eq!(sleeper.join().unwrap(), Slept::Awake);
    }
}

/// What is announced before a signal does not sleep through it, also when the sleep begins after the signal.
#[test]
fn a_signal_between_announcing_and_sleeping_is_not_lost() {
    let event = Event::new();
    let seen = event.announce();
    event.signal(1);
    assert_eq!(event.sleep(seen, FOREVER), Slept::Awake);
}

/// A lock that was handed to one that had slept still says that others may sleep: else they wait out their bound.
#[test]
fn a_lock_taken_after_a_sleep_keeps_the_sleepers_bit() {
    let (lock, a, b) = (Lock::new(), Owner::of_index(0), Owner::of_index(1));
    assert!(lock.try_acquire(a));
    assert!(!lock.try_acquire(b) && !lock.try_acquire_contended(b));
    lock.release();
    assert!(lock.try_acquire_contended(b));
    // A sleeper that comes now finds the bit set already, and sleeps on exactly this word.
    lock.sleep(b, Duration::from_millis(1));
    assert_eq!(lock.holder(), Some(b));
    lock.release();
    assert_eq!(lock.holder(), None);
}

/// Only the owner that the lock names can lose it to a thief.
#[test]
fn a_lock_is_stolen_only_from_whom_it_names() {
    let (lock, dead, live, me) = (Lock::new(), Owner::of_index(0), Owner::of_index(1), Owner::of_index(2));
    assert!(lock.try_acquire(live));
    assert!(!lock.steal(dead, me));
    assert_eq!(lock.holder(), Some(live));
    assert!(lock.steal(live, me));
    assert_eq!(lock.holder(), Some(me));
}
