//! Wakes that were lost once, without any death. A bounded sleep heals a lost wake after half a second, so what shows one is
//! that it takes so long in most rounds: each test repeats its round and looks at the median.
//!
//! It does not test that wakes are fast; the benchmark does.

use chappe::{Queue, RecvError, SendError};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A sleep that nobody ends lasts 500 ms; one that was woken takes far less even on a busy machine.
const NOT_WOKEN: Duration = Duration::from_millis(400);
const ROUNDS: usize = 9;

fn queue(dir: &tempfile::TempDir, capacity: u32) -> Arc<Queue> {
    Arc::new(Queue::options().dir(dir.path()).capacity(capacity).create("/q").unwrap())
}

/// Polls until so many calls have gone to sleep, on either side. Bounded, since a call that never sleeps is a fault, too.
fn until_blocked(queue: &Queue, count: u64) {
    let start = Instant::now();
    loop {
        let counters = queue.stat().unwrap().counters;
        if counters.send_blocked + counters.recv_blocked >= count {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{count} calls should sleep by now: {counters:?}");
        thread::yield_now();
    }
}

fn blocked<T: Send + 'static>(
    queue: &Arc<Queue>,
    count: u64,
    call: impl Fn(&Queue) -> T + Send + Clone + 'static,
) -> Vec<JoinHandle<T>> {
    let before = queue.stat().unwrap().counters;
    let threads = (0..count).map(|_| {
        let (queue, call) = (queue.clone(), call.clone());
        thread::spawn(move || call(&queue))
    });
    let threads = threads.collect();
    until_blocked(queue, before.send_blocked + before.recv_blocked + count);
    threads
}

/// The median time of a round is less than what a lost wake costs.
fn most_are_woken(mut round: impl FnMut() -> Duration) {
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| round()).collect();
    times.sort();
    assert!(times[ROUNDS / 2] < NOT_WOKEN, "wakes were lost: {times:?}");
}

/// Slots that are freed while the window is full are not armed but free: a sender that was woken for several of them finds
/// nothing armed beyond its own, and must pass the wake on all the same.
#[test]
fn room_beyond_the_window_reaches_all_sleeping_senders() {
    most_are_woken(|| {
        let dir = tempfile::tempdir().unwrap();
        let queue = queue(&dir, 30);
        let large = vec![1; 4000];
        (0..30).for_each(|_| queue.send(&large, 0).unwrap());
        let senders = blocked(&queue, 30, move |queue| queue.send(&[2; 4000], 0));
        let start = Instant::now();
        (0..30).for_each(|_| assert_eq!(queue.recv().unwrap().data, large));
        senders.into_iter().for_each(|sender| sender.join().unwrap().unwrap());
        start.elapsed()
    });
}

/// Two sleep; a message wakes one and clears the flag; the queue is closed before that one has looked. The other one must
/// hear of the close.
#[test]
fn a_close_right_after_a_send_wakes_everybody() {
    most_are_woken(|| {
        let dir = tempfile::tempdir().unwrap();
        let queue = queue(&dir, 4);
        let receivers = blocked(&queue, 2, |queue| queue.recv().map(|message| message.data));
        let start = Instant::now();
        queue.send(b"last", 0).unwrap();
        queue.close().unwrap();
        let results: Vec<_> = receivers.into_iter().map(|receiver| receiver.join().unwrap()).collect();
        assert!(results.contains(&Ok(b"last".to_vec())) && results.contains(&Err(RecvError::Closed)), "{results:?}");
        start.elapsed()
    });
}

/// A receiver is woken and cannot take the message, since its buffer is too small: the message is good news for the next one.
#[test]
fn a_receiver_that_fails_passes_its_wake_on() {
    most_are_woken(|| {
        let dir = tempfile::tempdir().unwrap();
        let queue = queue(&dir, 4);
        let small = blocked(&queue, 1, |queue| queue.recv_into(&mut [0; 4]).map(|_| ()));
        let large = blocked(&queue, 1, |queue| queue.recv().map(|message| message.data));
        let start = Instant::now();
        queue.send(&[7; 100], 0).unwrap();
        for receiver in large {
            assert_eq!(receiver.join().unwrap(), Ok(vec![7; 100]));
        }
        let took = start.elapsed();
        queue.send(b"end", 0).unwrap();
        for receiver in small {
            // It failed if it was woken first; else it has the second message.
            let result = receiver.join().unwrap();
            assert!(matches!(result, Ok(()) | Err(RecvError::BufferTooSmall { needed: 100, room: 4 })), "{result:?}");
        }
        took
    });
}

/// A batch that was put to sleep and then fails in its middle has used up a wake that was for two.
#[test]
fn a_batch_that_fails_passes_its_wake_on() {
    most_are_woken(|| {
        let dir = tempfile::tempdir().unwrap();
        let queue = Arc::new(Queue::options().dir(dir.path()).capacity(2).message_size(64).create("/q").unwrap());
        (0..2).for_each(|_| queue.send(b"full", 0).unwrap());
        let batch = blocked(&queue, 1, |queue| queue.send_many(&[(vec![1; 8], 0), (vec![2; 65], 0)]));
        let single = blocked(&queue, 1, |queue| queue.send(b"one", 0));
        let start = Instant::now();
        (0..2).for_each(|_| assert_eq!(queue.recv().unwrap().data, b"full"));
        single.into_iter().for_each(|sender| sender.join().unwrap().unwrap());
        let took = start.elapsed();
        for sender in batch {
            let error = sender.join().unwrap().unwrap_err();
            assert_eq!((error.sent, error.error), (1, SendError::TooLong { length: 65, max: 64 }));
        }
        took
    });
}
