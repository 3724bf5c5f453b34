//! The grammar, as clap reads it, and the help texts. Scripts rely on every word here; how a single value is read is in
//! [`values`]. The verbs on semaphores are in [`sem`].

pub mod sem;

use crate::demo::Role;
use crate::format::Format;
use crate::values::{self, AnyName, OctalMode, any_name_parser, own_name_parser};
use chappe::Name;
use chappe::posix::LimitKind;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "\
EXIT CODES:
    0  done
    1  the answer is no: the queue is empty, or too few messages (--nonblock);
       nobody holds a permit
    2  usage: an option, a value or a name that makes no sense
   65  bad data: the message is larger than the queue takes
   66  the input file cannot be read
   69  no such queue or semaphore, or it was closed or unlinked meanwhile
   70  the object is damaged, foreign, or of another layout version
   71  the operating system refused
   73  cannot create: it exists, the directory does not take it, or a limit does not
       allow it (`chappe limits`)
   75  try again: the queue is full or no permit is free (--nonblock), or no
       participant fits
   77  no permission
   78  it exists with other attributes
  124  timed out
`chappe sem run` and `chappe preload` give the command's own exit code; their help has the
others.";

const FILES: &str = "\
Queues and semaphores live in /dev/shm, or in the directory that CHAPPE_DIR names. A
NAME may begin with a slash or not; `orders` and `/orders` are the same one. A queue and
a semaphore may have the same name. With `posix:` before it, as `posix:/orders`, a NAME is
that of a queue of the kernel's (mq_open) or a semaphore of the C library's (sem_open).";

/// Message queues and semaphores between processes on Linux: in shared memory, alive after kill -9
#[derive(Parser)]
#[command(name = "chappe", version, after_help = format!("{FILES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The first word.
#[derive(Subcommand)]
pub enum Command {
    /// Create, use and remove message queues
    #[command(subcommand, after_help = EXIT_CODES)]
    Mq(Mq),
    /// Run commands under a limit; create, use and remove semaphores
    #[command(subcommand, after_help = EXIT_CODES)]
    Sem(sem::Sem),
    /// List the queues and semaphores, one a line
    Ls(Ls),
    /// Show the limits on POSIX queues and semaphores and on shared memory, or set some
    #[command(after_help = LIMITS)]
    Limits(Limits),
    /// Run a program whose POSIX message queues (mq_open, mq_send, ...) shall be these queues
    #[command(long_about = PRELOAD, after_help = PRELOAD_AFTER)]
    Preload(Preload),
    /// See it work: order, survival of kill -9 with an exact account, permits, and speed beside a pipe
    #[command(long_about = DEMO)]
    Demo,
    /// Print a completion script for a shell
    Completions {
        /// Which shell's.
        shell: clap_complete::Shell,
    },
    #[command(subcommand, hide = true)]
    DemoChild(Role),
}

const LIMITS: &str = "\
For each limit: NAME VALUE USED and what it means; below it how to change it, and why something is unknown. `-` is a limit \
that nothing uses up; with `>=` there may be more than can be seen.

--set writes what the kernel keeps (msg_max, msgsize_max, queues_max, msg_default, msgsize_default): for this IPC namespace, \
until the next boot, as root. A resource limit (rlimit_...) is each process's own, and chappe is not the process that you mean: \
the text says how.

EXAMPLES:
  chappe limits
  chappe limits --set msg_max=100 --set msgsize_max=64K";

const DEMO: &str = "\
See it work: order, survival of kill -9 with an exact account, permits that come back from
the dead, and speed beside a pipe.

Starts real processes in a private directory that is removed afterwards. Takes a few
seconds. The exit code is 1 if anything was lost, doubled, damaged or out of order, if more
workers were inside than there are permits, or if a permit did not come back.";

const PRELOAD: &str = "\
Run a program whose POSIX message queues (mq_open, mq_send, ...) shall be these queues.

The program takes the place of chappe, with the library libchappe_mqueue.so before the C library (LD_PRELOAD): its queue \
/orders is the queue `orders` of `chappe mq` and of Rust's Queue. So are those of the programs that it starts. What is not as \
with the kernel's queues is in chappe_mqueue(7).

The library is looked for beside the command and in ../lib. Programs that are linked statically, or run with another user's \
rights, are refused: the dynamic linker does not let anything be preloaded into them. (Programs that make system calls by \
themselves, as Go's do, use the kernel's queues all the same.)";

const PRELOAD_AFTER: &str = "\
EXIT CODES: the program's own, and
    2  usage
  125  chappe failed before the program could be run
  126  the program cannot be run
  127  there is no such program

EXAMPLE:
  chappe preload -- ./app --its-options";

/// `preload`
#[derive(Args)]
pub struct Preload {
    /// Where the library is, instead of beside the command [env: CHAPPE_MQUEUE_LIBRARY]
    #[arg(long, value_name = "PATH")]
    pub library: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_names = ["PROGRAM", "ARG"])]
    pub command: Vec<OsString>,
}

/// The verbs of `chappe mq`.
#[derive(Subcommand)]
pub enum Mq {
    /// Create a queue
    Create(Create),
    /// Send a message, or many from a file or stdin
    Send(Send),
    /// Receive messages: highest priority first, first in first out inside a priority
    Recv(Recv),
    /// Show the next messages and leave them where they are
    Peek(Peek),
    /// Show attributes, depth, totals and participants
    Stat(Stat),
    /// Throw away the messages that wait
    Purge(Purge),
    /// Remove queues; who has one open learns of it, unless it is the kernel's
    Rm(Rm),
}

/// `mq create`
#[derive(Args)]
#[command(after_help = "\
That it exists is an error (73). With --exist-ok it is not, if what it has is what was asked for; what was not asked for
may be anything.

A queue of the kernel's (posix:NAME) gets the system's default capacity and message size; `chappe limits` shows them, and what
it may have.")]
pub struct Create {
    /// The queue's name; with `posix:` before it that of a queue of the kernel's, as `posix:/orders`.
    #[arg(value_parser = any_name_parser())]
    pub name: AnyName,
    /// How many messages fit [default: 1024]
    #[arg(long, value_name = "N")]
    pub capacity: Option<u32>,
    /// The largest message, as 4096, 64K, 1M or 2G [default: 64K]; memory is taken only for what is in the queue
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub message_size: Option<u64>,
    /// Permission bits, exactly: the umask takes nothing away [default: 0600]
    #[arg(long, value_name = "OCTAL", value_parser = values::mode)]
    pub mode: Option<OctalMode>,
    /// Leave an existing queue alone, if it has the attributes given
    #[arg(long)]
    pub exist_ok: bool,
}

/// `mq send`
#[derive(Args)]
#[command(after_help = "\
Without MESSAGE and --file, the message is what stdin holds, to its end. A MESSAGE that begins with a dash goes after `--`.

EXAMPLES:
  chappe mq send orders 'ship 42' -p 5
  tail -f log | chappe mq send lines --lines
  find . -print0 | chappe mq send files --null")]
pub struct Send {
    /// The queue's name; with `posix:` before it that of a queue of the kernel's, as `posix:/orders`.
    #[arg(value_parser = any_name_parser())]
    pub name: AnyName,
    /// The message; any bytes.
    pub message: Option<OsString>,
    /// Priority, 0 to 32767; the highest is received first
    #[arg(short, long = "priority", value_name = "PRIO", default_value_t = 0,
          value_parser = clap::value_parser!(u16).range(0..=chappe::PRIORITY_MAX as i64))]
    pub priority: u16,
    /// Give up (124) when the queue stays full this long, as 250ms, 2s or 1m; counts for the whole call
    #[arg(short, long, value_name = "DURATION", value_parser = values::duration, conflicts_with = "nonblock")]
    pub timeout: Option<Duration>,
    /// Give up at once (75) when the queue is full
    #[arg(long)]
    pub nonblock: bool,
    /// Send each line of the input as a message, as soon as it is there
    #[arg(long, conflicts_with_all = ["message", "null"])]
    pub lines: bool,
    /// Send each NUL-terminated record of the input as a message, as soon as it is there
    #[arg(long, conflicts_with = "message")]
    pub null: bool,
    /// Take the input from a file; `-` is stdin
    #[arg(long, value_name = "PATH", conflicts_with = "message")]
    pub file: Option<PathBuf>,
}

/// `mq recv`
#[derive(Args)]
#[command(after_help = "\
FORMAT: %s the message, %p its priority, %l its length in bytes, %n a newline, %% a percent sign. Nothing is added at the
end, except a NUL with --null.

Each message is written before the next one is received. When the reader of stdout goes away, chappe ends quietly; a
message that it holds by then goes back into the queue, behind those of its priority.

A queue of the kernel's (posix:NAME) has no end: nobody can close it, and who waits for a message is not woken when it is
removed, so --follow goes on. Who waits in mq_receive comes before chappe, which polls.

EXAMPLES:
  chappe mq recv orders -t 2s
  chappe mq recv lines --follow --format '%p %s%n'
  chappe mq recv files --until-empty --null | xargs -0 ls -l")]
pub struct Recv {
    /// The queue's name; with `posix:` before it that of a queue of the kernel's, as `posix:/orders`.
    #[arg(value_parser = any_name_parser())]
    pub name: AnyName,
    /// How many messages to receive [default: 1]
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..),
          conflicts_with_all = ["follow", "until_empty"])]
    pub count: Option<u64>,
    /// Go on until the queue is closed or unlinked (then 0)
    #[arg(long, conflicts_with_all = ["until_empty", "nonblock"])]
    pub follow: bool,
    /// Stop when the queue is empty, also if it was from the start (0); with -t, when it stays empty that long
    #[arg(long)]
    pub until_empty: bool,
    /// Give up (124) when the queue stays empty this long, as 250ms, 2s or 1m; counts for each message
    #[arg(short, long, value_name = "DURATION", value_parser = values::duration, conflicts_with = "nonblock")]
    pub timeout: Option<Duration>,
    /// Give up at once (1) when the queue is empty before COUNT messages were received
    #[arg(long)]
    pub nonblock: bool,
    /// End each message with a NUL instead of a newline
    #[arg(long, conflicts_with = "json")]
    pub null: bool,
    /// Print each message like this instead
    #[arg(long, value_name = "FMT", value_parser = OsStringValueParser::new().try_map(Format::parse),
          conflicts_with = "json")]
    pub format: Option<Format>,
    /// Print each message as one JSON object a line; bytes that are no UTF-8 in base64
    #[arg(long)]
    pub json: bool,
}

const NO_PEEK: &str = "\
the kernel gives a message only to who takes it out, so its queues cannot be looked into; `mq stat` says how many messages there \
are, `mq recv` takes them";

/// `mq peek`
#[derive(Args)]
#[command(after_help = "The exit code is 1 if there is no message.")]
pub struct Peek {
    /// The queue's name.
    #[arg(value_parser = own_name_parser(NO_PEEK))]
    pub name: Name,
    /// At most how many messages to show
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// Print each message as one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// `mq stat`
#[derive(Args)]
pub struct Stat {
    /// The queue's name; with `posix:` before it that of a queue of the kernel's, as `posix:/orders`.
    #[arg(value_parser = any_name_parser())]
    pub name: AnyName,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `mq purge`
#[derive(Args)]
#[command(after_help = "\
Of a queue of the kernel's (posix:NAME) as many messages as it has are received, one after the other, and thrown away; one that
is sent meanwhile may go in place of an older one.")]
pub struct Purge {
    /// The queue's name; with `posix:` before it that of a queue of the kernel's, as `posix:/orders`.
    #[arg(value_parser = any_name_parser())]
    pub name: AnyName,
    /// Say how many messages there are, and leave them
    #[arg(long)]
    pub dry_run: bool,
}

/// `mq rm`
#[derive(Args)]
#[command(after_help = "All are tried, whatever happens to one; the exit code is that of the first failure.")]
pub struct Rm {
    /// The queues' names; with `posix:` before it that of a queue of the kernel's.
    #[arg(required = true, value_name = "NAME", value_parser = any_name_parser())]
    pub names: Vec<AnyName>,
}

/// `ls`
#[derive(Args)]
#[command(after_help = "\
Columns: NAME KIND; DEPTH or FREE (messages in a queue, free permits of a semaphore), OF (its capacity, its permits), \
message SIZE, HOLDERS and WAITERS of permits; MODE OWNER MEMORY; the reason if an object cannot be opened. `-` where there \
is none. The line of titles is printed on a terminal only. A name with blanks or unprintable bytes is quoted as the shell \
takes it, $'...'.")]
pub struct Ls {
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// `limits`
#[derive(Args)]
pub struct Limits {
    /// Set a limit instead of showing them; VALUE may be 64K or 1M. May be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = values::setting)]
    pub set: Vec<(LimitKind, u64)>,
    /// Print one JSON object a line
    #[arg(long, conflicts_with = "set")]
    pub json: bool,
}
