//! TCP allocations (RFC 6062): Connect, ConnectionBind, and connections that peers open.
//!
//! The core decides who may be connected with whom and until when. The owner of the sockets connects, accepts, and
//! carries the bytes: none of them comes through here.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use super::allocation::Allocation;
use super::permission::judge;
use super::request::{Refused, Request};
use super::{
    AllocationId, ClientRoute, ConnectionEnd, ConnectionId, CountedMethod, DropReason, EndReason, Event,
    PeerAddress, RelaySockets, Server, Traffic, Transport, Waiting,
};
use crate::auth::Login;
use crate::time::{Now, Timestamp};
use crate::wire::{Class, Message, MessageWriter, ReplyBuffer, TransactionId, attr, method};

/// How long a peer data connection waits for its ConnectionBind (RFC 6062 §5.2, §5.3).
const UNBOUND_LIFETIME: Duration = Duration::from_secs(30);

/// A peer data connection, as the owner of the sockets names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerConnection {
    /// Whose it is.
    pub allocation: AllocationId,
    /// The other end.
    pub peer: PeerAddress,
    /// What the client calls it.
    pub id: ConnectionId,
}

/// A peer data connection that the client is told of: it may be claimed by a ConnectionBind.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Where to send what stands in the reply buffer.
    pub client: ClientRoute,
    /// Who may claim it, and until when.
    pub waiting: Waiting,
}

/// The peer data connections of one allocation: at most one to each peer (RFC 6062 §3).
#[derive(Default)]
pub(super) struct Connections {
    by_peer: BTreeMap<SocketAddr, Connection>,
}

struct Connection {
    id: ConnectionId,
    state: State,
}

enum State {
    /// The answer to this Connect is still to come.
    Connecting(Box<Unanswered>),
    /// Waits for its ConnectionBind, until then.
    Unbound(Timestamp),
    /// Carries data, or did so when it was last looked at.
    Bound,
}

/// What is kept of a Connect until its answer can be given.
struct Unanswered {
    transaction: TransactionId,
    login: Login,
    has_fingerprint: bool,
}

impl Connections {
    /// When the first connection that nobody has bound is to be closed.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.by_peer.values().filter_map(|connection| connection.until()).min()
    }

    /// All of them.
    pub(super) fn ids(&self) -> impl Iterator<Item = ConnectionId> {
        self.by_peer.values().map(|connection| connection.id)
    }

    fn get(&mut self, connection: &PeerConnection) -> Option<&mut Connection> {
        self.by_peer.get_mut(&connection.peer.0).filter(|found| found.id == connection.id)
    }

    /// Those that nobody has bound in time.
    fn overdue(&self, now: Timestamp) -> Vec<(SocketAddr, ConnectionId)> {
        let is_over = |connection: &Connection| connection.until().is_some_and(|until| until <= now);
        let over = self.by_peer.iter().filter(|(_, connection)| is_over(connection));
        over.map(|(peer, connection)| (*peer, connection.id)).collect()
    }
}

impl Connection {
    const fn until(&self) -> Option<Timestamp> {
        match self.state {
            State::Unbound(until) => Some(until),
            State::Connecting(_) | State::Bound => None,
        }
    }
}

impl Server {
    /// How long an attempt to connect to a peer lasts before it has failed (RFC 6062 §5.2: at least 30 seconds).
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

    /// Connect (RFC 6062 §5.2). After `Ok` the answer comes later, from [`Self::handle_connected`] or
    /// [`Self::handle_connect_failed`].
    pub(super) fn connect(
        &mut self,
        request: &Request<'_>,
        sockets: &mut impl RelaySockets,
    ) -> Result<(), Refused> {
        let Request { now, from, message, login } = request;
        let Some(allocation) = self.allocations.live(now.mono, &from.tuple) else {
            return Err(Refused::because(437));
        };
        // An allocation for UDP is not the one that this method needs.
        let Some(connections) = &allocation.connections else { return Err(Refused::because(437)) };
        let peer = message.get(attr::XOR_PEER_ADDRESS).and_then(|value| message.xor_address(value));
        let peer = peer.ok_or(const { Refused::because(400) })?;
        let refused = |code| Refused::about(code, peer);
        match connections.by_peer.get(&peer).map(|connection| &connection.state) {
            // The same request again: its answer is on the way.
            Some(State::Connecting(first)) if first.transaction == message.transaction() => return Ok(()),
            Some(_) => return Err(refused(446)),
            None => {}
        }
        judge(now.mono, &self.settings.policy, allocation, peer)?;
        let Some(relay) = allocation.relays().next().copied() else { return Err(Refused::because(437)) };
        // A relayed address that is connected with itself would send its own bytes back to itself.
        let policy = &self.settings.policy;
        let allowed = policy.allows_connection(peer, || sockets.is_listening(peer), |ip| sockets.is_ours(ip));
        if peer == relay.address.0 || !allowed {
            return Err(refused(403));
        }
        if connections.by_peer.len() >= self.settings.limits.connections {
            return Err(refused(508));
        }
        let allocation = allocation.id;
        let id = sockets.connect(allocation, relay.token, PeerAddress(peer))?;
        let unanswered = Unanswered {
            transaction: message.transaction(),
            login: login.clone(),
            has_fingerprint: message.has_fingerprint(),
        };
        let state = State::Connecting(Box::new(unanswered));
        self.add_connection(allocation, peer, Connection { id, state });
        Ok(())
    }

    /// ConnectionBind (RFC 6062 §5.4). After `Ok` the connection that the request came by belongs to the peer's.
    pub(super) fn connection_bind(
        &mut self,
        request: &Request<'_>,
        sockets: &mut impl RelaySockets,
    ) -> Result<ConnectionId, Refused> {
        let Request { now, from, message, login } = request;
        let bad = || Refused::because(400);
        // A control connection carries messages, so it cannot carry data (§3).
        if !from.tuple.transport.is_stream() || self.allocations.live(now.mono, &from.tuple).is_some() {
            return Err(bad());
        }
        let id = connection_id(message).ok_or_else(bad)?;
        let waiting = sockets.waiting(id).filter(|waiting| waiting.until > now.mono).ok_or_else(bad)?;
        // The same credentials as on the control connection (§4.3); otherwise as for any request that concerns
        // somebody else's allocation (RFC 8656 §5).
        if !login.may_use(&waiting.login, false) {
            return Err(Refused::because(441));
        }
        // Another worker may have been faster.
        if sockets.claim(id) { Ok(id) } else { Err(bad()) }
    }

    /// The peer has answered: writes the success response to the Connect. `None`: its allocation has ended, nobody is
    /// to be told, and the connection is to be closed.
    pub fn handle_connected(
        &mut self,
        now: &Now,
        connection: &PeerConnection,
        reply: &mut ReplyBuffer,
    ) -> Option<Offer> {
        let until = now.mono + UNBOUND_LIFETIME;
        let allocation = self.allocations.get(connection.allocation)?;
        let (client, login) = (allocation.route, allocation.login.clone());
        let found = allocation.connections.as_mut()?.get(connection)?;
        let State::Connecting(unanswered) = core::mem::replace(&mut found.state, State::Unbound(until))
        else {
            return None;
        };
        self.allocations.wake_by(connection.allocation, until);
        self.counters.of(client.tuple.transport).successes[CountedMethod::Connect as usize] += 1;
        self.answer_later(client, &unanswered, Class::SuccessResponse, reply, |writer| {
            writer.u32(attr::CONNECTION_ID, connection.id.0);
        });
        Some(Offer { client, waiting: Waiting { login, until } })
    }

    /// The peer refused, could not be reached, or did not answer in time: writes the error response to the Connect.
    /// Returns where to send it, if its allocation still lives.
    pub fn handle_connect_failed(
        &mut self,
        connection: &PeerConnection,
        reply: &mut ReplyBuffer,
    ) -> Option<ClientRoute> {
        let allocation = self.allocations.get(connection.allocation)?;
        let (client, user) = (allocation.route, allocation.login.user_shared());
        let connections = allocation.connections.as_mut()?;
        connections.get(connection)?;
        let removed = connections.by_peer.remove(&connection.peer.0)?;
        self.counters.connections -= 1;
        let State::Connecting(unanswered) = removed.state else { return None };
        self.counters.of(client.tuple.transport).error(447);
        self.events.push(Event::RequestRefused {
            user,
            tuple: client.tuple,
            method: CountedMethod::Connect,
            code: 447,
            peer: Some(connection.peer.0),
            cause: None,
        });
        self.answer_later(client, &unanswered, Class::ErrorResponse, reply, |writer| {
            writer.error_code(447);
        });
        Some(client)
    }

    /// A peer has connected to the relayed transport address (RFC 6062 §5.3): writes the ConnectionAttempt
    /// indication. The error says why the connection is to be closed at once; it has been counted.
    ///
    /// # Errors
    /// Without a permission, against the policy, or with too many connections.
    pub fn handle_incoming(
        &mut self,
        now: &Now,
        connection: &PeerConnection,
        indication: &mut ReplyBuffer,
        sockets: &mut impl RelaySockets,
    ) -> Result<Offer, DropReason> {
        let admitted = self.admit(now, connection.allocation, connection.peer, sockets);
        let (client, login) =
            admitted.inspect_err(|reason| self.counters.of(Transport::Tcp).drop(*reason))?;
        // The kernel knows no two connections between the same ends: the old one has been reset.
        let old = self.allocations.get(connection.allocation).and_then(|allocation| {
            allocation.connections.as_ref()?.by_peer.get(&connection.peer.0).map(|old| old.id)
        });
        if let Some(id) = old {
            let old = PeerConnection { id, ..*connection };
            let relayed = sockets.disconnect(id);
            self.handle_disconnected(now, &old, ConnectionEnd::Reset, relayed, sockets);
        }
        let until = now.mono + UNBOUND_LIFETIME;
        let state = State::Unbound(until);
        self.add_connection(
            connection.allocation,
            connection.peer.0,
            Connection { id: connection.id, state },
        );
        self.allocations.wake_by(connection.allocation, until);
        let transaction = self.transaction_ids.next();
        let mut writer = indication.begin(method::CONNECTION_ATTEMPT, Class::Indication, transaction);
        writer
            .xor_address(attr::XOR_PEER_ADDRESS, connection.peer.0)
            .u32(attr::CONNECTION_ID, connection.id.0);
        if writer.finish().is_none() {
            return Err(DropReason::TooLong);
        }
        Ok(Offer { client, waiting: Waiting { login, until } })
    }

    /// Whether a peer may connect, so that no connection is made for one that may not. The error says why not; it has
    /// been counted.
    ///
    /// # Errors
    /// As [`Self::handle_incoming`].
    pub fn admits(
        &mut self,
        now: &Now,
        allocation: AllocationId,
        peer: PeerAddress,
        sockets: &impl RelaySockets,
    ) -> Result<(), DropReason> {
        let admitted = self.admit(now, allocation, peer, sockets).map(|_| ());
        admitted.inspect_err(|reason| self.counters.of(Transport::Tcp).drop(*reason))
    }

    /// Whether a peer may connect, and who is to be told.
    fn admit(
        &mut self,
        now: &Now,
        allocation: AllocationId,
        PeerAddress(peer): PeerAddress,
        sockets: &impl RelaySockets,
    ) -> Result<(ClientRoute, Login), DropReason> {
        let allocation = self.allocations.get(allocation);
        let allocation = allocation.filter(|allocation| allocation.expires > now.mono);
        let allocation = allocation.ok_or(DropReason::NoAllocation)?;
        let connections = allocation.connections.as_ref().ok_or(DropReason::NoAllocation)?;
        allocation.permission(now.mono, peer.ip()).ok_or(DropReason::NoPermission)?;
        if !self.settings.policy.allows(peer, || sockets.is_listening(peer)) {
            return Err(DropReason::Forbidden);
        }
        if connections.by_peer.len() >= self.settings.limits.connections {
            return Err(DropReason::ConnectionLimit);
        }
        Ok((allocation.route, allocation.login.clone()))
    }

    /// A peer data connection has ended, with this much relayed to the peer and to the client. With
    /// [`ConnectionEnd::BudgetSpent`] its allocation ends, as one for UDP does.
    pub fn handle_disconnected(
        &mut self,
        now: &Now,
        connection: &PeerConnection,
        end: ConnectionEnd,
        (to_peer, to_client): (Traffic, Traffic),
        sockets: &mut impl RelaySockets,
    ) {
        let Some(allocation) = self.allocations.get(connection.allocation) else { return };
        let Some(connections) = &mut allocation.connections else { return };
        if connections.get(connection).is_none() {
            return;
        }
        connections.by_peer.remove(&connection.peer.0);
        allocation.to_peers.merge(&to_peer);
        allocation.to_client.merge(&to_client);
        let ended = Event::ConnectionEnded {
            user: allocation.login.user_shared(),
            tuple: allocation.route.tuple,
            peer: connection.peer,
            end,
        };
        self.events.push(ended);
        self.counters.connections -= 1;
        self.counters.connection_ends[end as usize] += 1;
        if end == ConnectionEnd::BudgetSpent {
            self.end(now, connection.allocation, EndReason::BudgetSpent, sockets);
        }
    }

    /// Closes the connections of an allocation that nobody has bound in time.
    pub(super) fn close_unbound(&mut self, now: &Now, id: AllocationId, sockets: &mut impl RelaySockets) {
        let connections = self.allocations.get(id).and_then(|allocation| allocation.connections.as_ref());
        let Some(overdue) = connections.map(|connections| connections.overdue(now.mono)) else { return };
        for (peer, connection) in overdue {
            let ended = PeerConnection { allocation: id, peer: PeerAddress(peer), id: connection };
            if sockets.abandon(connection) {
                self.handle_disconnected(now, &ended, ConnectionEnd::Unbound, Default::default(), sockets);
            } else if let Some(allocation) = self.allocations.get(id)
                && let Some(connections) = &mut allocation.connections
                && let Some(found) = connections.get(&ended)
            {
                found.state = State::Bound;
            }
        }
    }

    /// Closes all connections of an allocation that has ended, and takes over what they have relayed.
    pub(super) fn close_connections(&mut self, allocation: &mut Allocation, sockets: &mut impl RelaySockets) {
        let Some(connections) = allocation.connections.take() else { return };
        for id in connections.ids() {
            let (to_peer, to_client) = sockets.disconnect(id);
            allocation.to_peers.merge(&to_peer);
            allocation.to_client.merge(&to_client);
            self.counters.connections -= 1;
            self.counters.connection_ends[ConnectionEnd::AllocationEnded as usize] += 1;
        }
    }

    fn add_connection(&mut self, id: AllocationId, peer: SocketAddr, connection: Connection) {
        let connections = self.allocations.get(id).and_then(|allocation| allocation.connections.as_mut());
        if let Some(connections) = connections {
            connections.by_peer.insert(peer, connection);
            self.counters.connections += 1;
            self.counters.connections_made += 1;
        }
    }

    /// Answers a Connect, signed with the login of that request (RFC 8489 §9.2.4).
    fn answer_later(
        &mut self,
        client: ClientRoute,
        unanswered: &Unanswered,
        class: Class,
        reply: &mut ReplyBuffer,
        write: impl FnOnce(&mut MessageWriter<'_>),
    ) {
        let mut writer = reply.begin(method::CONNECT, class, unanswered.transaction);
        write(&mut writer);
        unanswered.login.sign(&mut writer);
        if unanswered.has_fingerprint {
            writer.fingerprint();
        }
        if let Some(len) = writer.finish() {
            self.counters.of(client.tuple.transport).answered.add(len);
        }
    }
}

fn connection_id(message: &Message<'_>) -> Option<ConnectionId> {
    let value = message.get(attr::CONNECTION_ID).and_then(|value| <[u8; 4]>::try_from(value).ok())?;
    Some(ConnectionId(u32::from_be_bytes(value)))
}

/// The login of the allocation whose connection a ConnectionBind is about.
pub(super) fn waiting_login(
    from: ClientRoute,
    message: &Message<'_>,
    sockets: &impl RelaySockets,
) -> Option<Login> {
    // Over datagrams it is refused anyway.
    let id = connection_id(message).filter(|_| from.tuple.transport.is_stream())?;
    sockets.waiting(id).map(|waiting| waiting.login)
}
