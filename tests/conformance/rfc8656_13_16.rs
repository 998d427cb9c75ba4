//! RFC 8656 §13-§16: what the IP header of a relayed packet says. DSCP and ECN are one byte, here called tos.

use crate::world::*;
use relais::turn::Transport;
use relais::wire::Marks;

const NONE: Marks = Marks { tos: 0, dont_fragment: false };
const WHOLE: Marks = Marks { tos: 0, dont_fragment: true };
const IPV6_CLIENT: &str = "[2a01:4f8:99::9]:40000";

const fn tos(tos: u8) -> Marks {
    Marks { tos, dont_fragment: false }
}

/// A client, where from and over what, with a relayed address of a family and a permission and a channel for a peer.
struct Pair {
    world: World,
    client: Client,
    relayed: std::net::SocketAddr,
    peer: std::net::SocketAddr,
}

fn pair(client_is_ipv6: bool, relay_is_ipv6: bool, transport: Transport) -> Pair {
    let mut world = World::new();
    let mut client = Client::alice().over(transport);
    if client_is_ipv6 {
        client = client.at(IPV6_CLIENT);
    }
    let (relayed, peer) = if relay_is_ipv6 {
        (client.allocate6(&mut world), peer6(1))
    } else {
        (client.allocate(&mut world), peer(1))
    };
    assert_eq!(client.bind(&mut world, 0x4000, peer), 0);
    Pair { world, client, relayed, peer }
}

impl Pair {
    /// What the datagram to the peer leaves with when it came with `tos`, as ChannelData and in a Send indication.
    fn sent_to_peer(&mut self, tos: u8) -> [Marks; 2] {
        let send = self.client.plain(SEND, &[to(self.peer), data(b"x")]).0;
        [channel_data(0x4000, b"x"), send].map(|bytes| {
            let (out, marks) = self.world.feed_marked(self.client.route, &bytes, tos);
            assert!(matches!(out, Out::ToPeer { .. }), "{out:?}");
            marks
        })
    }

    /// What the datagram to the client leaves with when it came with `tos`.
    fn sent_to_client(&mut self, tos: u8) -> Marks {
        let id = self.world.allocation_at(self.relayed);
        let (out, marks) = self.world.arrives_marked(id, self.peer, b"x", tos);
        assert!(matches!(out, Out::ToClient { .. }), "{out:?}");
        marks
    }

    fn with_dont_fragment(&mut self) -> Marks {
        let send = self.client.plain(SEND, &[to(self.peer), dont_fragment(), data(b"x")]);
        self.world.feed_marked(self.client.route, &send.0, 0).1
    }
}

#[test]
fn rfc8656_14_dscp_and_ecn_are_copied_both_ways() {
    for transport in [Transport::Udp, Transport::Dtls] {
        let mut pair = pair(false, false, transport);
        for value in 0..=255 {
            assert_eq!(pair.sent_to_peer(value), [tos(value); 2]);
            assert_eq!(pair.sent_to_client(value), tos(value));
        }
    }
}

#[test]
fn rfc8656_13_traffic_class_is_copied_across_the_families() {
    for (client, relay) in [(false, true), (true, false), (true, true)] {
        let mut pair = pair(client, relay, Transport::Udp);
        for value in [0xB8, 0xBA, 1, 2, 3, 0] {
            assert_eq!(pair.sent_to_peer(value), [tos(value); 2]);
            assert_eq!(pair.sent_to_client(value), tos(value));
        }
    }
}

#[test]
fn rfc8656_14_data_indications_copy_too() {
    let (mut world, _, relayed) = talking();
    let id = world.allocation_at(relayed);
    let (out, marks) = world.arrives_marked(id, peer(1), b"x", 0xB9);
    assert_eq!((data_indication(out).1, marks), (b"x".to_vec(), tos(0xB9)));
}

#[test]
fn rfc8656_14_nothing_is_kept_for_the_next_datagram() {
    let mut pair = pair(false, false, Transport::Udp);
    pair.sent_to_peer(0xB8);
    pair.with_dont_fragment();
    assert_eq!(pair.sent_to_peer(0), [NONE; 2]);
    pair.sent_to_client(0xB8);
    assert_eq!(pair.sent_to_client(0), NONE);
}

#[test]
fn rfc8656_14_answers_have_no_marks() {
    let mut world = World::new();
    let mut alice = Client::alice();
    let request = alice.plain(BINDING, &[]);
    let (out, marks) = world.feed_marked(alice.route, &request.0, 0xFF);
    assert_eq!((out.answer().code(), marks), (0, NONE));
}

#[test]
fn rfc8656_14_dont_fragment_counts_from_ipv4_to_ipv4() {
    for transport in [Transport::Udp, Transport::Dtls] {
        let mut pair = pair(false, false, transport);
        assert_eq!(pair.with_dont_fragment(), WHOLE);
        assert_eq!(pair.sent_to_peer(0), [NONE; 2], "else DF is 0");
        assert_eq!(pair.sent_to_client(0), NONE);
    }
}

#[test]
fn rfc8656_13_dont_fragment_is_ignored_where_packets_are_translated() {
    for (client, relay) in [(false, true), (true, false), (true, true)] {
        assert_eq!(pair(client, relay, Transport::Udp).with_dont_fragment(), NONE);
    }
}

#[test]
fn rfc8656_15_dont_fragment_counts_for_streams_of_both_families() {
    for transport in [Transport::Tcp, Transport::Tls] {
        for (client, relay) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut pair = pair(client, relay, transport);
            assert_eq!(pair.with_dont_fragment(), WHOLE);
            assert_eq!(pair.sent_to_peer(0), [NONE; 2], "else DF is 0");
        }
    }
}

#[test]
fn rfc8656_15_dscp_of_the_connection_and_no_ecn() {
    for transport in [Transport::Tcp, Transport::Tls] {
        for (client, relay) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut pair = pair(client, relay, transport);
            for value in 0..=255 {
                assert_eq!(pair.sent_to_peer(value), [tos(value & 0xFC); 2]);
            }
        }
    }
}

#[test]
fn rfc8656_16_marks_of_peers_end_at_a_stream() {
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut pair = pair(false, false, transport);
        for value in 0..=255 {
            assert_eq!(pair.sent_to_client(value), NONE);
        }
    }
}
