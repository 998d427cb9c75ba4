//! Progress on a terminal: a bar, and a line that lives.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::outcome::Sample;
use super::progress::{Phase, Progress};
use super::units::Unit;

/// How often a terminal is drawn anew, in times per second.
const REDRAWS: u8 = 10;

/// What the run counts and how the live line calls it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// What is made in the beginning and given back in the end, such as `allocations`.
    pub(super) made: &'static str,
    /// What is counted in samples, such as `packets`.
    pub(super) counted: &'static str,
}

/// Draws on standard error, and nothing at all when that is no terminal.
pub(super) struct Bars {
    words: Words,
    bar: Option<ProgressBar>,
    /// Of a search: what is being tried.
    attempt: String,
}

impl Bars {
    /// Nothing is drawn yet.
    pub(super) const fn new(words: Words) -> Self {
        Self { words, bar: None, attempt: String::new() }
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

/// Rate, loss and p99 of an interval.
fn line(counted: &str, sample: &Sample) -> String {
    let mut line = format!(
        "  {}/s {counted}   loss {}   p50 {}   p99 {}",
        Unit::Count.show(sample.received_per_second),
        Unit::Percent.show(100.0 * sample.loss),
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
        self.bar = Some(bar);
    }

    fn advance(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    fn live(&mut self, sample: &Sample) {
        if let Some(bar) = &self.bar {
            bar.set_message(line(self.words.counted, sample));
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
            line("packets", &sample),
            "  299 k/s packets   loss 0.25 %   p50 85 µs   p99 1.21 ms   server 1.5 µs each"
        );
        let without = Sample { server_cpu_us: None, ..sample };
        assert!(line("packets", &without).ends_with("p99 1.21 ms"));
    }

    #[test]
    fn every_phase_has_a_form_that_can_be_drawn() {
        let bars = Bars::new(Words { made: "allocations", counted: "packets" });
        for phase in [Phase::SetUp, Phase::WarmUp, Phase::Measure, Phase::TearDown] {
            assert!(ProgressStyle::with_template(&bars.style(phase)).is_ok(), "{phase:?}");
        }
    }
}
