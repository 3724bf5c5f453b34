//! A death before every step of an operation, and a second one in the repair; then one who comes afterwards finds everything in order.
//! One after the other, without interleaving: that is for the models.

use crate::object::Object;
use crate::shm::setup::Core;
use crate::world::{Extent, Job, Scene, enter, leave, put_back, until_step};
use crate::{queue, semaphore};

/// A stage on which somebody dies: actor 0 does the operation, actor 1 repairs, actor 2 prepares.
pub(crate) trait Deadly: Scene {
    type Act: Copy;
    type Core: Core;

    fn object(&self) -> &Object<Self::Core>;
    fn job(&self, number: usize, acts: &[Self::Act]) -> Job;
}

impl Deadly for queue::Stage {
    type Act = queue::Act;
    type Core = crate::shm::queue::Core;

    fn object(&self) -> &Object<Self::Core> {
        &self.object
    }

    fn job(&self, number: usize, acts: &[queue::Act]) -> Job {
        queue::Stage::job(self, number, acts)
    }
}

impl Deadly for semaphore::Stage {
    type Act = semaphore::Act;
    type Core = crate::shm::semaphore::Core;

    fn object(&self) -> &Object<Self::Core> {
        &self.object
    }

    fn job(&self, number: usize, acts: &[semaphore::Act]) -> Job {
        semaphore::Stage::job(self, number, acts)
    }
}

/// An operation: what comes before it, what it is, and how it is repaired. `before` and `repair` never wait.
pub(crate) struct Case<A: 'static> {
    pub name: &'static str,
    pub size: u32,
    pub before: &'static [A],
    pub act: &'static [A],
    pub repair: &'static [A],
}

pub(crate) const QUEUE: &[Case<queue::Act>] = {
    use queue::Act::*;
    const fn case(
        name: &'static str,
        size: u32,
        before: &'static [queue::Act],
        act: &'static [queue::Act],
        repair: &'static [queue::Act],
    ) -> Case<queue::Act> {
        Case { name, size, before, act, repair }
    }
    &[
        case("send", 2, &[], &[Send(1)], &[Stat]),
        case("send, repaired by a receive", 1, &[], &[Send(1)], &[TryRecv]),
        case("send, repaired by a send", 1, &[], &[Send(1)], &[TrySend(1)]),
        case("send after a refill", 4, &[Send(1), Send(1)], &[Send(1)], &[Stat]),
        case("send into a full queue", 1, &[Send(1)], &[TrySend(1)], &[TryRecv]),
        case("two at once", 3, &[], &[SendTwo(1)], &[TryRecv]),
        case("receive past the index", 2, &[Send(1)], &[Recv], &[TryRecv]),
        case("receive through the index", 3, &[Send(1), Send(2)], &[Recv], &[TrySend(1)]),
        case("receive from an empty queue", 1, &[], &[TryRecv], &[TrySend(1)]),
        case("two at once are taken", 2, &[Send(1), Send(2)], &[RecvTwo], &[TryRecv]),
        case("purge", 3, &[Send(1), Send(2)], &[Purge], &[Stat]),
        case("close", 1, &[Send(1)], &[Close], &[TryRecv]),
        case("looking after the dead", 2, &[Send(1)], &[Stat], &[Stat]),
        case("attaching", 2, &[Send(1)], &[Attach, TryRecv], &[Stat]),
    ]
};

pub(crate) const SEMAPHORE: &[Case<semaphore::Act>] = {
    use semaphore::Act::*;
    const fn case(
        name: &'static str,
        size: u32,
        before: &'static [semaphore::Act],
        act: &'static [semaphore::Act],
    ) -> Case<semaphore::Act> {
        Case { name, size, before, act, repair: &[Stat] }
    }
    &[
        case("acquire and release", 1, &[], &[Use(1)]),
        case("acquire with another one held, and a refusal", 2, &[Keep(1)], &[Use(1), TryUse(2)]),
        case("a place in the queue, and giving it up", 1, &[Keep(1)], &[UseNoLonger(1)]),
        case("waiting until nothing is held", 1, &[], &[AwaitIdle]),
        case("split and merge", 3, &[], &[SplitMerge(3)]),
        case("more permits", 1, &[Keep(1)], &[SetPermits(3)]),
        case("fewer permits", 3, &[Keep(1)], &[SetPermits(2)]),
        case("posting", 1, &[], &[Post(2)]),
        case("a signal", 2, &[Keep(1)], &[TakeSignal]),
        case("close", 2, &[Keep(1)], &[Close]),
        case("looking after the dead", 2, &[Keep(1)], &[Stat]),
    ]
};

/// How many second deaths there are for one first: each n-th step of the repair, beginning with another one each time.
pub(crate) fn run<D: Deadly>(stage: &D, case: &Case<D::Act>, every: u64) -> Extent {
    enter(&stage.object().ground);
    let mut extent = Extent::default();
    let tidy = || {
        put_back(&stage.object().ground);
        stage.reset();
    };
    let mut last = 1;
    // Each turn stops the operation one step later; the last one does not stop it.
    while !one(stage, case, last, None) {
        tidy();
        let mut second = last % every + 1;
        while !one(stage, case, last, Some(second)) {
            tidy();
            second += every;
            extent.runs += 1;
        }
        tidy();
        extent.states += 1;
        last += 1;
        extent.runs += 2;
    }
    tidy();
    leave();
    assert!(extent.states > 0, "it has steps");
    extent
}

/// Actor 0 dies before a step of its, and actor 1 in the repair, if that is wanted; then all is looked at. True if the last one who
/// was to die came to the end of what it did.
fn one<D: Deadly>(stage: &D, case: &Case<D::Act>, first: u64, second: Option<u64>) -> bool {
    let _where = Where(first, second);
    stage.job(2, case.before)();
    let mut ended = until_step(first, stage.job(0, case.act)).is_some();
    if !ended {
        stage.died(0);
    }
    if let Some(second) = second {
        ended = until_step(second, stage.job(1, case.repair)).is_some();
        if !ended {
            stage.died(1);
        }
    }
    stage.check();
    ended
}

/// Says where it was, should anything panic.
struct Where(u64, Option<u64>);

impl Drop for Where {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("it died before step {}, and in the repair: {:?}", self.0, self.1);
        }
    }
}
