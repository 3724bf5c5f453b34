//! The queue in shared memory: ring, ledger, events and membership composed. What each step leaves if the process dies there is
//! in `docs/recovery.md`; the step names in comments are those of that page.
//!
//! Here: the handle, what it is made of, and its end. Beside: [`send`], [`recv`], [`doorbell`] for poll and its like, [`notify`] for
//! the one who is told of the next message, and [`admin`] for everything else.

mod admin;
mod doorbell;
mod notify;
mod recv;
mod send;

pub(crate) use doorbell::widened;
pub(crate) use recv::Sink;

use super::base::Base;
use super::fault::Fault;
use super::layout::queue::{Header, Layout, PACKETS_UNKNOWN};
use super::layout::{Geometry, Life, OutOfRange, attach_pages};
use super::member::{Held, Object};
use super::setup;
use super::wait::{Awaited, Spin};
use crate::deadline::Wait;
use crate::error::OpenError;
use crate::interrupt;
use crate::message::{CAPACITY_DEFAULT, MESSAGE_SIZE_DEFAULT};
use crate::name::{Kind, Name};
use crate::raw::Corrupt;
use crate::raw::event::{Announced, Event};
use crate::raw::index::{Index, LEAVES, Level, Link};
use crate::raw::ledger::{Ledger, WINDOW, WINDOW_WIDE};
use crate::raw::lock::Lock;
use crate::raw::owner::Entry;
use crate::raw::ring::{Ring, Slot};
use crate::raw::word::{CELLS, Owner};
use crate::region::{Area, Region};
use crate::stat::Attributes;
use crate::sync::{AtomicU32, AtomicU64, Bequest, Ordering, fence, futex::Slept, now};
use crate::sys::fifo::Fifo;
use crate::sys::file;
use notify::Attendant;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How often a receive that need not wait looks after the dead, while slots are in the hands of others.
const LOOK_EVERY_MILLIS: u64 = 50;

/// An open queue.
pub(crate) struct Core {
    name: Name,
    base: Base,
    layout: Layout,
    region: Region,
    areas: Areas,
    spin: Spin,
    opened: Instant,
    /// When a receive that need not wait last looked after the dead: milliseconds since `opened`.
    looked: AtomicU64,
    /// The doorbell, once this handle has had to do with it.
    bell: OnceLock<Fifo>,
    attendant: Attendant,
    /// Whether signal handlers and interrupters end waits.
    interruptible: bool,
    /// It created the queue, and has not given out a descriptor since.
    created: AtomicBool,
}

/// The areas of the region, checked once.
struct Areas {
    header: Area<Header>,
    cells: Area<[AtomicU64; CELLS]>,
    leaf: Area<[AtomicU64; LEAVES]>,
    entries: Area<Entry>,
    levels: Area<Level>,
    links: Area<Link>,
    slots: Area<Slot>,
}

/// Everything shared, as references: what the protocols work on.
#[derive(Clone, Copy)]
struct Shared<'a> {
    header: &'a Header,
    entries: &'a [Entry],
    ledger: Ledger<'a>,
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
        let (offset, len) = attach_pages(Layout::ATTACH, index);
        file::reserve(fd, offset, len)
    }

    fn rebuild(&self) -> Result<(), Corrupt> {
        self.header.packets.store(PACKETS_UNKNOWN, Ordering::Relaxed);
        self.header.will.store(0, Ordering::Relaxed);
        self.ledger.rebuild()
    }

    fn recover(&self, owner: Owner) -> Result<(), Corrupt> {
        // V2: a claim of the dead that nobody has drained yet must become a slow one first.
        self.ledger.drain()?;
        self.ledger.recover(owner)?;
        let notice = &self.header.notice;
        if notice.load().is_pending() && notice.load().registrant() == Some(owner) {
            notice.clear();
        }
        if let Some(entry) = self.entries.get(owner.index() as usize) {
            entry.forget_waits();
        }
        self.draw_attention();
        self.header.totals.recovered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn wake_all(&self) {
        self.header.wake_all();
    }
}

impl Areas {
    fn new(region: &Region, layout: &Layout) -> Areas {
        Areas {
            header: region.area(Layout::HEADER.offset, Layout::HEADER.len),
            cells: region.area(Layout::CELLS.offset, Layout::CELLS.len),
            leaf: region.area(Layout::LEAF.offset, Layout::LEAF.len),
            entries: region.area(Layout::ATTACH.offset, Layout::ATTACH.len),
            levels: region.area(Layout::LEVELS.offset, Layout::LEVELS.len),
            links: region.area(layout.links.offset, layout.links.len),
            slots: region.area(layout.slots.offset, layout.slots.len),
        }
    }
}

/// What a user asked for: capacity and message size, as far as they matter.
pub(crate) struct Wanted {
    pub capacity: Option<u32>,
    pub message_size: Option<u64>,
}

impl setup::Core for Core {
    const KIND: Kind = Kind::Queue;
    type Wanted = Wanted;

    fn geometry(wanted: &Wanted) -> Result<Geometry, OutOfRange> {
        let attributes = Attributes {
            capacity: wanted.capacity.unwrap_or(CAPACITY_DEFAULT),
            message_size: wanted.message_size.unwrap_or(MESSAGE_SIZE_DEFAULT),
        };
        Ok(Geometry::Queue(Layout::new(attributes)?))
    }

    fn new(base: Base, geometry: Geometry, region: Region) -> Option<Core> {
        let (Geometry::Queue(layout), Some(name)) = (geometry, base.name.clone()) else { return None };
        Some(Core {
            areas: Areas::new(&region, &layout),
            name,
            base,
            layout,
            region,
            spin: Spin::new(),
            opened: now(),
            looked: AtomicU64::new(0),
            bell: OnceLock::new(),
            attendant: Attendant::new(),
            interruptible: false,
            created: AtomicBool::new(false),
        })
    }

    /// Some slots, armed; and the doorbell, if it shall have one from the start.
    fn initialise(&self, _wanted: &Wanted, posix_mode: Option<u32>) -> Result<(), Fault> {
        let ledger = self.shared().ledger;
        ledger.rebuild()?;
        let window = if self.layout.extent == 0 { WINDOW } else { WINDOW_WIDE };
        ledger.refill::<Fault>(window, || self.reserve_slots())?;
        self.created.store(true, Ordering::Relaxed);
        posix_mode.map_or(Ok(()), |mode| Ok(self.furnish(mode)?))
    }

    fn mode(&self) -> u32 {
        self.posix_mode().unwrap_or(self.base.member.facts().mode)
    }

    fn give_up_creating(&mut self) {
        self.base.give_up_creating();
        self.remove_bell();
    }

    fn name_is_gone(&self) {
        self.remove_bell();
    }

    fn compare(&self, asked: &Wanted) -> Result<(), OpenError> {
        let found = self.layout.attributes;
        let wanted = Attributes {
            capacity: asked.capacity.unwrap_or(found.capacity),
            message_size: asked.message_size.unwrap_or(found.message_size),
        };
        if wanted == found { Ok(()) } else { Err(OpenError::Mismatch { name: self.name.clone(), found, wanted }) }
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
        let ended = self.base.end_if_orphaned(&self.shared())?;
        if ended {
            self.show_the_end();
            self.remove_bell();
        }
        Ok(ended)
    }

    fn end(&self, life: Life) {
        let _will = self.make_will();
        self.base.end(&self.shared(), life);
        self.show_the_end();
    }
}

impl Core {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.base.member.fd()
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn attributes(&self) -> Attributes {
        self.layout.attributes
    }

    #[inline(always)]
    fn header(&self) -> &Header {
        self.region.one(&self.areas.header)
    }

    #[inline(always)]
    fn slots(&self) -> &[Slot] {
        self.region.slice(&self.areas.slots)
    }

    #[inline(always)]
    fn ring(&self) -> Ring<'_> {
        Ring { tail: &self.header().tail, cells: self.region.one(&self.areas.cells), slots: self.slots() }
    }

    #[inline(always)]
    fn shared(&self) -> Shared<'_> {
        let header = self.header();
        let (links, slots) = (self.region.slice(&self.areas.links), self.slots());
        let index = Index {
            desk: &header.desk,
            leaf: self.region.one(&self.areas.leaf),
            levels: self.region.slice(&self.areas.levels),
            links,
            slots,
            levels_backed: &header.levels_backed,
        };
        let ledger = Ledger {
            desk: &header.desk,
            tail: &header.tail,
            cells: self.region.one(&self.areas.cells),
            slots,
            links,
            index,
            fresh: &header.fresh,
            totals: &header.totals,
        };
        Shared { header, entries: self.region.slice(&self.areas.entries), ledger }
    }

    #[inline(always)]
    fn me(&self) -> Result<Owner, Fault> {
        match self.base.member.owner() {
            Some(owner) => Ok(owner),
            None => self.base.member.require(&self.shared()),
        }
    }

    /// Takes the lock; refuses what was lost.
    fn lock<'a>(&self, shared: &'a Shared<'a>, me: Owner, wait: Wait) -> Result<Held<'a, Shared<'a>>, Fault> {
        self.told(())?;
        self.base.member.lock(shared, me, wait)
    }

    /// What was read, unless it may have been read where a page was missing.
    fn told<T>(&self, value: T) -> Result<T, Fault> {
        if self.region.is_lost() { Err(Fault::Corrupt) } else { Ok(value) }
    }

    #[inline(always)]
    fn life(&self) -> Life {
        Life::from_word(self.header().life.load(Ordering::Relaxed))
    }

    /// As [`life`](Core::life), before a drain whose finding nothing may then be the end: the load is done before the drain's.
    #[inline(always)]
    fn life_before_drain(&self) -> Life {
        let life = Life::from_word(self.header().life.load(Ordering::Acquire));
        if life != Life::Open {
            // Partner: the claim and the fence behind it in `try_claim`.
            fence(Ordering::SeqCst);
        }
        life
    }

    /// Makes this thread's will, for as long as a call lasts: should it die before it has woken whom it owes a wake, the kernel wakes one
    /// who wakes all.
    #[inline(always)]
    fn make_will(&self) -> Bequest<'_> {
        Bequest::new(&self.header().will)
    }

    /// Whether slots are in the hands of others, who may be dead. A hint.
    fn watching(&self) -> bool {
        let desk = &self.header().desk;
        desk.slow_count.load(Ordering::Relaxed) != 0 || desk.taken.load(Ordering::Relaxed) != 0
    }

    /// In a queue that is never empty no receiver waits, so none would look after the dead: a receiver that has seen slots in
    /// the hands of others for a while does.
    #[inline]
    fn look_after_dead(&self, me: Owner, wait: Wait) -> Result<(), Fault> {
        if self.watching() { self.look_after_dead_now_and_then(me, wait) } else { Ok(()) }
    }

    #[cold]
    fn look_after_dead_now_and_then(&self, me: Owner, wait: Wait) -> Result<(), Fault> {
        let now = u64::try_from(now().saturating_duration_since(self.opened).as_millis()).unwrap_or(u64::MAX);
        if now - self.looked.load(Ordering::Relaxed).min(now) < LOOK_EVERY_MILLIS {
            return Ok(());
        }
        self.looked.store(now, Ordering::Relaxed);
        self.recover(me, wait)
    }

    fn company(&self) -> bool {
        self.base.member.company(&self.shared(), self.spin.pinned())
    }

    /// Tells the others which CPU this thread is confined to.
    fn pin(&self, me: Owner, cpu: u32) {
        self.base.member.pin(&self.shared(), me, cpu);
    }

    fn recover(&self, me: Owner, wait: Wait) -> Result<(), Fault> {
        let _will = self.make_will();
        setup::Core::end_if_orphaned(self)?;
        self.base.member.recover(&self.shared(), me, wait)
    }

    /// Signal handlers and interrupters shall end its waits.
    pub(crate) fn let_be_interrupted(&mut self) {
        self.interruptible = true;
    }

    /// The handle goes. What still holds this value, its attendant, does nothing more with the queue.
    pub(crate) fn leave(&self) {
        self.retire();
        if self.base.leave(&self.shared()) {
            self.show_the_end();
            self.remove_bell();
        }
        self.dismiss_attendant();
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Which side of the queue one waits on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Senders, for room.
    Room,
    /// Receivers, for messages.
    Messages,
}

/// One who waits.
struct Waiting<'a> {
    core: &'a Core,
    me: Owner,
    wait: Wait,
    side: Side,
}

impl Awaited for Waiting<'_> {
    fn looks_every(&self) -> u32 {
        match self.side {
            // A sender gains by letting the receiver make room for several.
            Side::Room => 16,
            Side::Messages => 1,
        }
    }

    fn stirring(&self) -> bool {
        match self.side {
            Side::Room => self.core.ring().armed(),
            Side::Messages => self.core.shared().ledger.stirring(),
        }
    }

    fn company(&self) -> bool {
        self.core.company()
    }

    fn pinned(&self, cpu: u32) {
        self.core.pin(self.me, cpu);
    }

    fn watching(&self) -> bool {
        self.core.watching()
    }

    fn recover(&self) -> Result<(), Fault> {
        self.core.recover(self.me, self.wait)
    }

    fn over(&self) -> Result<(), Fault> {
        setup::Core::end_if_orphaned(self.core).map(|_| ())
    }

    fn interrupted(&self) -> bool {
        self.core.interruptible && interrupt::taken()
    }

    fn sleep(&self, event: &Event, announced: Announced, timeout: Duration) -> Slept {
        let will = &self.core.header().will;
        match self.core.interruptible {
            true => interrupt::with_word(|word| event.sleep_interruptibly(announced, will, word, timeout)),
            false => event.sleep_or_bequest(announced, will, timeout),
        }
    }

    fn wake_all(&self) {
        self.core.shared().wake_all();
    }

    fn blocked(&self) {
        let totals = &self.core.header().totals;
        let counter = match self.side {
            Side::Room => &totals.send_blocked,
            Side::Messages => &totals.recv_blocked,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
