//! Death at every instruction of a call of the drop-in library: a process is single-stepped through the release code of one C call and
//! SIGKILLed after its k-th instruction, each time with a fresh queue and fresh processes. Then a survivor goes on through the same calls.
//!
//! After each death the survivor's own sends and receives are served at once; who sleeps in `mq_send` or `mq_receive` is served; every message
//! is accounted for; exactly as many as the capacity fit; `poll` comes to show what is there, also to another process; a living registrant
//! is told once; a dead one's place is free; and the words of the file are as `docs/format.md` demands.
//!
//! What it cannot show: a death inside a system call, which the kernel does as a whole or not at all, as far as a tracer can see; a death while
//! a call sleeps in the kernel, which `processes.c` of the conformance test and `random_kill` of the library have; the dynamic linker, which has bound
//! everything beforehand; `closefrom`, which closes as `close_range` does; `epoll_wait`, `read`, `write` and `fstat` of a queue, which change nothing in it; and calls that are cancelled. A victim that polls or registers has a second thread, the attendant: that
//! one is not stepped, runs beside the one that is, and dies with it.
//!
//! What it can be told by the environment is said in `tests/common/kill.rs`; words on the command line choose the operations whose row holds
//! one of them.

mod common;
#[path = "../../tests/common/mod.rs"]
mod root;

#[path = "kill/act.rs"]
mod act;
#[path = "kill/beside.rs"]
mod beside;
#[path = "kill/case.rs"]
mod case;
#[path = "kill/library.rs"]
mod library;
#[path = "kill/scene.rs"]
mod scene;
#[path = "kill/survivor.rs"]
mod survivor;

use act::Act;
use case::{Case, Other, cases};
use root::kill::{self, Mode, Outcome, Plan};
use root::lanes::{Job, Program};
use root::step::{Leaps, Way};
use scene::{measure, one_kill};
use std::process::ExitCode;

/// A wait in vain costs no CPU, and most rows wait for their survivor: so there are more lanes than CPUs.
const PROGRAM: Program = Program { test: "death_in_a_c_call", lanes: 6, pinned: true };

fn main() -> ExitCode {
    PROGRAM.main(jobs)
}

fn jobs() -> Vec<Job> {
    library::load(&common::library());
    let plan = Plan::new(if cfg!(debug_assertions) { 8 } else { 24 });
    let job =
        |case: Case| Job { title: case.title(), long: case.in_vain(), run: Box::new(move || kill::run(&case, plan)) };
    if cfg!(debug_assertions) {
        println!(
            "close_range: skipped in a debug build, in which it has too many instructions; `cargo test --release` has it"
        );
    }
    cases().into_iter().filter(|case| !cfg!(debug_assertions) || case.act != Act::CloseRange).map(job).collect()
}

impl kill::Case for Case {
    /// A queue that is yet to be made has no survivor who was there before.
    fn kinds(&self) -> &'static [bool] {
        if self.act == Act::Create { &[false] } else { &[true, false] }
    }

    fn leaps(&self) -> Leaps {
        let alone = self.other == Other::Nobody && !self.act.has_attendant();
        if alone { Leaps::Any } else { Leaps::First }
    }

    fn patient(&self) -> bool {
        false
    }

    fn whole(&self) -> Option<usize> {
        Some(Case::whole(self))
    }

    fn grows(&self) -> bool {
        true
    }

    fn measure(&self, _: Mode) -> Result<Way, String> {
        measure(self)
    }

    fn kill(&self, way: &Way, k: usize, mode: Mode, leaps: Leaps) -> Result<Outcome, String> {
        one_kill(self, way, k, mode, leaps)
    }
}
