//! `sem post` and `sem wait`: signals, which have no owner.

use super::open;
use crate::args::sem::{Post, Wait};
use crate::exit::{self, Failure};

/// Gives a signal.
pub fn post(args: &Post) -> Result<(), Failure> {
    open(&args.name)?.post().map_err(|error| exit::sem::access(&args.name, error))
}

/// Waits for a signal and takes it.
pub fn wait(args: &Wait) -> Result<(), Failure> {
    let semaphore = open(&args.name)?;
    let waited = match args.timeout {
        Some(timeout) => semaphore.wait_timeout(timeout),
        None if args.nonblock => semaphore.try_wait(),
        None => semaphore.wait(),
    };
    waited.map_err(|error| exit::sem::acquire(&args.name, error, "had no signal"))
}
