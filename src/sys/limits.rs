//! Limits that the kernel keeps: its settings under `/proc/sys/fs/mqueue`, this process's resource limits, room in a file
//! system, and how much of RLIMIT_MSGQUEUE is used, which the kernel tells nobody. What they mean is said in `posix`.

use crate::name::Name;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// The largest of both, whatever privilege one has (ipc/mqueue.c: `HARD_MSGMAX`, `HARD_MSGSIZEMAX`).
pub(crate) const CAPACITY_CEILING: u64 = 65536;
pub(crate) const MESSAGE_SIZE_CEILING: u64 = 16 << 20;

/// What the kernel keeps of each message that a queue could have: `struct msg_msg` and `struct posix_msg_tree_node`, twelve
/// words together, and both are the same on 32-bit and 64-bit systems.
const OVERHEAD: u64 = 12 * size_of::<usize>() as u64;

/// What a queue is charged against RLIMIT_MSGQUEUE, whatever is in it. (The tree has at most a node a priority, of which there
/// are 32768; so it has half of the overhead.)
pub(crate) fn charge(capacity: u64, message_size: u64) -> u64 {
    let half = OVERHEAD / 2;
    let (messages, nodes) = (message_size.saturating_add(half).saturating_mul(capacity), capacity.min(32768) * half);
    messages.saturating_add(nodes)
}

fn setting(name: &str) -> String {
    format!("/proc/sys/fs/mqueue/{name}")
}

/// A setting of the IPC namespace that this process is in.
pub(crate) fn read(name: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(setting(name))?;
    text.trim().parse().map_err(|_| io::Error::other(format!("it says {text:?}")))
}

/// Sets one, and sees that it is so.
pub(crate) fn write(name: &str, value: u64) -> io::Result<()> {
    std::fs::write(setting(name), format!("{value}\n"))?;
    match read(name)? {
        now if now == value => Ok(()),
        now => Err(io::Error::other(format!("it is {now} all the same"))),
    }
}

/// A limit of this process and how far it may raise it; `None` is unlimited.
pub(crate) type Bounds = (Option<u64>, Option<u64>);

pub(crate) fn message_queue_bytes() -> Bounds {
    let limit = getrlimit(Resource::Msgqueue);
    (limit.current, limit.maximum)
}

pub(crate) fn open_files() -> Bounds {
    let limit = getrlimit(Resource::Nofile);
    (limit.current, limit.maximum)
}

/// Sets what this process may use, raising how far it may if need be (which needs a privilege).
pub(crate) fn set_message_queue_bytes(value: u64) -> io::Result<()> {
    let maximum = getrlimit(Resource::Msgqueue).maximum.map(|maximum| maximum.max(value));
    Ok(setrlimit(Resource::Msgqueue, Rlimit { current: Some(value), maximum })?)
}

/// Whether this process can have another descriptor.
pub(crate) fn has_descriptor() -> bool {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).is_ok()
}

/// The bytes of a file system: how many it can have, and how many of them are free for this user.
pub(crate) fn room(path: &Path) -> io::Result<(u64, u64)> {
    let facts = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(facts.f_frsize);
    Ok((bytes(facts.f_blocks), bytes(facts.f_bavail)))
}

/// How many queues have a name, if a file system that lists those of this IPC namespace is mounted.
pub(crate) fn named_queues() -> io::Result<Option<u64>> {
    use std::os::unix::fs::MetadataExt;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut places =
        mounts.lines().filter(|line| line.contains(" - mqueue ")).filter_map(|line| line.split(' ').nth(4));
    let Some(first) = places.next() else { return Ok(None) };
    // One may be mounted that belongs to another namespace. The device of a queue tells.
    let device = device()?;
    let ours = |place: &&str| std::fs::metadata(place).is_ok_and(|directory| directory.dev() == device);
    let Some(place) = std::iter::once(first).chain(places).find(ours) else { return Ok(None) };
    Ok(Some(std::fs::read_dir(place)?.count() as u64))
}

/// The device that the queues of this IPC namespace are on.
fn device() -> io::Result<u64> {
    let name = fresh_name();
    let access = super::mqueue::Access { receive: true, send: false, nonblocking: true };
    let smallest = super::mqueue::Size { capacity: 1, message_size: 1 };
    let fd = super::mqueue::create_new(&name, access, 0o600, Some(smallest))?;
    let unlinked = super::mqueue::unlink(&name);
    let device = super::file::facts(fd.as_fd())?.device;
    unlinked.map(|()| device)
}

/// A name that no other queue has.
fn fresh_name() -> Name {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    Name::new(format!("chappe-limits-{}-{number}", std::process::id())).expect("a good name")
}

/// How much of RLIMIT_MSGQUEUE this user has used, as far as it could be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charged {
    /// Just so much, at some moment during the call.
    Bytes(u64),
    /// More than any limit that this process can give itself leaves to see.
    AtLeast(u64),
}

/// How much of RLIMIT_MSGQUEUE this user has used.
///
/// The kernel counts and tells nobody. But it compares at each creation, with the limit of the process that creates: so the
/// smallest limit under which the smallest queue can be created is what is used, and the size of that queue. A child looks for it by halving, for the
/// limit is of the whole process; it takes one name and some bytes for some microseconds, and disturbs nobody.
pub(crate) fn charged() -> io::Result<Charged> {
    let name = fresh_name();
    let raw_name = CString::new(name.as_bytes()).expect("a name holds no NUL");
    let maximum = getrlimit(Resource::Msgqueue).maximum;
    let (mut answers, answer) = io::pipe()?;
    let search = Search { name: &raw_name, maximum, reader: answers.as_raw_fd(), writer: answer.as_raw_fd() };
    let child = start(&search)?;
    drop(answer);
    let mut bytes = [0; 16];
    let read = answers.read_exact(&mut bytes);
    end(child);
    // Should the child have been killed in the middle.
    let _ = super::mqueue::unlink(&name);
    read?;
    let [outcome, limit] = [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|index| bytes[at + index])));
    let smallest = charge(1, 1);
    match outcome {
        FOUND => Ok(Charged::Bytes(limit.saturating_sub(smallest))),
        NOT_FOUND => Ok(Charged::AtLeast(limit.saturating_sub(smallest - 1))),
        errno => Err(io::Error::from_raw_os_error(errno as i32)),
    }
}

/// What the child says first: these, or an error number.
const FOUND: u64 = 0;
const NOT_FOUND: u64 = u64::MAX;

/// What the child has to know.
struct Search<'a> {
    name: &'a CString,
    maximum: Option<u64>,
    reader: RawFd,
    writer: RawFd,
}

/// Starts a child that searches and ends. No handler of fork runs, and no SIGCHLD comes when it ends: the program need not
/// know of it.
fn start(search: &Search<'_>) -> io::Result<libc::pid_t> {
    // SAFETY: without flags, and with no stack of its own, this is a fork. The child has one thread, and whatever other threads
    // held stays held in it, so it calls nothing but the system, and never returns.
    match unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => search.run(),
        child => Ok(child as libc::pid_t),
    }
}

/// Waits until the child is gone.
fn end(child: libc::pid_t) {
    let mut status = 0;
    loop {
        // SAFETY: the status lives through the call. A child that sends no signal is waited for with this flag only.
        let ended = unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) };
        if ended == child || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

impl Search<'_> {
    /// The child's life.
    fn run(&self) -> ! {
        // SAFETY: the child's own copy of a descriptor that it does not use. Now it can have one for a queue.
        unsafe { libc::syscall(libc::SYS_close, self.reader) };
        let answer = self.search();
        // SAFETY: the address and the length are those of a live array.
        unsafe { libc::syscall(libc::SYS_write, self.writer, answer.as_ptr(), size_of_val(&answer)) };
        loop {
            // SAFETY: it ends the process.
            unsafe { libc::syscall(libc::SYS_exit_group, 0) };
        }
    }

    /// Halves what is left until it is one number: at most 64 times.
    fn search(&self) -> [u64; 2] {
        let (mut low, mut high) = (0, self.maximum.unwrap_or(u64::MAX));
        match self.fits_under(high) {
            Ok(true) => {}
            Ok(false) => return [NOT_FOUND, high],
            Err(errno) => return [errno, 0],
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match self.fits_under(middle) {
                Ok(true) => high = middle,
                Ok(false) => low = middle + 1,
                Err(errno) => return [errno, 0],
            }
        }
        [FOUND, high]
    }

    /// Whether the smallest queue can be created under this limit.
    fn fits_under(&self, limit: u64) -> Result<bool, u64> {
        let limits = [limit, self.maximum.unwrap_or(u64::MAX)];
        let none = std::ptr::null_mut::<u64>();
        // SAFETY: the kernel's struct is two numbers of 64 bits, which live through the call.
        let set = unsafe { libc::syscall(libc::SYS_prlimit64, 0, libc::RLIMIT_MSGQUEUE, limits.as_ptr(), none) };
        if set != 0 {
            return Err(errno());
        }
        // The kernel's struct is eight numbers; the first of them are flags, capacity, and message size.
        let attributes: [libc::c_long; 8] = [0, 1, 1, 0, 0, 0, 0, 0];
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        // SAFETY: a C string and the attributes, which live through the call.
        let queue = unsafe { libc::syscall(libc::SYS_mq_open, self.name.as_ptr(), flags, 0o600, attributes.as_ptr()) };
        if queue < 0 {
            return if errno() == libc::EMFILE as u64 { Ok(false) } else { Err(errno()) };
        }
        // SAFETY: a C string.
        unsafe { libc::syscall(libc::SYS_mq_unlink, self.name.as_ptr()) };
        // SAFETY: the child's own descriptor, not used afterwards.
        unsafe { libc::syscall(libc::SYS_close, queue) };
        Ok(true)
    }
}

fn errno() -> u64 {
    // Error numbers are small and positive; this allocates nothing.
    io::Error::last_os_error().raw_os_error().unwrap_or(0).unsigned_abs().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_default_queue_is_charged_as_measured() {
        assert_eq!(charge(10, 8192), 82_880);
        assert_eq!(charge(1, 1), 97);
        assert_eq!(charge(65536, 16), 65536 * 64 + 32768 * 48);
        assert_eq!(charge(u64::MAX, u64::MAX), u64::MAX);
    }
}
