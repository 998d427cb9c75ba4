//! Many datagrams with one system call, unless something forbids these calls, as the filters of some sandboxes do.

use std::io;
use std::mem;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::sync::OnceLock;

use socket2::{Domain, Socket, Type};

use crate::sys::single;

/// The head of one message of a batch.
pub(in crate::sys) type Header = libc::mmsghdr;

/// Whether both calls are there, asked once in the life of the process.
pub(crate) fn has_batches() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None);
        let Ok(socket) = socket.or_else(|_| Socket::new(Domain::IPV6, Type::DGRAM, None)) else {
            return true;
        };
        // SAFETY: a plain C structure for which zeroes are a valid value.
        let mut header: Header = unsafe { mem::zeroed() };
        // SAFETY: the header asks for no bytes and points nowhere.
        let received = unsafe { receive_batch(socket.as_fd(), &raw mut header, 1) };
        // SAFETY: no header is looked at.
        let sent = unsafe { send_batch(socket.as_fd(), &raw mut header, 0) };
        received.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) && sent.is_ok()
    })
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
    unsafe {
        if has_batches() {
            receive_batch(socket, headers, count)
        } else {
            single::receive(socket, headers, count)
        }
    }
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
    unsafe {
        if has_batches() { send_batch(socket, headers, count) } else { single::send(socket, headers, count) }
    }
}

/// # Safety
/// As [`single::receive`].
unsafe fn receive_batch(socket: BorrowedFd<'_>, headers: *mut Header, count: usize) -> io::Result<usize> {
    let count = u32::try_from(count).unwrap_or(0);
    // SAFETY: what the caller says.
    let received = unsafe {
        libc::recvmmsg(socket.as_raw_fd(), headers, count, libc::MSG_DONTWAIT as _, std::ptr::null_mut())
    };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// # Safety
/// As [`single::send`].
unsafe fn send_batch(socket: BorrowedFd<'_>, headers: *mut Header, count: usize) -> io::Result<usize> {
    let count = u32::try_from(count).unwrap_or(0);
    // SAFETY: what the caller says; of the headers the kernel only writes the lengths.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, count, libc::MSG_DONTWAIT as _) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
