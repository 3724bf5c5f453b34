//! `chappe demo`: the project's main job in one screen. Real processes, started from this very binary, in a directory of
//! their own; each scene checks what it shows, and a scene that fails makes the exit code 1. It is a show, not a
//! benchmark: figures that can be kept come from the benchmark.

mod account;
mod block;
mod hand;
mod kills;
mod measure;
mod order;
mod permits;
mod stage;
mod worker;

use crate::exit::{self, Failure};
use crate::output::Output;
use clap::Subcommand;
use stage::Stage;
use std::path::PathBuf;
use std::time::Instant;

/// What a process that the demo starts does. Not for people: hidden from the help.
#[derive(Clone, Debug, Subcommand)]
pub enum Role {
    /// Sends ten numbered messages.
    OrderProducer { dir: PathBuf },
    /// Receives until the queue is empty and prints the numbers.
    OrderConsumer { dir: PathBuf },
    /// Sends the blocks of this binary until stdin ends, and prints how many.
    BlockProducer { dir: PathBuf, producer: u32 },
    /// Receives blocks and writes down what it got, until the queue is closed.
    BlockConsumer { dir: PathBuf, consumer: u32 },
    /// Takes turns with a permit until stdin ends.
    PermitWorker { dir: PathBuf, number: u32 },
    /// Holds a permit until stdin ends.
    PermitHolder { dir: PathBuf, number: u32 },
    /// Sends small messages through the queue for a while.
    QueueSource { dir: PathBuf },
    /// Sends small messages through stdout for a while.
    PipeSource,
    /// Sends back what comes through the queue.
    QueueEcho { dir: PathBuf },
    /// Sends back what comes through stdin.
    PipeEcho,
}

/// Runs the scenes.
pub fn run() -> Result<(), Failure> {
    let start = Instant::now();
    let mut screen = Screen(Output::open()?);
    let stage = Stage::set()?;
    screen.say(&format!(
        "chappe {}: message queues and semaphores between processes, in shared memory",
        env!("CARGO_PKG_VERSION")
    ));
    screen.say("Every process below is started from this binary, in a directory that is removed at the end:");
    screen.say(&format!("{}", stage.dir().display()));
    order::play(&stage, &mut screen)?;
    kills::play(&stage, &mut screen)?;
    permits::play(&stage, &mut screen)?;
    measure::play(&stage, &mut screen)?;
    let seconds = start.elapsed().as_secs_f64();
    screen.say(&format!("\nAll as it must be, after {seconds:.1} s."));
    Ok(())
}

/// Plays a role, in a process that the demo started.
pub fn child(role: Role) -> Result<(), Failure> {
    stage::die_with_parent()?;
    match role {
        Role::OrderProducer { dir } => order::producer(&dir),
        Role::OrderConsumer { dir } => order::consumer(&dir),
        Role::BlockProducer { dir, producer } => worker::producer(&dir, producer),
        Role::BlockConsumer { dir, consumer } => worker::consumer(&dir, consumer),
        Role::PermitWorker { dir, number } => permits::worker(&dir, number),
        Role::PermitHolder { dir, number } => permits::holder(&dir, number),
        Role::QueueSource { dir } => measure::queue_source(&dir),
        Role::PipeSource => measure::pipe_source(),
        Role::QueueEcho { dir } => measure::queue_echo(&dir),
        Role::PipeEcho => measure::pipe_echo(),
    }
}

/// Where the demo tells its story. That nobody looks any more does not stop it: the exit code still counts.
struct Screen(Output);

impl Screen {
    fn say(&mut self, line: &str) {
        let _ = self.0.try_write(format!("{line}\n").as_bytes());
    }
}

/// A scene did not go as it must.
fn wrong(what: impl Into<String>) -> Failure {
    Failure::new(exit::NO, format!("the demo failed: {}", what.into()))
}
