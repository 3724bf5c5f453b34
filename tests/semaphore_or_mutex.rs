//! What `docs/semaphore-or-mutex.md` says of mutexes, POSIX semaphores, System V semaphores and ours, seen on this machine: a row of
//! its table that no manual backs is backed by a test here, and one that is easily doubted by both.
//!
//! It is about the differences. What our semaphore does is tested elsewhere at length.

mod common;

use chappe::{AcquireError, OpenError, PERMITS_MAX, Semaphore, SemaphoreOptions};
use common::{NET, Worker, hear, say, scratch, until};
use std::ffi::c_void;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Long enough that a call which would go on has gone on.
const SHORT: Duration = Duration::from_millis(30);

#[test]
fn role() {
    common::play(&[("hold", part_hold), ("strict", part_strict)]);
}

/// Each test that the page names is where its link leads.
#[test]
fn the_page_names_tests_that_exist() {
    let page = include_str!("../docs/semaphore-or-mutex.md");
    let here = include_str!("semaphore_or_mutex.rs");
    let named: Vec<&str> = page.match_indices("`](../tests/").map(|(end, _)| name_before(page, end)).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        assert!(page.contains(&format!("[`{name}`](../tests/semaphore_or_mutex.rs)")), "{name} leads elsewhere");
        assert!(here.contains(&format!("\nfn {name}()")), "{name} does not exist");
    }
}

/// What stands between the last backtick and `end`.
fn name_before(text: &str, end: usize) -> &str {
    text[..end].rsplit('`').next().unwrap()
}

// ---- the four, each in its shortest form ----

/// Memory that a fork child shares with its parent, where a pthread object can be.
struct SharedPage(*mut c_void);

// SAFETY: it is an address of memory that lives as long as the value; what is there synchronises by itself.
unsafe impl Sync for SharedPage {}

impl SharedPage {
    fn new() -> SharedPage {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping where the kernel likes touches nothing that exists.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        assert_ne!(address, libc::MAP_FAILED);
        SharedPage(address)
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and whoever borrowed from it is gone.
        unsafe { libc::munmap(self.0, 4096) };
    }
}

/// The error number of a call that says -1, or 0.
fn errno(result: i32) -> i32 {
    if result == 0 { 0 } else { std::io::Error::last_os_error().raw_os_error().unwrap() }
}

/// A `pthread_mutex_t` for several processes.
struct Mutex(SharedPage);

#[derive(Clone, Copy, Default)]
struct MutexKind {
    kind: i32,
    robust: bool,
    inherit: bool,
}

impl Mutex {
    fn new(wanted: MutexKind) -> Mutex {
        let page = SharedPage::new();
        // SAFETY: all zeros are a valid value of a type of plain bytes; it is initialised next.
        let mut attributes: libc::pthread_mutexattr_t = unsafe { std::mem::zeroed() };
        let attributes = &raw mut attributes;
        // SAFETY: it points to writable memory of the right size.
        assert_eq!(unsafe { libc::pthread_mutexattr_init(attributes) }, 0);
        // SAFETY: the attributes were initialised.
        assert_eq!(unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) }, 0);
        // SAFETY: the attributes were initialised.
        assert_eq!(unsafe { libc::pthread_mutexattr_settype(attributes, wanted.kind) }, 0);
        if wanted.robust {
            // SAFETY: the attributes were initialised.
            assert_eq!(unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) }, 0);
        }
        if wanted.inherit {
            // SAFETY: the attributes were initialised.
            assert_eq!(unsafe { libc::pthread_mutexattr_setprotocol(attributes, libc::PTHREAD_PRIO_INHERIT) }, 0);
        }
        // SAFETY: the page is larger than a mutex, aligned, and nobody knows of it yet.
        assert_eq!(unsafe { libc::pthread_mutex_init(page.0.cast(), attributes) }, 0);
        Mutex(page)
    }

    fn address(&self) -> *mut libc::pthread_mutex_t {
        self.0.0.cast()
    }

    fn lock(&self) -> i32 {
        // SAFETY: it was initialised, and lives.
        unsafe { libc::pthread_mutex_lock(self.address()) }
    }

    fn try_lock(&self) -> i32 {
        // SAFETY: it was initialised, and lives.
        unsafe { libc::pthread_mutex_trylock(self.address()) }
    }

    /// Not by another thread than the owner, unless the mutex is of a kind that refuses it.
    fn unlock(&self) -> i32 {
        // SAFETY: it was initialised, and lives; no caller breaks the rule above.
        unsafe { libc::pthread_mutex_unlock(self.address()) }
    }

    fn make_consistent(&self) -> i32 {
        // SAFETY: it was initialised, and lives.
        unsafe { libc::pthread_mutex_consistent(self.address()) }
    }
}

/// A `sem_t` for several processes.
struct Posix(SharedPage);

impl Posix {
    fn new(value: u32) -> Posix {
        Posix::try_new(value).unwrap_or_else(|errno| panic!("sem_init: {errno}"))
    }

    fn try_new(value: u32) -> Result<Posix, i32> {
        let page = SharedPage::new();
        // SAFETY: the page is larger than a semaphore, aligned, and nobody knows of it yet.
        let made = unsafe { libc::sem_init(page.0.cast(), 1, value) };
        if made == 0 { Ok(Posix(page)) } else { Err(errno(made)) }
    }

    fn post(&self) -> i32 {
        // SAFETY: it was initialised, and lives.
        errno(unsafe { libc::sem_post(self.0.0.cast()) })
    }

    fn wait(&self) -> i32 {
        // SAFETY: it was initialised, and lives.
        errno(unsafe { libc::sem_wait(self.0.0.cast()) })
    }

    fn try_wait(&self) -> i32 {
        // SAFETY: it was initialised, and lives.
        errno(unsafe { libc::sem_trywait(self.0.0.cast()) })
    }

    fn value(&self) -> i32 {
        let mut value = 0;
        // SAFETY: it was initialised, and lives; the value is ours to write.
        assert_eq!(unsafe { libc::sem_getvalue(self.0.0.cast(), &raw mut value) }, 0);
        value
    }
}

/// A set of one System V semaphore, removed when dropped.
struct SystemV(i32);

impl SystemV {
    fn new(value: i32) -> SystemV {
        // SAFETY: it takes numbers.
        let id = unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) };
        assert_ne!(id, -1, "semget: {}", std::io::Error::last_os_error());
        let semaphore = SystemV(id);
        assert_eq!(semaphore.set(value), 0);
        semaphore
    }

    fn set(&self, value: i32) -> i32 {
        // SAFETY: SETVAL takes the number of a semaphore, which the set has, and an int.
        errno(unsafe { libc::semctl(self.0, 0, libc::SETVAL, value) })
    }

    fn value(&self) -> i32 {
        // SAFETY: GETVAL takes the number of a semaphore, which the set has.
        unsafe { libc::semctl(self.0, 0, libc::GETVAL) }
    }

    /// Adds this to the value, which must not become negative, without waiting.
    fn add(&self, change: i16, undo: bool) -> i32 {
        let flags = libc::IPC_NOWAIT | if undo { libc::SEM_UNDO } else { 0 };
        let mut operation = libc::sembuf { sem_num: 0, sem_op: change, sem_flg: flags as i16 };
        // SAFETY: one operation, and the count says one.
        errno(unsafe { libc::semop(self.0, &raw mut operation, 1) })
    }
}

impl Drop for SystemV {
    fn drop(&mut self) {
        // SAFETY: IPC_RMID takes no argument.
        unsafe { libc::semctl(self.0, 0, libc::IPC_RMID) };
    }
}

fn options(dir: &Path) -> SemaphoreOptions {
    let mut options = Semaphore::options();
    options.dir(dir).any_existing(true);
    options
}

// ---- others that hold, and die ----

/// A fork child that does this, which gives 0, and is then killed; returns when the kernel has taken it down.
fn killed_after(act: impl FnOnce() -> i32) {
    let status = reap(fork(|| {
        let result = act();
        if result == 0 {
            // SAFETY: it takes numbers.
            unsafe { libc::kill(std::process::id() as i32, libc::SIGKILL) };
        }
        result
    }));
    assert_eq!(libc::WTERMSIG(status), libc::SIGKILL, "to be killed after what it did, not to fail: {status}");
}

/// Forks; the child ends with the status that `child` gives. Where this process has more threads, the child may only make
/// calls that allocate nothing and take no lock that another thread may have.
fn fork(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: as above; no caller does more.
    match unsafe { libc::fork() } {
        0 => {
            let status = child();
            // SAFETY: it takes a number.
            unsafe { libc::_exit(status) }
        }
        pid => {
            assert_ne!(pid, -1, "fork");
            pid
        }
    }
}

fn reap(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the status lives through the call.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}

/// A process that holds one permit of the semaphore "/s" in the directory, until it is told something.
fn holder(dir: &Path) -> Worker {
    let mut worker = Worker::start("hold", &[dir.to_str().unwrap()]);
    worker.expect("holding");
    worker
}

fn part_hold(arguments: &[String]) {
    let semaphore = options(Path::new(&arguments[0])).label("a test").open("/s").unwrap();
    let _permit = semaphore.acquire().unwrap();
    say("holding");
    hear();
}

// ---- value range ----

#[test]
fn how_many_permits_there_can_be() {
    assert_eq!(Posix::new(i32::MAX as u32).value(), i32::MAX);
    assert_eq!(Posix::try_new(i32::MAX as u32 + 1).err(), Some(libc::EINVAL));

    assert_eq!(SystemV::new(32767).value(), 32767);
    assert_eq!(SystemV::new(0).set(32768), libc::ERANGE);

    assert_eq!(Semaphore::unnamed(PERMITS_MAX).unwrap().available(), PERMITS_MAX);
    assert!(matches!(Semaphore::unnamed(PERMITS_MAX + 1), Err(OpenError::Attribute { .. })));
}

// ---- who may release ----

/// Runs this in a thread of its own and waits for it.
fn in_a_thread<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(act).join().unwrap())
}

#[test]
fn a_mutex_is_unlocked_by_the_thread_that_locked_it() {
    for kind in [libc::PTHREAD_MUTEX_ERRORCHECK, libc::PTHREAD_MUTEX_RECURSIVE] {
        let mutex = Mutex::new(MutexKind { kind, ..MutexKind::default() });
        assert_eq!(mutex.lock(), 0);
        assert_eq!(in_a_thread(|| mutex.unlock()), libc::EPERM);
        assert_eq!(mutex.unlock(), 0);
    }
    let robust = Mutex::new(MutexKind { robust: true, ..MutexKind::default() });
    assert_eq!(robust.lock(), 0);
    assert_eq!(in_a_thread(|| robust.unlock()), libc::EPERM);
    assert_eq!(robust.unlock(), 0);
}

#[test]
fn our_permit_is_released_by_any_thread_of_the_process() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    let permit = semaphore.acquire().unwrap();
    in_a_thread(|| drop(permit));
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn posix_and_system_v_semaphores_are_posted_by_whoever_likes() {
    let posix = Posix::new(1);
    assert_eq!(posix.post(), 0, "nobody has waited");
    assert_eq!(posix.value(), 2, "one permit more than there were");

    let system_v = SystemV::new(1);
    assert_eq!(system_v.add(1, false), 0, "nobody has waited");
    assert_eq!(system_v.value(), 2);
}

/// What a process took with SEM_UNDO and another one gave back is given back again when the first one ends.
#[test]
fn an_undo_counts_double_what_another_process_has_given_back() {
    let semaphore = SystemV::new(1);
    killed_after(|| {
        let taken = semaphore.add(-1, true);
        let another = fork(|| semaphore.add(1, false));
        reap(another);
        taken
    });
    assert_eq!(semaphore.value(), 2, "two could enter where one was to be");
}

/// Ours is given back by the process that holds it, or by nobody: a fork child has a copy of the value, which does nothing.
#[test]
fn our_permit_is_not_released_by_a_fork_child() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    let mut permit = Some(semaphore.acquire().unwrap());
    let child = fork(|| {
        drop(permit.take());
        0
    });
    assert_eq!(reap(child), 0);
    assert!(permit.is_some(), "the child took its own copy");
    assert_eq!(semaphore.available(), 0);
    drop(permit);
    assert_eq!(semaphore.available(), 1);
}

// ---- several at once ----

#[test]
fn several_at_once_all_or_none() {
    let system_v = SystemV::new(2);
    assert_eq!(system_v.add(-3, false), libc::EAGAIN);
    assert_eq!(system_v.value(), 2);
    assert_eq!(system_v.add(-2, false), 0);

    let ours = Semaphore::unnamed(3).unwrap();
    let one = ours.acquire().unwrap();
    assert_eq!(ours.try_acquire_many(3).unwrap_err(), AcquireError::NoPermits);
    assert_eq!(ours.available(), 2);
    drop(one);
    assert_eq!(ours.try_acquire_many(3).unwrap().permits(), 3);
}

// ---- recursion ----

#[test]
fn locking_again_what_one_has_already() {
    let recursive = Mutex::new(MutexKind { kind: libc::PTHREAD_MUTEX_RECURSIVE, ..MutexKind::default() });
    assert_eq!((recursive.lock(), recursive.lock()), (0, 0));

    let checked = Mutex::new(MutexKind { kind: libc::PTHREAD_MUTEX_ERRORCHECK, ..MutexKind::default() });
    assert_eq!((checked.lock(), checked.lock()), (0, libc::EDEADLK));

    let posix = Posix::new(1);
    assert_eq!((posix.try_wait(), posix.try_wait()), (0, libc::EAGAIN));

    let system_v = SystemV::new(1);
    assert_eq!((system_v.add(-1, true), system_v.add(-1, true)), (0, libc::EAGAIN));

    let dir = scratch();
    let ours = options(dir.path()).permits(1).fail_on_deadlock(true).create_new("/s").unwrap();
    let _held = ours.acquire().unwrap();
    assert_eq!(ours.try_acquire().unwrap_err(), AcquireError::NoPermits);
    assert_eq!(ours.acquire().unwrap_err(), AcquireError::Deadlock);
}

// ---- the death of the holder ----

#[test]
fn a_plain_mutex_stays_locked_when_its_owner_dies() {
    let mutex = Mutex::new(MutexKind::default());
    killed_after(|| mutex.lock());
    assert_eq!(mutex.try_lock(), libc::EBUSY);
}

#[test]
fn a_robust_mutex_tells_the_next_owner_that_the_last_one_died() {
    let mutex = Mutex::new(MutexKind { robust: true, ..MutexKind::default() });
    killed_after(|| mutex.lock());
    assert_eq!(mutex.lock(), libc::EOWNERDEAD);
    assert_eq!((mutex.make_consistent(), mutex.unlock(), mutex.lock()), (0, 0, 0));

    let given_up = Mutex::new(MutexKind { robust: true, ..MutexKind::default() });
    killed_after(|| given_up.lock());
    assert_eq!((given_up.lock(), given_up.unlock()), (libc::EOWNERDEAD, 0));
    assert_eq!(given_up.lock(), libc::ENOTRECOVERABLE, "it was not made consistent");
}

#[test]
fn a_permit_of_a_posix_semaphore_is_lost_with_its_holder() {
    let semaphore = Posix::new(1);
    killed_after(|| semaphore.try_wait());
    assert_eq!(semaphore.value(), 0);
    assert_eq!(semaphore.try_wait(), libc::EAGAIN);
}

#[test]
fn a_system_v_semaphore_gives_back_what_was_taken_with_undo() {
    let semaphore = SystemV::new(1);
    killed_after(|| semaphore.add(-1, false));
    assert_eq!(semaphore.value(), 0, "taken without SEM_UNDO");
    assert_eq!(semaphore.set(1), 0);
    killed_after(|| semaphore.add(-1, true));
    assert_eq!(semaphore.value(), 1, "taken with SEM_UNDO");
}

/// It comes back to the one that waits for it, who is not told why; `stat` counts it.
#[test]
fn our_permit_comes_back_when_its_holder_is_killed() {
    let dir = scratch();
    let semaphore = options(dir.path()).permits(1).create_new("/s").unwrap();
    let mut killed = holder(dir.path());
    assert_eq!(semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| semaphore.acquire_timeout(NET).map(|permit| permit.permits()));
        until("somebody waits", || semaphore.stat().unwrap().waiters.len() == 1);
        killed.kill();
        assert_eq!(waiter.join().unwrap(), Ok(1));
    });
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.available, stat.recovered, stat.recovered_permits), (1, 1, 1));
}

/// To a mutex it is the owner's death; a semaphore does not notice, ours included, for a permit is the process's.
#[test]
fn the_end_of_a_thread_alone() {
    let plain = Mutex::new(MutexKind::default());
    assert_eq!(in_a_thread(|| plain.lock()), 0);
    assert_eq!(plain.try_lock(), libc::EBUSY);

    let robust = Mutex::new(MutexKind { robust: true, ..MutexKind::default() });
    assert_eq!(in_a_thread(|| robust.lock()), 0);
    assert_eq!(robust.lock(), libc::EOWNERDEAD);

    let posix = Posix::new(1);
    assert_eq!(in_a_thread(|| posix.try_wait()), 0);
    assert_eq!(posix.value(), 0);

    let system_v = SystemV::new(1);
    assert_eq!(in_a_thread(|| system_v.add(-1, true)), 0);
    assert_eq!(system_v.value(), 0);

    let ours = Semaphore::unnamed(1).unwrap();
    in_a_thread(|| std::mem::forget(ours.acquire().unwrap()));
    assert_eq!(ours.stat().unwrap().available, 0);
}

/// A process that does not run is not dead.
#[test]
fn a_stopped_process_keeps_its_permit() {
    let dir = scratch();
    let semaphore = options(dir.path()).permits(1).create_new("/s").unwrap();
    let mut stopped = holder(dir.path());
    // SAFETY: it takes numbers, and the process is a child that was not reaped.
    assert_eq!(unsafe { libc::kill(stopped.pid() as i32, libc::SIGSTOP) }, 0);
    let mut status = 0;
    // SAFETY: the status lives through the call.
    unsafe { libc::waitpid(stopped.pid() as i32, &raw mut status, libc::WUNTRACED) };
    assert!(libc::WIFSTOPPED(status));
    assert_eq!(semaphore.acquire_timeout(SHORT).unwrap_err(), AcquireError::TimedOut);
    stopped.kill();
    assert!(semaphore.acquire_timeout(NET).is_ok());
}

// ---- who holds ----

#[test]
fn who_holds_and_what_for() {
    let dir = scratch();
    let semaphore = options(dir.path()).permits(2).create_new("/s").unwrap();
    let mut other = holder(dir.path());
    let stat = semaphore.stat().unwrap();
    let holders: Vec<_> = stat.holders.iter().map(|one| (one.process.pid, one.permits, one.label.as_str())).collect();
    assert_eq!(holders, [(other.pid(), 1, "a test")]);
    other.tell("enough");
    other.finish();
}

// ---- fairness ----

#[test]
fn ours_is_first_come_first_served() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    let permit = semaphore.acquire().unwrap();
    let (served, order) = channel();
    thread::scope(|scope| {
        for place in 0..8 {
            let (served, semaphore) = (served.clone(), &semaphore);
            scope.spawn(move || {
                let _permit = semaphore.acquire_timeout(NET).unwrap();
                served.send(place).unwrap();
            });
            until("it has its place", || semaphore.stat().unwrap().waiters.len() == place + 1);
        }
        drop(permit);
    });
    drop(served);
    assert!(order.iter().eq(0..8));
}

/// The one behind a request that cannot be served waits, although a permit is free for it.
#[test]
fn a_large_request_is_not_passed_by_a_small_one() {
    let semaphore = Semaphore::unnamed(2).unwrap();
    let one = semaphore.acquire().unwrap();
    thread::scope(|scope| {
        let large = scope.spawn(|| semaphore.acquire_many_timeout(2, NET).map(drop));
        until("the large one waits", || semaphore.stat().unwrap().waiters.len() == 1);
        assert_eq!(semaphore.available(), 1);
        assert_eq!(semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits);
        assert_eq!(semaphore.acquire_timeout(SHORT).unwrap_err(), AcquireError::TimedOut);
        drop(one);
        assert_eq!(large.join().unwrap(), Ok(()));
    });
}

// ---- priority inheritance ----

/// What the kernel tells of a thread of this process: the letter of its state, and its priority, which is 20 for an ordinary one
/// and below 0 for one that runs in real time.
fn state_and_priority(thread: i32) -> (String, i32) {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[0].to_owned(), fields[15].parse().unwrap())
}

fn thread_id() -> i32 {
    // SAFETY: it takes nothing.
    unsafe { libc::gettid() }
}

/// Lets the calling thread run in real time, if this process may.
fn real_time() -> bool {
    let priority = libc::sched_param { sched_priority: 10 };
    // SAFETY: 0 is the calling thread, and the parameters live through the call.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) == 0 }
}

/// The priority of an ordinary thread that has gone through `enter`, while one that runs in real time sleeps in it; both `leave`.
/// `None` without the right to run in real time.
fn priority_while_waited_for(enter: &(dyn Fn() + Sync), leave: &(dyn Fn() + Sync)) -> Option<i32> {
    let (told, waiter) = channel();
    enter();
    thread::scope(|scope| {
        scope.spawn(move || {
            if !real_time() {
                return;
            }
            told.send(thread_id()).unwrap();
            enter();
            leave();
        });
        let priority = waiter.recv().ok().map(|waiter| {
            until("the other sleeps", || state_and_priority(waiter).0 == "S");
            state_and_priority(thread_id()).1
        });
        leave();
        priority
    })
}

#[test]
fn only_a_mutex_that_inherits_priority_lifts_its_holder() {
    let mutex = Mutex::new(MutexKind { inherit: true, ..MutexKind::default() });
    let lock = |mutex: &Mutex| assert_eq!(mutex.lock(), 0);
    let unlock = |mutex: &Mutex| assert_eq!(mutex.unlock(), 0);
    let Some(lifted) = priority_while_waited_for(&|| lock(&mutex), &|| unlock(&mutex)) else {
        eprintln!("skipped: no right to run a thread in real time");
        return;
    };
    assert_eq!(lifted, -11, "as if it ran in real time with priority 10");

    let plain = Mutex::new(MutexKind::default());
    assert_eq!(priority_while_waited_for(&|| lock(&plain), &|| unlock(&plain)), Some(20));

    let posix = Posix::new(1);
    let wait = || assert_eq!(posix.wait(), 0);
    assert_eq!(priority_while_waited_for(&wait, &|| assert_eq!(posix.post(), 0)), Some(20));

    let ours = Semaphore::unnamed(1).unwrap();
    let acquire = || std::mem::forget(ours.acquire_timeout(NET).unwrap());
    // The permits that the two forgot come back by the administrator's word.
    let more = || ours.set_permits(ours.permits() + 1).unwrap();
    assert_eq!(priority_while_waited_for(&acquire, &more), Some(20));
}

// ---- what it costs when nobody else is there ----

/// The kernel kills a process in "strict mode" at any system call but a few. See `part_strict`.
#[test]
fn without_contention_only_system_v_makes_system_calls() {
    let mut worker = Worker::start("strict", &[]);
    if worker.answer() == "not possible" {
        eprintln!("skipped: the kernel has no strict mode for this process");
        return;
    }
    for unharmed in ["mutex", "robust mutex", "POSIX", "ours"] {
        worker.expect(&format!("{unharmed}: ended by itself"));
    }
    worker.expect("System V: killed");
    worker.finish();
}

fn part_strict(_: &[String]) {
    say(if in_strict_mode(|| ()).is_some() { "possible" } else { "not possible" });
    let show = |what: &str, once: &dyn Fn()| {
        let by_itself = in_strict_mode(once).expect("it was possible before");
        say(format!("{what}: {}", if by_itself { "ended by itself" } else { "killed" }));
    };
    for (what, robust) in [("mutex", false), ("robust mutex", true)] {
        let mutex = Mutex::new(MutexKind { robust, ..MutexKind::default() });
        show(what, &|| assert_eq!((mutex.lock(), mutex.unlock()), (0, 0)));
    }
    let posix = Posix::new(1);
    show("POSIX", &|| assert_eq!((posix.try_wait(), posix.post()), (0, 0)));
    // Without a keeper, a thread that strict mode does not confine and that would survive the child's thread.
    let ours = Semaphore::options().keeper(false).unnamed().unwrap();
    show("ours", &|| drop(ours.acquire().unwrap()));
    let system_v = SystemV::new(1);
    show("System V", &|| assert_eq!((system_v.add(-1, true), system_v.add(1, true)), (0, 0)));
}

/// Does this once in a fork child, where it may do what it likes, and a thousand times more in strict mode; whether the child
/// lived through it. `None` if there is no strict mode.
fn in_strict_mode(once: impl Fn()) -> Option<bool> {
    const IMPOSSIBLE: i32 = 3;
    let status = reap(fork(|| {
        once();
        // SAFETY: this option takes one number.
        if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) } != 0 {
            return IMPOSSIBLE;
        }
        for _ in 0..1000 {
            once();
        }
        // SAFETY: it ends this thread, the only one. What `_exit` calls is not among the few.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        unreachable!("it has ended")
    }));
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
        (true, 0) => Some(true),
        (true, IMPOSSIBLE) => None,
        _ => {
            assert_eq!(libc::WTERMSIG(status), libc::SIGKILL, "{status}");
            Some(false)
        }
    }
}
