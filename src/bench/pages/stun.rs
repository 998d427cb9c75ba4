//! What `stun` has found, as a page.

use super::*;
use crate::bench::control::outcome::Stun;

impl Shown for Stun {
    fn page(&self, circumstances: &Circumstances) -> Page {
        let mut charts = search_charts(&self.rungs);
        charts.extend(time_charts(&self.samples, "asked", "answered", "request"));
        charts.extend(latency_charts(&self.latency_bars, &self.latency_us, "from request to answer"));
        let load = vec![
            row("transport", self.transport.clone()),
            row("sockets", grouped(self.clients.into())),
            row("offered", per_second(self.offered_per_second)),
            row("measured", format!("{} s", crate::bench::units::digits(self.seconds))),
            row(
                "address translation",
                if self.is_translated { "yes: the server sees other addresses" } else { "none" },
            ),
        ];
        let mut answers = vec![
            row("sent", format!("{} ({})", grouped(self.sent), per_second(self.sent_per_second))),
            row("answered", grouped(self.received)),
            row("lost", grouped(self.lost)),
            row("wrong", grouped(self.wrong)),
            row("twice", grouped(self.duplicate)),
            row("foreign datagrams", grouped(self.foreign)),
        ];
        answers.extend(latency_rows(&self.latency_us));
        answers.push(row("sent late, p99", micros(self.lateness_us.p99)));
        let mut warnings = limits(self.generator_limited, &self.generator_limits, !self.rungs.is_empty());
        warnings.extend(not_run(circumstances, self.server_cpu_us_per_request, self.received));
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
                Facts { title: "Answers".to_owned(), rows: answers },
                machine(
                    circumstances,
                    vec![row("generator's CPU", format!("{} of a core", percent(self.generator_cpu)))],
                ),
            ],
        }
    }
}

fn verdict(found: &Stun) -> (Tone, String) {
    if found.wrong > 0 {
        return (Tone::Bad, format!("{} wrong", counted(found.wrong, "answer")));
    }
    let rate = per_second(found.requests_per_second);
    match (found.generator_limited, found.rungs.is_empty()) {
        (true, true) => (Tone::Warning, "limited by the generator, not by the server".to_owned()),
        (true, false) => (Tone::Warning, format!("answers {rate} or more")),
        (false, false) => (Tone::Good, format!("answers {rate}")),
        (false, true) => loss_verdict(found.lost, found.sent, found.max_loss, "answer"),
    }
}

fn tiles(found: &Stun) -> Vec<Tile> {
    let mut tiles = vec![
        tile(
            "Answered",
            per_second(found.requests_per_second),
            format!(
                "{} sent, {} offered",
                per_second(found.sent_per_second),
                per_second(found.offered_per_second)
            ),
        ),
        tile(
            "Lost",
            percent(share(found.lost, found.sent)),
            format!("{} of {}", grouped(found.lost), grouped(found.sent)),
        ),
    ];
    tiles.extend(latency_tiles(&found.latency_us, "there and back"));
    if let Some(cpu) = found.server_cpu_us_per_request {
        tiles.push(tile("Server's CPU", micros(cpu), "for each request"));
    }
    tiles
}
