//! `chappe demo`: it shows what it promises, and leaves nothing behind, whichever way it ends.

use super::{Place, finish};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};

fn is_empty(place: &Place) -> bool {
    std::fs::read_dir(place.path()).expect("the directory").next().is_none()
}

#[test]
fn all_is_as_it_must_be() {
    let place = Place::new();
    let shown = place.ok(&["demo"]);
    println!("{shown}");
    assert!(shown.contains("2 4 6 8 10 1 3 5 7 9"));
    assert!(shown.contains("at most 3 were inside at a time") && shown.contains("3 of 3 are free"));
    assert!(shown.contains("All as it must be"));
    let wide = shown.lines().find(|line| line.chars().count() > 100);
    assert_eq!((wide, shown.lines().count() <= 40), (None, true), "not one screen");
    assert!(is_empty(&place));
}

#[test]
fn an_interrupted_demo_clears_up() {
    let place = Place::new();
    let mut demo = place.start(&["demo"]);
    let mut lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
    let began = lines.any(|line| line.expect("a line").starts_with("1. Order"));
    assert!(began, "it ended before its first scene");
    let pid = Pid::from_raw(demo.id() as i32).expect("a process id");
    kill_process(pid, Signal::INT).expect("a process to interrupt");
    finish(demo).is(130);
    assert!(is_empty(&place));
}
