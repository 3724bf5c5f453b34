//! What others may do to a semaphore's file: files that are no semaphore, and wild words in one that is open. As `hostile.rs` does
//! for queues.
//!
//! Words are written in three ways: one at a time, each with the values at its ends; between two calls of a process that damages
//! its own semaphore (each round follows from the seed and its number); and by this process while two threads of another one use
//! it (the choices follow from the seed, the timing does not). A process that is killed by a signal, panics or hangs is a fault;
//! the report has what it takes to see it again. `CHAPPE_HOSTILE_SEED` repeats the choices, `CHAPPE_HOSTILE_MILLIS` sets the time
//! for each area, `CHAPPE_HOSTILE_AREA` picks one area, and `CHAPPE_HOSTILE_ROUND` the one round to repeat.

mod common;

use chappe::{AccessError, AcquireError, Kind, OpenError, Permit, Queue, Semaphore, SemaphoreOptions};
use common::{NET, Rng, Worker, hear, number, payload, say, scratch, seed};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

#[test]
fn role() {
    common::play(&[
        ("between calls", part_between_calls),
        ("meanwhile", part_meanwhile),
        ("aftermath", part_aftermath),
        ("ends", part_ends),
        ("sums", part_sums),
        ("lock", part_lock),
    ]);
}

fn options(dir: &Path) -> SemaphoreOptions {
    let mut options = Semaphore::options();
    options.dir(dir);
    options
}

fn semaphore_file(dir: &Path) -> PathBuf {
    dir.join("chappe.sem.s")
}

// ---- files that are no semaphore ----

/// What is expected of an attempt to open.
type Expected = fn(&OpenError) -> bool;

fn not_an_object(error: &OpenError) -> bool {
    matches!(error, OpenError::NotAnObject { kind: Kind::Semaphore, .. })
}

fn other_version(error: &OpenError) -> bool {
    matches!(error, OpenError::Version { .. })
}

/// All that can be seen of a file without following it; of its content, the beginning.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    inode: u64,
    mode: u32,
    size: u64,
    blocks: u64,
    modified: (i64, i64),
    content: Option<Vec<u8>>,
}

impl Facts {
    fn of(path: &Path) -> Facts {
        let seen = fs::symlink_metadata(path).unwrap();
        let start = || {
            let mut bytes = vec![0; 1 << 16];
            let length = File::open(path).unwrap().read_at(&mut bytes, 0).unwrap();
            bytes.truncate(length);
            bytes
        };
        Facts {
            inode: seen.ino(),
            mode: seen.mode(),
            size: seen.len(),
            blocks: seen.blocks(),
            modified: (seen.mtime(), seen.mtime_nsec()),
            content: seen.is_file().then(start),
        }
    }
}

/// Does it in a thread of its own, so that one that never ends is a failure with a name.
#[track_caller]
fn bounded<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, end) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    end.recv_timeout(NET).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// The beginning of the file of a semaphore that was used, and the length of all of it. What is left out is zero.
fn real_file() -> (Vec<u8>, u64) {
    let dir = scratch();
    let semaphore = options(dir.path()).permits(3).create_new("/s").unwrap();
    drop(semaphore.acquire().unwrap());
    drop(semaphore);
    let path = semaphore_file(dir.path());
    let mut bytes = vec![0; 1 << 19];
    File::open(&path).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    (bytes, fs::metadata(path).unwrap().len())
}

fn write_file(path: &Path, bytes: &[u8], length: u64) {
    fs::write(path, bytes).unwrap();
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// Every way of opening refuses what `make` puts under the semaphore's name, and leaves it alone; `list` shows it.
fn is_refused(what: &str, expected: Expected, make: impl FnOnce(&Path)) {
    let dir = scratch();
    let path = semaphore_file(dir.path());
    make(&path);
    let before = Facts::of(&path);
    let others = fs::read_dir(dir.path()).unwrap().count();
    let own = dir.path().to_owned();
    let errors = bounded(what, move || {
        let options = options(&own);
        [options.open("/s"), options.create("/s"), options.create_new("/s")].map(|result| result.err())
    });
    let [opened, created, created_new] = errors.map(|error| error.unwrap_or_else(|| panic!("{what}: was opened")));
    assert!(expected(&opened), "{what}: open said {opened:?}");
    assert!(expected(&created), "{what}: create said {created:?}");
    assert!(matches!(created_new, OpenError::Exists { .. }), "{what}: create_new said {created_new:?}");
    let own = dir.path().to_owned();
    let (listed, stuck) = bounded(what, move || (chappe::list(&own).unwrap(), chappe::deadlocks(&own).unwrap()));
    assert_eq!((listed.len(), stuck.len()), (1, 0), "{what}: {listed:?}");
    assert_eq!((&listed[0].path, listed[0].kind), (&path, Kind::Semaphore), "{what}");
    assert!(listed[0].defect.as_ref().is_some_and(|defect| !defect.is_empty()), "{what}: {listed:?}");
    assert_eq!(Facts::of(&path), before, "{what}: it was touched");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), others, "{what}: something was left behind");
    goes_when_unlinked(what, dir.path());
}

/// Unlink removes the file, whatever it is, and makes room for a semaphore; a directory stays.
fn goes_when_unlinked(what: &str, dir: &Path) {
    let path = semaphore_file(dir);
    let is_dir = fs::symlink_metadata(&path).unwrap().is_dir();
    let own = dir.to_owned();
    let unlinked = bounded(what, move || options(&own).unlink("/s"));
    if is_dir {
        assert!(matches!(unlinked, Err(OpenError::System { .. })), "{what}: unlink said {unlinked:?}");
        assert!(path.is_dir(), "{what}");
        return;
    }
    unlinked.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(fs::symlink_metadata(&path).is_err(), "{what}: it is still there");
    let missing = options(dir).unlink("/s");
    assert!(matches!(missing, Err(OpenError::NotFound { .. })), "{what}: {missing:?}");
    a_new_semaphore_works(dir);
}

/// Creates it, takes and gives all its permits, and waits in vain once.
fn a_new_semaphore_works(dir: &Path) {
    let semaphore = options(dir).permits(2).create_new("/s").unwrap();
    for _ in 0..2 {
        let all = semaphore.try_acquire_many(2).unwrap();
        assert_eq!(semaphore.acquire_timeout(Duration::ZERO).err(), Some(AcquireError::TimedOut));
        drop(all);
        let stat = semaphore.stat().unwrap();
        assert_eq!((stat.permits, stat.available, stat.held, stat.waiters.len()), (2, 2, 0, 0));
    }
}

#[test]
fn truncated_and_extended_files_are_refused() {
    let (real, size) = real_file();
    let ends = [size / 2, size - 4096, size - 1, size + 1, size + 4096, 2 * size];
    let areas = [4095, 4096, 4097, 8192, 266_176, 266_240, 266_241, 270_336];
    for length in [0, 1, 7, 8, 63, 64, 319, 320, 321].into_iter().chain(areas).chain(ends) {
        is_refused(&format!("{length} of {size} bytes"), not_an_object, |path| write_file(path, &real, length));
    }
}

#[test]
fn random_bytes_are_refused() {
    let seed = seed("CHAPPE_HOSTILE_SEED");
    let (real, size) = real_file();
    for length in [1, 8, 64, 319, 320, 4096, 5000] {
        is_refused(&format!("{length} random bytes, seed {seed}"), not_an_object, |path| {
            fs::write(path, payload(seed, length)).unwrap();
        });
    }
    // The first bytes are right, so that more is looked at.
    for right in [8, 12, 16, 20, 32, 40] {
        let mut bytes = payload(seed ^ right as u64, 4096);
        bytes[..right].copy_from_slice(&real[..right]);
        for length in [4096, size] {
            let expected = |error: &OpenError| not_an_object(error) || other_version(error);
            is_refused(&format!("{right} right bytes of {length}, seed {seed}"), expected, |path| {
                write_file(path, &bytes, length);
            });
        }
    }
}

#[test]
fn headers_that_say_something_else_are_refused() {
    let (real, size) = real_file();
    let word = |value: u64| value.to_ne_bytes().to_vec();
    let half = |value: u32| value.to_ne_bytes().to_vec();
    let mut cases: Vec<(&str, usize, Vec<u8>, Expected)> = vec![
        ("magic", 0, b"chappe\n\n".to_vec(), not_an_object),
        ("magic", 0, word(0), not_an_object),
        ("a longer name", 60, half(2), not_an_object),
        ("name with a slash", 60, [half(3), b"a/s".to_vec()].concat(), not_an_object),
        ("name of dots", 60, [half(2), b"..".to_vec()].concat(), not_an_object),
        ("no name", 60, half(0), not_an_object),
    ];
    cases.extend([0, 2, 256, u32::MAX].map(|version| ("version", 8, half(version), other_version as Expected)));
    cases.extend([0, 1, 3, 256, u32::MAX].map(|kind| ("kind", 12, half(kind), not_an_object as Expected)));
    let records = [0, 1, 65_535, 65_537, 1 << 20, u32::MAX];
    cases.extend(records.map(|records| ("records", 16, half(records), not_an_object as Expected)));
    cases.extend([1, u32::MAX].map(|second| ("second number", 20, half(second), not_an_object as Expected)));
    cases.extend([1, u64::MAX].map(|third| ("third number", 24, word(third), not_an_object as Expected)));
    let lengths = [0, 1, 320, size - 1, size + 1, size << 32, 1 << 63, u64::MAX];
    cases.extend(lengths.map(|length| ("file size", 32, word(length), not_an_object as Expected)));
    cases.extend([1, u64::MAX].map(|type_| ("fingerprint", 40, word(type_), not_an_object as Expected)));
    let names = [255, 256, 257, 4096, 1 << 31, u32::MAX];
    cases.extend(names.map(|length| ("length of the name", 60, half(length), not_an_object as Expected)));
    for (what, at, bytes, expected) in cases {
        let mut file = real.clone();
        file[at..at + bytes.len()].copy_from_slice(&bytes);
        is_refused(&format!("{what} {bytes:x?}"), expected, |path| write_file(path, &file, size));
    }
}

#[test]
fn what_is_no_regular_file_is_refused() {
    is_refused("a directory", not_an_object, |path| fs::create_dir(path).unwrap());
    is_refused("a directory without permissions", not_an_object, |path| {
        fs::DirBuilder::new().mode(0o0).create(path).unwrap();
    });
    is_refused("a FIFO", not_an_object, |path| {
        let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the path is a C string that lives through the call.
        let made = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
        assert_eq!(made, 0, "{}", io::Error::last_os_error());
    });
    is_refused("a socket", not_an_object, |path| drop(UnixListener::bind(path).unwrap()));
    is_refused("a symbolic link that leads nowhere", not_an_object, |path| symlink("nowhere", path).unwrap());
    is_refused("a symbolic link to itself", not_an_object, |path| symlink("chappe.sem.s", path).unwrap());
    is_refused("a symbolic link to a device", not_an_object, |path| symlink("/dev/zero", path).unwrap());
}

#[test]
fn a_symbolic_link_to_a_semaphore_is_not_followed() {
    let elsewhere = scratch();
    let real = options(elsewhere.path()).create_new("/s").unwrap();
    let held = real.acquire().unwrap();
    is_refused("a symbolic link to a semaphore", not_an_object, |path| {
        symlink(semaphore_file(elsewhere.path()), path).unwrap();
    });
    let stat = real.stat().unwrap();
    assert_eq!((stat.participants.len(), stat.unlinked, stat.held), (1, false, 1));
    drop(held);
}

#[test]
fn a_file_of_another_kind_or_name_is_refused() {
    is_refused("a queue's file", not_an_object, |path| {
        let elsewhere = scratch();
        Queue::options().dir(elsewhere.path()).capacity(8).create_new("/s").unwrap();
        fs::copy(elsewhere.path().join("chappe.mq.s"), path).unwrap();
    });
    let dir = scratch();
    let semaphore = options(dir.path()).create_new("/s").unwrap();
    drop(semaphore);
    fs::rename(semaphore_file(dir.path()), dir.path().join("chappe.mq.s")).unwrap();
    let error = Queue::options().dir(dir.path()).open("/s").unwrap_err();
    assert!(matches!(error, OpenError::NotAnObject { kind: Kind::Queue, .. }), "{error:?}");
    Queue::options().dir(dir.path()).unlink("/s").unwrap();
    drop(options(dir.path()).create_new("/other").unwrap());
    fs::rename(dir.path().join("chappe.sem.other"), semaphore_file(dir.path())).unwrap();
    let error = options(dir.path()).open("/s").unwrap_err();
    assert!(not_an_object(&error), "{error}");
    let listed = chappe::list(dir.path()).unwrap();
    assert!(listed.len() == 1 && listed[0].defect.is_some(), "neither name can be opened: {listed:?}");
    goes_when_unlinked("a renamed semaphore", dir.path());
}

#[test]
fn a_header_with_nothing_behind_it_harms_nobody() {
    let dir = scratch();
    drop(options(dir.path()).permits(3).create_new("/s").unwrap());
    let path = semaphore_file(dir.path());
    let size = fs::metadata(&path).unwrap().len();
    assert_eq!(size, RECORDS_AT + 65_536 * RECORD, "the picture of the format is not what the library has");
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(320).unwrap();
    file.set_len(size).unwrap();
    Watched::start("aftermath", dir.path(), 1, 0, "no area").finish(dir.path());
}

// ---- where wild words go ----

const LOCK: u64 = 512;
const RECORDS_AT: u64 = 266_240;
const RECORD: u64 = 128;
/// Records that a run may come to use; words are written into these only, most of the time into the first.
const RECORDS_USED: u64 = 128;

/// Words of one kind: every `stride` bytes from `start` to `end` one of `width` bytes.
struct Area {
    name: &'static str,
    start: u64,
    end: u64,
    stride: u64,
    width: u64,
}

/// What is written into, each in a run of its own.
fn areas() -> Vec<Area> {
    let mut areas = Vec::new();
    let mut add = |name, start, end, stride, width| areas.push(Area { name, start, end, stride, width });
    for (name, start, width) in [
        ("life", 320, 4),
        ("fresh", 324, 4),
        ("attach_high", 336, 4),
        ("available", 384, 8),
        ("lock", LOCK, 4),
        ("waiting", 516, 4),
        ("permits", 520, 8),
        ("next_ticket", 528, 8),
        ("first", 536, 4),
        ("last", 540, 4),
        ("free", 544, 4),
        ("idlers", 548, 4),
    ] {
        add(name, start, start + width, width, width);
    }
    add("lists", 536, 552, 4, 4);
    add("desk", 516, 552, 4, 4);
    add("totals", 576, 600, 8, 8);
    add("header", 320, 4096, 8, 8);
    add("attach table", 4096, 266_176, 8, 8);
    add("attach states", 4096, 266_176, 64, 4);
    let end = RECORDS_AT + RECORDS_USED * RECORD;
    for (name, offset, width) in [
        ("states", 0, 8),
        ("owners", 8, 4),
        ("events", 12, 4),
        ("tickets", 16, 8),
        ("since", 24, 8),
        ("next", 32, 4),
        ("previous", 36, 4),
        ("rung", 40, 4),
        ("labels", 64, 8),
    ] {
        add(name, RECORDS_AT + offset, end, RECORD, width);
    }
    add("records", RECORDS_AT, end, 8, 8);
    add("everything", 0, 0, 0, 0);
    areas
}

/// The areas' numbers and names, or those of the one that was asked for.
fn names() -> impl Iterator<Item = (usize, &'static str)> {
    let asked = std::env::var("CHAPPE_HOSTILE_AREA").ok();
    let all = areas().into_iter().map(|area| area.name).enumerate();
    all.filter(move |(_, name)| asked.as_ref().is_none_or(|asked| asked == name))
}

impl Area {
    /// Some place in it; often one of the first.
    fn place(&self, rng: &mut Rng) -> u64 {
        let count = (self.end - self.start).div_ceil(self.stride);
        let index = match rng.below(4) {
            0 => rng.below(count),
            1 => rng.below(count.min(40)),
            _ => rng.below(count.min(6)),
        };
        self.start + index * self.stride
    }
}

/// Writes wild words into the file of whatever semaphore has the name at the moment.
struct Vandal {
    path: PathBuf,
    areas: Vec<Area>,
    chosen: Option<usize>,
    rng: Rng,
}

impl Vandal {
    fn new(dir: &Path, name: &str, rng: Rng) -> Vandal {
        let areas = areas();
        let chosen = areas.iter().position(|area| area.name == name && area.stride > 0);
        Vandal { path: semaphore_file(dir), areas, chosen, rng }
    }

    /// Some words; does nothing while there is no semaphore. Returns how many it wrote.
    fn strike(&mut self) -> u64 {
        let Ok(file) = File::options().read(true).write(true).open(&self.path) else { return 0 };
        let count = 1 + self.rng.below(3) * self.rng.below(4);
        (0..count).for_each(|_| self.write_one(&file));
        count
    }

    fn write_one(&mut self, file: &File) {
        let real = self.areas.len() - 1;
        let area = &self.areas[self.chosen.unwrap_or_else(|| self.rng.index(real))];
        let (to, from) = (area.place(&mut self.rng), area.place(&mut self.rng));
        let width = area.width as usize;
        let read = |place| {
            let mut bytes = [0; 8];
            let _ = file.read_at(&mut bytes[..width], place);
            u64::from_le_bytes(bytes)
        };
        let word = self.word(read(to), read(from));
        let _ = file.write_at(&word.to_le_bytes()[..width], to);
    }

    /// A wild word, or a plausible one made of this one or of another.
    fn word(&mut self, here: u64, elsewhere: u64) -> u64 {
        let rng = &mut self.rng;
        match rng.below(10) {
            0 | 1 => rng.bits(),
            2 => [0, u64::MAX, 1, 1 << 31, 1 << 63, 0x7fff_ffff, 0xffff_fffe, 1 << 49][rng.index(8)],
            3 => here ^ 1 << rng.below(64),
            4 => here ^ 1 << rng.below(12),
            5 => here.wrapping_add(rng.below(7)).wrapping_sub(3),
            6 => elsewhere,
            7 => rng.below(10),
            8 => rng.below(200),
            // A record's state: any, with few permits or as many as can be written.
            _ => rng.below(9) << 60 | if rng.one_in(3) { (1 << 56) - 1 } else { rng.below(5) },
        }
    }
}

// ---- those who use the damaged semaphore ----

/// How calls ended, by kind: shown, so that one can see that a run reached something.
#[derive(Default)]
struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn count(&mut self, ended: impl Into<String>) {
        *self.0.entry(ended.into()).or_default() += 1;
    }

    fn result<T>(&mut self, what: &str, result: &Result<T, impl std::fmt::Debug>) {
        match result {
            Ok(_) => self.count(format!("{what} ok")),
            Err(error) => {
                let text = format!("{error:?}");
                // Without the numbers in it, but for those of the system.
                let name = if text.contains("System") { &text } else { text.split([' ', '(']).next().unwrap_or("") };
                self.count(format!("{what} {name}"));
            }
        }
    }

    fn text(&self) -> String {
        self.0.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    }
}

type Waiting = Pin<Box<dyn Future<Output = Result<Permit<'static>, AcquireError>>>>;

fn poll(future: &mut Waiting) -> Poll<Result<Permit<'static>, AcquireError>> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// A participant that calls everything, and checks of each answer what must hold however wild the words are.
struct User {
    dir: PathBuf,
    rng: Rng,
    tally: Tally,
    held: Vec<Permit<'static>>,
    waiting: Vec<Waiting>,
    /// The last call gave up on the lock.
    busy: bool,
    /// The last call said that the semaphore has ended.
    over: bool,
}

impl User {
    fn new(dir: &Path, rng: Rng) -> User {
        let (held, waiting) = (Vec::new(), Vec::new());
        User { dir: dir.to_owned(), rng, tally: Tally::default(), held, waiting, busy: false, over: false }
    }

    fn options(&mut self) -> SemaphoreOptions {
        let mut options = options(&self.dir);
        options.permits(3).any_existing(true).label("hostile").fail_on_deadlock(self.rng.one_in(8));
        options
    }

    fn ended<T>(&mut self, what: &str, result: Result<T, impl std::fmt::Debug>) -> Option<T> {
        self.tally.result(what, &result);
        let error = result.as_ref().err().map(|error| format!("{error:?}"));
        self.busy = error.as_ref().is_some_and(|error| error == "Busy");
        self.over |= error.is_some_and(|error| error == "Closed" || error == "Unlinked");
        result.ok()
    }

    /// A lock that was written to name a live participant is waited for as long as it takes by all who give something back, since
    /// it may be held. Not a fault, so it is undone before that; a lock that is held in truth is never broken, as this is done
    /// only where its word is among those that are damaged.
    fn unlock(&self) {
        if let Ok(file) = File::options().write(true).open(semaphore_file(&self.dir)) {
            let _ = file.write_at(&[0; 4], LOCK);
        }
    }

    /// One call; whether it was answered.
    fn call(&mut self, semaphore: &Semaphore) -> bool {
        self.busy = false;
        match self.rng.below(40) {
            0..=11 => self.acquire(semaphore),
            12..=19 => self.release(),
            20..=22 => self.begin(semaphore),
            23..=25 => self.look(),
            26 => self.give_up(),
            27 | 28 => self.split_or_merge(),
            29 => self.forget(),
            30 => {
                if let Some(permit) = self.held.last() {
                    permit.set_label(
                        "a label that is longer than sixty-four bytes, so that all of its words are written",
                    );
                }
                true
            }
            31 => {
                let permits = self.rng.below(6);
                let set = semaphore.set_permits(permits);
                self.ended("set_permits", set).is_some()
            }
            32 => {
                let posted = semaphore.post();
                self.ended("post", posted).is_some()
            }
            33 => {
                let waited = if self.rng.one_in(2) { semaphore.try_wait() } else { semaphore.wait_timeout(MOMENT) };
                self.ended("wait", waited).is_some()
            }
            34 => {
                let idle = semaphore.wait_idle_timeout(MOMENT);
                self.ended("wait_idle", idle).is_some()
            }
            35 | 36 => self.stat(semaphore),
            37 => self.look_around(),
            38 => !format!("{semaphore:?} {} {}", semaphore.permits(), semaphore.available()).is_empty(),
            _ if self.rng.one_in(30) => {
                let closed = semaphore.close();
                self.ended("close", closed).is_some()
            }
            _ => true,
        }
    }

    /// Every kind of call, some of them several times.
    fn call_each(&mut self, semaphore: &Semaphore) {
        for _ in 0..2 {
            self.stat(semaphore);
            self.acquire(semaphore);
            self.begin(semaphore);
            self.split_or_merge();
            self.acquire(semaphore);
            self.look();
            self.release();
            let (posted, waited) = (semaphore.post(), semaphore.try_wait());
            self.ended("post", posted);
            self.ended("wait", waited);
            let idle = semaphore.wait_idle_timeout(Duration::ZERO);
            self.ended("wait_idle", idle);
            self.forget();
            let set = semaphore.set_permits(3);
            self.ended("set_permits", set);
            self.give_up();
        }
        self.look_around();
    }

    fn acquire(&mut self, semaphore: &Semaphore) -> bool {
        let wanted = self.rng.below(5);
        let permit = match self.rng.below(6) {
            0 => semaphore.acquire_many_timeout(wanted, MOMENT),
            1 => semaphore.acquire_many_deadline(wanted, Instant::now() + MOMENT),
            _ => semaphore.try_acquire_many(wanted),
        };
        let permit = permit.map(Permit::into_static);
        let Some(permit) = self.ended("acquire", permit) else { return false };
        assert_eq!(permit.permits(), wanted);
        self.held.push(permit);
        // So that not all records are in use for ever.
        if self.held.len() > 60 { self.release() } else { true }
    }

    fn release(&mut self) -> bool {
        if !self.held.is_empty() {
            let chosen = self.rng.index(self.held.len());
            self.unlock_if_damaged();
            drop(self.held.swap_remove(chosen));
            self.tally.count("release");
        }
        true
    }

    fn begin(&mut self, semaphore: &Semaphore) -> bool {
        let (semaphore, wanted) = (semaphore.clone(), self.rng.below(5));
        let mut future: Waiting =
            Box::pin(async move { semaphore.acquire_many_async(wanted).await.map(Permit::into_static) });
        self.unlock_if_damaged();
        match poll(&mut future) {
            Poll::Pending => self.waiting.push(future),
            Poll::Ready(result) => {
                let Some(permit) = self.ended("future", result) else { return false };
                assert_eq!(permit.permits(), wanted);
                self.held.push(permit);
            }
        }
        if self.waiting.len() > 20 { self.give_up() } else { true }
    }

    fn look(&mut self) -> bool {
        if self.waiting.is_empty() {
            return true;
        }
        let chosen = self.rng.index(self.waiting.len());
        self.unlock_if_damaged();
        let Poll::Ready(result) = poll(&mut self.waiting[chosen]) else { return true };
        drop(self.waiting.swap_remove(chosen));
        let permit = self.ended("future", result);
        self.held.extend(permit);
        true
    }

    fn give_up(&mut self) -> bool {
        if !self.waiting.is_empty() {
            let chosen = self.rng.index(self.waiting.len());
            self.unlock_if_damaged();
            drop(self.waiting.swap_remove(chosen));
            self.tally.count("future given up");
        }
        true
    }

    fn split_or_merge(&mut self) -> bool {
        let Some(mut permit) = self.held.pop() else { return true };
        self.unlock_if_damaged();
        let part = permit.split(self.rng.below(3));
        let part = self.ended("split", part);
        if let Some(part) = part {
            self.unlock_if_damaged();
            let merged = permit.merge(part);
            self.ended("merge", merged);
        }
        self.held.push(permit);
        true
    }

    fn forget(&mut self) -> bool {
        let Some(permit) = self.held.pop() else { return true };
        self.unlock_if_damaged();
        let forgotten = permit.forget();
        self.ended("forget", forgotten).is_some()
    }

    fn stat(&mut self, semaphore: &Semaphore) -> bool {
        let stat = semaphore.stat();
        let Some(stat) = self.ended("stat", stat) else { return false };
        assert!(stat.holders.len() <= 65_536 && stat.waiters.len() <= 65_536 && stat.participants.len() <= 4095);
        // A byte that is no text becomes a character of three.
        let labels = stat.holders.iter().map(|holder| &holder.label);
        assert!(labels.chain(stat.waiters.iter().map(|waiter| &waiter.label)).all(|label| label.len() <= 3 * 64));
        true
    }

    fn look_around(&mut self) -> bool {
        let (listed, stuck) = (chappe::list(&self.dir), chappe::deadlocks(&self.dir));
        self.ended("list", listed);
        self.ended("deadlocks", stuck).is_some()
    }

    fn unlock_if_damaged(&self) {
        if LOCK_IS_DAMAGED.load(Ordering::Relaxed) {
            self.unlock();
        }
    }

    /// Gives everything back, whatever has become of it.
    fn let_go(&mut self) {
        while !self.waiting.is_empty() {
            self.give_up();
        }
        while !self.held.is_empty() {
            self.release();
        }
    }
}

/// How long a call that waits does so.
const MOMENT: Duration = Duration::from_millis(1);

/// Whether the lock is among the words that are damaged in this process's run.
static LOCK_IS_DAMAGED: AtomicBool = AtomicBool::new(false);

/// The files of all semaphores that this process has used, also of those that were unlinked.
static FILES: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Has the janitor look after the lock of this semaphore.
fn look_after(semaphore: &Semaphore) {
    if LOCK_IS_DAMAGED.load(Ordering::Relaxed) {
        // Another description: one that shares the handle's would hold the handle's byte locks.
        let path = format!("/proc/self/fd/{}", semaphore.as_fd().as_raw_fd());
        FILES.lock().unwrap().push(File::options().read(true).write(true).open(path).unwrap());
    }
}

/// Frees a lock that stayed in the same hands for longer than any call of a user puts up with: of a file that has no name any more,
/// the one who damages words would do so no more.
fn janitor() {
    let mut seen: Vec<(u32, Instant)> = Vec::new();
    loop {
        for (index, file) in FILES.lock().unwrap().iter().enumerate() {
            let mut word = [0; 4];
            let _ = file.read_at(&mut word, LOCK);
            let holder = u32::from_ne_bytes(word) & 0xfff;
            if seen.len() == index {
                seen.push((0, Instant::now()));
            }
            if holder != seen[index].0 {
                seen[index] = (holder, Instant::now());
            } else if holder != 0 && seen[index].1.elapsed() > Duration::from_millis(700) {
                let _ = file.write_at(&[0; 4], LOCK);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the parts below get: DIR SEED MILLIS AREA.
struct Cast {
    dir: PathBuf,
    seed: u64,
    time: Duration,
    area: String,
}

impl Cast {
    fn new(arguments: &[String]) -> Cast {
        let [seed, millis] = [1, 2].map(|index| arguments[index].parse::<u64>().unwrap());
        let area = arguments[3].clone();
        if ["lock", "header", "everything"].contains(&&*area) {
            LOCK_IS_DAMAGED.store(true, Ordering::Relaxed);
            std::thread::spawn(janitor);
        }
        Cast { dir: PathBuf::from(&arguments[0]), seed, time: Duration::from_millis(millis), area }
    }
}

/// Damages its own semaphore between calls, round after round, and after each round sees whether one can be had.
fn part_between_calls(arguments: &[String]) {
    let cast = Cast::new(arguments);
    let log = File::create(cast.dir.join("round")).unwrap();
    let mut tally = Tally::default();
    let start = Instant::now();
    let (first, rounds) = number("CHAPPE_HOSTILE_ROUND").map_or((0, u64::MAX), |round| (round, 1));
    for round in (first..).take(usize::try_from(rounds).unwrap_or(usize::MAX)) {
        if start.elapsed() >= cast.time && round > first {
            break;
        }
        // Where the test finds it if this process does not get further.
        log.write_at(&round.to_le_bytes(), 0).unwrap();
        let mut user = User::new(&cast.dir, Rng::new(cast.seed ^ round << 20));
        user.tally = std::mem::take(&mut tally);
        one_round(&cast, &mut user);
        tally = user.tally;
    }
    say(format!("done {}", tally.text()));
}

/// A new semaphore, used; then words are damaged between calls; then it is left alone and opened anew; then it is replaced.
fn one_round(cast: &Cast, user: &mut User) {
    let mut vandal = Vandal::new(&cast.dir, &cast.area, Rng::new(user.rng.bits()));
    let one = user.options().create_new("/s").unwrap();
    look_after(&one);
    let mut two = Some(user.options().open("/s").unwrap());
    for _ in 0..user.rng.below(40) {
        user.call(&one);
    }
    for _ in 0..1 + user.rng.below(12) {
        vandal.strike();
        for _ in 0..1 + user.rng.below(5) {
            if user.rng.one_in(12) {
                user.unlock();
                drop(two.take());
                let opened = user.options().open("/s");
                two = user.ended("open", opened);
            }
            let first = user.rng.one_in(2);
            user.call(two.as_ref().filter(|_| !first).unwrap_or(&one));
            // It takes half a second, each time.
            if user.busy {
                break;
            }
        }
    }
    user.unlock();
    user.let_go();
    drop((one, two));
    left_alone(user);
}

/// Nobody else has the semaphore, and nobody damages it any more: it opens or says why not, its calls end, and none waits for a
/// lock. It goes when it is unlinked, and makes room for one that works.
fn left_alone(user: &mut User) {
    let opened = user.options().open("/s");
    user.tally.result("open", &opened);
    match opened {
        Ok(semaphore) => {
            for _ in 0..8 {
                user.call(&semaphore);
                assert!(!user.busy, "nobody is there who could hold the lock");
            }
            user.let_go();
        }
        Err(OpenError::Corrupt { .. }) => {}
        Err(error) => panic!("the damaged semaphore cannot be opened: {error:?}"),
    }
    options(&user.dir).unlink("/s").unwrap();
    a_new_semaphore_works(&user.dir);
    options(&user.dir).unlink("/s").unwrap();
}

/// Two threads, each with a handle of its own, call everything while the test damages words.
fn part_meanwhile(arguments: &[String]) {
    let cast = Cast::new(arguments);
    let start = Instant::now();
    say("ready");
    hear();
    std::thread::scope(|scope| {
        let threads = [0, 1].map(|thread| {
            let (cast, dir) = (&cast, &cast.dir);
            scope.spawn(move || {
                use_until(User::new(dir, Rng::new(cast.seed ^ (thread + 1) << 40)), start + cast.time).text()
            })
        });
        let tallies = threads.map(|thread| thread.join().expect("no panic"));
        say(format!("done {}", tallies.join("; ")));
    });
}

/// Calls until the time is over. A semaphore that answers no more is replaced, and now and then another handle is taken.
fn use_until(mut user: User, end: Instant) -> Tally {
    let mut failures = 0;
    let mut semaphore = None;
    while Instant::now() < end {
        if failures > 30 || user.busy || user.over && user.rng.one_in(20) {
            user.let_go();
            let _ = options(&user.dir).unlink("/s");
            (semaphore, failures, user.busy, user.over) = (None, 0, false, false);
        }
        if semaphore.is_none() || user.rng.one_in(100) {
            user.unlock_if_damaged();
            drop(semaphore.take());
            let created = user.options().create("/s");
            semaphore = user.ended("create", created);
            semaphore.iter().for_each(look_after);
        }
        let answered = semaphore.as_ref().is_some_and(|semaphore| user.call(semaphore));
        failures = if answered { 0 } else { failures + 1 };
    }
    user.let_go();
    user.tally
}

/// A fresh process, after the damage.
fn part_aftermath(arguments: &[String]) {
    let cast = Cast::new(arguments);
    let mut user = User::new(&cast.dir, Rng::new(cast.seed));
    left_alone(&mut user);
    say(format!("done {}", user.tally.text()));
}

// ---- watching them ----

/// A part under watch: that it dies, panics or hangs is told with what it takes to see it again.
struct Watched {
    worker: Worker,
    story: String,
    start: Instant,
}

impl Watched {
    fn start(part: &str, dir: &Path, seed: u64, millis: u64, area: &str) -> Watched {
        let [seed, millis] = [seed, millis].map(|number| number.to_string());
        let story = format!("{part}, area {area:?}, seed {seed}");
        Watched {
            worker: Worker::start(part, &[dir.to_str().unwrap(), &seed, &millis, area]),
            story,
            start: Instant::now(),
        }
    }

    /// Whether it has ended; a bad end, or none, is a failure.
    #[track_caller]
    fn ended(&mut self, dir: &Path) -> bool {
        let round =
            || fs::read(dir.join("round")).ok().and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
        if let Some(status) = self.worker.try_ended() {
            assert!(status.success(), "{status}: {}, round {:?}", self.story, round());
            return true;
        }
        if self.start.elapsed() > NET {
            let found = where_it_hangs(self.worker.pid());
            self.worker.kill();
            panic!("hangs: {}, round {:?}\n{found}", self.story, round());
        }
        false
    }

    /// Waits for its end, and shows what it said.
    #[track_caller]
    fn finish(mut self, dir: &Path) {
        common::until(&self.story.clone(), || self.ended(dir));
        println!("{}: {}", self.story, self.worker.answer());
    }
}

/// What the kernel knows of the threads of a process.
fn where_it_hangs(pid: u32) -> String {
    let mut text = String::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        for file in ["comm", "stat", "syscall", "wchan", "stack"] {
            let content = fs::read_to_string(task.path().join(file)).unwrap_or_default();
            text += &format!("{} {file}: {}\n", task.path().display(), content.trim_end());
        }
    }
    text
}

/// How long each run lasts.
fn millis() -> u64 {
    number("CHAPPE_HOSTILE_MILLIS").unwrap_or(150)
}

/// The areas that a test with this share of them sees to; several tests share them, so that they can run at once.
fn share(of: usize, share: usize) -> impl Iterator<Item = (usize, &'static str)> {
    names().filter(move |(index, _)| index % of == share)
}

fn between_calls(share: usize) {
    let seed = seed("CHAPPE_HOSTILE_SEED");
    for (_, area) in self::share(2, share) {
        let dir = scratch();
        Watched::start("between calls", dir.path(), seed, millis(), area).finish(dir.path());
    }
}

#[test]
fn words_damaged_between_calls() {
    between_calls(0);
}

#[test]
fn words_damaged_between_calls_too() {
    between_calls(1);
}

#[test]
fn words_damaged_meanwhile() {
    let seed = seed("CHAPPE_HOSTILE_SEED");
    for (_, area) in share(1, 0) {
        let dir = scratch();
        damaged_meanwhile(dir.path(), seed, area);
        if !semaphore_file(dir.path()).exists() {
            drop(options(dir.path()).create_new("/s").unwrap());
        }
        Watched::start("aftermath", dir.path(), seed, millis(), area).finish(dir.path());
    }
}

/// Damages words until the one that uses the semaphore ends.
fn damaged_meanwhile(dir: &Path, seed: u64, area: &str) {
    let mut vandal = Vandal::new(dir, area, Rng::new(seed));
    let mut watched = Watched::start("meanwhile", dir, seed, millis(), area);
    watched.worker.expect("ready");
    // At least once, and where there is something to damage: a busy machine may let the other one's time run out before this
    // process runs.
    drop(options(dir).permits(3).create_new("/s").unwrap());
    let mut written = vandal.strike();
    watched.worker.tell("go");
    while !watched.ended(dir) {
        written += vandal.strike();
        // Between none and some thousand calls of the other: damage on damage, and damage that is worked with.
        for _ in 0..1 << vandal.rng.below(16) {
            std::hint::spin_loop();
        }
    }
    println!("{}: {written} words; {}", watched.story, watched.worker.answer());
    assert!(written > 0, "nothing was damaged");
}

// ---- words that are known to be bad ----

fn write_word(dir: &Path, place: u64, bytes: &[u8]) {
    File::options().write(true).open(semaphore_file(dir)).unwrap().write_all_at(bytes, place).unwrap();
}

#[test]
fn one_word_at_a_time_harms_nobody() {
    let dir = scratch();
    Watched::start("ends", dir.path(), 1, 0, "each word").finish(dir.path());
}

/// Each word that matters, of the header, of the entries and of the records in use, at the ends of what it can be: every call, and
/// then a new semaphore.
fn part_ends(arguments: &[String]) {
    let cast = Cast::new(arguments);
    let mut words: Vec<(u64, usize)> = Vec::new();
    // The lock has a test of its own.
    for area in areas().into_iter().filter(|area| area.stride > 0 && !["lock", "header"].contains(&area.name)) {
        let first = (area.start..area.end).step_by(area.stride as usize).take(5);
        words.extend(first.map(|place| (place, area.width as usize)));
    }
    words.sort_unstable();
    words.dedup();
    let mut tally = Tally::default();
    for (place, width) in words {
        for value in
            [0, 1, 2, 3, 5, 1 << 31, (1 << 56) - 1, 1 << 60, 3 << 60, 1 << 63, (1 << 63) - 1, u64::MAX - 1, u64::MAX]
        {
            let mut user = User::new(&cast.dir, Rng::new(cast.seed));
            user.tally = tally;
            let semaphore = options(&cast.dir).permits(3).create_new("/s").unwrap();
            // One that holds, one that waits, one that waits until nobody holds.
            user.held.push(semaphore.acquire_many(2).unwrap().into_static());
            let (queue, wanted) = (semaphore.clone(), 3);
            let mut future: Waiting =
                Box::pin(async move { queue.acquire_many_async(wanted).await.map(Permit::into_static) });
            assert!(poll(&mut future).is_pending());
            user.waiting.push(future);
            write_word(&cast.dir, place, &value.to_le_bytes()[..width]);
            user.call_each(&semaphore);
            user.let_go();
            drop(semaphore);
            options(&cast.dir).unlink("/s").unwrap();
            tally = user.tally;
        }
    }
    say(format!("done {}", tally.text()));
}

#[test]
fn sums_of_wild_numbers_are_no_panic() {
    let dir = scratch();
    Watched::start("sums", dir.path(), 1, 0, "states").finish(dir.path());
}

/// So many records with so many permits that no number holds their sum.
fn part_sums(arguments: &[String]) {
    let cast = Cast::new(arguments);
    let semaphore = options(&cast.dir).permits(1000).create_new("/s").unwrap();
    let mut user = User::new(&cast.dir, Rng::new(cast.seed));
    for _ in 0..600 {
        user.held.push(semaphore.acquire().unwrap().into_static());
    }
    for state in [1_u64, 2, 3] {
        // All hold as many as can be written; half of them wait for these, in the second round.
        for record in 0..600 {
            let state = if record % 2 == 0 { 1 } else { state };
            let word = state << 60 | ((1 << 56) - 1);
            write_word(&cast.dir, RECORDS_AT + record * RECORD, &word.to_le_bytes());
        }
        user.stat(&semaphore);
        user.look_around();
        user.call_each(&semaphore);
    }
    user.let_go();
    say(format!("done {}", user.tally.text()));
}

#[test]
fn a_lock_that_names_a_live_participant_makes_calls_give_up() {
    let dir = scratch();
    let semaphore = options(dir.path()).permits(0).create_new("/s").unwrap();
    let mut other = Worker::start("lock", &[dir.path().to_str().unwrap()]);
    other.expect("ready");
    // This handle has index 0, the other one 1; the lock holds the index + 1. A live one is never robbed.
    for holder in [1_u32, 2] {
        write_word(dir.path(), LOCK, &holder.to_ne_bytes());
        assert_eq!(semaphore.try_acquire().err(), Some(AcquireError::Busy), "held by {holder}");
        assert_eq!(semaphore.acquire_timeout(MOMENT).err(), Some(AcquireError::Busy), "held by {holder}");
        assert_eq!(semaphore.try_wait(), Err(AcquireError::Busy), "held by {holder}");
        assert_eq!(semaphore.wait_idle_timeout(MOMENT), Err(AcquireError::Busy), "held by {holder}");
        assert_eq!(semaphore.post(), Err(AccessError::Busy), "held by {holder}");
        assert_eq!(semaphore.stat().err(), Some(AccessError::Busy), "held by {holder}");
        let mut future: Waiting = {
            let semaphore = semaphore.clone();
            Box::pin(async move { semaphore.acquire_async().await.map(Permit::into_static) })
        };
        let Poll::Ready(Err(AcquireError::Busy)) = poll(&mut future) else { panic!("held by {holder}") };
    }
    other.kill();
    semaphore.post().unwrap();
    drop(semaphore.try_acquire().unwrap());
    assert_eq!(semaphore.stat().unwrap().available, 1);
}

/// Calls whose time runs out do not wait for the lock any longer: neither to leave the queue, nor to take the signal that they got
/// without it.
#[test]
fn timed_calls_end_though_the_lock_is_kept() {
    type Call = fn(&Semaphore) -> Result<(), AcquireError>;
    let in_the_queue: [(&str, u64, Call); 3] = [
        ("acquire_timeout", 0, |semaphore| semaphore.acquire_timeout(LONG).map(drop)),
        ("acquire_deadline", 0, |semaphore| semaphore.acquire_deadline(Instant::now() + LONG).map(drop)),
        ("wait_timeout", 0, |semaphore| semaphore.wait_timeout(LONG)),
    ];
    let mut endless = Vec::new();
    for (what, permits, call) in in_the_queue.into_iter().chain([("wait_timeout for a signal that is there", 1, WAIT)])
    {
        let dir = scratch();
        let semaphore = options(dir.path()).permits(permits).create_new("/s").unwrap();
        let (done, end) = mpsc::channel();
        let (ready, go) = (mpsc::channel(), mpsc::channel());
        let clone = semaphore.clone();
        std::thread::spawn(move || {
            // A record of its own, if there is a permit, so that the call can do without the lock.
            drop(clone.try_acquire());
            ready.0.send(()).unwrap();
            go.1.recv().unwrap();
            let _ = done.send(call(&clone));
        });
        ready.1.recv().unwrap();
        if permits == 0 {
            go.0.send(()).unwrap();
            common::until("it to wait", || semaphore.stat().unwrap().waiters.len() == 1);
        }
        // The index of this handle, which lives.
        write_word(dir.path(), LOCK, &1_u32.to_ne_bytes());
        if permits > 0 {
            go.0.send(()).unwrap();
        }
        let ended = end.recv_timeout(Duration::from_secs(10));
        write_word(dir.path(), LOCK, &[0; 4]);
        match ended {
            Ok(Ok(()) | Err(AcquireError::Busy | AcquireError::TimedOut)) => {}
            Ok(ended) => panic!("{what}: {ended:?}"),
            Err(_) => endless.push(what),
        }
    }
    assert!(endless.is_empty(), "these do not end when their time is over: {endless:?}");
}

/// Long enough for the test to do something while a call waits.
const LONG: Duration = Duration::from_millis(500);
const WAIT: fn(&Semaphore) -> Result<(), AcquireError> = |semaphore| semaphore.wait_timeout(LONG);

/// Has the semaphore open and does nothing.
fn part_lock(arguments: &[String]) {
    let semaphore = options(Path::new(&arguments[0])).open("/s").unwrap();
    say("ready");
    hear();
    drop(semaphore);
}
