//! The supervisor: starts the workers, kills, stops and continues them, ends one generation of the queue and begins the next, and
//! watches that everybody comes on.
//!
//! It waits for nobody: where the machine is overloaded the kernel takes seconds to bury a process that had a sentry (see
//! `docs/recovery.md`), and meanwhile those who are stopped would stay so.

use crate::board::{Board, LANES, PERMITS, PLACES};
use crate::common::shared::Shared;
use crate::common::{NET, Rng, Worker, again, scratch};
use crate::generation::{CAPACITY, Generation, patiently};
use crate::measure::{Measures, taken, word};
use crate::worker::{LONGEST, POOL, VETERANS};
use chappe::Semaphore;
use std::os::unix::process::CommandExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Never are more than this stopped at once.
const STOPPED_MAX: usize = PLACES - 4;

const HOGS: usize = 2;

/// A place, and who is there.
#[derive(Default)]
struct Post {
    worker: Option<Worker>,
    /// Who was killed and is not gone yet, and since when.
    dying: Option<(Worker, Instant)>,
    /// When there is to be somebody again; when who is stopped is to go on.
    start: Option<Instant>,
    resume: Option<Instant>,
    /// For each line of execution how far it had come, and since when.
    seen: [Option<(u64, Instant)>; LANES],
}

/// What has happened so far.
#[derive(Default)]
pub struct Tally {
    pub kills: u64,
    /// Of these, of processes that were stopped.
    pub kills_of_stopped: u64,
    pub children_killed: u64,
    pub stops: u64,
    pub most_stopped: usize,
    pub hogs: u64,
    pub generations: u64,
    pub closes: u64,
    pub sent: u64,
    pub received: u64,
    pub missing: u64,
    pub may_miss: u64,
    pub vanished: u64,
    pub uncertain: u64,
    pub left: u64,
    pub recovered: u64,
    pub redelivered: u64,
    /// The longest that the kernel took from a kill to the end of all of a place, and where it was seen to be then.
    pub death: (Duration, String),
    /// The longest that this thread did not come round.
    pub round: Duration,
    /// The longest that a line of execution did not come on though it was not stopped, and which.
    pub stall: (Duration, String),
}

pub struct Supervisor {
    crew: Vec<Post>,
    hogs: Vec<Worker>,
    pub pool: Semaphore,
    generations: Vec<Generation>,
    board: Shared<Board>,
    dir: tempfile::TempDir,
    records: tempfile::TempDir,
    rng: Rng,
    seed: u64,
    incarnations: u64,
    begun: Instant,
    ticked: Instant,
    sampled: Duration,
    /// When the generation that is in use is to be closed, and to be unlinked.
    close: Option<Instant>,
    unlink: Instant,
    pub tally: Tally,
    pub measures: Measures,
}

impl Supervisor {
    pub fn new(seed: u64) -> Supervisor {
        // Orphans come to us, so that the dead are known to be dead.
        // SAFETY: this option takes one number.
        let adopts = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        assert_eq!(adopts, 0, "{}", std::io::Error::last_os_error());
        let (dir, records) = (scratch(), scratch());
        let pool = Semaphore::options().dir(dir.path()).permits(PERMITS).create_new(POOL).unwrap();
        let mut supervisor = Supervisor {
            crew: (0..PLACES).map(|_| Post::default()).collect(),
            hogs: Vec::new(),
            pool,
            generations: Vec::new(),
            board: Shared::map(&records.path().join("board")),
            dir,
            records,
            rng: Rng::new(seed),
            seed,
            incarnations: 0,
            begun: Instant::now(),
            ticked: Instant::now(),
            sampled: Duration::ZERO,
            close: None,
            unlink: Instant::now(),
            tally: Tally::default(),
            measures: Measures::default(),
        };
        supervisor.begin_generation();
        (0..PLACES).for_each(|place| supervisor.start(place));
        supervisor
    }

    fn start(&mut self, place: usize) {
        self.incarnations += 1;
        let numbers = [place as u64, self.incarnations, self.seed].map(|number| number.to_string());
        let [dir, records] = [&self.dir, &self.records].map(|dir| dir.path().to_str().unwrap());
        let mut command = again("worker", &[dir, records, &numbers[0], &numbers[1], &numbers[2]]);
        // A group of its own, so that children get the signals, too.
        command.process_group(0);
        self.crew[place] = Post { worker: Some(Worker::run(command, "worker")), ..Post::default() };
    }

    /// One moment of the run.
    pub fn tick(&mut self, rate: Duration) {
        std::thread::sleep(Duration::from_micros(self.rng.below(15_000)));
        let now = Instant::now();
        let round = now - self.ticked;
        self.tally.round = self.tally.round.max(round);
        self.ticked = now;
        for place in 0..PLACES {
            self.bury(place);
            if self.crew[place].resume.is_some_and(|resume| resume <= now) {
                self.resume(place);
            }
            let post = &self.crew[place];
            if post.dying.is_none() && post.start.is_some_and(|start| start <= now) {
                self.start(place);
            }
        }
        // As many as there would have been if this thread had got the processor in time.
        for _ in 0..=(round.as_millis() / 10).min(30) {
            if self.rng.one_in(12) {
                self.kill_some();
            }
            if self.rng.one_in(18) {
                self.stop_some();
            }
        }
        if self.rng.one_in(200) {
            self.change_hogs();
        }
        self.turn_generations(now);
        self.watch();
        if self.begun.elapsed() >= self.sampled {
            self.sample();
            self.sampled += rate;
        }
    }

    fn signal(&self, place: usize, number: i32) {
        let group = self.crew[place].worker.as_ref().expect("somebody is there").pid() as i32;
        // SAFETY: it takes numbers; the group's leader is a child that was not reaped yet, so the number is its own.
        let sent = unsafe { libc::kill(-group, number) };
        assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
    }

    /// Some of those who may die, mostly one; each is replaced at once or after a while.
    fn kill_some(&mut self) {
        let first = self.rng.index(PLACES);
        let mut places = vec![first];
        if self.rng.one_in(4) {
            places.extend((0..PLACES).filter(|place| *place != first && self.rng.one_in(4)));
        }
        places.retain(|place| !VETERANS.contains(place) && self.crew[*place].worker.is_some());
        places.iter().for_each(|place| self.board.condemn(*place));
        places.iter().for_each(|place| self.signal(*place, libc::SIGKILL));
        for place in places {
            let post = std::mem::take(&mut self.crew[place]);
            let now = Instant::now();
            self.crew[place].dying = Some((post.worker.expect("somebody is there"), now));
            let pause = if self.rng.one_in(2) { 0 } else { self.rng.below(500) };
            self.crew[place].start = Some(now + Duration::from_millis(pause));
            self.tally.kills += 1;
            self.tally.kills_of_stopped += u64::from(post.resume.is_some());
        }
    }

    /// When all who were killed at that place are gone: books what they may have taken along.
    fn bury(&mut self, place: usize) {
        let Some((worker, killed)) = &mut self.crew[place].dying else { return };
        let (pid, took) = (worker.pid(), killed.elapsed());
        if took > self.tally.death.0 {
            self.tally.death = (took, where_it_stands(pid));
        }
        assert!(took < NET * 4, "the kernel does not bury place {place}: it stands in {}", self.tally.death.1);
        if worker.try_ended().is_none() || has_members(pid) {
            return;
        }
        self.crew[place].dying = None;
        self.board.erase(place);
        self.generations.iter_mut().for_each(|generation| generation.bury(place));
    }

    /// Mostly one, sometimes several at once, never all; mostly for a moment, sometimes for up to a second.
    fn stop_some(&mut self) {
        let most = if self.rng.one_in(4) { 1 + self.rng.index(6) } else { 1 };
        for _ in 0..most {
            let place = self.rng.index(PLACES);
            let stopped = self.crew.iter().filter(|post| post.resume.is_some()).count();
            let post = &self.crew[place];
            if stopped >= STOPPED_MAX || post.worker.is_none() || post.resume.is_some() {
                continue;
            }
            self.signal(place, libc::SIGSTOP);
            let longest = if self.rng.one_in(3) { 1000 } else { 30 };
            let moment = Duration::from_millis(self.rng.below(longest));
            self.crew[place].resume = Some(Instant::now() + moment);
            self.tally.stops += 1;
            self.tally.most_stopped = self.tally.most_stopped.max(stopped + 1);
        }
    }

    fn resume(&mut self, place: usize) {
        self.signal(place, libc::SIGCONT);
        let post = &mut self.crew[place];
        (post.resume, post.seen) = (None, [None; LANES]);
    }

    /// They come and go.
    fn change_hogs(&mut self) {
        let wanted = self.rng.index(HOGS + 1);
        self.hogs.truncate(wanted);
        while self.hogs.len() < wanted {
            self.hogs.push(Worker::start("hog", &[]));
            self.tally.hogs += 1;
        }
    }

    fn begin_generation(&mut self) {
        self.tally.generations += 1;
        self.generations.push(Generation::new(self.tally.generations, self.dir.path(), self.records.path()));
        let longest = if self.tally.generations > 4 && self.rng.one_in(12) { 40_000 } else { 6000 };
        self.unlink = Instant::now() + Duration::from_millis(500 + self.rng.below(longest));
        self.close = self.rng.one_in(3).then(|| self.unlink - Duration::from_millis(self.rng.below(300)));
    }

    fn current(&mut self) -> &mut Generation {
        self.generations.last_mut().expect("there is always one")
    }

    /// Ends what is to end, begins the next one, and settles those that were left by all.
    fn turn_generations(&mut self, now: Instant) {
        if self.close.is_some_and(|close| close <= now) {
            self.close = None;
            self.current().close();
            self.tally.closes += 1;
        }
        if self.unlink <= now || self.current().is_used_up() {
            self.current().unlink();
            self.begin_generation();
        }
        self.settle();
    }

    fn settle(&mut self) {
        let (board, crew) = (&self.board, &self.crew);
        let is_dying = |place: usize| crew[place].dying.is_some();
        for generation in self.generations.extract_if(.., |generation| generation.is_left(board, is_dying)) {
            let closed = generation.settle();
            let tally = &mut self.tally;
            tally.sent += closed.totals.returned;
            tally.received += closed.totals.received;
            tally.missing += closed.totals.missing;
            tally.uncertain += closed.totals.uncertain;
            tally.may_miss += closed.may_miss;
            tally.vanished += closed.vanished;
            tally.children_killed += closed.children;
            tally.left += closed.left;
            tally.recovered += closed.counters.recovered;
            tally.redelivered += closed.counters.redelivered;
        }
    }

    /// Fails if somebody ended by itself, or does not come on.
    fn watch(&mut self) {
        let now = Instant::now();
        for (place, post) in self.crew.iter_mut().enumerate() {
            let Some(worker) = &mut post.worker else { continue };
            let ended = worker.try_ended();
            assert!(ended.is_none(), "place {place} ended by itself: {ended:?}");
            if post.resume.is_some() {
                continue;
            }
            for (lane, seen) in post.seen.iter_mut().enumerate() {
                let steps = self.board.steps(place, lane);
                let since = seen.filter(|(before, _)| Some(*before) == steps).map_or(now, |(_, since)| since);
                *seen = steps.map(|steps| (steps, since));
                let stall = now - since;
                assert!(stall < NET, "place {place}, line {lane} has not come on for {stall:?}");
                if stall > self.tally.stall.0 {
                    self.tally.stall = (stall, format!("place {place}, line {lane}"));
                }
            }
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Messages received so far.
    pub fn received(&self) -> u64 {
        self.tally.received + self.generations.iter().map(Generation::receipts).sum::<u64>()
    }

    pub fn board(&self) -> &Board {
        &self.board
    }

    fn sample(&mut self) {
        let (at, dir) = (self.begun.elapsed(), self.dir.path());
        let shared = [dir, self.records.path()];
        let measures = &mut self.measures;
        // It has two pipes to each worker, and some of these are missing.
        measures.add_process(at, "supervisor", std::process::id(), &shared, 8);
        for place in VETERANS {
            let pid = self.crew[place].worker.as_ref().expect("it is never killed").pid();
            measures.add_process(at, &format!("place {place}"), pid, &shared, 4);
        }
        let files = std::fs::read_dir(dir).unwrap().flatten().collect::<Vec<_>>();
        measures.add(at, "files beside the queue", "", 2, files.len() as u64);
        let all = files.iter().filter_map(|file| taken(&file.path())).sum();
        // How full the queue happens to be is in it, and what slots keep of earlier messages: of a queue alone it could show nothing that the
        // length of its file does not forbid. What it shows is what else is left behind.
        measures.add(
            at,
            "memory of all these files",
            "KiB",
            u64::from(CAPACITY) * LONGEST.next_multiple_of(4096) / 1024,
            all,
        );
        for (name, file) in [("queue", "chappe.mq.q"), ("semaphore", "chappe.sem.pool")] {
            // The queue may be between two generations for no time: this thread makes them.
            let value = word(&dir.join(file), 336).unwrap_or_else(|| panic!("{file} cannot be read"));
            measures.add(at, &format!("{name}: attach entries ever used"), "", 24, value);
        }
        let semaphore = dir.join("chappe.sem.pool");
        measures.add(at, "semaphore: memory", "KiB", 64, taken(&semaphore).unwrap_or(0));
        measures.add(at, "semaphore: records ever used", "", 64, word(&semaphore, 324).unwrap());
    }

    /// Everybody ends in good order; then everything is as it was.
    pub fn finish(&mut self) {
        self.hogs.clear();
        for place in 0..PLACES {
            if self.crew[place].resume.is_some() {
                self.resume(place);
            }
        }
        self.board.stop();
        self.current().unlink();
        let start = Instant::now();
        for (place, post) in self.crew.iter_mut().enumerate() {
            let Some(worker) = &mut post.worker else { continue };
            while worker.try_ended().is_none() {
                assert!(start.elapsed() < NET, "place {place} does not end");
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(worker.ended().success(), "place {place} failed");
        }
        self.crew.iter_mut().for_each(|post| post.worker = None);
        while self.crew.iter().any(|post| post.dying.is_some()) {
            (0..PLACES).for_each(|place| self.bury(place));
            std::thread::sleep(Duration::from_millis(1));
        }
        self.settle();
        assert!(self.generations.is_empty(), "everybody has ended, but somebody is in the queue");
        self.check_the_semaphore();
        Semaphore::options().dir(self.dir.path()).unlink(POOL).unwrap();
        let left = std::fs::read_dir(self.dir.path()).unwrap().flatten().map(|file| file.file_name());
        // A doorbell whose maker was killed before it had its name stays, and nobody looks for it (`docs/recovery.md`).
        let (bells, others): (Vec<_>, Vec<_>) =
            left.partition(|name| name.to_str().is_some_and(|name| name.starts_with("chappe.bell.")));
        assert!(others.is_empty(), "left behind: {others:?}");
        assert!(bells.len() <= 2, "more than deaths can explain: {bells:?}");
    }

    fn check_the_semaphore(&self) {
        let stat = patiently(|| self.pool.stat());
        assert_eq!((stat.permits, stat.available, stat.held), (PERMITS, PERMITS as i64, 0), "{stat:#?}");
        assert!(stat.holders.is_empty() && stat.waiters.is_empty(), "{stat:#?}");
        assert_eq!(stat.participants.len(), 1, "the dead are still listed: {stat:#?}");
        drop(self.pool.acquire_many_timeout(PERMITS, NET).expect("all permits"));
    }

    /// What there is to know when it went wrong.
    pub fn describe(&self) -> String {
        let queues = self.generations.iter().map(|generation| format!("{:#?}", generation.queue.stat()));
        let queues = queues.collect::<Vec<_>>().join("\n");
        format!("{}\n{queues}\n{:#?}", self.board.describe(), self.pool.stat())
    }

    pub fn permits_back(&self) -> u64 {
        patiently(|| self.pool.stat()).recovered_permits
    }

    pub fn acquisitions(&self) -> u64 {
        self.board.acquisitions.load(Ordering::SeqCst)
    }
}

/// Where in the kernel the threads of a process are, as far as that is told.
fn where_it_stands(pid: u32) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let places = tasks.map(|task| std::fs::read_to_string(task.path().join("wchan")).unwrap_or_default());
    places.collect::<Vec<_>>().join(" ")
}

/// Whether somebody is left of a group whose leader is reaped: its children, which are ours now, and are reaped here.
fn has_members(group: u32) -> bool {
    loop {
        // SAFETY: no status is asked for; whoever is in the group is a child of ours, or will be in a moment.
        match unsafe { libc::waitpid(-(group as i32), std::ptr::null_mut(), libc::WNOHANG) } {
            0 => return true,
            reaped if reaped > 0 => {}
            _ => return false,
        }
    }
}
