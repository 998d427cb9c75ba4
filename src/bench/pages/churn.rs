//! What `churn` has found, as a page.

use super::*;
use crate::bench::control::outcome::{Churn, FEWEST, MAY_FAIL, STANDSTILL};

impl Shown for Churn {
    fn page(&self, circumstances: &Circumstances) -> Page {
        let mut charts = time_charts(&self.samples, "begun", "done", "cycle");
        let of = "from Allocate to the end of the allocation";
        charts.extend(latency_charts(&self.latency_bars, &self.latency_us, of));
        let load = vec![
            row("transport", self.transport.clone()),
            row("clients side by side", grouped(self.parallel.into())),
            row("rate", self.offered_per_second.map_or_else(|| "as fast as they can".to_owned(), per_second)),
            row("peer", self.peer.clone().unwrap_or_else(|| "each client's own relayed address".to_owned())),
            row(
                "a cycle",
                "a new socket, Allocate with its challenge, CreatePermission, ChannelBind, Refresh with lifetime 0",
            ),
            row("measured", format!("{} s", crate::bench::units::digits(self.seconds))),
        ];
        let steps = &self.steps_us;
        let both = |latency: &Latency| format!("{} / {}", micros(latency.p50), micros(latency.p99));
        let mut answers = vec![
            row("Allocate, median / p99", both(&steps.allocate)),
            row("CreatePermission", both(&steps.permission)),
            row("ChannelBind", both(&steps.channel)),
            row("Refresh", both(&steps.delete)),
            row("done", grouped(self.cycles)),
            row("given up", of_all(self.failed, self)),
            row("sent again", grouped(self.retransmissions)),
        ];
        answers
            .extend(self.failed_by_code.iter().map(|(reason, count)| (name(reason), of_all(*count, self))));
        answers.push(row("of these unfinished at the end", grouped(self.unfinished)));
        answers.push(row("longest wait for any answer", micros(1e6 * self.standstill_seconds)));
        answers.extend(latency_rows(&self.latency_us));
        let mut warnings = warnings(self);
        warnings.extend(not_run(circumstances, self.server_cpu_us_per_cycle, self.cycles));
        Page {
            title: self.kind.to_owned(),
            target: self.server.clone(),
            date: circumstances.date.clone(),
            verdict: verdict(self),
            warnings,
            tiles: tiles(self),
            charts,
            facts: vec![
                Facts { title: "Load".to_owned(), rows: load },
                Facts { title: "Cycles".to_owned(), rows: answers },
                machine(
                    circumstances,
                    vec![row("generator's CPU", format!("{} of a core", percent(self.generator_cpu)))],
                ),
            ],
        }
    }
}

/// How many cycles, and their share.
fn of_all(count: u64, found: &Churn) -> String {
    match count {
        0 => grouped(0),
        _ => format!("{} ({})", grouped(count), percent(share(count, found.cycles + found.failed))),
    }
}

/// The reason for which cycles were given up, as the name of a row.
fn name(reason: &str) -> String {
    let words = match reason {
        "silence" => "no answer",
        "unsigned" => "signed by somebody else",
        "unusable" => "answers that say nothing",
        code => return format!("refused with {code}"),
    };
    words.to_owned()
}

fn warnings(found: &Churn) -> Vec<String> {
    let mut warnings = limits(found.generator_limited, &found.generator_limits, false);
    let counts = found.failed_by_code.values();
    warnings.extend(
        counts
            .zip(&found.failed_in_words)
            .map(|(count, words)| format!("{} of the cycles were given up: {words}.", of_all(*count, found))),
    );
    warnings
}

fn verdict(found: &Churn) -> (Tone, String) {
    if found.cycles == 0 {
        return (Tone::Bad, "no cycle was done".to_owned());
    }
    if found.standstill_seconds >= STANDSTILL {
        let time = crate::bench::units::digits(found.standstill_seconds);
        return (Tone::Bad, format!("the server stood still: no answer to any client for {time} s"));
    }
    if found.failed_share > MAY_FAIL {
        let all = counted(found.cycles + found.failed, "cycle");
        return (Tone::Bad, format!("{} of {all} given up", percent(found.failed_share)));
    }
    if found.cycles < FEWEST {
        let cycles = counted(found.cycles, "cycle");
        return (
            Tone::Bad,
            format!("{cycles}: too few to say anything about a rate, give a longer --duration"),
        );
    }
    if found.generator_limited {
        return (Tone::Warning, "limited by the generator, not by the server".to_owned());
    }
    match found.failed {
        0 => (Tone::Good, format!("{}, none given up", counted(found.cycles, "cycle"))),
        failed => (Tone::Warning, format!("{} given up", counted(failed, "cycle"))),
    }
}

fn tiles(found: &Churn) -> Vec<Tile> {
    let offered = found
        .offered_per_second
        .map_or_else(|| "as fast as they can".to_owned(), |rate| format!("{} offered", per_second(rate)));
    let mut tiles = vec![
        tile("Cycles", per_second(found.cycles_per_second), offered),
        tile(
            "Given up",
            grouped(found.failed),
            format!(
                "{} unfinished at the end; {} sent again",
                grouped(found.unfinished),
                counted(found.retransmissions, "request")
            ),
        ),
    ];
    tiles.extend(latency_tiles(&found.latency_us, "of a whole cycle"));
    if let Some(cpu) = found.server_cpu_us_per_cycle {
        tiles.push(tile("Server's CPU", micros(cpu), "for each cycle"));
    }
    tiles
}
