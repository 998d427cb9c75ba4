//! What real clients send, and must get served.

use crate::world::*;
use relais::turn::Transport;

#[test]
fn quirk_attribute_order_is_free() {
    let orders: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (port, order) in orders.iter().enumerate() {
        let mut world = World::new();
        let mut alice = Client::alice().at(&format!("9.9.9.9:{}", port + 1));
        alice.challenge(&mut world);
        let parts = [
            (USERNAME, alice.user.clone().into_bytes()),
            (REALM, alice.realm.clone().into_bytes()),
            (NONCE, alice.nonce.clone()),
        ];
        for (last, software) in [(false, true), (true, true), (false, false), (true, false)] {
            let mut message = alice.plain(ALLOCATE, &[]);
            if software && !last {
                message = message.raw(SOFTWARE, b"libnice");
            }
            if !last {
                message = message.put(&udp());
            }
            for i in order {
                message = message.raw(parts[*i].0, &parts[*i].1);
            }
            if last {
                message = message.put(&udp());
            }
            if software && last {
                message = message.raw(SOFTWARE, b"libre");
            }
            let message = alice.sign(message);
            assert!([0, 437].contains(&alice.send(&mut world, &message).code()));
        }
        assert_eq!(world.server.allocation_count(), 1);
    }
}

#[test]
fn quirk_peer_before_channel_number() {
    let (mut world, mut alice, _) = talking();
    assert_eq!(alice.ask(&mut world, CHANNEL_BIND, &[to(peer(1)), channel(0x4000)]).code(), 0);
}

#[test]
fn quirk_channel_data_over_udp_padded_and_unpadded() {
    let (mut world, mut alice, _) = talking();
    alice.bind(&mut world, 0x4000, peer(1));
    for padded in [false, true] {
        let mut frame = channel_data(0x4000, b"five5");
        if padded {
            frame.resize(12, 0);
        }
        let Out::ToPeer { data, .. } = world.feed(alice.route, &frame) else { panic!() };
        assert_eq!(data, b"five5");
    }
}

#[test]
fn quirk_neither_fingerprint_nor_software_nor_lifetime_is_demanded() {
    let mut alice = Client::alice();
    let answer = alice.ask(&mut World::new(), ALLOCATE, &[udp()]);
    assert_eq!((answer.code(), answer.lifetime()), (0, 600));
}

#[test]
fn quirk_firefox_fingerprint_everywhere_and_only_indications() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.fingerprint = true;
    let request = alice.plain(ALLOCATE, &[udp(), lifetime(3600)]).fingerprint();
    let answer = alice.send(&mut world, &request);
    assert_eq!(answer.code(), 401);
    alice.take(&answer);
    let relayed = alice.ask(&mut world, ALLOCATE, &[udp(), lifetime(3600)]).address(RELAYED);
    assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
    let message = alice.plain(SEND, &[to(peer(1)), data(b"media")]).fingerprint();
    assert!(matches!(world.feed(alice.route, &message.0), Out::ToPeer { .. }));
    assert_eq!(data_indication(world.arrives(relayed, peer(1), b"media")).1, b"media");
    assert_eq!(alice.refresh(&mut world, &[lifetime(0)]).lifetime(), 0);
}

#[test]
fn quirk_permission_by_channel_bind_alone() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    assert_eq!(alice.bind(&mut world, 0x4000, peer(1)), 0);
    assert!(matches!(alice.frame(&mut world, 0x4000, b"x"), Out::ToPeer { .. }));
}

#[test]
fn quirk_a_burst_of_duplicates_makes_one_allocation() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let request = alice.signed(ALLOCATE, &[udp()]);
    let first = alice.send(&mut world, &request).address(RELAYED);
    for milliseconds in [48, 101, 203, 398, 800, 1602] {
        world.pass(std::time::Duration::from_millis(milliseconds));
        assert_eq!(alice.send(&mut world, &request).address(RELAYED), first);
    }
    assert_eq!(world.sockets.opened, 1);
}

#[test]
fn quirk_dont_fragment_in_the_first_allocate_still_gets_the_challenge() {
    let mut world = World::new();
    let mut client = Client::alice();
    let request = client.plain(ALLOCATE, &[udp(), A::Raw(DONT_FRAGMENT, vec![])]);
    assert_eq!(client.send(&mut world, &request).code(), 401);
}

#[test]
fn quirk_both_code_points_of_additional_address_family_give_both() {
    // uclient sends the draft's, turn-client-proto that of RFC 8656.
    for kind in [ADDITIONAL_FAMILY, DRAFT_ADDITIONAL_FAMILY] {
        let answer =
            Client::alice().ask(&mut World::new(), ALLOCATE, &[udp(), A::Raw(kind, vec![2, 0, 0, 0])]);
        assert_eq!((answer.code(), answer.addresses(RELAYED).len()), (0, 2));
    }
}

#[test]
fn quirk_chromium_allocates_from_eight_sockets_at_once() {
    let mut world = World::new();
    for port in 1..=8 {
        let mut alice = Client::alice().at(&format!("9.9.9.9:{port}"));
        // It asks each turn: port for its address too, and that counts for nothing.
        for _ in 0..30 {
            let request = alice.plain(BINDING, &[]);
            assert_eq!(alice.send(&mut world, &request).code(), 0);
        }
        alice.allocate(&mut world);
    }
    assert_eq!(world.server.allocation_count(), 8);
}

#[test]
fn quirk_reused_port_is_served_after_the_deletion() {
    let mut world = World::new();
    let mut alice = Client::alice();
    for _ in 0..3 {
        alice.allocate(&mut world);
        assert_eq!(alice.refresh(&mut world, &[lifetime(0)]).code(), 0);
    }
    Client::bob().allocate(&mut world);
}

#[test]
fn quirk_plain_binding_on_the_5_tuple_of_an_allocation() {
    let (mut world, mut alice, _) = talking();
    let request = alice.plain(BINDING, &[]);
    assert_eq!(alice.send(&mut world, &request).address(MAPPED), alice.route.tuple.client.0);
    let mut bytes = alice.plain(BINDING, &[]).0;
    bytes[1] = 0x11;
    assert_eq!(world.feed(alice.route, &bytes), Out::Consumed);
}

#[test]
fn quirk_chromium_binds_late_and_sends_indications_first() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let relayed = alice.allocate(&mut world);
    for n in 0..33 {
        assert_eq!(alice.permit(&mut world, &[peer(n)]), 0);
        assert!(alice.reaches(&mut world, peer(n)));
    }
    assert!(matches!(world.arrives(relayed, peer(3), b"x"), Out::ToClient { bytes, .. } if bytes[0] == 0));
    alice.bind(&mut world, 0x4000, peer(3));
    assert!(matches!(world.arrives(relayed, peer(3), b"x"), Out::ToClient { bytes, .. } if bytes[0] == 0x40));
}

#[test]
fn quirk_channel_data_on_tcp_with_and_without_padding_is_read_by_its_length() {
    let mut world = World::new();
    let mut alice = Client::alice().over(Transport::Tcp);
    alice.allocate(&mut world);
    alice.bind(&mut world, 0x4000, peer(1));
    for extra in [0, 3] {
        let mut frame = channel_data(0x4000, b"five5");
        frame.resize(frame.len() + extra, 0);
        let Out::ToPeer { data, .. } = world.feed(alice.route, &frame) else { panic!() };
        assert_eq!(data, b"five5");
    }
}

#[test]
fn quirk_a_request_with_a_password_is_never_answered_with_400_for_it() {
    // Browsers report a timeout when a wrong password gets 400.
    let answer = Client::new("alice", "wrong").ask_in_vain(&mut World::new(), ALLOCATE, &[udp()]);
    assert_eq!(answer.code(), 401);
}
