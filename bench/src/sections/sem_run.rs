//! What it costs to run a command under a permit: `chappe sem run` beside the command alone and beside what people use.

use super::{Contestant, Context, Outcome, contest, over};
use crate::measure::{Result, clock};
use crate::report::{Goal, Metric, Unit};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ABOUT: &str = "a command that does nothing, from just before it is started to when it has been waited for: the median of many\n\
    chappe sem run NAME -n 3 -- true; flock FILE true; sem --fg -j 3 true (GNU parallel's sem, a script)";

/// The command that does nothing.
const NOTHING: &str = "true";

pub fn measure(context: &Context<'_>) -> Outcome {
    let runs = context.amount(200);
    let metrics = [Metric::new("start to end", Unit::Nanoseconds)];
    let (ours, theirs) = (our_command(context.dir), gnu_sem(context.dir));
    let contestants = vec![
        Contestant::new("chappe sem run", || median(ours.as_ref().map_err(Clone::clone)?, runs)),
        Contestant::new(NOTHING, || median(&Line::new(NOTHING, &[]), runs)),
        Contestant::new("flock", || median(&flock(context.dir), runs)),
        Contestant::new("GNU sem", || median(theirs.as_ref().map_err(Clone::clone)?, runs / 20)),
    ];
    let table = contest(context.rounds, "a command under a permit", &metrics, contestants);
    let figure = |who| table.figure(who, 0);
    let ours = figure("chappe sem run");
    let more = ours.zip(figure(NOTHING)).map(|(ours, plain)| (ours - plain) / 1e6);
    let goals = vec![
        Goal::at_most("`sem run`, ms more than the command alone, at most 2", 2.0, more),
        Goal::at_most("`sem run`, times flock's, at most 1.5", 1.5, over(ours, figure("flock"))),
        Goal::at_least("`sem run`, times faster than GNU sem, at least 50", 50.0, over(figure("GNU sem"), ours)),
    ];
    Ok((ABOUT, vec![table], goals))
}

/// A command line.
struct Line {
    program: PathBuf,
    arguments: Vec<String>,
    variable: Option<(&'static str, PathBuf)>,
}

impl Line {
    fn new(program: impl Into<PathBuf>, arguments: &[&str]) -> Line {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Line { program: program.into(), arguments, variable: None }
    }

    fn with(mut self, variable: &'static str, value: impl Into<PathBuf>) -> Line {
        self.variable = Some((variable, value.into()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.envs(self.variable.iter().map(|(name, value)| (*name, value.as_path())));
        command
    }
}

/// Nanoseconds, the median of so many runs (three at least).
fn median(line: &Line, runs: u64) -> Result<Vec<f64>> {
    let mut took = Vec::new();
    for _ in 0..runs.max(3) {
        let mut command = line.command();
        let start = clock::now();
        let status = command.status().map_err(|error| format!("{}: {error}", line.program.display()))?;
        took.push(clock::now() - start);
        if !status.success() {
            return Err(format!("{} {}: {status}", line.program.display(), line.arguments.join(" ")).into());
        }
    }
    took.sort_unstable();
    Ok(vec![took[took.len() / 2] as f64])
}

/// The command that was built beside this program.
fn our_command(dir: &Path) -> Result<Line, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = this.with_file_name("chappe");
    if !program.exists() {
        return Err("the command is not built: cargo build --release -p chappe-cli".to_owned());
    }
    if !succeeds(&Line::new(&program, &["sem", "run", "--help"])) {
        return Err("the command that is built knows no `sem run`: cargo build --release -p chappe-cli".to_owned());
    }
    Ok(Line::new(program, &["sem", "run", "bench-run", "-n", "3", "--", NOTHING]).with("CHAPPE_DIR", dir))
}

fn flock(dir: &Path) -> Line {
    let file = dir.join("flock");
    Line::new("flock", &[&file.to_string_lossy(), NOTHING])
}

/// GNU parallel's `sem`, which keeps its semaphores in a directory of ours.
fn gnu_sem(dir: &Path) -> Result<Line, String> {
    let version = Command::new("sem").arg("--version").stdin(Stdio::null()).output();
    if !version.is_ok_and(|output| output.stdout.starts_with(b"GNU parallel")) {
        return Err("not installed: it is in Debian's package `parallel` (the one of moreutils has no sem)".to_owned());
    }
    let arguments = ["--will-cite", "--fg", "--id", "chappe-bench", "-j", "3", NOTHING];
    Ok(Line::new("sem", &arguments).with("PARALLEL_HOME", dir.join("parallel")))
}

fn succeeds(line: &Line) -> bool {
    line.command().status().is_ok_and(|status| status.success())
}
