//! A C program that is linked with the library's archive instead of having it preloaded. The program itself is linked dynamically:
//! the wrappers look for the C library's own functions behind them.

mod common;

use chappe::Queue;
use common::{NET, archive, compile, scratch, succeed};
use std::ffi::OsStr;
use std::process::Command;

#[test]
fn a_program_linked_with_the_archive_uses_our_queues() {
    let archive = archive();
    let flags = [archive.as_os_str(), OsStr::new("-ldl"), OsStr::new("-lm"), OsStr::new("-lgcc_s")];
    let Some(tool) = compile("tool", "tool-static", &flags) else { return };
    let dir = scratch();
    let run = |commands: &str| {
        let mut command = Command::new(&tool);
        succeed(command.args(commands.split(' ')).env("CHAPPE_DIR", dir.path()).env_remove("LD_PRELOAD"))
    };
    assert_eq!(run("create /q 4 32 send /q 3 linked poll /q text /q").lines().next(), Some("poll 1"));
    let queue = Queue::options().dir(dir.path()).open("/q").unwrap();
    assert_eq!(queue.recv_timeout(NET).unwrap().data, b"linked");
    queue.send(b"back", 8).unwrap();
    assert_eq!(run("receive /q"), "8 back\n");
}
