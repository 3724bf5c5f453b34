//! Senders and receivers that write down what they do in memory shared with the test, so that every message can be accounted for,
//! whoever is killed: a sender "begun" and "returned" for each message, a receiver how many messages its call under way may take, and
//! each that it got. Which queue that is, and who is killed when, is each test's own.

use super::{Rng, identify, payload};
use chappe::{Batch, Message, Queue, RecvError, SendError};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// More messages than one queue is sent; senders idle when they reach it.
pub const MESSAGES: usize = 1 << 22;

/// The most messages of one call.
pub const BATCH: u64 = 8;

/// What is known about one message: who sent it is part of its id, all else follows from the id.
const BEGUN: u32 = 1;
const RETURNED: u32 = 2;
const REFUSED: u32 = 4;
const RECEIVED_ONCE: u32 = 1 << 8;

/// The account of one queue. Zeros are an empty one.
#[repr(C)]
pub struct Messages {
    next: AtomicU64,
    receipts: AtomicU64,
    words: [AtomicU32; MESSAGES],
}

impl Messages {
    /// Numbers for some more messages, as long as there are any.
    pub fn claim(&self, count: u64) -> Option<Range<u64>> {
        let first = self.next.fetch_add(count, Ordering::SeqCst);
        if first + count <= MESSAGES as u64 {
            return Some(first..first + count);
        }
        self.next.fetch_sub(count, Ordering::SeqCst);
        None
    }

    /// Numbers given out. (More, for a moment, when there are none left.)
    pub fn begun(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// Messages received, as a sign of life.
    pub fn receipts(&self) -> u64 {
        self.receipts.load(Ordering::SeqCst)
    }

    /// Whether senders idle, or are about to.
    pub fn is_used_up(&self) -> bool {
        self.begun() + 2 * BATCH > MESSAGES as u64
    }

    fn mark(&self, number: u64, what: u32) {
        self.words[number as usize].fetch_or(what, Ordering::SeqCst);
    }

    /// Of a message whose id may be anything.
    fn receive(&self, id: u64, at_risk: &AtomicU32) {
        let Some(word) = self.words.get((id & NUMBER) as usize) else { return };
        word.fetch_add(RECEIVED_ONCE, Ordering::SeqCst);
        at_risk.fetch_sub(1, Ordering::SeqCst);
        self.receipts.fetch_add(1, Ordering::SeqCst);
    }

    /// Message by message, when nobody sends or receives any more: none was received twice, none that was refused or never sent, and
    /// not more are missing than those who were killed in a call can have taken.
    #[track_caller]
    pub fn totals(&self, may_miss: u64) -> Totals {
        let mut totals = Totals::default();
        let count = self.begun().min(MESSAGES as u64);
        for (number, word) in self.words[..count as usize].iter().enumerate() {
            let word = word.load(Ordering::SeqCst);
            let (sent, times) = (word & 0xff, word >> 8);
            assert!(times <= 1, "message {number} was received {times} times");
            assert!(times == 0 || sent & REFUSED == 0, "message {number} was refused and received");
            assert!(times == 0 || sent & BEGUN != 0, "message {number} was received but never sent");
            totals.returned += u64::from(sent & RETURNED != 0);
            totals.received += u64::from(times);
            totals.missing += u64::from(sent & RETURNED != 0 && times == 0);
            totals.beyond += u64::from(sent == BEGUN && times == 1);
            totals.uncertain += u64::from(sent == BEGUN);
        }
        let missing = totals.missing;
        assert!(missing <= may_miss, "{missing} messages are missing, killed receivers can have taken {may_miss}");
        totals
    }
}

/// What became of the messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Their send returned.
    pub returned: u64,
    pub received: u64,
    /// Their send returned, and nobody received them.
    pub missing: u64,
    /// Received though their send never returned.
    pub beyond: u64,
    /// Their send neither returned nor was refused: the sender was killed inside.
    pub uncertain: u64,
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

/// One who sends.
pub struct Sender<'a> {
    pub queue: &'a Queue,
    pub messages: &'a Messages,
    /// Which of all senders that ever lived.
    pub id: u64,
    /// The longest message.
    pub longest: u64,
    pub rng: Rng,
}

impl Sender<'_> {
    /// Sends some messages, if there are numbers left; that it could not be done just now is no failure.
    pub fn send_some(&mut self) -> Option<Result<(), SendError>> {
        let count = if self.rng.one_in(3) { 1 + self.rng.below(BATCH) } else { 1 };
        let numbers = self.messages.claim(count)?;
        Some(self.send(numbers))
    }

    /// By a form chosen at random, with a record before and after.
    fn send(&mut self, numbers: Range<u64>) -> Result<(), SendError> {
        let shaped = |number| {
            let (length, priority) = shape(number, self.longest);
            (payload(id(number, self.id), length), priority)
        };
        let messages: Vec<(Vec<u8>, u16)> = numbers.clone().map(shaped).collect();
        numbers.clone().for_each(|number| self.messages.mark(number, BEGUN));
        let short = Duration::from_micros(self.rng.below(2000));
        let (form, queue) = (self.rng.below(4), self.queue);
        let result = match (&messages[..], form) {
            ([(message, priority)], 0) => queue.try_send(message, *priority).map_err(|error| (0, error)),
            ([(message, priority)], 1) => queue.send_timeout(message, *priority, short).map_err(|error| (0, error)),
            ([(message, priority)], _) => queue.send(message, *priority).map_err(|error| (0, error)),
            (many, 0) => queue.try_send_many(many).map_err(|error| (error.sent, error.error)),
            (many, 1) => queue.send_many_timeout(many, short).map_err(|error| (error.sent, error.error)),
            (many, _) => queue.send_many(many).map_err(|error| (error.sent, error.error)),
        };
        let sent = result.map_or_else(|(sent, _)| sent, |()| messages.len());
        for (index, number) in numbers.enumerate() {
            self.messages.mark(number, if index < sent { RETURNED } else { REFUSED });
        }
        match result {
            Ok(()) | Err((_, SendError::Full | SendError::TimedOut | SendError::Busy)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }
}

/// How many forms of receiving there are.
pub const FORMS: u64 = 6;

/// The form that takes one message and does not wait.
pub const TRY: u64 = 3;

/// One who receives.
pub struct Receiver<'a> {
    queue: &'a Queue,
    messages: &'a Messages,
    /// How many messages the call under way can have taken that are not marked yet.
    at_risk: &'a AtomicU32,
    longest: u64,
    buffer: Vec<u8>,
    batch: Batch,
    rng: Rng,
    /// The latest message of each sender and priority.
    last: HashMap<(u64, u16), u64>,
}

impl<'a> Receiver<'a> {
    pub fn new(
        queue: &'a Queue,
        messages: &'a Messages,
        at_risk: &'a AtomicU32,
        longest: u64,
        rng: Rng,
    ) -> Receiver<'a> {
        let (buffer, batch, last) = (vec![0; longest as usize], Batch::new(), HashMap::new());
        Receiver { queue, messages, at_risk, longest, buffer, batch, rng, last }
    }

    /// One call, of this form, announced before and accounted for after; that there was nothing just now is no failure.
    pub fn receive(&mut self, form: u64) -> Result<(), RecvError> {
        let result = self.call(form);
        self.at_risk.store(0, Ordering::SeqCst);
        match result {
            Err(RecvError::Empty | RecvError::TimedOut | RecvError::Busy) => Ok(()),
            other => other,
        }
    }

    fn call(&mut self, form: u64) -> Result<(), RecvError> {
        let max = if form < 2 { 1 + self.rng.below(BATCH) } else { 1 };
        let short = Duration::from_micros(self.rng.below(3000));
        self.at_risk.store(max as u32, Ordering::SeqCst);
        let queue = self.queue;
        match form {
            0 => queue.recv_many(&mut self.batch, max as usize).map(|_| self.take_batch()),
            1 => queue.try_recv_many(&mut self.batch, max as usize).map(|_| self.take_batch()),
            2 => {
                let received = queue.recv_into(&mut self.buffer)?;
                let data = self.buffer[..received.len].to_vec();
                self.take(&data, received.priority, Some(received.redelivered));
                Ok(())
            }
            TRY => queue.try_recv().map(|message| self.take_message(&message)),
            4 => queue.recv_timeout(short).map(|message| self.take_message(&message)),
            _ => queue.recv().map(|message| self.take_message(&message)),
        }
    }

    fn take_batch(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.at_risk.store(batch.len() as u32, Ordering::SeqCst);
        batch.iter().for_each(|(data, _)| self.mark(data));
        batch.iter().for_each(|(data, priority)| self.check(data, priority, None));
        self.batch = batch;
    }

    fn take_message(&mut self, message: &Message) {
        self.take(&message.data, message.priority, Some(message.redelivered));
    }

    fn take(&mut self, data: &[u8], priority: u16, redelivered: Option<u32>) {
        self.mark(data);
        self.check(data, priority, redelivered);
    }

    /// Marks a message as received, at once: a death before this looks like a lost message.
    fn mark(&self, data: &[u8]) {
        let id = data.first_chunk().map_or(u64::MAX, |id| u64::from_le_bytes(*id));
        self.messages.receive(id, self.at_risk);
    }

    /// Whole, as it was sent, and in its sender's order unless it had been in dead hands (what a batch does not tell).
    fn check(&mut self, data: &[u8], priority: u16, redelivered: Option<u32>) {
        let id = identify(data).unwrap_or_else(|| panic!("a torn message of {} bytes", data.len()));
        let (number, sender) = (id & NUMBER, id >> 32);
        assert_eq!((data.len(), priority), shape(number, self.longest), "message {number}");
        let last = self.last.entry((sender, priority)).or_insert(number);
        assert!(*last <= number || redelivered != Some(0), "{number} of sender {sender} came after {last}");
        *last = number.max(*last);
    }
}
