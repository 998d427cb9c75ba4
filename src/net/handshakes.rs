//! What the handshakes of strangers may cost: each takes a signature, a thousand times the work of a request. A rate for
//! each source prefix (/32 of IPv4, /56 of IPv6), in a table of fixed size, and one for all together.
//!
//! Each prefix has one slot, found by a keyed hash. A prefix that finds its slot taken by another one takes it over with
//! a full budget; what a flood from many sources gets that way is bounded by the rate of all together.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use super::ports::subscriber;
use crate::time::Timestamp;

/// Slots in the table; 16 bytes each.
const SLOTS: usize = 8192;
/// Handshakes of one prefix at once, at least.
const MIN_AT_ONCE: u32 = 256;
/// The same as a multiple of the streams that a prefix may have without an allocation: who raises that limit has many
/// clients behind one address.
const AT_ONCE_PER_STREAM: u32 = 4;
/// How long it takes until a prefix that has had its fill may have as much again.
const PERIOD: Duration = Duration::from_secs(4);
/// Handshakes of all prefixes at once, for each worker.
const ALL_AT_ONCE: u32 = 2000;
/// The same as [`PERIOD`] for all together.
const PERIOD_OF_ALL: Duration = Duration::from_secs(2);

/// One budget: the time at which all that has been taken is paid for.
#[derive(Clone, Copy)]
struct Budget {
    paid: Timestamp,
}

impl Budget {
    const FULL: Self = Self { paid: Timestamp::START };

    /// What is left after one more of `at_once` in `period`, if it fits.
    fn less_one(self, now: Timestamp, at_once: u32, period: Duration) -> Option<Self> {
        let price = period / at_once.max(1);
        let paid = self.paid.max(now) + price;
        (paid.since(now) <= period).then_some(Self { paid })
    }
}

#[derive(Clone, Copy)]
struct Slot {
    /// The hash of the prefix.
    tag: u64,
    budget: Budget,
}

/// See the head of this file.
pub(super) struct Handshakes {
    slots: Box<[Slot]>,
    all: Budget,
    all_at_once: u32,
    hasher: RandomState,
}

impl Handshakes {
    /// Nothing taken yet.
    pub(super) fn new(workers: usize) -> Self {
        let workers = u32::try_from(workers).unwrap_or(u32::MAX);
        Self {
            slots: vec![Slot { tag: 0, budget: Budget::FULL }; SLOTS].into_boxed_slice(),
            all: Budget::FULL,
            all_at_once: ALL_AT_ONCE.saturating_mul(workers),
            hasher: RandomState::new(),
        }
    }

    /// Takes a handshake out of the budget of a source and that of all, or neither. `streams` is how many streams without
    /// an allocation the source may have.
    pub(super) fn take(&mut self, now: Timestamp, source: IpAddr, streams: u32) -> bool {
        let tag = self.hasher.hash_one(subscriber(source));
        let at_once = streams.saturating_mul(AT_ONCE_PER_STREAM).max(MIN_AT_ONCE);
        let index = usize::try_from(tag % SLOTS as u64).unwrap_or(0);
        let slot = &mut self.slots[index];
        let budget = if slot.tag == tag { slot.budget } else { Budget::FULL };
        let own = budget.less_one(now, at_once, PERIOD);
        let all = self.all.less_one(now, self.all_at_once, PERIOD_OF_ALL);
        let (Some(budget), Some(all)) = (own, all) else { return false };
        *slot = Slot { tag, budget };
        self.all = all;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::after_start(Duration::from_millis(millis))
    }

    fn taken(handshakes: &mut Handshakes, millis: u64, source: &str, streams: u32) -> usize {
        let source = source.parse().unwrap();
        (0..5000).filter(|_| handshakes.take(at(millis), source, streams)).count()
    }

    #[test]
    fn a_prefix_shakes_hands_so_often_at_once_and_so_often_a_second() {
        let mut handshakes = Handshakes::new(4);
        assert_eq!(taken(&mut handshakes, 0, "8.8.8.8", 64), 256);
        assert_eq!(taken(&mut handshakes, 1000, "8.8.8.8", 64), 64);
        assert_eq!(taken(&mut handshakes, 1000, "8.8.4.4", 1), 256, "others do not suffer");
        assert_eq!(taken(&mut handshakes, 60_000, "8.8.8.8", 64), 256, "no more is saved");
        assert_eq!(taken(&mut handshakes, 60_000, "8.8.4.4", 1000), 4000, "many are expected there");
    }

    #[test]
    fn a_subscriber_of_ipv6_has_one_budget() {
        let mut handshakes = Handshakes::new(1);
        assert_eq!(taken(&mut handshakes, 0, "2a01:4f8:1:1101::1", 64), 256);
        assert_eq!(taken(&mut handshakes, 0, "2a01:4f8:1:11ff::2", 64), 0);
        assert_eq!(taken(&mut handshakes, 0, "2a01:4f8:1:1201::2", 64), 256);
    }

    #[test]
    fn all_together_have_a_budget_too_and_no_memory_grows() {
        let mut handshakes = Handshakes::new(2);
        let mut flood = |millis| {
            let sources = (0..100_000u32).map(|source| std::net::Ipv4Addr::from_bits(source).into());
            sources.filter(|source| handshakes.take(at(millis), *source, 64)).count()
        };
        assert_eq!(flood(0), 4000);
        assert_eq!(flood(500), 1000);
        assert_eq!(handshakes.slots.len(), SLOTS);
    }
}
