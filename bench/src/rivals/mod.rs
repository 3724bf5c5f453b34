//! The rivals, each at the setting that its documentation recommends. None of them knows how it is measured.

pub mod c_library;
pub mod file_lock;
pub mod limits;
pub mod pipe;
pub mod posix;
pub mod shim;
pub mod system_v;
