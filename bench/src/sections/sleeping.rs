//! How long a message takes to a receiver that is asleep in its call, beside the time a bare futex takes.

use super::exchange::paced;
use super::one_way::LATENCY;
use super::{Contestant, Context, Outcome, contest};
use crate::channel::Wait::Blocking;
use crate::floor::Slot;
use crate::ours::Ours;
use crate::rivals::pipe::Pipe;
use crate::rivals::posix::PosixQueue;

/// Longer than any spinning before sleep.
const INTERVAL: u64 = 300_000;

const ABOUT: &str = "64 bytes, one message every 300 µs: the receiver, on the other CPU, has gone to sleep by then; from when it was due";

pub fn measure(context: &Context<'_>) -> Outcome {
    context.need_two_cpus()?;
    let count = context.amount(2_000);
    let contestants = vec![
        Contestant::new("chappe", move || paced::<Ours>(context, Blocking, INTERVAL, count)),
        Contestant::new("kernel queue", move || paced::<PosixQueue>(context, Blocking, INTERVAL, count)),
        Contestant::new("pipe", move || paced::<Pipe>(context, Blocking, INTERVAL, count)),
        Contestant::new("(a bare futex)", move || paced::<Slot>(context, Blocking, INTERVAL, count)),
    ];
    let table = contest(context.rounds, "to a sleeping receiver", &LATENCY, contestants);
    Ok((ABOUT, vec![table], Vec::new()))
}
