//! What can go wrong with the kernel's queues. The kernel folds many reasons into few error numbers; here each has a variant with
//! the limit that bit, its value, and the way out.

use crate::name::{Name, NameError};
use std::io;

/// Why a message queue could not be created, opened, taken over or unlinked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageQueueError {
    /// The name breaks the rule of [`Name`].
    #[error("bad name: {0}")]
    Name(#[from] NameError),
    /// There is no queue of that name in this IPC namespace.
    #[error("there is no POSIX queue {name} (in this IPC namespace: containers have their own); create it first")]
    NotFound {
        /// The name that was looked for.
        name: Name,
    },
    /// [`create_new`](crate::posix::MessageQueue::create_new) found one of that name.
    #[error("POSIX queue {name} exists already; open it, unlink it, or take another name")]
    Exists {
        /// Its name.
        name: Name,
    },
    /// The capacity is zero, or larger than `msg_max` (the kernel says EINVAL).
    #[error("a POSIX queue can be created for 1 to {max} messages here, not {capacity}: {}", capacity_way_out(*.capacity, *.max))]
    Capacity {
        /// The capacity asked for.
        capacity: u64,
        /// The most that this process can have.
        max: u64,
    },
    /// The message size is zero, or larger than `msgsize_max` (the kernel says EINVAL).
    #[error("a POSIX queue can be created for messages of 1 to {max} bytes here, not {message_size}: {}", size_way_out(*.message_size, *.max))]
    MessageSize {
        /// The message size asked for, in bytes.
        message_size: u64,
        /// The most that this process can have, in bytes.
        max: u64,
    },
    /// RLIMIT_MSGQUEUE does not leave room for a queue of this size (the kernel says EMFILE, as for too many open files).
    #[error("the queue needs {needed} bytes of RLIMIT_MSGQUEUE, {}", bytes_way_out(*.needed, *.limit))]
    Bytes {
        /// What a queue of this capacity and message size is charged, whatever is in it, in bytes.
        needed: u64,
        /// What all queues that this user's processes created may be charged together, as it is for this process, in bytes.
        limit: u64,
    },
    /// There are as many queues as `queues_max` allows (the kernel says ENOSPC, as for a full disk).
    #[error(
        "there are {max} POSIX queues in this IPC namespace, as many as queues_max allows; unlink some (those of programs that are gone stay), or `chappe limits --set queues_max={}`",
        .max.saturating_mul(2)
    )]
    Queues {
        /// The value of `queues_max`.
        max: u64,
    },
    /// This process has as many descriptors as RLIMIT_NOFILE allows (EMFILE, too).
    #[error(
        "this process has as many open files as RLIMIT_NOFILE allows ({limit}); close some, or raise it (ulimit -n)"
    )]
    Descriptors {
        /// The value of RLIMIT_NOFILE.
        limit: u64,
    },
    /// The kernel has no message queues, or a sandbox keeps them away (ENOSYS).
    #[error(
        "this kernel has no POSIX queues (built without CONFIG_POSIX_MQUEUE, or a sandbox without them); chappe::Queue needs none"
    )]
    Unsupported,
    /// The system does not allow it.
    #[error("may not {step} POSIX queue {name}: {source}; {way_out}")]
    Permission {
        /// What was being done.
        step: &'static str,
        /// The queue.
        name: Name,
        /// What can be done about it.
        way_out: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The descriptor is not that of a message queue.
    #[error("descriptor {descriptor} is not that of a POSIX queue")]
    NotAQueue {
        /// Its number.
        descriptor: i32,
    },
    /// The operating system refused for another reason.
    #[error("cannot {step} {object}: {source}{hint}", hint = hint(.source))]
    System {
        /// What was being done.
        step: &'static str,
        /// What it was done to.
        object: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// Whether the ceiling is the kernel's own, which no privilege lifts.
fn capacity_way_out(capacity: u64, max: u64) -> String {
    match capacity {
        0 => "ask for at least one".into(),
        _ if capacity > crate::sys::limits::CAPACITY_CEILING => too_large("65536 messages"),
        _ => raise("msg_max", max, capacity),
    }
}

fn size_way_out(size: u64, max: u64) -> String {
    match size {
        0 => "ask for at least one".into(),
        _ if size > crate::sys::limits::MESSAGE_SIZE_CEILING => too_large("16 MiB"),
        _ => raise("msgsize_max", max, size),
    }
}

fn too_large(ceiling: &str) -> String {
    format!("no privilege lifts the kernel above {ceiling}; a chappe::Queue takes it")
}

fn raise(setting: &str, now: u64, wanted: u64) -> String {
    format!(
        "{setting} is {now}; `chappe limits --set {setting}={wanted}` raises it, as root; a chappe::Queue takes it as it is"
    )
}

fn bytes_way_out(needed: u64, limit: u64) -> String {
    let raise = "raise it (ulimit -q, LimitMSGQUEUE= of systemd, /etc/security/limits.conf)";
    match needed > limit {
        true => format!("which is {limit}; ask for fewer or smaller messages, or {raise}"),
        false => format!(
            "which is {limit} for all queues of this user together, and what is left is less; unlink some (`chappe limits` shows how much is used), or {raise}"
        ),
    }
}

/// The way out for the other system errors that people meet.
fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::ENFILE) => "; the whole system has too many open files (fs.file-max)",
        Some(libc::EMFILE) => "; raise the limit on open files (ulimit -n)",
        _ => "",
    }
}

impl MessageQueueError {
    /// The system's answer, where there was one that is not told apart further.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            MessageQueueError::System { source, .. } | MessageQueueError::Permission { source, .. } => {
                Some(source.kind())
            }
            _ => None,
        }
    }
}

/// Why a message was not sent to a POSIX queue. The queue is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The queue is full (`try_` forms, and all forms of a non-blocking descriptor).
    #[error("the queue is full")]
    Full,
    /// The queue stayed full until the time was over.
    #[error("the queue stayed full until the time was over")]
    TimedOut,
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
    /// The queue was opened for receiving only.
    #[error("the queue was opened for receiving only")]
    ReadOnly,
    /// The operating system refused, with this error number.
    #[error("system error {0}")]
    System(i32),
}

/// Why no message was received from a POSIX queue. The queue is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The queue is empty (`try_` forms, and all forms of a non-blocking descriptor).
    #[error("the queue is empty")]
    Empty,
    /// The queue stayed empty until the time was over.
    #[error("the queue stayed empty until the time was over")]
    TimedOut,
    /// The caller's buffer cannot hold the largest message of the queue. Nobody can know beforehand how large the next message is,
    /// so nothing was taken.
    #[error("a message of this queue may have {needed} bytes, the buffer has {room}")]
    BufferTooSmall {
        /// The bytes that a message may have.
        needed: u64,
        /// The bytes that the buffer has.
        room: u64,
    },
    /// The queue was opened for sending only.
    #[error("the queue was opened for sending only")]
    WriteOnly,
    /// The operating system refused, with this error number.
    #[error("system error {0}")]
    System(i32),
}

/// Why nobody will be notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// A process is registered already, perhaps this one: a queue notifies one.
    #[error("a process is registered already; a queue notifies one at a time")]
    Busy,
    /// The kernel has no netlink sockets, or a sandbox keeps them away; the notification comes through one. The number is the
    /// system's answer.
    #[error(
        "no netlink socket can be had (system error {0}), through which the kernel notifies; allow the address family AF_NETLINK, or poll the descriptor"
    )]
    NoSocket(i32),
    /// The operating system refused, with this error number.
    #[error("system error {0}")]
    System(i32),
}
