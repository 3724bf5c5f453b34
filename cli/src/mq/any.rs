//! A queue of either kind, for sending and receiving: what both can do, in the words of the library's own queue.

use super::posix;
use crate::exit::{Failure, Told};
use crate::values::AnyName;
use chappe::posix::{MessageQueue, MessageQueueOptions};
use chappe::{Message, Queue, RecvError, SendError, posix as kernel};
use std::time::Instant;

/// A queue that is open.
pub enum AnyQueue {
    /// Ours.
    Own(Box<Queue>),
    /// One of the kernel's.
    Posix(MessageQueue, AnyName),
}

impl AnyQueue {
    /// An existing queue, whatever its attributes. One of the kernel's is opened with these options.
    pub fn open(name: &AnyName, options: &MessageQueueOptions) -> Result<AnyQueue, Failure> {
        match name {
            AnyName::Own(name) => super::open(name).map(|queue| AnyQueue::Own(Box::new(queue))),
            AnyName::Posix(inner) => Ok(AnyQueue::Posix(posix::open(inner, options)?, name.clone())),
        }
    }

    /// The largest message, in bytes.
    pub fn message_size(&self) -> u64 {
        match self {
            AnyQueue::Own(queue) => queue.message_size(),
            AnyQueue::Posix(queue, _) => queue.message_size(),
        }
    }

    /// Sends a message if there is room.
    pub fn try_send(&self, message: &[u8], priority: u16) -> Result<(), SendError> {
        match self {
            AnyQueue::Own(queue) => queue.try_send(message, priority),
            AnyQueue::Posix(queue, _) => queue.try_send(message, priority).map_err(not_sent),
        }
    }

    /// Sends a message, waiting until then.
    pub fn send_deadline(&self, message: &[u8], priority: u16, deadline: Instant) -> Result<(), SendError> {
        match self {
            AnyQueue::Own(queue) => queue.send_deadline(message, priority, deadline),
            AnyQueue::Posix(queue, _) => queue.send_deadline(message, priority, deadline).map_err(not_sent),
        }
    }

    /// Sends a message, waiting as long as it takes.
    pub fn send(&self, message: &[u8], priority: u16) -> Result<(), SendError> {
        match self {
            AnyQueue::Own(queue) => queue.send(message, priority),
            AnyQueue::Posix(queue, _) => queue.send(message, priority).map_err(not_sent),
        }
    }

    /// Puts a message back. The kernel's queue was opened for receiving only.
    pub fn put_back(&self, message: &Message) -> Result<(), String> {
        match self {
            AnyQueue::Own(queue) => queue.try_send(&message.data, message.priority).map_err(|error| error.to_string()),
            AnyQueue::Posix(_, AnyName::Posix(name)) => {
                let queue = MessageQueue::options().writeonly().open(name.as_bytes());
                let queue = queue.map_err(|error| error.to_string())?;
                queue.try_send(&message.data, message.priority).map_err(|error| error.to_string())
            }
            AnyQueue::Posix(..) => unreachable!("its name is one of the kernel's"),
        }
    }
}

impl Told for AnyQueue {
    fn name(&self) -> String {
        match self {
            AnyQueue::Own(queue) => queue.name().to_string(),
            AnyQueue::Posix(_, name) => name.text(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            AnyQueue::Own(queue) => queue.capacity(),
            AnyQueue::Posix(queue, _) => queue.capacity(),
        }
    }
}

/// In the words of our own queue.
fn not_sent(error: kernel::SendError) -> SendError {
    match error {
        kernel::SendError::Full => SendError::Full,
        kernel::SendError::TimedOut => SendError::TimedOut,
        kernel::SendError::TooLong { length, max } => SendError::TooLong { length, max },
        kernel::SendError::Priority(priority) => SendError::Priority(priority),
        kernel::SendError::System(errno) => SendError::System(errno),
        // It was opened for sending.
        _ => SendError::System(0),
    }
}

/// In the words of our own queue.
pub fn not_received(error: kernel::RecvError) -> RecvError {
    match error {
        kernel::RecvError::Empty => RecvError::Empty,
        kernel::RecvError::TimedOut => RecvError::TimedOut,
        kernel::RecvError::System(errno) => RecvError::System(errno),
        // It was opened for receiving, into a buffer that sizes itself.
        _ => RecvError::System(0),
    }
}
