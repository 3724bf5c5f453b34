//! One queue, three ways to it: a C program with the library preloaded, Rust's `chappe::Queue`, and the command `chappe`. What each
//! promises by itself is tested elsewhere; here only that they mean the same queue, and wake one another.

mod common;

use chappe::{Queue, RecvError};
use common::{NET, chappe, compile, finish, preloaded, scratch, succeed, until, until_blocked};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use tempfile::TempDir;

/// A directory with queues, and the C program.
struct Place {
    dir: TempDir,
    tool: PathBuf,
}

impl Place {
    /// `None` where there is no C compiler.
    fn new() -> Option<Place> {
        Some(Place { dir: scratch(), tool: compile("tool", "tool", &[])? })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The C program with these commands.
    fn command(&self, commands: &str) -> Command {
        let mut command = preloaded(&self.tool, self.path());
        command.args(commands.split(' '));
        command
    }

    #[track_caller]
    fn c(&self, commands: &str) -> String {
        succeed(&mut self.command(commands))
    }

    fn start(&self, commands: &str) -> Child {
        self.command(commands).spawn().expect("the C program starts")
    }

    /// Waits for its end, and gives what it printed.
    #[track_caller]
    fn end(&self, child: Child) -> String {
        let output = finish(child);
        assert!(output.status.success(), "{}", common::text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn command_line(&self, arguments: &str) -> String {
        succeed(Command::new(chappe()).args(arguments.split(' ')).env("CHAPPE_DIR", self.path()))
    }

    fn rust(&self) -> Queue {
        Queue::options().dir(self.path()).open("/q").expect("the queue is there")
    }
}

#[test]
fn what_c_creates_and_sends_rust_and_the_command_receive() {
    let Some(place) = Place::new() else { return };
    assert_eq!(place.c("create /q 5 32 send /q 1 low send /q 9 high send /q 9 second"), "");
    let queue = place.rust();
    assert_eq!((queue.capacity(), queue.message_size()), (5, 32));
    let message = queue.recv_timeout(NET).unwrap();
    assert_eq!((&message.data[..], message.priority), (&b"high"[..], 9));
    assert_eq!(place.command_line("mq recv q").trim_end(), "second");
    assert_eq!(place.c("receive /q attributes /q"), "1 low\n5 32 0\n");
}

#[test]
fn what_rust_and_the_command_create_and_send_c_receives() {
    let Some(place) = Place::new() else { return };
    let queue = Queue::options().dir(place.path()).capacity(3).message_size(100).create_new("/q").unwrap();
    queue.send(b"from-rust", 2).unwrap();
    place.command_line("mq send q from-the-command -p 7");
    assert_eq!(place.c("attributes /q receive /q receive /q"), "3 100 2\n7 from-the-command\n2 from-rust\n");
    assert!(queue.is_empty().unwrap());
}

#[test]
fn a_blocked_c_program_is_woken_by_rust_and_the_other_way_round() {
    let Some(place) = Place::new() else { return };
    place.c("create /q 1 32");
    let receiver = place.start("receive /q");
    until_blocked(receiver.id());
    place.rust().send(b"wake", 3).unwrap();
    assert_eq!(place.end(receiver), "3 wake\n");

    let queue = place.rust();
    let waiting = thread::spawn(move || queue.recv_timeout(NET));
    until("Rust waits", || place.rust().stat().unwrap().counters.recv_blocked >= 2);
    place.c("send /q 4 back");
    assert_eq!(waiting.join().unwrap().unwrap().data, b"back");
}

#[test]
fn poll_and_epoll_in_a_c_program_see_what_rust_sends() {
    let Some(place) = Place::new() else { return };
    place.c("create /q 4 32");
    for (command, shown) in [("poll /q", "poll 1\n"), ("epoll /q", "epoll 1\n")] {
        let polling = place.start(command);
        until_blocked(polling.id());
        place.rust().send(b"wake", 0).unwrap();
        assert_eq!(place.end(polling), shown);
        place.rust().recv_timeout(NET).unwrap();
    }
}

#[test]
fn a_c_program_is_notified_of_what_rust_sends() {
    let Some(place) = Place::new() else { return };
    place.c("create /q 4 32");
    let registered = place.start("notify /q");
    let queue = place.rust();
    until("the C program registers", || queue.registered().unwrap() == Some(registered.id()));
    queue.send(b"news", 0).unwrap();
    assert_eq!(place.end(registered), "registered\nnotified -3 42\n");
    assert_eq!(queue.registered().unwrap(), None);
}

#[test]
fn the_text_shows_what_rust_sent_and_who_is_registered() {
    let Some(place) = Place::new() else { return };
    place.c("create /q 4 32");
    let queue = place.rust();
    queue.send(b"12345", 0).unwrap();
    queue.notify(|_| ()).unwrap();
    let pid = std::process::id();
    let text = format!("QSIZE:5          NOTIFY:0     SIGNO:0     NOTIFY_PID:{pid:<6}\n");
    assert_eq!(place.c("text /q"), text);
}

#[test]
fn mq_unlink_takes_the_name_only() {
    let Some(place) = Place::new() else { return };
    place.c("create /q 4 32");
    let queue = place.rust();
    assert_eq!(place.c("hold /q unlink /q send /q 1 still"), "");
    assert_eq!(queue.recv_timeout(NET).unwrap().data, b"still");
    assert_eq!(place.c("attributes /q"), "open: ENOENT\n");
    drop(queue);
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_queue_that_rust_ends_is_eidrm_to_c() {
    let Some(place) = Place::new() else { return };
    place.c("create /q 4 32");
    let queue = place.rust();
    let receiver = place.start("receive /q");
    until_blocked(receiver.id());
    queue.close().unwrap();
    assert_eq!(place.end(receiver), "receive: EIDRM\n");
    assert_eq!(place.c("send /q 0 late"), "send: EIDRM\n");
    assert_eq!(queue.try_recv(), Err(RecvError::Closed));
}
