//! RFC 8489 §9.2: the long-term credential mechanism.

use crate::world::*;
use std::collections::BTreeSet;

const SCHEMES: [Scheme; 3] = [Scheme::Old, Scheme::Md5, Scheme::Sha256];

#[test]
fn rfc8489_9_2_4_request_without_integrity_gets_a_challenge() {
    let mut world = World::new();
    for kind in [ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
        let mut client = Client::alice();
        let request = client.plain(kind, &[]);
        let answer = client.send(&mut world, &request);
        assert_eq!(answer.code(), 401);
        assert!(answer.is_challenge());
        answer.assert_unsigned();
        assert!(!answer.has(USERNAME) && !answer.has(USERHASH));
        assert_eq!(answer.get(REALM), Some(REALM_TEXT.as_bytes()));
    }
}

#[test]
fn rfc8489_9_2_4_request_with_names_but_no_integrity_gets_a_challenge() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let message = alice.plain(ALLOCATE, &[udp()]);
    let message = alice.identify(message);
    assert_eq!(alice.send(&mut world, &message).code(), 401);
}

#[test]
fn rfc8489_9_2_nonce_begins_with_the_cookie_and_the_feature_bits() {
    let mut alice = Client::alice();
    alice.challenge(&mut World::new());
    assert_eq!(&alice.nonce[..13], b"obMatJos2wAAA", "bits 0 and 1");
    let mut world = World::with(|choice| choice.secrets = vec!["north"]);
    alice.challenge(&mut world);
    assert_eq!(
        &alice.nonce[..13],
        b"obMatJos2gAAA",
        "bit 0: names made on the spot cannot be found by their hash"
    );
}

#[test]
fn rfc8489_9_2_4_nonce_differs_for_each_address_and_port() {
    let mut world = World::new();
    let mut nonces = BTreeSet::new();
    for text in (1..100).map(|n| format!("9.9.9.{n}:40000")).chain((1..100).map(|n| format!("9.9.9.9:{n}"))) {
        let mut client = Client::alice().at(&text);
        client.challenge(&mut world);
        assert!(nonces.insert(client.nonce), "{text}");
    }
}

#[test]
fn rfc8489_9_2_4_nonce_of_another_address_or_port_gets_438() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    for elsewhere in ["9.9.9.9:40001", "9.9.9.8:40000", "[2a00:1450::5]:40000"] {
        let mut thief = alice.clone().at(elsewhere);
        let answer = thief.ask_in_vain(&mut world, ALLOCATE, &[udp()]);
        assert_eq!(answer.code(), 438, "{elsewhere}");
        thief.take(&answer);
        thief.allocate(&mut world);
    }
}

#[test]
fn rfc8489_9_2_4_missing_username_realm_or_nonce_gets_400_without_names() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let key = alice.key();
    let all = [(USERNAME, &b"alice"[..]), (REALM, REALM_TEXT.as_bytes()), (NONCE, &alice.nonce.clone())];
    for skip in 0..8u8 {
        let mut message = alice.plain(ALLOCATE, &[udp()]);
        for (i, (kind, value)) in all.iter().enumerate() {
            if skip & (1 << i) == 0 {
                message = message.raw(*kind, value);
            }
        }
        let answer = alice.send(&mut world, &message.mi(&key));
        if skip == 0 {
            assert_eq!(answer.code(), 0);
        } else {
            assert_eq!(answer.code(), 400, "{skip:03b}");
            answer.assert_unsigned();
            assert_eq!(answer.kinds(), [ERROR_CODE]);
        }
    }
}

#[test]
fn rfc8489_9_2_4_missing_names_come_before_wrong_password_and_unknown_attributes() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let message = alice.plain(ALLOCATE, &[A::Raw(0x7777, vec![])]).raw(USERNAME, b"nobody").mi(b"wrong");
    assert_eq!(alice.send(&mut world, &message).code(), 400);
}

#[test]
fn rfc8489_9_2_4_without_password_algorithm_the_key_is_md5_and_the_answer_message_integrity() {
    let mut world = World::new();
    Client::alice().allocate(&mut world);
}

#[test]
fn rfc8489_9_2_4_with_password_algorithm_the_answer_has_message_integrity_sha256() {
    for scheme in [Scheme::Md5, Scheme::Sha256] {
        Client::alice().with(scheme).allocate(&mut World::new());
    }
}

#[test]
fn rfc8489_9_2_4_answer_attribute_does_not_follow_the_request_attribute() {
    let mut world = World::new();
    // No PASSWORD-ALGORITHM, but MESSAGE-INTEGRITY-SHA256: processed as MD5, answered with MESSAGE-INTEGRITY.
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let message = alice.plain(ALLOCATE, &[udp()]);
    let message = alice.identify(message).mi256(&alice.key());
    let answer = alice.send(&mut world, &message);
    assert_eq!(answer.code(), 0);
    answer.assert_signed(MI, &alice.key());
    // PASSWORD-ALGORITHM with MESSAGE-INTEGRITY: answered with MESSAGE-INTEGRITY-SHA256.
    alice.scheme = Scheme::Sha256;
    let message = alice.plain(REFRESH, &[]);
    let message = alice.identify(message).mi(&alice.key());
    let answer = alice.send(&mut world, &message);
    assert_eq!(answer.code(), 0);
    answer.assert_signed(MI256, &alice.key());
}

#[test]
fn rfc8489_9_2_4_only_the_sha256_integrity_is_checked_when_there() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let key = alice.key();
    for (first, second, code) in [(&key[..], &key[..], 0), (b"wrong", &key, 437), (&key, b"wrong", 401)] {
        let message = alice.plain(ALLOCATE, &[udp()]);
        let message = alice.identify(message).mi(first).mi256(second);
        assert_eq!(alice.send(&mut world, &message).code(), code);
    }
}

#[test]
fn rfc8489_9_2_4_bid_down_of_the_password_algorithms_gets_400() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let key = alice.key();
    let algorithms = |value: &[u8]| Some(value.to_vec());
    for (offer, chosen) in [
        (None, algorithms(&[0, 1, 0, 0])),
        (None, algorithms(&[0, 2, 0, 0])),
        (algorithms(&OFFER), None),
        (algorithms(&[0, 1, 0, 0]), algorithms(&[0, 1, 0, 0])),
        (algorithms(&[0, 1, 0, 0, 0, 2, 0, 0]), algorithms(&[0, 1, 0, 0])),
        (algorithms(&[]), algorithms(&[0, 1, 0, 0])),
        (algorithms(&OFFER), algorithms(&[0, 3, 0, 0])),
        (algorithms(&OFFER), algorithms(&[0, 0, 0, 0])),
        (algorithms(&OFFER), algorithms(&[])),
        (algorithms(&OFFER), algorithms(&[0, 2, 0, 4, 1, 2, 3, 4])),
    ] {
        let message = alice.plain(ALLOCATE, &[udp()]);
        let mut message = alice.identify(message);
        for (kind, value) in [(ALGORITHMS, &offer), (ALGORITHM, &chosen)] {
            if let Some(value) = value {
                message = message.raw(kind, value);
            }
        }
        // Also with a wrong key and a nonce that has been tampered with, as long as its cookie stands.
        assert_eq!(alice.send(&mut world, &message.clone().mi256(&key)).code(), 400, "{offer:?} {chosen:?}");
        let answer = alice.send(&mut world, &message.mi256(b"wrong"));
        assert_eq!(answer.code(), 400);
        answer.assert_unsigned();
    }
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn rfc8489_9_2_1_nonce_whose_feature_bits_were_cleared_gets_438() {
    let mut world = World::new();
    for scheme in SCHEMES {
        let mut alice = Client::alice().with(scheme);
        alice.challenge(&mut world);
        alice.nonce[9..13].copy_from_slice(b"AAAA");
        assert_eq!(alice.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 438);
        alice.nonce.drain(..13);
        assert_eq!(alice.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 438);
    }
}

#[test]
fn rfc8489_9_2_4_unknown_user_gets_401_with_password_algorithms() {
    let mut world = World::new();
    for scheme in SCHEMES {
        let answer = Client::new("mallory", "x").with(scheme).ask_in_vain(&mut world, ALLOCATE, &[udp()]);
        assert_eq!(answer.code(), 401);
    }
}

#[test]
fn rfc8489_9_2_4_wrong_password_gets_401() {
    let mut world = World::new();
    for scheme in SCHEMES {
        let answer = Client::new("alice", "x").with(scheme).ask_in_vain(&mut world, ALLOCATE, &[udp()]);
        assert_eq!(answer.code(), 401);
    }
}

#[test]
fn rfc8489_9_2_4_wrong_password_and_unknown_user_look_alike() {
    let mut world = World::new();
    let mut known = Client::new("alice", "x");
    let mut unknown = Client::new("alicf", "x");
    let first = known.ask_in_vain(&mut world, ALLOCATE, &[udp()]);
    let second = unknown.ask_in_vain(&mut world, ALLOCATE, &[udp()]);
    assert_eq!(first.bytes, second.bytes);
}

#[test]
fn rfc8489_9_2_4_another_realm_gets_401_with_ours() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    alice.realm = "elsewhere".into();
    let answer = alice.ask_in_vain(&mut world, ALLOCATE, &[udp()]);
    assert_eq!((answer.code(), answer.get(REALM)), (401, Some(REALM_TEXT.as_bytes())));
}

#[test]
fn rfc8489_9_2_4_another_realm_on_a_live_allocation_gets_401() {
    let (mut world, mut alice, _) = talking();
    alice.realm = "elsewhere".into();
    for kind in [ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
        assert_eq!(alice.ask_in_vain(&mut world, kind, &[]).code(), 401);
    }
}

#[test]
fn rfc8489_9_2_4_integrity_is_checked_before_the_nonce() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    alice.nonce = b"obMatJos2wAAAforged".to_vec();
    assert_eq!(alice.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 438);
    alice.password = "x".into();
    assert_eq!(alice.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
    alice.user = "nobody".into();
    assert_eq!(alice.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
}

#[test]
fn rfc8489_9_2_4_nonce_is_checked_before_unknown_attributes_and_allocation() {
    let (mut world, mut alice, _) = talking();
    world.pass_secs(600);
    for kind in [REFRESH, CREATE_PERMISSION, CHANNEL_BIND, ALLOCATE] {
        assert_eq!(alice.ask_in_vain(&mut world, kind, &[A::Raw(0x7777, vec![])]).code(), 438);
    }
}

#[test]
fn rfc8489_9_2_4_stale_nonce_gets_438_with_a_valid_one() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    world.pass_secs(599);
    assert_eq!(alice.ask(&mut world, REFRESH, &[]).code(), 437, "still valid");
    world.pass_secs(1);
    let answer = alice.ask_in_vain(&mut world, REFRESH, &[]);
    assert_eq!(answer.code(), 438);
    assert_ne!(answer.get(NONCE), Some(&alice.nonce[..]));
    alice.take(&answer);
    alice.allocate(&mut world);
}

#[test]
fn rfc8489_9_2_4_every_forged_nonce_gets_438() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.challenge(&mut world);
    let genuine = alice.nonce.clone();
    let mut forgeries: Vec<Vec<u8>> = (0..genuine.len())
        .map(|i| {
            let mut nonce = genuine.clone();
            nonce[i] ^= 1;
            nonce
        })
        .collect();
    forgeries.extend([
        vec![],
        vec![0],
        genuine[..27].to_vec(),
        [&genuine[..], b"A"].concat(),
        vec![b'A'; 763],
    ]);
    for nonce in forgeries {
        alice.nonce = nonce;
        let answer = {
            let request = alice.signed(ALLOCATE, &[udp()]);
            alice.send(&mut world, &request)
        };
        assert_eq!(answer.code(), 438, "{:?}", alice.nonce);
        answer.assert_unsigned();
        world.pass_secs(1);
    }
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn rfc8656_5_nonce_expires_within_an_hour_of_the_allocation() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.ask(&mut world, ALLOCATE, &[udp(), lifetime(3600)]);
    world.pass_secs(3599);
    assert_eq!(alice.ask_in_vain(&mut world, REFRESH, &[]).code(), 438);
}

#[test]
fn rfc8489_9_2_4_all_answers_after_login_are_signed() {
    // `ask` asserts it; here every code that can follow a login is seen with every scheme.
    for scheme in SCHEMES {
        let mut world = World::with(|choice| choice.limits.permissions = 1);
        let mut alice = Client::alice().with(scheme);
        let mut codes = BTreeSet::new();
        let mut ask = |world: &mut World, kind, attributes: &[A]| {
            codes.insert(alice.ask(world, kind, attributes).code());
        };
        ask(&mut world, REFRESH, &[]);
        ask(&mut world, ALLOCATE, &[]);
        ask(&mut world, ALLOCATE, &[A::Raw(TRANSPORT, vec![6, 0, 0, 0])]);
        ask(&mut world, ALLOCATE, &[udp(), family(3)]);
        ask(&mut world, ALLOCATE, &[udp(), A::Raw(0x7777, vec![])]);
        world.sockets.quota = Some(0);
        ask(&mut world, ALLOCATE, &[udp()]);
        world.sockets.quota = None;
        ask(&mut world, ALLOCATE, &[udp()]);
        ask(&mut world, CREATE_PERMISSION, &[to(addr("10.0.0.1:1"))]);
        ask(&mut world, CREATE_PERMISSION, &[to(peer6(1))]);
        ask(&mut world, CREATE_PERMISSION, &[to(peer(1)), to(peer(2))]);
        let mut bob = Client::bob().with(scheme);
        codes.insert(bob.ask(&mut world, REFRESH, &[]).code());
        assert_eq!(
            codes.into_iter().collect::<Vec<_>>(),
            [0, 400, 403, 420, 437, 440, 441, 442, 443, 486, 508]
        );
    }
}

#[test]
fn rfc8489_9_2_2_key_of_md5_and_of_sha256_users_alone() {
    let mut world = World::new();
    assert_eq!(Client::new("old", "man").ask(&mut world, REFRESH, &[]).code(), 437);
    assert_eq!(Client::new("old", "man").with(Scheme::Md5).ask(&mut world, REFRESH, &[]).code(), 437);
    assert_eq!(Client::new("new", "born").with(Scheme::Sha256).ask(&mut world, REFRESH, &[]).code(), 437);
    // Without the fitting key nobody can log in, and nothing tells why.
    for (user, password, scheme) in [("old", "man", Scheme::Sha256), ("new", "born", Scheme::Old)] {
        let mut client = Client::new(user, password).with(scheme);
        assert_eq!(client.ask_in_vain(&mut world, REFRESH, &[]).code(), 401);
    }
}

#[test]
fn rfc8489_9_2_2_names_beyond_ascii() {
    for scheme in SCHEMES {
        Client::new("マトリックス", "TheMatrIX").with(scheme).allocate(&mut World::new());
    }
}

#[test]
fn rfc8489_14_4_userhash_logs_in() {
    for scheme in SCHEMES {
        let mut world = World::new();
        let mut alice = Client::alice().with(scheme);
        alice.by_hash = true;
        alice.allocate(&mut world);
        assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
        assert_eq!(alice.refresh(&mut world, &[lifetime(0)]).code(), 0);
    }
}

#[test]
fn rfc8489_14_4_userhash_and_username_are_the_same_user() {
    let (mut world, mut alice, _) = talking();
    alice.by_hash = true;
    assert_eq!(alice.refresh(&mut world, &[]).code(), 0);
    let mut bob = Client::bob();
    bob.by_hash = true;
    assert_eq!(bob.ask(&mut world, REFRESH, &[]).code(), 441);
}

#[test]
fn rfc8489_14_4_unknown_userhash_gets_401() {
    let mut world = World::new();
    let mut client = Client::new("mallory", "x");
    client.by_hash = true;
    assert_eq!(client.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
    for length in [0usize, 16, 31, 33, 64] {
        let message = client.plain(ALLOCATE, &[udp()]).raw(USERHASH, &vec![7; length]);
        let message = message.raw(REALM, client.realm.as_bytes()).raw(NONCE, &client.nonce).mi(b"x");
        assert_eq!(client.send(&mut world, &message).code(), 401, "{length}");
    }
}

#[test]
fn rfc8489_9_2_4_failed_login_leaves_no_state() {
    let mut world = World::new();
    let mut mallory = Client::new("alice", "guess");
    for kind in [ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
        mallory.ask_in_vain(&mut world, kind, &[udp()]);
    }
    mallory.nonce = b"forged".to_vec();
    mallory.ask_in_vain(&mut world, ALLOCATE, &[udp()]);
    assert_eq!((world.server.allocation_count(), world.sockets.opened), (0, 0));
    assert_eq!(world.server.next_timeout(), None);
    // The true user is not kept from the 5-tuple.
    Client::bob().allocate(&mut world);
}

#[test]
fn rfc8489_9_2_4_failed_login_does_not_hurt_a_live_allocation() {
    let (mut world, mut alice, _) = talking();
    let mut mallory = Client::new("alice", "guess");
    for attributes in [vec![lifetime(0)], vec![], vec![lifetime(3600)]] {
        assert_eq!(mallory.ask_in_vain(&mut world, REFRESH, &attributes).code(), 401);
    }
    assert!(alice.reaches(&mut world, peer(1)));
    world.pass_secs(600);
    assert!(!alice.reaches(&mut world, peer(1)));
}

#[test]
fn rfc8489_9_2_nonce_is_not_bound_to_a_user_or_method() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.allocate(&mut world);
    let mut bob = Client::bob();
    (bob.nonce, bob.realm) = (alice.nonce.clone(), alice.realm.clone());
    assert_eq!(bob.ask(&mut world, REFRESH, &[]).code(), 441);
}

#[test]
fn rfc8489_9_2_indications_are_never_authenticated() {
    let (mut world, mut alice, _) = talking();
    // Integrity in an indication is neither asked for nor checked.
    let message = alice.plain(SEND, &[to(peer(1)), data(b"x")]).mi(b"any key");
    assert!(matches!(world.feed(alice.route, &message.0), Out::ToPeer { .. }));
}
