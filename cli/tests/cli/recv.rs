//! `mq recv`: how many, how long, how printed; and readers of stdout that go away.

use super::{CHAPPE, Place, finish, json, outcome};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read};
use std::process::Command;

#[test]
fn how_many() {
    let place = Place::with_messages(&[b"1", b"2", b"3", b"4", b"5", b"6"]);
    assert_eq!(place.ok(&["mq", "recv", "q"]), "1\n");
    assert_eq!(place.ok(&["mq", "recv", "q", "-n", "2"]), "2\n3\n");
    assert_eq!(place.ok(&["mq", "recv", "q", "--until-empty"]), "4\n5\n6\n");
    assert_eq!(place.ok(&["mq", "recv", "q", "--until-empty"]), "");
    assert_eq!(place.ok(&["mq", "recv", "q", "--until-empty", "-t", "5ms"]), "");
}

#[test]
fn empty() {
    let place = Place::with_messages(&[b"1", b"2"]);
    let three = place.run(&["mq", "recv", "q", "-n", "3", "--nonblock"]);
    three.is(1).says(&["/q is empty", "2 received before"]);
    assert_eq!(three.text(), "1\n2\n");
    place.run(&["mq", "recv", "q", "--nonblock"]).is(1).no_data().says(&["/q is empty"]);
    place.run(&["mq", "recv", "q", "-t", "20ms"]).is(124).no_data().says(&["stayed empty", "-t"]);
    place.run(&["mq", "recv", "q", "--follow", "-t", "20ms"]).is(124);
    place.run(&["mq", "recv", "none"]).is(69).no_data().says(&["no queue /none"]);
}

#[test]
fn waits_for_a_message() {
    let place = Place::with_queue(1);
    let receiver = place.start(&["mq", "recv", "q"]);
    place.ok(&["mq", "send", "q", "here"]);
    let outcome = finish(receiver);
    outcome.is(0);
    assert_eq!(outcome.text(), "here\n");
}

#[test]
fn bytes_come_as_they_went() {
    let place = Place::with_messages(&[b"\xff\n\0\x01", b"", b"b"]);
    assert_eq!(place.run(&["mq", "recv", "q"]).stdout, b"\xff\n\0\x01\n");
    assert_eq!(place.run(&["mq", "recv", "q", "-n", "2", "--null"]).stdout, b"\0b\0");
}

#[test]
fn formats() {
    let place = Place::with_queue(10);
    let queue = place.queue("q");
    for _ in 0..3 {
        queue.try_send(b"text", 7).expect("room");
    }
    assert_eq!(place.ok(&["mq", "recv", "q", "--format", "%p|%s|%l|%%|%n"]), "7|text|4|%|\n");
    assert_eq!(place.ok(&["mq", "recv", "q", "--format", "<%s>"]), "<text>");
    assert_eq!(place.ok(&["mq", "recv", "q", "--format", "%p %s", "--null"]), "7 text\0");
}

#[test]
fn json_lines() {
    let place = Place::with_messages(&["größe\n".as_bytes(), b"\xff\xfe", b""]);
    let lines = json(&place.ok(&["mq", "recv", "q", "--until-empty", "--json"]));
    assert_eq!(lines.len(), 3);
    for line in &lines {
        assert_eq!(line["schema"], 1);
        assert!(line["priority"].is_u64() && line["length"].is_u64() && line["redelivered"].is_u64(), "{line}");
    }
    let data = |at: usize| (lines[at]["encoding"].as_str(), lines[at]["data"].as_str(), lines[at]["length"].as_u64());
    assert_eq!(data(0), (Some("utf-8"), Some("größe\n"), Some(8)));
    assert_eq!(data(1), (Some("base64"), Some("//4="), Some(2)));
    assert_eq!(data(2), (Some("utf-8"), Some(""), Some(0)));
}

#[test]
fn follow_ends_with_the_queue() {
    for end in ["close", "rm"] {
        let place = Place::with_queue(10);
        let mut follower = place.start(&["mq", "recv", "q", "--follow"]);
        let mut lines = BufReader::new(follower.stdout.take().expect("a pipe"));
        for message in ["one", "two"] {
            place.ok(&["mq", "send", "q", message]);
            let mut line = String::new();
            lines.read_line(&mut line).expect("a line");
            assert_eq!(line, format!("{message}\n"));
        }
        match end {
            "close" => place.queue("q").close().expect("to close"),
            _ => drop(place.ok(&["mq", "rm", "q"])),
        }
        finish(follower).is(0).says(&["2 received"]);
    }
}

#[test]
fn a_closed_queue_gives_what_it_has() {
    let place = Place::with_messages(&[b"1", b"2", b"3"]);
    place.queue("q").close().expect("to close");
    assert_eq!(place.ok(&["mq", "recv", "q", "-n", "2"]), "1\n2\n");
    assert_eq!(place.ok(&["mq", "recv", "q", "--until-empty"]), "3\n");
    place.run(&["mq", "recv", "q"]).is(69).no_data().says(&["closed"]);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    // More than a pipe holds, so that the writer must notice.
    let messages = vec![&[b'x'; 64][..]; 100];
    let place = Place::with_messages(&messages);
    place.ok(&["mq", "create", "big", "--message-size", "1M", "--capacity", "4"]);
    let queue = place.queue("big");
    (0..4).for_each(|_| queue.try_send(&[b'y'; 1 << 20], 3).expect("room"));
    for args in [
        &["mq", "recv", "q", "--until-empty"][..],
        &["mq", "recv", "big", "--until-empty"],
        &["mq", "peek", "big", "-n", "4"],
    ] {
        let mut child = place.start(args);
        let mut stdout = child.stdout.take().expect("a pipe");
        stdout.read_exact(&mut [0; 10]).expect("the beginning");
        drop(stdout);
        finish(child).is(0);
    }
    assert!(queue.len().expect("a depth") >= 3, "one was on its way, no more");
}

#[test]
fn a_reader_that_leaves_ends_the_waiting_and_takes_nothing_along() {
    let place = Place::with_queue(10);
    let mut follower = place.start(&["mq", "recv", "q", "--follow"]);
    place.ok(&["mq", "send", "q", "one"]);
    let mut lines = BufReader::new(follower.stdout.take().expect("a pipe"));
    lines.read_line(&mut String::new()).expect("a line");
    drop(lines);
    finish(follower).is(0);
    place.ok(&["mq", "send", "q", "two"]);
    assert_eq!(place.ok(&["mq", "recv", "q", "--nonblock"]), "two\n");
}

#[test]
fn what_cannot_be_written_goes_back() {
    let place = Place::with_messages(&[b"precious"]);
    let full = OpenOptions::new().write(true).open("/dev/full").expect("the full device");
    let mut command = Command::new(CHAPPE);
    command.args(["mq", "recv", "q"]).env("CHAPPE_DIR", place.path()).stdout(full);
    outcome(command.output().expect("a run")).is(71).says(&["cannot write", "it is back in /q"]);
    assert_eq!(place.ok(&["mq", "recv", "q", "--nonblock"]), "precious\n");
}
