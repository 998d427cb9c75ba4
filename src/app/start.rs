//! The steps of the start that are not the workers' own: secret, log, web listeners, the words to the operator.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rustls::ServerConfig;
use rustls::sign::CertifiedKey;
use socket2::{Domain, Protocol, Type};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::certificates::Certificates;
use super::ice::Grants;
use super::{Error, lan};
use crate::config::{self, LogFormat, Problem, RedirectWhen, Rooms, Secret, Settings, SharedSecret};
use crate::http::{self, SharedTls};
use crate::net::{Handle, KernelOffload, RelayAddress, WebDoor, Workers};
use crate::observe::{GrantRefusals, Offload, StatsSource, log};
use crate::sys;
use crate::turn::{Counters, Transport};

/// What the secret of a server without configuration is called.
const TRIAL_SECRET: &str = "trial";

/// Makes a secret when nothing at all is configured.
pub(super) fn complete(mut settings: Settings) -> Result<Settings, Error> {
    if settings.source.zero {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(Error::new)?;
        settings.auth.secrets.push(SharedSecret {
            name: TRIAL_SECRET.to_owned(),
            secret: Secret::new(URL_SAFE_NO_PAD.encode(random)),
        });
    }
    Ok(settings)
}

impl Settings {
    /// Without configuration the secret that was made at the start stays.
    pub(super) fn keep_trial_secret(&mut self, old: &Self) {
        if self.source.zero {
            self.auth.secrets.clone_from(&old.auth.secrets);
        }
    }

    /// Puts the keys that a running server cannot take over back to what it runs with, and names those that
    /// differed.
    pub(super) fn keep_until_restart(&mut self, old: &Self) -> Vec<&'static str> {
        let changed = [
            ("listen", self.listen != old.listen),
            ("relay.addresses", self.relay.addresses != old.relay.addresses),
            ("relay.external", self.relay.external != old.relay.external),
            ("relay.ports", self.relay.ports != old.relay.ports),
            ("nat_discovery", self.nat_discovery != old.nat_discovery),
            ("http.listen", self.http.listen != old.http.listen),
            ("http.origins", self.http.origins != old.http.origins),
            ("http.rooms", self.http.rooms != old.http.rooms),
            ("http.host", self.http.host != old.http.host),
            ("http.open", self.http.open != old.http.open),
            ("http.share_tls", self.http.share_tls != old.http.share_tls),
            ("http.dialects", self.http.dialects != old.http.dialects),
            ("admin", self.admin != old.admin),
            ("tls.acme", self.tls.acme != old.tls.acme),
            ("state.directory", self.state != old.state),
            ("log", self.log != old.log),
        ];
        let config::Relay { family_default, tcp, mobility, .. } = self.relay;
        let config::Http { ttl, ref keys, ref tokens, .. } = self.http;
        let (keys, tokens) = (keys.clone(), tokens.clone());
        self.listen = old.listen.clone();
        self.relay = config::Relay { family_default, tcp, mobility, ..old.relay.clone() };
        self.nat_discovery = old.nat_discovery.clone();
        self.http = config::Http { ttl, keys, tokens, ..old.http.clone() };
        self.admin = old.admin.clone();
        self.tls.acme.clone_from(&old.tls.acme);
        self.state.clone_from(&old.state);
        self.log = old.log.clone();
        changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
    }
}

/// Begins the log, and puts into it what was odd about the configuration.
pub(super) fn begin_log(settings: &Settings, warnings: &[Problem]) -> Result<(), Error> {
    let format = match settings.log.format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    log::init(format, &settings.log.level).map_err(Error::new)?;
    log_problems(warnings);
    Ok(())
}

pub(super) fn log_problems(problems: &[Problem]) {
    for problem in problems {
        let place = problem.place.to_string();
        if problem.is_error() {
            tracing::error!(target: "relais::config", place, cure = problem.cure, "{}", problem.message);
        } else {
            tracing::warn!(target: "relais::config", place, cure = problem.cure, "{}", problem.message);
        }
    }
}

/// The open listeners of the web side.
pub(super) struct Web {
    public: Vec<TcpListener>,
    admin: Vec<TcpListener>,
}

/// Opens them, before anything that clients see.
pub(super) fn web_listeners(settings: &Settings) -> Result<Web, Error> {
    let lenient = settings.source.lan;
    Ok(Web {
        public: open("http.listen", &settings.http.listen, lenient)?,
        admin: open("admin.listen", &settings.admin.listen, false)?,
    })
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = sys::new_socket(Domain::for_address(address), Type::STREAM, Protocol::TCP)?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and [::] stand side by side, as those for TURN do.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// With `lenient`, a family that the machine lacks is left out.
fn open(key: &str, addresses: &[SocketAddr], lenient: bool) -> Result<Vec<TcpListener>, Error> {
    let mut listeners = Vec::new();
    for address in addresses {
        let opened = listener(*address);
        let missing = |error: &io::Error| {
            matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
                && address.ip().is_unspecified()
        };
        if lenient && opened.as_ref().is_err_and(missing) {
            continue;
        }
        let listener = opened.map_err(|error| {
            let cure = match error.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "the port is in use; `ss -lntp 'sport = :{}'` shows by whom. Set {key} to another port, or to [] to do without: in \
                     the configuration, or by `--{} ADDR:PORT`",
                    address.port(),
                    key.replace('.', "-")
                ),
                io::ErrorKind::PermissionDenied => {
                    format!("no permission for a port below 1024; give the program CAP_NET_BIND_SERVICE or set {key} to another port")
                }
                io::ErrorKind::AddrNotAvailable => {
                    format!("not an address of this machine (`ip address` lists them); set {key} to one of them")
                }
                _ => error.to_string(),
            };
            Error(format!("cannot listen on tcp {address} ({key}): {cure}"))
        })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Connections on their way from a worker to the web side.
const ARRIVALS: usize = 64;

/// The way there for clients of TLS listeners that want HTTP.
pub(super) fn web_door(config: watch::Receiver<Arc<ServerConfig>>) -> (WebDoor, SharedTls) {
    let (sender, arrivals) = mpsc::channel(ARRIVALS);
    let door: WebDoor = Arc::new(move |socket, ahead, client| {
        // More at once than the web side takes are closed.
        let _ = sender.try_send(http::Arrival { socket, ahead, client });
    });
    (door, SharedTls { arrivals, config })
}

/// The port at which pages are shown over HTTPS: the one that needs not be written, or the first.
pub(super) fn https_port(bound: &[(Transport, SocketAddr)]) -> Option<u16> {
    let tls = || {
        bound.iter().filter(|(transport, _)| *transport == Transport::Tls).map(|(_, address)| address.port())
    };
    tls().find(|port| *port == 443).or_else(|| tls().next())
}

impl Web {
    /// Starts serving.
    #[expect(clippy::too_many_arguments, reason = "each is another part of the running server")]
    pub(super) fn spawn(
        self,
        settings: &Settings,
        https: Option<http::Https>,
        certificates: Option<watch::Receiver<Vec<Arc<CertifiedKey>>>>,
        ice: &Arc<Grants>,
        control: &Arc<dyn http::Control>,
        stats: &Arc<dyn StatsSource>,
        ready: &watch::Receiver<bool>,
        shared: Option<SharedTls>,
        shutdown: &watch::Receiver<bool>,
    ) -> Vec<JoinHandle<()>> {
        let options = http::Options {
            listen: settings.http.listen.clone(),
            origins: settings.http.origins.clone(),
            rooms: match settings.http.rooms {
                Rooms::Off => http::Rooms::Off,
                Rooms::Named => http::Rooms::Named,
                Rooms::Open => http::Rooms::Open,
            },
            host: settings.http.host.clone(),
            open: settings.http.open,
            access: ice.access().clone(),
            dialects: http::Dialect::NAMES
                .iter()
                .filter(|(name, _)| settings.http.dialects.iter().any(|wanted| wanted == name))
                .map(|(_, dialect)| *dialect)
                .collect(),
            https,
            certificates,
            networks: if settings.source.lan { lan::networks() } else { Vec::new() },
            limits: http::Limits::default(),
        };
        let ice: Arc<dyn http::IceSource> = Arc::<Grants>::clone(ice);
        let mut tasks = Vec::new();
        if !self.public.is_empty() {
            let control = Arc::clone(control);
            let (stats, ready, shutdown) = (Arc::clone(stats), ready.clone(), shutdown.clone());
            tasks.push(tokio::spawn(http::serve(
                options,
                ice,
                control,
                stats,
                ready,
                self.public,
                shared,
                shutdown,
            )));
        }
        if !self.admin.is_empty() {
            tasks.push(tokio::spawn(http::serve_admin(
                Arc::clone(stats),
                ready.clone(),
                self.admin,
                shutdown.clone(),
            )));
        }
        tasks
    }
}

/// Asks the workers.
pub(super) struct Stats {
    pub(super) workers: Handle,
    /// When the first certificate ends, in seconds of Unix time; 0 until there is one.
    pub(super) expiry: Option<Arc<AtomicU64>>,
    pub(super) grants_refused: GrantRefusals,
}

impl StatsSource for Stats {
    fn snapshot(&self) -> BoxFuture<'static, Option<Vec<Counters>>> {
        let handle = self.workers.clone();
        async move { handle.counters().await }.boxed()
    }

    fn offload(&self) -> Offload {
        let KernelOffload { features, refusals } = self.workers.offload();
        Offload { features, gso_refusals: refusals }
    }

    fn grants_refused(&self) -> &GrantRefusals {
        &self.grants_refused
    }

    fn certificate_expiry(&self) -> Option<u64> {
        let expiry = self.expiry.as_ref().map(|expiry| expiry.load(Ordering::Relaxed));
        expiry.filter(|expiry| *expiry != 0)
    }
}

/// Says that the server is ready: to the log, and without a configuration also to whoever started it.
pub(super) fn announce(
    settings: &Settings,
    ice: &Grants,
    workers: &Workers,
    relay: &[RelayAddress],
    certificates: Option<&Certificates>,
) {
    for address in relay {
        if address.public == address.local && is_private(address.local) && !settings.source.zero {
            tracing::warn!(
                target: "relais",
                address = %address.local,
                "the relay address is private: clients elsewhere cannot be reached through it. Behind 1:1 NAT, set relay.external"
            );
        }
    }
    let listen: Vec<String> = workers
        .bound()
        .iter()
        .map(|(transport, address)| format!("{}:{address}", transport.name()))
        .collect();
    let relays: Vec<String> = relay.iter().map(|address| address.public.to_string()).collect();
    tracing::info!(target: "relais", listen = listen.join(" "), relay = relays.join(" "), "ready");
    if !settings.redirect.servers.is_empty() && settings.redirect.when == RedirectWhen::Always {
        tracing::info!(
            target: "relais",
            "redirect.when is \"always\": clients that ask for an allocation are sent to redirect.servers"
        );
    }
    if settings.source.lan {
        let own = certificates.and_then(Certificates::self_signed);
        greet(&lan::welcome(settings, workers.bound(), relay, own));
    } else if settings.source.zero {
        greet(&welcome(settings, ice));
    }
}

/// Prints how to use a trial, which serves on where that cannot be printed.
fn greet(text: &str) {
    use std::io::Write as _;
    if let Err(error) = writeln!(io::stdout(), "{text}") {
        tracing::warn!(target: "relais", %error, "how to use this trial cannot be printed");
    }
}

fn welcome(settings: &Settings, ice: &Grants) -> String {
    let servers = serde_json::to_string_pretty(&ice.for_operator()).unwrap_or_default();
    let mut text = format!(
        "Relais is running. For RTCPeerConnection, until the server stops or `expiresAt`:\n\n{servers}\n"
    );
    for address in &settings.http.listen {
        let place = if address.ip().is_unspecified() {
            let host = if settings.http.host.is_empty() { "ADDRESS" } else { &settings.http.host };
            lan::authority(host, address.port())
        } else {
            address.to_string()
        };
        let _ = write!(text, "\nTry a call:  http://{place}/");
    }
    if settings.http.rooms == Rooms::Off && !settings.http.listen.is_empty() {
        text.push_str(
            "\nThe page is of no use yet: without a configuration, other machines get neither rooms nor credentials. \
             Write a secret and `rooms = \"named\"` in [http] into a configuration.",
        );
    }
    text.push_str(
        "\n\nThe secret is new at each start. `relais config default` prints a configuration to keep.",
    );
    text
}

fn is_private(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(ip) => {
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.octets()[0] == 100 && ip.octets()[1] & 0xC0 == 64
        }
        std::net::IpAddr::V6(ip) => ip.is_loopback() || ip.segments()[0] & 0xFE00 == 0xFC00,
    }
}
