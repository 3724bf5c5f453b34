//! Two processes take one permit as often as they can, and do next to nothing with it.

use super::{Contestant, Context, Outcome, Places, contest, over};
use crate::floor::FutexLock;
use crate::holder::{Holder, OnePermit};
use crate::measure::child::{Child, join_all};
use crate::measure::shared::{Gate, Shared, Zeroed};
use crate::measure::{Result, clock};
use crate::our_permit::OurPermit;
use crate::report::{Goal, Metric, Table, Unit};
use crate::rivals::c_library::{RobustMutex, SemT};
use crate::rivals::file_lock::Flock;
use crate::rivals::system_v::SystemV;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const ABOUT: &str = "two processes, one permit: each acquires it, adds one to a shared number (load, add, store), gives it back, at once again\n\
    the number must be exact at the end; smaller share: of the sections of the process that had fewer; hand-overs: how often the\n\
    permit went to the other process. Who spins or barges has many sections and few hand-overs; who serves in order has one each";

/// Turns are so many times shorter than a round elsewhere, and so many times more: what disturbs then spoils few of them.
const SHORT_TURNS: usize = 3;

pub fn measure(context: &Context<'_>) -> Outcome {
    context.need_two_cpus()?;
    let apart = table(context, "two CPUs", context.pinned());
    let together = table(context, "one CPU", [Some(context.cpus[0]); 2]);
    let ratio = over(apart.figure("chappe", 0), apart.figure("sem_t", 0));
    let goals = vec![Goal::at_least("contended critical sections, times sem_t's, at least 1", 1.0, ratio)];
    Ok((ABOUT, vec![apart, together], goals))
}

fn table(context: &Context<'_>, title: &str, places: Places) -> Table {
    let metrics = [
        Metric::new("sections", Unit::PerSecond),
        Metric::new("smaller share", Unit::Percent),
        Metric::new("hand-overs", Unit::PerSecond),
    ];
    let contestants = vec![
        Contestant::new("chappe", move || sections::<OurPermit>(context, places)),
        Contestant::new("sem_t", move || sections::<SemT>(context, places)),
        Contestant::new("System V", move || sections::<SystemV>(context, places)),
        Contestant::new("robust mutex", move || sections::<RobustMutex>(context, places)),
        Contestant::new("flock", move || sections::<Flock>(context, places)),
        Contestant::new("(a futex lock)", move || sections::<FutexLock>(context, places)),
    ];
    contest(SHORT_TURNS * context.rounds, title, &metrics, contestants)
}

/// What the permit guards, apart from the permit itself. No operation on it is atomic but its loads and stores.
#[repr(align(128))]
struct Guarded {
    sections: AtomicU64,
    last: AtomicU64,
    hand_overs: AtomicU64,
}

// SAFETY: three atomics and padding.
unsafe impl Zeroed for Guarded {}

impl Guarded {
    #[inline]
    fn enter(&self, who: u64) {
        let add_one = |number: &AtomicU64| number.store(number.load(Relaxed) + 1, Relaxed);
        add_one(&self.sections);
        if self.last.load(Relaxed) != who {
            self.last.store(who, Relaxed);
            add_one(&self.hand_overs);
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Tally {
    sections: u64,
    start: u64,
    end: u64,
}

fn sections<T: OnePermit>(context: &Context<'_>, places: Places) -> Result<Vec<f64>> {
    let duration = context.amount(100_000_000);
    let one = T::create(context.dir)?;
    let guarded = Shared::<Guarded>::new()?;
    let gate = Shared::<Gate>::new()?;
    let taker = |who: u64, place| {
        let (one, guarded, gate) = (&one, &guarded, &gate);
        Child::spawn(place, move || {
            let end = one.attach()?;
            gate.arrive(2)?;
            take(&end, guarded, who, duration)
        })
    };
    let found = join_all(vec![taker(1, places[0])?, taker(2, places[1])?])?;
    let total: u64 = found.iter().map(|tally| tally.sections).sum();
    let counted = guarded.sections.load(Relaxed);
    if counted != total {
        return Err(format!("{total} critical sections counted {counted}: two were in at once").into());
    }
    let (start, end) = (found.iter().map(|tally| tally.start).min(), found.iter().map(|tally| tally.end).max());
    let seconds = (end.unwrap_or(0) - start.unwrap_or(0)).max(1) as f64 / 1e9;
    let smaller = found.iter().map(|tally| tally.sections).min().unwrap_or(0);
    Ok(vec![
        total as f64 / seconds,
        100.0 * smaller as f64 / total.max(1) as f64,
        guarded.hand_overs.load(Relaxed) as f64 / seconds,
    ])
}

/// As many sections as there is time for.
fn take<E: Holder>(end: &E, guarded: &Guarded, who: u64, duration: u64) -> Result<Tally> {
    const CLOCK_EVERY: u64 = 16;
    let start = clock::now();
    let mut tally = Tally { sections: 0, start, end: start };
    while tally.end < start + duration {
        for _ in 0..CLOCK_EVERY {
            let permit = end.acquire()?;
            guarded.enter(who);
            drop(permit);
        }
        tally.sections += CLOCK_EVERY;
        tally.end = clock::now();
    }
    Ok(tally)
}
