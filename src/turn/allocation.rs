//! What the server keeps for an allocation (RFC 8656 §6), and the table of all of them.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeSet, HashMap};

use ahash::RandomState;
use slab::Slab;

use super::flow::Flows;
use super::mobility::Mobile;
use super::policy::Gate;
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
    wake: Timestamp,
    permissions: HashMap<IpAddr, Permission, RandomState>,
    channels: HashMap<ChannelNumber, ChannelBinding, RandomState>,
    numbers: HashMap<SocketAddr, ChannelNumber, RandomState>,
    /// The connections with its peers; `None` if it is one for UDP.
    pub(super) connections: Option<Connections>,
    pub(super) to_peers: Traffic,
    pub(super) to_client: Traffic,
}

impl Allocation {
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

    /// Takes a relay out, with the permissions and channels of its family (RFC 8656 §8.1).
    fn remove_relay(&mut self, family: AddressFamily) -> Option<Relay> {
        let relay = self.relays[place(family)].take()?;
        self.permissions.retain(|ip, _| AddressFamily::of(ip) != family);
        self.channels.retain(|_, channel| AddressFamily::of(&channel.peer.ip()) != family);
        self.numbers.retain(|peer, _| AddressFamily::of(&peer.ip()) != family);
        self.expires = self.last_expiry();
        Some(relay)
    }

    fn last_expiry(&self) -> Timestamp {
        self.relays().map(|relay| relay.expires).max().unwrap_or(Timestamp::START)
    }

    fn first_expiry(&self) -> Timestamp {
        self.relays().map(|relay| relay.expires).min().unwrap_or(Timestamp::START)
    }

    /// The live permission for an address.
    pub(super) fn permission(&self, now: Timestamp, ip: IpAddr) -> Option<Permission> {
        self.permissions.get(&ip).copied().filter(|permission| permission.expires > now)
    }

    /// Whether an address has a permission in the table, live or not yet forgotten.
    pub(super) fn keeps_permission(&self, ip: IpAddr) -> bool {
        self.permissions.contains_key(&ip)
    }

    pub(super) fn permission_count(&self) -> usize {
        self.permissions.len()
    }

    pub(super) fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// The live binding of a channel number.
    pub(super) fn channel(&self, now: Timestamp, number: ChannelNumber) -> Option<ChannelBinding> {
        self.channels.get(&number).copied().filter(|channel| channel.expires > now)
    }

    /// The live channel bound to a peer.
    pub(super) fn number(&self, now: Timestamp, peer: SocketAddr) -> Option<ChannelNumber> {
        let number = *self.numbers.get(&peer)?;
        self.channel(now, number).map(|_| number)
    }

    /// Forgets what has expired. Returns when the next thing expires.
    fn purge(&mut self, now: Timestamp) -> Timestamp {
        let mut next = self.first_expiry();
        if let Some(deadline) = self.connections.as_ref().and_then(Connections::next_deadline) {
            next = next.min(deadline);
        }
        self.permissions.retain(|_, permission| {
            let live = permission.expires > now;
            if live {
                next = next.min(permission.expires);
            }
            live
        });
        let Self { channels, numbers, .. } = self;
        channels.retain(|_, channel| {
            let live = channel.expires > now;
            if live {
                next = next.min(channel.expires);
            } else {
                numbers.remove(&channel.peer);
            }
            live
        });
        next
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
    pub(super) connections: Option<Connections>,
    pub(super) mobility: Option<Box<Mobile>>,
}

/// All allocations of a worker.
pub(super) struct Allocations {
    slots: Slab<Allocation>,
    by_tuple: HashMap<FiveTuple, u32, RandomState>,
    /// One entry for each allocation: when it wants to be looked at.
    timers: BTreeSet<(Timestamp, u32)>,
    generation: u32,
    hasher: RandomState,
    permissions: usize,
    channels: usize,
    /// All that changes what they rest on forgets them.
    pub(super) flows: Flows,
}

impl Allocations {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            slots: Slab::new(),
            by_tuple: HashMap::with_hasher(hasher.clone()),
            timers: BTreeSet::new(),
            generation: 0,
            hasher,
            permissions: 0,
            channels: 0,
            flows: Flows::default(),
        }
    }

    pub(super) fn permission_count(&self) -> usize {
        self.permissions
    }

    pub(super) fn channel_count(&self) -> usize {
        self.channels
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The number that the next allocation will have.
    pub(super) fn next_id(&self) -> AllocationId {
        let index = u32::try_from(self.slots.vacant_key()).unwrap_or(u32::MAX);
        AllocationId { index, generation: self.generation }
    }

    /// Adds an allocation under [`Self::next_id`].
    pub(super) fn insert(&mut self, now: Timestamp, new: NewAllocation) -> &Allocation {
        self.flows.forget();
        let id = self.next_id();
        self.generation = self.generation.wrapping_add(1);
        let expires = new.relays.iter().flatten().map(|relay| relay.expires).max().unwrap_or(now);
        self.by_tuple.insert(new.route.tuple, id.index);
        self.timers.insert((expires, id.index));
        let key = self.slots.insert(Allocation {
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
            expires,
            wake: expires,
            permissions: HashMap::with_hasher(self.hasher.clone()),
            channels: HashMap::with_hasher(self.hasher.clone()),
            numbers: HashMap::with_hasher(self.hasher.clone()),
            to_peers: Traffic::default(),
            to_client: Traffic::default(),
        });
        &self.slots[key]
    }

    /// The allocation of a 5-tuple, expired or not.
    pub(super) fn find(&self, tuple: &FiveTuple) -> Option<AllocationId> {
        let index = *self.by_tuple.get(tuple)?;
        self.slots.get(index as usize).map(|allocation| allocation.id)
    }

    /// The allocation of a 5-tuple, if it lives.
    pub(super) fn live(&mut self, now: Timestamp, tuple: &FiveTuple) -> Option<&mut Allocation> {
        let index = *self.by_tuple.get(tuple)?;
        self.slots.get_mut(index as usize).filter(|allocation| allocation.expires > now)
    }

    /// The allocation of a client's route, if it lives. A stream or association that has the 5-tuple of an earlier one
    /// has nothing of its allocation.
    pub(super) fn live_on(&mut self, now: Timestamp, route: &ClientRoute) -> Option<&mut Allocation> {
        self.live(now, &route.tuple).filter(|allocation| allocation.leads_to(route))
    }

    /// The allocation with this number, expired or not.
    pub(super) fn get(&mut self, id: AllocationId) -> Option<&mut Allocation> {
        self.slots.get_mut(id.index as usize).filter(|allocation| allocation.id == id)
    }

    /// Takes an allocation out of all tables.
    pub(super) fn remove(&mut self, id: AllocationId) -> Option<Allocation> {
        self.flows.forget();
        self.get(id)?;
        let allocation = self.slots.try_remove(id.index as usize)?;
        for tuple in allocation.tuples() {
            self.by_tuple.remove(&tuple);
        }
        self.timers.remove(&(allocation.wake, id.index));
        self.permissions -= allocation.permissions.len();
        self.channels -= allocation.channels.len();
        Some(allocation)
    }

    /// Sets the time-to-expiry of one family, or of all, anew.
    pub(super) fn refresh(&mut self, id: AllocationId, family: Option<AddressFamily>, expires: Timestamp) {
        self.flows.forget();
        let Some(allocation) = self.get(id) else { return };
        for relay in allocation.relays.iter_mut().flatten() {
            if family.is_none_or(|family| family == relay.family()) {
                relay.expires = expires;
            }
        }
        allocation.expires = allocation.last_expiry();
        // A later expiry is noticed when the timer fires; an earlier one has to move it.
        self.wake_by(id, expires);
    }

    /// Adds a second 5-tuple, from which the client has announced itself. Returns the one that it had announced before.
    pub(super) fn announce(&mut self, id: AllocationId, route: ClientRoute) -> Option<ClientRoute> {
        self.flows.forget();
        let mobile = self.get(id)?.mobility.as_mut()?;
        let before = mobile.pending.replace(route);
        if let Some(before) = before {
            self.by_tuple.remove(&before.tuple);
        }
        self.by_tuple.insert(route.tuple, id.index);
        before
    }

    /// Takes the announced 5-tuple back.
    pub(super) fn withdraw(&mut self, id: AllocationId) {
        self.flows.forget();
        let pending = self.get(id).and_then(|allocation| allocation.mobility.as_mut()?.pending.take());
        if let Some(pending) = pending {
            self.by_tuple.remove(&pending.tuple);
        }
    }

    /// Makes the announced 5-tuple the only one. Returns the old and the new one.
    pub(super) fn complete_move(&mut self, id: AllocationId) -> Option<(ClientRoute, ClientRoute)> {
        self.flows.forget();
        let allocation = self.get(id)?;
        let mobile = allocation.mobility.as_mut()?;
        let new = mobile.pending.take()?;
        let orphaned = core::mem::replace(&mut mobile.orphaned, false);
        let old = core::mem::replace(&mut allocation.route, new);
        if !orphaned {
            self.by_tuple.remove(&old.tuple);
        }
        Some((old, new))
    }

    /// Forgets the 5-tuple of a client whose stream has closed; the allocation waits for it until `until` at most.
    pub(super) fn orphan(&mut self, id: AllocationId, until: Timestamp) {
        self.flows.forget();
        let Some(allocation) = self.get(id) else { return };
        let Some(mobile) = allocation.mobility.as_mut() else { return };
        mobile.orphaned = true;
        let tuple = allocation.route.tuple;
        allocation.route.link = ClientRoute::NOWHERE;
        for relay in allocation.relays.iter_mut().flatten() {
            relay.expires = relay.expires.min(until);
        }
        allocation.expires = allocation.last_expiry();
        let next = allocation.first_expiry();
        self.by_tuple.remove(&tuple);
        self.wake_by(id, next);
    }

    /// Takes one family's relay out of an allocation that keeps the other.
    pub(super) fn remove_relay(&mut self, id: AllocationId, family: AddressFamily) -> Option<Relay> {
        self.flows.forget();
        let allocation = self.get(id)?;
        let before = (allocation.permission_count(), allocation.channel_count());
        let relay = allocation.remove_relay(family);
        let after = (allocation.permission_count(), allocation.channel_count());
        self.permissions -= before.0 - after.0;
        self.channels -= before.1 - after.1;
        relay
    }

    /// Installs or refreshes a permission (RFC 8656 §9).
    pub(super) fn permit(&mut self, now: Timestamp, id: AllocationId, ip: IpAddr, gate: Gate) {
        self.flows.forget();
        let Some(allocation) = self.get(id) else { return };
        let expires = now + PERMISSION_LIFETIME;
        let new = allocation.permissions.insert(ip, Permission { expires, gate }).is_none();
        self.permissions += usize::from(new);
        self.wake_by(id, expires);
    }

    /// Binds or refreshes a channel (RFC 8656 §12). The caller has made sure that neither side is bound otherwise.
    pub(super) fn bind(&mut self, now: Timestamp, id: AllocationId, number: ChannelNumber, peer: SocketAddr) {
        self.flows.forget();
        let Some(allocation) = self.get(id) else { return };
        let expires = now + CHANNEL_LIFETIME;
        // Expired bindings of either side may still be in the tables.
        let mut before = 0;
        if let Some(old) = allocation.channels.insert(number, ChannelBinding { peer, expires }) {
            before += 1;
            if old.peer != peer {
                allocation.numbers.remove(&old.peer);
            }
        }
        if let Some(old) = allocation.numbers.insert(peer, number)
            && old != number
        {
            before += usize::from(allocation.channels.remove(&old).is_some());
        }
        self.channels = self.channels + 1 - before;
        self.wake_by(id, expires);
    }

    /// Makes room by forgetting what has expired.
    pub(super) fn purge(&mut self, now: Timestamp, id: AllocationId) {
        self.flows.forget();
        let Some(allocation) = self.get(id) else { return };
        let before = (allocation.permission_count(), allocation.channel_count());
        let next = allocation.purge(now);
        let after = (allocation.permission_count(), allocation.channel_count());
        self.permissions -= before.0 - after.0;
        self.channels -= before.1 - after.1;
        self.set_wake(id, next);
    }

    /// The first time that something wants to be looked at.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The allocation that is due first, if it is due.
    pub(super) fn due(&self, now: Timestamp) -> Option<AllocationId> {
        let (at, index) = *self.timers.first()?;
        if at > now {
            return None;
        }
        self.slots.get(index as usize).map(|allocation| allocation.id)
    }

    /// The ways to all clients that may move.
    pub(super) fn mobile_routes(&self) -> Vec<ClientRoute> {
        let mobile = self.slots.iter().filter(|(_, allocation)| allocation.mobility.is_some());
        mobile.flat_map(|(_, allocation)| allocation.routes()).collect()
    }

    /// The number of any one allocation.
    pub(super) fn any(&self) -> Option<AllocationId> {
        let (_, index) = *self.timers.first()?;
        self.slots.get(index as usize).map(|allocation| allocation.id)
    }

    /// Makes the table look at an allocation no later than at this time.
    pub(super) fn wake_by(&mut self, id: AllocationId, at: Timestamp) {
        if self.get(id).is_some_and(|allocation| at < allocation.wake) {
            self.set_wake(id, at);
        }
    }

    fn set_wake(&mut self, id: AllocationId, at: Timestamp) {
        let Some(allocation) = self.slots.get_mut(id.index as usize) else { return };
        self.timers.remove(&(allocation.wake, id.index));
        allocation.wake = at;
        self.timers.insert((at, id.index));
    }

    /// Whether all tables agree with each other; for tests.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn is_consistent(&self) -> bool {
        let mut permissions = 0;
        let mut channels = 0;
        let mut tuples = 0;
        let sound = self.slots.iter().all(|(key, allocation)| {
            permissions += allocation.permissions.len();
            channels += allocation.channels.len();
            tuples += allocation.tuples().count();
            allocation.id.index as usize == key
                && allocation.tuples().all(|tuple| self.by_tuple.get(&tuple) == Some(&allocation.id.index))
                && self.timers.contains(&(allocation.wake, allocation.id.index))
                && allocation.channels.len() == allocation.numbers.len()
                && allocation.relays().count() > 0
                && allocation.expires == allocation.last_expiry()
        });
        sound
            && permissions == self.permissions
            && channels == self.channels
            && self.by_tuple.len() == tuples
            && self.timers.len() == self.slots.len()
    }
}
