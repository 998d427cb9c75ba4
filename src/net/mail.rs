//! What workers tell each other about clients that have moved (RFC 8016): the kernel may lead a client's new 5-tuple to
//! another worker than the one that has its allocation.
//!
//! The worker where the 5-tuple arrives hands over what comes on it, and keeps its streams; the one that has the
//! allocation answers. Boxes are bounded: what does not fit is dropped, as a router does.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::worker::Worker;
use crate::time::Now;
use crate::turn::{ClientRoute, DropReason, FiveTuple, RelaySockets as _, Transport, Verdict};
use crate::wire::{Datagram, HEAD_ROOM, Marks, TAIL_ROOM};

/// Parcels that wait for a worker.
const BOX: usize = 1024;
/// Parcels that a worker opens before its other work gets its turn.
pub(super) const PARCELS: usize = 64;

/// The bits of a link below the number of the worker that holds the client's socket.
const INDEX_BITS: u32 = 24;
/// As many workers as links can tell apart; the last number stands for none.
pub(super) const MAX_WORKERS: usize = 255;

/// Where in its worker's tables a link leads.
pub(super) const fn index(link: u32) -> u32 {
    link & ((1 << INDEX_BITS) - 1)
}

/// The worker that holds the socket of a link.
const fn holder(link: u32) -> u8 {
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
    /// The allocation of this 5-tuple, which arrives at the receiver, is the sender's.
    Adopt {
        /// The 5-tuple.
        tuple: FiveTuple,
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
    /// The stream of a client whose allocation the receiver has is closed.
    Closed {
        /// As it was.
        route: ClientRoute,
    },
}

/// A worker's way to the others.
#[derive(Clone)]
pub(super) struct Post {
    me: u8,
    boxes: Arc<[mpsc::Sender<Parcel>]>,
}

/// What arrives for a worker.
pub(super) type Inbox = mpsc::Receiver<Parcel>;

/// Connects `workers` workers.
pub(super) fn connect(workers: usize) -> Vec<(Post, Inbox)> {
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(BOX)).unzip();
    let boxes: Arc<[_]> = senders.into();
    (0..=u8::MAX).zip(inboxes).map(|(me, inbox)| (Post { me, boxes: Arc::clone(&boxes) }, inbox)).collect()
}

impl Post {
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

    /// Has a client that came through another worker handed over from now on.
    pub(super) fn adopt(&self, route: &ClientRoute) {
        if !self.holds(route.link) {
            self.send(holder(route.link), Parcel::Adopt { tuple: route.tuple, owner: self.me });
        }
    }

    /// The contrary.
    pub(super) fn release(&self, route: &ClientRoute) {
        if !self.holds(route.link) {
            self.send(holder(route.link), Parcel::Release { tuple: route.tuple, owner: self.me });
        }
    }

    /// Sends a frame to a client whose stream another worker holds.
    pub(super) fn to_client(&self, route: ClientRoute, bytes: &[u8], answer: bool) -> bool {
        self.send(holder(route.link), Parcel::ToClient { route, bytes: bytes.into(), answer })
    }
}

impl Worker {
    /// The worker that has the allocation of this 5-tuple, if it is another one.
    pub(super) fn owner_elsewhere(&self, tuple: &FiveTuple) -> Option<u8> {
        if self.elsewhere.is_empty() { None } else { self.elsewhere.get(tuple).copied() }
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
        if let Some(owner) = self.elsewhere.remove(&route.tuple) {
            self.post.send(owner, Parcel::Closed { route });
        }
    }

    /// Does what a parcel says.
    pub(super) fn open(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::FromClient { route, bytes } => self.handle_forwarded(route, &bytes),
            Parcel::ToClient { route, bytes, answer } => {
                if !self.deliver(route, &bytes, answer) {
                    self.server.count(route.tuple.transport).drop(DropReason::QueueFull);
                }
            }
            Parcel::Adopt { tuple, owner } => {
                self.elsewhere.insert(tuple, owner);
            }
            Parcel::Release { tuple, owner } => {
                if self.elsewhere.get(&tuple) == Some(&owner) {
                    self.elsewhere.remove(&tuple);
                }
            }
            Parcel::Closed { route } => {
                let now = self.now();
                self.server.handle_closed(&now, &route, &mut self.relays);
            }
        }
    }

    fn handle_forwarded(&mut self, route: ClientRoute, bytes: &[u8]) {
        let now = self.now();
        let mut buffer = vec![0; HEAD_ROOM + bytes.len() + TAIL_ROOM];
        buffer[HEAD_ROOM..][..bytes.len()].copy_from_slice(bytes);
        let Some(mut datagram) = Datagram::new(&mut buffer, bytes.len()) else { return };
        let Self { server, relays, reply, shared, .. } = self;
        match server.handle_client(&now, route, &mut datagram, reply, relays) {
            Verdict::Reply => {
                let answer: Box<[u8]> = self.reply.bytes().into();
                self.send_to_client(route, &answer, true);
            }
            Verdict::ToPeer { relay, peer } => {
                let sent = relays.send(relay, datagram.bytes(), shared.to_local(peer.0), datagram.marks());
                if sent.is_err() {
                    server.count(route.tuple.transport).drop(DropReason::SendFailed);
                }
            }
            // Whoever handed this over does not know that the allocation has ended.
            Verdict::Drop(DropReason::NoAllocation) => relays.release(&route),
            _ => {}
        }
    }

    /// Sends a frame or datagram to a client, wherever its socket is.
    fn send_to_client(&mut self, route: ClientRoute, bytes: &[u8], answer: bool) {
        let sent = if self.post.holds(route.link) || !route.tuple.transport.needs_holder() {
            self.deliver(route, bytes, answer)
        } else {
            self.post.to_client(route, bytes, answer)
        };
        if !sent {
            self.server.count(route.tuple.transport).drop(DropReason::QueueFull);
        }
    }

    /// Sends to a client by a socket of this worker.
    fn deliver(&mut self, route: ClientRoute, bytes: &[u8], answer: bool) -> bool {
        match route.tuple.transport {
            Transport::Tcp | Transport::Tls => self.streams.push_to(&route, bytes, answer),
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
