//! RFC 8656 §12: channels.

use crate::world::*;
use relais::turn::{DropReason, Event, Transport};

fn bound() -> (World, Client, std::net::SocketAddr) {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocate(&mut world);
    assert_eq!(alice.bind(&mut world, 0x4000, peer(1)), 0);
    (world, alice, relayed)
}

#[test]
fn rfc8656_12_numbers_from_4000_to_4fff_can_be_bound() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    for (i, number) in [0x4000, 0x4001, 0x4ABC, 0x4FFE, 0x4FFF].into_iter().enumerate() {
        assert_eq!(alice.bind(&mut world, number, peer(i as u16)), 0, "{number:04x}");
        assert!(matches!(alice.frame(&mut world, number, b"x"), Out::ToPeer { .. }));
    }
}

#[test]
fn rfc8656_12_2_other_numbers_get_400() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    for number in [0, 1, 0x3FFF, 0x5000, 0x5FFF, 0x6000, 0x7FFE, 0x7FFF, 0x8000, 0xFFFF] {
        assert_eq!(alice.bind(&mut world, number, peer(1)), 400, "{number:04x}");
    }
    assert!(!alice.reaches(&mut world, peer(1)), "no permission either");
}

#[test]
fn rfc8656_12_2_the_log_learns_what_a_bare_400_does_not_say() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    alice.bind(&mut world, 0x4000, peer(1));
    world.events();
    let mut cause = |method, attributes: &[A]| {
        let code = alice.ask(&mut world, method, attributes).code();
        let mut refused = world.events().into_iter().filter_map(|event| match event {
            Event::RequestRefused { code, cause, .. } => Some((code, cause.map_or("", |cause| cause.name()))),
            _ => None,
        });
        let told = refused.next().unwrap();
        assert_eq!((told.0, refused.next()), (code, None));
        told
    };
    assert_eq!(
        cause(CHANNEL_BIND, &[channel(0x5000), to(peer(1))]),
        (400, "no channel number in 0x4000-0x4FFF")
    );
    assert_eq!(cause(CHANNEL_BIND, &[channel(0x4001)]), (400, "no readable XOR-PEER-ADDRESS"));
    let bound_otherwise = (400, "the channel or the peer is bound otherwise");
    assert_eq!(cause(CHANNEL_BIND, &[channel(0x4001), to(peer(1))]), bound_otherwise);
    assert_eq!(cause(CHANNEL_BIND, &[channel(0x4000), to(peer(2))]), bound_otherwise);
    assert_eq!(cause(CREATE_PERMISSION, &[]), (400, "no readable XOR-PEER-ADDRESS"));
}

#[test]
fn rfc8656_12_2_success_has_no_attributes_but_integrity() {
    let (mut world, mut alice, _) = bound();
    assert_eq!(alice.ask(&mut world, CHANNEL_BIND, &[channel(0x4000), to(peer(1))]).kinds(), [MI]);
}

#[test]
fn rfc8656_12_2_missing_attributes_get_400() {
    let (mut world, mut alice, _) = bound();
    for attributes in [vec![], vec![channel(0x4001)], vec![to(peer(2))]] {
        assert_eq!(alice.ask(&mut world, CHANNEL_BIND, &attributes).code(), 400);
    }
}

#[test]
fn rfc8656_18_1_channel_number_must_be_four_bytes_and_its_tail_is_ignored() {
    let (mut world, mut alice, _) = bound();
    for value in [vec![], vec![0x40], vec![0x40, 1], vec![0x40, 1, 0], vec![0x40, 1, 0, 0, 0]] {
        let attributes = [A::Raw(CHANNEL_NUMBER, value), to(peer(2))];
        assert_eq!(alice.ask(&mut world, CHANNEL_BIND, &attributes).code(), 400);
    }
    let attributes = [A::Raw(CHANNEL_NUMBER, vec![0x40, 1, 0xFF, 0xFF]), to(peer(2))];
    assert_eq!(alice.ask(&mut world, CHANNEL_BIND, &attributes).code(), 0);
}

#[test]
fn rfc8656_12_2_number_bound_to_another_peer_gets_400() {
    let (mut world, mut alice, _) = bound();
    assert_eq!(alice.bind(&mut world, 0x4000, peer(2)), 400);
    let mut other_port = peer(1);
    other_port.set_port(9);
    assert_eq!(alice.bind(&mut world, 0x4000, other_port), 400, "the port counts");
    let Out::ToPeer { peer: there, .. } = alice.frame(&mut world, 0x4000, b"x") else { panic!() };
    assert_eq!(there, peer(1));
    assert!(!alice.reaches(&mut world, peer(2)));
}

#[test]
fn rfc8656_12_2_peer_bound_to_another_number_gets_400() {
    let (mut world, mut alice, _) = bound();
    assert_eq!(alice.bind(&mut world, 0x4001, peer(1)), 400);
    assert!(alice.frame(&mut world, 0x4001, b"x").is_silent());
    let mut other_port = peer(1);
    other_port.set_port(9);
    assert_eq!(alice.bind(&mut world, 0x4001, other_port), 0, "another transport address");
}

#[test]
fn rfc8656_12_2_400_comes_before_443_and_443_before_403() {
    let (mut world, mut alice, _) = bound();
    assert_eq!(alice.bind(&mut world, 0x3FFF, peer6(1)), 400);
    assert_eq!(alice.bind(&mut world, 0x4000, peer6(1)), 400, "the number is taken");
    assert_eq!(alice.bind(&mut world, 0x4000, addr("10.0.0.1:1")), 400, "the number is taken");
    assert_eq!(alice.bind(&mut world, 0x4001, peer6(1)), 443);
    assert_eq!(alice.bind(&mut world, 0x4001, addr("[::1]:1")), 443);
    assert_eq!(alice.bind(&mut world, 0x4001, addr("10.0.0.1:1")), 403);
}

#[test]
fn rfc8656_12_2_bind_installs_a_permission() {
    let (mut world, mut alice, relayed) = bound();
    assert!(alice.reaches(&mut world, peer(1)));
    let mut other_port = peer(1);
    other_port.set_port(9);
    assert!(alice.reaches(&mut world, other_port));
    assert_eq!(data_indication(world.arrives(relayed, other_port, b"x")).0, other_port);
}

#[test]
fn rfc8656_12_refused_bind_installs_and_refreshes_nothing() {
    let (mut world, mut alice, _) = bound();
    world.pass_secs(299);
    assert_eq!(alice.bind(&mut world, 0x4001, peer(1)), 400);
    assert_eq!(alice.bind(&mut world, 0x4000, peer(2)), 400);
    world.pass_secs(1);
    assert!(!alice.reaches(&mut world, peer(1)) && !alice.reaches(&mut world, peer(2)));
}

#[test]
fn rfc8656_12_channel_lives_for_600_seconds() {
    for (passed, lives) in [(599, true), (600, false), (601, false)] {
        let mut world = World::new();
        let mut alice = Client::alice();
        let relayed = alice.ask(&mut world, ALLOCATE, &[udp(), lifetime(3600)]).address(RELAYED);
        alice.bind(&mut world, 0x4000, peer(1));
        world.pass_secs(passed);
        alice.nonce.clear();
        assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
        assert_eq!(alice.frame(&mut world, 0x4000, b"x").is_silent(), !lives, "{passed}");
        let Out::ToClient { bytes, .. } = world.arrives(relayed, peer(1), b"x") else { panic!() };
        assert_eq!(bytes[0] == 0x40, lives, "ChannelData while it lives, a Data indication after");
    }
}

#[test]
fn rfc8656_12_rebinding_refreshes_channel_and_permission() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.ask(&mut world, ALLOCATE, &[udp(), lifetime(3600)]);
    for _ in 0..5 {
        alice.nonce.clear();
        assert_eq!(alice.bind(&mut world, 0x4000, peer(1)), 0);
        world.pass_secs(299);
        world.timers();
        assert!(matches!(alice.frame(&mut world, 0x4000, b"x"), Out::ToPeer { .. }));
    }
    assert_eq!(world.server.counters().channels, 1);
}

#[test]
fn rfc8656_12_expired_number_and_peer_can_be_bound_otherwise_without_any_timer() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.ask(&mut world, ALLOCATE, &[udp(), lifetime(3600)]);
    alice.bind(&mut world, 0x4000, peer(1));
    alice.bind(&mut world, 0x4001, peer(2));
    world.pass_secs(599);
    assert_eq!(alice.bind(&mut world, 0x4000, peer(2)), 400);
    world.pass_secs(1);
    alice.nonce.clear();
    assert_eq!(alice.bind(&mut world, 0x4000, peer(2)), 0, "crosswise");
    assert!(alice.frame(&mut world, 0x4001, b"x").is_silent());
    assert_eq!(alice.bind(&mut world, 0x4001, peer(1)), 0);
    for (number, there) in [(0x4000, peer(2)), (0x4001, peer(1))] {
        let Out::ToPeer { peer, .. } = alice.frame(&mut world, number, b"x") else { panic!() };
        assert_eq!(peer, there);
    }
    assert_eq!(world.server.counters().channels, 2);
    world.audit();
}

#[test]
fn rfc8656_12_channels_end_with_their_allocation() {
    let (mut world, mut alice, _) = bound();
    alice.refresh(&mut world, &[lifetime(0)]);
    alice.allocate(&mut world);
    assert_eq!(alice.frame(&mut world, 0x4000, b"x"), Out::Dropped(DropReason::NoChannel));
}

#[test]
fn rfc8656_12_5_server_must_use_channel_data_when_a_channel_is_bound() {
    let (mut world, alice, relayed) = bound();
    for length in (0..9).chain([1200, 65_000]) {
        let sent = vec![0x5A; length];
        let Out::ToClient { route, bytes } = world.arrives(relayed, peer(1), &sent) else { panic!() };
        assert_eq!((route, bytes), (alice.route, channel_data(0x4000, &sent)), "unpadded over UDP");
    }
}

#[test]
fn rfc8656_12_5_channel_data_over_tcp_is_padded_with_zeroes() {
    let mut world = World::new();
    let mut alice = Client::alice().over(Transport::Tcp);
    let relayed = alice.allocate(&mut world);
    alice.bind(&mut world, 0x4000, peer(1));
    for length in 0..9 {
        let sent = vec![0x5A; length];
        let Out::ToClient { bytes, .. } = world.arrives(relayed, peer(1), &sent) else { panic!() };
        let mut expected = channel_data(0x4000, &sent);
        expected.resize(expected.len().next_multiple_of(4), 0);
        assert_eq!(bytes, expected);
    }
}

#[test]
fn rfc8656_12_6_channel_data_reach_the_bound_peer() {
    let (mut world, alice, relayed) = bound();
    for length in (0..9).chain([1200, 1468, 65_000]) {
        let sent: Vec<u8> = (0..length).map(|i| i as u8).collect();
        let out = alice.frame(&mut world, 0x4000, &sent);
        assert_eq!(out, Out::ToPeer { relayed, peer: peer(1), data: sent });
    }
}

#[test]
fn rfc8656_12_6_zero_length_is_relayed() {
    let (mut world, alice, relayed) = bound();
    let out = alice.frame(&mut world, 0x4000, b"");
    assert_eq!(out, Out::ToPeer { relayed, peer: peer(1), data: vec![] });
}

#[test]
fn rfc8656_12_6_padding_is_not_relayed() {
    let (mut world, alice, _) = bound();
    for padding in 1..=3 {
        let mut frame = channel_data(0x4000, b"12345");
        frame.resize(frame.len() + padding, 0xAA);
        let Out::ToPeer { data, .. } = world.feed(alice.route, &frame) else { panic!() };
        assert_eq!(data, b"12345");
    }
}

#[test]
fn rfc8656_12_6_datagram_shorter_than_its_length_field_is_discarded() {
    let (mut world, alice, _) = bound();
    let whole = channel_data(0x4000, b"12345678");
    for cut in 1..whole.len() {
        assert_eq!(world.feed(alice.route, &whole[..cut]), Out::Dropped(DropReason::BadChannelData), "{cut}");
    }
    let out = world.feed(alice.route, &[0x40, 0, 0xFF, 0xFF, 1]);
    assert_eq!(out, Out::Dropped(DropReason::BadChannelData));
}

#[test]
fn rfc8656_12_6_reserved_numbers_are_discarded() {
    let (mut world, alice, _) = bound();
    for number in [0x5000, 0x5FFF, 0x6000, 0x7FFF, 0x8000, 0xFFFF] {
        assert!(alice.frame(&mut world, number, b"12345678").is_silent(), "{number:04x}");
    }
}

#[test]
fn rfc8656_12_first_bytes_that_belong_to_nobody_are_dropped() {
    let (mut world, alice, _) = bound();
    for first in (4..=63).chain(80..=255u8) {
        let mut bytes = channel_data(0x4000, b"12345678");
        bytes[0] = first;
        assert_eq!(world.feed(alice.route, &bytes), Out::Dropped(DropReason::NotOurs), "{first}");
    }
}

#[test]
fn rfc8656_12_6_unbound_channel_is_discarded() {
    let (mut world, alice, _) = bound();
    assert_eq!(alice.frame(&mut world, 0x4001, b"x"), Out::Dropped(DropReason::NoChannel));
}

#[test]
fn rfc8656_12_6_channel_data_refresh_neither_channel_nor_permission() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.ask(&mut world, ALLOCATE, &[udp(), lifetime(3600)]).address(RELAYED);
    alice.bind(&mut world, 0x4000, peer(1));
    for _ in 0..10 {
        world.pass_secs(29);
        assert!(!alice.frame(&mut world, 0x4000, b"x").is_silent());
    }
    world.pass_secs(10);
    assert!(world.arrives(relayed, peer(1), b"x").is_silent(), "the permission has ended");
    alice.permit(&mut world, &[peer(1)]);
    for _ in 0..9 {
        world.pass_secs(29);
        assert!(!alice.frame(&mut world, 0x4000, b"x").is_silent());
    }
    world.pass_secs(39);
    alice.nonce.clear();
    alice.permit(&mut world, &[peer(1)]);
    assert_eq!(
        alice.frame(&mut world, 0x4000, b"x"),
        Out::Dropped(DropReason::NoChannel),
        "600 s after the bind"
    );
}

#[test]
fn rfc8656_12_permission_must_live_for_channel_data_too() {
    let (mut world, mut alice, _) = bound();
    world.pass_secs(300);
    assert_eq!(alice.frame(&mut world, 0x4000, b"x"), Out::Dropped(DropReason::NoPermission));
    alice.permit(&mut world, &[peer(1)]);
    assert!(matches!(alice.frame(&mut world, 0x4000, b"x"), Out::ToPeer { .. }));
}

#[test]
fn rfc8656_12_1_send_may_be_used_beside_a_channel() {
    let (mut world, mut alice, _) = bound();
    assert!(alice.reaches(&mut world, peer(1)));
}

#[test]
fn rfc8656_12_2_limit_gets_508_and_expired_channels_make_room() {
    let mut world = World::with(|choice| choice.limits.channels = 2);
    let mut alice = Client::alice();
    alice.ask(&mut world, ALLOCATE, &[udp(), lifetime(3600)]);
    assert_eq!(alice.bind(&mut world, 0x4000, peer(1)), 0);
    assert_eq!(alice.bind(&mut world, 0x4001, peer(2)), 0);
    assert_eq!(alice.bind(&mut world, 0x4002, peer(3)), 508);
    assert!(!alice.reaches(&mut world, peer(3)), "no permission by a refused bind");
    assert_eq!(alice.bind(&mut world, 0x4001, peer(2)), 0, "refreshing needs no room");
    world.pass_secs(600);
    alice.nonce.clear();
    assert_eq!(alice.bind(&mut world, 0x4002, peer(3)), 0);
    world.audit();
}

#[test]
fn rfc8656_12_2_bind_without_room_for_its_permission_gets_508() {
    let mut world = World::with(|choice| choice.limits.permissions = 1);
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
    assert_eq!(alice.bind(&mut world, 0x4000, peer(2)), 508);
    assert_eq!(world.server.counters().channels, 0);
    assert_eq!(alice.bind(&mut world, 0x4000, peer(1)), 0, "the permission is there already");
}

#[test]
fn rfc8656_12_ipv6_channels() {
    let mut world = World::new();
    let mut alice = Client::alice().at("[2a00:1450::5]:40000");
    let relayed = alice.allocate6(&mut world);
    assert_eq!(alice.bind(&mut world, 0x4000, peer6(1)), 0);
    let out = alice.frame(&mut world, 0x4000, b"x");
    assert_eq!(out, Out::ToPeer { relayed, peer: peer6(1), data: b"x".to_vec() });
    let Out::ToClient { bytes, .. } = world.arrives(relayed, peer6(1), b"y") else { panic!() };
    assert_eq!(bytes, channel_data(0x4000, b"y"));
}
