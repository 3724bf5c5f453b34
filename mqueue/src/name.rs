//! The rule of names, with Linux's errors in Linux's order: what the C library refuses first, then what the kernel does.

use crate::errno::Errno;

/// PATH_MAX, with the terminating NUL, which the kernel counts.
const PATH_MAX: usize = 4096;

/// The name without its slash.
pub fn check(name: &[u8]) -> Result<&[u8], Errno> {
    let rest = name.strip_prefix(b"/").ok_or(libc::EINVAL)?;
    if rest.len() >= PATH_MAX {
        return Err(libc::ENAMETOOLONG);
    }
    if rest.is_empty() {
        return Err(libc::ENOENT);
    }
    if rest == b"." || rest == b".." || rest.contains(&b'/') {
        return Err(libc::EACCES);
    }
    if rest.len() > chappe::NAME_BYTES_MAX {
        return Err(libc::ENAMETOOLONG);
    }
    Ok(rest)
}
