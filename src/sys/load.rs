//! What a load generator needs: bursts of datagrams to one place.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::control::{CONTROL, Control, Controls, set_control_len};
use super::names::encode_name;
use super::send::MAX_SEGMENTS;
use super::system::batches::{Header, send_many};
use super::system::control::put_segment;

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
        let mut controls = Controls::new(&mut control.0);
        put_segment(&mut controls, u16::try_from(segment).map_err(|_| io::ErrorKind::InvalidInput)?)?;
        let used = controls.len();
        // SAFETY: a plain C structure for which zeroes are a valid value.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = name_pointer;
        header.msg_namelen = name_len;
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut control).cast();
        set_control_len(&mut header, used);
        // SAFETY: the header points to name, vector, control buffer and bytes, which outlive the call; the kernel only
        // reads them.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
        return match usize::try_from(sent) {
            Ok(sent) => Ok(sent.div_ceil(segment)),
            Err(_) => Err(io::Error::last_os_error()),
        };
    }
    let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; MAX_SEGMENTS];
    let mut headers = [const { MaybeUninit::<Header>::uninit() }; MAX_SEGMENTS];
    let mut count = 0;
    for ((part, vector), header) in bytes.chunks(segment).zip(&mut vectors).zip(&mut headers) {
        let vector =
            vector.write(libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
        // SAFETY: a plain C structure for which zeroes are a valid value.
        let mut filled: Header = unsafe { mem::zeroed() };
        filled.msg_hdr.msg_name = name_pointer;
        filled.msg_hdr.msg_namelen = name_len;
        filled.msg_hdr.msg_iov = vector;
        filled.msg_hdr.msg_iovlen = 1;
        header.write(filled);
        count += 1;
    }
    // SAFETY: the first `count` headers are filled and point to vectors, name and bytes, which outlive the call.
    unsafe { send_many(socket, headers.as_mut_ptr().cast(), count) }
}
