//! `mq stat`: what a queue is, holds and has done, and who has it open.

use super::open;
use crate::args;
use crate::exit::{self, Failure};
use crate::json::{self, StatLine};
use crate::output::{Output, name_text};
use crate::values::{OctalMode, size_text};
use chappe::{Counters, Name, Participant, QueueStat};
use std::os::unix::fs::MetadataExt;

/// Shows the queue.
pub fn run(args: &args::Stat) -> Result<(), Failure> {
    let queue = open(&args.name)?;
    let mut stat = queue.stat().map_err(|error| exit::access(&queue, error))?;
    stat.participants.retain(|one| !is_me(one));
    let text =
        if args.json { json::line(&StatLine::new(&args.name, &stat)) } else { page(&args.name, &stat).into_bytes() };
    Output::open()?.write(&text)
}

/// We have the queue open only to look at it.
fn is_me(one: &Participant) -> bool {
    let namespace = std::fs::metadata("/proc/self/ns/pid").map(|namespace| namespace.ino());
    one.pid == std::process::id() && namespace.map_or(true, |inode| inode == one.pid_namespace)
}

fn page(name: &Name, stat: &QueueStat) -> String {
    let mut lines = vec![
        line("name", name_text(name)),
        line("depth", format!("{} of {}{}", stat.len, stat.attributes.capacity, under_way(stat))),
        line("message size", size_text(stat.attributes.message_size)),
        line("mode", OctalMode(stat.mode)),
        line("memory", size_text(stat.memory)),
        line("created", json::time(stat.created_unix_nanos)),
        line("state", state(stat)),
    ];
    lines.extend(totals(&stat.counters));
    lines.push(line("participants", stat.participants.len()));
    lines.extend(stat.participants.iter().map(participant));
    lines.concat()
}

fn line(title: &str, value: impl std::fmt::Display) -> String {
    format!("{title:<16}{value}\n")
}

fn under_way(stat: &QueueStat) -> String {
    match (stat.being_sent, stat.being_received) {
        (0, 0) => String::new(),
        (sent, received) => format!(", {sent} being sent, {received} being received"),
    }
}

fn state(stat: &QueueStat) -> String {
    let life = match (stat.unlinked, stat.closed) {
        (true, _) => "unlinked",
        (false, true) => "closed",
        (false, false) => "open",
    };
    format!("{life}{}", if stat.ephemeral { ", goes with its creator" } else { "" })
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

fn participant(one: &Participant) -> String {
    format!("  pid {:<8}  {:<15}  since {}\n", one.pid, one.command, json::time(one.since_unix_nanos))
}
