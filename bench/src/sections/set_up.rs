//! What a queue costs before and after its messages: create, open a second time, pass a first message, leave, unlink.

use super::{Contestant, Context, Outcome, contest};
use crate::channel::Channel;
use crate::measure::child::alone;
use crate::measure::{Result, clock};
use crate::ours::fresh_name;
use crate::report::{Metric, Unit};
use crate::rivals::posix::Steps;
use chappe::Queue;

const ABOUT: &str = "one process creates a queue, opens it a second time, passes a first message of 64 bytes, drops both, unlinks\n\
    chappe with its default attributes (1024 messages), the kernel queue with its (10 messages, here of 64 bytes)";

const STEPS: usize = 4;

pub fn measure(context: &Context<'_>) -> Outcome {
    let metrics = [
        Metric::new("all", Unit::Microseconds),
        Metric::new("create", Unit::Microseconds),
        Metric::new("open", Unit::Microseconds),
        Metric::new("first message", Unit::Microseconds),
        Metric::new("drop and unlink", Unit::Microseconds),
    ];
    let lives = context.amount(2_000);
    let contestants = vec![
        Contestant::new("chappe", move || alone(context.cpus[0], || averaged(lives, || our_life(context)))),
        Contestant::new("kernel queue", move || alone(context.cpus[0], || averaged(lives, || kernel_life(context)))),
    ];
    let table = contest(context.rounds, "the life of a queue", &metrics, contestants);
    Ok((ABOUT, vec![table], Vec::new()))
}

/// The clock at the begin and after every step.
pub type Marks = [u64; STEPS + 1];

/// Microseconds: of all steps together, and of each.
pub fn averaged(lives: u64, life: impl Fn() -> Result<Marks>) -> Result<Vec<f64>> {
    let mut steps = [0u64; STEPS];
    for _ in 0..lives {
        let marks = life()?;
        for (step, pair) in steps.iter_mut().zip(marks.windows(2)) {
            *step += pair[1] - pair[0];
        }
    }
    let micros = |nanos: u64| nanos as f64 / 1e3 / lives as f64;
    Ok(std::iter::once(micros(steps.iter().sum())).chain(steps.map(micros)).collect())
}

fn our_life(context: &Context<'_>) -> Result<Marks> {
    let name = fresh_name();
    let mut options = Queue::options();
    options.dir(context.dir);
    let start = clock::now();
    let created = options.create_new(&name)?;
    let after_create = clock::now();
    let opened = options.open(&name)?;
    let after_open = clock::now();
    let mut buffer = [7u8; 64];
    created.send(&buffer, 0)?;
    opened.recv_into(&mut buffer)?;
    let after_message = clock::now();
    drop((created, opened));
    options.unlink(&name)?;
    Ok([start, after_create, after_open, after_message, clock::now()])
}

fn kernel_life(context: &Context<'_>) -> Result<Marks> {
    let steps = Steps::new(context.shape(10, 64))?;
    let start = clock::now();
    let created = steps.create()?;
    let after_create = clock::now();
    let opened = steps.open()?;
    let after_open = clock::now();
    let mut buffer = [7u8; 64];
    created.send(&buffer, 0)?;
    opened.recv(&mut buffer)?;
    let after_message = clock::now();
    drop((created, opened));
    steps.unlink();
    Ok([start, after_create, after_open, after_message, clock::now()])
}
