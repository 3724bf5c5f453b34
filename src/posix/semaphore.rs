//! The POSIX semaphore as users see it: named, or in memory that is shared. No unsafe code is here; `sys::semaphore` makes
//! the calls.

use crate::name::Name;
use crate::posix::error::{PostError, SemaphoreError, WaitError};
use crate::sys::file;
use crate::sys::semaphore::{self as sys, Handle};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// How often creating and opening are tried when others create and unlink the same name meanwhile.
const ROUNDS: usize = 1000;

/// How to create a named semaphore with another mode than 0600; made by [`Semaphore::options`].
///
/// ```
/// use chappe::posix::Semaphore;
/// # let name = format!("/chappe-doc-options-{}", std::process::id());
/// // Our group may use it, whatever the umask of this process is.
/// let semaphore = Semaphore::options().mode(0o660).create_new(&name, 1)?;
/// # assert_eq!(semaphore.value(), 1);
/// # Semaphore::unlink(&name)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SemaphoreOptions {
    mode: u32,
    umask: bool,
}

impl Default for SemaphoreOptions {
    fn default() -> Self {
        SemaphoreOptions { mode: 0o600, umask: false }
    }
}

impl SemaphoreOptions {
    /// The defaults: mode 0600, and the umask takes nothing away.
    pub fn new() -> SemaphoreOptions {
        SemaphoreOptions::default()
    }

    /// The permission bits of a semaphore that is created, exactly: the process's umask takes nothing away unless
    /// [`umask`](SemaphoreOptions::umask) says so. Using a semaphore, even to look at its value, needs read and write
    /// permission.
    pub fn mode(&mut self, bits: u32) -> &mut SemaphoreOptions {
        self.mode = bits & 0o777;
        self
    }

    /// Whether the umask is taken off [`mode`](SemaphoreOptions::mode), as `sem_open` does. Off by default.
    pub fn umask(&mut self, respect: bool) -> &mut SemaphoreOptions {
        self.umask = respect;
        self
    }

    /// Opens the semaphore, or creates it with this value if there is none. Atomic: of several that race, one creates. One
    /// that exists keeps its value and its mode.
    ///
    /// # Errors
    /// [`SemaphoreError`]; `Value` above [`Semaphore::VALUE_MAX`], also if it exists.
    ///
    /// # If a process dies here
    /// Nothing is left half-made: a name appears only when the semaphore behind it is complete, with its mode.
    pub fn create(&self, name: impl AsRef<[u8]>, value: u32) -> Result<Semaphore, SemaphoreError> {
        let name = checked_name(name.as_ref())?;
        checked_value(value)?;
        for _ in 0..ROUNDS {
            if let Some(semaphore) = open(&name)? {
                return Ok(semaphore);
            }
            if let Some(semaphore) = self.try_create(&name, value)? {
                return Ok(semaphore);
            }
        }
        let source = io::Error::other("others create and unlink it all the time");
        Err(SemaphoreError::System { step: "settle on", object: word(&name), source })
    }

    /// Creates the semaphore; that it exists is an error.
    ///
    /// # Errors
    /// [`SemaphoreError`]; `Exists` if there is one, `Value` above [`Semaphore::VALUE_MAX`].
    ///
    /// # If a process dies here
    /// As for [`create`](SemaphoreOptions::create).
    pub fn create_new(&self, name: impl AsRef<[u8]>, value: u32) -> Result<Semaphore, SemaphoreError> {
        let name = checked_name(name.as_ref())?;
        checked_value(value)?;
        self.try_create(&name, value)?.ok_or(SemaphoreError::Exists { name })
    }

    /// Creates it; `None` if the name is taken.
    fn try_create(&self, name: &Name, value: u32) -> Result<Option<Semaphore>, SemaphoreError> {
        let made =
            if self.umask { Handle::create_new(name, self.mode, value) } else { self.create_exactly(name, value) };
        match made {
            Ok(handle) => Ok(Some(Semaphore { handle, name: Some(name.clone()) })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(failed("create", word(name), "writing its directory has to be allowed", error)),
        }
    }

    /// What `sem_open` does, but for the umask: it can be neither told to leave it alone nor, in a process with threads,
    /// kept from it. To change the mode afterwards would leave a moment (for ever, if the process dies) in which others
    /// are refused.
    fn create_exactly(&self, name: &Name, value: u32) -> io::Result<Handle> {
        let fd = file::create_unnamed(Path::new(sys::DIRECTORY), self.mode)?;
        file::write_start(fd.as_fd(), &sys::image(value)?)?;
        let handle = Handle::at(fd.as_fd(), 0)?;
        file::name(fd.as_fd(), &sys::path(name))?;
        Ok(handle)
    }
}

/// A POSIX semaphore: a number that [`post`](Semaphore::post) adds one to and [`wait`](Semaphore::wait) takes one from,
/// waiting while it is zero. For sharing with programs that call `sem_open` or `sem_init`, in whatever language.
///
/// | in C | here |
/// |---|---|
/// | `sem_open` with `O_CREAT` | [`create`](Semaphore::create) |
/// | `sem_open` with `O_CREAT \| O_EXCL` | [`create_new`](Semaphore::create_new) |
/// | `sem_open` | [`open`](Semaphore::open) |
/// | `sem_unlink` | [`unlink`](Semaphore::unlink) |
/// | `sem_init` with `pshared` 1 | [`unnamed`](Semaphore::unnamed), [`unnamed_in`](Semaphore::unnamed_in) |
/// | `sem_wait`, `sem_trywait` | [`wait`](Semaphore::wait), [`try_wait`](Semaphore::try_wait) |
/// | `sem_clockwait` with `CLOCK_MONOTONIC` | [`wait_timeout`](Semaphore::wait_timeout), [`wait_deadline`](Semaphore::wait_deadline) |
/// | `sem_timedwait` | [`wait_until`](Semaphore::wait_until) |
/// | `sem_post`, `sem_getvalue` | [`post`](Semaphore::post), [`value`](Semaphore::value) |
/// | `sem_close`, `munmap` | dropping it |
///
/// `sem_init` with `pshared` 0, which shares a semaphore's memory but loses its wake-ups, cannot be expressed, and
/// [`attach_in`](Semaphore::attach_in) refuses one that a C program made so. `sem_destroy` is missing: nobody can know
/// that nobody waits, and with the C libraries of Linux it does nothing.
///
/// All programs that share a semaphore must use the same C library and the same word size: the layout is the library's
/// own. That of glibc is stable; musl changed its in version 1.2.4, and a program linked with an older musl is another one.
///
/// # What a POSIX semaphore cannot do
/// **It has no owner.** It is a number, and nobody can see who took from it. If a process is killed between `wait` and
/// `post`, what it took is gone for good: the others wait for ever, or work with one fewer, until somebody posts in its
/// place, which nobody can know to be right. A [`Semaphore`](crate::Semaphore) knows its holders and takes back what the dead ones
/// held; use that where all programs are yours. Nor can a POSIX semaphore be closed to wake everybody, or give several at
/// once.
///
/// # Waiting
/// No signal handler cuts a wait short: it runs, and the wait goes on. Waiters sleep in the kernel without using the
/// processor. Whoever posts wakes one of them; which one is the kernel's choice, and somebody who comes later may take what was
/// posted first.
///
/// # If a process dies
/// One that is killed in a wait has taken nothing, or what it took is lost as above. One that is killed in a post has added
/// one or it has not; if it had added it but not woken anybody yet, a sleeper may sleep on until the next post.
///
/// ```
/// use chappe::posix::{Semaphore, WaitError};
/// # let name = format!("/chappe-doc-{}", std::process::id());
/// # let printers = name.as_str();
/// let semaphore = Semaphore::create(printers, 2)?; // in C: sem_open(printers, O_CREAT, 0600, 2)
/// semaphore.wait()?;
/// semaphore.wait()?;
/// assert_eq!(semaphore.try_wait(), Err(WaitError::WouldBlock));
/// semaphore.post()?;
/// assert_eq!(semaphore.value(), 1);
/// Semaphore::unlink(printers)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Semaphore {
    handle: Handle,
    name: Option<Name>,
}

impl Semaphore {
    /// The largest value: SEM_VALUE_MAX.
    pub const VALUE_MAX: u32 = sys::VALUE_MAX;

    /// How many bytes a semaphore takes in a file: `sizeof(sem_t)`.
    pub const SIZE: u64 = sys::SIZE as u64;

    /// Of what a semaphore's offset in a file has to be a multiple: `_Alignof(sem_t)`.
    pub const ALIGNMENT: u64 = sys::ALIGNMENT as u64;

    /// How to create one with another mode than 0600.
    pub fn options() -> SemaphoreOptions {
        SemaphoreOptions::new()
    }

    /// Opens the named semaphore, or creates it with this value and mode 0600: [`SemaphoreOptions::create`].
    ///
    /// `/printers` and `printers` are the same name; [`Name`] has the rule. glibc takes four bytes fewer, for it puts `sem.`
    /// before the name of the file, which is in `/dev/shm` whatever `CHAPPE_DIR` says: C programs look there.
    ///
    /// # Errors
    /// [`SemaphoreError`].
    ///
    /// ```
    /// use chappe::posix::Semaphore;
    /// # let name = format!("/chappe-doc-create-{}", std::process::id());
    /// let created = Semaphore::create(&name, 3)?;
    /// let opened = Semaphore::create(&name, 99)?; // it is there: its value stays
    /// assert_eq!(opened.value(), 3);
    /// # Semaphore::unlink(&name)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_open")]
    pub fn create(name: impl AsRef<[u8]>, value: u32) -> Result<Semaphore, SemaphoreError> {
        SemaphoreOptions::new().create(name, value)
    }

    /// Creates a named semaphore with mode 0600; that it exists is an error: [`SemaphoreOptions::create_new`].
    ///
    /// # Errors
    /// [`SemaphoreError`]; `Exists` if there is one.
    ///
    /// ```
    /// use chappe::posix::{Semaphore, SemaphoreError};
    /// # let name = format!("/chappe-doc-create-new-{}", std::process::id());
    /// let semaphore = Semaphore::create_new(&name, 0)?;
    /// assert!(matches!(Semaphore::create_new(&name, 0), Err(SemaphoreError::Exists { .. })));
    /// # Semaphore::unlink(&name)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_open")]
    pub fn create_new(name: impl AsRef<[u8]>, value: u32) -> Result<Semaphore, SemaphoreError> {
        SemaphoreOptions::new().create_new(name, value)
    }

    /// Opens an existing named semaphore.
    ///
    /// # Errors
    /// [`SemaphoreError`]; `NotFound` if there is none, `NotASemaphore` for a file under that name that cannot be one.
    ///
    /// ```
    /// use chappe::posix::{Semaphore, SemaphoreError};
    /// # let name = format!("/chappe-doc-open-{}", std::process::id());
    /// assert!(matches!(Semaphore::open(&name), Err(SemaphoreError::NotFound { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_open")]
    pub fn open(name: impl AsRef<[u8]>) -> Result<Semaphore, SemaphoreError> {
        let name = checked_name(name.as_ref())?;
        open(&name)?.ok_or(SemaphoreError::NotFound { name })
    }

    /// Removes the name, which is free at once. Those who have the semaphore open go on with it, and nobody is woken; it
    /// goes with the last of them.
    ///
    /// # Errors
    /// [`SemaphoreError`]; `NotFound` if there is no such semaphore.
    ///
    /// # If a process dies here
    /// The name is gone or it is not.
    ///
    /// ```
    /// use chappe::posix::Semaphore;
    /// # let name = format!("/chappe-doc-unlink-{}", std::process::id());
    /// let old = Semaphore::create(&name, 1)?;
    /// Semaphore::unlink(&name)?;
    /// let new = Semaphore::create(&name, 5)?; // another one
    /// assert_eq!((old.value(), new.value()), (1, 5));
    /// # Semaphore::unlink(&name)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_unlink")]
    pub fn unlink(name: impl AsRef<[u8]>) -> Result<(), SemaphoreError> {
        let name = checked_name(name.as_ref())?;
        match sys::unlink(&name) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(SemaphoreError::NotFound { name }),
            Err(error) => Err(failed("unlink", word(&name), "its owner may", error)),
        }
    }

    /// A semaphore without a name, shared with the children that this process forks from now on: `sem_init` in anonymous
    /// memory. It goes with the last process that has it. A child that starts another program loses it.
    ///
    /// # Errors
    /// [`SemaphoreError`]; `Value` above [`VALUE_MAX`](Semaphore::VALUE_MAX).
    ///
    /// ```
    /// use chappe::posix::Semaphore;
    /// let done = Semaphore::unnamed(0)?;
    /// // fork; the child calls:
    /// done.post()?;
    /// // the parent calls:
    /// done.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_init")]
    pub fn unnamed(value: u32) -> Result<Semaphore, SemaphoreError> {
        checked_value(value)?;
        let made = Handle::anonymous(value);
        let handle =
            made.map_err(|source| SemaphoreError::System { step: "map", object: "anonymous memory".into(), source })?;
        Ok(Semaphore { handle, name: None })
    }

    /// Makes a semaphore in a file that others map: `sem_init`, with `pshared` 1, at this offset of the file behind `fd` (a
    /// memfd, an object of `shm_open`, or a regular file; open for reading and writing, and long enough). The descriptor is
    /// not needed afterwards.
    ///
    /// What lies at the offset is overwritten: do this once, before anybody uses the place. The others call
    /// [`attach_in`](Semaphore::attach_in), or in C `mmap`. The offset has to be a multiple of
    /// [`ALIGNMENT`](Semaphore::ALIGNMENT), and [`SIZE`](Semaphore::SIZE) bytes are taken.
    ///
    /// # Errors
    /// [`SemaphoreError`]: `Value`, `Misaligned` or `TooShort` before anything is touched; `Permission` if the descriptor
    /// cannot be mapped for writing.
    ///
    /// # If a process dies here
    /// Nobody may count on the place; make the semaphore again.
    ///
    /// ```
    /// use chappe::posix::Semaphore;
    /// let file = tempfile::tempfile()?; // whatever the other program maps, too
    /// file.set_len(4096)?;
    /// let ours = Semaphore::unnamed_in(&file, 64, 1)?;
    /// let theirs = Semaphore::attach_in(&file, 64)?;
    /// theirs.wait()?;
    /// assert_eq!(ours.value(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_init")]
    pub fn unnamed_in(fd: impl AsFd, offset: u64, value: u32) -> Result<Semaphore, SemaphoreError> {
        let fd = fd.as_fd();
        checked_value(value)?;
        checked_place(fd, offset)?;
        let handle = Handle::at(fd, offset).map_err(|error| failed_fd("map", fd, error))?;
        // A page that cannot be had is an error here and would be a SIGBUS below. Some file systems cannot reserve.
        match file::reserve(fd, offset, Semaphore::SIZE) {
            Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => {
                return Err(failed_fd("reserve memory in", fd, error));
            }
            _ => {}
        }
        handle.initialise(value).map_err(|error| failed_fd("make a semaphore in", fd, error))?;
        Ok(Semaphore { handle, name: None })
    }

    /// Attaches to a semaphore that is in a file already, made by [`unnamed_in`](Semaphore::unnamed_in) or by a C program
    /// with `sem_init`. The descriptor is not needed afterwards.
    ///
    /// A place that was not initialised, or with `pshared` 0, is refused where the C library's image of a semaphore tells
    /// them apart (glibc). Of other bytes that are no semaphore nobody can tell that; calls on them answer wrongly or wait,
    /// but harm no other memory.
    ///
    /// # Errors
    /// [`SemaphoreError`]: `Misaligned`, `TooShort`, `NotShared`; `Permission` if the descriptor cannot be mapped for
    /// writing.
    ///
    /// # If a process shortens the file
    /// Using the semaphore is then a SIGBUS, as it is in C.
    ///
    /// ```
    /// use chappe::posix::{Semaphore, SemaphoreError};
    /// let file = tempfile::tempfile()?;
    /// assert!(matches!(Semaphore::attach_in(&file, 0), Err(SemaphoreError::TooShort { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_in(fd: impl AsFd, offset: u64) -> Result<Semaphore, SemaphoreError> {
        let fd = fd.as_fd();
        checked_place(fd, offset)?;
        let handle = Handle::at(fd, offset).map_err(|error| failed_fd("map", fd, error))?;
        if is_private(fd, offset).map_err(|error| failed_fd("read", fd, error))? {
            return Err(SemaphoreError::NotShared { offset });
        }
        Ok(Semaphore { handle, name: None })
    }

    /// The name it was opened by; `None` if it has none.
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Takes one, waiting while the semaphore is at zero.
    ///
    /// # Errors
    /// [`WaitError`], except `WouldBlock` and `TimedOut`.
    ///
    /// # Waiting
    /// Woken by a post, of any program. A signal handler that runs meanwhile does not end it.
    ///
    /// # If a process dies
    /// Before it took one: nothing was taken. Afterwards: what it took is lost, see
    /// [above](Semaphore#what-a-posix-semaphore-cannot-do).
    ///
    /// # Memory ordering
    /// All that was done before the post that this wait took from is visible.
    ///
    /// ```
    /// use chappe::posix::Semaphore;
    /// let semaphore = Semaphore::unnamed(1)?;
    /// semaphore.wait()?;
    /// assert_eq!(semaphore.value(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_wait")]
    pub fn wait(&self) -> Result<(), WaitError> {
        waited(self.handle.wait())
    }

    /// Takes one if the semaphore is above zero now.
    ///
    /// # Errors
    /// [`WaitError`]; `WouldBlock` when it is at zero.
    ///
    /// ```
    /// use chappe::posix::{Semaphore, WaitError};
    /// let semaphore = Semaphore::unnamed(1)?;
    /// assert_eq!(semaphore.try_wait(), Ok(()));
    /// assert_eq!(semaphore.try_wait(), Err(WaitError::WouldBlock));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_trywait")]
    pub fn try_wait(&self) -> Result<(), WaitError> {
        waited(self.handle.try_wait())
    }

    /// Takes one, waiting at most this long while the semaphore is at zero. The time is by the monotonic clock, as for
    /// [`wait_deadline`](Semaphore::wait_deadline). A timeout that the clock cannot express means for ever.
    ///
    /// # Errors
    /// [`WaitError`]; `TimedOut` when it stayed at zero. From one above zero, even an expired timeout takes.
    ///
    /// ```
    /// use chappe::posix::{Semaphore, WaitError};
    /// use std::time::Duration;
    /// let semaphore = Semaphore::unnamed(0)?;
    /// assert_eq!(semaphore.wait_timeout(Duration::from_millis(10)), Err(WaitError::TimedOut));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_clockwait")]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), WaitError> {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.wait_deadline(deadline),
            None => self.wait(),
        }
    }

    /// Takes one, waiting at most until `deadline` while the semaphore is at zero.
    ///
    /// This is `sem_clockwait` with the monotonic clock where the C library has it (glibc since 2.30, on 64-bit systems).
    /// Elsewhere (musl) it is `sem_timedwait` until the time of the wall clock that is as far away: it never ends early, but a
    /// wall clock that is set back meanwhile makes it late by as much.
    ///
    /// # Errors
    /// As [`wait_timeout`](Semaphore::wait_timeout).
    ///
    /// ```
    /// use chappe::posix::{Semaphore, WaitError};
    /// use std::time::{Duration, Instant};
    /// let semaphore = Semaphore::unnamed(1)?;
    /// let deadline = Instant::now() + Duration::from_millis(10);
    /// assert_eq!(semaphore.wait_deadline(deadline), Ok(()));
    /// assert_eq!(semaphore.wait_deadline(deadline), Err(WaitError::TimedOut));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_clockwait")]
    pub fn wait_deadline(&self, deadline: Instant) -> Result<(), WaitError> {
        waited(self.handle.wait_monotonic(deadline))
    }

    /// Takes one, waiting at most until the wall clock shows `time`: `sem_timedwait`. A clock that is set meanwhile makes the
    /// wait shorter or longer; that is what this form is for. Where it is not meant, use
    /// [`wait_deadline`](Semaphore::wait_deadline).
    ///
    /// # Errors
    /// As [`wait_timeout`](Semaphore::wait_timeout).
    ///
    /// ```
    /// use chappe::posix::{Semaphore, WaitError};
    /// use std::time::{Duration, SystemTime};
    /// let semaphore = Semaphore::unnamed(0)?;
    /// let time = SystemTime::now() + Duration::from_millis(10);
    /// assert_eq!(semaphore.wait_until(time), Err(WaitError::TimedOut));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_timedwait")]
    pub fn wait_until(&self, time: SystemTime) -> Result<(), WaitError> {
        waited(self.handle.wait_realtime(time))
    }

    /// Adds one, and wakes one that waits, in any process. Anybody may, also who took nothing. It never waits, and a signal
    /// handler may call it.
    ///
    /// # Errors
    /// [`PostError`]; `Overflow` at [`VALUE_MAX`](Semaphore::VALUE_MAX).
    ///
    /// # If a process dies here
    /// One was added or it was not.
    ///
    /// # Memory ordering
    /// All that was done before is visible to the one who takes it.
    ///
    /// ```
    /// use chappe::posix::{PostError, Semaphore};
    /// let semaphore = Semaphore::unnamed(Semaphore::VALUE_MAX - 1)?;
    /// assert_eq!(semaphore.post(), Ok(()));
    /// assert_eq!(semaphore.post(), Err(PostError::Overflow));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_post")]
    pub fn post(&self) -> Result<(), PostError> {
        self.handle.post().map_err(|errno| match errno {
            libc::EOVERFLOW => PostError::Overflow,
            errno => PostError::System(errno),
        })
    }

    /// The value at some moment during this call; it may be another one by now. While somebody waits it is zero.
    ///
    /// ```
    /// use chappe::posix::Semaphore;
    /// assert_eq!(Semaphore::unnamed(7)?.value(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "sem_getvalue")]
    pub fn value(&self) -> u32 {
        self.handle.value()
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("name", &self.name).field("value", &self.value()).finish()
    }
}

/// Opens it; `None` if there is none.
fn open(name: &Name) -> Result<Option<Semaphore>, SemaphoreError> {
    refuse_what_is_none(name)?;
    match Handle::open(name) {
        Ok(handle) => Ok(Some(Semaphore { handle, name: Some(name.clone()) })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(failed("open", word(name), "its owner can grant both read and write permission (mode)", error))
        }
    }
}

/// The C library would open a file that is too short, and using it would be a SIGBUS. A file that cannot be looked at, or
/// that changes after this, is left to the library.
fn refuse_what_is_none(name: &Name) -> Result<(), SemaphoreError> {
    let path = sys::path(name);
    let reason = match file::facts_at(&path) {
        Ok(facts) if !facts.regular => "it is not a regular file",
        Ok(facts) if facts.size < Semaphore::SIZE => "it is too short",
        _ => return Ok(()),
    };
    Err(SemaphoreError::NotASemaphore { path, reason })
}

fn checked_name(name: &[u8]) -> Result<Name, SemaphoreError> {
    let name = Name::new(name)?;
    let (bytes, max) = (name.as_bytes().len(), sys::NAME_BYTES_MAX);
    if bytes > max {
        return Err(SemaphoreError::NameTooLong { bytes, max });
    }
    Ok(name)
}

fn checked_value(value: u32) -> Result<(), SemaphoreError> {
    let max = Semaphore::VALUE_MAX;
    if value > max { Err(SemaphoreError::Value { value, max }) } else { Ok(()) }
}

/// Refuses a place that is out of alignment or beyond the file's end.
fn checked_place(fd: BorrowedFd<'_>, offset: u64) -> Result<(), SemaphoreError> {
    let (size, alignment) = (Semaphore::SIZE, Semaphore::ALIGNMENT);
    if !offset.is_multiple_of(alignment) {
        return Err(SemaphoreError::Misaligned { offset, alignment });
    }
    let length = file::facts(fd).map_err(|error| failed_fd("look at", fd, error))?.size;
    if offset.checked_add(size).is_none_or(|end| end > length) {
        return Err(SemaphoreError::TooShort { offset, size, length });
    }
    Ok(())
}

fn is_private(fd: BorrowedFd<'_>, offset: u64) -> io::Result<bool> {
    let mut bytes = [0; sys::SIZE];
    file::read_at(fd, offset, &mut bytes)?;
    sys::is_private(&bytes)
}

fn waited(result: Result<(), i32>) -> Result<(), WaitError> {
    result.map_err(|errno| match errno {
        libc::EAGAIN => WaitError::WouldBlock,
        libc::ETIMEDOUT => WaitError::TimedOut,
        errno => WaitError::System(errno),
    })
}

/// What an error text calls a named one.
fn word(name: &Name) -> String {
    format!("POSIX semaphore {name}")
}

fn failed_fd(step: &'static str, fd: BorrowedFd<'_>, source: io::Error) -> SemaphoreError {
    let way_out = "it must be open for reading and writing, and not sealed";
    failed(step, format!("descriptor {}", fd.as_raw_fd()), way_out, source)
}

fn failed(step: &'static str, object: String, way_out: &'static str, source: io::Error) -> SemaphoreError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => SemaphoreError::Permission { step, object, way_out, source },
        _ => SemaphoreError::System { step, object, source },
    }
}
