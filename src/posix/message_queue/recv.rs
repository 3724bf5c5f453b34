//! Receiving from a kernel queue, and throwing away what is in it.

use super::MessageQueue;
use crate::deadline::Wait;
use crate::message::{Message, Received};
use crate::posix::error::RecvError;
use crate::sys::mqueue::{self as sys, Until};
use rustix::event::PollFlags;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime};

impl MessageQueue {
    /// Receives the oldest message of the highest priority into a `Vec` that is as large as it needs to be, waiting while the
    /// queue is empty. Its [`redelivered`](Message::redelivered) is 0: the kernel does not count that.
    ///
    /// # Errors
    /// [`RecvError`], except `TimedOut` and `BufferTooSmall`; `Empty` through a non-blocking descriptor only.
    ///
    /// # Waiting
    /// Woken by whoever sends, in any program; of those who wait the kernel serves the one who waited longest (by scheduling
    /// priority first). Makes room for one who waits in a send.
    ///
    /// # If a process dies
    /// Before it took the message: the message is in its place. Afterwards: it is gone.
    #[doc(alias = "mq_receive")]
    pub fn recv(&self) -> Result<Message, RecvError> {
        self.recv_owned(Wait::Forever)
    }

    /// Receives a message if there is one now.
    ///
    /// # Errors
    /// [`RecvError`]; `Empty` when there is none.
    pub fn try_recv(&self) -> Result<Message, RecvError> {
        self.recv_owned(Wait::No)
    }

    /// Receives a message, waiting at most this long while the queue is empty. The time is by the monotonic clock: a wall clock
    /// that is set meanwhile changes nothing. A timeout that the clock cannot express means for ever.
    ///
    /// # Errors
    /// [`RecvError`]; `TimedOut` when it stayed empty. With a message there, even an expired timeout receives it.
    ///
    /// ```
    /// use chappe::posix::{MessageQueue, RecvError};
    /// use std::time::Duration;
    /// # let name = format!("/chappe-doc-mq-timeout-{}", std::process::id());
    /// let queue = MessageQueue::options().capacity(1).message_size(8).create_new(&name)?;
    /// assert_eq!(queue.recv_timeout(Duration::from_millis(10)), Err(RecvError::TimedOut));
    /// # MessageQueue::unlink(&name)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "mq_timedreceive")]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvError> {
        self.recv_owned(Wait::timeout(timeout))
    }

    /// Receives a message, waiting at most until `deadline` while the queue is empty.
    ///
    /// # Errors
    /// As [`recv_timeout`](MessageQueue::recv_timeout).
    #[doc(alias = "mq_timedreceive")]
    pub fn recv_deadline(&self, deadline: Instant) -> Result<Message, RecvError> {
        self.recv_owned(Wait::Until(deadline))
    }

    /// Receives a message, waiting at most until the wall clock shows `time`: `mq_timedreceive`. A clock that is set meanwhile
    /// makes the wait shorter or longer; that is what this form is for.
    ///
    /// # Errors
    /// As [`recv_timeout`](MessageQueue::recv_timeout).
    #[doc(alias = "mq_timedreceive")]
    pub fn recv_until(&self, time: SystemTime) -> Result<Message, RecvError> {
        self.recv_vec(Until::Wall(time))
    }

    /// Receives into the caller's buffer, waiting while the queue is empty. It allocates nothing.
    ///
    /// The kernel wants a buffer for the largest message of the queue ([`message_size`](MessageQueue::message_size)), however
    /// short the next one is. (A [`Queue`](crate::Queue) wants one for this message only.)
    ///
    /// # Errors
    /// [`RecvError`]; `BufferTooSmall` when the buffer is smaller than that, and then nothing was taken.
    ///
    /// ```
    /// use chappe::posix::{MessageQueue, RecvError};
    /// # let name = format!("/chappe-doc-mq-into-{}", std::process::id());
    /// let queue = MessageQueue::options().capacity(1).message_size(8).create_new(&name)?;
    /// queue.send(b"four", 3)?;
    /// assert_eq!(queue.recv_into(&mut [0; 7]), Err(RecvError::BufferTooSmall { needed: 8, room: 7 }));
    /// let mut buffer = [0; 8];
    /// let received = queue.recv_into(&mut buffer)?;
    /// assert_eq!((&buffer[..received.len], received.priority), (&b"four"[..], 3));
    /// # MessageQueue::unlink(&name)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "mq_receive")]
    pub fn recv_into(&self, buffer: &mut [u8]) -> Result<Received, RecvError> {
        self.recv_slice(buffer, Wait::Forever)
    }

    /// As [`recv_into`](MessageQueue::recv_into), without waiting.
    ///
    /// # Errors
    /// [`RecvError`]; `Empty` when there is no message.
    pub fn try_recv_into(&self, buffer: &mut [u8]) -> Result<Received, RecvError> {
        self.recv_slice(buffer, Wait::No)
    }

    /// As [`recv_into`](MessageQueue::recv_into), waiting at most this long.
    ///
    /// # Errors
    /// [`RecvError`]; `TimedOut` when the queue stayed empty.
    pub fn recv_into_timeout(&self, buffer: &mut [u8], timeout: Duration) -> Result<Received, RecvError> {
        self.recv_slice(buffer, Wait::timeout(timeout))
    }

    /// As [`recv_into`](MessageQueue::recv_into), waiting at most until `deadline`.
    ///
    /// # Errors
    /// [`RecvError`]; `TimedOut` when the queue stayed empty.
    pub fn recv_into_deadline(&self, buffer: &mut [u8], deadline: Instant) -> Result<Received, RecvError> {
        self.recv_slice(buffer, Wait::Until(deadline))
    }

    fn recv_owned(&self, wait: Wait) -> Result<Message, RecvError> {
        self.recv_within(wait, |until| self.recv_vec(until))
    }

    fn recv_slice(&self, buffer: &mut [u8], wait: Wait) -> Result<Received, RecvError> {
        let room = buffer.len() as u64;
        self.recv_within(wait, |until| {
            let received =
                sys::receive_slice(self.as_fd(), buffer, until).map_err(|errno| self.not_received(errno, room));
            received.map(|(len, priority)| Received { len, priority, redelivered: 0 })
        })
    }

    /// One attempt, into a new vector that gives back what it did not need.
    fn recv_vec(&self, until: Until) -> Result<Message, RecvError> {
        let mut data = Vec::new();
        let received = sys::receive_vec(self.as_fd(), &mut data, self.message_size, until);
        let priority = received.map_err(|errno| self.not_received(errno, self.message_size()))?;
        data.shrink_to_fit();
        Ok(Message { data, priority, redelivered: 0 })
    }

    fn recv_within<T>(
        &self,
        wait: Wait,
        mut attempt: impl FnMut(Until) -> Result<T, RecvError>,
    ) -> Result<T, RecvError> {
        if wait == Wait::Forever {
            return attempt(Until::End);
        }
        loop {
            match attempt(Until::Over) {
                Err(RecvError::TimedOut) if wait == Wait::No => return Err(RecvError::Empty),
                Err(RecvError::TimedOut) if self.wait_for(PollFlags::IN, wait).map_err(RecvError::System)? => {}
                other => return other,
            }
        }
    }

    fn not_received(&self, errno: i32, room: u64) -> RecvError {
        match errno {
            libc::EAGAIN => RecvError::Empty,
            libc::ETIMEDOUT => RecvError::TimedOut,
            libc::EMSGSIZE => RecvError::BufferTooSmall { needed: self.message_size(), room },
            libc::EBADF => RecvError::WriteOnly,
            errno => RecvError::System(errno),
        }
    }

    /// Takes out as many messages as are in the queue when it begins, if others do not take them first, and throws them away. Returns how many it
    /// took. Each is received, one after the other, so a message that comes meanwhile may go in place of an older one.
    ///
    /// # Errors
    /// [`RecvError`], except `Empty`, `TimedOut` and `BufferTooSmall`.
    ///
    /// # If a process dies here
    /// The messages it had not come to are there.
    pub fn purge(&self) -> Result<usize, RecvError> {
        let there = self.len().map_err(|error| RecvError::System(error.raw_os_error().unwrap_or(0)))?;
        let mut buffer = vec![0; self.message_size];
        for taken in 0..there {
            match self.try_recv_into(&mut buffer) {
                Ok(_) => {}
                Err(RecvError::Empty) => return Ok(taken),
                Err(error) => return Err(error),
            }
        }
        Ok(there)
    }
}
