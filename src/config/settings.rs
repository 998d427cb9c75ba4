//! What the server runs with: typed, complete and already checked.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::peer_rule::PeerRule;
use super::place::Place;
use super::secret::Secret;
use crate::auth::{Expired, Network, OauthKey};

/// Everything an operator can decide, after all layers are merged and checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients reach the server.
    pub listen: Listen,
    /// Who the server is to TLS clients.
    pub tls: Tls,
    /// Where relayed traffic leaves and arrives.
    pub relay: Relay,
    /// Who may relay.
    pub auth: Auth,
    /// Which peers may be reached, beside the built-in rules.
    pub peers: Peers,
    /// Ceilings that keep one client from starving the others.
    pub limits: Limits,
    /// Other servers that clients are sent to.
    pub redirect: Redirect,
    /// NAT behavior discovery.
    pub nat_discovery: NatDiscovery,
    /// The HTTP side: `iceServers`, signaling and the trial page.
    pub http: Http,
    /// Health and metrics.
    pub admin: Admin,
    /// Where it keeps what outlives a restart; `None`: nowhere.
    pub state: Option<PathBuf>,
    /// How the server logs.
    pub log: Log,
    /// Where all this came from.
    pub source: Source,
}

/// Addresses on which clients are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// UDP listeners.
    pub udp: Vec<SocketAddr>,
    /// TCP listeners.
    pub tcp: Vec<SocketAddr>,
    /// TLS listeners; an address in `tcp` too serves both.
    pub tls: Vec<SocketAddr>,
    /// DTLS listeners; an address in `udp` too serves both.
    pub dtls: Vec<SocketAddr>,
    /// Load balancers whose connections begin with a PROXY header.
    pub proxy_from: Vec<IpNet>,
    /// False when `udp` and `tcp` are the built-in default: an address family that the machine lacks is then
    /// skipped. True: an address that cannot be opened is an error.
    pub explicit: bool,
    /// Number of relay workers; 0 stands for as many as the cgroup grants cores.
    pub workers: usize,
    /// Whether each of them stays on one CPU.
    pub pin_workers: bool,
}

/// Certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, followed by those that lead to its root, in PEM; `None` with [`Self::key`] alone.
    pub certificate: Option<PathBuf>,
    /// Its private key, in PEM.
    pub key: Option<PathBuf>,
    /// More of them, chosen by the name that the client asks for.
    pub certificates: Vec<CertificateFiles>,
    /// Whether the server makes itself a certificate when it has no other.
    pub self_signed: bool,
    /// Where it gets one from.
    pub acme: Option<Acme>,
    /// Authorities one of which must have issued the client's certificate, in PEM; `None`: clients need none.
    pub client_ca: Option<PathBuf>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by those that lead to its root, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// An authority that issues certificates by itself (RFC 8555).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// Names for the certificate: 1 to 100, in lower case.
    pub domains: Vec<String>,
    /// Whom the authority may write to: a `mailto:` URI.
    pub contact: Option<String>,
    /// Where it is: an `https:` URL.
    pub directory: String,
    /// Who vouches for that; `None`: whom the system trusts.
    pub ca_file: Option<PathBuf>,
}

impl Tls {
    /// Whether there is, or will be, a certificate that clients can trust, as far as can be told without looking.
    pub fn is_trusted(&self) -> bool {
        self.acme.is_some() || !self.pairs().is_empty()
    }

    /// Whether the server is to make itself a certificate.
    pub fn makes_own(&self) -> bool {
        self.self_signed && !self.is_trusted()
    }

    /// All certificates, the one for clients that ask for no name, or for another one, first.
    pub fn pairs(&self) -> Vec<CertificateFiles> {
        let single = self.certificate.clone().zip(self.key.clone());
        let single = single.map(|(certificate, key)| CertificateFiles { certificate, key });
        single.into_iter().chain(self.certificates.iter().cloned()).collect()
    }
}

/// Relayed transport addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Local addresses to relay from; never empty.
    pub addresses: Vec<RelayAddress>,
    /// Local address to the public one that clients are told, for hosts behind 1:1 NAT.
    pub external: BTreeMap<IpAddr, IpAddr>,
    /// Ports of relayed addresses: at least two, from 1024 up.
    pub ports: RangeInclusive<u16>,
    /// The family given to a client that names none.
    pub family_default: FamilyDefault,
    /// Whether TCP is relayed (RFC 6062).
    pub tcp: bool,
    /// Whether clients may take their allocations to another address (RFC 8016).
    pub mobility: bool,
}

/// 300 Try Alternate (RFC 8489 §10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// The other servers; empty: nobody is redirected.
    pub servers: Vec<SocketAddr>,
    /// The name in their certificate, if it is another one; else empty.
    pub domain: String,
    /// When clients are redirected.
    pub when: RedirectWhen,
}

/// When clients are redirected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedirectWhen {
    /// At every Allocate.
    #[default]
    Always,
    /// While the server drains.
    Draining,
}

/// NAT behavior discovery (RFC 5780).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatDiscovery {
    /// None, or two of a family or of each.
    pub addresses: Vec<IpAddr>,
    /// Two ports.
    pub ports: Vec<u16>,
}

/// One entry of `relay.addresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RelayAddress {
    /// The addresses of the default routes, both families.
    Auto,
    /// This local address.
    Ip(IpAddr),
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// The relayed address family of an Allocate without REQUESTED-ADDRESS-FAMILY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyDefault {
    /// IPv4, as RFC 8656 §7.2 has it.
    Ipv4,
    /// The family over which the client came.
    Follow,
}

/// The long-term credential mechanism.
#[derive(Clone, Debug)]
pub struct Auth {
    /// REALM of every challenge: 1 to 763 bytes, under 128 characters, no quotes or control characters.
    pub realm: String,
    /// How long a nonce is accepted: 1 second to 24 hours.
    pub nonce_lifetime: Duration,
    /// Users with a lasting password; names are unique.
    pub users: Vec<User>,
    /// Secrets that sign time-limited credentials; the first signs new ones, all are accepted.
    pub secrets: Vec<SharedSecret>,
    /// What stands between expiry and user in a time-limited user name.
    pub separator: char,
    /// What becomes of allocations whose time-limited credential has expired.
    pub expired: Expired,
    /// Keys of access tokens (RFC 7635); `kid` is unique.
    pub oauth: Vec<OauthKey>,
    /// The name of this server in access tokens: at most 255 bytes. Empty: the realm.
    pub oauth_server_name: String,
}

impl Auth {
    /// The name of this server in access tokens.
    pub fn server_name(&self) -> &str {
        if self.oauth_server_name.is_empty() { &self.realm } else { &self.oauth_server_name }
    }

    /// Whether nobody at all could log in.
    pub(crate) const fn admits_nobody(&self) -> bool {
        self.users.is_empty() && self.secrets.is_empty() && self.oauth.is_empty()
    }
}

/// A user with a lasting credential.
#[derive(Clone, Debug)]
pub struct User {
    /// USERNAME: 1 to 508 bytes.
    pub name: String,
    /// What the user proves to know.
    pub credential: UserCredential,
}

/// What is stored for a user.
#[derive(Clone)]
pub enum UserCredential {
    /// The password itself: works with every algorithm.
    Password(Secret),
    /// The key made from it: 16 bytes for MD5, 32 bytes for SHA-256 (RFC 8489 §9.2.2).
    Key(Vec<u8>),
}

impl fmt::Debug for UserCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password(secret) => f.debug_tuple("Password").field(secret).finish(),
            Self::Key(key) => write!(f, "Key(<{} bytes>)", key.len()),
        }
    }
}

/// A secret shared with the services that issue time-limited credentials.
#[derive(Clone, Debug)]
pub struct SharedSecret {
    /// For logs and metrics; unique.
    pub name: String,
    /// The key of the HMAC.
    pub secret: Secret,
}

/// The operator's part of the peer policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Opens what the built-in rules deny.
    pub allow: Vec<PeerRule>,
    /// Wins over `allow`.
    pub deny: Vec<PeerRule>,
}

/// Ceilings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Allocations that one user may hold at once.
    pub allocations_per_user: u32,
    /// Permissions that one allocation may hold at once.
    pub permissions_per_allocation: u32,
    /// Channels that one allocation may hold at once: at most 4096, there are no more numbers.
    pub channels_per_allocation: u32,
    /// TCP connections with peers that one allocation may hold at once: 1 to 1,024.
    pub connections_per_allocation: u32,
    /// TCP connections, TLS among them, that one client address (IPv6: /56) may hold at once.
    pub streams_per_address: u32,
    /// The longest lifetime an allocation is granted at a time: 10 minutes to 24 hours.
    pub max_lifetime: Duration,
    /// How long allocations live on after SIGTERM: up to 24 hours.
    pub drain: Duration,
}

/// The HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Listeners; none switches the server off.
    pub listen: Vec<SocketAddr>,
    /// Origins allowed beside the page's own, in lower case, without a trailing slash.
    pub origins: Vec<String>,
    /// Which signaling rooms there are.
    pub rooms: Rooms,
    /// The name put into `turn:` URLs; empty: the host of the request.
    pub host: String,
    /// True: `iceServers` for anybody.
    pub open: bool,
    /// Whether HTTPS is served on the TLS listeners of `listen`, to clients that offer it by ALPN.
    pub share_tls: bool,
    /// Lifetime of the credentials handed out: 1 second to 48 hours.
    pub ttl: Duration,
    /// Keys of applications that fetch `iceServers`; names are unique, and so are the keys.
    pub keys: Vec<ApiKey>,
    /// Whose JSON Web Tokens get `iceServers`; no two have both issuer and audience in common.
    pub tokens: Vec<TokenIssuer>,
    /// The forms in which `iceServers` are given out, by name.
    pub dialects: Vec<String>,
}

/// The key of an application, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// What credentials that it bought and logs call it: 1 to 64 letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// The longest lifetime of its credentials; `None`: that of all.
    pub ttl: Option<Duration>,
    /// Allocations that one of its users may hold at once; `None`: as many as any user.
    pub quota: Option<u32>,
    /// Pages that may use it, in lower case; `["*"]`: all. Empty: those of [`Http::origins`].
    pub origins: Vec<String>,
    /// What its credentials are for, to revoke them by.
    pub tag: Option<String>,
    /// Bits a second of each of its users' allocations.
    pub rate: Option<u64>,
    /// Bytes that each of its credentials may relay.
    pub bytes: Option<u64>,
    /// The only peers that its users reach; empty: all that the server allows.
    pub peers: Vec<Network>,
}

/// Somebody whose JSON Web Tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIssuer {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be, or hold.
    pub audience: String,
    /// How the signature is verified.
    pub key: TokenKey,
}

/// What verifies a token's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKey {
    /// A secret of at least 32 bytes: HS256.
    Secret(Secret),
    /// A public key in PEM; its kind says the algorithm: EdDSA, ES256 or RS256.
    PublicKey(String),
    /// A file with a JSON Web Key Set.
    KeySetFile(PathBuf),
    /// The URL of one: `https:`, or `http:` with a loopback host.
    KeySetUrl(String),
}

/// Signaling rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rooms {
    /// No signaling.
    Off,
    /// Rooms whose names cannot be guessed.
    Named,
    /// Rooms of any name, for trials.
    Open,
}

/// The operator's listener: `/healthz`, `/readyz`, `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Listeners; none switches the server off.
    pub listen: Vec<SocketAddr>,
    /// The Unix socket of the admin API.
    pub socket: Option<PathBuf>,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// A level, or `tracing` filter directives.
    pub level: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where the settings came from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The configuration file, if one was read.
    pub file: Option<PathBuf>,
    /// True when there is neither a file nor a user, secret or key from anywhere: the server makes itself a
    /// secret for the trial. Flags and environment may have changed other keys all the same.
    pub zero: bool,
    /// True: a trial with other machines in the local network has been asked for, which pages are for then.
    pub lan: bool,
    /// For each key (`"relay.ports"`) that is not at its default: what set it.
    pub places: BTreeMap<&'static str, Place>,
}

impl Settings {
    /// Whether the web side is reached through the TLS listeners as well.
    pub fn shares_tls(&self) -> bool {
        self.http.share_tls && !self.http.listen.is_empty() && !self.listen.tls.is_empty()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(path) => path.display().fmt(f),
            None => f.write_str("built-in defaults"),
        }
    }
}
