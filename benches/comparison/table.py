"""Prints results as a table in Markdown."""

from .rows import Unmeasured

NAMES = {"relais": "Relais", "coturn": "coturn", "forwarding": "forwarding"}


def table(results):
    """The table, and below it what its figures do not say by themselves."""
    lines = ["| Workload | | Relais | coturn | forwarding | ratio | must | aim | |", "|---|---|---|---|---|---|---|---|---|"]
    lines += [_line(result) for result in results]
    notes = [note for result in results for note in _notes(result)]
    missed = sum(not result.met for result in results)
    notes.append(f"{len(results) - missed} of {len(results)} rows reach what they must.")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)])


def _line(result):
    row = result.row
    if isinstance(result, Unmeasured):
        return f"| {row.title} | {row.unit} | | | | | | | not measured |"
    cells = [_figure(result.figures.get(server)) for server in NAMES]
    sign = "≥" if row.bound.least else "≤"
    ratio = "" if row.absolute else f"{result.ratio:.2f}"
    verdict = "missed"
    if result.met:
        verdict = "aim met" if row.bound.holds(result.ratio, row.bound.aim) else "met"
    return "| " + " | ".join([row.title, row.unit, *cells, ratio, f"{sign} {row.bound.must:g}", f"{sign} {row.bound.aim:g}",
                              verdict]) + " |"


def _figure(value):
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _notes(result):
    if isinstance(result, Unmeasured):
        yield f"{result.row.title}: {result.reason}"
        return
    lost, short = (_shares(shares) for shares in (result.lost, result.short))
    if lost:
        yield f"{result.row.title}: lost by {lost}; the costs are those of a packet that arrived."
    if short:
        yield f"{result.row.title}: the load fell short of its rate, for {short}."


def _shares(shares):
    """The shares worth mentioning."""
    return ", ".join(f"{NAMES[server]} {share:.0%}" for server, share in shares.items() if share > 0.02)
