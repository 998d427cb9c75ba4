//! Run time of threads, as the kernel counts it.

use std::path::Path;

use super::outcome::Failure;
use crate::sys;

/// Run time of all threads of these processes together, in nanoseconds. A thread that ends takes its time with it, so the
/// difference of two readings may come out too small, even below zero, but not too large.
///
/// # Errors
/// One of them is not there.
pub(super) fn run_time(pids: &[u32]) -> Result<Option<u64>, Failure> {
    if pids.is_empty() {
        return Ok(None);
    }
    let mut sum = 0;
    for pid in pids {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| {
            Failure::new(
                format!("the run time of process {pid} cannot be read: {error}"),
                "give the PID of a process of this machine with --server-pid, or leave it out",
            )
        })?;
        for thread in threads.flatten() {
            // A thread may end between the listing and this.
            sum += schedstat(&thread.path()).unwrap_or(0);
        }
    }
    Ok(Some(sum))
}

/// What has come between two readings of [`run_time`]; `None` without any, for processes that have not run at all are not
/// those that did the work.
pub(super) fn spent(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    after.zip(before).map(|(after, before)| after.saturating_sub(before)).filter(|spent| *spent > 0)
}

/// Looks whether all of these processes are there, before anything is done for a figure that cannot be had.
///
/// # Errors
/// One of them is not.
pub(super) fn check(pids: &[u32]) -> Result<(), Failure> {
    if !pids.is_empty() && !sys::hints::TELLS_OF_PROCESSES {
        return Err(Failure::usage(
            "this system does not tell the run time of other processes' threads",
            "leave out --server-pid",
        ));
    }
    run_time(pids).map(drop).map_err(|failure| Failure { is_usage: true, ..failure })
}

/// Run time of the calling thread in nanoseconds, the kernel's work for it included.
pub(super) fn own_run_time() -> u64 {
    let told = schedstat(Path::new("/proc/thread-self"));
    told.unwrap_or_else(|| u64::try_from(sys::own_run_time().as_nanos()).unwrap_or(u64::MAX))
}

/// Whether the calling thread runs in real time, so that usual threads on its core wait until it sleeps.
pub(super) fn is_real_time() -> bool {
    const FIFO_OR_ROUND_ROBIN: [&str; 2] = ["1", "2"];
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    // The 41st field is the policy, the second the name in parentheses, with whatever is in it (proc_pid_stat(5)).
    let policy = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(38));
    policy.is_some_and(|policy| FIFO_OR_ROUND_ROBIN.contains(&policy))
}

/// The first number in `schedstat`: nanoseconds on a processor.
fn schedstat(thread: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(thread.join("schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_time_grows_with_work_and_needs_a_process() {
        let own = [std::process::id()];
        // Another process: threads of this one end with other tests, and take their run time along.
        let mut busy = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let before = (own_run_time(), run_time(&[busy.id()]).unwrap().unwrap());
        let mut sum = 0_u64;
        while own_run_time() == before.0 || run_time(&[busy.id()]).unwrap().unwrap() == before.1 {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
        std::hint::black_box(sum);
        assert!(run_time(&[busy.id()]).unwrap().unwrap() > before.1);
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert_eq!(run_time(&[]), Ok(None));
        assert!(run_time(&[u32::MAX]).unwrap_err().message.contains("4294967295"));
        assert!(check(&own).is_ok() && check(&[own[0], u32::MAX]).unwrap_err().is_usage);
    }
}
