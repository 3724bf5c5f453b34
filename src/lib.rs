//! chappe (skeleton)
mod deadline;
mod error;
mod message;
mod name;
mod stat;

mod sys;

mod sync;

mod raw;

mod region;
mod shm;

mod inspect;
mod queue;

pub use error::{AccessError, OpenError, RecvError, SendError, SendManyError};
pub use inspect::list;
pub use message::{
    Batch, CAPACITY_DEFAULT, CAPACITY_MAX, MESSAGE_SIZE_DEFAULT, MESSAGE_SIZE_MAX, Message, PRIORITY_MAX, Received,
};
pub use name::{DEFAULT_DIR, DIR_VARIABLE, Kind, NAME_BYTES_MAX, Name, NameError, default_dir};
pub use queue::{Options, Queue};
pub use stat::{Attributes, Counters, Object, Participant, Stat};
