//! RFC 8656 §9 and §10: permissions.

use crate::world::*;
use relais::turn::DropReason;

#[test]
fn rfc8656_9_permission_lives_for_300_seconds() {
    for (passed, lives) in [(0, true), (299, true), (300, false), (301, false)] {
        let (mut world, mut alice, relayed) = talking();
        world.pass_secs(passed);
        assert_eq!(alice.reaches(&mut world, peer(1)), lives, "{passed}");
        assert_eq!(!world.arrives(relayed, peer(1), b"x").is_silent(), lives, "{passed}");
    }
}

#[test]
fn rfc8656_9_permission_is_refreshed_to_300_seconds() {
    let (mut world, mut alice, _) = talking();
    world.pass_secs(299);
    alice.permit(&mut world, &[peer(1)]);
    world.timers();
    world.pass_secs(299);
    world.timers();
    assert!(alice.reaches(&mut world, peer(1)));
    world.pass_secs(1);
    assert!(!alice.reaches(&mut world, peer(1)));
}

#[test]
fn rfc8656_9_ports_do_not_count() {
    let (mut world, mut alice, relayed) = talking();
    for port in [1, 80, 5001, 65535] {
        let mut other = peer(1);
        other.set_port(port);
        assert!(alice.reaches(&mut world, other));
        assert_eq!(data_indication(world.arrives(relayed, other, b"x")).0, other);
    }
}

#[test]
fn rfc8656_9_other_addresses_are_dropped() {
    let (mut world, mut alice, relayed) = talking();
    assert_eq!(world.arrives(relayed, peer(2), b"x"), Out::Dropped(DropReason::NoPermission));
    assert_eq!(alice.indicate(&mut world, peer(2), b"x"), Out::Dropped(DropReason::NoPermission));
    assert!(world.arrives(relayed, peer6(1), b"x").is_silent());
}

#[test]
fn rfc8656_9_channel_bind_and_create_permission_refresh_the_same_permission() {
    let (mut world, mut alice, _) = talking();
    world.pass_secs(200);
    assert_eq!(alice.bind(&mut world, 0x4000, peer(1)), 0);
    assert_eq!(world.server.counters().permissions, 1);
    world.pass_secs(299);
    assert!(alice.reaches(&mut world, peer(1)));
    alice.permit(&mut world, &[peer(1)]);
    alice.refresh(&mut world, &[]);
    world.pass_secs(299);
    assert!(alice.reaches(&mut world, peer(1)));
}

#[test]
fn rfc8656_10_2_success_has_no_attributes_but_integrity() {
    let (mut world, mut alice, _) = talking();
    assert_eq!(alice.ask(&mut world, CREATE_PERMISSION, &[to(peer(1))]).kinds(), [MI]);
}

#[test]
fn rfc8656_10_2_without_peer_address_400() {
    let (mut world, mut alice, _) = talking();
    assert_eq!(alice.permit(&mut world, &[]), 400);
}

#[test]
fn rfc8656_10_2_several_peers_at_once() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    let peers: Vec<_> = (1..=100).map(peer).collect();
    assert_eq!(alice.permit(&mut world, &peers), 0);
    assert!(peers.iter().all(|peer| alice.reaches(&mut world, *peer)));
    assert_eq!(world.server.counters().permissions, 100);
}

#[test]
fn rfc8656_10_2_one_malformed_peer_installs_none() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    for bad in [vec![], vec![0, 1, 2, 3], vec![0, 3, 0, 0, 1, 2, 3, 4]] {
        for attributes in [[to(peer(1)), A::Raw(PEER, bad.clone())], [A::Raw(PEER, bad.clone()), to(peer(1))]]
        {
            assert_eq!(alice.ask(&mut world, CREATE_PERMISSION, &attributes).code(), 400);
        }
    }
    assert!(!alice.reaches(&mut world, peer(1)));
    assert_eq!(world.server.counters().permissions, 0);
}

#[test]
fn rfc8656_10_2_one_forbidden_peer_installs_none() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    assert_eq!(alice.permit(&mut world, &[peer(1), addr("10.0.0.1:1"), peer(2)]), 403);
    assert!(!alice.reaches(&mut world, peer(1)) && !alice.reaches(&mut world, peer(2)));
}

#[test]
fn rfc8656_10_2_one_peer_of_another_family_installs_none() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    assert_eq!(alice.permit(&mut world, &[peer(1), peer6(1)]), 443);
    assert!(!alice.reaches(&mut world, peer(1)));
    let mut six = Client::alice().at("9.9.9.9:6");
    six.allocate6(&mut world);
    assert_eq!(six.permit(&mut world, &[peer6(1), peer(1)]), 443);
    assert_eq!(six.permit(&mut world, &[peer6(1)]), 0);
    assert!(six.reaches(&mut world, peer6(1)));
}

#[test]
fn rfc8656_10_2_malformed_comes_before_family_and_policy() {
    let (mut world, mut alice, _) = talking();
    let attributes = [to(addr("10.0.0.1:1")), to(peer6(1)), A::Raw(PEER, vec![0; 3])];
    assert_eq!(alice.ask(&mut world, CREATE_PERMISSION, &attributes).code(), 400);
}

#[test]
fn rfc8656_10_2_another_family_must_get_443_wherever_it_stands() {
    let (mut world, mut alice, _) = talking();
    let forbidden = addr("10.0.0.1:1");
    assert_eq!(alice.permit(&mut world, &[peer6(1), forbidden]), 443);
    assert_eq!(alice.permit(&mut world, &[forbidden, peer6(1)]), 443);
    assert_eq!(alice.permit(&mut world, &[addr("[::1]:1")]), 443);
}

#[test]
fn rfc8656_10_2_refused_request_refreshes_nothing() {
    let (mut world, mut alice, _) = talking();
    world.pass_secs(299);
    assert_eq!(alice.permit(&mut world, &[peer(1), addr("127.0.0.1:1")]), 403);
    world.pass_secs(1);
    assert!(!alice.reaches(&mut world, peer(1)));
}

#[test]
fn rfc8656_10_2_limit_gets_508_and_installs_none() {
    let mut world = World::with(|choice| choice.limits.permissions = 4);
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    let peers: Vec<_> = (1..=5).map(peer).collect();
    assert_eq!(alice.permit(&mut world, &peers), 508);
    assert_eq!(world.server.counters().permissions, 0);
    assert_eq!(alice.permit(&mut world, &peers[..4]), 0);
    assert_eq!(alice.permit(&mut world, &peers[4..]), 508);
    assert_eq!(alice.permit(&mut world, &peers[..4]), 0, "refreshing needs no room");
    assert_eq!(alice.permit(&mut world, &peers[3..]), 508);
    world.audit();
}

#[test]
fn rfc8656_10_2_the_same_peer_twice_needs_room_once() {
    let mut world = World::with(|choice| choice.limits.permissions = 2);
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
    let mut other_port = peer(2);
    other_port.set_port(9);
    assert_eq!(alice.permit(&mut world, &[peer(2), other_port, peer(2), peer(1)]), 0);
    assert_eq!(world.server.counters().permissions, 2);
    world.audit();
}

#[test]
fn rfc8656_10_2_expired_permissions_make_room_without_any_timer() {
    let mut world = World::with(|choice| choice.limits.permissions = 4);
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    let peers: Vec<_> = (1..=8).map(peer).collect();
    assert_eq!(alice.permit(&mut world, &peers[..4]), 0);
    world.pass_secs(299);
    assert_eq!(alice.permit(&mut world, &peers[4..]), 508);
    world.pass_secs(1);
    assert_eq!(alice.permit(&mut world, &peers[4..]), 0);
    world.audit();
}
