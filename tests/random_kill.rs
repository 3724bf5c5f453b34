//! Senders and receivers killed at random moments, some stopped for a while before, round after round, and at the end an account of every single message.
//!
//! Each process writes what it does into a shared map beside the queue: a sender "began" and "returned" for every message,
//! a receiver how many messages its call under way may take, and each message that it got. So the account is exact: a
//! message whose send returned was received once, or a receiver that died in a call could have taken it, and not more of
//! them are missing than such calls could take; none was received twice; none that was refused was received.
//!
//! `CHAPPE_KILL_ROUNDS` sets the number of kills (10000 for a full run), `CHAPPE_KILL_SEED` repeats the choices, though not
//! the timing.

mod common;

use chappe::{Queue, QueueOptions, RecvError, SendError};
use common::shared::{Shared, Words};
use common::traffic::{FORMS, Messages, Receiver, Sender};
use common::{NET, Rng, Worker, identify, number, payload, scratch, seed};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

#[test]
fn role() {
    common::play(&[("sender", part_sender), ("receiver", part_receiver)]);
}

// ---- the shared account ----

/// How many processes live at once.
const PLACES: usize = 7;

/// Of these, the first are senders.
const SENDERS: usize = 3;

#[repr(C)]
struct Account {
    /// Tells senders to end.
    stop: AtomicU32,
    /// For each receiver: how many messages the call under way can have taken that are not marked yet.
    at_risk: [AtomicU32; PLACES],
    messages: Messages,
}

// SAFETY: `repr(C)`, and atomics only.
unsafe impl Words for Account {}

// ---- the processes that are killed ----

/// What a part needs, from its arguments: DIR PLACE INCARNATION LONGEST SEED.
struct Cast {
    queue: Queue,
    account: &'static Account,
    place: usize,
    incarnation: u64,
    longest: u64,
    rng: Rng,
}

impl Cast {
    fn new(arguments: &[String]) -> Cast {
        let dir = Path::new(&arguments[0]);
        let [place, incarnation, longest, seed] = [1, 2, 3, 4].map(|index| arguments[index].parse::<u64>().unwrap());
        Cast {
            queue: options(dir).open("/q").unwrap(),
            account: Shared::<Account>::map(&dir.join("account")).leak(),
            place: place as usize,
            incarnation,
            longest,
            rng: Rng::new(seed ^ incarnation),
        }
    }
}

fn options(dir: &Path) -> QueueOptions {
    let mut options = Queue::options();
    options.dir(dir);
    options
}

fn part_sender(arguments: &[String]) {
    let Cast { queue, account, incarnation: id, longest, rng, .. } = Cast::new(arguments);
    let mut sender = Sender { queue: &queue, messages: &account.messages, id, longest, rng };
    while account.stop.load(Ordering::SeqCst) == 0 {
        match sender.send_some() {
            Some(result) => result.unwrap_or_else(|error| panic!("sender {id}: {error}")),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn part_receiver(arguments: &[String]) {
    let mut cast = Cast::new(arguments);
    let at_risk = &cast.account.at_risk[cast.place];
    let mut receiver =
        Receiver::new(&cast.queue, &cast.account.messages, at_risk, cast.longest, Rng::new(cast.rng.bits()));
    loop {
        match receiver.receive(cast.rng.below(FORMS)) {
            Ok(()) => {}
            Err(RecvError::Closed) => return,
            Err(error) => panic!("receiver {}: {error}", cast.incarnation),
        }
    }
}

// ---- the killer ----

/// One queue, its processes, and what the killer knows of the dead.
struct Epoch {
    dir: tempfile::TempDir,
    queue: Queue,
    account: &'static Account,
    workers: Vec<Worker>,
    incarnations: u64,
    longest: u64,
    seed: u64,
    /// Messages that receivers may have taken with them.
    may_miss: u64,
    killed: [u64; 2],
    progress: (u64, Instant),
    longest_stall: Duration,
}

impl Epoch {
    fn new(capacity: u32, longest: u64, seed: u64) -> Epoch {
        let dir = scratch();
        let queue = options(dir.path()).capacity(capacity).message_size(longest).create_new("/q").unwrap();
        let account = Shared::<Account>::map(&dir.path().join("account")).leak();
        let mut epoch = Epoch {
            dir,
            queue,
            account,
            workers: Vec::new(),
            incarnations: 0,
            longest,
            seed,
            may_miss: 0,
            killed: [0, 0],
            progress: (0, Instant::now()),
            longest_stall: Duration::ZERO,
        };
        for place in 0..PLACES {
            let worker = epoch.start(place);
            epoch.workers.push(worker);
        }
        epoch
    }

    fn start(&mut self, place: usize) -> Worker {
        self.incarnations += 1;
        let part = if place < SENDERS { "sender" } else { "receiver" };
        let numbers = [place as u64, self.incarnations, self.longest, self.seed].map(|number| number.to_string());
        let [place, incarnation, longest, seed] = &numbers;
        Worker::start(part, &[self.dir.path().to_str().unwrap(), place, incarnation, longest, seed])
    }

    /// Kills the process at this place and books what it may have taken with it.
    fn kill(&mut self, place: usize) {
        self.workers[place].kill();
        self.killed[usize::from(place >= SENDERS)] += 1;
        self.may_miss += u64::from(self.account.at_risk[place].swap(0, Ordering::SeqCst));
    }

    /// Stops the process at this place for a moment: the others may have to wait for it, but must not take it for dead.
    fn pause(&mut self, place: usize, moment: Duration) {
        let signal = |number: i32| {
            // SAFETY: it takes numbers; the process is a child that was not reaped yet.
            let sent = unsafe { libc::kill(self.workers[place].pid() as i32, number) };
            assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
        };
        signal(libc::SIGSTOP);
        std::thread::sleep(moment);
        signal(libc::SIGCONT);
    }

    /// Fails if a process ended by itself, or if nothing was received for too long.
    fn watch(&mut self) {
        for (place, worker) in self.workers.iter_mut().enumerate() {
            if let Some(status) = worker.try_ended() {
                panic!(
                    "the process at place {place} ended by itself: {status}\n{}",
                    diagnosis(&self.queue, self.account)
                );
            }
        }
        let receipts = self.account.messages.receipts();
        let stall = self.progress.1.elapsed();
        if receipts != self.progress.0 {
            self.progress = (receipts, Instant::now());
            self.longest_stall = self.longest_stall.max(stall);
        }
        let idle = self.account.messages.is_used_up();
        assert!(stall < NET || idle, "nothing was received for {NET:?}\n{}", diagnosis(&self.queue, self.account));
    }

    /// Has the senders end, and waits until all they sent is received.
    fn finish_sending(&mut self) {
        self.account.stop.store(1, Ordering::SeqCst);
        for mut sender in self.workers.drain(..SENDERS) {
            within_net("a sender ends", &self.queue, self.account, || sender.try_ended().is_some());
            assert!(sender.ended().success(), "a sender failed");
        }
        let drained = || self.queue.stat().is_ok_and(|stat| stat.len + stat.being_sent + stat.being_received == 0);
        within_net("the receivers empty the queue", &self.queue, self.account, drained);
    }

    /// The receivers hear of the end from the queue itself.
    fn close(&mut self) {
        self.queue.close().unwrap();
        for mut receiver in self.workers.drain(..) {
            within_net("a receiver ends", &self.queue, self.account, || receiver.try_ended().is_some());
            assert!(receiver.ended().success(), "a receiver failed");
        }
    }

    /// The receivers die too, wherever they are; all the room must be there for the last one alive.
    fn kill_the_receivers(&mut self) {
        for index in 0..self.workers.len() {
            self.workers[index].kill();
            self.may_miss += u64::from(self.account.at_risk[SENDERS + index].swap(0, Ordering::SeqCst));
        }
        let capacity = self.queue.capacity() as u64;
        for number in 0..capacity {
            assert_eq!(self.queue.try_send(&payload(number, 8), 0), Ok(()), "{number} of {capacity}: room is lost");
        }
        assert_eq!(self.queue.try_send(b"", 0), Err(SendError::Full));
        for number in 0..capacity {
            assert_eq!(identify(&self.queue.try_recv().unwrap().data), Some(number));
        }
        assert_eq!(self.queue.try_recv(), Err(RecvError::Empty));
    }
}

#[track_caller]
fn within_net(what: &str, queue: &Queue, account: &Account, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < NET, "in vain for {NET:?}: {what}\n{}", diagnosis(queue, account));
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// What there is to know about a queue that does not move.
fn diagnosis(queue: &Queue, account: &Account) -> String {
    let at_risk: Vec<u32> = account.at_risk.iter().map(|place| place.load(Ordering::SeqCst)).collect();
    let (next, receipts) = (account.messages.begun(), account.messages.receipts());
    format!("{next} messages begun, {receipts} received, calls under way {at_risk:?}\n{:#?}", queue.stat())
}

/// Capacity and longest message of the epochs.
const EPOCHS: [(u32, u64); 6] = [(8, 64), (1000, 70_000), (1, 300), (64, 64), (8, 70_000), (3, 5000)];

#[test]
fn killed_at_random_moments_nobody_loses_or_repeats_a_message() {
    let seed = seed("CHAPPE_KILL_SEED");
    let rounds = number("CHAPPE_KILL_ROUNDS").unwrap_or(200);
    // Long runs change the queue every 200 kills: what a death left behind can then be told from what came before.
    let each = rounds.div_ceil(EPOCHS.len() as u64).clamp(1, 200);
    let mut rng = Rng::new(seed);
    let mut done = 0;
    while done < rounds {
        let (capacity, longest) = EPOCHS[(done / each) as usize % EPOCHS.len()];
        let kills = each.min(rounds - done);
        one_epoch(Epoch::new(capacity, longest, rng.bits()), kills, &mut rng);
        done += kills;
    }
}

fn one_epoch(mut epoch: Epoch, kills: u64, rng: &mut Rng) {
    let start = Instant::now();
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(rng.below(5000)));
        epoch.watch();
        let place = rng.index(PLACES);
        if rng.one_in(4) {
            epoch.pause(rng.index(PLACES), Duration::from_micros(rng.below(20_000)));
        }
        epoch.kill(place);
        epoch.workers[place] = epoch.start(place);
    }
    // A queue that came to rest under the last kill would pass for an idle one: it has to go on first.
    let messages = &epoch.account.messages;
    let goal = messages.receipts() + 100;
    let goes_on = || messages.receipts() >= goal || messages.is_used_up();
    within_net("the survivors go on", &epoch.queue, epoch.account, goes_on);
    epoch.finish_sending();
    if rng.one_in(2) {
        epoch.close();
    } else {
        epoch.kill_the_receivers();
    }
    let stat = epoch.queue.stat().unwrap();
    assert_eq!((stat.len, stat.being_sent, stat.being_received), (0, 0, 0), "{stat:#?}");
    assert_eq!(stat.participants.len(), 1, "the dead are not listed: {stat:#?}");
    let totals = messages.totals(epoch.may_miss);
    println!(
        "capacity {}, to {} bytes: {} senders and {} receivers killed in {:.1?}; {} sends returned, {} received, \
         {} missing of {} that may be, {} received though their send never returned; longest stall {:.1?}; {:?}",
        epoch.queue.capacity(),
        epoch.longest,
        epoch.killed[0],
        epoch.killed[1],
        start.elapsed(),
        totals.returned,
        totals.received,
        totals.missing,
        epoch.may_miss,
        totals.beyond,
        epoch.longest_stall,
        stat.counters,
    );
}
