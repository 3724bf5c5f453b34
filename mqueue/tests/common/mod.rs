//! What the tests of the drop-in library share: building it (as a library to preload and as an archive), building C programs, and
//! running programs with a safety net. No test lives here.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The safety net of every wait. It bounds a hang; it is no performance figure.
pub const NET: Duration = Duration::from_secs(60);

/// A fresh directory for queues.
pub fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("chappe-test-").tempdir_in("/dev/shm").expect("a scratch directory")
}

/// Where cargo puts what it builds as this test was built: this test is `TARGET/PROFILE/deps/NAME-HASH`.
pub fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned())
}

/// Builds packages with the profile and for the target of this test. Cargo does not do it for tests that cannot link with them, and does
/// nothing if they are there and new.
pub fn build(arguments: &[&str]) {
    let (profile, above) = (built().file_name().expect("a profile"), built().parent().expect("a target directory"));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--profile"]).arg(if profile == "debug" { OsStr::new("dev") } else { profile });
    // With --target there is one more directory, named after it.
    if above.join("CACHEDIR.TAG").exists() {
        cargo.arg("--target-dir").arg(above);
    } else {
        cargo.arg("--target").arg(above.file_name().expect("a target"));
        cargo.arg("--target-dir").arg(above.parent().expect("a target directory"));
    }
    let output = cargo.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo starts");
    assert!(output.status.success(), "cargo build {arguments:?}: {}", text(&output));
}

/// The library to preload.
pub fn library() -> PathBuf {
    package();
    built().join("libchappe_mqueue.so")
}

/// The archive to link with.
pub fn archive() -> PathBuf {
    package();
    built().join("libchappe_mqueue.a")
}

fn package() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| build(&["--package", "chappe-mqueue", "--lib"]));
}

/// The command.
pub fn chappe() -> PathBuf {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| build(&["--package", "chappe-cli"]));
    built().join("chappe")
}

/// Builds `tests/c/NAME.c` with more flags; `None`, and a line that says so, where there is no compiler.
pub fn compile(name: &str, program: &str, flags: &[&OsStr]) -> Option<PathBuf> {
    let compiler = std::env::var("CHAPPE_TEST_CC").unwrap_or_else(|_| "cc".into());
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(program);
    // Other runs of this test may be starting the old one.
    let new = program.with_extension(format!("{}-{:?}", std::process::id(), std::thread::current().id()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(name).with_extension("c");
    let mut command = Command::new(&compiler);
    command.args(["-std=gnu11", "-Wall", "-Wextra", "-O1", "-pthread", "-o"]).arg(&new).arg(source).args(flags);
    match command.status() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: there is no C compiler ({compiler}, or what CHAPPE_TEST_CC names)");
            return None;
        }
        status => assert!(status.unwrap().success(), "{compiler} does not like {name}.c"),
    }
    std::fs::rename(new, &program).unwrap();
    Some(program)
}

/// A program with the library before it, and its queues in `dir`.
pub fn preloaded(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LD_PRELOAD", library()).env("CHAPPE_DIR", dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for the end of a program whose output fits into a pipe.
#[track_caller]
pub fn finish(mut child: Child) -> Output {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > NET {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("the program did not end; so far: {}", text(&output));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.wait_with_output().unwrap()
}

/// Runs a program to its end and expects success; gives what it printed.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finish(command.spawn().expect("the program starts"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, text(&output));
    String::from_utf8(output.stdout).expect("text")
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until every thread of the process that has a queue open sleeps in a wait for another process.
#[track_caller]
pub fn until_blocked(pid: u32) {
    until("the program blocks", || {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
        // Where it sleeps: not in a read, which the dynamic linker and the C library do at the beginning.
        let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        let number = call.split(' ').next().and_then(|number| number.parse::<i64>().ok());
        let waits = [libc::SYS_futex, libc::SYS_futex_waitv, libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_pause];
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
            && number.is_some_and(|number| waits.contains(&number))
    });
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
