//! What must stay flat: memory, mappings and descriptors of those who live as long as the run does, and what the queue and the
//! semaphore take. Samples of the last quarter of the run are compared with those of the second; the first is for warming up.
//!
//! Compared are the medians, since one sample depends on what is going on; and the allowance is generous, since nothing here is meant
//! to measure, but to find what grows with time.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// One quantity over time.
pub struct Series {
    name: String,
    unit: &'static str,
    /// By how much it may have grown.
    allowance: u64,
    samples: Vec<(Duration, u64)>,
}

impl Series {
    pub fn last(&self) -> u64 {
        self.samples.last().map_or(0, |(_, value)| *value)
    }

    fn median(&self, from: Duration, to: Duration) -> u64 {
        let inside = self.samples.iter().filter(|(at, _)| (from..to).contains(at));
        let mut values: Vec<u64> = inside.map(|(_, value)| *value).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or_else(|| panic!("{}: no samples in a quarter", self.name))
    }

    /// Prints what it was; whether it grew.
    fn judge(&self, length: Duration) -> bool {
        let quarter = |number: u32| self.median(length * (number - 1) / 4, length * number / 4);
        let (second, last) = (quarter(2), quarter(4));
        let most = self.samples.iter().map(|(_, value)| *value).max().unwrap_or(0);
        let grew = last > second + self.allowance;
        println!(
            "{:<44} {second:>9} {last:>9} {most:>9} {:>9} {}{}",
            self.name,
            self.allowance,
            self.unit,
            if grew { "   <- GREW" } else { "" }
        );
        grew
    }
}

/// All that is sampled.
#[derive(Default)]
pub struct Measures {
    series: Vec<Series>,
}

impl Measures {
    pub fn add(&mut self, at: Duration, name: &str, unit: &'static str, allowance: u64, value: u64) {
        let series = match self.series.iter_mut().find(|series| series.name == name) {
            Some(series) => series,
            None => {
                self.series.push(Series { name: name.to_owned(), unit, allowance, samples: Vec::new() });
                self.series.last_mut().expect("it was just put there")
            }
        };
        series.samples.push((at, value));
    }

    /// The four figures of a process: memory that is its own, mappings, descriptors (more of which are allowed), threads.
    pub fn add_process(&mut self, at: Duration, who: &str, pid: u32, shared: &[&Path], more: u64) {
        let (private, mappings) = memory(pid, shared);
        let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count() as u64;
        self.add(at, &format!("{who}: memory of its own"), "KiB", 4096, private);
        self.add(at, &format!("{who}: mappings"), "", 12, mappings);
        self.add(at, &format!("{who}: descriptors"), "", more, count("fd"));
        self.add(at, &format!("{who}: threads"), "", 2, count("task"));
    }

    pub fn last(&self, name: &str) -> u64 {
        self.series.iter().find(|series| series.name == name).map_or(0, Series::last)
    }

    /// Prints all series; the names of those that grew.
    pub fn judge(&self, length: Duration) -> Vec<&str> {
        println!("{:<44} {:>9} {:>9} {:>9} {:>9}", "flat?", "2nd qtr", "last qtr", "most", "allowance");
        self.series.iter().filter(|series| series.judge(length)).map(|series| series.name.as_str()).collect()
    }
}

/// Resident KiB of a process that are not of a file in these directories, and the number of its mappings.
fn memory(pid: u32, shared: &[&Path]) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut private, mut mappings, mut counts) = (0, 0, true);
    for line in text.lines() {
        if let Some(size) = line.strip_prefix("Rss:") {
            let kib: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
            private += if counts { kib } else { 0 };
        } else if line.split(' ').next().is_some_and(|range| range.contains('-') && !range.contains(':')) {
            mappings += 1;
            counts = !shared.iter().any(|dir| line.contains(dir.to_str().unwrap()));
        }
    }
    (private, mappings)
}

/// KiB that a file takes in memory.
pub fn taken(path: &Path) -> Option<u64> {
    Some(std::fs::metadata(path).ok()?.blocks() / 2)
}

/// A number in the header of an object's file (`docs/format.md`).
pub fn word(path: &Path, offset: u64) -> Option<u64> {
    let mut file = std::fs::File::open(path).ok()?;
    file.seek(SeekFrom::Start(offset)).ok()?;
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes).ok()?;
    Some(u32::from_le_bytes(bytes).into())
}
