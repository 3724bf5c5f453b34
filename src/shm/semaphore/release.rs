//! Giving back, and everything else that is done with a permit that is held.

use super::acquire::{settle, settle_fewer};
use super::{Core, Grant, NOTHING, Wakes, padded};
use crate::deadline::Wait;
use crate::error::AccessError;
use crate::raw::permits::{Fast, Permits, State};
use crate::raw::word::Owner;
use crate::shm::fault::Fault;
use crate::sys::process;
use std::sync::atomic::Ordering;

impl Core {
    /// B1 to B3: gives a permit back. In a fork child of the process that acquired it, it is not held and nothing is done.
    #[inline]
    pub(crate) fn release(&self, grant: &mut Grant) {
        if grant.generation != process::generation() || grant.number == NOTHING {
            return;
        }
        let fast = !grant.pooled && !*grant.labelled.get_mut();
        let given = match self.records().get(grant.number as usize).filter(|_| fast) {
            Some(record) => self.header().available.give(record, grant.permits),
            None => Fast::Slow,
        };
        match given {
            Fast::Done => {}
            Fast::Slow => self.release_slowly(grant),
            Fast::Overtaken => self.count_anew(),
        }
    }

    /// Gives back, with the lock, whatever the record says.
    #[cold]
    pub(super) fn release_slowly(&self, grant: &mut Grant) {
        let Some(me) = self.base.member.owner() else { return };
        let given = self.locked::<(), Fault>(me, Wait::Forever, |permits, wakes| {
            permits.give(grant.number)?;
            self.put_away(permits, grant)?;
            settle(permits, wakes)
        });
        if given.is_err() {
            // Damaged words, or the system refused: what is left is left to whoever recovers this participant when it has gone.
            self.base.member.leave_untidy();
        }
    }

    /// Under the lock: the record of a permit that is gone is as if it had never been used.
    fn put_away(&self, permits: &Permits<'_>, grant: &mut Grant) -> Result<(), Fault> {
        if std::mem::take(grant.labelled.get_mut()) {
            permits.record(grant.number)?.set_label(&self.label);
        }
        if grant.pooled {
            permits.discard(grant.number)?;
        }
        *grant = Grant::nothing();
        Ok(())
    }

    /// Under the lock, with a permit that this process holds; refuses others.
    fn with_held<T>(
        &self,
        grant: &mut Grant,
        wait: Wait,
        act: impl FnOnce(&Permits<'_>, &mut Grant, &mut Wakes, Owner) -> Result<T, AccessError>,
    ) -> Result<T, AccessError> {
        if grant.generation != process::generation() || grant.number == NOTHING {
            return Err(AccessError::System(libc::EINVAL));
        }
        let me = self.me()?;
        self.locked(me, wait, |permits, wakes| act(permits, grant, wakes, me))
    }

    /// Takes what is held out of circulation.
    pub(crate) fn forget(&self, grant: &mut Grant, wait: Wait) -> Result<(), AccessError> {
        self.with_held(grant, wait, |permits, grant, wakes, _| {
            permits.forget(grant.number)?;
            self.put_away(permits, grant)?;
            Ok(settle_fewer(permits, wakes)?)
        })
    }

    /// Takes some of what is held into a permit of its own.
    pub(crate) fn split(&self, grant: &mut Grant, some: u64) -> Result<Grant, AccessError> {
        if some >= grant.permits {
            return Err(AccessError::Full);
        }
        self.with_held(grant, Wait::No, |permits, grant, _, me| {
            let number = self.claim(permits, me)?.ok_or(AccessError::Full)?;
            permits.split(grant.number, number, some)?;
            grant.permits -= some;
            Ok(Grant::new(number, some, true))
        })
    }

    /// Makes one permit of two of this handle.
    pub(crate) fn merge(&self, into: &mut Grant, other: &mut Grant) -> Result<(), AccessError> {
        if into.generation != process::generation() || into.number == NOTHING {
            return Err(AccessError::System(libc::EINVAL));
        }
        self.with_held(other, Wait::No, |permits, other, _, _| {
            permits.merge(other.number, into.number)?;
            into.permits += other.permits;
            Ok(self.put_away(permits, other)?)
        })
    }

    /// Says what a permit is for.
    pub(crate) fn set_label(&self, grant: &Grant, text: &str) {
        if grant.generation == process::generation()
            && let Some(record) = self.records().get(grant.number as usize)
        {
            grant.labelled.store(true, Ordering::Relaxed);
            record.set_label(&padded(text));
        }
    }

    /// The handle goes: its records go back to all, and with them what they may hold still (a permit that was forgotten).
    pub(super) fn give_records_back(&self) {
        let Some(me) = self.base.member.owner() else { return };
        let given = self.locked::<(), Fault>(me, Wait::Forever, |permits, wakes| {
            for (number, record) in permits.numbered() {
                if record.owner() == Some(me) {
                    if record.state() != State::Free {
                        permits.give(number)?;
                    }
                    // One whose waiter had given up may have gone back already.
                    if record.owner() == Some(me) {
                        permits.discard(number)?;
                    }
                }
            }
            settle(permits, wakes)
        });
        if given.is_err() {
            self.base.member.leave_untidy();
        }
    }
}
