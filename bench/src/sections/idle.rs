//! What a receiver costs that waits for a message that does not come.

use super::{Contestant, Context, Outcome, contest};
use crate::channel::{Channel, Transport, Wait};
use crate::measure::child::Child;
use crate::measure::shared::{Gate, Shared};
use crate::measure::{Result, clock};
use crate::ours::Ours;
use crate::report::{Goal, Metric, Unit};
use crate::rivals::pipe::Pipe;
use crate::rivals::posix::PosixQueue;
use std::fs;
use std::time::Duration;

const ABOUT: &str = "a process blocked in its plain receive call, watched from outside (/proc); measured once";

pub fn measure(context: &Context<'_>) -> Outcome {
    let metrics =
        [Metric::new("wake-ups", Unit::WakeUpsPerSecond), Metric::new("CPU time a second", Unit::Microseconds)];
    let contestants = vec![
        Contestant::new("chappe", || watch::<Ours>(context)),
        Contestant::new("kernel queue", || watch::<PosixQueue>(context)),
        Contestant::new("pipe", || watch::<Pipe>(context)),
    ];
    let table = contest(1, "a blocked receiver", &metrics, contestants);
    let goal = Goal::at_most("a blocked receiver's wake-ups a second, at most 2", 2.0, table.figure("chappe", 0));
    Ok((ABOUT, vec![table], vec![goal]))
}

fn watch<T: Transport>(context: &Context<'_>) -> Result<Vec<f64>> {
    let window: u64 = if context.quick { 2 } else { 5 };
    let transport = T::create(context.shape(10, 64))?;
    let gate = Shared::<Gate>::new()?;
    let blocked = Child::<()>::spawn(Some(context.cpus[1]), || {
        let end = transport.attach(Wait::Blocking)?;
        gate.arrive(1)?;
        end.recv(&mut [0u8; 64])?;
        Err("a message came that nobody sent".into())
    })?;
    wait_for(&gate)?;
    let before = Sample::of(blocked.pid())?;
    std::thread::sleep(Duration::from_secs(window));
    let after = Sample::of(blocked.pid())?;
    let seconds = (after.when - before.when) as f64 / 1e9;
    // A machine that stood still had no time for wake-ups: the figure would flatter.
    if seconds > 1.1 * window as f64 {
        return Err(format!("the machine was held up: {window} s took {seconds:.1} s").into());
    }
    Ok(vec![
        (after.switches - before.switches) as f64 / seconds,
        (after.cpu_nanos - before.cpu_nanos) as f64 / 1e3 / seconds,
    ])
}

/// Until the child has started and, by all appearances, gone to sleep.
fn wait_for(gate: &Gate) -> Result<()> {
    let start = clock::now();
    while gate.arrived() == 0 {
        if clock::now() - start > 10_000_000_000 {
            return Err("the receiver did not start".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(300));
    Ok(())
}

struct Sample {
    when: u64,
    switches: u64,
    cpu_nanos: u64,
}

impl Sample {
    fn of(pid: i32) -> Result<Sample> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        if !status.lines().any(|line| line.starts_with("State:\tS")) {
            return Err("the receiver is not asleep".into());
        }
        let switches = number_after(&status, "voluntary_ctxt_switches:").ok_or("no context switches in status")?;
        // Nanoseconds on the CPU come first; /proc/PID/stat would count in ticks of ten milliseconds.
        let schedule = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
        let cpu_nanos = schedule.split_whitespace().next().unwrap_or_default().parse()?;
        Ok(Sample { when: clock::now(), switches, cpu_nanos })
    }
}

fn number_after(text: &str, label: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(label))?.trim().parse().ok()
}
