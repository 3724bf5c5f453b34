//! The kernel's message queues: the calls of the C library, each wrapped once, uninterrupted by signal handlers. No policy and
//! no texts are here; what a refusal means is said in `posix`.
//!
//! Sources: mq_overview(7), mq_open(3), mq_send(3), mq_receive(3), mq_getattr(3).

use crate::name::Name;
use crate::sys::time::{to_timespec, wall};
use libc::{c_int, c_long, c_uint, mq_attr, mqd_t, timespec};
use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, SystemTime};

/// How many messages of how many bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub capacity: u64,
    pub message_size: u64,
}

/// How a queue is to be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub receive: bool,
    pub send: bool,
    pub nonblocking: bool,
}

impl Access {
    fn flags(self) -> c_int {
        let direction = match (self.receive, self.send) {
            (true, false) => libc::O_RDONLY,
            (false, true) => libc::O_WRONLY,
            _ => libc::O_RDWR,
        };
        direction | libc::O_CLOEXEC | if self.nonblocking { libc::O_NONBLOCK } else { 0 }
    }
}

/// What `mq_getattr` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub capacity: u64,
    pub message_size: u64,
    pub messages: u64,
    pub nonblocking: bool,
}

/// How long a call may wait in the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// Not at all: until a time that is over. What can be done at once is done.
    Over,
    /// Until the wall clock shows this.
    Wall(SystemTime),
    /// As long as it takes.
    End,
}

impl Until {
    /// `None` is for ever.
    fn timespec(self) -> Option<timespec> {
        match self {
            Until::Over => Some(to_timespec(Duration::ZERO)),
            Until::Wall(time) => Some(wall(time)),
            Until::End => None,
        }
    }
}

/// `mq_open` of one that exists.
pub(crate) fn open(name: &Name, access: Access) -> io::Result<OwnedFd> {
    let name = c_name(name);
    // SAFETY: the name is a C string that lives through the call; without O_CREAT there are no other arguments.
    opened(|| unsafe { libc::mq_open(name.as_ptr(), access.flags()) })
}

/// `mq_open` of one that must not exist; the process's umask is taken off `mode`. Without a size the system's default.
pub(crate) fn create_new(name: &Name, access: Access, mode: u32, size: Option<Size>) -> io::Result<OwnedFd> {
    let (name, flags) = (c_name(name), access.flags() | libc::O_CREAT | libc::O_EXCL);
    let attributes = size.map(|size| {
        let mut attributes = no_attributes();
        // What the type cannot express is beyond every limit, too.
        attributes.mq_maxmsg = size.capacity.try_into().unwrap_or(MOST);
        attributes.mq_msgsize = size.message_size.try_into().unwrap_or(MOST);
        attributes
    });
    let attributes = attributes.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the name as above; with O_CREAT follow the mode, which travels as unsigned int, and a pointer to attributes,
    // which is null or to a whole `mq_attr` that lives through the call.
    opened(|| unsafe { libc::mq_open(name.as_ptr(), flags, mode as c_uint, attributes) })
}

/// The largest number in an `mq_attr`.
const MOST: c_long = c_long::MAX;

fn no_attributes() -> mq_attr {
    // SAFETY: the struct is numbers, and zero is a value of each.
    unsafe { std::mem::zeroed() }
}

/// `mq_unlink`.
pub(crate) fn unlink(name: &Name) -> io::Result<()> {
    let name = c_name(name);
    // SAFETY: the name is a C string that lives through the call.
    match unsafe { libc::mq_unlink(name.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `mq_timedsend`, or `mq_send` without a time.
pub(crate) fn send(fd: BorrowedFd<'_>, message: &[u8], priority: u16, until: Until) -> Result<(), i32> {
    let (queue, start, length, priority) =
        (fd.as_raw_fd(), message.as_ptr().cast(), message.len(), c_uint::from(priority));
    let sent = match until.timespec() {
        Some(time) => uninterrupted(|| {
            // SAFETY: start and length are those of a live slice, which the call reads only, and the time lives through it.
            (unsafe { libc::mq_timedsend(queue, start, length, priority, &raw const time) }) as isize
        }),
        None => uninterrupted(|| {
            // SAFETY: as above, without a time.
            (unsafe { libc::mq_send(queue, start, length, priority) }) as isize
        }),
    };
    sent.map(drop)
}

/// `mq_timedreceive`, or `mq_receive` without a time: how many bytes at the start of `room` are the message, and its priority.
pub(crate) fn receive(fd: BorrowedFd<'_>, room: &mut [MaybeUninit<u8>], until: Until) -> Result<(usize, u16), i32> {
    let mut priority: c_uint = 0;
    let (queue, start, length, urgency) = (fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), &raw mut priority);
    let received = match until.timespec() {
        Some(time) => uninterrupted(|| {
            // SAFETY: start and length are those of a live slice that is ours alone; the number and the time live through
            // the call.
            unsafe { libc::mq_timedreceive(queue, start, length, urgency, &raw const time) }
        }),
        None => uninterrupted(|| {
            // SAFETY: as above, without a time.
            unsafe { libc::mq_receive(queue, start, length, urgency) }
        }),
    };
    // The kernel's priorities end at 32767.
    received.map(|length| (length, priority as u16))
}

/// The same into a vector, which becomes the message. It makes itself room for `size` bytes.
pub(crate) fn receive_vec(fd: BorrowedFd<'_>, message: &mut Vec<u8>, size: usize, until: Until) -> Result<u16, i32> {
    message.clear();
    message.reserve(size);
    let (length, priority) = receive(fd, message.spare_capacity_mut(), until)?;
    // SAFETY: the call has written so many bytes at the start of the spare room, which begins at zero.
    unsafe { message.set_len(length) };
    Ok(priority)
}

/// As [`receive`], for a buffer that has bytes already.
pub(crate) fn receive_slice(fd: BorrowedFd<'_>, buffer: &mut [u8], until: Until) -> Result<(usize, u16), i32> {
    let (start, length) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the same bytes under a type of the same layout, borrowed as long; `receive` writes bytes that have a value only.
    let room = unsafe { std::slice::from_raw_parts_mut(start, length) };
    receive(fd, room, until)
}

/// `mq_getattr`; EBADF for a descriptor that is no queue's.
pub(crate) fn facts(fd: BorrowedFd<'_>) -> io::Result<Facts> {
    let mut attributes = no_attributes();
    // SAFETY: the attributes live through the call.
    match unsafe { libc::mq_getattr(fd.as_raw_fd(), &raw mut attributes) } {
        0 => Ok(to_facts(&attributes)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn to_facts(attributes: &mq_attr) -> Facts {
    let number = |value: c_long| u64::try_from(value).unwrap_or(0);
    Facts {
        capacity: number(attributes.mq_maxmsg),
        message_size: number(attributes.mq_msgsize),
        messages: number(attributes.mq_curmsgs),
        nonblocking: attributes.mq_flags & c_long::from(libc::O_NONBLOCK) != 0,
    }
}

/// `mq_setattr`, which can change nothing else.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    let flags = if nonblocking { c_long::from(libc::O_NONBLOCK) } else { 0 };
    let mut attributes = no_attributes();
    attributes.mq_flags = flags;
    // SAFETY: the attributes live through the call, and no place for the old ones is given.
    match unsafe { libc::mq_setattr(fd.as_raw_fd(), &raw const attributes, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn c_name(name: &Name) -> CString {
    CString::new([b"/", name.as_bytes()].concat()).expect("a name holds no NUL")
}

fn opened(mut open: impl FnMut() -> mqd_t) -> io::Result<OwnedFd> {
    let fd = uninterrupted(|| open() as isize).map_err(io::Error::from_raw_os_error)?;
    let fd = c_int::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the descriptor is new, and nobody else has it. On Linux a queue's descriptor is one of a file (mq_overview(7)),
    // and `mq_close` is `close`.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Calls until no signal handler interrupts. What bounds the call bounds this: times are absolute, and a wait without one is
/// meant to last.
pub(super) fn uninterrupted(mut call: impl FnMut() -> isize) -> Result<usize, i32> {
    loop {
        if let Ok(result) = usize::try_from(call()) {
            return Ok(result);
        }
        match io::Error::last_os_error().raw_os_error().unwrap_or(0) {
            libc::EINTR => {}
            errno => return Err(errno),
        }
    }
}

/// What reading a queue's descriptor tells, beside its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// Bytes in all messages.
    pub bytes: u64,
    /// Who is registered for a notification, as this process numbers it; 0 if it is in no namespace that this one sees.
    pub registered: Option<u32>,
}

/// Reads the line of text that the descriptor is as a file; EBADF if it was not opened for receiving.
pub(crate) fn status(fd: BorrowedFd<'_>) -> io::Result<Status> {
    let mut buffer = [0; 256];
    let length = rustix::io::retry_on_intr(|| rustix::io::pread(fd, &mut buffer, 0))?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    parse_status(&text).ok_or_else(|| io::Error::other(format!("the queue's status makes no sense: {text:?}")))
}

/// `QSIZE:129  NOTIFY:2  SIGNO:0  NOTIFY_PID:8260`. A registration that stays silent (SIGEV_NONE) shows a pid as well.
fn parse_status(text: &str) -> Option<Status> {
    let field = |wanted: &str| {
        let mut fields = text.split_whitespace().filter_map(|word| word.split_once(':'));
        fields.find(|(title, _)| *title == wanted)?.1.parse::<u64>().ok()
    };
    let registered = match (field("NOTIFY")?, field("SIGNO")?, field("NOTIFY_PID")?) {
        (0, 0, 0) => None,
        (_, _, pid) => u32::try_from(pid).ok(),
    };
    Some(Status { bytes: field("QSIZE")?, registered })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read() {
        let read = |text| parse_status(text).map(|status| (status.bytes, status.registered));
        assert_eq!(read("QSIZE:129        NOTIFY:2     SIGNO:0     NOTIFY_PID:8260  \n"), Some((129, Some(8260))));
        assert_eq!(read("QSIZE:0          NOTIFY:0     SIGNO:0     NOTIFY_PID:0     \n"), Some((0, None)));
        assert_eq!(read(""), None);
        assert_eq!(read("QSIZE:x NOTIFY:0 SIGNO:0 NOTIFY_PID:0"), None);
    }
}
