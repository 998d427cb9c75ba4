//! Opening the sockets that clients send to: all of them, or none and a clear word.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::accept::Door;
use super::udp::UdpListener;
use super::worker::Sockets;
use crate::sys;
use crate::turn::Transport;

/// What is asked for as receive buffer of each UDP listener; it covers the moments when a worker is not scheduled.
const RECEIVE_BUFFER: usize = 4 << 20;
/// With less of it, the bursts of a few milliseconds are lost on a busy machine, and the operator is told.
const ENOUGH: usize = 1 << 20;
/// The same as send buffer: all clients of a worker are sent to by one socket.
const SEND_BUFFER: usize = 4 << 20;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Why a listener could not be opened.
#[derive(Debug)]
pub struct Error {
    transport: Transport,
    address: SocketAddr,
    cause: io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transport, address, cause } = self;
        let (transport, port) = (transport.name(), address.port());
        write!(f, "cannot listen on {transport} {address}: ")?;
        match cause.kind() {
            io::ErrorKind::AddrInUse => {
                let command = sys::hints::who_holds(port, self.transport.is_stream());
                write!(
                    f,
                    "the port is in use; `{command}` shows by whom. \
                     Stop that program, or set listen.{transport} to another port"
                )
            }
            io::ErrorKind::PermissionDenied => write!(
                f,
                "no permission for a port below 1024. Give the program CAP_NET_BIND_SERVICE (the systemd unit does; by hand: \
                 `setcap cap_net_bind_service=+ep` on the binary), or set listen.{transport} to a port from 1024 on"
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "{} is not an address of this machine (`ip address` lists them). Set listen.{transport} to one of them, \
                 or to 0.0.0.0 or [::] for all",
                address.ip()
            ),
            _ => write!(f, "{cause}"),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Whether the machine merely lacks the address family.
    fn is_missing_family(&self) -> bool {
        matches!(self.cause.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
    }
}

/// Where clients are to be served.
#[derive(Clone, Copy)]
pub(super) struct Listeners<'a> {
    pub(super) udp: &'a [SocketAddr],
    pub(super) tcp: &'a [SocketAddr],
    pub(super) tls: &'a [SocketAddr],
    pub(super) dtls: &'a [SocketAddr],
}

impl Listeners<'_> {
    /// Each socket once: the transport, the address, and whether it is to take the secure transport besides.
    fn sockets(&self) -> impl Iterator<Item = (Transport, SocketAddr, bool)> {
        fn pair<'a>(
            plain: (Transport, &'a [SocketAddr]),
            secure: (Transport, &'a [SocketAddr]),
        ) -> impl Iterator<Item = (Transport, SocketAddr, bool)> {
            let alone = secure.1.iter().filter(move |address| !plain.1.contains(address));
            let first = plain.1.iter().map(move |address| (plain.0, *address, secure.1.contains(address)));
            first.chain(alone.map(move |address| (secure.0, *address, true)))
        }
        pair((Transport::Udp, self.udp), (Transport::Dtls, self.dtls))
            .chain(pair((Transport::Tcp, self.tcp), (Transport::Tls, self.tls)))
    }
}

/// Opens the listeners of `workers` workers, each with a socket of its own on every address; an address of both a plain
/// transport and its secure form has one for both. With `lenient`, a wildcard address whose family this machine does not
/// have is left out. Addresses with port 0 get a free one.
///
/// # Errors
/// The first listener that cannot be opened; what was opened before is closed again.
pub(super) fn listeners(wanted: Listeners<'_>, workers: usize, lenient: bool) -> Result<Vec<Sockets>, Error> {
    let mut groups: Vec<Sockets> =
        (0..workers).map(|_| Sockets { udp: Vec::new(), tcp: Vec::new() }).collect();
    for (transport, address, secure) in wanted.sockets() {
        let opened = open_group(transport, address, secure, &mut groups).map_err(|cause| Error {
            transport,
            address,
            cause,
        });
        match opened {
            Err(error) if lenient && address.ip().is_unspecified() && error.is_missing_family() => {
                tracing::warn!(target: "relais::net", %address, "this machine has no such address family; left out");
            }
            other => other?,
        }
    }
    report_buffers(&groups);
    Ok(groups)
}

fn open_group(
    transport: Transport,
    address: SocketAddr,
    secure: bool,
    groups: &mut [Sockets],
) -> io::Result<()> {
    // Members of a reuse-port group do not see each other as a conflict, another instance of this program included.
    // A socket outside the group does, so one is bound first, for a moment.
    let probe = new_socket(transport, address, false)?;
    let address = local_address(&probe)?;
    drop(probe);
    for group in groups {
        let socket = new_socket(transport, address, true)?;
        match transport {
            Transport::Udp | Transport::Dtls => {
                let plain = transport == Transport::Udp;
                group.udp.push(UdpListener::new(socket.into(), address, plain, secure));
            }
            Transport::Tcp | Transport::Tls => {
                let plain = transport == Transport::Tcp;
                group.tcp.push(Door { listener: TcpListener::from(socket), plain, tls: secure });
            }
        }
    }
    Ok(())
}

fn new_socket(transport: Transport, address: SocketAddr, member: bool) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let (kind, protocol) = match transport {
        Transport::Udp | Transport::Dtls => (Type::DGRAM, Protocol::UDP),
        Transport::Tcp | Transport::Tls => (Type::STREAM, Protocol::TCP),
    };
    let socket = sys::new_socket(domain, kind, protocol)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if member {
        socket.set_reuse_port(true)?;
    }
    match transport {
        Transport::Udp | Transport::Dtls => {
            // What the system does not offer is told when all sockets are open, and it serves without.
            let _ = sys::allow_fragmentation(socket.as_fd(), address.is_ipv6());
            let _ = sys::tell_tos(socket.as_fd(), address.is_ipv6());
            if address.ip().is_unspecified() {
                sys::tell_local_address(socket.as_fd(), address.is_ipv6())
                    .map_err(|error| no_wildcard(&error))?;
            }
            if member {
                enlarge_buffers(&socket);
            }
            socket.bind(&address.into())?;
        }
        Transport::Tcp | Transport::Tls => {
            // Old connections in TIME_WAIT do not keep the server from starting again.
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
        }
    }
    Ok(socket)
}

/// Without the address that a client has sent to, the answer might leave from another one, and be lost in its NAT.
fn no_wildcard(error: &io::Error) -> io::Error {
    io::Error::other(format!(
        "the kernel or a sandbox does not tell to which address a datagram was sent (IP_PKTINFO: {error}). Set listen.udp to the \
         addresses themselves instead of 0.0.0.0 or [::]"
    ))
}

fn enlarge_buffers(socket: &Socket) {
    if sys::force_send_buffer(socket.as_fd(), i32::try_from(SEND_BUFFER).unwrap_or(i32::MAX)).is_err() {
        // Whatever the system grants; it is only needed where a device is slower than a burst.
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
    }
    let wanted = i32::try_from(RECEIVE_BUFFER).unwrap_or(i32::MAX);
    if sys::force_receive_buffer(socket.as_fd(), wanted).is_err() {
        // Whatever the system grants is read back below.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
}

/// Tells once if the system has cut the receive buffers of the UDP listeners.
fn report_buffers(groups: &[Sockets]) {
    let sockets = groups.iter().flat_map(|group| &group.udp);
    let granted =
        sockets.filter_map(|listener| SockRef::from(&listener.socket).recv_buffer_size().ok()).min();
    let Some(granted) = granted.filter(|granted| *granted < RECEIVE_BUFFER) else { return };
    let (wanted, limit) = (RECEIVE_BUFFER, sys::hints::RECEIVE_BUFFER_LIMIT);
    if granted < ENOUGH {
        tracing::info!(
            target: "relais::net",
            granted, wanted,
            "{limit} keeps receive buffers small: bursts may be lost while the machine is busy. \
             `sysctl -w {limit}={RECEIVE_BUFFER}` cures it"
        );
    } else {
        tracing::debug!(target: "relais::net", granted, wanted, "{limit} keeps receive buffers small");
    }
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_another_machine_is_no_missing_family() {
        let foreign = ["192.0.2.77:0".parse().unwrap()];
        for (tls, udp) in [(&foreign[..], &[][..]), (&[][..], &foreign[..])] {
            let wanted = Listeners { udp, tcp: &[], tls, dtls: &[] };
            let Err(error) = listeners(wanted, 1, true) else { panic!("it is opened or left out") };
            assert!(error.to_string().contains("192.0.2.77 is not an address of this machine"), "{error}");
        }
    }
}
