//! All allocations of a worker: found by their 5-tuples and their numbers, and looked at when something of them expires.

use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use std::collections::BTreeSet;

use ahash::RandomState;
use hashbrown::HashTable;
use slab::Slab;

use super::allocation::{
    Allocation, CHANNEL_LIFETIME, ChannelBinding, NewAllocation, PERMISSION_LIFETIME, Permission, Relay,
};
use super::flow::Flows;
use super::policy::Gate;
use super::{AllocationId, ClientRoute, FiveTuple};
use crate::time::Timestamp;
use crate::wire::{AddressFamily, ChannelNumber};

/// Where the allocation of a 5-tuple is. The 5-tuple itself stands in the allocation, which is looked at anyway.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Lead {
    /// Half of the keyed hash of the 5-tuple.
    hash: u32,
    /// The slot.
    index: u32,
}

impl Lead {
    /// What the table takes for a hash: it uses the bits of either end.
    const fn spread(&self) -> u64 {
        spread(self.hash)
    }
}

const fn spread(hash: u32) -> u64 {
    (hash as u64) << 32 | hash as u64
}

/// All allocations of a worker.
pub(super) struct Allocations {
    slots: Slab<Allocation>,
    by_tuple: HashTable<Lead>,
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
            by_tuple: HashTable::new(),
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
        let allocation = Allocation::new(now, id, new);
        self.timers.insert((allocation.wake, id.index));
        self.lead(&allocation.route.tuple, id.index);
        let key = self.slots.insert(allocation);
        &self.slots[key]
    }

    fn hash(&self, tuple: &FiveTuple) -> u32 {
        (self.hasher.hash_one(tuple) >> 32) as u32
    }

    /// The slot of a 5-tuple.
    fn index_of(&self, tuple: &FiveTuple) -> Option<usize> {
        let hash = self.hash(tuple);
        let is_there = |lead: &Lead| {
            lead.hash == hash
                && self.slots.get(lead.index as usize).is_some_and(|allocation| allocation.is_at(tuple))
        };
        self.by_tuple.find(spread(hash), is_there).map(|lead| lead.index as usize)
    }

    /// Makes a 5-tuple, which leads nowhere yet, lead to a slot.
    fn lead(&mut self, tuple: &FiveTuple, index: u32) {
        let lead = Lead { hash: self.hash(tuple), index };
        self.by_tuple.insert_unique(lead.spread(), lead, Lead::spread);
    }

    /// Makes a 5-tuple, which leads to this slot, lead nowhere.
    fn lead_nowhere(&mut self, tuple: &FiveTuple, index: u32) {
        let lead = Lead { hash: self.hash(tuple), index };
        if let Ok(entry) = self.by_tuple.find_entry(lead.spread(), |other| *other == lead) {
            entry.remove();
        }
    }

    /// The allocation of a 5-tuple, expired or not.
    pub(super) fn find(&self, tuple: &FiveTuple) -> Option<AllocationId> {
        self.slots.get(self.index_of(tuple)?).map(|allocation| allocation.id)
    }

    /// The allocation of a 5-tuple, if it lives.
    pub(super) fn live(&mut self, now: Timestamp, tuple: &FiveTuple) -> Option<&mut Allocation> {
        let index = self.index_of(tuple)?;
        self.slots.get_mut(index).filter(|allocation| allocation.expires > now)
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
            self.lead_nowhere(&tuple, id.index);
        }
        self.timers.remove(&(allocation.wake, id.index));
        self.permissions -= allocation.permission_count();
        self.channels -= allocation.channel_count();
        Some(allocation)
    }

    /// Sets the time-to-expiry of one family, or of all, anew.
    pub(super) fn refresh(&mut self, id: AllocationId, family: Option<AddressFamily>, expires: Timestamp) {
        self.flows.forget();
        let Some(allocation) = self.get(id) else { return };
        allocation.set_expiry(family, |_| expires);
        // A later expiry is noticed when the timer fires; an earlier one has to move it.
        self.wake_by(id, expires);
    }

    /// Adds a second 5-tuple, from which the client has announced itself. Returns the one that it had announced before.
    pub(super) fn announce(&mut self, id: AllocationId, route: ClientRoute) -> Option<ClientRoute> {
        self.flows.forget();
        let mobile = self.get(id)?.mobility.as_mut()?;
        let before = mobile.pending.replace(route);
        if let Some(before) = before {
            self.lead_nowhere(&before.tuple, id.index);
        }
        self.lead(&route.tuple, id.index);
        before
    }

    /// Takes the announced 5-tuple back.
    pub(super) fn withdraw(&mut self, id: AllocationId) {
        self.flows.forget();
        let pending = self.get(id).and_then(|allocation| allocation.mobility.as_mut()?.pending.take());
        if let Some(pending) = pending {
            self.lead_nowhere(&pending.tuple, id.index);
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
            self.lead_nowhere(&old.tuple, id.index);
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
        allocation.set_expiry(None, |expires| expires.min(until));
        let next = allocation.first_expiry();
        self.lead_nowhere(&tuple, id.index);
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
        let before = allocation.permission_count();
        allocation.permit(ip, Permission { expires, gate });
        let after = allocation.permission_count();
        self.permissions = self.permissions + after - before;
        self.wake_by(id, expires);
    }

    /// Binds or refreshes a channel (RFC 8656 §12). The caller has made sure that neither side is bound otherwise.
    pub(super) fn bind(&mut self, now: Timestamp, id: AllocationId, number: ChannelNumber, peer: SocketAddr) {
        self.flows.forget();
        let Some(allocation) = self.get(id) else { return };
        let expires = now + CHANNEL_LIFETIME;
        let before = allocation.channel_count();
        allocation.bind(number, ChannelBinding { peer, expires });
        let after = allocation.channel_count();
        self.channels = self.channels + after - before;
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

    /// Those in some of the places that there are.
    pub(super) fn among(&self, places: Range<usize>) -> impl Iterator<Item = &Allocation> {
        let end = places.end.min(self.places());
        (places.start..end).filter_map(|place| self.slots.get(place))
    }

    /// How many places there are, taken or not.
    pub(super) fn places(&self) -> usize {
        self.slots.capacity()
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Allocation> {
        self.slots.iter().map(|(_, allocation)| allocation)
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
            permissions += allocation.permission_count();
            channels += allocation.channel_count();
            tuples += allocation.tuples().count();
            allocation.id.index as usize == key
                && allocation.tuples().all(|tuple| self.index_of(&tuple) == Some(key))
                && self.timers.contains(&(allocation.wake, allocation.id.index))
                && allocation.is_consistent()
        });
        sound
            && permissions == self.permissions
            && channels == self.channels
            && self.by_tuple.len() == tuples
            && self.timers.len() == self.slots.len()
    }
}
