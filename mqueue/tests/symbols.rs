//! What the library exports: the API, the wrappers, and nothing else; and that it stays once it is loaded. `nm` and `readelf` (of the
//! binutils) read it.

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
    let Some(text) = read_by("nm", &["-D", "--defined-only"]) else { return };
    let mut found: Vec<&str> = text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    found.sort_unstable();
    let mut wanted: Vec<&str> = API.iter().chain(&WRAPPERS).copied().collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

/// `dlclose` would take the code away from threads and handlers that are still there.
#[test]
fn it_cannot_be_unloaded() {
    let Some(text) = read_by("readelf", &["--dynamic", "--wide"]) else { return };
    assert!(text.contains("NODELETE"), "{text}");
}

/// What a tool prints of the library; `None` if there is no such tool.
fn read_by(tool: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(tool).args(arguments).arg(common::library()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: there is no {tool} (package binutils)");
            return None;
        }
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{}", common::text(&output));
    Some(String::from_utf8(output.stdout).unwrap())
}
