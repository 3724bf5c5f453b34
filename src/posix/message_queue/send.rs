//! Sending to a kernel queue.

use super::MessageQueue;
use crate::deadline::Wait;
use crate::message::PRIORITY_MAX;
use crate::posix::error::SendError;
use crate::sys::mqueue::{self as sys, Until};
use rustix::event::PollFlags;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime};

impl MessageQueue {
    /// Sends a message, waiting while the queue is full.
    ///
    /// # Errors
    /// [`SendError`], except `TimedOut`; `Full` through a non-blocking descriptor only.
    ///
    /// # Waiting
    /// Woken by whoever receives, in any program; the kernel puts the message of the one who waited longest (by scheduling
    /// priority first) into the queue. Wakes one who waits in a receive.
    ///
    /// # If a process dies
    /// The message is in the queue or it is not.
    #[doc(alias = "mq_send")]
    pub fn send(&self, message: &[u8], priority: u16) -> Result<(), SendError> {
        self.send_once(message, priority, Until::End)
    }

    /// Sends a message if there is room now.
    ///
    /// # Errors
    /// [`SendError`]; `Full` when there is no room.
    ///
    /// ```
    /// use chappe::posix::{MessageQueue, SendError};
    /// # let name = format!("/chappe-doc-mq-try-{}", std::process::id());
    /// let queue = MessageQueue::options().capacity(1).message_size(8).create_new(&name)?;
    /// assert_eq!(queue.try_send(b"one", 0), Ok(()));
    /// assert_eq!(queue.try_send(b"two", 0), Err(SendError::Full));
    /// assert_eq!(queue.try_send(b"too long by far", 0), Err(SendError::TooLong { length: 15, max: 8 }));
    /// # MessageQueue::unlink(&name)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_send(&self, message: &[u8], priority: u16) -> Result<(), SendError> {
        match self.send_once(message, priority, Until::Over) {
            Err(SendError::TimedOut) => Err(SendError::Full),
            other => other,
        }
    }

    /// Sends a message, waiting at most this long while the queue is full. The time is by the monotonic clock: a wall clock that
    /// is set meanwhile changes nothing. A timeout that the clock cannot express means for ever.
    ///
    /// # Errors
    /// [`SendError`]; `TimedOut` when it stayed full. With room there, even an expired timeout sends.
    #[doc(alias = "mq_timedsend")]
    pub fn send_timeout(&self, message: &[u8], priority: u16, timeout: Duration) -> Result<(), SendError> {
        self.send_within(message, priority, Wait::timeout(timeout))
    }

    /// Sends a message, waiting at most until `deadline` while the queue is full.
    ///
    /// # Errors
    /// As [`send_timeout`](MessageQueue::send_timeout).
    #[doc(alias = "mq_timedsend")]
    pub fn send_deadline(&self, message: &[u8], priority: u16, deadline: Instant) -> Result<(), SendError> {
        self.send_within(message, priority, Wait::Until(deadline))
    }

    /// Sends a message, waiting at most until the wall clock shows `time`: `mq_timedsend`. A clock that is set meanwhile makes the
    /// wait shorter or longer; that is what this form is for.
    ///
    /// # Errors
    /// As [`send_timeout`](MessageQueue::send_timeout).
    #[doc(alias = "mq_timedsend")]
    pub fn send_until(&self, message: &[u8], priority: u16, time: SystemTime) -> Result<(), SendError> {
        self.send_once(message, priority, Until::Wall(time))
    }

    fn send_within(&self, message: &[u8], priority: u16, wait: Wait) -> Result<(), SendError> {
        if wait == Wait::Forever {
            return self.send(message, priority);
        }
        loop {
            match self.send_once(message, priority, Until::Over) {
                Err(SendError::TimedOut) if self.wait_for(PollFlags::OUT, wait).map_err(SendError::System)? => {}
                other => return other,
            }
        }
    }

    fn send_once(&self, message: &[u8], priority: u16, until: Until) -> Result<(), SendError> {
        if priority > PRIORITY_MAX {
            return Err(SendError::Priority(priority));
        }
        sys::send(self.as_fd(), message, priority, until).map_err(|errno| match errno {
            libc::EAGAIN => SendError::Full,
            libc::ETIMEDOUT => SendError::TimedOut,
            libc::EMSGSIZE => SendError::TooLong { length: message.len() as u64, max: self.message_size() },
            libc::EBADF => SendError::ReadOnly,
            errno => SendError::System(errno),
        })
    }
}
