//! Small messages as fast as they go between two CPUs, one sender to one receiver and two to two.

use super::flow::{Plan, batched, one_by_one};
use super::{Contestant, Context, FREE, Outcome, contest, greatest, over};
use crate::ours::Ours;
use crate::report::{Goal, Metric, Table, Unit};
use crate::rivals::pipe::Pipe;
use crate::rivals::posix::PosixQueue;

const ABOUT: &str = "64 bytes, written and summed; senders on one CPU, receivers on the other, processes all; blocking calls\n\
    chappe at its default capacity of 1024; the kernel queue at its default depth of 10 and, where that may be raised, at 1024\n\
    goals are held pinned, against the faster of the two kernel queues";

pub fn measure(context: &Context<'_>) -> Outcome {
    context.need_two_cpus()?;
    let tables = vec![stream(context, 1), stream(context, 2)];
    let one = &tables[0];
    let kernel = greatest(&[one.figure("kernel queue, depth 10", 0), one.figure("kernel queue, depth 1024", 0)]);
    let singly = over(one.figure("chappe", 0), kernel);
    let batches = over(one.figure("chappe, 64 a call", 0), kernel);
    let goals = vec![
        Goal::at_least("stream 1→1 one by one, times the kernel queue, at least 4", 4.0, singly).aiming_at(10.0),
        Goal::at_least("stream 1→1 in batches, times the kernel queue, at least 15", 15.0, batches),
    ];
    Ok((ABOUT, tables, goals))
}

fn stream(context: &Context<'_>, pairs: u32) -> Table {
    let metrics = [Metric::new("messages", Unit::PerSecond)];
    let per_sender = context.amount(400_000) / u64::from(pairs);
    let plan = |depth| Plan { pairs, per_sender, depth, size: 64, places: context.pinned() };
    let free = |depth| Plan { places: FREE, ..plan(depth) };
    let contestants = vec![
        Contestant::new("chappe", move || one_by_one::<Ours>(context, plan(1024))),
        Contestant::new("kernel queue, depth 10", move || one_by_one::<PosixQueue>(context, plan(10))),
        Contestant::new("kernel queue, depth 1024", move || one_by_one::<PosixQueue>(context, plan(1024))),
        Contestant::new("pipe", move || one_by_one::<Pipe>(context, plan(1024))),
        Contestant::new("chappe, 64 a call", move || batched(context, plan(1024))),
        Contestant::new("chappe, not pinned", move || one_by_one::<Ours>(context, free(1024))),
        Contestant::new("kernel queue, depth 1024, not pinned", move || one_by_one::<PosixQueue>(context, free(1024))),
    ];
    contest(context.rounds, format!("stream {pairs}→{pairs}"), &metrics, contestants)
}
