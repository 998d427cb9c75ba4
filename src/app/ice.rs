//! The `iceServers` of the running server.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::Error;
use crate::auth::rest::{self, UsernameError};
use crate::auth::{Policy, Revocations};
use crate::config::ice::{Endpoint, EndpointTransport, IceServers, ice_servers, is_signed, signed, urls};
use crate::config::{self, Settings, TokenKey};
use crate::http::{self, Access, GrantRequest, IceGrant, IceSource};
use crate::net::{Clock, RelayAddress};
use crate::turn::Transport;

/// How often the clock is looked at by who waits for its next second, and how many times at most: it may be set back.
const TICK: Duration = Duration::from_millis(25);
const TICKS: usize = 60;

/// Gives out credentials made with the newest secret.
pub(super) struct Grants {
    settings: watch::Receiver<Arc<Settings>>,
    revoked: watch::Receiver<Arc<Revocations>>,
    endpoints: Vec<Endpoint>,
    /// The name for those who reach this machine by a name that only it understands.
    address: String,
    /// Whether somebody vouches for a certificate of the TLS listeners.
    trusted: Option<watch::Receiver<bool>>,
    clock: Clock,
    access: Access,
}

impl Grants {
    pub(super) fn new(
        settings: watch::Receiver<Arc<Settings>>,
        revoked: watch::Receiver<Arc<Revocations>>,
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
        let clock = Clock::start();
        let (address, access) = (address.to_string(), Access::default());
        Self { settings, revoked, endpoints, address, trusted, clock, access }
    }

    /// The host for URLs where a request named `host`. A loopback name means this machine, whose address browsers need to be
    /// told: they do not use loopback for calls.
    fn host<'h>(&'h self, settings: &'h Settings, host: &'h str) -> &'h str {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = bare.eq_ignore_ascii_case("localhost")
            || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        match (settings.http.host.as_str(), is_loopback) {
            ("", true) => &self.address,
            ("", false) => host,
            (configured, _) => configured,
        }
    }

    /// Where clients are served that ask nobody about a certificate: browsers ask their users about that of a page, not of a
    /// relay.
    fn endpoints(&self) -> Vec<Endpoint> {
        let trusted = self.trusted.as_ref().is_some_and(|trusted| *trusted.borrow());
        let usable = |endpoint: &&Endpoint| trusted || endpoint.transport != EndpointTransport::Tls;
        self.endpoints.iter().filter(usable).copied().collect()
    }

    /// For whoever reads the terminal.
    pub(super) fn for_operator(&self) -> IceServers {
        let settings = Arc::clone(&self.settings.borrow());
        let host = self.host(&settings, "localhost");
        ice_servers(&settings, &self.endpoints(), host, "trial", self.now_unix(), settings.http.ttl)
    }

    /// Who gets them by a key or a token.
    pub(super) const fn access(&self) -> &Access {
        &self.access
    }

    /// Takes the keys and tokens of `settings`; what has to be fetched for them is fetched in the background.
    pub(super) fn follow(&self, settings: &Settings) -> Result<(), Error> {
        let http = &settings.http;
        let (keys, issuers) = (http.keys.iter().map(api_key), http.tokens.iter().map(token_issuer));
        self.access.replace(keys.collect(), issuers.collect()).map_err(Error::new)?;
        let access = self.access.clone();
        tokio::spawn(async move { access.prefetch().await });
        Ok(())
    }
}

fn api_key(key: &config::ApiKey) -> http::ApiKey {
    let config::ApiKey { name, hash, ttl, quota, origins, tag, rate, bytes, peers } = key.clone();
    let policy = Policy { tag, rate, bytes, allocations: quota, peers, ..Policy::default() };
    http::ApiKey { name, hash, ttl, origins, policy }
}

fn token_issuer(issuer: &config::TokenIssuer) -> http::TokenIssuer {
    http::TokenIssuer {
        issuer: issuer.issuer.clone(),
        audience: issuer.audience.clone(),
        key: match &issuer.key {
            TokenKey::Secret(secret) => {
                http::TokenKey::Secret(Zeroizing::new(secret.expose().as_bytes().to_vec()))
            }
            TokenKey::PublicKey(pem) => http::TokenKey::PublicKey(pem.clone()),
            TokenKey::KeySetFile(path) => http::TokenKey::KeySetFile(path.clone()),
            TokenKey::KeySetUrl(url) => http::TokenKey::KeySetUrl(url.clone()),
        },
    }
}

impl Grants {
    /// A credential that is issued now, or in the next second if something of it has been revoked in this one: the two could
    /// not be told apart, and it would be refused as long as it lives. A later time than now is never written, since it would
    /// escape what is revoked until then.
    async fn fresh(&self, mut request: GrantRequest) -> Result<IceGrant, UsernameError> {
        let now = self.now_unix();
        request.policy.issued = Some(now);
        let grant = self.sign(&request, now)?;
        let later = Policy { issued: Some(now.saturating_add(1)), ..request.policy.clone() };
        let revoked = Arc::clone(&self.revoked.borrow());
        // In the next second it has another name.
        let covers = |name, policy| revoked.cover_name(name, &request.user, Some(policy));
        if !covers(&grant.username, &request.policy) || covers("", &later) {
            return Ok(grant);
        }
        for _ in 0..TICKS {
            tokio::time::sleep(TICK).await;
            let now = self.now_unix();
            if Some(now) > request.policy.issued {
                request.policy.issued = Some(now);
                return self.sign(&request, now);
            }
        }
        Ok(grant)
    }

    fn sign(&self, request: &GrantRequest, now: u64) -> Result<IceGrant, UsernameError> {
        let settings = Arc::clone(&self.settings.borrow());
        let now = now.min(request.ends.unwrap_or(u64::MAX));
        let left = request.ends.map_or(Duration::MAX, |ends| Duration::from_secs(ends - now));
        let ttl = request.ttl.unwrap_or(settings.http.ttl).min(left);
        let (stun, turn) = urls(&self.endpoints(), self.host(&settings, &request.host));
        let Some(signed) = signed(&settings.auth, &request.user, &request.policy, now, ttl)? else {
            return Ok(IceGrant { stun, ..IceGrant::default() });
        };
        let (username, credential, ttl) = (signed.username, signed.credential, ttl.as_secs());
        Ok(IceGrant { stun, turn, username, credential, expires_unix: now.saturating_add(ttl), ttl })
    }
}

impl IceSource for Grants {
    fn grant(&self, request: GrantRequest) -> BoxFuture<'_, Result<IceGrant, UsernameError>> {
        match request.policy.issued {
            None => self.fresh(request).boxed(),
            Some(_) => std::future::ready(self.sign(&request, self.now_unix())).boxed(),
        }
    }

    fn recall(&self, host: &str, username: &str, credential: &str) -> Option<IceGrant> {
        let settings = Arc::clone(&self.settings.borrow());
        let now = self.now_unix();
        let parts = rest::parts(username, settings.auth.separator)?;
        if parts.expiry <= now || !is_signed(&settings.auth, username, credential) {
            return None;
        }
        let (stun, turn) = urls(&self.endpoints(), self.host(&settings, host));
        let (username, credential) = (username.to_owned(), credential.to_owned());
        Some(IceGrant {
            stun,
            turn,
            username,
            credential,
            expires_unix: parts.expiry,
            ttl: parts.expiry - now,
        })
    }

    fn default_ttl(&self) -> Duration {
        self.settings.borrow().http.ttl
    }

    fn now_unix(&self) -> u64 {
        self.clock.now().unix
    }
}
