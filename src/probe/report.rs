//! What was found, step by step.

use std::time::Duration;

use serde_json::{Value, json};

use super::out::print;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Good,
    Bad,
    /// Not tried, or of no matter.
    Skipped,
}

/// One line of the report.
#[derive(Clone, Debug)]
pub(super) struct Step {
    name: &'static str,
    outcome: Outcome,
    detail: String,
    help: Option<String>,
    code: Option<u16>,
    rtt: Option<Duration>,
}

impl Step {
    fn new(name: &'static str, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { name, outcome, detail: detail.into(), help: None, code: None, rtt: None }
    }

    pub(super) fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Outcome::Good, detail)
    }

    pub(super) fn bad(name: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..Self::new(name, Outcome::Bad, detail) }
    }

    pub(super) fn skipped(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, Outcome::Skipped, detail)
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn code(mut self, code: Option<u16>) -> Self {
        self.code = code;
        self
    }

    pub(super) fn rtt(mut self, rtt: Option<Duration>) -> Self {
        self.rtt = rtt;
        self
    }

    pub(super) fn is_bad(&self) -> bool {
        self.outcome == Outcome::Bad
    }

    /// The error that the server answered.
    pub(super) fn code_of(&self) -> Option<u16> {
        self.code
    }

    pub(super) fn without_help(mut self) -> Self {
        self.help = None;
        self
    }

    /// Puts the circumstances in front.
    pub(super) fn because(mut self, circumstances: &str) -> Self {
        self.detail.insert_str(0, circumstances);
        self
    }

    fn text(&self) -> String {
        let mark = match self.outcome {
            Outcome::Good => "ok",
            Outcome::Bad => "FAIL",
            Outcome::Skipped => "-",
        };
        // A step with several round trips tells them in its detail.
        let rtt = match self.rtt {
            Some(rtt) if !self.detail.ends_with(" ms") => format!(" ({} ms)", milliseconds(rtt)),
            _ => String::new(),
        };
        let mut text = format!("{mark:<4} {:<11} {}{rtt}\n", self.name, self.detail);
        if let Some(help) = &self.help {
            text.push_str(&format!("                 help: {help}\n"));
        }
        text
    }

    fn json(&self) -> Value {
        let ok = match self.outcome {
            Outcome::Good => Value::Bool(true),
            Outcome::Bad => Value::Bool(false),
            Outcome::Skipped => Value::Null,
        };
        let mut step = json!({ "step": self.name, "ok": ok, "detail": self.detail });
        if let Some(help) = &self.help {
            step["help"] = json!(help);
        }
        if let Some(code) = self.code {
            step["code"] = json!(code);
        }
        if let Some(rtt) = self.rtt {
            step["rtt_ms"] = json!(milliseconds(rtt));
        }
        step
    }
}

/// Milliseconds with two digits behind the point.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

/// What one URI came to.
#[derive(Clone, Debug)]
pub(super) struct Report {
    uri: String,
    steps: Vec<Step>,
    /// Whether each step is printed when it is known.
    is_live: bool,
}

impl Report {
    /// An empty report about `uri`.
    pub(super) fn new(uri: String, is_live: bool) -> Self {
        Self { uri, steps: Vec::new(), is_live }
    }

    pub(super) fn push(&mut self, step: Step) {
        if self.is_live {
            print(&step.text());
        }
        self.steps.push(step);
    }

    /// Whether something worked and nothing failed.
    pub(super) fn is_good(&self) -> bool {
        self.steps.iter().any(|step| step.outcome == Outcome::Good)
            && self.steps.iter().all(|step| step.outcome != Outcome::Bad)
    }

    /// Whether there was something to try at all.
    pub(super) fn is_skipped(&self) -> bool {
        self.steps.iter().all(|step| step.outcome == Outcome::Skipped)
    }

    pub(super) fn json(&self) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(Step::json).collect();
        let ok = if self.is_skipped() { Value::Null } else { Value::Bool(self.is_good()) };
        json!({ "uri": self.uri, "ok": ok, "steps": steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_failures_come_with_help() {
        let good = Step::good("binding", "your address is 8.34.2.2:5000 (udp)");
        assert_eq!(
            good.clone().rtt(Some(Duration::from_micros(1234))).text(),
            "ok   binding     your address is 8.34.2.2:5000 (udp) (1.23 ms)\n"
        );
        let bad = Step::bad("allocate", "401 Unauthorized", "look at the password").code(Some(401));
        assert_eq!(
            bad.text(),
            "FAIL allocate    401 Unauthorized\n                 help: look at the password\n"
        );
        assert_eq!(bad.json()["code"], 401);
        let mut report = Report::new("turn:h".to_owned(), false);
        assert!(!report.is_good() && report.is_skipped());
        report.push(Step::skipped("echo", "not tried"));
        assert_eq!(report.json()["ok"], Value::Null);
        report.push(good);
        assert!(report.is_good());
        report.push(bad);
        assert!(!report.is_good());
        assert_eq!(report.json()["steps"][0], json!({ "step": "echo", "ok": null, "detail": "not tried" }));
    }
}
