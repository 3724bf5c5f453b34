//! What the POSIX standard calls by the same names, for programs that share an object with others that know nothing of
//! this library: in C, in Python, in anything that calls the C library. [`Semaphore`] is `sem_open` and `sem_init`.
//!
//! Nothing here is made anew: every call goes through the C library, and the objects are what it makes them, with
//! its limits. Where all programs are ours, the library's own objects do more, above all when a process is killed.

mod error;
mod semaphore;

pub use error::{PostError, SemaphoreError, WaitError};
pub use semaphore::{Semaphore, SemaphoreOptions};
