//! Messages as users hold them, and the limits of what a queue takes. Plain data.

/// The highest priority. Priorities are 0 (lowest) to 32767, as POSIX's `MQ_PRIO_MAX` of 32768 has it.
pub const PRIORITY_MAX: u16 = 32767;

/// The most messages a queue can be created for.
pub const CAPACITY_MAX: u32 = 1 << 24;

/// The largest message size a queue can be created with, in bytes: 1 TiB. Memory is taken when messages need it.
pub const MESSAGE_SIZE_MAX: u64 = 1 << 40;

/// The capacity of a queue that is created without asking for one.
pub const CAPACITY_DEFAULT: u32 = 1024;

/// The message size of a queue that is created without asking for one: 64 KiB.
pub const MESSAGE_SIZE_DEFAULT: u64 = 64 << 10;

/// What a descriptor of a queue is for: the access modes of `mq_open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Receiving: O_RDONLY.
    Receive,
    /// Sending: O_WRONLY.
    Send,
    /// Both: O_RDWR.
    Both,
}

/// Who sent the message that a [notification](crate::Queue::notify) tells of. For people, and for `siginfo_t`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sender {
    /// Its process id, in its own pid namespace; 0 if it is not known any more.
    pub pid: u32,
    /// Its real user id.
    pub uid: u32,
}

/// A message that was received, with the bytes it had.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The bytes.
    pub data: Vec<u8>,
    /// The priority it was sent with.
    pub priority: u16,
    /// How many receivers died with it in their hands before this one; 0 as a rule.
    pub redelivered: u32,
}

/// What [`Queue::recv_into`](crate::Queue::recv_into) put into the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// How many bytes of the buffer the message fills.
    pub len: usize,
    /// The priority it was sent with.
    pub priority: u16,
    /// How many receivers died with it in their hands before this one; 0 as a rule.
    pub redelivered: u32,
}

/// Messages received together by [`Queue::recv_many`](crate::Queue::recv_many). Use one again and again: its memory is kept.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<(usize, u16)>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The messages in the order they were received, each with its priority.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let queue = chappe::Queue::options().dir(dir.path()).create("/q")?;
    /// queue.send_many(&[("a", 0), ("bc", 9)])?;
    /// let mut batch = chappe::Batch::new();
    /// queue.recv_many(&mut batch, 10)?;
    /// let all: Vec<(&[u8], u16)> = batch.iter().collect();
    /// assert_eq!(all, [(&b"bc"[..], 9), (&b"a"[..], 0)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u16)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        starts.zip(&self.ends).map(|(start, (end, priority))| (&self.bytes[start..*end], *priority))
    }

    /// Forgets the messages and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}
