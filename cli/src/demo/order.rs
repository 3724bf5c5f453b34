//! Scene 1: order. A producer sends ten numbered messages and is gone before a consumer, started after it, receives them:
//! highest priority first, first in first out inside each.

use super::stage::{Stage, finish, options, spawn};
use super::{Screen, wrong};
use crate::exit::{self, Failure};
use chappe::RecvError;
use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;

const NAME: &str = "/order";
const MESSAGES: u32 = 10;
const EXPECTED: &str = "2 4 6 8 10 1 3 5 7 9";

/// Plays the scene.
pub fn play(stage: &Stage, screen: &mut Screen) -> Result<(), Failure> {
    screen.say("\n1. Order");
    let queue = stage.options().create_new(NAME).map_err(|error| exit::open(&error))?;
    let producer = spawn(&mut stage.command("order-producer", &[]))?;
    let (pid, _) = finish(producer, "producer")?;
    screen.say(&format!(
        "   Process {pid} sent messages 1 to 10, odd ones with priority 1, even ones with 5, and ended."
    ));
    let consumer = spawn(stage.command("order-consumer", &[]).stdout(Stdio::piped()))?;
    let (pid, observed) = finish(consumer, "consumer")?;
    screen.say(&format!("   Process {pid} received:  {observed}"));
    drop(queue);
    if observed != EXPECTED {
        return Err(wrong(format!("the order must be {EXPECTED}")));
    }
    screen.say("   Highest priority first, first in first out inside each priority: correct.");
    Ok(())
}

/// The producer's part.
pub fn producer(dir: &Path) -> Result<(), Failure> {
    let queue = options(dir).open(NAME).map_err(|error| exit::open(&error))?;
    for number in 1..=MESSAGES {
        let priority = if number % 2 == 1 { 1 } else { 5 };
        queue.try_send(number.to_string().as_bytes(), priority).map_err(|error| exit::send(&queue, error, 0))?;
    }
    Ok(())
}

/// The consumer's part.
pub fn consumer(dir: &Path) -> Result<(), Failure> {
    let queue = options(dir).open(NAME).map_err(|error| exit::open(&error))?;
    let mut numbers = Vec::new();
    loop {
        match queue.try_recv() {
            Ok(message) => numbers.push(String::from_utf8_lossy(&message.data).into_owned()),
            Err(RecvError::Empty) => break,
            Err(error) => return Err(exit::recv(&queue, error, numbers.len() as u64)),
        }
    }
    write!(io::stdout(), "{}", numbers.join(" ")).map_err(|error| Failure::stdout(&error))
}
