//! Peers: hosts that clients exchange datagrams with, and some that they would rather not.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Sends back what it gets.
    Echo,
    Silent,
    /// The same as Echo, but from another port of its address.
    OtherPort,
    /// Sends without being asked, messages of STUN and of TURN among it.
    Chatty,
    /// Sends from an address that nobody has permitted.
    Stranger,
    /// Behind a NAT: says hello first and echoes then.
    Hello,
}

pub const MANNERS: [Manner; 6] =
    [Manner::Echo, Manner::Silent, Manner::OtherPort, Manner::Chatty, Manner::Stranger, Manner::Hello];

pub struct Peer {
    pub manner: Manner,
    pub socket: SocketAddr,
    /// What clients have told it.
    pub relayed: BTreeSet<SocketAddr>,
    dice: Dice,
}

/// A datagram with its source and destination.
pub type Sent = (SocketAddr, SocketAddr, Vec<u8>);

impl Peer {
    pub fn new(manner: Manner, socket: SocketAddr, dice: &mut Dice) -> Self {
        Self { manner, socket, relayed: BTreeSet::new(), dice: dice.fork() }
    }

    pub fn hear(&self, from: SocketAddr, bytes: &[u8]) -> Vec<Sent> {
        let [b'D', rest @ ..] = bytes else { return Vec::new() };
        let echo: Vec<u8> = [b'E'].iter().chain(rest).copied().collect();
        match self.manner {
            Manner::Silent | Manner::Stranger => Vec::new(),
            Manner::OtherPort => {
                let other = SocketAddr::new(self.socket.ip(), self.socket.port() + 1);
                vec![(other, from, echo)]
            }
            _ => vec![(self.socket, from, echo)],
        }
    }

    /// What it sends of its own accord.
    pub fn turn(&mut self) -> Vec<Sent> {
        let relayed: Vec<SocketAddr> = self.relayed.iter().copied().collect();
        if relayed.is_empty() {
            return Vec::new();
        }
        // The old ones stay in mind: their ports may be somebody else's by now.
        let there = self.dice.pick(&relayed);
        match self.manner {
            Manner::Hello => vec![(self.socket, there, b"Di hello".to_vec())],
            Manner::Chatty => {
                let len = self.dice.pick(&[0, 1, 4, 20, 100, 1200]);
                let mut bytes = self.dice.bytes(len);
                if let (Some(first), true) = (bytes.first_mut(), self.dice.one_in(2)) {
                    *first = self.dice.pick(&[0, 1, 0x40, 0x4F, b'D']);
                }
                let port = self.socket.port() + u16::from(self.dice.one_in(3));
                vec![(SocketAddr::new(self.socket.ip(), port), there, bytes)]
            }
            Manner::Stranger => {
                let mut socket = self.socket;
                match &mut socket {
                    SocketAddr::V4(v4) => v4.set_ip([8, 8, 250, self.dice.next() as u8].into()),
                    SocketAddr::V6(v6) => {
                        v6.set_ip([0x2a01, 0x4f8, 0, 0, 0, 9, 9, self.dice.next() as u16].into());
                    }
                }
                vec![(socket, there, b"Di let me in".to_vec())]
            }
            _ => Vec::new(),
        }
    }
}
