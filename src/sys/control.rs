//! Control messages: what the kernel tells of a datagram, and is told of one, besides its bytes.

use std::net::Ipv6Addr;

/// Room for the control messages of a datagram: a pktinfo of 40 bytes and three numbers of 24 each.
pub(super) const CONTROL: usize = 112;

/// Space for control messages, aligned as they have to be.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control(pub(super) [u8; CONTROL]);

/// Writes into a header how much room for control messages there is, or how long they are. Each C library has its own type
/// for that.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
pub(super) fn set_control_len(header: &mut libc::msghdr, len: usize) {
    header.msg_controllen = len as _;
}

/// Goes through the control messages behind a header that the kernel has filled: level, kind, and where the value stands,
/// which is of the type that level and kind say. It becomes a part of its few callers: it runs for each datagram.
#[inline(always)]
pub(super) fn for_each_control(header: &libc::msghdr, mut each: impl FnMut(i32, i32, *const u8)) {
    // SAFETY: the kernel has filled header and control buffer; the CMSG macros stay inside msg_controllen.
    let mut cmsg = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !cmsg.is_null() {
        // SAFETY: not null, so it points to a whole header inside the control buffer.
        let (level, kind) = unsafe { ((*cmsg).cmsg_level, (*cmsg).cmsg_type) };
        // SAFETY: likewise.
        let data = unsafe { libc::CMSG_DATA(cmsg) };
        each(level, kind, data);
        // SAFETY: as for the first one.
        cmsg = unsafe { libc::CMSG_NXTHDR(header, cmsg) };
    }
}

/// Control messages that are being written.
pub(super) struct Controls<'a> {
    buffer: &'a mut [u8; CONTROL],
    used: usize,
}

impl<'a> Controls<'a> {
    pub(super) const fn new(buffer: &'a mut [u8; CONTROL]) -> Self {
        Self { buffer, used: 0 }
    }

    /// How long they are all together.
    pub(super) const fn len(&self) -> usize {
        self.used
    }

    /// Appends one.
    #[allow(clippy::cast_possible_truncation, reason = "a few bytes, in the type of this C library")]
    pub(super) fn put(&mut self, level: i32, kind: i32, value: &[u8]) {
        // SAFETY: computes a number.
        let (len, space) = unsafe {
            let len = u32::try_from(value.len()).unwrap_or(0);
            (libc::CMSG_LEN(len) as usize, libc::CMSG_SPACE(len) as usize)
        };
        let header = libc::cmsghdr { cmsg_len: len as _, cmsg_level: level, cmsg_type: kind };
        let room = &mut self.buffer[self.used..self.used + space];
        room.fill(0);
        // SAFETY: the room holds a header, as CMSG_SPACE counts it in; nothing is said about its alignment.
        unsafe { room.as_mut_ptr().cast::<libc::cmsghdr>().write_unaligned(header) };
        room[len - value.len()..len].copy_from_slice(value);
        self.used += space;
    }

    /// Chooses the source address of an IPv6 datagram (RFC 3542).
    pub(super) fn put_ipv6_source(&mut self, ip: Ipv6Addr) {
        // struct in6_pktinfo: source address, interface.
        let mut info = [0; 20];
        info[..16].copy_from_slice(&ip.octets());
        self.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
    }
}

/// A small number as the kernel takes it.
pub(super) fn int(value: u8) -> [u8; 4] {
    i32::from(value).to_ne_bytes()
}
