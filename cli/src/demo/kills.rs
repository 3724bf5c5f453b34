//! Scene 2: survival. Producers stream this binary through a queue while consumers are killed with SIGKILL at random
//! moments and others take their place; then comes the account.

use super::account::{Account, settle};
use super::block::{self, HEADER, PIECE_MAX, Random};
use super::stage::{Stage, finish, kill, spawn};
use super::{Screen, wrong};
use crate::exit::{self, Failure};
use chappe::Counters;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// The queue of this scene.
pub const NAME: &str = "/blocks";
/// How many producers there are.
pub const PRODUCERS: u32 = 2;
/// Of the cutting and of the kills: the year in which Chappe's telegraph began.
pub const SEED: u64 = 1792;

const CONSUMERS: usize = 3;
const KILLS: usize = 60;
const CAPACITY: u32 = 64;
const LIFE_MS: u64 = 30;

/// Plays the scene.
pub fn play(stage: &Stage, screen: &mut Screen) -> Result<(), Failure> {
    screen.say("\n2. Survival");
    let mut options = stage.options();
    options.capacity(CAPACITY).message_size((HEADER + PIECE_MAX) as u64);
    let queue = options.create_new(NAME).map_err(|error| exit::open(&error))?;
    screen.say(&format!(
        "   {PRODUCERS} producers stream this binary, cut into blocks of 1 to {PIECE_MAX} bytes, over and over; {CONSUMERS} consumers\n   \
         write down what they receive. {KILLS} times one of them is killed (kill -9) and replaced. Seed {SEED}."
    ));
    let start = Instant::now();
    let producers = start_producers(stage)?;
    let mut troop = Troop::start(stage)?;
    troop.suffer()?;
    let sent = stop_producers(producers)?;
    let seconds = start.elapsed().as_secs_f64();
    queue.close().map_err(|error| exit::access(&queue, error))?;
    let (consumers, killed) = troop.disband()?;
    let counters = queue.stat().map_err(|error| exit::access(&queue, error))?.counters;
    let file = block::file().map_err(|error| Failure::system("read this binary", &error))?;
    let account = settle(stage.dir(), &file, SEED, &sent, consumers, &killed)?;
    tell(screen, &account, &counters, killed.len(), seconds);
    if account.balances() { Ok(()) } else { Err(wrong("messages were lost, doubled or damaged")) }
}

fn start_producers(stage: &Stage) -> Result<Vec<Child>, Failure> {
    let start = |producer: u32| {
        let mut command = stage.command("block-producer", &[&producer.to_string()]);
        spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()))
    };
    (0..PRODUCERS).map(start).collect()
}

/// The end of its input tells a producer to stop; it answers with how many it sent.
fn stop_producers(mut producers: Vec<Child>) -> Result<Vec<usize>, Failure> {
    producers.iter_mut().for_each(|producer| drop(producer.stdin.take()));
    let count = |producer| {
        let (_, sent) = finish(producer, "producer")?;
        sent.parse().map_err(|_| wrong(format!("a producer says that it sent {sent:?}")))
    };
    producers.into_iter().map(count).collect()
}

/// The consumers: those that live, and how many there have been.
struct Troop<'stage> {
    stage: &'stage Stage,
    living: Vec<(u32, Child)>,
    started: u32,
    killed: Vec<u32>,
}

impl Troop<'_> {
    fn start(stage: &Stage) -> Result<Troop<'_>, Failure> {
        let mut troop = Troop { stage, living: Vec::new(), started: 0, killed: Vec::new() };
        for _ in 0..CONSUMERS {
            troop.add()?;
        }
        Ok(troop)
    }

    fn add(&mut self) -> Result<(), Failure> {
        let number = self.started;
        self.started += 1;
        let child = spawn(&mut self.stage.command("block-consumer", &[&number.to_string()]))?;
        self.living.push((number, child));
        Ok(())
    }

    /// The kills. The pauses only scatter them over what the consumers do.
    fn suffer(&mut self) -> Result<(), Failure> {
        let mut random = Random(SEED);
        while self.killed.len() < KILLS {
            std::thread::sleep(Duration::from_micros(random.below(LIFE_MS * 1000)));
            let victim = random.below(self.living.len() as u64) as usize;
            let (number, mut child) = self.living.swap_remove(victim);
            kill(&mut child, "consumer")?;
            self.killed.push(number);
            self.add()?;
        }
        Ok(())
    }

    /// Lets the living come to their end; gives how many consumers there were, and who was killed.
    fn disband(self) -> Result<(u32, Vec<u32>), Failure> {
        for (_, child) in self.living {
            finish(child, "consumer")?;
        }
        Ok((self.started, self.killed))
    }
}

fn tell(screen: &mut Screen, account: &Account, counters: &Counters, kills: usize, seconds: f64) {
    let mib = account.bytes >> 20;
    let dead = account.in_dead_hands;
    let mut line =
        |title: &str, count: u64, remark: &str| screen.say(format!("   {title:<16}{count:>9}   {remark}").trim_end());
    line("sent", account.sent, &format!("messages, {mib} MiB, in {seconds:.1} s"));
    line("written down", account.written_down, "equal to what was sent, each once");
    line("in dead hands", dead, &format!("whole; a kill came before it was written down: {dead} of {kills} kills"));
    line("lost", account.lost, "");
    line("received twice", account.doubled, "");
    line("damaged", account.damaged, "");
    line("deaths repaired", counters.recovered, "by the queue's other participants");
    line("redelivered", counters.redelivered, "from dying hands back to their old place in the queue");
}
