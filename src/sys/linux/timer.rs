//! A timer that is a descriptor. A runtime that waits for its own timers arms one in the kernel each time that it goes to
//! sleep, which costs a relay more than handling a packet; this one is armed when it has fired.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::sleep::Sleeper;

/// See the head of this file. Where something forbids such descriptors, as the filters of some sandboxes do, the runtime's
/// own timer takes its place.
pub(crate) enum Timer {
    /// The descriptor.
    Kernel(AsyncFd<OwnedFd>),
    /// The runtime's.
    Runtime(Sleeper),
}

/// Whether timers are descriptors here.
pub(crate) fn has_timers() -> bool {
    create().is_ok()
}

fn create() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that has just been made and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Timer {
    /// A timer that is not armed. To be called in a runtime.
    pub(crate) fn new() -> Self {
        Self::in_kernel().map_or_else(|_| Self::Runtime(Sleeper::new()), Self::Kernel)
    }

    fn in_kernel() -> io::Result<AsyncFd<OwnedFd>> {
        // SAFETY: an OwnedFd stays the same open descriptor for as long as the AsyncFd holds it.
        unsafe { AsyncFd::register_with_interest(create()?, Interest::READABLE) }.map_err(io::Error::from)
    }

    /// Lets it fire once, after this time, which is not zero.
    pub(crate) fn arm(&self, after: Duration) -> io::Result<()> {
        let fd = match self {
            Self::Kernel(fd) => fd,
            Self::Runtime(sleeper) => {
                sleeper.arm(after);
                return Ok(());
            }
        };
        let value = libc::timespec {
            tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(after.subsec_nanos()),
        };
        let interval = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let times = libc::itimerspec { it_interval: interval, it_value: value };
        // SAFETY: the times live through the call, and the old ones are not asked for.
        let result =
            unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &raw const times, std::ptr::null_mut()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until it has fired. Arming it anew makes it forget that.
    pub(crate) async fn fired(&self) -> io::Result<()> {
        match self {
            Self::Kernel(fd) => fd.readable().await?.clear_ready(),
            Self::Runtime(sleeper) => sleeper.fired().await,
        }
        Ok(())
    }
}
