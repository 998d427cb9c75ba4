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
fn rfc8656_11_2_dont_fragment_is_understood() {
    let (mut world, mut alice, relayed) = talking();
    let message = alice.plain(SEND, &[to(peer(1)), dont_fragment(), data(b"x")]);
    let (out, marks) = world.feed_marked(alice.route, &message.0, 0);
    assert_eq!(out, Out::ToPeer { relayed, peer: peer(1), data: b"x".to_vec() });
    assert!(marks.dont_fragment);
}

#[test]
fn rfc8656_11_2_unknown_required_attributes_discard_the_indication() {
    let (mut world, mut alice, _) = talking();
    for attributes in [
        vec![A::Raw(0x7777, vec![]), to(peer(1)), data(b"x")],
        vec![to(peer(1)), data(b"x"), A::Raw(0x7777, vec![1])],
    ] {
        let message = alice.plain(SEND, &attributes);
        assert_eq!(world.feed(alice.route, &message.0), Out::Dropped(DropReason::UnknownAttribute));
    }
    let optional = alice.plain(SEND, &[A::Raw(0xFFFF, vec![1]), to(peer(1)), data(b"x")]);
    assert!(matches!(world.feed(alice.route, &optional.0), Out::ToPeer { .. }));
}

#[test]
fn rfc8656_11_2_nothing_behind_an_integrity_is_read() {
    let (mut world, mut alice, relayed) = talking();
    alice.permit(&mut world, &[peer(2)]);
    for kind in [MI, MI256] {
        let value = if kind == MI { vec![0; 20] } else { vec![0; 32] };
        let hidden = [A::Raw(kind, value.clone()), to(peer(1)), data(b"x")];
        let message = alice.plain(SEND, &hidden);
        assert_eq!(world.feed(alice.route, &message.0), Out::Dropped(DropReason::Malformed));
        let message = alice.plain(
            SEND,
            &[
                to(peer(1)),
                data(b"x"),
                A::Raw(kind, value),
                dont_fragment(),
                A::Raw(0x7777, vec![]),
                to(peer(2)),
            ],
        );
        let (out, marks) = world.feed_marked(alice.route, &message.0, 0);
        assert_eq!(out, Out::ToPeer { relayed, peer: peer(1), data: b"x".to_vec() });
        assert!(!marks.dont_fragment);
    }
}

#[test]
fn rfc8656_18_9_value_of_dont_fragment_is_ignored() {
    let (mut world, mut alice, _) = talking();
    let message = alice.plain(SEND, &[A::Raw(DONT_FRAGMENT, vec![1, 2, 3]), to(peer(1)), data(b"x")]);
    assert!(world.feed_marked(alice.route, &message.0, 0).1.dont_fragment);
}

/// The usual forms have a reader of their own. An attribute that means nothing sends them to the one for all messages:
/// both have to say the same of every order and number of attributes.
#[test]
fn rfc8656_11_2_all_forms_of_one_indication_are_read_alike() {
    let (mut world, mut alice, _) = talking();
    alice.permit(&mut world, &[peer(2)]);
    let pieces = [
        to(peer(1)),
        to(peer(2)),
        data(b"one"),
        data(b""),
        dont_fragment(),
        A::Raw(PEER, vec![0, 1, 2]),
        A::Raw(0x7777, vec![]),
        A::Raw(MI, vec![0; 20]),
        A::Raw(LIFETIME, vec![0; 4]),
    ];
    let count = pieces.len() + 1;
    let mut relayed = 0;
    for choice in 0..count.pow(4) {
        let chosen = (0..4).filter_map(|place| pieces.get(choice / count.pow(place) % count).cloned());
        let attributes: Vec<A> = chosen.collect();
        let fingerprint = choice % 2 == 0;
        let nothing = A::Raw(0xC0DE, vec![9]);
        let longer = [&[nothing], &attributes[..]].concat();
        let [usual, general] = [&attributes, &longer].map(|attributes| {
            let message = alice.plain(SEND, attributes);
            let message = if fingerprint { message.fingerprint() } else { message };
            world.feed_marked(alice.route, &message.0, 0)
        });
        assert_eq!(usual, general, "{attributes:?}");
        relayed += usize::from(matches!(usual.0, Out::ToPeer { .. }));
    }
    assert!(relayed > 500, "{relayed}");
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

#[test]
fn rfc8656_11_5_icmp_error_becomes_a_data_indication() {
    for transport in Transport::ALL {
        let mut world = World::new();
        let mut alice = Client::alice().over(transport);
        let relayed = alice.allocate(&mut world);
        alice.permit(&mut world, &[peer(1)]);
        let out = world.icmp(relayed, peer(1), 3, 3, 0);
        let Out::ToClient { route, .. } = &out else { panic!("{out:?}") };
        assert_eq!(*route, alice.route, "on the 5-tuple of the allocation");
        assert_eq!(icmp_indication(out), (peer(1), vec![0, 0, 3, 3, 0, 0, 0, 0]));
    }
}

#[test]
fn rfc8656_11_5_icmp_comes_as_an_indication_even_with_a_channel() {
    let (mut world, mut alice, relayed) = talking();
    assert_eq!(alice.bind(&mut world, 0x4000, peer(1)), 0);
    assert_eq!(icmp_indication(world.icmp(relayed, peer(1), 3, 1, 0)).0, peer(1));
    assert!(matches!(alice.frame(&mut world, 0x4000, b"x"), Out::ToPeer { .. }), "nothing ends by it");
}

#[test]
fn rfc8656_11_5_only_some_types_are_told() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocate(&mut world);
    alice.permit(&mut world, &[peer(1)]);
    let mut bob = Client::bob().at("9.9.9.9:40001");
    let relayed6 = bob.allocate6(&mut world);
    bob.permit(&mut world, &[peer6(1)]);
    for kind in 0..=255 {
        let told = [(relayed, peer(1)), (relayed6, peer6(1))].map(|(relayed, peer)| {
            match world.icmp(relayed, peer, kind, 0, 0) {
                Out::Dropped(DropReason::IcmpType) => false,
                out => icmp_indication(out).1[2] == kind,
            }
        });
        assert_eq!(told, [matches!(kind, 3 | 11), matches!(kind, 1..=3)], "{kind}");
    }
}

#[test]
fn rfc8656_11_5_new_codes_of_known_types_are_told() {
    let (mut world, _, relayed) = talking();
    for code in 0..=255 {
        assert_eq!(icmp_indication(world.icmp(relayed, peer(1), 3, code, 0)).1[3], code);
    }
}

#[test]
fn rfc8656_11_5_permission_of_the_inner_destination_decides() {
    let (mut world, _, relayed) = talking();
    assert_eq!(world.icmp(relayed, peer(2), 3, 3, 0), Out::Dropped(DropReason::NoPermission));
    let mut other_port = peer(1);
    other_port.set_port(9);
    assert_eq!(
        icmp_indication(world.icmp(relayed, other_port, 3, 3, 0)).0,
        other_port,
        "only addresses count"
    );
    assert_eq!(world.icmp(relayed, peer6(1), 1, 0, 0), Out::Dropped(DropReason::PeerFamily));
    world.pass_secs(300);
    assert_eq!(world.icmp(relayed, peer(1), 3, 3, 0), Out::Dropped(DropReason::NoPermission));
}

#[test]
fn rfc8656_11_5_icmp_without_an_allocation_is_dropped() {
    let (mut world, _, relayed) = talking();
    let id = world.allocation_at(relayed);
    world.pass_secs(600);
    assert_eq!(world.icmp_at(id, peer(1), 3, 3, 0), Out::Dropped(DropReason::NoAllocation));
    world.timers();
    assert_eq!(world.icmp_at(id, peer(1), 3, 3, 0), Out::Dropped(DropReason::NoAllocation));
}

#[test]
fn rfc8656_11_5_icmp_changes_and_ends_nothing() {
    let (mut world, mut alice, relayed) = talking();
    for kind in 0..=255 {
        world.icmp(relayed, peer(1), kind, 3, 0);
    }
    assert!(alice.reaches(&mut world, peer(1)));
    assert!(!world.arrives(relayed, peer(1), b"x").is_silent());
    world.pass_secs(299);
    world.icmp(relayed, peer(1), 3, 3, 0);
    world.pass_secs(1);
    assert!(!alice.reaches(&mut world, peer(1)), "no permission is refreshed");
    world.audit();
}

#[test]
fn rfc8656_18_13_error_data_is_the_mtu_where_there_is_one_and_else_zero() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocate(&mut world);
    alice.permit(&mut world, &[peer(1)]);
    let mut bob = Client::bob().at("9.9.9.9:40001");
    let relayed6 = bob.allocate6(&mut world);
    bob.permit(&mut world, &[peer6(1)]);
    for (relayed, peer, kind, code, has_mtu) in [
        (relayed, peer(1), 3, 4, true),
        (relayed, peer(1), 3, 3, false),
        (relayed, peer(1), 11, 4, false),
        (relayed6, peer6(1), 2, 0, true),
        (relayed6, peer6(1), 3, 4, false),
        (relayed6, peer6(1), 1, 4, false),
    ] {
        let value = icmp_indication(world.icmp(relayed, peer, kind, code, 0x0001_0203)).1;
        let mtu = if has_mtu { [0, 1, 2, 3] } else { [0; 4] };
        assert_eq!(value, [&[0, 0, kind, code][..], &mtu].concat());
    }
}
