//! Faults of the semaphore that were found by reading and by hostile use, and mended: a test for each, named after it, which fails
//! without the mend (but for one, that says so). What each was is at the test.
//!
//! Faults whose tests are elsewhere: numbers beyond all bounds in `semaphore.rs`, wakers that own futures and looks for deadlocks in
//! `semaphore_async.rs`, debts after a forgotten permit in `semaphore_process.rs`, locks and entries that have heirs in `raw`.

mod common;

use chappe::{Acquire, AcquireError, Children, PERMITS_MAX, Permit, Semaphore, SemaphoreOptions};
use common::semaphore::Fixture;
use common::{NET, Worker, asleep, fork, hear, reap, say, until};
use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// What nothing here may take, however busy the machine is.
const LONG: Duration = Duration::from_secs(10);
/// Long enough to be put into the queue, and to have a sentry and a keeper from then on.
const MOMENT: Duration = Duration::from_millis(2);
/// Longer than a sentry rests between looks.
const A_LOOK: Duration = Duration::from_millis(700);
/// A command that there is not.
const NO_PROGRAM: &str = "/no/such/program";

#[test]
fn role() {
    common::play(&[
        ("actor", part_actor),
        ("command", part_command),
        ("command in vain", part_command_in_vain),
        ("becomes a part", part_becomes_a_part),
        ("looks often", part_looks_often),
        ("becomes another in vain", part_becomes_another_in_vain),
        ("becomes another after looks", part_becomes_another_after_looks),
        ("merges", part_merges),
        ("forks", part_forks),
        ("few descriptors", part_few_descriptors),
        ("large", part_large),
        ("closed", part_closed),
        ("careful future", part_careful_future),
    ]);
}

fn options(dir: &Path) -> SemaphoreOptions {
    let mut options = Semaphore::options();
    options.dir(dir);
    options
}

fn open(dir: &str) -> Semaphore {
    options(Path::new(dir)).open("/s").unwrap()
}

/// `actor DIR`: `acquire [NAME]`, `release`.
fn part_actor(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    let mut permits: Vec<Permit> = Vec::new();
    let semaphore = open(&arguments[0]);
    say("ready");
    loop {
        let line = hear();
        match line.split_once(' ') {
            Some(("acquire", name)) => permits.push(options(dir).open(name).unwrap().acquire().unwrap().into_static()),
            _ if line == "acquire" => permits.push(semaphore.acquire().unwrap().into_static()),
            _ => drop(permits.pop()),
        }
        say("done");
    }
}

impl Fixture {
    /// A process that holds a permit.
    fn holder(&self) -> Worker {
        let mut holder = self.start("actor", &[]);
        assert_eq!(holder.ask("acquire"), "done");
        holder
    }

    /// A process that sleeps in the queue.
    fn waiter(&self) -> Worker {
        let mut waiter = self.start("actor", &[]);
        waiter.tell("acquire");
        let waits = || self.semaphore.stat().unwrap().waiters.iter().any(|one| one.process.pid == waiter.pid());
        until("it waits", || waits() && asleep(waiter.pid()));
        waiter
    }

    /// These processes hold one permit each, nobody else holds any, and nothing was recovered but `recovered` permits.
    #[track_caller]
    fn held_by(&self, holders: &[&Worker], recovered: u64) {
        let stat = self.semaphore.stat().unwrap();
        let mut pids: Vec<u32> = stat.holders.iter().map(|holder| holder.process.pid).collect();
        let mut expected: Vec<u32> = holders.iter().map(|worker| worker.pid()).collect();
        pids.sort_unstable();
        expected.sort_unstable();
        assert_eq!((pids, stat.recovered_permits), (expected, recovered), "{stat:#?}");
        assert_eq!(stat.available, stat.permits as i64 - holders.len() as i64, "{stat:#?}");
    }

    /// Whatever waits and does not wait works with the test's own handle. Nobody holds anything.
    #[track_caller]
    fn works(&self) {
        let semaphore = &self.semaphore;
        let permits = semaphore.permits();
        let other = options(self.dir.path()).open("/s").unwrap();
        let held = other.acquire_many_timeout(permits, NET).unwrap();
        assert_eq!(semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits);
        assert_eq!(semaphore.acquire_timeout(MOMENT).unwrap_err(), AcquireError::TimedOut);
        let bell = Arc::new(Bell::default());
        let mut future = queued(semaphore, 1, &bell);
        thread::sleep(MOMENT);
        bell.silence();
        drop(held);
        until("the future is woken", || bell.rings() > 0);
        let Poll::Ready(Ok(permit)) = poll(&mut future, &bell) else { panic!("it was woken for nothing") };
        drop((future, permit));
        let held = other.acquire_many(permits).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| semaphore.acquire_timeout(NET).map(drop));
            until("it waits", || semaphore.stat().unwrap().waiters.len() == 1);
            drop(held);
            assert_eq!(waiter.join().unwrap(), Ok(()));
        });
        self.held_by(&[], 0);
    }
}

/// After this a handle whose semaphore has no permit left has a sentry and a keeper.
#[track_caller]
fn wait_in_vain(semaphore: &Semaphore) {
    assert_eq!(semaphore.acquire_timeout(MOMENT).unwrap_err(), AcquireError::TimedOut);
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicU64);

impl Bell {
    fn rings(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn silence(&self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<F: Future + ?Sized>(
    future: &mut Pin<Box<F>>,
    wake: &Arc<impl Wake + Send + Sync + 'static>,
) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(&Waker::from(wake.clone())))
}

/// A future that has its place in the queue.
#[track_caller]
fn queued<'a>(
    semaphore: &'a Semaphore,
    permits: u64,
    wake: &Arc<impl Wake + Send + Sync + 'static>,
) -> Pin<Box<Acquire<'a>>> {
    let mut future = Box::pin(semaphore.acquire_many_async(permits));
    assert!(poll(&mut future, wake).is_pending());
    future
}

fn signal(pid: u32, number: i32) {
    // SAFETY: it takes two numbers.
    let sent = unsafe { libc::kill(pid as i32, number) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

// ---- commands ----

/// `command DIR`: holds a permit, has waited, and becomes a command when told, which ends when told.
fn part_command(arguments: &[String]) {
    let semaphore = open(&arguments[0]);
    let permit = semaphore.acquire().unwrap();
    wait_in_vain(&semaphore);
    say("ready");
    hear();
    let error = permit.exec(Command::new("sh").args(["-c", "echo @started; read line"]), Children::LetGo);
    panic!("sh: {error}");
}

/// The handle's descriptor was replaced by `/dev/null` while its sentry ran: told of the closed description, the sentry took the bytes
/// of `/dev/null`, found all of them free, and gave away what the living held.
#[test]
fn a_sentry_recovers_nobody_when_its_process_becomes_a_command() {
    let fixture = Fixture::new(2);
    let holder = fixture.holder();
    for round in 0..30 {
        let mut command = fixture.start("command", &[]);
        assert_eq!(command.ask("go"), "started");
        for _ in 0..20 {
            // That of each earlier command has come back.
            fixture.held_by(&[&holder, &command], round);
            assert_eq!(fixture.semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits);
            thread::sleep(Duration::from_micros(200));
        }
        command.tell("enough");
        assert!(command.ended().success());
    }
    fixture.held_by(&[&holder], 30);
}

/// `command in vain DIR let|keep`: holds a permit, has waited, tries when told to become a command that there is not, and says how
/// it failed, and how calls end then.
fn part_command_in_vain(arguments: &[String]) {
    let semaphore = open(&arguments[0]);
    let permit = semaphore.acquire().unwrap();
    wait_in_vain(&semaphore);
    say("ready");
    hear();
    let children = if arguments[1] == "keep" { Children::Keep } else { Children::LetGo };
    let error = permit.exec(&mut Command::new(NO_PROGRAM), children);
    say(format!("{:?}", error.kind()));
    assert_eq!(hear(), "calls");
    let bell = Arc::new(Bell::default());
    let mut future = Box::pin(semaphore.acquire_async());
    say(format!("{:?}", semaphore.try_acquire().map(drop)));
    say(format!("{:?}", semaphore.acquire_timeout(MOMENT).map(drop)));
    say(format!("{:?}", semaphore.try_wait()));
    say(format!("{:?}", semaphore.post()));
    say(match poll(&mut future, &bell) {
        Poll::Ready(result) => format!("{:?}", result.map(drop)),
        Poll::Pending => "pending".to_owned(),
    });
    say(format!("{:?}", semaphore.stat().map(drop)));
    hear();
}

/// As before, with a command that does not exist: the sentry lived on beside the replaced descriptor, and so did the handle.
#[test]
fn after_a_let_go_in_vain_the_handle_refuses_and_harms_nobody() {
    let fixture = Fixture::new(2);
    let holder = fixture.holder();
    let mut worker = fixture.start("command in vain", &["let"]);
    assert_eq!(worker.ask("go"), "NotFound");
    let permit = fixture.semaphore.acquire_timeout(NET).expect("the permit comes back");
    drop(permit);
    assert_eq!(worker.ask("calls"), "Err(System(9))");
    (0..5).for_each(|_| worker.expect("Err(System(9))"));
    for _ in 0..20 {
        fixture.held_by(&[&holder], 1);
        thread::sleep(MOMENT);
    }
    worker.tell("enough");
    worker.finish();
    fixture.held_by(&[&holder], 1);
}

#[test]
fn after_a_keep_in_vain_the_handle_works_and_harms_nobody() {
    let fixture = Fixture::new(2);
    let holder = fixture.holder();
    let mut worker = fixture.start("command in vain", &["keep"]);
    assert_eq!(worker.ask("go"), "NotFound");
    fixture.held_by(&[&holder], 0);
    assert_eq!(worker.ask("calls"), "Ok(())");
    (0..5).for_each(|_| worker.expect("Ok(())"));
    for _ in 0..20 {
        fixture.held_by(&[&holder], 0);
        thread::sleep(MOMENT);
    }
    worker.tell("enough");
    worker.finish();
    fixture.held_by(&[&holder], 0);
}

#[track_caller]
fn is_refused(permit: Permit<'_>) {
    let error = permit.exec(&mut Command::new(NO_PROGRAM), Children::LetGo);
    assert_eq!(error.raw_os_error(), Some(libc::EBUSY), "{error}");
}

/// All that the handle held, and all that waited, was let go with the one permit; later it was refused, but the handle had lost its
/// sentry, so that futures were not woken.
#[test]
fn a_let_go_beside_another_permit_is_refused_and_the_handle_works() {
    let fixture = Fixture::new(2);
    let one = fixture.semaphore.acquire().unwrap();
    let other = fixture.semaphore.acquire().unwrap();
    wait_in_vain(&fixture.semaphore);
    is_refused(one);
    assert_eq!(fixture.semaphore.stat().unwrap().held, 1, "the other one's");
    drop(other);
    fixture.works();
}

#[test]
fn a_let_go_beside_a_thread_that_waits_is_refused_and_the_handle_works() {
    let fixture = Fixture::new(1);
    let permit = fixture.semaphore.acquire().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| fixture.semaphore.acquire_timeout(NET).map(drop));
        until("it waits", || fixture.semaphore.stat().unwrap().waiters.len() == 1);
        is_refused(permit);
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
    fixture.works();
}

#[test]
fn a_let_go_beside_a_future_is_refused_and_the_handle_works() {
    let fixture = Fixture::new(1);
    let permit = fixture.semaphore.acquire().unwrap();
    let bell = Arc::new(Bell::default());
    let mut future = queued(&fixture.semaphore, 1, &bell);
    thread::sleep(MOMENT);
    bell.silence();
    is_refused(permit);
    until("the future is woken", || bell.rings() > 0);
    let Poll::Ready(Ok(permit)) = poll(&mut future, &bell) else { panic!("it was woken for nothing") };
    drop((future, permit));
    fixture.works();
}

/// Exec closes the other handle's descriptor, and with it the command's lock went.
#[test]
fn a_let_go_beside_another_handle_is_refused_and_both_work() {
    let mut fixture = Fixture::new(1);
    for _ in 0..2 {
        let mut other = options(fixture.dir.path()).open("/s").unwrap();
        let permit = fixture.semaphore.acquire().unwrap();
        wait_in_vain(&fixture.semaphore);
        is_refused(permit);
        std::mem::swap(&mut other, &mut fixture.semaphore);
        drop(other);
        fixture.works();
    }
}

/// A task that gives its future up when it is woken, and becomes a command, or tries.
struct Rash {
    future: Mutex<Option<Pin<Box<Acquire<'static>>>>>,
    permit: Mutex<Option<Permit<'static>>>,
    failed: Mutex<mpsc::Sender<Option<i32>>>,
}

impl Wake for Rash {
    fn wake(self: Arc<Rash>) {
        drop(self.future.lock().unwrap().take());
        if let Some(permit) = self.permit.lock().unwrap().take() {
            let error = permit.exec(&mut Command::new(NO_PROGRAM), Children::LetGo);
            self.failed.lock().unwrap().send(error.raw_os_error()).unwrap();
        }
    }
}

/// Wakers run on the sentry's thread, which exec waits for: for itself, here.
#[test]
fn a_let_go_in_a_waker_is_refused_and_the_handle_works() {
    let fixture = Fixture::new(2);
    // One handle only, that lives as long as the task: for ever, should the task hang.
    let semaphore: &'static Semaphore = Box::leak(Box::new(fixture.semaphore.clone()));
    let (failed, failure) = mpsc::channel();
    let permit = semaphore.acquire().unwrap();
    let task = Arc::new(Rash { future: Mutex::new(None), permit: Mutex::new(None), failed: Mutex::new(failed) });
    let future = queued(semaphore, 2, &task);
    *task.future.lock().unwrap() = Some(future);
    thread::sleep(MOMENT);
    *task.permit.lock().unwrap() = Some(permit);
    // Now there are too few for it, of which it is told.
    semaphore.set_permits(1).unwrap();
    assert_eq!(failure.recv_timeout(NET), Ok(Some(libc::EBUSY)));
    fixture.works();
}

/// `few descriptors DIR ROOM`: holds a permit, and becomes a command in vain when no more than ROOM descriptors can be had.
fn part_few_descriptors(arguments: &[String]) {
    let semaphore = open(&arguments[0]);
    let permit = semaphore.acquire().unwrap();
    let next = File::open("/dev/null").unwrap().as_raw_fd() as libc::rlim_t;
    let room: libc::rlim_t = arguments[1].parse().unwrap();
    let limit = libc::rlimit { rlim_cur: next + room, rlim_max: next + room };
    // SAFETY: the limit lives through the call.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(limited, 0);
    say("ready");
    hear();
    let error = permit.exec(&mut Command::new(NO_PROGRAM), Children::LetGo);
    say(error.raw_os_error().unwrap_or_default());
    hear();
}

/// It failed when the permit was the command's already, whose entry was given up then as if it had nothing.
#[test]
fn a_let_go_that_fails_late_gives_the_permit_back() {
    let mut errors = Vec::new();
    for room in 0..4 {
        let fixture = Fixture::new(1);
        let mut worker = fixture.start("few descriptors", &[&room.to_string()]);
        fixture.held_by(&[&worker], 0);
        errors.push(worker.ask("go"));
        let permit = fixture.semaphore.acquire_timeout(NET);
        assert!(permit.is_ok(), "with room for {room} more descriptors: {:#?}", fixture.semaphore.stat());
        drop(permit);
        worker.tell("enough");
        worker.finish();
        let stat = fixture.semaphore.stat().unwrap();
        assert_eq!((stat.available, stat.participants.len()), (1, 1), "{stat:#?}");
    }
    let expected = [libc::EMFILE, libc::EMFILE, libc::ENOENT, libc::ENOENT].map(|error| error.to_string());
    assert_eq!(errors, expected, "it should fail early, late, and at its end");
}

// ---- commands that use the semaphore that they hold ----

/// `becomes a part DIR PART`: holds a permit, and becomes a command that plays a part.
fn part_becomes_a_part(arguments: &[String]) {
    let permit = open(&arguments[0]).acquire().unwrap().into_static();
    say("ready");
    hear();
    let error = permit.exec(&mut common::again(&arguments[1], &[&arguments[0]]), Children::LetGo);
    panic!("this binary: {error}");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// `looks often DIR`: uses the semaphore in every way, often, and says how many descriptors it had before and has now.
fn part_looks_often(arguments: &[String]) {
    let before = descriptors();
    for _ in 0..50 {
        drop(open(&arguments[0]).acquire().unwrap());
    }
    for _ in 0..50 {
        assert_eq!(chappe::deadlocks(Path::new(&arguments[0])).unwrap(), []);
    }
    say(format!("{before} {}", descriptors()));
    hear();
}

/// Closing a descriptor gives the command's permit up, so they stay open: each look added one, and used up an index.
#[test]
fn a_command_that_looks_often_keeps_its_permit_and_has_few_descriptors() {
    let fixture = Fixture::new(2);
    let mut command = fixture.start("becomes a part", &["looks often"]);
    let answer = command.ask("go");
    let (before, after) = answer.split_once(' ').unwrap();
    let [before, after] = [before, after].map(|count| count.parse::<usize>().unwrap());
    println!("{before} descriptors before, {after} after a hundred looks");
    assert!(after <= before + 6, "{before} descriptors before, {after} after a hundred looks");
    let stat = fixture.semaphore.stat().unwrap();
    assert!(stat.participants.len() <= 3, "{stat:#?}");
    fixture.held_by(&[&command], 0);
    let permit = fixture.semaphore.try_acquire().unwrap();
    wait_in_vain(&fixture.semaphore);
    drop(permit);
    command.tell("enough");
    assert!(command.ended().success());
    drop(fixture.semaphore.acquire_many_timeout(2, NET).expect("it has ended"));
}

/// `becomes another after looks DIR`: as the next one, when descriptors of the same file lie about that were left open.
fn part_becomes_another_after_looks(arguments: &[String]) {
    let semaphore = open(&arguments[0]);
    drop(open(&arguments[0]));
    assert_eq!(chappe::deadlocks(Path::new(&arguments[0])).unwrap(), []);
    let permit = semaphore.acquire().unwrap();
    let error = permit.exec(&mut Command::new(NO_PROGRAM), Children::LetGo);
    say(format!("{:?}", error.kind()));
    hear();
}

/// Descriptors that stay open because a command holds a permit counted as other handles, beside which exec is refused.
#[test]
fn descriptors_that_a_command_leaves_open_are_no_other_handles() {
    let fixture = Fixture::new(2);
    let mut command = fixture.start("becomes a part", &["becomes another after looks"]);
    assert_eq!(command.ask("go"), "NotFound");
    command.tell("enough");
    assert!(command.ended().success());
    drop(fixture.semaphore.acquire_many_timeout(2, NET).expect("it has ended"));
}

fn part_becomes_another_in_vain(arguments: &[String]) {
    let semaphore = open(&arguments[0]);
    let permit = semaphore.acquire().unwrap();
    say("has two");
    hear();
    let error = permit.exec(&mut Command::new(NO_PROGRAM), Children::LetGo);
    say(format!("{:?}", error.kind()));
    hear();
}

/// The descriptor of the second command in vain could not be closed, and kept its permit.
#[test]
fn a_command_that_becomes_another_in_vain_gives_the_second_permit_back() {
    let fixture = Fixture::new(2);
    let mut command = fixture.start("becomes a part", &["becomes another in vain"]);
    assert_eq!(command.ask("go"), "has two");
    fixture.held_by(&[&command, &command], 0);
    assert_eq!(command.ask("go"), "NotFound");
    let permit = fixture.semaphore.acquire_timeout(NET).expect("the second one comes back");
    assert_eq!(
        fixture.semaphore.acquire_timeout(A_LOOK).unwrap_err(),
        AcquireError::TimedOut,
        "the first one does not"
    );
    drop(permit);
    fixture.held_by(&[&command], 1);
    command.tell("enough");
    assert!(command.ended().success());
    drop(fixture.semaphore.acquire_many_timeout(2, NET).expect("it has ended"));
}

// ---- forks ----

/// It was written into the parent's record, and given back twice.
#[test]
fn a_child_cannot_merge_into_what_its_parent_holds() {
    let fixture = Fixture::new(4);
    fixture.start("merges", &[]).finish();
    // The child's own, at its end.
    fixture.held_by(&[], 1);
}

fn part_merges(arguments: &[String]) {
    let semaphore = open(&arguments[0]);
    drop(semaphore.acquire().unwrap());
    let mut permit = semaphore.acquire().unwrap();
    say("ready");
    let child = fork(|| {
        let own = semaphore.acquire().unwrap();
        let merged = permit.merge(own);
        assert_eq!(merged, Err(chappe::AccessError::System(libc::EINVAL)));
        assert_eq!(semaphore.stat().unwrap().held, 1, "the parent's");
        // The other way round.
        let mut own = semaphore.acquire_many(2).unwrap();
        let merged = own.merge(std::mem::replace(&mut permit, semaphore.acquire().unwrap()));
        assert_eq!(merged, Err(chappe::AccessError::System(libc::EINVAL)));
        assert_eq!((own.permits(), semaphore.stat().unwrap().held), (2, 4));
    });
    assert_eq!(reap(child), 0, "the child failed");
    let stat = semaphore.stat().unwrap();
    assert_eq!((permit.permits(), stat.held, stat.available), (1, 1, 3), "{stat:#?}");
    drop(permit);
    assert_eq!(semaphore.available(), 4);
}

/// In the child the handle of the parent's sentry was dropped, and so detached a thread of the child's own, that was waited for later.
#[test]
fn a_child_of_one_that_has_a_sentry_and_a_keeper_can_have_its_own() {
    let fixture = Fixture::new(1);
    fixture.start("forks", &[]).finish();
    drop(fixture.semaphore.acquire_timeout(NET).unwrap());
    fixture.held_by(&[], fixture.semaphore.stat().unwrap().recovered_permits);
}

fn part_forks(arguments: &[String]) {
    let mut handle = Some(open(&arguments[0]));
    let permit = handle.as_ref().unwrap().acquire().unwrap().into_static();
    wait_in_vain(handle.as_ref().unwrap());
    drop(permit);
    say("ready");
    for round in 0..60 {
        let child = fork(|| use_up(handle.take().unwrap(), round));
        assert_eq!(reap(child), 0, "the child of round {round} failed");
        drop(handle.as_ref().unwrap().acquire_timeout(NET).unwrap());
    }
}

/// Waits, ends in this way or that, and lets the handle go.
fn use_up(semaphore: Semaphore, way: u32) {
    let permit = semaphore.acquire_timeout(NET).unwrap();
    wait_in_vain(&semaphore);
    let in_vain = |permit: Permit<'_>, children| {
        let error = permit.exec(&mut Command::new(NO_PROGRAM), children);
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    };
    match way % 3 {
        0 => drop(permit),
        1 => in_vain(permit, Children::LetGo),
        _ => {
            in_vain(permit, Children::Keep);
            drop(semaphore.acquire_timeout(NET).unwrap());
        }
    }
}

// ---- futures ----

/// As of the other forms in `semaphore.rs`: a sum that overflowed was taken for a small one, and granted.
#[test]
fn futures_for_numbers_beyond_all_bounds_are_refused_and_change_nothing() {
    for permits in [2, 0] {
        let fixture = Fixture::new(permits);
        for asked in [PERMITS_MAX + 1, 1 << 49, 1 << 56, 1 << 60, 1 << 63, u64::MAX - (1 << 48), u64::MAX] {
            let bell = Arc::new(Bell::default());
            let mut future = Box::pin(fixture.semaphore.acquire_many_async(asked));
            match poll(&mut future, &bell) {
                Poll::Ready(result) => {
                    assert_eq!(result.unwrap_err(), AcquireError::TooMany { asked, permits }, "{asked} of {permits}");
                }
                // A paused semaphore makes all wait.
                Poll::Pending => assert_eq!(permits, 0, "{asked} of {permits}"),
            }
            drop(future);
            let stat = fixture.semaphore.stat().unwrap();
            assert_eq!((stat.permits, stat.available, stat.held), (permits, permits as i64, 0), "{stat:#?}");
            assert!(stat.waiters.is_empty(), "{stat:#?}");
        }
        fixture.semaphore.set_permits(2).unwrap();
        fixture.works();
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Panics>) {
        panic!("a waker that panics, as it is asked to");
    }
}

/// It ended the sentry, and with it all wakes.
#[test]
fn a_waker_that_panics_keeps_no_other_from_being_woken() {
    let fixture = Fixture::new(0);
    let bell = Arc::new(Bell::default());
    for round in 1..=2 {
        let first = queued(&fixture.semaphore, 1, &Arc::new(Panics));
        let mut second = queued(&fixture.semaphore, 1, &bell);
        thread::sleep(MOMENT);
        bell.silence();
        fixture.semaphore.post_many(2).unwrap();
        until(&format!("the other one is woken, round {round}"), || bell.rings() > 0);
        let Poll::Ready(Ok(permit)) = poll(&mut second, &bell) else { panic!("it was woken for nothing") };
        drop((first, permit));
        fixture.semaphore.set_permits(0).unwrap();
    }
    fixture.semaphore.set_permits(1).unwrap();
    fixture.works();
}

/// `careful future DIR`: holds a permit of `/other`, waits in a future for one of `/s`, and says how that ended.
fn part_careful_future(arguments: &[String]) {
    let options = || {
        let mut options = options(Path::new(&arguments[0]));
        options.fail_on_deadlock(true);
        options
    };
    let (semaphore, other) = (options().open("/s").unwrap(), options().open("/other").unwrap());
    let permit = other.acquire().unwrap();
    let bell = Arc::new(Bell::default());
    let mut future = queued(&semaphore, 1, &bell);
    say("ready");
    loop {
        until("it is woken", || bell.rings() > 0);
        // Later than the sentry needs to go to sleep again.
        thread::sleep(Duration::from_millis(20));
        bell.silence();
        if let Poll::Ready(result) = poll(&mut future, &bell) {
            say(format!("{:?}", result.map(drop)));
            drop(permit);
            hear();
            return;
        }
    }
}

/// The sentry looks for futures twice a second as long as there are any. One that had been woken, and was polled again, was none of
/// which it knew: here it would not learn of a deadlock, that comes later and of which nobody tells.
#[test]
fn a_future_that_is_polled_again_is_looked_after_again() {
    let fixture = Fixture::new(1);
    options(fixture.dir.path()).create_new("/other").unwrap();
    let mut holder = fixture.holder();
    let mut careful = fixture.start("careful future", &[]);
    // The time in which it is woken, and polled, once or twice.
    thread::sleep(Duration::from_millis(1200));
    assert!(!careful.has_said(), "there is no deadlock yet");
    holder.tell("acquire /other");
    careful.expect("Err(Deadlock)");
    holder.expect("done");
}

// ---- the dead ----

/// Where the words are that the file's format names so.
const LOCK: u64 = 512;
const PERMITS: u64 = 520;

fn semaphore_file(dir: &Path) -> PathBuf {
    dir.join("chappe.sem.s")
}

/// Whoever took the lock from a dead one granted only what those gave back that it recovered; not what its count found free besides.
#[test]
fn who_takes_the_lock_from_the_dead_grants_also_if_nobody_is_left_to_recover() {
    let fixture = Fixture::new(1);
    let holder = fixture.holder();
    let mut waiter = fixture.waiter();
    // As one leaves it that was raising the number of permits when it was killed, after its entry had been given up. The lock holds
    // the index + 1, here one that nobody has.
    let file = File::options().write(true).open(semaphore_file(fixture.dir.path())).unwrap();
    file.write_all_at(&2_u64.to_ne_bytes(), PERMITS).unwrap();
    file.write_all_at(&6_u32.to_ne_bytes(), LOCK).unwrap();
    drop(file);
    waiter.expect("done");
    fixture.held_by(&[&holder, &waiter], 0);
}

/// Nobody else has it, so its creator seemed to be gone to the first call that looked after the dead.
#[test]
fn an_ephemeral_semaphore_without_a_name_outlives_a_look_after_the_dead() {
    let semaphore = Semaphore::options().permits(1).ephemeral(true).unnamed().unwrap();
    let other = Semaphore::options().from_fd(semaphore.as_fd().try_clone_to_owned().unwrap()).unwrap();
    for semaphore in [&semaphore, &other] {
        let permit = semaphore.try_acquire().unwrap();
        assert_eq!(semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits);
        wait_in_vain(semaphore);
        assert_eq!(semaphore.stat().unwrap().held, 1);
        drop(permit);
    }
    drop(semaphore);
    drop(other.try_acquire().unwrap());
}

/// `large DIR`: holds a permit, and so much memory that dying takes a while.
fn part_large(arguments: &[String]) {
    let semaphore = open(&arguments[0]);
    let permit = semaphore.acquire().unwrap();
    let mut memory = vec![0_u8; 256 << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    say("ready");
    hear();
    drop((permit, std::hint::black_box(memory)));
}

/// One who came after the kernel had marked the holder's word slept on the marked word, of which nobody tells; then until the memory
/// was gone. How long it was is printed, not judged, so this fails for a hang only.
#[test]
fn who_begins_to_wait_while_the_holder_is_dying_gets_the_permit() {
    let fixture = Fixture::new(1);
    let permit = fixture.semaphore.acquire().unwrap();
    // So that there is a sentry already, which does not look when it starts.
    wait_in_vain(&fixture.semaphore);
    drop(permit);
    for pause in [0, 300, 1000, 2000] {
        let mut holder = fixture.start("large", &[]);
        let start = Instant::now();
        signal(holder.pid(), libc::SIGKILL);
        thread::sleep(Duration::from_micros(pause));
        let came = start.elapsed();
        drop(fixture.semaphore.acquire_timeout(NET).unwrap());
        let took = start.elapsed();
        println!("came {came:.1?} after SIGKILL to a holder of 256 MiB, had its permit {took:.1?} after it");
        assert!(took < LONG, "{took:?}");
        holder.kill();
    }
    fixture.held_by(&[], 4);
}

// ---- descriptors that somebody closes ----

/// `closed DIR FILE fresh|waited`: closes all descriptors, as some daemons do, opens FILE as often as the numbers are used again, and
/// says how calls end then.
fn part_closed(arguments: &[String]) {
    let semaphore = open(&arguments[0]);
    if arguments[2] == "waited" {
        wait_in_vain(&semaphore);
    }
    // SAFETY: it takes numbers; what is closed here is the subject.
    let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    assert_eq!(closed, 0);
    let again = || File::options().read(true).write(true).open(&arguments[1]).unwrap();
    let files: Vec<File> = (0..20).map(|_| again()).collect();
    say("ready");
    hear();
    say(format!("{:?}", semaphore.try_acquire().map(drop)));
    say(format!("{:?}", semaphore.acquire_timeout(A_LOOK).map(drop)));
    say(format!("{:?}", semaphore.stat().map(drop)));
    hear();
    // Each has an owner already.
    files.into_iter().for_each(std::mem::forget);
    std::mem::forget(semaphore);
}

/// One that has closed all descriptors, and has opened this instead, calls; it is refused, and the other one's permit stays held, also
/// while its threads do what they may do.
#[track_caller]
fn somebody_closes_descriptors(fixture: &Fixture, file: &str, state: &str) {
    let holder = fixture.holder();
    let mut worker = fixture.start("closed", &[file, state]);
    assert_eq!(worker.ask("go"), "Err(System(9))", "{state}, {file}");
    (0..2).for_each(|_| worker.expect("Err(System(9))"));
    for _ in 0..20 {
        fixture.held_by(&[&holder], 0);
        assert_eq!(fixture.semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits, "{state}, {file}");
        thread::sleep(Duration::from_millis(5));
    }
    worker.tell("enough");
    worker.finish();
    fixture.held_by(&[&holder], 0);
}

/// On the other file all bytes are free, so all participants seemed to be dead.
#[test]
fn a_descriptor_that_leads_elsewhere_makes_calls_fail_and_harms_nobody() {
    for state in ["fresh", "waited"] {
        somebody_closes_descriptors(&Fixture::new(1), "/dev/null", state);
    }
    let fixture = Fixture::new(1);
    let other = fixture.dir.path().join("other");
    std::fs::write(&other, [0x55; 1 << 20]).unwrap();
    somebody_closes_descriptors(&fixture, other.to_str().unwrap(), "waited");
}

/// The keeper was started on the other file: it wrote into that, or touched what is beyond its end, and the process was killed.
#[test]
fn a_descriptor_that_leads_elsewhere_changes_nothing_there() {
    for (state, length) in [("fresh", 0), ("fresh", 1 << 20), ("waited", 1 << 20), ("waited", 0)] {
        let fixture = Fixture::new(1);
        let innocent = fixture.dir.path().join("innocent");
        let content = vec![0x55; length];
        std::fs::write(&innocent, &content).unwrap();
        somebody_closes_descriptors(&fixture, innocent.to_str().unwrap(), state);
        let now = std::fs::read(&innocent).unwrap();
        let changed: Vec<usize> = (0..now.len()).filter(|place| now[*place] != 0x55).collect();
        assert!(now == content, "{state}: the other file was written to: {changed:?}");
    }
}

/// The sentry reads what the kernel tells it; under that number as well there may be something else by now.
#[test]
fn a_sentry_whose_descriptor_leads_elsewhere_reads_nothing_there() {
    let fixture = Fixture::new(1);
    let pipe = fixture.dir.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let holder = fixture.holder();
    let mut worker = fixture.start("closed", &[pipe.to_str().unwrap(), "waited"]);
    let mut stream = File::options().read(true).write(true).open(&pipe).unwrap();
    stream.write_all(b"precious").unwrap();
    assert_eq!(worker.ask("go"), "Err(System(9))");
    (0..2).for_each(|_| worker.expect("Err(System(9))"));
    thread::sleep(A_LOOK);
    assert!(common::readable(stream.as_raw_fd(), Duration::ZERO), "somebody has read what is not its own");
    worker.tell("enough");
    worker.finish();
    fixture.held_by(&[&holder], 0);
}

/// Another file is ready to be read at all times, which is no news.
#[test]
fn a_sentry_whose_descriptor_leads_elsewhere_does_not_spin() {
    let fixture = Fixture::new(1);
    let other = fixture.dir.path().join("other");
    std::fs::write(&other, [0x55; 1 << 20]).unwrap();
    let holder = fixture.holder();
    let mut worker = fixture.start("closed", &[other.to_str().unwrap(), "waited"]);
    assert_eq!(worker.ask("go"), "Err(System(9))");
    (0..2).for_each(|_| worker.expect("Err(System(9))"));
    let before = processor_time(worker.pid());
    thread::sleep(Duration::from_secs(1));
    let used = processor_time(worker.pid()) - before;
    println!("it used {used:.1?} of a processor in 1 s");
    assert!(used < Duration::from_millis(250), "{used:?}");
    worker.tell("enough");
    worker.finish();
    fixture.held_by(&[&holder], 0);
}

fn processor_time(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let times = tasks.map(|task| std::fs::read_to_string(task.path().join("schedstat")).unwrap());
    times.map(|text| Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())).sum()
}
