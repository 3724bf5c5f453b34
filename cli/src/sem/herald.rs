//! Who says, after a second of waiting, what we wait for. A thread, so that the wait itself is one call from start to end; it
//! is gone before the command takes this process over.

use crate::output::{name_text, note};
use crate::page::{self, counted};
use chappe::{Holder, Name, Semaphore, SemaphoreStat};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Who waits less is not told anything.
const PATIENCE: Duration = Duration::from_secs(1);

/// So many holders are named.
const SHOWN: usize = 5;

/// The thread; dropping it ends it.
pub struct Herald {
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Herald {
    /// Starts it. Without one the wait is the same, but silent.
    pub fn send(semaphore: &Semaphore, name: &Name) -> Herald {
        let (dismiss, dismissed) = channel();
        let (semaphore, name) = (semaphore.clone(), name.clone());
        let thread = Builder::new().spawn(move || stand_by(&dismissed, &semaphore, &name));
        Herald { thread: thread.ok().map(|thread| (dismiss, thread)) }
    }
}

impl Drop for Herald {
    fn drop(&mut self) {
        if let Some((dismiss, thread)) = self.thread.take() {
            drop(dismiss);
            let _ = thread.join();
        }
    }
}

fn stand_by(dismissed: &Receiver<()>, semaphore: &Semaphore, name: &Name) {
    if dismissed.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout)
        && let Ok(stat) = semaphore.stat()
    {
        note(&proclamation(name, &stat));
    }
}

fn proclamation(name: &Name, stat: &SemaphoreStat) -> String {
    let (name, namespace) = (name_text(name), page::pid_namespace());
    let before = stat.waiters.iter().take_while(|one| !page::is_me(&one.process, namespace)).count();
    let queue = if before == 0 { String::new() } else { format!(", {before} before us in the queue") };
    let all = counted(stat.permits, "permit");
    let mut lines = vec![format!("waiting for {name}: {} of {all} held{queue}", stat.held)];
    lines.extend(stat.holders.iter().take(SHOWN).map(|one| holder(one, now())));
    if stat.holders.len() > SHOWN {
        lines.push(format!("and {} more: `chappe sem holders {name}` has them", stat.holders.len() - SHOWN));
    }
    if stat.permits == 0 {
        lines.push(format!("it is paused: `chappe sem set {name} PERMITS` lets it go on"));
    }
    lines.join("\n  ")
}

fn holder(one: &Holder, now: u64) -> String {
    let what = if one.label.is_empty() { String::new() } else { format!(" ({})", page::plain(&one.label)) };
    let many = if one.permits == 1 { String::new() } else { format!(" {} of them,", one.permits) };
    let since = UNIX_EPOCH + Duration::from_nanos(one.since_unix_nanos);
    let time = Duration::from_secs(now.saturating_sub(one.since_unix_nanos) / 1_000_000_000);
    format!(
        "held by pid {}, {}{what},{many} since {} ({})",
        one.process.pid,
        page::plain(&one.process.command),
        humantime::format_rfc3339_seconds(since),
        humantime::format_duration(time)
    )
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
