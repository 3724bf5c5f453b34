//! `mq stat`: what a queue is, holds and has done, and who has it open.

use super::{open, posix};
use crate::args;
use crate::exit::{self, Failure};
use crate::json::{self, StatLine};
use crate::output::{Output, name_text};
use crate::page::{self, line};
use crate::values::{AnyName, OctalMode, size_text};
use chappe::{Counters, Name, QueueStat};

/// Shows the queue.
pub fn run(args: &args::Stat) -> Result<(), Failure> {
    let name = match &args.name {
        AnyName::Own(name) => name,
        AnyName::Posix(name) => return posix::stat(name, args.json),
    };
    let queue = open(name)?;
    let mut stat = queue.stat().map_err(|error| exit::access(&queue, error))?;
    stat.participants = page::others(stat.participants);
    let text = if args.json { json::line(&StatLine::new(name, &stat)) } else { whole_page(name, &stat).into_bytes() };
    Output::open()?.write(&text)
}

fn whole_page(name: &Name, stat: &QueueStat) -> String {
    let mut lines = vec![
        line("name", name_text(name)),
        line("depth", format!("{} of {}{}", stat.len, stat.attributes.capacity, under_way(stat))),
        line("message size", size_text(stat.attributes.message_size)),
        line("mode", OctalMode(stat.mode)),
        line("memory", size_text(stat.memory)),
        line("created", json::time(stat.created_unix_nanos)),
        line("state", page::state(stat.unlinked, stat.closed, stat.ephemeral)),
    ];
    lines.extend(totals(&stat.counters));
    lines.push(line("participants", stat.participants.len()));
    lines.extend(stat.participants.iter().map(page::participant));
    lines.concat()
}

fn under_way(stat: &QueueStat) -> String {
    match (stat.being_sent, stat.being_received) {
        (0, 0) => String::new(),
        (sent, received) => format!(", {sent} being sent, {received} being received"),
    }
}

fn totals(counters: &Counters) -> [String; 8] {
    [
        line("sent", counters.sent),
        line("received", counters.received),
        line("purged", counters.purged),
        line("most at once", counters.high_water),
        line("send blocked", counters.send_blocked),
        line("recv blocked", counters.recv_blocked),
        line("deaths repaired", counters.recovered),
        line("redelivered", counters.redelivered),
    ]
}
