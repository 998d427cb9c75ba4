//! Network namespaces.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Runs `work` with the calling thread in the network namespace of this name, as `ip netns` knows it. Sockets that it opens
/// stay in there.
///
/// # Errors
/// There is no such namespace, or this process may not enter it. What `work` gives is passed on.
pub(crate) fn within<T>(name: &str, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let own = File::open("/proc/thread-self/ns/net")?;
    let other = File::open(format!("/run/netns/{name}"))?;
    enter(&other)?;
    let result = work();
    // A thread that cannot come back must not go on as if it had.
    enter(&own)?;
    result
}

fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: takes no pointers; the descriptor is open.
    let result = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
