//! What the operator has set, in plain values: the cluster builds the server's settings from it, and the oracle
//! reads the same values by itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use relais::auth::{self, Authenticator, Credential, SharedSecret, User};
use relais::turn::{Limits, PeerPolicy, PolicyRule, Settings};

use super::world::{REALM_TEXT, addr};

/// Where clients of either family send to. Relayed addresses have the same two IP addresses.
pub const LISTEN4: &str = "8.34.2.1:3478";
pub const LISTEN6: &str = "[2a01:4f8:34::1]:3478";
/// Another address of the machine, never a peer.
pub const OWN: &str = "8.34.2.2";

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
            expired: auth::Expired::default(),
            oauth: Vec::new(),
            server_name: String::new(),
        };
        let deny =
            |(network, prefix): &(IpAddr, u8)| PolicyRule { network: *network, prefix: *prefix, ports: None };
        let policy = PeerPolicy {
            deny: self.deny.iter().map(deny).collect(),
            own: vec![OWN.parse().unwrap()],
            relayed: vec![addr(LISTEN4).ip(), addr(LISTEN6).ip()],
            listeners: vec![addr(LISTEN4), addr(LISTEN6)],
            ..PeerPolicy::default()
        };
        Settings {
            limits: Limits {
                permissions: self.permissions,
                channels: self.channels,
                max_lifetime: Duration::from_secs(self.max_lifetime),
                ..Limits::default()
            },
            mobility: self.mobility,
            ..Settings::new(Arc::new(Authenticator::new(login, &[42; 32]).unwrap()), Arc::new(policy))
        }
    }
}
