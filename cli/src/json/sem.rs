//! What `--json` prints of semaphores.

use super::{ParticipantLine, SCHEMA, name_text, text, time};
use crate::values::OctalMode;
use chappe::{Holder, Name, SemaphoreStat, Waiter};
use serde::Serialize;

/// What `sem stat` tells.
#[derive(Serialize)]
pub struct StatLine {
    schema: u32,
    name_encoding: &'static str,
    name: String,
    permits: u64,
    available: i64,
    held: u64,
    mode: String,
    memory: u64,
    ephemeral: bool,
    closed: bool,
    unlinked: bool,
    created: String,
    created_unix_nanos: u64,
    blocked: u64,
    recovered: u64,
    recovered_permits: u64,
    holders: Vec<HolderLine>,
    waiters: Vec<WaiterLine>,
    participants: Vec<ParticipantLine>,
}

/// What `sem holders` tells.
#[derive(Serialize)]
pub struct HoldersLine {
    schema: u32,
    name_encoding: &'static str,
    name: String,
    permits: u64,
    available: i64,
    held: u64,
    holders: Vec<HolderLine>,
}

/// A process's fields, and what it has or wants.
#[derive(Serialize)]
struct HolderLine {
    pid: u32,
    pid_namespace: u64,
    command: String,
    /// Whether it is a command that `sem run` became.
    exec: bool,
    permits: u64,
    label: String,
    since: String,
    since_unix_nanos: u64,
}

#[derive(Serialize)]
struct WaiterLine {
    pid: u32,
    pid_namespace: u64,
    command: String,
    permits: u64,
    signal: bool,
    label: String,
    since: String,
    since_unix_nanos: u64,
}

impl From<&Holder> for HolderLine {
    fn from(one: &Holder) -> HolderLine {
        HolderLine {
            pid: one.process.pid,
            pid_namespace: one.process.pid_namespace,
            command: one.process.command.clone(),
            exec: one.command,
            permits: one.permits,
            label: one.label.clone(),
            since: time(one.since_unix_nanos),
            since_unix_nanos: one.since_unix_nanos,
        }
    }
}

impl From<&Waiter> for WaiterLine {
    fn from(one: &Waiter) -> WaiterLine {
        WaiterLine {
            pid: one.process.pid,
            pid_namespace: one.process.pid_namespace,
            command: one.process.command.clone(),
            permits: one.permits,
            signal: one.signal,
            label: one.label.clone(),
            since: time(one.since_unix_nanos),
            since_unix_nanos: one.since_unix_nanos,
        }
    }
}

/// What `sem stat` tells of a POSIX semaphore.
#[derive(Serialize)]
pub struct PosixLine {
    schema: u32,
    name_encoding: &'static str,
    name: String,
    value: u32,
}

impl PosixLine {
    /// Of the POSIX semaphore of this name, without `posix:`.
    pub fn new(name: &Name, value: u32) -> PosixLine {
        let (name_encoding, name) = text(&[b"posix:/", name.as_bytes()].concat());
        PosixLine { schema: SCHEMA, name_encoding, name, value }
    }
}

impl StatLine {
    /// Of the semaphore of this name.
    pub fn new(name: &Name, stat: &SemaphoreStat) -> StatLine {
        let (name_encoding, name) = name_text(name);
        StatLine {
            schema: SCHEMA,
            name_encoding,
            name,
            permits: stat.permits,
            available: stat.available,
            held: stat.held,
            mode: OctalMode(stat.mode).to_string(),
            memory: stat.memory,
            ephemeral: stat.ephemeral,
            closed: stat.closed,
            unlinked: stat.unlinked,
            created: time(stat.created_unix_nanos),
            created_unix_nanos: stat.created_unix_nanos,
            blocked: stat.blocked,
            recovered: stat.recovered,
            recovered_permits: stat.recovered_permits,
            holders: stat.holders.iter().map(HolderLine::from).collect(),
            waiters: stat.waiters.iter().map(WaiterLine::from).collect(),
            participants: stat.participants.iter().map(ParticipantLine::from).collect(),
        }
    }
}

impl HoldersLine {
    /// Of the semaphore of this name.
    pub fn new(name: &Name, stat: &SemaphoreStat) -> HoldersLine {
        let (name_encoding, name) = name_text(name);
        HoldersLine {
            schema: SCHEMA,
            name_encoding,
            name,
            permits: stat.permits,
            available: stat.available,
            held: stat.held,
            holders: stat.holders.iter().map(HolderLine::from).collect(),
        }
    }
}
