//! There are no network namespaces.

use std::io;

/// Runs `work` in another network namespace.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`], always.
pub(crate) fn within<T>(_name: &str, _work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux has network namespaces"))
}
