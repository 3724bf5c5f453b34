//! A second thread writes wild words into the segment while all operations run: see `chappe_fuzz`.

#![no_main]

use chappe_fuzz::semaphore::Semaphores;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static SEMAPHORES: Semaphores = Semaphores::new(true);
}

fuzz_target!(|data: &[u8]| SEMAPHORES.with(|semaphores| semaphores.run(data)));
