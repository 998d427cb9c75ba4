//! What ICMP says of datagrams that were sent is not told by sockets that are not connected.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::NetworkError;

/// Makes a socket keep the ICMP errors about what it has sent, or forget them and keep no more: it never has any.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`], always.
pub(crate) fn hear_errors(_socket: BorrowedFd<'_>, _ipv6: bool, _hear: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Takes the next error out of a socket's queue, which is empty.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`], always.
pub(crate) fn next_error(_socket: BorrowedFd<'_>) -> io::Result<Option<NetworkError>> {
    Err(io::ErrorKind::WouldBlock.into())
}
