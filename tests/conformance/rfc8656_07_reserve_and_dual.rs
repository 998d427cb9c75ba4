//! RFC 8656 §7.2, §8.1: reservations, dual allocations, and redirection.

use crate::world::*;
use relais::turn::{Alternates, DropReason, Transport};

fn even(flags: u8) -> A {
    A::Raw(EVEN_PORT, vec![flags])
}

fn token(value: &[u8]) -> A {
    A::Raw(RESERVATION, value.to_vec())
}

fn dual() -> A {
    A::Raw(ADDITIONAL_FAMILY, vec![2, 0, 0, 0])
}

/// Alice with an even port, and the token for the next one.
fn reserved(world: &mut World) -> (Client, Answer, Vec<u8>) {
    let mut alice = Client::alice();
    let answer = alice.ask(world, ALLOCATE, &[udp(), even(0x80)]);
    let token = answer.get(RESERVATION).unwrap().to_vec();
    (alice, answer, token)
}

#[test]
fn rfc8656_7_2_step8_even_port_gets_an_even_port() {
    let mut world = World::new();
    let mut alice = Client::alice();
    for malformed in [vec![], vec![0, 0], vec![0x80, 0, 0, 0]] {
        let answer = alice.ask(&mut world, ALLOCATE, &[udp(), A::Raw(EVEN_PORT, malformed)]);
        assert_eq!(answer.code(), 400);
    }
    let answer = alice.ask(&mut world, ALLOCATE, &[udp(), even(0x7F)]);
    assert_eq!(answer.address(RELAYED).port() % 2, 0);
    assert!(!answer.has(RESERVATION), "the reserved bits are ignored");
}

#[test]
fn rfc8656_7_2_step8_reserved_port_is_given_to_the_token_on_any_tuple() {
    for (address, transport) in [("9.9.9.9:40001", Transport::Udp), ("7.7.7.7:1", Transport::Tls)] {
        let mut world = World::new();
        let (_, answer, held) = reserved(&mut world);
        assert_eq!(answer.kinds(), [RELAYED, LIFETIME, MAPPED, RESERVATION, MI]);
        assert_eq!(held.len(), 8);
        let rtp = answer.address(RELAYED);
        let mut rtcp = Client::bob().at(address).over(transport);
        world.pass_secs(29);
        let answer = rtcp.ask(&mut world, ALLOCATE, &[udp(), token(&held)]);
        assert_eq!(answer.address(RELAYED).port(), rtp.port() + 1);
        assert_eq!(answer.address(RELAYED).ip(), rtp.ip());
        assert!(!answer.has(RESERVATION));
        world.audit();
    }
}

#[test]
fn rfc8656_7_2_step8_retransmission_gets_the_same_token() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let request = alice.signed(ALLOCATE, &[udp(), even(0x80)]);
    let first = alice.send(&mut world, &request);
    let again = alice.send(&mut world, &request);
    assert_eq!(first.get(RESERVATION), again.get(RESERVATION));
    assert_eq!(first.address(RELAYED), again.address(RELAYED));
    assert_eq!(world.sockets.reserved.len(), 1);
}

#[test]
fn rfc8656_7_2_step8_pair_that_cannot_be_had_gets_508() {
    let mut world = World::new();
    world.sockets.exhausted = true;
    assert_eq!(Client::alice().ask(&mut world, ALLOCATE, &[udp(), even(0x80)]).code(), 508);
    world.audit();
}

#[test]
fn rfc8656_7_2_step8_reservation_in_a_dual_allocation_gets_400() {
    let mut world = World::new();
    assert_eq!(Client::alice().ask(&mut world, ALLOCATE, &[udp(), even(0x80), dual()]).code(), 400);
}

#[test]
fn rfc8656_7_2_step5_token_with_other_wishes_gets_400() {
    let mut world = World::new();
    let (_, _, held) = reserved(&mut world);
    let mut bob = Client::bob().at("9.9.9.9:40001");
    for other in [even(0), even(0x80), family(1), family(2), family(9), dual()] {
        let answer = bob.ask(&mut world, ALLOCATE, &[udp(), token(&held), other]);
        assert_eq!(answer.code(), 400);
    }
    for length in [0, 4, 7, 9, 16] {
        assert_eq!(bob.ask(&mut world, ALLOCATE, &[udp(), token(&vec![1; length])]).code(), 400, "{length}");
    }
    assert_eq!(bob.ask(&mut world, ALLOCATE, &[udp(), token(&held)]).code(), 0, "the token still works");
}

#[test]
fn rfc8656_7_2_step5_bad_used_and_late_tokens_get_508() {
    let mut world = World::new();
    let (_, _, held) = reserved(&mut world);
    let mut bob = Client::bob().at("9.9.9.9:40001");
    assert_eq!(bob.ask(&mut world, ALLOCATE, &[udp(), token(&[9; 8])]).code(), 508);
    assert_eq!(bob.ask(&mut world, ALLOCATE, &[udp(), token(&held)]).code(), 0);
    let mut carol = Client::bob().at("9.9.9.9:40002");
    assert_eq!(carol.ask(&mut world, ALLOCATE, &[udp(), token(&held)]).code(), 508, "used");
    let mut world = World::new();
    let (_, _, held) = reserved(&mut world);
    world.pass_secs(30);
    let mut bob = Client::bob().at("9.9.9.9:40001");
    assert_eq!(bob.ask(&mut world, ALLOCATE, &[udp(), token(&held)]).code(), 508, "late");
    world.audit();
}

#[test]
fn rfc8656_7_2_step6_both_family_attributes_get_400() {
    let mut world = World::new();
    for number in [1, 2, 9] {
        assert_eq!(Client::alice().ask(&mut world, ALLOCATE, &[udp(), family(number), dual()]).code(), 400);
    }
}

#[test]
fn rfc8656_7_2_step9_additional_family_gives_both() {
    for (kind, port) in [(ADDITIONAL_FAMILY, 1), (DRAFT_ADDITIONAL_FAMILY, 2)] {
        let mut world = World::new();
        let mut alice = Client::alice().at(&format!("9.9.9.9:{port}"));
        let answer = alice.ask(&mut world, ALLOCATE, &[udp(), A::Raw(kind, vec![2, 0xFF, 0xFF, 0xFF])]);
        assert_eq!(answer.kinds(), [RELAYED, RELAYED, LIFETIME, MAPPED, MI]);
        let relayed = answer.addresses(RELAYED);
        assert!(relayed[0].is_ipv4() && relayed[1].is_ipv6());
        assert_eq!(world.server.allocation_count(), 1);
        assert_eq!(world.sockets.open.len(), 2);
        alice.refresh(&mut world, &[lifetime(0)]);
        assert_eq!((world.server.allocation_count(), world.sockets.open.len()), (0, 0));
    }
}

#[test]
fn rfc8656_7_2_step9_even_port_holds_for_both() {
    let mut world = World::new();
    let answer = Client::alice().ask(&mut world, ALLOCATE, &[udp(), dual(), even(0)]);
    assert!(answer.addresses(RELAYED).iter().all(|address| address.port() % 2 == 0));
}

#[test]
fn rfc8656_7_2_step9_malformed_additional_family_gets_400() {
    let mut world = World::new();
    let mut alice = Client::alice();
    for value in [vec![1, 0, 0, 0], vec![0, 0, 0, 0], vec![3, 0, 0, 0], vec![], vec![2], vec![2; 5]] {
        let answer = alice.ask(&mut world, ALLOCATE, &[udp(), A::Raw(ADDITIONAL_FAMILY, value.clone())]);
        assert_eq!(answer.code(), 400, "{value:?}");
    }
    assert_eq!(world.sockets.opened, 0);
}

#[test]
fn rfc8656_7_2_step9_half_a_dual_allocation_says_why() {
    let half = |prepare: fn(&mut World), without: fn(&mut Choice)| {
        let mut world = World::with(without);
        prepare(&mut world);
        let mut alice = Client::alice();
        alice.challenge(&mut world);
        let request = alice.signed(ALLOCATE, &[udp(), dual()]);
        let answer = alice.send(&mut world, &request);
        assert_eq!(answer.kinds(), [RELAYED, LIFETIME, MAPPED, ADDRESS_ERROR, MI]);
        let again = alice.send(&mut world, &request);
        assert_eq!(again.get(ADDRESS_ERROR), answer.get(ADDRESS_ERROR), "a retransmission is told again");
        assert_eq!(world.server.allocation_count(), 1);
        (answer.address(RELAYED).is_ipv4(), answer.get(ADDRESS_ERROR).unwrap().to_vec())
    };
    let none = |_: &mut World| ();
    assert_eq!(half(none, |choice| choice.ipv6 = false), (true, vec![2, 0, 4, 40]));
    let no_ipv6 = |world: &mut World| world.sockets.no_ports.extend([2]);
    assert_eq!(half(no_ipv6, |_| ()), (true, vec![2, 0, 5, 8]));
    let no_ipv4 = |world: &mut World| world.sockets.no_ports.extend([1]);
    assert_eq!(half(no_ipv4, |_| ()), (false, vec![1, 0, 5, 8]));
    let quota = |world: &mut World| world.sockets.quota = Some(1);
    assert_eq!(half(quota, |_| ()), (true, vec![2, 0, 5, 8]), "only 440 and 508 may stand there");
}

#[test]
fn rfc8656_7_2_step9_neither_family_gets_508_and_leaves_nothing() {
    let mut world = World::new();
    world.sockets.exhausted = true;
    assert_eq!(Client::alice().ask(&mut world, ALLOCATE, &[udp(), dual()]).code(), 508);
    let mut world = World::with(|choice| choice.ipv6 = false);
    world.sockets.exhausted = true;
    assert_eq!(Client::alice().ask(&mut world, ALLOCATE, &[udp(), dual()]).code(), 508);
    world.sockets.exhausted = false;
    world.sockets.quota = Some(0);
    let mut world = World::new();
    world.sockets.quota = Some(0);
    assert_eq!(Client::alice().ask(&mut world, ALLOCATE, &[udp(), dual()]).code(), 486);
    world.audit();
}

/// Alice with a dual allocation, a permission and a channel in each family.
fn dual_talking() -> (World, Client) {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.ask(&mut world, ALLOCATE, &[udp(), dual()]);
    for (number, address) in [(0x4001, peer(1)), (0x4002, peer6(1))] {
        assert_eq!(alice.bind(&mut world, number, address), 0);
    }
    (world, alice)
}

fn reaches(world: &mut World, alice: &mut Client, address: std::net::SocketAddr) -> bool {
    let there = matches!(alice.indicate(world, address, b"there"), Out::ToPeer { relayed, peer, .. }
        if peer == address && relayed.is_ipv4() == address.is_ipv4());
    let id = world.sockets.open.values().next().unwrap().0;
    let back = matches!(world.arrives_at(id, address, b"back"), Out::ToClient { .. });
    assert_eq!(there, back);
    there
}

#[test]
fn rfc8656_5_dual_allocation_relays_both_families() {
    let (mut world, mut alice) = dual_talking();
    assert!(reaches(&mut world, &mut alice, peer(1)) && reaches(&mut world, &mut alice, peer6(1)));
    for number in [0x4001, 0x4002] {
        assert!(matches!(alice.frame(&mut world, number, b"x"), Out::ToPeer { .. }));
    }
    world.pass_secs(601);
    world.timers();
    assert!(world.sockets.open.is_empty(), "both end together");
    world.audit();
}

#[test]
fn rfc8656_8_1_refresh_without_family_is_for_both() {
    let (mut world, mut alice) = dual_talking();
    world.pass_secs(300);
    assert_eq!(alice.refresh(&mut world, &[]).lifetime(), 600);
    world.pass_secs(599);
    world.timers();
    assert_eq!(world.sockets.open.len(), 2);
}

#[test]
fn rfc8656_8_1_refresh_of_one_family_leaves_the_other() {
    let (mut world, mut alice) = dual_talking();
    world.pass_secs(200);
    assert_eq!(alice.refresh(&mut world, &[family(2)]).lifetime(), 600);
    world.pass_secs(399);
    for number in [0x4001, 0x4002] {
        assert!(matches!(alice.frame(&mut world, number, b"x"), Out::Dropped(DropReason::NoPermission)));
    }
    assert_eq!(alice.bind(&mut world, 0x4001, peer(1)), 0);
    assert_eq!(alice.bind(&mut world, 0x4002, peer6(1)), 0);
    world.pass_secs(1);
    // Decided by comparison, before any timer.
    assert!(!reaches(&mut world, &mut alice, peer(1)) && reaches(&mut world, &mut alice, peer6(1)));
    world.timers();
    assert_eq!(world.sockets.open.len(), 1, "the IPv4 half has ended");
    assert!(reaches(&mut world, &mut alice, peer6(1)));
    assert_eq!(world.server.allocation_count(), 1);
    world.pass_secs(200);
    world.timers();
    assert_eq!(world.server.allocation_count(), 0);
    assert!(world.sockets.open.is_empty());
}

#[test]
fn rfc8656_8_1_expired_family_does_not_come_back() {
    let (mut world, mut alice) = dual_talking();
    world.pass_secs(200);
    alice.refresh(&mut world, &[family(2)]);
    world.pass_secs(400);
    alice.challenge(&mut world);
    // No timer has come by yet.
    assert_eq!(alice.refresh(&mut world, &[]).lifetime(), 600);
    assert_eq!(world.sockets.open.len(), 1);
    assert_eq!(alice.refresh(&mut world, &[family(1)]).code(), 443);
    assert_eq!(alice.refresh(&mut world, &[lifetime(0), family(2)]).lifetime(), 0);
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn rfc8656_8_1_deleting_one_family_leaves_the_other_whole() {
    for (gone, kept) in
        [((1, peer(1), 0x4001), (2, peer6(1), 0x4002)), ((2, peer6(1), 0x4002), (1, peer(1), 0x4001))]
    {
        let (mut world, mut alice) = dual_talking();
        assert_eq!(alice.refresh(&mut world, &[lifetime(0), family(gone.0)]).lifetime(), 0);
        assert_eq!(world.sockets.open.len(), 1, "closed when the answer leaves");
        assert!(!reaches(&mut world, &mut alice, gone.1) && reaches(&mut world, &mut alice, kept.1));
        assert!(matches!(alice.frame(&mut world, kept.2, b"x"), Out::ToPeer { .. }));
        assert!(matches!(alice.frame(&mut world, gone.2, b"x"), Out::Dropped(DropReason::NoChannel)));
        assert_eq!(alice.ask(&mut world, CREATE_PERMISSION, &[A::Xor(PEER, gone.1)]).code(), 443);
        assert_eq!(alice.refresh(&mut world, &[lifetime(0), family(kept.0)]).lifetime(), 0);
        assert_eq!(world.server.allocation_count(), 0);
    }
}

#[test]
fn rfc8656_8_2_deleted_family_gets_443() {
    let (mut world, mut alice) = dual_talking();
    alice.refresh(&mut world, &[lifetime(0), family(1)]);
    for seconds in [0, 600] {
        assert_eq!(alice.refresh(&mut world, &[lifetime(seconds), family(1)]).code(), 443);
    }
    assert_eq!(alice.refresh(&mut world, &[family(7)]).code(), 443);
}

// ---- RFC 8489 §10 -----------------------------------------------------------------------------------------------

fn redirecting(only_draining: bool) -> World {
    World::with(|choice| {
        choice.alternates = Alternates {
            servers: vec![addr("8.34.2.9:3478"), addr("[2a01:4f8:34::9]:3478")],
            domain: Some("other.example.org".into()),
            only_draining,
        };
    })
}

#[test]
fn rfc8489_10_redirect_names_the_clients_family_first() {
    for (client, first) in [("9.9.9.9:1", true), ("[2a00:1450::5]:1", false)] {
        let mut world = redirecting(false);
        let answer = Client::alice().at(client).ask(&mut world, ALLOCATE, &[udp()]);
        assert_eq!(answer.kinds(), [ERROR_CODE, ALTERNATE_SERVER, ALTERNATE_SERVER, MI]);
        assert_eq!(answer.code(), 300);
        let servers = answer.plain_addresses(ALTERNATE_SERVER);
        assert_eq!((servers[0].is_ipv4(), servers[1].is_ipv4()), (first, !first));
        assert_eq!((servers[0].port(), world.sockets.opened), (3478, 0));
    }
}

#[test]
fn rfc8489_10_strangers_are_not_redirected() {
    let mut world = redirecting(false);
    let answer = Client::alice().challenge(&mut world);
    assert!(!answer.has(ALTERNATE_SERVER));
    let mut mallory = Client::new("alice", "wrong");
    assert_eq!(mallory.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
}

#[test]
fn rfc8489_10_domain_is_named_over_tls_with_sha256_alone() {
    for (transport, scheme, named) in [
        (Transport::Tls, Scheme::Sha256, true),
        (Transport::Dtls, Scheme::Md5, true),
        (Transport::Tls, Scheme::Old, false),
        (Transport::Udp, Scheme::Sha256, false),
        (Transport::Tcp, Scheme::Sha256, false),
    ] {
        let mut world = redirecting(false);
        let (user, password) = ("alice", "wonder");
        let mut client = Client::new(user, password).over(transport).with(scheme);
        let answer = client.ask(&mut world, ALLOCATE, &[udp()]);
        let domain = named.then_some(&b"other.example.org"[..]);
        assert_eq!(answer.get(ALTERNATE_DOMAIN), domain, "{transport:?} {scheme:?}");
    }
}

#[test]
fn rfc8489_10_without_a_server_of_the_clients_family_nobody_is_redirected() {
    let mut world = World::with(|choice| choice.alternates.servers = vec![addr("8.34.2.9:3478")]);
    assert_eq!(Client::alice().at("[2a00:1450::5]:1").ask(&mut world, ALLOCATE, &[udp()]).code(), 0);
    let answer = Client::alice().ask(&mut world, ALLOCATE, &[udp()]);
    assert_eq!(answer.plain_addresses(ALTERNATE_SERVER), [addr("8.34.2.9:3478")]);
}

#[test]
fn rfc8489_10_redirect_while_draining() {
    let mut world = redirecting(true);
    let mut alice = Client::alice();
    assert_eq!(alice.ask(&mut world, ALLOCATE, &[udp()]).code(), 0);
    world.server.drain();
    let mut bob = Client::bob().at("9.9.9.9:2");
    assert_eq!(bob.ask(&mut world, ALLOCATE, &[udp()]).code(), 300);
    assert_eq!(alice.refresh(&mut world, &[]).lifetime(), 600, "who is here may stay");
}

#[test]
fn rfc8489_10_clients_are_spread_over_the_servers() {
    let servers = [addr("8.34.2.7:1"), addr("8.34.2.8:2"), addr("8.34.2.9:3")];
    let mut world = World::with(|choice| choice.alternates.servers = servers.to_vec());
    let mut seen = std::collections::BTreeSet::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    for last in 0..6 {
        let message = Msg::new(ALLOCATE, [last; 12]).all(&[udp()]);
        let request = alice.sign(alice.identify(message));
        seen.insert(alice.send(&mut world, &request).plain_addresses(ALTERNATE_SERVER)[0]);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), servers);
}
