//! This process: who it is, how many CPUs it may use, and that it may fork.
//!
//! A fork child shares its parent's open file descriptions, and with them the byte locks that say "alive". So the roster
//! keeps every descriptor of an object's file, from its opening to its closing, and a fork handler gives the child descriptions of its own
//! before it runs anything else.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Counts the forks between the first process and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// A descriptor of an object's file: its number, and the file to which it led. Somebody may close it under us, and the number stand for
/// another file then.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Enrolled {
    fd: RawFd,
    device: u64,
    inode: u64,
}

impl Enrolled {
    fn of(fd: BorrowedFd<'_>) -> io::Result<Enrolled> {
        let stat = rustix::fs::fstat(fd)?;
        Ok(Enrolled { fd: fd.as_raw_fd(), device: stat.st_dev, inode: stat.st_ino })
    }

    /// The descriptor, if it leads to that file still. The roster is held, or this is a fork child that has one thread.
    fn still(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: it is open, for it is closed after it was dismissed, which needs the mutex that is held. Should somebody have closed
        // it under us, it is only looked at unless it leads to the same file.
        let fd = unsafe { BorrowedFd::borrow_raw(self.fd) };
        Enrolled::of(fd).is_ok_and(|now| now == *self).then_some(fd)
    }
}

/// An entry of the roster.
pub(crate) struct Entry {
    enrolled: Enrolled,
    /// It stays open, but nobody uses it.
    rests: bool,
}

/// Every descriptor that holds byte locks, or may come to hold some. Its mutex also serialises, within the process, everything that takes
/// byte locks which are not its own (see `docs/recovery.md`).
static ROSTER: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// Serialises attaching anew after a fork.
static REATTACH: Mutex<()> = Mutex::new(());

/// The locks that the forking thread holds from just before the fork to just after it, on both sides.
static HELD: Mutex<Option<Held>> = Mutex::new(None);

struct Held {
    roster: MutexGuard<'static, Vec<Entry>>,
    _reattach: MutexGuard<'static, ()>,
}

// SAFETY: the guards are put into HELD and taken out again by one thread: the one that forks, which is also the only one
// of the child.
unsafe impl Send for Held {}

/// The number of forks between the first process and this one: a handle made under another number is the parent's.
#[inline(always)]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// The mutex over byte locks that are not one's own. A panic while it was held left nothing half-done in the vector.
pub(crate) fn roster() -> MutexGuard<'static, Vec<Entry>> {
    ROSTER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mutex over attaching anew after a fork.
pub(crate) fn reattach() -> MutexGuard<'static, ()> {
    REATTACH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens an object's file. From the moment that it is open, a fork child gets its own open file description under its number.
pub(crate) fn enroll(open: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<(OwnedFd, Enrolled)> {
    static HANDLERS: Once = Once::new();
    HANDLERS.call_once(|| {
        // SAFETY: the three handlers are functions that live as long as the program.
        let result =
            unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_parent), Some(after_fork_child)) };
        assert_eq!(result, 0, "pthread_atfork fails only for lack of a few bytes of memory");
    });
    // Nobody forks between the opening and the entry.
    let mut roster = roster();
    let fd = open()?;
    let enrolled = Enrolled::of(fd.as_fd())?;
    match roster.iter_mut().find(|entry| entry.enrolled == enrolled) {
        // It was left open.
        Some(entry) => entry.rests = false,
        None => roster.push(Entry { enrolled, rests: false }),
    }
    Ok((fd, enrolled))
}

/// The reverse of [`enroll`]: closes the descriptor.
pub(crate) fn dismiss(enrolled: Enrolled, close: impl FnOnce()) {
    let mut roster = roster();
    if let Some(place) = roster.iter().position(|entry| entry.enrolled == enrolled) {
        roster.swap_remove(place);
    }
    close();
}

/// It stays open, unused, until it is [enrolled](enroll) again.
pub(crate) fn rest(enrolled: Enrolled) {
    roster().iter_mut().filter(|entry| entry.enrolled == enrolled).for_each(|entry| entry.rests = true);
}

/// How many enrolled descriptors that are in use `chosen` chooses.
pub(crate) fn enrolled(chosen: impl Fn(BorrowedFd<'_>) -> bool) -> usize {
    roster().iter().filter(|entry| !entry.rests && entry.enrolled.still().is_some_and(&chosen)).count()
}

/// A descriptor of this process that may be somebody else's, and that exec closes.
pub(crate) struct Stray(RawFd);

impl AsFd for Stray {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it was open when it was found; should its owner close it meanwhile, the calls made on it fail or, on a number used
        // again, look at another file: it is only looked at, and replaced, by one that is about to become another program.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

/// The descriptors that exec closes and that `chosen` chooses, whoever opened them.
pub(crate) fn descriptors(chosen: impl Fn(BorrowedFd<'_>) -> bool) -> io::Result<Vec<Stray>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        let Some(stray) = number.map(Stray) else { continue };
        // One that was closed since (that of the listing itself) gives an error, and is of no interest.
        let closes = rustix::io::fcntl_getfd(&stray).is_ok_and(|flags| flags.contains(rustix::io::FdFlags::CLOEXEC));
        if closes && chosen(stray.as_fd()) {
            found.push(stray);
        }
    }
    Ok(found)
}

/// Closes the description under a number, and keeps the number, so that nothing else comes to stand under it.
pub(crate) fn replace_by_null(stray: Stray) -> io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // SAFETY: both are open descriptors of this process; dup3 closes the old description under the number, which stays open.
    match unsafe { libc::dup3(null.as_raw_fd(), stray.0, libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

extern "C" fn before_fork() {
    let reattach = reattach();
    let held = Held { roster: roster(), _reattach: reattach };
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
}

extern "C" fn after_fork_parent() {
    drop(HELD.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// Runs in the child before fork returns: only async-signal-safe calls, no allocation.
extern "C" fn after_fork_child() {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(held) = &held {
        held.roster
            .iter()
            .map(|entry| &entry.enrolled)
            .filter(|enrolled| enrolled.still().is_some())
            .for_each(|enrolled| reopen(enrolled.fd));
    }
    GENERATION.fetch_add(1, Ordering::Relaxed);
    drop(held);
}

/// Puts a new open file description of the same inode under the number `fd`; if there is none to be had, one of
/// `/dev/null`, so that the parent's byte is free and the number stays ours. Attaching checks which it is.
fn reopen(fd: RawFd) {
    let mut path = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
    write_decimal(&mut path[14..], fd);
    let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: the path is NUL-terminated.
    let mut fresh = unsafe { libc::open(path.as_ptr().cast(), flags) };
    if fresh < 0 {
        // SAFETY: as above.
        fresh = unsafe { libc::open(c"/dev/null".as_ptr(), flags) };
    }
    if fresh < 0 {
        // SAFETY: the roster's descriptors are ours; the number may be used by another file from here on, which attaching
        // notices by its inode.
        unsafe { libc::close(fd) };
        return;
    }
    // SAFETY: both are open descriptors of ours; dup3 closes the old description under `fd`.
    unsafe { libc::dup3(fresh, fd, libc::O_CLOEXEC) };
    // SAFETY: `fresh` was opened above and is used by nobody else.
    unsafe { libc::close(fresh) };
}

/// Writes a non-negative number without allocating; `buffer` has room for ten digits.
fn write_decimal(buffer: &mut [u8], number: RawFd) {
    let mut digits = [0u8; 10];
    let (mut left, mut count) = (number.unsigned_abs(), 0);
    loop {
        digits[count] = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        count += 1;
        if left == 0 {
            break;
        }
    }
    digits[..count].iter().rev().zip(buffer).for_each(|(digit, place)| *place = *digit);
}

/// How a process describes itself to others. For people; nothing is decided by it.
pub(crate) struct Description {
    pub pid: u32,
    pub uid: u32,
    pub pid_namespace: u64,
    pub command: [u8; 16],
    pub now_unix_nanos: u64,
}

/// This process, now.
pub(crate) fn describe() -> Description {
    let namespace = rustix::fs::stat("/proc/self/ns/pid").map_or(0, |stat| stat.st_ino);
    Description {
        pid: std::process::id(),
        uid: rustix::process::getuid().as_raw(),
        pid_namespace: namespace,
        command: command(),
        now_unix_nanos: unix_nanos(),
    }
}

/// The wall clock, for people: nanoseconds since the Unix epoch.
pub(crate) fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The wall clock as of the last tick of the kernel's (a few milliseconds), for people; cheap.
#[inline(always)]
pub(crate) fn unix_nanos_coarse() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// The name of the main thread, which is what ps shows as the command.
fn command() -> [u8; 16] {
    let mut name = [0u8; 16];
    // Not by the C library's calls: they are cancellation points, and this may be the first call of a fork child (pthreads(7)).
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(c"/proc/self/comm", flags, rustix::fs::Mode::empty()) else { return name };
    let mut text = [0u8; 17];
    let read = rustix::io::read(&file, &mut text).unwrap_or(0);
    // SAFETY: it is ours, and not used afterwards.
    unsafe { rustix::io::close(file.into_raw_fd()) };
    let text = text[..read].strip_suffix(b"\n").unwrap_or(&text[..read]);
    let len = text.len().min(name.len());
    name[..len].copy_from_slice(&text[..len]);
    name
}

/// Whether this process has no thread but the calling one, as far as can be seen.
pub(crate) fn has_one_thread() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

/// The CPU that this thread is confined to; `None` if it may use several.
pub(crate) fn only_cpu() -> Option<u32> {
    let set = rustix::thread::sched_getaffinity(None).ok().filter(|set| set.count() == 1)?;
    let cpu = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| set.is_set(*cpu))?;
    u32::try_from(cpu).ok()
}

/// The umask of this process: there is no call that reads it without setting it, so it is read from /proc; where that is
/// missing, the usual 022.
pub(crate) fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o022)
}

/// Ends the process if all threads of the program have ended and only threads of this name are left: a process ends with its last
/// thread (pthread_exit(3)), and those are none of its own.
pub(crate) fn end_if_abandoned(name: &str) {
    let is_gone = |stat: &str| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']));
    let is_ours = |stat: &str| stat.split_once('(').is_some_and(|(_, rest)| rest.starts_with(&format!("{name})")));
    let stat = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    // The first thread is a zombie as long as others live.
    if !is_gone(&stat(Path::new("/proc/self/stat"))) {
        return;
    }
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return };
    let all = threads.flatten().map(|thread| stat(&thread.path().join("stat")));
    if all.into_iter().all(|stat| is_gone(&stat) || is_ours(&stat)) {
        std::process::exit(0);
    }
}

/// The user this process acts as.
pub(crate) fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether this process may do what the bits `wanted` (4 reading, 2 writing) stand for, by a file's mode and owners: the rule
/// of path_resolution(7), without access control lists.
pub(crate) fn may(wanted: u32, mode: u32, uid: u32, gid: u32) -> bool {
    let me = rustix::process::geteuid();
    let in_group = || {
        rustix::process::getegid().as_raw() == gid
            || rustix::process::getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid))
    };
    let granted = match () {
        () if me.is_root() => 0o7,
        () if me.as_raw() == uid => mode >> 6,
        () if in_group() => mode >> 3,
        () => mode,
    };
    granted & wanted == wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn decimals() {
        for (number, text) in [(0, "0"), (7, "7"), (10, "10"), (i32::MAX, "2147483647")] {
            let mut buffer = [0u8; 12];
            write_decimal(&mut buffer, number);
            assert_eq!(CStr::from_bytes_until_nul(&buffer).unwrap().to_str().unwrap(), text);
        }
    }
}
