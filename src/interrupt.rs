//! Ending the wait of one thread from another: a word for each thread, on which its interruptible waits sleep, too.

use crate::sync::{AtomicU32, Ordering, futex};
use std::sync::Arc;

thread_local! {
    /// 0, or 1: the wait that this thread is in, or its next one, shall end.
    static OWN: Arc<AtomicU32> = Arc::new(AtomicU32::new(0));
}

/// Ends waits of one thread on queues that were opened [`interruptible`](crate::QueueOptions::interruptible).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use chappe::{Interrupter, Queue, RecvError};
/// let queue = Queue::options().dir(dir.path()).interruptible(true).create("/orders")?;
/// let (tell, told) = std::sync::mpsc::channel();
/// let receiver = std::thread::spawn(move || {
///     tell.send(Interrupter::of_this_thread()).unwrap();
///     queue.recv()
/// });
/// told.recv()?.interrupt();
/// assert_eq!(receiver.join().unwrap(), Err(RecvError::Interrupted));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Interrupter {
    word: Arc<AtomicU32>,
}

impl Interrupter {
    /// That of the calling thread.
    pub fn of_this_thread() -> Interrupter {
        Interrupter { word: OWN.with(Arc::clone) }
    }

    /// Ends the wait that the thread is in with `Interrupted`, or else the next one that it begins. A message that it would
    /// have received stays in the queue; one that is there already is received, and then the next wait ends.
    ///
    /// # If a process dies here
    /// Interrupters reach threads of their own process only.
    pub fn interrupt(&self) {
        // Partner: the load in `taken`, or the kernel's look at the word.
        self.word.store(1, Ordering::Release);
        futex::wake(&self.word, 1);
    }
}

/// Calls `sleep` with this thread's word. Where the thread is ending and has none any more, a word that nobody changes.
pub(crate) fn with_word<T>(sleep: impl FnOnce(&AtomicU32) -> T) -> T {
    match OWN.try_with(Arc::clone) {
        Ok(word) => sleep(&word),
        Err(_) => sleep(&AtomicU32::new(0)),
    }
}

/// Whether this thread shall come out of its wait; asked once for each interruption.
pub(crate) fn taken() -> bool {
    with_word(|word| word.load(Ordering::Acquire) != 0 && word.swap(0, Ordering::Acquire) != 0)
}
