//! The datagram loop of one worker: wait, receive a batch, decide in place, send the batch.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::rc::Rc;

use super::dtls::Arrival;
use super::offers::Offers;
use super::outbox::{Exit, Outbox, Way};
use super::relays::{FIRST_RELAY_TOKEN, Heard};
use super::worker::Worker;
use crate::sys::{self, BATCH, Batch, Message, NetworkError, Ready, SocketSet, Told};
use crate::time::Now;
use crate::turn::{
    AllocationId, ClientAddress, ClientRoute, DropReason, FiveTuple, IcmpError, PeerAddress, Transport,
    Verdict,
};
use crate::wire::{Datagram, Marks, Protocol, ReplyBuffer};

/// Rounds of receiving before other tasks of the worker get their turn, and datagrams: one round may bring thousands.
const ROUNDS: usize = 16;
const DATAGRAMS: usize = 4096;
/// So many sockets that were ready at once make it likely that more are by now.
const BUSY: usize = 16;
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
    /// Whether the kernel cuts long messages into datagrams.
    pub(super) cuts: Cell<bool>,
}

impl UdpListener {
    /// A listener that uses nothing which the kernel may or may not offer.
    pub(super) const fn new(socket: UdpSocket, address: SocketAddr, plain: bool, dtls: bool) -> Self {
        Self { socket, address, plain, dtls, cuts: Cell::new(false) }
    }

    /// Uses what the kernel offers.
    pub(super) fn take_up(&self, offers: &Offers) {
        if offers.merges {
            // It has just been done with another socket; without it datagrams come one by one.
            let _ = sys::merge(self.socket.as_fd(), true);
        }
        self.cuts.set(offers.cuts);
    }

    fn is_wildcard(&self) -> bool {
        self.address.ip().is_unspecified()
    }

    /// Whether a datagram to a listener that serves DTLS is none (RFC 7983 §7).
    fn is_plain(&self, datagram: &[u8]) -> bool {
        self.plain && datagram.first().is_none_or(|first| Protocol::of(*first) != Protocol::Tls)
    }

    /// The source address to choose for a client, if the socket has several.
    pub(super) fn source_for(&self, tuple: &FiveTuple) -> Option<IpAddr> {
        self.is_wildcard().then_some(tuple.server.ip())
    }

    /// The socket, and whether the kernel cuts its messages.
    pub(super) fn door(&self) -> (BorrowedFd<'_>, bool) {
        (self.socket.as_fd(), self.cuts.get())
    }

    /// Sends one datagram to a client, outside of any batch.
    pub(super) fn send(&self, bytes: &[u8], tuple: &FiveTuple, marks: Marks) -> io::Result<()> {
        let from = self.source_for(tuple);
        let message = Message { to: tuple.client.0, from, marks, segment: None };
        sys::send_one(self.socket.as_fd(), bytes, &message)
    }
}

/// Datagrams in one slot: one, or several of one sender that the kernel has merged.
pub(super) struct Run {
    /// Where in the memory of the batch those are that are left.
    rest: Range<usize>,
    /// How long each is.
    segment: usize,
    done: bool,
}

impl Run {
    /// The datagrams in a slot, and what their packets came with.
    pub(super) fn open(batch: &Batch, slot: usize) -> (Self, Told) {
        let (rest, told) = (batch.place(slot), batch.told(slot));
        let segment = told.segment.filter(|len| *len > 0).unwrap_or_else(|| rest.len());
        (Self { rest, segment, done: false }, told)
    }
}

impl Iterator for Run {
    type Item = Range<usize>;

    /// The next datagram; an empty one is one too.
    fn next(&mut self) -> Option<Range<usize>> {
        if self.done {
            return None;
        }
        let start = self.rest.start;
        let end = self.rest.end.min(start.saturating_add(self.segment));
        self.rest.start = end;
        self.done = self.rest.is_empty();
        Some(start..end)
    }
}

/// Receives, decides and sends, batch by batch.
pub(super) struct UdpLoop {
    worker: Rc<RefCell<Worker>>,
    listeners: Rc<Vec<UdpListener>>,
    epoll: Rc<SocketSet>,
    batch: Batch,
    /// Slots of the batch that hold datagrams which are still to be sent.
    used: usize,
    outbox: Outbox,
    /// Counts the rounds.
    round: u32,
    /// Datagrams since others had their turn.
    handled: usize,
    /// Whether this round may have left something in a socket.
    left: bool,
    ready: Vec<Ready>,
    reply: Box<ReplyBuffer>,
}

impl UdpLoop {
    pub(super) fn new(
        worker: Rc<RefCell<Worker>>,
        listeners: Rc<Vec<UdpListener>>,
        epoll: Rc<SocketSet>,
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
            outbox: Outbox::new(),
            round: 0,
            handled: 0,
            left: false,
            ready: Vec::with_capacity(BATCH),
            reply: Box::default(),
        })
    }

    /// Runs until the runtime ends.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let ready = self.epoll.watch()?;
        loop {
            let mut guard = ready.readable().await?;
            // Whatever comes from here on wakes the task again.
            guard.clear_ready();
            let mut more = true;
            self.handled = 0;
            for _ in 0..ROUNDS {
                self.ready.clear();
                self.epoll.ready(&mut self.ready)?;
                more = !self.ready.is_empty() && self.round();
                if !more || self.handled >= DATAGRAMS {
                    break;
                }
            }
            self.worker.borrow_mut().report_events();
            while more {
                // Others have their turn. What was left in a socket wakes nobody.
                tokio::task::yield_now().await;
                self.ready.clear();
                self.epoll.ready(&mut self.ready)?;
                more = !self.ready.is_empty() && self.round();
                self.worker.borrow_mut().report_events();
            }
        }
    }

    /// One pass over the sockets that are ready. The time is read once. Says whether it is worth looking for more at
    /// once: something may have been left, or so much has come that more will have come meanwhile.
    fn round(&mut self) -> bool {
        let worker = Rc::clone(&self.worker);
        let mut worker = worker.borrow_mut();
        let now = worker.now();
        self.round = self.round.wrapping_add(1);
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
        self.flush(&mut worker, &now);
        std::mem::take(&mut self.left) || self.ready.len() >= BUSY
    }

    /// Sends what is queued when no slot is left to receive into.
    fn make_room(&mut self, worker: &mut Worker, now: &Now) {
        if self.used == BATCH {
            self.flush(worker, now);
        }
    }

    /// Receives a batch into the free slots, and says which it filled.
    fn receive(&mut self, socket: BorrowedFd<'_>, most: usize) -> Range<usize> {
        let first = self.used;
        // An error is one of ICMP that came meanwhile, which wakes the worker again.
        let count = self.batch.receive(socket, first, most).unwrap_or(0);
        self.used += count;
        self.left |= count == most || self.used == BATCH;
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
        self.make_room(worker, now);
        for slot in self.receive(listener.socket.as_fd(), BATCH) {
            let Some(source) = self.batch.source(slot) else { continue };
            let (run, Told { local, tos, .. }) = Run::open(&self.batch, slot);
            let server = local.map_or(listener.address, |ip| SocketAddr::new(ip, listener.address.port()));
            let tuple = FiveTuple { client: ClientAddress(source), server, transport: Transport::Udp };
            let marks = Marks { tos, dont_fragment: false };
            let back = Way { exit: Exit::Listener(link), to: source, from: local };
            for place in run {
                self.handled += 1;
                let bytes = self.batch.memory().get(place.clone()).unwrap_or_default();
                if listener.dtls && !listener.is_plain(bytes) {
                    let tuple = FiveTuple { transport: Transport::Dtls, ..tuple };
                    let arrival = Arrival { tuple, listener: link, marks };
                    worker.receive_dtls(now, &arrival, bytes, &mut self.reply);
                    continue;
                }
                let route = ClientRoute { tuple, link: client_link };
                self.relay_from_client(worker, now, route, place, back, marks);
            }
        }
    }

    fn relay_from_client(
        &mut self,
        worker: &mut Worker,
        now: &Now,
        route: ClientRoute,
        place: Range<usize>,
        back: Way,
        marks: Marks,
    ) {
        if self.outbox.is_full() {
            self.send(worker, now);
        }
        let bytes = self.batch.memory().get(place.clone()).unwrap_or_default();
        if let Some(owner) = worker.addressee(&route.tuple, bytes) {
            return worker.forward(owner, route, bytes);
        }
        let mut datagram = Datagram::new(bytes, marks);
        let Worker { server, relays, .. } = &mut *worker;
        match server.handle_client(now, route, &mut datagram, &mut self.reply, relays) {
            Verdict::ToPeer { relay, peer } => {
                let place = body(&place, &datagram);
                if !worker.pass_to_peer(now, (relay, peer), &datagram, place, &mut self.outbox) {
                    worker.server.count(Transport::Udp).drop(DropReason::SendFailed);
                }
            }
            Verdict::Reply => self.outbox.push_answer(back, self.reply.bytes()),
            Verdict::ReplyFrom { server, client } => match exit_at(&self.listeners, server) {
                Some((exit, from)) => {
                    self.outbox.push_answer(Way { exit, to: client, from }, self.reply.bytes());
                }
                None => worker.server.count(Transport::Udp).drop(DropReason::SendFailed),
            },
            Verdict::Forward { worker: owner } => worker.forward(owner, route, bytes),
            _ => {}
        }
    }

    fn receive_from_peers(&mut self, worker: &mut Worker, now: &Now, token: u64) {
        self.make_room(worker, now);
        // An allocation that has ended since its socket was found ready has nobody to relay to.
        let Some((socket, id, most)) = worker.relays.by_token(token) else { return };
        let most = most.min(BATCH - self.used);
        let slots = self.receive(socket, most);
        worker.relays.adapt(token, (slots.len(), most), self.round);
        for slot in slots {
            let Some(source) = self.batch.source(slot) else { continue };
            let peer = PeerAddress(worker.shared.to_public(source));
            let (run, Told { tos, .. }) = Run::open(&self.batch, slot);
            for place in run {
                self.handled += 1;
                if self.outbox.is_full() {
                    self.send(worker, now);
                }
                let bytes = self.batch.memory().get(place.clone()).unwrap_or_default();
                worker.take_from_peer(now, id, peer, bytes, tos, place, &mut self.outbox);
            }
        }
    }

    /// Tells the client what the network says about its datagrams (RFC 8656 §11.5).
    fn tell_errors(&mut self, worker: &mut Worker, now: &Now, token: u64) {
        let mut last = None;
        for _ in 0..ERRORS {
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
        // What is left in the queue wakes the worker again: the kernel tells of the next error when one is taken.
    }

    fn tell_error(&mut self, worker: &mut Worker, now: &Now, id: AllocationId, error: NetworkError) {
        if self.outbox.is_full() {
            self.send(worker, now);
        }
        let NetworkError { to, kind, code, info, .. } = error;
        let peer = PeerAddress(worker.shared.to_public(to));
        let mut datagram = Datagram::new(&[], Marks::default());
        let error = IcmpError { peer, kind, code, info };
        if let Verdict::ToClient { client } = worker.server.handle_icmp(now, id, &error, &mut datagram) {
            worker.pass_to_client(now, client, &datagram, 0..0, &mut self.outbox);
        }
    }

    /// Sends what is queued, and has all slots free again.
    fn flush(&mut self, worker: &mut Worker, now: &Now) {
        self.send(worker, now);
        self.used = 0;
        worker.relays.reap();
    }

    /// Sends what is queued. The slots keep what they hold.
    fn send(&mut self, worker: &mut Worker, now: &Now) {
        worker.send(now, self.batch.memory(), &mut self.outbox, Transport::Udp);
    }
}

/// Where the body of a datagram stands that was received at `place`.
fn body(place: &Range<usize>, datagram: &Datagram<'_>) -> Range<usize> {
    let start = place.start + datagram.offset();
    start..start + datagram.body().len()
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
