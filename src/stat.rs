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
pub struct QueueStat {
    /// What it was created with.
    pub attributes: Attributes,
    /// Its permission bits: those of its file, or what they were to be by POSIX ([`doorbell`](crate::QueueOptions::doorbell)).
    pub mode: u32,
    /// The user who owns its file.
    pub uid: u32,
    /// The group that owns its file.
    pub gid: u32,
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

/// One who holds permits: one acquisition, as long as it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Who: the process, as it described itself.
    pub process: Participant,
    /// Whether it is a command that took the process's place ([`Permit::exec`](crate::Permit::exec)).
    pub command: bool,
    /// How many permits.
    pub permits: u64,
    /// What the holder says they are for; empty if it said nothing.
    pub label: String,
    /// Since when, in nanoseconds since the Unix epoch, to within a few milliseconds.
    pub since_unix_nanos: u64,
}

/// One who waits for permits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiter {
    /// Who: the process, as it described itself.
    pub process: Participant,
    /// How many permits at once.
    pub permits: u64,
    /// Whether it waits for a [`post`](crate::Semaphore::post), not for a permit that it will hold.
    pub signal: bool,
    /// What it says they are for; empty if it said nothing.
    pub label: String,
    /// Since when, in nanoseconds since the Unix epoch, to within a few milliseconds.
    pub since_unix_nanos: u64,
}

/// What [`Semaphore::stat`](crate::Semaphore::stat) tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SemaphoreStat {
    /// How many permits there are.
    pub permits: u64,
    /// How many are free. Negative after a [`set_permits`](crate::Semaphore::set_permits) below what is held, until enough
    /// holders have released.
    pub available: i64,
    /// How many are held.
    pub held: u64,
    /// Who holds them, the longest first.
    pub holders: Vec<Holder>,
    /// Who waits, in the order in which they will be served.
    pub waiters: Vec<Waiter>,
    /// The file's permission bits.
    pub mode: u32,
    /// Whether the semaphore goes with its creator.
    pub ephemeral: bool,
    /// Whether it was closed.
    pub closed: bool,
    /// Whether it was unlinked.
    pub unlinked: bool,
    /// When it was created, in nanoseconds since the Unix epoch.
    pub created_unix_nanos: u64,
    /// Memory (or disk) that its file takes, in bytes.
    pub memory: u64,
    /// How often an acquisition had to wait in the queue.
    pub blocked: u64,
    /// Dead participants whose leavings were put in order.
    pub recovered: u64,
    /// Permits that came back because their holder died.
    pub recovered_permits: u64,
    /// Who has it open.
    pub participants: Vec<Participant>,
}

/// A wait that can never end, as far as can be seen: told by [`deadlocks`](crate::deadlocks).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stuck {
    /// Who waits.
    pub process: Participant,
    /// Where: the semaphore's name, if it has one.
    pub waits_at: Option<Name>,
    /// For how many permits.
    pub permits: u64,
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
