//! A permit that a command holds: it goes over to an attach index of its own, whose byte lock the command inherits.

use super::{Core, Grant};
use crate::deadline::Wait;
use crate::shm::fault::Fault;
use crate::shm::member::Member;
use crate::sys::{bytelock, file, held, process};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
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
    /// X1 to X6: becomes the command. Comes back only if that fails; the permit has been given back then.
    pub(crate) fn exec(&self, mut grant: Grant, mut exec: Exec<'_>) -> io::Error {
        match self.hand_over(&mut grant, &mut exec) {
            Ok(hand) => {
                let error = exec.command.exec();
                // The byte is free from here on, as if the command had ended.
                drop(hand);
                error
            }
            Err(fault) => {
                self.release(&mut grant);
                fault.into()
            }
        }
    }

    fn hand_over(&self, grant: &mut Grant, exec: &mut Exec<'_>) -> Result<Member, Fault> {
        if grant.generation != process::generation() {
            return Err(Fault::System(libc::ECHILD));
        }
        let (me, shared) = (self.me()?, self.shared());
        // X1, X2: an index of its own.
        let hand = Member::new(file::reopen(self.fd())?, self.base.member.facts());
        let index = hand.attach(&shared)?;
        let entry = shared.entries.get(index.index() as usize).ok_or(Fault::Corrupt)?;
        entry.become_command(&command_name(exec.command));
        // X3: from here on the permit is that index's.
        self.locked(me, Wait::Forever, |permits, _| permits.move_to(grant.number, index).map_err(Fault::from))?;
        self.disown(grant.number);
        let _ = grant.take();
        self.give_records_back();
        self.dismiss_keeper();
        self.base.member.detach(&shared);
        if exec.keep {
            file::keep_across_exec(hand.fd())?;
        } else {
            let (variable, value) = held::with(hand.fd())?;
            exec.command.env(variable, value);
            hold_as_process(hand.fd(), index.index(), &hand)?;
        }
        Ok(hand)
    }

    /// The record is no thread's own any more.
    fn disown(&self, number: u32) {
        for word in &self.own {
            if word.load(Ordering::Relaxed) as u32 == number + 1 {
                word.store(0, Ordering::Relaxed);
            }
        }
    }
}

/// X4 to X6: the byte is held by the process, not by the description. At no moment is it held by neither.
fn hold_as_process(fd: BorrowedFd<'_>, index: u32, hand: &Member) -> Result<(), Fault> {
    // Closing any descriptor of the file gives a process's record locks back: so there must be no other at exec. If this process is
    // a command already that holds a permit of this semaphore, none may be closed now, and all stay open.
    if held::is_held(fd) {
        process::for_others(fd.as_raw_fd(), |other| hand.leads_to(other), process::keep_open);
    } else {
        process::for_others(fd.as_raw_fd(), |other| hand.leads_to(other), process::replace_by_null);
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
