//! CreatePermission (RFC 8656 §10.2): all or nothing.

use core::net::SocketAddr;

use super::allocation::Allocation;
use super::policy::Gate;
use super::request::{Answer, Refused, Request, Success};
use super::{AllocationId, CountedMethod, PeerPolicy, RefusalCause, Server};
use crate::time::Timestamp;
use crate::wire::{AddressFamily, attr};

impl Server {
    pub(super) fn create_permission(&mut self, request: &Request<'_>) -> Answer {
        let Request { now, from, message, .. } = request;
        let Some(id) = self.allocations.live(now.mono, &from.tuple).map(|allocation| allocation.id) else {
            return Err(Refused::because(437));
        };
        let peers = || message.attributes().filter(|attribute| attribute.kind == attr::XOR_PEER_ADDRESS);
        // Form first, over all of them.
        let mut addresses = Vec::with_capacity(peers().count());
        for attribute in peers() {
            let peer = message
                .xor_address(attribute.value)
                .ok_or(const { Refused::because(400).told(RefusalCause::NoPeer) })?;
            addresses.push((peer.ip(), Gate::Open));
        }
        if addresses.is_empty() {
            return Err(Refused::because(400).told(RefusalCause::NoPeer));
        }
        addresses.sort_unstable_by_key(|(ip, _)| *ip);
        addresses.dedup_by_key(|(ip, _)| *ip);
        // Then what is asked for; nothing is installed before all of it is allowed and fits.
        let max = self.settings.limits.permissions;
        let count = addresses.len();
        if self.allocations.get(id).is_some_and(|allocation| allocation.permission_count() + count > max) {
            self.allocations.purge(now.mono, id);
        }
        let Some(allocation) = self.allocations.get(id) else { return Err(Refused::because(437)) };
        // The family of all of them (443, a MUST) comes before the policy for any of them (403, a MAY).
        for attribute in peers() {
            check_family(now.mono, allocation, message.xor_address(attribute.value))?;
        }
        for (ip, gate) in &mut addresses {
            let refused = || Refused::about(403, SocketAddr::new(*ip, 0));
            *gate = self.settings.policy.gate(*ip).ok_or_else(refused)?;
            if !allocation.login.policy().is_none_or(|policy| policy.allows(*ip)) {
                return Err(refused().told(RefusalCause::PeersOfCredential));
            }
        }
        let new = addresses.iter().filter(|(ip, _)| !allocation.keeps_permission(*ip)).count();
        if allocation.permission_count() + new > max {
            return Err(Refused::because(508).told(RefusalCause::Permissions));
        }
        for (ip, gate) in addresses {
            self.allocations.permit(now.mono, id, ip, gate);
        }
        self.granted(id, CountedMethod::CreatePermission);
        Ok(Success::default())
    }

    /// Remembers that a request within an allocation was granted.
    pub(super) fn granted(&mut self, id: AllocationId, method: CountedMethod) {
        if let Some(allocation) = self.allocations.get(id) {
            allocation.insight.granted(method);
        }
    }
}

/// The family (443) and the policy (403) of a peer that a permission is asked for.
pub(super) fn judge(
    now: Timestamp,
    policy: &PeerPolicy,
    allocation: &Allocation,
    peer: SocketAddr,
) -> Result<Gate, Refused> {
    check_family(now, allocation, Some(peer))?;
    let gate = policy.gate(peer.ip()).ok_or_else(|| Refused::about(403, peer))?;
    if allocation.login.policy().is_none_or(|policy| policy.allows(peer.ip())) {
        Ok(gate)
    } else {
        Err(Refused::about(403, peer).told(RefusalCause::PeersOfCredential))
    }
}

fn check_family(now: Timestamp, allocation: &Allocation, peer: Option<SocketAddr>) -> Result<(), Refused> {
    match peer {
        Some(peer) if allocation.relay(now, AddressFamily::of(&peer.ip())).is_none() => {
            Err(Refused::about(443, peer))
        }
        _ => Ok(()),
    }
}
