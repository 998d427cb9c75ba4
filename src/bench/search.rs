//! The search for the highest rate.

use std::time::Duration;

use super::engine::{Engine, Trial};
use super::outcome::{Failure, Latency, Rung};
use super::progress::Progress;

/// The first rate, in packets per second.
const FIRST: f64 = 10_000.0;

/// A rate that no generator makes.
const LAST: f64 = 20_000_000.0;

/// The search ends when the highest good and the lowest bad rate are so close.
const CLOSE: f64 = 1.04;

/// Finds the highest rate at which no more than `max_loss` is lost: doubles it until that fails, then halves the distance.
/// A rate that fails is tried once more, since a hiccup of the machine looks the same.
pub(super) fn search(
    engine: &mut Engine,
    max_loss: f64,
    warmup: Duration,
    duration: Duration,
    progress: &mut dyn Progress,
) -> Result<(Trial, Vec<Rung>), Failure> {
    let mut rungs = Vec::new();
    let mut best: Option<Trial> = None;
    let mut low = 0.0;
    let mut high: Option<(f64, Trial)> = None;
    let mut rate = FIRST;
    loop {
        let mut failed = None;
        let mut good = None;
        for _ in 0..2 {
            progress.attempt(rate, rungs.len());
            let trial = engine.trial(rate, warmup, duration, progress)?;
            let is_good = trial.loss() <= max_loss && trial.limits.is_empty();
            rungs.push(rung(&trial, is_good));
            if is_good {
                good = Some(trial);
                break;
            }
            failed = Some(trial);
        }
        match (good, failed) {
            (Some(trial), _) => {
                low = rate;
                best = Some(trial);
            }
            (None, Some(trial)) => high = Some((rate, trial)),
            (None, None) => {}
        }
        match &high {
            None if rate >= LAST => break,
            None => rate *= 2.0,
            // Not even the first rate worked: look below it, but not for ever.
            Some((bad, _)) if low == 0.0 && *bad > 100.0 => rate = bad / 4.0,
            Some((bad, _)) if low == 0.0 || bad / low < CLOSE => break,
            Some((bad, _)) => rate = (low + bad) / 2.0,
        }
    }
    match (best, high) {
        (Some(mut best), high) => {
            // What ended the search was the generator: the server can do at least this, and nobody knows what else.
            if let Some((rate, trial)) = high
                && let Some(limit) = trial.limits.first()
            {
                best.limits.push(format!("at {rate:.0} packets per second {limit}"));
            }
            Ok((best, rungs))
        }
        (None, Some((rate, trial))) => Err(Failure::new(
            match trial.limits.first() {
                Some(limit) => format!("no rate can be made: even at {rate:.0} packets per second {limit}"),
                None => format!("even at {rate:.0} packets per second {:.2}% are lost", 100.0 * trial.loss()),
            },
            "look whether packets arrive at all: run with --rate 100, or relais probe",
        )),
        (None, None) => unreachable!("at least one rate was tried"),
    }
}

fn rung(trial: &Trial, is_good: bool) -> Rung {
    Rung {
        offered_per_second: trial.offered,
        received_per_second: super::throughput::rate_of(trial.counts.received, trial.seconds),
        loss: trial.loss(),
        p99_us: Latency::of(&trial.latency).p99,
        server_cpu_us: trial.server_us_per_packet(),
        is_good,
        generator_limited: !trial.limits.is_empty(),
    }
}
