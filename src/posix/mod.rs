//! What the POSIX standard calls by the same names, for programs that share an object with others that know nothing of
//! this library: in C, in Python, in anything that calls the C library. [`Semaphore`] is `sem_open` and `sem_init`, and
//! [`MessageQueue`] is `mq_open`.
//!
//! Nothing here is made anew: every call goes through the C library, and the objects are what it and the kernel make them, with
//! their limits, which [`limits()`] shows and [`set_limit`] sets. Where all programs are ours, the library's own objects do more, above all
//! when a process is killed.

mod error;
mod limits;
mod message_queue;
mod refusal;
mod semaphore;

pub use error::{
    LimitError, MessageQueueError, NotifyError, PostError, RecvError, SemaphoreError, SendError, WaitError,
};
pub use limits::{Limit, LimitKind, LimitUse, LimitValue, limit, limits, set_limit};
pub use message_queue::{MessageQueue, MessageQueueAttributes, MessageQueueOptions, MessageQueueStat};
pub use semaphore::{Semaphore, SemaphoreOptions};
