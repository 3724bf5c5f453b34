//! Single-stepping: a forked process that is traced through one operation, instruction by instruction, and can be stopped
//! or killed after each. What the operation is, this file does not know; what such kills show is `kill.rs` beside it, where it goes `way.rs`.
//!
//! Programs that use it have one thread, so that a forked child has everything that its parent had.

pub use super::way::{Leaps, Place, Stand, Way};

use super::readable;
use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// A process that has not come on by then hangs.
pub const HANG: Duration = Duration::from_secs(20);

/// An operation with more instructions than this is not stepped to its end.
const INSTRUCTIONS_MAX: usize = 400_000;

/// Runs `child` in a forked process, which ends there whatever happens.
pub fn fork(child: impl FnOnce() -> bool) -> i32 {
    // SAFETY: this program has one thread, so the child has everything that the parent had.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        die_with_parent();
        let good = catch_unwind(AssertUnwindSafe(child)).unwrap_or(false);
        // SAFETY: it takes a number and does not return. Nothing of the parent's is flushed or dropped twice.
        unsafe { libc::_exit(i32::from(!good)) };
    }
    pid
}

pub fn die_with_parent() {
    // SAFETY: this option takes a number.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

pub fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the status lives through the call.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(reaped, pid, "waitpid: {}", std::io::Error::last_os_error());
    status
}

/// While one is there, a wait for a traced process is interrupted when nothing has gone on for [`HANG`]. It costs a look at the clock
/// for each step, where a timer of its own would cost three system calls.
struct Watch {
    since: Cell<Instant>,
}

impl Watch {
    fn new() -> Watch {
        extern "C" fn nothing(_: i32) {}
        let handler: extern "C" fn(i32) = nothing;
        // SAFETY: a C struct of numbers; all-zero means no flags (above all, not to go on waiting) and an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        // SAFETY: the handler does nothing, and the struct lives through the call.
        unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
        // SAFETY: it takes a number.
        unsafe { libc::alarm(HANG.as_secs() as u32) };
        Watch { since: Cell::new(Instant::now()) }
    }

    /// Things go on.
    fn touch(&self) {
        if self.since.get().elapsed() > HANG / 4 {
            // SAFETY: it takes a number.
            unsafe { libc::alarm(HANG.as_secs() as u32) };
            self.since.set(Instant::now());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: it takes a number.
        unsafe { libc::alarm(0) };
    }
}

/// As [`wait`], but at most as long as takes to call it hanging: `None`.
pub fn wait_bounded(pid: i32) -> Option<i32> {
    let _watch = Watch::new();
    wait_watched(pid)
}

fn wait_watched(pid: i32) -> Option<i32> {
    let mut status = 0;
    // SAFETY: the status lives through the call.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    (reaped == pid).then_some(status)
}

pub fn kill(pid: i32) {
    // SAFETY: it takes numbers; the pid is that of a child which was not reaped yet.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// A child that is killed and reaped when it goes out of scope.
pub struct Child(pub Option<i32>);

impl Child {
    pub fn fork(child: impl FnOnce() -> bool) -> Child {
        Child(Some(fork(child)))
    }

    pub fn kill(&mut self) {
        if let Some(pid) = self.0.take() {
            kill(pid);
            wait(pid);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a victim tells its tracer that it stands before or behind the operation with. Not SIGSTOP: anybody may stop a
/// process.
const MARK: i32 = libc::SIGUSR2;

/// Stops the calling process, which is traced, until its tracer lets it go on.
pub fn stop_here() {
    // SAFETY: it takes numbers.
    unsafe { libc::kill(std::process::id() as i32, MARK) };
}

pub fn ptrace(request: libc::c_uint, pid: i32) -> bool {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the requests used here (TRACEME, SINGLESTEP) ignore address and data, or take data as "no signal".
    unsafe { libc::ptrace(request, pid, nothing, nothing) == 0 }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub fn place(pid: i32) -> Place {
    // SAFETY: a struct of numbers, for which all-zero is valid.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let start = (&raw mut registers).cast();
    let mut room = libc::iovec { iov_base: start, iov_len: size_of::<libc::user_regs_struct>() };
    let general: *mut libc::c_void = std::ptr::without_provenance_mut(1); // NT_PRSTATUS
    // SAFETY: the kernel writes at most `iov_len` bytes, all of which are the struct's.
    let read = unsafe { libc::ptrace(libc::PTRACE_GETREGSET, pid, general, (&raw mut room).cast::<libc::c_void>()) };
    assert_eq!(read, 0, "PTRACE_GETREGSET: {}", std::io::Error::last_os_error());
    #[cfg(target_arch = "x86_64")]
    return Place { counter: registers.rip, stack: registers.rsp };
    #[cfg(target_arch = "aarch64")]
    return Place { counter: registers.pc, stack: registers.sp };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn place(_: i32) -> Place {
    Place { counter: 0, stack: 0 }
}

/// Everything that the stepped code needs, made before stepping begins.
pub trait Stage {
    /// The code that is stepped.
    fn play(&mut self) -> Result<(), Box<dyn std::error::Error>>;
    /// What came of it, in a line.
    fn told(&self) -> String;
}

/// A process that is stepped through an operation.
pub struct Victim {
    pub child: Child,
    /// Where its stack was before the operation.
    pub stack: u64,
    /// It has come to the end of the operation.
    pub at_end: bool,
    /// There while it is being stepped.
    watch: Option<Watch>,
}

/// Where a victim is after a step.
#[derive(PartialEq, Eq)]
pub enum At {
    Inside,
    End,
    /// Stopped or continued by somebody else.
    Disturbed,
}

impl Victim {
    /// Forks it, has it prepare, and waits until it stands before the operation. One that is let live tells what came of it.
    pub fn start<S: Stage>(prepare: impl FnOnce() -> S, tell: Option<&std::io::PipeWriter>) -> Result<Victim, String> {
        let child = Child::fork(|| {
            let mut stage = prepare();
            if !ptrace(libc::PTRACE_TRACEME, 0) {
                // SAFETY: it takes a number and does not return.
                unsafe { libc::_exit(NO_PTRACE) };
            }
            stop_here();
            let result = stage.play();
            stop_here();
            // Only one that was not killed comes here.
            let text = result.map_or_else(|error| error.to_string(), |()| stage.told());
            drop(stage);
            tell.is_none_or(|mut tell| writeln!(tell, "{text}").is_ok())
        });
        let mut victim = Victim { child, stack: 0, at_end: false, watch: None };
        match victim.wait()? {
            At::End => Ok(Victim { at_end: false, stack: place(victim.pid()).stack, ..victim }),
            _ => Err("a trap before the operation began".to_owned()),
        }
    }

    pub fn pid(&self) -> i32 {
        self.child.0.expect("alive")
    }

    /// Where it is, on a stack that begins at 0.
    pub fn place(&self) -> Place {
        let Place { counter, stack } = place(self.pid());
        Place { counter, stack: self.stack.wrapping_sub(stack) }
    }

    pub fn wait(&mut self) -> Result<At, String> {
        let pid = self.pid();
        let waited = match &self.watch {
            Some(watch) => {
                watch.touch();
                wait_watched(pid)
            }
            None => wait_bounded(pid),
        };
        let status = waited.ok_or_else(|| format!("the victim itself does not come on for {HANG:?}"))?;
        match libc::WIFSTOPPED(status).then(|| libc::WSTOPSIG(status)) {
            Some(libc::SIGTRAP) => Ok(At::Inside),
            Some(MARK) => {
                self.at_end = true;
                Ok(At::End)
            }
            Some(libc::SIGSTOP | libc::SIGCONT | libc::SIGWINCH) => Ok(At::Disturbed),
            Some(signal) => Err(format!("the victim itself got signal {signal}")),
            None => {
                self.child.0 = None;
                Err(format!("the victim ended by itself with status {status:#x}"))
            }
        }
    }

    /// One instruction. Signals from outside are thrown away; they come instead of an instruction.
    pub fn step(&mut self) -> Result<At, String> {
        loop {
            if !ptrace(libc::PTRACE_SINGLESTEP, self.pid()) {
                return Err(format!("PTRACE_SINGLESTEP: {}", std::io::Error::last_os_error()));
            }
            match self.wait()? {
                At::Disturbed => {}
                at => return Ok(at),
            }
        }
    }

    /// Lets it go on to the end of the operation.
    pub fn run_to_end(&mut self) -> Result<(), String> {
        while !self.at_end {
            if !ptrace(libc::PTRACE_CONT, self.pid()) {
                return Err(format!("PTRACE_CONT: {}", std::io::Error::last_os_error()));
            }
            self.wait()?;
        }
        Ok(())
    }

    /// Lets it go on to the end of the operation and of its life.
    pub fn finish(&mut self) -> Result<(), String> {
        self.run_to_end()?;
        if ptrace(libc::PTRACE_CONT, self.pid()) {
            return Ok(());
        }
        Err(format!("PTRACE_CONT at the end: {}", std::io::Error::last_os_error()))
    }

    /// Steps through the whole operation; where it was before each instruction.
    pub fn trace(&mut self) -> Result<Vec<Place>, String> {
        self.watch = Some(Watch::new());
        let mut path = vec![self.place()];
        while self.step()? == At::Inside {
            path.push(self.place());
            if path.len() > INSTRUCTIONS_MAX {
                return Err(format!("more than {INSTRUCTIONS_MAX} instructions"));
            }
        }
        self.watch = None;
        Ok(path)
    }

    /// As [`follow`](Victim::follow), for a way that is gone once.
    pub fn advance(&mut self, path: &[Place], k: usize, leaps: Leaps) -> Result<Stand, String> {
        self.follow(&Way::new(path.to_vec()), k, leaps)
    }

    /// Goes over the first `k` instructions of a known way.
    ///
    /// A breakpoint register carries it over most of them, from place to place; the rest is stepped, and each step compared. Where
    /// there is no such register, it is stepped all the way.
    pub fn follow(&mut self, way: &Way, k: usize, leaps: Leaps) -> Result<Stand, String> {
        self.watch = Some(Watch::new());
        let stand = self.go_along(way, k, leaps);
        self.watch = None;
        stand
    }

    fn go_along(&mut self, way: &Way, k: usize, leaps: Leaps) -> Result<Stand, String> {
        let (mut at, mut leaping) = (0, leaps != Leaps::None);
        loop {
            if way.get(at) != Some(&self.place()) {
                return Ok(Stand::Astray);
            }
            if at == k {
                return Ok(Stand::There);
            }
            let next = way.leap(at, k, leaps).filter(|_| leaping);
            let now = match next {
                Some(next) if self.leap(way[next].counter, 1)? => (At::Inside, next),
                Some(_) if self.at_end => (At::End, at),
                Some(_) => {
                    leaping = false;
                    continue;
                }
                None => (self.step()?, at + 1),
            };
            at = match now {
                (At::Inside, at) => at,
                // Only the very last instruction leads there.
                _ => {
                    return Ok(if next.is_none() && k == at + 1 && k == way.len() {
                        Stand::End
                    } else {
                        Stand::Astray
                    });
                }
            };
        }
    }

    /// Runs until it comes by this place for the given time; false if it cannot, or came to its end before.
    pub fn leap(&mut self, place: u64, visits: usize) -> Result<bool, String> {
        for visit in 0..visits {
            // A breakpoint strikes before its instruction: that one is stepped over with the breakpoint off.
            if visit > 0 && self.step()? == At::End {
                return Ok(false);
            }
            if !breakpoint(self.pid(), place, true) {
                return Ok(false);
            }
            let at = loop {
                if !ptrace(libc::PTRACE_CONT, self.pid()) {
                    return Err(format!("PTRACE_CONT: {}", std::io::Error::last_os_error()));
                }
                match self.wait()? {
                    At::Disturbed => {}
                    at => break at,
                }
            };
            breakpoint(self.pid(), place, false);
            if at == At::End {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Sets or clears the breakpoint register of a process; false where there is none.
#[cfg(target_arch = "x86_64")]
pub fn breakpoint(pid: i32, place: u64, on: bool) -> bool {
    let register = |number: usize| std::mem::offset_of!(libc::user, u_debugreg) + number * size_of::<u64>();
    let poke = |number: usize, value: u64| {
        let place = std::ptr::without_provenance_mut::<libc::c_void>(register(number));
        let value = std::ptr::without_provenance_mut::<libc::c_void>(value as usize);
        // SAFETY: the kernel takes both as numbers, an offset into its own record and a value to put there.
        unsafe { libc::ptrace(libc::PTRACE_POKEUSER, pid, place, value) == 0 }
    };
    // Register 7 switches: bit 0 is the local enable of address register 0; all-zero kind and length mean "executes this".
    if on { poke(0, place) && poke(7, 1) } else { poke(7, 0) }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn breakpoint(_: i32, _: u64, _: bool) -> bool {
    false
}

/// The exit status of a victim that may not be traced.
pub const NO_PTRACE: i32 = 77;

/// A line from a pipe, within the bound for hanging.
pub fn read_line(mut from: &std::io::PipeReader) -> Result<String, String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        if !readable(from.as_raw_fd(), HANG) {
            return Err(format!("nothing for {HANG:?}"));
        }
        match from.read(&mut byte) {
            Ok(1) if byte[0] == b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
            Ok(1) => line.push(byte[0]),
            other => return Err(format!("the pipe ended: {other:?}")),
        }
    }
}

/// Why stepping does not work here, if it does not.
pub fn no_ptrace() -> Option<String> {
    let child = fork(|| {
        let traced = ptrace(libc::PTRACE_TRACEME, 0);
        if traced {
            stop_here();
        }
        traced
    });
    let status = wait(child);
    if !libc::WIFSTOPPED(status) {
        return Some("PTRACE_TRACEME is refused".to_owned());
    }
    let stepped = ptrace(libc::PTRACE_SINGLESTEP, child) && libc::WIFSTOPPED(wait(child));
    kill(child);
    wait(child);
    (!stepped).then(|| "PTRACE_SINGLESTEP is refused".to_owned())
}
