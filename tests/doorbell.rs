//! What a queue does for those who do not sleep in a receive: the doorbell for poll and epoll, notification, and waits that
//! can be interrupted. The moments at which a process dies here are in `kill.rs` and `random_kill.rs`, too.

mod common;

use chappe::{Access, Interrupter, NotifyError, OpenError, Queue, QueueOptions, RecvError, SendError};
use common::{NET, Worker, asleep, hear, say, scratch, until};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

const EMPTY: PollFlags = PollFlags::OUT;
const BETWEEN: PollFlags = PollFlags::IN.union(PollFlags::OUT);
const FULL: PollFlags = PollFlags::IN;

#[test]
fn role() {
    common::play(&[
        ("exchange", part_exchange),
        ("poll", part_poll),
        ("notified", part_notified),
        ("receive", part_receive),
        ("interrupted", part_interrupted),
        ("stranger", part_stranger),
        ("passed", part_passed),
    ]);
}

fn options(dir: &Path) -> QueueOptions {
    let mut options = Queue::options();
    options.dir(dir);
    options
}

/// A queue for three messages in a directory of its own.
struct Fixture {
    dir: tempfile::TempDir,
    queue: Queue,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = scratch();
        let queue = options(dir.path()).capacity(3).message_size(64).create_new("/q").unwrap();
        Fixture { dir, queue }
    }

    fn armed() -> (Fixture, OwnedFd) {
        let fixture = Fixture::new();
        let bell = fixture.queue.doorbell(Access::Both).unwrap();
        fixture.queue.arm_doorbell().unwrap();
        (fixture, bell)
    }

    fn start(&self, part: &str) -> Worker {
        Worker::start(part, &[self.dir.path().to_str().unwrap()])
    }

    fn again(&self) -> Queue {
        options(self.dir.path()).open("/q").unwrap()
    }

    fn notified(&self) -> Receiver<u32> {
        let (tell, told) = channel();
        self.queue.notify(move |sender| tell.send(sender.pid).unwrap()).unwrap();
        told
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// What poll says at once.
fn shown(bell: impl AsFd) -> PollFlags {
    let mut polled = [PollFd::from_borrowed_fd(bell.as_fd(), BETWEEN)];
    poll(&mut polled, Some(&Timespec::default())).unwrap();
    polled[0].revents()
}

/// What poll says in the end, at most within the net.
fn awaited(bell: impl AsFd, events: PollFlags) -> PollFlags {
    let mut polled = [PollFd::from_borrowed_fd(bell.as_fd(), events)];
    poll(&mut polled, Some(&Timespec { tv_sec: NET.as_secs() as i64, tv_nsec: 0 })).unwrap();
    polled[0].revents()
}

#[test]
fn it_shows_whether_the_queue_is_empty_or_full() {
    let (fixture, bell) = Fixture::armed();
    for _ in 0..5 {
        assert_eq!(shown(&bell), EMPTY);
        for depth in 1..=3 {
            fixture.queue.send(b"x", 0).unwrap();
            assert_eq!(shown(&bell), if depth == 3 { FULL } else { BETWEEN });
        }
        assert_eq!(fixture.queue.try_send(b"x", 0), Err(SendError::Full));
        assert_eq!(shown(&bell), FULL);
        for depth in (0..3).rev() {
            fixture.queue.recv().unwrap();
            assert_eq!(shown(&bell), if depth == 0 { EMPTY } else { BETWEEN });
        }
    }
}

#[test]
fn it_shows_batches_purges_and_the_end() {
    let (fixture, bell) = Fixture::armed();
    let mut batch = chappe::Batch::new();
    fixture.queue.send_many(&[("a", 0), ("b", 1), ("c", 2)]).unwrap();
    assert_eq!(shown(&bell), FULL);
    assert_eq!(fixture.queue.recv_many(&mut batch, 2).unwrap(), 2);
    assert_eq!(shown(&bell), BETWEEN);
    assert_eq!(fixture.queue.purge().unwrap(), 1);
    assert_eq!(shown(&bell), EMPTY);
    fixture.again().close().unwrap();
    assert_eq!(shown(&bell), BETWEEN, "there is an error to be had");
}

#[test]
fn one_that_is_unlinked_shows_its_end() {
    let (fixture, bell) = Fixture::armed();
    options(fixture.dir.path()).unlink("/q").unwrap();
    assert!(shown(&bell).contains(PollFlags::IN));
    assert_eq!(fixture.queue.try_recv(), Err(RecvError::Unlinked));
    assert_eq!(fixture.files(), [] as [String; 0], "the doorbell goes with the queue");
}

#[test]
fn it_shows_nothing_before_it_is_armed_and_what_is_there_after() {
    let fixture = Fixture::new();
    let bell = fixture.queue.doorbell(Access::Both).unwrap();
    fixture.queue.send(b"x", 0).unwrap();
    assert_eq!(shown(&bell), PollFlags::OUT);
    fixture.queue.arm_doorbell().unwrap();
    assert_eq!(shown(&bell), BETWEEN);
    fixture.queue.arm_doorbell().unwrap();
    assert_eq!(shown(&bell), BETWEEN);
}

#[test]
fn every_send_and_every_receive_is_an_edge() {
    let (fixture, bell) = Fixture::armed();
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    epoll::add(&set, &bell, epoll::EventData::new_u64(1), flags).unwrap();
    let edge = || {
        let mut events = Vec::with_capacity(4);
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&Timespec::default())).unwrap();
        events.first().map(|event: &epoll::Event| event.flags)
    };
    assert_eq!(edge(), Some(epoll::EventFlags::OUT));
    assert_eq!(edge(), None);
    for _ in 0..20 {
        fixture.queue.send(b"x", 0).unwrap();
        assert_eq!(edge(), Some(epoll::EventFlags::IN | epoll::EventFlags::OUT));
        fixture.queue.send(b"x", 0).unwrap();
        assert_eq!(edge(), Some(epoll::EventFlags::IN | epoll::EventFlags::OUT));
        assert_eq!(edge(), None);
        fixture.queue.recv().unwrap();
        assert_eq!(edge(), Some(epoll::EventFlags::IN | epoll::EventFlags::OUT));
        fixture.queue.recv().unwrap();
        assert_eq!(edge(), Some(epoll::EventFlags::OUT));
        assert_eq!(edge(), None);
    }
}

#[test]
fn room_in_a_full_queue_is_an_edge_for_writers() {
    let (fixture, bell) = Fixture::armed();
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&set, &bell, epoll::EventData::new_u64(1), epoll::EventFlags::OUT | epoll::EventFlags::ET).unwrap();
    let edges = || {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(4);
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), Some(&Timespec::default())).unwrap();
        events.len()
    };
    while fixture.queue.try_send(b"x", 0).is_ok() {}
    edges();
    for _ in 0..20 {
        fixture.queue.recv().unwrap();
        assert_eq!(edges(), 1);
        fixture.queue.send(b"x", 0).unwrap();
        assert_eq!(edges(), 0);
    }
}

#[test]
fn a_direction_is_shown_to_those_who_may_take_it() {
    let fixture = Fixture::new();
    let receive = fixture.queue.doorbell(Access::Receive).unwrap();
    let send = fixture.queue.doorbell(Access::Send).unwrap();
    fixture.queue.arm_doorbell().unwrap();
    assert_eq!((shown(&receive), shown(&send)), (PollFlags::empty(), PollFlags::OUT));
    fixture.queue.send(b"x", 0).unwrap();
    assert_eq!((shown(&receive), shown(&send)), (PollFlags::IN, PollFlags::OUT));
    fixture.queue.send_many(&[("x", 0), ("x", 0)]).unwrap();
    assert_eq!((shown(&receive), shown(&send)), (PollFlags::IN, PollFlags::empty()));
}

/// Sends and receives as it is told.
fn part_exchange(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    say("ready");
    loop {
        match hear().as_str() {
            "send" => queue.send(b"x", 0).unwrap(),
            "recv" => drop(queue.recv().unwrap()),
            _ => return,
        }
        say("done");
    }
}

#[test]
fn other_processes_keep_it_right() {
    let fixture = Fixture::new();
    let mut other = fixture.start("exchange");
    other.expect("ready");
    // The other one was there before there was a doorbell.
    let bell = fixture.queue.doorbell(Access::Both).unwrap();
    fixture.queue.arm_doorbell().unwrap();
    for _ in 0..3 {
        assert_eq!(other.ask("send"), "done");
        assert_eq!(shown(&bell), BETWEEN);
        assert_eq!(other.ask("recv"), "done");
        assert_eq!(shown(&bell), EMPTY);
    }
    other.tell("end");
    other.finish();
}

/// Polls until there is a message, for ever.
fn part_poll(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    let bell = queue.doorbell(Access::Both).unwrap();
    queue.arm_doorbell().unwrap();
    say("armed");
    hear();
    say(format!("{:?}", awaited(&bell, PollFlags::IN)));
}

#[test]
fn a_poller_is_woken_and_polling_ends_with_it() {
    let fixture = Fixture::new();
    let mut poller = fixture.start("poll");
    poller.expect("armed");
    poller.tell("poll");
    until("it polls", || asleep(poller.pid()));
    fixture.queue.send(b"x", 0).unwrap();
    poller.expect("PollFlags(IN)");
    poller.kill();
    // Its death is noticed, and then nobody rings any more.
    fixture.queue.stat().unwrap();
    let bell = fixture.queue.doorbell(Access::Both).unwrap();
    let before = shown(&bell);
    for _ in 0..3 {
        fixture.queue.recv().unwrap();
        assert_eq!(shown(&bell), before);
        fixture.queue.send(b"x", 0).unwrap();
    }
    fixture.queue.arm_doorbell().unwrap();
    assert_eq!(shown(&bell), BETWEEN);
    fixture.queue.recv().unwrap();
    assert_eq!(shown(&bell), EMPTY);
}

#[test]
fn a_send_is_shown_though_its_sender_died_before_it_could_show_it() {
    // The sender is stopped by its debugger right behind the commit, and killed: see `kill.rs`. Here its part is played by one
    // who cannot reach the doorbell, because the name was removed before it came to ring it for the first time.
    let fixture = Fixture::new();
    let mut other = fixture.start("exchange");
    other.expect("ready");
    let bell = fixture.queue.doorbell(Access::Both).unwrap();
    fixture.queue.arm_doorbell().unwrap();
    options(fixture.dir.path()).remove_name("/q").unwrap();
    assert_eq!(fixture.files(), [] as [String; 0]);
    assert_eq!(other.ask("send"), "done");
    assert!(awaited(&bell, PollFlags::IN).contains(PollFlags::IN), "the attendant shows it");
    assert_eq!(fixture.queue.recv().unwrap().data, b"x");
    other.tell("end");
    other.finish();
}

#[test]
fn who_removes_the_name_ends_nothing() {
    let fixture = Fixture::new();
    let other = fixture.again();
    options(fixture.dir.path()).remove_name("/q").unwrap();
    other.send(b"x", 0).unwrap();
    assert_eq!(fixture.queue.recv().unwrap().data, b"x");
    assert!(matches!(options(fixture.dir.path()).open("/q"), Err(OpenError::NotFound { .. })));
    let new = options(fixture.dir.path()).create_new("/q").unwrap();
    assert!(new.is_empty().unwrap());
    other.send(b"y", 0).unwrap();
    assert!(new.is_empty().unwrap(), "it is another queue");
}

#[test]
fn of_two_who_create_the_doorbell_survives_once() {
    let dir = scratch();
    let mut with = options(dir.path());
    with.doorbell(true).mode(0o640);
    let queue = with.create_new("/q").unwrap();
    assert_eq!(queue.stat().unwrap().mode, 0o640);
    assert_eq!(queue.bytes().unwrap(), 0);
    queue.send_many(&[("abc", 0), ("", 1), ("de", 2)]).unwrap();
    assert_eq!(queue.bytes().unwrap(), 5);
    assert!(matches!(with.create_new("/q"), Err(OpenError::Exists { .. })));
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files.len(), 2, "the queue and its doorbell, none of those that lost: {files:?}");
    drop(queue);
    with.unlink("/q").unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn an_ephemeral_queue_takes_its_doorbell_along() {
    let dir = scratch();
    let queue = options(dir.path()).ephemeral(true).create("/q").unwrap();
    let other = options(dir.path()).open("/q").unwrap();
    let bell = other.doorbell(Access::Both).unwrap();
    other.arm_doorbell().unwrap();
    drop(queue);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(awaited(&bell, PollFlags::IN).contains(PollFlags::IN));
}

/// Another user, who may receive and not send.
fn part_stranger(arguments: &[String]) {
    // SAFETY: takes a number.
    assert_eq!(unsafe { libc::setgid(65534) }, 0);
    // SAFETY: no groups, so no pointer.
    assert_eq!(unsafe { libc::setgroups(0, std::ptr::null()) }, 0);
    // SAFETY: takes a number.
    assert_eq!(unsafe { libc::setuid(65534) }, 0);
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    for access in [Access::Send, Access::Both] {
        let error = queue.doorbell(access).unwrap_err();
        assert_eq!(error.io_kind(), Some(std::io::ErrorKind::PermissionDenied), "{error}");
    }
    let bell = queue.doorbell(Access::Receive).unwrap();
    queue.arm_doorbell().unwrap();
    assert_eq!(shown(&bell), PollFlags::IN);
    assert_eq!(queue.recv().unwrap().data, b"x");
    assert_eq!(shown(&bell), PollFlags::empty());
    say("done");
}

#[test]
fn the_mode_is_looked_at_when_a_descriptor_is_given_out() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can be somebody else");
        return;
    }
    let dir = scratch();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut options = options(dir.path());
    let queue = options.doorbell(true).mode(0o604).capacity(3).message_size(64).create_new("/q").unwrap();
    queue.send(b"x", 0).unwrap();
    let mut stranger = Worker::start("stranger", &[dir.path().to_str().unwrap()]);
    stranger.expect("done");
    stranger.finish();
}

/// Opens the queue by the doorbell that its stdin is.
fn part_passed(arguments: &[String]) {
    let bell = std::io::stdin();
    let queue = options(Path::new("/nowhere")).open_by_doorbell(bell.as_fd()).unwrap();
    assert_eq!(queue.name().as_bytes(), b"q");
    queue.send(arguments[0].as_bytes(), 0).unwrap();
}

#[test]
fn a_queue_is_found_by_its_doorbell() {
    let fixture = Fixture::new();
    let bell = fixture.queue.doorbell(Access::Send).unwrap();
    let status = common::again("passed", &["hello"]).stdin(bell).status().unwrap();
    assert!(status.success());
    assert_eq!(fixture.queue.try_recv().unwrap().data, b"hello");
    let other = std::fs::File::open("/dev/null").unwrap();
    assert!(matches!(options(fixture.dir.path()).open_by_doorbell(other), Err(OpenError::NotAnObject { .. })));
}

#[test]
fn a_foreign_doorbell_is_not_rung() {
    // Somebody put another FIFO where the doorbell was. It is not the one in the header, and is left alone.
    let (fixture, bell) = Fixture::armed();
    let name = fixture.files().into_iter().find(|name| name.starts_with("chappe.bell.")).unwrap();
    let path = fixture.dir.path().join(name);
    std::fs::rename(&path, fixture.dir.path().join("aside")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let foreign = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let other = fixture.again();
    other.send(b"x", 0).unwrap();
    assert_eq!(shown(&foreign), PollFlags::OUT);
    assert!(awaited(&bell, PollFlags::IN).contains(PollFlags::IN), "by its own attendant");
}

#[test]
fn one_is_told_once_of_a_message_in_the_empty_queue() {
    let fixture = Fixture::new();
    let told = fixture.notified();
    assert_eq!(fixture.queue.registered().unwrap(), Some(std::process::id()));
    fixture.queue.send(b"x", 0).unwrap();
    assert_eq!(told.recv_timeout(NET), Ok(std::process::id()));
    assert_eq!(fixture.queue.registered().unwrap(), None);
    fixture.queue.recv().unwrap();
    fixture.queue.send(b"x", 0).unwrap();
    assert!(told.try_recv().is_err());
}

#[test]
fn in_a_queue_that_is_not_empty_it_waits_until_it_has_been() {
    let fixture = Fixture::new();
    fixture.queue.send(b"x", 0).unwrap();
    let told = fixture.notified();
    fixture.queue.send(b"x", 0).unwrap();
    assert!(told.try_recv().is_err());
    fixture.queue.recv().unwrap();
    fixture.queue.send(b"x", 0).unwrap();
    assert!(told.try_recv().is_err());
    assert_eq!(fixture.queue.purge().unwrap(), 2);
    fixture.queue.send(b"x", 0).unwrap();
    assert_eq!(told.recv_timeout(NET), Ok(std::process::id()));
}

#[test]
fn one_at_a_time_is_registered() {
    let fixture = Fixture::new();
    let told = fixture.notified();
    let other = fixture.again();
    assert_eq!(fixture.queue.notify(|_| ()), Err(NotifyError::Registered));
    assert_eq!(other.notify(|_| ()), Err(NotifyError::Registered));
    assert_eq!(other.cancel_notify(), Ok(false));
    assert_eq!(fixture.queue.cancel_notify(), Ok(true));
    assert_eq!(fixture.queue.cancel_notify(), Ok(false));
    fixture.queue.send(b"x", 0).unwrap();
    assert!(told.recv().is_err(), "what was to be called is gone");
    other.notify(|_| ()).unwrap();
    drop(other);
    assert_eq!(fixture.queue.registered().unwrap(), None, "it went with its handle");
}

#[test]
fn it_may_register_again_when_it_is_told() {
    fn again(queue: &std::sync::Arc<Queue>, tell: std::sync::mpsc::Sender<u32>) {
        let next = std::sync::Arc::downgrade(queue);
        queue
            .notify(move |sender| {
                tell.send(sender.pid).unwrap();
                if let Some(queue) = next.upgrade() {
                    queue.recv().unwrap();
                    again(&queue, tell);
                }
            })
            .unwrap();
    }
    let fixture = Fixture::new();
    let queue = std::sync::Arc::new(fixture.again());
    let (tell, told) = channel();
    again(&queue, tell);
    for _ in 0..50 {
        fixture.queue.send(b"x", 0).unwrap();
        assert_eq!(told.recv_timeout(NET), Ok(std::process::id()));
        until("it is registered again", || fixture.queue.registered().unwrap().is_some());
    }
}

/// Receives one message.
fn part_receive(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    say("ready");
    say(String::from_utf8(queue.recv().unwrap().data).unwrap());
}

#[test]
fn a_waiting_receiver_takes_the_message_and_nobody_is_told() {
    let fixture = Fixture::new();
    let told = fixture.notified();
    let mut receiver = fixture.start("receive");
    receiver.expect("ready");
    until("it waits", || asleep(receiver.pid()) && fixture.queue.stat().unwrap().counters.recv_blocked == 1);
    fixture.queue.send(b"first", 0).unwrap();
    receiver.expect("first");
    receiver.finish();
    assert!(told.try_recv().is_err());
    fixture.queue.send(b"second", 0).unwrap();
    assert_eq!(told.recv_timeout(NET), Ok(std::process::id()), "the registration is still there");
}

#[test]
fn what_a_waiting_receiver_left_is_told_of() {
    // It was killed in its wait, so it counts for nothing once its death is known.
    let fixture = Fixture::new();
    let told = fixture.notified();
    let mut receiver = fixture.start("receive");
    receiver.expect("ready");
    until("it waits", || asleep(receiver.pid()) && fixture.queue.stat().unwrap().counters.recv_blocked == 1);
    receiver.kill();
    // The sender looks after the dead before it believes that somebody waits.
    fixture.queue.send(b"first", 0).unwrap();
    assert_eq!(told.recv_timeout(NET), Ok(std::process::id()));
    assert_eq!(fixture.queue.recv().unwrap().data, b"first");
}

#[test]
fn a_receive_whose_time_ran_out_leaves_no_trace() {
    let fixture = Fixture::new();
    let told = fixture.notified();
    assert_eq!(fixture.queue.recv_timeout(Duration::from_millis(1)), Err(RecvError::TimedOut));
    fixture.queue.send(b"x", 0).unwrap();
    assert_eq!(told.recv_timeout(NET), Ok(std::process::id()));
}

/// Registers, says who sent the message, and goes on.
fn part_notified(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    let (tell, told) = channel();
    queue.notify(move |sender| tell.send(sender).unwrap()).unwrap();
    say("registered");
    let sender = told.recv().unwrap();
    say(format!("{} {}", sender.pid, sender.uid));
    hear();
}

#[test]
fn another_process_is_told_who_sent_it() {
    let fixture = Fixture::new();
    let mut other = fixture.start("notified");
    other.expect("registered");
    assert_eq!(fixture.queue.registered().unwrap(), Some(other.pid()));
    assert_eq!(fixture.queue.notify(|_| ()), Err(NotifyError::Registered));
    fixture.queue.send(b"x", 0).unwrap();
    let own = rustix::process::getuid().as_raw();
    other.expect(&format!("{} {own}", std::process::id()));
    other.tell("end");
    other.finish();
}

#[test]
fn a_killed_registrant_frees_the_place() {
    let fixture = Fixture::new();
    let mut other = fixture.start("notified");
    other.expect("registered");
    other.kill();
    let told = fixture.notified();
    fixture.queue.send(b"x", 0).unwrap();
    assert_eq!(told.recv_timeout(NET), Ok(std::process::id()));
}

#[test]
fn a_panic_in_what_is_called_ends_nothing() {
    let fixture = Fixture::new();
    fixture.queue.notify(|_| panic!("on purpose, in a_panic_in_what_is_called_ends_nothing")).unwrap();
    fixture.queue.send(b"x", 0).unwrap();
    fixture.queue.recv().unwrap();
    let told = fixture.notified();
    fixture.queue.send(b"x", 0).unwrap();
    assert_eq!(told.recv_timeout(NET), Ok(std::process::id()));
}

#[test]
fn an_interrupter_ends_waits_on_both_sides() {
    let dir = scratch();
    let queue = options(dir.path()).capacity(1).interruptible(true).create("/q").unwrap();
    thread::scope(|scope| {
        let (tell, told) = channel();
        let own = &queue;
        let waiting = scope.spawn(move || {
            tell.send(Interrupter::of_this_thread()).unwrap();
            assert_eq!(own.recv_timeout(NET), Err(RecvError::Interrupted));
            own.send(b"x", 0).unwrap();
            tell.send(Interrupter::of_this_thread()).unwrap();
            assert_eq!(own.send(b"y", 0), Err(SendError::Interrupted));
            assert_eq!(own.try_send(b"y", 0), Err(SendError::Full));
        });
        told.recv().unwrap().interrupt();
        told.recv().unwrap().interrupt();
        waiting.join().unwrap();
    });
    // One that comes before the wait ends the wait; what can be done without waiting is done.
    Interrupter::of_this_thread().interrupt();
    assert_eq!(queue.recv().unwrap().data, b"x");
    assert_eq!(queue.recv(), Err(RecvError::Interrupted));
    assert_eq!(queue.recv_timeout(Duration::from_millis(1)), Err(RecvError::TimedOut), "it was used up");
}

extern "C" fn do_nothing(_: i32) {}

fn on_sigusr1(flags: i32) {
    // SAFETY: a C struct of numbers; all-zero is an empty mask and no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = do_nothing as extern "C" fn(i32) as libc::sighandler_t;
    action.sa_flags = flags;
    // SAFETY: the handler does nothing, and the struct lives through the call.
    let installed = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);
}

/// Receives in the thread whose id it says, first with a handler that restarts system calls, then with one that does not.
fn part_interrupted(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).interruptible(true).open("/q").unwrap();
    for flags in [libc::SA_RESTART, 0] {
        on_sigusr1(flags);
        say(rustix::thread::gettid().as_raw_nonzero());
        say(format!("{:?}", queue.recv().map(|message| message.priority)));
    }
}

#[test]
fn a_handler_without_restart_interrupts_and_one_with_it_does_not() {
    let fixture = Fixture::new();
    let mut worker = fixture.start("interrupted");
    let signal = |worker: &mut Worker, count: u64| {
        let thread: i32 = worker.answer().parse().unwrap();
        until("it waits", || asleep(worker.pid()) && fixture.queue.stat().unwrap().counters.recv_blocked == count);
        // SAFETY: takes three numbers.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, worker.pid() as i32, thread, libc::SIGUSR1) };
        assert_eq!(sent, 0);
        thread
    };
    let thread = signal(&mut worker, 1);
    let pending = format!("/proc/{}/task/{thread}/status", worker.pid());
    let handled = || std::fs::read_to_string(&pending).unwrap().contains("SigPnd:\t0000000000000000");
    until("the handler has run", || handled() && asleep(worker.pid()));
    assert!(!worker.has_said());
    fixture.queue.send(b"x", 7).unwrap();
    worker.expect("Ok(7)");
    signal(&mut worker, 2);
    worker.expect("Err(Interrupted)");
    worker.finish();
}
