//! The hot path, all of it: RFC 8656 §11.2, §11.3, §12.6, §12.7. Nothing here allocates, formats or waits.

use core::net::SocketAddr;
use core::ops::Range;

use super::allocation::Allocation;
use super::policy::Gate;
use super::request::is_unknown;
use super::{
    AllocationId, ClientRoute, DropReason, PeerAddress, PeerPolicy, RelaySockets, RelayToken, Server,
    Transport, Verdict,
};
use crate::time::{Now, Timestamp};
use crate::wire::{
    AddressFamily, ChannelData, Class, Datagram, HEAD_ROOM, HEADER_LEN, Message, MessageWriter,
    TransactionId, attr, method, padded,
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
        let Some(mut allocation) = self.allocations.live(now.mono, &from.tuple) else {
            return self.drop(transport, DropReason::NoAllocation);
        };
        if allocation.moves_to(&from.tuple) {
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
        allocation.to_peers.add(len);
        self.counters.of(transport).to_peers.add(len);
        Verdict::ToPeer { relay, peer: PeerAddress(channel.peer) }
    }

    /// Relays the data of a Send indication (RFC 8656 §11.2). Returns where in the message the data are.
    pub(super) fn relay_indication(
        &mut self,
        now: &Now,
        from: ClientRoute,
        message: &Message<'_>,
        sockets: &mut impl RelaySockets,
    ) -> Result<(Verdict, Range<usize>), DropReason> {
        let (mut peer, mut data) = (None, None);
        for attribute in message.attributes() {
            match attribute.kind {
                attr::XOR_PEER_ADDRESS if peer.is_none() => peer = Some(attribute.value),
                attr::DATA if data.is_none() => data = Some(attribute.value),
                kind if is_unknown(kind) => return Err(DropReason::UnknownAttribute),
                _ => {}
            }
        }
        let (Some(peer), Some(data)) = (peer.and_then(|value| message.xor_address(value)), data) else {
            return Err(DropReason::Malformed);
        };
        let Some(mut allocation) = self.allocations.live(now.mono, &from.tuple) else {
            return Err(DropReason::NoAllocation);
        };
        if allocation.connections.is_some() {
            return Err(DropReason::TcpAllocation);
        }
        if allocation.moves_to(&from.tuple) {
            let id = allocation.id;
            self.complete_move(id, sockets);
            allocation = self.allocations.get(id).ok_or(DropReason::NoAllocation)?;
        }
        let relay = may_pass(&self.settings.policy, allocation, now.mono, peer, sockets)?;
        allocation.to_peers.add(data.len());
        self.counters.of(from.tuple.transport).to_peers.add(data.len());
        let start = message.offset_of(data);
        Ok((Verdict::ToPeer { relay, peer: PeerAddress(peer) }, start..start + data.len()))
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
                push_data_indication(datagram, peer.0, id)
            }
        };
        if !framed || (!transport.is_stream() && datagram.len() > MAX_UDP_PAYLOAD) {
            return self.drop(transport, DropReason::TooLong);
        }
        allocation.to_client.add(len);
        self.counters.of(transport).to_clients.add(len);
        Verdict::ToClient { client }
    }
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

/// Puts STUN header, XOR-PEER-ADDRESS and the header of DATA in front of the data, and padding behind it.
fn push_data_indication(datagram: &mut Datagram<'_>, peer: SocketAddr, id: TransactionId) -> bool {
    let len = datagram.len();
    let mut head = [0; HEAD_ROOM];
    let mut writer = MessageWriter::to(&mut head, method::DATA, Class::Indication, id);
    writer.xor_address(attr::XOR_PEER_ADDRESS, peer);
    let Some(end) = writer.finish() else { return false };
    let Ok(data_len) = u16::try_from(len) else { return false };
    let Ok(message_len) = u16::try_from(end + 4 + padded(len) - HEADER_LEN) else { return false };
    head[2..4].copy_from_slice(&message_len.to_be_bytes());
    head[end..end + 2].copy_from_slice(&attr::DATA.0.to_be_bytes());
    head[end + 2..end + 4].copy_from_slice(&data_len.to_be_bytes());
    datagram.pad() && datagram.push(&head[..end + 4])
}
