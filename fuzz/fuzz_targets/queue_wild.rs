//! A segment with wild words, before it is opened and between calls; and segments that are right, whose answers are compared: see `chappe_fuzz`.

#![no_main]

use chappe_fuzz::queue::Queues;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static QUEUES: Queues = Queues::new(false);
}

fuzz_target!(|data: &[u8]| QUEUES.with(|queues| queues.run(data)));
