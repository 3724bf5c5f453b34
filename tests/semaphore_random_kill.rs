//! Holders, waiters and changers of a semaphore killed at random moments, some stopped for a while before, round after
//! round, with a witness outside the semaphore that never sees more permits held than there may be.
//!
//! The witness is one atomic word in a map of its own: for each place at which a process lives, how many permits it has
//! registered and whether it is condemned; and the bound. A holder registers after its acquisition has returned and takes
//! that back before it releases, so what is registered is held. Before the killer kills, it condemns: what a condemned
//! process has registered does not count, for its permits may be another's already. All that is read in one exchange: the
//! check is exact, and a fault it shows is one. The bound is lowered only after the semaphore has shown that no more are
//! held, and raised before there are more.
//!
//! Signals are counted apart: how many posts and waits returned, and how many calls were under way in processes that were
//! killed.
//!
//! `CHAPPE_KILL_ROUNDS` sets the number of kills (10000 for a full run), `CHAPPE_KILL_SEED` repeats the choices, though not
//! the timing.

mod common;

use chappe::{AccessError, AcquireError, Permit, Semaphore, SemaphoreOptions};
use common::shared::{Shared, Words};
use common::{NET, Rng, Worker, number, scratch, seed};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

#[test]
fn role() {
    common::play(&[("holder", part_holder), ("changer", part_changer), ("signaller", part_signaller)]);
}

// ---- the witness ----

/// How many processes live at once; the first are holders, then comes a changer, then those that post and wait.
const PLACES: usize = 10;
const HOLDERS: usize = 7;
const CHANGER: usize = 7;

/// Bits of the witness that a place has: the highest says that it is condemned.
const BITS: u32 = 6;
const CONDEMNED: u64 = 1 << (BITS - 1);
const BOUND_SHIFT: u32 = 60;

/// The most permits that there can be: what the bound has room for.
const MOST: u64 = 15;

#[derive(Clone, Copy)]
struct Seen(u64);

impl Seen {
    fn of(self, place: usize) -> u64 {
        self.0 >> (BITS * place as u32) & ((1 << BITS) - 1)
    }

    /// What the living have registered.
    fn held(self) -> u64 {
        (0..PLACES).map(|place| self.of(place)).filter(|bits| bits & CONDEMNED == 0).sum()
    }

    fn bound(self) -> u64 {
        self.0 >> BOUND_SHIFT
    }

    #[track_caller]
    fn check(self) {
        let places: Vec<u64> = (0..PLACES).map(|place| self.of(place)).collect();
        assert!(self.held() <= self.bound(), "{} permits are held of {}: {places:?}", self.held(), self.bound());
    }
}

#[repr(C)]
struct Account {
    witness: AtomicU64,
    acquisitions: AtomicU64,
    /// The longest that one acquisition took, in microseconds.
    longest_wait: AtomicU64,
    /// Tells processes to end.
    stop: AtomicU32,
    /// What a signaller is doing: 0, or one of the two below.
    under_way: [AtomicU32; PLACES],
    posted: AtomicU64,
    taken: AtomicU64,
    drained: AtomicU64,
}

const POSTING: u32 = 1;
const TAKING: u32 = 2;

// SAFETY: `repr(C)`, and atomics only.
unsafe impl Words for Account {}

impl Account {
    fn seen(&self) -> Seen {
        Seen(self.witness.load(Ordering::SeqCst))
    }

    /// After an acquisition: checks all that are held at that moment, these included.
    #[track_caller]
    fn register(&self, place: usize, permits: u64) {
        let more = permits << (BITS * place as u32);
        Seen(self.witness.fetch_add(more, Ordering::SeqCst) + more).check();
        self.acquisitions.fetch_add(1, Ordering::SeqCst);
    }

    /// Before a release.
    fn unregister(&self, place: usize, permits: u64) {
        self.witness.fetch_sub(permits << (BITS * place as u32), Ordering::SeqCst);
    }

    /// Before a kill.
    fn condemn(&self, place: usize) {
        self.witness.fetch_or(CONDEMNED << (BITS * place as u32), Ordering::SeqCst);
    }

    /// After the process at that place is gone.
    fn erase(&self, place: usize) {
        self.witness.fetch_and(!(((1 << BITS) - 1) << (BITS * place as u32)), Ordering::SeqCst);
    }

    fn set_bound(&self, bound: u64) {
        let set = |word: u64| Some(word & ((1 << BOUND_SHIFT) - 1) | bound << BOUND_SHIFT);
        let before = self.witness.fetch_update(Ordering::SeqCst, Ordering::SeqCst, set).unwrap();
        Seen(set(before).unwrap()).check();
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst) != 0
    }
}

// ---- the processes that are killed ----

/// What a part needs, from its arguments: DIR PLACE INCARNATION PERMITS CHANGES SEED.
struct Cast {
    pool: Semaphore,
    signals: Semaphore,
    account: &'static Account,
    place: usize,
    permits: u64,
    /// Whether somebody changes the number of permits.
    changes: bool,
    seed: u64,
}

fn options(dir: &Path) -> SemaphoreOptions {
    let mut options = Semaphore::options();
    options.dir(dir);
    options
}

impl Cast {
    fn new(arguments: &[String]) -> Cast {
        let dir = Path::new(&arguments[0]);
        let [place, incarnation, permits, changes, seed] =
            [1, 2, 3, 4, 5].map(|index| arguments[index].parse::<u64>().unwrap());
        // A failed check in any thread is the end of the process, which the killer notices.
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            report(info);
            std::process::exit(101);
        }));
        Cast {
            pool: options(dir).label(format!("incarnation {incarnation}")).open("/pool").unwrap(),
            signals: options(dir).open("/signals").unwrap(),
            account: Shared::<Account>::map(&dir.join("account")).leak(),
            place: place as usize,
            permits,
            changes: changes != 0,
            seed: seed ^ incarnation,
        }
    }
}

/// A moment of random length, spent in one of the ways in which programs spend it.
fn moment(rng: &mut Rng) {
    match rng.below(10) {
        0 => std::thread::sleep(Duration::from_micros(rng.below(2000))),
        1..=2 => std::thread::yield_now(),
        3..=6 => (0..rng.below(300)).for_each(|_| std::hint::spin_loop()),
        _ => {}
    }
}

fn part_holder(arguments: &[String]) {
    let cast = Cast::new(arguments);
    let threads = 1 + Rng::new(cast.seed).below(3);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let cast = &cast;
            scope.spawn(move || Holder { cast, rng: Rng::new(cast.seed.wrapping_add(thread << 32)) }.run());
        }
    });
}

struct Holder<'a> {
    cast: &'a Cast,
    rng: Rng,
}

impl Holder<'_> {
    fn run(mut self) {
        while !self.cast.account.stopped() {
            let start = Instant::now();
            let result = self.acquire();
            let waited = u64::try_from(start.elapsed().as_micros()).unwrap();
            self.cast.account.longest_wait.fetch_max(waited, Ordering::SeqCst);
            match result {
                Ok(permit) => self.hold(permit),
                Err(AcquireError::NoPermits | AcquireError::TimedOut | AcquireError::Busy) => {}
                Err(AcquireError::TooMany { .. }) if self.cast.changes => std::thread::yield_now(),
                Err(AcquireError::Closed | AcquireError::Unlinked) => return,
                Err(error) => panic!("holder at place {}: {error}", self.cast.place),
            }
            moment(&mut self.rng);
        }
    }

    /// By a form chosen at random.
    fn acquire(&mut self) -> Result<Permit<'static>, AcquireError> {
        let pool = &self.cast.pool;
        let many = 1 + self.rng.below(self.cast.permits.clamp(1, 4));
        let short = Duration::from_micros(self.rng.below(3000));
        let permit = match self.rng.below(9) {
            0 => pool.try_acquire()?,
            1 => pool.acquire_timeout(short)?,
            2 => pool.acquire_many(many)?,
            3 => pool.try_acquire_many(many)?,
            4 => pool.acquire_many_timeout(many, short)?,
            5 => run_future(pool.acquire_many_async(many), None)?,
            6 => run_future(pool.acquire_async(), Some(short))?,
            _ => pool.acquire()?,
        };
        Ok(permit.into_static())
    }

    /// Registers, holds for a moment, and ends that in one of several ways.
    fn hold(&mut self, mut permit: Permit<'static>) {
        let (account, place) = (self.cast.account, self.cast.place);
        account.register(place, permit.permits());
        moment(&mut self.rng);
        if permit.permits() > 1 && self.rng.one_in(2) {
            let part = 1 + self.rng.below(permit.permits() - 1);
            match permit.split(part) {
                Ok(part) if self.rng.one_in(2) => {
                    account.unregister(place, part.permits());
                    drop(part);
                }
                Ok(part) => permit.merge(part).expect("to merge what was split"),
                Err(error) => panic!("split: {error}"),
            }
        }
        if self.rng.one_in(8) {
            permit.set_label("something special");
        }
        account.unregister(place, permit.permits());
        if self.cast.changes && self.rng.one_in(100) {
            permit.forget().expect("to forget");
        } else if self.rng.one_in(16) {
            std::thread::spawn(move || drop(permit)).join().expect("a thread that releases");
        } else {
            drop(permit);
        }
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a future until it is done, or drops it when the time is over.
fn run_future<'a>(
    future: impl Future<Output = Result<Permit<'a>, AcquireError>>,
    limit: Option<Duration>,
) -> Result<Permit<'a>, AcquireError> {
    let start = Instant::now();
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
        match limit.map(|limit| limit.checked_sub(start.elapsed())) {
            None => std::thread::park(),
            Some(Some(left)) => std::thread::park_timeout(left),
            Some(None) => return Err(AcquireError::TimedOut),
        }
    }
}

/// Changes the number of permits, up and down and to nothing, or looks, if it is not to be changed.
fn part_changer(arguments: &[String]) {
    let cast = Cast::new(arguments);
    let mut rng = Rng::new(cast.seed);
    // The one before may have been killed with more or fewer permits than the bound says.
    change_to(&cast, cast.permits);
    while !cast.account.stopped() {
        if !cast.changes {
            match cast.pool.stat() {
                Ok(stat) => assert_eq!(stat.permits, cast.permits),
                Err(AccessError::Busy) => {}
                Err(error) => panic!("stat: {error}"),
            }
            std::thread::sleep(Duration::from_micros(rng.below(3000)));
            continue;
        }
        let lower = rng.below(cast.permits);
        change_to(&cast, lower);
        if lower == 0 {
            drain(&cast, Duration::from_micros(rng.below(20_000)));
        }
        moment(&mut rng);
        change_to(&cast, cast.permits);
        (0..rng.below(10)).for_each(|_| moment(&mut rng));
    }
}

fn patiently<T>(what: &str, mut call: impl FnMut() -> Result<T, AccessError>) -> T {
    loop {
        match call() {
            Ok(value) => return value,
            Err(AccessError::Busy) => {}
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

/// The bound is raised before and lowered after; after, that is when no more are held than there are now.
fn change_to(cast: &Cast, permits: u64) {
    let account = cast.account;
    if permits >= account.seen().bound() {
        account.set_bound(permits);
        patiently("set_permits", || cast.pool.set_permits(permits));
        return;
    }
    patiently("set_permits", || cast.pool.set_permits(permits));
    // Many holders may come to their end only later; a look now and then will do.
    if patiently("stat", || cast.pool.stat()).available >= 0 {
        account.set_bound(permits);
    }
}

/// With no permits, a semaphore that says to be idle is, and stays so.
fn drain(cast: &Cast, at_most: Duration) {
    match cast.pool.wait_idle_timeout(at_most) {
        Ok(()) => {
            assert_eq!(cast.account.seen().held(), 0, "idle, but somebody holds a permit");
            cast.account.drained.fetch_add(1, Ordering::SeqCst);
            cast.account.set_bound(0);
        }
        Err(AcquireError::TimedOut | AcquireError::Busy) => {}
        Err(error) => panic!("wait_idle: {error}"),
    }
}

/// Posts and takes signals, in turns that chance decides.
fn part_signaller(arguments: &[String]) {
    let cast = Cast::new(arguments);
    let mut rng = Rng::new(cast.seed);
    let (account, signals) = (cast.account, &cast.signals);
    let under_way = &account.under_way[cast.place];
    while !account.stopped() {
        let post = rng.one_in(2);
        under_way.store(if post { POSTING } else { TAKING }, Ordering::SeqCst);
        if post {
            match signals.post() {
                Ok(()) => _ = account.posted.fetch_add(1, Ordering::SeqCst),
                Err(AccessError::Busy) => {}
                Err(error) => panic!("post: {error}"),
            }
        } else {
            let result = if rng.one_in(3) {
                signals.try_wait()
            } else {
                signals.wait_timeout(Duration::from_micros(rng.below(3000)))
            };
            match result {
                Ok(()) => _ = account.taken.fetch_add(1, Ordering::SeqCst),
                Err(AcquireError::NoPermits | AcquireError::TimedOut | AcquireError::Busy) => {}
                Err(error) => panic!("wait: {error}"),
            }
        }
        under_way.store(0, Ordering::SeqCst);
        moment(&mut rng);
    }
}

// ---- the killer ----

/// One semaphore, its processes, and what the killer knows of the dead.
struct Epoch {
    dir: tempfile::TempDir,
    pool: Semaphore,
    signals: Semaphore,
    account: &'static Account,
    workers: Vec<Worker>,
    incarnations: u64,
    permits: u64,
    changes: bool,
    seed: u64,
    kills: u64,
    /// Posts and waits that were under way in a process that was killed.
    may_have: [u64; 2],
    progress: (u64, Instant),
    longest_stall: Duration,
}

impl Epoch {
    fn new(permits: u64, changes: bool, seed: u64) -> Epoch {
        let dir = scratch();
        let pool = options(dir.path()).permits(permits).create_new("/pool").unwrap();
        let signals = options(dir.path()).permits(0).create_new("/signals").unwrap();
        let account = Shared::<Account>::map(&dir.path().join("account")).leak();
        account.set_bound(permits);
        let mut epoch = Epoch {
            dir,
            pool,
            signals,
            account,
            workers: Vec::new(),
            incarnations: 0,
            permits,
            changes,
            seed,
            kills: 0,
            may_have: [0, 0],
            progress: (0, Instant::now()),
            longest_stall: Duration::ZERO,
        };
        for place in 0..PLACES {
            let worker = epoch.start(place);
            epoch.workers.push(worker);
        }
        epoch
    }

    fn start(&mut self, place: usize) -> Worker {
        self.incarnations += 1;
        let part = match place {
            0..HOLDERS => "holder",
            CHANGER => "changer",
            _ => "signaller",
        };
        let numbers = [place as u64, self.incarnations, self.permits, u64::from(self.changes), self.seed];
        let numbers = numbers.map(|number| number.to_string());
        let [place, incarnation, permits, changes, seed] = &numbers;
        Worker::start(part, &[self.dir.path().to_str().unwrap(), place, incarnation, permits, changes, seed])
    }

    /// Kills the processes at these places, at once, and books what they may have done.
    fn kill(&mut self, places: &[usize]) {
        places.iter().for_each(|place| self.account.condemn(*place));
        places.iter().for_each(|place| self.signal(*place, libc::SIGKILL));
        for &place in places {
            self.workers[place].kill();
            self.account.erase(place);
            match self.account.under_way[place].swap(0, Ordering::SeqCst) {
                POSTING => self.may_have[0] += 1,
                TAKING => self.may_have[1] += 1,
                _ => {}
            }
            self.kills += 1;
        }
    }

    fn signal(&self, place: usize, number: i32) {
        // SAFETY: it takes numbers; the process is a child that was not reaped yet.
        let sent = unsafe { libc::kill(self.workers[place].pid() as i32, number) };
        assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
    }

    /// Stops the process at this place for a moment: it keeps what it holds.
    fn pause(&mut self, place: usize, moment: Duration) {
        self.signal(place, libc::SIGSTOP);
        std::thread::sleep(moment);
        self.signal(place, libc::SIGCONT);
    }

    /// Fails if a process ended by itself, if too many permits are held, or if nobody acquired one for too long.
    fn watch(&mut self) {
        self.account.seen().check();
        for (place, worker) in self.workers.iter_mut().enumerate() {
            if let Some(status) = worker.try_ended() {
                panic!(
                    "the process at place {place} ended by itself: {status}\n{}",
                    diagnosis(&self.pool, self.account)
                );
            }
        }
        let acquisitions = self.account.acquisitions.load(Ordering::SeqCst);
        let stall = self.progress.1.elapsed();
        if acquisitions != self.progress.0 {
            self.progress = (acquisitions, Instant::now());
            self.longest_stall = self.longest_stall.max(stall);
        }
        assert!(stall < NET, "nobody acquired a permit for {NET:?}\n{}", diagnosis(&self.pool, self.account));
    }

    /// Waits until everybody has ended in good order.
    fn stop(&mut self) {
        self.account.stop.store(1, Ordering::SeqCst);
        let others = self.workers.split_off(CHANGER);
        self.join(others);
        // It may have left too few permits for those who wait; and these may forget some.
        let holders = std::mem::take(&mut self.workers);
        self.join(holders);
        self.restore();
    }

    /// All permits that were taken away or forgotten.
    fn restore(&self) {
        if self.changes {
            self.account.set_bound(self.permits);
            patiently("set_permits", || self.pool.set_permits(self.permits));
        }
    }

    fn join(&self, workers: Vec<Worker>) {
        for mut worker in workers {
            within_net("a process ends", &self.pool, self.account, || {
                if self.workers.is_empty() {
                    self.restore();
                }
                worker.try_ended().is_some()
            });
            assert!(worker.ended().success(), "a process failed");
        }
    }

    /// Everybody dies, wherever they are.
    fn kill_all(&mut self) {
        self.kill(&(0..PLACES).collect::<Vec<_>>());
        self.workers.clear();
        self.restore();
    }

    /// When nobody is there any more, all permits are.
    fn account(&self) {
        let pool = &self.pool;
        let stat = pool.stat().unwrap();
        assert_eq!((stat.permits, stat.available), (self.permits, self.permits as i64), "{stat:#?}");
        assert!(stat.holders.is_empty() && stat.waiters.is_empty(), "{stat:#?}");
        assert_eq!(stat.participants.len(), 1, "the dead are not listed: {stat:#?}");
        let permits: Vec<Permit> = (0..self.permits).map(|_| pool.try_acquire().expect("a permit")).collect();
        assert_eq!(pool.try_acquire().unwrap_err(), AcquireError::NoPermits);
        drop(permits);
        drop(pool.acquire_many_timeout(self.permits, NET).expect("all permits"));
        self.signals();
        for name in ["chappe.sem.pool", "chappe.sem.signals"] {
            let file = std::fs::read(self.dir.path().join(name)).unwrap();
            let [fresh, attach_high] = [324, 336].map(|at| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()));
            // Records and places are used again: what lives at once has some hundred at the most.
            assert!(fresh <= 512 && attach_high <= 64, "{name}: {fresh} records, {attach_high} places");
        }
    }

    /// As many signals are left as were posted and not taken, but for calls that death cut short.
    fn signals(&self) {
        let stat = self.signals.stat().unwrap();
        let [posted, taken] = [&self.account.posted, &self.account.taken].map(|count| count.load(Ordering::SeqCst));
        let [may_posted, may_taken] = self.may_have;
        let (low, high) = (posted.saturating_sub(taken + may_taken), (posted + may_posted).saturating_sub(taken));
        let left = stat.permits;
        assert!(
            (low..=high).contains(&left),
            "{left} signals left; {posted} to {may_posted} more posted, {taken} to {may_taken} more taken"
        );
        assert_eq!((stat.available, stat.holders.len(), stat.waiters.len()), (left as i64, 0, 0), "{stat:#?}");
    }
}

#[track_caller]
fn within_net(what: &str, pool: &Semaphore, account: &Account, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < NET, "in vain for {NET:?}: {what}\n{}", diagnosis(pool, account));
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// What there is to know about a semaphore that does not move.
fn diagnosis(pool: &Semaphore, account: &Account) -> String {
    let seen = account.seen();
    let places: Vec<u64> = (0..PLACES).map(|place| seen.of(place)).collect();
    format!("registered {places:?}, bound {}\n{:#?}", seen.bound(), pool.stat())
}

/// How many permits there are, and whether that changes.
const EPOCHS: [(u64, bool); 6] = [(1, false), (4, false), (3, true), (MOST, false), (2, false), (MOST, true)];

#[test]
fn killed_at_random_moments_nobody_holds_too_much_or_loses_a_permit() {
    let seed = seed("CHAPPE_KILL_SEED");
    let rounds = number("CHAPPE_KILL_ROUNDS").unwrap_or(300);
    // Long runs change the semaphore every 200 kills: what a death left behind can then be told from what came before.
    let each = rounds.div_ceil(EPOCHS.len() as u64).clamp(1, 200);
    let mut rng = Rng::new(seed);
    let (mut done, mut epochs) = (0, 0);
    while done < rounds {
        let (permits, changes) = EPOCHS[epochs % EPOCHS.len()];
        done += one_epoch(Epoch::new(permits, changes, rng.bits()), each.min(rounds - done), &mut rng);
        epochs += 1;
    }
}

fn one_epoch(mut epoch: Epoch, kills: u64, rng: &mut Rng) -> u64 {
    let start = Instant::now();
    while epoch.kills < kills {
        std::thread::sleep(Duration::from_micros(rng.below(5000)));
        epoch.watch();
        if rng.one_in(4) {
            epoch.pause(rng.index(PLACES), Duration::from_micros(rng.below(20_000)));
        }
        let first = rng.index(PLACES);
        let mut places = vec![first];
        if rng.one_in(4) {
            // Several at once: nobody has seen to the first when the others go.
            places.extend((0..PLACES).filter(|place| *place != first && rng.one_in(3)));
        }
        epoch.kill(&places);
        for place in places {
            epoch.workers[place] = epoch.start(place);
        }
    }
    // A semaphore that came to rest under the last kill would pass for an idle one: it has to go on first.
    let goal = epoch.account.acquisitions.load(Ordering::SeqCst) + 100;
    while epoch.account.acquisitions.load(Ordering::SeqCst) < goal {
        epoch.watch();
        std::thread::sleep(Duration::from_micros(500));
    }
    if rng.one_in(2) {
        epoch.stop()
    } else {
        epoch.kill_all()
    }
    epoch.account();
    let longest_wait = Duration::from_micros(epoch.account.longest_wait.load(Ordering::SeqCst));
    assert!(longest_wait < NET, "one acquisition took {longest_wait:.1?}");
    let stat = epoch.pool.stat().unwrap();
    let load = |count: &AtomicU64| count.load(Ordering::SeqCst);
    println!(
        "{} permits{}: {} killed in {:.1?}; {} acquisitions, {} waited, {} permits came back, {} times drained; {} signals \
         posted, {} taken; longest stall {:.1?}, longest wait of one call {:.1?}",
        epoch.permits,
        if epoch.changes { " and fewer" } else { "" },
        epoch.kills,
        start.elapsed(),
        load(&epoch.account.acquisitions),
        stat.blocked,
        stat.recovered_permits,
        load(&epoch.account.drained),
        load(&epoch.account.posted),
        load(&epoch.account.taken),
        epoch.longest_stall,
        longest_wait,
    );
    epoch.kills
}
