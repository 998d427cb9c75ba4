//! RFC 6062: TCP allocations.

use std::time::Duration;

use relais::turn::{ClientAddress, ConnectionEnd, DropReason, Event, Server, Traffic, Transport};

use crate::world::*;

/// A server that relays TCP.
fn world() -> World {
    World::with(|choice| choice.tcp = true)
}

/// alice, over TCP, with an allocation for TCP and a permission for `peer(1)`.
fn allocated() -> (World, Client, std::net::SocketAddr) {
    let mut world = world();
    let mut alice = Client::alice().over(Transport::Tcp);
    let relayed = alice.allocate_tcp(&mut world);
    assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
    (world, alice, relayed)
}

/// Where data connections come from.
const DATA_PORT: &str = "9.9.9.9:41000";

impl Client {
    /// Asks for a connection and lets the peer answer.
    pub(crate) fn connect_to(
        &mut self,
        world: &mut World,
        peer: std::net::SocketAddr,
    ) -> relais::turn::ConnectionId {
        let request = self.connect(world, peer);
        let (route, answer) = world.connected(peer);
        assert_eq!((route, answer.code(), answer.kind), (self.route, 0, 0x010A));
        assert_eq!(answer.bytes[8..20], request.0[8..20], "the transaction is that of the Connect");
        answer.assert_signed(self.answer_kind(), &self.key());
        answer.connection()
    }

    /// From another port, over TCP.
    fn data(&self, port: u16) -> Self {
        let mut data = self.clone();
        data.route.tuple.client = ClientAddress(([9, 9, 9, 9], port).into());
        data.nonce.clear();
        data
    }
}

#[test]
fn rfc6062_5_1_without_the_extension_tcp_is_no_transport_and_its_methods_are_unknown() {
    let mut world = World::new();
    let mut alice = Client::alice().over(Transport::Tcp);
    assert_eq!(alice.ask(&mut world, ALLOCATE, &[tcp()]).code(), 442);
    alice.allocate(&mut world);
    for (method, attribute) in [(CONNECT, to(peer(1))), (CONNECTION_BIND, A::Raw(CONNECTION_ID, vec![0; 4]))]
    {
        let request = alice.signed(method, &[attribute]);
        assert_eq!(world.feed(alice.route, &request.0), Out::Dropped(DropReason::UnknownMethod));
    }
}

#[test]
fn rfc6062_5_1_other_transports_are_442_and_udp_goes_on() {
    let mut world = world();
    let mut alice = Client::alice().over(Transport::Tcp);
    for number in [0, 1, 33, 132, 255] {
        let transport = A::Raw(TRANSPORT, vec![number, 0, 0, 0]);
        assert_eq!(alice.ask(&mut world, ALLOCATE, &[transport]).code(), 442, "{number}");
    }
    alice.allocate(&mut world);
    assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
    assert!(alice.reaches(&mut world, peer(1)), "an allocation for UDP is what it was");
    assert!(world.sockets.listening.is_empty());
    world.audit();
}

#[test]
fn rfc6062_5_1_a_tcp_allocation_needs_a_tcp_or_tls_client() {
    for (transport, code) in
        [(Transport::Udp, 400), (Transport::Dtls, 400), (Transport::Tcp, 0), (Transport::Tls, 0)]
    {
        let mut world = world();
        let mut alice = Client::alice().over(transport);
        assert_eq!(alice.ask(&mut world, ALLOCATE, &[tcp()]).code(), code, "{transport:?}");
        world.audit();
    }
}

#[test]
fn rfc6062_5_1_attributes_of_udp_are_400() {
    for attribute in [
        A::Raw(DONT_FRAGMENT, vec![]),
        A::Raw(EVEN_PORT, vec![0]),
        A::Raw(EVEN_PORT, vec![0x80]),
        A::Raw(RESERVATION, vec![7; 8]),
    ] {
        let mut world = world();
        let mut alice = Client::alice().over(Transport::Tcp);
        let answer = alice.ask(&mut world, ALLOCATE, &[tcp(), attribute.clone()]);
        assert_eq!(answer.code(), 400, "{attribute:?}");
        assert_eq!(world.sockets.opened, 0);
    }
}

#[test]
fn rfc6062_5_1_the_relayed_address_listens_for_tcp() {
    let mut world = world();
    let mut alice = Client::alice().over(Transport::Tcp);
    let answer = alice.ask(&mut world, ALLOCATE, &[tcp(), lifetime(900)]);
    assert_eq!((answer.code(), answer.lifetime()), (0, 900));
    assert!(!answer.has(RESERVATION), "MUST NOT be present");
    assert_eq!(answer.kinds()[..3], [RELAYED, LIFETIME, MAPPED]);
    let token = *world.sockets.listening.first().unwrap();
    assert_eq!(world.sockets.open[&token].1, answer.address(RELAYED));
    let mut bob = Client::bob().over(Transport::Tls).at("9.9.9.9:40001");
    let answer = bob.ask(&mut world, ALLOCATE, &[tcp(), family(2)]);
    assert!(answer.address(RELAYED).is_ipv6());
    world.audit();
}

#[test]
fn rfc6062_3_a_tcp_allocation_belongs_to_its_control_connection() {
    let mut world = world();
    let mut alice = Client::alice().over(Transport::Tcp);
    let answer = alice.ask(&mut world, ALLOCATE, &[tcp(), A::Raw(0x8030, vec![])]);
    assert_eq!(answer.code(), 405, "it cannot move (RFC 8016)");
    assert_eq!(world.sockets.opened, 0);
}

#[test]
fn rfc6062_4_2_refreshing_is_as_for_udp() {
    let (mut world, mut alice, _) = allocated();
    assert_eq!(alice.refresh(&mut world, &[lifetime(1200)]).lifetime(), 1200);
    assert_eq!(alice.refresh(&mut world, &[lifetime(600), family(2)]).code(), 443);
    assert_eq!(alice.refresh(&mut world, &[lifetime(0)]).lifetime(), 0);
    assert_eq!(world.server.allocation_count(), 0);
    world.audit();
}

#[test]
fn rfc6062_3_channels_and_datagrams_have_no_place_in_a_tcp_allocation() {
    let (mut world, mut alice, _) = allocated();
    assert_eq!(alice.bind(&mut world, 0x4000, peer(1)), 400);
    assert_eq!(alice.indicate(&mut world, peer(1), b"x"), Out::Dropped(DropReason::TcpAllocation));
    assert_eq!(alice.frame(&mut world, 0x4000, b"x"), Out::Dropped(DropReason::NoChannel));
    world.audit();
}

#[test]
fn rfc6062_5_2_connect_without_a_tcp_allocation_is_437() {
    let mut world = world();
    let mut alice = Client::alice().over(Transport::Tcp);
    assert_eq!(alice.ask(&mut world, CONNECT, &[to(peer(1))]).code(), 437);
    alice.allocate(&mut world);
    assert_eq!(alice.ask(&mut world, CONNECT, &[to(peer(1))]).code(), 437, "an allocation for UDP");
    let mut by_udp = Client::alice().at("9.9.9.9:40009");
    assert_eq!(by_udp.ask(&mut world, CONNECT, &[to(peer(1))]).code(), 437);
    assert!(world.sockets.connections.is_empty());
}

#[test]
fn rfc6062_5_2_connect_by_another_user_is_441() {
    let (mut world, alice, _) = allocated();
    let mut bob = Client::bob();
    bob.route = alice.route;
    assert_eq!(bob.ask(&mut world, CONNECT, &[to(peer(1))]).code(), 441);
    assert!(world.sockets.connections.is_empty());
}

#[test]
fn rfc6062_5_2_connect_without_a_good_peer_address_is_400() {
    let (mut world, mut alice, _) = allocated();
    for attributes in [vec![], vec![A::Raw(PEER, vec![])], vec![A::Raw(PEER, vec![0, 3, 1, 2, 3, 4, 5, 6])]] {
        assert_eq!(alice.ask(&mut world, CONNECT, &attributes).code(), 400, "{attributes:?}");
    }
    assert_eq!(alice.ask(&mut world, CONNECT, &[to(peer6(1))]).code(), 443, "another family");
    assert!(world.sockets.connections.is_empty());
}

#[test]
fn rfc6062_5_2_connect_to_a_forbidden_peer_is_403() {
    let (mut world, mut alice, relayed) = allocated();
    let mut other = Client::bob().over(Transport::Tcp).at("9.9.9.9:40001");
    let live = other.allocate_tcp(&mut world);
    let mut udp = Client::bob().at("9.9.9.9:40002");
    let for_udp = udp.allocate(&mut world);
    for forbidden in ["127.0.0.1:80", "10.0.0.1:80", "169.254.169.254:80", "8.34.2.2:22", "8.34.2.1:22"] {
        assert_eq!(alice.ask(&mut world, CONNECT, &[to(addr(forbidden))]).code(), 403, "{forbidden}");
    }
    assert_eq!(alice.ask(&mut world, CONNECT, &[to(for_udp)]).code(), 403, "nothing of ours is there by TCP");
    assert_eq!(alice.ask(&mut world, CONNECT, &[to(relayed)]).code(), 403, "its own relayed address");
    alice.connect(&mut world, live);
    assert_eq!(world.connection_to(live).peer.0, live, "clients of one relay reach each other");
    world.audit();
}

#[test]
fn rfc6062_5_2_connect_to_an_address_that_has_become_ours_is_403() {
    let (mut world, mut alice, _) = allocated();
    let metrics = addr("8.34.3.9:9478");
    world.sockets.ours.insert(metrics.ip());
    assert_eq!(alice.ask(&mut world, CONNECT, &[to(metrics)]).code(), 403);
    alice.connect(&mut world, addr("8.34.3.8:9478"));
    world.audit();
}

#[test]
fn rfc6062_5_2_connect_needs_no_permission_and_makes_none() {
    let (mut world, mut alice, relayed) = allocated();
    alice.connect_to(&mut world, peer(2));
    let mut visitor = peer(2);
    visitor.set_port(6000);
    assert_eq!(world.incoming(relayed, visitor).unwrap_err(), DropReason::NoPermission);
}

#[test]
fn rfc6062_5_2_the_connection_begins_at_the_relayed_address() {
    let (mut world, mut alice, relayed) = allocated();
    alice.connect(&mut world, peer(1));
    let asked = world.sockets.connections.values().next().unwrap();
    assert_eq!((asked.from, asked.name.peer.0), (Some(relayed), peer(1)));
    assert!(Server::CONNECT_TIMEOUT >= Duration::from_secs(30), "at least 30 seconds");
}

#[test]
fn rfc6062_5_2_one_connection_to_a_peer_at_a_time_else_446() {
    let (mut world, mut alice, _) = allocated();
    let again = |world: &mut World, alice: &mut Client| alice.ask(world, CONNECT, &[to(peer(1))]).code();
    let first = alice.connect(&mut world, peer(1));
    assert_eq!(again(&mut world, &mut alice), 446, "being made");
    assert_eq!(
        world.feed(alice.route, &first.0),
        Out::Consumed,
        "a retransmission waits for the same answer"
    );
    let id = world.connected(peer(1)).1.connection();
    assert_eq!(again(&mut world, &mut alice), 446, "waiting for its ConnectionBind");
    assert_eq!(alice.bind_connection(&mut world, DATA_PORT, id).code(), 0);
    assert_eq!(again(&mut world, &mut alice), 446, "active");
    world.pass_secs(40);
    world.timers();
    assert_eq!(again(&mut world, &mut alice), 446, "still active");
    let mut other_port = peer(1);
    other_port.set_port(81);
    alice.connect_to(&mut world, other_port);
    world.connection_closed(peer(1));
    let new = alice.connect_to(&mut world, peer(1));
    assert_ne!(new, id);
    world.audit();
}

#[test]
fn rfc6062_5_2_a_failed_connection_is_447() {
    let (mut world, mut alice, _) = allocated();
    for _ in 0..2 {
        let request = alice.connect(&mut world, peer(1));
        let answer = world.connect_failed(peer(1)).unwrap();
        assert_eq!((answer.code(), answer.kind), (447, 0x011A));
        assert_eq!(answer.bytes[8..20], request.0[8..20]);
        answer.assert_signed(MI, &alice.key());
    }
    assert_eq!(world.server.counters().by_transport[Transport::Tcp as usize].errors[13], 2);
    world.audit();
}

#[test]
fn rfc6062_5_2_a_late_answer_is_signed_as_its_request_was() {
    let (mut world, mut alice, _) = allocated();
    for (scheme, fingerprint) in [(Scheme::Sha256, true), (Scheme::Md5, false), (Scheme::Old, true)] {
        for (n, succeeds) in [(1, true), (2, false)] {
            let mut asking = alice.clone().with(scheme);
            asking.fingerprint = fingerprint;
            asking.connect(&mut world, peer(n));
            // Another request in between, signed otherwise, changes nothing.
            assert_eq!(alice.refresh(&mut world, &[]).code(), 0);
            let answer =
                if succeeds { world.connected(peer(n)).1 } else { world.connect_failed(peer(n)).unwrap() };
            answer.assert_signed(asking.answer_kind(), &asking.key());
            assert_eq!(answer.has(FINGERPRINT), fingerprint);
            if succeeds {
                world.connection_closed(peer(n));
            }
        }
    }
}

#[test]
fn rfc6062_5_2_the_answer_of_an_ended_allocation_is_nobodys() {
    let (mut world, mut alice, _) = allocated();
    alice.connect(&mut world, peer(1));
    let name = world.connection_to(peer(1));
    assert_eq!(alice.refresh(&mut world, &[lifetime(0)]).code(), 0);
    assert_eq!(world.sockets.cut, [name.id], "the attempt is given up");
    let mut reply = Box::default();
    assert!(world.server.handle_connected(&world.now, &name, &mut reply).is_none());
    assert!(world.server.handle_connect_failed(&name, &mut reply).is_none());
    world.audit();
}

#[test]
fn rfc6062_5_2_connection_ids_are_unique() {
    let (mut world, mut alice, relayed) = allocated();
    let mut ids = vec![alice.connect_to(&mut world, peer(1)), alice.connect_to(&mut world, peer(2))];
    let mut visitor = peer(1);
    for port in 6000..6003 {
        visitor.set_port(port);
        ids.push(world.incoming(relayed, visitor).unwrap().connection());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5);
}

#[test]
fn rfc6062_5_2_an_unbound_connection_is_closed_after_30_seconds() {
    let (mut world, mut alice, _) = allocated();
    let unbound = alice.connect_to(&mut world, peer(1));
    let bound = alice.connect_to(&mut world, peer(2));
    assert_eq!(alice.bind_connection(&mut world, DATA_PORT, bound).code(), 0);
    world.pass(Duration::from_millis(29_999));
    world.timers();
    assert!(world.sockets.cut.is_empty());
    world.pass(Duration::from_millis(1));
    world.timers();
    assert_eq!(world.sockets.cut, [unbound]);
    assert_eq!(world.server.counters().connection_ends[ConnectionEnd::Unbound as usize], 1);
    // Its peer may be connected with again, and the deadline runs anew.
    alice.connect_to(&mut world, peer(1));
    world.pass_secs(29);
    world.timers();
    assert_eq!(world.sockets.cut.len(), 1);
    world.audit();
}

#[test]
fn rfc6062_5_3_a_permitted_peer_is_announced() {
    let (mut world, _, relayed) = allocated();
    let mut visitor = peer(1);
    visitor.set_port(61_234);
    let attempt = world.incoming(relayed, visitor).unwrap();
    assert_eq!(attempt.kind, 0x001C, "a ConnectionAttempt indication");
    assert_eq!(attempt.kinds(), [PEER, CONNECTION_ID]);
    assert_eq!(attempt.address(PEER), visitor);
    assert_eq!(attempt.connection(), world.connection_to(visitor).id);
    world.audit();
}

#[test]
fn rfc6062_5_3_a_peer_without_permission_is_closed_at_once() {
    let (mut world, mut alice, relayed) = allocated();
    assert_eq!(world.incoming(relayed, peer(2)).unwrap_err(), DropReason::NoPermission);
    world.pass_secs(299);
    assert!(world.incoming(relayed, peer(1)).is_ok(), "an address is permitted, whatever the port");
    world.pass_secs(1);
    let mut later = peer(1);
    later.set_port(6001);
    assert_eq!(world.incoming(relayed, later).unwrap_err(), DropReason::NoPermission, "it has expired");
    assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
    assert!(world.incoming(relayed, later).is_ok());
    let drops = world.server.counters().by_transport[Transport::Tcp as usize].drops;
    assert_eq!(drops[DropReason::NoPermission as usize], 2);
    world.audit();
}

#[test]
fn rfc6062_5_3_the_peer_policy_is_asked_of_peers_that_connect() {
    let (mut world, mut alice, relayed) = allocated();
    let mut bob = Client::bob().over(Transport::Tcp).at("9.9.9.9:40001");
    let theirs = bob.allocate_tcp(&mut world);
    assert_eq!(alice.permit(&mut world, &[theirs]), 0);
    assert!(world.incoming(relayed, theirs).is_ok());
    let mut elsewhere = theirs;
    elsewhere.set_port(22);
    assert_eq!(world.incoming(relayed, elsewhere).unwrap_err(), DropReason::Forbidden, "no relayed address");
    world.audit();
}

#[test]
fn rfc6062_5_3_an_unbound_connection_of_a_peer_is_closed_after_30_seconds() {
    let (mut world, alice, relayed) = allocated();
    let id = world.incoming(relayed, peer(1)).unwrap().connection();
    world.pass_secs(30);
    // Whether or not a timer has come by.
    assert_eq!(alice.bind_connection(&mut world, DATA_PORT, id).code(), 400);
    world.timers();
    assert_eq!(world.sockets.cut, [id]);
    assert_eq!(alice.bind_connection(&mut world, "9.9.9.9:41001", id).code(), 400);
    world.audit();
}

#[test]
fn rfc6062_5_3_a_peer_that_comes_again_from_the_same_port_has_lost_its_first_connection() {
    let (mut world, alice, relayed) = allocated();
    let first = world.incoming(relayed, peer(1)).unwrap().connection();
    let second = world.incoming(relayed, peer(1)).unwrap().connection();
    assert_eq!(world.sockets.cut, [first]);
    assert_eq!(alice.bind_connection(&mut world, DATA_PORT, first).code(), 400);
    assert_eq!(alice.bind_connection(&mut world, "9.9.9.9:41001", second).code(), 0);
    world.audit();
}

#[test]
fn rfc6062_5_4_connection_bind_joins_a_data_connection() {
    let (mut world, mut alice, relayed) = allocated();
    let mine = alice.connect_to(&mut world, peer(1));
    let mut visitor = peer(1);
    visitor.set_port(6000);
    let theirs = world.incoming(relayed, visitor).unwrap().connection();
    for (port, id) in [(41_000, mine), (41_001, theirs)] {
        for transport in [Transport::Tcp, Transport::Tls] {
            let mut data = alice.data(port).over(transport);
            let expected = if transport == Transport::Tcp { 0 } else { 400 };
            data.challenge(&mut world);
            let request = data.signed(CONNECTION_BIND, &[connection(id)]);
            let out = world.feed(data.route, &request.0);
            assert_eq!(matches!(&out, Out::Bound(_, bound) if *bound == id), expected == 0, "{out:?}");
            let answer = out.answer();
            answer.assert_signed(MI, &data.key());
            assert_eq!(answer.code(), expected, "once only");
        }
    }
    world.audit();
}

#[test]
fn rfc6062_5_4_connection_bind_over_datagrams_is_400() {
    let (mut world, mut alice, _) = allocated();
    let id = alice.connect_to(&mut world, peer(1));
    for transport in [Transport::Udp, Transport::Dtls] {
        let mut data = alice.data(41_000).over(transport);
        assert_eq!(data.ask(&mut world, CONNECTION_BIND, &[connection(id)]).code(), 400);
    }
    assert_eq!(alice.bind_connection(&mut world, DATA_PORT, id).code(), 0, "it still waits");
}

#[test]
fn rfc6062_5_4_connection_bind_without_a_pending_connection_is_400() {
    let (mut world, mut alice, _) = allocated();
    alice.connect(&mut world, peer(1));
    let being_made = world.connection_to(peer(1)).id;
    let mut data = alice.data(41_000);
    for attributes in [
        vec![],
        vec![A::Raw(CONNECTION_ID, vec![])],
        vec![A::Raw(CONNECTION_ID, vec![0; 3])],
        vec![A::Raw(CONNECTION_ID, vec![0; 8])],
        vec![A::Raw(CONNECTION_ID, vec![0xFF; 4])],
        vec![connection(being_made)],
    ] {
        assert_eq!(data.ask(&mut world, CONNECTION_BIND, &attributes).code(), 400, "{attributes:?}");
    }
}

#[test]
fn rfc6062_5_4_connection_bind_on_a_control_connection_is_400() {
    let (mut world, mut alice, _) = allocated();
    let id = alice.connect_to(&mut world, peer(1));
    assert_eq!(alice.ask(&mut world, CONNECTION_BIND, &[connection(id)]).code(), 400);
    assert_eq!(alice.bind_connection(&mut world, DATA_PORT, id).code(), 0);
}

#[test]
fn rfc6062_4_3_connection_bind_needs_the_credentials_of_the_control_connection() {
    let (mut world, mut alice, _) = allocated();
    let id = alice.connect_to(&mut world, peer(1));
    let mut stranger = alice.data(41_000);
    let request = stranger.plain(CONNECTION_BIND, &[connection(id)]);
    assert_eq!(stranger.send(&mut world, &request).code(), 401);
    let mut wrong = alice.data(41_001);
    wrong.password = "guess".into();
    assert_eq!(wrong.ask_in_vain(&mut world, CONNECTION_BIND, &[connection(id)]).code(), 401);
    let mut bob = Client::bob().over(Transport::Tcp).at("9.9.9.9:41002");
    assert_eq!(bob.ask(&mut world, CONNECTION_BIND, &[connection(id)]).code(), 441);
    assert_eq!(alice.bind_connection(&mut world, DATA_PORT, id).code(), 0, "it still waits");
}

#[test]
fn rfc6062_4_3_the_nonce_of_the_control_connection_is_stale_on_another_port() {
    let (mut world, mut alice, _) = allocated();
    let id = alice.connect_to(&mut world, peer(1));
    let mut data = alice.data(41_000);
    data.nonce = alice.nonce.clone();
    let answer = data.ask_in_vain(&mut world, CONNECTION_BIND, &[connection(id)]);
    assert_eq!(answer.code(), 438);
    data.take(&answer);
    assert_eq!(data.ask(&mut world, CONNECTION_BIND, &[connection(id)]).code(), 0);
}

#[test]
fn rfc6062_4_3_a_credential_that_has_ended_still_binds_what_its_allocation_has() {
    let mut world = World::with(|choice| {
        choice.tcp = true;
        choice.secrets = vec!["north"];
    });
    let name = format!("{}:carol", START_UNIX + 60);
    let mut carol = Client::rest(&name, "north").over(Transport::Tcp);
    carol.allocate_tcp(&mut world);
    world.pass_secs(120);
    let id = carol.connect_to(&mut world, peer(1));
    assert_eq!(carol.bind_connection(&mut world, DATA_PORT, id).code(), 0);
    let mut late = carol.data(41_001);
    assert_eq!(late.ask_in_vain(&mut world, ALLOCATE, &[tcp()]).code(), 401);
}

#[test]
fn rfc6062_5_5_data_connections_end_with_their_allocation() {
    for how in ["expired", "deleted", "closed", "stopped"] {
        let (mut world, mut alice, relayed) = allocated();
        let active = alice.connect_to(&mut world, peer(1));
        assert_eq!(alice.bind_connection(&mut world, DATA_PORT, active).code(), 0);
        let traffic = |bytes| Traffic { packets: 0, bytes };
        world.sockets.connections.get_mut(&active).unwrap().traffic = (traffic(1000), traffic(2000));
        alice.connect_to(&mut world, peer(2));
        alice.connect(&mut world, peer(3));
        let mut visitor = peer(1);
        visitor.set_port(6000);
        world.incoming(relayed, visitor).unwrap();
        world.events();
        match how {
            "expired" => {
                world.pass_secs(600);
                world.timers();
            }
            "deleted" => assert_eq!(alice.refresh(&mut world, &[lifetime(0)]).code(), 0),
            "closed" => world.server.handle_closed(&world.now, &alice.route, &mut world.sockets),
            _ => world.server.end_all(&world.now, &mut world.sockets),
        }
        assert!(world.sockets.connections.is_empty(), "{how}");
        assert_eq!(world.sockets.cut.len(), 4);
        let ended = world.events().into_iter().find_map(|event| match event {
            Event::AllocationEnded { to_peers, to_client, .. } => Some((to_peers.bytes, to_client.bytes)),
            _ => None,
        });
        assert_eq!(ended, Some((1000, 2000)), "{how}: what they relayed is the allocation's");
        world.audit();
    }
}

#[test]
fn rfc6062_5_5_a_connection_that_ends_first_leaves_its_traffic() {
    let (mut world, mut alice, _) = allocated();
    let id = alice.connect_to(&mut world, peer(1));
    assert_eq!(alice.bind_connection(&mut world, DATA_PORT, id).code(), 0);
    let traffic = |bytes| Traffic { packets: 0, bytes };
    world.sockets.connections.get_mut(&id).unwrap().traffic = (traffic(7), traffic(9));
    world.connection_closed(peer(1));
    assert_eq!(world.server.counters().connection_ends[ConnectionEnd::Closed as usize], 1);
    world.events();
    assert_eq!(alice.refresh(&mut world, &[lifetime(0)]).code(), 0);
    let ended = world.events().into_iter().find_map(|event| match event {
        Event::AllocationEnded { to_peers, to_client, .. } => Some((to_peers.bytes, to_client.bytes)),
        _ => None,
    });
    assert_eq!(ended, Some((7, 9)));
    world.audit();
}

#[test]
fn rfc6062_7_connections_of_an_allocation_are_bounded() {
    let mut world = World::with(|choice| {
        choice.tcp = true;
        choice.limits.connections = 3;
    });
    let mut alice = Client::alice().over(Transport::Tcp);
    let relayed = alice.allocate_tcp(&mut world);
    assert_eq!(alice.permit(&mut world, &[peer(1)]), 0);
    alice.connect(&mut world, peer(2));
    alice.connect_to(&mut world, peer(3));
    world.incoming(relayed, peer(1)).unwrap();
    assert_eq!(alice.ask(&mut world, CONNECT, &[to(peer(4))]).code(), 508);
    let mut visitor = peer(1);
    visitor.set_port(6000);
    assert_eq!(world.incoming(relayed, visitor).unwrap_err(), DropReason::ConnectionLimit);
    world.connection_closed(peer(3));
    assert!(world.incoming(relayed, visitor).is_ok());
    world.connect_failed(peer(2)).unwrap();
    world.sockets.exhausted = true;
    assert_eq!(alice.ask(&mut world, CONNECT, &[to(peer(4))]).code(), 508, "no descriptors");
    world.audit();
}
