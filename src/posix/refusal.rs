//! Which limit it was that bit when the kernel refused to create or open a queue: it says EINVAL for two of them, and EMFILE for
//! two others. What is read here was so a moment later; it is good enough to tell them apart.

use crate::name::Name;
use crate::posix::error::MessageQueueError;
use crate::sys::limits::{self, CAPACITY_CEILING, MESSAGE_SIZE_CEILING};
use crate::sys::mqueue::Size;
use std::io;

/// What was being done to which queue, with which size if it was to be created.
pub(crate) struct Attempt<'a> {
    pub step: &'static str,
    pub name: &'a Name,
    pub way_out: &'static str,
    pub size: Option<Size>,
}

impl Attempt<'_> {
    /// The error for what the system said.
    pub(crate) fn refused(&self, source: io::Error) -> MessageQueueError {
        let name = self.name.clone();
        let found = match (source.raw_os_error(), self.size) {
            (Some(libc::EACCES | libc::EPERM), _) => {
                let (step, way_out) = (self.step, self.way_out);
                return MessageQueueError::Permission { step, name, way_out, source };
            }
            (Some(libc::ENOENT), _) => Some(MessageQueueError::NotFound { name }),
            (Some(libc::EEXIST), _) => Some(MessageQueueError::Exists { name }),
            (Some(libc::ENOSYS), _) => Some(MessageQueueError::Unsupported),
            (Some(libc::EINVAL), Some(size)) => invalid(size),
            (Some(libc::EMFILE), size) => exhausted(size),
            // Only a product beyond the kernel's numbers, which is beyond every limit on bytes.
            (Some(libc::EOVERFLOW), Some(size)) => bytes(size),
            (Some(libc::ENOSPC), _) => limits::read("queues_max").ok().map(|max| MessageQueueError::Queues { max }),
            _ => None,
        };
        found.unwrap_or_else(|| self.other(source))
    }

    fn other(&self, source: io::Error) -> MessageQueueError {
        MessageQueueError::System { step: self.step, object: format!("POSIX queue {}", self.name), source }
    }
}

/// Who may go beyond the settings is still held by the ceilings, so they come first.
fn invalid(size: Size) -> Option<MessageQueueError> {
    let Size { capacity, message_size } = size;
    let most = |setting, ceiling| limits::read(setting).unwrap_or(ceiling);
    let bad = |value: u64, ceiling: u64| value == 0 || value > ceiling;
    let too_many = || MessageQueueError::Capacity { capacity, max: most("msg_max", CAPACITY_CEILING) };
    let too_large = || MessageQueueError::MessageSize { message_size, max: most("msgsize_max", MESSAGE_SIZE_CEILING) };
    if bad(capacity, CAPACITY_CEILING) {
        return Some(too_many());
    }
    if bad(message_size, MESSAGE_SIZE_CEILING) {
        return Some(too_large());
    }
    if capacity > most("msg_max", CAPACITY_CEILING) {
        return Some(too_many());
    }
    (message_size > most("msgsize_max", MESSAGE_SIZE_CEILING)).then(too_large)
}

/// EMFILE: no descriptor is left, or not enough bytes. Opening takes no bytes.
fn exhausted(size: Option<Size>) -> Option<MessageQueueError> {
    if let (Some(size), true) = (size, limits::has_descriptor()) {
        return bytes(size);
    }
    limits::open_files().0.map(|limit| MessageQueueError::Descriptors { limit })
}

fn bytes(size: Size) -> Option<MessageQueueError> {
    let needed = limits::charge(size.capacity, size.message_size);
    limits::message_queue_bytes().0.map(|limit| MessageQueueError::Bytes { needed, limit })
}
