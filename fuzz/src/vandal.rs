//! The thread that writes wild words while another one calls: started once, for each input again given something to do.

use crate::input::Rng;
use crate::place::{Area, forge_lock, strike, unforge_lock};
use crate::stage::Stage;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// How long a lock that was forged stays: long enough to be met, short enough that calls which never give it up go on.
const FORGED_FOR: Duration = Duration::from_micros(50);

/// What to write where.
pub struct Order {
    pub stage: Arc<Stage>,
    pub areas: Arc<Vec<Area>>,
    /// One of the areas, or all.
    pub chosen: Option<usize>,
    pub seed: u64,
    /// Also the lock.
    pub forge: bool,
    pub living: u32,
}

/// The other thread's side of it.
pub struct Vandal {
    orders: Sender<Order>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// How many words were written since it was asked to begin.
    written: AtomicU64,
    /// Even: it shall rest, and does once `resting` is the same number. Odd: it shall write.
    wanted: AtomicU64,
    resting: AtomicU64,
}

impl Vandal {
    pub fn start() -> Vandal {
        let (orders, taken) = channel::<Order>();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for order in taken {
                work(&order, &shared);
            }
        });
        Vandal { orders, state }
    }

    /// It writes from here on; at least one word is written when this returns.
    pub fn begin(&self, order: Order) {
        self.state.written.store(0, Ordering::SeqCst);
        self.state.wanted.fetch_add(1, Ordering::SeqCst);
        self.orders.send(order).expect("it lives");
        while self.state.written.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
    }

    /// It rests, and the lock is not forged, when this returns.
    pub fn end(&self) {
        let wanted = self.state.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        while self.state.resting.load(Ordering::SeqCst) != wanted {
            std::thread::yield_now();
        }
    }
}

fn work(order: &Order, state: &State) {
    let mut rng = Rng(order.seed);
    let areas = order.chosen.map_or(&order.areas[..], |index| &order.areas[index..=index]);
    let mut wanted = state.wanted.load(Ordering::SeqCst);
    while wanted % 2 == 1 {
        if order.forge && rng.below(64) == 0 {
            forge(order, &mut rng);
        } else {
            strike(&order.stage, areas, &mut rng);
        }
        state.written.fetch_add(1, Ordering::SeqCst);
        // Between none and some calls of the other: damage on damage, and damage that is worked with.
        (0..1_u64 << rng.below(12)).for_each(|_| std::hint::spin_loop());
        wanted = state.wanted.load(Ordering::SeqCst);
    }
    state.resting.store(wanted, Ordering::SeqCst);
}

fn forge(order: &Order, rng: &mut Rng) {
    let drawn = if rng.below(2) == 0 { rng.below(8) } else { rng.bits() } as u32;
    let forged = forge_lock(&order.stage, drawn, order.living, true);
    let start = Instant::now();
    while start.elapsed() < FORGED_FOR {
        std::hint::spin_loop();
    }
    unforge_lock(&order.stage, forged);
}
