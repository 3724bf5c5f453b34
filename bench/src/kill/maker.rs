//! The contestants: compiled for the run, or left out for a reason.

use crate::measure::Result;
use crate::rivals::shim::Shim;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One contestant, and its library or why there is none.
pub struct Contestant {
    pub who: &'static str,
    pub built: Result<Built, String>,
}

/// A compiled library, and whose calls it is to use.
pub struct Built {
    path: PathBuf,
    uses: Option<PathBuf>,
}

impl Built {
    pub fn load(&self) -> Result<Shim> {
        Shim::load(&self.path, self.uses.as_deref())
    }
}

/// The rows of each table, in this order.
pub const DROP_IN: &str = "chappe (drop-in)";
pub const KERNEL: &str = "kernel queue";
pub const ROBUST: &str = "ring, robust mutex";
pub const ROBUST_ONE_WORD: &str = "ring, robust mutex, one store commits";
pub const PLAIN: &str = "ring, plain mutex";
pub const BOOST: &str = "Boost message_queue";
pub const BOOST_TIMED: &str = "Boost message_queue, lock time-out";

/// How long Boost's locks wait if they are asked to give up; then an exception is thrown.
const BOOST_LOCK: &str = "-DBOOST_INTERPROCESS_TIMEOUT_WHEN_LOCKING_DURATION_MS=500";

pub fn contestants(dir: &Path) -> Vec<Contestant> {
    // A library that is loaded twice is the same library: so the drop-in's has a flag, which it does not look at, and a file of its own.
    let c = |name: &str, flags: &[&str]| build(dir, "cc", "-std=gnu11", &format!("{name}.c"), flags);
    let cpp = |flags: &[&str]| build(dir, "g++", "-std=c++14", "boost.cpp", flags);
    let timed = ["-DBOOST_INTERPROCESS_ENABLE_TIMEOUT_WHEN_LOCKING", BOOST_LOCK];
    vec![
        Contestant { who: DROP_IN, built: drop_in(c("mq", &["-DDROP_IN"])) },
        Contestant { who: KERNEL, built: c("mq", &[]) },
        Contestant { who: ROBUST, built: c("ring", &["-DROBUST"]) },
        Contestant { who: ROBUST_ONE_WORD, built: c("ring", &["-DROBUST", "-DONE_WORD"]) },
        Contestant { who: PLAIN, built: c("ring", &[]) },
        Contestant { who: BOOST, built: cpp(&[]) },
        Contestant { who: BOOST_TIMED, built: cpp(&timed) },
    ]
}

fn drop_in(built: Result<Built, String>) -> Result<Built, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let library = this.with_file_name("libchappe_mqueue.so");
    if !library.exists() {
        return Err("the library is not built: cargo build --release -p chappe-mqueue".to_owned());
    }
    Ok(Built { uses: Some(library), ..built? })
}

/// Compiles a library, a file of its own for each set of flags.
fn build(dir: &Path, compiler: &str, language: &str, source: &str, flags: &[&str]) -> Result<Built, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/kill").join(source);
    let name = format!("{}{}.so", source.file_stem().unwrap_or_default().to_string_lossy(), flags.concat());
    let path = dir.join(name);
    let mut command = Command::new(compiler);
    command.args([language, "-O2", "-DNDEBUG", "-shared", "-fPIC"]).args(flags);
    command.arg("-o").arg(&path).arg(&source).args(["-pthread", "-lrt", "-ldl"]);
    let output = command.output().map_err(|error| format!("{compiler}: {error}"))?;
    if output.status.success() {
        return Ok(Built { path, uses: None });
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let first = text.lines().find(|line| line.contains("error")).unwrap_or("it did not say why").to_owned();
    Err(format!("{compiler}: {first}"))
}
