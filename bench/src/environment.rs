//! Where the figures were made: machine, system, load. A figure without this is not worth keeping.

use crate::Arguments;
use crate::measure::{Result, clock};
use serde::Serialize;
use std::fs;
use std::process::Command;
use std::time::SystemTime;

/// The load average above which other work disturbs the figures.
const LOAD_QUIET: f64 = 0.5;

#[derive(Serialize)]
pub struct Environment {
    pub date: String,
    pub version: &'static str,
    pub revision: Option<String>,
    pub optimised: bool,
    pub cpu_model: String,
    pub cpus: usize,
    pub pinned: [usize; 2],
    pub hyper_threads_of_one_core: bool,
    pub virtual_machine: bool,
    pub kernel: String,
    pub clock_source: String,
    pub clock_cost_nanoseconds: f64,
    pub load_average_before: f64,
    /// Set when the run has ended: what the hypervisor gave to others, in percent of the CPU time.
    pub steal_percent: f64,
    /// Set when the run has ended: what other processes of this system used, in percent of the CPU time.
    pub others_percent: f64,
    pub rounds: usize,
    pub quick: bool,
    pub kernel_queue_limits: String,
}

impl Environment {
    pub fn look(arguments: &Arguments, pinned: [usize; 2], limits: String) -> Environment {
        let cpu_info = read("/proc/cpuinfo");
        Environment {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            version: env!("CARGO_PKG_VERSION"),
            revision: revision(),
            optimised: !cfg!(debug_assertions),
            cpu_model: field(&cpu_info, "model name").unwrap_or("unknown").to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            pinned,
            hyper_threads_of_one_core: siblings(pinned),
            virtual_machine: field(&cpu_info, "flags").is_some_and(|flags| flags.contains(" hypervisor")),
            kernel: read("/proc/sys/kernel/osrelease"),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            clock_cost_nanoseconds: clock::cost(),
            load_average_before: load_average().unwrap_or(f64::NAN),
            steal_percent: 0.0,
            others_percent: 0.0,
            rounds: arguments.rounds(),
            quick: arguments.quick,
            kernel_queue_limits: limits,
        }
    }

    pub fn show(&self) -> String {
        let place = if self.virtual_machine { "virtual machine" } else { "no hypervisor" };
        let revision = self.revision.as_deref().unwrap_or("no revision");
        let [first, second] = self.pinned;
        format!(
            "chappe-bench {} ({revision}), {}\n{}, {} CPUs ({place}), pinned to CPU {first} and CPU {second}; Linux {}; clock {} ({:.0} ns a reading); load {:.2}\nkernel queue: {}\neach figure: median (least – greatest) of {} rounds, the contestants in turn{}\n",
            self.version,
            self.date,
            self.cpu_model,
            self.cpus,
            self.kernel,
            self.clock_source,
            self.clock_cost_nanoseconds,
            self.load_average_before,
            self.kernel_queue_limits,
            self.rounds,
            if self.quick { "; a quick run, for a first look only" } else { "" },
        )
    }

    /// What makes these figures worth less than they look.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |condition, text: String| {
            if condition {
                warnings.push(format!("warning: {text}"));
            }
        };
        warn(!self.optimised, "not an optimised build: use cargo run --release".to_owned());
        let load = self.load_average_before;
        warn(load > LOAD_QUIET, format!("load average {load:.2}: other programs disturb these figures"));
        warn(self.pinned[0] == self.pinned[1], "only one CPU: figures that need two are left out".to_owned());
        let siblings = "the two CPUs are hyper-threads of one core: transfers between cores cost more".to_owned();
        warn(self.hyper_threads_of_one_core, siblings);
        let steal = self.steal_percent;
        warn(steal > 1.0, format!("the hypervisor gave {steal:.1} % of the CPU time to others during the run"));
        let others = self.others_percent;
        warn(others > 2.0, format!("other processes used {others:.1} % of the CPU time during the run"));
        warnings
    }
}

/// CPU time in clock ticks, all CPUs together.
pub struct Ticks {
    all: u64,
    stolen: u64,
    busy: u64,
    /// This process and the children that it has waited for.
    ours: u64,
}

impl Ticks {
    pub fn now() -> Result<Ticks> {
        let stat = fs::read_to_string("/proc/stat")?;
        // user nice system idle iowait irq softirq steal
        let times = numbers(stat.lines().next().unwrap_or_default(), 1, 8);
        let [user, nice, system, idle, iowait, irq, softirq, stolen] = times[..] else {
            return Err("/proc/stat has no times".into());
        };
        let own = fs::read_to_string("/proc/self/stat")?;
        // The command, in parentheses, may hold blanks: count from behind it. Then utime stime cutime cstime.
        let after_command = own.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ours = numbers(after_command, 11, 4).iter().sum();
        let busy = user + nice + system + irq + softirq;
        Ok(Ticks { all: busy + idle + iowait + stolen, stolen, busy, ours })
    }
}

impl Environment {
    /// What the run had to share its CPUs with since `before`.
    pub fn note_the_others(&mut self, before: &Ticks) -> Result<()> {
        let now = Ticks::now()?;
        let all = (now.all - before.all).max(1) as f64;
        let others = (now.busy - before.busy).saturating_sub(now.ours - before.ours);
        self.steal_percent = 100.0 * (now.stolen - before.stolen) as f64 / all;
        self.others_percent = 100.0 * others as f64 / all;
        Ok(())
    }
}

fn numbers(text: &str, skip: usize, take: usize) -> Vec<u64> {
    text.split_whitespace().skip(skip).take(take).filter_map(|number| number.parse().ok()).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or("unknown".to_owned(), |text| text.trim().to_owned())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn load_average() -> Option<f64> {
    read("/proc/loadavg").split_whitespace().next()?.parse().ok()
}

fn siblings([first, second]: [usize; 2]) -> bool {
    let list = |cpu| read(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
    first != second && list(first) == list(second) && list(first) != "unknown"
}

/// The revision that is checked out, with a mark if files differ from it.
fn revision() -> Option<String> {
    let git =
        |arguments: &[&str]| Command::new("git").args(arguments).output().ok().filter(|done| done.status.success());
    let head = String::from_utf8(git(&["rev-parse", "--short=12", "HEAD"])?.stdout).ok()?;
    let dirty = !git(&["status", "--porcelain"])?.stdout.is_empty();
    Some(format!("{}{}", head.trim(), if dirty { " with changes" } else { "" }))
}
