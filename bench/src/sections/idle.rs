//! What a receiver costs that waits for a message that does not come.

use super::{Contestant, Context, Outcome, contest};
use crate::channel::{Channel, Transport, Wait};
use crate::measure::child::Child;
use crate::measure::process::Sample;
use crate::measure::shared::{Gate, Shared};
use crate::measure::{Result, clock};
use crate::ours::Ours;
use crate::report::{Goal, Metric, Unit};
use crate::rivals::pipe::Pipe;
use crate::rivals::posix::PosixQueue;
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
    used_within(blocked.pid(), Duration::from_secs(window))
}

/// What a sleeping process uses in this time: how often it goes to sleep a second, microseconds of CPU time a second, threads.
pub fn used_within(pid: i32, window: Duration) -> Result<Vec<f64>> {
    let before = Sample::of(pid)?;
    std::thread::sleep(window);
    let after = Sample::of(pid)?;
    let seconds = (after.when - before.when) as f64 / 1e9;
    // A machine that stood still had no time for wake-ups: the figure would flatter.
    if seconds > 1.1 * window.as_secs_f64() {
        return Err(format!("the machine was held up: {window:?} took {seconds:.1} s").into());
    }
    Ok(vec![
        (after.switches - before.switches) as f64 / seconds,
        (after.cpu_nanos - before.cpu_nanos) as f64 / 1e3 / seconds,
        after.threads as f64,
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
