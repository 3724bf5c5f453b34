//! The account of scene 2: what was sent against what the consumers, dead and alive, have. It is exact: every message is
//! written down once, or is, whole, in the hand of a consumer that was killed before it could write it down.

use super::block::{Block, Cutter, RECORD, read_record};
use super::{hand, worker};
use crate::exit::Failure;
use std::path::Path;

/// What became of the messages.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Sent, by all producers.
    pub sent: u64,
    /// Bytes of the file in them.
    pub bytes: u64,
    /// Written down by a consumer, equal to what was sent.
    pub written_down: u64,
    /// Found in the hand of a killed consumer and nowhere else, equal to what was sent.
    pub in_dead_hands: u64,
    /// Received more than once.
    pub doubled: u64,
    /// Received, but not as any producer sent it.
    pub damaged: u64,
    /// Not found anywhere.
    pub lost: u64,
}

impl Account {
    /// Whether everything is as it must be.
    pub fn balances(&self) -> bool {
        self.sent == self.written_down + self.in_dead_hands && (self.doubled, self.damaged, self.lost) == (0, 0, 0)
    }
}

/// What was sent and has not been seen yet, for each producer by sequence number.
struct Ledger {
    lines: Vec<Vec<Line>>,
}

struct Line {
    block: Block,
    seen: bool,
}

impl Ledger {
    /// Cuts the file again, as the producers did.
    fn new(file: &[u8], seed: u64, sent: &[usize]) -> Ledger {
        let producers = sent.len() as u32;
        let cut = |(producer, sent): (u32, &usize)| {
            let blocks = Cutter::new(file, producer, producers, seed).take(*sent);
            blocks.map(|(block, _)| Line { block, seen: false }).collect()
        };
        Ledger { lines: (0..).zip(sent).map(cut).collect() }
    }

    /// The line of a block, if that is exactly what was sent.
    fn line(&mut self, block: Block) -> Option<&mut Line> {
        let line = self.lines.get_mut(block.producer as usize)?.get_mut(usize::try_from(block.sequence).ok()?)?;
        (line.block == block).then_some(line)
    }

    fn all(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().flatten()
    }
}

/// Makes the account. `sent` has the count of each producer; consumers are numbered from 0.
pub fn settle(
    dir: &Path,
    file: &[u8],
    seed: u64,
    sent: &[usize],
    consumers: u32,
    killed: &[u32],
) -> Result<Account, Failure> {
    let mut ledger = Ledger::new(file, seed, sent);
    let mut account = Account::default();
    for consumer in 0..consumers {
        for record in read_log(dir, consumer)?.chunks(RECORD) {
            account.enter(&mut ledger, read_record(record));
        }
    }
    for consumer in killed {
        account.look_into(&mut ledger, &hand::of_dead(dir, *consumer));
    }
    account.sent = ledger.all().count() as u64;
    account.bytes = ledger.all().map(|line| u64::from(line.block.length)).sum();
    account.lost = ledger.all().filter(|line| !line.seen).count() as u64;
    Ok(account)
}

/// A consumer killed before it made its log has none.
fn read_log(dir: &Path, consumer: u32) -> Result<Vec<u8>, Failure> {
    match std::fs::read(worker::log(dir, consumer)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::system("read a log", &error)),
        other => Ok(other.unwrap_or_default()),
    }
}

impl Account {
    fn enter(&mut self, ledger: &mut Ledger, record: Option<Block>) {
        match record.and_then(|block| ledger.line(block)) {
            None => self.damaged += 1,
            Some(line) if line.seen => self.doubled += 1,
            Some(line) => {
                line.seen = true;
                self.written_down += 1;
            }
        }
    }

    /// A hand may also hold what its consumer did write down, or what went back into the queue and was received by another
    /// (whole, or torn by the kill): then it tells nothing.
    fn look_into(&mut self, ledger: &mut Ledger, hand: &[u8]) {
        if let Some(line) = Block::read(hand).and_then(|block| ledger.line(block))
            && !line.seen
        {
            line.seen = true;
            self.in_dead_hands += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::block::record;

    const SEED: u64 = 7;

    /// Two consumers, the second killed, and what they have; one producer that sent five blocks.
    fn account(logs: [&[usize]; 2], dead_hand: Option<usize>) -> Account {
        let dir = tempfile::tempdir().expect("a directory");
        let file = vec![3; 100_000];
        let messages: Vec<Vec<u8>> =
            Cutter::new(&file, 0, 1, SEED).take(6).map(|(block, piece)| block.message(piece)).collect();
        for (consumer, log) in (0..).zip(logs) {
            let log: Vec<u8> = log.iter().flat_map(|at| record(&messages[*at])).collect();
            std::fs::write(worker::log(dir.path(), consumer), log).expect("a log");
        }
        if let Some(at) = dead_hand {
            std::fs::write(dir.path().join("hand.1"), &messages[at]).expect("a hand");
        }
        settle(dir.path(), &file, SEED, &[5], 2, &[1]).expect("an account")
    }

    #[test]
    fn an_honest_run_balances() {
        assert!(account([&[0, 2, 4], &[1, 3]], None).balances());
        let with_hand = account([&[0, 2, 4], &[1]], Some(3));
        assert!(with_hand.balances());
        assert_eq!((with_hand.written_down, with_hand.in_dead_hands), (4, 1));
        assert!(account([&[0, 2, 4, 3], &[1]], Some(3)).balances(), "went back and was received by another");
    }

    #[test]
    fn what_must_not_happen_is_found() {
        assert_eq!(account([&[0, 2], &[1, 3]], None).lost, 1);
        assert_eq!(account([&[0, 2, 4], &[1, 3, 2]], None).doubled, 1);
        assert_eq!(account([&[0, 2, 4], &[1, 3, 5]], None).damaged, 1, "a block that nobody sent");
        assert!(!account([&[0, 2, 4], &[1]], Some(1)).balances());
    }
}
