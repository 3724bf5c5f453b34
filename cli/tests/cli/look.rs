//! `mq peek`, `mq stat`, `mq purge` and `ls`: looking, counting, throwing away.

use super::{Place, json};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

#[test]
fn peek_leaves_everything() {
    let place = Place::with_messages(&[b"1", b"2", b"\xff"]);
    assert_eq!(place.ok(&["mq", "peek", "q"]), "1\n");
    assert_eq!(place.run(&["mq", "peek", "q", "-n", "9"]).is(0).stdout, b"1\n2\n\xff\n");
    let lines = json(&place.ok(&["mq", "peek", "q", "-n", "9", "--json"]));
    assert_eq!((&lines[1]["data"], &lines[2]["encoding"]), (&"2".into(), &"base64".into()));
    assert_eq!(place.queue("q").len(), Ok(3));
    place.run(&["mq", "peek", "none"]).is(69);
    place.ok(&["mq", "purge", "q"]);
    place.run(&["mq", "peek", "q"]).is(1).no_data().says(&["empty"]);
}

#[test]
fn purge_counts() {
    let place = Place::with_messages(&[b"1", b"2", b"3"]);
    assert_eq!(place.ok(&["mq", "purge", "q", "--dry-run"]), "would purge 3\n");
    assert_eq!(place.ok(&["mq", "purge", "q"]), "purged 3\n");
    assert_eq!(place.ok(&["mq", "purge", "q"]), "purged 0\n");
    place.run(&["mq", "purge", "none"]).is(69).no_data();
}

#[test]
fn stat_tells() {
    let place = Place::with_messages(&[b"1", b"2", b"3"]);
    let _other = place.queue("q");
    place.ok(&["mq", "recv", "q"]);
    let stat = &json(&place.ok(&["mq", "stat", "q", "--json"]))[0];
    assert_eq!((&stat["schema"], &stat["name"]), (&1.into(), &"/q".into()));
    for (field, value) in
        [("depth", 2), ("capacity", 100), ("message_size", 64), ("sent", 3), ("received", 1), ("high_water", 3)]
    {
        assert_eq!(stat[field], value, "{field} in {stat}");
    }
    assert!(stat["memory"].as_u64().is_some_and(|bytes| bytes > 0));
    let created = humantime::parse_rfc3339(stat["created"].as_str().expect("a time")).expect("as RFC 3339 has it");
    let since_epoch = created.duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    assert_eq!(stat["created_unix_nanos"].as_u64().map(u128::from), Some(since_epoch.as_nanos()));
    let page = place.ok(&["mq", "stat", "q"]);
    assert!(page.contains("2 of 100") && page.contains("0600") && page.contains("sent            3"), "{page}");
    place.run(&["mq", "stat", "none"]).is(69).no_data();
}

#[test]
fn stat_shows_others_and_not_itself() {
    let place = Place::with_queue(10);
    assert_eq!(json(&place.ok(&["mq", "stat", "q", "--json"]))[0]["participants"], serde_json::json!([]));
    let _ours = place.queue("q");
    let stat = &json(&place.ok(&["mq", "stat", "q", "--json"]))[0];
    let participants = stat["participants"].as_array().expect("a list");
    assert_eq!(participants.len(), 1, "{stat}");
    assert_eq!(participants[0]["pid"], std::process::id());
    assert!(place.ok(&["mq", "stat", "q"]).contains(&format!("pid {}", std::process::id())));
}

#[test]
fn ls_is_a_line_a_queue() {
    let place = Place::new();
    assert_eq!(place.ok(&["ls"]), "");
    place.ok(&["mq", "create", "short", "--capacity", "5", "--message-size", "2M", "--mode", "640"]);
    place.ok(&["mq", "create", "a-much-longer-name"]);
    place.ok(&["mq", "send", "short", "x"]);
    let list = place.ok(&["ls"]);
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert_eq!(lines[0][..8], ["/a-much-longer-name", "queue", "0", "1024", "64K", "-", "-", "0600"]);
    assert_eq!(lines[1][..8], ["/short", "queue", "1", "5", "2M", "-", "-", "0640"]);
    for line in &lines {
        place.ok(&["mq", "stat", line[0]]);
    }
}

#[test]
fn ls_shows_semaphores_beside_queues() {
    let place = Place::with_semaphore(3);
    place.ok(&["mq", "create", "pool", "--capacity", "5"]);
    let pool = place.semaphore("pool");
    let _held = pool.acquire_many(2).expect("two permits");
    let list = place.ok(&["ls"]);
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..8], ["/pool", "queue", "0", "5", "64K", "-", "-", "0600"]);
    assert_eq!(lines[1][..8], ["/pool", "semaphore", "1", "3", "-", "1", "0", "0600"]);
    let lines = json(&place.ok(&["ls", "--json"]));
    let (queue, semaphore) = (&lines[0], &lines[1]);
    assert_eq!((&semaphore["kind"], &semaphore["name"]), (&"semaphore".into(), &"/pool".into()));
    for (field, value) in [("available", 1), ("permits", 3), ("holders", 1), ("waiters", 0)] {
        assert_eq!(semaphore[field], value, "{field} in {semaphore}");
        assert!(queue[field].is_null(), "{field} in {queue}");
    }
    assert!(semaphore["depth"].is_null() && semaphore["created"].is_string(), "{semaphore}");
}

#[test]
fn names_of_ls_are_names_for_others() {
    let place = Place::new();
    let names: [&[u8]; 5] = [b"/plain", b"/with space", "/größe".as_bytes(), b"/\xff\xfe", b"/new\nline"];
    for name in names {
        place.ok(&[OsStr::new("mq"), OsStr::new("create"), OsStr::from_bytes(name)]);
    }
    let list = place.ok(&["ls"]);
    assert_eq!(list.lines().count(), names.len(), "{list}");
    assert!(list.contains("$'/with space'") && list.contains("/größe ") && list.contains(r"$'/new\nline'"), "{list}");
    let listed: BTreeSet<Vec<u8>> = json(&place.ok(&["ls", "--json"])).iter().map(name_of).collect();
    assert_eq!(listed, names.iter().map(|name| name.to_vec()).collect());
    for name in &listed {
        assert!(place.ok(&[OsStr::new("mq"), OsStr::new("rm"), OsStr::from_bytes(name)]).starts_with("removed "));
    }
}

fn name_of(line: &serde_json::Value) -> Vec<u8> {
    use base64::Engine;
    let name = line["name"].as_str().expect("a name");
    match line["name_encoding"].as_str() {
        Some("base64") => base64::engine::general_purpose::STANDARD.decode(name).expect("base64"),
        _ => name.as_bytes().to_vec(),
    }
}

#[test]
fn ls_json() {
    let place = Place::with_messages(&[b"1"]);
    let lines = json(&place.ok(&["ls", "--json"]));
    let line = &lines[0];
    assert_eq!((&line["schema"], &line["kind"], &line["name"]), (&1.into(), &"queue".into(), &"/q".into()));
    assert_eq!((&line["depth"], &line["capacity"], &line["mode"]), (&1.into(), &100.into(), &"0600".into()));
    assert!(line["uid"].is_u64() && line["memory"].is_u64() && line["error"].is_null(), "{line}");
}
