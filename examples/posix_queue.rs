//! A queue of the kernel's, as C programs use it: this program starts itself a second time, and the two talk through
//! `mq_open`. The second one could as well be in C, or a shell that calls `chappe mq send posix:/NAME`.
//!
//! ```sh
//! cargo run --example posix_queue
//! ```

use chappe::posix::{LimitKind, LimitValue, MessageQueue, MessageQueueError, limit};
use std::error::Error;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(name) => send(&name),
        None => receive(),
    }
}

fn receive() -> Result<(), Box<dyn Error>> {
    let name = format!("/chappe_example_posix.{}", std::process::id());
    let queue = match MessageQueue::options().capacity(4).message_size(128).create_new(&name) {
        Err(MessageQueueError::Unsupported) => {
            println!("this kernel has no POSIX queues");
            return Ok(());
        }
        other => other?,
    };

    // To be told without waiting in a call. Registered before anything is sent, so nothing is missed.
    let news = queue.notify_channel()?;
    let mut sender = Command::new(std::env::current_exe()?).arg(&name).spawn()?;
    news.recv()?;
    println!("there is news");

    // The highest priority first. The vector is as long as the message is.
    let status = sender.wait()?;
    while !queue.is_empty()? {
        let message = queue.recv()?;
        println!("{:>5}  {}", message.priority, String::from_utf8_lossy(&message.data));
    }
    // Where C programs see EINVAL, the error says which limit it was and what can be done.
    if let LimitValue::Number(most) = limit(LimitKind::MsgMax).value {
        let capacity = u32::try_from(most)?.saturating_add(1);
        match MessageQueue::options().capacity(capacity).message_size(1).create_new(format!("{name}.large")) {
            Err(error) => println!("{error}"),
            Ok(_) => MessageQueue::unlink(format!("{name}.large"))?, // a privileged process may have it
        }
    }
    MessageQueue::unlink(&name)?;
    if status.success() { Ok(()) } else { Err(format!("the second process failed: {status}").into()) }
}

fn send(name: &str) -> Result<(), Box<dyn Error>> {
    let queue = MessageQueue::options().writeonly().open(name)?;
    queue.send(b"tidy up", 0)?;
    queue.send(b"put out the fire", 9)?;
    queue.send(b"call for help", 9)?;
    Ok(())
}
