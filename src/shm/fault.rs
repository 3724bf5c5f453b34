//! What can go wrong below the verbs, and what each verb calls it.

use crate::error::{AccessError, AcquireError, NotifyError, RecvError, SendError};
use crate::raw::Corrupt;
use std::io;

/// What can go wrong below the verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A shared word makes no sense, or the file was shortened.
    Corrupt,
    /// A live process keeps the lock.
    Busy,
    /// All places of the attach table are taken.
    Full,
    /// A signal handler or an interrupter ended an interruptible wait.
    Interrupted,
    /// The system refused, with this error number.
    System(i32),
}

impl From<Corrupt> for Fault {
    fn from(Corrupt: Corrupt) -> Fault {
        Fault::Corrupt
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::InvalidData => Fault::Corrupt,
            _ => Fault::System(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        match fault {
            Fault::Corrupt => {
                io::Error::new(io::ErrorKind::InvalidData, "a shared word makes no sense, or the file was shortened")
            }
            Fault::Busy => io::Error::from_raw_os_error(libc::EBUSY),
            Fault::Full => io::Error::from_raw_os_error(libc::EUSERS),
            Fault::Interrupted => io::Error::from_raw_os_error(libc::EINTR),
            Fault::System(errno) => io::Error::from_raw_os_error(errno),
        }
    }
}

impl From<Fault> for SendError {
    fn from(fault: Fault) -> SendError {
        match fault {
            Fault::Corrupt => SendError::Corrupt,
            Fault::Busy => SendError::Busy,
            Fault::Full => SendError::System(libc::EUSERS),
            Fault::Interrupted => SendError::Interrupted,
            Fault::System(errno) => SendError::System(errno),
        }
    }
}

impl From<Fault> for RecvError {
    fn from(fault: Fault) -> RecvError {
        match fault {
            Fault::Corrupt => RecvError::Corrupt,
            Fault::Busy => RecvError::Busy,
            Fault::Full => RecvError::System(libc::EUSERS),
            Fault::Interrupted => RecvError::Interrupted,
            Fault::System(errno) => RecvError::System(errno),
        }
    }
}

impl From<Fault> for AccessError {
    fn from(fault: Fault) -> AccessError {
        match fault {
            Fault::Corrupt => AccessError::Corrupt,
            Fault::Busy => AccessError::Busy,
            Fault::Full => AccessError::System(libc::EUSERS),
            Fault::Interrupted => AccessError::System(libc::EINTR),
            Fault::System(errno) => AccessError::System(errno),
        }
    }
}

impl From<Fault> for NotifyError {
    fn from(fault: Fault) -> NotifyError {
        match fault {
            Fault::Corrupt => NotifyError::Corrupt,
            Fault::Busy => NotifyError::Busy,
            Fault::Full => NotifyError::System(libc::EUSERS),
            Fault::Interrupted => NotifyError::System(libc::EINTR),
            Fault::System(errno) => NotifyError::System(errno),
        }
    }
}

impl From<Fault> for AcquireError {
    fn from(fault: Fault) -> AcquireError {
        match fault {
            Fault::Corrupt => AcquireError::Corrupt,
            Fault::Busy => AcquireError::Busy,
            Fault::Full => AcquireError::System(libc::EUSERS),
            Fault::Interrupted => AcquireError::System(libc::EINTR),
            Fault::System(libc::ENOSPC) => AcquireError::NoSpace,
            Fault::System(errno) => AcquireError::System(errno),
        }
    }
}

impl From<Corrupt> for AcquireError {
    fn from(Corrupt: Corrupt) -> AcquireError {
        AcquireError::Corrupt
    }
}

impl From<Corrupt> for SendError {
    fn from(Corrupt: Corrupt) -> SendError {
        SendError::Corrupt
    }
}

impl From<Corrupt> for RecvError {
    fn from(Corrupt: Corrupt) -> RecvError {
        RecvError::Corrupt
    }
}

impl From<Corrupt> for AccessError {
    fn from(Corrupt: Corrupt) -> AccessError {
        AccessError::Corrupt
    }
}
