//! A queue behind the C interface of `c/kill/queue.h`: a library that is compiled for the run and loaded. All unsafe code for it is here.
//!
//! What a call does to the queue, also that it hangs, is the library's affair; a handle stays open until its process ends.

use crate::measure::Result;
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_void};
use std::io::Error;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

type Init = unsafe extern "C" fn(*const c_char) -> c_int;
type Version = unsafe extern "C" fn() -> *const c_char;
type Create = unsafe extern "C" fn(*const c_char, c_uint, c_uint) -> *mut c_void;
type Open = unsafe extern "C" fn(*const c_char) -> *mut c_void;
type Send = unsafe extern "C" fn(*mut c_void, *const c_void, c_uint) -> c_int;
type Receive = unsafe extern "C" fn(*mut c_void, *mut c_void, c_uint) -> c_int;
type Within = unsafe extern "C" fn(c_long);
type Unlink = unsafe extern "C" fn(*const c_char);

/// A loaded library.
pub struct Shim {
    version: Version,
    create: Create,
    open: Open,
    within: Within,
    send: Send,
    receive: Receive,
    unlink: Unlink,
}

/// A queue that this process has open.
#[derive(Clone, Copy)]
pub struct Handle(*mut c_void);

/// Looks a function up. The last argument is its type, which `queue.h` says.
macro_rules! function {
    ($library:expr, $name:literal, $kind:ty) => {{
        // SAFETY: the library is loaded and stays so, and the name is a C string.
        let address = unsafe { libc::dlsym($library, $name.as_ptr()) };
        if address.is_null() {
            return Err(format!("the library has no {:?}", $name).into());
        }
        // SAFETY: it is the address of the function of this name, which has this type.
        unsafe { std::mem::transmute::<*mut c_void, $kind>(address) }
    }};
}

impl Shim {
    /// Loads a library; `uses` is the one whose calls it is to use, if it asks for that.
    pub fn load(path: &Path, uses: Option<&Path>) -> Result<Shim> {
        let path = c_string(path)?;
        // SAFETY: the path is a C string. What the library does when it is loaded is nothing, or what C libraries do then.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if library.is_null() {
            return Err(format!("cannot load {path:?}").into());
        }
        let init = function!(library, c"q_init", Init);
        let uses = uses.map(c_string).transpose()?;
        // SAFETY: null, or a C string that outlives the call.
        let result = unsafe { init(uses.as_ref().map_or(std::ptr::null(), |path| path.as_ptr())) };
        if result != 0 {
            return Err(format!("q_init: {}", Error::from_raw_os_error(result)).into());
        }
        Ok(Shim {
            version: function!(library, c"q_version", Version),
            create: function!(library, c"q_create", Create),
            open: function!(library, c"q_open", Open),
            within: function!(library, c"q_within", Within),
            send: function!(library, c"q_send", Send),
            receive: function!(library, c"q_receive", Receive),
            unlink: function!(library, c"q_unlink", Unlink),
        })
    }

    /// What it is made of.
    pub fn version(&self) -> String {
        // SAFETY: it takes nothing and returns a C string that stays.
        let text = unsafe { (self.version)() };
        // SAFETY: as above.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    pub fn create(&self, name: &CStr, capacity: u32, size: u32) -> Result<Handle> {
        // SAFETY: the name is a C string.
        let queue = unsafe { (self.create)(name.as_ptr(), capacity, size) };
        if queue.is_null() {
            Err(format!("cannot create: {}", Error::last_os_error()).into())
        } else {
            Ok(Handle(queue))
        }
    }

    pub fn open(&self, name: &CStr) -> Result<Handle> {
        // SAFETY: the name is a C string.
        let queue = unsafe { (self.open)(name.as_ptr()) };
        if queue.is_null() { Err(format!("cannot open: {}", Error::last_os_error()).into()) } else { Ok(Handle(queue)) }
    }

    /// The calls that follow may wait so long from now.
    pub fn within(&self, time: Duration) {
        // SAFETY: it takes any number.
        unsafe { (self.within)(time.as_millis() as c_long) };
    }

    /// False if there was no room within the time.
    ///
    /// # Errors
    /// What else the library says.
    pub fn send(&self, queue: Handle, message: &[u8]) -> Result<bool, Error> {
        let (start, length) = (message.as_ptr().cast(), message.len() as c_uint);
        // SAFETY: the handle is open, and start and length are those of a live slice, which is only read.
        match unsafe { (self.send)(queue.0, start, length) } {
            0 => Ok(true),
            libc::ETIMEDOUT => Ok(false),
            errno => Err(Error::from_raw_os_error(errno)),
        }
    }

    /// The length of what was received; `None` if there was no message within the time.
    ///
    /// # Errors
    /// What else the library says.
    pub fn receive(&self, queue: Handle, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        let (start, room) = (buffer.as_mut_ptr().cast(), buffer.len() as c_uint);
        // SAFETY: the handle is open, and start and room are those of a live slice that is ours alone.
        match unsafe { (self.receive)(queue.0, start, room) } {
            length @ 0.. => Ok(Some(length as usize)),
            errno if -errno == libc::ETIMEDOUT => Ok(None),
            errno => Err(Error::from_raw_os_error(-errno)),
        }
    }

    /// Removes the name, if there is one.
    pub fn unlink(&self, name: &CStr) {
        // SAFETY: the name is a C string.
        unsafe { (self.unlink)(name.as_ptr()) };
    }
}

fn c_string(path: &Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Makes a variable known to the libraries that this process loads, and to its children.
pub fn set_variable(name: &CStr, value: &Path) -> Result<()> {
    let value = c_string(value)?;
    // SAFETY: both are C strings. This process has one thread, as `measure::child` says, so nobody reads the environment meanwhile.
    match unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error().into()),
    }
}
