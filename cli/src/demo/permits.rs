//! Scene 3: permits. Workers share a semaphore and say when they go in and out, in one pipe, so that what was inside at a time is
//! counted from outside: who has said "in" and not yet "out" holds a permit. Then one that holds a permit is killed.

use super::stage::{Stage, finish, kill, semaphore_options, spawn};
use super::{Screen, wrong};
use crate::exit::{self, Failure};
use crate::output::Output;
use chappe::{AcquireError, Name, Semaphore, SemaphoreStat};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use std::io::{self, PipeReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

const NAME: &str = "/permits";
const PERMITS: u64 = 3;
const WORKERS: u32 = 8;
const TURNS: u64 = 400;
const WORK: Duration = Duration::from_millis(1);

/// A permit that is not back by then does not come back.
const PATIENCE_SECONDS: i64 = 10;

/// What a worker says, in one write: who it is, whether it goes in or out, and when.
struct Report {
    worker: u32,
    goes_in: bool,
    nanos: u64,
}

impl Report {
    const LEN: usize = 16;

    fn now(worker: u32, goes_in: bool) -> Report {
        Report { worker, goes_in, nanos: monotonic_nanos() }
    }

    fn to_bytes(&self) -> [u8; Report::LEN] {
        let mut bytes = [0; Report::LEN];
        bytes[..4].copy_from_slice(&self.worker.to_le_bytes());
        bytes[4] = self.goes_in.into();
        bytes[8..].copy_from_slice(&self.nanos.to_le_bytes());
        bytes
    }

    fn of_bytes(bytes: &[u8; Report::LEN]) -> Report {
        let [a, b, c, d, goes_in, _, _, _, nanos @ ..] = *bytes;
        Report { worker: u32::from_le_bytes([a, b, c, d]), goes_in: goes_in != 0, nanos: u64::from_le_bytes(nanos) }
    }
}

/// The clock that all processes of a machine share.
fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Plays the scene.
pub fn play(stage: &Stage, screen: &mut Screen) -> Result<(), Failure> {
    screen.say("\n3. Permits");
    let semaphore = stage.semaphore_options().permits(PERMITS).create_new(NAME).map_err(|error| exit::open(&error))?;
    let (most, turns) = take_turns(stage)?;
    let fewest = turns.iter().min().copied().unwrap_or(0);
    screen.say(&format!(
        "   {WORKERS} workers share {PERMITS} permits and take {TURNS} turns; the least lucky one had {fewest}.\n   \
         Counted from outside, at most {most} were inside at a time."
    ));
    if most > PERMITS {
        return Err(wrong(format!("{most} workers were inside, {PERMITS} may be")));
    }
    let death = kill_one(stage, &semaphore)?;
    screen.say(&format!(
        "   {PERMITS} are inside and {} wait: process {} is killed (kill -9) with its permit.\n   \
         Process {}, the first in the queue, is inside {:.2} ms later. At the end {} of {PERMITS} are free.",
        death.queue,
        death.victim,
        death.heir,
        death.nanos as f64 / 1e6,
        semaphore.available()
    ));
    Ok(())
}

/// The workers, and what they say.
struct Troop {
    workers: Vec<Option<Child>>,
    reports: PipeReader,
    inside: u64,
    most: u64,
}

impl Troop {
    fn start(stage: &Stage, role: &str) -> Result<Troop, Failure> {
        let (reports, writer) = io::pipe().map_err(|error| Failure::system("make a pipe", &error))?;
        let start = |number: u32| {
            let writer = writer.try_clone().map_err(|error| Failure::system("share a pipe", &error))?;
            let mut command = stage.command(role, &[&number.to_string()]);
            spawn(command.stdin(Stdio::piped()).stdout(writer)).map(Some)
        };
        let workers = (0..WORKERS).map(start).collect::<Result<_, _>>()?;
        Ok(Troop { workers, reports, inside: 0, most: 0 })
    }

    /// The next report; `None` when all have ended.
    fn report(&mut self) -> Result<Option<Report>, Failure> {
        let mut bytes = [0; Report::LEN];
        match self.reports.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(Failure::system("read from a pipe", &error)),
        }
        let report = Report::of_bytes(&bytes);
        self.inside = if report.goes_in { self.inside + 1 } else { self.inside.saturating_sub(1) };
        self.most = self.most.max(self.inside);
        Ok(Some(report))
    }

    /// Whether something is said in time.
    fn says_something(&self) -> bool {
        let time = Timespec { tv_sec: PATIENCE_SECONDS, tv_nsec: 0 };
        matches!(poll(&mut [PollFd::new(&self.reports, PollFlags::IN)], Some(&time)), Ok(1..))
    }

    fn pid(&self, worker: u32) -> u32 {
        self.workers.get(worker as usize).and_then(Option::as_ref).map_or(0, Child::id)
    }

    /// The end of its input tells a worker to go.
    fn dismiss(&mut self) {
        self.workers.iter_mut().flatten().for_each(|worker| drop(worker.stdin.take()));
    }

    /// Waits until all have gone; gives the most that were inside at a time.
    fn disband(mut self) -> Result<u64, Failure> {
        while self.report()?.is_some() {}
        for worker in self.workers.into_iter().flatten() {
            finish(worker, "worker")?;
        }
        Ok(self.most)
    }
}

/// All take turns; gives the most that were inside at a time, and the turns of each.
fn take_turns(stage: &Stage) -> Result<(u64, Vec<u64>), Failure> {
    let mut troop = Troop::start(stage, "permit-worker")?;
    let mut turns = vec![0; WORKERS as usize];
    while turns.iter().sum::<u64>() < TURNS {
        let report = troop.report()?.ok_or_else(|| wrong("the workers ended before they were told to"))?;
        let count = turns.get_mut(report.worker as usize).ok_or_else(|| wrong("a report makes no sense"))?;
        *count += u64::from(!report.goes_in);
    }
    troop.dismiss();
    Ok((troop.disband()?, turns))
}

/// How it went.
struct Death {
    victim: u32,
    heir: u32,
    queue: usize,
    nanos: u64,
}

/// Some hold, the others wait; one of the holders is killed.
fn kill_one(stage: &Stage, semaphore: &Semaphore) -> Result<Death, Failure> {
    let mut troop = Troop::start(stage, "permit-holder")?;
    let mut victim = 0;
    for _ in 0..PERMITS {
        victim = troop.report()?.ok_or_else(|| wrong("the holders ended"))?.worker;
    }
    let queue = full_queue(semaphore)?.waiters;
    let pid = troop.pid(victim);
    let mut child = troop.workers[victim as usize].take().ok_or_else(|| wrong("the victim is gone"))?;
    let killed = monotonic_nanos();
    // From here on it counts as outside: it is, at the latest, when another one comes in.
    troop.inside -= 1;
    kill(&mut child, "holder")?;
    if !troop.says_something() {
        return Err(wrong(format!("the permit of a killed holder was not back after {PATIENCE_SECONDS} s")));
    }
    let heir = troop.report()?.filter(|report| report.goes_in).ok_or_else(|| wrong("nobody came in"))?;
    let death = Death {
        victim: pid,
        heir: troop.pid(heir.worker),
        queue: queue.len(),
        nanos: heir.nanos.saturating_sub(killed),
    };
    if queue.first().map(|first| first.process.pid) != Some(death.heir) {
        return Err(wrong("the first in the queue was passed"));
    }
    troop.dismiss();
    let most = troop.disband()?;
    match stat(semaphore)?.available {
        _ if most > PERMITS => Err(wrong(format!("{most} workers were inside, {PERMITS} may be"))),
        free if free != PERMITS as i64 => Err(wrong(format!("{free} permits are free at the end, not {PERMITS}"))),
        _ => Ok(death),
    }
}

/// Waits until all others are in the queue. The demo's limit of time bounds this.
fn full_queue(semaphore: &Semaphore) -> Result<SemaphoreStat, Failure> {
    loop {
        let stat = stat(semaphore)?;
        if stat.waiters.len() as u64 + PERMITS == u64::from(WORKERS) {
            return Ok(stat);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn stat(semaphore: &Semaphore) -> Result<SemaphoreStat, Failure> {
    semaphore.stat().map_err(|error| exit::sem::access(&name(), error))
}

fn name() -> Name {
    Name::new(NAME).expect("a name within the rule")
}

fn open(dir: &Path) -> Result<Semaphore, Failure> {
    semaphore_options(dir).open(NAME).map_err(|error| exit::open(&error))
}

fn acquire_failed(error: AcquireError) -> Failure {
    exit::sem::acquire(&name(), error, "had no permit free")
}

/// Without a buffer: each report is one write.
fn say(output: &mut Output, report: &Report) -> Result<(), Failure> {
    output.write(&report.to_bytes())
}

/// Takes turns until its input ends.
pub fn worker(dir: &Path, number: u32) -> Result<(), Failure> {
    let (semaphore, mut output) = (open(dir)?, Output::open()?);
    let over = super::worker::stdin_ends();
    while !over.load(std::sync::atomic::Ordering::Relaxed) {
        let permit = semaphore.acquire().map_err(acquire_failed)?;
        say(&mut output, &Report::now(number, true))?;
        std::thread::sleep(WORK);
        say(&mut output, &Report::now(number, false))?;
        drop(permit);
    }
    Ok(())
}

/// Holds a permit until its input ends.
pub fn holder(dir: &Path, number: u32) -> Result<(), Failure> {
    let (semaphore, mut output) = (open(dir)?, Output::open()?);
    let permit = semaphore.acquire().map_err(acquire_failed)?;
    say(&mut output, &Report::now(number, true))?;
    io::stdin().read_to_end(&mut Vec::new()).map_err(|error| Failure::system("read stdin", &error))?;
    say(&mut output, &Report::now(number, false))?;
    drop(permit);
    Ok(())
}
