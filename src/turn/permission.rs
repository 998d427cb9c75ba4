//! CreatePermission (RFC 8656 §10.2): all or nothing.

use core::net::SocketAddr;

use super::allocation::Allocation;
use super::policy::Gate;
use super::request::{Answer, Refused, Request, Success};
use super::{PeerPolicy, Server};
use crate::wire::{AddressFamily, attr};

impl Server {
    pub(super) fn create_permission(&mut self, request: &Request<'_>) -> Answer {
        let Request { now, from, message, .. } = request;
        let Some(id) = self.allocations.live(now.mono, &from.tuple).map(|allocation| allocation.id) else {
            return Err(Refused::because(437));
        };
        let peers = || message.attributes().filter(|attribute| attribute.kind == attr::XOR_PEER_ADDRESS);
        // Form first, over all of them.
        let mut count = 0;
        for attribute in peers() {
            message.xor_address(attribute.value).ok_or(const { Refused::because(400) })?;
            count += 1;
        }
        if count == 0 {
            return Err(Refused::because(400));
        }
        // Then what is asked for; nothing is installed before all of it is allowed and fits.
        let max = self.settings.limits.permissions;
        if self.allocations.get(id).is_some_and(|allocation| allocation.permission_count() + count > max) {
            self.allocations.purge(now.mono, id);
        }
        let Some(allocation) = self.allocations.get(id) else { return Err(Refused::because(437)) };
        let mut new = 0;
        for attribute in peers() {
            let Some(peer) = message.xor_address(attribute.value) else { continue };
            judge(&self.settings.policy, allocation, peer)?;
            new += usize::from(!allocation.keeps_permission(peer.ip()));
        }
        if allocation.permission_count() + new > max {
            return Err(Refused::because(508));
        }
        for attribute in peers() {
            let Some(peer) = message.xor_address(attribute.value) else { continue };
            if let Some(gate) = self.settings.policy.gate(peer.ip()) {
                self.allocations.permit(now.mono, id, peer.ip(), gate);
            }
        }
        Ok(Success::default())
    }
}

/// The family (443) and the policy (403) of a peer that a permission is asked for.
pub(super) fn judge(policy: &PeerPolicy, allocation: &Allocation, peer: SocketAddr) -> Result<Gate, Refused> {
    let refused = |code| Refused { code, peer: Some(peer) };
    if AddressFamily::of(&peer.ip()) != allocation.family() {
        return Err(refused(443));
    }
    policy.gate(peer.ip()).ok_or_else(|| refused(403))
}
