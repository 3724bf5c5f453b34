//! A semaphore without a name, between a parent and the child that it forks. First as a signal: one side posts, the other waits.
//! Then as a permit: the child acquires it and is killed, and the parent gets it.
//!
//! ```sh
//! cargo run --example sem_unnamed
//! ```
//!
//! A process that is no child reaches such a semaphore by its descriptor: `AsFd` here, `SemaphoreOptions::from_fd` there.

use chappe::{AcquireError, Semaphore};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::error::Error;
use std::time::Duration;

/// The other side may have died: then a wait ends with an error, not never.
const PATIENCE: Duration = Duration::from_secs(10);

/// Both sides have these; they are in memory that the two share.
struct Shared {
    to_child: Semaphore,
    to_parent: Semaphore,
    resource: Semaphore,
}

fn main() -> Result<(), Box<dyn Error>> {
    let shared = Shared {
        to_child: Semaphore::unnamed(0)?, // nothing has been signalled
        to_parent: Semaphore::unnamed(0)?,
        resource: Semaphore::unnamed(1)?, // one may have it at a time
    };
    // SAFETY: this process has no other thread, so the child is a whole copy of it and may call anything.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error().into()),
        0 => child(&shared),
        pid => parent(&shared, Pid::from_raw(pid).ok_or("fork gave no process id")?),
    }
}

fn child(shared: &Shared) -> Result<(), Box<dyn Error>> {
    shared.to_child.wait_timeout(PATIENCE)?;
    println!("child: I was signalled, and signal back");
    shared.to_parent.post()?;

    shared.to_child.wait_timeout(PATIENCE)?;
    let _permit = shared.resource.acquire_timeout(PATIENCE)?;
    println!("child: I have the resource");
    shared.to_parent.post()?;
    shared.to_child.wait_timeout(PATIENCE)?; // killed here
    Err("the parent should have killed this child".into())
}

fn parent(shared: &Shared, child: Pid) -> Result<(), Box<dyn Error>> {
    println!("parent: I signal");
    shared.to_child.post()?;
    shared.to_parent.wait_timeout(PATIENCE)?;
    println!("parent: the child has answered");

    shared.to_child.post()?;
    shared.to_parent.wait_timeout(PATIENCE)?;
    match shared.resource.try_acquire() {
        Err(AcquireError::NoPermits) => println!("parent: the child has the resource, I do not get it"),
        other => return Err(format!("expected that the child has it, got {other:?}").into()),
    }

    println!("parent: I kill the child");
    kill_process(child, Signal::KILL)?;
    let permit = shared.resource.acquire_timeout(PATIENCE)?;
    println!("parent: the child is dead, and I have the resource");
    waitpid(Some(child), WaitOptions::empty())?;
    drop(permit);
    if shared.resource.available() == 1 { Ok(()) } else { Err("the permit did not come back once".into()) }
}
