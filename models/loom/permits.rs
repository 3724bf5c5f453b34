//! The count word and the records. Real: `raw::permits`, and the event and lock of [`waiting`](crate::waiting). Stand-ins: acquiring and
//! releasing of `shm::semaphore`, without what is done for the dead.

use crate::raw::permits::{Available, Desk, Fast, Permits, Purpose, Record, State};
use crate::raw::word::Owner;
use crate::sync::{AtomicU32, Ordering};
use crate::waiting::{locked, wait_for};
use loom::thread;
use std::sync::Arc;

/// A semaphore's words, without a file around them; record `i` is that of participant `i`.
struct Words {
    desk: Desk,
    available: Available,
    records: Vec<Record>,
    fresh: AtomicU32,
    life: AtomicU32,
    /// What is held for sure.
    held: AtomicU32,
}

impl Words {
    fn new(permits: u64, participants: u32) -> Arc<Words> {
        let words = Words {
            desk: Desk::default(),
            available: Available::default(),
            records: (0..participants).map(|_| Record::default()).collect(),
            fresh: AtomicU32::new(0),
            life: AtomicU32::new(0),
            held: AtomicU32::new(0),
        };
        words.desk.permits.store(permits, Ordering::Relaxed);
        words.permits().rebuild().unwrap();
        words.permits().add_fresh(participants).unwrap();
        for index in 0..participants {
            assert_eq!(words.permits().claim(Owner::of_index(index), &[0; 64]), Ok(Some(index)));
        }
        Arc::new(words)
    }

    fn permits(&self) -> Permits<'_> {
        let Words { desk, available, records, fresh, life, .. } = self;
        Permits { desk, available, records, fresh, life }
    }

    /// Under the lock: settles, and wakes after it.
    fn locked<T>(&self, me: u32, act: impl FnOnce(&Permits<'_>) -> T) -> T {
        let mut changed = Vec::new();
        let result = locked(&self.desk.lock, me, || {
            let result = act(&self.permits());
            self.permits().settle(|number, _| changed.push(number)).unwrap();
            result
        });
        for number in changed {
            self.records[number as usize].event.signal(1);
        }
        result
    }

    /// Counts anew, as after a death.
    fn recount(&self, me: u32) {
        self.locked(me, |permits| permits.recount());
    }

    /// A1 to A3', without the lock; true if it holds the permit.
    fn try_take(&self, me: u32) -> bool {
        match self.available.take(&self.records[me as usize], 1, || 0) {
            Fast::Done => return true,
            Fast::Slow => {}
            Fast::Overtaken => self.recount(me),
        }
        false
    }

    /// Acquires, waiting if need be.
    fn acquire(&self, me: u32) {
        let record = &self.records[me as usize];
        let queued = !self.try_take(me)
            && self.locked(me, |permits| {
                let taken = permits.take(me, 1, 0).unwrap();
                if !taken {
                    permits.enqueue(me, 1, Purpose::Permit, false, 0).unwrap();
                }
                !taken
            });
        if queued {
            wait_for(&record.event, || matches!(record.state(), State::Held(_)).then_some(()));
        }
    }

    fn release(&self, me: u32) {
        match self.available.give(&self.records[me as usize], 1) {
            Fast::Done => {}
            Fast::Slow => self.locked(me, |permits| permits.give(me).unwrap()),
            Fast::Overtaken => self.recount(me),
        }
    }

    /// Holds it for a moment, in which nobody else does if there is one permit.
    fn hold(&self, most: u32) {
        let others = self.held.fetch_add(1, Ordering::AcqRel);
        assert!(others < most, "{} of {most} permits are held", others + 1);
        self.held.fetch_sub(1, Ordering::AcqRel);
    }

    /// At rest: the count is the truth, and nobody waits.
    fn check(&self, free: i64) {
        let count = self.available.load();
        assert_eq!(count.free(), free, "the count is not what the records say");
        assert!(self.permits().promising(0) || self.life.load(Ordering::Relaxed) != 0, "the fast path is closed");
    }
}

fn spawn<T: 'static>(words: &Arc<Words>, act: impl FnOnce(&Words) -> T + 'static) -> thread::JoinHandle<T> {
    let words = words.clone();
    thread::spawn(move || act(&words))
}

/// Two take and give without the lock, while a third counts anew: never too many, and none is missing at the end.
pub(crate) fn the_fast_path_against_a_recount() {
    let words = Words::new(1, 3);
    let others = [1, 2].map(|me| {
        spawn(&words, move |words| {
            if words.try_take(me) {
                words.hold(1);
                words.release(me);
            }
        })
    });
    words.recount(0);
    others.into_iter().for_each(|other| other.join().unwrap());
    words.check(1);
}

/// One gives back while another counts anew: it comes back once.
pub(crate) fn giving_back_against_a_recount() {
    let words = Words::new(1, 2);
    assert!(words.try_take(1));
    let other = spawn(&words, |words| words.release(1));
    words.recount(0);
    other.join().unwrap();
    words.check(1);
}

/// One waits while the permit comes back without the lock: it is served, and woken.
pub(crate) fn a_hand_off_reaches_the_waiter() {
    let words = Words::new(1, 2);
    let other = spawn(&words, |words| {
        words.acquire(1);
        words.hold(1);
        words.release(1);
    });
    words.acquire(0);
    words.hold(1);
    words.release(0);
    other.join().unwrap();
    words.check(1);
}

/// A waiter gives up by an exchange (E1), while the permit comes back: it is served, or it is not.
pub(crate) fn giving_up_against_the_grant() {
    let words = Words::new(1, 2);
    assert!(words.try_take(0));
    words.locked(1, |permits| permits.enqueue(1, 1, Purpose::Permit, false, 0).unwrap());
    let waiter = spawn(&words, |words| {
        if words.records[1].abandon(false) {
            words.locked(1, |permits| permits.clear(1).unwrap());
        } else {
            assert!(matches!(words.records[1].state(), State::Held(1)), "it was served");
            words.hold(1);
            words.release(1);
        }
    });
    words.release(0);
    waiter.join().unwrap();
    words.check(1);
}

/// The end closes the fast path for good, also beside one who opens it.
pub(crate) fn the_end_keeps_the_fast_path_closed() {
    let words = Words::new(1, 2);
    words.locked(1, |permits| permits.enqueue(1, 2, Purpose::Permit, false, 0).unwrap());
    let other = spawn(&words, |words| words.locked(1, |permits| permits.give(1).unwrap()));
    words.life.fetch_max(1, Ordering::SeqCst);
    words.available.slow_down();
    other.join().unwrap();
    assert!(!words.permits().promising(0), "the fast path is open");
}
