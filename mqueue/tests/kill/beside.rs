//! What a survivor asks of who is there beside it (a sleeper, a poller, a registrant), and of registering itself.

use super::case::{FILLER, Other, USUAL};
use super::library::{self, Wait};
use super::root::readable;
use super::root::step::{HANG, read_line};
use super::scene::{Companion, waited_for};
use super::survivor::{NET, Survivor, in_time};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

impl Survivor<'_> {
    fn companion(&self) -> &Companion {
        self.scene.companion.as_ref().expect("the case has one")
    }

    /// The next line from it.
    pub fn companion_tells(&self, who: &str) -> Result<String, String> {
        let told = &self.companion().told;
        if !readable(told.as_raw_fd(), NET) {
            return Err(format!("{who} gets nothing for {NET:?}; received {:?}", self.received));
        }
        read_line(told)
    }

    /// One that waits in `poll` for this, if there is one, comes out while it lasts.
    pub fn poller_was_woken(&self, events: i16) -> Result<(), String> {
        if self.case.other != Other::Poller || waited_for(self.case) != Some(events) {
            return Ok(());
        }
        match self.companion_tells("who waits in poll")? {
            line if line == format!("ready {events}") => Ok(()),
            other => Err(format!("who waited in poll for {events} instead: {other}")),
        }
    }

    /// Another process's poll says so in the end.
    pub fn poller_sees(&self, due: i16, when: &str) -> Result<(), String> {
        if self.case.other != Other::Poller {
            return Ok(());
        }
        let start = Instant::now();
        loop {
            (&self.companion().ask).write_all(b"?").map_err(|error| error.to_string())?;
            match self.companion_tells("who polls")? {
                line if line == format!("shows {due}") => return Ok(()),
                other if start.elapsed() > NET => return Err(format!("another one's poll of {when}: {other}")),
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// The dead one's registration, if it had one, is nobody's.
    pub fn registers_at_once(&mut self) -> Result<(), String> {
        in_time("mq_notify, at once", || library::register(self.mqd))?;
        in_time("mq_notify, to take it back", || library::unregister(self.mqd))
    }

    /// Who was registered is told once; then the place is free, and who takes it is told.
    pub fn registration_is_right(&mut self) -> Result<(), String> {
        if self.case.other == Other::Registrant {
            match self.companion_tells("the registrant")?.as_str() {
                "told" => {}
                other => return Err(format!("the registrant: {other}")),
            }
        }
        in_time("mq_notify, in the end", || library::register(self.mqd))?;
        self.send(FILLER)?;
        if !library::is_told(HANG) {
            return Err("the survivor, registered itself, is told nothing".to_owned());
        }
        if self.case.other == Other::Registrant && readable(self.companion().told.as_raw_fd(), Duration::ZERO) {
            return Err("the registrant is told twice".to_owned());
        }
        match self.receive_within(Wait::Over)? {
            Some((Some(FILLER), USUAL)) => Ok(()),
            other => Err(format!("{other:?} instead of what was told of")),
        }
    }
}
