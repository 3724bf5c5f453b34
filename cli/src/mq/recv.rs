//! `mq recv` and `mq peek`: how many messages, how long to wait for each, and printing them. Each message is out before
//! the next one is taken.

use super::open;
use crate::args::{Peek, Recv};
use crate::exit::{self, Failure};
use crate::format::Format;
use crate::json::{self, MessageLine};
use crate::output::{Output, note};
use chappe::{Message, Queue, RecvError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Receives what the arguments say.
pub fn run(args: &Recv) -> Result<(), Failure> {
    let queue = open(&args.name)?;
    let mut output = Output::open()?;
    let holding = watch_reader(&output)?;
    let last = if args.follow || args.until_empty { u64::MAX } else { args.count.unwrap_or(1) };
    for received in 0..last {
        if output.reader_is_gone() {
            return Ok(());
        }
        let message = match receive(&queue, args) {
            Ok(message) => message,
            Err(error) => return end(args, &queue, error, received),
        };
        holding.store(true, Ordering::SeqCst);
        output
            .try_write(&record(&message, args))
            .map_err(|error| put_back(&queue, &message, &Failure::stdout(&error)))?;
        holding.store(false, Ordering::SeqCst);
    }
    Ok(())
}

fn receive(queue: &Queue, args: &Recv) -> Result<Message, RecvError> {
    match args.timeout {
        Some(timeout) => queue.recv_timeout(timeout),
        None if args.nonblock || args.until_empty => queue.try_recv(),
        None => queue.recv(),
    }
}

/// No message came. Whether that is as asked for depends on what was asked for.
fn end(args: &Recv, queue: &Queue, error: RecvError, received: u64) -> Result<(), Failure> {
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
/// is then left to others. What is set to true while a message is in hand is returned: its fate is decided elsewhere.
fn watch_reader(output: &Output) -> Result<Arc<AtomicBool>, Failure> {
    let holding = Arc::new(AtomicBool::new(false));
    if output.is_pipe() {
        let (output, holding) = (output.try_clone()?, Arc::clone(&holding));
        std::thread::spawn(move || leave_with_reader(&output, &holding));
    }
    Ok(holding)
}

fn leave_with_reader(output: &Output, holding: &AtomicBool) {
    output.wait_for_reader_to_go();
    while holding.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Ending inside a receive is what the library is made for: a message not yet handed over stays in the queue.
    std::process::exit(0);
}

/// A message that could not be written is not lost, and the failure says where it is.
fn put_back(queue: &Queue, message: &Message, why: &Failure) -> Failure {
    let what = format!(
        "a message of {} bytes and priority {} could not be written to stdout",
        message.data.len(),
        message.priority
    );
    let cause = if why.text.is_empty() { String::new() } else { format!(" ({})", why.text) };
    match queue.try_send(&message.data, message.priority) {
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
