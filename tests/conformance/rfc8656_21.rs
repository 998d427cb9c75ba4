//! RFC 8656 §21: what an attacker must not get.

use crate::world::*;
use relais::turn::{DropReason, PolicyRule};
use std::net::IpAddr;

fn rule(text: &str, prefix: u8, ports: Option<std::ops::RangeInclusive<u16>>) -> PolicyRule {
    PolicyRule { network: text.parse().unwrap(), prefix, ports }
}

/// Asks every door whether a peer can be reached.
fn doors(world: &mut World, client: &mut Client, peer: std::net::SocketAddr) -> (u16, u16, bool) {
    let permission = client.permit(world, &[peer]);
    let channel = client.bind(world, 0x4000, peer);
    (permission, channel, client.reaches(world, peer))
}

#[test]
fn rfc8656_21_special_ipv4_ranges_are_refused_at_every_door() {
    for text in [
        "0.0.0.0:1",
        "127.0.0.1:9478",
        "10.0.0.1:80",
        "172.16.0.1:80",
        "192.168.0.1:80",
        "169.254.169.254:80",
        "100.64.0.1:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
        "198.18.0.1:80",
        "192.0.2.1:80",
        "240.0.0.1:1",
    ] {
        let mut world = World::new();
        let mut alice = Client::alice();
        let relayed = alice.allocate(&mut world);
        assert_eq!(doors(&mut world, &mut alice, addr(text)), (403, 403, false), "{text}");
        assert!(world.arrives(relayed, addr(text), b"x").is_silent());
    }
}

#[test]
fn rfc8656_21_special_ipv6_ranges_are_refused_at_every_door() {
    for text in [
        "[::]:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
        "[::ffff:8.8.8.8]:1",
        "[::127.0.0.1]:1",
        "[fe80::1]:1",
        "[fc00::1]:1",
        "[fd12::1]:1",
        "[ff02::1]:1",
        "[64:ff9b::7f00:1]:1",
        "[64:ff9b::a00:1]:1",
        "[2001:db8::1]:1",
        "[100::1]:1",
        "[fec0::1]:1",
    ] {
        let mut world = World::new();
        let mut alice = Client::alice();
        alice.allocate6(&mut world);
        assert_eq!(doors(&mut world, &mut alice, addr(text)), (403, 403, false), "{text}");
    }
}

#[test]
fn rfc8656_21_4_teredo_and_6to4_peers_must_be_refused() {
    for text in ["[2001::1]:1", "[2001:0:808:808::1]:1", "[2002:808:808::1]:1", "[2002:7f00:1::]:1"] {
        let mut world = World::new();
        let mut alice = Client::alice();
        alice.allocate6(&mut world);
        assert_eq!(doors(&mut world, &mut alice, addr(text)), (403, 403, false), "{text}");
    }
}

#[test]
fn rfc8656_21_2_2_allowed_ranges_open_and_denied_ones_win() {
    let mut world = World::with(|choice| {
        choice.policy.allow = vec![rule("10.0.0.0", 8, None)];
        choice.policy.deny = vec![rule("10.9.0.0", 16, None), rule("8.8.0.0", 16, None)];
    });
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    assert_eq!(doors(&mut world, &mut alice, addr("10.1.2.3:4")), (0, 0, true));
    assert_eq!(alice.permit(&mut world, &[addr("10.9.0.1:1")]), 403);
    assert_eq!(alice.permit(&mut world, &[peer(1)]), 403);
}

#[test]
fn rfc8656_21_2_2_rules_with_ports_decide_each_datagram() {
    let mut world = World::with(|choice| {
        choice.policy.deny = vec![rule("8.8.0.1", 32, Some(53..=53))];
    });
    let mut alice = Client::alice();
    let relayed = alice.allocate(&mut world);
    let (open, closed) = (addr("8.8.0.1:54"), addr("8.8.0.1:53"));
    assert_eq!(alice.permit(&mut world, &[closed]), 0, "the port of a permission is ignored (§10.2)");
    assert_eq!(alice.indicate(&mut world, closed, b"x"), Out::Dropped(DropReason::Forbidden));
    assert_eq!(world.arrives(relayed, closed, b"x"), Out::Dropped(DropReason::Forbidden));
    assert!(alice.reaches(&mut world, open));
    assert_eq!(alice.bind(&mut world, 0x4000, closed), 403);
    assert_eq!(alice.bind(&mut world, 0x4000, open), 0);
}

#[test]
fn rfc8656_21_own_addresses_are_refused_but_for_live_relayed_ones() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let mut bob = Client::bob().at("9.9.9.9:2");
    let first = alice.allocate(&mut world);
    let second = bob.allocate(&mut world);
    // Two clients of one relay reach each other.
    assert_eq!(alice.permit(&mut world, &[second]), 0);
    assert_eq!(bob.permit(&mut world, &[first]), 0);
    assert!(alice.reaches(&mut world, second));
    assert_eq!(data_indication(world.arrives(second, first, b"x")).0, first);
    // Nothing else on our addresses is a peer.
    for port in [22, 3478, 9478, 60_000] {
        let mut own = second;
        own.set_port(port);
        assert_eq!(alice.indicate(&mut world, own, b"x"), Out::Dropped(DropReason::Forbidden), "{port}");
        assert_eq!(alice.bind(&mut world, 0x4000, own), 403, "{port}");
    }
    assert_eq!(
        alice.permit(&mut world, &[addr("8.34.2.2:49152")]),
        403,
        "an own address without relayed ones"
    );
    // And not after the other one has ended.
    assert_eq!(bob.refresh(&mut world, &[lifetime(0)]).code(), 0);
    assert_eq!(alice.indicate(&mut world, second, b"x"), Out::Dropped(DropReason::Forbidden));
}

#[test]
fn rfc8656_21_relayed_addresses_of_other_workers_can_be_reached() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    let elsewhere = addr("8.34.2.1:60000");
    world.sockets.elsewhere.insert(elsewhere);
    assert_eq!(alice.bind(&mut world, 0x4000, elsewhere), 0);
    assert!(matches!(alice.frame(&mut world, 0x4000, b"x"), Out::ToPeer { .. }));
}

#[test]
fn rfc8656_21_new_rules_bind_port_checked_permissions_at_once_and_others_at_their_refresh() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    alice.permit(&mut world, &[peer(1)]);
    let mut choice = Choice::default();
    choice.policy.deny = vec![rule("8.8.0.0", 16, None)];
    world.server.reconfigure(choice.settings());
    assert_eq!(alice.permit(&mut world, &[peer(1)]), 403);
    world.pass_secs(300);
    assert!(!alice.reaches(&mut world, peer(1)));
}

#[test]
fn rfc8656_21_1_7_one_datagram_in_is_at_most_one_out() {
    // By type: a call gives one verdict. What is relayed is never longer than what came in plus its header.
    let (mut world, mut alice, relayed) = talking();
    let Out::ToPeer { data, .. } = alice.indicate(&mut world, peer(1), &[1; 1000]) else { panic!() };
    assert_eq!(data.len(), 1000);
    let Out::ToClient { bytes, .. } = world.arrives(relayed, peer(1), &[1; 1000]) else { panic!() };
    assert_eq!(bytes.len(), 1036);
    let _: IpAddr = relayed.ip();
}

#[test]
fn rfc8656_21_1_3_forged_refresh_and_permission_do_nothing() {
    let (mut world, mut alice, _) = talking();
    let refresh = alice.plain(REFRESH, &[lifetime(0)]);
    assert_eq!(alice.send(&mut world, &refresh).code(), 401);
    let permission = alice.plain(CREATE_PERMISSION, &[to(peer(2))]);
    assert_eq!(alice.send(&mut world, &permission).code(), 401);
    assert!(alice.reaches(&mut world, peer(1)) && !alice.reaches(&mut world, peer(2)));
}
