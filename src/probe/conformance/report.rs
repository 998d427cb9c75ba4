//! The matrix: what each check came to, printed in the order of the table as soon as it is known.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::outcome::{Check, Finding, Level, Outcome};
use crate::probe::out::print;

struct Row {
    check: &'static Check,
    outcome: Outcome,
}

/// The rows so far.
pub(super) struct Report {
    uri: String,
    server: SocketAddr,
    is_json: bool,
    rows: Vec<Option<Row>>,
    printed: usize,
}

/// How many rows came to what.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    pass: usize,
    must_fail: usize,
    should_fail: usize,
    not_testable: usize,
    not_offered: usize,
}

impl Report {
    pub(super) fn new(uri: &str, server: SocketAddr, is_json: bool, count: usize) -> Self {
        let rows = std::iter::repeat_with(|| None).take(count).collect();
        Self { uri: uri.to_owned(), server, is_json, rows, printed: 0 }
    }

    pub(super) fn add(&mut self, at: usize, check: &'static Check, outcome: Outcome) {
        if let Some(slot) = self.rows.get_mut(at) {
            *slot = Some(Row { check, outcome });
        }
        while let Some(Some(row)) = self.rows.get(self.printed).filter(|_| !self.is_json) {
            print(&row.text());
            self.printed += 1;
        }
    }

    /// Prints what stands at the end.
    pub(super) fn finish(&self) {
        if self.is_json {
            print(&format!("{:#}\n", self.json()));
        } else {
            print(&format!("\n{}\n", self.summary()));
        }
    }

    /// Whether no MUST is broken.
    pub(super) fn is_good(&self) -> bool {
        self.counts().must_fail == 0
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for row in self.rows.iter().flatten() {
            let count = match (&row.outcome, row.check.level) {
                (Ok(()), _) => &mut counts.pass,
                (Err(Finding::Fail(_)), Level::Must) => &mut counts.must_fail,
                (Err(Finding::Fail(_)), Level::Should) => &mut counts.should_fail,
                (Err(Finding::NotTestable(_)), _) => &mut counts.not_testable,
                (Err(Finding::NotOffered(_)), _) => &mut counts.not_offered,
            };
            *count += 1;
        }
        counts
    }

    fn summary(&self) -> String {
        let Counts { pass, must_fail, should_fail, not_testable, not_offered } = self.counts();
        format!(
            "{} ({}): {} checks: {pass} pass, {must_fail} MUST fail, {should_fail} SHOULD fail, {not_testable} not \
             testable, {not_offered} not offered",
            self.uri,
            self.server,
            self.rows.len()
        )
    }

    fn json(&self) -> Value {
        let Counts { pass, must_fail, should_fail, not_testable, not_offered } = self.counts();
        let rows: Vec<Value> = self.rows.iter().flatten().map(Row::json).collect();
        json!({
            "uri": self.uri,
            "server": self.server.to_string(),
            "ok": must_fail == 0,
            "counts": {
                "pass": pass,
                "must_fail": must_fail,
                "should_fail": should_fail,
                "not_testable": not_testable,
                "not_offered": not_offered,
            },
            "checks": rows,
        })
    }
}

impl Row {
    fn verdict(&self) -> (&'static str, Option<&str>) {
        match &self.outcome {
            Ok(()) => ("pass", None),
            Err(Finding::Fail(seen)) => ("fail", Some(seen)),
            Err(Finding::NotTestable(why)) => ("not testable", Some(why)),
            Err(Finding::NotOffered(why)) => ("not offered", Some(why)),
        }
    }

    fn text(&self) -> String {
        let Check { id, clause, level, text, .. } = self.check;
        let (verdict, seen) = self.verdict();
        let verdict = if verdict == "fail" { "FAIL" } else { verdict };
        let mut line = format!("{verdict:<12} {:<6} {clause:<14} {text} [{id}]\n", level.name());
        if let Some(seen) = seen {
            line.push_str(&format!("{:35}{seen}\n", ""));
        }
        line
    }

    fn json(&self) -> Value {
        let (verdict, seen) = self.verdict();
        let Check { id, clause, level, text, .. } = self.check;
        let mut row = json!({
            "id": id, "clause": clause, "level": level.name(), "requirement": text, "verdict": verdict,
        });
        if let Some(seen) = seen {
            row["seen"] = json!(seen);
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::conformance::outcome::{fail, must, should};

    static CHECKS: [Check; 2] =
        [must("a", "8489 §5", "first", |_| Ok(())), should("b", "8489 §6", "second", |_| Ok(()))];

    #[test]
    fn only_a_broken_must_is_bad() {
        let mut report = Report::new("turn:h", "127.0.0.1:3478".parse().unwrap(), true, 2);
        report.add(1, &CHECKS[1], fail("seen"));
        assert!(report.is_good());
        report.add(0, &CHECKS[0], fail("this"));
        assert!(!report.is_good());
        let json = report.json();
        assert_eq!((&json["counts"]["must_fail"], &json["counts"]["should_fail"]), (&json!(1), &json!(1)));
        assert_eq!((&json["checks"][0]["id"], &json["checks"][0]["seen"]), (&json!("a"), &json!("this")));
        assert_eq!(
            report.rows[1].as_ref().unwrap().text(),
            format!("FAIL         SHOULD 8489 §6        second [b]\n{:35}seen\n", "")
        );
        assert!(
            report
                .summary()
                .ends_with("2 checks: 0 pass, 1 MUST fail, 1 SHOULD fail, 0 not testable, 0 not offered")
        );
    }
}
