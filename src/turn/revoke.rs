//! Credentials that are no longer good, whatever they say themselves.

use std::sync::Arc;

use super::{AllocationId, ClientRoute, EndReason, RelaySockets, Server};
use crate::auth::Revocations;
use crate::time::Now;

impl Server {
    /// Replaces the list of what is revoked, and ends all allocations that it concerns. Returns the ways to their clients.
    pub fn revoke(
        &mut self,
        now: &Now,
        revoked: Arc<Revocations>,
        sockets: &mut impl RelaySockets,
    ) -> Vec<ClientRoute> {
        self.revoked = revoked;
        if self.revoked.is_empty() {
            return Vec::new();
        }
        let concerned = self.allocations.iter().filter(|allocation| self.revoked.cover(&allocation.login));
        let concerned: Vec<AllocationId> = concerned.map(|allocation| allocation.id).collect();
        let mut routes = Vec::new();
        for id in concerned {
            routes.extend(self.allocations.get(id).into_iter().flat_map(|allocation| allocation.routes()));
            self.end(now, id, EndReason::Revoked, sockets);
        }
        routes
    }
}
