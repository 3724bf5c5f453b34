//! The C program: built, asked for its rows, run on either half under a time limit.

use crate::common;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// After this long a row hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// On what it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Kernel,
    DropIn,
}

impl Half {
    pub fn word(self) -> &'static str {
        match self {
            Half::Kernel => "kernel",
            Half::DropIn => "drop-in",
        }
    }
}

/// How it was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    Plain,
    /// Calls `__mq_open_2`, `__poll_chk`, `__read_chk` where it can.
    Fortified,
}

/// A requirement, and the file that shows it.
pub struct Row {
    pub id: String,
    pub file: String,
}

/// The program of this build, made once; an error if there is no compiler.
fn program(build: Build) -> Result<&'static Path, String> {
    static PROGRAMS: [OnceLock<Result<PathBuf, String>>; 2] = [const { OnceLock::new() }; 2];
    PROGRAMS[build as usize].get_or_init(|| compile(build)).as_deref().map_err(String::clone)
}

fn compile(build: Build) -> Result<PathBuf, String> {
    let compiler = std::env::var("CHAPPE_TEST_CC").unwrap_or_else(|_| "cc".into());
    let (name, flags): (_, &[&str]) = match build {
        Build::Plain => ("conformance", &["-U_FORTIFY_SOURCE", "-O1"]),
        Build::Fortified => ("conformance-fortified", &["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2", "-O1"]),
    };
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let new = program.with_extension(std::process::id().to_string());
    let sources = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/conformance")).unwrap();
    let sources =
        sources.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "c"));
    let mut command = Command::new(&compiler);
    command
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread"])
        .args(flags)
        .arg("-o")
        .arg(&new)
        .args(sources);
    match command.status() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(format!("there is no C compiler ({compiler}, or what CHAPPE_TEST_CC names)"));
        }
        status => {
            assert!(status.expect("the compiler starts").success(), "{compiler} does not like tests/c/conformance")
        }
    }
    // Other runs of this test may be starting the old one.
    std::fs::rename(new, &program).unwrap();
    Ok(program)
}

/// Why nothing can be compiled here, if so.
pub fn no_compiler() -> Option<String> {
    program(Build::Plain).err()
}

/// All rows of the program.
pub fn rows() -> Vec<Row> {
    let output = Command::new(program(Build::Plain).unwrap()).arg("--list").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let row = |line: &str| line.split_once(' ').map(|(id, file)| Row { id: id.into(), file: file.into() }).unwrap();
    text.lines().map(row).collect()
}

/// Why this half cannot be shown on this machine, if so. A library that does not work is no reason, but a failure.
pub fn cannot_run(half: Half) -> Option<String> {
    let program = match program(Build::Plain) {
        Err(reason) => return Some(reason),
        Ok(program) => program,
    };
    if half == Half::DropIn {
        return None;
    }
    let output = Command::new(program).arg("--probe").output().unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (answer != "ok").then(|| format!("the kernel makes no message queues here ({answer})"))
}

/// The drop-in library, built as this test was, or another one.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| std::env::var_os("CHAPPE_MQUEUE_LIBRARY").map_or_else(common::library, PathBuf::from))
}

/// What the row prints. An error says what went wrong: it failed, it hung, it left something behind.
pub fn run(row: &str, half: Half, build: Build) -> Result<String, String> {
    let output = tempfile::tempdir().unwrap();
    let directory = queues();
    let mut command = Command::new(program(build).unwrap());
    command.arg(row).env("CONFORMANCE_TAG", format!("{}-{row}-{}", std::process::id(), build as usize));
    command.env_remove("LD_PRELOAD").env_remove("CONFORMANCE_DROP_IN");
    if half == Half::DropIn {
        command.env("LD_PRELOAD", library()).env("CONFORMANCE_DROP_IN", "1").env("CHAPPE_DIR", directory.path());
    }
    let files = ["out", "err"].map(|name| output.path().join(name));
    let [out, err] = files.each_ref().map(|path| File::create(path).unwrap());
    // The group is what ends with it: children that a row has left, too.
    let child = command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn().unwrap();
    let status = end(child);
    let [out, err] = files.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned());
    match status {
        None => Err(format!("    hangs; so far:\n{out}{err}")),
        Some(status) if !status.success() => Err(format!("    {status}; so far:\n{out}{err}")),
        // A library that cannot be loaded would be a line here, and the kernel's queues would be shown instead.
        Some(_) if !err.is_empty() => Err(format!("    complains:\n{err}")),
        Some(_) => match left(directory.path()) {
            names if names.is_empty() => Ok(out),
            names => Err(format!("    leaves behind: {}", names.join(", "))),
        },
    }
}

/// Where the drop-in library puts its queues: open to all users, as the kernel's file system is.
fn queues() -> TempDir {
    let directory = tempfile::Builder::new().prefix("chappe-conformance").tempdir_in("/dev/shm").unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).unwrap();
    directory
}

fn left(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Waits for the end; `None` if it had to be ended.
fn end(mut child: Child) -> Option<ExitStatus> {
    let group = Pid::from_child(&child);
    let start = Instant::now();
    let mut status = None;
    while status.is_none() && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(2));
        status = child.try_wait().unwrap();
    }
    // There may be nobody left to kill.
    let _ = kill_process_group(group, Signal::KILL);
    if status.is_none() {
        child.wait().unwrap();
    }
    status
}
