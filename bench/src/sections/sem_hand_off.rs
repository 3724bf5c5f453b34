//! How long a permit takes to a waiter that is asleep, from just before it is given back to when the waiter has it.

use super::{Contestant, Context, Outcome, contest, over};
use crate::floor::FutexLock;
use crate::holder::{Holder, OnePermit};
use crate::measure::child::{Child, join_all};
use crate::measure::process::until_asleep;
use crate::measure::shared::{Bell, Gate, Shared, Zeroed};
use crate::measure::stats::percentiles;
use crate::measure::{Result, clock};
use crate::our_permit::OurPermit;
use crate::report::{Goal, Metric, Unit};
use crate::rivals::c_library::{RobustMutex, SemT};
use crate::rivals::file_lock::Flock;
use crate::rivals::system_v::SystemV;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

const ABOUT: &str = "a holder on one CPU, a waiter on the other: it is seen asleep in /proc, and again 100 µs later, before the permit is given back\n\
    the release: how long the call takes that gives it back";

/// How long a waiter must have slept, in nanoseconds.
const SETTLED: u64 = 100_000;

pub fn measure(context: &Context<'_>) -> Outcome {
    context.need_two_cpus()?;
    let metrics = [
        Metric::new("p50", Unit::Nanoseconds),
        Metric::new("p99", Unit::Nanoseconds),
        Metric::new("the release, p50", Unit::Nanoseconds),
    ];
    let contestants = vec![
        Contestant::new("chappe", || hand_offs::<OurPermit>(context)),
        Contestant::new("sem_t", || hand_offs::<SemT>(context)),
        Contestant::new("System V", || hand_offs::<SystemV>(context)),
        Contestant::new("robust mutex", || hand_offs::<RobustMutex>(context)),
        Contestant::new("flock", || hand_offs::<Flock>(context)),
        Contestant::new("(a futex lock)", || hand_offs::<FutexLock>(context)),
    ];
    let table = contest(context.rounds, "to a sleeping waiter", &metrics, contestants);
    let ratio = over(table.figure("chappe", 0), table.figure("sem_t", 0));
    let goals = vec![Goal::at_most("hand-off to a sleeping waiter, p50, times sem_t's, at most 1.3", 1.3, ratio)];
    Ok((ABOUT, vec![table], goals))
}

#[derive(Default)]
struct Words {
    gate: Gate,
    /// The holder has the permit in this turn.
    held: Bell,
    /// The waiter is about to wait.
    entered: Bell,
    /// The waiter has given it back.
    done: Bell,
    released_at: AtomicU64,
}

// SAFETY: atomics only, and types made of them.
unsafe impl Zeroed for Words {}

fn hand_offs<T: OnePermit>(context: &Context<'_>) -> Result<Vec<f64>> {
    let turns = u32::try_from(context.amount(2_000))?;
    let one = T::create(context.dir)?;
    let words = Shared::<Words>::new()?;
    let waiter = Child::spawn(Some(context.cpus[1]), || {
        let end = one.attach()?;
        words.gate.arrive(2)?;
        wait(&end, &words, turns)
    })?;
    let pid = waiter.pid();
    let holder = Child::spawn(Some(context.cpus[0]), || {
        let end = one.attach()?;
        words.gate.arrive(2)?;
        hold(&end, &words, turns, pid)
    })?;
    let found = join_all(vec![waiter, holder])?.concat();
    // p50, p99, p99.9 of the one, then of the other.
    Ok(vec![found[0], found[1], found[3]])
}

fn hold<E: Holder>(end: &E, words: &Words, turns: u32, waiter: i32) -> Result<Vec<f64>> {
    let mut releases = Vec::new();
    for turn in 1..=turns {
        let permit = end.acquire()?;
        words.held.ring(turn);
        words.entered.spin_for(turn)?;
        until_asleep(waiter, SETTLED)?;
        let start = clock::now();
        words.released_at.store(start, SeqCst);
        drop(permit);
        releases.push(clock::now() - start);
        words.done.spin_for(turn)?;
    }
    percentiles(&releases)
}

fn wait<E: Holder>(end: &E, words: &Words, turns: u32) -> Result<Vec<f64>> {
    let mut latencies = Vec::new();
    for turn in 1..=turns {
        words.held.spin_for(turn)?;
        words.entered.ring(turn);
        let permit = end.acquire()?;
        latencies.push(clock::now().saturating_sub(words.released_at.load(SeqCst)));
        drop(permit);
        words.done.ring(turn);
    }
    percentiles(&latencies)
}
