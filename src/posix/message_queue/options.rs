//! How a kernel queue is created or opened, and its name removed.

use super::MessageQueue;
use crate::name::Name;
use crate::posix::error::MessageQueueError;
use crate::posix::refusal::Attempt;
use crate::sys::limits;
use crate::sys::mqueue::{self as sys, Access, Size};
use rustix::fs::Mode;
use std::io;
use std::os::fd::OwnedFd;

/// How often creating and opening are tried when others create and unlink the same name meanwhile.
const ROUNDS: usize = 1000;

/// How to create or open a kernel queue; made by [`MessageQueue::options`], in the manner of `std::fs::OpenOptions`.
///
/// Capacity and message size are for creating: one that exists keeps what it has, as with `mq_open`;
/// [`capacity`](MessageQueue::capacity) and [`message_size`](MessageQueue::message_size) say what that is.
///
/// ```
/// use chappe::posix::{MessageQueue, MessageQueueError};
/// # let name = format!("/chappe-doc-mq-options-{}", std::process::id());
/// let mut options = MessageQueue::options();
/// options.capacity(4).message_size(64).mode(0o660); // our group may use it, whatever the umask of this process is
/// let queue = options.create_new(&name)?;
/// assert_eq!((queue.capacity(), queue.message_size()), (4, 64));
/// assert!(matches!(options.create_new(&name), Err(MessageQueueError::Exists { .. })));
///
/// let receiver = MessageQueue::options().readonly().nonblocking(true).open(&name)?;
/// assert!(receiver.recv().is_err()); // it is empty, and this descriptor does not wait
/// # MessageQueue::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MessageQueueOptions {
    access: Access,
    capacity: Option<u32>,
    message_size: Option<u64>,
    mode: u32,
    umask: bool,
    close_on_exec: bool,
}

impl Default for MessageQueueOptions {
    fn default() -> Self {
        MessageQueueOptions {
            access: Access { receive: true, send: true, nonblocking: false },
            capacity: None,
            message_size: None,
            mode: 0o600,
            umask: false,
            close_on_exec: true,
        }
    }
}

impl MessageQueueOptions {
    /// The defaults: for sending and receiving, blocking, closed on exec; the size that the system gives (`msg_default` and
    /// `msgsize_default`: 10 messages of 8192 bytes), mode 0600, and the umask takes nothing away.
    pub fn new() -> MessageQueueOptions {
        MessageQueueOptions::default()
    }

    /// For receiving only: read permission is enough.
    pub fn readonly(&mut self) -> &mut MessageQueueOptions {
        (self.access.receive, self.access.send) = (true, false);
        self
    }

    /// For sending only: write permission is enough.
    pub fn writeonly(&mut self) -> &mut MessageQueueOptions {
        (self.access.receive, self.access.send) = (false, true);
        self
    }

    /// For both, as is the default.
    pub fn readwrite(&mut self) -> &mut MessageQueueOptions {
        (self.access.receive, self.access.send) = (true, true);
        self
    }

    /// Whether no call on it ever waits; see [`MessageQueue::set_nonblocking`]. Off by default.
    #[doc(alias = "O_NONBLOCK")]
    pub fn nonblocking(&mut self, nonblocking: bool) -> &mut MessageQueueOptions {
        self.access.nonblocking = nonblocking;
        self
    }

    /// How many messages fit into a queue that is created: 1 to `msg_max`, which is 10 unless somebody raised it
    /// (`chappe limits`); with CAP_SYS_RESOURCE up to 65536.
    #[doc(alias = "mq_maxmsg")]
    pub fn capacity(&mut self, messages: u32) -> &mut MessageQueueOptions {
        self.capacity = Some(messages);
        self
    }

    /// The largest message of a queue that is created, in bytes: 1 to `msgsize_max`, which is 8192 unless somebody raised it
    /// (`chappe limits`); with CAP_SYS_RESOURCE up to 16 MiB.
    #[doc(alias = "mq_msgsize")]
    #[doc(alias = "max_msg_len")]
    pub fn message_size(&mut self, bytes: u64) -> &mut MessageQueueOptions {
        self.message_size = Some(bytes);
        self
    }

    /// The permission bits of a queue that is created, exactly: the process's umask takes nothing away unless
    /// [`umask`](MessageQueueOptions::umask) says so.
    pub fn mode(&mut self, bits: u32) -> &mut MessageQueueOptions {
        self.mode = bits & 0o777;
        self
    }

    /// Whether the umask is taken off [`mode`](MessageQueueOptions::mode), as `mq_open` does. Off by default.
    pub fn umask(&mut self, respect: bool) -> &mut MessageQueueOptions {
        self.umask = respect;
        self
    }

    /// Whether the descriptor is closed when this process executes another program; see
    /// [`MessageQueue::set_close_on_exec`]. On by default.
    #[doc(alias = "cloexec")]
    pub fn close_on_exec(&mut self, close: bool) -> &mut MessageQueueOptions {
        self.close_on_exec = close;
        self
    }

    /// Opens the queue, or creates it if there is none. Atomic: of several that race, one creates. One that exists keeps its
    /// size, its mode and its messages.
    ///
    /// # Errors
    /// [`MessageQueueError`].
    ///
    /// # If a process dies here
    /// The queue is there or it is not. If it is, and the umask of that process was stricter than the mode that was asked for,
    /// the mode may still be what the umask left; its owner can unlink it.
    pub fn create(&self, name: impl AsRef<[u8]>) -> Result<MessageQueue, MessageQueueError> {
        let name = Name::new(name)?;
        for _ in 0..ROUNDS {
            match self.open_existing(&name) {
                Err(MessageQueueError::NotFound { .. }) => {}
                other => return other,
            }
            match self.create_exclusively(&name) {
                Err(MessageQueueError::Exists { .. }) => {}
                other => return other,
            }
        }
        let (step, source) = ("settle on", io::Error::other("others create and unlink it all the time"));
        Err(MessageQueueError::System { step, object: format!("POSIX queue {name}"), source })
    }

    /// Creates the queue; that it exists is an error.
    ///
    /// # Errors
    /// [`MessageQueueError`]; `Exists` if there is one.
    ///
    /// # If a process dies here
    /// As for [`create`](MessageQueueOptions::create).
    pub fn create_new(&self, name: impl AsRef<[u8]>) -> Result<MessageQueue, MessageQueueError> {
        self.create_exclusively(&Name::new(name)?)
    }

    /// Opens an existing queue.
    ///
    /// # Errors
    /// [`MessageQueueError`]; `NotFound` if there is none, `Permission` if its mode does not allow what was asked for
    /// ([`readonly`](MessageQueueOptions::readonly) and [`writeonly`](MessageQueueOptions::writeonly) need less).
    pub fn open(&self, name: impl AsRef<[u8]>) -> Result<MessageQueue, MessageQueueError> {
        self.open_existing(&Name::new(name)?)
    }

    fn open_existing(&self, name: &Name) -> Result<MessageQueue, MessageQueueError> {
        let way_out = "its owner can grant it (mode); to receive only, or to send only, takes less permission";
        let attempt = Attempt { step: "open", name, way_out, size: None };
        sys::open(name, self.access).and_then(|fd| self.finish(fd, name)).map_err(|error| attempt.refused(error))
    }

    fn create_exclusively(&self, name: &Name) -> Result<MessageQueue, MessageQueueError> {
        let made = self.make(name);
        made.map_err(|error| {
            let size = self.size().unwrap_or_else(system_size);
            Attempt { step: "create", name, way_out: "a sandbox may forbid it", size: Some(size) }.refused(error)
        })
    }

    fn make(&self, name: &Name) -> io::Result<MessageQueue> {
        let fd = sys::create_new(name, self.access, self.mode, self.size())?;
        if !self.umask {
            // It is ours and new. Until here it may have a stricter mode, never a wider one.
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(self.mode))?;
        }
        self.finish(fd, name)
    }

    fn finish(&self, fd: OwnedFd, name: &Name) -> io::Result<MessageQueue> {
        let queue = MessageQueue::new(fd, Some(name.clone()))?;
        if !self.close_on_exec {
            queue.set_close_on_exec(false)?;
        }
        Ok(queue)
    }

    /// The size to ask for; `None` leaves it to the kernel, which wants to be told both or neither.
    fn size(&self) -> Option<Size> {
        if self.capacity.is_none() && self.message_size.is_none() {
            return None;
        }
        let system = system_size();
        let capacity = self.capacity.map_or(system.capacity, u64::from);
        Some(Size { capacity, message_size: self.message_size.unwrap_or(system.message_size) })
    }
}

/// What the kernel takes when it is told nothing.
fn system_size() -> Size {
    let smaller = |default, max, otherwise| {
        let read = |setting| limits::read(setting).unwrap_or(otherwise);
        read(default).min(read(max))
    };
    let capacity = smaller("msg_default", "msg_max", 10);
    Size { capacity, message_size: smaller("msgsize_default", "msgsize_max", 8192) }
}

/// Removes a name.
pub(super) fn unlink(name: &[u8]) -> Result<(), MessageQueueError> {
    let name = Name::new(name)?;
    let attempt = Attempt { step: "unlink", name: &name, way_out: "its owner may", size: None };
    sys::unlink(&name).map_err(|error| attempt.refused(error))
}
