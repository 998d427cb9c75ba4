//! The datagram loop of one worker: wait, receive a batch, decide in place, send the batch.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::rc::Rc;

use super::dtls::Arrival;
use super::mail;
use super::relays::{FIRST_RELAY_TOKEN, Heard, TRIES};
use super::sys::{self, BATCH, Batch, Epoll, NetworkError, Outgoing, Ready, SendSpace, Told};
use super::worker::Worker;
use crate::time::Now;
use crate::turn::{
    AllocationId, ClientAddress, ClientRoute, DropReason, FiveTuple, IcmpError, PeerAddress, RelayToken,
    Transport, Verdict,
};
use crate::wire::{Datagram, Marks, Protocol, ReplyBuffer};

/// Rounds of receiving before other tasks of the worker get their turn.
const ROUNDS: usize = 16;
/// ICMP errors of one socket before others get their turn.
const ERRORS: usize = 16;

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
    pub(super) fn send(&self, bytes: &[u8], tuple: &FiveTuple, marks: Marks) -> io::Result<()> {
        let from = self.is_wildcard().then_some(tuple.server.ip());
        sys::send_one(self.socket.as_fd(), bytes, from, tuple.client.0, marks)
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
    ready: Vec<Ready>,
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
            ready: Vec::with_capacity(BATCH),
            reply: Box::default(),
        })
    }

    /// Runs until the runtime ends.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let ready = self.epoll.watch()?;
        loop {
            let mut guard = ready.readable().await?;
            for _ in 0..ROUNDS {
                self.ready.clear();
                self.epoll.ready(&mut self.ready)?;
                if self.ready.is_empty() {
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
        for i in 0..self.ready.len() {
            let Ready { token, readable, failed } = self.ready[i];
            if token < FIRST_RELAY_TOKEN {
                self.receive_from_clients(&mut worker, &now, token);
                continue;
            }
            if failed {
                self.tell_errors(&mut worker, &now, token);
            }
            if readable {
                self.receive_from_peers(&mut worker, &now, token);
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
            let Told { local, tos } = self.batch.told(slot);
            let server = local.map_or(listener.address, |ip| SocketAddr::new(ip, listener.address.port()));
            let mut tuple = FiveTuple { client: ClientAddress(source), server, transport: Transport::Udp };
            let len = self.batch.len(slot);
            let Some(mut datagram) = Datagram::new(self.batch.slot(slot), len) else { continue };
            let marks = Marks { tos, dont_fragment: false };
            datagram.mark(marks);
            if listener.dtls && !listener.is_plain(datagram.bytes()) {
                tuple.transport = Transport::Dtls;
                let arrival = Arrival { tuple, listener: link, marks };
                worker.receive_dtls(now, &arrival, datagram.bytes(), &mut self.reply);
                continue;
            }
            let route = ClientRoute { tuple, link: client_link };
            if let Some(owner) = worker.addressee(&tuple, datagram.bytes()) {
                worker.forward(owner, route, datagram.bytes());
                continue;
            }
            let Worker { server, relays, .. } = &mut *worker;
            match server.handle_client(now, route, &mut datagram, &mut self.reply, relays) {
                Verdict::Reply if datagram.replace(self.reply.bytes()) => {
                    let out = leaving(slot, &datagram, source, local);
                    self.outgoing.push((Exit::Listener(link), out));
                }
                Verdict::ToPeer { relay, peer } => {
                    let out = leaving(slot, &datagram, worker.shared.to_local(peer.0), None);
                    self.outgoing.push((Exit::Relay(relay.0), out));
                }
                Verdict::ReplyFrom { server, client } if datagram.replace(self.reply.bytes()) => {
                    match exit_at(&listeners, server) {
                        Some((exit, from)) => {
                            self.outgoing.push((exit, leaving(slot, &datagram, client, from)));
                        }
                        None => worker.server.count(Transport::Udp).drop(DropReason::SendFailed),
                    }
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
        let (len, tos) = (self.batch.len(slot), self.batch.told(slot).tos);
        let Some(mut datagram) = Datagram::new(self.batch.slot(slot), len) else { return };
        datagram.mark(Marks { tos, dont_fragment: false });
        let Worker { server, relays, .. } = &mut *worker;
        if let Verdict::ToClient { client } = server.handle_peer(now, id, peer, &mut datagram, relays) {
            let out = to_client(&self.listeners, worker, now, client, slot, &datagram);
            self.outgoing.extend(out);
        }
    }

    /// Tells the client what the network says about its datagrams (RFC 8656 §11.5).
    fn tell_errors(&mut self, worker: &mut Worker, now: &Now, token: u64) {
        let mut last = None;
        for _ in 0..ERRORS {
            self.make_room(worker);
            match worker.relays.next_error(token) {
                // This machine says it once for each time that it is asked to send the datagram.
                Heard::Error(_, error) if error.is_local && last == Some(error) => {}
                Heard::Error(id, error) => {
                    last = Some(error);
                    self.tell_error(worker, now, id, error);
                }
                Heard::Other => {}
                Heard::Nothing => return,
                Heard::TooMany => {
                    worker.server.count(Transport::Udp).drop(DropReason::IcmpRate);
                    return;
                }
            }
        }
    }

    fn tell_error(&mut self, worker: &mut Worker, now: &Now, id: AllocationId, error: NetworkError) {
        let NetworkError { to, kind, code, info, .. } = error;
        let peer = PeerAddress(worker.shared.to_public(to));
        let slot = self.used;
        let Some(mut datagram) = Datagram::new(self.batch.slot(slot), 0) else { return };
        let error = IcmpError { peer, kind, code, info };
        if let Verdict::ToClient { client } = worker.server.handle_icmp(now, id, &error, &mut datagram) {
            let out = to_client(&self.listeners, worker, now, client, slot, &datagram);
            self.outgoing.extend(out);
            self.used += 1;
        }
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
            let (lost, failed) = match socket {
                Some(socket) => send_run(&mut self.space, &self.batch, socket, run),
                None => (run.len(), None),
            };
            for _ in 0..lost {
                worker.server.count(Transport::Udp).drop(DropReason::SendFailed);
            }
            if let (Exit::Relay(relay), Some((error, to))) = (*exit, failed) {
                worker.relays.note_failure(RelayToken(relay), &error, to);
            }
        }
        self.outgoing.clear();
        self.used = 0;
        worker.relays.reap();
    }
}

/// The listener at a local address and port, and the source address to choose if it has several.
fn exit_at(listeners: &[UdpListener], server: SocketAddr) -> Option<(Exit, Option<IpAddr>)> {
    let at = |listener: &UdpListener| {
        let same_family = listener.address.is_ipv4() == server.is_ipv4();
        listener.address == server
            || listener.is_wildcard() && same_family && listener.address.port() == server.port()
    };
    let (link, listener) = (0..).zip(listeners).find(|(_, listener)| at(listener))?;
    Some((Exit::Listener(link), listener.is_wildcard().then_some(server.ip())))
}

/// How the datagram in a slot leaves.
fn leaving(slot: usize, datagram: &Datagram<'_>, to: SocketAddr, from: Option<IpAddr>) -> Outgoing {
    let range = datagram.range();
    Outgoing { slot, start: range.start, len: range.len(), to, from, marks: datagram.marks() }
}

/// Hands what goes to a client to whatever leads there, or says how it leaves by plain UDP.
fn to_client(
    listeners: &[UdpListener],
    worker: &mut Worker,
    now: &Now,
    client: ClientRoute,
    slot: usize,
    datagram: &Datagram<'_>,
) -> Option<(Exit, Outgoing)> {
    let ClientRoute { tuple, link } = client;
    if tuple.transport == Transport::Udp {
        let listener = mail::index(link);
        let wildcard = listeners.get(listener as usize).is_some_and(UdpListener::is_wildcard);
        let from = wildcard.then_some(tuple.server.ip());
        return Some((Exit::Listener(listener), leaving(slot, datagram, tuple.client.0, from)));
    }
    let Worker { server, streams, dtls, post, .. } = worker;
    let full = |sent: bool| sent.then_some(()).ok_or(DropReason::QueueFull);
    let sent = if !post.holds(link) {
        full(post.to_client(client, datagram.bytes(), false))
    } else if tuple.transport.is_stream() {
        full(streams.push_to(&client, datagram.bytes(), false))
    } else {
        dtls.send(now, listeners, &client, datagram.bytes(), datagram.marks())
    };
    if let Err(reason) = sent {
        server.count(tuple.transport).drop(reason);
    }
    None
}

/// An error of sending, and where the datagram was to go.
type Failure = (io::Error, SocketAddr);

/// Sends the datagrams of one socket. Says how many were lost, and why the last of them.
fn send_run(
    space: &mut SendSpace,
    batch: &Batch,
    socket: BorrowedFd<'_>,
    mut run: &[(Exit, Outgoing)],
) -> (usize, Option<Failure>) {
    let (mut lost, mut failed) = (0, None);
    while let Some((_, first)) = run.first() {
        let whole = first.is_kept_whole();
        let same = run.iter().take_while(|(_, outgoing)| outgoing.is_kept_whole() == whole).count();
        let (alike, others) = run.split_at(same);
        run = others;
        // Nothing is sent cut that must not be.
        if whole && sys::keep_whole(socket, true).is_err() {
            lost += same;
            continue;
        }
        lost += send_alike(space, batch, socket, alike, &mut failed);
        if whole {
            // The kernel takes this option of every UDP socket.
            let _ = sys::keep_whole(socket, false);
        }
    }
    (lost, failed)
}

/// Sends datagrams that all may be cut, or all may not.
fn send_alike(
    space: &mut SendSpace,
    batch: &Batch,
    socket: BorrowedFd<'_>,
    mut run: &[(Exit, Outgoing)],
    failed: &mut Option<Failure>,
) -> usize {
    let (mut lost, mut tries) = (0, 0);
    while let Some((_, first)) = run.first() {
        match space.send(socket, batch, run.iter().map(|(_, outgoing)| *outgoing)) {
            // A kernel that takes none of them without an error would be asked for ever.
            Ok(0) => return lost + run.len(),
            Ok(sent) => {
                run = run.get(sent..).unwrap_or_default();
                tries = 0;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return lost + run.len(),
            // An ICMP error about an earlier datagram fails the next call, whatever that is about, and is gone then.
            Err(_) if tries + 1 < TRIES => tries += 1,
            // The error is about the first datagram alone: an unreachable peer, say.
            Err(error) => {
                *failed = Some((error, first.to));
                lost += 1;
                run = &run[1..];
                tries = 0;
            }
        }
    }
    lost
}
