//! Standard output of commands.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::OnceLock;

/// There is one standard output, and the first thing that it did not take is told at the end.
static LOST: OnceLock<String> = OnceLock::new();

/// Writes to standard output, past the buffer of the library, which takes a descriptor that cannot be written to for one
/// that takes all. What cannot be written is remembered for [`lost`]; a reader that went away has read what it wanted.
pub(crate) fn print(text: &str) {
    let written =
        io::stdout().as_fd().try_clone_to_owned().and_then(|out| File::from(out).write_all(text.as_bytes()));
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        LOST.get_or_init(|| error.to_string());
    }
}

/// Why something that was to be printed was not, if that has happened.
pub(crate) fn lost() -> Option<&'static str> {
    LOST.get().map(String::as_str)
}
