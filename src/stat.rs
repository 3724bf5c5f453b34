//! What can be told of an object: attributes, totals, who takes part. Plain data.

use crate::name::{Kind, Name};
use std::path::PathBuf;

/// What a queue was created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// How many messages fit.
    pub capacity: u32,
    /// The largest message, in bytes.
    pub message_size: u64,
}

impl std::fmt::Display for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "capacity {} and message size {}", self.capacity, self.message_size)
    }
}

/// Totals since the queue was created. They are kept for people: after a death inside an operation a total may be off by
/// that operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages whose send committed.
    pub sent: u64,
    /// Messages received.
    pub received: u64,
    /// Messages thrown away by [`Queue::purge`](crate::Queue::purge).
    pub purged: u64,
    /// The most messages that were seen waiting at once.
    pub high_water: u64,
    /// How often a send found the queue full and slept.
    pub send_blocked: u64,
    /// How often a receive found the queue empty and slept.
    pub recv_blocked: u64,
    /// Dead participants whose leavings were put in order.
    pub recovered: u64,
    /// Messages that went back to their place because their receiver died.
    pub redelivered: u64,
}

/// A living (or not yet recovered) participant, as it described itself when it attached. For people: liveness is decided
/// by a kernel lock, never by these numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Participant {
    /// Its process id, in its own pid namespace.
    pub pid: u32,
    /// The inode of its pid namespace, so that equal pids can be told apart.
    pub pid_namespace: u64,
    /// Its command name (at most 15 bytes, as the kernel has it).
    pub command: String,
    /// When it attached, in nanoseconds since the Unix epoch.
    pub since_unix_nanos: u64,
}

/// What [`Queue::stat`](crate::Queue::stat) tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stat {
    /// What it was created with.
    pub attributes: Attributes,
    /// The file's permission bits.
    pub mode: u32,
    /// Messages that a receive could take now.
    pub len: u64,
    /// Slots that a sender is writing to.
    pub being_sent: u64,
    /// Messages that a receiver is copying out.
    pub being_received: u64,
    /// Whether the queue goes with its creator.
    pub ephemeral: bool,
    /// Whether it was closed.
    pub closed: bool,
    /// Whether it was unlinked.
    pub unlinked: bool,
    /// When it was created, in nanoseconds since the Unix epoch.
    pub created_unix_nanos: u64,
    /// Memory (or disk) that its file takes, in bytes.
    pub memory: u64,
    /// Totals since it was created.
    pub counters: Counters,
    /// Who has it open.
    pub participants: Vec<Participant>,
}

/// One object in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// Its file.
    pub path: PathBuf,
    /// The file's permission bits.
    pub mode: u32,
    /// The user id of the file's owner.
    pub uid: u32,
    /// Memory (or disk) that its file takes, in bytes.
    pub memory: u64,
    /// Why it cannot be opened, if it cannot: another layout version, damaged, or no permission.
    pub defect: Option<String>,
}
