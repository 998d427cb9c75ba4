//! Control messages: what the kernel tells of a datagram, and is told of one, besides its bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::send::Message;

/// Room for the control messages of a datagram: a pktinfo of 40 bytes and three numbers of 24 each.
pub(super) const CONTROL: usize = 112;

/// Space for control messages, aligned as they have to be.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control(pub(super) [u8; CONTROL]);

/// A control message that is understood here.
pub(super) enum ControlMessage {
    Local(IpAddr),
    Tos(u8),
    Segment(usize),
    Error(libc::sock_extended_err),
}

/// Reads the control messages behind a header that the kernel has filled.
#[inline]
pub(super) fn for_each_control(header: &libc::msghdr, mut each: impl FnMut(ControlMessage)) {
    // SAFETY: the kernel has filled header and control buffer; the CMSG macros stay inside msg_controllen.
    let mut cmsg = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !cmsg.is_null() {
        // SAFETY: not null, so it points to a whole header inside the control buffer.
        let (level, kind) = unsafe { ((*cmsg).cmsg_level, (*cmsg).cmsg_type) };
        // SAFETY: likewise; the data behind it is of the type that level and kind say.
        let data = unsafe { libc::CMSG_DATA(cmsg) };
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_TOS) => {
                // SAFETY: of a datagram IP_TOS carries one byte, of a connection an int of that value; no machine with
                // the most significant byte first is served.
                each(ControlMessage::Tos(unsafe { data.read() }));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                // SAFETY: IPV6_TCLASS carries an int, perhaps unaligned.
                let class = unsafe { data.cast::<i32>().read_unaligned() };
                each(ControlMessage::Tos(class.to_le_bytes()[0]));
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // SAFETY: UDP_GRO carries an int, perhaps unaligned.
                let len = unsafe { data.cast::<i32>().read_unaligned() };
                each(ControlMessage::Segment(usize::try_from(len).unwrap_or(0)));
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: IP_PKTINFO carries an in_pktinfo, perhaps unaligned.
                let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                each(ControlMessage::Local(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into()));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: IPV6_PKTINFO carries an in6_pktinfo, perhaps unaligned.
                let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                each(ControlMessage::Local(Ipv6Addr::from(info.ipi6_addr.s6_addr).into()));
            }
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                // SAFETY: both carry a sock_extended_err, perhaps unaligned.
                each(ControlMessage::Error(unsafe {
                    data.cast::<libc::sock_extended_err>().read_unaligned()
                }));
            }
            _ => {}
        }
        // SAFETY: as for the first one.
        cmsg = unsafe { libc::CMSG_NXTHDR(header, cmsg) };
    }
}

/// Writes the control messages that choose the source address, the marks and where the kernel cuts, where they are not
/// what the socket does anyway. Returns how long they are all together.
pub(super) fn put_controls(buffer: &mut [u8; CONTROL], message: &Message) -> usize {
    let Message { to, from, marks, segment } = *message;
    let mut used = 0;
    let mut put = |level, kind, value: &[u8]| {
        // SAFETY: computes a number.
        let (len, space) = unsafe {
            let len = u32::try_from(value.len()).unwrap_or(0);
            (libc::CMSG_LEN(len) as usize, libc::CMSG_SPACE(len) as usize)
        };
        let header = libc::cmsghdr { cmsg_len: len as _, cmsg_level: level, cmsg_type: kind };
        let room = &mut buffer[used..used + space];
        room.fill(0);
        // SAFETY: the room holds a header, as CMSG_SPACE counts it in; nothing is said about its alignment.
        unsafe { room.as_mut_ptr().cast::<libc::cmsghdr>().write_unaligned(header) };
        room[len - value.len()..len].copy_from_slice(value);
        used += space;
    };
    match from {
        Some(IpAddr::V4(ip)) => {
            // struct in_pktinfo: interface, source address, an address that only receivers are told.
            let mut info = [0; 12];
            info[4..8].copy_from_slice(&ip.octets());
            put(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        Some(IpAddr::V6(ip)) => {
            // struct in6_pktinfo: source address, interface.
            let mut info = [0; 20];
            info[..16].copy_from_slice(&ip.octets());
            put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        None => {}
    }
    let int = |value: u8| i32::from(value).to_ne_bytes();
    if marks.tos != 0 {
        match to {
            SocketAddr::V4(_) => put(libc::IPPROTO_IP, libc::IP_TOS, &int(marks.tos)),
            SocketAddr::V6(_) => put(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &int(marks.tos)),
        }
    }
    if marks.dont_fragment && to.is_ipv6() {
        put(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, &int(1));
    }
    if let Some(len) = segment {
        put(libc::SOL_UDP, libc::UDP_SEGMENT, &len.to_ne_bytes());
    }
    used
}
