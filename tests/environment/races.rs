//! Names that several processes create, open and remove at once. (Queues, created once by one of sixteen, are in `process.rs`.)

use crate::common::{Rng, Worker, hear, say, scratch, seed, until};
use crate::{files, queue_options, semaphore_options};
use chappe::{AccessError, AcquireError, OpenError, RecvError, SendError};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn of_many_processes_that_race_to_create_a_semaphore_one_creates() {
    let dir = scratch();
    let mut workers: Vec<_> = (0..8).map(|_| Worker::start("first", &[dir.path().to_str().unwrap()])).collect();
    workers.iter_mut().for_each(|worker| worker.expect("ready"));
    for round in 0..50 {
        workers.iter_mut().for_each(|worker| worker.tell("go"));
        let answers: Vec<String> = workers.iter_mut().map(Worker::answer).collect();
        assert_eq!(answers.iter().filter(|answer| *answer == "created").count(), 1, "round {round}: {answers:?}");
        let semaphore = semaphore_options(dir.path()).open("/s").unwrap();
        let stat = semaphore.stat().unwrap();
        // Each has posted once.
        assert_eq!((stat.permits, stat.participants.len()), (8, 1), "round {round}: all are in one semaphore");
        assert_eq!(files(dir.path()), ["chappe.sem.s"], "round {round}: more than the semaphore was left");
        semaphore_options(dir.path()).unlink("/s").unwrap();
    }
    workers.iter_mut().for_each(|worker| worker.tell("end"));
    workers.into_iter().for_each(Worker::finish);
}

/// Tries to create, by one of two ways, and posts once to what there is.
pub fn part_first(arguments: &[String]) {
    let mut options = semaphore_options(Path::new(&arguments[0]));
    options.permits(0);
    say("ready");
    while hear() == "go" {
        let word = match options.create_new("/s") {
            Ok(semaphore) => {
                semaphore.post().unwrap();
                "created"
            }
            Err(OpenError::Exists { .. }) => {
                options.any_existing(true).create("/s").unwrap().post().unwrap();
                "exists"
            }
            Err(error) => panic!("{error}"),
        };
        say(word);
    }
}

#[test]
fn whoever_creates_while_others_unlink_gets_an_object_or_a_reason() {
    let (dir, seed) = (scratch(), seed("CHAPPE_RACE_SEED"));
    let path = dir.path().to_str().unwrap();
    let start = |number: u64| Worker::start("turmoil", &[path, &(seed ^ number).to_string()]);
    let mut workers: Vec<_> = (0..4).map(start).collect();
    let told: Vec<String> = workers.iter_mut().map(Worker::answer).collect();
    workers.into_iter().for_each(Worker::finish);
    println!("calls that got an object, created one, removed one, found it used by others: {told:?}");
    for kind in ["/q", "/s"] {
        // It may be there, or not.
        let _ = if kind == "/q" {
            queue_options(dir.path()).unlink(kind)
        } else {
            semaphore_options(dir.path()).unlink(kind)
        };
    }
    assert_eq!(files(dir.path()), Vec::<String>::new(), "something was left behind");
    let sum = |column: usize| -> u64 {
        told.iter().map(|line| line.split(' ').nth(column).unwrap().parse::<u64>().unwrap()).sum()
    };
    assert!((0..4).all(|column| sum(column) > 0), "something never happened, so this shows nothing");
}

/// Unlinking once found no queue, and then removed the name of one that had come to be in the meantime, without a word to anybody: its
/// users went on with a queue that nobody could find, and its doorbell stayed.
#[test]
fn whoever_has_an_object_whose_name_is_removed_as_it_is_given_is_told() {
    let dir = scratch();
    let stop = AtomicBool::new(false);
    let rounds = if cfg!(debug_assertions) { 100 } else { 1000 };
    let (queues, semaphores) = (queue_options(dir.path()), semaphore_options(dir.path()));
    let unlink = |unlink: &dyn Fn() -> Result<(), OpenError>| {
        while !stop.load(Ordering::Relaxed) {
            match unlink() {
                Ok(()) | Err(OpenError::NotFound { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    std::thread::scope(|scope| {
        let unlinkers =
            [scope.spawn(|| unlink(&|| queues.unlink("/q"))), scope.spawn(|| unlink(&|| semaphores.unlink("/s")))];
        let made = std::panic::catch_unwind(|| {
            for round in 0..rounds {
                let queue = queues.create_new("/q").unwrap();
                let semaphore = semaphores.create_new("/s").unwrap();
                let gone = || files(dir.path()).is_empty();
                until("both names are removed", gone);
                until(&format!("all are told, round {round}"), || {
                    queue.stat().unwrap().unlinked && semaphore.stat().unwrap().unlinked
                });
            }
        });
        stop.store(true, Ordering::Relaxed);
        unlinkers.into_iter().for_each(|unlinker| unlinker.join().unwrap());
        made.unwrap();
    });
}

/// Creates, opens and removes a queue and a semaphore in turns that chance decides.
pub fn part_turmoil(arguments: &[String]) {
    let dir = Path::new(&arguments[0]);
    let mut rng = Rng::new(arguments[1].parse().unwrap());
    let mut counts = [0u64; 4];
    let rounds = if cfg!(debug_assertions) { 300 } else { 3000 };
    for round in 0..rounds {
        let (choice, belled) = (rng.below(5), rng.one_in(4));
        let result = if rng.one_in(2) { on_a_queue(dir, choice, belled, round) } else { on_a_semaphore(dir, choice) };
        match result {
            Ok(what) => what.into_iter().for_each(|what| counts[what as usize] += 1),
            Err(OpenError::NotFound { .. } | OpenError::Exists { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    say(counts.map(|count| count.to_string()).join(" "));
}

#[derive(Clone, Copy)]
enum Event {
    Got,
    Created,
    Removed,
    Shared,
}

fn on_a_queue(dir: &Path, choice: u64, belled: bool, round: u64) -> Result<Vec<Event>, OpenError> {
    let mut options = queue_options(dir);
    let queue = match choice {
        0 => options.open("/q"),
        1 => options.create("/q"),
        2 => options.doorbell(belled).create_new("/q"),
        3 => options.doorbell(belled).create("/q"),
        _ => return options.unlink("/q").map(|()| vec![Event::Removed]),
    }?;
    let sent = queue.try_send(&round.to_le_bytes(), 0);
    assert!(matches!(sent, Ok(()) | Err(SendError::Unlinked | SendError::Full | SendError::Busy)), "{sent:?}");
    let received = queue.try_recv().map(|message| message.data.len());
    let whole = matches!(received, Ok(8) | Err(RecvError::Unlinked | RecvError::Empty | RecvError::Busy));
    assert!(whole, "{received:?}");
    let shared = matches!(queue.stat(), Ok(stat) if stat.participants.len() > 1);
    Ok(events(choice == 2, shared))
}

fn on_a_semaphore(dir: &Path, choice: u64) -> Result<Vec<Event>, OpenError> {
    let options = semaphore_options(dir);
    let semaphore = match choice {
        0 => options.open("/s"),
        1 | 3 => options.create("/s"),
        2 => options.create_new("/s"),
        _ => return options.unlink("/s").map(|()| vec![Event::Removed]),
    }?;
    match semaphore.try_acquire() {
        Ok(permit) => drop(permit),
        Err(AcquireError::Unlinked | AcquireError::NoPermits | AcquireError::Busy) => {}
        Err(error) => panic!("{error}"),
    }
    let shared = match semaphore.stat() {
        Ok(stat) => stat.participants.len() > 1,
        Err(AccessError::Busy) => false,
        Err(error) => panic!("{error}"),
    };
    Ok(events(choice == 2, shared))
}

fn events(created: bool, shared: bool) -> Vec<Event> {
    let all = [(true, Event::Got), (created, Event::Created), (shared, Event::Shared)];
    all.into_iter().filter(|(happened, _)| *happened).map(|(_, event)| event).collect()
}
