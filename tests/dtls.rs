//! TURN over DTLS over real sockets: the handshake, its bounds, and what a stranger cannot do.
#![cfg(feature = "dtls")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/dtls.rs"]
mod dtls;
#[path = "support/live.rs"]
mod live;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use dtls::Dtls;
use live::{Client, Link, SOON, Wire, channel_data, eventually, heard, peer};
use relais::auth::{Authenticator, Credential, User};
use relais::net::{Clock, DtlsIdentity, Options, RelayAddress, Workers};
use relais::turn::{Counters, DropReason, PeerPolicy, PolicyRule, Settings, Transport, TransportCounters};
use relais::wire::{attr, method};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use tokio::runtime::Runtime;

const CHANNEL: u16 = 0x4001;
/// MD5 of alice:relais:wonderland.
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
}

impl Server {
    /// With one address for UDP and DTLS.
    fn start() -> Self {
        Self::with(&[certificate(&["localhost"])], true, 64)
    }

    fn with(keys: &[Arc<CertifiedKey>], plain: bool, streams_per_address: u32) -> Self {
        let credential = Credential::Password(zeroize::Zeroizing::new(PASSWORD.to_owned()));
        let user = User { name: "alice".to_owned(), credential };
        let settings = relais::auth::Settings {
            realm: "relais".to_owned(),
            nonce_lifetime: Duration::from_secs(600),
            users: vec![user],
            secrets: Vec::new(),
            separator: ':',
        };
        let authenticator = Authenticator::new(settings, &[1; 32]).unwrap();
        let loopback = "127.0.0.1".parse().unwrap();
        let policy = PeerPolicy {
            allow: vec![PolicyRule { network: loopback, prefix: 32, ports: None }],
            ..PeerPolicy::default()
        };
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let options = Options {
            udp: if plain { vec![any] } else { Vec::new() },
            tcp: Vec::new(),
            dtls: vec![any],
            dtls_identity: Some(Arc::new(DtlsIdentity::new(keys).unwrap())),
            lenient: false,
            workers: 1,
            relay_addresses: vec![RelayAddress { local: loopback, public: loopback }],
            ports: 49_152..=65_535,
            turn: Settings { ipv6: false, ..Settings::new(Arc::new(authenticator), Arc::new(policy)) },
            allocations_per_user: 1000,
            streams_per_address,
            seed: [1, 2, 3, 4],
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let workers = Workers::start(options, Clock::start()).unwrap();
        let bound = workers.bound().to_vec();
        let address = bound.iter().find(|(transport, _)| *transport == Transport::Dtls).unwrap().1;
        assert_eq!(bound.len(), 1 + usize::from(plain));
        assert!(bound.iter().all(|(_, other)| *other == address), "one socket for both");
        Self { runtime, workers: Some(workers), address }
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

impl Wire for Dtls {
    fn send(&self, message: &[u8]) {
        Self::send(self, message);
    }

    fn receive(&self) -> Option<Vec<u8>> {
        Self::receive(self)
    }

    fn set_patience(&self, patience: Duration) {
        self.socket.set_read_timeout(Some(patience)).unwrap();
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
