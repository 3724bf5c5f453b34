//! Death at every instruction of a send or a receive, for any queue behind the C interface of `c/kill/queue.h`: a process is
//! single-stepped through the call and killed after its k-th instruction; then a survivor tries to go on, and every message is accounted
//! for. What is wrong then is a figure, not a failure.
//!
//! The stepping is that of the library's own tests. Nothing here knows whose queue it is.

pub mod account;
pub mod case;
pub mod lanes;
pub mod maker;
pub mod scene;
#[allow(dead_code, reason = "the library's tests use more of it")]
#[path = "../../../tests/common/step.rs"]
pub mod step;
pub mod survivor;
#[allow(dead_code, reason = "as above")]
#[path = "../../../tests/common/way.rs"]
pub mod way;

use std::os::fd::RawFd;
use std::time::Duration;

/// Whether the descriptor has something to read (or has ended) within the bound.
fn readable(descriptor: RawFd, bound: Duration) -> bool {
    let mut polled = libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 };
    let milliseconds = i32::try_from(bound.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one valid pollfd, and the count says one.
    let ready = unsafe { libc::poll(&raw mut polled, 1, milliseconds) };
    ready > 0
}
