//! `chappe sem run`: what it runs, when, what stays of it, and how it ends.

use super::sem::{await_waiters, stat};
use super::{CHAPPE, Outcome, Place, eventually, finish, outcome};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use signal_hook::consts::SIGINT;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Longer than any test.
const FOREVER: &str = "1000";

/// A process that does not outlive the test, also when it fails.
pub struct Started(Option<Child>);

impl Started {
    pub fn new(place: &Place, args: &[&str]) -> Started {
        Started(Some(place.start(args)))
    }

    /// With more said about it.
    pub fn with(place: &Place, args: &[&str], say: impl FnOnce(&mut Command) -> &mut Command) -> Started {
        Started(Some(say(&mut place.command(args)).spawn().expect("a process")))
    }

    /// Whether it has ended by itself.
    pub fn is_over(&mut self) -> bool {
        self.child().try_wait().expect("a process to wait for").is_some()
    }

    pub fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("not finished yet")
    }

    fn pid(&mut self) -> Pid {
        Pid::from_child(self.child())
    }

    pub fn kill(&mut self) {
        self.child().kill().expect("a process to kill");
        self.child().wait().expect("a process to wait for");
    }

    pub fn finish(mut self) -> Outcome {
        finish(self.0.take().expect("not finished yet"))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until the only holder is a command of this name.
fn await_holder(place: &Place, name: &str, command: &str) {
    eventually("holder", || {
        let seen = stat(place, name);
        seen["holders"][0]["exec"] == true && seen["holders"][0]["command"] == command
    });
}

fn await_free(place: &Place, name: &str, permits: u64) {
    eventually("free permit", || stat(place, name)["available"] == permits);
}

#[test]
fn the_exit_code_is_the_commands() {
    let place = Place::new();
    for code in [0, 1, 2, 75, 124, 255] {
        place.run(&["sem", "run", "/pool", "--", "sh", "-c", &format!("exit {code}")]).is(code);
    }
    let mut killed = Started::new(&place, &["sem", "run", "pool", "--", "sh", "-c", "kill -TERM $$"]);
    let status = killed.child().wait().expect("an end");
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn input_output_and_arguments_are_the_commands() {
    let place = Place::new();
    let script = "printf '%s|' \"$@\"; cat";
    let args = ["sem", "run", "pool", "-t", "50s", "--", "sh", "-c", script, "-", "-n", "--json", "a b", ""];
    let outcome = place.run_with(&args, b"input");
    assert_eq!(outcome.is(0).text(), "-n|--json|a b||input");
    assert_eq!(outcome.stderr, "");
}

#[test]
fn the_command_is_the_process_that_was_started() {
    let place = Place::new();
    let mut run = Started::new(&place, &["sem", "run", "pool", "--", "sh", "-c", "echo $$"]);
    let pid = run.child().id();
    assert_eq!(run.finish().is(0).text(), format!("{pid}\n"));
}

#[test]
fn a_broken_pipe_ends_the_command_as_ever() {
    let place = Place::new();
    let mut run = Started::new(&place, &["sem", "run", "pool", "--", "yes"]);
    drop(run.child().stdout.take());
    assert_eq!(run.child().wait().expect("an end").signal(), Some(Signal::PIPE.as_raw()));
}

#[test]
fn it_is_created_with_as_many_permits_as_asked_for() {
    let place = Place::new();
    assert_eq!(place.run(&["sem", "run", "one", "--", "true"]).is(0).stderr, "");
    assert_eq!(stat(&place, "one")["permits"], 1);
    assert_eq!(place.run(&["sem", "run", "/three", "-n", "3", "--", "true"]).is(0).stderr, "");
    assert_eq!(stat(&place, "three")["permits"], 3);
    assert_eq!(place.run(&["sem", "run", "three", "--", "true"]).is(0).stderr, "", "nothing was asked for");
    place
        .run(&["sem", "run", "three", "-n", "4", "--", "true"])
        .is(0)
        .no_data()
        .says(&["/three has 3 permits", "chappe sem set /three 4"]);
    assert_eq!(stat(&place, "three")["permits"], 3);
}

#[test]
fn several_at_once() {
    let place = Place::with_semaphore(3);
    let mut two = Started::new(&place, &["sem", "run", "pool", "--take", "2", "--", "sleep", FOREVER]);
    await_holder(&place, "pool", "sleep");
    assert_eq!(stat(&place, "pool")["available"], 1);
    place.run(&["sem", "run", "pool", "--nonblock", "--", "true"]).is(0);
    place.run(&["sem", "run", "pool", "--take", "2", "--nonblock", "--", "true"]).is(75);
    place.run(&["sem", "run", "pool", "--take", "4", "--", "true"]).is(125).no_data().says(&[
        "4 permits at once",
        "/pool has 3",
        "--take",
        "chappe sem set /pool 4",
    ]);
    two.kill();
    await_free(&place, "pool", 3);
}

#[test]
fn giving_up() {
    let place = Place::with_semaphore(1);
    let pool = place.semaphore("pool");
    let held = pool.acquire().expect("a permit");
    let run = |how: &[&str]| place.run(&[&["sem", "run", "pool"], how, &["--", "echo", "never"]].concat());
    run(&["--nonblock"]).is(75).no_data().says(&["/pool had no permit free", "--nonblock"]);
    run(&["-t", "20ms"]).is(124).no_data().says(&["/pool had no permit free", "-t"]);
    run(&["-t", "0s"]).is(124).no_data();
    drop(held);
    assert_eq!(run(&["-t", "0s"]).is(0).text(), "never\n");
    // The time is for waiting only.
    place.run(&["sem", "run", "pool", "-t", "1ms", "--", "sleep", "0.1"]).is(0);
}

#[test]
fn what_cannot_be_run() {
    let place = Place::new();
    let plain = place.path().join("plain");
    std::fs::write(&plain, "text").expect("a file");
    let plain = plain.to_str().expect("a path in UTF-8");
    place.run(&["sem", "run", "pool", "--", "no-such-command"]).is(127).no_data().says(&["no-such-command"]);
    place.run(&["sem", "run", "pool", "--", "/no/such/command"]).is(127).no_data();
    place.run(&["sem", "run", "pool", "--", plain]).is(126).no_data().says(&["plain", "ermission denied"]);
    place.run(&["sem", "run", "pool", "--", "/"]).is(126).no_data();
    await_free(&place, "pool", 1);
}

#[test]
fn failures_of_ours() {
    let place = Place::with_semaphore(1);
    place.semaphore("pool").close().expect("to close");
    place.run(&["sem", "run", "pool", "--", "true"]).is(125).no_data().says(&["/pool was closed"]);
    let mut nowhere = Command::new(CHAPPE);
    nowhere.args(["sem", "run", "pool", "--", "true"]).env("CHAPPE_DIR", place.path().join("none"));
    outcome(nowhere.output().expect("a run")).is(125).no_data().says(&["none", "CHAPPE_DIR"]);
    let file =
        std::fs::read_dir(place.path()).expect("the directory").next().expect("the semaphore's file").expect("it");
    std::fs::write(file.path(), "no semaphore").expect("a damaged file");
    place.run(&["sem", "run", "pool", "--", "true"]).is(125).no_data().says(&["not a chappe semaphore"]);
}

#[test]
fn signals_end_the_wait_at_once() {
    // A shell has what it starts in the background ignore this one, and so would all that we start; what is caught is not passed on.
    signal_hook::flag::register_conditional_default(SIGINT, Arc::new(AtomicBool::new(true))).expect("a handler");
    let place = Place::with_semaphore(1);
    let pool = place.semaphore("pool");
    let _held = pool.acquire().expect("a permit");
    for signal in [Signal::INT, Signal::TERM] {
        let mut run = Started::new(&place, &["sem", "run", "pool", "--", "echo", "never"]);
        await_waiters(&place, "pool", 1);
        kill_process(run.pid(), signal).expect("a process to signal");
        assert_eq!(run.child().wait().expect("an end").signal(), Some(signal.as_raw()));
        await_waiters(&place, "pool", 0);
    }
}

#[test]
fn first_come_first_served() {
    let place = Place::with_semaphore(1);
    let pool = place.semaphore("pool");
    let held = pool.acquire().expect("a permit");
    let order = place.path().join("order");
    let start = |number: usize| {
        let script = format!("echo {number} >> '{}'", order.display());
        let run = Started::new(&place, &["sem", "run", "pool", "--", "sh", "-c", &script]);
        await_waiters(&place, "pool", number);
        run
    };
    let runs: Vec<Started> = (1..=8).map(start).collect();
    drop(held);
    for run in runs {
        run.finish().is(0);
    }
    assert_eq!(std::fs::read_to_string(order).expect("a list"), "1\n2\n3\n4\n5\n6\n7\n8\n");
}

#[test]
fn a_small_request_does_not_pass_a_large_one() {
    let place = Place::with_semaphore(2);
    let pool = place.semaphore("pool");
    let held = pool.acquire().expect("a permit");
    let large = Started::new(&place, &["sem", "run", "pool", "--take", "2", "--", "true"]);
    await_waiters(&place, "pool", 1);
    place.run(&["sem", "run", "pool", "--nonblock", "--", "true"]).is(75);
    drop(held);
    large.finish().is(0);
}

#[test]
fn after_a_second_it_says_who_is_in_the_way() {
    let place = Place::with_semaphore(7);
    let pool = place.semaphore("pool");
    let held: Vec<_> = (0..6).map(|_| pool.acquire().expect("a permit")).collect();
    held[0].set_label("the nightly run");
    let first = Started::new(&place, &["sem", "run", "pool", "--take", "7", "--", "true"]);
    await_waiters(&place, "pool", 1);
    let start = Instant::now();
    let mut second = Started::new(&place, &["sem", "run", "pool", "--", "true"]);
    let mut lines = BufReader::new(second.child().stderr.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("a line").expect("text");
    let (head, holder) = (line(), line());
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(head.contains("waiting for /pool: 6 of 7 permits held, 1 before us in the queue"), "{head}");
    assert!(holder.contains(&format!("pid {}", std::process::id())), "{holder}");
    assert!(holder.contains("(the nightly run)") && holder.contains("since 20"), "{holder}");
    assert!((0..4).all(|_| line().contains("held by pid")), "five holders are named");
    assert!(line().contains("1 more: `chappe sem holders /pool`"));
    drop(held);
    second.finish().is(0);
    first.finish().is(0);
}

#[test]
fn a_paused_semaphore_says_so() {
    let place = Place::with_semaphore(0);
    let mut run = Started::new(&place, &["sem", "run", "pool", "--", "true"]);
    let mut lines = BufReader::new(run.child().stderr.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("a line").expect("text");
    assert!(line().contains("0 of 0 permits held"));
    assert!(line().contains("paused: `chappe sem set /pool"));
    place.ok(&["sem", "set", "pool", "1"]);
    run.finish().is(0);
}

#[test]
fn who_looks_sees_the_command() {
    let place = Place::with_semaphore(1);
    let mut first = Started::new(&place, &["sem", "run", "pool", "--label", "the first", "--", "sleep", FOREVER]);
    await_holder(&place, "pool", "sleep");
    let mut second = Started::new(&place, &["sem", "run", "pool", "--", "/a/path/to/no-command"]);
    await_waiters(&place, "pool", 1);
    let seen = stat(&place, "pool");
    assert_eq!(
        (&seen["holders"][0]["pid"], &seen["holders"][0]["label"]),
        (&first.child().id().into(), &"the first".into())
    );
    assert_eq!(
        (&seen["waiters"][0]["pid"], &seen["waiters"][0]["command"]),
        (&second.child().id().into(), &"no-command".into())
    );
    first.kill();
    second.finish().is(127);
    await_free(&place, "pool", 1);
}

#[test]
fn the_command_may_use_the_semaphore_itself() {
    let place = Place::with_semaphore(2);
    let inner = ["sem", "run", "pool", "--", CHAPPE, "sem", "run", "pool", "--"];
    let look = format!("'{CHAPPE}' sem set pool 3; '{CHAPPE}' sem stat pool --json");
    let seen = place.run(&[&inner[..], &["sh", "-c", &look]].concat());
    assert_eq!(super::json(&seen.is(0).text())[0]["held"], 2);
    await_free(&place, "pool", 3);
}

#[test]
fn a_killed_command_gives_its_permit_to_the_next() {
    let place = Place::with_semaphore(1);
    let mut first = Started::new(&place, &["sem", "run", "pool", "--", "sleep", FOREVER]);
    await_holder(&place, "pool", "sleep");
    let second = Started::new(&place, &["sem", "run", "pool", "--", "echo", "in"]);
    await_waiters(&place, "pool", 1);
    first.kill();
    assert_eq!(second.finish().is(0).text(), "in\n");
}

#[test]
fn a_killed_waiter_leaves_its_place() {
    let place = Place::with_semaphore(1);
    let pool = place.semaphore("pool");
    let held = pool.acquire().expect("a permit");
    let mut first = Started::new(&place, &["sem", "run", "pool", "--", "sleep", FOREVER]);
    await_waiters(&place, "pool", 1);
    let second = Started::new(&place, &["sem", "run", "pool", "--", "true"]);
    await_waiters(&place, "pool", 2);
    first.kill();
    drop(held);
    second.finish().is(0);
}

/// Runs a shell that leaves a process behind; gives that one's pid.
fn leave_behind(place: &Place, how: &[&str]) -> Left {
    let script = format!("sleep {FOREVER} >/dev/null 2>&1 </dev/null & echo $!");
    let outcome = place.run(&[&["sem", "run", "pool"], how, &["--", "sh", "-c", &script]].concat());
    let pid = outcome.is(0).text().trim().parse().expect("a process id");
    Left(Pid::from_raw(pid).expect("a process id"))
}

/// A process that was left behind; ends with the test.
struct Left(Pid);

impl Drop for Left {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

#[test]
fn what_a_command_leaves_behind_does_not_hold_the_permit() {
    let place = Place::new();
    let left = leave_behind(&place, &[]);
    await_free(&place, "pool", 1);
    // Who waits gets it, too, not only who looks.
    place.run(&["sem", "run", "pool", "-t", "50s", "--", "true"]).is(0);
    assert!(test_kill_process(left.0).is_ok(), "it still runs");
}

#[test]
fn who_waits_gets_what_the_command_held_though_something_is_left_behind() {
    let place = Place::with_semaphore(1);
    let ready = place.path().join("ready");
    let script = format!("sleep {FOREVER} >/dev/null 2>&1 </dev/null & echo $!; read line < '{}'", ready.display());
    rustix::fs::mkfifoat(rustix::fs::CWD, &ready, 0o600.into()).expect("a FIFO");
    let mut first = Started::new(&place, &["sem", "run", "pool", "--", "sh", "-c", &script]);
    await_holder(&place, "pool", "sh");
    let second = Started::new(&place, &["sem", "run", "pool", "--", "echo", "in"]);
    await_waiters(&place, "pool", 1);
    let mut lines = BufReader::new(first.child().stdout.take().expect("a pipe")).lines();
    let pid = lines.next().expect("a line").expect("text").parse().expect("a process id");
    let left = Left(Pid::from_raw(pid).expect("a process id"));
    std::fs::write(ready, "\n").expect("a reader");
    assert_eq!(second.finish().is(0).text(), "in\n");
    assert!(test_kill_process(left.0).is_ok(), "it still runs");
}

#[test]
fn with_keep_what_a_command_leaves_behind_holds_the_permit() {
    let place = Place::new();
    let left = leave_behind(&place, &["--keep"]);
    place.run(&["sem", "run", "pool", "--nonblock", "--", "true"]).is(75);
    let next = Started::new(&place, &["sem", "run", "pool", "--", "echo", "in"]);
    await_waiters(&place, "pool", 1);
    assert_eq!(stat(&place, "pool")["held"], 1);
    drop(left);
    assert_eq!(next.finish().is(0).text(), "in\n");
}

/// A command line in a pid namespace of its own.
fn apart(place: &Place, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", CHAPPE]).args(args);
    command.env("CHAPPE_DIR", place.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn across_pid_namespaces() {
    let place = Place::with_semaphore(1);
    let tried = apart(&place, &["--version"]).output();
    if !tried.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped: no pid namespace to be had here: {tried:?}");
        return;
    }
    let mut inside =
        Started(Some(apart(&place, &["sem", "run", "pool", "--", "sleep", FOREVER]).spawn().expect("a process")));
    await_holder(&place, "pool", "sleep");
    let nonblock = ["sem", "run", "pool", "--nonblock", "--", "true"];
    place.run(&nonblock).is(75);
    outcome(apart(&place, &nonblock).output().expect("a run")).is(75);
    let next = Started::new(&place, &["sem", "run", "pool", "--", "true"]);
    await_waiters(&place, "pool", 1);
    let seen = stat(&place, "pool");
    assert_ne!(seen["holders"][0]["pid_namespace"], seen["waiters"][0]["pid_namespace"]);
    // The first process of the namespace dies with it.
    inside.kill();
    next.finish().is(0);
    outcome(apart(&place, &nonblock).output().expect("a run")).is(0);
}
