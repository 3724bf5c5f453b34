//! The C library's own functions (or those of whoever else wraps them), which ours stand before.
//!
//! They are looked up when the library is loaded, so that later calls, in signal handlers too, find an address that is there; and
//! before that by whoever is first.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

macro_rules! next {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
        $(
            /// The next function of this name; ENOSYS if the C library has none.
            ///
            /// # Safety
            /// As that function's.
            #[inline]
            pub unsafe fn $name($($argument: $kind),*) -> $result {
                let Some(function) = find::$name() else { return crate::sys::fail(libc::ENOSYS) };
                // SAFETY: the caller answers for the arguments.
                unsafe { function($($argument),*) }
            }
        )*

        mod find {
            use super::*;

            $(
                #[inline]
                pub fn $name() -> Option<unsafe extern "C-unwind" fn($($kind),*) -> $result> {
                    static FOUND: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
                    let mut address = FOUND.load(Ordering::Relaxed);
                    if address.is_null() {
                        address = look_up(concat!(stringify!($name), "\0"));
                        FOUND.store(address, Ordering::Relaxed);
                    }
                    // SAFETY: null is `None`; any other address is that of the function of this name, whose type this is.
                    unsafe { std::mem::transmute(address) }
                }
            )*

            pub fn all() {
                $($name();)*
            }
        }
    };
}

next! {
    close(fd: c_int) -> c_int;
    close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int;
    dup2(from: c_int, to: c_int) -> c_int;
    dup3(from: c_int, to: c_int, flags: c_int) -> c_int;
    read(fd: c_int, buffer: *mut c_void, count: usize) -> isize;
    __read_chk(fd: c_int, buffer: *mut c_void, count: usize, room: usize) -> isize;
    pread(fd: c_int, buffer: *mut c_void, count: usize, offset: i64) -> isize;
    __pread_chk(fd: c_int, buffer: *mut c_void, count: usize, offset: i64, room: usize) -> isize;
    write(fd: c_int, buffer: *const c_void, count: usize) -> isize;
    lseek(fd: c_int, offset: i64, whence: c_int) -> i64;
    fstat(fd: c_int, stat: *mut libc::stat) -> c_int;
    poll(fds: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int) -> c_int;
    __poll_chk(fds: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int, room: usize) -> c_int;
    ppoll(
        fds: *mut libc::pollfd,
        count: libc::nfds_t,
        timeout: *const libc::timespec,
        mask: *const libc::sigset_t
    ) -> c_int;
    __ppoll_chk(
        fds: *mut libc::pollfd,
        count: libc::nfds_t,
        timeout: *const libc::timespec,
        mask: *const libc::sigset_t,
        room: usize
    ) -> c_int;
    select(
        count: c_int,
        read: *mut libc::fd_set,
        write: *mut libc::fd_set,
        except: *mut libc::fd_set,
        timeout: *mut libc::timeval
    ) -> c_int;
    pselect(
        count: c_int,
        read: *mut libc::fd_set,
        write: *mut libc::fd_set,
        except: *mut libc::fd_set,
        timeout: *const libc::timespec,
        mask: *const libc::sigset_t
    ) -> c_int;
    epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut libc::epoll_event) -> c_int;
    epoll_wait(epoll: c_int, events: *mut libc::epoll_event, count: c_int, timeout: c_int) -> c_int;
    epoll_pwait(
        epoll: c_int,
        events: *mut libc::epoll_event,
        count: c_int,
        timeout: c_int,
        mask: *const libc::sigset_t
    ) -> c_int;
    epoll_pwait2(
        epoll: c_int,
        events: *mut libc::epoll_event,
        count: c_int,
        timeout: *const libc::timespec,
        mask: *const libc::sigset_t
    ) -> c_int;
}

/// The next `closefrom`, which returns nothing.
///
/// # Safety
/// As that function's.
pub unsafe fn closefrom(low: c_int) {
    let address = look_up("closefrom\0");
    if address.is_null() {
        return;
    }
    // SAFETY: the address is that of the function of this name, whose type this is.
    let function = unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn(c_int)>(address) };
    // SAFETY: the caller answers for closing descriptors.
    unsafe { function(low) }
}

/// The next `pthread_cancel`, which returns its error.
///
/// # Safety
/// As that function's: the thread must not have been joined, and lives or can be joined.
pub unsafe fn pthread_cancel(thread: libc::pthread_t) -> c_int {
    let address = look_up("pthread_cancel\0");
    if address.is_null() {
        return libc::ENOSYS;
    }
    // SAFETY: the address is that of the function of this name, whose type this is.
    let function =
        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn(libc::pthread_t) -> c_int>(address) };
    // SAFETY: the caller answers for the thread.
    unsafe { function(thread) }
}

/// `name` ends with a NUL.
#[cold]
fn look_up(name: &'static str) -> *mut c_void {
    debug_assert!(name.ends_with('\0'));
    // SAFETY: the name is a C string.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast::<c_char>()) }
}

/// What is read where the C library does not say whether there are other threads.
static SEVERAL: u8 = 0;

/// Where the C library says whether there are other threads.
static SINGLE: AtomicPtr<u8> = AtomicPtr::new((&raw const SEVERAL).cast_mut());

/// Whether this is the only thread. It stays so but for threads that this one starts.
#[inline(always)]
pub fn has_one_thread() -> bool {
    let place = SINGLE.load(Ordering::Relaxed);
    // SAFETY: it is `SEVERAL` or a `char` of the C library's. That one is written when a thread starts another, and while there are
    // several nobody relies on it: so a thread that reads "one" is the one, and the write was its own.
    unsafe { place.read_volatile() != 0 }
}

extern "C" fn at_loading() {
    find::all();
    // glibc 2.32 and newer.
    let place = look_up("__libc_single_threaded\0").cast::<u8>();
    if !place.is_null() {
        SINGLE.store(place, Ordering::Relaxed);
    }
}

/// Run by the dynamic linker, or by the program's start when it is linked in.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOADING: extern "C" fn() = at_loading;
