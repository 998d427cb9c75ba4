//! Where relayed datagrams go: by a socket, to a stream, to another worker, or, when the peer is a relayed transport
//! address of this server, straight to the allocation that has it.
//!
//! That short way (both callers behind relays) makes the same two decisions as the long one through the kernel: the sender's
//! allocation has let the datagram go to the peer, and the receiver's is asked whether it takes it from there. Only the two
//! sockets between them are left out. What comes by DTLS or from another worker takes the long way.

use std::net::SocketAddr;
use std::ops::Range;

use super::mail;
use super::outbox::{Exit, Outbox, Way};
use super::ports::Port;
use super::relays;
use super::worker::Worker;
use crate::time::Now;
use crate::turn::{AllocationId, ClientRoute, DropReason, PeerAddress, RelayToken, Transport, Verdict};
use crate::wire::{Datagram, Marks};

/// Datagrams that are handed to another worker at once.
const BUNDLE: usize = 64;
/// Their bytes: a bundle that has as many takes no more.
const BUNDLE_BYTES: usize = 64 * 1024;

/// Datagrams for allocations of one other worker.
#[derive(Default)]
pub(super) struct Bundle {
    bytes: Vec<u8>,
    datagrams: Vec<Bundled>,
}

#[derive(Clone, Copy)]
struct Bundled {
    /// The number of the socket that would have received it, and the port that it must have.
    index: u32,
    port: Port,
    /// The relayed transport address that it comes from.
    from: SocketAddr,
    start: usize,
    len: usize,
    tos: u8,
}

impl Worker {
    /// Takes a datagram to a peer. Its body stands at `place` of what was received. `false`: no packet could carry it.
    pub(super) fn pass_to_peer(
        &mut self,
        now: &Now,
        (relay, peer): (RelayToken, PeerAddress),
        datagram: &Datagram<'_>,
        place: Range<usize>,
        outbox: &mut Outbox,
    ) -> bool {
        // Streams carry frames that no datagram can. That is no matter of any path's MTU, so the network is not asked.
        if !relays::is_datagram(datagram.len(), peer.0) {
            return false;
        }
        match self.shared.relay_at(peer.0) {
            Some(there) => self.hairpin(now, relay, there, datagram, place, outbox),
            None => {
                let way = Way { exit: Exit::Relay(relay), to: self.shared.to_local(peer.0), from: None };
                outbox.push(way, datagram, place);
            }
        }
        true
    }

    /// Takes it to the allocation that has the port.
    fn hairpin(
        &mut self,
        now: &Now,
        relay: RelayToken,
        (port, link): (Port, u32),
        datagram: &Datagram<'_>,
        place: Range<usize>,
        outbox: &mut Outbox,
    ) {
        let Some(from) = self.relays.relayed(relay) else {
            return self.server.count(Transport::Udp).drop(DropReason::NoAllocation);
        };
        let body = datagram.body();
        let tos = datagram.marks().tos;
        if !self.post.holds(link) {
            return self.bundle(
                link,
                Bundled { index: mail::index(link), port, from, start: 0, len: 0, tos },
                body,
            );
        }
        match self.relays.id_of(mail::index(link), port) {
            Some(id) => self.take_from_peer(now, id, PeerAddress(from), body, tos, place, outbox),
            None => self.server.count(Transport::Udp).drop(DropReason::NoAllocation),
        }
    }

    /// Takes what has arrived at a relayed transport address to the client.
    #[expect(clippy::too_many_arguments, reason = "all of it is what is known of a datagram")]
    pub(super) fn take_from_peer(
        &mut self,
        now: &Now,
        id: AllocationId,
        peer: PeerAddress,
        body: &[u8],
        tos: u8,
        place: Range<usize>,
        outbox: &mut Outbox,
    ) {
        let mut datagram = Datagram::new(body, Marks { tos, dont_fragment: false });
        let verdict = self.server.handle_peer(now, id, peer, &mut datagram, &self.relays);
        if let Verdict::ToClient { client } = verdict {
            self.pass_to_client(now, client, &datagram, place, outbox);
        }
    }

    /// Takes a message to a client. Its body stands at `place` of what was received.
    pub(super) fn pass_to_client(
        &mut self,
        now: &Now,
        client: ClientRoute,
        datagram: &Datagram<'_>,
        place: Range<usize>,
        outbox: &mut Outbox,
    ) {
        let ClientRoute { tuple, link } = client;
        if tuple.transport == Transport::Udp {
            let listener = mail::index(link);
            let from = self.listeners.get(listener as usize).and_then(|listener| listener.source_for(&tuple));
            let way = Way { exit: Exit::Listener(listener), to: tuple.client.0, from };
            return outbox.push(way, datagram, place);
        }
        let Self { server, streams, dtls, post, listeners, .. } = self;
        let full = |sent: bool| sent.then_some(()).ok_or(DropReason::QueueFull);
        let sent = if !post.holds(link) {
            full(post.to_client(client, &datagram.to_vec(), false))
        } else if tuple.transport.is_stream() {
            full(streams.push_to(&client, &datagram.parts(), false))
        } else {
            dtls.send(now, listeners, &client, &datagram.to_vec(), datagram.marks())
        };
        if let Err(reason) = sent {
            server.count(tuple.transport).drop(reason);
        }
    }

    /// Puts a datagram to those for another worker.
    fn bundle(&mut self, link: u32, mut item: Bundled, body: &[u8]) {
        let owner = mail::holder(link);
        let Some(bundle) = self.bundles.get_mut(usize::from(owner)) else { return };
        (item.start, item.len) = (bundle.bytes.len(), body.len());
        bundle.bytes.extend_from_slice(body);
        bundle.datagrams.push(item);
        self.bundled = true;
        if bundle.datagrams.len() == BUNDLE || bundle.bytes.len() >= BUNDLE_BYTES {
            self.hand_over(owner);
        }
    }

    /// Hands over all that is for other workers.
    pub(super) fn hand_over_all(&mut self) {
        if !std::mem::take(&mut self.bundled) {
            return;
        }
        for owner in (0..=u8::MAX).take(self.bundles.len()) {
            self.hand_over(owner);
        }
    }

    fn hand_over(&mut self, owner: u8) {
        let Some(bundle) = self.bundles.get_mut(usize::from(owner)) else { return };
        if bundle.datagrams.is_empty() {
            return;
        }
        let bundle = std::mem::take(bundle);
        let (count, bytes) = (bundle.datagrams.len(), bundle.bytes.len());
        if !self.post.send_bundle(owner, Box::new(bundle), bytes) {
            for _ in 0..count {
                self.server.count(Transport::Udp).drop(DropReason::QueueFull);
            }
        }
    }

    /// Takes what another worker has handed over to the clients.
    pub(super) fn open_bundle(&mut self, bundle: &Bundle, outbox: &mut Outbox) {
        let now = self.now();
        self.post.taken(bundle.bytes.len());
        for item in &bundle.datagrams {
            let place = item.start..item.start + item.len;
            let body = bundle.bytes.get(place.clone()).unwrap_or_default();
            match self.relays.id_of(item.index, item.port) {
                Some(id) => {
                    self.take_from_peer(&now, id, PeerAddress(item.from), body, item.tos, place, outbox)
                }
                None => self.server.count(Transport::Udp).drop(DropReason::NoAllocation),
            }
        }
        self.send(&now, &bundle.bytes, outbox, Transport::Udp);
    }

    /// Sends what is queued; `received` is where the bodies stand. What is lost is counted to the transport that it came by.
    pub(super) fn send(&mut self, now: &Now, received: &[u8], outbox: &mut Outbox, came_by: Transport) {
        let Self { relays, offload, listeners, server, .. } = self;
        if !outbox.is_empty() {
            for _ in 0..outbox.flush(now.mono, received, listeners, relays, offload) {
                server.count(came_by).drop(DropReason::SendFailed);
            }
        }
        self.hand_over_all();
    }
}
