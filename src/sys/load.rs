//! What a load generator needs: bursts of datagrams to one place, large buffers, and what was lost for lack of room in them.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::control::{CONTROL, Control};
use super::names::encode_name;
use super::options::set_option;
use super::send::MAX_SEGMENTS;
use super::size_of_u32;

/// The most bytes in one super-packet.
const LONGEST: usize = 65_507;

/// How a burst is handed to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As one super-packet, which the kernel or the network card cuts (UDP GSO).
    Whole,
    /// Datagram by datagram.
    Single,
}

/// Sends `bytes` as datagrams of `segment` bytes each, the last of which may be shorter, to `to` or to where the socket is
/// connected. Returns how many the kernel took; an error is about the first one.
pub(crate) fn send_burst(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    segment: usize,
    to: Option<SocketAddr>,
    way: Way,
) -> io::Result<usize> {
    let segment = segment.max(1);
    // SAFETY: a plain C structure for which zeroes are a valid value.
    let mut name: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let (name_pointer, name_len): (*mut libc::c_void, u32) = match to {
        Some(to) => {
            let len = encode_name(to, &mut name);
            ((&raw mut name).cast(), len)
        }
        None => (std::ptr::null_mut(), 0),
    };
    if way == Way::Whole && bytes.len() > segment {
        let most = (LONGEST / segment).clamp(1, MAX_SEGMENTS) * segment;
        let part = &bytes[..bytes.len().min(most)];
        let mut vector = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
        let mut control = Control([0; CONTROL]);
        // SAFETY: a plain C structure for which zeroes are a valid value.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = name_pointer;
        header.msg_namelen = name_len;
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut control).cast();
        // SAFETY: computes numbers.
        let (len, space) = unsafe { (libc::CMSG_LEN(2), libc::CMSG_SPACE(2)) };
        header.msg_controllen = space as _;
        let head =
            libc::cmsghdr { cmsg_len: len as _, cmsg_level: libc::SOL_UDP, cmsg_type: libc::UDP_SEGMENT };
        let size = u16::try_from(segment).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the control buffer is aligned for a header and longer than CMSG_SPACE(2), and CMSG_DATA is inside it.
        unsafe {
            let first = (&raw mut control).cast::<libc::cmsghdr>();
            first.write(head);
            libc::CMSG_DATA(first).cast::<u16>().write_unaligned(size);
        }
        // SAFETY: the header points to name, vector, control buffer and bytes, which outlive the call; the kernel only
        // reads them.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
        return match usize::try_from(sent) {
            Ok(sent) => Ok(sent.div_ceil(segment)),
            Err(_) => Err(io::Error::last_os_error()),
        };
    }
    let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; MAX_SEGMENTS];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MAX_SEGMENTS];
    let mut count: u32 = 0;
    for ((part, vector), header) in bytes.chunks(segment).zip(&mut vectors).zip(&mut headers) {
        let vector =
            vector.write(libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
        // SAFETY: a plain C structure for which zeroes are a valid value.
        let mut filled: libc::mmsghdr = unsafe { mem::zeroed() };
        filled.msg_hdr.msg_name = name_pointer;
        filled.msg_hdr.msg_namelen = name_len;
        filled.msg_hdr.msg_iov = vector;
        filled.msg_hdr.msg_iovlen = 1;
        header.write(filled);
        count += 1;
    }
    // SAFETY: the first `count` headers are filled and point to vectors, name and bytes, which outlive the call; the kernel
    // only reads them, but for the lengths in the headers.
    let sent = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr().cast(), count, libc::MSG_DONTWAIT as _)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
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
