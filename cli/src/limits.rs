//! `chappe limits`: what each limit is, means, and has left, and how to change it; and changing those that the kernel keeps.

use crate::args::Limits;
use crate::exit::{self, Failure};
use crate::json::{self, posix::LimitLine};
use crate::output::{Output, note};
use crate::page;
use crate::values::size_text;
use chappe::posix::{self, Limit, LimitError, LimitKind, LimitUse, LimitValue};

/// Shows all, or sets some in the order given; the first that cannot be set ends it.
pub fn run(args: &Limits) -> Result<(), Failure> {
    if !args.set.is_empty() {
        return args.set.iter().try_for_each(|(kind, value)| set(*kind, *value));
    }
    let limits = posix::limits();
    let text = if args.json { lines(&limits) } else { limits.iter().map(stanza).collect::<String>().into_bytes() };
    Output::open()?.write(&text)
}

fn lines(limits: &[Limit]) -> Vec<u8> {
    limits.iter().flat_map(|limit| json::line(&LimitLine::new(limit))).collect()
}

fn set(kind: LimitKind, value: u64) -> Result<(), Failure> {
    // It would be set for this process, which ends now.
    if kind == LimitKind::MessageQueueBytes {
        return Err(exit::posix::limit(&LimitError::NotSettable { kind }));
    }
    let before = value_text(kind, &posix::limit(kind).value);
    posix::set_limit(kind, value).map_err(|error| exit::posix::limit(&error))?;
    let now = number_text(kind, value);
    note(&format!("{kind} is {now} now, and was {before}: in this IPC namespace, until the next boot"));
    Ok(())
}

/// Two lines, and one more if something is unknown.
fn stanza(limit: &Limit) -> String {
    let kind = limit.kind;
    let value = match &limit.hard {
        Some(hard) if *hard != limit.value => {
            format!("{} (up to {})", value_text(kind, &limit.value), value_text(kind, hard))
        }
        _ => value_text(kind, &limit.value),
    };
    let place = limit.place.as_ref().map(|place| format!(": {}", page::plain(&place.display().to_string())));
    let (used, meaning, place) = (used_text(limit), kind.meaning(), place.unwrap_or_default());
    let mut text = format!("{kind:<15}  {value:>10}  {used:>10}  {meaning}{place}\n");
    let mut more = |title: &str, what: &str| text.push_str(&format!("{:<15}  {title}: {what}\n", ""));
    more("to change", kind.change());
    if let Some(reason) = reason(limit) {
        more("unknown", reason);
    }
    text
}

fn value_text(kind: LimitKind, value: &LimitValue) -> String {
    match value {
        LimitValue::Number(number) => number_text(kind, *number),
        LimitValue::Unlimited => "unlimited".to_owned(),
        _ => "unknown".to_owned(),
    }
}

fn number_text(kind: LimitKind, number: u64) -> String {
    if kind.is_bytes() { size_text(number) } else { number.to_string() }
}

fn used_text(limit: &Limit) -> String {
    match &limit.used {
        LimitUse::Exactly(used) => number_text(limit.kind, *used),
        LimitUse::AtLeast(used) => format!(">={}", number_text(limit.kind, *used)),
        LimitUse::Nothing => "-".to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// Why something of it is unknown.
pub fn reason(limit: &Limit) -> Option<&str> {
    match (&limit.value, &limit.used) {
        (LimitValue::Unknown(reason), _) | (_, LimitUse::Unknown(reason)) => Some(reason),
        _ => None,
    }
}
