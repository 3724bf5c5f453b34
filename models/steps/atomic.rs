//! Atomics that are what they are in the library, of the same size and place, and whose every operation is a step of the
//! [`world`](crate::world). One order for all: sequential consistency.

use crate::world;
use std::sync::atomic::Ordering::{self, SeqCst};

macro_rules! twin {
    ($name:ident, $int:ty) => {
        #[repr(transparent)]
        #[derive(Debug, Default)]
        pub(crate) struct $name(std::sync::atomic::$name);

        /// For what takes the real type: system calls, after which nothing is explored.
        impl std::ops::Deref for $name {
            type Target = std::sync::atomic::$name;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl $name {
            pub(crate) fn new(value: $int) -> $name {
                $name(std::sync::atomic::$name::new(value))
            }

            /// One step: `change` gives the next value, or none. The former value; an error if there was none.
            fn step(&self, what: &'static str, change: impl FnOnce($int) -> Option<$int>) -> Result<$int, $int> {
                let place = world::step(std::ptr::from_ref(self).addr());
                let before = self.0.load(SeqCst);
                let next = change(before);
                match place {
                    world::Step::Private => {}
                    // A dead one stores nothing, and what it does on its way out must end: as if it had.
                    world::Step::Ghost => return Ok(before),
                    world::Step::Shared(place) => {
                        let stored = next.map(|next| (next as u64, size_of::<$int>()));
                        world::done(what, place, before as u64, stored);
                    }
                }
                match next {
                    Some(next) => {
                        self.0.store(next, SeqCst);
                        Ok(before)
                    }
                    None => Err(before),
                }
            }

            fn always(&self, what: &'static str, change: impl FnOnce($int) -> $int) -> $int {
                let (Ok(before) | Err(before)) = self.step(what, |before| Some(change(before)));
                before
            }

            pub(crate) fn load(&self, _: Ordering) -> $int {
                let (Ok(now) | Err(now)) = self.step("load", |_| None);
                now
            }

            pub(crate) fn store(&self, value: $int, _: Ordering) {
                self.always("store", |_| value);
            }

            pub(crate) fn swap(&self, value: $int, _: Ordering) -> $int {
                self.always("swap", |_| value)
            }

            pub(crate) fn compare_exchange(
                &self,
                from: $int,
                to: $int,
                _: Ordering,
                _: Ordering,
            ) -> Result<$int, $int> {
                self.step("exchange", |before| (before == from).then_some(to))
            }

            /// It never fails without a reason: the code under test tries again, and would do so for ever.
            pub(crate) fn compare_exchange_weak(
                &self,
                from: $int,
                to: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                self.compare_exchange(from, to, success, failure)
            }

            pub(crate) fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                mut change: impl FnMut($int) -> Option<$int>,
            ) -> Result<$int, $int> {
                let mut before = self.load(failure);
                while let Some(next) = change(before) {
                    match self.compare_exchange(before, next, success, failure) {
                        Ok(before) => return Ok(before),
                        Err(now) => before = now,
                    }
                }
                Err(before)
            }

            pub(crate) fn fetch_add(&self, more: $int, _: Ordering) -> $int {
                self.always("add", |before| before.wrapping_add(more))
            }

            pub(crate) fn fetch_sub(&self, less: $int, _: Ordering) -> $int {
                self.always("subtract", |before| before.wrapping_sub(less))
            }

            pub(crate) fn fetch_or(&self, bits: $int, _: Ordering) -> $int {
                self.always("or", |before| before | bits)
            }

            pub(crate) fn fetch_and(&self, bits: $int, _: Ordering) -> $int {
                self.always("and", |before| before & bits)
            }

            pub(crate) fn fetch_max(&self, other: $int, _: Ordering) -> $int {
                self.always("max", |before| before.max(other))
            }

            pub(crate) fn into_inner(self) -> $int {
                self.0.into_inner()
            }
        }
    };
}

twin!(AtomicU32, u32);
twin!(AtomicU64, u64);
