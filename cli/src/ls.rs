//! `chappe ls`: one line an object. Objects that cannot be opened are shown with the reason, never hidden.

use crate::args::Ls;
use crate::exit::{self, Failure};
use crate::json::{self, ListLine};
use crate::output::{Output, name_text};
use crate::values::{OctalMode, size_text};
use chappe::{Object, OpenError, QueueOptions, QueueStat};
use std::collections::HashMap;
use std::io::{self, IsTerminal};

const TITLES: [&str; 8] = ["NAME", "DEPTH", "CAPACITY", "MESSAGE-SIZE", "MODE", "OWNER", "MEMORY", ""];

/// Lists the directory in use.
pub fn run(args: &Ls) -> Result<(), Failure> {
    let dir = chappe::default_dir();
    let objects = chappe::list(&dir).map_err(|error| exit::open(&error))?;
    let mut seen = Vec::new();
    for object in objects {
        match look(&dir, &object) {
            Err(OpenError::NotFound { .. }) => {} // gone since it was listed
            other => seen.push((object, other.map_err(|error| error.to_string()).and_then(|stat| stat))),
        }
    }
    let owners = Owners::read();
    let text = if args.json { objects_json(&seen, &owners) } else { table(&seen, &owners).into_bytes() };
    Output::open()?.write(&text)
}

/// What an object says of itself; the inner error is the reason why it cannot.
fn look(dir: &std::path::Path, object: &Object) -> Result<Result<QueueStat, String>, OpenError> {
    if let Some(defect) = &object.defect {
        return Ok(Err(defect.clone()));
    }
    let queue = QueueOptions::new().dir(dir).open(object.name.as_bytes())?;
    Ok(queue.stat().map_err(|error| error.to_string()))
}

fn objects_json(seen: &[(Object, Result<QueueStat, String>)], owners: &Owners) -> Vec<u8> {
    seen.iter().flat_map(|(object, stat)| json::line(&ListLine::new(object, owners.name(object.uid), stat))).collect()
}

fn table(seen: &[(Object, Result<QueueStat, String>)], owners: &Owners) -> String {
    let mut rows: Vec<[String; 8]> = seen.iter().map(|(object, stat)| row(object, stat, owners)).collect();
    if io::stdout().is_terminal() && !rows.is_empty() {
        rows.insert(0, TITLES.map(str::to_owned));
    }
    align(&rows)
}

fn row(object: &Object, stat: &Result<QueueStat, String>, owners: &Owners) -> [String; 8] {
    let known = |value: fn(&QueueStat) -> String| stat.as_ref().map_or_else(|_| "-".to_owned(), value);
    [
        name_text(&object.name),
        known(|stat| stat.len.to_string()),
        known(|stat| stat.attributes.capacity.to_string()),
        known(|stat| size_text(stat.attributes.message_size)),
        OctalMode(object.mode).to_string(),
        owners.name(object.uid).map_or_else(|| object.uid.to_string(), str::to_owned),
        size_text(object.memory),
        stat.as_ref().err().cloned().unwrap_or_default(),
    ]
}

/// Columns of equal width, as `column -t` makes them: words to the left, numbers to the right.
fn align(rows: &[[String; 8]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut table = String::new();
    for row in rows {
        let cells: Vec<String> = (0..8).map(|column| pad(&row[column], widths[column], column)).collect();
        table.push_str(cells.join("  ").trim_end());
        table.push('\n');
    }
    table
}

fn pad(cell: &str, width: usize, column: usize) -> String {
    match column {
        0 | 4 | 5 => format!("{cell:<width$}"),
        7 => cell.replace('\n', " "),
        _ => format!("{cell:>width$}"),
    }
}

/// User names, as far as `/etc/passwd` has them: good enough for people, and no call into the C library's name service.
struct Owners(HashMap<u32, String>);

impl Owners {
    fn read() -> Owners {
        let text = std::fs::read("/etc/passwd").unwrap_or_default();
        Owners(String::from_utf8_lossy(&text).lines().filter_map(user).collect())
    }

    fn name(&self, uid: u32) -> Option<&str> {
        self.0.get(&uid).map(String::as_str)
    }
}

fn user(line: &str) -> Option<(u32, String)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let uid = fields.nth(1)?.parse().ok()?;
    Some((uid, name.to_owned()))
}
