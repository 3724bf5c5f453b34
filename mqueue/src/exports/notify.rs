//! `mq_notify`: checks in Linux's order, and what is to be done when a message comes.

use crate::errno::{self, Errno};
use crate::notice::{self, SignalEvent, ThreadEvent};
use crate::shared::Registration;
use crate::{find, sys};
use std::ffi::c_int;

/// The largest signal there is.
const SIGNAL_MAX: c_int = 64;

/// What the caller wants.
enum Wanted {
    Nothing,
    Silence,
    Signal(SignalEvent),
    Thread(ThreadEvent),
}

/// `int mq_notify(mqd_t, const struct sigevent *)`.
///
/// # Safety
/// `event` is null or valid; with SIGEV_THREAD its attributes are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mq_notify(mqd: c_int, event: *const notice::Event) -> c_int {
    sys::returned(sys::shielded(|| {
        // SAFETY: the caller's promise.
        let wanted = unsafe { wanted(event) }?;
        register(mqd, wanted).map(|()| 0)
    }))
}

/// # Safety
/// As for [`mq_notify`].
unsafe fn wanted(event: *const notice::Event) -> Result<Wanted, Errno> {
    // SAFETY: the caller's promise.
    let Some(event) = (unsafe { event.as_ref() }) else { return Ok(Wanted::Nothing) };
    match event.kind {
        libc::SIGEV_NONE => Ok(Wanted::Silence),
        libc::SIGEV_SIGNAL if (0..=SIGNAL_MAX).contains(&event.signal) => Ok(Wanted::Signal(event.signal())),
        // SAFETY: with this kind the caller has filled in what a thread needs.
        libc::SIGEV_THREAD => Ok(Wanted::Thread(unsafe { event.thread() })),
        _ => Err(libc::EINVAL),
    }
}

fn register(mqd: c_int, wanted: Wanted) -> Result<(), Errno> {
    let held = find::queue(mqd)?;
    let queue = &held.shared().queue;
    let (kind, signal, made) = match wanted {
        Wanted::Nothing => return held.shared().cancel_registration(),
        Wanted::Silence => (libc::SIGEV_NONE, 0, queue.notify(|_| ())),
        Wanted::Signal(event) => (libc::SIGEV_SIGNAL, event.number(), queue.notify(move |sender| event.send(sender))),
        Wanted::Thread(event) => (libc::SIGEV_THREAD, 0, queue.notify(move |_| event.start())),
    };
    made.map_err(errno::of_notify)?;
    held.shared().set_registration(Registration { kind: kind as u8, signal: signal as u8 });
    Ok(())
}
