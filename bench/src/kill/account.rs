//! What a survivor found after a death, what of it is wrong, and the sum over many deaths.

use super::case::{BEFORE, Case, FILLER, SLEEPER, SURVIVOR, VICTIM, Verb};
use serde::{Deserialize, Serialize};

/// What one death did. How many messages; or whether.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Damage {
    /// A call that could have been served, or the sleeper, was not served in time.
    pub hung: bool,
    /// It did not even come back from its timed call.
    pub for_good: bool,
    /// A call was refused with an error.
    pub refused: bool,
    /// The survivor was ended by a signal.
    pub crashed: bool,
    pub lost: usize,
    /// Received twice, or again though it had been received before.
    pub doubled: usize,
    pub torn: usize,
    pub disordered: bool,
    /// The queue has room for fewer messages than before, or for more.
    pub capacity: bool,
    /// From the death until the survivor had sent and received, and the sleeper had what it waited for.
    pub took_nanoseconds: u64,
}

impl Damage {
    pub fn is_any(&self) -> bool {
        let counted = self.lost + self.doubled + self.torn > 0;
        counted || self.hung || self.refused || self.crashed || self.disordered || self.capacity
    }
}

/// What was received, in order; `None` for what is not a whole message.
#[derive(Default)]
pub struct Found {
    pub received: Vec<Option<u64>>,
    /// What a sleeping receiver got.
    pub woken: Option<Option<u64>>,
    /// Whether the survivor has sent its message.
    pub sent: bool,
}

impl Found {
    fn ids(&self) -> Vec<u64> {
        self.woken.iter().chain(&self.received).copied().flatten().collect()
    }

    /// Which messages must be there and are not. `finished`: the stepped call had returned before the death.
    pub fn missing(&self, case: &Case, finished: bool) -> Vec<u64> {
        let ids = self.ids();
        let mut due: Vec<u64> = (BEFORE..).take(case.before as usize).collect();
        // A receiver may have taken the first one with it.
        if case.verb == Verb::Receive && !due.is_empty() {
            due.remove(0);
        }
        if case.verb == Verb::Send && finished && !case.in_vain() {
            due.push(VICTIM);
        }
        if case.asleep == Some(Verb::Send) {
            due.push(SLEEPER);
        }
        if self.sent {
            due.push(SURVIVOR);
        }
        due.retain(|id| !ids.contains(id));
        due
    }

    /// The account: what is lost, doubled, torn, out of order.
    pub fn judge(&self, case: &Case, finished: bool, damage: &mut Damage) {
        let ids = self.ids();
        let taken = finished && case.verb == Verb::Receive && case.before > 0;
        let known = |id: u64| {
            id < u64::from(case.before)
                || (id == VICTIM && case.verb == Verb::Send && !case.in_vain())
                || (id == SLEEPER && case.asleep == Some(Verb::Send))
                || (id == SURVIVOR && self.sent)
        };
        // Whole, but of another time: it had been received before.
        let stale = ids.iter().filter(|id| !known(**id)).count();
        let twice = (1..ids.len()).filter(|index| ids[..*index].contains(&ids[*index])).count();
        let again = usize::from(taken && ids.contains(&BEFORE));
        damage.lost += self.missing(case, finished).len();
        damage.doubled += twice + again + stale;
        damage.torn += self.received.iter().chain(&self.woken).filter(|id| id.is_none()).count();
        damage.disordered |= !self.received.iter().flatten().is_sorted();
    }
}

/// What comes of filling the queue: the ids that were sent are received again, in order, and nothing else.
pub fn judge_filling(received: &[Option<u64>], sent: usize, damage: &mut Damage) {
    let ids: Vec<u64> = received.iter().copied().flatten().collect();
    let due = FILLER..FILLER + sent as u64;
    damage.torn += received.len() - ids.len();
    damage.doubled += ids.iter().filter(|id| !due.contains(id)).count();
    damage.lost += due.filter(|id| !ids.contains(id)).count();
    damage.doubled += (1..ids.len()).filter(|index| ids[..*index].contains(&ids[*index])).count();
    damage.disordered |= !ids.is_sorted();
}

/// The deaths of one contestant in one case.
#[derive(Clone, Default)]
pub struct Sum {
    pub instructions: usize,
    pub kills: usize,
    /// Deaths after which anything was wrong.
    pub faulty: usize,
    pub hung: usize,
    pub for_good: usize,
    pub refused: usize,
    pub crashed: usize,
    /// Deaths after which messages were lost; and so on.
    pub lost: usize,
    pub doubled: usize,
    pub torn: usize,
    pub disordered: usize,
    pub capacity: usize,
    pub took: Vec<u64>,
    /// The first and the last instruction after which a death was followed by anything wrong.
    pub between: Option<(usize, usize)>,
}

impl Sum {
    /// A death after `k` instructions.
    pub fn add(&mut self, k: usize, damage: &Damage) {
        self.kills += 1;
        if damage.is_any() {
            let (first, last) = self.between.unwrap_or((k, k));
            self.between = Some((first.min(k), last.max(k)));
        }
        self.faulty += usize::from(damage.is_any());
        self.hung += usize::from(damage.hung);
        self.for_good += usize::from(damage.for_good);
        self.refused += usize::from(damage.refused);
        self.crashed += usize::from(damage.crashed);
        self.lost += usize::from(damage.lost > 0);
        self.doubled += usize::from(damage.doubled > 0);
        self.torn += usize::from(damage.torn > 0);
        self.disordered += usize::from(damage.disordered);
        self.capacity += usize::from(damage.capacity);
        if damage.took_nanoseconds > 0 {
            self.took.push(damage.took_nanoseconds);
        }
    }

    /// Another case's deaths, too. Instructions of different operations have nothing in common.
    pub fn join(&mut self, other: &Sum) {
        self.instructions += other.instructions;
        self.kills += other.kills;
        self.faulty += other.faulty;
        self.hung += other.hung;
        self.for_good += other.for_good;
        self.refused += other.refused;
        self.crashed += other.crashed;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.torn += other.torn;
        self.disordered += other.disordered;
        self.capacity += other.capacity;
        self.took.extend(&other.took);
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::CASES;
    use super::*;

    fn judged(case: &Case, finished: bool, received: &[Option<u64>]) -> Damage {
        let mut damage = Damage::default();
        Found { received: received.to_vec(), woken: None, sent: true }.judge(case, finished, &mut damage);
        damage
    }

    #[test]
    fn a_sender_that_died_may_have_sent_or_not() {
        let send = &CASES[1];
        let without = [Some(BEFORE), Some(SURVIVOR)];
        let with = [Some(BEFORE), Some(VICTIM), Some(SURVIVOR)];
        assert_eq!(judged(send, false, &without), Damage::default());
        assert_eq!(judged(send, false, &with), Damage::default());
        assert_eq!(judged(send, true, &with), Damage::default());
        assert_eq!(judged(send, true, &without).lost, 1);
    }

    #[test]
    fn a_receiver_that_died_may_have_taken_the_first_one_only() {
        let receive = &CASES[7];
        let all = [0, 1, 2, SURVIVOR].map(Some);
        assert_eq!(judged(receive, false, &all), Damage::default());
        assert_eq!(judged(receive, false, &all[1..]), Damage::default());
        assert_eq!(judged(receive, true, &all[1..]), Damage::default());
        assert_eq!(judged(receive, true, &all).doubled, 1);
        assert_eq!(judged(receive, false, &all[2..]).lost, 1);
        assert_eq!(judged(receive, false, &all[..3]).lost, 1);
    }

    #[test]
    fn what_is_wrong_is_seen() {
        let send = &CASES[1];
        assert_eq!(judged(send, false, &[Some(BEFORE), None, Some(SURVIVOR)]).torn, 1);
        assert_eq!(judged(send, false, &[Some(BEFORE), Some(77), Some(SURVIVOR)]).doubled, 1);
        assert_eq!(judged(send, false, &[Some(BEFORE), Some(BEFORE), Some(SURVIVOR)]).doubled, 1);
        assert!(judged(send, false, &[Some(SURVIVOR), Some(BEFORE)]).disordered);
        let mut damage = Damage::default();
        judge_filling(&[Some(FILLER), Some(FILLER + 1)], 3, &mut damage);
        assert_eq!(damage.lost, 1);
        assert!(damage.is_any() && !Damage::default().is_any());
    }
}
