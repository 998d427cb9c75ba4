//! Where the data connections of a metered allocation pay for what they read (RFC 6062): any worker may carry them.

#[expect(
    clippy::disallowed_types,
    reason = "the connections of one allocation may be with several workers"
)]
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::budgets::Budgets;
use crate::time::Now;
use crate::turn::{Leave, StreamMeter, Turn};

/// The meter of one allocation. The lock is held for some arithmetic, and now and then for a look at the budgets.
pub(super) struct Till {
    #[expect(clippy::disallowed_types, reason = "see the head of this file")]
    meter: Mutex<StreamMeter>,
}

impl Till {
    pub(super) fn new(meter: StreamMeter) -> Self {
        #[expect(clippy::disallowed_types, reason = "see the head of this file")]
        Self { meter: Mutex::new(meter) }
    }

    fn meter(&self) -> MutexGuard<'_, StreamMeter> {
        // A worker that panicked holding the lock has left numbers.
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`StreamMeter::ask`].
    pub(super) fn ask(&self, now: &Now, turn: &mut Turn, most: usize, budgets: &Budgets) -> Leave {
        self.meter().ask(now, turn, most, |budget, bytes| budgets.draw(&budget, bytes))
    }

    /// See [`StreamMeter::settle`].
    pub(super) fn settle(&self, now: &Now, turn: &mut Turn, leave: usize, read: usize) {
        self.meter().settle(now, turn, leave, read);
    }

    /// See [`StreamMeter::close`].
    pub(super) fn close(&self) -> u64 {
        self.meter().close()
    }
}
