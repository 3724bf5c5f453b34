//! The soak's workers: producers and consumers that go from one generation of the queue to the next, take permits meanwhile, and are
//! killed and stopped anywhere. What each does follows from its place. And the hogs, which only want the processor.

use crate::board::{Account, Board, CHILD, LANES, OPENING, PLACES, PRODUCERS};
use crate::common::Rng;
use crate::common::bell::Bell;
use crate::common::shared::Shared;
use crate::common::traffic::{FORMS, Receiver, Sender, TRY};
use chappe::{Access, AccessError, AcquireError, OpenError, Queue, QueueOptions, RecvError, Semaphore, SendError};
use rustix::event::epoll::EventFlags;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The longest message: several pages.
pub const LONGEST: u64 = 70_000;

/// The name of the queue in each generation, and that of the semaphore.
pub const QUEUE: &str = "/q";
pub const POOL: &str = "/pool";

/// Those who live as long as the run does: they are stopped, never killed. One that forks, one with two threads, one that polls.
pub const VETERANS: [usize; 3] = [0, 8, 14];

fn has_two_threads(place: usize) -> bool {
    matches!(place, 3 | 4 | 8 | 12 | 13)
}

fn forks(place: usize) -> bool {
    matches!(place, 0 | 4 | 5 | 9 | 13 | 15)
}

fn polls(place: usize) -> bool {
    matches!(place, 14 | 15)
}

pub fn options(dir: &Path) -> QueueOptions {
    let mut options = Queue::options();
    options.dir(dir);
    options
}

/// A queue tells its generation by the size that it takes beyond the longest message.
pub fn generation_of(queue: &Queue) -> u64 {
    queue.message_size() - LONGEST
}

pub fn part_hog(_: &[String]) {
    loop {
        std::hint::spin_loop();
    }
}

/// DIR RECORDS PLACE INCARNATION SEED.
pub fn part_worker(arguments: &[String]) {
    let [place, incarnation, seed] = [2, 3, 4].map(|index| arguments[index].parse::<u64>().unwrap());
    // A failed check in any thread or child is the end of the process, which the supervisor, or the parent, notices.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        // SAFETY: it takes a number and does not return.
        unsafe { libc::_exit(101) };
    }));
    let (dir, records) = (PathBuf::from(&arguments[0]), PathBuf::from(&arguments[1]));
    let board = Shared::<Board>::map(&records.join("board")).leak();
    let pool = Semaphore::options().dir(&dir).label(format!("incarnation {incarnation}")).open(POOL).unwrap();
    Cast { dir, records, board, pool, place: place as usize, incarnation, seed: seed ^ incarnation << 8 }.run();
}

struct Cast {
    dir: PathBuf,
    records: PathBuf,
    board: &'static Board,
    pool: Semaphore,
    place: usize,
    incarnation: u64,
    seed: u64,
}

impl Cast {
    fn run(&self) {
        let at = &self.board.at[self.place];
        let mut seen = 0;
        while !self.board.stopped() {
            self.board.step(self.place, 0);
            at.store(OPENING, Ordering::SeqCst);
            match options(&self.dir).open(QUEUE) {
                Ok(queue) if generation_of(&queue) > seen => {
                    seen = generation_of(&queue);
                    self.take_part(&queue, seen);
                }
                // It has ended, and the next one is not there yet.
                Ok(_) | Err(OpenError::NotFound { .. }) => {}
                // Who holds its lock is stopped.
                Err(error) if error.io_kind() == Some(std::io::ErrorKind::ResourceBusy) => {}
                Err(error) => panic!("place {}: {error}", self.place),
            }
            at.store(0, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
        }
        self.board.rest(self.place, 0);
    }

    /// Until this generation ends.
    fn take_part(&self, queue: &Queue, generation: u64) {
        let account = Shared::map(&self.records.join(generation.to_string()));
        self.board.at[self.place].store(generation, Ordering::SeqCst);
        std::thread::scope(|scope| {
            if has_two_threads(self.place) {
                let account = &*account;
                scope.spawn(move || self.line(queue, account, generation, 1).run());
            }
            self.line(queue, &account, generation, 0).run();
        });
    }

    fn line<'a>(&'a self, queue: &'a Queue, account: &'a Account, generation: u64, lane: usize) -> Line<'a> {
        let mut rng = Rng::new(self.seed.wrapping_add(generation << 40 | (lane as u64) << 32));
        let id = self.incarnation * LANES as u64 + lane as u64;
        let (messages, longest) = (&account.messages, LONGEST);
        let sender = Sender { queue, messages, id, longest, rng: Rng::new(rng.bits()) };
        let at_risk = &account.at_risk[self.place * LANES + lane];
        let receiver = Receiver::new(queue, messages, at_risk, longest, Rng::new(rng.bits()));
        Line { cast: self, queue, account, generation, lane, rng, sender, receiver, bell: None }
    }
}

/// A queue that has ended.
struct Ended;

/// A thread, or a child, in one generation of the queue.
struct Line<'a> {
    cast: &'a Cast,
    queue: &'a Queue,
    account: &'a Account,
    generation: u64,
    lane: usize,
    rng: Rng,
    sender: Sender<'a>,
    receiver: Receiver<'a>,
    bell: Option<Bell>,
}

impl Line<'_> {
    fn run(mut self) {
        let (board, place, lane) = (self.cast.board, self.cast.place, self.lane);
        loop {
            if self.rng.one_in(40) {
                self.hold_a_permit();
                board.step(place, lane);
            }
            if self.rng.one_in(300) && lane == 0 && forks(place) {
                self.have_a_child();
            }
            self.moment();
            match self.transfer() {
                Ok(true) => board.step(place, lane),
                Ok(false) => {}
                Err(Ended) => break,
            }
        }
        board.rest(place, lane);
    }

    /// Sends, or receives; whether that was a step forward.
    fn transfer(&mut self) -> Result<bool, Ended> {
        if self.cast.place < PRODUCERS {
            return self.send();
        }
        if polls(self.cast.place) && self.lane != CHILD && !self.wait_for_the_bell()? {
            return Ok(false);
        }
        let form = if polls(self.cast.place) { TRY } else { self.rng.below(FORMS) };
        match self.receiver.receive(form) {
            Ok(()) => Ok(true),
            Err(RecvError::Closed | RecvError::Unlinked) => Err(Ended),
            Err(error) => panic!("place {}: {error}", self.cast.place),
        }
    }

    fn send(&mut self) -> Result<bool, Ended> {
        match self.sender.send_some() {
            Some(Ok(())) => Ok(true),
            Some(Err(SendError::Closed | SendError::Unlinked)) => Err(Ended),
            Some(Err(error)) => panic!("place {}: {error}", self.cast.place),
            None => {
                std::thread::sleep(Duration::from_millis(5));
                if self.has_ended() { Err(Ended) } else { Ok(true) }
            }
        }
    }

    fn has_ended(&self) -> bool {
        match self.queue.stat() {
            Ok(stat) => stat.closed || stat.unlinked,
            Err(AccessError::Busy) => false,
            Err(error) => panic!("stat: {error}"),
        }
    }

    /// Whether the doorbell says that there is something.
    fn wait_for_the_bell(&mut self) -> Result<bool, Ended> {
        if self.bell.is_none() {
            match Bell::new(self.queue, Access::Receive, EventFlags::IN) {
                Ok(bell) => self.bell = Some(bell),
                // It went with the name.
                Err(_) if self.has_ended() => return Err(Ended),
                Err(error) => panic!("doorbell: {error}"),
            }
            match self.queue.arm_doorbell() {
                Ok(()) => {}
                // Who holds the lock is stopped: it is tried again.
                Err(AccessError::Busy) => self.bell = None,
                Err(error) => panic!("arm_doorbell: {error}"),
            }
        }
        let rang = self.bell.as_ref().is_some_and(|bell| bell.rings());
        self.cast.board.rings.fetch_add(u64::from(rang), Ordering::Relaxed);
        Ok(rang)
    }

    /// A moment of random length, spent in one of the ways in which programs spend it. Generations differ in who is slow.
    fn moment(&mut self) {
        let slow = match self.generation % 3 {
            1 => self.cast.place < PRODUCERS,
            2 => self.cast.place >= PRODUCERS,
            _ => false,
        };
        if slow {
            return std::thread::sleep(Duration::from_micros(self.rng.below(3000)));
        }
        match self.rng.below(20) {
            0 => std::thread::sleep(Duration::from_micros(self.rng.below(500))),
            1 => std::thread::yield_now(),
            2..=5 => (0..self.rng.below(300)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }

    fn hold_a_permit(&mut self) {
        let (pool, short) = (&self.cast.pool, Duration::from_micros(self.rng.below(3000)));
        let many = 1 + self.rng.below(2);
        let permit = match self.rng.below(5) {
            0 => pool.try_acquire(),
            1 => pool.acquire_timeout(short),
            2 => pool.acquire_many(many),
            3 => pool.acquire_many_timeout(many, short),
            _ => pool.acquire(),
        };
        let permit = match permit {
            Ok(permit) => permit,
            Err(AcquireError::NoPermits | AcquireError::TimedOut | AcquireError::Busy) => return,
            Err(error) => panic!("place {}: {error}", self.cast.place),
        };
        let (board, place, permits) = (self.cast.board, self.cast.place, permit.permits());
        board.register(place, permits);
        self.moment();
        if self.rng.one_in(8) {
            // So long that some are killed, and others stopped, while they hold one.
            std::thread::sleep(Duration::from_micros(self.rng.below(5000)));
        }
        board.unregister(place, permits);
        drop(permit);
    }

    /// A child that uses what it inherited; it may be killed.
    fn have_a_child(&mut self) {
        let (doomed, parent) = (self.rng.one_in(4), std::process::id());
        let seed = self.rng.bits();
        // SAFETY: the child goes on with what it has, this thread, allocates (which C libraries allow for), and ends by `_exit`.
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
        if child == 0 {
            die_with(parent);
            let mut rng = Rng::new(seed);
            let line = self.cast.line(self.queue, self.account, self.generation, CHILD);
            Line { rng: rng.clone(), ..line }.be_a_child(1 + rng.below(20), doomed);
            // SAFETY: it takes a number and does not return.
            unsafe { libc::_exit(0) };
        }
        self.cast.board.forks.fetch_add(1, Ordering::SeqCst);
        if doomed {
            std::thread::sleep(Duration::from_micros(self.rng.below(5000)));
            // SAFETY: it takes numbers; the child was not reaped yet.
            unsafe { libc::kill(child, libc::SIGKILL) };
        }
        // From here on it is for the child to come on, and for the kernel to bury it, which can take seconds.
        self.cast.board.rest(self.cast.place, self.lane);
        let killed = wait(child);
        self.cast.board.rest(self.cast.place, CHILD);
        self.cast.board.step(self.cast.place, self.lane);
        assert!(doomed || !killed, "a child was killed by nobody");
        if killed {
            let at_risk = &self.account.at_risk[self.cast.place * LANES + CHILD];
            self.account.children.fetch_add(1, Ordering::SeqCst);
            // In this order: one that is killed in between has it counted twice, and not lost.
            self.account.children_took.fetch_add(at_risk.load(Ordering::SeqCst), Ordering::SeqCst);
            at_risk.store(0, Ordering::SeqCst);
        }
    }

    /// A few messages, and a permit: but one that is doomed must not take it along, for the witness does not know it.
    fn be_a_child(mut self, transfers: u64, doomed: bool) {
        for _ in 0..transfers {
            if !doomed && self.rng.one_in(8) {
                self.hold_a_permit();
            }
            self.cast.board.step(self.cast.place, CHILD);
            if let Err(Ended) = self.transfer() {
                break;
            }
        }
        self.cast.board.rest(self.cast.place, CHILD);
    }
}

/// In a child: it ends with its parent, also if that has ended already.
fn die_with(parent: u32) {
    // SAFETY: this option takes a number.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if std::os::unix::process::parent_id() != parent {
        // SAFETY: it takes a number and does not return.
        unsafe { libc::_exit(0) };
    }
}

/// Waits for a child; whether it was killed. That it failed is a failure.
fn wait(child: i32) -> bool {
    let mut status = 0;
    // SAFETY: the status lives through the call.
    let reaped = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(reaped, child, "waitpid: {}", std::io::Error::last_os_error());
    let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
    assert!(killed || status == 0, "a child failed: {status:#x}");
    killed
}

const _: () = assert!(PLACES == 16, "the places above are of 16");
