//! The demo's private directory and its processes: made, started, and gone at the end, whatever the end is.

use super::wrong;
use crate::exit::Failure;
use crate::output::note;
use chappe::{QueueOptions, SemaphoreOptions};
use rustix::process::{Signal, set_parent_process_death_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A demo that is still running after this long hangs: it takes a few seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// Whether the process is about to end, and the directory gone: what fails then fails for that reason.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// The directory; dropping it removes it.
pub struct Stage {
    dir: PathBuf,
}

impl Drop for Stage {
    fn drop(&mut self) {
        while LEAVING.load(Ordering::SeqCst) {
            std::thread::park();
        }
        clear(&self.dir);
    }
}

fn clear(dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(dir)
        && error.kind() != io::ErrorKind::NotFound
    {
        note(&format!("cannot remove {}: {error}", dir.display()));
    }
}

impl Stage {
    /// Makes the directory where queues are kept by default, or where temporary files are.
    pub fn set() -> Result<Stage, Failure> {
        let name = format!("chappe-demo.{}", std::process::id());
        let places = [chappe::default_dir(), std::env::temp_dir()].map(|place| place.join(&name));
        let made = make(&places[0]).map(|()| &places[0]).or_else(|_| make(&places[1]).map(|()| &places[1]));
        let dir = made.map_err(|error| Failure::system(format!("make {}", places[1].display()), &error))?.clone();
        let stage = Stage { dir };
        stage.guard()?;
        Ok(stage)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How to create a queue of the demo's: it goes with this process, and nobody else may have another idea of it.
    pub fn options(&self) -> QueueOptions {
        let mut options = options(&self.dir);
        options.ephemeral(true);
        options
    }

    /// How to create a semaphore of the demo's, likewise.
    pub fn semaphore_options(&self) -> SemaphoreOptions {
        let mut options = semaphore_options(&self.dir);
        options.ephemeral(true);
        options
    }

    /// A process in a role, with the directory and more as its arguments. It takes no input unless asked to.
    pub fn command(&self, role: &str, more: &[&dyn AsRef<OsStr>]) -> Command {
        let mut command = plain(role);
        command.arg(&self.dir).args(more.iter().map(|argument| argument.as_ref()));
        command
    }

    /// Clears up when the demo is interrupted, and ends it when it hangs. The children die with us.
    fn guard(&self) -> Result<(), Failure> {
        let mut signals =
            Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|error| Failure::system("watch for signals", &error))?;
        let dir = self.dir.clone();
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                leave(&dir, 128 + signal);
            }
        });
        let dir = self.dir.clone();
        std::thread::spawn(move || {
            std::thread::sleep(LIMIT);
            note(&wrong(format!("it did not end within {} s", LIMIT.as_secs())).text);
            leave(&dir, 1);
        });
        Ok(())
    }
}

/// Ends the process from a thread that is not the one that plays.
fn leave(dir: &Path, code: i32) -> ! {
    LEAVING.store(true, Ordering::SeqCst);
    clear(dir);
    std::process::exit(code)
}

fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)
}

/// A process in a role that needs no directory.
pub fn plain(role: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("demo-child").arg(role).stdin(Stdio::null());
    command
}

/// How the demo's processes open its queues.
pub fn options(dir: &Path) -> QueueOptions {
    let mut options = QueueOptions::new();
    options.dir(dir);
    options
}

/// How the demo's processes open its semaphores.
pub fn semaphore_options(dir: &Path) -> SemaphoreOptions {
    let mut options = SemaphoreOptions::new();
    options.dir(dir);
    options
}

/// Has the kernel kill this process when the one that started it ends: nothing is left behind by a killed demo.
pub fn die_with_parent() -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Failure::system("ask for a signal", &error.into()))
}

/// Starts a process.
pub fn spawn(command: &mut Command) -> Result<Child, Failure> {
    command.spawn().map_err(|error| Failure::system("start a process", &error))
}

/// Waits for a process that must end well; gives its pid and what it printed, if that was asked for.
pub fn finish(child: Child, who: &str) -> Result<(u32, String), Failure> {
    let pid = child.id();
    let output = child.wait_with_output().map_err(|error| Failure::system("wait for a process", &error))?;
    match output.status.success() {
        true => Ok((pid, String::from_utf8_lossy(&output.stdout).into_owned())),
        false => Err(wrong(format!("the {who}, pid {pid}, ended with {}", output.status))),
    }
}

/// Kills a process with SIGKILL; that it ended in another way before is a failure.
pub fn kill(child: &mut Child, who: &str) -> Result<(), Failure> {
    let killed = child.kill().and_then(|()| child.wait());
    match killed.map_err(|error| Failure::system("kill a process", &error))? {
        status if killed_by_us(status) => Ok(()),
        status => Err(wrong(format!("the {who}, pid {}, ended by itself: {status}", child.id()))),
    }
}

fn killed_by_us(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}
