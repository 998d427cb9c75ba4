//! RFC 8656 §11: Send and Data.

use crate::world::*;
use relais::turn::{DropReason, Transport};

#[test]
fn rfc8656_11_2_send_goes_from_the_relayed_address_to_the_peer() {
    let (mut world, mut alice, relayed) = talking();
    let out = alice.indicate(&mut world, peer(1), b"hello");
    assert_eq!(out, Out::ToPeer { relayed, peer: peer(1), data: b"hello".to_vec() });
}

#[test]
fn rfc8656_11_2_data_of_every_length_are_relayed_without_padding() {
    let (mut world, mut alice, _) = talking();
    for length in (0..20).chain([500, 1199, 1200, 1472, 9000, 65_000]) {
        let sent: Vec<u8> = (0..length).map(|i| i as u8).collect();
        let Out::ToPeer { data, .. } = alice.indicate(&mut world, peer(1), &sent) else { panic!("{length}") };
        assert_eq!(data, sent);
    }
}

#[test]
fn rfc8656_11_2_zero_bytes_of_data_are_allowed() {
    let (mut world, mut alice, relayed) = talking();
    let out = alice.indicate(&mut world, peer(1), b"");
    assert_eq!(out, Out::ToPeer { relayed, peer: peer(1), data: vec![] });
}

#[test]
fn rfc8656_11_2_missing_or_malformed_attributes_are_discarded() {
    let (mut world, mut alice, _) = talking();
    for attributes in [
        vec![],
        vec![to(peer(1))],
        vec![data(b"x")],
        vec![A::Raw(PEER, vec![]), data(b"x")],
        vec![A::Raw(PEER, vec![0, 1, 2, 3, 4, 5, 6]), data(b"x")],
        vec![A::Raw(PEER, vec![0, 9, 2, 3, 4, 5, 6, 7]), data(b"x")],
    ] {
        let message = alice.plain(SEND, &attributes);
        assert_eq!(world.feed(alice.route, &message.0), Out::Dropped(DropReason::Malformed));
    }
}

#[test]
fn rfc8656_11_2_order_of_attributes_is_free_and_the_first_of_each_counts() {
    let (mut world, mut alice, relayed) = talking();
    alice.permit(&mut world, &[peer(2)]);
    let message = alice.plain(SEND, &[data(b"one"), to(peer(1)), to(peer(2)), data(b"two")]);
    let out = world.feed(alice.route, &message.0);
    assert_eq!(out, Out::ToPeer { relayed, peer: peer(1), data: b"one".to_vec() });
}

#[test]
fn rfc8656_11_2_send_never_refreshes_a_permission() {
    let (mut world, mut alice, relayed) = talking();
    for _ in 0..10 {
        world.pass_secs(29);
        assert!(alice.reaches(&mut world, peer(1)));
        assert!(!world.arrives(relayed, peer(1), b"x").is_silent());
    }
    world.pass_secs(10);
    assert!(!alice.reaches(&mut world, peer(1)));
}

#[test]
fn rfc8656_11_2_send_never_makes_a_permission() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocate(&mut world);
    assert!(!alice.reaches(&mut world, peer(1)));
    assert!(world.arrives(relayed, peer(1), b"x").is_silent());
    assert_eq!(world.server.counters().permissions, 0);
}

#[test]
fn rfc8656_11_2_dont_fragment_that_cannot_be_done_discards_the_indication() {
    let (mut world, mut alice, _) = talking();
    let message = alice.plain(SEND, &[to(peer(1)), A::Raw(DONT_FRAGMENT, vec![]), data(b"x")]);
    assert_eq!(world.feed(alice.route, &message.0), Out::Dropped(DropReason::UnknownAttribute));
}

#[test]
fn rfc8656_11_2_send_request_meets_silence() {
    let (mut world, mut alice, _) = talking();
    let message = alice.plain(0x0006, &[to(peer(1)), data(b"x")]);
    assert!(world.feed(alice.route, &message.0).is_silent());
}

#[test]
fn rfc8656_11_2_fingerprint_is_checked() {
    let (mut world, mut alice, _) = talking();
    let message = alice.plain(SEND, &[to(peer(1)), data(b"x")]).fingerprint();
    assert!(matches!(world.feed(alice.route, &message.0), Out::ToPeer { .. }));
    let mut bytes = message.0;
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(world.feed(alice.route, &bytes), Out::Dropped(DropReason::Fingerprint));
}

#[test]
fn rfc8656_11_2_nothing_is_ever_answered_to_an_indication() {
    let mut world = World::new();
    let mut alice = Client::alice();
    for attributes in [vec![], vec![A::Raw(0x7777, vec![])], vec![to(peer(1)), data(b"x")]] {
        let message = alice.plain(SEND, &attributes);
        assert!(world.feed(alice.route, &message.0).is_silent());
    }
}

#[test]
fn rfc8656_11_2_peer_of_another_family_is_discarded() {
    let (mut world, mut alice, _) = talking();
    assert!(alice.indicate(&mut world, peer6(1), b"x").is_silent());
}

#[test]
fn rfc8656_11_3_datagram_becomes_a_data_indication() {
    let (mut world, alice, relayed) = talking();
    let out = world.arrives(relayed, peer(1), b"hello");
    let Out::ToClient { route, .. } = &out else { panic!() };
    assert_eq!(*route, alice.route, "on the 5-tuple of the allocation");
    assert_eq!(data_indication(out), (peer(1), b"hello".to_vec()));
}

#[test]
fn rfc8656_11_3_data_of_every_length_with_padding_of_zeroes() {
    for transport in Transport::ALL {
        let mut world = World::new();
        let mut alice = Client::alice().over(transport);
        let relayed = alice.allocate(&mut world);
        alice.permit(&mut world, &[peer(1)]);
        for length in (0..20).chain([1200, 1472, 65_000]) {
            let sent: Vec<u8> = (0..length).map(|i| !(i as u8)).collect();
            // `Answer::read` insists on zeroes.
            assert_eq!(data_indication(world.arrives(relayed, peer(1), &sent)).1, sent);
        }
    }
}

#[test]
fn rfc8656_11_3_ipv6_peers_in_data_indications() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocate6(&mut world);
    alice.permit(&mut world, &[peer6(1)]);
    for length in 0..9 {
        let sent = vec![0xAB; length];
        assert_eq!(data_indication(world.arrives(relayed, peer6(1), &sent)), (peer6(1), sent));
    }
}

#[test]
fn rfc8656_11_3_datagram_too_long_for_an_indication_is_dropped_whole() {
    let (mut world, _, relayed) = talking();
    let longest = 65_507 - 20 - 12 - 4;
    assert_eq!(data_indication(world.arrives(relayed, peer(1), &vec![1; longest - 3])).1.len(), longest - 3);
    assert_eq!(world.arrives(relayed, peer(1), &vec![1; longest + 1]), Out::Dropped(DropReason::TooLong));
    assert_eq!(world.arrives(relayed, peer(1), &vec![1; 65_507]), Out::Dropped(DropReason::TooLong));
}

#[test]
fn rfc8656_11_3_nothing_is_read_into_what_peers_send() {
    let (mut world, mut alice, relayed) = talking();
    // A whole request and ChannelData from a peer are data like any other.
    let request = alice.signed(REFRESH, &[lifetime(0)]).0;
    assert_eq!(data_indication(world.arrives(relayed, peer(1), &request)).1, request);
    let frame = channel_data(0x4000, b"x");
    assert_eq!(data_indication(world.arrives(relayed, peer(1), &frame)).1, frame);
    assert!(alice.reaches(&mut world, peer(1)));
}

#[test]
fn rfc8656_11_3_traffic_is_counted_by_its_payload() {
    let (mut world, mut alice, relayed) = talking();
    alice.indicate(&mut world, peer(1), b"12345");
    world.arrives(relayed, peer(1), b"123");
    let counters = world.server.counters().by_transport[0];
    assert_eq!((counters.to_peers.packets, counters.to_peers.bytes), (1, 5));
    assert_eq!((counters.to_clients.packets, counters.to_clients.bytes), (1, 3));
}
