//! What the kernel does for the relay beyond single datagrams: merging received ones (UDP_GRO) and cutting sent messages
//! (UDP_SEGMENT). Neither is needed, and each may be missing or fail at any time.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sys;
use crate::time::Timestamp;

/// How long a destination is sent single datagrams after the kernel would not cut a message to it.
const REFUSAL: Duration = Duration::from_secs(60);
/// Destinations remembered for that; the oldest gives way.
const REFUSALS: usize = 64;

/// What the kernel of this machine offers, and how often it then would not.
#[derive(Debug)]
pub(super) struct Offers {
    /// It merges datagrams.
    pub(super) merges: bool,
    /// It cuts messages.
    pub(super) cuts: bool,
    refusals: AtomicU64,
}

impl Offers {
    /// Asks the kernel.
    pub(super) fn ask() -> Self {
        // Any socket will do, bound or not.
        let probe = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let ask = |what: fn(&UdpSocket) -> bool| probe.as_ref().is_ok_and(what);
        let offers = Self {
            merges: ask(|socket| sys::merge(socket.as_fd(), true).is_ok()),
            cuts: ask(|socket| sys::can_segment(socket.as_fd())),
            refusals: AtomicU64::new(0),
        };
        for (there, name, what) in [
            (offers.merges, "UDP_GRO", "received datagrams are taken one by one"),
            (offers.cuts, "UDP_SEGMENT", "datagrams are sent one by one"),
        ] {
            if !there {
                tracing::warn!(
                    target: "relais::net",
                    option = name,
                    "the kernel or a seccomp filter does not offer this socket option: {what}, which costs speed and nothing else"
                );
            }
        }
        offers
    }

    /// What there is to tell of it.
    pub(super) fn told(&self) -> KernelOffload {
        let Self { merges, cuts, refusals } = self;
        KernelOffload { merges: *merges, cuts: *cuts, refusals: refusals.load(Ordering::Relaxed) }
    }
}

/// What the kernel does for the relay beyond single datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelOffload {
    /// It merges received datagrams of one sender (UDP_GRO).
    pub merges: bool,
    /// It cuts long messages into datagrams (UDP_SEGMENT).
    pub cuts: bool,
    /// How often it then would not cut one, so that the datagrams were sent one by one.
    pub refusals: u64,
}

/// What one worker knows of it.
pub(super) struct Offload {
    offers: Arc<Offers>,
    refused: Vec<Refused>,
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
        Self { offers, refused: Vec::with_capacity(REFUSALS) }
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
        if self.offers.refusals.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::info!(
                target: "relais::net",
                "the kernel would not cut a message into datagrams; they have been sent one by one, and so are those of this length to this destination for a minute, or all of this socket"
            );
        }
    }
}

#[cfg(test)]
mod tests {
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
}
