//! `chappe ls`: one line an object. Objects that cannot be opened are shown with the reason, never hidden.

use crate::args::Ls;
use crate::exit::{self, Failure};
use crate::json::{self, ListLine};
use crate::output::{Output, name_text};
use crate::values::{OctalMode, size_text};
use chappe::{Kind, Object, OpenError, QueueOptions, QueueStat, SemaphoreOptions, SemaphoreStat};
use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::path::Path;

const COLUMNS: usize = 11;

const TITLES: [&str; COLUMNS] =
    ["NAME", "KIND", "DEPTH/FREE", "OF", "SIZE", "HOLDERS", "WAITERS", "MODE", "OWNER", "MEMORY", ""];

/// What an object says of itself.
pub enum Seen {
    /// A queue.
    Queue(QueueStat),
    /// A semaphore.
    Semaphore(SemaphoreStat),
}

/// An object and what it says, or why it says nothing.
type Row = (Object, Result<Seen, String>);

/// Lists the directory in use.
pub fn run(args: &Ls) -> Result<(), Failure> {
    let dir = chappe::default_dir();
    let objects = chappe::list(&dir).map_err(|error| exit::open(&error))?;
    let mut rows = Vec::new();
    for object in objects {
        match look(&dir, &object) {
            Err(OpenError::NotFound { .. }) => {} // gone since it was listed
            other => rows.push((object, other.map_err(|error| error.to_string()).and_then(|seen| seen))),
        }
    }
    let owners = Owners::read();
    let text = if args.json { objects_json(&rows, &owners) } else { table(&rows, &owners).into_bytes() };
    Output::open()?.write(&text)
}

/// What an object says of itself; the inner error is the reason why it cannot.
fn look(dir: &Path, object: &Object) -> Result<Result<Seen, String>, OpenError> {
    if let Some(defect) = &object.defect {
        return Ok(Err(defect.clone()));
    }
    let name = object.name.as_bytes();
    let stat = match object.kind {
        Kind::Queue => QueueOptions::new().dir(dir).open(name)?.stat().map(Seen::Queue),
        Kind::Semaphore => SemaphoreOptions::new().dir(dir).open(name)?.stat().map(Seen::Semaphore),
        other => return Ok(Err(format!("this command is older than the kind {}", other.word()))),
    };
    Ok(stat.map_err(|error| error.to_string()))
}

fn objects_json(rows: &[Row], owners: &Owners) -> Vec<u8> {
    rows.iter().flat_map(|(object, seen)| json::line(&ListLine::new(object, owners.name(object.uid), seen))).collect()
}

fn table(rows: &[Row], owners: &Owners) -> String {
    let mut cells: Vec<[String; COLUMNS]> = rows.iter().map(|row| cells(row, owners)).collect();
    if io::stdout().is_terminal() && !cells.is_empty() {
        cells.insert(0, TITLES.map(str::to_owned));
    }
    align(&cells)
}

fn cells((object, seen): &Row, owners: &Owners) -> [String; COLUMNS] {
    let dash = || "-".to_owned();
    let [now, of, size, holders, waiters] = match seen {
        Ok(Seen::Queue(stat)) => {
            let attributes = stat.attributes;
            let size = size_text(attributes.message_size);
            [stat.len.to_string(), attributes.capacity.to_string(), size, dash(), dash()]
        }
        Ok(Seen::Semaphore(stat)) => {
            let (holders, waiters) = (stat.holders.len().to_string(), stat.waiters.len().to_string());
            [stat.available.to_string(), stat.permits.to_string(), dash(), holders, waiters]
        }
        Err(_) => [dash(), dash(), dash(), dash(), dash()],
    };
    let owner = owners.name(object.uid).map_or_else(|| object.uid.to_string(), str::to_owned);
    let (name, kind, mode) =
        (name_text(&object.name), object.kind.word().to_owned(), OctalMode(object.mode).to_string());
    let reason = seen.as_ref().err().cloned().unwrap_or_default();
    [name, kind, now, of, size, holders, waiters, mode, owner, size_text(object.memory), reason]
}

/// Columns of equal width, as `column -t` makes them: words to the left, numbers to the right.
fn align(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut table = String::new();
    for row in rows {
        let cells: Vec<String> = (0..COLUMNS).map(|column| pad(&row[column], widths[column], column)).collect();
        table.push_str(cells.join("  ").trim_end());
        table.push('\n');
    }
    table
}

fn pad(cell: &str, width: usize, column: usize) -> String {
    match column {
        0 | 1 | 7 | 8 => format!("{cell:<width$}"),
        10 => cell.replace('\n', " "),
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
