//! Who uses a segment: every call, chosen by the input, and what must hold of each answer.

use super::Scene;
use super::base::{PRIORITIES, options, payload};
use super::reference::Reference;
use crate::input::Input;
use crate::place::{forge_lock, patch};
use chappe::{Access, Batch, OpenError, Queue, RecvError, SendError};
use std::cell::RefCell;
use std::time::Duration;

/// Calls in one input, at most.
const CALLS: u32 = 48;

pub struct User<'a> {
    scene: &'a Scene,
    queues: Vec<Queue>,
    /// What must be answered, while it is known.
    reference: Option<Reference>,
    /// May call what starts threads.
    threads: bool,
    /// For choices that cost much.
    pub lot: Input<'static>,
    batch: Batch,
    sent: u64,
}

/// Some calls that wait do so a little.
const MOMENT: Duration = Duration::from_micros(20);

fn moment(choice: u8) -> Duration {
    if choice & 0x20 != 0 { MOMENT } else { Duration::ZERO }
}

impl<'a> User<'a> {
    pub(super) fn new(scene: &'a Scene, reference: Option<Reference>, threads: bool, lot: u64) -> User<'a> {
        let lot = Input::lot_only(lot);
        User { scene, queues: Vec::new(), reference, threads, lot, batch: Batch::new(), sent: 1000 }
    }

    /// Opens, and plays; whoever is to look after the dead first does so.
    pub fn play(&mut self, input: &mut Input, two: bool, look_first: bool) {
        if self.open_first(two) {
            if look_first {
                self.stat(0);
            }
            self.play_on(input);
        }
    }

    pub fn play_on(&mut self, input: &mut Input) {
        for _ in 0..CALLS {
            if input.is_empty() || self.queues.is_empty() {
                return;
            }
            self.call(input);
        }
    }

    /// Whether it could be opened.
    pub fn open_first(&mut self, two: bool) -> bool {
        self.open();
        if two && !self.queues.is_empty() {
            self.open();
        }
        !self.queues.is_empty()
    }

    fn open(&mut self) {
        match options(&self.scene.stage.dir).open("/q") {
            Ok(queue) => {
                assert!(self.reference.as_ref().is_none_or(|reference| !reference.unlinked), "it has no name any more");
                self.queues.push(queue);
            }
            Err(OpenError::NotFound { .. }) if self.reference.as_ref().is_some_and(|reference| reference.unlinked) => {}
            Err(error) => {
                assert!(self.reference.is_none(), "a queue that is right cannot be opened: {error:?}");
                assert!(!error.to_string().is_empty());
            }
        }
    }

    fn queue(&self, choice: u8) -> &Queue {
        &self.queues[usize::from(choice >> 7) % self.queues.len()]
    }

    fn call(&mut self, input: &mut Input) {
        let (what, choice) = (input.byte(), input.byte());
        match what % 32 {
            0..=5 => self.send(choice, input),
            6..=9 => self.receive(choice),
            10..=12 => self.receive_into(choice, input),
            13..=15 => self.send_batch(choice, input),
            16..=18 => self.receive_batch(choice),
            19 => self.peek(choice),
            20 => self.measure(choice),
            21 => self.stat(choice),
            22 => self.purge(choice),
            23 | 24 if self.threads => self.call_doorbell(choice),
            23 | 24 => self.receive(choice),
            25 => self.end(choice),
            26 => self.reopen(choice),
            27 => self.lock(input),
            _ => self.damage(input),
        }
    }

    /// Compares an answer with that of the reference, if that is known.
    fn check<T: std::fmt::Debug + PartialEq>(
        &mut self,
        what: &str,
        answer: &T,
        expected: impl FnOnce(&mut Reference) -> T,
    ) {
        if let Some(reference) = &mut self.reference {
            assert_eq!(*answer, expected(reference), "{what}");
        }
    }

    /// The message size, the smallest and the largest: a header that was changed between two openings can say two.
    fn message_sizes(&self) -> (u64, u64) {
        let sizes = self.queues.iter().map(Queue::message_size);
        sizes.fold((20_000, 0), |(least, most), size| (least.min(size), most.max(size)))
    }

    fn fits(&self, length: usize, priority: u16) {
        assert!(length as u64 <= self.message_sizes().1, "a message of {length} bytes");
        assert!(priority <= chappe::PRIORITY_MAX, "priority {priority}");
    }

    fn message(&mut self, input: &mut Input) -> (Vec<u8>, u16) {
        let (kind, priority) = (input.byte(), input.byte());
        let most = self.message_sizes().0 as usize;
        let length = match kind % 4 {
            0 => usize::from(kind / 4).min(most),
            1 => most,
            2 => usize::from(kind) * 4 % (most + 1),
            _ => most / 2,
        };
        self.sent += 1;
        (payload(self.sent, length), PRIORITIES[usize::from(priority) % PRIORITIES.len()])
    }

    fn send(&mut self, choice: u8, input: &mut Input) {
        let (mut data, mut priority) = self.message(input);
        match choice % 32 {
            30 => data.resize(self.message_sizes().1.min(20_000) as usize + 1, 7),
            31 => priority |= 0x8000,
            _ => {}
        }
        let timed = choice & 0x40 != 0;
        let sent = match timed {
            true => self.queue(choice).send_timeout(&data, priority, moment(choice)),
            false => self.queue(choice).try_send(&data, priority),
        };
        if choice % 32 < 30 {
            let refused = matches!(sent, Err(SendError::TooLong { .. } | SendError::Priority(_)));
            assert!(!refused, "{sent:?} of {} bytes", data.len());
        }
        self.check("send", &sent, |reference| in_time(reference.send(&data, priority), timed));
    }

    fn receive(&mut self, choice: u8) {
        let timed = choice & 0x40 != 0;
        let received = match timed {
            true => self.queue(choice).recv_timeout(moment(choice)),
            false => self.queue(choice).try_recv(),
        };
        if let Ok(message) = &received {
            self.fits(message.data.len(), message.priority);
        }
        let received = received.map(|message| (message.data, message.priority, message.redelivered));
        self.check("receive", &received, |reference| at_last(reference.receive(), timed));
    }

    fn receive_into(&mut self, choice: u8, input: &mut Input) {
        let (timed, room) = (choice & 0x40 != 0, usize::from(input.byte()) * 3);
        let mut buffer = vec![0; room];
        let received = match timed {
            true => self.queue(choice).recv_into_timeout(&mut buffer, moment(choice)),
            false => self.queue(choice).try_recv_into(&mut buffer),
        };
        if let Ok(received) = &received {
            assert!(received.len <= room);
            self.fits(received.len, received.priority);
        }
        let received = received.map(|it| (buffer[..it.len].to_vec(), it.priority, it.redelivered));
        self.check("receive into", &received, |reference| at_last(reference.receive_into(room as u64), timed));
    }

    fn send_batch(&mut self, choice: u8, input: &mut Input) {
        let messages: Vec<_> = (0..1 + choice % 8).map(|_| self.message(input)).collect();
        let timed = choice & 0x40 != 0;
        let sent = match timed {
            true => self.queue(choice).send_many_timeout(&messages, moment(choice)),
            false => self.queue(choice).try_send_many(&messages),
        };
        assert!(sent.as_ref().err().is_none_or(|error| error.sent < messages.len()), "{sent:?}");
        let sent = sent.map_err(|error| (error.sent, error.error));
        self.check("send many", &sent, |reference| {
            messages.iter().enumerate().try_for_each(|(number, (data, priority))| {
                in_time(reference.send(data, *priority), timed).map_err(|error| (number, error))
            })
        });
    }

    fn receive_batch(&mut self, choice: u8) {
        let (timed, max) = (choice & 0x40 != 0, 1 + usize::from(choice % 16));
        let mut batch = std::mem::take(&mut self.batch);
        let count = match timed {
            true => self.queue(choice).recv_many_timeout(&mut batch, max, moment(choice)),
            false => self.queue(choice).try_recv_many(&mut batch, max),
        };
        let received = count.map(|count| {
            assert!(count <= max && count == batch.len());
            batch.iter().map(|(data, priority)| (data.to_vec(), priority)).collect::<Vec<_>>()
        });
        self.batch = batch;
        received.iter().flatten().for_each(|(data, priority)| self.fits(data.len(), *priority));
        self.check("receive many", &received, |reference| {
            let first = at_last(reference.receive(), timed)?;
            let rest = (1..max).map_while(|_| reference.receive().ok());
            Ok(std::iter::once(first).chain(rest).map(|(data, priority, _)| (data, priority)).collect())
        });
    }

    fn peek(&mut self, choice: u8) {
        let max = usize::from(choice % 32);
        let seen = self.queue(choice).peek(max);
        let seen = seen.map(|messages| {
            assert!(messages.len() <= max);
            messages.iter().for_each(|message| self.fits(message.data.len(), message.priority));
            messages
                .into_iter()
                .map(|message| (message.data, message.priority, message.redelivered))
                .collect::<Vec<_>>()
        });
        self.check("peek", &seen, |reference| {
            let messages = reference.order().into_iter().take(max).map(|number| reference.messages[number].clone());
            Ok(messages.map(|message| (message.data, message.priority, message.redelivered)).collect())
        });
    }

    fn measure(&mut self, choice: u8) {
        let queue = self.queue(choice);
        let measured = queue.len().and_then(|len| Ok((len, queue.bytes()?, queue.is_empty()?)));
        self.check("measure", &measured, |reference| {
            let bytes = reference.messages.iter().map(|message| message.data.len() as u64).sum();
            Ok((reference.len(), bytes, reference.len() == 0))
        });
    }

    fn stat(&mut self, choice: u8) {
        let stat = self.queue(choice).stat();
        let participants = self.queues.len();
        let told = stat.map(|stat| {
            assert!(stat.participants.len() <= 4095);
            let flags = (stat.closed, stat.unlinked);
            (stat.len as usize, stat.being_sent, stat.being_received, flags, stat.participants.len())
        });
        self.check("stat", &told, |reference| {
            let flags = (reference.closed || reference.unlinked, reference.unlinked);
            Ok((reference.len(), 0, 0, flags, participants))
        });
    }

    fn purge(&mut self, choice: u8) {
        if choice.is_multiple_of(4) {
            let purged = self.queue(choice).purge();
            self.check("purge", &purged, |reference| Ok(reference.messages.drain(..).count()));
        }
    }

    /// The calls that start a thread, and those that go with them. Their answers depend on that thread, too.
    fn call_doorbell(&mut self, choice: u8) {
        let queue = self.queue(choice);
        match choice % 8 {
            0 | 1 => drop(queue.doorbell([Access::Receive, Access::Send, Access::Both][usize::from(choice / 8 % 3)])),
            2 | 3 => drop(queue.arm_doorbell()),
            4 | 5 => drop(queue.notify(|_| ())),
            6 => drop(queue.cancel_notify()),
            _ => drop(queue.registered()),
        }
    }

    /// Seldom, since little follows.
    fn end(&mut self, choice: u8) {
        let options = options(&self.scene.stage.dir);
        match choice % 16 {
            0 => {
                let closed = self.queue(choice).close();
                self.check("close", &closed, |reference| {
                    reference.close();
                    Ok(())
                });
            }
            1 => {
                let unlinked = options.unlink("/q").is_ok();
                self.check("unlink", &unlinked, |reference| {
                    let was_there = !reference.unlinked;
                    (reference.unlinked, reference.closed) = (true, false);
                    was_there
                });
            }
            2 => drop(chappe::list(&self.scene.stage.dir)),
            3 => drop(format!("{:?}", self.queue(choice))),
            _ => {}
        }
    }

    /// Another handle, or one less; not if threads may have the handle still.
    fn reopen(&mut self, choice: u8) {
        if self.queues.len() > 1 || choice & 1 != 0 && !self.threads {
            drop(self.queues.remove(usize::from(choice >> 7) % self.queues.len()));
        }
        if self.queues.len() < 2 {
            self.open();
        }
    }

    /// A few more wild words, from here on.
    fn damage(&mut self, input: &mut Input) {
        if self.reference.is_none() {
            patch(&self.scene.stage, &self.scene.areas, input);
        }
    }

    /// Somebody has the lock: a dead one, or, since each call then takes half a second, rarely one that lives.
    fn lock(&mut self, input: &mut Input) {
        if self.reference.is_some() {
            return;
        }
        let drawn = if input.byte() & 1 != 0 { u32::from(input.byte()) } else { input.word() as u32 };
        let living = self.lot.lot_one_in(4096, 2);
        let forged = forge_lock(&self.scene.stage, drawn, 4, living);
        if living {
            let choice = input.byte();
            drop(self.queue(choice).try_recv());
            crate::place::unforge_lock(&self.scene.stage, forged);
        }
    }

    /// The handles go.
    pub fn leave(&mut self) {
        self.queues.clear();
    }

    /// Nobody else has the queue, and nobody damages it any more: it opens or says why not, its calls end, and none waits for a lock.
    pub fn comes_to_an_undisturbed_one(&mut self) {
        self.threads = false;
        self.open();
        if self.queues.is_empty() {
            return;
        }
        for number in 0..4 {
            let sent = self.queues[0].try_send(&payload(number, 40), 3);
            assert_ne!(sent, Err(SendError::Busy), "nobody is there who could hold the lock");
            let received = self.queues[0].try_recv();
            assert_ne!(received, Err(RecvError::Busy), "nobody is there who could hold the lock");
        }
        self.leave();
    }

    /// Another queue of this process works, one that was there before; now and then also a new one.
    pub fn finds_others_unharmed(&self) {
        thread_local! {
            static OTHER: RefCell<Option<Queue>> = const { RefCell::new(None) };
        }
        OTHER.with_borrow_mut(|other| {
            let other = match other {
                Some(other) if !self.lot.lot_one_in(2048, 3) => other,
                _ => other.insert(self.a_new_one()),
            };
            let data = payload(self.lot.lot, 40);
            other.try_send(&data, 3).expect("there is room");
            assert_eq!(other.try_recv().expect("it was sent").data, data);
        });
    }

    fn a_new_one(&self) -> Queue {
        let dir = crate::stage::directory();
        let mut options = options(&dir);
        let _ = options.unlink("/other");
        options.capacity(8).message_size(1000).create_new("/other").expect("it can be made")
    }
}

fn in_time(sent: Result<(), SendError>, timed: bool) -> Result<(), SendError> {
    match sent {
        Err(SendError::Full) if timed => Err(SendError::TimedOut),
        sent => sent,
    }
}

fn at_last<T>(received: Result<T, RecvError>, timed: bool) -> Result<T, RecvError> {
    match received {
        Err(RecvError::Empty) if timed => Err(RecvError::TimedOut),
        received => received,
    }
}
