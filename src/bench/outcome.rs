//! What a run has found, in the form in which it is printed as JSON.

use serde::Serialize;

/// The version of the JSON; it grows when a field changes its meaning or goes.
pub(super) const VERSION: u32 = 1;

/// What stands for the server where there is none.
pub(super) const DIRECT: &str = "direct";

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What is wrong.
    pub(super) message: String,
    /// What to do about it.
    pub(super) help: String,
    /// The command line cannot be run like this (exit code 2), instead of: it was run and failed (exit code 1).
    pub(super) is_usage: bool,
}

impl Failure {
    /// It was run and failed.
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into(), is_usage: false }
    }

    /// It cannot be run like this.
    pub(super) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into(), is_usage: true }
    }
}

/// A distribution of times, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

impl Latency {
    /// Of a histogram in nanoseconds.
    pub(super) fn of(nanoseconds: &hdrhistogram::Histogram<u64>) -> Self {
        let at = |quantile| microseconds(nanoseconds.value_at_quantile(quantile));
        let max = microseconds(nanoseconds.max());
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max }
    }
}

/// One bar of a distribution: how many were at most so long, and longer than the bar before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Bar {
    pub(super) up_to_us: f64,
    pub(super) count: u64,
}

/// The distribution as bars whose ends grow by a fifth to a quarter each, from 1 microsecond on.
pub(super) fn bars(nanoseconds: &hdrhistogram::Histogram<u64>) -> Vec<Bar> {
    let mut bars: Vec<Bar> = nanoseconds
        .iter_log(1_000, 1.25)
        .map(|step| Bar {
            up_to_us: microseconds(step.value_iterated_to()),
            count: step.count_since_last_iteration(),
        })
        .collect();
    let first = bars.iter().position(|bar| bar.count > 0).unwrap_or(bars.len());
    bars.drain(..first);
    bars
}

/// A histogram for times of up to 60 seconds in nanoseconds, exact to 1 %.
pub(super) fn histogram() -> hdrhistogram::Histogram<u64> {
    match hdrhistogram::Histogram::new_with_bounds(1, 60_000_000_000, 2) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("the bounds are constants that it takes"),
    }
}

/// What happened within one interval of the measured time, for live lines and charts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Sample {
    /// End of the interval, in seconds since the measured time began.
    pub(super) at: f64,
    /// Sent in it, per second.
    pub(super) sent_per_second: f64,
    /// Received in it, per second.
    pub(super) received_per_second: f64,
    /// Missing share of what was sent, as far as is known by now: 0 to 1.
    pub(super) loss: f64,
    /// The median of what arrived, in microseconds.
    pub(super) p50_us: f64,
    /// The 99th percentile, in microseconds.
    pub(super) p99_us: f64,
    /// Run time of the server's threads per packet delivered in it, in microseconds.
    pub(super) server_cpu_us: Option<f64>,
}

/// Takes the server's run time out of samples when there is none of the whole: processes that have not run in all that time
/// are not the server.
pub(super) fn without_idle(samples: &mut [Sample], of_all: Option<f64>) {
    if of_all.is_none() {
        samples.iter_mut().for_each(|sample| sample.server_cpu_us = None);
    }
}

/// Gives each interval the share that was lost of what was sent in it, now that all of it is known: `lost` in all. While a
/// run goes on, what is on its way looks like a loss, and arrives in the next interval.
pub(super) fn settle(samples: &mut [Sample], lost: u64) {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let mut known = lost as f64;
    let mut missing = Vec::with_capacity(samples.len());
    let (mut before, mut sum) = (0.0, 0.0);
    for sample in samples.iter() {
        sum += (sample.sent_per_second - sample.received_per_second) * (sample.at - before);
        before = sample.at;
        missing.push(sum);
    }
    // What is missing now and not later was on its way.
    for missing in missing.iter_mut().rev() {
        known = missing.clamp(0.0, known.max(0.0));
        *missing = known;
    }
    let (mut before, mut gone) = (0.0, 0.0);
    for (sample, missing) in samples.iter_mut().zip(missing) {
        let sent = sample.sent_per_second * (sample.at - before);
        // Half a packet is a matter of rounding.
        let share =
            if missing - gone < 0.5 || sent <= 0.0 { 0.0 } else { ((missing - gone) / sent).min(1.0) };
        sample.loss = share;
        (before, gone) = (sample.at, missing);
    }
}

/// One rate that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Rung {
    pub(super) offered_per_second: f64,
    pub(super) received_per_second: f64,
    pub(super) loss: f64,
    pub(super) p99_us: f64,
    pub(super) server_cpu_us: Option<f64>,
    /// The loss was within the bound, and the generator kept up.
    pub(super) is_good: bool,
    pub(super) generator_limited: bool,
}

/// What `throughput` has found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Throughput {
    pub(super) version: u32,
    pub(super) kind: &'static str,
    /// The URI, without anything secret; "direct" without a server.
    pub(super) server: String,
    pub(super) transport: String,
    pub(super) direction: &'static str,
    pub(super) form: &'static str,
    pub(super) peers: &'static str,
    pub(super) allocations: u32,
    pub(super) payload: usize,
    pub(super) burst: u32,
    /// Ways from one end to another, each in one direction; bursts go through them in turn.
    pub(super) flows: usize,
    /// The share that may be lost: 0 to 1.
    pub(super) max_loss: f64,
    /// Sent within the measured time.
    pub(super) sent: u64,
    /// Of these received, once and whole, at the right place.
    pub(super) received: u64,
    pub(super) lost: u64,
    /// Whole datagrams that differ from what was sent in at least one byte.
    pub(super) corrupt: u64,
    pub(super) duplicate: u64,
    /// Received behind one that was sent later in the same flow.
    pub(super) reordered: u64,
    /// Whole and unchanged, but at another flow's socket, channel or peer.
    pub(super) misdelivered: u64,
    /// Could not be sent because the connection to the server took no more (TCP and TLS); counted in `lost`.
    pub(super) blocked: u64,
    pub(super) seconds: f64,
    /// What arrived.
    pub(super) packets_per_second: f64,
    pub(super) sent_per_second: f64,
    /// What was asked for.
    pub(super) offered_per_second: f64,
    pub(super) payload_bits_per_second: f64,
    /// From just before the system call that sent a packet to just after the one that received it.
    pub(super) latency_us: Latency,
    /// How much later than planned packets were sent.
    pub(super) lateness_us: Latency,
    pub(super) server_cpu_us_per_packet: Option<f64>,
    /// The generator, and not the server, set the limit: the figures say nothing about the server.
    pub(super) generator_limited: bool,
    /// Why, in words.
    pub(super) generator_limits: Vec<String>,
    /// Share of one core that the load thread used: 0 to 1.
    pub(super) generator_cpu: f64,
    /// How long the allocations took to make, in seconds.
    pub(super) setup_seconds: f64,
    pub(super) latency_bars: Vec<Bar>,
    pub(super) samples: Vec<Sample>,
    /// With `--rate search`: all rates that were tried, in their order.
    pub(super) rungs: Vec<Rung>,
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53 nanoseconds")]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(rates: &[(f64, f64)], lost: u64) -> Vec<f64> {
        let mut samples: Vec<Sample> = (1..)
            .zip(rates)
            .map(|(at, (sent, received))| Sample {
                at: f64::from(at),
                sent_per_second: *sent,
                received_per_second: *received,
                loss: 0.5,
                ..Sample::default()
            })
            .collect();
        settle(&mut samples, lost);
        samples.iter().map(|sample| sample.loss).collect()
    }

    #[test]
    fn what_was_on_its_way_is_no_loss() {
        assert_eq!(settled(&[(100.0, 90.0), (100.0, 105.0), (100.0, 105.0)], 0), [0.0, 0.0, 0.0]);
        // The last ten arrived after the end.
        assert_eq!(settled(&[(100.0, 100.0), (100.0, 90.0)], 0), [0.0, 0.0]);
    }

    #[test]
    fn what_never_arrived_is_lost_when_it_was_sent() {
        assert_eq!(settled(&[(100.0, 100.0), (100.0, 60.0), (100.0, 120.0)], 20), [0.0, 0.2, 0.0]);
        assert_eq!(settled(&[(100.0, 0.0), (100.0, 0.0)], 200), [1.0, 1.0]);
        assert_eq!(settled(&[], 5), [0.0; 0]);
    }
}
