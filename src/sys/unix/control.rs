//! Control messages as Apple's systems and the BSDs write them. The source address of IPv4 is where they differ.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::sys::control::{Controls, for_each_control, int};
use crate::sys::receive::Told;
use crate::sys::send::Message;

/// Reads what a socket has told of a datagram behind a header that the kernel has filled.
pub(in crate::sys) fn read_controls(header: &libc::msghdr) -> Told {
    let mut told = Told { local: None, tos: 0, segment: None };
    for_each_control(header, |level, kind, data| match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_RECVTOS) => {
            // SAFETY: IP_RECVTOS carries one byte.
            told.tos = unsafe { data.read() };
        }
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            // SAFETY: IPV6_TCLASS carries an int, perhaps unaligned.
            let class = unsafe { data.cast::<i32>().read_unaligned() };
            told.tos = u8::try_from(class & 0xFF).unwrap_or(0);
        }
        #[cfg(target_vendor = "apple")]
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // SAFETY: IP_PKTINFO carries an in_pktinfo, perhaps unaligned.
            let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
            told.local = Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
        }
        #[cfg(not(target_vendor = "apple"))]
        (libc::IPPROTO_IP, libc::IP_RECVDSTADDR) => {
            // SAFETY: IP_RECVDSTADDR carries an in_addr, perhaps unaligned.
            let address = unsafe { data.cast::<libc::in_addr>().read_unaligned() };
            told.local = Some(Ipv4Addr::from(address.s_addr.to_ne_bytes()).into());
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

/// Writes the control messages that choose source address and marks, where they are not what the socket does anyway.
pub(in crate::sys) fn put_controls(controls: &mut Controls<'_>, message: &Message) {
    // Nothing here cuts messages, so nobody asks for it.
    let Message { to, from, marks, segment: _ } = *message;
    match from {
        Some(IpAddr::V4(ip)) => put_ipv4_source(controls, ip),
        Some(IpAddr::V6(ip)) => controls.put_ipv6_source(ip),
        None => {}
    }
    if marks.tos != 0 {
        match to {
            // Some BSDs refuse a datagram with it.
            SocketAddr::V4(_) if cfg!(target_vendor = "apple") => {
                controls.put(libc::IPPROTO_IP, libc::IP_TOS, &int(marks.tos));
            }
            SocketAddr::V4(_) => {}
            SocketAddr::V6(_) => controls.put(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &int(marks.tos)),
        }
    }
    if marks.dont_fragment && to.is_ipv6() {
        controls.put(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, &int(1));
    }
}

#[cfg(target_vendor = "apple")]
fn put_ipv4_source(controls: &mut Controls<'_>, ip: Ipv4Addr) {
    // struct in_pktinfo: interface, source address, an address that only receivers are told.
    let mut info = [0; 12];
    info[4..8].copy_from_slice(&ip.octets());
    controls.put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
}

#[cfg(not(target_vendor = "apple"))]
fn put_ipv4_source(controls: &mut Controls<'_>, ip: Ipv4Addr) {
    // Known as IP_SENDSRCADDR too, where that has a name.
    controls.put(libc::IPPROTO_IP, libc::IP_RECVDSTADDR, &ip.octets());
}

/// Has the kernel cut a message into datagrams, which it does not.
pub(in crate::sys) fn put_segment(_controls: &mut Controls<'_>, _len: u16) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}
