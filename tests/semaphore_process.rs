//! The semaphore among real processes: whose permits come back when, who is served next, forks, commands, pid namespaces,
//! descriptors that are passed on, deadlocks, and what waiting costs.
//!
//! Processes die here at moments that matter to people; at *every* moment they die in `semaphore_kill.rs`, at random ones
//! in `semaphore_random_kill.rs`. What needs a right that the machine does not give is skipped, and says so. Times are
//! printed, not judged: the only bound is the net.

mod common;

use chappe::{AcquireError, Children, OpenError, Permit, Semaphore, SemaphoreOptions, SemaphoreStat};
use common::semaphore::Fixture;
use common::{NET, Rng, Worker, asleep, fork, hear, reap, say, scratch, seed, until};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What nothing here may take, however busy the machine is.
const LONG: Duration = Duration::from_secs(10);

#[test]
fn role() {
    common::play(&[
        ("actor", part_actor),
        ("careful actor", part_careful_actor),
        ("namespace", part_namespace),
        ("forked", part_forked),
        ("forking waiter", part_forking_waiter),
        ("becomes", part_becomes),
        ("exec", part_exec),
        ("unnamed", part_unnamed),
        ("unnamed orphan", part_unnamed_orphan),
        ("passed", part_passed),
        ("ephemeral", part_ephemeral),
    ]);
}

fn options(dir: &Path) -> SemaphoreOptions {
    let mut options = Semaphore::options();
    options.dir(dir);
    options
}

// ---- actors ----

/// `actor DIR NAME...`: opens the semaphores, and does what it is told, one line at a time.
fn part_actor(arguments: &[String]) {
    act(&options(Path::new(&arguments[0])), &arguments[1..]);
}

/// The same, refusing to wait for ever.
fn part_careful_actor(arguments: &[String]) {
    act(options(Path::new(&arguments[0])).fail_on_deadlock(true), &arguments[1..]);
}

fn act(options: &SemaphoreOptions, names: &[String]) {
    let open = |name: &String| (name.clone(), options.open(name).unwrap());
    let semaphores: HashMap<String, Semaphore> = names.iter().map(open).collect();
    say("ready");
    obey(&semaphores);
}

/// `VERB [NAME [NUMBER]]`; `/s` and 1 if they are left out.
fn obey(semaphores: &HashMap<String, Semaphore>) {
    let mut permits: Vec<Permit> = Vec::new();
    loop {
        let line = hear();
        let words: Vec<&str> = line.split(' ').collect();
        let semaphore = &semaphores[*words.get(1).unwrap_or(&"/s")];
        let number: u64 = words.get(2).map_or(1, |word| word.parse().unwrap());
        let mut take = |result: Result<Permit<'_>, AcquireError>| match result {
            Ok(permit) => {
                permits.push(permit.into_static());
                "acquired".to_owned()
            }
            Err(error) => format!("{error:?}"),
        };
        let done =
            |result: Result<(), AcquireError>| result.map_or_else(|error| format!("{error:?}"), |()| "done".into());
        let answer = match words[0] {
            "acquire" => take(semaphore.acquire_many(number)),
            "try" => take(semaphore.try_acquire_many(number)),
            "release" => {
                drop(permits.pop().expect("a permit to release"));
                "released".to_owned()
            }
            "idle" => done(semaphore.wait_idle()),
            "wait" => done(semaphore.wait()),
            "end" => return,
            other => panic!("what is {other:?}?"),
        };
        say(answer);
    }
}

impl Fixture {
    fn actor(&self) -> Worker {
        self.start("actor", &["/s"])
    }

    /// An actor that holds so many permits.
    fn holder(&self, permits: u64) -> Worker {
        let mut holder = self.actor();
        holder.tell(format!("acquire /s {permits}"));
        holder.expect("acquired");
        holder
    }

    /// An actor that has its place in the queue when this returns, behind those that had theirs before, and sleeps.
    fn waiter(&self, permits: u64) -> Worker {
        let mut waiter = self.actor();
        waiter.tell(format!("acquire /s {permits}"));
        self.until_waits(&waiter);
        waiter
    }

    fn until_waits(&self, waiter: &Worker) {
        let last = |stat: SemaphoreStat| stat.waiters.last().is_some_and(|last| last.process.pid == waiter.pid());
        until("it waits", || last(self.semaphore.stat().unwrap()) && asleep(waiter.pid()));
    }

    /// Nobody holds, nobody waits, and exactly as many permits as there are can be had.
    #[track_caller]
    fn all_is_there(&self) {
        let stat = self.semaphore.stat().unwrap();
        assert_eq!((stat.held, stat.waiters.len(), stat.available), (0, 0, stat.permits as i64), "{stat:#?}");
        let permits: Vec<Permit> = (0..stat.permits).map(|_| self.semaphore.try_acquire().unwrap()).collect();
        assert_eq!(self.semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits);
        drop(permits);
        assert_eq!(self.semaphore.available(), stat.permits);
    }
}

/// The next answer must be this one, and what it took since then is printed.
#[track_caller]
fn expect_soon(what: &str, worker: &mut Worker, line: &str, since: Instant) {
    worker.expect(line);
    told(what, since.elapsed());
}

#[track_caller]
fn told(what: &str, took: Duration) {
    println!("{what}: {took:.1?}");
    assert!(took < LONG, "{what} took {took:?}");
}

fn signal(pid: u32, number: i32) {
    // SAFETY: it takes two numbers.
    let sent = unsafe { libc::kill(pid as i32, number) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

fn state(pid: u32) -> char {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    text.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

// ---- whose holder dies ----

#[test]
fn the_permit_of_a_killed_holder_goes_to_who_waits() {
    let fixture = Fixture::new(1);
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..15 {
        let mut holder = fixture.holder(1);
        let mut waiter = fixture.waiter(1);
        let start = Instant::now();
        holder.kill();
        waiter.expect("acquired");
        times.push(start.elapsed());
        waiter.tell("release");
        waiter.expect("released");
    }
    times.sort_unstable();
    println!("from SIGKILL to the waiter's answer: median {:.1?}, longest {:.1?}", times[7], times[14]);
    assert!(times[14] < LONG, "{times:?}");
    let stat = fixture.semaphore.stat().unwrap();
    assert_eq!((stat.recovered_permits, stat.participants.len()), (15, 1), "{stat:#?}");
    fixture.all_is_there();
}

#[test]
fn a_holder_that_is_a_zombie_holds_nothing() {
    let fixture = Fixture::new(1);
    let holder = fixture.holder(1);
    let mut waiter = fixture.waiter(1);
    let start = Instant::now();
    signal(holder.pid(), libc::SIGKILL);
    expect_soon("from SIGKILL of one that nobody reaps", &mut waiter, "acquired", start);
    until("it is a zombie", || state(holder.pid()) == 'Z');
    drop(waiter);
    let permit = fixture.semaphore.try_acquire().expect("a call that does not wait looks after the dead, too");
    drop(permit);
    fixture.all_is_there();
}

#[test]
fn all_permits_of_a_killed_holder_come_back() {
    let fixture = Fixture::new(4);
    let mut holder = fixture.holder(3);
    holder.tell("try");
    holder.expect("acquired");
    let mut waiter = fixture.waiter(4);
    let start = Instant::now();
    holder.kill();
    expect_soon("four permits, held in two pieces", &mut waiter, "acquired", start);
    let stat = fixture.semaphore.stat().unwrap();
    assert_eq!((stat.held, stat.holders.len(), stat.recovered_permits), (4, 1, 4), "{stat:#?}");
    waiter.kill();
    fixture.all_is_there();
}

/// A holder that is pid 1 of a namespace of its own, and the pid that it has outside.
#[test]
fn a_holder_in_another_pid_namespace_is_known_by_its_lock_not_its_pid() {
    let fixture = Fixture::new(1);
    let mut outside = Worker::start("namespace", &[fixture.path()]);
    let answer = outside.answer();
    if let Some(reason) = answer.strip_prefix("skip ") {
        println!("skipped: {reason}");
        return;
    }
    outside.tell("go");
    outside.expect("ready 1");
    let mut waiter = fixture.waiter(1);
    let holders = fixture.semaphore.stat().unwrap().holders;
    assert_eq!((holders.len(), holders[0].process.pid), (1, 1), "{holders:?}");
    let start = Instant::now();
    signal(answer.parse().unwrap(), libc::SIGKILL);
    expect_soon("from SIGKILL in another pid namespace", &mut waiter, "acquired", start);
    waiter.kill();
    outside.finish();
    fixture.all_is_there();
}

/// The process itself waits outside; its child is the one inside.
fn part_namespace(arguments: &[String]) {
    if let Err(error) = unshare(libc::CLONE_NEWPID) {
        say(format!("skip a pid namespace of its own: {error}"));
        return;
    }
    let child = fork(|| {
        // SAFETY: it takes numbers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        hear();
        let semaphore = options(Path::new(&arguments[0])).open("/s").unwrap();
        let permit = semaphore.acquire().unwrap();
        say(format!("ready {}", std::process::id()));
        sleep_for_ever();
        drop(permit);
    });
    say(child);
    let status = reap(child);
    assert_eq!(status, libc::SIGKILL, "the process inside ended with status {status:#x}");
}

/// Moves the process into new namespaces, with a user namespace where that is what gives the right to.
fn unshare(flags: i32) -> std::io::Result<()> {
    for flags in [flags, flags | libc::CLONE_NEWUSER] {
        // SAFETY: it takes a number.
        if unsafe { libc::unshare(flags) } == 0 {
            return Ok(());
        }
    }
    Err(std::io::Error::last_os_error())
}

fn sleep_for_ever() {
    loop {
        thread::park();
    }
}

// ---- forks ----

/// A child has copies of the descriptors and mappings of its parent, also one that has a sentry; and the guard of its permit.
#[test]
fn a_child_neither_keeps_nor_gives_back_what_its_dead_parent_held() {
    for first_use in ["before", "after"] {
        for sentry in ["sentry", "none"] {
            let fixture = Fixture::new(1);
            let mut parent = fixture.start("forked", &[first_use, sentry]);
            let child: u32 = parent.answer().parse().unwrap();
            parent.tell("drop");
            parent.expect("dropped");
            let stat = fixture.semaphore.stat().unwrap();
            assert_eq!((stat.held, stat.available), (1, 0), "the child gave back what is its parent's: {stat:#?}");
            assert_eq!(stat.holders[0].process.pid, parent.pid());
            assert_eq!(fixture.semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits);

            let mut waiter = fixture.waiter(1);
            let start = Instant::now();
            parent.kill();
            let what = format!("from SIGKILL of a parent ({sentry}) whose child (attached {first_use}) lives on");
            expect_soon(&what, &mut waiter, "acquired", start);
            signal(child, 0);
            waiter.tell("release");
            waiter.expect("released");

            parent.tell("acquire");
            parent.expect("acquired");
            let stat = fixture.semaphore.stat().unwrap();
            assert_eq!((stat.held, stat.holders[0].process.pid), (1, child), "{stat:#?}");
            parent.tell("release");
            parent.expect("released");
            parent.tell("end");
            drop(waiter);
            until("the child is gone", || fixture.semaphore.stat().unwrap().participants.len() == 1);
            fixture.all_is_there();
        }
    }
}

/// Acquires, forks a child that does what it is told, and waits for its death.
fn part_forked(arguments: &[String]) {
    let semaphore = options(Path::new(&arguments[0])).open("/s").unwrap();
    let mut permit = Some(semaphore.acquire().unwrap());
    if arguments[2] == "sentry" {
        let waited = semaphore.acquire_timeout(Duration::from_millis(1)).map(drop);
        assert_eq!(waited, Err(AcquireError::TimedOut));
    }
    say("ready");
    fork(|| {
        if arguments[1] == "before" {
            assert_eq!(semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits);
        }
        say(std::process::id());
        assert_eq!(hear(), "drop");
        drop(permit.take());
        say("dropped");
        obey(&HashMap::from([("/s".to_owned(), semaphore.clone())]));
    });
    sleep_for_ever();
}

/// Each fork copies the descriptors of all threads, the sentry's too, and the children close their copies at their ends.
#[test]
fn who_waits_hears_of_deaths_also_while_its_other_threads_fork() {
    let fixture = Fixture::new(1);
    let mut waiter = fixture.start("forking waiter", &[]);
    let (mut rounds, mut forks) = (0, 0u64);
    // On a busy machine a fork takes its time.
    while rounds < 5 || forks <= 10 {
        let mut holder = fixture.holder(1);
        waiter.tell("go");
        let waits = |stat: SemaphoreStat| stat.waiters.iter().any(|one| one.process.pid == waiter.pid());
        until("it waits", || waits(fixture.semaphore.stat().unwrap()));
        let start = Instant::now();
        holder.kill();
        expect_soon("from SIGKILL to a waiter whose threads fork", &mut waiter, "acquired", start);
        waiter.tell("release");
        forks = waiter.answer().parse().unwrap();
        rounds += 1;
        assert!(rounds < 100, "only {forks} forks in {rounds} waits: this run showed nothing");
    }
    waiter.tell("end");
    waiter.finish();
    fixture.all_is_there();
}

fn part_forking_waiter(arguments: &[String]) {
    let semaphore = options(Path::new(&arguments[0])).open("/s").unwrap();
    let (stop, forks) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let number = forks.load(Ordering::Relaxed);
                let pause = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 * (number % 4) as libc::c_long };
                // SAFETY: the timespec lives through the call, and no rest is asked for.
                let child = fork(|| _ = unsafe { libc::nanosleep(&raw const pause, std::ptr::null_mut()) });
                assert_eq!(reap(child), 0);
                forks.fetch_add(1, Ordering::Relaxed);
            }
        });
        say("ready");
        while hear() == "go" {
            let permit = semaphore.acquire().unwrap();
            say("acquired");
            assert_eq!(hear(), "release");
            drop(permit);
            say(forks.load(Ordering::Relaxed));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

// ---- who waits and dies ----

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    let fixture = Fixture::new(1);
    let permit = fixture.semaphore.acquire().unwrap();
    let mut waiters: Vec<Worker> = (0..8).map(|_| fixture.waiter(1)).collect();
    let listed: Vec<u32> = fixture.semaphore.stat().unwrap().waiters.iter().map(|one| one.process.pid).collect();
    assert_eq!(listed, waiters.iter().map(Worker::pid).collect::<Vec<_>>());
    drop(permit);
    for (index, waiter) in waiters.iter_mut().enumerate() {
        waiter.expect("acquired");
        let stat = fixture.semaphore.stat().unwrap();
        assert_eq!(stat.holders.len(), 1, "{stat:#?}");
        assert_eq!(stat.holders[0].process.pid, waiter.pid(), "number {index} is next");
        assert_eq!(stat.waiters.len(), 7 - index);
        waiter.tell("release");
        waiter.expect("released");
    }
    drop(waiters);
    fixture.all_is_there();
}

#[test]
fn a_waiter_that_is_killed_leaves_its_place_to_the_next() {
    for victim in 0..3 {
        let fixture = Fixture::new(1);
        let permit = fixture.semaphore.acquire().unwrap();
        let mut waiters: Vec<Worker> = (0..3).map(|_| fixture.waiter(1)).collect();
        waiters.remove(victim).kill();
        let start = Instant::now();
        drop(permit);
        for waiter in &mut waiters {
            expect_soon(&format!("after the death of waiter {victim}"), waiter, "acquired", start);
            waiter.tell("release");
            waiter.expect("released");
        }
        drop(waiters);
        fixture.all_is_there();
    }
}

/// A large request at the head keeps the smaller ones behind it waiting; its death lets them go on, though nobody releases.
#[test]
fn the_death_of_a_waiter_lets_those_behind_it_go_on() {
    let fixture = Fixture::new(3);
    let permits = fixture.semaphore.acquire_many(2).unwrap();
    let mut large = fixture.waiter(3);
    let mut small = fixture.waiter(1);
    let mut next = fixture.waiter(1);
    assert_eq!(fixture.semaphore.available(), 1);
    let start = Instant::now();
    large.kill();
    expect_soon("from SIGKILL of the one at the head", &mut small, "acquired", start);
    assert_eq!(fixture.semaphore.stat().unwrap().waiters.len(), 1, "there is no permit for the last one");
    drop(permits);
    next.expect("acquired");
    drop((small, next));
    fixture.all_is_there();
}

#[test]
fn one_that_is_killed_while_it_is_handed_a_permit_takes_none_with_it() {
    let mut rng = Rng::new(seed("CHAPPE_KILL_SEED"));
    let rounds = common::number("CHAPPE_KILL_ROUNDS").map_or(100, |rounds| rounds.min(5000));
    let fixture = Fixture::new(1);
    let mut survivor = fixture.actor();
    let mut longest = Duration::ZERO;
    for _ in 0..rounds {
        let permit = fixture.semaphore.acquire_timeout(NET).unwrap();
        let mut victim = fixture.waiter(1);
        survivor.tell("acquire");
        fixture.until_waits(&survivor);
        let moment = Duration::from_nanos(rng.below(200_000));
        let start = Instant::now();
        drop(permit);
        while start.elapsed() < moment {
            std::hint::spin_loop();
        }
        victim.kill();
        survivor.expect("acquired");
        longest = longest.max(start.elapsed());
        let stat = fixture.semaphore.stat().unwrap();
        assert_eq!((stat.held, stat.available, stat.waiters.len()), (1, 0, 0), "{stat:#?}");
        assert_eq!(stat.holders[0].process.pid, survivor.pid());
        survivor.tell("release");
        survivor.expect("released");
    }
    let stat = fixture.semaphore.stat().unwrap();
    assert_eq!(stat.recovered, rounds, "{stat:#?}");
    println!("{rounds} killed, {} with the permit; the next one waited {longest:.1?} at most", stat.recovered_permits);
    drop(survivor);
    fixture.all_is_there();
}

// ---- commands ----

/// A program that takes the place of a holder in another way than by [`Permit::exec`] has nothing of its descriptors.
#[test]
fn a_holder_that_becomes_another_program_holds_nothing() {
    let fixture = Fixture::new(1);
    let mut holder = fixture.start("becomes", &[]);
    let mut waiter = fixture.waiter(1);
    let start = Instant::now();
    holder.tell("go");
    expect_soon("from exec of something else", &mut waiter, "acquired", start);
    assert!(holder.try_ended().is_none(), "the other program has ended: this run showed nothing");
    drop(waiter);
    fixture.all_is_there();
}

fn part_becomes(arguments: &[String]) {
    let semaphore = options(Path::new(&arguments[0])).open("/s").unwrap();
    let permit = semaphore.acquire().unwrap();
    say("ready");
    hear();
    let error = Command::new("sleep").arg("60").exec();
    drop(permit);
    panic!("sleep: {error}");
}

/// `exec DIR let|keep PROGRAM ARGUMENT...`
fn part_exec(arguments: &[String]) {
    let semaphore = options(Path::new(&arguments[0])).open("/s").unwrap();
    let permit = semaphore.acquire().unwrap();
    say("ready");
    hear();
    let children = if arguments[1] == "keep" { Children::Keep } else { Children::LetGo };
    let error = permit.exec(Command::new(&arguments[2]).args(&arguments[3..]), children);
    say(format!("{:?}", error.kind()));
    say(format!("{:?}", semaphore.try_acquire().map(drop)));
    say(format!("{:?}", semaphore.acquire_timeout(Duration::ZERO).map(drop)));
}

/// A process that nobody else would end.
struct Leftover(u32);

impl Drop for Leftover {
    fn drop(&mut self) {
        // SAFETY: it takes numbers; that the process is gone already is no harm.
        unsafe { libc::kill(self.0 as i32, libc::SIGKILL) };
    }
}

const WAITS: &str = "echo @started; read line";
const LEAVES_A_CHILD: &str = "sleep 60 >/dev/null 2>&1 & echo @$!; read line";

/// The command `sh -c script`, holding the permit; it has begun when this returns, and what it said is told.
fn command(fixture: &Fixture, children: &str, script: &str) -> (Worker, String) {
    let mut worker = fixture.start("exec", &[children, "sh", "-c", script]);
    worker.tell("go");
    let said = worker.answer();
    let stat = fixture.semaphore.stat().unwrap();
    assert_eq!((stat.held, stat.holders.len()), (1, 1), "{stat:#?}");
    let holder = &stat.holders[0];
    assert!(holder.command, "{holder:?}");
    assert_eq!((holder.process.pid, holder.process.command.as_str()), (worker.pid(), "sh"), "{holder:?}");
    assert_eq!(fixture.semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits);
    (worker, said)
}

#[test]
fn a_command_holds_the_permit_until_it_ends() {
    for children in ["let", "keep"] {
        let fixture = Fixture::new(1);
        let (mut worker, _) = command(&fixture, children, WAITS);
        let mut waiter = fixture.waiter(1);
        let start = Instant::now();
        worker.tell("enough");
        expect_soon(&format!("from telling a command ({children}) to end"), &mut waiter, "acquired", start);
        assert!(worker.ended().success());
        waiter.kill();
        fixture.all_is_there();
    }
}

#[test]
fn a_command_that_is_killed_gives_the_permit_back() {
    for children in ["let", "keep"] {
        let fixture = Fixture::new(1);
        let (mut worker, _) = command(&fixture, children, WAITS);
        let mut waiter = fixture.waiter(1);
        let start = Instant::now();
        worker.kill();
        expect_soon(&format!("from SIGKILL of a command ({children})"), &mut waiter, "acquired", start);
        waiter.kill();
        fixture.all_is_there();
    }
}

#[test]
fn children_that_a_command_leaves_are_let_go() {
    let fixture = Fixture::new(1);
    for how in ["ends", "killed"] {
        let (mut worker, child) = command(&fixture, "let", LEAVES_A_CHILD);
        let child = Leftover(child.parse().unwrap());
        let mut waiter = fixture.waiter(1);
        let start = Instant::now();
        if how == "ends" {
            worker.tell("enough")
        } else {
            worker.kill()
        }
        expect_soon(&format!("a command {how}, its child lives"), &mut waiter, "acquired", start);
        signal(child.0, 0);
        waiter.kill();
        fixture.all_is_there();
    }
}

#[test]
fn children_that_a_command_leaves_keep_the_permit() {
    let fixture = Fixture::new(1);
    for how in ["ends", "killed"] {
        let (mut worker, child) = command(&fixture, "keep", LEAVES_A_CHILD);
        let child = Leftover(child.parse().unwrap());
        if how == "ends" {
            worker.tell("enough")
        } else {
            worker.kill()
        }
        worker.ended();
        let mut waiter = fixture.waiter(1);
        let stat = fixture.semaphore.stat().unwrap();
        assert_eq!((stat.held, stat.waiters.len()), (1, 1), "{stat:#?}");
        let start = Instant::now();
        drop(child);
        expect_soon(&format!("a command {how}, then its child is killed"), &mut waiter, "acquired", start);
        waiter.kill();
        fixture.all_is_there();
    }
}

#[test]
fn a_command_that_does_not_exist_gives_the_permit_back() {
    for children in ["let", "keep"] {
        let fixture = Fixture::new(1);
        let mut worker = fixture.start("exec", &[children, "/no/such/program"]);
        let mut waiter = fixture.waiter(1);
        let start = Instant::now();
        worker.tell("go");
        worker.expect("NotFound");
        expect_soon(&format!("from an exec in vain ({children})"), &mut waiter, "acquired", start);
        let errors = match children {
            "let" => [AcquireError::System(libc::EBADF); 2],
            _ => [AcquireError::NoPermits, AcquireError::TimedOut],
        };
        for error in errors {
            worker.expect(&format!("{:?}", Err::<(), _>(error)));
        }
        worker.finish();
        waiter.kill();
        fixture.all_is_there();
    }
}

// ---- without a name ----

#[test]
fn an_unnamed_semaphore_is_shared_with_a_child() {
    let mut parent = Worker::start("unnamed", &[]);
    let child: u32 = parent.answer().parse().unwrap();
    parent.expect("the parent has it");
    parent.tell("release");
    parent.expect("the child has it");
    parent.expect("the parent waits");
    let start = Instant::now();
    signal(child, libc::SIGKILL);
    expect_soon("from SIGKILL of a child, without a name", &mut parent, "the parent has it", start);
    parent.finish();
}

fn part_unnamed(_: &[String]) {
    let semaphore = Semaphore::unnamed(1).unwrap();
    assert_eq!(semaphore.name(), None);
    let permit = semaphore.acquire().unwrap();
    let child = fork(|| {
        die_with_parent();
        let permit = semaphore.acquire().unwrap();
        sleep_for_ever();
        drop(permit);
    });
    until("the child waits", || semaphore.stat().unwrap().waiters.iter().any(|one| one.process.pid == child));
    say(child);
    say("the parent has it");
    assert_eq!(hear(), "release");
    drop(permit);
    until("the child has it", || semaphore.stat().unwrap().holders.iter().any(|one| one.process.pid == child));
    say("the child has it");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| semaphore.acquire().map(|permit| permit.permits()));
        until("the parent waits", || semaphore.stat().unwrap().waiters.len() == 1);
        say("the parent waits");
        assert_eq!(waiter.join().unwrap(), Ok(1));
    });
    say("the parent has it");
    assert_eq!(reap(child), libc::SIGKILL);
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.held, stat.available, stat.participants.len()), (0, 1, 1), "{stat:#?}");
}

fn die_with_parent() {
    // SAFETY: this option takes a number.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

#[test]
fn an_unnamed_semaphore_outlives_the_one_who_made_it() {
    let mut parent = Worker::start("unnamed orphan", &[]);
    parent.expect("the child waits");
    let start = Instant::now();
    parent.kill();
    expect_soon("from SIGKILL of the parent, without a name", &mut parent, "the child has it", start);
    parent.expect("1 of 1");
}

fn part_unnamed_orphan(_: &[String]) {
    let semaphore = Semaphore::unnamed(1).unwrap();
    let permit = semaphore.acquire().unwrap();
    let child = fork(|| {
        let permit = semaphore.acquire().unwrap();
        say("the child has it");
        drop(permit);
        let stat = semaphore.stat().unwrap();
        say(format!("{} of {}", stat.available, stat.permits));
    });
    until("the child waits", || semaphore.stat().unwrap().waiters.iter().any(|one| one.process.pid == child));
    say("the child waits");
    sleep_for_ever();
    drop(permit);
}

/// A message with one descriptor beside one byte.
#[repr(C)]
struct Parcel {
    header: libc::cmsghdr,
    fd: i32,
    padding: i32,
}

fn with_parcel(parcel: &mut Parcel, act: impl FnOnce(*mut libc::msghdr) -> isize) {
    let mut byte = [0u8];
    let mut data = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: a struct of numbers and pointers, for which all-zero is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    message.msg_control = (parcel as *mut Parcel).cast();
    message.msg_controllen = size_of::<Parcel>();
    assert_eq!(act(&raw mut message), 1, "{}", std::io::Error::last_os_error());
}

fn send_descriptor(to: &UnixStream, fd: i32) {
    let header = libc::cmsghdr {
        cmsg_len: size_of::<libc::cmsghdr>() + size_of::<i32>(),
        cmsg_level: libc::SOL_SOCKET,
        cmsg_type: libc::SCM_RIGHTS,
    };
    let mut parcel = Parcel { header, fd, padding: 0 };
    // SAFETY: the message and all it points to live through the call.
    with_parcel(&mut parcel, |message| unsafe { libc::sendmsg(to.as_raw_fd(), message, 0) });
}

fn receive_descriptor(from: &UnixStream) -> OwnedFd {
    let header = libc::cmsghdr { cmsg_len: 0, cmsg_level: 0, cmsg_type: 0 };
    let mut parcel = Parcel { header, fd: -1, padding: 0 };
    // SAFETY: the message and all it points to live through the call, and may be written.
    with_parcel(&mut parcel, |message| unsafe { libc::recvmsg(from.as_raw_fd(), message, libc::MSG_CMSG_CLOEXEC) });
    assert_eq!((parcel.header.cmsg_type, parcel.fd >= 0), (libc::SCM_RIGHTS, true));
    // SAFETY: the kernel made it for this process a moment ago; nobody else has it.
    unsafe { OwnedFd::from_raw_fd(parcel.fd) }
}

#[test]
fn an_unnamed_semaphore_is_shared_over_a_socket() {
    let dir = scratch();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let semaphore = Semaphore::unnamed(2).unwrap();
    let mut there = Worker::start("passed", &[path.to_str().unwrap()]);
    send_descriptor(&listener.accept().unwrap().0, semaphore.as_fd().as_raw_fd());
    there.expect("ready");
    there.tell("acquire /s 2");
    there.expect("acquired");
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.held, stat.holders[0].process.pid), (2, there.pid()), "{stat:#?}");
    assert_eq!(semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| semaphore.acquire_many(2).map(drop));
        until("it waits", || semaphore.stat().unwrap().waiters.len() == 1);
        let start = Instant::now();
        there.kill();
        assert_eq!(waiter.join().unwrap(), Ok(()));
        told("from SIGKILL of one that got the descriptor", start.elapsed());
    });
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.available, stat.participants.len()), (2, 1), "{stat:#?}");
}

fn part_passed(arguments: &[String]) {
    let stream = UnixStream::connect(&arguments[0]).unwrap();
    let semaphore = Semaphore::options().from_fd(receive_descriptor(&stream)).unwrap();
    assert_eq!((semaphore.name(), semaphore.permits()), (None, 2));
    say("ready");
    obey(&HashMap::from([("/s".to_owned(), semaphore)]));
}

#[test]
fn a_descriptor_that_leads_to_something_else_is_refused() {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let error = Semaphore::options().from_fd(null.into()).unwrap_err();
    assert!(matches!(error, OpenError::NotAnObject { .. }), "{error:?}");
}

// ---- ends ----

#[test]
fn an_ephemeral_semaphore_goes_when_its_creator_is_killed() {
    let dir = scratch();
    let mut creator = Worker::start("ephemeral", &[dir.path().to_str().unwrap()]);
    creator.expect("ready");
    let mut waiter = Worker::start("actor", &[dir.path().to_str().unwrap(), "/s"]);
    waiter.expect("ready");
    let guest = options(dir.path()).open("/s").unwrap();
    let permit = guest.acquire().unwrap();
    waiter.tell("acquire");
    until("it waits", || guest.stat().unwrap().waiters.len() == 1 && asleep(waiter.pid()));
    let start = Instant::now();
    creator.kill();
    expect_soon("from SIGKILL of the creator", &mut waiter, "Unlinked", start);
    assert!(matches!(options(dir.path()).open("/s"), Err(OpenError::NotFound { .. })));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(guest.try_acquire().unwrap_err(), AcquireError::Unlinked);
    assert_eq!(guest.stat().unwrap().held, 1, "what is held stays held");
    drop(permit);
    assert_eq!(guest.wait_idle_timeout(NET), Ok(()));
}

fn part_ephemeral(arguments: &[String]) {
    let semaphore = options(Path::new(&arguments[0])).ephemeral(true).create_new("/s").unwrap();
    say("ready");
    hear();
    drop(semaphore);
}

#[test]
fn close_and_unlink_wake_who_waits_in_other_processes() {
    for (what, error) in [("close", "Closed"), ("unlink", "Unlinked")] {
        let fixture = Fixture::new(1);
        let mut holder = fixture.holder(1);
        let mut waiters: Vec<Worker> = (0..4).map(|_| fixture.waiter(1)).collect();
        let start = Instant::now();
        match what {
            "close" => fixture.semaphore.close().unwrap(),
            _ => options(fixture.dir.path()).unlink("/s").unwrap(),
        }
        for waiter in &mut waiters {
            expect_soon(&format!("from {what} to a waiter's error"), waiter, error, start);
            waiter.tell("try");
            waiter.expect(error);
        }
        let stat = fixture.semaphore.stat().unwrap();
        assert_eq!((stat.held, stat.waiters.len()), (1, 0), "{stat:#?}");
        waiters[0].tell("idle");
        until("it waits until nobody holds", || {
            fixture.semaphore.stat().unwrap().blocked > 4 && asleep(waiters[0].pid())
        });
        holder.tell("release");
        holder.expect("released");
        waiters[0].expect("done");
    }
}

#[test]
fn who_waits_until_nobody_holds_hears_of_the_last_release_and_the_last_death() {
    let fixture = Fixture::new(3);
    for how in ["release", "death"] {
        let mut one = fixture.holder(1);
        let mut two = fixture.holder(2);
        let mut waiter = fixture.actor();
        let blocked = fixture.semaphore.stat().unwrap().blocked;
        waiter.tell("idle");
        let waits = || fixture.semaphore.stat().unwrap().blocked > blocked && asleep(waiter.pid());
        until("it waits until nobody holds", waits);
        one.kill();
        until("the first is seen to be dead", || fixture.semaphore.stat().unwrap().held == 2);
        assert!(!waiter.has_said(), "two permits are still held");
        let start = Instant::now();
        if how == "release" {
            two.tell("release")
        } else {
            two.kill()
        }
        expect_soon(&format!("from the last {how}"), &mut waiter, "done", start);
    }
    fixture.all_is_there();
}

/// Below what is held there is nothing left to take out of circulation; what is forgotten is not held any more all the same.
#[test]
fn forgetting_more_permits_than_there_are_leaves_no_debt() {
    let fixture = Fixture::new(3);
    let permits = fixture.semaphore.acquire_many(3).unwrap();
    fixture.semaphore.set_permits(1).unwrap();
    permits.forget().unwrap();
    let stat = fixture.semaphore.stat().unwrap();
    assert_eq!((stat.permits, stat.held, stat.available), (0, 0, 0), "{stat:#?}");
    fixture.semaphore.set_permits(3).unwrap();
    fixture.all_is_there();
}

// ---- who does not run, who cannot go on, who only waits ----

#[test]
fn a_stopped_holder_keeps_its_permit_and_stands_in_nobodys_way() {
    let fixture = Fixture::new(2);
    let mut holder = fixture.holder(1);
    until("it listens", || asleep(holder.pid()));
    signal(holder.pid(), libc::SIGSTOP);
    until("it is stopped", || state(holder.pid()) == 'T');
    for _ in 0..1000 {
        drop(fixture.semaphore.try_acquire().unwrap());
    }
    let permit = fixture.semaphore.acquire().unwrap();
    assert_eq!(fixture.semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits);
    let mut waiter = fixture.waiter(1);
    let mut dead = fixture.waiter(1);
    dead.kill();
    drop(permit);
    waiter.expect("acquired");
    let waited = fixture.semaphore.acquire_timeout(Duration::from_millis(1200)).map(drop);
    assert_eq!(waited, Err(AcquireError::TimedOut), "it looked twice after the dead, and the stopped one is not");
    waiter.tell("release");
    waiter.expect("released");
    let stat = fixture.semaphore.stat().unwrap();
    assert_eq!((stat.held, stat.holders[0].process.pid, stat.recovered_permits), (1, holder.pid(), 0), "{stat:#?}");
    signal(holder.pid(), libc::SIGCONT);
    holder.tell("release");
    holder.expect("released");
    fixture.all_is_there();
}

/// Two processes that hold one semaphore each, and wait for the other's.
fn ring(fixture: &Fixture, parts: [&str; 2]) -> [Worker; 2] {
    options(fixture.dir.path()).create_new("/other").unwrap();
    let mut workers = parts.map(|part| fixture.start(part, &["/s", "/other"]));
    for (worker, name) in workers.iter_mut().zip(["/s", "/other"]) {
        worker.tell(format!("acquire {name}"));
        worker.expect("acquired");
    }
    workers
}

#[test]
fn a_ring_of_two_processes_is_a_deadlock() {
    let fixture = Fixture::new(1);
    let [mut one, mut two] = ring(&fixture, ["actor", "actor"]);
    one.tell("acquire /other");
    let other = options(fixture.dir.path()).open("/other").unwrap();
    until("one waits", || other.stat().unwrap().waiters.len() == 1);
    assert_eq!(chappe::deadlocks(fixture.dir.path()).unwrap(), [], "one that waits is no deadlock");
    two.tell("acquire /s");
    until("the ring is found", || chappe::deadlocks(fixture.dir.path()).unwrap().len() == 2);
    let stuck = chappe::deadlocks(fixture.dir.path()).unwrap();
    let mut stuck: Vec<_> = stuck.iter().map(|one| (one.process.pid, one.waits_at.clone(), one.permits)).collect();
    stuck.sort_by_key(|(pid, _, _)| *pid != one.pid());
    let names = [&other, &fixture.semaphore].map(|semaphore| semaphore.name().cloned());
    let [at_other, at_s] = names;
    assert_eq!(stuck, [(one.pid(), at_other, 1), (two.pid(), at_s, 1)]);
    two.kill();
    one.expect("acquired");
    assert_eq!(chappe::deadlocks(fixture.dir.path()).unwrap(), []);
}

#[test]
fn who_asks_for_it_gets_an_error_instead_of_a_deadlock() {
    for careful in 0..2 {
        let fixture = Fixture::new(1);
        let parts = if careful == 0 { ["careful actor", "actor"] } else { ["actor", "careful actor"] };
        let [mut one, mut two] = ring(&fixture, parts);
        one.tell("acquire /other");
        let other = options(fixture.dir.path()).open("/other").unwrap();
        until("one waits", || other.stat().unwrap().waiters.len() == 1);
        let start = Instant::now();
        two.tell("acquire /s");
        let (refused, served) = if careful == 0 { (&mut one, &mut two) } else { (&mut two, &mut one) };
        let which = if careful == 0 { "the one that waited already" } else { "the one that closes the ring" };
        expect_soon(&format!("{which} learns of the deadlock"), refused, "Deadlock", start);
        refused.tell("release");
        refused.expect("released");
        served.expect("acquired");
        assert_eq!(chappe::deadlocks(fixture.dir.path()).unwrap(), []);
    }
}

#[test]
fn waiting_costs_next_to_nothing() {
    let fixture = Fixture::new(1);
    let mut holder = fixture.holder(1);
    let mut waiter = fixture.waiter(1);
    // The processes that other tests start are children of this one, and close, at their beginning, what this one has open.
    let Fixture { dir, semaphore } = fixture;
    drop(semaphore);
    until("it sleeps again", || asleep(waiter.pid()));
    let before = cost(waiter.pid());
    thread::sleep(Duration::from_secs(2));
    let after = cost(waiter.pid());
    let (time, switches) = (after.0 - before.0, after.1 - before.1);
    println!("a waiter used {time:.1?} of a processor in 2 s, and was switched to {switches} times");
    assert!(time < Duration::from_millis(50), "{time:?}");
    assert!(switches <= 20, "{switches}");
    holder.tell("release");
    holder.expect("released");
    waiter.expect("acquired");
    drop(dir);
}

/// Processor time and context switches of all threads so far.
fn cost(pid: u32) -> (Duration, u64) {
    let (mut time, mut switches) = (Duration::ZERO, 0);
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let schedule = std::fs::read_to_string(task.path().join("schedstat")).unwrap();
        time += Duration::from_nanos(schedule.split(' ').next().unwrap().parse().unwrap());
        let status = std::fs::read_to_string(task.path().join("status")).unwrap();
        let lines = status.lines().filter_map(|line| line.split_once("_ctxt_switches:"));
        switches += lines.map(|(_, count)| count.trim().parse::<u64>().unwrap()).sum::<u64>();
    }
    (time, switches)
}
