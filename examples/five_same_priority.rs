//! Five messages of one priority come out in the order they went in, also when one of higher priority overtakes them all.
//!
//! ```sh
//! cargo run --example five_same_priority
//! ```

use chappe::Queue;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    // An ephemeral queue goes when this program ends, however it ends.
    let queue = Queue::options().ephemeral(true).create_new("/chappe_example_five")?;

    let sent = ["first", "second", "third", "fourth", "fifth"];
    for text in sent {
        queue.send(text.as_bytes(), 3)?;
    }
    queue.send(b"overtaker", 4)?;

    let overtaker = queue.recv()?;
    println!("priority {}: {}", overtaker.priority, String::from_utf8_lossy(&overtaker.data));

    let mut received = Vec::new();
    for _ in sent {
        let message = queue.recv()?;
        let text = String::from_utf8(message.data)?;
        println!("priority {}: {text}", message.priority);
        received.push(text);
    }
    if received != sent {
        return Err(format!("sent {sent:?}, received {received:?}").into());
    }
    println!("five messages of priority 3 came out in the order they were sent");
    Ok(())
}
