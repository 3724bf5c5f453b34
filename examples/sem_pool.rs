//! A pool of three permits for eight processes: this program starts itself eight times, and at most three of them work at a
//! time. One is killed at its work; its permit comes back by itself, and the others go on.
//!
//! ```sh
//! cargo run --example sem_pool
//! ```
//!
//! How many are inside is not asked of the semaphore: all write "enters" and "leaves" into one pipe, and the parent counts.

use chappe::Semaphore;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::Command;
use std::time::Duration;

const NAME: &str = "/chappe_example_pool";
const PERMITS: u64 = 3;
const WORKERS: usize = 8;
const UNLUCKY: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(number) => work(number.parse()?),
        None => supervise(),
    }
}

fn work(number: usize) -> Result<(), Box<dyn Error>> {
    let pool = Semaphore::open(NAME)?;
    let permit = pool.acquire()?;
    permit.set_label(&format!("worker {number}"));
    println!("worker {number} enters");
    std::thread::sleep(Duration::from_millis(100)); // the work
    if number == UNLUCKY {
        println!("worker {number} leaves: killed at its work");
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
    }
    println!("worker {number} leaves");
    Ok(()) // the permit is dropped here
}

fn supervise() -> Result<(), Box<dyn Error>> {
    // The semaphore goes with this process.
    let pool = Semaphore::options().permits(PERMITS).ephemeral(true).create_new(NAME)?;
    let (lines, all_write_here) = std::io::pipe()?;
    let mut workers = Vec::new();
    for number in 1..=WORKERS {
        let mut worker = Command::new(std::env::current_exe()?);
        workers.push(worker.arg(number.to_string()).stdout(all_write_here.try_clone()?).spawn()?);
    }
    drop(all_write_here); // so that the pipe ends with the last worker

    let (mut inside, mut most, mut entered) = (0, 0, 0);
    for line in BufReader::new(lines).lines() {
        let line = line?;
        if line.ends_with("enters") {
            inside += 1;
            entered += 1;
            most = most.max(inside);
        } else {
            inside -= 1;
        }
        println!("{line:<40} {inside} inside");
    }
    for worker in &mut workers {
        worker.wait()?;
    }

    let stat = pool.stat()?;
    println!("{entered} workers were inside, at most {most} at a time");
    println!(
        "{} permit came back from the dead; {} of {} are free",
        stat.recovered_permits, stat.available, stat.permits
    );
    assert_eq!(entered, WORKERS);
    assert!(most <= PERMITS, "{most} were inside at a time");
    assert_eq!((stat.recovered_permits, stat.available), (1, 3));
    Ok(())
}
