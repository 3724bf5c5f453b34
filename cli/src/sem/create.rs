//! `sem create`: makes a semaphore, or finds one that is as asked for. It says which of the two on stderr.

use crate::args::sem::Create;
use crate::exit::{self, Failure};
use crate::output::{name_text, note};
use crate::page::counted;
use crate::values::OctalMode;
use chappe::{Kind, OpenError, Semaphore, SemaphoreOptions};

/// How often a semaphore may come or go between our looking and our acting before we say that somebody plays with us.
const TRIES: usize = 100;

/// Creates the semaphore.
pub fn run(args: &Create) -> Result<(), Failure> {
    let options = options(args);
    if !args.exist_ok {
        return options.create_new(args.name.as_bytes()).map(drop).map_err(|error| exit::create(&error));
    }
    for _ in 0..TRIES {
        match options.create_new(args.name.as_bytes()) {
            Ok(semaphore) => return say("created", args, &semaphore),
            Err(OpenError::Exists { .. }) => {}
            Err(error) => return Err(exit::create(&error)),
        }
        match options.open(args.name.as_bytes()) {
            Ok(semaphore) => return existing(args, &semaphore),
            Err(OpenError::NotFound { .. }) => {}
            Err(error) => return Err(exit::create(&error)),
        }
    }
    Err(Failure::new(exit::CANNOT_CREATE, format!("semaphore {} keeps coming and going", args.name)))
}

fn options(args: &Create) -> SemaphoreOptions {
    let mut options = SemaphoreOptions::new();
    options.permits(args.permits).any_existing(true);
    args.mode.map(|OctalMode(bits)| options.mode(bits));
    options
}

/// Compared here, so that what was asked for and what is there are both in the words of our options.
fn existing(args: &Create, semaphore: &Semaphore) -> Result<(), Failure> {
    let stat = semaphore.stat().map_err(|error| exit::sem::access(&args.name, error))?;
    let differs = |found: String, wanted: String| Err(exit::mismatch(Kind::Semaphore, &args.name, &found, &wanted));
    if stat.permits != args.permits {
        return differs(counted(stat.permits, "permit"), args.permits.to_string());
    }
    let mode = OctalMode(stat.mode);
    match args.mode {
        Some(wanted) if wanted != mode => differs(format!("mode {mode}"), format!("mode {wanted}")),
        _ => say("exists", args, semaphore),
    }
}

fn say(what: &str, args: &Create, semaphore: &Semaphore) -> Result<(), Failure> {
    note(&format!("semaphore {} {what}: {}", name_text(&args.name), counted(semaphore.permits(), "permit")));
    Ok(())
}
