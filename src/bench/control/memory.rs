//! Resident memory of processes.

use super::super::outcome::Failure;

/// Of all these processes together, in bytes; `None` without any.
///
/// # Errors
/// One of them is not there, or is a kernel thread.
pub(super) fn resident(pids: &[u32]) -> Result<Option<u64>, Failure> {
    if pids.is_empty() {
        return Ok(None);
    }
    let mut sum = 0;
    for pid in pids {
        let status =
            std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| cannot(*pid, &error))?;
        sum += kibibytes(&status).ok_or_else(|| cannot(*pid, &"it has no memory of its own"))? * 1_024;
    }
    Ok(Some(sum))
}

fn cannot(pid: u32, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        format!("the memory of process {pid} cannot be read: {why}"),
        "give the PID of the server's process on this machine with --server-pid, or leave it out",
    )
}

fn kibibytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_that_of_the_process() {
        assert_eq!(kibibytes("Name:\tx\nVmRSS:\t    8840 kB\nThreads:\t1\n"), Some(8_840));
        assert_eq!(kibibytes("Name:\tkthreadd\n"), None);
        assert!(resident(&[std::process::id()]).unwrap() > Some(100_000));
        assert_eq!(resident(&[]), Ok(None));
        assert!(resident(&[u32::MAX]).unwrap_err().message.contains("4294967295"));
    }
}
