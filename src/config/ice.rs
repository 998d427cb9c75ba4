//! What a browser is given: `iceServers` with credentials that expire.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use subtle::ConstantTimeEq as _;

use super::settings::{Auth, Settings, UserCredential};
use crate::auth::Policy;
use crate::auth::rest::{self, UsernameError};
pub use crate::time::rfc3339;

/// The transport of a listener, as URLs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointTransport {
    /// `?transport=udp`.
    Udp,
    /// `?transport=tcp`.
    Tcp,
    /// `turns:` with `?transport=tcp`.
    Tls,
}

/// A port on which clients are served: the bound one, which differs from the configured one if that is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The transport.
    pub transport: EndpointTransport,
    /// The port.
    pub port: u16,
}

/// The configured endpoints, each once, in the order of transports. TLS with a certificate that nobody vouches for is left
/// out, and so is port 0: only the open socket knows its port.
pub fn endpoints(settings: &Settings) -> Vec<Endpoint> {
    let udp = settings.listen.udp.iter().map(|address| (EndpointTransport::Udp, address.port()));
    let tcp = settings.listen.tcp.iter().map(|address| (EndpointTransport::Tcp, address.port()));
    let tls = settings.listen.tls.iter().map(|address| (EndpointTransport::Tls, address.port()));
    // Browsers do not ask their users about a certificate of a relay, they refuse it.
    let tls = tls.filter(|_| settings.tls.is_trusted());
    let mut endpoints = Vec::new();
    for (transport, port) in udp.chain(tcp).chain(tls) {
        let endpoint = Endpoint { transport, port };
        if port != 0 && !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    endpoints
}

/// The answer of `/v1/ice-servers` and of `relais ice-servers`.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IceServers {
    /// What `new RTCPeerConnection({ iceServers })` takes.
    pub ice_servers: Vec<IceServer>,
    /// Seconds for which the credential is good; absent for one that lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// When it ends, in RFC 3339; absent for one that lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// One entry of `iceServers`.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct IceServer {
    /// `stun:`, `turn:` or `turns:` URLs.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// A user name and its password.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// USERNAME.
    pub username: String,
    /// The password.
    pub credential: String,
    /// Seconds for which it is good; absent for one that lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// When it ends, in RFC 3339; absent for one that lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A time-limited credential for `user` (may be empty), signed with the first secret; `None` without secrets.
/// `now_unix` is in seconds.
pub fn time_limited(auth: &Auth, user: &str, now_unix: u64, ttl: Duration) -> Option<Credential> {
    signed(auth, user, &Policy::default(), now_unix, ttl).ok().flatten()
}

/// The same for one that carries a policy.
///
/// # Errors
/// When no user name can be made of user and policy.
pub fn signed(
    auth: &Auth,
    user: &str,
    policy: &Policy,
    now_unix: u64,
    ttl: Duration,
) -> Result<Option<Credential>, UsernameError> {
    let expiry = now_unix.saturating_add(ttl.as_secs());
    let username = rest::username(expiry, auth.separator, user, policy)?;
    Ok(auth.secrets.first().map(|secret| Credential {
        credential: rest::password(secret.secret.expose().as_bytes(), username.as_bytes()),
        username,
        ttl: Some(ttl.as_secs()),
        expires_at: Some(rfc3339(expiry)),
    }))
}

/// Whether `credential` is the password of the time-limited `username` under any of the secrets.
pub fn is_signed(auth: &Auth, username: &str, credential: &str) -> bool {
    auth.secrets.iter().fold(false, |found, secret| {
        let password = rest::password(secret.secret.expose().as_bytes(), username.as_bytes());
        found | bool::from(password.as_bytes().ct_eq(credential.as_bytes()))
    })
}

/// The lasting credential of the configured user `user`, if its password is known.
pub fn lasting(auth: &Auth, user: &str) -> Option<Credential> {
    let user = auth.users.iter().find(|known| known.name == user)?;
    let UserCredential::Password(password) = &user.credential else { return None };
    Some(Credential {
        username: user.name.clone(),
        credential: password.expose().to_owned(),
        ttl: None,
        expires_at: None,
    })
}

/// `iceServers` for `host` (a name or an address, IPv6 with or without brackets) with a time-limited credential
/// for `user`. Without secrets there are STUN URLs only: lasting passwords are never handed out. `now_unix` is in
/// seconds; `ttl` is cut to what `http.ttl` may be at most.
pub fn ice_servers(
    settings: &Settings,
    endpoints: &[Endpoint],
    host: &str,
    user: &str,
    now_unix: u64,
    ttl: Duration,
) -> IceServers {
    const LONGEST: Duration = Duration::from_secs(172_800);
    with_credential(endpoints, host, time_limited(&settings.auth, user, now_unix, ttl.min(LONGEST)))
}

/// URLs of STUN and of TURN for `host`, a name or an address. Ports are left out that browsers refuse: below 1024 they take
/// only 80 and 443. `turns:` URLs need a name: certificates are for names, and Firefox refuses addresses.
pub fn urls(endpoints: &[Endpoint], host: &str) -> (Vec<String>, Vec<String>) {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let (host, is_name) = match bare.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => (format!("[{address}]"), false),
        Ok(IpAddr::V4(address)) => (address.to_string(), false),
        Err(_) => (host.to_owned(), true),
    };
    let usable = || {
        endpoints.iter().filter(|Endpoint { transport, port }| {
            matches!(port, 80 | 443 | 1024..) && (is_name || *transport != EndpointTransport::Tls)
        })
    };
    let stun = usable()
        .filter(|endpoint| endpoint.transport == EndpointTransport::Udp)
        .map(|endpoint| format!("stun:{host}:{}", endpoint.port));
    let turn = usable().map(|endpoint| {
        let (scheme, transport) = match endpoint.transport {
            EndpointTransport::Udp => ("turn", "udp"),
            EndpointTransport::Tcp => ("turn", "tcp"),
            EndpointTransport::Tls => ("turns", "tcp"),
        };
        format!("{scheme}:{host}:{}?transport={transport}", endpoint.port)
    });
    (stun.collect(), turn.collect())
}

/// `iceServers` for `host` with a credential at hand.
pub fn with_credential(endpoints: &[Endpoint], host: &str, credential: Option<Credential>) -> IceServers {
    let (stun, turn) = urls(endpoints, host);
    let mut ice_servers = Vec::new();
    if !stun.is_empty() {
        ice_servers.push(IceServer { urls: stun, username: None, credential: None });
    }
    let (mut ttl, mut expires_at) = (None, None);
    if let Some(credential) = credential
        && !turn.is_empty()
    {
        (ttl, expires_at) = (credential.ttl, credential.expires_at);
        ice_servers.push(IceServer {
            urls: turn,
            username: Some(credential.username),
            credential: Some(credential.credential),
        });
    }
    IceServers { ice_servers, ttl, expires_at }
}

#[cfg(test)]
mod tests {
    use super::super::{Secret, SharedSecret, User};
    use super::*;

    fn settings() -> Settings {
        let mut settings = Settings::defaults();
        let secret = |name: &str, text: &str| SharedSecret {
            name: name.to_owned(),
            secret: Secret::new(text.to_owned()),
        };
        settings.auth.secrets = vec![secret("new", "north-wind-and-sun"), secret("old", "another-long-one")];
        settings
    }

    #[test]
    fn the_first_secret_signs_and_the_json_is_what_browsers_take() {
        let settings = settings();
        let ice = ice_servers(
            &settings,
            &endpoints(&settings),
            "turn.example.org",
            "alice",
            1_790_000_000,
            Duration::from_secs(600),
        );
        let password = rest::password(b"north-wind-and-sun", b"1790000600:alice");
        assert_eq!(
            serde_json::to_value(&ice).unwrap(),
            serde_json::json!({
                "iceServers": [
                    { "urls": ["stun:turn.example.org:3478"] },
                    { "urls": ["turn:turn.example.org:3478?transport=udp", "turn:turn.example.org:3478?transport=tcp"],
                      "username": "1790000600:alice", "credential": password },
                ],
                "ttl": 600,
                "expiresAt": "2026-09-21T14:23:20Z",
            })
        );
    }

    #[test]
    fn ipv6_is_bracketed_refused_ports_left_out_and_the_ttl_capped() {
        let udp = |port| Endpoint { transport: EndpointTransport::Udp, port };
        let ice = ice_servers(
            &settings(),
            &[udp(53), udp(1023), udp(40_000)],
            "2001:db8::1",
            "",
            1_000,
            Duration::from_secs(999_999),
        );
        assert_eq!(ice.ice_servers[0].urls, ["stun:[2001:db8::1]:40000"]);
        assert_eq!(ice.ice_servers[1].urls, ["turn:[2001:db8::1]:40000?transport=udp"]);
        assert_eq!(ice.ice_servers[1].username.as_deref(), Some("173800"));
        assert_eq!(ice.ttl, Some(172_800));
    }

    #[test]
    fn turns_urls_are_for_names_only() {
        let tls = [Endpoint { transport: EndpointTransport::Tls, port: 5349 }];
        let urls = |host: &str| {
            let ice = ice_servers(&settings(), &tls, host, "", 1_000, Duration::from_secs(60));
            ice.ice_servers.into_iter().flat_map(|server| server.urls).collect::<Vec<_>>()
        };
        assert_eq!(urls("turn.example.org"), ["turns:turn.example.org:5349?transport=tcp"]);
        for address in ["192.0.2.1", "2001:db8::1", "[2001:db8::1]"] {
            assert!(urls(address).is_empty(), "{address}");
        }
    }

    #[test]
    fn without_a_secret_there_is_stun_alone() {
        let mut settings = settings();
        settings.auth.secrets.clear();
        settings.auth.users.push(User {
            name: "alice".to_owned(),
            credential: UserCredential::Password(Secret::new("wonderland".to_owned())),
        });
        let ice = ice_servers(&settings, &endpoints(&settings), "h", "alice", 0, Duration::from_secs(60));
        assert_eq!(ice.ice_servers.len(), 1);
        assert_eq!(lasting(&settings.auth, "alice").unwrap().credential, "wonderland");
        assert!(lasting(&settings.auth, "bob").is_none());
    }
}
