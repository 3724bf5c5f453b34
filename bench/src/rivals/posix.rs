//! The kernel's POSIX message queue through libc: `mq_open`, `mq_send`, `mq_receive`. All unsafe code for it is here; the
//! limits that the system sets on it are in [`limits`](super::limits).

use crate::channel::{Channel, Shape, Taken, Transport, Wait};
use crate::measure::Result;
use std::ffi::{CStr, CString, c_int, c_long, c_uint};
use std::hint::spin_loop;
use std::io::{Error, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A queue descriptor; closed on drop. (A process that leaves by `_exit` has the kernel close it.)
struct Descriptor(libc::mqd_t);

impl Descriptor {
    /// Opens, and with `attributes` creates, the queue of this name.
    fn open(name: &CStr, flags: c_int, attributes: Option<&libc::mq_attr>) -> Result<Descriptor, Error> {
        let attributes = attributes.map_or(std::ptr::null(), std::ptr::from_ref);
        let mode: c_uint = 0o600;
        // SAFETY: the name is a C string; mode and attributes are the two variadic arguments that O_CREAT reads (others
        // ignore them), and attributes is null or points to a whole mq_attr that outlives the call.
        let descriptor = unsafe { libc::mq_open(name.as_ptr(), flags | libc::O_CLOEXEC, mode, attributes) };
        if descriptor == -1 { Err(Error::last_os_error()) } else { Ok(Descriptor(descriptor)) }
    }

    #[inline]
    fn send(&self, message: &[u8], priority: u16) -> Result<(), Error> {
        let priority = c_uint::from(priority);
        // SAFETY: the pointer and the length are those of a live slice, which the call only reads.
        match unsafe { libc::mq_send(self.0, message.as_ptr().cast(), message.len(), priority) } {
            -1 => Err(Error::last_os_error()),
            _ => Ok(()),
        }
    }

    #[inline]
    fn receive(&self, buffer: &mut [u8]) -> Result<Taken, Error> {
        let mut priority: c_uint = 0;
        let (start, room) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: start and room are those of a live slice that is ours alone; priority is a live c_uint.
        let len = unsafe { libc::mq_receive(self.0, start.cast(), room, &raw mut priority) };
        // The kernel's priorities end at 32767.
        usize::try_from(len).map(|len| Taken { len, priority: priority as u16 }).map_err(|_| Error::last_os_error())
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the descriptor is open and ours, and not used after this.
        let closed = unsafe { libc::mq_close(self.0) };
        debug_assert_eq!(closed, 0);
    }
}

/// A queue whose name is gone already; its ends pass to children by fork. Blocking and polling need descriptors of their
/// own, because O_NONBLOCK belongs to the open description.
pub struct PosixQueue {
    blocking: Descriptor,
    polling: Descriptor,
    wait: Wait,
}

fn fresh_name() -> CString {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let name = format!("/chappe-bench-{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
    // The text holds no NUL, so this is never the empty name.
    CString::new(name).unwrap_or_default()
}

/// Removes the name when dropped, also when the second open fails.
struct Linked(CString);

impl Drop for Linked {
    fn drop(&mut self) {
        // SAFETY: the name is a C string. A failure means that it is gone, which is what is wanted.
        unsafe { libc::mq_unlink(self.0.as_ptr()) };
    }
}

fn attributes(shape: Shape<'_>) -> Result<libc::mq_attr> {
    // SAFETY: mq_attr is plain integers; zero is a value of each.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    attributes.mq_maxmsg = c_long::try_from(shape.depth)?;
    attributes.mq_msgsize = c_long::try_from(shape.size)?;
    Ok(attributes)
}

impl Transport for PosixQueue {
    type End = PosixQueue;

    fn create(shape: Shape<'_>) -> Result<PosixQueue> {
        let attributes = attributes(shape)?;
        let linked = Linked(fresh_name());
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        let blocking = Descriptor::open(&linked.0, flags, Some(&attributes)).map_err(|error| explain(error, shape))?;
        let polling = Descriptor::open(&linked.0, libc::O_RDWR | libc::O_NONBLOCK, None)?;
        Ok(PosixQueue { blocking, polling, wait: Wait::Blocking })
    }

    fn attach(&self, wait: Wait) -> Result<PosixQueue> {
        Ok(PosixQueue { blocking: duplicate(&self.blocking)?, polling: duplicate(&self.polling)?, wait })
    }
}

/// On Linux a queue descriptor is a file descriptor.
fn duplicate(descriptor: &Descriptor) -> Result<Descriptor> {
    // SAFETY: the descriptor is open; a duplicate is a new descriptor that only the returned value owns.
    match unsafe { libc::fcntl(descriptor.0, libc::F_DUPFD_CLOEXEC, 0) } {
        -1 => Err(Error::last_os_error().into()),
        copy => Ok(Descriptor(copy)),
    }
}

/// Why the kernel refused, in terms of the limit that bit.
fn explain(error: Error, shape: Shape<'_>) -> String {
    let Shape { depth, size, .. } = shape;
    let limit = match error.raw_os_error() {
        Some(libc::EINVAL) => super::limits::refusal(depth, size),
        Some(libc::EMFILE | libc::ENOMEM) => super::limits::memory_refusal(),
        Some(libc::ENOSPC) => "fs.mqueue.queues_max is reached".to_owned(),
        Some(libc::ENOSYS) => "this kernel has no message queues".to_owned(),
        _ => error.to_string(),
    };
    format!("not possible here: {depth} messages of {size} bytes: {limit}")
}

impl Channel for PosixQueue {
    #[inline]
    fn send(&self, message: &[u8], priority: u16) -> Result<()> {
        Ok(self.blocking.send(message, priority)?)
    }

    #[inline]
    fn recv(&self, buffer: &mut [u8]) -> Result<Taken> {
        if self.wait == Wait::Blocking {
            return Ok(self.blocking.receive(buffer)?);
        }
        loop {
            match self.polling.receive(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => spin_loop(),
                other => return Ok(other?),
            }
        }
    }
}

/// The steps of a queue's life, for the measurement of setting up.
pub struct Steps {
    name: CString,
    attributes: libc::mq_attr,
}

impl Steps {
    pub fn new(shape: Shape<'_>) -> Result<Steps> {
        Ok(Steps { name: fresh_name(), attributes: attributes(shape)? })
    }

    pub fn create(&self) -> Result<impl Channel> {
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        Ok(Single(Descriptor::open(&self.name, flags, Some(&self.attributes))?))
    }

    pub fn open(&self) -> Result<impl Channel> {
        Ok(Single(Descriptor::open(&self.name, libc::O_RDWR, None)?))
    }

    pub fn unlink(&self) {
        drop(Linked(self.name.clone()));
    }
}

/// One blocking descriptor.
struct Single(Descriptor);

impl Channel for Single {
    fn send(&self, message: &[u8], priority: u16) -> Result<()> {
        Ok(self.0.send(message, priority)?)
    }

    fn recv(&self, buffer: &mut [u8]) -> Result<Taken> {
        Ok(self.0.receive(buffer)?)
    }
}
