//! The targets of queues: an input's segment is put on the stage, opened, and used.

mod base;
mod reference;
mod user;

use crate::input::Input;
use crate::place::{Area, LOCK, patch};
use crate::stage::{self, Stage};
use crate::vandal::{Order, Vandal};
use base::{Base, GEOMETRIES, Geometry};
use reference::Reference;
use std::sync::Arc;
use user::User;

/// What is kept from one input to the next.
pub struct Queues {
    scenes: Vec<Scene>,
    vandal: Option<Vandal>,
}

/// A valid segment, and the file that it is put into.
struct Scene {
    geometry: Geometry,
    stage: Arc<Stage>,
    areas: Arc<Vec<Area>>,
    base: Base,
}

/// What is wrong with the segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// Nothing: each answer must be right.
    None,
    /// Only what is built anew from the slot words, for a dead one has the lock: each answer must be right.
    Caches,
    /// Any words.
    Any,
}

impl Queues {
    /// `live`: a second thread writes words while operations run.
    pub fn new(live: bool) -> Queues {
        let dir = stage::directory();
        let bases = dir.join("bases");
        std::fs::create_dir_all(&bases).expect("the directory can be made");
        let all = GEOMETRIES.into_iter().flat_map(|geometry| base::all(&bases, &geometry).map(|base| (geometry, base)));
        let scene = |(number, (geometry, base)): (usize, (Geometry, Base))| {
            let stage = Arc::new(Stage::new(&dir.join(number.to_string()), "chappe.mq.q", base.snapshot.len));
            Scene { geometry, stage, areas: Arc::new(geometry.areas()), base }
        };
        let scenes = all.enumerate().map(scene).collect();
        Queues { scenes, vandal: live.then(Vandal::start) }
    }

    /// One input.
    pub fn run(&self, bytes: &[u8]) {
        let mut input = Input::new(bytes);
        let scene = &self.scenes[input.below(self.scenes.len())];
        let base = &scene.base;
        scene.stage.set(&base.snapshot);
        let flags = input.byte();
        let damage = match flags & 3 {
            _ if self.vandal.is_some() => Damage::Any,
            0 => Damage::None,
            1 => Damage::Caches,
            _ => Damage::Any,
        };
        let mut reference = (damage != Damage::Any).then(|| base.reference.clone());
        match damage {
            Damage::None => {}
            Damage::Caches => tear(scene, reference.as_mut().expect("it was made just now"), &mut input),
            Damage::Any => damage_before(scene, &mut input),
        }
        let look_first = base.left_behind || damage == Damage::Caches;
        let threads = flags & 0xe0 == 0xe0;
        let mut user = User::new(scene, reference, threads, input.lot);
        match &self.vandal {
            None => user.play(&mut input, flags & 4 != 0, look_first),
            Some(vandal) => live(vandal, scene, &mut user, &mut input, flags & 4 != 0),
        }
        user.leave();
        if threads {
            stage::until_alone();
        }
        if self.vandal.is_some() && user.lot.lot_one_in(8, 1) {
            user.comes_to_an_undisturbed_one();
        }
        if threads {
            scene.stage.clear_bells();
        }
        user.finds_others_unharmed();
    }
}

/// Plays while words are written.
fn live(vandal: &Vandal, scene: &Scene, user: &mut User, input: &mut Input, two: bool) {
    let choice = input.half();
    let areas = scene.areas.clone();
    let chosen = (choice & 0x4000 != 0).then(|| usize::from(choice & 0xff) % areas.len());
    let (stage, forge) = (scene.stage.clone(), choice & 0x8000 != 0);
    let opened = user.open_first(two);
    vandal.begin(Order { stage, areas, chosen, seed: input.lot, forge, living: 2 });
    if opened {
        user.play_on(input);
    }
    vandal.end();
}

/// Words that are wild when the segment is opened, the lock's among them; nobody who could hold it lives.
fn damage_before(scene: &Scene, input: &mut Input) {
    let count = input.byte();
    (0..count % 8).for_each(|_| patch(&scene.stage, &scene.areas, input));
    if count & 0x80 != 0 {
        let lock = if count & 0x40 != 0 { u32::from(input.byte() % 8) } else { input.word() as u32 };
        scene.stage.write(LOCK, 4, u64::from(lock));
    }
}

/// A participant died with the lock in the middle of something: what it had claimed and taken is in its hands, and all caches are torn.
fn tear(scene: &Scene, reference: &mut Reference, input: &mut Input) {
    let stage = &scene.stage;
    let index = [0, 1, 5, 4094][input.below(4)];
    let (state, incarnation) = (1 | 3 << 2, 3);
    stage.write(12_288 + index * 64, 4, state);
    stage.write(336, 4, stage.read(336, 4).max(index + 1));
    let place = |slot: u64| scene.geometry.slots + slot * 64;
    let owned = |word: u64, state: u64| state << 61 | (index + 1) << 49 | word & ((1 << 49) - 1);
    let slots = 0..stage.read(324, 4).min(u64::from(scene.geometry.capacity));
    let words: Vec<(u64, u64)> = slots.map(|slot| (stage.read(place(slot), 8), slot)).collect();
    // Messages by ticket are messages in the order in which they were sent.
    let of_state = |state: u64| {
        let mut found: Vec<_> = words.iter().filter(|(word, _)| word >> 61 == state).collect();
        found.sort_by_key(|(word, _)| word & ((1 << 49) - 1));
        found
    };
    let (taken, claimed) = (input.half(), usize::from(input.byte() % 4));
    for (number, (word, slot)) in of_state(3).into_iter().enumerate() {
        if taken >> (number % 16) & 1 == 1 {
            stage.write(place(*slot), 8, owned(*word, 4));
            reference.messages[number].redelivered += 1;
        }
    }
    for (word, slot) in of_state(1).into_iter().take(claimed) {
        stage.write(place(*slot), 8, owned(*word, 2));
    }
    let caches = scene.geometry.caches();
    (0..input.byte() % 16).for_each(|_| patch(stage, &caches, input));
    stage.write(LOCK, 4, (index + 1) | (incarnation << 12));
}
