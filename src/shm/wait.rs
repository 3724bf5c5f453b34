//! Waiting: look, spin a little, announce, look again, sleep for a bounded time, look after the dead. One function for both
//! sides of every object; it moves no data and knows no protocol but that of the event.

use super::fault::Fault;
use crate::deadline::Wait;
use crate::raw::event::Event;
use crate::sync::{AtomicU32, Ordering::Relaxed, futex::Slept, pause};
use crate::sys::process;
use std::time::Duration;

/// How long a sleep lasts at most: what a wake that died with its sender costs.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// The same while the words show something in the hands of another participant, who may be dead.
const SLEEP_WATCHING: Duration = Duration::from_millis(50);

/// The most and the fewest pauses of one spin: some 20 µs, and about 1 µs.
const SPIN_MAX: u32 = 1024;
const SPIN_MIN: u32 = 32;

/// How long this handle spins before it sleeps: longer while that paid lately, shorter while it did not.
pub(crate) struct Spin {
    budget: AtomicU32,
}

impl Spin {
    /// A spin for a thread that may use the CPUs it may use now.
    pub(crate) fn new() -> Spin {
        let spin = Spin { budget: AtomicU32::new(0) };
        spin.look_at_cpus();
        spin
    }

    /// On one CPU the peer cannot run while we spin: then never.
    fn look_at_cpus(&self) {
        let budget = self.budget.load(Relaxed);
        let budget = if process::on_one_cpu() { 0 } else { budget.max(SPIN_MIN) };
        self.budget.store(budget, Relaxed);
    }

    /// Spins until `ready` or the budget is used up.
    fn until(&self, ready: impl Fn() -> bool) -> bool {
        let budget = self.budget.load(Relaxed);
        for _ in 0..budget {
            if ready() {
                self.budget.store((budget * 2).min(SPIN_MAX), Relaxed);
                return true;
            }
            pause();
        }
        self.budget.store((budget / 2).max(SPIN_MIN.min(budget)), Relaxed);
        false
    }
}

/// What a wait needs of the object that it waits on.
pub(crate) trait Awaited {
    /// What is waited for.
    type Item;
    /// How an attempt fails for good.
    type Error: From<Fault>;

    /// One whole attempt; `None` if there is nothing now. `slept` says that this call may have used up a wake, which an
    /// attempt that succeeds must pass on if there is more.
    fn attempt(&mut self, slept: bool) -> Result<Option<Self::Item>, Self::Error>;
    /// Whether an attempt has a prospect: a cheap look, for spinning.
    fn stirring(&self) -> bool;
    /// Whether the words show something in the hands of another participant.
    fn watching(&self) -> bool;
    /// Puts in order what the dead left.
    fn recover(&mut self) -> Result<(), Self::Error>;
    /// Sees whether what is waited for can never come, at the end of a sleep too short for [`recover`](Awaited::recover).
    fn over(&mut self) -> Result<(), Self::Error>;
    /// Counts a call that sleeps.
    fn blocked(&self);
}

/// Waits on `event` until an attempt succeeds; `None` when the time ran out.
pub(crate) fn wait_for<A: Awaited>(
    awaited: &mut A,
    event: &Event,
    spin: &Spin,
    wait: Wait,
) -> Result<Option<A::Item>, A::Error> {
    if awaited.watching() {
        awaited.recover()?;
        if let Some(item) = awaited.attempt(false)? {
            return Ok(Some(item));
        }
    }
    if wait == Wait::No {
        return Ok(None);
    }
    if spin.until(|| awaited.stirring())
        && let Some(item) = awaited.attempt(false)?
    {
        return Ok(Some(item));
    }
    sleep_for(awaited, event, spin, wait)
}

/// The sleeping half of [`wait_for`]. Every turn but the last sleeps, so it ends when the time does.
#[cold]
fn sleep_for<A: Awaited>(awaited: &mut A, event: &Event, spin: &Spin, wait: Wait) -> Result<Option<A::Item>, A::Error> {
    let mut counted = false;
    loop {
        let announced = event.announce();
        match awaited.attempt(true) {
            Ok(None) => {}
            Ok(item) => return Ok(item),
            Err(error) => {
                // This call may have used up a wake that was good news for another.
                event.signal(1);
                return Err(error);
            }
        }
        let bound = if awaited.watching() { SLEEP_WATCHING } else { SLEEP_MAX };
        let Some(left) = wait.left(bound) else { return Ok(None) };
        if !counted {
            awaited.blocked();
            counted = true;
        }
        match event.sleep(announced, left) {
            Slept::Awake => spin.look_at_cpus(),
            Slept::TimedOut if left == bound => awaited.recover()?,
            Slept::TimedOut => awaited.over()?,
            Slept::Refused(errno) => return Err(Fault::System(errno).into()),
        }
    }
}
