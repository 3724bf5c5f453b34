//! `chappe completions`: the script that a shell reads. Hidden commands are left out of it.

use crate::args::Cli;
use crate::exit::Failure;
use crate::output::Output;
use clap::{Command, CommandFactory};
use clap_complete::Shell;

/// Prints the completion script.
pub fn run(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut public(&Cli::command()), "chappe", &mut script);
    Output::open()?.write(&script)
}

/// The grammar without what people are not meant to type.
fn public(whole: &Command) -> Command {
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("chappe").version(env!("CARGO_PKG_VERSION")).subcommands(shown)
}
