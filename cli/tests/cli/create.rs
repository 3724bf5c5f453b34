//! `mq create` and `mq rm`: coming to be, being there already, going.

use super::{CHAPPE, LIMIT, Outcome, Place, json, outcome};
use assert_cmd::Command;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;

#[test]
fn attributes_are_those_asked_for() {
    let place = Place::new();
    place.ok(&["mq", "create", "/orders", "--capacity", "7", "--message-size", "2M", "--mode", "0640"]);
    let stat = &json(&place.ok(&["mq", "stat", "orders", "--json"]))[0];
    assert_eq!(
        (&stat["capacity"], &stat["message_size"], &stat["mode"]),
        (&7.into(), &(2 << 20).into(), &"0640".into())
    );
    place.ok(&["mq", "create", "plain"]);
    let stat = &json(&place.ok(&["mq", "stat", "plain", "--json"]))[0];
    assert_eq!((&stat["capacity"], &stat["message_size"]), (&1024.into(), &65536.into()));
}

#[test]
fn the_umask_takes_nothing_away() {
    let place = Place::new();
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 077; exec \"$0\" mq create q --mode 666", CHAPPE]).env("CHAPPE_DIR", place.path());
    outcome(shell.timeout(LIMIT).output().expect("a run")).is(0);
    assert_eq!(json(&place.ok(&["mq", "stat", "q", "--json"]))[0]["mode"], "0666");
}

#[test]
fn twice_is_an_error_with_a_way_out() {
    let place = Place::with_queue(3);
    place.run(&["mq", "create", "q"]).is(73).no_data().says(&["/q", "exists already", "--exist-ok", "chappe mq rm"]);
}

#[test]
fn exist_ok_says_which_and_compares() {
    let place = Place::new();
    let create = |more: &[&str]| place.run(&[&["mq", "create", "q", "--exist-ok"], more].concat());
    create(&["--capacity", "3", "--mode", "600"]).is(0).no_data().says(&["created", "capacity 3"]);
    create(&["--capacity", "3", "--mode", "600"]).is(0).no_data().says(&["exists", "capacity 3"]);
    create(&[]).is(0).says(&["exists"]);
    create(&["--capacity", "4"]).is(78).no_data().says(&["capacity 3", "you asked for capacity 4"]);
    create(&["--message-size", "1M"]).is(78).says(&["message size 64K", "you asked for", "message size 1M"]);
    create(&["--mode", "660"]).is(78).says(&["0600", "you asked for mode 0660"]);
    assert!(place.ok(&["mq", "stat", "q"]).contains("0 of 3"));
}

#[test]
fn a_directory_that_is_not_there() {
    let place = Place::new();
    let chappe = |args: &[&str]| {
        let mut command = Command::new(CHAPPE);
        command.args(args).env("CHAPPE_DIR", place.path().join("none")).timeout(LIMIT);
        outcome(command.output().expect("a run"))
    };
    chappe(&["mq", "create", "q"]).is(73).no_data().says(&["none"]);
    chappe(&["ls"]).is(71).no_data().says(&["none"]);
}

#[test]
fn rm_tries_all_and_the_first_failure_counts() {
    let place = Place::with_queue(3);
    place.ok(&["mq", "create", "r"]);
    let outcome = place.run(&["mq", "rm", "q", "none", "r"]);
    outcome.is(69).says(&["/none", "there is no queue"]);
    assert_eq!(outcome.text(), "removed /q\nremoved /r\n");
    assert_eq!(place.ok(&["ls"]), "");
}

#[test]
fn rm_takes_what_is_no_queue_too() {
    let place = Place::with_queue(3);
    let file =
        std::fs::read_dir(place.path()).expect("the directory").next().expect("the queue's file").expect("it").path();
    std::fs::write(&file, "no queue").expect("a damaged file");
    place.run(&["mq", "stat", "q"]).is(70).no_data().says(&["not a chappe queue"]);
    place.run(&["mq", "send", "q", "x"]).is(70);
    assert!(place.ok(&["ls"]).contains("not a chappe queue"));
    place.ok(&["mq", "rm", "q"]);
    assert_eq!(place.ok(&["ls"]), "");
}

/// Runs as somebody who has no permission: as nobody if we are root, else as ourselves with the permission taken away.
fn without_permission(place: &Place, args: &[&str]) -> Option<Outcome> {
    let everyone = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path(), everyone.clone()).expect("our directory");
    // Where the command was built may be out of reach for others.
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::set_permissions(dir.path(), everyone).expect("our directory");
    let copy = dir.path().join("chappe");
    std::fs::copy(CHAPPE, &copy).expect("a copy of the command");
    let mut command = std::process::Command::new(&copy);
    command.args(args).env("CHAPPE_DIR", place.path());
    if place.path().metadata().expect("our directory").uid() == 0 {
        command.uid(65534).gid(65534);
    }
    match command.output() {
        Ok(output) => Some(outcome(output)),
        Err(error) => {
            println!("skipped: cannot run the command as another user: {error}");
            None
        }
    }
}

#[test]
fn no_permission() {
    let place = Place::new();
    place.ok(&["mq", "create", "q", "--mode", "0"]);
    for args in [&["mq", "send", "q", "x"][..], &["mq", "recv", "q", "--nonblock"], &["mq", "stat", "q"]] {
        if let Some(outcome) = without_permission(&place, args) {
            outcome.is(77).no_data().says(&["ermission denied", "CHAPPE_DIR"]);
        }
    }
    if let Some(listed) = without_permission(&place, &["ls"]) {
        listed.is(0);
        assert!(listed.text().starts_with("/q ") && listed.text().contains("ermission denied"), "{}", listed.text());
    }
}
