//! The queue as users see it: options, the four forms of send and receive, batches, looking, closing. No protocol and no
//! unsafe code is here; [`shm::queue`](crate::shm) does the work.

use crate::deadline::Wait;
use crate::error::{AccessError, NotifyError, OpenError, RecvError, SendError, SendManyError};
use crate::message::{Access, Batch, Message, Received, Sender};
use crate::name::{Kind, Name, default_dir};
use crate::shm::queue::{Core, Sink, Wanted};
use crate::shm::setup::{self, Lifetime, Setup};
use crate::stat::{Attributes, QueueStat};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How to create or open a queue; made by [`Queue::options`], in the manner of `std::fs::OpenOptions`.
///
/// An attribute that was set is compared when an existing queue is opened: another value there is
/// [`OpenError::Mismatch`], which shows both. An attribute that was not set is whatever the queue has (and the default
/// where one is created).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use chappe::{OpenError, Queue};
/// let mut options = Queue::options();
/// options.dir(dir.path()).capacity(16).message_size(256);
/// let queue = options.create_new("/orders")?;
/// assert_eq!(queue.capacity(), 16);
/// assert!(matches!(options.create_new("/orders"), Err(OpenError::Exists { .. })));
/// assert!(matches!(options.capacity(17).open("/orders"), Err(OpenError::Mismatch { .. })));
/// assert_eq!(options.any_existing(true).open("/orders")?.capacity(), 16);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct QueueOptions {
    capacity: Option<u32>,
    message_size: Option<u64>,
    mode: u32,
    umask: bool,
    any_existing: bool,
    ephemeral: bool,
    doorbell: bool,
    interruptible: bool,
    dir: Option<PathBuf>,
}

impl Default for QueueOptions {
    fn default() -> Self {
        QueueOptions {
            capacity: None,
            message_size: None,
            mode: 0o600,
            umask: false,
            any_existing: false,
            ephemeral: false,
            doorbell: false,
            interruptible: false,
            dir: None,
        }
    }
}

impl QueueOptions {
    /// The defaults: capacity 1024, message size 64 KiB, mode 0600, kept until unlinked, in [`default_dir`].
    pub fn new() -> QueueOptions {
        QueueOptions::default()
    }

    /// How many messages fit: 1 to [`CAPACITY_MAX`](crate::CAPACITY_MAX).
    pub fn capacity(&mut self, messages: u32) -> &mut QueueOptions {
        self.capacity = Some(messages);
        self
    }

    /// The largest message, in bytes: 1 to [`MESSAGE_SIZE_MAX`](crate::MESSAGE_SIZE_MAX). It may be gigabytes: memory follows what is in the
    /// queue, not capacity × message size.
    pub fn message_size(&mut self, bytes: u64) -> &mut QueueOptions {
        self.message_size = Some(bytes);
        self
    }

    /// The permission bits of a queue that is created, exactly: the process's umask takes nothing away unless
    /// [`umask`](QueueOptions::umask) says so. Sending and receiving both need read and write permission.
    pub fn mode(&mut self, bits: u32) -> &mut QueueOptions {
        self.mode = bits & 0o777;
        self
    }

    /// Whether the umask is taken off [`mode`](QueueOptions::mode), as `mq_open` and `open` do. Off by default.
    pub fn umask(&mut self, respect: bool) -> &mut QueueOptions {
        self.umask = respect;
        self
    }

    /// Take an existing queue whatever its attributes are; those set here are for creating only.
    pub fn any_existing(&mut self, yes: bool) -> &mut QueueOptions {
        self.any_existing = yes;
        self
    }

    /// A queue that is created goes with its creator: when the creator drops the queue, exits or is killed, the name goes
    /// and every other participant gets `Unlinked` once the queue is empty. After a kill, blocked participants learn of
    /// it within half a second and everybody else at the next call that has to wait; the name goes when the first of them,
    /// or anybody who opens or lists it, learns.
    pub fn ephemeral(&mut self, yes: bool) -> &mut QueueOptions {
        self.ephemeral = yes;
        self
    }

    /// The directory to look in, instead of [`default_dir`]. It may be on a disk; then the queue's content survives a
    /// reboot that wrote it out, but nothing is promised about a power cut.
    pub fn dir(&mut self, path: impl Into<PathBuf>) -> &mut QueueOptions {
        self.dir = Some(path.into());
        self
    }

    /// A queue that is created gets its [doorbell](Queue::doorbell) at once, and [`mode`](QueueOptions::mode) is what `mq_open`
    /// means by it: read permission is for receiving, write permission for sending, and both are looked at when a doorbell
    /// is given out. (A receiver writes to the queue's memory, too: so the file is given to everybody for both who may do
    /// either. What protects a queue from its users is that of all queues: see SECURITY.md.)
    pub fn doorbell(&mut self, yes: bool) -> &mut QueueOptions {
        self.doorbell = yes;
        self
    }

    /// Whether a waiting call ends with `Interrupted` when a signal handler has run that was installed without SA_RESTART, or
    /// when an [`Interrupter`](crate::Interrupter) says so. Off by default: then nothing interrupts. Before Linux 5.16 any
    /// handler interrupts. A handler that runs in the first microseconds of a call, while it does not sleep yet, counts as one
    /// that ran before it.
    pub fn interruptible(&mut self, yes: bool) -> &mut QueueOptions {
        self.interruptible = yes;
        self
    }

    /// Opens the queue, or creates it if there is none. Atomic: of several that race, one creates.
    ///
    /// # Errors
    /// [`OpenError`]; `Mismatch` if it exists with other attributes than those set.
    ///
    /// # If a process dies here
    /// Nothing is left behind: a name appears only when the queue behind it is complete.
    pub fn create(&self, name: impl AsRef<[u8]>) -> Result<Queue, OpenError> {
        self.set_up(name.as_ref(), Lifetime::OpenOrCreate)
    }

    /// Creates the queue; that it exists is an error.
    ///
    /// # Errors
    /// [`OpenError`]; `Exists` if there is one.
    ///
    /// # If a process dies here
    /// As for [`create`](QueueOptions::create).
    pub fn create_new(&self, name: impl AsRef<[u8]>) -> Result<Queue, OpenError> {
        self.set_up(name.as_ref(), Lifetime::CreateNew)
    }

    /// Opens an existing queue.
    ///
    /// # Errors
    /// [`OpenError`]; `NotFound` if there is none.
    ///
    /// # If a process dies here
    /// Its place in the attach table is taken back by whoever needs one.
    pub fn open(&self, name: impl AsRef<[u8]>) -> Result<Queue, OpenError> {
        self.set_up(name.as_ref(), Lifetime::Open)
    }

    /// Removes the name, as [`Queue::unlink`] does, from the directory of these options.
    ///
    /// # Errors
    /// [`OpenError`]; `NotFound` if there is no such queue.
    pub fn unlink(&self, name: impl AsRef<[u8]>) -> Result<(), OpenError> {
        setup::unlink(Kind::Queue, &self.directory(), &Name::new(name)?, true)
    }

    /// Removes the name and nothing else: those who have the queue open go on with it, as POSIX has it. Its memory goes with
    /// the last of them.
    ///
    /// # Errors
    /// [`OpenError`]; `NotFound` if there is no such queue. What is no queue is removed all the same, as by
    /// [`unlink`](QueueOptions::unlink).
    ///
    /// # If a process dies here
    /// The name is gone or it is not; its [doorbell](Queue::doorbell) may be left as an empty file.
    #[doc(alias = "mq_unlink")]
    pub fn remove_name(&self, name: impl AsRef<[u8]>) -> Result<(), OpenError> {
        setup::unlink(Kind::Queue, &self.directory(), &Name::new(name)?, false)
    }

    /// Opens the queue that a [doorbell](Queue::doorbell) belongs to: one that came over a socket, say. The queue must have a
    /// name still, and this process must be allowed to open it by that.
    ///
    /// # Errors
    /// [`OpenError`]; `NotAnObject` if the descriptor is no doorbell, or that of a queue without a name.
    ///
    /// # If a process dies here
    /// As for [`open`](QueueOptions::open).
    pub fn open_by_doorbell(&self, doorbell: impl AsFd) -> Result<Queue, OpenError> {
        let core = setup::by_doorbell(doorbell.as_fd(), &self.setup(None, Lifetime::Open), &self.wanted())?;
        Ok(self.finish(core))
    }

    fn directory(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(default_dir)
    }

    fn set_up(&self, name: &[u8], lifetime: Lifetime) -> Result<Queue, OpenError> {
        let setup = self.setup(Some(Name::new(name)?), lifetime);
        Ok(self.finish(setup::set_up(&setup, &self.wanted())?))
    }

    fn wanted(&self) -> Wanted {
        Wanted { capacity: self.capacity, message_size: self.message_size }
    }

    fn finish(&self, mut core: Core) -> Queue {
        if self.interruptible {
            core.let_be_interrupted();
        }
        Queue { core: Arc::new(core) }
    }

    fn setup(&self, name: Option<Name>, lifetime: Lifetime) -> Setup {
        Setup {
            name,
            dir: self.directory(),
            lifetime,
            compare: !self.any_existing,
            mode: self.mode,
            umask: self.umask,
            ephemeral: self.ephemeral,
            strict: false,
            doorbell: self.doorbell,
        }
    }
}

/// A prioritised message queue between processes, in shared memory.
///
/// Highest priority first; first in, first out inside a priority, also with many senders and many receivers. One handle
/// both sends and receives, from any number of threads. Every process (and every handle) that opens the queue is a
/// *participant*; a fork child is one of its own and takes its place at its first call.
///
/// Dropping the handle leaves the queue as it is, with its messages: it exists until [`unlink`](Queue::unlink).
///
/// # Waiting
/// `try_` forms do not wait; plain forms wait as long as it takes; `_timeout` and `_deadline` forms wait that long, by the
/// monotonic clock. A signal handler that runs meanwhile interrupts nothing. A waiting call spins for some microseconds
/// (never on one CPU), then sleeps in the kernel and is woken by the sender or receiver it waits for; it looks after the
/// dead twice a second.
///
/// # If a process dies
/// Any process may be SIGKILLed at any instruction. A message is sent whole or not at all; one whose `send` returned is
/// received exactly once by receivers that live. `recv` commits when it hands the message's slot back, just before it
/// returns: one that dies before that point leaves the message to another receiver, at its old place. `docs/recovery.md`
/// has every step.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use chappe::Queue;
/// let queue = Queue::options().dir(dir.path()).create("/orders")?;
/// queue.send(b"later", 1)?;
/// queue.send(b"first", 5)?;
/// assert_eq!(queue.recv()?.data, b"first");
/// assert_eq!(queue.recv()?.data, b"later");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Queue {
    core: Arc<Core>,
}

impl Queue {
    /// How to create or open one with other attributes than the defaults.
    pub fn options() -> QueueOptions {
        QueueOptions::new()
    }

    /// Opens the queue, or creates it with the default attributes: [`QueueOptions::create`].
    ///
    /// # Errors
    /// [`OpenError`].
    #[doc(alias = "mq_open")]
    pub fn create(name: impl AsRef<[u8]>) -> Result<Queue, OpenError> {
        QueueOptions::new().create(name)
    }

    /// Opens an existing queue, whatever its attributes: [`QueueOptions::open`].
    ///
    /// # Errors
    /// [`OpenError`]; `NotFound` if there is none.
    #[doc(alias = "mq_open")]
    pub fn open(name: impl AsRef<[u8]>) -> Result<Queue, OpenError> {
        QueueOptions::new().open(name)
    }

    /// Removes the name, and ends the queue for those who have it open.
    ///
    /// The name is free at once. Senders get [`SendError::Unlinked`]; receivers get what is in the queue, then
    /// [`RecvError::Unlinked`]. Everybody who is blocked is woken. The memory goes with the last participant.
    ///
    /// # Errors
    /// [`OpenError`]; `NotFound` if there is no such queue; `System` if this process has no descriptor or no memory left to tell
    /// those who have it open: then the name stays. A file of that name that is no queue of this library (truncated, damaged, of
    /// another version), or another queue's second name (a hard link), is removed all the same, and nothing ends.
    ///
    /// # If a process dies here
    /// The name is gone or it is not; if it is gone and nobody was woken, blocked participants notice within half a second.
    #[doc(alias = "mq_unlink")]
    pub fn unlink(name: impl AsRef<[u8]>) -> Result<(), OpenError> {
        QueueOptions::new().unlink(name)
    }

    /// The name it was opened by.
    pub fn name(&self) -> &Name {
        self.core.name()
    }

    /// What it was created with.
    pub fn attributes(&self) -> Attributes {
        self.core.attributes()
    }

    /// How many messages fit.
    pub fn capacity(&self) -> usize {
        self.attributes().capacity as usize
    }

    /// The largest message, in bytes.
    pub fn message_size(&self) -> u64 {
        self.attributes().message_size
    }

    /// Sends a message, waiting while the queue is full.
    ///
    /// # Errors
    /// [`SendError`], except `Full`, `TimedOut` and `Busy`.
    ///
    /// # Waiting
    /// Woken by a receiver that makes room, and by close and unlink. Wakes a sleeping receiver.
    ///
    /// # If a process dies
    /// The sender, before the one atomic store that commits: nothing was sent, and its slot is taken back by whoever
    /// needs it. After it: the message is there, whole. The receiver that would have made room: its message goes back to
    /// its place.
    ///
    /// # Memory ordering
    /// All that the sender did before is visible to the receiver of this message.
    #[doc(alias = "mq_send")]
    pub fn send(&self, message: &[u8], priority: u16) -> Result<(), SendError> {
        self.core.send(message, priority, Wait::Forever)
    }

    /// Sends a message if there is room now.
    ///
    /// # Errors
    /// [`SendError`]; `Full` when there is no room.
    pub fn try_send(&self, message: &[u8], priority: u16) -> Result<(), SendError> {
        self.core.send(message, priority, Wait::No)
    }

    /// Sends a message, waiting at most this long while the queue is full.
    ///
    /// # Errors
    /// [`SendError`]; `TimedOut` when it stayed full. With room there, even an expired timeout sends.
    #[doc(alias = "mq_timedsend")]
    pub fn send_timeout(&self, message: &[u8], priority: u16, timeout: Duration) -> Result<(), SendError> {
        self.core.send(message, priority, Wait::timeout(timeout))
    }

    /// Sends a message, waiting at most until `deadline` while the queue is full.
    ///
    /// # Errors
    /// As [`send_timeout`](Queue::send_timeout).
    #[doc(alias = "mq_timedsend")]
    pub fn send_deadline(&self, message: &[u8], priority: u16, deadline: Instant) -> Result<(), SendError> {
        self.core.send(message, priority, Wait::Until(deadline))
    }

    /// As [`send_deadline`](Queue::send_deadline), until the wall clock shows this time, as POSIX has it. A clock that is set meanwhile
    /// is noticed within half a second.
    ///
    /// # Errors
    /// As [`send_timeout`](Queue::send_timeout).
    #[doc(alias = "mq_timedsend")]
    pub fn send_until(&self, message: &[u8], priority: u16, time: SystemTime) -> Result<(), SendError> {
        self.core.send(message, priority, Wait::UntilWall(time))
    }

    /// Sends messages in the order given, waiting while the queue is full, until all are sent.
    ///
    /// Cheaper than as many sends: sleeping receivers are woken once. Other senders' messages may come in between; each
    /// message is sent on its own, so a death or an error in the middle leaves the first ones sent.
    ///
    /// # Errors
    /// [`SendManyError`]: how many were sent, and why the next one was not.
    pub fn send_many<M: AsRef<[u8]>>(&self, messages: &[(M, u16)]) -> Result<(), SendManyError> {
        self.core.send_many(messages, Wait::Forever)
    }

    /// Sends as many of the messages as there is room for now; all of them, or `SendManyError` with the number sent.
    ///
    /// # Errors
    /// [`SendManyError`] whose error is `Full` when there was room for some only.
    pub fn try_send_many<M: AsRef<[u8]>>(&self, messages: &[(M, u16)]) -> Result<(), SendManyError> {
        self.core.send_many(messages, Wait::No)
    }

    /// As [`send_many`](Queue::send_many), waiting at most this long in all.
    ///
    /// # Errors
    /// [`SendManyError`].
    pub fn send_many_timeout<M: AsRef<[u8]>>(
        &self,
        messages: &[(M, u16)],
        timeout: Duration,
    ) -> Result<(), SendManyError> {
        self.core.send_many(messages, Wait::timeout(timeout))
    }

    /// As [`send_many`](Queue::send_many), waiting at most until `deadline`.
    ///
    /// # Errors
    /// [`SendManyError`].
    pub fn send_many_deadline<M: AsRef<[u8]>>(
        &self,
        messages: &[(M, u16)],
        deadline: Instant,
    ) -> Result<(), SendManyError> {
        self.core.send_many(messages, Wait::Until(deadline))
    }

    /// Receives the oldest message of the highest priority, waiting while the queue is empty.
    ///
    /// # Errors
    /// [`RecvError`], except `Empty`, `TimedOut`, `BufferTooSmall` and `Busy`.
    ///
    /// # Waiting
    /// Woken by a sender, and by close and unlink. Wakes a sleeping sender.
    ///
    /// # If a process dies
    /// The receiver, before the atomic store that commits: the message is received by another one, at its old place.
    /// A sender: its messages stay.
    ///
    /// # Memory ordering
    /// All that the sender did before it sent this message is visible.
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

    /// Receives a message, waiting at most this long while the queue is empty.
    ///
    /// # Errors
    /// [`RecvError`]; `TimedOut` when it stayed empty. With a message there, even an expired timeout receives it.
    #[doc(alias = "mq_timedreceive")]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvError> {
        self.recv_owned(Wait::timeout(timeout))
    }

    /// Receives a message, waiting at most until `deadline` while the queue is empty.
    ///
    /// # Errors
    /// As [`recv_timeout`](Queue::recv_timeout).
    #[doc(alias = "mq_timedreceive")]
    pub fn recv_deadline(&self, deadline: Instant) -> Result<Message, RecvError> {
        self.recv_owned(Wait::Until(deadline))
    }

    /// As [`recv_deadline`](Queue::recv_deadline), until the wall clock shows this time: see [`send_until`](Queue::send_until).
    ///
    /// # Errors
    /// As [`recv_timeout`](Queue::recv_timeout).
    #[doc(alias = "mq_timedreceive")]
    pub fn recv_until(&self, time: SystemTime) -> Result<Message, RecvError> {
        self.recv_owned(Wait::UntilWall(time))
    }

    /// Receives into the caller's buffer, waiting while the queue is empty. It allocates nothing.
    ///
    /// The buffer must hold *this* message, not the largest possible one (which is what `mq_receive` wants).
    ///
    /// # Errors
    /// [`RecvError`]; `BufferTooSmall` when the message does not fit, and then it stays where it was.
    pub fn recv_into(&self, buffer: &mut [u8]) -> Result<Received, RecvError> {
        self.core.recv(Sink::Slice(buffer), Wait::Forever)
    }

    /// As [`recv_into`](Queue::recv_into), without waiting.
    ///
    /// # Errors
    /// [`RecvError`]; `Empty` when there is no message.
    pub fn try_recv_into(&self, buffer: &mut [u8]) -> Result<Received, RecvError> {
        self.core.recv(Sink::Slice(buffer), Wait::No)
    }

    /// As [`recv_into`](Queue::recv_into), waiting at most this long.
    ///
    /// # Errors
    /// [`RecvError`]; `TimedOut` when the queue stayed empty.
    pub fn recv_into_timeout(&self, buffer: &mut [u8], timeout: Duration) -> Result<Received, RecvError> {
        self.core.recv(Sink::Slice(buffer), Wait::timeout(timeout))
    }

    /// As [`recv_into`](Queue::recv_into), waiting at most until `deadline`.
    ///
    /// # Errors
    /// [`RecvError`]; `TimedOut` when the queue stayed empty.
    pub fn recv_into_deadline(&self, buffer: &mut [u8], deadline: Instant) -> Result<Received, RecvError> {
        self.core.recv(Sink::Slice(buffer), Wait::Until(deadline))
    }

    /// As [`recv_into`](Queue::recv_into), until the wall clock shows this time: see [`send_until`](Queue::send_until).
    ///
    /// # Errors
    /// [`RecvError`]; `TimedOut` when the queue stayed empty.
    pub fn recv_into_until(&self, buffer: &mut [u8], time: SystemTime) -> Result<Received, RecvError> {
        self.core.recv(Sink::Slice(buffer), Wait::UntilWall(time))
    }

    /// Receives up to `max` messages at once into `batch`, which is cleared first; waits while the queue is empty. It takes the
    /// lock twice, however many there are. Returns how many there were: at least 1, unless `max` is 0.
    ///
    /// # Errors
    /// [`RecvError`], except `Empty`, `TimedOut`, `BufferTooSmall` and `Busy`.
    ///
    /// # If a process dies
    /// All are copied first and committed one after the other at the end: one that dies while copying had none of them.
    pub fn recv_many(&self, batch: &mut Batch, max: usize) -> Result<usize, RecvError> {
        self.core.recv_many(batch, max, Wait::Forever)
    }

    /// As [`recv_many`](Queue::recv_many), without waiting.
    ///
    /// # Errors
    /// [`RecvError`]; `Empty` when there is no message.
    pub fn try_recv_many(&self, batch: &mut Batch, max: usize) -> Result<usize, RecvError> {
        self.core.recv_many(batch, max, Wait::No)
    }

    /// As [`recv_many`](Queue::recv_many), waiting at most this long for the first one.
    ///
    /// # Errors
    /// [`RecvError`]; `TimedOut` when the queue stayed empty.
    pub fn recv_many_timeout(&self, batch: &mut Batch, max: usize, timeout: Duration) -> Result<usize, RecvError> {
        self.core.recv_many(batch, max, Wait::timeout(timeout))
    }

    /// As [`recv_many`](Queue::recv_many), waiting at most until `deadline` for the first one.
    ///
    /// # Errors
    /// [`RecvError`]; `TimedOut` when the queue stayed empty.
    pub fn recv_many_deadline(&self, batch: &mut Batch, max: usize, deadline: Instant) -> Result<usize, RecvError> {
        self.core.recv_many(batch, max, Wait::Until(deadline))
    }

    fn recv_owned(&self, wait: Wait) -> Result<Message, RecvError> {
        let mut data = Vec::new();
        let Received { priority, redelivered, .. } = self.core.recv(Sink::Vec(&mut data), wait)?;
        Ok(Message { data, priority, redelivered })
    }

    /// Copies of the next messages, at most `max`, in the order in which they would be received; they stay where they are.
    /// A message that somebody receives meanwhile is left out.
    ///
    /// # Errors
    /// [`AccessError`].
    ///
    /// # If a process dies here
    /// Nothing happens to the messages.
    pub fn peek(&self, max: usize) -> Result<Vec<Message>, AccessError> {
        self.core.peek(max)
    }

    /// How many messages a receive could take now.
    ///
    /// # Errors
    /// [`AccessError`].
    #[allow(clippy::len_without_is_empty, reason = "is_empty is there; both can fail, which the lint does not expect")]
    pub fn len(&self) -> Result<usize, AccessError> {
        self.core.len()
    }

    /// How many bytes the messages have that a receive could take now. It looks at each of them.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn bytes(&self) -> Result<u64, AccessError> {
        self.core.bytes()
    }

    /// Whether there is no message that a receive could take now.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn is_empty(&self) -> Result<bool, AccessError> {
        Ok(self.len()? == 0)
    }

    /// Attributes, depth, counters, participants.
    ///
    /// # Errors
    /// [`AccessError`].
    #[doc(alias = "mq_getattr")]
    pub fn stat(&self) -> Result<QueueStat, AccessError> {
        self.core.stat()
    }

    /// Throws away all messages that a receive could take now, and returns how many there were. Messages that are being
    /// sent or received meanwhile are not touched. Wakes all sleeping senders.
    ///
    /// # Errors
    /// [`AccessError`].
    ///
    /// # If a process dies here
    /// Each message is thrown away by a store of its own: the others are still there.
    pub fn purge(&self) -> Result<usize, AccessError> {
        self.core.purge()
    }

    /// A descriptor for poll, select and epoll: readable while a message waits, writable while there is room, both if both.
    /// Edge-triggered epoll sees an event for each message that is sent, and for each that is received.
    ///
    /// It is one of its own (its O_NONBLOCK flag is nobody else's), close-on-exec, can be passed to other processes, and shows
    /// nothing before [`arm_doorbell`](Queue::arm_doorbell). With [`Access::Receive`] it shows only whether it is readable, with
    /// `Send` only whether it is writable. Nothing is to be read from it or written to it. It stays open when this handle goes.
    ///
    /// # Errors
    /// [`OpenError::System`]; with a permission error if the queue's mode does not grant this access. (Of the first descriptor that
    /// is asked of the handle which created the queue that is not asked, as `mq_open` and `open` do not.)
    ///
    /// # If a process dies here
    /// An empty file may be left beside the queue, which goes with it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use chappe::{Access, Queue};
    /// use rustix::event::{PollFd, PollFlags, Timespec, poll};
    /// let queue = Queue::options().dir(dir.path()).create("/orders")?;
    /// let bell = queue.doorbell(Access::Both)?;
    /// queue.arm_doorbell()?;
    /// queue.send(b"ship", 0)?;
    /// let mut polled = [PollFd::new(&bell, PollFlags::IN | PollFlags::OUT)];
    /// poll(&mut polled, Some(&Timespec::default()))?;
    /// assert_eq!(polled[0].revents(), PollFlags::IN | PollFlags::OUT);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn doorbell(&self, access: Access) -> Result<OwnedFd, OpenError> {
        let path = || self.core.bell_path().unwrap_or_default();
        self.core.doorbell(access).map_err(|source| OpenError::System {
            step: "open the doorbell",
            path: path(),
            source,
        })
    }

    /// Whether the queue's mode grants this process this access: what [`doorbell`](Queue::doorbell) asks.
    pub fn grants(&self, access: Access) -> bool {
        self.core.grants(access)
    }

    /// From now on, and until this handle goes, everybody's sends and receives keep the doorbell right, which takes
    /// two to four system calls: a send and a receive together were measured at twice what they cost on a kernel's queue. Until
    /// somebody arms it, it costs nothing.
    ///
    /// Starts a thread that wakes twice a second, for what the dead did not do: a sender that is killed between its commit and the
    /// doorbell costs those who poll half a second.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn arm_doorbell(&self) -> Result<(), AccessError> {
        Ok(self.core.arm_doorbell()?)
    }

    /// Has `callback` called, once, when a message arrives in the empty queue and no receiver waits for it: in a queue
    /// that is not empty now, after it has been empty. There can be one registration at a time, of all processes.
    ///
    /// It is called on a thread of this library that blocks all signals, and told who sent the message. The send that causes it
    /// waits until it has returned, 100 ms at most. It may register again, and use the queue otherwise; but it should be short: while it
    /// runs, nobody looks after this handle's doorbell. The thread has a stack of 128 KiB.
    ///
    /// # Errors
    /// [`NotifyError`]; `Registered` if somebody is.
    ///
    /// # If a process dies
    /// The registrant: the place is free for the next who registers. A sender between its commit and the notification: it comes
    /// within half a second.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use chappe::Queue;
    /// let queue = Queue::options().dir(dir.path()).create("/orders")?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// queue.notify(move |sender| tell.send(sender.pid).unwrap())?;
    /// queue.send(b"ship", 0)?;
    /// assert_eq!(told.recv()?, std::process::id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "mq_notify")]
    pub fn notify(&self, callback: impl FnOnce(Sender) + Send + 'static) -> Result<(), NotifyError> {
        self.core.notify(Box::new(callback))
    }

    /// Takes back the registration that was made through this handle; false if there is none (any more).
    ///
    /// # Errors
    /// [`AccessError`].
    ///
    /// # If a process dies here
    /// As for [`notify`](Queue::notify).
    pub fn cancel_notify(&self) -> Result<bool, AccessError> {
        Ok(self.core.cancel_notify()?)
    }

    /// The process id of who is registered for [notification](Queue::notify), in its own pid namespace, as it was when it
    /// opened the queue. It may have died since.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn registered(&self) -> Result<Option<u32>, AccessError> {
        Ok(self.core.registered()?)
    }

    /// Closes the queue for everybody, and for good: senders get [`SendError::Closed`]; receivers get what is in the queue,
    /// then [`RecvError::Closed`]. Everybody who is blocked is woken. A send that has claimed its slot already may complete.
    /// The name stays until it is unlinked. To leave the queue alone, drop the handle instead.
    ///
    /// # Errors
    /// [`AccessError`].
    ///
    /// # If a process dies here
    /// The queue is closed or it is not; if nobody was woken, blocked participants notice within half a second.
    pub fn close(&self) -> Result<(), AccessError> {
        self.core.close()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.core.leave();
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("name", self.name()).field("attributes", &self.attributes()).finish()
    }
}
