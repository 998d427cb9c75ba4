//! A set of sockets by epoll, nested in the runtime.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::Ready;

/// Sockets that one call tells of.
const EVENTS: i32 = 64;

/// A set of sockets whose readiness is asked for together.
pub(crate) struct SocketSet {
    fd: OwnedFd,
}

impl SocketSet {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that has just been made and has no other owner.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Nests the set in the runtime's own, so that a task can wait for it.
    pub(crate) fn watch(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let handle = self.fd.try_clone()?;
        // SAFETY: an OwnedFd stays the same open descriptor for as long as the AsyncFd holds it.
        unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }.map_err(io::Error::from)
    }

    /// Watches a socket for datagrams; `token` comes back from [`Self::ready`]. Closing the socket ends it.
    pub(crate) fn add(&self, socket: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as _, u64: token };
        // SAFETY: the event lives through the call.
        let result = unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until a socket is ready, at most for so long; not at all when that is zero.
    pub(crate) fn wait(&self, limit: Duration) {
        if limit.is_zero() {
            return;
        }
        let time = libc::timespec {
            tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let mut set = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: set and time live through the call, and one set is given; there may be no signal mask. What became of the
        // wait does not matter: the sockets are looked at afterwards.
        unsafe { libc::ppoll(&raw mut set, 1, &raw const time, std::ptr::null()) };
    }

    /// Appends the sockets that are ready now, without waiting.
    pub(crate) fn ready(&self, sockets: &mut Vec<Ready>) -> io::Result<()> {
        let mut events = [const { MaybeUninit::<libc::epoll_event>::uninit() }; EVENTS as usize];
        // SAFETY: the kernel fills at most EVENTS events.
        let count = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr().cast(), EVENTS, 0) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for event in events.iter().take(count) {
            // SAFETY: the kernel has filled the first `count` events.
            let event = unsafe { event.assume_init() };
            sockets.push(Ready {
                token: event.u64,
                readable: event.events & !(libc::EPOLLERR as u32) != 0,
                failed: event.events & libc::EPOLLERR as u32 != 0,
            });
        }
        Ok(())
    }
}
