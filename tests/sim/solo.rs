//! One client at a time against the cluster, with a clock that is moved by hand; the oracle watches.

use std::net::SocketAddr;

use relais::turn::{ClientRoute, ConnectionId, IcmpError, PeerAddress, Transport};

use super::cluster::{Cluster, Output, Sabotage};
use super::config::{Config, LISTEN4};
use super::dice::Dice;
use super::world::*;
use super::{Micros, SECOND};

pub struct Solo {
    pub cluster: Cluster,
    pub now: Micros,
}

impl Solo {
    pub fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.users.insert("alice".into(), "wonder".into());
        change(&mut config);
        Self { cluster: Cluster::new(config, 3, Sabotage::None, &mut Dice(7)), now: SECOND }
    }

    /// Lets time pass without any timer.
    pub fn pass(&mut self, seconds: u64) {
        self.now += seconds * SECOND;
    }

    pub fn timers(&mut self) {
        self.cluster.timers(self.now);
        self.check();
    }

    pub fn check(&self) {
        if let Some(violation) = &self.cluster.oracle.violation {
            panic!("{violation}");
        }
    }

    pub fn say(&mut self, route: ClientRoute, bytes: &[u8]) -> Output {
        let output = self.cluster.hear_client(self.now, route, bytes);
        self.check();
        output
    }

    /// The answer to a request, or nothing.
    pub fn answer(&mut self, route: ClientRoute, bytes: &[u8]) -> Option<Answer> {
        match self.say(route, bytes) {
            Output::ToClient { bytes, .. } | Output::Bound { bytes, .. } => Some(Answer::read(&bytes)),
            Output::Nothing | Output::Connect { .. } => None,
            Output::ToPeer { .. } => panic!("a request goes to no peer"),
        }
    }

    /// A signed request, after one challenge if there has to be one; 438 counts as an answer.
    pub fn ask(&mut self, kit: &mut Client, kind: u16, attributes: &[A]) -> Answer {
        if kit.nonce.is_empty() {
            self.challenge(kit);
        }
        let bytes = kit.signed(kind, attributes).0;
        self.answer(kit.route, &bytes).expect("an answer")
    }

    pub fn challenge(&mut self, kit: &mut Client) {
        let bytes = kit.plain(ALLOCATE, &[udp()]).0;
        let answer = self.answer(kit.route, &bytes).expect("a challenge");
        kit.take(&answer);
    }

    /// The same with a fresh nonce whenever the old one has ended.
    pub fn insist(&mut self, kit: &mut Client, kind: u16, attributes: &[A]) -> Answer {
        let answer = self.ask(kit, kind, attributes);
        if answer.code() != 438 {
            return answer;
        }
        kit.take(&answer);
        self.ask(kit, kind, attributes)
    }

    pub fn allocate(&mut self, kit: &mut Client) -> SocketAddr {
        let answer = self.insist(kit, ALLOCATE, &[udp()]);
        assert_eq!(answer.code(), 0);
        answer.address(RELAYED)
    }

    /// An allocation for TCP (RFC 6062).
    pub fn allocate_tcp(&mut self, kit: &mut Client, v6: bool) -> SocketAddr {
        let answer = self.insist(kit, ALLOCATE, &[tcp(), family(if v6 { 2 } else { 1 })]);
        assert_eq!(answer.code(), 0);
        answer.address(RELAYED)
    }

    /// Connect; nothing is heard before the peer has answered.
    pub fn connects(&mut self, kit: &mut Client, peer: SocketAddr) -> Result<ConnectionId, u16> {
        let bytes = kit.signed(CONNECT, &[to(peer)]).0;
        match self.say(kit.route, &bytes) {
            Output::Connect { id, .. } => Ok(id),
            Output::ToClient { bytes, .. } => Err(Answer::read(&bytes).code()),
            other => panic!("{other:?}"),
        }
    }

    /// ConnectionBind on a stream of its own.
    pub fn binds(&mut self, kit: &Client, from: &str, id: ConnectionId) -> Answer {
        let mut kit = kit.clone().at(from);
        self.challenge(&mut kit);
        self.ask(&mut kit, CONNECTION_BIND, &[connection(id)])
    }

    /// A peer connects: the number of its connection, if it is announced.
    pub fn incoming(&mut self, relayed: SocketAddr, peer: SocketAddr) -> Option<ConnectionId> {
        let (id, _) = self.cluster.peer_connects(self.now, relayed, peer);
        self.check();
        id
    }

    /// Whether the network's word about a peer reaches the client.
    pub fn hears_icmp(&mut self, relayed: SocketAddr, peer: SocketAddr, kind: u8) -> bool {
        let error = IcmpError { peer: PeerAddress(peer), kind, code: 3, info: 0 };
        let output = self.cluster.hear_icmp(self.now, relayed, error);
        self.check();
        matches!(output, Output::ToClient { .. })
    }

    /// Whether a Send indication reaches a peer.
    pub fn reaches(&mut self, kit: &mut Client, peer: SocketAddr) -> bool {
        let bytes = kit.plain(SEND, &[to(peer), data(b"ping")]).0;
        matches!(self.say(kit.route, &bytes), Output::ToPeer { .. })
    }

    /// Whether ChannelData reach anybody.
    pub fn frame_passes(&mut self, kit: &Client, number: u16) -> bool {
        matches!(self.say(kit.route, &channel_data(number, b"ping")), Output::ToPeer { .. })
    }

    /// What the client gets of a peer's datagram.
    pub fn hears(&mut self, relayed: SocketAddr, peer: SocketAddr) -> Option<Vec<u8>> {
        let output = self.cluster.hear_peer(self.now, relayed, peer, b"pong");
        self.check();
        match output {
            Output::ToClient { bytes, .. } => Some(bytes),
            _ => None,
        }
    }
}

pub fn alice(transport: Transport) -> Client {
    let mut kit = Client::alice().over(transport);
    kit.route.tuple.server = addr(LISTEN4);
    kit.route.link = u32::from(transport.is_stream());
    kit
}
