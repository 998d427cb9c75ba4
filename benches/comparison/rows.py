"""The workloads, what each must reach, and how it is measured."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """What the ratio, or where there is nothing to compare with the figure, has to stay at or below; with `least`, above."""

    must: float
    aim: float
    least: bool = False

    def holds(self, value, limit):
        """Whether the value is within the limit."""
        return value >= limit if self.least else value <= limit


@dataclass(frozen=True)
class Work:
    """A load: packets per second in thousands (None: the highest that comes through) and further options."""

    kpps: float | None = None
    options: tuple = ()
    transport: str = "udp"
    kind: str = "throughput"


@dataclass(frozen=True)
class Row:
    """A line of the table: a figure of `found`, ours beside coturn's and the forwarding kernel's."""

    name: str
    title: str
    unit: str
    bound: Bound
    # Rows with the same workload share its runs.
    work: Work
    # The figure, out of what one run found.
    figure: str = "server_cpu_us_per_packet"
    # Whether the kernel could do the same by forwarding.
    forwarding: bool = True
    # The bound is one of the figure itself.
    absolute: bool = False
    # Compared with so many times our own cost in the row of this name, instead of coturn's in this row.
    against: tuple | None = None


def _relayed(name, title, bound, work, **more):
    return Row(name, title, "µs", bound, work, **more)


def _video(kpps, *more, allocations=100, transport="udp"):
    return Work(kpps, ("--mix", "video", "--allocations", str(allocations), *more), transport)


def _audio(kpps):
    return Work(kpps, ("--mix", "audio", "--allocations", "100"))


ROWS = (
    _relayed("video-300", "video, 300 kpps", Bound(0.56, 0.47), _video(300)),
    _relayed("video-200", "video, 200 kpps", Bound(0.65, 0.58), _video(200)),
    _relayed("video-100", "video, 100 kpps", Bound(0.75, 0.70), _video(100)),
    _relayed("video-1", "video, 100 kpps, 1 allocation", Bound(0.75, 0.70), _video(100, allocations=1)),
    _relayed("video-1000", "video, 100 kpps, 1,000 allocations", Bound(0.75, 0.70), _video(100, allocations=1000)),
    _relayed("audio-100", "audio, 100 kpps", Bound(0.82, 0.75), _audio(100)),
    _relayed("audio-200", "audio, 200 kpps", Bound(0.80, 0.75), _audio(200)),
    _relayed("indications", "video in indications, 100 kpps", Bound(0.78, 0.70), _video(100, "--form", "indications"),
             forwarding=False),
    _relayed("one-peer-300", "video, 300 kpps, all to one peer", Bound(0.56, 0.47), _video(300, "--peers", "one"),
             forwarding=False),
    _relayed("one-peer-100", "video, 100 kpps, all to one peer", Bound(0.75, 0.70), _video(100, "--peers", "one"),
             forwarding=False),
    _relayed("tcp", "TCP clients, video, 40 kpps, 10 allocations", Bound(0.75, 0.60), _video(40, allocations=10, transport="tcp"),
             forwarding=False),
    _relayed("tls", "TLS clients, video, 40 kpps, 10 allocations", Bound(0.78, 0.60), _video(40, allocations=10, transport="tls"),
             forwarding=False),
    Row("highest", "highest rate with < 0.5 % lost, video", "kpps", Bound(2.2, 2.6, least=True),
        _video(None, "--max-loss", "0.5%"), figure="kpps", forwarding=False),
    Row("latency", "99th percentile of the latency, video, 300 kpps", "µs", Bound(0.35, 0.28), _video(300), figure="p99"),
    _relayed("hairpin", "relay to relay, video, 100 kpps, beside two legs of our own", Bound(0.6, 0.5),
             _video(100, "--peers", "relay"), forwarding=False, against=("video-100", 2)),
    Row("binding", "STUN Binding, more than can be answered", "µs", Bound(0.55, 0.50), Work(300, kind="stun"),
        figure="server_cpu_us_per_request", forwarding=False),
    Row("churn", "allocate, permission, channel, delete", "µs", Bound(0.37, 0.30), Work(kind="churn"),
        figure="server_cpu_us_per_cycle", forwarding=False),
    Row("memory", "resident memory for each idle allocation", "KiB", Bound(1.5, 1.5), Work(kind="hold"),
        figure="kib_per_allocation", forwarding=False, absolute=True),
    Row("base", "resident memory without allocations", "MiB", Bound(12, 12), Work(kind="hold"), figure="base_mib",
        forwarding=False, absolute=True),
)


@dataclass
class Result:
    """What was found for one row: medians, and remarks on what they do not say."""

    row: Row
    figures: dict
    lost: dict
    short: dict
    reference: float

    @property
    def ratio(self):
        """The value that is held to the bound."""
        ours = self.figures["relais"]
        return ours if self.row.absolute else ours / self.reference

    @property
    def met(self):
        """Whether the row reaches what it must."""
        return self.row.bound.holds(self.ratio, self.row.bound.must)


@dataclass
class Unmeasured:
    """A row for which there is no result, and why."""

    row: Row
    reason: str
    met: bool = False


def result(row, runs, own):
    """The result of a row from the runs of each server; `own` gives our figure in another row."""

    def medians(figure):
        return {server: statistics.median(found.get(figure, 0.0) for found in several) for server, several in runs.items()}

    figures = medians(row.figure)
    reference = own(row.against[0]) * row.against[1] if row.against else figures["coturn"]
    return Result(row, figures, medians("loss"), medians("short"), reference)
