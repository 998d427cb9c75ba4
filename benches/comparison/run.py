"""Lets the servers take turns at each workload."""

import sys

from .network import PEER, Failure
from .rows import ROWS, Unmeasured, result

HELD = 5000

# The share of cycles that may fail.
MAY_FAIL = 0.005


def measure(rows, servers, load, turns, scale):
    """The results of the rows, each from as many turns of every server."""
    runs = {}

    def own(name):
        other = next(row for row in ROWS if row.name == name)
        _take_turns(other, runs.setdefault(other.work, {}), servers, load, turns, scale)
        return result(other, runs[other.work], own).figures["relais"]

    results = []
    for row in rows:
        try:
            _take_turns(row, runs.setdefault(row.work, {}), servers, load, turns, scale)
            results.append(result(row, runs[row.work], own))
        except Failure as failure:
            print(f"{row.name}: {failure}", file=sys.stderr)
            results.append(Unmeasured(row, str(failure)))
    return results


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
    server = {"relais": servers.relais, "coturn": servers.coturn, "forwarding": lambda: None}[name]()
    try:
        return KINDS[row.work.kind](row.work, load, server and server.pid, scale)
    except Failure as failure:
        raise Failure(f"{name}: {failure}") from failure
    finally:
        if server:
            server.stop()


def _throughput(work, load, pid, scale):
    rate = "search" if work.kpps is None else f"{work.kpps * scale:g}k"
    found = load.throughput(work.transport, pid, "--rate", rate, *work.options)
    _shares(found)
    found["p99"] = found["latency_us"]["p99"]
    found["kpps"] = found["packets_per_second"] / 1000
    return found


def _shares(found):
    """Adds which share of what was sent is lost, and which share of what was to be sent was not."""
    found["loss"] = found["lost"] / found["sent"]
    found["short"] = max(0.0, 1 - found["sent"] / (found["offered_per_second"] * found["seconds"]))


def _stun(work, load, pid, scale):
    found = load.bench("stun", "udp", pid, *load.span(), "--rate", f"{work.kpps * scale:g}k")
    _shares(found)
    return found


def _churn(_work, load, pid, _scale):
    found = load.bench("churn", "udp", pid, *load.span(), "--peer-address", PEER)
    if not found["cycles"]:
        raise Failure("no cycle came to its end")
    if found["failed_share"] > MAY_FAIL:
        raise Failure(f"{found['failed']} cycles failed: {found['failed_by_code']}")
    return found


def _hold(_work, load, pid, _scale):
    found = load.bench("hold", "udp", pid, "--allocations", str(HELD), "--duration", "1s")
    if found["server_rss_per_allocation"] is None:
        raise Failure("the server's memory has not grown")
    return {"base_mib": found["server_rss_before"] / 2**20,
            "kib_per_allocation": found["server_rss_per_allocation"] / 1024}


KINDS = {"throughput": _throughput, "stun": _stun, "churn": _churn, "hold": _hold}
