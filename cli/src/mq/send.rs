//! `mq send`: one message from the command line or a whole input, or a message a record as the records come in. A message
//! too large for the queue is not read to its end.

use super::any::AnyQueue;
use crate::args::Send;
use crate::exit::{self, Failure};
use crate::output::note;
use chappe::SendError;
use chappe::posix::MessageQueue;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

/// Sends what the arguments say.
pub fn run(args: &Send) -> Result<(), Failure> {
    let queue = AnyQueue::open(&args.name, MessageQueue::options().writeonly())?;
    let mut sender = Sender::new(args, queue);
    if let Some(message) = &args.message {
        return sender.send(message.as_bytes());
    }
    let mut input = input(args.file.as_deref())?;
    match (args.lines, args.null) {
        (true, _) => sender.send_records(&mut input, b'\n'),
        (_, true) => sender.send_records(&mut input, 0),
        _ => sender.send_whole(&mut input),
    }
}

/// stdin, or a file. The buffer hands on what there is: a record goes out when its end is in.
fn input(path: Option<&Path>) -> Result<Box<dyn BufRead>, Failure> {
    match path {
        Some(path) if path != Path::new("-") => {
            let file = File::open(path).map_err(|error| unreadable(&path.display().to_string(), &error))?;
            Ok(Box::new(BufReader::new(file)))
        }
        _ => {
            if io::stdin().is_terminal() {
                note("reading from the terminal; Ctrl-D ends it");
            }
            Ok(Box::new(io::stdin().lock()))
        }
    }
}

fn unreadable(what: &str, error: &io::Error) -> Failure {
    Failure::new(exit::INPUT, format!("cannot read {what}: {error}"))
}

/// How long a send may wait.
enum Wait {
    No,
    Until(Instant),
    Forever,
}

struct Sender {
    queue: AnyQueue,
    priority: u16,
    wait: Wait,
    sent: u64,
}

impl Sender {
    fn new(args: &Send, queue: AnyQueue) -> Sender {
        // A timeout beyond the clock's range is one that never ends.
        let deadline = args.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let wait = match deadline {
            _ if args.nonblock => Wait::No,
            Some(deadline) => Wait::Until(deadline),
            None => Wait::Forever,
        };
        Sender { queue, priority: args.priority, wait, sent: 0 }
    }

    fn send(&mut self, message: &[u8]) -> Result<(), Failure> {
        self.try_send(message).map_err(|error| exit::send(&self.queue, error, self.sent))?;
        self.sent += 1;
        Ok(())
    }

    fn try_send(&self, message: &[u8]) -> Result<(), SendError> {
        match self.wait {
            Wait::No => self.queue.try_send(message, self.priority),
            Wait::Until(deadline) => self.queue.send_deadline(message, self.priority, deadline),
            Wait::Forever => self.queue.send(message, self.priority),
        }
    }

    fn send_whole(&mut self, input: &mut dyn BufRead) -> Result<(), Failure> {
        let max = self.queue.message_size();
        let mut message = Vec::new();
        input.take(max + 1).read_to_end(&mut message).map_err(|error| unreadable("the input", &error))?;
        self.refuse_longer(message.len(), max)?;
        self.send(&message)
    }

    /// A last record without its end is a record too.
    fn send_records(&mut self, input: &mut dyn BufRead, end: u8) -> Result<(), Failure> {
        let max = self.queue.message_size();
        let mut record = Vec::new();
        loop {
            record.clear();
            let read =
                input.take(max + 1).read_until(end, &mut record).map_err(|error| unreadable("the input", &error))?;
            if read == 0 {
                return Ok(());
            }
            if record.last() == Some(&end) {
                record.pop();
            }
            self.refuse_longer(record.len(), max)?;
            self.send(&record)?;
        }
    }

    /// What is longer than `max` was read just far enough to know it.
    fn refuse_longer(&self, read: usize, max: u64) -> Result<(), Failure> {
        match read as u64 > max {
            true => Err(exit::too_long(&self.queue, &format!("has more than {max}"), max, self.sent)),
            false => Ok(()),
        }
    }
}
