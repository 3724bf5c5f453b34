//! System calls, each wrapped once, with no policy. Everything that is unsafe because the kernel is on the other side is here.

pub(crate) mod bequest;
pub(crate) mod bytelock;
pub(crate) mod fifo;
pub(crate) mod file;
pub(crate) mod futex;
pub(crate) mod held;
pub(crate) mod keeper;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod mqueue;
pub(crate) mod mqueue_notify;
pub(crate) mod process;
pub(crate) mod robust_list;
pub(crate) mod semaphore;
pub(crate) mod sigbus;
pub(crate) mod thread;
pub(crate) mod time;
