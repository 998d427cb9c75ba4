//! The hot path, all of it: RFC 8656 §11.2, §11.3, §12.6, §12.7. Nothing here allocates, formats or waits.

use core::net::SocketAddr;

use super::allocation::Allocation;
use super::policy::Gate;
use super::request::is_unknown;
use super::{
    AllocationId, ClientRoute, DropReason, PeerAddress, PeerPolicy, RelaySockets, RelayToken, Server,
    Transport, Verdict,
};
use crate::time::{Now, Timestamp};
use crate::wire::{
    AddressFamily, ChannelData, Datagram, Marks, Message, SendIndication, attr, push_data_head,
};

/// The most that a UDP datagram carries over IPv4.
const MAX_UDP_PAYLOAD: usize = 65_507;

impl Server {
    /// Relays ChannelData from a client to the peer of its channel (RFC 8656 §12.6).
    pub(super) fn relay_channel_data(
        &mut self,
        now: &Now,
        from: ClientRoute,
        datagram: &mut Datagram<'_>,
        sockets: &mut impl RelaySockets,
    ) -> Verdict {
        let transport = from.tuple.transport;
        let (number, len) = match ChannelData::parse(datagram.bytes()) {
            Ok(frame) => (frame.channel, frame.data.len()),
            Err(_) => return self.drop(transport, DropReason::BadChannelData),
        };
        let Some(mut allocation) = self.allocations.live_on(now.mono, &from) else {
            return self.drop(transport, DropReason::NoAllocation);
        };
        if !allocation.ordinary && allocation.moves_to(&from.tuple) {
            let id = allocation.id;
            self.complete_move(id, sockets);
            let Some(moved) = self.allocations.get(id) else {
                return self.drop(transport, DropReason::NoAllocation);
            };
            allocation = moved;
        }
        let Some(channel) = allocation.channel(now.mono, number) else {
            return self.drop(transport, DropReason::NoChannel);
        };
        let relay = match may_pass(&self.settings.policy, allocation, now.mono, channel.peer, sockets) {
            Ok(relay) => relay,
            Err(reason) => return self.drop(transport, reason),
        };
        datagram.narrow(ChannelData::HEADER_LEN, len);
        datagram.mark(marks_to_peer(transport, datagram.marks()));
        allocation.to_peers.add(len);
        self.counters.of(transport).to_peers.add(len);
        Verdict::ToPeer { relay, peer: PeerAddress(channel.peer) }
    }

    /// Relays the data of a Send indication (RFC 8656 §11.2).
    pub(super) fn relay_send(
        &mut self,
        now: &Now,
        from: ClientRoute,
        datagram: &mut Datagram<'_>,
        sockets: &mut impl RelaySockets,
    ) -> Verdict {
        let transport = from.tuple.transport;
        let send = match SendIndication::read_plain(datagram.bytes()) {
            Some(send) => send,
            None => match read_send(datagram.bytes()) {
                Ok(send) => send,
                Err(reason) => return self.drop(transport, reason),
            },
        };
        let SendIndication { peer, data, dont_fragment } = send;
        let Some(mut allocation) = self.allocations.live_on(now.mono, &from) else {
            return self.drop(transport, DropReason::NoAllocation);
        };
        if !allocation.ordinary && allocation.connections.is_some() {
            return self.drop(transport, DropReason::TcpAllocation);
        }
        if !allocation.ordinary && allocation.moves_to(&from.tuple) {
            let id = allocation.id;
            self.complete_move(id, sockets);
            let Some(moved) = self.allocations.get(id) else {
                return self.drop(transport, DropReason::NoAllocation);
            };
            allocation = moved;
        }
        let relay = match may_pass(&self.settings.policy, allocation, now.mono, peer, sockets) {
            Ok(relay) => relay,
            Err(reason) => return self.drop(transport, reason),
        };
        datagram.narrow(data.start, data.len());
        let mut marks = marks_to_peer(transport, datagram.marks());
        // Between the families a packet is translated, and the attribute says nothing (§13); from a stream it is always
        // heard, as nothing is translated then (§15).
        marks.dont_fragment =
            dont_fragment && (transport.is_stream() || from.tuple.client.0.is_ipv4() && peer.is_ipv4());
        datagram.mark(marks);
        allocation.to_peers.add(data.len());
        self.counters.of(transport).to_peers.add(data.len());
        Verdict::ToPeer { relay, peer: PeerAddress(peer) }
    }

    /// Relays a datagram that arrived at a relayed transport address: as ChannelData when the peer has a channel
    /// (§12.7), else as a Data indication (§11.3). The header is put in front in place.
    pub fn handle_peer(
        &mut self,
        now: &Now,
        id: AllocationId,
        peer: PeerAddress,
        datagram: &mut Datagram<'_>,
        sockets: &impl RelaySockets,
    ) -> Verdict {
        let Some(allocation) = self.allocations.get(id).filter(|allocation| allocation.expires > now.mono)
        else {
            return self.drop(Transport::Udp, DropReason::NoAllocation);
        };
        let client = allocation.route;
        let transport = client.tuple.transport;
        let len = datagram.len();
        if let Err(reason) = may_pass(&self.settings.policy, allocation, now.mono, peer.0, sockets) {
            return self.drop(transport, reason);
        }
        let framed = match allocation.number(now.mono, peer.0) {
            Some(number) => {
                ChannelData::header(number, len).is_some_and(|header| datagram.push(&header))
                    && (!transport.is_stream() || datagram.pad())
            }
            None => {
                let id = self.transaction_ids.next();
                push_data_head(datagram, peer.0, id)
            }
        };
        if !framed || (!transport.is_stream() && datagram.len() > MAX_UDP_PAYLOAD) {
            return self.drop(transport, DropReason::TooLong);
        }
        if transport.is_stream() {
            // The connection has marks of its own (RFC 8656 §16).
            datagram.mark(Marks::default());
        }
        allocation.to_client.add(len);
        self.counters.of(transport).to_clients.add(len);
        Verdict::ToClient { client }
    }
}

/// Reads a Send indication of any form, by the rules for all messages (RFC 8489 §6.3, §14; RFC 8656 §11.2).
#[cold]
fn read_send(bytes: &[u8]) -> Result<SendIndication, DropReason> {
    let message = Message::parse(bytes).map_err(|_| DropReason::Malformed)?;
    if !message.fingerprint_holds() {
        return Err(DropReason::Fingerprint);
    }
    if message.attributes().any(|attribute| is_unknown(attribute.kind)) {
        return Err(DropReason::UnknownAttribute);
    }
    let peer = message.get(attr::XOR_PEER_ADDRESS).and_then(|value| message.xor_address(value));
    let (Some(peer), Some(data)) = (peer, message.get(attr::DATA)) else { return Err(DropReason::Malformed) };
    let start = message.offset_of(data);
    let dont_fragment = message.get(attr::DONT_FRAGMENT).is_some();
    Ok(SendIndication { peer, data: start..start + data.len(), dont_fragment })
}

/// The permission (§9), for some peers the port, and the relay of the peer's family: asked for each datagram of
/// either direction.
fn may_pass(
    policy: &PeerPolicy,
    allocation: &Allocation,
    now: Timestamp,
    peer: SocketAddr,
    sockets: &impl RelaySockets,
) -> Result<RelayToken, DropReason> {
    let permission = allocation.permission(now, peer.ip()).ok_or(DropReason::NoPermission)?;
    if permission.gate == Gate::ByPort && !policy.allows(peer, || sockets.is_live(peer)) {
        return Err(DropReason::Forbidden);
    }
    let relay = allocation.relay(now, AddressFamily::of(&peer.ip())).ok_or(DropReason::PeerFamily)?;
    Ok(relay.token)
}

/// What a packet to a peer leaves with: what it came with, but that a stream tells nothing of ECN (RFC 8656 §14, §15).
/// Whether it may be cut, only a Send indication says.
const fn marks_to_peer(transport: Transport, came_with: Marks) -> Marks {
    if transport.is_stream() { came_with.without_ecn() } else { came_with }
}
