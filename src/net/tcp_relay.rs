//! The sockets of TCP allocations (RFC 6062): relayed addresses that listen, connections to peers, and what keeps both
//! sides of a connection in step when two workers hold them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::connections::{self, Claim, Leash, Tally, Ties};
use super::io::Io;
use super::output::Streams;
use super::ports::{Charge, Port, Shared};
use super::pump::{Lender, PIECE, Pump, Way};
use super::till::Till;
use super::worker::Worker;
use crate::sys;
use crate::time::Timestamp;
use crate::turn::{
    AllocationId, BindError, ClientRoute, ConnectionEnd, ConnectionId, DropReason, Leave, Offer, PeerAddress,
    PeerConnection, RelayToken, RelayedTransportAddress, Server, Traffic, Transport, Turn,
};
use crate::wire::ReplyBuffer;

/// What tells the tokens of listening sockets from those of UDP sockets.
const LISTENS: u32 = 1 << 31;
/// Peers' connections to one relayed address that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Connections that one relayed address accepts before other tasks get their turn.
const ACCEPTS: u32 = 64;
/// Connections that one relayed address turns away in each [`TURNED_AWAY_SPAN`] before it rests for the remainder of it.
/// Strangers make no more work than that for the worker, and only more than that keep friends waiting.
const TURNED_AWAY: u32 = 400;
/// See [`TURNED_AWAY`].
const TURNED_AWAY_SPAN: Duration = Duration::from_millis(100);
/// How many times the connections of one allocation all of a user's allocations may have together.
const ALLOCATIONS_FULL_OF_CONNECTIONS: u32 = 4;
/// How long it rests when there are no descriptors left.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(100);

/// A relayed transport address that listens.
struct Listener {
    port: Port,
    /// What its connections are bound to.
    local: SocketAddr,
    owner: Box<str>,
    /// Where its connections pay, if it is metered.
    till: Option<Arc<Till>>,
    /// The task that accepts ends with it.
    _stop: oneshot::Sender<Infallible>,
}

/// Gives a port back when the socket on it has been closed.
struct PortGuard {
    shared: Arc<Shared>,
    port: Port,
}

impl Drop for PortGuard {
    fn drop(&mut self) {
        self.shared.give_back(self.port);
    }
}

/// Whose the connections to a relayed address are.
struct Holder {
    id: AllocationId,
    owner: Box<str>,
    till: Option<Arc<Till>>,
}

/// What is to begin as soon as the worker is free.
enum Start {
    Accept { listener: TcpListener, guard: PortGuard, holder: Holder, stop: oneshot::Receiver<Infallible> },
    Connect { socket: TcpSocket, target: SocketAddr, connection: PeerConnection, ties: Ties },
}

/// The TCP side of [`Relays`](super::relays::Relays).
pub(super) struct TcpRelays {
    shared: Arc<Shared>,
    listeners: Slab<Listener>,
    /// The connections of this worker's allocations, wherever they are relayed.
    leashes: HashMap<ConnectionId, (Leash, Charge)>,
    /// The most of them that a user may have, of all workers.
    per_user: u32,
    starts: Vec<Start>,
    /// For the stream whose request is being handled.
    claimed: Option<Box<Claim>>,
}

/// Whether a token is that of a listening socket.
pub(super) const fn listens(relay: RelayToken) -> bool {
    relay.0 & LISTENS != 0
}

impl TcpRelays {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (listeners, leashes, starts) = (Slab::new(), HashMap::new(), Vec::new());
        Self { shared, listeners, leashes, per_user: 0, starts, claimed: None }
    }

    /// Derives from the bound of one allocation what all of a user's allocations may have.
    pub(super) fn set_connections_per_allocation(&mut self, max: usize) {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        self.per_user = max.saturating_mul(ALLOCATIONS_FULL_OF_CONNECTIONS);
    }

    /// Listens on a port, for an allocation that has been charged to `owner`.
    pub(super) fn open(
        &mut self,
        id: AllocationId,
        port: Port,
        owner: &str,
        till: Option<Arc<Till>>,
    ) -> std::io::Result<(RelayToken, RelayedTransportAddress)> {
        let address = self.shared.addresses()[port.address];
        let local = SocketAddr::new(address.local, port.port);
        let listener = listen_on(local)?;
        let (stop_sender, stop) = oneshot::channel();
        let holder = Holder { id, owner: owner.into(), till: till.clone() };
        let listening = Listener { port, local, owner: owner.into(), till, _stop: stop_sender };
        let entry = self.listeners.vacant_entry();
        let token = u32::try_from(entry.key()).ok().filter(|index| index & LISTENS == 0);
        let Some(token) = token else { return Err(std::io::ErrorKind::OutOfMemory.into()) };
        entry.insert(listening);
        self.shared.set_listening(port);
        let guard = PortGuard { shared: Arc::clone(&self.shared), port };
        self.starts.push(Start::Accept { listener, guard, holder, stop });
        let relayed = SocketAddr::new(address.public, port.port);
        Ok((RelayToken(LISTENS | token), RelayedTransportAddress(relayed)))
    }

    /// Stops listening. The port is free again when the task that accepts has ended.
    pub(super) fn close(&mut self, relay: RelayToken) {
        if let Some(listener) = self.listeners.try_remove((relay.0 & !LISTENS) as usize) {
            self.shared.set_dead(listener.port);
            self.shared.discharge(&listener.owner);
        }
    }

    /// Ends the meter of a relayed address. Returns what is left of its share of the budget.
    pub(super) fn settle(&self, relay: RelayToken) -> u64 {
        let listener = self.listeners.get((relay.0 & !LISTENS) as usize);
        listener.and_then(|listener| listener.till.as_ref()).map_or(0, |till| till.close())
    }

    pub(super) fn connect(
        &mut self,
        allocation: AllocationId,
        relay: RelayToken,
        peer: PeerAddress,
    ) -> Result<ConnectionId, BindError> {
        let listener = self.listeners.get((relay.0 & !LISTENS) as usize).ok_or(BindError::Exhausted)?;
        let charge = self.shared.charge_connection(&listener.owner, self.per_user);
        let charge = charge.ok_or(BindError::Exhausted)?;
        let socket = connecting_socket(listener.local).map_err(|_| BindError::Exhausted)?;
        let id = self.shared.connections.reserve().ok_or(BindError::Exhausted)?;
        let (leash, ties) = connections::tie(listener.till.clone());
        self.leashes.insert(id, (leash, charge));
        let target = self.shared.to_local(peer.0);
        let connection = PeerConnection { allocation, peer, id };
        self.starts.push(Start::Connect { socket, target, connection, ties });
        Ok(id)
    }

    pub(super) fn claim(&mut self, id: ConnectionId) -> bool {
        self.claimed = self.shared.connections.claim(id).map(Box::new);
        self.claimed.is_some()
    }

    /// What the request that has just been handled has claimed.
    pub(super) const fn take_claimed(&mut self) -> Option<Box<Claim>> {
        self.claimed.take()
    }

    pub(super) fn abandon(&mut self, id: ConnectionId) -> bool {
        let waited = self.shared.connections.withdraw(id);
        if waited {
            self.leashes.remove(&id);
        }
        waited
    }

    pub(super) fn disconnect(&mut self, id: ConnectionId) -> (Traffic, Traffic) {
        self.shared.connections.release(id);
        self.leashes.remove(&id).map(|(leash, _)| leash.tally.read()).unwrap_or_default()
    }
}

impl Drop for TcpRelays {
    /// A worker that ends, for whatever reason, leaves no quotas taken and no connections behind.
    fn drop(&mut self) {
        for listener in self.listeners.drain() {
            self.shared.discharge(&listener.owner);
        }
        for (id, leash) in self.leashes.drain() {
            self.shared.connections.release(id);
            drop(leash);
        }
    }
}

/// A socket that listens on a relayed transport address.
fn listen_on(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = new_socket(address)?;
    // Bound outside any reuse-port group first, so that the port is nobody else's, another instance of this program
    // included; then opened to the connections that begin from the same address.
    socket.bind(&address.into())?;
    socket.set_reuse_port(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket that connects from a relayed transport address.
fn connecting_socket(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = new_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

fn new_socket(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = sys::new_socket(Domain::for_address(address), Type::STREAM, Protocol::TCP)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Ended connections of an earlier allocation do not keep the port.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Begins what the core has asked for.
pub(super) fn start(worker: &Rc<RefCell<Worker>>) {
    let starts = std::mem::take(&mut worker.borrow_mut().relays.tcp.starts);
    for start in starts {
        let inside = Rc::clone(worker);
        match start {
            Start::Accept { listener, guard, holder, stop } => {
                worker.borrow().spawn(accept(inside, listener, guard, holder, stop));
            }
            Start::Connect { socket, target, connection, ties } => {
                worker.borrow().spawn(connect(inside, socket, target, connection, ties));
            }
        }
    }
}

/// Accepts peers until the allocation ends.
async fn accept(
    worker: Rc<RefCell<Worker>>,
    listener: TcpListener,
    _guard: PortGuard,
    holder: Holder,
    mut stop: oneshot::Receiver<Infallible>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let mut indication = Box::<ReplyBuffer>::default();
    let mut turned_away = TurnedAway::default();
    let mut in_a_row = 0;
    loop {
        in_a_row += 1;
        if in_a_row > ACCEPTS {
            in_a_row = 0;
            tokio::task::yield_now().await;
        }
        let accepted = tokio::select! {
            _ = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        let pause = match accepted {
            Ok((stream, source)) => match incoming(&worker, stream, source, &holder, &mut indication) {
                Some(guardian) => {
                    worker.borrow().spawn(guardian);
                    Duration::ZERO
                }
                None => turned_away.another(worker.borrow().now().mono),
            },
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                DESCRIPTOR_PAUSE
            }
            Err(_) => turned_away.another(worker.borrow().now().mono),
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// How many connections a relayed address has turned away lately.
struct TurnedAway {
    since: Timestamp,
    count: u32,
}

impl Default for TurnedAway {
    fn default() -> Self {
        Self { since: Timestamp::START, count: 0 }
    }
}

impl TurnedAway {
    /// Counts one more, and says how long to rest.
    fn another(&mut self, now: Timestamp) -> Duration {
        let until = self.since + TURNED_AWAY_SPAN;
        if now >= until {
            (self.since, self.count) = (now, 1);
            return Duration::ZERO;
        }
        self.count += 1;
        if self.count < TURNED_AWAY { Duration::ZERO } else { until.since(now) }
    }
}

/// Asks the core whether a peer may connect. `None`: its connection has been closed at once. Otherwise what waits for
/// the end of the connection.
fn incoming(
    worker: &Rc<RefCell<Worker>>,
    stream: TcpStream,
    source: SocketAddr,
    Holder { id: allocation, owner, till }: &Holder,
    indication: &mut ReplyBuffer,
) -> Option<impl Future<Output = ()> + use<>> {
    let mut inside = worker.borrow_mut();
    let now = inside.now();
    let Worker { server, relays, streams, shared, .. } = &mut *inside;
    let (peer, allocation) = (PeerAddress(shared.to_public(source)), *allocation);
    // Strangers cost no lock and no number.
    server.admits(&now, allocation, peer, relays).ok()?;
    let Some(charge) = shared.charge_connection(owner, relays.tcp.per_user) else {
        server.count(Transport::Tcp).drop(DropReason::ConnectionLimit);
        return None;
    };
    let id = shared.connections.reserve()?;
    let connection = PeerConnection { allocation, peer, id };
    let admitted = server.handle_incoming(&now, &connection, indication, relays);
    let Ok(offer) = admitted else {
        shared.connections.release(id);
        return None;
    };
    let (leash, ties) = connections::tie(till.clone());
    relays.tcp.leashes.insert(id, (leash, charge));
    tell(server, streams, &offer.client, indication.bytes());
    let ended = hand_over(shared, stream, id, offer, ties);
    inside.report_events();
    let worker = Rc::clone(worker);
    Some(async move { watch(&worker, &connection, ended).await })
}

/// Connects to a peer, tells the client, and waits for the end of the connection.
async fn connect(
    worker: Rc<RefCell<Worker>>,
    socket: TcpSocket,
    target: SocketAddr,
    connection: PeerConnection,
    mut ties: Ties,
) {
    let attempt = tokio::time::timeout(Server::CONNECT_TIMEOUT, socket.connect(target));
    let result = tokio::select! {
        // The allocation has ended, and with it whoever wants to know.
        _ = &mut ties.stop => return,
        result = attempt => result,
    };
    let mut reply = Box::<ReplyBuffer>::default();
    let ended = {
        let mut inside = worker.borrow_mut();
        let now = inside.now();
        let Worker { server, relays, streams, shared, .. } = &mut *inside;
        let Ok(Ok(stream)) = result else {
            relays.tcp.disconnect(connection.id);
            if let Some(client) = server.handle_connect_failed(&connection, &mut reply) {
                tell(server, streams, &client, reply.bytes());
            }
            inside.report_events();
            return;
        };
        let Some(offer) = server.handle_connected(&now, &connection, &mut reply) else { return };
        tell(server, streams, &offer.client, reply.bytes());
        hand_over(shared, stream, connection.id, offer, ties)
    };
    drop(reply);
    watch(&worker, &connection, ended).await;
}

/// Sends an answer or indication to a client, whose control connection is this worker's. A client that has left no room
/// for it does not read.
fn tell(server: &mut Server, streams: &mut Streams, client: &ClientRoute, bytes: &[u8]) {
    if !streams.push_to(client, &[bytes], true) {
        server.count(client.tuple.transport).drop(DropReason::QueueFull);
    }
}

/// Lets whichever worker gets the ConnectionBind have the stream. Returns what hears of the connection's end. Bytes that
/// the peer sends meanwhile stay in the kernel, whose window tells the peer when to stop (RFC 6062 §5.2, §5.3).
fn hand_over(
    shared: &Shared,
    stream: TcpStream,
    id: ConnectionId,
    offer: Offer,
    ties: Ties,
) -> oneshot::Receiver<ConnectionEnd> {
    let (done, ended) = oneshot::channel();
    // What is interactive cannot wait for more to come along.
    let _ = stream.set_nodelay(true);
    if let Ok(stream) = stream.into_std() {
        shared.connections.offer(
            id,
            offer.waiting,
            Claim { stream, tally: ties.tally, till: ties.till, stop: ties.stop, done },
        );
    }
    ended
}

/// Tells the core when a connection has ended by itself.
async fn watch(
    worker: &Rc<RefCell<Worker>>,
    connection: &PeerConnection,
    ended: oneshot::Receiver<ConnectionEnd>,
) {
    let end = ended.await.unwrap_or(ConnectionEnd::WorkerStopped);
    let mut inside = worker.borrow_mut();
    let now = inside.now();
    let Worker { server, relays, .. } = &mut *inside;
    // Without a leash the core has ended it.
    if relays.tcp.leashes.contains_key(&connection.id) {
        let relayed = relays.tcp.disconnect(connection.id);
        server.handle_disconnected(&now, connection, end, relayed, relays);
        inside.report_events();
    }
}

/// Relays between a client's data connection and the peer that it has claimed, until one of them ends.
/// `from_client` has been read behind the ConnectionBind, `to_client` is what the client has to get first.
pub(super) async fn relay(
    worker: Rc<RefCell<Worker>>,
    transport: Transport,
    client: Io,
    claim: Claim,
    from_client: Vec<u8>,
    to_client: Vec<u8>,
) {
    let Claim { stream, tally, till, stop, done } = claim;
    let mut books = Books { worker, transport, tally, till };
    let end = match TcpStream::from_std(stream) {
        Ok(peer) => {
            let peer = Io::plain(peer, Vec::new());
            Pump::new(client, peer, from_client, to_client).run(stop, &mut books).await
        }
        Err(_) => ConnectionEnd::Reset,
    };
    // The allocation may have ended first.
    let _ = done.send(end);
}

/// Where relayed bytes are counted: for this worker, and for the allocation, which may be another's.
struct Books {
    worker: Rc<RefCell<Worker>>,
    transport: Transport,
    tally: Arc<Tally>,
    till: Option<Arc<Till>>,
}

impl Lender for Books {
    fn lend<T>(&mut self, work: impl FnOnce(&mut [u8]) -> T) -> T {
        work(&mut self.worker.borrow().read_space.borrow_mut().bytes[..PIECE])
    }

    fn ask(&mut self, turn: &mut Turn) -> Leave {
        let Some(till) = &self.till else { return Leave::Read(PIECE) };
        let worker = self.worker.borrow();
        till.ask(&worker.now(), turn, PIECE, &worker.shared.budgets)
    }

    fn settle(&mut self, turn: &mut Turn, leave: usize, read: usize) {
        if let Some(till) = &self.till {
            till.settle(&self.worker.borrow().now(), turn, leave, read);
        }
    }

    fn count(&mut self, way: Way, bytes: usize) {
        let mut worker = self.worker.borrow_mut();
        let counters = worker.server.count(self.transport);
        match way {
            Way::ToPeer => {
                counters.to_peers.add_bytes(bytes);
                self.tally.add_to_peer(bytes);
            }
            Way::ToClient => {
                counters.to_clients.add_bytes(bytes);
                self.tally.add_to_client(bytes);
            }
        }
    }
}
