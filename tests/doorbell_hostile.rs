//! What others may do to the file that a doorbell is: put packets in and read them out, remove it, replace it by something else. The
//! doorbell may then show something wrong for a while, or a call may say that it cannot be had; no call hangs, none panics, and the
//! messages are unharmed. (Wild words in the header and the entries are in `hostile.rs`.)

mod common;

use chappe::{Access, Queue, QueueOptions, RecvError, SendError};
use common::{NET, Worker, identify, payload, say, scratch, until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

#[test]
fn role() {
    common::play(&[("replaced", part_replaced)]);
}

const CAPACITY: u64 = 4;
const EMPTY: PollFlags = PollFlags::OUT;
const BETWEEN: PollFlags = PollFlags::IN.union(PollFlags::OUT);
const FULL: PollFlags = PollFlags::IN;

/// A queue, its doorbell, armed by one handle and known to another one as well.
struct Fixture {
    dir: tempfile::TempDir,
    queue: Queue,
    other: Queue,
    bell: std::os::fd::OwnedFd,
}

fn options(dir: &Path) -> QueueOptions {
    let mut options = Queue::options();
    options.dir(dir).capacity(CAPACITY as u32).message_size(64);
    options
}

fn shown(bell: impl AsFd) -> PollFlags {
    let mut polled = [PollFd::from_borrowed_fd(bell.as_fd(), BETWEEN)];
    poll(&mut polled, Some(&Timespec::default())).unwrap();
    polled[0].revents()
}

impl Fixture {
    fn new() -> Fixture {
        let dir = scratch();
        let queue = options(dir.path()).create_new("/q").unwrap();
        let other = options(dir.path()).open("/q").unwrap();
        let bell = queue.doorbell(Access::Both).unwrap();
        queue.arm_doorbell().unwrap();
        let fixture = Fixture { dir, queue, other, bell };
        // Both have it open from now on.
        fixture.exchange();
        assert_eq!(shown(&fixture.bell), EMPTY);
        fixture
    }

    fn path(&self) -> PathBuf {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let bell = |path: &PathBuf| path.to_string_lossy().contains("chappe.bell.");
        entries.map(|entry| entry.unwrap().path()).find(bell).expect("there is a doorbell")
    }

    /// The FIFO, as somebody opens it who knows nothing of queues.
    fn stranger(&self) -> File {
        File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(self.path()).unwrap()
    }

    /// As many messages as fit go through, from one handle to the other one and back, in order; nobody is lost.
    #[track_caller]
    fn exchange(&self) {
        for (from, to) in [(&self.queue, &self.other), (&self.other, &self.queue)] {
            for id in 0..CAPACITY {
                from.try_send(&payload(id, 24), 0).unwrap();
            }
            assert_eq!(from.try_send(b"", 0), Err(SendError::Full));
            for id in 0..CAPACITY {
                assert_eq!(identify(&to.try_recv().unwrap().data), Some(id));
            }
            assert_eq!(to.try_recv(), Err(RecvError::Empty));
        }
        self.a_registrant_is_told();
    }

    /// The doorbell has nothing to do with it.
    #[track_caller]
    fn a_registrant_is_told(&self) {
        let (tell, told) = channel();
        self.other.notify(move |sender| tell.send(sender.pid).unwrap()).unwrap();
        self.queue.send(&payload(9, 24), 0).unwrap();
        assert_eq!(told.recv_timeout(NET), Ok(std::process::id()));
        assert_eq!(identify(&self.other.try_recv().unwrap().data), Some(9));
    }

    /// It becomes right again in the end, whatever was done.
    #[track_caller]
    fn comes_to_show(&self, level: PollFlags) {
        until("the doorbell is right again", || shown(&self.bell) == level);
    }

    /// It is right in each state that can be, at once.
    #[track_caller]
    fn shows_all(&self) {
        self.comes_to_show(EMPTY);
        for id in 0..CAPACITY {
            self.other.try_send(&payload(id, 24), 0).unwrap();
            assert_eq!(shown(&self.bell), if id + 1 == CAPACITY { FULL } else { BETWEEN });
        }
        for id in (0..CAPACITY).rev() {
            self.other.try_recv().unwrap();
            assert_eq!(shown(&self.bell), if id == 0 { EMPTY } else { BETWEEN });
        }
    }
}

#[test]
fn packets_of_a_stranger() {
    let fixture = Fixture::new();
    let mut stranger = fixture.stranger();
    for packet in [&b"x"[..], b"xyz", &[0; 4096], &[7; 70_000]] {
        for depth in [0, 2, CAPACITY] {
            (0..depth).for_each(|id| fixture.queue.try_send(&payload(id, 24), 0).unwrap());
            // As much as the pipe takes.
            while stranger.write(packet).is_ok_and(|written| written > 0) {}
            for id in 0..depth {
                assert_eq!(identify(&fixture.other.try_recv().unwrap().data), Some(id));
            }
            assert_eq!(fixture.queue.try_recv(), Err(RecvError::Empty));
            fixture.exchange();
        }
    }
}

#[test]
fn packets_taken_by_a_stranger() {
    let fixture = Fixture::new();
    let mut stranger = fixture.stranger();
    for depth in [1, 2, CAPACITY] {
        (0..depth).for_each(|id| fixture.queue.try_send(&payload(id, 24), 0).unwrap());
        while stranger.read(&mut [0; 100]).is_ok_and(|read| read > 0) {}
        for id in 0..depth {
            assert_eq!(identify(&fixture.other.try_recv().unwrap().data), Some(id));
        }
        fixture.exchange();
    }
}

#[test]
fn a_pipe_that_a_stranger_made_smaller_or_larger() {
    let fixture = Fixture::new();
    let stranger = fixture.stranger();
    for bytes in [4096, 1 << 20] {
        // Whether the kernel grants it is its own business.
        let _ = rustix::pipe::fcntl_setpipe_size(&stranger, bytes);
        fixture.exchange();
    }
}

#[test]
fn one_that_was_removed() {
    let fixture = Fixture::new();
    fs::remove_file(fixture.path()).unwrap();
    fixture.exchange();
    // Those who have it open go on with it.
    fixture.shows_all();
    // Who asks anew makes another one, which can be armed.
    let new = options(fixture.dir.path()).open("/q").unwrap();
    let bell = new.doorbell(Access::Both).unwrap();
    new.arm_doorbell().unwrap();
    fixture.exchange();
    new.send(b"x", 0).unwrap();
    assert_eq!(shown(&bell), BETWEEN);
    assert_eq!(fixture.queue.recv().unwrap().data, b"x");
    until("its own attendant shows it", || shown(&bell) == EMPTY);
}

/// Makes something where the doorbell was; whether a doorbell can be had, and be armed, by others then is said by them without
/// delay, and messages go through.
fn replaced(make: impl FnOnce(&Path)) {
    let fixture = Fixture::new();
    let path = fixture.path();
    let aside = fixture.dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    make(&path);
    let new = options(fixture.dir.path()).open("/q").unwrap();
    for access in [Access::Receive, Access::Send, Access::Both] {
        let error = new.doorbell(access).expect_err("it is none");
        assert!(!error.to_string().is_empty());
    }
    new.arm_doorbell().expect_err("it is none");
    fixture.exchange();
    new.send(b"x", 0).unwrap();
    assert_eq!(new.recv().unwrap().data, b"x");
    // Those who have the real one open go on with it.
    fixture.shows_all();
    drop(new);
    // And when it is back it can be had.
    if path.is_dir() {
        fs::remove_dir(&path).unwrap()
    } else {
        fs::remove_file(&path).unwrap()
    }
    fs::rename(&aside, &path).unwrap();
    let new = options(fixture.dir.path()).open("/q").unwrap();
    let bell = new.doorbell(Access::Both).unwrap();
    new.arm_doorbell().unwrap();
    fixture.queue.send(b"x", 0).unwrap();
    assert_eq!(shown(&bell), BETWEEN);
    // Unlinking ends all, whatever is there.
    options(fixture.dir.path()).unlink("/q").unwrap();
    assert_eq!(fs::read_dir(fixture.dir.path()).unwrap().count(), 0);
}

#[test]
fn one_that_was_replaced_by_a_file() {
    replaced(|path| fs::write(path, b"four bytes and more").unwrap());
}

#[test]
fn one_that_was_replaced_by_a_directory() {
    replaced(|path| fs::create_dir(path).unwrap());
}

#[test]
fn one_that_was_replaced_by_a_symbolic_link() {
    let elsewhere = scratch();
    let fifo = elsewhere.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    replaced(|path| symlink(&fifo, path).unwrap());
    replaced(|path| symlink("nowhere", path).unwrap());
    replaced(|path| symlink(path.file_name().unwrap(), path).unwrap());
}

#[test]
fn one_that_was_replaced_by_a_socket() {
    replaced(|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()));
}

#[test]
fn one_that_was_replaced_by_another_users() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can make a file somebody else's");
        return;
    }
    replaced(|path| {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        std::os::unix::fs::chown(path, Some(65_534), None).unwrap();
    });
}

/// Asks for the doorbell again and again.
fn part_replaced(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    say("ready");
    let end = Instant::now() + Duration::from_secs(2);
    let (mut got, mut refused) = (0, 0);
    while Instant::now() < end {
        match queue.doorbell(Access::Receive) {
            Ok(_) => got += 1,
            Err(_) => refused += 1,
        }
    }
    say(format!("{got} {refused}"));
}

#[test]
fn a_doorbell_that_is_replaced_meanwhile_does_not_make_it_hang() {
    // It once opened the doorbell for itself, then the path once more, for one direction and without O_NONBLOCK: if another FIFO
    // was there by then, it waited until somebody opened that for the other direction.
    let dir = scratch();
    let queue = options(dir.path()).create_new("/q").unwrap();
    drop(queue.doorbell(Access::Both).unwrap());
    let mut worker = Worker::start("replaced", &[dir.path().to_str().unwrap()]);
    worker.expect("ready");
    let entries = std::fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.path());
    let path = entries.into_iter().find(|path| path.to_string_lossy().contains("chappe.bell.")).unwrap();
    let (other, stop) = (dir.path().join("other"), AtomicBool::new(false));
    rustix::fs::mknodat(rustix::fs::CWD, &other, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &path, rustix::fs::CWD, &other, flags).unwrap();
            }
        });
        until("it says something", || worker.has_said());
        stop.store(true, Ordering::SeqCst);
    });
    println!("doorbells had and refused: {}", worker.answer());
}

#[test]
fn one_who_polls_a_doorbell_that_was_removed_is_told_though_there_is_a_new_one() {
    // Somebody tidies up and removes the file. Another one asks for the doorbell and makes a new one: from then on nobody
    // rings the old one any more, not even the attendant of who polls it.
    let dir = scratch();
    let queue = options(dir.path()).capacity(4).message_size(64).create_new("/q").unwrap();
    let bell = queue.doorbell(Access::Both).unwrap();
    queue.arm_doorbell().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        if entry.file_name().to_string_lossy().contains("chappe.bell.") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let other = options(dir.path()).open("/q").unwrap();
    let new = other.doorbell(Access::Both).unwrap();
    other.send(b"x", 0).unwrap();
    drop(new);
    let mut polled = [PollFd::from_borrowed_fd(bell.as_fd(), PollFlags::IN)];
    poll(&mut polled, Some(&Timespec { tv_sec: NET.as_secs() as i64, tv_nsec: 0 })).unwrap();
    assert!(polled[0].revents().contains(PollFlags::IN), "there is a message, and it is silent for {NET:?}");
}
