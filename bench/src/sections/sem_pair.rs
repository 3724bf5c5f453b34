//! One thread acquires a permit and gives it back: the cost of the calls alone, nothing contended. And that they make no
//! system call.

use super::pair::timed;
use super::{Contestant, Context, Outcome, contest, over};
use crate::floor::FutexLock;
use crate::holder::{Holder, OnePermit};
use crate::measure::Result;
use crate::measure::child::{Child, alone};
use crate::our_permit::OurPermit;
use crate::report::{Goal, Metric, Unit};
use crate::rivals::c_library::{RobustMutex, SemT};
use crate::rivals::file_lock::Flock;
use crate::rivals::system_v::SystemV;
use rustix::process::WaitStatus;
use rustix::thread::{SecureComputingMode, set_secure_computing_mode};

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
    let survived = survives_without_calls(context);
    if let Err(error) = &survived {
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
            "pairs made where any system call kills, of 100 000 all",
            PAIRS_WITHOUT_CALLS as f64,
            survived.ok().map(|survived| if survived { PAIRS_WITHOUT_CALLS as f64 } else { 0.0 }),
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

/// Whether a process survives so many pairs where the kernel kills it for any system call but `read`, `write` and `exit`.
/// (The clock is read without one.)
///
/// # Errors
/// Where the kernel has no such mode, or the pairs fail.
fn survives_without_calls(context: &Context<'_>) -> Result<bool> {
    let one = OurPermit::create(context.dir)?;
    // A child that sends an answer has failed: this one can only exit.
    let child = Child::<()>::spawn(Some(context.cpus[0]), || {
        let end = one.attach()?;
        let pairs = || (0..PAIRS_WITHOUT_CALLS).try_for_each(|_| end.acquire().map(drop));
        pairs()?;
        set_secure_computing_mode(SecureComputingMode::Strict)?;
        let code = if pairs().is_ok() { DONE } else { FAILED };
        // SAFETY: ends this thread, the only one of this process. It takes any status.
        unsafe { libc::syscall(libc::SYS_exit, code) };
        Ok(())
    })?;
    judge(child.end()?)
}

/// What no other end of a child gives.
const DONE: i32 = 77;
const FAILED: i32 = 78;

fn judge(ended: WaitStatus) -> Result<bool> {
    match (ended.exit_status(), ended.terminating_signal()) {
        (Some(DONE), _) => Ok(true),
        // The kernel's answer to a call.
        (_, Some(libc::SIGKILL)) => Ok(false),
        _ => Err(format!("not shown: {ended:?} (the mode is refused, or acquiring failed)").into()),
    }
}
