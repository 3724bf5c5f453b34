//! One generation of the queue: from its creation to the account of its messages, which is made when it was unlinked, everybody has
//! left it, and what was left in it was taken out through the handle that its maker kept.

use crate::board::{Account, Board, LANES, OPENING, PLACES};
use crate::common::shared::Shared;
use crate::common::traffic::{BATCH, Receiver, TRY, Totals};
use crate::common::{NET, Rng};
use crate::worker::{LONGEST, QUEUE, options};
use chappe::{AccessError, Counters, OpenError, Queue, QueueStat, RecvError};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How many messages fit. Few, so that producers find it full.
pub const CAPACITY: u32 = 200;

/// A generation in which nobody lives any more.
pub struct Closed {
    pub totals: Totals,
    pub counters: Counters,
    /// Messages that the dead may have taken.
    pub may_miss: u64,
    /// Messages that the queue counted as received and nobody wrote down; and children that their parents killed.
    pub vanished: u64,
    pub children: u64,
    /// What was left for the supervisor to take out.
    pub left: u64,
}

pub struct Generation {
    pub number: u64,
    pub queue: Queue,
    dir: PathBuf,
    record: PathBuf,
    account: Shared<Account>,
    /// Messages that receivers may have taken with them, and processes that were killed, in this generation's time.
    may_miss: u64,
    kills: u64,
    /// Since when it has no name; and who was seen elsewhere since.
    unlinked: Option<Instant>,
    left: [bool; PLACES],
}

impl Generation {
    pub fn new(number: u64, dir: &Path, records: &Path) -> Generation {
        let record = records.join(number.to_string());
        // The account first: whoever opens the queue looks for it.
        let account = Shared::map(&record);
        let queue = options(dir).capacity(CAPACITY).message_size(LONGEST + number).create_new(QUEUE);
        let queue = queue.unwrap_or_else(|error| panic!("generation {number}: {error}"));
        let (dir, unlinked, left) = (dir.to_owned(), None, [false; PLACES]);
        Generation { number, queue, dir, record, account, may_miss: 0, kills: 0, unlinked, left }
    }

    /// Whether so much was sent that it should end.
    pub fn is_used_up(&self) -> bool {
        self.account.messages.is_used_up()
    }

    pub fn receipts(&self) -> u64 {
        self.account.messages.receipts()
    }

    pub fn close(&self) {
        patiently(|| self.queue.close());
    }

    pub fn unlink(&mut self) {
        options(&self.dir).unlink(QUEUE).unwrap_or_else(|error| panic!("unlink: {error}"));
        let gone = options(&self.dir).open(QUEUE);
        assert!(matches!(gone, Err(OpenError::NotFound { .. })), "unlinked, and still there: {gone:?}");
        self.unlinked = Some(Instant::now());
    }

    /// Books the death of everybody at that place.
    pub fn bury(&mut self, place: usize) {
        self.kills += 1;
        let lanes = &self.account.at_risk[place * LANES..(place + 1) * LANES];
        self.may_miss += lanes.iter().map(|lane| u64::from(lane.swap(0, Ordering::SeqCst))).sum::<u64>();
    }

    /// Whether everybody has left it for good. That one who lives does not for too long is a failure.
    pub fn is_left(&mut self, board: &Board, is_dying: impl Fn(usize) -> bool) -> bool {
        let Some(unlinked) = self.unlinked else { return false };
        let late = unlinked.elapsed() > NET;
        for (place, left) in self.left.iter_mut().enumerate() {
            let at = board.at[place].load(Ordering::SeqCst);
            // Who was about to open it when it was unlinked may have come in.
            *left |= at != self.number && at != OPENING;
            assert!(*left || !late || is_dying(place), "place {place} did not leave generation {}", self.number);
        }
        self.left.iter().all(|left| *left)
    }

    /// Takes out what is left, looks whether everything is as it should be, and makes the account.
    pub fn settle(self) -> Closed {
        let (messages, at_risk) = (&self.account.messages, &self.account.at_risk[PLACES * LANES]);
        let mut receiver = Receiver::new(&self.queue, messages, at_risk, LONGEST, Rng::new(self.number));
        let (before, start) = (messages.receipts(), Instant::now());
        loop {
            match receiver.receive(TRY) {
                Ok(()) => assert!(start.elapsed() < NET, "it does not come to its end: {:#?}", self.queue.stat()),
                Err(RecvError::Unlinked) => break,
                Err(error) => panic!("generation {}: {error}", self.number),
            }
        }
        let left = messages.receipts() - before;
        let stat = self.stat();
        assert_eq!((stat.len, stat.being_sent, stat.being_received), (0, 0, 0), "{stat:#?}");
        assert_eq!(stat.participants.len(), 1, "the dead, or those who left, are still listed: {stat:#?}");
        let load = |word: &std::sync::atomic::AtomicU32| u64::from(word.load(Ordering::SeqCst));
        let children = load(&self.account.children);
        let may_miss = self.may_miss + load(&self.account.children_took);
        let totals = messages.totals(may_miss);
        // Closer: what the queue has counted as received and nobody wrote down, the dead took. (A death between a commit and the
        // counting makes that number wrong, which is rare: it is some instructions.)
        let vanished = stat.counters.received.saturating_sub(totals.received);
        let (missing, doubt) = (totals.missing, 2 + (self.kills + children) / 50);
        assert!(missing <= vanished + doubt, "{missing} messages are missing, {vanished} were received by the dead");
        // Each of those who are killed at once can have been in one call.
        let most = (self.kills * LANES as u64 + children) * BATCH;
        let uncertain = totals.uncertain;
        assert!(uncertain <= most, "{uncertain} sends neither returned nor were refused; deaths can explain {most}");
        std::fs::remove_file(&self.record).unwrap();
        Closed { totals, counters: stat.counters, may_miss, vanished, children, left }
    }

    pub fn stat(&self) -> QueueStat {
        patiently(|| self.queue.stat())
    }
}

/// A stopped process may hold the lock; it comes back.
pub fn patiently<T>(mut call: impl FnMut() -> Result<T, AccessError>) -> T {
    let start = Instant::now();
    loop {
        match call() {
            Ok(value) => return value,
            Err(AccessError::Busy) if start.elapsed() < NET => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
    }
}
