//! What the server keeps for an allocation (RFC 8656 §6), packed: there may be many that do nothing.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::insight::Insight;
use super::meter::Meter;
use super::mobility::Mobile;
use super::policy::Gate;
use super::sorted::Sorted;
use super::tcp::Connections;
use super::{
    AddressError, AllocationId, ClientRoute, FiveTuple, RelayToken, RelayedTransportAddress,
    ReservationToken, Traffic, Transport,
};
use crate::auth::Login;
use crate::time::Timestamp;
use crate::wire::{AddressFamily, ChannelNumber, TransactionId};

/// RFC 8656 §9: MUST be 300 seconds.
pub(super) const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// RFC 8656 §12: ten minutes.
pub(super) const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

/// Leave to exchange datagrams with one IP address (RFC 8656 §9).
#[derive(Clone, Copy)]
pub(super) struct Permission {
    pub(super) expires: Timestamp,
    pub(super) gate: Gate,
}

/// A channel number bound to a peer (RFC 8656 §12).
#[derive(Clone, Copy)]
pub(super) struct ChannelBinding {
    pub(super) peer: SocketAddr,
    pub(super) expires: Timestamp,
}

/// Where a peer is, in 20 bytes: a `SocketAddr` has 12 more that say nothing of peers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Endpoint {
    ip: IpAddr,
    port: u16,
}

impl Endpoint {
    const fn of(peer: SocketAddr) -> Self {
        Self { ip: peer.ip(), port: peer.port() }
    }
}

/// A [`ChannelBinding`] as it is kept.
#[derive(Clone, Copy)]
struct Bound {
    peer: Endpoint,
    expires: Timestamp,
}

/// A relayed transport address of an allocation, with a time-to-expiry of its own: a Refresh may name one family
/// alone (RFC 8656 §8.1).
#[derive(Clone, Copy)]
pub(super) struct Relay {
    pub(super) token: RelayToken,
    pub(super) address: RelayedTransportAddress,
    pub(super) expires: Timestamp,
}

impl Relay {
    pub(super) fn family(&self) -> AddressFamily {
        AddressFamily::of(&self.address.0.ip())
    }
}

/// One allocation.
pub(super) struct Allocation {
    pub(super) id: AllocationId,
    /// Its 5-tuple and the way to its client.
    pub(super) route: ClientRoute,
    /// The transaction that made it, to know a retransmission (RFC 8656 §7.2).
    pub(super) transaction: TransactionId,
    /// Who made it.
    pub(super) login: Login,
    /// Held for a later Allocate, and told again to a retransmission.
    pub(super) reservation: Option<ReservationToken>,
    /// Why the second of two families was not given, likewise.
    pub(super) half_refused: Option<AddressError>,
    /// For a client that may move (RFC 8016).
    pub(super) mobility: Option<Box<Mobile>>,
    /// One for each family, IPv4 first.
    relays: [Option<Relay>; 2],
    pub(super) created: Timestamp,
    /// When the last of its relays expires.
    pub(super) expires: Timestamp,
    /// Whether its client can neither move nor relay TCP, both of which is decided when it is made: one look for the hot
    /// path instead of two.
    pub(super) ordinary: bool,
    /// When the table looks at it next.
    pub(super) wake: Timestamp,
    permissions: Sorted<IpAddr, Permission>,
    channels: Sorted<ChannelNumber, Bound>,
    numbers: Sorted<Endpoint, ChannelNumber>,
    /// The connections with its peers; `None` if it is one for UDP.
    pub(super) connections: Option<Box<Connections>>,
    pub(super) to_peers: Traffic,
    pub(super) to_client: Traffic,
    /// Rate and byte budget, if its credential has any.
    pub(super) meter: Option<Box<Meter>>,
    /// For those who ask why a call does not work.
    pub(super) insight: Insight,
}

impl Allocation {
    pub(super) fn new(now: Timestamp, id: AllocationId, new: NewAllocation) -> Self {
        let mut allocation = Self {
            ordinary: new.mobility.is_none() && new.connections.is_none(),
            id,
            route: new.route,
            transaction: new.transaction,
            login: new.login,
            relays: new.relays,
            reservation: new.reservation,
            half_refused: new.half_refused,
            connections: new.connections,
            mobility: new.mobility,
            created: now,
            expires: now,
            wake: now,
            permissions: Sorted::default(),
            channels: Sorted::default(),
            numbers: Sorted::default(),
            to_peers: Traffic::default(),
            to_client: Traffic::default(),
            meter: new.meter,
            insight: Insight::default(),
        };
        allocation.expires = allocation.last_expiry();
        allocation.wake = allocation.expires;
        allocation
    }

    /// Whether this 5-tuple leads to it.
    pub(super) fn is_at(&self, tuple: &FiveTuple) -> bool {
        if self.ordinary { self.route.tuple == *tuple } else { self.tuples().any(|own| own == *tuple) }
    }

    /// The 5-tuples that lead to it: one, two while its client moves (RFC 8016 §3.2.2), none after its stream has closed.
    pub(super) fn tuples(&self) -> impl Iterator<Item = FiveTuple> + use<> {
        self.routes().map(|route| route.tuple)
    }

    /// The same, with their links.
    pub(super) fn routes(&self) -> impl Iterator<Item = ClientRoute> + use<> {
        let mobile = self.mobility.as_ref();
        let own = mobile.is_none_or(|mobile| !mobile.orphaned).then_some(self.route);
        [own, mobile.and_then(|mobile| mobile.pending)].into_iter().flatten()
    }

    /// Whether this is a way to its client: datagrams have no connection that could be another one.
    pub(super) fn leads_to(&self, route: &ClientRoute) -> bool {
        route.tuple.transport == Transport::Udp
            || self.route.link == route.link
            || self
                .mobility
                .as_ref()
                .and_then(|mobile| mobile.pending)
                .is_some_and(|pending| pending.link == route.link)
    }

    /// Its live relay of a family.
    pub(super) fn relay(&self, now: Timestamp, family: AddressFamily) -> Option<&Relay> {
        self.relays[place(family)].as_ref().filter(|relay| relay.expires > now)
    }

    /// All its relays, expired or not.
    pub(super) fn relays(&self) -> impl Iterator<Item = &Relay> {
        self.relays.iter().flatten()
    }

    /// Gives one of its relays, or all, another time-to-expiry.
    pub(super) fn set_expiry(
        &mut self,
        family: Option<AddressFamily>,
        expiry: impl Fn(Timestamp) -> Timestamp,
    ) {
        for relay in self.relays.iter_mut().flatten() {
            if family.is_none_or(|family| family == relay.family()) {
                relay.expires = expiry(relay.expires);
            }
        }
        self.expires = self.last_expiry();
    }

    /// Takes a relay out, with the permissions and channels of its family (RFC 8656 §8.1).
    pub(super) fn remove_relay(&mut self, family: AddressFamily) -> Option<Relay> {
        let relay = self.relays[place(family)].take()?;
        self.permissions.retain(|ip, _| AddressFamily::of(ip) != family);
        self.channels.retain(|_, channel| AddressFamily::of(&channel.peer.ip) != family);
        self.numbers.retain(|peer, _| AddressFamily::of(&peer.ip) != family);
        self.expires = self.last_expiry();
        Some(relay)
    }

    pub(super) fn last_expiry(&self) -> Timestamp {
        self.relays().map(|relay| relay.expires).max().unwrap_or(Timestamp::START)
    }

    pub(super) fn first_expiry(&self) -> Timestamp {
        self.relays().map(|relay| relay.expires).min().unwrap_or(Timestamp::START)
    }

    /// The live permission for an address.
    pub(super) fn permission(&self, now: Timestamp, ip: IpAddr) -> Option<Permission> {
        self.permissions.get(&ip).copied().filter(|permission| permission.expires > now)
    }

    /// Addresses with a live permission.
    pub(super) fn permitted(&self, now: Timestamp) -> impl Iterator<Item = IpAddr> {
        let live = self.permissions.iter().filter(move |(_, permission)| permission.expires > now);
        live.map(|(ip, _)| *ip)
    }

    /// Whether an address has a permission in the table, live or not yet forgotten.
    pub(super) fn keeps_permission(&self, ip: IpAddr) -> bool {
        self.permissions.contains(&ip)
    }

    /// Installs or refreshes a permission.
    pub(super) fn permit(&mut self, ip: IpAddr, permission: Permission) {
        self.permissions.insert(ip, permission);
    }

    pub(super) fn permission_count(&self) -> usize {
        self.permissions.len()
    }

    pub(super) fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// The live binding of a channel number.
    pub(super) fn channel(&self, now: Timestamp, number: ChannelNumber) -> Option<ChannelBinding> {
        let Bound { peer, expires } = *self.channels.get(&number).filter(|channel| channel.expires > now)?;
        Some(ChannelBinding { peer: SocketAddr::new(peer.ip, peer.port), expires })
    }

    /// The live channel bound to a peer.
    pub(super) fn number(&self, now: Timestamp, peer: SocketAddr) -> Option<ChannelNumber> {
        let number = *self.numbers.get(&Endpoint::of(peer))?;
        self.channels.get(&number).filter(|channel| channel.expires > now).map(|_| number)
    }

    /// Binds or refreshes a channel. Expired bindings of either side may still be in the tables.
    pub(super) fn bind(&mut self, number: ChannelNumber, ChannelBinding { peer, expires }: ChannelBinding) {
        let peer = Endpoint::of(peer);
        if let Some(old) = self.channels.insert(number, Bound { peer, expires })
            && old.peer != peer
        {
            self.numbers.remove(&old.peer);
        }
        if let Some(old) = self.numbers.insert(peer, number)
            && old != number
        {
            self.channels.remove(&old);
        }
    }

    /// Forgets what has expired. Returns when the next thing expires.
    pub(super) fn purge(&mut self, now: Timestamp) -> Timestamp {
        let mut next = self.first_expiry();
        if let Some(deadline) = self.connections.as_ref().and_then(|connections| connections.next_deadline())
        {
            next = next.min(deadline);
        }
        let mut lives = |expires: Timestamp| {
            let live = expires > now;
            if live {
                next = next.min(expires);
            }
            live
        };
        self.permissions.retain(|_, permission| lives(permission.expires));
        let Self { channels, numbers, .. } = self;
        channels.retain(|_, channel| {
            let live = lives(channel.expires);
            if !live {
                numbers.remove(&channel.peer);
            }
            live
        });
        next
    }

    /// Whether its tables agree with each other; for tests.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn is_consistent(&self) -> bool {
        self.channels.len() == self.numbers.len()
            && self.relays().count() > 0
            && self.expires == self.last_expiry()
    }
}

/// Where the relay of a family stands.
pub(super) const fn place(family: AddressFamily) -> usize {
    match family {
        AddressFamily::Ipv4 => 0,
        AddressFamily::Ipv6 => 1,
    }
}

/// What a new allocation begins with.
pub(super) struct NewAllocation {
    pub(super) route: ClientRoute,
    pub(super) transaction: TransactionId,
    pub(super) login: Login,
    pub(super) relays: [Option<Relay>; 2],
    pub(super) reservation: Option<ReservationToken>,
    pub(super) half_refused: Option<AddressError>,
    /// For TCP: no connections yet.
    pub(super) connections: Option<Box<Connections>>,
    pub(super) mobility: Option<Box<Mobile>>,
    pub(super) meter: Option<Box<Meter>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A relay holds thousands of allocations that wait for a call. Each has a slot of this size besides its relay socket;
    /// what is added here is paid for by all of them.
    #[test]
    fn an_allocation_is_small() {
        assert!(size_of::<Allocation>() <= 480, "{} bytes", size_of::<Allocation>());
        assert_eq!(size_of::<Endpoint>(), 20);
        // With what malloc adds, 48 bytes each, and 32 for the way back from peer to number.
        assert_eq!(size_of::<(IpAddr, Permission)>(), 40);
        assert_eq!(size_of::<(ChannelNumber, Bound)>(), 40);
        assert_eq!(size_of::<(Endpoint, ChannelNumber)>(), 22);
    }
}
