//! What a semaphore costs before and after its use: create, open a second time, acquire and give back a first time, leave, unlink.

use super::set_up::{Marks, averaged};
use super::{Contestant, Context, Outcome, contest};
use crate::measure::child::alone;
use crate::measure::{Result, clock};
use crate::ours::fresh_name;
use crate::report::{Metric, Unit};
use crate::rivals::c_library::Named;
use chappe::Semaphore;

const ABOUT: &str = "a new process creates a semaphore of one permit, opens it a second time, acquires its permit through that and gives it back,\n\
    drops both, unlinks; sem_t: by name (sem_open)";

pub fn measure(context: &Context<'_>) -> Outcome {
    let metrics = [
        Metric::new("all", Unit::Microseconds),
        Metric::new("create", Unit::Microseconds),
        Metric::new("open", Unit::Microseconds),
        Metric::new("first permit", Unit::Microseconds),
        Metric::new("drop and unlink", Unit::Microseconds),
    ];
    let lives = context.amount(200);
    let contestants = vec![
        Contestant::new("chappe", move || averaged(lives, || life(context, || our_life(context, true)))),
        Contestant::new("chappe, no keeper", move || averaged(lives, || life(context, || our_life(context, false)))),
        Contestant::new("sem_t", move || averaged(lives, || life(context, their_life))),
    ];
    let table = contest(context.rounds, "the life of a semaphore", &metrics, contestants);
    Ok((ABOUT, vec![table], Vec::new()))
}

/// In a process that has done nothing of the kind before.
fn life(context: &Context<'_>, live: impl FnOnce() -> Result<Marks>) -> Result<Marks> {
    alone(context.cpus[0], live)
}

fn our_life(context: &Context<'_>, keeper: bool) -> Result<Marks> {
    let name = fresh_name();
    let mut options = Semaphore::options();
    options.dir(context.dir).keeper(keeper);
    let start = clock::now();
    let created = options.create_new(&name)?;
    let after_create = clock::now();
    let opened = options.open(&name)?;
    let after_open = clock::now();
    drop(opened.acquire()?);
    let after_permit = clock::now();
    drop((created, opened));
    options.unlink(&name)?;
    Ok([start, after_create, after_open, after_permit, clock::now()])
}

fn their_life() -> Result<Marks> {
    let name = Named::fresh_name();
    let start = clock::now();
    let created = Named::open(&name, true)?;
    let after_create = clock::now();
    let opened = Named::open(&name, false)?;
    let after_open = clock::now();
    opened.take_and_give()?;
    let after_permit = clock::now();
    drop((created, opened));
    Named::unlink(&name)?;
    Ok([start, after_create, after_open, after_permit, clock::now()])
}
