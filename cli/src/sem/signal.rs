//! `sem post` and `sem wait`: signals, which have no owner.

use super::{open, posix};
use crate::args::sem::{Post, Wait};
use crate::exit::{self, Failure};
use crate::values::AnyName;

/// Gives a signal.
pub fn post(args: &Post) -> Result<(), Failure> {
    match &args.name {
        AnyName::Own(name) => open(name)?.post().map_err(|error| exit::sem::access(name, error)),
        AnyName::Posix(name) => posix::post(name),
    }
}

/// Waits for a signal and takes it.
pub fn wait(args: &Wait) -> Result<(), Failure> {
    let name = match &args.name {
        AnyName::Own(name) => name,
        AnyName::Posix(name) => return posix::wait(name, args),
    };
    let semaphore = open(name)?;
    let waited = match args.timeout {
        Some(timeout) => semaphore.wait_timeout(timeout),
        None if args.nonblock => semaphore.try_wait(),
        None => semaphore.wait(),
    };
    waited.map_err(|error| exit::sem::acquire(name, error, "had no signal"))
}
