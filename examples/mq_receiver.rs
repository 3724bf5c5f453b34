//! Receives what `mq_sender` left in the queue `/chappe_example`, the highest priority first, and removes the queue when
//! it is empty:
//!
//! ```sh
//! cargo run --example mq_sender
//! cargo run --example mq_receiver
//! ```

use chappe::{Message, Queue, RecvError};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let queue = Queue::open("/chappe_example")?;
    println!("{} holds {} of at most {} messages", queue.name(), queue.len()?, queue.capacity());
    loop {
        match queue.try_recv() {
            Ok(Message { data, priority, .. }) => {
                println!("received with priority {priority}: {}", String::from_utf8_lossy(&data));
            }
            Err(RecvError::Empty) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Queue::unlink("/chappe_example")?;
    println!("it is empty now, and removed");
    Ok(())
}
