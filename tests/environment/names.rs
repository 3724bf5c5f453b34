//! Names: two for one file, and what is no file of ours under a name of ours.

use crate::common::scratch;
use crate::{files, grants, queue_options, semaphore_options, works};
use chappe::{AcquireError, OpenError, RecvError, SendError};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

fn not_an_object<T: std::fmt::Debug>(result: &Result<T, OpenError>) -> bool {
    matches!(result, Err(OpenError::NotAnObject { .. }))
}

/// Unlinking the second name once ended the queue, which kept its own name: whoever opened that had a queue that had ended, and nobody
/// could create another one.
#[test]
fn removing_a_second_name_harms_nobody() {
    let dir = scratch();
    let queue = queue_options(dir.path()).create_new("/q").unwrap();
    let semaphore = semaphore_options(dir.path()).permits(1).create_new("/s").unwrap();
    for [from, to] in [["chappe.mq.q", "chappe.mq.second"], ["chappe.sem.s", "chappe.sem.second"]] {
        fs::hard_link(dir.path().join(from), dir.path().join(to)).unwrap();
    }
    let (queues, semaphores) = (queue_options(dir.path()), semaphore_options(dir.path()));
    assert!(not_an_object(&queues.open("/second")) && not_an_object(&queues.create("/second")));
    assert!(matches!(queues.create_new("/second"), Err(OpenError::Exists { .. })));
    assert!(not_an_object(&semaphores.open("/second")) && not_an_object(&semaphores.create("/second")));
    assert!(matches!(semaphores.create_new("/second"), Err(OpenError::Exists { .. })));
    let listed = chappe::list(dir.path()).unwrap();
    assert_eq!(listed.iter().filter(|object| object.defect.is_some()).count(), 2, "{listed:?}");
    queue.doorbell(chappe::Access::Both).unwrap();
    let before = files(dir.path()).len();
    queues.unlink("/second").unwrap();
    semaphores.unlink("/second").unwrap();
    assert_eq!(files(dir.path()).len(), before - 2, "the two names, and nothing else");
    works(&queue);
    grants(&semaphore);
    works(&queues.open("/q").unwrap());
    grants(&semaphores.open("/s").unwrap());
    queues.unlink("/q").unwrap();
    semaphores.unlink("/s").unwrap();
    assert_eq!(queue.try_recv(), Err(RecvError::Unlinked));
    assert_eq!(semaphore.try_acquire().unwrap_err(), AcquireError::Unlinked);
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

/// The same name in another directory leads to the same object; it ends with the first of the two.
#[test]
fn the_same_name_in_two_directories_can_be_one_object_with_one_end() {
    let (dir, other) = (scratch(), scratch());
    let queue = queue_options(dir.path()).create_new("/q").unwrap();
    fs::hard_link(dir.path().join("chappe.mq.q"), other.path().join("chappe.mq.q")).unwrap();
    let same = queue_options(other.path()).open("/q").unwrap();
    queue.send(b"by one name", 0).unwrap();
    assert_eq!(same.recv().unwrap().data, b"by one name");
    assert_eq!(queue.stat().unwrap().participants.len(), 2);
    queue_options(other.path()).unlink("/q").unwrap();
    assert_eq!(queue.try_send(b"", 0), Err(SendError::Unlinked));
    // What the name that is left leads to has ended; the name can be had again as ever.
    assert_eq!(queue_options(dir.path()).open("/q").unwrap().try_recv(), Err(RecvError::Unlinked));
    queue_options(dir.path()).unlink("/q").unwrap();
    works(&queue_options(dir.path()).create_new("/q").unwrap());
}

#[test]
fn a_device_is_refused_and_left_alone() {
    let dir = scratch();
    let (queues, semaphores) = (queue_options(dir.path()), semaphore_options(dir.path()));
    for path in ["chappe.mq.q", "chappe.sem.s"].map(|file| dir.path().join(file)) {
        if let Err(errno) = mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, makedev(1, 5)) {
            println!("skipped: a device cannot be made here: {errno}");
            return;
        }
    }
    // On a file system without devices it cannot even be opened.
    let refused = |error: OpenError| {
        let forbidden = error.io_kind() == Some(std::io::ErrorKind::PermissionDenied);
        assert!(forbidden || matches!(error, OpenError::NotAnObject { .. }), "{error}");
    };
    [queues.open("/q"), queues.create("/q")].into_iter().for_each(|result| refused(result.unwrap_err()));
    [semaphores.open("/s"), semaphores.create("/s")].into_iter().for_each(|result| refused(result.unwrap_err()));
    assert!(matches!(queues.create_new("/q"), Err(OpenError::Exists { .. })));
    assert!(matches!(semaphores.create_new("/s"), Err(OpenError::Exists { .. })));
    let listed = chappe::list(dir.path()).unwrap();
    assert!(listed.len() == 2 && listed.iter().all(|object| object.defect.is_some()), "{listed:?}");
    assert_eq!(chappe::deadlocks(dir.path()).unwrap(), []);
    queues.unlink("/q").unwrap();
    semaphores.unlink("/s").unwrap();
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

/// Somebody who knows the queue's inode and age can be there before the doorbell is made.
#[test]
fn a_doorbell_whose_place_is_taken_is_an_error_and_harms_nothing() {
    type Taker = (&'static str, fn(&Path));
    let takers: [Taker; 5] = [
        ("a file", |path| fs::write(path, b"precious").unwrap()),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a symbolic link to a file", |path| symlink("precious", path).unwrap()),
        ("a symbolic link to a FIFO", |path| symlink("fifo", path).unwrap()),
        ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
    ];
    for (what, take) in takers {
        let dir = scratch();
        fs::write(dir.path().join("precious"), b"precious").unwrap();
        mknodat(CWD, dir.path().join("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let queue = queue_options(dir.path()).create_new("/q").unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir.path().join("chappe.mq.q")).unwrap());
        // As docs/format.md has it.
        let name = format!("chappe.bell.{inode:x}-{:x}", queue.stat().unwrap().created_unix_nanos);
        take(&dir.path().join(&name));
        let before = files(dir.path());
        let error = queue.doorbell(chappe::Access::Both).expect_err(what);
        assert!(error.to_string().contains(&name), "{what}: the way out begins with the place: {error}");
        assert!(queue.arm_doorbell().is_err(), "{what}");
        works(&queue);
        // Being told needs no doorbell.
        let (tell, told) = std::sync::mpsc::channel();
        queue.notify(move |_| tell.send(()).unwrap()).unwrap();
        queue.send(b"x", 0).unwrap();
        told.recv_timeout(crate::common::NET).expect(what);
        assert_eq!(files(dir.path()), before, "{what}");
        assert_eq!(fs::read(dir.path().join("precious")).unwrap(), b"precious", "{what}");
        let path = dir.path().join(&name);
        if fs::symlink_metadata(&path).unwrap().is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }
            .unwrap();
        queue.doorbell(chappe::Access::Both).expect(what);
        queue.arm_doorbell().expect(what);
        queue_options(dir.path()).unlink("/q").unwrap();
        assert_eq!(files(dir.path()), ["fifo", "precious"], "{what}");
    }
}
