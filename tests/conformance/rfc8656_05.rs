//! RFC 8656 §5: rules for all messages.

use crate::world::*;
use relais::turn::{DropReason, Transport};

const OTHERS: [u16; 3] = [REFRESH, CREATE_PERMISSION, CHANNEL_BIND];

#[test]
fn rfc8656_5_requests_without_allocation_get_437() {
    let mut world = World::new();
    for kind in OTHERS {
        assert_eq!(Client::alice().ask(&mut world, kind, &[]).code(), 437);
    }
}

#[test]
fn rfc8656_5_437_comes_before_400_403_443() {
    let mut world = World::new();
    let mut alice = Client::alice();
    for attributes in [
        vec![A::Raw(LIFETIME, vec![1])],
        vec![channel(1), to(peer(1))],
        vec![channel(0x4000), to(addr("127.0.0.1:1"))],
        vec![to(peer6(1))],
        vec![A::Raw(PEER, vec![])],
    ] {
        for kind in OTHERS {
            assert_eq!(alice.ask(&mut world, kind, &attributes).code(), 437);
        }
    }
}

#[test]
fn rfc8656_5_indications_without_allocation_meet_silence() {
    let mut world = World::new();
    let out = Client::alice().indicate(&mut world, peer(1), b"x");
    assert_eq!(out, Out::Dropped(DropReason::NoAllocation));
}

#[test]
fn rfc8656_5_channel_data_without_allocation_meets_silence() {
    let out = Client::alice().frame(&mut World::new(), 0x4000, b"x");
    assert_eq!(out, Out::Dropped(DropReason::NoAllocation));
}

#[test]
fn rfc8656_5_another_user_on_the_5_tuple_gets_441() {
    let (mut world, mut alice, _) = talking();
    for scheme in [Scheme::Old, Scheme::Md5, Scheme::Sha256] {
        let mut bob = Client::bob().with(scheme);
        assert_eq!(bob.ask(&mut world, REFRESH, &[lifetime(0)]).code(), 441);
        assert_eq!(bob.permit(&mut world, &[peer(2)]), 441);
        assert_eq!(bob.bind(&mut world, 0x4000, peer(2)), 441);
    }
    assert!(alice.reaches(&mut world, peer(1)) && !alice.reaches(&mut world, peer(2)));
}

#[test]
fn rfc8656_5_441_comes_before_400_403_443() {
    let (mut world, _, _) = talking();
    let mut bob = Client::bob();
    for kind in OTHERS {
        for attributes in [vec![], vec![channel(1), to(addr("10.0.0.1:1"))], vec![family(2), to(peer6(1))]] {
            assert_eq!(bob.ask(&mut world, kind, &attributes).code(), 441);
        }
    }
}

#[test]
fn rfc8656_5_unknown_attributes_come_before_441() {
    let (mut world, _, _) = talking();
    assert_eq!(Client::bob().ask(&mut world, REFRESH, &[A::Raw(0x7777, vec![])]).code(), 420);
}

#[test]
fn rfc8656_5_the_same_user_may_change_its_algorithm() {
    let (mut world, mut alice, _) = talking();
    for scheme in [Scheme::Sha256, Scheme::Md5, Scheme::Old] {
        alice.scheme = scheme;
        assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
    }
}

#[test]
fn rfc8656_5_each_part_of_the_5_tuple_makes_another_allocation() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    let mut server_port = Client::alice();
    server_port.route.tuple.server = addr("8.34.2.1:443");
    let mut server_address = Client::alice();
    server_address.route.tuple.server = addr("8.34.2.3:3478");
    for mut other in [
        Client::alice().at("9.9.9.9:40001"),
        Client::alice().at("9.9.9.10:40000"),
        Client::alice().over(Transport::Tcp),
        server_port,
        server_address,
    ] {
        assert_eq!(other.ask(&mut world, REFRESH, &[]).code(), 437);
        other.allocate(&mut world);
    }
    assert_eq!(world.server.allocation_count(), 6);
    world.audit();
}

#[test]
fn rfc8656_6_permissions_and_channels_of_allocations_are_unrelated() {
    let (mut world, mut alice, relayed) = talking();
    alice.bind(&mut world, 0x4000, peer(1));
    let mut second = Client::alice().at("9.9.9.9:40001");
    let other = second.allocate(&mut world);
    assert!(!second.reaches(&mut world, peer(1)));
    assert!(second.frame(&mut world, 0x4000, b"x").is_silent());
    assert!(world.arrives(other, peer(1), b"x").is_silent());
    assert_eq!(second.bind(&mut world, 0x4000, peer(2)), 0, "the same number, another peer");
    assert!(matches!(world.arrives(relayed, peer(1), b"x"), Out::ToClient { .. }));
    assert!(world.arrives(relayed, peer(2), b"x").is_silent());
}

#[test]
fn rfc8656_5_closed_stream_ends_its_allocation() {
    let mut world = World::new();
    let mut alice = Client::alice().over(Transport::Tcp);
    let relayed = alice.allocate(&mut world);
    let id = world.sockets.open.values().next().unwrap().0;
    world.server.handle_closed(&world.now, &alice.route, &mut world.sockets);
    assert!(world.sockets.open.is_empty(), "{relayed} is closed");
    assert!(world.arrives_at(id, peer(1), b"late").is_silent());
    world.audit();
}

#[test]
fn rfc8656_5_end_of_all_closes_all() {
    let mut world = World::new();
    for port in 1..=100 {
        Client::alice().at(&format!("9.9.9.9:{port}")).allocate(&mut world);
    }
    world.server.end_all(&world.now, &mut world.sockets);
    assert_eq!((world.server.allocation_count(), world.sockets.open.len()), (0, 0));
    world.audit();
}
