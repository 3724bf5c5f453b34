//! Does the drop-in library behave as the kernel's queues do, requirement by requirement?
//!
//! The C program in `c/conformance/` shows each requirement, a *row* such as `O7`, by facts that it observes. It runs on the
//! kernel's queues and, preloaded, on ours, built plainly and with `_FORTIFY_SOURCE`; both must print what `conformance.expected`
//! says. Where ours differs on purpose, the row is in [`EXCEPTIONS`] with its reason and has a section `[ROW drop-in]` of its own.
//! `docs/posix.md` has a line for each row. Nothing here judges what is right: the expectation is what the kernel was measured to do.
//!
//! - `CHAPPE_CONFORMANCE`: `kernel` or `drop-in` runs only that half.
//! - `CHAPPE_CONFORMANCE_ROWS`: only these rows, separated by commas.
//! - `CHAPPE_TEST_CC`: the compiler, instead of `cc`. `CHAPPE_MQUEUE_LIBRARY`: the library, instead of the one that is built here.

mod common;
#[path = "conformance/program.rs"]
mod program;
#[path = "conformance/table.rs"]
mod table;

use program::{Build, Half, Row};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Rows in which the drop-in library differs, and why it may. `docs/posix.md` says the same, word for word.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("O11", "The ceilings of the kernel are what people want to be rid of: a queue may be as large as memory."),
    ("O17", "Nobody is charged for queues, so only the limit on descriptors is left."),
    ("O18", "There may be as many queues as there is memory."),
    (
        "F4",
        "The descriptor is the end of a FIFO, and one that was opened for reading or writing only reports only what its user can do \
         with it. The kernel reports both, also what would fail with EBADF.",
    ),
    (
        "F7",
        "There is no file system of queues: the entry is a FIFO beside the queue's file, and opens and works the same. It has both \
         permissions for everybody who has one; which of them it is, is looked at when the descriptor is used.",
    ),
    (
        "S14",
        "A futex wakes who has waited longest, and who has a higher real-time priority before that; niceness does not count with it. \
         Who is woken competes with who comes meanwhile, which is what makes handing over fast, and waits again at the end of the \
         line if it loses, as it does twice a second to look after the dead.",
    ),
    ("R11", "As S14."),
    ("F8", "The link in /proc shows where the FIFO is, since the descriptor is one."),
    ("F9", "The ceilings are the kernel's, for its own queues. Its defaults are ours, too."),
    ("F10", "The limit is on kernel memory, which is not what our queues are made of."),
];

/// What rows are expected to print, by section: `O1`, or `O11 drop-in`.
fn expectations() -> BTreeMap<String, Vec<String>> {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance.expected")).unwrap();
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            assert!(sections.insert(name.to_owned(), Vec::new()).is_none(), "section {name} is there twice");
            current = Some(name.to_owned());
        } else {
            let name = current.as_ref().expect("a section comes before the first fact");
            sections.get_mut(name).unwrap().push(line.to_owned());
        }
    }
    sections
}

/// The name of a fact.
fn name(fact: &str) -> &str {
    fact.split_once('=').map_or(fact, |(name, _)| name)
}

/// Compares fact by fact; says what differs, if anything. What the machine cannot show is printed with its reason, and then facts
/// that are missing are not missed.
fn differences(row: &str, expected: &[String], printed: &str) -> Option<String> {
    let (skipped, shown): (Vec<_>, Vec<_>) = printed.lines().partition(|line| line.contains("=(skipped: "));
    skipped.iter().for_each(|line| println!("{row}: {line}"));
    let here = |fact: &&String| skipped.is_empty() || shown.iter().any(|line| name(line) == name(fact));
    let expected: Vec<&String> = expected.iter().filter(here).collect();
    let mut text = String::new();
    for i in 0..expected.len().max(shown.len()) {
        let got = shown.get(i).unwrap_or(&"nothing more");
        let want = expected.get(i).map_or("nothing more", |want| want.as_str());
        if !agrees(want, got) {
            writeln!(text, "    expected {want}\n    got      {got}").unwrap();
        }
    }
    (!text.is_empty()).then_some(text)
}

/// Whether a fact is the one expected. The section of an exception may leave the order of words open (`name=words (in any order)`), or
/// the value (`name=(any value)`), where it is the exception that these vary.
fn agrees(want: &str, got: &str) -> bool {
    let sorted = |words: &str| {
        let words = words.split([' ', ',', '=']).filter(|word| !word.is_empty());
        let mut words: Vec<String> = words.map(str::to_owned).collect();
        words.sort_unstable();
        words
    };
    match (want.strip_suffix(" (in any order)"), want.strip_suffix("(any value)")) {
        (Some(want), _) => name(want) == name(got) && sorted(want) == sorted(got),
        (None, Some(start)) => got.starts_with(start),
        (None, None) => want == got,
    }
}

/// What is wrong with this row in this half, if anything.
fn fault(row: &Row, half: Half, build: Build, sections: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let own = format!("{} drop-in", row.id);
    let section = if half == Half::DropIn && sections.contains_key(&own) { &own } else { &row.id };
    let expected = sections.get(section).unwrap_or_else(|| panic!("conformance.expected has no section [{section}]"));
    match program::run(&row.id, half, build) {
        Ok(printed) => differences(&row.id, expected, &printed),
        Err(failure) => Some(failure),
    }
}

/// All rows in turn; fails with all that is wrong.
fn all(half: Half, build: Build) {
    let wanted = std::env::var("CHAPPE_CONFORMANCE").unwrap_or_default();
    if !wanted.is_empty() && wanted != half.word() {
        println!("skipped: CHAPPE_CONFORMANCE asks for the other half");
        return;
    }
    if let Some(reason) = program::cannot_run(half) {
        println!("skipped: {reason}");
        return;
    }
    let only = std::env::var("CHAPPE_CONFORMANCE_ROWS").unwrap_or_default();
    let rows: Vec<Row> =
        program::rows().into_iter().filter(|row| only.is_empty() || only.split(',').any(|one| one == row.id)).collect();
    assert!(!rows.is_empty(), "there is no such row: {only}");
    let sections = expectations();
    let mut faults = String::new();
    for row in &rows {
        if let Some(fault) = fault(row, half, build, &sections) {
            writeln!(faults, "{} ({}):\n{fault}", row.id, row.file).unwrap();
        }
    }
    assert!(faults.is_empty(), "on {}, these of {} rows differ:\n{faults}", half.word(), rows.len());
}

#[test]
fn the_kernel_does_what_is_expected() {
    all(Half::Kernel, Build::Plain);
}

#[test]
fn the_kernel_does_what_is_expected_of_a_fortified_program() {
    all(Half::Kernel, Build::Fortified);
}

#[test]
fn the_drop_in_does_what_is_expected() {
    all(Half::DropIn, Build::Plain);
}

#[test]
fn the_drop_in_does_what_is_expected_of_a_fortified_program() {
    all(Half::DropIn, Build::Fortified);
}

/// So that the expectations, the exceptions and the table cannot drift away from what is run.
#[test]
fn the_rows_are_the_same_everywhere() {
    let sections = expectations();
    let (exceptions, plain): (Vec<_>, Vec<_>) =
        sections.keys().map(String::as_str).partition(|name| name.ends_with(" drop-in"));
    let mut listed: Vec<_> = EXCEPTIONS.iter().map(|(row, _)| format!("{row} drop-in")).collect();
    listed.sort();
    assert_eq!(exceptions, listed, "each exception has a section of its own, and only they");
    for section in exceptions {
        let row = section.trim_end_matches(" drop-in");
        assert_ne!(sections[section], sections[row], "{row} is no exception");
    }
    let table = table::read();
    assert_eq!(plain, sorted(table.rows.iter().map(|line| line.id.as_str())), "conformance.expected and docs/posix.md");
    table.check(&sections, EXCEPTIONS);
    if let Some(reason) = program::no_compiler() {
        println!("skipped: {reason}");
        return;
    }
    let rows = program::rows();
    assert_eq!(plain, sorted(rows.iter().map(|row| row.id.as_str())), "conformance.expected and the C program");
    for row in rows {
        let line = table.rows.iter().find(|line| line.id == row.id).unwrap();
        assert_eq!(line.test, format!("`{}`", row.file), "where docs/posix.md says that {} is", row.id);
    }
}

fn sorted<'a>(rows: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut rows: Vec<&str> = rows.collect();
    rows.sort_unstable();
    rows
}
