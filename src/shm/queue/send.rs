//! Sending: steps S0 to S8 of `docs/recovery.md`, alone and in batches.

use super::doorbell::News;
use super::notify::Waits;
use super::{Core, Side, Waiting};
use crate::deadline::Wait;
use crate::error::{SendError, SendManyError};
use crate::message::PRIORITY_MAX;
use crate::raw::at;
use crate::raw::ledger::{Put, WINDOW, WINDOW_WIDE, level_page};
use crate::raw::ring::{Claim, Slot};
use crate::raw::word::{Meta, Owner};
use crate::shm::fault::Fault;
use crate::shm::layout::Life;
use crate::shm::layout::queue::{CHUNK, Layout};
use crate::shm::wait::wait_for;
use crate::sync::{Ordering, fence_after_rmw};
use crate::sys::file;
use std::io;

/// How often in a row a sender may find that others claimed all that it has armed. More than that is damage.
const REFILLS_MAX: u32 = 1000;

impl Core {
    pub(crate) fn send(&self, message: &[u8], priority: u16, wait: Wait) -> Result<(), SendError> {
        let me = self.me()?;
        let _will = self.make_will();
        let slept = self.send_silently(me, message, priority, wait)?;
        // S7, S8.
        self.tell_receivers(me, 1, wait);
        self.pass_on_room(slept);
        Ok(())
    }

    pub(crate) fn send_many<M: AsRef<[u8]>>(&self, messages: &[(M, u16)], wait: Wait) -> Result<(), SendManyError> {
        let me = self.me().map_err(|fault| SendManyError { sent: 0, error: fault.into() })?;
        let _will = self.make_will();
        let (mut told, mut slept) = (0, false);
        for (sent, (message, priority)) in messages.iter().enumerate() {
            let message = message.as_ref();
            let result = match self.send_silently(me, message, *priority, Wait::No) {
                // Before this call waits or gives up, the receivers must know what it has sent.
                Err(SendError::Full) => {
                    self.tell_receivers(me, sent - told, wait);
                    told = sent;
                    self.send_silently(me, message, *priority, wait)
                }
                result => result,
            };
            match result {
                Ok(waited) => slept |= waited,
                Err(error) => {
                    self.tell_receivers(me, sent - told, wait);
                    self.pass_on_room(slept);
                    return Err(SendManyError { sent, error });
                }
            }
        }
        self.tell_receivers(me, messages.len() - told, wait);
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

    #[inline(always)]
    fn tell_receivers(&self, me: Owner, news: usize, wait: Wait) {
        if news > 0 && self.header().receivers.signal(u32::try_from(news).unwrap_or(u32::MAX)) {
            self.attend_to_news(me, wait, News::Sent);
        }
    }

    /// Sends and tells nobody. Returns whether it slept.
    #[inline]
    fn send_silently(&self, me: Owner, message: &[u8], priority: u16, wait: Wait) -> Result<bool, SendError> {
        self.admit(message, priority)?;
        let length = message.len() as u64;
        let wide = length > self.layout.inline;
        let (mut claim, mut slept) = self.claim(me, wide, wait)?;
        let mut turn = 0;
        while let Err(error) = self.write(me, claim, message, priority) {
            // The slot has no memory and there is none; another that is free or armed may have some from an earlier message.
            if error != SendError::NoSpace || turn > WINDOW {
                return Err(error);
            }
            if turn == 0 {
                self.trim_free(me)?;
            }
            turn += 1;
            let waited;
            (claim, waited) = self.claim(me, wide, wait)?;
            slept |= waited;
        }
        self.ring().commit(claim)?;
        if let Some(slot) = self.ring().foresee(claim.ticket) {
            self.region.prefetch_write(self.layout.payload(slot, 1), length.min(self.layout.inline));
        }
        Ok(slept)
    }

    /// S1 to S4, waiting if need be. Also returns whether it slept.
    #[inline]
    fn claim(&self, me: Owner, wide: bool, wait: Wait) -> Result<(Claim, bool), SendError> {
        match self.try_claim(me, wide, wait, false)? {
            Some(claim) => Ok((claim, false)),
            None => self.wait_to_claim(me, wide, wait),
        }
    }

    /// Gives back the memory of all free slots.
    #[cold]
    fn trim_free(&self, me: Owner) -> Result<(), Fault> {
        let shared = self.shared();
        let _held = self.lock(&shared, me, Wait::Forever)?;
        Ok(shared.ledger.each_free(|number| self.trim(Put::Free(number), 1))?)
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
        self.base.member.checked_fd().and_then(|fd| file::reserve(fd, offset, len)).map_err(no_space)?;
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
    pub(super) fn reserve_slots<E: From<Fault> + NoSpace>(&self) -> Result<bool, E> {
        let ledger = self.shared().ledger;
        let (from, capacity) = (ledger.fresh(), self.layout.attributes.capacity);
        let to = capacity.min(from.saturating_add(CHUNK));
        if from >= to {
            return Ok(false);
        }
        for (offset, len) in self.layout.slot_bytes(from, to) {
            self.base.member.checked_fd().and_then(|fd| file::reserve(fd, offset, len)).map_err(E::from_io)?;
        }
        ledger.adopt(from, to).map_err(Fault::from)?;
        Ok(true)
    }

    fn wait_to_claim(&self, me: Owner, wide: bool, wait: Wait) -> Result<(Claim, bool), SendError> {
        let waiting = Waiting { core: self, me, wait, side: Side::Room };
        let _waits = Waits::new(self, me, wait, Side::Room)?;
        let found = wait_for(&waiting, &self.header().senders, &self.spin, wait, |slept| -> Result<_, SendError> {
            let surely = slept || wait == Wait::No;
            Ok(self.try_claim(me, wide, wait, surely)?.map(|claim| (claim, slept)))
        })?;
        if found.is_none() && self.header().senders.has_attention() {
            self.attend_to_news(me, wait, News::FoundFull);
        }
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
        slot.sender.store(me.bits(), Ordering::Relaxed);
        if !self.region.copy_in(self.layout.payload(claim.slot, length), message) {
            // The layout has room for every slot: the region is lost, and with it the claim.
            self.base.member.leave_untidy();
            return Err(SendError::Corrupt);
        }
        Ok(())
    }

    #[cold]
    fn back_extent(&self, claim: Claim, slot: &Slot, length: u64) -> io::Result<()> {
        let bytes = length.next_multiple_of(4096);
        file::reserve(self.base.member.checked_fd()?, self.layout.payload(claim.slot, length), bytes)?;
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
            self.base.member.leave_untidy();
        }
        self.tell_senders(me, 1, Wait::No);
        if self.life() != Life::Open {
            self.header().receivers.signal_all();
        }
        voided
    }
}

/// Errors that can say that there is no space.
pub(super) trait NoSpace {
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
    match Fault::from(error) {
        Fault::System(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => SendError::NoSpace,
        fault => fault.into(),
    }
}
