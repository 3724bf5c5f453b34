//! `--format`: what the directives mean, and filling them in. What a message looks like without it is in
//! [`output`](crate::output).

use chappe::Message;
use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;

/// A format that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(u8),
    Priority,
    Text,
    Length,
}

/// Why a format was refused.
#[derive(Debug, PartialEq, Eq)]
pub enum BadFormat {
    /// An unknown letter after a percent sign.
    Unknown(u8),
    /// A percent sign at the end.
    Unfinished,
}

impl std::error::Error for BadFormat {}

impl fmt::Display for BadFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadFormat::Unknown(letter) => write!(f, "%{} is unknown", [*letter].escape_ascii())?,
            BadFormat::Unfinished => f.write_str("a percent sign ends it")?,
        }
        f.write_str("; there are %s message, %p priority, %l length, %n newline, %% percent sign")
    }
}

impl Format {
    /// Reads a format; any bytes but the directives stand for themselves.
    pub fn parse(text: OsString) -> Result<Format, BadFormat> {
        let mut bytes = text.into_vec().into_iter();
        let mut pieces = Vec::new();
        while let Some(byte) = bytes.next() {
            pieces.push(if byte == b'%' { Piece::directive(bytes.next())? } else { Piece::Literal(byte) });
        }
        Ok(Format(pieces))
    }

    /// The message in this format.
    pub fn fill(&self, message: &Message) -> Vec<u8> {
        let mut line = Vec::new();
        for piece in &self.0 {
            piece.fill(message, &mut line);
        }
        line
    }
}

impl Piece {
    fn directive(letter: Option<u8>) -> Result<Piece, BadFormat> {
        match letter {
            Some(b's') => Ok(Piece::Text),
            Some(b'p') => Ok(Piece::Priority),
            Some(b'l') => Ok(Piece::Length),
            Some(b'n') => Ok(Piece::Literal(b'\n')),
            Some(b'%') => Ok(Piece::Literal(b'%')),
            Some(other) => Err(BadFormat::Unknown(other)),
            None => Err(BadFormat::Unfinished),
        }
    }

    fn fill(&self, message: &Message, line: &mut Vec<u8>) {
        match self {
            Piece::Literal(byte) => line.push(*byte),
            Piece::Text => line.extend_from_slice(&message.data),
            Piece::Priority => number(message.priority, line),
            Piece::Length => number(message.data.len(), line),
        }
    }
}

fn number(value: impl fmt::Display, line: &mut Vec<u8>) {
    write!(line, "{value}").expect("a Vec takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_directives_are_refused() {
        let parse = |text: &str| Format::parse(text.into());
        assert_eq!(parse("%x"), Err(BadFormat::Unknown(b'x')));
        assert_eq!(parse("100%"), Err(BadFormat::Unfinished));
        assert!(parse("%p %s %l%n%%").is_ok());
    }
}
