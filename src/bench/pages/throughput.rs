//! What `throughput` has found, as a page.

use super::*;
use crate::bench::outcome::Throughput;

impl Shown for Throughput {
    fn page(&self, circumstances: &Circumstances) -> Page {
        let mut charts = search_charts(&self.rungs);
        charts.extend(time_charts(&self.samples, "sent", "received", "packet"));
        let of = "from sending a packet to receiving it";
        charts.extend(latency_charts(&self.latency_bars, &self.latency_us, of));
        Page {
            title: self.kind.to_owned(),
            target: self.server.clone(),
            date: circumstances.date.clone(),
            verdict: verdict(self),
            warnings: warnings(self),
            tiles: tiles(self),
            charts,
            facts: vec![
                Facts { title: "Load".to_owned(), rows: settings(self) },
                Facts { title: "Packets".to_owned(), rows: packets(self) },
                machine(
                    circumstances,
                    vec![row("generator's CPU", format!("{} of a core", percent(self.generator_cpu)))],
                ),
            ],
        }
    }
}

fn verdict(found: &Throughput) -> (Tone, String) {
    if found.corrupt + found.misdelivered > 0 {
        let wrong = counted(found.corrupt + found.misdelivered, "packet");
        return (Tone::Bad, format!("{wrong} arrived damaged or at the wrong place"));
    }
    let rate = per_second(found.packets_per_second);
    match (found.generator_limited, found.rungs.is_empty()) {
        (true, true) => (Tone::Warning, "limited by the generator, not by the server".to_owned()),
        (true, false) => (Tone::Warning, format!("carries {rate} or more")),
        (false, false) => (Tone::Good, format!("carries {rate}")),
        (false, true) => loss_verdict(found.lost, found.sent, 0.005, "packet"),
    }
}

fn warnings(found: &Throughput) -> Vec<String> {
    let mut warnings = limits(found.generator_limited, &found.generator_limits, !found.rungs.is_empty());
    if found.blocked > 0 {
        warnings.push(format!(
            "{} could not be sent because the connections took no more; they count as lost.",
            counted(found.blocked, "packet")
        ));
    }
    warnings
}

fn tiles(found: &Throughput) -> Vec<Tile> {
    let bits =
        format!("{}bit/s of payload", Unit::Count.show(found.payload_bits_per_second).replace(' ', "\u{a0}"));
    let offered = format!("{} offered", per_second(found.offered_per_second));
    let mut tiles = vec![
        tile("Delivered", per_second(found.packets_per_second), format!("{offered}, {bits}")),
        tile(
            "Lost",
            percent(share(found.lost, found.sent)),
            format!("{} of {}", grouped(found.lost), grouped(found.sent)),
        ),
    ];
    tiles.extend(latency_tiles(&found.latency_us, "through the server, one way"));
    if let Some(cpu) = found.server_cpu_us_per_packet {
        tiles.push(tile("Server's CPU", micros(cpu), "for each packet"));
    }
    tiles
}

fn settings(found: &Throughput) -> Vec<(String, String)> {
    vec![
        row("transport", found.transport.clone()),
        row("allocations", grouped(found.allocations.into())),
        row("packets", format!("{} bytes, {} at once", found.payload, found.burst)),
        row("direction", found.direction),
        row("form", found.form),
        row("peers", found.peers),
        row("offered", per_second(found.offered_per_second)),
        row("measured", format!("{} s", crate::bench::units::digits(found.seconds))),
        row("set-up", format!("{} s", crate::bench::units::digits(found.setup_seconds))),
    ]
}

fn packets(found: &Throughput) -> Vec<(String, String)> {
    let mut rows = vec![
        row("sent", grouped(found.sent)),
        row("received", grouped(found.received)),
        row("lost", grouped(found.lost)),
        row("damaged", grouped(found.corrupt)),
        row("at the wrong place", grouped(found.misdelivered)),
        row("twice", grouped(found.duplicate)),
        row("out of order", grouped(found.reordered)),
    ];
    rows.extend(latency_rows(&found.latency_us));
    rows.push(row("sent late, p99", micros(found.lateness_us.p99)));
    rows
}
