//! Where the kernel would not cut messages into datagrams (UDP_SEGMENT) although it can, and for how long it is not asked again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::offers::Offers;
use crate::time::Timestamp;

/// How long a destination is sent single datagrams after the kernel would not cut a message to it.
const REFUSAL: Duration = Duration::from_secs(60);
/// How long a listener sends single datagrams after its device could not cut one. Devices change: a cable is plugged in,
/// an option is switched, a route leads elsewhere.
const PAUSE: Duration = Duration::from_secs(300);
/// Destinations that are remembered; the oldest gives way.
const REFUSALS: usize = 64;

/// What one worker knows of it.
pub(super) struct Offload {
    offers: Arc<Offers>,
    refused: Vec<Refused>,
    /// When the listeners that have given up try again.
    listeners_again: Option<Timestamp>,
}

/// A destination to which the kernel would not cut a message into datagrams of some length.
#[derive(Clone, Copy)]
struct Refused {
    to: IpAddr,
    /// The shortest such length. A path that carries no such datagrams whole may carry shorter ones.
    len: usize,
    /// How long that is remembered.
    until: Timestamp,
}

impl Offload {
    pub(super) fn new(offers: Arc<Offers>) -> Self {
        Self { offers, refused: Vec::with_capacity(REFUSALS), listeners_again: None }
    }

    /// Whether messages to a destination are not to be cut into datagrams of this length.
    pub(super) fn is_refused(&self, to: IpAddr, len: usize, now: Timestamp) -> bool {
        let covers = |known: &Refused| known.to == to && known.len <= len && known.until > now;
        !self.refused.is_empty() && self.refused.iter().any(covers)
    }

    /// Remembers that.
    pub(super) fn refuse(&mut self, to: IpAddr, len: usize, now: Timestamp) {
        self.count_refusal();
        self.forget_expired(now);
        let known = self.refused.iter().find(|known| known.to == to).map(|known| known.len);
        self.refused.retain(|known| known.to != to);
        if self.refused.len() == REFUSALS {
            self.refused.remove(0);
        }
        let len = known.map_or(len, |known| known.min(len));
        self.refused.push(Refused { to, len, until: now + REFUSAL });
    }

    /// Remembers that a listener has given up.
    pub(super) fn listener_refused(&mut self, now: Timestamp) {
        self.listeners_again = Some(now + PAUSE);
    }

    /// Whether it is time for listeners that have given up to try again, which is said once.
    pub(super) fn is_time_again(&mut self, now: Timestamp) -> bool {
        self.listeners_again.take_if(|again| *again <= now).is_some()
    }

    /// Forgets what is over.
    pub(super) fn forget_expired(&mut self, now: Timestamp) {
        self.refused.retain(|known| known.until > now);
    }

    /// How often the kernel would not cut a message.
    #[cfg(test)]
    pub(super) fn refusals(&self) -> u64 {
        self.offers.told().refusals
    }

    /// Counts that the kernel would not cut a message. The first time is logged.
    pub(super) fn count_refusal(&self) {
        if self.offers.count_refusal() {
            tracing::info!(
                target: "relais::net",
                "the kernel would not cut a message into datagrams; they have been sent one by one, and so are those of this length to this destination for a minute, or all of this socket for longer"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_destination_is_refused_for_a_minute_and_the_oldest_gives_way() {
        let mut offload = Offload::new(Arc::new(Offers::ask()));
        let ip = |i: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0A00_0000 + i));
        let (start, second) = (Timestamp::START, Duration::from_secs(1));
        for i in 0..=u32::try_from(REFUSALS).unwrap() {
            offload.refuse(ip(i), 1200, start);
        }
        assert_eq!(offload.refused.len(), REFUSALS);
        assert!(!offload.is_refused(ip(0), 1200, start), "the oldest");
        assert!(offload.is_refused(ip(1), 1200, start));
        assert!(offload.is_refused(ip(1), 1200, start + (REFUSAL - second)));
        assert!(!offload.is_refused(ip(1), 1199, start), "shorter ones may pass");
        assert!(!offload.is_refused(ip(1), 1200, start + REFUSAL));
        offload.refuse(ip(1), 1000, start + REFUSAL);
        assert_eq!(offload.refused.len(), 1, "those that are over are forgotten");
        offload.refuse(ip(1), 1100, start + REFUSAL);
        assert!(offload.is_refused(ip(1), 1000, start + REFUSAL), "the shortest counts");
        assert_eq!(offload.refusals(), u64::try_from(REFUSALS).unwrap() + 3);
    }

    #[test]
    fn listeners_try_again_once_after_their_pause() {
        let mut offload = Offload::new(Arc::new(Offers::ask()));
        let start = Timestamp::START;
        assert!(!offload.is_time_again(start));
        offload.listener_refused(start);
        assert!(!offload.is_time_again(start + (PAUSE - Duration::from_secs(1))));
        assert!(offload.is_time_again(start + PAUSE));
        assert!(!offload.is_time_again(start + PAUSE));
    }
}
