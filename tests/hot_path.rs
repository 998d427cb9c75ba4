//! The whole way of a relayed packet, through real sockets and a real worker, makes no allocation.
#![allow(unsafe_code, reason = "a global allocator that counts has to be unsafe")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use relais::auth::{Authenticator, Credential, User};
use relais::net::{Clock, Options, RelayAddress, Workers};
use relais::turn::{PeerPolicy, PolicyRule, Settings};
use relais::wire::{Class, IntegrityKey, Message, MessageWriter, Method, TransactionId, attr, method};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CHANNEL: u16 = 0x4001;
const PACKETS: usize = 2000;

/// MD5("alice:relais:wonderland").
const KEY: [u8; 16] =
    [0x23, 0x17, 0x83, 0xb3, 0xeb, 0xf3, 0x11, 0xc2, 0x30, 0xb4, 0x96, 0x15, 0xb5, 0x0b, 0xe2, 0xcb];

struct Client {
    socket: UdpSocket,
    key: IntegrityKey,
    nonce: Vec<u8>,
    next: u8,
}

impl Client {
    /// Sends a request, with credentials once there is a nonce, and returns the response.
    fn request(&mut self, method: Method, fill: impl Fn(&mut MessageWriter<'_>)) -> Vec<u8> {
        let mut buffer = [0; 512];
        self.next += 1;
        let mut writer =
            MessageWriter::to(&mut buffer, method, Class::Request, TransactionId([self.next; 12]));
        fill(&mut writer);
        if !self.nonce.is_empty() {
            writer
                .attribute(attr::USERNAME, b"alice")
                .attribute(attr::REALM, b"relais")
                .attribute(attr::NONCE, &self.nonce)
                .message_integrity(&self.key);
        }
        let len = writer.finish().unwrap();
        self.socket.send(&buffer[..len]).unwrap();
        let mut response = vec![0; 2048];
        let len = self.socket.recv(&mut response).unwrap();
        response.truncate(len);
        response
    }
}

fn start() -> (tokio::runtime::Runtime, Workers) {
    let user = User { name: "alice".to_owned(), credential: Credential::Md5(KEY) };
    let authenticator = Authenticator::new(
        relais::auth::Settings {
            realm: "relais".to_owned(),
            nonce_lifetime: Duration::from_secs(600),
            users: vec![user],
            secrets: Vec::new(),
            separator: ':',
            expired: relais::auth::Expired::default(),
            oauth: Vec::new(),
            server_name: String::new(),
        },
        &[1; 32],
    )
    .unwrap();
    let loopback = "127.0.0.1".parse().unwrap();
    let policy = PeerPolicy {
        allow: vec![PolicyRule { network: loopback, prefix: 32, ports: None }],
        ..PeerPolicy::default()
    };
    let options = Options {
        udp: vec!["127.0.0.1:0".parse().unwrap()],
        tcp: Vec::new(),
        tls: Vec::new(),
        tls_config: None,
        web: None,
        proxies: Vec::new(),
        dtls: Vec::new(),
        dtls_identity: None,
        lenient: false,
        workers: 1,
        relay_addresses: vec![RelayAddress { local: loopback, public: loopback }],
        ports: 49_152..=65_535,
        turn: Settings { ipv6: false, ..Settings::new(Arc::new(authenticator), Arc::new(policy)) },
        allocations_per_user: 10,
        streams_per_address: 10,
        seed: [1, 2, 3, 4],
        ticket_key: [5; 32],
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    (runtime, Workers::start(options, Clock::start()).unwrap())
}

/// Sends `packets` one by one from one socket and waits for each at the other.
fn ping_pong(
    from: &UdpSocket,
    to: Option<SocketAddr>,
    at: &UdpSocket,
    packet: &[u8],
    buffer: &mut [u8],
) -> usize {
    let mut received = 0;
    for _ in 0..PACKETS {
        match to {
            Some(to) => from.send_to(packet, to),
            None => from.send(packet),
        }
        .unwrap();
        received = at.recv(buffer).unwrap();
    }
    received
}

#[test]
fn a_relayed_packet_makes_no_allocation() {
    let (runtime, workers) = start();
    let server = workers.bound()[0].1;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let peer_address = peer.local_addr().unwrap();

    let mut client = Client { socket, key: IntegrityKey::new(&KEY), nonce: Vec::new(), next: 0 };
    let udp = |writer: &mut MessageWriter<'_>| {
        writer.attribute(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    };
    let challenge = client.request(method::ALLOCATE, udp);
    client.nonce = Message::parse(&challenge).unwrap().get(attr::NONCE).unwrap().to_vec();
    let allocated = client.request(method::ALLOCATE, udp);
    let allocated = Message::parse(&allocated).unwrap();
    let relayed = allocated.xor_address(allocated.get(attr::XOR_RELAYED_ADDRESS).unwrap()).unwrap();
    let permitted = client.request(method::CREATE_PERMISSION, |writer| {
        writer.xor_address(attr::XOR_PEER_ADDRESS, peer_address);
    });
    assert_eq!(Message::parse(&permitted).unwrap().class(), Class::SuccessResponse);

    let mut buffer = [0; 2048];
    let payload = [7; 1200];
    let mut indication = [0; 1300];
    let mut writer =
        MessageWriter::to(&mut indication, method::SEND, Class::Indication, TransactionId([9; 12]));
    writer.xor_address(attr::XOR_PEER_ADDRESS, peer_address).attribute(attr::DATA, &payload);
    let len = writer.finish().unwrap();
    let indication = &indication[..len];
    let mut channel_data = [7; 1204];
    channel_data[..2].copy_from_slice(&CHANNEL.to_be_bytes());
    channel_data[2..4].copy_from_slice(&1200u16.to_be_bytes());

    // Indications first: once a channel is bound, peers' data come as ChannelData. The first round warms up.
    for measured in [false, true] {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        assert_eq!(ping_pong(&client.socket, None, &peer, indication, &mut buffer), 1200);
        assert_eq!(
            ping_pong(&peer, Some(relayed), &client.socket, &payload, &mut buffer),
            20 + 12 + 4 + 1200
        );
        let made = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert!(!measured || made == 0, "{made} allocations for {} indications", 2 * PACKETS);
    }
    let bound = client.request(method::CHANNEL_BIND, |writer| {
        writer
            .attribute(attr::CHANNEL_NUMBER, &[0x40, 0x01, 0, 0])
            .xor_address(attr::XOR_PEER_ADDRESS, peer_address);
    });
    assert_eq!(Message::parse(&bound).unwrap().class(), Class::SuccessResponse);
    for measured in [false, true] {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        assert_eq!(ping_pong(&client.socket, None, &peer, &channel_data, &mut buffer), 1200);
        assert_eq!(ping_pong(&peer, Some(relayed), &client.socket, &payload, &mut buffer), 1204);
        let made = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert!(!measured || made == 0, "{made} allocations for {} ChannelData messages", 2 * PACKETS);
    }
    runtime.block_on(workers.stop());
}
