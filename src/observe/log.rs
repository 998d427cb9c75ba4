//! The log: to standard error, text or JSON.
//!
//! Who logs relays packets, so nobody waits for standard error, which may be a pipe that nobody reads, or fails with it. A
//! thread of its own writes; what it cannot get rid of is left out, and that is said when lines pass again.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// Lines that wait for standard error. What is beyond is left out.
const MAX_WAITING: usize = 1024;
/// How long the last lines may take, in looks of [`LOOK`].
const LAST_LOOKS: u32 = 100;
const LOOK: Duration = Duration::from_millis(5);

/// How many lines are on their way, and how many had no room and are not told of yet.
struct Tally {
    waiting: AtomicUsize,
    left_out: AtomicUsize,
}

/// That of the program's log.
static TALLY: Tally = Tally { waiting: AtomicUsize::new(0), left_out: AtomicUsize::new(0) };

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the log could not be begun.
#[derive(Debug)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Begins the log. `level` is a level or a list of filter directives, as `tracing` has them.
///
/// # Errors
/// When `level` is not one, a log has begun already, or there can be no thread for it.
pub fn init(format: Format, level: &str) -> Result<(), Error> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Error(format!(
            "log.level: {level:?} is not a level ({error}); take off, error, warn, info, debug or trace"
        ))
    })?;
    let cannot = |error: &dyn fmt::Display| Error(format!("the log cannot begin: {error}"));
    let (sender, lines) = sync_channel(MAX_WAITING);
    std::thread::Builder::new()
        .name("log".into())
        .spawn(move || write_out(&lines, &TALLY, io::stderr(), warn_of))
        .map_err(|error| cannot(&error))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Queue { lines: sender.clone(), tally: &TALLY })
        // They would go to standard error at once, and panic where it is broken.
        .log_internal_errors(false)
        .with_timer(SystemTime)
        .with_ansi(io::stderr().is_terminal());
    match format {
        Format::Text => builder.try_init(),
        Format::Json => {
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
    }
    .map_err(|error| cannot(&error))
}

/// Waits until all lines are written, half a second at most: for the end of the program.
pub fn finish() {
    for _ in 0..LAST_LOOKS {
        if TALLY.waiting.load(Relaxed) == 0 {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// What a line of the log is written to.
struct Queue {
    lines: SyncSender<Vec<u8>>,
    tally: &'static Tally,
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.tally.waiting.fetch_add(1, Relaxed);
        if self.lines.try_send(line.to_vec()).is_err() {
            self.tally.waiting.fetch_sub(1, Relaxed);
            self.tally.left_out.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes lines as long as there can be any, and tells `warn` how many had no room meanwhile.
fn write_out(lines: &Receiver<Vec<u8>>, tally: &Tally, mut out: impl Write, warn: impl Fn(usize)) {
    for line in lines {
        // There is nobody to tell that it failed.
        let _ = out.write_all(&line);
        tally.waiting.fetch_sub(1, Relaxed);
        let left_out = tally.left_out.swap(0, Relaxed);
        if left_out > 0 {
            warn(left_out);
        }
    }
}

fn warn_of(left_out: usize) {
    tracing::warn!(
        target: "relais",
        lines = left_out,
        "lines of the log were left out: standard error was not read fast enough"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn what_has_no_room_is_left_out_and_told_of_once() {
        static TALLY: Tally = Tally { waiting: AtomicUsize::new(0), left_out: AtomicUsize::new(0) };
        let (sender, lines) = sync_channel(2);
        let mut queue = Queue { lines: sender, tally: &TALLY };
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            queue.write_all(line.as_bytes()).unwrap();
        }
        drop(queue);
        let (mut written, told) = (Vec::new(), RefCell::new(Vec::new()));
        write_out(&lines, &TALLY, &mut written, |count| told.borrow_mut().push(count));
        assert_eq!((written, told.into_inner()), (b"one\ntwo\n".to_vec(), vec![2]));
        assert_eq!(TALLY.waiting.load(Relaxed), 0);
    }
}
