//! How things are measured: pinned child processes, the clock, memory shared with children, what the system tells of
//! them, payloads, statistics. It knows nothing of queues and semaphores.

pub mod child;
pub mod clock;
pub mod payload;
pub mod process;
pub mod shared;
pub mod stats;

/// Errors of the benchmark: text for people, from wherever it comes.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T, E = Error> = std::result::Result<T, E>;
