//! The verbs on queues of the kernel's, `posix:NAME`, where they are not as for ours: for scripts beside programs that call
//! `mq_open`.

use crate::args::{Create, Purge};
use crate::exit::{self, Failure};
use crate::json::{self, posix::QueueLine};
use crate::output::{Output, note};
use crate::page::line;
use crate::values::{AnyName, OctalMode, size_text};
use chappe::Name;
use chappe::posix::{MessageQueue, MessageQueueError, MessageQueueOptions, MessageQueueStat};

/// How often a queue may come or go between our looking and our acting before we say that somebody plays with us.
const TRIES: usize = 100;

/// Opens one.
pub fn open(name: &Name, options: &MessageQueueOptions) -> Result<MessageQueue, Failure> {
    options.open(name.as_bytes()).map_err(|error| exit::posix::queue(&text(name), &error))
}

fn text(name: &Name) -> String {
    AnyName::Posix(name.clone()).text()
}

fn system(name: &Name, error: &std::io::Error) -> Failure {
    Failure::new(exit::SYSTEM, format!("{} cannot be looked at: {error}", text(name)))
}

/// Creates one, or finds one that is as asked for.
pub fn create(args: &Create, name: &Name) -> Result<(), Failure> {
    let mut options = MessageQueue::options();
    args.capacity.map(|messages| options.capacity(messages));
    args.message_size.map(|bytes| options.message_size(bytes));
    args.mode.map(|OctalMode(bits)| options.mode(bits));
    let failed = |error| exit::posix::create(&text(name), &error);
    if !args.exist_ok {
        return options.create_new(name.as_bytes()).map(drop).map_err(failed);
    }
    for _ in 0..TRIES {
        match options.create_new(name.as_bytes()) {
            Ok(queue) => return say("created", name, &queue),
            Err(MessageQueueError::Exists { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
        match look(name) {
            Ok(queue) => return existing(args, name, &queue),
            Err(Failure { code: exit::UNAVAILABLE, .. }) => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::new(exit::CANNOT_CREATE, format!("queue {} keeps coming and going", text(name))))
}

/// What was asked for is compared; what was not may be anything.
fn existing(args: &Create, name: &Name, queue: &MessageQueue) -> Result<(), Failure> {
    let mode = OctalMode(queue.stat().map_err(|error| system(name, &error))?.mode);
    let wanted = [
        args.capacity.map(|messages| ("capacity", queue.capacity().to_string(), messages.to_string())),
        args.message_size.map(|bytes| ("message size", size_text(queue.message_size()), size_text(bytes))),
        args.mode.map(|wanted| ("mode", mode.to_string(), wanted.to_string())),
    ];
    match wanted.into_iter().flatten().find(|(_, found, wanted)| found != wanted) {
        Some((what, found, wanted)) => Err(exit::posix::mismatch(&text(name), what, &found, &wanted)),
        None => say("exists", name, queue),
    }
}

fn say(what: &str, name: &Name, queue: &MessageQueue) -> Result<(), Failure> {
    let (capacity, size) = (queue.capacity(), size_text(queue.message_size()));
    note(&format!("queue {} {what}: capacity {capacity} and message size {size}", text(name)));
    Ok(())
}

/// One that is there, by whatever permission we have.
fn look(name: &Name) -> Result<MessageQueue, Failure> {
    let by = |options: &mut MessageQueueOptions| options.nonblocking(true).open(name.as_bytes());
    let opened = match by(MessageQueue::options().readonly()) {
        Err(MessageQueueError::Permission { .. }) => by(MessageQueue::options().writeonly()),
        other => other,
    };
    opened.map_err(|error| exit::posix::queue(&text(name), &error))
}

/// Shows all there is to know.
pub fn stat(name: &Name, json: bool) -> Result<(), Failure> {
    let stat = look(name)?.stat().map_err(|error| system(name, &error))?;
    let text = if json { json::line(&QueueLine::new(name, &stat)) } else { page(name, &stat).into_bytes() };
    Output::open()?.write(&text)
}

fn page(name: &Name, stat: &MessageQueueStat) -> String {
    let attributes = stat.attributes;
    let unseen = || "not known: it takes permission to receive".to_owned();
    let notified = match (stat.bytes, stat.registered) {
        (None, _) => unseen(),
        (_, None) => "nobody".to_owned(),
        (_, Some(pid)) => format!("pid {pid}, when a message comes into the empty queue"),
    };
    [
        line("name", text(name)),
        line("depth", format!("{} of {}", attributes.len, attributes.capacity)),
        line("message size", size_text(attributes.message_size)),
        line("bytes", stat.bytes.map_or_else(unseen, |bytes| bytes.to_string())),
        line("mode", OctalMode(stat.mode)),
        line("owner", format!("uid {}", stat.uid)),
        line("notified", notified),
        line("participants", "not known: the kernel does not tell who has it open"),
    ]
    .concat()
}

/// Takes out what is there, message by message: the kernel has no other way.
pub fn purge(args: &Purge, name: &Name) -> Result<(), Failure> {
    let mut output = Output::open()?;
    if args.dry_run {
        let count = look(name)?.len().map_err(|error| system(name, &error))?;
        return output.write(format!("would purge {count}\n").as_bytes());
    }
    let purged = open(name, MessageQueue::options().readonly().nonblocking(true))?.purge();
    let count =
        purged.map_err(|error| Failure::new(exit::SYSTEM, format!("{} cannot be purged: {error}", text(name))))?;
    note(&format!("{} was received empty, one message after the other: the kernel has no other way", text(name)));
    output.write(format!("purged {count}\n").as_bytes())
}

/// Removes the name.
pub fn unlink(name: &Name) -> Result<(), Failure> {
    MessageQueue::unlink(name.as_bytes()).map_err(|error| exit::posix::queue(&text(name), &error))
}
