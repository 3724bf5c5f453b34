//! The sections of the report, one file each, and what they share: the context of the run, and the contest that measures
//! its contestants in turn so that a disturbance hits them all.

mod depth;
mod exchange;
mod flow;
mod idle;
mod kill;
mod memory;
mod one_cpu;
mod one_way;
mod pair;
mod preload;
mod sem_contended;
mod sem_hand_off;
mod sem_idle;
mod sem_order;
mod sem_pair;
mod sem_return;
mod sem_run;
mod sem_set_up;
mod set_up;
mod size;
mod sleeping;
mod stream;

use crate::channel::Shape;
use crate::measure::Result;
use crate::measure::stats::{Spread, extremes};
use crate::report::{Metric, Row, Section, Table, Unit};
use clap::ValueEnum;
use std::fmt;
use std::path::Path;

/// Where sender and receiver run: bound to these CPUs, or wherever the system puts them.
type Places = [Option<usize>; 2];

/// Bound to no CPU.
const FREE: Places = [None, None];

/// What holds for the whole run.
pub struct Context<'a> {
    /// A directory in shared memory for the queues.
    pub dir: &'a Path,
    /// Senders run on the first, receivers on the second.
    pub cpus: [usize; 2],
    pub rounds: usize,
    pub quick: bool,
}

impl<'a> Context<'a> {
    /// `full`, or a tenth of it in a quick run.
    pub fn amount(&self, full: u64) -> u64 {
        if self.quick { full / 10 } else { full }
    }

    /// The sender on one CPU, the receiver on the other.
    fn pinned(&self) -> Places {
        self.cpus.map(Some)
    }

    pub fn shape(&self, depth: usize, size: usize) -> Shape<'a> {
        Shape { depth, size, dir: self.dir }
    }

    /// # Errors
    /// If there is one CPU only: what the section says needs two.
    pub fn need_two_cpus(&self) -> Result<()> {
        if self.cpus[0] == self.cpus[1] { Err("this needs two CPUs, and there is one".into()) } else { Ok(()) }
    }
}

/// The sections, in the order they are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    Pair,
    Stream,
    OneWay,
    Sleeping,
    Depth,
    Size,
    OneCpu,
    Idle,
    Memory,
    SetUp,
    Preload,
    Kill,
    SemPair,
    SemContended,
    SemHandOff,
    SemReturn,
    SemIdle,
    SemRun,
    SemOrder,
    SemSetUp,
}

impl Name {
    pub fn all() -> Vec<Name> {
        Name::value_variants().to_vec()
    }

    pub fn run(self, context: &Context<'_>) -> Result<Section> {
        let measure = match self {
            Name::Pair => pair::measure,
            Name::Stream => stream::measure,
            Name::OneWay => one_way::measure,
            Name::Sleeping => sleeping::measure,
            Name::Depth => depth::measure,
            Name::Size => size::measure,
            Name::OneCpu => one_cpu::measure,
            Name::Idle => idle::measure,
            Name::Memory => memory::measure,
            Name::SetUp => set_up::measure,
            Name::Preload => preload::measure,
            Name::Kill => kill::measure,
            Name::SemPair => sem_pair::measure,
            Name::SemContended => sem_contended::measure,
            Name::SemHandOff => sem_hand_off::measure,
            Name::SemReturn => sem_return::measure,
            Name::SemIdle => sem_idle::measure,
            Name::SemRun => sem_run::measure,
            Name::SemOrder => sem_order::measure,
            Name::SemSetUp => sem_set_up::measure,
        };
        let (about, tables, goals) = measure(context)?;
        Ok(Section { name: self.to_string(), about: about.to_owned(), tables, goals })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// What a section's file gives: what it is about, its tables, its goals.
type Outcome = Result<(&'static str, Vec<Table>, Vec<crate::report::Goal>)>;

/// One who takes part: a name, and what gives the figures of one round, one a metric.
struct Contestant<'a> {
    who: String,
    round: Box<dyn Fn() -> Result<Vec<f64>> + 'a>,
}

impl<'a> Contestant<'a> {
    fn new(who: impl Into<String>, round: impl Fn() -> Result<Vec<f64>> + 'a) -> Contestant<'a> {
        Contestant { who: who.into(), round: Box::new(round) }
    }
}

/// Who took part, and what each round gave; or why one is out.
type Turns = Vec<(String, Result<Vec<Vec<f64>>, String>)>;

/// Lets each contestant have its turn, `rounds` times over. One that fails is out.
fn take_turns(rounds: usize, contestants: Vec<Contestant<'_>>) -> Turns {
    let mut found: Vec<Result<Vec<Vec<f64>>, String>> = contestants.iter().map(|_| Ok(Vec::new())).collect();
    for _ in 0..rounds {
        for (contestant, so_far) in contestants.iter().zip(&mut found) {
            let Ok(rounds) = so_far else { continue };
            match (contestant.round)() {
                Ok(figures) => rounds.push(figures),
                Err(error) => *so_far = Err(error.to_string()),
            }
        }
    }
    contestants.into_iter().map(|contestant| contestant.who).zip(found).collect()
}

/// A contest whose rounds give one figure a metric.
fn contest(rounds: usize, title: impl Into<String>, metrics: &[Metric], contestants: Vec<Contestant<'_>>) -> Table {
    let turns = take_turns(rounds, contestants);
    let rows = turns.into_iter().map(|(who, found)| row(who, found)).collect();
    Table { title: title.into(), metrics: metrics.to_vec(), rows, notes: Vec::new() }
}

/// A contest whose rounds give single latencies in nanoseconds, which are judged all together: p50, p99, greatest.
fn pooled(rounds: usize, title: impl Into<String>, contestants: Vec<Contestant<'_>>) -> Table {
    let metrics = ["p50", "p99", "greatest"].map(|label| Metric::new(label, Unit::Nanoseconds));
    let all = |found: Vec<Vec<f64>>| extremes(&found.concat()).map(|figures| vec![figures]).map_err(|e| e.to_string());
    let turns = take_turns(rounds, contestants);
    let rows = turns.into_iter().map(|(who, found)| row(who, found.and_then(all))).collect();
    Table { title: title.into(), metrics: metrics.to_vec(), rows, notes: Vec::new() }
}

/// The rounds' figures, metric by metric.
fn row(who: String, found: Result<Vec<Vec<f64>>, String>) -> Row {
    match found {
        Err(reason) => Row { who, figures: Vec::new(), unavailable: Some(reason) },
        Ok(rounds) => {
            let width = rounds.iter().map(Vec::len).min().unwrap_or(0);
            let column = |place| rounds.iter().map(|round| round[place]).collect::<Vec<f64>>();
            Row { who, figures: (0..width).filter_map(|place| Spread::of(&column(place))).collect(), unavailable: None }
        }
    }
}

/// The greatest of those that were measured: a goal is held against the faster of two rivals.
fn greatest(figures: &[Option<f64>]) -> Option<f64> {
    figures.iter().flatten().copied().reduce(f64::max)
}

/// `above / below`, if both were measured.
fn over(above: Option<f64>, below: Option<f64>) -> Option<f64> {
    Some(above? / below?)
}
