//! Is it so, what `docs/guide.md` shows? Every fenced block of it is run or looked up here, in the order of the page; a block that
//! says nothing of the following kinds fails the test.
//!
//! - `console`: commands, each after the prompt `$ `, and exactly what they print on both outputs. The commands of a block share a
//!   shell. They begin in a copy of `examples/c`, the same one for the whole page, so that what one block builds the next can
//!   run. A command that fails is followed by `echo $?`. More words say what it needs and how it is run:
//!   - `drop-in`: the library, which the commands preload or link
//!   - `both`: run twice, on the kernel's queues and with the drop-in preloaded; both have to print this
//!   - `kernel`: the kernel's message queues
//!   - `limits`: the kernel's limits as they are on a machine where nobody changed them, for a user without privileges
//!   - `root`: root, in an IPC namespace of its own, and without the capability to ignore limits; the prompt is `# `
//! - `c FILE`, `rust FILE`: lines of a file below `examples`, verbatim and one after the other. A line with nothing but dots in a
//!   comment stands for lines left out.
//!
//! What the machine does not give is skipped with a reason. Names of kernel queues are the whole machine's, so `/chappe_example`
//! in a command is run with another name, which the output does not show. See `page/stage.rs`.

mod common;
mod page;

use page::stage::{self, Queues, Stage, Who};
use page::{Block, Step};

/// The words that a `console` block may have.
const WORDS: [&str; 5] = ["drop-in", "both", "kernel", "limits", "root"];

#[test]
fn every_block_is_of_a_kind_that_is_tested() {
    let blocks = page::guide();
    for block in &blocks {
        match block.language.as_str() {
            "console" => assert!(
                block.words.iter().all(|word| WORDS.contains(&word.as_str())),
                "line {}: {:?}",
                block.line,
                block.words
            ),
            "c" | "rust" => assert_eq!(block.words.len(), 1, "line {}: which file?", block.line),
            other => panic!("line {}: a block of {other:?}", block.line),
        }
    }
    let kinds = ["console", "c", "rust"].map(|kind| blocks.iter().filter(|block| block.language == kind).count());
    assert!(kinds.iter().all(|&number| number >= 5), "{kinds:?}: the guide has become short");
}

/// Those to a heading of the page, and those to a file of the repository.
#[test]
fn every_link_leads_somewhere() {
    let page = std::fs::read_to_string(page::root().join("docs/guide.md")).unwrap();
    let anchor = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        kept.chars().filter(|&letter| letter.is_alphanumeric() || "-_".contains(letter)).collect::<String>()
    };
    let headings: Vec<String> = page.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
    let links: Vec<&str> = page.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 20, "{links:?}");
    for link in links {
        match link.split_once('#') {
            Some(("", heading)) => assert!(headings.iter().any(|here| here == heading), "no heading {link}"),
            _ => {
                let file = link.split('#').next().unwrap();
                assert!(page::root().join("docs").join(file).exists(), "no file {link}");
            }
        }
    }
}

#[test]
fn every_excerpt_is_in_its_program() {
    for block in page::guide().iter().filter(|block| block.language != "console") {
        let path = source(block);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let program: Vec<&str> = text.lines().collect();
        let mut from = 0;
        for piece in block.lines.split(|line| matches!(line.trim(), "// ..." | "/* ... */")) {
            assert!(!piece.is_empty(), "line {}: dots at an end", block.line);
            let found = (from..program.len()).find(|&start| begins_with(&program[start..], piece));
            let start = found.unwrap_or_else(|| panic!("line {}: not in {}: {piece:#?}", block.line, path.display()));
            from = start + piece.len();
        }
    }
}

fn source(block: &Block) -> std::path::PathBuf {
    let file = &block.words[0];
    let directory = if block.language == "c" { "examples/c" } else { "examples" };
    page::root().join(directory).join(file)
}

/// Whether these lines come first, perhaps all of them moved to the left.
fn begins_with(program: &[&str], piece: &[String]) -> bool {
    let Some(indent) = program.first().and_then(|line| line.strip_suffix(piece[0].as_str())) else { return false };
    let same = |(line, shown): (&&str, &String)| {
        line.strip_prefix(indent).or(line.is_empty().then_some("")) == Some(shown.as_str())
    };
    program.len() >= piece.len() && indent.trim().is_empty() && program.iter().zip(piece).all(same)
}

#[test]
fn every_command_prints_what_the_guide_says() {
    let Some(stage) = Stage::new() else { return };
    let no_kernel = stage::no_kernel_queues();
    let (mut played, mut wrong) = (0, Vec::new());
    for block in page::guide().iter().filter(|block| block.language == "console") {
        for (queues, who) in performances(block) {
            if let Some(reason) = missing(block, queues, who, &no_kernel) {
                println!("skipped: line {} with {queues:?}: {reason}", block.line);
                continue;
            }
            played += 1;
            wrong.extend(differences(&block.steps(), &stage, who, queues));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(played >= 10, "only {played} blocks were run");
}

/// How often a block is run, and how.
fn performances(block: &Block) -> Vec<(Queues, Who)> {
    let who = if block.says("root") { Who::Root } else { Who::Ordinary };
    let also = block.says("both").then_some((Queues::DropIn, who));
    [(Queues::Kernel, who)].into_iter().chain(also).collect()
}

/// Why a block is not run here.
fn missing(block: &Block, queues: Queues, who: Who, no_kernel: &Option<String>) -> Option<String> {
    let drop_in = queues == Queues::DropIn || block.says("drop-in");
    if !drop_in && !block.words.is_empty() && no_kernel.is_some() {
        return no_kernel.clone();
    }
    let no_library = if drop_in { stage::no_drop_in() } else { None };
    let limits = block.says("limits").then(stage::other_limits).flatten();
    no_library.or(limits).or_else(|| stage::entrance(who).err())
}

/// Runs the commands of a block and says, for each that did otherwise than the guide says, what it did.
fn differences(steps: &[Step], stage: &Stage, who: Who, queues: Queues) -> Vec<String> {
    let commands: Vec<&str> = steps.iter().map(|step| step.command.as_str()).collect();
    let mut wrong = Vec::new();
    for (index, (step, played)) in steps.iter().zip(stage.play(&commands, who, queues)).enumerate() {
        let (line, command) = (step.line, &step.command);
        if played.output != step.output {
            wrong.push(format!(
                "line {line} with {queues:?}: {command}\n--- the guide\n{}--- here\n{}",
                step.output, played.output
            ));
        }
        let said = commands.get(index + 1).is_some_and(|next| next.starts_with("echo $?"));
        if played.status != 0 && !said {
            wrong.push(format!(
                "line {line} with {queues:?}: {command}\nit failed ({}), no `echo $?` follows",
                played.status
            ));
        }
    }
    wrong
}
