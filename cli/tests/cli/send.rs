//! `mq send`: from the command line, whole inputs, records as they come; and what is refused.

use super::{Place, finish};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The messages in the queue, in order.
fn drain(place: &Place) -> Vec<Vec<u8>> {
    let queue = place.queue("q");
    std::iter::from_fn(|| queue.try_recv().ok()).map(|message| message.data).collect()
}

#[test]
fn highest_priority_first() {
    let place = Place::with_queue(10);
    for (message, priority) in [("a", "1"), ("b", "32767"), ("c", "1"), ("d", "0")] {
        assert_eq!(place.ok(&["mq", "send", "/q", message, "-p", priority]), "");
    }
    assert_eq!(place.ok(&["mq", "recv", "q", "--until-empty", "--format", "%p%s "]), "32767b 1a 1c 0d ");
}

#[test]
fn any_bytes_and_none() {
    let place = Place::with_queue(10);
    let bytes = b"\xff\xfe \n\x01";
    place.ok(&[OsStr::new("mq"), OsStr::new("send"), OsStr::new("q"), OsStr::from_bytes(bytes)]);
    place.ok(&["mq", "send", "q", ""]);
    place.ok(&["mq", "send", "q", "--", "-x"]);
    place.run_with(&["mq", "send", "q"], b"\0whole\n\0").is(0);
    place.run_with(&["mq", "send", "q"], b"").is(0);
    assert_eq!(drain(&place), [&bytes[..], b"", b"-x", b"\0whole\n\0", b""]);
}

#[test]
fn a_name_of_any_bytes() {
    let place = Place::new();
    let name = OsString::from_vec(b"/\xff\xfe".to_vec());
    let args = |verb: &str, more: &[&str]| {
        [&["mq".into(), verb.into(), name.clone()][..], &more.iter().map(OsString::from).collect::<Vec<_>>()].concat()
    };
    place.ok(&args("create", &[]));
    place.ok(&args("send", &["hello"]));
    assert_eq!(place.ok(&args("recv", &[])), "hello\n");
    assert_eq!(place.ok(&args("rm", &[])), "removed $'/\\xff\\xfe'\n");
}

#[test]
fn records() {
    let place = Place::with_queue(10);
    place.run_with(&["mq", "send", "q", "--lines"], b"one\n\ntwo\0\r\nlast").is(0);
    assert_eq!(drain(&place), [&b"one"[..], b"", b"two\0\r", b"last"]);
    place.run_with(&["mq", "send", "q", "--null"], b"one\0\0two\n\0").is(0);
    assert_eq!(drain(&place), [&b"one"[..], b"", b"two\n"]);
    place.run_with(&["mq", "send", "q", "--lines"], b"").is(0);
    assert!(drain(&place).is_empty());
}

#[test]
fn files() {
    let place = Place::with_queue(10);
    let file = place.path().join("input");
    std::fs::write(&file, "one\ntwo\n").expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    place.ok(&["mq", "send", "q", "--file", file]);
    place.ok(&["mq", "send", "q", "--file", file, "--lines"]);
    place.run_with(&["mq", "send", "q", "--file", "-"], b"stdin").is(0);
    assert_eq!(drain(&place), [&b"one\ntwo\n"[..], b"one", b"two", b"stdin"]);
    place.run(&["mq", "send", "q", "--file", "/does/not/exist"]).is(66).says(&["/does/not/exist"]);
    place.run(&["mq", "send", "q", "--file", "/"]).is(66).says(&["cannot read"]);
}

#[test]
fn a_line_goes_out_when_it_is_in() {
    let place = Place::with_queue(10);
    let mut sender = place.start(&["mq", "send", "q", "--lines"]);
    let mut stdin = sender.stdin.take().expect("a pipe");
    for line in ["first", "second"] {
        writeln!(stdin, "{line}").expect("a reader");
        // The input is still open: whoever waited for its end would wait for ever.
        assert_eq!(place.ok(&["mq", "recv", "q", "-t", "50s"]), format!("{line}\n"));
    }
    drop(stdin);
    finish(sender).is(0);
}

#[test]
fn too_large() {
    let place = Place::with_queue(10);
    place.ok(&["mq", "send", "q", &"x".repeat(64)]);
    place.run(&["mq", "send", "q", &"x".repeat(65)]).is(65).no_data().says(&[
        "65 bytes",
        "at most 64",
        "--message-size",
    ]);
    place.run_with(&["mq", "send", "q"], &[b'x'; 100_000]).is(65).says(&["more than 64", "at most 64"]);
    let lines = [b"short\n".to_vec(), vec![b'x'; 64], b"\n".to_vec(), vec![b'x'; 65], b"\nnever\n".to_vec()].concat();
    place.run_with(&["mq", "send", "q", "--lines"], &lines).is(65).says(&["(2 sent before)"]);
    assert_eq!(drain(&place).len(), 3);
}

#[test]
fn full() {
    let place = Place::with_queue(2);
    place.run_with(&["mq", "send", "q", "--lines", "--nonblock"], b"1\n2\n3\n").is(75).says(&[
        "full",
        "2",
        "2 sent before",
    ]);
    place.run(&["mq", "send", "q", "3", "--nonblock"]).is(75).no_data().says(&["full (2 messages)", "--nonblock"]);
    place.run(&["mq", "send", "q", "3", "-t", "20ms"]).is(124).says(&["stayed full", "-t"]);
    place.run_with(&["mq", "send", "q", "--lines", "-t", "20ms"], b"3\n").is(124);
    assert_eq!(drain(&place), [b"1", b"2"]);
}

#[test]
fn a_full_queue_is_waited_for() {
    let place = Place::with_queue(1);
    place.ok(&["mq", "send", "q", "1"]);
    let sender = place.start(&["mq", "send", "q", "2", "-t", "50s"]);
    assert_eq!(place.ok(&["mq", "recv", "q"]), "1\n");
    finish(sender).is(0);
    assert_eq!(place.ok(&["mq", "recv", "q", "-t", "50s"]), "2\n");
}

#[test]
fn none_or_closed() {
    let place = Place::with_queue(1);
    place.run(&["mq", "send", "none", "x"]).is(69).no_data().says(&["no queue /none", "chappe mq create /none"]);
    place.queue("q").close().expect("to close");
    place.run(&["mq", "send", "q", "x"]).is(69).says(&["closed"]);
}
