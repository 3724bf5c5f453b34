//! Leaves nothing behind: the benchmark runs in a child, and its parent removes the directory of queues however that ends.
//! Only SIGKILL of the parent itself leaves the directory.

use crate::measure::Result;
use crate::measure::child::Child;
use std::ffi::c_int;
use std::path::Path;
use std::time::Duration;

/// The signals that people end programs with.
const ENDING: [c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Runs `work` in a child of this process, with a directory in shared memory that is gone afterwards.
pub fn with_directory(work: impl FnOnce(&Path) -> Result<bool>) -> Result<bool> {
    let dir = tempfile::Builder::new().prefix("chappe-bench.").tempdir_in(chappe::DEFAULT_DIR)?;
    // Interrupted system calls are what ends the wait below; the handler itself has nothing to do.
    handle(nothing as *const () as libc::sighandler_t);
    let outcome = Child::spawn(None, || work(dir.path()))?.join();
    // The children of a killed child are killed by the kernel at once; this is for the one that is creating a file now.
    if outcome.is_err() {
        std::thread::sleep(Duration::from_millis(50));
    }
    dir.close()?;
    outcome
}

/// What every child wants: to be ended by these signals.
pub fn default_signals() {
    handle(libc::SIG_DFL);
}

extern "C" fn nothing(_signal: c_int) {}

fn handle(handler: libc::sighandler_t) {
    // SAFETY: sigaction is plain integers, a mask, and an optional function pointer; all zeroes is a value of each.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    for signal in ENDING {
        // SAFETY: the action is whole; its handler is the default or a function that does nothing, which is
        // async-signal-safe. No SA_RESTART: interrupting is the purpose.
        let set = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
        debug_assert_eq!(set, 0);
    }
}
