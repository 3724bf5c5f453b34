//! Semaphores: holders, waiters, and those who change the number of permits or end it, in every order, and with deaths. The code is the
//! library's, from `shm::semaphore` down; the semaphore is strict, so that there are no keepers, and its sentries sleep through it all.

use crate::deadline::Wait;
use crate::error::AcquireError;
use crate::object::{Object, word};
use crate::shm::layout::Life;
use crate::shm::semaphore::{Core, Purpose};
use crate::world::{Bounds, Extent, Job, Scene, explore};
use std::cell::RefCell;
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one actor does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// Acquires so many, and gives them back.
    Use(u64),
    /// The same, if they are to be had at once.
    TryUse(u64),
    /// The same; it waits until the time is over, which it is from the beginning.
    UseNoLonger(u64),
    /// Acquires so many and keeps them.
    Keep(u64),
    /// Acquires so many, takes one of them apart and puts it back.
    SplitMerge(u64),
    /// Waits until no permit is held.
    AwaitIdle,
    SetPermits(u64),
    Post(u64),
    /// Waits for a signal.
    TakeSignal,
    Close,
    /// What `unlink` does when the name is gone.
    Unlink,
    Stat,
}

pub(crate) struct Stage {
    pub object: Object<Core>,
    permits: u64,
    acts: Vec<Vec<Act>>,
    pub held: Rc<RefCell<Ledger>>,
}

/// What the actors know of their permits.
#[derive(Default)]
pub(crate) struct Ledger {
    /// By actor: what it holds for sure, from the return of the acquisition to the call that gives back.
    held: Vec<u64>,
    /// The most permits that there have been.
    most: u64,
    pub deaths: u32,
}

impl Stage {
    pub(crate) fn new(permits: u64, acts: Vec<Vec<Act>>) -> Stage {
        let object = Object::<Core>::new(&Some(permits), acts.len() + 1);
        // Each handle has a record of its own from here on, and a sentry.
        for core in &object.handles {
            if permits > 0 {
                let mut grant = core.acquire(permits, Purpose::Permit, Wait::Forever).expect("they are free");
                core.release(&mut grant);
            }
        }
        let stage = Stage { object, permits, acts, held: Rc::default() };
        stage.forget();
        stage.start_sentries();
        stage
    }

    /// A sentry starts when its handle first waits. No descriptor is closed from then on, so it has no news.
    fn start_sentries(&self) {
        let (judge, others) = self.object.handles.split_last().expect("there is one");
        let all = judge.acquire(self.permits, Purpose::Permit, Wait::No);
        for core in others {
            let soon = Wait::Until(Instant::now() + Duration::from_millis(1));
            assert_eq!(core.acquire(1, Purpose::Permit, soon).err(), Some(AcquireError::TimedOut));
        }
        if let Ok(mut all) = all {
            judge.release(&mut all);
        }
    }

    fn forget(&self) {
        *self.held.borrow_mut() = Ledger { held: vec![0; self.acts.len() + 1], most: self.permits, deaths: 0 };
    }

    pub(crate) fn job(&self, number: usize, acts: &[Act]) -> Job {
        let (core, held, acts) = (Arc::clone(&self.object.handles[number]), self.held.clone(), acts.to_vec());
        Box::new(move || acts.iter().for_each(|act| perform(&core, number, *act, &held)))
    }

    /// Whether count, records and lists agree, and what is free can be had, by one who comes afterwards.
    pub(crate) fn judge(&self) {
        let core = self.object.handles.last().expect("there is one");
        let stat = core.stat().expect("the words make sense");
        let kept: u64 = self.held.borrow().held.iter().sum();
        assert_eq!(stat.held, kept, "what is held, by the records");
        assert_eq!(stat.available, stat.permits as i64 - kept as i64, "what is free, by the count");
        assert_eq!(stat.waiters.len(), 0, "nobody waits");
        invariants(&self.object.ground.file);
        let ended = stat.closed || stat.unlinked;
        if !ended && stat.available > 0 {
            let all = core.acquire(stat.available as u64, Purpose::Permit, Wait::No);
            let mut all = all.expect("what is free can be had");
            let error = core.acquire(1, Purpose::Permit, Wait::No).err();
            assert!(matches!(error, Some(AcquireError::NoPermits | AcquireError::TooMany { .. })), "{error:?}");
            core.release(&mut all);
            assert_eq!(core.available(), stat.available);
        }
        if !ended {
            let slow = word(&self.object.ground.file, 384, 8) >> 62;
            assert_eq!(slow, 0, "the fast path is open");
        }
        invariants(&self.object.ground.file);
    }
}

fn perform(core: &Arc<Core>, number: usize, act: Act, held: &RefCell<Ledger>) {
    let acquire = |permits: u64, wait: Wait| {
        let asked = core.acquire_fast(permits).map_or_else(|| core.acquire(permits, Purpose::Permit, wait), Ok);
        match asked {
            Ok(grant) => {
                let mut ledger = held.borrow_mut();
                ledger.held[number] += permits;
                let sum: u64 = ledger.held.iter().sum();
                assert!(sum <= ledger.most, "{sum} of {} permits are held", ledger.most);
                Some(grant)
            }
            Err(
                AcquireError::NoPermits
                | AcquireError::TimedOut
                | AcquireError::Closed
                | AcquireError::Unlinked
                | AcquireError::TooMany { .. },
            ) => None,
            Err(error) => panic!("{error:?}"),
        }
    };
    let give = |grant: Option<_>, permits: u64| {
        let Some(mut grant) = grant else { return };
        held.borrow_mut().held[number] -= permits;
        core.release(&mut grant);
    };
    match act {
        Act::Use(permits) => give(acquire(permits, Wait::Forever), permits),
        Act::TryUse(permits) => give(acquire(permits, Wait::No), permits),
        Act::UseNoLonger(permits) => give(acquire(permits, Wait::Until(crate::world::now())), permits),
        Act::Keep(permits) => drop(acquire(permits, Wait::Forever)),
        Act::SplitMerge(permits) => {
            let mut grant = acquire(permits, Wait::Forever).expect("it is waited for");
            let mut one = core.split(&mut grant, 1).expect("there are more");
            core.merge(&mut grant, &mut one).expect("both are held");
            give(Some(grant), permits);
        }
        Act::AwaitIdle => drop(core.acquire(0, Purpose::Idle, Wait::Forever).expect("it is waited for")),
        Act::SetPermits(permits) => {
            let most = held.borrow().most;
            held.borrow_mut().most = most.max(permits);
            core.set_permits(permits).expect("the lock is to be had");
        }
        Act::Post(signals) => core.post(signals).expect("the lock is to be had"),
        Act::TakeSignal => drop(core.acquire(1, Purpose::Signal, Wait::Forever).expect("one comes")),
        Act::Close => core.close().expect("the lock is not needed"),
        Act::Unlink => crate::shm::setup::Core::end(&**core, Life::Unlinked),
        Act::Stat => drop(core.stat().expect("the words make sense")),
    }
}

impl Scene for Stage {
    fn jobs(&self) -> Vec<Job> {
        (0..).zip(&self.acts).map(|(number, acts)| self.job(number, acts)).collect()
    }

    fn died(&self, number: usize) {
        let mut ledger = self.held.borrow_mut();
        ledger.deaths += 1;
        ledger.held[number] = 0;
        self.object.died(number);
    }

    fn check(&self) {
        self.judge();
    }

    fn reset(&self) {
        if self.held.borrow().deaths > 0 {
            self.object.revive();
        }
        self.forget();
    }
}

/// The invariants of `docs/format.md` that hold while nobody has the lock and nobody waits, from the bytes of the file alone.
pub(crate) fn invariants(file: &File) {
    let (small, large) = (|place| word(file, place, 4), |place| word(file, place, 8));
    assert_eq!(small(512) & 0x7fff_ffff, 0, "the lock is free");
    assert_eq!((small(516), small(536), small(540), small(548)), (0, 0, 0, 0), "nobody waits");
    let count = large(384);
    let free = (count & ((1 << 50) - 1)) as i64 - (1 << 49);
    let (mut held, mut unowned) = (0, 0);
    for record in 0..small(324) {
        let at = 266_240 + record * 128;
        let state = large(at);
        match state >> 60 {
            0 => assert_eq!(state, 0),
            1 => held += (state & ((1 << 56) - 1)) as i64,
            other => panic!("record {record} is in state {other}"),
        }
        unowned += u64::from(small(at + 8) == 0);
    }
    assert_eq!(free + held, large(520) as i64, "free and held are all");
    assert_eq!(count >> 63, 0, "no recount is under way");
    let (mut next, mut listed) = (small(544), 0);
    while next != 0 {
        listed += 1;
        assert!(listed <= unowned, "the free list is a ring, or has what is owned");
        let at = 266_240 + (next - 1) * 128;
        assert_eq!(small(at + 8), 0, "a free record is nobody's");
        next = small(at + 32);
    }
    assert_eq!(listed, unowned, "every record that is nobody's is in the free list");
}

/// A model: its name, how many permits there are, what each actor does, and who may die (a bit each).
pub(crate) struct Model {
    pub name: &'static str,
    pub permits: u64,
    pub acts: &'static [&'static [Act]],
    pub mortals: u32,
}

pub(crate) const MODELS: &[Model] = {
    use Act::*;
    const fn model(name: &'static str, permits: u64, acts: &'static [&'static [Act]]) -> Model {
        Model { name, permits, acts, mortals: 0 }
    }
    const fn deadly(name: &'static str, permits: u64, acts: &'static [&'static [Act]], mortals: u32) -> Model {
        Model { name, permits, acts, mortals }
    }
    &[
        model("hand-off of one permit", 1, &[&[Use(1)], &[Use(1)], &[Use(1)]]),
        model("a large request is not passed", 2, &[&[Use(1), Use(1)], &[Use(2)], &[Use(1)]]),
        model("giving up against the grant", 1, &[&[Use(1)], &[UseNoLonger(1)], &[Use(1)]]),
        model("a large request gives up before a small one", 2, &[&[Keep(1)], &[UseNoLonger(2)], &[Use(1)]]),
        model("two who give up", 1, &[&[Use(1)], &[UseNoLonger(1)], &[UseNoLonger(1)]]),
        model("idlers", 1, &[&[Use(1)], &[AwaitIdle], &[Use(1)]]),
        model("fewer permits than are asked for", 2, &[&[Use(1)], &[Use(2)], &[SetPermits(1)]]),
        model("more permits", 1, &[&[Use(1)], &[Use(2)], &[SetPermits(2)]]),
        model("signals", 1, &[&[Post(1)], &[TakeSignal], &[Use(1)]]),
        model("close against sleepers", 1, &[&[Use(1)], &[Use(1)], &[Close]]),
        model("unlink against sleepers", 1, &[&[Use(1)], &[Use(1)], &[Unlink]]),
        deadly("a user dies beside two", 1, &[&[Use(1)], &[Use(1)], &[Use(1)]], 0b001),
        deadly("a recount against the fast path", 2, &[&[Keep(1)], &[Stat], &[Use(1), Use(1)]], 0b001),
        deadly("one who gives up dies", 1, &[&[UseNoLonger(1)], &[Use(1)], &[Use(1)]], 0b001),
        deadly("one who recovers dies, too", 1, &[&[Keep(1)], &[Stat], &[TryUse(1)]], 0b011),
    ]
};

/// Explores one model.
pub(crate) fn run(model: &Model, preemptions: u32) -> Result<Extent, String> {
    let stage = Stage::new(model.permits, model.acts.iter().map(|acts| acts.to_vec()).collect());
    let deaths = model.mortals.count_ones();
    // Two deaths have so many more orders.
    let preemptions = if deaths > 1 { preemptions.saturating_sub(1) } else { preemptions };
    explore(&stage.object.ground, &stage, Bounds { preemptions, deaths, mortals: model.mortals })
}
