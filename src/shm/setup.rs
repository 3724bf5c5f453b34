//! Setting up: create, open, unlink, list. Files come and go here; a queue that is open is [`queue`](super::queue)'s.

use super::fault::Fault;
use super::layout::{Identity, Layout, Life, NAME_BYTE, OutOfRange, Refusal, VERSION, identify};
use super::member::Member;
use super::queue::Core;
use crate::error::OpenError;
use crate::message::{CAPACITY_DEFAULT, MESSAGE_SIZE_DEFAULT};
use crate::name::{Kind, Name};
use crate::raw::word::Owner;
use crate::region::Region;
use crate::stat::{Attributes, Object};
use crate::sys::file::{self, Facts};
use crate::sys::{bytelock, process};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How often opening and creating are tried in turn while others unlink and create under the same name.
const ROUNDS: u32 = 1000;

/// Why a file is not opened under its name.
const ANOTHER_NAME: &str = "its header has another name: two long names share a hash, or the file was renamed";

/// Whether a queue may, must, or must not be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Open,
    OpenOrCreate,
    CreateNew,
}

/// What a user asked for.
pub(crate) struct Setup {
    pub name: Name,
    pub dir: PathBuf,
    pub lifetime: Lifetime,
    pub capacity: Option<u32>,
    pub message_size: Option<u64>,
    /// Whether an existing queue must have the attributes asked for.
    pub compare: bool,
    pub mode: u32,
    pub umask: bool,
    pub ephemeral: bool,
}

/// Opens or creates a queue.
pub(crate) fn queue(setup: Setup) -> Result<Core, OpenError> {
    let path = setup.dir.join(setup.name.file_name(Kind::Queue));
    for _ in 0..ROUNDS {
        if setup.lifetime != Lifetime::CreateNew
            && let Some(core) = open(&setup, &path)?
        {
            return Ok(core);
        }
        if setup.lifetime == Lifetime::Open {
            return Err(OpenError::NotFound { kind: Kind::Queue, name: setup.name, dir: setup.dir });
        }
        if let Some(core) = create(&setup, &path)? {
            return Ok(core);
        }
        if setup.lifetime == Lifetime::CreateNew && !is_orphan(&setup.name, &path) {
            return Err(OpenError::Exists { kind: Kind::Queue, name: setup.name });
        }
    }
    let source = io::Error::other("others create and unlink it all the time");
    Err(OpenError::System { step: "settle on", path, source })
}

/// Opens the queue at `path`; `None` if there is none (any more).
fn open(setup: &Setup, path: &Path) -> Result<Option<Core>, OpenError> {
    let fd = match file::open(path) {
        Ok(fd) => fd,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(refused_open(path, source)),
    };
    let identity = examine(&fd, path)?;
    if identity.name != setup.name {
        // Only the files of long names can be shared by two: the hash of one is that of another.
        return Err(not_ours(path, ANOTHER_NAME));
    }
    compare(setup, identity.layout.attributes)?;
    let core = map(setup.name.clone(), path, fd, identity)?;
    if core.end_if_orphaned().map_err(|fault| translate(fault, &setup.name, path))? {
        return Ok(None);
    }
    core.attach().map_err(|fault| translate(fault, &setup.name, path))?;
    Ok(Some(core))
}

/// Refuses everything that is not a queue of this version, before it is mapped.
fn examine(fd: &OwnedFd, path: &Path) -> Result<Identity, OpenError> {
    let facts = file::facts(fd.as_fd()).map_err(|source| failed("look at", path, source))?;
    if !facts.regular {
        return Err(not_ours(path, "it is not a regular file"));
    }
    let mut start = [0; 4096];
    let filled = file::read_start(fd.as_fd(), &mut start).map_err(|source| failed("read", path, source))?;
    identify(&start[..filled], facts.size).map_err(|refusal| match refusal {
        Refusal::NotOurs(reason) => not_ours(path, reason),
        Refusal::Version(found) => OpenError::Version { path: path.into(), found, ours: VERSION },
    })
}

fn compare(setup: &Setup, found: Attributes) -> Result<(), OpenError> {
    let wanted = Attributes {
        capacity: setup.capacity.unwrap_or(found.capacity),
        message_size: setup.message_size.unwrap_or(found.message_size),
    };
    if setup.compare && wanted != found {
        return Err(OpenError::Mismatch { name: setup.name.clone(), found, wanted });
    }
    Ok(())
}

fn map(name: Name, path: &Path, fd: OwnedFd, identity: Identity) -> Result<Core, OpenError> {
    let facts = file::facts(fd.as_fd()).map_err(|source| failed("look at", path, source))?;
    let region = Region::new(fd.as_fd(), identity.layout.file_size).map_err(|source| failed("map", path, source))?;
    Ok(Core::new(name, path.into(), identity, region, Member::new(fd, facts)))
}

/// Creates the queue in a file without a name, and names it; `None` if the name is taken.
fn create(setup: &Setup, path: &Path) -> Result<Option<Core>, OpenError> {
    let layout = Layout::new(Attributes {
        capacity: setup.capacity.unwrap_or(CAPACITY_DEFAULT),
        message_size: setup.message_size.unwrap_or(MESSAGE_SIZE_DEFAULT),
    })
    .map_err(|OutOfRange(what, low, high, value)| OpenError::Attribute { what, low, high, value })?;
    let mode = if setup.umask { setup.mode & !process::umask() } else { setup.mode };
    let fd = file::create_unnamed(&setup.dir, mode).map_err(|source| failed("create a file in", &setup.dir, source))?;
    let created = process::unix_nanos();
    write_fixed(&fd, &layout, setup, created).map_err(|source| failed("reserve memory for", path, source))?;
    let identity = Identity { layout, name: setup.name.clone(), ephemeral: setup.ephemeral, created };
    let mut core = map(setup.name.clone(), path, fd, identity)?;
    let prepared = core.initialise().and_then(|()| core.attach());
    prepared.map_err(|fault| translate(fault, &setup.name, path))?;
    if setup.ephemeral {
        core.become_creator().map_err(|fault| translate(fault, &setup.name, path))?;
    }
    match file::name(core.fd(), path) {
        Ok(()) => Ok(Some(core)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            core.give_up_creating();
            Ok(None)
        }
        Err(source) => Err(failed("name", path, source)),
    }
}

/// Length, the pages that are used from the start, and what is fixed for good.
fn write_fixed(fd: &OwnedFd, layout: &Layout, setup: &Setup, created: u64) -> io::Result<()> {
    file::set_len(fd.as_fd(), layout.file_size)?;
    let (offset, len) = Layout::fixed_bytes();
    file::reserve(fd.as_fd(), offset, len)?;
    file::write_start(fd.as_fd(), &layout.fixed_header(&setup.name, setup.ephemeral, created))
}

/// Whether the name stands for an ephemeral queue whose creator is gone; if so, it does not any more.
fn is_orphan(name: &Name, path: &Path) -> bool {
    let opened = file::open(path).map_err(|source| failed("open", path, source));
    let core = opened.and_then(|fd| {
        let identity = examine(&fd, path)?;
        map(name.clone(), path, fd, identity)
    });
    core.is_ok_and(|core| core.end_if_orphaned().unwrap_or(false))
}

/// Removes a name, and ends the queue behind it for those who have it open.
pub(crate) fn unlink(kind: Kind, dir: &Path, name: &Name) -> Result<(), OpenError> {
    let path = dir.join(name.file_name(kind));
    for _ in 0..ROUNDS {
        match unlink_once(name, &path) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::NotFound { kind, name: name.clone(), dir: dir.into() });
            }
            Err(source) => return Err(failed("unlink", &path, source)),
        }
    }
    Err(failed("settle on", &path, io::Error::other("others create and unlink it all the time")))
}

/// False if the name leads to another file by now.
fn unlink_once(name: &Name, path: &Path) -> io::Result<bool> {
    // Opened first: afterwards there is no way to it. What cannot be opened, or is no queue, is removed all the same.
    let Ok(fd) = file::open(path) else { return file::remove(path).map(|()| true) };
    let core = examine(&fd, path).and_then(|identity| map(name.clone(), path, file_again(&fd, path)?, identity));
    if !remove_name(fd.as_fd(), path, file::facts(fd.as_fd())?)? {
        return Ok(false);
    }
    if let Ok(core) = core {
        core.end(Life::Unlinked);
    }
    Ok(true)
}

fn file_again(fd: &OwnedFd, path: &Path) -> Result<OwnedFd, OpenError> {
    file::reopen(fd.as_fd()).map_err(|source| failed("open", path, source))
}

/// Removes a name if it leads to this file; false if it does not. Whoever removes a name holds the name byte of the file, so
/// that nobody's look is out of date when they remove: else a new file of the same name could go instead.
pub(crate) fn remove_name(fd: BorrowedFd<'_>, path: &Path, facts: Facts) -> io::Result<bool> {
    bytelock::take(fd, NAME_BYTE)?;
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
    let kind = Kind::Queue;
    let text = path.file_name()?.as_bytes().strip_prefix(kind.prefix().as_bytes())?;
    let facts = file::facts_at(path).ok()?;
    let opened = file::open(path).map_err(|source| refused_open(path, source));
    let core = opened.and_then(|fd| {
        let identity = examine(&fd, path)?;
        if Some(identity.name.file_name(kind).as_os_str()) != path.file_name() {
            return Err(not_ours(path, ANOTHER_NAME));
        }
        map(identity.name.clone(), path, fd, identity)
    });
    if let Ok(core) = &core
        && core.end_if_orphaned().unwrap_or(false)
    {
        return None;
    }
    let name = match &core {
        Ok(core) => core.name().clone(),
        Err(_) => Name::new(text).ok()?,
    };
    let defect = core.err().map(|error| error.to_string());
    Some(Object { kind, name, path: path.into(), mode: facts.mode, uid: facts.uid, memory: facts.memory, defect })
}

fn refused_open(path: &Path, source: io::Error) -> OpenError {
    match source.raw_os_error() {
        Some(libc::ELOOP) => not_ours(path, "it is a symbolic link"),
        Some(libc::EISDIR) => not_ours(path, "it is a directory"),
        Some(libc::ENXIO) => not_ours(path, "it is a socket or a FIFO"),
        _ => failed("open", path, source),
    }
}

fn not_ours(path: &Path, reason: &'static str) -> OpenError {
    OpenError::NotAnObject { kind: Kind::Queue, path: path.into(), reason }
}

fn failed(step: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::System { step, path: path.into(), source }
}

fn translate(fault: Fault, name: &Name, path: &Path) -> OpenError {
    match fault {
        Fault::Corrupt => OpenError::Corrupt { name: name.clone() },
        Fault::Full => OpenError::Full { name: name.clone(), max: Owner::INDEX_MAX + 1 },
        Fault::Busy => failed("attach to", path, io::Error::from_raw_os_error(libc::EBUSY)),
        Fault::System(errno) => failed("attach to", path, io::Error::from_raw_os_error(errno)),
    }
}
