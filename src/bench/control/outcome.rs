//! What `stun`, `churn` and `hold` have found, in the form in which it is printed as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bench::outcome::{Bar, Latency, Rung, Sample};

/// What `stun` has found.
#[derive(Clone, Debug, Serialize)]
pub(in crate::bench) struct Stun {
    pub(in crate::bench) version: u32,
    pub(in crate::bench) kind: &'static str,
    /// The URI, without anything secret.
    pub(in crate::bench) server: String,
    pub(in crate::bench) transport: String,
    /// Sockets.
    pub(in crate::bench) clients: u32,
    /// Requests sent within the measured time.
    pub(in crate::bench) sent: u64,
    pub(in crate::bench) sent_per_second: f64,
    /// Of these answered, once and rightly.
    pub(in crate::bench) received: u64,
    pub(in crate::bench) lost: u64,
    /// The share that may be lost: 0 to 1.
    pub(in crate::bench) max_loss: f64,
    pub(in crate::bench) duplicate: u64,
    /// Answers to one of these requests that are errors, or tell another address than the answers before.
    pub(in crate::bench) wrong: u64,
    /// Datagrams that answer no request of this run.
    pub(in crate::bench) foreign: u64,
    /// The server sees other addresses than those of the sockets: there is a NAT in between.
    pub(in crate::bench) is_translated: bool,
    pub(in crate::bench) seconds: f64,
    pub(in crate::bench) requests_per_second: f64,
    pub(in crate::bench) offered_per_second: f64,
    /// From just before a request is sent to just after its answer is read.
    pub(in crate::bench) latency_us: Latency,
    /// How much later than planned requests were sent.
    pub(in crate::bench) lateness_us: Latency,
    pub(in crate::bench) server_cpu_us_per_request: Option<f64>,
    /// The generator, and not the server, set the limit: the figures say nothing about the server.
    pub(in crate::bench) generator_limited: bool,
    /// Why, in words.
    pub(in crate::bench) generator_limits: Vec<String>,
    /// Share of one core that the load thread used: 0 to 1.
    pub(in crate::bench) generator_cpu: f64,
    pub(in crate::bench) latency_bars: Vec<Bar>,
    pub(in crate::bench) samples: Vec<Sample>,
    /// With `--rate search`: all rates that were tried, in their order.
    pub(in crate::bench) rungs: Vec<Rung>,
}

/// With fewer requests or cycles than this, the moment at which the last one comes decides what their rate is.
pub(in crate::bench) const FEWEST: u64 = 4;

/// The share of cycles of `churn` that may fail: 0 to 1.
pub(in crate::bench) const MAY_FAIL: f64 = 0.005;

/// A time in which clients wait and none is answered, after which the server is said to have stood still, in seconds.
pub(in crate::bench) const STANDSTILL: f64 = 1.0;

/// The round trips of a cycle.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::bench) struct Steps {
    pub(in crate::bench) allocate: Latency,
    pub(in crate::bench) permission: Latency,
    pub(in crate::bench) channel: Latency,
    pub(in crate::bench) delete: Latency,
}

/// What `churn` has found.
#[derive(Clone, Debug, Serialize)]
pub(in crate::bench) struct Churn {
    pub(in crate::bench) version: u32,
    pub(in crate::bench) kind: &'static str,
    /// The URI, without anything secret.
    pub(in crate::bench) server: String,
    pub(in crate::bench) transport: String,
    /// Clients that go through cycles side by side.
    pub(in crate::bench) parallel: u32,
    /// The address that permissions and channels are for; none: each client's own relayed address.
    pub(in crate::bench) peer: Option<String>,
    /// Cycles done within the measured time.
    pub(in crate::bench) cycles: u64,
    /// Cycles given up because the server refused a request or did not answer it.
    pub(in crate::bench) failed: u64,
    /// Their share of all that ended: 0 to 1.
    pub(in crate::bench) failed_share: f64,
    /// The same by error code, or by `silence`, `unsigned` (answers that somebody else has signed) or `unusable`.
    pub(in crate::bench) failed_by_code: BTreeMap<String, u64>,
    /// What the codes mean, and what to do about them; in the order of the codes.
    pub(in crate::bench) failed_in_words: Vec<String>,
    /// Of `failed`: cycles that were under way at the end, with a request unanswered for more than a second.
    pub(in crate::bench) unfinished: u64,
    /// The longest time in which requests were under way and none was answered.
    pub(in crate::bench) standstill_seconds: f64,
    /// Requests that were sent again because no answer came within the time of RFC 8489 §6.2.1.
    pub(in crate::bench) retransmissions: u64,
    pub(in crate::bench) seconds: f64,
    pub(in crate::bench) cycles_per_second: f64,
    /// None: as many as the clients can.
    pub(in crate::bench) offered_per_second: Option<f64>,
    /// Of whole cycles.
    pub(in crate::bench) latency_us: Latency,
    pub(in crate::bench) steps_us: Steps,
    pub(in crate::bench) server_cpu_us_per_cycle: Option<f64>,
    /// The generator, and not the server, set the limit: the rate says nothing about the server.
    pub(in crate::bench) generator_limited: bool,
    /// Why, in words.
    pub(in crate::bench) generator_limits: Vec<String>,
    /// Share of one core that the load thread used: 0 to 1.
    pub(in crate::bench) generator_cpu: f64,
    pub(in crate::bench) latency_bars: Vec<Bar>,
    /// In cycles: begun as sent, done as received, given up as lost.
    pub(in crate::bench) samples: Vec<Sample>,
}

/// What the server was like at one time of `hold`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(in crate::bench) struct Moment {
    /// Seconds since the first Allocate.
    pub(in crate::bench) at: f64,
    /// Allocations that there were.
    pub(in crate::bench) held: u32,
    /// Resident memory of the server in bytes.
    pub(in crate::bench) server_rss: Option<u64>,
}

/// What `hold` has found.
#[derive(Clone, Debug, Serialize)]
pub(in crate::bench) struct Hold {
    pub(in crate::bench) version: u32,
    pub(in crate::bench) kind: &'static str,
    /// The URI, without anything secret.
    pub(in crate::bench) server: String,
    pub(in crate::bench) transport: String,
    pub(in crate::bench) allocations: u32,
    /// Allocations that could not be refreshed before the end or at the end.
    pub(in crate::bench) lost: u32,
    /// Of these: those whose last Refresh got no answer at all.
    pub(in crate::bench) unanswered: u32,
    pub(in crate::bench) refreshes: u64,
    /// How long all were held.
    pub(in crate::bench) seconds: f64,
    /// How long it took to make them.
    pub(in crate::bench) setup_seconds: f64,
    pub(in crate::bench) allocate_us: Latency,
    pub(in crate::bench) refresh_us: Latency,
    /// Resident memory of the server in bytes before the first Allocate.
    pub(in crate::bench) server_rss_before: Option<u64>,
    /// The same at the end of the time.
    pub(in crate::bench) server_rss_after: Option<u64>,
    /// None when it has not grown, because memory from before was used again.
    pub(in crate::bench) server_rss_per_allocation: Option<f64>,
    /// Share of one core that the server used while it held them: 0 to 1.
    pub(in crate::bench) server_cpu: Option<f64>,
    pub(in crate::bench) moments: Vec<Moment>,
}
