//! What `churn` has found, as a page.

use super::*;
use crate::bench::control::outcome::Churn;

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
            row("a cycle", "Allocate, CreatePermission, ChannelBind, Refresh with lifetime 0"),
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
            row("given up", grouped(self.failed)),
            row("sent again", grouped(self.retransmissions)),
        ];
        answers.extend(latency_rows(&self.latency_us));
        Page {
            title: self.kind.to_owned(),
            target: self.server.clone(),
            date: circumstances.date.clone(),
            verdict: verdict(self),
            warnings: limits(self.generator_limited, &self.generator_limits, false),
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

fn verdict(found: &Churn) -> (Tone, String) {
    if found.cycles == 0 {
        return (Tone::Bad, "no cycle was done".to_owned());
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
            format!("{} sent again", counted(found.retransmissions, "request")),
        ),
    ];
    tiles.extend(latency_tiles(&found.latency_us, "of a whole cycle"));
    if let Some(cpu) = found.server_cpu_us_per_cycle {
        tiles.push(tile("Server's CPU", micros(cpu), "for each cycle"));
    }
    tiles
}
