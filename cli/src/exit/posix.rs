//! Errors on queues of the kernel's, and on limits: exit codes and texts. Those of POSIX semaphores are in `sem`.

use super::{CANNOT_CREATE, Failure, MISMATCH, PERMISSION, SYSTEM, UNAVAILABLE, USAGE};
use chappe::posix::{LimitError, MessageQueueError};

/// It could not be opened or removed.
pub fn queue(name: &str, error: &MessageQueueError) -> Failure {
    let code = match error {
        MessageQueueError::Name(_) => USAGE,
        MessageQueueError::Capacity { capacity: 0, .. } | MessageQueueError::MessageSize { message_size: 0, .. } => {
            USAGE
        }
        MessageQueueError::NotFound { .. } => UNAVAILABLE,
        MessageQueueError::Exists { .. } => CANNOT_CREATE,
        MessageQueueError::Permission { .. } => PERMISSION,
        _ => SYSTEM,
    };
    let text = match error {
        MessageQueueError::NotFound { .. } => format!(
            "there is no {name} in this IPC namespace (containers have their own); `chappe mq create {name}` makes one"
        ),
        MessageQueueError::Exists { .. } => {
            format!("{name} exists already; --exist-ok takes it as it is, `chappe mq rm {name}` removes it")
        }
        other => other.to_string(),
    };
    Failure::new(code, text)
}

/// It could not be created.
pub fn create(name: &str, error: &MessageQueueError) -> Failure {
    let Failure { code, text } = queue(name, error);
    Failure { code: if code == SYSTEM { CANNOT_CREATE } else { code }, text }
}

/// It exists with something else than what was asked for.
pub fn mismatch(name: &str, what: &str, found: &str, wanted: &str) -> Failure {
    let way_out = format!("ask for the same or for none, or remove it with `chappe mq rm {name}`");
    Failure::new(MISMATCH, format!("{name} exists with {what} {found}, you asked for {what} {wanted}; {way_out}"))
}

/// A limit was not set.
pub fn limit(error: &LimitError) -> Failure {
    let code = match error {
        LimitError::Range { .. } | LimitError::NotSettable { .. } => USAGE,
        LimitError::Permission { .. } => PERMISSION,
        _ => SYSTEM,
    };
    Failure::new(code, error.to_string())
}
