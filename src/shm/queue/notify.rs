//! Telling one process of the next message in an empty queue: registering, firing, and the attendant, the thread that tells it.
//! Steps N1 to N4 of `docs/recovery.md`.

use super::doorbell::News;
use super::{Core, Shared, Side};
use crate::deadline::Wait;
use crate::error::NotifyError;
use crate::message::Sender;
use crate::raw::ledger::Chosen;
use crate::raw::notice::{Notice, Registration};
use crate::raw::owner::Entry;
use crate::raw::unlisted;
use crate::raw::word::Owner;
use crate::region::{Area, Region};
use crate::shm::fault::Fault;
use crate::shm::layout::queue::{Header, Layout};
use crate::sync::{AtomicU32, Bequest, Ordering, fence_after_rmw, futex};
use crate::sys::{process, thread};
use std::cell::Cell;
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};
use std::time::{Duration, Instant};

/// How long whoever fires waits until the registrant has been told.
const PATIENCE: Duration = Duration::from_millis(100);
/// The name of its thread.
const ATTENDANT: &str = "chappe-attend";
/// How often the attendant looks after the dead, the doorbell and its registration.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// When it looks again if somebody else had the lock.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What is called when the time has come.
pub(crate) type Callback = Box<dyn FnOnce(Sender) + Send>;

thread_local! {
    /// Whether this thread is an attendant, which must not wait to be told by itself.
    static IS_ATTENDANT: Cell<bool> = const { Cell::new(false) };
}

/// What a handle has to do with its attendant.
pub(super) struct Attendant {
    /// The fork generation that started it + 1; 0 if none did.
    started: AtomicU64,
    /// What to call: the newest may be registered, the others are due. A registration is made, and looked at, under this mutex.
    pending: Mutex<Vec<Pending>>,
    /// 1: it shall look whether there is still something to do.
    nudge: Arc<AtomicU32>,
}

struct Pending {
    /// The fork generation that it is of.
    generation: u32,
    registration: Registration,
    /// Who sent what it is due for, if the word does not say so any more.
    sender: Option<Sender>,
    callback: Callback,
}

impl Attendant {
    pub(super) fn new() -> Attendant {
        let (started, nudge) = (AtomicU64::new(0), Arc::new(AtomicU32::new(0)));
        Attendant { started, pending: Mutex::new(Vec::new()), nudge }
    }

    fn is_running(&self) -> bool {
        self.started.load(Ordering::Acquire) == u64::from(process::generation()) + 1
    }

    fn nudge(&self) {
        self.nudge.store(1, Ordering::Release);
        futex::wake(&self.nudge, 1);
    }

    /// What is to be called. A mutex that another thread held when this process was forked stays locked for ever, and nobody holds
    /// it for longer than a few instructions: so one that is not to be had for half a second never will be.
    fn pending(&self) -> Result<MutexGuard<'_, Vec<Pending>>, Fault> {
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

    /// Takes what is not registered any more though nobody took it back: it has fired. To each its sender.
    fn due(&self, notice: &Notice, me: Owner) -> Vec<Pending> {
        let Ok(mut pending) = self.pending() else { return Vec::new() };
        let seen = notice.load();
        let registered = |own: Registration| seen.is_pending() && seen.registrant() == Some(me) && own.same(seen);
        let is_due = |own: &mut Pending| own.generation == process::generation() && !registered(own.registration);
        let mut due: Vec<Pending> = pending.extract_if(.., is_due).collect();
        for own in &mut due {
            if seen.is_fired() && own.registration.same(seen) {
                own.sender = Some(notice.sender(seen));
            }
        }
        due
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
        let before = notice.load();
        if before.is_pending() {
            return Err(NotifyError::Registered);
        }
        // Before the queue is looked at: a message that this look does not see is seen by its sender to be attended to.
        shared.header.receivers.draw_attention(true);
        shared.ledger.drain().map_err(Fault::from)?;
        let mut pending = self.attendant.pending()?;
        if let Some(due) = pending.iter_mut().find(|due| before.is_fired() && due.registration.same(before)) {
            // The attendant has not come to it, and will not find its sender in the word.
            due.sender = Some(notice.sender(before));
        }
        let registration = notice.register(me, shared.header.desk.count.load(Ordering::Relaxed) == 0);
        pending.push(Pending { generation: process::generation(), registration, sender: None, callback });
        drop((pending, held));
        self.attendant.nudge();
        Ok(())
    }

    /// Takes this handle's registration back.
    pub(crate) fn cancel_notify(&self) -> Result<bool, Fault> {
        let me = self.me()?;
        if !self.is_registered(me) {
            return Ok(false);
        }
        let shared = self.shared();
        let held = self.lock(&shared, me, Wait::No)?;
        if !self.is_registered(me) {
            return Ok(false);
        }
        let notice = &shared.header.notice;
        let now = notice.load();
        let mut pending = self.attendant.pending()?;
        let taken: Vec<Pending> = pending.extract_if(.., |own| own.registration.same(now)).collect();
        notice.clear();
        shared.draw_attention();
        // What the callback owns goes when nothing is locked any more.
        drop((pending, held));
        drop(taken);
        Ok(true)
    }

    fn is_registered(&self, me: Owner) -> bool {
        let now = self.header().notice.load();
        now.is_pending() && now.registrant() == Some(me)
    }

    /// Who is registered.
    pub(crate) fn registered(&self) -> Result<Option<u32>, Fault> {
        let registration = self.header().notice.load();
        match registration.registrant().filter(|_| registration.is_pending()) {
            Some(registrant) => Ok(Some(self.entry(registrant)?.participant().pid)),
            None => Ok(None),
        }
    }

    /// N1 to N3: drains the ring, and fires if a message is there that no waiting receiver will take. The lock is held.
    pub(super) fn fire_if_due(&self, shared: &Shared<'_>, news: News) -> Result<Option<Registration>, Fault> {
        let notice = &shared.header.notice;
        let expected = shared.expects_more();
        shared.ledger.drain()?;
        let depth = shared.header.desk.count.load(Ordering::Relaxed);
        match news {
            // Whatever has come since, or is on its way: the registrant has seen the queue empty, and may rely on being told.
            News::FoundEmpty(registered) if notice.load().same(registered) => notice.emptied(),
            _ if depth == 0 && shared.header.desk.slow_count.load(Ordering::Relaxed) == 0 && !expected => {
                notice.emptied()
            }
            _ => {}
        }
        if depth == 0 || !notice.is_ready() || depth <= shared.waiting(Side::Messages) {
            return Ok(None);
        }
        let fired = notice.fire(shared.sender().unwrap_or_default());
        shared.draw_attention();
        Ok(Some(fired))
    }

    /// A message is there that some receiver waits for: unless that one is dead.
    #[cold]
    pub(super) fn fire_in_spite_of_the_dead(&self, me: Owner, wait: Wait) -> Result<(), Fault> {
        self.recover(me, wait)?;
        let shared = self.shared();
        let held = self.lock(&shared, me, wait)?;
        let fired = self.fire_if_due(&shared, News::Sent)?;
        drop(held);
        if let Some(fired) = fired {
            self.see_told(fired);
        }
        Ok(())
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
        if self.attendant.is_running() {
            return Ok(());
        }
        // A child that is forked meanwhile would find the mutex taken for ever.
        let _no_fork = process::reattach();
        let _one_at_a_time = self.attendant.pending()?;
        if !self.attendant.is_running() {
            let post = Post::new(self.base.member.checked_fd()?)?;
            let (core, nudge) = (Arc::downgrade(self), Arc::clone(&self.attendant.nudge));
            thread::spawn_quiet(ATTENDANT, move || attend(&post, &core, &nudge))?;
            self.attendant.started.store(u64::from(process::generation()) + 1, Ordering::Release);
        }
        Ok(())
    }

    /// What the attendant does at each turn. Returns what is to be called, and when to look again.
    fn look_around(&self, me: Owner) -> (Vec<Pending>, Duration) {
        // Stopped lock holders are met by whoever uses the queue, and so is damage; this one makes all forks of the process wait.
        let looked = match self.recover(me, Wait::Briefly) {
            Err(Fault::Busy) => Err(Fault::Busy),
            _ => self.attend(me, Wait::Briefly, News::None),
        };
        let again = if matches!(looked, Err(Fault::Busy)) { LOOK_AGAIN } else { LOOK_EVERY };
        (self.attendant.due(&self.header().notice, me), again)
    }

    /// The handle goes: it polls no more, and is registered no more.
    pub(super) fn retire(&self) {
        let Some(me) = self.base.member.owner() else { return };
        let polls = self.entry(me).is_ok_and(Entry::polls);
        if !polls && !self.is_registered(me) {
            return;
        }
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

/// Where the attendant sleeps: a mapping of the header that is its own, so that the handle can go meanwhile. A fork child, which
/// has no such thread, does not inherit it.
struct Post {
    region: Region,
    header: Area<Header>,
}

impl Post {
    fn new(fd: BorrowedFd<'_>) -> io::Result<Post> {
        let region = Region::for_this_process(fd, Layout::CELLS.offset)?;
        let header = region.area(Layout::HEADER.offset, Layout::HEADER.len);
        Ok(Post { region, header })
    }

    fn header(&self) -> &Header {
        self.region.one(&self.header)
    }
}

/// What the attendant does until the handle goes.
fn attend(post: &Post, core: &Weak<Core>, nudge: &AtomicU32) {
    IS_ATTENDANT.set(true);
    let (notice, will) = (&post.header().notice, &post.header().will);
    loop {
        process::end_if_abandoned(ATTENDANT);
        // What this thread is about to put right is not lost with it. The callbacks are not among what it covers: they may use robust
        // mutexes.
        let own_will = Bequest::new(will);
        nudge.store(0, Ordering::SeqCst);
        let seen = notice.load();
        // Held across a fork: so the child has no share in the handle that was this thread's.
        let no_fork = process::reattach();
        let Some(core) = core.upgrade() else { return };
        let looked = core.base.member.owner().map(|me| core.look_around(me));
        let last = Arc::into_inner(core);
        drop(no_fork);
        drop(own_will);
        // If the handle went meanwhile, callbacks go with it, whose captures are user code.
        drop(last);
        let Some((due, again)) = looked else { return };
        for own in due {
            // What the callback does is its own business, but the attendant has others.
            let _ = catch_unwind(AssertUnwindSafe(|| (own.callback)(own.sender.unwrap_or_default())));
            notice.acknowledge(own.registration);
        }
        // It stands until everybody has been told of the death that this thread was told of.
        let own_will = Bequest::new(will);
        if notice.sleep(seen, nudge, will, again) {
            post.header().wake_all();
        }
        drop(own_will);
    }
}

/// A thread that waits. While it waits for a message, one that comes is its own, and nobody is told of it; while it waits to send
/// one, a queue whose last message is received is not empty, for its own takes that place.
pub(super) struct Waits<'a> {
    core: &'a Core,
    me: Owner,
    wait: Wait,
    side: Side,
    entry: &'a Entry,
}

impl<'a> Waits<'a> {
    pub(super) fn new(core: &'a Core, me: Owner, wait: Wait, side: Side) -> Result<Option<Waits<'a>>, Fault> {
        if wait == Wait::No {
            return Ok(None);
        }
        let entry = core.entry(me)?;
        entry.begin_to_wait(side == Side::Room);
        Ok(Some(Waits { core, me, wait, side, entry }))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.entry.end_waiting(self.side == Side::Room);
        fence_after_rmw();
        if self.core.header().receivers.has_attention() {
            // What was this thread's, and it did not take or send, counts now.
            let wait = if self.wait == Wait::Forever { self.wait } else { Wait::No };
            let _ = self.core.attend(self.me, wait, News::None);
        }
    }
}

impl Shared<'_> {
    /// How many threads wait on this side.
    #[cold]
    fn waiting(&self, side: Side) -> u32 {
        let of = |entry: &Entry| entry.waiting(side == Side::Room);
        self.entries_in_use().fold(0u32, |sum, entry| sum.saturating_add(of(entry)))
    }

    /// Whether the registrant waits for the queue to be empty, and somebody waits to send, whose message would take the place of the
    /// last one. To be asked before the ring is drained: one who does not wait any more has claimed a slot, which the drain finds. The
    /// lock is held.
    #[inline(always)]
    pub(super) fn expects_more(&self) -> bool {
        self.header.notice.awaits_emptiness() && self.waiting(Side::Room) != 0
    }

    /// N1: this message is about to leave the queue. `expected`: see [`expects_more`](Shared::expects_more). The lock is held.
    #[inline(always)]
    pub(super) fn note_if_last(&self, chosen: Chosen, expected: bool) -> Result<(), Fault> {
        if self.header.notice.awaits_emptiness() && !expected && self.ledger.is_last(chosen)? {
            self.header.notice.emptied();
        }
        Ok(())
    }

    /// Who sent the next message, as far as that is known: another may have its index by now. The lock is held.
    fn sender(&self) -> Option<Sender> {
        let number = self.ledger.index.best().ok()??;
        let sender = self.ledger.slots.get(number as usize)?.sender.load(Ordering::Relaxed);
        Some(self.entries.get(unlisted(sender)? as usize)?.sender())
    }

    /// Whether somebody would be told of a message that is here, if nobody waited for it. The lock is held.
    pub(super) fn may_be_due(&self) -> bool {
        self.header.notice.is_ready() && self.header.desk.count.load(Ordering::Relaxed) != 0
    }

    /// The entries that may be in use.
    pub(super) fn entries_in_use(&self) -> impl Iterator<Item = &Entry> {
        let high = self.header.attach_high.load(Ordering::Acquire).min(Owner::INDEX_MAX + 1);
        self.entries.iter().take(high as usize)
    }
}
