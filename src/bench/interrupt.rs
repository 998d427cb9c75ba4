//! The wish that a run ends: Ctrl-C, and what a service manager, `timeout` or a terminal that closes sends. Loads end in order
//! then, and give back what they have made.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::signal::unix::{SignalKind, signal};

/// There is one terminal and one user, and each process runs one load.
static IS_ASKED: AtomicBool = AtomicBool::new(false);

/// Waits for SIGINT, SIGTERM or SIGHUP. From the first call on they end nothing by themselves any more.
pub(super) async fn asked() {
    let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
    // `nohup` has it ignored, and that stays.
    if !ignored(SignalKind::hangup()) {
        kinds.push(SignalKind::hangup());
    }
    // What cannot be waited for is not waited for.
    let signals = kinds.into_iter().filter_map(|kind| signal(kind).ok());
    let any = signals.map(|mut signal| async move { signal.recv().await });
    match any.collect::<FuturesUnordered<_>>().next().await {
        Some(Some(())) => {}
        _ => std::future::pending().await,
    }
}

/// Waits for that on a thread of its own from now on, for loads that run in a loop of their own.
pub(super) fn listen() {
    let wait = || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(asked());
        IS_ASKED.store(true, Ordering::Relaxed);
    };
    // Without the thread they end the process at once, as ever.
    let _ = std::thread::Builder::new().name("interrupt".to_owned()).spawn(wait);
}

/// Whether the run is to end, after [`listen`].
pub(super) fn is_asked() -> bool {
    IS_ASKED.load(Ordering::Relaxed)
}

/// Whether this process ignores a signal (SigIgn in proc_pid_status(5): bit 0 is signal 1).
fn ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}
