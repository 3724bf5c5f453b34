//! The command as scripts see it: exit codes, stdout, stderr. Each test has a directory of its own for its queues and
//! semaphores. What these promise by themselves is the library's to test.

mod create;
mod demo;
mod limits;
mod look;
mod posix_mq;
mod preload;
mod recv;
mod sem;
mod sem_kill;
mod sem_posix;
mod sem_run;
mod send;
mod usage;

use assert_cmd::Command;
use chappe::{Queue, Semaphore};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A run that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// The command, as it was built for these tests.
const CHAPPE: &str = env!("CARGO_BIN_EXE_chappe");

/// A directory with queues and semaphores.
struct Place {
    dir: TempDir,
}

/// What a run left.
struct Outcome {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    /// With a queue `q` of this capacity, for messages of at most 64 bytes.
    fn with_queue(capacity: u32) -> Place {
        let place = Place::new();
        place.ok(&["mq", "create", "q", "--capacity", &capacity.to_string(), "--message-size", "64"]);
        place
    }

    /// With a queue `q` that holds these messages, of priority 0.
    fn with_messages(messages: &[&[u8]]) -> Place {
        let place = Place::with_queue(100);
        let queue = place.queue("q");
        for message in messages {
            queue.try_send(message, 0).expect("room for a message");
        }
        place
    }

    /// With a semaphore `pool` of so many permits.
    fn with_semaphore(permits: u64) -> Place {
        let place = Place::new();
        place.ok(&["sem", "create", "pool", "-n", &permits.to_string()]);
        place
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn queue(&self, name: &str) -> Queue {
        Queue::options().dir(self.path()).open(name).expect("the queue")
    }

    fn semaphore(&self, name: &str) -> Semaphore {
        Semaphore::options().dir(self.path()).open(name).expect("the semaphore")
    }

    /// Runs `chappe` with these arguments.
    fn run<A: AsRef<OsStr>>(&self, args: &[A]) -> Outcome {
        self.run_with(args, b"")
    }

    /// The same with this input.
    fn run_with<A: AsRef<OsStr>>(&self, args: &[A], stdin: &[u8]) -> Outcome {
        let mut command = Command::new(CHAPPE);
        command.args(args).env("CHAPPE_DIR", self.path()).timeout(LIMIT).write_stdin(stdin);
        outcome(command.output().expect("a run"))
    }

    /// Runs and expects success; gives stdout as text.
    #[track_caller]
    fn ok<A: AsRef<OsStr>>(&self, args: &[A]) -> String {
        let outcome = self.run(args);
        outcome.is(0);
        outcome.text()
    }

    /// `chappe` with pipes to stdin and from stdout and stderr.
    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(CHAPPE);
        command.args(args).env("CHAPPE_DIR", self.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it.
    fn start(&self, args: &[&str]) -> Child {
        self.command(args).spawn().expect("a process")
    }
}

impl Outcome {
    /// Expects this exit code.
    #[track_caller]
    fn is(&self, code: i32) -> &Outcome {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.text(), self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Expects these words on stderr.
    #[track_caller]
    fn says(&self, words: &[&str]) -> &Outcome {
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in: {}", self.stderr);
        }
        self
    }

    /// Expects nothing on stdout.
    #[track_caller]
    fn no_data(&self) -> &Outcome {
        assert_eq!(self.text(), "");
        self
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

fn outcome(output: std::process::Output) -> Outcome {
    Outcome {
        // A run that was killed has no code, and -1 is none that is expected.
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until a process ends by itself.
#[track_caller]
fn finish(mut child: Child) -> Outcome {
    let start = Instant::now();
    while child.try_wait().expect("a process to wait for").is_none() {
        if start.elapsed() > LIMIT {
            child.kill().expect("a process to kill");
            panic!("the process did not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    outcome(child.wait_with_output().expect("the process's output"))
}

/// Waits until something is so, however long that takes on this machine.
#[track_caller]
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "no {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The lines of JSON in some output.
fn json(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}
