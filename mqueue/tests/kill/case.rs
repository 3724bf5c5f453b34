//! What is stepped through, and in which state of the queue.

use super::act::Act;

/// Small enough to be inline, and large enough to need an extent.
pub const SMALL: usize = 24;
pub const LARGE: usize = 600;
pub const CAPACITY: usize = 4;
pub const SIZE: i64 = 1024;

/// What ids tell: who sent a message. Also the order in which equals must come.
pub const BEFORE: u64 = 0;
pub const VICTIM: u64 = 1000;
pub const SLEEPER: u64 = 2000;
pub const SURVIVOR: u64 = 3000;
pub const FILLER: u64 = 4000;

/// The priority of whoever does not care.
pub const USUAL: u32 = 5;

/// Who else is there while the victim acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    Nobody,
    /// In `mq_receive`.
    Receiver,
    /// In `mq_send`.
    Sender,
    /// In `poll`.
    Poller,
    /// Is to be told by a signal.
    Registrant,
}

/// One operation in one state.
#[derive(Clone)]
pub struct Case {
    pub act: Act,
    pub state: &'static str,
    /// Lengths and priorities of what is in the queue.
    pub before: Vec<(usize, u32)>,
    pub other: Other,
}

impl Case {
    fn new(act: Act, state: &'static str, before: &[(usize, u32)]) -> Case {
        Case { act, state, before: before.to_vec(), other: Other::Nobody }
    }

    fn beside(self, other: Other) -> Case {
        Case { other, ..self }
    }

    pub fn full(&self) -> bool {
        self.before.len() == CAPACITY
    }

    /// Whether the call can do nothing but say so.
    pub fn in_vain(&self) -> bool {
        match self.act {
            Act::TimedSend => self.full(),
            Act::TimedReceive => self.before.is_empty(),
            _ => false,
        }
    }

    /// Whether the victim sends a message, or takes one.
    pub fn sends(&self) -> bool {
        matches!(self.act, Act::Send(_) | Act::TimedSend | Act::DuplicateAndSend) && !self.in_vain()
    }

    pub fn takes(&self) -> bool {
        matches!(self.act, Act::Receive | Act::TimedReceive) && !self.in_vain()
    }

    /// How much is done when the operation is over, of what can be seen.
    pub fn whole(&self) -> usize {
        usize::from(self.sends() || self.takes() || matches!(self.act, Act::Create | Act::Unlink))
    }

    /// What was in the hands of the dead may come late.
    pub fn may_come_late(&self) -> bool {
        self.takes() && self.before.iter().any(|(length, _)| *length > SMALL)
    }

    pub fn title(&self) -> String {
        let other = match self.other {
            Other::Nobody => "",
            Other::Receiver => ", a receiver asleep",
            Other::Sender => ", a sender asleep",
            Other::Poller => ", polled",
            Other::Registrant => ", one registered",
        };
        let vain = if self.in_vain() { ", in vain" } else { "" };
        format!("{} | {}{other}{vain}", self.act.name(), self.state)
    }

    /// What is there before, in the order in which it must be received: id and priority.
    pub fn in_turn(&self) -> Vec<(u64, u32)> {
        let mut all: Vec<(u64, u32)> = (BEFORE..).zip(self.before.iter().map(|(_, priority)| *priority)).collect();
        all.sort_by_key(|(id, priority)| (std::cmp::Reverse(*priority), *id));
        all
    }
}

pub fn cases() -> Vec<Case> {
    let one = [(SMALL, USUAL)];
    let three = [(SMALL, 1), (SMALL, 9), (SMALL, USUAL)];
    let full = [(SMALL, USUAL); CAPACITY];
    let large = [(LARGE, USUAL), (SMALL, USUAL)];
    let new = Case::new;
    let priorities = "three priorities";
    vec![
        new(Act::Create, "nothing there", &[]),
        new(Act::Open, priorities, &three),
        new(Act::OpenOrCreate, priorities, &three),
        new(Act::Send(SMALL), "empty", &[]),
        new(Act::Send(SMALL), "one message", &one),
        new(Act::Send(SMALL), priorities, &three),
        new(Act::Send(LARGE), "one message", &one),
        new(Act::Send(SMALL), "empty", &[]).beside(Other::Receiver),
        new(Act::Send(SMALL), "empty", &[]).beside(Other::Poller),
        new(Act::Send(SMALL), "empty", &[]).beside(Other::Registrant),
        new(Act::Send(SMALL), "one message", &one).beside(Other::Registrant),
        new(Act::TimedSend, priorities, &three),
        new(Act::TimedSend, "full", &full),
        new(Act::TimedSend, "full", &full).beside(Other::Sender),
        new(Act::DuplicateAndSend, "one message", &one),
        new(Act::Receive, "one message", &one),
        new(Act::Receive, priorities, &three),
        new(Act::Receive, "full", &full),
        new(Act::Receive, "a large message and one", &large),
        new(Act::Receive, "full", &full).beside(Other::Sender),
        new(Act::Receive, "full", &full).beside(Other::Poller),
        new(Act::Receive, "one message", &one).beside(Other::Registrant),
        new(Act::TimedReceive, priorities, &three),
        new(Act::TimedReceive, "empty", &[]),
        new(Act::TimedReceive, "empty", &[]).beside(Other::Receiver),
        new(Act::TimedReceive, "empty", &[]).beside(Other::Registrant),
        new(Act::Register, "empty", &[]),
        new(Act::Register, "one message", &one),
        new(Act::Unregister, "empty", &[]),
        new(Act::Unregister, "one message", &one).beside(Other::Poller),
        new(Act::GetAttributes, priorities, &three),
        new(Act::SetAttributes, priorities, &three),
        new(Act::Poll, "empty", &[]),
        new(Act::Poll, priorities, &three),
        new(Act::Poll, "full", &full).beside(Other::Poller),
        new(Act::Ppoll, priorities, &three),
        new(Act::Select, priorities, &three),
        new(Act::Pselect, priorities, &three),
        new(Act::AddToEpoll, priorities, &three),
        new(Act::AddToEpoll, "full", &full).beside(Other::Poller),
        new(Act::MqClose, priorities, &three),
        new(Act::MqClose, "full", &full).beside(Other::Sender),
        new(Act::CloseRegistered, "empty", &[]),
        new(Act::Close, priorities, &three),
        new(Act::CloseRange, priorities, &three),
        new(Act::ReplaceByDup2, priorities, &three),
        new(Act::ReplaceByDup3, priorities, &three),
        new(Act::Unlink, priorities, &three),
        new(Act::Unlink, "empty", &[]).beside(Other::Receiver),
        new(Act::Unlink, "one message", &one).beside(Other::Poller),
    ]
}
