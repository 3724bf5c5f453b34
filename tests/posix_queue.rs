//! The kernel's message queues among real processes, and with a C program (`c/queue.c`, built here) on the other side; and the
//! limits that the system sets on them, each refusal told from the others.
//!
//! Names are this process's own and go with the test; queues are small, for all of a user share RLIMIT_MSGQUEUE. What sets limits
//! does so in an IPC namespace of its own, which takes root. Where the kernel has no such queues, or there is no C compiler (`cc`,
//! or what CHAPPE_TEST_CC names), what needs them is skipped, and says so.

mod common;

use chappe::posix::{
    LimitError, LimitKind, LimitUse, LimitValue, MessageQueue, MessageQueueError, NotifyError, RecvError, SendError,
    limit, limits, set_limit,
};
use chappe::{Message, NameError, Received};
use common::forbid::forbid;
use common::{NET, Worker, asleep, hear, readable, say, until};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

#[test]
fn role() {
    common::play(&[
        ("wait", part_wait),
        ("race", part_race),
        ("modes", part_modes),
        ("stranger", part_stranger),
        ("refusals", part_refusals),
        ("many queues", part_many_queues),
        ("few descriptors", part_few_descriptors),
        ("settings", part_settings),
        ("forbidden", part_forbidden),
        ("used", part_used),
    ]);
}

/// A name of this test alone; what it names goes at the end.
struct Named(String);

impl Named {
    /// `None` where the kernel has no queues; then it says so.
    fn new(what: &str) -> Option<Named> {
        match MessageQueue::open("/chappe-test-none") {
            Err(MessageQueueError::Unsupported) => {
                println!("skipped: this kernel has no POSIX queues");
                None
            }
            _ => Some(Named(format!("/chappe-test-{}-{what}", std::process::id()))),
        }
    }

    /// A new queue of this name.
    fn queue(&self, capacity: u32, message_size: u64) -> MessageQueue {
        MessageQueue::options().capacity(capacity).message_size(message_size).create_new(&self.0).unwrap()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = MessageQueue::unlink(&self.0);
    }
}

/// A name, or the test ends here: `let name = name!("what")`.
macro_rules! name {
    ($what:expr) => {
        match Named::new($what) {
            Some(name) => name,
            None => return,
        }
    };
}

/// The C program, built once, ready for commands.
fn peer() -> Option<Worker> {
    common::c::start(program())
}

fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(|| common::c::build("queue")).as_deref()
}

fn text(message: &Message) -> String {
    format!("{} {}", message.priority, String::from_utf8_lossy(&message.data))
}

/// A way to send.
type Send = fn(&MessageQueue, &[u8], u16) -> Result<(), SendError>;

/// A way to receive: what it received is its priority and its text.
type Recv = fn(&MessageQueue) -> Result<String, RecvError>;

fn owned(message: Result<Message, RecvError>) -> Result<String, RecvError> {
    message.as_ref().map(text).map_err(|error| *error)
}

fn buffered(
    queue: &MessageQueue,
    receive: impl FnOnce(&mut [u8]) -> Result<Received, RecvError>,
) -> Result<String, RecvError> {
    let mut buffer = vec![0; queue.message_size() as usize];
    let received = receive(&mut buffer)?;
    Ok(format!("{} {}", received.priority, String::from_utf8_lossy(&buffer[..received.len])))
}

/// All ways to send and to receive that wait, for long enough.
const FORMS: [(&str, Send, Recv); 6] = [
    ("plain", |queue, bytes, priority| queue.send(bytes, priority), |queue| owned(queue.recv())),
    (
        "timeout",
        |queue, bytes, priority| queue.send_timeout(bytes, priority, NET),
        |queue| owned(queue.recv_timeout(NET)),
    ),
    (
        "timeout beyond the clock",
        |queue, bytes, priority| queue.send_timeout(bytes, priority, Duration::MAX),
        |queue| owned(queue.recv_timeout(Duration::MAX)),
    ),
    (
        "deadline",
        |queue, bytes, priority| queue.send_deadline(bytes, priority, Instant::now() + NET),
        |queue| owned(queue.recv_deadline(Instant::now() + NET)),
    ),
    (
        "until",
        |queue, bytes, priority| queue.send_until(bytes, priority, SystemTime::now() + NET),
        |queue| owned(queue.recv_until(SystemTime::now() + NET)),
    ),
    (
        "into a buffer",
        |queue, bytes, priority| queue.send(bytes, priority),
        |queue| buffered(queue, |buffer| queue.recv_into(buffer)),
    ),
];

/// What those that end soon allow.
const SHORT: Duration = Duration::from_millis(20);

/// All ways to wait that end soon.
const ENDING: [(Send, Recv); 4] = [
    (|queue, bytes, priority| queue.send_timeout(bytes, priority, SHORT), |queue| owned(queue.recv_timeout(SHORT))),
    (
        |queue, bytes, priority| queue.send_deadline(bytes, priority, Instant::now() + SHORT),
        |queue| buffered(queue, |buffer| queue.recv_into_deadline(buffer, Instant::now() + SHORT)),
    ),
    (
        |queue, bytes, priority| queue.send_deadline(bytes, priority, Instant::now() + SHORT),
        |queue| buffered(queue, |buffer| queue.recv_into_timeout(buffer, SHORT)),
    ),
    (
        |queue, bytes, priority| queue.send_until(bytes, priority, SystemTime::now() + SHORT),
        |queue| owned(queue.recv_until(SystemTime::now() + SHORT)),
    ),
];

/// All ways to wait for a time that is over.
const EXPIRED: [(Send, Recv); 4] = [
    (
        |queue, bytes, priority| queue.send_timeout(bytes, priority, Duration::ZERO),
        |queue| owned(queue.recv_timeout(Duration::ZERO)),
    ),
    (
        |queue, bytes, priority| queue.send_deadline(bytes, priority, Instant::now()),
        |queue| buffered(queue, |buffer| queue.recv_into_timeout(buffer, Duration::ZERO)),
    ),
    (
        |queue, bytes, priority| queue.send_until(bytes, priority, SystemTime::now()),
        |queue| owned(queue.recv_until(SystemTime::now())),
    ),
    (
        |queue, bytes, priority| queue.send_until(bytes, priority, SystemTime::UNIX_EPOCH - Duration::from_secs(1)),
        |queue| owned(queue.recv_until(SystemTime::UNIX_EPOCH - Duration::from_secs(1))),
    ),
];

// ---- with a C program ----

#[test]
fn c_opens_what_we_create_and_both_see_the_same() {
    let name = name!("ours");
    let Some(mut peer) = peer() else { return };
    let queue = name.queue(3, 100);
    assert_eq!(peer.ask(format!("create {} 3 100", name.0)), "EEXIST");
    assert_eq!(peer.ask(format!("open {} rw", name.0)), "ok");
    assert_eq!(peer.ask("attr 0"), "3 100 0 0");
    queue.send(b"low", 0).unwrap();
    queue.send(b"high", 32767).unwrap();
    assert_eq!(peer.ask("send 0 7 middle of three"), "ok");
    assert_eq!(peer.ask("attr 0"), "3 100 3 0");
    assert_eq!(queue.try_send(b"no room", 0), Err(SendError::Full));
    assert_eq!(peer.ask("recv 0"), "32767 high");
    assert_eq!(text(&queue.recv().unwrap()), "7 middle of three");
    assert_eq!(peer.ask("recv 0"), "0 low");
    assert_eq!(queue.try_recv(), Err(RecvError::Empty));
    assert_eq!(peer.ask("timedrecv 0 20"), "ETIMEDOUT");
    MessageQueue::unlink(&name.0).unwrap();
    assert_eq!(peer.ask(format!("open {} rw", name.0)), "ENOENT");
}

#[test]
fn we_open_what_c_creates() {
    let name = name!("theirs");
    let Some(mut peer) = peer() else { return };
    assert_eq!(peer.ask(format!("create {} 4 64", name.0)), "ok");
    assert!(matches!(MessageQueue::create_new(&name.0), Err(MessageQueueError::Exists { .. })));
    // What is asked for is for creating only, even what no queue can have.
    let queue = MessageQueue::options().capacity(u32::MAX).message_size(0).create(&name.0).unwrap();
    assert_eq!((queue.capacity(), queue.message_size()), (4, 64));
    assert_eq!(peer.ask("send 0 5 hello"), "ok");
    let attributes = queue.attributes().unwrap();
    assert_eq!((attributes.capacity, attributes.message_size, attributes.len), (4, 64, 1));
    assert!(!attributes.nonblocking);
    assert_eq!(text(&queue.recv().unwrap()), "5 hello");
    assert_eq!(peer.ask(format!("unlink {}", name.0)), "ok");
    assert!(matches!(MessageQueue::open(&name.0), Err(MessageQueueError::NotFound { .. })));
}

/// Each side can go on only when the other has sent, so a wake that is lost ends the game.
#[test]
fn a_ball_goes_to_and_fro_in_every_form() {
    const ROUNDS: usize = 300;
    let (first, second) = (name!("rally-0"), name!("rally-1"));
    let Some(mut peer) = peer() else { return };
    let (there, back) = (first.queue(1, 64), second.queue(1, 64));
    for name in [&first, &second] {
        assert_eq!(peer.ask(format!("open {} rw", name.0)), "ok");
    }
    for (form, send, recv) in FORMS {
        peer.tell(format!("pong 0 1 {ROUNDS}"));
        for _ in 0..ROUNDS {
            send(&there, b"ball", 1).unwrap();
            assert_eq!(recv(&back).as_deref(), Ok("1 ball"), "{form}");
        }
        peer.expect("ok");
        peer.tell(format!("ping 0 1 {ROUNDS}"));
        for _ in 0..ROUNDS {
            assert_eq!(recv(&there).as_deref(), Ok("1 ball"), "{form}");
            send(&back, b"ball", 1).unwrap();
        }
        peer.expect("ok");
    }
    assert_eq!((there.len().unwrap(), back.len().unwrap()), (0, 0));
}

/// A queue of one, so that the sender has to wait for room each time.
#[test]
fn senders_wait_for_room_in_every_form() {
    let name = name!("room");
    let Some(mut peer) = peer() else { return };
    let queue = name.queue(1, 64);
    assert_eq!(peer.ask(format!("open {} rw", name.0)), "ok");
    for (form, send, _) in FORMS {
        queue.send(b"first", 0).unwrap();
        let asked = std::thread::scope(|scope| {
            let sender = scope.spawn(|| send(&queue, b"second", 0));
            // It may not wait yet, and then it need not.
            assert_eq!(peer.ask("recv 0"), "0 first", "{form}");
            assert_eq!(peer.ask("timedrecv 0 30000"), "0 second", "{form}");
            sender.join().unwrap()
        });
        assert_eq!(asked, Ok(()), "{form}");
    }
}

// ---- waiting ----

#[test]
fn timed_forms_time_out_and_not_before() {
    let name = name!("times");
    let other = name!("times-empty");
    let (full, empty) = (name.queue(1, 16), other.queue(1, 16));
    full.send(b"there", 3).unwrap();
    for (send, recv) in ENDING {
        let start = (Instant::now(), SystemTime::now());
        assert_eq!(send(&full, b"no room", 0), Err(SendError::TimedOut));
        assert_eq!(recv(&empty), Err(RecvError::TimedOut));
        // The last form goes by the wall clock, which the machine may set meanwhile.
        let passed = start.0.elapsed().max(start.1.elapsed().unwrap_or_default());
        assert!(passed >= 2 * SHORT, "after {passed:?} already");
    }
    for (send, recv) in EXPIRED {
        assert_eq!(send(&full, b"no room", 0), Err(SendError::TimedOut));
        assert_eq!(recv(&empty), Err(RecvError::TimedOut));
        assert_eq!(recv(&full).as_deref(), Ok("3 there"), "what is there is had all the same");
        assert_eq!(send(&full, b"there", 3), Ok(()));
    }
    assert_eq!((full.len().unwrap(), empty.len().unwrap()), (1, 0));
}

/// How often this thread gave the processor away to sleep, and how long it has used it.
fn sleeps() -> (i64, Duration) {
    // SAFETY: a C struct of numbers, of which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the struct lives through the call.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) }, 0);
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    (usage.ru_nvcsw, time(usage.ru_utime) + time(usage.ru_stime))
}

/// They poll the descriptor: for the wrong event, they would ask again and again.
#[test]
fn who_waits_with_a_timeout_sleeps() {
    const LONG: Duration = Duration::from_millis(400);
    let (name, other) = (name!("sleep"), name!("sleep-empty"));
    let (full, empty) = (name.queue(1, 8), other.queue(1, 8));
    full.send(b"x", 0).unwrap();
    let waits: [&dyn Fn(); 2] = [&|| assert_eq!(full.send_timeout(b"y", 0, LONG), Err(SendError::TimedOut)), &|| {
        assert_eq!(empty.recv_timeout(LONG), Err(RecvError::TimedOut))
    }];
    for wait in waits {
        let (before, start) = (sleeps(), Instant::now());
        wait();
        let (after, waited) = (sleeps(), start.elapsed());
        assert!(after.0 > before.0, "it never slept");
        let used = after.1 - before.1;
        assert!(used < LONG / 20, "it used the processor for {used:?} of {waited:?}");
    }
}

/// `wait NAME FORM`: receives in that form while signals come, each of which says so, and says what it received.
fn part_wait(arguments: &[String]) {
    extern "C" fn on_signal(_: i32) {
        let text = b"@signal\n";
        // SAFETY: the text lives for ever, and write is async-signal-safe.
        unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
    }
    let queue = MessageQueue::open(&arguments[0]).unwrap();
    let (_, _, recv) = FORMS.iter().find(|(form, _, _)| *form == arguments[1]).unwrap();
    // SAFETY: a C struct of numbers; all-zero means no flags (above all, not to restart system calls) and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_signal as extern "C" fn(i32) as libc::sighandler_t;
    // SAFETY: the handler only does what a handler may do, and the struct lives through the call.
    let installed = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);
    // SAFETY: it has no conditions.
    say(unsafe { libc::gettid() });
    say(recv(&queue).unwrap());
}

#[test]
fn a_signal_handler_ends_no_wait() {
    let name = name!("signal");
    let queue = name.queue(1, 64);
    for (form, _, _) in FORMS {
        let mut waiter = Worker::start("wait", &[&name.0, form]);
        let thread: i32 = waiter.answer().parse().unwrap();
        for _ in 0..5 {
            // It has said its last before the wait, so it sleeps nowhere else.
            until("it sleeps in the wait", || asleep(waiter.pid()));
            // To the thread that waits: one for the process would go to the thread of the test harness.
            // SAFETY: it takes numbers.
            let sent = unsafe { libc::syscall(libc::SYS_tgkill, waiter.pid() as i32, thread, libc::SIGUSR1) };
            assert_eq!(sent, 0);
            waiter.expect("signal");
        }
        until("it sleeps again", || asleep(waiter.pid()));
        queue.send(b"at last", 2).unwrap();
        waiter.expect("2 at last");
        waiter.finish();
    }
}

#[test]
fn a_receiver_that_is_killed_while_it_waits_has_taken_nothing() {
    let name = name!("killed");
    let queue = name.queue(1, 64);
    for (form, _, _) in FORMS {
        let mut waiter = Worker::start("wait", &[&name.0, form]);
        waiter.answer();
        until("it sleeps in the wait", || asleep(waiter.pid()));
        waiter.kill();
        queue.send(b"still here", 0).unwrap();
        assert_eq!(text(&queue.try_recv().unwrap()), "0 still here", "{form}");
    }
}

// ---- messages ----

#[test]
fn the_order_is_by_priority_and_then_by_age() {
    let name = name!("order");
    let queue = name.queue(8, 16);
    for (priority, bytes) in [(1, "b1"), (32767, "a1"), (0, "c1"), (1, "b2"), (0, "c2"), (32767, "a2")] {
        queue.send(bytes.as_bytes(), priority).unwrap();
    }
    let order: Vec<String> = (0..6).map(|_| text(&queue.try_recv().unwrap())).collect();
    assert_eq!(order, ["32767 a1", "32767 a2", "1 b1", "1 b2", "0 c1", "0 c2"]);
}

#[test]
fn messages_come_as_they_went_and_receiving_sizes_itself() {
    let name = name!("bytes");
    let queue = name.queue(4, 4096);
    let all: Vec<u8> = (0..4096u32).map(|at| at as u8).collect();
    for length in [0, 1, 4095, 4096] {
        queue.send(&all[..length], 9).unwrap();
        let message = queue.recv().unwrap();
        assert_eq!((&message.data[..], message.priority, message.redelivered), (&all[..length], 9, 0));
        queue.send(&all[..length], 9).unwrap();
        let mut buffer = vec![0xee; 5000];
        let received = queue.recv_into(&mut buffer).unwrap();
        assert_eq!((&buffer[..received.len], received.priority), (&all[..length], 9));
        assert!(buffer[length..].iter().all(|byte| *byte == 0xee), "no more was written than the message has");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let name = name!("fit");
    let queue = name.queue(2, 8);
    assert_eq!(queue.send(&[0; 9], 0), Err(SendError::TooLong { length: 9, max: 8 }));
    assert_eq!(queue.try_send(&[0; 9], 0), Err(SendError::TooLong { length: 9, max: 8 }));
    assert_eq!(queue.send(b"x", 32768), Err(SendError::Priority(32768)));
    assert_eq!(queue.len().unwrap(), 0);
    queue.send(b"one", 0).unwrap();
    for result in [
        queue.recv_into(&mut [0; 7]),
        queue.try_recv_into(&mut []),
        queue.recv_into_timeout(&mut [0; 3], SHORT),
        queue.recv_into_deadline(&mut [0; 7], Instant::now()),
    ] {
        assert!(matches!(result, Err(RecvError::BufferTooSmall { needed: 8, room: 0..8 })), "{result:?}");
    }
    assert_eq!(text(&queue.recv().unwrap()), "0 one");
}

#[test]
fn purging_takes_what_is_there() {
    let name = name!("purge");
    let queue = name.queue(5, 8);
    assert_eq!(queue.purge(), Ok(0));
    (0..5).for_each(|priority| queue.send(b"x", priority).unwrap());
    assert_eq!(queue.purge(), Ok(5));
    assert!(queue.is_empty().unwrap());
    let writer = MessageQueue::options().writeonly().open(&name.0).unwrap();
    assert_eq!(writer.purge(), Ok(0), "there is nothing to take");
    queue.send(b"x", 0).unwrap();
    assert_eq!(writer.purge(), Err(RecvError::WriteOnly));
    assert_eq!(queue.len().unwrap(), 1);
}

// ---- descriptors ----

#[test]
fn a_nonblocking_descriptor_never_waits_and_the_flag_is_the_descriptions() {
    let name = name!("flag");
    let queue = name.queue(1, 8);
    let (clone, other) = (queue.try_clone().unwrap(), MessageQueue::open(&name.0).unwrap());
    assert!(!queue.is_nonblocking().unwrap());
    clone.set_nonblocking(true).unwrap();
    let flags = [&queue, &clone, &other].map(|queue| queue.is_nonblocking().unwrap());
    assert_eq!(flags, [true, true, false]);
    for (form, send, recv) in FORMS {
        assert_eq!(recv(&queue), Err(RecvError::Empty), "{form}");
        assert_eq!(send(&queue, b"x", 0), Ok(()));
        assert_eq!(send(&queue, b"y", 0), Err(SendError::Full), "{form}");
        assert_eq!(recv(&clone).as_deref(), Ok("0 x"));
    }
    assert_eq!((queue.try_recv(), other.try_recv()), (Err(RecvError::Empty), Err(RecvError::Empty)));
    queue.set_nonblocking(false).unwrap();
    assert_eq!(clone.recv_timeout(SHORT), Err(RecvError::TimedOut));
    let born = MessageQueue::options().nonblocking(true).open(&name.0).unwrap();
    assert_eq!(born.recv(), Err(RecvError::Empty));
}

#[test]
fn one_way_descriptors_go_one_way() {
    let name = name!("one-way");
    let queue = name.queue(2, 8);
    let reader = MessageQueue::options().readonly().open(&name.0).unwrap();
    let writer = MessageQueue::options().writeonly().open(&name.0).unwrap();
    assert_eq!((reader.send(b"x", 0), reader.try_send(b"x", 0)), (Err(SendError::ReadOnly), Err(SendError::ReadOnly)));
    assert_eq!((writer.recv(), writer.try_recv()), (Err(RecvError::WriteOnly), Err(RecvError::WriteOnly)));
    writer.send(b"through", 4).unwrap();
    let bytes = [&queue, &reader, &writer].map(|queue| queue.stat().unwrap().bytes);
    assert_eq!(bytes, [Some(7), Some(7), None]);
    assert_eq!(text(&reader.recv().unwrap()), "4 through");
}

#[test]
fn what_is_no_queue_is_refused() {
    let _ = name!("none");
    let file = tempfile::tempfile().unwrap();
    let number = file.as_raw_fd();
    let error = MessageQueue::from_fd(file.into()).unwrap_err();
    assert!(matches!(error, MessageQueueError::NotAQueue { descriptor } if descriptor == number), "{error}");
}

#[test]
fn a_queue_goes_through_its_descriptor() {
    let name = name!("descriptor");
    let queue = name.queue(2, 8);
    queue.send(b"x", 1).unwrap();
    let fd: OwnedFd = queue.into();
    let again = MessageQueue::try_from(fd).unwrap();
    assert_eq!((again.name(), again.capacity(), again.message_size()), (None, 2, 8));
    assert_eq!(text(&again.recv().unwrap()), "1 x");
}

#[test]
fn a_program_inherits_a_queue_only_if_told() {
    let name = name!("exec");
    let queue = name.queue(2, 8);
    assert!(queue.is_close_on_exec().unwrap());
    let open = MessageQueue::options().close_on_exec(false).open(&name.0).unwrap();
    assert!(!open.is_close_on_exec().unwrap());
    open.set_close_on_exec(true).unwrap();
    assert!(open.is_close_on_exec().unwrap() && open.try_clone().unwrap().is_close_on_exec().unwrap());
    for told in [false, true] {
        let Some(program) = program() else {
            println!("skipped: there is no C compiler (cc, or what CHAPPE_TEST_CC names)");
            return;
        };
        let passed = queue.try_clone().unwrap();
        let number = passed.as_raw_fd();
        let mut command = Command::new(program);
        // Between fork and exec, so that programs that other tests start meanwhile do not inherit it as well.
        // SAFETY: the closure makes two system calls and allocates nothing.
        unsafe { command.pre_exec(move || passed.set_close_on_exec(!told)) };
        let mut peer = Worker::run(command, "the C program");
        if told {
            assert_eq!(peer.ask(format!("inherit {number}")), "ok");
            queue.send(b"hello", 6).unwrap();
            assert_eq!(peer.ask("recv 0"), "6 hello");
        } else {
            assert_eq!(peer.ask(format!("inherit {number}")), "EBADF");
        }
        peer.finish();
    }
}

/// Edge-triggered, as runtimes use it: an event for each message, and one when there is room again.
#[test]
fn epoll_tells_of_messages_and_of_room() {
    let name = name!("epoll");
    let queue = name.queue(1, 8);
    // SAFETY: it takes a number.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    assert!(epoll >= 0);
    // SAFETY: the descriptor is new and nobody else's.
    let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
    let (both, edge) = ((libc::EPOLLIN | libc::EPOLLOUT) as u32, libc::EPOLLET as u32);
    let mut wanted = libc::epoll_event { events: both | edge, u64: 7 };
    // SAFETY: two open descriptors, and an event that lives through the call.
    let added =
        unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, queue.as_fd().as_raw_fd(), &raw mut wanted) };
    assert_eq!(added, 0);
    let event = |bound: Duration| {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for one event, which lives through the call.
        let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), &raw mut event, 1, bound.as_millis() as i32) };
        (count == 1).then_some(event.events)
    };
    assert_eq!(event(NET), Some(libc::EPOLLOUT as u32), "there is room from the start");
    assert_eq!(event(Duration::ZERO), None);
    MessageQueue::open(&name.0).unwrap().send(b"x", 0).unwrap();
    assert_eq!(event(NET), Some(libc::EPOLLIN as u32), "full: only receiving");
    assert_eq!(event(Duration::ZERO), None);
    queue.try_recv().unwrap();
    assert_eq!(event(NET), Some(libc::EPOLLOUT as u32));
    assert!(!readable(queue.as_raw_fd(), Duration::ZERO));
}

/// As a program with a runtime would use it.
#[test]
fn tokio_waits_for_messages_and_for_room() {
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    fn register(queue: MessageQueue) -> AsyncFd<MessageQueue> {
        // SAFETY: a queue owns its descriptor, which stays the same and open as long as the queue lives.
        unsafe { AsyncFd::register(queue) }.unwrap()
    }

    async fn send(queue: &AsyncFd<MessageQueue>, message: &[u8]) {
        let attempt = |queue: &MessageQueue| match queue.try_send(message, 0) {
            Err(SendError::Full) => Err(std::io::ErrorKind::WouldBlock.into()),
            other => Ok(other),
        };
        queue.async_io(Interest::WRITABLE, attempt).await.unwrap().unwrap();
    }

    async fn recv(queue: &AsyncFd<MessageQueue>) -> Vec<u8> {
        let attempt = |queue: &MessageQueue| match queue.try_recv() {
            Err(RecvError::Empty) => Err(std::io::ErrorKind::WouldBlock.into()),
            other => Ok(other),
        };
        queue.async_io(Interest::READABLE, attempt).await.unwrap().unwrap().data
    }

    let name = name!("tokio");
    let queue = name.queue(2, 8);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // One thread: if a call blocked it, the other side could never go on.
    let all = runtime.block_on(async {
        let (there, here) = (register(queue.try_clone().unwrap()), register(queue));
        let sender = async {
            for number in 0..500u32 {
                send(&there, &number.to_le_bytes()).await;
            }
        };
        let receiver = async {
            let mut all = Vec::new();
            while all.len() < 500 {
                all.push(u32::from_le_bytes(recv(&here).await.try_into().unwrap()));
            }
            all
        };
        tokio::time::timeout(NET, async { tokio::join!(sender, receiver).1 })
            .await
            .expect("a message or a wake was lost")
    });
    assert!(all.into_iter().eq(0..500));
}

// ---- notification ----

#[test]
fn a_notification_comes_once_when_a_message_comes_into_the_empty_queue() {
    let name = name!("notify");
    let queue = name.queue(4, 8);
    let (told, news) = channel();
    queue.send(b"before", 0).unwrap();
    queue.notify(move || told.send(std::thread::current().id()).unwrap()).unwrap();
    queue.send(b"second", 0).unwrap();
    assert_eq!(queue.stat().unwrap().registered, Some(std::process::id()), "it was not empty: nothing happens");
    assert_eq!(queue.purge(), Ok(2));
    queue.send(b"first", 0).unwrap();
    assert_ne!(news.recv_timeout(NET).unwrap(), std::thread::current().id());
    assert_eq!(queue.stat().unwrap().registered, None);
    // The sender went with the callback: no second one can come.
    assert_eq!(news.recv_timeout(NET), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn a_callback_may_register_anew() {
    let name = name!("notify-anew");
    let queue = std::sync::Arc::new(name.queue(1, 8));
    let (told, news) = channel();
    fn register(queue: &std::sync::Arc<MessageQueue>, told: std::sync::mpsc::Sender<String>) {
        let again = std::sync::Arc::clone(queue);
        let callback = move || {
            register(&again, told.clone());
            while let Ok(message) = again.try_recv() {
                told.send(text(&message)).unwrap();
            }
        };
        queue.notify(callback).unwrap();
    }
    register(&queue, told);
    for number in 0..50 {
        queue.send(b"x", number).unwrap();
        assert_eq!(news.recv_timeout(NET), Ok(format!("{number} x")));
    }
    // There is always either a registration or a callback that is about to make one.
    until("the last callback has registered anew", || queue.stat().unwrap().registered.is_some());
    queue.cancel_notify().unwrap();
    assert_eq!(
        news.recv_timeout(NET),
        Err(RecvTimeoutError::Disconnected),
        "the callback is dropped, and the sender with it"
    );
}

#[test]
fn one_process_at_a_time_is_registered() {
    let name = name!("notify-busy");
    let queue = name.queue(2, 8);
    let news = queue.notify_channel().unwrap();
    assert_eq!(queue.notify(|| panic!("never registered")), Err(NotifyError::Busy));
    if let Some(mut peer) = peer() {
        assert_eq!(peer.ask(format!("open {} rw", name.0)), "ok");
        assert_eq!(peer.ask("notify 0"), "EBUSY");
        assert_eq!(peer.ask("unnotify 0"), "ok", "which does nothing");
        assert_eq!(queue.stat().unwrap().registered, Some(std::process::id()));
        queue.cancel_notify().unwrap();
        assert_eq!(news.recv_timeout(NET), Err(RecvTimeoutError::Disconnected), "nothing will come");
        assert_eq!(peer.ask("notify 0"), "ok");
        assert_eq!(queue.notify_channel().unwrap_err(), NotifyError::Busy);
        assert_eq!(queue.stat().unwrap().registered, Some(peer.pid()));
        queue.cancel_notify().unwrap();
        assert_eq!(queue.stat().unwrap().registered, Some(peer.pid()), "it is not ours");
        peer.kill();
        until("the kernel has taken the dead one's registration", || queue.stat().unwrap().registered.is_none());
    }
    queue.cancel_notify().unwrap();
    let news = queue.notify_channel().unwrap();
    queue.send(b"x", 0).unwrap();
    assert_eq!(news.recv_timeout(NET), Ok(()));
    assert_eq!(news.recv_timeout(NET), Err(RecvTimeoutError::Disconnected), "once");
}

#[test]
fn dropping_any_handle_ends_the_registration() {
    let name = name!("notify-drop");
    let queue = name.queue(1, 8);
    let news = queue.notify_channel().unwrap();
    drop(MessageQueue::open(&name.0).unwrap());
    assert_eq!(news.recv_timeout(NET), Err(RecvTimeoutError::Disconnected));
    assert_eq!(queue.stat().unwrap().registered, None);
    let news = queue.notify_channel().unwrap();
    drop(queue);
    assert_eq!(news.recv_timeout(NET), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn a_receiver_that_waits_comes_before_a_notification() {
    let name = name!("notify-receiver");
    let queue = name.queue(1, 8);
    let news = queue.notify_channel().unwrap();
    let mut waiter = Worker::start("wait", &[&name.0, "plain"]);
    waiter.answer();
    until("it sleeps in the receive", || asleep(waiter.pid()));
    queue.send(b"theirs", 0).unwrap();
    waiter.expect("0 theirs");
    assert_eq!(queue.stat().unwrap().registered, Some(std::process::id()));
    queue.send(b"ours", 0).unwrap();
    assert_eq!(news.recv_timeout(NET), Ok(()));
}

#[test]
fn a_callback_that_panics_harms_nothing_else() {
    let name = name!("notify-panic");
    let queue = name.queue(1, 8);
    let (told, news) = channel::<()>();
    queue
        .notify(move || {
            let _gone_with_it = told;
            panic!("a panic that a test asks for")
        })
        .unwrap();
    queue.send(b"x", 0).unwrap();
    assert_eq!(news.recv_timeout(NET), Err(RecvTimeoutError::Disconnected));
    assert_eq!(text(&queue.recv().unwrap()), "0 x");
    let news = queue.notify_channel().unwrap();
    queue.send(b"y", 0).unwrap();
    assert_eq!(news.recv_timeout(NET), Ok(()));
}

// ---- names and modes ----

#[test]
fn bad_names_are_refused() {
    let bad: [(&[u8], NameError); 6] = [
        (b"", NameError::Empty),
        (b"/", NameError::Empty),
        (b"/a/b", NameError::Slash),
        (b"a\0b", NameError::Nul),
        (b"..", NameError::Dots),
        (&[b'x'; 256], NameError::TooLong(256)),
    ];
    for (name, why) in bad {
        let results = [
            MessageQueue::create(name).unwrap_err(),
            MessageQueue::create_new(name).unwrap_err(),
            MessageQueue::open(name).unwrap_err(),
            MessageQueue::unlink(name).unwrap_err(),
        ];
        for error in results {
            assert!(matches!(&error, MessageQueueError::Name(reason) if *reason == why), "{error}");
        }
    }
}

#[test]
fn names_are_the_kernels_with_and_without_slash() {
    let start = name!("long");
    let long = Named(format!("{:x<256}", start.0));
    let queue = long.queue(1, 8);
    let bare = long.0.trim_start_matches('/');
    assert_eq!(MessageQueue::open(bare).unwrap().name(), queue.name());
    MessageQueue::unlink(bare).unwrap();
    assert!(matches!(MessageQueue::unlink(&long.0), Err(MessageQueueError::NotFound { .. })));
    queue.send(b"on", 0).unwrap();
    let new = long.queue(1, 8);
    assert_eq!((queue.len().unwrap(), new.len().unwrap()), (1, 0), "the old one goes on; the new one is another");
}

/// `race NAME`: when told, creates or opens it, and sends once.
fn part_race(arguments: &[String]) {
    say("ready");
    hear();
    let queue = MessageQueue::options().capacity(8).message_size(8).create(&arguments[0]).unwrap();
    queue.send(b"x", 0).unwrap();
    say("sent");
}

#[test]
fn of_eight_processes_that_race_to_create_one_creates() {
    for _ in 0..5 {
        let name = name!("race");
        let mut workers: Vec<_> = (0..8).map(|_| Worker::start("race", &[&name.0])).collect();
        workers.iter_mut().for_each(|worker| worker.expect("ready"));
        workers.iter_mut().for_each(|worker| worker.tell("go"));
        workers.iter_mut().for_each(|worker| worker.expect("sent"));
        assert_eq!(MessageQueue::open(&name.0).unwrap().len().unwrap(), 8);
    }
}

#[test]
fn the_mode_is_exact_unless_the_umask_is_asked_for() {
    let first = name!("mode-plain");
    let names = [first, name!("mode-wide"), name!("mode-narrow")];
    let mut worker = Worker::start("modes", &names.each_ref().map(|name| name.0.as_str()));
    worker.expect("created");
    let modes = names.each_ref().map(|name| MessageQueue::open(&name.0).unwrap().stat().unwrap().mode);
    assert_eq!(modes, [0o600, 0o666, 0o600]);
    worker.finish();
}

fn part_modes(arguments: &[String]) {
    // SAFETY: it takes a number.
    unsafe { libc::umask(0o077) };
    let options = |mode| {
        let mut options = MessageQueue::options();
        options.capacity(1).message_size(8).mode(mode);
        options
    };
    options(0o600).create_new(&arguments[0]).unwrap();
    options(0o666).create(&arguments[1]).unwrap();
    options(0o666).umask(true).create(&arguments[2]).unwrap();
    say("created");
}

/// The worker says "done", or why it cannot do its part.
fn expect_done(mut worker: Worker) {
    let answer = worker.answer();
    match answer.strip_prefix("skip ") {
        Some(reason) => println!("skipped: {reason}"),
        None => assert_eq!(answer, "done"),
    }
    worker.finish();
}

/// Makes this process another user; if it may not, says so and ends the part.
fn become_user(uid: u32) {
    // SAFETY: it takes a number.
    if unsafe { libc::setuid(uid) } != 0 {
        say(format!("skip becoming another user: {}", std::io::Error::last_os_error()));
        std::process::exit(0);
    }
}

/// Gives the thread an IPC namespace of its own, with the default limits; if it may not, says so and ends the part.
fn leave_ipc_namespace() {
    // SAFETY: it takes a number.
    if unsafe { libc::unshare(libc::CLONE_NEWIPC) } != 0 {
        say(format!("skip an IPC namespace of its own: {}", std::io::Error::last_os_error()));
        std::process::exit(0);
    }
}

#[test]
fn a_stranger_gets_what_the_mode_allows() {
    let names = [name!("private"), name!("inbox")];
    let [_private, inbox] = [(&names[0], 0o600), (&names[1], 0o622)].map(|(name, mode)| {
        MessageQueue::options().capacity(2).message_size(8).mode(mode).create_new(&name.0).unwrap()
    });
    expect_done(Worker::start("stranger", &[&names[0].0, &names[1].0]));
    // Without root nobody has become another user.
    if let Ok(message) = inbox.try_recv() {
        assert_eq!(text(&message), "0 hello");
    }
    assert!(MessageQueue::open(&names[0].0).is_ok(), "it was not unlinked");
}

fn part_stranger(arguments: &[String]) {
    become_user(65_534);
    let refused = |error: MessageQueueError, wanted: &str| {
        assert!(matches!(&error, MessageQueueError::Permission { step, .. } if *step == wanted), "{error}");
        assert_eq!(error.io_kind(), Some(std::io::ErrorKind::PermissionDenied));
    };
    for name in arguments {
        refused(MessageQueue::open(name).unwrap_err(), "open");
        refused(MessageQueue::create(name).unwrap_err(), "open");
        refused(MessageQueue::options().readonly().open(name).unwrap_err(), "open");
        refused(MessageQueue::unlink(name).unwrap_err(), "unlink");
    }
    refused(MessageQueue::options().writeonly().open(&arguments[0]).unwrap_err(), "open");
    MessageQueue::options().writeonly().open(&arguments[1]).unwrap().send(b"hello", 0).unwrap();
    say("done");
}

// ---- limits ----

#[test]
fn each_refusal_says_which_limit_it_was() {
    let _ = name!("refusals");
    expect_done(Worker::start("refusals", &[]));
}

/// In an IPC namespace of its own, as a user of its own without privileges.
fn part_refusals(_: &[String]) {
    leave_ipc_namespace();
    become_user(own_uid());
    let create = |capacity, size: u64| {
        MessageQueue::options().capacity(capacity).message_size(size).create_new("/chappe-test-refusal")
    };
    let contains = |error: &MessageQueueError, words: &[&str]| {
        let text = error.to_string();
        words.iter().for_each(|word| assert!(text.contains(word), "no {word:?} in: {text}"));
    };
    let error = create(11, 8).unwrap_err();
    assert!(matches!(error, MessageQueueError::Capacity { capacity: 11, max: 10 }), "{error}");
    contains(&error, &["1 to 10 messages", "not 11", "chappe limits --set msg_max=11", "root"]);
    let error = create(70_000, 8).unwrap_err();
    assert!(matches!(error, MessageQueueError::Capacity { capacity: 70_000, max: 10 }), "{error}");
    contains(&error, &["no privilege", "65536"]);
    let error = create(0, 8).unwrap_err();
    assert!(matches!(error, MessageQueueError::Capacity { capacity: 0, .. }), "{error}");
    let error = create(1, 8193).unwrap_err();
    assert!(matches!(error, MessageQueueError::MessageSize { message_size: 8193, max: 8192 }), "{error}");
    contains(&error, &["8192 bytes", "chappe limits --set msgsize_max=8193"]);
    let error = create(1, 17 << 20).unwrap_err();
    assert!(matches!(error, MessageQueueError::MessageSize { .. }), "{error}");
    contains(&error, &["no privilege", "16 MiB"]);
    let error = create(1, u64::MAX).unwrap_err();
    assert!(matches!(error, MessageQueueError::MessageSize { .. }), "{error}");
    let error = create(1, 0).unwrap_err();
    assert!(matches!(error, MessageQueueError::MessageSize { message_size: 0, .. }), "{error}");

    // One size alone: the other is the system's.
    let alone = MessageQueue::options().capacity(3).create_new("/chappe-test-alone").unwrap();
    assert_eq!((alone.capacity(), alone.message_size()), (3, 8192));
    let plain = MessageQueue::create_new("/chappe-test-plain").unwrap();
    assert_eq!((plain.capacity(), plain.message_size()), (10, 8192));
    MessageQueue::unlink("/chappe-test-alone").unwrap();
    MessageQueue::unlink("/chappe-test-plain").unwrap();
    drop((alone, plain));

    set_limit(LimitKind::MessageQueueBytes, 1000).unwrap();
    let error = MessageQueue::create_new("/chappe-test-plain").unwrap_err();
    assert!(matches!(error, MessageQueueError::Bytes { needed: 82_880, limit: 1000 }), "{error}");
    contains(&error, &["82880 bytes of RLIMIT_MSGQUEUE", "which is 1000", "ulimit -q"]);
    let _half = create(5, 50).unwrap();
    MessageQueue::unlink("/chappe-test-refusal").unwrap();
    let error = create(5, 50).unwrap_err();
    assert!(matches!(error, MessageQueueError::Bytes { needed: 730, limit: 1000 }), "{error}");
    contains(&error, &["for all queues of this user together", "chappe limits"]);
    say("done");
}

/// A user that nobody else is: what its queues are charged is what they are charged here.
fn own_uid() -> u32 {
    1_000_000_000 + std::process::id()
}

#[test]
fn too_many_queues_are_not_a_full_disk() {
    let _ = name!("many-queues");
    expect_done(Worker::start("many queues", &[]));
}

fn part_many_queues(_: &[String]) {
    leave_ipc_namespace();
    if let Err(error) = set_limit(LimitKind::QueuesMax, 3) {
        say(format!("skip setting queues_max: {error}"));
        return;
    }
    become_user(own_uid());
    let create =
        |number: u32| MessageQueue::options().capacity(1).message_size(1).create_new(format!("/chappe-test-{number}"));
    let mut queues: Vec<MessageQueue> = (0..3).map(|number| create(number).unwrap()).collect();
    let error = create(3).unwrap_err();
    assert!(matches!(error, MessageQueueError::Queues { max: 3 }), "{error}");
    assert!(error.to_string().contains("--set queues_max=6"), "{error}");
    let used = limit(LimitKind::MessageQueueBytes).used;
    assert!(matches!(&used, LimitUse::Unknown(why) if why.contains("queues_max")), "{used:?}");
    MessageQueue::unlink("/chappe-test-0").unwrap();
    assert!(create(3).is_err(), "it counts as long as it is open");
    queues.remove(0);
    create(3).unwrap();
    say("done");
}

#[test]
fn descriptors_that_run_out_are_not_bytes_that_run_out() {
    let name = name!("descriptors");
    let _queue = name.queue(1, 8);
    let new = format!("{}-new", name.0);
    Worker::start("few descriptors", &[&name.0, &new]).finish();
    assert!(matches!(MessageQueue::open(&new), Err(MessageQueueError::NotFound { .. })), "nothing was created");
}

fn part_few_descriptors(arguments: &[String]) {
    let queue = MessageQueue::open(&arguments[0]).unwrap();
    let few = libc::rlimit { rlim_cur: 3, rlim_max: 3 };
    // SAFETY: the limit lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) }, 0);
    let mut small = MessageQueue::options();
    small.capacity(1).message_size(8);
    let errors = [
        MessageQueue::open(&arguments[0]).unwrap_err(),
        small.create(&arguments[0]).unwrap_err(),
        small.create_new(&arguments[1]).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, MessageQueueError::Descriptors { limit: 3 }), "{error}");
        assert!(error.to_string().contains("ulimit -n"), "the way out belongs into {error}");
    }
    assert!(queue.try_clone().is_err());
    queue.send(b"x", 0).unwrap();
}

#[test]
fn a_kernel_without_queues_or_without_netlink_is_told_apart() {
    let name = name!("forbidden");
    let _queue = name.queue(1, 8);
    expect_done(Worker::start("forbidden", &[&name.0]));
}

/// As in a sandbox that has neither `mq_open` nor netlink sockets.
fn part_forbidden(arguments: &[String]) {
    let queue = MessageQueue::open(&arguments[0]).unwrap();
    forbid(&[(libc::SYS_mq_open, libc::ENOSYS), (libc::SYS_socket, libc::EAFNOSUPPORT)]);
    for result in [MessageQueue::open(&arguments[0]), MessageQueue::create_new("/chappe-test-forbidden")] {
        let error = result.unwrap_err();
        assert!(matches!(error, MessageQueueError::Unsupported), "{error}");
        assert!(error.to_string().contains("chappe::Queue"), "the way out belongs into {error}");
    }
    let error = queue.notify(|| ()).unwrap_err();
    assert_eq!(error, NotifyError::NoSocket(libc::EAFNOSUPPORT));
    assert!(error.to_string().contains("AF_NETLINK"), "the way out belongs into {error}");
    let used = limit(LimitKind::MessageQueueBytes).used;
    assert!(matches!(&used, LimitUse::Unknown(why) if why.contains("none can be created")), "{used:?}");
    queue.send(b"x", 0).unwrap();
    say("done");
}

#[test]
fn settings_can_be_set_by_root_and_by_nobody_else() {
    let _ = name!("settings");
    expect_done(Worker::start("settings", &[]));
}

fn part_settings(_: &[String]) {
    leave_ipc_namespace();
    if let Err(error) = set_limit(LimitKind::MsgMax, 100) {
        say(format!("skip setting msg_max: {error}"));
        return;
    }
    set_limit(LimitKind::MsgsizeMax, 128).unwrap();
    set_limit(LimitKind::MsgDefault, 20).unwrap();
    let value = |kind| limit(kind).value;
    assert_eq!(value(LimitKind::MsgMax), LimitValue::Number(100));
    assert_eq!(value(LimitKind::MsgsizeMax), LimitValue::Number(128));
    let queue = MessageQueue::create("/chappe-test-set").unwrap();
    assert_eq!((queue.capacity(), queue.message_size()), (20, 128), "each default up to its max");
    for (kind, bad) in [
        (LimitKind::MsgMax, 0),
        (LimitKind::MsgMax, 65_537),
        (LimitKind::MsgsizeMax, 127),
        (LimitKind::MsgsizeDefault, (16 << 20) + 1),
        (LimitKind::QueuesMax, 1 << 31),
    ] {
        let error = set_limit(kind, bad).unwrap_err();
        assert!(matches!(error, LimitError::Range { value, .. } if value == bad), "{error}");
    }
    become_user(own_uid());
    for kind in [LimitKind::MsgMax, LimitKind::QueuesMax] {
        let error = set_limit(kind, 200).unwrap_err();
        assert!(matches!(error, LimitError::Permission { .. }), "{error}");
        assert!(error.to_string().contains("root"), "{error}");
    }
    let error = set_limit(LimitKind::MessageQueueBytes, 1 << 40).unwrap_err();
    assert!(matches!(error, LimitError::Permission { .. }), "{error}");
    assert!(error.to_string().contains("CAP_SYS_RESOURCE"), "{error}");
    for kind in [LimitKind::SemaphoreValue, LimitKind::SharedMemory, LimitKind::OpenFiles] {
        assert!(matches!(set_limit(kind, 1), Err(LimitError::NotSettable { .. })));
    }
    assert_eq!(value(LimitKind::MsgMax), LimitValue::Number(100));
    say("done");
}

#[test]
fn what_is_used_of_the_bytes_is_exact() {
    let _ = name!("used");
    expect_done(Worker::start("used", &[]));
}

fn part_used(_: &[String]) {
    leave_ipc_namespace();
    become_user(own_uid());
    let used = || limit(LimitKind::MessageQueueBytes).used;
    assert_eq!(used(), LimitUse::Exactly(0));
    let mut queues = Vec::new();
    let mut charged = 0;
    for (number, (capacity, size)) in [(10u64, 8192u64), (1, 1), (3, 77), (10, 8192)].into_iter().enumerate() {
        let mut options = MessageQueue::options();
        let queue =
            options.capacity(capacity as u32).message_size(size).create_new(format!("/chappe-test-{number}")).unwrap();
        queues.push(queue);
        charged += capacity * (size + 48) + capacity * 48;
        assert_eq!(used(), LimitUse::Exactly(charged));
    }
    // Under a limit that is full, as it was found out with another limit than this process's.
    set_limit(LimitKind::MessageQueueBytes, 10).unwrap();
    assert_eq!(used(), LimitUse::Exactly(charged));
    (0..4).for_each(|number| MessageQueue::unlink(format!("/chappe-test-{number}")).unwrap());
    assert_eq!(used(), LimitUse::Exactly(charged), "they are open still");
    drop(queues);
    assert_eq!(used(), LimitUse::Exactly(0));
    // SAFETY: it has no conditions, and there must be no child that was not waited for.
    assert_eq!(unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) }, -1);
    say("done");
}

#[test]
fn every_limit_has_a_value_a_meaning_and_a_way() {
    let all = limits();
    assert!(all.iter().map(|limit| limit.kind).eq(LimitKind::ALL));
    for limit in &all {
        assert!(!limit.kind.meaning().is_empty() && !limit.kind.change().is_empty());
        assert_eq!(LimitKind::from_word(limit.kind.word()), Some(limit.kind));
    }
    assert_eq!(limit(LimitKind::SemaphoreValue).value, LimitValue::Number(2_147_483_647));
    let memory = limit(LimitKind::SharedMemory);
    match (memory.value, memory.used) {
        (LimitValue::Number(all), LimitUse::Exactly(used)) => assert!(used <= all),
        (LimitValue::Unlimited, LimitUse::Unknown(_)) => {}
        other => panic!("{other:?}"),
    }
    let LimitUse::Exactly(open) = limit(LimitKind::OpenFiles).used else { panic!("/proc is there") };
    assert!(open >= 3);
    let _ = name!("limits");
    for kind in [LimitKind::MsgMax, LimitKind::MsgsizeMax, LimitKind::QueuesMax] {
        let text = std::fs::read_to_string(format!("/proc/sys/fs/mqueue/{kind}")).unwrap();
        assert_eq!(limit(kind).value, LimitValue::Number(text.trim().parse().unwrap()));
    }
}
