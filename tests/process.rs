//! The queue among real processes: streaming, waking, forking, dying, pid namespaces, a full file system.
//!
//! Processes die here at moments that matter to people; at *every* moment they die in `kill.rs`, at random ones in
//! `random_kill.rs`. What needs a right that the machine does not give is skipped, and says so.

mod common;

use chappe::{Batch, OpenError, Queue, QueueOptions, RecvError, SendError};
use common::mount::{give_room, mount_small, take_room, unshare};
use common::{NET, Worker, asleep, fork, hear, identify, payload, reap, say, scratch, until};
use std::collections::HashSet;
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough to copy that the moment "is being copied" can be seen and hit.
const HUGE: usize = 64 << 20;

#[test]
fn role() {
    common::play(&[
        ("send", part_send),
        ("receive", part_receive),
        ("create", part_create),
        ("ephemeral", part_ephemeral),
        ("forked", part_forked),
        ("forked huge", part_forked_huge),
        ("opens and forks", part_opens_and_forks),
        ("number of another", part_number_of_another),
        ("cancelled", part_cancelled),
        ("name byte", part_name_byte),
        ("exec", part_exec),
        ("signal", part_signal),
        ("interrupted", part_interrupted),
        ("stranger", part_stranger),
        ("few descriptors", part_few_descriptors),
        ("closed", part_closed),
        ("namespace", part_namespace),
        ("small", part_small),
    ]);
}

fn options(dir: &Path) -> QueueOptions {
    let mut options = Queue::options();
    options.dir(dir);
    options
}

/// A queue and its directory, for the test's own handle and for the parts that it starts.
struct Fixture {
    dir: tempfile::TempDir,
    queue: Queue,
}

impl Fixture {
    fn new(capacity: u32, message_size: u64) -> Fixture {
        let dir = scratch();
        let queue = options(dir.path()).capacity(capacity).message_size(message_size).create_new("/q").unwrap();
        Fixture { dir, queue }
    }

    fn path(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    /// A part that gets the directory and these arguments, and has the queue open when this returns.
    fn start(&self, part: &str, arguments: &[&str]) -> Worker {
        let mut worker = Worker::start(part, &[&[self.path()], arguments].concat());
        worker.expect("ready");
        worker
    }

    fn recv_blocked(&self) -> u64 {
        self.queue.stat().unwrap().counters.recv_blocked
    }

    fn send_blocked(&self) -> u64 {
        self.queue.stat().unwrap().counters.send_blocked
    }

    /// Waits until as many receives as this have slept, and this process sleeps.
    fn until_receiver_sleeps(&self, before: u64, worker: &Worker) {
        until("the receiver sleeps", || self.recv_blocked() > before && asleep(worker.pid()));
    }

    fn until_sender_sleeps(&self, before: u64, worker: &Worker) {
        until("the sender sleeps", || self.send_blocked() > before && asleep(worker.pid()));
    }
}

/// `send DIR FROM COUNT LENGTH`: on each line heard, sends COUNT messages with ids from FROM on, and says "sent".
fn part_send(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    let [from, count, length] = [1, 2, 3].map(|index| arguments[index].parse::<u64>().unwrap());
    say("ready");
    loop {
        hear();
        for id in from..from + count {
            queue.send(&payload(id, length as usize), 0).unwrap();
        }
        say("sent");
    }
}

/// `receive DIR COUNT`: on each line heard, receives COUNT messages and says their ids and how often the last one had
/// been in dead hands.
fn part_receive(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    let count: usize = arguments[1].parse().unwrap();
    say("ready");
    loop {
        hear();
        let messages: Vec<_> = (0..count).map(|_| queue.recv().unwrap()).collect();
        let ids: Vec<_> = messages.iter().map(|m| identify(&m.data).expect("whole").to_string()).collect();
        say(format!("{} redelivered {}", ids.join(" "), messages.last().map_or(0, |m| m.redelivered)));
    }
}

// ---- streaming and waking ----

#[test]
fn two_processes_stream_in_order() {
    for (capacity, count, length) in [(1, 500, 16), (16, 20_000, 16), (1024, 20_000, 64), (16, 2000, 5000)] {
        let fixture = Fixture::new(capacity, 8192);
        let mut sender = fixture.start("send", &["0", &count.to_string(), &length.to_string()]);
        sender.tell("go");
        for id in 0..count {
            let message = fixture.queue.recv_timeout(NET).unwrap();
            assert_eq!(identify(&message.data), Some(id), "capacity {capacity}, {length} bytes");
        }
        sender.expect("sent");
        assert!(fixture.queue.is_empty().unwrap());
    }
}

#[test]
fn eight_senders_and_eight_receivers_lose_nothing() {
    let fixture = Fixture::new(32, 256);
    let from = |number: u64| (number * 1000).to_string();
    let mut receivers: Vec<_> = (0..8).map(|_| fixture.start("receive", &["1000"])).collect();
    let mut senders: Vec<_> = (0..8).map(|number| fixture.start("send", &[&from(number), "1000", "100"])).collect();
    senders.iter_mut().chain(&mut receivers).for_each(|worker| worker.tell("go"));
    let mut seen = HashSet::new();
    for receiver in &mut receivers {
        let text = receiver.answer();
        let (ids, _) = text.split_once(" redelivered").unwrap();
        let ids: Vec<u64> = ids.split(' ').map(|id| id.parse().unwrap()).collect();
        for sender in 0..8 {
            assert!(ids.iter().filter(|id| **id / 1000 == sender).is_sorted(), "sender {sender}'s came out of order");
        }
        ids.iter().for_each(|id| assert!(seen.insert(*id), "message {id} came twice"));
    }
    assert_eq!(seen.len(), 8000);
    senders.iter_mut().for_each(|sender| sender.expect("sent"));
    assert!(fixture.queue.is_empty().unwrap());
}

/// A lost wake-up would be healed by the half-second look after the dead; half of that tells one from the other.
const HEALED: Duration = Duration::from_millis(250);

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn a_sleeping_receiver_is_woken_by_another_process() {
    let fixture = Fixture::new(4, 64);
    let mut receiver = fixture.start("receive", &["1"]);
    let times = (0..15).map(|id| {
        let before = fixture.recv_blocked();
        receiver.tell("go");
        fixture.until_receiver_sleeps(before, &receiver);
        let start = Instant::now();
        fixture.queue.send(&payload(id, 32), 0).unwrap();
        receiver.expect(&format!("{id} redelivered 0"));
        start.elapsed()
    });
    let median = median(times.collect());
    assert!(median < HEALED, "the wake-ups took {median:?} in the median: they came from the net");
}

#[test]
fn a_sleeping_sender_is_woken_by_another_process() {
    let fixture = Fixture::new(1, 64);
    fixture.queue.send(&payload(0, 32), 0).unwrap();
    let mut sender = fixture.start("send", &["0", "1", "32"]);
    let times = (0..15).map(|_| {
        let before = fixture.send_blocked();
        sender.tell("go");
        fixture.until_sender_sleeps(before, &sender);
        let start = Instant::now();
        fixture.queue.recv().unwrap();
        sender.expect("sent");
        start.elapsed()
    });
    let median = median(times.collect());
    assert!(median < HEALED, "the wake-ups took {median:?} in the median: they came from the net");
}

#[test]
fn a_sleeping_receiver_uses_no_processor() {
    let fixture = Fixture::new(4, 64);
    let mut receiver = fixture.start("receive", &["1"]);
    receiver.tell("go");
    fixture.until_receiver_sleeps(0, &receiver);
    let seconds = 3;
    let before = switches(receiver.pid());
    thread::sleep(Duration::from_secs(seconds));
    let woken = switches(receiver.pid()) - before;
    // Two a second, and one more for each end of the interval.
    assert!(woken <= 2 * seconds + 2, "{woken} wake-ups in {seconds} seconds");
}

/// How often a process went to sleep so far.
fn switches(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn a_signal_handler_interrupts_nothing() {
    let fixture = Fixture::new(1, 64);
    let mut worker = fixture.start("signal", &[]);
    let before = fixture.recv_blocked();
    worker.tell("go");
    let thread: i32 = worker.answer().parse().unwrap();
    fixture.until_receiver_sleeps(before, &worker);
    for count in 1..=20 {
        // To the thread that waits: a signal to the process may come to another one.
        // SAFETY: it takes numbers.
        let sent = unsafe { libc::syscall(libc::SYS_tgkill, worker.pid() as i32, thread, libc::SIGUSR1) };
        assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
        worker.expect(&format!("signal {count}"));
        until("it sleeps again", || asleep(worker.pid()));
    }
    fixture.queue.send(b"message", 0).unwrap();
    worker.expect("received");
    worker.finish();
}

/// Installs a handler, which may only do what is async-signal-safe; system calls that it interrupts are not restarted.
fn on_sigusr1(handler: extern "C" fn(i32)) {
    // SAFETY: a C struct of numbers; all-zero means no flags (above all, not to restart system calls) and an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: the handler only does what a handler may do, and the struct lives through the call.
    let installed = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
    assert_eq!(installed, 0);
}

/// Waits for a message while signals come, each of which says so.
fn part_signal(arguments: &[String]) {
    extern "C" fn on_signal(_: i32) {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Async-signal-safe: two digits into a buffer on the stack, and one write.
        let text = [b"@signal ".as_slice(), &[b'0' + (count / 10) as u8, b'0' + (count % 10) as u8], b"\n"];
        let mut line = [0; 16];
        let mut length = 0;
        for byte in text.into_iter().flatten().filter(|byte| count >= 10 || **byte != b'0') {
            line[length] = *byte;
            length += 1;
        }
        // SAFETY: `length` bytes of the buffer are initialised, and it lives through the call.
        unsafe { libc::write(1, line.as_ptr().cast(), length) };
    }
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    on_sigusr1(on_signal);
    say("ready");
    hear();
    say(rustix::thread::gettid().as_raw_nonzero());
    assert_eq!(queue.recv_timeout(NET).unwrap().data, b"message");
    say("received");
}

fn signal(pid: u32, number: i32) {
    // SAFETY: it takes two numbers.
    let sent = unsafe { libc::kill(pid as i32, number) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

// ---- creating ----

#[test]
fn of_sixteen_processes_that_race_to_create_one_creates() {
    for round in 0..5 {
        let dir = scratch();
        let path = dir.path().to_str().unwrap();
        let mut workers: Vec<_> = (0..16).map(|number| Worker::start("create", &[path, &number.to_string()])).collect();
        workers.iter_mut().for_each(|worker| worker.expect("ready"));
        workers.iter_mut().for_each(|worker| worker.tell("go"));
        let answers: Vec<_> = workers.iter_mut().map(Worker::answer).collect();
        workers.into_iter().for_each(Worker::finish);
        assert_eq!(answers.iter().filter(|answer| *answer == "created").count(), 1, "round {round}: {answers:?}");
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 1, "round {round}: more than the queue was left");
        let queue = options(dir.path()).open("/q").unwrap();
        let numbers: HashSet<u64> = (0..16).map(|_| identify(&queue.try_recv().unwrap().data).unwrap()).collect();
        assert_eq!((numbers.len(), queue.len().unwrap()), (16, 0), "all are in one queue");
        assert_eq!(queue.stat().unwrap().participants.len(), 1);
    }
}

/// Tries to create, then opens what there is and sends its number.
fn part_create(arguments: &[String]) {
    let options = options(Path::new(&arguments[0]));
    say("ready");
    hear();
    let word = match options.create_new("/q") {
        Ok(_) => "created",
        Err(OpenError::Exists { .. }) => "exists",
        Err(error) => panic!("{error}"),
    };
    options.create("/q").unwrap().send(&payload(arguments[1].parse().unwrap(), 8), 0).unwrap();
    say(word);
}

#[test]
fn an_ephemeral_queue_goes_when_its_creator_is_killed() {
    for round in 0..3 {
        let dir = scratch();
        let mut creator = Worker::start("ephemeral", &[dir.path().to_str().unwrap()]);
        creator.expect("ready");
        let guest = options(dir.path()).open("/q").unwrap();
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| guest.recv());
            until("the receiver sleeps", || guest.stat().unwrap().counters.recv_blocked > 0);
            creator.kill();
            let start = Instant::now();
            assert_eq!(sleeper.join().unwrap(), Err(RecvError::Unlinked));
            assert!(start.elapsed() < NET);
            println!("round {round}: a blocked guest learned of it after {:?}", start.elapsed());
        });
        assert!(matches!(options(dir.path()).open("/q"), Err(OpenError::NotFound { .. })));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(guest.send(b"x", 0), Err(SendError::Unlinked));
    }
}

/// Who looked after the dead waited for whoever had the byte of the name, and every fork, opening and closing of the process waited for
/// him: for ever, if somebody who may only read the file keeps the byte.
#[test]
fn a_name_byte_that_is_kept_stops_nobody_who_looks_after_the_dead() {
    let dir = scratch();
    let path = dir.path().to_str().unwrap();
    let mut creator = Worker::start("ephemeral", &[path]);
    creator.expect("ready");
    let mut guest = Worker::start("name byte", &[path]);
    guest.expect("ready");
    let file = dir.path().join("chappe.mq.q");
    let keeps = std::fs::File::open(&file).unwrap();
    let byte = libc::flock {
        l_type: libc::F_RDLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: (1 << 62) + 4096,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the lock is a valid flock.
    assert_eq!(unsafe { libc::fcntl(keeps.as_raw_fd(), libc::F_OFD_SETLK, &raw const byte) }, 0);
    creator.kill();
    assert_eq!(guest.ask("go"), "Err(Unlinked)");
    guest.expect("forked");
    guest.finish();
    assert!(file.exists(), "the name goes when the byte is to be had");
    drop(keeps);
    assert!(matches!(options(dir.path()).open("/q"), Err(OpenError::NotFound { .. })));
    assert!(!file.exists());
}

fn part_name_byte(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    say("ready");
    hear();
    say(format!("{:?}", queue.recv_timeout(NET).map(drop)));
    assert_eq!(reap(fork(|| ())), 0);
    say("forked");
}

/// Each death in the middle of a call wakes one who sleeps, so that wakes are not lost. The one who was woken went to sleep again
/// without having looked after the dead, as often as it was woken.
#[test]
fn deaths_one_after_the_other_do_not_keep_sleepers_from_looking_after_the_dead() {
    let dir = scratch();
    let mut creator = Worker::start("ephemeral", &[dir.path().to_str().unwrap()]);
    creator.expect("ready");
    let guest = options(dir.path()).open("/q").unwrap();
    let wake = will_of(&dir.path().join("chappe.mq.q"));
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| guest.recv_timeout(NET));
        until("the receiver sleeps", || guest.stat().unwrap().counters.recv_blocked > 0);
        creator.kill();
        while !sleeper.is_finished() {
            wake();
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(sleeper.join().unwrap(), Err(RecvError::Unlinked));
    });
}

/// Wakes one who sleeps on the word of a queue that the kernel wakes at a death: see `docs/format.md`.
fn will_of(path: &Path) -> impl Fn() + use<> {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at a place that the kernel chooses; it stays until the process ends.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    assert_ne!(page, libc::MAP_FAILED);
    let will = page.addr() + 656;
    move || {
        // SAFETY: it takes an address, of an aligned word that is mapped for good, and numbers.
        let woken = unsafe { libc::syscall(libc::SYS_futex, will, libc::FUTEX_WAKE, 1) };
        assert!(woken >= 0, "{}", std::io::Error::last_os_error());
    }
}

#[test]
fn an_ephemeral_queue_of_a_killed_creator_is_drained_first() {
    let dir = scratch();
    let mut creator = Worker::start("ephemeral", &[dir.path().to_str().unwrap()]);
    creator.expect("ready");
    let guest = options(dir.path()).open("/q").unwrap();
    guest.send(b"one", 0).unwrap();
    guest.send(b"two", 0).unwrap();
    creator.kill();
    assert!(matches!(options(dir.path()).open("/q"), Err(OpenError::NotFound { .. })), "whoever opens, learns");
    assert!(chappe::list(dir.path()).unwrap().is_empty());
    assert_eq!(guest.recv().unwrap().data, b"one");
    assert_eq!(guest.recv().unwrap().data, b"two");
    assert_eq!(guest.recv(), Err(RecvError::Unlinked));
    let successor = options(dir.path()).create_new("/q").unwrap();
    successor.send(b"new", 0).unwrap();
    assert_eq!(successor.recv().unwrap().data, b"new");
}

/// Signals that come faster than the bound of a sleep cut every sleep short: the dead have to be looked after all the same.
#[test]
fn a_receiver_that_is_interrupted_all_the_time_learns_of_a_death() {
    let dir = scratch();
    let mut creator = Worker::start("ephemeral", &[dir.path().to_str().unwrap()]);
    creator.expect("ready");
    let mut guest = Worker::start("interrupted", &[dir.path().to_str().unwrap()]);
    let looker = options(dir.path()).open("/q").unwrap();
    until("the receiver sleeps", || looker.stat().unwrap().counters.recv_blocked > 0);
    // Nobody else may be there to notice in its place.
    drop(looker);
    creator.kill();
    assert_eq!(guest.answer(), "unlinked");
    guest.finish();
}

fn part_interrupted(arguments: &[String]) {
    extern "C" fn on_signal(_: i32) {}
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    on_sigusr1(on_signal);
    // SAFETY: it has no conditions.
    let receiver = unsafe { libc::pthread_self() };
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(100));
            // SAFETY: the receiving thread lives until the process exits.
            unsafe { libc::pthread_kill(receiver, libc::SIGUSR1) };
        }
    });
    match queue.recv_timeout(NET) {
        Err(RecvError::Unlinked) => say("unlinked"),
        other => say(format!("{other:?}")),
    }
}

#[test]
fn listing_removes_the_names_of_ephemeral_queues_without_creator() {
    let dir = scratch();
    let mut creator = Worker::start("ephemeral", &[dir.path().to_str().unwrap()]);
    creator.expect("ready");
    assert_eq!(chappe::list(dir.path()).unwrap().len(), 1);
    creator.kill();
    assert!(chappe::list(dir.path()).unwrap().is_empty());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

fn part_ephemeral(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).ephemeral(true).create_new("/q").unwrap();
    say("ready");
    hear();
    drop(queue);
}

// ---- dying ----

#[test]
fn receivers_killed_in_their_sleep_take_no_message_and_no_wake_with_them() {
    let fixture = Fixture::new(4, 64);
    let mut survivor = fixture.start("receive", &["1"]);
    for id in 0..8 {
        let before = fixture.recv_blocked();
        let mut victims: Vec<_> = (0..3).map(|_| fixture.start("receive", &["1"])).collect();
        victims.iter_mut().for_each(|victim| victim.tell("go"));
        victims.iter().for_each(|victim| until("it sleeps", || asleep(victim.pid())));
        survivor.tell("go");
        until("all four sleep", || fixture.recv_blocked() >= before + 4 && asleep(survivor.pid()));
        victims.iter_mut().for_each(Worker::kill);
        fixture.queue.send(&payload(id, 32), 0).unwrap();
        survivor.expect(&format!("{id} redelivered 0"));
    }
    assert_eq!(fixture.queue.stat().unwrap().participants.len(), 2, "the dead are not listed");
}

#[test]
fn senders_killed_in_their_sleep_send_nothing_and_take_no_room() {
    let fixture = Fixture::new(2, 64);
    let mut survivor = fixture.start("send", &["77", "1", "32"]);
    for _ in 0..8 {
        while fixture.queue.try_send(b"full", 0).is_ok() {}
        let before = fixture.send_blocked();
        let mut victims: Vec<_> = (0..3).map(|_| fixture.start("send", &["66", "1", "32"])).collect();
        victims.iter_mut().for_each(|victim| victim.tell("go"));
        survivor.tell("go");
        until("all four sleep", || fixture.send_blocked() >= before + 4 && asleep(survivor.pid()));
        victims.iter_mut().for_each(Worker::kill);
        assert_eq!(fixture.queue.recv().unwrap().data, b"full");
        survivor.expect("sent");
        assert_eq!(fixture.queue.recv().unwrap().data, b"full");
        assert_eq!(identify(&fixture.queue.recv().unwrap().data), Some(77));
        assert!(fixture.queue.is_empty().unwrap());
    }
}

#[test]
fn a_huge_message_whose_receiver_is_killed_goes_to_another_one() {
    let fixture = Fixture::new(2, HUGE as u64);
    let (mut redelivered, mut consumed) = (0, 0);
    for id in 0..6 {
        let mut victim = fixture.start("receive", &["1"]);
        let received = fixture.queue.stat().unwrap().counters.received;
        fixture.queue.send(&payload(id, HUGE), 3).unwrap();
        fixture.queue.send(&payload(1000 + id, 16), 3).unwrap();
        victim.tell("go");
        until("it is copying, or done", || {
            let stat = fixture.queue.stat().unwrap();
            stat.being_received == 1 || stat.counters.received > received
        });
        victim.kill();
        assert_eq!(fixture.queue.stat().unwrap().being_received, 0, "who looks, puts in order what the dead left");
        let first = fixture.queue.recv_timeout(NET).unwrap();
        match identify(&first.data).expect("whole") {
            got if got == id => {
                assert_eq!(first.redelivered, 1, "at its old place, and it says where it has been");
                redelivered += 1;
                assert_eq!(identify(&fixture.queue.recv_timeout(NET).unwrap().data), Some(1000 + id));
            }
            got => {
                assert_eq!(got, 1000 + id, "the victim had the huge message, or it is next");
                assert_eq!(fixture.queue.stat().unwrap().counters.received, received + 2);
                consumed += 1;
            }
        }
        let stat = fixture.queue.stat().unwrap();
        assert_eq!((stat.len, stat.being_sent, stat.being_received), (0, 0, 0));
    }
    println!("{redelivered} redelivered, {consumed} consumed before the kill");
    assert!(redelivered > 0, "no kill hit a copy: this run showed nothing");
    assert_eq!(fixture.queue.stat().unwrap().counters.redelivered, redelivered);
}

/// In a queue that is never empty nobody waits, and nobody calls `stat`: the message has to come back all the same.
#[test]
fn a_message_in_dead_hands_comes_back_in_a_busy_queue() {
    let hit = (0..5).any(|_| a_receiver_dies_in_a_busy_queue());
    assert!(hit, "no kill hit a copy: this run showed nothing");
}

/// Whether the kill hit the receiver with the message in its hands.
fn a_receiver_dies_in_a_busy_queue() -> bool {
    let fixture = Fixture::new(4, HUGE as u64);
    fixture.queue.send(&payload(1, HUGE), 9).unwrap();
    fixture.queue.send(&payload(100, 16), 5).unwrap();
    let mut victim = fixture.start("receive", &["1"]);
    victim.tell("go");
    until("it is copying, or done", || {
        let stat = fixture.queue.stat().unwrap();
        stat.being_received == 1 || stat.counters.received == 1
    });
    victim.kill();
    let start = Instant::now();
    for id in 101.. {
        fixture.queue.send(&payload(id, 16), 5).unwrap();
        let message = fixture.queue.recv().unwrap();
        if identify(&message.data) == Some(1) {
            assert_eq!(message.redelivered, 1);
            return true;
        }
        if start.elapsed() > Duration::from_secs(5) {
            let late = fixture.queue.stat().unwrap().counters.redelivered;
            assert_eq!(late, 0, "{id} messages of lower priority went by, then `stat` brought it back");
            return false;
        }
    }
    unreachable!("it returns")
}

#[test]
fn a_huge_message_whose_sender_is_killed_was_never_sent() {
    let fixture = Fixture::new(1, HUGE as u64);
    let mut hits = 0;
    for id in 0..6 {
        let mut victim = fixture.start("send", &[&id.to_string(), "1", &HUGE.to_string()]);
        victim.tell("go");
        until("it is copying, or done", || {
            let stat = fixture.queue.stat().unwrap();
            stat.being_sent == 1 || stat.len == 1
        });
        victim.kill();
        if fixture.queue.len().unwrap() == 0 {
            hits += 1;
            fixture.queue.send_timeout(&payload(99, 16), 0, NET).expect("the room that the dead one had");
            assert_eq!(identify(&fixture.queue.recv().unwrap().data), Some(99));
        } else {
            assert_eq!(identify(&fixture.queue.recv().unwrap().data), Some(id), "whole or not at all");
        }
        let stat = fixture.queue.stat().unwrap();
        assert_eq!((stat.len, stat.being_sent, stat.being_received), (0, 0, 0));
    }
    assert!(hits > 0, "no kill hit a copy: this run showed nothing");
}

#[test]
fn places_of_killed_participants_are_used_again() {
    let fixture = Fixture::new(8, 64);
    for _ in 0..40 {
        let mut worker = fixture.start("receive", &["1"]);
        assert_eq!(fixture.queue.stat().unwrap().participants.len(), 2);
        worker.kill();
        assert_eq!(fixture.queue.stat().unwrap().participants.len(), 1);
    }
    let attach_high = u32::from_le_bytes(
        std::fs::read(fixture.dir.path().join("chappe.mq.q")).unwrap()[336..340].try_into().unwrap(),
    );
    assert!(attach_high <= 3, "forty processes, one after the other, used {attach_high} places");
}

// ---- fork and exec ----

#[test]
fn a_forked_child_is_a_participant_of_its_own() {
    let fixture = Fixture::new(8, 64);
    let mut parent = fixture.start("forked", &[]);
    let (child, listed) = (parent.answer(), parent.answer());
    assert!(listed.split(' ').any(|pid| pid == child), "the child {child} is not among the participants {listed}");
    assert!(listed.split(' ').any(|pid| pid == parent.pid().to_string()), "nor may it replace its parent: {listed}");
    assert_eq!(listed.split(' ').count(), 3, "{listed}");
    parent.finish();
    assert_eq!(fixture.queue.recv().unwrap().data, b"from the child");
    assert_eq!(fixture.queue.recv().unwrap().data, b"from the parent");
    assert_eq!(fixture.queue.stat().unwrap().participants.len(), 1);
}

fn part_forked(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    say("ready");
    let child = fork(|| {
        queue.send(b"from the child", 5).unwrap();
        say(std::process::id());
        let participants = queue.stat().unwrap().participants;
        say(participants.iter().map(|one| one.pid.to_string()).collect::<Vec<_>>().join(" "));
    });
    assert_eq!(reap(child), 0);
    queue.send(b"from the parent", 4).unwrap();
}

/// The child holds copies of its parent's descriptors; the parent must be seen to be dead all the same, also by a child
/// that has not used the queue since the fork.
#[test]
fn a_child_does_not_keep_its_dead_parent_alive() {
    for first_use in ["before", "after"] {
        let hit = (0..10).any(|_| a_parent_dies_before_its_child(first_use));
        assert!(hit, "no kill hit a copy: this run showed nothing");
    }
}

/// Whether the kill hit the parent in its send; the queue must be usable in any case.
fn a_parent_dies_before_its_child(first_use: &str) -> bool {
    let fixture = Fixture::new(1, HUGE as u64);
    let mut parent = fixture.start("forked huge", &[first_use]);
    parent.expect("forked");
    until("the parent is copying", || fixture.queue.stat().unwrap().being_sent == 1);
    parent.kill();
    let hit = fixture.queue.try_recv().is_err();
    let sent = fixture.queue.send_timeout(&payload(5, 16), 0, NET);
    assert_eq!(sent, Ok(()), "the room that the dead parent had: {:#?}", fixture.queue.stat());
    parent.tell("go");
    parent.expect("5");
    let stat = fixture.queue.stat().unwrap();
    assert_eq!((stat.len, stat.being_sent, stat.being_received), (0, 0, 0));
    hit
}

/// Forks a child that receives one message when told; sends a huge one itself, in which it is to be killed.
fn part_forked_huge(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    say("ready");
    fork(|| {
        if arguments[1] == "before" {
            assert!(queue.is_empty().unwrap());
        }
        say("forked");
        hear();
        say(identify(&queue.recv_timeout(NET).unwrap().data).expect("whole"));
    });
    let huge = payload(1, HUGE);
    loop {
        queue.send(&huge, 0).unwrap();
        queue.try_recv().unwrap();
    }
}

/// A fork in the moment between another thread's opening of the file and its entry in the list of those that a child is given anew: the
/// child shared the description, and kept the byte that was taken on it, and with it the parent alive.
#[test]
fn a_fork_while_another_thread_opens_shares_no_byte() {
    let fixture = Fixture::new(8, 64);
    let mut worker = fixture.start("opens and forks", &[]);
    worker.expect("0 of 400");
}

/// Forks while another thread opens and closes the queue; each child stays until all has been opened that was being opened, and then
/// looks which byte locks its descriptors have.
fn part_opens_and_forks(arguments: &[String]) {
    let (opened, over) = (&AtomicU32::new(0), &AtomicBool::new(false));
    let dir = Path::new(&arguments[0]);
    say("ready");
    let mut sharing = 0;
    thread::scope(|scope| {
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                drop(options(dir).open("/q").unwrap());
                opened.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..400 {
            let (mut go, mut goes) = std::io::pipe().unwrap();
            let child = fork(|| {
                _ = go.read_exact(&mut [0]);
                let locked = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
                let locked = locked.filter_map(|info| std::fs::read_to_string(info.path()).ok());
                let count = locked.filter(|text| text.contains("OFDLCK")).count();
                // SAFETY: it takes a number.
                unsafe { libc::_exit(i32::from(count > 0)) }
            });
            let before = opened.load(Ordering::Relaxed);
            until("it has opened twice", || opened.load(Ordering::Relaxed) >= before + 2);
            goes.write_all(b"x").unwrap();
            sharing += u32::from(reap(child) != 0);
        }
        over.store(true, Ordering::Relaxed);
    });
    say(format!("{sharing} of 400"));
}

/// The child's descriptions are made anew under the numbers that the queue's files had; one of them was a program's own socket by
/// then, which became `/dev/null` in the child.
#[test]
fn a_number_that_leads_elsewhere_is_left_alone_in_a_fork_child() {
    let fixture = Fixture::new(8, 64);
    let mut worker = fixture.start("number of another", &[]);
    worker.expect("the child has it; the call: Err(System(9))");
}

fn part_number_of_another(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    let leads_there = |fd: &i32| {
        std::fs::read_link(format!("/proc/self/fd/{fd}"))
            .is_ok_and(|link| link.to_string_lossy().contains("chappe.mq."))
    };
    let number = (3..100).find(leads_there).expect("the queue's descriptor");
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    // SAFETY: both are open; this is what a program does that closes what is not its own, and opens something else.
    assert_eq!(unsafe { libc::dup2(ours.as_raw_fd(), number) }, number);
    say("ready");
    let child = fork(|| {
        let link = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        let has_it = link(number) == link(ours.as_raw_fd());
        let call = queue.len();
        say(format!("the child {} it; the call: {:?}", if has_it { "has" } else { "lacks" }, call.map(drop)));
    });
    assert_eq!(reap(child), 0);
    drop((ours, theirs));
    // The number has an owner already.
    std::mem::forget(queue);
}

/// A first call in a fork child attaches, and looked up the command's name by calls that a pending cancellation acts at: in the middle of
/// the library.
#[test]
fn the_first_call_in_a_fork_child_is_no_cancellation_point() {
    let fixture = Fixture::new(8, 64);
    let mut worker = fixture.start("cancelled", &[]);
    worker.expect("Ok(())");
    worker.finish();
    assert_eq!(fixture.queue.len().unwrap(), 1);
}

fn part_cancelled(arguments: &[String]) {
    unsafe extern "C" {
        fn pthread_setcancelstate(state: libc::c_int, old: *mut libc::c_int) -> libc::c_int;
    }
    const PTHREAD_CANCEL_DISABLE: libc::c_int = 1;
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    say("ready");
    let child = fork(|| {
        // SAFETY: it takes nothing.
        let own = unsafe { libc::pthread_self() };
        // SAFETY: it is the calling thread, which lives.
        let asked = unsafe { libc::pthread_cancel(own) };
        let sent = queue.try_send(b"x", 0);
        // SAFETY: it takes a number, and a place that may be null.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, std::ptr::null_mut()) };
        assert_eq!(asked, 0);
        say(format!("{sent:?}"));
    });
    assert_eq!(reap(child), 0);
}

#[test]
fn a_program_started_by_a_participant_does_not_keep_it_alive() {
    let fixture = Fixture::new(8, 64);
    let mut worker = fixture.start("exec", &[]);
    assert_eq!(fixture.queue.stat().unwrap().participants.len(), 2);
    worker.kill();
    assert_eq!(fixture.queue.stat().unwrap().participants.len(), 1);
}

/// Starts a program that lives until its input ends, which is later than this process does.
fn part_exec(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    let mut program = std::process::Command::new("cat").spawn().expect("cat");
    say("ready");
    program.wait().expect("its end");
    drop(queue);
}

// ---- rights and limits ----

#[test]
fn a_stranger_is_refused_with_a_way_out() {
    let fixture = Fixture::new(8, 64);
    let open = options(fixture.dir.path()).mode(0o666).create_new("/open").unwrap();
    let mut worker = Worker::start("stranger", &[fixture.path()]);
    let answer = worker.answer();
    if let Some(reason) = answer.strip_prefix("skip ") {
        println!("skipped: {reason}");
        return;
    }
    assert!(answer.contains("mode") || answer.contains("CHAPPE_DIR"), "the way out belongs into {answer:?}");
    worker.finish();
    assert_eq!(open.try_recv().unwrap().data, b"from a stranger");
}

/// As another user: the private queue is refused, the open one works.
fn part_stranger(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    let path = CString::new(arguments[0].as_str()).unwrap();
    // SAFETY: the path is a C string that lives through the call; the directory must let a stranger in.
    let opened = unsafe { libc::chmod(path.as_ptr(), 0o755) };
    // SAFETY: it takes a number.
    let changed = unsafe { libc::setuid(65_534) };
    if opened != 0 || changed != 0 {
        say(format!("skip becoming another user: {}", std::io::Error::last_os_error()));
        return;
    }
    let error = options(dir).open("/q").unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::PermissionDenied), "{error}");
    options(dir).open("/open").unwrap().send(b"from a stranger", 0).unwrap();
    say(error);
}

#[test]
fn descriptors_that_run_out_are_an_error_of_open_only() {
    let fixture = Fixture::new(8, 64);
    let worker = fixture.start("few descriptors", &[]);
    worker.finish();
    assert_eq!(fixture.queue.try_recv().unwrap().data, b"still works");
    assert_eq!(fixture.queue.stat().unwrap().participants.len(), 1);
}

fn part_few_descriptors(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    say("ready");
    let limit = libc::rlimit { rlim_cur: 24, rlim_max: 24 };
    // SAFETY: the limit lives through the call.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(limited, 0);
    let mut handles = Vec::new();
    let error = loop {
        match options(dir).open("/q") {
            Ok(queue) => handles.push(queue),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&error, OpenError::System { source, .. } if source.raw_os_error() == Some(libc::EMFILE)),
        "{error}"
    );
    assert!(error.to_string().contains("ulimit"), "the way out belongs into {error}");
    assert!(options(dir).create_new("/another").is_err());
    assert!(!dir.join("chappe.mq.another").exists());
    handles[0].send(b"still works", 0).unwrap();
    assert_eq!(handles[0].len().unwrap(), 1);
}

/// `closed DIR FILE`: closes all descriptors, as some daemons do, opens FILE as often as the numbers are used again, and says how
/// calls end then.
fn part_closed(arguments: &[String]) {
    let queue = options(Path::new(&arguments[0])).open("/q").unwrap();
    // SAFETY: it takes numbers; what is closed here is the subject.
    let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    assert_eq!(closed, 0);
    let again = || std::fs::File::options().read(true).write(true).open(&arguments[1]).unwrap();
    let files: Vec<std::fs::File> = (0..20).map(|_| again()).collect();
    say("ready");
    match hear().as_str() {
        "look" => {
            say(format!("{:?}", queue.recv_timeout(Duration::from_millis(700)).map(drop)));
            say(format!("{:?}", queue.stat().map(drop)));
        }
        // Whatever comes of it; what matters is what does not.
        _ => {
            let received = (0..16).filter(|_| queue.try_recv().is_ok()).count();
            let sent = (0..4).filter(|id| queue.try_send(&payload(*id, 1 << 20), 0).is_ok()).count();
            say(format!("received {received}, sent {sent}, purged {:?}", queue.purge()));
        }
    }
    hear();
    // Each has an owner already.
    files.into_iter().for_each(std::mem::forget);
    std::mem::forget(queue);
}

/// On the other file all bytes are free, so all participants seemed to be dead: what one of them was receiving was given to another.
#[test]
fn a_descriptor_that_leads_elsewhere_takes_nothing_from_the_living() {
    let hit = (0..20).any(|_| somebody_closes_descriptors_while_another_receives());
    assert!(hit, "no stop hit a copy: this run showed nothing");
}

/// Whether the other one was stopped in its copy.
fn somebody_closes_descriptors_while_another_receives() -> bool {
    let fixture = Fixture::new(4, HUGE as u64);
    fixture.queue.send(&payload(1, HUGE), 0).unwrap();
    let mut closed = fixture.start("closed", &["/dev/null"]);
    let mut receiver = fixture.start("receive", &["1"]);
    receiver.tell("go");
    until("it is copying, or done", || {
        let stat = fixture.queue.stat().unwrap();
        stat.being_received == 1 || stat.counters.received == 1
    });
    signal(receiver.pid(), libc::SIGSTOP);
    until("it is stopped, or done", || stopped(receiver.pid()));
    let hit = fixture.queue.stat().is_ok_and(|stat| stat.being_received == 1);
    if hit {
        assert_eq!(closed.ask("look"), "Err(System(9))");
        closed.expect("Err(System(9))");
        let stat = fixture.queue.stat().unwrap();
        assert_eq!((stat.being_received, stat.counters.redelivered), (1, 0), "{stat:#?}");
    }
    signal(receiver.pid(), libc::SIGCONT);
    receiver.expect("1 redelivered 0");
    let stat = fixture.queue.stat().unwrap();
    assert_eq!((stat.len, stat.being_received, stat.counters.redelivered), (0, 0, 0), "{stat:#?}");
    hit
}

/// Whether all its threads are stopped.
fn stopped(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let mut stats = tasks.map(|task| std::fs::read_to_string(task.path().join("stat")).unwrap_or_default());
    stats.all(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T')))
}

/// The pages of a large message that was received are given back, and those of one that is sent are reserved: in the queue's file,
/// not in another.
#[test]
fn a_descriptor_that_leads_elsewhere_changes_nothing_there() {
    const LARGE: usize = 1 << 20;
    let fixture = Fixture::new(16, LARGE as u64);
    let innocent = fixture.dir.path().join("innocent");
    let content = vec![0x55; 20 * LARGE];
    std::fs::write(&innocent, &content).unwrap();
    (0..16).for_each(|id| fixture.queue.send(&payload(id, LARGE), 0).unwrap());
    let mut closed = fixture.start("closed", &[innocent.to_str().unwrap()]);
    println!("{}", closed.ask("use"));
    closed.tell("enough");
    closed.finish();
    let now = std::fs::read(&innocent).unwrap();
    let changed = now.iter().filter(|byte| **byte != 0x55).count();
    assert!(now == content, "{changed} bytes of the other file were changed");
}

// ---- pid namespaces ----

/// A process that is pid 1 of a pid namespace of its own, and how it is called outside; `None` if that is not allowed here.
fn start_in_namespace(fixture: &Fixture) -> Option<(Worker, u32)> {
    let mut worker = Worker::start("namespace", &[fixture.path()]);
    let answer = worker.answer();
    if let Some(reason) = answer.strip_prefix("skip ") {
        println!("skipped: {reason}");
        return None;
    }
    let pid = answer.parse().expect("a pid");
    worker.tell("hello");
    worker.expect("ready 1");
    Some((worker, pid))
}

#[test]
fn processes_that_are_all_pid_1_do_not_take_each_other_for_dead_or_alive() {
    let fixture = Fixture::new(8, HUGE as u64);
    let Some((mut one, one_pid)) = start_in_namespace(&fixture) else { return };
    let Some((mut two, _)) = start_in_namespace(&fixture) else { return };
    let participants = fixture.queue.stat().unwrap().participants;
    let namespaces: HashSet<u64> = participants.iter().map(|one| one.pid_namespace).collect();
    assert_eq!((participants.len(), namespaces.len()), (3, 3), "{participants:?}");
    assert_eq!(participants.iter().filter(|one| one.pid == 1).count(), 2, "{participants:?}");

    // Both work at once: neither robs the other.
    one.tell("send");
    two.tell("receive");
    one.expect("done");
    two.expect("done");

    // One dies with a message in its hands: the other gets it.
    fixture.queue.send(&payload(7, HUGE), 0).unwrap();
    one.tell("take");
    until("it is copying, or done", || {
        let stat = fixture.queue.stat().unwrap();
        stat.being_received == 1 || stat.len == 0
    });
    signal(one_pid, libc::SIGKILL);
    one.ended();
    if fixture.queue.stat().unwrap().len == 0 {
        println!("the victim had consumed its message before the kill");
        fixture.queue.send(&payload(7, HUGE), 0).unwrap();
    }
    two.tell("take");
    two.expect("7");
    assert_eq!(fixture.queue.stat().unwrap().participants.len(), 2);
}

/// The process itself waits outside; its child is the one inside.
fn part_namespace(arguments: &[String]) {
    if let Err(error) = unshare(libc::CLONE_NEWPID) {
        say(format!("skip a pid namespace of its own: {error}"));
        return;
    }
    let child = fork(|| {
        // SAFETY: it takes numbers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        hear();
        inside_a_namespace(Path::new(&arguments[0]));
    });
    say(child);
    let status = reap(child);
    assert!(status == 0 || status == libc::SIGKILL, "the process inside ended with status {status:#x}");
}

fn inside_a_namespace(dir: &Path) {
    let queue = options(dir).open("/q").unwrap();
    say(format!("ready {}", std::process::id()));
    loop {
        match hear().as_str() {
            "send" => (0..5000).for_each(|id| queue.send(&payload(id, 64), 0).unwrap()),
            "receive" => {
                let ids = (0..5000).map(|_| identify(&queue.recv_timeout(NET).unwrap().data).unwrap());
                assert!(ids.eq(0..5000), "out of order");
            }
            "take" => {
                say(identify(&queue.recv_timeout(NET).unwrap().data).expect("whole"));
                continue;
            }
            other => panic!("what is {other:?}?"),
        }
        say("done");
    }
}

// ---- a full file system ----

fn on_a_small_file_system(what: &str) {
    let dir = scratch();
    let mut worker = Worker::start("small", &[dir.path().to_str().unwrap(), what]);
    let answer = worker.answer();
    if let Some(reason) = answer.strip_prefix("skip ") {
        println!("skipped: {reason}");
        return;
    }
    assert_eq!(answer, "mounted");
    worker.finish();
}

#[test]
fn large_messages_that_fill_a_file_system_are_an_error_never_a_signal() {
    on_a_small_file_system("fill");
}

#[test]
fn the_room_of_a_received_message_is_there_for_the_next() {
    on_a_small_file_system("reuse");
}

#[test]
fn every_call_fails_cleanly_on_a_full_file_system() {
    on_a_small_file_system("little room");
}

#[test]
fn a_queue_goes_on_when_its_file_system_has_room_again() {
    on_a_small_file_system("room again");
}

/// Mounts a file system of 1 MiB that nobody else sees, and fills it.
fn part_small(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    if let Err(error) = mount_small(&arguments[0], "size=1M") {
        say(format!("skip a mount of its own: {error}"));
        return;
    }
    say("mounted");
    match arguments[1].as_str() {
        "fill" => large_messages_fill_it(dir),
        "reuse" => large_messages_take_turns(dir),
        "little room" => (0..24).for_each(|pages| everything_fails_cleanly_with_little_room(dir, pages * 4096)),
        _ => the_queue_recovers_when_there_is_room_again(dir),
    }
}

/// A queue with as many messages of 60000 bytes as fit.
fn filled_with_large_messages(dir: &Path) -> (Queue, u64) {
    let queue = options(dir).create_new("/q").unwrap();
    let mut sent = 0;
    let error = loop {
        match queue.try_send(&payload(sent, 60_000), 0) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, SendError::NoSpace);
    assert!(sent >= 8, "only {sent} messages of 60000 bytes fit into 1 MiB");
    (queue, sent)
}

fn large_messages_fill_it(dir: &Path) {
    let (queue, sent) = filled_with_large_messages(dir);
    assert_eq!(queue.send(&payload(99, 60_000), 0), Err(SendError::NoSpace), "waiting would not help");
    let error = queue.send_many(&[(payload(99, 60_000), 0)]).unwrap_err();
    assert_eq!((error.sent, error.error), (0, SendError::NoSpace));
    let stat = queue.stat().unwrap();
    assert_eq!((stat.len, stat.being_sent), (sent, 0), "what was not sent takes no place");
    queue.try_send(b"a small one", 0).expect("a small message needs no space");
    for id in 0..sent {
        assert_eq!(identify(&queue.try_recv().unwrap().data), Some(id));
    }
    assert_eq!(queue.try_recv().unwrap().data, b"a small one");
}

fn large_messages_take_turns(dir: &Path) {
    let (queue, sent) = filled_with_large_messages(dir);
    for lap in 0..3 {
        for id in 0..sent {
            let message = queue.try_recv().unwrap();
            assert_eq!(identify(&message.data), Some(id), "lap {lap}");
            queue.try_send(&message.data, 0).expect("the room that a received message had");
        }
    }
    assert_eq!(queue.purge().unwrap() as u64, sent);
    for id in 0..sent {
        queue.try_send(&payload(id, 60_000), 0).expect("the room that purged messages had");
    }
}

/// With this many bytes left, each call works or says that there is no space, and what was sent comes back.
fn everything_fails_cleanly_with_little_room(dir: &Path, room: usize) {
    let old = options(dir).message_size(10_000).create_new("/old").unwrap();
    take_room(dir, room);
    match options(dir).create_new("/new") {
        Ok(_) => options(dir).unlink("/new").unwrap(),
        Err(error) => {
            assert_eq!(error.io_kind(), Some(std::io::ErrorKind::StorageFull), "{error}");
            assert!(error.to_string().contains("CHAPPE_DIR"), "the way out belongs into {error}");
            assert!(!dir.join("chappe.mq.new").exists());
        }
    }
    let mut sent = Vec::new();
    for id in 0..2000 {
        let priority = (id * 331 % 32_768) as u16;
        match old.try_send(&payload(id, [16, 200, 5000][id as usize % 3]), priority) {
            Ok(()) => sent.push((std::cmp::Reverse(priority), id)),
            Err(SendError::NoSpace | SendError::Full) => {}
            Err(error) => panic!("{room} bytes of room: {error}"),
        }
    }
    let handles: Vec<_> = (0..200).map_while(|_| options(dir).open("/old").ok()).collect();
    assert_eq!(old.len().unwrap(), sent.len(), "{room} bytes of room, {} handles", handles.len());
    assert_eq!(old.peek(3000).unwrap().len(), sent.len());
    sent.sort_unstable();
    let mut batch = Batch::new();
    let mut got = Vec::new();
    while old.try_recv_many(&mut batch, 100).is_ok() {
        got.extend(batch.iter().map(|(data, _)| identify(data).expect("whole")));
    }
    assert!(sent.iter().map(|(_, id)| *id).eq(got), "{room} bytes of room: what was sent is not what came back");
    options(dir).unlink("/old").unwrap();
    give_room(dir);
}

fn the_queue_recovers_when_there_is_room_again(dir: &Path) {
    let queue = options(dir).capacity(200).message_size(64).create_new("/q").unwrap();
    take_room(dir, 0);
    let before = (0..200).filter(|id| queue.try_send(&payload(*id, 64), *id as u16 * 100).is_ok()).count();
    give_room(dir);
    for id in before..200 {
        assert_eq!(queue.try_send(&payload(id as u64, 64), 32_000), Ok(()), "message {id}, {before} came before");
    }
    assert_eq!(queue.try_send(b"over", 0), Err(SendError::Full));
    assert_eq!(queue.purge().unwrap(), 200);
}
