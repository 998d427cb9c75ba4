//! What a run tells while it goes on.

use super::outcome::Sample;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Allocations are being made; counted in allocations.
    SetUp,
    /// The load runs and is not measured yet; counted in milliseconds.
    WarmUp,
    /// The load runs and is measured; counted in milliseconds, or in whatever the kind of run counts.
    Measure,
    /// Allocations are being given back; counted in allocations.
    TearDown,
}

/// Hears how a run goes on. Calls come a few times a second at most, from the thread that has called the run.
pub(super) trait Progress {
    /// A phase begins; it will be done at `total`.
    fn begin(&mut self, phase: Phase, total: u64);
    /// So much of it is done.
    fn advance(&mut self, done: u64);
    /// What the last interval has brought.
    fn live(&mut self, sample: &Sample);
    /// A rate of a search is going to be tried: the rate and how many were tried before.
    fn attempt(&mut self, offered_per_second: f64, tried: usize);
}
