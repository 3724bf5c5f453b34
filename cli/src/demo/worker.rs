//! The processes of scene 2: producers that cut and send, consumers that receive and write down. What became of it all is
//! found out in [`account`](super::account).

use super::block::{Cutter, HEADER, PIECE_MAX, file, record};
use super::hand::Hand;
use super::kills::{NAME, PRODUCERS, SEED};
use super::stage::options;
use crate::exit::{self, Failure};
use chappe::RecvError;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Sends blocks until stdin ends, then prints how many.
pub fn producer(dir: &Path, producer: u32) -> Result<(), Failure> {
    let queue = options(dir).open(NAME).map_err(|error| exit::open(&error))?;
    let file = file().map_err(|error| Failure::system("read this binary", &error))?;
    let stop = stdin_ends();
    let mut sent = 0;
    for (block, piece) in Cutter::new(&file, producer, PRODUCERS, SEED) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let priority = (block.sequence % 4) as u16;
        queue.send(&block.message(piece), priority).map_err(|error| exit::send(&queue, error, sent))?;
        sent += 1;
    }
    write!(io::stdout(), "{sent}").map_err(|error| Failure::stdout(&error))
}

/// Becomes true when stdin ends.
pub fn stdin_ends() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&ended);
    std::thread::spawn(move || {
        let _ = io::stdin().read(&mut [0]);
        seen.store(true, Ordering::Relaxed);
    });
    ended
}

/// Where a consumer writes down what it received.
pub fn log(dir: &Path, consumer: u32) -> PathBuf {
    dir.join(format!("log.{consumer}"))
}

/// Receives and writes down, with one write a message, until the queue is closed and empty.
pub fn consumer(dir: &Path, consumer: u32) -> Result<(), Failure> {
    let queue = options(dir).open(NAME).map_err(|error| exit::open(&error))?;
    let mut hand = Hand::new(dir, consumer, HEADER + PIECE_MAX)?;
    let log = OpenOptions::new().append(true).create_new(true).open(log(dir, consumer));
    let mut log = log.map_err(|error| Failure::system("make a log", &error))?;
    loop {
        match queue.recv_into(hand.bytes()) {
            Ok(received) => log
                .write_all(&record(&hand.bytes()[..received.len]))
                .map_err(|error| Failure::system("write to a log", &error))?,
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => return Err(exit::recv(&queue, error, 0)),
        }
    }
}
