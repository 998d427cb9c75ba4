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

    /// How often the kernel would not cut a message after all.
    #[cfg_attr(not(test), expect(dead_code))]
    pub(super) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }
}

/// What one worker knows of it.
pub(super) struct Offload {
    offers: Arc<Offers>,
    /// Destinations, and until when.
    refused: Vec<(IpAddr, Timestamp)>,
}

impl Offload {
    pub(super) fn new(offers: Arc<Offers>) -> Self {
        Self { offers, refused: Vec::with_capacity(REFUSALS) }
    }

    /// Whether messages to a destination are not to be cut.
    pub(super) fn is_refused(&self, to: IpAddr, now: Timestamp) -> bool {
        !self.refused.is_empty() && self.refused.iter().any(|(ip, until)| *ip == to && *until > now)
    }

    /// Remembers that.
    pub(super) fn refuse(&mut self, to: IpAddr, now: Timestamp) {
        self.count_refusal();
        self.refused.retain(|(ip, until)| *ip != to && *until > now);
        if self.refused.len() == REFUSALS {
            self.refused.remove(0);
        }
        self.refused.push((to, now + REFUSAL));
    }

    /// Counts that the kernel would not cut a message. The first time is logged.
    pub(super) fn count_refusal(&self) {
        if self.offers.refusals.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::info!(
                target: "relais::net",
                "the kernel would not cut a message into datagrams; they have been sent one by one, and so are those to this destination for a minute, or all of this socket"
            );
        }
    }
}
