//! Programs in C that play a part: built once by a test, and started as workers.

use super::Worker;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler for the C library that this test is linked with. With musl it has to be named: its version matters, and
/// `cc` is seldom it.
fn compiler() -> Option<String> {
    std::env::var("CHAPPE_TEST_CC").ok().or_else(|| cfg!(not(target_env = "musl")).then(|| "cc".into()))
}

/// Builds `tests/c/NAME.c`; `None` where there is no compiler.
pub fn build(name: &str) -> Option<PathBuf> {
    let compiler = compiler()?;
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = dir.join(if cfg!(target_env = "musl") { format!("{name}-musl") } else { name.to_owned() });
    let new = program.with_extension(std::process::id().to_string());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/c/{name}.c"));
    let flags = ["-std=gnu11", "-Wall", "-Wextra", "-O1", "-pthread", "-o"];
    match Command::new(&compiler).args(flags).arg(&new).arg(source).arg("-lrt").status() {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        status => {
            assert!(status.expect("the compiler starts").success(), "{compiler} does not like tests/c/{name}.c")
        }
    }
    // Other runs of this test may be starting the old one.
    std::fs::rename(new, &program).unwrap();
    Some(program)
}

/// A C program, ready for commands. Where it could not be built, says that the test is skipped.
pub fn start(program: Option<&Path>) -> Option<Worker> {
    match program {
        Some(program) => Some(Worker::run(Command::new(program), "the C program")),
        None => {
            println!("skipped: there is no C compiler (cc, or what CHAPPE_TEST_CC names)");
            None
        }
    }
}
