//! What workers tell each other about clients that have moved (RFC 8016): the kernel may lead a client's new 5-tuple to
//! another worker than the one that has its allocation. Datagrams between relayed addresses of two workers go here too.
//!
//! The worker where the 5-tuple arrives hands over what comes on it, and keeps its streams; the one that has the
//! allocation answers. Boxes are bounded: what does not fit is dropped, as a router does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::delivery::Bundle;
use super::outbox::Outbox;
use super::worker::Worker;
use crate::time::Now;
use crate::turn::{ClientRoute, DropReason, FiveTuple, RelaySockets as _, Transport, Verdict};
use crate::wire::{Datagram, Marks};

/// Parcels that wait for a worker.
const BOX: usize = 1024;
/// Bytes of bundles that wait for a worker: what the receive buffers of the sockets would hold that are left out.
const BUNDLES: usize = 1 << 20;
/// Parcels that a worker opens before its other work gets its turn.
const PARCELS: usize = 64;

/// How the messages begin that are handled where they are heard, or that may come from a 5-tuple without allocation.
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const REFRESH_REQUEST: [u8; 2] = [0x00, 0x04];

/// The bits of a link below the number of the worker that holds the client's socket.
const INDEX_BITS: u32 = 24;
/// As many workers as links can tell apart; the last number stands for none.
pub(super) const MAX_WORKERS: usize = 255;

/// Where in its worker's tables a link leads.
pub(super) const fn index(link: u32) -> u32 {
    link & ((1 << INDEX_BITS) - 1)
}

/// The worker that holds the socket of a link.
pub(super) const fn holder(link: u32) -> u8 {
    link.to_be_bytes()[0]
}

/// One message between workers.
pub(super) enum Parcel {
    /// What a client sent whose allocation the receiver has.
    FromClient {
        /// As it arrived.
        route: ClientRoute,
        /// What it sent.
        bytes: Box<[u8]>,
    },
    /// What a client is to get whose stream the receiver holds.
    ToClient {
        /// The way to the client.
        route: ClientRoute,
        /// A whole frame.
        bytes: Box<[u8]>,
        /// Whether it is an answer; those come before data when there is little room.
        answer: bool,
    },
    /// Datagrams for relayed transport addresses of the receiver, from others of this server.
    Hairpin(Box<Bundle>),
    /// The receiver has handed over what is its own to handle.
    Return {
        /// As it arrived.
        route: ClientRoute,
        /// What the client sent.
        bytes: Box<[u8]>,
    },
}

/// A message that keeps the books of two workers right.
#[derive(Clone, Copy)]
pub(super) enum Notice {
    /// The allocation of this 5-tuple, which arrives at the receiver, is the sender's.
    Adopt {
        /// How it arrives.
        route: ClientRoute,
        /// The sender.
        owner: u8,
    },
    /// It is no longer.
    Release {
        /// The 5-tuple.
        tuple: FiveTuple,
        /// The sender.
        owner: u8,
    },
    /// The connection of a client whose allocation the receiver has is closed.
    Closed {
        /// As it was.
        route: ClientRoute,
    },
    /// The sender has lost all that it knew.
    Anew {
        /// The sender.
        worker: u8,
    },
}

/// A worker's way to the others.
#[derive(Clone)]
pub(super) struct Post {
    me: u8,
    boxes: Arc<[mpsc::Sender<Parcel>]>,
    /// Bytes of the bundles in each box.
    bundled: Arc<[AtomicUsize]>,
    notices: Arc<[mpsc::UnboundedSender<Notice>]>,
}

/// What arrives for a worker.
pub(super) struct Inbox {
    parcels: mpsc::Receiver<Parcel>,
    notices: mpsc::UnboundedReceiver<Notice>,
}

impl Inbox {
    /// Waits for mail and fills `mail` with some of it. Never ends: each worker has a way to itself.
    pub(super) async fn wait(&mut self, mail: &mut Mail) {
        tokio::select! {
            _ = self.notices.recv_many(&mut mail.notices, PARCELS) => {}
            _ = self.parcels.recv_many(&mut mail.parcels, PARCELS) => {
                // Whatever was written in the books before these were sent is known before they are opened.
                while let Ok(notice) = self.notices.try_recv() {
                    mail.notices.push(notice);
                }
            }
        }
    }
}

/// Mail that has been taken out of the box.
pub(super) struct Mail {
    notices: Vec<Notice>,
    parcels: Vec<Parcel>,
    /// For what is in the parcels.
    outbox: Outbox,
}

impl Mail {
    pub(super) fn new() -> Self {
        Self { notices: Vec::new(), parcels: Vec::new(), outbox: Outbox::new() }
    }
}

/// Connects `workers` workers.
pub(super) fn connect(workers: usize) -> Vec<(Post, Inbox)> {
    let (boxes, parcels): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(BOX)).unzip();
    let (senders, notices): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
    let (boxes, senders): (Arc<[_]>, Arc<[_]>) = (boxes.into(), senders.into());
    let inboxes = parcels.into_iter().zip(notices).map(|(parcels, notices)| Inbox { parcels, notices });
    let bundled: Arc<[_]> = (0..workers).map(|_| AtomicUsize::new(0)).collect();
    let post = |me| Post {
        me,
        boxes: Arc::clone(&boxes),
        bundled: Arc::clone(&bundled),
        notices: Arc::clone(&senders),
    };
    (0..=u8::MAX).zip(inboxes).map(|(me, inbox)| (post(me), inbox)).collect()
}

impl Post {
    /// How many workers there are.
    pub(super) fn workers(&self) -> usize {
        self.boxes.len()
    }

    /// This worker's number.
    pub(super) const fn me(&self) -> u8 {
        self.me
    }

    /// The link to a socket or stream of this worker. `None`: there are too many.
    pub(super) fn link(&self, index: usize) -> Option<u32> {
        let index = u32::try_from(index).ok().filter(|index| *index < 1 << INDEX_BITS)?;
        Some(u32::from(self.me) << INDEX_BITS | index)
    }

    /// Whether this worker holds the socket of a link.
    pub(super) const fn holds(&self, link: u32) -> bool {
        holder(link) == self.me
    }

    /// Sends a parcel. `false`: it is lost, because the box is full or nobody has it.
    pub(super) fn send(&self, worker: u8, parcel: Parcel) -> bool {
        self.boxes.get(usize::from(worker)).is_some_and(|mailbox| mailbox.try_send(parcel).is_ok())
    }

    /// Sends a bundle of so many bytes, to be taken out by [`Self::taken`]. `false`: it is lost, because the worker has
    /// enough of them.
    pub(super) fn send_bundle(&self, worker: u8, bundle: Box<Bundle>, bytes: usize) -> bool {
        let Some(waiting) = self.bundled.get(usize::from(worker)) else { return false };
        let fits = waiting.fetch_add(bytes, Ordering::Relaxed) + bytes <= BUNDLES
            && self.send(worker, Parcel::Hairpin(bundle));
        if !fits {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// This worker has taken a bundle of so many bytes out of its box.
    pub(super) fn taken(&self, bytes: usize) {
        if let Some(waiting) = self.bundled.get(usize::from(self.me)) {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn notify(&self, worker: u8, notice: Notice) {
        if let Some(mailbox) = self.notices.get(usize::from(worker)) {
            // A worker that has stopped has no books to keep.
            let _ = mailbox.send(notice);
        }
    }

    /// Tells all others that this worker begins anew.
    pub(super) fn begin_anew(&self) {
        for worker in (0..=u8::MAX).take(self.notices.len()).filter(|worker| *worker != self.me) {
            self.notify(worker, Notice::Anew { worker: self.me });
        }
    }

    /// Has a client that came through another worker handed over from now on.
    pub(super) fn adopt(&self, route: &ClientRoute) {
        if !self.holds(route.link) {
            self.notify(holder(route.link), Notice::Adopt { route: *route, owner: self.me });
        }
    }

    /// The contrary.
    pub(super) fn release(&self, route: &ClientRoute) {
        if !self.holds(route.link) {
            self.notify(holder(route.link), Notice::Release { tuple: route.tuple, owner: self.me });
        }
    }

    /// Sends a frame to a client whose stream another worker holds.
    pub(super) fn to_client(&self, route: ClientRoute, bytes: &[u8], answer: bool) -> bool {
        self.send(holder(route.link), Parcel::ToClient { route, bytes: bytes.into(), answer })
    }
}

impl Worker {
    /// The worker that has the allocation of this 5-tuple, if it is another one.
    fn owner_elsewhere(&self, tuple: &FiveTuple) -> Option<u8> {
        if self.elsewhere.is_empty() { None } else { self.elsewhere.get(tuple).map(|(owner, _)| *owner) }
    }

    /// The worker that a client's message is for, if it is another one. Binding is for whoever hears it.
    pub(super) fn addressee(&self, tuple: &FiveTuple, bytes: &[u8]) -> Option<u8> {
        self.owner_elsewhere(tuple).filter(|_| !bytes.starts_with(&BINDING_REQUEST))
    }

    /// Whether a 5-tuple has an allocation, of whichever worker.
    pub(super) fn has_allocation(&mut self, now: &Now, tuple: &FiveTuple) -> bool {
        self.server.has_allocation(now, tuple) || self.owner_elsewhere(tuple).is_some()
    }

    /// Hands over what a client sent.
    pub(super) fn forward(&mut self, owner: u8, route: ClientRoute, bytes: &[u8]) {
        if !self.post.send(owner, Parcel::FromClient { route, bytes: bytes.into() }) {
            self.server.count(route.tuple.transport).drop(DropReason::QueueFull);
        }
    }

    /// Tells the worker that has the allocation of a stream that it has closed.
    pub(super) fn forward_closing(&mut self, route: ClientRoute) {
        if self.elsewhere.get(&route.tuple).is_some_and(|(_, link)| *link == route.link) {
            self.forward_opening(&route.tuple);
        }
    }

    /// The same, when another stream takes its 5-tuple.
    pub(super) fn forward_opening(&mut self, tuple: &FiveTuple) {
        if let Some((owner, link)) = self.elsewhere.remove(tuple) {
            self.post.notify(owner, Notice::Closed { route: ClientRoute { tuple: *tuple, link } });
        }
    }

    /// Reads the notices, then opens the parcels.
    pub(super) fn read(&mut self, mail: &mut Mail) {
        for notice in mail.notices.drain(..) {
            self.take_note(notice);
        }
        let Mail { parcels, outbox, .. } = mail;
        for parcel in parcels.drain(..) {
            self.open(parcel, outbox);
        }
        self.relays.reap();
        self.report_events();
    }

    fn take_note(&mut self, notice: Notice) {
        let now = self.now();
        match notice {
            Notice::Adopt { route, owner } => {
                let taken = self.server.has_allocation(&now, &route.tuple);
                if taken || !self.is_open(&route) {
                    self.post.notify(owner, Notice::Closed { route });
                } else {
                    self.elsewhere.insert(route.tuple, (owner, route.link));
                }
            }
            Notice::Release { tuple, owner } => {
                if self.owner_elsewhere(&tuple) == Some(owner) {
                    self.elsewhere.remove(&tuple);
                }
            }
            Notice::Closed { route } => self.server.handle_closed(&now, &route, &mut self.relays),
            Notice::Anew { worker } => {
                self.elsewhere.retain(|_, (owner, _)| *owner != worker);
                for route in self.server.mobile_routes() {
                    if holder(route.link) != worker || self.post.holds(route.link) {
                        continue;
                    }
                    if route.tuple.transport == Transport::Udp {
                        self.post.adopt(&route);
                    } else {
                        self.server.handle_closed(&now, &route, &mut self.relays);
                    }
                }
            }
        }
    }

    /// Whether a client's connection is still the one of this route.
    fn is_open(&self, route: &ClientRoute) -> bool {
        match route.tuple.transport {
            Transport::Udp => true,
            Transport::Tcp | Transport::Tls => self.streams.is_open(route),
            Transport::Dtls => self.dtls.is_open(route),
        }
    }

    fn open(&mut self, parcel: Parcel, outbox: &mut Outbox) {
        match parcel {
            Parcel::Hairpin(bundle) => self.open_bundle(&bundle, outbox),
            Parcel::FromClient { route, bytes } => {
                let now = self.now();
                let moves = bytes.starts_with(&REFRESH_REQUEST);
                if moves || self.server.has_allocation_on(&now, &route) {
                    self.handle_forwarded(route, &bytes);
                } else {
                    // Whoever handed this over does not know that the allocation has ended.
                    self.relays.release(&route);
                    if !self.post.send(holder(route.link), Parcel::Return { route, bytes }) {
                        self.server.count(route.tuple.transport).drop(DropReason::QueueFull);
                    }
                }
            }
            Parcel::Return { route, bytes } => {
                if self.is_open(&route) {
                    self.handle_forwarded(route, &bytes);
                }
            }
            Parcel::ToClient { route, bytes, answer } => {
                if !self.deliver(route, &bytes, answer) {
                    self.server.count(route.tuple.transport).drop(DropReason::QueueFull);
                }
            }
        }
    }

    fn handle_forwarded(&mut self, route: ClientRoute, bytes: &[u8]) {
        let now = self.now();
        let mut datagram = Datagram::new(bytes, Marks::default());
        let Self { server, relays, reply, shared, .. } = self;
        match server.handle_client(&now, route, &mut datagram, reply, relays) {
            Verdict::Reply => {
                let answer: Box<[u8]> = self.reply.bytes().into();
                self.answer(route, &answer);
            }
            Verdict::ToPeer { relay, peer } => {
                let sent = relays.send(relay, datagram.body(), shared.to_local(peer.0), datagram.marks());
                if sent.is_err() {
                    server.count(route.tuple.transport).drop(DropReason::SendFailed);
                }
            }
            Verdict::Drop(DropReason::NoAllocation) => relays.release(&route),
            // A stream that has been handed over becomes no data connection: the peer is closed again.
            Verdict::Bind { .. } => drop(relays.tcp.take_claimed()),
            _ => {}
        }
    }

    /// Sends an answer by the worker that holds the client's socket: it has opened all earlier mail by then, so whatever
    /// the client sends next finds its way.
    fn answer(&mut self, route: ClientRoute, bytes: &[u8]) {
        let sent = if self.post.holds(route.link) {
            self.deliver(route, bytes, true)
        } else {
            self.post.to_client(route, bytes, true)
        };
        if !sent {
            self.server.count(route.tuple.transport).drop(DropReason::QueueFull);
        }
    }

    /// Sends to a client by a socket of this worker.
    fn deliver(&mut self, route: ClientRoute, bytes: &[u8], answer: bool) -> bool {
        match route.tuple.transport {
            Transport::Tcp | Transport::Tls => self.streams.push_to(&route, &[bytes], answer),
            Transport::Dtls => {
                let now = self.now();
                self.dtls.send(&now, &self.listeners, &route, bytes, Marks::default()).is_ok()
            }
            Transport::Udp => self
                .listeners
                .get(index(route.link) as usize)
                .is_some_and(|listener| listener.send(bytes, &route.tuple, Marks::default()).is_ok()),
        }
    }
}
