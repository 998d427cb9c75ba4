//! What is counted while a load runs, for each interval and for all of the measured time.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::super::clock::{nanoseconds, seconds};
use super::super::cpu;
use super::super::outcome::{Failure, Latency, Sample, histogram};

/// How long an interval is.
pub(super) const INTERVAL: Duration = Duration::from_millis(200);

/// The most samples that are kept: an hour and a half at the interval above. After that only the sums go on.
const MOST_SAMPLES: usize = 30_000;

/// Counts since some time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Requests or cycles that have begun.
    pub(super) begun: u64,
    /// Those that are done.
    pub(super) done: u64,
    /// Those that were given up.
    pub(super) lost: u64,
}

/// Counts, and what has become of them.
pub(super) struct Meter {
    pub(super) all: Counts,
    pub(super) latency: Histogram<u64>,
    pub(super) samples: Vec<Sample>,
    /// Nanoseconds that the calling thread has waited without sleep.
    pub(super) idle: u64,
    /// Requests go out whether or not answers come, and what is not answered counts as lost.
    is_open: bool,
    recent: Counts,
    recent_latency: Histogram<u64>,
    /// When the measured time and the interval began, in nanoseconds.
    start: u64,
    since: u64,
    /// Run time of the server at these times.
    cpu_at_start: Option<u64>,
    cpu_since: Option<u64>,
    own_at_start: u64,
}

impl Meter {
    /// Begins at `now`, in nanoseconds.
    ///
    /// # Errors
    /// The server's processes are not there.
    pub(super) fn start(now: u64, pids: &[u32]) -> Result<Self, Failure> {
        let cpu = cpu::run_time(pids)?;
        Ok(Self {
            all: Counts::default(),
            latency: histogram(),
            samples: Vec::new(),
            idle: 0,
            is_open: false,
            recent: Counts::default(),
            recent_latency: histogram(),
            start: now,
            since: now,
            cpu_at_start: cpu,
            cpu_since: cpu,
            own_at_start: cpu::own_run_time(),
        })
    }

    /// The same for an open loop.
    ///
    /// # Errors
    /// The server's processes are not there.
    pub(super) fn start_open(now: u64, pids: &[u32]) -> Result<Self, Failure> {
        Ok(Self { is_open: true, ..Self::start(now, pids)? })
    }

    /// One has begun.
    pub(super) fn begin(&mut self) {
        self.all.begun += 1;
        self.recent.begun += 1;
    }

    /// One is done and took so long, in nanoseconds.
    pub(super) fn done(&mut self, took: u64) {
        self.all.done += 1;
        self.recent.done += 1;
        self.latency.saturating_record(took);
        self.recent_latency.saturating_record(took);
    }

    /// One is given up.
    pub(super) fn lose(&mut self) {
        self.all.lost += 1;
        self.recent.lost += 1;
    }

    /// Ends an interval at `now`, and tells what it has brought.
    ///
    /// # Errors
    /// The server's processes are gone.
    pub(super) fn sample(&mut self, now: u64, pids: &[u32]) -> Result<Sample, Failure> {
        let cpu = cpu::run_time(pids)?;
        let span = seconds(now.saturating_sub(self.since).max(1));
        let used = cpu.zip(self.cpu_since).map(|(now, then)| now.saturating_sub(then));
        let latency = Latency::of(&self.recent_latency);
        let sample = Sample {
            at: seconds(now.saturating_sub(self.start)),
            sent_per_second: float(self.recent.begun) / span,
            received_per_second: float(self.recent.done) / span,
            loss: if self.is_open {
                ratio(self.recent.begun.saturating_sub(self.recent.done), self.recent.begun)
            } else {
                ratio(self.recent.lost, self.recent.done + self.recent.lost)
            },
            p50_us: latency.p50,
            p99_us: latency.p99,
            server_cpu_us: used.and_then(|used| each(used, self.recent.done)),
        };
        if self.samples.len() < MOST_SAMPLES {
            self.samples.push(sample);
        }
        self.recent = Counts::default();
        self.recent_latency.reset();
        (self.since, self.cpu_since) = (now, cpu);
        Ok(sample)
    }

    /// The server's run time for each that is done, in microseconds; `None` when it has not run.
    ///
    /// # Errors
    /// The server's processes are gone.
    pub(super) fn cpu_each(&self, pids: &[u32]) -> Result<Option<f64>, Failure> {
        let used = cpu::spent(self.cpu_at_start, cpu::run_time(pids)?);
        Ok(used.and_then(|used| each(used, self.all.done)))
    }

    /// Share of one core that the calling thread has worked since the start.
    pub(super) fn own_share(&self, now: u64) -> f64 {
        let used = cpu::own_run_time().saturating_sub(self.own_at_start).saturating_sub(self.idle);
        (seconds(used) / seconds(now.saturating_sub(self.start).max(1))).min(1.0)
    }

    /// Seconds since the start.
    pub(super) fn elapsed(&self, now: u64) -> f64 {
        seconds(now.saturating_sub(self.start))
    }

    /// When the next interval ends.
    pub(super) fn next(&self) -> u64 {
        self.since + nanoseconds(INTERVAL)
    }
}

/// Nanoseconds among so many, in microseconds.
fn each(nanoseconds: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| float(nanoseconds) / 1_000.0 / float(count))
}

/// A share between 0 and 1.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub(super) const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_tells_of_itself_and_the_sums_of_all() {
        let mut meter = Meter::start(0, &[]).unwrap();
        for _ in 0..9 {
            meter.begin();
            meter.done(50_000);
        }
        meter.begin();
        meter.lose();
        let sample = meter.sample(500_000_000, &[]).unwrap();
        assert_eq!((sample.at, sample.sent_per_second, sample.received_per_second), (0.5, 20.0, 18.0));
        assert!((sample.loss - 0.1).abs() < 1e-9 && (sample.p50_us - 50.0).abs() < 1.0);
        assert_eq!(sample.server_cpu_us, None);
        let empty = meter.sample(1_000_000_000, &[]).unwrap();
        assert_eq!((empty.sent_per_second, empty.loss, empty.p99_us), (0.0, 0.0, 0.0));
        assert_eq!((meter.all.begun, meter.all.done, meter.all.lost), (10, 9, 1));
        assert_eq!((meter.samples.len(), meter.latency.len()), (2, 9));
    }
}
