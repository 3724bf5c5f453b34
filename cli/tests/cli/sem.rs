//! `chappe sem` without `run`: creating, looking, changing, signals, going.

use super::{Place, finish, json};
use std::process::Child;

/// Waits until so many wait at the semaphore.
pub fn await_waiters(place: &Place, name: &str, count: usize) {
    super::eventually("a waiter", || stat(place, name)["waiters"].as_array().expect("a list").len() == count);
}

/// What `sem stat --json` says.
pub fn stat(place: &Place, name: &str) -> serde_json::Value {
    json(&place.ok(&["sem", "stat", name, "--json"])).remove(0)
}

#[test]
fn create() {
    let place = Place::new();
    place.ok(&["sem", "create", "/pool", "-n", "3", "--mode", "0640"]);
    let seen = stat(&place, "pool");
    assert_eq!((&seen["permits"], &seen["available"], &seen["mode"]), (&3.into(), &3.into(), &"0640".into()));
    place.run(&["sem", "create", "pool", "-n", "3"]).is(73).no_data().says(&[
        "semaphore /pool exists already",
        "--exist-ok",
        "chappe sem rm /pool",
    ]);
    let again = |more: &[&str]| place.run(&[&["sem", "create", "pool", "--exist-ok"], more].concat());
    again(&["-n", "3"]).is(0).no_data().says(&["exists: 3 permits"]);
    again(&["-n", "3", "--mode", "640"]).is(0);
    again(&["-n", "4"]).is(78).says(&["exists with 3 permits", "you asked for 4", "sem rm"]);
    again(&["-n", "3", "--mode", "600"]).is(78).says(&["mode 0640", "mode 0600"]);
    place.ok(&["sem", "rm", "pool"]);
    again(&["-n", "1"]).is(0).no_data().says(&["created: 1 permit"]);
}

#[test]
fn a_queue_may_have_the_same_name() {
    let place = Place::with_queue(3);
    place.run(&["sem", "stat", "q"]).is(69).no_data().says(&["no semaphore /q", "chappe sem create /q -n"]);
    place.ok(&["sem", "create", "q", "-n", "2"]);
    place.ok(&["mq", "send", "q", "x"]);
    place.ok(&["sem", "rm", "q"]);
    assert_eq!(place.ok(&["mq", "recv", "q"]), "x\n");
}

#[test]
fn stat_and_holders() {
    let place = Place::with_semaphore(5);
    place.run(&["sem", "holders", "pool"]).is(1).no_data();
    place.run(&["sem", "holders", "pool", "--json"]).is(1).no_data();
    let pool = place.semaphore("pool");
    let permit = pool.acquire_many(4).expect("four permits");
    permit.set_label("the nightly run\n\x1b[31m");
    let waiter = place.start(&["sem", "run", "pool", "--take", "2", "--label", "second", "--", "true"]);
    await_waiters(&place, "pool", 1);
    let seen = stat(&place, "pool");
    for (field, value) in [("schema", 1), ("permits", 5), ("available", 1), ("held", 4), ("blocked", 1)] {
        assert_eq!(seen[field], value, "{field} in {seen}");
    }
    let (holder, waits) = (&seen["holders"][0], &seen["waiters"][0]);
    let times = [&seen["created"], &holder["since"], &waits["since"]];
    assert!(times.iter().all(|time| humantime::parse_rfc3339(time.as_str().expect("a time")).is_ok()), "{seen}");
    assert_eq!((&holder["pid"], &holder["exec"]), (&std::process::id().into(), &false.into()));
    assert_eq!((&holder["permits"], &holder["label"]), (&4.into(), &"the nightly run\n\x1b[31m".into()));
    assert_eq!((&waits["pid"], &waits["permits"]), (&waiter.id().into(), &2.into()));
    assert_eq!(
        (&waits["label"], &waits["command"], &waits["signal"]),
        (&"second".into(), &"true".into(), &false.into())
    );
    let page = place.ok(&["sem", "stat", "pool"]);
    assert!(page.contains("free            1 of 5") && page.contains("waiters         1\n  pid"), "{page}");
    assert!(page.contains("the nightly run\\n\\u{1b}[31m") && !page.contains('\x1b'), "{page}");
    let lines = place.ok(&["sem", "holders", "pool"]);
    assert!(lines.starts_with(&format!("pid {}", std::process::id())) && lines.contains("4 permits"), "{lines}");
    assert_eq!(lines.lines().count(), 1);
    let line = &json(&place.ok(&["sem", "holders", "pool", "--json"]))[0];
    assert_eq!((&line["name"], &line["holders"]), (&"/pool".into(), &seen["holders"]));
    drop(permit);
    finish(waiter).is(0);
    place.run(&["sem", "stat", "none"]).is(69).no_data();
    place.run(&["sem", "holders", "none"]).is(69).no_data();
}

#[test]
fn stat_shows_others_and_not_itself() {
    let place = Place::with_semaphore(1);
    assert_eq!(stat(&place, "pool")["participants"], serde_json::json!([]));
    let _ours = place.semaphore("pool");
    assert_eq!(stat(&place, "pool")["participants"][0]["pid"], std::process::id());
}

#[test]
fn set() {
    let place = Place::with_semaphore(3);
    let pool = place.semaphore("pool");
    let held = pool.acquire_many(3).expect("three permits");
    place.run(&["sem", "set", "pool", "1"]).is(0).no_data().says(&["3 permits held", "2 more than there are"]);
    assert_eq!(stat(&place, "pool")["available"], -2);
    let waiter = place.start(&["sem", "run", "pool", "--", "true"]);
    await_waiters(&place, "pool", 1);
    let outcome = place.run(&["sem", "set", "pool", "4"]);
    assert_eq!(outcome.is(0).no_data().stderr, "");
    finish(waiter).is(0);
    drop(held);
    // Looks after the one that has ended first, which the number alone does not.
    assert_eq!(stat(&place, "pool")["available"], 4);
    place.run(&["sem", "set", "none", "4"]).is(69);
}

#[test]
fn too_few_for_who_waits() {
    let place = Place::with_semaphore(3);
    let pool = place.semaphore("pool");
    let _held = pool.acquire().expect("a permit");
    let waiter = place.start(&["sem", "run", "pool", "--take", "3", "--", "true"]);
    await_waiters(&place, "pool", 1);
    place.ok(&["sem", "set", "pool", "2"]);
    finish(waiter).is(125).says(&["3 permits at once", "/pool has 2"]);
}

#[test]
fn wait_idle() {
    let place = Place::with_semaphore(2);
    place.ok(&["sem", "wait-idle", "pool"]);
    let pool = place.semaphore("pool");
    let held = pool.acquire().expect("a permit");
    place.run(&["sem", "wait-idle", "pool", "-t", "20ms"]).is(124).no_data().says(&["had permits held", "-t"]);
    let mut waiter = place.start(&["sem", "wait-idle", "pool", "-t", "50s"]);
    super::eventually("its opening", || stat(&place, "pool")["participants"].as_array().expect("a list").len() == 2);
    assert!(waiter.try_wait().expect("a process").is_none());
    drop(held);
    finish(waiter).is(0);
    place.run(&["sem", "wait-idle", "none"]).is(69);
}

#[test]
fn signals() {
    let place = Place::new();
    place.ok(&["sem", "create", "ready", "-n", "0"]);
    place.run(&["sem", "wait", "ready", "--nonblock"]).is(75).no_data().says(&["no signal", "--nonblock"]);
    place.run(&["sem", "wait", "ready", "-t", "20ms"]).is(124).no_data().says(&["no signal", "-t"]);
    for _ in 0..2 {
        place.ok(&["sem", "post", "ready"]);
    }
    place.ok(&["sem", "wait", "ready"]);
    place.ok(&["sem", "wait", "ready", "--nonblock"]);
    place.run(&["sem", "wait", "ready", "--nonblock"]).is(75);
    let waiters: Vec<Child> = [["sem", "wait", "ready"]; 2].iter().map(|args| place.start(args)).collect();
    await_waiters(&place, "ready", 2);
    assert_eq!(stat(&place, "ready")["waiters"][0]["signal"], true);
    place.ok(&["sem", "post", "ready"]);
    place.ok(&["sem", "post", "ready"]);
    for waiter in waiters {
        finish(waiter).is(0);
    }
    place.run(&["sem", "post", "none"]).is(69).no_data();
    place.run(&["sem", "wait", "none"]).is(69).no_data();
}

#[test]
fn at_most_so_many_signals() {
    let place = Place::new();
    place.ok(&["sem", "create", "ready", "-n", &chappe::PERMITS_MAX.to_string()]);
    place.run(&["sem", "post", "ready"]).is(75).says(&["the most there can be"]);
}

#[test]
fn rm_wakes_who_waits_and_tries_all() {
    let place = Place::new();
    place.ok(&["sem", "create", "ready", "-n", "0"]);
    place.ok(&["sem", "create", "pool", "-n", "1"]);
    let pool = place.semaphore("pool");
    let held = pool.acquire().expect("a permit");
    let (waits, runs) = (place.start(&["sem", "wait", "ready"]), place.start(&["sem", "run", "pool", "--", "true"]));
    await_waiters(&place, "ready", 1);
    await_waiters(&place, "pool", 1);
    let outcome = place.run(&["sem", "rm", "ready", "none", "pool"]);
    outcome.is(69).says(&["no semaphore /none"]);
    assert_eq!(outcome.text(), "removed /ready\nremoved /pool\n");
    finish(waits).is(69).says(&["/ready was removed meanwhile"]);
    finish(runs).is(125).says(&["/pool was removed meanwhile"]);
    drop(held);
    assert_eq!(place.ok(&["ls"]), "");
}
