//! What objects there are: the listing behind `chappe ls`. It opens nothing for longer than it looks.

use crate::error::OpenError;
use crate::shm::{semaphore, setup};
use crate::stat::{Object, Stuck};
use std::path::Path;

/// The objects in a directory (see [`default_dir`](crate::default_dir)), sorted by name. The names of ephemeral queues
/// whose creator is gone are removed on the way.
///
/// # Errors
/// [`OpenError::System`] if the directory cannot be read: that is not the same as an empty one.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// chappe::Queue::options().dir(dir.path()).create("/orders")?;
/// let objects = chappe::list(dir.path())?;
/// assert_eq!(objects[0].name.to_string(), "/orders");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn list(dir: &Path) -> Result<Vec<Object>, OpenError> {
    setup::list(dir)
}

/// The waits for permits, among all semaphores in a directory, that can never end: whoever holds what they wait for waits itself,
/// directly or in a ring over several semaphores, or the waiter holds all of it.
///
/// A hint: it takes each process for one thread (one that waits in one thread and could release in another is shown, too, unless
/// that other also waits and can be served), and it takes no lock. What it shows was the same at two looks in a row.
///
/// # Errors
/// [`OpenError::System`] if the directory cannot be read.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use chappe::{AcquireError, Semaphore};
/// let mut options = Semaphore::options();
/// let lock = options.dir(dir.path()).permits(1).fail_on_deadlock(true).create("/lock")?;
/// let held = lock.acquire()?;
/// assert_eq!(lock.acquire().unwrap_err(), AcquireError::Deadlock); // it would have waited for itself
/// assert!(chappe::deadlocks(dir.path())?.is_empty()); // and does not any more
/// # drop(held);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn deadlocks(dir: &Path) -> Result<Vec<Stuck>, OpenError> {
    semaphore::deadlocks(dir)
}
