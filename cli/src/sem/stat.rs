//! `sem stat` and `sem holders`: what a semaphore has, who holds it, who waits.

use super::{open, posix};
use crate::args::sem::{Holders, Stat};
use crate::exit::{self, Failure};
use crate::json::{
    self,
    sem::{HoldersLine, StatLine},
};
use crate::output::{Output, name_text};
use crate::page::{self, counted, line};
use crate::values::{AnyName, OctalMode, size_text};
use chappe::{Name, SemaphoreStat, Waiter};

/// Shows the semaphore.
pub fn run(args: &Stat) -> Result<(), Failure> {
    let name = match &args.name {
        AnyName::Own(name) => name,
        AnyName::Posix(name) => return posix::stat(name, args.json),
    };
    let stat = look(name)?;
    let text = if args.json { json::line(&StatLine::new(name, &stat)) } else { page(name, &stat).into_bytes() };
    Output::open()?.write(&text)
}

/// Shows who holds permits: a line each.
pub fn holders(args: &Holders) -> Result<(), Failure> {
    let stat = look(&args.name)?;
    if stat.holders.is_empty() {
        return Err(Failure::new(exit::NO, ""));
    }
    let lines = || stat.holders.iter().map(|one| page::holder(one).trim_start().to_owned()).collect::<String>();
    let text = if args.json { json::line(&HoldersLine::new(&args.name, &stat)) } else { lines().into_bytes() };
    Output::open()?.write(&text)
}

fn look(name: &Name) -> Result<SemaphoreStat, Failure> {
    let mut stat = open(name)?.stat().map_err(|error| exit::sem::access(name, error))?;
    stat.participants = page::others(stat.participants);
    Ok(stat)
}

fn page(name: &Name, stat: &SemaphoreStat) -> String {
    let mut lines = vec![
        line("name", name_text(name)),
        line("free", format!("{} of {}", stat.available, stat.permits)),
        line("held", stat.held),
        line("mode", OctalMode(stat.mode)),
        line("memory", size_text(stat.memory)),
        line("created", json::time(stat.created_unix_nanos)),
        line("state", page::state(stat.unlinked, stat.closed, stat.ephemeral)),
        line("waited", stat.blocked),
        line("taken back", taken_back(stat)),
    ];
    lines.push(line("holders", stat.holders.len()));
    lines.extend(stat.holders.iter().map(page::holder));
    lines.push(line("waiters", stat.waiters.len()));
    lines.extend(stat.waiters.iter().map(waiter));
    lines.push(line("participants", stat.participants.len()));
    lines.extend(stat.participants.iter().map(page::participant));
    lines.concat()
}

/// Commands end without giving back, so that the others see to it, as they do for who was killed.
fn taken_back(stat: &SemaphoreStat) -> String {
    let (permits, processes) = (stat.recovered_permits, stat.recovered);
    format!("{} from {processes} that ended holding or waiting", counted(permits, "permit"))
}

fn waiter(one: &Waiter) -> String {
    page::share(&one.process, one.permits, &one.label, one.since_unix_nanos)
}
