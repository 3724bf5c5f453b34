//! One message at a time across two CPUs: the machinery behind `one_way` and `sleeping`. Ping-pong halves a round trip;
//! paced sends at fixed times, whatever became of the message before, and counts from the time a message was due, so that a
//! slow one cannot hide the wait of those behind it.

use super::{Context, Places};
use crate::channel::{Channel, Transport, Wait};
use crate::measure::child::{Child, join_all};
use crate::measure::shared::{Gate, Shared};
use crate::measure::stats::percentiles;
use crate::measure::{Result, clock, payload};
use std::hint::black_box;

const SIZE: usize = 64;

/// Allowed everywhere, and more than are ever on their way in ping-pong.
const DEPTH: usize = 10;

/// Half of a round trip, in which the clock is read once and each side writes and sums one payload: p50, p99, p99.9.
pub fn ping_pong<T: Transport>(context: &Context<'_>, places: Places, wait: Wait, turns: u64) -> Result<Vec<f64>> {
    let there = T::create(context.shape(DEPTH, SIZE))?;
    let back = T::create(context.shape(DEPTH, SIZE))?;
    let gate = Shared::<Gate>::new()?;
    let warm = turns / 10;
    let echo = Child::spawn(places[1], || {
        let (incoming, outgoing) = (there.attach(wait)?, back.attach(wait)?);
        gate.arrive(2)?;
        let mut buffer = [0u8; SIZE];
        for _ in 0..warm + turns {
            let taken = incoming.recv(&mut buffer)?;
            let number = black_box(payload::sum(&buffer[..taken.len]));
            payload::fill(&mut buffer, number);
            outgoing.send(&buffer, 0)?;
        }
        Ok(Vec::new())
    })?;
    let caller = Child::spawn(places[0], || {
        let (outgoing, incoming) = (there.attach(wait)?, back.attach(wait)?);
        gate.arrive(2)?;
        let mut buffer = [0u8; SIZE];
        let mut halves = Vec::with_capacity(usize::try_from(warm + turns)?);
        for number in 0..warm + turns {
            let start = clock::now();
            let written = payload::fill(&mut buffer, number);
            outgoing.send(&buffer, 0)?;
            let taken = incoming.recv(&mut buffer)?;
            black_box(payload::sum(&buffer[..taken.len]));
            halves.push((clock::now() - start) / 2);
            if payload::first(&buffer) != written {
                return Err("an answer to another message came".into());
            }
        }
        percentiles(&halves[usize::try_from(warm)?..])
    })?;
    first(join_all(vec![caller, echo])?)
}

/// From the time a message was due to the time it was received and read: p50, p99, p99.9. The sender is awake all
/// the time; `interval` decides whether the receiver is.
pub fn paced<T: Transport>(context: &Context<'_>, wait: Wait, interval: u64, count: u64) -> Result<Vec<f64>> {
    let channel = T::create(context.shape(DEPTH, SIZE))?;
    let gate = Shared::<Gate>::new()?;
    let warm = count / 10;
    let receiver = Child::spawn(Some(context.cpus[1]), || {
        let end = channel.attach(wait)?;
        gate.arrive(2)?;
        let mut buffer = [0u8; SIZE];
        let mut latencies = Vec::with_capacity(usize::try_from(warm + count)?);
        for _ in 0..warm + count {
            let taken = end.recv(&mut buffer)?;
            black_box(payload::sum(&buffer[..taken.len]));
            latencies.push(clock::now().saturating_sub(payload::first(&buffer)));
        }
        percentiles(&latencies[usize::try_from(warm)?..])
    })?;
    let sender = Child::spawn(Some(context.cpus[0]), || {
        let end = channel.attach(wait)?;
        gate.arrive(2)?;
        let mut buffer = [0u8; SIZE];
        let start = clock::now() + 1_000_000;
        for number in 0..warm + count {
            let due = start + number * interval;
            clock::spin_until(due);
            payload::fill(&mut buffer, due);
            end.send(&buffer, 0)?;
        }
        Ok(Vec::new())
    })?;
    first(join_all(vec![receiver, sender])?)
}

/// The figures come from the child that was named first.
fn first(found: Vec<Vec<f64>>) -> Result<Vec<f64>> {
    found.into_iter().next().ok_or_else(|| "no figures came".into())
}
