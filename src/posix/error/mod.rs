//! What can go wrong with POSIX objects. As in the crate: setting up names the object and the way out, and each verb has a
//! small `Copy` enum.

mod limit;
mod message_queue;
mod semaphore;

pub use limit::LimitError;
pub use message_queue::{MessageQueueError, NotifyError, RecvError, SendError};
pub use semaphore::{PostError, SemaphoreError, WaitError};
