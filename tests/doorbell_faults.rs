//! Faults of the doorbell, of notification and of interruption that a hostile review found, and that are mended: each test is named
//! after what went wrong.

mod common;

use chappe::{Access, Interrupter, Queue, QueueOptions, RecvError, SendError};
use common::{NET, Worker, asleep, fork, hear, reap, say, scratch, until};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

const EMPTY: PollFlags = PollFlags::OUT;
const BETWEEN: PollFlags = PollFlags::IN.union(PollFlags::OUT);

#[test]
fn role() {
    common::play(&[
        ("kept lock", part_kept_lock),
        ("two threads", part_two_threads),
        ("arms and forks", part_arms_and_forks),
        ("send", part_send),
        ("receive", part_receive),
        ("fork", part_fork),
        ("member", part_member),
        ("owner", part_owner),
        ("closed", part_closed),
    ]);
}

fn options(dir: &Path) -> QueueOptions {
    let mut options = Queue::options();
    options.dir(dir).message_size(64);
    options
}

fn shown(bell: impl AsFd) -> PollFlags {
    awaited(bell, BETWEEN, Duration::ZERO)
}

fn awaited(bell: impl AsFd, events: PollFlags, bound: Duration) -> PollFlags {
    let mut polled = [PollFd::from_borrowed_fd(bell.as_fd(), events)];
    poll(&mut polled, Some(&Timespec { tv_sec: bound.as_secs() as i64, tv_nsec: 0 })).unwrap();
    polled[0].revents()
}

fn edges(bell: impl AsFd, flags: epoll::EventFlags) -> OwnedFd {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&set, bell, epoll::EventData::new_u64(1), flags | epoll::EventFlags::ET).unwrap();
    edge(&set, Duration::ZERO);
    set
}

fn edge(set: &OwnedFd, bound: Duration) -> Option<epoll::EventFlags> {
    let mut events: Vec<epoll::Event> = Vec::with_capacity(4);
    let bound = Timespec { tv_sec: bound.as_secs() as i64, tv_nsec: 0 };
    epoll::wait(set, rustix::buffer::spare_capacity(&mut events), Some(&bound)).unwrap();
    events.first().map(|event| event.flags)
}

// ---------------------------------------------------------------------------------------------- notification

/// The attendant reads the registration word, and then looks what there is to call. A registration in between is taken for one that
/// fired: it is called though nothing came, and will not be called when something does.
#[test]
fn one_who_registers_while_the_attendant_looks_is_told_of_nothing() {
    let dir = scratch();
    let called = Arc::new(AtomicU32::new(0));
    let mut lost = 0;
    for _ in 0..300 {
        let queue = options(dir.path()).create("/q").unwrap();
        for _ in 0..30 {
            let called = called.clone();
            queue
                .notify(move |_| {
                    called.fetch_add(1, Ordering::SeqCst);
                })
                .unwrap();
            // Nothing was sent: it must be there still.
            if !queue.cancel_notify().unwrap() {
                lost += 1;
            }
        }
        drop(queue);
        options(dir.path()).unlink("/q").unwrap();
    }
    assert_eq!((called.load(Ordering::SeqCst), lost), (0, 0), "nothing was ever sent");
}

/// A purge notes that the queue is empty only after it has given the lock back: a message that comes in between came to the empty
/// queue, and is not told of.
#[test]
fn a_message_right_behind_a_purge_is_told_of() {
    let dir = scratch();
    for round in 0..1000 {
        let queue = options(dir.path()).capacity(1).create("/q").unwrap();
        let sender = options(dir.path()).open("/q").unwrap();
        queue.send(b"old", 0).unwrap();
        let (tell, told) = channel();
        queue.notify(move |_| tell.send(()).unwrap()).unwrap();
        let start = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                // There is room for one: it is sent only when the purge has emptied the queue. (It does not wait: the message of one who
                // waits comes into a queue that has not been empty.)
                while sender.try_send(b"new", 0).is_err() {}
            });
            start.wait();
            (0..round % 50 * 20).for_each(|_| std::hint::spin_loop());
            assert_eq!(queue.purge().unwrap(), 1);
        });
        assert_eq!(queue.peek(9).unwrap().len(), 1);
        assert_eq!(told.recv_timeout(NET), Ok(()), "round {round}");
        options(dir.path()).unlink("/q").unwrap();
    }
}

fn part_send(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    say(std::process::id());
    hear();
    queue.send(b"x", 0).unwrap();
    hear();
}

fn part_receive(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    say("ready");
    drop(queue.recv());
}

/// Who fires names himself: an attendant, or a receiver that leaves its wait, though it has sent nothing.
#[test]
fn the_sender_that_is_told_of_is_the_one_who_sent() {
    let dir = scratch();
    let queue = options(dir.path()).create("/q").unwrap();
    let (tell, told) = channel();
    queue.notify(move |sender| tell.send(sender.pid).unwrap()).unwrap();
    let mut sender = Worker::start("send", &[dir.path().to_str().unwrap()]);
    let pid: u32 = sender.answer().parse().unwrap();
    let mut receiver = Worker::start("receive", &[dir.path().to_str().unwrap()]);
    receiver.expect("ready");
    until("it waits", || asleep(receiver.pid()) && queue.stat().unwrap().counters.recv_blocked == 1);
    // Not killed but stopped: it goes on waiting, so the message is its own, and is told of when it is dead.
    // SAFETY: takes two numbers.
    assert_eq!(unsafe { libc::kill(receiver.pid() as i32, libc::SIGSTOP) }, 0);
    let stat = format!("/proc/{}/stat", receiver.pid());
    let stopped = || std::fs::read_to_string(&stat).unwrap().rsplit_once(") ").unwrap().1.starts_with('T');
    until("it has stopped", stopped);
    sender.tell("send");
    until("it is sent", || queue.len().unwrap() == 1);
    receiver.kill();
    let named = told.recv_timeout(NET).unwrap();
    assert!(named == pid || named == 0, "{named} was named, {} fired, {pid} sent", std::process::id());
}

/// `notify` calls what an earlier registration is owed, on the caller's thread: where it may hold what the callback wants, and
/// where a panic is the caller's.
#[test]
fn what_is_called_is_called_by_the_attendant_also_when_its_owner_registers_again() {
    let dir = scratch();
    let queue = options(dir.path()).create("/q").unwrap();
    let (busy, at_work) = channel();
    let (go_on, may_go) = channel::<()>();
    let first = move |_| {
        busy.send(()).unwrap();
        may_go.recv().unwrap();
    };
    queue.notify(first).unwrap();
    queue.send(b"x", 0).unwrap();
    at_work.recv().unwrap();
    queue.recv().unwrap();
    let (tell, told) = channel();
    queue.notify(move |sender| tell.send((thread::current().id(), sender.pid)).unwrap()).unwrap();
    queue.send(b"y", 0).unwrap();
    queue.notify(|_| ()).unwrap();
    go_on.send(()).unwrap();
    let (by, pid) = told.recv_timeout(NET).unwrap();
    assert_ne!(by, thread::current().id(), "the one who registered was made to call it");
    assert_eq!(pid, std::process::id());
}

// ---------------------------------------------------------------------------------------------- interruption

/// A wait that an interrupter woke, and that then found a message, has used the interruption up.
#[test]
fn an_interruption_that_came_with_a_message_ends_the_next_wait() {
    let dir = scratch();
    let queue = options(dir.path()).interruptible(true).create("/q").unwrap();
    let other = options(dir.path()).open("/q").unwrap();
    for round in 0..50 {
        let (tell, told) = channel();
        let own = &queue;
        let blocked = queue.stat().unwrap().counters.recv_blocked;
        let (first, second) = thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                tell.send((Interrupter::of_this_thread(), rustix::thread::gettid())).unwrap();
                let first = own.recv().map(|message| message.data);
                let second = match first {
                    Ok(_) => own.recv_timeout(Duration::from_secs(5)).map(|message| message.data),
                    Err(_) => own.recv_timeout(NET).map(|message| message.data),
                };
                (first, second)
            });
            let (interrupter, thread) = told.recv().unwrap();
            let stat = format!("/proc/self/task/{}/stat", thread.as_raw_nonzero());
            let sleeps = || std::fs::read_to_string(&stat).unwrap().rsplit_once(") ").unwrap().1.starts_with('S');
            until("it waits", || other.stat().unwrap().counters.recv_blocked > blocked && sleeps());
            interrupter.interrupt();
            other.send(b"x", 0).unwrap();
            waiting.join().unwrap()
        });
        match first {
            // The documentation: "one that is there already is received, and then the next wait ends".
            Ok(_) => assert_eq!(second, Err(RecvError::Interrupted), "round {round}"),
            Err(error) => assert_eq!((error, second), (RecvError::Interrupted, Ok(b"x".to_vec()))),
        }
    }
}

// ---------------------------------------------------------------------------------------------- the doorbell

/// Whoever asks for a descriptor when the file is gone makes another doorbell; those who have the old one are deaf for good, and the new
/// file stays for ever.
#[test]
fn a_doorbell_of_a_queue_without_a_name_is_no_other_one() {
    let dir = scratch();
    let queue = options(dir.path()).create("/q").unwrap();
    let bell = queue.doorbell(Access::Both).unwrap();
    queue.arm_doorbell().unwrap();
    options(dir.path()).remove_name("/q").unwrap();
    let second = queue.doorbell(Access::Both);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    queue.send(b"x", 0).unwrap();
    assert!(awaited(&bell, PollFlags::IN, Duration::from_secs(3)).contains(PollFlags::IN), "the old one is deaf");
    if let Ok(second) = second {
        assert_eq!(shown(&second), BETWEEN);
    }
    assert!(left.is_empty(), "{left:?}");
}

enum Piece<'a> {
    Message,
    /// Too long to be sent; what is done when it is looked at.
    TooLong(&'a dyn Fn()),
}

impl AsRef<[u8]> for Piece<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Piece::Message => b"x",
            Piece::TooLong(then) => {
                then();
                &[0; 65]
            }
        }
    }
}

/// Between the commit of a message and the look after the doorbell somebody finds the queue full and goes to wait for an edge, and
/// somebody else makes room. The level was never shown to change; an edge there must be.
#[test]
fn room_that_came_before_the_doorbell_was_seen_to_is_an_edge() {
    let dir = scratch();
    let queue = options(dir.path()).capacity(1).create("/q").unwrap();
    let bell = queue.doorbell(Access::Both).unwrap();
    queue.arm_doorbell().unwrap();
    let set = edges(&bell, epoll::EventFlags::OUT | epoll::EventFlags::IN);
    let other = options(dir.path()).open("/q").unwrap();
    let found_full = Cell::new(false);
    let meanwhile = || {
        found_full.set(other.try_send(b"y", 0) == Err(SendError::Full));
        other.recv().unwrap();
    };
    queue.send_many(&[(Piece::Message, 0), (Piece::TooLong(&meanwhile), 0)]).unwrap_err();
    assert!(found_full.get());
    assert!(queue.is_empty().unwrap());
    assert!(
        edge(&set, Duration::from_secs(3)).is_some(),
        "one was sent and one received, and who waits for room is not told"
    );
}

/// A full queue that is full again: the message is another one, and whoever waits for an edge has not seen it.
#[test]
fn a_message_in_a_queue_that_was_full_before_is_an_edge() {
    let dir = scratch();
    let queue = options(dir.path()).capacity(1).create("/q").unwrap();
    // It cannot ring: it came before the doorbell, and comes to ring for the first time when the name is gone. So it is as
    // one who is killed behind its commit.
    let mute = options(dir.path()).open("/q").unwrap();
    let bell = queue.doorbell(Access::Both).unwrap();
    queue.arm_doorbell().unwrap();
    queue.send(b"first", 0).unwrap();
    let set = edges(&bell, epoll::EventFlags::IN);
    options(dir.path()).remove_name("/q").unwrap();
    assert_eq!(mute.recv().unwrap().data, b"first");
    assert_eq!(queue.try_recv(), Err(RecvError::Empty), "who waits for an edge has looked");
    queue.send(b"second", 0).unwrap();
    assert!(edge(&set, Duration::from_secs(3)).is_some(), "a message, and nobody is told");
}

/// A packet too few or too many (a program that reads its descriptor as if it were a pipe) is never noticed.
#[test]
fn a_packet_that_somebody_took_is_noticed_in_the_end() {
    let dir = scratch();
    let queue = options(dir.path()).capacity(3).create("/q").unwrap();
    let bell = queue.doorbell(Access::Both).unwrap();
    queue.arm_doorbell().unwrap();
    queue.send(b"x", 0).unwrap();
    assert_eq!(rustix::io::read(&bell, &mut [0u8; 9]).unwrap(), 1);
    assert!(
        awaited(&bell, PollFlags::IN, Duration::from_secs(3)).contains(PollFlags::IN),
        "a message waits, the attendant has looked six times, and the doorbell is silent"
    );
}

/// A descriptor for sending only has no reader as long as nobody has armed the doorbell: poll reports an error at once.
#[test]
fn a_descriptor_for_sending_shows_no_error_before_it_is_armed() {
    let dir = scratch();
    let queue = options(dir.path()).create("/q").unwrap();
    let bell = queue.doorbell(Access::Send).unwrap();
    assert_eq!(shown(&bell), EMPTY);
}

fn part_fork(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    queue.arm_doorbell().unwrap();
    let mapped = || std::fs::read_to_string("/proc/self/maps").unwrap().matches("chappe.mq.").count();
    let open = || {
        let links =
            std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        links.filter(|link| link.to_string_lossy().contains("chappe.")).count()
    };
    // SAFETY: the child goes on in this function only, and exits at its end.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        assert!(queue.is_empty().unwrap());
        drop(queue);
        say(format!("{} {}", open(), mapped()));
        std::process::exit(0);
    }
    hear();
}

/// The attendant of the parent owns the queue's state, too; in the child there is no attendant that lets it go.
#[test]
fn a_fork_child_that_drops_a_polled_queue_lets_it_go() {
    let dir = scratch();
    let queue = options(dir.path()).create("/q").unwrap();
    queue.doorbell(Access::Both).unwrap();
    let mut worker = Worker::start("fork", &[dir.path().to_str().unwrap()]);
    worker.expect("0 0");
}

/// Attendants waited for the lock of a queue, half a second twice, under a mutex that every fork of the process waits for, and so do the
/// attendants of its other queues: one who keeps the lock held up all of them.
#[test]
fn a_lock_that_is_kept_does_not_hold_up_the_forks_of_who_polls() {
    const QUEUES: usize = 8;
    let dir = scratch();
    let name = |number: usize| format!("/q{number}");
    let queues: Vec<Queue> = (0..QUEUES).map(|number| options(dir.path()).create(name(number)).unwrap()).collect();
    let mut worker = Worker::start("kept lock", &[dir.path().to_str().unwrap(), &QUEUES.to_string()]);
    worker.expect("polls");
    for number in 0..QUEUES {
        let file = std::fs::File::options().write(true).open(dir.path().join(format!("chappe.mq.q{number}"))).unwrap();
        // The lock word: it names this process, which is the first participant, and lives.
        file.write_all_at(&1u32.to_ne_bytes(), 512).unwrap();
    }
    let start = Instant::now();
    worker.tell("go");
    worker.expect("forked");
    println!("{:?}", start.elapsed());
    drop(queues);
}

/// Forks so often that it takes more than a minute if each fork waits for an attendant that waits for a lock.
fn part_kept_lock(arguments: &[String]) {
    let queues: usize = arguments[1].parse().unwrap();
    let open = |number: usize| options(Path::new(&arguments[0])).open(format!("/q{number}")).unwrap();
    let queues: Vec<Queue> = (0..queues).map(open).collect();
    queues.iter().for_each(|queue| queue.arm_doorbell().unwrap());
    say("polls");
    hear();
    for _ in 0..100 {
        assert_eq!(reap(fork(|| ())), 0);
    }
    say("forked");
    std::mem::forget(queues);
}

/// Two threads of one handle that ask for its doorbell for the first time: the one who came too late closed its own under the mutex that
/// closing takes.
#[test]
fn two_threads_that_open_one_doorbell_do_not_stop_each_other() {
    let dir = scratch();
    options(dir.path()).create("/q").unwrap().doorbell(Access::Both).unwrap();
    let mut worker = Worker::start("two threads", &[dir.path().to_str().unwrap()]);
    worker.expect("done");
}

fn part_two_threads(arguments: &[String]) {
    for _ in 0..300 {
        let (queue, start) = (options(Path::new(&arguments[0])).open("/q").unwrap(), Barrier::new(2));
        let ask = || {
            start.wait();
            queue.doorbell(Access::Both).unwrap()
        };
        thread::scope(|scope| {
            let other = scope.spawn(ask);
            drop((ask(), other.join().unwrap()));
        });
    }
    say("done");
}

/// A child forked while another thread started the attendant found the handle's mutex taken, for ever: it could never poll.
#[test]
fn a_fork_while_another_thread_arms_leaves_the_child_able_to() {
    let dir = scratch();
    options(dir.path()).create("/q").unwrap();
    let mut worker = Worker::start("arms and forks", &[dir.path().to_str().unwrap()]);
    worker.expect("0 of 200");
}

fn part_arms_and_forks(arguments: &[String]) {
    let mut unable = 0;
    for round in 0..200u64 {
        let (queue, start) = (options(Path::new(&arguments[0])).open("/q").unwrap(), Barrier::new(2));
        thread::scope(|scope| {
            let armed = scope.spawn(|| {
                start.wait();
                queue.arm_doorbell()
            });
            start.wait();
            (0..round * 20).for_each(|_| std::hint::spin_loop());
            let child = fork(|| queue.arm_doorbell().expect("the child arms"));
            unable += u32::from(reap(child) != 0);
            armed.join().unwrap().unwrap();
        });
    }
    say(format!("{unable} of 200"));
}

fn part_closed(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    let poller = options(dir).open("/q").unwrap();
    poller.arm_doorbell().unwrap();
    let bells = || -> Vec<i32> {
        let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let ours =
            all.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|link| link.to_string_lossy().contains("bell")));
        ours.map(|fd| fd.file_name().to_str().unwrap().parse().unwrap()).collect()
    };
    let of_poller = bells();
    let other = options(dir).open("/q").unwrap();
    other.send(b"x", 0).unwrap();
    let of_other = bells().into_iter().find(|fd| !of_poller.contains(fd)).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let room = rustix::pipe::fcntl_getpipe_size(&writer).unwrap();
    // SAFETY: both are open; this is what a program does that closes what is not its own, and opens something else.
    assert_eq!(unsafe { libc::dup2(writer.as_raw_fd(), of_other) }, of_other);
    let armed = other.arm_doorbell();
    say(format!("{room} {}", rustix::pipe::fcntl_getpipe_size(&reader).unwrap()));
    say(armed.is_ok());
    hear();
}

/// Arming works on a descriptor that is somebody else's by now.
#[test]
fn a_pipe_under_the_number_of_a_closed_doorbell_keeps_its_size() {
    let dir = scratch();
    let queue = options(dir.path()).create("/q").unwrap();
    queue.doorbell(Access::Both).unwrap();
    let mut worker = Worker::start("closed", &[dir.path().to_str().unwrap()]);
    let sizes = worker.answer();
    let (before, after) = sizes.split_once(' ').unwrap();
    assert_eq!(before, after);
}

/// Whoever owns the directory (or may rename in it) puts a symbolic link where the doorbell was made a moment ago; the mode is then
/// given to what the link leads to.
#[test]
fn the_mode_of_a_doorbell_is_given_to_no_other_file() {
    let dir = scratch();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    for round in 0..3000 {
        let mut options = options(dir.path());
        let queue = options.mode(0o666).capacity(1).create("/q").unwrap();
        let file = dir.path().join("chappe.mq.q");
        let mut header = [0; 56];
        std::io::Read::read_exact(&mut std::fs::File::open(&file).unwrap(), &mut header).unwrap();
        let created = u64::from_ne_bytes(header[48..].try_into().unwrap());
        let inode = std::fs::metadata(&file).unwrap().ino();
        let bell = dir.path().join(format!("chappe.bell.{inode:x}-{created:x}"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        let (over, start) = (AtomicBool::new(false), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                let exchange = || {
                    let (cwd, flags) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
                    rustix::fs::renameat_with(cwd, &bell, cwd, &link, flags)
                };
                while exchange().is_err() && !over.load(Ordering::Relaxed) {}
            });
            start.wait();
            let _ = queue.doorbell(Access::Both);
            over.store(true, Ordering::Relaxed);
        });
        let mode = std::fs::metadata(&secret).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600, "round {round}: {mode:o}");
        drop(queue);
        let _ = std::fs::remove_file(&bell);
        let _ = std::fs::remove_file(&link);
        options.unlink("/q").unwrap();
    }
}

fn become_user(uid: u32, gid: u32, groups: &[u32]) {
    // SAFETY: a valid pointer to so many numbers.
    assert_eq!(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }, 0);
    // SAFETY: takes a number.
    assert_eq!(unsafe { libc::setgid(gid) }, 0);
    // SAFETY: takes a number.
    assert_eq!(unsafe { libc::setuid(uid) }, 0);
}

fn part_owner(arguments: &[String]) {
    become_user(1001, 2000, &[]);
    let dir = Path::new(&arguments[0]);
    let queue = options(dir).mode(0o660).create("/q").unwrap();
    say("created");
    hear();
    say(format!("{:?}", queue.doorbell(Access::Both).map(drop)));
    queue.send(b"x", 0).unwrap();
    say("sent");
    hear();
}

fn part_member(arguments: &[String]) {
    become_user(1002, 1002, &[2000]);
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    let bell = queue.doorbell(Access::Both).unwrap();
    queue.arm_doorbell().unwrap();
    say("armed");
    hear();
    say(format!("{:?}", shown(&bell)));
}

/// The doorbell has the permission bits of the queue's file, but the group of whoever made it.
#[test]
fn a_doorbell_made_by_a_member_of_the_group_is_for_the_group() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can be somebody else");
        return;
    }
    let dir = scratch();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o1777)).unwrap();
    let path = dir.path().to_str().unwrap();
    let mut owner = Worker::start("owner", &[path]);
    owner.expect("created");
    let mut member = Worker::start("member", &[path]);
    member.expect("armed");
    owner.tell("go on");
    let got = owner.answer();
    owner.expect("sent");
    assert_eq!(got, "Ok(())");
    member.tell("go on");
    member.expect("PollFlags(IN | OUT)");
}

// ---------------------------------------------------------------------------------------------- found by a second review

/// A full queue of one message, somebody who waits to send another one, what is done then, and what must hold when that one has sent;
/// again and again, since it is a race.
fn beside_a_blocked_sender(test: impl Fn(&Queue), after: impl Fn(&Queue)) {
    let (dir, until) = (scratch(), Instant::now() + Duration::from_secs(3));
    for _ in (0..20_000).take_while(|_| Instant::now() < until) {
        let mut options = options(dir.path());
        let queue = options.capacity(1).create("/q").unwrap();
        let sender = options.open("/q").unwrap();
        queue.send(b"old", 0).unwrap();
        thread::scope(|scope| {
            let blocked = scope.spawn(|| sender.send(b"new", 0).unwrap());
            while queue.stat().unwrap().counters.send_blocked == 0 {
                thread::yield_now();
            }
            test(&queue);
            // Whatever the test received: there is room.
            blocked.join().unwrap();
            after(&queue);
        });
        drop((queue, sender));
        options.unlink("/q").unwrap();
    }
}

/// Row N1, `handover.registration`. *Attend* drains, then looks who waits to send. A sender that claims in between is seen by neither: it
/// waits no more, and was not claimed yet. The registration becomes READY, and is told of the message of one who waited.
#[test]
fn a_sender_that_claims_between_drain_and_look_makes_the_queue_look_empty() {
    let register_and_receive = |queue: &Queue| {
        // Its attendant is woken, and looks around while the next line runs.
        queue.notify(|_| ()).unwrap();
        assert_eq!(queue.try_recv().unwrap().data, b"old");
    };
    beside_a_blocked_sender(register_and_receive, |queue| {
        assert!(queue.registered().unwrap().is_some(), "told of the message of one who had waited");
    });
}

/// Who says *empty* may rely on being told of what comes. What comes between its look and its *attend* is not told of: then the queue is
/// not empty any more, so the registration stays FULL.
#[test]
fn what_comes_while_one_says_empty_is_not_told_of() {
    let register_and_drain = |queue: &Queue| {
        let (tell, told) = channel();
        queue.notify(move |_| tell.send(()).unwrap()).unwrap();
        assert_eq!(queue.try_recv().unwrap().data, b"old");
        match queue.try_recv() {
            Ok(received) => assert_eq!(received.data, b"new"),
            // Registered, and the queue was seen empty: the message that comes now must be told of.
            Err(RecvError::Empty) => {
                assert!(told.recv_timeout(NET).is_ok(), "not told; {} in the queue", queue.len().unwrap());
            }
            Err(error) => panic!("{error}"),
        }
    };
    beside_a_blocked_sender(register_and_drain, |_| ());
}
