//! The protocols of the library's `raw` under loom: its own files, with the twins of [`sync`] in the place of the facade. Every
//! interleaving within a bound on preemptions, and every value that the memory model lets a load see. (Loom takes a sequentially
//! consistent access for acquire and release, and a sequentially consistent fence for what it is: it may see too much.)
//!
//! Arguments choose the models that have one of these words in their name; `LOOM_MAX_PREEMPTIONS` is the bound.

#![allow(dead_code, unused_imports, missing_docs, reason = "the library's files, of which a part is used")]

mod permits;
mod ring;
mod sync;
mod waiting;

#[path = "../../src/message.rs"]
mod message;
#[path = "../../src/name.rs"]
mod name;
#[path = "../../src/raw/mod.rs"]
mod raw;
#[path = "../../src/stat.rs"]
mod stat;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

type Model = (&'static str, fn());

const MODELS: &[Model] = &[
    ("event: a wake is not lost", waiting::a_wake_is_not_lost),
    ("event: an end reaches all", waiting::an_end_reaches_all),
    ("event: attention is not overlooked", waiting::attention_is_not_overlooked),
    ("lock: it excludes and wakes", waiting::the_lock_excludes_and_wakes),
    ("lock: it is stolen once", waiting::the_lock_is_stolen_once),
    ("ring: claims and commits against a drain", ring::claims_and_commits_against_a_drain),
    ("ring: it goes round under a sender", ring::the_ring_goes_round_under_a_sender),
    ("ring: what was sent is found", ring::what_was_sent_is_found),
    ("ring: the end hides no message", ring::the_end_hides_no_message),
    ("ring: a rebuild under senders", ring::a_rebuild_under_senders),
    ("queue: one sends, one receives", ring::one_sends_one_receives),
    ("queue: two send through one slot", ring::two_send_through_one_slot),
    ("queue: two send, two receive", ring::two_send_two_receive),
    ("permits: the fast path against a recount", permits::the_fast_path_against_a_recount),
    ("permits: giving back against a recount", permits::giving_back_against_a_recount),
    ("permits: a hand-off reaches the waiter", permits::a_hand_off_reaches_the_waiter),
    ("permits: giving up against the grant", permits::giving_up_against_the_grant),
    ("permits: the end keeps the fast path closed", permits::the_end_keeps_the_fast_path_closed),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut builder = loom::model::Builder::new();
    let bound = *builder.preemption_bound.get_or_insert(2);
    builder.max_branches = builder.max_branches.max(20_000);
    for (name, model) in MODELS {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            let (runs, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
            let count = runs.clone();
            // First, for should it fail, loom ends the program.
            println!("{name}, up to {bound} preemptions ...");
            builder.check(move || {
                count.fetch_add(1, Ordering::Relaxed);
                model();
            });
            println!("  {} interleavings, {:.1?}", runs.load(Ordering::Relaxed), start.elapsed());
        }
    }
}
