//! Files on which this process holds a permit as a command, by a record lock of the process. Whoever became the command said so in
//! the environment, for closing any descriptor of such a file would give the permit back.

use super::file::{self, Facts};
use rustix::fs::{OFlags, fcntl_getfl};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};

/// `PID:DEVICE:INODE,DEVICE:INODE,...`
const VARIABLE: &str = "CHAPPE_HELD";

struct Held {
    pid: u32,
    files: Vec<(u64, u64)>,
}

static HELD: OnceLock<Option<Held>> = OnceLock::new();

fn parse(text: &OsStr) -> Option<Held> {
    let (pid, files) = text.to_str()?.split_once(':')?;
    let one = |file: &str| {
        let (device, inode) = file.split_once(':')?;
        Some((device.parse().ok()?, inode.parse().ok()?))
    };
    Some(Held { pid: pid.parse().ok()?, files: files.split(',').map_while(one).collect() })
}

/// What is held by this very process: what a parent holds is not.
fn here() -> &'static [(u64, u64)] {
    match HELD.get() {
        Some(Some(held)) if held.pid == std::process::id() => &held.files,
        _ => &[],
    }
}

/// Whether this process holds a permit by a record lock on the file behind `fd`.
pub(crate) fn is_held(fd: BorrowedFd<'_>) -> bool {
    let files = here();
    !files.is_empty() && file::facts(fd).is_ok_and(|facts| files.contains(&(facts.device, facts.inode)))
}

/// What a descriptor is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To take byte locks on it: enrolled, see [`process`](super::process).
    Bytes,
    /// To map the file, and nothing else.
    Mapping,
    /// It is somebody else's, too, or no object's file: of no use a second time.
    Lent,
}

/// Descriptors of such files that were left open, to be used again: they hold no byte locks any more.
static KEPT: Mutex<Vec<(OwnedFd, Purpose)>> = Mutex::new(Vec::new());

/// What the environment says, if it was not asked yet. Not to be called under the roster: fork may have to wait for the environment, too.
pub(super) fn environment() -> Option<OsString> {
    HELD.get().map_or_else(|| std::env::var_os(VARIABLE), |_| None)
}

/// Keeps what the [environment] said. Under the roster: a fork child would wait for ever for the thread that was at it.
pub(super) fn settle(text: Option<OsString>) {
    HELD.get_or_init(|| parse(&text?));
}

/// Leaves a descriptor of a held file open.
pub(super) fn keep(fd: OwnedFd, purpose: Purpose) {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push((fd, purpose));
}

/// A descriptor of this file, open for this access and this purpose, that was left open. Looks at the file only if this process holds any.
pub(super) fn kept(file: impl FnOnce() -> Option<Facts>, access: OFlags, purpose: Purpose) -> Option<OwnedFd> {
    let wanted = if here().is_empty() { return None } else { file()? };
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = |(fd, kept_for): &(OwnedFd, Purpose)| {
        let same = file::facts(fd.as_fd()).is_ok_and(|facts| facts.same_file(wanted));
        *kept_for == purpose && same && fcntl_getfl(fd).is_ok_and(|flags| flags & OFlags::ACCMODE == access)
    };
    let place = kept.iter().position(fits)?;
    Some(kept.swap_remove(place).0)
}

/// The variable, and what it says when this process holds the file behind `fd`, too.
pub(crate) fn with(fd: BorrowedFd<'_>) -> std::io::Result<(&'static str, OsString)> {
    let facts = file::facts(fd)?;
    let mut files = here().to_vec();
    files.push((facts.device, facts.inode));
    let files: Vec<String> = files.iter().map(|(device, inode)| format!("{device}:{inode}")).collect();
    Ok((VARIABLE, format!("{}:{}", std::process::id(), files.join(",")).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_read() {
        let held = parse(OsStr::new("17:3:4,5:6")).unwrap();
        assert_eq!((held.pid, held.files), (17, vec![(3, 4), (5, 6)]));
        assert!(parse(OsStr::new("")).is_none() && parse(OsStr::new("x:3:4")).is_none());
        assert_eq!(parse(OsStr::new("1:3:4,x")).unwrap().files, [(3, 4)]);
    }
}
