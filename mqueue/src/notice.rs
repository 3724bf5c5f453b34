//! What tells a process that a message came: a signal, or a thread. It decides nothing.

use crate::sys;
use chappe::Sender;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

/// `si_code` of a message queue's signal.
const SI_MESGQ: c_int = -3;

/// A `union sigval`: a pointer or an int, carried as it is.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Value(*mut c_void);

// SAFETY: it is a value of the program's, which is handed back as it came and never followed.
unsafe impl Send for Value {}

/// A `struct sigevent`, as glibc and musl lay it out on 64-bit Linux.
#[repr(C)]
pub struct Event {
    value: Value,
    pub signal: c_int,
    pub kind: c_int,
    function: Option<extern "C-unwind" fn(Value)>,
    attributes: *const libc::pthread_attr_t,
}

impl Event {
    pub fn signal(&self) -> SignalEvent {
        SignalEvent { number: self.signal, value: self.value }
    }

    /// # Safety
    /// It is of the kind SIGEV_THREAD, and its attributes are null or valid.
    pub unsafe fn thread(&self) -> ThreadEvent {
        // SAFETY: the caller's promise.
        let attributes = unsafe { self.attributes.as_ref() };
        ThreadEvent { function: self.function, value: self.value, attributes: Attributes::copy(attributes) }
    }
}

/// A signal to this process.
pub struct SignalEvent {
    number: c_int,
    value: Value,
}

/// The part of a `siginfo_t` that a message queue fills in.
#[repr(C)]
struct Information {
    number: c_int,
    errno: c_int,
    code: c_int,
    padding: c_int,
    pid: u32,
    uid: u32,
    value: Value,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<Information>() == size_of::<libc::siginfo_t>());

impl SignalEvent {
    pub fn number(&self) -> c_int {
        self.number
    }

    /// Signals this process as the kernel would. Number 0 is no signal.
    pub fn send(self, sender: Sender) {
        let information = Information {
            number: self.number,
            errno: 0,
            code: SI_MESGQ,
            padding: 0,
            pid: sender.pid,
            uid: sender.uid,
            value: self.value,
            rest: [0; 12],
        };
        // SAFETY: the address is that of a whole `siginfo_t`. It fails only if too many signals are pending, as the kernel's own does.
        unsafe { libc::syscall(libc::SYS_rt_sigqueueinfo, sys::pid(), self.number, &information) };
    }
}

/// A new thread that calls a function of the program's.
pub struct ThreadEvent {
    function: Option<extern "C-unwind" fn(Value)>,
    value: Value,
    attributes: Attributes,
}

/// What the thread begins with.
struct Start {
    function: extern "C-unwind" fn(Value),
    value: Value,
}

impl ThreadEvent {
    /// Starts the thread. If that fails there is nobody to tell, as in the C library.
    pub fn start(self) {
        let Some(function) = self.function else { return };
        let start = Box::into_raw(Box::new(Start { function, value: self.value }));
        let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
        // SAFETY: the attributes are initialised, `begin` takes what it is given here, and there is room for the thread's number.
        let result = unsafe { pthread_create(thread.as_mut_ptr(), &self.attributes.0, begin, start.cast::<c_void>()) };
        if result != 0 {
            // SAFETY: the box is of this function, and no thread has it.
            drop(unsafe { Box::from_raw(start) });
        }
    }
}

/// The program's function runs with no signal blocked, as the C library does it: the thread that starts this one blocks all. It may
/// end the thread, which unwinds through this frame: nothing is owned here then.
extern "C-unwind" fn begin(start: *mut c_void) -> *mut c_void {
    // SAFETY: it is the box of `ThreadEvent::start`, given to this thread.
    let Start { function, value } = *unsafe { Box::from_raw(start.cast::<Start>()) };
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: there is room for a set.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the call above has written the set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
    function(value);
    std::ptr::null_mut()
}

/// A `pthread_attr_t` of our own: the caller may destroy its as soon as `mq_notify` has returned.
struct Attributes(libc::pthread_attr_t);

// SAFETY: it is plain data, with memory of its own that no thread owns; a stack in it is for the thread that is started.
unsafe impl Send for Attributes {}

unsafe extern "C-unwind" {
    fn pthread_create(
        thread: *mut libc::pthread_t,
        attributes: *const libc::pthread_attr_t,
        begin: extern "C-unwind" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> c_int;
}

unsafe extern "C" {
    fn pthread_attr_getscope(attributes: *const libc::pthread_attr_t, scope: *mut c_int) -> c_int;
    fn pthread_attr_setscope(attributes: *mut libc::pthread_attr_t, scope: c_int) -> c_int;
    fn pthread_attr_getguardsize(attributes: *const libc::pthread_attr_t, size: *mut usize) -> c_int;
    fn pthread_attr_setguardsize(attributes: *mut libc::pthread_attr_t, size: usize) -> c_int;
    fn pthread_attr_getstack(
        attributes: *const libc::pthread_attr_t,
        stack: *mut *mut c_void,
        size: *mut usize,
    ) -> c_int;
    fn pthread_attr_setstack(attributes: *mut libc::pthread_attr_t, stack: *mut c_void, size: usize) -> c_int;
    fn pthread_attr_getinheritsched(attributes: *const libc::pthread_attr_t, inherit: *mut c_int) -> c_int;
    fn pthread_attr_setinheritsched(attributes: *mut libc::pthread_attr_t, inherit: c_int) -> c_int;
    fn pthread_attr_getschedpolicy(attributes: *const libc::pthread_attr_t, policy: *mut c_int) -> c_int;
    fn pthread_attr_setschedpolicy(attributes: *mut libc::pthread_attr_t, policy: c_int) -> c_int;
    fn pthread_attr_getschedparam(attributes: *const libc::pthread_attr_t, parameter: *mut libc::sched_param) -> c_int;
    fn pthread_attr_setschedparam(attributes: *mut libc::pthread_attr_t, parameter: *const libc::sched_param) -> c_int;
}

/// Copies one attribute: what the first function gives goes to the second.
macro_rules! copy {
    ($get:ident, $set:ident, $kind:ty, $from:ident, $to:ident) => {
        let mut value = MaybeUninit::<$kind>::zeroed();
        // SAFETY: the attributes are initialised, and there is room for the value.
        let got = unsafe { $get($from, value.as_mut_ptr()) };
        // SAFETY: all zeros is a value, and the call may have written another.
        let value = unsafe { value.assume_init() };
        if got == 0 {
            copy!(@set $set, $to, value);
        }
    };
    (@set pthread_attr_setschedparam, $to:ident, $value:ident) => {
        // SAFETY: both are initialised. What cannot be set stays the default.
        unsafe { pthread_attr_setschedparam($to, &$value) };
    };
    (@set $set:ident, $to:ident, $value:ident) => {
        // SAFETY: the attributes are initialised. What cannot be set stays the default.
        unsafe { $set($to, $value) };
    };
}

impl Attributes {
    /// The defaults, or what is in `from`; detached in any case, for nobody can join a thread that nobody was told of.
    fn copy(from: Option<&libc::pthread_attr_t>) -> Attributes {
        let mut new = MaybeUninit::<libc::pthread_attr_t>::uninit();
        // SAFETY: there is room.
        let result = unsafe { libc::pthread_attr_init(new.as_mut_ptr()) };
        assert_eq!(result, 0, "pthread_attr_init fails only for lack of memory");
        // SAFETY: it succeeded.
        let mut new = Attributes(unsafe { new.assume_init() });
        if let Some(from) = from {
            new.take(from);
        }
        // SAFETY: initialised above; the state is a known one.
        unsafe { libc::pthread_attr_setdetachstate(&mut new.0, libc::PTHREAD_CREATE_DETACHED) };
        new
    }

    fn take(&mut self, from: &libc::pthread_attr_t) {
        let to = &mut self.0;
        copy!(pthread_attr_getscope, pthread_attr_setscope, c_int, from, to);
        copy!(pthread_attr_getinheritsched, pthread_attr_setinheritsched, c_int, from, to);
        copy!(pthread_attr_getschedpolicy, pthread_attr_setschedpolicy, c_int, from, to);
        copy!(pthread_attr_getschedparam, pthread_attr_setschedparam, libc::sched_param, from, to);
        copy!(pthread_attr_getguardsize, pthread_attr_setguardsize, usize, from, to);
        self.take_stack(from);
        #[cfg(target_env = "gnu")]
        self.take_processors(from);
    }

    fn take_stack(&mut self, from: &libc::pthread_attr_t) {
        let (mut stack, mut size) = (std::ptr::null_mut(), 0);
        // SAFETY: the attributes are initialised, and the two addresses are those of locals.
        let got = unsafe { pthread_attr_getstack(from, &mut stack, &mut size) };
        // Without a stack of the program's, the address is what begins so many bytes below null (or, with musl, an error).
        if got == 0 && stack.addr().wrapping_add(size) != 0 {
            // SAFETY: initialised; the stack is the program's, which gave it for this thread.
            unsafe { pthread_attr_setstack(&mut self.0, stack, size) };
        } else {
            // SAFETY: as above.
            let got = unsafe { libc::pthread_attr_getstacksize(from, &mut size) };
            if got == 0 {
                // SAFETY: initialised. A size that is too small cannot have been set in `from` either.
                unsafe { libc::pthread_attr_setstacksize(&mut self.0, size) };
            }
        }
    }

    /// Attributes without a set of processors are shown as if they had all.
    #[cfg(target_env = "gnu")]
    fn take_processors(&mut self, from: &libc::pthread_attr_t) {
        let mut processors = MaybeUninit::<libc::cpu_set_t>::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        // SAFETY: the attributes are initialised, and there is room for so many bytes.
        let got = unsafe { libc::pthread_attr_getaffinity_np(from, size, processors.as_mut_ptr()) };
        // SAFETY: all zeros is a value, and the call may have written another.
        let processors = unsafe { processors.assume_init() };
        let all = (0..size * 8).all(|processor| {
            // SAFETY: the number is below the number of bits of the set.
            unsafe { libc::CPU_ISSET(processor, &processors) }
        });
        if got == 0 && !all {
            // SAFETY: both are initialised.
            unsafe { libc::pthread_attr_setaffinity_np(&mut self.0, size, &processors) };
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used any more.
        unsafe { libc::pthread_attr_destroy(&mut self.0) };
    }
}
