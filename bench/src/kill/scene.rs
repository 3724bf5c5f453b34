//! One death: the queue, who sleeps in it, who dies, who survives. Each is a process of its own, so that the one that forks them stays as it
//! is and the stepped way is the same every time.

use super::account::{Damage, Found};
use super::case::{BEFORE, CAPACITY, Case, SIZE, SLEEPER, VICTIM, Verb, identify, message};
use super::readable;
use super::step::{self, Child, Leaps, Place, Victim, read_line};
use super::survivor::Survivor;
use crate::rivals::shim::{Handle, Shim};
use std::ffi::{CStr, CString};
use std::io::{Error, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// A survivor that has not gone on by then is killed.
const GO_ON: Duration = Duration::from_secs(2);
/// And one that has not finished its account by then.
const ACCOUNT: Duration = Duration::from_secs(10);
/// Time that is not going to run out.
const LONG: Duration = Duration::from_secs(60);
/// Setting a scene takes milliseconds: this is against a harness that hangs.
const NET: Duration = Duration::from_secs(20);

/// Whose queue it is, under which name, and what is done.
pub struct Play<'a> {
    pub shim: &'a Shim,
    pub name: CString,
    pub case: &'a Case,
}

/// What the victim is stepped through.
struct Stage<'a> {
    shim: &'a Shim,
    queue: Handle,
    case: &'a Case,
    message: [u8; SIZE],
    buffer: [u8; SIZE],
    /// Whether it sent or received.
    done: bool,
}

impl step::Stage for Stage<'_> {
    fn play(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        self.done = match self.case.verb {
            Verb::Send => self.shim.send(self.queue, &self.message)?,
            Verb::Receive => self.shim.receive(self.queue, &mut self.buffer)?.is_some(),
        };
        Ok(())
    }

    fn told(&self) -> String {
        let whole = self.case.verb == Verb::Send || !self.done || identify(&self.buffer) == Some(BEFORE);
        if whole { self.done.to_string() } else { "it received what was not sent".to_owned() }
    }
}

type Pipe = (PipeReader, PipeWriter);

impl Play<'_> {
    /// The way through the call when nobody dies; what comes of it must be what the case says.
    pub fn measure(&self) -> Result<Vec<Place>, String> {
        let _sleeper = self.set()?;
        let told = pipe()?;
        let mut victim = self.victim(Some(&told.1))?;
        let path = victim.trace()?;
        victim.finish()?;
        let done = read_line(&told.0)?;
        if done == (!self.case.in_vain()).to_string() {
            return Ok(path);
        }
        Err(format!("without a death: {done}"))
    }

    /// Kills at this instruction of the way.
    pub fn kill(&self, path: &[Place], k: usize) -> Result<Damage, String> {
        let sleeper = self.set()?;
        let (go, report) = (pipe()?, pipe()?);
        let woken = sleeper.as_ref().map(|(_, woken)| woken);
        // There before, and there afterwards: they take turns.
        let early = k.is_multiple_of(2).then(|| self.survivor(&go.0, &report, woken)).transpose()?;
        let mut victim = self.victim(None)?;
        let leaps = if self.case.asleep.is_some() { Leaps::First } else { Leaps::Any };
        victim.advance(path, k, leaps)?;
        victim.child.kill();
        let mut survivor = match early {
            Some(survivor) => survivor,
            None => self.survivor(&go.0, &report, woken)?,
        };
        let finished = if victim.at_end { "1" } else { "0" };
        (&go.1).write_all(finished.as_bytes()).map_err(text)?;
        drop(report.1);
        Ok(outcome(&mut survivor, &report.0))
    }

    /// Makes the queue, fills it, and puts to sleep who is to be asleep.
    fn set(&self) -> Result<Option<(Child, PipeReader)>, String> {
        let told = pipe()?;
        let pid = step::fork(|| {
            let result = self.make().map_err(|error| error.to_string());
            writeln!(&told.1, "{}", result.err().unwrap_or_default()).is_ok()
        });
        let result = read_line(&told.0);
        step::wait(pid);
        match result?.as_str() {
            "" => self.case.asleep.map(|verb| self.put_to_sleep(verb)).transpose(),
            reason => Err(reason.to_owned()),
        }
    }

    /// Every place has been used once, so that nothing is done for the first time.
    fn make(&self) -> crate::measure::Result<()> {
        self.shim.unlink(&self.name);
        let queue = self.shim.create(&self.name, CAPACITY, SIZE as u32)?;
        self.shim.within(LONG);
        for _ in 0..2 {
            for _ in 0..CAPACITY {
                self.shim.send(queue, &message(u64::MAX))?;
            }
            for _ in 0..CAPACITY {
                self.shim.receive(queue, &mut [0; SIZE])?;
            }
        }
        for id in BEFORE..BEFORE + u64::from(self.case.before) {
            self.shim.send(queue, &message(id))?;
        }
        Ok(())
    }

    fn put_to_sleep(&self, verb: Verb) -> Result<(Child, PipeReader), String> {
        let told = pipe()?;
        let child = Child::fork(|| {
            let Ok(queue) = self.shim.open(&self.name) else { return false };
            let mut buffer = [0; SIZE];
            self.shim.within(LONG);
            if writeln!(&told.1, "here").is_err() {
                return false;
            }
            let line = match verb {
                Verb::Send => self.shim.send(queue, &message(SLEEPER)).map(|_| "sent".to_owned()),
                Verb::Receive => self
                    .shim
                    .receive(queue, &mut buffer)
                    .map(|_| identify(&buffer).map_or_else(|| "torn".to_owned(), |id| id.to_string())),
            };
            writeln!(&told.1, "{}", line.unwrap_or_else(|error| error.to_string())).is_ok()
        });
        match read_line(&told.0)?.as_str() {
            "here" => {}
            other => return Err(format!("the sleeper began with {other:?}")),
        }
        // From here on it sleeps nowhere but in the call.
        let pid = child.0.ok_or("the sleeper is gone")?;
        let start = Instant::now();
        while !sleeps(pid) {
            if start.elapsed() > NET {
                return Err("the sleeper does not fall asleep".to_owned());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok((child, told.0))
    }

    fn victim(&self, tell: Option<&PipeWriter>) -> Result<Victim, String> {
        let (shim, case) = (self.shim, self.case);
        let stage = || {
            let queue = shim.open(&self.name).expect("the victim opens");
            shim.within(case.time());
            Stage { shim, case, queue, message: message(VICTIM), buffer: [0; SIZE], done: false }
        };
        Victim::start(stage, tell)
    }

    /// Forks a survivor, which has the queue open when this returns.
    fn survivor(&self, mut go: &PipeReader, report: &Pipe, woken: Option<&PipeReader>) -> Result<Child, String> {
        let child = Child::fork(|| {
            let tell = |line: &str| writeln!(&report.1, "{line}").expect("the report's pipe");
            let opened = self.shim.open(&self.name);
            tell("here");
            let mut finished = [0];
            go.read_exact(&mut finished).expect("the pipe to go");
            let damage = match opened {
                Err(_) => {
                    tell("on");
                    Damage { refused: true, ..Damage::default() }
                }
                Ok(queue) => {
                    let finished = finished == *b"1";
                    let (found, damage) = (Found::default(), Damage::default());
                    let (shim, case) = (self.shim, self.case);
                    Survivor { shim, queue, case, finished, woken, found, damage }.survive(|| tell("on"))
                }
            };
            tell(&serde_json::to_string(&damage).expect("plain data"));
            true
        });
        // One that hangs already when it opens the queue is found out later.
        if readable(report.0.as_raw_fd(), GO_ON) {
            match read_line(&report.0)?.as_str() {
                "here" => {}
                other => return Err(format!("the survivor began with {other:?}")),
            }
        }
        Ok(child)
    }

    /// Removes the queue.
    pub fn clear(&self) {
        let pid = step::fork(|| {
            self.shim.unlink(&self.name);
            true
        });
        step::wait(pid);
    }
}

/// What the survivor tells, or what its silence does.
fn outcome(survivor: &mut Child, report: &PipeReader) -> Damage {
    let silent = |survivor: &mut Child| {
        let ended = survivor.0.take().map(ended_by_itself);
        match ended {
            Some(true) => Damage { crashed: true, ..Damage::default() },
            _ => Damage { hung: true, for_good: true, ..Damage::default() },
        }
    };
    for bound in [GO_ON, ACCOUNT] {
        let line = readable(report.as_raw_fd(), bound).then(|| read_line(report).ok()).flatten();
        match line.as_deref() {
            Some("on" | "here") => {}
            Some(line) => return serde_json::from_str(line).unwrap_or(Damage { crashed: true, ..Damage::default() }),
            None => return silent(survivor),
        }
    }
    silent(survivor)
}

/// Ends and reaps it; whether a signal or an error had ended it before.
fn ended_by_itself(pid: i32) -> bool {
    let mut status = 0;
    // SAFETY: the status lives through the call; the pid is that of a child which was not reaped yet.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    if reaped == pid {
        return true;
    }
    step::kill(pid);
    step::wait(pid);
    false
}

/// Whether the process sleeps.
fn sleeps(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}

/// A name that nobody else uses.
pub fn name(lane: usize) -> CString {
    CString::new(format!("/chappe-kill-{}-{lane}", std::process::id())).unwrap_or_default()
}

/// What a queue's name is in a directory of the caller's, if it keeps its queues there.
pub const DIRECTORY: &CStr = c"CHAPPE_DIR";

fn pipe() -> Result<Pipe, String> {
    std::io::pipe().map_err(text)
}

fn text(error: Error) -> String {
    error.to_string()
}
