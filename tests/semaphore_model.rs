//! Random operations on a semaphore, through several handles, against a reference that fits on a page.
//!
//! One thread decides everything, and waits are futures that it polls by hand, so a run follows from its seed: after every
//! step the semaphore must say exactly what the reference says. `CHAPPE_SEMAPHORE_MODEL_SEED` repeats a run,
//! `CHAPPE_SEMAPHORE_MODEL_ROUNDS` says how many runs of 400 steps there are.

mod common;

use chappe::{AccessError, AcquireError, PERMITS_MAX, Permit, Semaphore, SemaphoreOptions};
use common::{Rng, number, scratch, seed, until};
use std::collections::VecDeque;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

const STEPS: u64 = 400;
const HANDLES: usize = 3;

fn options(dir: &Path) -> SemaphoreOptions {
    let mut options = Semaphore::options();
    options.dir(dir);
    options
}

// ---- the reference ----

type Id = u64;

/// What has become of one who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waits,
    Granted,
    Rejected,
}

/// The semaphore as it should be: how many permits there are, who holds how many, and who waits in which order.
#[derive(Debug, Default)]
struct Reference {
    permits: u64,
    held: Vec<(Id, u64)>,
    waiting: VecDeque<(Id, u64)>,
    rejected: Vec<Id>,
    closed: bool,
}

impl Reference {
    fn sum(&self) -> u64 {
        self.held.iter().map(|(_, permits)| permits).sum()
    }

    fn available(&self) -> i64 {
        self.permits as i64 - self.sum() as i64
    }

    fn fits(&self, permits: u64) -> bool {
        i64::try_from(permits).is_ok_and(|permits| permits <= self.available())
    }

    fn too_many(&self, permits: u64) -> bool {
        self.permits > 0 && permits > self.permits
    }

    /// Acquires at once, or says why not; `NoPermits` stands for all that would have to wait.
    fn acquire(&mut self, id: Id, permits: u64) -> Result<(), AcquireError> {
        if self.closed {
            return Err(AcquireError::Closed);
        }
        if self.too_many(permits) {
            return Err(AcquireError::TooMany { asked: permits, permits: self.permits });
        }
        if !self.waiting.is_empty() || !self.fits(permits) {
            return Err(AcquireError::NoPermits);
        }
        self.held.push((id, permits));
        Ok(())
    }

    fn wait(&mut self, id: Id, permits: u64) {
        self.waiting.push_back((id, permits));
    }

    fn fate(&self, id: Id) -> Fate {
        if self.held.iter().any(|(other, _)| *other == id) {
            Fate::Granted
        } else if self.rejected.contains(&id) {
            Fate::Rejected
        } else {
            Fate::Waits
        }
    }

    /// Whatever it was, it is not any more: a permit is given back, a place in the queue given up.
    fn end(&mut self, id: Id) {
        self.held.retain(|(other, _)| *other != id);
        self.waiting.retain(|(other, _)| *other != id);
        self.rejected.retain(|other| *other != id);
        self.settle();
    }

    fn forget(&mut self, id: Id) {
        let permits = self.of(id);
        self.held.retain(|(other, _)| *other != id);
        self.permits = self.permits.saturating_sub(permits);
        self.settle();
    }

    fn take_signal(&mut self) -> Result<(), AcquireError> {
        if self.closed {
            return Err(AcquireError::Closed);
        }
        if !self.waiting.is_empty() || !self.fits(1) {
            return Err(AcquireError::NoPermits);
        }
        self.permits -= 1;
        Ok(())
    }

    fn set_permits(&mut self, permits: Option<u64>) -> Result<(), AccessError> {
        self.permits = permits.filter(|permits| *permits <= PERMITS_MAX).ok_or(AccessError::Full)?;
        self.settle();
        Ok(())
    }

    fn of(&self, id: Id) -> u64 {
        self.held.iter().find(|(other, _)| *other == id).expect("it holds").1
    }

    fn change(&mut self, id: Id, permits: u64) {
        self.held.iter_mut().find(|(other, _)| *other == id).expect("it holds").1 = permits;
    }

    /// Who waits for more than there are is refused; the others are served in their order. After the end nobody is.
    fn settle(&mut self) {
        if self.closed {
            return;
        }
        let (permits, rejected) = (self.permits, &mut self.rejected);
        self.waiting.retain(|(id, wanted)| {
            let too_many = permits > 0 && *wanted > permits;
            if too_many {
                rejected.push(*id);
            }
            !too_many
        });
        while let Some((id, wanted)) = self.waiting.front().copied() {
            if !self.fits(wanted) {
                break;
            }
            self.waiting.pop_front();
            self.held.push((id, wanted));
        }
    }
}

// ---- a run ----

type Waiting = Pin<Box<dyn Future<Output = Result<Permit<'static>, AcquireError>>>>;

struct Held {
    id: Id,
    handle: usize,
    permit: Permit<'static>,
}

struct Queued {
    id: Id,
    handle: usize,
    permits: u64,
    future: Waiting,
}

/// One run: a semaphore with a few handles, its reference, and the generator that decides everything.
struct Run {
    dir: tempfile::TempDir,
    handles: Vec<Semaphore>,
    reference: Reference,
    held: Vec<Held>,
    queued: Vec<Queued>,
    /// Permits that were leaked: by which handle.
    leaked: Vec<(usize, Id)>,
    rng: Rng,
    next: Id,
    /// What was done last, for whoever reads a failure.
    doing: String,
}

/// One look at a future. Nothing depends on being woken here.
fn poll(future: &mut Waiting) -> Poll<Result<Permit<'static>, AcquireError>> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

impl Run {
    fn new(permits: u64, rng: Rng) -> Run {
        let dir = scratch();
        let made = options(dir.path()).permits(permits).create_new("/s").unwrap();
        let mut handles = vec![made];
        handles.extend((1..HANDLES).map(|_| options(dir.path()).open("/s").unwrap()));
        let reference = Reference { permits, ..Reference::default() };
        let (held, queued, leaked) = (Vec::new(), Vec::new(), Vec::new());
        Run { dir, handles, reference, held, queued, leaked, rng, next: 0, doing: String::new() }
    }

    fn id(&mut self) -> Id {
        self.next += 1;
        self.next
    }

    /// How many permits to ask for: mostly few, sometimes none or all, rarely more than there are.
    fn wanted(&mut self) -> u64 {
        match self.rng.below(20) {
            0 => 0,
            1 => self.reference.permits,
            2 => self.reference.permits + 1,
            3 => PERMITS_MAX,
            4..=7 => 1 + self.rng.below(6),
            _ => 1,
        }
    }

    fn one_step(&mut self) {
        match self.rng.below(100) {
            0..20 => self.acquire(),
            20..38 => self.begin(),
            38..56 => self.look(),
            56..60 => self.give_up(),
            60..78 => self.release(),
            78..81 => self.split(),
            81..84 => self.merge(),
            84..86 => self.forget(),
            86..91 => self.set_permits(),
            91..94 => self.signal(),
            94..96 => self.idle(),
            96 => self.leak(),
            97 => self.reopen(),
            _ if self.rng.one_in(50) => self.close(),
            _ => self.release(),
        }
        self.compare();
    }

    /// Does it in another thread now and then, which has other records than this one.
    fn somewhere<T: Send>(&mut self, act: impl FnOnce() -> T + Send) -> T {
        if self.rng.one_in(5) { thread::scope(|scope| scope.spawn(act).join().unwrap()) } else { act() }
    }

    fn acquire(&mut self) {
        let (handle, wanted, timed, id) = (self.rng.index(HANDLES), self.wanted(), self.rng.one_in(3), self.id());
        self.doing = format!("try to acquire {wanted} through {handle}, timed {timed}");
        let semaphore = self.handles[handle].clone();
        let got = self.somewhere(|| {
            let permit = match timed {
                true => semaphore.acquire_many_timeout(wanted, Duration::ZERO),
                false => semaphore.try_acquire_many(wanted),
            };
            permit.map(Permit::into_static)
        });
        let expected = self.reference.acquire(id, wanted).map_err(|error| match error {
            AcquireError::NoPermits if timed => AcquireError::TimedOut,
            error => error,
        });
        self.granted(id, handle, wanted, got, expected);
    }

    fn granted(
        &mut self,
        id: Id,
        handle: usize,
        wanted: u64,
        got: Result<Permit<'static>, AcquireError>,
        expected: Result<(), AcquireError>,
    ) {
        let result = got.as_ref().map(Permit::permits).map_err(|error| *error);
        assert_eq!(result, expected.map(|()| wanted), "{}", self.doing);
        if let Ok(permit) = got {
            if self.rng.one_in(8) {
                permit.set_label("labelled");
            }
            self.held.push(Held { id, handle, permit });
        }
    }

    /// A new future, polled once: it has ended, or has its place in the queue.
    fn begin(&mut self) {
        let (handle, permits, id) = (self.rng.index(HANDLES), self.wanted(), self.id());
        self.doing = format!("begin to wait for {permits} through {handle}");
        let semaphore = self.handles[handle].clone();
        let mut future: Waiting =
            Box::pin(async move { semaphore.acquire_many_async(permits).await.map(Permit::into_static) });
        let expected = self.reference.acquire(id, permits);
        match poll(&mut future) {
            Poll::Ready(got) => self.granted(id, handle, permits, got, expected),
            Poll::Pending => {
                assert_eq!(expected, Err(AcquireError::NoPermits), "{}: it waits", self.doing);
                self.reference.wait(id, permits);
                self.queued.push(Queued { id, handle, permits, future });
            }
        }
    }

    fn look(&mut self) {
        if self.queued.is_empty() {
            return;
        }
        let chosen = self.rng.index(self.queued.len());
        let mut queued = self.queued.swap_remove(chosen);
        self.doing = format!("poll the one that wants {} through {}", queued.permits, queued.handle);
        let fate = self.reference.fate(queued.id);
        let Poll::Ready(got) = poll(&mut queued.future) else {
            assert!(fate == Fate::Waits && !self.reference.closed, "{}: it waits, but {fate:?}", self.doing);
            return self.queued.push(queued);
        };
        let all = self.reference.permits;
        let expected = match fate {
            Fate::Granted => Ok(()),
            Fate::Rejected => Err(AcquireError::TooMany { asked: queued.permits, permits: all }),
            Fate::Waits if self.reference.closed => Err(AcquireError::Closed),
            Fate::Waits => panic!("{}: it should wait, and got {got:?}", self.doing),
        };
        if expected.is_err() {
            self.reference.end(queued.id);
        }
        self.granted(queued.id, queued.handle, queued.permits, got, expected);
    }

    fn give_up(&mut self) {
        if self.queued.is_empty() {
            return;
        }
        let queued = self.queued.swap_remove(self.rng.index(self.queued.len()));
        self.doing = format!("drop the future that wants {} through {}", queued.permits, queued.handle);
        drop(queued.future);
        self.reference.end(queued.id);
    }

    fn any_held(&mut self) -> Option<usize> {
        (!self.held.is_empty()).then(|| self.rng.index(self.held.len()))
    }

    fn release(&mut self) {
        let Some(chosen) = self.any_held() else { return };
        let held = self.held.swap_remove(chosen);
        self.doing = format!("release {} through {}", held.permit.permits(), held.handle);
        self.somewhere(|| drop(held.permit));
        self.reference.end(held.id);
    }

    fn split(&mut self) {
        let Some(chosen) = self.any_held() else { return };
        let (id, some) = (self.id(), self.rng.below(4));
        let held = &mut self.held[chosen];
        let all = held.permit.permits();
        self.doing = format!("split {some} off {all}");
        let part = held.permit.split(some);
        if some >= all {
            assert_eq!(part.err(), Some(AccessError::Full), "{}", self.doing);
            return;
        }
        let permit = part.unwrap_or_else(|error| panic!("{}: {error}", self.doing));
        assert_eq!((held.permit.permits(), permit.permits()), (all - some, some), "{}", self.doing);
        self.reference.change(held.id, all - some);
        self.reference.held.push((id, some));
        let handle = held.handle;
        self.held.push(Held { id, handle, permit });
    }

    /// Of one handle: of two it is the caller's mistake.
    fn merge(&mut self) {
        let Some(chosen) = self.any_held() else { return };
        let other = self.held.swap_remove(chosen);
        let Some(into) = self.held.iter_mut().find(|held| held.handle == other.handle) else {
            return self.held.push(other);
        };
        let sum = into.permit.permits() + other.permit.permits();
        self.doing = format!("merge into {sum}");
        into.permit.merge(other.permit).unwrap_or_else(|error| panic!("{}: {error}", self.doing));
        assert_eq!(into.permit.permits(), sum);
        self.reference.held.retain(|(id, _)| *id != other.id);
        self.reference.change(into.id, sum);
    }

    fn forget(&mut self) {
        let Some(chosen) = self.any_held() else { return };
        let held = self.held.swap_remove(chosen);
        self.doing = format!("forget {}", held.permit.permits());
        held.permit.forget().unwrap_or_else(|error| panic!("{}: {error}", self.doing));
        self.reference.forget(held.id);
    }

    fn set_permits(&mut self) {
        let (before, handle) = (self.reference.permits, self.rng.index(HANDLES));
        let permits = match self.rng.below(12) {
            0 => 0,
            1 => PERMITS_MAX,
            2 => PERMITS_MAX + 1,
            3 => before,
            4 => before + 1,
            5 => before.saturating_sub(1),
            _ => self.rng.below(8),
        };
        self.doing = format!("set permits from {before} to {permits}");
        let got = self.handles[handle].set_permits(permits);
        assert_eq!(got, self.reference.set_permits(Some(permits)), "{}", self.doing);
    }

    fn signal(&mut self) {
        let handle = self.rng.index(HANDLES);
        let semaphore = &self.handles[handle];
        if self.rng.one_in(2) {
            let signals = [0, 1, 1, 1, 2, 5, u64::MAX][self.rng.index(7)];
            self.doing = format!("post {signals}");
            let sum = self.reference.permits.checked_add(signals);
            let got = semaphore.post_many(signals);
            assert_eq!(got, self.reference.set_permits(sum), "{}", self.doing);
        } else {
            "take a signal".clone_into(&mut self.doing);
            assert_eq!(semaphore.try_wait(), self.reference.take_signal(), "{}", self.doing);
        }
    }

    fn idle(&mut self) {
        "look whether it is idle".clone_into(&mut self.doing);
        let got = self.handles[self.rng.index(HANDLES)].wait_idle_timeout(Duration::ZERO);
        let expected = if self.reference.sum() == 0 { Ok(()) } else { Err(AcquireError::TimedOut) };
        assert_eq!(got, expected, "{}", self.doing);
    }

    /// A permit that borrows its handle, since one that keeps it would keep it for ever.
    fn leak(&mut self) {
        let (handle, wanted, id) = (self.rng.index(HANDLES), self.wanted(), self.id());
        self.doing = format!("leak {wanted} through {handle}");
        let got = self.handles[handle].try_acquire_many(wanted).map(std::mem::forget);
        assert_eq!(got, self.reference.acquire(id, wanted), "{}", self.doing);
        if got.is_ok() {
            self.leaked.push((handle, id));
        }
    }

    /// A handle goes, with all that was acquired through it, and another one comes.
    fn reopen(&mut self) {
        let handle = self.rng.index(HANDLES);
        self.doing = format!("reopen {handle}");
        for index in
            (0..self.queued.len()).rev().filter(|index| self.queued[*index].handle == handle).collect::<Vec<_>>()
        {
            let queued = self.queued.remove(index);
            drop(queued.future);
            self.reference.end(queued.id);
        }
        for index in (0..self.held.len()).rev().filter(|index| self.held[*index].handle == handle).collect::<Vec<_>>() {
            let held = self.held.remove(index);
            drop(held.permit);
            self.reference.end(held.id);
        }
        let fresh = options(self.dir.path()).open("/s").unwrap();
        drop(std::mem::replace(&mut self.handles[handle], fresh));
        let leaked = std::mem::take(&mut self.leaked);
        let (gone, left) = leaked.into_iter().partition(|(of, _)| *of == handle);
        self.leaked = left;
        gone.iter().for_each(|(_, id)| self.reference.end(*id));
        until("the handle to go", || self.handles[0].stat().unwrap().participants.len() == HANDLES);
    }

    fn close(&mut self) {
        "close".clone_into(&mut self.doing);
        self.handles[self.rng.index(HANDLES)].close().unwrap();
        self.reference.closed = true;
    }

    /// All that can be seen must be what the reference says.
    fn compare(&mut self) {
        let (reference, doing) = (&self.reference, &self.doing);
        let stat = self.handles[self.rng.index(HANDLES)].stat().unwrap();
        let numbers = (stat.permits, stat.available, stat.held, stat.closed);
        let expected = (reference.permits, reference.available(), reference.sum(), reference.closed);
        assert_eq!(numbers, expected, "after: {doing}\n{reference:?}");
        let waiting: Vec<u64> = stat.waiters.iter().map(|waiter| waiter.permits).collect();
        let expected: Vec<u64> = reference.waiting.iter().map(|(_, permits)| *permits).collect();
        assert_eq!(waiting, expected, "after: {doing}");
        let mut holding: Vec<u64> = stat.holders.iter().map(|holder| holder.permits).collect();
        let mut expected: Vec<u64> = reference.held.iter().map(|(_, permits)| *permits).collect();
        holding.sort_unstable();
        expected.sort_unstable();
        assert_eq!(holding, expected, "after: {doing}");
        for handle in &self.handles {
            let seen = (handle.permits(), handle.available());
            assert_eq!(seen, (reference.permits, reference.available().max(0) as u64), "after: {doing}");
        }
        assert_eq!((stat.recovered, stat.recovered_permits), (0, 0), "nobody died; after: {doing}");
    }

    /// Everything goes back, and nothing is left over.
    fn finish(mut self) {
        while !self.queued.is_empty() {
            self.give_up();
        }
        while !self.held.is_empty() {
            self.release();
        }
        (0..HANDLES).for_each(|_| self.compare());
        assert_eq!(self.reference.held.len(), self.leaked.len(), "only what was leaked is held still");
    }
}

#[test]
fn a_semaphore_equals_its_reference() {
    let seed = seed("CHAPPE_SEMAPHORE_MODEL_SEED");
    let rounds = number("CHAPPE_SEMAPHORE_MODEL_ROUNDS").unwrap_or(60);
    for round in 0..rounds {
        let mut rng = Rng::new(seed ^ round << 32);
        let permits = [0, 1, 1, 2, 3, 5, 8, PERMITS_MAX][rng.index(8)];
        let mut run = Run::new(permits, rng);
        for step in 0..STEPS {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.one_step()));
            if let Err(panic) = result {
                println!("seed {seed}, round {round}, step {step}, of {permits} permits");
                std::panic::resume_unwind(panic);
            }
        }
        run.finish();
    }
}
