//! What `--json` prints: the shape of each object, one a line. Field names and the schema number are a promise to scripts.

pub mod posix;
pub mod sem;

use crate::ls::Seen;
use crate::values::OctalMode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chappe::{Message, Name, Participant, QueueStat, SemaphoreStat};
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// Raised when a field changes its meaning or goes away; a new field does not raise it.
pub const SCHEMA: u32 = 1;

/// A line of JSON.
pub fn line(object: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(object).expect("no map with keys that are no strings, no failing Serialize");
    line.push(b'\n');
    line
}

/// Bytes as JSON can have them.
fn text(bytes: &[u8]) -> (&'static str, String) {
    match std::str::from_utf8(bytes) {
        Ok(text) => ("utf-8", text.to_owned()),
        Err(_) => ("base64", STANDARD.encode(bytes)),
    }
}

fn name_text(name: &Name) -> (&'static str, String) {
    text(&[b"/", name.as_bytes()].concat())
}

/// A moment as RFC 3339 has it.
pub fn time(unix_nanos: u64) -> String {
    humantime::format_rfc3339_nanos(SystemTime::UNIX_EPOCH + Duration::from_nanos(unix_nanos)).to_string()
}

/// A message.
#[derive(Serialize)]
pub struct MessageLine {
    schema: u32,
    priority: u16,
    length: usize,
    redelivered: u32,
    encoding: &'static str,
    data: String,
}

impl MessageLine {
    /// Of this message.
    pub fn new(message: &Message) -> MessageLine {
        let (encoding, data) = text(&message.data);
        let Message { priority, redelivered, .. } = *message;
        MessageLine { schema: SCHEMA, priority, length: message.data.len(), redelivered, encoding, data }
    }
}

/// What `mq stat` tells.
#[derive(Serialize)]
pub struct StatLine {
    schema: u32,
    name_encoding: &'static str,
    name: String,
    depth: u64,
    capacity: u32,
    message_size: u64,
    mode: String,
    memory: u64,
    ephemeral: bool,
    closed: bool,
    unlinked: bool,
    created: String,
    created_unix_nanos: u64,
    being_sent: u64,
    being_received: u64,
    sent: u64,
    received: u64,
    purged: u64,
    high_water: u64,
    send_blocked: u64,
    recv_blocked: u64,
    recovered: u64,
    redelivered: u64,
    participants: Vec<ParticipantLine>,
}

/// One who has an object open.
#[derive(Serialize)]
pub struct ParticipantLine {
    pid: u32,
    pid_namespace: u64,
    command: String,
    since: String,
    since_unix_nanos: u64,
}

impl From<&Participant> for ParticipantLine {
    fn from(one: &Participant) -> ParticipantLine {
        ParticipantLine {
            pid: one.pid,
            pid_namespace: one.pid_namespace,
            command: one.command.clone(),
            since: time(one.since_unix_nanos),
            since_unix_nanos: one.since_unix_nanos,
        }
    }
}

impl StatLine {
    /// Of the queue of this name.
    pub fn new(name: &Name, stat: &QueueStat) -> StatLine {
        let (name_encoding, name) = name_text(name);
        let totals = &stat.counters;
        StatLine {
            schema: SCHEMA,
            name_encoding,
            name,
            depth: stat.len,
            capacity: stat.attributes.capacity,
            message_size: stat.attributes.message_size,
            mode: OctalMode(stat.mode).to_string(),
            memory: stat.memory,
            ephemeral: stat.ephemeral,
            closed: stat.closed,
            unlinked: stat.unlinked,
            created: time(stat.created_unix_nanos),
            created_unix_nanos: stat.created_unix_nanos,
            being_sent: stat.being_sent,
            being_received: stat.being_received,
            sent: totals.sent,
            received: totals.received,
            purged: totals.purged,
            high_water: totals.high_water,
            send_blocked: totals.send_blocked,
            recv_blocked: totals.recv_blocked,
            recovered: totals.recovered,
            redelivered: totals.redelivered,
            participants: stat.participants.iter().map(ParticipantLine::from).collect(),
        }
    }
}

/// An object that `ls` lists. What another kind has, and what could not be found out, is not there; then `error` says why.
#[derive(Default, Serialize)]
pub struct ListLine {
    schema: u32,
    kind: &'static str,
    name_encoding: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    depth: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permits: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holders: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiters: Option<usize>,
    mode: String,
    uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    memory: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_unix_nanos: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl ListLine {
    /// Of this object, with what looking at it gave.
    pub fn new(object: &chappe::Object, owner: Option<&str>, seen: &Result<Seen, String>) -> ListLine {
        let (name_encoding, name) = name_text(&object.name);
        let created = seen.as_ref().ok().map(|seen| match seen {
            Seen::Queue(stat) => stat.created_unix_nanos,
            Seen::Semaphore(stat) => stat.created_unix_nanos,
        });
        let line = ListLine {
            schema: SCHEMA,
            kind: object.kind.word(),
            name_encoding,
            name,
            mode: OctalMode(object.mode).to_string(),
            uid: object.uid,
            owner: owner.map(str::to_owned),
            memory: object.memory,
            created: created.map(time),
            created_unix_nanos: created,
            ..ListLine::default()
        };
        match seen {
            Ok(Seen::Queue(stat)) => line.with_queue(stat),
            Ok(Seen::Semaphore(stat)) => line.with_semaphore(stat),
            Err(error) => ListLine { error: Some(error.clone()), ..line },
        }
    }

    fn with_queue(self, stat: &QueueStat) -> ListLine {
        ListLine {
            depth: Some(stat.len),
            capacity: Some(stat.attributes.capacity),
            message_size: Some(stat.attributes.message_size),
            ..self
        }
    }

    fn with_semaphore(self, stat: &SemaphoreStat) -> ListLine {
        ListLine {
            available: Some(stat.available),
            permits: Some(stat.permits),
            holders: Some(stat.holders.len()),
            waiters: Some(stat.waiters.len()),
            ..self
        }
    }
}
