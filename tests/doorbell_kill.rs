//! As `kill.rs`, for what that file has nobody for: somebody else polls the queue's doorbell, or is registered to be told of the
//! next message, while a process dies at each instruction of an operation; or the one who dies does these things itself.
//!
//! After each death a survivor sees to it that the account of messages is right; that the doorbell shows what is in the queue,
//! by itself in the end and at once after each operation of the survivor's; that a living registrant is told once, and only once, if
//! a message lies there that nobody will take; that a dead one's place is free; and that nobody hangs.
//!
//! It drives the real library through its public face, but for two words of the file, which tell how far a dead one got. The
//! threads of a living poller or registrant are in a process of their own. A victim that arms or registers has such a thread, too: that one
//! is not stepped, runs beside the one that is, and dies with it.
//!
//! - `CHAPPE_KILL_EVERY=1` kills at every instruction; without it, at about `CHAPPE_KILL_POINTS` of each operation.
//! - `CHAPPE_KILL_MODES=4` lets each kind of survivor meet each kill; without it, they take turns.
//! - `CHAPPE_KILL_LANES` rows are under way at once: most of the time is spent waiting for an attendant's next look.
//! - Words on the command line choose the operations whose row holds one of them.

mod common;

use chappe::{Access, Batch, Queue, QueueOptions, QueueStat, RecvError, SendError};
use common::step::{self, Child, Leaps, Place, Row, Stand, Victim, read_line};
use common::{asleep, identify, number, payload, readable, scratch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// What an attendant sees to is in order by then: it looks twice a second. A net; the table shows what it really takes.
const BOUND: Duration = Duration::from_secs(10);

/// Small enough to be inline, and large enough to need an extent.
const SMALL: usize = 24;
const LARGE: usize = 600;
const CAPACITY: u32 = 4;

/// What ids tell: who sent a message. Also the order in which they must come.
const BEFORE: u64 = 0;
const VICTIM: u64 = 1000;
const WAKER: u64 = 2000;
const SURVIVOR: u64 = 3000;
const FILLER: u64 = 4000;

const PRIORITY: u16 = 5;

// ---- what is done ----

/// The operation that a victim is stepped through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Send(usize),
    SendMany(&'static [usize]),
    Recv,
    RecvMany(usize),
    Purge,
    Close,
    Unlink,
    /// A receive that waits until its time runs out.
    Wait,
    /// A receive that waits until somebody sends.
    Woken,
    Notify,
    Cancel,
    Arm,
    /// Asks for the doorbell of a queue that has none.
    Doorbell,
    RemoveName,
    DropArmed,
    DropRegistered,
}

impl Act {
    fn name(self) -> String {
        match self {
            Act::Send(length) => format!("send {length}"),
            Act::SendMany(lengths) => format!("send_many {lengths:?}"),
            Act::RecvMany(max) => format!("recv_many {max}"),
            Act::Wait => "recv that waits in vain".to_owned(),
            Act::Woken => "recv that waits".to_owned(),
            Act::RemoveName => "remove_name".to_owned(),
            Act::DropArmed => "drop armed".to_owned(),
            Act::DropRegistered => "drop registered".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// The lengths of what it sends.
    fn sends(self) -> Vec<usize> {
        match self {
            Act::Send(length) => vec![length],
            Act::SendMany(lengths) => lengths.to_vec(),
            _ => Vec::new(),
        }
    }

    /// How many messages it takes, of as many as there are before.
    fn takes(self, there: usize) -> usize {
        match self {
            Act::Recv => there.min(1),
            Act::RecvMany(max) => there.min(max),
            Act::Purge => there,
            _ => 0,
        }
    }

    fn ends(self) -> bool {
        matches!(self, Act::Close | Act::Unlink)
    }

    fn removes_the_name(self) -> bool {
        matches!(self, Act::RemoveName | Act::Unlink)
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
    bell: Option<OwnedFd>,
}

impl Stage {
    fn new(act: Act, options: &QueueOptions) -> Stage {
        let messages =
            act.sends().into_iter().zip(VICTIM..).map(|(length, id)| (payload(id, length), PRIORITY)).collect();
        let handle = (!act.removes_the_name()).then(|| options.open("/q").expect("the victim opens"));
        match (&handle, act) {
            (Some(queue), Act::DropArmed) => queue.arm_doorbell().expect("the victim arms"),
            (Some(queue), Act::Cancel | Act::DropRegistered) => queue.notify(|_| ()).expect("the victim registers"),
            _ => {}
        }
        let options = options.clone();
        Stage { act, options, handle, messages, batch: Batch::new(), buffer: vec![0; 1024], bell: None }
    }
}

impl step::Stage for Stage {
    fn play(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let Some(queue) = &self.handle else {
            match self.act {
                Act::Unlink => self.options.unlink("/q")?,
                _ => self.options.remove_name("/q")?,
            }
            return Ok(());
        };
        match self.act {
            Act::Send(_) => queue.send(&self.messages[0].0, PRIORITY)?,
            Act::SendMany(_) => queue.send_many(&self.messages)?,
            Act::Recv | Act::Woken => drop(queue.recv_into(&mut self.buffer)?),
            Act::RecvMany(max) => _ = queue.recv_many(&mut self.batch, max)?,
            Act::Purge => _ = queue.purge()?,
            Act::Close => queue.close()?,
            Act::Wait => match queue.recv_into_timeout(&mut self.buffer, Duration::from_millis(1)) {
                Err(RecvError::TimedOut) => {}
                other => return Err(format!("{other:?} instead of TimedOut").into()),
            },
            Act::Notify => queue.notify(|_| ())?,
            Act::Cancel => _ = queue.cancel_notify()?,
            Act::Arm => queue.arm_doorbell()?,
            Act::Doorbell => self.bell = Some(queue.doorbell(Access::Both)?),
            Act::DropArmed | Act::DropRegistered => drop(self.handle.take()),
            Act::Unlink | Act::RemoveName => unreachable!("these have no handle"),
        }
        Ok(())
    }

    fn told(&self) -> String {
        String::new()
    }
}

// ---- the cases ----

/// One operation in one state of the queue.
#[derive(Clone)]
struct Case {
    state: &'static str,
    /// Lengths of what is in the queue.
    before: Vec<usize>,
    /// Whether another process polls the doorbell, or is registered.
    polled: bool,
    registered: bool,
    act: Act,
    /// How much is done when the operation is over.
    whole: usize,
}

impl Case {
    fn new(act: Act, state: &'static str, before: &[usize]) -> Case {
        let whole = match act {
            Act::Unlink | Act::RemoveName | Act::Doorbell => 2,
            Act::Wait => 0,
            Act::Send(_) | Act::SendMany(_) | Act::Recv | Act::RecvMany(_) | Act::Purge => {
                act.sends().len() + act.takes(before.len())
            }
            _ => 1,
        };
        Case { state, before: before.to_vec(), polled: false, registered: false, act, whole }
    }

    fn polled(self) -> Case {
        Case { polled: true, ..self }
    }

    fn registered(self) -> Case {
        Case { registered: true, ..self }
    }

    fn title(&self) -> String {
        let who = match (self.polled, self.registered) {
            (true, true) => ", polled, one registered",
            (true, false) => ", polled",
            (false, true) => ", one registered",
            (false, false) => "",
        };
        format!("{} | {}{who}", self.act.name(), self.state)
    }
}

fn cases() -> Vec<Case> {
    let (one, full) = ([SMALL], [SMALL; CAPACITY as usize]);
    let large = [LARGE, SMALL];
    vec![
        Case::new(Act::Send(SMALL), "empty", &[]).polled(),
        Case::new(Act::Send(SMALL), "room for one", &full[1..]).polled(),
        Case::new(Act::Send(LARGE), "one message", &one).polled(),
        Case::new(Act::SendMany(&[SMALL, LARGE, SMALL, SMALL]), "empty", &[]).polled(),
        Case::new(Act::Recv, "one message", &one).polled(),
        Case::new(Act::Recv, "full", &full).polled(),
        Case::new(Act::Recv, "a large message and one", &large).polled(),
        Case::new(Act::RecvMany(3), "full", &full).polled(),
        Case::new(Act::Purge, "full", &full).polled(),
        Case::new(Act::Close, "empty", &[]).polled(),
        Case::new(Act::Unlink, "one message", &one).polled(),
        Case::new(Act::RemoveName, "one message", &one).polled(),
        Case::new(Act::Send(SMALL), "empty", &[]).registered(),
        Case::new(Act::Send(LARGE), "empty", &[]).registered().polled(),
        Case::new(Act::Send(SMALL), "one message", &one).registered(),
        Case::new(Act::Recv, "one message", &one).registered(),
        Case::new(Act::Recv, "a large message", &[LARGE]).registered(),
        Case::new(Act::RecvMany(3), "a large message and one", &large).registered().polled(),
        Case::new(Act::Purge, "two messages", &[SMALL; 2]).registered(),
        Case::new(Act::Wait, "empty", &[]).registered(),
        Case::new(Act::Woken, "empty", &[]).registered(),
        Case::new(Act::Woken, "empty", &[]).registered().polled(),
        Case::new(Act::Notify, "empty", &[]),
        Case::new(Act::Notify, "one message", &one),
        Case::new(Act::Cancel, "empty", &[]),
        Case::new(Act::DropRegistered, "empty", &[]),
        Case::new(Act::DropRegistered, "one message", &one).polled(),
        Case::new(Act::Arm, "no doorbell yet", &one),
        Case::new(Act::Arm, "full", &full).polled(),
        Case::new(Act::Doorbell, "no doorbell yet", &[]),
        Case::new(Act::DropArmed, "one message", &one),
        Case::new(Act::DropArmed, "full", &full).polled(),
    ]
}

// ---- one kill ----

/// What kind of survivor there is.
#[derive(Clone, Copy, Debug)]
struct Mode {
    /// It was attached before the death; else it comes afterwards.
    attached: bool,
    /// It waits for what comes by itself before it does anything.
    waits: bool,
}

impl Mode {
    /// The kinds that meet the kill with this number, which take turns: one, two or all four.
    fn of_turn(turn: usize, modes: usize) -> Vec<Mode> {
        let kind = |number: usize| Mode { attached: number.is_multiple_of(2), waits: number / 2 % 2 == 1 };
        (0..modes.clamp(1, 4)).map(|step| kind(turn + step)).collect()
    }
}

type Pipe = (PipeReader, PipeWriter);

fn pipe() -> Pipe {
    std::io::pipe().expect("a pipe")
}

/// The queue of one kill, and who lives beside the victim.
struct Scene<'a> {
    case: &'a Case,
    dir: tempfile::TempDir,
    options: QueueOptions,
    companion: Option<Child>,
    /// A line for each time that the registrant is told.
    told: Pipe,
    waker: Option<Child>,
    /// Tells the waker that there is nobody to wake any more.
    in_vain: Pipe,
    /// Whether the waker has sent.
    woke: bool,
}

impl<'a> Scene<'a> {
    fn new(case: &'a Case) -> Result<Scene<'a>, String> {
        let dir = scratch();
        let mut options = Queue::options();
        options.dir(dir.path()).capacity(CAPACITY).message_size(1024).mode(0o666);
        let queue = options.create_new("/q").expect("the queue of this kill");
        // Every slot has been used, so that everything is reserved.
        while queue.try_send(&payload(0, LARGE), PRIORITY).is_ok() {}
        while queue.try_recv().is_ok() {}
        for (id, length) in (BEFORE..).zip(&case.before) {
            queue.try_send(&payload(id, *length), PRIORITY).expect("what is there before");
        }
        drop(queue);
        let mut scene =
            Scene { case, dir, options, companion: None, told: pipe(), waker: None, in_vain: pipe(), woke: false };
        scene.start_companion()?;
        Ok(scene)
    }

    /// Starts who polls or is registered, and waits until that is so.
    fn start_companion(&mut self) -> Result<(), String> {
        let (polled, registered) = (self.case.polled, self.case.registered);
        if !polled && !registered {
            return Ok(());
        }
        let here = pipe();
        let companion = Child::fork(|| {
            let queue = self.options.open("/q").expect("the companion opens");
            let bell = polled.then(|| queue.doorbell(Access::Both).expect("a doorbell"));
            if polled {
                queue.arm_doorbell().expect("it arms");
            }
            if registered {
                let mut tell = self.told.1.try_clone().expect("a pipe");
                queue.notify(move |_| writeln!(tell, "told").expect("the pipe")).expect("it registers");
            }
            writeln!(&here.1, "here").expect("the pipe");
            // Until it is killed; should it not be, it ends with its parent.
            loop {
                std::thread::park();
                std::hint::black_box(&bell);
            }
        });
        self.companion = Some(companion);
        read_line(&here.0).map(drop).map_err(|error| format!("the companion: {error}"))
    }

    /// Starts one who sends as soon as the victim sleeps.
    fn start_waker(&mut self, victim: u32) {
        let waker = Child::fork(|| {
            let queue = self.options.open("/q").expect("the waker opens");
            let blocked = || queue.stat().is_ok_and(|stat| stat.counters.recv_blocked > 0);
            while !(asleep(victim) && blocked() && asleep(victim)) {
                if readable(self.in_vain.0.as_raw_fd(), Duration::ZERO) {
                    return false;
                }
                std::thread::sleep(Duration::from_micros(100));
            }
            queue.send(&payload(WAKER, SMALL), PRIORITY).is_ok()
        });
        self.waker = Some(waker);
    }

    /// The victim is dead: waits for the end of the waker.
    fn end_waker(&mut self) -> Result<(), String> {
        let Some(mut waker) = self.waker.take() else { return Ok(()) };
        self.in_vain.1.write_all(b"x").map_err(|error| error.to_string())?;
        let pid = waker.0.expect("just forked");
        let status = step::wait_bounded(pid).ok_or("the waker hangs")?;
        waker.0 = None;
        self.woke = status == 0;
        if status == 0 || libc::WIFEXITED(status) { Ok(()) } else { Err(format!("the waker ended with {status:#x}")) }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("chappe.mq.q")
    }

    fn bell_path(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path()).ok()?;
        // One without its name yet has a number behind it.
        let is_bell = |name: &str| name.strip_prefix("chappe.bell.").is_some_and(|rest| !rest.contains('.'));
        entries.flatten().find(|entry| entry.file_name().to_str().is_some_and(is_bell)).map(|entry| entry.path())
    }

    /// A word of the queue's file; 0 if there is none.
    fn word(&self, place: u64) -> u32 {
        let mut word = [0; 4];
        let read = std::fs::File::open(self.path()).and_then(|file| file.read_exact_at(&mut word, place));
        if read.is_ok() { u32::from_ne_bytes(word) } else { 0 }
    }

    /// How much was done of what leaves traces other than messages: `docs/format.md` has the words.
    fn traces(&self) -> usize {
        let registered = matches!(self.word(644) & 3, 1 | 2);
        let polled = self.word(708) == 1;
        let here = |yes: bool| usize::from(yes);
        match self.case.act {
            Act::Notify => here(registered),
            Act::Cancel | Act::DropRegistered => here(!registered),
            Act::Arm if !self.case.polled => here(polled),
            Act::DropArmed if !self.case.polled => here(!polled),
            // Somebody else polls, too: there is nothing to be seen of it.
            Act::Arm | Act::DropArmed => 1,
            Act::Doorbell => here(self.bell_path().is_some()) + here(self.word(720) != 0),
            Act::RemoveName | Act::Unlink => here(!self.path().exists()) + here(self.bell_path().is_none()),
            _ => 0,
        }
    }
}

fn name(data: &[u8]) -> u64 {
    identify(data).unwrap_or(u64::MAX)
}

/// A scene with everybody in place, the victim about to act.
struct Set<'a> {
    // The first to go.
    victim: Victim,
    survivor: Option<Child>,
    scene: Scene<'a>,
    go: Pipe,
    report: Pipe,
}

impl<'a> Set<'a> {
    fn new(case: &'a Case, mode: Mode) -> Result<Set<'a>, String> {
        let mut scene = Scene::new(case)?;
        let (go, report) = (pipe(), pipe());
        let survivor = mode.attached.then(|| start_survivor(&scene, mode, &go.0, &report)).transpose()?;
        let victim = Victim::start(|| Stage::new(case.act, &scene.options), None)?;
        if case.act == Act::Woken {
            scene.start_waker(victim.pid() as u32);
        }
        Ok(Set { victim, survivor, scene, go, report })
    }
}

/// What a survivor found.
struct Report {
    took: Duration,
    progress: usize,
}

/// Kills the victim of a fresh scene after `k` instructions and lets a survivor of this kind go on. Also returns whether the victim stood
/// where the same number of instructions had led before.
fn one_kill(case: &Case, path: &[Place], k: usize, mode: Mode, leaps: Leaps) -> Result<(Report, bool), String> {
    let mut set = Set::new(case, mode)?;
    let stand = set.victim.advance(path, k, leaps)?;
    set.victim.child.kill();
    set.scene.end_waker()?;
    let done = set.scene.traces();
    if set.survivor.is_none() {
        set.survivor = Some(start_survivor(&set.scene, mode, &set.go.0, &set.report)?);
    }
    writeln!(set.go.1, "{}{}", done, usize::from(set.scene.woke)).map_err(|error| error.to_string())?;
    let text = read_line(&set.report.0).map_err(|error| format!("the survivor hangs or died: {error}"))?;
    let found = text.strip_prefix("found ").and_then(|rest| rest.split_once(' '));
    let found = found.and_then(|(took, progress)| Some((took.parse().ok()?, progress.parse().ok()?)));
    let (took, progress) = found.ok_or(text)?;
    Ok((Report { took: Duration::from_nanos(took), progress }, stand != Stand::Astray))
}

/// Forks a survivor and waits until it is in its place.
fn start_survivor(scene: &Scene, mode: Mode, mut go: &PipeReader, report: &Pipe) -> Result<Child, String> {
    let child = Child::fork(|| {
        let attached = mode.attached.then(|| scene.options.open("/q").expect("the survivor opens"));
        // One whose doorbell's name is about to go.
        let opens = attached.as_ref().filter(|_| scene.case.act.removes_the_name());
        let bell = opens.map(|queue| queue.doorbell(Access::Both).expect("a doorbell"));
        let mut tell = &report.1;
        writeln!(tell, "here").expect("the report's pipe");
        let mut word = [0; 3];
        go.read_exact(&mut word).expect("the pipe to go");
        let (done, woke) = (usize::from(word[0] - b'0'), word[1] == b'1');
        let start = Instant::now();
        let found = catch_unwind(AssertUnwindSafe(|| survive(scene, mode, attached, bell, woke)));
        let text = match found {
            Ok(Ok(moved)) => format!("found {} {}", start.elapsed().as_nanos(), done + moved),
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

const EMPTY: PollFlags = PollFlags::OUT;
const BETWEEN: PollFlags = PollFlags::IN.union(PollFlags::OUT);
const FULL: PollFlags = PollFlags::IN;

fn shown(bell: &OwnedFd) -> PollFlags {
    let mut polled = [PollFd::new(bell, BETWEEN)];
    poll(&mut polled, Some(&Timespec::default())).expect("poll");
    polled[0].revents()
}

/// What the doorbell has to show.
fn due(stat: &QueueStat) -> PollFlags {
    let used = stat.len + stat.being_sent + stat.being_received;
    match () {
        () if stat.closed || stat.unlinked => BETWEEN,
        () if used >= CAPACITY.into() => FULL,
        () if stat.len == 0 => EMPTY,
        () => BETWEEN,
    }
}

struct Survivor<'a> {
    scene: &'a Scene<'a>,
    case: &'a Case,
    queue: Queue,
    /// A doorbell that must be right, if somebody polls.
    bell: Option<OwnedFd>,
    /// It must be right at once after what the survivor does; else its attendants see to it.
    at_once: bool,
    received: Vec<(u64, u32)>,
    told: usize,
    /// How many dead ones had been recovered when this was last looked at.
    recovered: u64,
}

/// Does everything there is to do; returns how many messages the victim has moved.
fn survive(
    scene: &Scene,
    mode: Mode,
    attached: Option<Queue>,
    bell: Option<OwnedFd>,
    woke: bool,
) -> Result<usize, String> {
    let case = scene.case;
    if attached.is_none() && !scene.path().exists() {
        return without_name(scene);
    }
    let queue = match attached {
        Some(queue) => queue,
        None => scene.options.open("/q").map_err(|error| format!("the survivor's open: {error}"))?,
    };
    let at_once = !case.act.removes_the_name();
    let mut survivor = Survivor { scene, case, queue, bell, at_once, received: Vec::new(), told: 0, recovered: 0 };
    survivor.get_ready(mode)?;
    if mode.waits {
        survivor.all_comes_by_itself(woke)?;
    }
    let room = survivor.make_room()?;
    let empty = survivor.is_empty(mode)?;
    let sent = survivor.send(SURVIVOR)?;
    if case.registered && sent && empty {
        survivor.is_told("of a message in the queue that was empty")?;
    }
    while survivor.receive()? {}
    survivor.all_is_clean()?;
    let moved = survivor.account(mode, woke, sent, room)?;
    if sent {
        survivor.fill_and_empty()?;
        survivor.was_told_once()?;
        survivor.can_register()?;
    }
    Ok(moved)
}

/// A newcomer after the name is gone: it must be free.
fn without_name(scene: &Scene) -> Result<usize, String> {
    let queue = scene.options.create_new("/q").map_err(|error| format!("create_new: {error}"))?;
    let (case, told) = (scene.case, 0);
    let mut survivor =
        Survivor { scene, case, queue, bell: None, at_once: true, received: Vec::new(), told, recovered: 0 };
    survivor.arm()?;
    survivor.fill_and_empty().map(|()| 0)
}

impl Survivor<'_> {
    /// Gets a doorbell that must be right: as the first one who polls, if nobody else does.
    fn get_ready(&mut self, mode: Mode) -> Result<(), String> {
        if self.case.polled {
            if self.bell.is_none() && self.scene.bell_path().is_some() {
                self.bell = Some(self.queue.doorbell(Access::Both).map_err(|error| error.to_string())?);
            }
            return Ok(());
        }
        if self.case.act == Act::Doorbell {
            self.arm()?;
            return self.the_mode_is_right();
        }
        if mode.waits && matches!(self.case.act, Act::Arm | Act::DropArmed) {
            self.nobody_polls()?;
            self.arm()?;
        }
        Ok(())
    }

    fn arm(&mut self) -> Result<(), String> {
        self.bell = Some(self.queue.doorbell(Access::Both).map_err(|error| error.to_string())?);
        self.queue.arm_doorbell().map_err(|error| format!("arm_doorbell: {error}"))?;
        self.shows("after arming")
    }

    /// Whoever may use the queue may use its doorbell.
    fn the_mode_is_right(&self) -> Result<(), String> {
        let path = self.scene.bell_path().ok_or("there is no doorbell")?;
        let mode = std::fs::metadata(path).map_err(|error| error.to_string())?.permissions().mode() & 0o777;
        if mode == 0o666 { Ok(()) } else { Err(format!("the doorbell's mode stays {mode:o} instead of 666")) }
    }

    /// The only one who polled is dead: when that is known, the doorbell is left alone.
    fn nobody_polls(&mut self) -> Result<(), String> {
        self.stat()?;
        if self.scene.word(708) != 0 {
            return Err("the dead one polls still".to_owned());
        }
        Ok(())
    }

    fn stat(&self) -> Result<QueueStat, String> {
        self.queue.stat().map_err(|error| format!("stat: {error}"))
    }

    /// At once, or, where that cannot be, within the bound, the doorbell is right.
    fn shows(&mut self, when: &str) -> Result<(), String> {
        if !self.at_once {
            return self.comes_to_show(when);
        }
        let Some(bell) = &self.bell else { return Ok(()) };
        let (shown, stat) = (shown(bell), self.stat()?);
        if std::mem::replace(&mut self.recovered, stat.counters.recovered) < stat.counters.recovered {
            // This look has changed what there is to show: what the dead one had in its hands is back.
            return self.comes_to_show(when);
        }
        let due = due(&stat);
        if shown == due {
            Ok(())
        } else {
            Err(format!("{when} it shows {shown:?} instead of {due:?}; {}", self.state()))
        }
    }

    fn comes_to_show(&mut self, when: &str) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let Some(bell) = &self.bell else { return Ok(()) };
            let (shown, due) = (shown(bell), due(&self.stat()?));
            if shown == due {
                return Ok(());
            }
            if start.elapsed() > BOUND {
                return Err(format!("{when} it shows {shown:?} and never {due:?}; {}", self.state()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn state(&self) -> String {
        let stat = self.queue.stat().map(|stat| (stat.len, stat.being_sent, stat.being_received));
        format!("len, being sent, received: {stat:?}; received {:?}, told {}", self.received, self.told)
    }

    /// The attendants of the living put in order what is not.
    fn all_comes_by_itself(&mut self, woke: bool) -> Result<(), String> {
        self.comes_to_show("by itself")?;
        let lies_there = self.case.before.is_empty() && (woke || !self.case.act.sends().is_empty());
        if self.case.registered && lies_there && self.stat()?.len > 0 {
            self.is_told("by itself")?;
        }
        Ok(())
    }

    /// The registrant is told, if it was not yet.
    fn is_told(&mut self, when: &str) -> Result<(), String> {
        if self.told > 0 {
            return Ok(());
        }
        if !readable(self.scene.told.0.as_raw_fd(), BOUND) {
            return Err(format!("{when} the registrant is not told for {BOUND:?}; {}", self.state()));
        }
        read_line(&self.scene.told.0)?;
        self.told += 1;
        Ok(())
    }

    fn was_told_once(&mut self) -> Result<(), String> {
        if !self.case.registered {
            return Ok(());
        }
        self.is_told("in the end")?;
        if readable(self.scene.told.0.as_raw_fd(), Duration::ZERO) {
            return Err(format!("the registrant is told twice; {}", self.state()));
        }
        Ok(())
    }

    /// Takes a message out of a queue that may be full; how many were received.
    fn make_room(&mut self) -> Result<usize, String> {
        if self.case.before.len() + self.case.act.sends().len() >= CAPACITY as usize {
            self.receive()?;
        }
        Ok(self.received.len())
    }

    /// Whether the queue is empty for sure: nothing is in the hands of the dead.
    fn is_empty(&self, mode: Mode) -> Result<bool, String> {
        if mode.waits {
            let stat = self.stat()?;
            return Ok(stat.len + stat.being_sent + stat.being_received == 0);
        }
        let large = self.case.before.contains(&LARGE) || matches!(self.case.act, Act::RecvMany(_));
        Ok(!large && self.queue.is_empty().map_err(|error| error.to_string())?)
    }

    /// False if the queue has ended.
    fn send(&mut self, id: u64) -> Result<bool, String> {
        match self.queue.try_send(&payload(id, SMALL), PRIORITY) {
            Ok(()) => {}
            Err(SendError::Closed | SendError::Unlinked) if self.case.act.ends() => return Ok(false),
            Err(error) => return Err(format!("the survivor's send: {error}; {}", self.state())),
        }
        self.shows("after a send")?;
        // What lies there was sent into the empty queue. One in which something lay before tells when it has been empty.
        if self.case.registered && self.case.before.is_empty() {
            self.is_told("after a send")?;
        }
        Ok(true)
    }

    fn receive(&mut self) -> Result<bool, String> {
        match self.queue.try_recv() {
            Ok(message) => self.received.push((name(&message.data), message.redelivered)),
            Err(RecvError::Empty | RecvError::Closed | RecvError::Unlinked) => return Ok(false),
            Err(error) => return Err(format!("the survivor's receive: {error}; {}", self.state())),
        }
        self.shows("after a receive")?;
        Ok(true)
    }

    fn all_is_clean(&self) -> Result<(), String> {
        let stat = self.stat()?;
        if (stat.len, stat.being_sent, stat.being_received) != (0, 0, 0) {
            return Err(format!("not empty after a receive said so: {}", self.state()));
        }
        let living = 1 + usize::from(self.scene.companion.is_some());
        if stat.participants.len() != living {
            return Err(format!("{living} are there, but {:?}", stat.participants));
        }
        let files = std::fs::read_dir(self.scene.dir.path()).map_err(|error| error.to_string())?.count();
        // A doorbell that had no name yet is left behind.
        let most = 2 + usize::from(matches!(self.case.act, Act::Doorbell | Act::Arm));
        if files > most { Err(format!("{files} files are left in the directory")) } else { Ok(()) }
    }

    /// Checks the account of messages; how many of them the victim has moved.
    fn account(&self, mode: Mode, woke: bool, sent: bool, room: usize) -> Result<usize, String> {
        let ids: Vec<u64> = self.received.iter().map(|(id, _)| *id).collect();
        let fault = |what: &str| Err(format!("{what}: received {:?} (id, times in dead hands)", self.received));
        let before: Vec<u64> = (BEFORE..).take(self.case.before.len()).collect();
        let victim: Vec<u64> = (VICTIM..).take(self.case.act.sends().len()).collect();
        let waker = if woke { vec![WAKER] } else { Vec::new() };
        let own = if sent { vec![SURVIVOR] } else { Vec::new() };
        if ids.iter().any(|id| ![&before, &victim, &waker, &own].iter().any(|known| known.contains(id))) {
            return fault("torn or unknown");
        }
        if (1..ids.len()).any(|index| ids[..index].contains(&ids[index])) {
            return fault("received twice");
        }
        // What was in dead hands may come late if nobody looked before.
        let punctual = |part: &[(u64, u32)]| {
            part.iter().filter(|(_, dead)| mode.waits || *dead == 0).map(|(id, _)| *id).is_sorted()
        };
        if !punctual(&self.received[..room]) || !punctual(&self.received[room..]) {
            return fault("out of order");
        }
        if own.iter().any(|id| !ids.contains(id)) {
            return fault("lost, though its send returned");
        }
        let lost: Vec<u64> = before.iter().filter(|id| !ids.contains(id)).copied().collect();
        let in_turn = self.case.act == Act::Purge || lost == before[..lost.len()];
        if lost.len() > self.case.act.takes(before.len()) || !in_turn {
            return fault("lost what the dead one cannot have taken");
        }
        let arrived = victim.iter().filter(|id| ids.contains(id)).count();
        if victim[..arrived].iter().any(|id| !ids.contains(id)) {
            return fault("sent out of turn");
        }
        let taken = usize::from(woke && !ids.contains(&WAKER));
        if taken > 0 && self.case.act != Act::Woken {
            return fault("lost, though its send returned");
        }
        let ended = matches!(self.case.act, Act::Close) && self.stat()?.closed;
        Ok(lost.len() + arrived + taken + usize::from(ended))
    }

    /// Exactly as many messages as the capacity says fit, and come back in order; and each step is shown.
    fn fill_and_empty(&mut self) -> Result<(), String> {
        let before = self.received.len();
        for id in FILLER..FILLER + u64::from(CAPACITY) {
            self.send(id)?;
        }
        if self.queue.try_send(b"one too many", PRIORITY) != Err(SendError::Full) {
            return Err(format!("more than {CAPACITY} messages fit"));
        }
        while self.receive()? {}
        let ids: Vec<u64> = self.received.drain(before..).map(|(id, _)| id).collect();
        let all: Vec<u64> = (FILLER..).take(CAPACITY as usize).collect();
        if ids == all { Ok(()) } else { Err(format!("received {ids:?} of those that filled it")) }
    }

    /// The place is free, whoever had it: this one registers, and is told.
    fn can_register(&mut self) -> Result<(), String> {
        let (tell, told) = channel();
        let callback = move |sender: chappe::Sender| tell.send(sender.pid).expect("who waits for it");
        self.queue.notify(callback).map_err(|error| format!("the place is not free: {error}"))?;
        self.send(FILLER)?;
        match told.recv_timeout(BOUND) {
            Ok(pid) if pid == std::process::id() => {}
            other => return Err(format!("the survivor, registered itself, is told {other:?}")),
        }
        if readable(self.scene.told.0.as_raw_fd(), Duration::ZERO) {
            return Err("another one is told as well".to_owned());
        }
        if self.receive()? { Ok(()) } else { Err("what was told of is not there".to_owned()) }
    }
}

// ---- the rows of the table ----

/// The way through a case's operation: the program counter before each instruction.
fn measure(case: &Case, mode: Mode) -> Result<Vec<Place>, String> {
    Set::new(case, mode)?.victim.trace()
}

/// Which instructions to kill at: all of them, or about `samples`; always the first, and the end for both turns.
fn kill_points(instructions: usize, samples: usize) -> Vec<usize> {
    let samples = number("CHAPPE_KILL_POINTS").map_or(samples, |points| points.max(1) as usize);
    let sparse = (instructions / samples).max(1);
    let every = number("CHAPPE_KILL_EVERY").map_or(sparse, |every| every.max(1) as usize);
    let mut points: Vec<usize> = (0..instructions).step_by(every).collect();
    points.extend([instructions, instructions]);
    points
}

/// Kills at these points, with each kind of survivor in rising order, and checks that what was done only grows.
fn run(case: &Case, samples: usize, modes: usize) -> Row {
    let mut row = Row::default();
    for attached in [true, false] {
        let mode = Mode { attached, waits: false };
        let path = match measure(case, mode) {
            Ok(path) => path,
            Err(error) => {
                row.fault(0, None, mode, &format!("without a kill: {error}"));
                continue;
            }
        };
        row.instructions = path.len();
        let mut done = Done { progress: 0, k: 0, mode };
        for (index, k) in kill_points(path.len(), samples).into_iter().enumerate() {
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
    match one_kill(case, path, k, mode, Leaps::First) {
        Err(what) => row.fault(k, path.get(k).map(|place| place.counter), mode, &what),
        Ok((report, same_path)) => {
            row.took.push(report.took);
            if same_path {
                check_growth(case, row, done, path, Done { progress: report.progress, k, mode });
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
    // A newcomer whose queue has no name cannot look for messages.
    if now.progress < done.progress {
        match falls(case, path, *done, now) {
            Ok(true) => fault(format!("{} done, but {} were done after {}", now.progress, done.progress, done.k)),
            Ok(false) => *done = Done { progress: now.progress, ..*done },
            Err(what) => fault(what),
        }
    }
    let seen_at_all = !(case.polled && matches!(case.act, Act::Arm | Act::DropArmed));
    if now.k == 0 && now.progress != 0 && seen_at_all {
        fault(format!("{} done before the first instruction", now.progress));
    }
    if at.is_none() && now.progress != case.whole {
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
    let (earlier, same) = one_kill(case, path, before.k, before.mode, Leaps::None)?;
    let (later, same_too) = one_kill(case, path, now.k, now.mode, Leaps::None)?;
    Ok(same && same_too && later.progress < earlier.progress)
}

// ---- the program ----

/// The one test that this program is, for those who ask with `--list`.
const TEST: &str = "death_beside_a_doorbell";

fn main() -> ExitCode {
    step::only_test(TEST, run_chosen)
}

fn chosen(words: &[&str], title: &str) -> bool {
    words.is_empty() || words.iter().any(|word| TEST.contains(word) || title.contains(word))
}

/// Runs the rows, several at once: each lane is a process, which takes the next row that nobody has taken.
fn run_chosen(words: &[&str]) -> ExitCode {
    let start = Instant::now();
    println!("times in ms: from the death until all was checked; commits: first k with more done");
    println!("{:<58} instrs  kills faults strayed      p50      max  commits", "operation | state");
    let all: Vec<Case> = cases().into_iter().filter(|case| chosen(words, &case.title())).collect();
    let (work, sums) = (pipe(), pipe());
    (0..all.len()).for_each(|index| (&work.1).write_all(&[index as u8]).expect("a pipe holds some bytes"));
    let count = number("CHAPPE_KILL_LANES").unwrap_or(4).clamp(1, 64) as usize;
    (&work.1).write_all(&vec![u8::MAX; count]).expect("a pipe holds some bytes");
    let lanes: Vec<i32> = (0..count).map(|lane| step::fork(|| run_lane(lane, &all, &work.0, &sums.1))).collect();
    drop(sums.1);
    let ended = lanes.iter().filter(|lane| step::wait(**lane) == 0).count();
    let mut text = String::new();
    (&sums.0).read_to_string(&mut text).expect("what the lanes say");
    let sum = |column: usize| -> usize {
        let numbers = text.lines().filter_map(|line| line.split(' ').nth(column)?.parse::<usize>().ok());
        numbers.sum()
    };
    println!("{} kills in {:.1?}", sum(0), start.elapsed());
    println!("{} passed, {} failed", sum(1), sum(2));
    let whole = ended == lanes.len() && sum(1) + sum(2) == all.len();
    if whole && sum(2) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Confines the calling thread, and what it starts, to one CPU: stepping is much faster there, and nobody spins, which would be
/// too many steps, because nobody else could run meanwhile.
fn stay_on_one_cpu(lane: usize) {
    let may = rustix::thread::sched_getaffinity(None).expect("the CPUs of this process");
    let cpus: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| may.is_set(*cpu)).collect();
    let mut one = rustix::thread::CpuSet::new();
    one.set(cpus[lane % cpus.len()]);
    rustix::thread::sched_setaffinity(None, &one).expect("one of the CPUs that it has");
}

fn run_lane(lane: usize, all: &[Case], mut work: &PipeReader, mut sums: &PipeWriter) -> bool {
    stay_on_one_cpu(lane);
    let modes = number("CHAPPE_KILL_MODES").unwrap_or(1) as usize;
    let samples = if cfg!(debug_assertions) { 16 } else { 40 };
    loop {
        let mut next = [0];
        work.read_exact(&mut next).expect("the pipe has an end for each lane");
        let Some(case) = all.get(usize::from(next[0])) else { return true };
        let mut row = run(case, samples, modes);
        row.print(&case.title());
        let good = row.faults.is_empty();
        writeln!(sums, "{} {} {}", row.kills, usize::from(good), usize::from(!good)).expect("the pipe for sums");
    }
}
