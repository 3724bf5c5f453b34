//! The guide as the tests read it, and the stage on which its commands are played. What a block may say is written at the head
//! of `guide.rs`. Nothing is judged here.

#![allow(dead_code, reason = "each test that has this module uses a part of it")]

pub mod stage;

use std::path::{Path, PathBuf};

/// A fenced block of the guide.
pub struct Block {
    /// The line of its opening fence, from 1.
    pub line: usize,
    /// The first word after the fence.
    pub language: String,
    /// The other words after it.
    pub words: Vec<String>,
    pub lines: Vec<String>,
}

/// A command of a block, and what the guide says that it prints.
pub struct Step {
    pub line: usize,
    pub command: String,
    pub output: String,
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in a directory of the repository")
}

/// The blocks of `docs/guide.md`, in order.
pub fn guide() -> Vec<Block> {
    let path = root().join("docs/guide.md");
    blocks(&std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut done, mut open) = (Vec::new(), None::<Block>);
    for (index, text) in page.lines().enumerate() {
        match (text.strip_prefix("```"), &mut open) {
            (Some(after), None) => {
                let mut words = after.split_whitespace().map(str::to_owned);
                let language = words.next().unwrap_or_default();
                open = Some(Block { line: index + 1, language, words: words.collect(), lines: Vec::new() });
            }
            (Some(_), Some(_)) => done.extend(open.take()),
            (None, Some(block)) => block.lines.push(text.to_owned()),
            (None, None) => assert!(!text.trim_start().starts_with("```"), "line {}: an indented fence", index + 1),
        }
    }
    assert!(open.is_none(), "the last block has no end");
    done
}

impl Block {
    pub fn says(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }

    /// The prompt that begins a command: that of root in a block for root.
    fn prompt(&self) -> &'static str {
        if self.says("root") { "# " } else { "$ " }
    }

    /// The commands of a `console` block. One that ends with a backslash goes on in the next line.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for (offset, text) in self.lines.iter().enumerate() {
            let line = self.line + 1 + offset;
            let unfinished = steps.last_mut().filter(|step| step.command.ends_with('\\'));
            if let Some(step) = unfinished {
                step.command.push('\n');
                step.command.push_str(text);
            } else if let Some(command) = text.strip_prefix(self.prompt()) {
                steps.push(Step { line, command: command.to_owned(), output: String::new() });
            } else {
                let step =
                    steps.last_mut().unwrap_or_else(|| panic!("line {line}: the block does not begin with a command"));
                step.output.push_str(text);
                step.output.push('\n');
            }
        }
        assert!(!steps.is_empty(), "line {}: an empty block", self.line);
        steps
    }
}

/// The sources of the C programs: those in `examples/c`, then the pitfalls.
pub fn programs() -> Vec<PathBuf> {
    let mut all = Vec::new();
    for directory in ["examples/c", "examples/c/pitfalls"] {
        let listing = std::fs::read_dir(root().join(directory)).expect("the directory of the C programs");
        let mut here: Vec<PathBuf> = listing.map(|entry| entry.expect("an entry").path()).collect();
        here.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
        here.sort();
        all.append(&mut here);
    }
    all
}
