//! Systems other than Linux: macOS and the BSDs. Datagrams are received and sent one by one, sets of sockets are kqueues,
//! timers are the runtime's, and nothing is heard of ICMP.

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
