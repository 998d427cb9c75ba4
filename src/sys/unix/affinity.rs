//! Threads run where the scheduler puts them.

use std::io;

/// The CPUs that this thread may run on: the system does not tell.
pub(crate) fn usable_cpus() -> io::Result<Vec<usize>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system keeps no thread on one CPU"))
}

/// Lets this thread run on one CPU only, which the system does not.
pub(crate) fn pin_thread(_cpu: usize) -> io::Result<()> {
    usable_cpus().map(drop)
}
