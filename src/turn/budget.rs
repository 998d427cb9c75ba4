//! What a stranger may cost: a byte budget for unauthenticated answers and a rate of failed logins, for each
//! source prefix (/32 of IPv4, /56 of IPv6), in a table of fixed size.
//!
//! Each prefix has one slot, found by a keyed hash. A prefix that finds its slot taken by another one takes it
//! over with a full budget: what a flood from many sources gets that way is bounded by the burst of each, and no
//! memory grows.

use core::net::IpAddr;
use core::time::Duration;

use ahash::RandomState;

use crate::time::Timestamp;

/// Slots in the table, a power of two; 20 bytes each.
const SLOTS: usize = 8192;

/// What IP and UDP add to a message on the wire, in bytes.
const WIRE_OVERHEAD: usize = 28;

/// The answers that a prefix may get at once beyond what it pays for: 256 challenges of 84 bytes, on the wire.
const BURST: u32 = 256 * 112;

/// Bytes of answers a second that a prefix may get without paying, so that its burst comes back in five minutes.
const REFILL: u32 = BURST / 300;

/// Failed logins at once, and a second.
const LOGINS: u32 = 100;

/// Whether a login comes from where it says. Who has an own nonce has received it there; anybody can write any
/// source address on a datagram with another one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Proven,
    Unproven,
}

#[derive(Clone, Copy)]
struct Slot {
    /// Part of the hash that does not choose the slot; 0 for a slot never used.
    tag: u32,
    /// Bytes that may still be answered.
    answers: u32,
    /// Thousandths of failed logins that may still happen, by [`Origin`].
    logins: [u32; 2],
    /// Milliseconds since the start when it was last brought up to date, wrapping.
    updated: u32,
}

pub(super) struct Budget {
    slots: Vec<Slot>,
    hasher: RandomState,
}

impl Budget {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self { slots: vec![Slot { tag: 0, answers: 0, logins: [0; 2], updated: 0 }; SLOTS], hasher }
    }

    /// Pays for an answer of `answer` bytes to a request of `request` bytes. `false`: it must not be sent.
    pub(super) fn pay(&mut self, now: Timestamp, source: IpAddr, request: usize, answer: usize) -> bool {
        let slot = self.slot(now, source);
        let earned = slot.answers.saturating_add(on_wire(request)).min(BURST);
        match earned.checked_sub(on_wire(answer)) {
            Some(left) => {
                slot.answers = left;
                true
            }
            None => {
                slot.answers = earned;
                false
            }
        }
    }

    /// Pays like [`Self::pay`], but leaves half of the burst for answers that clients cannot do without.
    pub(super) fn pay_from_plenty(
        &mut self,
        now: Timestamp,
        source: IpAddr,
        request: usize,
        answer: usize,
    ) -> bool {
        let plenty = self.slot(now, source).answers >= BURST / 2 + on_wire(answer);
        plenty && self.pay(now, source, request, answer)
    }

    /// Whether a login from here may be tried at all.
    pub(super) fn may_log_in(&mut self, now: Timestamp, source: IpAddr, origin: Origin) -> bool {
        self.slot(now, source).logins[origin as usize] >= 1000
    }

    /// Counts a failed login.
    pub(super) fn login_failed(&mut self, now: Timestamp, source: IpAddr, origin: Origin) {
        let logins = &mut self.slot(now, source).logins[origin as usize];
        *logins = logins.saturating_sub(1000);
    }

    /// The slot of a prefix, taken over if need be and brought up to date.
    fn slot(&mut self, now: Timestamp, source: IpAddr) -> &mut Slot {
        let hash = self.hasher.hash_one(prefix(source));
        let tag = u32::try_from(hash >> 32).unwrap_or(0) | 1;
        let millis = (now.since(Timestamp::START).as_millis() & 0xFFFF_FFFF) as u32;
        let index = usize::try_from(hash % SLOTS as u64).unwrap_or(0);
        let slot = &mut self.slots[index];
        if slot.tag != tag {
            *slot = Slot { tag, answers: BURST, logins: [LOGINS * 1000; 2], updated: millis };
            return slot;
        }
        let idle = Duration::from_millis(u64::from(millis.wrapping_sub(slot.updated)).min(300_000));
        let idle = u32::try_from(idle.as_millis()).unwrap_or(0);
        // Whole bytes only; the rest of a byte's time is kept for the next visit.
        let bytes = idle / 1000 * REFILL + idle % 1000 * REFILL / 1000;
        if bytes > 0 || idle >= 300_000 {
            slot.answers = slot.answers.saturating_add(bytes).min(BURST);
            for logins in &mut slot.logins {
                *logins = logins.saturating_add(idle.saturating_mul(LOGINS)).min(LOGINS * 1000);
            }
            slot.updated = millis;
        }
        slot
    }
}

fn on_wire(len: usize) -> u32 {
    u32::try_from(len + WIRE_OVERHEAD).unwrap_or(u32::MAX)
}

/// The part of an address that one subscriber holds.
fn prefix(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, ..] = ip.octets();
            u64::from_be_bytes([a, b, c, d, e, f, g, 1])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget::new(RandomState::with_seeds(1, 2, 3, 4))
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::after_start(Duration::from_millis(millis))
    }

    const HERE: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(8, 8, 8, 8));

    #[test]
    fn after_the_burst_no_more_goes_out_than_comes_in() {
        let mut budget = budget();
        let (mut sent, mut received) = (0, 0);
        for i in 0..100_000u64 {
            received += 20 + 28;
            if budget.pay(at(i / 100), HERE, 20, 84) {
                sent += 84 + 28;
            }
        }
        assert!(sent <= received + u64::from(BURST) + u64::from(REFILL), "{sent} for {received}");
        assert!(sent > received, "the burst is there");
    }

    #[test]
    fn an_office_behind_one_address_comes_back_at_once_and_again_later() {
        let mut budget = budget();
        for round in 0..2 {
            let answered = (0..256).filter(|_| budget.pay(at(round * 301_000), HERE, 20, 84)).count();
            assert_eq!(answered, 256);
        }
    }

    #[test]
    fn a_hundred_logins_fail_a_second_and_other_prefixes_do_not_suffer() {
        let mut budget = budget();
        let mut tried = 0;
        for i in 0..20_000u64 {
            if budget.may_log_in(at(i / 2), HERE, Origin::Unproven) {
                budget.login_failed(at(i / 2), HERE, Origin::Unproven);
                tried += 1;
            }
        }
        assert!((1000..=1101).contains(&tried), "{tried} in ten seconds");
        assert!(budget.may_log_in(at(10_000), "8.8.4.4".parse().unwrap(), Origin::Unproven));
        assert!(budget.may_log_in(at(10_000), HERE, Origin::Proven), "forged sources lock nobody out");
    }

    #[test]
    fn a_prefix_is_32_bits_of_ipv4_and_56_of_ipv6() {
        let of = |text: &str| prefix(text.parse().unwrap());
        assert_ne!(of("8.8.8.8"), of("8.8.8.9"));
        assert_eq!(of("2a01:4f8:1:1100::1"), of("2a01:4f8:1:11ff:ffff::2"));
        assert_ne!(of("2a01:4f8:1:1100::1"), of("2a01:4f8:1:1200::1"));
    }
}
