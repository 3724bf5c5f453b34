//! A second thread writes wild words into the segment while all operations run: see `chappe_fuzz`.

#![no_main]

use chappe_fuzz::queue::Queues;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static QUEUES: Queues = Queues::new(true);
}

fuzz_target!(|data: &[u8]| QUEUES.with(|queues| queues.run(data)));
