//! Setting up: create, open, unlink, list. Files come and go here, whatever kind of object they hold; an object that is open
//! is [`queue`](super::queue)'s or [`semaphore`](super::semaphore)'s.

use super::base::Base;
use super::fault::Fault;
use super::layout::{Geometry, Identity, Life, NAME_BYTE, OutOfRange, Refusal, VERSION, identify};
use super::member::Member;
use super::{queue, semaphore};
use crate::error::OpenError;
use crate::name::{Kind, Name, bell_inode};
use crate::raw::word::Owner;
use crate::region::Region;
use crate::stat::Object;
use crate::sys::file::{self, Facts, File};
use crate::sys::{bytelock, fifo, process};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How often opening and creating are tried in turn while others unlink and create under the same name.
const ROUNDS: u32 = 1000;

/// Why a file is not opened under its name.
const ANOTHER_NAME: &str = "its header has another name: two long names share a hash, or the file was renamed";

/// Whether an object may, must, or must not be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Open,
    OpenOrCreate,
    CreateNew,
}

/// What a user asked for, whatever the kind.
pub(crate) struct Setup {
    /// `None` where no name is looked up.
    pub name: Option<Name>,
    pub dir: PathBuf,
    pub lifetime: Lifetime,
    /// Whether an existing object must have the attributes asked for.
    pub compare: bool,
    pub mode: u32,
    pub umask: bool,
    pub ephemeral: bool,
    pub strict: bool,
    /// A queue gets its doorbell at once, and `mode` is that of POSIX's.
    pub doorbell: bool,
}

/// An open object of some kind, as setting up sees it.
pub(crate) trait Core: Sized {
    const KIND: Kind;
    /// The attributes that can be asked for.
    type Wanted;
    /// Where everything lies in an object with these attributes.
    fn geometry(wanted: &Self::Wanted) -> Result<Geometry, OutOfRange>;
    /// A handle on a mapped object that has yet to attach; `None` if the geometry is another kind's.
    fn new(base: Base, geometry: Geometry, region: Region) -> Option<Self>;
    /// Makes the words of a new object that are not zero. Nobody else can see the file yet.
    /// `posix_mode`: a queue gets its doorbell, for use by these permission bits.
    fn initialise(&self, wanted: &Self::Wanted, posix_mode: Option<u32>) -> Result<(), Fault>;
    /// Whether it has what was asked for.
    fn compare(&self, wanted: &Self::Wanted) -> Result<(), OpenError>;
    /// Takes part.
    fn attach(&self) -> Result<(), Fault>;
    fn base(&self) -> &Base;
    fn base_mut(&mut self) -> &mut Base;
    /// Its permission bits, as users see them.
    fn mode(&self) -> u32 {
        self.base().member.facts().mode
    }
    /// Its name was taken, so it was never there.
    fn give_up_creating(&mut self) {
        self.base_mut().give_up_creating();
    }
    /// Its name was removed: removes what goes with it.
    fn name_is_gone(&self) {}
    /// See [`Base::end_if_orphaned`].
    fn end_if_orphaned(&self) -> Result<bool, Fault>;
    /// See [`Base::end`].
    fn end(&self, life: Life);
}

/// Opens or creates an object under the name in `setup`.
pub(crate) fn set_up<C: Core>(setup: &Setup, wanted: &C::Wanted) -> Result<C, OpenError> {
    let Some(name) = &setup.name else { return unnamed(setup, wanted) };
    let path = setup.dir.join(name.file_name(C::KIND));
    for _ in 0..ROUNDS {
        if setup.lifetime != Lifetime::CreateNew
            && let Some(core) = open(setup, name, &path, wanted)?
        {
            return Ok(core);
        }
        if setup.lifetime == Lifetime::Open {
            return Err(OpenError::NotFound { kind: C::KIND, name: name.clone(), dir: setup.dir.clone() });
        }
        if let Some(core) = create(setup, name, &path, wanted)? {
            return Ok(core);
        }
        if setup.lifetime == Lifetime::CreateNew && !is_orphan::<C>(&path) {
            return Err(OpenError::Exists { kind: C::KIND, name: name.clone() });
        }
    }
    let source = io::Error::other("others create and unlink it all the time");
    Err(OpenError::System { step: "settle on", path, source })
}

/// Creates an object that has no name, in a file that has none.
pub(crate) fn unnamed<C: Core>(setup: &Setup, wanted: &C::Wanted) -> Result<C, OpenError> {
    let fd = file::create_anonymous(mode(setup))
        .map_err(|source| failed("create a file in", Path::new("memory"), source))?;
    // Opened anew: the kernel tells nobody when the description of memfd_create is closed (measured: no inotify event comes).
    let path = Path::new("a file without a name");
    let fd = file::reopen(fd.as_fd()).map_err(|source| failed("open", path, source))?;
    prepare(fd, setup, None, path, wanted)
}

/// Opens the object behind a descriptor.
pub(crate) fn from_fd<C: Core>(fd: OwnedFd, setup: &Setup, wanted: &C::Wanted) -> Result<C, OpenError> {
    let path = Path::new("a descriptor");
    let fd = File::from(fd);
    // Byte locks belong to a description, and this one is shared with whoever passed it.
    let own = file::reopen(fd.as_fd()).map_err(|source| refused_open(C::KIND, path, source))?;
    let identity = examine(C::KIND, &own, path)?;
    let core = map::<C>(None, path, own, &identity)?;
    if setup.compare {
        core.compare(wanted)?;
    }
    core.attach().map_err(|fault| translate(fault, "the object behind the descriptor", path))?;
    Ok(core)
}

/// Opens the queue that a doorbell belongs to, in the directory that the doorbell is in.
pub(crate) fn by_doorbell(
    doorbell: BorrowedFd<'_>,
    setup: &Setup,
    wanted: &queue::Wanted,
) -> Result<queue::Core, OpenError> {
    let foreign = |reason| not_ours(Kind::Queue, Path::new("a descriptor"), reason);
    let bell = fifo::facts_if_fifo(doorbell).ok().flatten().ok_or_else(|| foreign("it is no doorbell"))?;
    let path = file::path_of(doorbell).map_err(|source| failed("look at", Path::new("a descriptor"), source))?;
    let inode = path.file_name().and_then(|name| bell_inode(name.as_bytes()));
    let (Some(inode), Some(dir)) = (inode, path.parent()) else { return Err(foreign("it is no doorbell")) };
    for path in paths(Kind::Queue, dir)? {
        if !file::facts_at(&path).is_ok_and(|facts| (facts.device, facts.inode) == (bell.device, inode)) {
            continue;
        }
        let core = open_whatever::<queue::Core>(setup, None, &path, wanted)?;
        if let Some(core) = core.filter(|core| core.has_bell(bell.inode)) {
            return Ok(core);
        }
    }
    Err(foreign("the queue that it belongs to has no name any more"))
}

/// Opens the object at `path`; `None` if there is none (any more).
fn open<C: Core>(setup: &Setup, name: &Name, path: &Path, wanted: &C::Wanted) -> Result<Option<C>, OpenError> {
    open_whatever(setup, Some(name), path, wanted)
}

/// As [`open`], whatever its name if none is given.
fn open_whatever<C: Core>(
    setup: &Setup,
    name: Option<&Name>,
    path: &Path,
    wanted: &C::Wanted,
) -> Result<Option<C>, OpenError> {
    let fd = match file::open(path) {
        Ok(fd) => fd,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(refused_open(C::KIND, path, source)),
    };
    let identity = examine(C::KIND, &fd, path)?;
    if name.is_some() && identity.name.as_ref() != name {
        // Only the files of long names can be shared by two: the hash of one is that of another.
        return Err(not_ours(C::KIND, path, ANOTHER_NAME));
    }
    let core = map::<C>(Some(path), path, fd, &identity)?;
    if setup.compare {
        core.compare(wanted)?;
    }
    let fault = |fault| translate(fault, &name.map_or_else(|| path.display().to_string(), Name::to_string), path);
    if core.end_if_orphaned().map_err(fault)? {
        return Ok(None);
    }
    core.attach().map_err(fault)?;
    Ok(Some(core))
}

/// Refuses everything that is not an object of this kind and version, before it is mapped.
fn examine(kind: Kind, fd: &File, path: &Path) -> Result<Identity, OpenError> {
    let facts = file::facts(fd.as_fd()).map_err(|source| failed("look at", path, source))?;
    if !facts.regular {
        return Err(not_ours(kind, path, "it is not a regular file"));
    }
    let mut start = [0; 4096];
    let filled = file::read_start(fd.as_fd(), &mut start).map_err(|source| failed("read", path, source))?;
    identify(kind, &start[..filled], facts.size).map_err(|refusal| match refusal {
        Refusal::NotOurs(reason) => not_ours(kind, path, reason),
        Refusal::Version(found) => OpenError::Version { path: path.into(), found, ours: VERSION },
    })
}

/// Maps an object. `name_at` is where its name is, if it has one that goes with it.
fn map<C: Core>(name_at: Option<&Path>, path: &Path, fd: File, identity: &Identity) -> Result<C, OpenError> {
    let facts = file::facts(fd.as_fd()).map_err(|source| failed("look at", path, source))?;
    let len = identity.geometry.file_size();
    if facts.size < len {
        return Err(not_ours(C::KIND, path, "it was shortened while it was opened"));
    }
    let region = Region::new(fd.as_fd(), len).map_err(|source| failed("map", path, source))?;
    let base = Base::new(identity, name_at.map(Path::to_path_buf), Member::new(fd, facts));
    C::new(base, identity.geometry, region).ok_or_else(|| not_ours(C::KIND, path, "it holds another kind of object"))
}

fn mode(setup: &Setup) -> u32 {
    if setup.umask { setup.mode & !process::umask() } else { setup.mode }
}

/// Creates the object in a file without a name, and names it; `None` if the name is taken.
fn create<C: Core>(setup: &Setup, name: &Name, path: &Path, wanted: &C::Wanted) -> Result<Option<C>, OpenError> {
    C::geometry(wanted).map_err(out_of_range)?;
    let bits = if setup.doorbell { queue::widened(mode(setup)) } else { mode(setup) };
    let fd = file::create_unnamed(&setup.dir, bits).map_err(|source| failed("create a file in", &setup.dir, source))?;
    let mut core = prepare::<C>(fd, setup, Some((name, path)), path, wanted)?;
    match file::name(core.base().member.fd(), path) {
        Ok(()) => Ok(Some(core)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            core.give_up_creating();
            Ok(None)
        }
        Err(source) => {
            core.give_up_creating();
            Err(failed("name", path, source))
        }
    }
}

/// Makes a complete object of an empty file.
fn prepare<C: Core>(
    fd: File,
    setup: &Setup,
    named: Option<(&Name, &Path)>,
    path: &Path,
    wanted: &C::Wanted,
) -> Result<C, OpenError> {
    let geometry = C::geometry(wanted).map_err(out_of_range)?;
    let (name, created) = (named.map(|(name, _)| name.clone()), process::unix_nanos());
    // What has no name goes with the last who has it, anyway.
    let ephemeral = setup.ephemeral && named.is_some();
    let identity = Identity { geometry, name, ephemeral, strict: setup.strict, created };
    write_fixed(&fd, &identity).map_err(|source| failed("reserve memory for", path, source))?;
    let mut core = map::<C>(named.map(|(_, path)| path), path, fd, &identity)?;
    let fault = |fault| translate(fault, &path.display().to_string(), path);
    let mut made = core.initialise(wanted, setup.doorbell.then(|| mode(setup))).and_then(|()| core.attach());
    if ephemeral && made.is_ok() {
        made = core.base_mut().become_creator();
    }
    match made.map_err(fault) {
        Ok(()) => Ok(core),
        Err(error) => {
            // It has no name yet, but may have a doorbell.
            core.give_up_creating();
            Err(error)
        }
    }
}

fn out_of_range(OutOfRange(what, low, high, value): OutOfRange) -> OpenError {
    OpenError::Attribute { what, low, high, value }
}

/// Length, the pages that are used from the start, and what is fixed for good.
fn write_fixed(fd: &File, identity: &Identity) -> io::Result<()> {
    file::set_len(fd.as_fd(), identity.geometry.file_size())?;
    let (offset, len) = identity.geometry.fixed_bytes();
    file::reserve(fd.as_fd(), offset, len)?;
    file::write_start(fd.as_fd(), &identity.to_bytes())
}

/// Whether the name stands for an ephemeral object whose creator is gone; if so, it does not any more.
fn is_orphan<C: Core>(path: &Path) -> bool {
    let opened = file::open(path).map_err(|source| failed("open", path, source));
    let core = opened.and_then(|fd| {
        let identity = examine(C::KIND, &fd, path)?;
        map::<C>(Some(path), path, fd, &identity)
    });
    core.is_ok_and(|core| core.end_if_orphaned().unwrap_or(false))
}

/// Removes a name, and ends the object behind it for those who have it open, or not.
pub(crate) fn unlink(kind: Kind, dir: &Path, name: &Name, end: bool) -> Result<(), OpenError> {
    let path = dir.join(name.file_name(kind));
    for _ in 0..ROUNDS {
        let once = match kind {
            Kind::Queue => unlink_once::<queue::Core>(&path, end),
            Kind::Semaphore => unlink_once::<semaphore::Core>(&path, end),
        };
        match once {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.io_kind() == Some(io::ErrorKind::NotFound) => {
                return Err(OpenError::NotFound { kind, name: name.clone(), dir: dir.into() });
            }
            Err(error) => return Err(error),
        }
    }
    Err(failed("settle on", &path, io::Error::other("others create and unlink it all the time")))
}

/// False if the name leads to another file by now.
fn unlink_once<C: Core>(path: &Path, end: bool) -> Result<bool, OpenError> {
    let unlinked = |result: io::Result<bool>| result.map_err(|source| failed("unlink", path, source));
    // Opened first: afterwards there is no way to it. What cannot be opened, or is no such object, is removed all the same.
    let fd = match file::open(path) {
        Ok(fd) => fd,
        // Not removed, should it come to be by now: nobody would tell those who have it.
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Err(failed("unlink", path, source)),
        // Where nobody is to be told, the name can go without (POSIX knows no such error); at most a doorbell stays.
        Err(source) if end && lacks_means(&source) => return Err(failed("open", path, source)),
        Err(_) => return unlinked(file::remove(path).map(|()| true)),
    };
    let core = match open_to_unlink::<C>(path, &fd) {
        Err(OpenError::System { step, path, source }) if end && lacks_means(&source) => {
            return Err(OpenError::System { step, path, source });
        }
        other => other.ok().flatten(),
    };
    if !unlinked(file::facts(fd.as_fd()).and_then(|facts| remove_name(fd.as_fd(), path, facts)))? {
        return Ok(false);
    }
    if let Some(core) = core {
        if end {
            core.end(Life::Unlinked);
        }
        core.name_is_gone();
    }
    Ok(true)
}

/// The object that goes with the name; `None` if the name is a second one of a file whose own is another: it goes alone.
fn open_to_unlink<C: Core>(path: &Path, fd: &File) -> Result<Option<C>, OpenError> {
    let identity = examine(C::KIND, fd, path)?;
    let own = identity.name.as_ref().map(|name| name.file_name(C::KIND));
    if own.as_deref() != path.file_name() {
        return Ok(None);
    }
    let again = file::reopen(fd.as_fd()).map_err(|source| failed("open", path, source))?;
    map::<C>(Some(path), path, again, &identity).map(Some)
}

/// Whether it was this process or the machine that had too little just now, of descriptors or memory: it says nothing of the file.
fn lacks_means(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN))
}

/// Removes a name if it leads to this file; false if it does not. Whoever removes a name holds the name byte of the file, so
/// that nobody's look is out of date when they remove: else a new file of the same name could go instead.
fn remove_name(fd: BorrowedFd<'_>, path: &Path, facts: Facts) -> io::Result<bool> {
    bytelock::take(fd, NAME_BYTE)?;
    remove_if_it_leads_here(fd, path, facts)
}

/// As [`remove_name`], but `WouldBlock` if somebody else has the byte: for those who make others wait meanwhile.
pub(crate) fn try_remove_name(fd: BorrowedFd<'_>, path: &Path, facts: Facts) -> io::Result<bool> {
    if !bytelock::try_take(fd, NAME_BYTE)? {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    remove_if_it_leads_here(fd, path, facts)
}

fn remove_if_it_leads_here(fd: BorrowedFd<'_>, path: &Path, facts: Facts) -> io::Result<bool> {
    let leads_here = file::facts_at(path).map(|found| found.same_file(facts));
    let removed = match leads_here {
        Ok(true) => file::remove(path).map(|()| true),
        Ok(false) => Ok(false),
        Err(error) => Err(error),
    };
    bytelock::release(fd, NAME_BYTE)?;
    removed
}

/// The objects in a directory.
pub(crate) fn list(dir: &Path) -> Result<Vec<Object>, OpenError> {
    let entries = std::fs::read_dir(dir).map_err(|source| failed("list", dir, source))?;
    let mut objects = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| failed("list", dir, source))?;
        objects.extend(look(&entry.path()));
    }
    objects.sort_by(|a, b| (&a.name, a.kind).cmp(&(&b.name, b.kind)));
    Ok(objects)
}

/// What a file in the directory is; `None` if it is none of ours, or went away.
fn look(path: &Path) -> Option<Object> {
    let file = path.file_name()?.as_bytes();
    let kind = Kind::ALL.into_iter().find(|kind| file.starts_with(kind.prefix().as_bytes()))?;
    match kind {
        Kind::Queue => look_as::<queue::Core>(path),
        Kind::Semaphore => look_as::<semaphore::Core>(path),
    }
}

fn look_as<C: Core>(path: &Path) -> Option<Object> {
    let kind = C::KIND;
    let text = path.file_name()?.as_bytes().strip_prefix(kind.prefix().as_bytes())?;
    let facts = file::facts_at(path).ok()?;
    let opened = file::open(path).map_err(|source| refused_open(kind, path, source));
    let seen = opened.and_then(|fd| {
        let identity = examine(kind, &fd, path)?;
        let name = identity.name.clone().filter(|name| Some(name.file_name(kind).as_os_str()) == path.file_name());
        let name = name.ok_or_else(|| not_ours(kind, path, ANOTHER_NAME))?;
        Ok((name, map::<C>(Some(path), path, fd, &identity)?))
    });
    if let Ok((_, core)) = &seen
        && core.end_if_orphaned().unwrap_or(false)
    {
        return None;
    }
    let name = match &seen {
        Ok((name, _)) => name.clone(),
        Err(_) => Name::new(text).ok()?,
    };
    let mode = seen.as_ref().map_or(facts.mode, |(_, core)| core.mode());
    let defect = seen.err().map(|error| error.to_string());
    Some(Object { kind, name, path: path.into(), mode, uid: facts.uid, memory: facts.memory, defect })
}

/// The files in a directory that hold objects of this kind, by their names.
pub(crate) fn paths(kind: Kind, dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let ours =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_bytes().starts_with(kind.prefix().as_bytes()));
    let entries = std::fs::read_dir(dir).map_err(|source| failed("list", dir, source))?;
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    Ok(paths.map_err(|source| failed("list", dir, source))?.into_iter().filter(ours).collect())
}

/// An object that is looked at without taking part, and without being written to.
pub(crate) fn look_at<C: Core>(path: &Path) -> Result<C, OpenError> {
    let fd = file::open_to_look(path).map_err(|source| refused_open(C::KIND, path, source))?;
    let identity = examine(C::KIND, &fd, path)?;
    let facts = file::facts(fd.as_fd()).map_err(|source| failed("look at", path, source))?;
    let region =
        Region::to_look(fd.as_fd(), identity.geometry.file_size()).map_err(|source| failed("map", path, source))?;
    let base = Base::new(&identity, Some(path.to_path_buf()), Member::new(fd, facts));
    C::new(base, identity.geometry, region).ok_or_else(|| not_ours(C::KIND, path, "it holds another kind of object"))
}

fn refused_open(kind: Kind, path: &Path, source: io::Error) -> OpenError {
    match source.raw_os_error() {
        Some(libc::ELOOP) => not_ours(kind, path, "it is a symbolic link"),
        Some(libc::EISDIR) => not_ours(kind, path, "it is a directory"),
        Some(libc::ENXIO) => not_ours(kind, path, "it is a socket or a FIFO"),
        _ => failed("open", path, source),
    }
}

fn not_ours(kind: Kind, path: &Path, reason: &'static str) -> OpenError {
    OpenError::NotAnObject { kind, path: path.into(), reason }
}

fn failed(step: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::System { step, path: path.into(), source }
}

fn translate(fault: Fault, name: &str, path: &Path) -> OpenError {
    match fault {
        Fault::Corrupt => OpenError::Corrupt { name: name.into() },
        Fault::Full => OpenError::Full { name: name.into(), max: Owner::INDEX_MAX + 1 },
        Fault::Busy => failed("attach to", path, io::Error::from_raw_os_error(libc::EBUSY)),
        Fault::Interrupted => failed("attach to", path, io::Error::from_raw_os_error(libc::EINTR)),
        Fault::System(errno) => failed("attach to", path, io::Error::from_raw_os_error(errno)),
    }
}
