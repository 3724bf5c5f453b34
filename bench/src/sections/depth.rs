//! What depth costs: a queue is filled with messages of scattered priorities and drained in order, by one thread.

use super::{Contestant, Context, Outcome, contest, over};
use crate::channel::{Channel, Transport, Wait};
use crate::measure::child::alone;
use crate::measure::payload::{self, Scattered};
use crate::measure::{Result, clock};
use crate::ours::Ours;
use crate::report::{Goal, Metric, Table, Unit};
use crate::rivals::posix::PosixQueue;

const SIZE: usize = 64;
const ABOUT: &str = "one thread fills the queue with 64-byte messages of scattered priorities, then drains it, checking the order:\n\
    nanoseconds a message, send and recv together; the first fill also takes the memory (pipes have no priorities)";

pub fn measure(context: &Context<'_>) -> Outcome {
    let tables: Vec<Table> = [16, 1024, 65536].into_iter().map(|depth| table(context, depth)).collect();
    let growth = over(tables[2].figure("chappe", 0), tables[0].figure("chappe", 0));
    let goal = Goal::at_most("cost at depth 65536, times that at depth 16, at most 3", 3.0, growth);
    Ok((ABOUT, tables, vec![goal]))
}

fn table(context: &Context<'_>, depth: usize) -> Table {
    let metrics = [Metric::new("warm", Unit::Nanoseconds), Metric::new("first fill and drain", Unit::Nanoseconds)];
    let contestants = vec![
        Contestant::new("chappe", move || fill_and_drain::<Ours>(context, depth)),
        Contestant::new("kernel queue", move || fill_and_drain::<PosixQueue>(context, depth)),
    ];
    contest(context.rounds, format!("depth {depth}"), &metrics, contestants)
}

fn fill_and_drain<T: Transport>(context: &Context<'_>, depth: usize) -> Result<Vec<f64>> {
    let transport = T::create(context.shape(depth, SIZE))?;
    let cycles = (context.amount(262_144) / depth as u64).max(1);
    alone(context.cpus[0], || {
        let end = transport.attach(Wait::Blocking)?;
        let mut priorities = Scattered::new();
        let mut timed = |cycles: u64| -> Result<f64> {
            let start = clock::now();
            (0..cycles).try_for_each(|_| cycle(&end, depth, &mut priorities))?;
            Ok((clock::now() - start) as f64 / (cycles * depth as u64) as f64)
        };
        let first = timed(1)?;
        Ok(vec![timed(cycles)?, first])
    })
}

fn cycle(end: &impl Channel, depth: usize, priorities: &mut Scattered) -> Result<()> {
    let mut buffer = [0u8; SIZE];
    let (mut sent, mut received) = (0u64, 0u64);
    for number in 0..depth as u64 {
        sent = sent.wrapping_add(payload::fill(&mut buffer, number));
        end.send(&buffer, priorities.next())?;
    }
    let mut before = u16::MAX;
    for _ in 0..depth {
        let taken = end.recv(&mut buffer)?;
        received = received.wrapping_add(payload::sum(&buffer[..taken.len]));
        if taken.priority > before {
            return Err("a message came out before one of higher priority".into());
        }
        before = taken.priority;
    }
    if sent == received { Ok(()) } else { Err("the queue gave other messages than it was given".into()) }
}
