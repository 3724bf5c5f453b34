//! Waits that can never end: a look at who holds and who waits in every semaphore of a directory. A hint, taken without locks and
//! believed only if a second look says the same.

use super::Core;
use crate::error::{AcquireError, OpenError};
use crate::name::{Kind, Name};
use crate::raw::permits::State;
use crate::shm::setup;
use crate::stat::{Participant, Stuck};
use crate::sync::{Ordering, now};
use crate::sys::process;
use std::collections::HashSet;
use std::path::Path;

/// How often a wait that goes on looks again.
const LOOK_EVERY_MILLIS: u64 = 500;

/// A process, as far as entries tell: pid and pid namespace.
type Process = (u32, u64);

/// What one semaphore shows at a moment.
struct Scene {
    name: Option<Name>,
    permits: u64,
    held: Vec<(Process, u64)>,
    /// In the order in which they will be served: ticket, who, how many.
    waiting: Vec<(u64, Participant, u64)>,
}

fn who(participant: &Participant) -> Process {
    (participant.pid, participant.pid_namespace)
}

/// The waits in a directory that can never end.
pub(crate) fn deadlocks(dir: &Path) -> Result<Vec<Stuck>, OpenError> {
    let look = || Ok::<_, OpenError>(stuck(&scenes(dir)?));
    let (first, second) = (look()?, look()?);
    let still = |(ticket, one): &(u64, Stuck)| second.iter().any(|(other, two)| ticket == other && one == two);
    Ok(first.into_iter().filter(still).map(|(_, stuck)| stuck).collect())
}

fn scenes(dir: &Path) -> Result<Vec<Scene>, OpenError> {
    // Opened for reading only: whoever closes a file that was open for writing wakes all its sentries.
    let semaphores =
        setup::paths(Kind::Semaphore, dir)?.into_iter().filter_map(|path| setup::look_at::<Core>(&path).ok());
    Ok(semaphores.map(|core| core.scene()).collect())
}

impl Core {
    fn scene(&self) -> Scene {
        let shared = self.shared();
        let (mut held, mut waiting) = (Vec::new(), Vec::new());
        for record in shared.permits.used() {
            let entry = record.owner().and_then(|owner| shared.entries.get(owner.index() as usize));
            let Some(participant) = entry.map(|entry| entry.participant()) else { continue };
            match record.state() {
                State::Held(permits) => held.push((who(&participant), permits)),
                State::Waiting(permits) => waiting.push((record.ticket(), participant, permits)),
                _ => {}
            }
        }
        waiting.sort_by_key(|(ticket, _, _)| *ticket);
        Scene { name: self.base.name.clone(), permits: self.permits(), held, waiting }
    }

    /// For handles that were asked to look: fails if this process waits for what can never come. Looks at once where a wait
    /// begins, then no more than twice a second.
    pub(super) fn look_for_deadlock(&self, begins: bool) -> Result<(), AcquireError> {
        let Some(dir) = &self.deadlocks else { return Ok(()) };
        if !begins && !self.look_is_due() {
            return Ok(());
        }
        self.looked.store(self.millis(), Ordering::Relaxed);
        let me = process::describe();
        let mine =
            |stuck: &Stuck| who(&stuck.process) == (me.pid, me.pid_namespace) && stuck.waits_at == self.base.name;
        // A directory that cannot be listed shows no deadlock.
        let found =
            deadlocks(dir).unwrap_or_default().iter().any(mine) || self.base.name.is_none() && self.stuck_alone();
        if found { Err(AcquireError::Deadlock) } else { Ok(()) }
    }

    /// Whether waits of this handle look for deadlocks, and did so last some time ago.
    pub(super) fn look_is_due(&self) -> bool {
        let before = self.looked.load(Ordering::Relaxed);
        self.deadlocks.is_some() && (before == 0 || self.millis().saturating_sub(before) >= LOOK_EVERY_MILLIS)
    }

    /// Milliseconds since the handle was opened, + 1.
    fn millis(&self) -> u64 {
        u64::try_from(now().saturating_duration_since(self.opened).as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// A semaphore without a name is in no directory: it is looked at by itself.
    fn stuck_alone(&self) -> bool {
        let me = process::describe();
        let look = || stuck(&[self.scene()]).iter().any(|(_, stuck)| who(&stuck.process) == (me.pid, me.pid_namespace));
        look() && look()
    }
}

/// The waits that remain when everybody who can go on has done so and released all. A process goes on if one of its waits can be
/// served; so one of several threads that waits does not make it stuck, and one that does not wait cannot be seen.
fn stuck(scenes: &[Scene]) -> Vec<(u64, Stuck)> {
    let everyone = scenes.iter().flat_map(|scene| &scene.waiting).map(|(_, participant, _)| who(participant));
    let mut stuck: HashSet<Process> = everyone.collect();
    loop {
        let free = scenes.iter().flat_map(|scene| served(scene, &stuck)).find(|process| stuck.contains(process));
        let Some(process) = free else { break };
        stuck.remove(&process);
    }
    let of = |scene: &Scene| {
        let name = scene.name.clone();
        let waits = scene.waiting.iter().filter(|(_, participant, _)| stuck.contains(&who(participant)));
        let wait = |(ticket, participant, permits): &(u64, Participant, u64)| {
            (*ticket, Stuck { process: participant.clone(), waits_at: name.clone(), permits: *permits })
        };
        waits.map(wait).collect::<Vec<_>>()
    };
    scenes.iter().flat_map(of).collect()
}

/// Who would be served in a semaphore if only those in `stuck` kept what they hold.
fn served(scene: &Scene, stuck: &HashSet<Process>) -> Vec<Process> {
    let held = scene.held.iter().filter(|(process, _)| stuck.contains(process));
    let kept = held.fold(0u64, |sum, (_, permits)| sum.saturating_add(*permits));
    let free = scene.permits.saturating_sub(kept);
    // No permits at all: paused, and whoever paused it can end that.
    let fits = |permits: u64| permits <= free || scene.permits == 0;
    scene.waiting.iter().take_while(|(_, _, permits)| fits(*permits)).map(|(_, who_, _)| who(who_)).collect()
}
