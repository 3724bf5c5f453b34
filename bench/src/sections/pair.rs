//! One thread sends a message and receives it again: the cost of the calls alone, nothing contended, nothing in flight.

use super::{Contestant, Context, Outcome, contest, over};
use crate::channel::{Channel, Transport, Wait};
use crate::measure::child::alone;
use crate::measure::{Result, clock, payload};
use crate::ours::{OurEnd, Ours};
use crate::report::{Goal, Metric, Unit};
use crate::rivals::pipe::Pipe;
use crate::rivals::posix::PosixQueue;
use std::hint::black_box;

const SIZE: usize = 64;
const BATCH: usize = 64;
const ABOUT: &str =
    "one thread sends and receives 64 bytes, written and summed: nanoseconds a message, both calls together";

pub fn measure(context: &Context<'_>) -> Outcome {
    let metrics = [Metric::new("send + recv", Unit::Nanoseconds)];
    let contestants = vec![
        Contestant::new("chappe", || pairs::<Ours>(context)),
        Contestant::new("kernel queue", || pairs::<PosixQueue>(context)),
        Contestant::new("pipe", || pairs::<Pipe>(context)),
        Contestant::new("chappe, 64 a call", || batches(context)),
        Contestant::new("(the payload alone)", || payload_alone(context)),
    ];
    let table = contest(context.rounds, "same thread, 64 B", &metrics, contestants);
    let ratio = over(table.figure("kernel queue", 0), table.figure("chappe", 0));
    let text = "same-thread pair, times faster than the kernel queue, at least 8";
    let goal = Goal::at_least(text, 8.0, ratio).aiming_at(12.0);
    Ok((ABOUT, vec![table], vec![goal]))
}

fn pairs<T: Transport>(context: &Context<'_>) -> Result<Vec<f64>> {
    // A depth of 8 is allowed everywhere; one message is in the queue at a time.
    let transport = T::create(context.shape(8, SIZE))?;
    alone(context.cpus[0], || {
        let end = transport.attach(Wait::Blocking)?;
        let mut buffer = [0u8; SIZE];
        timed(context.amount(200_000), |number| {
            let written = payload::fill(&mut buffer, number);
            end.send(black_box(&buffer), 0)?;
            let taken = end.recv(&mut buffer)?;
            check(written == payload::sum(&buffer[..taken.len]))
        })
    })
}

/// The same with the batch forms. The queue is deep enough for a batch.
fn batches(context: &Context<'_>) -> Result<Vec<f64>> {
    let transport = Ours::create(context.shape(BATCH, SIZE))?;
    alone(context.cpus[0], || {
        let OurEnd { queue, .. } = transport.attach(Wait::Blocking)?;
        let mut messages = [([0u8; SIZE], 0u16); BATCH];
        let mut batch = chappe::Batch::new();
        let found = timed(context.amount(400_000) / BATCH as u64, |number| {
            let fill =
                |sum: u64, (message, _): &mut ([u8; SIZE], u16)| sum.wrapping_add(payload::fill(message, number));
            let written = messages.iter_mut().fold(0, fill);
            queue.send_many(&messages)?;
            let count = queue.recv_many(&mut batch, BATCH)?;
            let read = batch.iter().fold(0u64, |sum, (message, _)| sum.wrapping_add(payload::sum(message)));
            check(count == BATCH && written == read)
        })?;
        Ok(found.into_iter().map(|nanos| nanos / BATCH as f64).collect())
    })
}

/// What writing and summing costs without any queue; it is part of every figure above.
fn payload_alone(context: &Context<'_>) -> Result<Vec<f64>> {
    alone(context.cpus[0], || {
        let mut buffer = [0u8; SIZE];
        timed(context.amount(2_000_000), |number| {
            let written = payload::fill(&mut buffer, number);
            check(written == payload::sum(black_box(&buffer)))
        })
    })
}

fn check(whole: bool) -> Result<()> {
    if whole { Ok(()) } else { Err("a message came back changed".into()) }
}

/// Nanoseconds a step, after a tenth as many steps to warm up.
pub fn timed(steps: u64, mut step: impl FnMut(u64) -> Result<()>) -> Result<Vec<f64>> {
    (0..steps / 10).try_for_each(&mut step)?;
    let start = clock::now();
    (0..steps).try_for_each(&mut step)?;
    Ok(vec![(clock::now() - start) as f64 / steps as f64])
}
