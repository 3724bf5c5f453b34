//! The sentry: a thread of a handle that waits. It sleeps until the kernel tells it that a participant has gone, and sees to
//! what that one left; and it wakes the futures of this handle. It decides nothing that any caller could not decide.
//!
//! It is started when a call first has to sleep, and ends with the handle. A handle that never waits has none.

use super::Core;
use crate::deadline::Wait;
use crate::raw::word::Owner;
use crate::shm::fault::Fault;
use crate::sync::AtomicU64;
use crate::sys::file::Watch;
use crate::sys::{process, thread};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the sentry looks while it cannot be told, or while futures wait, whose wake may have died with its sender.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The kernel tells of a closed description before it gives its byte locks back, so the sentry looks at once and, if there are no
/// other news, again after each of these.
const PAUSES: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(5)];

/// Whether there is one: the fork generation that started it + 1; 0 if none did.
pub(super) struct Sentry {
    started: AtomicU64,
    /// To be waited for where it must not be there any more; with the fork generation that it is of.
    thread: Mutex<Option<(u32, JoinHandle<()>)>>,
    /// It shall end.
    dismissed: AtomicBool,
    pub(super) futures: super::future::Futures,
}

impl Sentry {
    pub(super) fn new() -> Sentry {
        Sentry {
            started: AtomicU64::new(0),
            thread: Mutex::new(None),
            dismissed: AtomicBool::new(false),
            futures: super::future::Futures::new(),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.started.load(Ordering::Acquire) == u64::from(process::generation()) + 1
    }
}

impl Core {
    /// Before a sleep: from the return of this call on, deaths are told of, and what died before has been seen to.
    pub(super) fn watch_out(self: &Arc<Core>, me: Owner, wait: Wait) -> Result<(), Fault> {
        if self.sentry.is_running() {
            return Ok(());
        }
        // Without one, deaths are noticed at the end of each bounded sleep.
        let _ = self.start_sentry();
        self.recover(me, wait)
    }

    /// Starts the sentry, if there is none.
    pub(super) fn start_sentry(self: &Arc<Core>) -> Result<(), Fault> {
        let (before, generation) = (self.sentry.started.load(Ordering::Relaxed), u64::from(process::generation()) + 1);
        if before == generation {
            return Ok(());
        }
        // Watching begins here, not in the thread: what happens from now on is not missed.
        let watch = self.base.member.checked_fd().and_then(Watch::new).ok();
        if self.sentry.started.compare_exchange(before, generation, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Ok(());
        }
        let core = Arc::downgrade(self);
        match thread::spawn_quiet("chappe-sentry", move || keep_watch(&core, watch)) {
            Ok(thread) => {
                // A mutex that another thread held at a fork stays locked: then nobody waits for the sentry.
                if let Ok(mut place) = self.sentry.thread.try_lock() {
                    let before = place.replace((process::generation(), thread));
                    drop(place);
                    leave_to_parent(before);
                }
                Ok(())
            }
            Err(error) => {
                self.sentry.started.store(0, Ordering::Release);
                // Futures that relied on it look again, and find out.
                self.sentry.futures.wake(|_| true);
                Err(error.into())
            }
        }
    }

    /// Ends the sentry, and waits until it has. Another one can be started then. Refused on the sentry itself, in a waker.
    pub(super) fn end_sentry(&self) -> Result<(), Fault> {
        if !self.sentry.is_running() {
            return Ok(());
        }
        let Ok(mut place) = self.sentry.thread.try_lock() else { return Err(Fault::Busy) };
        if place.as_ref().is_some_and(|(_, thread)| thread.thread().id() == std::thread::current().id()) {
            return Err(Fault::Busy);
        }
        self.sentry.dismissed.store(true, Ordering::Release);
        super::ring(self.fd());
        match place.take() {
            // It panics nowhere: what wakers do is caught.
            Some((generation, thread)) if generation == process::generation() => drop(thread.join()),
            other => leave_to_parent(other),
        }
        self.sentry.dismissed.store(false, Ordering::Release);
        self.sentry.started.store(0, Ordering::Release);
        Ok(())
    }

    /// The handle goes, and the sentry with it: it wakes, and finds nobody.
    pub(super) fn dismiss_sentry(&self) {
        if self.sentry.is_running() {
            super::ring(self.fd());
        }
    }

    /// What the sentry does when it is told of something, or at the end of a pause.
    fn look_around(&self) {
        // Nobody: the handle has left, or is about to become a command.
        let Some(me) = self.base.member.owner() else { return };
        self.wake_futures();
        if self.base.member.anyone_dead(&self.shared(), me).unwrap_or(true) {
            // A stopped lock holder, or damage: whoever waits finds out by itself.
            let _ = self.recover(me, Wait::No);
            self.wake_futures();
        }
    }
}

/// In a fork child the parent's thread is nobody's: to join or detach it would hit another one.
fn leave_to_parent(thread: Option<(u32, JoinHandle<()>)>) {
    if let Some((generation, thread)) = thread
        && generation != process::generation()
    {
        std::mem::forget(thread);
    }
}

impl Drop for Sentry {
    fn drop(&mut self) {
        leave_to_parent(self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn keep_watch(core: &Weak<Core>, watch: Option<Watch>) {
    // How many of the pauses have passed since the last news.
    let mut paused = PAUSES.len();
    loop {
        let waiting = match core.upgrade() {
            Some(core) if core.sentry.dismissed.load(Ordering::Acquire) => return,
            Some(core) => core.sentry.futures.any(),
            None => return,
        };
        let pause = PAUSES.get(paused).copied();
        let news = match &watch {
            Some(watch) => watch.await_news(pause.or(waiting.then_some(LOOK_EVERY))),
            None => {
                std::thread::sleep(LOOK_EVERY);
                false
            }
        };
        paused = if news { 0 } else { (paused + 1).min(PAUSES.len()) };
        if let Some(core) = core.upgrade() {
            core.look_around();
        }
    }
}
