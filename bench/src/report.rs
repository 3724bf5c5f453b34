//! What was found, for people and as JSON: tables of rows, and the goals with met or NOT met. Nothing is measured here.

use crate::environment::Environment;
use crate::measure::Result;
use crate::measure::stats::Spread;
use comfy_table::{CellAlignment, ContentArrangement, presets};
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Nanoseconds,
    PerSecond,
    WakeUpsPerSecond,
    MegabytesPerSecond,
    Bytes,
    Microseconds,
    Percent,
    Count,
}

impl Unit {
    fn higher_is_better(self) -> bool {
        matches!(self, Unit::PerSecond | Unit::MegabytesPerSecond | Unit::Percent)
    }

    /// Three significant digits, with the unit that keeps them short.
    fn show(self, value: f64) -> String {
        match self {
            Unit::Nanoseconds if value >= 1e6 => format!("{} ms", digits(value / 1e6)),
            Unit::Nanoseconds if value >= 1e4 => format!("{} µs", digits(value / 1e3)),
            Unit::Nanoseconds => format!("{} ns", digits(value)),
            Unit::Microseconds => format!("{} µs", digits(value)),
            Unit::PerSecond if value >= 1e6 => format!("{} M/s", digits(value / 1e6)),
            Unit::PerSecond if value >= 1e3 => format!("{} k/s", digits(value / 1e3)),
            Unit::PerSecond | Unit::WakeUpsPerSecond => format!("{} /s", digits(value)),
            Unit::MegabytesPerSecond => format!("{} MB/s", digits(value)),
            Unit::Bytes if value >= 1024.0 => format!("{} KiB", digits(value / 1024.0)),
            Unit::Bytes => format!("{} B", digits(value)),
            Unit::Percent => format!("{} %", digits(value)),
            Unit::Count => format!("{value:.0}"),
        }
    }
}

/// Three significant digits.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A column: what was measured. The first one of a table is the one that is compared.
#[derive(Clone, Copy, Serialize)]
pub struct Metric {
    pub label: &'static str,
    pub unit: Unit,
}

impl Metric {
    pub const fn new(label: &'static str, unit: Unit) -> Metric {
        Metric { label, unit }
    }
}

/// Who was measured, and what came out; or why nothing did.
#[derive(Serialize)]
pub struct Row {
    pub who: String,
    /// One a metric; fewer where a metric does not apply.
    pub figures: Vec<Spread>,
    pub unavailable: Option<String>,
}

/// Contestants measured in turn, round by round. Each is compared with the first row.
#[derive(Serialize)]
pub struct Table {
    pub title: String,
    pub metrics: Vec<Metric>,
    pub rows: Vec<Row>,
    /// What no figure says.
    pub notes: Vec<String>,
}

impl Table {
    /// The median of a row's metric; `None` if it could not be measured.
    pub fn figure(&self, who: &str, metric: usize) -> Option<f64> {
        self.rows.iter().find(|row| row.who == who)?.figures.get(metric).map(|spread| spread.median)
    }

    /// How many times better the first row is than `row`, by the first metric; `None` where one of them is nothing.
    fn ratio(&self, row: &Row) -> Option<f64> {
        let (ours, theirs) = (self.rows.first()?.figures.first()?.median, row.figures.first()?.median);
        let ratio = if self.metrics[0].unit.higher_is_better() { ours / theirs } else { theirs / ours };
        (ours > 0.0 && theirs > 0.0).then_some(ratio)
    }

    /// Faults are figures that nobody is so many times better in.
    fn is_compared(&self) -> bool {
        self.metrics.first().is_none_or(|metric| metric.unit != Unit::Count)
    }

    fn show(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
        let labels = self.metrics.iter().map(|metric| metric.label.to_owned());
        let against = format!("{} is better", self.rows.first().map_or("", |row| row.who.as_str()));
        let against = self.is_compared().then_some(against);
        table.set_header(std::iter::once(self.title.clone()).chain(labels).chain(against));
        for (index, row) in self.rows.iter().enumerate() {
            table.add_row(self.cells(index, row));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }

    fn cells(&self, index: usize, row: &Row) -> Vec<String> {
        let figure = |place: usize| match row.figures.get(place) {
            Some(spread) => show_spread(self.metrics[place].unit, spread),
            None => "-".to_owned(),
        };
        let mut cells = vec![row.who.clone()];
        cells.extend((0..self.metrics.len()).map(figure));
        if self.is_compared() {
            cells.push(match self.ratio(row) {
                Some(ratio) if index > 0 => format!("{}×", digits(ratio)),
                _ => String::new(),
            });
        }
        cells
    }

    fn reasons(&self) -> impl Iterator<Item = String> {
        let reason = |row: &Row| row.unavailable.as_ref().map(|reason| format!("{}: {reason}", row.who));
        self.rows.iter().filter_map(reason)
    }
}

fn show_spread(unit: Unit, spread: &Spread) -> String {
    if spread.rounds == 1 {
        return unit.show(spread.median);
    }
    format!("{} ({} – {})", unit.show(spread.median), unit.show(spread.min), unit.show(spread.max))
}

/// Whether a goal is reached by this run's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Met,
    NotMet,
    NotJudged,
}

/// Something the project set out to reach.
#[derive(Serialize)]
pub struct Goal {
    pub text: String,
    pub found: Option<f64>,
    pub verdict: Verdict,
    /// What more was hoped for, and whether it was reached.
    pub aim: Option<(f64, bool)>,
    /// Less is better: the bound is from above.
    at_most: bool,
}

impl Goal {
    /// `found` must reach `bound`.
    pub fn at_least(text: impl Into<String>, bound: f64, found: Option<f64>) -> Goal {
        Goal::new(text.into(), found, found.map(|found| found >= bound), false)
    }

    /// `found` must not exceed `bound`.
    pub fn at_most(text: impl Into<String>, bound: f64, found: Option<f64>) -> Goal {
        Goal::new(text.into(), found, found.map(|found| found <= bound), true)
    }

    fn new(text: String, found: Option<f64>, met: Option<bool>, at_most: bool) -> Goal {
        let verdict = match met {
            Some(true) => Verdict::Met,
            Some(false) => Verdict::NotMet,
            None => Verdict::NotJudged,
        };
        Goal { text, found, verdict, aim: None, at_most }
    }

    pub fn aiming_at(mut self, aim: f64) -> Goal {
        self.aim = self.found.map(|found| (aim, if self.at_most { found <= aim } else { found >= aim }));
        self
    }

    fn show(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Met => "met     ",
            Verdict::NotMet => "NOT met ",
            Verdict::NotJudged => "no figure",
        };
        let found = self.found.map_or(String::new(), |found| format!(": {}", digits(found)));
        let aim = match self.aim {
            Some((aim, true)) => format!(" (aim {}: reached)", digits(aim)),
            Some((aim, false)) => format!(" (aim {}: not reached)", digits(aim)),
            None => String::new(),
        };
        format!("  {verdict} {}{found}{aim}", self.text)
    }
}

/// One subject: its tables, and the goals they decide.
#[derive(Serialize)]
pub struct Section {
    pub name: String,
    pub about: String,
    pub tables: Vec<Table>,
    pub goals: Vec<Goal>,
}

impl Section {
    pub fn show(&self) -> String {
        let mut text = format!("\n## {}\n{}\n", self.name, self.about);
        for table in &self.tables {
            text += &format!("\n{}\n", table.show());
            table.reasons().chain(table.notes.iter().cloned()).for_each(|line| text += &format!("  {line}\n"));
        }
        for goal in &self.goals {
            text += &format!("\n{}", goal.show());
        }
        text
    }
}

/// Everything of one run.
#[derive(Serialize)]
pub struct Report {
    pub environment: Environment,
    pub sections: Vec<Section>,
}

impl Report {
    pub fn show_goals(&self) -> String {
        let goals = self.sections.iter().flat_map(|section| &section.goals);
        goals.fold("\n## Goals\n".to_owned(), |text, goal| text + &goal.show() + "\n")
    }

    pub fn write_json(&self, mut file: File) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        Ok(file.write_all((text + "\n").as_bytes())?)
    }
}

/// The file that the report will be written to.
pub fn create(path: &Path) -> Result<File> {
    File::create(path).map_err(|error| format!("cannot create {}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_by_their_bound() {
        assert_eq!(Goal::at_least("a", 8.0, Some(8.0)).verdict, Verdict::Met);
        assert_eq!(Goal::at_least("a", 8.0, Some(7.99)).verdict, Verdict::NotMet);
        assert_eq!(Goal::at_most("a", 2.0, Some(2.1)).verdict, Verdict::NotMet);
        assert_eq!(Goal::at_most("a", 2.0, None).verdict, Verdict::NotJudged);
        assert_eq!(Goal::at_most("a", 9.0, Some(2.0)).aiming_at(3.0).aim, Some((3.0, true)));
        assert_eq!(Goal::at_least("a", 8.0, Some(9.0)).aiming_at(12.0).aim, Some((12.0, false)));
    }

    #[test]
    fn ratios_say_how_much_better_the_first_row_is() {
        let row = |who: &str, figure| Row {
            who: who.to_owned(),
            figures: Spread::of(&[figure]).into_iter().collect(),
            unavailable: None,
        };
        let table = |unit| Table {
            title: String::new(),
            metrics: vec![Metric::new("figure", unit)],
            rows: vec![row("ours", 10.0), row("theirs", 50.0)],
            notes: Vec::new(),
        };
        let ratio = |unit| table(unit).ratio(&table(unit).rows[1]).unwrap();
        assert_eq!(ratio(Unit::Nanoseconds), 5.0);
        assert_eq!(ratio(Unit::PerSecond), 0.2);
    }
}
