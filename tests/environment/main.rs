//! Queues and semaphores where the machine does not give what is needed, or somebody else was there first: no room, no descriptor, no
//! memory, no thread, no right; a file of another user, another kind, under another name, or made by two at once. Each failure is an
//! error that says why, harms nobody who has the object open, and leaves nothing behind: no file, no descriptor, no thread, no mapping.
//!
//! What of this is shown elsewhere is not repeated here: queues on a full file system and another user's queue in `process.rs`; files
//! that are none of ours in `hostile.rs` and `semaphore_hostile.rs`; a doorbell that is replaced in `doorbell_hostile.rs`; a creator
//! that is killed at each instruction in `kill.rs` and `semaphore_kill.rs`.
//!
//! Limits, users and mounts are a process's: each test starts one for them. What needs a right that the machine does not give is
//! skipped, and says so.

#[path = "../common/mod.rs"]
mod common;

mod limits;
mod names;
mod races;
mod rights;
mod room;

use chappe::{Queue, QueueOptions, Semaphore, SemaphoreOptions};
use common::{Worker, say, scratch};
use std::path::Path;

#[test]
fn role() {
    common::play(&[
        ("descriptors", limits::part_descriptors),
        ("fork without descriptors", limits::part_fork),
        ("memory", limits::part_memory),
        ("stacks", limits::part_stacks),
        ("threads", limits::part_threads),
        ("sandbox", limits::part_sandbox),
        ("holder", limits::part_holder),
        ("strangers", rights::part_stranger),
        ("owner", rights::part_owner),
        ("read-only mount", rights::part_read_only_mount),
        ("guest", rights::part_guest),
        ("holder of s", rights::part_holder),
        ("full", room::part_full),
        ("no inodes", room::part_no_inodes),
        ("first", races::part_first),
        ("turmoil", races::part_turmoil),
    ]);
}

fn queue_options(dir: &Path) -> QueueOptions {
    let mut options = Queue::options();
    options.dir(dir);
    options
}

fn semaphore_options(dir: &Path) -> SemaphoreOptions {
    let mut options = Semaphore::options();
    options.dir(dir);
    options
}

/// Plays a part in a process of its own, in a directory of its own. A part says why it is skipped, or that it begins.
fn in_a_process(part: &str) {
    let dir = scratch();
    let mut worker = Worker::start(part, &[dir.path().to_str().unwrap()]);
    let answer = worker.answer();
    if let Some(reason) = answer.strip_prefix("skip ") {
        println!("skipped: {reason}");
        return;
    }
    assert_eq!(answer, "begins");
    worker.finish();
}

/// In a part: goes on if this was allowed, else says that it is skipped.
fn begins(what: &str, allowed: std::io::Result<()>) -> bool {
    match allowed {
        Ok(()) => say("begins"),
        Err(ref error) => say(format!("skip {what}: {error}")),
    }
    allowed.is_ok()
}

/// What a call could leave behind in this process and in the directory.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Traces {
    files: Vec<String>,
    descriptors: usize,
    threads: usize,
    /// Of files in the directory, and of ours without a name.
    mappings: usize,
}

impl Traces {
    fn of(dir: &Path) -> Traces {
        let count = |path: &str| std::fs::read_dir(path).unwrap().count();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let ours = |line: &&str| line.contains(dir.to_str().unwrap()) || line.contains("memfd:chappe");
        Traces {
            files: files(dir),
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            mappings: maps.lines().filter(ours).count(),
        }
    }

    /// Nothing more is there than was before. (A thread that was told to end may take a moment.)
    #[track_caller]
    fn are_all(&self, dir: &Path, what: &str) {
        let start = std::time::Instant::now();
        while Traces::of(dir).threads > self.threads && start.elapsed() < common::NET {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(*self, Traces::of(dir), "{what}: something was left behind");
    }
}

/// Waits until this process has as many threads as at the first call: one of ours that was told to end may take a moment.
fn settle() {
    static THREADS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    let count = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = *THREADS.get_or_init(count);
    common::until("threads of before have ended", || count() == before);
}

/// The names in a directory, sorted.
fn files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The queue takes a message and gives it back.
#[track_caller]
fn works(queue: &Queue) {
    queue.try_send(b"still works", 7).expect("to send");
    assert_eq!(queue.try_recv().expect("to receive").data, b"still works");
}

/// A permit can be had, and comes back.
#[track_caller]
fn grants(semaphore: &Semaphore) {
    let before = semaphore.available();
    drop(semaphore.try_acquire().expect("a permit"));
    assert_eq!(semaphore.available(), before);
}
