//! The doorbell of a queue: a FIFO that shows whether the queue is empty or full, for poll, select and epoll. Making and
//! opening it, arming it, and *attend*: keeping it right. Steps D1 to D3 of `docs/recovery.md`.

use super::{Core, Shared};
use crate::deadline::Wait;
use crate::message::Access;
use crate::name::bell_file_name;
use crate::raw::notice::Registration;
use crate::raw::owner::Entry;
use crate::raw::word::Owner;
use crate::shm::fault::Fault;
use crate::shm::layout::Life;
use crate::shm::layout::queue::{MODE_IS_SET, PACKETS_UNKNOWN};
use crate::sync::{AtomicU32, Ordering};
use crate::sys::fifo::{self, Fifo, ROOM};
use crate::sys::{file, process};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

/// Permission bits that a file and its doorbell need so that everybody who may receive or send can do both: a receiver
/// writes to the queue, too.
pub(crate) fn widened(mode: u32) -> u32 {
    [0o600, 0o060, 0o006].into_iter().filter(|class| mode & class != 0).sum()
}

/// How much the doorbell shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Empty,
    Between,
    Full,
}

/// Why somebody attends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It has sent messages, or ended the queue.
    Sent,
    /// It has made room.
    Room,
    /// It found the queue full, and may wait for an edge now.
    FoundFull,
    /// It found the queue empty, and may wait for an edge now, or to be told, if this was registered already.
    FoundEmpty(Registration),
    /// None: what is shown shall be right.
    None,
}

impl Core {
    /// Where the doorbell is; `None` if this handle came without a name.
    pub(crate) fn bell_path(&self) -> Option<PathBuf> {
        let dir = self.base.path()?.parent()?;
        Some(dir.join(bell_file_name(self.base.member.facts().inode, self.base.created)))
    }

    /// Writes down the permission bits that `mq_open` was given, and makes the doorbell. Nobody else can see the queue yet.
    pub(super) fn furnish(&self, mode: u32) -> io::Result<()> {
        self.header().mode.store(MODE_IS_SET | mode & 0o777, Ordering::Relaxed);
        self.bell_file().map(drop)
    }

    /// The permission bits by which a descriptor is given out, if they are others than the file's.
    pub(crate) fn posix_mode(&self) -> Option<u32> {
        let word = self.header().mode.load(Ordering::Relaxed);
        (word & MODE_IS_SET != 0).then_some(word & 0o777)
    }

    /// Whether this process may have a descriptor for this.
    pub(crate) fn grants(&self, access: Access) -> bool {
        let facts = self.base.member.facts();
        let wanted = match access {
            Access::Receive => 4,
            Access::Send => 2,
            Access::Both => 6,
        };
        process::may(wanted, self.posix_mode().unwrap_or(facts.mode), facts.uid, facts.gid)
    }

    /// A descriptor of the doorbell.
    pub(crate) fn doorbell(&self, access: Access) -> io::Result<OwnedFd> {
        let created = self.created.swap(false, Ordering::Relaxed);
        if !created && !self.grants(access) {
            return Err(io::Error::from_raw_os_error(libc::EACCES));
        }
        // It stays open: a pipe that has no reader, or no writer, shows that; and the name may go.
        self.kept_bell()?.again(access)
    }

    /// The doorbell, made if there is none.
    fn bell_file(&self) -> io::Result<Fifo> {
        let path = self.bell_path().ok_or(io::ErrorKind::NotFound)?;
        let (facts, bell) = (self.base.member.facts(), &self.header().bell);
        let known = bell.load(Ordering::SeqCst);
        if known != 0 && !file::has_name(self.base.member.checked_fd()?)? {
            // The doorbell went with the queue's name, and there cannot be another one.
            return Err(io::ErrorKind::NotFound.into());
        }
        let made = match fifo::create(&path, facts.mode & 0o666, facts.gid) {
            Ok(made) => Some(made),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
            Err(error) => return Err(error),
        };
        let fifo = Fifo::open(&path)?;
        let found = fifo.facts();
        if known == found.inode {
            return Ok(fifo);
        }
        // What `bell` names is not there any more, if it ever was: this is the only file of that name.
        let trusted = made.is_some_and(|made| made.same_file(found))
            || [facts.uid, 0, process::effective_uid()].contains(&found.uid);
        let taken = trusted.then(|| bell.compare_exchange(known, found.inode, Ordering::SeqCst, Ordering::SeqCst));
        match taken {
            Some(Ok(_)) => Ok(fifo),
            Some(Err(now)) if now == found.inode => Ok(fifo),
            _ => Err(io::Error::from_raw_os_error(libc::EBADMSG)),
        }
    }

    /// The doorbell, opened once, if it is there and the queue's.
    fn bell(&self) -> Option<&Fifo> {
        let usable = |fifo: &Fifo| fifo.facts().inode == self.header().bell.load(Ordering::SeqCst);
        if let Some(fifo) = self.bell.get() {
            return Some(fifo).filter(|fifo| usable(fifo) && fifo.is_intact());
        }
        let fifo = Fifo::open(&self.bell_path()?).ok().filter(usable)?;
        Some(self.keep_bell(fifo))
    }

    /// The doorbell, opened once, made if there is none.
    fn kept_bell(&self) -> io::Result<&Fifo> {
        if let Some(fifo) = self.bell() {
            return Ok(fifo);
        }
        if self.bell.get().is_some() {
            // Closed under us, or removed and made anew.
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        let fifo = self.bell_file()?;
        // Now, not when somebody polls: there are only so many pages for the pipes of one user, and at first a pipe has 16. If there
        // are none left it has 2, and arming says so.
        let _ = fifo.set_room();
        Ok(self.keep_bell(fifo))
    }

    fn keep_bell(&self, fifo: Fifo) -> &Fifo {
        let mut late = Some(fifo);
        // Held across a fork: a child never finds the cell half-filled.
        let no_fork = process::roster();
        let kept = self.bell.get_or_init(|| late.take().expect("it is taken here only"));
        drop(no_fork);
        // If another thread was faster, this one is closed now, after the roster.
        drop(late);
        kept
    }

    /// Whether the doorbell of this inode is this queue's.
    pub(crate) fn has_bell(&self, inode: u64) -> bool {
        self.header().bell.load(Ordering::SeqCst) == inode
    }

    /// Removes the doorbell, with the name of the queue.
    pub(crate) fn remove_bell(&self) {
        if self.header().bell.load(Ordering::Relaxed) != 0
            && let Some(path) = self.bell_path()
        {
            // Another user's, perhaps; then it stays, and nobody looks for it.
            let _ = file::remove(&path);
        }
    }

    /// From now on the doorbell is right, as long as this handle is there.
    pub(crate) fn arm_doorbell(self: &Arc<Core>) -> Result<(), Fault> {
        let me = self.me()?;
        let entry = self.entry(me)?;
        if entry.polls() {
            return Ok(());
        }
        let fifo = self.kept_bell()?;
        fifo.set_room()?;
        self.start_attendant()?;
        let shared = self.shared();
        let held = self.lock(&shared, me, Wait::No)?;
        entry.begin_to_poll();
        self.header().packets.store(PACKETS_UNKNOWN, Ordering::Relaxed);
        shared.draw_attention();
        drop(held);
        self.attend(me, Wait::No, News::None)
    }

    /// Looks after the registration and the doorbell: see `docs/recovery.md`. To be called by whoever has news and was told so by the
    /// event; what it cannot do, the attendants of others will.
    #[cold]
    pub(super) fn attend(&self, me: Owner, wait: Wait, news: News) -> Result<(), Fault> {
        let shared = self.shared();
        let held = self.lock(&shared, me, wait)?;
        let fired = self.fire_if_due(&shared, news)?;
        let in_doubt = fired.is_none() && news == News::Sent && shared.may_be_due();
        let shown = if shared.header.polled.load(Ordering::Relaxed) != 0 { self.show(&shared, news) } else { Ok(()) };
        drop(held);
        if let Some(fired) = fired {
            self.see_told(fired);
        } else if in_doubt {
            self.fire_in_spite_of_the_dead(me, wait)?;
        }
        Ok(shown?)
    }

    /// As [`attend`](Core::attend), after something that has been done already.
    #[cold]
    pub(super) fn attend_to_news(&self, me: Owner, wait: Wait, news: News) {
        // A stopped process has the lock, or there is damage: the next one who has news, or an attendant, tries again.
        let _ = self.attend(me, if wait == Wait::Forever { wait } else { Wait::No }, news);
    }

    /// D1 to D3. The lock is held.
    fn show(&self, shared: &Shared<'_>, news: News) -> io::Result<()> {
        let (level, header) = (self.level(shared), shared.header);
        let Some(fifo) = self.bell() else { return self.show_on_another(level, news) };
        let mut pipe = Pipe { fifo, packets: header.packets.swap(PACKETS_UNKNOWN, Ordering::Relaxed) };
        if pipe.packets > ROOM || news == News::None {
            // A stranger may have read or written: seen at the next look of an attendant.
            pipe.packets = fifo.packets()?.min(ROOM);
        }
        let something = pipe.packets > 0;
        // Who found something that is not so any more has missed the edge: here it is. Else nothing is shown but what was
        // shown before, or is to be shown.
        match (news, level) {
            (News::FoundFull, Level::Empty | Level::Between) => pipe.fill()?,
            (News::FoundEmpty(_), Level::Between | Level::Full) => pipe.empty_to(0)?,
            (News::Sent | News::Room, Level::Empty | Level::Between) if something => pipe.edge()?,
            (News::Sent, Level::Full) if pipe.packets == ROOM => pipe.empty_to(ROOM - 1)?,
            _ => {}
        }
        pipe.settle(level)?;
        header.packets.store(pipe.packets, Ordering::Relaxed);
        Ok(())
    }

    /// The doorbell that this handle has was removed, and another one made: those who poll this one have nobody but its attendant.
    #[cold]
    fn show_on_another(&self, level: Level, news: News) -> io::Result<()> {
        match self.bell.get().filter(|fifo| news == News::None && fifo.is_intact()) {
            Some(fifo) => Pipe { fifo, packets: fifo.packets()?.min(ROOM) }.settle(level),
            None => Ok(()),
        }
    }

    fn level(&self, shared: &Shared<'_>) -> Level {
        let desk = &shared.header.desk;
        let (depth, slow, taken) = (&desk.count, &desk.slow_count, &desk.taken);
        let number = |word: &AtomicU32| u64::from(word.load(Ordering::Relaxed));
        let used = number(depth) + number(slow) + number(taken);
        match () {
            // There is an error to be had for receivers and senders.
            () if self.life() != Life::Open => Level::Between,
            () if used >= self.layout.attributes.capacity.into() => Level::Full,
            () if number(depth) == 0 => Level::Empty,
            () => Level::Between,
        }
    }

    /// The queue has ended: shows it, from one that does not take part and so cannot attend.
    pub(super) fn show_the_end(&self) {
        if self.header().polled.load(Ordering::Relaxed) != 0
            && let Some(fifo) = self.bell()
        {
            let _ = fifo.put();
            self.header().packets.store(PACKETS_UNKNOWN, Ordering::Relaxed);
        }
    }
}

/// The doorbell, and how many packets it has.
struct Pipe<'a> {
    fifo: &'a Fifo,
    packets: u32,
}

impl Pipe<'_> {
    /// Who waits to read is woken.
    fn put(&mut self) -> io::Result<()> {
        self.packets += u32::from(self.fifo.put()?);
        Ok(())
    }

    /// Who waits to write is woken if there were as many as fit.
    fn empty_to(&mut self, packets: u32) -> io::Result<()> {
        while self.packets > packets && self.fifo.take()? {
            self.packets -= 1;
        }
        self.packets = self.packets.min(packets);
        Ok(())
    }

    fn fill(&mut self) -> io::Result<()> {
        while self.packets < ROOM && self.fifo.put()? {
            self.packets += 1;
        }
        self.packets = ROOM;
        Ok(())
    }

    fn settle(&mut self, level: Level) -> io::Result<()> {
        match level {
            Level::Empty => self.empty_to(0),
            Level::Between if self.packets == 0 => self.put(),
            Level::Between => self.empty_to(ROOM - 2),
            Level::Full => self.fill(),
        }
    }

    /// To between, by room for some if there was none, and by a packet more.
    fn edge(&mut self) -> io::Result<()> {
        self.empty_to(ROOM - 2)?;
        self.put()
    }
}

impl Shared<'_> {
    /// Recomputes, from the entries and the registration, who shall see to what. The lock is held.
    pub(super) fn draw_attention(&self) {
        let polled = self.entries_in_use().any(Entry::polls);
        self.header.polled.store(u32::from(polled), Ordering::Relaxed);
        self.header.senders.draw_attention(polled);
        self.header.receivers.draw_attention(polled || self.header.notice.load().is_pending());
    }
}
