//! A segment with wild words, before it is opened and between calls; and segments that are right, whose answers are compared: see `chappe_fuzz`.

#![no_main]

use chappe_fuzz::semaphore::Semaphores;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static SEMAPHORES: Semaphores = Semaphores::new(false);
}

fuzz_target!(|data: &[u8]| SEMAPHORES.with(|semaphores| semaphores.run(data)));
