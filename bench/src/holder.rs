//! What semaphores and locks have in common where there is one permit: processes that take it in turn. It has the least
//! that the measurements need, not what a user would want.

use crate::measure::Result;
use std::path::Path;

/// One permit before anybody uses it. Dropped in the process that made it, it leaves nothing behind.
pub trait OnePermit: Sized {
    type End: Holder;

    /// A permit that is free. What needs a file puts it in `dir`.
    fn create(dir: &Path) -> Result<Self>;

    /// An end for the process that calls this: one that it forked to from the maker.
    fn attach(&self) -> Result<Self::End>;
}

/// One process's end.
pub trait Holder {
    /// The permit while it is held; dropping it gives it back.
    type Permit<'a>
    where
        Self: 'a;

    /// Acquires the permit, waiting while another has it.
    fn acquire(&self) -> Result<Self::Permit<'_>>;
}

/// One process's end, which can become a command that holds the permit.
pub trait Executor: Holder {
    /// Acquires the permit and becomes `sleep`. Comes back only if that fails.
    fn become_sleep(&self) -> Result<()>;
}

/// The command that a holder becomes, and how long it would live.
pub const SLEEP: [&str; 2] = ["sleep", "1000"];
