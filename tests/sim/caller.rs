//! A client with an allocation for TCP (RFC 6062): it connects to peers, is connected with, and claims connections on
//! streams of their own. It keeps to the RFC, but not to any plan.

use std::net::SocketAddr;

use super::dice::Dice;
use super::reading::{Seen, read};
use super::world::*;

/// What it wants the network to do.
pub enum Deed {
    /// Send this on the stream that it came from, or on the control connection.
    Say(Vec<u8>),
    /// Open a stream for a connection, and send this on it.
    Open(Box<Claim>, Vec<u8>),
    /// Close the control connection and begin again.
    Restart,
    /// Tell peers the relayed address, out of band.
    Tell(SocketAddr),
}

/// A stream for one connection, and what is known on it: nonces belong to 5-tuples.
#[derive(Clone)]
pub struct Claim {
    id: Vec<u8>,
    kit: Client,
    tries: u32,
}

pub struct Caller {
    kit: Client,
    v6: bool,
    peers: Vec<SocketAddr>,
    relayed: Option<SocketAddr>,
    tries: u32,
    dice: Dice,
}

impl Caller {
    pub fn new(mut kit: Client, v6: bool, peers: Vec<SocketAddr>, dice: &mut Dice) -> Self {
        let mut dice = dice.fork();
        kit.scheme = dice.pick(&[Scheme::Old, Scheme::Md5, Scheme::Sha256]);
        kit.fingerprint = dice.one_in(3);
        Self { kit, v6, peers, relayed: None, tries: 0, dice }
    }

    fn ask(&mut self, kind: u16, attributes: &[A]) -> Vec<u8> {
        let kit = self.kit.clone();
        self.ask_as(&kit, kind, attributes)
    }

    fn ask_as(&mut self, kit: &Client, kind: u16, attributes: &[A]) -> Vec<u8> {
        let mut tid = [0; 12];
        tid.copy_from_slice(&self.dice.bytes(12));
        let message = Msg::new(kind, tid).all(attributes);
        if kit.nonce.is_empty() { message.0 } else { kit.sign(kit.identify(message)).0 }
    }

    /// Its control connection is a new one.
    pub fn begin(&mut self) {
        self.relayed = None;
        self.kit.nonce.clear();
    }

    /// What it does next.
    pub fn turn(&mut self) -> Deed {
        if self.relayed.is_none() {
            self.tries += 1;
            if self.tries > 8 {
                self.tries = 0;
                return Deed::Restart;
            }
            let family = family(if self.v6 { 2 } else { 1 });
            return Deed::Say(self.ask(ALLOCATE, &[tcp(), family]));
        }
        let peer = self.dice.pick(&self.peers);
        match self.dice.below(24) {
            0 => Deed::Restart,
            1 => Deed::Say(self.ask(REFRESH, &[lifetime(0)])),
            2 => Deed::Say(self.ask(REFRESH, &[])),
            3 => Deed::Say(self.ask(CHANNEL_BIND, &[channel(0x4000), to(peer)])),
            4 => Deed::Say(Msg::new(SEND, [9; 12]).all(&[to(peer), data(b"Di")]).0),
            5..=10 => {
                let all: Vec<A> = self.peers.iter().copied().map(to).collect();
                Deed::Say(self.ask(CREATE_PERMISSION, &all))
            }
            _ => Deed::Say(self.ask(CONNECT, &[to(peer)])),
        }
    }

    /// Something arrived on the control connection.
    pub fn hear(&mut self, bytes: &[u8]) -> Vec<Deed> {
        let Some(seen) = read(bytes) else { return Vec::new() };
        if (seen.class, seen.method) == (1, 0xC) || (seen.class, seen.method) == (2, 0xA) {
            return self.claim(&seen).into_iter().collect();
        }
        match (seen.class, seen.method, seen.code()) {
            (3, _, 401 | 438) => self.take(&seen),
            (2, 3, _) => {
                self.tries = 0;
                self.relayed = seen.get(RELAYED).and_then(|value| seen.address(value));
                return self.relayed.map(Deed::Tell).into_iter().collect();
            }
            (3, 4, 437 | 441) => self.relayed = None,
            _ => {}
        }
        Vec::new()
    }

    fn take(&mut self, seen: &Seen<'_>) {
        learn(&mut self.kit, seen);
    }

    /// Most connections are claimed, not all of them by their user.
    fn claim(&mut self, seen: &Seen<'_>) -> Option<Deed> {
        let id = seen.get(CONNECTION_ID)?.to_vec();
        if self.dice.one_in(4) {
            return None;
        }
        let mut kit = self.kit.clone();
        if self.dice.one_in(5) {
            // Somebody else has overheard its number.
            kit = Client::new("mallory", "malice");
        }
        kit.nonce.clear();
        let bytes = self.ask_as(&kit, CONNECTION_BIND, &[A::Raw(CONNECTION_ID, id.clone())]);
        Some(Deed::Open(Box::new(Claim { id, kit, tries: 0 }), bytes))
    }

    /// Something arrived on the stream of a claim: a challenge, as a rule.
    pub fn hear_claim(&mut self, claim: &mut Claim, bytes: &[u8]) -> Option<Vec<u8>> {
        let seen = read(bytes).filter(|seen| seen.class == 3)?;
        claim.tries += 1;
        if claim.tries > 3 || ![401, 438].contains(&seen.code()) {
            return None;
        }
        learn(&mut claim.kit, &seen);
        let kit = claim.kit.clone();
        Some(self.ask_as(&kit, CONNECTION_BIND, &[A::Raw(CONNECTION_ID, claim.id.clone())]))
    }
}

fn learn(kit: &mut Client, seen: &Seen<'_>) {
    if let (Some(realm), Some(nonce)) = (seen.get(REALM), seen.get(NONCE)) {
        kit.realm = String::from_utf8_lossy(realm).into_owned();
        kit.nonce = nonce.to_vec();
    }
}
