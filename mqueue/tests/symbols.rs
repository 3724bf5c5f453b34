//! What the library exports: the API, the wrappers, and nothing else. `nm` (of the binutils) reads it.

mod common;

use std::process::Command;

/// The functions of `<mqueue.h>`, and what fortified programs call instead of `mq_open`.
const API: [&str; 11] = [
    "__mq_open_2",
    "mq_close",
    "mq_getattr",
    "mq_notify",
    "mq_open",
    "mq_receive",
    "mq_send",
    "mq_setattr",
    "mq_timedreceive",
    "mq_timedsend",
    "mq_unlink",
];

/// Functions of the C library that see descriptors, or wake a thread that waits.
const WRAPPERS: [&str; 27] = [
    "__poll_chk",
    "__ppoll_chk",
    "__pread64_chk",
    "__pread_chk",
    "__read_chk",
    "close",
    "close_range",
    "closefrom",
    "dup2",
    "dup3",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "fstat",
    "fstat64",
    "lseek",
    "lseek64",
    "poll",
    "ppoll",
    "pread",
    "pread64",
    "pselect",
    "pthread_cancel",
    "read",
    "select",
    "write",
];

#[test]
fn nothing_is_exported_but_the_api_and_the_wrappers() {
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(common::library()).output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: there is no nm (package binutils)");
            return;
        }
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{}", common::text(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut found: Vec<&str> = text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    found.sort_unstable();
    let mut wanted: Vec<&str> = API.iter().chain(&WRAPPERS).copied().collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}
