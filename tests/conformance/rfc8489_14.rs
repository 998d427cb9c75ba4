//! RFC 8489 §14: attributes.

use crate::world::*;
use relais::turn::DropReason;

#[test]
fn rfc8489_14_padding_of_any_value_is_ignored() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    for padding in [0, b' ', 0xFF] {
        let message = alice.plain(ALLOCATE, &[udp()]).padded_with(SOFTWARE, b"x", padding);
        let message = message
            .padded_with(USERNAME, alice.user.as_bytes(), padding)
            .padded_with(REALM, alice.realm.as_bytes(), padding)
            .padded_with(NONCE, &alice.nonce, padding);
        let message = alice.sign(message);
        let answer = alice.send(&mut world, &message);
        assert!([0, 437].contains(&answer.code()), "{}", answer.code());
    }
}

#[test]
fn rfc8489_14_attribute_that_reaches_behind_the_end_makes_the_message_malformed() {
    let mut bytes = Msg::new(BINDING, [1; 12]).raw(SOFTWARE, b"1234").0;
    for length in [5u8, 8, 255] {
        bytes[23] = length;
        let out = World::new().feed(Client::alice().route, &bytes);
        assert_eq!(out, Out::Dropped(DropReason::Malformed), "{length}");
    }
}

#[test]
fn rfc8489_14_first_of_several_attributes_counts() {
    let mut world = World::new();
    let mut alice = Client::alice();
    assert_eq!(alice.ask(&mut world, ALLOCATE, &[A::Raw(TRANSPORT, vec![6, 0, 0, 0]), udp()]).code(), 442);
    let answer =
        alice.ask(&mut world, ALLOCATE, &[udp(), lifetime(1000), lifetime(2000), family(1), family(2)]);
    assert_eq!((answer.lifetime(), answer.address(RELAYED).is_ipv4()), (1000, true));
    assert_eq!(
        alice.ask(&mut world, CHANNEL_BIND, &[channel(0x4000), channel(1), to(peer(1)), to(peer(2))]).code(),
        0
    );
    let Out::ToPeer { peer: there, .. } = alice.frame(&mut world, 0x4000, b"x") else { panic!() };
    assert_eq!(there, peer(1));
}

#[test]
fn rfc8489_14_first_username_realm_and_nonce_count() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let message = alice.plain(ALLOCATE, &[udp()]);
    let message = alice.identify(message).raw(USERNAME, b"bob").raw(REALM, b"other").raw(NONCE, b"none");
    let message = alice.sign(message);
    assert_eq!(alice.send(&mut world, &message).code(), 0);
    let message = alice.plain(REFRESH, &[]).raw(NONCE, b"none");
    let message = alice.sign(alice.identify(message));
    assert_eq!(alice.send(&mut world, &message).code(), 438);
}

#[test]
fn rfc8489_14_2_first_byte_of_an_address_is_ignored() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    let message = alice.plain(CREATE_PERMISSION, &[]);
    let mut value = xor_value(peer(1), message.tid());
    value[0] = 0xA5;
    let message = alice.sign(alice.identify(message.raw(PEER, &value)));
    assert_eq!(alice.send(&mut world, &message).code(), 0);
    assert!(alice.reaches(&mut world, peer(1)));
}

#[test]
fn rfc8489_14_2_family_and_length_of_an_address_must_fit() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    let v4 = vec![0, 1, 0x33, 0x33, 9, 9, 9, 9];
    let mut long = v4.clone();
    long.extend_from_slice(&[0; 12]);
    for bad in [
        vec![],
        v4[..4].to_vec(),
        v4[..7].to_vec(),
        long.clone(),
        [&[0, 2][..], &v4[2..]].concat(),
        [&[0, 3][..], &v4[2..]].concat(),
        [&[0, 0][..], &v4[2..]].concat(),
        [&v4[..], &[0]].concat(),
    ] {
        let bad = A::Raw(PEER, bad);
        assert_eq!(
            alice.ask(&mut world, CREATE_PERMISSION, std::slice::from_ref(&bad)).code(),
            400,
            "{bad:?}"
        );
        assert_eq!(alice.ask(&mut world, CHANNEL_BIND, &[channel(0x4000), bad]).code(), 400);
    }
    assert_eq!(world.server.counters().permissions, 0);
}

#[test]
fn rfc8489_14_3_username_of_up_to_763_bytes_is_parsed() {
    for length in [508, 509, 513, 763] {
        let mut world = World::new();
        let mut client = Client::new(&"x".repeat(length), "p");
        assert_eq!(client.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401, "{length}");
    }
}

#[test]
fn rfc8489_14_3_username_that_is_not_utf8_gets_401() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let message = alice.plain(ALLOCATE, &[udp()]).raw(USERNAME, &[0xFF, 0xFE]);
    let message = message.raw(REALM, alice.realm.as_bytes()).raw(NONCE, &alice.nonce).mi(b"key");
    assert_eq!(alice.send(&mut world, &message).code(), 401);
}

#[test]
fn rfc8489_14_5_attributes_behind_message_integrity_are_ignored() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    // Anybody on the path may append.
    let message = alice.signed(REFRESH, &[lifetime(1800)]).put(&lifetime(0)).put(&A::Raw(0x7777, vec![]));
    assert_eq!(alice.send(&mut world, &message).lifetime(), 1800);
    let message = alice.signed(REFRESH, &[]).put(&lifetime(0));
    assert_eq!(alice.send(&mut world, &message).lifetime(), 600);
    let message = alice.signed(CREATE_PERMISSION, &[to(peer(1))]).put(&to(peer(2)));
    assert_eq!(alice.send(&mut world, &message).code(), 0);
    assert!(alice.reaches(&mut world, peer(1)) && !alice.reaches(&mut world, peer(2)));
    let message = alice.signed(CREATE_PERMISSION, &[]).put(&to(peer(2)));
    assert_eq!(alice.send(&mut world, &message).code(), 400);
}

#[test]
fn rfc8489_14_6_attributes_behind_message_integrity_sha256_are_ignored() {
    let mut world = World::new();
    let mut alice = Client::alice().with(Scheme::Sha256);
    alice.allocate(&mut world);
    let message = alice.signed(REFRESH, &[]).put(&lifetime(0)).mi(b"anything");
    let answer = alice.send(&mut world, &message);
    assert_eq!((answer.code(), answer.lifetime()), (0, 600));
    answer.assert_signed(MI256, &alice.key());
}

#[test]
fn rfc8489_14_6_attributes_between_the_two_integrities_are_ignored() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    let message = alice.plain(REFRESH, &[]);
    let key = alice.key();
    let message = alice.identify(message).mi(&key).put(&lifetime(0)).mi256(&key);
    assert_eq!(alice.send(&mut world, &message).lifetime(), 600);
}

#[test]
fn rfc8489_14_5_message_integrity_of_any_other_length_is_wrong() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    for length in [0usize, 4, 10, 16, 19, 21, 24] {
        let message = alice.plain(ALLOCATE, &[udp()]);
        let mut message = alice.identify(message);
        message.say_length(4 + length.next_multiple_of(4));
        let mut value = hmac(sha1, &alice.key(), &message.0);
        value.resize(length, 0);
        let message = message.raw(MI, &value);
        assert_eq!(alice.send(&mut world, &message).code(), 401, "{length}");
    }
}

#[test]
fn rfc8489_14_6_truncated_message_integrity_sha256_is_wrong() {
    let mut world = World::new();
    let mut alice = Client::alice().with(Scheme::Sha256);
    alice.challenge(&mut world);
    for length in [0usize, 4, 12, 16, 20, 24, 28, 31] {
        let message = alice.plain(ALLOCATE, &[udp()]);
        let mut message = alice.identify(message);
        message.say_length(4 + length.next_multiple_of(4));
        let mut value = hmac(sha256, &alice.key(), &message.0);
        value.truncate(length);
        let message = message.raw(MI256, &value);
        assert_eq!(alice.send(&mut world, &message).code(), 401, "{length}");
    }
    assert_eq!(alice.ask(&mut world, ALLOCATE, &[udp()]).code(), 0);
}

#[test]
fn rfc8489_14_5_each_bit_of_a_signed_request_is_covered() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let whole = alice.signed(ALLOCATE, &[udp()]).0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        let out = world.feed(alice.route, &bytes);
        assert!(out.is_silent() || out.answer().code() != 0, "byte {at}");
        assert_eq!(world.server.allocation_count(), 0, "byte {at}");
        world.pass_secs(1);
    }
}

#[test]
fn rfc8489_14_7_fingerprint_must_be_last() {
    let mut world = World::new();
    let route = Client::alice().route;
    let bytes = Msg::new(BINDING, [1; 12]).fingerprint().raw(SOFTWARE, b"late").0;
    assert!(world.feed(route, &bytes).is_silent());
    let bytes = Msg::new(BINDING, [1; 12]).fingerprint().fingerprint().0;
    assert!(world.feed(route, &bytes).is_silent());
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let message = alice.plain(ALLOCATE, &[udp()]);
    let message = alice.identify(message).fingerprint().mi(&alice.key());
    assert!(world.feed(route, &message.0).is_silent());
}

#[test]
fn rfc8489_14_7_fingerprint_of_another_length_meets_silence() {
    for length in [0usize, 3, 5, 8] {
        let bytes = Msg::new(BINDING, [1; 12]).raw(FINGERPRINT, &vec![0; length]).0;
        assert!(World::new().feed(Client::alice().route, &bytes).is_silent(), "{length}");
    }
}

#[test]
fn rfc8489_14_7_fingerprint_covers_the_integrity_of_request_and_answer() {
    let mut world = World::new();
    for scheme in [Scheme::Old, Scheme::Md5, Scheme::Sha256] {
        let mut alice = Client::alice().with(scheme);
        alice.fingerprint = true;
        let answer = alice.ask(&mut world, REFRESH, &[]);
        assert_eq!(answer.code(), 437);
        assert!(answer.has(FINGERPRINT));
    }
}

#[test]
fn rfc8489_14_8_error_code_has_no_reason_phrase_and_no_stray_bytes() {
    let mut world = World::new();
    let answer = Client::alice().challenge(&mut world);
    assert_eq!(answer.get(ERROR_CODE), Some(&[0, 0, 4, 1][..]));
    let answer = Client::alice().ask(&mut world, REFRESH, &[]);
    assert_eq!(answer.get(ERROR_CODE), Some(&[0, 0, 4, 37][..]));
}

#[test]
fn rfc8489_14_9_realm_is_prepared_by_opaque_string() {
    let mut world = World::with(|choice| choice.realm = "a\u{3000}e\u{301}".into());
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    assert_eq!(alice.realm, "a é");
    alice.allocate(&mut world);
}

#[test]
fn rfc8489_14_10_nonce_is_qdtext_of_fewer_than_128_characters() {
    let mut world = World::new();
    for port in 1..200 {
        let mut client = Client::alice().at(&format!("9.9.9.9:{port}"));
        client.challenge(&mut world);
        assert!(client.nonce.len() < 128);
        assert!(client.nonce.iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(byte)));
    }
}

#[test]
fn rfc8489_14_11_password_algorithms_are_listed_best_first() {
    let answer = Client::alice().challenge(&mut World::new());
    assert_eq!(answer.get(ALGORITHMS), Some(&[0, 2, 0, 0, 0, 1, 0, 0][..]));
}

#[test]
fn rfc8489_14_13_all_unknown_attributes_are_listed_in_their_order() {
    let mut alice = Client::alice();
    let kinds: Vec<u16> = (0..30).map(|i| 0x7F00 + 7 * i).collect();
    let attributes: Vec<A> = kinds.iter().map(|kind| A::Raw(*kind, vec![])).collect();
    let answer = alice.ask(&mut World::new(), ALLOCATE, &attributes);
    assert_eq!((answer.code(), answer.unknown()), (420, kinds));
}

#[test]
fn rfc8489_14_13_odd_number_of_unknown_attributes_is_padded_with_zeroes() {
    let mut alice = Client::alice();
    let request = alice.plain(BINDING, &[A::Raw(0x7777, vec![])]);
    let answer = alice.send(&mut World::new(), &request);
    assert_eq!(answer.get(UNKNOWN), Some(&[0x77, 0x77][..]));
    assert_eq!(answer.bytes[answer.bytes.len() - 2..], [0, 0]);
}
