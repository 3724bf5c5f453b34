//! Who uses a segment: every call, chosen by the input, and what must hold of each answer.

use super::Scene;
use super::base::options;
use super::reference::Reference;
use crate::input::Input;
use crate::place::{forge_lock, patch, unforge_lock};
use chappe::{AcquireError, OpenError, PERMITS_MAX, Permit, Semaphore};
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Calls in one input, at most.
const CALLS: u32 = 48;

pub type Waiting = Pin<Box<dyn Future<Output = Result<Permit<'static>, AcquireError>>>>;

/// A future that has been polled once.
pub fn begin(semaphore: &Semaphore, permits: u64) -> Option<Waiting> {
    let semaphore = semaphore.clone();
    let mut future: Waiting =
        Box::pin(async move { semaphore.acquire_many_async(permits).await.map(Permit::into_static) });
    poll(&mut future).is_pending().then_some(future)
}

fn poll(future: &mut Waiting) -> Poll<Result<Permit<'static>, AcquireError>> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

pub struct User<'a> {
    scene: &'a Scene,
    semaphores: Vec<Semaphore>,
    /// In the order of the reference's, while that is known; each of the handle with this number.
    held: Vec<(usize, Permit<'static>)>,
    waiting: Vec<Waiting>,
    /// What must be answered, while it is known.
    reference: Option<Reference>,
    /// May call what starts threads.
    threads: bool,
    /// For choices that cost much.
    pub lot: Input<'static>,
    opened: usize,
}

const MOMENT: Duration = Duration::from_micros(20);

fn moment(choice: u8) -> Duration {
    if choice & 0x20 != 0 { MOMENT } else { Duration::ZERO }
}

impl<'a> User<'a> {
    pub(super) fn new(scene: &'a Scene, reference: Option<Reference>, threads: bool, lot: u64) -> User<'a> {
        let (semaphores, held, waiting) = (Vec::new(), Vec::new(), Vec::new());
        User { scene, semaphores, held, waiting, reference, threads, lot: Input::lot_only(lot), opened: 0 }
    }

    /// Opens, and plays; whoever is to look after the dead first does so.
    pub fn play(&mut self, input: &mut Input, two: bool, look_first: bool) {
        if self.open_first(two && !look_first) {
            if look_first {
                self.stat(0);
            }
            if two && look_first {
                self.open();
            }
            self.play_on(input);
        }
    }

    pub fn play_on(&mut self, input: &mut Input) {
        for _ in 0..CALLS {
            if input.is_empty() || self.semaphores.is_empty() {
                return;
            }
            self.call(input);
        }
    }

    /// Whether it could be opened.
    pub fn open_first(&mut self, two: bool) -> bool {
        self.open();
        if two && !self.semaphores.is_empty() {
            self.open();
        }
        !self.semaphores.is_empty()
    }

    fn open(&mut self) {
        let mut options = options(&self.scene.stage.dir);
        options.keeper(self.threads);
        self.opened += 1;
        // By the name, or by a descriptor.
        let opened = match self.opened % 3 {
            0 => options.from_fd(self.scene.stage.file.try_clone().expect("there are descriptors left").into()),
            _ => options.open("/s"),
        };
        match opened {
            Ok(semaphore) => self.semaphores.push(semaphore),
            Err(OpenError::NotFound { .. }) if self.reference.as_ref().is_some_and(|reference| reference.unlinked) => {}
            Err(error) => {
                assert!(self.reference.is_none(), "a semaphore that is right cannot be opened: {error:?}");
                assert!(!error.to_string().is_empty());
            }
        }
    }

    fn number(&self, choice: u8) -> usize {
        usize::from(choice >> 7) % self.semaphores.len()
    }

    fn semaphore(&self, choice: u8) -> &Semaphore {
        &self.semaphores[self.number(choice)]
    }

    fn call(&mut self, input: &mut Input) {
        let (what, choice) = (input.byte(), input.byte());
        match what % 32 {
            0..=7 => self.acquire(choice, input),
            8..=12 => self.release(choice),
            13 => self.set(choice, input),
            14 => self.post(choice),
            15 | 16 => self.wait(choice),
            17 => self.idle(choice),
            18 => self.forget(choice),
            19 | 20 => self.split(choice, input),
            21 => self.merge(choice),
            22 | 23 if self.threads => self.future(choice),
            22 | 23 => self.label(choice),
            24 | 25 => self.stat(choice),
            26 => self.end(choice),
            27 => self.lock(input),
            _ => self.damage(input),
        }
        self.look();
    }

    /// Compares an answer with that of the reference, if that is known.
    fn check<T: std::fmt::Debug + PartialEq>(
        &mut self,
        what: &str,
        answer: &T,
        expected: impl FnOnce(&mut Reference) -> T,
    ) {
        if let Some(reference) = &mut self.reference {
            assert_eq!(*answer, expected(reference), "{what}");
        }
    }

    fn look(&mut self) {
        let Some(semaphore) = self.semaphores.first() else { return };
        let seen = (semaphore.permits(), semaphore.available());
        self.check("look", &seen, |reference| (reference.permits, reference.available().max(0) as u64));
    }

    fn acquire(&mut self, choice: u8, input: &mut Input) {
        let asked = match input.byte() {
            asked @ ..240 => u64::from(asked % 6),
            240..248 => PERMITS_MAX + 1,
            _ => input.word(),
        };
        let number = self.number(choice);
        let timed = choice & 0x60 == 0x60 && self.threads;
        let permit = match timed {
            true => self.semaphore(choice).acquire_many_timeout(asked, moment(choice)),
            false => self.semaphore(choice).try_acquire_many(asked),
        };
        let permit = permit.map(Permit::into_static);
        let answer = permit.as_ref().map(|_| ()).map_err(|error| *error);
        if let Ok(permit) = permit {
            assert_eq!(permit.permits(), asked);
            self.held.push((number, permit));
        }
        self.check("acquire", &answer, |reference| in_time(reference.acquire(asked), timed));
    }

    fn release(&mut self, choice: u8) {
        if !self.held.is_empty() {
            let chosen = usize::from(choice) % self.held.len();
            drop(self.held.remove(chosen));
            self.check("release", &(), |reference| {
                reference.held.remove(chosen);
            });
        }
    }

    fn set(&mut self, choice: u8, input: &mut Input) {
        let permits = if choice & 0x1f == 0x1f { input.word() } else { u64::from(choice % 8) };
        let set = self.semaphore(choice).set_permits(permits);
        self.check("set", &set, |reference| reference.set(permits));
    }

    fn post(&mut self, choice: u8) {
        let posted = self.semaphore(choice).post_many(u64::from(choice % 4));
        self.check("post", &posted, |reference| reference.post(u64::from(choice % 4)));
    }

    fn wait(&mut self, choice: u8) {
        let timed = choice & 0x60 == 0x60 && self.threads;
        let waited = match timed {
            true => self.semaphore(choice).wait_timeout(moment(choice)),
            false => self.semaphore(choice).try_wait(),
        };
        self.check("wait", &waited, |reference| in_time(reference.wait(), timed));
    }

    fn idle(&mut self, choice: u8) {
        if self.threads {
            let idle = self.semaphore(choice).wait_idle_timeout(moment(choice));
            self.check("idle", &idle, |reference| match reference.held.iter().sum::<u64>() {
                0 => Ok(()),
                _ => Err(AcquireError::TimedOut),
            });
        }
    }

    fn forget(&mut self, choice: u8) {
        if !self.held.is_empty() {
            let chosen = usize::from(choice) % self.held.len();
            let forgotten = self.held.remove(chosen).1.forget();
            self.check("forget", &forgotten, |reference| {
                reference.forget(chosen);
                Ok(())
            });
        }
    }

    fn split(&mut self, choice: u8, input: &mut Input) {
        if !self.held.is_empty() {
            let (chosen, some) = (usize::from(choice) % self.held.len(), u64::from(input.byte() % 4));
            let (number, permit) = &mut self.held[chosen];
            let (number, part) = (*number, permit.split(some));
            let answer = part.as_ref().map(|_| ()).map_err(|error| *error);
            self.held.extend(part.ok().map(|part| (number, part)));
            self.check("split", &answer, |reference| reference.split(chosen, some));
        }
    }

    /// The last two, if they are of one handle.
    fn merge(&mut self, _: u8) {
        if let [.., (one, _), (other, _)] = self.held[..]
            && one == other
            && let Some((_, part)) = self.held.pop()
            && let Some((_, whole)) = self.held.last_mut()
        {
            let merged = whole.merge(part);
            self.check("merge", &merged, |reference| {
                let part = reference.held.pop().unwrap_or(0);
                reference.held.iter_mut().next_back().into_iter().for_each(|whole| *whole += part);
                Ok(())
            });
        }
    }

    fn label(&mut self, choice: u8) {
        if let Some((_, permit)) = self.held.last() {
            permit.set_label(if choice & 1 == 0 {
                "short"
            } else {
                "so long that it takes more than the 64 bytes of a record, ä"
            });
        }
    }

    /// With waiters answers depend on threads, too: nothing is compared from here on.
    fn future(&mut self, choice: u8) {
        self.reference = None;
        match choice % 4 {
            0 | 1 if self.waiting.len() < 8 => {
                self.waiting.extend(begin(self.semaphore(choice), u64::from(choice / 4 % 4)))
            }
            2 if !self.waiting.is_empty() => {
                let chosen = usize::from(choice / 4) % self.waiting.len();
                if let Poll::Ready(result) = poll(&mut self.waiting[chosen]) {
                    drop(self.waiting.swap_remove(chosen));
                    // Of which handle it is is not known: it is given back.
                    drop(result);
                }
            }
            _ => drop(self.waiting.pop()),
        }
    }

    fn stat(&mut self, choice: u8) {
        let stat = self.semaphore(choice).stat();
        let participants = self.semaphores.len();
        let told = stat.map(|stat| {
            assert!(stat.participants.len() <= 4095 && stat.holders.len() <= 65_536 && stat.waiters.len() <= 65_536);
            // A byte that is no text becomes a character of three.
            assert!(stat.holders.iter().all(|holder| holder.label.len() <= 3 * 64));
            let (closed, unlinked) = (stat.closed || stat.unlinked, stat.unlinked);
            let counts = (stat.permits, stat.available, stat.held, stat.holders.len());
            (counts, stat.waiters.len(), closed, unlinked, stat.participants.len())
        });
        self.check("stat", &told, |reference| {
            let held = reference.held.iter().sum();
            let counts = (reference.permits, reference.available(), held, reference.held.len());
            Ok((counts, 0, reference.closed || reference.unlinked, reference.unlinked, participants))
        });
    }

    /// Seldom, since little follows.
    fn end(&mut self, choice: u8) {
        match choice % 16 {
            0 => {
                let closed = self.semaphore(choice).close();
                self.check("close", &closed, |reference| {
                    reference.closed = true;
                    Ok(())
                });
            }
            1 => {
                let unlinked = options(&self.scene.stage.dir).unlink("/s").is_ok();
                self.check("unlink", &unlinked, |reference| !std::mem::replace(&mut reference.unlinked, true));
            }
            2 => drop(chappe::list(&self.scene.stage.dir)),
            3 => drop(chappe::deadlocks(&self.scene.stage.dir)),
            4 => drop(format!("{:?}", self.semaphore(choice))),
            5..=8 if self.semaphores.len() < 2 => self.open(),
            _ => {}
        }
    }

    /// A few more wild words, from here on.
    fn damage(&mut self, input: &mut Input) {
        if self.reference.is_none() {
            patch(&self.scene.stage, &self.scene.areas, input);
        }
    }

    /// Somebody has the lock: a dead one, or, since each call then takes half a second, rarely one that lives.
    fn lock(&mut self, input: &mut Input) {
        if self.reference.is_some() {
            return;
        }
        let drawn = if input.byte() & 1 != 0 { u32::from(input.byte()) } else { input.word() as u32 };
        let living = self.lot.lot_one_in(4096, 2);
        let forged = forge_lock(&self.scene.stage, drawn, 4, living);
        if living {
            let _ = self.semaphore(input.byte()).try_wait();
            unforge_lock(&self.scene.stage, forged);
        }
    }

    /// Gives everything back, whatever has become of it, and the handles go.
    pub fn leave(&mut self) {
        self.waiting.clear();
        self.held.clear();
        self.semaphores.clear();
    }

    /// Nobody else has the semaphore, and nobody damages it any more: it opens or says why not, its calls end, and none waits for a
    /// lock.
    pub fn comes_to_an_undisturbed_one(&mut self) {
        self.threads = false;
        self.open();
        for semaphore in &self.semaphores {
            for _ in 0..3 {
                let permit = semaphore.try_acquire();
                assert_ne!(permit.err(), Some(AcquireError::Busy), "nobody is there who could hold the lock");
            }
        }
        self.leave();
    }

    /// Another semaphore of this process works, one that was there before; now and then also a new one.
    pub fn finds_others_unharmed(&self) {
        thread_local! {
            static OTHER: RefCell<Option<Semaphore>> = const { RefCell::new(None) };
        }
        OTHER.with_borrow_mut(|other| {
            let other = match other {
                Some(other) if !self.lot.lot_one_in(2048, 3) => other,
                _ => other.insert(a_new_one()),
            };
            let both = other.try_acquire_many(2).expect("nobody else has it");
            assert_eq!(other.try_acquire().err(), Some(AcquireError::NoPermits));
            drop(both);
        });
    }
}

fn a_new_one() -> Semaphore {
    let dir = crate::stage::directory();
    let mut options = options(&dir);
    let _ = options.unlink("/other");
    options.permits(2).create_new("/other").expect("it can be made")
}

fn in_time(answer: Result<(), AcquireError>, timed: bool) -> Result<(), AcquireError> {
    match answer {
        Err(AcquireError::NoPermits) if timed => Err(AcquireError::TimedOut),
        answer => answer,
    }
}
