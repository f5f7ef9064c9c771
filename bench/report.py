"""The results of a run as Markdown, and into the pages that show them."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

from bench.machine import ROOT

BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
Timing = list[float]  # quartile, median, quartile


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]

    def line(cells: list[str]) -> str:
        padded = (c.ljust(n) if not i else c.rjust(n)
                  for i, (c, n) in enumerate(zip(cells, widths, strict=True)))  # fmt: skip
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (n + 1) + ("-" if not i else ":") for i, n in enumerate(widths))
    return "\n".join([line(head), rule + "|", *map(line, rows)])


def time(seconds: float) -> str:
    """A time with three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size * 0.9995:
            return f"{digits(seconds / size)} {unit}"
    return f"{digits(seconds / 1e-9)} ns"


def digits(x: float) -> str:
    """Three significant digits, never as a power of ten."""
    return f"{x:,.0f}" if x >= 99.95 else f"{x:.1f}" if x >= 9.995 else f"{x:.2f}"


def spread(t: Timing) -> str:
    """The median, and how far the quartiles lie from it."""
    low, median, high = t
    return f"{time(median)} ±{(high - low) / 2 / median:.0%}"


def environment(results: dict[str, Any]) -> str:
    """Machine, versions, commit and date in a sentence."""
    machine, versions = results["machine"], results["versions"]
    listed = ", ".join(f"{name} {v}" for name, v in versions.items())
    return (
        f"{machine['processor']}, {results['threads']} of {machine['cores']} cores; "
        f"{results['flops'] / 1e9:.0f} GFLOP/s in a large product and "
        f"{results['bytes'] / 1e9:.0f} GB/s in cache, measured in the same run. {listed}. "
        f"{results['date']}, commit {results['commit']}."
    )


def peers_in(results: dict[str, Any]) -> list[str]:
    """The columns: contraflow first, then every peer that ran."""
    return list(dict.fromkeys(name for row in results["steps"] for name in row["peers"]))


def steps(results: dict[str, Any], short: bool = False) -> str:
    """One row a workload: the floor, our time, and each peer's time with its ratio to ours."""
    _, *others = peers_in(results)
    rows = []
    for row in results["steps"]:
        ours = row["peers"]["contraflow"]
        cells = [f"{row['name']} {row['title']}"]
        if not short:
            cells.append(f"{row['parameters']:,}")
        cells += [time(row["floor"]), time(ours[1]) if short else spread(ours)]
        if not short:
            cells.append(f"{digits(ours[1] / row['floor'])}")
        for name in others:
            t = row["peers"].get(name)
            ratio = "" if t is None else f"{digits(t[1] / ours[1])}×"
            cells.append("–" if t is None else ratio if short else f"{spread(t)} ({ratio})")
        rows.append(cells)
    head = ["training step", *([] if short else ["parameters"]), "floor", "contraflow",
            *([] if short else ["÷ floor"]), *others]  # fmt: skip
    return table(head, rows)


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


def absent(results: dict[str, Any]) -> str:
    """What is missing from the tables, named."""
    missing = {**results.get("absent", {}), **results.get("later", {})}
    return "\n".join(f"- {name}: {why}." for name, why in missing.items())


def page(results: dict[str, Any]) -> str:
    """All tables, for the documentation."""
    parts = [environment(results)]
    if "steps" in results:
        parts += ["### Training steps", steps(results), "Not in the table:", absent(results)]
    if "ops" in results:
        parts += ["### Small ops", ops(results)]
    if "import" in results:
        parts += ["### Import", imports(results)]
    if "loader" in results:
        parts += ["### A shuffled epoch of 1,000,000 × 10 numbers", loader(results)]
    return "\n\n".join(parts)


def short(results: dict[str, Any]) -> str:
    """The table of the README."""
    return "\n\n".join([
        steps(results, short=True),
        "Time of one training step; the peers' columns say how many times longer (below 1: less "
        "long) they take. The floor is what this machine's arithmetic and memory need at least. "
        + environment(results),
    ])  # fmt: skip


def write(results: dict[str, Any]) -> list[Path]:
    """Put the tables between the marks in README.md and docs/benchmarks.md."""
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
