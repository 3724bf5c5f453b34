//! File systems without room: no pages left, no files left. (Queues on a full file system are in `process.rs`.)

use crate::common::mount::{give_room, mount_small, take_room};
use crate::{Traces, begins, files, grants, in_a_process, queue_options, semaphore_options, settle, works};
use chappe::{Access, AcquireError, OpenError};
use std::io::ErrorKind;
use std::path::Path;

#[test]
fn every_call_of_a_semaphore_fails_cleanly_on_a_full_file_system() {
    in_a_process("full");
}

pub fn part_full(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    if !begins("a mount of its own", mount_small(&arguments[0], "size=1M")) {
        return;
    }
    let refused = (0..6).map(|pages| with_little_room(dir, pages * 4096)).fold([0; 3], |sums, more| {
        let mut sum = sums;
        sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        sum
    });
    assert!(refused.iter().all(|times| *times > 0), "something never failed, so this shows nothing: {refused:?}");
}

/// With this many bytes left, each call works or says that there is no space. Returns whether creating, opening and acquiring were
/// refused.
fn with_little_room(dir: &Path, room: usize) -> [usize; 3] {
    const PERMITS: u64 = 500;
    let options = semaphore_options(dir);
    let old = semaphore_options(dir).permits(PERMITS).create_new("/old").unwrap();
    take_room(dir, room);
    let before = Traces::of(dir);
    let created = options.create_new("/new");
    let new_is_there = created.is_ok();
    match created.map(drop) {
        Ok(()) => options.unlink("/new").unwrap(),
        Err(error) => {
            assert_eq!(error.io_kind(), Some(ErrorKind::StorageFull), "{error}");
            assert!(error.to_string().contains("CHAPPE_DIR"), "the way out belongs into {error}");
        }
    }
    before.are_all(dir, &format!("create with {room} bytes"));
    let mut handles = Vec::new();
    let mut full = None;
    while handles.len() < 150 && full.is_none() {
        match options.open("/old") {
            Ok(handle) => handles.push(handle),
            Err(error) => full = Some(error.io_kind()),
        }
    }
    assert!(full.is_none_or(|kind| kind == Some(ErrorKind::StorageFull)), "{full:?}");
    let mut permits = Vec::new();
    let mut refused = None;
    while (permits.len() as u64) < PERMITS && refused.is_none() {
        match old.try_acquire() {
            Ok(permit) => permits.push(permit),
            Err(error) => refused = Some(error),
        }
    }
    assert!(refused.is_none_or(|error| error == AcquireError::NoSpace), "{refused:?}");
    assert_eq!(old.available(), PERMITS - permits.len() as u64);
    let stat = old.stat().unwrap();
    assert_eq!((stat.held, stat.holders.len()), (permits.len() as u64, permits.len()));
    assert_eq!(stat.participants.len(), 1 + handles.len(), "who could not come in is not listed");
    drop((permits, handles));
    give_room(dir);
    // With room again, what was refused works.
    drop((0..PERMITS).map(|_| old.try_acquire().expect("room")).collect::<Vec<_>>());
    drop((0..150).map(|_| options.open("/old").expect("room")).collect::<Vec<_>>());
    assert_eq!((old.available(), old.stat().unwrap().participants.len()), (PERMITS, 1));
    options.unlink("/old").unwrap();
    assert_eq!(files(dir), Vec::<String>::new());
    [!new_is_there, full.is_some(), refused.is_some()].map(usize::from)
}

#[test]
fn where_there_can_be_no_more_files_nothing_is_made_and_nothing_lost() {
    in_a_process("no inodes");
}

pub fn part_no_inodes(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    // The directory itself is one.
    if !begins("a mount of its own", mount_small(&arguments[0], "size=8M,nr_inodes=3")) {
        return;
    }
    settle();
    let queue = queue_options(dir).create_new("/q").unwrap();
    let semaphore = semaphore_options(dir).permits(1).create_new("/s").unwrap();
    let before = Traces::of(dir);
    type Call<'a> = (&'static str, &'a dyn Fn() -> Result<(), OpenError>);
    let calls: [Call<'_>; 4] = [
        ("create", &|| queue_options(dir).create_new("/new").map(drop)),
        ("create with a doorbell", &|| queue_options(dir).doorbell(true).create_new("/new").map(drop)),
        ("doorbell", &|| queue.doorbell(Access::Both).map(drop)),
        ("create a semaphore", &|| semaphore_options(dir).create("/new").map(drop)),
    ];
    for (what, call) in calls {
        let error = call().expect_err(what);
        assert_eq!(error.io_kind(), Some(ErrorKind::StorageFull), "{what}: {error}");
        assert!(error.to_string().contains("free space"), "the way out belongs into {error}");
        before.are_all(dir, what);
    }
    assert_eq!(queue.arm_doorbell(), Err(chappe::AccessError::System(libc::ENOSPC)));
    before.are_all(dir, "arm");
    works(&queue);
    grants(&semaphore);
    // One file's room is not enough for a queue and its doorbell: then there is neither.
    semaphore_options(dir).unlink("/s").unwrap();
    drop(semaphore);
    // Its keeper may be about to begin, and has it mapped until it ends.
    settle();
    let before = Traces::of(dir);
    queue_options(dir).doorbell(true).create_new("/new").unwrap_err();
    before.are_all(dir, "create with a doorbell");
    queue.doorbell(Access::Both).unwrap();
    queue.arm_doorbell().unwrap();
    works(&queue);
}
