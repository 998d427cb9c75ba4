//! The datagram loop of one worker: wait, receive a batch, decide in place, send the batch.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::rc::Rc;

use super::dtls::Arrival;
use super::mail;
use super::relays::FIRST_RELAY_TOKEN;
use super::sys::{self, BATCH, Batch, Epoll, Outgoing, SendSpace};
use super::worker::Worker;
use crate::time::Now;
use crate::turn::{
    AllocationId, ClientAddress, ClientRoute, DropReason, FiveTuple, PeerAddress, RelayToken, Transport,
    Verdict,
};
use crate::wire::{Datagram, Protocol, ReplyBuffer};

/// Rounds of receiving before other tasks of the worker get their turn.
const ROUNDS: usize = 16;

/// A UDP socket that clients send to.
pub(super) struct UdpListener {
    pub(super) socket: UdpSocket,
    /// The address it is bound to.
    pub(super) address: SocketAddr,
    /// Whether STUN and TURN are served without protection.
    pub(super) plain: bool,
    /// Whether they are served over DTLS.
    pub(super) dtls: bool,
}

impl UdpListener {
    fn is_wildcard(&self) -> bool {
        self.address.ip().is_unspecified()
    }

    /// Whether a datagram to a listener that serves DTLS is none (RFC 7983 §7).
    fn is_plain(&self, datagram: &[u8]) -> bool {
        self.plain && datagram.first().is_none_or(|first| Protocol::of(*first) != Protocol::Tls)
    }

    /// Sends one datagram to a client, outside of any batch.
    pub(super) fn send(&self, bytes: &[u8], tuple: &FiveTuple) -> io::Result<()> {
        let from = self.is_wildcard().then_some(tuple.server.ip());
        sys::send_one(self.socket.as_fd(), bytes, from, tuple.client.0)
    }
}

/// The socket that a datagram leaves from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Exit {
    Listener(u32),
    Relay(u32),
}

/// Receives, decides and sends, batch by batch.
pub(super) struct UdpLoop {
    worker: Rc<RefCell<Worker>>,
    listeners: Rc<Vec<UdpListener>>,
    epoll: Rc<Epoll>,
    batch: Batch,
    /// Slots of the batch that hold datagrams which are still to be sent.
    used: usize,
    outgoing: Vec<(Exit, Outgoing)>,
    space: SendSpace,
    tokens: Vec<u64>,
    reply: Box<ReplyBuffer>,
}

impl UdpLoop {
    pub(super) fn new(
        worker: Rc<RefCell<Worker>>,
        listeners: Rc<Vec<UdpListener>>,
        epoll: Rc<Epoll>,
    ) -> io::Result<Self> {
        for (token, listener) in (0..).zip(listeners.iter()) {
            epoll.add(listener.socket.as_fd(), token)?;
        }
        Ok(Self {
            worker,
            listeners,
            epoll,
            batch: Batch::new(),
            used: 0,
            outgoing: Vec::with_capacity(BATCH),
            space: SendSpace::new(),
            tokens: Vec::with_capacity(BATCH),
            reply: Box::default(),
        })
    }

    /// Runs until the runtime ends.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let ready = self.epoll.watch()?;
        loop {
            let mut guard = ready.readable().await?;
            for _ in 0..ROUNDS {
                self.tokens.clear();
                self.epoll.ready(&mut self.tokens)?;
                if self.tokens.is_empty() {
                    guard.clear_ready();
                    break;
                }
                self.round();
            }
            self.worker.borrow_mut().report_events();
            tokio::task::yield_now().await;
        }
    }

    /// One pass over the sockets that are ready. The time is read once.
    fn round(&mut self) {
        let worker = Rc::clone(&self.worker);
        let mut worker = worker.borrow_mut();
        let now = worker.now();
        for i in 0..self.tokens.len() {
            let token = self.tokens[i];
            if token >= FIRST_RELAY_TOKEN {
                self.receive_from_peers(&mut worker, &now, token);
            } else {
                self.receive_from_clients(&mut worker, &now, token);
            }
        }
        self.flush(&mut worker);
    }

    /// Sends what is queued when no slot is left to receive into.
    fn make_room(&mut self, worker: &mut Worker) {
        if self.used == BATCH {
            self.flush(worker);
        }
    }

    /// Receives a batch into the free slots, and says which it filled.
    fn receive(&mut self, socket: BorrowedFd<'_>) -> std::ops::Range<usize> {
        let first = self.used;
        let count = self.batch.receive(socket, first).unwrap_or(0);
        self.used += count;
        first..first + count
    }

    fn receive_from_clients(&mut self, worker: &mut Worker, now: &Now, token: u64) {
        let listeners = Rc::clone(&self.listeners);
        let Some((link, listener)) = u32::try_from(token)
            .ok()
            .and_then(|link| listeners.get(link as usize).map(|listener| (link, listener)))
        else {
            return;
        };
        let Some(client_link) = worker.post.link(link as usize) else { return };
        self.make_room(worker);
        for slot in self.receive(listener.socket.as_fd()) {
            let Some(source) = self.batch.source(slot) else { continue };
            let local = if listener.is_wildcard() { self.batch.local(slot) } else { None };
            let server = local.map_or(listener.address, |ip| SocketAddr::new(ip, listener.address.port()));
            let mut tuple = FiveTuple { client: ClientAddress(source), server, transport: Transport::Udp };
            let len = self.batch.len(slot);
            let Some(mut datagram) = Datagram::new(self.batch.slot(slot), len) else { continue };
            if listener.dtls && !listener.is_plain(datagram.bytes()) {
                tuple.transport = Transport::Dtls;
                let arrival = Arrival { tuple, listener: link };
                worker.receive_dtls(now, &arrival, datagram.bytes(), &mut self.reply);
                continue;
            }
            let route = ClientRoute { tuple, link: client_link };
            if let Some(owner) = worker.owner_elsewhere(&tuple) {
                worker.forward(owner, route, datagram.bytes());
                continue;
            }
            let Worker { server, relays, .. } = &mut *worker;
            match server.handle_client(now, route, &mut datagram, &mut self.reply, relays) {
                Verdict::Reply if datagram.replace(self.reply.bytes()) => {
                    let range = datagram.range();
                    self.queue(Exit::Listener(link), slot, range, source, local);
                }
                Verdict::ToPeer { relay, peer } => {
                    let range = datagram.range();
                    self.queue(Exit::Relay(relay.0), slot, range, worker.shared.to_local(peer.0), None);
                }
                Verdict::Forward { worker: owner } => worker.forward(owner, route, datagram.bytes()),
                _ => {}
            }
        }
    }

    fn receive_from_peers(&mut self, worker: &mut Worker, now: &Now, token: u64) {
        self.make_room(worker);
        // An allocation that has ended since its socket was found ready has nobody to relay to.
        let Some((socket, id)) = worker.relays.by_token(token) else { return };
        for slot in self.receive(socket) {
            self.relay_from_peer(worker, now, id, slot);
        }
    }

    fn relay_from_peer(&mut self, worker: &mut Worker, now: &Now, id: AllocationId, slot: usize) {
        let Some(source) = self.batch.source(slot) else { return };
        let peer = PeerAddress(worker.shared.to_public(source));
        let len = self.batch.len(slot);
        let Some(mut datagram) = Datagram::new(self.batch.slot(slot), len) else { return };
        let Worker { server, relays, streams, dtls, post, .. } = &mut *worker;
        let Verdict::ToClient { client } = server.handle_peer(now, id, peer, &mut datagram, relays) else {
            return;
        };
        let transport = client.tuple.transport;
        if transport != Transport::Udp {
            let full = |sent: bool| sent.then_some(()).ok_or(DropReason::QueueFull);
            let sent = if !post.holds(client.link) {
                full(post.to_client(client, datagram.bytes(), false))
            } else if transport.is_stream() {
                full(streams.push_to(&client, datagram.bytes(), false))
            } else {
                dtls.send(now, &self.listeners, &client, datagram.bytes())
            };
            if let Err(reason) = sent {
                server.count(transport).drop(reason);
            }
            return;
        }
        let range = datagram.range();
        let listener = mail::index(client.link);
        let wildcard = self.listeners.get(listener as usize).is_some_and(UdpListener::is_wildcard);
        let from = wildcard.then_some(client.tuple.server.ip());
        self.queue(Exit::Listener(listener), slot, range, client.tuple.client.0, from);
    }

    fn queue(
        &mut self,
        exit: Exit,
        slot: usize,
        range: std::ops::Range<usize>,
        to: SocketAddr,
        from: Option<IpAddr>,
    ) {
        let outgoing = Outgoing { slot, start: range.start, len: range.len(), to, from };
        self.outgoing.push((exit, outgoing));
    }

    /// Sends all that is queued, one call for each socket. What a socket does not take is dropped and counted, as a
    /// router does; the order of one socket's datagrams is kept.
    fn flush(&mut self, worker: &mut Worker) {
        self.outgoing.sort_unstable_by_key(|(exit, outgoing)| (*exit, outgoing.slot));
        let mut rest = &self.outgoing[..];
        while let Some((exit, _)) = rest.first() {
            let same = rest.iter().take_while(|(other, _)| other == exit).count();
            let (run, others) = rest.split_at(same);
            rest = others;
            let socket = match *exit {
                Exit::Listener(link) => {
                    self.listeners.get(link as usize).map(|listener| listener.socket.as_fd())
                }
                Exit::Relay(relay) => worker.relays.socket(RelayToken(relay)),
            };
            let failed =
                socket.map_or(run.len(), |socket| send_run(&mut self.space, &self.batch, socket, run));
            for _ in 0..failed {
                worker.server.count(Transport::Udp).drop(DropReason::SendFailed);
            }
        }
        self.outgoing.clear();
        self.used = 0;
        worker.relays.reap();
    }
}

/// Sends the datagrams of one socket. Says how many were lost.
fn send_run(
    space: &mut SendSpace,
    batch: &Batch,
    socket: BorrowedFd<'_>,
    mut run: &[(Exit, Outgoing)],
) -> usize {
    let mut lost = 0;
    while !run.is_empty() {
        match space.send(socket, batch, run.iter().map(|(_, outgoing)| *outgoing)) {
            // A kernel that takes none of them without an error would be asked for ever.
            Ok(0) => return lost + run.len(),
            Ok(sent) => run = run.get(sent..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return lost + run.len(),
            // The error is about the first datagram alone: an unreachable peer, say.
            Err(_) => {
                lost += 1;
                run = &run[1..];
            }
        }
    }
    lost
}
