//! A participant: its byte lock, its place in the attach table, and with these the lock of the object, stealing it from the
//! dead, recovering what they left, and becoming a participant of one's own after fork. The same for every kind of object.
//!
//! `docs/recovery.md` has the rule ("who holds byte i may act for index i") and the order of the mutexes.

use super::fault::Fault;
use crate::deadline::Wait;
use crate::raw::Corrupt;
use crate::raw::lock::{Lock, Seen, Signature};
use crate::raw::owner::{Description, Entry, Stage};
use crate::raw::word::Owner;
use crate::stat::Participant;
use crate::sync::{AtomicU32, AtomicU64, Ordering, SPINS, bytelock, keeper, now, pause, roster};
use crate::sys::file::{self, Facts, File};
use crate::sys::{held, process};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// The first and the longest sleep on the lock.
const SLEEP_FIRST: Duration = Duration::from_millis(2);
const SLEEP_LONGEST: Duration = Duration::from_millis(50);
/// How long a call that does not wait puts up with a holder that lives and does not run; a timed call, at the least.
const PATIENCE: Duration = Duration::from_millis(500);
const PATIENCE_TIMED: Duration = Duration::from_millis(100);
const PATIENCE_BRIEF: Duration = Duration::from_millis(5);

/// The identity of one that has not attached: of a fork generation that there never is.
const NOBODY: u64 = (u32::MAX as u64) << 32;

/// An object whose leavings can be put in order. The lock is held in each method but `wake_all`.
pub(crate) trait Object {
    fn life(&self) -> &AtomicU32;
    fn lock(&self) -> &Lock;
    fn entries(&self) -> &[Entry];
    fn attach_high(&self) -> &AtomicU32;
    /// Makes the attach entry of this index safe to touch.
    fn reserve_entry(&self, fd: BorrowedFd<'_>, index: u32) -> io::Result<()>;
    /// Builds all caches anew from the truth.
    fn rebuild(&self) -> Result<(), Corrupt>;
    /// Puts in order every word that names `owner`, whose byte the caller holds.
    fn recover(&self, owner: Owner) -> Result<(), Corrupt>;
    /// Wakes every sleeper, for a wake may have died.
    fn wake_all(&self);
}

/// Why one may act for an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// One holds its byte.
    Byte,
    /// The kernel has marked its keeper's word, and a barrier was passed since. Only the holder of the object's lock acts on it.
    Mark,
}

/// See the module.
pub(crate) struct Member {
    fd: File,
    /// The file of the object: what the descriptor must lead to, also after a fork.
    facts: Facts,
    /// Bits 32..63: the fork generation it attached in; bits 0..31: its attach index.
    identity: AtomicU64,
    /// The incarnation of its entry.
    incarnation: AtomicU32,
    /// It takes part no more, and never again.
    resigned: AtomicBool,
    /// An operation failed with words that name this index left behind: the entry stays in use, for a recoverer.
    untidy: AtomicBool,
}

/// The lock, held. Given back when dropped; after a repair everybody is woken, too.
pub(crate) struct Held<'a, O: Object> {
    object: &'a O,
    repaired: bool,
}

impl<O: Object> Drop for Held<'_, O> {
    fn drop(&mut self) {
        self.object.lock().release();
        if self.repaired {
            self.object.wake_all();
        }
    }
}

impl Member {
    /// A participant of the object that `fd` leads to; it has yet to [`attach`](Member::attach).
    pub(crate) fn new(fd: File, facts: Facts) -> Member {
        Member {
            fd,
            facts,
            identity: AtomicU64::new(NOBODY),
            incarnation: AtomicU32::new(0),
            resigned: AtomicBool::new(false),
            untidy: AtomicBool::new(false),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The file of the object.
    pub(crate) fn facts(&self) -> Facts {
        self.facts
    }

    /// Who one is. `None` in a fork child that has not attached yet.
    #[inline(always)]
    pub(crate) fn owner(&self) -> Option<Owner> {
        let identity = self.identity.load(Ordering::Relaxed);
        ((identity >> 32) as u32 == process::generation()).then(|| Owner::of_index(identity as u32))
    }

    /// Who one is; attaches first, in a fork child.
    #[inline(always)]
    pub(crate) fn require<O: Object>(&self, object: &O) -> Result<Owner, Fault> {
        match self.owner() {
            Some(owner) => Ok(owner),
            None => self.reattach(object),
        }
    }

    #[cold]
    fn reattach<O: Object>(&self, object: &O) -> Result<Owner, Fault> {
        let _one_at_a_time = process::reattach();
        if let Some(owner) = self.owner() {
            return Ok(owner);
        }
        if self.resigned.load(Ordering::Acquire) {
            return Err(Fault::System(libc::EBADF));
        }
        // The fork handler could not open the file again if this is something else.
        self.check_file()?;
        self.attach(object)
    }

    /// Takes a place in the attach table; cleans up after the one that died there, if one did.
    pub(crate) fn attach<O: Object>(&self, object: &O) -> Result<Owner, Fault> {
        let index = self.take_any_byte()?;
        let attached = self.attach_as(object, index);
        if attached.is_err() {
            // Its entry stays in use: the next one that has the byte, or a recoverer, puts it in order.
            let _ = bytelock::release(self.fd(), index);
        }
        attached
    }

    fn attach_as<O: Object>(&self, object: &O, index: u32) -> Result<Owner, Fault> {
        object.reserve_entry(self.checked_fd()?, index)?;
        object.attach_high().fetch_max(index + 1, Ordering::SeqCst);
        let entry = object.entries().get(index as usize).ok_or(Fault::Full)?;
        let inherited = entry.occupy();
        self.incarnation.store(entry.stage().incarnation(), Ordering::Relaxed);
        describe(entry);
        let me = Owner::of_index(index);
        if inherited || object.lock().holder().is_some_and(|holder| holder.owner == me) {
            self.inherit(object, me)?;
        }
        self.identity.store(u64::from(process::generation()) << 32 | u64::from(index), Ordering::Relaxed);
        Ok(me)
    }

    fn take_any_byte(&self) -> Result<u32, Fault> {
        for index in 0..=Owner::INDEX_MAX {
            if bytelock::try_take(self.fd(), index)? {
                return Ok(index);
            }
        }
        Err(Fault::Full)
    }

    /// Puts in order what the last holder of our own index left.
    fn inherit<O: Object>(&self, object: &O, me: Owner) -> Result<(), Fault> {
        let mut held = self.lock_slowly(object, me, Wait::No, true)?;
        held.repaired = true;
        Ok(object.recover(me)?)
    }

    /// Takes the lock.
    #[inline]
    pub(crate) fn lock<'a, O: Object>(&self, object: &'a O, me: Owner, wait: Wait) -> Result<Held<'a, O>, Fault> {
        if object.lock().try_acquire(self.signature(me)) {
            return Ok(Held { object, repaired: false });
        }
        self.lock_slowly(object, me, wait, false)
    }

    /// Takes the lock from whoever has it, when they give it back or have died. `inherit`: a lock that names us was left
    /// by the last holder of our index (else it is a sibling thread's).
    #[cold]
    fn lock_slowly<'a, O: Object>(
        &self,
        object: &'a O,
        me: Owner,
        wait: Wait,
        inherit: bool,
    ) -> Result<Held<'a, O>, Fault> {
        let (lock, signature) = (object.lock(), self.signature(me));
        for _ in 0..SPINS {
            if lock.try_acquire(signature) {
                return Ok(Held { object, repaired: false });
            }
            pause();
        }
        let until = patience(wait);
        let mut sleep = SLEEP_FIRST;
        loop {
            match lock.holder() {
                None if lock.try_acquire_contended(signature) => return Ok(Held { object, repaired: false }),
                None => continue,
                Some(left) if left.owner == me && inherit => {
                    if !lock.steal(left, signature) {
                        continue;
                    }
                    let held = Held { object, repaired: true };
                    object.rebuild()?;
                    return Ok(held);
                }
                Some(holder) if holder.owner != me => {
                    if let Some(held) = self.steal(object, holder, me)? {
                        return Ok(held);
                    }
                    lock.sleep(holder.owner, sleep);
                }
                Some(sibling) => lock.sleep(sibling.owner, sleep),
            }
            if lock.try_acquire_contended(signature) {
                return Ok(Held { object, repaired: false });
            }
            if until.is_some_and(|until| now() >= until) {
                return Err(Fault::Busy);
            }
            sleep = (sleep * 2).min(SLEEP_LONGEST);
        }
    }

    /// Takes the lock from `holder` if its byte is to be had, that is, if it is dead; then nothing cached can be trusted.
    fn steal<'a, O: Object>(&self, object: &'a O, holder: Seen, me: Owner) -> Result<Option<Held<'a, O>>, Fault> {
        let roster = roster();
        let index = holder.owner.index();
        let Some(entry) = object.entries().get(index as usize) else { return Err(Fault::Corrupt) };
        let seen = entry.stage();
        let Some(right) = self.right_over(entry, seen, index)? else { return Ok(None) };
        if right == Right::Mark && !holder.is_of(seen.incarnation()) {
            // The mark is that of one who came after the holder under its index; the holder's own is gone.
            return Ok(None);
        }
        let held = object.lock().steal(holder, self.signature(me)).then(|| Held { object, repaired: true });
        let repaired = match &held {
            Some(_) => object.rebuild().map_err(Fault::from).and_then(|()| self.recover_others(object, me).map(|_| ())),
            None => Ok(()),
        };
        self.give_right_back(right, index)?;
        drop(roster);
        repaired.map(|()| held)
    }

    /// How this participant signs the lock.
    #[inline(always)]
    fn signature(&self, me: Owner) -> Signature {
        Signature::new(me, self.incarnation.load(Ordering::Relaxed))
    }

    /// The right to act for an index other than one's own, if its participant is dead, or is ending and will never store
    /// again. The roster is held; the caller then holds the object's lock, or takes it from that participant.
    fn right_over(&self, entry: &Entry, seen: Stage, index: u32) -> Result<Option<Right>, Fault> {
        if bytelock::try_take(self.fd(), index)? {
            self.check_file()?;
            return Ok(Some(Right::Byte));
        }
        // The kernel marks the word when the keeper ends, which it does by a SIGKILL of the whole process (or its like): every
        // thread has it pending by then. After the barrier each has come to a point at which it takes effect.
        Ok((entry.is_marked(seen) && keeper::barrier().is_ok()).then_some(Right::Mark))
    }

    /// The descriptor, if it leads to the object. Else somebody closed it under us, and its number is used again: nothing is to be
    /// done to that other file, on which all bytes are free. Nor to a file that was shortened: it is not what was opened any more, and
    /// above all what is left of it says nothing of who holds what.
    pub(crate) fn checked_fd(&self) -> io::Result<BorrowedFd<'_>> {
        match self.own_file() {
            None => Err(io::Error::from_raw_os_error(libc::EBADF)),
            Some(facts) if facts.size < self.facts.size => Err(io::ErrorKind::InvalidData.into()),
            Some(_) => Ok(self.fd()),
        }
    }

    /// What is to be told of the object's file, if the descriptor leads there still.
    fn own_file(&self) -> Option<Facts> {
        file::facts(self.fd()).ok().filter(|facts| facts.same_file(self.facts))
    }

    pub(crate) fn check_file(&self) -> Result<(), Fault> {
        Ok(self.checked_fd().map(drop)?)
    }

    fn give_right_back(&self, right: Right, index: u32) -> Result<(), Fault> {
        match right {
            Right::Byte => Ok(bytelock::release(self.fd(), index)?),
            Right::Mark => Ok(()),
        }
    }

    /// Puts in order what dead participants left. Wakes everybody if there was one.
    pub(crate) fn recover<O: Object>(&self, object: &O, me: Owner, wait: Wait) -> Result<(), Fault> {
        let mut held = self.lock(object, me, wait)?;
        let roster = roster();
        let dead = self.recover_others(object, me);
        // Also after a failure: some may have been recovered before it.
        held.repaired |= !matches!(dead, Ok(0));
        drop(roster);
        dead.map(|_| ())
    }

    /// V1 to V6 of `docs/recovery.md` for every other index. The lock and the roster are held. Returns how many were dead.
    fn recover_others<O: Object>(&self, object: &O, me: Owner) -> Result<u32, Fault> {
        let mut dead = 0;
        let high = object.attach_high().load(Ordering::Acquire).min(Owner::INDEX_MAX + 1);
        for (index, entry) in (0..high).zip(object.entries()) {
            let seen = entry.stage();
            if index == me.index() || !seen.in_use() {
                continue;
            }
            let Some(right) = self.right_over(entry, seen, index)? else { continue };
            // With the byte nobody occupies it meanwhile; with the mark, one who does so waits for the lock before it works.
            let recovered = match entry.stage().is_ending() {
                true => Ok(()),
                false => object.recover(Owner::of_index(index)).inspect(|()| dead += 1),
            };
            match (&recovered, right) {
                (Ok(()), Right::Byte) => entry.vacate(),
                (Ok(()), Right::Mark) => entry.end(seen),
                (Err(_), _) => {}
            }
            self.give_right_back(right, index)?;
            recovered?;
        }
        Ok(dead)
    }

    /// Whether a peer can run while this thread spins, which may use CPU `pinned` - 1 only, or any if that is 0. One that is not
    /// confined to a CPU may run anywhere, and so may its peers; one that is looks whether all others are confined to the same.
    pub(crate) fn company<O: Object>(&self, object: &O, pinned: u32) -> bool {
        let high = object.attach_high().load(Ordering::Relaxed) as usize;
        pinned == 0 || object.entries().iter().take(high).any(|entry| entry.may_run_beside(pinned))
    }

    /// Tells the others which CPU this thread is confined to, + 1.
    pub(crate) fn pin<O: Object>(&self, object: &O, me: Owner, cpu: u32) {
        if let Some(entry) = object.entries().get(me.index() as usize) {
            entry.pin(cpu);
        }
    }

    /// Whether some other participant is dead and has not been recovered. Takes no lock of the object, so that many can ask at
    /// once; the answer decides nothing.
    pub(crate) fn anyone_dead<O: Object>(&self, object: &O, me: Owner) -> Result<bool, Fault> {
        let high = object.attach_high().load(Ordering::Acquire).min(Owner::INDEX_MAX + 1);
        for (index, entry) in (0..high).zip(object.entries()) {
            let dead = || Ok::<_, Fault>(entry.is_marked(entry.stage()) || bytelock::is_free(self.fd(), index)?);
            if index != me.index() && entry.in_use() && dead()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Who has the object open.
    pub(crate) fn participants<O: Object>(&self, object: &O) -> Vec<Participant> {
        let high = object.attach_high().load(Ordering::Acquire).min(Owner::INDEX_MAX + 1);
        let used = object.entries().iter().take(high as usize).filter(|entry| entry.in_use());
        used.map(Entry::participant).collect()
    }

    /// Whether another descriptor of this process leads to the same file.
    pub(crate) fn leads_to(&self, other: BorrowedFd<'_>) -> bool {
        file::facts(other).is_ok_and(|facts| facts.same_file(self.facts))
    }

    /// Words that name this index stay behind: leave them to a recoverer when this handle goes.
    pub(crate) fn leave_untidy(&self) {
        self.untidy.store(true, Ordering::Relaxed);
    }

    /// Takes part no more: every call from here on is refused. Under the object's lock, with no word left that names this index.
    /// The byte is given back by [`give_byte_back`](Member::give_byte_back), after the lock.
    pub(crate) fn resign<O: Object>(&self, object: &O, me: Owner) {
        self.resigned.store(true, Ordering::Release);
        self.identity.store(NOBODY, Ordering::Release);
        if let Some(entry) = object.entries().get(me.index() as usize) {
            entry.vacate();
        }
    }

    pub(crate) fn has_resigned(&self) -> bool {
        self.resigned.load(Ordering::Acquire)
    }

    /// See [`resign`](Member::resign).
    pub(crate) fn give_byte_back(&self, me: Owner) -> Result<(), Fault> {
        Ok(bytelock::release(self.fd(), me.index())?)
    }

    /// Leaves in order. Nothing of this handle is under way.
    pub(crate) fn detach<O: Object>(&self, object: &O) {
        let Some(me) = self.owner() else { return };
        if !self.untidy.load(Ordering::Relaxed)
            && let Some(entry) = object.entries().get(me.index() as usize)
        {
            entry.vacate();
        }
        // Whoever else has this handle still, for a moment, takes part no more.
        self.identity.store(NOBODY, Ordering::Release);
        self.resigned.store(true, Ordering::Release);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.own_file().is_none() {
            self.fd.disown();
        } else if held::is_held(self.fd()) {
            // The descriptor stays open: its locks go by themselves.
            let _ = bytelock::release_all(self.fd());
        }
    }
}

fn patience(wait: Wait) -> Option<Instant> {
    let now = now();
    match wait {
        Wait::Forever => None,
        Wait::No => Some(now + PATIENCE),
        Wait::Briefly => Some(now + PATIENCE_BRIEF),
        Wait::Until(instant) => Some(instant.max(now + PATIENCE_TIMED)),
        Wait::UntilWall(_) => {
            wait.left(PATIENCE).map_or(Some(now + PATIENCE_TIMED), |left| Some(now + left.max(PATIENCE_TIMED)))
        }
    }
}

fn describe(entry: &Entry) {
    let own = process::describe();
    entry.describe(&Description {
        pid: own.pid,
        uid: own.uid,
        pid_namespace: own.pid_namespace,
        since: own.now_unix_nanos,
        command: own.command,
    });
}
