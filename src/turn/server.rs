//! The server: its state, and the ways in.

use core::time::Duration;
use std::sync::Arc;

use ahash::RandomState;

use super::allocation::{Allocation, Relay};
use super::allocations::Allocations;
use super::budget::Budget;
use super::event::Events;
use super::mobility::Tickets;
use super::transaction::TransactionIds;
use super::{
    AllocationId, Alternates, Budget as CredentialBudget, ClientRoute, CountedMethod, Counters, Discovery,
    DropReason, EndReason, Event, FiveTuple, PeerPolicy, RelaySockets, Transport,
};
use crate::auth::rest::MAX_USERNAME;
use crate::auth::{Authenticator, Cause, Login, Refusal, Revocations};
use crate::time::{Now, Timestamp};
use crate::wire::{AddressFamily, Message, attr};

/// How many allocations one call of [`Server::handle_timeout`] looks at.
const TIMEOUTS_PER_CALL: usize = 64;

/// The family of the relayed transport address when a client names none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FamilyDefault {
    /// IPv4, and 440 without it (RFC 8656 §7.2 step 7).
    #[default]
    Ipv4,
    /// The family that the client itself uses, if there are relay addresses of it.
    Follow,
}

/// Bounds on what clients may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Permissions in an allocation.
    pub permissions: usize,
    /// Channels in an allocation.
    pub channels: usize,
    /// Connections with peers in an allocation (RFC 6062).
    pub connections: usize,
    /// The longest lifetime given; at least [`Server::DEFAULT_LIFETIME`].
    pub max_lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { permissions: 1024, channels: 1024, connections: 16, max_lifetime: Duration::from_secs(3600) }
    }
}

/// All that the server is told from outside; may be replaced while it runs.
#[derive(Clone)]
pub struct Settings {
    /// Who may log in.
    pub authenticator: Arc<Authenticator>,
    /// Which peers may be reached.
    pub policy: Arc<PeerPolicy>,
    /// Bounds.
    pub limits: Limits,
    /// Whether there are relay addresses of IPv4.
    pub ipv4: bool,
    /// Whether there are relay addresses of IPv6.
    pub ipv6: bool,
    /// What to do when a client names no family.
    pub family_default: FamilyDefault,
    /// Other servers that clients are sent to.
    pub alternates: Alternates,
    /// Whether there are TCP allocations (RFC 6062).
    pub tcp: bool,
    /// Whether clients may take their allocations to another 5-tuple (RFC 8016).
    pub mobility: bool,
    /// The addresses of NAT behavior discovery (RFC 5780), one for each family at most; empty: it is not offered.
    pub discovery: Arc<[Discovery]>,
}

impl Settings {
    /// Settings for a server that relays both families and has no other peculiarity.
    pub fn new(authenticator: Arc<Authenticator>, policy: Arc<PeerPolicy>) -> Self {
        Self {
            authenticator,
            policy,
            limits: Limits::default(),
            ipv4: true,
            ipv6: true,
            family_default: FamilyDefault::default(),
            alternates: Alternates::default(),
            tcp: false,
            mobility: true,
            discovery: Arc::new([]),
        }
    }
}

/// A STUN and TURN server without sockets.
pub struct Server {
    pub(super) settings: Settings,
    pub(super) allocations: Allocations,
    pub(super) budget: Budget,
    pub(super) counters: Counters,
    pub(super) events: Events,
    pub(super) draining: bool,
    pub(super) transaction_ids: TransactionIds,
    pub(super) tickets: Tickets,
    pub(super) revoked: Arc<Revocations>,
}

impl Server {
    /// RFC 8656 §3.2: ten minutes.
    pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);

    /// A server with no allocations. `seed` is random and secret: it keys the hash tables, whose keys
    /// outsiders choose, and makes the transaction ids of Data indications.
    pub fn new(settings: Settings, seed: [u64; 4]) -> Self {
        let hasher = RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        Self {
            settings,
            allocations: Allocations::new(hasher.clone()),
            budget: Budget::new(hasher),
            counters: Counters::default(),
            events: Events::default(),
            draining: false,
            transaction_ids: TransactionIds::new(seed),
            tickets: Tickets::alone(seed),
            revoked: Arc::default(),
        }
    }

    /// Makes this server one of several workers that share `key`, a secret: each accepts the mobility tickets of all,
    /// and says whose they are (RFC 8016). `worker` is its number among them. A worker that begins anew has another
    /// `life` than before.
    #[must_use]
    pub fn in_a_group(mut self, key: [u8; 32], worker: u8, life: u64) -> Self {
        self.tickets = Tickets::new(key, worker, life);
        self
    }

    /// Replaces the settings. Allocations go on under the new ones.
    pub fn reconfigure(&mut self, settings: Settings) {
        self.settings = settings;
        self.allocations.flows.forget();
    }

    /// From now on no allocation is made: Allocate answers 403.
    pub const fn drain(&mut self) {
        self.draining = true;
    }

    /// Live allocations.
    pub fn allocation_count(&self) -> usize {
        self.allocations.len()
    }

    /// All counters, gauges brought up to date.
    pub fn counters(&mut self) -> &Counters {
        self.counters.permissions = self.allocations.permission_count() as u64;
        self.counters.channels = self.allocations.channel_count() as u64;
        &self.counters
    }

    /// The counters of a transport, for what only the owner of the sockets sees.
    pub fn count(&mut self, transport: Transport) -> &mut super::TransportCounters {
        self.counters.of(transport)
    }

    /// Counts a client's connection that the owner of the sockets has closed.
    pub fn count_refused_stream(&mut self, reason: super::StreamRefusal) {
        self.counters.streams_refused[reason as usize] += 1;
    }

    /// The next event, in the order of happening.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.allocations.next_wake()
    }

    /// Ends what has expired and frees its memory, a bounded amount in one call.
    pub fn handle_timeout(&mut self, now: &Now, sockets: &mut impl RelaySockets) {
        for _ in 0..TIMEOUTS_PER_CALL {
            let Some(id) = self.allocations.due(now.mono) else { return };
            let Some(allocation) = self.allocations.get(id) else { return };
            if allocation.expires <= now.mono {
                self.end(now, id, EndReason::Expired, sockets);
                continue;
            }
            let expired = allocation.relays().find(|relay| relay.expires <= now.mono).map(Relay::family);
            if let Some(family) = expired {
                self.end_half(id, family, sockets);
            }
            self.close_unbound(now, id, sockets);
            self.allocations.purge(now.mono, id);
        }
    }

    /// A client's stream begins. Whatever its 5-tuple had belongs to an earlier stream, which the client has given up:
    /// behind a load balancer nothing else keeps two from having the same addresses.
    pub fn handle_opened(&mut self, now: &Now, tuple: &FiveTuple, sockets: &mut impl RelaySockets) {
        let earlier = self.allocations.find(tuple).and_then(|id| self.allocations.get(id));
        let earlier = earlier.and_then(|allocation| allocation.routes().find(|route| route.tuple == *tuple));
        if let Some(earlier) = earlier {
            self.handle_closed(now, &earlier, sockets);
        }
    }

    /// Ends the allocation of a client whose stream has ended.
    /// A later stream may have the same 5-tuple, but not the same link.
    pub fn handle_closed(&mut self, now: &Now, route: &ClientRoute, sockets: &mut impl RelaySockets) {
        if let Some(id) = self.allocations.find(&route.tuple)
            && self.allocations.get(id).is_some_and(|allocation| allocation.routes().any(|own| own == *route))
            && !self.survives_closing(now, id, route, sockets)
        {
            self.end(now, id, EndReason::ConnectionClosed, sockets);
        }
    }

    /// Whether a client's route has a live allocation.
    pub fn has_allocation_on(&mut self, now: &Now, route: &ClientRoute) -> bool {
        self.allocations.live_on(now.mono, route).is_some()
    }

    /// The ways to all clients that may move (RFC 8016).
    pub fn mobile_routes(&self) -> Vec<ClientRoute> {
        self.allocations.mobile_routes()
    }

    /// Whether a 5-tuple has a live allocation.
    pub fn has_allocation(&mut self, now: &Now, tuple: &FiveTuple) -> bool {
        self.allocations.live(now.mono, tuple).is_some()
    }

    /// Ends every allocation.
    pub fn end_all(&mut self, now: &Now, sockets: &mut impl RelaySockets) {
        while let Some(id) = self.allocations.any() {
            self.end(now, id, EndReason::ServerStopped, sockets);
        }
    }

    /// Ends an allocation at once: its socket is closed and its 5-tuple free when this returns (RFC 8656 §8.2).
    pub(super) fn end(
        &mut self,
        now: &Now,
        id: AllocationId,
        reason: EndReason,
        sockets: &mut impl RelaySockets,
    ) {
        let Some(mut allocation) = self.allocations.remove(id) else { return };
        self.close_connections(&mut allocation, sockets);
        if let Some(budget) = budget_of(now, &allocation.login, false) {
            let rest = match &allocation.meter {
                Some(meter) => meter.rest(),
                None => allocation.relays().map(|relay| sockets.settle(relay.token)).sum(),
            };
            sockets.restore(budget, rest);
        }
        for relay in allocation.relays() {
            sockets.close(relay.token, allocation.login.owner());
        }
        for route in allocation.routes() {
            sockets.release(&route);
        }
        self.counters.of(allocation.route.tuple.transport).allocations -= 1;
        let mut relayed = allocation.relays().map(|relay| relay.address);
        let (first, additional) = (relayed.next(), relayed.next());
        let Some(first) = first else { return };
        drop(relayed);
        let Some(session) = allocation.session(now.mono).map(Box::new) else { return };
        let spent = allocation.meter.as_ref().is_some_and(|meter| meter.spent);
        let Allocation { route, login, created, to_peers, to_client, .. } = allocation;
        let reason = match reason {
            EndReason::Expired if spent => EndReason::BudgetSpent,
            EndReason::Expired if login.has_ended(now.mono) => EndReason::CredentialExpired,
            other => other,
        };
        self.events.push(Event::AllocationEnded {
            user: login.user_shared(),
            tuple: route.tuple,
            relayed: first,
            additional,
            duration: now.mono.since(created),
            to_peers,
            to_client,
            reason,
            session,
        });
    }

    /// Ends the family of a live dual allocation whose own time has run out.
    pub(super) fn end_expired_half(&mut self, now: &Now, id: AllocationId, sockets: &mut impl RelaySockets) {
        let Some(allocation) = self.allocations.get(id) else { return };
        let expired = allocation.relays().find(|relay| relay.expires <= now.mono).map(Relay::family);
        if let Some(family) = expired
            && allocation.expires > now.mono
        {
            self.end_half(id, family, sockets);
        }
    }

    /// Ends one family of a dual allocation (RFC 8656 §8.1): what belongs to the other goes on.
    pub(super) fn end_half(
        &mut self,
        id: AllocationId,
        family: AddressFamily,
        sockets: &mut impl RelaySockets,
    ) {
        let Some(relay) = self.allocations.remove_relay(id, family) else { return };
        if let Some(allocation) = self.allocations.get(id) {
            sockets.close(relay.token, allocation.login.owner());
        }
    }

    /// Ends the allocation of a 5-tuple if its lifetime has run out but no timer has come by yet.
    pub(super) fn end_if_expired(&mut self, now: &Now, tuple: &FiveTuple, sockets: &mut impl RelaySockets) {
        if let Some(id) = self.allocations.find(tuple)
            && self.allocations.get(id).is_some_and(|allocation| allocation.expires <= now.mono)
        {
            self.end(now, id, EndReason::Expired, sockets);
        }
    }

    pub(super) fn login_refused(
        &mut self,
        tuple: FiveTuple,
        message: &Message<'_>,
        refusal: &Refusal,
        nonce_is_known: bool,
    ) {
        let Refusal { code, cause, .. } = *refusal;
        let proven = nonce_is_known || tuple.transport != Transport::Udp;
        // Each client begins without credentials, and each nonce ends: neither is worth a line.
        let counted = CountedMethod::of(message.method());
        if !matches!(cause, Cause::NoCredentials | Cause::StaleNonce)
            && let Some(method) = counted
        {
            let user = message.get(attr::USERNAME).and_then(|name| core::str::from_utf8(name).ok());
            let user = user.filter(|name| name.len() <= MAX_USERNAME).map(Arc::from);
            self.events.push(Event::LoginRefused { tuple, method, user, code, cause, proven });
        }
    }

    pub(super) fn drop(&mut self, transport: Transport, reason: DropReason) -> super::Verdict {
        self.counters.of(transport).drop(reason);
        super::Verdict::Drop(reason)
    }

    /// Whether all tables agree with each other; for tests.
    #[cfg(any(test, debug_assertions))]
    pub fn is_consistent(&self) -> bool {
        self.allocations.is_consistent()
    }
}

/// The byte budget of a credential, if it has one.
pub(super) fn budget_of<'a>(now: &Now, login: &'a Login, begins: bool) -> Option<CredentialBudget<'a>> {
    let total = login.policy()?.bytes?;
    let until = login.expires()?;
    Some(CredentialBudget { username: login.user(), owner: login.owner(), total, until, now: *now, begins })
}
