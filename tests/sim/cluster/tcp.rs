//! Connections between relayed addresses and peers (RFC 6062), shared by all workers as in `src/net/connections.rs`. What
//! they carry is no matter of the core.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use relais::turn::{
    AllocationId, ConnectionEnd, ConnectionId, DropReason, Leave, PeerAddress, PeerConnection, Turn, Waiting,
};

use super::{Cluster, Micros, Output, Relays, Sabotage};

/// One connection.
pub struct Link {
    pub worker: usize,
    pub name: PeerConnection,
    pub relayed: SocketAddr,
    waiting: Option<Waiting>,
    pub bound: bool,
}

#[derive(Default)]
pub struct Links {
    all: BTreeMap<ConnectionId, Link>,
    next: u32,
    /// What the request at hand has asked for.
    pub begun: Vec<ConnectionId>,
}

impl Links {
    pub fn get(&self, id: ConnectionId) -> Option<&Link> {
        self.all.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Link)> + '_ {
        self.all.iter().map(|(id, link)| (*id, link))
    }

    /// The newest number there has been.
    pub fn newest(&self) -> u32 {
        self.next
    }

    pub(super) fn open(
        &mut self,
        worker: usize,
        allocation: AllocationId,
        relayed: SocketAddr,
        peer: PeerAddress,
    ) -> ConnectionId {
        // Numbers in a row are easily guessed: so liars find them.
        self.next += 1;
        let id = ConnectionId(self.next);
        let name = PeerConnection { allocation, peer, id };
        self.all.insert(id, Link { worker, name, relayed, waiting: None, bound: false });
        id
    }

    pub(super) fn waiting(&self, id: ConnectionId) -> Option<Waiting> {
        self.all.get(&id)?.waiting.clone()
    }

    pub(super) fn claim(&mut self, id: ConnectionId, twice: bool) -> bool {
        let Some(link) = self.all.get_mut(&id) else { return false };
        let waits = link.waiting.is_some();
        if !twice {
            link.waiting = None;
        }
        link.bound |= waits;
        waits
    }

    pub(super) fn close(&mut self, worker: usize, id: ConnectionId) {
        let link = self.all.remove(&id).expect("a connection is closed once");
        assert_eq!(link.worker, worker, "a worker closes its own");
    }

    pub(super) fn close_all_of(&mut self, worker: usize) {
        self.all.retain(|_, link| link.worker != worker);
    }
}

impl Cluster {
    /// A peer has answered a connection, or has not (RFC 6062 §5.2).
    pub fn peer_answers(&mut self, at: Micros, id: ConnectionId, accepts: bool) -> Output {
        let Some(link) = self.pool.links.get(id) else { return Output::Nothing };
        let (worker, name) = (link.worker, link.name);
        let now = self.now(at);
        let client = if accepts {
            let offer = self.workers[worker].handle_connected(&now, &name, &mut self.reply);
            match offer {
                Some(offer) => {
                    self.pool.links.all.get_mut(&id).expect("it is open").waiting = Some(offer.waiting);
                    Some(offer.client)
                }
                None => {
                    self.pool.links.close(worker, id);
                    None
                }
            }
        } else {
            self.pool.links.close(worker, id);
            self.workers[worker].handle_connect_failed(&name, &mut self.reply)
        };
        let answer = client.map(|client| (client, self.reply.bytes().to_vec()));
        self.oracle.connect_answered(at, worker, id, accepts, answer.as_ref());
        self.after(at, worker);
        answer.map_or(Output::Nothing, |(route, bytes)| Output::ToClient { route, bytes })
    }

    /// A peer connects to a relayed address (RFC 6062 §5.3). The connection's number, if it is let in.
    pub fn peer_connects(
        &mut self,
        at: Micros,
        relayed: SocketAddr,
        peer: SocketAddr,
    ) -> (Option<ConnectionId>, Output) {
        let relay = self.pool.open.get(&relayed).filter(|relay| relay.tcp);
        let Some(relay) = relay else { return (None, Output::Nothing) };
        let (worker, allocation) = (relay.worker, relay.id);
        let id = self.pool.links.open(worker, allocation, relayed, PeerAddress(peer));
        let name = self.pool.links.all[&id].name;
        let now = self.now(at);
        let mut sockets = Relays { pool: &mut self.pool, worker };
        let offer = self.workers[worker].handle_incoming(&now, &name, &mut self.reply, &mut sockets);
        let mut told = match offer {
            Ok(offer) => {
                self.pool.links.all.get_mut(&id).expect("it is open").waiting = Some(offer.waiting);
                Ok((offer.client, self.reply.bytes().to_vec()))
            }
            Err(reason) => {
                self.pool.links.close(worker, id);
                Err(reason)
            }
        };
        if let (Err(DropReason::NoPermission), Sabotage::AnnounceAnybody, Some(route)) =
            (&told, self.sabotage, self.other)
        {
            told = Ok((route, super::super::world::Msg::new(0x001C, [0; 12]).0));
        }
        self.oracle.peer_connected(at, worker, (relayed, peer), id, &told, &self.pool);
        self.after(at, worker);
        match told {
            Ok((route, bytes)) => (Some(id), Output::ToClient { route, bytes }),
            Err(_) => (None, Output::Nothing),
        }
    }

    /// Both ends of a connection have closed, or one has vanished.
    pub fn disconnected(&mut self, at: Micros, id: ConnectionId) {
        let Some(link) = self.pool.links.get(id) else { return };
        let (worker, name) = (link.worker, link.name);
        let end = if link.bound { self.carry(at, id) } else { ConnectionEnd::Closed };
        self.pool.links.close(worker, id);
        self.oracle.disconnected(id);
        let now = self.now(at);
        let mut sockets = Relays { pool: &mut self.pool, worker };
        let none = Default::default();
        self.workers[worker].handle_disconnected(&now, &name, end, none, &mut sockets);
        self.after(at, worker);
    }

    /// What a connection has carried until its end, if somebody has to pay for it.
    fn carry(&mut self, at: Micros, id: ConnectionId) -> ConnectionEnd {
        let relayed = self.pool.links.all[&id].relayed;
        let Some(token) = self.pool.open.get(&relayed).map(|relay| relay.token) else {
            return ConnectionEnd::Closed;
        };
        let Some(mut meter) = self.pool.meters.remove(&token) else { return ConnectionEnd::Closed };
        let most = self.dice.pick(&[1, 200, 2000, 18_000]);
        let (now, mut turn) = (self.now(at), Turn::default());
        let leave = meter.ask(&now, &mut turn, most, |budget, bytes| Some(self.pool.draw(budget, bytes)));
        if let Leave::Read(len) = leave {
            meter.settle(&now, &mut turn, len, len);
        }
        self.pool.meters.insert(token, meter);
        self.oracle.carried(at, id, most, leave, &self.pool);
        if leave == Leave::Spent { ConnectionEnd::BudgetSpent } else { ConnectionEnd::Closed }
    }

    fn after(&mut self, at: Micros, worker: usize) {
        self.oracle.sweep(at, &self.pool);
        self.check(worker);
    }
}
