//! The ring and the ledger: claims, commits, drains. Real: `raw::ring`, `raw::ledger`, `raw::index`, and the event and lock of
//! [`waiting`](crate::waiting). Stand-ins: `send` and `recv` of `shm::queue`, without what they do for the dead, for the doorbell, and
//! for memory. `meta` stands for the payload, too: it is stored and read as that is.

use crate::raw::event::Event;
use crate::raw::index::{Index, LEAVES, Level, Link};
use crate::raw::ledger::{Desk, Ledger, Totals};
use crate::raw::ring::{Ring, Slot};
use crate::raw::word::{FIRST_TICKET, Meta, Owner};
use crate::raw::{Corrupt, at};
use crate::sync::{AtomicU32, AtomicU64, CELLS, Ordering, WINDOW, fence, fence_after_rmw};
use crate::waiting::{locked, wait_for};
use loom::thread;
use std::sync::Arc;

/// A queue's words, without a file around them.
struct Words {
    desk: Desk,
    tail: AtomicU64,
    cells: [AtomicU64; CELLS],
    slots: Vec<Slot>,
    links: Vec<Link>,
    leaf: [AtomicU64; LEAVES],
    levels: Vec<Level>,
    levels_backed: AtomicU64,
    fresh: AtomicU32,
    totals: Totals,
    life: AtomicU32,
    receivers: Event,
    senders: Event,
}

impl Words {
    fn new(capacity: u32) -> Arc<Words> {
        let words = Words {
            desk: Desk::default(),
            tail: AtomicU64::new(FIRST_TICKET.raw()),
            cells: std::array::from_fn(|_| AtomicU64::new(0)),
            slots: (0..capacity).map(|_| Slot::default()).collect(),
            links: (0..capacity).map(|_| Link::default()).collect(),
            leaf: std::array::from_fn(|_| AtomicU64::new(0)),
            levels: (0..4).map(|_| Level::default()).collect(),
            levels_backed: AtomicU64::new(1),
            fresh: AtomicU32::new(0),
            totals: Totals::default(),
            life: AtomicU32::new(0),
            receivers: Event::default(),
            senders: Event::default(),
        };
        words.ledger().rebuild().unwrap();
        words.ledger().adopt(0, capacity).unwrap();
        assert!(words.refill());
        Arc::new(words)
    }

    fn ring(&self) -> Ring<'_> {
        Ring { tail: &self.tail, cells: &self.cells, slots: &self.slots }
    }

    fn ledger(&self) -> Ledger<'_> {
        let Words { desk, tail, cells, slots, links, leaf, levels, levels_backed, fresh, totals, .. } = self;
        let index = Index { desk, leaf, levels, links, slots, levels_backed };
        Ledger { desk, tail, cells, slots, links, index, fresh, totals }
    }

    fn refill(&self) -> bool {
        self.ledger().refill(WINDOW, || Ok::<_, Corrupt>(false)).unwrap()
    }

    /// S1 to S6; false if the queue is full. Message `number` has that length and that sender.
    fn try_send(&self, number: u32) -> bool {
        let Some(claim) = self.ring().claim(Owner::of_index(number)).unwrap() else { return false };
        let slot = at(&self.slots, claim.slot).unwrap();
        slot.meta.store(Meta::new(number.into(), (number % 2) as u16).raw(), Ordering::Relaxed);
        slot.sender.store(number, Ordering::Relaxed);
        self.ring().commit(claim).unwrap();
        true
    }

    /// S1 to S8, with the lock where a refill needs it.
    fn send(&self, number: u32) {
        let attempt = || {
            let refilled = || locked(&self.desk.lock, number, || self.refill());
            (self.try_send(number) || (refilled() && self.try_send(number))).then_some(())
        };
        if attempt().is_none() {
            wait_for(&self.senders, attempt);
            self.senders.signal(1);
        }
        self.receivers.signal(1);
    }

    /// R2 to R7, under the lock: the number of the message.
    fn take(&self) -> Option<u32> {
        let chosen = self.ledger().choose().unwrap()?;
        let sender = at(&self.slots, chosen.slot).unwrap().sender.load(Ordering::Relaxed);
        assert_eq!(u64::from(sender), chosen.meta.length(), "the payload is another message's");
        self.ledger().consume(chosen).unwrap();
        Some(sender)
    }

    /// R1 to R10.
    fn recv(&self, me: u32) -> u32 {
        let attempt = || locked(&self.desk.lock, me, || self.take().map(|number| (number, self.more())));
        let (number, slept, more) = match attempt() {
            Some((number, more)) => (number, false, more),
            None => {
                let (number, more) = wait_for(&self.receivers, attempt);
                (number, true, more)
            }
        };
        self.senders.signal(1);
        if slept && more {
            self.receivers.signal(1);
        }
        number
    }

    fn more(&self) -> bool {
        self.desk.count.load(Ordering::Relaxed) != 0
    }
}

fn spawn<T: 'static>(words: &Arc<Words>, act: impl FnOnce(&Words) -> T + 'static) -> thread::JoinHandle<T> {
    let words = words.clone();
    thread::spawn(move || act(&words))
}

/// Two senders, one drains: each message comes once, with its own payload.
pub(crate) fn claims_and_commits_against_a_drain() {
    let words = Words::new(2);
    let senders = [1, 2].map(|number| spawn(&words, move |words| assert!(words.try_send(number), "there is room")));
    let mut got: Vec<u32> = (0..2).filter_map(|_| words.take()).collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    got.extend(std::iter::from_fn(|| words.take()));
    got.sort_unstable();
    assert_eq!(got, [1, 2]);
}

/// A slot and a cell are used again while a sender looks at them.
pub(crate) fn the_ring_goes_round_under_a_sender() {
    let words = Words::new(2);
    assert!(words.try_send(1) && words.try_send(2));
    let sender = spawn(&words, |words| words.try_send(3));
    let mut got: Vec<u32> = (0..2).filter_map(|_| words.take()).collect();
    let sent = sender.join().unwrap();
    got.extend(std::iter::from_fn(|| words.take()));
    got.sort_unstable();
    assert_eq!(got, if sent { vec![1, 2, 3] } else { vec![1, 2] });
}

/// A message whose send has returned lies below `tail`: a receive that begins later finds one, whoever else sends.
pub(crate) fn what_was_sent_is_found() {
    let words = Words::new(2);
    let other = spawn(&words, |words| assert!(words.try_send(1)));
    let returned = Arc::new(AtomicU32::new(0));
    let says = returned.clone();
    let sender = spawn(&words, move |words| {
        assert!(words.try_send(2));
        says.store(1, Ordering::Release);
    });
    let sure = returned.load(Ordering::Acquire) == 1;
    assert!(words.take().is_some() || !sure, "a send has returned, and there is nothing");
    other.join().unwrap();
    sender.join().unwrap();
}

/// The claim is seen by one who reports the end, or its owner sees the end (S4a).
pub(crate) fn the_end_hides_no_message() {
    let words = Words::new(2);
    let closer = spawn(&words, |words| {
        words.life.fetch_max(1, Ordering::SeqCst);
        fence_after_rmw();
    });
    let sender = spawn(&words, |words| {
        if words.life.load(Ordering::Relaxed) != 0 {
            return false;
        }
        let claim = words.ring().claim(Owner::of_index(1)).unwrap().unwrap();
        fence_after_rmw();
        if words.life.load(Ordering::Relaxed) != 0 {
            return false;
        }
        words.ring().commit(claim).unwrap();
        true
    });
    let ended = words.life.load(Ordering::Acquire) != 0;
    if ended {
        fence(Ordering::SeqCst);
    }
    let found = words.ledger().choose().unwrap().is_some() || words.desk.slow_count.load(Ordering::Relaxed) != 0;
    let sent = sender.join().unwrap();
    closer.join().unwrap();
    assert!(!(ended && sent && !found), "the end was reported, and a message came after it");
}

/// Caches are built anew while senders claim and commit: nothing is lost, and nothing is there twice.
pub(crate) fn a_rebuild_under_senders() {
    let words = Words::new(2);
    let senders = [1, 2].map(|number| spawn(&words, move |words| assert!(words.try_send(number), "there is room")));
    words.ledger().rebuild().unwrap();
    let mut got: Vec<u32> = words.take().into_iter().collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    words.ledger().drain().unwrap();
    got.extend(std::iter::from_fn(|| words.take()));
    got.sort_unstable();
    assert_eq!(got, [1, 2]);
}

/// A sender and a receiver, with lock, event and sleeping.
pub(crate) fn one_sends_one_receives() {
    let words = Words::new(2);
    let sender = spawn(&words, |words| words.send(1));
    assert_eq!(words.recv(2), 1);
    sender.join().unwrap();
}

/// Two senders and a receiver, one slot: senders sleep, too.
pub(crate) fn two_send_through_one_slot() {
    let words = Words::new(1);
    let senders = [1, 2].map(|number| spawn(&words, move |words| words.send(number)));
    let mut got = [words.recv(3), words.recv(3)];
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    got.sort_unstable();
    assert_eq!(got, [1, 2]);
}

/// Two senders and two receivers over a ring of two.
pub(crate) fn two_send_two_receive() {
    let words = Words::new(2);
    let mut threads = vec![spawn(&words, |words| words.recv(3))];
    threads.extend([1, 2].map(|number| {
        spawn(&words, move |words| {
            words.send(number);
            0
        })
    }));
    let mut got = vec![words.recv(4)];
    got.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    got.sort_unstable();
    assert_eq!(got, [0, 0, 1, 2]);
}
