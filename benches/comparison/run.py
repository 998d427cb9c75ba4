"""Lets the servers take turns at each workload."""

import sys

from .machine import resident_kib
from .network import Failure
from .rows import ROWS, result

HELD = 5000


def measure(rows, servers, load, turns, scale):
    """The results of the rows, each from as many turns of every server."""
    runs = {}
    for row in rows:
        for needed in (row, *(other for other in ROWS if row.against and other.name == row.against[0])):
            _take_turns(needed, runs.setdefault(needed.work, {}), servers, load, turns, scale)

    def own(name):
        other = next(row for row in ROWS if row.name == name)
        return result(other, runs[other.work], own).figures["relais"]

    return [result(row, runs[row.work], own) for row in rows]


def _take_turns(row, runs, servers, load, turns, scale):
    """Adds the runs of a workload that are not there yet."""
    contestants = ["relais", "coturn", *(["forwarding"] if row.forwarding else [])]
    for turn in range(turns):
        # Nobody is always the one who comes after a certain other.
        for name in contestants[turn % len(contestants):] + contestants[: turn % len(contestants)]:
            several = runs.setdefault(name, [])
            if len(several) <= turn:
                several.append(_once(row, name, servers, load, scale))
                print(f"{row.name}, turn {turn + 1} of {turns}, {name}: {several[-1][row.figure]:.2f} {row.unit}", file=sys.stderr)


def _once(row, name, servers, load, scale):
    """One run of a workload against one server that starts for it."""
    if name == "forwarding":
        return _throughput(row.work, load, None, scale)
    server = servers.relais() if name == "relais" else servers.coturn()
    try:
        return KINDS[row.work.kind](row.work, load, server.pid, scale)
    except Failure as failure:
        raise Failure(f"{row.name}, {name}: {failure}") from failure
    finally:
        server.stop()


def _throughput(work, load, pid, scale):
    rate = "search" if work.kpps is None else f"{work.kpps * scale:g}k"
    found = load.throughput(work.transport, pid, "--rate", rate, *work.options)
    found["loss"] = found["lost"] / found["sent"]
    found["p99"] = found["latency_us"]["p99"]
    found["kpps"] = found["packets_per_second"] / 1000
    return found


def _stun(work, load, pid, _scale):
    return load.bench("stun", work.transport, pid)


def _churn(work, load, pid, _scale):
    return load.bench("churn", work.transport, pid)


def _hold(work, load, pid, _scale):
    base = resident_kib(pid)
    held = load.hold(pid, HELD, lambda: resident_kib(pid))
    return {"base_mib": base / 1024, "kib_per_allocation": (held - base) / HELD}


KINDS = {"throughput": _throughput, "stun": _stun, "churn": _churn, "hold": _hold}
