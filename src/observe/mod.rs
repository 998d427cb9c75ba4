//! What the running server tells about itself.

mod causes;
mod grants;
pub mod log;
mod metrics;
mod refusals;

use crate::turn::Counters;
use futures_util::future::BoxFuture;

pub use causes::Why;
pub use grants::GrantRefusals;
pub use metrics::{Offload, Process, render};
pub use refusals::{Ended, Refusal, Ring, bare, prefix};

/// Where the counters come from. The workers own them; this asks every worker for a copy.
pub trait StatsSource: Send + Sync + 'static {
    /// One set of counters for each worker, in a fixed order. `None` when a worker did not answer within a
    /// second: half of the truth would look like a drop in traffic.
    fn snapshot(&self) -> BoxFuture<'static, Option<Vec<Counters>>>;

    /// What the kernel does for the relay beyond single datagrams. A source that has no sockets has none of it.
    fn offload(&self) -> Offload {
        Offload::default()
    }

    /// Requests of the `iceServers` API that were refused. Whoever serves it counts here.
    fn grants_refused(&self) -> &GrantRefusals;

    /// When the first of the server's certificates ends, in seconds of Unix time. `None`: it has none.
    fn certificate_expiry(&self) -> Option<u64> {
        None
    }
}
