//! The attach entry: what a participant says of itself. It describes; the right to act is a byte lock, which is elsewhere.

use super::Shared;
use crate::message::Sender;
use crate::stat::Participant;
use crate::sync::keeper;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// No word names this index.
const FREE: u32 = 0;
/// Some word may name this index.
const IN_USE: u32 = 1;
/// No word names this index, and its process is ending, but its byte is not free yet.
const ENDING: u32 = 2;
/// The bits of the state proper. Above them, the incarnation: one more each time the entry is occupied.
const STATE: u32 = 3;
const INCARNATION: u32 = 4;
/// In `waits`: it polls.
const POLLS: u32 = 1 << 31;

/// An entry's state and incarnation, as they were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stage(u32);

impl Stage {
    /// Whether words may name the index, or did until its process was seen to be ending.
    pub(crate) fn in_use(self) -> bool {
        self.0 & STATE != FREE
    }

    /// Which occupation of the entry it is.
    pub(crate) fn incarnation(self) -> u32 {
        self.0 / INCARNATION
    }

    /// Whether it was put in order on the kernel's word, and its byte is still to come.
    pub(crate) fn is_ending(self) -> bool {
        self.0 & STATE == ENDING
    }
}

/// See the module.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Entry {
    state: AtomicU32,
    pid: AtomicU32,
    pid_namespace: AtomicU64,
    since: AtomicU64,
    command: [AtomicU64; 2],
    pinned: AtomicU32,
    /// 1: a command that took the place of the process which attached.
    command_runs: AtomicU32,
    /// A word that the kernel marks when the process ends, if it has a [keeper](crate::sys::keeper); else 0.
    pub keeper: AtomicU32,
    /// Bits 0..30: how many threads are inside a receive that waits; bit 31: it polls the doorbell.
    waits: AtomicU32,
    /// How many threads are inside a send that waits.
    sends: AtomicU32,
    /// The real user.
    uid: AtomicU32,
}

// SAFETY: repr(C), atomics only, and no padding (asserted by the layout).
unsafe impl Shared for Entry {}

/// A copy of what an entry says.
pub(crate) struct Description {
    pub pid: u32,
    pub uid: u32,
    pub pid_namespace: u64,
    pub since: u64,
    pub command: [u8; 16],
}

impl Entry {
    /// Whether words may name this index.
    pub(crate) fn in_use(&self) -> bool {
        self.stage().in_use()
    }

    pub(crate) fn stage(&self) -> Stage {
        Stage(self.state.load(Ordering::Acquire))
    }

    /// Marks it in use before any word names it; true if it was in use already, left by a dead one.
    pub(crate) fn occupy(&self) -> bool {
        self.pinned.store(0, Ordering::Relaxed);
        self.command_runs.store(0, Ordering::Relaxed);
        self.forget_waits();
        self.keeper.store(0, Ordering::SeqCst);
        let next = |before: u32| Some((before & !STATE).wrapping_add(INCARNATION) | IN_USE);
        // The closure always gives a word, so this cannot fail.
        let (Ok(before) | Err(before)) = self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        before & STATE != FREE
    }

    /// Marks it free: every word that named it has been put in order. The caller holds its byte.
    pub(crate) fn vacate(&self) {
        self.state.fetch_and(!STATE, Ordering::AcqRel);
    }

    /// Marks it as put in order on the kernel's word that its process is ending; its byte is still to come. Nothing is done if
    /// it has been occupied since it was `seen`.
    pub(crate) fn end(&self, seen: Stage) {
        let ending = seen.0 & !STATE | ENDING;
        let _ = self.state.compare_exchange(seen.0, ending, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Whether the kernel has said that the process of the incarnation that was `seen` is ending, and nobody has acted on it. An
    /// entry that was occupied since is not marked: its keeper's word was cleared first.
    pub(crate) fn is_marked(&self, seen: Stage) -> bool {
        seen.0 & STATE == IN_USE && keeper::is_marked(self.keeper.load(Ordering::SeqCst)) && self.stage() == seen
    }

    /// A thread of this participant begins to wait: for a message, or to send one.
    pub(crate) fn begin_to_wait(&self, to_send: bool) {
        self.waits_of(to_send).fetch_add(1, Ordering::Relaxed);
    }

    /// It has left the wait.
    pub(crate) fn end_waiting(&self, to_send: bool) {
        // Release, partner `waiting`: who does not count it any more sees what it did.
        self.waits_of(to_send).fetch_sub(1, Ordering::Release);
    }

    /// How many threads of this participant wait for a message, or to send one; 0 if there is no such participant.
    pub(crate) fn waiting(&self, to_send: bool) -> u32 {
        if self.in_use() { self.waits_of(to_send).load(Ordering::Acquire) & !POLLS } else { 0 }
    }

    fn waits_of(&self, to_send: bool) -> &AtomicU32 {
        if to_send { &self.sends } else { &self.waits }
    }

    /// Says that this participant polls the doorbell.
    pub(crate) fn begin_to_poll(&self) {
        self.waits.fetch_or(POLLS, Ordering::Relaxed);
    }

    /// Whether there is such a participant, and it polls the doorbell.
    pub(crate) fn polls(&self) -> bool {
        self.in_use() && self.waits.load(Ordering::Relaxed) & POLLS != 0
    }

    /// It waits and polls no more: it has left, or is dead.
    pub(crate) fn forget_waits(&self) {
        self.waits.store(0, Ordering::Relaxed);
        self.sends.store(0, Ordering::Relaxed);
    }

    /// Says which CPU this participant is confined to, + 1; 0 for none.
    pub(crate) fn pin(&self, cpu: u32) {
        if self.pinned.load(Ordering::Relaxed) != cpu {
            self.pinned.store(cpu, Ordering::Relaxed);
        }
    }

    /// Whether this is a participant that may use another CPU than that one (+ 1).
    pub(crate) fn may_run_beside(&self, cpu: u32) -> bool {
        self.state.load(Ordering::Relaxed) & STATE != FREE && self.pinned.load(Ordering::Relaxed) != cpu
    }

    pub(crate) fn describe(&self, text: &Description) {
        self.pid.store(text.pid, Ordering::Relaxed);
        self.uid.store(text.uid, Ordering::Relaxed);
        self.pid_namespace.store(text.pid_namespace, Ordering::Relaxed);
        self.since.store(text.since, Ordering::Relaxed);
        self.set_command(&text.command);
    }

    fn set_command(&self, name: &[u8; 16]) {
        let (low, high) = name.split_at(8);
        for (word, half) in self.command.iter().zip([low, high]) {
            word.store(half.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), Ordering::Relaxed);
        }
    }

    /// Says that a command of this name takes the process's place.
    pub(crate) fn become_command(&self, name: &[u8; 16]) {
        self.set_command(name);
        self.command_runs.store(1, Ordering::Relaxed);
    }

    pub(crate) fn is_command(&self) -> bool {
        self.command_runs.load(Ordering::Relaxed) != 0
    }

    /// What it says of itself, as a sender.
    pub(crate) fn sender(&self) -> Sender {
        Sender { pid: self.pid.load(Ordering::Relaxed), uid: self.uid.load(Ordering::Relaxed) }
    }

    /// What it says of itself, for users.
    pub(crate) fn participant(&self) -> Participant {
        let said = self.description();
        let end = said.command.iter().position(|byte| *byte == 0).unwrap_or(said.command.len());
        Participant {
            pid: said.pid,
            pid_namespace: said.pid_namespace,
            command: String::from_utf8_lossy(&said.command[..end]).into_owned(),
            since_unix_nanos: said.since,
        }
    }

    fn description(&self) -> Description {
        let mut command = [0; 16];
        let words = self.command.iter().map(|word| word.load(Ordering::Relaxed));
        command.chunks_mut(8).zip(words).for_each(|(half, word)| half.copy_from_slice(&word.to_le_bytes()));
        Description {
            pid: self.pid.load(Ordering::Relaxed),
            uid: self.uid.load(Ordering::Relaxed),
            pid_namespace: self.pid_namespace.load(Ordering::Relaxed),
            since: self.since.load(Ordering::Relaxed),
            command,
        }
    }
}
