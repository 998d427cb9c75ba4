//! Which CPUs the threads of the process run on.

use std::io;
use std::mem;

/// The CPUs that this thread may run on, and so may those that it starts, in ascending order.
pub(crate) fn usable_cpus() -> io::Result<Vec<usize>> {
    // SAFETY: a plain C structure for which zeroes are a valid value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the set is as long as said and lives through the call; 0 is the calling thread.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: looks at a bit of the set, inside of which all of these are.
    Ok((0..8 * size_of::<libc::cpu_set_t>()).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect())
}

/// Lets this thread run on one CPU only.
pub(crate) fn pin_thread(cpu: usize) -> io::Result<()> {
    // SAFETY: a plain C structure for which zeroes are a valid value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    if cpu >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: sets a bit inside the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is as long as said and lives through the call; 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_and_others_are_not() {
        let before = usable_cpus().unwrap();
        for cpu in before.clone() {
            let pinned = std::thread::spawn(move || {
                pin_thread(cpu).unwrap();
                usable_cpus().unwrap()
            });
            assert_eq!(pinned.join().unwrap(), [cpu]);
        }
        assert_eq!(usable_cpus().unwrap(), before);
        assert!(pin_thread(usize::MAX).is_err());
    }
}
