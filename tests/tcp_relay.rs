//! TCP allocations (RFC 6062) against the program itself: bytes both ways through several workers, back-pressure, and
//! how connections end.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/live.rs"]
mod live;
#[path = "support/secure.rs"]
mod secure;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::{scope, sleep};
use std::time::Duration;

use live::{Client, LOOPBACK, Link, Reply, SOON, Server, eventually};
use relais::auth::rest;
use relais::wire::{Class, Message, attr, method};
use secure::Secure;
use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

const AT_ONCE: Duration = Duration::from_secs(2);

/// A server that relays TCP, with as many workers as `workers` says.
fn relay(workers: &str) -> Server {
    Server::start(&[("relay.tcp", "true"), ("listen.workers", workers)])
}

fn allocate(client: &mut Client) -> Reply {
    client.call(method::ALLOCATE, |writer| {
        writer.attribute(attr::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
    })
}

/// A client with a TCP allocation, and its relayed address.
fn allocated(server: &Server) -> (Client, SocketAddr) {
    let mut client = server.tcp();
    let reply = allocate(&mut client);
    assert_eq!(reply.code(), 0);
    (client, reply.address(attr::XOR_RELAYED_ADDRESS))
}

fn connect(client: &mut Client, peer: SocketAddr) -> Reply {
    client.call(method::CONNECT, |writer| {
        writer.xor_address(attr::XOR_PEER_ADDRESS, peer);
    })
}

fn bind(data: &mut Client, id: &[u8]) -> Reply {
    data.call(method::CONNECTION_BIND, |writer| {
        writer.attribute(attr::CONNECTION_ID, id);
    })
}

/// A new connection to the server, bound.
fn bound(server: &Server, id: &[u8]) -> TcpStream {
    let mut data = server.tcp();
    assert_eq!(bind(&mut data, id).code(), 0);
    data.stream().try_clone().unwrap()
}

/// A peer that listens.
fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn accepted(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let (stream, from) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    (stream, from)
}

/// A connection from a client's allocation to a peer: both ends.
fn joined(server: &Server, client: &mut Client) -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let reply = connect(client, address);
    assert_eq!(reply.code(), 0);
    let (peer, _) = accepted(&listener);
    let data = bound(server, &reply.get(attr::CONNECTION_ID).unwrap());
    (data, peer)
}

/// What a ConnectionAttempt says: the connection, and the peer.
fn attempt(client: &Client) -> (Vec<u8>, SocketAddr) {
    let bytes = client.receive();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.method(), message.class()), (method::CONNECTION_ATTEMPT, Class::Indication));
    let peer = message.xor_address(message.get(attr::XOR_PEER_ADDRESS).unwrap()).unwrap();
    (message.get(attr::CONNECTION_ID).unwrap().to_vec(), peer)
}

fn says(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    let mut heard = vec![0; bytes.len()];
    to.read_exact(&mut heard).unwrap();
    assert!(heard == bytes, "as it was sent");
}

/// Reads to the end of a stream.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Whether a stream ends at once, in whatever way.
fn has_ended(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(AT_ONCE)).unwrap();
    match stream.read(&mut [0; 16]) {
        Ok(0) => true,
        Ok(_) => panic!("bytes instead of an end"),
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

const SECRET: &str = "a secret that is long enough for anybody";

/// A server where credentials may carry policies.
fn metering() -> Server {
    let secrets = format!("[{{ name = \"s\", secret = \"{SECRET}\" }}]");
    Server::start(&[("relay.tcp", "true"), ("listen.workers", "3"), ("auth.secrets", &secrets)])
}

/// A new connection of whoever has a credential with this policy.
fn holder(server: &Server, policy: &str) -> Client {
    let name = format!("4000000000:alice?policy&{policy}");
    server.tcp().login(&name, &rest::password(SECRET.as_bytes(), name.as_bytes()))
}

/// The two ends of a connection from a holder's allocation.
fn joined_by(server: &Server, policy: &str, client: &mut Client) -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let reply = connect(client, address);
    assert_eq!(reply.code(), 0);
    let (peer, _) = accepted(&listener);
    let mut data = holder(server, policy);
    assert_eq!(bind(&mut data, &reply.get(attr::CONNECTION_ID).unwrap()).code(), 0);
    (data.stream().try_clone().unwrap(), peer)
}

fn connections(server: &Server) -> f64 {
    server.metric("relais_connections")
}

/// Bytes that are not the same anywhere.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn bytes_pass_both_ways_on_a_connection_of_either_side() {
    let server = relay("1");
    let (mut client, relayed) = allocated(&server);
    let (listener, address) = listener();
    let reply = connect(&mut client, address);
    let (mut peer, from) = accepted(&listener);
    assert_eq!(from, relayed, "the connection begins at the relayed address");
    let mut data = bound(&server, &reply.get(attr::CONNECTION_ID).unwrap());
    let long = pattern(300_000);
    scope(|scope| {
        let back = scope.spawn(|| {
            let (mut peer, mut data) = (peer.try_clone().unwrap(), data.try_clone().unwrap());
            says(&mut peer, &mut data, &long);
        });
        says(&mut data.try_clone().unwrap(), &mut peer.try_clone().unwrap(), &long);
        back.join().unwrap();
    });
    says(&mut data, &mut peer, b"and so on");

    assert_eq!(client.permit(address), 0);
    let mut visitor = TcpStream::connect(relayed).unwrap();
    visitor.set_read_timeout(Some(SOON)).unwrap();
    let (id, who) = attempt(&client);
    assert_eq!(who, visitor.local_addr().unwrap());
    let mut second = bound(&server, &id);
    says(&mut visitor, &mut second, b"from outside");
    says(&mut second, &mut visitor, b"from inside");
    assert_eq!(connections(&server), 2.0);
    let sent = r#"relais_bytes_total{transport="tcp",direction="to_peer"}"#;
    assert_eq!(server.metric(sent), 300_020.0);
}

#[test]
fn any_worker_may_get_the_data_connection() {
    let server = relay("3");
    let mut clients: Vec<_> = (0..4).map(|_| allocated(&server)).collect();
    for round in 0..3u8 {
        for (client, _) in &mut clients {
            // With three workers, of twelve connections some meet another worker than their allocation's, and some do not.
            let (mut data, mut peer) = joined(&server, client);
            says(&mut data, &mut peer, &[round; 1000]);
            says(&mut peer, &mut data, &[round; 2000]);
            data.shutdown(Shutdown::Write).unwrap();
            assert!(has_ended(&mut peer));
            drop(peer);
            assert!(has_ended(&mut data));
        }
    }
    assert!(eventually(|| connections(&server) == 0.0), "all have ended");
    let ended = r#"relais_connections_ended_total{reason="closed"}"#;
    assert_eq!(server.metric(ended), 12.0);
    // What was relayed on other workers is the allocation's all the same.
    for (mut client, _) in clients {
        assert_eq!(client.refresh(0).code(), 0);
    }
    assert!(eventually(|| server.log().matches("to_peers_bytes=3000 ").count() == 4), "{}", server.log());
    assert_eq!(server.log().matches("to_client_bytes=6000 ").count(), 4, "{}", server.log());
}

#[test]
fn bytes_behind_the_connection_bind_belong_to_the_peer() {
    let server = relay("1");
    let (mut client, _) = allocated(&server);
    for len in [1, 7, 5000] {
        let (listener, address) = listener();
        let reply = connect(&mut client, address);
        let (mut peer, _) = accepted(&listener);
        let id = reply.get(attr::CONNECTION_ID).unwrap();
        let mut data = server.tcp();
        // The challenge first, so that the next request succeeds.
        let challenge = data.once(method::CONNECTION_BIND, |writer| {
            writer.attribute(attr::CONNECTION_ID, &id);
        });
        data.take_challenge(&challenge);
        let request = data.write(method::CONNECTION_BIND, |writer| {
            writer.attribute(attr::CONNECTION_ID, &id);
        });
        // These would be a frame that never ends, if they were one.
        let bytes = vec![0; len];
        data.send(&[&request[..], &bytes].concat());
        assert_eq!(data.response_to(&request).code(), 0);
        let mut heard = vec![1; len];
        peer.read_exact(&mut heard).unwrap();
        assert_eq!(heard, bytes);
    }
}

#[test]
fn bytes_of_the_peer_before_the_connection_bind_are_kept() {
    let server = relay("2");
    let (mut client, relayed) = allocated(&server);
    assert_eq!(client.permit(relayed), 0);
    let mut visitor = TcpStream::connect(relayed).unwrap();
    visitor.write_all(b"early bird").unwrap();
    visitor.shutdown(Shutdown::Write).unwrap();
    let (id, _) = attempt(&client);
    sleep(Duration::from_millis(50));
    let mut data = bound(&server, &id);
    assert_eq!(rest(&mut data), b"early bird", "behind the success response, and then the end");
    data.write_all(b"worm").unwrap();
    data.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut visitor), b"worm");
}

#[test]
fn each_side_may_close_its_half_first() {
    let server = relay("1");
    let (mut client, _) = allocated(&server);
    let (mut data, mut peer) = joined(&server, &mut client);
    data.write_all(b"question").unwrap();
    data.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut peer), b"question");
    let answer = pattern(200_000);
    scope(|scope| {
        scope.spawn(|| {
            let mut peer = peer.try_clone().unwrap();
            peer.write_all(&answer).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
        });
        assert!(rest(&mut data) == answer);
    });
    let (mut data, mut peer) = joined(&server, &mut client);
    peer.write_all(b"greeting").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut data), b"greeting");
    data.write_all(b"thanks").unwrap();
    drop(data);
    assert_eq!(rest(&mut peer), b"thanks");
}

#[test]
fn a_reset_is_passed_on() {
    let server = relay("1");
    let (mut client, _) = allocated(&server);
    for from_peer in [true, false] {
        let (data, peer) = joined(&server, &mut client);
        let (lost, mut left) = if from_peer { (peer, data) } else { (data, peer) };
        socket2::SockRef::from(&lost).set_linger(Some(Duration::ZERO)).unwrap();
        drop(lost);
        left.set_read_timeout(Some(AT_ONCE)).unwrap();
        assert_eq!(left.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    assert!(eventually(|| connections(&server) == 0.0));
    assert_eq!(server.metric(r#"relais_connections_ended_total{reason="reset"}"#), 2.0);
}

#[test]
fn who_does_not_read_holds_up_the_other_side_and_costs_no_memory() {
    let server = relay("1");
    let (mut client, _) = allocated(&server);
    for from_peer in [false, true] {
        let (data, peer) = joined(&server, &mut client);
        let (mut writer, mut reader) = if from_peer { (peer, data) } else { (data, peer) };
        let before = server.resident();
        let bytes = pattern(1 << 20);
        writer.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut sent = 0;
        // More than the kernel's buffers of both connections could ever hold.
        while sent < 256 << 20 {
            match writer.write(&bytes[sent % (1 << 20)..]) {
                Ok(len) => sent += len,
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                    break;
                }
            }
        }
        assert!(sent < 64 << 20, "the writer has to wait, after {sent} bytes");
        let grown = server.resident() - before;
        assert!(grown < 1 << 20, "{grown} bytes for one connection");
        writer.shutdown(Shutdown::Write).unwrap();
        let mut heard = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let len = reader.read(&mut buffer).unwrap();
            if len == 0 {
                break;
            }
            assert!((0..len).all(|i| buffer[i] == bytes[(heard + i) % (1 << 20)]), "in order");
            heard += len;
        }
        assert_eq!(heard, sent, "nothing is lost");
    }
}

#[test]
fn an_allocation_takes_its_connections_with_it() {
    let server = relay("2");
    for deleted in [true, false] {
        let (mut client, relayed) = allocated(&server);
        let (mut data, mut peer) = joined(&server, &mut client);
        says(&mut data, &mut peer, b"alive");
        assert_eq!(client.permit(relayed), 0);
        let mut unbound = TcpStream::connect(relayed).unwrap();
        attempt(&client);
        if deleted {
            assert_eq!(client.refresh(0).code(), 0);
        } else {
            drop(client);
        }
        for stream in [&mut data, &mut peer, &mut unbound] {
            assert!(has_ended(stream));
        }
        assert!(eventually(|| TcpStream::connect(relayed).is_err()), "nobody listens there any more");
    }
    assert!(eventually(|| connections(&server) == 0.0));
    assert_eq!(server.metric(r#"relais_connections_ended_total{reason="allocation_ended"}"#), 4.0);
}

#[test]
fn a_rate_slows_connections_down_and_loses_nothing() {
    const LEN: usize = 200_000;
    let server = metering();
    // 200,000 bytes a second, a quarter of which may run ahead.
    let policy = "rate=1600000";
    let mut client = holder(&server, policy);
    assert_eq!(allocate(&mut client).code(), 0);
    let mut ends: Vec<_> = (0..2).map(|_| joined_by(&server, policy, &mut client)).collect();
    let bytes = pattern(LEN);
    let begin = Instant::now();
    scope(|scope| {
        for (data, peer) in &mut ends {
            let (mut data_again, mut peer_again) = (data.try_clone().unwrap(), peer.try_clone().unwrap());
            scope.spawn(|| says(data, peer, &bytes));
            let bytes = &bytes;
            scope.spawn(move || says(&mut peer_again, &mut data_again, bytes));
        }
    });
    // Four directions of two connections, perhaps on different workers, share the rate. Each may be a piece ahead.
    let least = (4 * LEN - 50_000 - 4 * 12_500) as f64 / 200_000.0;
    assert!(begin.elapsed().as_secs_f64() > least * 0.95, "{:?}, not {least} s", begin.elapsed());
}

#[test]
fn a_budget_ends_the_connections_and_the_allocation_and_refuses_the_next() {
    let server = metering();
    let policy = "bytes=100000";
    let mut client = holder(&server, policy);
    assert_eq!(allocate(&mut client).code(), 0);
    let (mut data, mut peer) = joined_by(&server, policy, &mut client);
    let (mut other, _other_peer) = joined_by(&server, policy, &mut client);
    says(&mut data, &mut peer, &pattern(30_000));
    says(&mut peer, &mut data, &pattern(30_000));
    // What the allocation has not used is there for the next one.
    assert_eq!(client.refresh(0).code(), 0);
    assert!(has_ended(&mut other));
    let mut client = holder(&server, policy);
    assert_eq!(allocate(&mut client).code(), 0);
    let (mut data, mut peer) = joined_by(&server, policy, &mut client);
    let (mut other, mut other_peer) = joined_by(&server, policy, &mut client);
    says(&mut other, &mut other_peer, b"alive");
    data.write_all(&pattern(60_000)).unwrap();
    let mut heard = Vec::new();
    let error = peer.read_to_end(&mut heard).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "half is not to look like all");
    assert!(pattern(60_000).starts_with(&heard));
    assert!((35_000..40_000).contains(&heard.len()), "{}", heard.len());
    assert!(has_ended(&mut other) && has_ended(&mut other_peer), "the allocation has ended");
    let refused = allocate(&mut holder(&server, policy));
    assert_eq!(refused.code(), 403);
    assert!(eventually(|| server.log().contains("byte budget used up")), "{}", server.log());
    assert_eq!(server.metric(r#"relais_connections_ended_total{reason="budget_spent"}"#), 1.0);
    assert!(eventually(|| connections(&server) == 0.0));
}

#[test]
fn a_rate_holds_over_tls_where_records_are_longer_than_what_may_be_read() {
    let secrets = format!("[{{ name = \"s\", secret = \"{SECRET}\" }}]");
    let secure = Secure::start(&[("relay.tcp", "true"), ("auth.secrets", &secrets)]);
    // Pieces of 1,500 bytes: a record holds up to 16,384.
    let name = "4000000000:alice?policy&rate=190000";
    let login = |client: Client| client.login(name, &rest::password(SECRET.as_bytes(), name.as_bytes()));
    let mut control = login(secure.client());
    assert_eq!(allocate(&mut control).code(), 0);
    let (listener, address) = listener();
    let reply = connect(&mut control, address);
    let (mut peer, _) = accepted(&listener);
    let mut data = login(secure.client());
    assert_eq!(bind(&mut data, &reply.get(attr::CONNECTION_ID).unwrap()).code(), 0);
    let bytes = pattern(40_000);
    let Link::Tls(link) = &data.link else { panic!("not TLS") };
    link.stream.write().unwrap().write_all(&bytes).unwrap();
    let mut heard = vec![0; bytes.len()];
    peer.read_exact(&mut heard).unwrap();
    assert!(heard == bytes, "as it was sent");
}

#[test]
fn a_peer_without_permission_is_closed_at_once() {
    let server = relay("1");
    let (client, relayed) = allocated(&server);
    for _ in 0..3 {
        let mut visitor = TcpStream::connect(relayed).unwrap();
        assert!(has_ended(&mut visitor));
    }
    assert!(
        client.stream().set_nonblocking(true).is_ok() && client.try_receive().is_none(),
        "nobody is told"
    );
    let drops = r#"relais_drops_total{transport="tcp",reason="no_permission"}"#;
    assert!(eventually(|| server.metric(drops) == 3.0));
}

#[test]
fn connections_that_fail_are_447_and_the_stream_goes_on() {
    let server = relay("1");
    let (mut client, _) = allocated(&server);
    let (listener, address) = listener();
    drop(listener);
    assert_eq!(connect(&mut client, address).code(), 447);
    assert_eq!(client.refresh(600).code(), 0);
    assert_eq!(connections(&server), 0.0);
}

#[test]
fn a_stale_nonce_leaves_the_data_connection_open() {
    let server = relay("1");
    let (mut client, _) = allocated(&server);
    let (listener, address) = listener();
    let reply = connect(&mut client, address);
    let _peer = accepted(&listener);
    let id = reply.get(attr::CONNECTION_ID).unwrap();
    let mut data = server.tcp();
    let challenge = data.once(method::ALLOCATE, |_| {});
    data.take_challenge(&challenge);
    data.nonce.clone_from(&client.nonce);
    let refused = data.once(method::CONNECTION_BIND, |writer| {
        writer.attribute(attr::CONNECTION_ID, &id);
    });
    assert_eq!(refused.code(), 438);
    data.take_challenge(&refused);
    assert_eq!(bind(&mut data, &id).code(), 0);
}

#[test]
fn the_servers_own_listeners_are_no_peers_whatever_is_allowed() {
    let server = Server::start(&[("relay.tcp", "true"), ("peers.allow", "[\"127.0.0.0/8\"]")]);
    let (mut client, _) = allocated(&server);
    for port in [3478, 9478] {
        let own = SocketAddr::new(server.ip.into(), port);
        assert_eq!(connect(&mut client, own).code(), 403, "{port}");
    }
}

/// Connections to `target` that begin at `source`, made without waiting for any.
fn crowd(source: [u8; 4], target: SocketAddr, count: usize) -> Vec<Socket> {
    let one = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&target.into());
        socket
    };
    (0..count).map(one).collect()
}

#[test]
fn strangers_do_not_keep_a_permitted_peer_waiting() {
    let server = relay("1");
    let (mut client, relayed) = allocated(&server);
    assert_eq!(client.permit((LOOPBACK, 1).into()), 0);
    let strangers = crowd([127, 0, 0, 9], relayed, 700);
    let mut friend = TcpStream::connect(relayed).unwrap();
    let (id, who) = attempt(&client);
    assert_eq!(who, friend.local_addr().unwrap());
    says(&mut friend, &mut bound(&server, &id), b"let me through");
    let drops = r#"relais_drops_total{transport="tcp",reason="no_permission"}"#;
    assert!(
        eventually(|| server.metric(drops) == 700.0),
        "all of them turned away, {}",
        server.metric(drops)
    );
    drop(strangers);
}

#[test]
fn the_connections_of_a_user_are_bounded() {
    let server = Server::start(&[("relay.tcp", "true"), ("limits.connections_per_allocation", "1")]);
    let mut clients: Vec<_> = (0..5).map(|_| allocated(&server).0).collect();
    let (listener, address) = listener();
    let codes: Vec<u16> = clients.iter_mut().map(|client| connect(client, address).code()).collect();
    assert_eq!(codes, [0, 0, 0, 0, 508], "four times what one allocation may have");
    // Nor do peers get further.
    let (mut last, relayed) = allocated(&server);
    assert_eq!(last.permit(relayed), 0);
    assert!(has_ended(&mut TcpStream::connect(relayed).unwrap()));
    let drops = r#"relais_drops_total{transport="tcp",reason="connection_limit"}"#;
    assert!(eventually(|| server.metric(drops) == 1.0));
    // Whoever ends a connection may have another one.
    assert_eq!(clients[0].refresh(0).code(), 0);
    assert_eq!(connect(&mut clients[4], address).code(), 0);
    drop(listener);
}

/// Writes until nothing more is taken.
fn fill(mut write: impl FnMut(&[u8]) -> std::io::Result<usize>, bytes: &[u8]) {
    let mut sent = 0;
    loop {
        match write(&bytes[sent % bytes.len()..]) {
            Ok(len) => sent += len,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                return;
            }
        }
    }
}

#[test]
fn two_sides_that_do_not_read_cost_little_over_tls() {
    const COUNT: usize = 3;
    const LIMIT: i64 = 80 << 10;
    let secure = Secure::start(&[("relay.tcp", "true"), ("listen.workers", "1")]);
    let mut control = secure.client();
    assert_eq!(allocate(&mut control).code(), 0);
    let mut joined = Vec::new();
    for _ in 0..COUNT {
        let (listener, address) = listener();
        let reply = connect(&mut control, address);
        let (peer, _) = accepted(&listener);
        let mut data = secure.client();
        assert_eq!(bind(&mut data, &reply.get(attr::CONNECTION_ID).unwrap()).code(), 0);
        for stream in [data.stream(), &peer] {
            // Else the kernel keeps megabytes of each, and the test takes minutes.
            let socket = socket2::SockRef::from(stream);
            socket.set_recv_buffer_size(16 << 10).unwrap();
        }
        joined.push((data, peer));
    }
    let bytes = pattern(1 << 20);
    let before = secure.server.resident();
    for (data, peer) in &mut joined {
        peer.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        data.stream().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let Link::Tls(link) = &data.link else { panic!("not TLS") };
        let mut tls = link.stream.write().unwrap();
        fill(|bytes| tls.write(bytes), &bytes);
        fill(|bytes| peer.write(bytes), &bytes);
    }
    let each = (secure.server.resident() - before) / COUNT as i64;
    assert!(each < LIMIT, "{each} bytes for each connection");
}
