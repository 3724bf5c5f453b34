//! stdout as data, stderr as words. One write a record, nothing held back; a reader that has gone away is noticed also
//! while there is nothing to write. What a record looks like is decided by the verbs.

use crate::exit::Failure;
use chappe::Name;
use rustix::event::{PollFd, PollFlags, poll};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;

/// Says something to people.
pub fn note(text: &str) {
    // Nobody is left to be told that stderr is closed.
    let _ = writeln!(io::stderr(), "chappe: {text}");
}

/// stdout without a buffer: what was written is out.
pub struct Output {
    file: File,
    pipe: bool,
}

impl Output {
    /// stdout, whatever it is.
    pub fn open() -> Result<Output, Failure> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(|error| Failure::stdout(&error))?);
        let kind = file.metadata().map_err(|error| Failure::stdout(&error))?.file_type();
        Ok(Output { file, pipe: kind.is_fifo() || kind.is_socket() })
    }

    /// Writes a whole record.
    pub fn write(&mut self, record: &[u8]) -> Result<(), Failure> {
        self.try_write(record).map_err(|error| Failure::stdout(&error))
    }

    /// As [`write`](Output::write), for those who do something about a failure.
    pub fn try_write(&mut self, record: &[u8]) -> io::Result<()> {
        self.file.write_all(record)
    }

    /// Whether it has a reader that can go away.
    pub fn is_pipe(&self) -> bool {
        self.pipe
    }

    /// Another handle on the same stdout.
    pub fn try_clone(&self) -> Result<Output, Failure> {
        let file = self.file.try_clone().map_err(|error| Failure::stdout(&error))?;
        Ok(Output { file, pipe: self.pipe })
    }

    /// Whether a pipe's last reader has gone.
    pub fn reader_is_gone(&self) -> bool {
        self.pipe && self.poll(Some(&rustix::event::Timespec::default()))
    }

    /// Waits until a pipe's last reader goes.
    pub fn wait_for_reader_to_go(&self) {
        while self.pipe && !self.poll(None) {}
    }

    /// An error condition is reported though no event is asked for.
    fn poll(&self, timeout: Option<&rustix::event::Timespec>) -> bool {
        let mut fds = [PollFd::new(&self.file, PollFlags::empty())];
        matches!(poll(&mut fds, timeout), Ok(1)) && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    }
}

/// A name for a table: as it is where that is one word for the shell too, else quoted as the shell takes it, `$'...'`.
pub fn name_text(name: &Name) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-:@%+,=".contains(c);
    match std::str::from_utf8(name.as_bytes()) {
        Ok(text) if text.chars().all(plain) => format!("/{text}"),
        _ => format!("$'/{}'", name.as_bytes().escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_word() {
        let text = |name: &[u8]| name_text(&Name::new(name).expect("a good name"));
        assert_eq!(text(b"orders"), "/orders");
        assert_eq!(text("größe".as_bytes()), "/größe");
        assert_eq!(text(b"a b"), "$'/a b'");
        assert_eq!(text(b"a'\n\xff"), "$'/a\\'\\n\\xff'");
    }
}
