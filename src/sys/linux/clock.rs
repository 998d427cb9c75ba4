//! The clocks of the kernel as it last updated them, every few milliseconds: reading them costs no more than reading
//! memory, while a precise reading asks the processor, which virtual machines make slow.

use std::time::Duration;

/// Reads the first clock, or the precise second one where a kernel does not have the first.
fn read(clock: libc::clockid_t, precise: libc::clockid_t) -> Duration {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    for clock in [clock, precise] {
        // SAFETY: the structure lives through the call.
        if unsafe { libc::clock_gettime(clock, &raw mut at) } == 0 {
            break;
        }
    }
    Duration::new(u64::try_from(at.tv_sec).unwrap_or(0), u32::try_from(at.tv_nsec).unwrap_or(0))
}

/// Time since an unknown point; it never goes back.
pub(crate) fn monotonic() -> Duration {
    read(libc::CLOCK_MONOTONIC_COARSE, libc::CLOCK_MONOTONIC)
}

/// Time since 1970.
pub(crate) fn wall() -> Duration {
    read(libc::CLOCK_REALTIME_COARSE, libc::CLOCK_REALTIME)
}
