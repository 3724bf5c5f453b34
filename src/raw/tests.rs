//! Tests of single raw parts, each named after the fault that it would let back in. Whole protocols are tested from outside,
//! on real queues and real processes.

use super::event::Event;
use super::lock::{Lock, Signature};
use super::owner::Entry;
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
    let event = Arc::new(Event::default());
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
    let event = Event::default();
    let seen = event.announce();
    event.signal(1);
    assert_eq!(event.sleep(seen, FOREVER), Slept::Awake);
}

/// A lock that was handed to one that had slept still says that others may sleep: else they wait out their bound.
#[test]
fn a_lock_taken_after_a_sleep_keeps_the_sleepers_bit() {
    let (lock, a, b) = (Lock::default(), signature(0, 1), signature(1, 1));
    assert!(lock.try_acquire(a));
    assert!(!lock.try_acquire(b) && !lock.try_acquire_contended(b));
    lock.release();
    assert!(lock.try_acquire_contended(b));
    // A sleeper that comes now finds the bit set already, and sleeps on exactly this word.
    lock.sleep(Owner::of_index(1), Duration::from_millis(1));
    assert_eq!(holder(&lock), Some(1));
    lock.release();
    assert_eq!(holder(&lock), None);
}

fn holder(lock: &Lock) -> Option<u32> {
    lock.holder().map(|seen| seen.owner.index())
}

fn signature(index: u32, incarnation: u32) -> Signature {
    Signature::new(Owner::of_index(index), incarnation)
}

/// Only the owner that was seen in the lock can lose it to a thief.
#[test]
fn a_lock_is_stolen_only_from_whom_it_names() {
    let (lock, dead, live, me) = (Lock::default(), signature(0, 1), signature(1, 1), signature(2, 1));
    assert!(lock.try_acquire(dead));
    let seen = lock.holder().unwrap();
    lock.release();
    assert!(lock.try_acquire(live));
    assert!(!lock.steal(seen, me));
    assert_eq!(holder(&lock), Some(1));
    assert!(lock.steal(lock.holder().unwrap(), me));
    assert_eq!(holder(&lock), Some(2));
}

/// Whoever comes after a dead one under its index is not robbed by a thief that saw the dead one in the lock: neither when it
/// inherits the lock, nor later, when it has taken it in the ordinary way.
#[test]
fn a_lock_is_not_stolen_from_the_heir_of_an_index() {
    let (lock, dead, heir, thief) = (Lock::default(), signature(0, 7), signature(0, 8), signature(1, 1));
    assert!(lock.try_acquire(dead));
    let seen = lock.holder().unwrap();
    assert!(seen.is_of(7) && !seen.is_of(8));
    assert!(lock.steal(seen, heir));
    assert!(!lock.steal(seen, thief));
    lock.release();
    assert!(lock.try_acquire(heir));
    assert!(!lock.steal(seen, thief));
    assert_eq!(holder(&lock), Some(0));
    // And the other way round: what the thief has, the heir does not inherit.
    let seen = lock.holder().unwrap();
    assert!(lock.steal(seen, thief));
    assert!(!lock.steal(seen, heir));
    assert_eq!(holder(&lock), Some(1));
}

/// *Ending* is not written over an entry that has been occupied since its mark was seen.
#[test]
fn an_entry_that_was_occupied_again_is_not_ended() {
    let entry = Entry::default();
    entry.occupy();
    let dead = entry.stage();
    assert!(entry.occupy(), "the dead one's entry is inherited");
    entry.end(dead);
    assert!(entry.in_use() && !entry.stage().is_ending());
    let seen = entry.stage();
    entry.end(seen);
    assert!(entry.stage().is_ending());
    entry.vacate();
    assert!(!entry.in_use());
}
