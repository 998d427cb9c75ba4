//! ChannelBind (RFC 8656 §12.2).

use super::allocation::Allocation;
use super::permission::judge;
use super::request::{Answer, Refused, Request, Success};
use super::{CountedMethod, RefusalCause, RelaySockets, Server};
use crate::wire::{ChannelNumber, attr};

impl Server {
    pub(super) fn channel_bind(&mut self, request: &Request<'_>, sockets: &impl RelaySockets) -> Answer {
        let Request { now, from, message, .. } = request;
        let limits = self.settings.limits;
        let Some(id) = self.allocations.live(now.mono, &from.tuple).map(|allocation| allocation.id) else {
            return Err(Refused::because(437));
        };
        // Both attributes are there and well-formed; the number is in the range.
        let number = message.get(attr::CHANNEL_NUMBER).and_then(ChannelNumber::decode).flatten();
        let number = number.ok_or(const { Refused::because(400).told(RefusalCause::ChannelNumber) })?;
        let peer = message.get(attr::XOR_PEER_ADDRESS).and_then(|value| message.xor_address(value));
        let peer = peer.ok_or(const { Refused::because(400).told(RefusalCause::NoPeer) })?;
        let Some(allocation) = self.allocations.get(id) else { return Err(Refused::because(437)) };
        // There is nothing that a channel of an allocation for TCP could carry (RFC 6062).
        if allocation.connections.is_some() {
            return Err(Refused::about(400, peer).told(RefusalCause::RelaysTcp));
        }
        // Neither side is bound to something else.
        let bound = allocation.channel(now.mono, number);
        if bound.is_some_and(|channel| channel.peer != peer)
            || allocation.number(now.mono, peer).is_some_and(|other| other != number)
        {
            return Err(Refused::about(400, peer).told(RefusalCause::BoundOtherwise));
        }
        let gate = judge(now.mono, &self.settings.policy, allocation, peer)?;
        if !self.settings.policy.allows(peer, || sockets.is_live(peer)) {
            return Err(Refused::about(403, peer));
        }
        let is_full = |allocation: &Allocation| {
            bound.is_none() && allocation.channel_count() >= limits.channels
                || !allocation.keeps_permission(peer.ip())
                    && allocation.permission_count() >= limits.permissions
        };
        if is_full(allocation) {
            self.allocations.purge(now.mono, id);
            if self.allocations.get(id).is_none_or(|allocation| is_full(allocation)) {
                return Err(Refused::because(508).told(RefusalCause::Channels));
            }
        }
        self.allocations.permit(now.mono, id, peer.ip(), gate);
        self.allocations.bind(now.mono, id, number, peer);
        self.granted(id, CountedMethod::ChannelBind);
        Ok(Success::default())
    }
}
