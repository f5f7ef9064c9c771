"""The first step in a fresh process, with nothing compiled before and with code on the disk."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench.peers import PEERS, installed
from bench.timing import timing
from bench.turns import Worker, say

WORKLOAD = "W4"
NAMES = ("contraflow", "PyTorch fused", "JAX jit", "torch.compile", "tinygrad")


def caches(folder: Path) -> dict[str, str]:
    """Every library that keeps code keeps it here."""
    return {
        "CONTRAFLOW_CACHE": str(folder / "contraflow"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "torch"),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XDG_CACHE_HOME": str(folder / "other"),
    }


def first(name: str, cores: list[int], folder: Path) -> dict[str, Any]:
    """Seconds to build the step and to run it once, after the import, in a process of its own."""
    worker = Worker(name, 1, cores, {**PEERS[name].environment, **caches(folder)})
    try:
        return worker.ask(cold=WORKLOAD)
    finally:
        worker.close()


def run(rounds: int, cores: list[int], asked: list[str]) -> dict[str, Any]:
    """Name -> ``cold`` and ``warm`` (and, of each, ``build`` and ``first``)."""
    there, _ = installed([n for n in NAMES if n in asked])
    samples: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for name in there:
            say(f"first step of {WORKLOAD}: {name}, round {number + 1} of {rounds}")
            with tempfile.TemporaryDirectory() as folder:
                for state in ("cold", "warm"):
                    answer = first(name, cores, Path(folder))
                    for part in ("build", "first"):
                        if part in answer:
                            kept = samples.setdefault(name, {}).setdefault(f"{state} {part}", [])
                            kept.append(answer[part])
    return {name: {part: timing(v) for part, v in parts.items()}
            for name, parts in samples.items()}  # fmt: skip
