//! The thread that writes wild words while another one calls: started once, for each input again given something to do.

use crate::input::Rng;
use crate::place::{Area, forge_lock, strike, unforge_lock};
use crate::stage::Stage;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
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
    /// It says when it has begun, and when it has come to rest. (Waiting by looking would take the processor from it.)
    news: Receiver<()>,
    stop: Arc<AtomicBool>,
}

impl Vandal {
    pub fn start() -> Vandal {
        let ((orders, taken), (tell, news)) = (channel::<Order>(), channel());
        let stop = Arc::new(AtomicBool::new(false));
        let shared = stop.clone();
        std::thread::spawn(move || taken.iter().for_each(|order| work(&order, &shared, &tell)));
        Vandal { orders, news, stop }
    }

    /// It writes from here on; a word has been written when this returns.
    pub fn begin(&self, order: Order) {
        self.stop.store(false, Ordering::SeqCst);
        self.orders.send(order).expect("it lives");
        self.news.recv().expect("it lives");
    }

    /// It rests, and the lock is not forged, when this returns.
    pub fn end(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.news.recv().expect("it lives");
    }
}

fn work(order: &Order, stop: &AtomicBool, tell: &Sender<()>) {
    let mut rng = Rng(order.seed);
    let areas = order.chosen.map_or(&order.areas[..], |index| &order.areas[index..=index]);
    strike(&order.stage, areas, &mut rng);
    let _ = tell.send(());
    while !stop.load(Ordering::SeqCst) {
        // Between none and some calls of the other: damage on damage, and damage that is worked with.
        (0..1_u64 << rng.below(12)).for_each(|_| std::hint::spin_loop());
        if order.forge && rng.below(64) == 0 {
            forge(order, &mut rng);
        } else {
            strike(&order.stage, areas, &mut rng);
        }
    }
    let _ = tell.send(());
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
