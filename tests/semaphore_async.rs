//! The futures of a semaphore: without a runtime, under tokio, given up at every moment, moved between threads.
//!
//! Everything else that one process can see is in `semaphore.rs`.

mod common;

use chappe::{Acquire, AcquireError, PERMITS_MAX, Permit, Semaphore, SemaphoreOptions};
use common::{NET, Rng, scratch, seed, until};
use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

fn options(dir: &Path) -> SemaphoreOptions {
    let mut options = Semaphore::options();
    options.dir(dir);
    options
}

fn waiting(semaphore: &Semaphore) -> usize {
    semaphore.stat().unwrap().waiters.len()
}

#[track_caller]
fn until_waiting(semaphore: &Semaphore, count: usize) {
    until(&format!("{count} should wait"), || waiting(semaphore) == count);
}

#[track_caller]
fn is_untouched(semaphore: &Semaphore, permits: u64) {
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.permits, stat.available, stat.held), (permits, permits as i64, 0), "{stat:?}");
    assert!(stat.holders.is_empty() && stat.waiters.is_empty(), "{stat:?}");
}

/// Another handle on an unnamed semaphore.
fn another_handle(semaphore: &Semaphore) -> Semaphore {
    use std::os::fd::AsFd;
    Semaphore::options().from_fd(semaphore.as_fd().try_clone_to_owned().unwrap()).unwrap()
}

fn err<T>(result: Result<T, AcquireError>) -> AcquireError {
    result.err().expect("it should not have been granted")
}

/// Counts how often it is woken, and unparks a thread.
struct Bell {
    thread: Thread,
    rings: AtomicU64,
}

impl Bell {
    fn new() -> Arc<Bell> {
        Arc::new(Bell { thread: thread::current(), rings: AtomicU64::new(0) })
    }

    fn rings(&self) -> u64 {
        self.rings.load(Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Bell>) {
        self.rings.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// The smallest executor: polls when woken, and never otherwise. That it is not woken is a failure.
#[track_caller]
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let bell = Bell::new();
    let waker = Waker::from(bell.clone());
    let start = Instant::now();
    loop {
        let seen = bell.rings();
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return result;
        }
        while bell.rings() == seen {
            assert!(start.elapsed() < NET, "nobody woke the future");
            thread::park_timeout(Duration::from_millis(100));
        }
    }
}

/// One look at a future.
fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>, bell: &Arc<Bell>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(&Waker::from(bell.clone())))
}

/// A future that has taken its place in the queue.
#[track_caller]
fn queued<'a>(semaphore: &'a Semaphore, permits: u64, bell: &Arc<Bell>) -> Pin<Box<Acquire<'a>>> {
    let mut future = Box::pin(semaphore.acquire_many_async(permits));
    assert!(poll(&mut future, bell).is_pending());
    future
}

// ---- without a runtime ----

#[test]
fn a_future_takes_what_is_free_at_once() {
    let semaphore = Semaphore::unnamed(3).unwrap();
    for _ in 0..3 {
        let one = block_on(semaphore.acquire_async()).unwrap();
        let two = block_on(semaphore.acquire_many_async(2)).unwrap();
        assert_eq!((one.permits(), two.permits(), semaphore.available()), (1, 2, 0));
        drop((one, two));
        drop(block_on(semaphore.acquire_many_async(0)).unwrap());
        is_untouched(&semaphore, 3);
    }
}

#[test]
fn a_future_does_nothing_until_it_is_polled() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    let future = semaphore.acquire_async();
    is_untouched(&semaphore, 1);
    drop(future);
    is_untouched(&semaphore, 1);
}

#[test]
fn a_future_is_refused_what_can_never_be() {
    let semaphore = Semaphore::unnamed(2).unwrap();
    drop(semaphore.acquire().unwrap());
    for asked in [3, PERMITS_MAX, PERMITS_MAX + 1, 1 << 57, 1 << 60] {
        let expected = AcquireError::TooMany { asked, permits: 2 };
        assert_eq!(err(block_on(semaphore.acquire_many_async(asked))), expected);
    }
    semaphore.close().unwrap();
    assert_eq!(err(block_on(semaphore.acquire_async())), AcquireError::Closed);
    is_untouched(&semaphore, 2);
}

#[test]
fn a_future_is_woken_by_a_release_in_another_thread() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    for _ in 0..20 {
        let held = semaphore.acquire().unwrap().into_static();
        let clone = semaphore.clone();
        let thread = thread::spawn(move || {
            until_waiting(&clone, 1);
            drop(held);
        });
        drop(block_on(semaphore.acquire_async()).unwrap());
        thread.join().unwrap();
    }
    is_untouched(&semaphore, 1);
}

#[test]
fn a_future_is_woken_by_a_release_through_another_handle() {
    let semaphore = Semaphore::unnamed(2).unwrap();
    let other = another_handle(&semaphore);
    let held = other.acquire_many(2).unwrap();
    let bell = Bell::new();
    let mut future = queued(&semaphore, 1, &bell);
    drop(held);
    until("a wake", || bell.rings() > 0);
    let Poll::Ready(Ok(permit)) = poll(&mut future, &bell) else { panic!("it was woken for nothing") };
    assert_eq!(other.available(), 1);
    drop(permit);
    is_untouched(&semaphore, 2);
}

#[test]
fn what_wakes_a_thread_wakes_a_future() {
    type Change = (&'static str, fn(&Semaphore), Result<u64, AcquireError>);
    let changes: [Change; 5] = [
        ("more permits", |semaphore| semaphore.set_permits(4).unwrap(), Ok(2)),
        ("posts", |semaphore| semaphore.post_many(2).unwrap(), Ok(2)),
        ("too few permits", |semaphore| semaphore.set_permits(1).unwrap(), Err(TOO_MANY)),
        ("close", |semaphore| semaphore.close().unwrap(), Err(AcquireError::Closed)),
        ("release", |semaphore| std::mem::drop(semaphore.stat()), Ok(2)),
    ];
    for (what, change, expected) in changes {
        let semaphore = Semaphore::unnamed(2).unwrap();
        let held = semaphore.acquire_many(2).unwrap();
        let bell = Bell::new();
        let mut future = queued(&semaphore, 2, &bell);
        change(&semaphore);
        let _kept = if what == "release" {
            drop(held);
            None
        } else {
            Some(held)
        };
        let start = Instant::now();
        let result = loop {
            if bell.rings() > 0
                && let Poll::Ready(result) = poll(&mut future, &bell)
            {
                break result;
            }
            assert!(start.elapsed() < NET, "{what}: it was not woken");
            thread::yield_now();
        };
        assert_eq!(result.map(|permit| permit.permits()), expected, "{what}");
    }
}

const TOO_MANY: AcquireError = AcquireError::TooMany { asked: 2, permits: 1 };

#[test]
fn unlinking_wakes_futures() {
    let dir = scratch();
    let semaphore = options(dir.path()).permits(0).create_new("/s").unwrap();
    let bells: Vec<_> = (0..3).map(|_| Bell::new()).collect();
    let mut futures: Vec<_> = bells.iter().map(|bell| queued(&semaphore, 1, bell)).collect();
    options(dir.path()).unlink("/s").unwrap();
    for (future, bell) in futures.iter_mut().zip(&bells) {
        until("a wake", || bell.rings() > 0);
        let Poll::Ready(result) = poll(future, bell) else { panic!("it was woken for nothing") };
        assert_eq!(err(result), AcquireError::Unlinked);
    }
    assert_eq!(waiting(&semaphore), 0);
}

/// A future that waits when the semaphore ends is not served after that, also if a permit is released before it is polled.
#[test]
fn no_future_is_granted_a_permit_after_the_end() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    let held = semaphore.acquire().unwrap();
    let bell = Bell::new();
    let mut future = queued(&semaphore, 1, &bell);
    semaphore.close().unwrap();
    drop(held);
    let Poll::Ready(result) = poll(&mut future, &bell) else { panic!("it has ended") };
    assert_eq!(err(result.map(|permit| permit.permits())), AcquireError::Closed);
    is_untouched(&semaphore, 1);
}

#[test]
fn what_was_granted_before_the_end_is_granted() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    let held = semaphore.acquire().unwrap();
    let bell = Bell::new();
    let mut future = queued(&semaphore, 1, &bell);
    drop(held);
    assert_eq!(semaphore.stat().unwrap().held, 1, "it has been granted, and not been polled");
    semaphore.close().unwrap();
    let Poll::Ready(Ok(permit)) = poll(&mut future, &bell) else { panic!("it held the permit already") };
    drop(permit);
    is_untouched(&semaphore, 1);
}

#[test]
fn futures_and_threads_are_served_in_one_order() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    let held = semaphore.acquire().unwrap();
    let bell = Bell::new();
    let mut first = queued(&semaphore, 1, &bell);
    let clone = semaphore.clone();
    let thread = thread::spawn(move || clone.acquire_timeout(NET).map(drop));
    until_waiting(&semaphore, 2);
    let mut third = queued(&semaphore, 1, &bell);
    assert!(semaphore.stat().unwrap().waiters.iter().all(|waiter| !waiter.signal && waiter.permits == 1));
    drop(held);
    assert!(poll(&mut third, &bell).is_pending());
    let Poll::Ready(Ok(permit)) = poll(&mut first, &bell) else { panic!("its turn has come") };
    assert!(poll(&mut third, &bell).is_pending());
    assert_eq!(waiting(&semaphore), 2);
    drop(permit);
    thread.join().unwrap().unwrap();
    let rings = bell.rings();
    until("the third's turn", || bell.rings() > rings || waiting(&semaphore) == 0);
    let Poll::Ready(Ok(permit)) = poll(&mut third, &bell) else { panic!("its turn has come") };
    drop(permit);
    is_untouched(&semaphore, 1);
}

#[test]
fn a_future_that_waits_is_told_and_counted() {
    let dir = scratch();
    let semaphore = options(dir.path()).label("a future's").create_new("/s").unwrap();
    let held = semaphore.acquire().unwrap();
    let bell = Bell::new();
    let mut future = queued(&semaphore, 1, &bell);
    let stat = semaphore.stat().unwrap();
    assert_eq!((&*stat.waiters[0].label, stat.waiters[0].process.pid), ("a future's", std::process::id()));
    drop(held);
    let Poll::Ready(Ok(permit)) = poll(&mut future, &bell) else { panic!("its turn has come") };
    let stat = semaphore.stat().unwrap();
    assert_eq!((&*stat.holders[0].label, stat.holders.len()), ("a future's", 1));
    drop(permit);
    assert_eq!(stat.blocked, 1, "an acquisition had to wait in the queue");
}

#[test]
fn a_future_says_what_it_is() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    assert!(format!("{:?}", semaphore.acquire_many_async(5)).contains("permits: 5"));
}

// ---- given up ----

#[test]
fn a_future_dropped_in_the_queue_gives_its_place_up() {
    let semaphore = Semaphore::unnamed(2).unwrap();
    let held = semaphore.acquire().unwrap();
    let bell = Bell::new();
    let large = queued(&semaphore, 2, &bell);
    let mut small = queued(&semaphore, 1, &bell);
    assert_eq!(waiting(&semaphore), 2);
    drop(large);
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.waiters.len(), stat.held), (0, 2), "the small one is served at once");
    until("a wake", || bell.rings() > 0);
    let Poll::Ready(Ok(permit)) = poll(&mut small, &bell) else { panic!("its turn has come") };
    drop((permit, held));
    is_untouched(&semaphore, 2);
}

#[test]
fn a_future_dropped_when_it_was_granted_gives_the_permit_back() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    let held = semaphore.acquire().unwrap();
    let bells = [Bell::new(), Bell::new()];
    let first = queued(&semaphore, 1, &bells[0]);
    let mut second = queued(&semaphore, 1, &bells[1]);
    drop(held);
    until("a wake", || bells[0].rings() > 0);
    let stat = semaphore.stat().unwrap();
    assert_eq!((stat.held, stat.waiters.len()), (1, 1), "the first holds it, without knowing");
    drop(first);
    until("a wake", || bells[1].rings() > 0);
    let Poll::Ready(Ok(permit)) = poll(&mut second, &bells[1]) else { panic!("it came to the next") };
    drop(permit);
    is_untouched(&semaphore, 1);
}

#[test]
fn futures_dropped_at_random_lose_nothing() {
    let semaphore = Semaphore::unnamed(3).unwrap();
    let other = another_handle(&semaphore);
    let mut rng = Rng::new(seed("CHAPPE_SEMAPHORE_SEED"));
    let bell = Bell::new();
    let mut futures: Vec<Pin<Box<Acquire<'_>>>> = Vec::new();
    let mut permits: Vec<Permit<'_>> = Vec::new();
    for _ in 0..5000 {
        match rng.below(6) {
            0 | 1 if futures.len() < 50 => {
                let handle = if rng.one_in(2) { &semaphore } else { &other };
                futures.push(Box::pin(handle.acquire_many_async(1 + rng.below(3))));
            }
            2 | 3 if !futures.is_empty() => {
                let chosen = rng.index(futures.len());
                if let Poll::Ready(permit) = poll(&mut futures[chosen], &bell) {
                    permits.push(permit.unwrap());
                    drop(futures.swap_remove(chosen));
                }
            }
            4 if !futures.is_empty() => drop(futures.swap_remove(rng.index(futures.len()))),
            5 if !permits.is_empty() => drop(permits.swap_remove(rng.index(permits.len()))),
            _ => {}
        }
    }
    drop((futures, permits));
    is_untouched(&semaphore, 3);
}

#[test]
fn a_future_that_has_ended_can_be_dropped() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    let bell = Bell::new();
    let mut future = Box::pin(semaphore.acquire_async());
    let Poll::Ready(Ok(permit)) = poll(&mut future, &bell) else { panic!("one is free") };
    drop(future);
    assert_eq!(semaphore.available(), 0, "the permit is not the future's any more");
    drop(permit);
    is_untouched(&semaphore, 1);
}

// ---- wakers ----

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    let held = semaphore.acquire().unwrap();
    let (old, new) = (Bell::new(), Bell::new());
    let mut future = queued(&semaphore, 1, &old);
    assert!(poll(&mut future, &new).is_pending());
    let before = old.rings();
    drop(held);
    until("a wake of the new one", || new.rings() > 0);
    assert_eq!(old.rings(), before, "the old one was woken for a permit");
    assert!(poll(&mut future, &new).is_ready());
    drop(future);
    assert_eq!(Arc::strong_count(&new), 1, "a waker was kept");
    assert_eq!(Arc::strong_count(&old), 1, "a waker was kept");
}

#[test]
fn a_future_moves_between_threads() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    let held = semaphore.acquire().unwrap();
    let bell = Bell::new();
    let mut future = queued(&semaphore, 1, &bell);
    thread::scope(|scope| {
        let (go, come) = mpsc::channel();
        scope.spawn(move || {
            let pending = poll(&mut future, &Bell::new()).is_pending();
            go.send((future, pending)).unwrap();
        });
        let (future, pending) = come.recv().unwrap();
        assert!(pending);
        let (go, come) = mpsc::channel();
        scope.spawn(move || {
            let permit = block_on(future).unwrap();
            go.send(permit).unwrap();
        });
        drop(held);
        let permit = come.recv_timeout(NET).unwrap();
        assert_eq!(semaphore.available(), 0);
        drop(permit);
    });
    is_untouched(&semaphore, 1);
}

/// A task that is kept alive by its wakers only, as some executors do, and waits for two things.
#[expect(dead_code, reason = "what it holds is dropped with it, and that is all")]
struct Task<'a>(Mutex<Vec<Pin<Box<Acquire<'a>>>>>);

impl Wake for Task<'static> {
    fn wake(self: Arc<Self>) {}
}

/// The last waker of a task goes when one of its futures is polled elsewhere: the task is dropped, and with it another future of
/// the same semaphore. No lock may be held at that moment that this other one needs.
#[test]
fn dropping_a_waker_may_drop_another_future() {
    let (done, end) = mpsc::channel();
    thread::spawn(move || {
        let semaphore: &'static Semaphore = Box::leak(Box::new(Semaphore::unnamed(1).unwrap()));
        let held = semaphore.acquire().unwrap();
        let bell = Bell::new();
        let task = Arc::new(Task(Mutex::new(vec![queued(semaphore, 1, &bell)])));
        let mut moved = Box::pin(semaphore.acquire_async());
        let waker = Waker::from(task);
        assert!(moved.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert_eq!(waiting(semaphore), 2);
        let pending = poll(&mut moved, &bell).is_pending();
        let left = waiting(semaphore);
        drop(held);
        done.send((pending, left)).unwrap();
    });
    let (pending, left) = end.recv_timeout(NET).expect("it does not end: a lock was held while a waker was dropped");
    assert!(pending);
    assert_eq!(left, 1, "the task's other future has gone with it");
}

/// The same when the future is given up, not polled.
#[test]
fn dropping_a_future_may_drop_another_one_with_its_waker() {
    let (done, end) = mpsc::channel();
    thread::spawn(move || {
        let semaphore: &'static Semaphore = Box::leak(Box::new(Semaphore::unnamed(1).unwrap()));
        let held = semaphore.acquire().unwrap();
        let task = Arc::new(Task(Mutex::new(vec![queued(semaphore, 1, &Bell::new())])));
        let mut moved = Box::pin(semaphore.acquire_async());
        let waker = Waker::from(task);
        assert!(moved.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        drop(moved);
        let left = waiting(semaphore);
        drop(held);
        done.send(left).unwrap();
    });
    let left = end.recv_timeout(NET).expect("it does not end: a lock was held while a waker was dropped");
    assert_eq!(left, 0);
}

/// Looking for deadlocks opens and closes every semaphore of the directory, of which the sentries are told: that must not make
/// them look again, and so on for ever.
#[test]
fn a_future_that_looks_for_deadlocks_does_so_now_and_then_only() {
    let dir = scratch();
    let semaphore = options(dir.path()).permits(0).fail_on_deadlock(true).create_new("/s").unwrap();
    let bell = Bell::new();
    let mut future = queued(&semaphore, 1, &bell);
    let start = Instant::now();
    let mut polls = 0;
    // What is measured is a rate: it is woken twice a second.
    while start.elapsed() < Duration::from_secs(2) {
        let seen = bell.rings();
        thread::park_timeout(Duration::from_millis(20));
        if bell.rings() > seen {
            polls += 1;
            assert!(poll(&mut future, &bell).is_pending());
        }
    }
    assert!(polls <= 20, "it was woken and looked {polls} times in two seconds");
    semaphore.set_permits(1).unwrap();
    drop(block_on(future).unwrap());
}

#[test]
fn a_future_finds_a_deadlock() {
    let semaphore = Semaphore::options().fail_on_deadlock(true).unnamed().unwrap();
    let held = block_on(semaphore.acquire_async()).unwrap();
    assert_eq!(err(block_on(semaphore.acquire_async())), AcquireError::Deadlock);
    drop(held);
    is_untouched(&semaphore, 1);
}

#[test]
fn a_hundred_futures_hand_a_permit_round_in_order() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    let held = semaphore.acquire().unwrap();
    let bells: Vec<_> = (0..100).map(|_| Bell::new()).collect();
    let mut futures: Vec<_> = bells.iter().map(|bell| queued(&semaphore, 1, bell)).collect();
    let mut permit = held;
    for number in 0..100 {
        drop(permit);
        until("the next one's wake", || bells[number].rings() > 0);
        let Poll::Ready(Ok(next)) = poll(&mut futures[number], &bells[number]) else { panic!("woken for nothing") };
        permit = next;
        assert!(bells[number + 1..].iter().all(|bell| bell.rings() == 0), "others were woken out of turn");
    }
    drop(permit);
    is_untouched(&semaphore, 1);
}

// ---- under tokio ----

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn multi_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap()
}

/// Ends with a failure if it takes too long.
async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(NET, future).await.unwrap_or_else(|_| panic!("{what} did not end within {NET:?}"))
}

#[test]
fn hundreds_of_tasks_share_few_permits() {
    const TASKS: u64 = 300;
    for runtime in [current_thread(), multi_thread()] {
        let semaphore = Semaphore::unnamed(3).unwrap();
        let (inside, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        runtime.block_on(bounded("the tasks", async {
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..TASKS {
                let (semaphore, inside, done) = (semaphore.clone(), inside.clone(), done.clone());
                tasks.spawn(async move {
                    let wanted = 1 + number % 3;
                    let permit = semaphore.acquire_many_async(wanted).await.unwrap();
                    let now = inside.fetch_add(wanted, Ordering::SeqCst) + wanted;
                    assert!(now <= 3, "{now} of 3 permits are held");
                    tokio::task::yield_now().await;
                    inside.fetch_sub(wanted, Ordering::SeqCst);
                    drop(permit);
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
            while let Some(result) = tasks.join_next().await {
                result.unwrap();
            }
        }));
        assert_eq!(done.load(Ordering::SeqCst), TASKS);
        is_untouched(&semaphore, 3);
    }
}

/// One permit, held across an await: tasks exclude one another, and none is forgotten.
#[test]
fn tasks_exclude_one_another() {
    const TASKS: u64 = 40;
    const ROUNDS: u64 = 5;
    let semaphore = Semaphore::unnamed(1).unwrap();
    let counter = Arc::new(AtomicU64::new(0));
    multi_thread().block_on(bounded("the tasks", async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..TASKS {
            let (semaphore, counter) = (semaphore.clone(), counter.clone());
            tasks.spawn(async move {
                for _ in 0..ROUNDS {
                    let permit = semaphore.acquire_async().await.unwrap();
                    let before = counter.load(Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    counter.store(before + 1, Ordering::Relaxed);
                    drop(permit);
                }
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
    }));
    assert_eq!(counter.load(Ordering::SeqCst), TASKS * ROUNDS);
    is_untouched(&semaphore, 1);
}

#[test]
fn a_future_blocks_no_thread_of_its_runtime() {
    let semaphore = Semaphore::unnamed(0).unwrap();
    current_thread().block_on(bounded("the one thread", async {
        let (permit, ()) = tokio::join!(semaphore.acquire_async(), async {
            tokio::task::yield_now().await;
            semaphore.post().unwrap();
        });
        drop(permit.unwrap());
    }));
    is_untouched(&semaphore, 1);
}

#[test]
fn a_future_can_stand_in_a_select_and_under_a_timeout() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    current_thread().block_on(bounded("select", async {
        let held = semaphore.acquire_async().await.unwrap();
        for _ in 0..20 {
            tokio::select! {
                biased;
                _ = semaphore.acquire_async() => panic!("there is none"),
                () = tokio::task::yield_now() => {}
            }
            assert_eq!(waiting(&semaphore), 0);
        }
        let soon = Duration::from_millis(5);
        assert!(tokio::time::timeout(soon, semaphore.acquire_async()).await.is_err());
        assert_eq!(waiting(&semaphore), 0);
        // The permit is given back while the future is being polled in turn with others: one of the two gets it.
        let mut held = Some(held);
        tokio::select! {
            biased;
            permit = semaphore.acquire_async() => drop(permit.unwrap()),
            permit = async {
                tokio::task::yield_now().await;
                held.take();
                semaphore.acquire_async().await
            } => drop(permit.unwrap()),
        }
    }));
    is_untouched(&semaphore, 1);
}

#[test]
fn timeouts_that_race_with_releases_lose_nothing() {
    let semaphore = Semaphore::unnamed(2).unwrap();
    let granted = Arc::new(AtomicU64::new(0));
    multi_thread().block_on(bounded("the tasks", async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..60_u64 {
            let (semaphore, granted) = (semaphore.clone(), granted.clone());
            tasks.spawn(async move {
                for round in 0..10 {
                    let patience = Duration::from_millis((number + round) % 7);
                    if let Ok(permit) = tokio::time::timeout(patience, semaphore.acquire_async()).await {
                        granted.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        drop(permit.unwrap());
                    }
                }
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
    }));
    assert!(granted.load(Ordering::Relaxed) > 0);
    is_untouched(&semaphore, 2);
}

#[test]
fn a_runtime_that_goes_takes_its_futures_along() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    let held = semaphore.acquire().unwrap();
    let runtime = multi_thread();
    for _ in 0..30 {
        let semaphore = semaphore.clone();
        runtime.spawn(async move { drop(semaphore.acquire_async().await) });
    }
    until_waiting(&semaphore, 30);
    runtime.shutdown_timeout(NET);
    assert_eq!(waiting(&semaphore), 0);
    drop(held);
    is_untouched(&semaphore, 1);
}

#[test]
fn closing_ends_hundreds_of_futures() {
    let semaphore = Semaphore::unnamed(0).unwrap();
    let closed = Arc::new(AtomicU64::new(0));
    multi_thread().block_on(bounded("the tasks", async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let (semaphore, closed) = (semaphore.clone(), closed.clone());
            tasks.spawn(async move {
                assert_eq!(err(semaphore.acquire_async().await), AcquireError::Closed);
                closed.fetch_add(1, Ordering::SeqCst);
            });
        }
        while waiting(&semaphore) < 200 {
            tokio::task::yield_now().await;
        }
        semaphore.close().unwrap();
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
    }));
    assert_eq!(closed.load(Ordering::SeqCst), 200);
    assert_eq!(waiting(&semaphore), 0);
}

/// Threads that block and tasks that do not, through two handles.
#[test]
fn tasks_and_threads_share() {
    let semaphore = Semaphore::unnamed(2).unwrap();
    let other = another_handle(&semaphore);
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let handle = if number % 2 == 0 { semaphore.clone() } else { other.clone() };
            let stop = stop.clone();
            thread::spawn(move || {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    drop(handle.acquire_timeout(NET).unwrap());
                    count += 1;
                }
                count
            })
        })
        .collect();
    multi_thread().block_on(bounded("the tasks", async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..20 {
            let handle = if number % 2 == 0 { semaphore.clone() } else { other.clone() };
            tasks.spawn(async move {
                for _ in 0..5 {
                    drop(handle.acquire_many_async(1 + number % 2).await.unwrap());
                }
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
    }));
    stop.store(true, Ordering::Relaxed);
    let count: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(count > 0, "the threads were starved");
    is_untouched(&semaphore, 2);
}

#[test]
fn a_permit_is_held_across_awaits_and_threads() {
    let semaphore = Semaphore::unnamed(1).unwrap();
    multi_thread().block_on(bounded("the tasks", async {
        let permit = semaphore.acquire_async().await.unwrap().into_static();
        let kept = tokio::spawn(async move {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            permit
        });
        let permit = kept.await.unwrap();
        assert_eq!(semaphore.available(), 0);
        tokio::task::spawn_blocking(move || drop(permit)).await.unwrap();
    }));
    is_untouched(&semaphore, 1);
}
