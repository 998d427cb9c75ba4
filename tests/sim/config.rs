//! What the operator has set, in plain values: the cluster builds the server's settings from it, and the oracle
//! reads the same values by itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use relais::auth::{self, Authenticator, Credential, SharedSecret, User};
use relais::turn::{Alternates, Discovery, DiscoveryAddress, Limits, PeerPolicy, PolicyRule, Settings};

use super::world::{REALM_TEXT, addr};

/// Where clients of either family send to. Relayed addresses have the same two IP addresses.
pub const LISTEN4: &str = "8.34.2.1:3478";
pub const LISTEN6: &str = "[2a01:4f8:34::1]:3478";
/// Another address of the machine, never a peer. NAT discovery answers from it.
pub const OWN: &str = "8.34.2.2";
/// The ports of NAT discovery: both at both addresses of IPv4 (RFC 5780 §6).
pub const DISCOVERY_PORTS: [u16; 2] = [3478, 3479];
/// The port of TLS and DTLS, at either address of [`LISTEN4`] and [`LISTEN6`].
pub const SECURE_PORT: u16 = 5349;
/// Other servers that clients are sent to.
pub const ALTERNATES: [&str; 3] = ["8.40.0.1:3478", "8.40.0.2:3478", "[2a01:4f8:40::1]:3478"];

/// When clients are sent to other servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    Never,
    Draining,
    Always,
}

#[derive(Clone)]
pub struct Config {
    pub users: BTreeMap<String, String>,
    pub secrets: Vec<String>,
    pub deny: Vec<(IpAddr, u8)>,
    pub permissions: usize,
    pub channels: usize,
    pub max_lifetime: u64,
    pub nonce_lifetime: u64,
    pub quota: u32,
    pub ports: (u16, u16),
    pub draining: bool,
    pub mobility: bool,
    /// TCP allocations (RFC 6062), and how many connections each may have.
    pub tcp: bool,
    pub connections: usize,
    /// NAT discovery (RFC 5780).
    pub discovery: bool,
    pub redirect: Redirect,
    pub expired: auth::Expired,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            users: BTreeMap::from([("mallory".into(), "malice".into())]),
            secrets: Vec::new(),
            deny: Vec::new(),
            permissions: 1024,
            channels: 1024,
            max_lifetime: 3600,
            nonce_lifetime: 600,
            quota: 100,
            ports: (49_152, 49_407),
            draining: false,
            mobility: true,
            tcp: false,
            connections: 16,
            discovery: false,
            redirect: Redirect::Never,
            expired: auth::Expired::default(),
        }
    }
}

impl Config {
    pub fn settings(&self) -> Settings {
        let users = self.users.iter().map(|(name, password)| User {
            name: name.clone(),
            credential: Credential::Password(password.clone().into()),
        });
        let secrets = self
            .secrets
            .iter()
            .map(|secret| SharedSecret { name: secret.clone(), secret: secret.as_bytes().to_vec().into() });
        let login = auth::Settings {
            realm: REALM_TEXT.into(),
            nonce_lifetime: Duration::from_secs(self.nonce_lifetime),
            users: users.collect(),
            secrets: secrets.collect(),
            separator: ':',
            expired: self.expired,
            oauth: Vec::new(),
            server_name: String::new(),
        };
        let deny =
            |(network, prefix): &(IpAddr, u8)| PolicyRule { network: *network, prefix: *prefix, ports: None };
        let policy = PeerPolicy {
            deny: self.deny.iter().map(deny).collect(),
            own: vec![OWN.parse().unwrap()],
            relayed: vec![addr(LISTEN4).ip(), addr(LISTEN6).ip()],
            listeners: self.listeners(),
            ..PeerPolicy::default()
        };
        Settings {
            limits: Limits {
                permissions: self.permissions,
                channels: self.channels,
                connections: self.connections,
                max_lifetime: Duration::from_secs(self.max_lifetime),
            },
            mobility: self.mobility,
            tcp: self.tcp,
            discovery: self.discoveries().into(),
            alternates: self.alternates(),
            ..Settings::new(Arc::new(Authenticator::new(login, &[42; 32]).unwrap()), Arc::new(policy))
        }
    }
    fn discoveries(&self) -> Vec<Discovery> {
        let address = |ip: IpAddr| DiscoveryAddress { local: ip, public: ip };
        let addresses = [address(addr(LISTEN4).ip()), address(OWN.parse().unwrap())];
        if self.discovery { vec![Discovery { addresses, ports: DISCOVERY_PORTS }] } else { Vec::new() }
    }

    /// The four transport addresses of NAT discovery, if it is offered: for each of the two addresses both ports.
    pub fn corners(&self) -> Vec<SocketAddr> {
        let addresses = [addr(LISTEN4).ip(), OWN.parse().unwrap()];
        let both = |ip: IpAddr| DISCOVERY_PORTS.map(|port| SocketAddr::new(ip, port));
        if self.discovery { addresses.into_iter().flat_map(both).collect() } else { Vec::new() }
    }

    fn alternates(&self) -> Alternates {
        let servers = match self.redirect {
            Redirect::Never => Vec::new(),
            Redirect::Draining | Redirect::Always => ALTERNATES.map(addr).to_vec(),
        };
        Alternates { servers, domain: None, only_draining: self.redirect == Redirect::Draining }
    }

    /// Where clients send to.
    pub fn listeners(&self) -> Vec<SocketAddr> {
        let plain = [addr(LISTEN4), addr(LISTEN6)];
        let secure = plain.map(|plain| SocketAddr::new(plain.ip(), SECURE_PORT));
        let mut all: Vec<SocketAddr> = plain.into_iter().chain(secure).chain(self.corners()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}
