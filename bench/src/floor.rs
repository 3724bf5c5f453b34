//! What the machine itself takes: the floors that no queue gets below. A flag bounced between two CPUs is one cache line
//! moved; the slot adds a payload of 64 bytes and, if wanted, a futex. The slot is no queue: it has no flow control. The
//! futex lock is the least that takes turns: it has no owner and no order.

use crate::channel::{Channel, Shape, Taken, Transport, Wait};
use crate::holder::{Holder, OnePermit};
use crate::measure::Result;
use crate::measure::child::{Child, join_all};
use crate::measure::clock::now;
use crate::measure::shared::{Gate, Shared, Zeroed};
use crate::measure::stats::percentiles;
use rustix::thread::futex::{self, Flags};
use std::cell::Cell;
use std::hint::spin_loop;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A flag alone on its cache line (two lines, as neighbours may be fetched in pairs).
#[repr(align(128))]
#[derive(Default)]
struct Flag(AtomicU32);

// SAFETY: one atomic and padding.
unsafe impl Zeroed for Flag {}

/// One way, p50 over blocks of 64 round trips: the clock is read too rarely to count.
pub fn line_transfer(cpus: [usize; 2], blocks: usize) -> Result<Vec<f64>> {
    const BLOCK: u32 = 64;
    let flag = Shared::<Flag>::new()?;
    let gate = Shared::<Gate>::new()?;
    let total = blocks as u32 * BLOCK;
    let there = Child::spawn(Some(cpus[1]), || {
        gate.arrive(2)?;
        (0..total).for_each(|turn| pass_on(&flag.0, 2 * turn + 1));
        Ok(Vec::new())
    })?;
    let here = Child::spawn(Some(cpus[0]), || {
        gate.arrive(2)?;
        let mut one_way = Vec::with_capacity(blocks);
        for block in 0..blocks as u32 {
            let start = now();
            for turn in block * BLOCK..(block + 1) * BLOCK {
                pass_on(&flag.0, 2 * turn);
            }
            one_way.push((now() - start) / u64::from(2 * BLOCK));
        }
        Ok(vec![percentiles(&one_way)?[0]])
    })?;
    join_all(vec![here, there])?.into_iter().next().ok_or_else(|| "no figure".into())
}

/// Waits until the flag shows `value`, then passes it on. Release and acquire pair with the other side's.
fn pass_on(flag: &AtomicU32, value: u32) {
    while flag.load(Ordering::Acquire) != value {
        spin_loop();
    }
    flag.store(value + 1, Ordering::Release);
}

/// A payload and its number, each on a line of its own.
#[derive(Default)]
struct Words {
    number: Flag,
    payload: Payload,
}

#[repr(align(128))]
#[derive(Default)]
struct Payload([AtomicU64; 8]);

// SAFETY: atomics and padding.
unsafe impl Zeroed for Words {}

/// One message of 64 bytes at a time, overwritten by the next one.
pub struct Slot(Rc<Shared<Words>>);

pub struct SlotEnd {
    words: Rc<Shared<Words>>,
    seen: Cell<u32>,
    wait: Wait,
}

impl Transport for Slot {
    type End = SlotEnd;

    fn create(_shape: Shape<'_>) -> Result<Slot> {
        Ok(Slot(Rc::new(Shared::new()?)))
    }

    fn attach(&self, wait: Wait) -> Result<SlotEnd> {
        Ok(SlotEnd { words: Rc::clone(&self.0), seen: Cell::new(0), wait })
    }
}

impl Channel for SlotEnd {
    #[inline]
    fn send(&self, message: &[u8], _priority: u16) -> Result<()> {
        for (word, bytes) in self.words.payload.0.iter().zip(message.as_chunks::<8>().0) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
        // Release: pairs with the acquire in `recv`, which then reads this payload.
        self.words.number.0.fetch_add(1, Ordering::Release);
        if self.wait == Wait::Blocking {
            futex::wake(&self.words.number.0, Flags::empty(), 1)?;
        }
        Ok(())
    }

    #[inline]
    fn recv(&self, buffer: &mut [u8]) -> Result<Taken> {
        let seen = self.seen.get();
        while self.words.number.0.load(Ordering::Acquire) == seen {
            match self.wait {
                Wait::Polling => spin_loop(),
                // An error means that the number has changed already, or a signal came: look again.
                Wait::Blocking => drop(futex::wait(&self.words.number.0, Flags::empty(), seen, None)),
            }
        }
        self.seen.set(seen.wrapping_add(1));
        for (word, bytes) in self.words.payload.0.iter().zip(buffer.as_chunks_mut::<8>().0) {
            *bytes = word.load(Ordering::Relaxed).to_le_bytes();
        }
        Ok(Taken { len: 64, priority: 0 })
    }
}

/// One permit in a word: 0 free, 1 held, 2 held and perhaps waited for (Drepper, "Futexes are tricky", the second mutex,
/// without spinning).
#[derive(Clone)]
pub struct FutexLock(Rc<Shared<Flag>>);

pub struct FutexPermit<'a>(&'a AtomicU32);

impl OnePermit for FutexLock {
    type End = FutexLock;

    fn create(_dir: &Path) -> Result<FutexLock> {
        Ok(FutexLock(Rc::new(Shared::new()?)))
    }

    fn attach(&self) -> Result<FutexLock> {
        Ok(self.clone())
    }
}

impl Holder for FutexLock {
    type Permit<'a> = FutexPermit<'a>;

    #[inline]
    fn acquire(&self) -> Result<FutexPermit<'_>> {
        let word = &self.0.0;
        // Acquire pairs with the release in `drop`.
        if word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            while word.swap(2, Ordering::Acquire) != 0 {
                // An error means that the word has changed already, or a signal came: look again.
                let _ = futex::wait(word, Flags::empty(), 2, None);
            }
        }
        Ok(FutexPermit(word))
    }
}

impl Drop for FutexPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.0.swap(0, Ordering::Release) == 2 {
            // It fails only for addresses that are no word's.
            let _ = futex::wake(self.0, Flags::empty(), 1);
        }
    }
}
