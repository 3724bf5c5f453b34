//! The operations that are stepped through, each in one state of the queue; and the messages.

use std::time::Duration;

/// How many messages a queue has room for, and how long each is.
pub const CAPACITY: u32 = 4;
pub const SIZE: usize = 64;

/// What ids tell: who sent a message. Also the order in which they must come.
pub const BEFORE: u64 = 0;
pub const VICTIM: u64 = 1000;
pub const SLEEPER: u64 = 2000;
pub const SURVIVOR: u64 = 3000;
pub const FILLER: u64 = 4000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Send,
    Receive,
}

/// One operation in one state.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub verb: Verb,
    /// How many messages are there before.
    pub before: u32,
    /// Another process is blocked in such a call.
    pub asleep: Option<Verb>,
}

impl Case {
    const fn new(verb: Verb, before: u32) -> Case {
        Case { verb, before, asleep: None }
    }

    const fn asleep(self, verb: Verb) -> Case {
        Case { asleep: Some(verb), ..self }
    }

    pub fn full(&self) -> bool {
        self.before == CAPACITY
    }

    /// Whether the stepped call can do nothing but run out of time.
    pub fn in_vain(&self) -> bool {
        match self.verb {
            Verb::Send => self.full(),
            Verb::Receive => self.before == 0,
        }
    }

    /// How long the stepped call may wait.
    pub fn time(&self) -> Duration {
        if self.in_vain() { Duration::from_millis(1) } else { Duration::from_secs(60) }
    }

    pub fn title(&self) -> String {
        let verb = match self.verb {
            Verb::Send => "send",
            Verb::Receive => "receive",
        };
        let state = match self.before {
            0 => "empty",
            1 => "one message",
            3 => "three messages",
            _ => "full",
        };
        let asleep = match self.asleep {
            None => "",
            Some(Verb::Send) => ", a sender asleep",
            Some(Verb::Receive) => ", a receiver asleep",
        };
        let vain = if self.in_vain() { ", in vain" } else { "" };
        format!("{verb}: {state}{asleep}{vain}")
    }
}

pub const CASES: [Case; 12] = [
    Case::new(Verb::Send, 0),
    Case::new(Verb::Send, 1),
    Case::new(Verb::Send, 3),
    Case::new(Verb::Send, 0).asleep(Verb::Receive),
    Case::new(Verb::Send, CAPACITY),
    Case::new(Verb::Send, CAPACITY).asleep(Verb::Send),
    Case::new(Verb::Receive, 1),
    Case::new(Verb::Receive, 3),
    Case::new(Verb::Receive, CAPACITY),
    Case::new(Verb::Receive, CAPACITY).asleep(Verb::Send),
    Case::new(Verb::Receive, 0),
    Case::new(Verb::Receive, 0).asleep(Verb::Receive),
];

/// Bytes that only this id has.
pub fn message(id: u64) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    let mut word = id;
    for chunk in bytes.chunks_exact_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes());
        // Whatever the id is, the words that follow it are others.
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    }
    bytes
}

/// The id of a whole message.
pub fn identify(bytes: &[u8]) -> Option<u64> {
    let id = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    (message(id) == bytes).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_message_has_no_id() {
        let mut whole = message(7);
        assert_eq!(identify(&whole), Some(7));
        whole[40] ^= 1;
        assert_eq!(identify(&whole), None);
        assert_eq!(identify(&whole[..32]), None);
        let mut halves = message(7);
        halves[32..].copy_from_slice(&message(8)[32..]);
        assert_eq!(identify(&halves), None);
    }
}
