//! What objects there are: the listing behind `chappe ls`. It opens nothing for longer than it looks.

use crate::error::OpenError;
use crate::shm::setup;
use crate::stat::Object;
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
