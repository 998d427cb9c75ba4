//! Allocate (RFC 8656 §7.2), its checks in the RFC's order.

use core::net::SocketAddr;
use core::time::Duration;

use super::allocation::NewAllocation;
use super::policy::is_tunnelled;
use super::request::{Answer, Refused, Request, Success};
use super::{BindError, Event, FamilyDefault, Parity, RelaySockets, Server};
use crate::wire::{AddressFamily, Message, attr};

/// The protocol number of UDP in REQUESTED-TRANSPORT.
const UDP: u8 = 17;
/// The R bit of EVEN-PORT (RFC 8656 §18.6).
const RESERVE: u8 = 0x80;

impl Server {
    /// Step 1, the login, has been taken.
    pub(super) fn allocate(&mut self, request: &Request<'_>, sockets: &mut impl RelaySockets) -> Answer {
        let Request { now, from, message, login } = request;
        // 2. The 5-tuple must be free, unless this is a retransmission of the request that made the allocation.
        if let Some(allocation) = self.allocations.live(now.mono, &from.tuple) {
            if allocation.transaction != message.transaction() || !allocation.login.is_same_user(login) {
                return Err(Refused::because(437));
            }
            let relayed = allocation.relayed.0;
            let left = allocation.expires.since(now.mono);
            return Ok(allocated(relayed, left, from.tuple.client.0));
        }
        // 3. Only UDP can be relayed.
        match message.get(attr::REQUESTED_TRANSPORT) {
            Some(&[UDP, _, _, _]) => {}
            Some(&[_, _, _, _]) => return Err(Refused::because(442)),
            _ => return Err(Refused::because(400)),
        }
        // 4, 5. DONT-FRAGMENT and RESERVATION-TOKEN have been refused as unknown attributes.
        // 6, 9. ADDITIONAL-ADDRESS-FAMILY is comprehension-optional and not understood: one address is given.
        // 7. The family.
        let family = self.family(message, from.tuple.client.0)?;
        // 8. EVEN-PORT. Its R bit asks for the next port too, which this server cannot reserve.
        let parity = match message.get(attr::EVEN_PORT) {
            None => Parity::Any,
            Some(&[flags]) if flags & RESERVE == 0 => Parity::Even,
            Some(&[_]) => return Err(Refused::because(508)),
            Some(_) => return Err(Refused::because(400)),
        };
        let lifetime =
            lifetime(message, self.settings.limits.max_lifetime)?.unwrap_or(Self::DEFAULT_LIFETIME);
        let lifetime = login.bound(now.mono, lifetime);
        // A tunnel's end would multiply what is sent to it (RFC 8656 §21.4, a MUST NOT).
        if self.draining || is_tunnelled(from.tuple.client.0.ip()) {
            return Err(Refused::because(403));
        }
        // 10. The quota, and the relayed transport address.
        let id = self.allocations.next_id();
        let (relay, relayed) =
            sockets.bind(id, family, parity, login.owner()).map_err(|error| match error {
                BindError::Quota => Refused::because(486),
                BindError::Exhausted => Refused::because(508),
            })?;
        let new = NewAllocation {
            route: *from,
            transaction: message.transaction(),
            login: login.clone(),
            relay,
            relayed,
        };
        self.allocations.insert(now.mono, lifetime, new);
        let counters = self.counters.of(from.tuple.transport);
        counters.allocations += 1;
        counters.allocations_created += 1;
        self.events.push(Event::AllocationCreated { user: login.user_shared(), tuple: from.tuple, relayed });
        Ok(allocated(relayed.0, lifetime, from.tuple.client.0))
    }

    fn family(&self, message: &Message<'_>, client: SocketAddr) -> Result<AddressFamily, Refused> {
        let settings = &self.settings;
        let family = match requested_family(message)? {
            Some(family) => family,
            None => match (settings.family_default, AddressFamily::of(&client.ip())) {
                (FamilyDefault::Follow, AddressFamily::Ipv6) if settings.ipv6 => AddressFamily::Ipv6,
                (FamilyDefault::Follow, _) if !settings.ipv4 => AddressFamily::Ipv6,
                _ => AddressFamily::Ipv4,
            },
        };
        let supported = match family {
            AddressFamily::Ipv4 => settings.ipv4,
            AddressFamily::Ipv6 => settings.ipv6,
        };
        if supported { Ok(family) } else { Err(Refused::because(440)) }
    }
}

/// REQUESTED-ADDRESS-FAMILY (RFC 8656 §18.6): 400 for a wrong length, 440 for an unknown family.
pub(super) fn requested_family(message: &Message<'_>) -> Result<Option<AddressFamily>, Refused> {
    match message.get(attr::REQUESTED_ADDRESS_FAMILY) {
        None => Ok(None),
        Some(&[number, _, _, _]) => {
            AddressFamily::from_number(number).map(Some).ok_or(const { Refused::because(440) })
        }
        Some(_) => Err(Refused::because(400)),
    }
}

/// The lifetime that a LIFETIME attribute gets (RFC 8656 §7.2, §8.2): never less than the default, never more than
/// the maximum. `None` without the attribute.
pub(super) fn lifetime(message: &Message<'_>, max: Duration) -> Result<Option<Duration>, Refused> {
    let Some(value) = message.get(attr::LIFETIME) else { return Ok(None) };
    let value = <[u8; 4]>::try_from(value).map_err(|_| const { Refused::because(400) })?;
    let asked = Duration::from_secs(u32::from_be_bytes(value).into());
    Ok(Some(asked.min(max).max(Server::DEFAULT_LIFETIME)))
}

/// A time-to-expiry as LIFETIME says it: whole seconds.
pub(super) fn in_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn allocated(relayed: SocketAddr, lifetime: Duration, client: SocketAddr) -> Success {
    Success { relayed: Some(relayed), lifetime: Some(in_seconds(lifetime)), mapped: Some(client) }
}
