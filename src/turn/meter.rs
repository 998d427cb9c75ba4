//! What a credential's policy leaves an allocation: its bit rate, and its part of the byte budget.

use core::time::Duration;

use super::DropReason;
use crate::auth::Policy;
use crate::time::Timestamp;

/// How far a burst may run ahead of the rate.
const BURST: Duration = Duration::from_millis(250);
/// But so many full packets pass at once, however low the rate.
const BURST_PACKETS: u64 = 4;
/// The payload of a full packet, in bytes.
const FULL_PACKET: u64 = 1500;
/// The largest and the smallest part of a budget that an allocation holds at once, in bytes.
const LARGEST_SHARE: u64 = 1 << 20;
const SMALLEST_SHARE: u64 = 1 << 11;
/// What a budget is parted into as long as these bounds allow.
const SHARES: u64 = 16;

/// The account of one allocation. Only those have one whose credential says something of rate or bytes.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) rate: Option<Rate>,
    /// Bytes that may still pass before more have to be drawn.
    pub(super) share: Option<u64>,
    /// The budget of the credential, in bytes.
    pub(super) budget: u64,
    /// There was nothing more to draw.
    pub(super) spent: bool,
}

/// A leaky bucket, as the time at which it will have run empty.
#[derive(Debug)]
pub(super) struct Rate {
    bits_per_second: u64,
    burst: Duration,
    empty_at: Timestamp,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toll {
    /// It passes.
    Paid,
    /// It does not.
    Refused(DropReason),
    /// So many bytes have to be drawn first, or there is an end.
    Draw(u64),
}

impl Rate {
    fn new(bits_per_second: u64) -> Self {
        let few_packets = span(BURST_PACKETS * FULL_PACKET, bits_per_second);
        Self { bits_per_second, burst: BURST.max(few_packets), empty_at: Timestamp::START }
    }

    fn take(&mut self, now: Timestamp, bytes: u64) -> bool {
        let empty_at = self.empty_at.max(now) + span(bytes, self.bits_per_second);
        let fits = empty_at.since(now) <= self.burst;
        if fits {
            self.empty_at = empty_at;
        }
        fits
    }

    /// When all that has been taken so far will have had its time.
    pub(super) const fn empty_at(&self) -> Timestamp {
        self.empty_at
    }

    /// How long it takes until what was to be empty then is so, but for a burst.
    pub(super) fn wait(&self, now: Timestamp, empty_at: Timestamp) -> Duration {
        empty_at.since(now).saturating_sub(self.burst)
    }

    /// Takes what has passed already.
    pub(super) fn owe(&mut self, now: Timestamp, bytes: u64) {
        self.empty_at = self.empty_at.max(now) + span(bytes, self.bits_per_second);
    }

    /// A part of the burst that is worth a system call, in bytes.
    pub(super) fn piece(&self) -> u64 {
        let burst = u128::from(self.bits_per_second) * self.burst.as_nanos() / 8_000_000_000;
        u64::try_from(burst / u128::from(BURST_PACKETS)).unwrap_or(u64::MAX)
    }
}

/// How long so many bytes take.
fn span(bytes: u64, bits_per_second: u64) -> Duration {
    Duration::from_nanos(bytes.saturating_mul(8_000_000_000) / bits_per_second.max(1))
}

impl Meter {
    /// With less than this left of a budget no allocation begins, in bytes.
    pub(super) const LEAST: u64 = FULL_PACKET;

    /// `None`: the policy says nothing of rate and bytes. `share` is what has been drawn at the start.
    pub(super) fn of(policy: Option<&Policy>, share: u64) -> Option<Box<Self>> {
        let policy = policy?;
        if policy.rate.is_none() && policy.bytes.is_none() {
            return None;
        }
        Some(Box::new(Self {
            rate: policy.rate.map(Rate::new),
            share: policy.bytes.map(|_| share),
            budget: policy.bytes.unwrap_or(0),
            spent: false,
        }))
    }

    /// How much of a budget is drawn at once, for a packet of `bytes`.
    pub(super) fn portion(budget: u64, bytes: u64) -> u64 {
        (budget / SHARES).clamp(SMALLEST_SHARE, LARGEST_SHARE).max(bytes)
    }

    /// Asks for a packet with `bytes` of payload. What is refused has cost nothing.
    pub(super) fn pay(&mut self, now: Timestamp, bytes: usize) -> Toll {
        let bytes = bytes as u64;
        if let Some(share) = self.share {
            if self.spent {
                return Toll::Refused(DropReason::Budget);
            }
            if share < bytes {
                return Toll::Draw(Self::portion(self.budget, bytes - share));
            }
        }
        if let Some(rate) = &mut self.rate
            && !rate.take(now, bytes)
        {
            return Toll::Refused(DropReason::Rate);
        }
        if let Some(share) = &mut self.share {
            *share -= bytes;
        }
        Toll::Paid
    }

    /// Takes what has been drawn.
    pub(super) fn add(&mut self, drawn: u64) {
        if let Some(share) = &mut self.share {
            *share += drawn;
        }
    }

    /// What is left when the allocation ends.
    pub(super) fn rest(&self) -> u64 {
        self.share.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::after_start(Duration::from_millis(millis))
    }

    fn meter(policy: &str, share: u64) -> Box<Meter> {
        Meter::of(Some(&Policy::parse(policy).unwrap()), share).unwrap()
    }

    #[test]
    fn without_rate_and_bytes_there_is_none() {
        assert!(Meter::of(None, 0).is_none());
        assert!(Meter::of(Some(&Policy::parse("tag=x&allocations=2").unwrap()), 0).is_none());
    }

    #[test]
    fn a_quarter_of_a_second_passes_at_once_and_then_the_rate() {
        // 1 Mbit/s: 125 packets of 1,000 bytes a second.
        let mut meter = meter("rate=1000000", 0);
        let passes = |meter: &mut Meter, millis| {
            (0..1000).filter(|_| meter.pay(at(millis), 1000) == Toll::Paid).count()
        };
        assert_eq!(passes(&mut meter, 1000), 31);
        assert_eq!(meter.pay(at(1000), 1000), Toll::Refused(DropReason::Rate));
        let in_a_second: usize = (1..=1000).map(|millis| passes(&mut meter, 1000 + millis)).sum();
        assert!((124..=126).contains(&in_a_second), "{in_a_second}");
    }

    #[test]
    fn a_low_rate_lets_a_few_packets_through() {
        let mut meter = meter("rate=8000", 0);
        let passed = (0..10).filter(|_| meter.pay(at(1000), 1500) == Toll::Paid).count();
        assert_eq!(passed, 4);
        assert_eq!(meter.pay(at(2400), 1500), Toll::Refused(DropReason::Rate));
        assert_eq!(meter.pay(at(2600), 1500), Toll::Paid);
    }

    #[test]
    fn bytes_are_drawn_in_portions_and_never_go_below_nothing() {
        let mut meter = meter("bytes=100000", 1000);
        assert_eq!(meter.pay(at(0), 900), Toll::Paid);
        assert_eq!(meter.pay(at(0), 200), Toll::Draw(6250));
        meter.add(6250);
        assert_eq!(meter.pay(at(0), 200), Toll::Paid);
        assert_eq!(meter.rest(), 6150);
        meter.spent = true;
        assert_eq!(meter.pay(at(0), 1), Toll::Refused(DropReason::Budget));
        assert_eq!(Meter::portion(1, 5000), 5000);
        assert_eq!(Meter::portion(u64::MAX, 1), LARGEST_SHARE);
    }

    #[test]
    fn what_the_rate_refuses_is_not_paid_from_the_budget() {
        let mut meter = meter("rate=8000&bytes=1000000", 100_000);
        while meter.pay(at(0), 1500) == Toll::Paid {}
        assert_eq!(meter.rest(), 100_000 - 4 * 1500);
    }
}
