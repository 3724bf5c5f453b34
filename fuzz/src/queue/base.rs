//! The valid segments that inputs begin with, made once through the public face, and where what lies in them: `docs/format.md`.

use super::reference::Reference;
use crate::place::Area;
use crate::stage::Snapshot;
use chappe::{Access, Queue, QueueOptions};
use std::path::Path;

/// Where the areas of a queue lie.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    pub capacity: u32,
    pub message_size: u64,
    pub links: u64,
    pub slots: u64,
    inline: u64,
    extents: u64,
    size: u64,
}

impl Geometry {
    const fn new(capacity: u32, message_size: u64) -> Geometry {
        let n = capacity as u64;
        let rounded = message_size.next_multiple_of(64);
        let (inline_size, extent) =
            if rounded <= 256 { (rounded, 0) } else { (256, message_size.next_multiple_of(4096)) };
        let links = 536_576;
        let slots = (links + n * 8).next_multiple_of(4096);
        let inline = (slots + n * 64).next_multiple_of(4096);
        let extents = (inline + n * inline_size).next_multiple_of(4096);
        Geometry { capacity, message_size, links, slots, inline, extents, size: extents + n * extent }
    }

    /// Where wild words go, those that decide most first; what decides much is named on its own and as part of an area.
    pub fn areas(&self) -> Vec<Area> {
        let n = u64::from(self.capacity);
        let mut areas: Vec<Area> = [320, 324, 336, 516, 544, 548, 552, 556, 640, 644, 704, 708, 712, 716]
            .map(|start| Area::one(start, 4))
            .into_iter()
            .chain([328, 384, 520, 528, 536, 560, 568, 648, 720].map(|start| Area::one(start, 8)))
            .collect();
        areas.extend(self.caches());
        areas.extend([
            Area::new(self.slots, self.slots + n * 64, 64, 8),
            Area::new(self.slots, self.slots + n * 64, 64, 8),
            Area::new(self.slots + 8, self.slots + n * 64, 64, 8),
            Area::new(self.slots + 16, self.slots + n * 64, 64, 8),
            Area::new(self.slots, self.slots + n * 64, 4, 4),
            // The first entries: state, keeper, waits, sends and what else an entry has; and all of them.
            Area::new(12_288, 12_288 + 16 * 64, 64, 4),
            Area::new(12_288, 12_288 + 16 * 64, 4, 4),
            Area::new(12_288, 274_432, 64, 4),
            Area::new(274_432, 536_576, 4, 4),
            Area::new(8192, 12_288, 8, 8),
            Area::new(768, 816, 8, 8),
            Area::new(320, 4096, 8, 8),
            Area::new(0, 320, 4, 4),
            Area::new(self.inline, self.extents, 8, 8),
        ]);
        if self.extents < self.size {
            areas.push(Area::new(self.extents, self.size, 8, 8));
        }
        areas
    }

    /// What whoever takes the lock from a dead holder builds anew from the slot words.
    pub fn caches(&self) -> Vec<Area> {
        let mut areas: Vec<Area> = [516, 544, 548, 552, 556].map(|start| Area::one(start, 4)).to_vec();
        areas.extend([520, 528, 536].map(|start| Area::one(start, 8)));
        areas.extend([
            Area::new(576, 640, 8, 8),
            Area::new(4096, 8192, 8, 8),
            Area::new(self.links, self.links + u64::from(self.capacity) * 8, 4, 4),
        ]);
        areas
    }
}

/// One whose slots are all reserved at once, one with a few large messages, one with larger ones, one whose slots come in chunks.
pub const GEOMETRIES: [Geometry; 4] =
    [Geometry::new(5, 64), Geometry::new(12, 600), Geometry::new(24, 5000), Geometry::new(150, 1000)];

/// The priorities that messages are sent with: ends of leaf words, of middle words and of pages of levels.
pub const PRIORITIES: [u16; 12] = [0, 1, 2, 63, 64, 511, 512, 4095, 4096, 20_000, 32_766, 32_767];

/// A valid segment, and what is in it.
pub struct Base {
    pub snapshot: Snapshot,
    pub reference: Reference,
    /// There is something in it that is put in order by who looks after the dead.
    pub left_behind: bool,
}

pub fn options(dir: &Path) -> QueueOptions {
    let mut options = Queue::options();
    options.dir(dir);
    options
}

/// The bytes of message number `id`.
pub fn payload(id: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| id.wrapping_mul(31).wrapping_add(at * 7) as u8).collect()
}

/// The bases of a geometry.
pub fn all(dir: &Path, geometry: &Geometry) -> [Base; 6] {
    let fills: [Fill; 6] = [empty, few, full, wrapped, left_behind, closed];
    fills.map(|fill| one(dir, geometry, fill))
}

/// What fills a queue; `now` takes the snapshot before its end.
type Fill = fn(&Queue, &mut Reference, &mut dyn FnMut());

fn one(dir: &Path, geometry: &Geometry, fill: Fill) -> Base {
    let mut reference = Reference::new(geometry);
    let mut options = options(dir);
    options.capacity(geometry.capacity).message_size(geometry.message_size);
    let queue = options.create_new("/q").expect("it can be made");
    let path = dir.join("chappe.mq.q");
    let mut early = None;
    fill(&queue, &mut reference, &mut || early = Some(Snapshot::of(&path)));
    drop(queue);
    let (left_behind, snapshot) = (early.is_some(), early.unwrap_or_else(|| Snapshot::of(&path)));
    assert_eq!(snapshot.len, geometry.size, "the picture of the format is not what the library has");
    options.unlink("/q").expect("it is there");
    Base { snapshot, reference, left_behind }
}

fn send(queue: &Queue, reference: &mut Reference, id: u64, length: u64, priority: u16) {
    let data = payload(id, length.min(reference.message_size) as usize);
    assert_eq!(queue.try_send(&data, priority), reference.send(&data, priority));
}

fn empty(_: &Queue, _: &mut Reference, _: &mut dyn FnMut()) {}

fn few(queue: &Queue, reference: &mut Reference, _: &mut dyn FnMut()) {
    for (id, priority) in [(1, 0), (2, 32_767), (3, 0), (4, 64)] {
        send(queue, reference, id, if id == 3 { 5000 } else { id * 9 }, priority);
    }
}

fn full(queue: &Queue, reference: &mut Reference, _: &mut dyn FnMut()) {
    for id in 0..u64::from(reference.capacity as u32) {
        let length = if id % 5 == 0 { 5000 } else { id * 3 };
        send(queue, reference, id, length, PRIORITIES[id as usize % PRIORITIES.len()]);
    }
}

/// Its tickets have been round the ring.
fn wrapped(queue: &Queue, reference: &mut Reference, _: &mut dyn FnMut()) {
    for id in 0..1100 {
        send(queue, reference, id, if id % 7 == 0 { 5000 } else { 8 }, PRIORITIES[id as usize % 3]);
        if id % 4 != 0 || id > 1090 || reference.len() == reference.capacity {
            let message = queue.try_recv().map(|message| (message.data, message.priority));
            assert_eq!(message, reference.receive().map(|(data, priority, _)| (data, priority)));
        }
    }
}

/// As all its participants have died: one that polls and is registered, and another.
fn left_behind(queue: &Queue, reference: &mut Reference, now: &mut dyn FnMut()) {
    let dir = crate::stage::directory().join("bases");
    let other = options(&dir).open("/q").expect("it is there");
    let bell = other.doorbell(Access::Both).expect("it can be had");
    other.arm_doorbell().expect("it can be armed");
    other.notify(|_| ()).expect("nobody is registered");
    few(queue, reference, now);
    now();
    drop((other, bell));
    crate::stage::until_alone();
}

fn closed(queue: &Queue, reference: &mut Reference, now: &mut dyn FnMut()) {
    few(queue, reference, now);
    queue.close().expect("it can be closed");
    reference.close();
}
