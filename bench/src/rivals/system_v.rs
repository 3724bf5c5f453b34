//! The kernel's System V semaphore with SEM_UNDO, whose permits come back when their holder dies. All unsafe code for it is
//! here.

use crate::holder::{Holder, OnePermit};
use crate::measure::Result;
use std::ffi::{c_int, c_short};
use std::io::{Error, ErrorKind};
use std::path::Path;

/// A set of one semaphore, without a key: children know it by its number.
pub struct SystemV {
    set: c_int,
    maker: u32,
}

pub struct SystemVEnd(c_int);

pub struct SystemVPermit<'a>(&'a SystemVEnd);

impl OnePermit for SystemV {
    type End = SystemVEnd;

    fn create(_dir: &Path) -> Result<SystemV> {
        // SAFETY: the call takes numbers only.
        let set = match unsafe { libc::semget(libc::IPC_PRIVATE, 1, libc::IPC_CREAT | 0o600) } {
            -1 => return Err(Error::last_os_error().into()),
            set => SystemV { set, maker: std::process::id() },
        };
        // A new semaphore is 0. Without SEM_UNDO: the permit is nobody's yet.
        operate(set.set, 1, 0)?;
        Ok(set)
    }

    fn attach(&self) -> Result<SystemVEnd> {
        Ok(SystemVEnd(self.set))
    }
}

impl Drop for SystemV {
    fn drop(&mut self) {
        if self.maker == std::process::id() {
            // SAFETY: the call takes numbers only; nobody uses the set after this.
            let removed = unsafe { libc::semctl(self.set, 0, libc::IPC_RMID) };
            debug_assert_eq!(removed, 0);
        }
    }
}

impl Holder for SystemVEnd {
    type Permit<'a> = SystemVPermit<'a>;

    #[inline]
    fn acquire(&self) -> Result<SystemVPermit<'_>> {
        operate(self.0, -1, libc::SEM_UNDO as c_short)?;
        Ok(SystemVPermit(self))
    }
}

impl Drop for SystemVPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        let given = operate(self.0.0, 1, libc::SEM_UNDO as c_short);
        assert!(given.is_ok(), "semop failed: {given:?}");
    }
}

#[inline]
fn operate(set: c_int, change: c_short, flags: c_short) -> Result<(), Error> {
    let mut operation = libc::sembuf { sem_num: 0, sem_op: change, sem_flg: flags };
    loop {
        // SAFETY: the pointer leads to one live operation, and the count says one.
        if unsafe { libc::semop(set, &raw mut operation, 1) } == 0 {
            return Ok(());
        }
        let error = Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
