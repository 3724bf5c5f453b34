//! Queues: senders, receivers, and those who end or empty a queue, in every order, and with deaths. The code is the library's, from
//! `shm::queue` down, with a file, mappings and byte locks; the stand-ins are in `sync.rs`.

use crate::deadline::Wait;
use crate::error::{RecvError, SendError};
use crate::message::Batch;
use crate::object::{Object, word};
use crate::shm::layout::Life;
use crate::shm::queue::{Core, Sink, Wanted};
use crate::world::{Bounds, Extent, Job, Scene, explore};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::rc::Rc;

/// What one actor does: a few of these, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Send(u16),
    TrySend(u16),
    /// Two messages of one priority.
    SendTwo(u16),
    Recv,
    TryRecv,
    /// Receives until the end.
    RecvAll,
    /// Up to two at once.
    RecvTwo,
    /// Waits until the time is over, which it is from the beginning.
    RecvNoLonger,
    Close,
    /// What `unlink` does when the name is gone.
    Unlink,
    Purge,
    /// Looks at the queue, and after the dead.
    Stat,
    /// Takes a place in the attach table, that of a dead one if there is one.
    Attach,
}

/// Who sent a message, and how many it had sent before.
type Id = (u8, u8);

/// What became known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    /// It is about to be sent: it may be, whatever becomes of the sender.
    Begun(Id, u16),
    Sent(Id),
    Refused(Id),
    Received {
        by: usize,
        id: Id,
        priority: u16,
    },
    Ended {
        by: usize,
    },
    Empty {
        by: usize,
    },
    Purged(usize),
    /// It begins to take so many at most; if it dies before it has said what came of it, they may have gone with it.
    Taking {
        by: usize,
        most: usize,
    },
    Took {
        by: usize,
    },
    Died(usize),
}

pub(crate) struct Stage {
    pub object: Object<Core>,
    capacity: u32,
    acts: Vec<Vec<Act>>,
    pub known: Rc<RefCell<Vec<Known>>>,
}

impl Stage {
    pub(crate) fn new(capacity: u32, acts: Vec<Vec<Act>>) -> Stage {
        // One more, who looks at what is left.
        let wanted = Wanted { capacity: Some(capacity), message_size: Some(64) };
        let object = Object::<Core>::new(&wanted, acts.len() + 1);
        // The first message has a page reserved; no model is about that.
        let judge = object.handles.last().expect("there is one");
        judge.send(b"", 0, Wait::No).expect("it is empty");
        judge.recv(Sink::Vec(&mut Vec::new()), Wait::No).expect("it was sent");
        Stage { object, capacity, acts, known: Rc::default() }
    }

    pub(crate) fn job(&self, number: usize, acts: &[Act]) -> Job {
        let (core, known, acts) = (self.object.handles[number].clone(), self.known.clone(), acts.to_vec());
        Box::new(move || {
            let mut sent = 0;
            acts.iter().for_each(|act| perform(&core, number, *act, &mut sent, &known));
        })
    }

    /// What is left, by one who comes afterwards, and whether all slots are still there.
    pub(crate) fn judge(&self) {
        let (number, core) = (self.object.handles.len() - 1, self.object.handles.last().expect("there is one"));
        core.stat().expect("the words make sense");
        let mut ended = false;
        let mut order: Vec<(Id, u16)> = Vec::new();
        loop {
            let mut bytes = Vec::new();
            match core.recv(Sink::Vec(&mut bytes), Wait::No) {
                Ok(received) => {
                    order.push((id_of(&bytes), received.priority));
                    self.known.borrow_mut().push(Known::Received {
                        by: number,
                        id: id_of(&bytes),
                        priority: received.priority,
                    });
                }
                Err(RecvError::Empty) => break,
                Err(RecvError::Closed | RecvError::Unlinked) => {
                    ended = true;
                    break;
                }
                Err(error) => panic!("what is left cannot be received: {error:?}"),
            }
        }
        assert!(order.is_sorted_by_key(|(_, priority)| u16::MAX - priority), "by falling priority: {order:?}");
        self.account();
        invariants(&self.object.ground.file, self.capacity);
        if !ended {
            for turn in 0..self.capacity {
                assert_eq!(core.send(&[0xff, 0], 0, Wait::No), Ok(()), "room for message {turn} of {}", self.capacity);
            }
            assert_eq!(core.send(&[0xff, 0], 0, Wait::No), Err(SendError::Full));
            invariants(&self.object.ground.file, self.capacity);
            assert_eq!(core.purge(), Ok(self.capacity as usize));
            invariants(&self.object.ground.file, self.capacity);
        }
    }

    /// Every message whose send returned was received once, but for what a dead receiver took along; no other one was but those whose
    /// sender died. Nobody saw an older message of a sender and priority after a younger one.
    fn account(&self) {
        let known = self.known.borrow();
        let mut received: HashMap<Id, u32> = HashMap::new();
        let (mut begun, mut purged, mut missing) = (HashMap::new(), 0, 0);
        let (mut taking, mut taken_along) = (HashMap::new(), 0);
        for fact in known.iter() {
            match fact {
                Known::Begun(id, priority) => drop(begun.insert(*id, *priority)),
                Known::Received { id, priority, .. } => {
                    assert_eq!(begun.get(id), Some(priority), "as it was sent: {known:?}");
                    *received.entry(*id).or_default() += 1;
                }
                Known::Purged(count) => purged += count,
                Known::Taking { by, most } => drop(taking.insert(*by, *most)),
                Known::Took { by } => drop(taking.remove(by)),
                Known::Died(by) => taken_along += taking.remove(by).unwrap_or(0),
                _ => {}
            }
        }
        assert!(received.values().all(|times| *times == 1), "received once: {known:?}");
        for fact in known.iter() {
            match fact {
                Known::Sent(id) if !received.contains_key(id) => missing += 1,
                Known::Refused(id) => assert!(!received.contains_key(id), "it was not sent: {known:?}"),
                _ => {}
            }
        }
        let told = known.iter().any(|fact| matches!(fact, Known::Ended { .. }));
        let late = |fact: &Known| matches!(fact, Known::Received { by, .. } if *by + 1 == self.object.handles.len());
        assert!(!told || !known.iter().any(late), "a message came after the end: {known:?}");
        // What was purged may be a dead one's, whose send had not returned.
        let died = known.iter().any(|fact| matches!(fact, Known::Died(_)));
        assert!(
            missing <= purged + taken_along,
            "{missing} are missing, {taken_along} at most went with the dead: {known:?}"
        );
        assert!(died || missing == purged, "{missing} are missing, {purged} purged: {known:?}");
        for (by, sender) in (0..self.object.handles.len()).flat_map(|by| (0..8).map(move |sender| (by, sender))) {
            let mut last: HashMap<u16, u8> = HashMap::new();
            for fact in known.iter() {
                if let Known::Received { by: receiver, id, priority } = fact
                    && (*receiver, id.0) == (by, sender)
                {
                    assert!(last.insert(*priority, id.1).is_none_or(|before| before < id.1), "in order: {known:?}");
                }
            }
        }
    }
}

fn id_of(bytes: &[u8]) -> Id {
    match bytes {
        [sender, sequence] => (*sender, *sequence),
        other => panic!("a message of {other:?}, which nobody sent"),
    }
}

fn perform(core: &Core, number: usize, act: Act, sent: &mut u8, known: &RefCell<Vec<Known>>) {
    let say = |fact: Known| known.borrow_mut().push(fact);
    let mut send = |priority: u16, wait: Wait| {
        let id = (number as u8, *sent);
        *sent += 1;
        say(Known::Begun(id, priority));
        match core.send(&[id.0, id.1], priority, wait) {
            Ok(()) => say(Known::Sent(id)),
            Err(SendError::Full | SendError::Closed | SendError::Unlinked) => say(Known::Refused(id)),
            Err(error) => panic!("{error:?}"),
        }
    };
    let recv = |wait: Wait| {
        let mut bytes = Vec::new();
        say(Known::Taking { by: number, most: 1 });
        match core.recv(Sink::Vec(&mut bytes), wait) {
            Ok(received) => say(Known::Received { by: number, id: id_of(&bytes), priority: received.priority }),
            Err(RecvError::Empty | RecvError::TimedOut) => say(Known::Empty { by: number }),
            Err(RecvError::Closed | RecvError::Unlinked) => {
                say(Known::Ended { by: number });
                return false;
            }
            Err(error) => panic!("{error:?}"),
        }
        say(Known::Took { by: number });
        true
    };
    match act {
        Act::Send(priority) => send(priority, Wait::Forever),
        Act::TrySend(priority) => send(priority, Wait::No),
        Act::SendTwo(priority) => {
            let ids = [*sent, *sent + 1].map(|sequence| (number as u8, sequence));
            *sent += 2;
            ids.iter().for_each(|id| say(Known::Begun(*id, priority)));
            let messages = ids.map(|id| ([id.0, id.1], priority));
            match core.send_many(&messages, Wait::Forever) {
                Ok(()) => ids.iter().for_each(|id| say(Known::Sent(*id))),
                Err(error) => panic!("{error:?}"),
            }
        }
        Act::Recv => drop(recv(Wait::Forever)),
        Act::TryRecv => drop(recv(Wait::No)),
        Act::RecvAll => while recv(Wait::Forever) {},
        Act::RecvNoLonger => drop(recv(Wait::Until(crate::world::now()))),
        Act::RecvTwo => {
            let mut batch = Batch::new();
            say(Known::Taking { by: number, most: 2 });
            core.recv_many(&mut batch, 2, Wait::Forever).expect("it is open");
            for (bytes, priority) in batch.iter() {
                say(Known::Received { by: number, id: id_of(bytes), priority });
            }
            say(Known::Took { by: number });
        }
        Act::Close => core.close().expect("the lock is not needed"),
        Act::Unlink => crate::shm::setup::Core::end(core, Life::Unlinked),
        Act::Purge => {
            say(Known::Taking { by: number, most: usize::MAX / 2 });
            say(Known::Purged(core.purge().expect("the lock is to be had")));
            say(Known::Took { by: number });
        }
        Act::Stat => drop(core.stat().expect("the words make sense")),
        Act::Attach => {
            // As one who has just come, and has no place.
            crate::sys::bytelock::release_all(core.fd()).expect("it is open");
            crate::shm::setup::Core::attach(core).expect("there are many places");
        }
    }
}

impl Scene for Stage {
    fn jobs(&self) -> Vec<Job> {
        (0..).zip(&self.acts).map(|(number, acts)| self.job(number, acts)).collect()
    }

    fn died(&self, number: usize) {
        self.known.borrow_mut().push(Known::Died(number));
        self.object.died(number);
    }

    fn check(&self) {
        self.judge();
    }

    fn reset(&self) {
        let died = |known: &Known| matches!(known, Known::Died(_));
        // One who attaches gives up the byte that it had.
        let attached = self.acts.iter().flatten().any(|act| *act == Act::Attach);
        if attached || self.known.borrow().iter().any(died) {
            self.object.revive();
        }
        self.known.borrow_mut().clear();
    }
}

/// The invariants of `docs/format.md` that hold while nobody has the lock and all was drained, from the bytes of the file alone.
pub(crate) fn invariants(file: &File, capacity: u32) {
    let slots_at = (536_576 + u64::from(capacity) * 8).next_multiple_of(4096);
    let (small, large) = (|place| word(file, place, 4), |place| word(file, place, 8));
    assert_eq!(small(512) & 0x7fff_ffff, 0, "the lock is free");
    let (head, arm, tail) = (large(520), large(528), large(384));
    assert!(head <= arm && arm - head <= crate::sync::CELLS as u64, "head {head}, arm {arm}");
    assert!(tail <= arm, "tail {tail}, arm {arm}");
    let list = |first: u64| {
        let (mut found, mut next) = (Vec::new(), first);
        while next != 0 {
            found.push(next - 1);
            assert!(found.len() <= capacity as usize, "a list is a ring: {found:?}");
            next = small(536_576 + (next - 1) * 8);
        }
        found
    };
    let (free, slow) = (list(small(544)), list(small(548)));
    assert_eq!(small(552), slow.len() as u64, "slow slots");
    let (mut armed, mut ready, mut taken) = (Vec::new(), 0, 0);
    for slot in 0..small(324) {
        let word = large(slots_at + slot * 64);
        let (state, ticket) = (word >> 61, word & ((1 << 49) - 1));
        assert!(ticket < arm, "tickets are below arm");
        match state {
            0 => assert_eq!(free.iter().filter(|free| **free == slot).count(), 1, "a free slot is on the stack, once"),
            1 => armed.push((ticket, slot)),
            3 => ready += 1,
            4 => taken += 1,
            _ => panic!("slot {slot} is in state {state}"),
        }
        assert!(state == 0 || !free.contains(&slot), "slot {slot}, in state {state}, is on the stack");
    }
    assert_eq!((small(516), small(556)), (ready, taken), "messages in the index, and taken");
    armed.sort_unstable();
    let tickets: Vec<u64> = armed.iter().map(|(ticket, _)| *ticket).collect();
    assert_eq!(tickets, (head..arm).collect::<Vec<_>>(), "armed tickets are the topmost ones");
    for (ticket, slot) in armed {
        let cell = large(4096 + ticket % crate::sync::CELLS as u64 * 8);
        assert_eq!((cell >> 40, cell & ((1 << 40) - 1)), (slot, ticket), "the cell of an armed ticket");
    }
}

/// A model: its name, the capacity, what each actor does, and who may die (a bit each).
pub(crate) struct Model {
    pub name: &'static str,
    pub capacity: u32,
    pub acts: &'static [&'static [Act]],
    pub mortals: u32,
}

pub(crate) const MODELS: &[Model] = {
    use Act::*;
    const fn model(name: &'static str, capacity: u32, acts: &'static [&'static [Act]]) -> Model {
        Model { name, capacity, acts, mortals: 0 }
    }
    const fn deadly(name: &'static str, capacity: u32, acts: &'static [&'static [Act]], mortals: u32) -> Model {
        Model { name, capacity, acts, mortals }
    }
    &[
        model("two senders, two receivers, a ring of two", 2, &[&[Send(1)], &[Send(2)], &[Recv], &[Recv]]),
        model("one slot, two senders who wait for room", 1, &[&[Send(1)], &[Send(1)], &[Recv, Recv]]),
        model("three slots in a ring of two", 3, &[&[Send(1), Send(1), Send(1)], &[Send(1)], &[Recv, Recv]]),
        model(
            "order of one sender's messages, another beside",
            2,
            &[&[Send(1), Send(1)], &[Send(1)], &[Recv, Recv, Recv]],
        ),
        model("batches", 2, &[&[SendTwo(1)], &[SendTwo(1)], &[RecvTwo, RecvTwo]]),
        model("a wake is passed on", 2, &[&[SendTwo(1)], &[Recv], &[Recv]]),
        model("room is passed on", 2, &[&[Send(1), Send(1), Send(1)], &[Send(1)], &[Recv, Recv]]),
        model("try, and give up", 1, &[&[TrySend(1), TrySend(1)], &[TryRecv], &[RecvNoLonger]]),
        model("close against sleepers", 2, &[&[Recv], &[Recv], &[Close]]),
        model("close against a send and a sleeper", 1, &[&[Send(1), Send(1)], &[RecvAll], &[Close]]),
        model("purge against a send and a receive", 2, &[&[Send(1), TrySend(1)], &[TryRecv], &[Purge]]),
        model("unlink against sleepers", 2, &[&[Recv], &[Recv], &[Unlink]]),
        model("unlink against a send and a sleeper", 1, &[&[Send(1), Send(1)], &[RecvAll], &[Unlink]]),
        deadly("one who closes dies beside a sleeper", 2, &[&[Recv], &[Close], &[Close]], 0b010),
        deadly("one who waits for room dies", 1, &[&[Send(1)], &[Send(1)], &[Recv]], 0b001),
        deadly("a sender dies beside a sender and a receiver", 2, &[&[Send(1)], &[Send(1)], &[Recv]], 0b001),
        deadly("a receiver dies beside a receiver", 2, &[&[Recv], &[Send(1), Send(1)], &[Recv]], 0b001),
        deadly("a receiver of a batch dies", 2, &[&[RecvTwo], &[Send(1), Send(1)], &[TryRecv]], 0b001),
        deadly("recovery against a running participant", 2, &[&[TrySend(1)], &[Stat], &[TrySend(2), TryRecv]], 0b001),
        deadly("one who recovers dies, too", 1, &[&[TrySend(1)], &[Stat], &[TryRecv]], 0b011),
    ]
};

/// Explores one model.
pub(crate) fn run(model: &Model, preemptions: u32) -> Result<Extent, String> {
    let stage = Stage::new(model.capacity, model.acts.iter().map(|acts| acts.to_vec()).collect());
    let deaths = model.mortals.count_ones();
    // Two deaths have so many more orders.
    let preemptions = if deaths > 1 { preemptions.saturating_sub(1) } else { preemptions };
    explore(&stage.object.ground, &stage, Bounds { preemptions, deaths, mortals: model.mortals })
}
