//! What every open object has, whatever its kind: its name, its participant, and its end.

use super::fault::Fault;
use super::layout::{CREATOR_BYTE, Identity, Life};
use super::member::{Member, Object};
use super::setup;
use crate::name::Name;
use crate::raw::word::Owner;
use crate::sync::{Ordering, bytelock, fence_after_rmw, roster};
use crate::sys::process;
use std::path::PathBuf;
use std::time::Duration;

/// How often, and how far apart, one tries to remove a name that somebody else has the right to remove.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(1);

/// See the module.
pub(crate) struct Base {
    pub name: Option<Name>,
    /// Where the name is; `None` if the object has none, or was reached without it.
    path: Option<PathBuf>,
    pub created: u64,
    pub ephemeral: bool,
    pub strict: bool,
    /// The fork generation in which this handle created an ephemeral object.
    creator: Option<u32>,
    pub member: Member,
}

impl Base {
    pub(crate) fn new(identity: &Identity, path: Option<PathBuf>, member: Member) -> Base {
        let Identity { name, ephemeral, strict, created, .. } = identity.clone();
        Base { name, path, created, ephemeral, strict, creator: None, member }
    }

    /// Says that this handle is the creator that the object goes with.
    pub(crate) fn become_creator(&mut self) -> Result<(), Fault> {
        bytelock::try_take(self.member.fd(), CREATOR_BYTE)?;
        self.creator = Some(process::generation());
        Ok(())
    }

    /// The name was taken: this object was never there, so dropping it must not touch the name.
    pub(crate) fn give_up_creating(&mut self) {
        self.creator = None;
    }

    fn is_creator(&self) -> bool {
        self.creator == Some(process::generation())
    }

    /// Where the name is.
    pub(crate) fn path(&self) -> Option<&PathBuf> {
        self.path.as_ref()
    }

    /// L1, L2: ends the object for everybody.
    pub(crate) fn end(&self, object: &impl Object, life: Life) {
        object.life().fetch_max(life as u32, Ordering::SeqCst);
        fence_after_rmw();
        object.wake_all();
    }

    /// Ends an ephemeral object whose creator is gone, and removes its name. Returns whether it is one.
    pub(crate) fn end_if_orphaned(&self, object: &impl Object) -> Result<bool, Fault> {
        // The creator's own description would be granted its byte again: it never tries.
        if !self.ephemeral || self.is_creator() {
            return Ok(false);
        }
        let _roster = roster();
        if !bytelock::try_take(self.member.fd(), CREATOR_BYTE)? {
            return Ok(false);
        }
        self.member.check_file()?;
        let removed = self.remove_name().is_ok();
        self.end(object, Life::Unlinked);
        bytelock::release(self.member.fd(), CREATOR_BYTE)?;
        // We may not be allowed to remove it; the object has ended all the same.
        Ok(removed || Life::from_word(object.life().load(Ordering::Relaxed)) == Life::Unlinked)
    }

    /// The roster is held: who has the name byte, and does not give it back, must not stop every fork of this process.
    fn remove_name(&self) -> std::io::Result<bool> {
        let remove = |path: &PathBuf| setup::try_remove_name(self.member.fd(), path, self.member.facts());
        self.path.as_ref().map_or(Err(std::io::ErrorKind::NotFound.into()), remove)
    }

    /// What a bounded sleep does when it ends, and a call that would have to wait before it does: see to the dead.
    pub(crate) fn recover(&self, object: &impl Object, me: Owner, wait: crate::deadline::Wait) -> Result<(), Fault> {
        self.end_if_orphaned(object)?;
        self.member.recover(object, me, wait)
    }

    /// The handle goes: an ephemeral object goes with its creator. Returns whether it did.
    pub(crate) fn leave(&self, object: &impl Object) -> bool {
        // One that has resigned has no descriptor of the file any more.
        let ends = self.is_creator() && !self.member.has_resigned();
        if ends {
            // Who has the byte is about to remove the name, or not to. If he keeps it, whoever looks after orphans tries again.
            for _ in 0..TRIES {
                let roster = roster();
                let removed = self.remove_name();
                drop(roster);
                match removed {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::sleep(BETWEEN_TRIES),
                    _ => break,
                }
            }
            self.end(object, Life::Unlinked);
        }
        self.member.detach(object);
        ends
    }
}
