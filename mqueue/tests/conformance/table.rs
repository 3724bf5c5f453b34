//! The table in `docs/posix.md`, and whether it says what is the case.

use std::collections::BTreeMap;
use std::path::Path;

/// A line of the table.
pub struct Line {
    pub id: String,
    /// What shows it.
    pub test: String,
    kernel: String,
    drop_in: String,
}

/// The page.
pub struct Table {
    pub rows: Vec<Line>,
    text: String,
}

/// Reads all lines with five cells whose first is the name of a row.
pub fn read() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/posix.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(line).collect();
    Table { rows, text }
}

fn line(text: &str) -> Option<Line> {
    let cells: Vec<&str> = text.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
    let [id, _, test, kernel, drop_in] = cells[..] else { return None };
    let is_row = id.starts_with(|c: char| c.is_ascii_uppercase()) && id[1..].parse::<u32>().is_ok();
    is_row.then(|| Line { id: id.into(), test: test.into(), kernel: kernel.into(), drop_in: drop_in.into() })
}

impl Table {
    /// What is quoted in a result is among the facts, the drop-in result is "same" but for exceptions, and each exception has its
    /// reason on the page.
    pub fn check(&self, sections: &BTreeMap<String, Vec<String>>, exceptions: &[(&str, &str)]) {
        for line in &self.rows {
            quotes(&line.kernel, &line.id, &sections[&line.id]);
            if exceptions.iter().any(|(row, _)| *row == line.id) {
                quotes(&line.drop_in, &line.id, &sections[&format!("{} drop-in", line.id)]);
                assert!(line.drop_in.contains("[exception](#exceptions)"), "{} is one", line.id);
            } else {
                assert_eq!(line.drop_in, "same", "{} is no exception", line.id);
            }
        }
        check_semaphores(&self.text);
        for (row, reason) in exceptions {
            let line = format!("**{row}.** {reason}");
            assert!(unwrapped(&self.text).contains(&unwrapped(&line)), "docs/posix.md lacks: {line}");
        }
    }
}

/// Each text in backquotes must be in one of the facts.
fn quotes(result: &str, row: &str, facts: &[String]) {
    let quoted: Vec<&str> = result.split('`').skip(1).step_by(2).collect();
    assert!(!quoted.is_empty(), "{row}: the table quotes no result");
    for text in quoted {
        assert!(
            facts.iter().any(|fact| fact.contains(text)),
            "{row}: no fact has {text:?}, which docs/posix.md quotes"
        );
    }
}

/// The rows of semaphores are all there, and the tests that they name exist.
fn check_semaphores(text: &str) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/posix_semaphore.rs");
    let tests = std::fs::read_to_string(tests).unwrap();
    for number in 1..=33 {
        let start = format!("| E{number} | ");
        let line = text
            .lines()
            .find(|line| line.starts_with(&start))
            .unwrap_or_else(|| panic!("docs/posix.md lacks E{number}"));
        let shown_by = line.rsplit(" | ").next().unwrap();
        let named: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty() || shown_by.starts_with("nothing"), "E{number} names no test");
        for test in named {
            assert!(
                tests.contains(&format!("#[test]\nfn {test}() {{")),
                "E{number} names {test}, which does not exist"
            );
        }
    }
}

fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
