//! Where wild words go, and what they are: the areas of a file, by `docs/format.md`, and a word that is wild, or plausible, since it is
//! made of what is there.

use crate::input::{Input, Rng};
use crate::stage::Stage;

/// Words of one kind: every `stride` bytes from `start` to `end` one of `width` bytes.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    pub start: u64,
    pub end: u64,
    pub stride: u64,
    pub width: usize,
}

impl Area {
    pub const fn new(start: u64, end: u64, stride: u64, width: usize) -> Area {
        Area { start, end, stride, width }
    }

    /// One word.
    pub const fn one(start: u64, width: usize) -> Area {
        Area::new(start, start + width as u64, width as u64, width)
    }

    fn place(&self, number: u64) -> u64 {
        self.start + number % (self.end - self.start).div_ceil(self.stride) * self.stride
    }
}

/// The lock word of every object.
pub const LOCK: u64 = 512;

/// Whether a word there would touch the lock.
fn touches_lock(place: u64, width: usize) -> bool {
    place < LOCK + 4 && place + width as u64 > LOCK
}

/// Writes one word as the input says. The lock is written by [`forge_lock`] only.
pub fn patch(stage: &Stage, areas: &[Area], input: &mut Input) {
    let area = areas[input.below(areas.len())];
    let place = area.place(u64::from(input.half()));
    let kind = input.byte();
    let here = stage.read(place, area.width);
    let value = match kind % 10 {
        0 | 1 => input.word(),
        2 => ENDS[input.below(ENDS.len())],
        3 => here ^ 1 << (input.byte() % 64),
        4 => here.wrapping_add(input.byte() as i8 as u64),
        5 => stage.read(area.place(u64::from(input.half())), area.width),
        6 => u64::from(input.byte()),
        7 => u64::from(input.half()),
        8 => slot_word(here, input.half(), u64::from(input.half())),
        _ => u64::from(input.byte()) << 40 | u64::from(input.byte()) << 32 | u64::from(input.byte()),
    };
    if !touches_lock(place, area.width) {
        stage.write(place, area.width, value);
    }
}

const ENDS: [u64; 10] =
    [0, u64::MAX, 1, 1 << 31, 1 << 63, 0x7fff_ffff, 0xffff_fffe, 1 << 49, (1 << 56) - 1, (1 << 49) - 1];

/// A word with another state and owner (of a slot), and a ticket near this one; or another state of a record.
fn slot_word(here: u64, choice: u16, near: u64) -> u64 {
    let (state, owner) = (u64::from(choice & 7), u64::from(choice >> 3 & 7));
    if choice & 0x8000 != 0 {
        return u64::from(choice & 15) << 60 | near & 7;
    }
    state << 61 | owner << 49 | here.wrapping_add(near % 1030).wrapping_sub(515) & ((1 << 49) - 1)
}

/// As [`patch`], of random numbers: for the thread that writes while operations run.
pub fn strike(stage: &Stage, areas: &[Area], rng: &mut Rng) {
    let bytes: [u8; 16] = std::array::from_fn(|_| rng.bits() as u8);
    patch(stage, areas, &mut Input::new(&bytes));
}

/// Writes a lock word, and returns it. Who holds the lock is its low 12 bits - 1; `living` says how many participants live, which have
/// the first indices. One that lives is never robbed, so calls wait for it as long as they may (half a second): it is named only where
/// `may_name_living`.
pub fn forge_lock(stage: &Stage, drawn: u32, living: u32, may_name_living: bool) -> u32 {
    let holder = drawn & 0xfff;
    let dodge = (1..=living).contains(&holder) && !may_name_living;
    let word = if dodge { drawn + living } else { drawn };
    stage.write(LOCK, 4, u64::from(word));
    word
}

/// Frees the lock if it is still as it was forged, whoever may sleep on it.
pub fn unforge_lock(stage: &Stage, forged: u32) {
    if stage.read(LOCK, 4) as u32 & 0xfff == forged & 0xfff {
        stage.write(LOCK, 4, 0);
    }
}
