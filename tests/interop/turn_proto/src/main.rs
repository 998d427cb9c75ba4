//! A client made of `turn-client-proto`: SHA-256, USERHASH, two relayed addresses of one allocation.
//!
//!     relais-turn-proto SERVER udp|tcp FAMILIES USER PASSWORD OPTIONS PEER...
//!
//! FAMILIES is 4, 6 or 46; OPTIONS is `-` or a list of `sha256` and `userhash` with commas. Each PEER echoes. Prints one
//! JSON object: the relayed addresses, and how many messages came back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use turn_client_proto::api::{
    DelayedMessageOrChannelSend, TransmitBuild, TurnConfig, TurnEvent, TurnRecvRet,
};
use turn_client_proto::prelude::*;
use turn_client_proto::stun::agent::Transmit;
use turn_client_proto::stun::auth::Feature;
use turn_client_proto::stun::types::message::IntegrityAlgorithm;
use turn_client_proto::stun::{Instant as Moment, types::TransportType};
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::{AddressFamily, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

const MESSAGES: usize = 100;

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Socket {
    fn open(server: SocketAddr, transport: TransportType) -> Self {
        let wait = Some(Duration::from_millis(5));
        if transport == TransportType::Tcp {
            let stream = TcpStream::connect(server).expect("connect");
            stream.set_nodelay(true).expect("nodelay");
            stream.set_read_timeout(wait).expect("timeout");
            return Self::Tcp(stream);
        }
        let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).expect("bind");
        socket.connect(server).expect("connect");
        socket.set_read_timeout(wait).expect("timeout");
        Self::Udp(socket)
    }

    fn local(&self) -> SocketAddr {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp(stream) => stream.local_addr(),
        }
        .expect("an address")
    }

    fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Udp(socket) => drop(socket.send(bytes)),
            Self::Tcp(stream) => stream.write_all(bytes).expect("write"),
        }
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        let got = match self {
            Self::Udp(socket) => socket.recv(&mut buffer),
            Self::Tcp(stream) => stream.read(&mut buffer),
        };
        match got {
            Ok(0) if matches!(self, Self::Tcp(_)) => panic!("the server closed the connection"),
            Ok(size) => {
                buffer.truncate(size);
                Some(buffer)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => panic!("{error}"),
        }
    }
}

struct Run<C> {
    client: C,
    socket: Socket,
    server: SocketAddr,
    peers: Vec<SocketAddr>,
    began: Instant,
    relayed: Vec<SocketAddr>,
    failures: Vec<String>,
    ready: usize,
    received: Vec<(SocketAddr, Vec<u8>)>,
}

impl<C: TurnClientApi> Run<C> {
    fn now(&self) -> Moment {
        Moment::from_std(self.began)
    }

    fn transport(&self) -> TransportType {
        self.client.transport()
    }

    /// One round: what the client wants to send, what came, what happened.
    fn step(&mut self) {
        assert!(self.began.elapsed() < Duration::from_secs(20), "it took too long: {:?}", self.failures);
        let now = self.now();
        self.client.poll(now);
        while let Some(transmit) = self.client.poll_transmit(now) {
            self.socket.send(&transmit.data);
        }
        if let Some(bytes) = self.socket.receive() {
            let transmit = Transmit::new(bytes, self.transport(), self.server, self.socket.local());
            if let TurnRecvRet::PeerData(data) = self.client.recv(transmit, now) {
                self.received.push((data.peer, data.data().to_vec()));
            }
            while let Some(data) = self.client.poll_recv(now) {
                self.received.push((data.peer, data.data().to_vec()));
            }
        }
        while let Some(event) = self.client.poll_event() {
            self.happened(event);
        }
    }

    fn happened(&mut self, event: TurnEvent) {
        let now = self.now();
        match event {
            TurnEvent::AllocationCreated(_, address) => {
                self.relayed.push(address);
                for peer in self.peers.clone().iter().filter(|peer| peer.is_ipv4() == address.is_ipv4()) {
                    self.client.create_permission(TransportType::Udp, peer.ip(), now).expect("a permission");
                }
            }
            // Two faults of the client decide who gets no channel: over TCP it does not pad ChannelData as RFC 8656 §12.5
            // asks, and it counts channel numbers anew for each of its relayed addresses, though they share them.
            TurnEvent::PermissionCreated(_, address)
                if self.transport() == TransportType::Tcp || self.peers[0].ip() != address =>
            {
                self.ready += 1;
            }
            TurnEvent::PermissionCreated(..) => {
                self.client.bind_channel(TransportType::Udp, self.peers[0], now).expect("a channel");
            }
            TurnEvent::ChannelCreated(..) => self.ready += 1,
            other => self.failures.push(format!("{other:?}")),
        }
    }

    fn echo(&mut self, peer: SocketAddr, number: usize) -> bool {
        // 57 to 1,047 bytes, most of them no multiple of four.
        let message: Vec<u8> = (0..57 + number * 10).map(|n| (n * 31 + number) as u8).collect();
        let now = self.now();
        let built: Option<TransmitBuild<DelayedMessageOrChannelSend<_>>> =
            self.client.send_to(TransportType::Udp, peer, message.clone(), now).expect("to send");
        if let Some(transmit) = built {
            self.socket.send(&transmit.build().data);
        }
        let end = Instant::now() + Duration::from_secs(2);
        while self.received.is_empty() && Instant::now() < end {
            self.step();
        }
        let came = self.received.drain(..).next();
        came.is_some_and(|(from, bytes)| from == peer && bytes == message)
    }

    fn go(mut self) {
        while self.ready < self.peers.len() && self.failures.is_empty() {
            self.step();
        }
        let mut good = 0;
        for peer in self.peers.clone() {
            if self.failures.is_empty() {
                good += (0..MESSAGES).filter(|number| self.echo(peer, *number)).count();
            }
        }
        let _ = self.client.delete(self.now());
        (0..5).for_each(|_| self.step());
        let relayed: Vec<String> =
            self.relayed.iter().map(|address| format!("\"{}\"", address.ip())).collect();
        println!(
            "{{\"relayed\": [{}], \"wanted\": {}, \"good\": {good}, \"failures\": {:?}}}",
            relayed.join(", "),
            MESSAGES * self.peers.len(),
            self.failures,
        );
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [server, transport, families, user, password, options, peers @ ..] = &words[..] else {
        panic!("see the source")
    };
    let server: SocketAddr = server.parse().expect("the server's address");
    let mut config = TurnConfig::new(TurnCredentials::new(user, password));
    // By itself it names MD5 as its algorithm to a server that offers any, and then cannot check the answer, whose
    // integrity is SHA-256 as RFC 8489 §9.2.4 asks. With both it takes the first that the server offers.
    config.add_supported_integrity(IntegrityAlgorithm::Sha256);
    config.set_address_family(if families == "6" { AddressFamily::IPV6 } else { AddressFamily::IPV4 });
    if families == "46" {
        config.add_address_family(AddressFamily::IPV6);
    }
    for option in options.split(',') {
        match option {
            "sha256" => config.set_supported_integrity(IntegrityAlgorithm::Sha256),
            "userhash" => config.set_anonymous_username(Feature::Required),
            _ => assert_eq!(option, "-"),
        }
    }
    let transport = if transport == "tcp" { TransportType::Tcp } else { TransportType::Udp };
    let socket = Socket::open(server, transport);
    let local = socket.local();
    let peers = peers.iter().map(|peer| peer.parse().expect("a peer's address")).collect();
    let (began, relayed, failures, received) = (Instant::now(), vec![], vec![], vec![]);
    if transport == TransportType::Tcp {
        let client = TurnClientTcp::allocate(local, server, config);
        Run { client, socket, server, peers, began, relayed, failures, ready: 0, received }.go();
    } else {
        let client = TurnClientUdp::allocate(local, server, config);
        Run { client, socket, server, peers, began, relayed, failures, ready: 0, received }.go();
    }
}
