//! The semaphore in one program, among threads: acquire and release, not waiting, waiting for a time, several permits at once
//! and in parts, and who holds what.
//!
//! ```sh
//! cargo run --example semaphore
//! ```

use chappe::{AcquireError, Semaphore};
use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    // It has no name; `Semaphore::create("/pool", 4)` would make one for all processes.
    let semaphore = Semaphore::options().permits(4).label("example").unnamed()?;

    // A permit is held as long as the value lives.
    let permit = semaphore.acquire()?;
    println!("one acquired: {} of {} are free", semaphore.available(), semaphore.permits());
    drop(permit);
    assert_eq!(semaphore.available(), 4);

    // Not waiting, and waiting for a time.
    let all = semaphore.acquire_many(4)?;
    assert_eq!(semaphore.try_acquire().unwrap_err(), AcquireError::NoPermits);
    let timeout = Duration::from_millis(50);
    assert_eq!(semaphore.acquire_timeout(timeout).unwrap_err(), AcquireError::TimedOut);
    println!("all four acquired at once: a fifth is not to be had, neither now nor within {timeout:?}");

    // More than there are is refused at once: it could never be granted.
    let error = semaphore.acquire_many(5).unwrap_err();
    println!("five at once: {error}");
    assert_eq!(error, AcquireError::TooMany { asked: 5, permits: 4 });

    // In parts: here three stay, and one goes to another thread, which gives it back.
    let mut three = all;
    let one = three.split(1)?;
    thread::scope(|scope| {
        scope.spawn(|| drop(one));
    });
    assert_eq!((three.permits(), semaphore.available()), (3, 1));
    println!("split: one was given back by another thread, three are held");

    // Who holds what, and what for.
    three.set_label("nightly backup");
    let other = semaphore.acquire()?;
    for holder in semaphore.stat()?.holders {
        println!("held for {:?}: {}", holder.label, holder.permits);
    }
    let mut labels: Vec<String> = semaphore.stat()?.holders.into_iter().map(|holder| holder.label).collect();
    labels.sort();
    assert_eq!(labels, ["example", "nightly backup"]);
    drop((three, other));

    // Eight threads, four permits.
    let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        let work = || {
            let _permit = semaphore.acquire()?;
            most.fetch_max(inside.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(20));
            inside.fetch_sub(1, Ordering::Relaxed);
            Ok::<(), AcquireError>(())
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread panicked"))
    })?;
    let most = most.into_inner();
    println!("eight threads worked, at most {most} at a time");
    assert!(most <= 4);
    assert_eq!(semaphore.available(), 4);
    Ok(())
}
