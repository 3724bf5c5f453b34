//! `sem run`: waits its turn, then becomes the command. Whatever goes wrong before is 125, unless giving up was asked for.

use super::herald::Herald;
use crate::args::sem::Run;
use crate::exit::{self, Failure};
use crate::output::{name_text, note};
use crate::page::counted;
use chappe::{AcquireError, Children, Permit, Semaphore};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Comes back only with a failure.
pub fn run(args: &Run) -> Result<(), Failure> {
    let (program, arguments) = args.command.split_first().expect("the grammar wants a command");
    take_name(program);
    let semaphore = open(args).map_err(exit::sem::before_command)?;
    let permit = acquire(&semaphore, args).map_err(|error| not_acquired(args, error))?;
    let children = if args.keep { Children::Keep } else { Children::LetGo };
    let error = permit.exec(Command::new(program).args(arguments), children);
    Err(exit::sem::command(&program.to_string_lossy(), &error))
}

/// Shows the command to those who look who waits, and to ps, from the start.
fn take_name(program: &OsStr) {
    let name = Path::new(program).file_name().and_then(|name| CString::new(name.as_bytes()).ok());
    // Only for people: what cannot be a name is not shown.
    name.map(|name| rustix::thread::set_name(&name));
}

fn open(args: &Run) -> Result<Semaphore, Failure> {
    let mut options = Semaphore::options();
    // No keeper: it would tell of the end of this process, which is about to be the command's.
    options.permits(args.permits.unwrap_or(1)).any_existing(true).keeper(false);
    args.label.as_ref().map(|label| options.label(label));
    let semaphore = options.create(args.name.as_bytes()).map_err(|error| exit::open(&error))?;
    if let Some(wanted) = args.permits
        && semaphore.permits() != wanted
    {
        let (name, found) = (name_text(&args.name), counted(semaphore.permits(), "permit"));
        note(&format!("{name} has {found}, and keeps that; `chappe sem set {name} {wanted}` changes it"));
    }
    Ok(semaphore)
}

/// One call waits all the time: who gives up and comes again loses its place.
fn acquire<'a>(semaphore: &'a Semaphore, args: &Run) -> Result<Permit<'a>, AcquireError> {
    // A timeout beyond the clock's range is one that never ends.
    let deadline = args.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    match semaphore.try_acquire_many(args.take) {
        Err(AcquireError::NoPermits | AcquireError::Busy) if !args.nonblock => {}
        other => return other,
    }
    let _herald = Herald::send(semaphore, &args.name);
    match deadline {
        Some(deadline) => semaphore.acquire_many_deadline(args.take, deadline),
        None => semaphore.acquire_many(args.take),
    }
}

fn not_acquired(args: &Run, error: AcquireError) -> Failure {
    let failure = exit::sem::acquire(&args.name, error, "had no permit free");
    match error {
        AcquireError::NoPermits | AcquireError::TimedOut => failure,
        // A stopped process in the way is a reason like any other for its turn not to come.
        AcquireError::Busy if args.nonblock => failure,
        AcquireError::Busy if args.timeout.is_some() => Failure { code: exit::TIMED_OUT, ..failure },
        _ => exit::sem::before_command(failure),
    }
}
