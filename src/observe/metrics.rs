//! Counters as Prometheus text. The families are built when somebody asks, so that counting itself stays plain
//! additions in each worker; every series exists from the start, and no label comes from the wire.

use super::GrantRefusals;
use crate::turn::{
    ConnectionEnd, CountedMethod, Counters, DropReason, ERROR_CODES, StreamRefusal, Transport,
    TransportCounters,
};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

/// What the kernel says about this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// CPU time used, user and system together, in seconds.
    pub cpu_seconds: f64,
    /// Open file descriptors.
    pub open_descriptors: u64,
    /// How many descriptors may be open (the soft limit).
    pub max_descriptors: u64,
}

/// What a system can do for a relay beyond plain sockets (docs/operations.md, "What the kernel does").
const FEATURES: [&str; 7] = ["gro", "gso", "batch", "timer", "df", "tos", "icmp"];

/// What the kernel does for the relay beyond plain sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// What it does, by the labels of the metric; what is not named is not there.
    pub features: Vec<&'static str>,
    /// Messages that it would not cut after all.
    pub gso_refusals: u64,
}

/// Linux reports CPU time to user space in hundredths of a second on every architecture (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    /// Reads `/proc/self`. `None` where it is not mounted, or not as Linux writes it.
    pub fn read() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
        let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
        // Reading the directory takes a descriptor of its own.
        Self::parse(&status, &stat, &limits, u64::try_from(open).ok()?.saturating_sub(1))
    }

    fn parse(status: &str, stat: &str, limits: &str, open_descriptors: u64) -> Option<Self> {
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
        // The command's name stands in parentheses and may hold anything, so count from the last one.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let user: u32 = fields.next()?.parse().ok()?;
        let system: u32 = fields.next()?.parse().ok()?;
        let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        let limit = limit.split_ascii_whitespace().next()?;
        Some(Self {
            resident_bytes: resident * 1024,
            cpu_seconds: (f64::from(user) + f64::from(system)) / TICKS_PER_SECOND,
            open_descriptors,
            max_descriptors: if limit == "unlimited" { u64::MAX } else { limit.parse().ok()? },
        })
    }
}

/// The text of `/metrics`: the counters of all workers added up, what the `iceServers` API has refused, the process if it could be
/// read, what the kernel offers, and when the first certificate ends, in seconds of Unix time, if there is one.
pub fn render(
    workers: &[Counters],
    grants: &GrantRefusals,
    process: Option<Process>,
    offload: &Offload,
    certificate_expiry: Option<u64>,
) -> String {
    let mut total = Counters::default();
    for counters in workers {
        total.merge(counters);
    }
    let mut text = Vec::new();
    // Encoding fails only on a family without metrics or name, or when writing does; neither can happen to a
    // `Vec` and the families below, and a scrape with a family less is still a scrape.
    for family in families(&total, workers.len(), grants, process, offload, certificate_expiry) {
        let _ = TextEncoder::new().encode(&[family], &mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn families(
    total: &Counters,
    workers: usize,
    grants: &GrantRefusals,
    process: Option<Process>,
    offload: &Offload,
    certificate_expiry: Option<u64>,
) -> Vec<MetricFamily> {
    let per_transport = |value: fn(&TransportCounters) -> u64| {
        each(total)
            .map(move |(name, counters)| (vec![("transport", name)], value(counters)))
            .collect::<Vec<_>>()
    };
    let mut families = vec![
        gauge("relais_allocations", "Live allocations.", per_transport(|c| c.allocations)),
        counter(
            "relais_allocations_created_total",
            "Allocations made.",
            per_transport(|c| c.allocations_created),
        ),
        counter("relais_packets_total", "Datagrams, or frames of a stream.", traffic(total, |t| t.packets)),
        counter(
            "relais_bytes_total",
            "Bytes: application bytes for to_peer and to_client, whole messages for received and answered.",
            traffic(total, |t| t.bytes),
        ),
        counter(
            "relais_drops_total",
            "Datagrams or frames that went no further, by reason.",
            by(total, "reason", DropReason::ALL.iter().map(|r| r.name().to_owned()), |c| &c.drops),
        ),
        counter(
            "relais_errors_total",
            "Error answers, by STUN error code.",
            by(total, "code", ERROR_CODES.iter().map(u16::to_string), |c| &c.errors),
        ),
        counter(
            "relais_requests_total",
            "Requests answered with success, by method.",
            by(total, "method", CountedMethod::ALL.iter().map(|m| m.name().to_owned()), |c| &c.successes),
        ),
        gauge("relais_permissions", "Live permissions.", alone(total.permissions)),
        gauge("relais_channels", "Live channel bindings.", alone(total.channels)),
        gauge("relais_streams", "Open client streams.", per_transport(|c| c.streams)),
        counter(
            "relais_streams_refused_total",
            "Connections of clients that the server closed, by reason.",
            StreamRefusal::ALL
                .iter()
                .zip(total.streams_refused)
                .map(|(reason, count)| (vec![("reason", reason.name())], count))
                .collect(),
        ),
        gauge("relais_connections", "TCP connections with peers.", alone(total.connections)),
        counter(
            "relais_connections_created_total",
            "TCP connections with peers that were begun.",
            alone(total.connections_made),
        ),
        counter(
            "relais_connections_ended_total",
            "TCP connections with peers that have ended, by reason.",
            ConnectionEnd::ALL
                .iter()
                .zip(total.connection_ends)
                .map(|(end, count)| (vec![("reason", end.name())], count))
                .collect(),
        ),
        counter(
            "relais_grants_refused_total",
            "Requests of the iceServers API that were refused, by the code of the answer.",
            grants.counts().map(|(code, count)| (vec![("code", code)], count)).collect(),
        ),
        gauge("relais_workers", "Workers, that is threads that relay.", alone(workers as u64)),
        gauge(
            "relais_udp_offload",
            "What the kernel does beyond plain sockets: merge received datagrams (gro), cut sent messages (gso), take many with one call (batch) ...",
            FEATURES
                .iter()
                .map(|name| (vec![("feature", *name)], u64::from(offload.features.contains(name))))
                .collect(),
        ),
        counter(
            "relais_udp_gso_refusals_total",
            "Messages that the kernel would not cut; their datagrams were sent one by one.",
            alone(offload.gso_refusals),
        ),
        gauge(
            "relais_build_info",
            "Always 1; the label says which version runs.",
            vec![(vec![("version", env!("CARGO_PKG_VERSION"))], 1)],
        ),
    ];
    families.extend(certificate_expiry.map(|expiry| {
        gauge(
            "relais_tls_certificate_expiry_timestamp_seconds",
            "When the first of the certificates in use ends, in Unix time.",
            alone(expiry),
        )
    }));
    if let Some(process) = process {
        let resident = process.resident_bytes;
        families.extend([
            gauge("process_resident_memory_bytes", "Resident memory in bytes.", alone(resident)),
            family(
                "process_cpu_seconds_total",
                "User and system CPU time in seconds.",
                MetricType::COUNTER,
                [metric(&[], MetricType::COUNTER, process.cpu_seconds)],
            ),
            gauge("process_open_fds", "Open file descriptors.", alone(process.open_descriptors)),
            gauge("process_max_fds", "File descriptors that may be open.", alone(process.max_descriptors)),
        ]);
    }
    families
}

fn each(total: &Counters) -> impl Iterator<Item = (&'static str, &TransportCounters)> {
    Transport::ALL.iter().map(|transport| transport.name()).zip(&total.by_transport)
}

type Series<V> = Vec<(Vec<(&'static str, V)>, u64)>;

/// One series without labels.
fn alone(value: u64) -> Series<&'static str> {
    vec![(vec![], value)]
}

fn traffic(total: &Counters, value: fn(&crate::turn::Traffic) -> u64) -> Series<&'static str> {
    each(total)
        .flat_map(|(name, c)| {
            let directions = [
                ("to_peer", &c.to_peers),
                ("to_client", &c.to_clients),
                ("received", &c.received),
                ("answered", &c.answered),
            ];
            directions.map(|(direction, traffic)| {
                (vec![("transport", name), ("direction", direction)], value(traffic))
            })
        })
        .collect()
}

/// One series for each transport and each of `names`, whose values stand in the same order in `values`.
fn by(
    total: &Counters,
    label: &'static str,
    names: impl Iterator<Item = String> + Clone,
    values: fn(&TransportCounters) -> &[u64],
) -> Series<String> {
    each(total)
        .flat_map(|(transport, counters)| {
            names
                .clone()
                .zip(values(counters))
                .map(move |(name, value)| (vec![("transport", transport.to_owned()), (label, name)], *value))
        })
        .collect()
}

fn gauge<V: AsRef<str>>(name: &str, help: &str, series: Series<V>) -> MetricFamily {
    plain(name, help, MetricType::GAUGE, series)
}

fn counter<V: AsRef<str>>(name: &str, help: &str, series: Series<V>) -> MetricFamily {
    plain(name, help, MetricType::COUNTER, series)
}

fn plain<V: AsRef<str>>(name: &str, help: &str, kind: MetricType, series: Series<V>) -> MetricFamily {
    let metrics = series.iter().map(|(labels, value)| {
        let labels: Vec<_> = labels.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        // Beyond 2^53 a float loses the last digits: after 9 petabytes, where nobody reads them.
        #[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
        metric(&labels, kind, *value as f64)
    });
    family(name, help, kind, metrics)
}

fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    metrics: impl IntoIterator<Item = Metric>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.into_iter().collect());
    family
}

fn metric(labels: &[(&str, &str)], kind: MetricType, value: f64) -> Metric {
    let labels = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut metric = Metric::from_label(labels.collect());
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_from_the_start_and_the_set_never_grows() {
        let names = |text: &str| -> Vec<String> {
            let series = text.lines().filter(|line| !line.starts_with('#'));
            series.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
        };
        let none = &Offload::default();
        let grants = GrantRefusals::default();
        let idle = names(&render(&[Counters::default()], &grants, None, none, None));
        let mut busy = Counters::default();
        busy.of(Transport::Udp).drop(DropReason::NoChannel);
        busy.of(Transport::Tcp).error(486);
        grants.count("unauthorized");
        grants.count("from the wire");
        assert_eq!(idle, names(&render(&[busy, busy], &grants, None, none, None)));
        let per_transport = 3 + 2 * 4 + DropReason::ALL.len() + ERROR_CODES.len() + CountedMethod::ALL.len();
        let alone = 7 + FEATURES.len() + ConnectionEnd::ALL.len() + StreamRefusal::ALL.len();
        let alone = alone + grants.counts().count();
        assert_eq!(idle.len(), Transport::ALL.len() * per_transport + alone);
    }

    #[test]
    fn workers_are_added_up() {
        let mut worker = Counters { permissions: 3, ..Counters::default() };
        worker.of(Transport::Udp).drop(DropReason::NoChannel);
        worker.of(Transport::Tcp).error(486);
        worker.of(Transport::Udp).to_peers.add(100);
        worker.streams_refused[StreamRefusal::LoginDeadline as usize] = 4;
        worker.of(Transport::Udp).successes[CountedMethod::Refresh as usize] = 7;
        let offload = &Offload { features: vec!["gro", "tos"], gso_refusals: 3 };
        let grants = GrantRefusals::default();
        grants.count("not_allowed");
        let text = render(&[worker, worker], &grants, None, offload, Some(4_000_000_000));
        for line in [
            "relais_drops_total{transport=\"udp\",reason=\"no_channel\"} 2",
            "relais_errors_total{transport=\"tcp\",code=\"486\"} 2",
            "relais_packets_total{transport=\"udp\",direction=\"to_peer\"} 2",
            "relais_bytes_total{transport=\"udp\",direction=\"to_peer\"} 200",
            "relais_requests_total{transport=\"udp\",method=\"refresh\"} 14",
            "relais_streams_refused_total{reason=\"login_deadline\"} 8",
            "relais_permissions 6",
            "relais_grants_refused_total{code=\"not_allowed\"} 1",
            "relais_workers 2",
            "relais_udp_offload{feature=\"gro\"} 1",
            "relais_udp_offload{feature=\"gso\"} 0",
            "relais_udp_gso_refusals_total 3",
            "relais_tls_certificate_expiry_timestamp_seconds 4000000000",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_process_name_with_parentheses_does_not_shift_the_fields() {
        let status = "Name:\trelais\nVmRSS:\t   11000 kB\n";
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 0 0";
        let limits = "Max open files            1024                 524288               files     \n";
        let process = Process::parse(status, stat, limits, 9).unwrap();
        assert_eq!(process.resident_bytes, 11_000 * 1024);
        assert_eq!(process.cpu_seconds, 3.0);
        assert_eq!((process.open_descriptors, process.max_descriptors), (9, 1024));
    }

    #[test]
    fn this_process_can_be_read() {
        let process = Process::read().unwrap();
        assert!(process.resident_bytes > 0 && process.open_descriptors > 0);
    }
}
