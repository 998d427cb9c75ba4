//! What the system offers a relay beyond plain sockets. Nothing of it is needed: old kernels, sandboxes and systems other
//! than Linux lack one thing or another. All is asked once, at the start, and what is missing is told then.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use socket2::{Domain, Socket, Type};

use crate::sys;

/// Something that the system may offer.
struct Feature {
    /// How metrics call it.
    label: &'static str,
    /// What the system calls it.
    name: &'static str,
    /// How it is without.
    without: &'static str,
    /// Asks for it, with a socket that nobody uses.
    ask: fn(BorrowedFd<'_>) -> bool,
}

const MERGES: usize = 0;
const CUTS: usize = 1;
const FEATURES: [Feature; 7] = [
    Feature {
        label: "gro",
        name: "UDP_GRO",
        without: "received datagrams are taken one by one, which costs speed and nothing else",
        ask: |socket| sys::merge(socket, true).is_ok(),
    },
    Feature {
        label: "gso",
        name: "UDP_SEGMENT",
        without: "datagrams are sent one by one, which costs speed and nothing else",
        ask: |socket| sys::can_segment(socket),
    },
    Feature {
        label: "batch",
        name: "recvmmsg and sendmmsg",
        without: "each datagram takes a system call of its own, which costs speed and nothing else",
        ask: |_| sys::has_batches(),
    },
    Feature {
        label: "timer",
        name: "timerfd_create",
        without: "timers take more system calls, which costs speed and nothing else",
        ask: |_| sys::has_timers(),
    },
    Feature {
        label: "df",
        name: "IP_MTU_DISCOVER",
        without: "packets leave with DF as the system sets it, and a datagram over IPv4 with DONT-FRAGMENT is dropped",
        ask: |socket| sys::keep_whole(socket, true).is_ok() && sys::keep_whole(socket, false).is_ok(),
    },
    Feature {
        label: "tos",
        name: "IP_RECVTOS",
        without: "DSCP and ECN do not pass from client to peer and back",
        ask: |socket| sys::tell_tos(socket, false).is_ok(),
    },
    Feature {
        label: "icmp",
        name: "IP_RECVERR",
        without: "clients are not told of ICMP errors",
        ask: |socket| sys::hear_errors(socket, false, true).is_ok(),
    },
];

/// What the system offers, and how often it then would not.
#[derive(Debug)]
pub(super) struct Offers {
    /// It merges datagrams.
    pub(super) merges: bool,
    /// It cuts messages.
    pub(super) cuts: bool,
    there: [bool; FEATURES.len()],
    refusals: AtomicU64,
}

impl Offers {
    /// Asks the system, and tells the operator what is missing.
    pub(super) fn ask() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None);
        // Of a socket of IPv6, which is not told to be that alone, the options of IPv4 can be asked as well.
        let socket = socket.or_else(|_| Socket::new(Domain::IPV6, Type::DGRAM, None));
        let there = FEATURES.map(|feature| socket.as_ref().is_ok_and(|socket| (feature.ask)(socket.as_fd())));
        if sys::hints::BEYOND_DATAGRAMS {
            for Feature { name, without, .. } in missing(there) {
                tracing::warn!(
                    target: "relais::net",
                    missing = name,
                    "the kernel or a sandbox (a seccomp filter, gVisor) does not offer this: {without}"
                );
            }
        } else {
            let missing: Vec<_> = missing(there).map(|feature| feature.label).collect();
            tracing::info!(
                target: "relais::net",
                missing = missing.join(" "),
                "datagrams are received and sent one by one on this system; the metric relais_udp_offload says what else it lacks"
            );
        }
        Self { merges: there[MERGES], cuts: there[CUTS], there, refusals: AtomicU64::new(0) }
    }

    /// Counts that the kernel would not cut a message. Says whether it was the first one.
    pub(super) fn count_refusal(&self) -> bool {
        self.refusals.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// What there is to tell of it.
    pub(super) fn told(&self) -> KernelOffload {
        let there = FEATURES.iter().zip(self.there).filter(|(_, there)| *there);
        let features = there.map(|(feature, _)| feature.label).collect();
        KernelOffload { features, refusals: self.refusals.load(Ordering::Relaxed) }
    }
}

fn missing(there: [bool; FEATURES.len()]) -> impl Iterator<Item = Feature> {
    FEATURES.into_iter().zip(there).filter(|(_, there)| !there).map(|(feature, _)| feature)
}

/// What the kernel does for the relay beyond plain sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelOffload {
    /// What it does, by the labels of the metric.
    pub features: Vec<&'static str>,
    /// How often it would not cut a message although it can, so that the datagrams were sent one by one.
    pub refusals: u64,
}
