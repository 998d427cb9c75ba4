//! A set of sockets by kqueue, nested in the runtime.

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::Ready;

/// Sockets that one call tells of.
const EVENTS: usize = 64;
/// A token travels in a pointer.
const _: () = assert!(size_of::<usize>() >= size_of::<u64>(), "only 64-bit systems are served");

/// A set of sockets whose readiness is asked for together.
pub(crate) struct SocketSet {
    fd: OwnedFd,
}

impl SocketSet {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::kqueue() };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that has just been made and has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: takes no pointers; the descriptor is open.
        if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { fd })
    }

    /// Nests the set in the runtime's own, so that a task can wait for it.
    pub(crate) fn watch(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let handle = self.fd.try_clone()?;
        // SAFETY: an OwnedFd stays the same open descriptor for as long as the AsyncFd holds it.
        unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }.map_err(io::Error::from)
    }

    /// Watches a socket for datagrams; `token` comes back from [`Self::ready`]. Closing the socket ends it.
    pub(crate) fn add(&self, socket: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        // SAFETY: a plain C structure for which zeroes are a valid value.
        let mut change: libc::kevent = unsafe { mem::zeroed() };
        change.ident = usize::try_from(socket.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)? as _;
        change.filter = libc::EVFILT_READ as _;
        change.flags = libc::EV_ADD as _;
        change.udata = std::ptr::without_provenance_mut(usize::try_from(token).unwrap_or(usize::MAX)) as _;
        // SAFETY: one change is given, which lives through the call, and no room for events.
        let result = unsafe {
            libc::kevent(self.fd.as_raw_fd(), &raw const change, 1, std::ptr::null_mut(), 0, std::ptr::null())
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits until a socket is ready, at most for so long; not at all when that is zero.
    pub(crate) fn wait(&self, limit: Duration) {
        if !limit.is_zero() {
            // What became of the wait does not matter: the sockets are looked at afterwards. What is told now is told again
            // then.
            let mut event = [MaybeUninit::uninit()];
            let _ = self.ask(&mut event, limit);
        }
    }

    /// Appends the sockets that are ready now, without waiting.
    pub(crate) fn ready(&self, sockets: &mut Vec<Ready>) -> io::Result<()> {
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        let count = self.ask(&mut events, Duration::ZERO)?;
        for event in events.iter().take(count) {
            // SAFETY: the kernel has filled the first `count` events.
            let event = unsafe { event.assume_init() };
            sockets.push(Ready { token: event.udata as usize as u64, readable: true, failed: false });
        }
        Ok(())
    }

    fn ask(&self, events: &mut [MaybeUninit<libc::kevent>], limit: Duration) -> io::Result<usize> {
        let time = libc::timespec {
            tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
        // SAFETY: there are no changes; the kernel fills at most as many events as there is room for; the time lives through
        // the call.
        let count = unsafe {
            libc::kevent(
                self.fd.as_raw_fd(),
                std::ptr::null(),
                0,
                events.as_mut_ptr().cast(),
                room as _,
                &raw const time,
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }
}
