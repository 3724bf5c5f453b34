//! `chappe sem run`, killed at random moments: while it starts, waits, acquires, becomes the command, and as the command. Counted
//! from outside, never more commands live than there are permits; at the end all permits are back.
//!
//! `CHAPPE_SEM_KILLS`: how many are killed (200). `CHAPPE_SEM_KILL_SEED`: which, and when.

use super::sem::stat;
use super::sem_run::Started;
use super::{Place, eventually};
use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PERMITS: u64 = 3;
const CONTENDERS: usize = 8;

/// Where the commands count themselves.
const SLOTS: &str = "CHAPPE_TEST_SLOTS";

/// The command: this very test, run again. There are as many slots as permits, and a command that finds all taken is one too many.
///
/// A slot is held by a record lock, which the kernel gives back when the process ends, descriptor by descriptor, in their order: the
/// slot's is lower than the permit's, since it is opened in a command that inherits hardly any. So who is let in afterwards finds it
/// free.
#[test]
fn a_command_that_counts_itself() {
    let Some(dir) = std::env::var_os(SLOTS).map(PathBuf::from) else { return };
    // Once more: a look at one slot after the other is none at all at the same time.
    let slot = take_slot(&dir).or_else(|| take_slot(&dir));
    if slot.is_none() {
        std::fs::write(dir.join("too-many"), std::process::id().to_string()).expect("a report");
    }
    std::thread::sleep(Duration::from_millis(u64::from(std::process::id() % 8)));
}

fn take_slot(dir: &Path) -> Option<OwnedFd> {
    (0..PERMITS).find_map(|number| {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let slot = rustix::fs::open(dir.join(format!("slot.{number}")), flags, Mode::RWXU).expect("a slot");
        fcntl_lock(&slot, FlockOperation::NonBlockingLockExclusive).is_ok().then_some(slot)
    })
}

/// xorshift64 (Marsaglia).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

fn start(place: &Place, slots: &Path, keep: bool) -> Started {
    let me = std::env::current_exe().expect("this test");
    let how: &[&str] = if keep { &["--keep"] } else { &[] };
    let command = [&me.to_string_lossy(), "--exact", "sem_kill::a_command_that_counts_itself", "--test-threads=1"];
    let permits = PERMITS.to_string();
    let args = [&["sem", "run", "pool", "-n", &permits], how, &["--"], &command].concat();
    Started::with(place, &args, |run| run.env(SLOTS, slots).stdout(std::process::Stdio::null()))
}

#[test]
fn killed_at_random_moments() {
    let (kills, seed) =
        (number("CHAPPE_SEM_KILLS", 200), number("CHAPPE_SEM_KILL_SEED", u64::from(std::process::id())));
    println!("{kills} kills, seed {seed}");
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (place, slots) = (Place::new(), Place::new());
    let start = |random: &mut Random| start(&place, slots.path(), random.below(4) == 0);
    let mut runs: Vec<Started> = (0..CONTENDERS).map(|_| start(&mut random)).collect();
    let mut ended = 0;
    for _ in 0..kills {
        // The pauses only scatter the kills over what the contenders do.
        std::thread::sleep(Duration::from_micros(random.below(6000)));
        let victim = random.below(runs.len() as u64) as usize;
        runs.swap_remove(victim).kill();
        for run in runs.extract_if(.., Started::is_over) {
            run.finish().is(0);
            ended += 1;
        }
        runs.resize_with(CONTENDERS, || start(&mut random));
    }
    for run in runs {
        run.finish().is(0);
        ended += 1;
    }
    println!("{ended} commands came to their end");
    assert!(!slots.path().join("too-many").exists(), "more than {PERMITS} commands lived at a time; seed {seed}");
    eventually("all permits", || stat(&place, "pool")["available"] == PERMITS);
    let seen = stat(&place, "pool");
    assert_eq!((&seen["held"], &seen["waiters"]), (&0.into(), &serde_json::json!([])), "{seen}");
}
