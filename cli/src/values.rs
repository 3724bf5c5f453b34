//! How the values of options are read: names, sizes, durations, labels, modes; and how sizes are written. It decides about text
//! only, not about what a queue can have: that is the library's.

use crate::output::name_text;
use bytesize::ByteSize;
use chappe::posix::LimitKind;
use chappe::{LABEL_BYTES_MAX, Name, NameError};
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// The start of names that are not ours but the kernel's or the C library's; nothing of ours can be created with it through this command.
const POSIX: &[u8] = b"posix:";

/// Why a NAME was refused.
#[derive(Debug)]
pub enum BadName {
    /// It breaks the library's rule.
    Rule(NameError),
    /// It begins with `posix:`, and the verb has a reason not to take that.
    Posix(&'static str),
}

impl std::error::Error for BadName {}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadName::Rule(rule) => rule.fmt(f),
            BadName::Posix(reason) => f.write_str(reason),
        }
    }
}

/// The NAME of a queue or a semaphore: one of ours, or with `posix:` before it one that POSIX has.
#[derive(Clone, Debug)]
pub enum AnyName {
    /// Ours.
    Own(Name),
    /// That of `mq_open` or `sem_open`.
    Posix(Name),
}

impl AnyName {
    /// As people can type it.
    pub fn text(&self) -> String {
        match self {
            AnyName::Own(name) => name_text(name),
            AnyName::Posix(name) => match name_text(name).strip_prefix("$'") {
                None => format!("posix:{}", name_text(name)),
                Some(quoted) => format!("$'posix:{quoted}"),
            },
        }
    }
}

/// Reads the NAME of an object of either kind.
pub fn any_name_parser() -> impl TypedValueParser<Value = AnyName> {
    OsStringValueParser::new().try_map(|text| match text.as_bytes().strip_prefix(POSIX) {
        Some(name) => Name::new(name).map(AnyName::Posix),
        None => Name::new(text.as_bytes()).map(AnyName::Own),
    })
}

/// Reads a NAME of ours. With `posix:` before it, it is refused for this reason.
pub fn own_name_parser(reason: &'static str) -> impl TypedValueParser<Value = Name> {
    OsStringValueParser::new().try_map(move |text| own_name(&text, reason))
}

fn own_name(text: &OsStr, reason: &'static str) -> Result<Name, BadName> {
    let bytes = text.as_bytes();
    if bytes.starts_with(POSIX) {
        return Err(BadName::Posix(reason));
    }
    Name::new(bytes).map_err(BadName::Rule)
}

/// Reads a SIZE in bytes: `4096`, `64K`, `1M`, `2G`. K, M, G and T are powers of 1024, as KiB and so on; KB and so on are
/// powers of 1000, as they say.
pub fn size(text: &str) -> Result<u64, String> {
    let spelt = match text.chars().last() {
        Some(unit) if "kKmMgGtT".contains(unit) => format!("{text}iB"),
        _ => text.to_owned(),
    };
    let size: ByteSize =
        spelt.parse().map_err(|_| "a size is a number of bytes, or with K, M, G or T: 64K, 1M".to_owned())?;
    Ok(size.as_u64())
}

/// Reads a limit and its value: `msg_max=100`, `msgsize_max=64K`.
pub fn setting(text: &str) -> Result<(LimitKind, u64), String> {
    let names = || LimitKind::ALL.map(LimitKind::word).join(", ");
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("NAME=VALUE, as msg_max=100; names are {}", names()))?;
    let kind =
        LimitKind::from_word(name).ok_or_else(|| format!("there is no limit {name:?}; there are {}", names()))?;
    Ok((kind, size(value)?))
}

/// Writes a size so that [`size`] reads it back: in the largest unit that leaves no remainder.
pub fn size_text(bytes: u64) -> String {
    let units = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
    match units.iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// Reads a DURATION: `250ms`, `2s`, `1m 30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; a duration has a unit: 250ms, 2s, 1m"))
}

/// Reads a label: as long as the library keeps.
pub fn label(text: &str) -> Result<String, String> {
    match text.len() {
        length if length > LABEL_BYTES_MAX => {
            Err(format!("a label has at most {LABEL_BYTES_MAX} bytes, this one has {length}"))
        }
        _ => Ok(text.to_owned()),
    }
}

/// Permission bits, written in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OctalMode(pub u32);

impl fmt::Display for OctalMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:04o}", self.0))
    }
}

/// Reads permission bits: `600`, `0660`.
pub fn mode(text: &str) -> Result<OctalMode, String> {
    match u32::from_str_radix(text, 8) {
        Ok(bits) if bits <= 0o777 && !text.starts_with('+') => Ok(OctalMode(bits)),
        _ => Err("a mode is octal, 0 to 777: 600, 0660".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_round_trip() {
        let read = [
            ("0", 0),
            ("4096", 4096),
            ("64K", 65536),
            ("64k", 65536),
            ("1M", 1 << 20),
            ("2G", 2 << 30),
            ("1T", 1 << 40),
        ];
        for (text, bytes) in read {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(size(&size_text(bytes)), Ok(bytes), "{text}");
        }
        assert_eq!(size("1.5K"), Ok(1536));
        assert_eq!(size("1KiB"), Ok(1024));
        assert_eq!(size("1KB"), Ok(1000));
        assert_eq!(size_text(65537), "65537");
        assert!(["", "K", "x", "-1", "64X", "1 2"].iter().all(|text| size(text).is_err()));
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode("0640"), Ok(OctalMode(0o640)));
        assert_eq!(OctalMode(0o640).to_string(), "0640");
        assert!(["", "8", "+7", "1777", "rw"].iter().all(|text| mode(text).is_err()));
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("250").is_err() && duration("").is_err() && duration("-1s").is_err());
    }
}
