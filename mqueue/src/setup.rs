//! Opening and creating, in Linux's order. The name has been checked; no pointer is here.

use crate::errno::{self, Errno};
use crate::table::{self, READ, WRITE};
use crate::{find, shared, sys};
use chappe::{Access, CAPACITY_MAX, MESSAGE_SIZE_MAX, OpenError, Queue, QueueOptions};
use std::ffi::{c_int, c_long};
use std::os::fd::{AsRawFd, IntoRawFd};

/// How often a queue may come and go between looking for it and creating it.
const TURNS: u32 = 1000;

/// `mq_maxmsg` and `mq_msgsize`, as they were asked for.
#[derive(Clone, Copy)]
pub struct Asked {
    pub messages: c_long,
    pub message_size: c_long,
}

/// What `mq_open` does. Gives the descriptor.
pub fn open(name: &[u8], flags: c_int, mode: u32, asked: Option<Asked>) -> Result<c_int, Errno> {
    let (queue, created) = find_or_create(name, flags, mode, asked)?;
    let (access, permits) = match flags & libc::O_ACCMODE {
        libc::O_RDONLY => (Access::Receive, READ),
        libc::O_WRONLY => (Access::Send, WRITE),
        libc::O_RDWR => (Access::Both, READ | WRITE),
        // Linux creates a queue so, and gives a descriptor that permits nothing.
        _ if created => (Access::Receive, 0),
        _ => return Err(libc::EINVAL),
    };
    let doorbell = queue.doorbell(access).map_err(|error| errno::of_open(&error))?;
    if flags & libc::O_NONBLOCK != 0 {
        sys::set_flags(doorbell.as_raw_fd(), sys::flags(doorbell.as_raw_fd())? | libc::O_NONBLOCK)?;
    }
    find::learn_pipes();
    let key = shared::Key::of(&sys::stat(doorbell.as_raw_fd())?);
    let shared = shared::adopt(queue, key);
    if !table::put(doorbell.as_raw_fd(), shared, permits) {
        return Err(libc::EMFILE);
    }
    Ok(doorbell.into_raw_fd())
}

fn find_or_create(name: &[u8], flags: c_int, mode: u32, asked: Option<Asked>) -> Result<(Queue, bool), Errno> {
    let mut options = Queue::options();
    options.any_existing(true).interruptible(true);
    if flags & libc::O_CREAT == 0 {
        return options.open(name).map(|queue| (queue, false)).map_err(|error| errno::of_open(&error));
    }
    let exclusive = flags & libc::O_EXCL != 0;
    let attributes = attributes(asked);
    for _ in 0..TURNS {
        // An existing queue is opened whatever the attributes asked for: even those that make no sense.
        if !exclusive || attributes.is_err() {
            match options.open(name) {
                Err(OpenError::NotFound { .. }) => {}
                _ if exclusive => return Err(libc::EEXIST),
                found => return found.map(|queue| (queue, false)).map_err(|error| errno::of_open(&error)),
            }
        }
        let (messages, message_size) = attributes?;
        let mut create = options.clone();
        create.capacity(messages).message_size(message_size).mode(mode).umask(true).doorbell(true);
        match create.create_new(name) {
            Ok(queue) => return Ok((queue, true)),
            Err(OpenError::Exists { .. }) if !exclusive => {}
            Err(error) => return Err(errno::of_open(&error)),
        }
    }
    Err(libc::EAGAIN)
}

fn attributes(asked: Option<Asked>) -> Result<(u32, u64), Errno> {
    let Some(Asked { messages, message_size }) = asked else { return Ok(defaults()) };
    let messages = u32::try_from(messages).ok().filter(|messages| (1..=CAPACITY_MAX).contains(messages));
    let message_size = u64::try_from(message_size).ok().filter(|size| (1..=MESSAGE_SIZE_MAX).contains(size));
    messages.zip(message_size).ok_or(libc::EINVAL)
}

/// What the system's administrator set for queues without attributes, or else the kernel's own numbers.
fn defaults() -> (u32, u64) {
    let messages = setting("msg_default").unwrap_or(10).min(setting("msg_max").unwrap_or(10));
    let message_size = setting("msgsize_default").unwrap_or(8192).min(setting("msgsize_max").unwrap_or(8192));
    (messages.clamp(1, CAPACITY_MAX.into()) as u32, message_size.clamp(1, MESSAGE_SIZE_MAX))
}

fn setting(name: &str) -> Option<u64> {
    std::fs::read_to_string(format!("/proc/sys/fs/mqueue/{name}")).ok()?.trim().parse().ok()
}

/// What `mq_unlink` does.
pub fn unlink(name: &[u8]) -> Result<(), Errno> {
    QueueOptions::new().remove_name(name).map_err(|error| errno::of_open(&error))
}
