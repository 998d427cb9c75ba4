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
    AddressFamily, ChannelData, Datagram, Marks, Message, attr, push_data_head,
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
        sockets: &impl RelaySockets,
    ) -> Verdict {
        let transport = from.tuple.transport;
        let (number, len) = match ChannelData::parse(datagram.bytes()) {
            Ok(frame) => (frame.channel, frame.data.len()),
            Err(_) => return self.drop(transport, DropReason::BadChannelData),
        };
        let Some(allocation) = self.allocations.live(now.mono, &from.tuple) else {
            return self.drop(transport, DropReason::NoAllocation);
        };
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

    /// Relays the data of a Send indication (RFC 8656 §11.2).
    pub(super) fn relay_send(
        &mut self,
        now: &Now,
        from: ClientRoute,
        datagram: &mut Datagram<'_>,
        sockets: &impl RelaySockets,
    ) -> Verdict {
        match self.judge_send(now, &from, datagram, sockets) {
            Ok((verdict, data, marks)) => {
                datagram.narrow(data.start, data.len());
                datagram.mark(marks);
                verdict
            }
            Err(reason) => self.drop(from.tuple.transport, reason),
        }
    }

    /// Where the data of a Send indication go, where in it they are, and what they leave with. Its attributes are walked
    /// once: a client that binds no channels pays for this with each packet.
    fn judge_send(
        &mut self,
        now: &Now,
        from: &ClientRoute,
        datagram: &Datagram<'_>,
        sockets: &impl RelaySockets,
    ) -> Result<(Verdict, Range<usize>, Marks), DropReason> {
        let transport = from.tuple.transport;
        let (mut peer, mut data, mut dont_fragment, mut unknown) = (None, None, false, false);
        let parsed = Message::parse_with(datagram.bytes(), |attribute| match attribute.kind {
            attr::XOR_PEER_ADDRESS if peer.is_none() => peer = Some(attribute.value),
            attr::DATA if data.is_none() => data = Some(attribute.value),
            attr::DONT_FRAGMENT => dont_fragment = true,
            kind => unknown |= is_unknown(kind),
        });
        let Ok(message) = parsed else { return Err(DropReason::Malformed) };
        if !message.fingerprint_holds() {
            return Err(DropReason::Fingerprint);
        }
        if unknown {
            return Err(DropReason::UnknownAttribute);
        }
        let (Some(peer), Some(data)) = (peer.and_then(|value| message.xor_address(value)), data) else {
            return Err(DropReason::Malformed);
        };
        let Some(allocation) = self.allocations.live(now.mono, &from.tuple) else {
            return Err(DropReason::NoAllocation);
        };
        let relay = may_pass(&self.settings.policy, allocation, now.mono, peer, sockets)?;
        allocation.to_peers.add(data.len());
        self.counters.of(transport).to_peers.add(data.len());
        let mut marks = marks_to_peer(transport, datagram.marks());
        // Between the families a packet is translated, and the attribute says nothing (§13); from a stream it is always
        // heard, as nothing is translated then (§15).
        let both_ipv4 = || from.tuple.client.0.is_ipv4() && peer.is_ipv4();
        marks.dont_fragment = dont_fragment && (transport.is_stream() || both_ipv4());
        let start = message.offset_of(data);
        Ok((Verdict::ToPeer { relay, peer: PeerAddress(peer) }, start..start + data.len(), marks))
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

/// What a packet to a peer leaves with: what it came with, but that a stream tells nothing of ECN (RFC 8656 §14, §15).
/// Whether it may be cut, only a Send indication says.
const fn marks_to_peer(transport: Transport, came_with: Marks) -> Marks {
    if transport.is_stream() { came_with.without_ecn() } else { came_with }
}
