//! RFC 8656 §9, §10, §21: permissions.

use std::net::{IpAddr, SocketAddr};

use super::Probe;
use super::client::{Client, expect, permission};
use super::outcome::{Check, Finding, Outcome, must, need, not_offered, not_testable, should};
use super::pair::Pair;
use super::raw::{CREATE_PERMISSION, Raw};
use crate::wire::attr;

pub(super) const CHECKS: &[Check] = &[
    must(
        "permission-success",
        "8656 §10.2",
        "A permission for another relayed address of the server is given",
        |p| Pair::without_permission(Client::open(p)?).map(|_| ()),
    ),
    must("permission-without-peer", "8656 §10.2", "Without XOR-PEER-ADDRESS: 400", |p| {
        Client::open(p)?.allocate()?.0.wants(Raw::request(CREATE_PERMISSION), 400)
    }),
    must("permission-empty-peer", "8656 §10.2", "An empty XOR-PEER-ADDRESS gets 400", |p| malformed(p, &[])),
    must("permission-short-peer", "8656 §10.2", "One that ends in its port gets 400", |p| {
        malformed(p, &[0, 1, 0x21])
    }),
    must("permission-no-address", "8656 §10.2", "One without an address gets 400", |p| {
        malformed(p, &[0, 1, 0x21, 0x12])
    }),
    must("permission-cut-address", "8656 §10.2", "One whose address is cut gets 400", |p| {
        malformed(p, &[0, 1, 0x21, 0x12, 1, 2, 3])
    }),
    must("permission-long-address", "8656 §10.2", "One with a byte too many gets 400", |p| {
        malformed(p, &[0, 1, 0x21, 0x12, 1, 2, 3, 4, 5])
    }),
    must("permission-family-zero", "8656 §10.2", "One of family 0 is invalid: 400, or 443", |p| {
        odd_family(p, 0)
    }),
    must("permission-family-unknown", "8656 §10.2", "One of family 3 is invalid: 400, or 443", |p| {
        odd_family(p, 3)
    }),
    must("permission-cut-ipv6", "8656 §10.2", "An IPv6 address of 15 bytes gets 400", |p| {
        malformed(p, &[0, 2, 0x21, 0x12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
    }),
    must("permission-several", "8656 §10.2", "Several peers in one request are allowed", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        let again = SocketAddr::new(pair.peer.ip(), 9);
        pair.client.wants(permission(&[pair.peer, again, pair.relayed]), 0)?;
        pair.carries(b"several")
    }),
    must(
        "permission-all-or-nothing-400",
        "8656 §10.2",
        "One malformed peer among good ones: 400, and none is installed",
        |p| {
            let mut pair = Pair::without_permission(Client::open(p)?)?;
            let raw = permission(&[pair.peer]).attr(attr::XOR_PEER_ADDRESS, &[0, 1, 0]);
            pair.client.wants(raw, 400)?;
            pair.client.say(pair.peer, b"unpermitted")?;
            pair.nothing_went_before()
        },
    ),
    must(
        "permission-all-or-nothing-443",
        "8656 §10.2",
        "One peer of another family among good ones: 443, and none is installed",
        |p| {
            let mut pair = Pair::without_permission(Client::open(p)?)?;
            let other = other_family(pair.relayed);
            pair.client.wants(permission(&[pair.peer, other]), 443)?;
            pair.client.say(pair.peer, b"unpermitted")?;
            pair.nothing_went_before()
        },
    ),
    must("permission-other-family", "8656 §10.2", "A peer of another family gets 443", |p| {
        let (mut client, relayed) = Client::open(p)?.allocate()?;
        client.wants(permission(&[other_family(relayed)]), 443)
    }),
    must("permission-other-family-first", "8656 §10.2", "Wherever it stands", |p| {
        let (mut client, relayed) = Client::open(p)?.allocate()?;
        client.wants(permission(&[other_family(relayed), relayed]), 443)
    }),
    must("permission-port-ignored", "8656 §10.2", "The port of a peer is ignored", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        pair.client.permit(SocketAddr::new(pair.peer.ip(), 1))?;
        pair.carries(b"any port")
    }),
    must("permission-port-zero", "8656 §10.2", "Port 0 too", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        pair.client.permit(SocketAddr::new(pair.peer.ip(), 0))?;
        pair.carries(b"any port")
    }),
    must(
        "permission-repeated",
        "8656 §10.2",
        "A CreatePermission that comes again gets a success again",
        |p| {
            let (mut client, relayed) = Client::open(p)?.allocate()?;
            let request = client.signed(permission(&[relayed]));
            expect(&client.ask(&request)?, 0)?;
            expect(&client.ask(&request)?, 0)
        },
    ),
    must("permission-per-allocation", "8656 §9", "A permission holds for its own allocation alone", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        let mut third = Client::open(p)?.allocate()?.0;
        third.permit(pair.peer)?;
        pair.client.say(pair.peer, b"unpermitted")?;
        pair.nothing_went_before()
    }),
    must(
        "permission-without-login",
        "8489 §9.2.4",
        "A CreatePermission without a login gets 401 on a live allocation",
        |p| {
            let (mut client, relayed) = Client::open(p)?.allocate()?;
            expect(
                &client.ask(
                    &super::client::stranger(CREATE_PERMISSION).xor_address(attr::XOR_PEER_ADDRESS, relayed),
                )?,
                401,
            )
        },
    ),
    must("permission-forged", "8656 §21.1.3", "A forged one gets 401 and installs nothing", |p| {
        let mut pair = Pair::without_permission(Client::open(p)?)?;
        let forged = pair.client.seal_with(pair.client.name(permission(&[pair.peer])), b"guess");
        expect(&pair.client.ask(&forged)?, 401)?;
        pair.client.say(pair.peer, b"unpermitted")?;
        pair.nothing_went_before()
    }),
    must("peer-6to4", "8656 §21.4", "6to4 addresses are no peers", |p| tunnelled(p, "2002:808:808::1")),
    must("peer-teredo", "8656 §21.4", "Teredo addresses are no peers", |p| {
        tunnelled(p, "2001:0:808:808::1")
    }),
    should("peer-loopback", "8656 §21", "A peer on the server's own loopback is refused", |p| {
        unsafe_peer(p, "127.0.0.1")
    }),
    should("peer-unspecified", "8656 §21", "0.0.0.0 is no peer", |p| unsafe_peer(p, "0.0.0.0")),
    should("peer-multicast", "8656 §21", "A multicast address is no peer", |p| unsafe_peer(p, "224.0.0.1")),
    should("peer-broadcast", "8656 §21", "The broadcast address is no peer", |p| {
        unsafe_peer(p, "255.255.255.255")
    }),
    should(
        "peer-link-local",
        "8656 §21",
        "169.254.169.254, where clouds keep credentials, is no peer",
        |p| unsafe_peer(p, "169.254.169.254"),
    ),
    should("peer-mapped-loopback", "8656 §21", "::ffff:127.0.0.1 is no peer", |p| {
        unsafe_peer6(p, "::ffff:127.0.0.1")
    }),
    should("peer-loopback-6", "8656 §21", "::1 is no peer", |p| unsafe_peer6(p, "::1")),
    should("peer-unspecified-6", "8656 §21", ":: is no peer", |p| unsafe_peer6(p, "::")),
    should("peer-nat64-loopback", "8656 §21", "64:ff9b::127.0.0.1 is no peer", |p| {
        unsafe_peer6(p, "64:ff9b::127.0.0.1")
    }),
];

fn malformed(p: &Probe, value: &[u8]) -> Outcome {
    Client::open(p)?
        .allocate()?
        .0
        .wants(Raw::request(CREATE_PERMISSION).attr(attr::XOR_PEER_ADDRESS, value), 400)
}

fn odd_family(p: &Probe, number: u8) -> Outcome {
    let raw =
        Raw::request(CREATE_PERMISSION).attr(attr::XOR_PEER_ADDRESS, &[0, number, 0x21, 0x12, 1, 2, 3, 4]);
    let answer = Client::open(p)?.allocate()?.0.call(raw)?;
    super::rfc8489_attributes::one_of(&answer, &[400, 443])
}

/// A public address of the family that `relayed` is not of.
pub(super) fn other_family(relayed: SocketAddr) -> SocketAddr {
    match relayed {
        SocketAddr::V4(_) => SocketAddr::new([0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111].into(), 9),
        SocketAddr::V6(_) => SocketAddr::new([1, 1, 1, 1].into(), 9),
    }
}

/// An allocation of a family.
fn of_family(p: &Probe, number: u8) -> Result<Client<'_>, Finding> {
    let mut client = Client::open(p)?.login()?;
    let raw = super::client::udp_allocation().attr(attr::REQUESTED_ADDRESS_FAMILY, &[number, 0, 0, 0]);
    match client.call(raw)?.code() {
        0 => Ok(client),
        440 => {
            not_offered(if number == 1 { "no IPv4 relayed addresses" } else { "no IPv6 relayed addresses" })
        }
        code => Err(Finding::Fail(format!("{code} to an Allocate"))),
    }
}

fn refused(client: &mut Client<'_>, peer: &str) -> Outcome {
    let Ok(ip) = peer.parse::<IpAddr>() else { return not_testable("no address") };
    let answer = client.call(permission(&[SocketAddr::new(ip, 9)]))?;
    need(answer.is_error(), "a permission was given")
}

fn tunnelled(p: &Probe, peer: &str) -> Outcome {
    refused(&mut of_family(p, 2)?, peer)
}

fn unsafe_peer(p: &Probe, peer: &str) -> Outcome {
    if p.server.ip().is_loopback() && peer == "127.0.0.1" {
        return not_testable("the server itself is on loopback");
    }
    refused(&mut of_family(p, 1)?, peer)
}

fn unsafe_peer6(p: &Probe, peer: &str) -> Outcome {
    if p.server.ip().is_loopback() {
        return not_testable("the server itself is on loopback");
    }
    refused(&mut of_family(p, 2)?, peer)
}
