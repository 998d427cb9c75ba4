//! What `hold` has found, as a page.

use super::*;
use crate::bench::control::outcome::{Hold, Moment};

impl Shown for Hold {
    fn page(&self, circumstances: &Circumstances) -> Page {
        let load = vec![
            row("transport", self.transport.clone()),
            row("allocations", grouped(self.allocations.into())),
            row("held", format!("{} s", crate::bench::units::digits(self.seconds))),
            row("made within", format!("{} s", crate::bench::units::digits(self.setup_seconds))),
        ];
        let both = |latency: &Latency| format!("{} / {}", micros(latency.p50), micros(latency.p99));
        let mut answers = vec![
            row("Allocate, median / p99", both(&self.allocate_us)),
            row("refreshed", grouped(self.refreshes)),
            row("forgotten by the server", grouped((self.lost - self.unanswered).into())),
            row("unanswered at the end", grouped(self.unanswered.into())),
        ];
        if self.refreshes > 0 {
            answers.insert(1, row("Refresh", both(&self.refresh_us)));
        }
        Page {
            title: self.kind.to_owned(),
            target: self.server.clone(),
            date: circumstances.date.clone(),
            verdict: verdict(self),
            warnings: warnings(self),
            tiles: tiles(self),
            charts: charts(&self.moments),
            facts: vec![
                Facts { title: "Load".to_owned(), rows: load },
                Facts { title: "Answers".to_owned(), rows: answers },
                machine(circumstances, Vec::new()),
            ],
        }
    }
}

fn verdict(found: &Hold) -> (Tone, String) {
    let allocations = |count: u32| counted(count.into(), "allocation");
    match (found.lost - found.unanswered, found.unanswered) {
        (0, 0) => (Tone::Good, format!("{} held to the end", allocations(found.allocations))),
        (lost, 0) => (Tone::Bad, format!("{} forgotten by the server", allocations(lost))),
        (0, silent) => (Tone::Bad, format!("the server answers no more for {}", allocations(silent))),
        (lost, silent) => (
            Tone::Bad,
            format!(
                "{} forgotten by the server, and no answer for {}",
                allocations(lost),
                grouped(silent.into())
            ),
        ),
    }
}

fn warnings(found: &Hold) -> Vec<String> {
    match (found.server_rss_before, found.server_rss_after) {
        (Some(before), Some(after)) if after <= before && found.lost < found.allocations => vec![format!(
            "The server's memory did not grow ({} to {}), so it says nothing about an allocation: what was freed before is used \
             again. Start the server afresh, and let this be the first that it does.",
            whole(before),
            whole(after)
        )],
        _ => Vec::new(),
    }
}

fn tiles(found: &Hold) -> Vec<Tile> {
    let seconds = crate::bench::units::digits(found.seconds);
    let mut tiles = vec![
        tile("Held", grouped((found.allocations - found.lost).into()), format!("for {seconds} s")),
        tile("Refreshed", grouped(found.refreshes), ""),
        tile(
            "Allocate, p99",
            micros(found.allocate_us.p99),
            format!("median {}", micros(found.allocate_us.p50)),
        ),
    ];
    if let (Some(each), Some(before), Some(after)) =
        (found.server_rss_per_allocation, found.server_rss_before, found.server_rss_after)
    {
        tiles.push(tile(
            "Server's memory",
            bytes(each),
            format!("for each allocation, {} to {}", whole(before), whole(after)),
        ));
    }
    if let Some(cpu) = found.server_cpu {
        tiles.push(tile("Server's CPU", percent(cpu), "of a core, while held"));
    }
    tiles
}

fn bytes(value: f64) -> String {
    Unit::Bytes.show(value)
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn whole(value: u64) -> String {
    bytes(value as f64)
}

fn charts(moments: &[Moment]) -> Vec<Chart> {
    let held = moments.iter().map(|moment| (moment.at, f64::from(moment.held))).collect();
    let mut charts = vec![Chart {
        title: "Allocations".to_owned(),
        note: "Those that there are".to_owned(),
        unit: Unit::Count,
        plot: Plot::Time(vec![Series { name: "held".to_owned(), points: held }]),
    }];
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let memory: Vec<(f64, f64)> =
        moments.iter().filter_map(|moment| Some((moment.at, moment.server_rss? as f64))).collect();
    if !memory.is_empty() {
        charts.push(Chart {
            title: "Server's memory".to_owned(),
            note: "Resident, all of it".to_owned(),
            unit: Unit::Bytes,
            plot: Plot::Time(vec![Series { name: "resident".to_owned(), points: memory }]),
        });
    }
    charts
}
