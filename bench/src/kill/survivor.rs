//! What a survivor does after a death: it goes on, counts what is there, and sees how much the queue has room for.

use super::account::{Damage, Found, judge_filling};
use super::case::{CAPACITY, Case, FILLER, SIZE, SURVIVOR, Verb, identify, message};
use super::{readable, step};
use crate::rivals::shim::{Handle, Shim};
use std::io::PipeReader;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// A call that can be served must be within this time.
pub const CALL: Duration = Duration::from_secs(1);

pub struct Survivor<'a> {
    pub shim: &'a Shim,
    pub queue: Handle,
    pub case: &'a Case,
    /// The stepped call had returned before the death.
    pub finished: bool,
    /// Where the sleeper tells what it got.
    pub woken: Option<&'a PipeReader>,
    pub found: Found,
    pub damage: Damage,
}

/// It cannot go on: what is wrong has been noted.
struct Stopped;

impl Survivor<'_> {
    /// Does everything; `on` is called when it has sent and received.
    pub fn survive(mut self, on: impl FnOnce()) -> Damage {
        let start = Instant::now();
        let gone_on = self.go_on();
        on();
        if gone_on.is_ok() {
            self.damage.took_nanoseconds = start.elapsed().as_nanos() as u64;
            // What is wrong was noted.
            let _ = self.count();
        }
        self.damage
    }

    /// A send and a receive of its own, and the sleeper is served.
    fn go_on(&mut self) -> Result<(), Stopped> {
        match self.case.asleep {
            Some(Verb::Receive) => {
                self.send()?;
                self.sleeper_is_served()
            }
            Some(Verb::Send) => {
                self.receive()?;
                self.sleeper_is_served()?;
                self.receive()?;
                self.send()
            }
            None => {
                // The stepped call's message may have filled the queue.
                let may_be_there = self.case.before + u32::from(self.case.verb == Verb::Send);
                if may_be_there >= CAPACITY {
                    self.receive()?;
                }
                self.send()?;
                self.receive()
            }
        }
    }

    fn send(&mut self) -> Result<(), Stopped> {
        self.send_within(SURVIVOR, CALL)?.then_some(()).ok_or_else(|| self.hung())?;
        self.found.sent = true;
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Stopped> {
        let received = self.receive_within(CALL)?.ok_or_else(|| self.hung())?;
        self.found.received.push(received);
        Ok(())
    }

    fn hung(&mut self) -> Stopped {
        self.damage.hung = true;
        Stopped
    }

    fn sleeper_is_served(&mut self) -> Result<(), Stopped> {
        let Some(woken) = self.woken else { return Ok(()) };
        let told = readable(woken.as_raw_fd(), CALL).then(|| step::read_line(woken).ok()).flatten();
        match told.as_deref() {
            Some("sent") => Ok(()),
            Some("torn") => {
                self.found.woken = Some(None);
                Ok(())
            }
            Some(id) if id.parse::<u64>().is_ok() => {
                self.found.woken = Some(id.parse().ok());
                Ok(())
            }
            // It was refused, ended, or sleeps on.
            _ => Err(self.hung()),
        }
    }

    fn send_within(&mut self, id: u64, time: Duration) -> Result<bool, Stopped> {
        self.shim.within(time);
        self.shim.send(self.queue, &message(id)).map_err(|_| self.refused())
    }

    /// A message if there is one: its id if it is whole.
    fn receive_within(&mut self, time: Duration) -> Result<Option<Option<u64>>, Stopped> {
        let mut buffer = [0; SIZE];
        self.shim.within(time);
        let length = self.shim.receive(self.queue, &mut buffer).map_err(|_| self.refused())?;
        Ok(length.map(|length| buffer.get(..length).and_then(identify)))
    }

    fn refused(&mut self) -> Stopped {
        self.damage.refused = true;
        Stopped
    }

    /// Empties the queue and makes the account; then fills and empties it again.
    fn count(&mut self) -> Result<(), Stopped> {
        let mut time = Duration::ZERO;
        loop {
            while let Some(received) = self.receive_within(time)? {
                self.found.received.push(received);
                self.bounded(self.found.received.len())?;
            }
            // What is missing may come late.
            if time == CALL || self.found.missing(self.case, self.finished).is_empty() {
                break;
            }
            time = CALL;
        }
        self.found.judge(self.case, self.finished, &mut self.damage);
        self.fill_and_empty()
    }

    /// A queue that gives more messages than were ever there gives them without end.
    fn bounded(&mut self, received: usize) -> Result<(), Stopped> {
        if received <= 4 * CAPACITY as usize {
            return Ok(());
        }
        self.found.judge(self.case, self.finished, &mut self.damage);
        Err(Stopped)
    }

    fn fill_and_empty(&mut self) -> Result<(), Stopped> {
        let mut sent = 0;
        while sent < CAPACITY && self.send_within(FILLER + u64::from(sent), CALL)? {
            sent += 1;
        }
        let more = sent == CAPACITY && self.send_within(FILLER + u64::from(sent), Duration::ZERO)?;
        self.damage.capacity = sent < CAPACITY || more;
        let mut received = Vec::new();
        while received.len() <= 4 * CAPACITY as usize {
            match self.receive_within(Duration::ZERO)? {
                Some(id) => received.push(id),
                None => break,
            }
        }
        judge_filling(&received, sent as usize + usize::from(more), &mut self.damage);
        Ok(())
    }
}
