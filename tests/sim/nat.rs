//! NATs in front of clients and peers (RFC 4787 in the words of RFC 3489): who may send in, and from which port.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::Micros;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anybody may send to a mapping.
    FullCone,
    /// Whoever's address has been sent to.
    AddressRestricted,
    /// Whoever's address and port have been sent to.
    PortRestricted,
    /// The same, and each destination has a mapping of its own.
    Symmetric,
}

pub const KINDS: [Kind; 4] = [Kind::FullCone, Kind::AddressRestricted, Kind::PortRestricted, Kind::Symmetric];

struct Mapping {
    inside: SocketAddr,
    /// For symmetric ones, the only destination.
    only: Option<SocketAddr>,
    port: u16,
    last: Micros,
    contacted: BTreeSet<SocketAddr>,
}

pub struct Nat {
    pub kind: Kind,
    pub public: IpAddr,
    /// Whether it turns around what the inside sends to its own public address.
    pub hairpin: bool,
    /// How long an unused mapping lives.
    pub idle: Micros,
    mappings: Vec<Mapping>,
    next_port: u16,
}

impl Nat {
    pub fn new(kind: Kind, public: IpAddr, hairpin: bool, idle: Micros) -> Self {
        Self { kind, public, hairpin, idle, mappings: Vec::new(), next_port: 20_000 }
    }

    /// Translates the source of a datagram that leaves.
    pub fn outbound(&mut self, now: Micros, inside: SocketAddr, to: SocketAddr) -> SocketAddr {
        let idle = self.idle;
        self.mappings.retain(|mapping| mapping.last + idle > now);
        let only = (self.kind == Kind::Symmetric).then_some(to);
        let known = self.mappings.iter().position(|mapping| mapping.inside == inside && mapping.only == only);
        let at = known.unwrap_or_else(|| {
            self.next_port = if self.next_port > 60_000 { 20_000 } else { self.next_port + 1 };
            let port = self.next_port;
            self.mappings.push(Mapping { inside, only, port, last: now, contacted: BTreeSet::new() });
            self.mappings.len() - 1
        });
        let mapping = &mut self.mappings[at];
        mapping.last = now;
        mapping.contacted.insert(to);
        SocketAddr::new(self.public, mapping.port)
    }

    /// Where a datagram from outside goes, if it is let in.
    pub fn inbound(&self, now: Micros, from: SocketAddr, port: u16) -> Option<SocketAddr> {
        let (kind, idle) = (self.kind, self.idle);
        let mapping =
            self.mappings.iter().find(|mapping| mapping.port == port && mapping.last + idle > now)?;
        let passes = match kind {
            Kind::FullCone => true,
            Kind::AddressRestricted => mapping.contacted.iter().any(|known| known.ip() == from.ip()),
            Kind::PortRestricted | Kind::Symmetric => mapping.contacted.contains(&from),
        };
        passes.then_some(mapping.inside)
    }

    /// Forgets everything, as after a restart: each inside socket gets another port.
    pub fn rebind(&mut self) {
        self.mappings.clear();
        self.next_port = self.next_port.wrapping_add(977).max(20_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nats_let_in_whom_their_kind_lets_in() {
        let inside = at("192.168.0.2:1000");
        for (kind, same_port, same_address, anybody) in [
            (Kind::FullCone, true, true, true),
            (Kind::AddressRestricted, true, true, false),
            (Kind::PortRestricted, true, false, false),
            (Kind::Symmetric, true, false, false),
        ] {
            let mut nat = Nat::new(kind, at("9.9.9.9:0").ip(), true, 1000);
            let outside = nat.outbound(0, inside, at("8.8.8.8:1"));
            let reaches = |from| nat.inbound(1, at(from), outside.port()) == Some(inside);
            let found = (reaches("8.8.8.8:1"), reaches("8.8.8.8:2"), reaches("8.8.4.4:1"));
            assert_eq!(found, (same_port, same_address, anybody), "{kind:?}");
            let other = nat.outbound(1, inside, at("8.8.8.8:2"));
            assert_eq!(other != outside, kind == Kind::Symmetric);
            assert_eq!(nat.inbound(1500, at("8.8.8.8:1"), outside.port()), None, "idle for too long");
            nat.rebind();
            assert_ne!(nat.outbound(2, inside, at("8.8.8.8:1")), outside);
        }
    }
}
