"""The results of a run as Markdown, and into the pages that show them."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

from bench.machine import ROOT
from bench.tables import digits, listed, spread, table, time
from bench.turns import medians
from bench.wanted import PYTORCH, best, best_of, others, wanted

BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
CORES = {"1": "One core", "2": "Two cores together"}
WORDS = {1: "one thread", 2: "two threads"}


def environment(results: dict[str, Any]) -> str:
    """Machine, versions, commit and date in a few sentences."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {v}" for name, v in results["versions"].items())
    text = (
        f"{machine['processor']}, {machine['usable']} of {machine['cores']} cores. "
        f"{speeds(results)}{versions}. "
        f"{results['date']}, commit {results['commit']}."
    )
    if "others" in results:
        text += f" Other programs took {results['others']:.1%} of the machine meanwhile."
    if results["partial"]:
        text = f"**Part of a run that was stopped.** {text}"
    return text


def speeds(results: dict[str, Any]) -> str:
    """What the cores did beside the workloads, as a sentence for each number of them."""
    of: dict[str, list[dict[str, float]]] = {}
    for part in ("steps", "epochs"):
        for row in results.get(part, ()):
            for threads, rates in row.get("rates", {}).items():
                of.setdefault(threads, []).append(rates)
    text = ""
    for threads, found in sorted(of.items()):
        rates = medians(found)
        text += (
            f"{CORES.get(threads, f'{threads} cores together')}, in the same rounds: "
            f"{rates['flops'] / 1e9:.0f} GFLOP/s in registers and {rates['product'] / 1e9:.0f} in "
            f"NumPy's product, {rates['cache'] / 1e9:.0f} GB/s in the cache and "
            f"{rates['memory'] / 1e9:.0f} in memory. "
        )
        if "handoff" in rates:
            hops = sorted(of_one["handoff"] for of_one in found)
            text += (
                f"What one core writes the other one sees after {time(hops[0])} to "
                f"{time(hops[-1])}, in the middle {time(rates['handoff'])}. "
            )
    return text


def raised(threads: str) -> str:
    """The mark of a figure: how many threads it was measured with, if more than one."""
    return "" if threads == "1" else f" {threads.translate(RAISED)}"


def columns(rows: list[dict[str, Any]]) -> list[str]:
    """Whoever ran, in the order of the list of contestants, contraflow first."""
    return list(dict.fromkeys(name for row in rows for name in row["peers"]))


def ran(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows in which contraflow was measured."""
    return [row for row in rows if "contraflow" in row["peers"]]


def label(row: dict[str, Any]) -> str:
    return f"{row['name']} {row['title']}"


def compared(rows: list[dict[str, Any]]) -> str:
    """The floor, our time, and how many times longer everybody else takes; the best peer bold."""
    names = columns(rows)[1:]
    lines = []
    for row in rows:
        ours, threads = best(row["peers"]["contraflow"])
        floor = row["floor"][threads]
        cells = [label(row), time(floor), time(ours) + raised(threads), digits(ours / floor)]
        winner = best_of(row, others(row))
        for name in names:
            cell = "–"
            if name in row["peers"]:
                seconds, count = best(row["peers"][name])
                cell = f"{digits(seconds / ours)}×"
                cell = f"**{cell}**" if winner and winner[2] == name else cell
                cell += raised(count)
            cells.append(cell)
        lines.append(cells)
    return table(["", "floor", "contraflow", "÷ floor", *names], lines)


def timings(rows: list[dict[str, Any]], threads: str) -> str:
    """The times of everybody with one number of threads."""
    names = columns(rows)
    lines = [
        [row["name"], *(spread(row["peers"][n][threads])
                        if threads in row["peers"].get(n, {}) else "–" for n in names)]
        for row in rows
    ]  # fmt: skip
    return table(["", *names], lines)


def side_by_side(results: dict[str, Any], part: str) -> list[str]:
    """The comparison, and the times for each number of threads."""
    rows = ran(results[part])
    if not rows:
        return []
    parts = [compared(rows)]
    for n in results["threads"]:
        parts += [f"Times with {WORDS.get(n, f'{n} threads')}:", timings(rows, str(n))]
    return parts


def ops(results: dict[str, Any]) -> str:
    """Forward and backward of small tensors beside PyTorch's, and the median ratio."""
    rows, ratios = [], []
    for name, t in results["ops"].items():
        cells = [name, spread(t["contraflow forward"]), spread(t["contraflow both"])]
        if "PyTorch both" in t:
            both = t["contraflow both"][1] / t["PyTorch both"][1]
            ratios.append(both)
            cells += [
                spread(t["PyTorch forward"]), spread(t["PyTorch both"]),
                digits(t["contraflow forward"][1] / t["PyTorch forward"][1]), digits(both),
            ]  # fmt: skip
        rows.append(cells)
    head = ["on 4×4", "forward", "forward + backward"]
    if not ratios:
        return table(head, rows)
    head += ["PyTorch forward", "PyTorch both", "ratio forward", "ratio both"]
    return (
        f"{table(head, rows)}\n\nRatio of forward and backward to PyTorch's eager one: median "
        f"{statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}; "
        f"above 1 (slower than PyTorch) in {sum(r > 1 for r in ratios)} of {len(ratios)}."
    )


def calls(results: dict[str, Any]) -> str:
    """The call of a compiled step, the native code in it, and the difference."""
    rows = [
        [name, spread(t["call"]), spread(t["native"]), time(t["call"][1] - t["native"][1])]
        for name, t in results["calls"].items()
    ]
    return table(["one thread", "a call from Python", "the native code alone", "around it"], rows)


def busy(results: dict[str, Any]) -> str:
    """One thread and two, while somebody else keeps one of the two cores busy."""
    rows = [
        [name, spread(t["1"]), spread(t["2"]), digits(t["2"][1] / t["1"][1])]
        for name, t in results["busy"].items()
    ]
    return table(["beside a busy core", "one thread", "two threads", "two ÷ one"], rows)


def cold(results: dict[str, Any]) -> str:
    """The first step of a fresh process."""
    states = ("cold", "warm")
    head = ["W4, one thread", *(f"{s}: {part}" for s in states for part in ("build", "first step"))]
    rows = [
        [name, *(spread(t[f"{s} {part}"]) if f"{s} {part}" in t else "–"
                 for s in states for part in ("build", "first"))]
        for name, t in results["cold"].items()
    ]  # fmt: skip
    return table(head, rows)


def imports(results: dict[str, Any]) -> str:
    """Import times, and what is above NumPy's."""
    numpy = results["import"]["numpy"][1]
    return table(["import", "time", "above NumPy's"],
                 [[name, spread(t), "–" if name == "numpy" else time(max(t[1] - numpy, 0.0))]
                  for name, t in results["import"].items()])  # fmt: skip


def loader(results: dict[str, Any]) -> str:
    """A shuffled epoch for each batch size, and its ratio to one take."""
    take, *epochs = results["loader"].items()
    return table(["batch size", "epoch", "÷ one take"],
                 [["(one take of all rows)", spread(take[1]), "1.00"],
                  *([f"{int(size):,}", spread(t), digits(t[1] / take[1][1])]
                    for size, t in epochs)])  # fmt: skip


def absent(results: dict[str, Any]) -> list[str]:
    """What is missing from the tables, named."""
    missing = {**results.get("absent", {}), **results.get("later", {})}
    for part in ("steps", "epochs"):
        for row in results.get(part, ()):
            for name, why in row.get("failed", {}).items():
                missing[f"{name} in {row['name']} ({part})"] = why
    lines = [f"- {name}: {why}." for name, why in missing.items()]
    return ["Not in the tables:", "\n".join(lines)] if lines else []


TABLES = {  # part -> heading, its tables
    "steps": ("Training steps", lambda r: side_by_side(r, "steps")),
    "epochs": ("Epochs, a step of them", lambda r: side_by_side(r, "epochs")),
    "calls": ("The call around the native code", lambda r: [calls(r)]),
    "busy": ("Two threads beside a busy core", lambda r: [busy(r)]),
    "cold": ("The first step in a fresh process", lambda r: [cold(r)]),
    "ops": ("Small ops", lambda r: [ops(r)]),
    "import": ("Import", lambda r: [imports(r)]),
    "loader": ("A shuffled epoch of 1,000,000 × 10 numbers", lambda r: [loader(r)]),
}


def page(results: dict[str, Any]) -> str:
    """All tables, for the documentation."""
    parts = [environment(results)]
    if text := wanted(results):
        parts += ["### Wanted and measured", text]
    for part, (heading, tables) in TABLES.items():
        if part in results and (shown := tables(results)):
            parts += [f"### {heading}", *shown]
            if part == "epochs" or (part == "steps" and "epochs" not in results):
                parts += absent(results)
    return "\n\n".join(parts)


def short(results: dict[str, Any]) -> str:
    """The table of the README: the best peer and ours."""
    lines = []
    for part in ("steps", "epochs"):
        for row in ran(results.get(part, [])):
            ours, threads = best(row["peers"]["contraflow"])
            floor, peer = row["floor"][threads], best_of(row, others(row))
            name = label(row) if part == "steps" else f"{row['name']} within a whole epoch"
            cells = [name, time(floor), time(ours) + raised(threads), digits(ours / floor)]
            for names in (["contraflow loop"], PYTORCH):
                found = best_of(row, names)
                cells.append(time(found[0]) + raised(found[1]) if found else "–")
            if peer:
                cells += [f"{time(peer[0])}{raised(peer[1])} {peer[2]}",
                          f"{digits(peer[0] / ours)}×"]  # fmt: skip
            lines.append(cells + ["–"] * (8 - len(cells)))
    head = ["one training step", "floor", "compiled", "÷ floor", "plain loop", "PyTorch",
            "best peer", "÷ compiled"]  # fmt: skip
    ran_with = [WORDS.get(n, f"{n} threads") for n in results["threads"]]
    return "\n\n".join([
        table(head, lines),
        "The floor is what this machine's arithmetic and memory need at least; the plain loop is "
        "contraflow's, without a decorator; PyTorch's is eager, the better of plain and fused; the "
        "last column says how many times longer the best peer takes. Everybody ran with "
        f"{listed(ran_with)}; "
        f"the better figure is shown, {raised('2').strip()} marks two. "
        f"Peers: {', '.join(_peers(results))}. " + environment(results),
    ])  # fmt: skip


def _peers(results: dict[str, Any]) -> list[str]:
    rows = [row for part in ("steps", "epochs") for row in ran(results.get(part, []))]
    return list(dict.fromkeys(name for row in rows for name in others(row)))


def write(results: dict[str, Any]) -> list[Path]:
    """Put the tables between the marks in README.md and docs/benchmarks.md."""
    if results["partial"]:
        raise SystemExit("a part of a run is not written into the pages")
    done = []
    for name, text in (("README.md", short), ("docs/benchmarks.md", page)):
        path = ROOT / name
        old = path.read_text()
        found = re.findall(f"{BEGIN}.*?{END}", old, flags=re.DOTALL)
        if len(found) != 1:
            raise SystemExit(f"{name} must have one place between {BEGIN} and {END}")
        path.write_text(old.replace(found[0], f"{BEGIN}\n\n{text(results)}\n\n{END}"))
        done.append(path)
    return done
