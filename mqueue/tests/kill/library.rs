//! The drop-in library as a C program sees it: loaded, its functions looked up by name. All unsafe code of this test is here. It decides nothing.

use libc::{c_char, c_int, c_uint, c_void, mode_t, mq_attr, nfds_t, pollfd, sigevent, size_t, ssize_t, timespec};
use std::ffi::{CStr, CString};
use std::io::Error;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a call is refused with.
pub type Errno = c_int;

/// The one queue.
const NAME: &CStr = c"/q";

/// The signal that tells of a message.
pub const SIGNAL: c_int = libc::SIGUSR1;

macro_rules! library {
    ($($name:ident: fn($($argument:ty),*) -> $result:ty;)*) => {
        struct Library {
            $($name: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Library {
            fn of(handle: *mut c_void) -> Library {
                Library {
                    $($name: {
                        let address = look_up(handle, concat!(stringify!($name), "\0"));
                        type Function = unsafe extern "C" fn($($argument),*) -> $result;
                        // SAFETY: it is the address of the function of this name, whose type this is.
                        unsafe { std::mem::transmute::<*mut c_void, Function>(address) }
                    },)*
                }
            }
        }
    };
}

// `mq_open` of the library takes four arguments, always.
library! {
    mq_open: fn(*const c_char, c_int, mode_t, *const mq_attr) -> c_int;
    mq_close: fn(c_int) -> c_int;
    mq_unlink: fn(*const c_char) -> c_int;
    mq_send: fn(c_int, *const c_char, size_t, c_uint) -> c_int;
    mq_timedsend: fn(c_int, *const c_char, size_t, c_uint, *const timespec) -> c_int;
    mq_receive: fn(c_int, *mut c_char, size_t, *mut c_uint) -> ssize_t;
    mq_timedreceive: fn(c_int, *mut c_char, size_t, *mut c_uint, *const timespec) -> ssize_t;
    mq_notify: fn(c_int, *const sigevent) -> c_int;
    mq_getattr: fn(c_int, *mut mq_attr) -> c_int;
    mq_setattr: fn(c_int, *const mq_attr, *mut mq_attr) -> c_int;
    close: fn(c_int) -> c_int;
    close_range: fn(c_uint, c_uint, c_int) -> c_int;
    dup2: fn(c_int, c_int) -> c_int;
    dup3: fn(c_int, c_int, c_int) -> c_int;
    epoll_ctl: fn(c_int, c_int, c_int, *mut libc::epoll_event) -> c_int;
    ppoll: fn(*mut pollfd, nfds_t, *const timespec, *const libc::sigset_t) -> c_int;
    pselect: fn(c_int, *mut libc::fd_set, *mut libc::fd_set, *mut libc::fd_set, *const timespec, *const libc::sigset_t) -> c_int;
    poll: fn(*mut pollfd, nfds_t, c_int) -> c_int;
    select: fn(c_int, *mut libc::fd_set, *mut libc::fd_set, *mut libc::fd_set, *mut libc::timeval) -> c_int;
}

fn look_up(handle: *mut c_void, name: &str) -> *mut c_void {
    // SAFETY: the library is loaded and stays so, and the name ends with a NUL.
    let address = unsafe { libc::dlsym(handle, name.as_ptr().cast()) };
    assert!(!address.is_null(), "the library has no {name}");
    address
}

static LIBRARY: OnceLock<Library> = OnceLock::new();

/// Loads it, with everything bound: the dynamic linker has nothing left to do in what is stepped.
pub fn load(path: &Path) {
    let name = CString::new(path.as_os_str().as_bytes()).expect("a path");
    // SAFETY: the path is a C string; what the library does at loading is to look up functions.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    assert!(!handle.is_null(), "cannot load {}", path.display());
    LIBRARY.get_or_init(|| Library::of(handle));
}

fn library() -> &'static Library {
    LIBRARY.get().expect("it is loaded at the beginning")
}

/// -1 is an errno.
fn checked(result: ssize_t) -> Result<ssize_t, Errno> {
    if result == -1 { Err(Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(result) }
}

fn done(result: c_int) -> Result<(), Errno> {
    checked(result as ssize_t).map(drop)
}

/// The place for queues, for this process and its children.
pub fn set_directory(dir: &Path) {
    // SAFETY: this program has one thread wherever this is called.
    unsafe { std::env::set_var("CHAPPE_DIR", dir) };
}

/// How long a call may wait.
#[derive(Clone, Copy)]
pub enum Wait {
    /// The plain call, without a time.
    Plain,
    /// The timed call, whose time is over already.
    Over,
    /// The timed call.
    Until(timespec),
}

impl Wait {
    pub fn within(time: Duration) -> Wait {
        let end = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970") + time;
        Wait::Until(timespec { tv_sec: end.as_secs() as i64, tv_nsec: end.subsec_nanos().into() })
    }

    fn deadline(self) -> Option<timespec> {
        match self {
            Wait::Plain => None,
            Wait::Over => Some(timespec { tv_sec: 1, tv_nsec: 0 }),
            Wait::Until(time) => Some(time),
        }
    }
}

/// `mq_open`, for reading and writing; with these numbers if it is to create.
pub fn open(flags: c_int, capacity: i64, size: i64) -> Result<c_int, Errno> {
    // SAFETY: a struct of numbers, for which all-zero is valid.
    let mut attributes: mq_attr = unsafe { std::mem::zeroed() };
    attributes.mq_maxmsg = capacity;
    attributes.mq_msgsize = size;
    // SAFETY: the name is a C string, and the attributes outlive the call.
    let mqd = unsafe { (library().mq_open)(NAME.as_ptr(), flags | libc::O_RDWR, 0o600, &raw const attributes) };
    done(mqd).map(|()| mqd)
}

pub fn mq_close(mqd: c_int) -> Result<(), Errno> {
    // SAFETY: closing is what the caller asks for; nobody uses the number afterwards.
    done(unsafe { (library().mq_close)(mqd) })
}

/// The library's `close`.
pub fn close(fd: c_int) -> Result<(), Errno> {
    // SAFETY: as above.
    done(unsafe { (library().close)(fd) })
}

pub fn unlink() -> Result<(), Errno> {
    // SAFETY: the name is a C string.
    done(unsafe { (library().mq_unlink)(NAME.as_ptr()) })
}

pub fn send(mqd: c_int, message: &[u8], priority: u32, wait: Wait) -> Result<(), Errno> {
    let (start, length) = (message.as_ptr().cast(), message.len());
    match wait.deadline() {
        // SAFETY: start and length are those of a live slice, which is only read.
        None => done(unsafe { (library().mq_send)(mqd, start, length, priority) }),
        // SAFETY: as above; the time outlives the call.
        Some(time) => done(unsafe { (library().mq_timedsend)(mqd, start, length, priority, &raw const time) }),
    }
}

/// The length and the priority.
pub fn receive(mqd: c_int, buffer: &mut [u8], wait: Wait) -> Result<(usize, u32), Errno> {
    let (start, room) = (buffer.as_mut_ptr().cast(), buffer.len());
    let mut priority = 0;
    let length = match wait.deadline() {
        // SAFETY: start and room are those of a live slice that is ours alone, and the priority outlives the call.
        None => unsafe { (library().mq_receive)(mqd, start, room, &raw mut priority) },
        // SAFETY: as above; so does the time.
        Some(time) => unsafe { (library().mq_timedreceive)(mqd, start, room, &raw mut priority, &raw const time) },
    };
    checked(length).map(|length| (length as usize, priority))
}

/// Registers for a signal.
pub fn register(mqd: c_int) -> Result<(), Errno> {
    // SAFETY: a struct of numbers and pointers, for which all-zero is valid.
    let mut event: sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = SIGNAL;
    // SAFETY: the event outlives the call.
    done(unsafe { (library().mq_notify)(mqd, &raw const event) })
}

pub fn unregister(mqd: c_int) -> Result<(), Errno> {
    // SAFETY: null takes a registration back.
    done(unsafe { (library().mq_notify)(mqd, std::ptr::null()) })
}

/// Keeps the signal for [`is_told`], instead of ending the process.
pub fn block_signal() {
    // SAFETY: a set of bits, for which all-zero is valid.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: as above; the signal exists.
    unsafe { libc::sigaddset(&raw mut set, SIGNAL) };
    // SAFETY: the set outlives the call.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Whether the signal comes within the time.
pub fn is_told(time: Duration) -> bool {
    // SAFETY: a set of bits, for which all-zero is valid.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours, and the signal exists.
    unsafe { libc::sigaddset(&raw mut set, SIGNAL) };
    let time = timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
    // SAFETY: set and time outlive the call; nobody asks for the details.
    unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const time) == SIGNAL }
}

/// `mq_getattr`: capacity, and the number of messages.
pub fn attributes(mqd: c_int) -> Result<(i64, i64), Errno> {
    // SAFETY: a struct of numbers, for which all-zero is valid.
    let mut attributes: mq_attr = unsafe { std::mem::zeroed() };
    // SAFETY: there is room for the attributes.
    done(unsafe { (library().mq_getattr)(mqd, &raw mut attributes) })?;
    Ok((attributes.mq_maxmsg, attributes.mq_curmsgs))
}

/// `mq_setattr` with O_NONBLOCK.
pub fn set_nonblocking(mqd: c_int) -> Result<(), Errno> {
    // SAFETY: a struct of numbers, for which all-zero is valid.
    let mut attributes: mq_attr = unsafe { std::mem::zeroed() };
    attributes.mq_flags = libc::O_NONBLOCK.into();
    // SAFETY: the attributes outlive the call; the old ones are not asked for.
    done(unsafe { (library().mq_setattr)(mqd, &raw const attributes, std::ptr::null_mut()) })
}

/// The C library's `dup`, which the drop-in has no wrapper of.
pub fn duplicate(mqd: c_int) -> Result<c_int, Errno> {
    // SAFETY: it takes any number.
    let copy = unsafe { libc::dup(mqd) };
    done(copy).map(|()| copy)
}

pub fn dup2(from: c_int, to: c_int) -> Result<(), Errno> {
    // SAFETY: replacing is what the caller asks for.
    done(unsafe { (library().dup2)(from, to) })
}

pub fn dup3(from: c_int, to: c_int) -> Result<(), Errno> {
    // SAFETY: as above.
    done(unsafe { (library().dup3)(from, to, libc::O_CLOEXEC) })
}

/// Closes this number, as a range of one.
pub fn close_range(fd: c_int) -> Result<(), Errno> {
    // SAFETY: closing is what the caller asks for; nobody uses the number afterwards.
    done(unsafe { (library().close_range)(fd as c_uint, fd as c_uint, 0) })
}

/// A set of descriptors for `epoll_ctl`.
pub fn epoll() -> Result<c_int, Errno> {
    // SAFETY: it takes a number.
    let set = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    done(set).map(|()| set)
}

/// Puts the queue into the set, for reading and writing.
pub fn add_to_epoll(set: c_int, mqd: c_int) -> Result<(), Errno> {
    let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLOUT) as u32, u64: 0 };
    // SAFETY: the event outlives the call.
    done(unsafe { (library().epoll_ctl)(set, libc::EPOLL_CTL_ADD, mqd, &raw mut event) })
}

const NO_TIME: timespec = timespec { tv_sec: 0, tv_nsec: 0 };

/// As [`poll`] without waiting, with `ppoll`.
pub fn ppoll(mqd: c_int, events: i16) -> Result<i16, Errno> {
    let mut polled = pollfd { fd: mqd, events, revents: 0 };
    // SAFETY: one valid pollfd, and the count says one; the time outlives the call, and no signals are named.
    done(unsafe { (library().ppoll)(&raw mut polled, 1, &NO_TIME, std::ptr::null()) }).map(|()| polled.revents)
}

/// `poll` for reading and writing: what is ready of `events`. Without end if there is no time.
pub fn poll(mqd: c_int, events: i16, time: Option<Duration>) -> Result<i16, Errno> {
    let mut polled = pollfd { fd: mqd, events, revents: 0 };
    let milliseconds = time.map_or(-1, |time| time.as_millis() as c_int);
    // SAFETY: one valid pollfd, and the count says one.
    done(unsafe { (library().poll)(&raw mut polled, 1, milliseconds) }).map(|()| polled.revents)
}

/// `select` for reading and writing, without waiting: what is ready, as [`poll`] says it.
pub fn select(mqd: c_int) -> Result<i16, Errno> {
    let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
    select_by(mqd, |count, read, write| {
        // SAFETY: the sets and the time outlive the call, and the count covers the number.
        unsafe { (library().select)(count, read, write, std::ptr::null_mut(), &raw mut time) }
    })
}

/// The same with `pselect`.
pub fn pselect(mqd: c_int) -> Result<i16, Errno> {
    select_by(mqd, |count, read, write| {
        // SAFETY: as above; no signals are named.
        unsafe { (library().pselect)(count, read, write, std::ptr::null_mut(), &NO_TIME, std::ptr::null()) }
    })
}

fn select_by(
    mqd: c_int,
    call: impl FnOnce(c_int, *mut libc::fd_set, *mut libc::fd_set) -> c_int,
) -> Result<i16, Errno> {
    // SAFETY: a set of bits, for which all-zero is valid.
    let mut read: libc::fd_set = unsafe { std::mem::zeroed() };
    // SAFETY: the number is a descriptor of this process, which has few.
    unsafe { libc::FD_SET(mqd, &raw mut read) };
    let mut write = read;
    let (reading, writing) = (&raw mut read, &raw mut write);
    done(call(mqd + 1, reading, writing))?;
    // SAFETY: as for FD_SET.
    let readable = unsafe { libc::FD_ISSET(mqd, reading) };
    // SAFETY: as above.
    let writable = unsafe { libc::FD_ISSET(mqd, writing) };
    Ok((i16::from(readable) * libc::POLLIN) | (i16::from(writable) * libc::POLLOUT))
}
