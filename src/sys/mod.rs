//! System calls that need `unsafe`: batches of datagrams, epoll, and socket options that no crate sets safely.
//! The only module of the package that may contain it.
#![allow(unsafe_code, reason = "this module is the one audited place for it")]

mod devices;
mod load;
mod names;
mod netns;

pub(crate) use devices::cuts_bursts;
pub(crate) use load::{Inbox, Poll, Way, drops, force_buffers, receive_together, send_burst};
pub(crate) use netns::within;

const fn size_of_u32<T>() -> u32 {
    assert!(size_of::<T>() <= u32::MAX as usize, "kernel structures are small");
    #[expect(clippy::cast_possible_truncation, reason = "asserted just above")]
    {
        size_of::<T>() as u32
    }
}

/// Raises the soft limit of open descriptors to the hard one: each allocation holds a socket. Returns the limit.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives through the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 0;
    }
    let wanted = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: likewise.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) } == 0 {
        limit.rlim_max
    } else {
        limit.rlim_cur
    }
}
