//! The `iceServers` of the running server.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Settings;
use crate::config::ice::{Endpoint, EndpointTransport, IceServers, ice_servers};
use crate::http::IceSource;
use crate::net::{Clock, RelayAddress};
use crate::turn::Transport;

/// Gives out credentials made with the newest secret.
pub(super) struct Grants {
    settings: watch::Receiver<Arc<Settings>>,
    endpoints: Vec<Endpoint>,
    /// The name for those who reach this machine by a name that only it understands.
    address: String,
    /// Whether somebody vouches for a certificate of the TLS listeners.
    trusted: Option<watch::Receiver<bool>>,
    clock: Clock,
}

impl Grants {
    pub(super) fn new(
        settings: watch::Receiver<Arc<Settings>>,
        bound: &[(Transport, std::net::SocketAddr)],
        relay: &[RelayAddress],
        trusted: Option<watch::Receiver<bool>>,
    ) -> Self {
        let mut endpoints = Vec::new();
        for (transport, address) in bound {
            let transport = match transport {
                Transport::Udp => EndpointTransport::Udp,
                Transport::Tcp => EndpointTransport::Tcp,
                Transport::Tls => EndpointTransport::Tls,
                Transport::Dtls => continue,
            };
            let endpoint = Endpoint { transport, port: address.port() };
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
        // A server that listens on loopback alone is reached there alone.
        let loopback = bound.iter().all(|(_, address)| address.ip().is_loopback());
        let public = relay.iter().find(|address| address.public.is_ipv4()).or_else(|| relay.first());
        let address = match (loopback, bound.first(), public) {
            (true, Some((_, bound)), _) => bound.ip(),
            (_, _, Some(relay)) => relay.public,
            _ => IpAddr::from([127, 0, 0, 1]),
        };
        Self { settings, endpoints, address: address.to_string(), trusted, clock: Clock::start() }
    }

    /// For a host as a request named it. A loopback name means this machine, whose address browsers need to be
    /// told: they do not use loopback for calls.
    pub(super) fn for_host(&self, host: &str, user: &str) -> IceServers {
        let settings = Arc::clone(&self.settings.borrow());
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = bare.eq_ignore_ascii_case("localhost")
            || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let host = match (settings.http.host.as_str(), is_loopback) {
            ("", true) => &self.address,
            ("", false) => host,
            (configured, _) => configured,
        };
        // Browsers ask their users about the certificate of a page, not of a relay.
        let trusted = self.trusted.as_ref().is_some_and(|trusted| *trusted.borrow());
        let usable = |endpoint: &&Endpoint| trusted || endpoint.transport != EndpointTransport::Tls;
        let endpoints: Vec<Endpoint> = self.endpoints.iter().filter(usable).copied().collect();
        ice_servers(&settings, &endpoints, host, user, self.clock.now().unix, settings.http.ttl)
    }

    /// For whoever reads the terminal.
    pub(super) fn for_operator(&self) -> IceServers {
        self.for_host("localhost", "trial")
    }
}

impl IceSource for Grants {
    fn grant(&self, host: &str, user: &str) -> serde_json::Value {
        serde_json::to_value(self.for_host(host, user)).unwrap_or_default()
    }
}
