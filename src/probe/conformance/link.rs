//! The way to the server: blocking sockets, since each check runs on a thread of its own and reads like a protocol trace.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio::time::Instant;

use crate::probe::any_address;

/// The longest datagram.
const LONGEST: usize = 65_535;
/// How often a server that closes instead of shaking hands is asked again: some bound the handshakes of an address, and
/// the checks make hundreds.
const HANDSHAKES: usize = 20;
/// How long it is left alone in between.
const HANDSHAKE_PAUSE: Duration = Duration::from_millis(250);

/// What carries a stream: TCP itself, or TLS in it.
pub(super) trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// Whom TLS connections trust, and who the server has to be.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

/// What a TLS handshake has come to.
pub(super) struct Handshake {
    pub(super) version: String,
    pub(super) suite: String,
    /// The name that the server has chosen (RFC 7301).
    pub(super) protocol: Option<Vec<u8>>,
}

impl Tls {
    /// The same with other ALPN names.
    pub(super) fn with_names(&self, names: &[&[u8]]) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
        // A session that goes on would tell nothing about a handshake.
        config.resumption = Resumption::disabled();
        Self { config: Arc::new(config), name: self.name.clone() }
    }

    /// A new connection with its handshake done.
    pub(super) fn connect(
        &self,
        server: SocketAddr,
        limit: Duration,
    ) -> io::Result<(StreamOwned<ClientConnection, TcpStream>, Handshake)> {
        let shake = || self.handshake(connect(server, limit)?);
        for _ in 1..HANDSHAKES {
            match shake() {
                Err(error)
                    if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) =>
                {
                    std::thread::sleep(HANDSHAKE_PAUSE);
                }
                other => return other,
            }
        }
        shake()
    }

    fn handshake(
        &self,
        mut socket: TcpStream,
    ) -> io::Result<(StreamOwned<ClientConnection, TcpStream>, Handshake)> {
        socket.set_read_timeout(socket.write_timeout()?)?;
        let mut connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        let done = Handshake {
            version: connection.protocol_version().map_or_else(String::new, |version| format!("{version:?}")),
            suite: connection
                .negotiated_cipher_suite()
                .map_or_else(String::new, |suite| format!("{:?}", suite.suite())),
            protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
        };
        Ok((StreamOwned::new(connection, socket), done))
    }
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A datagram, or a frame of a stream with its padding.
    Frame(Vec<u8>),
    /// Nothing in time.
    Nothing,
    /// The server has closed the stream.
    End,
}

/// A socket to the server.
pub(super) enum Link {
    Udp(UdpSocket),
    Stream {
        duplex: Box<dyn Duplex>,
        /// The same socket, for its options and addresses.
        socket: TcpStream,
        /// What was read and belongs to no frame yet.
        rest: Vec<u8>,
    },
}

impl Link {
    pub(super) fn udp(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(any_address(server))?;
        socket.connect(server)?;
        Ok(Self::Udp(socket))
    }

    pub(super) fn tcp(server: SocketAddr, limit: Duration) -> io::Result<Self> {
        let socket = connect(server, limit)?;
        Ok(Self::Stream { duplex: Box::new(socket.try_clone()?), socket, rest: Vec::new() })
    }

    pub(super) fn tls(server: SocketAddr, limit: Duration, tls: &Tls) -> io::Result<Self> {
        let (stream, _) = tls.connect(server, limit)?;
        let socket = stream.sock.try_clone()?;
        Ok(Self::Stream { duplex: Box::new(stream), socket, rest: Vec::new() })
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream { .. })
    }

    pub(super) fn local(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Stream { socket, .. } => socket.local_addr(),
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => match socket.send(bytes) {
                // An ICMP error that an earlier datagram has caused.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => socket.send(bytes).map(|_| ()),
                other => other.map(|_| ()),
            },
            Self::Stream { duplex, .. } => duplex.write_all(bytes).and_then(|()| duplex.flush()),
        }
    }

    /// The next datagram or frame within `limit`.
    pub(super) fn receive(&mut self, limit: Duration) -> Arrival {
        let end = Instant::now() + limit;
        loop {
            if let Self::Stream { rest, .. } = self {
                let length = frame_length(rest).filter(|length| rest.len() >= *length);
                if let Some(length) = length {
                    return Arrival::Frame(rest.drain(..length).collect());
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Arrival::Nothing;
            }
            match self.read(left) {
                Ok(Some(bytes)) => match self {
                    Self::Udp(_) => return Arrival::Frame(bytes),
                    Self::Stream { .. } if bytes.is_empty() => return Arrival::End,
                    Self::Stream { rest, .. } => rest.extend(bytes),
                },
                Ok(None) => {}
                Err(()) => return Arrival::End,
            }
        }
    }

    /// Bytes of a stream that carries no frames any more (RFC 6062 §5.4), at most what comes at once.
    pub(super) fn receive_bytes(&mut self, limit: Duration) -> Arrival {
        if let Self::Stream { rest, .. } = self
            && !rest.is_empty()
        {
            return Arrival::Frame(std::mem::take(rest));
        }
        match self.read(limit) {
            Ok(Some(bytes)) if bytes.is_empty() => Arrival::End,
            Ok(Some(bytes)) => Arrival::Frame(bytes),
            Ok(None) => Arrival::Nothing,
            Err(()) => Arrival::End,
        }
    }

    /// One read; the error is the end of the stream.
    fn read(&mut self, limit: Duration) -> Result<Option<Vec<u8>>, ()> {
        let mut buffer = vec![0; LONGEST];
        let result = match self {
            Self::Udp(socket) => socket.set_read_timeout(Some(limit)).and_then(|()| socket.recv(&mut buffer)),
            Self::Stream { duplex, socket, .. } => {
                socket.set_read_timeout(Some(limit)).and_then(|()| duplex.read(&mut buffer))
            }
        };
        match result {
            Ok(length) => {
                buffer.truncate(length);
                Ok(Some(buffer))
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(None),
                // An ICMP error says nothing about the next datagram.
                _ if !self.is_stream() => Ok(None),
                _ => Err(()),
            },
        }
    }
}

/// A TCP connection that sends at once what is written.
pub(super) fn connect(server: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&server, limit)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(limit))?;
    Ok(socket)
}

/// The length of the frame that `bytes` begin with (RFC 8656 §12.5: ChannelData is padded on streams). What is no
/// frame at all is one of four bytes, for the reader of frames to complain about.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let &[first, _, high, low] = bytes.first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    Some(match first >> 6 {
        0 => 20 + length,
        1 => 4 + length.next_multiple_of(4),
        _ => 4,
    })
}
