//! Death at every instruction of a semaphore's operations: a process is single-stepped through one and SIGKILLed after its
//! k-th instruction, for every k (or every few), each time with a fresh semaphore and fresh processes. Then a survivor has
//! to go on, who waits has to be served, every permit is accounted for, and the words of the file are as `docs/format.md` demands.
//!
//! - `beside`: a living process is stopped between the two steps of an acquisition or a release of its own, while the victim
//!   acts and dies and the survivor goes on; then it is let finish.
//! - `after a death in`: the victim finds what the death of another one left, and dies while it repairs that. With two
//!   names: the repairer died as well, and the victim is the second one who repairs.
//! - `pause:` stops the process instead, lets another one act beside it, which also makes it look after one that has died, and then
//!   lets it finish: it must not be taken for dead, and the count must come out right.
//!
//! It drives the real library through its public face; only the checker in `common/format.rs` knows the layout. What cannot be stepped, and
//! the variables that choose the instructions, are at the head of `common/kill.rs`. Other threads of the victim, as its sentry, run freely.
//!
//! `CHAPPE_KILL_PAIRS` and `CHAPPE_KILL_PAUSES` are as for `kill.rs`. `CHAPPE_KILL_ONE=2000` kills so many processes at one semaphore, one
//! after the other; 200 without it, 50 in a debug build.

mod common;

use chappe::{AcquireError, Children, Permit, Semaphore, SemaphoreOptions, SemaphoreStat};
use common::format::Image;
use common::kill::{self, Deaths, Mode, Outcome, PATIENCE, Plan, Row};
use common::lanes::{Job, Program};
use common::step::{self, At, Child, Victim, read_line};
use common::way::{Leaps, Stand, Way};
use common::{Rng, asleep, number, readable, scratch};
use std::cell::{Cell, OnceCell};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A survivor's call that takes longer hangs; how long they really take is judged in the end.
const NET: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error>;

// ---- what is done to the semaphore ----

/// The operation that a victim is stepped through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Acquire(u64),
    TryAcquire(u64),
    /// An acquisition whose time is over before it waits: its place in the queue is taken and left.
    Expire,
    /// An acquisition that is granted while it sleeps.
    Sleep,
    /// A future that is polled once and dropped.
    Begin,
    /// The first call through a handle that was inherited by fork.
    InheritedAcquire,
    Release,
    /// Of two permits that one thread holds, the second.
    ReleaseSecond,
    ReleaseLabelled,
    Forget,
    Split,
    Merge,
    SetPermits(u64),
    Post,
    Wait,
    TryWait,
    ExpireWait,
    /// A look whether nobody holds a permit, in the queue of those who wait for that.
    Idle,
    Stat,
    Close,
    Unlink,
    Open,
    FromFd,
    Create,
    /// A semaphore that goes with the victim, whose death ends it.
    CreateEphemeral,
    Drop,
    /// The end of such a semaphore in good order.
    DropEphemeral,
    /// The permit goes over to a command, which then does not exist.
    Exec(Children),
}

impl Act {
    fn name(self) -> String {
        let many = |permits: u64| if permits == 1 { String::new() } else { format!(" {permits}") };
        match self {
            Act::Acquire(permits) => format!("acquire{}", many(permits)),
            Act::TryAcquire(permits) => format!("try_acquire{}", many(permits)),
            Act::Expire => "acquire_timeout 0".to_owned(),
            Act::Sleep => "acquire, asleep".to_owned(),
            Act::Begin => "acquire_async, poll, drop".to_owned(),
            Act::InheritedAcquire => "fork, acquire".to_owned(),
            Act::ReleaseSecond => "release the second".to_owned(),
            Act::ReleaseLabelled => "release, labelled".to_owned(),
            Act::SetPermits(permits) => format!("set_permits {permits}"),
            Act::TryWait => "try_wait".to_owned(),
            Act::ExpireWait => "wait_timeout 0".to_owned(),
            Act::Idle => "wait_idle_timeout 0".to_owned(),
            Act::FromFd => "from_fd".to_owned(),
            Act::CreateEphemeral => "create ephemeral".to_owned(),
            Act::DropEphemeral => "drop ephemeral".to_owned(),
            Act::Exec(children) => format!("exec in vain, {children:?}").to_lowercase(),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    fn needs_handle(self) -> bool {
        !self.makes_semaphore() && !matches!(self, Act::Open | Act::FromFd | Act::Unlink | Act::InheritedAcquire)
    }

    /// Whether there is no semaphore before the victim makes one.
    fn makes_semaphore(self) -> bool {
        matches!(self, Act::Create | Act::CreateEphemeral | Act::DropEphemeral)
    }

    fn ends(self) -> bool {
        matches!(self, Act::Close | Act::Unlink)
    }

    /// Whether its way through the operation is a long one.
    fn long(self) -> bool {
        matches!(self, Act::Open | Act::FromFd | Act::Unlink | Act::Exec(_)) || self.makes_semaphore()
    }
}

/// Everything that the stepped code needs, made before stepping begins.
struct Stage {
    act: Act,
    options: SemaphoreOptions,
    /// Dropped before the handle.
    permits: Vec<Permit<'static>>,
    handle: Option<Semaphore>,
    fd: Option<OwnedFd>,
    command: Command,
    /// What came of it, for one that is let live.
    told: &'static str,
}

/// What the victim's handle has been used for before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Used {
    /// Nothing.
    Never,
    /// Acquiring and releasing: its thread has a record.
    Acquired,
    /// Also waiting: it has a sentry.
    Waited,
}

impl Stage {
    fn new(case: &Case, scene: &Scene, inherited: Option<Semaphore>) -> Stage {
        let act = case.act;
        let mut options = scene.options.clone();
        options.ephemeral(matches!(act, Act::CreateEphemeral | Act::DropEphemeral));
        let handle = match act {
            Act::DropEphemeral => Some(options.create_new("/s").expect("the victim creates")),
            _ if act.needs_handle() => Some(options.open("/s").expect("the victim opens")),
            _ => inherited,
        };
        let fd = (act == Act::FromFd)
            .then(|| std::fs::File::options().read(true).write(true).open(scene.path()).expect("its file").into());
        let (permits, command) = (Vec::with_capacity(4), Command::new("/no/such/program"));
        let mut stage = Stage { act, options, permits, handle, fd, command, told: "" };
        stage.prepare(case);
        stage
    }

    fn prepare(&mut self, case: &Case) {
        let Some(semaphore) = self.handle.clone().filter(|_| case.used != Used::Never || case.holds > 0) else {
            return;
        };
        match case.used {
            Used::Never => {}
            Used::Acquired => drop(semaphore.try_acquire().expect("the victim uses it")),
            Used::Waited => {
                let all = semaphore.try_acquire_many(case.permits).expect("the victim uses it");
                let waited = semaphore.acquire_timeout(Duration::ZERO).map(drop);
                assert_eq!(waited, Err(AcquireError::TimedOut), "the victim waits");
                drop(all);
            }
        }
        let mut hold = |permits: u64| {
            let permit = semaphore.try_acquire_many(permits).expect("the victim holds");
            if self.act == Act::Drop { std::mem::forget(permit) } else { self.permits.push(permit.into_static()) }
        };
        match (self.act, case.holds) {
            (_, 0) => {}
            (Act::ReleaseSecond | Act::Merge, holds) => {
                hold(holds - 1);
                hold(1);
            }
            (_, holds) => hold(holds),
        }
        if self.act == Act::ReleaseLabelled {
            self.permits[0].set_label("a label of its own");
        }
        if case.lowered {
            semaphore.set_permits(case.permits - 1).expect("the victim lowers it");
        }
    }

    fn play_without_handle(&mut self) -> Result<(), Failure> {
        match self.act {
            Act::Open => self.handle = Some(self.options.open("/s")?),
            Act::FromFd => self.handle = Some(self.options.from_fd(self.fd.take().expect("a descriptor"))?),
            Act::Create | Act::CreateEphemeral => self.handle = Some(self.options.create_new("/s")?),
            Act::Unlink => self.options.unlink("/s")?,
            other => unreachable!("{other:?} has a handle"),
        }
        Ok(())
    }

    /// That a call fails for a good reason (no permits, no time) is part of the case.
    fn keep(&mut self, result: Result<Permit<'static>, AcquireError>) -> Result<(), Failure> {
        match result {
            Ok(permit) => self.permits.push(permit),
            Err(AcquireError::NoPermits | AcquireError::TimedOut) => self.told = "refused",
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// An acquired permit without its borrow.
fn own(result: Result<Permit<'_>, AcquireError>) -> Result<Permit<'static>, AcquireError> {
    result.map(Permit::into_static)
}

fn or_refused(result: Result<(), AcquireError>) -> Result<(), AcquireError> {
    match result {
        Err(AcquireError::NoPermits | AcquireError::TimedOut) => Ok(()),
        other => other,
    }
}

fn poll_once(semaphore: &Semaphore) -> Result<(), AcquireError> {
    let mut future = std::pin::pin!(semaphore.acquire_async());
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.map(drop),
        Poll::Pending => Ok(()),
    }
}

impl step::Stage for Stage {
    fn play(&mut self) -> Result<(), Failure> {
        let Some(semaphore) = &self.handle else { return self.play_without_handle() };
        match self.act {
            Act::Acquire(1) | Act::Sleep | Act::InheritedAcquire => self.permits.push(own(semaphore.acquire())?),
            Act::Acquire(permits) => self.permits.push(own(semaphore.acquire_many(permits))?),
            Act::TryAcquire(permits) => {
                let result = own(semaphore.try_acquire_many(permits));
                self.keep(result)?;
            }
            Act::Expire => {
                let result = own(semaphore.acquire_timeout(Duration::ZERO));
                self.keep(result)?;
            }
            Act::Begin => poll_once(semaphore)?,
            Act::Release | Act::ReleaseSecond | Act::ReleaseLabelled => drop(self.permits.pop()),
            Act::Forget => self.permits.pop().expect("a permit").forget()?,
            Act::Split => {
                let some = self.permits[0].split(1)?;
                self.permits.push(some);
            }
            Act::Merge => {
                let other = self.permits.pop().expect("a second permit");
                self.permits[0].merge(other)?;
            }
            Act::SetPermits(permits) => semaphore.set_permits(permits)?,
            Act::Post => semaphore.post()?,
            Act::Wait => semaphore.wait()?,
            Act::TryWait => or_refused(semaphore.try_wait())?,
            Act::ExpireWait => or_refused(semaphore.wait_timeout(Duration::ZERO))?,
            Act::Idle => or_refused(semaphore.wait_idle_timeout(Duration::ZERO))?,
            Act::Stat => drop(semaphore.stat()?),
            Act::Close => semaphore.close()?,
            Act::Drop | Act::DropEphemeral => drop(self.handle.take()),
            Act::Exec(children) => {
                let error = self.permits.pop().expect("a permit").exec(&mut self.command, children);
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
            }
            Act::Unlink | Act::Open | Act::FromFd | Act::Create | Act::CreateEphemeral => unreachable!("no handle"),
        }
        Ok(())
    }

    fn told(&self) -> String {
        self.told.to_owned()
    }
}

// ---- the cases ----

/// Who else is blocked while the victim acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleeper {
    /// One who waits for so many permits.
    Permits(u64),
    /// One who waits for a signal.
    Signal,
}

/// One operation in one state of the semaphore.
#[derive(Clone)]
struct Case {
    act: Act,
    state: &'static str,
    permits: u64,
    used: Used,
    /// What the victim holds before.
    holds: u64,
    /// Whether there is one permit less than that since.
    lowered: bool,
    /// What another, living process holds.
    holder: u64,
    /// What one held that is dead, and nobody has noticed.
    dead: u64,
    asleep: Vec<Sleeper>,
    /// Whether the survivor leaves sleepers alone until they must be awake by themselves.
    patient: bool,
    /// How many permits there may be after the victim's death, the last one if it got to the end.
    after: Vec<u64>,
    /// How many permits may come back by its death, the last one if it got to the end.
    back: Vec<u64>,
    /// Others died before, one after the other, each in an operation of its own, while this victim was there already.
    earlier: Deaths<Case>,
    /// A living process that is stopped in the middle of acquiring or releasing.
    beside: Option<Rc<Beside>>,
}

/// One that has written its record and not changed the count yet.
struct Beside {
    case: Case,
    /// The way there, once it is known.
    way: OnceCell<Way>,
}

impl Case {
    fn new(act: Act, state: &'static str, permits: u64) -> Case {
        Case {
            act,
            state,
            permits,
            used: Used::Acquired,
            holds: 0,
            lowered: false,
            holder: 0,
            dead: 0,
            asleep: Vec::new(),
            patient: false,
            after: vec![permits],
            back: vec![0],
            earlier: Vec::new(),
            beside: None,
        }
    }

    /// The victim acquires so many.
    fn acquires(self, permits: u64) -> Case {
        Case { back: vec![0, permits], ..self }
    }

    /// The victim holds so many, and keeps them.
    fn holds(self, permits: u64) -> Case {
        Case { holds: permits, back: vec![permits], ..self }
    }

    /// The victim holds so many, and `left` in the end.
    fn holds_until(self, permits: u64, left: u64) -> Case {
        Case { holds: permits, back: vec![permits, left], ..self }
    }

    fn never_used(self) -> Case {
        Case { used: Used::Never, ..self }
    }

    fn waited(self) -> Case {
        Case { used: Used::Waited, ..self }
    }

    fn lowered(self) -> Case {
        Case { lowered: true, ..self }
    }

    fn holder(self, permits: u64) -> Case {
        Case { holder: permits, ..self }
    }

    fn dead(self, permits: u64) -> Case {
        Case { dead: permits, ..self }
    }

    fn asleep(self, asleep: &[Sleeper]) -> Case {
        Case { asleep: asleep.to_vec(), ..self }
    }

    fn patient(self) -> Case {
        Case { patient: true, ..self }
    }

    /// Whether there may be fewer permits afterwards.
    fn has_fewer(&self) -> bool {
        self.after.iter().min() < Some(&self.permits)
    }

    fn after(self, after: &[u64]) -> Case {
        Case { after: after.to_vec(), ..self }
    }

    /// Beside one that is acquiring, or releasing what it holds.
    fn beside(self, act: Act) -> Case {
        let case = Case::new(act, "", self.permits);
        let case = if act == Act::Release { case.holds(1) } else { case };
        Case { beside: Some(Rc::new(Beside { case, way: OnceCell::new() })), ..self }
    }

    fn after_deaths(&self, deaths: &Deaths<Case>) -> Case {
        Case { earlier: deaths.clone(), ..self.clone() }
    }

    fn title(&self) -> String {
        let beside =
            self.beside.as_ref().map_or_else(String::new, |beside| format!(", beside a {}", beside.case.act.name()));
        format!("{} | {}{beside}", self.act.name(), self.state)
    }

    /// Whether what others do beside the victim makes its way another one each time.
    fn unsteady(&self) -> bool {
        !self.asleep.is_empty() || self.act == Act::Sleep
    }
}

impl kill::Case for Case {
    /// A semaphore that is yet to be made has no survivor who was there before.
    fn kinds(&self) -> &'static [bool] {
        if self.act.makes_semaphore() { &[false] } else { &[true, false] }
    }

    fn leaps(&self) -> Leaps {
        if self.unsteady() { Leaps::First } else { Leaps::Any }
    }

    fn patient(&self) -> bool {
        self.patient
    }

    fn whole(&self) -> Option<usize> {
        self.earlier.is_empty().then(|| whole(self))
    }

    /// What is held for a moment first grows and then falls.
    fn grows(&self) -> bool {
        !matches!(self.act, Act::Wait | Act::TryWait | Act::Begin)
    }

    fn measure(&self, mode: Mode) -> Result<Way, String> {
        Ok(Way::new(Set::new(self, mode)?.victim.trace()?))
    }

    fn kill(&self, way: &Way, k: usize, mode: Mode, leaps: Leaps) -> Result<Outcome, String> {
        one_kill(self, way, k, mode, leaps)
    }
}

fn cases() -> Vec<Case> {
    let one = [Sleeper::Permits(1)];
    let signal = [Sleeper::Signal];
    vec![
        Case::new(Act::Acquire(1), "free", 2).acquires(1),
        Case::new(Act::Acquire(1), "as created", 2).acquires(1).never_used(),
        Case::new(Act::Acquire(2), "free", 3).acquires(2),
        Case::new(Act::Acquire(1), "one holds", 2).acquires(1).holder(1),
        Case::new(Act::Acquire(1), "a dead one holds all", 1).acquires(1).dead(1),
        Case::new(Act::Acquire(2), "a dead one holds all, waited before", 2).acquires(2).dead(2).waited(),
        Case::new(Act::TryAcquire(1), "free", 2).acquires(1),
        Case::new(Act::TryAcquire(1), "one holds all", 2).holder(2),
        Case::new(Act::TryAcquire(2), "a dead one holds all", 2).acquires(2).dead(2),
        Case::new(Act::TryAcquire(1), "a dead one holds some", 2).acquires(1).dead(1),
        Case::new(Act::Expire, "one holds all", 1).holder(1),
        Case::new(Act::Expire, "one holds all, waited before", 1).holder(1).waited(),
        Case::new(Act::Expire, "one holds all, as created", 1).holder(1).never_used(),
        Case::new(Act::Expire, "another waits", 1).holder(1).waited().asleep(&one),
        Case::new(Act::TryAcquire(1), "another waits", 1).holder(1).asleep(&one),
        Case::new(Act::Begin, "another waits", 1).holder(1).waited().asleep(&one),
        Case::new(Act::Release, "three asleep", 1).holds_until(1, 0).asleep(&[one[0]; 3]),
        Case::new(Act::Acquire(1), "free", 3).acquires(1).beside(Act::TryAcquire(1)),
        Case::new(Act::Acquire(1), "free", 3).acquires(1).beside(Act::Release),
        Case::new(Act::Release, "free", 3).holds_until(1, 0).beside(Act::TryAcquire(1)),
        Case::new(Act::Release, "free", 3).holds_until(1, 0).beside(Act::Release),
        Case::new(Act::TryAcquire(2), "a dead one holds some", 3).acquires(2).dead(1).beside(Act::TryAcquire(1)),
        Case::new(Act::SetPermits(4), "three", 3).after(&[3, 4]).beside(Act::TryAcquire(1)),
        Case::new(Act::SetPermits(2), "three", 3).after(&[3, 2]).beside(Act::Release),
        Case::new(Act::Stat, "a dead one holds", 3).dead(1).beside(Act::TryAcquire(1)),
        Case::new(Act::Stat, "a dead one holds", 3).dead(1).beside(Act::Release),
        Case::new(Act::Open, "a dead one holds", 3).dead(1).beside(Act::TryAcquire(1)),
        Case::new(Act::Sleep, "one holds all, then releases", 1).acquires(1).holder(1).waited(),
        Case::new(Act::Begin, "free", 1).acquires(1),
        Case::new(Act::Begin, "one holds all, waited before", 1).holder(1).waited(),
        Case::new(Act::InheritedAcquire, "free", 2).acquires(1),
        Case::new(Act::Release, "free", 2).holds_until(1, 0),
        Case::new(Act::Release, "two at once", 3).holds_until(2, 0),
        Case::new(Act::Release, "a dead one holds", 2).holds_until(1, 0).dead(1),
        Case::new(Act::Release, "one asleep", 1).holds_until(1, 0).asleep(&one),
        Case::new(Act::Release, "two asleep", 2).holds_until(2, 0).asleep(&[one[0]; 2]),
        Case::new(Act::Release, "one asleep for more", 2).holds_until(1, 0).holder(1).asleep(&[Sleeper::Permits(2)]),
        Case::new(Act::Release, "one asleep, nobody else", 1).holds_until(1, 0).asleep(&one).patient(),
        Case::new(Act::ReleaseSecond, "free", 3).holds_until(2, 1),
        Case::new(Act::ReleaseLabelled, "free", 2).holds_until(1, 0),
        Case::new(Act::Forget, "free", 3).holds_until(2, 0).after(&[3, 1]),
        Case::new(Act::Forget, "more held than there are", 2).holds_until(2, 0).lowered().after(&[1, 0]),
        Case::new(Act::Forget, "one asleep", 2).holds_until(1, 0).holder(1).asleep(&one).after(&[2, 1]),
        Case::new(Act::Split, "three held", 4).holds(3),
        Case::new(Act::Merge, "two and one held", 4).holds(3),
        Case::new(Act::SetPermits(4), "two", 2).after(&[2, 4]),
        Case::new(Act::SetPermits(1), "three, one holds two", 3).holder(2).after(&[3, 1]),
        Case::new(Act::SetPermits(0), "two", 2).after(&[2, 0]),
        Case::new(Act::SetPermits(2), "none, one asleep", 0).never_used().asleep(&one).after(&[0, 2]),
        Case::new(Act::SetPermits(2), "none, two asleep", 0).never_used().asleep(&[one[0]; 2]).after(&[0, 2]),
        Case::new(Act::SetPermits(2), "none, one asleep, nobody else", 0)
            .never_used()
            .asleep(&one)
            .patient()
            .after(&[0, 2]),
        Case::new(Act::SetPermits(1), "one asleep for more", 2).holder(1).asleep(&[Sleeper::Permits(2)]).after(&[2, 1]),
        Case::new(Act::Post, "two", 2).after(&[2, 3]),
        Case::new(Act::Post, "one asleep", 0).never_used().asleep(&signal).after(&[0, 1]),
        Case::new(Act::Post, "one asleep, nobody else", 0).never_used().asleep(&signal).patient().after(&[0, 1]),
        Case::new(Act::Wait, "two", 2).acquires(1).after(&[2, 1]),
        Case::new(Act::TryWait, "two", 2).acquires(1).after(&[2, 1]),
        Case::new(Act::TryWait, "none", 0).never_used(),
        Case::new(Act::ExpireWait, "none", 0).never_used(),
        Case::new(Act::Idle, "nobody holds", 1),
        Case::new(Act::Idle, "one holds", 1).holder(1).waited(),
        Case::new(Act::Stat, "one holds", 2).holder(1),
        Case::new(Act::Stat, "a dead one holds", 2).dead(1),
        Case::new(Act::Close, "free", 2),
        Case::new(Act::Close, "one asleep", 1).holder(1).asleep(&one),
        Case::new(Act::Unlink, "free", 2),
        Case::new(Act::Unlink, "one asleep", 1).holder(1).asleep(&one),
        Case::new(Act::Open, "one holds", 2).holder(1),
        Case::new(Act::Open, "a dead one holds", 2).dead(1),
        Case::new(Act::FromFd, "free", 2),
        Case::new(Act::Create, "nothing there", 2).never_used(),
        Case::new(Act::CreateEphemeral, "nothing there", 2).never_used(),
        Case::new(Act::DropEphemeral, "used", 2),
        Case::new(Act::Drop, "used", 2),
        Case::new(Act::Drop, "a permit forgotten", 2).holds_until(1, 0),
        // As if the command had ended: who looks finds a dead holder.
        Case::new(Act::Exec(Children::LetGo), "one held", 2).holds(1),
        Case::new(Act::Exec(Children::Keep), "one held", 2).holds_until(1, 0),
    ]
}

/// Operations that are stopped in their middle while another process acts, and one that has died is seen to.
fn paused() -> Vec<Case> {
    vec![
        Case::new(Act::TryAcquire(1), "free", 2),
        Case::new(Act::TryAcquire(1), "a dead one holds", 2).dead(1),
        Case::new(Act::TryAcquire(2), "a dead one holds some", 3).dead(1),
        Case::new(Act::TryAcquire(1), "as created, a dead one holds", 2).dead(1).never_used(),
        Case::new(Act::Release, "free", 2).holds_until(1, 0),
        Case::new(Act::Release, "a dead one holds", 2).holds_until(1, 0).dead(1),
        Case::new(Act::Release, "two at once, a dead one holds", 4).holds_until(2, 0).dead(1),
        Case::new(Act::ReleaseSecond, "a dead one holds", 4).holds_until(2, 1).dead(1),
        Case::new(Act::Expire, "one holds, waited before", 1).holder(1).waited(),
        Case::new(Act::Split, "a dead one holds", 4).holds(3).dead(1),
        Case::new(Act::Forget, "a dead one holds", 4).holds_until(2, 0).dead(1).after(&[2]),
        Case::new(Act::SetPermits(5), "a dead one holds", 3).dead(1).after(&[5]),
        Case::new(Act::Stat, "a dead one holds", 2).dead(1),
        Case::new(Act::Open, "a dead one holds", 2).dead(1),
    ]
}

/// What a first victim died in, and what the second, which finds the mess, is stepped through.
fn pairs() -> Vec<(Case, Case)> {
    let firsts = [
        Case::new(Act::Acquire(2), "", 3).acquires(2),
        Case::new(Act::Acquire(1), "", 3).acquires(1).never_used(),
        Case::new(Act::Release, "", 3).holds_until(1, 0),
        Case::new(Act::ReleaseSecond, "", 3).holds_until(2, 1),
        Case::new(Act::Expire, "", 3).waited().holder(3),
        Case::new(Act::SetPermits(2), "", 3).after(&[3, 2]),
        Case::new(Act::Drop, "", 3).holds_until(1, 0),
    ];
    let seconds = [Act::Stat, Act::TryAcquire(1), Act::TryAcquire(3), Act::Open];
    let mut all = Vec::new();
    for second in seconds {
        for first in &firsts {
            let case = Case::new(second, "", 3).after(&first.after).holder(first.holder);
            all.push((first.clone(), case));
        }
    }
    // One that was there before, and gives back what it holds.
    all.push((firsts[0].clone(), Case::new(Act::Release, "", 3).holds_until(1, 0)));
    all.push((firsts[5].clone(), Case::new(Act::Release, "", 3).holds_until(1, 0).after(&[3, 2])));
    all
}

/// Two that died one after the other, and the second one who repairs.
fn triples() -> Vec<(Case, Case, Case)> {
    let stat = || Case::new(Act::Stat, "", 3);
    let acquire = Case::new(Act::Acquire(2), "", 3).acquires(2);
    let expire = Case::new(Act::Expire, "", 3).waited().holder(3);
    let lower = Case::new(Act::SetPermits(2), "", 3).after(&[3, 2]);
    vec![
        (acquire.clone(), stat(), Case::new(Act::TryAcquire(3), "", 3)),
        (acquire.clone(), Case::new(Act::TryAcquire(3), "", 3), stat()),
        (expire, stat().holder(3), stat().holder(3)),
        (lower, stat().after(&[3, 2]), stat().after(&[3, 2])),
        (acquire, stat(), Case::new(Act::Open, "", 3)),
    ]
}

// ---- who else is there ----

/// A process beside the victim, and the pipes to it.
struct Extra {
    _child: Child,
    tell: PipeWriter,
    said: PipeReader,
    pid: u32,
    /// A sleeper that has told what came of it.
    spoke: Cell<bool>,
}

impl Extra {
    fn start(part: impl FnOnce(&mut PipeReader, &mut PipeWriter)) -> Extra {
        let (mut hears, tell) = std::io::pipe().expect("a pipe");
        let (said, mut says) = std::io::pipe().expect("a pipe");
        let child = Child::fork(move || {
            part(&mut hears, &mut says);
            true
        });
        let pid = child.0.expect("just forked") as u32;
        Extra { _child: child, tell, said, pid, spoke: Cell::new(false) }
    }

    fn tell(&self, line: &str) -> Result<(), String> {
        writeln!(&self.tell, "{line}").map_err(|error| error.to_string())
    }

    fn expect(&self, line: &str) -> Result<(), String> {
        match read_line(&self.said)? {
            said if said == line => Ok(()),
            said => Err(format!("{said:?} instead of {line:?}")),
        }
    }

    /// Has it give back what it has and leave the semaphore.
    fn leave(&self) -> Result<(), String> {
        self.tell("leave")?;
        self.expect("gone")
    }
}

/// Holds permits until it is told to leave, or until the process that it was told to watch sleeps.
fn hold(options: &SemaphoreOptions, permits: u64, hears: &mut PipeReader, says: &mut PipeWriter) {
    let semaphore = options.open("/s").expect("the holder opens");
    let mut permit = Some(semaphore.try_acquire_many(permits).expect("the holder holds"));
    writeln!(says, "here").expect("its pipe");
    let (mut watched, mut seen) = (None, 0);
    loop {
        if readable(hears.as_raw_fd(), Duration::from_micros(if watched.is_some() { 0 } else { 20_000_000 })) {
            match read_line(hears).expect("its pipe").split_once(' ') {
                Some((_, pid)) => watched = pid.parse().ok(),
                None => break,
            }
        }
        if let Some(pid) = watched {
            seen = if asleep_in_kernel(pid) { seen + 1 } else { 0 };
            if seen == 5 {
                permit = None;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    drop(permit);
    drop(semaphore);
    writeln!(says, "gone").expect("its pipe");
}

/// Whether the main thread of a process sleeps in a system call, not in the hands of its tracer.
fn asleep_in_kernel(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}

/// Waits, tells what came of it, and leaves when told to.
fn sleep(options: &SemaphoreOptions, which: Sleeper, hears: &mut PipeReader, says: &mut PipeWriter) {
    let semaphore = options.open("/s").expect("the sleeper opens");
    let result = match which {
        Sleeper::Permits(permits) => semaphore.acquire_many(permits).map(Some),
        Sleeper::Signal => semaphore.wait().map(|()| None),
    };
    match &result {
        Ok(_) => writeln!(says, "served"),
        Err(error) => writeln!(says, "{error:?}"),
    }
    .expect("its pipe");
    read_line(hears).expect("its pipe");
    drop(result);
    drop(semaphore);
    writeln!(says, "gone").expect("its pipe");
}

/// The semaphore of one kill and whoever lives beside the victim.
struct Scene {
    dir: tempfile::TempDir,
    options: SemaphoreOptions,
    holder: Option<Extra>,
    sleepers: Vec<Extra>,
    /// Its file, also when that has no name any more.
    image: Option<Image>,
}

impl Scene {
    fn new(case: &Case) -> Scene {
        let dir = scratch();
        let mut options = Semaphore::options();
        options.dir(dir.path()).permits(case.permits).any_existing(true);
        if !case.act.makes_semaphore() {
            drop(options.create_new("/s").expect("the semaphore of this kill"));
        }
        let image = Image::open(&dir.path().join("chappe.sem.s"));
        Scene { dir, options, holder: None, sleepers: Vec::new(), image }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("chappe.sem.s")
    }

    /// Whoever holds, then whoever sleeps, one after the other.
    fn people(&mut self, case: &Case) -> Result<(), String> {
        if case.holder > 0 {
            let holder = Extra::start(|hears, says| hold(&self.options, case.holder, hears, says));
            holder.expect("here").map_err(|error| format!("the holder: {error}"))?;
            self.holder = Some(holder);
        }
        for which in &case.asleep {
            let sleeper = Extra::start(|hears, says| sleep(&self.options, *which, hears, says));
            let onlooker = self.options.open("/s").expect("the onlooker opens");
            let waits = |stat: SemaphoreStat| stat.waiters.len() > self.sleepers.len();
            common::until("somebody sleeps", || waits(onlooker.stat().expect("stat")) && asleep(sleeper.pid));
            self.sleepers.push(sleeper);
        }
        Ok(())
    }

    /// One that held and is dead.
    fn corpse(&self, permits: u64) {
        let mut corpse = Extra::start(|hears, says| hold(&self.options, permits, hears, says));
        corpse.expect("here").expect("the one that is to die holds");
        corpse._child.kill();
    }
}

type Pipe = (PipeReader, PipeWriter);

fn pipe() -> Pipe {
    std::io::pipe().expect("a pipe")
}

/// A scene with everybody in place, the victim about to act.
struct Set<'a> {
    case: &'a Case,
    scene: Scene,
    companion: Option<Victim>,
    victim: Victim,
    survivor: Option<Child>,
    go: Pipe,
    report: Pipe,
    /// What one that is let live tells: the companion, or a victim that was only stopped.
    told: Pipe,
    /// An earlier victim died elsewhere than it was to.
    strayed: bool,
}

impl<'a> Set<'a> {
    /// Those who hold and sleep come after the victim, which has what it needs by then; the dead one comes last, so that nobody
    /// who comes later sees to it.
    fn new(case: &'a Case, mode: Mode) -> Result<Set<'a>, String> {
        let mut scene = Scene::new(case);
        let (go, report, told) = (pipe(), pipe(), pipe());
        let victim = start_victim(case, &scene, Some(&told.1))?;
        let firsts = case.earlier.iter().map(|(first, ..)| start_victim(first, &scene, None));
        let firsts = firsts.collect::<Result<Vec<_>, String>>()?;
        scene.people(case)?;
        let survivor = mode.attached.then(|| start_survivor(case, &scene, mode, &go.0, &report)).transpose()?;
        let companion = case.beside.as_ref().map(|beside| start_companion(beside, &scene, &told.1)).transpose()?;
        if case.dead > 0 {
            scene.corpse(case.dead);
        }
        let mut strayed = false;
        for ((_, way, k), mut first) in case.earlier.iter().zip(firsts) {
            strayed |= first.follow(way, *k, Leaps::Any)? == Stand::Astray;
            first.child.kill();
        }
        if let (Act::Sleep, Some(holder)) = (case.act, &scene.holder) {
            holder.tell(&format!("watch {}", victim.pid()))?;
        }
        Ok(Set { case, scene, companion, victim, survivor, go, report, told, strayed })
    }

    fn go(&mut self) -> Result<(), String> {
        writeln!(self.go.1, "go").map_err(|error| error.to_string())
    }

    /// Has the survivor do its part beside a victim that lives.
    fn meet(&mut self) -> Result<(), String> {
        self.go()?;
        match read_line(&self.report.0).map_err(|error| format!("the survivor hangs or died: {error}"))?.as_str() {
            "done" => Ok(()),
            fault => Err(fault.to_owned()),
        }
    }

    /// Lets the survivor go on, or has one come; what it found.
    fn survive(mut self, mode: Mode) -> Result<Report, String> {
        if self.survivor.is_none() {
            self.survivor = Some(start_survivor(self.case, &self.scene, mode, &self.go.0, &self.report)?);
        }
        if self.case.beside.is_some() {
            self.meet()?;
            self.companion.as_mut().expect("it was started").finish()?;
            heard(&self.told.0).map_err(|error| format!("the companion: {error}"))?;
        }
        self.go()?;
        let text = read_line(&self.report.0).map_err(|error| format!("the survivor hangs or died: {error}"))?;
        text.strip_prefix("found ").and_then(Report::from_text).ok_or(text)
    }
}

fn start_victim(case: &Case, scene: &Scene, tell: Option<&PipeWriter>) -> Result<Victim, String> {
    // The handle to inherit is opened by the parent, as it must be, and left to the child alone.
    let inherited = (case.act == Act::InheritedAcquire).then(|| scene.options.open("/s").expect("the parent opens"));
    let mut inherited = Some(inherited);
    Victim::start(|| Stage::new(case, scene, inherited.take().flatten()), tell)
}

/// What one tells that was let finish: nothing, or that it was refused.
fn heard(from: &PipeReader) -> Result<(), String> {
    match read_line(from)?.as_str() {
        "" | "refused" => Ok(()),
        fault => Err(fault.to_owned()),
    }
}

/// Starts one that stops when its record is written, and the count is as before.
fn start_companion(beside: &Beside, scene: &Scene, tell: &PipeWriter) -> Result<Victim, String> {
    let mut companion = start_victim(&beside.case, scene, Some(tell))?;
    let image = Image::open(&scene.path()).ok_or("there is no file")?;
    let held = || (0..image.u32(324)).filter(|record| image.record(*record).0 == 1).count();
    let before = (held(), image.free_permits());
    if let Some(way) = beside.way.get() {
        companion.follow(way, way.len() - 1, Leaps::Any)?;
    }
    let mut places = vec![companion.place()];
    while held() == before.0 {
        if companion.step()? != At::Inside {
            return Err("the companion came to its end without a change of its record".to_owned());
        }
        places.push(companion.place());
    }
    if image.free_permits() != before.1 {
        return Err("the companion changed the count before its record".to_owned());
    }
    beside.way.get_or_init(|| Way::new(places));
    Ok(companion)
}

/// Forks a survivor and waits until it is in its place.
fn start_survivor(case: &Case, scene: &Scene, mode: Mode, mut go: &PipeReader, report: &Pipe) -> Result<Child, String> {
    let child = Child::fork(|| {
        let open = || scene.options.open("/s").expect("the survivor opens");
        let attached = (mode.attached && !case.act.makes_semaphore()).then(open);
        // Its name may be gone later on.
        let image = attached.as_ref().and_then(|_| Image::open(&scene.path()));
        let mut tell = &report.1;
        writeln!(tell, "here").expect("the report's pipe");
        go.read_exact(&mut [0; 3]).expect("the pipe to go");
        let mut meet = || {
            writeln!(tell, "done").expect("the report's pipe");
            go.read_exact(&mut [0; 3]).expect("the pipe to go");
        };
        let found = catch_unwind(AssertUnwindSafe(|| match attached {
            Some(semaphore) if mode.pause => Survivor { case, scene, semaphore, image }.coexist(&mut meet),
            attached => survive(case, scene, mode, (attached, image), &mut meet),
        }));
        let text = match found {
            Ok(Ok(report)) => format!("found {}", report.to_text()),
            Ok(Err(fault)) => fault,
            Err(_) => "the survivor panicked".to_owned(),
        };
        writeln!(tell, "{}", text.replace('\n', " ")).is_ok()
    });
    match read_line(&report.0)?.as_str() {
        "here" => Ok(child),
        other => Err(format!("the survivor began with {other:?}")),
    }
}

// ---- what a survivor does ----

/// What a survivor found.
#[derive(Debug)]
struct Report {
    /// How long its own calls took, until it had acquired.
    took: Duration,
    /// How long those slept whom nobody woke.
    slept: Option<Duration>,
    /// How many permits there were when nobody but the survivor had done anything yet since the death.
    permits: u64,
    /// Permits that came back by deaths.
    back: u64,
    /// Participants that were recovered.
    recovered: u64,
    closed: bool,
    unlinked: bool,
    /// Whether there was a file of the semaphore's name when the survivor began.
    named: bool,
}

impl Report {
    fn to_text(&self) -> String {
        let flags = [self.closed, self.unlinked, self.named].map(u8::from);
        let [closed, unlinked, named] = flags;
        let (took, permits, back, recovered) = (self.took.as_nanos(), self.permits, self.back, self.recovered);
        let slept = self.slept.map_or(0, |slept| slept.as_nanos());
        format!("{took} {slept} {permits} {back} {recovered} {closed} {unlinked} {named}")
    }

    fn from_text(text: &str) -> Option<Report> {
        let mut words = text.split(' ').map(|word| word.parse::<u64>().ok());
        let mut next = || words.next().flatten();
        let took = Duration::from_nanos(next()?);
        let slept = Some(next()?).filter(|slept| *slept > 0).map(Duration::from_nanos);
        let (permits, back, recovered) = (next()?, next()?, next()?);
        let mut flag = || Some(next()? == 1);
        Some(Report { took, slept, permits, back, recovered, closed: flag()?, unlinked: flag()?, named: flag()? })
    }
}

struct Survivor<'a> {
    case: &'a Case,
    scene: &'a Scene,
    semaphore: Semaphore,
    image: Option<Image>,
}

/// A call that must not hang.
fn timely<T, E: std::fmt::Display>(what: &str, call: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    let start = Instant::now();
    let result = call().map_err(|error| format!("the survivor's {what}: {error}"))?;
    let took = start.elapsed();
    if took > NET { Err(format!("the survivor's {what} took {took:?}")) } else { Ok(result) }
}

/// Sees that sleepers are served, has everybody else leave, and takes all permits.
fn survive(
    case: &Case,
    scene: &Scene,
    mode: Mode,
    attached: (Option<Semaphore>, Option<Image>),
    meet: &mut dyn FnMut(),
) -> Result<Report, String> {
    let named = scene.path().exists();
    let start = Instant::now();
    let semaphore = match (attached.0, case.act) {
        (Some(semaphore), _) => semaphore,
        (None, Act::Unlink) if !named => timely("create_new", || scene.options.create_new("/s"))?,
        (None, act) if act.makes_semaphore() => timely("create", || scene.options.create("/s"))?,
        (None, _) => timely("open", || scene.options.open("/s"))?,
    };
    let afresh = !mode.attached && case.act == Act::Unlink && !named;
    let image = attached.1.or_else(|| Image::open(&scene.path()));
    let survivor = Survivor { case, scene, semaphore, image };
    let mut took = start.elapsed();
    // It has its turn at once if there must be a permit for it, whatever the dead one did.
    let at_once = !mode.looks && scene.sleepers.is_empty() && survivor.semaphore.permits() > survivor.others();
    if at_once {
        took += survivor.take_one()?.1;
    } else if mode.looks {
        let look = Instant::now();
        survivor.settled()?;
        took += look.elapsed();
    }
    let slept = survivor.mind_the_sleepers(afresh)?;
    let found = survivor.settled()?.permits;
    if case.beside.is_some() {
        meet();
    }
    if let Some(holder) = &scene.holder {
        holder.leave().map_err(|error| format!("the holder: {error}"))?;
    }
    let mut waiting = survivor.silent();
    if afresh {
        survivor.heard_out_of_reach(&mut waiting)?;
    }
    survivor.serve(&mut waiting)?;
    survivor.nudge(&mut waiting)?;
    for sleeper in &scene.sleepers {
        sleeper.leave().map_err(|error| format!("a sleeper: {error}"))?;
    }
    let (ended, turn) = survivor.take_one()?;
    took += if at_once { Duration::ZERO } else { turn };
    let stat = survivor.all_is_there(ended)?;
    let (closed, unlinked) = (stat.closed, stat.unlinked);
    let (back, recovered) = (stat.recovered_permits, stat.recovered);
    Ok(Report { took, slept, permits: found, back, recovered, closed, unlinked, named })
}

fn describe(stat: &SemaphoreStat) -> String {
    let holders: Vec<_> = stat.holders.iter().map(|one| (one.process.pid, one.permits)).collect();
    let waiters: Vec<_> = stat.waiters.iter().map(|one| (one.process.pid, one.permits)).collect();
    format!(
        "{} permits, {} available, holders {holders:?}, waiters {waiters:?}, {} recovered with {} permits",
        stat.permits, stat.available, stat.recovered, stat.recovered_permits
    )
}

impl Survivor<'_> {
    /// Does what it can beside a stopped process, meets it at the end of its operation and after its end, and does the rest.
    fn coexist(self, meet: &mut dyn FnMut()) -> Result<Report, String> {
        let start = Instant::now();
        match self.semaphore.stat() {
            Ok(_) | Err(chappe::AccessError::Busy) => {}
            Err(error) => return Err(format!("stat beside a stopped process: {error}")),
        }
        match self.semaphore.try_acquire() {
            Ok(permit) => drop(permit),
            Err(AcquireError::NoPermits | AcquireError::Busy) => {}
            Err(error) => return Err(format!("try_acquire beside a stopped process: {error}")),
        }
        let took = start.elapsed();
        meet();
        let stat = self.settled()?;
        if stat.available + stat.held as i64 != stat.permits as i64 {
            return Err(format!("the count is wrong beside the living: {}", describe(&stat)));
        }
        meet();
        if let Some(holder) = &self.scene.holder {
            holder.leave().map_err(|error| format!("the holder: {error}"))?;
        }
        self.take_one()?;
        let stat = self.all_is_there(false)?;
        let (permits, back, recovered) = (stat.permits, stat.recovered_permits, stat.recovered);
        Ok(Report { took, slept: None, permits, back, recovered, closed: false, unlinked: false, named: true })
    }

    /// How many permits others have who live, or may have.
    fn others(&self) -> u64 {
        self.case.holder + u64::from(self.case.beside.is_some())
    }

    /// The words of the file are as they must be.
    fn words(&self) -> Result<(), String> {
        self.image.as_ref().map_or(Ok(()), Image::check)
    }

    /// Those who have not said anything yet.
    fn silent(&self) -> Vec<usize> {
        (0..self.scene.sleepers.len()).filter(|index| !self.scene.sleepers[*index].spoke.get()).collect()
    }

    /// Sees that those are served whose turn it is. How long one slept of those whom nobody woke.
    fn mind_the_sleepers(&self, afresh: bool) -> Result<Option<Duration>, String> {
        let (start, mut waiting) = (Instant::now(), self.silent());
        let all = waiting.len();
        if afresh && self.scene.image.as_ref().is_none_or(|image| image.u32(320) == 0) {
            // The victim died between the name and the end: who has it open goes on with it.
            return Ok(None);
        } else if afresh {
            self.heard_out_of_reach(&mut waiting)?;
        } else if self.case.patient {
            self.leave_alone(&mut waiting)?;
        }
        let slept = (waiting.len() < all).then(|| start.elapsed());
        self.serve(&mut waiting)?;
        Ok(slept.or_else(|| (waiting.len() < all).then(|| start.elapsed())))
    }

    /// `stat`, after which nothing of the dead may be left, and nobody may wait in vain.
    fn settled(&self) -> Result<SemaphoreStat, String> {
        let stat = timely("stat", || self.semaphore.stat())?;
        if stat.available + stat.held as i64 != stat.permits as i64 {
            return Err(format!("the count is wrong: {}", describe(&stat)));
        }
        if stat.available < 0 && !self.case.has_fewer() {
            return Err(format!("more are held than there are: {}", describe(&stat)));
        }
        match stat.waiters.first() {
            Some(first) if !(stat.closed || stat.unlinked) && stat.available >= first.permits as i64 => {
                Err(format!("one waits whose turn has come: {}", describe(&stat)))
            }
            _ => Ok(stat),
        }
    }

    /// Hears those that have something to say, or waits until they are right to be silent.
    fn serve(&self, waiting: &mut Vec<usize>) -> Result<(), String> {
        let start = Instant::now();
        while !waiting.is_empty() {
            self.hear(waiting, Duration::from_millis(1))?;
            // One that was just served may have been on the list a moment ago: both must say that it waits.
            let stat = self.settled()?;
            self.hear(waiting, Duration::ZERO)?;
            let ended = stat.closed || stat.unlinked;
            if !ended && stat.waiters.len() == waiting.len() {
                return Ok(());
            }
            if start.elapsed() > NET {
                return Err(format!("sleepers {waiting:?} were not woken: {}", describe(&stat)));
            }
        }
        Ok(())
    }

    fn hear(&self, waiting: &mut Vec<usize>, patience: Duration) -> Result<(), String> {
        for index in waiting.clone() {
            let sleeper = &self.scene.sleepers[index];
            if !readable(sleeper.said.as_raw_fd(), patience) {
                continue;
            }
            waiting.retain(|other| *other != index);
            sleeper.spoke.set(true);
            let said = read_line(&sleeper.said)?;
            let ending = self.case.act.ends() && ["Closed", "Unlinked"].contains(&said.as_str());
            let fewer = self.case.has_fewer() && said.starts_with("TooMany");
            if said != "served" && !ending && !fewer {
                return Err(format!("a sleeper said {said:?}"));
            }
        }
        Ok(())
    }

    /// Does nothing until sleepers must have seen by themselves what they were not told.
    fn leave_alone(&self, waiting: &mut Vec<usize>) -> Result<(), String> {
        let start = Instant::now();
        while !waiting.is_empty() && start.elapsed() < PATIENCE {
            self.hear(waiting, Duration::from_millis(5))?;
        }
        // A look without repairing: what is free now was free all the time.
        let (free, permits) = (self.semaphore.available(), self.semaphore.permits());
        if !waiting.is_empty() && free > 0 {
            return Err(format!("somebody sleeps for {PATIENCE:?} beside {free} free permits of {permits}"));
        }
        let stat = self.settled()?;
        if stat.waiters.len() < waiting.len() {
            self.hear(waiting, NET)?;
            return Err(format!("somebody slept for {PATIENCE:?} until it was looked after: {}", describe(&stat)));
        }
        Ok(())
    }

    /// Sleepers on a semaphore that a newcomer cannot reach any more: they hear of its end by themselves, or are served by others who
    /// have it open.
    fn heard_out_of_reach(&self, waiting: &mut Vec<usize>) -> Result<(), String> {
        if waiting.is_empty() {
            return Ok(());
        }
        self.hear(waiting, NET)?;
        if waiting.is_empty() {
            Ok(())
        } else {
            Err(format!("sleepers {waiting:?} never heard of the end, nor had their turn"))
        }
    }

    /// What wakes those who are right to wait.
    fn nudge(&self, waiting: &mut Vec<usize>) -> Result<(), String> {
        if waiting.is_empty() {
            return Ok(());
        }
        let all: u64 =
            self.case.asleep.iter().map(|one| if let Sleeper::Permits(permits) = one { *permits } else { 1 }).sum();
        timely("set_permits", || self.semaphore.set_permits(all))?;
        self.serve(waiting)?;
        if waiting.is_empty() { Ok(()) } else { Err(format!("sleepers {waiting:?} sleep beside {all} permits")) }
    }

    /// The survivor's own turn: whether the semaphore has ended, and how long it took.
    fn take_one(&self) -> Result<(bool, Duration), String> {
        let start = Instant::now();
        if self.semaphore.permits() == 0 {
            return Ok((false, Duration::ZERO));
        }
        let ended = match self.semaphore.acquire_timeout(NET) {
            Ok(permit) => {
                drop(permit);
                false
            }
            Err(AcquireError::Closed | AcquireError::Unlinked) if self.case.act.ends() => true,
            Err(error) => {
                let stat = self.semaphore.stat().map(|stat| describe(&stat));
                return Err(format!("the survivor's acquire: {error}; {stat:?}"));
            }
        };
        Ok((ended, start.elapsed()))
    }

    /// Nobody holds, nobody waits, nobody is there but the survivor, and exactly as many permits as there are can be had.
    fn all_is_there(&self, ended: bool) -> Result<SemaphoreStat, String> {
        let stat = self.settled()?;
        if stat.held != 0 || !stat.waiters.is_empty() || stat.available != stat.permits as i64 {
            return Err(format!("something is left: {}", describe(&stat)));
        }
        self.only_participant()?;
        self.words()?;
        let files = std::fs::read_dir(self.scene.dir.path()).map_err(|error| error.to_string())?.count();
        if files > 1 {
            return Err(format!("{files} files are left in the directory"));
        }
        timely("wait_idle", || self.semaphore.wait_idle_timeout(NET))?;
        if !ended {
            let permits: Vec<_> = (0..stat.permits).map_while(|_| self.semaphore.try_acquire().ok()).collect();
            if permits.len() as u64 != stat.permits || self.semaphore.try_acquire().is_ok() {
                return Err(format!("{} permits or more can be had of {}", permits.len(), stat.permits));
            }
            self.words()?;
        }
        self.settled()
    }

    /// A handle that waited and was dropped is gone a moment later, when its sentry has looked.
    fn only_participant(&self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let participants = timely("stat", || self.semaphore.stat())?.participants;
            match participants.len() {
                1 => return Ok(()),
                _ if start.elapsed() > NET => return Err(format!("the dead are still listed: {participants:?}")),
                _ => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }
}

// ---- one kill ----

/// Kills the victim of a fresh scene after `k` instructions and lets a survivor of this kind go on.
fn one_kill(case: &Case, way: &Way, k: usize, mode: Mode, leaps: Leaps) -> Result<Outcome, String> {
    let mut set = Set::new(case, mode)?;
    let stand = set.victim.follow(way, k, leaps)?;
    set.victim.child.kill();
    let same_path = stand != Stand::Astray && !set.strayed;
    let report = set.survive(mode)?;
    let progress = judge(case, &report, mode)?;
    Ok(Outcome { took: report.took, slept: report.slept, progress, same_path })
}

/// Stops the victim after `k` instructions, has the survivor act beside it, then lets the victim finish.
fn one_pause(case: &Case, way: &Way, k: usize) -> Result<Duration, String> {
    let mut set = Set::new(case, Mode::PAUSE)?;
    set.victim.follow(way, k, Leaps::Any)?;
    set.meet()?;
    set.victim.run_to_end()?;
    set.meet()?;
    set.victim.finish()?;
    heard(&set.told.0).map_err(|error| format!("the victim: {error}"))?;
    let report = set.survive(Mode::PAUSE)?;
    let dead = u64::from(case.dead > 0);
    if (report.recovered, report.back) != (dead, case.dead) {
        return Err(format!("{dead} died, with {} permits: {report:?}", case.dead));
    }
    if !case.after.contains(&report.permits) {
        return Err(format!("{} permits instead of {:?}", report.permits, case.after));
    }
    Ok(report.took)
}

/// Checks what the survivor found and returns how much of the victim's operation was done.
fn judge(case: &Case, report: &Report, mode: Mode) -> Result<usize, String> {
    let afresh = case.act == Act::Unlink && !mode.attached && !report.named;
    let back = report.back.checked_sub(case.dead).filter(|_| !afresh).unwrap_or(0);
    if !case.earlier.is_empty() {
        return if case.after.contains(&report.permits) {
            Ok(0)
        } else {
            Err(format!("{} permits instead of one of {:?}", report.permits, case.after))
        };
    }
    let steps = |what: &str, found: u64, of: &[u64]| {
        of.iter().position(|step| *step == found).ok_or_else(|| format!("{what}: {found} instead of one of {of:?}"))
    };
    // A signal that was posted may have been taken by who waited for it.
    let taken = case.asleep.contains(&Sleeper::Signal);
    let after = if taken { 0 } else { steps("permits", report.permits, &case.after)? };
    // Between its two stores, which only a total can tell: what the two records hold then is never counted for anything else.
    let between = matches!(case.act, Act::Split | Act::Merge) && back == case.holds + 1;
    let back = if between { 0 } else { steps("permits that came back", back, &case.back)? };
    let progress = match case.act {
        Act::Close => usize::from(report.closed),
        Act::Unlink if afresh => 2,
        Act::Unlink => usize::from(!report.named) + usize::from(report.unlinked),
        Act::Create | Act::CreateEphemeral => usize::from(report.named),
        Act::DropEphemeral => usize::from(!report.named),
        _ => after + back,
    };
    if case.act == Act::Unlink && report.unlinked && report.named {
        return Err("unlinked, but the name is there".to_owned());
    }
    Ok(progress)
}

/// How much is done when the operation is over.
fn whole(case: &Case) -> usize {
    match case.act {
        Act::Close | Act::Create | Act::CreateEphemeral | Act::DropEphemeral => 1,
        Act::Unlink => 2,
        // The signal was held for a moment.
        Act::Wait | Act::TryWait => case.after.len() - 1,
        Act::Begin => 0,
        _ if case.asleep.contains(&Sleeper::Signal) => 0,
        _ => case.after.len() - 1 + case.back.len() - 1,
    }
}

// ---- the program ----

/// What dies in turn at one and the same semaphore, which must not grow by it.
fn run_at_one(kills: u64) -> Row {
    let cases = [
        Case::new(Act::Acquire(1), "", 3).acquires(1).never_used(),
        Case::new(Act::Acquire(2), "", 3).acquires(2),
        Case::new(Act::TryAcquire(1), "", 3).acquires(1).never_used(),
        Case::new(Act::ReleaseSecond, "", 3).holds_until(2, 1),
        Case::new(Act::Split, "", 3).holds(2).never_used(),
        Case::new(Act::Merge, "", 3).holds(2),
        Case::new(Act::Begin, "", 3),
        Case::new(Act::Idle, "", 3).never_used(),
        Case::new(Act::Open, "", 3),
        Case::new(Act::Drop, "", 3).holds_until(1, 0),
        Case::new(Act::Stat, "", 3),
    ];
    let mut row = Row::default();
    let mode = Mode { pause: false, attached: false, looks: false };
    let scene = Scene::new(&cases[0]);
    let mut rng = Rng::new(1);
    let mut first = None;
    let mut ways: Vec<Option<Way>> = cases.iter().map(|_| None).collect();
    for number in 0..kills {
        let which = rng.index(cases.len());
        let case = &cases[which];
        let mut at_one = |way: &mut Option<Way>| -> Result<u64, String> {
            let way = match way {
                Some(way) => way,
                None => way.insert(kill::Case::measure(case, mode)?),
            };
            let mut victim = start_victim(case, &scene, None)?;
            victim.follow(way, rng.index(way.len() + 1), Leaps::Any)?;
            victim.child.kill();
            look_after(&scene)
        };
        match at_one(&mut ways[which]) {
            Ok(memory) if memory > *first.get_or_insert(memory) => {
                row.fault(0, None, mode, &format!("after {number} kills it has grown to {memory} bytes"));
                break;
            }
            Ok(_) => {}
            Err(what) => row.fault(0, None, mode, &format!("{} ({number} kills before): {what}", case.title())),
        }
        row.kills += 1;
    }
    row
}

/// A newcomer sees to the dead, takes all, and goes; the memory that the semaphore takes.
fn look_after(scene: &Scene) -> Result<u64, String> {
    let newcomer = Extra::start(|_, says| {
        let semaphore = scene.options.open("/s").expect("the newcomer opens");
        let all = semaphore.acquire_many_timeout(3, NET).map(drop);
        let stat = semaphore.stat().expect("stat");
        let good = all.is_ok() && (stat.held, stat.available, stat.participants.len()) == (0, 3, 1);
        drop(semaphore);
        let text = if good { stat.memory.to_string() } else { format!("{all:?}, {}", describe(&stat)) };
        writeln!(says, "{text}").expect("its pipe");
    });
    let said = read_line(&newcomer.said)?;
    said.parse().map_err(|_| said)
}

/// The checker that all rows rely on complains if a word is wrong: the count, the lists, and the records that are in use.
fn run_checker() -> Row {
    let mut row = Row::default();
    let scene = Scene::new(&Case::new(Act::Stat, "", 3));
    let semaphore = scene.options.open("/s").expect("its semaphore opens");
    let permit = semaphore.acquire_many(2).expect("two permits");
    let waiting = semaphore.acquire_timeout(Duration::ZERO).map(drop);
    let image = Image::open(&scene.path()).expect("its file");
    let held = (0..image.u32(324)).find(|record| image.record(*record).0 == 1).expect("who holds");
    let record = 266_240 + 128 * u64::from(held);
    let places = [320, 384, 388, 512, 516, 520, 536, 540, 544, 548, record, record + 4, record + 8];
    match image.check() {
        Ok(()) if waiting.is_ok() => {}
        other => row.fault(0, None, Mode::PAUSE, &format!("a sound file: {other:?}, {waiting:?}")),
    }
    for place in image.blind_spots(&scene.path(), &places) {
        row.fault(0, None, Mode::PAUSE, &format!("nothing is wrong with one more at {place} of the file"));
    }
    drop(permit);
    row
}

fn jobs() -> Vec<Job> {
    let debug = cfg!(debug_assertions);
    let plan = Plan::new(if debug { 6 } else { 18 });
    let pauses = number("CHAPPE_KILL_PAUSES").unwrap_or(if debug { 2 } else { 4 }).max(1) as usize;
    let deaths = number("CHAPPE_KILL_PAIRS").unwrap_or(if debug { 0 } else { 2 }) as usize;
    let kills = number("CHAPPE_KILL_ONE").unwrap_or(if debug { 50 } else { 200 });
    let mut jobs = vec![Job { title: "the checker | a wrong word".to_owned(), long: true, run: Box::new(run_checker) }];
    for case in cases() {
        let long = case.act.long() || case.patient;
        jobs.push(Job { title: case.title(), long, run: Box::new(move || kill::run(&case, plan)) });
    }
    for case in paused() {
        let title = format!("pause: {}", case.title());
        let run = move || kill::run_pauses(&case, pauses, |way, k| one_pause(&case, way, k));
        jobs.push(Job { title, long: true, run: Box::new(run) });
    }
    jobs.push(Job { title: "many at one semaphore".to_owned(), long: true, run: Box::new(move || run_at_one(kills)) });
    if deaths == 0 {
        println!(
            "deaths of repairers: skipped in a debug build; `cargo test --release --test semaphore_kill` has them"
        );
    }
    let pairs = pairs().into_iter().map(|(first, last)| (vec![first], last));
    let triples = triples().into_iter().map(|(first, second, last)| (vec![first, second], last));
    for (firsts, last) in pairs.chain(triples).filter(|_| deaths > 0) {
        let names = firsts.iter().map(|case| case.act.name()).collect::<Vec<_>>().join(", then ");
        let used = if firsts[0].used == Used::Never { " (as created)" } else { "" };
        let title = format!("{} | after a death in {names}{used}", last.act.name());
        let run = move || {
            kill::run_deaths(
                &firsts,
                plan,
                deaths,
                |case, before| case.after_deaths(before),
                |before| last.after_deaths(before),
            )
        };
        jobs.push(Job { title, long: true, run: Box::new(run) });
    }
    jobs
}

fn main() -> ExitCode {
    Program { test: "death_at_every_instruction_of_a_semaphore", lanes: 3, pinned: true }.main(jobs)
}
