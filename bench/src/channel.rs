//! What all rivals have in common: a one-way channel of messages that one process makes and others attach to. It has
//! the least that the measurements need, not what a user would want.

use crate::measure::Result;
use std::path::Path;

/// What a channel is made for.
#[derive(Clone, Copy)]
pub struct Shape<'a> {
    /// How many messages fit. A pipe knows bytes only and ignores it.
    pub depth: usize,
    /// The size of every message, in bytes; a multiple of eight.
    pub size: usize,
    /// Where a channel that needs a file may put it.
    pub dir: &'a Path,
}

/// How an end waits for messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// In the call that users call; it may sleep.
    Blocking,
    /// By asking again and again, never asleep.
    Polling,
}

/// A channel before anybody uses it. Dropped in the process that made it, it leaves nothing behind.
pub trait Transport: Sized {
    type End: Channel;

    fn create(shape: Shape<'_>) -> Result<Self>;

    /// An end for the process that calls this: one that it forked to from the maker, or the maker itself.
    fn attach(&self, wait: Wait) -> Result<Self::End>;
}

/// A message that was received.
#[derive(Clone, Copy)]
pub struct Taken {
    pub len: usize,
    pub priority: u16,
}

/// One process's end of a channel.
pub trait Channel {
    /// Sends, waiting while there is no room.
    fn send(&self, message: &[u8], priority: u16) -> Result<()>;

    /// Receives into `buffer` (which holds any message of the channel's shape), waiting while there is none.
    fn recv(&self, buffer: &mut [u8]) -> Result<Taken>;
}
