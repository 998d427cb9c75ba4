//! What Linux alone has.

pub(super) mod affinity;
pub(super) mod batches;
pub(crate) mod clock;
pub(super) mod control;
pub(super) mod devices;
pub(super) mod errors;
pub(crate) mod hints;
pub(super) mod netns;
pub(super) mod options;
pub(super) mod set;
pub(crate) mod text;
pub(super) mod timer;
