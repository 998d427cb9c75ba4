//! Sockets and threads around the core: workers that each own a part of all clients.
//!
//! A worker is one thread with one current-thread runtime. The kernel spreads clients over the workers by their
//! 5-tuple (SO_REUSEPORT); the worker that gets a client's Allocate opens its relay socket, and both directions stay
//! on that thread without a lock. Data sockets sit in the worker's own set, nested in one `AsyncFd`.

mod accept;
mod addresses;
mod asked;
mod budgets;
mod clock;
mod connections;
mod decree;
mod delivery;
mod departure;
mod dtls;
mod frame;
mod handshakes;
mod io;
mod mail;
mod offers;
mod offload;
mod open;
mod outbox;
mod output;
mod ports;
mod proxy;
mod pump;
mod relays;
mod report;
mod stream;
mod tcp_relay;
mod till;
mod tls;
mod udp;
mod worker;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::sync::{mpsc, oneshot};

pub use addresses::{
    Error as AddressError, RelayAddress, local as local_addresses, own as own_addresses,
    relay as relay_addresses,
};
pub use clock::Clock;
pub use dtls::Identity as DtlsIdentity;
pub use offers::KernelOffload;
pub use open::Error as OpenError;
pub use report::{Foreign, Rate};
pub use tls::{AUTHORITY_PROTOCOL, TURN_PROTOCOLS, WEB_PROTOCOL, WebDoor, tls_config};

pub use worker::Seen;

use crate::auth::{Revocations, Revoked};
use crate::sys;
use crate::turn::{self, Counters, Lookup, Session, Transport};
use decree::Crier;
use offers::Offers;
use open::Listeners;
use ports::Shared;
use udp::UdpListener;
use worker::{Control, Entrance, Plan, Tuning};

/// Gives back the memory that only the start has needed.
pub fn settle() {
    sys::text::give_back();
}

/// What this machine calls itself.
pub fn host_name() -> Option<String> {
    sys::host_name()
}

/// Messages that wait for a worker.
const MAILBOX: usize = 64;
/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the workers are to be.
pub struct Options {
    /// UDP listen addresses.
    pub udp: Vec<SocketAddr>,
    /// TCP listen addresses.
    pub tcp: Vec<SocketAddr>,
    /// TLS listen addresses. One that is among `tcp` too takes both, told apart by their first byte (RFC 7983).
    pub tls: Vec<SocketAddr>,
    /// What TLS listeners do; not `None` if there are any.
    pub tls_config: Option<Arc<ServerConfig>>,
    /// Where clients go that offer HTTP and not TURN by ALPN. `None`: they are refused.
    pub web: Option<WebDoor>,
    /// What is done with TLS clients that offer `acme-tls/1` alone: authorities that want to see whose a name is (RFC 8737). They
    /// shake hands and are gone. `None`: they are refused like others that offer what is not spoken here.
    pub challenge: Option<Arc<ServerConfig>>,
    /// Load balancers, which begin each TCP connection with a PROXY header; nobody else may.
    pub proxies: Vec<IpNet>,
    /// DTLS listen addresses; those among the UDP ones share their sockets.
    pub dtls: Vec<SocketAddr>,
    /// What the server proves to be over DTLS.
    pub dtls_identity: Option<Arc<DtlsIdentity>>,
    /// Leave out an address whose family the machine lacks, instead of failing.
    pub lenient: bool,
    /// Threads.
    pub workers: usize,
    /// Whether each of them stays on one of the CPUs that the process may use; the first again when there are no more.
    pub pin_workers: bool,
    /// Where relay sockets are bound.
    pub relay_addresses: Vec<RelayAddress>,
    /// The ports they get.
    pub ports: RangeInclusive<u16>,
    /// Settings of the core.
    pub turn: turn::Settings,
    /// Allocations that one user may hold.
    pub allocations_per_user: u32,
    /// Streams without an allocation that one address may hold.
    pub streams_per_address: u32,
    /// Random bytes for hash tables and ports.
    pub seed: [u64; 4],
    /// A secret that mobility tickets are sealed with (RFC 8016).
    pub ticket_key: [u8; 32],
    /// What is revoked from the start.
    pub revoked: Arc<Revocations>,
    /// Who hears of refusals and of allocations that have ended. Nobody waits for it: when it is full, news are lost.
    pub witness: Option<mpsc::Sender<Seen>>,
}

/// Why the workers could not be started.
#[derive(Debug)]
pub enum StartError {
    /// A listener could not be opened.
    Open(OpenError),
    /// No thread could be started.
    Thread(std::io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The running workers.
pub struct Workers {
    mailboxes: Vec<mpsc::Sender<Control>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    bound: Vec<(Transport, SocketAddr)>,
    offers: Arc<Offers>,
    crier: Arc<Crier>,
}

impl Workers {
    /// Opens all sockets, then starts all threads.
    ///
    /// # Errors
    /// When a listener cannot be opened; nothing is left half started.
    pub fn start(options: Options, clock: Clock) -> Result<Self, StartError> {
        let Options { udp, tcp, tls, dtls, lenient, workers, seed, .. } = options;
        let descriptors = sys::raise_descriptor_limit();
        // Streams of strangers may take a part of the descriptors; the rest is for allocations.
        let max_streams = u32::try_from(descriptors / 4).unwrap_or(u32::MAX);
        tracing::debug!(target: "relais::net", descriptors, "each allocation takes a file descriptor");
        let wanted = Listeners { udp: &udp, tcp: &tcp, tls: &tls, dtls: &dtls };
        if workers > most_workers() {
            tracing::info!(target: "relais::net", wanted = workers, workers = most_workers(), "more workers would have nothing to do");
        }
        let workers = workers.clamp(1, most_workers());
        let groups = open::listeners(wanted, workers, lenient).map_err(StartError::Open)?;
        let mut bound = Vec::new();
        if let Some(group) = groups.first() {
            let of = |transport, listener: &UdpListener| (transport, listener.address);
            bound.extend(group.udp.iter().filter(|l| l.plain).map(|l| of(Transport::Udp, l)));
            bound.extend(group.udp.iter().filter(|l| l.dtls).map(|l| of(Transport::Dtls, l)));
            for door in &group.tcp {
                let Ok(address) = door.listener.local_addr() else { continue };
                bound.extend(door.plain.then_some((Transport::Tcp, address)));
                bound.extend(door.tls.then_some((Transport::Tls, address)));
            }
        }
        let offers = Offers::ask();
        for listener in groups.iter().flat_map(|group| &group.udp) {
            listener.take_up(&offers);
        }
        let shared = Arc::new(Shared::new(
            options.relay_addresses,
            &options.ports,
            max_streams,
            workers,
            seed,
            offers,
        ));
        let tuning = Tuning {
            turn: options.turn,
            allocations_per_user: options.allocations_per_user,
            streams_per_address: options.streams_per_address,
        };
        let entrance = Entrance {
            tls: options.tls_config,
            web: options.web,
            challenge: options.challenge,
            proxies: options.proxies.into(),
        };
        let offers = Arc::clone(&shared.offers);
        let crier = Arc::new(Crier::new(options.revoked));
        let mut started = Self { mailboxes: Vec::new(), threads: Vec::new(), bound, offers, crier };
        let cpus = if options.pin_workers { usable_cpus() } else { Vec::new() };
        let mail = mail::connect(groups.len());
        let mut next_cpu = cpus.iter().cycle();
        for ((index, sockets), (post, inbox)) in (0u64..).zip(groups).zip(mail) {
            let cpu = next_cpu.next().copied();
            let seed =
                seed.map(|word| word.rotate_left(7).wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            let plan = Plan {
                sockets,
                tuning: tuning.clone(),
                entrance: entrance.clone(),
                dtls: options.dtls_identity.clone(),
                shared: Arc::clone(&shared),
                clock,
                seed,
                ticket_key: options.ticket_key,
                post,
                inbox,
                draining: false,
                revoked: started.crier.ear(),
                witness: options.witness.clone(),
            };
            let (sender, receiver) = mpsc::channel(MAILBOX);
            let thread = std::thread::Builder::new()
                .name(format!("relais-{index}"))
                .spawn(move || {
                    if let Some(cpu) = cpu {
                        pin(cpu);
                    }
                    worker::run(plan, receiver);
                })
                .map_err(StartError::Thread)?;
            started.mailboxes.push(sender);
            started.threads.push(thread);
        }
        Ok(started)
    }

    /// The addresses that clients can send to.
    pub fn bound(&self) -> &[(Transport, SocketAddr)] {
        &self.bound
    }

    /// How to ask the workers from other threads.
    pub fn handle(&self) -> Handle {
        Handle {
            mailboxes: self.mailboxes.clone(),
            offers: Arc::clone(&self.offers),
            crier: Arc::clone(&self.crier),
        }
    }

    /// Ends all allocations and waits for the threads.
    pub async fn stop(self) {
        self.handle().tell(|| Control::Stop).await;
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A thread that panicked beyond repair has said so.
                let _ = thread.join();
            }
        });
        // The end of the process ends what does not stop by itself.
        let _ = tokio::time::timeout(PATIENCE, joined).await;
    }
}

/// Where the sockets of a reuse-port group do not share what arrives, all but one worker would have nothing to do.
const fn most_workers() -> usize {
    if sys::hints::SPREADS { mail::MAX_WORKERS } else { 1 }
}

/// The CPUs that workers can be pinned to: none, and a word about it, if they cannot be told.
fn usable_cpus() -> Vec<usize> {
    sys::usable_cpus().unwrap_or_else(|error| {
        tracing::warn!(target: "relais::net", %error, "listen.pin_workers: the usable CPUs cannot be told; nothing is pinned");
        Vec::new()
    })
}

/// Keeps this thread on one CPU.
fn pin(cpu: usize) {
    if let Err(error) = sys::pin_thread(cpu) {
        tracing::warn!(
            target: "relais::net",
            cpu, %error,
            "listen.pin_workers: a worker could not be pinned and runs anywhere; a seccomp filter may forbid sched_setaffinity"
        );
    }
}

/// Speaks with all workers.
#[derive(Clone)]
pub struct Handle {
    mailboxes: Vec<mpsc::Sender<Control>>,
    offers: Arc<Offers>,
    crier: Arc<Crier>,
}

impl Handle {
    /// What each worker has counted. `None`: one of them did not answer within a second.
    pub async fn counters(&self) -> Option<Vec<Counters>> {
        self.ask(Control::Counters).await
    }

    /// Replaces what is revoked by `list`, which is the last one with `new` besides, or with something left out. Every worker
    /// finds it from now on, also one that does not answer now; so calls have to be made in the order of the lists. What is
    /// returned waits until the allocations that `new` concerns are gone, and says how many they were; `None`: a worker did
    /// not answer within a second.
    pub fn revoke(
        &self,
        list: Arc<Revocations>,
        new: Option<Revoked>,
    ) -> impl Future<Output = Option<u64>> + Send + use<> {
        self.crier.tell(list, new, PATIENCE)
    }

    /// Live allocations, `limit` of them at most; if `user` is given, those of this user name, or of what quotas count.
    /// `None`: a worker did not answer within a second.
    pub async fn sessions(&self, user: Option<&str>, limit: usize) -> Option<Vec<Session>> {
        let user: Option<Arc<str>> = user.map(Arc::from);
        let all = self.ask(|answer| Control::Sessions(Lookup::new(user.clone(), limit), answer)).await?;
        let mut all: Vec<Session> = all.into_iter().flatten().collect();
        all.truncate(limit);
        Some(all)
    }

    /// Asks all workers the same. `None`: one of them did not answer within a second.
    async fn ask<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Control) -> Option<Vec<T>> {
        let ask = async {
            let mut answers = Vec::new();
            for mailbox in &self.mailboxes {
                let (sender, receiver) = oneshot::channel();
                mailbox.send(question(sender)).await.ok()?;
                answers.push(receiver);
            }
            let mut all = Vec::new();
            for answer in answers {
                all.push(answer.await.ok()?);
            }
            Some(all)
        };
        tokio::time::timeout(PATIENCE, ask).await.ok().flatten()
    }

    /// What the kernel does for the workers beyond single datagrams.
    pub fn offload(&self) -> KernelOffload {
        self.offers.told()
    }

    /// Gives all workers new settings.
    pub async fn configure(&self, turn: turn::Settings, allocations_per_user: u32, streams_per_address: u32) {
        let tuning = Tuning { turn, allocations_per_user, streams_per_address };
        self.tell(|| Control::Configure(Box::new(tuning.clone()))).await;
    }

    /// Gives new TLS connections another configuration; those that are there go on as they are.
    pub async fn set_tls(&self, config: Arc<ServerConfig>) {
        self.tell(|| Control::Tls(Arc::clone(&config))).await;
    }

    /// Gives new DTLS associations another certificate; those that are there go on as they are.
    pub async fn set_dtls(&self, identity: Arc<DtlsIdentity>) {
        self.tell(|| Control::Dtls(Arc::clone(&identity))).await;
    }

    /// No more allocations from now on.
    pub async fn drain(&self) {
        self.tell(|| Control::Drain).await;
    }

    /// Tells all workers the same; one that takes no messages for a second is passed over.
    async fn tell(&self, message: impl Fn() -> Control) {
        for mailbox in &self.mailboxes {
            if tokio::time::timeout(PATIENCE, mailbox.send(message())).await.is_err() {
                tracing::error!(target: "relais::net", "a worker does not answer");
            }
        }
    }

    /// How many allocations live.
    pub async fn allocations(&self) -> Option<u64> {
        let all = self.counters().await?;
        Some(
            all.iter().flat_map(|counters| &counters.by_transport).map(|counters| counters.allocations).sum(),
        )
    }
}
