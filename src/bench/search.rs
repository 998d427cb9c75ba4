//! The search for the highest rate.

use super::outcome::{Failure, Rung};

/// The first rate, in packets or requests per second.
const FIRST: f64 = 10_000.0;

/// A rate that no generator makes.
const LAST: f64 = 20_000_000.0;

/// The search ends when the highest good and the lowest bad rate are so close.
const CLOSE: f64 = 1.04;

/// What became of one rate.
pub(super) trait Tried {
    /// The share that was lost: 0 to 1.
    fn loss(&self) -> f64;
    /// Why the generator, and not the server, set the limit; empty when it did not.
    fn limits(&mut self) -> &mut Vec<String>;
    /// What to remember of it.
    fn rung(&self, is_good: bool) -> Rung;
}

/// Finds the highest rate at which no more than `max_loss` is lost: doubles it until that fails, then halves the distance.
/// A rate that fails is tried once more, since a hiccup of the machine looks the same. `attempt` tries a rate; it is told how
/// many were tried before.
pub(super) fn search<T: Tried>(
    max_loss: f64,
    mut attempt: impl FnMut(f64, usize) -> Result<T, Failure>,
) -> Result<(T, Vec<Rung>), Failure> {
    let mut rungs = Vec::new();
    let mut best: Option<T> = None;
    let mut low = 0.0;
    let mut high: Option<(f64, T)> = None;
    let mut rate = FIRST;
    loop {
        let mut failed = None;
        let mut good = None;
        for _ in 0..2 {
            let mut trial = attempt(rate, rungs.len())?;
            let is_good = trial.loss() <= max_loss && trial.limits().is_empty();
            rungs.push(trial.rung(is_good));
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
            if let Some((rate, mut trial)) = high
                && let Some(limit) = trial.limits().first()
            {
                best.limits().push(format!("at {rate:.0} per second {limit}"));
            }
            Ok((best, rungs))
        }
        (None, Some((rate, mut trial))) => Err(Failure::new(
            match trial.limits().first() {
                Some(limit) => format!("no rate can be made: even at {rate:.0} per second {limit}"),
                None => format!("even at {rate:.0} per second {:.2}% are lost", 100.0 * trial.loss()),
            },
            "look whether packets arrive at all: run with --rate 100, or relais probe",
        )),
        (None, None) => unreachable!("at least one rate was tried"),
    }
}
