//! The way from one client to the server: a UDP socket, or a TCP connection with or without TLS.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use rustls::ClientConnection;
use socket2::{Domain, Protocol, Socket, Type};

use super::outcome::Failure;
use super::server::Target;
use crate::client::{Frame, frame};
use crate::probe::explain::{CA_AS_SERVER, CA_CURE};
use crate::sys::{self, Way};

/// How long a connection and its handshake may take.
const CONNECT: Duration = Duration::from_secs(10);

/// What is asked for as buffers of a socket; the system may give less.
const BUFFER: i32 = 4 << 20;

/// What may wait for a connection before packets count as blocked, in bytes.
const MOST_WAITING: usize = 256 << 10;

/// Room for what a connection receives at once: two of the longest frames and more.
const INBOX: usize = 192 << 10;

/// The longest frame: a STUN header and as much as its length field can say.
const LONGEST_FRAME: usize = 20 + 65_535;

/// A client's end of the way to the server.
pub(super) enum Link {
    /// A connected socket.
    Datagrams(UdpSocket),
    /// A connection.
    Stream(Box<Stream>),
}

/// A connection and what is on its way in and out.
pub(super) struct Stream {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    /// What is received; only as much of it is ever touched as arrives at once.
    inbox: Box<[u8]>,
    /// Where in it what is not yet taken begins and ends.
    taken: usize,
    filled: usize,
    /// Not yet taken by the kernel; without TLS.
    outbox: Vec<u8>,
}

impl Link {
    /// Opens a way to the server.
    pub(super) fn open(target: &Target, bind: Option<IpAddr>) -> Result<Self, Failure> {
        let server = target.address;
        let local = SocketAddr::new(bind.unwrap_or_else(|| any(server)), 0);
        if target.transport() == crate::client::uri::Transport::Udp {
            let socket = datagrams(local).map_err(|error| cannot_bind(local.ip(), &error))?;
            socket.connect(server).map_err(|error| unreachable_server(server, &error))?;
            return Ok(Self::Datagrams(socket));
        }
        let failed = |error: io::Error| unreachable_server(server, &error);
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))
            .map_err(|error| cannot_open(&error))?;
        if bind.is_some() {
            socket.bind(&local.into()).map_err(|error| cannot_bind(local.ip(), &error))?;
        }
        socket.connect_timeout(&server.into(), CONNECT).map_err(failed)?;
        let mut socket = TcpStream::from(socket);
        socket.set_nodelay(true).map_err(failed)?;
        let mut tls = None;
        if let Some((config, name)) = &target.tls {
            let mut connection = ClientConnection::new(config.clone(), name.clone())
                .map_err(|error| no_handshake(server, &error.to_string()))?;
            connection.set_buffer_limit(Some(2 * MOST_WAITING));
            socket.set_read_timeout(Some(CONNECT)).map_err(failed)?;
            while connection.is_handshaking() {
                connection.complete_io(&mut socket).map_err(|error| match error.kind() {
                    io::ErrorKind::WouldBlock => no_handshake(server, "no answer came"),
                    _ => no_handshake(server, &error.to_string()),
                })?;
            }
            tls = Some(connection);
        }
        socket.set_nonblocking(true).map_err(failed)?;
        let inbox = vec![0; INBOX].into_boxed_slice();
        Ok(Self::Stream(Box::new(Stream { socket, tls, inbox, taken: 0, filled: 0, outbox: Vec::new() })))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Datagrams(socket) => socket.as_fd(),
            Self::Stream(stream) => stream.socket.as_fd(),
        }
    }

    /// Whether messages travel in a stream.
    pub(super) const fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Sends one message.
    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Datagrams(socket) => socket.send(message).map(|_| ()),
            Self::Stream(stream) => stream.send(message, message.len()),
        }
    }

    /// Sends packets of `segment` bytes each. Returns how many were taken.
    #[inline]
    pub(super) fn send_packets(&mut self, packets: &[u8], segment: usize, way: Way) -> io::Result<usize> {
        match self {
            Self::Datagrams(socket) => sys::send_burst(socket.as_fd(), packets, segment, None, way),
            Self::Stream(stream) => {
                if stream.is_blocked() {
                    stream.flush()?;
                }
                if stream.is_blocked() {
                    return Ok(0);
                }
                stream.send(packets, segment)?;
                Ok(packets.len() / segment.max(1))
            }
        }
    }
}

impl Stream {
    /// Whether enough waits already.
    fn is_blocked(&self) -> bool {
        match &self.tls {
            // Whole bursts go in, and the limit of its buffer is far above one of them.
            Some(tls) => tls.wants_write(),
            None => self.outbox.len() >= MOST_WAITING,
        }
    }

    /// Sends frames of `segment` bytes each: one record for each with TLS, as clients do, and one write for all.
    fn send(&mut self, frames: &[u8], segment: usize) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => {
                for frame in frames.chunks(segment.max(1)) {
                    tls.writer().write_all(frame)?;
                }
            }
            None => self.outbox.extend_from_slice(frames),
        }
        self.flush()
    }

    /// Gives the kernel as much as it takes of what waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let result = match &mut self.tls {
            Some(tls) => loop {
                if !tls.wants_write() {
                    break Ok(());
                }
                if let Err(error) = tls.write_tls(&mut self.socket) {
                    break Err(error);
                }
            },
            None => loop {
                if self.outbox.is_empty() {
                    break Ok(());
                }
                match self.socket.write(&self.outbox) {
                    Ok(taken) => drop(self.outbox.drain(..taken)),
                    Err(error) => break Err(error),
                }
            },
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }

    /// Receives what is there. An error also stands for the end of the connection.
    pub(super) fn receive(&mut self) -> io::Result<()> {
        // What was taken makes room first.
        self.inbox.copy_within(self.taken..self.filled, 0);
        (self.taken, self.filled) = (0, self.filled - self.taken);
        let room = &mut self.inbox[self.filled..];
        let read = match &mut self.tls {
            None => self.socket.read(room),
            Some(tls) => receive_tls(tls, &mut self.socket, room),
        };
        self.filled += *read.as_ref().unwrap_or(&0);
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The next whole frame of what was received.
    pub(super) fn next_frame(&mut self) -> io::Result<Option<&[u8]>> {
        let rest = &self.inbox[self.taken..self.filled];
        match frame(rest) {
            Frame::Len(len) if len <= rest.len() => {
                let start = self.taken;
                self.taken += len;
                Ok(Some(&self.inbox[start..start + len]))
            }
            Frame::Len(len) if len <= LONGEST_FRAME => Ok(None),
            Frame::More => Ok(None),
            Frame::Len(_) | Frame::Foreign => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "the stream holds something that is no frame"))
            }
        }
    }
}

/// Takes records in until `room` is full or nothing more is there.
fn receive_tls(tls: &mut ClientConnection, socket: &mut TcpStream, room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    loop {
        let ended = match tls.read_tls(socket) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && filled > 0 => return Ok(filled),
            Err(error) => return Err(error),
        };
        tls.process_new_packets().map_err(io::Error::other)?;
        while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match tls.reader().read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        // One more read of 16 KiB has to fit.
        if ended || room.len() - filled < 32 << 10 {
            return Ok(filled);
        }
    }
}

/// A UDP socket for much traffic, which does not wait.
pub(super) fn datagrams(local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    if sys::force_buffers(socket.as_fd(), BUFFER).is_err() {
        let size = usize::try_from(BUFFER).unwrap_or(0);
        socket.set_recv_buffer_size(size)?;
        socket.set_send_buffer_size(size)?;
    }
    // Kernels before 5.0 do without.
    let _ = sys::merge(socket.as_fd(), true);
    socket.set_nonblocking(true)?;
    socket.bind(&local.into())?;
    Ok(socket.into())
}

fn any(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

pub(super) fn cannot_open(error: &io::Error) -> Failure {
    Failure::new(
        format!("no socket can be opened: {error}"),
        "each allocation takes a socket or two: raise the limit of open files (ulimit -n), or ask for fewer allocations",
    )
}

pub(super) fn cannot_bind(local: IpAddr, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => Failure::usage(
            format!("{local} is no address of this machine (or of that network namespace)"),
            "give one of the addresses that `ip address` shows with --bind or --peer-address",
        ),
        _ => cannot_open(error),
    }
}

pub(super) fn unreachable_server(server: SocketAddr, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::new(
            format!("nothing listens at {server}"),
            "start the server, or check address, port and transport of the URI",
        ),
        io::ErrorKind::TimedOut => Failure::new(
            format!("{server} does not answer"),
            "check that the server runs and that no firewall is in between",
        ),
        _ => Failure::new(
            format!("{server} cannot be reached: {error}"),
            "check the address, and the route to it",
        ),
    }
}

pub(super) fn no_handshake(server: SocketAddr, error: &str) -> Failure {
    let help = if error.contains(CA_AS_SERVER) {
        CA_CURE
    } else if error.contains("certificate") {
        "check the name in the URI and the server's certificate; --ca FILE names whom to trust, --insecure trusts anybody"
    } else {
        "check that this port speaks TLS, as 5349 does by default; a port that does not is reached by turn:HOST:PORT?transport=tcp"
    };
    Failure::new(format!("the TLS handshake with {server} fails: {error}"), help)
}
