//! Telling one process of the next message in an empty queue: registering, firing, and the attendant, the thread that tells it.
//! Steps N1 to N4 of `docs/recovery.md`.

use super::{Core, Shared};
use crate::deadline::Wait;
use crate::error::NotifyError;
use crate::message::Sender;
use crate::raw::notice::Registration;
use crate::raw::owner::Entry;
use crate::raw::word::Owner;
use crate::shm::fault::Fault;
use crate::sync::{AtomicU32, Ordering, futex};
use crate::sys::{process, thread};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

/// How long whoever fires waits until the registrant has been told.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often the attendant looks after the dead, the doorbell and its registration.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is called when the time has come.
pub(crate) type Callback = Box<dyn FnOnce(Sender) + Send>;

thread_local! {
    /// Whether this thread is an attendant, which must not wait to be told by itself.
    static IS_ATTENDANT: Cell<bool> = const { Cell::new(false) };
}

/// The attendant of a handle, and what it has to do.
pub(super) struct Attendant {
    /// The fork generation that started it + 1; 0 if none did, or it has ended.
    started: AtomicU64,
    /// What to call, and for which registration; with the fork generation that it is of.
    pending: Mutex<Option<Pending>>,
    /// 1: it shall look whether there is still something to do.
    nudge: AtomicU32,
}

struct Pending {
    generation: u32,
    registration: Registration,
    callback: Callback,
}

impl Attendant {
    pub(super) fn new() -> Attendant {
        Attendant { started: AtomicU64::new(0), pending: Mutex::new(None), nudge: AtomicU32::new(0) }
    }

    fn nudge(&self) {
        self.nudge.store(1, Ordering::Release);
        futex::wake(&self.nudge, 1);
    }

    /// What is to be called. A mutex that another thread held when this process was forked stays locked for ever, and nobody holds
    /// it for longer than a few instructions: so one that is not to be had for half a second never will be.
    fn pending(&self) -> Result<MutexGuard<'_, Option<Pending>>, Fault> {
        let until = Instant::now() + LOOK_EVERY;
        loop {
            match self.pending.try_lock() {
                Ok(pending) => return Ok(pending),
                Err(TryLockError::Poisoned(pending)) => return Ok(pending.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::yield_now(),
                Err(TryLockError::WouldBlock) => return Err(Fault::Busy),
            }
        }
    }

    /// Takes what is to be called, if `is_this` says so of its registration.
    fn take(&self, is_this: impl Fn(Registration) -> bool) -> Option<Pending> {
        let ours = |pending: &mut Pending| pending.generation == process::generation() && is_this(pending.registration);
        self.pending().ok()?.take_if(ours)
    }
}

impl Core {
    pub(super) fn entry(&self, me: Owner) -> Result<&Entry, Fault> {
        self.region.slice(&self.areas.entries).get(me.index() as usize).ok_or(Fault::Corrupt)
    }

    /// Registers this handle.
    pub(crate) fn notify(self: &Arc<Core>, callback: Callback) -> Result<(), NotifyError> {
        let me = self.me()?;
        self.start_attendant()?;
        if self.registered()?.is_some() {
            // It may be a dead one's.
            self.recover(me, Wait::No)?;
        }
        let shared = self.shared();
        let held = self.lock(&shared, me, Wait::No)?;
        let notice = &shared.header.notice;
        if notice.load().is_pending() {
            return Err(NotifyError::Registered);
        }
        // Before the queue is looked at: a message that this look does not see is seen by its sender to be attended to.
        shared.header.receivers.draw_attention(true);
        shared.ledger.drain().map_err(Fault::from)?;
        let mut place = self.attendant.pending()?;
        let registration = notice.register(me, shared.header.desk.count.load(Ordering::Relaxed) == 0);
        let before = place.replace(Pending { generation: process::generation(), registration, callback });
        drop((place, held));
        // One that fired, and whose turn the attendant has not come to.
        if let Some(before) = before.filter(|before| before.generation == process::generation()) {
            (before.callback)(Sender::default());
        }
        self.attendant.nudge();
        Ok(())
    }

    /// Takes this handle's registration back.
    pub(crate) fn cancel_notify(&self) -> Result<bool, Fault> {
        if !self.attendant.is_running() {
            return Ok(false);
        }
        let me = self.me()?;
        let shared = self.shared();
        let held = self.lock(&shared, me, Wait::No)?;
        let notice = &shared.header.notice;
        let now = notice.load();
        let mine = now.is_pending() && now.registrant() == Some(me);
        let taken = if mine { self.attendant.take(|registration| registration.same(now)) } else { None };
        if mine {
            notice.clear();
            shared.draw_attention();
        }
        drop(held);
        drop(taken);
        Ok(mine)
    }

    /// Who is registered.
    pub(crate) fn registered(&self) -> Result<Option<u32>, Fault> {
        let registration = self.header().notice.load();
        match registration.registrant().filter(|_| registration.is_pending()) {
            Some(registrant) => Ok(Some(self.entry(registrant)?.participant().pid)),
            None => Ok(None),
        }
    }

    /// N2, N3, if a message is there that no waiting receiver will take. The lock is held, and the ring is drained.
    pub(super) fn fire_if_due(&self, shared: &Shared<'_>) -> Option<Registration> {
        let (notice, depth) = (&shared.header.notice, shared.header.desk.count.load(Ordering::Relaxed));
        if depth == 0 {
            notice.emptied();
        }
        let waiting = || shared.entries_in_use().fold(0u32, |sum, entry| sum.saturating_add(entry.waiting()));
        if depth == 0 || !notice.is_ready() || depth <= waiting() {
            return None;
        }
        let fired = notice.fire(process::sender());
        shared.draw_attention();
        Some(fired)
    }

    /// N4.
    pub(super) fn see_told(&self, fired: Registration) {
        let (notice, until) = (&self.header().notice, Instant::now() + PATIENCE);
        notice.wake();
        if IS_ATTENDANT.get() {
            return;
        }
        // Bounded by the time: each turn sleeps what is left of it.
        while notice.sleep_until_told(fired, until.saturating_duration_since(Instant::now())) {}
    }

    /// Starts the attendant, if there is none.
    pub(super) fn start_attendant(self: &Arc<Core>) -> Result<(), Fault> {
        let (started, generation) = (&self.attendant.started, u64::from(process::generation()) + 1);
        let before = started.load(Ordering::Acquire);
        if before == generation
            || started.compare_exchange(before, generation, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return Ok(());
        }
        let core = Arc::clone(self);
        match thread::spawn_quiet("chappe-attend", move || core.look_around()) {
            Ok(_) => Ok(()),
            Err(error) => {
                started.store(0, Ordering::Release);
                Err(error.into())
            }
        }
    }

    /// What the attendant does until the handle goes.
    fn look_around(&self) {
        IS_ATTENDANT.set(true);
        loop {
            self.attendant.nudge.store(0, Ordering::SeqCst);
            let Some(me) = self.base.member.owner() else { return };
            let seen = self.header().notice.load();
            self.tell(me, seen);
            // Stopped lock holders and damage are met by whoever uses the queue.
            let _ = self.recover(me, Wait::No);
            let _ = self.attend(me, Wait::No, false);
            self.header().notice.sleep(seen, &self.attendant.nudge, LOOK_EVERY);
        }
    }

    /// Calls what is to be called, if the word says that it is time.
    fn tell(&self, me: Owner, seen: Registration) {
        let pending = seen.is_pending() && seen.registrant() == Some(me);
        // One that is registered no more, and was not taken back, has fired: by the word, or before another registered.
        let Some(due) = self.attendant.take(|own| !(pending && own.same(seen))) else { return };
        let sender = match seen.is_fired() && due.registration.same(seen) {
            true => self.header().notice.sender(seen),
            false => Sender::default(),
        };
        // What the callback does is its own business, but the attendant has others.
        let _ = catch_unwind(AssertUnwindSafe(|| (due.callback)(sender)));
        self.header().notice.acknowledge(due.registration);
    }

    /// The handle goes: it polls no more, and is registered no more.
    pub(super) fn retire(&self) {
        let Some(me) = self.base.member.owner().filter(|_| self.attendant.is_running()) else { return };
        if self.cancel_notify().and_then(|_| self.poll_no_more(me)).is_err() {
            // Words name this index that could not be put right: a recoverer will.
            self.base.member.leave_untidy();
        }
    }

    fn poll_no_more(&self, me: Owner) -> Result<(), Fault> {
        let shared = self.shared();
        let _held = self.lock(&shared, me, Wait::No)?;
        self.entry(me)?.forget_waits();
        shared.draw_attention();
        Ok(())
    }

    /// The handle has gone.
    pub(super) fn dismiss_attendant(&self) {
        if self.attendant.is_running() {
            self.attendant.nudge();
        }
    }
}

impl Attendant {
    fn is_running(&self) -> bool {
        self.started.load(Ordering::Acquire) == u64::from(process::generation()) + 1
    }
}

impl Shared<'_> {
    /// The entries that may be in use.
    pub(super) fn entries_in_use(&self) -> impl Iterator<Item = &Entry> {
        let high = self.header.attach_high.load(Ordering::Acquire).min(Owner::INDEX_MAX + 1);
        self.entries.iter().take(high as usize)
    }
}
