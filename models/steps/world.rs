//! A world of actors that share one object's file: it lets one of them do one step at a time, tries every order, and stops an actor
//! for good before a step of its.
//!
//! The search is depth first and runs the code again from the beginning for every order (there is nothing else to be done with
//! compiled code), each actor on a stack of its own. A state that was met before is not gone on from: two states are the same if the
//! shared words are, and each actor has seen the same answers to all of its steps so far, so that it stands where it stood. (Compared by a hash of
//! 64 bits.) A *preemption* is a switch from an actor that could go on; more of them than the bound are not tried.

use crate::sys::futex::Slept;
use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Where in the object's file a word is.
pub(crate) type Place = u32;

/// What the world says to a step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The word is not shared.
    Private,
    /// Go on.
    Shared(Place),
    /// The actor was stopped before: it unwinds, and nothing that it does counts.
    Ghost,
}

/// What unwinds an actor that is stopped for good.
struct Stopped;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Ready,
    Asleep(Place),
    Done,
    Dead,
}

struct Actor {
    status: Status,
    /// A hash of all that it has seen.
    history: u64,
    slept: Slept,
    timeout: Duration,
    stopped: bool,
}

/// How steps are taken at the moment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// At once: setting up, or checking.
    Free,
    /// When it is the actor's turn.
    Explored,
    /// At once, until the one with this number is to come.
    Counted(u64),
}

/// One decision of the search: how many ways there were, and which was taken.
struct Node {
    ways: usize,
    taken: usize,
}

struct Event {
    actor: usize,
    what: &'static str,
    place: Place,
    saw: u64,
    stored: Option<u64>,
}

#[derive(Default)]
struct Seen(u64);

impl Hasher for Seen {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed")
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

struct World {
    mode: Mode,
    ghost: bool,
    steps: u64,
    mappings: Vec<Range<usize>>,
    unused: Range<Place>,
    quiet: Vec<Quiet>,
    /// The lock word, as it was last stored.
    lock: u64,
    /// What was there before the run, for each word that was stored to.
    before: HashMap<Place, (u64, usize)>,
    memory: u64,
    actors: Vec<Actor>,
    current: usize,
    preemptions: u32,
    deaths: u32,
    timeouts: u32,
    clock: Duration,
    path: Vec<Node>,
    depth: usize,
    seen: HashMap<u64, u32, BuildHasherDefault<Seen>>,
    events: Vec<Event>,
    failure: Option<String>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World {
        mode: Mode::Free,
        ghost: false,
        steps: 0,
        mappings: Vec::new(),
        unused: 0..0,
        quiet: Vec::new(),
        lock: 0,
        before: HashMap::new(),
        memory: 0,
        actors: Vec::new(),
        current: 0,
        preemptions: 0,
        deaths: 0,
        timeouts: 0,
        clock: Duration::ZERO,
        path: Vec::new(),
        depth: 0,
        seen: HashMap::default(),
        events: Vec::new(),
        failure: None,
    });
    static JOBS: RefCell<Vec<Option<Job>>> = const { RefCell::new(Vec::new()) };
}

/// What an actor does in one run.
pub(crate) type Job = Box<dyn FnOnce()>;

fn mix(hash: u64, value: u64) -> u64 {
    let mixed = (hash ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ mixed >> 29
}

fn cell(place: Place, value: u64) -> u64 {
    mix(mix(0x1234_5678_9abc_def1, place.into()), value)
}

impl World {
    fn place(&self, address: usize) -> Option<Place> {
        let mapping = self.mappings.iter().find(|mapping| mapping.contains(&address))?;
        Some((address - mapping.start) as Place).filter(|place| !self.unused.contains(place))
    }

    /// The number of a way, one of several: the one that is to be tried in this run.
    fn choose(&mut self, ways: usize) -> usize {
        self.depth += 1;
        match self.path.get(self.depth - 1) {
            Some(node) => {
                assert_eq!(node.ways, ways, "a run went another way than before: something is not deterministic")
            }
            None => self.path.push(Node { ways, taken: 0 }),
        }
        self.path[self.depth - 1].taken
    }

    /// Goes to the next run; false if there is none.
    fn turn_back(&mut self) -> bool {
        while let Some(node) = self.path.last_mut() {
            node.taken += 1;
            if node.taken < node.ways {
                return true;
            }
            self.path.pop();
        }
        false
    }

    fn is_new(&mut self) -> bool {
        if self.depth < self.path.len() {
            return true;
        }
        let mut key =
            mix(self.memory, self.current as u64 | u64::from(self.deaths) << 8 | u64::from(self.timeouts) << 16);
        for actor in &self.actors {
            let status = match actor.status {
                Status::Ready => 1,
                Status::Asleep(place) => 2 | u64::from(place) << 8,
                Status::Done => 3,
                Status::Dead => 4,
            };
            key = mix(mix(key, actor.history), status);
        }
        match self.seen.get_mut(&key) {
            Some(fewest) if *fewest <= self.preemptions => false,
            Some(fewest) => {
                *fewest = self.preemptions;
                true
            }
            None => {
                self.seen.insert(key, self.preemptions);
                true
            }
        }
    }

    fn story(&self) -> String {
        let line = |event: &Event| {
            let Event { actor, what, place, saw, stored } = event;
            let stored = stored.map_or(String::new(), |stored| format!(" -> {stored:#x}"));
            format!("  {actor}: {what} at {place}: {saw:#x}{stored}")
        };
        self.events.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Announces a step on the word at this address, and waits until it is its turn.
pub(crate) fn step(address: usize) -> Step {
    let found = WORLD.with_borrow_mut(|world| {
        let place = world.place(address)?;
        let quiet = world.quiet.iter().find(|quiet| quiet.places.contains(&place)).map(|quiet| quiet.guarded);
        let holds = world.lock & 0xfff == world.current as u64 + 1;
        if quiet == Some(true) && !holds && world.mode == Mode::Explored && !world.ghost {
            world.failure = Some(format!("actor {} is at {place} without the lock", world.current));
        }
        Some((place, quiet.is_none()))
    });
    found.map_or(Step::Private, |(place, loud)| take_turn(place, loud))
}

/// The same for a byte lock.
pub(crate) fn step_on_byte() -> Step {
    take_turn(Place::MAX, true)
}

fn take_turn(place: Place, loud: bool) -> Step {
    let (mode, ghost) = WORLD.with_borrow_mut(|world| {
        world.steps += 1;
        (world.mode, world.ghost)
    });
    match mode {
        _ if ghost => Step::Ghost,
        Mode::Free => Step::Shared(place),
        Mode::Explored => {
            if loud {
                pass_on();
            }
            Step::Shared(place)
        }
        Mode::Counted(last) => {
            if WORLD.with_borrow(|world| world.steps == last) {
                stop();
            }
            Step::Shared(place)
        }
    }
}

/// Stops for good: unwinds, and what happens on the way does not count.
fn stop() -> ! {
    WORLD.with_borrow_mut(|world| world.ghost = true);
    panic::resume_unwind(Box::new(Stopped))
}

/// Leaves the actor's stack until it is resumed. The scope that the newer function wants is not to be had below the library's code.
#[allow(deprecated, reason = "there is no scope here")]
fn leave_stack() {
    generator::yield_with(());
}

/// Lets the world decide who is next.
fn pass_on() {
    leave_stack();
    if WORLD.with_borrow(|world| world.actors[world.current].stopped) {
        stop();
    }
}

/// A step is done: what it saw, and what it stored, in how many bytes.
pub(crate) fn done(what: &'static str, place: Place, saw: u64, stored: Option<(u64, usize)>) {
    WORLD.with_borrow_mut(|world| {
        if let Some((stored, size)) = stored.filter(|(stored, _)| *stored != saw) {
            world.before.entry(place).or_insert((saw, size));
            world.memory ^= cell(place, saw) ^ cell(place, stored);
            if place == LOCK {
                world.lock = stored;
            }
        }
        if world.mode == Mode::Explored {
            let actor = world.current;
            let history = &mut world.actors[actor].history;
            *history = mix(mix(*history, u64::from(place) << 8 | what.len() as u64), saw);
            world.events.push(Event { actor, what, place, saw, stored: stored.map(|(stored, _)| stored) });
        }
    });
}

pub(crate) fn done_on_byte(what: &'static str, index: u32, answer: bool) {
    done(what, Place::MAX - 1 - index, answer.into(), None);
}

/// Whether steps are taken in turn.
pub(crate) fn is_explored() -> bool {
    WORLD.with_borrow(|world| world.mode == Mode::Explored)
}

/// The actor sleeps on a word.
pub(crate) fn sleep(place: Place, timeout: Duration) -> Slept {
    WORLD.with_borrow_mut(|world| {
        let current = world.current;
        let actor = &mut world.actors[current];
        (actor.status, actor.timeout) = (Status::Asleep(place), timeout);
    });
    pass_on();
    WORLD.with_borrow_mut(|world| {
        let current = world.current;
        let actor = &mut world.actors[current];
        actor.history = mix(actor.history, u64::from(actor.slept == Slept::Awake));
        actor.slept
    })
}

/// Wakes so many of those who sleep on a word, whichever.
pub(crate) fn wake(place: Place, count: u32) {
    WORLD.with_borrow_mut(|world| {
        for _ in 0..count {
            let asleep = |actor: &usize| world.actors[*actor].status == Status::Asleep(place);
            let sleepers: Vec<usize> = (0..world.actors.len()).filter(asleep).collect();
            let chosen = match sleepers.len() {
                0 => return,
                1 => 0,
                ways => world.choose(ways),
            };
            let actor = &mut world.actors[sleepers[chosen]];
            (actor.status, actor.slept) = (Status::Ready, Slept::Awake);
        }
    });
}

/// The clock of the world: it moves when a sleep times out.
pub(crate) fn now() -> Instant {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    *BEGINNING.get_or_init(Instant::now) + WORLD.with_borrow(|world| world.clock)
}

/// What is explored.
pub(crate) trait Scene {
    /// What each actor does.
    fn jobs(&self) -> Vec<Job>;
    /// Actor `number` has been stopped for good: let go what the kernel would.
    fn died(&self, number: usize);
    /// All have done what they had to, but for the dead: is everything as it must be? It panics if not.
    fn check(&self);
    /// After a run, whatever became of it. The words have been put back.
    fn reset(&self);
}

/// How far the search goes.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub preemptions: u32,
    pub deaths: u32,
    /// Who may die, a bit each.
    pub mortals: u32,
}

/// What a search has done.
#[derive(Clone, Copy, Default)]
pub(crate) struct Extent {
    pub runs: u64,
    pub states: usize,
    pub steps: u64,
}

/// Where the object is: the file, and where this process has it mapped.
pub(crate) struct Ground {
    pub file: File,
    pub mappings: Vec<Range<usize>>,
    /// Words that are always 0 here: what is done to them is no step.
    pub unused: Range<Place>,
    pub quiet: Vec<Quiet>,
}

/// Places at which no switch is tried.
#[derive(Clone)]
pub(crate) struct Quiet {
    pub places: Range<Place>,
    /// Because nobody but the lock holder looks there, which is checked. Else because they are for people only.
    pub guarded: bool,
}

/// Where the lock is, in objects of every kind.
const LOCK: Place = 512;

/// How often time may pass in a run before it counts as stuck.
const TIMEOUTS_MAX: u32 = 12;

/// Words of a stack.
const STACK: usize = 1 << 15;

type Thread = generator::Generator<'static, (), ()>;

fn thread(number: usize) -> Thread {
    generator::Gn::new_opt(STACK, move || {
        loop {
            let job = JOBS.with_borrow_mut(|jobs| jobs[number].take());
            let ended = panic::catch_unwind(AssertUnwindSafe(|| {
                if let Some(job) = job {
                    job();
                }
            }));
            WORLD.with_borrow_mut(|world| {
                world.ghost = false;
                world.actors[number].status = Status::Done;
                if let Err(reason) = ended
                    && !reason.is::<Stopped>()
                {
                    world.failure = Some(format!("actor {number} panicked: {}", said(&*reason)));
                }
            });
            leave_stack();
        }
    })
}

/// The text of a panic.
pub(crate) fn said(reason: &(dyn Any + Send)) -> String {
    let text = reason.downcast_ref::<String>().cloned();
    text.or_else(|| reason.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Prepares this thread's world for an object.
pub(crate) fn enter(ground: &Ground) {
    WORLD.with_borrow_mut(|world| {
        (world.mappings, world.quiet) = (ground.mappings.clone(), ground.quiet.clone());
        world.unused = ground.unused.clone();
        world.before.clear();
        world.seen.clear();
        world.path.clear();
    });
}

/// Leaves it.
pub(crate) fn leave() {
    WORLD.with_borrow_mut(|world| world.mappings.clear());
}

/// Puts back what was stored since the last time.
pub(crate) fn put_back(ground: &Ground) {
    WORLD.with_borrow_mut(|world| {
        for (place, (value, size)) in world.before.drain() {
            let bytes = &value.to_ne_bytes()[..size];
            ground.file.write_all_at(bytes, place.into()).expect("the file is there");
        }
        (world.memory, world.lock, world.clock) = (0, 0, Duration::ZERO);
    });
}

/// Runs a call until just before its step number `last`, and stops it there for good; `Some` if it ended before.
pub(crate) fn until_step<T>(last: u64, call: impl FnOnce() -> T) -> Option<T> {
    WORLD.with_borrow_mut(|world| (world.steps, world.mode) = (0, Mode::Counted(last)));
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    WORLD.with_borrow_mut(|world| (world.mode, world.ghost) = (Mode::Free, false));
    match result {
        Ok(value) => Some(value),
        Err(reason) if reason.is::<Stopped>() => None,
        Err(reason) => panic::resume_unwind(reason),
    }
}

/// Tries every order of steps within the bounds. The story of the first one that goes wrong is the error.
pub(crate) fn explore(ground: &Ground, scene: &impl Scene, bounds: Bounds) -> Result<Extent, String> {
    enter(ground);
    let mut threads: Vec<Thread> = (0..scene.jobs().len()).map(thread).collect();
    let mut extent = Extent::default();
    loop {
        let result = run(&mut threads, scene, bounds);
        put_back(ground);
        scene.reset();
        extent.runs += 1;
        extent.steps += WORLD.with_borrow_mut(|world| std::mem::take(&mut world.steps));
        if let Err(reason) = result {
            let story = WORLD.with_borrow(World::story);
            leave();
            return Err(format!("run {}: {reason}\n{story}", extent.runs));
        }
        if !WORLD.with_borrow_mut(World::turn_back) {
            break;
        }
    }
    extent.states = WORLD.with_borrow(|world| world.seen.len());
    leave();
    Ok(extent)
}

/// What can happen next.
#[derive(Clone, Copy)]
enum Way {
    Go(usize),
    Die(usize),
    TimeOut(usize),
}

fn run(threads: &mut [Thread], scene: &impl Scene, bounds: Bounds) -> Result<(), String> {
    JOBS.set(scene.jobs().into_iter().map(Some).collect());
    WORLD.with_borrow_mut(|world| {
        let actor = || Actor {
            status: Status::Ready,
            history: 1,
            slept: Slept::Awake,
            timeout: Duration::ZERO,
            stopped: false,
        };
        world.actors = threads.iter().map(|_| actor()).collect();
        (world.preemptions, world.deaths, world.timeouts, world.depth, world.mode) = (0, 0, 0, 0, Mode::Explored);
        world.events.clear();
    });
    // To the first step of each.
    for (number, thread) in threads.iter_mut().enumerate() {
        resume(number, thread);
    }
    // Nobody runs yet: whoever is first preempts nobody.
    WORLD.with_borrow_mut(|world| world.current = usize::MAX);
    let finished = go_on(threads, scene, bounds);
    // Whoever has not ended must leave its stack.
    for (number, thread) in threads.iter_mut().enumerate() {
        if WORLD.with_borrow(|world| !matches!(world.actors[number].status, Status::Done | Status::Dead)) {
            stop_actor(number, thread);
        }
    }
    WORLD.with_borrow_mut(|world| world.mode = Mode::Free);
    if finished? {
        panic::catch_unwind(AssertUnwindSafe(|| scene.check())).map_err(|reason| said(&*reason))?;
    }
    Ok(())
}

fn resume(number: usize, thread: &mut Thread) {
    WORLD.with_borrow_mut(|world| world.current = number);
    thread.resume();
}

fn stop_actor(number: usize, thread: &mut Thread) {
    WORLD.with_borrow_mut(|world| {
        world.actors[number].stopped = true;
        world.events.push(Event { actor: number, what: "stops", place: 0, saw: 0, stored: None });
    });
    resume(number, thread);
}

/// True if all have ended; false if the rest of this run is known.
fn go_on(threads: &mut [Thread], scene: &impl Scene, bounds: Bounds) -> Result<bool, String> {
    loop {
        let ways = WORLD.with_borrow(|world| ways(world, bounds));
        if let Some(failure) = WORLD.with_borrow_mut(|world| world.failure.take()) {
            return Err(failure);
        }
        let way = match ways.len() {
            0 => break,
            1 => ways[0],
            several => {
                let chosen = WORLD.with_borrow_mut(|world| world.is_new().then(|| world.choose(several)));
                let Some(chosen) = chosen else { return Ok(false) };
                ways[chosen]
            }
        };
        match way {
            Way::Go(number) => {
                WORLD.with_borrow_mut(|world| {
                    let could_go_on =
                        world.actors.get(world.current).is_some_and(|actor| actor.status == Status::Ready);
                    world.preemptions += u32::from(could_go_on && number != world.current);
                });
                resume(number, &mut threads[number]);
            }
            Way::Die(number) => {
                let current = WORLD.with_borrow(|world| world.current);
                stop_actor(number, &mut threads[number]);
                WORLD.with_borrow_mut(|world| {
                    world.actors[number].status = Status::Dead;
                    world.deaths += 1;
                    world.current = current;
                });
                scene.died(number);
            }
            Way::TimeOut(number) => WORLD.with_borrow_mut(|world| {
                world.timeouts += 1;
                world.clock += world.actors[number].timeout;
                (world.actors[number].status, world.actors[number].slept) = (Status::Ready, Slept::TimedOut);
                world.current = number;
            }),
        }
    }
    WORLD.with_borrow(|world| {
        let asleep = |actor: &Actor| matches!(actor.status, Status::Asleep(_));
        match world.actors.iter().position(asleep) {
            Some(number) => Err(format!("actor {number} sleeps for ever")),
            None => Ok(true),
        }
    })
}

fn ways(world: &World, bounds: Bounds) -> Vec<Way> {
    let all = || 0..world.actors.len();
    let ready = |number: &usize| world.actors.get(*number).is_some_and(|actor| actor.status == Status::Ready);
    let mut ways = Vec::with_capacity(8);
    if ready(&world.current) {
        ways.push(Way::Go(world.current));
    }
    if ways.is_empty() || world.preemptions < bounds.preemptions {
        ways.extend(all().filter(ready).filter(|number| *number != world.current).map(Way::Go));
    }
    let alive = |number: &usize| !matches!(world.actors[*number].status, Status::Done | Status::Dead);
    // A wake may have died with its waker: then, and only then, sleeps end by themselves, when nobody can go on.
    if ways.is_empty() && world.deaths > 0 && world.timeouts < TIMEOUTS_MAX {
        ways.extend(all().filter(alive).map(Way::TimeOut));
    }
    if !ways.is_empty() && world.deaths < bounds.deaths {
        let mortal = |number: &usize| bounds.mortals >> number & 1 == 1;
        ways.extend(all().filter(mortal).filter(alive).map(Way::Die));
    }
    ways
}
