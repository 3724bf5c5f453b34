//! `mq recv` and `mq peek`: how many messages, how long to wait for each, and printing them. Each message is out before
//! the next one is taken.

use super::any::{AnyQueue, not_received};
use super::open;
use crate::args::{Peek, Recv};
use crate::exit::{self, Failure, Told};
use crate::format::Format;
use crate::json::{self, MessageLine};
use crate::output::{Output, note};
use chappe::posix::MessageQueue;
use chappe::{Message, RecvError, posix as kernel};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Receives what the arguments say.
pub fn run(args: &Recv) -> Result<(), Failure> {
    let queue = AnyQueue::open(&args.name, MessageQueue::options().readonly())?;
    let mut output = Output::open()?;
    let hand = watch_reader(&output)?;
    let last = if args.follow || args.until_empty { u64::MAX } else { args.count.unwrap_or(1) };
    for received in 0..last {
        if output.reader_is_gone() {
            return Ok(());
        }
        let (message, held) = match receive(&queue, args, &hand) {
            Ok(received) => received,
            Err(error) => return end(args, &queue, error, received),
        };
        if let Err(error) = output.try_write(&record(&message, args)) {
            // Locked for good: how this ends is decided here, even if the reader is gone.
            std::mem::forget(held);
            return Err(put_back(&queue, &message, &Failure::stdout(&error)));
        }
    }
    Ok(())
}

/// Locked while a message is in hand.
struct Hand(Mutex<()>);

impl Hand {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message, and the lock that says that it is in hand.
type Held<'a> = (Message, MutexGuard<'a, ()>);

fn receive<'a>(queue: &AnyQueue, args: &Recv, hand: &'a Hand) -> Result<Held<'a>, RecvError> {
    let queue = match queue {
        AnyQueue::Own(queue) => queue,
        AnyQueue::Posix(queue, _) => return receive_posix(queue, args, hand),
    };
    let message = match args.timeout {
        Some(timeout) => queue.recv_timeout(timeout),
        None if args.nonblock || args.until_empty => queue.try_recv(),
        None => queue.recv(),
    }?;
    Ok((message, hand.lock()))
}

/// What ends inside a receive of the kernel's loses the message that was just taken, so nothing is taken but by a hand that is
/// locked, and the wait before it takes nothing.
fn receive_posix<'a>(queue: &MessageQueue, args: &Recv, hand: &'a Hand) -> Result<Held<'a>, RecvError> {
    // A timeout beyond the clock's range is one that never ends.
    let deadline = args.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let held = hand.lock();
        match queue.try_recv() {
            Ok(message) => return Ok((message, held)),
            Err(kernel::RecvError::Empty) => {}
            Err(error) => return Err(not_received(error)),
        }
        drop(held);
        if args.timeout.is_none() && (args.nonblock || args.until_empty) {
            return Err(RecvError::Empty);
        }
        if !wait_for_message(queue, deadline)? {
            return Err(RecvError::TimedOut);
        }
    }
}

/// Waits until there may be one; false when the time is over.
fn wait_for_message(queue: &MessageQueue, deadline: Option<Instant>) -> Result<bool, RecvError> {
    // As long as poll takes for sure.
    const LONGEST: Duration = Duration::from_secs(3600);
    let left = deadline.map_or(LONGEST, |deadline| deadline.saturating_duration_since(Instant::now()).min(LONGEST));
    if left.is_zero() {
        return Ok(false);
    }
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    match poll(&mut [PollFd::new(queue, PollFlags::IN)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(RecvError::System(error.raw_os_error())),
    }
}

/// No message came. Whether that is as asked for depends on what was asked for.
fn end(args: &Recv, queue: &AnyQueue, error: RecvError, received: u64) -> Result<(), Failure> {
    let empty = matches!(error, RecvError::Empty | RecvError::TimedOut);
    let over = matches!(error, RecvError::Closed | RecvError::Unlinked);
    if args.until_empty && (empty || over) {
        return Ok(());
    }
    if args.follow && over {
        note(&format!("{error}; that was all ({received} received)"));
        return Ok(());
    }
    Err(exit::recv(queue, error, received))
}

/// Ends the process when the reader of stdout goes away while we wait for a message, as `tail -f` does: the next message
/// is then left to others. What is locked while a message is in hand is returned: its fate is decided elsewhere.
fn watch_reader(output: &Output) -> Result<Arc<Hand>, Failure> {
    let hand = Arc::new(Hand(Mutex::new(())));
    if output.is_pipe() {
        let (output, hand) = (output.try_clone()?, Arc::clone(&hand));
        std::thread::spawn(move || leave_with_reader(&output, &hand));
    }
    Ok(hand)
}

fn leave_with_reader(output: &Output, hand: &Hand) {
    output.wait_for_reader_to_go();
    let _empty = hand.lock();
    // Ending inside a receive is what the library is made for: a message not yet handed over stays in the queue.
    std::process::exit(0);
}

/// A message that could not be written is not lost, and the failure says where it is.
fn put_back(queue: &AnyQueue, message: &Message, why: &Failure) -> Failure {
    let what = format!(
        "a message of {} bytes and priority {} could not be written to stdout",
        message.data.len(),
        message.priority
    );
    let cause = if why.text.is_empty() { String::new() } else { format!(" ({})", why.text) };
    match queue.put_back(message) {
        Ok(()) => Failure::new(
            why.code,
            format!("{what}{cause}; it is back in {}, behind those of its priority", queue.name()),
        ),
        Err(error) => Failure::new(exit::SYSTEM, format!("{what}{cause}, nor put back: {error}; it is lost")),
    }
}

fn record(message: &Message, args: &Recv) -> Vec<u8> {
    if args.json { json::line(&MessageLine::new(message)) } else { text(message, args.format.as_ref(), args.null) }
}

/// The message as text: in its format if there is one, and with its end.
fn text(message: &Message, format: Option<&Format>, null: bool) -> Vec<u8> {
    let mut record = format.map_or_else(|| message.data.clone(), |format| format.fill(message));
    match (format, null) {
        (_, true) => record.push(0),
        (None, false) => record.push(b'\n'),
        (Some(_), false) => {}
    }
    record
}

/// Shows the next messages.
pub fn peek(args: &Peek) -> Result<(), Failure> {
    let queue = open(&args.name)?;
    let messages = queue.peek(args.count as usize).map_err(|error| exit::access(&queue, error))?;
    let mut output = Output::open()?;
    for message in &messages {
        let line = if args.json { json::line(&MessageLine::new(message)) } else { text(message, None, false) };
        output.write(&line)?;
    }
    if messages.is_empty() { Err(Failure::new(exit::NO, format!("{} is empty", queue.name()))) } else { Ok(()) }
}
