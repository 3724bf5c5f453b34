//! The queue in shared memory: ring, ledger, events and membership composed. What each step leaves if the process dies there is
//! in `docs/recovery.md`; the step names in comments are those of that page.

use super::fault::Fault;
use super::layout::{CHUNK, CREATOR_BYTE, Identity, Layout, Life};
use super::member::{Held, Member, Object};
use super::setup;
use super::wait::{Awaited, Spin, wait_for};
use crate::deadline::Wait;
use crate::error::{AccessError, RecvError, SendError, SendManyError};
use crate::message::{Batch, Message, PRIORITY_MAX, Received};
use crate::name::Name;
use crate::raw::Corrupt;
use crate::raw::at;
use crate::raw::index::{Index, LEAVES, Level, Link};
use crate::raw::ledger::{Chosen, Ledger, Put, WINDOW, WINDOW_WIDE, level_page};
use crate::raw::lock::Lock;
use crate::raw::owner::Entry;
use crate::raw::ring::{Claim, Ring, Slot};
use crate::raw::word::{CELLS, Meta, Owner, Word};
use crate::region::{Area, Region};
use crate::shm::layout::Header;
use crate::stat::{Attributes, Counters, Participant, Stat};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence, fence_after_rmw};
use crate::sys::{bytelock, file, process};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

/// How often in a row a sender may find that others claimed all that it has armed. More than that is damage.
const REFILLS_MAX: u32 = 1000;

/// Extents of at least this many bytes give their memory back when their slot becomes free; below, what it costs to take
/// the pages again is more than the copy.
const TRIM_FROM: u64 = 256 << 10;

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

/// Where a message goes.
pub(crate) enum Sink<'a> {
    /// A caller's buffer.
    Slice(&'a mut [u8]),
    /// A vector, which is appended to.
    Vec(&'a mut Vec<u8>),
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

    // ---------------------------------------------------------------- sending

    pub(crate) fn send(&self, message: &[u8], priority: u16, wait: Wait) -> Result<(), SendError> {
        let me = self.me()?;
        let slept = self.send_silently(me, message, priority, wait)?;
        // S7, S8.
        self.header().receivers.signal(1);
        self.pass_on_room(slept);
        Ok(())
    }

    pub(crate) fn send_many<M: AsRef<[u8]>>(&self, messages: &[(M, u16)], wait: Wait) -> Result<(), SendManyError> {
        let me = self.me().map_err(|fault| SendManyError { sent: 0, error: fault.into() })?;
        let (mut told, mut slept) = (0, false);
        for (sent, (message, priority)) in messages.iter().enumerate() {
            let message = message.as_ref();
            let result = match self.send_silently(me, message, *priority, Wait::No) {
                // Before this call waits or gives up, the receivers must know what it has sent.
                Err(SendError::Full) => {
                    self.tell_receivers(sent - told);
                    told = sent;
                    self.send_silently(me, message, *priority, wait)
                }
                result => result,
            };
            match result {
                Ok(waited) => slept |= waited,
                Err(error) => {
                    self.tell_receivers(sent - told);
                    return Err(SendManyError { sent, error });
                }
            }
        }
        self.tell_receivers(messages.len() - told);
        self.pass_on_room(slept);
        Ok(())
    }

    /// S8: a sender that slept may have used up a wake that was for more than one; whether there is more room is not looked at,
    /// for no word outside the lock tells (a refill may be under way).
    #[inline]
    fn pass_on_room(&self, slept: bool) {
        if slept {
            self.header().senders.signal(1);
        }
    }

    fn tell_receivers(&self, news: usize) {
        if news > 0 {
            self.header().receivers.signal(u32::try_from(news).unwrap_or(u32::MAX));
        }
    }

    /// Sends and tells nobody. Returns whether it slept.
    #[inline]
    fn send_silently(&self, me: Owner, message: &[u8], priority: u16, wait: Wait) -> Result<bool, SendError> {
        self.admit(message, priority)?;
        let length = message.len() as u64;
        let wide = length > self.layout.inline;
        let (claim, slept) = match self.try_claim(me, wide, wait, false)? {
            Some(claim) => (claim, false),
            None => self.wait_to_claim(me, wide, wait)?,
        };
        self.write(me, claim, message, priority)?;
        self.ring().commit(claim)?;
        if let Some(slot) = self.ring().foresee(claim.ticket) {
            self.region.prefetch_write(self.layout.payload(slot, 1), length.min(self.layout.inline));
        }
        Ok(slept)
    }

    /// S0: refuses what can never be sent, and sees to the page of the priority's level.
    #[inline]
    fn admit(&self, message: &[u8], priority: u16) -> Result<(), SendError> {
        if priority > PRIORITY_MAX {
            return Err(SendError::Priority(priority));
        }
        let (length, max) = (message.len() as u64, self.layout.attributes.message_size);
        if length > max {
            return Err(SendError::TooLong { length, max });
        }
        let page = level_page(priority);
        if self.header().levels_backed.load(Ordering::Relaxed) >> page & 1 == 0 {
            self.back_level_page(page)?;
        }
        Ok(())
    }

    #[cold]
    fn back_level_page(&self, page: u16) -> Result<(), SendError> {
        let (offset, len) = Layout::level_page(page);
        file::reserve(self.fd(), offset, len).map_err(no_space)?;
        // The bit comes after the reservation; the claim's CAS carries it to whoever drains the message.
        self.header().levels_backed.fetch_or(1 << page, Ordering::SeqCst);
        Ok(())
    }

    /// S1 to S4, with a refill where nothing is armed; `None` when the queue is full. Unless it must say so `surely`, it does
    /// not take the lock to find out what a look tells well enough for one who will look again.
    #[inline]
    fn try_claim(&self, me: Owner, wide: bool, wait: Wait, surely: bool) -> Result<Option<Claim>, SendError> {
        for _ in 0..REFILLS_MAX {
            self.check_open()?;
            if let Some(claim) = self.ring().claim(me)? {
                // After the claim, so that a receiver which saw the end and found nothing has seen this claim, or we see the end.
                fence_after_rmw();
                return match self.check_open() {
                    Ok(()) => Ok(Some(claim)),
                    Err(end) => {
                        self.abandon(me, claim)?;
                        Err(end)
                    }
                };
            }
            if !surely && !self.shared().ledger.could_refill() {
                return Ok(None);
            }
            // Each turn of this loop means that others claimed all that was armed.
            if !self.refill(me, wide, wait)? {
                return Ok(None);
            }
        }
        Err(SendError::Corrupt)
    }

    #[inline]
    fn check_open(&self) -> Result<(), SendError> {
        match self.life() {
            Life::Open => Ok(()),
            Life::Closed => Err(SendError::Closed),
            Life::Unlinked => Err(SendError::Unlinked),
        }
    }

    /// Arms free slots; false if there are none.
    #[cold]
    fn refill(&self, me: Owner, wide: bool, wait: Wait) -> Result<bool, SendError> {
        let shared = self.shared();
        let _held = self.lock(&shared, me, wait)?;
        let window = if wide { WINDOW_WIDE } else { WINDOW };
        shared.ledger.refill(window, || self.reserve_slots())
    }

    /// Reserves the next slots; false if all are.
    fn reserve_slots<E: From<Fault> + NoSpace>(&self) -> Result<bool, E> {
        let ledger = self.shared().ledger;
        let (from, capacity) = (ledger.fresh(), self.layout.attributes.capacity);
        let to = capacity.min(from.saturating_add(CHUNK));
        if from >= to {
            return Ok(false);
        }
        for (offset, len) in self.layout.slot_bytes(from, to) {
            file::reserve(self.fd(), offset, len).map_err(E::from_io)?;
        }
        ledger.adopt(from, to).map_err(Fault::from)?;
        Ok(true)
    }

    fn wait_to_claim(&self, me: Owner, wide: bool, wait: Wait) -> Result<(Claim, bool), SendError> {
        let mut sender = Sender { core: self, me, wide, wait };
        let found = wait_for(&mut sender, &self.header().senders, &self.spin, wait)?;
        found.ok_or(if wait == Wait::No { SendError::Full } else { SendError::TimedOut })
    }

    /// S5: the payload, and what describes it. Gives the claim up if there is no space for it.
    #[inline]
    fn write(&self, me: Owner, claim: Claim, message: &[u8], priority: u16) -> Result<(), SendError> {
        let slot = at(self.slots(), claim.slot)?;
        let length = message.len() as u64;
        if length > self.layout.inline
            && slot.backed.load(Ordering::Relaxed) < length
            && let Err(error) = self.back_extent(claim, slot, length)
        {
            self.abandon(me, claim)?;
            return Err(no_space(error));
        }
        slot.meta.store(Meta::new(length, priority).raw(), Ordering::Relaxed);
        slot.redelivered.store(0, Ordering::Relaxed);
        let written = self.region.copy_in(self.layout.payload(claim.slot, length), message);
        debug_assert!(written, "the layout has room for every slot");
        Ok(())
    }

    #[cold]
    fn back_extent(&self, claim: Claim, slot: &Slot, length: u64) -> io::Result<()> {
        let bytes = length.next_multiple_of(4096);
        file::reserve(self.fd(), self.layout.payload(claim.slot, length), bytes)?;
        slot.backed.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives a claim back, as recovery would after our death.
    #[cold]
    fn abandon(&self, me: Owner, claim: Claim) -> Result<(), Fault> {
        let shared = self.shared();
        let voided = self.lock(&shared, me, Wait::Forever).and_then(|held| {
            shared.ledger.drain()?;
            shared.ledger.void(claim.slot)?;
            drop(held);
            Ok(())
        });
        if voided.is_err() {
            self.member.leave_untidy();
        }
        self.header().senders.signal(1);
        if self.life() != Life::Open {
            self.header().receivers.signal_all();
        }
        voided
    }

    // ---------------------------------------------------------------- receiving

    pub(crate) fn recv(&self, sink: Sink<'_>, wait: Wait) -> Result<Received, RecvError> {
        let mut receiver = Receiver { core: self, me: self.me()?, wait, sink };
        let found = match receiver.attempt(false)? {
            Some(received) => Some(received),
            None => wait_for(&mut receiver, &self.header().receivers, &self.spin, wait)?,
        };
        found.ok_or(if wait == Wait::No { RecvError::Empty } else { RecvError::TimedOut })
    }

    pub(crate) fn recv_many(&self, batch: &mut Batch, max: usize, wait: Wait) -> Result<usize, RecvError> {
        batch.clear();
        if max == 0 {
            return Ok(0);
        }
        let mut receiver = BatchReceiver { core: self, me: self.me()?, wait, max, batch };
        let found = match receiver.attempt(false)? {
            Some(count) => Some(count),
            None => wait_for(&mut receiver, &self.header().receivers, &self.spin, wait)?,
        };
        found.ok_or(if wait == Wait::No { RecvError::Empty } else { RecvError::TimedOut })
    }

    /// R1 to R10, or T1 to T5 for a large message; `None` if there is none.
    #[inline]
    fn try_recv(&self, me: Owner, sink: &mut Sink<'_>, slept: bool, wait: Wait) -> Result<Option<Received>, RecvError> {
        let life = self.life_before_drain();
        let shared = self.shared();
        let held = self.lock(&shared, me, wait)?;
        let Some(chosen) = shared.ledger.choose()? else {
            return self.nothing_left(life);
        };
        let length = self.check_length(chosen.meta)?;
        sink.fits(length)?;
        let redelivered = self.redelivered(chosen)?;
        if length <= self.layout.inline {
            self.copy(chosen, length, sink)?;
            shared.ledger.consume(chosen)?;
        } else {
            shared.ledger.take(chosen, me)?;
        }
        let more = slept && shared.header.desk.count.load(Ordering::Relaxed) != 0;
        let next = shared.ledger.foreseen();
        drop(held);
        if let Some(slot) = next {
            self.region.prefetch(self.layout.payload(slot, 1), length.min(self.layout.inline));
        }
        if length > self.layout.inline {
            self.pass_on(more);
            let untidy = Untidy(&self.member);
            let copied = self.copy(chosen, length, sink);
            std::mem::forget(untidy);
            self.finish(me, &[chosen])?;
            copied?;
            shared.header.senders.signal(1);
        } else {
            shared.header.senders.signal(1);
            self.pass_on(more);
        }
        Ok(Some(Received { len: length as usize, priority: chosen.meta.priority(), redelivered }))
    }

    /// T1 to T5 for up to `max` messages; `None` if there is none.
    fn try_recv_many(
        &self,
        me: Owner,
        batch: &mut Batch,
        max: usize,
        slept: bool,
        wait: Wait,
    ) -> Result<Option<usize>, RecvError> {
        let life = self.life_before_drain();
        let shared = self.shared();
        let held = self.lock(&shared, me, wait)?;
        let taken = self.take_many(&shared, me, max)?;
        if taken.is_empty() {
            return self.nothing_left(life);
        }
        let more = slept && shared.header.desk.count.load(Ordering::Relaxed) != 0;
        drop(held);
        self.pass_on(more);
        let untidy = Untidy(&self.member);
        let copied = taken.iter().try_for_each(|chosen| self.copy_to_batch(*chosen, batch));
        std::mem::forget(untidy);
        self.finish(me, &taken)?;
        copied?;
        shared.header.senders.signal(u32::try_from(taken.len()).unwrap_or(u32::MAX));
        Ok(Some(taken.len()))
    }

    /// T1. On damage in the middle, what was taken stays so until this handle goes.
    fn take_many(&self, shared: &Shared<'_>, me: Owner, max: usize) -> Result<Vec<Chosen>, Fault> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let next = shared.ledger.choose().and_then(|chosen| match chosen {
                Some(chosen) => shared.ledger.take(chosen, me).map(|()| Some(chosen)),
                None => Ok(None),
            });
            match next {
                Ok(Some(chosen)) => {
                    self.region
                        .prefetch(self.layout.payload(chosen.slot, 1), chosen.meta.length().min(self.layout.inline));
                    taken.push(chosen);
                }
                Ok(None) => break,
                Err(corrupt) => {
                    self.member.leave_untidy();
                    return Err(corrupt.into());
                }
            }
        }
        Ok(taken)
    }

    /// T4: commits what was taken.
    fn finish(&self, me: Owner, taken: &[Chosen]) -> Result<(), Fault> {
        let shared = self.shared();
        let finished = self.lock(&shared, me, Wait::Forever).and_then(|held| {
            taken.iter().try_for_each(|chosen| shared.ledger.finish(*chosen).map(|put| self.trim(put)))?;
            drop(held);
            Ok(())
        });
        if finished.is_err() {
            self.member.leave_untidy();
        }
        if self.life() != Life::Open {
            // Receivers that wait for the end wait for this.
            shared.header.receivers.signal_all();
        }
        finished
    }

    /// Returns the memory of a large extent whose slot has become free. The lock is held, so the slot is ours alone.
    fn trim(&self, put: Put) {
        let Put::Free(number) = put else { return };
        let Ok(slot) = at(self.slots(), number) else { return };
        let backed = slot.backed.load(Ordering::Relaxed);
        if backed < TRIM_FROM {
            return;
        }
        // First, so that a death in between leaves pages that are not counted, not pages that are missing.
        slot.backed.store(0, Ordering::Relaxed);
        // Where the file system cannot, the memory stays: it is used again by the next large message in this slot.
        let _ = file::give_back(self.fd(), self.layout.payload(number, self.layout.extent), self.layout.extent);
    }

    /// Passes a wake on to the next sleeping receiver.
    #[inline]
    fn pass_on(&self, more: bool) {
        if more {
            self.header().receivers.signal(1);
        }
    }

    /// There is no message, and the lock is held: is that the end? `life` was read before the drain.
    fn nothing_left<T>(&self, life: Life) -> Result<Option<T>, RecvError> {
        match life {
            Life::Closed if !self.watching() => Err(RecvError::Closed),
            Life::Unlinked if !self.watching() => Err(RecvError::Unlinked),
            _ => Ok(None),
        }
    }

    /// The length of a message, if it can be one of this queue.
    #[inline]
    fn check_length(&self, meta: Meta) -> Result<u64, Fault> {
        let length = meta.length();
        if length <= self.layout.attributes.message_size { Ok(length) } else { Err(Fault::Corrupt) }
    }

    fn redelivered(&self, chosen: Chosen) -> Result<u32, Fault> {
        Ok(at(self.slots(), chosen.slot)?.redelivered.load(Ordering::Relaxed))
    }

    #[inline]
    fn copy(&self, chosen: Chosen, length: u64, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let from = self.layout.payload(chosen.slot, length);
        let copied = match sink {
            Sink::Slice(buffer) => self.region.copy_out(from, &mut buffer[..length as usize]),
            Sink::Vec(vec) => self.region.copy_to_vec(from, length as usize, vec),
        };
        if copied { Ok(()) } else { Err(Fault::Corrupt) }
    }

    fn copy_to_batch(&self, chosen: Chosen, batch: &mut Batch) -> Result<(), Fault> {
        let length = self.check_length(chosen.meta)?;
        self.copy(chosen, length, &mut Sink::Vec(&mut batch.bytes))?;
        batch.ends.push((batch.bytes.len(), chosen.meta.priority()));
        Ok(())
    }

    // ---------------------------------------------------------------- looking and administering

    pub(crate) fn peek(&self, max: usize) -> Result<Vec<Message>, AccessError> {
        let me = self.me()?;
        let shared = self.shared();
        let held = self.lock(&shared, me, Wait::No)?;
        shared.ledger.drain()?;
        let numbers = shared.ledger.index.walk(max)?;
        let words =
            numbers.iter().map(|number| at(shared.ledger.slots, *number).map(|slot| slot.word.load(Ordering::Acquire)));
        let words: Result<Vec<u64>, Corrupt> = words.collect();
        drop(held);
        let words = words?;
        let mut messages = Vec::new();
        for (number, word) in numbers.into_iter().zip(words) {
            messages.extend(self.peek_one(number, Word::from_raw(word))?);
        }
        Ok(messages)
    }

    /// Copies a message that stays; `None` if it went away meanwhile. A slot keeps its payload as long as its word is the
    /// same, and a word does not come back: so what was copied between two looks at the same word is the message.
    fn peek_one(&self, number: u32, word: Word) -> Result<Option<Message>, Fault> {
        let slot = at(self.slots(), number)?;
        let meta = Meta::from_raw(slot.meta.load(Ordering::Relaxed));
        let redelivered = slot.redelivered.load(Ordering::Relaxed);
        let mut data = Vec::new();
        let copied = self.check_length(meta).and_then(|length| {
            let copied = self.region.copy_to_vec(self.layout.payload(number, length), length as usize, &mut data);
            if copied { Ok(()) } else { Err(Fault::Corrupt) }
        });
        // Partner: the claim's CAS and the stores behind it. If one of those was read above, the word read below has changed.
        fence(Ordering::Acquire);
        if slot.word.load(Ordering::Relaxed) != word.raw() {
            return Ok(None);
        }
        copied?;
        Ok(Some(Message { data, priority: meta.priority(), redelivered }))
    }

    pub(crate) fn len(&self) -> Result<usize, AccessError> {
        let me = self.me()?;
        let shared = self.shared();
        let _held = self.lock(&shared, me, Wait::No)?;
        shared.ledger.drain()?;
        Ok(shared.header.desk.count.load(Ordering::Relaxed) as usize)
    }

    pub(crate) fn purge(&self) -> Result<usize, AccessError> {
        let me = self.me()?;
        let shared = self.shared();
        let held = self.lock(&shared, me, Wait::No)?;
        let purged = shared.ledger.purge(|put| self.trim(put));
        drop(held);
        self.header().senders.signal_all();
        Ok(purged? as usize)
    }

    pub(crate) fn close(&self) -> Result<(), AccessError> {
        self.me()?;
        self.end(Life::Closed);
        Ok(())
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

    pub(crate) fn stat(&self) -> Result<Stat, AccessError> {
        let me = self.me()?;
        self.recover(me, Wait::No)?;
        let facts = file::facts(self.fd()).map_err(Fault::from)?;
        let shared = self.shared();
        let held = self.lock(&shared, me, Wait::No)?;
        shared.ledger.drain()?;
        let desk = &shared.header.desk;
        let number = |word: &AtomicU32| u64::from(word.load(Ordering::Relaxed));
        let (len, being_sent, being_received) = (number(&desk.count), number(&desk.slow_count), number(&desk.taken));
        let counters = counters(&shared);
        drop(held);
        Ok(Stat {
            attributes: self.layout.attributes,
            mode: facts.mode,
            len,
            being_sent,
            being_received,
            ephemeral: self.ephemeral,
            closed: self.life() >= Life::Closed,
            unlinked: self.life() == Life::Unlinked,
            created_unix_nanos: self.created,
            memory: facts.memory,
            counters,
            participants: participants(&shared),
        })
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

fn counters(shared: &Shared<'_>) -> Counters {
    let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let (desk, totals) = (&shared.header.desk, &shared.header.totals);
    Counters {
        sent: shared.ledger.sent(),
        received: get(&desk.received),
        purged: get(&totals.purged),
        high_water: get(&desk.high_water),
        send_blocked: get(&totals.send_blocked),
        recv_blocked: get(&totals.recv_blocked),
        recovered: get(&totals.recovered),
        redelivered: get(&totals.redelivered),
    }
}

fn participants(shared: &Shared<'_>) -> Vec<Participant> {
    let high = shared.header.attach_high.load(Ordering::Acquire).min(Owner::INDEX_MAX + 1);
    let used = shared.entries.iter().take(high as usize).filter(|entry| entry.in_use());
    let describe = |entry: &Entry| {
        let said = entry.description();
        let end = said.command.iter().position(|byte| *byte == 0).unwrap_or(said.command.len());
        Participant {
            pid: said.pid,
            pid_namespace: said.pid_namespace,
            command: String::from_utf8_lossy(&said.command[..end]).into_owned(),
            since_unix_nanos: said.since,
        }
    };
    used.map(describe).collect()
}

/// Messages are in our hands: should the copying panic, what is left of them is a recoverer's.
struct Untidy<'a>(&'a Member);

impl Drop for Untidy<'_> {
    fn drop(&mut self) {
        self.0.leave_untidy();
    }
}

/// A sender that waits for room.
struct Sender<'a> {
    core: &'a Core,
    me: Owner,
    wide: bool,
    wait: Wait,
}

impl Awaited for Sender<'_> {
    type Item = (Claim, bool);
    type Error = SendError;
    const EVERY: u32 = 16;

    fn attempt(&mut self, slept: bool) -> Result<Option<(Claim, bool)>, SendError> {
        let surely = slept || self.wait == Wait::No;
        Ok(self.core.try_claim(self.me, self.wide, self.wait, surely)?.map(|claim| (claim, slept)))
    }

    fn stirring(&self) -> bool {
        self.core.ring().armed()
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

    fn recover(&mut self) -> Result<(), SendError> {
        Ok(self.core.recover(self.me, self.wait)?)
    }

    fn over(&mut self) -> Result<(), SendError> {
        Ok(self.core.end_if_orphaned().map(|_| ())?)
    }

    fn blocked(&self) {
        self.core.header().totals.send_blocked.fetch_add(1, Ordering::Relaxed);
    }
}

/// A receiver that waits for one message.
struct Receiver<'a, 'b> {
    core: &'a Core,
    me: Owner,
    wait: Wait,
    sink: Sink<'b>,
}

impl Awaited for Receiver<'_, '_> {
    type Item = Received;
    type Error = RecvError;
    const EVERY: u32 = 2;

    #[inline]
    fn attempt(&mut self, slept: bool) -> Result<Option<Received>, RecvError> {
        self.core.try_recv(self.me, &mut self.sink, slept, self.wait)
    }

    fn stirring(&self) -> bool {
        self.core.shared().ledger.stirring()
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

    fn recover(&mut self) -> Result<(), RecvError> {
        Ok(self.core.recover(self.me, self.wait)?)
    }

    fn over(&mut self) -> Result<(), RecvError> {
        Ok(self.core.end_if_orphaned().map(|_| ())?)
    }

    fn blocked(&self) {
        self.core.header().totals.recv_blocked.fetch_add(1, Ordering::Relaxed);
    }
}

/// A receiver that waits for a batch.
struct BatchReceiver<'a, 'b> {
    core: &'a Core,
    me: Owner,
    wait: Wait,
    max: usize,
    batch: &'b mut Batch,
}

impl Awaited for BatchReceiver<'_, '_> {
    type Item = usize;
    type Error = RecvError;
    const EVERY: u32 = 2;

    fn attempt(&mut self, slept: bool) -> Result<Option<usize>, RecvError> {
        self.core.try_recv_many(self.me, self.batch, self.max, slept, self.wait)
    }

    fn stirring(&self) -> bool {
        self.core.shared().ledger.stirring()
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

    fn recover(&mut self) -> Result<(), RecvError> {
        Ok(self.core.recover(self.me, self.wait)?)
    }

    fn over(&mut self) -> Result<(), RecvError> {
        Ok(self.core.end_if_orphaned().map(|_| ())?)
    }

    fn blocked(&self) {
        self.core.header().totals.recv_blocked.fetch_add(1, Ordering::Relaxed);
    }
}

impl Sink<'_> {
    #[inline]
    fn fits(&self, length: u64) -> Result<(), RecvError> {
        match self {
            Sink::Slice(buffer) if (buffer.len() as u64) < length => {
                Err(RecvError::BufferTooSmall { needed: length, room: buffer.len() as u64 })
            }
            _ => Ok(()),
        }
    }
}

/// Errors that can say that there is no space.
trait NoSpace {
    fn from_io(error: io::Error) -> Self;
}

impl NoSpace for SendError {
    fn from_io(error: io::Error) -> SendError {
        no_space(error)
    }
}

impl NoSpace for Fault {
    fn from_io(error: io::Error) -> Fault {
        error.into()
    }
}

fn no_space(error: io::Error) -> SendError {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => SendError::NoSpace,
        other => SendError::System(other.unwrap_or(libc::EIO)),
    }
}
