//! Death at every instruction of a call of the drop-in library: a process is single-stepped through the release code of one C call and
//! SIGKILLed after its k-th instruction, each time with a fresh queue and fresh processes. Then a survivor goes on through the same calls.
//!
//! After each death the survivor's own sends and receives are served at once; who sleeps in `mq_send` or `mq_receive` is served; every message
//! is accounted for; exactly as many as the capacity fit; `poll` comes to show what is there, also to another process; a living registrant
//! is told once; a dead one's place is free.
//!
//! What it cannot show: a death inside a system call, which the kernel does as a whole or not at all, as far as a tracer can see; a death while
//! a call sleeps in the kernel, which `processes.c` of the conformance test and `random_kill` of the library have; the dynamic linker, which has bound
//! everything beforehand; `epoll`, and calls that are cancelled. A victim that polls or registers has a second thread, the attendant: that
//! one is not stepped, runs beside the one that is, and dies with it.
//!
//! - `CHAPPE_KILL_EVERY=1` kills at every instruction; without it, at about `CHAPPE_KILL_POINTS` of each operation.
//! - `CHAPPE_KILL_LANES` rows are under way at once.
//! - Words on the command line choose the operations whose row holds one of them.

mod common;
#[path = "../../tests/common/mod.rs"]
mod root;

#[path = "kill/act.rs"]
mod act;
#[path = "kill/beside.rs"]
mod beside;
#[path = "kill/case.rs"]
mod case;
#[path = "kill/library.rs"]
mod library;
#[path = "kill/scene.rs"]
mod scene;
#[path = "kill/survivor.rs"]
mod survivor;

use case::{Case, Other, cases};
use root::kill::Row;
use root::lanes::{only_test, print_heading};
use root::number;
use root::step::{self, Leaps, Place};
use scene::{Mode, measure, one_kill, pipe};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::process::ExitCode;
use std::time::Instant;
use survivor::SLOW;

/// The one test that this program is, for those who ask with `--list`.
const TEST: &str = "death_in_a_c_call";

fn main() -> ExitCode {
    only_test(TEST, run_chosen)
}

fn chosen(words: &[&str], title: &str) -> bool {
    words.is_empty() || words.iter().any(|word| TEST.contains(word) || title.contains(word))
}

/// Each n-th instruction is killed at: 1, or what leaves about as many as are asked for.
fn every(instructions: usize) -> usize {
    let samples = number("CHAPPE_KILL_POINTS").unwrap_or(if cfg!(debug_assertions) { 8 } else { 30 }).max(1) as usize;
    let sparse = (instructions / samples).max(1);
    number("CHAPPE_KILL_EVERY").map_or(sparse, |every| every.max(1) as usize)
}

/// Which instructions to kill at: those, and the end for both kinds of survivor.
fn kill_points(instructions: usize) -> Vec<usize> {
    let mut points: Vec<usize> = (0..instructions).step_by(every(instructions)).collect();
    points.extend([instructions, instructions]);
    points
}

fn run(case: &Case) -> Row {
    let mut row = Row::default();
    let path = match measure(case) {
        Ok(path) => path,
        Err(what) => {
            row.fault(0, None, Mode::of_turn(0), &format!("without a kill: {what}"));
            return row;
        }
    };
    row.instructions = path.len();
    let mut done = [Done::default(); 2];
    row.every = every(path.len());
    for (turn, k) in kill_points(path.len()).into_iter().enumerate() {
        let mut mode = Mode::of_turn(turn);
        // A queue that is yet to be made has no survivor who was there before.
        mode.attached &= case.act != act::Act::Create;
        run_one(case, &mut row, &mut done[usize::from(mode.attached)], &path, k, mode);
    }
    row
}

/// How often a kill is made after which the survivor takes too long, until that is a fault.
const TRIES: usize = 3;

/// The most that was seen done so far, and by which kill.
#[derive(Clone, Copy, Default)]
struct Done {
    progress: usize,
    k: usize,
}

fn run_one(case: &Case, row: &mut Row, done: &mut Done, path: &[Place], k: usize, mode: Mode) {
    row.kills += 1;
    let alone = case.other == Other::Nobody && !case.act.has_attendant();
    let kill = || one_kill(case, path, k, mode, if alone { Leaps::Any } else { Leaps::First });
    let mut killed = kill();
    for _ in 1..TRIES {
        if killed.as_ref().is_err_and(|what| what.starts_with(SLOW)) {
            row.kills += 1;
            row.repeated += 1;
            killed = kill();
        }
    }
    match killed {
        Err(what) => row.fault(k, path.get(k).map(|place| place.counter), mode, &what),
        Ok(report) => {
            row.took.push(report.took);
            if report.same_path {
                row.points.insert(k);
                check_growth(case, row, done, path, Done { progress: report.progress, k }, mode);
            } else {
                row.strayed += 1;
            }
        }
    }
}

/// Progress never falls with k; it begins with nothing and ends with the whole.
fn check_growth(case: &Case, row: &mut Row, done: &mut Done, path: &[Place], now: Done, mode: Mode) {
    let at = path.get(now.k).map(|place| place.counter);
    let mut fault = |what: String| row.fault(now.k, at, mode, &what);
    if now.progress < done.progress {
        match falls(case, path, *done, now, mode) {
            Ok(true) => fault(format!("{} done, but {} after {}", now.progress, done.progress, done.k)),
            Ok(false) => *done = Done { progress: now.progress, ..*done },
            Err(what) => fault(what),
        }
    }
    if now.k == 0 && now.progress != 0 {
        fault("done before the first instruction".to_owned());
    }
    if at.is_none() && now.progress != case.whole() {
        fault(format!("{} done at the end instead of {}", now.progress, case.whole()));
    }
    if now.progress > done.progress {
        row.commits.push(now.k);
        *done = now;
    }
}

/// Whether less is done after more instructions also when both are counted one by one: a leap counts visits of a place, and a
/// way with one turn more or less misleads it.
fn falls(case: &Case, path: &[Place], before: Done, now: Done, mode: Mode) -> Result<bool, String> {
    let earlier = one_kill(case, path, before.k, mode, Leaps::None)?;
    let later = one_kill(case, path, now.k, mode, Leaps::None)?;
    Ok(earlier.same_path && later.same_path && later.progress < earlier.progress)
}

/// Runs the rows, several at once: each lane is a process, which takes the next row that nobody has taken.
fn run_chosen(words: &[&str]) -> ExitCode {
    let start = Instant::now();
    library::load(&common::library());
    print_heading();
    let all: Vec<Case> = cases().into_iter().filter(|case| chosen(words, &case.title())).collect();
    let (work, sums) = (pipe(), pipe());
    (0..all.len()).for_each(|index| (&work.1).write_all(&[index as u8]).expect("a pipe holds some bytes"));
    let count = number("CHAPPE_KILL_LANES").unwrap_or(6).clamp(1, 64) as usize;
    (&work.1).write_all(&vec![u8::MAX; count]).expect("a pipe holds some bytes");
    let lanes: Vec<i32> = (0..count).map(|lane| step::fork(|| run_lane(lane, &all, &work.0, &sums.1))).collect();
    drop(sums.1);
    let ended = lanes.iter().filter(|lane| step::wait(**lane) == 0).count();
    let mut text = String::new();
    (&sums.0).read_to_string(&mut text).expect("what the lanes say");
    let sum = |column: usize| -> usize {
        text.lines().filter_map(|line| line.split(' ').nth(column)?.parse::<usize>().ok()).sum()
    };
    println!("{} kills in {:.1?}", sum(0), start.elapsed());
    println!("{} passed, {} failed", sum(1), sum(2));
    let whole = ended == lanes.len() && sum(1) + sum(2) == all.len();
    if whole && sum(2) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Confines the calling thread, and what it starts, to one CPU: stepping is much faster there, and nobody spins, which would be too many
/// steps, because nobody else could run meanwhile.
fn stay_on_one_cpu(lane: usize) {
    let may = rustix::thread::sched_getaffinity(None).expect("the CPUs of this process");
    let cpus: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| may.is_set(*cpu)).collect();
    let mut one = rustix::thread::CpuSet::new();
    one.set(cpus[lane % cpus.len()]);
    rustix::thread::sched_setaffinity(None, &one).expect("one of the CPUs that it has");
}

fn run_lane(lane: usize, all: &[Case], mut work: &PipeReader, mut sums: &PipeWriter) -> bool {
    stay_on_one_cpu(lane);
    loop {
        let mut next = [0];
        work.read_exact(&mut next).expect("the pipe has an end for each lane");
        let Some(case) = all.get(usize::from(next[0])) else { return true };
        let mut row = run(case);
        row.print(&case.title());
        let good = row.faults.is_empty();
        writeln!(sums, "{} {} {}", row.kills, usize::from(good), usize::from(!good)).expect("the pipe for sums");
    }
}
