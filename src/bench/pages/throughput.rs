//! What `throughput` has found, as a page.

use super::*;
use crate::bench::outcome::{DIRECT, Throughput};

impl Shown for Throughput {
    fn page(&self, circumstances: &Circumstances) -> Page {
        let mut charts = search_charts(&self.rungs);
        charts.extend(time_charts(&self.samples, "sent", "received", "packet"));
        let of = "from sending a packet to receiving it";
        charts.extend(latency_charts(&self.latency_bars, &self.latency_us, of));
        let mut warnings = warnings(self);
        warnings.extend(not_run(circumstances, self.server_cpu_us_per_packet, self.received));
        Page {
            title: self.kind.to_owned(),
            target: self.server.clone(),
            date: circumstances.date.clone(),
            verdict: verdict(self),
            warnings,
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
    if found.lost == found.sent {
        return (Tone::Bad, "no packet arrived".to_owned());
    }
    match (found.generator_limited, found.rungs.is_empty()) {
        (true, true) if is_direct(found) => (Tone::Warning, "limited by the generator".to_owned()),
        (true, true) => (Tone::Warning, "limited by the generator, not by the server".to_owned()),
        (true, false) => (Tone::Warning, format!("carries {rate} or more")),
        (false, false) => (Tone::Good, format!("carries {rate}")),
        (false, true) if is_too_much(found) => (Tone::Bad, too_much(found)),
        (false, true) if found.lost == 0 => {
            (Tone::Good, format!("all {} arrived", counted(found.sent, "packet")))
        }
        (false, true) => (Tone::Good, lost(found)),
    }
}

/// Whether more was lost than may be.
fn is_too_much(found: &Throughput) -> bool {
    share(found.lost, found.sent) > found.max_loss
}

fn lost(found: &Throughput) -> String {
    format!("{} of {} lost", percent(share(found.lost, found.sent)), counted(found.sent, "packet"))
}

fn too_much(found: &Throughput) -> String {
    format!("{}, more than the {} of --max-loss", lost(found), percent(found.max_loss))
}

/// Whether packets went straight from clients to peers.
fn is_direct(found: &Throughput) -> bool {
    found.server == DIRECT
}

/// How many flows no burst was sent in.
fn idle_flows(found: &Throughput) -> u64 {
    (found.flows as u64).saturating_sub(found.sent.div_ceil(found.burst.max(1).into()))
}

fn warnings(found: &Throughput) -> Vec<String> {
    let is_search = !found.rungs.is_empty();
    let mut warnings = if found.generator_limited && is_direct(found) {
        vec![format!(
            "Generator limited: this machine could not make more load ({}). The figures are those of the generator and say \
             nothing about what the network can carry. Run it with less load.",
            found.generator_limits.join("; ")
        )]
    } else {
        limits(found.generator_limited, &found.generator_limits, is_search)
    };
    if found.generator_limited && !is_search && is_too_much(found) {
        warnings.push(format!("{}.", too_much(found)));
    }
    let idle = idle_flows(found);
    if idle > 0 {
        warnings.push(format!(
            "Only {} of {} have sent anything: the others' turn did not come within the measured time. Give a longer \
             --duration, a higher --rate or fewer --allocations.",
            grouped(found.flows as u64 - idle),
            counted(found.flows as u64, "flow")
        ));
    }
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
    let offered = format!(
        "{} sent, {} offered",
        per_second(found.sent_per_second),
        per_second(found.offered_per_second)
    );
    let mut tiles = vec![
        tile("Delivered", per_second(found.packets_per_second), format!("{offered}, {bits}")),
        tile(
            "Lost",
            percent(share(found.lost, found.sent)),
            format!("{} of {}", grouped(found.lost), grouped(found.sent)),
        ),
    ];
    let way = if is_direct(found) { "one way, without a server" } else { "through the server, one way" };
    tiles.extend(latency_tiles(&found.latency_us, way));
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
        row("sent", per_second(found.sent_per_second)),
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
