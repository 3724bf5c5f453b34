//! The queue in shared memory: ring, ledger, events and membership composed. What each step leaves if the process dies there is
//! in `docs/recovery.md`; the step names in comments are those of that page.
//!
//! Here: the handle, what it is made of, and its end. Beside: [`send`], [`recv`], and [`admin`] for everything else.

mod admin;
mod recv;
mod send;

pub(crate) use recv::Sink;

use super::fault::Fault;
use super::layout::{CREATOR_BYTE, Header, Identity, Layout, Life};
use super::member::{Held, Member, Object};
use super::setup;
use super::wait::{Awaited, Spin};
use crate::deadline::Wait;
use crate::name::Name;
use crate::raw::Corrupt;
use crate::raw::index::{Index, LEAVES, Level, Link};
use crate::raw::ledger::{Ledger, WINDOW, WINDOW_WIDE};
use crate::raw::lock::Lock;
use crate::raw::owner::Entry;
use crate::raw::ring::{Ring, Slot};
use crate::raw::word::{CELLS, Owner};
use crate::region::{Area, Region};
use crate::stat::Attributes;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence, fence_after_rmw};
use crate::sys::{bytelock, file, process};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Instant;

/// How often a receive that need not wait looks after the dead, while slots are in the hands of others.
const LOOK_EVERY_MILLIS: u64 = 50;

/// An open queue.
pub(crate) struct Core {
    name: Name,
    path: PathBuf,
    created: u64,
    ephemeral: bool,
    /// The fork generation in which this handle created an ephemeral queue.
    creator: Option<u32>,
    layout: Layout,
    region: Region,
    areas: Areas,
    member: Member,
    spin: Spin,
    opened: Instant,
    /// When a receive that need not wait last looked after the dead: milliseconds since `opened`.
    looked: AtomicU64,
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
        let (offset, len) = Layout::attach_pages(index);
        file::reserve(fd, offset, len)
    }

    fn rebuild(&self) -> Result<(), Corrupt> {
        self.ledger.rebuild()
    }

    fn recover(&self, owner: Owner) -> Result<(), Corrupt> {
        // V2: a claim of the dead that nobody has drained yet must become a slow one first.
        self.ledger.drain()?;
        self.ledger.recover(owner)?;
        self.header.totals.recovered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn wake_all(&self) {
        self.header.receivers.signal_all();
        self.header.senders.signal_all();
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

impl Core {
    /// A handle on a mapped queue that has yet to attach.
    pub(crate) fn new(name: Name, path: PathBuf, identity: Identity, region: Region, member: Member) -> Core {
        Core {
            areas: Areas::new(&region, &identity.layout),
            name,
            path,
            created: identity.created,
            ephemeral: identity.ephemeral,
            creator: None,
            layout: identity.layout,
            region,
            member,
            spin: Spin::new(),
            opened: Instant::now(),
            looked: AtomicU64::new(0),
        }
    }

    /// Makes the words of a new queue that are not zero: some slots, armed. Nobody else can see the file yet.
    pub(crate) fn initialise(&self) -> Result<(), Fault> {
        let ledger = self.shared().ledger;
        ledger.rebuild()?;
        let window = if self.layout.extent == 0 { WINDOW } else { WINDOW_WIDE };
        ledger.refill::<Fault>(window, || self.reserve_slots())?;
        Ok(())
    }

    /// Takes part.
    pub(crate) fn attach(&self) -> Result<(), Fault> {
        let me = self.member.attach(&self.shared())?;
        self.pin(me, self.spin.pinned());
        Ok(())
    }

    /// Says that this handle is the creator that the queue goes with.
    pub(crate) fn become_creator(&mut self) -> Result<(), Fault> {
        bytelock::try_take(self.member.fd(), CREATOR_BYTE)?;
        self.creator = Some(process::generation());
        Ok(())
    }

    /// The name was taken: this queue was never there, so dropping it must not touch the name.
    pub(crate) fn give_up_creating(&mut self) {
        self.creator = None;
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.member.fd()
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
        match self.member.owner() {
            Some(owner) => Ok(owner),
            None => self.member.require(&self.shared()),
        }
    }

    fn lock<'a>(&self, shared: &'a Shared<'a>, me: Owner, wait: Wait) -> Result<Held<'a, Shared<'a>>, Fault> {
        self.member.lock(shared, me, wait)
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
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now - self.looked.load(Ordering::Relaxed).min(now) < LOOK_EVERY_MILLIS {
            return Ok(());
        }
        self.looked.store(now, Ordering::Relaxed);
        self.recover(me, wait)
    }

    /// Whether a peer can run while this thread spins. One that is not confined to a CPU may run anywhere, and so may its
    /// peers; one that is looks whether all others are confined to the same one.
    fn company(&self) -> bool {
        let pinned = self.spin.pinned();
        let shared = self.shared();
        let high = shared.header.attach_high.load(Ordering::Relaxed) as usize;
        pinned == 0 || shared.entries.iter().take(high).any(|entry| entry.may_run_beside(pinned))
    }

    /// Tells the others which CPU this thread is confined to.
    fn pin(&self, me: Owner, cpu: u32) {
        if let Some(entry) = self.shared().entries.get(me.index() as usize) {
            entry.pin(cpu);
        }
    }

    /// What a bounded sleep does when it ends, and a call that would have to wait before it does: see to the dead.
    fn recover(&self, me: Owner, wait: Wait) -> Result<(), Fault> {
        self.end_if_orphaned()?;
        self.member.recover(&self.shared(), me, wait)
    }

    /// L1, L2: ends the queue for everybody.
    pub(crate) fn end(&self, life: Life) {
        self.header().life.fetch_max(life as u32, Ordering::SeqCst);
        fence_after_rmw();
        self.header().receivers.signal_all();
        self.header().senders.signal_all();
    }

    /// Ends an ephemeral queue whose creator is gone, and removes its name. Returns whether it is one.
    pub(crate) fn end_if_orphaned(&self) -> Result<bool, Fault> {
        // The creator's own description would be granted its byte again: it never tries.
        if !self.ephemeral || self.is_creator() {
            return Ok(false);
        }
        let _roster = process::roster();
        if !bytelock::try_take(self.fd(), CREATOR_BYTE)? {
            return Ok(false);
        }
        let removed = setup::remove_name(self.fd(), &self.path, self.member.facts());
        self.end(Life::Unlinked);
        bytelock::release(self.fd(), CREATOR_BYTE)?;
        // We may not be allowed to remove it; the queue has ended all the same.
        Ok(removed.is_ok() || self.life() == Life::Unlinked)
    }

    fn is_creator(&self) -> bool {
        self.creator == Some(process::generation())
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if self.is_creator() {
            let _roster = process::roster();
            // It may be gone by now; whoever looks after orphans tries again.
            let _ = setup::remove_name(self.fd(), &self.path, self.member.facts());
            self.end(Life::Unlinked);
        }
        self.member.detach(&self.shared());
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
        self.core.end_if_orphaned().map(|_| ())
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
