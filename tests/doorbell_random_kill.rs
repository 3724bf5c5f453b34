//! As `random_kill.rs`, for those who do not sleep in a call: senders and receivers that poll the doorbell with epoll, by level and by
//! edge, and receivers that register again and again to be told, killed at random moments beside plain senders and receivers.
//!
//! At the end of an epoch all receivers but those of one kind are killed. Those that are left have to empty the queue, and they only
//! look into it when they are told to: so a doorbell that stays silent, or a registration that is forgotten, is a test that does not
//! end. Then every single message is accounted for, as in `random_kill.rs`.
//!
//! `CHAPPE_KILL_ROUNDS` sets the number of kills (10000 for a full run), `CHAPPE_KILL_SEED` repeats the choices, though not
//! the timing.

mod common;

use chappe::{Access, NotifyError, Queue, QueueOptions, RecvError, SendError};
use common::bell::{Bell, GLANCE};
use common::shared::{Shared, Words};
use common::{NET, Rng, Worker, asleep, hear, identify, number, payload, say, scratch, seed, until};
use rustix::event::{Timespec, epoll};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

#[test]
fn role() {
    common::play(&[
        ("sender", part_sender),
        ("polling sender", part_polling_sender),
        ("level", part_level),
        ("edge", part_edge),
        ("registrant", part_registrant),
        ("receiver", part_receiver),
        ("take", part_take),
        ("send one", part_send_one),
    ]);
}

/// Who lives at which place.
const PARTS: [&str; PLACES] =
    ["sender", "sender", "polling sender", "level", "level", "edge", "edge", "registrant", "registrant", "receiver"];
const PLACES: usize = 10;
const SENDERS: usize = 3;

// ---- the shared account ----

/// More messages than one epoch sends; senders idle when they reach it.
const MESSAGES: usize = 1 << 22;

const BEGUN: u32 = 1;
const RETURNED: u32 = 2;
const REFUSED: u32 = 4;
const RECEIVED_ONCE: u32 = 1 << 8;

#[repr(C)]
struct Account {
    /// The next message's number, which is also its id.
    next: AtomicU64,
    /// Messages received, as a sign of life; and how often a registrant was told.
    receipts: AtomicU64,
    told: AtomicU64,
    /// Tells senders to end.
    stop: AtomicU32,
    /// Tells registrants to end, whom the end of the queue is no message for.
    over: AtomicU32,
    /// For each receiver: whether its call under way can have taken a message that is not marked yet.
    at_risk: [AtomicU32; PLACES],
    messages: [AtomicU32; MESSAGES],
}

// SAFETY: `repr(C)`, and atomics only.
unsafe impl Words for Account {}

impl Account {
    fn mark(&self, message: u64, what: u32) {
        self.messages[message as usize].fetch_or(what, Ordering::SeqCst);
    }

    fn is_idle(&self) -> bool {
        self.next.load(Ordering::SeqCst) >= MESSAGES as u64
    }
}

/// Length and priority follow from the number.
fn shape(number: u64, longest: u64) -> (usize, u16) {
    let mut rng = Rng::new(number ^ 0xbe11);
    let limit = if rng.one_in(3) { longest } else { longest.min(64) };
    (8 + rng.below(limit - 7) as usize, rng.below(3) as u16)
}

// ---- the processes that are killed ----

/// What a part needs, from its arguments: DIR PLACE LONGEST SEED.
struct Cast {
    queue: Queue,
    account: &'static Account,
    place: usize,
    longest: u64,
    rng: Rng,
}

fn options(dir: &Path) -> QueueOptions {
    let mut options = Queue::options();
    options.dir(dir);
    options
}

impl Cast {
    fn new(arguments: &[String]) -> Cast {
        let dir = Path::new(&arguments[0]);
        let [place, longest, seed] = [1, 2, 3].map(|index| arguments[index].parse::<u64>().unwrap());
        let (queue, account) = (options(dir).open("/q").unwrap(), Shared::<Account>::map(&dir.join("account")).leak());
        Cast { queue, account, place: place as usize, longest, rng: Rng::new(seed) }
    }

    /// Sends messages in the manner of `send`, until it is to stop.
    fn send_all(&mut self, mut send: impl FnMut(&mut Cast, &[u8], u16) -> Result<(), SendError>) {
        while self.account.stop.load(Ordering::SeqCst) == 0 {
            let number = self.account.next.fetch_add(1, Ordering::SeqCst);
            if number >= MESSAGES as u64 {
                self.account.next.fetch_sub(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let (length, priority) = shape(number, self.longest);
            self.account.mark(number, BEGUN);
            match send(self, &payload(number, length), priority) {
                Ok(()) => self.account.mark(number, RETURNED),
                Err(SendError::Full | SendError::TimedOut | SendError::Busy) => self.account.mark(number, REFUSED),
                Err(error) => panic!("{}: {error}", PARTS[self.place]),
            }
        }
    }

    /// Receives a message in the manner of `receive`, and accounts for it.
    fn receive(&self, receive: impl FnOnce(&Queue) -> Result<chappe::Message, RecvError>) -> Result<(), RecvError> {
        let at_risk = &self.account.at_risk[self.place];
        at_risk.store(1, Ordering::SeqCst);
        let received = receive(&self.queue);
        if let Ok(message) = &received {
            let id = message.data.first_chunk().map_or(u64::MAX, |id| u64::from_le_bytes(*id));
            // At once: a death before this looks like a lost message.
            if let Some(word) = self.account.messages.get(id as usize) {
                word.fetch_add(RECEIVED_ONCE, Ordering::SeqCst);
            }
            at_risk.store(0, Ordering::SeqCst);
            self.account.receipts.fetch_add(1, Ordering::SeqCst);
            assert_eq!(identify(&message.data), Some(id), "a torn message of {} bytes", message.data.len());
            assert_eq!((message.data.len(), message.priority), shape(id, self.longest), "message {id}");
        }
        at_risk.store(0, Ordering::SeqCst);
        received.map(drop)
    }

    /// Receives all there is; false if the queue has ended.
    fn drain(&self) -> bool {
        loop {
            match self.receive(Queue::try_recv) {
                Ok(()) => {}
                Err(RecvError::Empty) => return true,
                Err(RecvError::Closed) => return false,
                // A stopped process has the lock: it must be tried again, for nobody tells of it again.
                Err(RecvError::Busy) => {}
                Err(error) => panic!("{}: {error}", PARTS[self.place]),
            }
        }
    }
}

fn part_sender(arguments: &[String]) {
    Cast::new(arguments).send_all(|cast, message, priority| {
        let short = Duration::from_micros(cast.rng.below(2000));
        match cast.rng.below(3) {
            0 => cast.queue.try_send(message, priority),
            1 => cast.queue.send_timeout(message, priority, short),
            _ => cast.queue.send(message, priority),
        }
    });
}

/// The doorbell, which somebody keeps right from now on.
fn armed_bell(queue: &Queue, access: Access, flags: epoll::EventFlags) -> Bell {
    let bell = Bell::new(queue, access, flags).unwrap();
    queue.arm_doorbell().unwrap();
    bell
}

/// Sends when the doorbell says that there is room.
fn part_polling_sender(arguments: &[String]) {
    let mut cast = Cast::new(arguments);
    let bell = armed_bell(&cast.queue, Access::Send, epoll::EventFlags::OUT);
    cast.send_all(|cast, message, priority| {
        while !bell.rings() {
            if cast.account.stop.load(Ordering::SeqCst) != 0 {
                return Err(SendError::Full);
            }
        }
        cast.queue.try_send(message, priority)
    });
}

/// Receives one message each time that the doorbell says that there is one.
fn part_level(arguments: &[String]) {
    let cast = Cast::new(arguments);
    let bell = armed_bell(&cast.queue, Access::Receive, epoll::EventFlags::IN);
    loop {
        if !bell.rings() {
            continue;
        }
        match cast.receive(Queue::try_recv) {
            Ok(()) | Err(RecvError::Empty | RecvError::Busy) => {}
            Err(RecvError::Closed) => return,
            Err(error) => panic!("level: {error}"),
        }
    }
}

/// Receives all there is each time that the doorbell says that there is something new.
fn part_edge(arguments: &[String]) {
    let cast = Cast::new(arguments);
    let bell = armed_bell(&cast.queue, Access::Receive, epoll::EventFlags::IN | epoll::EventFlags::ET);
    loop {
        if bell.rings() && !cast.drain() {
            return;
        }
    }
}

/// Registers, receives all there is, and waits to be told before it does so again.
fn part_registrant(arguments: &[String]) {
    let cast = Cast::new(arguments);
    let over = || cast.account.over.load(Ordering::SeqCst) != 0;
    while !over() {
        let (tell, told) = channel();
        match cast.queue.notify(move |_| tell.send(()).unwrap()) {
            Ok(()) => {}
            Err(NotifyError::Registered | NotifyError::Busy) => {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            Err(error) => panic!("registrant: {error}"),
        }
        if !cast.drain() {
            return;
        }
        while told.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
            if over() {
                return;
            }
        }
        cast.account.told.fetch_add(1, Ordering::SeqCst);
    }
}

/// Waits in receives of all kinds: while it does, a message is its own and the registrant is not told.
fn part_receiver(arguments: &[String]) {
    let mut cast = Cast::new(arguments);
    loop {
        let short = Duration::from_micros(cast.rng.below(2000));
        let received = match cast.rng.below(3) {
            0 => cast.receive(Queue::recv),
            _ => cast.receive(|queue| queue.recv_timeout(short)),
        };
        match received {
            Ok(()) | Err(RecvError::TimedOut | RecvError::Busy) => {}
            Err(RecvError::Closed) => return,
            Err(error) => panic!("receiver: {error}"),
        }
    }
}

// ---- the killer ----

/// One queue, its processes, and what the killer knows of the dead.
struct Epoch {
    dir: tempfile::TempDir,
    queue: Queue,
    account: &'static Account,
    workers: Vec<Option<Worker>>,
    longest: u64,
    rng: Rng,
    /// Messages that receivers may have taken with them.
    may_miss: u64,
    progress: (u64, Instant),
}

impl Epoch {
    fn new(capacity: u32, longest: u64, seed: u64) -> Epoch {
        let dir = scratch();
        let queue = options(dir.path()).capacity(capacity).message_size(longest).create_new("/q").unwrap();
        let account = Shared::<Account>::map(&dir.path().join("account")).leak();
        let (workers, rng, progress) = (Vec::new(), Rng::new(seed), (0, Instant::now()));
        let mut epoch = Epoch { dir, queue, account, workers, longest, rng, may_miss: 0, progress };
        for place in 0..PLACES {
            let worker = epoch.start(place);
            epoch.workers.push(Some(worker));
        }
        epoch
    }

    fn start(&mut self, place: usize) -> Worker {
        let numbers = [place as u64, self.longest, self.rng.bits()].map(|number| number.to_string());
        let [index, longest, seed] = &numbers;
        Worker::start(PARTS[place], &[self.dir.path().to_str().unwrap(), index, longest, seed])
    }

    /// Kills the process at this place and books what it may have taken with it.
    fn kill(&mut self, place: usize) {
        self.workers[place].take().expect("it lives").kill();
        self.may_miss += u64::from(self.account.at_risk[place].swap(0, Ordering::SeqCst));
    }

    /// Stops the process at this place for a moment: the others may have to wait for it, but must not take it for dead.
    fn pause(&mut self, place: usize) {
        let pid = self.workers[place].as_ref().expect("it lives").pid() as i32;
        // SAFETY: it takes numbers; the process is a child that was not reaped yet.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
        std::thread::sleep(Duration::from_micros(self.rng.below(20_000)));
        // SAFETY: as above.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGCONT) }, 0);
    }

    /// Fails if a process ended by itself, or if nothing was received for too long.
    fn watch(&mut self) {
        for (place, worker) in self.workers.iter_mut().enumerate() {
            if let Some(status) = worker.as_mut().and_then(Worker::try_ended) {
                panic!("the {} at place {place} ended by itself: {status}\n{}", PARTS[place], self.diagnosis());
            }
        }
        let receipts = self.account.receipts.load(Ordering::SeqCst);
        if receipts != self.progress.0 {
            self.progress = (receipts, Instant::now());
        }
        let stalls = self.progress.1.elapsed() >= NET && !self.account.is_idle();
        assert!(!stalls, "nothing was received for {NET:?}\n{}", self.diagnosis());
    }

    /// What there is to know about a queue that does not move.
    fn diagnosis(&self) -> String {
        let load = |word: &AtomicU64| word.load(Ordering::SeqCst);
        let (next, receipts, told) = (load(&self.account.next), load(&self.account.receipts), load(&self.account.told));
        let living: Vec<&str> =
            PARTS.iter().zip(&self.workers).filter(|(_, worker)| worker.is_some()).map(|(part, _)| *part).collect();
        let registered = self.queue.registered();
        format!(
            "{next} messages begun, {receipts} received, told {told} times, registered {registered:?}; {living:?}\n{:#?}",
            self.queue.stat()
        )
    }

    #[track_caller]
    fn within_net(&mut self, what: &str, mut done: impl FnMut(&mut Epoch) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < NET, "in vain for {NET:?}: {what}\n{}", self.diagnosis());
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    #[track_caller]
    fn ends(&mut self, place: usize) {
        self.within_net(&format!("the {} at place {place} ends", PARTS[place]), |epoch| {
            epoch.workers[place].as_mut().expect("it lives").try_ended().is_some()
        });
        let status = self.workers[place].take().expect("it lives").ended();
        assert!(status.success(), "the {} at place {place} failed", PARTS[place]);
    }

    /// Only receivers of one kind are left, and have to go on alone, to the last message.
    fn leave_it_to(&mut self, kind: &str) {
        let (left, others): (Vec<usize>, Vec<usize>) = (SENDERS..PLACES).partition(|place| PARTS[*place] == kind);
        others.into_iter().for_each(|place| self.kill(place));
        let goal = self.account.receipts.load(Ordering::SeqCst) + 200;
        self.within_net(&format!("those of kind {kind} go on alone"), |epoch| {
            epoch.watch();
            epoch.account.receipts.load(Ordering::SeqCst) >= goal || epoch.account.is_idle()
        });
        self.account.stop.store(1, Ordering::SeqCst);
        (0..SENDERS).for_each(|place| self.ends(place));
        // `len` recovers nobody and tells nobody.
        self.within_net(&format!("those of kind {kind} empty the queue"), |epoch| epoch.queue.is_empty() == Ok(true));
        self.queue.close().unwrap();
        self.account.over.store(1, Ordering::SeqCst);
        left.into_iter().for_each(|place| self.ends(place));
        let stat = self.queue.stat().unwrap();
        assert_eq!((stat.len, stat.being_sent, stat.being_received), (0, 0, 0), "{stat:#?}");
        assert_eq!(stat.participants.len(), 1, "the dead are not listed: {stat:#?}");
        assert_eq!(self.queue.registered(), Ok(None), "the dead are not registered");
    }

    /// The account, message by message: how many sends returned, and how many of these messages are missing.
    fn account(&self) -> (u64, u64) {
        let (mut returned, mut missing) = (0, 0);
        let count = self.account.next.load(Ordering::SeqCst).min(MESSAGES as u64);
        for (number, word) in self.account.messages[..count as usize].iter().enumerate() {
            let word = word.load(Ordering::SeqCst);
            let (sent, times) = (word & 0xff, word >> 8);
            assert!(times <= 1, "message {number} was received {times} times");
            assert!(times == 0 || sent & REFUSED == 0, "message {number} was refused and received");
            assert!(times == 0 || sent & BEGUN != 0, "message {number} was received but never sent");
            returned += u64::from(sent & RETURNED != 0);
            missing += u64::from(sent & RETURNED != 0 && times == 0);
        }
        let may_miss = self.may_miss;
        assert!(missing <= may_miss, "{missing} messages are missing, killed receivers can have taken {may_miss}");
        (returned, missing)
    }
}

/// Capacity, longest message, and whose the last messages of an epoch are.
const EPOCHS: [(u32, u64, &str); 6] = [
    (8, 64, "level"),
    (64, 5000, "edge"),
    (4, 600, "registrant"),
    (300, 64, "edge"),
    (1, 600, "level"),
    (30, 5000, "registrant"),
];

#[test]
fn killed_at_random_moments_nobody_who_waits_to_be_told_is_forgotten() {
    let seed = seed("CHAPPE_KILL_SEED");
    let rounds = number("CHAPPE_KILL_ROUNDS").unwrap_or(150);
    let each = rounds.div_ceil(EPOCHS.len() as u64).clamp(1, 100);
    let mut rng = Rng::new(seed);
    let mut done = 0;
    while done < rounds {
        let (capacity, longest, kind) = EPOCHS[(done / each) as usize % EPOCHS.len()];
        let kills = each.min(rounds - done);
        one_epoch(Epoch::new(capacity, longest, rng.bits()), kills, kind);
        done += kills;
    }
}

fn one_epoch(mut epoch: Epoch, kills: u64, kind: &str) {
    let start = Instant::now();
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(epoch.rng.below(8000)));
        epoch.watch();
        if epoch.rng.one_in(4) {
            let place = epoch.rng.index(PLACES);
            epoch.pause(place);
        }
        let place = epoch.rng.index(PLACES);
        epoch.kill(place);
        epoch.workers[place] = Some(epoch.start(place));
    }
    epoch.leave_it_to(kind);
    let (returned, missing) = epoch.account();
    println!(
        "capacity {}, to {} bytes, at the end {kind}: {kills} killed in {:.1?}; {returned} sends returned, {missing} missing of {} \
         that may be; told {} times",
        epoch.queue.capacity(),
        epoch.longest,
        start.elapsed(),
        epoch.may_miss,
        epoch.account.told.load(Ordering::SeqCst),
    );
}

// ---- a death that an edge has to tell of ----

/// Receives a large message, which takes a while. The test stops and kills it meanwhile.
fn part_take(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    say("ready");
    drop(queue.recv().unwrap());
    hear();
}

fn edges(bell: &OwnedFd) -> OwnedFd {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&set, bell, epoll::EventData::new_u64(1), epoll::EventFlags::IN | epoll::EventFlags::ET).unwrap();
    set
}

fn rings(set: &OwnedFd, bound: Duration) -> bool {
    let mut events: Vec<epoll::Event> = Vec::with_capacity(1);
    let bound = Timespec { tv_sec: bound.as_secs() as i64, tv_nsec: i64::from(bound.subsec_nanos()) };
    epoll::wait(set, rustix::buffer::spare_capacity(&mut events), Some(&bound)).unwrap();
    !events.is_empty()
}

#[test]
fn a_message_that_comes_back_from_the_dead_is_an_edge() {
    // One who polls by edge finds the queue empty, because another one has the only message in its hands, and waits for the next
    // edge. The other one dies. The message is back, the doorbell says so by its level, but no edge comes: nobody receives it.
    let dir = scratch();
    let queue = options(dir.path()).capacity(4).message_size(16 << 20).create_new("/q").unwrap();
    let bell = queue.doorbell(Access::Receive).unwrap();
    queue.arm_doorbell().unwrap();
    let set = edges(&bell);
    let mut caught = false;
    for _ in 0..50 {
        let mut other = Worker::start("take", &[dir.path().to_str().unwrap()]);
        other.expect("ready");
        until("it waits", || asleep(other.pid()));
        queue.send(&payload(1, 16 << 20), 0).unwrap();
        // It copies: some milliseconds. Stopped, so that it can be seen whether it was in time.
        until("it has the message", || queue.is_empty().unwrap());
        // SAFETY: takes numbers; the process is a child that was not reaped yet.
        assert_eq!(unsafe { libc::kill(other.pid() as i32, libc::SIGSTOP) }, 0);
        let stopped = || std::fs::read_to_string(format!("/proc/{}/stat", other.pid())).unwrap().contains(") T ");
        until("it is stopped", stopped);
        let stat = queue.stat().unwrap();
        if stat.being_received == 1 && stat.len == 0 {
            // What an event is for: everything is received until there is nothing.
            while rings(&set, Duration::ZERO) {
                assert_eq!(queue.try_recv(), Err(RecvError::Empty));
            }
            other.kill();
            assert!(rings(&set, NET), "no edge for {NET:?}; {:?}", queue.stat());
            caught = true;
            break;
        }
        other.kill();
        queue.stat().unwrap();
        queue.purge().unwrap();
    }
    assert!(caught, "the other one was never stopped in time");
}

// ---- what the registrants' epochs came to, without a death ----

/// Sends one message.
fn part_send_one(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    say("ready");
    queue.send(b"another", 0).unwrap();
    hear();
}

#[test]
fn one_who_found_the_queue_empty_is_told_though_two_senders_were_blocked() {
    // The queue is full, S1 and S2 are blocked. R registers, then receives until the queue says that it is empty, as one has to; S1
    // and S2 have not run meanwhile (here: are stopped), so the receive does not note that it was empty. S1 comes out of its wait: S2
    // still waits, so it is not noted. S1 sends: the queue is not empty, nobody is told. S2 the same. R sleeps beside the messages.
    let dir = scratch();
    let queue = options(dir.path()).capacity(1).message_size(64).create_new("/q").unwrap();
    queue.send(b"first", 0).unwrap();
    let mut senders = [0, 1].map(|_| Worker::start("send one", &[dir.path().to_str().unwrap()]));
    senders.iter_mut().for_each(|sender| sender.expect("ready"));
    let asleep = || senders.iter().all(|sender| asleep(sender.pid()));
    until("both are blocked", || queue.stat().unwrap().counters.send_blocked == 2 && asleep());
    let signal = |number: i32| {
        for sender in &senders {
            // SAFETY: takes numbers; the process is a child that was not reaped yet.
            assert_eq!(unsafe { libc::kill(sender.pid() as i32, number) }, 0);
        }
    };
    signal(libc::SIGSTOP);
    let stopped = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") T ");
    until("both are stopped", || senders.iter().all(|sender| stopped(sender.pid())));
    let (tell, told) = channel();
    queue.notify(move |_| tell.send(()).unwrap()).unwrap();
    assert_eq!(queue.try_recv().unwrap().data, b"first");
    assert_eq!(queue.try_recv(), Err(RecvError::Empty));
    signal(libc::SIGCONT);
    assert_eq!(told.recv_timeout(NET), Ok(()), "{:?}", queue.stat());
}
