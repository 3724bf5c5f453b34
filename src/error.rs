//! What can go wrong. Setting up names the object, the step and the way out; the data plane has one small `Copy` enum a verb.
//!
//! A word from shared memory that makes no sense is `Corrupt`, never a panic: the peer that wrote it is at fault, not the
//! caller.

use crate::name::{Kind, Name, NameError};
use crate::stat::Attributes;
use std::io;
use std::path::PathBuf;

/// Why an object could not be created, opened or unlinked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The name breaks the rule of [`Name`].
    #[error("bad name: {0}")]
    Name(#[from] NameError),
    /// There is no such object.
    #[error("there is no {kind} {name} in {dir}; create it first", kind = .kind.word(), dir = .dir.display())]
    NotFound {
        /// The kind that was looked for.
        kind: Kind,
        /// The name that was looked for.
        name: Name,
        /// The directory that was looked in.
        dir: PathBuf,
    },
    /// [`create_new`](crate::QueueOptions::create_new) found an object of that name.
    #[error("{kind} {name} exists already; open it, unlink it, or take another name", kind = .kind.word())]
    Exists {
        /// The kind of object.
        kind: Kind,
        /// Its name.
        name: Name,
    },
    /// The object exists with other attributes than those asked for.
    #[error(
        "{name} exists with other attributes: it has {found}, you asked for {wanted}; ask for the same, for none, or for any_existing"
    )]
    Mismatch {
        /// The object's name.
        name: Name,
        /// What it has.
        found: Attributes,
        /// What was asked for.
        wanted: Attributes,
    },
    /// The semaphore exists with another number of permits than was asked for.
    #[error(
        "semaphore {name} has {found} permits, you asked for {wanted}; ask for the same, for none, or for any_existing, or change it with set_permits"
    )]
    PermitsMismatch {
        /// The semaphore's name, or that it has none.
        name: String,
        /// How many permits it has.
        found: u64,
        /// How many were asked for.
        wanted: u64,
    },
    /// An attribute is outside its range; nothing was created.
    #[error("{what} must be {low} to {high}, not {value}")]
    Attribute {
        /// Which attribute.
        what: &'static str,
        /// The smallest value allowed.
        low: u64,
        /// The largest value allowed.
        high: u64,
        /// The value asked for.
        value: u64,
    },
    /// The file is no object of this library: it is truncated, foreign, or damaged. It was not mapped.
    #[error("{path} is not a chappe {kind}: {reason}; it was left alone", kind = .kind.word(), path = .path.display())]
    NotAnObject {
        /// The kind that was looked for.
        kind: Kind,
        /// The file.
        path: PathBuf,
        /// What about it is wrong.
        reason: &'static str,
    },
    /// The file has another layout version than this library speaks.
    #[error("{path} has layout version {found}, this library speaks {ours}; use programs built with the same version, or unlink it", path = .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        ours: u32,
    },
    /// Every place in the attach table is taken by a living process.
    #[error("{name} has {max} participants already, the most that its layout has room for")]
    Full {
        /// The object's name, or what is known of it.
        name: String,
        /// The number of places.
        max: u32,
    },
    /// Shared words of the object make no sense, or the file was shortened.
    #[error(
        "{name} is corrupt: a process wrote words into it that make no sense, or shortened its file; unlink it and create it anew"
    )]
    Corrupt {
        /// The object's name, or what is known of it.
        name: String,
    },
    /// The operating system refused a step.
    #[error("cannot {step} {path}: {source}{hint}", path = .path.display(), hint = hint(.source))]
    System {
        /// What was being done.
        step: &'static str,
        /// The file it was done to.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// The way out for the system errors that people meet.
fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            "; its owner can grant access (mode), or CHAPPE_DIR can name a directory of your own"
        }
        Some(libc::ENOSPC) => "; free space there, or name another directory with CHAPPE_DIR",
        Some(libc::EMFILE) => "; raise the limit on open files (ulimit -n)",
        Some(libc::ENOENT) => "; create the directory first, or name another with CHAPPE_DIR",
        _ => "",
    }
}

impl OpenError {
    /// The system's answer, where there was one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            OpenError::System { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

/// Why a message was not sent. The message was not queued, wholly or in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The queue is full (`try_` forms).
    #[error("the queue is full")]
    Full,
    /// The queue stayed full until the deadline.
    #[error("the queue stayed full until the deadline")]
    TimedOut,
    /// A signal handler ran, or somebody [interrupted](crate::Interrupter) this thread
    /// ([`interruptible`](crate::QueueOptions::interruptible) handles only).
    #[error("the wait was interrupted")]
    Interrupted,
    /// The message is larger than the queue takes.
    #[error("the message has {length} bytes, this queue takes at most {max}")]
    TooLong {
        /// The message's length in bytes.
        length: u64,
        /// The queue's message size.
        max: u64,
    },
    /// The priority is above [`PRIORITY_MAX`](crate::PRIORITY_MAX).
    #[error("priority {0} is above 32767")]
    Priority(u16),
    /// A participant closed the queue.
    #[error("the queue was closed")]
    Closed,
    /// The queue was unlinked, or the creator of an ephemeral queue is gone.
    #[error("the queue was unlinked")]
    Unlinked,
    /// The file system that holds the queue has no room for this message.
    #[error("no space left where the queue is kept; the message was not sent")]
    NoSpace,
    /// The lock stayed with a live process that does not run: for half a second (`try_` forms), or past the deadline.
    #[error("a stopped process holds the lock")]
    Busy,
    /// A shared word makes no sense, or the file was shortened.
    #[error("the queue is corrupt: a shared word makes no sense, or its file was shortened")]
    Corrupt,
    /// After fork, or in a system call: the operating system refused, with this error number.
    #[error("system error {0}")]
    System(i32),
}

/// Why no message was received. Nothing was taken out of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The queue is empty (`try_` forms).
    #[error("the queue is empty")]
    Empty,
    /// The queue stayed empty until the deadline.
    #[error("the queue stayed empty until the deadline")]
    TimedOut,
    /// A signal handler ran, or somebody [interrupted](crate::Interrupter) this thread
    /// ([`interruptible`](crate::QueueOptions::interruptible) handles only).
    #[error("the wait was interrupted")]
    Interrupted,
    /// The next message does not fit the caller's buffer; it is still in the queue, in its place.
    #[error("the message has {needed} bytes, the buffer has {room}")]
    BufferTooSmall {
        /// The bytes that this message needs.
        needed: u64,
        /// The bytes that the buffer has.
        room: u64,
    },
    /// A participant closed the queue, and it is empty.
    #[error("the queue was closed")]
    Closed,
    /// The queue was unlinked (or the creator of an ephemeral queue is gone), and it is empty.
    #[error("the queue was unlinked")]
    Unlinked,
    /// The lock stayed with a live process that does not run: for half a second (`try_` forms), or past the deadline.
    #[error("a stopped process holds the lock")]
    Busy,
    /// A shared word makes no sense, or the file was shortened.
    #[error("the queue is corrupt: a shared word makes no sense, or its file was shortened")]
    Corrupt,
    /// After fork, or in a system call: the operating system refused, with this error number.
    #[error("system error {0}")]
    System(i32),
}

/// Why no permit was acquired. The semaphore is as it was, and this call has left its place in the queue of waiters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// Not enough permits are free, or others wait already (`try_` forms).
    #[error("no permit is free")]
    NoPermits,
    /// Its turn did not come until the deadline.
    #[error("no permit was free until the deadline")]
    TimedOut,
    /// More permits at once than the semaphore has: it could never be granted. Also given to one that waits when
    /// [`set_permits`](crate::Semaphore::set_permits) makes the semaphore too small for it.
    #[error("{asked} permits at once were asked for, the semaphore has {permits}; ask for fewer, or let it have more")]
    TooMany {
        /// How many were asked for.
        asked: u64,
        /// How many the semaphore has.
        permits: u64,
    },
    /// This wait could never end: all who could end it wait themselves
    /// ([`fail_on_deadlock`](crate::SemaphoreOptions::fail_on_deadlock)).
    #[error("deadlock: the permits are held by processes that wait themselves; release first what you hold")]
    Deadlock,
    /// A participant closed the semaphore.
    #[error("the semaphore was closed")]
    Closed,
    /// The semaphore was unlinked, or the creator of an ephemeral one is gone.
    #[error("the semaphore was unlinked")]
    Unlinked,
    /// So many permits are held or waited for, one by one, that there is no room to write down another.
    #[error("{max} permits are held or waited for already, as many as there is room to write down; take more at once")]
    Full {
        /// The number of records.
        max: u32,
    },
    /// The file system that holds the semaphore has no room to write down another holder or waiter.
    #[error("no space left where the semaphore is kept")]
    NoSpace,
    /// The lock stayed with a live process that does not run: for half a second (`try_` forms), or past the deadline.
    #[error("a stopped process holds the lock")]
    Busy,
    /// A shared word makes no sense, or the file was shortened.
    #[error("the semaphore is corrupt: a shared word makes no sense, or its file was shortened")]
    Corrupt,
    /// After fork, or in a system call: the operating system refused, with this error number.
    #[error("system error {0}")]
    System(i32),
}

/// Why an object could not be looked at or administered (`len`, `peek`, `stat`, `purge`, `close`, `set_permits`, ...).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The lock stayed with a live process that does not run, for half a second.
    #[error("a stopped process holds the lock")]
    Busy,
    /// A shared word makes no sense, or the file was shortened.
    #[error("the object is corrupt: a shared word makes no sense, or its file was shortened")]
    Corrupt,
    /// There is no room to write down another permit ([`split`](crate::Permit::split)), or the number is out of range.
    #[error("there is no room for it")]
    Full,
    /// After fork, or in a system call: the operating system refused, with this error number.
    #[error("system error {0}")]
    System(i32),
}

/// Why nobody will be told of the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// Somebody is to be told already: one at a time, whatever the process.
    #[error("a process is registered for notification already; there can be one at a time")]
    Registered,
    /// The lock stayed with a live process that does not run, for half a second.
    #[error("a stopped process holds the lock")]
    Busy,
    /// A shared word makes no sense, or the file was shortened.
    #[error("the queue is corrupt: a shared word makes no sense, or its file was shortened")]
    Corrupt,
    /// The operating system refused (no thread could be started, say), with this error number.
    #[error("system error {0}")]
    System(i32),
}

/// A batch that was not sent whole: the first `sent` messages are in the queue, the others are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error} (after {sent} messages of the batch were sent)")]
pub struct SendManyError {
    /// How many messages, counted from the first, were sent.
    pub sent: usize,
    /// Why the next one was not.
    #[source]
    pub error: SendError,
}
