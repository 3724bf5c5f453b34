//! Locks on a file, which the kernel gives back when their holder dies: `flock`, which belongs to the open description and
//! so also to commands that inherit it, and `fcntl` (POSIX record locks), which belongs to the process.

use crate::holder::{Executor, Holder, OnePermit, SLEEP};
use crate::measure::Result;
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use std::fs::File;
use std::marker::PhantomData;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use tempfile::NamedTempFile;

/// How a file is locked.
pub trait Way {
    fn lock(file: &File, operation: FlockOperation) -> Result<(), Errno>;
}

pub struct WholeFile;

impl Way for WholeFile {
    fn lock(file: &File, operation: FlockOperation) -> Result<(), Errno> {
        flock(file, operation)
    }
}

pub struct Record;

impl Way for Record {
    fn lock(file: &File, operation: FlockOperation) -> Result<(), Errno> {
        fcntl_lock(file, operation)
    }
}

pub type Flock = LockFile<WholeFile>;
pub type FcntlLock = LockFile<Record>;

/// A file to lock; whoever attaches opens it.
pub struct LockFile<W>(NamedTempFile, PhantomData<W>);

pub struct LockEnd<W>(File, PhantomData<W>);

pub struct LockPermit<'a, W: Way>(&'a LockEnd<W>);

impl<W: Way> OnePermit for LockFile<W> {
    type End = LockEnd<W>;

    fn create(dir: &Path) -> Result<LockFile<W>> {
        Ok(LockFile(NamedTempFile::new_in(dir)?, PhantomData))
    }

    fn attach(&self) -> Result<LockEnd<W>> {
        Ok(LockEnd(File::options().read(true).write(true).open(self.0.path())?, PhantomData))
    }
}

impl<W: Way> Holder for LockEnd<W> {
    type Permit<'a>
        = LockPermit<'a, W>
    where
        W: 'a;

    #[inline]
    fn acquire(&self) -> Result<LockPermit<'_, W>> {
        rustix::io::retry_on_intr(|| W::lock(&self.0, FlockOperation::LockExclusive))?;
        Ok(LockPermit(self))
    }
}

impl<W: Way> Drop for LockPermit<'_, W> {
    #[inline]
    fn drop(&mut self) {
        let unlocked = W::lock(&self.0.0, FlockOperation::Unlock);
        assert!(unlocked.is_ok(), "unlocking failed: {unlocked:?}");
    }
}

impl Executor for LockEnd<WholeFile> {
    fn become_sleep(&self) -> Result<()> {
        let [program, argument] = SLEEP;
        let _held = self.acquire()?;
        fcntl_setfd(&self.0, FdFlags::empty())?;
        Err(Command::new(program).arg(argument).exec().into())
    }
}
