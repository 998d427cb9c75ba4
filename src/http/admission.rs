//! A token bucket for each source address, in a table that cannot grow without bound.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What one subscriber has: an IPv4 address, or the /56 of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix(IpAddr);

impl Prefix {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) if !v6.is_loopback() => {
                Self(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 72)).into())
            }
            other => Self(other),
        }
    }

    /// The address; of an IPv6 one, the first of its /56.
    pub(super) const fn address(self) -> IpAddr {
        self.0
    }

    pub(super) const fn is_loopback(self) -> bool {
        self.0.is_loopback()
    }

    /// A name without characters that mean something in a user name or URL.
    pub(super) fn label(self) -> String {
        match self.0 {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("{:014x}", v6.to_bits() >> 72),
        }
    }
}

/// A token bucket that may go into debt: whoever takes learns how long to wait until the debt is paid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    burst: f64,
    per_second: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        Self { burst: burst.into(), per_second: per_second.into(), level: burst.into(), at: now }
    }

    fn refill(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.level = (self.level + gained).min(self.burst);
        self.at = now;
    }

    /// Takes `amount`, and says how long to wait before going on (zero: not at all).
    pub(super) fn take(&mut self, amount: u32, now: Instant) -> Duration {
        self.refill(now);
        self.level -= f64::from(amount);
        if self.level >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-self.level / self.per_second)
        }
    }

    /// Takes one if there is one; else says how long until then.
    fn try_take(&mut self, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        if self.level < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.level) / self.per_second));
        }
        self.level -= 1.0;
        Ok(())
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.level >= self.burst
    }
}

/// The most addresses, or whoever is counted, remembered.
const MAX_PREFIXES: usize = 8192;

/// How often each address, or whoever else is counted, gets `iceServers`.
pub(super) struct Admission<K = Prefix> {
    burst: u32,
    per_second: u32,
    table: Mutex<BTreeMap<K, Bucket>>,
}

impl<K: Ord + Clone> Admission<K> {
    pub(super) fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second, table: Mutex::new(BTreeMap::new()) }
    }

    /// Takes one for `who`, or says how long until there is one.
    pub(super) async fn charge(&self, who: K) -> Result<(), Duration> {
        self.charge_at(who, Instant::now()).await
    }

    async fn charge_at(&self, who: K, now: Instant) -> Result<(), Duration> {
        let mut table = self.table.lock().await;
        if !table.contains_key(&who) && table.len() >= MAX_PREFIXES {
            // Who is not in the table starts with a full bucket, so full ones need no place in it.
            table.retain(|_, bucket| !bucket.is_full(now));
            if table.len() >= MAX_PREFIXES {
                // Under a flood of addresses forget the quietest: it is the nearest to being full again.
                let quietest = table.iter().min_by_key(|(_, bucket)| bucket.at).map(|(who, _)| who.clone());
                quietest.map(|who| table.remove(&who));
            }
        }
        table.entry(who).or_insert_with(|| Bucket::new(self.burst, self.per_second, now)).try_take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_then_a_trickle() {
        let (admission, now) = (Admission::new(20, 1), Instant::now());
        let one = Prefix::of("203.0.113.1".parse().unwrap());
        for _ in 0..20 {
            assert!(admission.charge_at(one, now).await.is_ok());
        }
        assert!(admission.charge_at(one, now).await.is_err());
        assert!(admission.charge_at(Prefix::of("203.0.113.2".parse().unwrap()), now).await.is_ok());
        let later = now + Duration::from_millis(1100);
        assert!(admission.charge_at(one, later).await.is_ok());
        assert!(admission.charge_at(one, later).await.is_err());
    }

    #[test]
    fn an_ipv6_subscriber_is_a_56() {
        let of = |text: &str| Prefix::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:ff::1"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:101::1"));
        assert_eq!(of("::ffff:203.0.113.1"), of("203.0.113.1"));
        assert!(of("::1").is_loopback() && !of("::2").is_loopback());
        assert_eq!(of("2001:db8:0:1::1").label(), "20010db8000000");
    }

    #[tokio::test]
    async fn the_table_stays_bounded_and_keeps_serving() {
        let (admission, now) = (Admission::new(2, 1), Instant::now());
        for n in 0..MAX_PREFIXES + 500 {
            let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(n).unwrap()));
            assert!(admission.charge_at(Prefix::of(address), now).await.is_ok());
            assert!(admission.table.lock().await.len() <= MAX_PREFIXES);
        }
    }

    #[test]
    fn debt_is_paid_by_waiting() {
        let now = Instant::now();
        let mut bucket = Bucket::new(2, 20, now);
        assert_eq!(bucket.take(2, now), Duration::ZERO);
        assert_eq!(bucket.take(1, now), Duration::from_millis(50));
        assert_eq!(bucket.take(1, now), Duration::from_millis(100));
    }
}
