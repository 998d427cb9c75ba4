//! Which peers may be reached (RFC 8656 §10.2, §11.2, §12.2, §21): the only door, asked on every path.
//!
//! An address is judged in all its disguises: itself, and each IPv4 address that a translator or tunnel would take
//! it for. By default every special-purpose range of both families is closed, and the server's own addresses are
//! open only at ports that are live relayed addresses, so that two clients of one relay reach each other.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::ops::RangeInclusive;

/// An address range, perhaps of some ports only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// The first address of the range, all host bits zero.
    pub network: IpAddr,
    /// How many leading bits count: at most 32 or 128.
    pub prefix: u8,
    /// The ports, or all.
    pub ports: Option<RangeInclusive<u16>>,
}

impl PolicyRule {
    fn covers_address(&self, ip: IpAddr) -> bool {
        match (self.network, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
                u32::from(network) & mask == u32::from(ip) & mask
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128))).unwrap_or(0);
                u128::from(network) & mask == u128::from(ip) & mask
            }
            _ => false,
        }
    }

    fn covers_port(&self, port: Option<u16>) -> bool {
        match (&self.ports, port) {
            (None, _) => true,
            (Some(ports), Some(port)) => ports.contains(&port),
            (Some(_), None) => false,
        }
    }
}

/// What a permitted address still has to pass with each datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Nothing: every port is open.
    Open,
    /// [`PeerPolicy::allows`], since the port decides.
    ByPort,
}

/// The rules of one server.
#[derive(Clone, Debug, Default)]
pub struct PeerPolicy {
    /// Opens what the default closes.
    pub allow: Vec<PolicyRule>,
    /// Closes, before anything else is asked.
    pub deny: Vec<PolicyRule>,
    /// The addresses of this machine that no relayed address has: closed, unless `allow` opens them.
    pub own: Vec<IpAddr>,
    /// The addresses that relayed transport addresses have, as peers see them.
    pub relayed: Vec<IpAddr>,
    /// Where this server itself listens, by UDP or TCP. No rule opens it: a server that relays to itself answers itself,
    /// and its metrics are the operator's.
    pub listeners: Vec<SocketAddr>,
}

impl PeerPolicy {
    /// Whether permissions may be made for an address, and what its datagrams still have to pass. `None`: 403.
    pub(super) fn gate(&self, ip: IpAddr) -> Option<Gate> {
        if self.decides_by_port(ip) {
            // A rule with ports opens some of them, perhaps.
            let may_open =
                |ip| self.is_open(ip, None) || self.allow.iter().any(|rule| rule.covers_address(ip));
            let open = self.judge(ip, None, || true)
                || may_open(ip) && embedded(ip).into_iter().flatten().all(|ip| may_open(ip.into()));
            (open && !self.is_denied(ip, None)).then_some(Gate::ByPort)
        } else {
            self.judge(ip, None, || false).then_some(Gate::Open)
        }
    }

    /// Whether datagrams may pass to or from a peer. `is_live` tells whether the peer is a live relayed transport
    /// address of this server.
    pub(super) fn allows(&self, peer: SocketAddr, is_live: impl FnOnce() -> bool) -> bool {
        self.judge(peer.ip(), Some(peer.port()), is_live)
    }

    /// The same for a connection, which is worth asking the machine whether it has the address of the peer by now: `own`
    /// may be some seconds old.
    pub(super) fn allows_connection(
        &self,
        peer: SocketAddr,
        is_live: impl FnOnce() -> bool,
        is_ours: impl FnOnce(IpAddr) -> bool,
    ) -> bool {
        let ip = peer.ip();
        self.allows(peer, is_live)
            && (self.is_local(ip) || !is_ours(ip) || {
                let own = self.own.iter().copied().chain([ip]).collect();
                Self { own, ..self.clone() }.allows(peer, || false)
            })
    }

    fn judge(&self, ip: IpAddr, port: Option<u16>, is_live: impl FnOnce() -> bool) -> bool {
        if self.is_denied(ip, port) || self.is_listener(ip, port) {
            return false;
        }
        if self.relayed.contains(&ip) && is_live() {
            return true;
        }
        self.is_open(ip, port) && embedded(ip).into_iter().flatten().all(|ip| self.is_open(ip.into(), port))
    }

    fn is_denied(&self, ip: IpAddr, port: Option<u16>) -> bool {
        let hits = |ip| self.deny.iter().any(|rule| rule.covers_address(ip) && rule.covers_port(port));
        hits(ip) || embedded(ip).into_iter().flatten().any(|ip| hits(ip.into()))
    }

    fn is_local(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.own.contains(&ip) || self.relayed.contains(&ip)
    }

    fn is_listener(&self, ip: IpAddr, port: Option<u16>) -> bool {
        self.listeners.iter().any(|listener| {
            port == Some(listener.port())
                && (listener.ip() == ip || listener.ip().is_unspecified() && self.is_local(ip))
        })
    }

    fn is_open(&self, ip: IpAddr, port: Option<u16>) -> bool {
        self.allow.iter().any(|rule| rule.covers_address(ip) && rule.covers_port(port))
            || !(self.own.contains(&ip) || self.relayed.contains(&ip) || is_special(ip))
    }

    fn decides_by_port(&self, ip: IpAddr) -> bool {
        let with_ports = |ip| {
            self.relayed.contains(&ip)
                || !self.listeners.is_empty() && self.is_local(ip)
                || self.listeners.iter().any(|listener| listener.ip() == ip)
                || self
                    .allow
                    .iter()
                    .chain(&self.deny)
                    .any(|rule| rule.ports.is_some() && rule.covers_address(ip))
        };
        with_ports(ip) || embedded(ip).into_iter().flatten().any(|ip| with_ports(ip.into()))
    }
}

/// Special-purpose ranges of IPv4 (RFC 6890 and the IANA registry), multicast and reserved ones included.
const SPECIAL_V4: [(Ipv4Addr, u8); 19] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // A cloud's name server and metadata service, at an address that looks public.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Special-purpose ranges inside 2000::/3; all outside it is closed anyway. Teredo (2001::/32) and 6to4 (2002::/16)
/// must be refused (RFC 8656 §21.4).
const SPECIAL_V6: [(Ipv6Addr, u8); 5] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Teredo and 6to4: a TURN server MUST NOT accept them, neither as a peer nor as a client (RFC 8656 §21.4).
pub(super) const fn is_tunnelled(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => matches!(ip.segments(), [0x2001, 0, ..] | [0x2002, ..]),
    }
}

fn is_special(ip: IpAddr) -> bool {
    let within = |network: IpAddr, prefix| PolicyRule { network, prefix, ports: None }.covers_address(ip);
    match ip {
        IpAddr::V4(_) => SPECIAL_V4.iter().any(|(network, prefix)| within((*network).into(), *prefix)),
        IpAddr::V6(v6) => {
            v6.octets()[0] >> 5 != 1
                || SPECIAL_V6.iter().any(|(network, prefix)| within((*network).into(), *prefix))
        }
    }
}

/// The IPv4 addresses that a translator, a tunnel or a socket would take an IPv6 address for.
fn embedded(ip: IpAddr) -> [Option<Ipv4Addr>; 2] {
    let IpAddr::V6(ip) = ip else { return [None; 2] };
    let bytes = ip.octets();
    let at = |i: usize| Ipv4Addr::new(bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]);
    let first = match ip.segments() {
        // The loopback address has the form of a compatible one, and is none (RFC 4291 §2.5.3).
        [0, 0, 0, 0, 0, 0, 0, 1] => None,
        // Compatible ::a.b.c.d, mapped ::ffff:a.b.c.d, translated ::ffff:0:a.b.c.d.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Some(at(12)),
        // NAT64 with a prefix of 96 bits.
        [0x64, 0xff9b, ..] => Some(at(12)),
        // 6to4.
        [0x2002, ..] => Some(at(2)),
        // Teredo: the client's address stands inverted.
        [0x2001, 0, ..] => Some(Ipv4Addr::from(!u32::from(at(12)))),
        // ISATAP, by its interface identifier.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Some(at(12)),
        _ => None,
    };
    let second = match ip.segments() {
        // Teredo names its server too.
        [0x2001, 0, ..] => Some(at(4)),
        // The local NAT64 prefix is 48 bits long; the address stands around the byte that is zero (RFC 6052 §2.2).
        [0x64, 0xff9b, 1, ..] => Some(Ipv4Addr::new(bytes[6], bytes[7], bytes[9], bytes[10])),
        _ => None,
    };
    [first, second]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str, prefix: u8, ports: Option<RangeInclusive<u16>>) -> PolicyRule {
        PolicyRule { network: text.parse().unwrap(), prefix, ports }
    }

    fn reaches(policy: &PeerPolicy, text: &str) -> bool {
        let peer: SocketAddr = text.parse().unwrap();
        let allowed = policy.allows(peer, || false);
        // The two doors agree: no permission for what could never pass, none missing for what may.
        assert!(!allowed || policy.gate(peer.ip()).is_some(), "{text}");
        allowed
    }

    #[test]
    fn rfc8656_21_special_ranges_are_closed_in_every_disguise() {
        let policy = PeerPolicy::default();
        for inner in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!reaches(&policy, &format!("{inner}:80")), "{inner}");
            let v4: Ipv4Addr = inner.parse().unwrap();
            let hex = format!("{:x}:{:x}", u32::from(v4) >> 16, u32::from(v4) & 0xffff);
            let inverted = format!("{:x}:{:x}", !u32::from(v4) >> 16, !u32::from(v4) & 0xffff);
            for disguise in [
                format!("::{hex}"),
                format!("::ffff:{hex}"),
                format!("::ffff:0:{hex}"),
                format!("64:ff9b::{hex}"),
                format!("64:ff9b:1::{hex}"),
                format!("2002:{hex}::1"),
                format!("2001:0:1:1:0:0:{inverted}"),
                format!("2001:0:{hex}::1"),
                format!("2a01:4f8:1:1:0:5efe:{hex}"),
                format!("2a01:4f8:1:1:200:5efe:{hex}"),
                format!("fe80::5efe:{hex}"),
            ] {
                assert!(!reaches(&policy, &format!("[{disguise}]:80")), "{disguise}");
            }
        }
        for text in [
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00::1",
            "ff02::1",
            "ff0e::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2001:10::1",
            "2001:20::1",
            "2002:808:808::1",
            "2620:4f:8000::1",
            "3fff::1",
            "5f00::1",
            "4000::1",
            "64:ff9b::808:808",
            "::ffff:808:808",
        ] {
            assert!(!reaches(&policy, &format!("[{text}]:80")), "{text}");
        }
        for text in [
            "8.8.8.8:53",
            "100.63.0.1:1",
            "172.32.0.1:1",
            "223.255.255.255:1",
            "[2a01:4f8::1]:1",
            "[2001:4860::1]:1",
        ] {
            assert!(reaches(&policy, text), "{text}");
        }
    }

    #[test]
    fn peers_allow_opens_and_deny_wins() {
        let policy = PeerPolicy {
            allow: vec![
                rule("10.0.0.0", 8, None),
                rule("192.168.1.1", 32, Some(5000..=6000)),
                rule("64:ff9b::", 96, None),
            ],
            deny: vec![rule("10.1.0.0", 16, None), rule("8.8.8.8", 32, Some(53..=53))],
            ..PeerPolicy::default()
        };
        assert!(reaches(&policy, "10.2.0.1:1") && !reaches(&policy, "10.1.0.1:1"));
        assert!(reaches(&policy, "192.168.1.1:5000") && !reaches(&policy, "192.168.1.1:4999"));
        assert!(reaches(&policy, "8.8.8.8:54") && !reaches(&policy, "8.8.8.8:53"));
        assert!(reaches(&policy, "[64:ff9b::801:101]:1"), "an opened translator reaches what is open");
        assert!(!reaches(&policy, "[64:ff9b::7f00:1]:1"), "and nothing else");
        assert!(!reaches(&policy, "[64:ff9b::a01:1]:1"), "nor what is denied");
        assert_eq!(policy.gate("192.168.1.1".parse().unwrap()), Some(Gate::ByPort));
        assert_eq!(policy.gate("10.2.0.1".parse().unwrap()), Some(Gate::Open));
        assert_eq!(policy.gate("10.1.0.1".parse().unwrap()), None);
    }

    #[test]
    fn the_loopback_address_of_ipv6_is_opened_by_its_own_rule() {
        for listeners in [vec![], vec!["[::]:3478".parse().unwrap()]] {
            let policy =
                PeerPolicy { allow: vec![rule("::1", 128, None)], listeners, ..PeerPolicy::default() };
            assert!(reaches(&policy, "[::1]:5000"));
            assert_eq!(reaches(&policy, "[::1]:3478"), policy.listeners.is_empty());
            assert!(!reaches(&policy, "127.0.0.1:5000") && !reaches(&policy, "[::]:5000"));
        }
    }

    #[test]
    fn what_stands_in_an_opened_address_closes_it_at_both_doors() {
        let policy = PeerPolicy {
            allow: vec![rule("64:ff9b::", 96, Some(1..=9)), rule("10.0.0.0", 8, Some(5..=9))],
            ..PeerPolicy::default()
        };
        assert!(reaches(&policy, "[64:ff9b::a00:1]:5") && !reaches(&policy, "[64:ff9b::a00:1]:4"));
        assert!(!reaches(&policy, "[64:ff9b::7f00:1]:5"));
        assert_eq!(
            policy.gate("64:ff9b::7f00:1".parse().unwrap()),
            None,
            "no permission for what never passes"
        );
    }

    #[test]
    fn no_rule_opens_the_servers_own_listener() {
        let policy = PeerPolicy {
            allow: vec![rule("127.0.0.0", 8, None), rule("10.0.0.0", 8, None)],
            own: vec!["10.0.0.5".parse().unwrap()],
            listeners: vec!["0.0.0.0:3478".parse().unwrap()],
            ..PeerPolicy::default()
        };
        assert!(reaches(&policy, "127.0.0.1:3479") && !reaches(&policy, "127.0.0.1:3478"));
        assert!(reaches(&policy, "10.0.0.5:3479") && !reaches(&policy, "10.0.0.5:3478"));
        assert!(reaches(&policy, "10.0.0.6:3478"), "another machine's");
    }

    #[test]
    fn a_listener_at_an_address_that_is_elsewhere_is_closed_at_every_door() {
        // In front of a NAT, where this machine does not know the address for its own.
        let policy = PeerPolicy {
            allow: vec![rule("8.34.2.1", 32, None)],
            listeners: vec!["10.0.0.5:3478".parse().unwrap(), "8.34.2.1:3478".parse().unwrap()],
            ..PeerPolicy::default()
        };
        assert!(reaches(&policy, "8.34.2.1:3479") && !reaches(&policy, "8.34.2.1:3478"));
        assert_eq!(policy.gate("8.34.2.1".parse().unwrap()), Some(Gate::ByPort));
    }

    #[test]
    fn a_connection_asks_for_addresses_that_have_come_since() {
        let connects = |policy: &PeerPolicy, text: &str, ours: bool| {
            policy.allows_connection(text.parse().unwrap(), || false, |_| ours)
        };
        let policy = PeerPolicy { listeners: vec!["0.0.0.0:9090".parse().unwrap()], ..PeerPolicy::default() };
        assert!(connects(&policy, "8.34.3.9:9090", false) && !connects(&policy, "8.34.3.9:9090", true));
        assert!(!connects(&policy, "8.34.3.9:22", true));
        let opened = PeerPolicy { allow: vec![rule("8.34.3.9", 32, None)], ..policy };
        assert!(connects(&opened, "8.34.3.9:22", true) && !connects(&opened, "8.34.3.9:9090", true));
        let known = PeerPolicy { relayed: vec!["8.34.2.1".parse().unwrap()], ..PeerPolicy::default() };
        let live: SocketAddr = "8.34.2.1:50000".parse().unwrap();
        assert!(known.allows_connection(live, || true, |_| true), "another client of this relay");
    }

    #[test]
    fn own_addresses_are_open_only_where_a_relayed_address_lives() {
        let own: IpAddr = "8.34.2.1".parse().unwrap();
        let policy = PeerPolicy {
            relayed: vec![own],
            own: vec!["8.34.2.2".parse().unwrap()],
            ..PeerPolicy::default()
        };
        assert!(!reaches(&policy, "8.34.2.2:50000"), "an own address without relayed ones");
        let peer = SocketAddr::new(own, 50_000);
        assert!(policy.allows(peer, || true) && !policy.allows(peer, || false));
        assert_eq!(policy.gate(own), Some(Gate::ByPort));
        let closed = PeerPolicy { deny: vec![rule("8.34.2.1", 32, None)], ..policy };
        assert!(!closed.allows(peer, || true));
        assert_eq!(closed.gate(own), None);
    }
}
