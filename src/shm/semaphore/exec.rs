//! A permit that a command holds: it goes over to an attach index of its own, whose byte lock the command inherits.

use super::{Core, Grant, NOTHING};
use crate::deadline::Wait;
use crate::raw::permits::{Permits, Record, State};
use crate::raw::word::Owner;
use crate::shm::fault::Fault;
use crate::shm::member::Member;
use crate::sys::{bytelock, file, held, process};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

/// What to run, and who holds the permit then.
pub(crate) struct Exec<'a> {
    pub command: &'a mut Command,
    /// Whether all that inherit the descriptor hold it, or the process itself only.
    pub keep: bool,
}

impl Core {
    /// X1 to X7: becomes the command. Comes back only if that fails; the permit has been given back then.
    pub(crate) fn exec(&self, mut grant: Grant, exec: Exec<'_>) -> io::Error {
        let (keep, command) = (exec.keep, exec.command);
        let error = match self.hand_over(&mut grant, command, keep) {
            Ok(hand) if keep => {
                let error = command.exec();
                self.take_back(&mut grant, &hand);
                error
            }
            // The byte is free from here on, as if the command had ended.
            Ok(hand) => {
                let error = command.exec();
                let index = hand.owner().map(Owner::index);
                drop(index.map(|index| bytelock::release_for_process(hand.fd(), index)));
                drop(hand);
                error
            }
            Err(fault) => fault.into(),
        };
        self.release(&mut grant);
        error
    }

    /// X1 to X6.
    fn hand_over(&self, grant: &mut Grant, command: &mut Command, keep: bool) -> Result<Member, Fault> {
        if grant.generation != process::generation() {
            return Err(Fault::System(libc::ECHILD));
        }
        let (me, shared) = (self.me()?, self.shared());
        // X1, X2: an index of its own.
        let hand = Member::new(file::reopen(self.fd())?, self.base.member.facts());
        let index = hand.attach(&shared)?;
        let entry = shared.entries.get(index.index() as usize).ok_or(Fault::Corrupt)?;
        entry.become_command(&command_name(command));
        if !keep {
            let (variable, value) = held::with(hand.fd())?;
            command.env(variable, value);
        }
        let handed =
            if keep { self.hand_to_all(grant, me, index, &hand) } else { self.let_go(grant, me, index, &hand) };
        if let Err(fault) = handed {
            if grant.number != NOTHING {
                hand.detach(&shared);
            }
            // Else the permit is that index's: its entry stays in use, for a recoverer.
            return Err(fault);
        }
        Ok(hand)
    }

    /// X3, X6 of *keep*. What else this handle has stays its own until exec closes its descriptor.
    fn hand_to_all(&self, grant: &mut Grant, me: Owner, index: Owner, hand: &Member) -> Result<(), Fault> {
        file::keep_across_exec(hand.fd())?;
        self.locked(me, Wait::Forever, |permits, _| permits.move_to(grant.number, index).map_err(Fault::from))?;
        self.disown(Some(grant.number));
        // No thread's own any more: it goes back to all.
        grant.pooled = true;
        Ok(())
    }

    /// After an exec that failed: the permit is this handle's again.
    fn take_back(&self, grant: &mut Grant, hand: &Member) {
        let Ok(me) = self.me() else { return };
        let moved = self.locked(me, Wait::Forever, |permits, _| permits.move_to(grant.number, me).map_err(Fault::from));
        match moved {
            Ok(()) => hand.detach(&self.shared()),
            // It comes back when `hand` is dropped, and somebody recovers it.
            Err(_) => *grant = Grant::nothing(),
        }
    }

    /// X3 to X6 of *let go*: this handle ends here, for none of its descriptors may be closed by exec.
    fn let_go(&self, grant: &mut Grant, me: Owner, index: Owner, hand: &Member) -> Result<(), Fault> {
        let fd = hand.fd();
        let others = process::enrolled(|other| other.as_raw_fd() != fd.as_raw_fd() && hand.leads_to(other));
        if others > 1 {
            return Err(Fault::Busy);
        }
        let shared = self.shared();
        let in_use = |permits: &Permits<'_>, grant: &Grant| {
            let mut mine = permits.numbered().filter(|(_, record)| record.owner() == Some(me));
            let used = |(number, record): (u32, &Record)| number != grant.number && record.state() != State::Free;
            if mine.any(used) { Err(Fault::Busy) } else { Ok(()) }
        };
        self.locked(me, Wait::Forever, |permits, _| in_use(permits, grant))?;
        self.end_sentry()?;
        self.dismiss_keeper();
        self.locked::<(), Fault>(me, Wait::Forever, |permits, _| {
            in_use(permits, grant)?;
            let mine = || permits.numbered().filter(|(_, record)| record.owner() == Some(me));
            self.disown(None);
            permits.move_to(grant.number, index)?;
            mine().try_for_each(|(number, _)| permits.discard(number))?;
            self.base.member.resign(&shared, me);
            Ok(())
        })?;
        // From here on the permit is that index's, and there is no way back.
        *grant = Grant::nothing();
        self.base.member.give_byte_back(me)?;
        hold_as_process(hand, index.index())
    }

    /// This record, or none at all, is no thread's own any more.
    fn disown(&self, number: Option<u32>) {
        for word in &self.own {
            if number.is_none_or(|number| word.load(Ordering::Relaxed) as u32 == number + 1) {
                word.store(0, Ordering::Relaxed);
            }
        }
    }
}

/// X5, X6: the byte is held by the process, not by the description. At no moment is it held by neither.
fn hold_as_process(hand: &Member, index: u32) -> Result<(), Fault> {
    let fd = hand.fd();
    // Closing any descriptor of the file gives a process's record locks back: so there must be none that exec closes. If this
    // process is a command already that holds a permit of this semaphore, none may be closed now either, and all stay open.
    let stay = held::is_held(fd);
    for other in process::descriptors(|other| other.as_raw_fd() != fd.as_raw_fd() && hand.leads_to(other))? {
        if stay { file::keep_across_exec(other.as_fd())? } else { process::replace_by_null(other)? }
    }
    bytelock::share(fd, index)?;
    bytelock::take_for_process(fd, index)?;
    bytelock::release(fd, index)?;
    Ok(file::keep_across_exec(fd)?)
}

fn command_name(command: &Command) -> [u8; 16] {
    let mut name = [0; 16];
    let file = Path::new(command.get_program()).file_name().unwrap_or_default();
    let text = file.as_encoded_bytes();
    let len = text.len().min(name.len() - 1);
    name[..len].copy_from_slice(&text[..len]);
    name
}
