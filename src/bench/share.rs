//! How the load thread shares its core with others.

use std::time::Duration;

use super::clock::Clock;
use super::cpu::is_real_time;

/// What is due sooner than this, in nanoseconds, is waited for without sleeping: to wake up takes about as long. Longer waits
/// are slept through, however many there are, so that the load leaves the processor to whatever shares it.
const SHORT: u64 = 10_000;

/// In real time, where nobody else gets the core, the same: a core that sleeps has to be woken up by the server for what it
/// sends, which would be counted as its cost.
const SHORT_IN_REAL_TIME: u64 = 1_000_000;

/// In real time, the pauses that leave usual threads the twentieth of the core that the kernel would take for them anyway,
/// but in one piece of 50 ms each second, during which nobody sends or receives.
const PAUSE: Duration = Duration::from_micros(60);

/// The time between two pauses, in nanoseconds.
const BETWEEN_PAUSES: u64 = 700_000;

/// The calling thread as one of several on its core.
pub(super) struct Share {
    is_real_time: bool,
    paused: u64,
}

impl Share {
    pub(super) fn new(clock: Clock) -> Self {
        Self { is_real_time: is_real_time(), paused: clock.now() }
    }

    /// How much of a wait is to be slept, all in nanoseconds.
    pub(super) const fn sleep(&self, wait: u64) -> u64 {
        let short = if self.is_real_time { SHORT_IN_REAL_TIME } else { SHORT };
        if wait < short { 0 } else { wait }
    }

    /// To be called after a round without sleep.
    pub(super) fn give_way(&mut self, clock: Clock) {
        if self.is_real_time {
            // The kernel's receive threads may have the same priority on the same core, and would never run.
            std::thread::yield_now();
            if clock.now() - self.paused > BETWEEN_PAUSES {
                std::thread::sleep(PAUSE);
                self.paused = clock.now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waits_that_are_worth_it_are_slept() {
        let usual = Share { is_real_time: false, paused: 0 };
        assert_eq!((usual.sleep(9_999), usual.sleep(10_000)), (0, 10_000));
        let real_time = Share { is_real_time: true, paused: 0 };
        assert_eq!((real_time.sleep(999_999), real_time.sleep(1_000_000)), (0, 1_000_000));
    }
}
