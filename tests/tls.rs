//! TLS listeners of the program itself: handshakes, names, protocols, streams below and above, and certificates that
//! change while it runs.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/live.rs"]
mod live;
#[path = "support/secure.rs"]
mod secure;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use certificates::Authority;
use live::{Client, Link, TlsLink, channel_data, eventually, heard, peer};
use relais::wire::{attr, method};
use secure::{NAME, Secure};
use tokio::time::Instant;

const CHANNEL: u16 = 0x4001;
const AT_ONCE: Duration = Duration::from_secs(2);
/// Long enough for the server to have read what was sent before.
const PAUSE: Duration = Duration::from_millis(30);

fn over(link: TlsLink) -> Client {
    Client::with(Link::Tls(Box::new(link)))
}

fn link(client: &Client) -> &TlsLink {
    let Link::Tls(link) = &client.link else { panic!("not TLS") };
    link
}

/// A bare connection to the TLS port.
fn bare(secure: &Secure) -> TcpStream {
    let stream = TcpStream::connect(secure.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(12))).unwrap();
    stream
}

/// What comes until the end, which must come within `patience`; a reset is an end.
fn rest(mut stream: &TcpStream, patience: Duration) -> Vec<u8> {
    let (began, mut bytes) = (Instant::now(), Vec::new());
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "no end");
    }
    assert!(began.elapsed() < patience, "after {:?}", began.elapsed());
    bytes
}

/// The first flight of a client.
fn hello(secure: &Secure, protocols: &[&[u8]]) -> Vec<u8> {
    let config = secure.authority.client(protocols, None);
    let mut tls = rustls::ClientConnection::new(config, NAME.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    tls.write_tls(&mut bytes).unwrap();
    bytes
}

/// The serial number of the certificate that new clients see tells one from another.
fn seen(secure: &Secure, authority: &Authority) -> Option<Vec<u8>> {
    let link = TlsLink::new(secure.address(), NAME, authority.client(&[], None)).ok()?;
    let stream = link.stream.read().unwrap();
    Some(stream.conn.peer_certificates()?[0].to_vec())
}

fn refused(secure: &Secure, reason: &str) -> f64 {
    secure.server.metric(&format!("relais_streams_refused_total{{reason=\"{reason}\"}}"))
}

#[test]
fn a_client_over_tls_is_served_like_any_other() {
    let secure = Secure::start(&[]);
    let mut client = secure.client();
    let own = client.stream().local_addr().unwrap();
    assert_eq!(client.binding().address(attr::XOR_MAPPED_ADDRESS), own);
    let relayed = client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.bind(CHANNEL, peer_address), 0);
    for len in [1, 5, 1000, 20_000, 60_000] {
        client.send(&channel_data(CHANNEL, &vec![7; len]));
        assert_eq!(heard(&peer), (vec![7; len], relayed));
        peer.send_to(&vec![8; len], relayed).unwrap();
        assert_eq!(client.receive(), channel_data(CHANNEL, &vec![8; len]));
    }
    assert!(secure.server.log().contains("tls:"));
    assert_eq!(secure.server.metric("relais_allocations{transport=\"tls\"}"), 1.0);
    assert_eq!(secure.server.metric("relais_streams{transport=\"tls\"}"), 1.0);
    drop(client);
    assert!(eventually(|| secure.server.metric("relais_allocations{transport=\"tls\"}") == 0.0));
}

#[test]
fn rfc7443_3_protocols_of_stun_are_chosen_and_foreign_ones_refused() {
    let secure = Secure::start(&[]);
    for (offered, chosen) in [
        (&[&b"stun.turn"[..]][..], Some(&b"stun.turn"[..])),
        (&[b"stun.nat-discovery"], Some(b"stun.nat-discovery")),
        (&[b"h2", b"http/1.1", b"stun.turn"], Some(b"stun.turn")),
        (&[], None),
    ] {
        let link = secure.shake(offered).unwrap();
        assert_eq!(link.stream.read().unwrap().conn.alpn_protocol(), chosen);
        assert_eq!(over(link).binding().code(), 0);
    }
    for offered in [&[&b"h2"[..]][..], &[b"acme-tls/1"], &[b"http/1.1"]] {
        let error = secure.shake(offered).err().unwrap();
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    }
}

#[test]
fn both_versions_are_spoken_and_nothing_weak() {
    let secure = Secure::start(&[]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = rustls::RootCertStore::empty();
        let authority = certificates::Pair { certificate: secure.authority.pem(), key: String::new() };
        roots.add(authority.der()).unwrap();
        let config = rustls::ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(roots)
            .with_no_client_auth();
        assert_eq!(Client::tls(secure.address(), NAME, config.into()).binding().code(), 0, "{version:?}");
    }
    // TLS 1.1, and TLS 1.2 with nothing but RSA key exchange and CBC.
    for (version, suite) in [([3, 2], [0xC0, 0x13]), ([3, 3], [0x00, 0x2F])] {
        let body = [&version[..], &[7; 32], &[0, 0, 2], &suite, &[1, 0]].concat();
        let length = u8::try_from(body.len()).unwrap();
        let record = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat();
        let stream = bare(&secure);
        (&stream).write_all(&record).unwrap();
        let answer = rest(&stream, AT_ONCE);
        assert_eq!((answer.first(), answer.get(5)), (Some(&21), Some(&2)), "a fatal alert: {answer:?}");
    }
}

#[test]
fn rfc7983_one_port_tells_tls_from_the_rest_by_its_first_byte() {
    let keys = [("listen.tcp", r#"["OWN:5349"]"#), ("listen.tls", r#"["OWN:5349"]"#)];
    let secure = Secure::start(&keys);
    assert_eq!(secure.client().binding().code(), 0);
    assert_eq!(Client::tcp(secure.address()).binding().code(), 0);
    Client::tcp(secure.address()).relay();
    for first in [4, 13, 20, 21, 23, 63, 80, 128, 255] {
        let stream = bare(&secure);
        (&stream).write_all(&[first]).unwrap();
        assert!(rest(&stream, AT_ONCE).is_empty(), "{first}");
    }
    let only = Secure::start(&[]);
    let mut plain = Client::tcp(only.address());
    let request = plain.write(method::BINDING, |_| {});
    plain.send(&request);
    assert!(plain.is_closed_within(AT_ONCE), "STUN where only TLS is spoken");
}

#[test]
fn a_request_cut_anywhere_is_answered_below_and_above_the_records() {
    let secure = Secure::start(&[]);
    let mut client = secure.client();
    client.relay();
    let length = client.write(method::REFRESH, |_| {}).len();
    for cut in 1..length {
        let request = client.write(method::REFRESH, |_| {});
        client.send(&request[..cut]);
        client.send(&request[cut..]);
        assert_eq!(client.response_to(&request).code(), 0, "cut at {cut}");
    }
    let request = client.write(method::REFRESH, |_| {});
    let mut record = Vec::new();
    let mut stream = link(&client).stream.write().unwrap();
    stream.conn.writer().write_all(&request).unwrap();
    stream.conn.write_tls(&mut record).unwrap();
    drop(stream);
    for byte in record {
        client.stream().write_all(&[byte]).unwrap();
        sleep(Duration::from_millis(1));
    }
    assert_eq!(client.response_to(&request).code(), 0, "byte by byte");
}

#[test]
fn frames_and_records_need_not_begin_together() {
    let secure = Secure::start(&[]);
    let mut client = secure.client();
    client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.bind(CHANNEL, peer_address), 0);
    let payloads: Vec<Vec<u8>> = (0..40u8).map(|number| vec![number; 1200]).collect();
    let frames = payloads.iter().map(|payload| channel_data(CHANNEL, payload)).collect::<Vec<_>>().concat();
    let all_arrive = |what: &str| {
        for payload in &payloads {
            assert!(heard(&peer).0 == *payload, "{what}");
        }
    };
    client.send(&frames);
    all_arrive("many frames in a record, some of them cut by its end");
    for length in [60, 1204, 5000] {
        let mut records = Vec::new();
        let mut stream = link(&client).stream.write().unwrap();
        for piece in frames.chunks(length) {
            stream.conn.writer().write_all(piece).unwrap();
            stream.conn.write_tls(&mut records).unwrap();
        }
        drop(stream);
        client.stream().write_all(&records).unwrap();
        all_arrive(&format!("records of {length} bytes, sent together"));
    }
    client.send(&channel_data(CHANNEL, &[9; 60_000]));
    assert!(heard(&peer).0 == [9; 60_000], "one frame in four records");
    assert_eq!(client.refresh(600).code(), 0);
}

#[test]
fn what_has_come_for_a_client_in_one_go_leaves_in_full_records() {
    let secure = Secure::start(&[]);
    let mut client = secure.client();
    let relayed = client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.bind(CHANNEL, peer_address), 0);
    secure.server.signal("STOP");
    sleep(PAUSE);
    for number in 0..20 {
        peer.send_to(&[number; 1200], relayed).unwrap();
    }
    secure.server.signal("CONT");
    // 20 frames of 1204 bytes: one record of 2^14 bytes, and the rest.
    let mut lengths = Vec::new();
    for _ in 0..2 {
        let mut header = [0; 5];
        client.stream().read_exact(&mut header).unwrap();
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        client.stream().read_exact(&mut vec![0; length]).unwrap();
        lengths.push(length);
    }
    // Content type and tag of TLS 1.3 come with each.
    assert_eq!(lengths, [(1 << 14) + 17, 20 * 1204 - (1 << 14) + 17]);
}

#[test]
fn a_hello_in_pieces_is_put_together() {
    let secure = Secure::start(&[]);
    let socket = bare(&secure);
    let config = secure.config();
    let mut tls = rustls::ClientConnection::new(config, NAME.try_into().unwrap()).unwrap();
    let mut first = Vec::new();
    tls.write_tls(&mut first).unwrap();
    for piece in first.chunks(7) {
        (&socket).write_all(piece).unwrap();
        sleep(Duration::from_millis(1));
    }
    let mut below = &socket;
    while tls.is_handshaking() {
        tls.complete_io(&mut below).unwrap();
    }
}

#[test]
fn what_is_no_handshake_ends_at_once_and_one_too_slow_within_its_deadline() {
    let secure = Secure::start(&[]);
    let hello = hello(&secure, &[]);
    // Garbage in a record, a record of another kind, and a record longer than any.
    for bytes in [&[22, 3, 1, 0, 4, 9, 9, 9, 9][..], &[23, 3, 3, 0, 1, 0], &[22, 3, 1, 0xFF, 0xFF, 1, 0, 0]] {
        let stream = bare(&secure);
        (&stream).write_all(bytes).unwrap();
        rest(&stream, AT_ONCE);
    }
    // A hello that says it has 64 KiB, in full records.
    let stream = bare(&secure);
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.resize(5 + 0x4000, 0);
    record[5..9].copy_from_slice(&[1, 0, 0xFF, 0]);
    // The server may have had enough before all of it is written.
    let _ = (&stream).write_all(&record);
    rest(&stream, AT_ONCE);
    // After the hello, nothing but noise.
    let stream = bare(&secure);
    (&stream).write_all(&hello).unwrap();
    (&stream).write_all(&[22, 3, 3, 0, 4, 9, 9, 9, 9]).unwrap();
    rest(&stream, AT_ONCE);
    // Nothing, a byte, and half a hello: five seconds.
    let slow: Vec<TcpStream> = [&hello[..0], &hello[..1], &hello[..hello.len() / 2], &hello]
        .iter()
        .map(|part| {
            let stream = bare(&secure);
            (&stream).write_all(part).unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    for stream in &slow {
        rest(stream, Duration::from_secs(7));
        let elapsed = began.elapsed();
        assert!((4..8).contains(&elapsed.as_secs()), "{elapsed:?}");
    }
    assert_eq!(secure.client().binding().code(), 0);
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer_and_a_truncated_one_ends() {
    let secure = Secure::start(&[]);
    let mut client = secure.client();
    let request = client.write(method::BINDING, |_| {});
    client.send(&request);
    let mut stream = link(&client).stream.write().unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    drop(stream);
    assert_eq!(client.response_to(&request).code(), 0);
    let read = link(&client).stream.write().unwrap().read(&mut [0; 8]);
    assert_eq!(read.unwrap(), 0, "the server has said so too");

    let mut client = secure.client();
    client.relay();
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert!(eventually(|| secure.server.metric("relais_allocations{transport=\"tls\"}") == 0.0));

    let client = secure.client();
    client.stream().write_all(&[23, 3, 3, 0, 20, 1, 2, 3]).unwrap();
    client.stream().write_all(&[0; 17]).unwrap();
    rest(client.stream(), AT_ONCE);
}

#[test]
fn every_refused_connection_is_counted_by_its_reason_and_told() {
    let keys = [("tls.client_ca", r#""FILES/ca.crt""#), ("log.level", r#""info,relais::stream=debug""#)];
    let secure = Secure::start(&keys);
    let say = |port: u16, bytes: &[u8]| {
        let stream = TcpStream::connect((secure.server.ip, port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (&stream).write_all(bytes).unwrap();
        stream
    };
    // Those that are closed for what they have not said.
    let mut slow = vec![say(5349, b""), say(3478, b"")];
    let mut half = secure.server.tcp();
    half.relay();
    let request = half.write(method::REFRESH, |_| {});
    half.send(&request[..7]);

    let old =
        [&[22, 3, 1, 0, 47, 1, 0, 0, 43, 3, 2][..], &[7; 32], &[0, 0, 2, 0xC0, 0x13, 1, 0], &[0, 0]].concat();
    let v2 = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C"[..], &[127; 12]].concat();
    for (port, bytes) in [
        (5349, &old[..]),
        (5349, &[22, 3, 1, 0, 4, 9, 9, 9, 9]),
        (5349, b"GET / HTTP/1.1\r\n\r\n"),
        (3478, b"GET / HTTP/1.1\r\n\r\n"),
        (5349, b"PROXY TCP4 127.0.0.1 127.0.0.1 9 9\r\n"),
        (3478, b"PROXY TCP4 127.0.0.1 127.0.0.1 9 9\r\n"),
        (3478, &v2),
    ] {
        rest(&say(port, bytes), AT_ONCE);
    }
    assert!(secure.shake(&[b"h2"]).is_err());
    let stranger = Authority::new("Stranger");
    assert!(TlsLink::new(secure.address(), NAME, stranger.client(&[], None)).is_err());
    // In TLS 1.3 the client has finished before it hears that it is refused.
    drop(secure.shake(&[]).map(|link| link.stream.write().unwrap().read(&mut [0; 16]).is_err()));
    for stream in slow.drain(..) {
        rest(&stream, Duration::from_secs(15));
    }
    assert!(half.is_closed_within(Duration::from_secs(15)));

    for (reason, count) in [
        ("tls_version", 1_u8),
        ("tls_handshake", 1),
        ("not_ours", 2),
        ("proxy_stranger", 3),
        ("alpn", 1),
        ("tls_alert", 1),
        ("client_certificate", 1),
        ("opening_deadline", 1),
        ("login_deadline", 1),
        ("frame_deadline", 1),
        ("proxy_header", 0),
        ("handshake_rate", 0),
        ("address_limit", 0),
    ] {
        assert!(
            eventually(|| refused(&secure, reason) == f64::from(count)),
            "{reason}: {}",
            refused(&secure, reason)
        );
        let cause = format!("cause=\"{reason}\"");
        let log = secure.server.log();
        let lines = log.lines().filter(|line| line.contains("connection refused") && line.contains(&cause));
        assert_eq!(
            lines.filter(|line| line.contains("client=127.0.0.1:")).count(),
            usize::from(count),
            "{log}"
        );
    }
}

#[test]
fn what_is_no_frame_ends_a_stream_over_tls_and_so_does_silence() {
    let secure = Secure::start(&[]);
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 3, 0x07, 0xF0], &[0x16, 3, 1]] {
        let client = secure.client();
        client.send(bytes);
        assert!(client.is_closed_within(AT_ONCE), "{bytes:?}");
    }
    let silent = secure.client();
    let began = Instant::now();
    assert!(silent.is_closed_within(Duration::from_secs(15)));
    let elapsed = began.elapsed();
    assert!((8..13).contains(&elapsed.as_secs()), "{elapsed:?}");
}

#[test]
fn streams_over_tls_count_by_address_from_the_first_moment() {
    let secure = Secure::start(&[("limits.streams_per_address", "2")]);
    let _waiting = [bare(&secure), bare(&secure)];
    sleep(PAUSE);
    assert!(rest(&bare(&secure), AT_ONCE).is_empty());
    assert_eq!(refused(&secure, "address_limit"), 1.0);
}

#[test]
fn a_client_that_never_reads_costs_no_memory_over_tls_either() {
    let secure = Secure::start(&[]);
    let mut client = secure.client();
    let relayed = client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.bind(CHANNEL, peer_address), 0);
    let before = secure.server.resident();
    for round in 0..8_000 {
        peer.send_to(&[3; 8_000], relayed).unwrap();
        if round % 16 == 0 {
            sleep(Duration::from_millis(1));
        }
    }
    assert!(secure.server.metric("relais_drops_total{transport=\"tls\",reason=\"queue_full\"}") > 0.0);
    let grown = secure.server.resident() - before;
    assert!(grown < 4 << 20, "{grown} bytes");
}

#[test]
fn strangers_over_tls_cost_little_memory() {
    let secure = Secure::start(&[("limits.streams_per_address", "1000")]);
    let config = secure.config();
    let shake = || TlsLink::new(secure.address(), NAME, config.clone()).unwrap();
    drop(shake());
    let before = secure.server.resident();
    let links: Vec<TlsLink> = (0..300).map(|_| shake()).collect();
    let mut record = vec![23, 3, 3, 0x0F, 0];
    record.resize(5 + 0x0E00, 0);
    for link in &links {
        // All of a record but its end.
        (&link.socket).write_all(&record).unwrap();
    }
    sleep(Duration::from_millis(500));
    let each = (secure.server.resident() - before) / 300;
    assert!(each < 24 << 10, "{each} bytes each");
    assert_eq!(
        secure.server.metric("relais_streams{transport=\"tls\"}"),
        300.0,
        "all of them are waited for"
    );
    drop(links);
    let mut record = vec![23, 3, 3, 0x40, 0];
    record.resize(5 + 0x3FF0, 0);
    let link = shake();
    // The server may have had enough before all of it is written.
    let _ = (&link.socket).write_all(&record);
    rest(&link.socket, AT_ONCE);
}

#[test]
fn certificates_change_under_load_without_a_lost_packet() {
    let secure = Secure::start(&[]);
    let mut client = secure.client();
    let relayed = client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.bind(CHANNEL, peer_address), 0);
    let mut previous = seen(&secure, &secure.authority).unwrap();
    for round in 0..5_u8 {
        secure.files.pair("own", &secure.authority.issue(&[NAME]));
        secure.server.signal("HUP");
        let mut packets = 0_u32;
        let changed = eventually(|| {
            for _ in 0..20 {
                packets += 1;
                let payload = [&packets.to_be_bytes()[..], &[round; 600]].concat();
                client.send(&channel_data(CHANNEL, &payload));
                assert_eq!(heard(&peer), (payload.clone(), relayed));
                peer.send_to(&payload, relayed).unwrap();
                assert_eq!(client.receive(), channel_data(CHANNEL, &payload));
            }
            seen(&secure, &secure.authority).is_some_and(|now| now != previous)
        });
        assert!(changed, "round {round}");
        previous = seen(&secure, &secure.authority).unwrap();
    }
    assert_eq!(secure.server.metric("relais_drops_total{transport=\"tls\",reason=\"queue_full\"}"), 0.0);
    assert_eq!(client.refresh(600).code(), 0);
}

#[test]
fn a_changed_file_is_taken_up_by_itself() {
    let secure = Secure::start(&[]);
    let before = seen(&secure, &secure.authority).unwrap();
    secure.files.pair("own", &secure.authority.issue(&[NAME]));
    let end = Instant::now() + Duration::from_secs(25);
    while seen(&secure, &secure.authority).unwrap() == before {
        assert!(Instant::now() < end, "{}", secure.server.log());
        sleep(Duration::from_millis(500));
    }
}

#[test]
fn a_broken_pair_keeps_the_old_one_and_says_why() {
    let secure = Secure::start(&[]);
    let before = seen(&secure, &secure.authority).unwrap();
    let good = secure.authority.issue(&[NAME]);
    let other = secure.authority.issue(&[NAME]);
    let expired = secure.authority.issue_until(&[NAME], (2021, 1, 1));
    for (certificate, key, word) in [
        (&good.certificate, &other.key, "is not the key of the first certificate"),
        (&String::new(), &good.key, "holds no certificate in PEM"),
        (&good.certificate, &String::new(), "holds no private key in PEM"),
        (&expired.certificate, &expired.key, "the certificate ended at 2021-01-01T00:00:00Z"),
        (&good.certificate.replace("MII", "..."), &good.key, "own.crt"),
    ] {
        let pair = certificates::Pair { certificate: certificate.clone(), key: key.clone() };
        secure.files.pair("own", &pair);
        let lines = secure.server.log().matches("the old ones stay").count();
        secure.server.signal("HUP");
        assert!(eventually(|| secure.server.log().matches("the old ones stay").count() > lines), "{word}");
        assert!(secure.server.log().contains(word), "{word}:\n{}", secure.server.log());
        assert_eq!(seen(&secure, &secure.authority).unwrap(), before);
    }
    secure.files.pair("own", &good);
    std::fs::remove_file(secure.files.path().join("own.key")).unwrap();
    secure.server.signal("HUP");
    secure.server.wait_for_log("own.key cannot be read");
    assert_eq!(seen(&secure, &secure.authority).unwrap(), before);
    secure.files.pair("own", &good);
    secure.server.signal("HUP");
    assert!(eventually(|| seen(&secure, &secure.authority).unwrap() != before));
}

#[test]
fn a_pair_of_no_use_does_not_keep_another_from_being_renewed() {
    let (authority, files) = (Authority::new("Test"), certificates::Files::new("tls-two"));
    let [certificate, key] = files.pair("a", &authority.issue(&[NAME]));
    let [other, other_key] = files.pair("b", &authority.issue(&["b.example"]));
    let server = live::Server::start(&[
        ("listen.tls", r#"["OWN:5349"]"#),
        ("tls.certificate", &certificate),
        ("tls.key", &key),
        ("tls.certificates", &format!("[{{ certificate = {other}, key = {other_key} }}]")),
    ]);
    let shown = |name: &str| {
        let link = TlsLink::new((server.ip, 5349).into(), name, authority.client(&[], None)).unwrap();
        let stream = link.stream.read().unwrap();
        stream.conn.peer_certificates().unwrap()[0].to_vec()
    };
    let (first, second) = (shown(NAME), shown("b.example"));
    files.pair("b", &authority.issue_until(&["b.example"], (2021, 1, 1)));
    files.pair("a", &authority.issue(&[NAME]));
    server.signal("HUP");
    assert!(eventually(|| shown(NAME) != first), "{}", server.log());
    assert_eq!(shown("b.example"), second);
    server.wait_for_log("the old ones stay in their place");
    assert!(server.log().contains("the certificate ended at 2021-01-01T00:00:00Z"));
}

#[test]
fn a_key_open_to_others_and_an_end_that_is_near_are_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let (authority, files) = (Authority::new("Test"), certificates::Files::new("tls-open"));
    let [certificate, key] = files.pair("own", &authority.issue(&[NAME]));
    let keys = [("listen.tls", r#"["OWN:5349"]"#), ("tls.certificate", &certificate), ("tls.key", &key)];
    let path = files.path().join("own.key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut server = live::Server::spawn(&keys, None);
    server.wait_for_log("own.key holds a private key and is open to every user");
    assert!(eventually(|| server.has_ended()));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let server = live::Server::start(&keys);
    let expiry = server.metric("relais_tls_certificate_expiry_timestamp_seconds");
    assert_eq!(expiry, 2_208_988_800.0, "2040-01-01");
}

#[test]
fn the_proxy_header_comes_before_tls_and_its_client_is_the_one_that_counts() {
    let keys = [("listen.proxy_from", r#"["127.0.0.1"]"#), ("limits.streams_per_address", "2")];
    let secure = Secure::start(&keys);
    let connect = |client: [u8; 4]| {
        let socket = bare(&secure);
        let addresses = [&client[..], &[192, 0, 2, 1], &[0x9C, 0x40], &[0x14, 0xE5]].concat();
        let header = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C", &addresses[..]].concat();
        (&socket).write_all(&header).unwrap();
        TlsLink::over(socket, NAME, secure.config())
    };
    let mut clients: Vec<Client> = (1..=3).map(|last| over(connect([198, 51, 100, last]).unwrap())).collect();
    for (last, client) in (1..).zip(&mut clients) {
        let mapped = client.binding().address(attr::XOR_MAPPED_ADDRESS);
        assert_eq!(mapped.to_string(), format!("198.51.100.{last}:40000"));
    }
    let mut again = over(connect([198, 51, 100, 1]).unwrap());
    again.relay();
    // One more with the same addresses: what was there before is over.
    let mut last = over(connect([198, 51, 100, 1]).unwrap());
    last.relay();
    let socket = bare(&secure);
    (&socket).write_all(&hello(&secure, &[])).unwrap();
    assert!(rest(&socket, AT_ONCE).is_empty(), "no header");
    assert_eq!(refused(&secure, "proxy_header"), 1.0);
}

#[test]
fn the_handshakes_of_a_prefix_are_bounded_and_others_are_served() {
    handshakes_are_bounded(&[]);
}

#[test]
fn the_handshakes_of_browsers_are_bounded_as_all_others() {
    handshakes_are_bounded(&[b"http/1.1"]);
}

/// With hellos that offer these protocols.
fn handshakes_are_bounded(protocols: &[&[u8]]) {
    let secure = Secure::start(&[
        ("listen.proxy_from", r#"["127.0.0.1"]"#),
        ("http.listen", r#"["OWN:8080"]"#),
        ("http.open", "true"),
    ]);
    let header = |client: &str| format!("PROXY TCP4 {client} 192.0.2.1 40000 5349\r\n");
    let first = [header("198.51.100.1").as_bytes(), &hello(&secure, protocols)].concat();
    let refused = || refused(&secure, "handshake_rate");
    // A signature each for a hello that is always the same.
    let mut tried = 0;
    while refused() == 0.0 && tried < 10_000 {
        let streams: Vec<TcpStream> = (0..32).map(|_| bare(&secure)).collect();
        streams.iter().for_each(|mut stream| stream.write_all(&first).unwrap());
        // Closed without an answer counts as an answer here.
        streams.iter().for_each(|mut stream| drop(stream.read(&mut [0; 1])));
        tried += streams.len();
    }
    assert!(refused() > 0.0 && tried >= 256, "{tried}");
    let socket = bare(&secure);
    (&socket).write_all(header("198.51.100.2").as_bytes()).unwrap();
    assert_eq!(over(TlsLink::over(socket, NAME, secure.config()).unwrap()).binding().code(), 0);
}

#[test]
fn the_probe_speaks_tls_and_says_what_is_wrong_with_a_certificate() {
    let secure = Secure::start(&[]);
    let before = seen(&secure, &secure.authority).unwrap();
    let ip = secure.server.ip.to_string();
    secure.files.pair("own", &secure.authority.issue(&[NAME, &ip]));
    secure.server.signal("HUP");
    assert!(eventually(|| seen(&secure, &secure.authority).unwrap() != before));
    secure.files.write("other.crt", &Authority::new("Other").pem());
    let probe = |ca: &str| {
        let ca = secure.files.path().join(ca);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_relais"))
            .args(["probe", &format!("turns:{ip}"), "--user", "alice", "--timeout", "3"])
            .arg("--ca")
            .arg(ca)
            .env("RELAIS_PASSWORD", "wonderland")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, told) = probe("ca.crt");
    assert!(code == Some(0) && told.contains("ok   echo"), "{told}");
    let (code, told) = probe("other.crt");
    assert!(code == Some(1) && told.contains("TLS with") && told.contains("UnknownIssuer"), "{told}");
}

#[test]
fn the_probe_tells_of_a_server_that_wants_a_certificate() {
    let secure = Secure::start(&[("tls.client_ca", r#""FILES/ca.crt""#)]);
    let before = seen_by_issued(&secure);
    let ip = secure.server.ip.to_string();
    secure.files.pair("own", &secure.authority.issue(&[NAME, &ip]));
    secure.server.signal("HUP");
    assert!(eventually(|| seen_by_issued(&secure) != before));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_relais"))
        .args(["probe", &format!("turns:{ip}"), "--user", "alice", "--timeout", "3", "--ca"])
        .arg(secure.files.path().join("ca.crt"))
        .env("RELAIS_PASSWORD", "wonderland")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("clients with a certificate of their own"), "{told}");
}

/// The server's certificate, as a client with one of its own sees it.
fn seen_by_issued(secure: &Secure) -> Vec<u8> {
    let own = secure.authority.issue(&["client.example"]);
    let link = TlsLink::new(secure.address(), NAME, secure.authority.client(&[], Some(&own))).unwrap();
    link.stream.read().unwrap().conn.peer_certificates().unwrap()[0].to_vec()
}
