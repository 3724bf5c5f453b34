//! Looking and administering: stat, the number of permits, signals, close.

use super::acquire::settle_fewer;
use super::{Core, Shared};
use crate::deadline::Wait;
use crate::error::AccessError;
use crate::raw::permits::{PERMITS_MAX, Record, State};
use crate::shm::fault::Fault;
use crate::shm::layout::Life;
use crate::stat::{Holder, Participant, SemaphoreStat, Waiter};
use crate::sync::{AtomicU64, Ordering};
use crate::sys::file;

impl Core {
    pub(crate) fn set_permits(&self, permits: u64) -> Result<(), AccessError> {
        self.change_permits(|_| Some(permits))
    }

    pub(crate) fn post(&self, signals: u64) -> Result<(), AccessError> {
        self.change_permits(|permits| permits.checked_add(signals))
    }

    /// P1 to P3.
    fn change_permits(&self, change: impl FnOnce(u64) -> Option<u64>) -> Result<(), AccessError> {
        let me = self.me()?;
        self.locked(me, Wait::No, |permits, wakes| {
            let before = permits.desk.permits.load(Ordering::Relaxed);
            let after = change(before).filter(|after| *after <= PERMITS_MAX).ok_or(AccessError::Full)?;
            permits.set_permits(after);
            Ok(settle_fewer(permits, wakes)?)
        })
    }

    pub(crate) fn close(&self) -> Result<(), AccessError> {
        self.me()?;
        self.base.end(&self.shared(), Life::Closed);
        Ok(self.told(())?)
    }

    pub(crate) fn stat(&self) -> Result<SemaphoreStat, AccessError> {
        let me = self.me()?;
        self.recover(me, Wait::No)?;
        let facts = file::facts(self.fd()).map_err(Fault::from)?;
        let shared = self.shared();
        let number = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let totals = &shared.header.totals;
        let held = self.base.member.lock(&shared, me, Wait::No)?;
        let (permits, available) = (self.permits(), self.available());
        let (holders, waiters) = (holders(&shared), waiters(&shared));
        let stat = SemaphoreStat {
            permits,
            available,
            held: holders.iter().fold(0, |sum, holder| sum.saturating_add(holder.permits)),
            holders,
            waiters,
            mode: facts.mode,
            ephemeral: self.base.ephemeral,
            closed: self.life() >= Life::Closed,
            unlinked: self.life() == Life::Unlinked,
            created_unix_nanos: self.base.created,
            memory: facts.memory,
            blocked: number(&totals.blocked),
            recovered: number(&totals.recovered),
            recovered_permits: number(&totals.recovered_permits),
            participants: self.base.member.participants(&shared),
        };
        drop(held);
        Ok(self.told(stat)?)
    }
}

/// Who a record belongs to, as it described itself, and whether it is a command.
fn process(shared: &Shared<'_>, record: &Record) -> Option<(Participant, bool)> {
    let entry = shared.entries.get(record.owner()?.index() as usize)?;
    Some((entry.participant(), entry.is_command()))
}

fn holders(shared: &Shared<'_>) -> Vec<Holder> {
    let holder = |record: &Record| {
        let State::Held(permits) = record.state() else { return None };
        let (process, command) = process(shared, record)?;
        Some(Holder { process, command, permits, label: text(record), since_unix_nanos: record.since() })
    };
    let mut holders: Vec<Holder> = shared.permits.used().iter().filter_map(holder).collect();
    holders.sort_by_key(|holder| holder.since_unix_nanos);
    holders
}

fn waiters(shared: &Shared<'_>) -> Vec<Waiter> {
    let waiter = |record: &Record| {
        let (permits, signal) = match record.state() {
            State::Waiting(permits) => (permits, false),
            State::Wanting(permits) => (permits, true),
            _ => return None,
        };
        let (process, _) = process(shared, record)?;
        let waiter = Waiter { process, permits, signal, label: text(record), since_unix_nanos: record.since() };
        Some((record.ticket(), waiter))
    };
    let mut waiters: Vec<(u64, Waiter)> = shared.permits.used().iter().filter_map(waiter).collect();
    waiters.sort_by_key(|(ticket, _)| *ticket);
    waiters.into_iter().map(|(_, waiter)| waiter).collect()
}

fn text(record: &Record) -> String {
    let label = record.label();
    let end = label.iter().position(|byte| *byte == 0).unwrap_or(label.len());
    String::from_utf8_lossy(&label[..end]).into_owned()
}
