//! What RFC 6062 allows. Of what exists at the border the pool of the cluster knows; what may exist is said here.

use super::*;

/// A connection between a relayed address and a peer.
pub(super) struct Connection {
    /// The number of its allocation.
    of: u64,
    peer: SocketAddr,
    state: State,
}

impl Connection {
    pub(super) const fn of(&self) -> u64 {
        self.of
    }
}

enum State {
    /// Its Connect is still to be answered.
    Asked {
        tid: [u8; 12],
        key: Vec<u8>,
        signs_with: u16,
        fingerprint: bool,
    },
    /// It can be claimed by this user until then.
    Waiting {
        user: String,
        key: Vec<u8>,
        until: Micros,
    },
    Bound,
}

/// RFC 6062 §5.2, §5.3.
const UNBOUND: Micros = 30 * SECOND;

fn named(seen: &Seen<'_>) -> Option<ConnectionId> {
    seen.get(CONNECTION_ID).and_then(word).map(ConnectionId)
}

impl Oracle {
    /// The login that a ConnectionBind can lean on.
    pub(super) fn waiting_for(&self, route: &ClientRoute, seen: &Seen<'_>) -> Option<Holder<'_>> {
        let id = named(seen).filter(|_| seen.method == 11 && route.tuple.transport.is_stream())?;
        match &self.connections.get(&id)?.state {
            State::Waiting { user, key, .. } => Some(Holder { user, key }),
            State::Asked { .. } | State::Bound => None,
        }
    }

    fn to_peer(&self, of: u64, peer: SocketAddr) -> Option<&Connection> {
        self.connections.values().find(|connection| connection.of == of && connection.peer == peer)
    }

    fn count_of(&self, of: u64) -> usize {
        self.connections.values().filter(|connection| connection.of == of).count()
    }

    /// Whether a peer may be connected with; `None`: cannot be said. Unlike with datagrams the policy of the moment counts.
    fn connects(&self, peer: SocketAddr, pool: &Pool) -> Option<bool> {
        match judge::reach(&self.config, peer.ip()) {
            Reach::Yes => Some(true),
            Reach::No => Some(false),
            Reach::ByPort => Some(pool.is_listening(&peer)),
            Reach::Unsure => None,
        }
    }

    /// What could be wrong with a Connect (§5.2).
    pub(super) fn connect_problems(&self, at: Micros, of: u64, seen: &Seen<'_>, pool: &Pool) -> Problems {
        let held = &self.allocations[&of];
        if !held.tcp {
            return Problems::from([(437, true)]);
        }
        let Some(peer) = seen.get(PEER).and_then(|value| seen.address(value)) else {
            return Problems::from([(400, true)]);
        };
        let mut problems = Problems::new();
        match self.to_peer(of, peer).map(|connection| &connection.state) {
            Some(State::Asked { tid, .. }) if *tid == seen.tid => return problems,
            Some(_) => _ = problems.insert(446, true),
            None => {}
        }
        let own = held.relay(at, peer.is_ipv6());
        if own.is_none() {
            problems.insert(443, true);
        }
        match self.connects(peer, pool) {
            Some(true) if own != Some(peer) && held.terms.reaches(peer.ip()) => {}
            Some(_) => _ = problems.insert(403, true),
            None => _ = problems.insert(UNSURE, false),
        }
        if pool.failing || self.count_of(of) >= self.config.connections {
            problems.insert(508, true);
        }
        problems
    }

    /// A Connect whose answer is still to come.
    pub(super) fn connecting(
        &mut self,
        at: Micros,
        route: ClientRoute,
        seen: &Seen<'_>,
        said: &Said,
        login: Login,
        pool: &Pool,
    ) {
        let Login::Passed { user, key, signs_with, .. } = login else {
            return self.fail("order", format!("{said:?} for {login:?}"));
        };
        let number = self.number(at, &route).filter(|number| self.allocations[number].user == user);
        let Some(of) = number.filter(|_| !judge::unknown(seen, &[])) else {
            return self.fail("order", format!("{said:?} for {:02x?}", seen.bytes));
        };
        let problems = self.connect_problems(at, of, seen, pool);
        self.compare(seen, 0, &problems);
        let Some(peer) = seen.get(PEER).and_then(|value| seen.address(value)) else { return };
        let again = self.to_peer(of, peer).is_some();
        let Said::Connecting { id } = said else {
            if !again {
                self.fail("silence", format!("a Connect met {said:?}"));
            }
            return;
        };
        self.count("connecting");
        let relayed = self.allocations[&of].relay(at, peer.is_ipv6());
        let link = pool.links.get(*id).map(|link| (link.name.peer.0, Some(link.relayed)));
        if again || link != Some((peer, relayed)) {
            return self.fail("connections", format!("{link:?} for {peer} from {relayed:?}"));
        }
        let fingerprint = seen.fingerprint.is_some();
        let state = State::Asked { tid: seen.tid, key, signs_with, fingerprint };
        self.connections.insert(*id, Connection { of, peer, state });
    }

    /// The answer to a Connect.
    pub fn connect_answered(
        &mut self,
        at: Micros,
        worker: usize,
        id: ConnectionId,
        accepted: bool,
        told: Option<&(ClientRoute, Vec<u8>)>,
    ) {
        let Some(connection) = self.connections.remove(&id) else {
            if told.is_some() {
                self.fail("connections", format!("{told:?} of nothing that was asked for"));
            }
            return;
        };
        let Connection { of, peer, state } = connection;
        let held = self.allocations.get(&of);
        let live = held.is_some_and(|held| held.is_live(at));
        let (State::Asked { tid, key, signs_with, fingerprint }, Some((route, bytes))) = (state, told) else {
            if live {
                self.fail("silence", format!("the Connect to {peer} gets no answer"));
            }
            return;
        };
        let tally = &mut self.tallies[worker];
        tally.answered[route.tuple.transport as usize].add(bytes.len());
        tally.from_peers += 1;
        let Some(held) = held else {
            return self.fail("connections", format!("{route:?} is told of {peer} after its allocation"));
        };
        let answer = Answer::read(bytes);
        let code = answer.code();
        let right = held.route == Some(*route)
            && answer.bytes[8..20] == tid
            && answer.kind == if accepted { 0x010A } else { 0x011A }
            && code == if accepted { 0 } else { 447 }
            && answer.get(CONNECTION_ID) == accepted.then_some(&id.0.to_be_bytes()[..])
            && answer.has(signs_with)
            && answer.has(FINGERPRINT) == fingerprint;
        if !right {
            return self.fail("connections", format!("{peer}, {accepted}: {route:?} gets {answer:?}"));
        }
        answer.assert_signed(signs_with, &key);
        if accepted {
            let state =
                State::Waiting { user: held.user.clone(), key: held.key.clone(), until: at + UNBOUND };
            self.connections.insert(id, Connection { of, peer, state });
        }
        self.count(&format!("Connect {code}"));
    }

    /// A peer's connection (§5.3): announced exactly if it has a permission, the policy allows it, and there is room.
    pub fn peer_connected(
        &mut self,
        at: Micros,
        worker: usize,
        (relayed, peer): (SocketAddr, SocketAddr),
        id: ConnectionId,
        told: &Result<(ClientRoute, Vec<u8>), DropReason>,
        pool: &Pool,
    ) {
        let mut live = self.allocations.iter();
        let held = live.find(|(_, held)| held.tcp && held.relay(at, relayed.is_ipv6()) == Some(relayed));
        let passes = self.connects(peer, pool);
        let due = held.filter(|(of, held)| {
            held.worker == worker
                && held.permits(at, peer.ip())
                && passes != Some(false)
                && self.count_of(**of) < self.config.connections
        });
        let due = due.map(|(of, held)| (*of, held.route, held.user.clone(), held.key.clone()));
        match told {
            Err(reason) => {
                let tally = &mut self.tallies[worker];
                tally.from_peers += 1;
                *tally.drops.entry(reason.name()).or_default() += 1;
                self.count(reason.name());
                if due.is_some() && passes == Some(true) {
                    self.fail("connections", format!("{reason:?}, but {peer} may connect to {relayed}"));
                }
            }
            Ok((route, bytes)) => {
                let Some((of, client, user, key)) = due else {
                    return self.fail("permission", format!("{peer} at {relayed} is announced to {route:?}"));
                };
                let answer = Answer::read(bytes);
                if client != Some(*route)
                    || answer.kind != 0x001C
                    || answer.kinds() != [PEER, CONNECTION_ID]
                    || answer.address(PEER) != peer
                    || answer.connection() != id
                {
                    return self.fail("connections", format!("{peer} to {client:?}: {route:?} {answer:?}"));
                }
                self.count("ConnectionAttempt");
                // Between the same two ends there is one connection; the old one is gone.
                self.connections.retain(|_, old| old.of != of || old.peer != peer);
                let state = State::Waiting { user, key, until: at + UNBOUND };
                self.connections.insert(id, Connection { of, peer, state });
            }
        }
    }

    /// ConnectionBind (§5.4), after its login.
    pub(super) fn connection_bind(
        &mut self,
        at: Micros,
        route: ClientRoute,
        seen: &Seen<'_>,
        (code, said): (u16, &Said),
        user: &str,
    ) {
        let mut problems = Problems::new();
        let found = named(seen).and_then(|id| Some((id, self.connections.get(&id)?)));
        match found.map(|(_, connection)| (connection.of, &connection.state)) {
            Some((of, State::Waiting { user: maker, until, .. })) if *until > at => {
                if maker != user {
                    problems.insert(441, true);
                }
                // Its allocation is over, but no timer has come by.
                if self.allocations.get(&of).is_none_or(|held| !held.is_live(at)) {
                    problems.insert(UNSURE, false);
                }
            }
            _ => _ = problems.insert(400, true),
        }
        if !route.tuple.transport.is_stream() || self.number(at, &route).is_some() {
            problems.insert(400, true);
        }
        let named = found.map(|(id, _)| id);
        self.compare(seen, code, &problems);
        let bound = match said {
            Said::Bound { id, .. } => Some(*id),
            _ => None,
        };
        let due = named.filter(|_| code == 0);
        if bound != due {
            return self.fail("connections", format!("{due:?} was due, not {bound:?}"));
        }
        if let Some(connection) = due.and_then(|id| self.connections.get_mut(&id)) {
            connection.state = State::Bound;
        }
    }

    /// A connection has ended from outside.
    pub fn disconnected(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    /// Compares the connections that exist with those that may. They end with their allocation, after 30 seconds
    /// without a ConnectionBind, or from outside; not otherwise.
    pub fn sweep(&mut self, at: Micros, pool: &Pool) {
        if let Some((id, link)) = pool.links.iter().find(|(id, _)| !self.connections.contains_key(id)) {
            let text = format!("{id:?} of {} with {} should not be", link.relayed, link.name.peer.0);
            self.fail("connections", text);
        }
        let closed = |(id, _): &(&ConnectionId, &Connection)| pool.links.get(**id).is_none();
        let wrong = self.connections.iter().filter(closed).find(|(_, connection)| {
            let live = self.allocations.get(&connection.of).is_some_and(|held| held.is_live(at));
            live && !matches!(connection.state, State::Waiting { until, .. } if until <= at)
        });
        if let Some((id, connection)) = wrong {
            self.fail("connections", format!("{id:?} with {} is closed for no reason", connection.peer));
        }
        self.connections.retain(|id, _| pool.links.get(*id).is_some());
    }

    /// An allocation has ended: so have its connections, at once.
    pub(super) fn sweep_closed(&mut self, when: &str, pool: &Pool) {
        let ended = |connection: &&Connection| !self.allocations.contains_key(&connection.of);
        let open = self.connections.iter().find(|(id, one)| ended(one) && pool.links.get(**id).is_some());
        if let Some((id, connection)) = open {
            self.fail("connections", format!("{id:?} with {} is open {when}", connection.peer));
        }
    }

    /// When no timer is due: nothing waits any longer than it may, nothing is without its allocation, and the gauge is
    /// right.
    pub(super) fn overdue(&mut self, at: Micros, worker: usize, counters: &Counters, pool: &Pool) {
        let over = self.connections.iter().find(|(_, connection)| {
            let live = self.allocations.get(&connection.of).is_some_and(|held| held.is_live(at));
            !live || matches!(connection.state, State::Waiting { until, .. } if until <= at)
        });
        if let Some((id, connection)) = over {
            self.fail("connections", format!("{id:?} with {} is open for too long", connection.peer));
        }
        let count = pool.links.iter().filter(|(_, link)| link.worker == worker).count();
        if counters.connections != count as u64 {
            self.fail("counters", format!("{} connections, not {count}", counters.connections));
        }
    }
}
