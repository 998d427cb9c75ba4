//! A DTLS client with a blocking socket: the client side of the library that the server uses.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

use crate::live::{Wire, uninterrupted};

use bytes::BytesMut;
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_shared::TransportProtocol;

/// How long anything may take that is to happen at once.
const SOON: Duration = Duration::from_secs(5);

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(crate) fn client_config(suites: &[CipherSuiteId]) -> HandshakeConfig {
    config_for(suites, "localhost")
}

/// A client that wants the server of this name, and believes whatever it is shown.
pub(crate) fn config_for(suites: &[CipherSuiteId], name: &str) -> HandshakeConfig {
    builder_for(suites, name).build(true, None).unwrap()
}

/// The same, with more to be said.
pub(crate) fn builder_for(suites: &[CipherSuiteId], name: &str) -> ConfigBuilder {
    ConfigBuilder::default()
        .with_server_name(name.to_owned())
        .with_crypto_provider(rtc_crypto::default_provider().unwrap())
        .with_cipher_suites(suites.to_vec())
        .with_extended_master_secret(ExtendedMasterSecretType::Require)
        .with_insecure_skip_verify(true)
}

/// A client's association.
pub(crate) struct Dtls {
    pub(crate) socket: UdpSocket,
    server: SocketAddr,
    endpoint: Mutex<Endpoint>,
    inbox: Mutex<VecDeque<Vec<u8>>>,
    /// Whether the server has said goodbye.
    closed: Mutex<bool>,
}

impl Dtls {
    /// Shakes hands from a new socket. `None`: the server did not.
    pub(crate) fn connect(server: SocketAddr) -> Option<Self> {
        let any = if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        Self::connect_from(UdpSocket::bind(any).unwrap(), server, &[])
    }

    /// Shakes hands from `socket` with these suites, or the usual ones.
    pub(crate) fn connect_from(
        socket: UdpSocket,
        server: SocketAddr,
        suites: &[CipherSuiteId],
    ) -> Option<Self> {
        let client = Self::begin(socket, server, client_config(suites));
        client.flush();
        while !client.pump()? {}
        Some(client)
    }

    /// Is about to send its first hello.
    pub(crate) fn begin(socket: UdpSocket, server: SocketAddr, config: HandshakeConfig) -> Self {
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let mut endpoint = Endpoint::new(socket.local_addr().unwrap(), TransportProtocol::UDP, None);
        endpoint.connect(now(), server, Arc::new(config), None).unwrap();
        Self {
            socket,
            server,
            endpoint: Mutex::new(endpoint),
            inbox: Mutex::default(),
            closed: Mutex::new(false),
        }
    }

    /// Sends what the endpoint has to send.
    pub(crate) fn flush(&self) {
        for datagram in self.take() {
            self.socket.send(&datagram).unwrap();
        }
    }

    /// What the endpoint would send.
    pub(crate) fn take(&self) -> Vec<BytesMut> {
        let mut endpoint = self.endpoint.try_lock().unwrap();
        std::iter::from_fn(|| endpoint.poll_transmit()).map(|transmit| transmit.message).collect()
    }

    /// Takes in one datagram. Says whether the handshake is complete with it; `None`: nothing came, or it is over.
    pub(crate) fn pump(&self) -> Option<bool> {
        let datagram = self.hear()?;
        let established = self.handle(&datagram);
        self.flush();
        established
    }

    /// The next datagram as it comes.
    pub(crate) fn hear(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let len = uninterrupted(|| self.socket.recv(&mut buffer)).ok()?;
        buffer.truncate(len);
        Some(buffer)
    }

    /// The same without hearing or sending.
    pub(crate) fn handle(&self, datagram: &[u8]) -> Option<bool> {
        let events = self
            .endpoint
            .try_lock()
            .unwrap()
            .read(now(), self.server, None, BytesMut::from(datagram))
            .ok()?;
        let mut established = false;
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => established = true,
                EndpointEvent::ApplicationData(data) => {
                    self.inbox.try_lock().unwrap().push_back(data.to_vec())
                }
                EndpointEvent::PeerClosed => *self.closed.try_lock().unwrap() = true,
                _ => {}
            }
        }
        Some(established)
    }

    /// The server's certificates.
    pub(crate) fn certificates(&self) -> Vec<Vec<u8>> {
        let endpoint = self.endpoint.try_lock().unwrap();
        endpoint.get_connection_state(self.server).unwrap().peer_certificates.clone()
    }

    /// Messages as the datagrams that would carry them.
    pub(crate) fn protect(&self, message: &[u8]) -> Vec<u8> {
        self.endpoint.try_lock().unwrap().write(now(), self.server, message).unwrap();
        self.take().concat()
    }

    /// Sends one message.
    pub(crate) fn send(&self, message: &[u8]) {
        let datagram = self.protect(message);
        self.socket.send(&datagram).unwrap();
    }

    /// The next message.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        loop {
            if let Some(message) = self.inbox.try_lock().unwrap().pop_front() {
                return Some(message);
            }
            if *self.closed.try_lock().unwrap() {
                return None;
            }
            self.pump()?;
        }
    }

    /// Says goodbye.
    pub(crate) fn close(&self) {
        drop(self.endpoint.try_lock().unwrap().stop(now(), self.server));
        self.flush();
    }

    /// Whether the server says goodbye within `patience`.
    pub(crate) fn is_closed_within(&self, patience: Duration) -> bool {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        assert_eq!(self.receive(), None, "a message instead of an end");
        self.socket.set_read_timeout(Some(SOON)).unwrap();
        *self.closed.try_lock().unwrap()
    }
}

impl Wire for Arc<Dtls> {
    fn send(&self, message: &[u8]) {
        Dtls::send(self, message);
    }

    fn receive(&self) -> Option<Vec<u8>> {
        Dtls::receive(self)
    }

    fn set_patience(&self, patience: Duration) {
        self.socket.set_read_timeout(Some(patience)).unwrap();
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
