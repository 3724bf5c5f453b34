//! The table of descriptors: which number is a queue of ours, and what this library keeps of it. It does not open or close anything.
//!
//! Looking a number up takes no lock and allocates nothing. An entry is used while it is counted, so that one that another thread
//! closes meanwhile stays until the call is over, as an open file does in the kernel. Entries are never freed, only used again: so a
//! look-up that comes too late counts up and down on memory that is there, and then sees that the number has another entry.
//!
//! While the process has one thread, an atomic count is not needed, and would be the most expensive part of a send: then a plain number
//! says how many uses there are of all entries, which can be one in a signal handler inside another. An entry whose descriptor is
//! closed while there are some waits in the limbo for the next one that is closed.

use crate::shared::Shared;
use crate::{next, process};
use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::ops::Deref;
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU8, AtomicUsize, Ordering};

/// Entries of this many descriptors are allocated together.
const CHUNK: usize = 1024;

/// Descriptors below this are kept; it is what the kernel allows a process unless it was told otherwise.
pub const DESCRIPTORS_MAX: usize = CHUNK * CHUNKS_MAX;
const CHUNKS_MAX: usize = 1024;

/// A word is null (nothing is known), odd (not ours, see [`not_ours`], or [`CLOSING`]), or the address of an entry.
type Chunk = [AtomicPtr<Entry>; CHUNK];

static CHUNKS: [AtomicPtr<Chunk>; CHUNKS_MAX] = [const { AtomicPtr::new(null_mut()) }; CHUNKS_MAX];

/// How many entries are in use: while none is, the wrappers have nothing to do.
static ACTIVE: AtomicUsize = AtomicUsize::new(0);

/// Counts how often the first entry came into use. While none was, nobody saw what was closed: what was written down as not ours
/// before that is not believed.
static EPOCH: AtomicUsize = AtomicUsize::new(0);

/// The description permits receiving.
pub const READ: u8 = 1;
/// The description permits sending.
pub const WRITE: u8 = 2;

/// What is kept of a descriptor of ours.
#[repr(align(64))]
pub struct Entry {
    /// How many use it now, the table among them; and [`LIVE`].
    uses: AtomicUsize,
    /// Set before the table shows the entry, taken when the last use ends.
    shared: UnsafeCell<Option<Arc<Shared>>>,
    access: AtomicU8,
    /// Where the next read of the text begins.
    pub position: AtomicI64,
}

/// Belongs to a descriptor, or did and is still used. A number far above any count.
const LIVE: usize = 1 << (usize::BITS - 1);

// SAFETY: `shared` is the only part that is not atomic. It is written by who took the entry from the free list, before the table shows
// it (`put`: the exchange releases, looking up acquires), and by who turned the last use of a live entry into none (`retire`: one
// exchange, one winner). Between the two it is only read, by those who hold a use that the table confirmed.
unsafe impl Sync for Entry {}

/// Uses by the only thread. It stores without exchanging: a handler that interrupts it leaves the number as it found it. A thread
/// that is started meanwhile (by a handler) sees it, as all that its maker did before.
static ALONE: AtomicUsize = AtomicUsize::new(0);

/// An entry in use.
pub struct Held {
    entry: &'static Entry,
    /// In the entry; else in [`ALONE`].
    counted: bool,
}

impl Held {
    /// For a use that lasts: other threads may be started and close the descriptor.
    pub fn count(&mut self) {
        if !self.counted {
            // It is confirmed, and `ALONE` keeps the entry until it is counted here.
            self.entry.uses.fetch_add(1, Ordering::Relaxed);
            leave_alone();
            self.counted = true;
        }
    }

    #[inline(always)]
    pub fn shared(&self) -> &Arc<Shared> {
        // SAFETY: this use was counted when the table had the entry, and the entry is not retired before the count is none.
        let shared = unsafe { &*self.entry.shared.get() };
        shared.as_ref().expect("an entry that the table shows has its queue")
    }

    /// Whether the description permits [`READ`], or [`WRITE`].
    #[inline(always)]
    pub fn permits(&self, access: u8) -> bool {
        self.entry.access.load(Ordering::Relaxed) & access != 0
    }
}

impl Deref for Held {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        self.entry
    }
}

impl Drop for Held {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.counted {
            leave_alone();
        // Partner: `retire`. What this use did is over before the entry is taken apart.
        } else if self.entry.uses.fetch_sub(1, Ordering::AcqRel) == LIVE + 1 {
            retire(self.entry);
        }
    }
}

#[inline(always)]
fn leave_alone() {
    ALONE.store(ALONE.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
}

/// Nobody uses the entry any more, unless a look-up that comes too late counts up right now: then this is for that one to do.
#[cold]
fn retire(entry: &'static Entry) {
    if ALONE.load(Ordering::Relaxed) != 0 {
        process::lock().limbo.push(entry);
        return;
    }
    let waited = std::mem::take(&mut process::lock().limbo);
    for entry in waited.into_iter().chain([entry]) {
        if entry.uses.compare_exchange(LIVE, 0, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            continue;
        }
        // SAFETY: the exchange has one winner, and no look-up is confirmed any more: the table does not have the entry.
        let shared = unsafe { &mut *entry.shared.get() }.take();
        process::lock().free.push(entry);
        ACTIVE.fetch_sub(1, Ordering::Relaxed);
        // Last, and without the lock: it may be the last use of the queue.
        drop(shared);
    }
}

/// What the table knows of a number.
pub enum Found {
    /// A queue of ours.
    Ours(Held),
    /// Something else. It may have become a queue since in a way that nobody saw.
    NotOurs,
    /// Nothing.
    Unknown,
    /// Another thread closes it, or puts something else in its place, at this moment.
    Closing,
}

/// Whether there is a queue open in this process.
#[inline(always)]
pub fn active() -> bool {
    ACTIVE.load(Ordering::Relaxed) != 0
}

/// What is known of this number.
#[inline(always)]
pub fn look(fd: c_int) -> Found {
    let Some(word) = existing(fd) else { return Found::Unknown };
    // Each turn means that another thread changed the word meanwhile.
    loop {
        // Partner: the exchange in `put`. What was written into the entry is visible.
        let found = word.load(Ordering::Acquire);
        if found.is_null() {
            return Found::Unknown;
        }
        if found.addr() & 1 == 1 {
            return match found.addr() {
                CLOSING => Found::Closing,
                word if word == not_ours().addr() => Found::NotOurs,
                _ => Found::Unknown,
            };
        }
        // SAFETY: what is neither null nor odd is the address of an entry, and entries are never freed.
        let entry = unsafe { &*found };
        let counted = !next::has_one_thread();
        if !counted {
            ALONE.store(ALONE.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // Partner: the last `fetch_sub`. Either it comes after this and sees this use, or this comes after it and sees, below,
        // that the table has the entry no more.
        } else {
            entry.uses.fetch_add(1, Ordering::Acquire);
        }
        let held = Held { entry, counted };
        if word.load(Ordering::Relaxed) == found {
            return Found::Ours(held);
        }
    }
}

/// Whether the number is this entry's still. What was asked of the kernel by the number before this was asked of this queue then.
pub fn has(fd: c_int, held: &Held) -> bool {
    existing(fd).is_some_and(|word| std::ptr::eq(word.load(Ordering::Acquire), held.entry))
}

/// A descriptor was opened just now and is this queue, whatever its number was before. False if the table ends below it.
pub fn put(fd: c_int, shared: Arc<Shared>, access: u8) -> bool {
    let Some(word) = made(fd) else { return false };
    let entry = fresh(shared, access);
    drop(owned(word.swap(entry, Ordering::AcqRel)));
    true
}

/// A descriptor of which nothing was known was found to be this queue. False if something is known now, or it is closed.
pub fn put_found(fd: c_int, shared: Arc<Shared>, access: u8) -> bool {
    let Some(word) = made(fd) else { return false };
    let before = word.load(Ordering::Relaxed);
    if !before.is_null() && (before.addr() & 1 == 0 || before.addr() == CLOSING) {
        return false;
    }
    let entry = fresh(shared, access);
    let put = word.compare_exchange(before, entry, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    if !put {
        drop(owned(entry));
    }
    put
}

/// Writes down that the number is none of ours, unless something else became known meanwhile. (Not where there is no room for it yet:
/// this may be a signal handler, which must not allocate.)
pub fn put_not_ours(fd: c_int) {
    if let Some(word) = existing(fd) {
        let before = word.load(Ordering::Relaxed);
        if before.is_null() || before.addr() & 1 == 1 && before.addr() != CLOSING {
            let _ = word.compare_exchange(before, not_ours(), Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// Forgets the number, which is about to be closed or replaced. What it was, if it was ours: then nobody finds it any more, by the
/// descriptor that is still there, before [`closed`].
pub fn clear(fd: c_int) -> Option<Held> {
    let word = existing(fd)?;
    let before = word.load(Ordering::Relaxed);
    if before.is_null() || before.addr() == CLOSING {
        return None;
    }
    let after = if before.addr() & 1 == 1 { null_mut() } else { without_provenance_mut(CLOSING) };
    let before = word.compare_exchange(before, after, Ordering::AcqRel, Ordering::Relaxed);
    owned(before.unwrap_or(null_mut()))
}

/// The number has been closed or replaced. (It may be a queue again already.)
pub fn closed(fd: c_int) {
    if let Some(word) = existing(fd) {
        let closing = without_provenance_mut(CLOSING);
        let _ = word.compare_exchange(closing, null_mut(), Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// The numbers from `first` to `last` of which something is known.
pub fn known(first: usize, last: usize) -> impl Iterator<Item = c_int> {
    let last = last.min(DESCRIPTORS_MAX - 1);
    let chunks = first / CHUNK..=last / CHUNK;
    let there = chunks.filter(|chunk| CHUNKS.get(*chunk).is_some_and(|chunk| !chunk.load(Ordering::Relaxed).is_null()));
    let numbers = there.flat_map(|chunk| chunk * CHUNK..(chunk + 1) * CHUNK);
    numbers.filter(move |number| (first..=last).contains(number)).map(|number| number as c_int)
}

/// The word that says "being closed": no [`not_ours`] ever grows to it.
const CLOSING: usize = usize::MAX;

/// The word that says "not ours" now.
#[inline(always)]
fn not_ours() -> *mut Entry {
    without_provenance_mut(EPOCH.load(Ordering::Relaxed) << 1 | 1)
}

/// The table's own use of an entry, taken over with the word that was exchanged.
fn owned(before: *mut Entry) -> Option<Held> {
    if before.is_null() || before.addr() & 1 == 1 {
        return None;
    }
    // SAFETY: as in `look`. The table counted one use for this word, which was exchanged once, here.
    Some(Held { entry: unsafe { &*before }, counted: true })
}

#[inline(always)]
fn existing(fd: c_int) -> Option<&'static AtomicPtr<Entry>> {
    let number = usize::try_from(fd).ok()?;
    // Partner: the exchange in `made`.
    let chunk = CHUNKS.get(number / CHUNK)?.load(Ordering::Acquire);
    // SAFETY: null, or the address of a chunk, which is never freed.
    let chunk: Option<&'static Chunk> = unsafe { chunk.as_ref() };
    Some(&chunk?[number % CHUNK])
}

fn made(fd: c_int) -> Option<&'static AtomicPtr<Entry>> {
    let place = CHUNKS.get(usize::try_from(fd).ok()? / CHUNK)?;
    if place.load(Ordering::Acquire).is_null() {
        let chunk: Box<Chunk> = Box::new([const { AtomicPtr::new(null_mut()) }; CHUNK]);
        let new = Box::into_raw(chunk);
        if place.compare_exchange(null_mut(), new, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // SAFETY: it came from a box just now, and the exchange did not publish it.
            drop(unsafe { Box::from_raw(new) });
        }
    }
    existing(fd)
}

/// An entry with the table's use in it.
fn fresh(shared: Arc<Shared>, access: u8) -> *mut Entry {
    let free = process::lock().free.pop();
    let entry = free.unwrap_or_else(|| {
        Box::leak(Box::new(Entry {
            uses: AtomicUsize::new(0),
            shared: UnsafeCell::new(None),
            access: AtomicU8::new(0),
            position: AtomicI64::new(0),
        }))
    });
    // SAFETY: it was on the free list, or is new: nobody else has it, and no look-up is confirmed before the table shows it.
    unsafe { *entry.shared.get() = Some(shared) };
    entry.access.store(access, Ordering::Relaxed);
    entry.position.store(0, Ordering::Relaxed);
    // Added, not stored: look-ups that come too late may be counting.
    entry.uses.fetch_add(LIVE + 1, Ordering::Relaxed);
    if ACTIVE.fetch_add(1, Ordering::Relaxed) == 0 {
        EPOCH.fetch_add(1, Ordering::Relaxed);
    }
    std::ptr::from_ref(entry).cast_mut()
}
