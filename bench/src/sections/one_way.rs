//! How long a message takes to a receiver that is awake, beside the time a single cache line takes.

use super::exchange::{paced, ping_pong};
use super::{Contestant, Context, FREE, Outcome, contest, over};
use crate::channel::Wait::{Blocking, Polling};
use crate::floor::{Slot, line_transfer};
use crate::ours::Ours;
use crate::report::{Goal, Metric, Table, Unit};
use crate::rivals::pipe::Pipe;
use crate::rivals::posix::PosixQueue;

const ABOUT: &str = "64 bytes, written and summed, from a process on one CPU to one on the other\n\
    blocking: the plain call (chappe may spin a little before it sleeps, the kernel sleeps at once); polling: asked again and again\n\
    not pinned: the processes may run on any CPU, which both a scheduler and a library that looks at its CPUs may use\n\
    the goal against the kernel queue is held by the plain calls of both; the polling rows show what is left of it otherwise";

pub const LATENCY: [Metric; 3] = [
    Metric::new("p50", Unit::Nanoseconds),
    Metric::new("p99", Unit::Nanoseconds),
    Metric::new("p99.9", Unit::Nanoseconds),
];

pub fn measure(context: &Context<'_>) -> Outcome {
    context.need_two_cpus()?;
    let halves = half_trips(context);
    let p50 = |who| halves.figure(who, 0);
    let ratio = over(p50("kernel queue, blocking"), p50("chappe, blocking"));
    let polled = over(p50("kernel queue, polling"), p50("chappe, polling"));
    let lines = over(p50("chappe, blocking"), p50("(one cache line)"));
    let show = |figure: Option<f64>| figure.map_or("unknown".to_owned(), |figure| format!("{figure:.1}"));
    let text = format!(
        "one way p50, times faster than the kernel queue, at least 10 (both polling: {}; in cache lines: {})",
        show(polled),
        show(lines)
    );
    let goals = vec![
        Goal::at_least(text, 10.0, ratio),
        Goal::at_most("one way p50 in cache-line transfers, under 3 (an aim)", 3.0, lines),
    ];
    Ok((ABOUT, vec![halves, paced_table(context)], goals))
}

fn half_trips(context: &Context<'_>) -> Table {
    let pinned = context.pinned();
    let (fast, slow) = (context.amount(200_000), context.amount(20_000));
    let blocks = usize::try_from(context.amount(4_000)).unwrap_or(400);
    let contestants = vec![
        Contestant::new("chappe, blocking", move || ping_pong::<Ours>(context, pinned, Blocking, fast)),
        Contestant::new("kernel queue, blocking", move || ping_pong::<PosixQueue>(context, pinned, Blocking, slow)),
        Contestant::new("pipe, blocking", move || ping_pong::<Pipe>(context, pinned, Blocking, slow)),
        Contestant::new("chappe, polling", move || ping_pong::<Ours>(context, pinned, Polling, fast)),
        Contestant::new("kernel queue, polling", move || ping_pong::<PosixQueue>(context, pinned, Polling, fast)),
        Contestant::new("pipe, polling", move || ping_pong::<Pipe>(context, pinned, Polling, fast)),
        Contestant::new("chappe, blocking, not pinned", move || ping_pong::<Ours>(context, FREE, Blocking, fast)),
        Contestant::new("kernel queue, blocking, not pinned", move || {
            ping_pong::<PosixQueue>(context, FREE, Blocking, slow)
        }),
        Contestant::new("(64 bytes and a flag)", move || ping_pong::<Slot>(context, pinned, Polling, fast)),
        Contestant::new("(one cache line)", move || line_transfer(context.cpus, blocks)),
    ];
    contest(context.rounds, "half of a round trip", &LATENCY, contestants)
}

/// Every 10 µs one message: more than any rival's time, so that none queue up. The kernel's blocking receiver sleeps in
/// between, which is `sleeping`'s subject, so all poll here.
fn paced_table(context: &Context<'_>) -> Table {
    let (interval, count) = (10_000, context.amount(40_000));
    let contestants = vec![
        Contestant::new("chappe, polling", move || paced::<Ours>(context, Polling, interval, count)),
        Contestant::new("kernel queue, polling", move || paced::<PosixQueue>(context, Polling, interval, count)),
        Contestant::new("pipe, polling", move || paced::<Pipe>(context, Polling, interval, count)),
        Contestant::new("kernel queue, blocking", move || paced::<PosixQueue>(context, Blocking, interval, count)),
        Contestant::new("chappe, blocking", move || paced::<Ours>(context, Blocking, interval, count)),
    ];
    contest(context.rounds, "one every 10 µs, from when it was due", &LATENCY, contestants)
}
