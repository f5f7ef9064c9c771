"""Small ops, and whole training steps and epochs, side by side."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import contraflow
from bench import eager_ops
from bench.floors import cost, floor
from bench.peers import PEERS, installed, ours
from bench.timing import Timing, interleaved
from bench.turns import Turns
from bench.workloads import LATER, WORKLOADS

CALLED = ("W1", "W2")  # where the call weighs as much as what it calls


def ops(rounds: int) -> dict[str, Any]:
    """Forward, and forward with backward, of each small op: ours and PyTorch's eager one."""
    libraries = {"contraflow": contraflow}
    if "PyTorch" in installed(["PyTorch"])[0]:
        libraries["PyTorch"] = import_module("torch")
        libraries["PyTorch"].set_num_threads(1)
    contraflow.set_default_mode("eager")
    found: dict[str, Any] = {}
    for name, case in eager_ops.CASES.items():
        steps = {
            f"{library} {what}": step
            for library, module in libraries.items()
            for what, step in zip(("forward", "both"), eager_ops.steps(module, case), strict=True)
        }
        found[name] = interleaved(steps, rounds, 0.02)
    return found


def calls(rounds: int) -> dict[str, dict[str, Timing]]:
    """A compiled step as Python calls it, and the native code that it calls."""
    contraflow.set_num_threads(1)
    found = {}
    for w in WORKLOADS:
        if w.name in CALLED:
            train, batch = ours.compiled(w), ours.batch(w)
            train(*batch)
            found[w.name] = interleaved(
                {"call": lambda train=train, batch=batch: train(*batch),
                 "native": ours.native_code(train)}, rounds, 0.05
            )  # fmt: skip
    return found


def rows(
    what: str, turns: Turns, rounds: int, chosen: list[str], names: list[str],
    results: dict[str, Any], keep: Callable[[], None],
) -> None:  # fmt: skip
    """Every workload with every contestant that is installed, beside its floors.

    Args:
        what: "step" or "epoch".
        turns: the processes.
        rounds: samples of each figure.
        chosen: the workloads; none means all.
        names: the contestants.
        results: takes the rows as ``steps`` or ``epochs``, and what is ``absent``.
        keep: called after each row.
    """
    there, absent = installed([n for n in names if getattr(PEERS[n], what)])
    results.setdefault("absent", {}).update(absent)
    results["later"] = LATER
    found = results.setdefault(f"{what}s", [])
    for w in WORKLOADS:
        if (chosen and w.name not in chosen) or (what == "epoch" and not w.batches):
            continue
        row = {
            "name": w.name, "title": w.title, "parameters": cost(w.layers, w.shape)[0].parameters,
            "batches": w.batches if what == "epoch" else 1,
        }  # fmt: skip
        found.append(row)
        try:
            turns.row(w.name, what, {n: PEERS[n].environment for n in there}, rounds, row)
        finally:
            row["floor"] = {
                n: floor(w, row["rates"], int(n), what == "epoch") for n in row["rates"]
            }
        keep()
