//! In which order waiters are served that came one after the other.

use super::{Contestant, Context, Outcome, take_turns};
use crate::holder::{Holder, OnePermit};
use crate::measure::Result;
use crate::measure::child::{Child, join_all};
use crate::measure::process::until_asleep;
use crate::measure::shared::{Bell, Shared, Zeroed};
use crate::measure::stats::Spread;
use crate::our_permit::OurPermit;
use crate::report::{Goal, Metric, Row, Table, Unit};
use crate::rivals::c_library::{RobustMutex, SemT};
use crate::rivals::file_lock::{FcntlLock, Flock};
use crate::rivals::system_v::SystemV;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

const ABOUT: &str = "one permit is held while 8 processes come for it, each when the one before is seen asleep; then it is given back, and each\n\
    that has it notes its number and gives it back. Coming back: the first holder (0) asks again at once when it has given back,\n\
    while the others still wait: who serves in order serves it last";

const CONTENDERS: usize = 8;

/// How long a contender must have slept before the next one comes, in nanoseconds.
const SETTLED: u64 = 200_000;

pub fn measure(context: &Context<'_>) -> Outcome {
    let (once, again) = (table(context, false), table(context, true));
    let text = "8 contenders leave in the order that they came, percent of runs, at least 100";
    let goals = vec![
        Goal::at_least(text, 100.0, once.figure("chappe", 0)),
        Goal::at_least("the same with a holder that comes back, at least 100", 100.0, again.figure("chappe", 0)),
    ];
    Ok((ABOUT, vec![once, again], goals))
}

fn table(context: &Context<'_>, back: bool) -> Table {
    let runs = if context.quick { 10 } else { 50 };
    let contestants = vec![
        Contestant::new("chappe", || order::<OurPermit>(context, back)),
        Contestant::new("sem_t", || order::<SemT>(context, back)),
        Contestant::new("System V", || order::<SystemV>(context, back)),
        Contestant::new("robust mutex", || order::<RobustMutex>(context, back)),
        Contestant::new("flock", || order::<Flock>(context, back)),
        Contestant::new("fcntl lock", || order::<FcntlLock>(context, back)),
    ];
    let title = if back { "the first holder comes back" } else { "8 contenders" };
    let metrics = vec![Metric::new("in order", Unit::Percent), Metric::new("different orders", Unit::Count)];
    let mut table = Table { title: format!("{title}, {runs} runs"), metrics, rows: Vec::new(), notes: Vec::new() };
    for (who, found) in take_turns(runs, contestants) {
        match found {
            Ok(orders) => note(&mut table, who, &orders, back),
            Err(reason) => table.rows.push(Row { who, figures: Vec::new(), unavailable: Some(reason) }),
        }
    }
    table
}

/// A row, and the orders that were seen, the most frequent first.
fn note(table: &mut Table, who: String, orders: &[Vec<f64>], back: bool) {
    const SHOWN: usize = 4;
    let text = |order: &Vec<f64>| order.iter().map(|number| number.to_string()).collect::<String>();
    let in_order = if back { "123456780" } else { "12345678" };
    let mut counts = BTreeMap::<String, usize>::new();
    orders.iter().for_each(|order| *counts.entry(text(order)).or_default() += 1);
    let percent = 100.0 * counts.get(in_order).copied().unwrap_or(0) as f64 / orders.len().max(1) as f64;
    let figures = [percent, counts.len() as f64].iter().filter_map(|figure| Spread::of(&[*figure])).collect();
    let mut seen: Vec<_> = counts.into_iter().collect();
    seen.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = if seen.len() > SHOWN { format!(", and {} others", seen.len() - SHOWN) } else { String::new() };
    let seen: Vec<_> = seen.iter().take(SHOWN).map(|(order, count)| format!("{order} {count}×")).collect();
    table.notes.push(format!("{who}: {}{more}", seen.join(", ")));
    table.rows.push(Row { who, figures, unavailable: None });
}

#[derive(Default)]
struct Words {
    held: Bell,
    entered: Bell,
    go: Bell,
    noted: AtomicU32,
    order: [AtomicU32; CONTENDERS + 1],
}

// SAFETY: atomics, and types made of them.
unsafe impl Zeroed for Words {}

impl Words {
    /// Called by whoever holds the permit.
    fn note(&self, who: u32) {
        self.order[self.noted.fetch_add(1, SeqCst) as usize % self.order.len()].store(who, SeqCst);
    }
}

/// The numbers of those who had the permit, in their order.
fn order<T: OnePermit>(context: &Context<'_>, back: bool) -> Result<Vec<f64>> {
    let one = T::create(context.dir)?;
    let words = Shared::<Words>::new()?;
    let mut children = vec![Child::<()>::spawn(None, || hold(&one.attach()?, &words, back))?];
    words.held.wait_for(1)?;
    for number in 1..=CONTENDERS as u32 {
        let contender = Child::spawn(None, || contend(&one.attach()?, &words, number))?;
        if let Err(error) = words.entered.wait_for(number).and_then(|()| until_asleep(contender.pid(), SETTLED)) {
            return Err(contender.complaint(error));
        }
        children.push(contender);
    }
    words.go.ring(1);
    join_all(children)?;
    let noted = words.noted.load(SeqCst) as usize;
    Ok(words.order.iter().take(noted).map(|who| f64::from(who.load(SeqCst))).collect())
}

fn hold<E: Holder>(end: &E, words: &Words, back: bool) -> Result<()> {
    let permit = end.acquire()?;
    words.held.ring(1);
    words.go.wait_for(1)?;
    drop(permit);
    if back {
        let _again = end.acquire()?;
        words.note(0);
    }
    Ok(())
}

fn contend<E: Holder>(end: &E, words: &Words, number: u32) -> Result<()> {
    words.entered.ring(number);
    let _permit = end.acquire()?;
    words.note(number);
    std::thread::sleep(Duration::from_micros(100));
    Ok(())
}
