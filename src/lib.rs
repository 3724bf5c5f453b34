//! Prioritised message queues, and semaphores whose permits come back, between processes on Linux, in shared memory: no broker, and
//! the others go on when a process is killed.
//!
//! A [`Queue`] has a name. Every process that opens the name gets a handle that both sends and receives, from any number
//! of threads. A message is a run of bytes with a priority from 0 to [`PRIORITY_MAX`]; the highest is received first, and
//! equals in the order they were sent. A send or a receive that neither waits nor wakes anybody makes no system call, but
//! for the first messages that need a page of memory.
//!
//! ```no_run
//! use chappe::Queue;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let queue = Queue::create("/greetings")?; // opens it if it is there
//!     queue.send(b"see you later", 1)?;
//!     queue.send(b"hello", 5)?;
//!     let message = queue.recv()?; // the highest priority first: "hello"
//!     println!("{} (priority {})", String::from_utf8_lossy(&message.data), message.priority);
//!     Ok(())
//! }
//! ```
//!
//! The rest of this page is a tour. Its examples keep their queues in a directory of their own, so that they can run
//! beside one another; a program leaves [`dir`](QueueOptions::dir) out and shares names with everybody.
//!
//! # Creating and opening
//!
//! [`Queue::options`] is to a queue what `std::fs::OpenOptions` is to a file: set attributes, then
//! [`create`](QueueOptions::create) (open, or create if there is none), [`create_new`](QueueOptions::create_new) (that it exists is
//! an error) or [`open`](QueueOptions::open) (that it does not exist is one).
//!
//! ```
//! use chappe::{OpenError, Queue};
//! let dir = tempfile::tempdir()?;
//!
//! let mut options = Queue::options();
//! options.dir(dir.path()).capacity(100).message_size(1 << 20).mode(0o660);
//! let queue = options.create("/orders")?;
//! assert_eq!((queue.capacity(), queue.message_size()), (100, 1 << 20));
//!
//! // Attributes that are set are compared; those that are not may be anything.
//! let other = Queue::options().dir(dir.path()).capacity(5).open("/orders");
//! assert!(matches!(other, Err(OpenError::Mismatch { .. })));
//! let whatever = Queue::options().dir(dir.path()).open("/orders")?;
//! assert_eq!(whatever.capacity(), 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Capacity is 1024 messages and the message size 64 KiB unless something else is asked for. A message size may be
//! gigabytes: memory follows what is in the queue, not capacity × message size. Mode is 0600 unless asked for, and exact:
//! the umask takes nothing away unless [`umask`](QueueOptions::umask) says so. An [`ephemeral`](QueueOptions::ephemeral) queue goes
//! with its creator, however that ends.
//!
//! # Priorities
//!
//! The order is strict also with many senders and many receivers: a receive takes the oldest message of the highest
//! priority that is in the queue at that moment.
//!
//! ```
//! # use chappe::Queue;
//! # let dir = tempfile::tempdir()?;
//! let queue = Queue::options().dir(dir.path()).create("/jobs")?;
//! queue.send(b"tidy up", 0)?;
//! queue.send(b"put out the fire", 9)?;
//! queue.send(b"call for help", 9)?;
//! let mut order = Vec::new();
//! while !queue.is_empty()? {
//!     order.push(String::from_utf8(queue.recv()?.data)?);
//! }
//! assert_eq!(order, ["put out the fire", "call for help", "tidy up"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`peek`](Queue::peek) copies the next messages and leaves them where they are; [`len`](Queue::len) counts them.
//!
//! # Waiting
//!
//! Each verb has four forms. The name says how long the call may wait for the other side.
//!
//! | | sends | receives | when there is no room, no message |
//! |---|---|---|---|
//! | not at all | [`try_send`](Queue::try_send) | [`try_recv`](Queue::try_recv) | `Full`, `Empty` |
//! | as long as it takes | [`send`](Queue::send) | [`recv`](Queue::recv) | |
//! | this long | [`send_timeout`](Queue::send_timeout) | [`recv_timeout`](Queue::recv_timeout) | `TimedOut` |
//! | until then | [`send_deadline`](Queue::send_deadline) | [`recv_deadline`](Queue::recv_deadline) | `TimedOut` |
//!
//! ```
//! use chappe::{Queue, RecvError, SendError};
//! use std::time::{Duration, Instant};
//! # let dir = tempfile::tempdir()?;
//! let queue = Queue::options().dir(dir.path()).capacity(1).create("/narrow")?;
//!
//! assert_eq!(queue.try_recv(), Err(RecvError::Empty));
//! assert_eq!(queue.recv_timeout(Duration::from_millis(10)), Err(RecvError::TimedOut));
//! queue.send(b"the only place", 0)?;
//! assert_eq!(queue.try_send(b"one too many", 0), Err(SendError::Full));
//! let deadline = Instant::now() + Duration::from_millis(10);
//! assert_eq!(queue.send_deadline(b"one too many", 0, deadline), Err(SendError::TimedOut));
//! assert_eq!(queue.recv()?.data, b"the only place");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A call that waits spins for some microseconds if a peer can run meanwhile, then sleeps in the kernel; the send or receive
//! that it waits for wakes it. No signal handler cuts a wait short. Times are by the monotonic clock, and an expired time
//! still takes what is there.
//!
//! # Messages of any size, without allocating
//!
//! [`recv`](Queue::recv) gives a [`Message`] with a `Vec` of its own. [`recv_into`](Queue::recv_into) and its three siblings
//! fill the caller's buffer, which has to hold *this* message, not the largest one that the queue takes.
//!
//! ```
//! # use chappe::{Queue, RecvError};
//! # let dir = tempfile::tempdir()?;
//! let queue = Queue::options().dir(dir.path()).create("/bytes")?;
//! queue.send(b"twelve bytes", 7)?;
//! let mut small = [0; 8];
//! assert_eq!(queue.recv_into(&mut small), Err(RecvError::BufferTooSmall { needed: 12, room: 8 }));
//! let mut large = [0; 64]; // the message is still there, in its place
//! let received = queue.recv_into(&mut large)?;
//! assert_eq!((&large[..received.len], received.priority), (&b"twelve bytes"[..], 7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Batches
//!
//! [`send_many`](Queue::send_many) and [`recv_many`](Queue::recv_many) do for many messages once what each message would
//! cost by itself: waking, and on the receiving side the lock. They come in the same four forms.
//!
//! ```
//! use chappe::{Batch, Queue};
//! # let dir = tempfile::tempdir()?;
//! let queue = Queue::options().dir(dir.path()).create("/many")?;
//! queue.send_many(&[("alpha", 1), ("beta", 1), ("urgent", 2)])?;
//! let mut batch = Batch::new(); // use it again: its memory is kept
//! assert_eq!(queue.recv_many(&mut batch, 100)?, 3);
//! for (message, priority) in batch.iter() {
//!     println!("{priority}: {}", String::from_utf8_lossy(message));
//! }
//! # assert_eq!(batch.iter().next(), Some((&b"urgent"[..], 2)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each message of a batch is sent on its own: [`SendManyError`] says how many were, should the batch end early.
//!
//! # The end of a queue
//!
//! Dropping a handle leaves the queue as it is, with its messages. Two calls end it for everybody, and in both cases
//! receivers get what is left first: [`close`](Queue::close) says that no more will come, and keeps the name;
//! [`unlink`](Queue::unlink) (here that of [`QueueOptions`], which knows the directory) takes the name away, which is free for a
//! new queue at once. Whoever is blocked is woken.
//!
//! ```
//! # use chappe::{Queue, RecvError, SendError};
//! # let dir = tempfile::tempdir()?;
//! let mut options = Queue::options();
//! let queue = options.dir(dir.path()).create("/once")?;
//! queue.send(b"the last one", 0)?;
//! queue.close()?;
//! assert_eq!(queue.send(b"too late", 0), Err(SendError::Closed));
//! assert_eq!(queue.recv()?.data, b"the last one");
//! assert_eq!(queue.recv(), Err(RecvError::Closed));
//!
//! options.unlink("/once")?;
//! assert_eq!(queue.recv(), Err(RecvError::Unlinked));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Errors
//!
//! Setting up gives an [`OpenError`], whose text names the object, the step, and what to do. Each verb has a small `Copy`
//! enum of its own: [`SendError`], [`RecvError`], [`AccessError`]. A call that fails has done nothing: the message was not
//! sent, or it is still in the queue. (A batch that fails says how far it came.)
//!
//! ```
//! # use chappe::{Queue, SendError};
//! # let dir = tempfile::tempdir()?;
//! let queue = Queue::options().dir(dir.path()).message_size(4).create("/short")?;
//! match queue.try_send(b"too long", 0) {
//!     Ok(()) => unreachable!("it has eight bytes"),
//!     Err(SendError::Full) => println!("try again later"),
//!     Err(error @ SendError::TooLong { max, .. }) => {
//!         assert_eq!(max, 4);
//!         assert_eq!(error.to_string(), "the message has 8 bytes, this queue takes at most 4");
//!     }
//!     Err(error) => return Err(error.into()),
//! }
//!
//! let missing = Queue::options().dir(dir.path()).open("/missing").unwrap_err();
//! assert!(missing.to_string().ends_with("create it first"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Shared words that make no sense give `Corrupt`: some process wrote over them. It is never a panic, and no wild word leads
//! outside the mapping. What a process that may write the file can do, and what it cannot, is in `SECURITY.md`.
//!
//! # When a process dies
//!
//! Any process may be killed at any instruction, with SIGKILL too. The others go on: what the dead one held (the lock, a
//! place in the queue, a message that it was receiving) is taken back within 100 ms by whoever runs into it. A wake-up that
//! died with it costs a sleeper at most 500 ms. (Both count from when the kernel has taken the dead process down, which
//! takes longer for one with gigabytes of memory.)
//!
//! - A message is sent whole or not at all. Once its `send` has returned, it is received exactly once by receivers that live.
//! - A message in the hands of a receiver that dies goes to another one, at its old place;
//!   [`redelivered`](Message::redelivered) says how often that happened.
//! - A receive commits just before it returns. A receiver that dies between the two takes the message with it.
//! - A process that is *stopped* (by SIGSTOP or a debugger) is not dead. While it is stopped inside the queue's lock the
//!   others wait; `try_` forms give up with `Busy` after half a second, timed forms when their time is over.
//! - A fork child is a participant of its own, from its first call on.
//!
//! ```
//! # use chappe::Queue;
//! # let dir = tempfile::tempdir()?;
//! let queue = Queue::options().dir(dir.path()).create("/work")?;
//! queue.send(b"resize image 7", 0)?;
//!
//! let message = queue.recv()?;
//! if message.redelivered > 0 {
//!     eprintln!("{} receivers died of this message; setting it aside", message.redelivered);
//! }
//!
//! let stat = queue.stat()?; // looks after the dead first
//! println!("{} deaths put in order so far", stat.counters.recovered);
//! println!("{} processes and handles have it open", stat.participants.len());
//! # assert_eq!((message.redelivered, stat.counters.recovered, stat.participants.len()), (0, 0, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every step, and what a death after it leaves, is in `docs/recovery.md`.
//!
//! # Waiting elsewhere
//!
//! A program that waits for several things at once polls a queue's [`doorbell`](Queue::doorbell), a descriptor that is readable while a
//! message waits and writable while there is room; an event loop takes it as it is. [`notify`](Queue::notify) calls back, once, when a
//! message comes into the empty queue. A wait in a receive or a send is ended from elsewhere by an [`Interrupter`], on handles
//! that were opened [`interruptible`](QueueOptions::interruptible).
//!
//! ```
//! use chappe::{Access, Queue};
//! use rustix::event::{PollFd, PollFlags, poll};
//! # let dir = tempfile::tempdir()?;
//! let jobs = Queue::options().dir(dir.path()).create("/jobs")?;
//! let bell = jobs.doorbell(Access::Both)?;
//! jobs.arm_doorbell()?; // from now on everybody keeps it right
//! jobs.send(b"resize 7.png", 0)?;
//! let mut polled = [PollFd::new(&bell, PollFlags::IN)];
//! assert_eq!(poll(&mut polled, None)?, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Semaphores
//!
//! A [`Semaphore`] has a number of permits. [`acquire`](Semaphore::acquire) takes one, and dropping the [`Permit`] gives it back; so
//! does the end of the process, however it ends. First come, first served, in the same four forms as above, for one permit or for
//! many at once ([`acquire_many`](Semaphore::acquire_many)), and as a future ([`acquire_async`](Semaphore::acquire_async)).
//!
//! ```
//! use chappe::{AcquireError, Semaphore};
//! # let dir = tempfile::tempdir()?;
//! let mut options = Semaphore::options();
//! let pool = options.dir(dir.path()).permits(3).label("resize images").create("/pool")?;
//! let permit = pool.acquire()?;
//! let two = pool.try_acquire_many(2)?;
//! assert_eq!(pool.try_acquire().unwrap_err(), AcquireError::NoPermits);
//! for holder in pool.stat()?.holders {
//!     println!("{} (pid {}) holds {}: {}", holder.process.command, holder.process.pid, holder.permits, holder.label);
//! }
//! drop(permit);
//! assert_eq!(pool.available(), 1);
//! # drop(two);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Semaphores without a name ([`Semaphore::unnamed`]) are for fork children and for whoever gets the descriptor. Signals, which nobody
//! holds, are [`post`](Semaphore::post) and [`wait`](Semaphore::wait). The C library's own semaphores, and the kernel's queues, are in
//! [`posix`]. [`Permit::exec`] runs a command that holds the permit; from a shell, that is `chappe sem run`. What a process left undone when it
//! died is not undone: `docs/semaphore-or-mutex.md` says what a semaphore is for.
//!
//! # Names and directories
//!
//! `/orders` and `orders` are the same name; [`Name`] has the rule. A queue or a semaphore is one file in `/dev/shm`, or in the directory
//! that the environment variable `CHAPPE_DIR` names, or in that of [`QueueOptions::dir`]. On a disk its content outlives a reboot
//! that wrote it out; nothing is promised about a power cut. [`list()`] shows what there is.
//!
//! ```
//! use chappe::{Name, NameError, Queue};
//! assert_eq!(Name::new("orders")?, Name::new("/orders")?);
//! assert_eq!(Name::new("/a/b"), Err(NameError::Slash));
//!
//! let dir = tempfile::tempdir()?; // or chappe::default_dir()
//! let _queue = Queue::options().dir(dir.path()).create("/orders")?;
//! for object in chappe::list(dir.path())? {
//!     println!("{} takes {} bytes in {}", object.name, object.memory, object.path.display());
//!     # assert_eq!(object.name, Name::new("orders")?);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The `chappe` command (package `chappe-cli`) does all this from a shell.

#![deny(unsafe_code)]

mod deadline;
mod error;
mod message;
mod name;
mod stat;

#[allow(unsafe_code, reason = "system calls")]
mod sys;

mod sync;

#[allow(unsafe_code, reason = "`unsafe impl Shared` lines only; there is no unsafe block")]
mod raw;

#[allow(unsafe_code, reason = "the only maker of references into mapped memory")]
mod region;

mod interrupt;
mod shm;

mod inspect;
pub mod posix;
mod queue;
mod semaphore;

pub use error::{AccessError, AcquireError, NotifyError, OpenError, RecvError, SendError, SendManyError};
pub use inspect::{deadlocks, list};
pub use interrupt::Interrupter;
pub use message::{
    Access, Batch, CAPACITY_DEFAULT, CAPACITY_MAX, MESSAGE_SIZE_DEFAULT, MESSAGE_SIZE_MAX, Message, PRIORITY_MAX,
    Received, Sender,
};
pub use name::{DEFAULT_DIR, DIR_VARIABLE, Kind, NAME_BYTES_MAX, Name, NameError, default_dir};
pub use queue::{Queue, QueueOptions};
pub use semaphore::{Acquire, Children, LABEL_BYTES_MAX, PERMITS_MAX, Permit, Semaphore, SemaphoreOptions};
pub use stat::{Attributes, Counters, Holder, Object, Participant, QueueStat, SemaphoreStat, Stuck, Waiter};
