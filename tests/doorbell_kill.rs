//! As `kill.rs`, for what that file has nobody for: somebody else polls the queue's doorbell, or is registered to be told of the
//! next message, while a process dies at each instruction of an operation; or the one who dies does these things itself.
//!
//! After each death a survivor sees to it that the account of messages is right; that the doorbell shows what is in the queue,
//! by itself in the end and at once after each operation of the survivor's; that a living registrant is told once, and only once, if
//! a message lies there that nobody will take; that a dead one's place is free; and that nobody hangs.
//!
//! It drives the real library through its public face, but for a few words of the file, which tell how far the dying one got. The
//! threads of a living poller or registrant are in a process of their own. A victim that arms or registers has such a thread, too: that one
//! is not stepped, runs beside the one that is, and dies with it.
//!
//! The variables that choose the instructions, and what cannot be stepped, are at the head of `common/kill.rs`.

mod common;

use chappe::{Access, Batch, Queue, QueueOptions, QueueStat, RecvError, SendError};
use common::format::Image;
use common::kill::{self, Mode, Outcome, Plan};
use common::lanes::{Job, Program};
use common::step::{self, Child, Victim, read_line};
use common::waker::Waker;
use common::way::{Leaps, Stand, Way};
use common::{identify, payload, readable, scratch};
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

impl kill::Case for Case {
    fn kinds(&self) -> &'static [bool] {
        &[true, false]
    }

    /// Somebody else is always awake: an attendant.
    fn leaps(&self) -> Leaps {
        Leaps::First
    }

    fn patient(&self) -> bool {
        false
    }

    fn whole(&self) -> Option<usize> {
        Some(self.whole)
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
        let mut scene = Scene { case, dir, options, companion: None, told: pipe() };
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
        // The companion polls as well, or not.
        let polls = || Image::open(&self.path()).map_or(0, |image| image.polling()) > usize::from(self.case.polled);
        let here = |yes: bool| usize::from(yes);
        match self.case.act {
            Act::Notify => here(registered),
            Act::Cancel | Act::DropRegistered => here(!registered),
            Act::Arm => here(polls()),
            Act::DropArmed => here(!polls()),
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
    /// Sends as soon as the victim sleeps.
    waker: Option<Waker>,
    scene: Scene<'a>,
    go: Pipe,
    report: Pipe,
}

impl<'a> Set<'a> {
    fn new(case: &'a Case, mode: Mode) -> Result<Set<'a>, String> {
        let scene = Scene::new(case)?;
        let (go, report) = (pipe(), pipe());
        let survivor = mode.attached.then(|| start_survivor(&scene, mode, &go.0, &report)).transpose()?;
        let victim = Victim::start(|| Stage::new(case.act, &scene.options), None)?;
        let waits = |stat: &QueueStat| stat.counters.recv_blocked > 0;
        let send = |queue: &Queue| queue.send(&payload(WAKER, SMALL), PRIORITY).is_ok();
        let waker = (case.act == Act::Woken).then(|| Waker::start(victim.pid() as u32, &scene.options, waits, send));
        Ok(Set { victim, survivor, waker, scene, go, report })
    }
}

/// Kills the victim of a fresh scene after `k` instructions and lets a survivor of this kind go on. One that looks waits for what comes by
/// itself before it does anything.
fn one_kill(case: &Case, way: &Way, k: usize, mode: Mode, leaps: Leaps) -> Result<Outcome, String> {
    let mut set = Set::new(case, mode)?;
    let stand = set.victim.follow(way, k, leaps)?;
    // Before the death: an attendant that lives puts right at once what the dead one left, and nothing is to be seen of it then.
    let done = set.scene.traces();
    set.victim.child.kill();
    let woke = set.waker.take().map_or(Ok(false), Waker::end)?;
    if set.survivor.is_none() {
        set.survivor = Some(start_survivor(&set.scene, mode, &set.go.0, &set.report)?);
    }
    writeln!(set.go.1, "{}{}", done, usize::from(woke)).map_err(|error| error.to_string())?;
    let text = read_line(&set.report.0).map_err(|error| format!("the survivor hangs or died: {error}"))?;
    let words: Option<Vec<u64>> =
        text.strip_prefix("found ").and_then(|rest| rest.split(' ').map(|word| word.parse().ok()).collect());
    let [took, slept, progress] = words.and_then(|words| <[u64; 3]>::try_from(words).ok()).ok_or(text)?;
    let slept = (slept > 0).then(|| Duration::from_nanos(slept));
    let same_path = stand != Stand::Astray;
    Ok(Outcome { took: Duration::from_nanos(took), slept, progress: progress as usize, same_path })
}

/// Forks a survivor and waits until it is in its place.
fn start_survivor(scene: &Scene, mode: Mode, mut go: &PipeReader, report: &Pipe) -> Result<Child, String> {
    let child = Child::fork(|| {
        let attached = mode.attached.then(|| scene.options.open("/q").expect("the survivor opens"));
        // One whose doorbell's name is about to go.
        let opens = attached.as_ref().filter(|_| scene.case.act.removes_the_name());
        let bell = opens.map(|queue| queue.doorbell(Access::Both).expect("a doorbell"));
        let image = attached.as_ref().and_then(|_| Image::open(&scene.path()));
        let mut tell = &report.1;
        writeln!(tell, "here").expect("the report's pipe");
        let mut word = [0; 3];
        go.read_exact(&mut word).expect("the pipe to go");
        let (done, woke) = (usize::from(word[0] - b'0'), word[1] == b'1');
        let found = catch_unwind(AssertUnwindSafe(|| survive(scene, mode, (attached, image), bell, woke)));
        let text = match found {
            Ok(Ok(found)) => {
                format!("found {} {} {}", found.took.as_nanos(), found.slept.as_nanos(), done + found.moved)
            }
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
    image: Option<Image>,
    /// How long its own first send and receive took.
    took: Duration,
    /// How many dead ones had been recovered when this was last looked at.
    recovered: u64,
}

/// What a survivor found.
struct Found {
    /// How long its own calls took until it had sent and received.
    took: Duration,
    /// How long those waited who are to be told: of the doorbell's level, or as registrants.
    slept: Duration,
    /// How many messages the victim has moved.
    moved: usize,
}

/// Does everything there is to do.
fn survive(
    scene: &Scene,
    mode: Mode,
    attached: (Option<Queue>, Option<Image>),
    bell: Option<OwnedFd>,
    woke: bool,
) -> Result<Found, String> {
    let case = scene.case;
    let (attached, image) = attached;
    let start = Instant::now();
    let nameless = attached.is_none() && !scene.path().exists();
    let queue = match attached {
        Some(queue) => queue,
        // A newcomer after the name is gone: it must be free.
        None if nameless => scene.options.create_new("/q").map_err(|error| format!("create_new: {error}"))?,
        None => scene.options.open("/q").map_err(|error| format!("the survivor's open: {error}"))?,
    };
    let image = image.or_else(|| Image::open(&scene.path()));
    let at_once = nameless || !case.act.removes_the_name();
    let (received, told, recovered, took) = (Vec::new(), 0, 0, start.elapsed());
    let mut survivor = Survivor { scene, case, queue, bell, at_once, received, told, image, took, recovered };
    if nameless {
        survivor.arm()?;
        survivor.fill_and_empty()?;
        return Ok(Found { took: survivor.took, slept: Duration::ZERO, moved: 0 });
    }
    survivor.get_ready(mode)?;
    let start = Instant::now();
    if mode.looks {
        survivor.all_comes_by_itself(woke)?;
    }
    let slept = if mode.looks { start.elapsed() } else { Duration::ZERO };
    let room = survivor.make_room()?;
    let empty = survivor.is_empty(mode)?;
    let sent = survivor.send(SURVIVOR)?;
    if case.registered && sent && empty {
        survivor.is_told("of a message in the queue that was empty")?;
    }
    while survivor.receive()? {}
    let took = survivor.took;
    survivor.all_is_clean()?;
    survivor.words()?;
    let moved = survivor.account(mode, woke, sent, room)?;
    if sent {
        survivor.fill_and_empty()?;
        survivor.was_told_once()?;
        survivor.can_register()?;
        survivor.words()?;
    }
    Ok(Found { took, slept, moved })
}

impl Survivor<'_> {
    /// The words of the file are as they must be.
    fn words(&self) -> Result<(), String> {
        self.image.as_ref().map_or(Ok(()), Image::check)
    }

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
        if mode.looks && matches!(self.case.act, Act::Arm | Act::DropArmed) {
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
        if mode.looks {
            let stat = self.stat()?;
            return Ok(stat.len + stat.being_sent + stat.being_received == 0);
        }
        let large = self.case.before.contains(&LARGE) || matches!(self.case.act, Act::RecvMany(_));
        Ok(!large && self.queue.is_empty().map_err(|error| error.to_string())?)
    }

    /// False if the queue has ended.
    fn send(&mut self, id: u64) -> Result<bool, String> {
        let start = Instant::now();
        let result = self.queue.try_send(&payload(id, SMALL), PRIORITY);
        self.took += start.elapsed();
        match result {
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
        let start = Instant::now();
        let result = self.queue.try_recv();
        self.took += start.elapsed();
        match result {
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
            part.iter().filter(|(_, dead)| mode.looks || *dead == 0).map(|(id, _)| *id).is_sorted()
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
        self.words()?;
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

// ---- the program ----

fn jobs() -> Vec<Job> {
    let plan = Plan::new(if cfg!(debug_assertions) { 16 } else { 30 });
    let job =
        |case: Case| Job { title: case.title(), long: case.whole == 0, run: Box::new(move || kill::run(&case, plan)) };
    cases().into_iter().map(job).collect()
}

/// Most of the time is spent waiting for an attendant's next look: hence more lanes than there are CPUs.
fn main() -> ExitCode {
    Program { test: "death_beside_a_doorbell", lanes: 6, pinned: true }.main(jobs)
}
