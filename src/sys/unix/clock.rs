//! The clocks of the kernel.

use std::time::Duration;

fn read(clock: libc::clockid_t) -> Duration {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives through the call, which does not fail for clocks that all systems have.
    unsafe { libc::clock_gettime(clock, &raw mut at) };
    Duration::new(u64::try_from(at.tv_sec).unwrap_or(0), u32::try_from(at.tv_nsec).unwrap_or(0))
}

/// Time since an unknown point; it never goes back.
pub(crate) fn monotonic() -> Duration {
    read(libc::CLOCK_MONOTONIC)
}

/// Time since 1970.
pub(crate) fn wall() -> Duration {
    read(libc::CLOCK_REALTIME)
}
