//! Random operations against a reference that fits on a page, and many senders and receivers (threads and processes) whose
//! every message is accounted for.
//!
//! Nobody dies here. `CHAPPE_MODEL_SEED` repeats a run, `CHAPPE_MODEL_STEPS` lengthens it.

mod common;

use chappe::{Batch, PRIORITY_MAX, Queue, QueueOptions, RecvError, SendError};
use common::{NET, Rng, Worker, hear, identify, number, payload, say, scratch, seed};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

#[test]
fn role() {
    common::play(&[("sender", part_sender), ("receiver", part_receiver)]);
}

fn options(dir: &Path) -> QueueOptions {
    let mut options = Queue::options();
    options.dir(dir);
    options
}

// ---- one thread, exact equivalence ----

/// The queue as it should be: a map ordered by descending priority, then by time of sending.
#[derive(Default)]
struct Reference {
    capacity: usize,
    message_size: usize,
    sent: u64,
    waiting: BTreeMap<(Reverse<u16>, u64), Vec<u8>>,
}

impl Reference {
    fn send(&mut self, message: &[u8], priority: u16) -> Result<(), SendError> {
        if priority > PRIORITY_MAX {
            return Err(SendError::Priority(priority));
        }
        if message.len() > self.message_size {
            return Err(SendError::TooLong { length: message.len() as u64, max: self.message_size as u64 });
        }
        if self.waiting.len() == self.capacity {
            return Err(SendError::Full);
        }
        self.waiting.insert((Reverse(priority), self.sent), message.to_vec());
        self.sent += 1;
        Ok(())
    }

    fn recv(&mut self, room: usize) -> Result<(Vec<u8>, u16), RecvError> {
        let first = self.waiting.first_entry().ok_or(RecvError::Empty)?;
        let needed = first.get().len();
        if needed > room {
            return Err(RecvError::BufferTooSmall { needed: needed as u64, room: room as u64 });
        }
        let (Reverse(priority), _) = *first.key();
        Ok((first.remove(), priority))
    }

    fn next(&self, max: usize) -> Vec<(Vec<u8>, u16)> {
        self.waiting.iter().take(max).map(|((Reverse(priority), _), data)| (data.clone(), *priority)).collect()
    }
}

/// One run: a queue with a few handles, its reference, and the generator that decides everything.
struct Run {
    dir: tempfile::TempDir,
    handles: Vec<Queue>,
    reference: Reference,
    rng: Rng,
    id: u64,
    levels: u64,
    step: u64,
}

impl Run {
    fn new(capacity: u32, message_size: u64, levels: u64, rng: Rng) -> Run {
        let dir = scratch();
        let made = options(dir.path()).capacity(capacity).message_size(message_size).create_new("/q").unwrap();
        let handles = vec![made, options(dir.path()).open("/q").unwrap(), options(dir.path()).open("/q").unwrap()];
        let reference =
            Reference { capacity: capacity as usize, message_size: message_size as usize, ..Reference::default() };
        Run { dir, handles, reference, rng, id: 0, levels, step: 0 }
    }

    fn handle(&mut self) -> usize {
        self.rng.index(self.handles.len())
    }

    /// A random message: mostly small, sometimes at an edge, sometimes as large as allowed, rarely too large.
    fn message(&mut self) -> (Vec<u8>, u16) {
        let max = self.reference.message_size as u64;
        let length = match self.rng.below(20) {
            0 => 0,
            1 => max,
            2 => max + 1,
            3 => [63, 64, 65, 255, 256, 257, 4095, 4096, 4097][self.rng.index(9)].min(max),
            4..=6 => self.rng.below(max + 1),
            _ => self.rng.below(max.min(100) + 1),
        };
        let priority = if self.rng.one_in(200) { PRIORITY_MAX + 1 } else { self.priority() };
        self.id += 1;
        (payload(self.id, length as usize), priority)
    }

    fn priority(&mut self) -> u16 {
        let spread = u64::from(PRIORITY_MAX) + 1;
        (self.rng.below(self.levels) * (spread / self.levels)) as u16
    }

    fn one_step(&mut self) {
        self.step += 1;
        match self.rng.below(100) {
            0..40 => self.send(),
            40..46 => self.send_many(),
            46..80 => self.recv(),
            80..86 => self.recv_many(),
            86..90 => self.recv_into(),
            90..95 => self.look(),
            95..99 => self.reopen(),
            _ if self.rng.one_in(10) => self.purge(),
            _ => self.recv(),
        }
    }

    fn send(&mut self) {
        let (message, priority) = self.message();
        let handle = self.handle();
        let got = self.handles[handle].try_send(&message, priority);
        assert_eq!(got, self.reference.send(&message, priority), "step {}", self.step);
    }

    fn send_many(&mut self) {
        let batch: Vec<_> = (0..self.rng.below(9)).map(|_| self.message()).collect();
        let handle = self.handle();
        let got = self.handles[handle].try_send_many(&batch).map_err(|error| (error.sent, error.error));
        let mut sent = 0;
        let expected = batch.iter().try_for_each(|(message, priority)| {
            self.reference.send(message, *priority).map_err(|error| (sent, error))?;
            sent += 1;
            Ok(())
        });
        assert_eq!(got, expected, "step {}", self.step);
    }

    fn recv(&mut self) {
        let handle = self.handle();
        let got = self.handles[handle].try_recv().map(|message| (message.data, message.priority));
        let expected = self.reference.recv(usize::MAX);
        assert!(got == expected, "step {}: {} instead of {}", self.step, brief(&got), brief(&expected));
    }

    fn recv_into(&mut self) {
        let handle = self.handle();
        let room = self.rng.index(self.reference.message_size.min(2000) + 1);
        let mut buffer = vec![0; room];
        let got = self.handles[handle].try_recv_into(&mut buffer);
        let got = got.map(|received| (buffer[..received.len].to_vec(), received.priority));
        let expected = self.reference.recv(room);
        assert!(got == expected, "step {}: {} instead of {}", self.step, brief(&got), brief(&expected));
    }

    fn recv_many(&mut self) {
        let handle = self.handle();
        let max = 1 + self.rng.index(12);
        let mut batch = Batch::new();
        let got = self.handles[handle].try_recv_many(&mut batch, max);
        let got = got.map(|_| batch.iter().map(|(data, priority)| (data.to_vec(), priority)).collect::<Vec<_>>());
        let expected: Vec<_> = (0..max).map_while(|_| self.reference.recv(usize::MAX).ok()).collect();
        let expected = if expected.is_empty() { Err(RecvError::Empty) } else { Ok(expected) };
        assert!(got == expected, "step {}: a batch of at most {max} differs", self.step);
    }

    fn look(&mut self) {
        let handle = self.handle();
        let max = self.rng.index(20);
        let queue = &self.handles[handle];
        let seen: Vec<_> = queue.peek(max).unwrap().into_iter().map(|m| (m.data, m.priority)).collect();
        assert!(seen == self.reference.next(max), "step {}: peek({max}) differs", self.step);
        assert_eq!(queue.len().unwrap(), self.reference.waiting.len(), "step {}", self.step);
        let stat = queue.stat().unwrap();
        assert_eq!(stat.len, self.reference.waiting.len() as u64, "step {}", self.step);
        assert_eq!((stat.being_sent, stat.being_received), (0, 0), "step {}", self.step);
        assert_eq!(stat.counters.sent, self.reference.sent, "step {}", self.step);
    }

    fn reopen(&mut self) {
        let handle = self.handle();
        self.handles[handle] = options(self.dir.path()).open("/q").unwrap();
    }

    fn purge(&mut self) {
        let handle = self.handle();
        let expected = self.reference.waiting.len();
        self.reference.waiting.clear();
        assert_eq!(self.handles[handle].purge().unwrap(), expected, "step {}", self.step);
    }
}

/// A result without a megabyte of payload.
fn brief(result: &Result<(Vec<u8>, u16), RecvError>) -> String {
    match result {
        Ok((data, priority)) => format!("message {:?} of {} bytes, priority {priority}", identify(data), data.len()),
        Err(error) => format!("{error:?}"),
    }
}

/// Capacity, message size, number of distinct priorities, share of the steps (longer messages take longer).
const SHAPES: [(u32, u64, u64, u64); 9] = [
    (1, 8, 1, 1),
    (2, 64, 2, 1),
    (3, 300, 3, 1),
    (64, 5000, 4, 2),
    (65, 256, 32_768, 1),
    (600, 100, 64, 1),
    (5000, 16, 8, 1),
    (16, 100_000, 5, 4),
    (1000, 8000, 4096, 2),
];

#[test]
fn random_operations_equal_the_reference() {
    let seed = seed("CHAPPE_MODEL_SEED");
    let steps = number("CHAPPE_MODEL_STEPS").unwrap_or(8000);
    for (index, (capacity, size, levels, divisor)) in SHAPES.into_iter().enumerate() {
        println!("capacity {capacity}, message size {size}, {levels} priorities");
        let mut run = Run::new(capacity, size, levels, Rng::new(seed.wrapping_add(index as u64)));
        for _ in 0..steps / divisor {
            run.one_step();
        }
        while !run.reference.waiting.is_empty() {
            run.recv();
        }
        run.recv();
    }
}

// ---- many senders, many receivers ----

/// A load: who sends how much, in which lengths and priorities. Everything about a message follows from its id.
#[derive(Clone, Copy)]
struct Load {
    senders: u64,
    receivers: u64,
    each: u64,
    levels: u64,
    longest: u64,
}

impl Load {
    fn total(self) -> u64 {
        self.senders * self.each
    }

    fn ids(self, sender: u64) -> std::ops::Range<u64> {
        sender * self.each..(sender + 1) * self.each
    }

    fn priority(self, id: u64) -> u16 {
        (Rng::new(id ^ 0x5eed).below(self.levels) * 100) as u16
    }

    /// One in sixteen is long; all have room for their id.
    fn message(self, id: u64) -> Vec<u8> {
        let mut rng = Rng::new(id ^ 0x1e46);
        let longest = if rng.one_in(16) { self.longest } else { self.longest.min(64) };
        payload(id, 8 + rng.below(longest - 7) as usize)
    }

    fn to_text(self) -> String {
        format!("{} {} {} {} {}", self.senders, self.receivers, self.each, self.levels, self.longest)
    }

    fn from_text(text: &str) -> Load {
        let numbers: Vec<u64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
        let [senders, receivers, each, levels, longest] = numbers[..] else { panic!("not a load: {text}") };
        Load { senders, receivers, each, levels, longest }
    }
}

/// Sends the messages of one sender, one at a time or in batches, as the generator has it.
fn send_share(queue: &Queue, load: Load, sender: u64) {
    let mut rng = Rng::new(sender);
    let mut ids = load.ids(sender);
    loop {
        let count = if rng.one_in(4) { 1 + rng.index(10) } else { 1 };
        let batch: Vec<_> = ids.by_ref().take(count).map(|id| (load.message(id), load.priority(id))).collect();
        match &batch[..] {
            [] => return,
            [(message, priority)] => queue.send(message, *priority).unwrap(),
            many => queue.send_many(many).unwrap(),
        }
    }
}

/// Receives until the queue is closed and empty; the ids in the order in which they came.
fn receive_share(queue: &Queue, load: Load, receiver: u64) -> Vec<u64> {
    let mut rng = Rng::new(receiver + 1000);
    let (mut got, mut batch) = (Vec::new(), Batch::new());
    let mut buffer = vec![0; load.longest as usize + 8];
    loop {
        let result = match rng.below(4) {
            0 => queue.recv_many(&mut batch, 1 + rng.index(10)).map(|_| ()),
            1 => queue.recv_into(&mut buffer).map(|received| {
                batch.clear();
                take(load, &buffer[..received.len], received.priority, &mut got);
            }),
            2 => queue.recv_timeout(NET).map(|message| {
                batch.clear();
                take(load, &message.data, message.priority, &mut got);
            }),
            _ => queue.recv().map(|message| {
                batch.clear();
                take(load, &message.data, message.priority, &mut got);
            }),
        };
        match result {
            Ok(()) => batch.iter().for_each(|(data, priority)| take(load, data, priority, &mut got)),
            Err(RecvError::Closed) => return got,
            Err(error) => panic!("receiver {receiver}: {error}"),
        }
    }
}

fn take(load: Load, data: &[u8], priority: u16, got: &mut Vec<u64>) {
    let id = identify(data).expect("a whole message");
    assert_eq!(priority, load.priority(id), "message {id}");
    assert!(data == load.message(id), "message {id} has another length than was sent");
    got.push(id);
}

/// Every message exactly once; and at each receiver, messages of one sender and one priority in the order they were sent.
fn account(load: Load, received: &[Vec<u64>]) {
    let mut times = vec![0_u32; load.total() as usize];
    for id in received.iter().flatten() {
        times[*id as usize] += 1;
    }
    let wrong: Vec<_> = times.iter().enumerate().filter(|(_, times)| **times != 1).take(5).collect();
    assert!(wrong.is_empty(), "messages not received exactly once (id, times): {wrong:?}");
    for (receiver, ids) in received.iter().enumerate() {
        let mut last = HashMap::new();
        for id in ids {
            let before = last.insert((id / load.each, load.priority(*id)), *id);
            assert!(before.is_none_or(|before| before < *id), "receiver {receiver} got {id} after {before:?}");
        }
    }
}

/// Closes the queue once everything sent was received, so that receivers that wait for ever end.
fn close_when_empty(queue: &Queue, load: Load) {
    common::until("everything is received", || queue.stat().unwrap().counters.received >= load.total());
    queue.close().unwrap();
}

const LOADS: [(u32, Load); 5] = [
    (1, Load { senders: 3, receivers: 3, each: 1000, levels: 3, longest: 64 }),
    (8, Load { senders: 4, receivers: 4, each: 2000, levels: 4, longest: 5000 }),
    (64, Load { senders: 8, receivers: 2, each: 1000, levels: 2, longest: 300 }),
    (1000, Load { senders: 2, receivers: 8, each: 4000, levels: 50, longest: 64 }),
    (4096, Load { senders: 4, receivers: 4, each: 3000, levels: 300, longest: 20_000 }),
];

#[test]
fn many_threads_account_for_every_message() {
    for (capacity, load) in LOADS {
        let dir = scratch();
        let size = load.longest + 8;
        let queue = options(dir.path()).capacity(capacity).message_size(size).create_new("/q").unwrap();
        let queue = &queue;
        let received: Vec<Vec<u64>> = thread::scope(|scope| {
            let receivers: Vec<_> =
                (0..load.receivers).map(|number| scope.spawn(move || receive_share(queue, load, number))).collect();
            for sender in 0..load.senders {
                scope.spawn(move || send_share(queue, load, sender));
            }
            close_when_empty(queue, load);
            receivers.into_iter().map(|receiver| receiver.join().unwrap()).collect()
        });
        account(load, &received);
    }
}

#[test]
fn many_processes_account_for_every_message() {
    for (capacity, load) in LOADS {
        let dir = scratch();
        let path = dir.path().to_str().unwrap();
        let size = load.longest + 8;
        let queue = options(dir.path()).capacity(capacity).message_size(size).create_new("/q").unwrap();
        let start = |part: &str, number: u64| Worker::start(part, &[path, &load.to_text(), &number.to_string()]);
        let mut receivers: Vec<_> = (0..load.receivers).map(|number| start("receiver", number)).collect();
        let mut senders: Vec<_> = (0..load.senders).map(|number| start("sender", number)).collect();
        for worker in receivers.iter_mut().chain(&mut senders) {
            worker.expect("ready");
        }
        for worker in receivers.iter_mut().chain(&mut senders) {
            worker.tell("go");
        }
        close_when_empty(&queue, load);
        let received: Vec<Vec<u64>> = receivers.iter_mut().map(|worker| ids(&worker.answer())).collect();
        account(load, &received);
        senders.into_iter().chain(receivers).for_each(Worker::finish);
    }
}

fn ids(text: &str) -> Vec<u64> {
    text.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

fn part_sender(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    say("ready");
    hear();
    send_share(&queue, Load::from_text(&arguments[1]), arguments[2].parse().unwrap());
}

fn part_receiver(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    say("ready");
    hear();
    let got = receive_share(&queue, Load::from_text(&arguments[1]), arguments[2].parse().unwrap());
    say(got.iter().map(u64::to_string).collect::<Vec<_>>().join(" "));
}

// ---- fill, then drain ----

const FILLED: Load = Load { senders: 8, receivers: 4, each: 500, levels: 7, longest: 2000 };

/// A queue that eight threads have filled to the brim.
fn filled(dir: &Path) -> Queue {
    let queue = options(dir).capacity(FILLED.total() as u32).message_size(FILLED.longest + 8).create_new("/q").unwrap();
    thread::scope(|scope| {
        for sender in 0..FILLED.senders {
            let queue = &queue;
            scope.spawn(move || send_share(queue, FILLED, sender));
        }
    });
    assert_eq!(queue.try_send(b"one too many", 0), Err(SendError::Full));
    queue
}

fn falling(ids: &[u64]) {
    let priorities: Vec<u16> = ids.iter().map(|id| FILLED.priority(*id)).collect();
    assert!(priorities.is_sorted_by(|one, next| one >= next), "a lower priority came before a higher one");
}

#[test]
fn what_many_threads_filled_one_receiver_drains_in_strict_order() {
    let dir = scratch();
    let queue = filled(dir.path());
    queue.close().unwrap();
    let got = receive_share(&queue, FILLED, 0);
    falling(&got);
    account(FILLED, &[got]);
}

/// Nothing is added meanwhile, so at each of several receivers priorities can only fall; and the shared counter shows that
/// they fall across receivers too, as far as one receive ended before another began.
#[test]
fn what_many_threads_filled_many_receivers_drain_in_strict_order() {
    let dir = scratch();
    let queue = filled(dir.path());
    let clock = Arc::new(AtomicU64::new(0));
    let stamped: Vec<Vec<(u64, u64, u64)>> = thread::scope(|scope| {
        let receivers: Vec<_> =
            (0..FILLED.receivers).map(|_| scope.spawn(|| drain_with_times(&queue, &clock))).collect();
        receivers.into_iter().map(|receiver| receiver.join().unwrap()).collect()
    });
    let mut all: Vec<_> = stamped.iter().flatten().copied().collect();
    all.sort_unstable();
    // By rising begin of the receive: none may be more urgent than one that had ended before it began.
    for (index, (begin, _, id)) in all.iter().enumerate() {
        let ended = all[..index].iter().filter(|(_, end, _)| end < begin);
        let lowest = ended.map(|(_, _, earlier)| FILLED.priority(*earlier)).min();
        assert!(lowest.is_none_or(|lowest| lowest >= FILLED.priority(*id)), "message {id} was overtaken");
    }
    let received: Vec<Vec<u64>> = stamped.iter().map(|share| share.iter().map(|(_, _, id)| *id).collect()).collect();
    received.iter().for_each(|share| falling(share));
    account(FILLED, &received);
}

/// Each received message with the times at which its receive began and ended.
fn drain_with_times(queue: &Queue, clock: &AtomicU64) -> Vec<(u64, u64, u64)> {
    let mut got = Vec::new();
    loop {
        let begin = clock.fetch_add(1, Ordering::SeqCst);
        match queue.try_recv() {
            Ok(message) => got.push((begin, clock.fetch_add(1, Ordering::SeqCst), identify(&message.data).unwrap())),
            Err(RecvError::Empty) => return got,
            Err(error) => panic!("{error}"),
        }
    }
}
