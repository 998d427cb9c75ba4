//! 300 Try Alternate (RFC 8656 §7.2 step 11, RFC 8489 §10): to clients that have logged in, never to strangers.

use core::net::SocketAddr;
use std::sync::Arc;

use super::{FiveTuple, Server, Transport};
use crate::wire::{Integrity, Message, MessageWriter, attr};

/// Where clients are sent instead.
#[derive(Clone, Debug, Default)]
pub struct Alternates {
    /// The transport addresses of the other servers; empty: nobody is redirected.
    pub servers: Vec<SocketAddr>,
    /// The name in their certificate, when it differs from this server's.
    pub domain: Option<Arc<str>>,
    /// Whether clients are redirected only while this server drains.
    pub only_draining: bool,
}

/// The server that one client is sent to.
pub(super) struct Redirect {
    /// Of the client's address family.
    server: SocketAddr,
    /// Of the other one.
    other: Option<SocketAddr>,
    domain: Option<Arc<str>>,
}

impl Redirect {
    pub(super) fn write(&self, writer: &mut MessageWriter<'_>) {
        writer.address(attr::ALTERNATE_SERVER, self.server);
        if let Some(other) = self.other {
            writer.address(attr::ALTERNATE_SERVER, other);
        }
        if let Some(domain) = &self.domain {
            writer.attribute(attr::ALTERNATE_DOMAIN, domain.as_bytes());
        }
    }
}

impl Server {
    /// Where the client of this request has to go, if anywhere. Clients are spread over the servers of their family;
    /// without one they stay, as the answer has to name one (RFC 8489 §10).
    pub(super) fn redirect(&self, message: &Message<'_>, tuple: &FiveTuple) -> Option<Redirect> {
        let alternates = &self.settings.alternates;
        if alternates.only_draining && !self.draining {
            return None;
        }
        let [.., spread] = message.transaction().0;
        let client = tuple.client.0;
        let pick = |same_family: bool| {
            let fits = |server: &&SocketAddr| (server.is_ipv4() == client.is_ipv4()) == same_family;
            let count = alternates.servers.iter().filter(fits).count();
            alternates.servers.iter().filter(fits).nth(usize::from(spread).checked_rem(count)?).copied()
        };
        let server = pick(true)?;
        let other = pick(false);
        // Only such clients know the attribute, and only they can trust it.
        let knows_domain = matches!(tuple.transport, Transport::Tls | Transport::Dtls)
            && message.integrity() == Some(Integrity::Sha256);
        let domain = alternates.domain.clone().filter(|_| knows_domain);
        Some(Redirect { server, other, domain })
    }
}
