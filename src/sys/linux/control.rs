//! Control messages as Linux writes them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::sys::control::{Controls, for_each_control, int};
use crate::sys::receive::Told;
use crate::sys::send::Message;

/// Reads what a socket has told of a datagram behind a header that the kernel has filled. Not a part of its callers, which
/// would copy the result about.
#[inline(never)]
pub(in crate::sys) fn read_controls(header: &libc::msghdr) -> Told {
    let mut told = Told { local: None, tos: 0, segment: None };
    for_each_control(header, |level, kind, data| match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_TOS) => {
            // SAFETY: of a datagram IP_TOS carries one byte, of a connection an int of that value; no machine with the
            // most significant byte first is served.
            told.tos = unsafe { data.read() };
        }
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            // SAFETY: IPV6_TCLASS carries an int, perhaps unaligned.
            told.tos = unsafe { data.cast::<i32>().read_unaligned() }.to_le_bytes()[0];
        }
        (libc::SOL_UDP, libc::UDP_GRO) => {
            // SAFETY: UDP_GRO carries an int, perhaps unaligned.
            let len = unsafe { data.cast::<i32>().read_unaligned() };
            told.segment = Some(usize::try_from(len).unwrap_or(0));
        }
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // SAFETY: IP_PKTINFO carries an in_pktinfo, perhaps unaligned.
            let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
            told.local = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            // SAFETY: IPV6_PKTINFO carries an in6_pktinfo, perhaps unaligned.
            let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
            told.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
        }
        _ => {}
    });
    told
}

/// Writes the control messages that choose the source address, the marks and where the kernel cuts, where they are not
/// what the socket does anyway.
pub(in crate::sys) fn put_controls(controls: &mut Controls<'_>, message: &Message) {
    let Message { to, from, marks, segment } = *message;
    match from {
        Some(IpAddr::V4(ip)) => {
            // struct in_pktinfo: interface, source address, an address that only receivers are told.
            let mut info = [0; 12];
            info[4..8].copy_from_slice(&ip.octets());
            controls.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        Some(IpAddr::V6(ip)) => controls.put_ipv6_source(ip),
        None => {}
    }
    if marks.tos != 0 {
        match to {
            SocketAddr::V4(_) => controls.put(libc::IPPROTO_IP, libc::IP_TOS, &int(marks.tos)),
            SocketAddr::V6(_) => controls.put(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &int(marks.tos)),
        }
    }
    if marks.dont_fragment && to.is_ipv6() {
        controls.put(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, &int(1));
    }
    if let Some(len) = segment {
        controls.put(libc::SOL_UDP, libc::UDP_SEGMENT, &len.to_ne_bytes());
    }
}

/// Has the kernel cut a message into datagrams of this length.
pub(in crate::sys) fn put_segment(controls: &mut Controls<'_>, len: u16) -> io::Result<()> {
    controls.put(libc::SOL_UDP, libc::UDP_SEGMENT, &len.to_ne_bytes());
    Ok(())
}
