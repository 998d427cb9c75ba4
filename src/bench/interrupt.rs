//! Ctrl-C, for loads that run in a loop of their own: they end in order and give back what they have made.

use std::sync::atomic::{AtomicBool, Ordering};

/// There is one terminal and one user, and each process runs one load.
static IS_ASKED: AtomicBool = AtomicBool::new(false);

/// Waits for Ctrl-C on a thread of its own from now on. Without that thread Ctrl-C ends the process at once, as ever.
pub(super) fn listen() {
    let wait = || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            IS_ASKED.store(true, Ordering::Relaxed);
        }
    };
    // What cannot be waited for is not waited for.
    let _ = std::thread::Builder::new().name("ctrl-c".to_owned()).spawn(wait);
}

/// Whether the run is to end.
pub(super) fn is_asked() -> bool {
    IS_ASKED.load(Ordering::Relaxed)
}
