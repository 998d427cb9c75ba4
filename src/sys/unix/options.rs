//! Socket options of Apple's systems and the BSDs.

use std::io;
use std::os::fd::BorrowedFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::sys::options::set_option;

/// Opens a socket that never blocks.
pub(crate) fn new_socket(domain: Domain, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(domain, kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Makes a socket tell to which local address each datagram was sent.
pub(crate) fn tell_local_address(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    #[cfg(target_vendor = "apple")]
    const OF_IPV4: i32 = libc::IP_PKTINFO;
    #[cfg(not(target_vendor = "apple"))]
    const OF_IPV4: i32 = libc::IP_RECVDSTADDR;
    if ipv6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, OF_IPV4, 1)
    }
}

/// Makes a socket send with DF=0 (RFC 8656 §15), as it does anyway.
pub(crate) fn allow_fragmentation(_socket: BorrowedFd<'_>, _ipv6: bool) -> io::Result<()> {
    Ok(())
}

/// The same for a relay socket.
pub(crate) fn allow_relay_fragmentation(_socket: BorrowedFd<'_>, _ipv6: bool) -> io::Result<()> {
    Ok(())
}

/// Whether the packets that an IPv4 relay socket sends from now on leave with DF=1.
pub(crate) fn keep_whole(socket: BorrowedFd<'_>, whole: bool) -> io::Result<()> {
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    return set_option(socket, libc::IPPROTO_IP, libc::IP_DONTFRAG, i32::from(whole));
    #[cfg(not(any(target_vendor = "apple", target_os = "freebsd")))]
    {
        let _ = (socket, whole);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The type of service of the packet with which the other side opened a TCP connection. 0: the system does not tell.
pub(crate) const fn tos_of_connection(_socket: BorrowedFd<'_>, _ipv6: bool) -> u8 {
    0
}

/// Whether the kernel may merge datagrams, which it does not.
pub(crate) fn merge(_socket: BorrowedFd<'_>, _merge: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether the kernel cuts a long message into datagrams.
pub(crate) const fn can_segment(_socket: BorrowedFd<'_>) -> bool {
    false
}

/// Asks for a send buffer as large as the system grants: what is too large it refuses altogether.
pub(crate) fn force_send_buffer(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    largest(bytes, |bytes| SockRef::from(&socket).set_send_buffer_size(bytes))
}

/// The same for the receive buffer.
pub(crate) fn force_receive_buffer(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    largest(bytes, |bytes| SockRef::from(&socket).set_recv_buffer_size(bytes))
}

/// The same for both.
pub(crate) fn force_buffers(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    force_receive_buffer(socket, bytes)?;
    force_send_buffer(socket, bytes)
}

/// Tries half of it as long as it is refused. The last refusal is told.
fn largest(bytes: i32, set: impl Fn(usize) -> io::Result<()>) -> io::Result<()> {
    const LEAST: usize = 64 * 1024;
    let mut bytes = usize::try_from(bytes).unwrap_or(LEAST);
    loop {
        match set(bytes) {
            Err(_) if bytes / 2 >= LEAST => bytes /= 2,
            other => return other,
        }
    }
}

/// How many datagrams the kernel has dropped because the receive buffer of this socket was full: it does not tell.
pub(crate) const fn drops(_socket: BorrowedFd<'_>) -> u32 {
    0
}
