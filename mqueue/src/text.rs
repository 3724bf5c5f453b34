//! What `read` on a descriptor gives: the line of text of Linux's message queue file system.

use crate::errno::{self, Errno};
use crate::shared::Shared;

/// What `fstat` gives as the size, whatever the line's length.
pub const FILE_SIZE: i64 = 80;

/// QSIZE is the bytes in the queue. NOTIFY and SIGNO are 0 for a registration of another process, which does not tell them.
pub fn line(shared: &Shared) -> Result<String, Errno> {
    let queue = &shared.queue;
    let bytes = queue.bytes().map_err(errno::of_access)?;
    let owner = queue.registered().map_err(errno::of_access)?;
    let made = shared.registration().filter(|_| owner == Some(std::process::id()));
    let (kind, signal) = made.map_or((0, 0), |made| (made.kind, made.signal));
    let pid = owner.unwrap_or(0);
    Ok(format!("QSIZE:{bytes:<10} NOTIFY:{kind:<5} SIGNO:{signal:<5} NOTIFY_PID:{pid:<6}\n"))
}
