//! A soak: eight producers, eight consumers and a semaphore that they share, for as long as one likes, while processes are killed,
//! stopped and continued at random, fork, compete with others for the processor, and the queue is closed, unlinked and made anew under
//! the same name. Every message is accounted for, as in `random_kill.rs`; never are more permits held than there are, as in
//! `semaphore_random_kill.rs`; everybody who is not stopped comes on; and memory, descriptors and files do not grow.
//!
//! `CHAPPE_SOAK_SECONDS` sets its length (10; `ci/soak.sh` runs it for an hour), `CHAPPE_SOAK_SEED` repeats the choices, though not the
//! timing. It has no harness, so that its lines are seen: one a minute, and a summary.
//!
//! It does not look for races one instruction wide (`kill.rs` does), nor at speed.

#[path = "../common/mod.rs"]
mod common;

mod board;
mod generation;
mod measure;
mod supervisor;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;
use supervisor::Supervisor;

const NAME: &str = "soak";

fn main() -> ExitCode {
    if common::is_part() {
        common::play(&[("worker", worker::part_worker), ("hog", worker::part_hog)]);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        if !arguments.iter().any(|argument| argument == "--ignored") {
            println!("{NAME}: test");
        }
        return ExitCode::SUCCESS;
    }
    let mut words = arguments.iter().filter(|argument| !argument.starts_with("--")).peekable();
    if words.peek().is_some() && !words.any(|word| NAME.contains(word.as_str())) {
        println!("0 passed, 0 failed: no word of the command line is in {NAME:?}");
        return ExitCode::SUCCESS;
    }
    let good = catch_unwind(AssertUnwindSafe(soak)).unwrap_or(false);
    println!("{}", if good { "1 passed, 0 failed" } else { "0 passed, 1 failed" });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn soak() -> bool {
    let length = Duration::from_secs(common::number("CHAPPE_SOAK_SECONDS").unwrap_or(10).max(4));
    let mut supervisor = Supervisor::new(common::seed("CHAPPE_SOAK_SEED"));
    let went_well = catch_unwind(AssertUnwindSafe(|| run(&mut supervisor, length)));
    if went_well.is_err() {
        println!("after {:.1?}\n{}", supervisor.elapsed(), supervisor.describe());
        return false;
    }
    summarise(&supervisor);
    let grew = supervisor.measures.judge(length);
    if !grew.is_empty() {
        println!("grew beyond the allowance: {}", grew.join("; "));
    }
    grew.is_empty()
}

fn run(supervisor: &mut Supervisor, length: Duration) {
    let rate = (length / 200).clamp(Duration::from_millis(50), Duration::from_secs(2));
    let mut minute = Duration::from_secs(60);
    while supervisor.elapsed() < length {
        supervisor.tick(rate);
        if supervisor.elapsed() >= minute {
            report(supervisor);
            minute += Duration::from_secs(60);
        }
    }
    supervisor.finish();
}

/// The line of each minute.
fn report(supervisor: &Supervisor) {
    let (tally, measures) = (&supervisor.tally, &supervisor.measures);
    let last = |name: &str| measures.last(name);
    println!(
        "{:>5} s: {} messages, {} kills, {} stops, {} forks, {} re-creations, {} permits back, longest stall {:.1?}, \
         {} KiB in {} files, supervisor {} KiB and {} descriptors, place 0 {} KiB and {}",
        supervisor.elapsed().as_secs(),
        supervisor.received(),
        tally.kills,
        tally.stops,
        supervisor.board().forks.load(Ordering::SeqCst),
        tally.generations - 1,
        supervisor.permits_back(),
        tally.stall.0,
        last("memory of all these files"),
        last("files beside the queue"),
        last("supervisor: memory of its own"),
        last("supervisor: descriptors"),
        last("place 0: memory of its own"),
        last("place 0: descriptors"),
    );
}

fn summarise(supervisor: &Supervisor) {
    let (tally, board) = (&supervisor.tally, supervisor.board());
    println!(
        "{:.1?}: {} killed ({} while stopped), and {} children; {} stops, at most {} at once; {} forks; {} hogs; \
         {} generations, {} closed first",
        supervisor.elapsed(),
        tally.kills,
        tally.kills_of_stopped,
        tally.children_killed,
        tally.stops,
        tally.most_stopped,
        board.forks.load(Ordering::SeqCst),
        tally.hogs,
        tally.generations,
        tally.closes,
    );
    println!(
        "{} sends returned, {} messages received, {} missing ({} received by the dead as the queue counts, {} at the most), {} uncertain, {} left at the end \
         of a generation; {} deaths put in order, {} redelivered",
        tally.sent,
        tally.received,
        tally.missing,
        tally.vanished,
        tally.may_miss,
        tally.uncertain,
        tally.left,
        tally.recovered,
        tally.redelivered,
    );
    println!(
        "the kernel took up to {:.1?} to bury who was killed ({}); the supervisor came round within {:.1?}",
        tally.death.0, tally.death.1, tally.round,
    );
    println!(
        "{} acquisitions, {} permits back from the dead; {} rings of the doorbell; longest stall {:.1?} ({})",
        supervisor.acquisitions(),
        supervisor.permits_back(),
        board.rings.load(Ordering::SeqCst),
        tally.stall.0,
        tally.stall.1,
    );
}
