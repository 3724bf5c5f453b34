//! Sender and receiver on the same CPU: whoever spins there waits for a process that cannot run.

use super::flow::{Plan, batched, one_by_one};
use super::{Contestant, Context, Outcome, contest, greatest, over};
use crate::ours::Ours;
use crate::report::{Goal, Metric, Unit};
use crate::rivals::pipe::Pipe;
use crate::rivals::posix::PosixQueue;

const ABOUT: &str = "64 bytes, written and summed, from one process to another, both pinned to the same CPU; blocking calls\n\
    depths as in stream; the goal is held against the faster of the two kernel queues";

pub fn measure(context: &Context<'_>) -> Outcome {
    let metrics = [Metric::new("messages", Unit::PerSecond)];
    let (per_sender, places) = (context.amount(400_000), [Some(context.cpus[0]); 2]);
    let plan = move |depth| Plan { pairs: 1, per_sender, depth, size: 64, places };
    let contestants = vec![
        Contestant::new("chappe", move || one_by_one::<Ours>(context, plan(1024))),
        Contestant::new("kernel queue, depth 10", move || one_by_one::<PosixQueue>(context, plan(10))),
        Contestant::new("kernel queue, depth 1024", move || one_by_one::<PosixQueue>(context, plan(1024))),
        Contestant::new("pipe", move || one_by_one::<Pipe>(context, plan(1024))),
        Contestant::new("chappe, depth 10", move || one_by_one::<Ours>(context, plan(10))),
        Contestant::new("chappe, 64 a call", move || batched(context, plan(1024))),
    ];
    let table = contest(context.rounds, "stream 1→1 on one CPU", &metrics, contestants);
    let kernel = greatest(&[table.figure("kernel queue, depth 10", 0), table.figure("kernel queue, depth 1024", 0)]);
    let goal =
        Goal::at_least("one CPU, times the kernel queue, at least 1", 1.0, over(table.figure("chappe", 0), kernel));
    Ok((ABOUT, vec![table], vec![goal]))
}
