//! The semaphore as one process sees it: options, names, every form of acquiring, order, permits in the hand, looking,
//! administering, signals, many threads.
//!
//! Futures are in `semaphore_async.rs`, random sequences in `semaphore_model.rs`, wild bytes in `semaphore_hostile.rs`.

mod common;

use chappe::{
    AccessError, AcquireError, Kind, LABEL_BYTES_MAX, Name, NameError, OpenError, PERMITS_MAX, Permit, Queue,
    Semaphore, SemaphoreOptions,
};
use common::{NET, Rng, Worker, say, scratch, seed, until};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longer than any scheduling hiccup that would let a wait end before it began, short enough to wait for.
const SHORT: Duration = Duration::from_millis(30);

#[test]
fn role() {
    common::play(&[("umask", part_umask), ("variable", part_variable), ("ring", part_ring)]);
}

/// A semaphore of its own in a directory of its own, which is held so that it lives as long.
struct Fixture {
    dir: tempfile::TempDir,
    semaphore: Semaphore,
}

impl std::ops::Deref for Fixture {
    type Target = Semaphore;

    fn deref(&self) -> &Semaphore {
        &self.semaphore
    }
}

impl Fixture {
    fn new(permits: u64) -> Fixture {
        let dir = scratch();
        let semaphore = options(dir.path()).permits(permits).create_new("/s").unwrap();
        Fixture { dir, semaphore }
    }

    fn another_handle(&self) -> Semaphore {
        options(self.dir.path()).open("/s").unwrap()
    }

    fn unlink(&self) {
        options(self.dir.path()).unlink("/s").unwrap();
    }
}

fn options(dir: &Path) -> SemaphoreOptions {
    let mut options = Semaphore::options();
    options.dir(dir);
    options
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

fn waiting(semaphore: &Semaphore) -> usize {
    semaphore.stat().unwrap().waiters.len()
}

/// Waits until so many have a place in the queue.
#[track_caller]
fn until_waiting(semaphore: &Semaphore, count: usize) {
    until(&format!("{count} should wait"), || waiting(semaphore) == count);
}

/// Waits until so many calls sleep, whatever they wait for.
#[track_caller]
fn until_blocked(semaphore: &Semaphore, count: u64) {
    until(&format!("{count} calls should sleep"), || semaphore.stat().unwrap().blocked >= count);
}

/// Nobody holds, nobody waits, and all permits are free.
#[track_caller]
fn is_untouched(semaphore: &Semaphore, permits: u64) {
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.permits, stat.available, stat.held), (permits, permits as i64, 0), "{stat:?}");
    assert!(stat.holders.is_empty() && stat.waiters.is_empty(), "{stat:?}");
    assert_eq!((semaphore.permits(), semaphore.available()), (permits, permits));
}

/// A call that may wait for ever, through a clone of the handle, in a thread that nobody waits for if the test fails.
struct Call<T>(thread::JoinHandle<T>);

impl<T: Send + 'static> Call<T> {
    fn start(semaphore: &Semaphore, call: impl FnOnce(&Semaphore) -> T + Send + 'static) -> Call<T> {
        let semaphore = semaphore.clone();
        Call(thread::spawn(move || call(&semaphore)))
    }

    /// What it returned; that it does not return is a failure.
    #[track_caller]
    fn end(self) -> T {
        until("the call to end", || self.0.is_finished());
        self.0.join().unwrap()
    }

    fn still_waits(&self) -> bool {
        !self.0.is_finished()
    }
}

fn err<T>(result: Result<T, AcquireError>) -> AcquireError {
    result.err().expect("it should not have been granted")
}

type Form = (&'static str, for<'a> fn(&'a Semaphore, u64) -> Result<Permit<'a>, AcquireError>);

/// The forms that take a number of permits, each with its name.
const MANY: [Form; 4] = [
    ("try_acquire_many", |semaphore, permits| semaphore.try_acquire_many(permits)),
    ("acquire_many", |semaphore, permits| semaphore.acquire_many(permits)),
    ("acquire_many_timeout", |semaphore, permits| semaphore.acquire_many_timeout(permits, SHORT)),
    ("acquire_many_deadline", |semaphore, permits| semaphore.acquire_many_deadline(permits, Instant::now() + SHORT)),
];

/// The forms that take one permit; the number says which is their twin in [`MANY`].
const ONE: [Form; 4] = [
    ("try_acquire", |semaphore, _| semaphore.try_acquire()),
    ("acquire", |semaphore, _| semaphore.acquire()),
    ("acquire_timeout", |semaphore, _| semaphore.acquire_timeout(SHORT)),
    ("acquire_deadline", |semaphore, _| semaphore.acquire_deadline(Instant::now() + SHORT)),
];

fn forms() -> impl Iterator<Item = Form> {
    ONE.into_iter().chain(MANY)
}

// ---- creating and opening ----

#[test]
fn create_new_open_and_create_differ_in_what_they_expect_to_find() {
    let dir = scratch();
    let missing = options(dir.path()).open("/s");
    assert!(matches!(missing, Err(OpenError::NotFound { kind: Kind::Semaphore, .. })), "{missing:?}");
    assert!(matches!(options(dir.path()).unlink("/s"), Err(OpenError::NotFound { kind: Kind::Semaphore, .. })));
    let first = options(dir.path()).permits(3).create_new("/s").unwrap();
    let exists = options(dir.path()).create_new("/s");
    assert!(matches!(exists, Err(OpenError::Exists { kind: Kind::Semaphore, .. })), "{exists:?}");
    let second = options(dir.path()).create("s").unwrap();
    let third = options(dir.path()).open("s").unwrap();
    let held = first.acquire().unwrap();
    assert_eq!((second.available(), third.available()), (2, 2), "they are one semaphore");
    drop(held);
    assert_eq!(third.available(), 3);
    assert_eq!(files(dir.path()), 1);
}

#[test]
fn a_semaphore_has_the_defaults_or_what_was_asked_for() {
    let dir = scratch();
    let plain = options(dir.path()).create_new("/plain").unwrap();
    assert_eq!((plain.permits(), plain.available()), (1, 1));
    assert_eq!(plain.name().map(Name::as_bytes), Some(&b"plain"[..]));
    let stat = plain.stat().unwrap();
    assert_eq!((stat.mode, stat.ephemeral, stat.closed, stat.unlinked), (0o600, false, false, false));
    assert_eq!((stat.blocked, stat.recovered, stat.recovered_permits), (0, 0, 0));
    assert_eq!(stat.participants.len(), 1);
    assert!(stat.memory > 0 && stat.created_unix_nanos > 0);
    for permits in [0, 1, 7, PERMITS_MAX] {
        let other = options(dir.path()).permits(permits).create_new(format!("/{permits}")).unwrap();
        is_untouched(&other, permits);
    }
    let text = format!("{plain:?}");
    assert!(text.contains("plain") && text.contains("permits: 1"), "{text}");
}

#[test]
fn permits_that_were_asked_for_are_compared_with_those_there_are_now() {
    let dir = scratch();
    let made = options(dir.path()).permits(10).create_new("/s").unwrap();
    for result in [options(dir.path()).permits(11).open("/s"), options(dir.path()).permits(11).create("/s")] {
        let error = result.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/s") && text.contains("10") && text.contains("11"), "{text}");
        assert!(matches!(error, OpenError::PermitsMismatch { found: 10, wanted: 11, .. }), "{error:?}");
    }
    assert_eq!(options(dir.path()).permits(10).open("/s").unwrap().permits(), 10);
    assert_eq!(options(dir.path()).open("/s").unwrap().permits(), 10, "nothing was asked for");
    made.set_permits(11).unwrap();
    assert_eq!(options(dir.path()).permits(11).open("/s").unwrap().permits(), 11);
    assert!(matches!(
        options(dir.path()).permits(10).create("/s"),
        Err(OpenError::PermitsMismatch { found: 11, wanted: 10, .. })
    ));
    assert_eq!(made.stat().unwrap().participants.len(), 1, "who was refused has left");
}

#[test]
fn held_permits_are_no_mismatch() {
    let semaphore = Fixture::new(2);
    let held = semaphore.acquire_many(2).unwrap();
    assert_eq!(options(semaphore.dir.path()).permits(2).open("/s").unwrap().available(), 0);
    drop(held);
}

#[test]
fn any_existing_takes_what_is_there() {
    let dir = scratch();
    options(dir.path()).permits(10).create_new("/s").unwrap();
    let mut different = options(dir.path());
    different.permits(99).any_existing(true);
    assert_eq!(different.create("/s").unwrap().permits(), 10);
    assert_eq!(different.open("/s").unwrap().permits(), 10);
    assert_eq!(different.create("/new").unwrap().permits(), 99, "for creating, the number still counts");
}

#[test]
fn permits_out_of_range_create_nothing() {
    let dir = scratch();
    for permits in [PERMITS_MAX + 1, 1 << 56, u64::MAX] {
        for result in [
            options(dir.path()).permits(permits).create("/s"),
            options(dir.path()).permits(permits).create_new("/s"),
            options(dir.path()).permits(permits).unnamed(),
            Semaphore::unnamed(permits),
        ] {
            let error = result.unwrap_err();
            let OpenError::Attribute { low: 0, high: PERMITS_MAX, value, .. } = error else { panic!("{error:?}") };
            assert_eq!(value, permits);
        }
    }
    assert_eq!(files(dir.path()), 0);
}

#[test]
fn a_label_that_is_too_long_creates_nothing() {
    let dir = scratch();
    for result in [
        options(dir.path()).label("x".repeat(LABEL_BYTES_MAX + 1)).create_new("/s"),
        options(dir.path()).label("ä".repeat(LABEL_BYTES_MAX / 2) + "b").create("/s"),
        options(dir.path()).label("x".repeat(1000)).unnamed(),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, OpenError::Attribute { low: 0, high: 64, .. }), "{error:?}");
    }
    assert_eq!(files(dir.path()), 0, "nothing was created, says the error");
    let full = "y".repeat(LABEL_BYTES_MAX);
    let semaphore = options(dir.path()).label(&full).create_new("/s").unwrap();
    let held = semaphore.acquire().unwrap();
    assert_eq!(semaphore.stat().unwrap().holders[0].label, full);
    drop(held);
}

#[test]
fn the_mode_is_exact_unless_the_umask_is_asked_for() {
    let dir = scratch();
    let mut worker = Worker::start("umask", &[dir.path().to_str().unwrap()]);
    worker.expect("600 666 644 640 666 640");
    worker.finish();
}

/// Under umask 027: the modes of semaphores created by default, with 0666, with 0644, with 0666 and the umask; then two without
/// a name, the second with the umask.
fn part_umask(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    // SAFETY: it takes and returns a number; this process has no other thread whose files it could surprise.
    unsafe { libc::umask(0o027) };
    let all = [
        options(dir).create_new("/default").unwrap(),
        options(dir).mode(0o666).create_new("/open").unwrap(),
        options(dir).mode(0o7644).create_new("/read").unwrap(),
        options(dir).mode(0o666).umask(true).create_new("/masked").unwrap(),
        Semaphore::options().mode(0o666).unnamed().unwrap(),
        Semaphore::options().mode(0o666).umask(true).unnamed().unwrap(),
    ];
    let modes: Vec<String> = all.iter().map(|semaphore| format!("{:o}", semaphore.stat().unwrap().mode)).collect();
    for (semaphore, name) in all.iter().zip(["default", "open", "read", "masked"]) {
        let bits = std::fs::metadata(dir.join(format!("chappe.sem.{name}"))).unwrap().permissions().mode() & 0o7777;
        assert_eq!(semaphore.stat().unwrap().mode, bits);
    }
    say(modes.join(" "));
}

#[test]
fn of_many_threads_that_race_to_create_one_creates() {
    for _ in 0..20 {
        let dir = scratch();
        let made = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| match options(dir.path()).create_new("/s") {
                    Ok(_) => _ = made.fetch_add(1, Ordering::Relaxed),
                    Err(error) => assert!(matches!(error, OpenError::Exists { .. }), "{error}"),
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
        assert_eq!(files(dir.path()), 1, "the losers of the race left something behind");
    }
}

#[test]
fn threads_that_race_to_open_or_create_share_one() {
    for _ in 0..20 {
        let dir = scratch();
        let barrier = std::sync::Barrier::new(8);
        let held = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let semaphore = options(dir.path()).permits(8).create("/s").unwrap();
                    let permit = semaphore.try_acquire().unwrap();
                    held.fetch_add(1, Ordering::Relaxed);
                    barrier.wait();
                    assert_eq!(semaphore.available(), 0, "all eight hold one of the same semaphore");
                    barrier.wait();
                    drop(permit);
                });
            }
        });
        is_untouched(&options(dir.path()).open("/s").unwrap(), 8);
    }
}

#[test]
fn names_follow_the_rule() {
    let dir = scratch();
    let bad: [(&[u8], NameError); 5] = [
        (b"", NameError::Empty),
        (b"/a/b", NameError::Slash),
        (b"a\0", NameError::Nul),
        (b"/..", NameError::Dots),
        (&[b'x'; 256], NameError::TooLong(256)),
    ];
    for (name, expected) in bad {
        let errors = [
            options(dir.path()).create(name).unwrap_err(),
            options(dir.path()).create_new(name).unwrap_err(),
            options(dir.path()).open(name).unwrap_err(),
            options(dir.path()).unlink(name).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, OpenError::Name(found) if found == expected), "{error:?}");
        }
    }
    assert_eq!(files(dir.path()), 0);
}

#[test]
fn long_names_and_odd_bytes_are_kept_apart() {
    let dir = scratch();
    let mut names: Vec<Vec<u8>> = vec![b"\xff\xfe".to_vec(), b"with\nnewline".to_vec(), b" ".to_vec(), b"~".to_vec()];
    names.extend([238, 243, 244, 245, 254, 255].map(|length| vec![b'n'; length]));
    names.push([vec![b'n'; 254], b"m".to_vec()].concat());
    let made: Vec<Semaphore> = names
        .iter()
        .zip(1..)
        .map(|(name, permits)| options(dir.path()).permits(permits).create_new(name).unwrap())
        .collect();
    for ((name, permits), made) in names.iter().zip(1..).zip(&made) {
        assert_eq!(made.name().map(Name::as_bytes), Some(&name[..]));
        assert_eq!(options(dir.path()).open([b"/", &name[..]].concat()).unwrap().permits(), permits);
    }
    let mut listed: Vec<Vec<u8>> =
        chappe::list(dir.path()).unwrap().into_iter().map(|object| object.name.as_bytes().to_vec()).collect();
    listed.sort();
    let mut expected = names.clone();
    expected.sort();
    assert_eq!(listed, expected);
    for name in &names {
        options(dir.path()).unlink(name).unwrap();
    }
    assert_eq!(files(dir.path()), 0);
}

#[test]
fn a_directory_that_is_not_there_is_named_in_the_error() {
    let dir = scratch();
    let missing = dir.path().join("missing");
    let error = options(&missing).create("/s").unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    assert!(matches!(error, OpenError::System { .. }), "{error:?}");
}

#[test]
fn the_variable_moves_every_name() {
    let dir = scratch();
    let path = dir.path().to_str().unwrap();
    let mut worker = Worker::start_with("variable", &[], &[(chappe::DIR_VARIABLE, path)]);
    worker.expect("made");
    let seen = options(dir.path()).open("/moved").unwrap();
    assert_eq!((seen.permits(), seen.available()), (5, 3));
    worker.tell("unlink");
    worker.finish();
    assert_eq!(files(dir.path()), 0);
}

/// Creates `/moved` wherever the environment says, holds two of its permits, and unlinks it when told: all with the calls that
/// take no options.
fn part_variable(_: &[String]) {
    let semaphore = Semaphore::create("/moved", 5).unwrap();
    let held = semaphore.acquire_many(2).unwrap();
    assert_eq!(Semaphore::open("moved").unwrap().available(), 3);
    assert!(matches!(Semaphore::create("/moved", 6), Err(OpenError::PermitsMismatch { found: 5, wanted: 6, .. })));
    say("made");
    common::hear();
    Semaphore::unlink("/moved").unwrap();
    assert!(matches!(Semaphore::open("/moved"), Err(OpenError::NotFound { .. })));
    assert!(matches!(Semaphore::unlink("/moved"), Err(OpenError::NotFound { .. })));
    assert_eq!(err(semaphore.try_acquire()), AcquireError::Unlinked);
    drop(held);
}

#[test]
fn a_queue_and_a_semaphore_of_one_name_are_two_objects() {
    let dir = scratch();
    let queue = Queue::options().dir(dir.path()).create_new("/both").unwrap();
    let semaphore = options(dir.path()).permits(3).mode(0o640).create_new("/both").unwrap();
    options(dir.path()).create_new("/a").unwrap();
    std::fs::write(dir.path().join("unrelated"), "a file of somebody else").unwrap();
    let objects = chappe::list(dir.path()).unwrap();
    let seen: Vec<_> = objects.iter().map(|object| (object.kind, object.name.to_string())).collect();
    let expected = [(Kind::Semaphore, "/a"), (Kind::Queue, "/both"), (Kind::Semaphore, "/both")];
    assert_eq!(seen, expected.map(|(kind, name)| (kind, name.to_owned())));
    for object in &objects {
        let meta = std::fs::metadata(&object.path).unwrap();
        assert_eq!((object.uid, object.memory, &object.defect), (meta.uid(), meta.blocks() * 512, &None));
    }
    assert_eq!((objects[0].mode, objects[2].mode), (0o600, 0o640));
    assert_eq!(Kind::Semaphore.word(), "semaphore");
    options(dir.path()).unlink("/both").unwrap();
    assert_eq!(err(semaphore.try_acquire()), AcquireError::Unlinked);
    queue.send(b"the queue is still there", 0).unwrap();
    assert_eq!(Queue::options().dir(dir.path()).open("/both").unwrap().len().unwrap(), 1);
}

#[test]
fn unlinked_names_are_free_at_once() {
    let dir = scratch();
    let old = options(dir.path()).permits(1).create_new("/s").unwrap();
    let held = old.acquire().unwrap();
    options(dir.path()).unlink("/s").unwrap();
    let new = options(dir.path()).permits(2).create_new("/s").unwrap();
    is_untouched(&new, 2);
    assert_eq!(err(old.try_acquire()), AcquireError::Unlinked);
    let stat = old.stat().unwrap();
    assert_eq!((stat.unlinked, stat.closed, stat.held), (true, true, 1), "what was held stays held");
    drop(held);
    assert_eq!(old.stat().unwrap().held, 0);
    is_untouched(&new, 2);
}

// ---- without a name, and by descriptor ----

#[test]
fn an_unnamed_semaphore_is_reached_by_its_descriptor() {
    let here = Semaphore::unnamed(2).unwrap();
    assert_eq!(here.name(), None);
    let mut all = vec![here];
    for _ in 0..3 {
        let passed = all.last().unwrap().as_fd().try_clone_to_owned().unwrap();
        all.push(Semaphore::options().from_fd(passed).unwrap());
    }
    let held = all[3].acquire().unwrap();
    assert!(all.iter().all(|semaphore| semaphore.available() == 1));
    assert_eq!(all[0].stat().unwrap().participants.len(), 4);
    let other = all[1].acquire().unwrap();
    assert_eq!(err(all[2].try_acquire()), AcquireError::NoPermits);
    drop((held, other));
    all.remove(0);
    is_untouched(&all[2], 2);
    assert!(format!("{:?}", all[2]).contains("None"));
}

#[test]
fn a_named_semaphore_is_reached_by_its_descriptor_too() {
    let semaphore = Fixture::new(2);
    let passed = semaphore.as_fd().try_clone_to_owned().unwrap();
    let there = Semaphore::options().permits(2).from_fd(passed).unwrap();
    assert_eq!(there.name().map(Name::to_string).as_deref(), Some("/s"));
    let held = there.acquire_many(2).unwrap();
    assert_eq!(semaphore.available(), 0);
    drop(held);
    semaphore.unlink();
    assert_eq!(err(there.acquire()), AcquireError::Unlinked);
    let again = Semaphore::options().from_fd(there.as_fd().try_clone_to_owned().unwrap()).unwrap();
    assert_eq!(err(again.acquire()), AcquireError::Unlinked, "an end is an end for those who come by descriptor");
}

#[test]
fn from_fd_compares_permits() {
    let semaphore = Semaphore::unnamed(2).unwrap();
    let passed = || semaphore.as_fd().try_clone_to_owned().unwrap();
    let error = Semaphore::options().permits(3).from_fd(passed()).unwrap_err();
    assert!(matches!(error, OpenError::PermitsMismatch { found: 2, wanted: 3, .. }), "{error:?}");
    assert!(error.to_string().contains("without a name"), "{error}");
    assert_eq!(Semaphore::options().permits(3).any_existing(true).from_fd(passed()).unwrap().permits(), 2);
    assert_eq!(semaphore.stat().unwrap().participants.len(), 1);
}

#[test]
fn from_fd_refuses_what_is_no_semaphore() {
    let dir = scratch();
    Queue::options().dir(dir.path()).create_new("/q").unwrap();
    let queue = std::fs::File::options().read(true).write(true).open(dir.path().join("chappe.mq.q")).unwrap();
    let plain = std::fs::File::create_new(dir.path().join("plain")).unwrap();
    let (pipe, _other_end) = std::io::pipe().unwrap();
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let all: [(&str, OwnedFd); 6] = [
        ("a queue", queue.into()),
        ("an empty file", plain.into()),
        ("a pipe", pipe.into()),
        ("a socket", socket.into()),
        ("a directory", std::fs::File::open(dir.path()).unwrap().into()),
        ("a device", std::fs::File::open("/dev/null").unwrap().into()),
    ];
    for (what, fd) in all {
        let result = Semaphore::options().from_fd(fd);
        let error = result.err().unwrap_or_else(|| panic!("{what} was taken for a semaphore"));
        assert!(matches!(error, OpenError::NotAnObject { kind: Kind::Semaphore, .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("a descriptor"), "{what}: {error}");
    }
}

// ---- ephemeral ----

#[test]
fn an_ephemeral_semaphore_goes_with_its_creator() {
    let dir = scratch();
    let creator = options(dir.path()).ephemeral(true).create_new("/s").unwrap();
    let guest = options(dir.path()).open("/s").unwrap();
    assert!(guest.stat().unwrap().ephemeral);
    drop(options(dir.path()).ephemeral(true).create("/s").unwrap());
    assert_eq!(files(dir.path()), 1, "only its creator takes it along");
    let held = guest.acquire().unwrap();
    drop(creator);
    assert_eq!(files(dir.path()), 0);
    assert_eq!(err(guest.acquire()), AcquireError::Unlinked);
    drop(held);
    assert!(matches!(options(dir.path()).open("/s"), Err(OpenError::NotFound { .. })));
    let successor = options(dir.path()).create_new("/s").unwrap();
    drop(guest);
    is_untouched(&successor, 1);
}

#[test]
fn the_end_of_an_ephemeral_semaphore_wakes_who_waits() {
    let dir = scratch();
    let creator = options(dir.path()).ephemeral(true).permits(0).create_new("/s").unwrap();
    let guest = options(dir.path()).open("/s").unwrap();
    let waits = Call::start(&guest, |guest| guest.acquire().map(drop));
    until_blocked(&guest, 1);
    drop(creator);
    assert_eq!(waits.end(), Err(AcquireError::Unlinked));
}

/// The thread of a handle that waits may be busy with news at the moment when the handle goes: the name goes with the handle
/// all the same, not when that thread has time.
#[test]
fn an_ephemeral_name_is_gone_when_its_creator_has_been_dropped() {
    let dir = scratch();
    for _ in 0..20 {
        let creator = options(dir.path()).ephemeral(true).permits(0).create_new("/s").unwrap();
        let _ = creator.acquire_timeout(Duration::from_millis(1));
        // News for the thread that this wait has started: a handle that comes and goes.
        drop(options(dir.path()).open("/s").unwrap());
        drop(creator);
        assert_eq!(files(dir.path()), 0);
    }
}

// ---- acquiring ----

#[test]
fn every_form_takes_what_is_free() {
    for (name, form) in forms() {
        let semaphore = Fixture::new(3);
        // Each form comes twice: the first call of a thread has no record of its own yet.
        for _ in 0..3 {
            let permit = form(&semaphore, 1).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(permit.permits(), 1, "{name}");
            assert_eq!((semaphore.available(), semaphore.permits()), (2, 3), "{name}");
            let another = form(&semaphore, 1).unwrap();
            assert_eq!(semaphore.available(), 1, "{name}");
            drop(permit);
            drop(another);
        }
        is_untouched(&semaphore, 3);
    }
}

#[test]
fn every_form_for_many_takes_all_or_none() {
    for (name, form) in MANY {
        let semaphore = Fixture::new(5);
        let permit = form(&semaphore, 3).unwrap();
        assert_eq!((permit.permits(), semaphore.available()), (3, 2), "{name}");
        if name != "acquire_many" {
            let error = err(form(&semaphore, 3));
            assert!(matches!(error, AcquireError::NoPermits | AcquireError::TimedOut), "{name}: {error}");
            assert_eq!(semaphore.available(), 2, "{name}: two are too few for three, and none was taken");
        }
        drop(permit);
        let all = form(&semaphore, 5).unwrap();
        assert_eq!(semaphore.available(), 0, "{name}");
        drop(all);
        is_untouched(&semaphore, 5);
    }
}

#[test]
fn forms_that_do_not_wait_for_ever_say_why_they_end() {
    let semaphore = Fixture::new(1);
    let held = semaphore.acquire().unwrap();
    for (name, form) in forms() {
        let start = Instant::now();
        match name {
            "acquire" | "acquire_many" => continue,
            "try_acquire" | "try_acquire_many" => assert_eq!(err(form(&semaphore, 1)), AcquireError::NoPermits),
            _ => {
                assert_eq!(err(form(&semaphore, 1)), AcquireError::TimedOut, "{name}");
                assert!(start.elapsed() >= SHORT, "{name} ended after {:?}", start.elapsed());
            }
        }
        let stat = semaphore.stat().unwrap();
        assert_eq!((stat.available, stat.waiters.len()), (0, 0), "{name} has left its place");
    }
    drop(held);
    is_untouched(&semaphore, 1);
}

#[test]
fn forms_that_wait_for_ever_wait_until_it_is_released() {
    for (name, form) in forms().filter(|(name, _)| ["acquire", "acquire_many"].contains(name)) {
        let semaphore = Fixture::new(1);
        let held = semaphore.acquire().unwrap();
        let waits = Call::start(&semaphore, move |semaphore| form(semaphore, 1).map(|permit| permit.permits()));
        until_blocked(&semaphore, 1);
        assert!(waits.still_waits(), "{name}");
        drop(held);
        assert_eq!(waits.end(), Ok(1), "{name}");
        is_untouched(&semaphore, 1);
    }
}

#[test]
fn an_expired_time_still_takes_what_is_free() {
    let semaphore = Fixture::new(2);
    let past = Instant::now() - Duration::from_secs(1);
    for _ in 0..2 {
        drop(semaphore.acquire_timeout(Duration::ZERO).unwrap());
        drop(semaphore.acquire_deadline(past).unwrap());
        drop(semaphore.acquire_many_timeout(2, Duration::ZERO).unwrap());
        drop(semaphore.acquire_many_deadline(2, past).unwrap());
    }
    let held = semaphore.acquire_many(2).unwrap();
    assert_eq!(err(semaphore.acquire_timeout(Duration::ZERO)), AcquireError::TimedOut);
    assert_eq!(err(semaphore.acquire_deadline(past)), AcquireError::TimedOut);
    assert_eq!(waiting(&semaphore), 0);
    drop(held);
}

#[test]
fn a_time_that_the_clock_cannot_express_is_for_ever() {
    let semaphore = Fixture::new(1);
    let held = semaphore.acquire_timeout(Duration::MAX).unwrap();
    let waits = Call::start(&semaphore, |semaphore| semaphore.acquire_timeout(Duration::MAX).map(drop));
    until_blocked(&semaphore, 1);
    assert!(waits.still_waits());
    drop(held);
    assert_eq!(waits.end(), Ok(()));
}

#[test]
fn more_than_there_are_is_refused_at_once() {
    let semaphore = Fixture::new(3);
    let held = semaphore.acquire_many(2).unwrap();
    for (name, form) in MANY {
        for asked in [4, 5, PERMITS_MAX] {
            let expected = AcquireError::TooMany { asked, permits: 3 };
            assert_eq!(err(form(&semaphore, asked)), expected, "{name}");
        }
    }
    let text = err(semaphore.acquire_many(4)).to_string();
    assert!(text.contains('4') && text.contains('3'), "{text}");
    drop(held);
    is_untouched(&semaphore, 3);
}

/// Numbers that no semaphore can have, up to the largest: no form may take them for something else, whatever arithmetic it does.
#[test]
fn numbers_beyond_all_bounds_are_refused() {
    let beyond =
        [PERMITS_MAX + 1, 1 << 49, 1 << 50, 1 << 56, 1 << 57, 1 << 60, 1 << 63, u64::MAX - (1 << 49), u64::MAX];
    for permits in [1, PERMITS_MAX] {
        let semaphore = Fixture::new(permits);
        // So that this thread has a record of its own, and the fast path is open to it.
        drop(semaphore.acquire().unwrap());
        for (name, form) in MANY {
            for asked in beyond {
                let result = catch_unwind(AssertUnwindSafe(|| err(form(&semaphore, asked))));
                let error = result.unwrap_or_else(|_| panic!("{name}({asked}) panicked, or was granted"));
                assert_eq!(error, AcquireError::TooMany { asked, permits }, "{name}({asked})");
            }
        }
        is_untouched(&semaphore, permits);
    }
}

/// While it is paused a request for any number waits; one for a number that no semaphore can have must not spoil it for others.
#[test]
fn numbers_beyond_all_bounds_do_not_harm_a_paused_semaphore() {
    for asked in [PERMITS_MAX, PERMITS_MAX + 1, 1 << 56, 1 << 57, 1 << 60, 1 << 63, u64::MAX] {
        let semaphore = Fixture::new(1);
        drop(semaphore.acquire().unwrap());
        semaphore.set_permits(0).unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| err(semaphore.acquire_many_timeout(asked, SHORT))));
        let error = result.unwrap_or_else(|_| panic!("{asked}: it panicked, or was granted"));
        let fits = matches!(error, AcquireError::TimedOut | AcquireError::TooMany { .. });
        assert!(fits, "{asked}: {error:?}");
        semaphore.set_permits(1).unwrap_or_else(|error| panic!("after {asked}: {error}"));
        drop(semaphore.acquire_timeout(NET).unwrap_or_else(|error| panic!("after {asked}: {error}")));
        is_untouched(&semaphore, 1);
    }
}

#[test]
fn no_permits_at_all_are_granted_when_the_turn_comes() {
    let semaphore = Fixture::new(1);
    for (name, form) in MANY {
        let nothing = form(&semaphore, 0).unwrap();
        assert_eq!((nothing.permits(), semaphore.available()), (0, 1), "{name}");
        let held = semaphore.acquire().unwrap();
        drop(form(&semaphore, 0).unwrap_or_else(|error| panic!("{name} with none free: {error}")));
        drop((nothing, held));
        is_untouched(&semaphore, 1);
    }
    let held = semaphore.acquire().unwrap();
    let first = Call::start(&semaphore, |semaphore| semaphore.acquire().map(drop));
    until_waiting(&semaphore, 1);
    assert_eq!(err(semaphore.try_acquire_many(0)), AcquireError::NoPermits, "somebody waits already");
    let second = Call::start(&semaphore, |semaphore| semaphore.acquire_many(0).map(drop));
    until_waiting(&semaphore, 2);
    drop(held);
    assert_eq!((first.end(), second.end()), (Ok(()), Ok(())));
    is_untouched(&semaphore, 1);
    let paused = Fixture::new(0);
    drop(paused.acquire_many_timeout(0, NET).unwrap());
}

#[test]
fn the_largest_number_of_permits_can_be_held_at_once() {
    let semaphore = Fixture::new(PERMITS_MAX);
    for _ in 0..2 {
        let all = semaphore.acquire_many(PERMITS_MAX).unwrap();
        assert_eq!((all.permits(), semaphore.available()), (PERMITS_MAX, 0));
        assert_eq!(err(semaphore.try_acquire()), AcquireError::NoPermits);
        assert_eq!(semaphore.post(), Err(AccessError::Full));
        semaphore.set_permits(0).unwrap();
        assert_eq!(semaphore.stat().unwrap().available, -(PERMITS_MAX as i64));
        semaphore.set_permits(PERMITS_MAX).unwrap();
        drop(all);
        is_untouched(&semaphore, PERMITS_MAX);
    }
}

// ---- order ----

#[test]
fn threads_are_served_in_the_order_in_which_they_came() {
    for permits in [1, 2] {
        let semaphore = Fixture::new(permits);
        let held: Vec<Permit<'_>> = (0..permits).map(|_| semaphore.acquire().unwrap()).collect();
        let order = std::sync::Mutex::new(Vec::new());
        thread::scope(|scope| {
            for number in 0..8 {
                let (semaphore, order) = (&semaphore, &order);
                scope.spawn(move || {
                    let all = semaphore.acquire_many_timeout(permits, NET * 2).unwrap();
                    order.lock().unwrap().push(number);
                    drop(all);
                });
                until_waiting(semaphore, number + 1);
            }
            drop(held);
        });
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
        is_untouched(&semaphore, permits);
    }
}

#[test]
fn handles_are_served_in_the_order_in_which_they_came() {
    let semaphore = Fixture::new(1);
    let handles: Vec<Semaphore> = (0..6).map(|_| semaphore.another_handle()).collect();
    let held = semaphore.acquire().unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (number, handle) in handles.iter().enumerate() {
            let order = &order;
            scope.spawn(move || {
                let permit = handle.acquire_timeout(NET * 2).unwrap();
                order.lock().unwrap().push(number);
                drop(permit);
            });
            until_waiting(&semaphore, number + 1);
        }
        drop(held);
    });
    assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_request_for_many_is_not_passed_by_small_ones() {
    let semaphore = Fixture::new(4);
    let other = semaphore.another_handle();
    let mut held: Vec<Permit<'_>> = (0..4).map(|_| semaphore.acquire().unwrap()).collect();
    let large = Call::start(&semaphore, |semaphore| semaphore.acquire_many(4).map(|permit| permit.permits()));
    until_waiting(&semaphore, 1);
    let small = Call::start(&other, |other| other.acquire().map(drop));
    until_waiting(&semaphore, 2);
    for free in 1..4 {
        held.pop();
        assert_eq!(semaphore.available(), free);
        // Three free permits, and none for who comes now, by whatever path and handle.
        for handle in [&*semaphore, &other] {
            assert_eq!(err(handle.try_acquire()), AcquireError::NoPermits);
            assert_eq!(err(handle.acquire_timeout(Duration::ZERO)), AcquireError::TimedOut);
        }
        assert_eq!(waiting(&semaphore), 2, "nor for the small one that came later");
        assert!(large.still_waits() && small.still_waits());
    }
    held.pop();
    assert_eq!(large.end(), Ok(4));
    assert_eq!(small.end(), Ok(()));
    is_untouched(&semaphore, 4);
}

#[test]
fn one_who_gives_up_lets_those_behind_through() {
    let semaphore = Fixture::new(3);
    let held = semaphore.acquire_many(2).unwrap();
    let large = Call::start(&semaphore, |semaphore| semaphore.acquire_many_timeout(3, SHORT * 4).map(drop));
    until_waiting(&semaphore, 1);
    let small = Call::start(&semaphore, |semaphore| semaphore.acquire().map(drop));
    assert_eq!(large.end(), Err(AcquireError::TimedOut));
    assert_eq!(small.end(), Ok(()), "one was free all the time");
    drop(held);
    is_untouched(&semaphore, 3);
}

#[test]
fn one_release_serves_as_many_as_there_is_enough_for() {
    let semaphore = Fixture::new(5);
    let held = semaphore.acquire_many(5).unwrap();
    let inside = AtomicU64::new(0);
    let open = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..5 {
            scope.spawn(|| {
                let permit = semaphore.acquire_timeout(NET * 2).unwrap();
                inside.fetch_add(1, Ordering::SeqCst);
                until("the others to come in", || open.load(Ordering::SeqCst));
                drop(permit);
            });
            until_waiting(&semaphore, number + 1);
        }
        drop(held);
        until("all five to hold at once", || inside.load(Ordering::SeqCst) == 5);
        open.store(true, Ordering::SeqCst);
    });
    is_untouched(&semaphore, 5);
}

// ---- permits in the hand ----

#[test]
fn a_permit_can_be_kept_and_sent_without_its_scope() {
    struct Guarded {
        _permit: Permit<'static>,
    }
    let semaphore = Fixture::new(2);
    let kept = Guarded { _permit: semaphore.acquire().unwrap().into_static() };
    let sent = semaphore.acquire().unwrap().into_static();
    assert_eq!((sent.permits(), semaphore.available()), (1, 0), "moving it neither takes nor gives");
    let (go, come) = mpsc::channel();
    let thread = thread::spawn(move || {
        let permit: Permit<'static> = come.recv().unwrap();
        drop(permit);
    });
    go.send(sent).unwrap();
    thread.join().unwrap();
    assert_eq!(semaphore.available(), 1);
    drop(kept);
    is_untouched(&semaphore, 2);
}

#[test]
fn a_permit_keeps_its_semaphore_open() {
    let semaphore = Fixture::new(1);
    let other = semaphore.another_handle();
    let permit = other.acquire().unwrap().into_static();
    drop(other);
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.available, stat.participants.len(), stat.holders.len()), (0, 2, 1));
    drop(permit);
    is_untouched(&semaphore, 1);
    assert_eq!(semaphore.stat().unwrap().participants.len(), 1);
}

/// A permit that another thread drops leaves the record of the thread that acquired it as it should be: whoever takes the fast
/// path with it next must neither find it taken nor take it twice.
#[test]
fn permits_dropped_in_another_thread_leave_the_first_ones_path_right() {
    let semaphore = Fixture::new(2);
    let (go, come) = mpsc::channel::<Permit<'_>>();
    thread::scope(|scope| {
        scope.spawn(move || come.into_iter().for_each(drop));
        for round in 0..20_000 {
            let one = semaphore.acquire().unwrap();
            assert!(semaphore.available() <= 1, "round {round}");
            go.send(one).unwrap();
            // At most one other is on its way.
            let two = semaphore.acquire().unwrap();
            drop(two);
        }
        drop(go);
    });
    is_untouched(&semaphore, 2);
}

#[test]
fn a_threads_own_record_is_not_used_while_another_thread_has_the_permit() {
    let semaphore = Fixture::new(3);
    let moved = semaphore.acquire().unwrap().into_static();
    let (go, come) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        come.recv().unwrap();
        drop(moved);
    });
    for _ in 0..100 {
        let here = semaphore.acquire().unwrap();
        assert_eq!(semaphore.available(), 1);
        drop(here);
        assert_eq!(semaphore.available(), 2);
    }
    go.send(()).unwrap();
    thread.join().unwrap();
    is_untouched(&semaphore, 3);
}

#[test]
fn a_permit_outlives_the_thread_that_acquired_it() {
    let semaphore = Fixture::new(10);
    // Their threads end, and others get their numbers.
    let kept: Vec<Permit<'static>> = (0..10)
        .map(|_| {
            let handle = semaphore.semaphore.clone();
            thread::spawn(move || handle.acquire().unwrap().into_static()).join().unwrap()
        })
        .collect();
    assert_eq!(semaphore.stat().unwrap().holders.len(), 10);
    assert_eq!(err(semaphore.try_acquire()), AcquireError::NoPermits);
    for (left, permit) in (1..).zip(kept) {
        drop(permit);
        assert_eq!(semaphore.available(), left);
    }
    is_untouched(&semaphore, 10);
}

#[test]
fn a_leaked_permit_comes_back_with_the_last_clone_of_its_handle() {
    let semaphore = Fixture::new(5);
    let other = semaphore.another_handle();
    let clone = other.clone();
    std::mem::forget(other.acquire_many(2).unwrap());
    std::mem::forget(other.acquire().unwrap());
    drop(other);
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.available, stat.held, stat.holders.len()), (2, 3, 2), "a clone is the same handle");
    let held = clone.acquire().unwrap();
    assert_eq!(semaphore.available(), 1);
    drop(held);
    assert_eq!(clone.stat().unwrap().participants.len(), 2, "clones are one participant");
    drop(clone);
    is_untouched(&semaphore, 5);
    assert_eq!(semaphore.stat().unwrap().recovered, 0, "nobody died");
}

#[test]
fn a_leaked_permit_that_others_wait_for_reaches_them_when_its_handle_goes() {
    let semaphore = Fixture::new(1);
    let other = semaphore.another_handle();
    std::mem::forget(other.acquire().unwrap());
    let waits = Call::start(&semaphore, |semaphore| semaphore.acquire().map(drop));
    until_blocked(&semaphore, 1);
    drop(other);
    assert_eq!(waits.end(), Ok(()));
    is_untouched(&semaphore, 1);
}

/// The thread of a handle that waits may be busy with news at the moment when the handle goes: the handle has left all the same
/// when it has been dropped, not when that thread has time.
#[test]
fn a_dropped_handle_has_left_with_what_was_leaked() {
    let semaphore = Fixture::new(2);
    for _ in 0..20 {
        let other = semaphore.another_handle();
        std::mem::forget(other.acquire_many(2).unwrap());
        let _ = other.acquire_timeout(Duration::from_millis(1));
        // News for the thread that this wait has started: a handle that comes and goes.
        drop(semaphore.another_handle());
        drop(other);
        assert_eq!(semaphore.stat().unwrap().participants.len(), 1);
        is_untouched(&semaphore, 2);
    }
}

#[test]
fn a_forgotten_permit_is_out_of_circulation() {
    let semaphore = Fixture::new(5);
    let two = semaphore.acquire_many(2).unwrap();
    let one = semaphore.acquire().unwrap();
    two.forget().unwrap();
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.permits, stat.available, stat.held), (3, 2, 1));
    assert_eq!(err(semaphore.acquire_many(4)), AcquireError::TooMany { asked: 4, permits: 3 });
    one.forget().unwrap();
    is_untouched(&semaphore, 2);
    semaphore.set_permits(5).unwrap();
    is_untouched(&semaphore, 5);
    // By the fast path, too.
    semaphore.acquire().unwrap().forget().unwrap();
    is_untouched(&semaphore, 4);
}

/// After a `set_permits` below what is held there may be fewer permits than a holder forgets.
#[test]
fn forgetting_more_than_there_are_leaves_none_and_loses_none() {
    let semaphore = Fixture::new(3);
    let held = semaphore.acquire_many(3).unwrap();
    semaphore.set_permits(1).unwrap();
    held.forget().unwrap();
    is_untouched(&semaphore, 0);
    semaphore.set_permits(3).unwrap();
    is_untouched(&semaphore, 3);
    assert_eq!(semaphore.wait_idle_timeout(Duration::ZERO), Ok(()));
    drop(semaphore.acquire_many_timeout(3, SHORT).unwrap());
}

#[test]
fn a_forgotten_permit_may_make_the_semaphore_too_small_for_who_waits() {
    let semaphore = Fixture::new(3);
    let held = semaphore.acquire().unwrap();
    let all = Call::start(&semaphore, |semaphore| semaphore.acquire_many(3).map(drop));
    until_waiting(&semaphore, 1);
    let small = Call::start(&semaphore, |semaphore| semaphore.acquire_many(2).map(drop));
    until_waiting(&semaphore, 2);
    held.forget().unwrap();
    assert_eq!(all.end(), Err(AcquireError::TooMany { asked: 3, permits: 2 }));
    assert_eq!(small.end(), Ok(()));
    is_untouched(&semaphore, 2);
}

#[test]
fn a_permit_is_split_and_merged() {
    let semaphore = Fixture::new(10);
    let mut all = semaphore.acquire_many(8).unwrap();
    let mut three = all.split(3).unwrap();
    assert_eq!((all.permits(), three.permits(), semaphore.available()), (5, 3, 2));
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.held, stat.holders.len()), (8, 2));
    let one = three.split(1).unwrap();
    assert_eq!((three.permits(), one.permits()), (2, 1));
    drop(three);
    assert_eq!(semaphore.available(), 4);
    all.merge(one).unwrap();
    assert_eq!((all.permits(), semaphore.available()), (6, 4));
    assert_eq!(semaphore.stat().unwrap().holders.len(), 1);
    drop(all);
    is_untouched(&semaphore, 10);
}

#[test]
fn a_split_that_takes_all_or_more_changes_nothing() {
    let semaphore = Fixture::new(3);
    let mut held = semaphore.acquire_many(3).unwrap();
    for too_much in [3, 4, PERMITS_MAX, u64::MAX] {
        assert_eq!(held.split(too_much).err(), Some(AccessError::Full));
        assert_eq!((held.permits(), semaphore.available()), (3, 0));
    }
    assert_eq!(semaphore.stat().unwrap().holders.len(), 1);
    let none = held.split(0).unwrap();
    assert_eq!((held.permits(), none.permits()), (3, 0));
    drop(none);
    drop(held);
    is_untouched(&semaphore, 3);
}

#[test]
fn a_part_of_a_static_permit_is_static() {
    let semaphore = Fixture::new(2);
    let mut whole = semaphore.acquire_many(2).unwrap().into_static();
    let part: Permit<'static> = whole.split(1).unwrap();
    thread::spawn(move || drop(part)).join().unwrap();
    assert_eq!(semaphore.available(), 1);
    thread::spawn(move || drop(whole)).join().unwrap();
    is_untouched(&semaphore, 2);
}

#[test]
fn a_merged_permit_keeps_label_and_time_of_the_first() {
    let semaphore = Fixture::new(2);
    let mut first = semaphore.acquire().unwrap();
    first.set_label("first");
    let since = semaphore.stat().unwrap().holders[0].since_unix_nanos;
    until("the clock to go on", || {
        let probe = semaphore.acquire().unwrap();
        let holders = semaphore.stat().unwrap().holders;
        drop(probe);
        holders.iter().any(|holder| holder.since_unix_nanos > since)
    });
    let second = semaphore.acquire().unwrap();
    second.set_label("second");
    first.merge(second).unwrap();
    let holders = semaphore.stat().unwrap().holders;
    assert_eq!(holders.len(), 1);
    assert_eq!((holders[0].permits, &*holders[0].label, holders[0].since_unix_nanos), (2, "first", since));
    drop(first);
    is_untouched(&semaphore, 2);
}

#[test]
fn permits_of_two_handles_are_not_merged() {
    let semaphore = Fixture::new(4);
    let other = semaphore.another_handle();
    let mut one = semaphore.acquire().unwrap();
    let two = other.acquire_many(2).unwrap();
    let merged = catch_unwind(AssertUnwindSafe(|| one.merge(two)));
    let text = *merged.unwrap_err().downcast::<&str>().unwrap();
    assert!(text.contains("one handle"), "{text}");
    assert_eq!((one.permits(), semaphore.available()), (1, 3), "what could not be merged was given back");
    drop(one);
    let mut clone_of = semaphore.acquire().unwrap();
    let clone = semaphore.semaphore.clone();
    clone_of.merge(clone.acquire().unwrap()).unwrap();
    assert_eq!(clone_of.permits(), 2, "clones are one handle");
    drop(clone_of);
    is_untouched(&semaphore, 4);
}

#[test]
fn one_thread_can_hold_a_thousand_permits() {
    let semaphore = Fixture::new(1000);
    let mut all: Vec<Permit<'_>> = (0..1000).map(|_| semaphore.acquire().unwrap()).collect();
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.held, stat.holders.len(), stat.available), (1000, 1000, 0));
    assert_eq!(err(semaphore.try_acquire()), AcquireError::NoPermits);
    let mut rng = Rng::new(7);
    while !all.is_empty() {
        drop(all.swap_remove(rng.index(all.len())));
        assert_eq!(semaphore.available(), 1000 - all.len() as u64);
    }
    is_untouched(&semaphore, 1000);
}

#[test]
fn records_run_out_with_an_error_and_come_back() {
    const RECORDS: u32 = 65_536;
    let semaphore = Fixture::new(u64::from(RECORDS) + 10);
    let mut all: Vec<Permit<'_>> = (0..RECORDS).map(|_| semaphore.acquire().unwrap()).collect();
    let full = AcquireError::Full { max: RECORDS };
    for (name, form) in forms() {
        assert_eq!(err(form(&semaphore, 1)), full, "{name}");
    }
    assert_eq!(err(semaphore.another_handle().acquire()), full);
    assert_eq!(semaphore.wait_timeout(SHORT), Err(full));
    assert_eq!(semaphore.available(), 10, "who was refused took nothing");
    let mut last = all.pop().unwrap();
    let two = all.pop().unwrap();
    drop(two);
    last.merge(semaphore.acquire().unwrap()).unwrap();
    let part = last.split(1).unwrap();
    assert_eq!(last.split(0).err(), Some(AccessError::Full), "a part needs a record, too");
    drop((part, last));
    drop(semaphore.acquire_many(2).unwrap());
    drop(all);
    is_untouched(&semaphore, u64::from(RECORDS) + 10);
}

// ---- what is told ----

fn unix_nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

#[test]
fn holders_and_waiters_are_told_who_they_are() {
    const SLACK: u64 = 50_000_000;
    let dir = scratch();
    let before = unix_nanos() - SLACK;
    let semaphore = options(dir.path()).permits(3).label("by handle").create_new("/s").unwrap();
    let held = semaphore.acquire_many(2).unwrap();
    let command = std::fs::read_to_string("/proc/self/comm").unwrap();
    // The name of the thread that opened it, as the kernel has it.
    let own = std::fs::read_to_string(format!("/proc/self/task/{}/comm", thread_id())).unwrap();
    let many = Call::start(&semaphore, |semaphore| semaphore.acquire_many(3).map(drop));
    until_waiting(&semaphore, 1);
    let signal = Call::start(&semaphore, |semaphore| semaphore.wait());
    until_waiting(&semaphore, 2);
    let stat = semaphore.stat().unwrap();
    let after = unix_nanos() + SLACK;
    assert_eq!((stat.holders.len(), stat.waiters.len()), (1, 2));
    let (holder, first, second) = (&stat.holders[0], &stat.waiters[0], &stat.waiters[1]);
    assert_eq!((holder.permits, &*holder.label, holder.command), (2, "by handle", false));
    assert_eq!((first.permits, first.signal, &*first.label), (3, false, "by handle"));
    assert_eq!((second.permits, second.signal, &*second.label), (1, true, "by handle"));
    for process in [&holder.process, &first.process, &second.process] {
        assert_eq!(process.pid, std::process::id());
        assert_eq!(process.pid_namespace, std::fs::metadata("/proc/self/ns/pid").unwrap().ino());
        assert!([command.trim_end(), own.trim_end()].contains(&&*process.command), "{process:?}");
        assert!((before..after).contains(&process.since_unix_nanos));
        assert_eq!(process, &stat.participants[0]);
    }
    for since in [holder.since_unix_nanos, first.since_unix_nanos, second.since_unix_nanos] {
        assert!((before..after).contains(&since), "{before} {since} {after}");
    }
    assert!(first.since_unix_nanos <= second.since_unix_nanos);
    drop(held);
    assert_eq!((many.end(), signal.end()), (Ok(()), Ok(())));
}

fn thread_id() -> i32 {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

#[test]
fn holders_are_told_the_longest_first() {
    let semaphore = Fixture::new(5);
    // So that the second has a record with a lower number than the first.
    let (low, first) = (semaphore.acquire().unwrap(), semaphore.acquire_many(2).unwrap());
    drop(low);
    let since = semaphore.stat().unwrap().holders[0].since_unix_nanos;
    let second = loop {
        let second = semaphore.acquire().unwrap();
        let holders = semaphore.stat().unwrap().holders;
        if holders.iter().any(|holder| holder.since_unix_nanos > since) {
            break second;
        }
    };
    let holders = semaphore.stat().unwrap().holders;
    let (permits, times): (Vec<u64>, Vec<u64>) =
        holders.iter().map(|holder| (holder.permits, holder.since_unix_nanos)).unzip();
    assert_eq!(permits, [2, 1]);
    assert!(times.is_sorted() && times[0] < times[1], "{times:?}");
    drop((first, second));
}

#[test]
fn waiters_are_told_in_the_order_of_their_turn() {
    let semaphore = Fixture::new(10);
    let held = semaphore.acquire_many(10).unwrap();
    thread::scope(|scope| {
        for (number, permits) in [7, 3, 9, 1, 5].into_iter().enumerate() {
            let semaphore = &semaphore;
            scope.spawn(move || semaphore.acquire_many_timeout(permits, NET * 2).map(drop).unwrap());
            until_waiting(semaphore, number + 1);
        }
        let seen: Vec<u64> = semaphore.stat().unwrap().waiters.iter().map(|waiter| waiter.permits).collect();
        assert_eq!(seen, [7, 3, 9, 1, 5]);
        drop(held);
    });
    is_untouched(&semaphore, 10);
}

#[test]
fn a_label_is_a_permits_own() {
    let dir = scratch();
    let semaphore = options(dir.path()).permits(3).label("of the handle").create_new("/s").unwrap();
    let labels = || semaphore.stat().unwrap().holders.into_iter().map(|holder| holder.label).collect::<Vec<String>>();
    let permit = semaphore.acquire().unwrap();
    assert_eq!(labels(), ["of the handle"]);
    permit.set_label("of the permit");
    assert_eq!(labels(), ["of the permit"]);
    permit.set_label("");
    assert_eq!(labels(), [""]);
    permit.set_label("again");
    drop(permit);
    // The next permit of this thread is written in the same record.
    let next = semaphore.acquire().unwrap();
    assert_eq!(labels(), ["of the handle"]);
    let pooled = semaphore.acquire().unwrap();
    pooled.set_label("pooled");
    drop(pooled);
    let pooled = semaphore.acquire().unwrap();
    assert_eq!(labels(), ["of the handle", "of the handle"]);
    drop((next, pooled));
    let plain = options(dir.path()).open("/s").unwrap();
    let permit = plain.acquire().unwrap();
    assert_eq!(labels(), [""], "another handle, which said nothing");
    drop(permit);
}

#[test]
fn a_label_that_is_too_long_is_cut_at_a_character() {
    let semaphore = Fixture::new(1);
    let permit = semaphore.acquire().unwrap();
    let label = || semaphore.stat().unwrap().holders[0].label.clone();
    for (text, expected) in [
        ("x".repeat(64), "x".repeat(64)),
        ("x".repeat(65), "x".repeat(64)),
        ("x".repeat(100_000), "x".repeat(64)),
        ("ä".repeat(40), "ä".repeat(32)),
        (format!("y{}", "ä".repeat(40)), format!("y{}", "ä".repeat(31))),
        ("€".repeat(30), "€".repeat(21)),
        (format!("{}🦀", "z".repeat(60)), format!("{}🦀", "z".repeat(60))),
        (format!("{}🦀", "z".repeat(61)), "z".repeat(61)),
    ] {
        permit.set_label(&text);
        assert_eq!(label(), expected);
    }
    drop(permit);
}

#[test]
fn a_label_goes_with_a_static_permit() {
    let semaphore = Fixture::new(1);
    let permit = semaphore.acquire().unwrap();
    permit.set_label("before");
    let moved = permit.into_static();
    assert_eq!(semaphore.stat().unwrap().holders[0].label, "before");
    thread::spawn(move || drop(moved)).join().unwrap();
    let next = semaphore.acquire().unwrap();
    assert_eq!(semaphore.stat().unwrap().holders[0].label, "");
    drop(next);
}

// ---- the number of permits ----

#[test]
fn more_permits_wake_those_who_can_be_served() {
    let semaphore = Fixture::new(2);
    let held = semaphore.acquire_many(2).unwrap();
    let one = Call::start(&semaphore, |semaphore| semaphore.acquire().map(drop));
    until_waiting(&semaphore, 1);
    let two = Call::start(&semaphore, |semaphore| semaphore.acquire_many(2).map(drop));
    until_waiting(&semaphore, 2);
    semaphore.set_permits(3).unwrap();
    assert_eq!(one.end(), Ok(()));
    until("the second to wait alone", || waiting(&semaphore) == 1);
    semaphore.another_handle().set_permits(4).unwrap();
    assert_eq!(two.end(), Ok(()));
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.permits, stat.available, stat.held), (4, 2, 2));
    drop(held);
    is_untouched(&semaphore, 4);
}

#[test]
fn fewer_permits_take_nothing_from_holders() {
    let semaphore = Fixture::new(5);
    let (three, one) = (semaphore.acquire_many(3).unwrap(), semaphore.acquire().unwrap());
    for _ in 0..2 {
        semaphore.set_permits(2).unwrap();
        let stat = semaphore.stat().unwrap();
        assert_eq!((stat.permits, stat.available, stat.held, stat.holders.len()), (2, -2, 4, 2), "idempotent, too");
        assert_eq!(semaphore.available(), 0);
    }
    assert_eq!(err(semaphore.try_acquire()), AcquireError::NoPermits);
    drop(one);
    assert_eq!(semaphore.stat().unwrap().available, -1);
    drop(three);
    is_untouched(&semaphore, 2);
    let again = semaphore.acquire_many(2).unwrap();
    assert_eq!(err(semaphore.try_acquire()), AcquireError::NoPermits);
    drop(again);
    is_untouched(&semaphore, 2);
}

#[test]
fn a_waiter_goes_on_only_when_enough_were_released_after_a_shrink() {
    let semaphore = Fixture::new(3);
    let mut held: Vec<Permit<'_>> = (0..3).map(|_| semaphore.acquire().unwrap()).collect();
    semaphore.set_permits(1).unwrap();
    let waits = Call::start(&semaphore, |semaphore| semaphore.acquire().map(drop));
    until_waiting(&semaphore, 1);
    for _ in 0..2 {
        held.pop();
        assert_eq!(waiting(&semaphore), 1);
    }
    assert!(waits.still_waits());
    held.pop();
    assert_eq!(waits.end(), Ok(()));
    is_untouched(&semaphore, 1);
}

#[test]
fn a_shrink_tells_those_who_wait_for_too_many() {
    let semaphore = Fixture::new(4);
    let held = semaphore.acquire_many(4).unwrap();
    let large = Call::start(&semaphore, |semaphore| semaphore.acquire_many(4).map(drop));
    until_waiting(&semaphore, 1);
    let small = Call::start(&semaphore, |semaphore| semaphore.acquire_many(2).map(drop));
    until_waiting(&semaphore, 2);
    semaphore.set_permits(2).unwrap();
    assert_eq!(large.end(), Err(AcquireError::TooMany { asked: 4, permits: 2 }));
    assert!(small.still_waits());
    assert_eq!(waiting(&semaphore), 1);
    drop(held);
    assert_eq!(small.end(), Ok(()));
    is_untouched(&semaphore, 2);
}

/// The one that wants too many stands behind one that has to wait on.
#[test]
fn a_shrink_tells_also_those_who_are_not_first() {
    let semaphore = Fixture::new(4);
    let held = semaphore.acquire_many(4).unwrap();
    let small = Call::start(&semaphore, |semaphore| semaphore.acquire().map(drop));
    until_waiting(&semaphore, 1);
    let large =
        Call::start(&semaphore, |semaphore| semaphore.acquire_many_timeout(4, Duration::from_secs(2)).map(drop));
    until_waiting(&semaphore, 2);
    semaphore.set_permits(2).unwrap();
    assert_eq!(large.end(), Err(AcquireError::TooMany { asked: 4, permits: 2 }));
    assert!(small.still_waits());
    drop(held);
    assert_eq!(small.end(), Ok(()));
    is_untouched(&semaphore, 2);
}

#[test]
fn with_no_permits_all_wait() {
    let semaphore = Fixture::new(3);
    semaphore.set_permits(0).unwrap();
    is_untouched(&semaphore, 0);
    for _ in 0..2 {
        assert_eq!(err(semaphore.try_acquire()), AcquireError::NoPermits);
        assert_eq!(err(semaphore.try_acquire_many(7)), AcquireError::NoPermits, "paused, not too small");
        assert_eq!(err(semaphore.acquire_many_timeout(2, SHORT)), AcquireError::TimedOut);
    }
    let one = Call::start(&semaphore, |semaphore| semaphore.acquire().map(drop));
    until_waiting(&semaphore, 1);
    let five = Call::start(&semaphore, |semaphore| semaphore.acquire_many(5).map(drop));
    until_waiting(&semaphore, 2);
    semaphore.set_permits(0).unwrap();
    assert_eq!(waiting(&semaphore), 2);
    assert!(one.still_waits() && five.still_waits());
    semaphore.set_permits(4).unwrap();
    assert_eq!(one.end(), Ok(()));
    assert_eq!(five.end(), Err(AcquireError::TooMany { asked: 5, permits: 4 }));
    is_untouched(&semaphore, 4);
}

#[test]
fn permits_beyond_the_most_are_refused() {
    let semaphore = Fixture::new(1);
    for permits in [PERMITS_MAX + 1, 1 << 60, u64::MAX] {
        assert_eq!(semaphore.set_permits(permits), Err(AccessError::Full));
    }
    is_untouched(&semaphore, 1);
    for permits in [PERMITS_MAX, 0, PERMITS_MAX, 1] {
        semaphore.set_permits(permits).unwrap();
        is_untouched(&semaphore, permits);
    }
}

// ---- the end ----

#[test]
fn a_closed_semaphore_refuses_every_form_for_good() {
    let semaphore = Fixture::new(3);
    let other = semaphore.another_handle();
    // A record of its own for this thread, through either handle.
    drop((semaphore.acquire().unwrap(), other.acquire().unwrap()));
    let mut held = semaphore.acquire_many(2).unwrap();
    semaphore.close().unwrap();
    semaphore.close().unwrap();
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.closed, stat.unlinked, stat.held), (true, false, 2));
    for handle in [&*semaphore, &other] {
        for (name, form) in forms() {
            assert_eq!(err(form(handle, 1)), AcquireError::Closed, "{name}");
        }
        assert_eq!(err(handle.acquire_many(0)), AcquireError::Closed);
        assert_eq!(err(handle.acquire_many(9)), AcquireError::Closed);
        assert_eq!(handle.wait(), Err(AcquireError::Closed));
        assert_eq!(handle.try_wait(), Err(AcquireError::Closed));
    }
    // What is held can be handled, and given back.
    let part = held.split(1).unwrap();
    drop(part);
    assert_eq!(semaphore.available(), 2);
    drop(held);
    is_untouched(&semaphore, 3);
    semaphore.set_permits(9).unwrap();
    semaphore.post().unwrap();
    assert_eq!(err(semaphore.try_acquire()), AcquireError::Closed, "more permits open nothing");
    assert_eq!(err(options(semaphore.dir.path()).open("/s").unwrap().acquire()), AcquireError::Closed);
    semaphore.unlink();
    assert_eq!(err(semaphore.try_acquire()), AcquireError::Unlinked);
    assert_eq!(semaphore.close(), Ok(()));
    assert_eq!(err(semaphore.try_acquire()), AcquireError::Unlinked, "which is more than closed");
}

#[test]
fn both_ends_wake_all_who_wait() {
    for (end, expected) in [("close", AcquireError::Closed), ("unlink", AcquireError::Unlinked)] {
        let semaphore = Fixture::new(4);
        let other = semaphore.another_handle();
        let held = semaphore.acquire_many(4).unwrap();
        let calls: Vec<_> = [1, 4, 2, 1]
            .into_iter()
            .zip([&*semaphore, &other, &*semaphore, &other])
            .map(|(permits, handle)| Call::start(handle, move |handle| handle.acquire_many(permits).map(drop)))
            .collect();
        let timed = Call::start(&other, |other| other.acquire_timeout(NET * 2).map(drop));
        let signal = Call::start(&other, |other| other.wait());
        until_blocked(&semaphore, 6);
        if end == "close" {
            semaphore.close().unwrap()
        } else {
            semaphore.unlink()
        }
        calls.into_iter().for_each(|call| assert_eq!(call.end(), Err(expected)));
        assert_eq!((timed.end(), signal.end()), (Err(expected), Err(expected)));
        assert_eq!(waiting(&semaphore), 0);
        drop(held);
        is_untouched(&semaphore, 4);
    }
}

/// Who waits at the end is not served after it, also if what it waits for is released before it has woken.
#[test]
fn nobody_is_granted_a_permit_after_the_end() {
    for end in ["close", "unlink"] {
        for _ in 0..50 {
            let semaphore = Fixture::new(1);
            let held = semaphore.acquire().unwrap();
            let waits = Call::start(&semaphore, |semaphore| semaphore.acquire().map(drop));
            until_waiting(&semaphore, 1);
            if end == "close" {
                semaphore.close().unwrap()
            } else {
                semaphore.unlink()
            }
            drop(held);
            let error = waits.end().expect_err("the semaphore had ended before the permit was released");
            assert!(matches!(error, AcquireError::Closed | AcquireError::Unlinked), "{error}");
        }
    }
}

// ---- idle ----

#[test]
fn wait_idle_waits_for_the_last_permit() {
    let semaphore = Fixture::new(5);
    semaphore.wait_idle().unwrap();
    semaphore.wait_idle_timeout(Duration::ZERO).unwrap();
    semaphore.wait_idle_deadline(Instant::now()).unwrap();
    let (one, two) = (semaphore.acquire().unwrap(), semaphore.acquire_many(2).unwrap());
    let start = Instant::now();
    assert_eq!(semaphore.wait_idle_timeout(SHORT), Err(AcquireError::TimedOut));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(semaphore.wait_idle_deadline(Instant::now() + SHORT), Err(AcquireError::TimedOut));
    let calls: Vec<_> = (0..3).map(|_| Call::start(&semaphore, |semaphore| semaphore.wait_idle())).collect();
    until_blocked(&semaphore, 5);
    drop(semaphore.acquire().expect("it keeps nobody from acquiring"));
    drop(semaphore.try_acquire().expect("also without waiting"));
    drop(one);
    assert!(calls.iter().all(Call::still_waits));
    drop(two);
    calls.into_iter().for_each(|call| assert_eq!(call.end(), Ok(())));
    is_untouched(&semaphore, 5);
}

#[test]
fn wait_idle_works_after_the_end() {
    for end in ["close", "unlink"] {
        let semaphore = Fixture::new(2);
        let held = semaphore.acquire().unwrap();
        let before = Call::start(&semaphore, |semaphore| semaphore.wait_idle());
        until_blocked(&semaphore, 1);
        if end == "close" {
            semaphore.close().unwrap()
        } else {
            semaphore.unlink()
        }
        assert_eq!(semaphore.wait_idle_timeout(SHORT), Err(AcquireError::TimedOut), "{end}");
        let after = Call::start(&semaphore, |semaphore| semaphore.wait_idle());
        until_blocked(&semaphore, 3);
        assert!(before.still_waits() && after.still_waits(), "{end}");
        drop(held);
        assert_eq!((before.end(), after.end()), (Ok(()), Ok(())), "{end}");
        semaphore.wait_idle().unwrap();
        assert_eq!(semaphore.available(), 2);
    }
}

#[test]
fn a_paused_semaphore_is_drained() {
    let semaphore = Fixture::new(3);
    let held: Vec<Permit<'_>> = (0..3).map(|_| semaphore.acquire().unwrap()).collect();
    semaphore.set_permits(0).unwrap();
    let next = Call::start(&semaphore, |semaphore| semaphore.acquire().map(drop));
    until_waiting(&semaphore, 1);
    let idle = Call::start(&semaphore, |semaphore| semaphore.wait_idle());
    until_blocked(&semaphore, 2);
    held.into_iter().for_each(drop);
    assert_eq!(idle.end(), Ok(()));
    assert!(next.still_waits());
    semaphore.set_permits(1).unwrap();
    assert_eq!(next.end(), Ok(()));
    is_untouched(&semaphore, 1);
}

#[test]
fn forgetting_the_last_permit_makes_it_idle() {
    let semaphore = Fixture::new(2);
    let held = semaphore.acquire().unwrap();
    let idle = Call::start(&semaphore, |semaphore| semaphore.wait_idle());
    until_blocked(&semaphore, 1);
    held.forget().unwrap();
    assert_eq!(idle.end(), Ok(()));
    is_untouched(&semaphore, 1);
}

// ---- signals ----

#[test]
fn a_signal_is_taken_once() {
    let semaphore = Fixture::new(0);
    assert_eq!(semaphore.try_wait(), Err(AcquireError::NoPermits));
    let start = Instant::now();
    assert_eq!(semaphore.wait_timeout(SHORT), Err(AcquireError::TimedOut));
    assert!(start.elapsed() >= SHORT);
    assert_eq!(semaphore.wait_deadline(Instant::now() + SHORT), Err(AcquireError::TimedOut));
    semaphore.post().unwrap();
    semaphore.post_many(4).unwrap();
    semaphore.post_many(0).unwrap();
    is_untouched(&semaphore, 5);
    semaphore.wait().unwrap();
    semaphore.try_wait().unwrap();
    semaphore.wait_timeout(Duration::ZERO).unwrap();
    semaphore.wait_deadline(Instant::now() - SHORT).unwrap();
    is_untouched(&semaphore, 1);
    semaphore.wait().unwrap();
    is_untouched(&semaphore, 0);
    assert_eq!(semaphore.try_wait(), Err(AcquireError::NoPermits));
}

#[test]
fn signals_wake_as_many_as_there_are() {
    let semaphore = Fixture::new(0);
    let taken = AtomicU64::new(0);
    thread::scope(|scope| {
        for number in 0..5 {
            let (semaphore, taken) = (&semaphore, &taken);
            scope.spawn(move || {
                semaphore.wait_timeout(NET * 2).unwrap();
                taken.fetch_add(1, Ordering::SeqCst);
            });
            until_waiting(semaphore, number + 1);
        }
        assert!(semaphore.stat().unwrap().waiters.iter().all(|waiter| waiter.signal && waiter.permits == 1));
        semaphore.post().unwrap();
        until("one to go on", || taken.load(Ordering::SeqCst) == 1);
        assert_eq!(waiting(&semaphore), 4);
        semaphore.post_many(3).unwrap();
        until("three to go on", || taken.load(Ordering::SeqCst) == 4);
        assert_eq!(waiting(&semaphore), 1);
        semaphore.post().unwrap();
    });
    is_untouched(&semaphore, 0);
}

#[test]
fn signals_beyond_the_most_are_refused() {
    let semaphore = Fixture::new(PERMITS_MAX - 1);
    assert_eq!(semaphore.post_many(2), Err(AccessError::Full));
    assert_eq!(semaphore.post_many(u64::MAX), Err(AccessError::Full));
    is_untouched(&semaphore, PERMITS_MAX - 1);
    semaphore.post().unwrap();
    assert_eq!(semaphore.post(), Err(AccessError::Full));
    semaphore.wait().unwrap();
    is_untouched(&semaphore, PERMITS_MAX - 1);
}

#[test]
fn one_who_waits_for_a_signal_is_never_told_of_too_many() {
    let semaphore = Fixture::new(1);
    let held = semaphore.acquire().unwrap();
    let signal = Call::start(&semaphore, |semaphore| semaphore.wait());
    until_waiting(&semaphore, 1);
    semaphore.set_permits(0).unwrap();
    assert_eq!(waiting(&semaphore), 1);
    // It waits for the permit that is held now, or for a post: 0 + 1 permits, 1 of them held.
    semaphore.post().unwrap();
    assert!(signal.still_waits());
    drop(held);
    assert_eq!(signal.end(), Ok(()));
    is_untouched(&semaphore, 0);
}

#[test]
fn signals_and_permits_keep_the_order_between_them() {
    let semaphore = Fixture::new(1);
    let held = semaphore.acquire().unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    let note = |what| order.lock().unwrap().push(what);
    thread::scope(|scope| {
        scope.spawn(|| {
            let permit = semaphore.acquire_timeout(NET * 2).unwrap();
            note("permit");
            drop(permit);
        });
        until_waiting(&semaphore, 1);
        scope.spawn(|| {
            semaphore.wait_timeout(NET * 2).unwrap();
            note("signal");
        });
        until_waiting(&semaphore, 2);
        scope.spawn(|| {
            let permit = semaphore.acquire_timeout(NET * 2).unwrap();
            note("another permit");
            drop(permit);
        });
        until_waiting(&semaphore, 3);
        drop(held);
        until("the signal to be taken", || semaphore.permits() == 0);
        assert_eq!(waiting(&semaphore), 1);
        semaphore.post().unwrap();
    });
    assert_eq!(order.into_inner().unwrap(), ["permit", "signal", "another permit"]);
    is_untouched(&semaphore, 1);
}

#[test]
fn two_sides_signal_each_other_and_none_is_lost() {
    const ROUNDS: u64 = 3000;
    let (ping, pong) = (Fixture::new(0), Fixture::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                ping.wait().unwrap();
                pong.post().unwrap();
            }
        });
        for round in 0..ROUNDS {
            ping.post().unwrap();
            pong.wait_timeout(NET).unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    });
    is_untouched(&ping, 0);
    is_untouched(&pong, 0);
}

// ---- many threads ----

/// What a semaphore of one permit protects: not atomic in the sense that counts here, since a load and a store are two steps.
#[derive(Default)]
struct Protected(AtomicU64);

impl Protected {
    fn increment(&self) {
        let before = self.0.load(Ordering::Relaxed);
        if before.is_multiple_of(64) {
            thread::yield_now();
        }
        self.0.store(before + 1, Ordering::Relaxed);
    }
}

/// More threads than have numbers, so that some have no record of their own.
const THREADS: usize = 48;

#[test]
fn one_permit_excludes_exactly() {
    const ROUNDS: usize = 300;
    let semaphore = Fixture::new(1);
    let other = semaphore.another_handle();
    let protected = Protected::default();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let handle = if number % 3 == 0 { &other } else { &*semaphore };
            let protected = &protected;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let permit = match (round + number) % 4 {
                        0 => handle.acquire(),
                        1 => handle.acquire_timeout(NET * 4),
                        2 => handle.acquire_deadline(Instant::now() + NET * 4),
                        _ => loop {
                            match handle.try_acquire() {
                                Err(AcquireError::NoPermits) => thread::yield_now(),
                                result => break result,
                            }
                        },
                    };
                    let permit = permit.unwrap();
                    protected.increment();
                    drop(permit);
                }
            });
        }
    });
    assert_eq!(protected.0.into_inner(), (THREADS * ROUNDS) as u64);
    is_untouched(&semaphore, 1);
}

#[test]
fn never_more_are_inside_than_there_are_permits() {
    const PERMITS: u64 = 7;
    let semaphore = Fixture::new(PERMITS);
    let other = semaphore.another_handle();
    let inside = AtomicU64::new(0);
    let seed = seed("CHAPPE_SEMAPHORE_SEED");
    thread::scope(|scope| {
        for number in 0..THREADS {
            let handle = if number % 2 == 0 { &other } else { &*semaphore };
            let inside = &inside;
            let mut rng = Rng::new(seed ^ (number as u64) << 32);
            scope.spawn(move || {
                for _ in 0..300 {
                    let wanted = 1 + rng.below(PERMITS);
                    let acquired = match rng.below(4) {
                        0 => handle.try_acquire_many(wanted),
                        1 => handle.acquire_many_timeout(wanted, Duration::from_micros(rng.below(300))),
                        _ => handle.acquire_many(wanted),
                    };
                    let mut permit = match acquired {
                        Ok(permit) => permit,
                        Err(AcquireError::NoPermits | AcquireError::TimedOut) => continue,
                        Err(error) => panic!("{error}"),
                    };
                    let now = inside.fetch_add(wanted, Ordering::SeqCst) + wanted;
                    assert!(now <= PERMITS, "{now} of {PERMITS} permits are held");
                    if wanted > 1 && rng.one_in(4) {
                        let part = permit.split(1).unwrap();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(part);
                    }
                    inside.fetch_sub(permit.permits(), Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
    });
    assert_eq!(inside.into_inner(), 0);
    is_untouched(&semaphore, PERMITS);
}

/// Everything at once: the number of permits goes up and down, handles and labels come and go, somebody looks and somebody waits
/// until it is idle. At the end nothing may be missing and nothing too much.
#[test]
fn administration_amid_traffic_loses_no_permit() {
    let semaphore = Fixture::new(4);
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let seed = seed("CHAPPE_SEMAPHORE_SEED");
    thread::scope(|scope| {
        let users: Vec<_> = (0..8_u64)
            .map(|number| {
                let (semaphore, stop, calls) = (&semaphore, &stop, &calls);
                let mut rng = Rng::new(seed ^ number << 40);
                scope.spawn(move || {
                    let mut handle = semaphore.another_handle();
                    while !stop.load(Ordering::Relaxed) {
                        calls.fetch_add(1, Ordering::Relaxed);
                        if rng.one_in(50) {
                            handle = semaphore.another_handle();
                        }
                        let timeout = Duration::from_micros(rng.below(500));
                        match handle.acquire_many_timeout(1 + rng.below(3), timeout) {
                            Ok(permit) if rng.one_in(5) => permit.set_label("for a moment"),
                            Ok(permit) if rng.one_in(40) => std::mem::forget(permit),
                            Ok(_) | Err(AcquireError::TimedOut | AcquireError::TooMany { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        let mut rng = Rng::new(seed);
        let mut rounds = 0;
        while rounds < 400 || calls.load(Ordering::Relaxed) < 1000 {
            rounds += 1;
            match rng.below(4) {
                0 => semaphore.set_permits(rng.below(6)).unwrap(),
                1 => semaphore.post().unwrap(),
                2 => _ = semaphore.wait_idle_timeout(Duration::from_micros(rng.below(1000))),
                _ => {
                    let stat = semaphore.stat().unwrap();
                    assert!(stat.available <= stat.permits as i64, "{stat:?}");
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        for user in users {
            user.join().unwrap();
        }
    });
    until("the handles to have gone", || semaphore.stat().unwrap().participants.len() == 1);
    semaphore.set_permits(3).unwrap();
    is_untouched(&semaphore, 3);
    assert!(calls.into_inner() >= 1000, "there was hardly any traffic");
}

// ---- deadlocks ----

#[test]
fn a_wait_for_oneself_is_a_deadlock() {
    let dir = scratch();
    let handle = options(dir.path()).permits(2).fail_on_deadlock(true).create_new("/s").unwrap();
    let unnamed = Semaphore::options().permits(2).fail_on_deadlock(true).unnamed().unwrap();
    for semaphore in [&handle, &unnamed] {
        let held = semaphore.acquire().unwrap();
        drop(semaphore.acquire().expect("one is free: no wait, no deadlock"));
        assert_eq!(err(semaphore.acquire_many(2)), AcquireError::Deadlock);
        assert_eq!(err(semaphore.acquire_many_timeout(2, NET)), AcquireError::Deadlock);
        assert_eq!(err(semaphore.acquire_many_deadline(2, Instant::now() + NET)), AcquireError::Deadlock);
        assert_eq!(err(semaphore.try_acquire_many(2)), AcquireError::NoPermits, "which waits for nothing");
        assert_eq!(waiting(semaphore), 0);
        drop(held);
        is_untouched(semaphore, 2);
    }
    let text = AcquireError::Deadlock.to_string();
    assert!(text.contains("deadlock"), "{text}");
}

#[test]
fn without_being_asked_a_deadlock_is_waited_out() {
    let semaphore = Fixture::new(1);
    let held = semaphore.acquire().unwrap();
    assert_eq!(err(semaphore.acquire_timeout(SHORT)), AcquireError::TimedOut);
    drop(held);
}

#[test]
fn deadlocks_are_told_while_they_last() {
    let dir = scratch();
    assert!(chappe::deadlocks(dir.path()).unwrap().is_empty());
    assert!(chappe::deadlocks(&dir.path().join("missing")).is_err());
    let one = options(dir.path()).permits(3).create_new("/one").unwrap();
    let two = options(dir.path()).create_new("/two").unwrap();
    let paused = options(dir.path()).permits(0).create_new("/paused").unwrap();
    let held = (one.acquire_many(2).unwrap(), two.acquire().unwrap());
    let first = Call::start(&one, |one| one.acquire_many(2).map(drop));
    let second = Call::start(&two, |two| two.acquire().map(drop));
    until_waiting(&one, 1);
    until_waiting(&two, 1);
    let mut stuck = chappe::deadlocks(dir.path()).unwrap();
    stuck.sort_by_key(|stuck| stuck.permits);
    let seen: Vec<_> =
        stuck.iter().map(|stuck| (stuck.waits_at.as_ref().unwrap().to_string(), stuck.permits)).collect();
    assert_eq!(seen, [("/two".to_owned(), 1), ("/one".to_owned(), 2)]);
    assert!(stuck.iter().all(|stuck| stuck.process.pid == std::process::id()));
    // A wait that somebody outside can end: the process may go on.
    let third = Call::start(&paused, |paused| paused.acquire().map(drop));
    until_waiting(&paused, 1);
    assert!(chappe::deadlocks(dir.path()).unwrap().is_empty());
    paused.set_permits(1).unwrap();
    assert_eq!(third.end(), Ok(()));
    assert_eq!(chappe::deadlocks(dir.path()).unwrap().len(), 2);
    drop(held);
    assert_eq!((first.end(), second.end()), (Ok(()), Ok(())));
    assert!(chappe::deadlocks(dir.path()).unwrap().is_empty());
}

#[test]
fn a_pause_and_a_signal_are_no_deadlock() {
    let dir = scratch();
    let semaphore = options(dir.path()).permits(0).fail_on_deadlock(true).create_new("/s").unwrap();
    assert_eq!(err(semaphore.acquire_timeout(SHORT)), AcquireError::TimedOut);
    assert_eq!(semaphore.wait_timeout(SHORT), Err(AcquireError::TimedOut));
}

#[test]
fn a_ring_of_two_processes_is_a_deadlock() {
    let dir = scratch();
    let [one, two] = ["/one", "/two"].map(|name| options(dir.path()).fail_on_deadlock(true).create_new(name).unwrap());
    let mut worker = Worker::start("ring", &[dir.path().to_str().unwrap()]);
    worker.expect("holds two");
    let held = one.acquire().unwrap();
    assert_eq!(err(two.acquire_timeout(SHORT)), AcquireError::TimedOut, "the other one does not wait");
    worker.tell("wait for one");
    until_waiting(&one, 1);
    assert!(chappe::deadlocks(dir.path()).unwrap().is_empty());
    assert_eq!(err(two.acquire()), AcquireError::Deadlock);
    drop(held);
    worker.expect("has both");
    drop(two.acquire().unwrap());
    worker.finish();
}

/// Holds /two, then waits for /one.
fn part_ring(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    let [one, two] = ["/one", "/two"].map(|name| options(dir).open(name).unwrap());
    let second = two.acquire().unwrap();
    say("holds two");
    common::hear();
    let first = one.acquire().unwrap();
    say("has both");
    drop((first, second));
}

// ---- types ----

#[test]
fn handles_and_permits_go_between_threads() {
    fn sent<T: Send>() {}
    fn shared<T: Sync>() {}
    sent::<Semaphore>();
    shared::<Semaphore>();
    sent::<Permit<'static>>();
    shared::<Permit<'static>>();
    sent::<chappe::Acquire<'static>>();
}
