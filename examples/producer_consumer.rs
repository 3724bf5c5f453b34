//! Two processes: this one produces items, a second one (the same program, started with the argument `consume`) consumes
//! them. The producer closes the queue when it is done; the consumer takes what is left and ends.
//!
//! ```sh
//! cargo run --example producer_consumer
//! ```

use chappe::{Queue, RecvError};
use std::error::Error;
use std::process::Command;
use std::time::Duration;

const NAME: &str = "/chappe_example_items";
const ITEMS: u32 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("consume") => consume(),
        _ => produce(),
    }
}

fn produce() -> Result<(), Box<dyn Error>> {
    // Room for four: the producer has to wait for the consumer now and then. The queue goes with this process.
    let queue = Queue::options().capacity(4).ephemeral(true).create_new(NAME)?;
    let mut consumer = Command::new(std::env::current_exe()?).arg("consume").spawn()?;
    for item in 1..=ITEMS {
        // The consumer might have died: then this says so instead of waiting for ever.
        queue.send_timeout(format!("item {item}").as_bytes(), 0, Duration::from_secs(10))?;
    }
    queue.close()?;
    println!("producer: sent {ITEMS} items and closed the queue");
    let status = consumer.wait()?;
    if status.success() { Ok(()) } else { Err(format!("the consumer failed: {status}").into()) }
}

fn consume() -> Result<(), Box<dyn Error>> {
    let queue = Queue::open(NAME)?;
    let mut items = 0;
    loop {
        match queue.recv() {
            Ok(message) => println!("consumer: {}", String::from_utf8_lossy(&message.data)),
            Err(RecvError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
        items += 1;
    }
    println!("consumer: {items} items, and the queue is closed");
    if items == ITEMS { Ok(()) } else { Err(format!("{ITEMS} items were sent").into()) }
}
