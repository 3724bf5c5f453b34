//! The keeper of a participant: see [`sys::keeper`](crate::sys::keeper). Here: that it has the word of an attach entry to keep, and
//! that the word stays mapped as long as it does.

use super::layout::{ATTACH_ENTRIES, Place};
use crate::raw::owner::Entry;
use crate::region::Region;
use crate::sys::keeper::{self, Order};
use crate::sys::{process, thread};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

/// See the module. Dropping it ends the thread and leaves the word 0; in a fork child, which has no such thread, nothing is done.
pub(crate) struct Keeper {
    generation: u32,
    order: Arc<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the keeper of entry `index` in the attach table at `table` of the file behind `fd`, which is `len` bytes long.
    pub(crate) fn start(fd: BorrowedFd<'_>, len: u64, table: Place, index: u32) -> io::Result<Keeper> {
        // A mapping of its own: it lasts as long as the thread.
        let region = Region::new(fd, len)?;
        let entries = region.area::<Entry>(table.offset, ATTACH_ENTRIES);
        let order = Arc::new(Order::new());
        let told = Arc::clone(&order);
        if process::has_one_thread() {
            // Now, while it is cheap; else the keeper does it, and takes its time.
            keeper::register_for_barriers()?;
        }
        let thread = thread::spawn_quiet("chappe-keeper", move || {
            if let Some(entry) = region.slice(&entries).get(index as usize) {
                // Without membarrier, say: then there is no mark, and a death is noticed when descriptors are closed.
                let _ = keeper::keep(&entry.keeper, &told);
            }
        })?;
        Ok(Keeper { generation: process::generation(), order, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if self.generation != process::generation() {
            std::mem::forget(thread);
            return;
        }
        if self.order.leave() {
            // It cannot panic, and there is nothing to be done about it here.
            let _ = thread.join();
        }
    }
}
