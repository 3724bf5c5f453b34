//! Errors: which exit code each has, and the text that says what happened, the limit that bit, and what to do. The table
//! for users is in the help, see [`args`](crate::args). What concerns semaphores is in [`sem`], the kernel's queues in [`posix`].

pub mod posix;
pub mod sem;

use crate::output::note;
use crate::values::size_text;
use chappe::{AccessError, Attributes, Kind, Name, OpenError, Queue, RecvError, SendError};
use std::fmt::Display;
use std::io;
use std::process::ExitCode;

/// The answer is no.
pub const NO: u8 = 1;
/// A value that makes no sense; what clap uses too.
pub const USAGE: u8 = 2;
/// The message does not fit.
pub const DATA: u8 = 65;
/// The input file cannot be read.
pub const INPUT: u8 = 66;
/// No such queue (any more).
pub const UNAVAILABLE: u8 = 69;
/// The object is damaged, foreign, or of another version.
pub const DAMAGED: u8 = 70;
/// The operating system refused.
pub const SYSTEM: u8 = 71;
/// Cannot create.
pub const CANNOT_CREATE: u8 = 73;
/// Try again later.
pub const TRY_AGAIN: u8 = 75;
/// No permission.
pub const PERMISSION: u8 = 77;
/// It exists with other attributes.
pub const MISMATCH: u8 = 78;
/// Waited as long as was allowed.
pub const TIMED_OUT: u8 = 124;
/// `sem run` failed before the command could be run; this one and the next two are those of env(1).
pub const BEFORE_COMMAND: u8 = 125;
/// The command cannot be run.
pub const NOT_EXECUTABLE: u8 = 126;
/// There is no such command.
pub const NO_COMMAND: u8 = 127;

/// What the texts tell of a queue.
pub trait Told {
    /// Its name, as people can type it.
    fn name(&self) -> String;
    /// How many messages fit.
    fn capacity(&self) -> usize;
}

impl Told for Queue {
    fn name(&self) -> String {
        self.name().to_string()
    }

    fn capacity(&self) -> usize {
        self.capacity()
    }
}

/// Why a verb ends early: an exit code, and a text for people unless it is empty.
#[derive(Debug)]
pub struct Failure {
    /// The exit code; 0 when ending early is no error.
    pub code: u8,
    /// What happened and what to do.
    pub text: String,
}

impl Failure {
    /// With this code and text.
    pub fn new(code: u8, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into() }
    }

    /// Writing to stdout failed. That nobody reads it any more is no error.
    pub fn stdout(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(0, ""),
            _ => Failure::new(SYSTEM, format!("cannot write to stdout: {error}")),
        }
    }

    /// A step of ours, not of a queue, that the operating system refused.
    pub fn system(step: impl Display, error: &io::Error) -> Failure {
        Failure::new(SYSTEM, format!("cannot {step}: {error}"))
    }
}

/// Says what there is to say on stderr, and gives the exit code.
pub fn report(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    if !failure.text.is_empty() {
        note(&failure.text);
    }
    ExitCode::from(failure.code)
}

/// An object could not be opened, removed or listed.
pub fn open(error: &OpenError) -> Failure {
    let text = match error {
        OpenError::NotFound { kind, name, dir, .. } => {
            let (kind, dir, create) = (kind.word(), dir.display(), create_command(*kind, name));
            format!("there is no {kind} {name} in {dir}; `{create}` makes one, `chappe ls` shows what there is")
        }
        other => other.to_string(),
    };
    Failure::new(open_code(error), text)
}

fn create_command(kind: Kind, name: &Name) -> String {
    match kind {
        Kind::Semaphore => format!("chappe sem create {name} -n PERMITS"),
        _ => format!("chappe mq create {name}"),
    }
}

/// The verbs on this kind.
fn group(kind: Kind) -> &'static str {
    match kind {
        Kind::Semaphore => "sem",
        _ => "mq",
    }
}

fn open_code(error: &OpenError) -> u8 {
    match error {
        OpenError::Name(_) | OpenError::Attribute { .. } => USAGE,
        OpenError::NotFound { .. } => UNAVAILABLE,
        OpenError::Exists { .. } => CANNOT_CREATE,
        OpenError::Mismatch { .. } | OpenError::PermitsMismatch { .. } => MISMATCH,
        OpenError::NotAnObject { .. } | OpenError::Version { .. } | OpenError::Corrupt { .. } => DAMAGED,
        OpenError::Full { .. } => TRY_AGAIN,
        _ if error.io_kind() == Some(io::ErrorKind::PermissionDenied) => PERMISSION,
        _ => SYSTEM,
    }
}

/// An object could not be created.
pub fn create(error: &OpenError) -> Failure {
    match error {
        OpenError::Exists { kind, name, .. } => Failure::new(
            CANNOT_CREATE,
            format!(
                "{} {name} exists already; --exist-ok takes it as it is, `chappe {} rm {name}` removes it",
                kind.word(),
                group(*kind)
            ),
        ),
        OpenError::Mismatch { name, found, wanted } => {
            mismatch(Kind::Queue, name, &attributes(found), &attributes(wanted))
        }
        other => {
            let Failure { code, text } = open(other);
            Failure { code: if code == SYSTEM { CANNOT_CREATE } else { code }, text }
        }
    }
}

/// An object exists with other attributes than those asked for.
pub fn mismatch(kind: Kind, name: &Name, found: &str, wanted: &str) -> Failure {
    let (word, group) = (kind.word(), group(kind));
    let way_out = format!("ask for the same or for none, or remove it with `chappe {group} rm {name}`");
    Failure::new(MISMATCH, format!("{word} {name} exists with {found}, you asked for {wanted}; {way_out}"))
}

/// Attributes in the words of the options that set them.
pub fn attributes(attributes: &Attributes) -> String {
    format!("capacity {} and message size {}", attributes.capacity, size_text(attributes.message_size))
}

/// A message was not sent. `sent` is how many were before it.
pub fn send(queue: &impl Told, error: SendError, sent: u64) -> Failure {
    let (code, text) = match error {
        SendError::Full => (
            TRY_AGAIN,
            format!("is full ({} messages); receive some, or wait by leaving --nonblock out", queue.capacity()),
        ),
        SendError::TimedOut => (
            TIMED_OUT,
            format!("stayed full ({} messages) as long as -t allows; receive some, or allow longer", queue.capacity()),
        ),
        SendError::TooLong { length, max } => return too_long(queue, &format!("has {length}"), max, sent),
        SendError::Closed | SendError::Unlinked => (UNAVAILABLE, format!("takes no more: {error} by a participant")),
        SendError::NoSpace => (SYSTEM, format!("took nothing: {error}; free space there, or receive some")),
        SendError::Busy => busy(),
        SendError::Corrupt => corrupt(&queue.name()),
        other => (SYSTEM, format!("took nothing: {other}")),
    };
    Failure::new(code, format!("{} {text}{}", queue.name(), so_far(sent, "sent")))
}

/// A message is larger than the queue takes; `has` says how large, as far as is known.
pub fn too_long(queue: &impl Told, has: &str, max: u64, sent: u64) -> Failure {
    let name = queue.name();
    let text = format!(
        "the message {has} bytes, {name} takes at most {max}; create a queue with a larger --message-size{}",
        so_far(sent, "sent")
    );
    Failure::new(DATA, text)
}

/// No message was received. `received` is how many were before.
pub fn recv(queue: &impl Told, error: RecvError, received: u64) -> Failure {
    let (code, text) = match error {
        RecvError::Empty => (NO, "is empty".to_owned()),
        RecvError::TimedOut => (TIMED_OUT, "stayed empty as long as -t allows".to_owned()),
        RecvError::Closed | RecvError::Unlinked => {
            (UNAVAILABLE, format!("has nothing more to give: {error} by a participant"))
        }
        RecvError::Busy => busy(),
        RecvError::Corrupt => corrupt(&queue.name()),
        other => (SYSTEM, format!("gave nothing: {other}")),
    };
    Failure::new(code, format!("{} {text}{}", queue.name(), so_far(received, "received")))
}

/// A queue could not be looked at or purged.
pub fn access(queue: &Queue, error: AccessError) -> Failure {
    let (code, text) = match error {
        AccessError::Busy => busy(),
        AccessError::Corrupt => corrupt(&queue.name().to_string()),
        other => (SYSTEM, format!("cannot be looked at: {other}")),
    };
    Failure::new(code, format!("{} {text}", queue.name()))
}

fn busy() -> (u8, String) {
    (TRY_AGAIN, "is held by a stopped process; let it run (`fg`, `kill -CONT`) or kill it".to_owned())
}

fn corrupt(name: &str) -> (u8, String) {
    (
        DAMAGED,
        format!(
            "is corrupt: a process wrote words into it that make no sense; `chappe mq rm {name}` and create it anew"
        ),
    )
}

fn so_far(messages: u64, verb: &str) -> String {
    if messages == 0 { String::new() } else { format!(" ({messages} {verb} before)") }
}
