//! What C calls, a file a purpose. The functions of `<mqueue.h>` come first; the wrappers of the C library's functions begin with one
//! look whether a queue is open in this process, and are that library's functions if not.
//!
//! Every function is `C-unwind`: a thread that is cancelled inside the C library's function unwinds through these frames, which own
//! nothing at that moment. A panic does not: what can panic runs inside [`sys::caught`](crate::sys::caught) or `shielded`.

mod attributes;
mod cancel;
mod close;
mod file;
mod notify;
mod open;
mod poll;
mod transfer;
