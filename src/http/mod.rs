//! The HTTP side: `iceServers` for browsers, rooms in which they find each other, a page to try both, health
//! and metrics. Nothing here touches a media packet.

mod about;
mod accept;
mod access;
mod admin;
mod admission;
mod caller;
mod control;
mod cors;
#[cfg(feature = "socketio")]
mod demo;
mod desk;
mod dialects;
mod error;
mod fields;
mod grant;
mod ice;
mod paced;
mod page;
mod qr;
mod refused;
mod rooms;
mod routes;
mod signaling;
mod tls;
mod view;

use crate::auth::rest::UsernameError;
use crate::observe::StatsSource;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, map_response};
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::future::BoxFuture;
use ipnet::IpNet;
use rustls::sign::CertifiedKey;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use access::{Access, ApiKey, TokenIssuer, TokenKey};
pub use control::{
    Allocation, Control, ControlError, Drops, Refused, Relayed, Requests, Revocation, RevocationEntry,
    Revoked, Session, SessionFilter, View, ViewRequest,
};
pub use desk::serve_desk;
pub use dialects::Dialect;
use error::Refusal;
pub use grant::{GrantRequest, IceGrant};
pub use tls::{Arrival, SharedTls};

/// Who may use the signaling rooms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rooms {
    /// Nobody.
    #[default]
    Off,
    /// Whoever knows a room's name, which must be too long to guess (128 random bits).
    Named,
    /// Everybody, under any name, and without one in the default room.
    Open,
}

/// What an operator decides about the public HTTP server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens. Whoever calls [`serve`] opens these and hands over the listeners.
    pub listen: Vec<SocketAddr>,
    /// Origins (`https://app.example`) that may ask besides the same origin; compared exactly.
    pub origins: Vec<String>,
    /// Who may use the rooms.
    pub rooms: Rooms,
    /// The name put into `turn:` URLs. Empty: the host of the request.
    pub host: String,
    /// Whether anybody gets `iceServers`, rate limited.
    pub open: bool,
    /// Keys and tokens that get them.
    pub access: Access,
    /// The forms in which they are given out.
    pub dialects: Vec<Dialect>,
    /// Where the same pages are served over HTTPS, if they are.
    pub https: Option<Https>,
    /// The certificates that TLS listeners show, if there are any.
    pub certificates: Option<watch::Receiver<Vec<Arc<CertifiedKey>>>>,
    /// Networks whose clients are served, in both their forms; empty: all.
    pub networks: Vec<IpNet>,
    /// Bounds on what clients may take up.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            origins: Vec::new(),
            rooms: Rooms::default(),
            host: String::new(),
            open: false,
            https: None,
            certificates: None,
            networks: Vec::new(),
            access: Access::default(),
            dialects: Dialect::NAMES.map(|(_, dialect)| dialect).into(),
            limits: Limits::default(),
        }
    }
}

/// Where HTTPS is served.
#[derive(Clone, Debug)]
pub struct Https {
    /// The port.
    pub port: u16,
    /// Whether browsers take the certificate without asking their users.
    pub trusted: watch::Receiver<bool>,
}

/// Bounds on what clients may take up. Not for operators: the defaults hold what the server promises, and
/// tests make them small enough to reach.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, WebSockets not counted.
    pub connections: usize,
    /// Connections at once from one address (/32 or /56), loopback excepted: a reverse proxy calls from there.
    pub connections_per_address: usize,
    /// How long a request's head may take, and a connection may wait for the next request.
    pub header_deadline: Duration,
    /// How long one connection may live before it has to be opened anew, WebSockets not counted.
    pub connection_lifetime: Duration,
    /// Rooms at once.
    pub rooms: usize,
    /// WebSockets at once.
    pub sockets: usize,
    /// WebSockets at once from one address (/32 or /56), loopback excepted.
    pub sockets_per_address: usize,
    /// Members of one room.
    pub members: usize,
    /// How long a WebSocket that is in no room may wait with its `join`.
    pub join_deadline: Duration,
    /// How often the server pings.
    pub ping: Duration,
    /// How long a WebSocket may be silent; answers to pings are sound.
    pub idle: Duration,
    /// How long one message may take to be written before its reader counts as gone.
    pub write_deadline: Duration,
    /// Messages of one sender that pass at once; after that `messages_per_second`.
    pub message_burst: u32,
    /// Messages a second, kept by delay.
    pub messages_per_second: u32,
    /// Bytes of one sender that pass at once; after that `bytes_per_second`.
    pub byte_burst: u32,
    /// Bytes a second, kept by delay.
    pub bytes_per_second: u32,
    /// How long a sender may be over its rate without a pause before it is closed.
    pub throttled: Duration,
    /// Messages waiting for one reader.
    pub queue_messages: usize,
    /// Bytes waiting for one reader.
    pub queue_bytes: usize,
    /// Bytes waiting for all readers together, before those are closed who hold more than their share.
    pub queued_bytes: usize,
    /// Grants of `iceServers` that one address (/32 or /56) gets at once.
    pub grant_burst: u32,
    /// Grants a second after that. Whoever logs in with a token has as many, each.
    pub grants_per_second: u32,
    /// Requests for grants and joins that all callers on this machine have at once. A back end does not notice; a proxy that
    /// names nobody may have a crowd behind it.
    pub local_burst: u32,
    /// The same for each second after that.
    pub locals_per_second: u32,
    /// Views of credentials that one address gets at once.
    pub view_burst: u32,
    /// Views a second after that.
    pub views_per_second: u32,
    /// QR codes that one address gets at once.
    pub code_burst: u32,
    /// QR codes a second after that.
    pub codes_per_second: u32,
    /// Keys and tokens that one address (/32 or /56) presents at once, good or bad.
    pub holder_burst: u32,
    /// The same for each second after that.
    pub holders_per_second: u32,
    /// Grants that one API key gets at once, from wherever.
    pub key_burst: u32,
    /// Grants a second after that.
    pub keys_per_second: u32,
    /// How long a request's body may take.
    pub body_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 64,
            header_deadline: Duration::from_secs(10),
            connection_lifetime: Duration::from_secs(120),
            rooms: 16_384,
            sockets: 16_384,
            sockets_per_address: 256,
            members: 16,
            join_deadline: Duration::from_secs(10),
            ping: Duration::from_secs(20),
            idle: Duration::from_secs(60),
            write_deadline: Duration::from_secs(10),
            message_burst: 128,
            messages_per_second: 20,
            byte_burst: 1 << 20,
            bytes_per_second: 128 << 10,
            throttled: Duration::from_secs(120),
            queue_messages: 256,
            queue_bytes: 1 << 20,
            queued_bytes: 64 << 20,
            grant_burst: 20,
            grants_per_second: 1,
            local_burst: 500,
            locals_per_second: 50,
            view_burst: 20,
            views_per_second: 2,
            code_burst: 20,
            codes_per_second: 2,
            holder_burst: 100,
            holders_per_second: 10,
            key_burst: 1000,
            keys_per_second: 100,
            body_deadline: Duration::from_secs(5),
        }
    }
}

/// The longest signaling message in bytes.
pub const MAX_MESSAGE: usize = 64 << 10;

/// Gives out `iceServers`.
pub trait IceSource: Send + Sync + 'static {
    /// URLs, and a credential that carries what is asked for, and when it is issued unless that is asked for too. What was
    /// revoked before does not concern it; where only another second of issue makes that so, this takes as long.
    ///
    /// # Errors
    /// When user and policy together are longer than a user name can be.
    fn grant(&self, request: GrantRequest) -> BoxFuture<'_, Result<IceGrant, UsernameError>>;

    /// The grant of a time-limited credential that is at hand; `None` unless it is one of this server and good.
    fn recall(&self, host: &str, username: &str, credential: &str) -> Option<IceGrant>;

    /// How long credentials last when nobody says so.
    fn default_ttl(&self) -> Duration;

    /// The time in Unix seconds.
    fn now_unix(&self) -> u64;
}

/// What all requests share. Bodies are read by the routes of iceServers and of the view alone, up to a bound (`fields`); all
/// others answer at once, and the connection of a client that goes on sending is closed.
struct Shared {
    options: Options,
    ice: Arc<dyn IceSource>,
    control: Arc<dyn Control>,
    views: admission::Admission,
    codes: admission::Admission,
    admission: admission::Admission,
    locals: admission::Admission<()>,
    holders: admission::Admission,
    keys: admission::Admission<String>,
    subjects: admission::Admission<String>,
    rooms: rooms::Door,
    refusals: refused::Lines,
    stats: Arc<dyn StatsSource>,
    shutdown: watch::Receiver<bool>,
}

impl Shared {
    /// Takes one for the caller's address out of `admission`, or, if it is on this machine, out of what all there have
    /// together. `Err`: how long until there is one.
    async fn count(&self, caller: &caller::Caller, admission: &admission::Admission) -> Result<(), Duration> {
        if caller.is_local { self.locals.charge(()).await } else { admission.charge(caller.prefix).await }
    }
}

type SharedState = State<Arc<Shared>>;

/// Serves the page, the API and the rooms until `shutdown` says true or its sender is gone; then closes the
/// rooms' sockets, lets running requests end (half a second at most) and returns. `ready` turns true when the
/// relay's own sockets are open. `shared` brings connections of other listeners.
#[expect(clippy::too_many_arguments, reason = "each is another part of the running server")]
pub async fn serve(
    options: Options,
    ice: Arc<dyn IceSource>,
    control: Arc<dyn Control>,
    stats: Arc<dyn StatsSource>,
    ready: watch::Receiver<bool>,
    listeners: Vec<TcpListener>,
    shared: Option<SharedTls>,
    shutdown: watch::Receiver<bool>,
) {
    let limits = options.limits;
    let networks = options.networks.clone();
    let (rooms, keeper) = rooms::open(limits);
    let dialects = routes::routes(&options.dialects);
    let state = Arc::new(Shared {
        admission: admission::Admission::new(limits.grant_burst, limits.grants_per_second),
        locals: admission::Admission::new(limits.local_burst, limits.locals_per_second),
        holders: admission::Admission::new(limits.holder_burst, limits.holders_per_second),
        keys: admission::Admission::new(limits.key_burst, limits.keys_per_second),
        subjects: admission::Admission::new(limits.grant_burst, limits.grants_per_second),
        options,
        ice,
        control,
        views: admission::Admission::new(limits.view_burst, limits.views_per_second),
        codes: admission::Admission::new(limits.code_burst, limits.codes_per_second),
        rooms,
        refusals: refused::Lines::default(),
        stats: Arc::clone(&stats),
        shutdown: shutdown.clone(),
    });
    let router = dialects
        .merge(page::routes().layer(from_fn(caller::check_host)))
        .route("/qr.svg", get(qr::code))
        .route("/v1/about", get(about::about))
        .route("/v1/view", routes::with_preflight(post(view::view), "POST"))
        .route("/v1/rooms", post(signaling::fresh_room).options(ice::preflight))
        .route("/ws", get(signaling::upgrade))
        .with_state(state.clone())
        .route(
            "/healthz",
            get(admin::healthz).with_state(admin::Health { stats, ready }).layer(from_fn(caller::check_host)),
        );
    #[cfg(feature = "socketio")]
    let router = router
        .merge(demo::routes().with_state(state.clone()).layer(from_fn(caller::check_host)))
        .merge(signaling::socketio::routes(state));
    const PLACES: &str =
        "The trial page is at /, the API at /v1/ice-servers and /v1/rooms, the rooms at /ws.";
    let keeper = tokio::spawn(keeper);
    accept::run(finish(router, PLACES), listeners, shared, networks, limits, shutdown).await;
    // With the last request and socket gone the doors are gone too, and the keeper ends by itself.
    let _ = tokio::time::timeout(accept::LAST_REQUEST, keeper).await;
}

/// Serves `/healthz`, `/readyz` and `/metrics` until `shutdown` says true or its sender is gone.
pub async fn serve_admin(
    stats: Arc<dyn StatsSource>,
    ready: watch::Receiver<bool>,
    listeners: Vec<TcpListener>,
    shutdown: watch::Receiver<bool>,
) {
    const PLACES: &str =
        "Health is at /healthz and /readyz, the counters at /metrics. The trial page is on http.listen.";
    let router = Router::new()
        .route("/healthz", get(admin::healthz))
        .route("/readyz", get(admin::readyz))
        .route("/metrics", get(admin::metrics))
        .with_state(admin::Health { stats, ready })
        .layer(from_fn(caller::refuse_rebound_pages))
        .layer(from_fn(caller::check_host));
    accept::run(finish(router, PLACES), listeners, None, Vec::new(), Limits::default(), shutdown).await;
}

/// The address is there, and does not answer this method.
fn wrong_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Not with this method.")
        .help("The header Allow names the methods that this address answers.")
}

/// What every answer has in common, and the answers for what is not there: `places` says what is.
fn finish(router: Router, places: &'static str) -> Router {
    router
        .fallback(async move || {
            Refusal::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this address.").help(places)
        })
        .method_not_allowed_fallback(async || wrong_method())
        .layer(map_response(async |mut response: Response| {
            let headers = response.headers_mut();
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            let cross_origin = HeaderName::from_static("cross-origin-resource-policy");
            headers.entry(cross_origin).or_insert(HeaderValue::from_static("same-origin"));
            response
        }))
}

/// `bytes` random bytes in URL-safe base64. `None` when the kernel has none to give, which it says only before
/// it is seeded at boot.
fn random_name<const BYTES: usize>() -> Option<String> {
    use base64::Engine as _;
    let mut random = [0; BYTES];
    getrandom::fill(&mut random).ok()?;
    Some(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random))
}
