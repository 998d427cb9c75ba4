//! From what was found to what is shown: one module for each kind of run, and here what they share.

mod churn;
mod hold;
mod stun;
mod throughput;

use super::outcome::{Bar, Latency, Rung, Sample};
use super::report::{Band, Chart, Facts, Page, Plot, Series, Tile, Tone};
use super::units::{Unit, grouped};

/// When and where a run was.
#[derive(Clone, Debug, Default)]
pub(super) struct Circumstances {
    /// In UTC.
    pub(super) date: String,
    /// Names and values: versions, processor.
    pub(super) machine: Vec<(String, String)>,
    /// The processes whose run time was reckoned.
    pub(super) processes: Vec<String>,
}

/// What can be shown.
pub(super) trait Shown {
    /// The page about it.
    fn page(&self, circumstances: &Circumstances) -> Page;
}

fn tile(label: &str, value: String, note: impl Into<String>) -> Tile {
    Tile { label: label.to_owned(), value, note: note.into() }
}

fn row(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn micros(value: f64) -> String {
    Unit::Micros.show(value)
}

fn per_second(value: f64) -> String {
    format!("{}/s", Unit::Count.show(value))
}

/// A share between 0 and 1.
fn percent(share: f64) -> String {
    Unit::Percent.show(100.0 * share)
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// `1 packet`, `2 packets`.
fn counted(count: u64, word: &str) -> String {
    format!("{} {word}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// What stands first among the warnings when the generator was at its end.
fn limits(is_limited: bool, reasons: &[String], is_search: bool) -> Vec<String> {
    if !is_limited {
        return Vec::new();
    }
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) };
    if is_search {
        return vec![format!(
            "Generator limited: the search ended where this machine could not make more load{reasons}. The server carries at \
             least this much, and nobody knows how much more. Run it on another machine or core than the server."
        )];
    }
    vec![format!(
        "Generator limited: this machine could not make more load{reasons}. The figures are those of the generator and \
         say nothing about what the server can carry. Run it on another machine or core than the server, or with less load."
    )]
}

/// That the figure of the server's run time is missing, although its processes were named and `done` was done.
fn not_run(circumstances: &Circumstances, figure: Option<f64>, done: u64) -> Option<String> {
    (!circumstances.processes.is_empty() && figure.is_none() && done > 0).then(|| {
        format!(
            "The run time of {} did not grow, so it is not the server's: give the PID of the server that answers with --server-pid.",
            circumstances.processes.join(", ")
        )
    })
}

/// Latency, as tiles.
fn latency_tiles(latency: &Latency, of: &str) -> [Tile; 2] {
    [
        tile("Latency, median", micros(latency.p50), of),
        tile("Latency, p99", micros(latency.p99), format!("longest {}", micros(latency.max))),
    ]
}

/// Latency, as a distribution and by quantiles.
fn latency_charts(bars: &[Bar], latency: &Latency, of: &str) -> [Chart; 2] {
    let marks = [
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("p99.9", latency.p999),
        ("max", latency.max),
    ];
    let distribution = Plot::Distribution {
        bands: bands(bars),
        marks: marks.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    };
    [
        Chart {
            title: "Latency".to_owned(),
            note: format!("How often each came; {of}"),
            unit: Unit::Micros,
            plot: distribution,
        },
        Chart {
            title: "Latency by percentile".to_owned(),
            note: "So many were at least this fast; each step to the right is ten times as rare".to_owned(),
            unit: Unit::Micros,
            plot: Plot::Quantiles(quantiles(bars)),
        },
    ]
}

fn bands(bars: &[Bar]) -> Vec<Band> {
    let mut low = bars.first().map_or(1.0, |bar| bar.up_to_us / 1.25);
    let mut bands = Vec::new();
    for bar in bars {
        if bar.up_to_us > low {
            bands.push(Band { low, high: bar.up_to_us, count: bar.count });
            low = bar.up_to_us;
        }
    }
    bands
}

fn quantiles(bars: &[Bar]) -> Vec<(f64, f64)> {
    let total: u64 = bars.iter().map(|bar| bar.count).sum();
    let mut points: Vec<(f64, f64)> = bands(bars).first().map(|band| (0.0, band.low)).into_iter().collect();
    let mut below = 0;
    for bar in bars.iter().filter(|bar| bar.count > 0) {
        below += bar.count;
        // The last of them is one in as many as there are, and not at the end of all numbers.
        points.push((share(below, total + 1), bar.up_to_us));
    }
    points
}

/// Rate, loss and perhaps the server's run time over the measured time.
fn time_charts(samples: &[Sample], sent: &str, received: &str, thing: &str) -> Vec<Chart> {
    let series = |name: &str, value: fn(&Sample) -> f64| Series {
        name: name.to_owned(),
        points: samples.iter().map(|sample| (sample.at, value(sample))).collect(),
    };
    let mut charts = vec![
        Chart {
            title: "Rate".to_owned(),
            note: format!("{thing}s per second"),
            unit: Unit::Count,
            plot: Plot::Time(vec![
                series(received, |sample| sample.received_per_second),
                series(sent, |sample| sample.sent_per_second),
            ]),
        },
        Chart {
            title: "Loss".to_owned(),
            note: "Missing share of what was sent".to_owned(),
            unit: Unit::Percent,
            plot: Plot::Time(vec![series("lost", |sample| 100.0 * sample.loss)]),
        },
        Chart {
            title: "Latency over time".to_owned(),
            note: "99th percentile and median".to_owned(),
            unit: Unit::Micros,
            plot: Plot::Time(vec![
                series("p99", |sample| sample.p99_us),
                series("p50", |sample| sample.p50_us),
            ]),
        },
    ];
    let cpu: Vec<(f64, f64)> =
        samples.iter().filter_map(|sample| Some((sample.at, sample.server_cpu_us?))).collect();
    if !cpu.is_empty() {
        charts.push(Chart {
            title: format!("Server's CPU per {thing}"),
            note: "Run time of all its threads".to_owned(),
            unit: Unit::Micros,
            plot: Plot::Time(vec![Series { name: "server".to_owned(), points: cpu }]),
        });
    }
    charts
}

/// What each rate of a search came to.
fn search_charts(rungs: &[Rung]) -> Vec<Chart> {
    if rungs.is_empty() {
        return Vec::new();
    }
    let mut rungs = rungs.to_vec();
    rungs.sort_by(|a, b| a.offered_per_second.total_cmp(&b.offered_per_second));
    // Of a rate that was tried again, the second try counts.
    rungs.reverse();
    rungs.dedup_by(|a, b| a.offered_per_second == b.offered_per_second);
    rungs.reverse();
    let series = |name: &str, value: fn(&Rung) -> Option<f64>| Series {
        name: name.to_owned(),
        points: rungs.iter().filter_map(|rung| Some((rung.offered_per_second, value(rung)?))).collect(),
    };
    let chart = |title: &str, note: &str, unit, series| Chart {
        title: title.to_owned(),
        note: note.to_owned(),
        unit,
        plot: Plot::Rates(vec![series]),
    };
    let mut charts = vec![
        chart(
            "Loss at each rate",
            "All rates that the search tried",
            Unit::Percent,
            series("loss", |rung| Some(100.0 * rung.loss)),
        ),
        chart(
            "p99 at each rate",
            "Latency grows before packets are lost",
            Unit::Micros,
            series("p99", |rung| Some(rung.p99_us)),
        ),
    ];
    if rungs.iter().any(|rung| rung.server_cpu_us.is_some()) {
        charts.push(chart(
            "Server's CPU at each rate",
            "Falls while wake-ups are shared by more packets",
            Unit::Micros,
            series("server", |rung| rung.server_cpu_us),
        ));
    }
    charts
}

/// Where the run was.
fn machine(circumstances: &Circumstances, rows: Vec<(String, String)>) -> Facts {
    let mut all = circumstances.machine.clone();
    all.extend(rows);
    if !circumstances.processes.is_empty() {
        all.push(row("server's CPU read from", circumstances.processes.join(", ")));
    }
    Facts { title: "Machine and versions".to_owned(), rows: all }
}

/// Quantiles, as a table.
fn latency_rows(latency: &Latency) -> Vec<(String, String)> {
    vec![
        row("latency p50", micros(latency.p50)),
        row("latency p90", micros(latency.p90)),
        row("latency p99", micros(latency.p99)),
        row("latency p99.9", micros(latency.p999)),
        row("latency, longest", micros(latency.max)),
    ]
}

/// The verdict on a share that was lost, of which `most` is no finding.
fn loss_verdict(lost: u64, sent: u64, most: f64, thing: &str) -> (Tone, String) {
    if sent == lost {
        return (Tone::Bad, format!("no {thing} came back"));
    }
    let loss = share(lost, sent);
    match lost {
        0 if sent == 1 => (Tone::Good, format!("the only {thing} came back")),
        0 => (Tone::Good, format!("all {} came back", counted(sent, thing))),
        _ if loss <= most => (Tone::Good, format!("{} of {} lost", percent(loss), counted(sent, thing))),
        _ => (
            Tone::Bad,
            format!(
                "{} of {} lost, and {} may be (--max-loss)",
                percent(loss),
                counted(sent, thing),
                percent(most)
            ),
        ),
    }
}

#[cfg(test)]
mod tests;
