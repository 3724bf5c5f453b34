//! `chappe sem`: the verbs on semaphores. The small ones are here; the others have a file each.

mod create;
mod herald;
mod posix;
mod run;
mod signal;
mod stat;

use crate::args::sem::{Rm, Sem, Set, WaitIdle};
use crate::exit::{self, Failure};
use crate::output::{name_text, note};
use crate::page::counted;
use crate::rm;
use crate::values::AnyName;
use chappe::{Name, Semaphore};

/// Runs a verb.
pub fn run(verb: Sem) -> Result<(), Failure> {
    match verb {
        Sem::Run(args) => run::run(&args),
        Sem::Create(args) => create::run(&args),
        Sem::Stat(args) => stat::run(&args),
        Sem::Holders(args) => stat::holders(&args),
        Sem::Set(args) => set(&args),
        Sem::WaitIdle(args) => wait_idle(&args),
        Sem::Post(args) => signal::post(&args),
        Sem::Wait(args) => signal::wait(&args),
        Sem::Rm(args) => rm(&args),
    }
}

/// An existing semaphore, however many permits it has.
fn open(name: &Name) -> Result<Semaphore, Failure> {
    Semaphore::open(name.as_bytes()).map_err(|error| exit::open(&error))
}

/// Says so if that frees nothing yet.
fn set(args: &Set) -> Result<(), Failure> {
    let semaphore = open(&args.name)?;
    semaphore.set_permits(args.permits).map_err(|error| exit::sem::access(&args.name, error))?;
    let stat = semaphore.stat().map_err(|error| exit::sem::access(&args.name, error))?;
    if stat.available < 0 {
        let (held, over) = (counted(stat.held, "permit"), stat.available.unsigned_abs());
        note(&format!(
            "{}: {held} held, {over} more than there are now; none is free until they are released",
            name_text(&args.name)
        ));
    }
    Ok(())
}

fn wait_idle(args: &WaitIdle) -> Result<(), Failure> {
    let semaphore = open(&args.name)?;
    let waited = match args.timeout {
        Some(timeout) => semaphore.wait_idle_timeout(timeout),
        None => semaphore.wait_idle(),
    };
    waited.map_err(|error| exit::sem::acquire(&args.name, error, "had permits held"))
}

fn rm(args: &Rm) -> Result<(), Failure> {
    rm::all(&args.names, AnyName::text, |name| match name {
        AnyName::Own(name) => Semaphore::unlink(name.as_bytes()).map_err(|error| exit::open(&error)),
        AnyName::Posix(name) => posix::unlink(name),
    })
}
