//! Socket options of Linux.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::control::read_controls;
use crate::sys::control::{CONTROL, Control};
use crate::sys::options::{set_option, tell_tos};
use crate::sys::size_of_u32;

/// Opens a socket that never blocks.
pub(crate) fn new_socket(domain: Domain, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    Socket::new(domain, kind.nonblocking(), Some(protocol))
}

/// Makes a socket tell to which local address each datagram was sent.
pub(crate) fn tell_local_address(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }
}

/// Makes a socket send with DF=0 (RFC 8656 §15); Linux sets DF by default.
pub(crate) fn allow_fragmentation(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)
    }
}

/// Makes a relay socket send packets that may be cut into fragments, without trusting what anybody says about the MTU of
/// a path. Unlike under [`allow_fragmentation`], IPv4 still tells that a packet sent under [`keep_whole`] was too long.
/// IPv6 has no routers that cut, so there the word of the network about the MTU counts.
pub(crate) fn allow_relay_fragmentation(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 { allow_fragmentation(socket, true) } else { keep_whole(socket, false) }
}

/// Whether the packets that an IPv4 relay socket sends from now on leave with DF=1. They do so whatever is known about
/// the path: the network is to answer each of them anew, and what it answered to others is not believed.
pub(crate) fn keep_whole(socket: BorrowedFd<'_>, whole: bool) -> io::Result<()> {
    let set = |way| set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, way);
    if whole {
        return set(libc::IP_PMTUDISC_PROBE);
    }
    // gVisor knows the second one alone.
    set(libc::IP_PMTUDISC_OMIT).or_else(|_| set(libc::IP_PMTUDISC_DONT))
}

/// The type of service or traffic class of the packet with which the other side opened a TCP connection. A connection has
/// one DSCP (RFC 8656 §15). 0 when the system does not tell.
pub(crate) fn tos_of_connection(socket: BorrowedFd<'_>, ipv6: bool) -> u8 {
    /// `IP_PKTOPTIONS`, and `IPV6_2292PKTOPTIONS`: of a stream they are what control messages are of a datagram.
    const OF_IPV4: i32 = 9;
    const OF_IPV6: i32 = 6;
    if tell_tos(socket, ipv6).is_err() {
        return 0;
    }
    let (level, option) = if ipv6 { (libc::IPPROTO_IPV6, OF_IPV6) } else { (libc::IPPROTO_IP, OF_IPV4) };
    let mut control = Control([0; CONTROL]);
    let mut len = u32::try_from(CONTROL).unwrap_or(0);
    // SAFETY: the buffer is as long as said, and both live through the call.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut control).cast(), &raw mut len)
    };
    if result != 0 {
        return 0;
    }
    // SAFETY: a plain C structure for which zeroes are a valid value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = len as _;
    read_controls(&header).tos
}

/// Whether the kernel may merge datagrams of one sender that come one behind the other and are equally long (UDP_GRO).
pub(crate) fn merge(socket: BorrowedFd<'_>, merge: bool) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, i32::from(merge))
}

/// Whether the kernel cuts a long message into datagrams (UDP_SEGMENT): it is asked for an option that changes nothing.
pub(crate) fn can_segment(socket: BorrowedFd<'_>) -> bool {
    set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

/// Asks for a send buffer beyond the limit of the system, which only the privileged get.
pub(crate) fn force_send_buffer(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes)
}

/// Asks for a receive buffer beyond the limit of the system, which only the privileged get.
pub(crate) fn force_receive_buffer(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
}

/// Asks for buffers beyond the limits of the system, which only the privileged get.
pub(crate) fn force_buffers(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)?;
    set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes)
}

/// How many datagrams the kernel has dropped because the receive buffer of this socket was full.
pub(crate) fn drops(socket: BorrowedFd<'_>) -> u32 {
    /// `SO_MEMINFO`, and where in its array the drops are (`SK_MEMINFO_DROPS`).
    const SO_MEMINFO: i32 = 55;
    const DROPS: usize = 8;
    let mut values = [0_u32; 16];
    let mut len = size_of_u32::<[u32; 16]>();
    // SAFETY: the array is as long as said, and both live through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result == 0 { values[DROPS] } else { 0 }
}
