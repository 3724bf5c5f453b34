//! Removing names, whatever they stand for: all are tried, and the first failure decides the exit code.

use crate::exit::Failure;
use crate::output::{Output, note};

/// Removes each and says so; what cannot be removed is reported when it happens.
pub fn all<N>(
    names: &[N],
    text: impl Fn(&N) -> String,
    remove: impl Fn(&N) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut output = Output::open()?;
    let mut first = None;
    for name in names {
        match remove(name) {
            Ok(()) => said(&mut output, &text(name))?,
            Err(Failure { code, text }) => {
                note(&text);
                first.get_or_insert(Failure::new(code, ""));
            }
        }
    }
    first.map_or(Ok(()), Err)
}

/// A reader that has gone away does not keep the other names from being removed.
fn said(output: &mut Output, name: &str) -> Result<(), Failure> {
    match output.write(format!("removed {name}\n").as_bytes()) {
        Err(Failure { code: 0, .. }) => Ok(()),
        other => other,
    }
}
