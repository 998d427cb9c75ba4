//! Progress on a terminal: a bar, and a line that lives.

use std::collections::VecDeque;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::outcome::Sample;
use super::progress::{Phase, Progress};
use super::units::Unit;

/// How often a terminal is drawn anew, in times per second.
const REDRAWS: u8 = 10;

/// Intervals after which what is missing was not just on its way.
const PATIENCE: usize = 4;

/// What the live line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A rate and the share that is missing of all that was sent.
    Sent,
    /// A rate and the share that was given up.
    Done,
    /// How many there are.
    Held,
}

/// How a run is told of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// What is made in the beginning and given back in the end, such as `allocations`.
    pub(super) made: &'static str,
    /// What is counted in samples, such as `packets`.
    pub(super) counted: &'static str,
    pub(super) line: Line,
}

/// What is missing of all that was sent since a phase began.
#[derive(Debug, Default)]
struct Missing {
    at: f64,
    sent: f64,
    /// At the end of the last intervals: sent and not received.
    recent: VecDeque<f64>,
    deficit: f64,
}

impl Missing {
    /// The lost share so far. What is on its way comes and goes, so the least that was missing lately is what is lost.
    fn note(&mut self, sample: &Sample) -> f64 {
        let span = sample.at - self.at;
        self.at = sample.at;
        self.sent += sample.sent_per_second * span;
        self.deficit += (sample.sent_per_second - sample.received_per_second) * span;
        self.recent.push_back(self.deficit);
        if self.recent.len() > PATIENCE {
            self.recent.pop_front();
        }
        let least = self.recent.iter().copied().fold(f64::INFINITY, f64::min);
        // Less than one is a matter of rounding.
        if least < 1.0 || self.sent <= 0.0 { 0.0 } else { (least / self.sent).min(1.0) }
    }
}

/// Draws on standard error, and nothing at all when that is no terminal.
pub(super) struct Bars {
    words: Words,
    bar: Option<ProgressBar>,
    /// Of a search: what is being tried.
    attempt: String,
    missing: Missing,
}

impl Bars {
    /// Nothing is drawn yet.
    pub(super) fn new(words: Words) -> Self {
        Self { words, bar: None, attempt: String::new(), missing: Missing::default() }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn style(&self, phase: Phase) -> String {
        let made = self.words.made;
        match phase {
            Phase::SetUp => {
                format!("making {made}  {{wide_bar:.cyan/blue}} {{human_pos}}/{{human_len}}  {{eta}}")
            }
            Phase::TearDown => {
                format!("giving {made} back  {{wide_bar:.cyan/blue}} {{human_pos}}/{{human_len}}")
            }
            Phase::WarmUp => "warming up  {wide_bar:.yellow/blue}".to_owned(),
            Phase::Measure => "{prefix}measuring  {wide_bar:.green/blue} {eta}\n{msg}".to_owned(),
        }
    }
}

/// Rate and latency of an interval, and the share that is lost so far.
fn line(words: Words, sample: &Sample, missing: f64) -> String {
    let count = Unit::Count.show(sample.received_per_second);
    let counted = words.counted;
    let loss = match words.line {
        Line::Held => return format!("  {count} {counted}"),
        Line::Sent => missing,
        Line::Done => sample.loss,
    };
    let mut line = format!(
        "  {count}/s {counted}   loss {}   p50 {}   p99 {}",
        Unit::Percent.show(100.0 * loss),
        Unit::Micros.show(sample.p50_us),
        Unit::Micros.show(sample.p99_us),
    );
    if let Some(cpu) = sample.server_cpu_us {
        line.push_str(&format!("   server {} each", Unit::Micros.show(cpu)));
    }
    line
}

impl Progress for Bars {
    fn begin(&mut self, phase: Phase, total: u64) {
        self.end();
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(REDRAWS));
        if let Ok(style) = ProgressStyle::with_template(&self.style(phase)) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_prefix(self.attempt.clone());
        bar.set_position(0);
        self.missing = Missing::default();
        self.bar = Some(bar);
    }

    fn advance(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    fn live(&mut self, sample: &Sample) {
        if let Some(bar) = &self.bar {
            let loss = self.missing.note(sample);
            bar.set_message(line(self.words, sample, loss));
        }
    }

    fn attempt(&mut self, offered_per_second: f64, tried: usize) {
        self.attempt = format!("{}. {}/s  ", tried + 1, Unit::Count.show(offered_per_second));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // An error is told on a line of its own.
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_line_tells_rate_loss_and_latency() {
        let words = |line| Words { made: "", counted: "packets", line };
        let sample = Sample {
            at: 1.0,
            sent_per_second: 300_000.0,
            received_per_second: 299_000.0,
            loss: 0.0025,
            p50_us: 85.0,
            p99_us: 1_210.0,
            server_cpu_us: Some(1.5),
        };
        assert_eq!(
            line(words(Line::Done), &sample, 0.9),
            "  299 k/s packets   loss 0.25 %   p50 85 µs   p99 1.21 ms   server 1.5 µs each"
        );
        let without = Sample { server_cpu_us: None, ..sample };
        assert!(line(words(Line::Sent), &without, 0.0).ends_with("loss 0 %   p50 85 µs   p99 1.21 ms"));
        assert_eq!(line(words(Line::Held), &sample, 0.0), "  299 k packets");
    }

    #[test]
    fn what_is_on_its_way_is_not_told_as_lost() {
        let mut missing = Missing::default();
        let mut after = |at: f64, sent: f64, received: f64| {
            missing.note(&Sample {
                at,
                sent_per_second: sent,
                received_per_second: received,
                ..Sample::default()
            })
        };
        assert_eq!((after(1.0, 100.0, 90.0), after(2.0, 100.0, 110.0)), (0.1, 0.0));
        assert_eq!(
            (after(3.0, 100.0, 50.0), after(4.0, 100.0, 100.0), after(5.0, 100.0, 100.0)),
            (0.0, 0.0, 0.0)
        );
        assert_eq!(after(6.0, 100.0, 100.0), 50.0 / 600.0);
    }

    #[test]
    fn every_phase_has_a_form_that_can_be_drawn() {
        let bars = Bars::new(Words { made: "allocations", counted: "packets", line: Line::Sent });
        for phase in [Phase::SetUp, Phase::WarmUp, Phase::Measure, Phase::TearDown] {
            assert!(ProgressStyle::with_template(&bars.style(phase)).is_ok(), "{phase:?}");
        }
    }
}
