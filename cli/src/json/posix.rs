//! What `--json` prints of queues of the kernel's, and of limits. That of POSIX semaphores is in `sem`.

use super::{SCHEMA, text};
use crate::values::OctalMode;
use chappe::Name;
use chappe::posix::{Limit, LimitUse, LimitValue, MessageQueueStat};
use serde::Serialize;

/// What `mq stat` tells of a queue of the kernel's.
#[derive(Serialize)]
pub struct QueueLine {
    schema: u32,
    name_encoding: &'static str,
    name: String,
    depth: usize,
    capacity: usize,
    message_size: u64,
    mode: String,
    uid: u32,
    /// Absent without permission to receive.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// The pid that is registered for a notification; absent if there is none, or without permission to receive.
    #[serde(skip_serializing_if = "Option::is_none")]
    notified: Option<u32>,
}

impl QueueLine {
    /// Of the queue of this name, without `posix:`.
    pub fn new(name: &Name, stat: &MessageQueueStat) -> QueueLine {
        let (name_encoding, name) = text(&[b"posix:/", name.as_bytes()].concat());
        QueueLine {
            schema: SCHEMA,
            name_encoding,
            name,
            depth: stat.attributes.len,
            capacity: stat.attributes.capacity,
            message_size: stat.attributes.message_size,
            mode: OctalMode(stat.mode).to_string(),
            uid: stat.uid,
            bytes: stat.bytes,
            notified: stat.registered,
        }
    }
}

/// What `limits` tells of one. A number that is not there is unlimited, unknown or does not apply; the word beside it says which.
#[derive(Serialize)]
pub struct LimitLine {
    schema: u32,
    name: &'static str,
    unit: &'static str,
    /// `number`, `unlimited` or `unknown`.
    value_is: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hard_is: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hard: Option<u64>,
    /// `exact`, `at least`, `none` or `unknown`.
    used_is: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    /// Why something is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The directory that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    meaning: &'static str,
    change: &'static str,
}

impl LimitLine {
    /// Of this limit.
    pub fn new(limit: &Limit) -> LimitLine {
        let ((value_is, value), hard) = (number(&limit.value), limit.hard.as_ref().map(number));
        let (used_is, used) = match &limit.used {
            LimitUse::Exactly(used) => ("exact", Some(*used)),
            LimitUse::AtLeast(used) => ("at least", Some(*used)),
            LimitUse::Nothing => ("none", None),
            _ => ("unknown", None),
        };
        LimitLine {
            schema: SCHEMA,
            name: limit.kind.word(),
            unit: if limit.kind.is_bytes() { "bytes" } else { "count" },
            value_is,
            value,
            hard_is: hard.map(|(is, _)| is),
            hard: hard.and_then(|(_, value)| value),
            used_is,
            used,
            reason: crate::limits::reason(limit).map(str::to_owned),
            directory: limit.place.as_ref().map(|place| place.display().to_string()),
            meaning: limit.kind.meaning(),
            change: limit.kind.change(),
        }
    }
}

fn number(value: &LimitValue) -> (&'static str, Option<u64>) {
    match value {
        LimitValue::Number(number) => ("number", Some(*number)),
        LimitValue::Unlimited => ("unlimited", None),
        _ => ("unknown", None),
    }
}
