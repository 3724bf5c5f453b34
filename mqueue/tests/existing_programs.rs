//! Programs that others wrote for the kernel's queues, unchanged, with the library preloaded: Python's `posix_ipc` and the examples of
//! the crate `posixmq` (one of them with the event loop `mio`). Both are fetched once, by their own tools, and kept beside the build; a
//! machine that cannot fetch them skips them and says why.

mod common;

use chappe::Queue;
use common::{NET, preloaded, scratch, succeed, text, until_blocked};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Runs a step of fetching; `None` and a line if it fails.
fn fetch(step: &mut Command) -> Option<()> {
    let output = match step.output() {
        Ok(output) if output.status.success() => return Some(()),
        Ok(output) => text(&output),
        Err(error) => error.to_string(),
    };
    println!("skipped: cannot fetch the program: {step:?}: {output}");
    None
}

/// A Python that has `posix_ipc`.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let make = || {
        let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
        let python = environment.join("bin/python");
        let imports = Command::new(&python).args(["-c", "import posix_ipc"]).output();
        if !imports.is_ok_and(|output| output.status.success()) {
            fetch(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
            fetch(Command::new(&python).args(["-m", "pip", "install", "--quiet", "posix_ipc==1.3.2"]))?;
        }
        Some(python)
    };
    PYTHON.get_or_init(make).as_deref()
}

/// Where the examples of `posixmq` are.
fn posixmq() -> Option<&'static Path> {
    static EXAMPLES: OnceLock<Option<PathBuf>> = OnceLock::new();
    let make = || {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("posixmq");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["install", "--quiet", "posixmq@1.0.0", "--examples", "--features", "mio_07", "--root"]).arg(&root);
        cargo.arg("--target-dir").arg(root.join("target")).current_dir("/");
        // Cargo does nothing if they are there already.
        fetch(&mut cargo)?;
        Some(root.join("bin"))
    };
    EXAMPLES.get_or_init(make).as_deref()
}

const SCRIPT: &str = r#"
import os, posix_ipc, select, signal, time

queue = posix_ipc.MessageQueue("/from-python", posix_ipc.O_CREX, mode=0o600, max_messages=1000, max_message_size=100000)
assert (queue.max_messages, queue.max_message_size, queue.current_messages) == (1000, 100000, 0)
queue.send(b"low", priority=1)
queue.send(b"h" * 100000, priority=9)
assert queue.current_messages == 2
assert queue.receive() == (b"h" * 100000, 9)
assert select.select([queue.mqd], [queue.mqd], [], 0) == ([queue.mqd], [queue.mqd], [])
assert queue.receive() == (b"low", 1)
try:
    queue.receive(timeout=0.01)
    assert False
except posix_ipc.BusyError:
    pass
queue.block = False
try:
    queue.receive()
    assert False
except posix_ipc.BusyError:
    pass

told = []
signal.signal(signal.SIGUSR1, lambda number, frame: told.append(number))
queue.request_notification(signal.SIGUSR1)
if os.fork() == 0:
    queue.send(b"from the child")
    os._exit(0)
assert os.wait()[1] == 0
while not told:
    time.sleep(0.001)
assert queue.receive() == (b"from the child", 0)

other = posix_ipc.MessageQueue("/from-rust")
assert select.select([other.mqd], [], [], 60)[0]
assert other.receive() == (b"hello", 3)
other.send(b"and back", priority=4)
other.close()
queue.close()
posix_ipc.unlink_message_queue("/from-python")
print("done")
"#;

#[test]
fn python_posix_ipc_sends_receives_selects_and_is_notified() {
    let Some(python) = python() else { return };
    let dir = scratch();
    let queue = Queue::options().dir(dir.path()).capacity(10).message_size(100).create_new("/from-rust").unwrap();
    queue.send(b"hello", 3).unwrap();
    assert_eq!(succeed(preloaded(python, dir.path()).args(["-c", SCRIPT])), "done\n");
    let back = queue.recv_timeout(NET).unwrap();
    assert_eq!((&back.data[..], back.priority), (&b"and back"[..], 4));
}

#[test]
fn the_examples_of_posixmq_send_and_receive() {
    let Some(examples) = posixmq() else { return };
    let dir = scratch();
    let run = |program: &str, arguments: &[&str]| {
        succeed(preloaded(examples.join(program), dir.path()).args(arguments)).replace('\t', " ")
    };
    run("send", &["/posts", "1", "later", "30000", "first", "1", "last"]);
    let queue = Queue::options().dir(dir.path()).open("/posts").unwrap();
    assert_eq!(queue.recv_timeout(NET).unwrap().data, b"first");
    assert_eq!(run("receive", &["/posts", "nonblocking"]), "  1 later\n  1 last\n");
    assert_eq!(run("sort", &["a", "ccc", "bb"]).split_whitespace().collect::<Vec<_>>(), ["ccc", "bb", "a"]);
    run("rm", &["/posts", "/sort"]);
    drop(queue);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_example_of_posixmq_with_mio_forwards_what_comes() {
    let Some(examples) = posixmq() else { return };
    let dir = scratch();
    let create = |name: &str| Queue::options().dir(dir.path()).capacity(4).message_size(100).create_new(name).unwrap();
    let (one, two, to) = (create("/one"), create("/two"), create("/to"));
    let mut merge = preloaded(examples.join("merge"), dir.path()).args(["/one", "/two", "/to"]).spawn().unwrap();
    until_blocked(merge.id());
    for turn in 0..20u8 {
        let from = if turn % 2 == 0 { &one } else { &two };
        from.send(&[turn], u16::from(turn)).unwrap();
        let message = to.recv_timeout(NET);
        if message.is_err() {
            merge.kill().unwrap();
            panic!("{message:?}: {}", text(&merge.wait_with_output().unwrap()));
        }
        let message = message.unwrap();
        assert_eq!((&message.data[..], message.priority), (&[turn][..], u16::from(turn)));
    }
    merge.kill().unwrap();
    merge.wait().unwrap();
}
