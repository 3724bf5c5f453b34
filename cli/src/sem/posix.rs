//! The verbs on POSIX semaphores, `posix:NAME`: a number that has no owner. The C library's, for scripts beside programs that call
//! `sem_open`.

use crate::args::sem::Wait;
use crate::exit::{self, Failure};
use crate::json::{self, sem::PosixLine};
use crate::output::Output;
use crate::page::line;
use crate::values::AnyName;
use chappe::Name;
use chappe::posix::{Semaphore, SemaphoreError};

fn open(name: &Name) -> Result<Semaphore, Failure> {
    Semaphore::open(name.as_bytes()).map_err(|error| failed(name, &error))
}

fn failed(name: &Name, error: &SemaphoreError) -> Failure {
    exit::sem::posix(&text(name), error)
}

fn text(name: &Name) -> String {
    AnyName::Posix(name.clone()).text()
}

/// Adds one.
pub fn post(name: &Name) -> Result<(), Failure> {
    open(name)?.post().map_err(|error| exit::sem::posix_post(&text(name), error))
}

/// Takes one, when there is one.
pub fn wait(name: &Name, args: &Wait) -> Result<(), Failure> {
    let semaphore = open(name)?;
    let waited = match args.timeout {
        Some(timeout) => semaphore.wait_timeout(timeout),
        None if args.nonblock => semaphore.try_wait(),
        None => semaphore.wait(),
    };
    waited.map_err(|error| exit::sem::posix_wait(&text(name), error))
}

/// Shows all there is to know.
pub fn stat(name: &Name, json: bool) -> Result<(), Failure> {
    let value = open(name)?.value();
    let page = || [line("name", text(name)), line("value", value), line("holders", UNKNOWN)].concat();
    let text = if json { json::line(&PosixLine::new(name, value)) } else { page().into_bytes() };
    Output::open()?.write(&text)
}

const UNKNOWN: &str = "not known: a POSIX semaphore is a number and has no owner";

/// Removes the name.
pub fn unlink(name: &Name) -> Result<(), Failure> {
    Semaphore::unlink(name.as_bytes()).map_err(|error| failed(name, &error))
}
