//! POSIX semaphores among real processes, and with a C program (`c/semaphore.c`, built here) on the other side.
//!
//! Names are this process's own and go with the test. Without a C compiler (`cc`, or what CHAPPE_TEST_CC names) the tests
//! that need one are skipped, and say so.

mod common;

use chappe::posix::{PostError, Semaphore, SemaphoreError, WaitError};
use chappe::{Name, NameError};
use common::{NET, Worker, asleep, hear, say, scratch, until};
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

#[test]
fn role() {
    common::play(&[
        ("wait", part_wait),
        ("hold", part_hold),
        ("create", part_create),
        ("fork", part_fork),
        ("modes", part_modes),
        ("stranger", part_stranger),
        ("few descriptors", part_few_descriptors),
    ]);
}

/// A name of this test alone; what it names goes at the end.
struct Named(String);

impl Named {
    fn new(what: &str) -> Named {
        Named(format!("/chappe-test-{}-{what}", std::process::id()))
    }

    /// The file that is the semaphore, of glibc or of musl.
    fn file(&self) -> PathBuf {
        let name = self.0.trim_start_matches('/');
        let prefix = if cfg!(target_env = "musl") { "" } else { "sem." };
        Path::new("/dev/shm").join(format!("{prefix}{name}"))
    }

    fn mode(&self) -> u32 {
        self.file().metadata().unwrap().permissions().mode() & 0o777
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = Semaphore::unlink(&self.0);
    }
}

/// The C program, built once, ready for commands.
fn peer() -> Option<Worker> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    common::c::start(PROGRAM.get_or_init(|| common::c::build("semaphore")).as_deref())
}

/// One way to wait.
type Form = fn(&Semaphore) -> Result<(), WaitError>;

/// All ways to wait that wait, for long enough.
const FORMS: [(&str, Form); 6] = [
    ("wait", |semaphore| semaphore.wait()),
    ("timeout", |semaphore| semaphore.wait_timeout(NET)),
    ("timeout beyond the clock", |semaphore| semaphore.wait_timeout(Duration::MAX)),
    ("deadline", |semaphore| semaphore.wait_deadline(Instant::now() + NET)),
    ("until", |semaphore| semaphore.wait_until(SystemTime::now() + NET)),
    ("until the end of time", |semaphore| {
        semaphore.wait_until(SystemTime::UNIX_EPOCH + Duration::from_secs(i64::MAX as u64))
    }),
];

/// All ways to wait that end soon.
const SHORT: [Form; 3] = [
    |semaphore| semaphore.wait_timeout(Duration::from_millis(20)),
    |semaphore| semaphore.wait_deadline(Instant::now() + Duration::from_millis(20)),
    |semaphore| semaphore.wait_until(SystemTime::now() + Duration::from_millis(20)),
];

/// All ways to wait for a time that is over.
const EXPIRED: [Form; 4] = [
    |semaphore| semaphore.wait_timeout(Duration::ZERO),
    |semaphore| semaphore.wait_deadline(Instant::now()),
    |semaphore| semaphore.wait_until(SystemTime::now()),
    |semaphore| semaphore.wait_until(SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
];

// ---- with a C program ----

/// Each side can go on only when the other has posted, so a wake that is lost ends the game. `first` and `second` are the
/// C program's numbers 0 and 1.
fn rally(peer: &mut Worker, first: &Semaphore, second: &Semaphore) {
    const ROUNDS: usize = 500;
    for (form, wait) in FORMS {
        peer.tell(format!("pong 0 1 {ROUNDS}"));
        for _ in 0..ROUNDS {
            first.post().unwrap();
            assert_eq!(wait(second), Ok(()), "{form}");
        }
        peer.expect("ok");
        peer.tell(format!("ping 0 1 {ROUNDS}"));
        for _ in 0..ROUNDS {
            assert_eq!(wait(first), Ok(()), "{form}");
            second.post().unwrap();
        }
        peer.expect("ok");
    }
    assert_eq!((first.value(), second.value()), (0, 0));
}

/// Values and results are the same on both sides; the semaphore is the C program's number 0, and at zero.
fn agree(peer: &mut Worker, semaphore: &Semaphore) {
    for value in 1..=3 {
        semaphore.post().unwrap();
        assert_eq!(peer.ask("value 0"), value.to_string());
    }
    assert_eq!(peer.ask("post 0"), "ok");
    assert_eq!(semaphore.value(), 4);
    assert_eq!(peer.ask("wait 0"), "ok");
    assert_eq!(peer.ask("trywait 0"), "ok");
    assert_eq!(semaphore.try_wait(), Ok(()));
    assert_eq!(semaphore.wait(), Ok(()));
    assert_eq!(peer.ask("trywait 0"), "EAGAIN");
    assert_eq!(semaphore.try_wait(), Err(WaitError::WouldBlock));
    assert_eq!(peer.ask("timedwait 0 20"), "ETIMEDOUT");
    assert_eq!(semaphore.wait_timeout(Duration::from_millis(20)), Err(WaitError::TimedOut));
    assert_eq!((peer.ask("value 0"), semaphore.value()), ("0".into(), 0));
}

#[test]
fn c_opens_what_we_create() {
    let Some(mut peer) = peer() else { return };
    let names = [Named::new("ours-0"), Named::new("ours-1")];
    let [first, second] = names.each_ref().map(|name| Semaphore::create_new(&name.0, 0).unwrap());
    for name in &names {
        assert_eq!(peer.ask(format!("open {}", name.0)), "ok");
        assert_eq!(peer.ask(format!("create {} 1", name.0)), "EEXIST");
    }
    agree(&mut peer, &first);
    rally(&mut peer, &first, &second);
    Semaphore::unlink(&names[0].0).unwrap();
    assert_eq!(peer.ask(format!("open {}", names[0].0)), "ENOENT");
}

#[test]
fn c_opens_what_we_create_with_the_umask() {
    let Some(mut peer) = peer() else { return };
    let name = Named::new("umask");
    let semaphore = Semaphore::options().umask(true).create_new(&name.0, 5).unwrap();
    assert_eq!(peer.ask(format!("open {}", name.0)), "ok");
    assert_eq!(peer.ask("value 0"), "5");
    (0..5).for_each(|_| semaphore.wait().unwrap());
    agree(&mut peer, &semaphore);
}

#[test]
fn we_open_what_c_creates() {
    let Some(mut peer) = peer() else { return };
    let names = [Named::new("theirs-0"), Named::new("theirs-1")];
    for name in &names {
        assert_eq!(peer.ask(format!("create {} 3", name.0)), "ok");
    }
    let first = Semaphore::open(&names[0].0).unwrap();
    let second = Semaphore::create(&names[1].0, 99).unwrap();
    assert!(matches!(Semaphore::create_new(&names[0].0, 0), Err(SemaphoreError::Exists { .. })));
    assert_eq!((first.value(), second.value()), (3, 3));
    (0..3).for_each(|_| first.wait().and_then(|()| second.wait()).unwrap());
    agree(&mut peer, &first);
    rally(&mut peer, &first, &second);
}

/// Places in a file: on its first page, and at the end of its last.
const OFFSETS: [u64; 2] = [64, 3 * 4096 + 4096 - Semaphore::SIZE];

fn memfd(length: u64) -> File {
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(c"chappe-test".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    assert!(fd >= 0);
    // SAFETY: the descriptor is new and nobody else's.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(length).unwrap();
    file
}

/// How another process opens a file of this one.
fn path_of(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

#[test]
fn c_attaches_in_a_memfd_to_what_we_initialise() {
    let Some(mut peer) = peer() else { return };
    let file = memfd(16384);
    let [first, second] = OFFSETS.map(|offset| Semaphore::unnamed_in(&file, offset, 0).unwrap());
    for offset in OFFSETS {
        assert_eq!(peer.ask(format!("attach {} {offset}", path_of(&file))), "ok");
    }
    drop(file);
    agree(&mut peer, &first);
    rally(&mut peer, &first, &second);
}

#[test]
fn we_attach_in_a_file_to_what_c_initialises() {
    let Some(mut peer) = peer() else { return };
    let dir = scratch();
    let path = dir.path().join("shared");
    let file = File::create_new(&path).unwrap();
    file.set_len(16384).unwrap();
    for offset in OFFSETS {
        assert_eq!(peer.ask(format!("init {} {offset} 1 0", path.display())), "ok");
    }
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let [first, second] = OFFSETS.map(|offset| Semaphore::attach_in(&file, offset).unwrap());
    agree(&mut peer, &first);
    rally(&mut peer, &first, &second);
}

/// The classic mistake: shared memory, but a semaphore for threads, whose waiters another process never wakes.
#[test]
fn one_that_c_initialised_for_threads_is_refused() {
    let Some(mut peer) = peer() else { return };
    let file = memfd(4096);
    assert_eq!(peer.ask(format!("init {} 0 0 1", path_of(&file))), "ok");
    let private = Semaphore::attach_in(&file, 0);
    if cfg!(target_env = "gnu") {
        let error = private.unwrap_err();
        assert!(matches!(error, SemaphoreError::NotShared { offset: 0 }), "{error}");
        assert!(error.to_string().contains("sem_init(s, 1, value)"), "the way out belongs into {error}");
    }
    assert_eq!(peer.ask(format!("init {} 0 1 1", path_of(&file))), "ok");
    assert_eq!(Semaphore::attach_in(&file, 0).unwrap().try_wait(), Ok(()));
}

#[test]
fn both_sides_stop_at_the_largest_value() {
    let name = Named::new("largest");
    let semaphore = Semaphore::create_new(&name.0, Semaphore::VALUE_MAX).unwrap();
    assert_eq!(semaphore.post(), Err(PostError::Overflow));
    assert_eq!(semaphore.value(), Semaphore::VALUE_MAX);
    assert!(PostError::Overflow.to_string().contains(&Semaphore::VALUE_MAX.to_string()));
    let Some(mut peer) = peer() else { return };
    assert_eq!(peer.ask(format!("open {}", name.0)), "ok");
    assert_eq!(peer.ask("post 0"), "EOVERFLOW");
    assert_eq!(peer.ask("wait 0"), "ok");
    assert_eq!((semaphore.post(), semaphore.value()), (Ok(()), Semaphore::VALUE_MAX));
}

// ---- waiting ----

#[test]
fn timed_waits_time_out_and_not_before() {
    let semaphore = Semaphore::unnamed(0).unwrap();
    for wait in SHORT {
        let start = (Instant::now(), SystemTime::now());
        assert_eq!(wait(&semaphore), Err(WaitError::TimedOut));
        // The last form goes by the wall clock, which the machine may set meanwhile.
        let passed = start.0.elapsed().max(start.1.elapsed().unwrap_or_default());
        assert!(passed >= Duration::from_millis(20), "after {passed:?} already");
    }
    for wait in EXPIRED {
        assert_eq!(wait(&semaphore), Err(WaitError::TimedOut));
    }
    assert_eq!(semaphore.value(), 0);
}

#[test]
fn an_expired_time_still_takes_what_is_there() {
    let semaphore = Semaphore::unnamed(EXPIRED.len() as u32).unwrap();
    for wait in EXPIRED {
        assert_eq!(wait(&semaphore), Ok(()));
    }
    assert_eq!(semaphore.value(), 0);
}

/// `wait NAME FORM`: says which thread waits, waits in that form while signals come, each of which says so, and says "got".
fn part_wait(arguments: &[String]) {
    extern "C" fn on_signal(_: i32) {
        let text = b"@signal\n";
        // SAFETY: the text lives for ever, and write is async-signal-safe.
        unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
    }
    let semaphore = Semaphore::open(&arguments[0]).unwrap();
    let (_, wait) = FORMS.iter().find(|(form, _)| *form == arguments[1]).unwrap();
    // SAFETY: a C struct of numbers; all-zero means no flags (above all, not to restart system calls) and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(i32) as libc::sighandler_t;
    // SAFETY: the handler only does what a handler may do, and the struct lives through the call.
    let installed = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);
    // SAFETY: it has no conditions.
    say(unsafe { libc::gettid() });
    assert_eq!(wait(&semaphore), Ok(()));
    say("got");
}

#[test]
fn a_signal_handler_ends_no_wait() {
    for (form, _) in FORMS {
        let name = Named::new("signal");
        let semaphore = Semaphore::create_new(&name.0, 0).unwrap();
        let mut waiter = Worker::start("wait", &[&name.0, form]);
        let thread: i32 = waiter.answer().parse().unwrap();
        for _ in 0..10 {
            // It has said its last before the wait, so it sleeps nowhere else.
            until("it sleeps in the wait", || asleep(waiter.pid()));
            // To the thread that waits: one for the process would go to the thread of the test harness.
            // SAFETY: it takes numbers.
            let sent = unsafe { libc::syscall(libc::SYS_tgkill, waiter.pid() as i32, thread, libc::SIGUSR1) };
            assert_eq!(sent, 0);
            waiter.expect("signal");
        }
        until("it sleeps again", || asleep(waiter.pid()));
        semaphore.post().unwrap();
        waiter.expect("got");
        waiter.finish();
        assert_eq!(semaphore.value(), 0);
    }
}

#[test]
fn a_sleeping_waiter_that_is_killed_has_taken_nothing() {
    let name = Named::new("killed-waiter");
    let semaphore = Semaphore::create_new(&name.0, 0).unwrap();
    let mut waiter = Worker::start("wait", &[&name.0, "wait"]);
    waiter.answer();
    until("it sleeps in the wait", || asleep(waiter.pid()));
    waiter.kill();
    semaphore.post().unwrap();
    assert_eq!(semaphore.wait_timeout(NET), Ok(()));
}

/// `hold NAME`: takes one and keeps it.
fn part_hold(arguments: &[String]) {
    let semaphore = Semaphore::open(&arguments[0]).unwrap();
    semaphore.wait().unwrap();
    say("holds");
    hear();
}

/// What the documentation says that a POSIX semaphore cannot do, so that nobody takes it for ours.
#[test]
fn what_a_killed_holder_took_is_lost() {
    let name = Named::new("lost");
    let semaphore = Semaphore::create_new(&name.0, 1).unwrap();
    let mut holder = Worker::start("hold", &[&name.0]);
    holder.expect("holds");
    holder.kill();
    assert_eq!(semaphore.value(), 0);
    assert_eq!(semaphore.try_wait(), Err(WaitError::WouldBlock));
    assert_eq!(semaphore.wait_timeout(Duration::from_millis(50)), Err(WaitError::TimedOut));
    assert_eq!(Semaphore::open(&name.0).unwrap().value(), 0, "opening it repairs nothing");
    semaphore.post().unwrap();
    assert_eq!(semaphore.try_wait(), Ok(()), "somebody has to post in its place");
}

#[test]
fn threads_share_one_handle() {
    let semaphore = Semaphore::unnamed(2).unwrap();
    let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    semaphore.wait().unwrap();
                    most.fetch_max(inside.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    inside.fetch_sub(1, Ordering::Relaxed);
                    semaphore.post().unwrap();
                }
            });
        }
    });
    assert!(most.into_inner() <= 2);
    assert_eq!(semaphore.value(), 2);
}

// ---- fork ----

#[test]
fn a_fork_child_shares_unnamed_and_named_ones() {
    let name = Named::new("fork");
    let semaphore = Semaphore::create_new(&name.0, 0).unwrap();
    let mut parent = Worker::start("fork", &[&name.0]);
    parent.expect("child ended with 0");
    parent.finish();
    assert_eq!(semaphore.value(), 2);
}

/// Plays 1000 rounds with its fork child; both post the named one, which was opened before.
fn part_fork(arguments: &[String]) {
    let named = Semaphore::open(&arguments[0]).unwrap();
    let [ping, pong] = [0, 0].map(|value| Semaphore::unnamed(value).unwrap());
    // SAFETY: this is the only thread that does anything, so the child has everything that the parent had.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        (0..1000).for_each(|_| ping.wait().and_then(|()| pong.post().map_err(|_| WaitError::System(0))).unwrap());
        named.post().unwrap();
        // Its own part of each goes, the parent's stays.
        drop((named, ping, pong));
        // SAFETY: it takes a number. Not `exit`: what the harness of the parent prints at its end is not the child's.
        unsafe { libc::_exit(0) }
    }
    (0..1000)
        .for_each(|_| ping.post().map_err(|_| WaitError::System(0)).and_then(|()| pong.wait_timeout(NET)).unwrap());
    let mut status = 0;
    // SAFETY: the status lives through the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    named.post().unwrap();
    ping.post().unwrap();
    assert_eq!(ping.try_wait(), Ok(()));
    say(format!("child ended with {status}"));
}

// ---- names ----

#[test]
fn names_with_and_without_slash_are_the_same() {
    let name = Named::new("slash");
    let semaphore = Semaphore::create_new(&name.0, 7).unwrap();
    let bare = name.0.trim_start_matches('/');
    let opened = Semaphore::open(bare).unwrap();
    assert_eq!(opened.value(), 7);
    assert_eq!((semaphore.name(), opened.name()), (Some(&Name::new(bare).unwrap()), Some(&Name::new(bare).unwrap())));
    assert_eq!(Semaphore::unnamed(0).unwrap().name(), None);
    Semaphore::unlink(bare).unwrap();
    assert!(matches!(Semaphore::unlink(&name.0), Err(SemaphoreError::NotFound { .. })));
}

#[test]
fn handles_of_one_process_are_closed_one_by_one() {
    let name = Named::new("handles");
    for umask in [false, true] {
        let first = Semaphore::options().umask(umask).create_new(&name.0, 0).unwrap();
        let mut handles: Vec<_> = (0..100).map(|_| Semaphore::open(&name.0).unwrap()).collect();
        while let Some(last) = handles.pop() {
            last.post().unwrap();
            drop(last);
        }
        assert_eq!(first.value(), 100);
        drop(first);
        assert_eq!(Semaphore::open(&name.0).unwrap().value(), 100, "it stays when nobody has it open");
        Semaphore::unlink(&name.0).unwrap();
    }
}

#[test]
fn an_unlinked_one_goes_on_and_its_name_is_free() {
    let name = Named::new("unlinked");
    let created = Semaphore::create_new(&name.0, 1).unwrap();
    let opened = Semaphore::open(&name.0).unwrap();
    Semaphore::unlink(&name.0).unwrap();
    assert!(matches!(Semaphore::open(&name.0), Err(SemaphoreError::NotFound { .. })));
    let new = Semaphore::create_new(&name.0, 10).unwrap();
    created.wait().unwrap();
    assert_eq!((created.value(), opened.value(), new.value()), (0, 0, 10));
    opened.post().unwrap();
    assert_eq!((created.value(), new.value()), (1, 10));
}

/// `create NAME`: when told, creates or opens it, and posts once.
fn part_create(arguments: &[String]) {
    say("ready");
    hear();
    Semaphore::create(&arguments[0], 1000).unwrap().post().unwrap();
    say("posted");
}

#[test]
fn of_sixteen_processes_that_race_to_create_one_creates() {
    for _ in 0..5 {
        let name = Named::new("race");
        let mut workers: Vec<_> = (0..16).map(|_| Worker::start("create", &[&name.0])).collect();
        workers.iter_mut().for_each(|worker| worker.expect("ready"));
        workers.iter_mut().for_each(|worker| worker.tell("go"));
        workers.iter_mut().for_each(|worker| worker.expect("posted"));
        assert_eq!(Semaphore::open(&name.0).unwrap().value(), 1016);
    }
}

#[test]
fn the_mode_is_exact_unless_the_umask_is_asked_for() {
    let names = ["plain", "wide", "narrow", "closed"].map(|what| Named::new(&format!("mode-{what}")));
    let mut worker = Worker::start("modes", &names.each_ref().map(|name| name.0.as_str()));
    worker.expect("created");
    assert_eq!(names.each_ref().map(Named::mode), [0o600, 0o666, 0o600, 0o060]);
    worker.finish();
}

fn part_modes(arguments: &[String]) {
    // SAFETY: it takes a number.
    unsafe { libc::umask(0o077) };
    Semaphore::create_new(&arguments[0], 0).unwrap();
    Semaphore::options().mode(0o666).create(&arguments[1], 0).unwrap();
    Semaphore::options().mode(0o666).umask(true).create(&arguments[2], 0).unwrap();
    // Not even for itself, but for the handle that it gets by creating.
    let closed = Semaphore::options().mode(0o060).create_new(&arguments[3], 1).unwrap();
    assert_eq!(closed.try_wait(), Ok(()));
    say("created");
}

#[test]
fn a_stranger_is_refused_with_a_way_out() {
    let (private, open) = (Named::new("private"), Named::new("public"));
    let _private = Semaphore::create_new(&private.0, 0).unwrap();
    let public = Semaphore::options().mode(0o666).create_new(&open.0, 0).unwrap();
    let mut worker = Worker::start("stranger", &[&private.0, &open.0]);
    let answer = worker.answer();
    if let Some(reason) = answer.strip_prefix("skip ") {
        println!("skipped: {reason}");
        return;
    }
    assert_eq!(answer, "posted");
    worker.finish();
    assert_eq!(public.value(), 1);
    assert!(Semaphore::open(&private.0).is_ok(), "it was not unlinked");
}

/// As another user: the private one is refused, the public one works.
fn part_stranger(arguments: &[String]) {
    // SAFETY: it takes a number.
    if unsafe { libc::setuid(65_534) } != 0 {
        say(format!("skip becoming another user: {}", std::io::Error::last_os_error()));
        return;
    }
    for error in [Semaphore::open(&arguments[0]).unwrap_err(), Semaphore::create(&arguments[0], 0).unwrap_err()] {
        assert!(matches!(error, SemaphoreError::Permission { step: "open", .. }), "{error}");
        assert_eq!(error.io_kind(), Some(ErrorKind::PermissionDenied));
        assert!(error.to_string().ends_with("read and write permission (mode)"), "the way out belongs into {error}");
    }
    let error = Semaphore::unlink(&arguments[0]).unwrap_err();
    assert!(matches!(error, SemaphoreError::Permission { step: "unlink", .. }), "{error}");
    Semaphore::open(&arguments[1]).unwrap().post().unwrap();
    say("posted");
}

#[test]
fn descriptors_that_run_out_are_an_error_that_leaves_nothing() {
    let (old, new) = (Named::new("descriptors"), Named::new("descriptors-new"));
    let semaphore = Semaphore::create_new(&old.0, 0).unwrap();
    Worker::start("few descriptors", &[&old.0, &new.0]).finish();
    assert_eq!(semaphore.value(), 1);
    assert!(!new.file().exists());
}

fn part_few_descriptors(arguments: &[String]) {
    let opened = Semaphore::open(&arguments[0]).unwrap();
    let limit = libc::rlimit { rlim_cur: 3, rlim_max: 3 };
    // SAFETY: the limit lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let errors = [
        Semaphore::open(&arguments[0]).unwrap_err(),
        Semaphore::create_new(&arguments[1], 0).unwrap_err(),
        Semaphore::options().umask(true).create_new(&arguments[1], 0).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, SemaphoreError::System { .. }), "{error}");
        assert!(error.to_string().contains("ulimit -n"), "the way out belongs into {error}");
    }
    opened.post().unwrap();
}

// ---- bad input ----

/// What each call that takes a name says to this one.
fn refusals(name: &[u8]) -> [SemaphoreError; 5] {
    [
        Semaphore::create(name, 0).unwrap_err(),
        Semaphore::create_new(name, 0).unwrap_err(),
        Semaphore::options().umask(true).create(name, 0).unwrap_err(),
        Semaphore::open(name).unwrap_err(),
        Semaphore::unlink(name).unwrap_err(),
    ]
}

#[test]
fn bad_names_are_refused() {
    let bad: [(&[u8], NameError); 6] = [
        (b"", NameError::Empty),
        (b"/", NameError::Empty),
        (b"/a/b", NameError::Slash),
        (b"a\0b", NameError::Nul),
        (b"..", NameError::Dots),
        (&[b'x'; 300], NameError::TooLong(300)),
    ];
    for (name, why) in bad {
        for error in refusals(name) {
            assert!(matches!(&error, SemaphoreError::Name(reason) if *reason == why), "{error}");
        }
    }
}

#[test]
fn the_longest_name_is_the_c_librarys() {
    let longest = if cfg!(target_env = "musl") { 255 } else { 251 };
    let start = Named::new("long");
    let long = Named(format!("{:x<width$}", start.0, width = longest + 1));
    for umask in [false, true] {
        let created = Semaphore::options().umask(umask).create_new(&long.0, 4).unwrap();
        assert_eq!((created.value(), Semaphore::open(&long.0).unwrap().value()), (4, 4));
        Semaphore::unlink(&long.0).unwrap();
    }
    if longest < 255 {
        for error in refusals(format!("{}x", long.0).as_bytes()) {
            assert!(matches!(error, SemaphoreError::NameTooLong { bytes: 252, max: 251 }), "{error}");
        }
    }
}

#[test]
fn values_beyond_the_largest_are_refused() {
    let name = Named::new("value");
    let file = memfd(4096);
    for value in [Semaphore::VALUE_MAX + 1, u32::MAX] {
        let errors = [
            Semaphore::create(&name.0, value).unwrap_err(),
            Semaphore::create_new(&name.0, value).unwrap_err(),
            Semaphore::options().umask(true).create(&name.0, value).unwrap_err(),
            Semaphore::unnamed(value).unwrap_err(),
            Semaphore::unnamed_in(&file, 0, value).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, SemaphoreError::Value { max: Semaphore::VALUE_MAX, .. }), "{error}");
            assert!(error.to_string().contains("0 to 2147483647"), "the limit belongs into {error}");
        }
    }
    assert!(!name.file().exists(), "nothing was created");
    assert!(std::fs::read(path_of(&file)).unwrap().iter().all(|byte| *byte == 0), "nothing was written");
}

#[test]
fn a_file_that_is_no_semaphore_is_left_alone() {
    let name = Named::new("none");
    let file = name.file();
    let refused = |reason: &str| {
        for error in [Semaphore::open(&name.0).unwrap_err(), Semaphore::create(&name.0, 0).unwrap_err()] {
            assert!(matches!(error, SemaphoreError::NotASemaphore { .. }), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
        }
        assert!(matches!(Semaphore::create_new(&name.0, 0), Err(SemaphoreError::Exists { .. })));
        assert!(std::fs::symlink_metadata(&file).is_ok(), "it was left alone");
    };
    std::fs::write(&file, b"short").unwrap();
    refused("too short");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    refused("not a regular file");
    std::fs::remove_dir(&file).unwrap();
    symlink("/dev/null", &file).unwrap();
    refused("not a regular file");
}

#[test]
fn places_that_do_not_fit_are_refused() {
    let file = memfd(4096);
    let last = 4096 - Semaphore::SIZE;
    assert_eq!(Semaphore::unnamed_in(&file, last, 3).unwrap().value(), 3);
    assert_eq!(Semaphore::attach_in(&file, last).unwrap().value(), 3);
    let both = |offset| [Semaphore::unnamed_in(&file, offset, 0), Semaphore::attach_in(&file, offset)];
    for offset in [1, Semaphore::ALIGNMENT / 2, Semaphore::ALIGNMENT + 1, u64::MAX] {
        for result in both(offset) {
            assert!(matches!(result, Err(SemaphoreError::Misaligned { alignment: Semaphore::ALIGNMENT, .. })));
        }
    }
    for offset in [last + Semaphore::ALIGNMENT, 4096, 1 << 40, u64::MAX - Semaphore::ALIGNMENT + 1] {
        for result in both(offset) {
            let error = result.unwrap_err();
            assert!(matches!(error, SemaphoreError::TooShort { length: 4096, .. }), "{error}");
            assert!(error.to_string().contains("ftruncate"), "the way out belongs into {error}");
        }
    }
    assert_eq!(file.metadata().unwrap().len(), 4096);
    assert_eq!(Semaphore::attach_in(&file, last).unwrap().value(), 3);
}

#[test]
fn a_place_that_was_never_initialised_is_refused() {
    let attached = Semaphore::attach_in(memfd(4096), 0);
    if cfg!(target_env = "gnu") {
        assert!(matches!(attached, Err(SemaphoreError::NotShared { offset: 0 })));
    }
}

#[test]
fn descriptors_that_cannot_be_mapped_for_writing_are_refused() {
    let dir = scratch();
    let path = dir.path().join("file");
    let file = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
    file.set_len(4096).unwrap();
    let sealed = memfd(4096);
    // SAFETY: it takes numbers.
    assert_eq!(unsafe { libc::fcntl(sealed.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_WRITE) }, 0);
    for (what, file) in [("write only", file), ("read only", File::open(&path).unwrap()), ("sealed", sealed)] {
        for result in [Semaphore::unnamed_in(&file, 0, 0), Semaphore::attach_in(&file, 0)] {
            let error = result.unwrap_err();
            assert!(matches!(error, SemaphoreError::Permission { step: "map", .. }), "{what}: {error}");
            assert!(error.to_string().contains("reading and writing"), "the way out belongs into {error}");
        }
    }
    let (pipe, _writer) = std::io::pipe().unwrap();
    assert!(matches!(Semaphore::attach_in(&pipe, 0), Err(SemaphoreError::TooShort { length: 0, .. })));
}
