//! Looking and administering: peek, len, stat, purge, close.

use super::doorbell::News;
use super::recv::TRIM_FROM;
use super::{Core, Shared};
use crate::deadline::Wait;
use crate::error::AccessError;
use crate::message::Message;
use crate::raw::word::{Meta, Owner, Word};
use crate::raw::{Corrupt, at};
use crate::shm::fault::Fault;
use crate::shm::layout::Life;
use crate::stat::{Counters, QueueStat};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sys::file;

impl Core {
    pub(crate) fn peek(&self, max: usize) -> Result<Vec<Message>, AccessError> {
        let me = self.me()?;
        let shared = self.shared();
        let held = self.lock(&shared, me, Wait::No)?;
        shared.ledger.drain()?;
        let numbers = shared.ledger.index.walk(max)?;
        let words =
            numbers.iter().map(|number| at(shared.ledger.slots, *number).map(|slot| slot.word.load(Ordering::Acquire)));
        let words: Result<Vec<u64>, Corrupt> = words.collect();
        drop(held);
        let words = words?;
        let mut messages = Vec::new();
        for (number, word) in numbers.into_iter().zip(words) {
            messages.extend(self.peek_one(number, Word::from_raw(word))?);
        }
        Ok(self.told(messages)?)
    }

    /// Copies a message that stays; `None` if it went away meanwhile. A slot keeps its payload as long as its word is the
    /// same, and a word does not come back: so what was copied between two looks at the same word is the message.
    fn peek_one(&self, number: u32, word: Word) -> Result<Option<Message>, Fault> {
        let slot = at(self.slots(), number)?;
        let meta = Meta::from_raw(slot.meta.load(Ordering::Relaxed));
        let redelivered = slot.redelivered.load(Ordering::Relaxed);
        let mut data = Vec::new();
        let copied = self.check_length(number, meta).and_then(|length| {
            data.try_reserve_exact(length as usize).map_err(|_| Fault::System(libc::ENOMEM))?;
            let copied = self.region.copy_to_vec(self.layout.payload(number, length), length as usize, &mut data);
            if copied { Ok(()) } else { Err(Fault::Corrupt) }
        });
        // Partner: the claim's CAS and the stores behind it. If one of those was read above, the word read below has changed.
        fence(Ordering::Acquire);
        if slot.word.load(Ordering::Relaxed) != word.raw() {
            return Ok(None);
        }
        copied?;
        Ok(Some(Message { data, priority: meta.priority(), redelivered }))
    }

    pub(crate) fn len(&self) -> Result<usize, AccessError> {
        let me = self.me()?;
        let shared = self.shared();
        let _held = self.lock(&shared, me, Wait::No)?;
        shared.ledger.drain()?;
        Ok(self.told(shared.header.desk.count.load(Ordering::Relaxed) as usize)?)
    }

    /// The bytes of the messages in the index.
    pub(crate) fn bytes(&self) -> Result<u64, AccessError> {
        let me = self.me()?;
        let shared = self.shared();
        let held = self.lock(&shared, me, Wait::No)?;
        shared.ledger.drain()?;
        let numbers = shared.ledger.index.walk(usize::MAX)?;
        drop(held);
        // A message that is received meanwhile counts with what is in its slot by then: the length of some message, so never more
        // than one may have.
        let length = |number: u32| {
            let length = Meta::from_raw(at(self.slots(), number)?.meta.load(Ordering::Relaxed)).length();
            if length <= self.layout.attributes.message_size { Ok(length) } else { Err(Corrupt) }
        };
        let bytes =
            numbers.into_iter().try_fold(0_u64, |sum, number| Ok::<_, Corrupt>(sum.saturating_add(length(number)?)));
        Ok(self.told(bytes?)?)
    }

    pub(crate) fn purge(&self) -> Result<usize, AccessError> {
        let me = self.me()?;
        let _will = self.make_will();
        let shared = self.shared();
        let held = self.lock(&shared, me, Wait::No)?;
        // N1, before the first one goes.
        let expected = shared.expects_more();
        shared.ledger.drain()?;
        if !expected && shared.header.desk.slow_count.load(Ordering::Relaxed) == 0 {
            shared.header.notice.emptied();
        }
        let purged = shared.ledger.purge(|put| self.trim(put, TRIM_FROM));
        drop(held);
        self.header().senders.signal_all();
        self.attend_if_asked(me, News::Room);
        Ok(self.told(purged? as usize)?)
    }

    pub(crate) fn close(&self) -> Result<(), AccessError> {
        let me = self.me()?;
        let _will = self.make_will();
        self.base.end(&self.shared(), Life::Closed);
        self.attend_if_asked(me, News::Sent);
        Ok(self.told(())?)
    }

    fn attend_if_asked(&self, me: Owner, news: News) {
        if self.header().receivers.has_attention() {
            self.attend_to_news(me, Wait::No, news);
        }
    }

    pub(crate) fn stat(&self) -> Result<QueueStat, AccessError> {
        let me = self.me()?;
        self.recover(me, Wait::No)?;
        let facts = file::facts(self.fd()).map_err(Fault::from)?;
        let shared = self.shared();
        let held = self.lock(&shared, me, Wait::No)?;
        shared.ledger.drain()?;
        let desk = &shared.header.desk;
        let number = |word: &AtomicU32| u64::from(word.load(Ordering::Relaxed));
        let (len, being_sent, being_received) = (number(&desk.count), number(&desk.slow_count), number(&desk.taken));
        let counters = counters(&shared);
        drop(held);
        Ok(self.told(QueueStat {
            attributes: self.layout.attributes,
            mode: self.posix_mode().unwrap_or(facts.mode),
            uid: facts.uid,
            gid: facts.gid,
            len,
            being_sent,
            being_received,
            ephemeral: self.base.ephemeral,
            closed: self.life() >= Life::Closed,
            unlinked: self.life() == Life::Unlinked,
            created_unix_nanos: self.base.created,
            memory: facts.memory,
            counters,
            participants: self.base.member.participants(&shared),
        })?)
    }
}

fn counters(shared: &Shared<'_>) -> Counters {
    let get = |word: &AtomicU64| word.load(Ordering::Relaxed);
    let (desk, totals) = (&shared.header.desk, &shared.header.totals);
    Counters {
        sent: shared.ledger.sent(),
        received: get(&desk.received),
        purged: get(&totals.purged),
        high_water: get(&desk.high_water),
        send_blocked: get(&totals.send_blocked),
        recv_blocked: get(&totals.recv_blocked),
        recovered: get(&totals.recovered),
        redelivered: get(&totals.redelivered),
    }
}
