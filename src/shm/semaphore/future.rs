//! Waiting without blocking a thread: a place in the queue whose waiter is woken through the sentry.

use super::acquire::{Place, settle};
use super::{Core, Grant, Purpose};
use crate::deadline::Wait;
use crate::error::AcquireError;
use crate::raw::permits::State;
use crate::shm::fault::Fault;
use crate::shm::layout::Life;
use crate::shm::layout::semaphore::RECORDS;
use crate::sync::{Ordering, unix_nanos_coarse};
use crate::sys::process;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// A place in the queue, held by a future.
pub(crate) struct Request {
    place: Place,
    permits: u64,
    generation: u32,
}

/// The wakers of futures that wait, each by the number of its record. Wakers are cloned and dropped without the mutex: they may
/// own a task that owns another future of this handle.
pub(super) struct Futures {
    list: Mutex<Vec<(u32, Waker)>>,
    /// The fork generation that made it: in a child the mutex may be locked for ever.
    generation: u32,
}

impl Futures {
    pub(super) fn new() -> Futures {
        Futures { list: Mutex::new(Vec::new()), generation: process::generation() }
    }

    fn list(&self) -> MutexGuard<'_, Vec<(u32, Waker)>> {
        // No foreign code runs while it is held.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the futures of this list are those of this process.
    fn is_ours(&self) -> bool {
        self.generation == process::generation()
    }

    pub(super) fn any(&self) -> bool {
        self.is_ours() && !self.list().is_empty()
    }

    /// Returns whether there was none before: the sentry may not know yet that it has to look twice a second.
    fn remember(&self, number: u32, waker: &Waker) -> bool {
        let known = |(other, waker_before): &(u32, Waker)| *other == number && waker_before.will_wake(waker);
        if self.list().iter().any(known) {
            return false;
        }
        let mut waker = waker.clone();
        let mut list = self.list();
        match list.iter_mut().find(|(other, _)| *other == number) {
            Some((_, before)) => std::mem::swap(before, &mut waker),
            None => {
                list.push((number, waker));
                return list.len() == 1;
            }
        }
        drop(list);
        drop(waker);
        false
    }

    fn forget(&self, number: u32) {
        let mut list = self.list();
        let found = list.iter().position(|(other, _)| *other == number).map(|place| list.swap_remove(place));
        drop(list);
        drop(found);
    }

    /// Wakes those whose number is chosen. Each is taken out: it is remembered again when it is polled.
    pub(super) fn wake(&self, chosen: impl Fn(u32) -> bool) {
        if !self.is_ours() {
            return;
        }
        let mut list = self.list();
        let (news, wait): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *list).into_iter().partition(|(number, _)| chosen(*number));
        *list = wait;
        drop(list);
        // One that panics has said so by the panic hook; the others are woken all the same.
        news.into_iter().for_each(|(_, waker)| drop(catch_unwind(AssertUnwindSafe(|| waker.wake()))));
    }
}

impl Core {
    /// Acquires at once, or takes a place in the queue, which is put into `request`.
    pub(crate) fn begin(
        self: &Arc<Core>,
        permits: u64,
        request: &mut Option<Request>,
        waker: &Waker,
    ) -> Poll<Result<Grant, AcquireError>> {
        match self.begin_future(permits) {
            Ok(Ok(grant)) => Poll::Ready(Ok(grant)),
            Err(error) => Poll::Ready(Err(error)),
            Ok(Err(place)) => {
                let begun = request.insert(Request { place, permits, generation: process::generation() });
                let first = self.sentry.futures.remember(place.number, waker);
                match self.prepare_to_wait(first) {
                    Ok(()) => self.poll(begun, waker),
                    Err(fault) => {
                        request.take().into_iter().for_each(|request| self.cancel(request));
                        Poll::Ready(Err(fault.into()))
                    }
                }
            }
        }
    }

    fn prepare_to_wait(self: &Arc<Core>, first: bool) -> Result<(), Fault> {
        let me = self.me()?;
        self.start_sentry()?;
        if first {
            super::ring(self.fd());
            self.recover(me, Wait::No)?;
        }
        Ok(())
    }

    /// A permit, or a place in the queue.
    fn begin_future(&self, permits: u64) -> Result<Result<Grant, Place>, AcquireError> {
        if !self.sentry.futures.is_ours() {
            // The list of futures may have been locked when this process was forked.
            return Err(AcquireError::System(libc::ECHILD));
        }
        let me = self.me()?;
        self.start_keeper(me);
        let (life, since) = (self.life(), unix_nanos_coarse());
        self.locked(me, Wait::No, |shared, wakes| {
            self.check(shared, permits, Purpose::Permit, life)?;
            // A future moves between threads: its record is no thread's own.
            let number = self.claim(shared, me)?.ok_or(AcquireError::Full { max: RECORDS })?;
            if shared.take(number, permits, since)? {
                return Ok(Ok(Grant::new(number, permits, true)));
            }
            shared.enqueue(number, permits, Purpose::Permit, true, since)?;
            if let Err(fault) = settle(shared, wakes) {
                shared.give(number)?;
                shared.discard(number)?;
                return Err(fault.into());
            }
            self.header().totals.blocked.fetch_add(1, Ordering::Relaxed);
            Ok(Err(Place { number, pooled: true }))
        })
    }

    /// Sees what has become of a place in the queue, and has `waker` woken when that changes.
    pub(crate) fn poll(self: &Arc<Core>, request: &mut Request, waker: &Waker) -> Poll<Result<Grant, AcquireError>> {
        if request.generation != process::generation() {
            // The parent's place; there is none of this process's.
            return Poll::Ready(Err(AcquireError::System(libc::ECHILD)));
        }
        // First the waker, then the look: what changes after the look finds the waker.
        if self.sentry.futures.remember(request.place.number, waker) {
            super::ring(self.fd());
        }
        let outcome = self.record(request.place.number).and_then(|record| self.outcome(record, request.permits));
        let result = match outcome {
            Ok(None) => match self.start_sentry() {
                Ok(()) => return Poll::Pending,
                Err(fault) => {
                    self.cancel(Request { ..*request });
                    Err(fault.into())
                }
            },
            Ok(Some(())) => {
                self.sentry.futures.forget(request.place.number);
                Ok(Grant::new(request.place.number, request.permits, true))
            }
            Err(error) => {
                self.cancel(Request { ..*request });
                Err(error)
            }
        };
        Poll::Ready(result)
    }

    /// Gives a place up, or the permit back that was granted there already.
    pub(crate) fn cancel(&self, request: Request) {
        if request.generation != process::generation() {
            return;
        }
        self.sentry.futures.forget(request.place.number);
        let Some(me) = self.base.member.owner() else { return };
        let Place { number, pooled } = request.place;
        if self.record(number).is_ok_and(|record| record.abandon(pooled)) {
            return self.clear(me, number);
        }
        // Granted, or rejected, in the meantime.
        self.release_slowly(&mut Grant::new(number, request.permits, pooled));
    }

    /// Wakes the futures whose place says something new, and all when the semaphore has ended, or when it is time for them to look
    /// for deadlocks.
    pub(super) fn wake_futures(&self) {
        let all = self.life() != Life::Open || self.look_is_due();
        self.sentry.futures.wake(|number| {
            let waits = self.record(number).is_ok_and(|record| matches!(record.state(), State::Waiting(_)));
            all || !waits
        });
    }
}
