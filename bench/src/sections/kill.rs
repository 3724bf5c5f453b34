//! Death at every instruction: the drop-in library, the kernel's queues, and queues as others make them, in one harness.

use super::{Context, Outcome};
use crate::kill::account::Sum;
use crate::kill::case::{CAPACITY, CASES, SIZE};
use crate::kill::lanes::{self, Amount, Cell};
use crate::kill::maker::{self, Contestant};
use crate::kill::{scene, step};
use crate::measure::stats::Spread;
use crate::measure::{Result, child};
use crate::report::{Goal, Metric, Row, Table, Unit};
use crate::rivals::shim;

const ABOUT: &str = "a process is single-stepped through one send or receive and killed after its k-th instruction, each time with a fresh queue; then\n\
    a survivor sends and receives with timed calls, empties the queue, fills it to its capacity and empties it again\n\
    figures are deaths after which something was wrong; a death in a system call is none of them: the kernel does all of it or nothing";

const METRICS: [Metric; 13] = [
    Metric::new("faulty", Unit::Count),
    Metric::new("deaths", Unit::Count),
    Metric::new("instructions", Unit::Count),
    Metric::new("hung", Unit::Count),
    Metric::new("for good", Unit::Count),
    Metric::new("refused", Unit::Count),
    Metric::new("crashed", Unit::Count),
    Metric::new("lost", Unit::Count),
    Metric::new("doubled", Unit::Count),
    Metric::new("torn", Unit::Count),
    Metric::new("disordered", Unit::Count),
    Metric::new("capacity", Unit::Count),
    Metric::new("slowest to go on", Unit::Nanoseconds),
];

const NOTES: [&str; 10] = [
    "hung: of a survivor's send and receive and of a call that was asleep, one was not served within 1 s, though it could have been",
    "for good: of these, it did not come back from its timed call either, within 2 s, and was killed",
    "refused: a call ended with an error. After a death that made it hang, or that refused, no account was made",
    "lost, doubled, torn, disordered: of messages; what the dead one was sending may be there or not, what it was receiving, too; \
     doubled is also one that had been received and comes again",
    "instructions: the longest of the ways that were measured; deaths are counted after each instruction of the shorter ones, too",
    "capacity: room for fewer messages than the queue was made for, or for more",
    "kernel queue: mq_timedsend, mq_timedreceive. chappe: the same calls of the drop-in library",
    "ring: head, tail and count (or two counters, one store of which commits), a process-shared mutex, pthread_mutex_timedlock, two \
     process-shared condition variables, pthread_cond_timedwait, signal under the lock",
    "robust: EOWNERDEAD is answered with pthread_mutex_consistent and a broadcast on both condition variables",
    "Boost: timed_send, timed_receive; 'lock time-out' is BOOST_INTERPROCESS_ENABLE_TIMEOUT_WHEN_LOCKING with 0.5 s, after which a lock \
     throws. Without it the lock of a timed call waits for ever",
];

pub fn measure(context: &Context<'_>) -> Outcome {
    if let Some(reason) = step::no_ptrace() {
        return Err(format!("this machine does not let a process trace its child: {reason}").into());
    }
    shim::set_variable(scene::DIRECTORY, context.dir)?;
    let contestants = maker::contestants(context.dir);
    let amount = Amount {
        every: number("CHAPPE_KILL_EVERY")?,
        points: if context.quick { 8 } else { 24 },
        lanes: number("CHAPPE_KILL_LANES")?.unwrap_or(16).clamp(1, 64),
    };
    let cells = lanes::run(&contestants, &amount, context.cpus)?;
    let mut tables = vec![whole(&contestants, &cells)];
    tables[0].notes.extend(versions(&contestants, context.cpus[0])?);
    for (index, case) in CASES.iter().enumerate() {
        let column = cells.iter().map(|row| row[index].clone()).collect();
        tables.push(table(case.title(), &contestants, column));
    }
    let ours = cells.first().map(|cells| total(cells)).and_then(Cell::ok);
    let goals = vec![Goal::at_most(
        "deaths in a call of the drop-in library after which anything is wrong, at most 0",
        0.0,
        ours.map(|sum| sum.faulty as f64),
    )];
    Ok((ABOUT, tables, goals))
}

/// What they are made of. In a process of its own, which loads them.
fn versions(contestants: &[Contestant], cpu: usize) -> Result<Vec<String>> {
    let built = |contestant: &Contestant| contestant.built.as_ref().ok().map(|built| (contestant.who, built.load()));
    child::alone(cpu, || {
        let loaded = contestants.iter().filter_map(built);
        loaded.map(|(who, shim)| Ok(format!("{who}: {}", shim?.version()))).collect()
    })
}

/// All cases together.
fn whole(contestants: &[Contestant], cells: &[Vec<Cell>]) -> Table {
    let title = format!("all cases: capacity {CAPACITY}, {SIZE} bytes");
    let mut table = table(title, contestants, cells.iter().map(|cells| total(cells)).collect());
    table.notes.extend(NOTES.map(str::to_owned));
    table
}

fn total(cells: &[Cell]) -> Cell {
    let mut sum = Sum::default();
    for cell in cells {
        sum.join(cell.as_ref().map_err(Clone::clone)?);
    }
    Ok(sum)
}

fn table(title: String, contestants: &[Contestant], column: Vec<Cell>) -> Table {
    let mut notes = Vec::new();
    let mut rows = Vec::new();
    for (contestant, cell) in contestants.iter().zip(column) {
        let who = contestant.who.to_owned();
        if let Some((first, last)) = cell.as_ref().ok().and_then(|sum| sum.between) {
            notes.push(format!("{who}: faulty after instruction {first} for the first time, {last} for the last"));
        }
        rows.push(match cell {
            Ok(sum) => Row { who, figures: figures(&sum), unavailable: None },
            Err(reason) => Row { who, figures: Vec::new(), unavailable: Some(reason) },
        });
    }
    Table { title, metrics: METRICS.to_vec(), rows, notes }
}

fn figures(sum: &Sum) -> Vec<Spread> {
    let counts = [
        sum.faulty,
        sum.kills,
        sum.instructions,
        sum.hung,
        sum.for_good,
        sum.refused,
        sum.crashed,
        sum.lost,
        sum.doubled,
        sum.torn,
        sum.disordered,
        sum.capacity,
    ];
    let slowest = sum.took.iter().max().copied();
    let all = counts.iter().map(|count| *count as f64).chain(slowest.map(|time| time as f64));
    all.filter_map(|figure| Spread::of(&[figure])).collect()
}

/// A number in an environment variable; one that cannot be read is an error, not a default.
fn number(variable: &str) -> Result<Option<usize>> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| format!("{variable} must be a whole number, not {text:?}").into())
}
