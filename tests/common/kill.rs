//! Deaths at the instructions of an operation, as rows of a table: which instructions, with which survivors, and what that showed. What
//! the operation is, and what a survivor must find, is each program's own; how a process is
//! stepped is `step.rs` beside it.
//!
//! - `CHAPPE_KILL_EVERY=1` kills at every instruction; without it, at about `CHAPPE_KILL_POINTS` of each operation.
//! - `CHAPPE_KILL_VISITS=8` is how many turns of a loop are killed in: later visits of the same instruction are left out. (A
//!   string instruction with a repeat prefix counts as such a loop: 4096 steps for a page that is cleared.)
//! - `CHAPPE_KILL_MOST=1500` is how many instructions a row has at most; where there are more, each n-th is killed at, and the row
//!   says `1/n`. Without it, there is no such bound.
//! - `CHAPPE_KILL_PATIENT=60` kills at so many instructions of a row in which somebody is left to wake up by himself; each costs half a
//!   second.
//! - `CHAPPE_KILL_MODES=4` lets each kind of survivor meet each kill; without it, the kinds take turns.
//! - `CHAPPE_KILL_LANES` rows are under way at once.
//!
//! What no row covers: the inside of a system call (the kernel does the whole call or nothing of it, and a kill strikes before or after),
//! other threads of the dying process (they run freely, and die with it), and what runs before `main` (victims are forked from
//! a process that is running).

use super::number;
use super::way::{Leaps, Place, Way, place_of};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

/// What a survivor's own calls may take. Who exceeds it three times out of three, at the same instruction, is a fault.
pub const BOUND: Duration = Duration::from_millis(500);

/// What the fault of a kill begins with whose survivor measured one call by itself, and found it over the bound.
pub const SLOW: &str = "slow: ";

/// How often a kill is tried whose survivor exceeded the bound.
const TRIES: usize = 3;

/// By then a sleeper has seen by itself what it was not told: half a second, and what the machine makes of it.
pub const PATIENCE: Duration = Duration::from_millis(900);

/// What kind of survivor there is.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// The victim is only stopped, and goes on when the survivor has done what it can.
    pub pause: bool,
    /// The survivor was attached before the death; else it comes afterwards.
    pub attached: bool,
    /// It looks, or waits, before it does anything: which of the two is each program's own.
    pub looks: bool,
}

impl Mode {
    pub const PAUSE: Mode = Mode { pause: true, attached: true, looks: false };

    /// The kinds that meet the kill with this number, which take turns: one, two or all four.
    fn of_turn(turn: usize, modes: usize) -> Vec<Mode> {
        let kind =
            |number: usize| Mode { pause: false, attached: number.is_multiple_of(2), looks: number / 2 % 2 == 1 };
        (0..modes.clamp(1, 4)).map(|step| kind(turn + step)).collect()
    }
}

/// What one kill showed.
pub struct Outcome {
    /// How long the survivor's own calls took.
    pub took: Duration,
    /// How long somebody slept on whom the dead one did not wake.
    pub slept: Option<Duration>,
    /// How much of the operation was done.
    pub progress: usize,
    /// Whether the victim stood where the same number of instructions had led before.
    pub same_path: bool,
}

/// One operation in one state.
pub trait Case {
    /// Whether the survivors are attached before the death: the kinds that there are.
    fn kinds(&self) -> &'static [bool];
    fn leaps(&self) -> Leaps;
    /// Whether a kill costs about a second, and so is dear.
    fn patient(&self) -> bool;
    /// How much is done when the operation is over; `None` if that, and the beginning, are not compared.
    fn whole(&self) -> Option<usize>;
    /// Whether nothing is done before it begins, and what is done only grows.
    fn grows(&self) -> bool;
    /// The way through the operation.
    fn measure(&self, mode: Mode) -> Result<Way, String>;
    /// Kills the victim of a fresh scene after `k` instructions and lets a survivor of this kind go on.
    fn kill(&self, way: &Way, k: usize, mode: Mode, leaps: Leaps) -> Result<Outcome, String>;
}

/// Which instructions are killed at.
#[derive(Clone, Copy)]
pub struct Plan {
    every: Option<usize>,
    visits: usize,
    most: usize,
    samples: usize,
    patient: usize,
    pub modes: usize,
}

impl Plan {
    /// What the environment says; without it, about so many instructions of each operation.
    pub fn new(samples: usize) -> Plan {
        let read = |variable: &str| number(variable).map(|number| number.max(1) as usize);
        Plan {
            every: read("CHAPPE_KILL_EVERY"),
            visits: read("CHAPPE_KILL_VISITS").unwrap_or(8),
            most: read("CHAPPE_KILL_MOST").unwrap_or(usize::MAX),
            samples: read("CHAPPE_KILL_POINTS").unwrap_or(samples),
            patient: read("CHAPPE_KILL_PATIENT").unwrap_or(7),
            modes: read("CHAPPE_KILL_MODES").unwrap_or(1),
        }
    }

    /// So many of each operation, whatever the environment says.
    pub fn sample(self, samples: usize) -> Plan {
        Plan { every: None, samples: samples.max(1), ..self }
    }

    /// The instructions to kill at, and which part that is of those outside long loops: each n-th. Always the first, and the end for
    /// both turns. Where kills are dear and those before the commit show nothing: few, from shortly before it on.
    fn points(&self, way: &Way, patient: bool) -> (Vec<usize>, usize) {
        let (count, from) = (way.len(), if patient { way.len() * 45 / 100 } else { 0 });
        let all: Vec<usize> = (from..count).filter(|step| way.visit(*step) <= self.visits).collect();
        let every = match self.every {
            _ if patient => all.len().div_ceil(self.patient),
            Some(every) => every.max(all.len().div_ceil(self.most)),
            None => all.len() / self.samples,
        };
        let mut points: Vec<usize> = all.into_iter().step_by(every.max(1)).collect();
        points.extend([count, count]);
        (points, every.max(1))
    }
}

/// What the kills of one case showed.
#[derive(Default)]
pub struct Row {
    pub instructions: usize,
    pub kills: usize,
    pub faults: Vec<String>,
    /// Kills of victims that had taken another way than the first run did: their progress is not compared.
    pub strayed: usize,
    /// The instructions after which progress was first seen to be 1, 2, ...
    pub commits: Vec<usize>,
    /// How long survivors' own calls took.
    pub took: Vec<Duration>,
    /// The instructions killed at, strayed ones left out; each n-th outside long loops.
    pub points: HashSet<usize>,
    pub every: usize,
    /// How long those slept whom nobody woke.
    pub slept: Vec<Duration>,
    /// Kills that were repeated, because the survivor took too long.
    pub repeated: usize,
}

impl Row {
    pub fn fault(&mut self, k: usize, counter: Option<u64>, mode: impl std::fmt::Debug, what: &str) {
        let place = counter.map_or_else(|| "the end".to_owned(), place_of);
        self.faults.push(format!("    k={k} at {place}, {mode:?}: {what}"));
    }

    /// Takes in another one, whose instructions are other ones, if `apart`.
    pub fn add(&mut self, other: Row, apart: bool) {
        let offset = if apart { self.instructions } else { 0 };
        self.instructions = if apart { offset + other.instructions } else { offset.max(other.instructions) };
        self.points.extend(other.points.iter().map(|k| k + offset));
        self.every = self.every.max(other.every);
        self.kills += other.kills;
        self.strayed += other.strayed;
        self.repeated += other.repeated;
        self.faults.extend(other.faults);
        self.took.extend(other.took);
        self.slept.extend(other.slept);
    }

    pub fn print(&mut self, title: &str) {
        self.took.sort_unstable();
        let slept =
            self.slept.iter().max().map_or_else(|| "-".to_owned(), |time| format!("{:.0}", milliseconds(*time)));
        let mut text = format!(
            "{title:<60} {:>6} {:>6} {:<5} {:>6} {:>6} {:>7} {:>4} {:>8.2} {:>8.2} {slept:>5}  {}\n",
            self.instructions,
            self.points.len(),
            if self.every > 1 { format!("1/{}", self.every) } else { String::new() },
            self.kills,
            self.faults.len(),
            self.strayed,
            self.repeated,
            milliseconds(share(&self.took, 50)),
            milliseconds(share(&self.took, 100)),
            self.commits.iter().map(usize::to_string).collect::<Vec<_>>().join(" "),
        );
        self.faults.iter().take(8).for_each(|fault| text += &format!("{fault}\n"));
        if self.faults.len() > 8 {
            _ = writeln!(text, "    and {} more", self.faults.len() - 8);
        }
        print!("{text}");
    }
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The time below which this share, in percent, of the sorted times is.
pub fn share(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied().unwrap_or_default()
}

// ---- one row ----

/// The most that was seen done so far, and by which kill.
#[derive(Clone, Copy)]
struct Done {
    progress: usize,
    k: usize,
    mode: Mode,
}

/// Kills at the plan's points, with each kind of survivor in rising order, and checks that what was done only grows.
pub fn run(case: &impl Case, plan: Plan) -> Row {
    let mut row = Row::default();
    for &attached in case.kinds() {
        let mode = Mode { pause: false, attached, looks: false };
        let way = match case.measure(mode) {
            Ok(way) => way,
            Err(error) => {
                row.fault(0, None, mode, &format!("without a kill: {error}"));
                continue;
            }
        };
        row.instructions = row.instructions.max(way.len());
        let mut done = Done { progress: 0, k: 0, mode };
        let of_this_kind = |number: usize| {
            // Where there is one kind only, it has all turns.
            let turn = if case.kinds().len() == 1 { 2 * number + usize::from(!attached) } else { number };
            Mode::of_turn(turn, plan.modes).into_iter().filter(|mode| mode.attached == attached)
        };
        let (points, every) = plan.points(&way, case.patient());
        row.every = row.every.max(every);
        for (number, k) in points.into_iter().enumerate() {
            of_this_kind(number).for_each(|mode| run_one(case, &mut row, &mut done, &way, k, mode));
        }
    }
    row
}

fn run_one(case: &impl Case, row: &mut Row, done: &mut Done, way: &Way, k: usize, mode: Mode) {
    let at = way.get(k).map(|place| place.counter);
    row.kills += 1;
    let mut outcome = case.kill(way, k, mode, case.leaps());
    for _ in 1..TRIES {
        let slow = match &outcome {
            Ok(outcome) => outcome.took > BOUND,
            Err(what) => what.starts_with(SLOW),
        };
        if slow {
            row.kills += 1;
            row.repeated += 1;
            outcome = case.kill(way, k, mode, case.leaps());
        }
    }
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(what) => return row.fault(k, at, mode, &what),
    };
    if outcome.took > BOUND {
        row.fault(k, at, mode, &format!("its own calls take {:?}, {TRIES} times out of {TRIES}", outcome.took));
    }
    row.took.push(outcome.took);
    row.slept.extend(outcome.slept);
    if outcome.same_path {
        row.points.insert(k);
        check_growth(case, row, done, way, Done { progress: outcome.progress, k, mode });
    } else {
        row.strayed += 1;
    }
}

/// Progress never falls with k; it begins with nothing and ends with the whole.
fn check_growth(case: &impl Case, row: &mut Row, done: &mut Done, way: &Way, now: Done) {
    let at = way.get(now.k).map(|place| place.counter);
    let mut fault = |what: String| row.fault(now.k, at, now.mode, &what);
    if now.progress < done.progress && case.grows() {
        match falls(case, way, *done, now) {
            Ok(true) => fault(format!("{} done, but {} were done after {}", now.progress, done.progress, done.k)),
            Ok(false) => *done = Done { progress: now.progress, ..*done },
            Err(what) => fault(what),
        }
    }
    if let Some(whole) = case.whole() {
        if now.k == 0 && now.progress != 0 && case.grows() {
            fault(format!("{} done before the first instruction", now.progress));
        }
        if at.is_none() && now.progress != whole {
            fault(format!("{} done at the end instead of {whole}", now.progress));
        }
    }
    if now.progress > done.progress {
        row.commits.push(now.k);
        *done = now;
    }
}

/// Whether less is done after more instructions also when both are counted one by one: a leap counts visits of a place, and a
/// way with one turn more or less misleads it.
fn falls(case: &impl Case, way: &Way, before: Done, now: Done) -> Result<bool, String> {
    let earlier = case.kill(way, before.k, before.mode, Leaps::None)?;
    let later = case.kill(way, now.k, now.mode, Leaps::None)?;
    Ok(earlier.same_path && later.same_path && later.progress < earlier.progress)
}

/// Pauses instead of deaths, as one row.
pub fn run_pauses(case: &impl Case, parts: usize, pause: impl Fn(&Way, usize) -> Result<Duration, String>) -> Row {
    let mut row = Row::default();
    let way = match case.measure(Mode::PAUSE) {
        Ok(way) => way,
        Err(error) => {
            row.fault(0, None, Mode::PAUSE, &format!("without a pause: {error}"));
            return row;
        }
    };
    row.instructions = way.len();
    let mut points: Vec<usize> = (0..=parts).map(|part| way.len() * part / parts).collect();
    points.dedup();
    for k in points {
        row.points.insert(k);
        row.kills += 1;
        match pause(&way, k) {
            // The lock of a living process is waited for as long as it takes: no bound is promised.
            Ok(_) => {}
            Err(what) => row.fault(k, way.get(k).map(|place| place.counter), Mode::PAUSE, &what),
        }
    }
    row
}

/// Those who died one after the other: the operation, the way through it, and how far each got.
pub type Deaths<F> = Vec<(F, Rc<Way>, usize)>;

/// Deaths of one who repairs what the deaths of others left, all in one row. `firsts` die one after the other, then the victim. What
/// `alone` makes is the case of one of them after others; what `last` makes, that of the victim after all of them.
///
/// The last but one dies at `deaths` instructions, evenly, and the victim at so many each time; and after that one of these deaths that
/// takes the longest repair, at all that the plan says. Those before them die where it makes the next one's way longest.
pub fn run_deaths<F: Clone, C: Case>(
    firsts: &[F],
    plan: Plan,
    deaths: usize,
    alone: impl Fn(&F, &Deaths<F>) -> C,
    last: impl Fn(&Deaths<F>) -> C,
) -> Row {
    let mut sum = Row::default();
    let (way, mut before) = match longest_way(firsts, deaths, alone) {
        Ok(found) => found,
        Err(error) => {
            sum.fault(0, None, Mode::PAUSE, &format!("the first operations without a kill: {error}"));
            return sum;
        }
    };
    let first = firsts.last().expect("somebody dies first");
    let mut dead = |k| {
        before.push((first.clone(), Rc::clone(&way), k));
        let case = last(&before);
        before.pop();
        case
    };
    let mut longest = (0, 0);
    for k in middles(&way, deaths) {
        let mut row = run(&dead(k), plan.sample(deaths));
        row.faults.iter_mut().for_each(|fault| *fault += &format!(" [first death at {k}]"));
        longest = longest.max((row.instructions, k));
        sum.add(row, true);
    }
    if plan.every.is_some() {
        let row = run(&dead(longest.1), plan);
        sum.every = row.every;
        sum.add(row, true);
    }
    sum
}

/// The way of the last of these, and those who died before it.
fn longest_way<F: Clone, C: Case>(
    firsts: &[F],
    deaths: usize,
    alone: impl Fn(&F, &Deaths<F>) -> C,
) -> Result<(Rc<Way>, Deaths<F>), String> {
    let mode = Mode { pause: false, attached: true, looks: false };
    let mut before = Deaths::new();
    let mut way = Rc::new(alone(&firsts[0], &before).measure(mode)?);
    for pair in firsts.windows(2) {
        let mut best = (Vec::new(), Rc::clone(&way));
        for k in middles(&way, deaths) {
            before.push((pair[0].clone(), Rc::clone(&way), k));
            let next = alone(&pair[1], &before).measure(mode)?;
            if best.0.is_empty() || best.1.len() < next.len() {
                best = (before.clone(), Rc::new(next));
            }
            before.pop();
        }
        (before, way) = best;
    }
    Ok((way, before))
}

/// In the middle of each of as many equal parts.
fn middles(way: &[Place], parts: usize) -> impl Iterator<Item = usize> {
    let count = way.len();
    (0..parts).map(move |part| count * (2 * part + 1) / (2 * parts))
}
