//! How long after the death of a holder another process has its permit: from just before `kill` to the waiter's return.

use super::{Contestant, Context, Outcome, over, pooled};
use crate::holder::{Executor, Holder, OnePermit, SLEEP};
use crate::measure::child::Child;
use crate::measure::process::{number_after, until_asleep, until_it_is};
use crate::measure::shared::{Bell, Shared, Zeroed};
use crate::measure::{Result, clock};
use crate::our_permit::{KeptByChildren, OurPermit};
use crate::report::{Goal, Table};
use crate::rivals::c_library::RobustMutex;
use crate::rivals::file_lock::{FcntlLock, Flock};
use crate::rivals::system_v::SystemV;
use rustix::process::{Pid, Signal, kill_process};
use std::convert::Infallible;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

const ABOUT: &str = "a holder is killed (SIGKILL) while another process, seen asleep in /proc, waits for its permit; no process is pinned\n\
    from just before the kill to when the waiter has the permit; all kills of a row together, each as soon after the one before as\n\
    a new holder can be started (one or two ms); with rest: 20 ms in which nobody comes or goes\n\
    System V with SEM_UNDO; sem_t is not here: with it nobody gets the permit again\n\
    the kernel takes the memory of a process down before its files and locks, so those wait for that";

/// How long the waiter must have slept, in nanoseconds.
const SETTLED: u64 = 100_000;

const MIB: usize = 1 << 20;

pub fn measure(context: &Context<'_>) -> Outcome {
    let tables = vec![ordinary(context), large(context), command(context)];
    let millis = tables[0].figure("chappe", 1).map(|nanos| nanos / 1e6);
    let ratio = over(tables[2].figure("chappe", 1), tables[2].figure("flock", 1));
    let goals = vec![
        Goal::at_most("a dead holder's permit with the next, p99, ms, at most 10", 10.0, millis).aiming_at(1.0),
        Goal::at_most("a dead command's permit with the next, p99, times flock's, at most 1.5", 1.5, ratio),
    ];
    Ok((ABOUT, tables, goals))
}

fn ordinary(context: &Context<'_>) -> Table {
    let (rounds, kills) = shares(context, if context.quick { 200 } else { 1000 });
    let contestants = vec![
        Contestant::new("chappe", || deaths::<OurPermit>(context, kills, &in_memory(0))),
        Contestant::new("System V", || deaths::<SystemV>(context, kills, &in_memory(0))),
        Contestant::new("robust mutex", || deaths::<RobustMutex>(context, kills, &in_memory(0))),
        Contestant::new("flock", || deaths::<Flock>(context, kills, &in_memory(0))),
        Contestant::new("fcntl lock", || deaths::<FcntlLock>(context, kills, &in_memory(0))),
        Contestant::new("chappe, after 20 ms of rest", || deaths::<OurPermit>(context, kills, &in_memory(0).rested())),
        Contestant::new("flock, after 20 ms of rest", || deaths::<Flock>(context, kills, &in_memory(0).rested())),
    ];
    pooled(rounds, format!("a holder of ordinary size, {} kills", rounds as u32 * kills), contestants)
}

fn large(context: &Context<'_>) -> Table {
    let (rounds, kills) = shares(context, if context.quick { 10 } else { 20 });
    let size = if context.quick { 256 } else { 2048 };
    let bytes = size * MIB;
    let contestants = vec![
        Contestant::new("chappe", || {
            room(bytes).and_then(|()| deaths::<OurPermit>(context, kills, &in_memory(bytes).rested()))
        }),
        Contestant::new("System V", || {
            room(bytes).and_then(|()| deaths::<SystemV>(context, kills, &in_memory(bytes).rested()))
        }),
        Contestant::new("robust mutex", || {
            room(bytes).and_then(|()| deaths::<RobustMutex>(context, kills, &in_memory(bytes).rested()))
        }),
        Contestant::new("flock", || {
            room(bytes).and_then(|()| deaths::<Flock>(context, kills, &in_memory(bytes).rested()))
        }),
        Contestant::new("fcntl lock", || {
            room(bytes).and_then(|()| deaths::<FcntlLock>(context, kills, &in_memory(bytes).rested()))
        }),
    ];
    pooled(rounds, format!("a holder of {size} MiB after 20 ms of rest, {} kills", rounds as u32 * kills), contestants)
}

fn command(context: &Context<'_>) -> Table {
    let (rounds, kills) = shares(context, if context.quick { 100 } else { 500 });
    let contestants = vec![
        Contestant::new("chappe", || deaths::<OurPermit>(context, kills, &as_command())),
        Contestant::new("chappe, kept by children", || deaths::<KeptByChildren>(context, kills, &as_command())),
        Contestant::new("flock", || deaths::<Flock>(context, kills, &as_command())),
    ];
    pooled(rounds, format!("a holder that became `{}`, {} kills", SLEEP[0], rounds as u32 * kills), contestants)
}

/// How many rounds of how many kills, so many in all at least.
fn shares(context: &Context<'_>, kills: u32) -> (usize, u32) {
    let rounds = context.rounds.min(kills as usize);
    (rounds, kills.div_ceil(rounds as u32))
}

/// # Errors
/// If the machine has not twice so much memory to spare.
fn room(bytes: usize) -> Result<()> {
    let available = number_after(&std::fs::read_to_string("/proc/meminfo")?, "MemAvailable:").unwrap_or(0) * 1024;
    if available < 2 * bytes as u64 {
        let [available, wanted] = [available, 2 * bytes as u64].map(|bytes| bytes / MIB as u64);
        return Err(format!("memory is short: {available} MiB available, {wanted} MiB wanted").into());
    }
    Ok(())
}

/// Acquires and holds until it is killed; the second argument tells that it does.
type Hold<'a, E> = dyn Fn(&E, &dyn Fn()) -> Result<Infallible> + 'a;

/// How a holder holds.
struct Way<'a, E> {
    hold: Box<Hold<'a, E>>,
    /// Which command it becomes, which cannot tell.
    becomes: Option<&'static str>,
    /// How long nothing happens before the kill.
    rest: Duration,
}

impl<E> Way<'_, E> {
    fn rested(self) -> Self {
        Way { rest: Duration::from_millis(20), ..self }
    }
}

/// With so many bytes of memory in use, more than a process has anyway.
fn in_memory<'a, E: Holder>(bytes: usize) -> Way<'a, E> {
    let hold = move |end: &E, tell: &dyn Fn()| {
        let memory = black_box(vec![1u8; bytes]);
        let _permit = end.acquire()?;
        tell();
        loop {
            std::thread::park();
            black_box(&memory);
        }
    };
    Way { hold: Box::new(hold), becomes: None, rest: Duration::ZERO }
}

fn as_command<'a, E: Executor>() -> Way<'a, E> {
    let hold = |end: &E, _tell: &dyn Fn()| end.become_sleep().and(Err("exec came back".into()));
    Way { hold: Box::new(hold), becomes: Some(SLEEP[0]), rest: Duration::ZERO }
}

#[derive(Default)]
struct Words {
    /// Somebody holds the permit, in memory of its own.
    held: Bell,
    /// The waiter may go and wait.
    turn: Bell,
    /// It is about to.
    entered: Bell,
    returned: Bell,
    returned_at: AtomicU64,
}

// SAFETY: an atomic, and types made of atomics.
unsafe impl Zeroed for Words {}

/// Nanoseconds, one a kill.
fn deaths<T: OnePermit>(context: &Context<'_>, kills: u32, way: &Way<'_, T::End>) -> Result<Vec<f64>> {
    let one = T::create(context.dir)?;
    let words = Shared::<Words>::new()?;
    let waiter = Child::<()>::spawn(None, || wait(&one.attach()?, &words, kills))?;
    let one_by_one = (1..=kills).map(|turn| death(&one, &words, way, turn, waiter.pid()));
    match one_by_one.collect() {
        Ok(latencies) => Ok(latencies),
        Err(error) => Err(waiter.complaint(error)),
    }
}

fn wait<E: Holder>(end: &E, words: &Words, kills: u32) -> Result<()> {
    for turn in 1..=kills {
        words.turn.wait_for(turn)?;
        words.entered.ring(turn);
        let permit = end.acquire()?;
        words.returned_at.store(clock::now(), SeqCst);
        drop(permit);
        words.returned.ring(turn);
    }
    Ok(())
}

fn death<T: OnePermit>(one: &T, words: &Words, way: &Way<'_, T::End>, turn: u32, waiter: i32) -> Result<f64> {
    let holder =
        Child::<()>::spawn(None, || (way.hold)(&one.attach()?, &|| words.held.ring(turn)).map(|never| match never {}))?;
    let holds = match way.becomes {
        None => words.held.wait_for(turn),
        Some(command) => until_it_is(holder.pid(), command),
    };
    if let Err(error) = holds.and_then(|()| until_asleep(holder.pid(), 0)) {
        return Err(holder.complaint(error));
    }
    words.turn.ring(turn);
    words.entered.wait_for(turn)?;
    until_asleep(waiter, SETTLED)?;
    std::thread::sleep(way.rest);
    if words.returned.has_rung(turn) {
        return Err("the waiter had the permit while the holder was alive".into());
    }
    let victim = Pid::from_raw(holder.pid()).ok_or("a child without a process id")?;
    let start = clock::now();
    kill_process(victim, Signal::KILL)?;
    words.returned.wait_for(turn)?;
    Ok(words.returned_at.load(SeqCst).saturating_sub(start) as f64)
}
