//! Child processes that measure: forked, pinned, bounded in time, killed when they are no longer wanted. What they find
//! comes back through a pipe.
//!
//! Every process that forks here has one thread (and must keep it so): that is what makes fork without exec sound. A child that
//! waits for a permit of ours gets a second thread, and forks no more.

use crate::measure::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, kill_process, set_parent_process_death_signal, waitpid,
};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Serialize, de::DeserializeOwned};
use std::fs::File;
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// The longest any one measurement may take; a hang becomes an error, never a hung benchmark.
const LIMIT: Duration = Duration::from_secs(60);

/// A running child. Dropped, it is killed and reaped.
pub struct Child<T> {
    pid: Pid,
    answer: File,
    reaped: bool,
    found: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Child<T> {
    /// Forks a child that pins itself to `cpu` (if given), does `work`, and sends back what that found.
    pub fn spawn(cpu: Option<usize>, work: impl FnOnce() -> Result<T>) -> Result<Child<T>> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let parent = getpid();
        // SAFETY: this process has one thread, so the child finds no lock held by a thread that it does not have.
        match unsafe { libc::fork() } {
            -1 => Err(std::io::Error::last_os_error().into()),
            0 => {
                drop(read);
                be_a_child(parent, cpu, File::from(write), work)
            }
            pid => {
                let pid = Pid::from_raw(pid).ok_or("fork gave process id 0 to the parent")?;
                Ok(Child { pid, answer: File::from(read), reaped: false, found: PhantomData })
            }
        }
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits for what the child found, as long as it takes. A signal whose handler ran is an error: this ends the child.
    pub fn join(self) -> Result<T> {
        poll(&mut [PollFd::new(&self.answer, PollFlags::IN)], None).map_err(|_| "ended before it was done")?;
        self.collect()
    }

    /// Why a child did not come to its next step, if it says so; else `otherwise`.
    pub fn complaint(self, otherwise: Error) -> Error {
        match answered(&[Some(&self)], Instant::now()) {
            Ok(_) => self.collect().err().unwrap_or(otherwise),
            Err(_) => otherwise,
        }
    }

    fn collect(mut self) -> Result<T> {
        let mut text = Vec::new();
        self.answer.read_to_end(&mut text)?;
        let status = waitpid(Some(self.pid), WaitOptions::empty())?;
        self.reaped = true;
        if text.is_empty() {
            return Err(format!("a child process died without an answer ({status:?})").into());
        }
        serde_json::from_slice::<Result<T, String>>(&text)?.map_err(Into::into)
    }
}

impl<T> Drop for Child<T> {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        // It may be gone already; it is reaped below either way.
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// Pins, works, answers, and leaves without running anything that belongs to the parent (destructors, buffers).
fn be_a_child<T: Serialize>(parent: Pid, cpu: Option<usize>, mut answer: File, work: impl FnOnce() -> Result<T>) -> ! {
    let whole = || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(parent) {
            return Err("the parent was gone before it could be watched".into());
        }
        crate::supervise::default_signals();
        if let Some(cpu) = cpu {
            pin(cpu)?;
        }
        work()
    };
    let found = match catch_unwind(AssertUnwindSafe(whole)) {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err("a child process panicked".to_owned()),
    };
    let sent = serde_json::to_vec(&found).map(|text| answer.write_all(&text));
    let code = if matches!(sent, Ok(Ok(()))) { 0 } else { 1 };
    // SAFETY: `_exit` ends the process; it takes any status.
    unsafe { libc::_exit(code) }
}

/// Binds this process to one CPU.
pub fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Measures in one child on `cpu`.
pub fn alone<T: Serialize + DeserializeOwned>(cpu: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut found = join_all(vec![Child::spawn(Some(cpu), work)?])?;
    found.pop().ok_or_else(|| "a child process gave no figure".into())
}

/// Waits for all children, at most [`LIMIT`]. The first one that fails ends the others.
pub fn join_all<T: Serialize + DeserializeOwned>(children: Vec<Child<T>>) -> Result<Vec<T>> {
    let deadline = Instant::now() + LIMIT;
    let mut running: Vec<Option<Child<T>>> = children.into_iter().map(Some).collect();
    let mut found: Vec<Option<T>> = running.iter().map(|_| None).collect();
    while running.iter().any(Option::is_some) {
        for index in answered(&running.iter().map(Option::as_ref).collect::<Vec<_>>(), deadline)? {
            if let Some(child) = running[index].take() {
                found[index] = Some(child.collect()?);
            }
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// The places of those that have answered, or died; waits until there is one.
fn answered<T>(running: &[Option<&Child<T>>], deadline: Instant) -> Result<Vec<usize>> {
    let places: Vec<usize> = (0..running.len()).filter(|index| running[*index].is_some()).collect();
    let mut polled: Vec<PollFd<'_>> =
        running.iter().flatten().map(|child| PollFd::new(&child.answer, PollFlags::IN)).collect();
    let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()))?;
    if poll(&mut polled, Some(&left))? == 0 {
        return Err(format!("a measurement took longer than {} s and was ended", LIMIT.as_secs()).into());
    }
    Ok(places.into_iter().zip(&polled).filter(|(_, fd)| !fd.revents().is_empty()).map(|(place, _)| place).collect())
}
