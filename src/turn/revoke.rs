//! Credentials that are no longer good, whatever they say themselves.

use std::sync::Arc;

use super::{AllocationId, ClientRoute, EndReason, RelaySockets, Server};
use crate::auth::{Login, Revocations, Revoked};
use crate::time::Now;

impl Server {
    /// Replaces the list of what is revoked, and ends all allocations that it concerns. Returns the ways to their clients.
    pub fn revoke(
        &mut self,
        now: &Now,
        revoked: Arc<Revocations>,
        sockets: &mut impl RelaySockets,
    ) -> Vec<ClientRoute> {
        self.revoked = Arc::clone(&revoked);
        if revoked.is_empty() {
            return Vec::new();
        }
        self.end_those(now, |login| revoked.cover(login), sockets)
    }

    /// Replaces the list of what is revoked by one with `new` in it besides, and ends the allocations that `new` concerns:
    /// those of the rest have ended already. Without `new` none has to end. Returns the ways to their clients.
    pub fn revoke_one(
        &mut self,
        now: &Now,
        revoked: Arc<Revocations>,
        new: Option<&Revoked>,
        sockets: &mut impl RelaySockets,
    ) -> Vec<ClientRoute> {
        self.revoked = revoked;
        new.map_or_else(Vec::new, |new| self.end_those(now, |login| new.covers(login), sockets))
    }

    fn end_those(
        &mut self,
        now: &Now,
        is_meant: impl Fn(&Login) -> bool,
        sockets: &mut impl RelaySockets,
    ) -> Vec<ClientRoute> {
        let concerned = self.allocations.iter().filter(|allocation| is_meant(&allocation.login));
        let concerned: Vec<AllocationId> = concerned.map(|allocation| allocation.id).collect();
        let mut routes = Vec::new();
        for id in concerned {
            routes.extend(self.allocations.get(id).into_iter().flat_map(|allocation| allocation.routes()));
            self.end(now, id, EndReason::Revoked, sockets);
        }
        routes
    }
}
