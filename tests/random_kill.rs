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

use chappe::{Batch, Queue, QueueOptions, RecvError, SendError};
use common::{NET, Rng, Worker, identify, number, payload, scratch, seed};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[test]
fn role() {
    common::play(&[("sender", part_sender), ("receiver", part_receiver)]);
}

// ---- the shared account ----

/// More messages than one epoch sends; senders idle when they reach it.
const MESSAGES: usize = 1 << 22;

/// How many processes live at once.
const PLACES: usize = 7;

/// Of these, the first are senders.
const SENDERS: usize = 3;

/// What is known about one message: who sent it is part of its id, all else follows from the id.
const BEGUN: u32 = 1;
const RETURNED: u32 = 2;
const REFUSED: u32 = 4;
const RECEIVED_ONCE: u32 = 1 << 8;

#[repr(C)]
struct Account {
    /// The next message's number.
    next: AtomicU64,
    /// Messages received, as a sign of life.
    receipts: AtomicU64,
    /// Tells senders to end.
    stop: AtomicU32,
    /// For each receiver: how many messages the call under way can have taken that are not marked yet.
    at_risk: [AtomicU32; PLACES],
    messages: [AtomicU32; MESSAGES],
}

impl Account {
    /// Maps the file, which is made if it is not there. The mapping stays for the life of the process.
    fn map(path: &Path) -> &'static Account {
        let file = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        let size = size_of::<Account>();
        file.set_len(size as u64).unwrap();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&file);
        // SAFETY: a new mapping at an address that the kernel chooses; the descriptor is open.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), size, access, libc::MAP_SHARED, descriptor, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        // SAFETY: the mapping is page-aligned, as long as an Account, never unmapped, and shorter files are nobody's
        // business here; an Account is atomics only, for which every byte pattern is valid.
        unsafe { &*start.cast::<Account>() }
    }

    fn mark(&self, message: u64, what: u32) {
        self.messages[message as usize].fetch_or(what, Ordering::SeqCst);
    }
}

/// The part of an id that is the message's number.
const NUMBER: u64 = 0xffff_ffff;

/// The id of a message: its number, and which sender (counted over all that ever lived) sends it.
fn id(number: u64, sender: u64) -> u64 {
    sender << 32 | number
}

/// Length and priority follow from the number. Mostly inline, some in an extent, some of many pages.
fn shape(number: u64, longest: u64) -> (usize, u16) {
    let mut rng = Rng::new(number ^ 0xacc0);
    let limit = match rng.below(20) {
        0 => longest,
        1..=3 => longest.min(6000),
        4..=7 => longest.min(300),
        _ => longest.min(64),
    };
    (8 + rng.below(limit - 7) as usize, rng.below(5) as u16 * 1000)
}

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
            account: Account::map(&dir.join("account")),
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
    let mut cast = Cast::new(arguments);
    while cast.account.stop.load(Ordering::SeqCst) == 0 {
        let count = if cast.rng.one_in(3) { 1 + cast.rng.below(8) } else { 1 };
        let first = cast.account.next.fetch_add(count, Ordering::SeqCst);
        if first + count > MESSAGES as u64 {
            cast.account.next.fetch_sub(count, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        cast.send(first..first + count);
    }
}

impl Cast {
    /// Sends these messages, by a form chosen at random, with a record before and after.
    fn send(&mut self, numbers: std::ops::Range<u64>) {
        let messages: Vec<(Vec<u8>, u16)> = numbers
            .clone()
            .map(|number| {
                let (length, priority) = shape(number, self.longest);
                (payload(id(number, self.incarnation), length), priority)
            })
            .collect();
        numbers.clone().for_each(|number| self.account.mark(number, BEGUN));
        let short = Duration::from_micros(self.rng.below(2000));
        let (form, queue) = (self.rng.below(4), &self.queue);
        let result = match (&messages[..], form) {
            ([(message, priority)], 0) => queue.try_send(message, *priority).map_err(|error| (0, error)),
            ([(message, priority)], 1) => queue.send_timeout(message, *priority, short).map_err(|error| (0, error)),
            ([(message, priority)], _) => queue.send(message, *priority).map_err(|error| (0, error)),
            (many, 0) => queue.try_send_many(many).map_err(|error| (error.sent, error.error)),
            (many, 1) => queue.send_many_timeout(many, short).map_err(|error| (error.sent, error.error)),
            (many, _) => queue.send_many(many).map_err(|error| (error.sent, error.error)),
        };
        let sent = match result {
            Ok(()) => messages.len(),
            Err((sent, SendError::Full | SendError::TimedOut | SendError::Busy)) => sent,
            Err((_, error)) => panic!("sender {}: {error}", self.incarnation),
        };
        for (index, number) in numbers.enumerate() {
            self.account.mark(number, if index < sent { RETURNED } else { REFUSED });
        }
    }
}

fn part_receiver(arguments: &[String]) {
    let cast = Cast::new(arguments);
    Receiver { buffer: vec![0; cast.longest as usize], cast, last: HashMap::new(), batch: Batch::new() }.run();
}

struct Receiver {
    cast: Cast,
    buffer: Vec<u8>,
    batch: Batch,
    /// The latest message of each sender and priority.
    last: HashMap<(u64, u16), u64>,
}

impl Receiver {
    fn run(mut self) {
        loop {
            let form = self.cast.rng.below(6);
            match self.receive(form) {
                Ok(()) | Err(RecvError::Empty | RecvError::TimedOut | RecvError::Busy) => self.at_risk(0),
                Err(RecvError::Closed) => return,
                Err(error) => panic!("receiver {}: {error}", self.cast.incarnation),
            }
        }
    }

    /// One call, announced before and accounted for after.
    fn receive(&mut self, form: u64) -> Result<(), RecvError> {
        let max = if form < 2 { 1 + self.cast.rng.index(8) } else { 1 };
        let short = Duration::from_micros(self.cast.rng.below(3000));
        self.at_risk(max as u32);
        let queue = &self.cast.queue;
        match form {
            0 => queue.recv_many(&mut self.batch, max).map(|_| self.take_batch()),
            1 => queue.try_recv_many(&mut self.batch, max).map(|_| self.take_batch()),
            2 => {
                let received = queue.recv_into(&mut self.buffer)?;
                let data = self.buffer[..received.len].to_vec();
                self.take(&data, received.priority, Some(received.redelivered));
                Ok(())
            }
            _ => {
                let message = match form {
                    3 => queue.try_recv()?,
                    4 => queue.recv_timeout(short)?,
                    _ => queue.recv()?,
                };
                self.take(&message.data, message.priority, Some(message.redelivered));
                Ok(())
            }
        }
    }

    fn at_risk(&self, messages: u32) {
        self.cast.account.at_risk[self.cast.place].store(messages, Ordering::SeqCst);
    }

    fn take_batch(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.at_risk(batch.len() as u32);
        batch.iter().for_each(|(data, _)| self.mark(data));
        batch.iter().for_each(|(data, priority)| self.check(data, priority, None));
        self.batch = batch;
    }

    fn take(&mut self, data: &[u8], priority: u16, redelivered: Option<u32>) {
        self.mark(data);
        self.check(data, priority, redelivered);
    }

    /// Marks a message as received, at once: a death before this looks like a lost message.
    fn mark(&self, data: &[u8]) {
        let id = data.first_chunk().map_or(u64::MAX, |id| u64::from_le_bytes(*id));
        let Some(word) = self.cast.account.messages.get((id & NUMBER) as usize) else { return };
        word.fetch_add(RECEIVED_ONCE, Ordering::SeqCst);
        self.cast.account.at_risk[self.cast.place].fetch_sub(1, Ordering::SeqCst);
        self.cast.account.receipts.fetch_add(1, Ordering::SeqCst);
    }

    /// Whole, as it was sent, and in its sender's order unless it had been in dead hands (what a batch does not tell).
    fn check(&mut self, data: &[u8], priority: u16, redelivered: Option<u32>) {
        let id = identify(data).unwrap_or_else(|| panic!("a torn message of {} bytes", data.len()));
        let (number, sender) = (id & NUMBER, id >> 32);
        assert_eq!((data.len(), priority), shape(number, self.cast.longest), "message {number}");
        let last = self.last.entry((sender, priority)).or_insert(number);
        assert!(*last <= number || redelivered != Some(0), "{number} of sender {sender} came after {last}");
        *last = number.max(*last);
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
        let account = Account::map(&dir.path().join("account"));
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
        let receipts = self.account.receipts.load(Ordering::SeqCst);
        let stall = self.progress.1.elapsed();
        if receipts != self.progress.0 {
            self.progress = (receipts, Instant::now());
            self.longest_stall = self.longest_stall.max(stall);
        }
        let idle = self.account.next.load(Ordering::SeqCst) + 16 > MESSAGES as u64;
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

    /// The account, message by message.
    fn account(&self) -> Totals {
        let mut totals = Totals::default();
        let count = self.account.next.load(Ordering::SeqCst).min(MESSAGES as u64);
        for (number, word) in self.account.messages[..count as usize].iter().enumerate() {
            let word = word.load(Ordering::SeqCst);
            let (sent, times) = (word & 0xff, word >> 8);
            assert!(times <= 1, "message {number} was received {times} times");
            assert!(times == 0 || sent & REFUSED == 0, "message {number} was refused and received");
            assert!(times == 0 || sent & BEGUN != 0, "message {number} was received but never sent");
            totals.returned += u64::from(sent & RETURNED != 0);
            totals.received += u64::from(times);
            totals.missing += u64::from(sent & RETURNED != 0 && times == 0);
            totals.beyond += u64::from(sent == BEGUN && times == 1);
        }
        let (missing, may_miss) = (totals.missing, self.may_miss);
        assert!(missing <= may_miss, "{missing} messages are missing, killed receivers can have taken {may_miss}");
        totals
    }
}

#[derive(Default)]
struct Totals {
    returned: u64,
    received: u64,
    missing: u64,
    beyond: u64,
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
    let (next, receipts) = (account.next.load(Ordering::SeqCst), account.receipts.load(Ordering::SeqCst));
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
    let goal = epoch.account.receipts.load(Ordering::SeqCst) + 100;
    let idle = || epoch.account.next.load(Ordering::SeqCst) + 16 > MESSAGES as u64;
    let goes_on = || epoch.account.receipts.load(Ordering::SeqCst) >= goal || idle();
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
    let totals = epoch.account();
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
