//! The hot path, all of it: RFC 8656 §11.2, §11.3, §12.6, §12.7. Nothing here allocates, formats or waits.

use core::net::SocketAddr;

use super::allocation::Allocation;
use super::flow::{ToClient, ToPeer, Via};
use super::meter::Toll;
use super::policy::Gate;
use super::request::is_unknown;
use super::server::budget_of;
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
        let (number, len) = match ChannelData::parse(datagram.body()) {
            Ok(frame) => (frame.channel, frame.data.len()),
            Err(_) => return self.drop(transport, DropReason::BadChannelData),
        };
        let found = match self.find_peer(now, from, Via::Channel(number), len, sockets) {
            Ok(found) => found,
            Err(reason) => return self.drop(transport, reason),
        };
        datagram.narrow(ChannelData::HEADER_LEN, len);
        datagram.mark(marks_to_peer(transport, datagram.marks()));
        self.pass_to_peer(transport, found, len)
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
        let send = match SendIndication::read_plain(datagram.body()) {
            Some(send) => send,
            None => match read_send(datagram.body()) {
                Ok(send) => send,
                Err(reason) => return self.drop(transport, reason),
            },
        };
        let SendIndication { peer, data, dont_fragment } = send;
        let found = match self.find_peer(now, from, Via::Address(peer), data.len(), sockets) {
            Ok(found) => found,
            Err(reason) => return self.drop(transport, reason),
        };
        datagram.narrow(data.start, data.len());
        let mut marks = marks_to_peer(transport, datagram.marks());
        // Between the families a packet is translated, and the attribute says nothing (§13); from a stream it is always
        // heard, as nothing is translated then (§15).
        marks.dont_fragment =
            dont_fragment && (transport.is_stream() || from.tuple.client.0.is_ipv4() && peer.is_ipv4());
        datagram.mark(marks);
        self.pass_to_peer(transport, found, data.len())
    }

    /// The peer that a client means, and the relay that leads there, if it may be sent to.
    #[inline]
    fn find_peer(
        &mut self,
        now: &Now,
        from: ClientRoute,
        via: Via,
        len: usize,
        sockets: &mut impl RelaySockets,
    ) -> Result<ToPeer, DropReason> {
        match self.allocations.same_to_peer(now.mono, &from, via) {
            Some(found) => Ok(found),
            None => self.look_up_peer(now, from, via, len, sockets),
        }
    }

    /// What a credential meters is never remembered, so that each datagram of it comes here to pay.
    fn look_up_peer(
        &mut self,
        now: &Now,
        from: ClientRoute,
        via: Via,
        len: usize,
        sockets: &mut impl RelaySockets,
    ) -> Result<ToPeer, DropReason> {
        let mut allocation = self.allocations.live_on(now.mono, &from).ok_or(DropReason::NoAllocation)?;
        if !allocation.ordinary && allocation.connections.is_some() && matches!(via, Via::Address(_)) {
            return Err(DropReason::TcpAllocation);
        }
        if !allocation.ordinary && allocation.moves_to(&from.tuple) {
            let id = allocation.id;
            self.complete_move(id, sockets);
            allocation = self.allocations.get(id).ok_or(DropReason::NoAllocation)?;
        }
        let peer = match via {
            Via::Channel(number) => allocation.channel(now.mono, number).ok_or(DropReason::NoChannel)?.peer,
            Via::Address(peer) => peer,
        };
        let (relay, gate) = may_pass(&self.settings.policy, allocation, now.mono, peer, sockets)
            .inspect_err(|reason| allocation.insight.drop(*reason))?;
        let (id, metered) = (allocation.id, allocation.meter.is_some());
        if metered && let Some(reason) = allocation.toll(now, len, sockets) {
            return Err(self.refuse(now, id, reason));
        }
        allocation.insight.sent_to_peer(now.mono.since(allocation.created));
        let found = ToPeer { id, relay, peer: PeerAddress(peer) };
        if allocation.ordinary && gate != Gate::ByPort && !metered {
            self.allocations.remember_to_peer(now.mono, from, via, found);
        }
        Ok(found)
    }

    #[inline]
    fn pass_to_peer(&mut self, transport: Transport, found: ToPeer, len: usize) -> Verdict {
        let ToPeer { id, relay, peer } = found;
        if let Some(allocation) = self.allocations.get(id) {
            allocation.to_peers.add(len);
        }
        self.counters.of(transport).to_peers.add(len);
        Verdict::ToPeer { relay, peer }
    }

    /// Relays a datagram that arrived at a relayed transport address: as ChannelData when the peer has a channel
    /// (§12.7), else as a Data indication (§11.3).
    pub fn handle_peer(
        &mut self,
        now: &Now,
        id: AllocationId,
        peer: PeerAddress,
        datagram: &mut Datagram<'_>,
        sockets: &impl RelaySockets,
    ) -> Verdict {
        let found = match self.allocations.same_to_client(now.mono, id, peer.0) {
            Some(found) => found,
            None => match self.look_up_client(now, id, peer, datagram.len(), sockets) {
                Ok(found) => found,
                Err((transport, reason)) => return self.drop(transport, reason),
            },
        };
        let ToClient { client, number } = found;
        let transport = client.tuple.transport;
        let len = datagram.len();
        let framed = match number {
            Some(number) => {
                let framed = ChannelData::header(number, len).is_some_and(|header| datagram.push(&header));
                if transport.is_stream() {
                    datagram.pad();
                }
                framed
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
        if let Some(allocation) = self.allocations.get(id) {
            allocation.to_client.add(len);
        }
        self.counters.of(transport).to_clients.add(len);
        Verdict::ToClient { client }
    }

    fn look_up_client(
        &mut self,
        now: &Now,
        id: AllocationId,
        peer: PeerAddress,
        len: usize,
        sockets: &impl RelaySockets,
    ) -> Result<ToClient, (Transport, DropReason)> {
        let Some(allocation) = self.allocations.get(id).filter(|allocation| allocation.expires > now.mono)
        else {
            return Err((Transport::Udp, DropReason::NoAllocation));
        };
        let client = allocation.route;
        let (_, gate) = may_pass(&self.settings.policy, allocation, now.mono, peer.0, sockets)
            .inspect_err(|reason| allocation.insight.drop(*reason))
            .map_err(|reason| (client.tuple.transport, reason))?;
        let metered = allocation.meter.is_some();
        if metered && let Some(reason) = allocation.toll(now, len, sockets) {
            return Err((client.tuple.transport, self.refuse(now, id, reason)));
        }
        allocation.insight.sent_to_client(now.mono.since(allocation.created));
        let found = ToClient { client, number: allocation.number(now.mono, peer.0) };
        if allocation.ordinary && gate != Gate::ByPort && !metered {
            self.allocations.remember_to_client(now.mono, id, peer.0, found);
        }
        Ok(found)
    }
}

impl Server {
    /// Counts what the credential does not allow. With its budget used up the allocation ends: nothing passes from now on,
    /// and the next timer closes it.
    #[cold]
    fn refuse(&mut self, now: &Now, id: AllocationId, reason: DropReason) -> DropReason {
        if let Some(allocation) = self.allocations.get(id) {
            allocation.insight.drop(reason);
        }
        if reason == DropReason::Budget {
            self.allocations.refresh(id, None, now.mono);
        }
        reason
    }
}

impl Allocation {
    /// Takes a packet off rate and budget; says why not. What is asked of `sockets`, it is asked once for many packets.
    fn toll(&mut self, now: &Now, len: usize, sockets: &impl RelaySockets) -> Option<DropReason> {
        let meter = self.meter.as_mut()?;
        let mut toll = meter.pay(now.mono, len);
        if let Toll::Draw(bytes) = toll {
            if let Some(budget) = budget_of(now, &self.login, false)
                && let Some(drawn) = sockets.draw(budget, bytes)
            {
                meter.add(drawn);
            }
            toll = meter.pay(now.mono, len);
        }
        match toll {
            Toll::Paid => None,
            Toll::Refused(reason) => Some(reason),
            Toll::Draw(_) => {
                meter.spent = true;
                Some(DropReason::Budget)
            }
        }
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
) -> Result<(RelayToken, Gate), DropReason> {
    let permission = allocation.permission(now, peer.ip()).ok_or(DropReason::NoPermission)?;
    if permission.gate == Gate::ByPort && !policy.allows(peer, || sockets.is_live(peer)) {
        return Err(DropReason::Forbidden);
    }
    let relay = allocation.relay(now, AddressFamily::of(&peer.ip())).ok_or(DropReason::PeerFamily)?;
    Ok((relay.token, permission.gate))
}

/// What a packet to a peer leaves with: what it came with, but that a stream tells nothing of ECN (RFC 8656 §14, §15).
/// Whether it may be cut, only a Send indication says.
const fn marks_to_peer(transport: Transport, came_with: Marks) -> Marks {
    if transport.is_stream() { came_with.without_ecn() } else { came_with }
}
