//! The `chappe` command: parse, run, exit code. What each verb does is in the module of its name; what an exit code means
//! is in [`exit`]. It uses nothing of the library but its public API.

mod args;
mod complete;
mod demo;
mod exit;
mod format;
mod json;
mod limits;
mod ls;
mod mq;
mod output;
mod page;
mod preload;
mod rm;
mod sem;
mod values;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    exit::report(run(Cli::parse().command))
}

fn run(command: Command) -> Result<(), exit::Failure> {
    match command {
        Command::Mq(verb) => mq::run(verb),
        Command::Sem(verb) => sem::run(verb),
        Command::Ls(args) => ls::run(&args),
        Command::Limits(args) => limits::run(&args),
        Command::Preload(args) => preload::run(&args),
        Command::Demo => demo::run(),
        Command::Completions { shell } => complete::run(shell),
        Command::DemoChild(role) => demo::child(role),
    }
}
