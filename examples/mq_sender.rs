//! Sends messages to the queue `/chappe_example`, which it creates if there is none, and leaves them there. Run
//! `mq_receiver` afterwards (or meanwhile):
//!
//! ```sh
//! cargo run --example mq_sender                             # three messages of its own
//! cargo run --example mq_sender -- hello 7:urgent 3:soon    # or yours, each with a priority if it has one
//! cargo run --example mq_receiver
//! ```

use chappe::Queue;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut messages: Vec<String> = std::env::args().skip(1).collect();
    if messages.is_empty() {
        messages = ["1:a low one", "9:an urgent one", "5:one in between"].map(String::from).to_vec();
    }
    let queue = Queue::options().create("/chappe_example")?;
    for message in &messages {
        let (priority, text) = split(message);
        queue.send(text.as_bytes(), priority)?;
        println!("sent with priority {priority}: {text}");
    }
    println!("{} messages are waiting in {}", queue.len()?, queue.name());
    Ok(())
}

/// `7:text` is `text` with priority 7; anything else is a text with priority 0, the lowest.
fn split(message: &str) -> (u16, &str) {
    let parts = message.split_once(':').and_then(|(priority, text)| Some((priority.parse().ok()?, text)));
    parts.unwrap_or((0, message))
}
