//! The kernel's message queue as users see it: what it is, opening and looking. Creating is in `options`, sending and receiving in
//! `send` and `recv`, notifications in `notify`, flags and conversions in `descriptor`. No unsafe code is here; `sys::mqueue` makes
//! the calls.

mod descriptor;
mod notify;
mod options;
mod recv;
mod send;

pub use options::MessageQueueOptions;

use crate::deadline::Wait;
use crate::name::Name;
use crate::posix::error::MessageQueueError;
use crate::sys::file;
use crate::sys::mqueue as sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

/// What a kernel queue was created with, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageQueueAttributes {
    /// How many messages fit.
    pub capacity: usize,
    /// The largest message, in bytes.
    pub message_size: u64,
    /// How many messages are in the queue.
    pub len: usize,
    /// Whether calls through this descriptor never wait.
    pub nonblocking: bool,
}

/// What else there is to know of a kernel queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageQueueStat {
    /// Its attributes.
    pub attributes: MessageQueueAttributes,
    /// How many bytes the messages have together; `None` through a descriptor that was opened for sending only.
    pub bytes: Option<u64>,
    /// The process that is registered for a notification, by its pid as this process sees it (0 if it does not see it); `None`
    /// if there is none, or through a descriptor that was opened for sending only.
    pub registered: Option<u32>,
    /// The permission bits.
    pub mode: u32,
    /// Whose it is.
    pub uid: u32,
}

/// A message queue of the kernel, shared with programs that call `mq_open`, in whatever language.
///
/// Highest priority first; first in, first out inside a priority. Where all programs are yours, a [`Queue`](crate::Queue) does more and is
/// faster: no limits of the system's, no system call where nobody waits, batches, peeking, an end that wakes everybody, and
/// a message comes back when its receiver dies while it receives. This one is for talking to those who use the kernel's.
///
/// | in C | here |
/// |---|---|
/// | `mq_open` with `O_CREAT` | [`create`](MessageQueue::create), with a size [`options`](MessageQueue::options) |
/// | `mq_open` with `O_CREAT \| O_EXCL` | [`MessageQueueOptions::create_new`] |
/// | `mq_open` | [`open`](MessageQueue::open) |
/// | `mq_unlink`, `mq_close` | [`unlink`](MessageQueue::unlink), dropping it |
/// | `mq_send`, `mq_receive` | [`send`](MessageQueue::send), [`recv`](MessageQueue::recv), [`recv_into`](MessageQueue::recv_into) |
/// | `mq_timedsend`, `mq_timedreceive` | [`send_until`](MessageQueue::send_until), [`recv_until`](MessageQueue::recv_until) |
/// | `mq_getattr`, `mq_setattr` | [`attributes`](MessageQueue::attributes), [`set_nonblocking`](MessageQueue::set_nonblocking) |
/// | `mq_notify` | [`notify`](MessageQueue::notify), [`notify_channel`](MessageQueue::notify_channel), [`cancel_notify`](MessageQueue::cancel_notify) |
///
/// # Waiting
/// The four forms of [`Queue`](crate::Queue), and a fifth that goes by the wall clock, as C programs do. Through a descriptor that is
/// [non-blocking](MessageQueue::set_nonblocking) no form waits; all are `try_` forms. No signal handler cuts a wait short: it
/// runs, and the wait goes on.
///
/// The kernel knows the wall clock only, and a clock that is set back would make a wait for two seconds one of hours. So
/// `_timeout` and `_deadline` forms, which go by the monotonic clock, poll the descriptor and then send or receive without
/// waiting. Their price: they are not in the kernel's line of waiters, which the plain and `_until` forms are. While one of
/// those waits in a receive, every message goes to it first; and a message for which only polling receivers wait sets off a
/// [notification](MessageQueue::notify). A thread that must not be passed uses the plain or the `_until` forms.
///
/// # The descriptor
/// is a file descriptor ([`AsFd`]): `poll`, `epoll` and tokio's `AsyncFd` tell when a message or room is there; tell it to be
/// [non-blocking](MessageQueue::set_nonblocking) first. It is closed on exec unless told otherwise, and goes with a fork: the child shares
/// the description, so the non-blocking flag is one for both.
///
/// # If a process dies
/// The queue, its name and its messages stay until they are unlinked, or the system (or container: the IPC namespace) ends. A
/// message is in the queue whole or not at all. A message that a process has received is gone with the process. Processes that
/// wait go on waiting; nobody wakes them when the name is unlinked either.
///
/// ```
/// use chappe::posix::MessageQueue;
/// # let name = format!("/chappe-doc-mq-{}", std::process::id());
/// # let orders = name.as_str();
/// let queue = MessageQueue::options().capacity(8).message_size(256).create(orders)?;
/// queue.send(b"later", 1)?;
/// queue.send(b"first", 5)?; // in C: mq_send(queue, "first", 5, 5)
/// let message = queue.recv()?;
/// assert_eq!((&message.data[..], message.priority), (&b"first"[..], 5));
/// assert_eq!(queue.recv()?.data, b"later");
/// MessageQueue::unlink(orders)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MessageQueue {
    fd: OwnedFd,
    name: Option<Name>,
    capacity: usize,
    message_size: usize,
}

impl MessageQueue {
    /// How to create or open one otherwise than by default.
    pub fn options() -> MessageQueueOptions {
        MessageQueueOptions::new()
    }

    /// Opens the queue for sending and receiving, or creates it with the system's size (10 messages of 8192 bytes, as a rule) and
    /// mode 0600: [`MessageQueueOptions::create`].
    ///
    /// `/orders` and `orders` are the same name; [`Name`] has the rule. It is a name among the kernel's queues of this IPC
    /// namespace: `CHAPPE_DIR` has nothing to do with it, and a [`Queue`](crate::Queue) of that name is another one.
    ///
    /// # Errors
    /// [`MessageQueueError`].
    #[doc(alias = "mq_open")]
    pub fn create(name: impl AsRef<[u8]>) -> Result<MessageQueue, MessageQueueError> {
        MessageQueueOptions::new().create(name)
    }

    /// Creates the queue with the system's size and mode 0600; that it exists is an error: [`MessageQueueOptions::create_new`].
    ///
    /// # Errors
    /// [`MessageQueueError`]; `Exists` if there is one.
    #[doc(alias = "mq_open")]
    pub fn create_new(name: impl AsRef<[u8]>) -> Result<MessageQueue, MessageQueueError> {
        MessageQueueOptions::new().create_new(name)
    }

    /// Opens an existing queue for sending and receiving: [`MessageQueueOptions::open`].
    ///
    /// # Errors
    /// [`MessageQueueError`]; `NotFound` if there is none.
    ///
    /// ```
    /// use chappe::posix::{MessageQueue, MessageQueueError};
    /// # let name = format!("/chappe-doc-mq-open-{}", std::process::id());
    /// assert!(matches!(MessageQueue::open(&name), Err(MessageQueueError::NotFound { .. })));
    /// ```
    #[doc(alias = "mq_open")]
    pub fn open(name: impl AsRef<[u8]>) -> Result<MessageQueue, MessageQueueError> {
        MessageQueueOptions::new().open(name)
    }

    /// Removes the name, which is free at once. Those who have the queue open go on with it, and nobody is woken; it goes with
    /// the last of them, and what it is charged against RLIMIT_MSGQUEUE, too.
    ///
    /// # Errors
    /// [`MessageQueueError`]; `NotFound` if there is no such queue.
    ///
    /// # If a process dies here
    /// The name is gone or it is not.
    #[doc(alias = "mq_unlink")]
    pub fn unlink(name: impl AsRef<[u8]>) -> Result<(), MessageQueueError> {
        options::unlink(name.as_ref())
    }

    /// Takes over a descriptor of a queue: one that was inherited, passed through a socket, or opened by other code.
    ///
    /// # Errors
    /// [`MessageQueueError::NotAQueue`] if it is another descriptor; it is closed then.
    ///
    /// ```
    /// use chappe::posix::{MessageQueue, MessageQueueError};
    /// let file = tempfile::tempfile()?;
    /// assert!(matches!(MessageQueue::from_fd(file.into()), Err(MessageQueueError::NotAQueue { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_fd(fd: OwnedFd) -> Result<MessageQueue, MessageQueueError> {
        let descriptor = fd.as_raw_fd();
        MessageQueue::new(fd, None).map_err(|source| match source.raw_os_error() {
            Some(libc::EBADF) => MessageQueueError::NotAQueue { descriptor },
            Some(libc::ENOSYS) => MessageQueueError::Unsupported,
            _ => MessageQueueError::System { step: "look at", object: format!("descriptor {descriptor}"), source },
        })
    }

    /// The sizes never change, and so are asked for once.
    fn new(fd: OwnedFd, name: Option<Name>) -> io::Result<MessageQueue> {
        let facts = sys::facts(fd.as_fd())?;
        let [capacity, message_size] = [facts.capacity, facts.message_size].map(size);
        Ok(MessageQueue { fd, name, capacity, message_size })
    }

    /// The name it was opened by; `None` if it came as a descriptor.
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// How many messages fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The largest message, in bytes.
    pub fn message_size(&self) -> u64 {
        self.message_size as u64
    }

    /// What it was created with, and what it holds, at some moment during this call.
    ///
    /// # Errors
    /// The system's, for no reason that is known.
    #[doc(alias = "mq_getattr")]
    pub fn attributes(&self) -> io::Result<MessageQueueAttributes> {
        let facts = sys::facts(self.as_fd())?;
        let [capacity, len] = [facts.capacity, facts.messages].map(size);
        let (message_size, nonblocking) = (facts.message_size, facts.nonblocking);
        Ok(MessageQueueAttributes { capacity, message_size, len, nonblocking })
    }

    /// How many messages are in the queue.
    ///
    /// # Errors
    /// As [`attributes`](MessageQueue::attributes).
    #[allow(clippy::len_without_is_empty, reason = "is_empty is there; both can fail, which the lint does not expect")]
    pub fn len(&self) -> io::Result<usize> {
        Ok(self.attributes()?.len)
    }

    /// Whether no message is in the queue.
    ///
    /// # Errors
    /// As [`attributes`](MessageQueue::attributes).
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Attributes, bytes, who is registered for a notification, mode, owner. Not one moment: each is asked for by itself.
    ///
    /// # Errors
    /// The system's, for no reason that is known.
    pub fn stat(&self) -> io::Result<MessageQueueStat> {
        let attributes = self.attributes()?;
        let file = file::facts(self.as_fd())?;
        let status = match sys::status(self.as_fd()) {
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => None,
            other => Some(other?),
        };
        let (bytes, registered) = (status.map(|status| status.bytes), status.and_then(|status| status.registered));
        Ok(MessageQueueStat { attributes, bytes, registered, mode: file.mode, uid: file.uid })
    }

    /// Waits until the descriptor may be ready; false when the time is over, or if there was none. Bounded by the caller's time:
    /// each turn of its loop asks for what is left of it.
    fn wait_for(&self, event: PollFlags, wait: Wait) -> Result<bool, i32> {
        // As long as poll takes for sure.
        const LONGEST: Duration = Duration::from_secs(3600);
        let Some(left) = wait.left(LONGEST) else { return Ok(false) };
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&self.fd, event)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(error.raw_os_error()),
        }
    }
}

/// The kernel's ceilings fit into any `usize`.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl fmt::Debug for MessageQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = (&self.name, self.fd.as_raw_fd(), self.capacity, self.message_size);
        f.debug_struct("MessageQueue")
            .field("name", fields.0)
            .field("fd", &fields.1)
            .field("capacity", &fields.2)
            .field("message_size", &fields.3)
            .finish()
    }
}
