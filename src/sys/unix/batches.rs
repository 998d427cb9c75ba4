//! There is no call for many datagrams.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::single;

/// The head of one message of several.
#[derive(Clone, Copy)]
pub(in crate::sys) struct Header {
    pub(in crate::sys) msg_hdr: libc::msghdr,
    /// How many bytes were received.
    pub(in crate::sys) msg_len: u32,
}

/// Whether many datagrams take one call.
pub(crate) const fn has_batches() -> bool {
    false
}

/// Receives into the slots of the headers, without waiting. Returns how many were filled.
///
/// # Safety
/// As [`single::receive`].
pub(in crate::sys) unsafe fn receive_many(
    socket: BorrowedFd<'_>,
    headers: *mut Header,
    count: usize,
) -> io::Result<usize> {
    // SAFETY: what the caller says.
    unsafe { single::receive(socket, headers, count) }
}

/// Sends the messages of the headers, without waiting. Returns how many the kernel took; an error is about the first one.
///
/// # Safety
/// As [`single::send`].
pub(in crate::sys) unsafe fn send_many(
    socket: BorrowedFd<'_>,
    headers: *mut Header,
    count: usize,
) -> io::Result<usize> {
    // SAFETY: what the caller says.
    unsafe { single::send(socket, headers, count) }
}
