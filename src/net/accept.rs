//! New connections: who they are from, what is spoken on them, and the TLS handshake. All of it together has five
//! seconds and a few KiB.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Accepted, Acceptor, ClientHello};
use rustls::{PeerIncompatible, ServerConfig, ServerConnection};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};

use super::io::{Io, Sink, Source};
use super::ports::Admission;
use super::proxy::{self, Header};
use super::report::Reminder;
use super::stream::{self, Arrival};
use super::tls::{AUTHORITY_PROTOCOL, TURN_PROTOCOLS, WEB_PROTOCOL, WebDoor};
use super::worker::{Entrance, Worker};
use crate::sys;
use crate::time::Timestamp;
use crate::turn::{ClientAddress, FiveTuple, StreamRefusal, Transport};
use crate::wire::{Marks, Protocol};

/// How long a client may take to say who it is and to agree on keys.
const OPENING_DEADLINE: Duration = Duration::from_secs(5);
/// The longest ClientHello. With post-quantum key shares and all that browsers add they have two KiB.
const MAX_HELLO: usize = 8 * 1024;
/// All that a client may send before the handshake is done; a chain of certificates is the largest part.
const MAX_HANDSHAKE: usize = 16 * 1024;
/// What TLS begins with: a record of the handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// What is read at once.
const READ: usize = 2048;
/// How long a listener rests when there are no descriptors left.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(100);

/// A listener of streams, and what it takes.
pub(super) struct Door<L> {
    pub(super) listener: L,
    /// STUN and ChannelData on bare TCP.
    pub(super) plain: bool,
    /// The same over TLS.
    pub(super) tls: bool,
}

/// Accepts clients until the runtime ends.
pub(super) async fn accept(worker: Rc<RefCell<Worker>>, door: Door<TcpListener>) {
    let Door { listener, plain, tls } = door;
    // Given up for a moment when there are no descriptors left, so that a client can be accepted and turned away
    // instead of waking the listener again and again.
    let mut reserve = std::fs::File::open("/dev/null").ok();
    let mut reminder = Reminder::default();
    loop {
        match listener.accept().await {
            Ok((socket, from)) => admit(&worker, socket, from, plain, tls),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                if reminder.is_due(worker.borrow().now().mono) {
                    tracing::warn!(target: "relais::net", "no file descriptors left: raise LimitNOFILE or ulimit -n");
                }
                drop(reserve.take());
                drop(tokio::time::timeout(Duration::from_millis(1), listener.accept()).await);
                reserve = std::fs::File::open("/dev/null").ok();
                tokio::time::sleep(DESCRIPTOR_PAUSE).await;
            }
            // A client that has gone again before it was accepted, or memory that is short for a moment.
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

fn admit(worker: &Rc<RefCell<Worker>>, socket: TcpStream, from: SocketAddr, plain: bool, tls: bool) {
    let mut inside = worker.borrow_mut();
    let proxied = inside.entrance.is_proxy(from.ip());
    // All clients behind a load balancer share its address; each counts by its own as soon as that is known.
    let max = if proxied { u32::MAX } else { inside.streams_per_address };
    let Ok(server) = socket.local_addr() else { return };
    let Some(admission) = inside.shared.admit_stream(from.ip(), max) else {
        return inside.refuse_stream(from, StreamRefusal::AddressLimit);
    };
    // Media cannot wait for more to come along.
    let _ = socket.set_nodelay(true);
    let opening = Opening {
        worker: Rc::clone(worker),
        socket,
        ahead: Vec::new(),
        client: from,
        server,
        since: inside.now().mono,
        admission,
    };
    inside.spawn(async move {
        if let Some(arrival) = opening.open(proxied, plain, tls).await {
            // A task of its own, so that what the opening needed is given back.
            let worker = Rc::clone(&arrival.worker);
            worker.borrow().spawn(stream::serve(arrival));
        }
    });
}

/// What a connection has turned out to be.
enum Found {
    Plain,
    Tls(Box<ServerConnection>),
    Web(WebDoor),
    /// An authority, which has seen what it wanted to see.
    Authority,
}

/// Why there is nothing to find.
enum Lost {
    /// The client has gone by itself.
    Gone,
    Refused(StreamRefusal),
}

impl From<StreamRefusal> for Lost {
    fn from(reason: StreamRefusal) -> Self {
        Self::Refused(reason)
    }
}

impl From<io::Error> for Lost {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// A connection of which nothing is known yet.
struct Opening {
    worker: Rc<RefCell<Worker>>,
    socket: TcpStream,
    /// What has been read and not been understood yet.
    ahead: Vec<u8>,
    client: SocketAddr,
    server: SocketAddr,
    since: Timestamp,
    admission: Admission,
}

impl Opening {
    /// `None`: it is none of ours, or somebody else's by now.
    async fn open(mut self, proxied: bool, plain: bool, tls: bool) -> Option<Arrival> {
        let found = tokio::time::timeout(OPENING_DEADLINE, self.find_out(proxied, plain, tls)).await;
        match found.unwrap_or(Err(Lost::Refused(StreamRefusal::OpeningDeadline))) {
            Ok(Found::Plain) => Some(self.arrive(Transport::Tcp, Io::plain)),
            Ok(Found::Tls(tls)) => {
                Some(self.arrive(Transport::Tls, |socket, ahead| Io::tls(socket, ahead, tls)))
            }
            Ok(Found::Web(web)) => {
                // What follows happens on the thread of the web side, from the first byte on.
                web(self.socket.into_std().ok()?, self.ahead, self.client);
                None
            }
            Ok(Found::Authority) | Err(Lost::Gone) => None,
            Err(Lost::Refused(reason)) => {
                self.worker.borrow_mut().refuse_stream(self.client, reason);
                None
            }
        }
    }

    async fn find_out(&mut self, proxied: bool, plain: bool, tls: bool) -> Result<Found, Lost> {
        if proxied {
            self.read_header().await?;
        }
        if !tls {
            return Ok(Found::Plain);
        }
        while self.ahead.is_empty() {
            self.read(1, StreamRefusal::NotOurs).await?;
        }
        let first = self.ahead.first().copied().unwrap_or_default();
        match Protocol::of(first) {
            Protocol::Tls if first == HANDSHAKE => self.shake_hands().await,
            Protocol::Stun | Protocol::ChannelData if plain => Ok(Found::Plain),
            _ => Err(self.stranger().into()),
        }
    }

    /// What to call bytes of no protocol that is spoken here.
    fn stranger(&mut self) -> StreamRefusal {
        let mut more = [0; READ];
        // What is there already is enough: nobody is waited for to learn why he is turned away.
        let len = self.socket.try_read(&mut more).unwrap_or(0);
        self.ahead.extend_from_slice(&more[..len]);
        if proxy::is_header(&self.ahead) { StreamRefusal::ProxyStranger } else { StreamRefusal::NotOurs }
    }

    fn arrive(self, transport: Transport, io: impl FnOnce(TcpStream, Vec<u8>) -> Io) -> Arrival {
        let Self { worker, socket, ahead, client, server, since, admission } = self;
        let tuple = FiveTuple { client: ClientAddress(client), server, transport };
        // The other end of the connection may be a proxy that speaks another family than its client.
        let ipv6 = socket.local_addr().is_ok_and(|local| local.is_ipv6());
        let marks = Marks { tos: sys::tos_of_connection(socket.as_fd(), ipv6), dont_fragment: false };
        Arrival { worker, io: io(socket, ahead), tuple, since, admission, marks }
    }

    /// Reads what is there, at most `max` bytes altogether; who wants to say more is refused as `too_long`.
    async fn read(&mut self, max: usize, too_long: StreamRefusal) -> Result<(), Lost> {
        let room = max.saturating_sub(self.ahead.len()).min(READ);
        if room == 0 {
            return Err(too_long.into());
        }
        loop {
            self.socket.readable().await?;
            let mut buffer = [0; READ];
            match self.socket.try_read(&mut buffer[..room]) {
                Ok(0) => return Err(Lost::Gone),
                Ok(len) => {
                    self.ahead.extend_from_slice(&buffer[..len]);
                    return Ok(());
                }
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes the addresses from the PROXY header.
    async fn read_header(&mut self) -> Result<(), Lost> {
        let len = loop {
            match proxy::parse(&self.ahead) {
                Header::Incomplete => self.read(proxy::MAX_HEADER, StreamRefusal::ProxyHeader).await?,
                Header::Invalid => return Err(StreamRefusal::ProxyHeader.into()),
                Header::Unknown { len } => break len,
                Header::From { len, client, server } => {
                    (self.client, self.server) = (client, server);
                    let worker = self.worker.borrow();
                    let admission = worker.shared.admit_stream(client.ip(), worker.streams_per_address);
                    self.admission = admission.ok_or(StreamRefusal::AddressLimit)?;
                    break len;
                }
            }
        };
        self.ahead.drain(..len);
        Ok(())
    }

    async fn shake_hands(&mut self) -> Result<Found, Lost> {
        let accepted = self.read_hello().await?;
        let (config, web, challenge) = {
            let Entrance { tls, web, challenge, .. } = self.worker.borrow().entrance.clone();
            (tls.ok_or(StreamRefusal::NotOurs)?, web, challenge)
        };
        // Whoever shakes hands then: the signature costs the same on the web side, and more are waiting there.
        if !self.may_shake_hands() {
            return Err(StreamRefusal::HandshakeRate.into());
        }
        if let Some(web) = web.filter(|_| wants_web(&accepted.client_hello())) {
            return Ok(Found::Web(web));
        }
        self.ahead = Vec::new();
        if let Some(challenge) = challenge.filter(|_| is_authority(&accepted.client_hello())) {
            let mut tls = Box::new(self.accept(accepted, challenge)?);
            tls = self.agree(tls).await?;
            tls.send_close_notify();
            // It has got what it came for, whether it hears the end or not.
            let _ = tls.write_tls(&mut Sink(&self.socket));
            return Ok(Found::Authority);
        }
        let tls = Box::new(self.accept(accepted, config)?);
        Ok(Found::Tls(self.agree(tls).await?))
    }

    /// Whether its prefix, and all together, have not shaken hands too often.
    fn may_shake_hands(&self) -> bool {
        let worker = self.worker.borrow();
        worker.shared.admit_handshake(worker.now().mono, self.client.ip(), worker.streams_per_address)
    }

    /// Reads until the ClientHello is whole. It stays in `ahead`, too.
    async fn read_hello(&mut self) -> Result<Accepted, Lost> {
        let mut acceptor = Acceptor::default();
        let mut fed = 0;
        loop {
            while fed < self.ahead.len() {
                let taken = acceptor.read_tls(&mut &self.ahead[fed..]).ok().filter(|len| *len > 0);
                fed += taken.ok_or(StreamRefusal::TlsHandshake)?;
            }
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(accepted),
                Ok(None) => self.read(MAX_HELLO, StreamRefusal::TlsHandshake).await?,
                Err((error, mut alert)) => {
                    // The client learns why, if it still listens.
                    let _ = alert.write_all(&mut Sink(&self.socket));
                    return Err(reason_of(&error).into());
                }
            }
        }
    }

    fn accept(&self, accepted: Accepted, config: Arc<ServerConfig>) -> Result<ServerConnection, Lost> {
        accepted.into_connection(config).map_err(|(error, mut alert)| {
            // The client learns why, if it still listens.
            let _ = alert.write_all(&mut Sink(&self.socket));
            reason_of(&error).into()
        })
    }

    /// The rest of the handshake. What is left to be sent then, tickets mostly, leaves with the first answer.
    async fn agree(&mut self, mut tls: Box<ServerConnection>) -> Result<Box<ServerConnection>, Lost> {
        let mut received = 0;
        loop {
            let understood = tls.process_new_packets();
            while tls.wants_write() {
                match tls.write_tls(&mut Sink(&self.socket)) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // A client that has gone may have said why just before.
                    Err(error) => {
                        return Err(understood.map_or_else(|why| reason_of(&why).into(), |_| error.into()));
                    }
                }
            }
            understood.map_err(|why| reason_of(&why))?;
            if !tls.is_handshaking() {
                return Ok(tls);
            }
            let interest =
                if tls.wants_write() { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            self.socket.ready(interest).await?;
            match tls.read_tls(&mut Source { socket: &self.socket, ahead: &mut self.ahead }) {
                Ok(0) => return Err(Lost::Gone),
                Ok(len) => received += len,
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error.into()),
            }
            if received > MAX_HANDSHAKE {
                return Err(StreamRefusal::TlsHandshake.into());
            }
        }
    }
}

/// What TLS calls an error, as it is counted.
fn reason_of(error: &rustls::Error) -> StreamRefusal {
    use PeerIncompatible::{
        ServerDoesNotSupportTls12Or13, SignatureAlgorithmsExtensionRequired,
        SupportedVersionsExtensionRequired, Tls12NotOffered, Tls12NotOfferedOrEnabled,
    };
    use rustls::Error;

    match error {
        Error::PeerIncompatible(
            ServerDoesNotSupportTls12Or13
            // All clients of TLS 1.2 have it, and none of those before; this is looked for first.
            | SignatureAlgorithmsExtensionRequired
            | SupportedVersionsExtensionRequired
            | Tls12NotOffered
            | Tls12NotOfferedOrEnabled,
        ) => StreamRefusal::TlsVersion,
        Error::NoApplicationProtocol => StreamRefusal::Alpn,
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => StreamRefusal::ClientCertificate,
        Error::AlertReceived(_) => StreamRefusal::TlsAlert,
        _ => StreamRefusal::TlsHandshake,
    }
}

/// Whether a client wants HTTP: it offers that, and nothing that is more at home here.
fn wants_web(hello: &ClientHello<'_>) -> bool {
    let Some(offered) = hello.alpn() else { return false };
    let mut web = false;
    for protocol in offered {
        if TURN_PROTOCOLS.contains(&protocol) {
            return false;
        }
        web |= protocol == WEB_PROTOCOL;
    }
    web
}

/// Whether an authority asks whose a name is: then it offers this protocol and no other (RFC 8737 §4).
fn is_authority(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|offered| offered.eq([AUTHORITY_PROTOCOL]))
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
