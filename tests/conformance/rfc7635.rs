//! RFC 7635: third-party authorization. Tokens are sealed here with the primitives, field by field, and not by the
//! code under test.

use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt as _, KeyIvInit as _};

use crate::world::*;
use relais::auth::{Cause, Expired, OauthKey, TokenAlgorithm};
use relais::turn::{EndReason, Event};

const MAC_KEY: &[u8; 20] = b"ZksjpweoixXmvn67534m";

/// A token before it is sealed; tests change what they are about.
#[derive(Clone)]
struct Ticket {
    kid: &'static str,
    algorithm: TokenAlgorithm,
    name: &'static str,
    nonce: Vec<u8>,
    mac_key: Vec<u8>,
    /// Where it differs from the true length.
    key_length: Option<u16>,
    seconds: u64,
    fraction: u16,
    lifetime: u32,
    more: Vec<u8>,
}

fn ticket() -> Ticket {
    Ticket {
        kid: "north",
        algorithm: TokenAlgorithm::A256Gcm,
        name: SERVER_NAME,
        nonce: b"h4j3k2l2n4b5".to_vec(),
        mac_key: MAC_KEY.to_vec(),
        key_length: None,
        seconds: START_UNIX,
        fraction: 0,
        lifetime: 3600,
        more: Vec::new(),
    }
}

/// The shared key of a kid: different for each.
fn shared(kid: &str, algorithm: TokenAlgorithm) -> Vec<u8> {
    sha256(kid.as_bytes()).repeat(2)[..algorithm.key_len()].to_vec()
}

fn key(kid: &str, algorithm: TokenAlgorithm) -> OauthKey {
    OauthKey { kid: kid.into(), algorithm, key: shared(kid, algorithm).into(), expires: None }
}

impl Ticket {
    fn block(&self) -> Vec<u8> {
        let length = self.key_length.unwrap_or(self.mac_key.len() as u16);
        let mut block = length.to_be_bytes().to_vec();
        block.extend_from_slice(&self.mac_key);
        block.extend_from_slice(&(self.seconds << 16 | u64::from(self.fraction)).to_be_bytes());
        block.extend_from_slice(&self.lifetime.to_be_bytes());
        block.extend_from_slice(&self.more);
        block
    }

    fn gcm<C: KeyInit + AeadInOut<NonceSize = U12, TagSize = U16>>(
        &self,
        key: &[u8],
        mut block: Vec<u8>,
    ) -> Vec<u8> {
        let cipher = C::new_from_slice(key).unwrap();
        let nonce = self.nonce[..12].try_into().unwrap();
        let tag =
            cipher.encrypt_inout_detached(&nonce, self.name.as_bytes(), block.as_mut_slice().into()).unwrap();
        block.extend_from_slice(&tag);
        block
    }

    fn token(&self) -> Vec<u8> {
        let (key, block) = (shared(self.kid, self.algorithm), self.block());
        let (nonce, sealed) = match self.algorithm {
            TokenAlgorithm::A128Gcm => (&self.nonce[..], self.gcm::<Aes128Gcm>(&key, block)),
            TokenAlgorithm::A256Gcm => (&self.nonce[..], self.gcm::<Aes256Gcm>(&key, block)),
            // The first half of the key authenticates, the second encrypts; the vector is zero; the HMAC covers
            // name, ciphertext and the bits of the name, and half of it is the tag.
            TokenAlgorithm::A128CbcHs256 => {
                let (auth, encryption) = key.split_at(16);
                let cipher = cbc::Encryptor::<aes_gcm::aes::Aes128>::new_from_slices(encryption, &[0; 16]);
                let mut room = [&block[..], &[0; 16]].concat();
                let mut sealed =
                    cipher.unwrap().encrypt_padded::<Pkcs7>(&mut room, block.len()).unwrap().to_vec();
                let bits = 8 * self.name.len() as u64;
                let covered = [self.name.as_bytes(), &sealed, &bits.to_be_bytes()].concat();
                sealed.extend_from_slice(&hmac(sha256, auth, &covered)[..16]);
                (&[][..], sealed)
            }
            other => panic!("{other:?} is not made by hand"),
        };
        let mut token = (nonce.len() as u16).to_be_bytes().to_vec();
        token.extend_from_slice(nonce);
        token.extend_from_slice(&sealed);
        token
    }

    /// A client that was given the token.
    fn client(&self) -> Client {
        let mut client = Client::new(self.kid, "");
        client.token = Some(self.token());
        client.mac_key = Some(self.mac_key.clone());
        client
    }
}

/// A client with a session key of its own.
pub fn client_of_session(number: u8) -> Client {
    session(number).client()
}

/// Another session key for another client.
fn session(number: u8) -> Ticket {
    Ticket { mac_key: vec![number; 20], ..ticket() }
}

/// A server with two keys, whose nonces live long.
pub fn world() -> World {
    World::with(|choice| {
        let algorithm = TokenAlgorithm::A256Gcm;
        choice.oauth = vec![key("north", algorithm), key("south", algorithm)];
        choice.nonce_lifetime = std::time::Duration::from_secs(36_000);
    })
}

fn causes(world: &mut World) -> Vec<Cause> {
    let cause = |event| match event {
        Event::LoginRefused { cause, .. } => Some(cause),
        _ => None,
    };
    world.events().into_iter().filter_map(cause).collect()
}

/// Asserts that an Allocate gets 401 for this cause and leaves nothing behind.
fn refused(world: &mut World, mut client: Client, cause: Cause) {
    causes(world);
    assert_eq!(client.ask_in_vain(world, ALLOCATE, &[udp()]).code(), 401);
    assert_eq!(causes(world), [cause]);
    assert_eq!(world.server.allocation_count(), 0);
    world.audit();
}

#[test]
fn rfc7635_4_challenges_announce_third_party_authorization() {
    let mut world = world();
    let mut client = ticket().client();
    assert_eq!(client.challenge(&mut world).get(THIRD_PARTY), Some(SERVER_NAME.as_bytes()));
    client.nonce = b"obMatJos2gAAAforged".to_vec();
    let stale = client.ask_in_vain(&mut world, ALLOCATE, &[udp()]);
    assert_eq!((stale.code(), stale.get(THIRD_PARTY)), (438, Some(SERVER_NAME.as_bytes())));
    let mut half = Msg::new(ALLOCATE, client.tid()).all(&[udp()]).raw(USERNAME, b"north").mi(MAC_KEY);
    half.say_length(0);
    let answer = client.send(&mut world, &half);
    assert_eq!(answer.code(), 400);
    assert!(!answer.has(THIRD_PARTY));
    assert!(!Client::alice().challenge(&mut World::new()).has(THIRD_PARTY), "nothing to announce");
}

#[test]
fn rfc7635_4_ids_of_keys_are_never_asked_for_as_userhash() {
    let challenge = ticket().client().challenge(&mut world());
    assert_eq!(challenge.get(NONCE).unwrap()[9], b'g', "PASSWORD-ALGORITHMS alone");
    let mut client = ticket().client();
    client.by_hash = true;
    refused(&mut world(), client, Cause::UnknownKey);
}

#[test]
fn rfc7635_5_mac_key_is_the_key_of_the_hmac_as_a_whole() {
    for (port, scheme) in [(1, Scheme::Old), (2, Scheme::Md5), (3, Scheme::Sha256)] {
        let mut client = ticket().client().at(&format!("9.9.9.9:{port}")).with(scheme);
        client.allocate(&mut world());
        client.mac_key = Some(MAC_KEY[..16].to_vec());
        refused(&mut world(), client, Cause::WrongSessionKey);
    }
    let mut hashed = ticket().client();
    hashed.mac_key = Some(md5(b"north:relay.io:ZksjpweoixXmvn67534m"));
    refused(&mut world(), hashed, Cause::WrongSessionKey);
}

#[test]
fn rfc7635_6_1_attributes_have_their_numbers() {
    assert_eq!(
        (relais::wire::attr::ACCESS_TOKEN.0, relais::wire::attr::THIRD_PARTY_AUTHORIZATION.0),
        (0x1B, 0x802E)
    );
}

#[test]
fn rfc7635_6_2_session_keys_of_16_to_64_bytes_are_taken() {
    for length in [16, 20, 32, 64] {
        Ticket { mac_key: vec![7; length], ..ticket() }.client().allocate(&mut world());
    }
    for length in [0, 1, 15, 65] {
        refused(&mut world(), Ticket { mac_key: vec![7; length], ..ticket() }.client(), Cause::ForeignToken);
    }
}

#[test]
fn rfc7635_6_2_server_name_is_authenticated() {
    for name in ["", "turn", REALM_TEXT, "TURN.relay.io"] {
        refused(&mut world(), Ticket { name, ..ticket() }.client(), Cause::ForeignToken);
    }
}

#[test]
fn rfc7635_6_2_every_kind_of_algorithm_opens_tokens() {
    for algorithm in [TokenAlgorithm::A256Gcm, TokenAlgorithm::A128Gcm, TokenAlgorithm::A128CbcHs256] {
        let mut world = World::with(|choice| choice.oauth = vec![key("north", algorithm)]);
        let good = Ticket { algorithm, ..ticket() };
        let token = good.token();
        for changed in 0..token.len() {
            let mut client = good.client();
            client.token.as_mut().unwrap()[changed] ^= 0x10;
            if changed % 8 == 0 {
                world = World::with(|choice| choice.oauth = vec![key("north", algorithm)]);
            }
            refused(&mut world, client, Cause::ForeignToken);
        }
        good.client().allocate(&mut world);
    }
}

#[test]
fn rfc7635_6_2_token_in_base64_is_taken_too() {
    let mut client = ticket().client();
    client.token = Some(base64(&ticket().token()).into_bytes());
    client.allocate(&mut world());
}

#[test]
fn rfc7635_6_2_malformed_tokens_get_401_and_leave_no_state() {
    let token = ticket().token();
    let mut forms: Vec<Vec<u8>> = (0..token.len()).map(|end| token[..end].to_vec()).collect();
    forms.push([&token[..], b"\0"].concat());
    forms.push(vec![0; 126]);
    forms.push(vec![0; 127]);
    forms.push(vec![0; 900]);
    forms.push(vec![0xFF; 64]);
    forms.push(vec![b'A'; 168]);
    forms.push(vec![b'A'; 169]);
    forms.push(b"====".to_vec());
    for nonce in [&b""[..], b"h4j3k2l2n4b", b"h4j3k2l2n4b55"] {
        let mut other = (nonce.len() as u16).to_be_bytes().to_vec();
        other.extend_from_slice(nonce);
        other.extend_from_slice(&token[14..]);
        forms.push(other);
    }
    for wrong in [
        Ticket { key_length: Some(19), ..ticket() },
        Ticket { key_length: Some(21), ..ticket() },
        Ticket { key_length: Some(u16::MAX), ..ticket() },
        Ticket { more: vec![0], ..ticket() },
        Ticket { lifetime: 0, ..ticket() },
    ] {
        forms.push(wrong.token());
    }
    let mut server = world();
    for (number, form) in forms.into_iter().enumerate() {
        if number % 50 == 49 {
            server = world();
        }
        let mut client = ticket().client();
        client.token = Some(form);
        refused(&mut server, client, Cause::ForeignToken);
    }
}

#[test]
fn rfc7635_7_username_selects_the_key() {
    let mut world = world();
    ticket().client().at("9.9.9.9:1").allocate(&mut world);
    Ticket { kid: "south", ..ticket() }.client().at("9.9.9.9:2").allocate(&mut world);
    for (kid, cause) in
        [("south", Cause::ForeignToken), ("east", Cause::UnknownKey), ("alice", Cause::UnknownKey)]
    {
        let mut client = ticket().client().at("9.9.9.9:3");
        client.user = kid.into();
        causes(&mut world);
        assert_eq!(client.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
        assert_eq!(causes(&mut world), [cause]);
    }
}

#[test]
fn rfc7635_4_1_1_key_ends_when_it_expires() {
    let mut north = key("north", TokenAlgorithm::A256Gcm);
    north.expires = Some(START_UNIX + 100);
    let mut world = World::with(|choice| choice.oauth = vec![north]);
    let mut client = ticket().client().at("9.9.9.9:1");
    client.allocate(&mut world);
    world.pass_secs(99);
    ticket().client().at("9.9.9.9:2").allocate(&mut world);
    world.pass_secs(1);
    assert_eq!(ticket().client().at("9.9.9.9:3").ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
    assert_eq!(client.permit(&mut world, &[peer(1)]), 0, "what runs goes on");
    assert_eq!(client.ask_in_vain(&mut world, REFRESH, &[]).code(), 401, "to its next Refresh");
    client.token = None;
    assert_eq!(client.ask_in_vain(&mut world, REFRESH, &[]).code(), 401, "without a token no less");
    assert_eq!(client.refresh(&mut world, &[lifetime(0)]).code(), 0);
}

#[test]
fn rfc7635_7_time_of_the_token_is_bounded_by_lifetime_and_five_seconds() {
    for (made, good) in [
        (START_UNIX - 100 - 4, true),
        (START_UNIX - 100 - 5, false),
        (START_UNIX, true),
        (START_UNIX + 100 + 4, true),
        (START_UNIX + 100 + 5, false),
        (0, false),
        ((1 << 48) - 1, false),
    ] {
        let token = Ticket { seconds: made, fraction: 63_999, lifetime: 100, ..ticket() };
        if good {
            token.client().allocate(&mut world());
        } else {
            refused(&mut world(), token.client(), Cause::Expired);
        }
    }
}

#[test]
fn rfc7635_7_integrity_is_checked_before_the_nonce() {
    let mut client = ticket().client();
    let mut world = world();
    client.challenge(&mut world);
    client.nonce = b"obMatJos2gAAAforged".to_vec();
    assert_eq!(client.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 438);
    client.mac_key = Some(vec![1; 20]);
    assert_eq!(client.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
}

#[test]
fn rfc7635_7_responses_are_signed_with_the_session_key() {
    let mut world = world();
    let mut client = ticket().client();
    assert_eq!(client.ask(&mut world, ALLOCATE, &[]).code(), 400);
    assert_eq!(client.ask(&mut world, ALLOCATE, &[udp(), A::Raw(0x7777, vec![])]).code(), 420);
    assert_eq!(client.ask(&mut world, REFRESH, &[]).code(), 437);
    client.allocate(&mut world);
    assert_eq!(client.permit(&mut world, &[addr("10.0.0.1:1")]), 403);
    assert_eq!(client.bind(&mut world, 0x5000, peer(1)), 400);
}

#[test]
fn rfc7635_7_unexpected_token_gets_420() {
    let mut world = World::new();
    let mut alice = Client::alice();
    alice.token = Some(ticket().token());
    let signed = alice.ask(&mut world, ALLOCATE, &[udp()]);
    assert_eq!((signed.code(), signed.unknown()), (420, vec![ACCESS_TOKEN]), "after a login by password");
    // Neither an unknown user nor a wrong password can be told from the other.
    let mut answers = Vec::new();
    for (mut client, password) in [(ticket().client(), ""), (Client::alice(), "wrong")] {
        client.token = Some(ticket().token());
        client.password = password.into();
        client.challenge(&mut world);
        let request = client.signed(ALLOCATE, &[udp()]);
        let answer = client.send(&mut world, &request);
        answer.assert_unsigned();
        assert_eq!((answer.code(), answer.unknown()), (420, vec![ACCESS_TOKEN]));
        answers.push(answer.kinds());
    }
    assert_eq!(answers[0], answers[1]);
    let mut stranger = ticket().client();
    let plain = stranger.plain(ALLOCATE, &[udp(), A::Raw(ACCESS_TOKEN, ticket().token())]);
    assert_eq!(stranger.send(&mut world, &plain).code(), 401, "without integrity there is a challenge first");
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn rfc7635_7_token_in_a_binding_request_gets_420() {
    for mut world in [world(), World::new()] {
        let mut client = ticket().client();
        let request = client.plain(BINDING, &[A::Raw(ACCESS_TOKEN, ticket().token())]);
        let answer = client.send(&mut world, &request);
        assert_eq!(
            (answer.code(), answer.unknown()),
            (420, vec![ACCESS_TOKEN]),
            "no challenge ever announced it"
        );
    }
}

#[test]
fn rfc7635_9_token_serves_several_allocations() {
    let mut world = world();
    for port in 1..=3 {
        ticket().client().at(&format!("9.9.9.9:{port}")).allocate(&mut world);
    }
    assert_eq!(world.server.allocation_count(), 3);
}

#[test]
fn rfc7635_9_other_requests_need_no_token() {
    let mut world = world();
    let mut client = ticket().client();
    client.allocate(&mut world);
    assert_eq!(client.permit(&mut world, &[peer(1)]), 0);
    assert_eq!(client.bind(&mut world, 0x4000, peer(2)), 0);
    assert!(client.reaches(&mut world, peer(1)));
    client.mac_key = Some(vec![1; 20]);
    assert_eq!(client.ask_in_vain(&mut world, CREATE_PERMISSION, &[to(peer(3))]).code(), 401);
    client.user = "south".into();
    client.mac_key = Some(MAC_KEY.to_vec());
    assert_eq!(client.ask_in_vain(&mut world, CREATE_PERMISSION, &[to(peer(3))]).code(), 401);
}

#[test]
fn rfc7635_9_lifetime_is_never_longer_than_the_token() {
    for (asked, token, age, given) in [
        (None, 3600, 0, 600),
        (Some(3600), 3600, 0, 3600),
        (Some(3600), 1000, 0, 1000),
        (Some(3600), 1000, 3, 1000),
        (Some(3600), 1000, 100, 905),
        (None, 100, 0, 100),
        (None, 100, 104, 1),
        (Some(0), 100, 0, 100),
    ] {
        let token = Ticket { seconds: START_UNIX - age, lifetime: token, ..ticket() };
        let mut attributes = vec![udp()];
        attributes.extend(asked.map(lifetime));
        let mut world = world();
        let mut client = token.client();
        client.challenge(&mut world);
        let request = client.signed(ALLOCATE, &attributes);
        let answer = client.send(&mut world, &request);
        assert_eq!((answer.code(), answer.lifetime()), (0, given), "{asked:?} {age}");
        assert_eq!(client.send(&mut world, &request).lifetime(), given, "a retransmission learns the same");
    }
}

#[test]
fn rfc7635_9_allocation_ends_with_its_token() {
    let mut world = world();
    let mut client = Ticket { lifetime: 700, ..ticket() }.client();
    client.allocate(&mut world);
    world.pass_secs(500);
    assert_eq!(client.permit(&mut world, &[peer(1)]), 0);
    assert_eq!(client.refresh(&mut world, &[]).lifetime(), 205, "700 + 5 - 500");
    world.now.unix -= 400;
    world.pass_secs(204);
    assert!(client.reaches(&mut world, peer(1)));
    world.pass_secs(1);
    assert!(!client.reaches(&mut world, peer(1)), "whatever the wall clock says");
    world.timers();
    let ended = world
        .events()
        .into_iter()
        .any(|event| matches!(event, Event::AllocationEnded { reason: EndReason::CredentialExpired, .. }));
    assert!(ended, "the operator learns why");
}

#[test]
fn rfc7635_9_new_token_refreshes_an_allocation_also_under_a_new_key() {
    let mut world = world();
    let mut client = Ticket { lifetime: 300, ..ticket() }.client();
    client.allocate(&mut world);
    assert_eq!(client.permit(&mut world, &[peer(1)]), 0);
    world.pass_secs(200);
    let newer = Ticket { kid: "south", seconds: world.now.unix, ..session(2) };
    let mut renewed = newer.client();
    renewed.challenge(&mut world);
    assert_eq!(renewed.refresh(&mut world, &[lifetime(3600)]).lifetime(), 3600);
    world.pass_secs(250);
    assert_eq!(renewed.permit(&mut world, &[peer(1)]), 0);
    assert!(renewed.reaches(&mut world, peer(1)), "beyond the end of the first token");
    client.token = None;
    assert_eq!(
        client.ask_in_vain(&mut world, CREATE_PERMISSION, &[to(peer(2))]).code(),
        401,
        "its key is no more"
    );
    let owners: Vec<_> = world.sockets.open.values().map(|socket| socket.2.clone()).collect();
    assert_eq!(renewed.refresh(&mut world, &[lifetime(0)]).code(), 0);
    assert!(owners[0].starts_with("north#"), "the quota stays where it was charged: {owners:?}");
    world.audit();
}

#[test]
fn rfc7635_9_refresh_without_a_token_goes_on_with_the_old_one() {
    let mut world = world();
    let mut client = Ticket { lifetime: 1000, ..ticket() }.client();
    client.allocate(&mut world);
    client.token = None;
    world.pass_secs(500);
    assert_eq!(client.refresh(&mut world, &[lifetime(3600)]).lifetime(), 500, "and no longer");
}

#[test]
fn rfc7635_9_expired_token_is_refused_but_gives_back() {
    let mut world = world();
    let mut client = Ticket { lifetime: 1000, ..ticket() }.client();
    client.allocate(&mut world);
    world.now.unix += 2000;
    causes(&mut world);
    assert_eq!(client.ask_in_vain(&mut world, REFRESH, &[]).code(), 401);
    assert_eq!(causes(&mut world), [Cause::Expired]);
    assert_eq!(client.refresh(&mut world, &[lifetime(0)]).code(), 0);
    world.audit();
}

#[test]
fn rfc7635_9_other_session_gets_441() {
    let mut world = world();
    ticket().client().allocate(&mut world);
    let mut other = session(2).client();
    other.challenge(&mut world);
    for kind in [CREATE_PERMISSION, CHANNEL_BIND] {
        let token = A::Raw(ACCESS_TOKEN, session(2).token());
        assert_eq!(other.ask(&mut world, kind, &[to(peer(1)), channel(0x4000), token]).code(), 441);
    }
    assert_eq!(other.ask(&mut world, ALLOCATE, &[udp()]).code(), 437);
}

#[test]
fn rfc7635_9_token_and_password_never_stand_for_each_other() {
    let mut server = world();
    ticket().client().allocate(&mut server);
    assert_eq!(Client::alice().ask(&mut server, REFRESH, &[]).code(), 441);
    assert_eq!(Client::alice().ask(&mut server, CREATE_PERMISSION, &[to(peer(1))]).code(), 441);
    let mut server = world();
    Client::alice().allocate(&mut server);
    assert_eq!(ticket().client().ask(&mut server, REFRESH, &[]).code(), 441);
    assert_eq!(ticket().client().ask(&mut server, REFRESH, &[lifetime(0)]).code(), 441);
    assert_eq!(server.server.allocation_count(), 1);
}

#[test]
fn rfc7635_quota_counts_each_session_key() {
    let mut world = world();
    world.sockets.quota = Some(1);
    session(1).client().at("9.9.9.9:1").allocate(&mut world);
    assert_eq!(session(1).client().at("9.9.9.9:2").ask(&mut world, ALLOCATE, &[udp()]).code(), 486);
    session(2).client().at("9.9.9.9:3").allocate(&mut world);
}

#[test]
fn rfc7635_passwords_work_beside_tokens() {
    let mut world = World::with(|choice| {
        choice.oauth = vec![key("north", TokenAlgorithm::A256Gcm)];
        choice.secrets = vec!["east"];
        choice.expired = Expired::Cut;
    });
    Client::alice().at("9.9.9.9:1").allocate(&mut world);
    Client::rest(&format!("{}:fred", START_UNIX + 60), "east").at("9.9.9.9:2").allocate(&mut world);
    ticket().client().at("9.9.9.9:3").allocate(&mut world);
    // The name of a key is nobody's user name.
    let mut kid = Client::new("north", "");
    assert_eq!(kid.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
}

#[test]
fn rfc7635_withdrawn_key_ends_at_the_next_refresh() {
    let mut world = world();
    let mut client = ticket().client();
    client.allocate(&mut world);
    let choice = Choice { oauth: vec![key("south", TokenAlgorithm::A256Gcm)], ..Choice::default() };
    world.server.reconfigure(choice.settings());
    assert_eq!(client.permit(&mut world, &[peer(1)]), 0);
    assert_eq!(client.ask_in_vain(&mut world, REFRESH, &[]).code(), 401);
    client.token = None;
    assert_eq!(client.ask_in_vain(&mut world, REFRESH, &[]).code(), 401);
}

#[test]
fn rfc7635_failed_tokens_count_as_failed_logins() {
    let mut world = world();
    let mut client = ticket().client();
    client.challenge(&mut world);
    client.mac_key = Some(vec![1; 20]);
    for _ in 0..100 {
        assert_eq!(client.ask_in_vain(&mut world, ALLOCATE, &[udp()]).code(), 401);
    }
    let request = client.signed(ALLOCATE, &[udp()]);
    assert!(world.feed(client.route, &request.0).is_silent());
}
