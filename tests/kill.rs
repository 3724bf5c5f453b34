//! Death at every instruction: a process is single-stepped through one operation and SIGKILLed after its k-th instruction,
//! for every k (or every few), each time with a fresh queue and fresh processes. Then a survivor has to go on, and every
//! message is accounted for.
//!
//! Rows that begin with `pause:` stop the process there instead, let another one act beside it without waiting for it, and then
//! let it finish: it must not be taken for dead, and nobody may be in the other's way for good.
//!
//! It drives the real library through its public face; it knows nothing of the layout. Instructions inside a system call
//! cannot be stepped: the kernel does the whole call or nothing of it. Blocking waits are left out of what is stepped.
//!
//! - `CHAPPE_KILL_EVERY=1` kills at every instruction; without it, at about 40 of each operation, 25 in a
//!   debug build (`CHAPPE_KILL_POINTS`).
//! - `CHAPPE_KILL_MODES=4` lets each kind of survivor (attached before or after the death; looking first or not) meet each
//!   kill; without it, they take turns.
//! - `CHAPPE_KILL_PAIRS=20` kills the repairing process at 20 instructions of its repair after a death at each of 20
//!   instructions of the first; 6 without it, and none in a debug build, where a repair has some 200000 instructions.
//! - `CHAPPE_KILL_PAUSES=40` stops at 40 instructions of each operation; 3 without it, since the other waits half a second for a
//!   lock whose holder does not run.
//! - Words on the command line choose the operations whose row holds one of them.

mod common;

use chappe::{Batch, Queue, QueueOptions, QueueStat, RecvError, SendError};
use common::step::{self, Child, Leaps, Place, Row, Stand, Victim, read_line};
use common::{asleep, identify, number, payload, readable, scratch};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A survivor that takes longer than this for one call has failed; the table shows what they really take.
const BOUND: Duration = Duration::from_secs(2);

/// By then a sleeper has seen by itself what it was not told: half a second, and what the machine makes of it.
const PATIENCE: Duration = Duration::from_millis(900);

/// Small enough to be inline, large enough to need an extent, large enough to need several pages.
const SMALL: usize = 24;
const LARGE: usize = 600;
const PAGES: usize = 5000;

/// What ids tell: who sent a message. Also the order in which equals must come.
const BEFORE: u64 = 0;
const VICTIM: u64 = 1000;
const SECOND_VICTIM: u64 = 2000;
const SLEEPER: u64 = 3000;
const SURVIVOR: u64 = 4000;
const FILLER: u64 = 5000;

/// The priority of whoever does not care.
const USUAL: u16 = 5;

// ---- what is done to the queue ----

/// The operation that a victim is stepped through.
#[derive(Clone, Copy, Debug)]
enum Act {
    Send(usize),
    TrySend(usize),
    SendMany(&'static [usize]),
    TrySendMany(&'static [usize]),
    /// The first call through a handle that was inherited by fork.
    InheritedSend(usize),
    Recv,
    TryRecv,
    RecvInto,
    RecvMany(usize),
    TryRecvMany(usize),
    Peek,
    Stat,
    Purge,
    Close,
    Unlink,
    Open,
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
            Act::InheritedSend(length) => format!("fork, send {length}"),
            Act::TrySendMany(lengths) => format!("try_send_many {lengths:?}"),
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
            Act::Send(length) | Act::TrySend(length) | Act::InheritedSend(length) => vec![length],
            Act::SendMany(lengths) | Act::TrySendMany(lengths) => lengths.to_vec(),
            _ => Vec::new(),
        }
    }

    /// How many messages it takes, of as many as there are.
    fn takes(self, there: usize) -> usize {
        match self {
            Act::Recv | Act::TryRecv | Act::RecvInto => there.min(1),
            Act::RecvMany(max) | Act::TryRecvMany(max) => there.min(max),
            Act::Purge => there,
            _ => 0,
        }
    }

    fn needs_handle(self) -> bool {
        !self.makes_queue() && !matches!(self, Act::Open | Act::Unlink | Act::InheritedSend(_))
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
            Act::Send(_) | Act::InheritedSend(_) => {
                queue.send(&self.messages[0].0, USUAL)?;
                self.count = 1;
            }
            Act::TrySend(_) => match queue.try_send(&self.messages[0].0, USUAL) {
                Ok(()) => self.count = 1,
                Err(SendError::Full) => {}
                Err(error) => return Err(error.into()),
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
            Act::Recv => self.got.push(queue.recv()?.data),
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
            Act::Unlink | Act::Open | Act::Create | Act::CreateEphemeral => unreachable!("these have no handle"),
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
    /// Another process died before, while this victim was there already.
    earlier: Option<Earlier>,
}

/// The death of a first victim.
#[derive(Clone)]
struct Earlier {
    act: Act,
    /// Its way through the operation, and how far it got.
    path: Rc<[Place]>,
    k: usize,
}

impl Case {
    fn new(act: Act, state: &'static str, before: &[(usize, u16)]) -> Case {
        let whole = match act {
            Act::Close | Act::Create | Act::CreateEphemeral | Act::DropEphemeral => 1,
            Act::Unlink => 2,
            _ => act.sends().len() + act.takes(before.len()),
        };
        let before = before.to_vec();
        Case {
            state,
            capacity: 4,
            message_size: 8192,
            warm: true,
            before,
            asleep: Asleep::Nobody,
            act,
            patient: false,
            whole,
            earlier: None,
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

    fn full(&self) -> bool {
        self.before.len() == self.capacity as usize
    }

    fn title(&self) -> String {
        format!("{} | {}", self.act.name(), self.state)
    }

    /// What may be received in the end, in the order in which it must be: id and priority.
    fn everything(&self) -> Vec<(u64, u16)> {
        let mut all: Vec<(u64, u16)> =
            (BEFORE..).zip(&self.before).map(|(id, (_, priority))| (id, *priority)).collect();
        let usual = |ids: std::ops::Range<u64>| ids.map(|id| (id, USUAL));
        if let Some(earlier) = &self.earlier {
            all.extend(usual(VICTIM..VICTIM + earlier.act.sends().len() as u64));
        }
        all.extend(usual(self.victim()..self.victim() + self.act.sends().len() as u64));
        if self.asleep == Asleep::Sender {
            all.push((SLEEPER, USUAL));
        }
        all.push((SURVIVOR, USUAL));
        all.sort_by_key(|(id, priority)| (std::cmp::Reverse(*priority), *id));
        all
    }

    /// The first id of the stepped victim's messages.
    fn victim(&self) -> u64 {
        if self.earlier.is_some() { SECOND_VICTIM } else { VICTIM }
    }

    /// How many of the messages there before an earlier victim may have taken.
    fn earlier_takes(&self) -> usize {
        self.earlier.as_ref().map_or(0, |earlier| earlier.act.takes(self.before.len()))
    }
}

fn cases() -> Vec<Case> {
    let one = [(SMALL, USUAL)];
    let three = [(SMALL, 1), (SMALL, 9), (SMALL, USUAL)];
    let many = [(SMALL, USUAL); 64];
    let large = [(LARGE, USUAL), (SMALL, USUAL)];
    let mixed = [(LARGE, USUAL), (SMALL, 9), (PAGES, 9), (SMALL, 1)];
    let full = [(SMALL, USUAL); 4];
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
        Case::new(Act::SendMany(&[SMALL, SMALL, SMALL]), "one message", &one),
        Case::new(Act::SendMany(&[LARGE, SMALL, LARGE]), "empty", &[]),
        Case::new(Act::SendMany(&[SMALL, SMALL]), "a receiver asleep", &[]).asleep(Asleep::Receiver),
        Case::new(Act::InheritedSend(SMALL), "one message", &one),
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
        Case::new(Act::RecvMany(3), "mixed, full", &mixed),
        Case::new(Act::RecvMany(3), "small, full", &full),
        Case::new(Act::Peek, "mixed, full", &mixed),
        Case::new(Act::Stat, "three messages", &three),
        Case::new(Act::Purge, "mixed, full", &mixed),
        Case::new(Act::Purge, "three messages", &three),
        Case::new(Act::Close, "three messages", &three),
        Case::new(Act::Unlink, "three messages", &three),
        Case::new(Act::Open, "three messages", &three),
        Case::new(Act::Close, "a receiver asleep", &[]).asleep(Asleep::Receiver),
        Case::new(Act::Close, "a sender asleep", &full).asleep(Asleep::Sender),
        Case::new(Act::Unlink, "a receiver asleep", &[]).asleep(Asleep::Receiver),
        Case::new(Act::Purge, "a sender asleep", &full).asleep(Asleep::Sender),
        Case::new(Act::Create, "nothing there", &[]).fresh(),
        Case::new(Act::CreateEphemeral, "nothing there", &[]).fresh(),
        Case::new(Act::DropEphemeral, "nothing in it", &[]).fresh(),
        Case::new(Act::Drop, "three messages", &three),
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

// ---- one kill ----

/// What kind of survivor there is.
#[derive(Clone, Copy, Debug)]
struct Mode {
    /// The victim is only stopped, and goes on when the survivor has done what it can.
    pause: bool,
    /// It was attached before the death; else it comes afterwards.
    attached: bool,
    /// It calls `stat`, which puts things in order, before anything else.
    looks: bool,
}

impl Mode {
    /// The kinds that meet the kill with this number, which take turns: one, two or all four.
    fn of_turn(turn: usize, modes: usize) -> Vec<Mode> {
        let kind =
            |number: usize| Mode { pause: false, attached: number.is_multiple_of(2), looks: number / 2 % 2 == 1 };
        (0..modes.clamp(1, 4)).map(|step| kind(turn + step)).collect()
    }
}

/// What a survivor found.
struct Report {
    took: Duration,
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
        format!("{took} {earlier} {closed} {unlinked} {named} {}", received.join(","))
    }

    fn from_text(text: &str) -> Option<Report> {
        let mut words = text.split(' ');
        let took = Duration::from_nanos(words.next()?.parse().ok()?);
        let earlier = words.next()?.parse().ok()?;
        let mut flag = || Some(words.next()? == "1");
        let (closed, unlinked, named) = (flag()?, flag()?, flag()?);
        let received = words.next()?.split(',').filter(|pair| !pair.is_empty());
        let received = received.map(|pair| {
            let (id, dead) = pair.split_once(':')?;
            Some((id.parse().ok()?, dead.parse().ok()?))
        });
        let received = received.collect::<Option<_>>()?;
        Some(Report { took, received, earlier, closed, unlinked, named })
    }
}

/// The queue of one kill and whoever lives beside the victim.
struct Scene<'a> {
    case: &'a Case,
    dir: tempfile::TempDir,
    options: QueueOptions,
    sleeper: Option<Child>,
    woken: Option<std::io::PipeReader>,
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

/// What one kill showed.
struct Outcome {
    report: Report,
    /// How much of the operation was done.
    progress: usize,
    /// Whether the victim stood where the same number of instructions had led before.
    same_path: bool,
}

/// A fault, or a kill that went as it must.
type Verdict = Result<Outcome, String>;

/// A scene with everybody in place: the survivor that was there before, the first death past, the victim about to act.
struct Set<'a> {
    scene: Scene<'a>,
    victim: Victim,
    survivor: Option<Child>,
    go: (std::io::PipeReader, std::io::PipeWriter),
    report: (std::io::PipeReader, std::io::PipeWriter),
    /// What a victim that is let live tells.
    told: (std::io::PipeReader, std::io::PipeWriter),
}

impl<'a> Set<'a> {
    fn new(case: &'a Case, mode: Mode) -> Result<Set<'a>, String> {
        let mut scene = Scene::new(case);
        scene.put_to_sleep();
        let go = std::io::pipe().expect("a pipe");
        let report = std::io::pipe().expect("a pipe");
        let told = std::io::pipe().expect("a pipe");
        let survivor = mode.attached.then(|| start_survivor(&scene, mode, &go.0, &report)).transpose()?;
        let inherited = matches!(case.act, Act::InheritedSend(_)).then_some(&scene.options);
        let victim = start_victim(case.act, &scene.options, case.victim(), inherited, Some(&told.1))?;
        if let Some(earlier) = &case.earlier {
            let mut first = start_victim(earlier.act, &scene.options, VICTIM, None, None)?;
            first.advance(&earlier.path, earlier.k, Leaps::Any)?;
            first.child.kill();
        }
        Ok(Set { scene, victim, survivor, go, report, told })
    }

    /// Lets the survivor go on, or has one come; what it tells.
    fn survive(mut self, mode: Mode) -> Result<String, String> {
        if self.survivor.is_none() {
            self.survivor = Some(start_survivor(&self.scene, mode, &self.go.0, &self.report)?);
        }
        writeln!(self.go.1, "go").map_err(|error| error.to_string())?;
        read_line(&self.report.0).map_err(|error| format!("the survivor hangs or died: {error}"))
    }
}

fn start_victim(
    act: Act,
    options: &QueueOptions,
    first_id: u64,
    inherited: Option<&QueueOptions>,
    tell: Option<&std::io::PipeWriter>,
) -> Result<Victim, String> {
    // The handle to inherit is opened by the parent, as it must be, and left to the child alone.
    let handle = inherited.map(|options| options.open("/q").expect("the parent opens"));
    let mut inherited = Some(handle);
    Victim::start(|| Stage::new(act, options, first_id, inherited.take().flatten()), tell)
}

/// Kills the victim of a fresh scene after `k` instructions and lets a survivor of this kind go on.
fn one_kill(case: &Case, path: &[Place], k: usize, mode: Mode, leaps: Leaps) -> Verdict {
    let mut set = Set::new(case, mode)?;
    let stand = set.victim.advance(path, k, leaps)?;
    set.victim.child.kill();
    let text = set.survive(mode)?;
    let report = match text.split_once(' ') {
        Some(("found", rest)) => Report::from_text(rest).ok_or_else(|| format!("unreadable report {rest:?}"))?,
        _ => return Err(text),
    };
    let progress = judge(case, &report, mode)?;
    Ok(Outcome { report, progress, same_path: stand != Stand::Astray })
}

/// Stops the victim after `k` instructions, has the survivor act beside it, then lets the victim finish.
fn one_pause(case: &Case, path: &[Place], k: usize) -> Result<Duration, String> {
    let mode = Mode { pause: true, attached: true, looks: false };
    let mut set = Set::new(case, mode)?;
    set.victim.advance(path, k, Leaps::Any)?;
    writeln!(set.go.1, "go").map_err(|error| error.to_string())?;
    match read_line(&set.report.0)?.as_str() {
        "done" => {}
        fault => return Err(fault.to_owned()),
    }
    set.victim.finish()?;
    let told = read_line(&set.told.0).map_err(|error| format!("the victim tells nothing: {error}"))?;
    let text = set.survive(mode)?;
    let report = text.strip_prefix("found ").and_then(Report::from_text).ok_or(text)?;
    let (count, ids) = told.split_once(' ').ok_or_else(|| format!("the victim: {told}"))?;
    let count: usize = count.parse().map_err(|_| format!("the victim: {told}"))?;
    let ids: Vec<u64> = ids.split(',').filter_map(|id| id.parse().ok()).collect();
    balance(case, &report, count, &ids).map(|()| report.took)
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
fn start_survivor(
    scene: &Scene,
    mode: Mode,
    mut go: &std::io::PipeReader,
    report: &(std::io::PipeReader, std::io::PipeWriter),
) -> Result<Child, String> {
    let child = Child::fork(|| {
        let attached = (mode.attached && !scene.case.act.makes_queue())
            .then(|| scene.options.open("/q").expect("the survivor opens"));
        let mut tell = &report.1;
        writeln!(tell, "here").expect("the report's pipe");
        go.read_exact(&mut [0; 3]).expect("the pipe to go");
        let mut meet = || {
            writeln!(tell, "done").expect("the report's pipe");
            go.read_exact(&mut [0; 3]).expect("the pipe to go");
        };
        let found = catch_unwind(AssertUnwindSafe(|| match attached {
            Some(queue) if mode.pause => coexist(scene, queue, &mut meet),
            attached => survive(scene, mode, attached),
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
fn survive(scene: &Scene, mode: Mode, attached: Option<Queue>) -> Result<Report, String> {
    let case = scene.case;
    let named = scene.path().exists();
    let start = Instant::now();
    let queue = match (attached, case.act) {
        (Some(queue), _) => queue,
        (None, Act::Unlink) if !named => return without_name(scene),
        (None, act) if act.makes_queue() => timely("create", || scene.options.create("/q"))?,
        (None, _) => timely("open", || scene.options.open("/q"))?,
    };
    let mut survivor =
        Survivor { case, queue, received: Vec::new(), earlier: 0, sent: false, ended: false, idle: Duration::ZERO };
    if mode.looks {
        survivor.settled()?;
    }
    if let Some(woken) = &scene.woken {
        survivor.mind_the_sleeper(woken)?;
    }
    if case.full() {
        survivor.receive()?;
    }
    survivor.send()?;
    let first = survivor.receive()?;
    let took = start.elapsed() - survivor.idle;
    while first && survivor.receive()? {}
    let stat = survivor.settled()?;
    survivor.all_is_clean(scene, &stat)?;
    if !survivor.ended {
        survivor.fill_and_empty()?;
    }
    let (closed, unlinked) = (stat.closed, stat.unlinked);
    Ok(Report { took, received: survivor.received, earlier: survivor.earlier, closed, unlinked, named })
}

/// Does what it can beside a stopped process without waiting for it, meets its end, and does the rest.
fn coexist(scene: &Scene, queue: Queue, meet: &mut dyn FnMut()) -> Result<Report, String> {
    let start = Instant::now();
    let received = Vec::new();
    let mut survivor =
        Survivor { case: scene.case, queue, received, earlier: 0, sent: false, ended: false, idle: Duration::ZERO };
    survivor.sent = match survivor.queue.try_send(&payload(SURVIVOR, SMALL), USUAL) {
        Ok(()) => true,
        Err(SendError::Full | SendError::Busy) => false,
        Err(error) => return Err(format!("send beside a stopped process: {error}")),
    };
    loop {
        match survivor.queue.try_recv() {
            Ok(message) => survivor.received.push((name(&message.data), message.redelivered)),
            Err(RecvError::Empty | RecvError::Busy) => break,
            Err(error) => return Err(format!("receive beside a stopped process: {error}")),
        }
    }
    let took = start.elapsed();
    meet();
    survivor.send()?;
    while survivor.receive()? {}
    let stat = survivor.settled()?;
    survivor.all_is_clean(scene, &stat)?;
    if stat.counters.recovered != 0 || stat.counters.redelivered != 0 {
        return Err(format!("a living process was taken for dead: {:?}", stat.counters));
    }
    survivor.fill_and_empty()?;
    Ok(Report { took, received: survivor.received, earlier: 0, closed: false, unlinked: false, named: true })
}

/// A newcomer after an unlink that got as far as the name: the name must be free.
fn without_name(scene: &Scene) -> Result<Report, String> {
    let start = Instant::now();
    let queue = timely("create_new", || scene.options.create_new("/q"))?;
    let mut survivor = Survivor {
        case: scene.case,
        queue,
        received: Vec::new(),
        earlier: 0,
        sent: false,
        ended: false,
        idle: Duration::ZERO,
    };
    survivor.send()?;
    survivor.receive()?;
    survivor.fill_and_empty()?;
    let took = start.elapsed();
    Ok(Report { took, received: Vec::new(), earlier: 0, closed: false, unlinked: false, named: false })
}

struct Survivor<'a> {
    case: &'a Case,
    queue: Queue,
    received: Vec<(u64, u32)>,
    /// How many of these came before the message of its own was sent.
    earlier: usize,
    sent: bool,
    /// Closed or unlinked.
    ended: bool,
    /// Spent waiting, to be patient, for what rightly did not come.
    idle: Duration,
}

/// A call that has to be over within the bound.
fn timely<T, E: std::fmt::Display>(what: &str, call: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    let start = Instant::now();
    let result = call().map_err(|error| format!("the survivor's {what}: {error}"))?;
    let took = start.elapsed();
    if took > BOUND { Err(format!("the survivor's {what} took {took:?}")) } else { Ok(result) }
}

impl Survivor<'_> {
    /// Sends the survivor's message, once; makes room for it first if the queue is rightly full.
    fn send(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.sent, true) {
            return Ok(());
        }
        let message = payload(SURVIVOR, SMALL);
        let ending = matches!(self.case.act, Act::Close | Act::Unlink);
        self.earlier = self.received.len();
        match self.queue.try_send(&message, USUAL) {
            Ok(()) => Ok(()),
            Err(SendError::Closed | SendError::Unlinked) if ending => {
                self.ended = true;
                Ok(())
            }
            Err(SendError::Full) => {
                let stat = self.settled()?;
                if stat.len < u64::from(self.case.capacity) {
                    return Err(format!("Full with {} messages there; {}", stat.len, self.describe()));
                }
                self.receive()?;
                self.earlier = self.received.len();
                timely("send", || self.queue.send_timeout(&message, USUAL, BOUND))
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
        if alone && (stat.being_sent, stat.being_received) != (0, 0) {
            return Err(format!("stat leaves {} being sent, {} being received", stat.being_sent, stat.being_received));
        }
        Ok(stat)
    }

    fn describe(&self) -> String {
        let stat = self.queue.stat().map(|stat| (stat.len, stat.being_sent, stat.being_received, stat.counters));
        format!("received {:?}; (len, being sent, being received), counters: {stat:?}", self.received)
    }

    /// Waits for the sleeper, and only if the dead one's act cannot have woken it does what wakes it.
    fn mind_the_sleeper(&mut self, woken: &std::io::PipeReader) -> Result<(), String> {
        let start = Instant::now();
        let mut nudged = false;
        if self.case.patient && !readable(woken.as_raw_fd(), PATIENCE) {
            let stat = timely("stat", || self.queue.stat())?;
            if !self.sleeper_has_reason(&stat) {
                return Err(format!("the sleeper sleeps for {PATIENCE:?} without reason; {}", self.describe()));
            }
            self.idle = start.elapsed();
        }
        while !readable(woken.as_raw_fd(), Duration::from_millis(1)) {
            if start.elapsed() > PATIENCE + BOUND {
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
        let text = read_line(woken)?;
        let ending = matches!(self.case.act, Act::Close | Act::Unlink);
        match text.split_once(':').and_then(|(id, dead)| Some((id.parse().ok()?, dead.parse().ok()?))) {
            Some(got) => self.received.push(got),
            None if text == "sent" => {}
            None if ["the queue was closed", "the queue was unlinked"].contains(&text.as_str()) && ending => {
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

    fn all_is_clean(&self, scene: &Scene, stat: &QueueStat) -> Result<(), String> {
        if (stat.len, stat.being_sent, stat.being_received) != (0, 0, 0) {
            return Err(format!("not empty after a receive said so: {}", self.describe()));
        }
        if self.case.asleep == Asleep::Nobody && stat.participants.len() != 1 {
            return Err(format!("the dead are still listed: {:?}", stat.participants));
        }
        let files = std::fs::read_dir(scene.dir.path()).map_err(|error| error.to_string())?.count();
        if files > 1 { Err(format!("{files} files are left in the directory")) } else { Ok(()) }
    }

    /// Exactly as many messages as the capacity says fit, and come back in order.
    fn fill_and_empty(&self) -> Result<(), String> {
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
        for id in FILLER..FILLER + capacity {
            let got = self.queue.try_recv().map(|message| name(&message.data));
            if got != Ok(id) {
                return Err(format!("{got:?} instead of {id} among the messages that filled it"));
            }
        }
        match self.queue.try_recv() {
            Err(RecvError::Empty) => Ok(()),
            other => Err(format!("{other:?} instead of Empty at the end")),
        }
    }
}

// ---- the account ----

/// Checks the account and returns how much of the victim's operation was done.
fn judge(case: &Case, report: &Report, mode: Mode) -> Result<usize, String> {
    let ids: Vec<u64> = report.received.iter().map(|(id, _)| *id).collect();
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
    if !ended && missing.iter().any(|id| [SLEEPER, SURVIVOR].contains(id)) {
        return fault("lost, though its send returned");
    }
    let sent = progress_of_sends(case, &ids).ok_or_else(|| format!("sent out of turn: received {ids:?}"))?;
    let taken = missing.iter().filter(|id| **id < VICTIM).count();
    progress_of_takes(case, &missing, &everything, report)?;
    let progress = match case.act {
        Act::Close => usize::from(report.closed),
        Act::Unlink => usize::from(!report.named) + usize::from(report.unlinked),
        Act::Create | Act::CreateEphemeral => usize::from(report.named),
        Act::DropEphemeral => usize::from(!report.named),
        _ => sent + taken,
    };
    if matches!(case.act, Act::Unlink) && report.unlinked && report.named {
        return fault("unlinked, but the name is there");
    }
    if case.earlier.is_none() && progress > case.whole {
        return fault("more than the operation does");
    }
    Ok(progress)
}

/// Whether what was received came in order. What was in dead hands may come late if nobody looked before; and the survivor's
/// own message has its place among those only that were received after it was sent.
fn in_order(report: &Report, mode: Mode, everything: &[(u64, u16)]) -> bool {
    let place = |id: u64| everything.iter().position(|(known, _)| *known == id);
    let counts = |dead: u32| mode.looks || dead == 0;
    let ids = |received: &[(u64, u32)]| -> Vec<u64> {
        received.iter().filter(|(_, dead)| counts(*dead)).map(|(id, _)| *id).collect()
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

/// Only what the dead were taking may be missing or have been in dead hands.
fn progress_of_takes(case: &Case, missing: &[u64], all: &[(u64, u16)], report: &Report) -> Result<(), String> {
    let lost: Vec<u64> = missing.iter().copied().filter(|id| *id < VICTIM).collect();
    let there: Vec<u64> = all.iter().map(|(id, _)| *id).filter(|id| *id < VICTIM).collect();
    let takes = case.act.takes(there.len()) + case.earlier_takes();
    // One victim takes from the front. A second one passes over what the first had in its hands when it died.
    let front = &there[..takes.min(there.len())];
    let allowed = if matches!(case.act, Act::Purge) || case.earlier.is_some() { &there[..] } else { front };
    let in_turn = case.earlier.is_some() || matches!(case.act, Act::Purge) || lost == there[..lost.len()];
    if lost.len() > takes || lost.iter().any(|id| !allowed.contains(id)) || !in_turn {
        return Err(format!("lost {lost:?} of {there:?}, of which the dead can have taken {takes}"));
    }
    match report.received.iter().find(|(id, dead)| *dead > 0 && !allowed.contains(id)) {
        Some((id, dead)) => Err(format!("{id} claims to have been in dead hands {dead} times")),
        None => Ok(()),
    }
}

// ---- the rows of the table ----

/// The way through a case's operation: the program counter before each instruction.
fn measure(case: &Case, mode: Mode) -> Result<Vec<Place>, String> {
    Set::new(case, mode)?.victim.trace()
}

/// Which instructions to kill at: all of them, or about `samples`; always the first, and the end for both turns. Where each
/// kill that comes too early costs a second of patience: a few, from shortly before the commit on.
fn kill_points(case: &Case, instructions: usize, samples: usize) -> Vec<usize> {
    let samples = number("CHAPPE_KILL_POINTS").map_or(samples, |points| points.max(1) as usize);
    let sparse = (instructions / samples).max(1);
    let every = number("CHAPPE_KILL_EVERY").map_or(sparse, |every| every.max(1) as usize);
    let mut points: Vec<usize> = (0..instructions).step_by(every).collect();
    if case.patient {
        let late = points.split_off(points.len() * 6 / 10);
        points = late.iter().copied().step_by(late.len().div_ceil(samples / 5).max(1)).collect();
    }
    points.extend([instructions, instructions]);
    points
}

/// Kills at these points, with each kind of survivor in rising order, and checks that what was done only grows.
fn run(case: &Case, samples: usize, modes: usize) -> Row {
    let mut row = Row::default();
    // A queue that is yet to be made has no survivor who was there before.
    let kinds: &[bool] = if case.act.makes_queue() { &[false] } else { &[true, false] };
    for &attached in kinds {
        let path = match measure(case, Mode { pause: false, attached, looks: false }) {
            Ok(path) => path,
            Err(error) => {
                row.fault(0, None, Mode { pause: false, attached, looks: false }, &format!("without a kill: {error}"));
                continue;
            }
        };
        row.instructions = path.len();
        let mut done = Done { progress: 0, k: 0, mode: Mode { pause: false, attached, looks: false } };
        for (index, k) in kill_points(case, path.len(), samples).into_iter().enumerate() {
            for mode in Mode::of_turn(index, modes).into_iter().filter(|mode| mode.attached == attached) {
                run_one(case, &mut row, &mut done, &path, k, mode);
            }
        }
    }
    row
}

/// The most that was seen done so far, and by which kill.
#[derive(Clone, Copy)]
struct Done {
    progress: usize,
    k: usize,
    mode: Mode,
}

fn run_one(case: &Case, row: &mut Row, done: &mut Done, path: &[Place], k: usize, mode: Mode) {
    row.kills += 1;
    let at = path.get(k).map(|place| place.counter);
    let leaps = if case.asleep == Asleep::Nobody { Leaps::Any } else { Leaps::First };
    match one_kill(case, path, k, mode, leaps) {
        Err(what) => row.fault(k, at, mode, &what),
        Ok(outcome) => {
            row.took.push(outcome.report.took);
            if outcome.same_path {
                check_growth(case, row, done, path, Done { progress: outcome.progress, k, mode });
            } else {
                row.strayed += 1;
            }
        }
    }
}

/// Progress never falls with k; it begins with nothing and ends with the whole.
fn check_growth(case: &Case, row: &mut Row, done: &mut Done, path: &[Place], now: Done) {
    let at = path.get(now.k).map(|place| place.counter);
    let mut fault = |what: String| row.fault(now.k, at, now.mode, &what);
    if now.progress < done.progress {
        match falls(case, path, *done, now) {
            Ok(true) => fault(format!("{} done, but {} were done after {}", now.progress, done.progress, done.k)),
            Ok(false) => *done = Done { progress: now.progress, ..*done },
            Err(what) => fault(what),
        }
    }
    if case.earlier.is_none() && now.k == 0 && now.progress != 0 {
        fault(format!("{} done before the first instruction", now.progress));
    }
    if case.earlier.is_none() && at.is_none() && now.progress != case.whole {
        fault(format!("{} done at the end instead of {}", now.progress, case.whole));
    }
    if now.progress > done.progress {
        row.commits.push(now.k);
        *done = now;
    }
}

/// Whether less is done after more instructions also when both are counted one by one: a leap counts visits of a place, and a
/// way with one turn more or less misleads it.
fn falls(case: &Case, path: &[Place], before: Done, now: Done) -> Result<bool, String> {
    let earlier = one_kill(case, path, before.k, before.mode, Leaps::None)?;
    let later = one_kill(case, path, now.k, now.mode, Leaps::None)?;
    Ok(earlier.same_path && later.same_path && later.progress < earlier.progress)
}

/// Pauses instead of deaths, as one row.
fn run_pauses(case: &Case, samples: usize) -> Row {
    let mut row = Row::default();
    let mode = Mode { pause: true, attached: true, looks: false };
    let path = match measure(case, mode) {
        Ok(path) => path,
        Err(error) => {
            row.fault(0, None, mode, &format!("without a pause: {error}"));
            return row;
        }
    };
    row.instructions = path.len();
    for k in (0..=samples).map(|part| path.len() * part / samples) {
        row.kills += 1;
        match one_pause(case, &path, k) {
            Ok(took) => row.took.push(took),
            Err(what) => row.fault(k, path.get(k).map(|place| place.counter), mode, &what),
        }
    }
    row
}

/// All pairs of deaths of one kind, as one row.
fn run_pair(first: Act, second: &Case, deaths: usize) -> Row {
    let mut sum = Row::default();
    let alone = Case::new(first, "", &second.before).capacity(second.capacity);
    let mode = Mode { pause: false, attached: true, looks: false };
    let path: Rc<[Place]> = match measure(&alone, mode) {
        Ok(path) => path.into(),
        Err(error) => {
            sum.fault(0, None, mode, &format!("the first operation without a kill: {error}"));
            return sum;
        }
    };
    for death in 0..deaths {
        // In the middle of each of as many equal parts.
        let k = path.len() * (2 * death + 1) / (2 * deaths);
        let case = Case { earlier: Some(Earlier { act: first, path: path.clone(), k }), ..second.clone() };
        let row = run(&case, deaths, 1);
        sum.instructions = sum.instructions.max(row.instructions);
        sum.kills += row.kills;
        sum.strayed += row.strayed;
        sum.took.extend(row.took);
        sum.faults.extend(row.faults.into_iter().map(|fault| format!("{fault} [first death at {k}]")));
    }
    sum
}

// ---- the program ----

/// The one test that this program is, for those who ask with `--list`.
const TEST: &str = "death_at_every_instruction";

fn main() -> ExitCode {
    step::only_test(TEST, run_chosen)
}

fn chosen(words: &[&str], title: &str) -> bool {
    words.is_empty() || words.iter().any(|word| TEST.contains(word) || title.contains(word))
}

/// How many rows are run at a time. In each one a process runs at a time, the victim or its tracer.
const LANES: usize = 2;

/// A row that was chosen: what it is called, and what runs it.
type Job = (String, Box<dyn Fn() -> Row>);

fn jobs(words: &[&str]) -> Vec<Job> {
    let modes = number("CHAPPE_KILL_MODES").unwrap_or(1) as usize;
    let samples = if cfg!(debug_assertions) { 25 } else { 40 };
    let pauses = number("CHAPPE_KILL_PAUSES").unwrap_or(3).max(1) as usize;
    let deaths = number("CHAPPE_KILL_PAIRS").unwrap_or(if cfg!(debug_assertions) { 0 } else { 6 }) as usize;
    let mut jobs: Vec<Job> = Vec::new();
    for case in cases() {
        jobs.push((case.title(), Box::new(move || run(&case, samples, modes))));
    }
    for case in paused() {
        jobs.push((format!("pause: {}", case.title()), Box::new(move || run_pauses(&case, pauses))));
    }
    if deaths == 0 {
        println!("pairs of deaths: skipped in a debug build; `cargo test --release --test kill` has them");
    }
    for (first, second) in pairs().into_iter().filter(|_| deaths > 0) {
        let sizes = if second.before[0].0 == SMALL { "small" } else { "large" };
        let title = format!("{} | after a death in {} ({sizes})", second.act.name(), first.name());
        jobs.push((title, Box::new(move || run_pair(first, &second, deaths))));
    }
    jobs.retain(|(title, _)| chosen(words, title));
    jobs
}

fn run_chosen(words: &[&str]) -> ExitCode {
    let start = Instant::now();
    println!("times in ms: from the death until a survivor had sent and received; commits: first k with more done");
    println!("{:<58} instrs  kills faults strayed      p50      max  commits", "operation | state");
    let jobs = jobs(words);
    let (sums, book) = std::io::pipe().expect("a pipe");
    let lane = |lane: usize| {
        for (title, job) in jobs.iter().skip(lane).step_by(LANES) {
            let mut row = job();
            row.print(title);
            writeln!(&book, "{} {}", row.kills, usize::from(row.faults.is_empty())).expect("the pipe for sums");
        }
        true
    };
    let lanes: Vec<i32> = (0..LANES).map(|number| step::fork(|| lane(number))).collect();
    drop(book);
    let mut text = String::new();
    (&sums).read_to_string(&mut text).expect("what the lanes say");
    let whole = lanes.iter().filter(|lane| step::wait(**lane) == 0).count() == LANES;
    let column =
        |line: &str, column: usize| -> usize { line.split(' ').nth(column).map_or(0, |text| text.parse().unwrap()) };
    let sum = |number: usize| text.lines().map(|line| column(line, number)).sum::<usize>();
    let (passed, failed) = (sum(1), jobs.len() - sum(1));
    println!("{} kills in {:.1?}", sum(0), start.elapsed());
    println!("{passed} passed, {failed} failed");
    if whole && failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
