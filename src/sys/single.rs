//! Datagrams one by one, with a system call for each: everywhere but on Linux, and where a sandbox forbids batches.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::system::batches::Header;

/// Receives into the slots of the headers, without waiting. Returns how many were filled; an error is about the first one.
///
/// # Safety
/// `headers` points to so many headers, each of which points to a name, vectors, a control buffer and memory of the lengths
/// that it says, writable during the call.
pub(super) unsafe fn receive(
    socket: BorrowedFd<'_>,
    headers: *mut Header,
    count: usize,
) -> io::Result<usize> {
    for i in 0..count {
        // SAFETY: a header of those that the caller speaks of.
        let header = unsafe { &mut *headers.add(i) };
        // SAFETY: it points to what the caller says.
        let received =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header.msg_hdr, libc::MSG_DONTWAIT) };
        match u32::try_from(received) {
            Ok(received) => header.msg_len = received,
            Err(_) => return so_far(i),
        }
    }
    Ok(count)
}

/// Sends the messages of the headers, without waiting. Returns how many the kernel took; an error is about the first one.
///
/// # Safety
/// `headers` points to so many headers, each of which points to a name, vectors, a control buffer and memory of the lengths
/// that it says, readable during the call.
pub(super) unsafe fn send(socket: BorrowedFd<'_>, headers: *mut Header, count: usize) -> io::Result<usize> {
    for i in 0..count {
        // SAFETY: a header of those that the caller speaks of, which point to what it says; the kernel only reads.
        let sent = unsafe {
            libc::sendmsg(socket.as_raw_fd(), &raw const (*headers.add(i)).msg_hdr, libc::MSG_DONTWAIT)
        };
        if sent < 0 {
            return so_far(i);
        }
    }
    Ok(count)
}

/// What a call tells that has failed after `done` datagrams: like that of a whole batch, the error only if it is the first.
fn so_far(done: usize) -> io::Result<usize> {
    if done > 0 { Ok(done) } else { Err(io::Error::last_os_error()) }
}
