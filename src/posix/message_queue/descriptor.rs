//! A kernel queue as a descriptor: its flags, clones, and the conversions of the standard library.

use super::MessageQueue;
use crate::posix::error::MessageQueueError;
use crate::sys::mqueue as sys;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

impl MessageQueue {
    /// Whether calls through this descriptor never wait, also the forms that otherwise do: they give `Full` and `Empty` at once.
    /// The flag belongs to the open description: clones, and fork children, share it; who opened the queue by name does not.
    ///
    /// # Errors
    /// The system's, for no reason that is known.
    ///
    /// ```
    /// use chappe::posix::{MessageQueue, RecvError};
    /// # let name = format!("/chappe-doc-mq-nonblocking-{}", std::process::id());
    /// let queue = MessageQueue::options().capacity(1).message_size(8).create_new(&name)?;
    /// queue.set_nonblocking(true)?;
    /// assert_eq!(queue.recv(), Err(RecvError::Empty));
    /// # MessageQueue::unlink(&name)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "mq_setattr")]
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        sys::set_nonblocking(self.as_fd(), nonblocking)
    }

    /// Whether calls through this descriptor never wait.
    ///
    /// # Errors
    /// As [`attributes`](MessageQueue::attributes).
    pub fn is_nonblocking(&self) -> io::Result<bool> {
        Ok(self.attributes()?.nonblocking)
    }

    /// Whether the descriptor is closed when this process executes another program. It is, unless this says otherwise, as with
    /// every descriptor of the kernel's queues. A program that inherits it can use it under the same number.
    ///
    /// # Errors
    /// The system's, for no reason that is known.
    #[doc(alias = "FD_CLOEXEC")]
    pub fn set_close_on_exec(&self, close: bool) -> io::Result<()> {
        let flags = fcntl_getfd(&self.fd)?;
        Ok(fcntl_setfd(&self.fd, if close { flags | FdFlags::CLOEXEC } else { flags - FdFlags::CLOEXEC })?)
    }

    /// Whether the descriptor is closed when this process executes another program.
    ///
    /// # Errors
    /// The system's, for no reason that is known.
    pub fn is_close_on_exec(&self) -> io::Result<bool> {
        Ok(fcntl_getfd(&self.fd)?.contains(FdFlags::CLOEXEC))
    }

    /// Another handle on the same open description: they share the non-blocking flag. It is closed on exec. Dropping it ends a
    /// [notification](MessageQueue::notify) of this process, as dropping any handle on the queue does.
    ///
    /// # Errors
    /// The system's, when there are no more descriptors to be had.
    pub fn try_clone(&self) -> io::Result<MessageQueue> {
        let (fd, name) = (self.fd.try_clone()?, self.name.clone());
        Ok(MessageQueue { fd, name, capacity: self.capacity, message_size: self.message_size })
    }
}

impl AsFd for MessageQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for MessageQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl IntoRawFd for MessageQueue {
    fn into_raw_fd(self) -> RawFd {
        self.fd.into_raw_fd()
    }
}

impl From<MessageQueue> for OwnedFd {
    fn from(queue: MessageQueue) -> OwnedFd {
        queue.fd
    }
}

/// [`MessageQueue::from_fd`]: not every descriptor is a queue's, so this can fail.
impl TryFrom<OwnedFd> for MessageQueue {
    type Error = MessageQueueError;

    fn try_from(fd: OwnedFd) -> Result<MessageQueue, MessageQueueError> {
        MessageQueue::from_fd(fd)
    }
}
