"""Small ops and whole training steps, side by side."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import contraflow
from bench import eager_ops
from bench.peers import ON_REQUEST, PEERS, installed
from bench.timing import interleaved
from bench.workloads import LATER, WORKLOADS, floor


def _limit_torch(threads: int) -> Any:
    torch = import_module("torch")
    torch.set_num_threads(threads)
    return torch


def ops(threads: int, rounds: int) -> dict[str, Any]:
    """Forward, and forward with backward, of each small op: ours and PyTorch's eager one."""
    libraries = {"contraflow": contraflow}
    if "PyTorch" in installed(["PyTorch"])[0]:
        libraries["PyTorch"] = _limit_torch(threads)
    found: dict[str, Any] = {}
    for name, case in eager_ops.CASES.items():
        steps = {
            f"{library} {what}": step
            for library, module in libraries.items()
            for what, step in zip(("forward", "both"), eager_ops.steps(module, case), strict=True)
        }
        found[name] = interleaved(steps, rounds, 0.02)
    return found


def steps(
    threads: int, rounds: int, chosen: list[str], extra: list[str], without: list[str],
    machine: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Every workload with every peer that is installed, beside the floor of this machine."""
    asked = [n for n in PEERS if (n not in ON_REQUEST or n in extra) and n not in without]
    there, absent = installed(asked)
    absent |= dict.fromkeys(without, "left out on request")
    if any(PEERS[n][0] == "torch" for n in there):
        _limit_torch(threads)
    rows = []
    for w in WORKLOADS:
        if chosen and w.name not in chosen:
            continue
        contestants = {name: step for name in there if (step := PEERS[name][1](w)) is not None}
        least, parameters = floor(w, machine["flops"], machine["bytes"])
        rows.append({
            "name": w.name, "title": w.title, "parameters": parameters, "floor": least,
            "peers": interleaved(contestants, rounds),
        })  # fmt: skip
        print(f"... {w.name} done", file=sys.stderr)
    return {"steps": rows, "absent": absent, "later": LATER}
