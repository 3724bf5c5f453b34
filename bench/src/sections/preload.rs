//! The drop-in library: one compiled C program on the kernel's queues, and the same program with the library preloaded.

use super::{Contestant, Context, Outcome, contest, over};
use crate::measure::Result;
use crate::report::{Goal, Metric, Table, Unit};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ABOUT: &str = "the program bench/c/mqueue.c, compiled once: as it is, on the kernel's queues, and with libchappe_mqueue.so preloaded\n\
    64 bytes, blocking calls, capacity 10; two processes on two CPUs, but for the pair, polled and the depth, which are one thread's\n\
    polled: the pair on a queue that somebody polls, so that each call keeps its descriptor right";

const PLAIN: &str = "kernel queue";
const PRELOADED: &str = "preloaded";

/// The capacity that the kernel allows everybody.
const CAPACITY: u32 = 10;
/// What only the library has: the kernel's `msg_max` is 10, and needs a privilege to be raised.
const DEEP: u32 = 65536;

const QUANTILES: [Metric; 3] = [
    Metric::new("p50", Unit::Nanoseconds),
    Metric::new("p99", Unit::Nanoseconds),
    Metric::new("p99.9", Unit::Nanoseconds),
];

pub fn measure(context: &Context<'_>) -> Outcome {
    context.need_two_cpus()?;
    let program = Program::build(context)?;
    let pair = table(context, &program, "pair", 300_000, &[Metric::new("send + receive", Unit::Nanoseconds)]);
    let polled = table(context, &program, "polled", 100_000, &[Metric::new("send + receive", Unit::Nanoseconds)]);
    let stream = table(context, &program, "stream", 400_000, &[Metric::new("messages", Unit::PerSecond)]);
    let one_way = table(context, &program, "one-way", 40_000, &QUANTILES);
    let sleeping = table(context, &program, "sleeping", 2_000, &QUANTILES);
    let depth = depth(context, &program);
    let times = |table: &Table| over(table.figure(PLAIN, 0), table.figure(PRELOADED, 0));
    let of_the_kernel = |table: &Table| over(table.figure(PRELOADED, 0), table.figure(PLAIN, 0));
    let growth = over(depth.figure(&at(DEEP), 0), depth.figure(&at(CAPACITY), 0));
    let goals = vec![
        Goal::at_least("pair, times faster than the kernel queue, at least 6", 6.0, times(&pair)),
        Goal::at_least("stream 1→1, times the kernel queue, at least 4", 4.0, of_the_kernel(&stream)),
        Goal::at_least("one way p50, times faster than the kernel queue, at least 8", 8.0, times(&one_way)),
        Goal::at_most("to a sleeping receiver p50, times the kernel's, at most 1.2", 1.2, of_the_kernel(&sleeping)),
        Goal::at_most("cost at capacity 65536, times that at 10, at most 3", 3.0, growth),
    ];
    Ok((ABOUT, vec![pair, polled, stream, one_way, sleeping, depth], goals))
}

fn table(context: &Context<'_>, program: &Program, mode: &'static str, count: u64, metrics: &[Metric]) -> Table {
    let run = move |preloaded| program.run(context, mode, context.amount(count), CAPACITY, preloaded);
    let contestants = vec![Contestant::new(PRELOADED, move || run(true)), Contestant::new(PLAIN, move || run(false))];
    contest(context.rounds, mode, metrics, contestants)
}

fn at(capacity: u32) -> String {
    format!("preloaded, capacity {capacity}")
}

/// As many messages for every capacity.
fn depth(context: &Context<'_>, program: &Program) -> Table {
    let cycles = |capacity: u32| (context.amount(655_360) / u64::from(capacity)).max(1);
    let run = move |capacity, preloaded| program.run(context, "depth", cycles(capacity), capacity, preloaded);
    let contestants = vec![
        Contestant::new(at(CAPACITY), move || run(CAPACITY, true)),
        Contestant::new(at(DEEP), move || run(DEEP, true)),
        Contestant::new("kernel queue, capacity 10", move || run(CAPACITY, false)),
    ];
    let metrics = [Metric::new("send + receive", Unit::Nanoseconds)];
    contest(context.rounds, "depth: filled with scattered priorities, drained in order", &metrics, contestants)
}

/// The compiled program, and the library to preload.
struct Program {
    path: PathBuf,
    library: PathBuf,
}

impl Program {
    fn build(context: &Context<'_>) -> Result<Program> {
        let library = std::env::current_exe()?.with_file_name("libchappe_mqueue.so");
        if !library.exists() {
            return Err("the library is not built: cargo build --release -p chappe-mqueue".into());
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/mqueue.c");
        let path = context.dir.join("mqueue");
        let mut command = Command::new("cc");
        command.args(["-std=gnu11", "-O2", "-o"]).arg(&path).arg(&source).args(["-lrt", "-pthread"]);
        match command.status() {
            Ok(status) if status.success() => Ok(Program { path, library }),
            Ok(status) => Err(format!("cc {}: {status}", source.display()).into()),
            Err(error) => Err(format!("cc: {error}").into()),
        }
    }

    fn run(&self, context: &Context<'_>, mode: &str, count: u64, capacity: u32, preloaded: bool) -> Result<Vec<f64>> {
        let [sender, receiver] = context.cpus;
        let mut command = Command::new(&self.path);
        command
            .arg(mode)
            .args([count, sender as u64, receiver as u64, capacity.into()].map(|number| number.to_string()));
        command.stdin(Stdio::null()).env("CHAPPE_DIR", context.dir).env_remove("LD_PRELOAD");
        if preloaded {
            command.env("LD_PRELOAD", &self.library);
        }
        let output = command.output()?;
        if !output.status.success() {
            return Err(format!("{mode}: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
        }
        let text = String::from_utf8(output.stdout)?;
        Ok(text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?)
    }
}
