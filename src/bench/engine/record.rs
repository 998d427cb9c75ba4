//! What is written down while a rate is measured.

use hdrhistogram::Histogram;

use super::ratio;
use crate::bench::clock::seconds;
use crate::bench::lane::Lanes;
use crate::bench::outcome::{Latency, Sample, histogram};

/// What is written down while a rate is measured.
pub(super) struct Record {
    pub(super) begin: u64,
    pub(super) latency: Histogram<u64>,
    pub(super) lateness: Histogram<u64>,
    pub(super) samples: Vec<Sample>,
    /// Time that passed in waiting without sleep.
    pub(super) idle: u64,
    /// At the last sample: time, sent, received, run time of the server.
    last: (u64, u64, u64, Option<u64>),
}

impl Record {
    pub(super) fn new(begin: u64, server: Option<u64>) -> Self {
        Self {
            begin,
            latency: histogram(),
            lateness: histogram(),
            samples: Vec::new(),
            idle: 0,
            last: (begin, 0, 0, server),
        }
    }

    pub(super) fn sample(
        &mut self,
        lanes: &mut Lanes,
        now: u64,
        server: Option<u64>,
        blocked: u64,
    ) -> Sample {
        let (then, sent_before, received_before, server_before) = self.last;
        let (sent, received) = (lanes.sent() + blocked, lanes.counts.received);
        let (more_sent, more_received) = (sent - sent_before, received - received_before);
        let latency = Latency::of(&lanes.interval);
        let run = server.zip(server_before).map(|(after, before)| after.saturating_sub(before));
        let sample = Sample {
            at: seconds(now - self.begin),
            sent_per_second: ratio(more_sent, now - then) * 1e9,
            received_per_second: ratio(more_received, now - then) * 1e9,
            loss: ratio(more_sent.saturating_sub(more_received), more_sent),
            p50_us: latency.p50,
            p99_us: latency.p99,
            server_cpu_us: run.filter(|_| more_received > 0).map(|run| ratio(run, more_received) / 1_000.0),
        };
        self.latency.add(&lanes.interval).unwrap_or_default();
        lanes.interval.reset();
        self.samples.push(sample);
        self.last = (now, sent, received, server);
        sample
    }
}
