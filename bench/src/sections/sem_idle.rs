//! What a waiter costs that waits for a permit that is not given back.

use super::idle::used_within;
use super::{Contestant, Context, Outcome, contest};
use crate::holder::{Holder, OnePermit};
use crate::measure::Result;
use crate::measure::child::Child;
use crate::measure::process::until_asleep;
use crate::measure::shared::{Bell, Shared, Zeroed};
use crate::our_permit::OurPermit;
use crate::report::{Goal, Metric, Unit};
use crate::rivals::c_library::SemT;
use crate::rivals::file_lock::Flock;
use crate::rivals::system_v::SystemV;
use std::time::Duration;

const ABOUT: &str =
    "a process blocked in its plain acquire, all its threads watched from outside (/proc); measured once";

/// The wait that the goal speaks of, in seconds.
const WAIT: u64 = 5;

pub fn measure(context: &Context<'_>) -> Outcome {
    let metrics = [
        Metric::new("wake-ups", Unit::WakeUpsPerSecond),
        Metric::new("CPU time a second", Unit::Microseconds),
        Metric::new("threads", Unit::Count),
    ];
    let contestants = vec![
        Contestant::new("chappe", || watch::<OurPermit>(context)),
        Contestant::new("sem_t", || watch::<SemT>(context)),
        Contestant::new("System V", || watch::<SystemV>(context)),
        Contestant::new("flock", || watch::<Flock>(context)),
    ];
    let table = contest(1, "a blocked waiter", &metrics, contestants);
    let millis = table.figure("chappe", 1).map(|micros_a_second| micros_a_second * WAIT as f64 / 1e3);
    let goals = vec![
        Goal::at_most("CPU time of a wait of 5 s for a permit, ms, at most 5", 5.0, millis),
        Goal::at_most("wake-ups a second of a wait for a permit, at most 2", 2.0, table.figure("chappe", 0)),
    ];
    Ok((ABOUT, vec![table], goals))
}

#[derive(Default)]
struct Words {
    held: Bell,
    entered: Bell,
}

// SAFETY: types made of atomics only.
unsafe impl Zeroed for Words {}

fn watch<T: OnePermit>(context: &Context<'_>) -> Result<Vec<f64>> {
    let window = Duration::from_secs(if context.quick { 2 } else { WAIT });
    let one = T::create(context.dir)?;
    let words = Shared::<Words>::new()?;
    let holder = Child::<()>::spawn(Some(context.cpus[0]), || {
        let end = one.attach()?;
        let _permit = end.acquire()?;
        words.held.ring(1);
        loop {
            std::thread::park();
        }
    })?;
    if let Err(error) = words.held.wait_for(1) {
        return Err(holder.complaint(error));
    }
    let waiter = Child::<()>::spawn(Some(context.cpus[1]), || {
        let end = one.attach()?;
        words.entered.ring(1);
        drop(end.acquire()?);
        Err("a permit came that nobody gave back".into())
    })?;
    if let Err(error) = words.entered.wait_for(1).and_then(|()| until_asleep(waiter.pid(), 0)) {
        return Err(waiter.complaint(error));
    }
    // What it does to fall asleep is not counted.
    std::thread::sleep(Duration::from_millis(300));
    used_within(waiter.pid(), window)
}
