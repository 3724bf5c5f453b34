//! How things are measured: pinned child processes, the clock, memory shared with children, payloads, statistics. It
//! knows nothing of queues.

pub mod child;
pub mod clock;
pub mod payload;
pub mod shared;
pub mod stats;

/// Errors of the benchmark: text for people, from wherever it comes.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
