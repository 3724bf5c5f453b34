//! The verbs of `chappe sem`.

use crate::values::{self, AnyName, OctalMode, any_name_parser, own_name_parser};
use chappe::{Name, PERMITS_MAX};
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::time::Duration;

const NO_POSIX_RUN: &str = "\
a POSIX semaphore does not know who holds it: what a killed command held would be gone for good, so there is no `sem run` \
for it; take a name without `posix:`";

const NO_POSIX: &str = "\
a POSIX semaphore is a number and nothing else; `posix:` goes with post, wait, stat and rm; take a name without it";

/// The first word after `sem`.
#[derive(Subcommand)]
pub enum Sem {
    /// Run a command when its turn comes; it holds the permit as long as it runs
    #[command(long_about = RUN, after_help = RUN_AFTER)]
    Run(Run),
    /// Create a semaphore
    Create(Create),
    /// Show permits, holders, waiters and totals
    Stat(Stat),
    /// Show who holds permits
    #[command(after_help = "If nobody does, nothing is printed and the exit code is 1.")]
    Holders(Holders),
    /// Let a semaphore have another number of permits; nothing is taken from holders
    Set(Set),
    /// Wait until no permit is held
    #[command(after_help = WAIT_IDLE)]
    WaitIdle(WaitIdle),
    /// Give a signal: one permit more, which nobody holds
    #[command(after_help = SIGNALS)]
    Post(Post),
    /// Wait for a signal and take it: one permit less
    #[command(after_help = SIGNALS)]
    Wait(Wait),
    /// Remove semaphores; who waits learns of it, who holds a permit goes on
    Rm(Rm),
}

const WAIT_IDLE: &str = "\
It keeps nobody from starting: `chappe sem set NAME 0` before it drains the semaphore.";

const SIGNALS: &str = "\
For two sides, one of which posts and the other waits, on a semaphore of its own (`chappe sem create NAME -n 0`). A signal \
has no owner: one that was taken by a process which is then killed is gone. To limit how many run at a time there is \
`chappe sem run`.";

const RUN: &str = "\
Run a command when its turn comes, first come first served; it holds the permit as long as it runs.

The semaphore is created if it is not there. The command takes the place of chappe, with its process id: there is no wrapper \
that could be killed alone, and the exit code is the command's. After a second of waiting, stderr tells who holds the permits.

The permit comes back when the command ends, however it ends, kill -9 included. Processes that it leaves behind do not hold \
it; with --keep they do, until the last one has ended. Without --keep, a command that closes all descriptors it inherited \
(as sudo does) gives the permit back early.";

const RUN_AFTER: &str = "\
EXIT CODES: the command's own, and
    2  usage
   75  no permit is free (--nonblock)
  124  its turn did not come in time (-t)
  125  chappe failed before the command could be run
  126  the command cannot be run
  127  there is no such command

EXAMPLES:
  chappe sem run /builds -n 3 -- make        # at most three at a time
  chappe sem run /backup -- ./backup.sh      # one at a time, as flock(1) does
  chappe sem run /ram -n 64 --take 16 -- ./big-job
  for f in *.wav; do chappe sem run /cpus -n 4 -- flac \"$f\" & done; wait";

/// `sem run`
#[derive(Args)]
pub struct Run {
    /// The semaphore's name.
    #[arg(value_parser = own_name_parser(NO_POSIX_RUN))]
    pub name: Name,
    /// How many permits the semaphore gets if it is created here [default: 1]; one that is there keeps what it has
    #[arg(short = 'n', long, value_name = "PERMITS", value_parser = clap::value_parser!(u64).range(0..=PERMITS_MAX))]
    pub permits: Option<u64>,
    /// How many permits to take at once
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=PERMITS_MAX))]
    pub take: u64,
    /// Give up (124) when its turn has not come after this long, as 250ms, 2s or 1m; the command may run longer
    #[arg(short, long, value_name = "DURATION", value_parser = values::duration, conflicts_with = "nonblock")]
    pub timeout: Option<Duration>,
    /// Give up at once (75) when no permit is free
    #[arg(long)]
    pub nonblock: bool,
    /// What it is for: shown to those who look who holds and who waits
    #[arg(long, value_name = "TEXT", value_parser = values::label)]
    pub label: Option<String>,
    /// Let processes that the command leaves behind hold the permit too
    #[arg(long)]
    pub keep: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_names = ["COMMAND", "ARG"])]
    pub command: Vec<OsString>,
}

/// `sem create`
#[derive(Args)]
#[command(after_help = "\
That it exists is an error (73). With --exist-ok it is not, if it has as many permits, and the mode if one is given (78 if \
not).")]
pub struct Create {
    /// The semaphore's name.
    #[arg(value_parser = own_name_parser(NO_POSIX))]
    pub name: Name,
    /// How many permits it has; 0 for signalling, or to begin paused
    #[arg(short = 'n', long, value_name = "PERMITS", value_parser = clap::value_parser!(u64).range(0..=PERMITS_MAX))]
    pub permits: u64,
    /// Permission bits, exactly: the umask takes nothing away [default: 0600]
    #[arg(long, value_name = "OCTAL", value_parser = values::mode)]
    pub mode: Option<OctalMode>,
    /// Leave an existing semaphore alone, if it is as asked for
    #[arg(long)]
    pub exist_ok: bool,
}

/// `sem stat`
#[derive(Args)]
pub struct Stat {
    /// The semaphore's name; with `posix:` before it that of a POSIX semaphore, as `posix:/ready`.
    #[arg(value_parser = any_name_parser())]
    pub name: AnyName,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `sem holders`
#[derive(Args)]
pub struct Holders {
    /// The semaphore's name.
    #[arg(value_parser = own_name_parser(NO_POSIX))]
    pub name: Name,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `sem set`
#[derive(Args)]
#[command(after_help = "\
Nothing is taken from holders: if they hold more, none is free until enough have released. With 0 it is paused. Who waits \
for more than there are gives up; `sem run` then exits with 125.")]
pub struct Set {
    /// The semaphore's name.
    #[arg(value_parser = own_name_parser(NO_POSIX))]
    pub name: Name,
    /// How many permits it has from now on.
    #[arg(value_parser = clap::value_parser!(u64).range(0..=PERMITS_MAX))]
    pub permits: u64,
}

/// `sem wait-idle`
#[derive(Args)]
pub struct WaitIdle {
    /// The semaphore's name.
    #[arg(value_parser = own_name_parser(NO_POSIX))]
    pub name: Name,
    /// Give up (124) when permits stay held this long, as 250ms, 2s or 1m
    #[arg(short, long, value_name = "DURATION", value_parser = values::duration)]
    pub timeout: Option<Duration>,
}

/// `sem post`
#[derive(Args)]
pub struct Post {
    /// The semaphore's name; with `posix:` before it that of a POSIX semaphore, as `posix:/ready`.
    #[arg(value_parser = any_name_parser())]
    pub name: AnyName,
}

/// `sem wait`
#[derive(Args)]
pub struct Wait {
    /// The semaphore's name; with `posix:` before it that of a POSIX semaphore, as `posix:/ready`.
    #[arg(value_parser = any_name_parser())]
    pub name: AnyName,
    /// Give up (124) when no signal comes for this long, as 250ms, 2s or 1m
    #[arg(short, long, value_name = "DURATION", value_parser = values::duration, conflicts_with = "nonblock")]
    pub timeout: Option<Duration>,
    /// Give up at once (75) when there is no signal
    #[arg(long)]
    pub nonblock: bool,
}

/// `sem rm`
#[derive(Args)]
#[command(after_help = "All are tried, whatever happens to one; the exit code is that of the first failure.")]
pub struct Rm {
    /// The semaphores' names; with `posix:` before it that of a POSIX semaphore.
    #[arg(required = true, value_name = "NAME", value_parser = any_name_parser())]
    pub names: Vec<AnyName>,
}
