//! chappe's semaphore with one permit. It uses the public API only.

use crate::holder::{Executor, Holder, OnePermit, SLEEP};
use crate::measure::Result;
use crate::ours::fresh_name;
use chappe::{Children, Permit, Semaphore, SemaphoreOptions};
use std::path::Path;
use std::process::Command;

/// A semaphore by name; whoever attaches opens it.
pub struct OurPermit {
    options: SemaphoreOptions,
    name: String,
    maker: u32,
}

impl OurPermit {
    /// With another number of permits than one.
    pub fn with(dir: &Path, permits: u64) -> Result<OurPermit> {
        let mut options = Semaphore::options();
        options.dir(dir).any_existing(true).permits(permits);
        let name = fresh_name();
        // The handle goes at once: the semaphore stays until it is unlinked, and every process opens its own.
        options.create_new(&name)?;
        Ok(OurPermit { options, name, maker: std::process::id() })
    }
}

impl OnePermit for OurPermit {
    type End = Semaphore;

    fn create(dir: &Path) -> Result<OurPermit> {
        OurPermit::with(dir, 1)
    }

    fn attach(&self) -> Result<Semaphore> {
        Ok(self.options.open(&self.name)?)
    }
}

impl Drop for OurPermit {
    fn drop(&mut self) {
        if self.maker == std::process::id() {
            // Nobody is there to be told; the whole directory goes at the end anyway.
            let _ = self.options.unlink(&self.name);
        }
    }
}

impl Holder for Semaphore {
    type Permit<'a> = Permit<'a>;

    #[inline]
    fn acquire(&self) -> Result<Permit<'_>> {
        Ok(Semaphore::acquire(self)?)
    }
}

impl Executor for Semaphore {
    fn become_sleep(&self) -> Result<()> {
        become_sleep(self, Children::LetGo)
    }
}

/// The same, with a command whose children hold the permit too.
pub struct KeptByChildren(OurPermit);

pub struct KeepingEnd(Semaphore);

impl OnePermit for KeptByChildren {
    type End = KeepingEnd;

    fn create(dir: &Path) -> Result<KeptByChildren> {
        OurPermit::create(dir).map(KeptByChildren)
    }

    fn attach(&self) -> Result<KeepingEnd> {
        self.0.attach().map(KeepingEnd)
    }
}

impl Holder for KeepingEnd {
    type Permit<'a> = Permit<'a>;

    fn acquire(&self) -> Result<Permit<'_>> {
        Holder::acquire(&self.0)
    }
}

impl Executor for KeepingEnd {
    fn become_sleep(&self) -> Result<()> {
        become_sleep(&self.0, Children::Keep)
    }
}

fn become_sleep(semaphore: &Semaphore, children: Children) -> Result<()> {
    let [program, argument] = SLEEP;
    Err(semaphore.acquire()?.exec(Command::new(program).arg(argument), children).into())
}
