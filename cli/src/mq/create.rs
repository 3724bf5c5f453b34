//! `mq create`: makes a queue, or finds one that is as asked for. It says which of the two on stderr.

use super::posix;
use crate::args::Create;
use crate::exit::{self, Failure};
use crate::output::note;
use crate::values::{AnyName, OctalMode};
use chappe::{Kind, Name, OpenError, Queue, QueueOptions};

/// How often a queue may come or go between our looking and our acting before we say that somebody plays with us.
const TRIES: usize = 100;

/// Creates the queue.
pub fn run(args: &Create) -> Result<(), Failure> {
    match &args.name {
        AnyName::Own(name) => own(args, name),
        AnyName::Posix(name) => posix::create(args, name),
    }
}

fn own(args: &Create, name: &Name) -> Result<(), Failure> {
    let options = options(args);
    if !args.exist_ok {
        return options.create_new(name.as_bytes()).map(drop).map_err(|error| exit::create(&error));
    }
    for _ in 0..TRIES {
        match options.create_new(name.as_bytes()) {
            Ok(queue) => return say("created", &queue),
            Err(OpenError::Exists { .. }) => {}
            Err(error) => return Err(exit::create(&error)),
        }
        match options.open(name.as_bytes()) {
            Ok(queue) => return existing(args, &queue),
            Err(OpenError::NotFound { .. }) => {}
            Err(error) => return Err(exit::create(&error)),
        }
    }
    Err(Failure::new(exit::CANNOT_CREATE, format!("queue {name} keeps coming and going")))
}

fn options(args: &Create) -> QueueOptions {
    let mut options = QueueOptions::new();
    args.capacity.map(|messages| options.capacity(messages));
    args.message_size.map(|bytes| options.message_size(bytes));
    args.mode.map(|OctalMode(bits)| options.mode(bits));
    options
}

/// The library compared what it keeps as attributes; the mode is the file's, and we compare it.
fn existing(args: &Create, queue: &Queue) -> Result<(), Failure> {
    let mode = OctalMode(queue.stat().map_err(|error| exit::access(queue, error))?.mode);
    match args.mode {
        Some(wanted) if wanted != mode => {
            Err(exit::mismatch(Kind::Queue, queue.name(), &format!("mode {mode}"), &format!("mode {wanted}")))
        }
        _ => say("exists", queue),
    }
}

fn say(what: &str, queue: &Queue) -> Result<(), Failure> {
    note(&format!("queue {} {what}: {}", queue.name(), exit::attributes(&queue.attributes())));
    Ok(())
}
