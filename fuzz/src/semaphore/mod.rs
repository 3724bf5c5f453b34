//! The targets of semaphores: an input's segment is put on the stage, opened, and used.

mod base;
mod reference;
mod user;

use crate::input::Input;
use crate::place::{Area, LOCK, patch};
use crate::stage::{self, Stage};
use crate::vandal::{Order, Vandal};
use base::{Base, RECORD, RECORDS};
use std::sync::Arc;
use user::User;

/// What is kept from one input to the next.
pub struct Semaphores {
    scenes: Vec<Scene>,
    vandal: Option<Vandal>,
}

/// A valid segment, and the file that it is put into.
struct Scene {
    stage: Arc<Stage>,
    areas: Arc<Vec<Area>>,
    base: Base,
}

/// What is wrong with the segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// Nothing: each answer must be right.
    None,
    /// Only what is built anew from the records, for a dead one has the lock: each answer must be right.
    Caches,
    /// Any words.
    Any,
}

impl Semaphores {
    /// `live`: a second thread writes words while operations run.
    pub fn new(live: bool) -> Semaphores {
        let dir = stage::directory();
        let bases = dir.join("bases");
        std::fs::create_dir_all(&bases).expect("the directory can be made");
        let areas = Arc::new(base::areas());
        let scene = |(number, base): (usize, Base)| {
            let stage = Arc::new(Stage::new(&dir.join(number.to_string()), "chappe.sem.s", base.snapshot.len));
            Scene { stage, areas: areas.clone(), base }
        };
        let scenes = base::all(&bases).into_iter().enumerate().map(scene).collect();
        Semaphores { scenes, vandal: live.then(Vandal::start) }
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
        let reference = (damage != Damage::Any).then(|| base.reference.clone());
        match damage {
            Damage::None => {}
            Damage::Caches => tear(scene, &mut input),
            Damage::Any => damage_before(scene, &mut input),
        }
        let look_first = base.left_behind || damage == Damage::Caches;
        let two = flags & 4 != 0;
        // Threads of semaphores take the kernel milliseconds to end.
        let threads = flags & 0xf0 == 0xf0;
        let mut user = User::new(scene, reference, threads, input.lot);
        match &self.vandal {
            None => user.play(&mut input, two, look_first),
            Some(vandal) => live(vandal, scene, &mut user, &mut input, two),
        }
        user.leave();
        if threads {
            stage::until_alone();
        }
        if self.vandal.is_some() && user.lot.lot_one_in(8, 1) {
            user.comes_to_an_undisturbed_one();
        }
        user.finds_others_unharmed();
    }
}

/// Plays while words are written, to the end of the handles.
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
    user.leave();
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

/// A participant died with the lock in the middle of something: it held and waited, and all caches are torn.
fn tear(scene: &Scene, input: &mut Input) {
    let stage = &scene.stage;
    let index = [0, 1, 5, 4094][input.below(4)];
    let (state, incarnation) = (1 | 3 << 2, 3);
    stage.write(4096 + index * 64, 4, state);
    stage.write(336, 4, stage.read(336, 4).max(index + 1));
    let fresh = stage.read(324, 4);
    for record in (0..u64::from(input.byte() % 8)).filter(|record| *record < fresh) {
        let place = RECORDS + record * RECORD;
        if stage.read(place + 8, 4) == 0 {
            let drawn = u64::from(input.byte());
            let (state, permits) = (drawn % 8, drawn / 8 % 4);
            // Held, waiting, wanting and gone say more than that.
            stage.write(place, 8, state << 60 | if [1, 2, 3, 7].contains(&state) { permits } else { 0 });
            stage.write(place + 8, 4, index + 1);
            stage.write(place + 16, 8, u64::from(input.byte()));
        }
    }
    let caches = base::caches();
    (0..input.byte() % 16).for_each(|_| patch(stage, &caches, input));
    stage.write(LOCK, 4, (index + 1) | (incarnation << 12));
}
