//! The C library `chappe_mqueue`: `mq_open` and its ten companions over the queues of `chappe`, and wrappers of those calls of the C
//! library that see the descriptors (`close`, `poll`, `read`, ...). A program gets it by LD_PRELOAD or by linking it; what differs
//! from the kernel's queues is in the manual page `chappe_mqueue(7)`.
//!
//! The symbols are in [`exports`], a file a purpose; they check as Linux does, in its order, and do nothing else. Below them: the
//! [`table`] of descriptors, one [`queue`](shared) a process, and the C library's own functions ([`next`]).

#![deny(unsafe_code)]

// A C program passes `mode` and `attr` of mq_open as variadic arguments. Where integers and pointers among those travel like named
// ones, a function with four named parameters reads them; stable Rust has no other way to define it.
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
)))]
compile_error!("chappe-mqueue knows how mq_open's variadic arguments travel on 64-bit x86, Arm and RISC-V Linux only");

mod deadline;
mod errno;
mod name;
mod setup;
mod shared;
mod text;

#[allow(unsafe_code, reason = "system calls, errno, cancellation")]
mod sys;

#[allow(unsafe_code, reason = "addresses that dlsym gives are called")]
mod next;

#[allow(unsafe_code, reason = "handlers of fork")]
mod process;

#[allow(unsafe_code, reason = "pointers to entries, counted")]
mod table;

#[allow(unsafe_code, reason = "pthread attributes and signal information are the C library's")]
mod notice;

mod cancel;
mod find;

#[allow(unsafe_code, reason = "what C calls: symbols, and the pointers that callers pass")]
mod exports;
