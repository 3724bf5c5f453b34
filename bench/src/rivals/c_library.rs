//! The C library's process-shared semaphore (`sem_t`) and robust mutex, in memory that the processes share. All unsafe
//! code for them is here. The semaphore knows no owner: a permit that dies with its holder stays away.

use crate::holder::{Holder, OnePermit};
use crate::measure::Result;
use crate::measure::shared::{Shared, Zeroed};
use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_int, c_uint};
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A C object alone on its cache lines.
#[repr(align(128))]
struct Place<T>(UnsafeCell<T>);

// SAFETY: nothing is read or written here; the C library's functions, made for use by several threads and processes at
// once, are all that ever touches what is inside.
unsafe impl<T> Sync for Place<T> {}
// SAFETY: all bytes zero are a value of this plain C type, which has no destructor and is smaller than a page; only the C
// library touches it.
unsafe impl Zeroed for Place<libc::sem_t> {}
// SAFETY: as above.
unsafe impl Zeroed for Place<libc::pthread_mutex_t> {}

/// `sem_init` with one permit.
#[derive(Clone)]
pub struct SemT(Rc<Shared<Place<libc::sem_t>>>);

pub struct SemTPermit<'a>(&'a SemT);

impl OnePermit for SemT {
    type End = SemT;

    fn create(_dir: &Path) -> Result<SemT> {
        let place = Shared::<Place<libc::sem_t>>::new()?;
        // SAFETY: the place is mapped, aligned, large enough, and nobody uses it yet.
        match unsafe { libc::sem_init(place.0.get(), 1, 1) } {
            0 => Ok(SemT(Rc::new(place))),
            _ => Err(Error::last_os_error().into()),
        }
    }

    fn attach(&self) -> Result<SemT> {
        Ok(self.clone())
    }
}

impl Holder for SemT {
    type Permit<'a> = SemTPermit<'a>;

    #[inline]
    fn acquire(&self) -> Result<SemTPermit<'_>> {
        loop {
            // SAFETY: the semaphore was initialised in `create` and is mapped as long as `self` lives.
            if unsafe { libc::sem_wait(self.0.0.get()) } == 0 {
                return Ok(SemTPermit(self));
            }
            let error = Error::last_os_error();
            if error.kind() != ErrorKind::Interrupted {
                return Err(error.into());
            }
        }
    }
}

impl Drop for SemTPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as in `acquire`.
        let posted = unsafe { libc::sem_post(self.0.0.0.get()) };
        assert_eq!(posted, 0, "sem_post failed");
    }
}

/// A semaphore by name, for the measurement of setting up. Closed on drop.
pub struct Named(*mut libc::sem_t);

impl Named {
    /// A name that nobody else uses.
    pub fn fresh_name() -> CString {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let name = format!("/chappe-bench-{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
        // The text holds no NUL, so this is never the empty name.
        CString::new(name).unwrap_or_default()
    }

    pub fn open(name: &CStr, create: bool) -> Result<Named, Error> {
        let flags = if create { libc::O_CREAT | libc::O_EXCL } else { 0 };
        let (mode, value): (c_uint, c_uint) = (0o600, 1);
        // SAFETY: the name is a C string; mode and value are the two variadic arguments that O_CREAT reads, others ignore them.
        let semaphore = unsafe { libc::sem_open(name.as_ptr(), flags, mode, value) };
        if semaphore == libc::SEM_FAILED { Err(Error::last_os_error()) } else { Ok(Named(semaphore)) }
    }

    pub fn take_and_give(&self) -> Result<(), Error> {
        // SAFETY: the semaphore is open until drop.
        if unsafe { libc::sem_wait(self.0) } != 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: as above.
        if unsafe { libc::sem_post(self.0) } != 0 {
            return Err(Error::last_os_error());
        }
        Ok(())
    }

    pub fn unlink(name: &CStr) -> Result<(), Error> {
        // SAFETY: the name is a C string.
        if unsafe { libc::sem_unlink(name.as_ptr()) } != 0 { Err(Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        // SAFETY: the semaphore is open and ours (the C library counts how often), and not used after this.
        let closed = unsafe { libc::sem_close(self.0) };
        debug_assert_eq!(closed, 0);
    }
}

/// A mutex that tells its next owner if the last one died.
#[derive(Clone)]
pub struct RobustMutex(Rc<Shared<Place<libc::pthread_mutex_t>>>);

pub struct MutexPermit<'a>(&'a RobustMutex);

impl OnePermit for RobustMutex {
    type End = RobustMutex;

    fn create(_dir: &Path) -> Result<RobustMutex> {
        let place = Shared::<Place<libc::pthread_mutex_t>>::new()?;
        // SAFETY: the attributes are plain integers; all zeroes is a value of each.
        let mut attributes: libc::pthread_mutexattr_t = unsafe { std::mem::zeroed() };
        let attributes = &raw mut attributes;
        // SAFETY: the attributes are ours alone and outlive the call.
        done(unsafe { libc::pthread_mutexattr_init(attributes) })?;
        // SAFETY: they were initialised above.
        done(unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) })?;
        // SAFETY: as above.
        done(unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) })?;
        // SAFETY: the place is mapped, aligned, large enough, and nobody uses it yet; the attributes are initialised.
        done(unsafe { libc::pthread_mutex_init(place.0.get(), attributes) })?;
        // SAFETY: they were initialised above and are not used again.
        done(unsafe { libc::pthread_mutexattr_destroy(attributes) })?;
        Ok(RobustMutex(Rc::new(place)))
    }

    fn attach(&self) -> Result<RobustMutex> {
        Ok(self.clone())
    }
}

impl Holder for RobustMutex {
    type Permit<'a> = MutexPermit<'a>;

    #[inline]
    fn acquire(&self) -> Result<MutexPermit<'_>> {
        // SAFETY: the mutex was initialised in `create` and is mapped as long as `self` lives.
        match unsafe { libc::pthread_mutex_lock(self.0.0.get()) } {
            libc::EOWNERDEAD => {
                // SAFETY: the mutex is locked by this thread, which has just been told that its last owner died.
                done(unsafe { libc::pthread_mutex_consistent(self.0.0.get()) })?;
            }
            code => done(code)?,
        }
        Ok(MutexPermit(self))
    }
}

impl Drop for MutexPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this thread locked it in `acquire`: the permits do not leave their thread, for the mutex is in an `Rc`.
        let unlocked = unsafe { libc::pthread_mutex_unlock(self.0.0.0.get()) };
        assert_eq!(unlocked, 0, "pthread_mutex_unlock failed");
    }
}

/// The pthread functions return their error.
fn done(code: c_int) -> Result<(), Error> {
    if code == 0 { Ok(()) } else { Err(Error::from_raw_os_error(code)) }
}
