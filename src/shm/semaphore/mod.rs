//! The semaphore in shared memory: permits, events and membership composed. What each step leaves if the process dies there is
//! in `docs/recovery.md`.
//!
//! Here: the handle, what it is made of, and its end. Beside: [`acquire`] and [`release`], [`future`] for waits that block no
//! thread, [`sentry`] for the thread that is told of deaths, [`exec`] for commands, and [`admin`] for everything else.

mod acquire;
mod admin;
mod deadlock;
mod exec;
mod future;
mod release;
mod sentry;

pub(crate) use crate::raw::permits::Purpose;
pub(crate) use deadlock::deadlocks;
pub(crate) use exec::Exec;
pub(crate) use future::Request;

use super::base::Base;
use super::fault::Fault;
use super::keeper::Keeper;
use super::layout::semaphore::{
    ATTACH_PLACE, CHUNK, FILE_SIZE, HEADER_PLACE, Header, RECORDS, RECORDS_PLACE, record_page,
};
use super::layout::{Geometry, Life, OutOfRange, attach_pages, in_range};
use super::member::Object;
use super::setup;
use super::wait::Spin;
use crate::deadline::Wait;
use crate::error::OpenError;
use crate::name::{Kind, Name};
use crate::raw::Corrupt;
use crate::raw::lock::Lock;
use crate::raw::owner::Entry;
use crate::raw::permits::{Label, PERMITS_MAX, Permits, Record};
use crate::raw::word::Owner;
use crate::region::{Area, Region};
use crate::sync::{AtomicU32, AtomicU64, Ordering, now};
use crate::sys::{file, process, thread};
use sentry::Sentry;
use std::io;
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The permits of a semaphore that is created without saying how many.
const PERMITS_DEFAULT: u64 = 1;

/// An open semaphore.
pub(crate) struct Core {
    base: Base,
    region: Region,
    areas: Areas,
    spin: Spin,
    label: Label,
    /// For thread number n, the record that only it takes permits into without the lock: bits 32..63 the fork generation that
    /// it is of, bits 0..31 its number + 1.
    own: [AtomicU64; thread::NUMBERED],
    sentry: Sentry,
    /// Whether this handle has a keeper: the fork generation that started it + 1; 0 if none did.
    kept: AtomicU64,
    keeper: Mutex<Option<Keeper>>,
    /// Whether it may have one.
    may_keep: bool,
    /// How many clones of the handle there are.
    users: AtomicU32,
    /// When a wait last looked for deadlocks: milliseconds since `opened`, + 1; 0 if none did.
    looked: AtomicU64,
    opened: Instant,
    /// Where to look for cycles before waiting, if at all.
    deadlocks: Option<PathBuf>,
}

/// The areas of the region, checked once.
struct Areas {
    header: Area<Header>,
    entries: Area<Entry>,
    records: Area<Record>,
}

/// Everything shared, as references: what the protocol works on.
#[derive(Clone, Copy)]
struct Shared<'a> {
    header: &'a Header,
    entries: &'a [Entry],
    permits: Permits<'a>,
    fd: BorrowedFd<'a>,
}

impl Object for Shared<'_> {
    fn life(&self) -> &AtomicU32 {
        &self.header.life
    }

    fn lock(&self) -> &Lock {
        &self.header.desk.lock
    }

    fn entries(&self) -> &[Entry] {
        self.entries
    }

    fn attach_high(&self) -> &AtomicU32 {
        &self.header.attach_high
    }

    fn reserve_entry(&self, fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
        let (offset, len) = attach_pages(ATTACH_PLACE, index);
        file::reserve(fd, offset, len)
    }

    fn rebuild(&self) -> Result<(), Corrupt> {
        self.permits.rebuild()?;
        self.permits.reject_too_large(wake_one)?;
        // The dead one may have left nobody behind to be recovered, but permits that it had just put back.
        self.permits.settle(wake_one)
    }

    fn recover(&self, owner: Owner) -> Result<(), Corrupt> {
        let came_back = self.permits.recover(owner)?;
        self.header.totals.recovered.fetch_add(1, Ordering::Relaxed);
        self.header.totals.recovered_permits.fetch_add(came_back, Ordering::Relaxed);
        self.permits.settle(wake_one)
    }

    /// All who sleep, and all who may have been granted something by one who died before the wake.
    fn wake_all(&self) {
        if self.header.life.load(Ordering::SeqCst) != 0 {
            self.permits.available.slow_down();
        }
        let owned = || self.permits.used().iter().filter(|record| record.owner().is_some());
        owned().for_each(|record| record.event.signal_all());
        if owned().any(Record::rung) {
            ring(self.fd);
        }
    }
}

/// A permit as the handle keeps it: the record that it is written in.
pub(crate) struct Grant {
    number: u32,
    permits: u64,
    /// The fork generation that acquired it: it is no other's.
    generation: u32,
    /// The record goes back to all when the permit does; else it is a thread's own.
    pooled: bool,
    /// The record's label is not the handle's.
    labelled: AtomicBool,
}

/// Wakes the waiter of a record.
fn wake_one(_number: u32, record: &Record) {
    record.event.signal(1);
}

/// Wakes the sentries of all who wait without blocking a thread.
fn ring(fd: BorrowedFd<'_>) {
    // It can fail only on a file that we may not write, which is not open then.
    let _ = file::touch(fd);
}

/// The number of no record.
const NOTHING: u32 = u32::MAX;

impl Grant {
    #[inline(always)]
    fn new(number: u32, permits: u64, pooled: bool) -> Grant {
        Grant { number, permits, generation: process::generation(), pooled, labelled: AtomicBool::new(false) }
    }

    pub(crate) fn permits(&self) -> u64 {
        self.permits
    }

    /// No permit.
    fn nothing() -> Grant {
        Grant::new(NOTHING, 0, true)
    }

    /// Moves the permit out; what is left here is none.
    pub(crate) fn take(&mut self) -> Grant {
        std::mem::replace(self, Grant::nothing())
    }
}

/// The records whose waiters have to be woken. The first is kept until the lock has been given back, for who is woken then
/// finds it free; more than one is rare.
struct Wakes {
    first: Option<u32>,
    ring: bool,
}

impl Wakes {
    fn add(&mut self, number: u32, record: &Record) {
        if record.rung() {
            self.ring = true;
        } else if self.first.is_none() {
            self.first = Some(number);
        } else {
            record.event.signal(1);
        }
    }
}

impl setup::Core for Core {
    const KIND: Kind = Kind::Semaphore;
    type Wanted = Option<u64>;

    fn geometry(wanted: &Option<u64>) -> Result<Geometry, OutOfRange> {
        in_range("the number of permits", wanted.unwrap_or(PERMITS_DEFAULT), 0, PERMITS_MAX)?;
        Ok(Geometry::Semaphore)
    }

    fn new(base: Base, geometry: Geometry, region: Region) -> Option<Core> {
        let Geometry::Semaphore = geometry else { return None };
        let areas = Areas {
            header: region.area(HEADER_PLACE.offset, HEADER_PLACE.len),
            entries: region.area(ATTACH_PLACE.offset, ATTACH_PLACE.len),
            records: region.area(RECORDS_PLACE.offset, RECORDS_PLACE.len),
        };
        let own = std::array::from_fn(|_| AtomicU64::new(0));
        Some(Core {
            may_keep: !base.strict,
            base,
            region,
            areas,
            spin: Spin::new(),
            label: [0; 64],
            own,
            sentry: Sentry::new(),
            kept: AtomicU64::new(0),
            keeper: Mutex::new(None),
            users: AtomicU32::new(0),
            looked: AtomicU64::new(0),
            opened: now(),
            deadlocks: None,
        })
    }

    /// The number of permits, and the count.
    fn initialise(&self, wanted: &Option<u64>, _posix_mode: Option<u32>) -> Result<(), Fault> {
        let permits = self.shared().permits;
        permits.desk.permits.store(wanted.unwrap_or(PERMITS_DEFAULT), Ordering::Relaxed);
        Ok(permits.rebuild()?)
    }

    fn compare(&self, wanted: &Option<u64>) -> Result<(), OpenError> {
        let found = self.permits();
        match *wanted {
            Some(wanted) if wanted != found => {
                let name = self.name().map_or_else(|| "without a name".to_owned(), Name::to_string);
                Err(OpenError::PermitsMismatch { name, found, wanted })
            }
            _ => Ok(()),
        }
    }

    fn attach(&self) -> Result<(), Fault> {
        let me = self.base.member.attach(&self.shared())?;
        self.pin(me, self.spin.pinned());
        Ok(())
    }

    fn base(&self) -> &Base {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base {
        &mut self.base
    }

    fn end_if_orphaned(&self) -> Result<bool, Fault> {
        self.base.end_if_orphaned(&self.shared())
    }

    fn end(&self, life: Life) {
        self.base.end(&self.shared(), life);
    }
}

impl Core {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.base.member.fd()
    }

    pub(crate) fn name(&self) -> Option<&Name> {
        self.base.name.as_ref()
    }

    pub(crate) fn permits(&self) -> u64 {
        self.header().desk.permits.load(Ordering::Relaxed)
    }

    pub(crate) fn available(&self) -> i64 {
        self.header().available.load().free()
    }

    /// Sets the handle's label.
    pub(crate) fn say(&mut self, text: &str) {
        self.label = padded(text);
    }

    /// This handle shall have no keeper.
    pub(crate) fn keep_not(&mut self) {
        self.may_keep = false;
    }

    /// Starts the keeper of this participant, if it has none and may have one.
    fn start_keeper(&self, me: Owner) {
        let generation = u64::from(process::generation()) + 1;
        if !self.may_keep || self.kept.load(Ordering::Relaxed) == generation {
            return;
        }
        // A mutex that another thread held when this process was forked stays locked: then there is no keeper.
        let Ok(mut keeper) = self.keeper.try_lock() else { return };
        if self.kept.load(Ordering::Relaxed) != generation {
            // Without one, a death is noticed when the process's descriptors are closed.
            let fd = self.base.member.checked_fd();
            *keeper = fd.and_then(|fd| Keeper::start(fd, FILE_SIZE, ATTACH_PLACE, me.index())).ok();
            self.kept.store(generation, Ordering::Relaxed);
        }
    }

    /// Ends the keeper, before the entry goes to somebody else.
    fn dismiss_keeper(&self) {
        if let Ok(mut keeper) = self.keeper.try_lock() {
            *keeper = None;
            self.kept.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn fail_on_deadlock(&mut self, dir: PathBuf) {
        self.deadlocks = Some(dir);
    }

    #[inline(always)]
    fn header(&self) -> &Header {
        self.region.one(&self.areas.header)
    }

    #[inline(always)]
    fn records(&self) -> &[Record] {
        self.region.slice(&self.areas.records)
    }

    fn shared(&self) -> Shared<'_> {
        let header = self.header();
        let permits = Permits {
            desk: &header.desk,
            available: &header.available,
            records: self.records(),
            fresh: &header.fresh,
            life: &header.life,
        };
        Shared { header, entries: self.region.slice(&self.areas.entries), permits, fd: self.fd() }
    }

    fn me(&self) -> Result<Owner, Fault> {
        self.base.member.require(&self.shared())
    }

    fn life(&self) -> Life {
        Life::from_word(self.header().life.load(Ordering::Acquire))
    }

    /// Does something under the lock, then wakes whom it concerns. Refuses what was lost.
    fn locked<T, E: From<Fault>>(
        &self,
        me: Owner,
        wait: Wait,
        act: impl FnOnce(&Permits<'_>, &mut Wakes) -> Result<T, E>,
    ) -> Result<T, E> {
        self.told(())?;
        let shared = self.shared();
        let mut wakes = Wakes { first: None, ring: false };
        let held = self.base.member.lock(&shared, me, wait)?;
        let result = act(&shared.permits, &mut wakes);
        drop(held);
        if let Some(record) = wakes.first.and_then(|number| shared.permits.records.get(number as usize)) {
            record.event.signal(1);
        }
        if wakes.ring {
            ring(self.fd());
        }
        // A permit that is written where nobody sees it is none.
        Ok(self.told(result?)?)
    }

    /// What was read or done, unless a page may have been missing there.
    fn told<T>(&self, value: T) -> Result<T, Fault> {
        if self.region.is_lost() { Err(Fault::Corrupt) } else { Ok(value) }
    }

    /// Under the lock: a record for this participant, reserving some if there is none.
    fn claim(&self, permits: &Permits<'_>, me: Owner) -> Result<Option<u32>, Fault> {
        if let Some(number) = permits.claim(me, &self.label)? {
            return Ok(Some(number));
        }
        let fresh = permits.fresh.load(Ordering::Relaxed);
        if fresh > RECORDS - CHUNK || !fresh.is_multiple_of(CHUNK) {
            return if fresh >= RECORDS { Ok(None) } else { Err(Fault::Corrupt) };
        }
        let (offset, len) = record_page(fresh);
        file::reserve(self.base.member.checked_fd()?, offset, len)?;
        permits.add_fresh(fresh + CHUNK)?;
        Ok(permits.claim(me, &self.label)?)
    }

    /// The record of this thread, if it has one and it is of this process.
    #[inline(always)]
    fn own_record(&self) -> Option<u32> {
        let word = self.own[thread::number()? as usize].load(Ordering::Relaxed);
        if (word >> 32) as u32 != process::generation() {
            return None;
        }
        (word as u32).checked_sub(1)
    }

    /// Puts in order what the dead left.
    fn recover(&self, me: Owner, wait: Wait) -> Result<(), Fault> {
        self.base.recover(&self.shared(), me, wait)
    }

    /// Whether a peer can run while this thread spins.
    fn company(&self) -> bool {
        self.base.member.company(&self.shared(), self.spin.pinned())
    }

    /// Tells the others which CPU this thread is confined to.
    fn pin(&self, me: Owner, cpu: u32) {
        self.base.member.pin(&self.shared(), me, cpu);
    }
}

/// A handle as users keep it. Its sentry may have the core for a moment longer; it leaves when the last clone of this is dropped.
pub(crate) struct Handle(Arc<Core>);

impl Handle {
    pub(crate) fn new(core: Core) -> Handle {
        core.users.store(1, Ordering::Relaxed);
        Handle(Arc::new(core))
    }

    /// Whether both are of one handle.
    pub(crate) fn is(&self, other: &Handle) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        self.0.users.fetch_add(1, Ordering::Relaxed);
        Handle(Arc::clone(&self.0))
    }
}

impl Deref for Handle {
    type Target = Arc<Core>;

    #[inline(always)]
    fn deref(&self) -> &Arc<Core> {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // As for an `Arc`: what all clones did comes before the leaving.
        if self.0.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.leave();
        }
    }
}

impl Core {
    fn leave(&self) {
        self.give_records_back();
        self.dismiss_keeper();
        self.base.leave(&self.shared());
        self.dismiss_sentry();
    }
}

/// A label as it is stored; what does not fit is cut at a character.
fn padded(text: &str) -> Label {
    let mut label = [0; 64];
    let end = (0..=text.len().min(label.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    label[..end].copy_from_slice(&text.as_bytes()[..end]);
    label
}
