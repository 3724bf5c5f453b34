//! What size costs: messages of 64 bytes to a mebibyte as fast as they go between two CPUs.

use super::flow::{Plan, one_by_one};
use super::{Contestant, Context, Outcome, contest};
use crate::ours::Ours;
use crate::report::{Metric, Table, Unit};
use crate::rivals::limits;
use crate::rivals::pipe::Pipe;
use crate::rivals::posix::PosixQueue;

const ABOUT: &str = "one sender to one receiver on the other CPU, every byte written and summed; blocking calls, one message a call\n\
    room for 64 messages (16 of 1 MiB); the kernel queue as deep as its limits allow, the pipe at 1 MiB for large messages";

pub fn measure(context: &Context<'_>) -> Outcome {
    context.need_two_cpus()?;
    let sizes = [("64 B", 64, 64), ("1 KiB", 1 << 10, 64), ("64 KiB", 64 << 10, 64), ("1 MiB", 1 << 20, 16)];
    let tables = sizes.into_iter().map(|(label, size, depth)| table(context, label, size, depth)).collect();
    Ok((ABOUT, tables, Vec::new()))
}

fn table(context: &Context<'_>, label: &str, size: usize, depth: usize) -> Table {
    let metrics = [Metric::new("messages", Unit::PerSecond), Metric::new("bytes", Unit::MegabytesPerSecond)];
    // About a gibibyte of large messages, or 400 000 small ones.
    let per_sender = context.amount((1u64 << 30) / size as u64).clamp(100, context.amount(400_000));
    let plan = move |depth| Plan { pairs: 1, per_sender, depth, size, places: context.pinned() };
    let kernel_depth = limits::depth_for(size).clamp(1, depth);
    let contestants = vec![
        Contestant::new("chappe", move || one_by_one::<Ours>(context, plan(depth))),
        Contestant::new(format!("kernel queue, depth {kernel_depth}"), move || {
            one_by_one::<PosixQueue>(context, plan(kernel_depth))
        }),
        Contestant::new("pipe", move || one_by_one::<Pipe>(context, plan(depth))),
    ];
    contest(context.rounds, format!("messages of {label}"), &metrics, contestants)
}
