//! What the soak's processes write down for the supervisor, beside what is in `common/traffic.rs`: where they are, that they come on, and
//! what permits they hold. It outlives whoever is killed.
//!
//! The witness of the permits is one word, as in `semaphore_random_kill.rs`: what each place has registered, and whether it is
//! condemned. A holder registers after its acquisition has returned and takes that back before it releases; before a kill the
//! supervisor condemns the place, whose permits may be another's from then on. So the check is exact.

use crate::common::shared::Words;
use crate::common::traffic::Messages;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Where processes live: first the producers, then the consumers.
pub const PRODUCERS: usize = 8;
pub const PLACES: usize = 16;

/// Lines of execution at a place: two threads, and a child of the first.
pub const LANES: usize = 3;
pub const CHILD: usize = 2;

/// How many permits the semaphore has; and how many one place can have registered at once, before a fault is seen.
pub const PERMITS: u64 = 4;

/// Bits of the witness that a place has: the highest says that it is condemned.
const BITS: u32 = 4;
const CONDEMNED: u64 = 1 << (BITS - 1);

/// A place that is about to open the queue: it may turn out to be any generation.
pub const OPENING: u64 = u64::MAX;

/// What is written of the whole run.
#[repr(C)]
pub struct Board {
    witness: AtomicU64,
    stop: AtomicU64,
    /// Which generation of the queue each place has open: 0 none, or [`OPENING`].
    pub at: [AtomicU64; PLACES],
    lanes: [Lane; PLACES * LANES],
    pub acquisitions: AtomicU64,
    pub forks: AtomicU64,
    /// Polls that the doorbell ended.
    pub rings: AtomicU64,
}

/// How one line of execution comes on.
#[repr(C)]
struct Lane {
    busy: AtomicU64,
    steps: AtomicU64,
}

// SAFETY: `repr(C)`, and atomics only.
unsafe impl Words for Board {}

/// What is written of one generation of the queue.
#[repr(C)]
pub struct Account {
    /// For each lane: how many messages the call under way can have taken that are not marked yet. The last is the supervisor's.
    pub at_risk: [AtomicU32; PLACES * LANES + 1],
    /// Children that were killed by their parents; and messages that these may have taken.
    pub children: AtomicU32,
    pub children_took: AtomicU32,
    pub messages: Messages,
}

// SAFETY: `repr(C)`, and atomics only.
unsafe impl Words for Account {}

impl Board {
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst) != 0
    }

    pub fn stop(&self) {
        self.stop.store(1, Ordering::SeqCst);
    }

    /// After an acquisition: checks all that are held at that moment, these included.
    #[track_caller]
    pub fn register(&self, place: usize, permits: u64) {
        let more = permits << (BITS * place as u32);
        check(self.witness.fetch_add(more, Ordering::SeqCst) + more);
        self.acquisitions.fetch_add(1, Ordering::SeqCst);
    }

    /// Before a release.
    pub fn unregister(&self, place: usize, permits: u64) {
        self.witness.fetch_sub(permits << (BITS * place as u32), Ordering::SeqCst);
    }

    /// Before a kill.
    pub fn condemn(&self, place: usize) {
        self.witness.fetch_or(CONDEMNED << (BITS * place as u32), Ordering::SeqCst);
    }

    /// After everybody at that place is gone.
    pub fn erase(&self, place: usize) {
        self.witness.fetch_and(!(((1 << BITS) - 1) << (BITS * place as u32)), Ordering::SeqCst);
        self.at[place].store(0, Ordering::SeqCst);
        (0..LANES).for_each(|lane| self.rest(place, lane));
    }

    /// Says that this line of execution comes on.
    pub fn step(&self, place: usize, lane: usize) {
        let lane = &self.lanes[place * LANES + lane];
        lane.steps.fetch_add(1, Ordering::SeqCst);
        lane.busy.store(1, Ordering::SeqCst);
    }

    /// Says that nothing is to be expected of it.
    pub fn rest(&self, place: usize, lane: usize) {
        self.lanes[place * LANES + lane].busy.store(0, Ordering::SeqCst);
    }

    /// How far it has come, if it is to come on.
    pub fn steps(&self, place: usize, lane: usize) -> Option<u64> {
        let lane = &self.lanes[place * LANES + lane];
        (lane.busy.load(Ordering::SeqCst) != 0).then(|| lane.steps.load(Ordering::SeqCst))
    }

    /// Where everybody is, for a person.
    pub fn describe(&self) -> String {
        let places = (0..PLACES).map(|place| {
            let steps: Vec<Option<u64>> = (0..LANES).map(|lane| self.steps(place, lane)).collect();
            let held = self.witness.load(Ordering::SeqCst) >> (BITS * place as u32) & ((1 << BITS) - 1);
            format!("place {place}: at {}, steps {steps:?}, permits {held:x}", self.at[place].load(Ordering::SeqCst))
        });
        places.collect::<Vec<_>>().join("\n")
    }
}

#[track_caller]
fn check(witness: u64) {
    let of = |place: usize| witness >> (BITS * place as u32) & ((1 << BITS) - 1);
    let held: u64 = (0..PLACES).map(of).filter(|bits| bits & CONDEMNED == 0).sum();
    assert!(held <= PERMITS, "{held} permits are held of {PERMITS}: {witness:#018x}");
}
