//! What a survivor does after a death, through the same C calls: it goes on at once, makes the account of messages, fills the queue to its
//! exact capacity, and looks what poll and registration say.

use super::act::Act;
use super::case::{CAPACITY, Case, FILLER, Other, SIZE, SLEEPER, SMALL, SURVIVOR, USUAL, VICTIM};
use super::library::{self, Errno, Wait};
use super::root::format::Image;
use super::root::kill::{BOUND, Mode, SLOW};
use super::root::{identify, payload};
use super::scene::Scene;
use std::cmp::Reverse;
use std::time::{Duration, Instant};

/// What attendants see to is in order by then: they look twice a second. A net.
pub const NET: Duration = Duration::from_secs(10);

const IN: i16 = libc::POLLIN;
const OUT: i16 = libc::POLLOUT;

/// An id, or `None` for what is not whole; and the priority.
type Message = (Option<u64>, u32);

pub struct Survivor<'a> {
    pub scene: &'a Scene<'a>,
    pub case: &'a Case,
    pub mode: Mode,
    /// The stepped call had returned before the death.
    finished: bool,
    pub mqd: i32,
    pub received: Vec<Message>,
    /// How many of these came before the message of its own was sent.
    earlier: usize,
    /// What a sleeping receiver got.
    woken: Option<Message>,
    /// The words of the file, also when its name is gone.
    image: Option<Image>,
}

impl<'a> Survivor<'a> {
    pub fn new(scene: &'a Scene<'a>, mode: Mode, finished: bool, image: Option<Image>) -> Survivor<'a> {
        let case = scene.case;
        Survivor { scene, case, mode, finished, mqd: -1, received: Vec::new(), earlier: 0, woken: None, image }
    }

    /// Does everything; how long it took to send and receive, and how much the dead one had done.
    pub fn survive(mut self, attached: Option<i32>) -> Result<(Duration, usize), String> {
        let start = Instant::now();
        let named = self.scene.is_named();
        if attached.is_none() && !named && self.case.act == Act::Unlink {
            return self.without_name(start);
        }
        self.mqd = match (attached, self.case.act) {
            (Some(mqd), _) => mqd,
            (None, Act::Create) => in_time("mq_open", || library::open(libc::O_CREAT, CAPACITY as i64, SIZE))?,
            (None, _) => in_time("mq_open", || library::open(0, 0, 0))?,
        };
        if self.mode.looks && self.case.act.registers() {
            self.registers_at_once()?;
        }
        if self.image.is_none() {
            self.image = self.scene.image();
        }
        self.go_on()?;
        let took = start.elapsed();
        self.drain()?;
        self.account()?;
        self.words()?;
        self.fill_and_empty()?;
        if self.case.act.registers() || self.case.other == Other::Registrant {
            self.registration_is_right()?;
        }
        let progress = match self.case.act {
            Act::Create => named,
            Act::Unlink => !named,
            _ if self.case.sends() => self.has(VICTIM),
            _ if self.case.takes() => !self.has(self.case.in_turn()[0].0),
            _ => false,
        };
        Ok((took, usize::from(progress)))
    }

    /// A newcomer after the name is gone: it must be free.
    fn without_name(mut self, start: Instant) -> Result<(Duration, usize), String> {
        let flags = libc::O_CREAT | libc::O_EXCL;
        self.mqd = in_time("mq_open", || library::open(flags, CAPACITY as i64, SIZE))?;
        self.send(SURVIVOR)?;
        self.receive()?;
        let took = start.elapsed();
        // Nobody else is in this one.
        self.fill()?;
        self.empty()?;
        Ok((took, 1))
    }

    /// A send and a receive of its own, and who sleeps gets what it waits for.
    fn go_on(&mut self) -> Result<(), String> {
        match self.case.other {
            Other::Receiver => {
                self.send_own()?;
                let line = self.companion_tells("the sleeping receiver")?;
                let message = line.split_once(' ').and_then(|(id, priority)| {
                    let id: u64 = id.parse().ok()?;
                    Some(((id != u64::MAX).then_some(id), priority.parse().ok()?))
                });
                self.woken = Some(message.ok_or_else(|| format!("the sleeping receiver: {line}"))?);
                Ok(())
            }
            Other::Sender => {
                self.receive()?;
                match self.companion_tells("the sleeping sender")?.as_str() {
                    "sent" => {}
                    other => return Err(format!("the sleeping sender: {other}")),
                }
                self.receive()?;
                self.send_own()
            }
            _ => {
                if self.case.before.len() + usize::from(self.case.sends()) >= CAPACITY {
                    self.receive()?;
                    self.poller_was_woken(libc::POLLOUT)?;
                }
                self.send_own()?;
                self.poller_was_woken(libc::POLLIN)?;
                self.receive()
            }
        }
    }

    fn send_own(&mut self) -> Result<(), String> {
        self.earlier = self.received.len();
        self.send(SURVIVOR)
    }

    pub fn send(&mut self, id: u64) -> Result<(), String> {
        let message = payload(id, SMALL);
        in_time("mq_timedsend", || library::send(self.mqd, &message, USUAL, Wait::within(NET)))
    }

    fn receive(&mut self) -> Result<(), String> {
        let message = self.receive_within(Wait::within(NET))?;
        self.received.push(message.ok_or_else(|| format!("no message for {NET:?}; received {:?}", self.received))?);
        Ok(())
    }

    pub fn receive_within(&mut self, wait: Wait) -> Result<Option<Message>, String> {
        let mut buffer = [0; SIZE as usize];
        in_time("mq_timedreceive", || match library::receive(self.mqd, &mut buffer, wait) {
            Ok((length, priority)) => Ok(Some((identify(&buffer[..length]), priority))),
            Err(libc::ETIMEDOUT) => Ok(None),
            Err(errno) => Err(errno),
        })
    }

    /// Everything that is there.
    fn drain(&mut self) -> Result<(), String> {
        while let Some(message) = self.receive_within(Wait::Over)? {
            self.received.push(message);
            if self.received.len() > 4 * CAPACITY {
                return Err(format!("messages without end: {:?}", self.received));
            }
        }
        Ok(())
    }

    fn has(&self, id: u64) -> bool {
        self.received.iter().chain(&self.woken).any(|(other, _)| *other == Some(id))
    }

    /// Every message is there once, whole, in order, but for what the dead one was sending or taking.
    fn account(&self) -> Result<(), String> {
        let case = self.case;
        let fault = |what: &str| Err(format!("{what}: received {:?}, the sleeper {:?}", self.received, self.woken));
        let front = case.takes().then(|| case.in_turn()[0].0);
        let mut due = case.in_turn();
        due.extend(case.sends().then_some((VICTIM, USUAL)));
        due.extend((case.other == Other::Sender).then_some((SLEEPER, USUAL)));
        due.push((SURVIVOR, USUAL));
        let all: Vec<Message> = self.received.iter().chain(&self.woken).copied().collect();
        if all.iter().any(|(id, priority)| id.is_none_or(|id| !due.contains(&(id, *priority)))) {
            return fault("torn, unknown, or of another priority");
        }
        if (1..all.len()).any(|index| all[..index].contains(&all[index])) {
            return fault("received twice");
        }
        let may_miss = |id: u64| !self.finished && (id == VICTIM || Some(id) == front);
        let taken = |id: u64| self.finished && Some(id) == front;
        if let Some((id, _)) = due.iter().find(|(id, _)| !self.has(*id) && !may_miss(*id) && !taken(*id)) {
            return fault(&format!("{id} is lost"));
        }
        if front.is_some_and(|id| taken(id) && self.has(id)) {
            return fault("received by the dead one, and again");
        }
        let key = |(id, priority): &Message| (Reverse(*priority), *id);
        let parts = self.received.split_at(self.earlier);
        let in_order = parts.0.is_sorted_by_key(key) && parts.1.is_sorted_by_key(key);
        if !in_order && !case.may_come_late() {
            return fault("out of order");
        }
        Ok(())
    }

    /// They are as `docs/format.md` demands, once everybody has done what was begun.
    fn words(&self) -> Result<(), String> {
        self.image.as_ref().ok_or("there is no file")?.check()
    }

    /// Exactly as many messages as the capacity says, and poll and `mq_getattr` say so, too.
    fn fill_and_empty(&mut self) -> Result<(), String> {
        self.poller_sees(OUT, "the empty queue")?;
        self.fill()?;
        self.comes_to_show(IN, "full")?;
        self.poller_sees(IN, "the full queue")?;
        self.empty()?;
        self.comes_to_show(OUT, "empty")?;
        self.words()?;
        self.poller_sees(OUT, "the queue that is empty again")
    }

    fn fill(&mut self) -> Result<(), String> {
        for id in (FILLER..).take(CAPACITY) {
            let message = payload(id, SMALL);
            in_time("mq_timedsend, to fill it", || library::send(self.mqd, &message, USUAL, Wait::Over))?;
        }
        if library::send(self.mqd, b"one too many", USUAL, Wait::Over) != Err(libc::ETIMEDOUT) {
            return Err(format!("more than {CAPACITY} messages fit"));
        }
        self.has_attributes(CAPACITY)
    }

    fn empty(&mut self) -> Result<(), String> {
        for id in (FILLER..).take(CAPACITY) {
            match self.receive_within(Wait::Over)? {
                Some((Some(other), USUAL)) if other == id => {}
                other => return Err(format!("{other:?} instead of {id} among those that filled it")),
            }
        }
        match self.receive_within(Wait::Over)? {
            None => self.has_attributes(0),
            other => Err(format!("{other:?} in the queue that was emptied")),
        }
    }

    fn has_attributes(&self, messages: usize) -> Result<(), String> {
        match library::attributes(self.mqd) {
            Ok(found) if found == (CAPACITY as i64, messages as i64) => Ok(()),
            other => Err(format!("mq_getattr: {other:?} with {messages} messages there")),
        }
    }

    /// The survivor's own poll says so in the end.
    fn comes_to_show(&self, due: i16, when: &str) -> Result<(), String> {
        let start = Instant::now();
        loop {
            match library::poll(self.mqd, IN | OUT, Some(Duration::ZERO)) {
                Ok(shown) if shown == due => return Ok(()),
                other if start.elapsed() > NET => return Err(format!("poll shows {other:?} when it is {when}")),
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// A call that has to succeed within what is promised.
pub fn in_time<T>(what: &str, call: impl FnOnce() -> Result<T, Errno>) -> Result<T, String> {
    let (start, waited) = (Instant::now(), waited_for_a_cpu());
    let result = call();
    let took = start.elapsed();
    let value = result.map_err(|errno| format!("{what}: {}", std::io::Error::from_raw_os_error(errno)))?;
    if took > BOUND {
        let took = took.saturating_sub(waited_for_a_cpu() - waited);
        if took > BOUND {
            return Err(format!("{SLOW}{what} took {took:?}, without what it waited for a CPU"));
        }
    }
    Ok(value)
}

/// How long this thread was ready to run and did not, since it began.
fn waited_for_a_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0))
}
