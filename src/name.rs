//! Names of objects and the directories they live in. What a name becomes on disk is decided here and nowhere else.
//!
//! It opens nothing and looks at no file.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The directory used when neither `CHAPPE_DIR` nor an option names another.
pub const DEFAULT_DIR: &str = "/dev/shm";

/// The environment variable that moves every name into another directory.
pub const DIR_VARIABLE: &str = "CHAPPE_DIR";

/// The longest name, in bytes, not counting the optional leading slash: the kernel's own limit for queue names.
pub const NAME_BYTES_MAX: usize = 255;

/// The beginning of the file name of a doorbell.
const BELL_PREFIX: &str = "chappe.bell.";

/// The longest file name the file systems of Linux take.
const FILE_NAME_BYTES_MAX: usize = 255;

/// What kind of object a file holds; part of its file name and of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A message queue.
    Queue,
    /// A semaphore.
    Semaphore,
}

impl Kind {
    /// All there are.
    pub(crate) const ALL: [Kind; 2] = [Kind::Queue, Kind::Semaphore];

    /// The prefix of every file name of this kind.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Kind::Queue => "chappe.mq.",
            Kind::Semaphore => "chappe.sem.",
        }
    }

    /// One word for people: `queue`, `semaphore`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Queue => "queue",
            Kind::Semaphore => "semaphore",
        }
    }
}

/// The name of an object: `orders` and `/orders` are the same one.
///
/// A name is 1 to 255 bytes after one optional leading slash, holds neither `/` nor NUL, and is neither `.` nor
/// `..`. It need not be UTF-8.
///
/// ```
/// use chappe::Name;
/// assert_eq!(Name::new("/orders")?, Name::new("orders")?);
/// assert!(Name::new("../etc/passwd").is_err());
/// # Ok::<(), chappe::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Vec<u8>);

/// Why a name was refused. The text states the rule that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing, or nothing but the leading slash.
    #[error("a name needs 1 to 255 bytes after an optional leading slash; this one has none")]
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("a name has at most 255 bytes after an optional leading slash; this one has {0}")]
    TooLong(usize),
    /// A slash that is not the first byte.
    #[error("a name may begin with one slash and hold no other: every object is one file in one directory")]
    Slash,
    /// A NUL byte.
    #[error("a name may not hold a NUL byte")]
    Nul,
    /// `.` or `..`.
    #[error("`.` and `..` name directories, not objects")]
    Dots,
}

impl Name {
    /// Checks `text` against the rule above.
    ///
    /// # Errors
    /// The part of the rule that `text` breaks.
    pub fn new(text: impl AsRef<[u8]>) -> Result<Name, NameError> {
        let text = text.as_ref();
        let text = text.strip_prefix(b"/").unwrap_or(text);
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.contains(&b'/') {
            return Err(NameError::Slash);
        }
        if text.contains(&0) {
            return Err(NameError::Nul);
        }
        if text == b"." || text == b".." {
            return Err(NameError::Dots);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong(text.len()));
        }
        Ok(Name(text.to_vec()))
    }

    /// The name without the leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The file that holds an object of this kind and name.
    ///
    /// The prefix takes a few bytes of the 255 that a file name may have, so a name that does not fit beside it is cut
    /// and ends in a hash of the whole; the header holds the whole name, and opening compares it.
    pub(crate) fn file_name(&self, kind: Kind) -> OsString {
        let mut file = kind.prefix().as_bytes().to_vec();
        let room = FILE_NAME_BYTES_MAX - file.len();
        if self.0.len() <= room {
            file.extend_from_slice(&self.0);
        } else {
            let hash = format!("~{:016x}", fnv1a(&self.0));
            file.extend_from_slice(&self.0[..room - hash.len()]);
            file.extend_from_slice(hash.as_bytes());
        }
        OsString::from_vec(file)
    }
}

/// The file that is the doorbell of the queue in this file: the name of no other one, ever.
pub(crate) fn bell_file_name(inode: u64, created: u64) -> OsString {
    OsString::from(format!("{BELL_PREFIX}{inode:x}-{created:x}"))
}

/// The inode of the queue that a doorbell of this name belongs to; `None` if it is no such name.
pub(crate) fn bell_inode(file_name: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(file_name.strip_prefix(BELL_PREFIX.as_bytes())?).ok()?;
    u64::from_str_radix(text.split_once('-')?.0, 16).ok()
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): stable for ever, which std's hashers do not promise.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"/{}\"", self.0.escape_ascii())
    }
}

/// The directory that names are looked up in: `CHAPPE_DIR` if it is set and not empty, else `/dev/shm`.
pub fn default_dir() -> PathBuf {
    match std::env::var_os(DIR_VARIABLE) {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => PathBuf::from(DEFAULT_DIR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule() {
        let name = |text: &[u8]| Name::new(text);
        assert_eq!(name(b"/a").unwrap(), name(b"a").unwrap());
        assert_eq!(name(b""), Err(NameError::Empty));
        assert_eq!(name(b"/"), Err(NameError::Empty));
        assert_eq!(name(b"//a"), Err(NameError::Slash));
        assert_eq!(name(b"a/b"), Err(NameError::Slash));
        assert_eq!(name(b"a\0b"), Err(NameError::Nul));
        assert_eq!(name(b".."), Err(NameError::Dots));
        assert_eq!(name(&[b'x'; 256]), Err(NameError::TooLong(256)));
        assert!(name(&[b'x'; 255]).is_ok());
        assert!(name(b"\xff\xfe").is_ok());
    }

    #[test]
    fn long_names_get_distinct_files_that_fit() {
        let mut text = [b'x'; 255];
        let one = Name::new(text).unwrap().file_name(Kind::Queue);
        text[254] = b'y';
        let two = Name::new(text).unwrap().file_name(Kind::Queue);
        assert_ne!(one, two);
        assert_eq!(one.len(), 255);
    }
}
