//! Objects in shared memory, composed of raw words, a region and the system: who takes part, how one waits, how a queue works.

pub(crate) mod fault;
pub(crate) mod layout;
pub(crate) mod member;
pub(crate) mod queue;
pub(crate) mod setup;
pub(crate) mod wait;
