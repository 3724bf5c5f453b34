//! The fast path against a recount, step by step, and the lists and the count against whatever the words say. In ordinary memory,
//! with one lock holder: the test.

use super::count::*;
use super::record::*;
use super::*;
use std::sync::atomic::AtomicBool;
use std::sync::{Barrier, Mutex};
use std::thread;

/// A semaphore's words, without a file around them.
struct Words {
    desk: Desk,
    available: Available,
    records: Vec<Record>,
    fresh: AtomicU32,
    life: AtomicU32,
}

impl Words {
    fn new(permits: u64, records: u32) -> Words {
        let words = Words {
            desk: Desk::default(),
            available: Available::default(),
            records: (0..records).map(|_| Record::default()).collect(),
            fresh: AtomicU32::new(0),
            life: AtomicU32::new(0),
        };
        words.desk.permits.store(permits, Ordering::Relaxed);
        words.permits().rebuild().unwrap();
        words.permits().add_fresh(records).unwrap();
        words
    }

    fn permits(&self) -> Permits<'_> {
        let Words { desk, available, records, fresh, life } = self;
        Permits { desk, available, records, fresh, life }
    }

    /// A record for the owner with this index.
    fn claim(&self, index: u32) -> u32 {
        self.permits().claim(Owner::of_index(index), &[0; 64]).unwrap().expect("there are more")
    }

    fn free(&self) -> i64 {
        self.available.load().free()
    }

    fn state(&self, number: u32) -> State {
        self.records[number as usize].state()
    }

    fn record(&self, number: u32) -> &Record {
        &self.records[number as usize]
    }

    /// What the records say, which is the truth.
    fn truth(&self) -> i64 {
        let held: u64 = self.records.iter().map(Record::held).sum();
        self.desk.permits.load(Ordering::Relaxed) as i64 - held as i64
    }

    fn wait(&self, number: u32, permits: u64) {
        self.permits().enqueue(number, permits, Purpose::Permit, false, 0).unwrap();
    }

    /// Settles; the numbers of those whose state changed.
    fn settle(&self) -> Vec<u32> {
        let mut changed = Vec::new();
        self.permits().settle(|number, _| changed.push(number)).unwrap();
        changed
    }

    /// The queue, from both ends.
    fn queue(&self) -> Vec<u32> {
        let walk = |from: &AtomicU32, step: fn(&Record) -> &AtomicU32| {
            let mut numbers = Vec::new();
            let mut here = from.load(Ordering::Relaxed);
            while let Some(number) = unlisted(here) {
                numbers.push(number);
                assert!(numbers.len() <= self.records.len(), "the list is a ring");
                here = step(self.record(number)).load(Ordering::Relaxed);
            }
            numbers
        };
        let forwards = walk(&self.desk.first, |record| &record.next);
        let mut backwards = walk(&self.desk.last, |record| &record.previous);
        backwards.reverse();
        assert_eq!(forwards, backwards);
        assert_eq!(self.desk.waiting.load(Ordering::Relaxed) as usize, forwards.len());
        forwards
    }
}

// ---- the count ----

#[test]
fn counts_at_their_ends_are_what_they_say() {
    for free in [0, 1, -1, 7, 1 << 48, -(1 << 48), BIAS - 1, -BIAS] {
        let count = Count::new(free);
        assert_eq!(count.free(), free);
        assert!(!count.slow() && !count.frozen());
        let marked = Count(count.0 | SLOW | FROZEN | (EPOCH_STEP * 7));
        assert_eq!(marked.free(), free);
        assert!(marked.slow() && marked.frozen() && !marked.same_epoch(count));
    }
    assert_eq!((Count::new(i64::MAX).free(), Count::new(i64::MIN).free()), (BIAS - 1, -BIAS));
}

#[test]
fn no_number_that_is_asked_for_is_taken_for_a_smaller_one() {
    for free in [0, 5, -5, 1 << 48, -BIAS, BIAS - 1] {
        let count = Count::new(free);
        for wanted in [0, 1, 5, 6, 1 << 48, 1 << 49, 1 << 50, 1 << 63, u64::MAX - (1 << 49), u64::MAX] {
            let expected = i64::try_from(wanted).is_ok_and(|wanted| wanted <= free);
            assert_eq!(count.has(wanted), expected, "{wanted} of {free}");
        }
    }
}

#[test]
fn a_recount_goes_through_all_epochs_and_round() {
    let words = Words::new(3, 1);
    let first = words.available.load();
    for step in 1..=1_u64 << 12 {
        words.permits().recount();
        let now = words.available.load();
        assert_eq!(now.same_epoch(first), step == 1 << 12, "after {step} recounts");
        assert_eq!((now.free(), now.slow()), (3, false));
    }
}

#[test]
fn states_are_read_as_they_were_written() {
    let most = PERMITS_MASK;
    let all = [
        State::Free,
        State::Held(0),
        State::Held(most),
        State::Waiting(1),
        State::Waiting(most),
        State::Wanting(1),
        State::Rejected,
        State::Idling,
        State::Idle,
        State::Gone { idler: false, pooled: true },
        State::Gone { idler: true, pooled: false },
    ];
    for state in all {
        assert_eq!(State::from_raw(state.raw()), state);
    }
    for wild in [1 << 56, 8 << 60, 15 << 60, State::HELD | 1 << 59, u64::MAX] {
        assert_eq!(State::from_raw(wild), State::Free, "{wild:x}");
    }
}

// ---- the fast path, one step after the other ----

#[test]
fn the_fast_path_takes_and_gives() {
    let words = Words::new(5, 4);
    let (one, two) = (words.claim(0), words.claim(1));
    assert_eq!(words.available.take(words.record(one), 3, || 17), Fast::Done);
    assert_eq!((words.state(one), words.free(), words.record(one).since()), (State::Held(3), 2, 17));
    assert_eq!(words.available.take(words.record(two), 3, || 0), Fast::Slow, "two are left");
    assert_eq!(words.available.take(words.record(one), 1, || 0), Fast::Slow, "the record is in use");
    assert_eq!((words.state(one), words.state(two), words.free()), (State::Held(3), State::Free, 2));
    assert_eq!(words.available.give(words.record(one), 3), Fast::Done);
    assert_eq!((words.state(one), words.free()), (State::Free, 5));
    assert_eq!(words.available.take(words.record(one), 0, || 0), Fast::Done);
    assert_eq!((words.state(one), words.free()), (State::Held(0), 5));
}

#[test]
fn a_take_that_others_come_before_takes_what_is_left() {
    let words = Words::new(5, 4);
    let (one, two) = (words.claim(0), words.claim(1));
    let meanwhile = || {
        assert_eq!(words.available.take(words.record(two), 2, || 0), Fast::Done);
        0
    };
    assert_eq!(take_while(&words, one, 3, meanwhile), Fast::Done);
    assert_eq!((words.free(), words.truth()), (0, 0));
}

/// Takes without the lock, and does something between the look at the count and the mark of the record.
fn take_while(words: &Words, number: u32, permits: u64, meanwhile: impl FnOnce() -> u64) -> Fast {
    let record = words.record(number);
    let Some(first) = words.available.begin(record, permits) else { return Fast::Slow };
    meanwhile();
    words.available.finish(record, permits, first)
}

#[test]
fn a_take_that_others_leave_too_little_takes_nothing() {
    let words = Words::new(5, 4);
    let (one, two) = (words.claim(0), words.claim(1));
    let meanwhile = || {
        assert_eq!(words.available.take(words.record(two), 3, || 0), Fast::Done);
        0
    };
    assert_eq!(take_while(&words, one, 3, meanwhile), Fast::Slow);
    assert_eq!((words.state(one), words.free(), words.truth()), (State::Free, 2, 2));
}

#[test]
fn a_take_that_a_waiter_comes_before_goes_to_the_lock() {
    let words = Words::new(5, 4);
    let (one, two) = (words.claim(0), words.claim(1));
    let meanwhile = || {
        words.wait(two, 9);
        0
    };
    assert_eq!(take_while(&words, one, 3, meanwhile), Fast::Slow);
    assert_eq!((words.state(one), words.free()), (State::Free, 5));
    assert_eq!(words.available.take(words.record(one), 1, || 0), Fast::Slow, "somebody waits");
    assert_eq!(words.state(one), State::Free);
}

/// T reads the count, and stops; a recount; T marks its record, and its exchange must fail: the recount has not seen it.
#[test]
fn a_take_begun_before_a_recount_that_did_not_see_it_is_overtaken() {
    let words = Words::new(5, 4);
    let one = words.claim(0);
    let meanwhile = || {
        words.permits().recount();
        0
    };
    assert_eq!(take_while(&words, one, 3, meanwhile), Fast::Overtaken);
    assert_eq!((words.state(one), words.free(), words.truth()), (State::Free, 5, 5));
}

/// The same, but another one takes and gives after the recount, so that the count is what it was: the epoch still tells.
#[test]
fn a_take_is_overtaken_also_if_the_count_is_the_same_again() {
    let words = Words::new(5, 4);
    let (one, two) = (words.claim(0), words.claim(1));
    let meanwhile = || {
        assert_eq!(words.available.take(words.record(two), 1, || 0), Fast::Done);
        words.permits().recount();
        assert_eq!(words.available.give(words.record(two), 1), Fast::Done);
        0
    };
    assert_eq!(take_while(&words, one, 3, meanwhile), Fast::Overtaken);
    assert_eq!((words.state(one), words.free()), (State::Free, 5));
}

/// T marks its record, and stops; a recount counts the mark; T's exchange fails, and T withdraws: the count is too low, T is
/// told, and counting anew puts it right.
#[test]
fn a_mark_that_a_recount_saw_leaves_the_count_too_low_until_it_is_counted_anew() {
    let words = Words::new(5, 4);
    let (one, permits) = (words.claim(0), words.permits());
    let first = words.available.load();
    words.record(one).set(State::Held(3));
    permits.recount();
    assert_eq!(words.free(), 2);
    let now = words.available.exchange(first, first.less(3)).unwrap_err();
    assert!(!now.same_epoch(first));
    assert_eq!(words.available.withdraw(words.record(one), first), Fast::Overtaken);
    assert_eq!((words.free(), words.truth()), (2, 5), "too low, never too high");
    permits.recount();
    assert_eq!(words.free(), 5);
}

/// T withdraws while a recount is under way, which may have counted its mark or not.
#[test]
fn a_take_that_withdraws_during_a_recount_is_overtaken() {
    let words = Words::new(5, 4);
    let one = words.claim(0);
    let first = words.available.load();
    words.record(one).set(State::Held(3));
    words.available.0.fetch_or(FROZEN, Ordering::SeqCst);
    assert!(words.available.exchange(first, first.less(3)).is_err(), "frozen");
    assert_eq!(words.available.withdraw(words.record(one), first), Fast::Overtaken);
    words.permits().recount();
    assert_eq!((words.free(), words.truth(), words.available.load().frozen()), (5, 5, false));
}

/// T's exchange comes first, then a recount: it counts what T holds.
#[test]
fn a_take_that_was_done_before_a_recount_is_counted() {
    let words = Words::new(5, 4);
    let one = words.claim(0);
    assert_eq!(words.available.take(words.record(one), 3, || 0), Fast::Done);
    words.permits().recount();
    assert_eq!((words.state(one), words.free()), (State::Held(3), 2));
    assert_eq!(words.available.give(words.record(one), 3), Fast::Done, "in the new epoch");
    assert_eq!((words.state(one), words.free()), (State::Free, 5));
}

/// G frees its record, and stops; a recount counts it as given back; G's exchange must fail, else it would be put back twice.
#[test]
fn what_a_recount_has_put_back_is_not_put_back_twice() {
    let words = Words::new(5, 4);
    let one = words.claim(0);
    assert_eq!(words.available.take(words.record(one), 3, || 0), Fast::Done);
    let first = words.available.load();
    words.record(one).set(State::Free);
    words.permits().recount();
    assert_eq!(words.free(), 5);
    assert!(words.available.exchange(first, first.more(3)).is_err());
    assert_eq!(words.free(), 5);
}

/// G reads the count; a recount; G frees its record: its exchange fails, the count is too low, and is counted anew.
#[test]
fn a_give_that_a_recount_comes_before_is_not_lost() {
    let words = Words::new(5, 4);
    let one = words.claim(0);
    assert_eq!(words.available.take(words.record(one), 3, || 0), Fast::Done);
    let first = words.available.load();
    words.permits().recount();
    words.record(one).set(State::Free);
    assert!(words.available.exchange(first, first.more(3)).is_err());
    assert_eq!((words.free(), words.truth()), (2, 5), "too low, never too high");
    words.permits().recount();
    assert_eq!(words.free(), 5);
}

#[test]
fn a_give_with_waiters_is_left_to_the_lock_with_everything_as_it_was() {
    let words = Words::new(3, 4);
    let (one, two) = (words.claim(0), words.claim(1));
    assert_eq!(words.available.take(words.record(one), 3, || 0), Fast::Done);
    words.wait(two, 2);
    assert_eq!(words.available.give(words.record(one), 3), Fast::Slow);
    assert_eq!((words.state(one), words.free()), (State::Held(3), 0));
    words.permits().give(one).unwrap();
    assert_eq!(words.settle(), [two]);
    assert_eq!((words.state(two), words.free(), words.truth()), (State::Held(2), 1, 1));
    assert!(!words.available.load().slow(), "nobody waits any more");
}

/// One dies between the mark and the exchange, one between freeing its record and the exchange: a recount sees to both.
#[test]
fn a_death_in_the_middle_of_a_fast_step_is_put_right_by_a_recount() {
    let words = Words::new(8, 4);
    let (one, two, live) = (words.claim(0), words.claim(0), words.claim(1));
    assert_eq!(words.available.take(words.record(two), 3, || 0), Fast::Done);
    assert_eq!(words.available.take(words.record(live), 1, || 0), Fast::Done);
    words.record(one).set(State::Held(2));
    words.record(two).set(State::Free);
    assert_eq!(words.free(), 4);
    assert_eq!(words.permits().recover(Owner::of_index(0)), Ok(2));
    assert_eq!((words.free(), words.truth()), (7, 7));
    assert_eq!((words.record(one).owner(), words.record(live).owner()), (None, Some(Owner::of_index(1))));
}

#[test]
fn the_end_keeps_the_fast_path_closed() {
    let words = Words::new(3, 4);
    let (one, two) = (words.claim(0), words.claim(1));
    assert_eq!(words.available.take(words.record(one), 1, || 0), Fast::Done);
    words.life.store(1, Ordering::SeqCst);
    // Whoever ends it has not closed the fast path yet: everybody who could open it closes it.
    words.wait(two, 3);
    words.permits().give(two).unwrap();
    words.settle();
    assert!(words.available.load().slow());
    words.permits().recount();
    assert!(words.available.load().slow());
    assert_eq!(words.available.take(words.record(two), 1, || 0), Fast::Slow);
    assert_eq!(words.available.give(words.record(one), 1), Fast::Slow);
    words.permits().give(one).unwrap();
    assert_eq!(words.free(), 3);
}

/// Real threads on the real functions, while somebody counts anew all the time: never are more permits held than there are, and at
/// the end none is missing.
#[test]
fn threads_and_recounts_agree() {
    const THREADS: u32 = 4;
    // Miri takes as long for one as a processor does for ten thousand.
    const ROUNDS: u32 = if cfg!(miri) { 50 } else { 1000 };
    let words = Words::new(5, 8);
    let (inside, overtaken) = (AtomicU64::new(0), AtomicU64::new(0));
    let (lock, stop, start) = (Mutex::new(()), AtomicBool::new(false), Barrier::new(THREADS as usize + 1));
    let count_anew = || {
        let _held = lock.lock().unwrap();
        words.permits().recount();
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|index| {
                let number = words.claim(index);
                let (words, inside, overtaken, start, count_anew) = (&words, &inside, &overtaken, &start, &count_anew);
                scope.spawn(move || {
                    start.wait();
                    let mut round = 0;
                    while round < ROUNDS {
                        let wanted = u64::from(1 + (round + index) % 3);
                        // It stops now and then after its first look at the count, so that a recount comes in between.
                        let since = || {
                            if round.is_multiple_of(64) {
                                thread::yield_now();
                            }
                            0
                        };
                        match take_while(words, number, wanted, since) {
                            Fast::Done => round += 1,
                            // Too few are left, or a recount is under way.
                            Fast::Slow => {
                                thread::yield_now();
                                continue;
                            }
                            Fast::Overtaken => {
                                overtaken.fetch_add(1, Ordering::Relaxed);
                                count_anew();
                                continue;
                            }
                        }
                        let now = inside.fetch_add(wanted, Ordering::SeqCst) + wanted;
                        assert!(now <= 5, "{now} of 5 are held");
                        inside.fetch_sub(wanted, Ordering::SeqCst);
                        loop {
                            match words.available.give(words.record(number), wanted) {
                                Fast::Done => break,
                                // A recount is under way.
                                Fast::Slow => thread::yield_now(),
                                Fast::Overtaken => {
                                    overtaken.fetch_add(1, Ordering::Relaxed);
                                    count_anew();
                                    break;
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        let counter = scope.spawn(|| {
            start.wait();
            while !stop.load(Ordering::Relaxed) {
                count_anew();
                thread::yield_now();
            }
        });
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        stop.store(true, Ordering::Relaxed);
        counter.join().unwrap();
        assert!(results.iter().all(Result::is_ok));
    });
    assert!(overtaken.into_inner() > 0 || cfg!(miri), "no recount came in between");
    assert_eq!((words.free(), words.truth()), (5, 5), "at rest the cache is the truth, without another recount");
}

// ---- the queue ----

#[test]
fn the_queue_is_served_in_order_and_no_further_than_it_reaches() {
    let words = Words::new(5, 8);
    let holder = words.claim(0);
    assert!(words.permits().take(holder, 5, 0).unwrap());
    let [a, b, c, d] = [2, 4, 1, 1].map(|wanted| {
        let number = words.claim(1);
        words.wait(number, wanted);
        number
    });
    assert_eq!((words.queue(), words.settle()), (vec![a, b, c, d], vec![]));
    assert!(!words.permits().take(words.claim(2), 0, 0).unwrap(), "not even nothing passes the queue");
    words.permits().give(holder).unwrap();
    assert_eq!(words.settle(), [a]);
    assert_eq!((words.state(a), words.state(b), words.free()), (State::Held(2), State::Waiting(4), 3));
    assert_eq!(words.queue(), [b, c, d], "those behind the large one wait");
    words.permits().give(a).unwrap();
    assert_eq!(words.settle(), [b, c]);
    assert_eq!((words.free(), words.truth(), words.queue()), (0, 0, vec![d]));
}

#[test]
fn one_leaves_the_queue_at_any_place() {
    for gone in 0..4 {
        let words = Words::new(0, 8);
        let mut numbers: Vec<u32> = (0..4).map(|index| words.claim(index)).collect();
        numbers.iter().for_each(|number| words.wait(*number, 1));
        words.permits().give(numbers.remove(gone)).unwrap();
        assert_eq!(words.queue(), numbers);
        words.wait(words.claim(7), 1);
        numbers.push(4);
        assert_eq!(words.queue(), numbers);
        words.permits().set_permits(4);
        assert_eq!(words.settle(), numbers);
        assert_eq!(words.queue(), []);
    }
}

#[test]
fn idlers_leave_at_any_place_and_are_told_together() {
    for gone in 0..4 {
        let words = Words::new(1, 8);
        let holder = words.claim(0);
        assert!(words.permits().take(holder, 1, 0).unwrap());
        let mut numbers: Vec<u32> = (1..5).map(|index| words.claim(index)).collect();
        for number in &numbers {
            words.permits().enqueue(*number, 0, Purpose::Idle, false, 0).unwrap();
        }
        assert_eq!(words.settle(), []);
        let left = numbers.remove(gone);
        words.permits().give(left).unwrap();
        assert!(words.available.load().slow());
        words.permits().give(holder).unwrap();
        let mut told = words.settle();
        told.sort_unstable();
        assert_eq!(told, numbers);
        assert!(numbers.iter().all(|number| words.state(*number) == State::Idle));
        assert!(!words.available.load().slow());
        assert_eq!(words.state(left), State::Free);
    }
}

#[test]
fn a_forgotten_permit_leaves_count_and_records_agreeing() {
    for (permits, shrunk_to) in [(5, 5), (5, 3), (5, 1), (5, 0)] {
        let words = Words::new(permits, 4);
        let (one, two) = (words.claim(0), words.claim(1));
        assert!(words.permits().take(one, 3, 0).unwrap() && words.permits().take(two, 1, 0).unwrap());
        words.permits().set_permits(shrunk_to);
        words.permits().forget(one).unwrap();
        assert_eq!(words.desk.permits.load(Ordering::Relaxed), u64::saturating_sub(shrunk_to, 3));
        assert_eq!(words.free(), words.truth(), "3 of {shrunk_to} forgotten");
    }
}

#[test]
fn a_shrink_rejects_who_can_never_be_served_wherever_they_stand() {
    let words = Words::new(4, 8);
    let holder = words.claim(0);
    assert!(words.permits().take(holder, 4, 0).unwrap());
    let [small, large, middle] = [1, 4, 2].map(|wanted| {
        let number = words.claim(1);
        words.wait(number, wanted);
        number
    });
    words.permits().set_permits(2);
    let mut rejected = Vec::new();
    words.permits().reject_too_large(|number, _| rejected.push(number)).unwrap();
    assert_eq!((rejected, words.settle()), (vec![large], vec![]));
    assert_eq!((words.state(large), words.queue()), (State::Rejected, vec![small, middle]));
}

// ---- after a death ----

/// The lists and the count are caches: whatever they say, the records build them again, in the order of the tickets.
#[test]
fn the_records_build_everything_again() {
    let words = Words::new(9, 16);
    let (held, idler) = (words.claim(0), words.claim(1));
    assert!(words.permits().take(held, 9, 0).unwrap());
    let mut waiting: Vec<u32> = (0..5).map(|index| words.claim(2 + index)).collect();
    // The order of arrival is not that of the numbers.
    waiting.reverse();
    waiting.iter().for_each(|number| words.wait(*number, 2));
    words.permits().enqueue(idler, 0, Purpose::Idle, false, 0).unwrap();
    let next = words.desk.next_ticket.load(Ordering::Relaxed);
    for wild in [0, 1, 3, 16, 17, u32::MAX] {
        let desk = &words.desk;
        for word in [&desk.waiting, &desk.first, &desk.last, &desk.free, &desk.idlers] {
            word.store(wild, Ordering::Relaxed);
        }
        desk.next_ticket.store(u64::from(wild) % 3, Ordering::Relaxed);
        words.available.0.store(u64::from(wild) << 32 | FROZEN, Ordering::Relaxed);
        for number in &waiting {
            words.record(*number).next.store(wild, Ordering::Relaxed);
            words.record(*number).previous.store(wild, Ordering::Relaxed);
        }
        words.permits().rebuild().unwrap();
        assert_eq!(words.queue(), waiting);
        assert_eq!(words.desk.idlers.load(Ordering::Relaxed), idler + 1);
        assert_eq!((words.free(), words.available.load().slow(), words.available.load().frozen()), (0, true, false));
        // The idler's ticket was the last, and is nobody's place in the queue.
        assert!(desk.next_ticket.load(Ordering::Relaxed) >= next - 1);
        let free: Vec<u32> =
            std::iter::from_fn(|| words.permits().claim(Owner::of_index(9), &[0; 64]).unwrap()).collect();
        assert_eq!(free.len(), 16 - 7, "each free record is there, once: {free:?}");
        free.into_iter().for_each(|number| words.permits().discard(number).unwrap());
    }
}

#[test]
fn the_dead_leave_the_queue_and_what_they_held_goes_on() {
    let words = Words::new(4, 16);
    let (dead, live) = (Owner::of_index(0), Owner::of_index(1));
    let held: Vec<u32> = [3, 1].iter().map(|_| words.claim(0)).collect();
    assert!(words.permits().take(held[0], 3, 0).unwrap() && words.permits().take(held[1], 1, 0).unwrap());
    let waiting: Vec<u32> = [0, 1, 0, 1].map(|index| words.claim(index)).to_vec();
    waiting.iter().for_each(|number| words.wait(*number, 2));
    let idler = words.claim(0);
    words.permits().enqueue(idler, 0, Purpose::Idle, false, 0).unwrap();
    assert_eq!(words.permits().recover(dead), Ok(4));
    assert_eq!(words.queue(), [waiting[1], waiting[3]]);
    assert_eq!(words.desk.idlers.load(Ordering::Relaxed), 0);
    assert_eq!(words.free(), 4);
    assert_eq!(words.settle(), [waiting[1], waiting[3]]);
    assert_eq!((words.free(), words.truth()), (0, 0));
    assert!(words.records.iter().all(|record| record.owner() != Some(dead)));
    assert_eq!(words.permits().recover(dead), Ok(0), "once");
    assert_eq!(words.permits().recover(live), Ok(4));
    assert_eq!((words.free(), words.truth()), (4, 4));
}

/// Dead between the two stores of a split or a merge: nothing is known of the count until it is counted, and then it is never less
/// than what is held.
#[test]
fn a_split_moves_permits_and_makes_none() {
    let words = Words::new(4, 4);
    let (one, two) = (words.claim(0), words.claim(0));
    assert!(words.permits().take(one, 4, 7).unwrap());
    words.permits().split(one, two, 1).unwrap();
    assert_eq!((words.state(one), words.state(two), words.free()), (State::Held(3), State::Held(1), 0));
    assert_eq!(words.record(two).since(), 7);
    words.permits().merge(two, one).unwrap();
    assert_eq!((words.state(one), words.state(two), words.free()), (State::Held(4), State::Free, 0));
    assert_eq!(words.permits().split(two, one, 1), Err(Corrupt), "nothing is held there");
    assert_eq!(words.permits().merge(two, one), Err(Corrupt));
    assert_eq!(words.permits().split(one, two, 5), Err(Corrupt), "more than there is");
    assert_eq!((words.state(one), words.state(two), words.free()), (State::Held(4), State::Free, 0));
}

// ---- wild words ----

#[test]
fn lists_that_lead_astray_are_corrupt_and_end() {
    let words = Words::new(0, 8);
    let numbers: Vec<u32> = (0..4).map(|index| words.claim(index)).collect();
    numbers.iter().for_each(|number| words.wait(*number, 1));
    for wild in [9, 1000, u32::MAX] {
        words.desk.first.store(wild, Ordering::Relaxed);
        assert_eq!(words.permits().settle(|_, _| {}), Err(Corrupt), "{wild}");
    }
    // One that does not wait.
    words.desk.first.store(7 + 1, Ordering::Relaxed);
    assert_eq!(words.permits().settle(|_, _| {}), Err(Corrupt));
    // A record that is the next of itself, with enough permits for ever.
    let first = words.record(numbers[0]);
    words.desk.first.store(numbers[0] + 1, Ordering::Relaxed);
    first.next.store(numbers[0] + 1, Ordering::Relaxed);
    words.desk.permits.store(1 << 40, Ordering::Relaxed);
    words.available.add(1 << 40);
    let _ = words.permits().settle(|_, _| {});
    // A ring of idlers.
    let idlers: Vec<u32> = (0..2).map(|index| words.claim(index)).collect();
    for number in &idlers {
        words.permits().enqueue(*number, 0, Purpose::Idle, false, 0).unwrap();
    }
    words.record(idlers[0]).next.store(idlers[1] + 1, Ordering::Relaxed);
    assert_eq!(words.permits().unlink_idler(7), Err(Corrupt));
    words.permits().recount();
    assert_eq!(words.permits().tell_idlers(&mut |_, _| {}), Err(Corrupt));
    words.desk.free.store(1000, Ordering::Relaxed);
    assert_eq!(words.permits().claim(Owner::of_index(0), &[0; 64]), Err(Corrupt));
    for number in [8, 1000, u32::MAX] {
        assert_eq!(words.permits().give(number), Err(Corrupt));
        assert_eq!(words.permits().take(number, 1, 0), Err(Corrupt));
        assert_eq!(words.permits().discard(number), Err(Corrupt));
    }
}

#[test]
fn a_wild_ticket_does_not_stop_a_rebuild() {
    let words = Words::new(0, 4);
    let (one, two) = (words.claim(0), words.claim(1));
    words.wait(one, 1);
    words.wait(two, 1);
    words.record(one).ticket.store(u64::MAX, Ordering::Relaxed);
    words.permits().rebuild().unwrap();
    assert_eq!(words.queue(), [two, one]);
}

#[test]
fn a_wild_number_of_permits_does_not_stop_a_change_of_it() {
    for wild in [1 << 48, 1 << 62, 1 << 63, u64::MAX - 1, u64::MAX] {
        let words = Words::new(3, 4);
        words.desk.permits.store(wild, Ordering::Relaxed);
        let _ = words.permits().is_idle();
        words.permits().recount();
        words.permits().set_permits(2);
        words.permits().set_permits(0);
        words.desk.permits.store(wild, Ordering::Relaxed);
        let one = words.claim(0);
        words.record(one).set(State::Held(PERMITS_MASK));
        words.permits().forget(one).unwrap();
        words.permits().recount();
    }
}

#[test]
fn wild_records_do_not_stop_a_count() {
    let words = Words::new(3, 600);
    for number in 0..600 {
        words.claim(number % 7);
    }
    for state in [State::Held(PERMITS_MASK).raw(), u64::MAX, 1, 7 << 60] {
        words.records.iter().for_each(|record| record.state.store(state, Ordering::Relaxed));
        words.permits().recount();
        assert!(words.free() <= 3);
        words.permits().rebuild().unwrap();
        let _ = words.permits().recover(Owner::of_index(3));
    }
}
