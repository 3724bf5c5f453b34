//! `chappe sem` with `posix:NAME`: POSIX semaphores of the C library, which have one directory for all.

use super::{Place, finish, json};
use chappe::posix::Semaphore;

/// A semaphore of this test's own; it goes with the test.
struct Posix(String);

impl Posix {
    fn new(test: &str, value: u32) -> Posix {
        let name = format!("/chappe-cli-{test}-{}", std::process::id());
        Semaphore::create_new(&name, value).expect("a POSIX semaphore");
        Posix(format!("posix:{name}"))
    }

    fn semaphore(&self) -> Semaphore {
        Semaphore::open(self.0.trim_start_matches("posix:")).expect("a POSIX semaphore")
    }
}

impl Drop for Posix {
    fn drop(&mut self) {
        let _ = Semaphore::unlink(self.0.trim_start_matches("posix:"));
    }
}

#[test]
fn post_and_wait() {
    let place = Place::new();
    let posix = Posix::new("wait", 0);
    let name = posix.0.as_str();
    place.run(&["sem", "wait", name, "--nonblock"]).is(75).no_data().says(&[name, "is at zero", "--nonblock"]);
    place.run(&["sem", "wait", name, "-t", "20ms"]).is(124).no_data().says(&["stayed at zero", "-t"]);
    place.ok(&["sem", "post", name]);
    assert_eq!(posix.semaphore().value(), 1);
    place.ok(&["sem", "wait", name]);
    assert_eq!(posix.semaphore().value(), 0);
    let waiter = place.start(&["sem", "wait", name, "-t", "50s"]);
    posix.semaphore().post().expect("to post");
    finish(waiter).is(0);
}

#[test]
fn at_most_so_many() {
    let place = Place::new();
    let posix = Posix::new("full", Semaphore::VALUE_MAX);
    place.run(&["sem", "post", &posix.0]).is(75).no_data().says(&[&posix.0, "SEM_VALUE_MAX"]);
}

#[test]
fn stat() {
    let place = Place::new();
    let posix = Posix::new("stat", 7);
    let page = place.ok(&["sem", "stat", &posix.0]);
    assert!(page.contains("value           7\n") && page.contains("not known"), "{page}");
    let line = &json(&place.ok(&["sem", "stat", &posix.0, "--json"]))[0];
    assert_eq!((&line["schema"], &line["name"], &line["value"]), (&1.into(), &posix.0.as_str().into(), &7.into()));
}

#[test]
fn rm_takes_both_kinds() {
    let place = Place::with_semaphore(1);
    let posix = Posix::new("rm", 7);
    let name = posix.0.as_str();
    let outcome = place.run(&["sem", "rm", name, "pool", name]);
    outcome.is(69).says(&[&format!("there is no {name}")]);
    assert_eq!(outcome.text(), format!("removed {name}\nremoved /pool\n"));
    for verb in ["post", "wait", "stat"] {
        place.run(&["sem", verb, name]).is(69).no_data().says(&[name]);
    }
}

#[test]
fn names() {
    let place = Place::new();
    place.run(&["sem", "post", "posix:"]).is(2).no_data().says(&["1 to 255 bytes"]);
    place.run(&["sem", "post", "posix:/a/b"]).is(2).says(&["one slash"]);
    place.run(&["sem", "post", &format!("posix:/{}", "x".repeat(255))]).is(2).no_data().says(&["at most", "255"]);
}
