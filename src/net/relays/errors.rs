//! What the network says about datagrams that relay sockets have sent.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use super::{FIRST_RELAY_TOKEN, Relay, Relays};
use crate::net::departure::Failure;
use crate::sys::{self, NetworkError};
use crate::time::Timestamp;
use crate::turn::{AllocationId, RelayToken};

/// ICMP errors of one relayed address that are told to its client in each [`PAUSE`]; more are nobody's news.
const ERRORS_OF_ONE: u8 = 32;
/// The same for all relayed addresses of a worker: anybody can forge them, and a flood shall not cost it a tenth of its time.
const ERRORS: u32 = 1024;
/// How long an address hears no errors when there were too many.
const PAUSE: Duration = Duration::from_millis(250);

/// What there is in the error queue of a relay socket.
pub(in crate::net) enum Heard {
    /// An error about a datagram of this allocation.
    Error(AllocationId, NetworkError),
    /// One that is no news to a client.
    Other,
    /// Nothing more.
    Nothing,
    /// Too many: the rest has been thrown away.
    TooMany,
}

impl Relays {
    /// Remembers what became of a departure: its failures, and whether the device behind the socket cannot cut.
    pub(in crate::net) fn note(&mut self, relay: RelayToken, failed: &[Failure], refused: bool) {
        for (error, to) in failed {
            self.note_failure(relay, error, *to);
        }
        if refused && let Some(relay) = self.sockets.get_mut(relay.0 as usize) {
            relay.cuts = false;
        }
    }

    /// Remembers where a datagram was to go that could not be sent, if the error queue will not say it.
    pub(super) fn note_failure(&mut self, relay: RelayToken, error: &std::io::Error, to: SocketAddr) {
        if error.raw_os_error() == Some(libc::EMSGSIZE)
            && let Some(relay) = self.sockets.get_mut(relay.0 as usize)
        {
            // Two ports of one address before the queue is read: either could be meant, so neither is named.
            let other = relay.too_long.as_ref().is_some_and(|known| known.ip() == to.ip() && **known != to);
            relay.too_long = Some(Box::new(SocketAddr::new(to.ip(), if other { 0 } else { to.port() })));
        }
    }

    /// Takes the next ICMP error about what a relay socket has sent.
    pub(in crate::net) fn next_error(&mut self, token: u64) -> Heard {
        let index = usize::try_from(token - FIRST_RELAY_TOKEN).unwrap_or(usize::MAX);
        let Some(relay) = self.sockets.get_mut(index).filter(|relay| !relay.ended) else {
            return Heard::Nothing;
        };
        if relay.heard == 0 {
            self.noisy.push(index);
        }
        if relay.heard >= ERRORS_OF_ONE || self.heard >= ERRORS {
            // The kernel throws the queue away, and each further error without waking anybody.
            relay.deaf = true;
            relay.hear(false);
            return Heard::TooMany;
        }
        relay.heard += 1;
        self.heard += 1;
        match sys::next_error(relay.socket.as_fd()) {
            Ok(Some(mut error)) => {
                let known = relay.too_long.as_deref();
                if let Some(known) = known.filter(|known| error.is_local && known.ip() == error.to.ip()) {
                    error.to = *known;
                }
                Heard::Error(relay.id, error)
            }
            Ok(None) => Heard::Other,
            Err(_) => {
                // An error that found no room in the queue still marks the socket as failed until it is asked for.
                let _ = relay.socket.take_error();
                relay.too_long = None;
                Heard::Nothing
            }
        }
    }

    /// Lets all sockets hear errors again when the pause is over.
    pub(in crate::net) fn hear_again(&mut self, now: Timestamp) {
        if now.since(self.heard_since) < PAUSE {
            return;
        }
        self.heard_since = now;
        self.heard = 0;
        for index in self.noisy.drain(..) {
            let Some(relay) = self.sockets.get_mut(index) else { continue };
            relay.heard = 0;
            if std::mem::take(&mut relay.deaf) {
                relay.hear(true);
            }
        }
    }
}

impl Relay {
    fn hear(&self, hear: bool) {
        let ipv6 = self.socket.local_addr().is_ok_and(|address| address.is_ipv6());
        // A socket that cannot be told so hears nothing, or too much: neither ends what it relays.
        let _ = sys::hear_errors(self.socket.as_fd(), ipv6, hear);
        let _ = self.socket.take_error();
    }
}
