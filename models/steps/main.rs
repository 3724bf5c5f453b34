//! The library's own files with the twins of [`sync`] in the place of its facade: every interleaving of small scenes on the real
//! objects, within a bound on preemptions, and a death before every step of an operation.
//!
//! `cargo test -p chappe-models` runs it; arguments choose the models that have one of these words in their name.
//! `CHAPPE_MODEL_PREEMPTIONS` is the bound: 1, or 0 without optimisation. Of second deaths, each n-th is tried: `CHAPPE_MODEL_SECOND` is
//! n, 31.

#![allow(dead_code, unused_imports, missing_docs, reason = "the library's files, of which a part is used")]
#![allow(clippy::drop_non_drop, reason = "in the library it has something to drop")]

mod atomic;
mod deaths;
mod object;
mod queue;
mod semaphore;
mod sync;
mod world;

// The rooms of the library, as its `lib.rs` has them.
#[path = "../../src/deadline.rs"]
mod deadline;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/interrupt.rs"]
mod interrupt;
#[path = "../../src/message.rs"]
mod message;
#[path = "../../src/name.rs"]
mod name;
#[path = "../../src/raw/mod.rs"]
mod raw;
#[path = "../../src/region.rs"]
mod region;
#[path = "../../src/shm/mod.rs"]
mod shm;
#[path = "../../src/stat.rs"]
mod stat;
#[path = "../../src/sys/mod.rs"]
mod sys;

use std::process::ExitCode;
use std::time::Instant;
use world::Extent;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u32>().expect("a number"));
    // Without optimisation it takes ten times as long.
    let preemptions = number("CHAPPE_MODEL_PREEMPTIONS").unwrap_or(u32::from(!cfg!(debug_assertions)));
    let every = number("CHAPPE_MODEL_SECOND").unwrap_or(31).into();
    stay_on_one_cpu();
    let mut failures = 0;
    let mut try_out = |name: String, run: &dyn Fn() -> Result<Extent, String>| {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            failures += u32::from(!report(&name, run));
        }
    };
    for model in queue::MODELS {
        try_out(format!("queue: {}", model.name), &|| queue::run(model, preemptions));
    }
    for model in semaphore::MODELS {
        try_out(format!("semaphore: {}", model.name), &|| semaphore::run(model, preemptions));
    }
    for case in deaths::QUEUE {
        let stage = || queue::Stage::new(case.size, vec![case.act.to_vec(), Vec::new(), Vec::new()]);
        try_out(format!("deaths: queue: {}", case.name), &|| died(|| deaths::run(&stage(), case, every)));
    }
    for case in deaths::SEMAPHORE {
        let stage = || semaphore::Stage::new(case.size.into(), vec![Vec::new(); 3]);
        try_out(format!("deaths: semaphore: {}", case.name), &|| died(|| deaths::run(&stage(), case, every)));
    }
    println!("{failures} failed, with up to {preemptions} preemptions");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What deaths left, or the reason why it was not in order, with the step.
fn died(run: impl Fn() -> Extent) -> Result<Extent, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|reason| world::said(&*reason))
}

/// Runs one model and prints how it went; false if it failed.
fn report(name: &str, run: &dyn Fn() -> Result<Extent, String>) -> bool {
    let start = Instant::now();
    match run() {
        Ok(Extent { runs, states, steps }) => {
            println!("{name}: {runs} runs, {states} states, {steps} steps, {:.1?}", start.elapsed());
            true
        }
        Err(story) => {
            println!("{name}: FAILED: {story}");
            false
        }
    }
}

/// So that nobody spins: a peer on the same CPU cannot run meanwhile.
fn stay_on_one_cpu() {
    let all = rustix::thread::sched_getaffinity(None).expect("it can be asked");
    let first = (0..1024).find(|cpu| all.is_set(*cpu)).expect("it runs on one");
    let mut one = rustix::thread::CpuSet::new();
    one.set(first);
    rustix::thread::sched_setaffinity(None, &one).expect("one of its own");
}
