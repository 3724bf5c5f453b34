//! Errors on semaphores: exit codes and texts.

use super::{
    BEFORE_COMMAND, DAMAGED, Failure, NO_COMMAND, NOT_EXECUTABLE, PERMISSION, SYSTEM, TIMED_OUT, TRY_AGAIN,
    UNAVAILABLE, USAGE, busy,
};
use crate::output::name_text;
use crate::page::counted;
use chappe::posix::{PostError, SemaphoreError, WaitError};
use chappe::{AccessError, AcquireError, Name};
use std::io::{self, ErrorKind};

/// Waiting was in vain; `had` says what the semaphore had all the time.
pub fn acquire(name: &Name, error: AcquireError, had: &str) -> Failure {
    let (code, text) = match error {
        AcquireError::NoPermits => (TRY_AGAIN, format!("{had}; wait by leaving --nonblock out")),
        AcquireError::TimedOut => (TIMED_OUT, format!("{had} as long as -t allows")),
        AcquireError::TooMany { asked, permits } => return too_many(name, asked, permits),
        AcquireError::Closed => (UNAVAILABLE, "was closed by a participant".to_owned()),
        AcquireError::Unlinked => (UNAVAILABLE, "was removed meanwhile".to_owned()),
        AcquireError::Busy => busy(),
        AcquireError::Corrupt => corrupt(name),
        other => (SYSTEM, format!("gave nothing: {other}")),
    };
    Failure::new(code, format!("{} {text}", name_text(name)))
}

fn too_many(name: &Name, asked: u64, permits: u64) -> Failure {
    let (name, asked_text) = (name_text(name), counted(asked, "permit"));
    let text = format!(
        "{asked_text} at once were asked for, {name} has {permits}; ask for fewer (--take), or `chappe sem set {name} {asked}`"
    );
    Failure::new(UNAVAILABLE, text)
}

/// The semaphore could not be looked at or changed.
pub fn access(name: &Name, error: AccessError) -> Failure {
    let (code, text) = match error {
        AccessError::Busy => busy(),
        AccessError::Corrupt => corrupt(name),
        AccessError::Full => (TRY_AGAIN, format!("has {} permits, the most there can be", chappe::PERMITS_MAX)),
        other => (SYSTEM, format!("cannot be reached: {other}")),
    };
    Failure::new(code, format!("{} {text}", name_text(name)))
}

fn corrupt(name: &Name) -> (u8, String) {
    let name = name_text(name);
    let text = format!(
        "is corrupt: a process wrote words into it that make no sense; `chappe sem rm {name}` and create it anew"
    );
    (DAMAGED, text)
}

/// A POSIX semaphore could not be opened or removed.
pub fn posix(name: &str, error: &SemaphoreError) -> Failure {
    let code = match error {
        SemaphoreError::Name(_) | SemaphoreError::NameTooLong { .. } => USAGE,
        SemaphoreError::NotFound { .. } => UNAVAILABLE,
        SemaphoreError::NotASemaphore { .. } => DAMAGED,
        SemaphoreError::Permission { .. } => PERMISSION,
        _ => SYSTEM,
    };
    let text = match error {
        SemaphoreError::NotFound { .. } => format!("there is no {name}; the program that shares it creates it"),
        other => other.to_string(),
    };
    Failure::new(code, text)
}

/// Waiting at a POSIX semaphore was in vain.
pub fn posix_wait(name: &str, error: WaitError) -> Failure {
    let (code, text) = match error {
        WaitError::WouldBlock => (TRY_AGAIN, "is at zero; wait by leaving --nonblock out".to_owned()),
        WaitError::TimedOut => (TIMED_OUT, "stayed at zero as long as -t allows".to_owned()),
        other => (SYSTEM, format!("gave nothing: {other}")),
    };
    Failure::new(code, format!("{name} {text}"))
}

/// Nothing was added to a POSIX semaphore.
pub fn posix_post(name: &str, error: PostError) -> Failure {
    let code = if error == PostError::Overflow { TRY_AGAIN } else { SYSTEM };
    Failure::new(code, format!("nothing was added to {name}: {error}"))
}

/// `sem run` failed before it could run the command, whatever the reason.
pub fn before_command(failure: Failure) -> Failure {
    Failure { code: BEFORE_COMMAND, ..failure }
}

/// The command did not begin, as env(1) has it.
pub fn command(text: &str, error: &io::Error) -> Failure {
    let code = match (error.kind(), error.raw_os_error()) {
        (ErrorKind::NotFound, _) => NO_COMMAND,
        // Not the command's fault: the permit could not be handed over to it.
        (ErrorKind::ResourceBusy | ErrorKind::StorageFull, _) | (_, None) => BEFORE_COMMAND,
        _ => NOT_EXECUTABLE,
    };
    Failure::new(code, format!("cannot run {text}: {error}"))
}
