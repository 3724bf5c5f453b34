//! One thread acquires a permit and gives it back: the cost of the calls alone, nothing contended. And that they make no
//! system call.

use super::pair::timed;
use super::{Contestant, Context, Outcome, contest, over};
use crate::floor::FutexLock;
use crate::holder::{Holder, OnePermit};
use crate::measure::child::alone;
use crate::measure::clock::PATIENCE;
use crate::measure::{Result, clock};
use crate::our_permit::OurPermit;
use crate::report::{Goal, Metric, Unit};
use crate::rivals::c_library::{RobustMutex, SemT};
use crate::rivals::file_lock::Flock;
use crate::rivals::system_v::SystemV;
use rustix::thread::{SecureComputingMode, set_secure_computing_mode};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

const ABOUT: &str = "one thread acquires a permit and gives it back: nanoseconds a pair of calls\n\
    sem_t: the C library's, in shared memory between processes, permits lost with their holder; System V: with SEM_UNDO;\n\
    robust mutex: the C library's, between processes; (a futex lock): two exchanges, no owner, no order";

/// Turns are so many times shorter than a round elsewhere, and so many times more: what disturbs then spoils few of them.
const SHORT_TURNS: usize = 5;

const PAIRS_WITHOUT_CALLS: u64 = 100_000;

pub fn measure(context: &Context<'_>) -> Outcome {
    let metrics = [Metric::new("acquire + release", Unit::Nanoseconds)];
    let contestants = vec![
        Contestant::new("chappe", || pairs::<OurPermit>(context, 500_000)),
        Contestant::new("sem_t", || pairs::<SemT>(context, 500_000)),
        Contestant::new("System V", || pairs::<SystemV>(context, 20_000)),
        Contestant::new("robust mutex", || pairs::<RobustMutex>(context, 500_000)),
        Contestant::new("flock", || pairs::<Flock>(context, 20_000)),
        Contestant::new("chappe, post + wait", || signals(context)),
        Contestant::new("(a futex lock)", || pairs::<FutexLock>(context, 500_000)),
    ];
    let mut table = contest(SHORT_TURNS * context.rounds, "same thread", &metrics, contestants);
    let ours = table.figure("chappe", 0);
    let made = pairs_without_calls(context);
    if let Err(error) = &made {
        table.notes.push(format!("without system calls: {error}"));
    }
    let goals = vec![
        Goal::at_most("semaphore pair, times sem_t's, at most 2", 2.0, over(ours, table.figure("sem_t", 0))),
        Goal::at_least(
            "semaphore pair, times faster than System V with SEM_UNDO, at least 8",
            8.0,
            over(table.figure("System V", 0), ours),
        ),
        Goal::at_least(
            "pairs made by a thread that any system call ends, of 100 000 all",
            PAIRS_WITHOUT_CALLS as f64,
            made.ok().map(|made| made as f64),
        ),
    ];
    Ok((ABOUT, vec![table], goals))
}

fn pairs<T: OnePermit>(context: &Context<'_>, count: u64) -> Result<Vec<f64>> {
    let one = T::create(context.dir)?;
    alone(context.cpus[0], || {
        let end = one.attach()?;
        timed(context.amount(count), |_| end.acquire().map(drop))
    })
}

/// The other use of a semaphore, which knows no holders.
fn signals(context: &Context<'_>) -> Result<Vec<f64>> {
    let none = OurPermit::with(context.dir, 0)?;
    alone(context.cpus[0], || {
        let end = none.attach()?;
        timed(context.amount(200_000), |_| {
            end.post()?;
            Ok(end.wait()?)
        })
    })
}

/// How many pairs of `PAIRS_WITHOUT_CALLS` a thread makes which the kernel ends at any system call but `read`, `write` and `exit`.
/// (The clock is read without one.)
///
/// # Errors
/// Where the kernel has no such mode, or acquiring fails before it.
fn pairs_without_calls(context: &Context<'_>) -> Result<u64> {
    let one = OurPermit::create(context.dir)?;
    alone(context.cpus[0], || {
        let end = one.attach()?;
        let (made, thread) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicI32::new(0)));
        let (counted, told) = (Arc::clone(&made), Arc::clone(&thread));
        // Not the first thread, whose end is hard to see while others are there (the handle may have some).
        let worker = std::thread::spawn(move || -> Result<()> {
            let pair = || end.acquire().map(drop);
            (0..PAIRS_WITHOUT_CALLS).try_for_each(|_| pair())?;
            told.store(rustix::thread::gettid().as_raw_nonzero().get(), SeqCst);
            set_secure_computing_mode(SecureComputingMode::Strict)?;
            for _ in 0..PAIRS_WITHOUT_CALLS {
                if pair().is_err() {
                    break;
                }
                counted.fetch_add(1, SeqCst);
            }
            // SAFETY: ends this thread, which nobody joins; what it owns lives on, unused. It takes any status.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
            Ok(())
        });
        let start = clock::now();
        while clock::now() - start < PATIENCE.as_nanos() as u64 {
            if worker.is_finished() {
                return match worker.join() {
                    Ok(Err(error)) => Err(error),
                    _ => Err("the thread came back".into()),
                };
            }
            let thread = thread.load(SeqCst);
            if thread != 0 && !Path::new(&format!("/proc/self/task/{thread}")).exists() {
                return Ok(made.load(SeqCst));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err("the thread did not end".into())
    })
}
