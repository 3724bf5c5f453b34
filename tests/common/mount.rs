//! File systems of a process's own, that nobody else sees: small ones, to be filled, and read-only views.

use std::ffi::CString;
use std::io::Write;
use std::path::Path;

/// Moves the process into new namespaces, with a user namespace where that is what gives the right to.
pub fn unshare(flags: i32) -> std::io::Result<()> {
    for flags in [flags, flags | libc::CLONE_NEWUSER] {
        // SAFETY: it takes a number.
        if unsafe { libc::unshare(flags) } == 0 {
            return Ok(());
        }
    }
    Err(std::io::Error::last_os_error())
}

/// From here on this process's mounts are its own.
pub fn mount_alone() -> std::io::Result<()> {
    unshare(libc::CLONE_NEWNS)?;
    mount("none", "/", "none", libc::MS_REC | libc::MS_PRIVATE, "")
}

/// A file system in memory, of so many bytes and files.
pub fn mount_small(path: &str, limits: &str) -> std::io::Result<()> {
    mount_alone()?;
    mount("none", path, "tmpfs", 0, limits)
}

/// Shows what is at `source` at `target`, too, for reading only.
pub fn mount_to_read(source: &str, target: &str) -> std::io::Result<()> {
    mount_alone()?;
    mount(source, target, "none", libc::MS_BIND, "")?;
    mount("none", target, "none", libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY, "")
}

fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, data: &str) -> std::io::Result<()> {
    let [source, target, kind, data] = [source, target, kind, data].map(|text| CString::new(text).unwrap());
    // SAFETY: all four are C strings that live through the call.
    match unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Takes all room but this much.
pub fn take_room(dir: &Path, leave: usize) {
    let mut file = std::fs::File::create(dir.join("filler")).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let length = file.metadata().unwrap().len() / 4096 * 4096;
    file.set_len(length.saturating_sub(leave as u64)).unwrap();
}

/// The reverse of [`take_room`].
pub fn give_room(dir: &Path) {
    std::fs::remove_file(dir.join("filler")).unwrap();
}
