//! An object and several handles of it: each stands for a process, with a mapping and byte locks of its own.

use crate::name::{Kind, Name};
use crate::shm::setup::{self, Core, Lifetime, Setup};
use crate::sys::bytelock;
use crate::world::{Ground, Quiet};
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use tempfile::TempDir;

/// See the module. Handle `i` has attach index `i`.
pub(crate) struct Object<C: Core> {
    pub handles: Vec<Arc<C>>,
    pub ground: Ground,
    _dir: TempDir,
}

impl<C: Core> Object<C> {
    /// An object with so many handles.
    pub(crate) fn new(wanted: &C::Wanted, handles: usize) -> Object<C> {
        // Where the library would put it, and where byte locks and holes cost least.
        let dir = tempfile::tempdir_in("/dev/shm").expect("/dev/shm is there");
        let setup = Setup {
            name: Some(Name::new("model").expect("a name")),
            dir: dir.path().to_owned(),
            lifetime: Lifetime::OpenOrCreate,
            compare: true,
            mode: 0o600,
            umask: false,
            ephemeral: false,
            strict: true,
            doorbell: false,
        };
        let open = |_| Arc::new(setup::set_up::<C>(&setup, wanted).expect("an object"));
        let handles: Vec<Arc<C>> = (0..handles).map(open).collect();
        let path = dir.path().join(Name::new("model").expect("a name").file_name(C::KIND));
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("it is there");
        let mappings = mappings(&file);
        assert!(mappings.len() >= handles.len(), "a mapping for each handle");
        // The leaf words of priorities from 64 on.
        let unused = if C::KIND == Kind::Queue { 8200..12288 } else { 0..0 };
        Object { handles, ground: Ground { file, mappings, unused, quiet: quiet(C::KIND) }, _dir: dir }
    }

    fn fd(&self, number: usize) -> BorrowedFd<'_> {
        self.handles[number].base().member.fd()
    }

    /// The kernel has taken a handle's process down.
    pub(crate) fn died(&self, number: usize) {
        bytelock::release_all(self.fd(number)).expect("it is open");
    }

    /// All live again.
    pub(crate) fn revive(&self) {
        for number in 0..self.handles.len() {
            bytelock::release_all(self.fd(number)).expect("it is open");
        }
        for number in 0..self.handles.len() {
            assert!(bytelock::try_take(self.fd(number), number as u32).expect("it is open"), "nobody else has it");
        }
    }
}

/// Where no switch is tried: see `docs/format.md` for what is there.
fn quiet(kind: Kind) -> Vec<Quiet> {
    let guarded = |places| Quiet { places, guarded: true };
    let idle = |places| Quiet { places, guarded: false };
    // How many records are looked at.
    let records = (0..16).map(|number| 266_240 + number * 128);
    // What an entry says of itself.
    let entries = (0..8).map(|index| 12288 + index * 64 + 40).map(|pinned| idle(pinned..pinned + 4));
    match kind {
        Kind::Queue => {
            let desk = [516..544, 548..552, 560..640, 8192..12288, 274_432..536_576].map(guarded);
            desk.into_iter().chain([idle(768..816)]).chain(entries).collect()
        }
        Kind::Semaphore => {
            let lists = records.clone().flat_map(|record| [record + 16..record + 24, record + 32..record + 40]);
            let labels = records.flat_map(|record| [record + 24..record + 32, record + 64..record + 128]);
            let desk = [516..520, 528..552].into_iter().chain(lists).map(guarded);
            desk.chain(labels.chain(std::iter::once(576..600)).map(idle)).collect()
        }
    }
}

/// Where this process has the file mapped.
fn mappings(file: &File) -> Vec<Range<usize>> {
    let inode = file.metadata().expect("it is open").ino().to_string();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("there is /proc");
    let range = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (range, found) = (words.next()?, words.nth(3)?);
        let (start, end) = range.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        (found == inode).then_some(address(start)?..address(end)?)
    };
    maps.lines().filter_map(range).collect()
}

/// A word of the file.
pub(crate) fn word(file: &File, place: u64, size: usize) -> u64 {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes[..size], place).expect("the file is that long");
    u64::from_ne_bytes(bytes)
}
