//! TURN over DTLS over real sockets: the handshake, its bounds, and what a stranger cannot do.
#![cfg(feature = "dtls")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/dtls.rs"]
mod dtls;
#[path = "support/live.rs"]
mod live;
#[path = "support/secure.rs"]
mod secure;

use std::net::{SocketAddr, UdpSocket};

use std::sync::Arc;
use std::time::Duration;

use dtls::Dtls;
use live::{Client, Link, SOON, channel_data, eventually, heard, peer};
use relais::auth::{Authenticator, Credential, User};
use relais::net::{Clock, DtlsIdentity, Options, RelayAddress, Seen, Workers};
use relais::turn::{
    Counters, DropReason, EndReason, Event, PeerPolicy, PolicyRule, Settings, Transport, TransportCounters,
};
use relais::wire::method;
use rtc_dtls::cipher_suite::CipherSuiteId;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const CHANNEL: u16 = 0x4001;
const PASSWORD: &str = "wonderland";
/// Longer than a handshake may take, and longer than an association may be without an allocation.
const AFTER_HANDSHAKE: Duration = Duration::from_secs(7);
const AFTER_LOGIN: Duration = Duration::from_secs(14);

/// A certificate for these names, with its key.
fn certificate(names: &[&str]) -> Arc<CertifiedKey> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let chain = vec![made.cert.der().clone()];
    Arc::new(CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).unwrap())
}

/// Workers in this process.
struct Server {
    runtime: Runtime,
    workers: Option<Workers>,
    address: SocketAddr,
    /// What its workers tell of ends.
    ends: mpsc::Receiver<Seen>,
}

impl Server {
    /// With one address for UDP and DTLS.
    fn start() -> Self {
        Self::with(&[certificate(&["localhost"])], true, 64)
    }

    fn with(keys: &[Arc<CertifiedKey>], plain: bool, streams_per_address: u32) -> Self {
        Self::demanding(keys, None, plain, streams_per_address)
    }

    fn demanding(
        keys: &[Arc<CertifiedKey>],
        client_roots: Option<&rustls::RootCertStore>,
        plain: bool,
        streams_per_address: u32,
    ) -> Self {
        let credential = Credential::Password(zeroize::Zeroizing::new(PASSWORD.to_owned()));
        let user = User { name: "alice".to_owned(), credential };
        let settings = relais::auth::Settings {
            realm: "relais".to_owned(),
            nonce_lifetime: Duration::from_secs(600),
            users: vec![user],
            secrets: Vec::new(),
            separator: ':',
            expired: relais::auth::Expired::default(),
            oauth: Vec::new(),
            server_name: String::new(),
        };
        let authenticator = Authenticator::new(settings, &[1; 32]).unwrap();
        let loopback = "127.0.0.1".parse().unwrap();
        let policy = PeerPolicy {
            allow: vec![PolicyRule { network: loopback, prefix: 32, ports: None }],
            ..PeerPolicy::default()
        };
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (witness, ends) = mpsc::channel(64);
        let options = Options {
            udp: if plain { vec![any] } else { Vec::new() },
            tcp: Vec::new(),
            tls: Vec::new(),
            tls_config: None,
            web: None,
            challenge: None,
            proxies: Vec::new(),
            dtls: vec![any],
            dtls_identity: Some(Arc::new(DtlsIdentity::new(keys, client_roots).unwrap())),
            lenient: false,
            pin_workers: false,
            workers: 1,
            relay_addresses: vec![RelayAddress { local: loopback, public: loopback }],
            ports: 49_152..=65_535,
            turn: Settings { ipv6: false, ..Settings::new(Arc::new(authenticator), Arc::new(policy)) },
            allocations_per_user: 1000,
            streams_per_address,
            seed: [1, 2, 3, 4],
            ticket_key: [5; 32],
            revoked: Arc::default(),
            witness: Some(witness),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let workers = Workers::start(options, Clock::start()).unwrap();
        let bound = workers.bound().to_vec();
        let address = bound.iter().find(|(transport, _)| *transport == Transport::Dtls).unwrap().1;
        assert_eq!(bound.len(), 1 + usize::from(plain));
        assert!(bound.iter().all(|(_, other)| *other == address), "one socket for both");
        Self { runtime, workers: Some(workers), address, ends }
    }

    fn connect(&self) -> Dtls {
        Dtls::connect(self.address).expect("a handshake")
    }

    fn client(&self) -> Client {
        Client::with(Link::Other(Box::new(self.connect())))
    }

    fn counters(&self) -> TransportCounters {
        let handle = self.workers.as_ref().unwrap().handle();
        let all = self.runtime.block_on(handle.counters()).unwrap();
        let mut sum = Counters::default();
        all.iter().for_each(|counters| sum.merge(counters));
        *sum.of(Transport::Dtls)
    }

    fn associations(&self) -> u64 {
        self.counters().streams
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.counters().drops[reason as usize]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(workers) = self.workers.take() {
            self.runtime.block_on(workers.stop());
        }
    }
}

#[test]
fn rfc7350_3_binding_and_relaying_go_over_dtls() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.binding().code(), 0);
    let relayed = client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.bind(CHANNEL, peer_address), 0);
    for len in [0, 1, 2, 3, 4, 5, 1200, 9000] {
        client.send(&channel_data(CHANNEL, &vec![1; len])[..4 + len]);
        assert_eq!(heard(&peer), (vec![1; len], relayed));
        peer.send_to(&vec![2; len], relayed).unwrap();
        // As over UDP, nothing is padded.
        assert_eq!(client.receive(), &channel_data(CHANNEL, &vec![2; len])[..4 + len]);
    }
    let counters = server.counters();
    assert_eq!((counters.streams, counters.allocations), (1, 1));
    assert_eq!((counters.to_peers.packets, counters.to_clients.packets), (8, 8));
}

#[test]
fn rfc7983_7_one_port_serves_udp_and_dtls() {
    let server = Server::start();
    let mut plain = Client::udp(server.address);
    let mut client = server.client();
    for _ in 0..3 {
        assert_eq!((plain.binding().code(), client.binding().code()), (0, 0));
    }
    let (first, second) = (plain.relay(), client.relay());
    assert_ne!(first, second);

    let only = Server::with(&[certificate(&["localhost"])], false, 64);
    assert_eq!(only.client().binding().code(), 0);
    let mut plain = Client::udp(only.address);
    let request = plain.write(method::BINDING, |_| {});
    plain.send(&request);
    plain.set_patience(Duration::from_millis(300));
    assert_eq!(plain.try_receive(), None);
    assert_eq!(only.dropped(DropReason::Malformed), 1);
}

/// A first hello as this client sends it, and the answer of the server.
fn exchange(client: &Dtls) -> (Vec<u8>, Vec<u8>) {
    let hello = client.take().concat();
    client.socket.send(&hello).unwrap();
    (hello, client.hear().expect("a HelloVerifyRequest"))
}

fn begin(server: &Server) -> Dtls {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    Dtls::begin(socket, server.address, dtls::client_config(&[]))
}

#[test]
fn rfc6347_4_2_1_nothing_is_kept_for_a_client_that_has_not_returned_its_cookie() {
    // The program itself, so that its memory is nobody else's.
    let secure = secure::Secure::start(&[("listen.dtls", r#"["OWN:5349"]"#)]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = Dtls::begin(socket, secure.address(), dtls::client_config(&[]));
    let (hello, answer) = exchange(&client);
    assert!(answer.len() < hello.len(), "{} for {}", answer.len(), hello.len());
    assert_eq!((answer[0], answer[13], answer[25..27].to_vec()), (22, 3, vec![0xFE, 0xFF]));

    let before = secure.server.resident();
    for round in 0u32..20_000 {
        let mut hello = hello.clone();
        // Another record, another random.
        hello[7..11].copy_from_slice(&round.to_be_bytes());
        hello[27..31].copy_from_slice(&round.to_be_bytes());
        client.socket.send(&hello).unwrap();
        let answer = client.hear().expect("a HelloVerifyRequest each");
        assert_eq!(answer[5..11], hello[5..11], "the number of its record is the hello's");
    }
    assert_eq!(secure.server.metric("relais_streams{transport=\"dtls\"}"), 0.0);
    let grown = secure.server.resident() - before;
    assert!(grown < 1 << 20, "{grown} bytes for 20,000 hellos");
}

#[test]
fn rfc6347_4_2_1_a_cookie_is_of_use_only_where_it_was_sent_to() {
    let server = Server::start();
    let client = begin(&server);
    let (_, answer) = exchange(&client);
    client.handle(&answer);
    let second = client.take().concat();
    let thief = UdpSocket::bind("127.0.0.1:0").unwrap();
    thief.set_read_timeout(Some(SOON)).unwrap();
    thief.send_to(&second, server.address).unwrap();
    let mut buffer = [0; 2048];
    let len = thief.recv(&mut buffer).unwrap();
    assert_eq!((len, buffer[13]), (48, 3), "it is asked for a cookie of its own");
    assert_eq!(server.associations(), 0);
    let mut wrong = second.clone();
    // A bit of the cookie, which stands behind random and an empty session id.
    wrong[25 + 34 + 1 + 1 + 10] ^= 1;
    client.socket.send(&wrong).unwrap();
    assert_eq!(client.hear().unwrap()[13], 3);
    assert_eq!(server.associations(), 0);
    client.socket.send(&second).unwrap();
    assert_eq!(client.hear().unwrap()[13], 2, "a ServerHello");
    assert_eq!(server.associations(), 1);
}

#[test]
fn rfc6347_4_2_1_the_server_hello_has_the_number_of_the_hello_that_it_answers() {
    let server = Server::start();
    let client = begin(&server);
    let (_, answer) = exchange(&client);
    client.handle(&answer);
    let mut second = client.take().concat();
    second[10] = 9;
    client.socket.send(&second).unwrap();
    let first = client.hear().unwrap();
    assert_eq!((first[13], first[5..11].to_vec()), (2, vec![0, 0, 0, 0, 0, 9]));
}

#[test]
fn a_handshake_that_does_not_go_on_is_given_up_after_five_seconds() {
    let server = Server::start();
    let client = begin(&server);
    let (_, answer) = exchange(&client);
    client.handle(&answer);
    client.flush();
    assert!(eventually(|| server.associations() == 1));
    // The server repeats its flight meanwhile.
    let mut hellos = 0;
    client.socket.set_read_timeout(Some(AFTER_HANDSHAKE)).unwrap();
    while server.associations() == 1 {
        client.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        hellos += usize::from(client.hear().is_some_and(|datagram| datagram[13] == 2));
    }
    assert!((2..=6).contains(&hellos), "{hellos} ServerHellos");
}

#[test]
fn an_association_without_an_allocation_is_closed_after_ten_seconds_and_one_with_is_not() {
    let server = Server::start();
    let (idle, mut client) = (server.connect(), server.client());
    client.relay();
    assert_eq!(server.associations(), 2);
    assert!(idle.is_closed_within(AFTER_LOGIN));
    assert_eq!(server.associations(), 1);
    assert_eq!(client.binding().code(), 0);
    // Without its allocation it has as long again.
    assert_eq!(client.refresh(0).code(), 0);
    assert_eq!(client.binding().code(), 0);
    assert!(!eventually(|| server.associations() == 0));
}

#[test]
fn goodbye_ends_the_allocation() {
    let server = Server::start();
    let wire = Arc::new(server.connect());
    let mut client = Client::with(Link::Other(Box::new(Arc::clone(&wire))));
    client.relay();
    assert_eq!(server.counters().allocations, 1);
    wire.close();
    assert!(eventually(|| server.associations() == 0));
    assert_eq!(server.counters().allocations, 0);
}

#[test]
fn a_server_that_stops_says_so_of_its_allocations() {
    let mut server = Server::start();
    let mut client = server.client();
    client.relay();
    server.runtime.block_on(server.workers.take().unwrap().stop());
    let ends: Vec<EndReason> = std::iter::from_fn(|| server.ends.try_recv().ok())
        .filter_map(|seen| match seen.event {
            Event::AllocationEnded { reason, .. } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [EndReason::ServerStopped]);
}

#[test]
fn whoever_writes_the_clients_address_cannot_end_its_association() {
    let server = Server::start();
    let wire = server.connect();
    let socket = wire.socket.try_clone().unwrap();
    let protected = wire.protect(b"not a STUN message");
    let mut client = Client::with(Link::Other(Box::new(wire)));
    client.relay();
    let record = |kind: u8, epoch: u8, body: &[u8]| {
        let mut bytes = vec![kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 99, 0];
        bytes.push(u8::try_from(body.len()).unwrap());
        bytes.extend_from_slice(body);
        bytes
    };
    let mut forged = vec![
        record(21, 0, &[2, 0]),
        record(21, 0, &[1, 0]),
        record(21, 1, &[2, 40]),
        record(20, 0, &[1]),
        record(20, 1, &[1]),
        record(22, 0, &[0; 40]),
        record(22, 0, &[20, 0, 0, 12, 0, 3, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        record(22, 1, &[7; 40]),
        record(23, 0, b"data"),
        record(23, 1, b"data"),
        record(23, 2, &[7; 60]),
        record(25, 1, &[7; 60]),
        vec![22],
        vec![63; 1400],
        vec![0x2F, 1, 2, 3],
        vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
    ];
    forged.extend((0..protected.len()).map(|len| protected[..len].to_vec()));
    forged.extend((0..protected.len()).map(|at| {
        let mut wrong = protected.clone();
        wrong[at] ^= 0x10;
        wrong
    }));
    for datagram in forged.iter().filter(|datagram| !datagram.is_empty()) {
        socket.send(datagram).unwrap();
        assert_eq!(client.binding().code(), 0, "after {datagram:?}");
    }
    assert_eq!(server.counters().allocations, 1);
    assert_eq!(server.associations(), 1);
}

#[test]
fn rfc6347_4_2_8_a_new_hello_ends_the_old_association_only_when_it_has_proved_itself() {
    let server = Server::start();
    let wire = server.connect();
    let socket = wire.socket.try_clone().unwrap();
    let mut client = Client::with(Link::Other(Box::new(wire)));
    client.relay();

    let again = Dtls::begin(socket.try_clone().unwrap(), server.address, dtls::client_config(&[]));
    let (_, answer) = exchange(&again);
    assert_eq!(client.binding().code(), 0, "after a hello");
    again.handle(&answer);
    again.flush();
    assert!(eventually(|| server.associations() == 2));
    let mut flight = Vec::new();
    while !flight.iter().any(|datagram: &Vec<u8>| ends_with_done(datagram)) {
        flight.push(again.hear().unwrap());
    }
    assert_eq!(client.binding().code(), 0, "after a hello with its cookie");
    assert_eq!(server.counters().allocations, 1);

    for datagram in flight {
        again.handle(&datagram);
    }
    again.flush();
    while !again.pump().unwrap() {}
    assert!(eventually(|| server.associations() == 1));
    assert_eq!(server.counters().allocations, 0, "the old one's allocation went with it");
    assert_eq!(Client::with(Link::Other(Box::new(again))).binding().code(), 0);
}

/// A client that has a cookie from `socket`, and its hello with it.
fn ready(server: &Server, socket: &UdpSocket) -> (Dtls, Vec<u8>) {
    let client = Dtls::begin(socket.try_clone().unwrap(), server.address, dtls::client_config(&[]));
    let (_, answer) = exchange(&client);
    client.handle(&answer);
    let hello = client.take().concat();
    (client, hello)
}

/// Whether this comes to be when the handshakes that do not go on are over.
fn after_handshakes(condition: impl Fn() -> bool) -> bool {
    let end = tokio::time::Instant::now() + AFTER_HANDSHAKE;
    while !condition() && tokio::time::Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    condition()
}

/// A key exchange with a key that is none.
fn bad_key_exchange() -> Vec<u8> {
    let exchange = [16, 0, 0, 5, 0, 2, 0, 0, 0, 0, 0, 5, 4, 1, 2, 3, 4];
    [&[22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 99, 0, 17][..], &exchange].concat()
}

/// A ServerHello for the hello that was sent.
fn is_served(client: &Dtls) -> bool {
    client.socket.set_read_timeout(Some(SOON)).unwrap();
    client.hear().is_some_and(|datagram| datagram[13] == 2)
}

#[test]
fn a_5_tuple_has_one_handshake_in_five_seconds_whatever_comes() {
    let server = Server::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let hellos = [ready(&server, &socket), ready(&server, &socket)];
    for _ in 0..10 {
        for (client, hello) in &hellos {
            client.socket.send(hello).unwrap();
        }
    }
    assert!(eventually(|| server.dropped(DropReason::Association) == 10), "the second is not served");
    assert_eq!(server.associations(), 1);
    let mut served = 0;
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    while let Some(datagram) = hellos[0].0.hear() {
        served += usize::from(datagram[13] == 2);
    }
    assert!(served <= 2, "{served} flights: one, and perhaps its repetition");

    // Nor is it the next one's turn because this one fails.
    socket.send(&bad_key_exchange()).unwrap();
    hellos[1].0.socket.send(&hellos[1].1).unwrap();
    assert!(eventually(|| server.dropped(DropReason::Association) == 11));
    assert_eq!(server.associations(), 1);
    assert!(after_handshakes(|| server.associations() == 0), "its time is over");
    while hellos[0].0.hear().is_some() {}
    hellos[1].0.socket.send(&hellos[1].1).unwrap();
    assert!(is_served(&hellos[1].0));
}

#[test]
fn a_handshake_that_fails_counts_against_its_address_until_its_time_is_over() {
    let server = Server::with(&[certificate(&["localhost"])], true, 2);
    let mut failed = Vec::new();
    for _ in 0..2 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (client, hello) = ready(&server, &socket);
        client.socket.send(&hello).unwrap();
        assert!(is_served(&client));
        client.socket.send(&bad_key_exchange()).unwrap();
        failed.push(client);
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (third, hello) = ready(&server, &socket);
    third.socket.send(&hello).unwrap();
    assert!(eventually(|| server.dropped(DropReason::Association) == 1));
    assert_eq!(server.associations(), 2);
}

/// Whether a ServerHelloDone stands at the end of a datagram.
fn ends_with_done(datagram: &[u8]) -> bool {
    datagram.len() >= 25 && datagram[datagram.len() - 12] == 14
}

#[test]
fn associations_without_an_allocation_are_bounded_by_address() {
    let server = Server::with(&[certificate(&["localhost"])], true, 3);
    let mut clients: Vec<Client> = (0..3).map(|_| server.client()).collect();
    let more = begin(&server);
    let (_, answer) = exchange(&more);
    more.handle(&answer);
    more.flush();
    assert!(eventually(|| server.dropped(DropReason::Association) == 1));
    assert_eq!(server.associations(), 3);
    clients[0].relay();
    assert_eq!(server.client().binding().code(), 0, "one with an allocation does not count");
}

#[test]
fn data_that_no_record_can_carry_are_dropped_and_counted() {
    let server = Server::start();
    let mut client = server.client();
    let relayed = client.relay();
    let (peer, peer_address) = peer();
    assert_eq!(client.bind(CHANNEL, peer_address), 0);
    peer.send_to(&[1; 16_381], relayed).unwrap();
    assert!(eventually(|| server.dropped(DropReason::TooLong) == 1));
    peer.send_to(&[2; 16_380], relayed).unwrap();
    assert_eq!(client.receive().len(), 16_384);
}

#[test]
fn every_suite_works_and_no_nonce_comes_twice() {
    let rsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let made = rcgen::CertificateParams::new(vec!["rsa.test".to_owned()]).unwrap().self_signed(&rsa).unwrap();
    let key = PrivateKeyDer::try_from(rsa.serialize_der()).unwrap();
    let chain = vec![made.der().clone(), certificate(&["issuer.test"]).cert[0].clone()];
    let rsa = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).unwrap();
    let keys = [certificate(&["localhost"]), certificate(&["other.test"]), Arc::new(rsa)];
    let server = Server::with(&keys, true, 64);
    let shown = |suites: &[CipherSuiteId], name: &str| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = Dtls::begin(socket, server.address, dtls::config_for(suites, name));
        client.flush();
        while !client.pump().expect("a handshake") {}
        let certificates = client.certificates();
        let mut client = Client::with(Link::Other(Box::new(client)));
        assert_eq!(client.binding().code(), 0);
        keys.iter().position(|key| key.cert.iter().map(|der| der.to_vec()).eq(certificates.clone()))
    };
    use CipherSuiteId as Suite;
    assert_eq!(shown(&[Suite::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256], "localhost"), Some(0));
    assert_eq!(shown(&[Suite::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256], "other.test"), Some(1));
    assert_eq!(shown(&[Suite::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256], "rsa.test"), Some(2));
    assert_eq!(shown(&[Suite::Tls_Ecdhe_Rsa_With_ChaCha20_Poly1305_Sha256], "localhost"), Some(2));
    assert_eq!(shown(&[], "unknown.test"), Some(0), "the first for all others");

    let client = server.connect();
    let mut requests = Client::udp(server.address);
    let mut nonces = Vec::new();
    for _ in 0..100 {
        client.send(&requests.write(method::BINDING, |_| {}));
        let record = client.hear().unwrap();
        assert_eq!(record[0], 23);
        nonces.push(u64::from_be_bytes(record[13..21].try_into().unwrap()));
    }
    assert!(nonces.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{nonces:?}");
}

#[test]
fn a_client_that_has_nothing_in_common_with_the_server_is_told() {
    let server = Server::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let suites = [CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256];
    let client = Dtls::begin(socket, server.address, dtls::client_config(&suites));
    let (_, answer) = exchange(&client);
    client.handle(&answer);
    client.flush();
    let alert = client.hear().unwrap();
    assert_eq!((alert[0], alert[13]), (21, 2), "a fatal alert");
    assert!(eventually(|| server.associations() == 0));
}

#[test]
fn new_certificates_are_for_new_associations() {
    let server = Server::start();
    let mut old = server.client();
    let next = certificate(&["localhost"]);
    let identity = Arc::new(DtlsIdentity::new(&[Arc::clone(&next)], None).unwrap());
    server.runtime.block_on(server.workers.as_ref().unwrap().handle().set_dtls(identity));
    assert!(eventually(|| server.connect().certificates() == [next.cert[0].to_vec()]));
    assert_eq!(old.binding().code(), 0);
}

#[test]
fn records_of_nobody_are_counted_and_not_answered() {
    let server = Server::start();
    let protected = server.connect().protect(b"hello");
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.connect(server.address).unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    for datagram in [&protected[..], &[22; 40], &[22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]] {
        stranger.send(datagram).unwrap();
    }
    assert!(stranger.recv(&mut [0; 64]).is_err());
    assert_eq!(server.dropped(DropReason::Association), 1);
    assert_eq!(server.dropped(DropReason::Malformed), 2);
}

#[test]
fn a_hostile_handshake_harms_nobody_else() {
    let server = Server::with(&[certificate(&["localhost"])], true, 10_000);
    let mut witness = server.client();
    witness.relay();
    let mut random = 1u32;
    let mut dice = |below: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as usize % below
    };
    for round in 0..200 {
        let client = begin(&server);
        let (_, answer) = exchange(&client);
        client.handle(&answer);
        let mut hello = client.take().concat();
        // Sometimes the part of the hello that the cookie does not cover.
        if round % 4 == 0 {
            let at = hello.len() - 1 - dice(40);
            hello[at] ^= 1 << dice(8);
        }
        client.socket.send(&hello).unwrap();
        client.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        while let Some(datagram) = client.hear() {
            let done = ends_with_done(&datagram);
            client.handle(&datagram);
            if done || datagram[0] == 21 {
                break;
            }
        }
        let flight: Vec<Vec<u8>> = client.take().into_iter().map(|datagram| datagram.to_vec()).collect();
        for datagram in flight.iter().cycle().take(flight.len() * 20) {
            let mut wrong = datagram.clone();
            for _ in 0..=dice(3) {
                let at = dice(wrong.len());
                wrong[at] = u8::try_from(dice(256)).unwrap();
            }
            if dice(8) == 0 {
                wrong.truncate(1 + dice(wrong.len()));
            }
            client.socket.send(&wrong).unwrap();
        }
        assert_eq!(witness.binding().code(), 0, "round {round}");
    }
    assert_eq!(server.counters().allocations, 1, "the worker has not begun anew");
}

#[test]
fn clients_show_a_certificate_where_one_is_demanded() {
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = params.self_signed(&authority).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let issuer = rcgen::Issuer::from_params(&params, &authority);
    let server = Server::demanding(&[certificate(&["localhost"])], Some(&roots), true, 64);

    let attempt = |key: Option<(rcgen::Certificate, rcgen::KeyPair)>| {
        let provider = rtc_crypto::default_provider().unwrap();
        let builder = dtls::builder_for(&[], "localhost");
        let builder = match key {
            None => builder,
            Some((certificate, key)) => {
                let key = rtc_dtls::crypto::CryptoPrivateKey::from_key_pair(&key, provider.crypto()).unwrap();
                let chain = vec![certificate.der().clone()];
                builder.with_certificates(vec![rtc_dtls::crypto::Certificate {
                    certificate: chain,
                    private_key: key,
                }])
            }
        };
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = Dtls::begin(socket, server.address, builder.build(true, None).unwrap());
        client.flush();
        loop {
            match client.pump() {
                Some(true) => break true,
                Some(false) => {}
                None => break false,
            }
        }
    };
    let leaf = |signed: bool| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let made = if signed { params.signed_by(&key, &issuer) } else { params.self_signed(&key) };
        (made.unwrap(), key)
    };
    assert!(!attempt(Some(leaf(false))), "one of nobody's");
    assert!(!attempt(None));
    let (stolen, _) = leaf(true);
    assert!(!attempt(Some((stolen, rcgen::KeyPair::generate().unwrap()))), "without its key");
    assert!(attempt(Some(leaf(true))));
    assert!(after_handshakes(|| server.associations() == 1));
}
