//! Somebody who may write the file of an object shortens it, while others have it mapped. Touching what is gone would be a SIGBUS. What comes of
//! it is an error or a right answer: no call ends the process, hangs, or gives out a message or permit that is none; and the rest of
//! the process, its other objects and its own handling of SIGBUS, is as before.

mod common;

use chappe::{
    Access, AccessError, AcquireError, Batch, Queue, QueueOptions, RecvError, Semaphore, SemaphoreOptions, SendError,
};
use common::{NET, Rng, Worker, asleep, identify, payload, say, scratch, seed, until};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

#[test]
fn role() {
    common::play(&[
        ("own mapping", part_own_mapping),
        ("sent", part_sent),
        ("ignored", part_ignored),
        ("sent to a handler", part_sent_to_a_handler),
        ("one-shot handler", part_one_shot_handler),
        ("own handler", part_own_handler),
        ("receiver", part_receiver),
    ]);
}

const SMALL: usize = 40;
const LARGE: usize = 20_000;

fn queues(dir: &Path) -> QueueOptions {
    let mut options = Queue::options();
    options.dir(dir).capacity(8).message_size(LARGE as u64);
    options
}

fn semaphores(dir: &Path, permits: u64) -> SemaphoreOptions {
    let mut options = Semaphore::options();
    options.dir(dir).permits(permits);
    options
}

fn queue_file(dir: &Path) -> PathBuf {
    dir.join("chappe.mq.q")
}

fn semaphore_file(dir: &Path) -> PathBuf {
    dir.join("chappe.sem.s")
}

fn shorten(path: &Path, length: u64) {
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// Runs something that has to end; a panic in it is passed on.
#[track_caller]
fn ends<T: Send + 'static>(what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = channel();
    let thread = thread::spawn(move || done.send(run()));
    let result = ended.recv_timeout(NET);
    if result.is_err() && thread.is_finished() {
        std::panic::resume_unwind(thread.join().unwrap_err());
    }
    result.unwrap_or_else(|_| panic!("{what} does not end within {NET:?}"))
}

/// Lengths that cut between the areas, inside of them, at the very end and at the very beginning.
fn lengths(whole: u64) -> Vec<u64> {
    let areas = [0, 1, 600, 4096, 8192, 12_288, 16_384, 270_336, 274_432, 278_528, 540_672];
    let last = whole - 4096;
    areas.into_iter().chain([whole / 2, last - 4096, last]).filter(|length| *length < whole).collect()
}

/// A queue with small and large messages, and a second handle.
fn a_queue(dir: &Path) -> (Queue, Queue) {
    let queue = queues(dir).create_new("/q").unwrap();
    for (id, length) in [(1, SMALL), (2, LARGE), (3, SMALL), (4, LARGE)] {
        queue.send(&payload(id, length), id as u16).unwrap();
    }
    let other = queues(dir).open("/q").unwrap();
    assert_eq!(other.len().unwrap(), 4);
    (queue, other)
}

/// An object of the name works again, once the shortened one is gone.
fn a_new_one_works(dir: &Path) {
    queues(dir).unlink("/q").unwrap();
    let queue = queues(dir).create_new("/q").unwrap();
    queue.send(&payload(7, LARGE), 3).unwrap();
    assert_eq!(identify(&queue.recv().unwrap().data), Some(7));
}

/// A call on a queue: whether it was refused. Panics if what it gave was never sent.
type Call = fn(&Queue) -> bool;

fn whole(data: &[u8]) {
    let id = identify(data);
    assert!(id.is_some_and(|id| (1..=9).contains(&id)), "a message of {} bytes that nobody sent", data.len());
}

const CALLS: [(&str, Call); 14] = [
    ("try_recv", |queue| queue.try_recv().map(|message| whole(&message.data)).is_err()),
    ("recv_timeout", |queue| queue.recv_timeout(Duration::from_millis(1)).map(|message| whole(&message.data)).is_err()),
    ("recv_into", |queue| {
        let mut buffer = vec![0; LARGE];
        queue.try_recv_into(&mut buffer).map(|received| whole(&buffer[..received.len])).is_err()
    }),
    ("recv_many", |queue| {
        let mut batch = Batch::new();
        queue.try_recv_many(&mut batch, 3).map(|_| batch.iter().for_each(|(data, _)| whole(data))).is_err()
    }),
    ("peek", |queue| queue.peek(9).map(|all| all.iter().for_each(|message| whole(&message.data))).is_err()),
    ("send small", |queue| queue.send_timeout(&payload(5, SMALL), 5, Duration::from_millis(1)).is_err()),
    ("send large", |queue| queue.send_timeout(&payload(6, LARGE), 20_000, Duration::from_millis(1)).is_err()),
    ("send_many", |queue| queue.try_send_many(&[(payload(8, SMALL), 8), (payload(9, LARGE), 9)]).is_err()),
    ("len", |queue| queue.len().is_err()),
    ("stat", |queue| queue.stat().is_err()),
    ("doorbell", |queue| queue.doorbell(Access::Both).is_err()),
    ("arm_doorbell", |queue| queue.arm_doorbell().is_err()),
    ("purge", |queue| queue.purge().is_err()),
    ("close", |queue| queue.close().is_err()),
];

#[test]
fn every_call_on_a_shortened_queue_is_refused_or_right() {
    let dir = scratch();
    let (queue, other) = a_queue(dir.path());
    let size = fs::metadata(queue_file(dir.path())).unwrap().len();
    drop((queue, other));
    let mut refused = 0;
    for length in lengths(size) {
        for (first, (name, _)) in CALLS.iter().enumerate() {
            let dir = scratch();
            let (queue, other) = a_queue(dir.path());
            shorten(&queue_file(dir.path()), length);
            refused += ends(&format!("{name} at {length} of {size} bytes"), move || {
                // Each call comes first once, and meets what the others have left.
                let calls = CALLS.iter().cycle().skip(first).take(CALLS.len());
                let refused = calls.filter(|(_, call)| call(&queue) | call(&other)).count();
                drop((queue, other));
                refused
            });
            a_new_one_works(dir.path());
        }
    }
    assert!(refused > 0, "nothing was shortened");
}

/// What is known to be lost is refused from then on, whatever the length was.
#[test]
fn a_queue_without_its_header_refuses_everything() {
    let dir = scratch();
    let (queue, _other) = a_queue(dir.path());
    shorten(&queue_file(dir.path()), 0);
    let _ = queue.try_recv();
    assert_eq!(queue.try_recv(), Err(RecvError::Corrupt));
    assert_eq!(queue.recv(), Err(RecvError::Corrupt));
    assert_eq!(queue.send(b"x", 0), Err(SendError::Corrupt));
    assert!(queue.stat().is_err() && queue.len().is_err() && queue.peek(1).is_err());
    let error = queues(dir.path()).open("/q").unwrap_err();
    assert!(error.to_string().contains("not"), "{error}");
}

/// A call was the first to touch what was missing, after it had looked whether anything was, and answered with zeros.
#[test]
fn the_first_call_on_a_shortened_queue_does_not_count_zeros() {
    for length in [0, 1024, 4096, 12_288] {
        let first = |what: &str, call: &dyn Fn(&Queue) -> Option<usize>| {
            let dir = scratch();
            let (queue, _other) = a_queue(dir.path());
            shorten(&queue_file(dir.path()), length);
            let answer = call(&queue);
            assert!(answer.is_none_or(|answer| answer == 4), "{what} of a queue with 4, at {length} bytes: {answer:?}");
        };
        first("len", &|queue| queue.len().ok());
        first("peek", &|queue| queue.peek(9).ok().map(|all| all.len()));
        first("purge", &|queue| queue.purge().ok());
        first("stat", &|queue| queue.stat().ok().map(|stat| stat.len as usize));
        first("bytes", &|queue| queue.bytes().ok().map(|bytes| bytes as usize * 4 / (2 * (SMALL + LARGE))));
    }
    let dir = scratch();
    let (queue, _other) = a_queue(dir.path());
    shorten(&queue_file(dir.path()), 0);
    assert_eq!(queue.close().unwrap_err(), AccessError::Corrupt, "nobody sees that it is closed");
}

/// The same of semaphores; and a permit was given out that was written where nobody else sees it.
#[test]
fn the_first_call_on_a_shortened_semaphore_does_not_believe_zeros() {
    type Call = fn(&Semaphore) -> bool;
    let calls: [(&str, u64, Call); 9] = [
        ("stat", 0, |semaphore| semaphore.stat().is_err()),
        ("stat", 4096, |semaphore| semaphore.stat().is_err()),
        ("post", 0, |semaphore| semaphore.post().is_err()),
        ("set_permits", 0, |semaphore| semaphore.set_permits(5).is_err()),
        ("set_permits, of what is there still", 4096, |semaphore| {
            semaphore.set_permits(5).is_err() || semaphore.permits() == 5
        }),
        ("close", 0, |semaphore| semaphore.close().is_err()),
        ("try_acquire", 1024, |semaphore| semaphore.try_acquire().is_err()),
        ("try_acquire", 4096, |semaphore| semaphore.try_acquire().is_err()),
        ("acquire_timeout", 4096, |semaphore| semaphore.acquire_timeout(Duration::from_millis(1)).is_err()),
    ];
    for (what, length, is_right) in calls {
        let dir = scratch();
        let semaphore = semaphores(dir.path(), 2).create_new("/s").unwrap();
        let other = semaphores(dir.path(), 2).open("/s").unwrap();
        let _held = semaphore.try_acquire().unwrap();
        shorten(&semaphore_file(dir.path()), length);
        assert!(is_right(&other), "{what} at {length} bytes");
    }
}

/// It sleeps on a word that is gone: its bounded sleep ends, and it looks.
#[test]
fn who_sleeps_on_a_shortened_queue_is_told() {
    for length in [0, 4096] {
        let dir = scratch();
        let queue = queues(dir.path()).create_new("/q").unwrap();
        let mut receiver = Worker::start("receiver", &[dir.path().to_str().unwrap()]);
        receiver.expect("ready");
        until("it sleeps", || queue.stat().unwrap().counters.recv_blocked > 0 && asleep(receiver.pid()));
        shorten(&queue_file(dir.path()), length);
        if length != 0 {
            // The header is there still, and says nothing. What it would be told of is gone.
            assert_eq!(queue.try_send(b"x", 1), Err(SendError::Corrupt));
        }
        receiver.expect("Err(Corrupt)");
        receiver.finish();
    }
}

fn part_receiver(arguments: &[String]) {
    let queue = queues(Path::new(&arguments[0])).open("/q").unwrap();
    say("ready");
    say(format!("{:?}", queue.recv().map(|message| message.data)));
}

/// A child has the handler, too, and what it inherits is watched.
#[test]
fn a_fork_child_of_a_shortened_queue_lives() {
    let dir = scratch();
    let (queue, _other) = a_queue(dir.path());
    // SAFETY: the child uses what it inherits through the library, which supports that, and leaves with _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        shorten(&queue_file(dir.path()), 0);
        let refused = queue.try_recv().is_err() && queue.try_recv() == Err(RecvError::Corrupt);
        // SAFETY: it takes a number and does not return.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: the status lives through the call.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0, "the child's wait status");
    let _ = queue.try_recv();
    assert_eq!(queue.try_recv(), Err(RecvError::Corrupt));
}

/// The names and the voluntary context switches of this process's threads that are called so.
fn switches(name: &str) -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let named = tasks.filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name));
    let count = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:").map(str::to_owned));
        line.and_then(|line| line.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    named.filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).map(count).sum()
}

/// The attendant blocks the signals of the program, but needs this one: it touches the header twice a second.
#[test]
fn the_attendant_of_a_shortened_queue_lives() {
    let dir = scratch();
    let (queue, _other) = a_queue(dir.path());
    let _bell = queue.doorbell(Access::Both).unwrap();
    queue.arm_doorbell().unwrap();
    until("the attendant runs", || switches("chappe-attend") > 0);
    shorten(&queue_file(dir.path()), 0);
    let before = switches("chappe-attend");
    until("the attendant has looked twice", || switches("chappe-attend") >= before + 2);
}

#[test]
fn no_permit_of_a_shortened_semaphore_is_given_out_twice() {
    const PERMITS: u64 = 2;
    let dir = scratch();
    let size = {
        let _semaphore = semaphores(dir.path(), PERMITS).create_new("/s").unwrap();
        fs::metadata(semaphore_file(dir.path())).unwrap().len()
    };
    for length in [0, 1, 500, 4096, 8192, 262_144, 266_240, 270_336, size / 2, size - 4096] {
        let dir = scratch();
        let semaphore = semaphores(dir.path(), PERMITS).create_new("/s").unwrap();
        let others: Vec<Semaphore> = (0..4).map(|_| semaphores(dir.path(), PERMITS).open("/s").unwrap()).collect();
        let path = semaphore_file(dir.path());
        ends(&format!("semaphore at {length} of {size} bytes"), move || {
            let mut permits = vec![semaphore.try_acquire().unwrap()];
            shorten(&path, length);
            for (turn, other) in others.iter().chain(&others).enumerate() {
                let got = match turn % 2 {
                    0 => other.try_acquire(),
                    _ => other.acquire_timeout(Duration::from_millis(1)),
                };
                permits.extend(got);
                let _ = (other.stat(), other.available(), other.set_permits(PERMITS));
            }
            assert!(permits.len() as u64 <= PERMITS, "{} permits of {PERMITS}", permits.len());
            drop(permits);
            let _ = semaphore.close();
        });
    }
}

/// One who waits has a keeper, and a sentry if it waits for a future: threads that touch the mapping, too.
#[test]
fn who_waits_for_a_shortened_semaphore_is_told() {
    let dir = scratch();
    let semaphore = semaphores(dir.path(), 1).create_new("/s").unwrap();
    let other = semaphores(dir.path(), 1).open("/s").unwrap();
    let _held = semaphore.acquire().unwrap();
    let (told, tells) = channel();
    thread::spawn(move || tells_of(&other, told));
    until("it waits", || semaphore.stat().unwrap().waiters.len() == 1);
    shorten(&semaphore_file(dir.path()), 0);
    assert_eq!(tells.recv_timeout(NET).unwrap(), Some(AcquireError::Corrupt));
}

fn tells_of(semaphore: &Semaphore, told: std::sync::mpsc::Sender<Option<AcquireError>>) {
    told.send(semaphore.acquire().err()).unwrap();
}

/// Shortened and made longer again at any moment, the words are what the one who does so makes of them; calls end all the same.
#[test]
fn a_file_that_shrinks_and_grows_meanwhile_ends_nobody() {
    let mut rng = Rng::new(seed("CHAPPE_SHORTENED_SEED"));
    for _ in 0..40 {
        let dir = scratch();
        let (queue, other) = a_queue(dir.path());
        let path = queue_file(dir.path());
        let size = fs::metadata(&path).unwrap().len();
        let (mut choices, mut mine, mut yours) = (rng.clone(), Rng::new(rng.bits()), Rng::new(rng.bits()));
        let run = |queue: Queue, rng: &mut Rng| {
            for _ in 0..30 {
                act(&queue, rng);
            }
        };
        ends("a file that shrinks and grows", move || {
            thread::scope(|scope| {
                scope.spawn(|| run(queue, &mut mine));
                scope.spawn(|| run(other, &mut yours));
                for _ in 0..20 {
                    let lengths = lengths(size);
                    shorten(&path, lengths[choices.index(lengths.len())]);
                    if choices.one_in(2) {
                        shorten(&path, size);
                    }
                    thread::yield_now();
                }
            });
        });
    }
}

/// One call or another, whose result nobody can foretell.
fn act(queue: &Queue, rng: &mut Rng) {
    match rng.below(7) {
        0 => drop(queue.try_send(&payload(1, SMALL), 3)),
        1 => drop(queue.try_send(&payload(2, LARGE), 30_000)),
        2 => drop(queue.try_recv()),
        3 => drop(queue.recv_timeout(Duration::from_micros(50))),
        4 => drop(queue.peek(4)),
        5 => drop(queue.stat()),
        _ => drop(queue.try_recv_many(&mut Batch::new(), 4)),
    }
}

// ---- what is not ours ----

/// A mapping of the program's own, of a file that is too short for it.
fn touch_a_missing_page() {
    let file = tempfile::tempfile().unwrap();
    let place: *mut libc::c_void = std::ptr::null_mut();
    let flags = libc::PROT_READ;
    // SAFETY: a new mapping at a place that the kernel chooses.
    let mapping =
        unsafe { libc::mmap(place, 4096, flags, libc::MAP_SHARED, std::os::fd::AsRawFd::as_raw_fd(&file), 0) };
    assert_ne!(mapping, libc::MAP_FAILED);
    // SAFETY: mapped readable; that its file has no such page is what this is about: the kernel answers with a signal.
    let byte = unsafe { mapping.cast::<u8>().read_volatile() };
    say(format!("there was a {byte}"));
}

fn handle_sigbus_by(handler: libc::sighandler_t) {
    handle_sigbus(handler, 0);
}

fn handle_sigbus(handler: libc::sighandler_t, flags: i32) {
    // SAFETY: a struct of numbers, for which all-zero is valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: a valid action, whose handler, if it is one, only ends the process.
    assert_eq!(unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) }, 0);
}

/// An object is open, so this library handles SIGBUS.
fn with_an_open_queue(run: impl FnOnce()) {
    let dir = scratch();
    let _queue = queues(dir.path()).create_new("/q").unwrap();
    run();
}

fn part_own_mapping(_: &[String]) {
    with_an_open_queue(touch_a_missing_page);
}

fn part_sent(_: &[String]) {
    handle_sigbus_by(libc::SIG_DFL);
    with_an_open_queue(|| {
        // SAFETY: it takes a number.
        unsafe { libc::raise(libc::SIGBUS) };
        say("it went on");
    });
}

fn part_ignored(_: &[String]) {
    handle_sigbus_by(libc::SIG_IGN);
    with_an_open_queue(|| {
        // SAFETY: it takes a number.
        unsafe { libc::raise(libc::SIGBUS) };
        say("it went on");
    });
}

/// The standard library's own handler is there, which puts the default in its place and expects an access to come again.
fn part_sent_to_a_handler(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    let (queue, _other) = a_queue(dir);
    // SAFETY: it takes a number.
    unsafe { libc::raise(libc::SIGBUS) };
    shorten(&queue_file(dir), 0);
    let _ = queue.try_recv();
    assert_eq!(queue.try_recv(), Err(RecvError::Corrupt));
    say("it went on");
    // SAFETY: as above.
    unsafe { libc::raise(libc::SIGBUS) };
    say("it is immune");
}

fn part_one_shot_handler(_: &[String]) {
    extern "C" fn handler(_: i32) {
        // Nothing else of this process writes, so nobody holds what this takes.
        say("called");
    }
    let handler: extern "C" fn(i32) = handler;
    handle_sigbus(handler as libc::sighandler_t, libc::SA_RESETHAND);
    with_an_open_queue(touch_a_missing_page);
}

fn part_own_handler(_: &[String]) {
    extern "C" fn handler(_: i32) {
        // SAFETY: it takes a number and does not return.
        unsafe { libc::_exit(77) };
    }
    let handler: extern "C" fn(i32) = handler;
    handle_sigbus_by(handler as libc::sighandler_t);
    with_an_open_queue(touch_a_missing_page);
}

#[test]
fn a_missing_page_of_the_programs_own_ends_it_as_ever() {
    let status = Worker::start("own mapping", &[]).ended();
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
}

#[test]
fn a_signal_that_is_sent_does_what_it_did_before() {
    let status = Worker::start("sent", &[]).ended();
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
    let mut ignoring = Worker::start("ignored", &[]);
    ignoring.expect("it went on");
    ignoring.finish();
}

#[test]
fn a_handler_that_was_there_before_is_called() {
    let status = Worker::start("own handler", &[]).ended();
    assert_eq!(status.code(), Some(77), "{status}");
}

/// The mappings were not watched any more.
#[test]
fn a_handler_from_before_that_puts_the_default_in_its_place_ends_no_watch() {
    let dir = scratch();
    let mut worker = Worker::start("sent to a handler", &[dir.path().to_str().unwrap()]);
    worker.expect("it went on");
    let status = worker.ended();
    assert_eq!(status.signal(), Some(libc::SIGBUS), "as the second one would have been without a queue: {status}");
}

/// It was called for ever.
#[test]
fn a_handler_from_before_that_was_for_one_signal_is_called_once() {
    let mut worker = Worker::start("one-shot handler", &[]);
    worker.expect("called");
    let status = worker.ended();
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
}
