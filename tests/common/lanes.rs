//! A program that is one test, without the test harness: rows of deaths, several at a time, each lane a process of its own; and what they
//! all come to.

use super::kill::{BOUND, Row, milliseconds, share};
use super::step::{fork, no_ptrace, wait};
use super::{number, scratch};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A row that was chosen: what it is called, whether it takes so long that it should begin early, and what runs it.
pub struct Job {
    pub title: String,
    pub long: bool,
    pub run: Box<dyn Fn() -> Row>,
}

/// A program that is one test.
pub struct Program {
    /// What the test is called, for those who ask with `--list`.
    pub test: &'static str,
    /// How many rows are under way at once.
    pub lanes: usize,
    /// Whether each lane stays on one CPU. Stepping is faster there, and nobody spins: a hundred thousand instructions that do
    /// nothing need not be stepped.
    pub pinned: bool,
}

impl Program {
    /// The body of `main`. A word on the command line chooses the rows whose title holds it.
    pub fn main(&self, jobs: impl FnOnce() -> Vec<Job>) -> ExitCode {
        only_test(self.test, |words| {
            let chosen = |title: &str| words.iter().any(|word| self.test.contains(word) || title.contains(word));
            let mut jobs = jobs();
            jobs.retain(|job| words.is_empty() || chosen(&job.title));
            jobs.sort_by_key(|job| !job.long);
            self.run(&jobs)
        })
    }

    /// Runs the rows, several at once: each lane is a process, which takes the next row that nobody has taken.
    fn run(&self, jobs: &[Job]) -> ExitCode {
        let start = Instant::now();
        print_heading();
        let lanes = number("CHAPPE_KILL_LANES").map_or(self.lanes, |lanes| lanes.clamp(1, 64) as usize);
        let (work, mut todo) = std::io::pipe().expect("a pipe");
        (0..jobs.len() + lanes)
            .for_each(|job| todo.write_all(&[(job >> 8) as u8, job as u8]).expect("a pipe holds it"));
        let book = scratch();
        let page = |lane: usize| book.path().join(lane.to_string());
        let pids: Vec<i32> = (0..lanes).map(|lane| fork(|| self.lane(lane, jobs, &work, &page(lane)))).collect();
        let ended = pids.iter().filter(|pid| wait(**pid) == 0).count() == lanes;
        let text: String = (0..lanes).map(|lane| std::fs::read_to_string(page(lane)).unwrap_or_default()).collect();
        let (rows, failed) = summary(&text, start.elapsed());
        println!("{} passed, {failed} failed", rows - failed);
        if ended && rows == jobs.len() && failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn lane(&self, lane: usize, jobs: &[Job], mut work: &std::io::PipeReader, page: &std::path::Path) -> bool {
        if self.pinned {
            stay_on_one_cpu(lane);
        }
        let mut page = std::fs::File::create(page).expect("a page of the book");
        loop {
            let mut next = [0; 2];
            work.read_exact(&mut next).expect("the pipe has an end for each lane");
            let Some(job) = jobs.get(usize::from(u16::from_be_bytes(next))) else { return true };
            let mut row = (job.run)();
            row.print(&job.title);
            let (points, faults) = (row.points.len(), row.faults.len());
            let mut text =
                format!("row {} {} {points} {faults} {} {}", row.instructions, row.kills, row.strayed, row.repeated);
            row.took.iter().for_each(|time| text += &format!(" {}", time.as_nanos()));
            row.slept.iter().for_each(|time| _ = write!(text, "\nslept {} {}", time.as_nanos(), job.title));
            text.push('\n');
            page.write_all(text.as_bytes()).expect("the book");
        }
    }
}

/// Prints what all rows come to; how many there were, and how many of them had faults.
fn summary(text: &str, elapsed: Duration) -> (usize, usize) {
    let (mut sums, mut times, mut rows, mut failed) = ([0; 6], Vec::new(), 0, 0);
    let (mut sleeps, mut sleepiest) = (Vec::new(), "nobody");
    for line in text.lines() {
        if let Some((time, title)) = line.strip_prefix("slept ").and_then(|rest| rest.split_once(' ')) {
            let time = Duration::from_nanos(time.parse().expect("it was written as a number"));
            sleepiest = if sleeps.iter().all(|other| *other < time) { title } else { sleepiest };
            sleeps.push(time);
            continue;
        }
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        sums.iter_mut().zip(&numbers).for_each(|(sum, number)| *sum += number);
        times.extend(numbers[6..].iter().map(|time| Duration::from_nanos(*time)));
        rows += 1;
        failed += usize::from(numbers[3] > 0);
    }
    times.sort_unstable();
    sleeps.sort_unstable();
    let [instructions, kills, distinct, faults, strayed, repeated] = sums;
    let [p50, p99, max] = [50, 99, 100].map(|percent| milliseconds(share(&times, percent)));
    println!(
        "{rows} rows, {instructions} instructions, {kills} kills, {distinct} DISTINCT (operation, state, instruction), {faults} faults, {strayed} strayed"
    );
    println!(
        "survivors' own calls: p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms; {repeated} kills repeated for time"
    );
    let [p50, p99, max] = [50, 99, 100].map(|percent| milliseconds(share(&sleeps, percent)));
    println!(
        "{} sleeps of one whom the dead one did not wake: p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms ({sleepiest})",
        sleeps.len()
    );
    println!("{elapsed:.1?}");
    (rows, failed)
}

/// Confines the calling thread, and what it starts, to one CPU.
fn stay_on_one_cpu(lane: usize) {
    let may = rustix::thread::sched_getaffinity(None).expect("the CPUs of this process");
    let cpus: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| may.is_set(*cpu)).collect();
    let mut one = rustix::thread::CpuSet::new();
    one.set(cpus[lane % cpus.len()]);
    rustix::thread::sched_setaffinity(None, &one).expect("one of the CPUs that it has");
}

/// What stands above the rows.
pub fn print_heading() {
    println!(
        "points: instructions killed at, of so many; 1/n: each n-th of those outside long loops; slow: kills repeated because a survivor took more than {BOUND:?};"
    );
    println!(
        "p50, max: ms of the survivor's own calls; slept: ms, the longest that one slept whom the dead one did not wake;"
    );
    println!(
        "commits: first instruction with more done. Never killed at: inside system calls, in other threads of the victim,"
    );
    println!("before main.");
    println!(
        "{:<60} instrs points        kills faults strayed slow      p50      max slept  commits",
        "operation | state"
    );
}

/// The body of `main` of a program without the test harness that is one test, for those who ask with `--list`: what is not an
/// option is a word that chooses rows. Where processes cannot be stepped it is skipped, and says so.
pub fn only_test(name: &str, run: impl FnOnce(&[&str]) -> ExitCode) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        if !arguments.iter().any(|argument| argument == "--ignored") {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    if let Some(reason) = no_ptrace() {
        println!("skipped: this machine does not let a process trace its child: {reason}");
        return ExitCode::SUCCESS;
    }
    run(&words)
}
