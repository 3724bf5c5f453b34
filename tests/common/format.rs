//! An object's file, word by word, against the invariants of `docs/format.md`; written from that page, and from no code. What it may find
//! wrong is a fault only if nobody is acting on the object meanwhile, so it looks again, for a while, before it says so.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

type Check = Result<(), String>;

/// How long others may be at work (a sleeper that wakes up, an attendant) before what is wrong is wrong.
const SETTLING: Duration = Duration::from_secs(3);

const ATTACH: u64 = 4096;
const FREE: u64 = 0;
const ARMED: u64 = 1;
pub const CLAIMED: u64 = 2;
const READY: u64 = 3;
pub const TAKEN: u64 = 4;

/// An object's file, opened for reading. It stays readable when its name is gone.
pub struct Image {
    file: File,
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(what()) }
}

impl Image {
    pub fn open(path: &Path) -> Option<Image> {
        File::open(path).ok().map(|file| Image { file })
    }

    /// Whether all is as the page says, once those who are at work have done it.
    pub fn check(&self) -> Check {
        let start = Instant::now();
        loop {
            let once = self.check_now();
            if once.is_ok() || start.elapsed() > SETTLING {
                return once.map_err(|what| format!("docs/format.md: {what}"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn check_now(&self) -> Check {
        let magic = u64::from_le_bytes(*b"chappe\r\n");
        ensure(self.u64(0) == magic && self.u32(8) == 1, || "no object of version 1".to_owned())?;
        ensure(self.u32(320) <= 2, || format!("life {}", self.u32(320)))?;
        ensure(self.u32(512) == 0, || format!("the lock is held: {:#x}", self.u32(512)))?;
        for index in 0..self.u32(336) {
            ensure(self.entry(index) & 3 != 3, || format!("attach entry {index} is {:#x}", self.entry(index)))?;
        }
        if self.u32(12) == 1 { self.check_queue() } else { self.check_semaphore() }
    }

    fn bytes<const LENGTH: usize>(&self, place: u64) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        self.file.read_exact_at(&mut bytes, place).expect("the file is as long as it says");
        bytes
    }

    pub fn u32(&self, place: u64) -> u32 {
        u32::from_ne_bytes(self.bytes(place))
    }

    pub fn u64(&self, place: u64) -> u64 {
        u64::from_ne_bytes(self.bytes(place))
    }

    fn entry(&self, index: u32) -> u32 {
        self.u32(ATTACH * if self.u32(12) == 1 { 3 } else { 1 } + 64 * u64::from(index))
    }

    fn in_use(&self, owner: u64) -> bool {
        owner > 0 && owner <= u64::from(self.u32(336)) && self.entry(owner as u32 - 1) & 3 == 1
    }

    /// How many participants' entries say that they poll the doorbell.
    pub fn polling(&self) -> usize {
        let polls =
            |index: u32| self.entry(index) & 3 == 1 && self.u32(ATTACH * 3 + 64 * u64::from(index) + 52) >> 31 == 1;
        (0..self.u32(336)).filter(|index| polls(*index)).count()
    }

    /// Of these places of a sound file, those whose number may be one more without a complaint of the checker's.
    pub fn blind_spots(&self, path: &Path, places: &[u64]) -> Vec<u64> {
        let file = File::options().write(true).open(path).expect("the file may be written");
        let write = |place: u64, value: u32| file.write_all_at(&value.to_ne_bytes(), place).expect("a word is written");
        let blind = |place: &u64| {
            let value = self.u32(*place);
            write(*place, value.wrapping_add(1));
            let seen = self.check_now().is_err();
            write(*place, value);
            !seen
        };
        places.iter().copied().filter(blind).collect()
    }

    // ---- a queue ----

    pub fn slots(&self) -> u64 {
        (536_576 + 8 * u64::from(self.u32(16))).next_multiple_of(4096)
    }

    /// State, owner and ticket of a slot.
    pub fn slot(&self, slot: u32) -> (u64, u64, u64) {
        let word = self.u64(self.slots() + 64 * u64::from(slot));
        (word >> 61, word >> 49 & 0xfff, word & ((1 << 49) - 1))
    }

    /// Whether some slot is in this state.
    pub fn some_slot_is(&self, state: u64) -> bool {
        (0..self.u32(324)).any(|slot| self.slot(slot).0 == state)
    }

    /// The slots of a list that begins with `first`, and whether each one's link back is right.
    fn list(&self, first: u32) -> Result<(Vec<u32>, bool), String> {
        let (mut slots, mut next, mut back) = (Vec::new(), first, true);
        while next != 0 {
            let link = 536_576 + 8 * u64::from(next - 1);
            ensure(next <= self.u32(324) && slots.len() < self.u32(324) as usize, || {
                format!("a list leads to {next}")
            })?;
            back &= self.u32(link + 4) == slots.last().map_or(0, |last| last + 1);
            slots.push(next - 1);
            next = self.u32(link);
        }
        Ok((slots, back))
    }

    fn check_queue(&self) -> Check {
        let (capacity, fresh) = (self.u32(16), self.u32(324));
        let [tail, head, arm] = [384, 520, 528].map(|place| self.u64(place));
        ensure(fresh <= capacity, || format!("{fresh} slots of {capacity} are reserved"))?;
        ensure(head <= arm && arm - head <= 512.min(u64::from(capacity)), || format!("head {head}, arm {arm}"))?;
        ensure(tail <= arm, || format!("tail {tail}, arm {arm}"))?;
        let mut places = vec![0; fresh as usize];
        self.check_free_and_slow(head, &mut places)?;
        self.check_index(head, &mut places)?;
        let (mut taken, mut armed, mut sent) = (0, Vec::new(), Vec::new());
        for slot in 0..capacity {
            let (state, owner, ticket) = self.slot(slot);
            let here = || {
                format!(
                    "slot {slot}: state {state}, owner {owner}, ticket {ticket}; head {head}, arm {arm}, tail {tail}"
                )
            };
            if slot >= fresh {
                ensure((state, owner, ticket) == (0, 0, 0), here)?;
                continue;
            }
            ensure(state <= TAKEN && ticket < arm, here)?;
            ensure(if [CLAIMED, TAKEN].contains(&state) { self.in_use(owner) } else { owner == 0 }, here)?;
            ensure(![READY, TAKEN].contains(&state) || ticket < tail, || format!("sent, not below tail: {}", here()))?;
            let in_ring = places[slot as usize] == 0 && state != TAKEN;
            match state {
                _ if !in_ring && state != TAKEN => {}
                ARMED => armed.push(ticket),
                CLAIMED | READY => sent.push(ticket),
                TAKEN => taken += 1,
                _ => return Err(format!("in no list: {}", here())),
            }
            if in_ring {
                ensure(ticket >= head, || format!("in no list: {}", here()))?;
                let cell = self.u64(4096 + 8 * (ticket % 512));
                let right = u64::from(slot) << 40 | ticket & ((1 << 40) - 1);
                ensure(cell == right, || format!("cell {cell:#x} of {}", here()))?;
            } else {
                ensure(state != TAKEN || places[slot as usize] == 0, || format!("taken, and in a list: {}", here()))?;
            }
        }
        ensure(taken == self.u32(556), || format!("{taken} are taken, not {}", self.u32(556)))?;
        let lowest = armed.iter().copied().min().unwrap_or(arm);
        ensure(tail <= lowest, || format!("tail {tail} is above the armed ticket {lowest}"))?;
        ensure(sent.iter().all(|ticket| *ticket < lowest), || format!("{sent:?} behind the armed ticket {lowest}"))?;
        ensure(armed.len() <= 256, || format!("{} are armed", armed.len()))?;
        let highest = (0..fresh).map(|slot| self.slot(slot).2).max().unwrap_or(0);
        ensure(arm == highest + 1 || (highest == 0 && arm == 512), || format!("arm {arm}, highest ticket {highest}"))?;
        let mut tickets: Vec<u64> =
            (0..fresh).map(|slot| self.slot(slot)).filter(|slot| slot.0 != FREE).map(|slot| slot.2).collect();
        tickets.sort_unstable();
        ensure(tickets.windows(2).all(|pair| pair[0] < pair[1]), || format!("a ticket twice: {tickets:?}"))
    }

    fn check_free_and_slow(&self, head: u64, places: &mut [u32]) -> Check {
        for slot in self.list(self.u32(544))?.0 {
            places[slot as usize] += 1;
            ensure(self.slot(slot).0 == FREE, || format!("slot {slot} is {:?} and in the free list", self.slot(slot)))?;
        }
        let slow = self.list(self.u32(548))?.0;
        ensure(slow.len() == self.u32(552) as usize, || format!("slow list {slow:?}, count {}", self.u32(552)))?;
        for slot in slow {
            places[slot as usize] += 1;
            let (state, _, ticket) = self.slot(slot);
            let right = [CLAIMED, READY].contains(&state) && ticket < head;
            ensure(right, || format!("slot {slot} is {:?} and in the slow list", self.slot(slot)))?;
        }
        let twice = places.iter().position(|lists| *lists > 1);
        ensure(twice.is_none(), || format!("slot {twice:?} is in two lists"))
    }

    fn check_index(&self, head: u64, places: &mut [u32]) -> Check {
        let top = self.u64(536);
        let mut count = 0;
        let mid = |word: u64| self.u64(576 + 8 * word);
        ensure((0..64).all(|bit| (top >> bit & 1 == 1) == (bit < 8 && mid(bit) != 0)), || format!("top {top:#x}"))?;
        let leaves = self.bytes::<4096>(8192);
        let leaf = |word: usize| u64::from_ne_bytes(*leaves[8 * word..].first_chunk().expect("a whole word"));
        for word in 0..512 {
            let set = mid(word / 64) >> (word % 64) & 1 == 1;
            ensure(set == (leaf(word as usize) != 0), || format!("leaf word {word} is {:#x}", leaf(word as usize)))?;
        }
        let backed = self.u64(328);
        for page in (0..64).filter(|page| backed >> page & 1 == 1) {
            let levels = self.bytes::<4096>(274_432 + 4096 * page);
            for (number, level) in levels.chunks(8).enumerate() {
                let priority = 512 * page as usize + number;
                let set = leaf(priority / 64) >> (priority % 64) & 1 == 1;
                let [first, last] =
                    [0, 4].map(|at| u32::from_ne_bytes(*level[at..].first_chunk().expect("a whole word")));
                ensure(set == (first != 0), || format!("level {priority} begins with {first}"))?;
                count += if set { self.check_level(priority, (first, last), head, places)? } else { 0 };
            }
        }
        let all: u32 = (0..512).map(|word| leaf(word).count_ones()).sum();
        let there: u32 = (0..64)
            .filter(|page| backed >> page & 1 == 1)
            .flat_map(|page| 8 * page..8 * page + 8)
            .map(|word| leaf(word).count_ones())
            .sum();
        ensure(all == there, || format!("a level is set on a page that is not reserved: {backed:#x}"))?;
        ensure(count == self.u32(516), || format!("{count} are in the index, not {}", self.u32(516)))
    }

    /// How many messages the level has.
    fn check_level(&self, priority: usize, level: (u32, u32), head: u64, places: &mut [u32]) -> Result<u32, String> {
        let (slots, back) = self.list(level.0)?;
        ensure(back && slots.last().map(|last| last + 1) == Some(level.1), || format!("level {priority}: {slots:?}"))?;
        let mut before = 0;
        for slot in &slots {
            let ((state, _, ticket), meta) = (self.slot(*slot), self.u64(self.slots() + 64 * u64::from(*slot) + 8));
            let (length, of) = (meta & ((1 << 41) - 1), (meta >> 48) as usize & 0x7fff);
            let right = state == READY && ticket < head && ticket > before && of == priority && length <= self.u64(24);
            ensure(right, || format!("slot {slot} {:?}, meta {meta:#x}, in level {priority}", self.slot(*slot)))?;
            places[*slot as usize] += 1;
            ensure(places[*slot as usize] == 1, || format!("slot {slot} is in two lists"))?;
            before = ticket;
        }
        Ok(slots.len() as u32)
    }

    // ---- a semaphore ----

    /// State, k and owner of a record.
    pub fn record(&self, record: u32) -> (u64, u64, u32) {
        let place = 266_240 + 128 * u64::from(record);
        let state = self.u64(place);
        (state >> 60, state & ((1 << 56) - 1), self.u32(place + 8))
    }

    /// How many permits are free, by the count word.
    pub fn free_permits(&self) -> i64 {
        (self.u64(384) & ((1 << 50) - 1)) as i64 - (1 << 49)
    }

    fn records(&self, first: u32) -> Result<Vec<u32>, String> {
        let (mut records, mut next) = (Vec::new(), first);
        while next != 0 {
            ensure(next <= self.u32(324) && records.len() < self.u32(324) as usize, || {
                format!("a list leads to {next}")
            })?;
            records.push(next - 1);
            next = self.u32(266_240 + 128 * u64::from(next - 1) + 32);
        }
        Ok(records)
    }

    fn check_semaphore(&self) -> Check {
        let (word, permits) = (self.u64(384), self.u64(520));
        let all: Vec<(u64, u64, u32)> = (0..self.u32(324)).map(|record| self.record(record)).collect();
        let held: u64 = all.iter().filter(|record| record.0 == 1).map(|record| record.1).sum();
        let right = word >> 63 == 0 && self.free_permits() + held as i64 == permits as i64;
        ensure(right, || format!("count word {word:#x}: {} free, {held} held, of {permits}", self.free_permits()))?;
        let queue = self.records(self.u32(536))?;
        let tickets: Vec<u64> = queue.iter().map(|record| self.u64(266_240 + 128 * u64::from(*record) + 16)).collect();
        let rising =
            tickets.windows(2).all(|pair| pair[0] < pair[1]) && tickets.last().is_none_or(|last| *last < self.u64(528));
        let ends = queue.last().map_or(0, |last| last + 1) == self.u32(540) && queue.len() == self.u32(516) as usize;
        ensure(rising && ends, || format!("queue {queue:?}, tickets {tickets:?}, last {}", self.u32(540)))?;
        let idle = self.records(self.u32(548))?;
        let free = self.records(self.u32(544))?;
        for (number, record) in (0..).zip(&all) {
            let lists = [&queue, &idle, &free].map(|list| list.contains(&number));
            let due = [[2, 3, 7].contains(&record.0), record.0 == 5, record.2 == 0 && record.0 == 0];
            ensure(lists == due, || format!("record {number} {record:?} in (queue, idle, free) {lists:?}"))?;
            ensure(record.2 == 0 || self.in_use(record.2.into()), || format!("record {number} {record:?}: whose?"))?;
        }
        let waits = all.iter().any(|record| [2, 3, 5].contains(&record.0));
        ensure(word >> 62 & 1 == 1 || !(waits || self.u32(320) > 0), || format!("not SLOW: {word:#x}, waits: {waits}"))
    }
}
