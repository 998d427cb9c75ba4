//! Socket options that all systems have, and the limits of the process.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::size_of_u32;

/// Sets an integer socket option.
pub(super) fn set_option(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value is an int that lives through the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size_of_u32::<i32>())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a socket tell type of service or traffic class of each datagram (RFC 8656 §14).
pub(crate) fn tell_tos(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)
    }
}

/// Raises the soft limit of open descriptors to the hard one: each allocation holds a socket. Returns the limit.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives through the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 0;
    }
    // Some systems allow less than the hard limit says.
    for most in [limit.rlim_max, 65_536, 10_240] {
        let wanted = libc::rlimit { rlim_cur: most.min(limit.rlim_max), ..limit };
        if wanted.rlim_cur <= limit.rlim_cur {
            break;
        }
        // SAFETY: the structure lives through the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) } == 0 {
            return wanted.rlim_cur;
        }
    }
    limit.rlim_cur
}
