//! The semaphore as users see it: options, the forms of acquire, the permit, signalling, administration. No protocol and no
//! unsafe code is here; [`shm::semaphore`](crate::shm) does the work.

use crate::deadline::Wait;
use crate::error::{AccessError, AcquireError, OpenError};
use crate::name::{Kind, Name, default_dir};
use crate::shm::semaphore::{Core, Exec, Grant, Handle, Purpose, Request};
use crate::shm::setup::{self, Lifetime, Setup};
use crate::stat::SemaphoreStat;
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The most permits that a semaphore can have: 2^48.
pub const PERMITS_MAX: u64 = crate::raw::permits::PERMITS_MAX;

/// The longest label, in bytes.
pub const LABEL_BYTES_MAX: usize = 64;

/// How to create or open a semaphore; made by [`Semaphore::options`], in the manner of `std::fs::OpenOptions`.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use chappe::{OpenError, Semaphore};
/// let mut options = Semaphore::options();
/// options.dir(dir.path()).permits(3);
/// let pool = options.create_new("/pool")?;
/// assert_eq!(pool.permits(), 3);
/// assert!(matches!(options.permits(4).open("/pool"), Err(OpenError::PermitsMismatch { found: 3, wanted: 4, .. })));
/// assert_eq!(options.any_existing(true).open("/pool")?.permits(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SemaphoreOptions {
    permits: Option<u64>,
    mode: u32,
    umask: bool,
    any_existing: bool,
    ephemeral: bool,
    strict: bool,
    keeper: bool,
    dir: Option<PathBuf>,
    label: String,
    fail_on_deadlock: bool,
}

impl Default for SemaphoreOptions {
    fn default() -> Self {
        SemaphoreOptions {
            permits: None,
            mode: 0o600,
            umask: false,
            any_existing: false,
            ephemeral: false,
            strict: false,
            keeper: true,
            dir: None,
            label: String::new(),
            fail_on_deadlock: false,
        }
    }
}

impl SemaphoreOptions {
    /// The defaults: one permit, mode 0600, kept until unlinked, in [`default_dir`].
    pub fn new() -> SemaphoreOptions {
        SemaphoreOptions::default()
    }

    /// How many permits a semaphore that is created has: 0 to [`PERMITS_MAX`]. 0 is for signalling ([`post`](Semaphore::post)
    /// adds), and for a pool that begins paused. If set, an existing semaphore must have as many.
    pub fn permits(&mut self, permits: u64) -> &mut SemaphoreOptions {
        self.permits = Some(permits);
        self
    }

    /// The permission bits of a semaphore that is created, exactly: the process's umask takes nothing away unless
    /// [`umask`](SemaphoreOptions::umask) says so. Every use needs read and write permission.
    pub fn mode(&mut self, bits: u32) -> &mut SemaphoreOptions {
        self.mode = bits & 0o777;
        self
    }

    /// Whether the umask is taken off [`mode`](SemaphoreOptions::mode), as `sem_open` does. Off by default.
    pub fn umask(&mut self, respect: bool) -> &mut SemaphoreOptions {
        self.umask = respect;
        self
    }

    /// Take an existing semaphore however many permits it has; the number set here is for creating only.
    pub fn any_existing(&mut self, yes: bool) -> &mut SemaphoreOptions {
        self.any_existing = yes;
        self
    }

    /// A semaphore that is created goes with its creator, as [`QueueOptions::ephemeral`](crate::QueueOptions::ephemeral) says.
    pub fn ephemeral(&mut self, yes: bool) -> &mut SemaphoreOptions {
        self.ephemeral = yes;
        self
    }

    /// Whether permits of a semaphore that is created come back only when nothing is left of a holder that died: not even a system
    /// call that it was in (a long `write`, say). Off by default: they come back as soon as the holder executes nothing more,
    /// within about 0.1 ms; its memory, which may take long to be taken down, is not waited for. To be switched on where the
    /// semaphore guards what system calls change.
    pub fn strict(&mut self, yes: bool) -> &mut SemaphoreOptions {
        self.strict = yes;
        self
    }

    /// Whether this handle has a *keeper*, a thread that is started by its first acquisition and sleeps as long as the handle is
    /// there: by its end the kernel tells of the end of the process at once. On by default. Without one, the process's permits
    /// come back when its descriptors are closed, which the kernel does after it has taken the process's memory down.
    pub fn keeper(&mut self, yes: bool) -> &mut SemaphoreOptions {
        self.keeper = yes;
        self
    }

    /// The directory to look in, instead of [`default_dir`].
    pub fn dir(&mut self, path: impl Into<PathBuf>) -> &mut SemaphoreOptions {
        self.dir = Some(path.into());
        self
    }

    /// What permits acquired through this handle are for, in at most [`LABEL_BYTES_MAX`] bytes: shown to people beside holders and
    /// waiters. [`Permit::set_label`] says it for one permit.
    pub fn label(&mut self, text: impl Into<String>) -> &mut SemaphoreOptions {
        self.label = text.into();
        self
    }

    /// Whether an acquisition through this handle that would have to wait first looks whether that wait can ever end, and fails
    /// with [`AcquireError::Deadlock`] if not: see [`deadlocks`](crate::deadlocks) for what is found. Off by default: a wait then
    /// looks at every semaphore in the directory, now and twice a second.
    pub fn fail_on_deadlock(&mut self, yes: bool) -> &mut SemaphoreOptions {
        self.fail_on_deadlock = yes;
        self
    }

    /// Opens the semaphore, or creates it if there is none. Atomic: of several that race, one creates.
    ///
    /// # Errors
    /// [`OpenError`]; `PermitsMismatch` if it exists with another number of permits than was set.
    ///
    /// # If a process dies here
    /// Nothing is left behind: a name appears only when the semaphore behind it is complete.
    pub fn create(&self, name: impl AsRef<[u8]>) -> Result<Semaphore, OpenError> {
        self.set_up(name.as_ref(), Lifetime::OpenOrCreate)
    }

    /// Creates the semaphore; that it exists is an error.
    ///
    /// # Errors
    /// [`OpenError`]; `Exists` if there is one.
    pub fn create_new(&self, name: impl AsRef<[u8]>) -> Result<Semaphore, OpenError> {
        self.set_up(name.as_ref(), Lifetime::CreateNew)
    }

    /// Opens an existing semaphore.
    ///
    /// # Errors
    /// [`OpenError`]; `NotFound` if there is none.
    ///
    /// # If a process dies here
    /// Its place in the attach table is taken back by whoever needs one.
    pub fn open(&self, name: impl AsRef<[u8]>) -> Result<Semaphore, OpenError> {
        self.set_up(name.as_ref(), Lifetime::Open)
    }

    /// Creates a semaphore without a name. It is reached by children made with `fork`, which take part by themselves at their
    /// first call, and by whoever gets its descriptor ([`AsFd`]) and gives it to [`from_fd`](SemaphoreOptions::from_fd). It goes
    /// with the last of them.
    ///
    /// # Errors
    /// [`OpenError`].
    ///
    /// ```
    /// use chappe::Semaphore;
    /// let semaphore = Semaphore::options().permits(2).unnamed()?;
    /// let permit = semaphore.acquire()?;
    /// assert_eq!(semaphore.available(), 1);
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_init")]
    pub fn unnamed(&self) -> Result<Semaphore, OpenError> {
        self.check_label()?;
        Ok(self.finish(setup::unnamed(&self.setup(None, Lifetime::CreateNew), &self.wanted())?))
    }

    /// Opens the semaphore behind a descriptor that was passed to this process, whether it has a name or not.
    ///
    /// # Errors
    /// [`OpenError`]; `NotAnObject` if the descriptor leads to something else.
    ///
    /// ```
    /// use chappe::Semaphore;
    /// use std::os::fd::AsFd;
    /// let here = Semaphore::options().permits(2).unnamed()?;
    /// let passed = here.as_fd().try_clone_to_owned()?; // over a Unix socket, say
    /// let there = Semaphore::options().from_fd(passed)?;
    /// let permit = there.acquire()?;
    /// assert_eq!(here.available(), 1);
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_fd(&self, fd: OwnedFd) -> Result<Semaphore, OpenError> {
        self.check_label()?;
        Ok(self.finish(setup::from_fd(fd, &self.setup(None, Lifetime::Open), &self.wanted())?))
    }

    /// Removes the name, as [`Semaphore::unlink`] does, from the directory of these options.
    ///
    /// # Errors
    /// [`OpenError`]; `NotFound` if there is no such semaphore.
    pub fn unlink(&self, name: impl AsRef<[u8]>) -> Result<(), OpenError> {
        setup::unlink(Kind::Semaphore, &self.directory(), &Name::new(name)?, true)
    }

    fn directory(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(default_dir)
    }

    fn setup(&self, name: Option<Name>, lifetime: Lifetime) -> Setup {
        Setup {
            name,
            dir: self.directory(),
            lifetime,
            compare: !self.any_existing,
            mode: self.mode,
            umask: self.umask,
            ephemeral: self.ephemeral,
            strict: self.strict,
            doorbell: false,
        }
    }

    fn wanted(&self) -> Option<u64> {
        self.permits
    }

    fn set_up(&self, name: &[u8], lifetime: Lifetime) -> Result<Semaphore, OpenError> {
        let setup = self.setup(Some(Name::new(name)?), lifetime);
        self.check_label()?;
        Ok(self.finish(setup::set_up(&setup, &self.wanted())?))
    }

    /// Refuses a label that is too long, before anything is created.
    fn check_label(&self) -> Result<(), OpenError> {
        let (what, high, value) = ("the length of a label in bytes", LABEL_BYTES_MAX as u64, self.label.len() as u64);
        if value > high { Err(OpenError::Attribute { what, low: 0, high, value }) } else { Ok(()) }
    }

    fn finish(&self, mut core: Core) -> Semaphore {
        core.say(&self.label);
        if !self.keeper {
            core.keep_not();
        }
        if self.fail_on_deadlock {
            core.fail_on_deadlock(self.directory());
        }
        Semaphore { core: Handle::new(core) }
    }
}

/// A semaphore between processes, in shared memory, whose permits come back when their holder dies.
///
/// It has a number of *permits*. [`acquire`](Semaphore::acquire) takes one and gives a [`Permit`], which gives it back when
/// dropped; when none is free, the call waits its turn. First come, first served: also a request for many permits at once is not
/// passed by later, smaller ones. A permit belongs to the *process* that acquired it, not to a thread: it may be dropped in
/// another thread or task. If the process dies, however it dies, its permits go back, and whoever waits gets them.
///
/// Clones are one participant. Every other handle, in this or another process, is one of its own; a fork child is one from its
/// first call on, and holds nothing of its parent's.
///
/// # Waiting
/// `try_` forms do not wait; plain forms wait as long as it takes; `_timeout` and `_deadline` forms wait that long, by the
/// monotonic clock; `_async` forms give a future. A signal handler that runs meanwhile interrupts nothing. A waiting call spins
/// for some microseconds (never on one CPU), then takes its place in the queue and sleeps in the kernel; whoever releases what
/// it needs wakes it. Threads of one handle are served as threads of different processes are.
///
/// # If a process dies
/// Any process may be SIGKILLed at any instruction; what it held or was about to be given goes to the next in the queue, once.
/// A process that is *stopped* is not dead and keeps its permits. `docs/recovery.md` has every step.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use chappe::{AcquireError, Semaphore};
/// let pool = Semaphore::options().dir(dir.path()).permits(2).create("/pool")?;
/// let one = pool.acquire()?;
/// let two = pool.acquire()?;
/// assert_eq!(pool.try_acquire().unwrap_err(), AcquireError::NoPermits);
/// drop(one);
/// assert_eq!(pool.available(), 1);
/// # drop(two);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Semaphore {
    core: Handle,
}

impl Semaphore {
    /// How to create or open one with other attributes than the defaults.
    pub fn options() -> SemaphoreOptions {
        SemaphoreOptions::new()
    }

    /// Opens the semaphore, or creates it with this many permits: [`SemaphoreOptions::create`].
    ///
    /// # Errors
    /// [`OpenError`]; `PermitsMismatch` if it exists with another number.
    #[doc(alias = "sem_open")]
    pub fn create(name: impl AsRef<[u8]>, permits: u64) -> Result<Semaphore, OpenError> {
        SemaphoreOptions::new().permits(permits).create(name)
    }

    /// Opens an existing semaphore, however many permits it has: [`SemaphoreOptions::open`].
    ///
    /// # Errors
    /// [`OpenError`]; `NotFound` if there is none.
    #[doc(alias = "sem_open")]
    pub fn open(name: impl AsRef<[u8]>) -> Result<Semaphore, OpenError> {
        SemaphoreOptions::new().open(name)
    }

    /// Creates a semaphore without a name: [`SemaphoreOptions::unnamed`].
    ///
    /// # Errors
    /// [`OpenError`].
    #[doc(alias = "sem_init")]
    pub fn unnamed(permits: u64) -> Result<Semaphore, OpenError> {
        SemaphoreOptions::new().permits(permits).unnamed()
    }

    /// Removes the name, and ends the semaphore for those who have it open: whoever waits, or tries to acquire, gets
    /// [`AcquireError::Unlinked`]. Permits that are held stay held until they are released. The name is free at once.
    ///
    /// # Errors
    /// [`OpenError`]; `NotFound` if there is no such semaphore; `System` if this process has no descriptor or no memory left to
    /// tell those who have it open: then the name stays. A file of that name that is no semaphore of this library, or another
    /// one's second name (a hard link), is removed all the same, and nothing ends.
    ///
    /// # If a process dies here
    /// The name is gone or it is not; if it is gone and nobody was woken, those who wait notice within half a second.
    #[doc(alias = "sem_unlink")]
    pub fn unlink(name: impl AsRef<[u8]>) -> Result<(), OpenError> {
        SemaphoreOptions::new().unlink(name)
    }

    /// The name it was created with, if it has one.
    pub fn name(&self) -> Option<&Name> {
        self.core.name()
    }

    /// How many permits there are now; 0 if the file was shortened so far that this is gone.
    pub fn permits(&self) -> u64 {
        self.core.permits()
    }

    /// How many permits are free now; 0 also while more are held than there are. A number to look at: it may have changed by
    /// the time it is acted on.
    #[doc(alias = "sem_getvalue")]
    pub fn available(&self) -> u64 {
        u64::try_from(self.core.available()).unwrap_or(0)
    }

    /// Acquires a permit, waiting until one is free and everybody who came earlier has had theirs.
    ///
    /// # Errors
    /// [`AcquireError`], except `NoPermits`, `TimedOut` and `Busy`.
    ///
    /// # Waiting
    /// Woken by whoever releases, posts, lets the semaphore have more permits, closes or unlinks it; by the death of a holder
    /// through a thread that this call starts when it has to sleep, which sleeps until the kernel tells of it.
    ///
    /// # If a process dies
    /// The caller: its place in the queue, or its permit, goes. A holder: its permits come back.
    ///
    /// # Memory ordering
    /// All that earlier holders did before they released is visible, also what a dead one did.
    #[doc(alias = "sem_wait")]
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>, AcquireError> {
        self.take(1, Wait::Forever)
    }

    /// Acquires a permit if one is free and nobody waits.
    ///
    /// # Errors
    /// [`AcquireError`]; `NoPermits` when none is to be had now.
    #[doc(alias = "sem_trywait")]
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>, AcquireError> {
        self.take(1, Wait::No)
    }

    /// Acquires a permit, waiting at most this long.
    ///
    /// # Errors
    /// [`AcquireError`]; `TimedOut` when its turn did not come. With a permit free, even an expired timeout acquires.
    #[doc(alias = "sem_timedwait")]
    #[inline]
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>, AcquireError> {
        self.acquire_many_timeout(1, timeout)
    }

    /// Acquires a permit, waiting at most until `deadline`.
    ///
    /// # Errors
    /// As [`acquire_timeout`](Semaphore::acquire_timeout).
    #[doc(alias = "sem_clockwait")]
    #[inline]
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<Permit<'_>, AcquireError> {
        self.take(1, Wait::Until(deadline))
    }

    /// Acquires this many permits at once, all or none. 0 is granted when its turn comes.
    ///
    /// # Errors
    /// As [`acquire`](Semaphore::acquire); `TooMany` at once if the semaphore does not have as many (with no permits at all it
    /// is paused, and the call waits).
    #[inline]
    pub fn acquire_many(&self, permits: u64) -> Result<Permit<'_>, AcquireError> {
        self.take(permits, Wait::Forever)
    }

    /// Acquires this many permits if they are free and nobody waits.
    ///
    /// # Errors
    /// As [`try_acquire`](Semaphore::try_acquire), and `TooMany`.
    #[inline]
    pub fn try_acquire_many(&self, permits: u64) -> Result<Permit<'_>, AcquireError> {
        self.take(permits, Wait::No)
    }

    /// Acquires this many permits, all or none, waiting at most this long.
    ///
    /// # Errors
    /// As [`acquire_timeout`](Semaphore::acquire_timeout), and `TooMany`.
    #[inline]
    pub fn acquire_many_timeout(&self, permits: u64, timeout: Duration) -> Result<Permit<'_>, AcquireError> {
        match self.core.acquire_fast(permits) {
            Some(grant) => Ok(self.permit(grant)),
            None => self.take(permits, Wait::timeout(timeout)),
        }
    }

    /// Acquires this many permits, all or none, waiting at most until `deadline`.
    ///
    /// # Errors
    /// As [`acquire_timeout`](Semaphore::acquire_timeout), and `TooMany`.
    #[inline]
    pub fn acquire_many_deadline(&self, permits: u64, deadline: Instant) -> Result<Permit<'_>, AcquireError> {
        self.take(permits, Wait::Until(deadline))
    }

    /// A future that acquires a permit. It blocks no thread of its runtime, and needs no particular one: a thread of this
    /// handle's own, started when the future first has to wait, wakes it. The place in the queue is taken when it is first polled.
    ///
    /// In a fork child it fails with `System(ECHILD)`: the child opens a handle of its own for futures.
    ///
    /// Dropping the future gives its place up, or the permit back if it had been granted already: it can stand in a `select!`
    /// or under a timeout.
    ///
    /// ```
    /// use chappe::Semaphore;
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let semaphore = Semaphore::unnamed(1)?;
    /// let permit = semaphore.acquire_async().await?;
    /// let soon = std::time::Duration::from_millis(10);
    /// assert!(tokio::time::timeout(soon, semaphore.acquire_async()).await.is_err());
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn acquire_async(&self) -> Acquire<'_> {
        self.acquire_many_async(1)
    }

    /// A future that acquires this many permits, all or none: [`acquire_async`](Semaphore::acquire_async).
    pub fn acquire_many_async(&self, permits: u64) -> Acquire<'_> {
        Acquire { semaphore: self, permits, request: None }
    }

    /// Adds a permit that nobody holds: the signal that somebody waits for with [`wait`](Semaphore::wait).
    ///
    /// Signalling is for two sides, one of which posts and the other waits, so there is no owner whose death could bring a permit
    /// back: the number of permits goes up by one here and down by one there. Use a semaphore of its own for it.
    ///
    /// # Errors
    /// [`AccessError`]; `Full` beyond [`PERMITS_MAX`].
    ///
    /// # If a process dies here
    /// The signal was given or it was not.
    ///
    /// ```
    /// use chappe::Semaphore;
    /// let ready = Semaphore::unnamed(0)?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| ready.wait());
    ///     ready.post()
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_post")]
    pub fn post(&self) -> Result<(), AccessError> {
        self.post_many(1)
    }

    /// Adds this many permits that nobody holds: [`post`](Semaphore::post), several times at once.
    ///
    /// # Errors
    /// As [`post`](Semaphore::post).
    pub fn post_many(&self, signals: u64) -> Result<(), AccessError> {
        self.core.post(signals)
    }

    /// Waits for a signal and takes it: one permit less. See [`post`](Semaphore::post).
    ///
    /// # Errors
    /// As [`acquire`](Semaphore::acquire), never `TooMany`.
    ///
    /// # If a process dies here
    /// The signal is taken or it is still there. One that was taken by a process that dies before it acts is gone.
    #[doc(alias = "sem_wait")]
    pub fn wait(&self) -> Result<(), AcquireError> {
        self.core.acquire(1, Purpose::Signal, Wait::Forever).map(drop)
    }

    /// Takes a signal if there is one and nobody waits.
    ///
    /// # Errors
    /// As [`try_acquire`](Semaphore::try_acquire).
    pub fn try_wait(&self) -> Result<(), AcquireError> {
        self.core.acquire(1, Purpose::Signal, Wait::No).map(drop)
    }

    /// Waits for a signal at most this long.
    ///
    /// # Errors
    /// As [`acquire_timeout`](Semaphore::acquire_timeout).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), AcquireError> {
        self.core.acquire(1, Purpose::Signal, Wait::timeout(timeout)).map(drop)
    }

    /// Waits for a signal at most until `deadline`.
    ///
    /// # Errors
    /// As [`acquire_timeout`](Semaphore::acquire_timeout).
    pub fn wait_deadline(&self, deadline: Instant) -> Result<(), AcquireError> {
        self.core.acquire(1, Purpose::Signal, Wait::Until(deadline)).map(drop)
    }

    /// Lets the semaphore have this many permits from now on: 0 to [`PERMITS_MAX`]. Whoever can be served now is woken.
    ///
    /// Nothing is taken from holders: below what they hold, [`available`](Semaphore::available) is 0 until enough have
    /// released. Whoever waits for more than there are then gets `TooMany`; with 0 all wait. Doing it twice does what doing it
    /// once does.
    ///
    /// # Errors
    /// [`AccessError`]; `Full` beyond [`PERMITS_MAX`].
    ///
    /// # If a process dies here
    /// There are as many permits as before or as many as now; whoever waits is served within half a second.
    pub fn set_permits(&self, permits: u64) -> Result<(), AccessError> {
        self.core.set_permits(permits)
    }

    /// Ends the semaphore for those who wait or come: they get [`AcquireError::Closed`], for good. Permits that are held stay
    /// held until they are released; [`wait_idle`](Semaphore::wait_idle) waits for that. The name stays.
    ///
    /// # Errors
    /// [`AccessError`].
    ///
    /// # If a process dies here
    /// It is closed or it is not; if it is and nobody was woken, those who wait notice within half a second.
    pub fn close(&self) -> Result<(), AccessError> {
        self.core.close()
    }

    /// Waits until no permit is held. Works also after [`close`](Semaphore::close) and [`unlink`](Semaphore::unlink).
    ///
    /// It keeps nobody from acquiring: to drain a semaphore, [`set_permits(0)`](Semaphore::set_permits) or close it first.
    ///
    /// # Errors
    /// [`AcquireError`], except `NoPermits`, `TooMany`, `Closed`, `Unlinked`.
    ///
    /// # Waiting
    /// Woken by the release, or the death, of the last holder.
    pub fn wait_idle(&self) -> Result<(), AcquireError> {
        self.core.acquire(0, Purpose::Idle, Wait::Forever).map(drop)
    }

    /// As [`wait_idle`](Semaphore::wait_idle), at most this long.
    ///
    /// # Errors
    /// As there; `TimedOut` when permits stayed held.
    pub fn wait_idle_timeout(&self, timeout: Duration) -> Result<(), AcquireError> {
        self.core.acquire(0, Purpose::Idle, Wait::timeout(timeout)).map(drop)
    }

    /// As [`wait_idle`](Semaphore::wait_idle), at most until `deadline`.
    ///
    /// # Errors
    /// As there; `TimedOut` when permits stayed held.
    pub fn wait_idle_deadline(&self, deadline: Instant) -> Result<(), AcquireError> {
        self.core.acquire(0, Purpose::Idle, Wait::Until(deadline)).map(drop)
    }

    /// How many permits there are, who holds them, who waits, and totals. Looks after the dead first.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn stat(&self) -> Result<SemaphoreStat, AccessError> {
        self.core.stat()
    }

    #[inline]
    fn take(&self, permits: u64, wait: Wait) -> Result<Permit<'_>, AcquireError> {
        let grant = match self.core.acquire_fast(permits) {
            Some(grant) => grant,
            None => self.core.acquire(permits, Purpose::Permit, wait)?,
        };
        Ok(self.permit(grant))
    }

    #[inline(always)]
    fn permit(&self, grant: Grant) -> Permit<'_> {
        Permit { core: Keep::Borrowed(&self.core), grant }
    }
}

/// The descriptor of the semaphore's file, to be passed to another process for [`SemaphoreOptions::from_fd`].
impl AsFd for Semaphore {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.fd()
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Semaphore");
        text.field("name", &self.name()).field("permits", &self.permits()).field("available", &self.available());
        text.finish_non_exhaustive()
    }
}

/// What a permit keeps its semaphore by.
enum Keep<'a> {
    Borrowed(&'a Handle),
    Shared(Handle),
}

impl Deref for Keep<'_> {
    type Target = Handle;

    #[inline(always)]
    fn deref(&self) -> &Handle {
        match self {
            Keep::Borrowed(core) => core,
            Keep::Shared(core) => core,
        }
    }
}

/// One or several permits, held. Dropping it gives them back and wakes whoever can be served then.
///
/// It belongs to the process: it may be sent to another thread ([`into_static`](Permit::into_static) for one that is not scoped).
/// In a fork child it is not held, and dropping it there does nothing. Forgotten with `std::mem::forget`, it is held until the
/// last clone of the handle goes, or the process ends.
///
/// # If a process dies
/// The permits come back, once, whatever it was doing: while it holds them, while it gives them back.
#[must_use = "dropping a permit gives it back at once"]
pub struct Permit<'a> {
    core: Keep<'a>,
    grant: Grant,
}

impl<'a> Permit<'a> {
    /// How many permits it is.
    pub fn permits(&self) -> u64 {
        self.grant.permits()
    }

    /// Says what it is for, in at most [`LABEL_BYTES_MAX`] bytes; longer text is cut at a character. For people:
    /// [`stat`](Semaphore::stat) shows it.
    pub fn set_label(&self, text: &str) {
        self.core.set_label(&self.grant, text);
    }

    /// Takes the permits out of circulation: the semaphore has so many less from now on.
    ///
    /// # Errors
    /// [`AccessError`]; the permits are then given back as by dropping.
    pub fn forget(mut self) -> Result<(), AccessError> {
        self.core.forget(&mut self.grant, Wait::No)
    }

    /// Takes some of the permits into a permit of their own.
    ///
    /// # Errors
    /// [`AccessError`]; `Full` unless `permits` is less than there are here, or if there is no room to write it down. Nothing
    /// has changed then.
    pub fn split(&mut self, permits: u64) -> Result<Permit<'a>, AccessError> {
        let grant = self.core.split(&mut self.grant, permits)?;
        let core = match &self.core {
            Keep::Borrowed(core) => Keep::Borrowed(core),
            Keep::Shared(core) => Keep::Shared(core.clone()),
        };
        Ok(Permit { core, grant })
    }

    /// Makes one permit of two. The label and the time are those of this one.
    ///
    /// # Errors
    /// [`AccessError`]; the permits of `other` are then given back as by dropping.
    ///
    /// # Panics
    /// If they are of different semaphores, or handles.
    pub fn merge(&mut self, mut other: Permit<'_>) -> Result<(), AccessError> {
        assert!(self.core.is(&other.core), "only permits of one handle can be merged");
        self.core.merge(&mut self.grant, &mut other.grant)
    }

    /// The same permit, which keeps its semaphore open by itself: for threads that are not scoped, and for structs.
    pub fn into_static(mut self) -> Permit<'static> {
        let (core, grant) = (Handle::clone(&self.core), self.grant.take());
        Permit { core: Keep::Shared(core), grant }
    }

    /// Replaces this process by `command` (as `CommandExt::exec` does), which then holds the permit until it ends: also if it is
    /// killed, and no wrapper stays behind that could be killed alone. `children` says whether processes that the command leaves
    /// behind hold it too.
    ///
    /// To be called while no other thread forks or uses this semaphore, and not from a waker. With [`Children::LetGo`], the process may
    /// have no other handle on the semaphore (one that it inherited by fork counts, too) and no other permit of it; on kernels before 5.11 it must have no other thread either.
    ///
    /// # Errors
    /// It comes back only if it failed. The permit was given back. `EBUSY`: there are other handles or permits. After another
    /// failure with `LetGo`, as that there is no such command, this handle is of no use any more: its calls give `System(EBADF)`.
    ///
    /// # If a process dies here
    /// The permit comes back, at whatever step.
    pub fn exec(mut self, command: &mut Command, children: Children) -> io::Error {
        let exec = Exec { command, keep: children == Children::Keep };
        self.core.exec(self.grant.take(), exec)
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.core.release(&mut self.grant);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("permits", &self.permits()).finish_non_exhaustive()
    }
}

/// Whether processes that a command leaves behind hold its permit: for [`Permit::exec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Children {
    /// They do not: the permit comes back when the command itself ends (within half a second, if processes that it started are
    /// left; at once else). It comes back early if the command closes a descriptor of the semaphore's file: as `sudo` does, which
    /// closes all that it inherited, and as a program does that reads the file. A command that uses the semaphore by this library
    /// does not.
    LetGo,
    /// They do: the permit comes back when the command and all that inherited the descriptor from it have ended.
    Keep,
}

/// The future of [`Semaphore::acquire_async`].
#[must_use = "a future does nothing until it is polled"]
pub struct Acquire<'a> {
    semaphore: &'a Semaphore,
    permits: u64,
    request: Option<Request>,
}

impl<'a> Future for Acquire<'a> {
    type Output = Result<Permit<'a>, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let semaphore = self.semaphore;
        let core = &semaphore.core;
        let permits = self.permits;
        let polled = match &mut self.request {
            Some(request) => core.poll(request, context.waker()),
            None => match core.acquire_fast(permits) {
                Some(grant) => Poll::Ready(Ok(grant)),
                None => core.begin(permits, &mut self.request, context.waker()),
            },
        };
        polled.map(|result| {
            self.request = None;
            result.map(|grant| semaphore.permit(grant))
        })
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            self.semaphore.core.cancel(request);
        }
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").field("permits", &self.permits).finish_non_exhaustive()
    }
}
