//! Messages as fast as they go, from senders to receivers: the machinery behind `stream`, `size` and `one_cpu`. Every
//! message is counted and summed at both ends; a run in which the two differ is an error, not a figure.

use super::{Context, Places};
use crate::channel::{Channel, Transport, Wait};
use crate::measure::child::{Child, join_all};
use crate::measure::shared::{Gate, Shared};
use crate::measure::{Result, clock, payload};
use crate::ours::{OurEnd, Ours};
use serde::{Deserialize, Serialize};

pub const BATCH: usize = 64;

/// Who sends how much to whom, where.
#[derive(Clone, Copy)]
pub struct Plan {
    /// As many senders as receivers.
    pub pairs: u32,
    pub per_sender: u64,
    pub depth: usize,
    pub size: usize,
    pub places: Places,
}

impl Plan {
    fn processes(&self) -> u32 {
        2 * self.pairs
    }

    fn total(&self) -> u64 {
        u64::from(self.pairs) * self.per_sender
    }
}

/// What one process saw. `start` to `end` is when the receiver took `timed` messages.
#[derive(Default, Serialize, Deserialize)]
struct Tally {
    sent: u64,
    sent_sum: u64,
    received: u64,
    received_sum: u64,
    timed: u64,
    start: u64,
    end: u64,
}

/// A receiver's account. The first messages are not timed: memory is touched, caches fill, the others start.
pub struct Meter {
    tally: Tally,
    warm: u64,
    every: u64,
}

impl Meter {
    fn new(plan: &Plan) -> Meter {
        // Small messages come in nanoseconds: the clock is read at every 64th only.
        let every = if plan.size > 4096 { 1 } else { 64 };
        Meter { tally: Tally::default(), warm: plan.per_sender / 10, every }
    }

    /// Counts a message; `false` if it is the last one for this receiver.
    #[inline]
    fn take(&mut self, message: &[u8]) -> bool {
        if payload::first(message) == payload::STOP {
            return false;
        }
        let tally = &mut self.tally;
        tally.received += 1;
        tally.received_sum = tally.received_sum.wrapping_add(payload::sum(message));
        if tally.received == self.warm {
            tally.start = clock::now();
        } else if tally.received > self.warm && (tally.received - self.warm).is_multiple_of(self.every) {
            (tally.end, tally.timed) = (clock::now(), tally.received - self.warm);
        }
        true
    }
}

/// How a sender sends: messages numbered from the first number on, so many, of this size; the sum of all comes back.
type Send<E> = fn(&E, u64, u64, usize) -> Result<u64>;
/// How a receiver receives until it is told to stop.
type Receive<E> = fn(&E, &mut Meter, usize) -> Result<()>;

/// One message a call: messages and megabytes a second.
pub fn one_by_one<T: Transport>(context: &Context<'_>, plan: Plan) -> Result<Vec<f64>> {
    run::<T>(context, plan, send_singly, receive_singly)
}

/// Up to 64 messages a call; chappe only, the others have no such call.
pub fn batched(context: &Context<'_>, plan: Plan) -> Result<Vec<f64>> {
    run::<Ours>(context, plan, send_batches, receive_batches)
}

fn run<T: Transport>(
    context: &Context<'_>,
    plan: Plan,
    send: Send<T::End>,
    receive: Receive<T::End>,
) -> Result<Vec<f64>> {
    let transport = T::create(context.shape(plan.depth, plan.size))?;
    let gate = Shared::<Gate>::new()?;
    let mut children = Vec::new();
    for number in 0..u64::from(plan.pairs) {
        children.push(Child::spawn(plan.places[1], || {
            let end = transport.attach(Wait::Blocking)?;
            let mut meter = Meter::new(&plan);
            gate.arrive(plan.processes())?;
            receive(&end, &mut meter, plan.size)?;
            Ok(meter.tally)
        })?);
        children.push(Child::spawn(plan.places[0], || {
            let end = transport.attach(Wait::Blocking)?;
            gate.arrive(plan.processes())?;
            let sent_sum = send(&end, number << 40, plan.per_sender, plan.size)?;
            if gate.last_of(plan.pairs) {
                stop_all(&end, &plan)?;
            }
            Ok(Tally { sent: plan.per_sender, sent_sum, ..Tally::default() })
        })?);
    }
    rates(&plan, &join_all(children)?)
}

/// After the last message: one stop for each receiver. They have the priority of all others, so they come out last.
fn stop_all<E: Channel>(end: &E, plan: &Plan) -> Result<()> {
    let mut buffer = vec![0u8; plan.size];
    payload::fill(&mut buffer, payload::STOP);
    (0..plan.pairs).try_for_each(|_| end.send(&buffer, 0))
}

fn rates(plan: &Plan, tallies: &[Tally]) -> Result<Vec<f64>> {
    let all = |of: fn(&Tally) -> u64| tallies.iter().map(of).fold(0, u64::wrapping_add);
    let whole = all(|tally| tally.received) == plan.total() && all(|tally| tally.sent) == plan.total();
    if !whole || all(|tally| tally.received_sum) != all(|tally| tally.sent_sum) {
        return Err(
            format!("{} of {} messages came, or came changed", all(|tally| tally.received), plan.total()).into()
        );
    }
    let timed = || tallies.iter().filter(|tally| tally.timed > 0);
    let (start, end) = (timed().map(|tally| tally.start).min(), timed().map(|tally| tally.end).max());
    let (Some(start), Some(end)) = (start, end) else { return Err("too few messages for a rate".into()) };
    let rate = all(|tally| tally.timed) as f64 * 1e9 / (end - start).max(1) as f64;
    Ok(vec![rate, rate * plan.size as f64 / 1e6])
}

fn send_singly<E: Channel>(end: &E, first: u64, count: u64, size: usize) -> Result<u64> {
    let mut buffer = vec![0u8; size];
    let mut sum = 0u64;
    for number in first..first + count {
        sum = sum.wrapping_add(payload::fill(&mut buffer, number));
        end.send(&buffer, 0)?;
    }
    Ok(sum)
}

fn receive_singly<E: Channel>(end: &E, meter: &mut Meter, size: usize) -> Result<()> {
    let mut buffer = vec![0u8; size];
    loop {
        let taken = end.recv(&mut buffer)?;
        if !meter.take(&buffer[..taken.len]) {
            return Ok(());
        }
    }
}

fn send_batches(end: &OurEnd, first: u64, count: u64, size: usize) -> Result<u64> {
    let mut messages = vec![(vec![0u8; size], 0u16); BATCH];
    let mut sum = 0u64;
    let mut number = first;
    while number < first + count {
        let room = usize::try_from(first + count - number)?.min(BATCH);
        for (message, _) in &mut messages[..room] {
            sum = sum.wrapping_add(payload::fill(message, number));
            number += 1;
        }
        end.queue.send_many(&messages[..room])?;
    }
    Ok(sum)
}

fn receive_batches(end: &OurEnd, meter: &mut Meter, _size: usize) -> Result<()> {
    let mut batch = chappe::Batch::new();
    loop {
        end.queue.recv_many(&mut batch, BATCH)?;
        let mut messages = batch.iter();
        if messages.by_ref().any(|(message, _)| !meter.take(message)) {
            // One batch may hold the others' stops too.
            return messages.try_for_each(|(stop, priority)| end.send(stop, priority));
        }
    }
}
