//! What can go wrong with POSIX semaphores.

use crate::name::{Name, NameError};
use std::io;
use std::path::PathBuf;

/// Why a POSIX semaphore could not be created, opened, placed, attached or unlinked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SemaphoreError {
    /// The name breaks the rule of [`Name`].
    #[error("bad name: {0}")]
    Name(#[from] NameError),
    /// The name fits the rule of [`Name`], but the C library puts a prefix before it.
    #[error("the C library takes at most {max} bytes after the slash for a semaphore's name; this one has {bytes}")]
    NameTooLong {
        /// The bytes that it has, without the slash.
        bytes: usize,
        /// The most that it may have.
        max: usize,
    },
    /// There is no semaphore of that name.
    #[error("there is no POSIX semaphore {name}; create it first")]
    NotFound {
        /// The name that was looked for.
        name: Name,
    },
    /// [`create_new`](crate::posix::Semaphore::create_new) found one of that name.
    #[error("POSIX semaphore {name} exists already; open it, unlink it, or take another name")]
    Exists {
        /// Its name.
        name: Name,
    },
    /// The value is larger than a semaphore holds (SEM_VALUE_MAX); nothing was created.
    #[error("a POSIX semaphore holds 0 to {max} (SEM_VALUE_MAX), not {value}")]
    Value {
        /// The value asked for.
        value: u32,
        /// The largest value allowed.
        max: u32,
    },
    /// The system does not allow it.
    #[error("may not {step} {object}: {source}; {way_out}")]
    Permission {
        /// What was being done.
        step: &'static str,
        /// What it was done to.
        object: String,
        /// What can be done about it.
        way_out: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// What the name stands for is no semaphore of this C library. It was not opened.
    #[error("{path} is not a semaphore of the C library: {reason}; it was left alone", path = .path.display())]
    NotASemaphore {
        /// The file.
        path: PathBuf,
        /// What about it is wrong.
        reason: &'static str,
    },
    /// The offset is no place for a semaphore.
    #[error("a semaphore's offset must be a multiple of {alignment}, {offset} is not")]
    Misaligned {
        /// The offset asked for.
        offset: u64,
        /// Of what it has to be a multiple.
        alignment: u64,
    },
    /// The file ends before the semaphore would.
    #[error(
        "a semaphore at offset {offset} takes {size} bytes, the file ends at {length}; make it longer first (ftruncate)"
    )]
    TooShort {
        /// The offset asked for.
        offset: u64,
        /// The bytes that a semaphore takes.
        size: u64,
        /// The file's length.
        length: u64,
    },
    /// At the offset is a semaphore for the threads of one process, or none yet: waiters would never be woken by another
    /// process.
    #[error(
        "at offset {offset} is no semaphore that processes share: it was not initialised, or with pshared 0; initialise it with unnamed_in, or in C with sem_init(s, 1, value)"
    )]
    NotShared {
        /// The offset asked for.
        offset: u64,
    },
    /// The operating system refused a step for another reason.
    #[error("cannot {step} {object}: {source}{hint}", hint = hint(.source))]
    System {
        /// What was being done.
        step: &'static str,
        /// What it was done to.
        object: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// The way out for the system errors that people meet.
fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::ENOSPC) => "; free space there",
        Some(libc::EMFILE) => "; raise the limit on open files (ulimit -n)",
        _ => "",
    }
}

impl SemaphoreError {
    /// The system's answer, where there was one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            SemaphoreError::System { source, .. } | SemaphoreError::Permission { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

/// Why nothing was taken from a POSIX semaphore. Its value is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The value is zero ([`try_wait`](crate::posix::Semaphore::try_wait)).
    #[error("the semaphore is at zero")]
    WouldBlock,
    /// The value stayed zero until the time was over.
    #[error("the semaphore stayed at zero until the time was over")]
    TimedOut,
    /// The C library refused, with this error number.
    #[error("system error {0}")]
    System(i32),
}

/// Why nothing was added to a POSIX semaphore. Its value is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// The value is the largest there is: somebody posts more than is taken.
    #[error("the semaphore is at its largest value, 2147483647 (SEM_VALUE_MAX); somebody posts what was not taken")]
    Overflow,
    /// The C library refused, with this error number.
    #[error("system error {0}")]
    System(i32),
}
