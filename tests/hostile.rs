//! What others may do to a queue's file: files that are no queue, and wild words in a queue that is open.
//!
//! A file that is no queue is refused, unmapped and untouched, and can be unlinked. Wild words make operations fail or give
//! wrong answers; they never lead out of the mapping, never into a panic, and never into a call that does not end.
//!
//! Words are written in two ways: between two calls of a process that damages its own queue (each round follows from the
//! seed and its number), and by this process while two threads of another one use the queue (the choices follow from the
//! seed, the timing does not). A process that is killed by a signal, panics or hangs is a fault; the report has what it
//! takes to see it again. `CHAPPE_HOSTILE_SEED` repeats the choices, `CHAPPE_HOSTILE_MILLIS` sets the time for each area,
//! `CHAPPE_HOSTILE_AREA` picks one area, and `CHAPPE_HOSTILE_ROUND` the one round to repeat.

mod common;

use chappe::{Access, AccessError, Batch, OpenError, Queue, QueueOptions, RecvError, SendError};
use common::{NET, Rng, Worker, hear, number, payload, say, scratch, seed};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[test]
fn role() {
    common::play(&[
        ("between calls", part_between_calls),
        ("meanwhile", part_meanwhile),
        ("aftermath", part_aftermath),
        ("pairs", part_pairs),
        ("idle", part_idle),
        ("no memory", part_no_memory),
        ("unreadable", part_unreadable),
    ]);
}

fn options(dir: &Path) -> QueueOptions {
    let mut options = Queue::options();
    options.dir(dir);
    options
}

fn queue_file(dir: &Path) -> PathBuf {
    dir.join("chappe.mq.q")
}

// ---- files that are no queue ----

/// What is expected of an attempt to open.
type Expected = fn(&OpenError) -> bool;

fn not_an_object(error: &OpenError) -> bool {
    matches!(error, OpenError::NotAnObject { .. })
}

fn other_version(error: &OpenError) -> bool {
    matches!(error, OpenError::Version { .. })
}

/// All that can be seen of a file without following it.
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
        Facts {
            inode: seen.ino(),
            mode: seen.mode(),
            size: seen.len(),
            blocks: seen.blocks(),
            modified: (seen.mtime(), seen.mtime_nsec()),
            content: seen.is_file().then(|| fs::read(path).unwrap()),
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

/// The file of a queue with a message in it.
fn real_file() -> Vec<u8> {
    let dir = scratch();
    let queue = options(dir.path()).capacity(8).message_size(1000).create_new("/q").unwrap();
    queue.send(&payload(1, 900), 7).unwrap();
    drop(queue);
    fs::read(queue_file(dir.path())).unwrap()
}

/// Every way of opening refuses what `make` puts under the queue's name, and leaves it alone; `list` shows it.
fn is_refused(what: &str, expected: Expected, make: impl FnOnce(&Path)) {
    let dir = scratch();
    let path = queue_file(dir.path());
    make(&path);
    let before = Facts::of(&path);
    let others = fs::read_dir(dir.path()).unwrap().count();
    let own = dir.path().to_owned();
    let errors = bounded(what, move || {
        let options = options(&own);
        [options.open("/q"), options.create("/q"), options.create_new("/q")].map(|result| result.err())
    });
    let [opened, created, created_new] = errors.map(|error| error.unwrap_or_else(|| panic!("{what}: was opened")));
    assert!(expected(&opened), "{what}: open said {opened:?}");
    assert!(expected(&created), "{what}: create said {created:?}");
    assert!(matches!(created_new, OpenError::Exists { .. }), "{what}: create_new said {created_new:?}");
    let own = dir.path().to_owned();
    let listed = bounded(what, move || chappe::list(&own).unwrap());
    assert_eq!(listed.len(), 1, "{what}: {listed:?}");
    assert_eq!(listed[0].path, path, "{what}");
    assert!(listed[0].defect.as_ref().is_some_and(|defect| !defect.is_empty()), "{what}: {listed:?}");
    assert_eq!(Facts::of(&path), before, "{what}: it was touched");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), others, "{what}: something was left behind");
    goes_when_unlinked(what, dir.path());
}

/// Unlink removes the file, whatever it is, and makes room for a queue; a directory stays.
fn goes_when_unlinked(what: &str, dir: &Path) {
    let path = queue_file(dir);
    let is_dir = fs::symlink_metadata(&path).unwrap().is_dir();
    let own = dir.to_owned();
    let unlinked = bounded(what, move || options(&own).unlink("/q"));
    if is_dir {
        assert!(matches!(unlinked, Err(OpenError::System { .. })), "{what}: unlink said {unlinked:?}");
        assert!(path.is_dir(), "{what}");
        return;
    }
    unlinked.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(fs::symlink_metadata(&path).is_err(), "{what}: it is still there");
    let missing = options(dir).unlink("/q");
    assert!(matches!(missing, Err(OpenError::NotFound { .. })), "{what}: {missing:?}");
    a_new_queue_works(dir, 8, 1000);
}

/// Creates the queue, and sends and receives a small and a large message.
fn a_new_queue_works(dir: &Path, capacity: u32, message_size: u64) {
    let queue = options(dir).capacity(capacity).message_size(message_size).create_new("/q").unwrap();
    for (id, length) in [(1, 8), (2, message_size.min(100_000) as usize)] {
        queue.try_send(&payload(id, length), id as u16).unwrap();
        assert_eq!(queue.try_recv().unwrap().data, payload(id, length));
    }
    assert_eq!(queue.try_recv(), Err(RecvError::Empty));
}

#[test]
fn truncated_and_extended_files_are_refused() {
    let real = real_file();
    let size = real.len();
    let areas = [4095, 4096, 4097, 8191, 8192, 12_288, 16_383, 16_384, 274_432, 536_575, 536_576];
    let ends = [size / 2, size - 4096, size - 1, size + 1, size + 4096, 2 * size];
    for length in [0, 1, 7, 8, 63, 64, 319, 320, 321].into_iter().chain(areas).chain(ends) {
        is_refused(&format!("{length} of {size} bytes"), not_an_object, |path| {
            fs::write(path, &real).unwrap();
            File::options().write(true).open(path).unwrap().set_len(length as u64).unwrap();
        });
    }
}

#[test]
fn random_bytes_are_refused() {
    let seed = seed("CHAPPE_HOSTILE_SEED");
    let size = real_file().len();
    for length in [1, 8, 64, 319, 320, 4096, 5000, size] {
        is_refused(&format!("{length} random bytes, seed {seed}"), not_an_object, |path| {
            fs::write(path, payload(seed, length)).unwrap();
        });
    }
    for length in [320, 4096, size] {
        // The first eight are right, so that more is looked at; then also version and kind.
        for right in [8, 12, 16, 32] {
            let mut bytes = payload(seed ^ right as u64, length);
            bytes[..right].copy_from_slice(&real_file()[..right]);
            let expected = |error: &OpenError| not_an_object(error) || other_version(error);
            is_refused(&format!("{right} right bytes of {length}, seed {seed}"), expected, |path| {
                fs::write(path, &bytes).unwrap();
            });
        }
    }
}

#[test]
fn headers_that_say_something_else_are_refused() {
    let real = real_file();
    let size = real.len() as u64;
    let word = |value: u64| value.to_ne_bytes().to_vec();
    let half = |value: u32| value.to_ne_bytes().to_vec();
    let mut cases: Vec<(&str, usize, Vec<u8>, Expected)> = vec![
        ("magic", 0, b"chappe\n\n".to_vec(), not_an_object),
        ("magic", 0, b"\n\reppahc".to_vec(), not_an_object),
        ("magic", 0, word(0), not_an_object),
        ("inline", 20, half(0), not_an_object),
        ("inline", 20, half(64), not_an_object),
        ("inline", 20, half(u32::MAX), not_an_object),
        ("a longer name", 60, half(2), not_an_object),
        ("name with a slash", 60, [half(3), b"a/q".to_vec()].concat(), not_an_object),
        ("name of dots", 60, [half(2), b"..".to_vec()].concat(), not_an_object),
    ];
    cases.extend([0, 2, 256, u32::MAX].map(|version| ("version", 8, half(version), other_version as Expected)));
    cases.extend([0, 2, 256, u32::MAX].map(|kind| ("kind", 12, half(kind), not_an_object as Expected)));
    let capacities = [0, 7, 9, 16, 1 << 24, (1 << 24) + 1, u32::MAX];
    cases.extend(capacities.map(|capacity| ("capacity", 16, half(capacity), not_an_object as Expected)));
    let sizes = [0, 1, 256, 8192, 1 << 40, (1 << 40) + 1, 1 << 63, u64::MAX];
    cases.extend(sizes.map(|size| ("message size", 24, word(size), not_an_object as Expected)));
    let lengths = [0, 1, 320, size - 1, size + 1, size << 32, 1 << 63, u64::MAX];
    cases.extend(lengths.map(|length| ("file size", 32, word(length), not_an_object as Expected)));
    cases.extend([1, 1 << 63, u64::MAX].map(|type_| ("fingerprint", 40, word(type_), not_an_object as Expected)));
    let names = [0, 255, 256, 257, 300, 4096, 1 << 31, u32::MAX];
    cases.extend(names.map(|length| ("length of the name", 60, half(length), not_an_object as Expected)));
    for (what, at, bytes, expected) in cases {
        let mut file = real.clone();
        file[at..at + bytes.len()].copy_from_slice(&bytes);
        is_refused(&format!("{what} {bytes:x?}"), expected, |path| fs::write(path, &file).unwrap());
    }
}

#[test]
fn what_is_no_regular_file_is_refused() {
    is_refused("a directory", not_an_object, |path| fs::create_dir(path).unwrap());
    is_refused("a directory without permissions", not_an_object, |path| {
        fs::DirBuilder::new().mode(0o0).create(path).unwrap();
    });
    is_refused("a FIFO", not_an_object, make_fifo);
    is_refused("a socket", not_an_object, |path| {
        drop(UnixListener::bind(path).unwrap());
        assert!(fs::symlink_metadata(path).unwrap().file_type().is_socket());
    });
    is_refused("a symbolic link that leads nowhere", not_an_object, |path| symlink("nowhere", path).unwrap());
    is_refused("a symbolic link to itself", not_an_object, |path| symlink("chappe.mq.q", path).unwrap());
    is_refused("a symbolic link to a device", not_an_object, |path| symlink("/dev/zero", path).unwrap());
}

#[test]
fn a_symbolic_link_to_a_queue_is_not_followed() {
    let elsewhere = scratch();
    let real = options(elsewhere.path()).create_new("/q").unwrap();
    real.send(b"untouched", 0).unwrap();
    is_refused("a symbolic link to a queue", not_an_object, |path| {
        symlink(queue_file(elsewhere.path()), path).unwrap();
    });
    assert_eq!(real.stat().unwrap().participants.len(), 1);
    real.send(b"and not unlinked", 0).unwrap();
    assert_eq!(real.recv().unwrap().data, b"untouched");
}

#[test]
fn a_file_with_another_name_in_its_header_is_refused() {
    let dir = scratch();
    drop(options(dir.path()).create_new("/other").unwrap());
    fs::rename(dir.path().join("chappe.mq.other"), queue_file(dir.path())).unwrap();
    let error = options(dir.path()).open("/q").unwrap_err();
    assert!(not_an_object(&error), "{error}");
    let listed = chappe::list(dir.path()).unwrap();
    assert!(listed.len() == 1 && listed[0].defect.is_some(), "neither name can be opened: {listed:?}");
    goes_when_unlinked("a renamed queue", dir.path());
}

fn make_fifo(path: &Path) {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the path is a C string that lives through the call.
    let made = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
    assert_eq!(made, 0, "{}", io::Error::last_os_error());
}

#[test]
fn an_unreadable_file_is_refused() {
    let dir = scratch();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(queue_file(dir.path()), real_file()).unwrap();
    fs::set_permissions(queue_file(dir.path()), fs::Permissions::from_mode(0o0)).unwrap();
    let mut worker = Worker::start("unreadable", &[dir.path().to_str().unwrap()]);
    let answer = worker.answer();
    if let Some(reason) = answer.strip_prefix("skip ") {
        println!("skipped: {reason}");
        return;
    }
    assert_eq!(answer, "refused");
    worker.finish();
    goes_when_unlinked("an unreadable file", dir.path());
}

/// As somebody who may not read every file.
fn part_unreadable(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    // SAFETY: it takes nothing.
    let root = unsafe { libc::geteuid() } == 0;
    // SAFETY: it takes a number.
    if root && unsafe { libc::setuid(65_534) } != 0 {
        say(format!("skip becoming another user: {}", io::Error::last_os_error()));
        return;
    }
    for error in [options(dir).open("/q"), options(dir).create("/q")].map(|result| result.unwrap_err()) {
        assert_eq!(error.io_kind(), Some(io::ErrorKind::PermissionDenied), "{error}");
    }
    let listed = chappe::list(dir).unwrap();
    assert!(listed.len() == 1 && listed[0].defect.is_some(), "{listed:?}");
    say("refused");
}

// ---- where wild words go ----

/// A queue's attributes, and what follows from them: the picture in `docs/format.md`.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    capacity: u32,
    message_size: u64,
    links: u64,
    slots: u64,
    inline: u64,
    extents: u64,
    size: u64,
}

impl Geometry {
    fn new(capacity: u32, message_size: u64) -> Geometry {
        let n = u64::from(capacity);
        let inline_size = message_size.next_multiple_of(64).min(256);
        let extent = if message_size > inline_size { message_size.next_multiple_of(4096) } else { 0 };
        let links = 536_576;
        let slots = (links + n * 8).next_multiple_of(4096);
        let inline = (slots + n * 64).next_multiple_of(4096);
        let extents = (inline + n * inline_size).next_multiple_of(4096);
        Geometry { capacity, message_size, links, slots, inline, extents, size: extents + n * extent }
    }

    /// One with all free slots reserved at once, one whose slots come in chunks and whose messages can be large, one whose
    /// extents are given back.
    fn all() -> [Geometry; 4] {
        [(5, 64), (150, 1000), (700, 5000), (24, 300_000)].map(|(capacity, size)| Geometry::new(capacity, size))
    }
}

/// Words of one kind: every `stride` bytes from `start` to `end` one of `width` bytes.
struct Area {
    name: &'static str,
    start: u64,
    end: u64,
    stride: u64,
    width: u64,
}

/// The priorities that messages are sent with: ends of leaf words, of middle words and of pages of levels.
const PRIORITIES: [u16; 12] = [0, 1, 2, 63, 64, 511, 512, 4095, 4096, 20_000, 32_766, 32_767];

/// What is written into, each in a run of its own; the geometry decides where the later ones lie.
fn areas(geometry: &Geometry) -> Vec<Area> {
    let mut areas = Vec::new();
    let mut add = |name, start, end, stride, width| areas.push(Area { name, start, end, stride, width });
    for (name, start, width) in [
        ("life", 320, 4),
        ("fresh", 324, 4),
        ("levels_backed", 328, 8),
        ("attach_high", 336, 4),
        ("tail", 384, 8),
        ("lock", 512, 4),
        ("count", 516, 4),
        ("head", 520, 8),
        ("arm", 528, 8),
        ("top", 536, 8),
        ("free", 544, 4),
        ("slow", 548, 4),
        ("slow_count", 552, 4),
        ("taken", 556, 4),
        ("received and high_water", 560, 8),
        ("rev", 640, 4),
        ("registration", 644, 4),
        ("sender_pid and sender_uid", 648, 4),
        ("sev", 704, 4),
        ("polled", 708, 4),
        ("packets", 712, 4),
        ("mode", 716, 4),
        ("bell", 720, 8),
    ] {
        add(name, start, start + if name.contains("and") { 2 * width } else { width }, width, width);
    }
    let Geometry { links, slots, inline, extents, size, .. } = *geometry;
    add("mid", 576, 640, 8, 8);
    add("totals", 768, 816, 8, 8);
    add("desk", 516, 640, 4, 4);
    add("header", 320, 4096, 8, 8);
    add("cells", 4096, 8192, 8, 8);
    add("leaf bitmap", 8192, 12_288, 8, 8);
    add("attach table", 12_288, 274_432, 8, 8);
    add("attach states", 12_288, 274_432, 64, 4);
    add("waits", 12_288 + 52, 274_432, 64, 4);
    add("levels", 274_432, 536_576, 4, 4);
    add("links", links, links + u64::from(geometry.capacity) * 8, 4, 4);
    let slots_end = slots + u64::from(geometry.capacity) * 64;
    add("slot words", slots, slots_end, 64, 8);
    add("slot metas", slots + 8, slots_end, 64, 8);
    add("slots' backed", slots + 16, slots_end, 64, 8);
    add("slots", slots, slots_end, 8, 8);
    add("inline payload", inline, extents, 8, 8);
    if extents < size {
        add("extents", extents, size, 8, 8);
    }
    add("everything", 0, 0, 0, 0);
    areas
}

/// The areas' numbers and names, or those of the one that was asked for.
fn names() -> impl Iterator<Item = (usize, &'static str)> {
    let asked = std::env::var("CHAPPE_HOSTILE_AREA").ok();
    let all = areas(&Geometry::new(150, 1000)).into_iter().map(|area| area.name).enumerate();
    all.filter(move |(_, name)| asked.as_ref().is_none_or(|asked| asked == name))
}

impl Area {
    /// Some place in it; often one of the first ones, or one that belongs to a priority in use.
    fn place(&self, rng: &mut Rng) -> u64 {
        let count = (self.end - self.start).div_ceil(self.stride);
        let index = match rng.below(3) {
            0 => rng.below(count),
            _ if self.name == "levels" => u64::from(PRIORITIES[rng.index(PRIORITIES.len())]) * 2 + rng.below(2),
            _ if self.name == "leaf bitmap" => u64::from(PRIORITIES[rng.index(PRIORITIES.len())] / 64),
            1 => rng.below(count.min(4)),
            _ => rng.below(count.min(80)),
        };
        self.start + index * self.stride
    }
}

/// Writes wild words into the file of whatever queue has the name at the moment.
struct Vandal {
    path: PathBuf,
    areas: Vec<Area>,
    chosen: Option<usize>,
    rng: Rng,
}

impl Vandal {
    fn new(dir: &Path, geometry: &Geometry, name: &str, rng: Rng) -> Vandal {
        let areas = areas(geometry);
        // An area that this geometry does not have: everything.
        let chosen = areas.iter().position(|area| area.name == name && area.stride > 0);
        Vandal { path: queue_file(dir), areas, chosen, rng }
    }

    /// Some words; does nothing while there is no queue. Returns how many it wrote.
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
            2 => [0, u64::MAX, 1, 1 << 31, 1 << 63, 0x7fff_ffff, 0xffff_fffe][rng.index(7)],
            3 => here ^ 1 << rng.below(64),
            4 => here ^ 1 << rng.below(12),
            5 => here.wrapping_add(rng.below(7)).wrapping_sub(3),
            6 => elsewhere,
            7 => rng.below(10),
            8 => rng.below(1100),
            // A slot word with another state and owner and a ticket near this one, or a number in both halves.
            _ if rng.one_in(2) => {
                let ticket = here.wrapping_add(rng.below(1030)).wrapping_sub(515) & ((1 << 49) - 1);
                rng.below(6) << 61 | rng.below(5) << 49 | ticket
            }
            _ => rng.below(200) << 40 | rng.below(200) << 32 | rng.below(200),
        }
    }
}

// ---- those who use the damaged queue ----

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

/// A participant that calls everything, and checks of each answer what must hold however wild the words are.
struct User {
    dir: PathBuf,
    geometry: Geometry,
    batch: Batch,
    buffer: Vec<u8>,
    rng: Rng,
    tally: Tally,
    /// The last call gave up on the lock.
    busy: bool,
}

impl User {
    fn new(dir: &Path, geometry: Geometry, rng: Rng) -> User {
        let buffer = vec![0; 1 + geometry.message_size as usize / 2];
        let (dir, batch, tally) = (dir.to_owned(), Batch::new(), Tally::default());
        User { dir, geometry, batch, buffer, rng, tally, busy: false }
    }

    fn options(&self) -> QueueOptions {
        let mut options = options(&self.dir);
        options.capacity(self.geometry.capacity).message_size(self.geometry.message_size);
        options
    }

    fn message(&mut self) -> (Vec<u8>, u16) {
        let most = self.geometry.message_size;
        let most = if self.rng.one_in(3) { most } else { most.min(200) };
        let length = self.rng.below(most + 1);
        let priority = PRIORITIES[self.rng.index(PRIORITIES.len())];
        (payload(self.rng.bits(), length as usize), priority)
    }

    fn ended<T>(&mut self, what: &str, result: Result<T, impl std::fmt::Debug>) -> Option<T> {
        self.tally.result(what, &result);
        self.busy = result.as_ref().is_err_and(|error| format!("{error:?}").contains("Busy"));
        result.ok()
    }

    fn fits(&self, length: usize, priority: u16) {
        assert!(length as u64 <= self.geometry.message_size, "a message of {length} bytes");
        assert!(priority <= chappe::PRIORITY_MAX, "priority {priority}");
    }

    /// One call; whether it was answered.
    fn call(&mut self, queue: &Queue) -> bool {
        self.busy = false;
        match self.rng.below(46) {
            0..=13 => self.send(queue),
            14..=27 => self.receive(queue),
            28..=30 => self.send_batch(queue),
            31..=33 => self.receive_batch(queue),
            34 | 35 => self.peek(queue),
            36 | 37 => {
                let len = queue.len();
                self.ended("len", len).is_some()
            }
            38 => {
                let stat = queue.stat();
                self.ended("stat", stat).is_some()
            }
            40.. => self.call_doorbell(queue),
            _ if self.rng.one_in(3) => {
                let purged = queue.purge();
                self.ended("purge", purged).is_some()
            }
            _ => true,
        }
    }

    /// Every kind of call but those of the doorbell, some of them several times; looking comes both first and last.
    fn call_each(&mut self, queue: &Queue) {
        let calls: [fn(&mut User, &Queue) -> bool; 5] =
            [User::send, User::receive, User::send_batch, User::receive_batch, User::peek];
        for _ in 0..2 {
            let (stat, len) = (queue.stat(), queue.len());
            self.ended("stat", stat);
            self.ended("len", len);
            for call in calls {
                call(self, queue);
            }
        }
        let purged = queue.purge();
        self.ended("purge", purged);
    }

    /// One of the calls of those who do not wait in a receive.
    fn call_doorbell(&mut self, queue: &Queue) -> bool {
        match self.rng.below(8) {
            0 | 1 => {
                let access = [Access::Receive, Access::Send, Access::Both][self.rng.index(3)];
                let bell = queue.doorbell(access);
                self.ended("doorbell", bell).is_some()
            }
            2 | 3 => {
                let armed = queue.arm_doorbell();
                self.ended("arm", armed).is_some()
            }
            4 | 5 => {
                let registered = queue.notify(|_| ());
                self.ended("notify", registered).is_some()
            }
            6 => {
                let cancelled = queue.cancel_notify();
                self.ended("cancel", cancelled).is_some()
            }
            _ => {
                let registered = queue.registered();
                self.ended("registered", registered).is_some()
            }
        }
    }

    fn send(&mut self, queue: &Queue) -> bool {
        let (message, priority) = self.message();
        let timed = self.rng.one_in(8);
        let sent = match timed {
            true => queue.send_timeout(&message, priority, Duration::from_millis(1)),
            false => queue.try_send(&message, priority),
        };
        let refused = matches!(sent, Err(SendError::TooLong { .. } | SendError::Priority(_)));
        assert!(!refused, "{sent:?} of {} bytes", message.len());
        self.ended("send", sent).is_some()
    }

    fn receive(&mut self, queue: &Queue) -> bool {
        let received = match self.rng.below(16) {
            0 => queue.recv_timeout(Duration::from_millis(1)),
            1..=4 => {
                let received = queue.try_recv_into(&mut self.buffer);
                if let Some(received) = self.ended("recv_into", received) {
                    assert!(received.len <= self.buffer.len());
                    self.fits(received.len, received.priority);
                    return true;
                }
                return false;
            }
            _ => queue.try_recv(),
        };
        let Some(message) = self.ended("recv", received) else { return false };
        self.fits(message.data.len(), message.priority);
        true
    }

    fn send_batch(&mut self, queue: &Queue) -> bool {
        let messages: Vec<_> = (0..self.rng.below(12)).map(|_| self.message()).collect();
        let sent = match self.rng.one_in(8) {
            true => queue.send_many_timeout(&messages, Duration::from_millis(1)),
            false => queue.try_send_many(&messages),
        };
        assert!(sent.as_ref().err().is_none_or(|error| error.sent < messages.len()), "{sent:?}");
        self.ended("send_many", sent.map_err(|error| error.error)).is_some()
    }

    fn receive_batch(&mut self, queue: &Queue) -> bool {
        let max = self.rng.index(12);
        let received = match self.rng.one_in(8) {
            true => queue.recv_many_timeout(&mut self.batch, max, Duration::from_millis(1)),
            false => queue.try_recv_many(&mut self.batch, max),
        };
        let Some(count) = self.ended("recv_many", received) else { return false };
        assert!(count <= max && count == self.batch.len());
        self.batch.iter().for_each(|(data, priority)| self.fits(data.len(), priority));
        true
    }

    fn peek(&mut self, queue: &Queue) -> bool {
        let max = self.rng.index(20);
        let Some(messages) = self.ended("peek", queue.peek(max)) else { return false };
        assert!(messages.len() <= max);
        messages.iter().for_each(|message| self.fits(message.data.len(), message.priority));
        true
    }
}

/// What the parts below get: DIR CAPACITY MESSAGE_SIZE SEED MILLIS AREA.
struct Cast {
    dir: PathBuf,
    geometry: Geometry,
    seed: u64,
    time: Duration,
    area: String,
}

impl Cast {
    fn new(arguments: &[String]) -> Cast {
        let [capacity, size, seed, millis] = [1, 2, 3, 4].map(|index| arguments[index].parse::<u64>().unwrap());
        Cast {
            dir: PathBuf::from(&arguments[0]),
            geometry: Geometry::new(capacity as u32, size),
            seed,
            time: Duration::from_millis(millis),
            area: arguments[5].clone(),
        }
    }
}

/// Damages its own queue between calls, round after round, and after each round sees whether a queue can be had.
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
        let mut user = User::new(&cast.dir, cast.geometry, Rng::new(cast.seed ^ round << 20));
        user.tally = std::mem::take(&mut tally);
        one_round(&cast, &mut user);
        tally = user.tally;
    }
    say(format!("done {}", tally.text()));
}

/// A new queue, used; then words are damaged between calls; then it is left alone and opened anew; then it is replaced.
fn one_round(cast: &Cast, user: &mut User) {
    let mut vandal = Vandal::new(&cast.dir, &cast.geometry, &cast.area, Rng::new(user.rng.bits()));
    let one = user.options().create_new("/q").unwrap();
    let mut two = Some(one_more(user));
    for _ in 0..user.rng.below(40) {
        user.call(&one);
    }
    for _ in 0..1 + user.rng.below(12) {
        vandal.strike();
        for _ in 0..1 + user.rng.below(5) {
            if user.rng.one_in(12) {
                drop(two.take());
                // Whoever inherits an entry waits for the lock as long as it takes, and the other handle is alive: one that
                // was written to name that handle would be waited for until it goes.
                write_word(&cast.dir, 512, &[0; 4]);
                let opened = user.options().open("/q");
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
    drop((one, two));
    // They have their handles for a moment longer, and may have been waiting for a damaged lock.
    common::until("attendants end with their handles", || attendants() == 0);
    left_alone(user);
}

/// How many attendants this process has.
fn attendants() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks
        .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "chappe-attend\n"))
        .count()
}

fn one_more(user: &mut User) -> Queue {
    user.options().open("/q").unwrap()
}

/// Nobody else has the queue, and nobody damages it any more: it opens or says why not, its calls end, and none waits for
/// a lock. It goes when it is unlinked, and makes room for one that works.
fn left_alone(user: &mut User) {
    let opened = user.options().open("/q");
    user.tally.result("open", &opened);
    match opened {
        Ok(queue) => {
            for _ in 0..8 {
                user.call(&queue);
                assert!(!user.busy, "nobody is there who could hold the lock");
            }
        }
        Err(OpenError::Corrupt { .. }) => {}
        Err(error) => panic!("the damaged queue cannot be opened: {error:?}"),
    }
    options(&user.dir).unlink("/q").unwrap();
    a_new_queue_works(&user.dir, user.geometry.capacity, user.geometry.message_size);
    options(&user.dir).unlink("/q").unwrap();
}

/// Two threads, each with a handle of its own, call everything while the test damages words.
fn part_meanwhile(arguments: &[String]) {
    let cast = Cast::new(arguments);
    let start = Instant::now();
    say("ready");
    hear();
    std::thread::scope(|scope| {
        let threads = [0, 1].map(|thread| {
            let user = User::new(&cast.dir, cast.geometry, Rng::new(cast.seed ^ (thread + 1) << 40));
            scope.spawn(|| use_until(user, start + cast.time))
        });
        let tallies = threads.map(|thread| thread.join().expect("no panic").text());
        say(format!("done {}", tallies.join("; ")));
    });
}

/// Calls until the time is over. A queue that answers no more is replaced, and now and then another handle is taken.
fn use_until(mut user: User, end: Instant) -> Tally {
    let mut failures = 0;
    let mut queue = None;
    while Instant::now() < end {
        if failures > 30 || user.busy {
            let _ = options(&user.dir).unlink("/q");
            (queue, failures, user.busy) = (None, 0, false);
        }
        if queue.is_none() || user.rng.one_in(100) {
            drop(queue.take());
            let opened = user.options().create("/q");
            queue = user.ended("create", opened);
        }
        let answered = queue.as_ref().is_some_and(|queue| user.call(queue));
        failures = if answered { 0 } else { failures + 1 };
    }
    user.tally
}

/// A fresh process, after the damage.
fn part_aftermath(arguments: &[String]) {
    let cast = Cast::new(arguments);
    let mut user = User::new(&cast.dir, cast.geometry, Rng::new(cast.seed));
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
    fn start(part: &str, dir: &Path, geometry: &Geometry, seed: u64, millis: u64, area: &str) -> Watched {
        let Geometry { capacity, message_size, .. } = *geometry;
        let numbers = [u64::from(capacity), message_size, seed, millis].map(|number| number.to_string());
        let [capacity, message_size, seed, millis] = &numbers;
        let arguments = [dir.to_str().unwrap(), capacity, message_size, seed, millis, area];
        let story = format!("{part}, area {area:?}, capacity {capacity}, message size {message_size}, seed {seed}");
        Watched { worker: Worker::start(part, &arguments), story, start: Instant::now() }
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

/// The geometry for a run: another one with each seed.
fn geometry(seed: u64, index: usize) -> Geometry {
    let all = Geometry::all();
    all[Rng::new(seed ^ (index as u64) << 32).index(all.len())]
}

fn between_calls(share: usize) {
    let seed = seed("CHAPPE_HOSTILE_SEED");
    for (index, area) in self::share(2, share) {
        let dir = scratch();
        let geometry = geometry(seed, index);
        Watched::start("between calls", dir.path(), &geometry, seed, millis(), area).finish(dir.path());
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
    for (index, area) in share(1, 0) {
        let dir = scratch();
        let geometry = geometry(seed, index + 1);
        damaged_meanwhile(dir.path(), &geometry, seed, area);
        if !queue_file(dir.path()).exists() {
            drop(options(dir.path()).create_new("/q").unwrap());
        }
        Watched::start("aftermath", dir.path(), &geometry, seed, millis(), area).finish(dir.path());
    }
}

/// Damages words until the one that uses the queue ends.
fn damaged_meanwhile(dir: &Path, geometry: &Geometry, seed: u64, area: &str) {
    let mut vandal = Vandal::new(dir, geometry, area, Rng::new(seed));
    let mut watched = Watched::start("meanwhile", dir, geometry, seed, millis(), area);
    watched.worker.expect("ready");
    // At least once, and where there is something to damage: a busy machine may let the other one's time run out before this
    // process runs.
    let mut options = options(dir);
    drop(options.capacity(geometry.capacity).message_size(geometry.message_size).create_new("/q").unwrap());
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
    File::options().write(true).open(queue_file(dir)).unwrap().write_all_at(bytes, place).unwrap();
}

#[test]
fn two_words_at_their_ends_harm_nobody() {
    let dir = scratch();
    Watched::start("pairs", dir.path(), &Geometry::new(12, 600), 1, 0, "the header").finish(dir.path());
}

/// For each two of the header's words, each of them 1 or all ones: every call, then a new queue.
fn part_pairs(arguments: &[String]) {
    let cast = Cast::new(arguments);
    // The lock has a test of its own, and a queue whose life has ended has little left that could break.
    let hot = areas(&cast.geometry)
        .into_iter()
        .filter(|area| area.start < 4096 && !["life", "lock", "everything"].contains(&area.name));
    let mut words: Vec<_> = hot.map(|area| (area.start, area.width as usize)).collect();
    words.push((568, 8));
    words.sort_unstable();
    words.dedup();
    let mut tally = Tally::default();
    for (index, first) in words.iter().enumerate() {
        for second in &words[index + 1..] {
            for values in [[1, 1], [1, u64::MAX], [u64::MAX, 1], [u64::MAX; 2]] {
                let mut user = User::new(&cast.dir, cast.geometry, Rng::new(cast.seed));
                user.tally = tally;
                let queue = user.options().create_new("/q").unwrap();
                queue.try_send_many(&[(b"a", 0), (b"b", 64), (b"c", 0)]).unwrap();
                for ((place, width), value) in [first, second].into_iter().zip(values) {
                    write_word(&cast.dir, *place, &value.to_le_bytes()[..*width]);
                }
                user.call_each(&queue);
                options(&cast.dir).unlink("/q").unwrap();
                tally = user.tally;
            }
        }
    }
    say(format!("done {}", tally.text()));
}

#[test]
fn a_lock_that_names_a_live_participant_makes_calls_give_up() {
    let dir = scratch();
    let queue = options(dir.path()).create_new("/q").unwrap();
    let mut idle = Worker::start("idle", &[dir.path().to_str().unwrap()]);
    idle.expect("ready");
    queue.send(b"message", 0).unwrap();
    // This handle has index 0, the other one 1; the lock holds the index + 1. A live one is never robbed.
    for holder in [1_u32, 2] {
        write_word(dir.path(), 512, &holder.to_ne_bytes());
        assert_eq!(queue.try_recv(), Err(RecvError::Busy), "held by {holder}");
        assert_eq!(queue.recv_timeout(Duration::from_millis(1)), Err(RecvError::Busy), "held by {holder}");
        assert_eq!(queue.len(), Err(AccessError::Busy), "held by {holder}");
    }
    idle.kill();
    assert_eq!(queue.try_recv().unwrap().data, b"message");
    queue.send(b"another", 0).unwrap();
    write_word(dir.path(), 512, &1_u32.to_ne_bytes());
    drop(queue);
    let queue = options(dir.path()).open("/q").unwrap();
    assert_eq!(queue.try_recv().unwrap().data, b"another");
}

/// Has the queue open and does nothing.
fn part_idle(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    say("ready");
    hear();
    drop(queue);
}

/// What lies inline has room for up to 63 bytes more than a message may have; a forged length is not believed up to there.
#[test]
fn a_length_above_the_message_size_is_an_error_where_it_would_fit_inline() {
    for message_size in [1_u64, 100, 255] {
        let dir = scratch();
        let queue = options(dir.path()).capacity(4).message_size(message_size).create_new("/q").unwrap();
        queue.send(b"x", 3).unwrap();
        for length in [message_size + 1, message_size.next_multiple_of(64)] {
            let meta = Geometry::new(4, message_size).slots + 8;
            write_word(dir.path(), meta, &(3 << 48 | length).to_le_bytes());
            assert_eq!(queue.try_recv(), Err(RecvError::Corrupt), "{length} of {message_size} bytes");
            assert_eq!(queue.try_recv_into(&mut [0; 256]), Err(RecvError::Corrupt), "{length} of {message_size} bytes");
            let many = queue.try_recv_many(&mut Batch::new(), 2);
            assert_eq!(many, Err(RecvError::Corrupt), "{length} of {message_size} bytes");
            assert_eq!(queue.peek(1), Err(AccessError::Corrupt), "{length} of {message_size} bytes");
            assert_eq!(queue.bytes(), Err(AccessError::Corrupt), "{length} of {message_size} bytes");
        }
        write_word(dir.path(), Geometry::new(4, message_size).slots + 8, &(3_u64 << 48 | 1).to_le_bytes());
        assert_eq!(queue.try_recv().unwrap().data, b"x");
    }
}

// ---- headers without a queue ----

#[test]
fn a_header_with_nothing_behind_it_harms_nobody() {
    let seed = seed("CHAPPE_HOSTILE_SEED");
    for (index, geometry) in Geometry::all().into_iter().enumerate() {
        let dir = scratch();
        let mut options = options(dir.path());
        drop(options.capacity(geometry.capacity).message_size(geometry.message_size).create_new("/q").unwrap());
        let path = queue_file(dir.path());
        let size = fs::metadata(&path).unwrap().len();
        assert_eq!(size, geometry.size, "the picture of the format is not what the library has");
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(320).unwrap();
        file.set_len(size).unwrap();
        Watched::start("aftermath", dir.path(), &geometry, seed ^ index as u64, 0, "no area").finish(dir.path());
    }
}

// ---- lengths that no memory holds ----

/// The message size of the queue: as large as they come.
const BOUNDLESS: u64 = 1 << 40;

#[test]
fn a_length_that_no_memory_holds_is_an_error() {
    for call in ["recv", "peek", "recv_many", "recv_into"] {
        let dir = scratch();
        let queue = options(dir.path()).capacity(1).message_size(BOUNDLESS).create_new("/q").unwrap();
        queue.send(b"small", 3).unwrap();
        drop(queue);
        let meta = Geometry::new(1, BOUNDLESS).slots + 8;
        write_word(dir.path(), meta, &(3_u64 << 48 | BOUNDLESS).to_le_bytes());
        let mut worker = Worker::start("no memory", &[dir.path().to_str().unwrap(), call]);
        let status = worker.ended();
        assert!(status.success(), "{call}: {status}");
    }
}

/// Has some memory, and is told of a message that needs more.
fn part_no_memory(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    let size = BOUNDLESS + (2 << 30);
    let limit = libc::rlimit { rlim_cur: size, rlim_max: size };
    // SAFETY: the limit lives through the call.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    assert_eq!(limited, 0);
    let error = match arguments[1].as_str() {
        "recv" => format!("{:?}", queue.try_recv().unwrap_err()),
        "peek" => format!("{:?}", queue.peek(1).unwrap_err()),
        "recv_many" => format!("{:?}", queue.try_recv_many(&mut Batch::new(), 1).unwrap_err()),
        _ => format!("{:?}", queue.try_recv_into(&mut [0; 100]).unwrap_err()),
    };
    say(error);
}
