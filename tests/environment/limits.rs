//! Limits on a process: no descriptor, no memory, no thread.

use crate::common::forbid::forbid;
use crate::common::{NET, Worker, hear, say, until};
use crate::rights::become_nobody;
use crate::{Traces, begins, grants, in_a_process, queue_options, semaphore_options, settle, works};
use chappe::{Access, AcquireError, Queue, RecvError, Semaphore, SendError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt::Display;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Calls under a lower soft limit.
fn limited<T>(resource: Resource, limit: u64, call: impl FnOnce() -> T) -> T {
    let before = getrlimit(resource);
    setrlimit(resource, Rlimit { current: Some(limit), maximum: before.maximum }).unwrap();
    let result = call();
    setrlimit(resource, before).unwrap();
    result
}

// ---- descriptors ----

#[test]
fn without_descriptors_every_call_works_or_says_so_and_leaves_nothing() {
    in_a_process("descriptors");
}

/// How many descriptors are open; the listing itself is one more.
fn open_descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1
}

/// Takes the numbers that are free between others, so that a limit leaves exactly as many as it says.
fn fill_the_gaps() -> Vec<std::fs::File> {
    let lowest_free = || std::fs::File::open("/dev/null").unwrap().as_raw_fd() as u64;
    let mut fill = Vec::new();
    while lowest_free() != open_descriptors() {
        fill.push(std::fs::File::open("/dev/null").unwrap());
    }
    fill
}

/// Makes the call with no descriptor to spare, with one, and so on, until it works; returns how many it needed. Each failure says
/// that there are none, and leaves everything as it was.
fn with_few<P, T, E: Display>(
    dir: &Path,
    what: &str,
    prepare: impl Fn() -> P,
    call: impl Fn(&P) -> Result<T, E>,
    untouched: impl Fn(&P),
) -> usize {
    drop(prepare());
    for spare in 0..12 {
        settle();
        let before = Traces::of(dir);
        let prepared = prepare();
        let result = limited(Resource::Nofile, open_descriptors() + spare as u64, || call(&prepared));
        match result {
            Ok(_) => return spare,
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("error 24"), "{what} with {spare} to spare: {text}");
                untouched(&prepared);
                drop(prepared);
                before.are_all(dir, &format!("{what} with {spare} to spare"));
            }
        }
    }
    panic!("{what} wants more than a dozen descriptors");
}

pub fn part_descriptors(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    say("begins");
    settle();
    let _fill = fill_the_gaps();
    let queue = queue_options(dir).create_new("/q").unwrap();
    let semaphore = semaphore_options(dir).permits(1).create_new("/s").unwrap();
    let (queues, semaphores) = (|| queue_options(dir), || semaphore_options(dir));
    let nothing = || ();
    let opened = || queues().open("/q").unwrap();
    // There is a doorbell already, so that no file is made.
    drop(queue.doorbell(Access::Both).unwrap());
    let needed = [
        with_few(dir, "create", nothing, |()| queues().create_new("/new"), |()| ()),
        with_few(dir, "create with a doorbell", nothing, |()| queues().doorbell(true).create_new("/belled"), |()| ()),
        with_few(dir, "open", nothing, |()| queues().open("/q"), |()| ()),
        with_few(dir, "doorbell", opened, |queue| queue.doorbell(Access::Both), works),
        with_few(dir, "create a semaphore", nothing, |()| semaphores().create_new("/new"), |()| ()),
        with_few(dir, "open a semaphore", nothing, |()| semaphores().open("/s"), |()| ()),
        with_few(dir, "an unnamed one", nothing, |()| semaphores().unnamed(), |()| ()),
        with_few(dir, "list", nothing, |()| chappe::list(dir), |()| ()),
        with_few(dir, "deadlocks", nothing, |()| chappe::deadlocks(dir), |()| ()),
        unlinking_does_all_or_nothing(dir),
        unlinking_a_semaphore_does_all_or_nothing(dir),
    ];
    assert!(needed.iter().all(|needed| *needed > 0), "a call that needs no descriptor shows nothing: {needed:?}");
    removing_the_name_needs_none(dir);
    arming_needs_few_descriptors(dir);
    waiting_needs_none(&semaphore);
    works(&queue);
    grants(&semaphore);
}

/// It once removed the name, which needs no descriptor, and told nobody, which needs one: who slept in a receive slept on.
fn unlinking_does_all_or_nothing(dir: &Path) -> usize {
    let options = queue_options(dir);
    let call = |queue: &Queue| options.unlink("/gone").map(|()| assert_eq!(queue.try_recv(), Err(RecvError::Unlinked)));
    with_few(dir, "unlink", || options.create("/gone").unwrap(), call, works)
}

/// POSIX's unlink has no error for it, and nobody is to be told.
fn removing_the_name_needs_none(dir: &Path) {
    let options = queue_options(dir);
    let call = |queue: &Queue| options.remove_name("/named").map(|()| works(queue));
    let needed = with_few(dir, "remove the name", || options.create("/named").unwrap(), call, works);
    assert_eq!((needed, options.open("/named").is_err()), (0, true));
}

fn unlinking_a_semaphore_does_all_or_nothing(dir: &Path) -> usize {
    let options = semaphore_options(dir);
    let has_ended = |semaphore: &Semaphore| semaphore.try_acquire().is_err_and(|error| error == AcquireError::Unlinked);
    let call = |semaphore: &Semaphore| options.unlink("/gone").map(|()| assert!(has_ended(semaphore)));
    with_few(dir, "unlink a semaphore", || options.create("/gone").unwrap(), call, grants)
}

/// The doorbell may be open already; the thread needs none.
fn arming_needs_few_descriptors(dir: &Path) {
    let open = || queue_options(dir).open("/q").unwrap();
    with_few(dir, "arm", open, Queue::arm_doorbell, works);
    let unregistered = |queue: &Queue| assert_eq!(queue.registered(), Ok(None));
    with_few(dir, "notify", open, |queue| queue.notify(|_| ()), unregistered);
}

/// A semaphore's keeper needs none, and its sentry goes without one.
fn waiting_needs_none(semaphore: &Semaphore) {
    let open = open_descriptors();
    let permit = limited(Resource::Nofile, open, || semaphore.acquire()).unwrap();
    let short = Duration::from_millis(10);
    let waited = limited(Resource::Nofile, open, || semaphore.acquire_timeout(short).map(drop));
    assert_eq!(waited, Err(AcquireError::TimedOut));
    drop(permit);
}

#[test]
fn a_fork_child_that_cannot_open_the_file_again_says_so_and_harms_nobody() {
    in_a_process("fork without descriptors");
}

pub fn part_fork(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    say("begins");
    let _fill = fill_the_gaps();
    // One at a time: the number of the first handle, which has to be given up, is there for the second.
    let mut queue = Some(queue_options(dir).create_new("/q").unwrap());
    fork_without_descriptors(|| queue_in_the_child(dir, &mut queue));
    let queue = queue.unwrap();
    works(&queue);
    assert_eq!(queue.stat().unwrap().participants.len(), 1);
    drop(queue);
    let mut semaphore = Some(semaphore_options(dir).permits(2).create_new("/s").unwrap());
    // It comes back with the handle.
    semaphore.iter().for_each(|semaphore| std::mem::forget(semaphore.acquire().unwrap()));
    fork_without_descriptors(|| semaphore_in_the_child(dir, &mut semaphore));
    let semaphore = semaphore.unwrap();
    assert_eq!(semaphore.stat().unwrap().participants.len(), 1);
    assert_eq!(semaphore.available(), 1, "what this process holds was given back, or what the child held was not");
    grants(&semaphore);
}

fn fork_without_descriptors(child: impl FnOnce()) {
    let open = open_descriptors();
    // SAFETY: the part runs on the only thread of its process but those of the library, so the child has all that it needs.
    let pid = limited(Resource::Nofile, open, || unsafe { libc::fork() });
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).is_err();
        // SAFETY: it takes a number and does not return.
        unsafe { libc::_exit(i32::from(failed)) };
    }
    let mut status = 0;
    // SAFETY: the status lives through the call.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!((reaped, status), (pid, 0));
}

/// Some files, one of which has the number that the handler gave up.
fn other_files() -> Vec<std::fs::File> {
    (0..10).map(|_| std::fs::File::open("/dev/null").unwrap()).collect()
}

/// Every call is refused; the number is not the handle's to close any more; and it can take part as anybody can, by opening it.
fn queue_in_the_child(dir: &Path, inherited: &mut Option<Queue>) {
    let files = other_files();
    let queue = inherited.take().unwrap();
    assert!(matches!(queue.try_send(b"x", 0), Err(SendError::System(_))));
    assert!(matches!(queue.recv(), Err(RecvError::System(_))));
    assert!(queue.stat().is_err() && queue.arm_doorbell().is_err() && queue.notify(|_| ()).is_err());
    drop(queue);
    assert!(files.iter().all(|file| file.metadata().is_ok()), "a file of this process was closed");
    works(&queue_options(dir).open("/q").unwrap());
}

fn semaphore_in_the_child(dir: &Path, inherited: &mut Option<Semaphore>) {
    let files = other_files();
    let semaphore = inherited.take().unwrap();
    let refused = |result: Result<(), AcquireError>| matches!(result, Err(AcquireError::System(_)));
    assert!(refused(semaphore.acquire().map(drop)) && refused(semaphore.acquire_many_timeout(2, NET).map(drop)));
    assert!(semaphore.stat().is_err());
    drop(semaphore);
    assert!(files.iter().all(|file| file.metadata().is_ok()), "a file of this process was closed");
    grants(&semaphore_options(dir).open("/s").unwrap());
}

// ---- memory ----

/// Bytes of address space that this process uses.
fn address_space() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn no_memory<T>(more: u64, call: impl FnOnce() -> T) -> T {
    limited(Resource::As, address_space() + more, call)
}

#[test]
fn a_file_that_cannot_be_mapped_is_an_error_that_leaves_nothing() {
    in_a_process("memory");
}

pub fn part_memory(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    say("begins");
    let large = || {
        let mut options = queue_options(dir);
        options.capacity(1000).message_size(1 << 20);
        options
    };
    let is_no_memory = |error: chappe::OpenError| {
        let text = error.to_string();
        assert!(text.contains("map") && text.contains("error 12"), "{text}");
    };
    // There is room for what is small.
    let room = 32 << 20;
    let before = Traces::of(dir);
    is_no_memory(no_memory(room, || large().create_new("/large")).unwrap_err());
    is_no_memory(no_memory(room, || large().create("/large")).unwrap_err());
    before.are_all(dir, "create");
    let queue = large().create_new("/large").unwrap();
    queue.send(b"kept", 0).unwrap();
    let before = Traces::of(dir);
    is_no_memory(no_memory(room, || large().open("/large")).unwrap_err());
    before.are_all(dir, "open");
    assert_eq!(queue.stat().unwrap().participants.len(), 1);
    let listed = no_memory(room, || chappe::list(dir)).unwrap();
    assert!(listed[0].defect.as_ref().is_some_and(|defect| defect.contains("error 12")), "{listed:?}");
    before.are_all(dir, "list");
    // The name stays: its users could not be told.
    is_no_memory(no_memory(room, || large().unlink("/large")).unwrap_err());
    before.are_all(dir, "unlink");
    assert_eq!(queue.recv().unwrap().data, b"kept");
    semaphores_without_memory(dir);
}

fn semaphores_without_memory(dir: &Path) {
    let semaphore = semaphore_options(dir).create_new("/s").unwrap();
    let options = semaphore_options(dir);
    let before = Traces::of(dir);
    for (what, result) in [
        ("create", no_memory(LITTLE, || options.create_new("/new")).map(drop)),
        ("open", no_memory(LITTLE, || options.open("/s")).map(drop)),
        ("unnamed", no_memory(LITTLE, || options.unnamed()).map(drop)),
        ("unlink", no_memory(LITTLE, || options.unlink("/s"))),
    ] {
        let text = result.unwrap_err().to_string();
        assert!(text.contains("map") && text.contains("error 12"), "{what}: {text}");
        before.are_all(dir, what);
    }
    grants(&semaphore);
}

#[test]
fn without_memory_for_a_stack_nobody_is_registered_and_permits_are_had() {
    in_a_process("stacks");
}

/// Room for small mappings and the heap, not for the stack of a thread.
const LITTLE: u64 = 100 << 10;

pub fn part_stacks(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    say("begins");
    without_threads(dir, |call| no_memory(LITTLE, call));
}

// ---- threads ----

#[test]
fn without_threads_nobody_is_registered_and_permits_are_had() {
    in_a_process("threads");
}

/// The limit on the number of threads is one for users other than root.
pub fn part_threads(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    let shared = semaphore_options(dir).permits(1).mode(0o666).create_new("/d").unwrap();
    let mut holder = Worker::start("holder", &[dir.to_str().unwrap()]);
    holder.expect("holds");
    if !begins("becoming a user with few threads", become_nobody_if_root(dir)) {
        return;
    }
    without_threads(dir, |call| limited(Resource::Nproc, 0, call));
    // Bounded sleeps notice a death, if nothing tells of it.
    let permit = limited(Resource::Nproc, 0, || {
        holder.tell("die");
        shared.acquire_timeout(NET)
    });
    assert_eq!(permit.map(drop), Ok(()));
    holder.ended();
    assert_eq!(shared.stat().unwrap().participants.len(), 1);
}

fn become_nobody_if_root(dir: &Path) -> std::io::Result<()> {
    if rustix::process::geteuid().is_root() { become_nobody(dir) } else { Ok(()) }
}

/// Calls for which a thread is started, where none can be.
fn without_threads(dir: &Path, limited: impl Fn(&mut dyn FnMut())) {
    let queue = queue_options(dir).create_new("/q").unwrap();
    let semaphore = semaphore_options(dir).permits(1).create_new("/s").unwrap();
    // It makes the doorbell, which goes with the queue.
    drop(queue.doorbell(Access::Both).unwrap());
    let before = Traces::of(dir);
    let mut refused = Vec::new();
    limited(&mut || refused.push(std::thread::Builder::new().stack_size(128 << 10).spawn(|| ()).is_err()));
    assert_eq!(refused, [true], "threads can be had, so this shows nothing");
    let (mut armed, mut registered) = (None, None);
    limited(&mut || armed = Some(queue.arm_doorbell()));
    limited(&mut || registered = Some(queue.notify(|_| ())));
    for error in [armed.unwrap().unwrap_err().to_string(), registered.unwrap().unwrap_err().to_string()] {
        assert!(error.contains("error 11") || error.contains("error 12"), "{error}");
    }
    assert_eq!(queue.registered(), Ok(None));
    before.are_all(dir, "arming and registering");
    works(&queue);
    let mut waited = None;
    limited(&mut || {
        let permit = semaphore.acquire().expect("a permit without a keeper");
        waited = Some(semaphore.acquire_timeout(Duration::from_millis(10)).map(drop));
        drop(permit);
    });
    assert_eq!(waited, Some(Err(AcquireError::TimedOut)));
    before.are_all(dir, "acquiring");
    let permit = semaphore.acquire().unwrap();
    let mut polled = None;
    limited(&mut || {
        let future = std::pin::pin!(semaphore.acquire_async());
        polled = Some(future.poll(&mut Context::from_waker(Waker::noop())).map_ok(drop));
    });
    assert!(matches!(polled, Some(Poll::Ready(Err(AcquireError::System(_))))), "who would wake it? {polled:?}");
    assert!(semaphore.stat().unwrap().waiters.is_empty(), "a place in the queue was left");
    drop(permit);
    grants(&semaphore);
    // When there are threads again, they are used.
    queue.arm_doorbell().unwrap();
    queue.notify(|_| ()).unwrap();
}

/// Holds a permit, and is killed by itself when told.
pub fn part_holder(arguments: &[String]) {
    let semaphore = semaphore_options(Path::new(&arguments[0])).open("/d").unwrap();
    let permit = semaphore.acquire().unwrap();
    say("holds");
    hear();
    // SAFETY: it takes a number.
    unsafe { libc::raise(libc::SIGKILL) };
    drop(permit);
}

/// A filter of a sandbox may answer with any error to a call that it does not know.
#[test]
fn waits_in_a_sandbox_that_forbids_to_sleep_on_two_words() {
    in_a_process("sandbox");
}

pub fn part_sandbox(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    let queue = queue_options(dir).capacity(1).create_new("/q").unwrap();
    let semaphore = semaphore_options(dir).create_new("/s").unwrap();
    let _held = semaphore.acquire().unwrap();
    forbid(&[(libc::SYS_futex_waitv, libc::EACCES)]);
    say("begins");
    let moment = Duration::from_millis(20);
    assert_eq!(queue.recv_timeout(moment).unwrap_err(), RecvError::TimedOut);
    assert_eq!(semaphore.acquire_timeout(moment).unwrap_err(), AcquireError::TimedOut);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| queue.recv_timeout(NET));
        until("it sleeps", || queue.stat().unwrap().counters.recv_blocked > 1);
        queue.send(b"x", 0).unwrap();
        assert_eq!(receiver.join().unwrap().unwrap().data, b"x");
    });
    queue.send(b"x", 0).unwrap();
    assert_eq!(queue.send_timeout(b"y", 0, moment), Err(SendError::TimedOut));
}
