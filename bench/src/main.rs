//! chappe beside its rivals, in one run: `cargo run --release -p chappe-bench`. This file reads the arguments and runs the
//! sections; each section says what it measures, and how.

mod channel;
mod environment;
mod floor;
mod holder;
mod kill;
mod measure;
mod our_permit;
mod ours;
mod report;
mod rivals;
mod sections;
mod supervise;

use clap::Parser;
use environment::{Environment, Ticks};
use measure::Result;
use report::Report;
use rustix::thread::{CpuSet, sched_getaffinity};
use sections::{Context, Name};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures chappe beside what else there is (the kernel's queues and pipe, semaphores and locks), on two pinned CPUs, and
/// says which goals are met.
#[derive(Parser)]
#[command(version)]
pub struct Arguments {
    /// A short run: fewer messages and rounds, for a first look
    #[arg(long)]
    quick: bool,
    /// Run this section only (may be given several times)
    #[arg(long, value_name = "NAME")]
    only: Vec<Name>,
    /// Write all figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often each figure is measured [default: 7, quick: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// The two CPUs: senders on the first, receivers on the second [default: the first two we may run on]
    #[arg(long, value_name = "A,B", value_delimiter = ',', num_args = 1)]
    cpus: Vec<usize>,
}

impl Arguments {
    /// How often each figure is measured.
    pub fn rounds(&self) -> usize {
        self.rounds.map_or(if self.quick { 5 } else { 7 }, usize::from)
    }

    fn names(&self) -> Vec<Name> {
        if self.only.is_empty() { Name::all() } else { self.only.clone() }
    }

    /// The two CPUs; twice the same one where there is but one.
    fn pinned(&self) -> Result<[usize; 2]> {
        let allowed = sched_getaffinity(None)?;
        let mine: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        let chosen = if self.cpus.is_empty() { &mine } else { &self.cpus };
        if let Some(cpu) = self.cpus.iter().find(|cpu| !mine.contains(cpu)) {
            return Err(format!("CPU {cpu} is not one that this program may run on ({mine:?})").into());
        }
        let first = *chosen.first().ok_or("there is no CPU to run on")?;
        Ok([first, chosen.get(1).copied().unwrap_or(first)])
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match supervise::with_directory(|dir| run(&arguments, dir)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chappe-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints. `false` if a section could not be run: a goal that is not met is a result, not a failure.
fn run(arguments: &Arguments, dir: &Path) -> Result<bool> {
    let pinned = arguments.pinned()?;
    // Now rather than after minutes of measuring.
    let json = arguments.json.as_deref().map(report::create).transpose()?;
    let environment = Environment::look(arguments, pinned, rivals::limits::raise());
    println!("{}", environment.show());
    environment.warnings().iter().for_each(|warning| println!("{warning}"));
    let context = Context { dir, cpus: pinned, rounds: arguments.rounds(), quick: arguments.quick };
    let mut report = Report { environment, sections: Vec::new() };
    let before = Ticks::now()?;
    let mut whole = true;
    for name in arguments.names() {
        eprintln!("measuring: {name}");
        match name.run(&context) {
            Ok(section) => {
                println!("{}", section.show());
                report.sections.push(section);
            }
            Err(error) => {
                whole = false;
                println!("\n## {name}\nfailed: {error}");
            }
        }
    }
    report.environment.note_the_others(&before)?;
    println!("{}", report.show_goals());
    report.environment.warnings().iter().for_each(|warning| println!("{warning}"));
    if let Some(file) = json {
        report.write_json(file)?;
    }
    Ok(whole)
}
