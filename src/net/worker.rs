//! A worker: one thread, one runtime, its own sockets and its own part of the allocations.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use super::accept::{self, Door};
use super::asked::Asked;
use super::clock::Clock;
use super::decree::{Ear, Search};
use super::delivery::Bundle;
use super::dtls::{Dtls, Identity};
use super::mail::{Inbox, Mail, Post};
use super::offload::Offload;
use super::output::Streams;
use super::ports::Shared;
use super::relays::Relays;
use super::report::Reporter;
use super::stream::ReadSpace;
use super::tls::WebDoor;
use super::udp::{UdpListener, UdpLoop};
use crate::auth::Revocations;
use crate::sys::{SocketSet, Timer};
use crate::time::Now;
use crate::turn::{self, Counters, Event, FiveTuple, Lookup, Server, Session, StreamRefusal, Transport};
use crate::wire::ReplyBuffer;

/// How often expired things are looked for. Expiry itself is exact: it is decided when a thing is used.
const TICK: Duration = Duration::from_millis(250);
/// The same when more has expired than is ended at once; media get their turn in between.
const SHORT_TICK: Duration = Duration::from_millis(2);

/// What a worker can be told or asked.
pub(super) enum Control {
    /// What has been counted.
    Counters(oneshot::Sender<Counters>),
    /// New settings.
    Configure(Box<Tuning>),
    /// What new connections are told by TLS.
    Tls(Arc<ServerConfig>),
    /// What new DTLS associations are shown.
    Dtls(Arc<Identity>),
    /// Which allocations there are, of one user or of all, and no more than so many.
    Sessions(Lookup, oneshot::Sender<Vec<Session>>),
    /// Make no more allocations.
    Drain,
    /// End all allocations and stop.
    Stop,
}

/// All that a worker is told, at the start and on reload.
#[derive(Clone)]
pub(super) struct Tuning {
    pub(super) turn: turn::Settings,
    pub(super) allocations_per_user: u32,
    pub(super) streams_per_address: u32,
}

/// What decides about new streams.
#[derive(Clone, Default)]
pub(super) struct Entrance {
    /// There with any TLS listener.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Where clients go that want HTTP over TLS.
    pub(super) web: Option<WebDoor>,
    /// What authorities are shown that ask whose a name is.
    pub(super) challenge: Option<Arc<ServerConfig>>,
    /// Load balancers that begin each connection with a PROXY header.
    pub(super) proxies: Arc<[IpNet]>,
}

impl Entrance {
    /// Whether this is the address of a load balancer.
    pub(super) fn is_proxy(&self, ip: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(&ip))
    }
}

/// The sockets of a worker, to be used by it and, should it fail, by its successor.
pub(super) struct Sockets {
    pub(super) udp: Vec<UdpListener>,
    pub(super) tcp: Vec<Door<TcpListener>>,
}

impl Sockets {
    fn share(&self) -> std::io::Result<Self> {
        let udp = self.udp.iter().map(|listener| {
            Ok(UdpListener {
                socket: listener.socket.try_clone()?,
                address: listener.address,
                plain: listener.plain,
                dtls: listener.dtls,
                cuts: listener.cuts.clone(),
            })
        });
        let tcp = self
            .tcp
            .iter()
            .map(|door| Ok(Door { listener: door.listener.try_clone()?, plain: door.plain, tls: door.tls }));
        Ok(Self { udp: udp.collect::<std::io::Result<_>>()?, tcp: tcp.collect::<std::io::Result<_>>()? })
    }
}

/// The state of a worker, shared by its tasks, all on one thread.
pub(super) struct Worker {
    pub(super) server: Server,
    pub(super) relays: Relays,
    pub(super) offload: Offload,
    /// Datagrams for relayed addresses of other workers, and whether there are any.
    pub(super) bundles: Vec<Bundle>,
    pub(super) bundled: bool,
    pub(super) streams: Streams,
    pub(super) dtls: Dtls,
    pub(super) listeners: Rc<Vec<UdpListener>>,
    pub(super) post: Post,
    /// Whose the allocations are of 5-tuples that arrive here and belong elsewhere (RFC 8016), and by which link they
    /// arrive.
    pub(super) elsewhere: HashMap<FiveTuple, (u8, u32)>,
    /// For answers to streams and to what other workers have handed over.
    pub(super) reply: Box<ReplyBuffer>,
    pub(super) shared: Arc<Shared>,
    pub(super) streams_per_address: u32,
    pub(super) entrance: Entrance,
    /// Lent to whichever stream is read.
    pub(super) read_space: Rc<RefCell<ReadSpace>>,
    clock: Clock,
    reporter: Reporter,
    witness: Option<mpsc::Sender<Seen>>,
    /// Takes the panic of a task to the worker's own loop, which ends with it.
    panics: mpsc::UnboundedSender<Box<dyn Any + Send>>,
}

impl Worker {
    /// Runs a task on this worker. Its panic is the worker's, not only its own.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let panics = self.panics.clone();
        tokio::task::spawn_local(async move {
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                // Without a receiver the worker is ending anyway.
                let _ = panics.send(panic);
            }
        });
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Writes down what has happened.
    pub(super) fn report_events(&mut self) {
        while let Some(event) = self.server.poll_event() {
            let now = self.clock.now();
            self.reporter.report(&now, &event);
            // Who does not keep up misses some of it; nobody waits here.
            if let Some(witness) = &self.witness
                && matters(&event)
            {
                let _ = witness.try_send(Seen { now, event });
            }
        }
    }

    /// Counts and tells why a client's connection is closed.
    pub(super) fn refuse_stream(&mut self, client: SocketAddr, reason: StreamRefusal) {
        self.server.count_refused_stream(reason);
        self.reporter.refused_stream(&self.clock.now(), client, reason);
    }

    /// Ends what has expired, a part of it at a time. Returns when to come back.
    fn tick(&mut self) -> Duration {
        let now = self.now();
        self.server.handle_timeout(&now, &mut self.relays);
        let more = self.tick_dtls(&now);
        self.relays.reap();
        self.shared.forget_expired(now.mono);
        self.relays.hear_again(now.mono);
        self.offload.forget_expired(now.mono);
        if self.offload.is_time_again(now.mono) {
            for listener in self.listeners.iter() {
                listener.cuts.set(self.shared.offers.cuts);
            }
        }
        self.reporter.tick(&now, false);
        self.report_events();
        let more = more || self.server.next_timeout().is_some_and(|due| due <= now.mono);
        if more { SHORT_TICK } else { TICK }
    }

    fn configure(&mut self, tuning: Tuning) {
        self.relays.allocations_per_user = tuning.allocations_per_user;
        self.relays.tcp.set_connections_per_allocation(tuning.turn.limits.connections);
        self.server.reconfigure(tuning.turn);
        self.streams_per_address = tuning.streams_per_address;
    }

    /// Ends what is revoked. A client that has a stream or an association loses it.
    fn revoke(&mut self, list: &Arc<Revocations>, search: Search) -> u64 {
        let now = self.now();
        let before = self.server.allocation_count();
        let list = Arc::clone(list);
        let routes = match search {
            Search::All => self.server.revoke(&now, list, &mut self.relays),
            Search::One(new) => self.server.revoke_one(&now, list, Some(&new), &mut self.relays),
            Search::Nothing => self.server.revoke_one(&now, list, None, &mut self.relays),
        };
        for route in routes {
            if !self.post.holds(route.link) {
                // Another worker's stream: without an allocation it has no long life.
                continue;
            }
            match route.tuple.transport {
                Transport::Udp => {}
                Transport::Tcp | Transport::Tls => self.streams.hang_up(&route),
                Transport::Dtls => self.hang_up_dtls(&now, &route),
            }
        }
        self.relays.reap();
        self.report_events();
        before.saturating_sub(self.server.allocation_count()) as u64
    }

    fn stop(&mut self) {
        let now = self.now();
        self.server.end_all(&now, &mut self.relays);
        self.stop_dtls(&now);
        self.report_events();
        self.reporter.tick(&now, true);
    }
}

/// What a worker thread begins with.
pub(super) struct Plan {
    pub(super) sockets: Sockets,
    pub(super) tuning: Tuning,
    pub(super) entrance: Entrance,
    /// There with any DTLS listener.
    pub(super) dtls: Option<Arc<Identity>>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    pub(super) seed: [u64; 4],
    /// The secret that all workers seal mobility tickets with.
    pub(super) ticket_key: [u8; 32],
    pub(super) post: Post,
    pub(super) inbox: Inbox,
    /// Whether no more allocations are made.
    pub(super) draining: bool,
    /// What is revoked.
    pub(super) revoked: Ear,
    /// Who wants to hear of refusals and ends.
    pub(super) witness: Option<mpsc::Sender<Seen>>,
}

/// Something that has happened, for those who keep it.
#[derive(Debug)]
pub struct Seen {
    /// When.
    pub now: Now,
    /// What.
    pub event: Event,
}

/// Whether anybody asks for it later. What a forged source is refused would stand under the name of somebody else.
const fn matters(event: &Event) -> bool {
    matches!(
        event,
        Event::LoginRefused { proven: true, .. }
            | Event::RequestRefused { .. }
            | Event::AllocationEnded { .. }
    )
}

/// Runs a worker until it is told to stop. A panic ends its allocations, not the server: the worker begins anew on
/// the same sockets.
pub(super) fn run(mut plan: Plan, mut control: mpsc::Receiver<Control>) {
    loop {
        let turn = AssertUnwindSafe(|| run_once(&mut plan, &mut control));
        match std::panic::catch_unwind(turn) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                tracing::error!(target: "relais::net", %error, "a worker failed and begins anew")
            }
            Err(_) => tracing::error!(
                target: "relais::net",
                "a worker panicked and begins anew; its allocations have ended. Please report the message above"
            ),
        }
        // What fails at once shall not fail all the time; and whoever asks must not wait for it.
        std::thread::sleep(TICK);
        while let Ok(message) = control.try_recv() {
            match message {
                Control::Stop => return,
                Control::Drain => plan.draining = true,
                Control::Configure(tuning) => plan.tuning = *tuning,
                Control::Tls(config) => plan.entrance.tls = Some(config),
                Control::Dtls(identity) => plan.dtls = Some(identity),
                Control::Counters(_) | Control::Sessions(..) => {}
            }
        }
        // The same numbers again would repeat transaction ids.
        plan.seed[0] = plan.seed[0].wrapping_add(1);
    }
}

fn run_once(plan: &mut Plan, control: &mut mpsc::Receiver<Control>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sockets = plan.sockets.share()?;
    let epoll = Rc::new(SocketSet::new()?);
    let (panics, mut panicked) = mpsc::unbounded_channel();
    let quota = plan.tuning.allocations_per_user;
    let mut relays = Relays::new(Arc::clone(&plan.shared), Rc::clone(&epoll), quota, plan.post.clone());
    relays.tcp.set_connections_per_allocation(plan.tuning.turn.limits.connections);
    let listeners = Rc::new(sockets.udp);
    let server = Server::new(plan.tuning.turn.clone(), plan.seed);
    let dtls = Dtls::new(plan.dtls.clone(), plan.clock)?;
    let worker = Rc::new(RefCell::new(Worker {
        server: server.in_a_group(plan.ticket_key, plan.post.me(), plan.seed[0]),
        relays,
        offload: Offload::new(Arc::clone(&plan.shared.offers)),
        bundles: std::iter::repeat_with(Bundle::default).take(plan.post.workers()).collect(),
        bundled: false,
        streams: Streams::default(),
        dtls,
        listeners: Rc::clone(&listeners),
        post: plan.post.clone(),
        elsewhere: HashMap::new(),
        reply: Box::default(),
        shared: Arc::clone(&plan.shared),
        streams_per_address: plan.tuning.streams_per_address,
        entrance: plan.entrance.clone(),
        read_space: Rc::new(RefCell::new(ReadSpace::new())),
        clock: plan.clock,
        reporter: Reporter::default(),
        witness: plan.witness.clone(),
        panics,
    }));
    plan.revoked.begin(|list| worker.borrow_mut().revoke(list, Search::Nothing));
    if plan.draining {
        worker.borrow_mut().server.drain();
    }
    plan.post.begin_anew();
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        for Door { listener, plain, tls } in sockets.tcp {
            let door = Door { listener: tokio::net::TcpListener::from_std(listener)?, plain, tls };
            worker.borrow().spawn(accept::accept(Rc::clone(&worker), door));
        }
        let udp = UdpLoop::new(Rc::clone(&worker), listeners, Rc::clone(&epoll))?;
        // Whatever wakes the thread polls this future. Each part of it is polled only when it was meant, since most of
        // what happens is datagrams, and they are to pay for nothing else.
        let mut parts = FuturesUnordered::from_iter([
            udp.run().boxed_local(),
            attend(plan, control, &mut panicked, &worker).boxed_local(),
        ]);
        parts.next().await.unwrap_or(Ok(()))
    })
}

/// Does what a worker does beside relaying, until it is told to stop.
async fn attend(
    plan: &mut Plan,
    control: &mut mpsc::Receiver<Control>,
    panicked: &mut mpsc::UnboundedReceiver<Box<dyn Any + Send>>,
    worker: &RefCell<Worker>,
) -> std::io::Result<()> {
    let tick = Timer::new();
    tick.arm(TICK)?;
    let mut mail = Mail::new();
    let mut asked = Asked::default();
    loop {
        tokio::select! {
            Some(panic) = panicked.recv() => std::panic::resume_unwind(panic),
            () = plan.inbox.wait(&mut mail) => worker.borrow_mut().read(&mut mail),
            () = plan.revoked.news() => {
                plan.revoked.hear(|list, search| worker.borrow_mut().revoke(list, search));
            }
            message = control.recv() => match message {
                Some(Control::Counters(answer)) => {
                    // Whoever asked may have given up.
                    let _ = answer.send(*worker.borrow_mut().server.counters());
                }
                Some(Control::Configure(tuning)) => {
                    plan.tuning = (*tuning).clone();
                    worker.borrow_mut().configure(*tuning);
                }
                Some(Control::Tls(config)) => {
                    plan.entrance.tls = Some(Arc::clone(&config));
                    worker.borrow_mut().entrance.tls = Some(config);
                }
                Some(Control::Dtls(identity)) => {
                    plan.dtls = Some(Arc::clone(&identity));
                    worker.borrow_mut().dtls.set_identity(identity);
                }
                Some(Control::Sessions(lookup, answer)) => asked.add(lookup, answer),
                Some(Control::Drain) => {
                    plan.draining = true;
                    worker.borrow_mut().server.drain();
                }
                Some(Control::Stop) | None => {
                    worker.borrow_mut().stop();
                    return Ok(());
                }
            },
            () = tokio::task::yield_now(), if !asked.is_empty() => {
                let worker = worker.borrow();
                asked.go_on(&worker.server, &worker.now());
            }
            fired = tick.fired() => {
                fired?;
                let pause = worker.borrow_mut().tick();
                tick.arm(pause)?;
            }
        }
    }
}
