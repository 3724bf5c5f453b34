//! The queues that this process has open: one [`Queue`] each, however many descriptors there are.

use crate::errno::{self, Errno};
use crate::{process, sys};
use chappe::Queue;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// The file behind a descriptor: device and inode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    device: u64,
    inode: u64,
}

impl Key {
    pub fn of(stat: &libc::stat) -> Key {
        Key { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// A queue that this process has open.
pub struct Shared {
    pub queue: Queue,
    pub key: Key,
    /// The largest message.
    pub message_size: usize,
    /// The [generation](process::generation) that armed the doorbell; 0 for none.
    armed: AtomicU32,
    /// The registration for notification that this process made, packed by [`Registration`]; 0 for none.
    registration: AtomicU64,
}

/// Whether this process, or one that it was forked from, ever registered.
static REGISTERED_ONCE: AtomicBool = AtomicBool::new(false);

/// What `read` shows of a registration.
#[derive(Clone, Copy)]
pub struct Registration {
    /// SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD.
    pub kind: u8,
    /// The signal, with SIGEV_SIGNAL; else 0.
    pub signal: u8,
}

impl Shared {
    /// Whether this process, or one that it was forked from, has armed the doorbell.
    pub fn was_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed) != 0
    }

    /// Whether this process has armed the doorbell: a fork child is a participant of its own.
    #[inline]
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed) == process::generation()
    }

    /// Arms the doorbell.
    pub fn arm(&self) -> Result<(), Errno> {
        if !self.is_armed() {
            self.queue.arm_doorbell().map_err(errno::of_access)?;
            self.armed.store(process::generation(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// A registration was made.
    pub fn set_registration(&self, made: Registration) {
        let word = u64::from(process::generation()) << 16 | u64::from(made.kind) << 8 | u64::from(made.signal);
        self.registration.store(word, Ordering::Relaxed);
        REGISTERED_ONCE.store(true, Ordering::Relaxed);
    }

    /// Whether closing a descriptor that is not known could end a registration.
    pub fn registered_once() -> bool {
        REGISTERED_ONCE.load(Ordering::Relaxed)
    }

    /// The last registration that this process made and did not take back. It may be over.
    pub fn registration(&self) -> Option<Registration> {
        let word = self.registration.load(Ordering::Relaxed);
        let ours = word >> 16 == u64::from(process::generation());
        ours.then_some(Registration { kind: (word >> 8) as u8, signal: word as u8 })
    }

    /// Takes this process's registration back, if it has one.
    pub fn cancel_registration(&self) -> Result<(), Errno> {
        if self.registration().is_some() {
            self.queue.cancel_notify().map_err(errno::of_access)?;
            self.registration.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether the name is gone, as far as a descriptor of this queue tells.
    pub fn is_unlinked(fd: c_int) -> bool {
        sys::stat(fd).is_ok_and(|stat| stat.st_nlink == 0)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        process::lock().queues.retain(|(_, shared)| shared.strong_count() > 0);
    }
}

/// All that are open.
pub fn all() -> Vec<Arc<Shared>> {
    process::lock().queues.iter().filter_map(|(_, shared)| shared.upgrade()).collect()
}

/// The open queue that this file is of.
pub fn known(key: Key) -> Option<Arc<Shared>> {
    find(&process::lock().queues, key)
}

/// Takes a queue in that was opened just now; if it was open already, the older one goes on and this one is dropped.
pub fn adopt(queue: Queue, key: Key) -> Arc<Shared> {
    let message_size = queue.message_size() as usize;
    let (armed, registration) = (AtomicU32::new(0), AtomicU64::new(0));
    let new = Arc::new(Shared { queue, key, message_size, armed, registration });
    let mut state = process::lock();
    if let Some(known) = find(&state.queues, key) {
        // Before `new` goes, which wants the lock.
        drop(state);
        return known;
    }
    state.queues.push((key, Arc::downgrade(&new)));
    new
}

fn find(queues: &[(Key, Weak<Shared>)], key: Key) -> Option<Arc<Shared>> {
    queues.iter().filter(|(other, _)| *other == key).find_map(|(_, shared)| shared.upgrade())
}
