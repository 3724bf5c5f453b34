//! Rights: files of other users, files that may only be read, views that may only be read, and users who share an object.

use crate::common::mount::mount_to_read;
use crate::common::{NET, Worker, hear, say, scratch, until};
use crate::{Traces, begins, files, grants, in_a_process, queue_options, semaphore_options, works};
use chappe::{Access, OpenError, Queue, Semaphore};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// As another user, for good; the directory lets it in. Needs root.
pub fn become_nobody(dir: &Path) -> std::io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::new(ErrorKind::PermissionDenied, "only root can"));
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o1777))?;
    for changed in [
        // SAFETY: a count of none, and no list.
        unsafe { libc::setgroups(0, std::ptr::null()) },
        // SAFETY: it takes a number.
        unsafe { libc::setgid(65_534) },
        // SAFETY: it takes a number.
        unsafe { libc::setuid(65_534) },
        // What is under /proc/self is root's otherwise.
        // SAFETY: this option takes a number.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) },
    ] {
        if changed != 0 {
            return Err(Error::last_os_error());
        }
    }
    Ok(())
}

#[test]
fn a_file_that_may_not_be_read_and_written_is_refused_with_a_way_out() {
    in_a_process("strangers");
}

pub fn part_stranger(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    let modes = [0o000, 0o400, 0o444, 0o600, 0o644, 0o602, 0o604, 0o660];
    let objects = modes.map(|mode| {
        let queue = queue_options(dir).mode(mode).create_new(format!("/q{mode:o}")).unwrap();
        let semaphore = semaphore_options(dir).permits(1).mode(mode).create_new(format!("/s{mode:o}")).unwrap();
        (mode, queue, semaphore)
    });
    if !begins("becoming another user", become_nobody(dir)) {
        return;
    }
    let before = files(dir);
    for (mode, queue, semaphore) in &objects {
        let name = format!("/q{mode:o}");
        is_refused(mode, queue_options(dir).open(&name).map(drop));
        is_refused(mode, queue_options(dir).create(&name).map(drop));
        is_refused(mode, queue_options(dir).unlink(&name));
        assert!(matches!(queue_options(dir).create_new(&name), Err(OpenError::Exists { .. })));
        let name = format!("/s{mode:o}");
        is_refused(mode, semaphore_options(dir).open(&name).map(drop));
        is_refused(mode, semaphore_options(dir).create(&name).map(drop));
        is_refused(mode, semaphore_options(dir).unlink(&name));
        assert!(matches!(semaphore_options(dir).create_new(&name), Err(OpenError::Exists { .. })));
        // Nothing was done to them: neither joined nor ended.
        assert_eq!((queue.stat().unwrap().participants.len(), semaphore.stat().unwrap().participants.len()), (1, 1));
        works(queue);
        grants(semaphore);
    }
    let listed = chappe::list(dir).unwrap();
    assert_eq!(listed.len(), 2 * modes.len());
    assert!(listed.iter().all(|object| object.uid == 0 && object.defect.is_some()), "{listed:?}");
    assert_eq!(files(dir), before);
}

#[track_caller]
fn is_refused(mode: &u32, result: Result<(), OpenError>) {
    let error = result.expect_err(&format!("mode {mode:o}"));
    assert_eq!(error.io_kind(), Some(ErrorKind::PermissionDenied), "mode {mode:o}: {error}");
    assert!(error.to_string().contains("CHAPPE_DIR"), "the way out belongs into {error}");
}

#[test]
fn a_mode_that_forbids_it_to_its_owner_makes_nothing() {
    in_a_process("owner");
}

/// The file is opened once more while it is made, and that may not be done by then. (Root may do anything.)
pub fn part_owner(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    if !begins("becoming another user", become_nobody(dir)) {
        return;
    }
    let before = Traces::of(dir);
    for mode in [0o400, 0o200, 0o000, 0o466] {
        is_refused(&mode, queue_options(dir).mode(mode).create_new("/q").map(drop));
        is_refused(&mode, queue_options(dir).mode(mode).create("/q").map(drop));
        is_refused(&mode, semaphore_options(dir).mode(mode).create_new("/s").map(drop));
        is_refused(&mode, semaphore_options(dir).mode(mode).unnamed().map(drop));
        before.are_all(dir, &format!("mode {mode:o}"));
    }
}

#[test]
fn a_view_that_may_only_be_read_is_refused_and_changes_nothing() {
    in_a_process("read-only mount");
}

pub fn part_read_only_mount(arguments: &[String]) {
    let (dir, view) = (Path::new(&arguments[0]).join("real"), Path::new(&arguments[0]).join("view"));
    [&dir, &view].iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
    let mounted = mount_to_read(dir.to_str().unwrap(), view.to_str().unwrap());
    if !begins("a mount of its own", mounted) {
        return;
    }
    let queue = queue_options(&dir).create_new("/q").unwrap();
    let semaphore = semaphore_options(&dir).permits(1).create_new("/s").unwrap();
    queue.send(b"kept", 0).unwrap();
    let (queues, semaphores) = (queue_options(&view), semaphore_options(&view));
    for (what, result) in [
        ("open", queues.open("/q").map(drop)),
        ("create what is there", queues.create("/q").map(drop)),
        ("create", queues.create_new("/new").map(drop)),
        ("unlink", queues.unlink("/q")),
        ("remove the name", queues.remove_name("/q")),
        ("open a semaphore", semaphores.open("/s").map(drop)),
        ("create a semaphore that is there", semaphores.create("/s").map(drop)),
        ("create a semaphore", semaphores.create_new("/new").map(drop)),
        ("unlink a semaphore", semaphores.unlink("/s")),
    ] {
        let error = result.expect_err(what);
        assert_eq!(error.io_kind(), Some(ErrorKind::ReadOnlyFilesystem), "{what}: {error}");
    }
    let listed = chappe::list(&view).unwrap();
    assert!(listed.len() == 2 && listed.iter().all(|object| object.defect.is_some()), "{listed:?}");
    // Looking needs no more than reading.
    assert_eq!(chappe::deadlocks(&view).unwrap(), []);
    assert_eq!(files(&dir), ["chappe.mq.q", "chappe.sem.s"]);
    assert_eq!(queue.recv().unwrap().data, b"kept");
    assert_eq!((queue.stat().unwrap().participants.len(), semaphore.stat().unwrap().participants.len()), (1, 1));
    works(&queue);
    grants(&semaphore);
}

/// A queue and a semaphore for everybody, and a guest who is another user.
fn with_a_guest(test: impl FnOnce(&Path, Queue, Semaphore, Worker)) {
    let dir = scratch();
    let queue = queue_options(dir.path()).mode(0o666).create_new("/q").unwrap();
    let semaphore = semaphore_options(dir.path()).permits(1).mode(0o666).create_new("/s").unwrap();
    let mut guest = Worker::start("guest", &[dir.path().to_str().unwrap()]);
    let answer = guest.answer();
    if let Some(reason) = answer.strip_prefix("skip ") {
        println!("skipped: {reason}");
        return;
    }
    test(dir.path(), queue, semaphore, guest);
}

/// Does what it is told, as another user.
pub fn part_guest(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    if !begins("becoming another user", become_nobody(dir)) {
        return;
    }
    let (queue, semaphore) = (queue_options(dir).open("/q").unwrap(), semaphore_options(dir).open("/s").unwrap());
    let mut held = None;
    let mut bell = None;
    loop {
        match hear().as_str() {
            "acquire" => held = Some(semaphore.acquire_timeout(NET).unwrap()),
            "release" => drop(held.take()),
            "send" => queue.send(b"from the guest", 1).unwrap(),
            "receive" => assert_eq!(queue.recv_timeout(NET).unwrap().data, b"from the owner"),
            "poll" => {
                let bell = bell.get_or_insert_with(|| queue.doorbell(Access::Receive).unwrap());
                queue.arm_doorbell().unwrap();
                say("polls");
                let mut polled = [PollFd::new(&*bell, PollFlags::IN)];
                let net = Timespec { tv_sec: NET.as_secs() as i64, tv_nsec: 0 };
                assert_eq!(poll(&mut polled, Some(&net)), Ok(1));
            }
            "unlink" => {
                let error = queue_options(dir).unlink("/q").unwrap_err();
                assert_eq!(error.io_kind(), Some(ErrorKind::PermissionDenied), "{error}");
                assert_eq!(queue.stat().map(|stat| stat.unlinked), Ok(false));
            }
            "end" => return,
            other => panic!("what is {other:?}?"),
        }
        say("done");
    }
}

#[test]
fn a_death_is_put_in_order_by_another_user() {
    with_a_guest(|_, queue, semaphore, mut guest| {
        guest.tell("acquire");
        guest.expect("done");
        assert_eq!(semaphore.available(), 0);
        guest.kill();
        drop(semaphore.acquire_timeout(NET).expect("the permit of the guest, who is dead"));
        until("the guest is not listed", || queue.stat().unwrap().participants.len() == 1);
    });
    // The other way round: who holds it, as this user, is a process that this test starts.
    with_a_guest(|dir, _, semaphore, mut guest| {
        let mut holder = Worker::start("holder of s", &[dir.to_str().unwrap()]);
        holder.expect("holds");
        guest.tell("acquire");
        until("the guest waits", || semaphore.stat().unwrap().waiters.len() == 1);
        holder.kill();
        guest.expect("done");
        guest.tell("end");
        guest.finish();
    });
}

pub fn part_holder(arguments: &[String]) {
    let semaphore = semaphore_options(Path::new(&arguments[0])).open("/s").unwrap();
    let permit = semaphore.acquire().unwrap();
    say("holds");
    hear();
    drop(permit);
}

#[test]
fn users_share_a_queue_and_its_doorbell_but_not_the_name() {
    with_a_guest(|dir, queue, _, mut guest| {
        guest.tell("unlink");
        guest.expect("done");
        guest.tell("poll");
        guest.expect("polls");
        queue.send(b"from the owner", 0).unwrap();
        guest.expect("done");
        // The doorbell is the guest's file; it is this user's, too.
        let bell = queue.doorbell(Access::Both).unwrap();
        queue.arm_doorbell().unwrap();
        for order in ["receive", "send"] {
            guest.tell(order);
            guest.expect("done");
        }
        let mut polled = [PollFd::new(&bell, PollFlags::IN)];
        assert_eq!(poll(&mut polled, Some(&Timespec { tv_sec: NET.as_secs() as i64, tv_nsec: 0 })), Ok(1));
        assert_eq!(queue.try_recv().unwrap().data, b"from the guest");
        guest.tell("end");
        guest.finish();
        queue_options(dir).unlink("/q").unwrap();
        assert_eq!(files(dir), ["chappe.sem.s"], "the doorbell went along");
    });
}
