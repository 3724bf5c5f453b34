//! What the system tells of another process, in /proc: whether it sleeps, what it has become, what it has used.

use crate::measure::clock::{PATIENCE, now};
use crate::measure::{Result, clock};
use std::fs;
use std::time::Duration;

/// Between two looks at a process that is not asleep yet.
const PAUSE: Duration = Duration::from_micros(100);

/// Waits until a process sleeps, and still does after `settle` nanoseconds.
pub fn until_asleep(pid: i32, settle: u64) -> Result<()> {
    let start = now();
    loop {
        if is_asleep(pid)? {
            clock::spin_until(now() + settle);
            if is_asleep(pid)? {
                return Ok(());
            }
        }
        if now() - start > PATIENCE.as_nanos() as u64 {
            return Err("a process of this measurement did not go to sleep".into());
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until a process has become the command of this name.
pub fn until_it_is(pid: i32, command: &str) -> Result<()> {
    let start = now();
    while fs::read_to_string(format!("/proc/{pid}/comm"))?.trim_end() != command {
        if now() - start > PATIENCE.as_nanos() as u64 {
            return Err(format!("a process of this measurement did not become `{command}`").into());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Whether the main thread of a process sleeps, and will not without a reason wake.
fn is_asleep(pid: i32) -> Result<bool> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command, in parentheses, may hold anything.
    Ok(stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S')))
}

/// What all threads of a sleeping process have used so far.
pub struct Sample {
    pub when: u64,
    /// How often one of them went to sleep by itself.
    pub switches: u64,
    pub cpu_nanos: u64,
    pub threads: usize,
}

impl Sample {
    /// # Errors
    /// If the process is not asleep.
    pub fn of(pid: i32) -> Result<Sample> {
        if !is_asleep(pid)? {
            return Err("the process that should wait is not asleep".into());
        }
        let mut sample = Sample { when: now(), switches: 0, cpu_nanos: 0, threads: 0 };
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?.path();
            let status = fs::read_to_string(thread.join("status"))?;
            sample.switches +=
                number_after(&status, "voluntary_ctxt_switches:").ok_or("no context switches in status")?;
            // Nanoseconds on the CPU come first; /proc/PID/stat would count in ticks of ten milliseconds.
            let schedule = fs::read_to_string(thread.join("schedstat"))?;
            sample.cpu_nanos += schedule.split_whitespace().next().unwrap_or_default().parse::<u64>()?;
            sample.threads += 1;
        }
        Ok(sample)
    }
}

/// A line of the form `label number [unit]`.
pub fn number_after(text: &str, label: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(label))?.split_whitespace().next()?.parse().ok()
}
