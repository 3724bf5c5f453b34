//! POSIX semaphores: the calls of the C library, each wrapped once. The library decides what a semaphore looks like in
//! memory and how its waiters sleep, so that every program that goes through it meets ours; nothing is known of that here.
//!
//! Sources: sem_open(3), sem_init(3), sem_wait(3), sem_post(3), POSIX.1-2024. glibc and musl keep a named semaphore as one
//! file that begins with the image that `sem_init` with pshared 1 makes (glibc sysdeps/pthread/sem_open.c, musl
//! src/thread/sem_open.c).

use crate::name::Name;
use crate::sys::memory::{Mapping, page_size};
use crate::sys::time::{time, to_timespec, wall};
use libc::{c_int, c_uint, clockid_t, sem_t, timespec};
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

/// The largest value, of glibc and musl alike.
pub(crate) const VALUE_MAX: u32 = i32::MAX as u32;

/// How many bytes a semaphore takes.
pub(crate) const SIZE: usize = size_of::<sem_t>();

/// Of what its place has to be a multiple.
pub(crate) const ALIGNMENT: usize = align_of::<sem_t>();

/// Where glibc and musl keep named semaphores.
pub(crate) const DIRECTORY: &str = "/dev/shm";

/// What the C library puts before the name: glibc this, musl nothing.
const PREFIX: &str = if cfg!(target_env = "musl") { "" } else { "sem." };

/// The longest name, in bytes without the slash: with the prefix it has to be a file name.
pub(crate) const NAME_BYTES_MAX: usize = 255 - PREFIX.len();

/// The bytes of a semaphore as the C library makes them.
pub(crate) type Image = [u8; SIZE];

/// A semaphore that can be used, in the C library's mapping or in one of ours.
pub(crate) struct Handle {
    /// Invariant S1: `place` is aligned for a `sem_t`, and its `SIZE` bytes are mapped readable, writable and shared as
    /// long as this value lives. Whatever bytes a peer leaves there, a `sem_t` of glibc or musl is integers only: calls on a
    /// wild one answer wrongly or wait, but follow no pointer. No reference to it is ever made.
    place: NonNull<sem_t>,
    /// `None` if the mapping is the C library's: `sem_close` ends it then.
    mapping: Option<Mapping>,
}

// SAFETY: the calls are made for use from any thread at once (POSIX.1-2024, 2.9.1), and S1 holds in all of them.
unsafe impl Send for Handle {}
// SAFETY: as above; `&self` gives access through these calls only.
unsafe impl Sync for Handle {}

impl Handle {
    /// `sem_open` of one that exists.
    pub(crate) fn open(name: &Name) -> io::Result<Handle> {
        let name = c_name(name);
        // SAFETY: the name is a C string that lives through the call; without O_CREAT there are no other arguments.
        opened(|| unsafe { libc::sem_open(name.as_ptr(), 0) })
    }

    /// `sem_open` of one that must not exist; the process's umask is taken off `mode`.
    pub(crate) fn create_new(name: &Name, mode: u32, value: u32) -> io::Result<Handle> {
        let (name, flags) = (c_name(name), libc::O_CREAT | libc::O_EXCL);
        // SAFETY: as above; with O_CREAT follow the mode and the value, which travel as unsigned int.
        opened(|| unsafe { libc::sem_open(name.as_ptr(), flags, mode as c_uint, value as c_uint) })
    }

    /// A new one in anonymous memory, which only fork children will share.
    pub(crate) fn anonymous(value: u32) -> io::Result<Handle> {
        let mapping = Mapping::anonymous(SIZE)?;
        let handle = Handle { place: mapping.address().cast(), mapping: Some(mapping) };
        handle.initialise(value)?;
        Ok(handle)
    }

    /// The one at `offset` of a file, a multiple of [`ALIGNMENT`], or the place for one. It must lie within the file, or
    /// touching it is a SIGBUS.
    pub(crate) fn at(fd: BorrowedFd<'_>, offset: u64) -> io::Result<Handle> {
        assert!(offset.is_multiple_of(ALIGNMENT as u64), "a semaphore out of alignment");
        let before = offset % page_size() as u64;
        // It is less than a page.
        let skip = before as usize;
        let mapping = Mapping::window(fd.as_fd(), offset - before, skip + SIZE)?;
        // SAFETY: the mapping has `SIZE` bytes after `skip`.
        let place = unsafe { mapping.address().add(skip) };
        // S1: a page begins at a multiple of any alignment, so `skip` is a multiple of it as `offset` is.
        Ok(Handle { place: place.cast(), mapping: Some(mapping) })
    }

    /// `sem_init` for several processes, over whatever is there.
    pub(crate) fn initialise(&self, value: u32) -> io::Result<()> {
        // SAFETY: S1; the memory was mapped for a semaphore.
        match unsafe { libc::sem_init(self.place.as_ptr(), 1, value) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Takes one, waiting as long as it takes.
    pub(crate) fn wait(&self) -> Result<(), i32> {
        // SAFETY: S1.
        uninterrupted(|| unsafe { libc::sem_wait(self.place.as_ptr()) })
    }

    /// Takes one if it is there: EAGAIN if not.
    pub(crate) fn try_wait(&self) -> Result<(), i32> {
        // SAFETY: S1.
        uninterrupted(|| unsafe { libc::sem_trywait(self.place.as_ptr()) })
    }

    /// Takes one, waiting until this instant of the monotonic clock: ETIMEDOUT after that.
    pub(crate) fn wait_monotonic(&self, deadline: Instant) -> Result<(), i32> {
        match clock_wait() {
            Some(clock_wait) => self.wait_by(clock_wait, deadline),
            None => self.wait_converted(deadline),
        }
    }

    fn wait_by(&self, clock_wait: ClockWait, deadline: Instant) -> Result<(), i32> {
        let left = deadline.saturating_duration_since(Instant::now());
        // The clock is read after `left` was computed, so the sum is not before the deadline.
        let until = to_timespec(time(libc::CLOCK_MONOTONIC).saturating_add(left));
        // SAFETY: S1; the function is the C library's by `ClockWait`, and `until` lives through the call.
        uninterrupted(|| unsafe { clock_wait(self.place.as_ptr(), libc::CLOCK_MONOTONIC, &raw const until) })
    }

    /// The same with the wall clock, for C libraries without `sem_clockwait`. A wall clock that is set forward meanwhile
    /// makes it look again at the time left; one that is set back makes it late by as much.
    fn wait_converted(&self, deadline: Instant) -> Result<(), i32> {
        // Bounded by the deadline: each turn sleeps what is left of it.
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.wait_wall(&to_timespec(time(libc::CLOCK_REALTIME).saturating_add(left))) {
                Err(libc::ETIMEDOUT) if Instant::now() < deadline => {}
                other => return other,
            }
        }
    }

    /// Takes one, waiting until the wall clock shows this: ETIMEDOUT after that.
    pub(crate) fn wait_realtime(&self, until: SystemTime) -> Result<(), i32> {
        self.wait_wall(&wall(until))
    }

    fn wait_wall(&self, until: &timespec) -> Result<(), i32> {
        // SAFETY: S1, and `until` is a valid timespec.
        uninterrupted(|| unsafe { libc::sem_timedwait(self.place.as_ptr(), until) })
    }

    /// Puts one back, or EOVERFLOW.
    pub(crate) fn post(&self) -> Result<(), i32> {
        // SAFETY: S1.
        uninterrupted(|| unsafe { libc::sem_post(self.place.as_ptr()) })
    }

    /// The value now. POSIX lets waiters count below zero; that is zero here.
    pub(crate) fn value(&self) -> u32 {
        let mut value: c_int = 0;
        // SAFETY: S1, and the number lives through the call.
        let result = unsafe { libc::sem_getvalue(self.place.as_ptr(), &raw mut value) };
        debug_assert_eq!(result, 0, "it fails for addresses only that are no semaphore");
        u32::try_from(value).unwrap_or(0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // One in a mapping of ours is not destroyed: others may use it, and it holds nothing but its memory.
        if self.mapping.is_none() {
            // SAFETY: the address came from `sem_open`, and each open is closed once; the library counts them.
            let result = unsafe { libc::sem_close(self.place.as_ptr()) };
            debug_assert_eq!(result, 0, "sem_close of what sem_open gave cannot fail");
        }
    }
}

/// `sem_unlink`.
pub(crate) fn unlink(name: &Name) -> io::Result<()> {
    let name = c_name(name);
    // SAFETY: the name is a C string that lives through the call.
    match unsafe { libc::sem_unlink(name.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The file that is a named semaphore.
pub(crate) fn path(name: &Name) -> PathBuf {
    let file = [PREFIX.as_bytes(), name.as_bytes()].concat();
    Path::new(DIRECTORY).join(OsString::from_vec(file))
}

/// The bytes of a new semaphore for use by several processes.
pub(crate) fn image(value: u32) -> io::Result<Image> {
    image_of(1, value)
}

/// Whether these bytes say that the semaphore is for the threads of one process: waiters of other processes would never be
/// woken. The C library is asked which bytes say so.
pub(crate) fn is_private(bytes: &Image) -> io::Result<bool> {
    let (private, shared) = (image_of(0, 0)?, image_of(1, 0)?);
    let mut marks = (0..SIZE).filter(|at| private[*at] != shared[*at]).peekable();
    Ok(marks.peek().is_some() && marks.all(|at| bytes[at] == private[at]))
}

fn image_of(shared: c_int, value: u32) -> io::Result<Image> {
    #[repr(C, align(16))]
    struct Room(Image);
    const { assert!(align_of::<Room>() >= ALIGNMENT) }
    let mut room = Room([0; SIZE]);
    // SAFETY: the room has the size and at least the alignment of a `sem_t`.
    match unsafe { libc::sem_init(room.0.as_mut_ptr().cast(), shared, value) } {
        0 => Ok(room.0),
        _ => Err(io::Error::last_os_error()),
    }
}

fn c_name(name: &Name) -> CString {
    CString::new([b"/", name.as_bytes()].concat()).expect("a name holds no NUL")
}

/// Opens until no signal handler interrupts, which a few calls to the file system take.
fn opened(mut open: impl FnMut() -> *mut sem_t) -> io::Result<Handle> {
    loop {
        let place = open();
        if place != libc::SEM_FAILED {
            let place = NonNull::new(place).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
            return Ok(Handle { place, mapping: None });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Calls until no signal handler interrupts. What bounds the call bounds this: times are absolute, and a wait without one is
/// meant to last.
fn uninterrupted(mut call: impl FnMut() -> c_int) -> Result<(), i32> {
    loop {
        if call() == 0 {
            return Ok(());
        }
        match io::Error::last_os_error().raw_os_error().unwrap_or(0) {
            libc::EINTR => {}
            errno => return Err(errno),
        }
    }
}

/// `sem_clockwait`: POSIX.1-2024, glibc since 2.30; musl and the libc crate do not have it.
type ClockWait = unsafe extern "C" fn(*mut sem_t, clockid_t, *const timespec) -> c_int;

/// The C library's `sem_clockwait`, if it has one.
fn clock_wait() -> Option<ClockWait> {
    static FOUND: OnceLock<Option<ClockWait>> = OnceLock::new();
    *FOUND.get_or_init(look_up_clock_wait)
}

fn look_up_clock_wait() -> Option<ClockWait> {
    // On 32-bit systems the function of this name may be the one for times of 32 bits.
    if size_of::<usize>() < 8 {
        return None;
    }
    // SAFETY: the default handle, and a C string that lives for ever.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"sem_clockwait".as_ptr()) };
    if address.is_null() {
        return None;
    }
    // SAFETY: by POSIX.1-2024 a function of this name has this type, and one that dlsym finds stays loaded: it is in the
    // C library, which is never unloaded.
    Some(unsafe { std::mem::transmute::<*mut libc::c_void, ClockWait>(address) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_largest_value_is_the_systems() {
        // SAFETY: it takes a number.
        assert_eq!(unsafe { libc::sysconf(libc::_SC_SEM_VALUE_MAX) }, libc::c_long::from(i32::MAX));
    }

    #[test]
    fn images_tell_private_from_shared() {
        for value in [0, 1, VALUE_MAX] {
            assert!(!is_private(&image_of(1, value).unwrap()).unwrap());
            let same = image_of(0, value).unwrap() == image_of(1, value).unwrap();
            assert_eq!(is_private(&image_of(0, value).unwrap()).unwrap(), !same);
        }
    }

    #[test]
    #[cfg(all(target_env = "gnu", target_pointer_width = "64"))]
    fn glibc_has_clockwait() {
        assert!(clock_wait().is_some());
    }

    #[test]
    fn without_clockwait_the_wall_clock_serves() {
        let semaphore = Handle::anonymous(1).unwrap();
        let start = Instant::now();
        let deadline = start + Duration::from_millis(20);
        assert_eq!(semaphore.wait_converted(start), Ok(()), "what is there is taken even if the time is over");
        assert_eq!(semaphore.wait_converted(deadline), Err(libc::ETIMEDOUT));
        assert!(Instant::now() >= deadline, "too early");
        assert_eq!(semaphore.wait_converted(start), Err(libc::ETIMEDOUT));
    }
}
