//! The system's limits on the kernel's queues. They are raised for this program alone where that is allowed: in an IPC
//! namespace of its own, so that nothing has to be restored and nobody else notices.

use crate::measure::Result;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::fs;

const DEPTH_MAX: &str = "/proc/sys/fs/mqueue/msg_max";
const SIZE_MAX: &str = "/proc/sys/fs/mqueue/msgsize_max";

/// The most that the kernel lets anybody set (HARD_MSGMAX).
const DEPTH_WANTED: &str = "65536";
const SIZE_WANTED: &str = "1048576";

/// Raises what can be raised, and says in one sentence what came of it.
pub fn raise() -> String {
    let before = read(DEPTH_MAX);
    let outcome = match own_namespace().and_then(|()| write_limits()) {
        Ok(()) => {
            format!("fs.mqueue.msg_max raised from {before} to {} in an IPC namespace of our own", read(DEPTH_MAX))
        }
        Err(error) => format!("fs.mqueue.msg_max stays at {} (raising it: {error})", read(DEPTH_MAX)),
    };
    format!("{outcome}; RLIMIT_MSGQUEUE {}", raise_memory())
}

/// A private IPC namespace: as root directly, else inside a user namespace of which we are root.
fn own_namespace() -> Result<()> {
    if unshare(UnshareFlags::NEWIPC).is_ok() {
        return Ok(());
    }
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWIPC)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    Ok(())
}

fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: only NEWIPC and NEWUSER are passed here; neither takes descriptors or memory away from other code.
    unsafe { unshare_unsafe(flags) }
}

fn write_limits() -> Result<()> {
    fs::write(DEPTH_MAX, DEPTH_WANTED)?;
    Ok(fs::write(SIZE_MAX, SIZE_WANTED)?)
}

/// The memory that all queues of a user may take; more than the hard limit needs CAP_SYS_RESOURCE.
fn raise_memory() -> String {
    let limit = getrlimit(Resource::Msgqueue);
    if setrlimit(Resource::Msgqueue, Rlimit { current: None, maximum: None }).is_ok() {
        return "raised to infinity".to_owned();
    }
    // Up to the hard limit anybody may go.
    let _ = setrlimit(Resource::Msgqueue, Rlimit { current: limit.maximum, maximum: limit.maximum });
    format!("{} bytes, more is not permitted", memory())
}

/// Why a queue of this shape is refused as invalid.
pub fn refusal(depth: usize, size: usize) -> String {
    let (deepest, largest) = (read(DEPTH_MAX), read(SIZE_MAX));
    match (deepest.parse::<usize>(), largest.parse::<usize>()) {
        (Ok(limit), _) if depth > limit => format!("fs.mqueue.msg_max is {limit}"),
        (_, Ok(limit)) if size > limit => format!("fs.mqueue.msgsize_max is {limit}"),
        _ => "the kernel finds the attributes invalid".to_owned(),
    }
}

/// Why a queue is refused for want of memory.
pub fn memory_refusal() -> String {
    format!("RLIMIT_MSGQUEUE is {} bytes for all queues of a user, counted at their full size", memory())
}

/// How many messages of this size (64 at most) the limit on memory lets one queue have; 0 if not even one.
pub fn depth_for(size: usize) -> usize {
    // What the kernel counts beside each message: its header and a tree node, 48 bytes each on 64-bit machines, rounded up.
    const OVERHEAD: u64 = 128;
    let room = getrlimit(Resource::Msgqueue).current.unwrap_or(u64::MAX);
    let limit = read(DEPTH_MAX).parse().unwrap_or(10);
    usize::try_from(room / (size as u64 + OVERHEAD)).unwrap_or(usize::MAX).min(64).min(limit)
}

fn memory() -> String {
    getrlimit(Resource::Msgqueue).current.map_or("unlimited".to_owned(), |bytes| bytes.to_string())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or("unknown".to_owned(), |text| text.trim().to_owned())
}
