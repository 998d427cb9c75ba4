//! Clients that come by TCP, against the program itself: framing, deadlines, bounds, and what happens when
//! descriptors run out or nobody reads.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/live.rs"]
mod live;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread::{scope, sleep};
use std::time::Duration;

use live::{Client, Reply, SOON, Server, channel_data, data_of, eventually, heard, peer, relay_ports};
use relais::wire::{attr, method};
use tokio::time::Instant;

const CHANNEL: u16 = 0x4001;
const AT_ONCE: Duration = Duration::from_secs(2);
/// Long enough for the server to have read what was sent before.
const PAUSE: Duration = Duration::from_millis(3);

#[test]
fn a_request_cut_anywhere_is_answered() {
    let server = Server::start(&[]);
    let mut client = server.tcp();
    client.relay();
    let length = client.write(method::REFRESH, |_| {}).len();
    for cut in 1..length {
        let request = client.write(method::REFRESH, |_| {});
        client.send(&request[..cut]);
        sleep(PAUSE);
        client.send(&request[cut..]);
        assert_eq!(client.response_to(&request).code(), 0, "cut at {cut}");
    }
    let request = client.write(method::REFRESH, |_| {});
    for byte in &request {
        client.send(&[*byte]);
        sleep(Duration::from_millis(1));
    }
    assert_eq!(client.response_to(&request).code(), 0, "byte by byte");
}

#[test]
fn frames_that_come_together_are_answered_in_order() {
    let server = Server::start(&[]);
    let mut client = server.tcp();
    let requests: Vec<Vec<u8>> = (0..3).map(|_| client.write(method::BINDING, |_| {})).collect();
    let (head, tail) = requests[2].split_at(9);
    client.send(&[&requests[0], &requests[1], head].concat());
    assert_eq!(client.receive()[8..20], requests[0][8..20]);
    assert_eq!(client.receive()[8..20], requests[1][8..20]);
    client.send(tail);
    assert_eq!(client.receive()[8..20], requests[2][8..20]);
}

#[test]
fn frames_in_any_pieces_reach_the_peer_one_by_one_in_their_order() {
    let server = Server::start(&[]);
    let mut client = server.tcp();
    client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.bind(CHANNEL, peer_address), 0);
    // Equal ones in a row, a shorter one behind them, empty ones, and some that no single read brings.
    let lengths = [1200, 1200, 1200, 1200, 700, 1200, 0, 0, 3, 1200, 9000, 1200, 1200, 40_000, 1, 1200];
    for piece in [1, 5, 997, 4999, 200_000] {
        let payloads: Vec<Vec<u8>> =
            lengths.iter().zip(1..).map(|(len, number)| vec![number; *len]).collect();
        let frames =
            payloads.iter().map(|payload| channel_data(CHANNEL, payload)).collect::<Vec<_>>().concat();
        // A few bytes at a time take long: of those, only what is cut around headers.
        let sent = if piece < 100 { &frames[..2 * 1204 + 9 * piece] } else { &frames[..] };
        for bytes in sent.chunks(piece) {
            client.send(bytes);
            if piece > 100 {
                sleep(PAUSE);
            }
        }
        client.send(&frames[sent.len()..]);
        for payload in payloads {
            assert!(heard(&peer).0 == payload, "{} bytes, sent in pieces of {piece}", payload.len());
        }
    }
}

#[test]
fn more_small_frames_than_one_turn_handles_all_arrive() {
    let server = Server::start(&[]);
    let mut client = server.tcp();
    client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.bind(CHANNEL, peer_address), 0);
    // Twice more than a turn, and no more than a socket holds that nobody reads meanwhile.
    let frames: Vec<u8> = (0..100).flat_map(|number| channel_data(CHANNEL, &[number])).collect();
    let request = client.write(method::BINDING, |_| {});
    client.send(&[&frames[..], &request, &frames].concat());
    assert_eq!(client.response_to(&request).code(), 0);
    for number in (0..100).chain(0..100) {
        assert_eq!(heard(&peer).0, [number]);
    }
}

#[test]
fn what_peers_send_in_a_row_reaches_the_client_in_its_order() {
    let server = Server::start(&[]);
    let mut client = server.tcp();
    let relayed = client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.bind(CHANNEL, peer_address), 0);
    for round in 0..20u8 {
        let payloads: Vec<Vec<u8>> = (0..30u8)
            .map(|number| vec![round ^ number; [1200, 1200, 1200, 7, 0, 1199][usize::from(number) % 6]])
            .collect();
        for payload in &payloads {
            peer.send_to(payload, relayed).unwrap();
        }
        for payload in &payloads {
            assert!(client.receive() == channel_data(CHANNEL, payload));
        }
    }
}

#[test]
fn binding_is_answered_and_the_stream_goes_on() {
    let server = Server::start(&[]);
    let mut client = server.tcp();
    let own = client.stream().local_addr().unwrap();
    for _ in 0..3 {
        assert_eq!(client.binding().address(attr::XOR_MAPPED_ADDRESS), own);
    }
    client.relay();
    assert_eq!(client.binding().address(attr::XOR_MAPPED_ADDRESS), own);
}

#[test]
fn channel_data_is_padded_with_zeroes_that_do_not_count() {
    let server = Server::start(&[]);
    let mut client = server.tcp();
    let relayed = client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.bind(CHANNEL, peer_address), 0);
    for len in 1..=5 {
        let payload = vec![0xA0; len];
        client.send(&channel_data(CHANNEL, &payload));
        assert_eq!(heard(&peer), (payload, relayed));
    }
    // Padding that the client did not zero is not passed on, and the next frame is found behind it.
    let mut dirty = channel_data(CHANNEL, b"x");
    dirty[5..].fill(0xEE);
    client.send(&[dirty, channel_data(CHANNEL, b"behind")].concat());
    assert_eq!(heard(&peer).0, b"x");
    assert_eq!(heard(&peer).0, b"behind");
    for len in 1..=5 {
        // Leaves something in the server's buffer that must not show as padding.
        peer.send_to(&[0xFF; 100], relayed).unwrap();
        assert_eq!(client.receive(), channel_data(CHANNEL, &[0xFF; 100]));
        peer.send_to(&vec![0xB0; len], relayed).unwrap();
        assert_eq!(client.receive(), channel_data(CHANNEL, &vec![0xB0; len]));
    }
}

#[test]
fn frames_too_long_to_be_one_end_the_stream() {
    let server = Server::start(&[]);
    let stranger = server.tcp();
    stranger.send(&[0, 3, 0x07, 0xF0]);
    assert!(stranger.is_closed_within(AT_ONCE), "2052 bytes before login");
    let stranger = server.tcp();
    stranger.send(&[0x40, 1, 0x08, 0x00]);
    assert!(stranger.is_closed_within(AT_ONCE), "ChannelData of 2052 bytes before login");
    let stranger = server.tcp();
    stranger.send(&[0, 3, 0x07, 0xEC]);
    assert!(!stranger.is_closed_within(Duration::from_millis(300)), "2048 bytes may come");

    let mut client = server.tcp();
    client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.bind(CHANNEL, peer_address), 0);
    client.send(&channel_data(CHANNEL, &[1; 60_000]));
    assert_eq!(heard(&peer).0, [1; 60_000]);
    // The longest ChannelData is a frame, though no datagram can carry it on.
    client.send(&channel_data(CHANNEL, &[2; 65_535]));
    assert_eq!(client.refresh(600).code(), 0);
    client.send(&[0, 3, 0xFF, 0xF3]);
    assert!(client.is_closed_within(AT_ONCE), "no message has a length like this");
}

#[test]
fn a_datagram_of_any_length_passes_in_indications_both_ways() {
    let server = Server::start(&[]);
    let mut client = server.tcp();
    let relayed = client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.permit(peer_address), 0);
    for len in [65_503, 65_504, 65_505, 65_507] {
        let payload = vec![9; len];
        client.say(peer_address, &payload);
        assert!(heard(&peer).0 == payload, "{len} bytes to the peer");
        peer.send_to(&payload, relayed).unwrap();
        assert!(data_of(&client.receive()) == (peer_address, payload), "{len} bytes to the client");
    }
}

#[test]
fn reserved_channel_numbers_are_discarded_and_the_stream_goes_on() {
    let server = Server::start(&[]);
    let mut client = server.tcp();
    client.relay();
    for number in [0x5000, 0x5FFF, 0x6000, 0x7FFF] {
        client.send(&channel_data(number, b"12345"));
        assert_eq!(client.refresh(600).code(), 0, "{number:x}");
    }
}

#[test]
fn what_is_no_protocol_of_ours_ends_the_stream_at_once() {
    let server = Server::start(&[]);
    for first in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 2, 0, 1], &[0xFF], &[0x80], &[4], b"\n"] {
        let client = server.tcp();
        client.send(first);
        assert!(client.is_closed_within(AT_ONCE), "{first:?}");
    }
    for seen in 4..8 {
        let client = server.tcp();
        let mut bytes = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
        bytes[seen] ^= 1;
        client.send(&bytes[..seen]);
        assert!(!client.is_closed_within(Duration::from_millis(100)), "right up to byte {seen}");
        client.send(&bytes[seen..=seen]);
        assert!(client.is_closed_within(AT_ONCE), "byte {seen} of the cookie is wrong");
    }
    let mut client = server.tcp();
    let request = client.write(method::BINDING, |_| {});
    client.send(&[&request[..], b"GET "].concat());
    assert_eq!(client.response_to(&request).code(), 0, "what came before is answered");
    assert!(client.is_closed_within(AT_ONCE));
}

#[test]
fn deadlines_of_streams() {
    let server = Server::start(&[]);
    let closes_after_ten_seconds = |client: &Client, began: Instant| {
        let closed = client.is_closed_within(Duration::from_secs(15));
        let after = began.elapsed();
        assert!(closed && after > Duration::from_millis(9900), "{after:?}");
        assert!(after < Duration::from_millis(12_500), "{after:?}");
    };
    scope(|threads| {
        threads.spawn(|| {
            let began = Instant::now();
            closes_after_ten_seconds(&server.tcp(), began);
        });
        // Talking does not help without an allocation.
        threads.spawn(|| {
            let began = Instant::now();
            let mut client = server.tcp();
            while began.elapsed() < Duration::from_secs(9) {
                assert_eq!(client.binding().code(), 0);
                sleep(Duration::from_millis(500));
            }
            closes_after_ten_seconds(&client, began);
        });
        // Nor does an allocation help a frame that trickles in.
        threads.spawn(|| {
            let mut client = server.tcp();
            client.relay();
            sleep(Duration::from_secs(1));
            let request = client.write(method::REFRESH, |_| {});
            let began = Instant::now();
            for byte in &request[..10] {
                client.send(&[*byte]);
                sleep(
                    Duration::from_secs(1).min(Duration::from_millis(9500).saturating_sub(began.elapsed())),
                );
            }
            closes_after_ten_seconds(&client, began);
        });
        // With an allocation, silence is fine.
        threads.spawn(|| {
            let mut client = server.tcp();
            client.relay();
            sleep(Duration::from_secs(12));
            assert_eq!(client.refresh(600).code(), 0);
        });
        // A stream whose allocation has ended is as any other without.
        threads.spawn(|| {
            let mut client = server.tcp();
            client.relay();
            sleep(Duration::from_secs(1));
            let began = Instant::now();
            assert_eq!(client.refresh(0).code(), 0);
            closes_after_ten_seconds(&client, began);
        });
    });
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    let server = Server::start(&[]);
    let mut client = server.tcp();
    let request = client.write(method::BINDING, |_| {});
    client.send(&request);
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.response_to(&request).code(), 0);
    assert!(client.is_closed_within(AT_ONCE));
}

#[test]
fn the_end_of_a_stream_ends_its_allocation_at_once() {
    let ports = format!("{:?}", relay_ports(2));
    let server = Server::start(&[("relay.ports", &ports)]);
    let mut other = server.udp();
    other.relay();
    let mut first = server.tcp();
    let relayed = first.relay();
    assert_eq!(server.metric("relais_allocations{transport=\"tcp\"}"), 1.0);
    assert_eq!(server.metric("relais_streams{transport=\"tcp\"}"), 1.0);
    let mut second = server.tcp();
    assert_eq!(second.allocate().code(), 508, "there are two ports");
    drop(first);
    let began = Instant::now();
    assert!(eventually(|| second.allocate().code() == 0));
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(second.refresh(0).code(), 0);
    assert_eq!(second.relay(), relayed);
    assert_eq!(server.metric("relais_streams{transport=\"tcp\"}"), 1.0);
    drop(second);
    assert!(eventually(|| server.metric("relais_streams{transport=\"tcp\"}") == 0.0));
    assert_eq!(server.metric("relais_allocations{transport=\"tcp\"}"), 0.0);
}

#[test]
fn streams_without_login_are_counted_by_address() {
    let server = Server::start(&[("limits.streams_per_address", "3")]);
    let mut admitted: Vec<Client> = (0..3).map(|_| server.tcp()).collect();
    for client in &mut admitted {
        assert_eq!(client.binding().code(), 0);
    }
    assert!(server.tcp().is_closed_within(AT_ONCE), "the fourth");
    admitted[0].relay();
    admitted.push(server.tcp());
    assert_eq!(admitted[3].binding().code(), 0, "who has logged in makes room");
    assert!(server.tcp().is_closed_within(AT_ONCE));
    // Whoever gives up the allocation needs a place again; there is none.
    assert_eq!(admitted[0].refresh(0).code(), 0);
    assert!(admitted[0].is_closed_within(AT_ONCE));
    admitted.truncate(3);
    assert!(eventually(|| server.metric("relais_streams{transport=\"tcp\"}") == 2.0));
    assert_eq!(server.tcp().binding().code(), 0, "who has gone makes room");
}

#[test]
fn a_client_that_never_reads_costs_no_memory() {
    const QUEUE_FULL: &str = "relais_drops_total{transport=\"tcp\",reason=\"queue_full\"}";
    let server = Server::start(&[]);
    let mut client = server.tcp();
    let relayed = client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.bind(CHANNEL, peer_address), 0);
    // The first batches touch pages that later ones use again.
    let flood = |packets: usize| {
        for i in 0..packets {
            peer.send_to(&[0x55; 1200], relayed).unwrap();
            if i % 32 == 0 {
                sleep(Duration::from_millis(1));
            }
        }
    };
    flood(200);
    let before = server.resident();
    flood(17_000);
    let grown = server.resident() - before;
    assert!(grown < 2 << 20, "{grown} bytes more");
    assert!(server.metric(QUEUE_FULL) > 100.0);
    let request = client.write(method::REFRESH, |_| {});
    client.send(&request);
    let answer: Reply = client.response_to(&request);
    assert_eq!(answer.code(), 0, "answers have room when data have none");
    peer.send_to(b"fresh", relayed).unwrap();
    let fresh = channel_data(CHANNEL, b"fresh");
    while client.receive() != fresh {}
}

#[test]
fn a_client_that_does_not_even_read_its_answers_is_cut_off() {
    let server = Server::start(&[]);
    let mut client = server.tcp();
    client.relay();
    socket2::SockRef::from(client.stream()).set_recv_buffer_size(4096).unwrap();
    let before = server.resident();
    let requests: Vec<u8> = (0..2000).flat_map(|_| client.write(method::BINDING, |_| {})).collect();
    client.stream().set_write_timeout(Some(4 * SOON)).unwrap();
    // Kernels hold some megabytes of answers; 64 MB of them are more than any does.
    let mut stream = client.stream();
    let ended = (0..1000).find_map(|_| stream.write_all(&requests).err());
    let kind = ended.expect("the stream to be closed").kind();
    assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind:?}");
    let grown = server.resident() - before;
    assert!(grown < 2 << 20, "{grown} bytes more");
    assert!(eventually(|| server.metric("relais_allocations{transport=\"tcp\"}") == 0.0));
}

#[test]
fn a_stream_that_never_pauses_does_not_keep_others_waiting() {
    let server = Server::start(&[]);
    let mut flooding = server.tcp();
    flooding.relay();
    // For a channel that is not bound: the cheapest frame to send, and no answer holds the flood back.
    let frames: Vec<u8> = (0..8192).flat_map(|_| channel_data(0x4FFF, b"")).collect();
    let mut calm = server.udp();
    scope(|threads| {
        let flood = threads.spawn(|| {
            let end = Instant::now() + Duration::from_secs(2);
            while Instant::now() < end {
                flooding.send(&frames);
            }
        });
        let mut longest = Duration::ZERO;
        while !flood.is_finished() {
            let asked = Instant::now();
            assert_eq!(calm.binding().code(), 0);
            longest = longest.max(asked.elapsed());
            sleep(Duration::from_millis(5));
        }
        assert!(longest < Duration::from_millis(250), "{longest:?}");
    });
}

#[test]
fn without_descriptors_nothing_breaks_and_all_comes_back() {
    let server = Server::spawn(&[], Some(40));
    server.wait_for_log("ready");
    let (peer, peer_address) = peer();
    let mut streams = [server.tcp(), server.tcp()];
    for stream in &mut streams {
        assert_eq!(stream.binding().code(), 0);
    }
    let mut clients = Vec::new();
    let mut refused = loop {
        let mut client = server.udp();
        match client.allocate().code() {
            0 => clients.push(client),
            508 => break client,
            code => panic!("{code}"),
        }
        assert!(clients.len() < 40, "40 descriptors cannot hold this");
    };
    assert!(clients.len() >= 4, "{}", clients.len());
    assert_eq!(streams[0].allocate().code(), 508);
    assert_eq!(clients[0].permit(peer_address), 0);
    clients[0].say(peer_address, b"still");
    assert_eq!(heard(&peer).0, b"still");

    // More want in, on both kinds of TCP listener; nobody is served, and nobody spins over it.
    let waiting: Vec<Client> = (0..8).map(|_| server.tcp()).collect();
    let mut admin = TcpStream::connect((server.ip, 9478)).unwrap();
    admin.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let began = server.cpu();
    sleep(Duration::from_secs(1));
    let used = server.cpu() - began;
    assert!(used < Duration::from_millis(200), "{used:?} of CPU in a second");
    clients[0].say(peer_address, b"and still");
    assert_eq!(heard(&peer).0, b"and still");
    let log = server.log();
    assert_eq!(
        log.matches("no file descriptors left").count(),
        1,
        "it is said, and not again and again: {log}"
    );
    // Whoever asks for health does not wait for ever.
    let _ = admin.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    match admin.read(&mut [0; 1]) {
        Ok(read) => assert_eq!(read, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert!(server.log().matches("HTTP cannot accept").count() <= 1, "{}", server.log());

    drop((waiting, admin));
    for client in &mut clients {
        assert_eq!(client.refresh(0).code(), 0);
    }
    assert_eq!(refused.allocate().code(), 0);
    assert_eq!(streams[0].allocate().code(), 0);
    assert!(eventually(|| {
        let client = server.tcp();
        client.set_patience(Duration::from_millis(200));
        let (nothing, mut client) = (Vec::new(), client);
        let request = client.write(method::BINDING, |_| {});
        // A stream that was turned away may be reset already.
        let _ = client.stream().write_all(&request);
        client.try_receive().unwrap_or(nothing).get(8..20) == request.get(8..20)
    }));
}
