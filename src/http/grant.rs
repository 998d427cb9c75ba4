//! What the relay gives out, before it is put into any dialect's words.

use std::time::Duration;

use crate::auth::Policy;

/// Whom a credential is for, and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantRequest {
    /// Ready for a URL: a name, an IPv4 address or an IPv6 address in brackets, without port.
    pub host: String,
    /// What quotas count by: printable ASCII without blanks and question marks, 128 bytes at most.
    pub user: String,
    /// How long it is to last; `None`: as long as the operator says. 48 hours at most, unless `ends` says when.
    pub ttl: Option<Duration>,
    /// When it ends at the latest, in Unix seconds: with the token that buys it. Absolute, since the clock goes on between
    /// the look at the token and the grant.
    pub ends: Option<u64>,
    /// What it carries. Without `issued` it says when it is granted.
    pub policy: Policy,
}

/// URLs and the credential that goes with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceGrant {
    /// `stun:` URLs.
    pub stun: Vec<String>,
    /// `turn:` and `turns:` URLs; empty when there is no secret to make credentials with.
    pub turn: Vec<String>,
    /// USERNAME for these; empty without any.
    pub username: String,
    /// Its password.
    pub credential: String,
    /// When it ends, in Unix seconds.
    pub expires_unix: u64,
    /// Seconds until then.
    pub ttl: u64,
}

impl IceGrant {
    /// All URLs, those of STUN first.
    pub(super) fn urls(&self) -> impl Iterator<Item = &str> {
        self.stun.iter().chain(&self.turn).map(String::as_str)
    }

    /// When it was made, in Unix seconds.
    pub(super) const fn made_unix(&self) -> u64 {
        self.expires_unix.saturating_sub(self.ttl)
    }

    /// One for the tests of dialects.
    #[cfg(test)]
    pub(super) fn sample() -> Self {
        Self {
            stun: vec!["stun:turn.example.org:3478".into()],
            turn: vec![
                "turn:turn.example.org:3478?transport=udp".into(),
                "turns:turn.example.org:443?transport=tcp".into(),
            ],
            username: "1790000600:alice?policy&key=shop".into(),
            credential: "cGFzc3dvcmQ=".into(),
            expires_unix: 1_790_000_600,
            ttl: 600,
        }
    }
}
