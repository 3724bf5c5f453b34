//! Death at every instruction: a process is single-stepped through one operation and SIGKILLed after its k-th instruction,
//! for every k (or every few), each time with a fresh queue and fresh processes. Then a survivor has to go on, every message
//! is accounted for, and the words of the file are as `docs/format.md` demands.
//!
//! - `beside`: a living process is stopped in the middle of an operation of its own, with a slot in its hands, while the victim acts and
//!   dies and the survivor goes on; then it is let finish.
//! - `after a death in`: the victim finds what the death of another one left, and dies while it repairs that. With two
//!   names: the repairer died as well, and the victim is the second one who repairs.
//! - `pause:` stops the process instead, lets another one act beside it without waiting for it, and then lets it finish: it must not
//!   be taken for dead, and nobody may be in the other's way for good.
//!
//! It drives the real library through its public face; only the checker in `common/format.rs` knows the layout. What cannot be stepped, and
//! the variables that choose the instructions, are at the head of `common/kill.rs`. Rows whose operation `waits` have one who gives the victim what it
//! waits for as soon as it sleeps.
//!
//! - `CHAPPE_KILL_PAIRS=20` kills the repairing process at 20 instructions of its repair after a death at each of 20
//!   instructions of the first; 2 without it, and none in a debug build, where a repair has some 200000 instructions. With
//!   `CHAPPE_KILL_EVERY`, at all instructions of the longest of these repairs besides.
//! - `CHAPPE_KILL_PAUSES=40` stops at 40 instructions of each operation; 3 without it, since the other waits half a second for a
//!   lock whose holder does not run.

mod common;

use chappe::{Batch, Queue, QueueOptions, QueueStat, RecvError, SendError};
use common::format::{self, Image};
use common::kill::{self, Deaths, Mode, Outcome, PATIENCE, Plan, Row};
use common::lanes::{Job, Program};
use common::step::{self, At, Child, Victim, read_line};
use common::waker::Waker;
use common::way::{Leaps, Stand, Way};
use common::{asleep, identify, number, payload, readable, scratch};
use std::cell::OnceCell;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A survivor's call that takes longer hangs; how long they really take is judged in the end.
const NET: Duration = Duration::from_secs(10);

/// Small enough to be inline, large enough to need an extent, large enough to need several pages.
const SMALL: usize = 24;
const LARGE: usize = 600;
const PAGES: usize = 5000;

/// What ids tell: who sent a message. Also the order in which equals must come.
const BEFORE: u64 = 0;
const VICTIM: u64 = 1000;
const NEXT_VICTIM: u64 = 500;
const SLEEPER: u64 = 3000;
const SURVIVOR: u64 = 4000;
const FILLER: u64 = 5000;
const COMPANION: u64 = 6000;

/// How long who waits in vain does so.
const A_MOMENT: Duration = Duration::from_millis(1);

/// The priority of whoever does not care.
const USUAL: u16 = 5;

// ---- what is done to the queue ----

/// The operation that a victim is stepped through.
#[derive(Clone, Copy, Debug)]
enum Act {
    Send(usize),
    TrySend(usize),
    /// One that waits for room until its time runs out.
    SendInVain(usize),
    /// One that waits for room until somebody makes some.
    SendWaits(usize),
    SendMany(&'static [usize]),
    TrySendMany(&'static [usize]),
    /// The first call through a handle that was inherited by fork.
    InheritedSend(usize),
    InheritedRecv,
    Recv,
    TryRecv,
    /// One that waits for a message until its time runs out.
    RecvInVain,
    /// One that waits for a message until somebody sends one.
    RecvWaits,
    RecvInto,
    RecvMany(usize),
    TryRecvMany(usize),
    Peek,
    Stat,
    Purge,
    Close,
    Unlink,
    Open,
    /// `create`, where the queue is there already.
    Join,
    Create,
    /// A queue that goes with the victim, whose death ends it.
    CreateEphemeral,
    Drop,
    /// The end of such a queue in good order.
    DropEphemeral,
}

impl Act {
    fn name(self) -> String {
        match self {
            Act::Send(length) => format!("send {length}"),
            Act::TrySend(length) => format!("try_send {length}"),
            Act::SendMany(lengths) => format!("send_many {lengths:?}"),
            Act::SendInVain(length) => format!("send {length} that waits in vain"),
            Act::SendWaits(length) => format!("send {length} that waits"),
            Act::RecvInVain => "recv that waits in vain".to_owned(),
            Act::RecvWaits => "recv that waits".to_owned(),
            Act::Join => "create, it is there".to_owned(),
            Act::InheritedSend(length) => format!("fork, send {length}"),
            Act::TrySendMany(lengths) => format!("try_send_many {lengths:?}"),
            Act::InheritedRecv => "fork, recv".to_owned(),
            Act::RecvMany(max) => format!("recv_many {max}"),
            Act::TryRecvMany(max) => format!("try_recv_many {max}"),
            Act::Recv => "recv".to_owned(),
            Act::TryRecv => "try_recv".to_owned(),
            Act::RecvInto => "recv_into".to_owned(),
            Act::CreateEphemeral => "create ephemeral".to_owned(),
            Act::DropEphemeral => "drop ephemeral".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// The lengths of what it sends.
    fn sends(self) -> Vec<usize> {
        match self {
            Act::Send(length)
            | Act::TrySend(length)
            | Act::SendInVain(length)
            | Act::SendWaits(length)
            | Act::InheritedSend(length) => vec![length],
            Act::SendMany(lengths) | Act::TrySendMany(lengths) => lengths.to_vec(),
            _ => Vec::new(),
        }
    }

    /// How many messages it takes, of as many as there are.
    fn takes(self, there: usize) -> usize {
        match self {
            Act::Recv | Act::TryRecv | Act::RecvInto | Act::InheritedRecv => there.min(1),
            Act::RecvMany(max) | Act::TryRecvMany(max) => there.min(max),
            Act::Purge => there,
            _ => 0,
        }
    }

    fn needs_handle(self) -> bool {
        !self.makes_queue() && !self.inherits() && !matches!(self, Act::Open | Act::Join | Act::Unlink)
    }

    /// Whether it spins, and then sleeps.
    fn may_sleep(self) -> bool {
        self.waits() || matches!(self, Act::SendInVain(_) | Act::RecvInVain)
    }

    /// Whether it sleeps until another process does something.
    fn waits(self) -> bool {
        matches!(self, Act::SendWaits(_) | Act::RecvWaits)
    }

    fn inherits(self) -> bool {
        matches!(self, Act::InheritedSend(_) | Act::InheritedRecv)
    }

    /// Whether its way through the operation is a long one.
    fn long(self) -> bool {
        self.waits()
            || matches!(
                self,
                Act::Open | Act::Join | Act::Unlink | Act::RecvMany(_) | Act::Create | Act::CreateEphemeral | Act::Peek
            )
    }

    /// Whether there is no queue before the victim makes one.
    fn makes_queue(self) -> bool {
        matches!(self, Act::Create | Act::CreateEphemeral | Act::DropEphemeral)
    }
}

/// Everything that the stepped code needs, made before stepping begins.
struct Stage {
    act: Act,
    options: QueueOptions,
    handle: Option<Queue>,
    messages: Vec<(Vec<u8>, u16)>,
    batch: Batch,
    buffer: Vec<u8>,
    /// What came of it, for one that is let live: what it received, or how many messages it sent or threw away.
    got: Vec<Vec<u8>>,
    count: usize,
}

impl Stage {
    fn new(act: Act, options: &QueueOptions, first_id: u64, inherited: Option<Queue>) -> Stage {
        let messages = act.sends().into_iter().zip(first_id..).map(|(length, id)| (payload(id, length), USUAL));
        let (mut options, messages) = (options.clone(), messages.collect());
        options.ephemeral(matches!(act, Act::CreateEphemeral | Act::DropEphemeral));
        let handle = match act {
            Act::DropEphemeral => Some(options.create_new("/q").expect("the victim creates")),
            _ if act.needs_handle() => Some(options.open("/q").expect("the victim opens")),
            _ => inherited,
        };
        let (batch, buffer, got) = (Batch::new(), vec![0; 8192], Vec::with_capacity(8));
        Stage { act, options, handle, messages, batch, buffer, got, count: 0 }
    }

    fn play_without_handle(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        match self.act {
            Act::Open => self.handle = Some(self.options.open("/q")?),
            Act::Join => self.handle = Some(self.options.create("/q")?),
            Act::Create | Act::CreateEphemeral => self.handle = Some(self.options.create_new("/q")?),
            Act::Unlink => self.options.unlink("/q")?,
            other => unreachable!("{other:?} has a handle"),
        }
        Ok(())
    }
}

impl step::Stage for Stage {
    /// The code that is stepped. That a call fails for a good reason (full, empty) is part of the case.
    fn play(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let Some(queue) = &self.handle else { return self.play_without_handle() };
        match self.act {
            Act::Send(_) | Act::SendWaits(_) | Act::InheritedSend(_) => {
                queue.send(&self.messages[0].0, USUAL)?;
                self.count = 1;
            }
            Act::TrySend(_) => match queue.try_send(&self.messages[0].0, USUAL) {
                Ok(()) => self.count = 1,
                Err(SendError::Full) => {}
                Err(error) => return Err(error.into()),
            },
            Act::SendInVain(_) => match queue.send_timeout(&self.messages[0].0, USUAL, A_MOMENT) {
                Err(SendError::TimedOut) => {}
                other => return Err(format!("{other:?} instead of TimedOut").into()),
            },
            Act::SendMany(_) => {
                queue.send_many(&self.messages)?;
                self.count = self.messages.len();
            }
            Act::TrySendMany(_) => match queue.try_send_many(&self.messages) {
                Ok(()) => self.count = self.messages.len(),
                Err(error) if error.error == SendError::Full => self.count = error.sent,
                Err(error) => return Err(error.into()),
            },
            Act::RecvInVain => match queue.recv_into_timeout(&mut self.buffer, A_MOMENT) {
                Err(RecvError::TimedOut) => {}
                other => return Err(format!("{other:?} instead of TimedOut").into()),
            },
            Act::Recv | Act::RecvWaits | Act::InheritedRecv => self.got.push(queue.recv()?.data),
            Act::TryRecv => match queue.try_recv() {
                Ok(message) => self.got.push(message.data),
                Err(RecvError::Empty) => {}
                Err(error) => return Err(error.into()),
            },
            Act::RecvInto => {
                let received = queue.recv_into(&mut self.buffer)?;
                self.buffer.truncate(received.len);
            }
            Act::RecvMany(max) => _ = queue.recv_many(&mut self.batch, max)?,
            Act::TryRecvMany(max) => match queue.try_recv_many(&mut self.batch, max) {
                Ok(_) | Err(RecvError::Empty) => {}
                Err(error) => return Err(error.into()),
            },
            Act::Peek => drop(queue.peek(10)?),
            Act::Stat => drop(queue.stat()?),
            Act::Purge => self.count = queue.purge()?,
            Act::Close => queue.close()?,
            Act::Drop | Act::DropEphemeral => drop(self.handle.take()),
            Act::Unlink | Act::Open | Act::Join | Act::Create | Act::CreateEphemeral => {
                unreachable!("these have no handle")
            }
        }
        Ok(())
    }

    /// What came of it, in a line: how many were sent or thrown away, and the ids received.
    fn told(&self) -> String {
        let mut ids: Vec<u64> = self.got.iter().map(|data| name(data)).collect();
        ids.extend(self.batch.iter().map(|(data, _)| name(data)));
        if matches!(self.act, Act::RecvInto) {
            ids.push(name(&self.buffer));
        }
        format!("{} {}", self.count, ids.iter().map(u64::to_string).collect::<Vec<_>>().join(","))
    }
}

// ---- the cases ----

/// Who else is there, blocked, while the victim acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asleep {
    Nobody,
    Receiver,
    Sender,
}

/// One operation in one state of the queue.
#[derive(Clone)]
struct Case {
    state: &'static str,
    capacity: u32,
    message_size: u64,
    /// Whether every slot has been used before, or everything is as created.
    warm: bool,
    /// Lengths and priorities of what is in the queue.
    before: Vec<(usize, u16)>,
    asleep: Asleep,
    act: Act,
    /// Whether the survivor leaves a sleeper alone until it must be awake by itself.
    patient: bool,
    /// How much is done when the operation is over: messages sent, taken; or the steps of close, unlink, create.
    whole: usize,
    /// Others died before, one after the other, while this victim was there already.
    earlier: Deaths<Act>,
    /// A living process that is stopped with a slot in its hands.
    beside: Option<Beside>,
}

/// One who stays where a slot is in this state, and the lock free.
#[derive(Clone)]
struct Beside {
    act: Act,
    state: u64,
    /// The way there, once it is known.
    way: OnceCell<Rc<Way>>,
}

impl Case {
    fn new(act: Act, state: &'static str, before: &[(usize, u16)]) -> Case {
        let whole = match act {
            Act::Close | Act::Create | Act::CreateEphemeral | Act::DropEphemeral => 1,
            Act::Unlink => 2,
            Act::SendInVain(_) => 0,
            Act::RecvWaits => 1,
            _ => act.sends().len() + act.takes(before.len()),
        };
        Case {
            state,
            capacity: 4,
            message_size: 8192,
            warm: true,
            before: before.to_vec(),
            asleep: Asleep::Nobody,
            act,
            patient: false,
            whole,
            earlier: Vec::new(),
            beside: None,
        }
    }

    fn capacity(self, capacity: u32) -> Case {
        Case { capacity, ..self }
    }

    fn fresh(self) -> Case {
        Case { warm: false, ..self }
    }

    fn asleep(self, asleep: Asleep) -> Case {
        Case { asleep, ..self }
    }

    fn patient(self) -> Case {
        Case { patient: true, ..self }
    }

    fn whole(self, whole: usize) -> Case {
        Case { whole, ..self }
    }

    /// Beside one that sends, or receives.
    fn beside(self, act: Act) -> Case {
        let state = if act.sends().is_empty() { format::TAKEN } else { format::CLAIMED };
        Case { beside: Some(Beside { act, state, way: OnceCell::new() }), ..self }
    }

    fn after(&self, deaths: &Deaths<Act>) -> Case {
        Case { earlier: deaths.clone(), ..self.clone() }
    }

    fn full(&self) -> bool {
        self.before.len() == self.capacity as usize
    }

    fn title(&self) -> String {
        let beside =
            self.beside.as_ref().map_or_else(String::new, |beside| format!(", beside a {}", beside.act.name()));
        format!("{} | {}{beside}", self.act.name(), self.state)
    }

    fn ends(&self) -> bool {
        matches!(self.act, Act::Close | Act::Unlink)
    }

    /// What may be received in the end, in the order in which it must be: id and priority.
    fn everything(&self) -> Vec<(u64, u16)> {
        let mut all: Vec<(u64, u16)> =
            (BEFORE..).zip(&self.before).map(|(id, (_, priority))| (id, *priority)).collect();
        let acts = self.earlier.iter().map(|(act, ..)| *act).chain([self.act]);
        for (act, first) in acts.zip((VICTIM..).step_by(NEXT_VICTIM as usize)) {
            all.extend((first..).zip(act.sends()).map(|(id, _)| (id, USUAL)));
        }
        let beside = self.beside.iter().flat_map(|beside| beside.act.sends());
        all.extend((COMPANION..).zip(beside).map(|(id, _)| (id, USUAL)));
        if matches!(self.act, Act::RecvWaits) {
            all.push((COMPANION, USUAL));
        }
        if self.asleep == Asleep::Sender {
            all.push((SLEEPER, USUAL));
        }
        all.push((SURVIVOR, USUAL));
        all.sort_by_key(|(id, priority)| (std::cmp::Reverse(*priority), *id));
        all
    }

    /// The first id of the stepped victim's messages.
    fn victim(&self) -> u64 {
        VICTIM + NEXT_VICTIM * self.earlier.len() as u64
    }

    /// How many of the messages there before earlier victims may have taken.
    fn earlier_takes(&self) -> usize {
        self.earlier.iter().map(|(act, ..)| act.takes(self.before.len())).sum()
    }
}

impl kill::Case for Case {
    /// A queue that is yet to be made has no survivor who was there before.
    fn kinds(&self) -> &'static [bool] {
        if self.act.makes_queue() { &[false] } else { &[true, false] }
    }

    fn leaps(&self) -> Leaps {
        if self.asleep == Asleep::Nobody && !self.act.waits() { Leaps::Any } else { Leaps::First }
    }

    fn patient(&self) -> bool {
        self.patient
    }

    fn whole(&self) -> Option<usize> {
        self.earlier.is_empty().then_some(self.whole)
    }

    fn grows(&self) -> bool {
        true
    }

    fn measure(&self, mode: Mode) -> Result<Way, String> {
        Ok(Way::new(Set::new(self, mode)?.victim.trace()?))
    }

    fn kill(&self, way: &Way, k: usize, mode: Mode, leaps: Leaps) -> Result<Outcome, String> {
        one_kill(self, way, k, mode, leaps)
    }
}

fn cases() -> Vec<Case> {
    let one = [(SMALL, USUAL)];
    let three = [(SMALL, 1), (SMALL, 9), (SMALL, USUAL)];
    let many = [(SMALL, USUAL); 64];
    let large = [(LARGE, USUAL), (SMALL, USUAL)];
    let mixed = [(LARGE, USUAL), (SMALL, 9), (PAGES, 9), (SMALL, 1)];
    let full = [(SMALL, USUAL); 4];
    let large2 = [(LARGE, USUAL); 2];
    vec![
        Case::new(Act::Send(SMALL), "empty", &[]),
        Case::new(Act::Send(SMALL), "as created", &[]).fresh(),
        Case::new(Act::Send(SMALL), "one message", &one),
        Case::new(Act::Send(SMALL), "three messages", &three),
        Case::new(Act::Send(SMALL), "room for one", &one).capacity(2),
        Case::new(Act::Send(SMALL), "64 messages of 200", &many).capacity(200).fresh(),
        Case::new(Act::Send(SMALL), "capacity 1", &[]).capacity(1),
        Case::new(Act::Send(LARGE), "empty", &[]),
        Case::new(Act::Send(LARGE), "as created", &[]).fresh(),
        Case::new(Act::Send(PAGES), "one message", &one),
        Case::new(Act::Send(SMALL), "a receiver asleep", &[]).asleep(Asleep::Receiver),
        Case::new(Act::Send(LARGE), "a receiver asleep", &[]).asleep(Asleep::Receiver),
        Case::new(Act::Send(SMALL), "a receiver asleep, nobody else", &[]).asleep(Asleep::Receiver).patient(),
        Case::new(Act::TrySend(SMALL), "one message", &one),
        Case::new(Act::TrySend(SMALL), "full", &full).whole(0),
        Case::new(Act::TrySend(SMALL), "full, a sender asleep", &full).whole(0).asleep(Asleep::Sender),
        Case::new(Act::SendInVain(SMALL), "full", &full),
        Case::new(Act::SendInVain(SMALL), "full, a sender asleep", &full).asleep(Asleep::Sender),
        Case::new(Act::SendWaits(SMALL), "full", &full),
        Case::new(Act::SendWaits(LARGE), "capacity 1, full", &one).capacity(1),
        Case::new(Act::SendMany(&[SMALL, SMALL, SMALL]), "one message", &one),
        Case::new(Act::SendMany(&[LARGE, SMALL, LARGE]), "empty", &[]),
        Case::new(Act::SendMany(&[SMALL, SMALL]), "a receiver asleep", &[]).asleep(Asleep::Receiver),
        Case::new(Act::InheritedSend(SMALL), "one message", &one),
        Case::new(Act::InheritedRecv, "one message", &one),
        Case::new(Act::TrySendMany(&[SMALL, LARGE]), "room for one", &three).whole(1),
        Case::new(Act::Recv, "one small message", &one),
        Case::new(Act::Recv, "three messages", &three),
        Case::new(Act::Recv, "full", &full),
        Case::new(Act::Recv, "20 messages of 20", &many[..20]).capacity(20),
        Case::new(Act::Recv, "a large message and one", &large),
        Case::new(Act::Recv, "mixed, full", &mixed),
        Case::new(Act::Recv, "a sender asleep", &full).asleep(Asleep::Sender),
        Case::new(Act::Recv, "capacity 1, a sender asleep", &one).capacity(1).asleep(Asleep::Sender),
        Case::new(Act::Recv, "large, a sender asleep", &[(LARGE, USUAL); 2]).capacity(2).asleep(Asleep::Sender),
        Case::new(Act::Recv, "a sender asleep, nobody else", &full).asleep(Asleep::Sender).patient(),
        Case::new(Act::Recv, "large, a sender asleep, nobody else", &[(LARGE, USUAL); 2])
            .capacity(2)
            .asleep(Asleep::Sender)
            .patient(),
        Case::new(Act::RecvInto, "one small message", &one),
        Case::new(Act::RecvInto, "a large message and one", &large),
        Case::new(Act::TryRecv, "three messages", &three),
        Case::new(Act::TryRecv, "empty", &[]),
        Case::new(Act::TryRecv, "a receiver asleep", &[]).asleep(Asleep::Receiver),
        Case::new(Act::RecvInVain, "empty", &[]),
        Case::new(Act::RecvInVain, "a receiver asleep", &[]).asleep(Asleep::Receiver),
        Case::new(Act::RecvWaits, "empty", &[]),
        Case::new(Act::RecvMany(3), "one message", &one),
        Case::new(Act::TryRecvMany(3), "empty", &[]),
        Case::new(Act::RecvMany(3), "mixed, full", &mixed),
        Case::new(Act::RecvMany(3), "small, full", &full),
        Case::new(Act::RecvMany(3), "full, a sender asleep", &full).asleep(Asleep::Sender),
        Case::new(Act::TryRecvMany(3), "three messages", &three),
        Case::new(Act::TryRecv, "a sender asleep", &full).asleep(Asleep::Sender),
        Case::new(Act::Peek, "empty", &[]),
        Case::new(Act::Peek, "one message", &one),
        Case::new(Act::Peek, "mixed, full", &mixed),
        Case::new(Act::Peek, "a sender asleep", &full).asleep(Asleep::Sender),
        Case::new(Act::Stat, "three messages", &three),
        Case::new(Act::Purge, "empty", &[]),
        Case::new(Act::Close, "empty", &[]),
        Case::new(Act::Open, "a receiver asleep", &[]).asleep(Asleep::Receiver),
        Case::new(Act::Purge, "mixed, full", &mixed),
        Case::new(Act::Purge, "three messages", &three),
        Case::new(Act::Close, "three messages", &three),
        Case::new(Act::Unlink, "three messages", &three),
        Case::new(Act::Open, "three messages", &three),
        Case::new(Act::Close, "a receiver asleep", &[]).asleep(Asleep::Receiver),
        Case::new(Act::Close, "a sender asleep", &full).asleep(Asleep::Sender),
        Case::new(Act::Close, "a receiver asleep, nobody else", &[]).asleep(Asleep::Receiver).patient(),
        Case::new(Act::Unlink, "a receiver asleep", &[]).asleep(Asleep::Receiver),
        Case::new(Act::Unlink, "a sender asleep", &full).asleep(Asleep::Sender),
        Case::new(Act::Unlink, "a receiver asleep, nobody else", &[]).asleep(Asleep::Receiver).patient(),
        Case::new(Act::Purge, "a sender asleep", &full).asleep(Asleep::Sender),
        Case::new(Act::Purge, "a sender asleep, nobody else", &full).asleep(Asleep::Sender).patient(),
        Case::new(Act::Join, "three messages", &three),
        Case::new(Act::Create, "nothing there", &[]).fresh(),
        Case::new(Act::CreateEphemeral, "nothing there", &[]).fresh(),
        Case::new(Act::DropEphemeral, "nothing in it", &[]).fresh(),
        Case::new(Act::Drop, "three messages", &three),
        Case::new(Act::Send(SMALL), "one message", &one).beside(Act::TrySend(SMALL)),
        Case::new(Act::Send(LARGE), "capacity 2", &[]).capacity(2).beside(Act::TrySend(LARGE)),
        Case::new(Act::Send(SMALL), "two large", &large2).beside(Act::TryRecv),
        Case::new(Act::Recv, "three messages", &three).beside(Act::TrySend(SMALL)),
        Case::new(Act::Recv, "two large", &large2).beside(Act::TryRecv).whole(1),
        Case::new(Act::RecvMany(2), "two large", &large2).capacity(3).beside(Act::TrySend(SMALL)),
        Case::new(Act::RecvMany(2), "three messages", &three).beside(Act::TryRecvMany(1)).whole(2),
        Case::new(Act::Purge, "three messages", &three).beside(Act::TrySend(LARGE)),
        Case::new(Act::Purge, "two large", &large2).beside(Act::TryRecv).whole(1),
        Case::new(Act::Peek, "two large", &large2).beside(Act::TryRecv),
        Case::new(Act::Stat, "three messages", &three).beside(Act::TrySend(SMALL)),
        Case::new(Act::Open, "two large", &large2).beside(Act::TryRecv),
    ]
}

/// Operations that are stopped in their middle while another process acts. They do not wait: the other may have left them
/// nothing to wait for.
fn paused() -> Vec<Case> {
    let one = [(SMALL, USUAL)];
    let three = [(SMALL, 1), (SMALL, 9), (SMALL, USUAL)];
    let many = [(SMALL, USUAL); 64];
    let mixed = [(LARGE, USUAL), (SMALL, 9), (PAGES, 9), (SMALL, 1)];
    vec![
        Case::new(Act::TrySend(SMALL), "empty", &[]),
        Case::new(Act::TrySend(SMALL), "as created", &[]).fresh(),
        Case::new(Act::TrySend(SMALL), "room for one", &one).capacity(2),
        Case::new(Act::TrySend(SMALL), "64 messages of 200", &many).capacity(200).fresh(),
        Case::new(Act::TrySend(SMALL), "capacity 1", &[]).capacity(1),
        Case::new(Act::TrySend(LARGE), "as created", &[]).fresh(),
        Case::new(Act::TrySendMany(&[LARGE, SMALL, LARGE]), "one message", &one),
        Case::new(Act::TryRecv, "one small message", &one),
        Case::new(Act::TryRecv, "three messages", &three),
        Case::new(Act::TryRecv, "two large messages", &[(LARGE, USUAL); 2]),
        Case::new(Act::TryRecvMany(3), "mixed, full", &mixed),
        Case::new(Act::Purge, "mixed, full", &mixed),
        Case::new(Act::Peek, "mixed, full", &mixed),
        Case::new(Act::Open, "three messages", &three),
    ]
}

/// What a first victim died in, and what the second, which finds the mess, is stepped through.
fn pairs() -> Vec<(Act, Case)> {
    let three = [(SMALL, USUAL); 3];
    let large = [(LARGE, USUAL); 3];
    let recoveries = [Act::Recv, Act::Send(SMALL), Act::Stat, Act::Open];
    let mut all = Vec::new();
    for second in recoveries {
        all.push((Act::Send(SMALL), Case::new(second, "", &three).capacity(5)));
        all.push((Act::Recv, Case::new(second, "", &three)));
        all.push((Act::Recv, Case::new(second, "", &large)));
        all.push((Act::RecvMany(2), Case::new(second, "", &large)));
    }
    all
}

/// Two that died one after the other, and the second one who repairs.
fn triples() -> Vec<(Act, Act, Case)> {
    let three = [(SMALL, USUAL); 3];
    let large = [(LARGE, USUAL); 3];
    vec![
        (Act::Send(SMALL), Act::Stat, Case::new(Act::Recv, "", &three).capacity(5)),
        (Act::Send(SMALL), Act::Recv, Case::new(Act::Stat, "", &three).capacity(5)),
        (Act::Recv, Act::Recv, Case::new(Act::Recv, "", &large)),
        (Act::RecvMany(2), Act::Stat, Case::new(Act::Open, "", &large)),
        (Act::Recv, Act::Open, Case::new(Act::Send(SMALL), "", &three).capacity(5)),
    ]
}

// ---- one kill ----

type Pipe = (PipeReader, PipeWriter);

fn pipe() -> Pipe {
    std::io::pipe().expect("a pipe")
}

/// What a survivor found.
struct Report {
    /// How long its own calls took until it had sent and received.
    took: Duration,
    /// How long one slept whom nobody woke.
    slept: Option<Duration>,
    /// Everything received, in order: id and how often it had been in dead hands.
    received: Vec<(u64, u32)>,
    /// How many of these came before the survivor sent its own message.
    earlier: usize,
    closed: bool,
    unlinked: bool,
    /// Whether there was a file of the queue's name when the survivor began.
    named: bool,
}

impl Report {
    fn to_text(&self) -> String {
        let received: Vec<String> = self.received.iter().map(|(id, dead)| format!("{id}:{dead}")).collect();
        let flags = [self.closed, self.unlinked, self.named].map(u8::from);
        let [closed, unlinked, named] = flags;
        let (took, earlier) = (self.took.as_nanos(), self.earlier);
        let slept = self.slept.map_or_else(|| "-".to_owned(), |slept| slept.as_nanos().to_string());
        format!("{took} {slept} {earlier} {closed} {unlinked} {named} {}", received.join(","))
    }

    fn from_text(text: &str) -> Option<Report> {
        let mut words = text.split(' ');
        let took = Duration::from_nanos(words.next()?.parse().ok()?);
        let slept = words.next()?.parse().ok().map(Duration::from_nanos);
        let earlier = words.next()?.parse().ok()?;
        let mut flag = || Some(words.next()? == "1");
        let (closed, unlinked, named) = (flag()?, flag()?, flag()?);
        let received = words.next()?.split(',').filter(|pair| !pair.is_empty());
        let received = received.map(|pair| {
            let (id, dead) = pair.split_once(':')?;
            Some((id.parse().ok()?, dead.parse().ok()?))
        });
        let received = received.collect::<Option<_>>()?;
        Some(Report { took, slept, received, earlier, closed, unlinked, named })
    }
}

/// The queue of one kill and whoever lives beside the victim.
struct Scene<'a> {
    case: &'a Case,
    dir: tempfile::TempDir,
    options: QueueOptions,
    sleeper: Option<Child>,
    woken: Option<PipeReader>,
}

impl<'a> Scene<'a> {
    fn new(case: &'a Case) -> Scene<'a> {
        let dir = scratch();
        let mut options = Queue::options();
        options.dir(dir.path()).capacity(case.capacity).message_size(case.message_size);
        if !case.act.makes_queue() {
            let queue = options.create_new("/q").expect("the queue of this kill");
            if case.warm {
                warm_up(&queue);
            }
            for (id, (length, priority)) in (BEFORE..).zip(&case.before) {
                queue.try_send(&payload(id, *length), *priority).expect("what is there before");
            }
        }
        Scene { case, dir, options, sleeper: None, woken: None }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("chappe.mq.q")
    }

    /// Starts who is to be asleep, and waits until that is so.
    fn put_to_sleep(&mut self) {
        let which = self.case.asleep;
        if which == Asleep::Nobody {
            return;
        }
        let (woken, mut wakes) = std::io::pipe().expect("a pipe");
        let options = self.options.clone();
        let child = Child::fork(move || {
            let queue = options.open("/q").expect("the sleeper opens");
            let text = match which {
                Asleep::Sender => match queue.send(&payload(SLEEPER, SMALL), USUAL) {
                    Ok(()) => "sent".to_owned(),
                    Err(error) => error.to_string(),
                },
                _ => match queue.recv() {
                    Ok(message) => format!("{}:{}", name(&message.data), message.redelivered),
                    Err(error) => error.to_string(),
                },
            };
            writeln!(wakes, "{text}").is_ok()
        });
        let pid = child.0.expect("just forked") as u32;
        let queue = self.options.open("/q").expect("the onlooker opens");
        let blocked = |stat: QueueStat| stat.counters.send_blocked + stat.counters.recv_blocked;
        common::until("somebody sleeps", || blocked(queue.stat().expect("stat")) > 0 && asleep(pid));
        (self.sleeper, self.woken) = (Some(child), Some(woken));
    }
}

/// Uses every slot, with the largest messages of these tests, so that everything is reserved.
fn warm_up(queue: &Queue) {
    let large = payload(0, PAGES);
    for priority in [1, USUAL, 9] {
        while queue.try_send(&large, priority).is_ok() {}
        while queue.try_recv().is_ok() {}
    }
}

/// The id of a whole message; `torn` is an id that no account has.
fn name(data: &[u8]) -> u64 {
    identify(data).unwrap_or(u64::MAX)
}

/// A scene with everybody in place: the survivor that was there before, the earlier deaths past, the victim about to act.
struct Set<'a> {
    case: &'a Case,
    scene: Scene<'a>,
    companion: Option<Victim>,
    victim: Victim,
    /// Gives a victim that waits what it waits for.
    waker: Option<Waker>,
    survivor: Option<Child>,
    go: Pipe,
    report: Pipe,
    /// What one that is let live tells: the companion, or a victim that was only stopped.
    told: Pipe,
    /// An earlier victim died elsewhere than it was to.
    strayed: bool,
}

impl<'a> Set<'a> {
    fn new(case: &'a Case, mode: Mode) -> Result<Set<'a>, String> {
        let mut scene = Scene::new(case);
        scene.put_to_sleep();
        let (go, report, told) = (pipe(), pipe(), pipe());
        let companion = case.beside.as_ref().map(|beside| start_companion(beside, &scene, &told.1)).transpose()?;
        let survivor = mode.attached.then(|| start_survivor(&scene, mode, &go.0, &report)).transpose()?;
        let victim = start_victim(case.act, &scene.options, case.victim(), Some(&told.1))?;
        let ids = (VICTIM..).step_by(NEXT_VICTIM as usize);
        let start = |((act, ..), id): (&(Act, Rc<Way>, usize), u64)| start_victim(*act, &scene.options, id, None);
        let firsts = case.earlier.iter().zip(ids).map(start).collect::<Result<Vec<_>, String>>()?;
        let mut strayed = false;
        for ((_, way, k), mut first) in case.earlier.iter().zip(firsts) {
            strayed |= first.follow(way, *k, Leaps::Any)? == Stand::Astray;
            first.child.kill();
        }
        let waker = case.act.waits().then(|| start_waker(case.act, &scene, victim.pid() as u32));
        Ok(Set { case, scene, companion, victim, waker, survivor, go, report, told, strayed })
    }

    fn go(&mut self) -> Result<(), String> {
        writeln!(self.go.1, "go").map_err(|error| error.to_string())
    }

    /// Has the survivor do its part beside one that is stopped.
    fn meet(&mut self) -> Result<(), String> {
        self.go()?;
        match read_line(&self.report.0).map_err(|error| format!("the survivor hangs or died: {error}"))?.as_str() {
            "done" => Ok(()),
            fault => Err(fault.to_owned()),
        }
    }

    /// Lets the survivor go on, or has one come; what it found, and what a companion that is let finish then tells.
    fn survive(mut self, mode: Mode) -> Result<(Report, Told), String> {
        if self.survivor.is_none() {
            self.survivor = Some(start_survivor(&self.scene, mode, &self.go.0, &self.report)?);
        }
        let mut told = Told::default();
        if self.waker.take().map_or(Ok(false), Waker::end)? {
            let receives = matches!(self.case.act, Act::SendWaits(_));
            told = if receives { Told { count: 0, ids: vec![BEFORE] } } else { Told { count: 1, ids: Vec::new() } };
        }
        if self.case.beside.is_some() {
            self.meet()?;
            self.companion.as_mut().expect("it was started").finish()?;
            told = Told::read(&self.told.0).map_err(|error| format!("the companion: {error}"))?;
        }
        self.go()?;
        let text = read_line(&self.report.0).map_err(|error| format!("the survivor hangs or died: {error}"))?;
        Ok((text.strip_prefix("found ").and_then(Report::from_text).ok_or(text)?, told))
    }
}

/// What one that was let live did: how many it sent or threw away, and what it received.
#[derive(Default)]
struct Told {
    count: usize,
    ids: Vec<u64>,
}

impl Told {
    fn read(from: &PipeReader) -> Result<Told, String> {
        let told = read_line(from)?;
        let (count, ids) = told.split_once(' ').ok_or_else(|| told.clone())?;
        let ids = ids.split(',').filter_map(|id| id.parse().ok()).collect();
        Ok(Told { count: count.parse().map_err(|_| told.clone())?, ids })
    }
}

fn start_victim(act: Act, options: &QueueOptions, first_id: u64, tell: Option<&PipeWriter>) -> Result<Victim, String> {
    // The handle to inherit is opened by the parent, as it must be, and left to the child alone.
    let mut handle = act.inherits().then(|| options.open("/q").expect("the parent opens"));
    Victim::start(|| Stage::new(act, options, first_id, handle.take()), tell)
}

/// Starts one that receives a message, or sends one, when the victim sleeps.
fn start_waker(act: Act, scene: &Scene, victim: u32) -> Waker {
    match act {
        Act::RecvWaits => {
            let waits = |stat: &QueueStat| stat.counters.recv_blocked > 0;
            let send = |queue: &Queue| queue.send(&payload(COMPANION, SMALL), USUAL).is_ok();
            Waker::start(victim, &scene.options, waits, send)
        }
        _ => {
            let waits = |stat: &QueueStat| stat.counters.send_blocked > 0;
            let receive = |queue: &Queue| queue.recv().is_ok_and(|message| name(&message.data) == BEFORE);
            Waker::start(victim, &scene.options, waits, receive)
        }
    }
}

/// Starts one that stops with a slot in its hands.
fn start_companion(beside: &Beside, scene: &Scene, tell: &PipeWriter) -> Result<Victim, String> {
    let mut companion = start_victim(beside.act, &scene.options, COMPANION, Some(tell))?;
    let image = Image::open(&scene.path()).ok_or("there is no file")?;
    let there = || image.some_slot_is(beside.state) && image.u32(512) == 0;
    if let Some(way) = beside.way.get() {
        companion.follow(way, way.len() - 1, Leaps::Any)?;
    }
    let mut places = vec![companion.place()];
    while !there() {
        if companion.step()? != At::Inside {
            return Err("the companion came to its end with nothing in its hands".to_owned());
        }
        places.push(companion.place());
    }
    beside.way.get_or_init(|| Rc::new(Way::new(places)));
    Ok(companion)
}

/// Kills the victim of a fresh scene after `k` instructions and lets a survivor of this kind go on.
fn one_kill(case: &Case, way: &Way, k: usize, mode: Mode, leaps: Leaps) -> Result<Outcome, String> {
    let mut set = Set::new(case, mode)?;
    let stand = set.victim.follow(way, k, leaps)?;
    set.victim.child.kill();
    let same_path = stand != Stand::Astray && !set.strayed;
    let (report, told) = set.survive(mode)?;
    let progress = judge(case, &report, mode, &told)?;
    Ok(Outcome { took: report.took, slept: report.slept, progress, same_path })
}

/// Stops the victim after `k` instructions, has the survivor act beside it, then lets the victim finish.
fn one_pause(case: &Case, way: &Way, k: usize) -> Result<Duration, String> {
    let mut set = Set::new(case, Mode::PAUSE)?;
    set.victim.follow(way, k, Leaps::Any)?;
    set.meet()?;
    set.victim.finish()?;
    let told = Told::read(&set.told.0).map_err(|error| format!("the victim: {error}"))?;
    let (report, _) = set.survive(Mode::PAUSE)?;
    balance(case, &report, told.count, &told.ids).map(|()| report.took)
}

/// Between the living, every message is received exactly once, whoever was slow.
fn balance(case: &Case, report: &Report, count: usize, victim: &[u64]) -> Result<(), String> {
    let mut got: Vec<u64> = report.received.iter().map(|(id, _)| *id).chain(victim.iter().copied()).collect();
    let sent = if case.act.sends().is_empty() { 0 } else { count };
    let purged = if matches!(case.act, Act::Purge) { count } else { 0 };
    let mut expected: Vec<u64> = (BEFORE..).take(case.before.len()).collect();
    expected.extend((VICTIM..).take(sent));
    expected.push(SURVIVOR);
    got.sort_unstable();
    let missing = expected.iter().filter(|id| !got.contains(id)).count();
    let known = got.iter().all(|id| expected.contains(id)) && got.windows(2).all(|pair| pair[0] != pair[1]);
    if known && missing == purged {
        return Ok(());
    }
    Err(format!("received {got:?} of {expected:?}, {purged} were thrown away"))
}

/// Forks a survivor and waits until it is in its place.
fn start_survivor(scene: &Scene, mode: Mode, mut go: &PipeReader, report: &Pipe) -> Result<Child, String> {
    let child = Child::fork(|| {
        let attached = (mode.attached && !scene.case.act.makes_queue())
            .then(|| scene.options.open("/q").expect("the survivor opens"));
        // Its name may be gone later on.
        let image = attached.as_ref().and_then(|_| Image::open(&scene.path()));
        let mut tell = &report.1;
        writeln!(tell, "here").expect("the report's pipe");
        go.read_exact(&mut [0; 3]).expect("the pipe to go");
        let mut meet = || {
            writeln!(tell, "done").expect("the report's pipe");
            go.read_exact(&mut [0; 3]).expect("the pipe to go");
        };
        let found = catch_unwind(AssertUnwindSafe(|| match attached {
            Some(queue) if mode.pause => Survivor::new(scene, queue, image).coexist(&mut meet),
            attached => survive(scene, mode, attached, image, &mut meet),
        }));
        let text = match found {
            Ok(Ok(report)) => format!("found {}", report.to_text()),
            Ok(Err(fault)) => fault,
            Err(_) => "the survivor panicked".to_owned(),
        };
        writeln!(tell, "{}", text.replace('\n', " ")).is_ok()
    });
    match read_line(&report.0)?.as_str() {
        "here" => Ok(child),
        other => Err(format!("the survivor began with {other:?}")),
    }
}

// ---- what a survivor does ----

/// Sends, receives everything, fills the queue to its exact capacity and empties it again.
fn survive(
    scene: &Scene,
    mode: Mode,
    attached: Option<Queue>,
    image: Option<Image>,
    meet: &mut dyn FnMut(),
) -> Result<Report, String> {
    let case = scene.case;
    let named = scene.path().exists();
    let start = Instant::now();
    let queue = match (attached, case.act) {
        (Some(queue), _) => queue,
        // The victim got as far as the name, which must be free.
        (None, Act::Unlink) if !named => timely("create_new", || scene.options.create_new("/q"))?,
        (None, act) if act.makes_queue() => timely("create", || scene.options.create("/q"))?,
        (None, _) => timely("open", || scene.options.open("/q"))?,
    };
    let afresh = !mode.attached && matches!(case.act, Act::Unlink) && !named;
    let mut survivor = Survivor::new(scene, queue, image.or_else(|| Image::open(&scene.path())));
    if mode.looks {
        survivor.settled()?;
        survivor.words()?;
    }
    if let Some(woken) = scene.woken.as_ref().filter(|_| !afresh) {
        survivor.mind_the_sleeper(woken)?;
    }
    if case.full() && !afresh {
        survivor.receive()?;
    }
    survivor.send()?;
    let first = survivor.receive()?;
    let took = start.elapsed() - survivor.idle;
    while first && survivor.receive()? {}
    if case.beside.is_some() {
        meet();
        survivor.met = true;
        while survivor.receive()? {}
    }
    let stat = survivor.settled()?;
    if !afresh {
        survivor.all_is_clean(&stat)?;
    }
    survivor.words()?;
    if !survivor.ended {
        survivor.fill_and_empty()?;
    }
    let (closed, unlinked, slept) = (stat.closed, stat.unlinked, survivor.slept);
    let received = if afresh { Vec::new() } else { survivor.received };
    Ok(Report { took, slept, received, earlier: survivor.earlier, closed, unlinked, named })
}

struct Survivor<'a> {
    scene: &'a Scene<'a>,
    case: &'a Case,
    queue: Queue,
    image: Option<Image>,
    received: Vec<(u64, u32)>,
    /// How many of these came before the message of its own was sent.
    earlier: usize,
    sent: bool,
    /// Closed or unlinked.
    ended: bool,
    /// Spent on what are not its own calls: minding the sleeper, reading the file.
    idle: Duration,
    slept: Option<Duration>,
    /// The companion has come to its end.
    met: bool,
}

/// A call that must not hang.
fn timely<T, E: std::fmt::Display>(what: &str, call: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    let start = Instant::now();
    let result = call().map_err(|error| format!("the survivor's {what}: {error}"))?;
    let took = start.elapsed();
    if took > NET { Err(format!("the survivor's {what} took {took:?}")) } else { Ok(result) }
}

impl<'a> Survivor<'a> {
    fn new(scene: &'a Scene, queue: Queue, image: Option<Image>) -> Survivor<'a> {
        let (received, idle) = (Vec::new(), Duration::ZERO);
        let (earlier, sent, ended, slept, met) = (0, false, false, None, false);
        Survivor { scene, case: scene.case, queue, image, received, earlier, sent, ended, idle, slept, met }
    }

    /// Does what it can beside a stopped process without waiting for it, meets its end, and does the rest.
    fn coexist(mut self, meet: &mut dyn FnMut()) -> Result<Report, String> {
        let start = Instant::now();
        self.sent = match self.queue.try_send(&payload(SURVIVOR, SMALL), USUAL) {
            Ok(()) => true,
            Err(SendError::Full | SendError::Busy) => false,
            Err(error) => return Err(format!("send beside a stopped process: {error}")),
        };
        loop {
            match self.queue.try_recv() {
                Ok(message) => self.received.push((name(&message.data), message.redelivered)),
                Err(RecvError::Empty | RecvError::Busy) => break,
                Err(error) => return Err(format!("receive beside a stopped process: {error}")),
            }
        }
        let took = start.elapsed();
        meet();
        self.send()?;
        while self.receive()? {}
        let stat = self.settled()?;
        self.all_is_clean(&stat)?;
        if stat.counters.recovered != 0 || stat.counters.redelivered != 0 {
            return Err(format!("a living process was taken for dead: {:?}", stat.counters));
        }
        self.fill_and_empty()?;
        let received = self.received;
        Ok(Report { took, slept: None, received, earlier: 0, closed: false, unlinked: false, named: true })
    }

    /// The words of the file are as they must be.
    fn words(&mut self) -> Result<(), String> {
        let start = Instant::now();
        self.image.as_ref().map_or(Ok(()), Image::check)?;
        self.idle += start.elapsed();
        Ok(())
    }

    /// Sends the survivor's message, once; makes room for it first if the queue is rightly full.
    fn send(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.sent, true) {
            return Ok(());
        }
        let message = payload(SURVIVOR, SMALL);
        self.earlier = self.received.len();
        match self.queue.try_send(&message, USUAL) {
            Ok(()) => Ok(()),
            Err(SendError::Closed | SendError::Unlinked) if self.case.ends() => {
                self.ended = true;
                Ok(())
            }
            Err(SendError::Full) => {
                let stat = self.settled()?;
                let room = u64::from(self.case.capacity) - self.stopped();
                if stat.len < room {
                    return Err(format!("Full with {} messages there; {}", stat.len, self.describe()));
                }
                self.receive()?;
                self.earlier = self.received.len();
                timely("send", || self.queue.send_timeout(&message, USUAL, NET))
            }
            Err(error) => Err(format!("the survivor's send: {error}; {}", self.describe())),
        }
    }

    /// Receives one message; false if there is none.
    fn receive(&mut self) -> Result<bool, String> {
        match timely("receive", || match self.queue.try_recv() {
            Err(RecvError::Empty | RecvError::Closed | RecvError::Unlinked) => Ok(None),
            other => other.map(Some),
        })? {
            None => Ok(false),
            Some(message) => {
                self.received.push((name(&message.data), message.redelivered));
                Ok(true)
            }
        }
    }

    /// `stat`, after which nothing of the dead may be left.
    fn settled(&self) -> Result<QueueStat, String> {
        let stat = timely("stat", || self.queue.stat())?;
        let alone = self.case.asleep == Asleep::Nobody;
        if alone && stat.being_sent + stat.being_received != self.stopped() {
            return Err(format!("stat leaves {} being sent, {} being received", stat.being_sent, stat.being_received));
        }
        Ok(stat)
    }

    /// How many slots are in the hands of one that lives and does not go on.
    fn stopped(&self) -> u64 {
        u64::from(self.case.beside.is_some() && !self.met)
    }

    fn describe(&self) -> String {
        let stat = self.queue.stat().map(|stat| (stat.len, stat.being_sent, stat.being_received, stat.counters));
        format!("received {:?}; (len, being sent, being received), counters: {stat:?}", self.received)
    }

    /// Waits for the sleeper, and only if the dead one's act cannot have woken it does what wakes it.
    fn mind_the_sleeper(&mut self, woken: &PipeReader) -> Result<(), String> {
        let (start, idle) = (Instant::now(), self.idle);
        let mut nudged = false;
        if self.case.patient && !readable(woken.as_raw_fd(), PATIENCE) {
            let stat = timely("stat", || self.queue.stat())?;
            if !self.sleeper_has_reason(&stat) {
                return Err(format!("the sleeper sleeps for {PATIENCE:?} without reason; {}", self.describe()));
            }
        }
        while !readable(woken.as_raw_fd(), Duration::from_millis(1)) {
            if start.elapsed() > PATIENCE + NET {
                return Err(format!("the sleeper was not woken (nudged: {nudged}); {}", self.describe()));
            }
            let stat = timely("stat", || self.queue.stat())?;
            let still = stat.being_sent + stat.being_received == 0;
            if !nudged && still && self.sleeper_has_reason(&stat) {
                nudged = true;
                match self.case.asleep {
                    Asleep::Receiver => self.send()?,
                    _ => drop(self.receive()?),
                }
            }
        }
        self.slept = (!nudged).then(|| start.elapsed());
        self.idle = idle + start.elapsed();
        let text = read_line(woken)?;
        match text.split_once(':').and_then(|(id, dead)| Some((id.parse().ok()?, dead.parse().ok()?))) {
            Some(got) => self.received.push(got),
            None if text == "sent" => {}
            None if ["the queue was closed", "the queue was unlinked"].contains(&text.as_str()) && self.case.ends() => {
                self.ended = true;
            }
            None => return Err(format!("the sleeper said {text:?}")),
        }
        Ok(())
    }

    /// Whether it is right that the sleeper sleeps.
    fn sleeper_has_reason(&self, stat: &QueueStat) -> bool {
        if stat.closed || stat.unlinked {
            return false;
        }
        match self.case.asleep {
            Asleep::Receiver => stat.len == 0,
            _ => stat.len == u64::from(self.case.capacity),
        }
    }

    fn all_is_clean(&self, stat: &QueueStat) -> Result<(), String> {
        if (stat.len, stat.being_sent, stat.being_received) != (0, 0, 0) {
            return Err(format!("not empty after a receive said so: {}", self.describe()));
        }
        if self.case.asleep == Asleep::Nobody && stat.participants.len() != 1 {
            return Err(format!("the dead are still listed: {:?}", stat.participants));
        }
        let files = std::fs::read_dir(self.scene.dir.path()).map_err(|error| error.to_string())?.count();
        if files > 1 { Err(format!("{files} files are left in the directory")) } else { Ok(()) }
    }

    /// Exactly as many messages as the capacity says fit, and come back in order.
    fn fill_and_empty(&mut self) -> Result<(), String> {
        let capacity = u64::from(self.case.capacity);
        let length = |id: u64| if id.is_multiple_of(3) { LARGE } else { SMALL };
        for id in FILLER..FILLER + capacity {
            if let Err(error) = self.queue.try_send(&payload(id, length(id)), USUAL) {
                return Err(format!("{} of {capacity} fit, then: {error}; {}", id - FILLER, self.describe()));
            }
        }
        if self.queue.try_send(b"one too many", USUAL) != Err(SendError::Full) {
            return Err(format!("more than {capacity} messages fit"));
        }
        self.words()?;
        for id in FILLER..FILLER + capacity {
            let got = self.queue.try_recv().map(|message| name(&message.data));
            if got != Ok(id) {
                return Err(format!("{got:?} instead of {id} among the messages that filled it"));
            }
        }
        match self.queue.try_recv() {
            Err(RecvError::Empty) => self.words(),
            other => Err(format!("{other:?} instead of Empty at the end")),
        }
    }
}

// ---- the account ----

/// Checks the account and returns how much of the victim's operation was done.
fn judge(case: &Case, report: &Report, mode: Mode, told: &Told) -> Result<usize, String> {
    let received = report.received.iter().map(|(id, _)| *id);
    let ids: Vec<u64> = received.chain(told.ids.iter().copied()).collect();
    let fault = |what: &str| Err(format!("{what}: received {:?} (id, times in dead hands)", report.received));
    if matches!(case.act, Act::Unlink) && !mode.attached && !report.named {
        return Ok(2);
    }
    let everything = case.everything();
    if ids.iter().any(|id| !everything.iter().any(|(known, _)| known == id)) {
        return fault("torn or unknown");
    }
    if (1..ids.len()).any(|index| ids[..index].contains(&ids[index])) {
        return fault("received twice");
    }
    if !in_order(report, mode, &everything) {
        return fault("out of order");
    }
    let missing: Vec<u64> = everything.iter().map(|(id, _)| *id).filter(|id| !ids.contains(id)).collect();
    let ended = report.closed || report.unlinked;
    let companions = COMPANION..COMPANION + told.count as u64;
    let takes_companions = matches!(case.act, Act::RecvWaits);
    let whole_sends = |id: &u64| [SLEEPER, SURVIVOR].contains(id) || companions.contains(id) && !takes_companions;
    if !ended && missing.iter().any(whole_sends) {
        return fault("lost, though its send returned");
    }
    let sent = progress_of_sends(case, &ids).ok_or_else(|| format!("sent out of turn: received {ids:?}"))?;
    let taken = missing.iter().filter(|id| **id < VICTIM).count();
    progress_of_takes(case, &missing, &told.ids, report)?;
    let progress = match case.act {
        Act::Close => usize::from(report.closed),
        Act::Unlink => usize::from(!report.named) + usize::from(report.unlinked),
        Act::Create | Act::CreateEphemeral => usize::from(report.named),
        Act::DropEphemeral => usize::from(!report.named),
        Act::RecvWaits => missing.iter().filter(|id| companions.contains(id)).count(),
        _ => sent + taken,
    };
    if matches!(case.act, Act::Unlink) && report.unlinked && report.named {
        return fault("unlinked, but the name is there");
    }
    if case.earlier.is_empty() && progress > case.whole {
        return fault("more than the operation does");
    }
    Ok(progress)
}

/// Whether what was received came in order. What was in dead hands may come late if nobody looked before; and the survivor's
/// own message has its place among those only that were received after it was sent.
fn in_order(report: &Report, mode: Mode, everything: &[(u64, u16)]) -> bool {
    let place = |id: u64| everything.iter().position(|(known, _)| *known == id);
    let counts = |dead: u32| mode.looks || dead == 0;
    // What a companion sends comes when it is let finish.
    let ids = |received: &[(u64, u32)]| -> Vec<u64> {
        received.iter().filter(|(id, dead)| counts(*dead) && *id < COMPANION).map(|(id, _)| *id).collect()
    };
    let others = ids(&report.received).into_iter().filter(|id| *id != SURVIVOR).map(place).is_sorted();
    let later = report.received.get(report.earlier..).unwrap_or_default();
    others && ids(later).into_iter().map(place).is_sorted()
}

/// How many of the victim's messages are there: the first ones, without a gap.
fn progress_of_sends(case: &Case, ids: &[u64]) -> Option<usize> {
    let sent = (case.victim()..).zip(case.act.sends()).take_while(|(id, _)| ids.contains(id)).count();
    let all = (case.victim()..).zip(case.act.sends()).filter(|(id, _)| ids.contains(id)).count();
    (sent == all).then_some(sent)
}

/// Only what the dead were taking may be missing or have been in dead hands. What others have is nobody's who died.
fn progress_of_takes(case: &Case, missing: &[u64], others: &[u64], report: &Report) -> Result<(), String> {
    let lost: Vec<u64> = missing.iter().copied().filter(|id| *id < VICTIM).collect();
    let all = case.everything().into_iter().map(|(id, _)| id);
    let there: Vec<u64> = all.filter(|id| *id < VICTIM && !others.contains(id)).collect();
    let takes = case.act.takes(there.len()) + case.earlier_takes();
    // One victim takes from the front. A second one passes over what the first had in its hands when it died.
    let front = &there[..takes.min(there.len())];
    let allowed = if matches!(case.act, Act::Purge) || !case.earlier.is_empty() { &there[..] } else { front };
    let in_turn = !case.earlier.is_empty() || matches!(case.act, Act::Purge) || lost == there[..lost.len()];
    if lost.len() > takes || lost.iter().any(|id| !allowed.contains(id)) || !in_turn {
        return Err(format!("lost {lost:?} of {there:?}, of which the dead can have taken {takes}"));
    }
    match report.received.iter().find(|(id, dead)| *dead > 0 && !allowed.contains(id)) {
        Some((id, dead)) => Err(format!("{id} claims to have been in dead hands {dead} times")),
        None => Ok(()),
    }
}

// ---- the program ----

/// The checker that all rows rely on complains if a word is wrong: each of the caches, and of the slots and lists that are in use.
fn run_checker() -> Row {
    let mut row = Row::default();
    let case = Case::new(Act::Stat, "", &[(SMALL, USUAL), (SMALL, 9), (SMALL, 9)]);
    let scene = Scene::new(&case);
    // So that they are in the index.
    let queue = scene.options.open("/q").expect("its queue opens");
    queue.stat().expect("stat");
    drop(queue);
    let image = Image::open(&scene.path()).expect("its file");
    let level = |priority: u64| 274_432 + 8 * priority;
    let mut places = vec![512, 516, 520, 528, 536, 544, 548, 552, 556, 576, 8192, level(5), level(9), level(9) + 4];
    for slot in (0..case.capacity).filter(|slot| image.slot(*slot).0 != 0) {
        // Ticket; owner, state and what else there is.
        places.extend([0, 4].map(|half| image.slots() + 64 * u64::from(slot) + half));
    }
    match image.check() {
        Ok(()) => {}
        Err(what) => row.fault(0, None, Mode::PAUSE, &format!("a sound file: {what}")),
    }
    for place in image.blind_spots(&scene.path(), &places) {
        row.fault(0, None, Mode::PAUSE, &format!("nothing is wrong with one more at {place} of the file"));
    }
    row
}

fn jobs() -> Vec<Job> {
    let plan = Plan::new(if cfg!(debug_assertions) { 25 } else { 26 });
    let pauses = number("CHAPPE_KILL_PAUSES").unwrap_or(3).max(1) as usize;
    let deaths = number("CHAPPE_KILL_PAIRS").unwrap_or(if cfg!(debug_assertions) { 0 } else { 2 }) as usize;
    let mut jobs = vec![Job { title: "the checker | a wrong word".to_owned(), long: true, run: Box::new(run_checker) }];
    if cfg!(debug_assertions) {
        println!(
            "waits: skipped in a debug build, in which spinning has too many instructions; `cargo test --release --test kill` has them"
        );
    }
    for case in cases().into_iter().filter(|case| !cfg!(debug_assertions) || !case.act.may_sleep()) {
        let long = case.act.long() || case.patient;
        jobs.push(Job { title: case.title(), long, run: Box::new(move || kill::run(&case, plan)) });
    }
    for case in paused() {
        let title = format!("pause: {}", case.title());
        let run = move || kill::run_pauses(&case, pauses, |way, k| one_pause(&case, way, k));
        jobs.push(Job { title, long: true, run: Box::new(run) });
    }
    if deaths == 0 {
        println!("deaths of repairers: skipped in a debug build; `cargo test --release --test kill` has them");
    }
    let pairs = pairs().into_iter().map(|(first, last)| (vec![first], last, deaths));
    let triples = triples().into_iter().map(|(first, second, last)| (vec![first, second], last, deaths.min(3)));
    for (firsts, last, deaths) in pairs.chain(triples).filter(|(.., deaths)| *deaths > 0) {
        let sizes = if last.before[0].0 == SMALL { "small" } else { "large" };
        let names = firsts.iter().map(|act| act.name()).collect::<Vec<_>>().join(", then ");
        let title = format!("{} | after a death in {names} ({sizes})", last.act.name());
        let run = move || {
            let alone = |act: &Act, before: &_| Case::new(*act, "", &last.before).capacity(last.capacity).after(before);
            kill::run_deaths(&firsts, plan, deaths, alone, |before| last.after(before))
        };
        jobs.push(Job { title, long: true, run: Box::new(run) });
    }
    jobs
}

fn main() -> ExitCode {
    Program { test: "death_at_every_instruction", lanes: 3, pinned: false }.main(jobs)
}
