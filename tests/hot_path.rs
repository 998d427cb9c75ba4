//! The whole way of a relayed packet, through real sockets and a real worker, makes no allocation, over UDP and TCP.
//! TLS makes a few for each record, and none for each packet in it.
#![allow(unsafe_code, reason = "a global allocator that counts has to be unsafe")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/certificates.rs"]
mod certificates;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use certificates::Authority;
use relais::auth::{Authenticator, Credential, User};
use relais::net::{Clock, Options, RelayAddress, Workers, tls_config};
use relais::turn::{PeerPolicy, PolicyRule, Settings, Transport};
use relais::wire::{Class, IntegrityKey, Message, MessageWriter, Method, TransactionId, attr, method};

struct Counting;

/// Of all threads but that of the test.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this is the thread of the test, which is a client and a peer.
    static OUTSIDE: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !OUTSIDE.try_with(Cell::get).unwrap_or(true) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
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
const ROUNDS: usize = 500;
/// Packets that are sent together.
const BURST: usize = 8;
/// What rustls allocates for the records of a burst to the peer and of one back at most, should every packet back have
/// been a record of its own: a place for each that comes, and the same while a long one is put together; a place for each
/// that leaves.
const IN_RECORDS: u64 = 6 + 2 * BURST as u64;
/// The name that the server's certificate is for.
const NAME: &str = "relay.example";

/// MD5("alice:relais:wonderland").
const KEY: [u8; 16] =
    [0x23, 0x17, 0x83, 0xb3, 0xeb, 0xf3, 0x11, 0xc2, 0x30, 0xb4, 0x96, 0x15, 0xb5, 0x0b, 0xe2, 0xcb];

enum Link {
    Udp(UdpSocket),
    /// TCP, or TLS over it.
    Stream(Box<dyn ReadWrite>),
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

impl Link {
    /// Sends what one burst consists of: one by one, or in one write.
    fn send(&mut self, packets: &[&[u8]]) {
        match self {
            Self::Udp(socket) => {
                for packet in packets {
                    socket.send(packet).unwrap();
                }
            }
            Self::Stream(stream) => stream.write_all(&packets.concat()).unwrap(),
        }
    }

    /// Receives one message, which has `len` bytes on a stream.
    fn receive(&mut self, buffer: &mut [u8], len: usize) -> usize {
        match self {
            Self::Udp(socket) => socket.recv(buffer).unwrap(),
            Self::Stream(stream) => {
                stream.read_exact(&mut buffer[..len]).unwrap();
                len
            }
        }
    }
}

struct Client {
    link: Link,
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
        self.link.send(&[&buffer[..len]]);
        let mut response = vec![0; 2048];
        let len = match self.link {
            Link::Udp(_) => self.link.receive(&mut response, 0),
            Link::Stream(_) => {
                self.link.receive(&mut response, 20);
                let rest = usize::from(u16::from_be_bytes([response[2], response[3]]));
                20 + self.link.receive(&mut response[20..], rest)
            }
        };
        response.truncate(len);
        response
    }
}

fn start(authority: &Authority) -> (tokio::runtime::Runtime, Workers) {
    let pair = authority.issue(&[NAME]);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = rustls::sign::CertifiedKey::from_der(vec![pair.der()], pair.key_der(), &provider).unwrap();
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
        tcp: vec!["127.0.0.1:0".parse().unwrap()],
        tls: vec!["127.0.0.1:0".parse().unwrap()],
        tls_config: Some(tls_config(&[Arc::new(key)], None, &[]).unwrap()),
        web: None,
        challenge: None,
        proxies: Vec::new(),
        dtls: Vec::new(),
        dtls_identity: None,
        lenient: false,
        pin_workers: false,
        workers: 1,
        relay_addresses: vec![RelayAddress { local: loopback, public: loopback }],
        ports: 49_152..=65_535,
        turn: Settings { ipv6: false, ..Settings::new(Arc::new(authenticator), Arc::new(policy)) },
        allocations_per_user: 10,
        streams_per_address: 10,
        seed: [1, 2, 3, 4],
        ticket_key: [5; 32],
        revoked: Arc::default(),
        witness: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    (runtime, Workers::start(options, Clock::start()).unwrap())
}

/// Sends bursts of a packet from one side and waits for each at the other. Returns how long the last one was.
fn to_peer(client: &mut Client, peer: &UdpSocket, packet: &[u8], buffer: &mut [u8]) -> usize {
    let mut received = 0;
    for _ in 0..ROUNDS {
        client.link.send(&[packet; BURST]);
        for _ in 0..BURST {
            received = peer.recv(buffer).unwrap();
        }
    }
    received
}

/// The other way; `len` is what the client expects.
fn to_client(client: &mut Client, peer: &UdpSocket, relayed: SocketAddr, buffer: &mut [u8], len: usize) {
    for _ in 0..ROUNDS {
        for _ in 0..BURST {
            peer.send_to(&[7; 1200], relayed).unwrap();
        }
        for _ in 0..BURST {
            assert_eq!(client.link.receive(buffer, len), len);
        }
    }
}

fn connect(server: SocketAddr, transport: Transport, authority: &Authority) -> Link {
    if transport == Transport::Udp {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        return Link::Udp(socket);
    }
    let stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    if transport == Transport::Tcp {
        return Link::Stream(Box::new(stream));
    }
    let config = authority.client(&[], None);
    let tls = rustls::ClientConnection::new(config, NAME.try_into().unwrap()).unwrap();
    Link::Stream(Box::new(rustls::StreamOwned::new(tls, stream)))
}

/// Relays in both forms and both ways. Returns the most allocations for all bursts to the peer and back.
fn allocations(server: SocketAddr, transport: Transport, authority: &Authority) -> u64 {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let peer_address = peer.local_addr().unwrap();
    let link = connect(server, transport, authority);
    let mut client = Client { link, key: IntegrityKey::new(&KEY), nonce: Vec::new(), next: 0 };
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
    let mut indication = [0; 1300];
    let mut writer =
        MessageWriter::to(&mut indication, method::SEND, Class::Indication, TransactionId([9; 12]));
    writer.xor_address(attr::XOR_PEER_ADDRESS, peer_address).attribute(attr::DATA, &[7; 1200]);
    let len = writer.finish().unwrap();
    let indication = &indication[..len];
    let mut channel_data = [7; 1204];
    channel_data[..2].copy_from_slice(&CHANNEL.to_be_bytes());
    channel_data[2..4].copy_from_slice(&1200u16.to_be_bytes());

    // Indications first: once a channel is bound, peers' data come as ChannelData. The first round warms up.
    let mut most = 0;
    for (packet, header) in [(indication, 20 + 12 + 4), (&channel_data[..], 4)] {
        for measured in [false, true] {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            assert_eq!(to_peer(&mut client, &peer, packet, &mut buffer), 1200);
            to_client(&mut client, &peer, relayed, &mut buffer, header + 1200);
            if measured {
                most = most.max(ALLOCATIONS.load(Ordering::Relaxed) - before);
            }
        }
        let bound = client.request(method::CHANNEL_BIND, |writer| {
            writer
                .attribute(attr::CHANNEL_NUMBER, &[0x40, 0x01, 0, 0])
                .xor_address(attr::XOR_PEER_ADDRESS, peer_address);
        });
        assert_eq!(Message::parse(&bound).unwrap().class(), Class::SuccessResponse);
    }
    most
}

#[test]
fn a_relayed_packet_makes_no_allocation() {
    OUTSIDE.set(true);
    let authority = Authority::new("Test");
    let (runtime, workers) = start(&authority);
    for (transport, server) in workers.bound().to_vec() {
        let made = allocations(server, transport, &authority);
        let most = if transport == Transport::Tls { IN_RECORDS } else { 0 };
        assert!(
            made <= most * ROUNDS as u64,
            "{made} allocations for {ROUNDS} times {BURST} packets each way over {transport:?}"
        );
    }
    runtime.block_on(workers.stop());
}
