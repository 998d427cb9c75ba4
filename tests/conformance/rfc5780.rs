//! RFC 5780: NAT behavior discovery.

use crate::world::*;
use relais::turn::{Discovery, DiscoveryAddress, Transport};
use std::net::SocketAddr;

const A1: &str = "8.34.2.1";
const A2: &str = "8.34.2.2";

fn discovering() -> World {
    let address = |text: &str| {
        let ip = text.parse().unwrap();
        DiscoveryAddress { local: ip, public: ip }
    };
    World::with(|choice| {
        choice.discovery = vec![Discovery { addresses: [address(A1), address(A2)], ports: [3478, 3479] }];
    })
}

/// A client that asks one of the server's four transport addresses.
fn asking(server: &str) -> Client {
    let mut client = Client::alice();
    client.route.tuple.server = addr(server);
    client
}

fn change(flags: u8) -> A {
    A::Raw(CHANGE_REQUEST, vec![0, 0, 0, flags])
}

fn response_port(port: u16) -> A {
    A::Raw(RESPONSE_PORT, [&port.to_be_bytes()[..], &[0, 0]].concat())
}

/// Where the answer comes from, where it goes, and what it says.
fn ask(world: &mut World, client: &mut Client, attributes: &[A]) -> (SocketAddr, SocketAddr, Answer) {
    let request = client.plain(BINDING, attributes);
    match world.feed(client.route, &request.0) {
        Out::AnswerFrom { server, client, bytes } => (server, client, Answer::read(&bytes)),
        other => panic!("{other:?}"),
    }
}

fn refused(world: &mut World, client: &mut Client, attributes: &[A]) -> Answer {
    let request = client.plain(BINDING, attributes);
    client.send(world, &request)
}

#[test]
fn rfc5780_6_1_source_and_other_address_are_relative_to_where_the_request_came() {
    for (here, other_ip, other_port, other) in [
        ("8.34.2.1:3478", "8.34.2.2:3478", "8.34.2.1:3479", "8.34.2.2:3479"),
        ("8.34.2.1:3479", "8.34.2.2:3479", "8.34.2.1:3478", "8.34.2.2:3478"),
        ("8.34.2.2:3478", "8.34.2.1:3478", "8.34.2.2:3479", "8.34.2.1:3479"),
        ("8.34.2.2:3479", "8.34.2.1:3479", "8.34.2.2:3478", "8.34.2.1:3478"),
    ] {
        for (flags, from) in
            [(None, here), (Some(0), here), (Some(4), other_ip), (Some(2), other_port), (Some(6), other)]
        {
            let mut world = discovering();
            let mut client = asking(here);
            let wish: Vec<A> = flags.map(change).into_iter().collect();
            let (server, to, answer) = ask(&mut world, &mut client, &wish);
            assert_eq!((server, to), (addr(from), client.route.tuple.client.0), "{here} {flags:?}");
            assert_eq!(answer.plain_addresses(RESPONSE_ORIGIN), [addr(from)]);
            assert_eq!(answer.plain_addresses(OTHER_ADDRESS), [addr(other)], "whatever the flags");
            assert_eq!(answer.code(), 0);
        }
    }
}

#[test]
fn rfc5780_6_1_answer_has_mapped_address_plain_and_xored() {
    let mut client = asking("8.34.2.1:3478");
    let (_, _, answer) = ask(&mut discovering(), &mut client, &[]);
    assert_eq!(answer.kinds(), [MAPPED, PLAIN_MAPPED, RESPONSE_ORIGIN, OTHER_ADDRESS]);
    assert_eq!(answer.address(MAPPED), client.route.tuple.client.0);
    assert_eq!(answer.plain_addresses(PLAIN_MAPPED), [client.route.tuple.client.0]);
}

#[test]
fn rfc5780_7_2_other_bits_of_change_request_are_ignored() {
    let mut client = asking("8.34.2.1:3478");
    let wish = [A::Raw(CHANGE_REQUEST, vec![0xFF, 0xFF, 0xFF, 0xF9])];
    assert_eq!(ask(&mut discovering(), &mut client, &wish).0, addr("8.34.2.1:3478"));
}

#[test]
fn rfc5780_7_5_answer_goes_to_the_response_port() {
    let mut client = asking("8.34.2.1:3478");
    let (server, to, answer) = ask(&mut discovering(), &mut client, &[response_port(50_000), change(6)]);
    assert_eq!((server, to), (addr("8.34.2.2:3479"), addr("9.9.9.9:50000")));
    assert_eq!(answer.address(MAPPED), client.route.tuple.client.0, "its source, not the port it asked for");
    let (_, to, _) = ask(&mut discovering(), &mut client, &[response_port(1)]);
    assert_eq!(to, addr("9.9.9.9:1"));
    // The padding may be in the length or behind it.
    let bare = A::Raw(RESPONSE_PORT, 50_000_u16.to_be_bytes().to_vec());
    assert_eq!(ask(&mut discovering(), &mut client, &[bare]).1, addr("9.9.9.9:50000"));
}

#[test]
fn rfc5780_6_1_padding_is_answered_with_padding_of_a_multiple_of_four() {
    let mut client = asking("8.34.2.1:3478");
    for (asked, given) in [(0, 0), (1, 4), (100, 100), (1499, 1500), (1500, 1500), (1900, 1500)] {
        let padding = A::Raw(PADDING, vec![0x55; asked]);
        let (_, _, answer) = ask(&mut discovering(), &mut client, &[padding]);
        assert_eq!(answer.get(PADDING).map(<[u8]>::len), Some(given));
    }
    let (_, _, answer) = ask(&mut discovering(), &mut client, &[]);
    assert!(!answer.has(PADDING));
}

#[test]
fn rfc5780_6_1_padding_with_response_port_gets_400() {
    let mut client = asking("8.34.2.1:3478");
    let both = [A::Raw(PADDING, vec![0; 8]), response_port(50_000)];
    assert_eq!(refused(&mut discovering(), &mut client, &both).code(), 400);
}

#[test]
fn rfc5780_7_malformed_attributes_get_400() {
    let mut client = asking("8.34.2.1:3478");
    for length in [0, 1, 2, 3, 5, 8] {
        for kind in
            [CHANGE_REQUEST, RESPONSE_PORT].into_iter().filter(|kind| length != 2 || *kind == CHANGE_REQUEST)
        {
            let answer = refused(&mut discovering(), &mut client, &[A::Raw(kind, vec![2; length])]);
            assert_eq!(answer.code(), 400, "{kind:04x} of {length} bytes");
        }
    }
    assert_eq!(refused(&mut discovering(), &mut client, &[response_port(0)]).code(), 400);
}

#[test]
fn rfc5780_6_without_a_second_address_420_lists_what_is_not_offered() {
    let mut alice = Client::alice();
    for (wish, kind) in [
        (change(0), CHANGE_REQUEST),
        (change(6), CHANGE_REQUEST),
        (response_port(5), RESPONSE_PORT),
        (A::Raw(PADDING, vec![0; 4]), PADDING),
    ] {
        let answer = refused(&mut World::new(), &mut alice, &[wish]);
        assert_eq!((answer.code(), answer.unknown()), (420, vec![kind]));
    }
    let request = alice.plain(BINDING, &[]);
    let answer = alice.send(&mut World::new(), &request);
    assert_eq!(answer.kinds(), [MAPPED], "and nothing is said of other addresses");
}

#[test]
fn rfc5780_6_unknown_attributes_still_get_420() {
    let mut client = asking("8.34.2.1:3478");
    let answer = refused(&mut discovering(), &mut client, &[change(2), A::Raw(0x7777, vec![])]);
    assert_eq!((answer.code(), answer.unknown()), (420, vec![0x7777]));
}

#[test]
fn rfc5780_6_elsewhere_and_over_other_transports_there_is_plain_binding() {
    for (server, transport) in [
        ("8.34.2.1:5000", Transport::Udp),
        ("8.34.2.3:3478", Transport::Udp),
        ("8.34.2.1:3478", Transport::Tcp),
        ("8.34.2.1:3478", Transport::Tls),
        ("8.34.2.1:3478", Transport::Dtls),
    ] {
        let mut client = asking(server).over(transport);
        assert_eq!(refused(&mut discovering(), &mut client, &[]).kinds(), [MAPPED]);
        assert_eq!(refused(&mut discovering(), &mut client, &[change(2)]).code(), 420);
    }
}

#[test]
fn rfc5780_9_answers_to_one_source_stay_within_the_budget() {
    let mut world = discovering();
    let mut client = asking("8.34.2.1:3478");
    let (mut sent, mut got) = (0, 0);
    for _ in 0..20_000 {
        let request = client.plain(BINDING, &[response_port(53), change(6)]);
        sent += request.0.len() + 28;
        if let Out::AnswerFrom { bytes, .. } = world.feed(client.route, &request.0) {
            got += bytes.len() + 28;
        }
    }
    assert!(got > 0 && got <= sent + 256 * 120, "{got} bytes for {sent}");
}

#[test]
fn rfc5780_6_1_plain_binding_never_ends_and_leaves_logins_their_budget() {
    let mut world = discovering();
    let mut client = asking("8.34.2.1:3478");
    let mut plain = 0;
    for i in 0..5_000 {
        // A wish for nothing is understood all the same, and never unknown.
        let nothing = [A::Raw(CHANGE_REQUEST, vec![0; 4])];
        let request = client.plain(BINDING, if i % 2 == 0 { &[] } else { &nothing });
        match world.feed(client.route, &request.0) {
            Out::AnswerFrom { .. } => {}
            Out::Answer(bytes) => {
                assert_eq!(Answer::read(&bytes).kinds(), [MAPPED]);
                plain += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(plain > 0, "when many ask, they get the smallest answer");
    for _ in 0..100 {
        asking("8.34.2.1:3478").challenge(&mut world);
    }
}

#[test]
fn rfc5780_behind_nat_the_public_addresses_are_told() {
    let address = |local: &str, public: &str| DiscoveryAddress {
        local: local.parse().unwrap(),
        public: public.parse().unwrap(),
    };
    let mut world = World::with(|choice| {
        let addresses = [address("10.0.0.1", A1), address("10.0.0.2", A2)];
        choice.discovery = vec![Discovery { addresses, ports: [3478, 3479] }];
    });
    let (server, _, answer) = ask(&mut world, &mut asking("10.0.0.1:3478"), &[change(6)]);
    assert_eq!(server, addr("10.0.0.2:3479"));
    assert_eq!(answer.plain_addresses(RESPONSE_ORIGIN), [addr("8.34.2.2:3479")]);
    assert_eq!(answer.plain_addresses(OTHER_ADDRESS), [addr("8.34.2.2:3479")]);
}
