//! What the integration tests share: scratch directories, seeded random numbers, payloads that prove themselves whole,
//! bounded polling, and real processes started from the test binary itself.
//!
//! No test lives here, and nothing here but `format.rs` looks inside an object.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod bell;
pub mod c;
pub mod forbid;
pub mod format;
pub mod kill;
pub mod lanes;
pub mod mount;
pub mod semaphore;
pub mod shared;
pub mod step;
pub mod traffic;
pub mod waker;
pub mod way;

use std::io::{BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The safety net of every wait. It bounds a hang; it is no performance figure.
pub const NET: Duration = Duration::from_secs(30);

/// A fresh directory, in memory where the machine has such a place, for queues that a test makes.
pub fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("chappe-test-");
    builder.tempdir_in(shm).or_else(|_| builder.tempdir()).expect("a scratch directory")
}

/// Polls `done` until it holds; a bound that runs out is a failure that names `what`.
#[track_caller]
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < NET, "waited {NET:?} in vain: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Whether every thread of the process sleeps in the kernel. Together with a counter this is the proof that somebody is
/// blocked.
pub fn asleep(pid: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().all(|task| state(&task.path().join("stat")) == Some('S'))
}

/// The state letter of a `/proc/PID/stat` file; the command name before it may hold anything, hence the last parenthesis.
fn state(stat: &Path) -> Option<char> {
    let text = std::fs::read_to_string(stat).ok()?;
    text.rsplit_once(") ")?.1.chars().next()
}

/// A small seeded generator (xorshift64*): tests need repeatability, not quality.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Any seed will do, also 0.
    pub fn new(seed: u64) -> Rng {
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Rng((mixed ^ (mixed >> 31)) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0 to `bound` - 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// As [`below`](Rng::below), for indices.
    pub fn index(&mut self, bound: usize) -> usize {
        self.below(bound as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The seed in the environment variable, or one from the clock; printed, so that a failure can be repeated.
pub fn seed(variable: &str) -> u64 {
    let clock =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
    let seed = number(variable).unwrap_or(clock);
    println!("{variable}={seed}");
    seed
}

/// A number in an environment variable; one that cannot be read is an error, not a default.
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a whole number, not {text:?}")))
}

/// `length` bytes that only this `id` has: the first eight are the id (as far as they fit), the others follow from it.
pub fn payload(id: u64, length: usize) -> Vec<u8> {
    let mut rng = Rng::new(id);
    let mut bytes = Vec::with_capacity(length + 8);
    bytes.extend_from_slice(&id.to_le_bytes());
    while bytes.len() < length {
        bytes.extend_from_slice(&rng.bits().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The id of a payload of at least eight bytes, if the payload is whole.
pub fn identify(bytes: &[u8]) -> Option<u64> {
    let id = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    (payload(id, bytes.len()) == bytes).then_some(id)
}

/// The environment variable that makes `role` play a part instead of testing.
const ROLE: &str = "CHAPPE_TEST_ROLE";

/// The environment variable with the part's arguments, one a line.
const ARGUMENTS: &str = "CHAPPE_TEST_ARGUMENTS";

/// A part that a process started by a test can play.
pub type Part = (&'static str, fn(&[String]));

/// The body of each binary's test `role`, which a started process runs. In a started process it plays the part that was asked for and exits. In a
/// normal run it tests the mechanism: a part that does not exist must be a failure, not a process that does nothing.
pub fn play(parts: &[Part]) {
    let Ok(wanted) = std::env::var(ROLE) else {
        let mut worker = Worker::start("no such part", &[]);
        assert!(!worker.ended().success(), "a part that does not exist was played");
        return;
    };
    let arguments = std::env::var(ARGUMENTS).unwrap_or_default();
    let arguments: Vec<String> = arguments.lines().map(str::to_owned).collect();
    let Some((_, part)) = parts.iter().find(|(name, _)| *name == wanted) else {
        eprintln!("no part is called {wanted:?} (which a test of this mechanism asks for once)");
        std::process::exit(1);
    };
    // SAFETY: it takes nothing.
    let user = || unsafe { libc::geteuid() };
    let before = user();
    part(&arguments);
    if user() != before {
        // Another thread may be at the last instructions of the handler by which setuid(2) reaches it, on its signal stack; `exit` of the
        // standard library unmaps that of the main thread, and SIGSEGV was the end of such a part, once in some thousands.
        // SAFETY: it takes a number.
        unsafe { libc::_exit(0) };
    }
    std::process::exit(0);
}

/// Whether this process was started to play a part.
pub fn is_part() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// The command that is this test binary again, in the given part.
pub fn again(part: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary's path"));
    command.args(["role", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, part).env(ARGUMENTS, arguments.join("\n"));
    command
}

/// In a part: one line for the test that started it.
pub fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{line}").and_then(|()| out.flush()).expect("the test that started this reads it");
}

/// In a part: the next line from the test that started it.
pub fn hear() -> String {
    let mut line = String::new();
    let length = std::io::stdin().lock().read_line(&mut line).expect("stdin");
    assert!(length > 0, "the test that started this is gone");
    line.trim_end().to_owned()
}

/// Forks; the child never returns from `child`, and its exit code is 0 unless it panics there.
pub fn fork(child: impl FnOnce()) -> u32 {
    // SAFETY: what the children of the tests do is what the C library supports after a fork, also of several threads: it keeps its
    // allocator usable, and no lock that the child takes is held by another thread of the parent, but for those whose keeping is tested.
    match unsafe { libc::fork() } {
        0 => {
            let failed = catch_unwind(AssertUnwindSafe(child)).is_err();
            // Not `process::exit`: what the test harness of the parent would print at its end is not the child's to print.
            // SAFETY: it takes a number.
            unsafe { libc::_exit(failed.into()) }
        }
        pid => u32::try_from(pid).expect("fork"),
    }
}

/// Waits for the end of a child; how it ended, as waitpid(2) says it.
pub fn reap(pid: u32) -> i32 {
    let mut status = 0;
    // SAFETY: the status lives through the call.
    let reaped = unsafe { libc::waitpid(pid as i32, &raw mut status, 0) };
    assert_eq!(reaped, pid as i32);
    status
}

/// A process that plays a part. Killed when dropped, and by the kernel when the thread that started it ends.
pub struct Worker {
    child: Child,
    commands: Option<ChildStdin>,
    answers: ChildStdout,
    heard: Vec<u8>,
    part: String,
}

impl Worker {
    /// Starts this test binary again, in the given part.
    pub fn start(part: &str, arguments: &[&str]) -> Worker {
        Worker::start_with(part, arguments, &[])
    }

    /// As [`start`](Worker::start), with environment variables.
    pub fn start_with(part: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Worker {
        let mut command = again(part, arguments);
        command.envs(variables.iter().copied());
        Worker::run(command, part)
    }

    /// Starts another program, which plays its part by the same rules: what it says begins with `@`.
    pub fn run(mut command: Command, part: &str) -> Worker {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // SAFETY: the closure runs between fork and exec and makes one system call, which is async-signal-safe.
        unsafe { command.pre_exec(die_with_the_test) };
        let mut child = command.spawn().expect("the program starts");
        let (commands, answers) = (child.stdin.take(), child.stdout.take().expect("stdout is a pipe"));
        Worker { child, commands, answers, heard: Vec::new(), part: part.to_owned() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One line for it.
    #[track_caller]
    pub fn tell(&mut self, line: impl std::fmt::Display) {
        let commands = self.commands.as_mut().expect("its stdin is open");
        writeln!(commands, "{line}").unwrap_or_else(|error| panic!("{} does not listen: {error}", self.part));
    }

    /// The next line that it said; that it ends or stays silent is a failure.
    #[track_caller]
    pub fn answer(&mut self) -> String {
        if let Some(line) = self.line() {
            return line;
        }
        let status = self.ended();
        panic!("{} ended ({status}) instead of answering", self.part)
    }

    /// A line for it, and the line that it says to that.
    #[track_caller]
    pub fn ask(&mut self, line: impl std::fmt::Display) -> String {
        self.tell(line);
        self.answer()
    }

    /// Whether it has said something that was not heard yet, or ended.
    pub fn has_said(&self) -> bool {
        !self.heard.is_empty() || readable(self.answers.as_raw_fd(), Duration::ZERO)
    }

    /// The next line must be this one.
    #[track_caller]
    pub fn expect(&mut self, line: &str) {
        assert_eq!(self.answer(), line, "from {}", self.part);
    }

    /// The next line that it said; `None` if it ended before.
    fn line(&mut self) -> Option<String> {
        loop {
            while let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                // The test harness of the started process prints lines, and beginnings of lines, of its own.
                if let Some((_, said)) = line.split_once('@') {
                    return Some(said.trim_end().to_owned());
                }
            }
            if !self.hear_more() {
                return None;
            }
        }
    }

    /// Reads what is there, waiting for it at most as long as the net; false at the end.
    fn hear_more(&mut self) -> bool {
        assert!(readable(self.answers.as_raw_fd(), NET), "{} said nothing for {NET:?}", self.part);
        let mut buffer = [0; 4096];
        let length = self.answers.read(&mut buffer).expect("its stdout");
        self.heard.extend_from_slice(&buffer[..length]);
        length > 0
    }

    /// SIGKILL, and waits until the kernel has done it.
    pub fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("a dead child");
    }

    /// Whether it has ended, and how.
    pub fn try_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its status")
    }

    /// How it ended; that it does not is a failure.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.try_ended() {
                return status;
            }
            assert!(start.elapsed() < NET, "{} did not end within {NET:?}", self.part);
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// It must end by itself, without a failed assertion.
    #[track_caller]
    pub fn finish(mut self) {
        drop(self.commands.take());
        let status = self.ended();
        assert!(status.success(), "{} failed: {status}", self.part);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have been reaped already; then there is nothing to kill and nothing to wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has the kernel kill the calling process when the thread that started it ends.
fn die_with_the_test() -> std::io::Result<()> {
    // SAFETY: this option takes one number and no pointer.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Whether the descriptor has something to read (or has ended) within the bound.
pub fn readable(descriptor: i32, bound: Duration) -> bool {
    let mut poll = libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 };
    let milliseconds = i32::try_from(bound.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one valid pollfd, and the count says one.
    let ready = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
    ready > 0
}
