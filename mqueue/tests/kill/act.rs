//! The operation that a victim is stepped through, and everything that it needs, made beforehand.

use super::case::{CAPACITY, Case, LARGE, SIZE, SMALL, USUAL, VICTIM};
use super::library::{self, Errno, Wait};
use super::root::step;
use super::root::{identify, payload};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `mq_open` with O_CREAT and O_EXCL.
    Create,
    /// `mq_open` without O_CREAT.
    Open,
    /// `mq_open` with O_CREAT.
    OpenOrCreate,
    /// `mq_send` of so many bytes.
    Send(usize),
    TimedSend,
    /// `dup`, and the first use of what it gives, which the library has to find out about.
    DuplicateAndSend,
    Receive,
    TimedReceive,
    Register,
    Unregister,
    GetAttributes,
    SetAttributes,
    Poll,
    Ppoll,
    Select,
    Pselect,
    /// `epoll_ctl`, which adds it.
    AddToEpoll,
    MqClose,
    /// `mq_close` of the descriptor through which it has registered.
    CloseRegistered,
    Close,
    CloseRange,
    ReplaceByDup2,
    ReplaceByDup3,
    Unlink,
}

impl Act {
    pub fn name(self) -> &'static str {
        match self {
            Act::Create => "mq_open O_CREAT|O_EXCL",
            Act::Open => "mq_open",
            Act::OpenOrCreate => "mq_open O_CREAT",
            Act::Send(LARGE) => "mq_send, large",
            Act::Send(_) => "mq_send",
            Act::TimedSend => "mq_timedsend",
            Act::DuplicateAndSend => "dup, mq_send",
            Act::Receive => "mq_receive",
            Act::TimedReceive => "mq_timedreceive",
            Act::Register => "mq_notify, registers",
            Act::Unregister => "mq_notify, takes back",
            Act::GetAttributes => "mq_getattr",
            Act::SetAttributes => "mq_setattr",
            Act::Poll => "poll",
            Act::Ppoll => "ppoll",
            Act::Select => "select",
            Act::Pselect => "pselect",
            Act::AddToEpoll => "epoll_ctl, adds",
            Act::MqClose => "mq_close",
            Act::CloseRegistered => "mq_close, registered",
            Act::Close => "close",
            Act::CloseRange => "close_range",
            Act::ReplaceByDup2 => "dup2 over it",
            Act::ReplaceByDup3 => "dup3 over it",
            Act::Unlink => "mq_unlink",
        }
    }

    fn needs_descriptor(self) -> bool {
        !matches!(self, Act::Create | Act::Open | Act::OpenOrCreate | Act::Unlink)
    }

    /// Whether the victim has, or may have, a registration of its own.
    pub fn registers(self) -> bool {
        matches!(self, Act::Register | Act::Unregister | Act::CloseRegistered)
    }

    /// Whether a second thread runs in the victim beside the one that is stepped.
    pub fn has_attendant(self) -> bool {
        self.registers() || matches!(self, Act::Poll | Act::Ppoll | Act::Select | Act::Pselect | Act::AddToEpoll)
    }
}

pub struct Stage {
    case: Case,
    mqd: i32,
    /// Something that is no queue.
    other: i32,
    message: Vec<u8>,
    buffer: Vec<u8>,
    wait: Wait,
    /// What was received.
    got: Option<u64>,
}

/// What kept a victim from preparing.
fn must<T>(what: &str, result: Result<T, Errno>) -> T {
    result.unwrap_or_else(|errno| panic!("the victim: {what}: {}", std::io::Error::from_raw_os_error(errno)))
}

impl Stage {
    pub fn new(case: &Case) -> Stage {
        let act = case.act;
        let mqd = if act.needs_descriptor() { must("mq_open", library::open(0, 0, 0)) } else { -1 };
        if matches!(act, Act::Unregister | Act::CloseRegistered) {
            must("mq_notify", library::register(mqd));
        }
        let other = match act {
            Act::ReplaceByDup2 | Act::ReplaceByDup3 => must("dup", library::duplicate(2)),
            Act::AddToEpoll => must("epoll_create1", library::epoll()),
            _ => -1,
        };
        let length = if let Act::Send(length) = act { length } else { SMALL };
        let wait = match act {
            Act::TimedSend | Act::TimedReceive if case.in_vain() => Wait::Over,
            Act::TimedSend | Act::TimedReceive => Wait::within(Duration::from_secs(60)),
            _ => Wait::Plain,
        };
        let (message, buffer) = (payload(VICTIM, length), vec![0; SIZE as usize]);
        Stage { case: case.clone(), mqd, other, message, buffer, wait, got: None }
    }

    fn act(&mut self) -> Result<(), Errno> {
        let mqd = self.mqd;
        match self.case.act {
            Act::Create => {
                self.mqd = library::open(libc::O_CREAT | libc::O_EXCL, CAPACITY as i64, SIZE)?;
            }
            Act::Open => self.mqd = library::open(0, 0, 0)?,
            Act::OpenOrCreate => self.mqd = library::open(libc::O_CREAT, CAPACITY as i64, SIZE)?,
            Act::Send(_) | Act::TimedSend => library::send(mqd, &self.message, USUAL, self.wait)?,
            Act::DuplicateAndSend => library::send(library::duplicate(mqd)?, &self.message, USUAL, self.wait)?,
            Act::Receive | Act::TimedReceive => {
                let (length, _) = library::receive(mqd, &mut self.buffer, self.wait)?;
                self.buffer.truncate(length);
                self.got = identify(&self.buffer);
            }
            Act::Register => library::register(mqd)?,
            Act::Unregister => library::unregister(mqd)?,
            Act::GetAttributes => _ = library::attributes(mqd)?,
            Act::SetAttributes => library::set_nonblocking(mqd)?,
            Act::Poll => _ = library::poll(mqd, libc::POLLIN | libc::POLLOUT, Some(Duration::ZERO))?,
            Act::Ppoll => _ = library::ppoll(mqd, libc::POLLIN | libc::POLLOUT)?,
            Act::Select => _ = library::select(mqd)?,
            Act::Pselect => _ = library::pselect(mqd)?,
            Act::AddToEpoll => library::add_to_epoll(self.other, mqd)?,
            Act::MqClose | Act::CloseRegistered => library::mq_close(mqd)?,
            Act::Close => library::close(mqd)?,
            Act::CloseRange => library::close_range(mqd)?,
            Act::ReplaceByDup2 => library::dup2(self.other, mqd)?,
            Act::ReplaceByDup3 => library::dup3(self.other, mqd)?,
            Act::Unlink => library::unlink()?,
        }
        Ok(())
    }
}

impl step::Stage for Stage {
    fn play(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        match self.act() {
            Err(libc::ETIMEDOUT) if self.case.in_vain() => Ok(()),
            Ok(()) if self.case.in_vain() => Err("it succeeded, which it cannot".into()),
            other => other.map_err(|errno| std::io::Error::from_raw_os_error(errno).into()),
        }
    }

    /// [`WELL`] if all is as it must be.
    fn told(&self) -> String {
        let due = self.case.takes().then(|| self.case.in_turn()[0].0);
        if self.got == due { WELL.to_owned() } else { format!("it received {:?} instead of {due:?}", self.got) }
    }
}

/// What a victim tells that was let live.
pub const WELL: &str = "well";
