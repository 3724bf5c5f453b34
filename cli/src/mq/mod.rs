//! `chappe mq`: the verbs on queues. Purging and removing are here; the others have a file each. What is different with the kernel's
//! queues is in `posix`.

pub mod any;
mod create;
mod posix;
mod recv;
mod send;
mod stat;

use crate::args::{Mq, Purge, Rm};
use crate::exit::{self, Failure};
use crate::output::Output;
use crate::rm;
use crate::values::AnyName;
use chappe::{Name, Queue};

/// Runs a verb.
pub fn run(verb: Mq) -> Result<(), Failure> {
    match verb {
        Mq::Create(args) => create::run(&args),
        Mq::Send(args) => send::run(&args),
        Mq::Recv(args) => recv::run(&args),
        Mq::Peek(args) => recv::peek(&args),
        Mq::Stat(args) => stat::run(&args),
        Mq::Purge(args) => purge(&args),
        Mq::Rm(args) => rm(&args),
    }
}

/// An existing queue, whatever its attributes.
fn open(name: &Name) -> Result<Queue, Failure> {
    Queue::open(name.as_bytes()).map_err(|error| exit::open(&error))
}

fn purge(args: &Purge) -> Result<(), Failure> {
    let name = match &args.name {
        AnyName::Own(name) => name,
        AnyName::Posix(name) => return posix::purge(args, name),
    };
    let queue = open(name)?;
    let (done, count) = if args.dry_run { ("would purge", queue.len()) } else { ("purged", queue.purge()) };
    let count = count.map_err(|error| exit::access(&queue, error))?;
    Output::open()?.write(format!("{done} {count}\n").as_bytes())
}

fn rm(args: &Rm) -> Result<(), Failure> {
    rm::all(&args.names, AnyName::text, |name| match name {
        AnyName::Own(name) => Queue::unlink(name.as_bytes()).map_err(|error| exit::open(&error)),
        AnyName::Posix(name) => posix::unlink(name),
    })
}
