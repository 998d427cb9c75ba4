//! Malformed and hostile forms of every attribute: each gets the error that the RFC names, or silence, and makes no state.

use crate::world::*;

/// Attributes that take part in the login; their forms have tests of their own.
const OF_THE_LOGIN: [u16; 10] =
    [USERNAME, MI, REALM, NONCE, ACCESS_TOKEN, MI256, ALGORITHM, USERHASH, ALGORITHMS, FINGERPRINT];

#[test]
fn bad_input_nonce_of_any_other_form_gets_438() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let right = alice.nonce.clone();
    let longer = [&right[..], b"0"].concat();
    for wrong in [&b""[..], b"0", &right[1..], &longer, &[b'n'; 763], &[0, 0xFF, b'"', b'\\']] {
        alice.nonce = wrong.to_vec();
        let request = alice.signed(ALLOCATE, &[udp()]);
        assert_eq!(alice.send(&mut world, &request).code(), 438, "{wrong:?}");
    }
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn bad_input_realm_of_any_other_form_gets_401() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    for wrong in [&b""[..], b"relay.i", b"relay.io\0", b"RELAY.IO", &[0xFF, 0xFE], &[b'r'; 763]] {
        let request = alice.plain(ALLOCATE, &[udp()]).raw(USERNAME, b"alice").raw(REALM, wrong);
        let request = alice.sign(request.raw(NONCE, &alice.nonce));
        assert_eq!(alice.send(&mut world, &request).code(), 401, "{wrong:?}");
    }
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn bad_input_password_algorithm_of_any_other_form_gets_400() {
    let mut world = World::new();
    let mut alice = Client::alice().with(Scheme::Sha256);
    alice.challenge(&mut world);
    let right = [0, 2, 0, 0];
    let offers: [(&[u8], &[u8]); 9] = [
        (&OFFER, &[]),
        (&OFFER, &[0, 2]),
        (&OFFER, &[0, 2, 0]),
        (&OFFER, &[0, 2, 0, 4]),
        (&OFFER, &[0, 2, 0, 4, 1, 2, 3, 4]),
        (&OFFER, &[0, 3, 0, 0]),
        (&[], &right),
        (&OFFER[..7], &right),
        (&[0, 2, 0xFF, 0xFF, 0, 1, 0, 0], &right),
    ];
    for (offered, chosen) in offers {
        let request =
            alice.plain(ALLOCATE, &[udp()]).raw(USERNAME, b"alice").raw(REALM, alice.realm.as_bytes());
        let request = request.raw(NONCE, &alice.nonce).raw(ALGORITHMS, offered).raw(ALGORITHM, chosen);
        let request = alice.sign(request);
        assert_eq!(alice.send(&mut world, &request).code(), 400, "{offered:?} {chosen:?}");
    }
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn bad_input_userhash_of_any_other_length_gets_401() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let right = sha256(format!("alice:{}", alice.realm).as_bytes());
    let longer = [&right[..], &[0]].concat();
    for wrong in [&[][..], &right[..31], &longer, &[0; 32], &[0xFF; 64]] {
        let request = alice.plain(ALLOCATE, &[udp()]).raw(USERHASH, wrong).raw(REALM, alice.realm.as_bytes());
        let request = alice.sign(request.raw(NONCE, &alice.nonce));
        assert_eq!(alice.send(&mut world, &request).code(), 401, "{}", wrong.len());
    }
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn bad_input_even_port_and_reservation_token_of_any_other_length_get_400() {
    let mut world = World::new();
    let mut alice = Client::alice();
    for (kind, right) in
        [(EVEN_PORT, 1), (RESERVATION, 8), (ADDITIONAL_FAMILY, 4), (FAMILY, 4), (LIFETIME, 4)]
    {
        for length in (0..=33usize).filter(|length| *length != right) {
            let answer = alice.ask(&mut world, ALLOCATE, &[udp(), A::Raw(kind, vec![1; length])]);
            assert_eq!(answer.code(), 400, "{kind:#06x} of {length} bytes");
        }
    }
    assert_eq!((world.server.allocation_count(), world.sockets.opened), (0, 0));
}

#[test]
fn bad_input_peer_of_any_other_form_gets_400() {
    let (mut world, mut alice, _) = talking();
    for family in [0, 1, 2, 3, 255u8] {
        for length in 0..=33usize {
            let fits = matches!((family, length), (1, 8) | (2, 20));
            let mut value = vec![0x5A; length];
            if let Some(place) = value.get_mut(1) {
                *place = family;
            }
            let wrong = A::Raw(PEER, value);
            let answer = alice.ask(&mut world, CREATE_PERMISSION, &[to(peer(2)), wrong.clone()]);
            assert_eq!(answer.code() == 400, !fits, "CreatePermission, family {family}, {length} bytes");
            let answer = alice.ask(&mut world, CHANNEL_BIND, &[channel(0x4000 + u16::from(family)), wrong]);
            assert_eq!(answer.code() == 400, !fits, "ChannelBind, family {family}, {length} bytes");
        }
    }
    assert!(alice.reaches(&mut world, peer(1)));
}

#[test]
fn bad_input_what_belongs_into_answers_is_ignored_in_requests_whatever_its_form() {
    let (mut world, mut alice, _) = talking();
    let long = [0xFF; 763];
    for kind in
        [MAPPED, 0x0001, ERROR_CODE, UNKNOWN, RELAYED, ADDRESS_ERROR, ALTERNATE_DOMAIN, ALTERNATE_SERVER]
    {
        for value in [&[][..], &[0], &[0, 9, 0, 0, 1, 2, 3, 4], &long] {
            let message = alice.plain(BINDING, &[A::Raw(kind, value.to_vec())]);
            assert_eq!(alice.send(&mut world, &message).code(), 0, "{kind:#06x}");
            let answer = alice.ask(&mut world, REFRESH, &[A::Raw(kind, value.to_vec())]);
            assert_eq!(answer.code(), 0, "{kind:#06x}");
        }
    }
    // SOFTWARE that is no text, ICMP of a client, and the two of RFC 5780 that only answers have.
    for kind in [SOFTWARE, 0x8004, 0x802B, 0x802C] {
        assert_eq!(alice.ask(&mut world, REFRESH, &[A::Raw(kind, vec![0xFF; 9])]).code(), 0, "{kind:#06x}");
    }
}

#[test]
fn bad_input_no_attribute_of_any_length_alone_makes_state() {
    let (mut world, mut alice, _) = talking();
    let mut bob = Client::bob().at("9.9.9.9:41000");
    let kinds = (0..=0x30).chain(0x8000..=0x8033);
    for kind in kinds.filter(|kind| !OF_THE_LOGIN.contains(kind)) {
        for length in [0usize, 1, 2, 3, 4, 5, 7, 8, 9, 16, 20, 21, 32, 33, 255] {
            let attribute = A::Raw(kind, vec![0xFF; length]);
            let code = bob.ask(&mut world, ALLOCATE, std::slice::from_ref(&attribute)).code();
            assert!([400, 420, 442].contains(&code), "Allocate, {kind:#06x} of {length} bytes: {code}");
            for method in [CREATE_PERMISSION, CHANNEL_BIND] {
                let code = alice.ask(&mut world, method, std::slice::from_ref(&attribute)).code();
                assert!([400, 420].contains(&code), "{method:#06x}, {kind:#06x} of {length} bytes: {code}");
            }
            let message = alice.plain(SEND, &[attribute]);
            assert!(world.feed(alice.route, &message.0).is_silent(), "Send, {kind:#06x} of {length} bytes");
        }
    }
    assert_eq!((world.server.allocation_count(), world.sockets.opened), (1, 1));
    assert!(alice.reaches(&mut world, peer(1)) && !alice.reaches(&mut world, peer(2)));
}
