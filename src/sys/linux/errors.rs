//! The error queue of a socket: what ICMP says of what it has sent.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use crate::sys::control::for_each_control;
use crate::sys::names::decode_name;
use crate::sys::options::set_option;
use crate::sys::{NetworkError, size_of_u32};

/// Room for the control messages of an error: the marks of the packet, the error and who told it.
const ERROR_CONTROL: usize = 256;

/// Makes a socket keep the ICMP errors about what it has sent, for [`next_error`], or forget them and keep no more.
pub(crate) fn hear_errors(socket: BorrowedFd<'_>, ipv6: bool, hear: bool) -> io::Result<()> {
    if ipv6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, i32::from(hear))
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, i32::from(hear))
    }
}

/// Takes the next error out of a socket's queue. `Ok(None)`: one that no ICMP message stands for.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] when the queue is empty.
pub(crate) fn next_error(socket: BorrowedFd<'_>) -> io::Result<Option<NetworkError>> {
    #[repr(C, align(8))]
    struct Space([u8; ERROR_CONTROL]);
    // SAFETY: both are plain C structures for which zeroes are a valid value.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut space = Space([0; ERROR_CONTROL]);
    header.msg_namelen = size_of_u32::<libc::sockaddr_storage>();
    header.msg_name = (&raw mut name).cast();
    header.msg_control = (&raw mut space).cast();
    header.msg_controllen = ERROR_CONTROL as _;
    // SAFETY: the header points to a name and a control buffer of the lengths it says, which outlive the call.
    let received = unsafe {
        libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
    };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut error = None;
    for_each_control(&header, |level, kind, data| {
        if let (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) = (level, kind)
        {
            // SAFETY: both carry a sock_extended_err, perhaps unaligned.
            error = Some(unsafe { data.cast::<libc::sock_extended_err>().read_unaligned() });
        }
    });
    let (Some(error), Some(to)) = (error, decode_name(&name)) else { return Ok(None) };
    let (kind, code) = match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => (error.ee_type, error.ee_code),
        // What the first router would have said: fragmentation needed, packet too big.
        libc::SO_EE_ORIGIN_LOCAL if i32::try_from(error.ee_errno) == Ok(libc::EMSGSIZE) => match to {
            SocketAddr::V4(_) => (3, 4),
            SocketAddr::V6(_) => (2, 0),
        },
        _ => return Ok(None),
    };
    let is_local = error.ee_origin == libc::SO_EE_ORIGIN_LOCAL;
    Ok(Some(NetworkError { to, kind, code, info: error.ee_info, is_local }))
}
