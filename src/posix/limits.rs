//! The limits that bite who uses the objects of this module, and the room that the library's own objects live in: their values,
//! what they mean, how much of each is used as far as that can be found out, and setting those that can be set.

use crate::name::default_dir;
use crate::posix::error::LimitError;
use crate::sys::limits::{self as sys, Charged};
use crate::sys::semaphore;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum LimitKind {
    /// The most messages that a kernel queue can be created for (`fs.mqueue.msg_max`).
    MsgMax,
    /// The largest message that a kernel queue can be created for, in bytes (`fs.mqueue.msgsize_max`).
    MsgsizeMax,
    /// How many kernel queues there can be (`fs.mqueue.queues_max`).
    QueuesMax,
    /// The capacity of a kernel queue that is created without one (`fs.mqueue.msg_default`).
    MsgDefault,
    /// The message size of a kernel queue that is created without one, in bytes (`fs.mqueue.msgsize_default`).
    MsgsizeDefault,
    /// How many bytes all kernel queues that a user's processes created may be charged (`RLIMIT_MSGQUEUE`).
    MessageQueueBytes,
    /// How many descriptors this process may have (`RLIMIT_NOFILE`).
    OpenFiles,
    /// The file system that queues and semaphores of this library live in, in bytes.
    SharedMemory,
    /// The largest value of a POSIX semaphore (`SEM_VALUE_MAX`).
    SemaphoreValue,
}

impl LimitKind {
    /// All there are.
    pub const ALL: [LimitKind; 9] = [
        LimitKind::MsgMax,
        LimitKind::MsgsizeMax,
        LimitKind::QueuesMax,
        LimitKind::MsgDefault,
        LimitKind::MsgsizeDefault,
        LimitKind::MessageQueueBytes,
        LimitKind::OpenFiles,
        LimitKind::SharedMemory,
        LimitKind::SemaphoreValue,
    ];

    /// One word for it, which `chappe limits` uses, too.
    pub fn word(self) -> &'static str {
        match self {
            LimitKind::MsgMax => "msg_max",
            LimitKind::MsgsizeMax => "msgsize_max",
            LimitKind::QueuesMax => "queues_max",
            LimitKind::MsgDefault => "msg_default",
            LimitKind::MsgsizeDefault => "msgsize_default",
            LimitKind::MessageQueueBytes => "rlimit_msgqueue",
            LimitKind::OpenFiles => "rlimit_nofile",
            LimitKind::SharedMemory => "shared_memory",
            LimitKind::SemaphoreValue => "sem_value_max",
        }
    }

    /// The one that this word is for.
    pub fn from_word(word: &str) -> Option<LimitKind> {
        LimitKind::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether its value is a number of bytes.
    pub fn is_bytes(self) -> bool {
        matches!(
            self,
            LimitKind::MsgsizeMax | LimitKind::MsgsizeDefault | LimitKind::MessageQueueBytes | LimitKind::SharedMemory
        )
    }

    /// What it means, in a line.
    pub fn meaning(self) -> &'static str {
        match self {
            LimitKind::MsgMax => "messages a kernel queue can be created for (beyond it: EINVAL)",
            LimitKind::MsgsizeMax => {
                "bytes of the largest message a kernel queue can be created for (beyond it: EINVAL)"
            }
            LimitKind::QueuesMax => "kernel queues in this IPC namespace (beyond it: ENOSPC)",
            LimitKind::MsgDefault => "messages a kernel queue is created for when nothing is said",
            LimitKind::MsgsizeDefault => "bytes of the largest message when nothing is said",
            LimitKind::MessageQueueBytes => {
                "bytes all kernel queues that this user created are charged, full or empty (beyond it: EMFILE)"
            }
            LimitKind::OpenFiles => "descriptors of a process; a kernel queue takes one (beyond it: EMFILE, too)",
            LimitKind::SharedMemory => "bytes where chappe's queues and semaphores live (beyond it: ENOSPC)",
            LimitKind::SemaphoreValue => "largest value of a POSIX semaphore (beyond it: EOVERFLOW)",
        }
    }

    /// How to change it, in a line.
    pub fn change(self) -> &'static str {
        match self {
            LimitKind::MsgMax => "chappe limits --set msg_max=N (root; 1 to 65536); for good: sysctl fs.mqueue.msg_max",
            LimitKind::MsgsizeMax => {
                "chappe limits --set msgsize_max=N (root; 128 to 16777216); for good: sysctl fs.mqueue.msgsize_max"
            }
            LimitKind::QueuesMax => "chappe limits --set queues_max=N (root); for good: sysctl fs.mqueue.queues_max",
            LimitKind::MsgDefault => "chappe limits --set msg_default=N (root; 1 to 65536; counts up to msg_max)",
            LimitKind::MsgsizeDefault => {
                "chappe limits --set msgsize_default=N (root; 128 to 16777216; counts up to msgsize_max)"
            }
            LimitKind::MessageQueueBytes => {
                "a process changes its own: ulimit -q N in the shell; LimitMSGQUEUE= of systemd, msgqueue in limits.conf; \
                 prlimit --msgqueue=N --pid PID (above the hard limit: CAP_SYS_RESOURCE)"
            }
            LimitKind::OpenFiles => {
                "a process changes its own: ulimit -n N in the shell; LimitNOFILE= of systemd, nofile in limits.conf"
            }
            LimitKind::SharedMemory => {
                "mount -o remount,size=SIZE on it (root), --shm-size of a container, or CHAPPE_DIR to use another directory"
            }
            LimitKind::SemaphoreValue => "it is the C library's and cannot be changed",
        }
    }

    /// The setting of the kernel that it is, with the least and the most that the kernel takes.
    fn setting(self) -> Option<(&'static str, u64, u64)> {
        let (least, most) = match self {
            LimitKind::MsgMax | LimitKind::MsgDefault => (1, sys::CAPACITY_CEILING),
            LimitKind::MsgsizeMax | LimitKind::MsgsizeDefault => (128, sys::MESSAGE_SIZE_CEILING),
            LimitKind::QueuesMax => (0, i32::MAX as u64),
            _ => return None,
        };
        Some((self.word(), least, most))
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// The value of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitValue {
    /// So much.
    Number(u64),
    /// There is none.
    Unlimited,
    /// It cannot be known here, for this reason.
    Unknown(String),
}

/// How much of a limit is used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitUse {
    /// So much, at some moment during the call.
    Exactly(u64),
    /// So much that can be seen, and perhaps more.
    AtLeast(u64),
    /// Nothing uses it up: it is compared with each object by itself.
    Nothing,
    /// It cannot be known here, for this reason.
    Unknown(String),
}

/// A limit, as it is for this process now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// Which one.
    pub kind: LimitKind,
    /// Its value.
    pub value: LimitValue,
    /// How far this process may raise it by itself, where that is something else.
    pub hard: Option<LimitValue>,
    /// How much of it is used.
    pub used: LimitUse,
    /// The directory that it is about, if it is about one.
    pub place: Option<PathBuf>,
}

/// All limits, as they are for this process now.
///
/// How much of RLIMIT_MSGQUEUE this user has used (in this user namespace, and in all IPC namespaces together) is told by
/// nobody: the kernel counts and does not show it. It is found out by a child process that creates the smallest queue (97 bytes)
/// under ever closer limits of its own, some sixty times, and removes it at once. That is exact, and disturbs nobody; it takes
/// a few milliseconds at most. Where no queue can be created for another reason it is unknown.
///
/// How many queues there are is known only where a file system of type `mqueue` that shows this IPC namespace is mounted; it
/// shows those that have a name, and an unlinked one that is still open counts, too.
///
/// ```
/// use chappe::posix::{LimitKind, LimitUse, LimitValue, limits};
/// for limit in limits() {
///     if let (LimitKind::MsgMax, LimitValue::Number(messages)) = (limit.kind, &limit.value) {
///         println!("a queue can be created for {messages} messages; {}", limit.kind.change());
///     }
///     if let LimitUse::Exactly(used) = limit.used {
///         println!("{used} of {} used", limit.kind);
///     }
/// }
/// ```
pub fn limits() -> Vec<Limit> {
    LimitKind::ALL.into_iter().map(limit).collect()
}

/// One limit, as it is for this process now; [`limits`] says what it takes to find out.
pub fn limit(kind: LimitKind) -> Limit {
    let plain = |value, used| Limit { kind, value, hard: None, used, place: None };
    let bounded = |(value, hard), used| Limit { hard: Some(bound(hard)), ..plain(bound(value), used) };
    match kind {
        LimitKind::QueuesMax => plain(read(kind), queues_used()),
        LimitKind::MessageQueueBytes => bounded(sys::message_queue_bytes(), bytes_used()),
        LimitKind::OpenFiles => bounded(sys::open_files(), files_used()),
        LimitKind::SharedMemory => {
            let directory = default_dir();
            let (value, used) = room(&directory);
            Limit { place: Some(directory), ..plain(value, used) }
        }
        LimitKind::SemaphoreValue => plain(LimitValue::Number(semaphore::VALUE_MAX.into()), LimitUse::Nothing),
        _ => plain(read(kind), LimitUse::Nothing),
    }
}

fn read(kind: LimitKind) -> LimitValue {
    match sys::read(kind.word()) {
        Ok(value) => LimitValue::Number(value),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            LimitValue::Unknown("this kernel has no message queues, or /proc is not mounted".into())
        }
        Err(error) => LimitValue::Unknown(error.to_string()),
    }
}

fn bound(value: Option<u64>) -> LimitValue {
    value.map_or(LimitValue::Unlimited, LimitValue::Number)
}

fn queues_used() -> LimitUse {
    match sys::named_queues() {
        Ok(Some(count)) => LimitUse::AtLeast(count),
        Ok(None) => LimitUse::Unknown(
            "no mqueue file system of this IPC namespace is mounted; as root: mount -t mqueue none /dev/mqueue".into(),
        ),
        Err(error) => LimitUse::Unknown(format!("they cannot be counted: {error}")),
    }
}

fn bytes_used() -> LimitUse {
    match sys::charged() {
        Ok(Charged::Bytes(bytes)) => LimitUse::Exactly(bytes),
        Ok(Charged::AtLeast(bytes)) => LimitUse::AtLeast(bytes),
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
            LimitUse::Unknown("it takes a queue to find out, and there are as many as queues_max allows".into())
        }
        Err(error) => LimitUse::Unknown(format!("it takes a queue to find out, and none can be created: {error}")),
    }
}

fn files_used() -> LimitUse {
    match std::fs::read_dir("/proc/self/fd") {
        // One of them is the directory itself.
        Ok(entries) => LimitUse::Exactly((entries.count() as u64).saturating_sub(1)),
        Err(error) => LimitUse::Unknown(error.to_string()),
    }
}

fn room(directory: &Path) -> (LimitValue, LimitUse) {
    match sys::room(directory) {
        // A file system without a size, as a tmpfs can be.
        Ok((0, _)) => (LimitValue::Unlimited, LimitUse::Unknown("the file system does not say".into())),
        Ok((all, free)) => (LimitValue::Number(all), LimitUse::Exactly(all.saturating_sub(free))),
        Err(error) => {
            let why = format!("{}: {error}", directory.display());
            (LimitValue::Unknown(why.clone()), LimitUse::Unknown(why))
        }
    }
}

/// Sets a limit. The settings of the kernel are those of this process's IPC namespace, and go with the next boot; RLIMIT_MSGQUEUE
/// is that of this process and of those that it starts from now on.
///
/// # Errors
/// [`LimitError`]: `Range` beforehand, `Permission` with the privilege that is missing, `NotSettable` for the other limits.
///
/// ```
/// use chappe::posix::{LimitError, LimitKind, set_limit};
/// let error = set_limit(LimitKind::MsgMax, 70_000).unwrap_err();
/// assert_eq!(error.to_string(), "msg_max can be 1 to 65536, not 70000");
/// assert!(matches!(set_limit(LimitKind::SemaphoreValue, 1), Err(LimitError::NotSettable { .. })));
/// ```
pub fn set_limit(kind: LimitKind, value: u64) -> Result<(), LimitError> {
    if kind == LimitKind::MessageQueueBytes {
        return sys::set_message_queue_bytes(value).map_err(|error| refused(kind, CAPABILITY, error));
    }
    let Some((name, min, max)) = kind.setting() else { return Err(LimitError::NotSettable { kind }) };
    if !(min..=max).contains(&value) {
        return Err(LimitError::Range { kind, value, min, max });
    }
    sys::write(name, value).map_err(|error| refused(kind, ROOT, error))
}

const CAPABILITY: &str = "CAP_SYS_RESOURCE, to go above the hard limit";

const ROOT: &str = "\
to be root (uid 0) in the user namespace that owns this IPC namespace (no capability is enough), and /proc/sys mounted for writing, \
which containers seldom have: set it when the container is started (--sysctl fs.mqueue...)";

fn refused(kind: LimitKind, privilege: &'static str, source: io::Error) -> LimitError {
    match source.raw_os_error() {
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => LimitError::Permission { kind, privilege, source },
        Some(libc::ENOENT) => LimitError::Missing { kind },
        _ => LimitError::System { kind, source },
    }
}
