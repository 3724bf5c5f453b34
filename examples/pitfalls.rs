//! What the classic pitfalls of message queues and semaphores are here. `examples/c/pitfalls` has them with the POSIX calls, and
//! `docs/guide.md` puts both side by side.
//!
//! ```sh
//! cargo run --example pitfalls
//! ```

use chappe::{Queue, Semaphore};
use std::error::Error;
use std::time::Duration;

const NAME: &str = "/chappe_example_pitfalls";
const A_SECOND: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    // It goes when this program ends, however it ends: no unlink to forget.
    let queue = Queue::options().capacity(2).message_size(64).ephemeral(true).create_new(NAME)?;
    short_buffer(&queue)?;
    another_size()?;
    full_queue(&queue)?;
    signal_handler(&queue)?;
    more_acquired_than_given_back()
}

fn short_buffer(queue: &Queue) -> Result<(), Box<dyn Error>> {
    queue.send(b"hello", 0)?;
    let mut room_for_three = [0; 3];
    println!("short buffer: {}", queue.recv_into(&mut room_for_three).unwrap_err());
    let mut room_for_five = [0; 5];
    queue.recv_into(&mut room_for_five)?; // shorter than the longest message, but long enough for this one
    println!("long enough: {}", String::from_utf8_lossy(&room_for_five));
    Ok(())
}

fn another_size() -> Result<(), Box<dyn Error>> {
    let error = Queue::options().capacity(8).create(NAME).unwrap_err();
    println!("another size: {error}");
    Ok(())
}

fn full_queue(queue: &Queue) -> Result<(), Box<dyn Error>> {
    while queue.try_send(b"work", 0).is_ok() {}
    println!("full, not waiting: {}", queue.try_send(b"urgent", 9).unwrap_err());
    println!("full, for a second: {}", queue.send_timeout(b"urgent", 9, A_SECOND).unwrap_err());
    queue.purge()?;
    Ok(())
}

fn signal_handler(queue: &Queue) -> Result<(), Box<dyn Error>> {
    extern "C" fn handler(_: libc::c_int) {}
    // SAFETY: all zeros are an action: no flags, so no SA_RESTART, and no signal blocked meanwhile.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    // SAFETY: the action lives through the call, and its handler does nothing, which is safe at any moment.
    unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
    let tenth = libc::timeval { tv_sec: 0, tv_usec: 100_000 };
    let often = libc::itimerval { it_interval: tenth, it_value: tenth };
    // SAFETY: the timer's values live through the call, and the old ones are not asked for.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const often, std::ptr::null_mut()) };
    println!("a signal ten times a second: {}", queue.recv_timeout(A_SECOND).unwrap_err());
    Ok(())
}

fn more_acquired_than_given_back() -> Result<(), Box<dyn Error>> {
    let semaphore = Semaphore::unnamed(1)?;
    let work = || -> Result<(), Box<dyn Error>> {
        let _permit = semaphore.acquire()?;
        Err("this work failed".into()) // a return in the middle gives the permit back
    };
    println!("{}; {} permit is free", work().unwrap_err(), semaphore.available());
    Ok(())
}
