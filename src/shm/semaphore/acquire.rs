//! Acquiring: without the lock, else with it, else in the queue. The steps are those of `docs/recovery.md`.

use super::{Core, Grant, Shared, Wakes};
use crate::deadline::Wait;
use crate::error::{AccessError, AcquireError};
use crate::raw::event::{Announced, Event};
use crate::raw::permits::{Fast, Permits, Purpose, Record, State};
use crate::raw::word::Owner;
use crate::shm::fault::Fault;
use crate::shm::layout::Life;
use crate::shm::layout::semaphore::RECORDS;
use crate::shm::wait::{Awaited, sleep_for};
use crate::sync::futex::Slept;
use crate::sync::{AtomicU32, Ordering, keeper, unix_nanos_coarse};
use crate::sys::{process, thread};
use std::sync::Arc;
use std::time::Duration;

/// How many records a sleeper looks at for keepers to watch, and how many it watches: more costs more than it is worth, since the
/// sentry notices every death, a little later.
const WATCHED_RECORDS: usize = 256;
const WATCHED_MAX: usize = 16;

/// How many pauses pass between two looks of a spin: whoever holds a permit for a moment can do so several times meanwhile.
const LOOKS_EVERY: u32 = 16;

/// A record that a call may use, and whether it goes back to all afterwards.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub number: u32,
    pub pooled: bool,
}

/// How far a call has come with the lock.
enum Begun {
    Granted(Grant),
    /// Nothing is to be had now, and the call does not wait.
    Refused,
    /// It has a place in the queue.
    Queued(Place),
}

impl Core {
    /// A1 to A3: acquires permits without the lock, if they are free and nobody waits.
    #[inline]
    pub(crate) fn acquire_fast(&self, permits: u64) -> Option<Grant> {
        let number = self.own_record()?;
        let record = self.records().get(number as usize)?;
        match self.header().available.take(record, permits, unix_nanos_coarse) {
            // A permit that is written where nobody sees it is none; the call goes on with the lock, which refuses.
            Fast::Done if self.region.is_lost() => None,
            Fast::Done => Some(Grant::new(number, permits, false)),
            Fast::Slow => None,
            Fast::Overtaken => {
                self.count_anew();
                None
            }
        }
    }

    /// After a fast step that a recount has overtaken.
    #[cold]
    pub(super) fn count_anew(&self) {
        let Some(me) = self.base.member.owner() else { return };
        let counted = self.locked::<(), Fault>(me, Wait::Forever, |permits, wakes| {
            permits.recount();
            settle(permits, wakes)
        });
        if counted.is_err() {
            // Damaged words, or the system refused: whoever recovers this participant, when it has gone, counts anew.
            self.base.member.leave_untidy();
        }
    }

    /// Acquires, waiting if need be.
    pub(crate) fn acquire(self: &Arc<Core>, permits: u64, purpose: Purpose, wait: Wait) -> Result<Grant, AcquireError> {
        let me = self.me()?;
        let grant = match self.spin(permits, purpose, wait) {
            Some(grant) => grant,
            None => self.acquire_slowly(me, permits, purpose, wait)?,
        };
        match purpose {
            Purpose::Permit => Ok(grant),
            Purpose::Signal => self.swallow(grant, wait),
            Purpose::Idle => {
                let mut grant = grant;
                self.release(&mut grant);
                Ok(grant)
            }
        }
    }

    /// A permit that was waited for as a signal is nobody's: it goes out of circulation.
    fn swallow(&self, mut grant: Grant, wait: Wait) -> Result<Grant, AcquireError> {
        let forgotten = self.forget(&mut grant, wait);
        // If it failed, the signal goes back.
        self.release(&mut grant);
        match forgotten {
            Ok(()) => Ok(grant),
            Err(AccessError::System(errno)) => Err(AcquireError::System(errno)),
            Err(AccessError::Busy) => Err(AcquireError::Busy),
            Err(_) => Err(AcquireError::Corrupt),
        }
    }

    /// Spins for a permit that is given back soon, before taking a place in the queue.
    fn spin(&self, permits: u64, purpose: Purpose, wait: Wait) -> Option<Grant> {
        let shared = self.shared();
        if wait == Wait::No || purpose == Purpose::Idle || shared.permits.queued() || !self.company() {
            return None;
        }
        let found = self.spin.until(LOOKS_EVERY, || shared.permits.promising(permits));
        if found { self.acquire_fast(permits) } else { None }
    }

    #[cold]
    fn acquire_slowly(
        self: &Arc<Core>,
        me: Owner,
        permits: u64,
        purpose: Purpose,
        wait: Wait,
    ) -> Result<Grant, AcquireError> {
        self.start_keeper(me);
        let queued = match self.begin_waiting(me, permits, purpose, wait)? {
            Begun::Granted(grant) => return Ok(grant),
            Begun::Queued(place) => place,
            Begun::Refused => return self.try_once_more(me, permits, purpose),
        };
        // Only now: most calls that come here with the lock go without, and never need to be told of a death.
        let watched = self.watch_out(me, wait).map_err(AcquireError::from).and_then(|()| self.look_for_deadlock(true));
        match watched.and_then(|()| self.sleep(me, queued, permits, wait)) {
            Ok(Some(())) => Ok(Grant::new(queued.number, permits, queued.pooled)),
            Ok(None) => self.give_up(me, queued, permits, AcquireError::TimedOut),
            Err(error) => self.give_up(me, queued, permits, error),
        }
    }

    /// What a call that does not wait does before it says no: the permits may be a dead one's.
    fn try_once_more(&self, me: Owner, permits: u64, purpose: Purpose) -> Result<Grant, AcquireError> {
        self.recover(me, Wait::No)?;
        match self.begin_waiting(me, permits, purpose, Wait::No)? {
            Begun::Granted(grant) => Ok(grant),
            _ => Err(AcquireError::NoPermits),
        }
    }

    /// C1 to C3: acquires with the lock if that can be, else takes a place in the queue.
    fn begin_waiting(&self, me: Owner, permits: u64, purpose: Purpose, wait: Wait) -> Result<Begun, AcquireError> {
        let (life, since) = (self.life(), unix_nanos_coarse());
        self.locked(me, wait, |shared, wakes| {
            if life != Life::Open {
                // Whoever ended it may have died before it closed the fast path.
                shared.available.slow_down();
            }
            self.check(shared, permits, purpose, life)?;
            if purpose == Purpose::Idle && shared.is_idle() {
                return Ok(Begun::Granted(Grant::nothing()));
            }
            let place = self.find_place(shared, me)?;
            if purpose != Purpose::Idle && shared.take(place.number, permits, since)? {
                return Ok(Begun::Granted(Grant::new(place.number, permits, place.pooled)));
            }
            if wait == Wait::No {
                self.free_place(shared, place)?;
                return Ok(Begun::Refused);
            }
            shared.enqueue(place.number, permits, purpose, false, since)?;
            // C3: who gave back before the flag was set has not seen us.
            if let Err(fault) = settle(shared, wakes) {
                shared.give(place.number)?;
                self.free_place(shared, place)?;
                return Err(fault.into());
            }
            Ok(Begun::Queued(place))
        })
    }

    /// Whether such a request has a prospect at all.
    pub(super) fn check(
        &self,
        shared: &Permits<'_>,
        permits: u64,
        purpose: Purpose,
        life: Life,
    ) -> Result<(), AcquireError> {
        match (purpose, life) {
            (Purpose::Idle, _) => Ok(()),
            (_, Life::Closed) => Err(AcquireError::Closed),
            (_, Life::Unlinked) => Err(AcquireError::Unlinked),
            (Purpose::Permit, Life::Open) => match shared.too_many(permits) {
                Some(all) => Err(AcquireError::TooMany { asked: permits, permits: all }),
                None => Ok(()),
            },
            (Purpose::Signal, Life::Open) => Ok(()),
        }
    }

    /// Under the lock: the record of this thread if it is free, else one of the pool.
    fn find_place(&self, shared: &Permits<'_>, me: Owner) -> Result<Place, AcquireError> {
        let own = self.own_record();
        if let Some(number) = own
            && shared.record(number)?.state() == State::Free
        {
            return Ok(Place { number, pooled: false });
        }
        let number = self.claim(shared, me)?.ok_or(AcquireError::Full { max: RECORDS })?;
        let pooled = own.is_some() || !self.adopt(number);
        Ok(Place { number, pooled })
    }

    /// Makes a record this thread's own, for the fast path.
    fn adopt(&self, number: u32) -> bool {
        let Some(thread) = thread::number() else { return false };
        let word = u64::from(process::generation()) << 32 | u64::from(number + 1);
        self.own[thread as usize].store(word, Ordering::Relaxed);
        true
    }

    /// Under the lock: a place is not needed any more. Its record is free.
    pub(super) fn free_place(&self, shared: &Permits<'_>, place: Place) -> Result<(), Fault> {
        if place.pooled {
            shared.discard(place.number)?;
        }
        Ok(())
    }

    /// Sleeps until the record says something; `None` when the time ran out.
    fn sleep(&self, me: Owner, place: Place, permits: u64, wait: Wait) -> Result<Option<()>, AcquireError> {
        let record = self.record(place.number)?;
        let waiting = Waiting { core: self, me, wait };
        sleep_for(&waiting, &record.event, &self.spin, wait, |_| self.outcome(record, permits))
    }

    pub(super) fn record(&self, number: u32) -> Result<&Record, AcquireError> {
        self.records().get(number as usize).ok_or(AcquireError::Corrupt)
    }

    /// What a record says to the one that waits; `None`: to wait on.
    pub(super) fn outcome(&self, record: &Record, permits: u64) -> Result<Option<()>, AcquireError> {
        // Before the state: what was granted before the end is granted.
        let life = self.life();
        match (record.state(), life) {
            (State::Held(_) | State::Idle, _) => Ok(Some(())),
            (State::Idling, _) => Ok(None),
            (State::Waiting(_) | State::Wanting(_), Life::Open) => self.look_for_deadlock(false).map(|()| None),
            (State::Waiting(_) | State::Wanting(_), Life::Closed) => Err(AcquireError::Closed),
            (State::Waiting(_) | State::Wanting(_), Life::Unlinked) => Err(AcquireError::Unlinked),
            (State::Rejected, _) => Err(AcquireError::TooMany { asked: permits, permits: self.permits() }),
            _ => Err(AcquireError::Corrupt),
        }
    }

    /// E1, E2: leaves the queue. Was it served in the meantime, then it has what it wanted, unless the wait failed for another
    /// reason than time.
    fn give_up(&self, me: Owner, place: Place, permits: u64, error: AcquireError) -> Result<Grant, AcquireError> {
        let record = self.record(place.number)?;
        if record.abandon(place.pooled) {
            self.clear(me, place.number);
            return Err(error);
        }
        let mut grant = Grant::new(place.number, permits, place.pooled);
        let served = matches!(record.state(), State::Held(_) | State::Idle);
        if served && error == AcquireError::TimedOut {
            return Ok(grant);
        }
        // By what the record says: it may have been rejected.
        self.release_slowly(&mut grant);
        Err(error)
    }

    /// E2: whoever waited behind may have its turn now. If the lock is not to be had, the next one who has it does so.
    pub(super) fn clear(&self, me: Owner, number: u32) {
        let _ = self.locked::<(), Fault>(me, Wait::No, |shared, wakes| {
            shared.clear(number)?;
            settle(shared, wakes)
        });
    }
}

impl Core {
    /// The keepers' words of those who hold permits or wait, each with its value (0 until there is a keeper): as many as one sleep
    /// can watch, and no more than a look over the first records finds. Later comers are not served before us, so they need not
    /// be watched.
    fn keepers_before<'a>(&self, shared: &Shared<'a>, me: Owner) -> Vec<(&'a AtomicU32, u32)> {
        let mut found: Vec<(Owner, &AtomicU32, u32)> = Vec::new();
        for record in shared.permits.used().iter().take(WATCHED_RECORDS) {
            let Some(owner) = record.owner().filter(|owner| *owner != me && record.state() != State::Free) else {
                continue;
            };
            let Some(entry) = shared.entries.get(owner.index() as usize) else { continue };
            let value = entry.keeper.load(Ordering::Acquire);
            let known = found.iter().any(|(other, _, _)| *other == owner);
            if !known && found.len() < WATCHED_MAX {
                found.push((owner, &entry.keeper, value));
            }
        }
        found.into_iter().map(|(_, word, value)| (word, value)).collect()
    }
}

/// Under the lock, after there have become fewer permits: whom to wake.
pub(super) fn settle_fewer(shared: &Permits<'_>, wakes: &mut Wakes) -> Result<(), Fault> {
    shared.reject_too_large(|number, record| wakes.add(number, record))?;
    settle(shared, wakes)
}

/// Under the lock: whom to wake.
pub(super) fn settle(shared: &Permits<'_>, wakes: &mut Wakes) -> Result<(), Fault> {
    Ok(shared.settle(|number, record| wakes.add(number, record))?)
}

/// One who waits.
struct Waiting<'a> {
    core: &'a Core,
    me: Owner,
    wait: Wait,
}

impl Awaited for Waiting<'_> {
    fn looks_every(&self) -> u32 {
        LOOKS_EVERY
    }

    fn stirring(&self) -> bool {
        false
    }

    fn company(&self) -> bool {
        self.core.company()
    }

    fn pinned(&self, cpu: u32) {
        self.core.pin(self.me, cpu);
    }

    /// The sentry is told of deaths: no reason to look more often than a lost wake is worth.
    fn watching(&self) -> bool {
        false
    }

    /// And lets those have their turn who are due: whoever gave up before them may not have had the lock.
    fn recover(&self) -> Result<(), Fault> {
        self.core.recover(self.me, self.wait)?;
        self.core.locked(self.me, self.wait, settle)
    }

    fn over(&self) -> Result<(), Fault> {
        self.core.base.end_if_orphaned(&self.core.shared()).map(|_| ())
    }

    fn blocked(&self) {
        self.core.header().totals.blocked.fetch_add(1, Ordering::Relaxed);
    }

    /// Sleeps also until the kernel says that one of those before us is ending.
    fn sleep(&self, event: &Event, announced: Announced, timeout: Duration) -> Slept {
        let shared = self.core.shared();
        let mut keepers = if self.core.base.strict { Vec::new() } else { self.core.keepers_before(&shared, self.me) };
        let marked = |(_, value): &(&AtomicU32, u32)| keeper::is_marked(*value);
        if keepers.iter().any(marked) {
            // Ending before we came: nobody will wake us for it.
            let _ = self.core.recover(self.me, self.wait);
            keepers.retain(|one| !marked(one));
        }
        let slept = event.sleep_watching(announced, &keepers, timeout);
        if keepers.iter().any(|(word, _)| keeper::is_marked(word.load(Ordering::Acquire))) {
            // Whatever goes wrong here goes wrong again at the end of a sleep that lasts its bound.
            let _ = self.core.recover(self.me, self.wait);
        }
        slept
    }
}
