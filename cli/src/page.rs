//! What people read: lines of a page, who takes part, text that others wrote. Shared by the verbs that show something.

use crate::json;
use chappe::{Holder, Participant};
use std::fmt::Display;
use std::os::unix::fs::MetadataExt;

/// A line of a page.
pub fn line(title: &str, value: impl Display) -> String {
    format!("{title:<16}{value}\n")
}

/// Whether an object is in use still.
pub fn state(unlinked: bool, closed: bool, ephemeral: bool) -> String {
    let life = match (unlinked, closed) {
        (true, _) => "unlinked",
        (false, true) => "closed",
        (false, false) => "open",
    };
    format!("{life}{}", if ephemeral { ", goes with its creator" } else { "" })
}

/// The participants but ourselves: we have the object open only to look at it.
pub fn others(participants: Vec<Participant>) -> Vec<Participant> {
    let namespace = pid_namespace();
    participants.into_iter().filter(|one| !is_me(one, namespace)).collect()
}

/// Whether this is the process that asks, which lives in that pid namespace, as far as it knows.
pub fn is_me(one: &Participant, namespace: Option<u64>) -> bool {
    one.pid == std::process::id() && namespace.is_none_or(|inode| inode == one.pid_namespace)
}

/// The pid namespace of this process.
pub fn pid_namespace() -> Option<u64> {
    std::fs::metadata("/proc/self/ns/pid").map(|namespace| namespace.ino()).ok()
}

/// A line about a participant.
pub fn participant(one: &Participant) -> String {
    format!("  {}  since {}\n", process(one), json::time(one.since_unix_nanos))
}

/// A line about one who holds permits, or waits for them.
pub fn share(process_: &Participant, permits: u64, label: &str, since_unix_nanos: u64) -> String {
    let label = if label.is_empty() { String::new() } else { format!("  {}", plain(label)) };
    format!(
        "  {}  {:<10}  since {}{label}\n",
        process(process_),
        counted(permits, "permit"),
        json::time(since_unix_nanos)
    )
}

/// A line about a holder.
pub fn holder(one: &Holder) -> String {
    share(&one.process, one.permits, &one.label, one.since_unix_nanos)
}

fn process(one: &Participant) -> String {
    format!("pid {:<8}  {:<15}", one.pid, plain(&one.command))
}

/// `1 permit`, `2 permits`.
pub fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Text that another process wrote, with nothing in it that a terminal would act on.
pub fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on() {
        assert_eq!(plain("größe 7"), "größe 7");
        assert_eq!(plain("a\x1b[2J\nb\u{9b}"), "a\\u{1b}[2J\\nb\\u{9b}");
    }
}
