"""What the design wants of the figures, as data, and whether a run has it."""

from __future__ import annotations

from typing import Any, NamedTuple

from bench.tables import digits, table, time
from bench.tables import listed as _listed


class Limit(NamedTuple):
    """At most ``floor`` times the floor; the best peer takes at least ``best`` times as long, and
    the better of some columns at least so many times."""

    floor: float
    best: float | None = None
    pytorch: float | None = None
    scan: float | None = None


PYTORCH = ("PyTorch", "PyTorch fused")
SCAN = ("JAX scan", "JAX scan, one function")
LIMITS = {
    ("epochs", "W1"): Limit(3, pytorch=20, scan=3),
    ("steps", "W2"): Limit(2, 2, 5),
    ("steps", "W3"): Limit(2, 2, 5),
    ("steps", "W4"): Limit(2, 2, 5),
    ("steps", "W5"): Limit(1.25, 1),
    ("steps", "W6"): Limit(2, 2),
    ("steps", "W7"): Limit(2, 2),
    ("steps", "W8"): Limit(1.5, 1),
}
SLOWER = 1.05  # what two threads take of the time of one, at most
COLD, WARM = 1.0, 0.150  # seconds to the first result of W4; with code on the disk


def best(timings: dict[str, Any]) -> tuple[float, str]:
    """(median, threads) of the better number of threads."""
    return min((t[1], threads) for threads, t in timings.items())


def best_of(row: dict[str, Any], names: Any) -> tuple[float, str, str] | None:
    """(median, threads, who) of the best among these contestants; None if none of them ran."""
    found = [(*best(row["peers"][n]), n) for n in names if n in row["peers"]]
    return min(found) if found else None


def others(row: dict[str, Any]) -> list[str]:
    """The peers: whoever is not ours."""
    return [name for name in row["peers"] if not name.startswith("contraflow")]


def mark(met: bool) -> str:
    return "✓" if met else "✗"


def at_most(value: float, limit: float) -> str:
    return f"{digits(value)} (≤ {limit:g}) {mark(value <= limit)}"


def ahead(row: dict[str, Any], names: Any, limit: float | None) -> str:
    """How many times longer the best of them takes, beside what is wanted."""
    ours, peer = row["peers"]["contraflow"], best_of(row, names)
    if limit is None or peer is None:
        return ""
    ratio = peer[0] / best(ours)[0]
    return f"{digits(ratio)}× (≥ {limit:g}) {mark(ratio >= limit)}"


def threads_ratio(row: dict[str, Any]) -> str:
    """Two threads beside one."""
    ours = row["peers"]["contraflow"]
    return at_most(ours["2"][1] / ours["1"][1], SLOWER) if {"1", "2"} <= set(ours) else ""


def wanted(results: dict[str, Any]) -> str:
    """Every figure that something is wanted of."""
    rows = []
    for (part, name), limit in LIMITS.items():
        for row in results.get(part, ()):
            if row["name"] != name or "contraflow" not in row["peers"]:
                continue
            seconds, threads = best(row["peers"]["contraflow"])
            rows.append([
                f"{name}, native loop" if part == "epochs" else name,
                at_most(seconds / row["floor"][threads], limit.floor),
                ahead(row, others(row), limit.best),
                ahead(row, PYTORCH, limit.pytorch),
                ahead(row, SCAN, limit.scan),
                threads_ratio(row),
            ])  # fmt: skip
    head = ["", "÷ floor", "best peer", "PyTorch eager", "JAX scan", "two threads ÷ one"]
    parts = [table(head, rows)] if rows else []
    return "\n\n".join(parts + starts(results))


def starts(results: dict[str, Any]) -> list[str]:
    """The sentence on the first step."""
    found = results.get("cold", {}).get("contraflow")
    if not found:
        return []
    texts = []
    for state, limit in (("cold", COLD), ("warm", WARM)):
        seconds = found[f"{state} build"][1] + found[f"{state} first"][1]
        texts.append(f"{state} {time(seconds)} (< {time(limit)}) {mark(seconds < limit)}")
    return [f"From the import to the first result of W4: {_listed(texts)}."]
