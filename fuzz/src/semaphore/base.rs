//! The valid segments that inputs begin with, made once through the public face, and where what lies in them: `docs/format.md`.

use super::reference::Reference;
use super::user::begin;
use crate::place::Area;
use crate::stage::Snapshot;
use chappe::{Permit, Semaphore, SemaphoreOptions};
use std::path::Path;

pub const RECORDS: u64 = 266_240;
pub const RECORD: u64 = 128;
/// The records, the first of them, and those that are reserved at once.
const ALL: u64 = 65_536;
const FIRST: u64 = 8;
const CHUNK: u64 = 32;

/// Where wild words go, those that decide most named on their own and as part of an area.
pub fn areas() -> Vec<Area> {
    let mut areas: Vec<Area> = [320, 324, 336, 516, 536, 540, 544, 548].map(|start| Area::one(start, 4)).to_vec();
    areas.extend([384, 384, 520, 528].map(|start| Area::one(start, 8)));
    let of_record = |offset, records, width| Area::new(RECORDS + offset, RECORDS + records * RECORD, RECORD, width);
    for records in [FIRST, CHUNK] {
        areas.extend([0, 0, 16, 24].map(|offset| of_record(offset, records, 8)));
        areas.extend([8, 12, 32, 36, 40].map(|offset| of_record(offset, records, 4)));
    }
    areas.extend([
        Area::new(RECORDS, RECORDS + FIRST * RECORD, 4, 4),
        of_record(0, ALL, 8),
        of_record(8, ALL, 4),
        Area::new(4096, 4096 + 16 * 64, 64, 4),
        Area::new(4096, 4096 + 16 * 64, 4, 4),
        Area::new(4096, 266_176, 64, 4),
        Area::new(576, 600, 8, 8),
        Area::new(320, 4096, 8, 8),
        Area::new(0, 320, 4, 4),
    ]);
    areas
}

/// What whoever takes the lock from a dead holder builds anew from the records and the number of permits.
pub fn caches() -> Vec<Area> {
    let mut areas: Vec<Area> = [516, 536, 540, 544, 548].map(|start| Area::one(start, 4)).to_vec();
    areas.push(Area::one(384, 8));
    areas.extend([32, 36].map(|offset| Area::new(RECORDS + offset, RECORDS + CHUNK * RECORD, RECORD, 4)));
    areas
}

/// A valid segment, and what is in it.
pub struct Base {
    pub snapshot: Snapshot,
    pub reference: Reference,
    /// There is something in it that is put in order by who looks after the dead.
    pub left_behind: bool,
}

pub fn options(dir: &Path) -> SemaphoreOptions {
    let mut options = Semaphore::options();
    options.dir(dir).keeper(false);
    options
}

pub fn all(dir: &Path) -> Vec<Base> {
    let fills: [Fill; 4] = [unused, used, left_behind, closed];
    fills.into_iter().flat_map(|fill| [0, 1, 3, 1000].map(|permits| one(dir, permits, fill))).collect()
}

/// What happens to a semaphore; `now` takes the snapshot before its end.
type Fill = fn(&Semaphore, &mut Reference, &mut dyn FnMut());

fn one(dir: &Path, permits: u64, fill: Fill) -> Base {
    let mut reference = Reference::new(permits);
    let mut options = options(dir);
    let semaphore = options.permits(permits).create_new("/s").expect("it can be made");
    let path = dir.join("chappe.sem.s");
    let mut early = None;
    fill(&semaphore, &mut reference, &mut || early = Some(Snapshot::of(&path)));
    drop(semaphore);
    let (left_behind, snapshot) = (early.is_some(), early.unwrap_or_else(|| Snapshot::of(&path)));
    assert_eq!(snapshot.len, RECORDS + ALL * RECORD, "the picture of the format is not what the library has");
    options.unlink("/s").expect("it is there");
    crate::stage::until_alone();
    Base { snapshot, reference, left_behind }
}

fn unused(_: &Semaphore, _: &mut Reference, _: &mut dyn FnMut()) {}

fn used(semaphore: &Semaphore, _: &mut Reference, _: &mut dyn FnMut()) {
    let held: Vec<Permit> = (0..40).map_while(|_| semaphore.try_acquire().ok()).collect();
    held.iter().for_each(|permit| permit.set_label("in use"));
}

/// All its participants have died: those who held, those who waited, who waited until nobody held.
fn left_behind(semaphore: &Semaphore, _: &mut Reference, now: &mut dyn FnMut()) {
    let held: Vec<Permit> = (0..3).map_while(|_| semaphore.try_acquire().ok()).collect();
    let waiting: Vec<_> = (1..3).map(|permits| begin(semaphore, permits)).collect();
    now();
    drop((waiting, held));
}

fn closed(semaphore: &Semaphore, reference: &mut Reference, _: &mut dyn FnMut()) {
    drop(semaphore.try_acquire());
    semaphore.close().expect("it can be closed");
    reference.closed = true;
}
