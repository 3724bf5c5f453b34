//! Do the C programs in `examples/c` do the same on the kernel's queues and with the drop-in? Each is built once, as strictly as the
//! compiler can, run on both, and has to print what the guide shows for it. What each of the calls promises beyond that is
//! tested elsewhere.

mod common;
mod page;

use page::stage::{self, Queues, Stage};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::thread;

/// What the guide shows for a command that is nothing but the name of a program: `./mq_sender`, `pitfalls/eintr`.
fn shown() -> HashMap<String, String> {
    let consoles = page::guide().into_iter().filter(|block| block.language == "console" && block.says("both"));
    let steps = consoles.flat_map(|block| block.steps());
    steps.map(|step| (step.command.trim_start_matches("./").to_owned(), step.output)).collect()
}

/// As the guide would call it.
fn called(source: &Path) -> String {
    let name = source.strip_prefix(page::root().join("examples/c")).unwrap();
    name.with_extension("").to_str().unwrap().to_owned()
}

/// The programs that the guide runs as they are, each alone, but for a receiver after its sender.
fn groups() -> Vec<Vec<PathBuf>> {
    let with_arguments = |source: &PathBuf| called(source) == "big_queue";
    let second = |source: &PathBuf| called(source) == "mq_receiver";
    let programs = page::programs();
    let alone = programs.iter().filter(|&source| !with_arguments(source) && !second(source));
    let mut groups: Vec<Vec<PathBuf>> = alone.map(|source| vec![source.clone()]).collect();
    let sender = groups.iter_mut().find(|group| called(&group[0]) == "mq_sender").expect("a sender");
    sender.extend(programs.iter().filter(|&source| second(source)).cloned());
    groups
}

/// All at once, for they mostly wait.
#[test]
fn the_programs_print_the_same_on_the_kernels_queues_and_on_ours() {
    let shown = shown();
    let groups = groups();
    assert!(groups.len() >= 14, "{groups:?}");
    thread::scope(|scope| {
        for group in &groups {
            scope.spawn(|| run(group, &shown));
        }
    });
}

fn run(group: &[PathBuf], shown: &HashMap<String, String>) {
    let Some(stage) = Stage::new() else { return };
    for queues in [Queues::Kernel, Queues::DropIn] {
        let missing = match queues {
            Queues::Kernel => stage::no_kernel_queues(),
            Queues::DropIn => stage::no_drop_in(),
        };
        if let Some(reason) = missing {
            println!("skipped: {} with {queues:?}: {reason}", called(&group[0]));
            continue;
        }
        for source in group {
            let name = called(source);
            let expected = shown.get(&name).unwrap_or_else(|| panic!("the guide does not run {name} on both"));
            let played = stage.run(&stage.compile(source), queues);
            assert_eq!((played.output.as_str(), played.status), (expected.as_str(), 0), "{name} with {queues:?}");
        }
    }
}
