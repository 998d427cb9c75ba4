//! Refresh (RFC 8656 §8.2).

use super::allocate::{in_seconds, lifetime, requested_family};
use super::request::{Answer, Refused, Request, Success};
use super::{AllocationId, CountedMethod, EndReason, RelaySockets, Server};
use crate::wire::attr;

impl Server {
    pub(super) fn refresh(&mut self, request: &Request<'_>, sockets: &mut impl RelaySockets) -> Answer {
        let Request { now, from, .. } = request;
        match self.allocations.live(now.mono, &from.tuple).map(|allocation| allocation.id) {
            Some(id) => self.refresh_by_id(request, id, sockets),
            None => Err(Refused::because(437)),
        }
    }

    pub(super) fn refresh_by_id(
        &mut self,
        request: &Request<'_>,
        id: AllocationId,
        sockets: &mut impl RelaySockets,
    ) -> Answer {
        let Request { now, message, login, .. } = request;
        let max = self.settings.limits.max_lifetime;
        self.end_expired_half(now, id, sockets);
        let Some(allocation) = self.allocations.get(id) else { return Err(Refused::because(437)) };
        let family = match requested_family(message) {
            Ok(None) => None,
            Ok(Some(family)) if allocation.relay(now.mono, family).is_some() => Some(family),
            Err(malformed) if malformed.code == 400 => return Err(malformed),
            // A family that does not exist is not the allocation's either.
            Ok(Some(_)) | Err(_) => return Err(Refused::because(443)),
        };
        let lifetime = lifetime(message, max)?.unwrap_or(Self::DEFAULT_LIFETIME);
        if message.get(attr::LIFETIME) == Some(&[0; 4]) {
            match family {
                Some(family) if allocation.relays().count() > 1 => self.end_half(id, family, sockets),
                _ => self.end(now, id, EndReason::Deleted, sockets),
            }
            return Ok(Success { lifetime: Some(0), ..Success::default() });
        }
        let lifetime = login.bound(now.mono, lifetime);
        allocation.login.renew(login);
        allocation.insight.granted(CountedMethod::Refresh);
        self.allocations.refresh(id, family, now.mono + lifetime);
        Ok(Success { lifetime: Some(in_seconds(lifetime)), ..Success::default() })
    }
}
