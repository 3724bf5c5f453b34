//! Why a limit was not set.

use crate::posix::limits::LimitKind;
use std::io;

/// Why a limit was not set. It is what it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The value is outside of what the kernel takes.
    #[error("{kind} can be {min} to {max}, not {value}")]
    Range {
        /// Which limit.
        kind: LimitKind,
        /// The value asked for.
        value: u64,
        /// The smallest that the kernel takes.
        min: u64,
        /// The largest that the kernel takes.
        max: u64,
    },
    /// This process may not.
    #[error("may not set {kind}: {source}; the privilege that is missing: {privilege}")]
    Permission {
        /// Which limit.
        kind: LimitKind,
        /// Who may.
        privilege: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// It is nothing that a process can set, or not for others.
    #[error("{kind} cannot be set from here: {}", .kind.change())]
    NotSettable {
        /// Which limit.
        kind: LimitKind,
    },
    /// The kernel has no such setting: it was built without message queues, or /proc is not there.
    #[error("this kernel shows no {kind} in /proc/sys/fs/mqueue: it has no message queues, or /proc is not mounted")]
    Missing {
        /// Which limit.
        kind: LimitKind,
    },
    /// The system refused for another reason.
    #[error("cannot set {kind}: {source}")]
    System {
        /// Which limit.
        kind: LimitKind,
        /// The system's answer.
        source: io::Error,
    },
}
