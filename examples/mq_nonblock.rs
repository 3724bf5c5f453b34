//! Receives from an empty queue without waiting, then waiting two seconds: both say that nothing came, each in its own
//! way. Nobody else is needed:
//!
//! ```sh
//! cargo run --example mq_nonblock
//! ```

use chappe::{Queue, RecvError};
use std::error::Error;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    // An ephemeral queue goes when this program ends, however it ends.
    let queue = Queue::options().ephemeral(true).create_new("/chappe_example_nonblock")?;

    match queue.try_recv() {
        Err(RecvError::Empty) => println!("without waiting: the queue is empty"),
        other => return Err(format!("expected an empty queue, got {other:?}").into()),
    }

    println!("waiting for two seconds ...");
    let start = Instant::now();
    match queue.recv_timeout(Duration::from_secs(2)) {
        Err(RecvError::TimedOut) => println!("gave up after {:.1} s: timed out", start.elapsed().as_secs_f64()),
        other => return Err(format!("expected a timeout, got {other:?}").into()),
    }

    queue.send(b"here I am", 0)?;
    println!("with a message there: {}", String::from_utf8(queue.try_recv()?.data)?);
    Ok(())
}
