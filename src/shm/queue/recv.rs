//! Receiving: steps R1 to R10 and T1 to T5 of `docs/recovery.md`, alone and in batches.

use super::doorbell::News;
use super::notify::Waits;
use super::{Core, Shared, Side, Waiting};
use crate::deadline::Wait;
use crate::error::RecvError;
use crate::message::{Batch, Received};
use crate::raw::at;
use crate::raw::ledger::{Chosen, Put};
use crate::raw::word::{Meta, Owner};
use crate::shm::fault::Fault;
use crate::shm::layout::Life;
use crate::shm::member::Member;
use crate::shm::wait::wait_for;
use crate::sync::Ordering;
use crate::sys::file;

/// Extents of at least this many bytes give their memory back when their slot becomes free; below, what it costs to take
/// the pages again is more than the copy.
pub(super) const TRIM_FROM: u64 = 256 << 10;

/// Where a message goes.
pub(crate) enum Sink<'a> {
    /// A caller's buffer.
    Slice(&'a mut [u8]),
    /// A vector, which is appended to.
    Vec(&'a mut Vec<u8>),
}

impl Core {
    pub(crate) fn recv(&self, mut sink: Sink<'_>, wait: Wait) -> Result<Received, RecvError> {
        let me = self.me()?;
        let _will = self.make_will();
        if let Some(received) = self.try_recv(me, &mut sink, false, wait)? {
            return Ok(received);
        }
        self.wait_for_messages(me, wait, |slept| self.try_recv(me, &mut sink, slept, wait))
    }

    pub(crate) fn recv_many(&self, batch: &mut Batch, max: usize, wait: Wait) -> Result<usize, RecvError> {
        batch.clear();
        if max == 0 {
            return Ok(0);
        }
        let me = self.me()?;
        let _will = self.make_will();
        if let Some(count) = self.try_recv_many(me, batch, max, false, wait)? {
            return Ok(count);
        }
        self.wait_for_messages(me, wait, |slept| self.try_recv_many(me, batch, max, slept, wait))
    }

    fn wait_for_messages<T>(
        &self,
        me: Owner,
        wait: Wait,
        attempt: impl FnMut(bool) -> Result<Option<T>, RecvError>,
    ) -> Result<T, RecvError> {
        let waiting = Waiting { core: self, me, wait, side: Side::Messages };
        let registered = self.header().notice.load();
        let _waits = Waits::new(self, me, wait, Side::Messages)?;
        let found = wait_for(&waiting, &self.header().receivers, &self.spin, wait, attempt)?;
        if found.is_none() && self.header().receivers.has_attention() {
            self.attend_to_news(me, wait, News::FoundEmpty(registered));
        }
        found.ok_or(if wait == Wait::No { RecvError::Empty } else { RecvError::TimedOut })
    }

    /// R1 to R10, or T1 to T5 for a large message; `None` if there is none.
    #[inline]
    fn try_recv(&self, me: Owner, sink: &mut Sink<'_>, slept: bool, wait: Wait) -> Result<Option<Received>, RecvError> {
        self.look_after_dead(me, wait)?;
        let life = self.life_before_drain();
        let shared = self.shared();
        // Whether the region is lost is seen when a message has been copied, or when there is none.
        let held = self.base.member.lock(&shared, me, wait)?;
        let expected = shared.expects_more();
        let Some(chosen) = shared.ledger.choose()? else {
            return self.nothing_left(life);
        };
        let length = self.check_length(chosen.slot, chosen.meta)?;
        sink.fits(length)?;
        let redelivered = self.redelivered(chosen)?;
        shared.note_if_last(chosen, expected)?;
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
            let untidy = Untidy(&self.base.member);
            let copied = self.copy(chosen, length, sink);
            std::mem::forget(untidy);
            self.finish(me, &[chosen])?;
            copied?;
            self.tell_senders(me, 1, wait);
        } else {
            self.tell_senders(me, 1, wait);
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
        self.look_after_dead(me, wait)?;
        let life = self.life_before_drain();
        let shared = self.shared();
        let held = self.lock(&shared, me, wait)?;
        let taken = self.take_many(&shared, me, max, batch)?;
        if taken.is_empty() {
            return self.nothing_left(life);
        }
        let more = slept && shared.header.desk.count.load(Ordering::Relaxed) != 0;
        drop(held);
        self.pass_on(more);
        let untidy = Untidy(&self.base.member);
        let copied = taken.iter().try_for_each(|chosen| self.copy_to_batch(*chosen, batch));
        std::mem::forget(untidy);
        self.finish(me, &taken)?;
        copied?;
        self.tell_senders(me, taken.len(), wait);
        Ok(Some(taken.len()))
    }

    /// T1. On damage in the middle, what was taken stays so until this handle goes.
    fn take_many(&self, shared: &Shared<'_>, me: Owner, max: usize, batch: &mut Batch) -> Result<Vec<Chosen>, Fault> {
        let (mut taken, mut total) = (Vec::new(), 0);
        let expected = shared.expects_more();
        while taken.len() < max {
            let next = if taken.is_empty() { shared.ledger.choose() } else { shared.ledger.best() };
            let next = next.map_err(Fault::from).and_then(|chosen| match chosen {
                Some(chosen) => {
                    // Room first: what is taken must be copied. Without room the batch ends before this message.
                    total += self.check_length(chosen.slot, chosen.meta)? as usize;
                    match batch.bytes.try_reserve(total) {
                        Ok(()) => {
                            shared.note_if_last(chosen, expected)?;
                            shared.ledger.take(chosen, me)?;
                        }
                        Err(_) if taken.is_empty() => return Err(Fault::System(libc::ENOMEM)),
                        Err(_) => return Ok(None),
                    }
                    Ok(Some(chosen))
                }
                None => Ok(None),
            });
            match next {
                Ok(Some(chosen)) => {
                    self.region
                        .prefetch(self.layout.payload(chosen.slot, 1), chosen.meta.length().min(self.layout.inline));
                    taken.push(chosen);
                }
                Ok(None) => break,
                Err(fault) => {
                    if !taken.is_empty() {
                        self.base.member.leave_untidy();
                    }
                    return Err(fault);
                }
            }
        }
        Ok(taken)
    }

    /// T4: commits what was taken.
    fn finish(&self, me: Owner, taken: &[Chosen]) -> Result<(), Fault> {
        let shared = self.shared();
        let finished = self.lock(&shared, me, Wait::Forever).and_then(|held| {
            taken.iter().try_for_each(|chosen| shared.ledger.finish(*chosen).map(|put| self.trim(put, TRIM_FROM)))?;
            drop(held);
            Ok(())
        });
        if finished.is_err() {
            self.base.member.leave_untidy();
        }
        if self.life() != Life::Open {
            // Receivers that wait for the end wait for this.
            shared.header.receivers.signal_all();
        }
        finished
    }

    /// Returns the memory of an extent of at least so many bytes whose slot has become free. The lock is held, so the slot is
    /// ours alone.
    pub(super) fn trim(&self, put: Put, from: u64) {
        let Put::Free(number) = put else { return };
        let Ok(slot) = at(self.slots(), number) else { return };
        let backed = slot.backed.load(Ordering::Relaxed);
        if backed < from {
            return;
        }
        // First, so that a death in between leaves pages that are not counted, not pages that are missing.
        slot.backed.store(0, Ordering::Relaxed);
        // Where the file system cannot, the memory stays: it is used again by the next large message in this slot.
        let place = self.layout.payload(number, self.layout.extent);
        let _ = self.base.member.checked_fd().and_then(|fd| file::give_back(fd, place, self.layout.extent));
    }

    /// R9: there is room for so many.
    #[inline(always)]
    pub(super) fn tell_senders(&self, me: Owner, room: usize, wait: Wait) {
        if self.header().senders.signal(u32::try_from(room).unwrap_or(u32::MAX)) {
            self.attend_to_news(me, wait, News::Room);
        }
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
            _ if self.region.is_lost() => Err(RecvError::Corrupt),
            Life::Closed if !self.watching() => Err(RecvError::Closed),
            Life::Unlinked if !self.watching() => Err(RecvError::Unlinked),
            _ => Ok(None),
        }
    }

    /// The length of the message in a slot, if it can be one: of this queue, and with memory behind it.
    #[inline]
    pub(super) fn check_length(&self, number: u32, meta: Meta) -> Result<u64, Fault> {
        let length = meta.length();
        let backed = || Ok::<bool, Fault>(at(self.slots(), number)?.backed.load(Ordering::Relaxed) >= length);
        let possible = length <= self.layout.attributes.message_size && (length <= self.layout.inline || backed()?);
        if possible { Ok(length) } else { Err(Fault::Corrupt) }
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
        self.copy(chosen, chosen.meta.length(), &mut Sink::Vec(&mut batch.bytes))?;
        batch.ends.push((batch.bytes.len(), chosen.meta.priority()));
        Ok(())
    }
}

/// Messages are in our hands: should the copying panic, what is left of them is a recoverer's.
struct Untidy<'a>(&'a Member);

impl Drop for Untidy<'_> {
    fn drop(&mut self) {
        self.0.leave_untidy();
    }
}

impl Sink<'_> {
    /// Sees to room for a message before anything is done to it.
    #[inline]
    fn fits(&mut self, length: u64) -> Result<(), RecvError> {
        match self {
            Sink::Slice(buffer) if (buffer.len() as u64) < length => {
                Err(RecvError::BufferTooSmall { needed: length, room: buffer.len() as u64 })
            }
            Sink::Slice(_) => Ok(()),
            Sink::Vec(vec) => vec.try_reserve_exact(length as usize).map_err(|_| RecvError::System(libc::ENOMEM)),
        }
    }
}
