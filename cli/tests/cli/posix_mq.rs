//! `chappe mq` with `posix:NAME`: queues of the kernel's, which have one name space for all. Where the kernel has none, what needs
//! them is skipped, and says so.

use super::{CHAPPE, Place, eventually, finish, json, outcome};
use chappe::posix::{MessageQueue, MessageQueueError};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::process::Command;

/// A name of this test's own; what it names goes with the test.
struct Posix(String);

impl Posix {
    fn new(test: &str) -> Option<Posix> {
        if let Err(MessageQueueError::Unsupported) = MessageQueue::open("/chappe-cli-none") {
            println!("skipped: this kernel has no POSIX queues");
            return None;
        }
        Some(Posix(format!("posix:/chappe-cli-{test}-{}", std::process::id())))
    }

    fn bare(&self) -> &str {
        self.0.trim_start_matches("posix:")
    }

    /// A new queue for so many messages of at most 64 bytes, as a C program would have it open.
    fn queue(&self, capacity: u32) -> MessageQueue {
        MessageQueue::options().capacity(capacity).message_size(64).create_new(self.bare()).expect("a queue")
    }
}

impl Drop for Posix {
    fn drop(&mut self) {
        let _ = MessageQueue::unlink(self.bare());
    }
}

/// A name, or the test ends here.
macro_rules! name {
    ($test:expr) => {
        match Posix::new($test) {
            Some(name) => name,
            None => return,
        }
    };
}

#[test]
fn create() {
    let posix = name!("create");
    let (place, name) = (Place::new(), posix.0.as_str());
    place.run(&["mq", "create", name, "--capacity", "3", "--message-size", "128", "--mode", "640"]).is(0).no_data();
    let stat = MessageQueue::open(posix.bare()).expect("a queue").stat().expect("its state");
    assert_eq!((stat.attributes.capacity, stat.attributes.message_size, stat.mode), (3, 128, 0o640));
    place.run(&["mq", "create", name]).is(73).no_data().says(&[name, "exists already", "--exist-ok"]);
    place.run(&["mq", "create", name, "--exist-ok", "--capacity", "3"]).is(0).says(&["exists", "capacity 3"]);
    for (option, other, found) in [("--capacity", "4", "3"), ("--message-size", "64", "128"), ("--mode", "600", "0640")]
    {
        let outcome = place.run(&["mq", "create", name, "--exist-ok", option, other]);
        outcome.is(78).no_data().says(&[name, found, other, "mq rm"]);
    }
    place.ok(&["mq", "rm", name]);
    let outcome = place.run(&["mq", "create", name, "--exist-ok", "--capacity", "1", "--message-size", "1"]);
    outcome.is(0).says(&["created", "capacity 1 and message size 1"]);
    assert!(!place.path().join("chappe.mq.posix:").exists() && place.ok(&["ls"]).is_empty(), "it is not ours");
}

#[test]
fn what_no_queue_can_have() {
    let posix = name!("cannot");
    let (place, name) = (Place::new(), posix.0.as_str());
    place.run(&["mq", "create", name, "--capacity", "70000"]).is(73).no_data().says(&["65536", "70000"]);
    place.run(&["mq", "create", name, "--message-size", "17M"]).is(73).no_data().says(&["16 MiB"]);
    place.run(&["mq", "create", name, "--capacity", "0"]).is(2).no_data().says(&["1 to", "not 0"]);
    place.run(&["mq", "create", name, "--message-size", "0"]).is(2).no_data().says(&["1 to", "not 0"]);
    place.run(&["mq", "stat", name]).is(69).no_data().says(&[name, "chappe mq create"]);
}

#[test]
fn send_and_receive() {
    let posix = name!("both");
    let (place, name, queue) = (Place::new(), posix.0.as_str(), posix.queue(3));
    place.ok(&["mq", "send", name, "low"]);
    place.ok(&["mq", "send", name, "high", "-p", "32767"]);
    queue.try_send(b"middle", 7).expect("room");
    place.run(&["mq", "send", name, "x", "--nonblock"]).is(75).no_data().says(&[name, "full (3 messages)"]);
    place.run(&["mq", "send", name, "x", "-t", "20ms"]).is(124).no_data().says(&["stayed full"]);
    assert_eq!(place.ok(&["mq", "recv", name, "--format", "%p %s%n"]), "32767 high\n");
    let lines = json(&place.ok(&["mq", "recv", name, "--json", "--until-empty"]));
    let fields = |at: usize| (lines[at]["priority"].as_u64(), lines[at]["data"].as_str(), lines[at]["length"].as_u64());
    assert_eq!((fields(0), fields(1)), ((Some(7), Some("middle"), Some(6)), (Some(0), Some("low"), Some(3))));
    assert_eq!((lines.len(), lines[0]["redelivered"].as_u64()), (2, Some(0)));
    place.run(&["mq", "recv", name, "--nonblock"]).is(1).no_data().says(&[name, "is empty"]);
    place.run(&["mq", "recv", name, "-t", "20ms"]).is(124).no_data().says(&["stayed empty"]);
    assert_eq!(place.ok(&["mq", "recv", name, "--until-empty", "-t", "5ms"]), "");
    place.run(&["mq", "send", name, &"x".repeat(65)]).is(65).no_data().says(&["65 bytes", "at most 64"]);
    assert_eq!(queue.len().expect("a depth"), 0);
}

#[test]
fn whole_inputs_and_records() {
    let posix = name!("input");
    let (place, name) = (Place::new(), posix.0.as_str());
    let queue = posix.queue(4);
    place.run_with(&["mq", "send", name, "--lines"], b"one\ntwo\nlast").is(0);
    let all: Vec<Vec<u8>> = (0..3).map(|_| queue.try_recv().expect("a message").data).collect();
    assert_eq!(all, [&b"one"[..], b"two", b"last"]);
    place.run_with(&["mq", "send", name], b"\xff\0whole\n").is(0);
    assert_eq!(place.run(&["mq", "recv", name, "--null"]).stdout, b"\xff\0whole\n\0");
    let long = [b"short\n".as_slice(), &[b'x'; 65]].concat();
    place.run_with(&["mq", "send", name, "--lines"], &long).is(65).says(&["more than 64", "1 sent before"]);
    assert_eq!(queue.purge(), Ok(1));
}

#[test]
fn waiting_for_a_message_and_for_room() {
    let posix = name!("wait");
    let (place, name) = (Place::new(), posix.0.as_str());
    let queue = posix.queue(1);
    let receiver = place.start(&["mq", "recv", name, "-n", "2", "-t", "50s"]);
    let mut sender = place.start(&["mq", "send", name, "--lines"]);
    let mut stdin = sender.stdin.take().expect("a pipe");
    stdin.write_all(b"one\ntwo\nthree\nfour\n").expect("to write");
    drop(stdin);
    let outcome = finish(receiver);
    outcome.is(0);
    assert_eq!(outcome.text(), "one\ntwo\n");
    // The sender waits for room for the fourth.
    assert_eq!(queue.recv().expect("a message").data, b"three");
    assert_eq!(queue.recv().expect("a message").data, b"four");
    finish(sender).is(0);
}

#[test]
fn a_reader_that_leaves_takes_nothing_along() {
    let posix = name!("leave");
    let (place, name) = (Place::new(), posix.0.as_str());
    let queue = posix.queue(2);
    let mut follower = place.start(&["mq", "recv", name, "--follow"]);
    queue.send(b"one", 0).expect("to send");
    let mut lines = BufReader::new(follower.stdout.take().expect("a pipe"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    assert_eq!(line, "one\n");
    drop(lines);
    finish(follower).is(0);
    queue.send(b"two", 0).expect("to send");
    assert_eq!(place.ok(&["mq", "recv", name, "--nonblock"]), "two\n");
}

/// It comes just when `chappe` finds out that nobody reads any more: it may be taken, but then it goes back. A shell is the
/// reader, for what other tests start meanwhile would hold on to a pipe of this process.
#[test]
fn a_message_that_comes_as_the_reader_leaves_stays() {
    let posix = name!("leaving");
    let queue = posix.queue(2);
    let script = r#"follow() { "$0" mq recv "$1" --follow; }
        follow "$@" | { read -r line; exec <&-; "$0" mq send "$1" "after $line"; }"#;
    for _ in 0..20 {
        queue.send(b"one", 0).expect("to send");
        let mut command = Command::new("sh");
        command.args(["-c", script, CHAPPE, &posix.0]);
        outcome(command.output().expect("a run")).is(0);
        assert_eq!(queue.try_recv().map(|message| message.data), Ok(b"after one".to_vec()));
    }
}

#[test]
fn what_cannot_be_written_goes_back() {
    let posix = name!("back");
    let name = posix.0.as_str();
    let queue = posix.queue(2);
    queue.send(b"precious", 5).expect("to send");
    let full = OpenOptions::new().write(true).open("/dev/full").expect("the full device");
    let mut command = Command::new(CHAPPE);
    command.args(["mq", "recv", name]).stdout(full);
    let place = format!("it is back in {name}");
    outcome(command.output().expect("a run")).is(71).says(&["cannot write", &place]);
    assert_eq!(queue.try_recv().map(|message| message.priority), Ok(5));
}

#[test]
fn peeking_is_refused_with_a_reason() {
    let posix = name!("peek");
    let place = Place::new();
    let queue = posix.queue(1);
    queue.send(b"x", 0).expect("to send");
    place.run(&["mq", "peek", &posix.0]).is(2).no_data().says(&["takes it out", "mq stat", "mq recv"]);
    assert_eq!(queue.len().expect("a depth"), 1);
}

#[test]
fn stat() {
    let posix = name!("stat");
    let (place, name) = (Place::new(), posix.0.as_str());
    let queue = posix.queue(2);
    queue.send(b"four", 0).expect("to send");
    let page = place.ok(&["mq", "stat", name]);
    for line in [format!("name            {name}\n"), "depth           1 of 2\n".into(), "bytes           4\n".into()] {
        assert!(page.contains(&line), "no {line:?} in: {page}");
    }
    assert!(page.contains("notified        nobody\n") && page.contains("participants    not known"), "{page}");
    let _news = queue.notify_channel().expect("to be notified");
    let line = &json(&place.ok(&["mq", "stat", name, "--json"]))[0];
    assert_eq!((line["schema"].as_u64(), line["name"].as_str()), (Some(1), Some(name)));
    assert_eq!((line["depth"].as_u64(), line["capacity"].as_u64()), (Some(1), Some(2)));
    assert_eq!((line["message_size"].as_u64(), line["bytes"].as_u64()), (Some(64), Some(4)));
    assert_eq!((line["mode"].as_str(), line["notified"].as_u64()), (Some("0600"), Some(std::process::id().into())));
}

#[test]
fn purge() {
    let posix = name!("purge");
    let (place, name) = (Place::new(), posix.0.as_str());
    let queue = posix.queue(3);
    (0..3).for_each(|priority| queue.send(b"x", priority).expect("to send"));
    assert_eq!(place.ok(&["mq", "purge", name, "--dry-run"]), "would purge 3\n");
    assert_eq!(queue.len().expect("a depth"), 3);
    let outcome = place.run(&["mq", "purge", name]);
    outcome.is(0).says(&[name, "one message after the other"]);
    assert_eq!(outcome.text(), "purged 3\n");
    assert_eq!((place.ok(&["mq", "purge", name]), queue.len().expect("a depth")), ("purged 0\n".into(), 0));
}

#[test]
fn rm_takes_both_kinds() {
    let posix = name!("rm");
    let (place, name) = (Place::with_queue(1), posix.0.as_str());
    let _queue = posix.queue(1);
    let outcome = place.run(&["mq", "rm", name, "q", name]);
    outcome.is(69).says(&[&format!("there is no {name}")]);
    assert_eq!(outcome.text(), format!("removed {name}\nremoved /q\n"));
    for args in [&["mq", "send", name, "x"][..], &["mq", "recv", name], &["mq", "stat", name], &["mq", "purge", name]] {
        place.run(args).is(69).no_data().says(&[name]);
    }
}

/// Ours and the kernel's of one name are two.
#[test]
fn names_are_apart() {
    let posix = name!("apart");
    let place = Place::new();
    let queue = posix.queue(1);
    place.ok(&["mq", "create", posix.bare()]);
    place.ok(&["mq", "send", posix.bare(), "ours"]);
    assert_eq!(queue.len().expect("a depth"), 0);
    place.ok(&["mq", "send", &posix.0, "theirs"]);
    eventually("message of the kernel's", || queue.len().expect("a depth") == 1);
    assert_eq!(place.ok(&["mq", "recv", posix.bare()]), "ours\n");
}
