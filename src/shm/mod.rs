//! Objects in shared memory, composed of raw words, a region and the system: who takes part, how one waits, how a queue and a
//! semaphore work.

pub(crate) mod base;
pub(crate) mod fault;
pub(crate) mod keeper;
pub(crate) mod layout;
pub(crate) mod member;
pub(crate) mod queue;
pub(crate) mod semaphore;
pub(crate) mod setup;
pub(crate) mod wait;
