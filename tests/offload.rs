//! The relay on kernels and in sandboxes that do less than this one: nothing is lost, nothing changes its place, the operator
//! is told once, and the metrics say it. And what one look at a full queue leaves in it waits for nothing else.
#![cfg(all(feature = "server", target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/live.rs"]
mod live;

use std::io::IoSlice;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use live::{Client, Link, Server, channel_data, data_of, heard, peer};
use relais::wire::{Class, Message, MessageWriter, TransactionId, attr, method};
use socket2::{MsgHdr, SockAddr, SockRef};

/// Datagrams in a burst.
const BURST: usize = 24;
/// How long their payloads are.
const LEN: usize = 1000;
const CHANNEL: u16 = 0x4001;

/// The library that plays other kernels.
fn library() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| {
        let library =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kernel-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/offload/kernel.c");
        let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
        let built = Command::new("cc").args(flags).arg(&library).arg(source).arg("-ldl").status();
        assert!(built.unwrap().success());
        library.display().to_string()
    })
}

/// A server on such a kernel.
fn on(kernel: &str) -> Server {
    let environment = [("LD_PRELOAD", library()), ("RELAIS_TEST_KERNEL", kernel)];
    Server::start_in(&environment, &[("log.level", "\"info\"")])
}

fn payload(number: usize) -> Vec<u8> {
    (0..LEN).map(|i| u8::try_from((i + number) % 251).unwrap()).collect()
}

/// Sends equally long datagrams as one message, which the kernel cuts and, for who wants it so, merges again.
fn burst(socket: &UdpSocket, to: SocketAddr, datagrams: &[Vec<u8>]) {
    let segment = u16::try_from(datagrams[0].len()).unwrap();
    // struct cmsghdr: length, level, type; then the value, and nothing up to the next multiple of eight.
    let head = size_of::<usize>() + 8;
    let mut control = (head + 2).to_ne_bytes().to_vec();
    control.extend([17_i32.to_ne_bytes(), 103_i32.to_ne_bytes()].concat());
    control.extend(segment.to_ne_bytes());
    control.resize(head + size_of::<usize>(), 0);
    let bytes = datagrams.concat();
    let (to, slices) = (SockAddr::from(to), [IoSlice::new(&bytes)]);
    let message = MsgHdr::new().with_addr(&to).with_buffers(&slices).with_control(&control);
    assert_eq!(SockRef::from(socket).sendmsg(&message, 0).unwrap(), bytes.len());
}

fn socket(client: &Client) -> &UdpSocket {
    match &client.link {
        Link::Udp(socket) => socket,
        _ => panic!("not UDP"),
    }
}

fn send_indication(to: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let mut writer = MessageWriter::to(&mut buffer, method::SEND, Class::Indication, TransactionId([9; 12]));
    writer.xor_address(attr::XOR_PEER_ADDRESS, to).attribute(attr::DATA, data);
    let len = writer.finish().unwrap();
    buffer[..len].to_vec()
}

/// Bursts up and down, as ChannelData and as indications: all of it arrives, in order, byte for byte.
fn relay_bursts(server: &Server) {
    let mut client = server.udp();
    let relayed = client.relay();
    let ((with_channel, channel_address), (without, address)) = (peer(), peer());
    assert_eq!((client.bind(CHANNEL, channel_address), client.permit(address)), (0, 0));
    for round in 0..3 {
        let payloads: Vec<_> = (0..BURST).map(|number| payload(round * BURST + number)).collect();
        let framed: Vec<_> = payloads.iter().map(|payload| channel_data(CHANNEL, payload)).collect();
        burst(socket(&client), server.address(), &framed);
        for payload in &payloads {
            assert_eq!(heard(&with_channel), (payload.clone(), relayed));
        }
        let said: Vec<_> = payloads.iter().map(|payload| send_indication(address, payload)).collect();
        burst(socket(&client), server.address(), &said);
        for payload in &payloads {
            assert_eq!(heard(&without), (payload.clone(), relayed));
        }
        burst(&with_channel, relayed, &payloads);
        for framed in &framed {
            assert_eq!(client.receive(), *framed);
        }
        burst(&without, relayed, &payloads);
        for payload in &payloads {
            assert_eq!(data_of(&client.receive()), (address, payload.clone()));
        }
    }
    let packets = |direction: &str| {
        server.metric(&format!("relais_packets_total{{transport=\"udp\",direction=\"{direction}\"}}"))
    };
    let all = f64::from(u32::try_from(2 * 3 * BURST).unwrap());
    assert_eq!((packets("to_peer"), packets("to_client")), (all, all));
    assert_eq!(server.metric("relais_drops_total{transport=\"udp\",reason=\"send_failed\"}"), 0.0);
}

/// Whether the metrics say that a feature is there.
fn has(server: &Server, feature: &str) -> bool {
    server.metric(&format!("relais_udp_offload{{feature=\"{feature}\"}}")) == 1.0
}

/// What a server on such a kernel tells as missing: the metrics by their labels, and the log with each word of `named` once.
fn lacks(server: &Server, labels: &[&str], named: &[&str]) {
    for label in ["gro", "gso", "batch", "timer", "df", "tos", "icmp"] {
        assert_eq!(has(server, label), !labels.contains(&label), "{label}");
    }
    for word in named {
        assert_eq!(lines(server, &[MISSING, word, "WARN"]), 1, "{word}: {}", server.log());
    }
    assert_eq!(lines(server, &[MISSING]), named.len(), "{}", server.log());
}

/// What the metrics say: whether received datagrams are merged, whether messages are cut, and how many were not.
fn told(server: &Server) -> (f64, f64, f64) {
    let is = |feature: &str| f64::from(u8::from(has(server, feature)));
    (is("gro"), is("gso"), server.metric("relais_udp_gso_refusals_total"))
}

/// How many lines of the log contain all of these words.
fn lines(server: &Server, words: &[&str]) -> usize {
    server.log().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

const MISSING: &str = "does not offer this: ";
const REFUSED: &str = "would not cut a message";

#[test]
fn a_kernel_that_does_all_of_it_says_nothing() {
    let server = on("usual");
    relay_bursts(&server);
    assert_eq!(told(&server), (1.0, 1.0, 0.0));
    lacks(&server, &[], &[]);
    assert_eq!(lines(&server, &[REFUSED]), 0);
}

#[test]
fn without_udp_gro_datagrams_come_one_by_one() {
    let server = on("no-gro");
    relay_bursts(&server);
    assert_eq!(told(&server), (0.0, 1.0, 0.0));
    assert_eq!((lines(&server, &[MISSING, "UDP_GRO", "WARN"]), lines(&server, &[MISSING])), (1, 1));
}

#[test]
fn without_udp_segment_datagrams_leave_one_by_one() {
    let server = on("no-gso");
    relay_bursts(&server);
    assert_eq!(told(&server), (1.0, 0.0, 0.0));
    assert_eq!((lines(&server, &[MISSING, "UDP_SEGMENT", "WARN"]), lines(&server, &[MISSING])), (1, 1));
}

#[test]
fn a_device_that_cannot_cut_is_asked_once_by_each_socket() {
    let server = on("eio");
    relay_bursts(&server);
    // The relay socket and the listener.
    assert_eq!(told(&server), (1.0, 1.0, 2.0));
    assert_eq!(lines(&server, &[REFUSED]), 1);
}

#[test]
fn a_way_that_carries_no_such_datagrams_is_asked_once() {
    let server = on("einval");
    relay_bursts(&server);
    // Client and peers have one address.
    assert_eq!(told(&server), (1.0, 1.0, 1.0));
    assert_eq!(lines(&server, &[REFUSED]), 1);
}

#[test]
fn what_is_never_merged_is_relayed_all_the_same() {
    let server = on("never-merges");
    relay_bursts(&server);
    assert_eq!(told(&server), (1.0, 1.0, 0.0));
}

#[test]
fn a_relay_socket_is_merged_for_from_its_first_burst_on() {
    let server = on("tells-gro");
    let mut client = server.udp();
    let relayed = client.relay();
    let (peer, address) = peer();
    assert_eq!(client.bind(CHANNEL, address), 0);
    let asked = || lines(&server, &["asked for UDP_GRO"]);
    let before = asked();
    assert!(before > 0, "{}", server.log());
    for number in 0..50 {
        peer.send_to(&payload(number), relayed).unwrap();
        assert_eq!(client.receive(), channel_data(CHANNEL, &payload(number)));
    }
    assert_eq!(asked(), before, "single datagrams are no burst");
    let payloads: Vec<_> = (0..BURST).map(payload).collect();
    let pass = || {
        burst(&peer, relayed, &payloads);
        for payload in &payloads {
            assert_eq!(client.receive(), channel_data(CHANNEL, payload));
        }
    };
    // A server that reads as fast as they come sees no burst in them.
    for _ in 0..1000 {
        if asked() > before {
            break;
        }
        pass();
    }
    (0..20).for_each(|_| pass());
    assert_eq!(asked(), before + 1, "once is enough");
}

const BATCHES: &str = "recvmmsg and sendmmsg";
const ALL: [&str; 7] =
    ["UDP_GRO", "UDP_SEGMENT", BATCHES, "timerfd_create", "IP_MTU_DISCOVER", "IP_RECVTOS", "IP_RECVERR"];

#[test]
fn without_calls_for_many_datagrams_each_takes_its_own() {
    for kernel in ["enosys", "eperm"] {
        let server = on(kernel);
        relay_bursts(&server);
        lacks(&server, &["batch"], &[BATCHES]);
    }
}

#[test]
fn single_calls_are_refused_messages_as_batches_are() {
    let server = on("eperm,eio");
    relay_bursts(&server);
    assert_eq!(told(&server), (1.0, 1.0, 2.0));
    let server = on("eperm,einval");
    relay_bursts(&server);
    assert_eq!(told(&server), (1.0, 1.0, 1.0));
    let server = on("enosys,no-gro,no-gso");
    relay_bursts(&server);
    lacks(&server, &["gro", "gso", "batch"], &["UDP_GRO", "UDP_SEGMENT", BATCHES]);
}

/// More happens in a second than the log says, which the timer tells when nothing else happens.
fn see_time_pass(server: &Server) {
    let mut client = server.udp();
    for _ in 0..100 {
        assert_eq!((client.allocate().code(), client.refresh(0).code()), (0, 0));
    }
    let told = live::eventually(|| lines(server, &["lines left out"]) > 0);
    assert!(told, "{}", server.log());
}

#[test]
fn without_timers_of_the_kernel_those_of_the_runtime_serve() {
    let server = on("no-timers");
    relay_bursts(&server);
    see_time_pass(&server);
    lacks(&server, &["timer"], &["timerfd_create"]);
}

#[test]
fn without_marks_datagrams_are_relayed_all_the_same() {
    let server = on("no-marks");
    relay_bursts(&server);
    lacks(&server, &["df", "tos", "icmp"], &["IP_MTU_DISCOVER", "IP_RECVTOS", "IP_RECVERR"]);
}

#[test]
fn fragments_are_dealt_with_as_far_as_the_kernel_knows_how() {
    let server = on("no-omit");
    relay_bursts(&server);
    lacks(&server, &[], &[]);
}

#[test]
fn a_seccomp_filter_may_forbid_all_of_it() {
    let server = on("seccomp");
    relay_bursts(&server);
    see_time_pass(&server);
    lacks(&server, &["gro", "gso", "batch", "timer", "df", "tos", "icmp"], &ALL);
}

#[test]
fn what_cannot_be_done_without_is_told_at_the_start() {
    let start = |kernel: &str, keys: &[(&str, &str)]| {
        let server = Server::spawn_in(&[("LD_PRELOAD", library()), ("RELAIS_TEST_KERNEL", kernel)], keys);
        server.wait_for_log("error: ");
        server
    };
    let server = start("no-pktinfo", &[("listen.udp", "[\"0.0.0.0:0\"]")]);
    server.wait_for_log("Set listen.udp to the addresses themselves");
    let server = start("no-addresses", &[]);
    server.wait_for_log("a sandbox has to allow this");
}

#[test]
fn small_receive_buffers_are_told_once_with_their_cure() {
    let environment = [("LD_PRELOAD", library()), ("RELAIS_TEST_KERNEL", "small-buffers")];
    let server = Server::start_in(&environment, &[("listen.workers", "3")]);
    let said =
        ["INFO", "net.core.rmem_max keeps receive buffers small", "sysctl -w net.core.rmem_max=4194304"];
    assert_eq!((lines(&server, &said), lines(&server, &["rmem_max"])), (1, 1), "{}", server.log());
}

#[test]
fn errors_that_one_look_leaves_in_the_queue_wait_for_nothing_else() {
    for kernel in ["usual", "eperm"] {
        hear_of_closed_ports(&on(kernel));
    }
}

fn hear_of_closed_ports(server: &Server) {
    const CLOSED: usize = 24;
    let mut client = server.udp();
    client.relay();
    // Nobody has these ports: they were somebody's a moment ago.
    let closed: Vec<_> = (0..CLOSED).map(|_| peer()).map(|(_, address)| address).collect();
    assert_eq!(client.permit(closed[0]), 0);
    let said: Vec<_> = closed.iter().map(|address| send_indication(*address, b"anybody?")).collect();
    // All at once, and nothing later that could wake the worker.
    burst(socket(&client), server.address(), &said);
    for number in 0..CLOSED {
        let Some(told) = client.try_receive() else { panic!("{number} of {CLOSED} errors have been told") };
        assert!(Message::parse(&told).unwrap().get(attr::ICMP).is_some());
    }
}
