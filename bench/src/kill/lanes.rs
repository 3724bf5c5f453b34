//! Many deaths, several at a time: each lane is a process, which takes the next piece of work that nobody has taken. Most of the time is spent
//! waiting for survivors that hang.

use super::account::{Damage, Sum};
use super::case::CASES;
use super::maker::Contestant;
use super::scene::{self, Play};
use super::step;
use crate::measure::{Result, child};
use crate::rivals::shim::Shim;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};

/// How much there is to do.
pub struct Amount {
    /// At every how-manyth instruction to kill; or how many of each operation's.
    pub every: Option<usize>,
    pub points: usize,
    pub lanes: usize,
}

impl Amount {
    /// In how many pieces the instructions of one operation are dealt out. Each begins with a run without a death.
    fn pieces(&self) -> usize {
        if self.every.is_some() { 8 } else { 2 }
    }
}

/// What became of a contestant in a case.
pub type Cell = Result<Sum, String>;

/// What a lane tells, in a line.
#[derive(Serialize, Deserialize)]
struct Line {
    contestant: usize,
    case: usize,
    told: Told,
}

#[derive(Serialize, Deserialize)]
enum Told {
    Instructions(usize),
    Killed { k: usize, damage: Damage },
    Failed(String),
}

/// The rows are the contestants', the columns the cases'.
pub fn run(contestants: &[Contestant], amount: &Amount, cpus: [usize; 2]) -> Result<Vec<Vec<Cell>>> {
    let mut work = Vec::new();
    for piece in 0..amount.pieces() {
        for case in 0..CASES.len() {
            work.extend((0..contestants.len()).map(|contestant| [contestant as u8, case as u8, piece as u8]));
        }
    }
    let (todo, mut deal) = std::io::pipe()?;
    let (heard, tell) = std::io::pipe()?;
    let lanes: Vec<i32> = (0..amount.lanes)
        .map(|lane| {
            step::fork(|| {
                run_lane(lane, contestants, amount, cpus, &todo, &tell).inspect_err(|e| eprintln!("lane: {e}")).is_ok()
            })
        })
        .collect();
    drop(tell);
    // More than a pipe holds would wait here until the lanes have begun; they need nothing else of this process.
    deal.write_all(&work.concat())?;
    deal.write_all(&vec![u8::MAX; 3 * amount.lanes])?;
    let cells = collect(contestants, heard)?;
    for lane in lanes {
        if step::wait(lane) != 0 {
            return Err("a lane failed".into());
        }
    }
    Ok(cells)
}

fn collect(contestants: &[Contestant], heard: PipeReader) -> Result<Vec<Vec<Cell>>> {
    let empty = |contestant: &Contestant| match &contestant.built {
        Ok(_) => vec![Ok(Sum::default()); CASES.len()],
        Err(reason) => vec![Err(reason.clone()); CASES.len()],
    };
    let mut cells: Vec<Vec<Cell>> = contestants.iter().map(empty).collect();
    for line in BufReader::new(heard).lines() {
        let line: Line = serde_json::from_str(&line?)?;
        let cell = &mut cells[line.contestant][line.case];
        let Ok(sum) = cell else { continue };
        match line.told {
            Told::Instructions(count) => sum.instructions = sum.instructions.max(count),
            Told::Killed { k, damage } => sum.add(k, &damage),
            Told::Failed(reason) => *cell = Err(reason),
        }
    }
    Ok(cells)
}

fn run_lane(
    lane: usize,
    contestants: &[Contestant],
    amount: &Amount,
    cpus: [usize; 2],
    mut todo: &PipeReader,
    mut tell: &PipeWriter,
) -> Result<()> {
    // On one CPU nobody spins, for nobody else could run meanwhile; and stepping is faster.
    child::pin(cpus[lane % 2])?;
    let load = |contestant: &Contestant| contestant.built.as_ref().ok().map(super::maker::Built::load).transpose();
    let shims = contestants.iter().map(load).collect::<Result<Vec<Option<Shim>>>>()?;
    loop {
        let mut next = [0; 3];
        todo.read_exact(&mut next)?;
        let [contestant, case, piece] = next.map(usize::from);
        if contestant >= shims.len() {
            return Ok(());
        }
        let Some(shim) = &shims[contestant] else { continue };
        // Short enough that the pipe keeps each line in one piece.
        let mut say = |told| {
            let line = serde_json::to_string(&Line { contestant, case, told })? + "\n";
            Ok::<(), crate::measure::Error>(tell.write_all(line.as_bytes())?)
        };
        let play = Play { shim, name: scene::name(lane), case: &CASES[case] };
        if let Err(reason) = run_piece(&play, piece, amount, &mut |told| say(told)) {
            say(Told::Failed(format!("{}: {reason}", CASES[case].title())))?;
        }
        play.clear();
    }
}

fn run_piece(play: &Play<'_>, piece: usize, amount: &Amount, say: &mut dyn FnMut(Told) -> Result<()>) -> Result<()> {
    let path = play.measure()?;
    say(Told::Instructions(path.len()))?;
    let every = amount.every.unwrap_or(path.len() / amount.points.max(1)).max(1);
    // Always the end, too: then the call has returned. Neighbours go to both kinds of survivor.
    let points = (0..path.len()).step_by(every).chain([path.len()]);
    for k in points.enumerate().filter(|(index, _)| index % amount.pieces() == piece).map(|(_, k)| k) {
        let damage = play.kill(&path, k)?;
        say(Told::Killed { k, damage })?;
    }
    Ok(())
}
