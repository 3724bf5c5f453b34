//! Waiting: look, spin a little, announce, look again, sleep for a bounded time, look after the dead. One function for both
//! sides of every object; it moves no data and knows no protocol but that of the event.

use super::fault::Fault;
use crate::deadline::Wait;
use crate::raw::event::{Announced, Event};
use crate::sync::{AtomicU32, Ordering::Relaxed, futex::Slept, now, pause};
use crate::sys::process;
use std::time::Duration;

/// How long a sleep lasts at most: what a wake that died with its sender costs.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// The same while the words show something in the hands of another participant, who may be dead.
const SLEEP_WATCHING: Duration = Duration::from_millis(50);

/// How many pauses one spin lasts: somewhat more than it takes to wake a sleeper, so that two that answer each other and
/// were put to sleep once by chance find back to spinning.
const SPIN: u32 = 1500;
/// How many pauses pass before the first look of a spin.
const FIRST: u32 = 8;
/// After spins in vain, only every 2^n-th wait spins; n is at most this.
const RESTRAINT_MAX: u32 = 4;

/// Whether this handle spins before it sleeps: always while that paid lately, now and then while it did not.
pub(crate) struct Spin {
    /// Bits 0..7: restraint n; bits 8..31: a count of waits.
    state: AtomicU32,
    /// The only CPU that this thread may use + 1; 0 if there are several.
    pinned: AtomicU32,
}

impl Spin {
    /// A spin for a thread that may use the CPUs it may use now.
    pub(crate) fn new() -> Spin {
        Spin { state: AtomicU32::new(0), pinned: AtomicU32::new(process::only_cpu().map_or(0, |cpu| cpu + 1)) }
    }

    /// The only CPU that this thread may use + 1, as it was last seen; 0 if there are several.
    pub(crate) fn pinned(&self) -> u32 {
        self.pinned.load(Relaxed)
    }

    /// Looks again which CPUs this thread may use.
    fn look_at_cpus(&self) -> u32 {
        let pinned = process::only_cpu().map_or(0, |cpu| cpu + 1);
        self.pinned.store(pinned, Relaxed);
        pinned
    }

    /// Spins until `ready`, if it is this wait's turn.
    pub(crate) fn until(&self, every: u32, ready: impl Fn() -> bool) -> bool {
        let state = self.state.load(Relaxed);
        let (restraint, turn) = (state & 0xff, (state >> 8).wrapping_add(1) & 0xff_ffff);
        if turn & ((1 << restraint) - 1) != 0 {
            self.state.store(turn << 8 | restraint, Relaxed);
            return false;
        }
        // Not at once: a peer that was just found wanting is about to write the very lines that a look takes from it. A few
        // pauses let a stream get ahead by a few messages, and cost an answer nothing that is not under way yet.
        (0..FIRST).for_each(|_| pause());
        let found = (0..SPIN / every).any(|_| {
            let found = ready();
            if !found {
                (0..every).for_each(|_| pause());
            }
            found
        });
        let restraint = if found { 0 } else { (restraint + 1).min(RESTRAINT_MAX) };
        self.state.store(turn << 8 | restraint, Relaxed);
        found
    }
}

/// What a wait needs of the object that it waits on.
pub(crate) trait Awaited {
    /// How many pauses pass between two looks of a spin.
    fn looks_every(&self) -> u32;
    /// Whether an attempt has a prospect: a cheap look, for spinning.
    fn stirring(&self) -> bool;
    /// Whether some other participant may use a CPU that this thread does not: else it cannot run while we spin.
    fn company(&self) -> bool;
    /// Tells the others which CPU this thread is confined to.
    fn pinned(&self, cpu: u32);
    /// Whether the words show something in the hands of another participant.
    fn watching(&self) -> bool;
    /// Puts in order what the dead left.
    fn recover(&self) -> Result<(), Fault>;
    /// Sees whether what is waited for can never come, at the end of a sleep too short for [`recover`](Awaited::recover).
    fn over(&self) -> Result<(), Fault>;
    /// Whether somebody ends this wait; asked once for each interruption.
    fn interrupted(&self) -> bool {
        false
    }
    /// Wakes everybody who waits for whatever it is: one who may have owed them a wake has died. Called only if
    /// [`sleep`](Awaited::sleep) tells of such a death.
    fn wake_all(&self) {}
    /// Counts a call that sleeps.
    fn blocked(&self);
    /// Sleeps until a signal after `announced`, at most `timeout`, or until there is another reason to look.
    fn sleep(&self, event: &Event, announced: Announced, timeout: Duration) -> Slept {
        event.sleep(announced, timeout)
    }
}

/// Waits on `event` until an attempt gives something; `None` when the time ran out. The attempt is told whether this call may
/// have used up a wake, which one that succeeds must then pass on if there is more.
pub(crate) fn wait_for<T, E: From<Fault>>(
    awaited: &impl Awaited,
    event: &Event,
    spin: &Spin,
    wait: Wait,
    mut attempt: impl FnMut(bool) -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    if wait == Wait::No {
        return look_closely(awaited, attempt);
    }
    if awaited.company()
        && spin.until(awaited.looks_every(), || awaited.stirring())
        && let Some(item) = attempt(false)?
    {
        return Ok(Some(item));
    }
    sleep_for(awaited, event, spin, wait, attempt)
}

/// What a call that does not wait does before it says no. Its attempt may be the first to come across a dead one's claim.
fn look_closely<T, E: From<Fault>>(
    awaited: &impl Awaited,
    mut attempt: impl FnMut(bool) -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    match attempt(false)? {
        None if awaited.watching() => {
            awaited.recover()?;
            attempt(false)
        }
        found => Ok(found),
    }
}

/// The sleeping half of [`wait_for`]. Every turn but the last and one other sleeps, so it ends when the time does.
#[cold]
pub(crate) fn sleep_for<T, E: From<Fault>>(
    awaited: &impl Awaited,
    event: &Event,
    spin: &Spin,
    wait: Wait,
    attempt: impl FnMut(bool) -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let slept = sleep_in_turns(awaited, event, spin, wait, attempt);
    if slept.is_err() {
        // This call may have used up a wake that was good news for another.
        event.signal(1);
    }
    slept
}

fn sleep_in_turns<T, E: From<Fault>>(
    awaited: &impl Awaited,
    event: &Event,
    spin: &Spin,
    wait: Wait,
    mut attempt: impl FnMut(bool) -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let (mut counted, mut looked, mut watched) = (false, now(), false);
    let mut interrupted = false;
    loop {
        let announced = event.announce();
        match attempt(true)? {
            None if awaited.interrupted() || interrupted => return Err(Fault::Interrupted.into()),
            None => {}
            item => return Ok(item),
        }
        let watching = awaited.watching();
        if watching && !watched {
            // The attempt may be the first to have come across a dead one's claim: not to be slept on, nor timed out on.
            watched = true;
            awaited.recover()?;
            continue;
        }
        let bound = if watching { SLEEP_WATCHING } else { SLEEP_MAX };
        let Some(left) = wait.left(bound) else { return Ok(None) };
        if !counted {
            awaited.blocked();
            counted = true;
        }
        // Before the sleep, not after it: who is woken has something better to do.
        awaited.pinned(spin.look_at_cpus());
        let slept = awaited.sleep(event, announced, left);
        if slept == Slept::Bequeathed {
            // Whose wake it was is not known: all look.
            awaited.wake_all();
        }
        match slept {
            // Signals, deaths and wakes in vain can cut every sleep short; the dead are looked after all the same.
            Slept::Awake | Slept::Bequeathed | Slept::TimedOut if now().saturating_duration_since(looked) >= bound => {
                awaited.recover()?;
                looked = now();
            }
            Slept::Awake | Slept::Bequeathed => {}
            // The kernel has restarted the others. Looked once more all the same: what came meanwhile is received.
            Slept::Interrupted => interrupted = true,
            Slept::TimedOut => awaited.over()?,
            // The page that the word was in is gone.
            Slept::Refused(libc::EFAULT) => return Err(Fault::Corrupt.into()),
            Slept::Refused(errno) => return Err(Fault::System(errno).into()),
        }
    }
}
