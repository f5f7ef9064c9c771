"""What this machine can do at best: the rates that floors are computed with."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Machine:
    """Peak rates of one core: floating-point operations and bytes a second."""

    name: str
    flops: float
    bytes: float


def _best(work: float, run: object, repeats: int = 12) -> float:
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        run()  # type: ignore[operator]
        best = max(best, work / (time.perf_counter() - start))
    return best


def cpu_name() -> str:
    """The processor's name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def measure() -> Machine:
    """The best of a 768^3 float32 product and of a streaming add over 2 MB, single threaded."""
    a = np.ones((768, 768), np.float32)
    x = np.ones(1 << 17, np.float32)
    y = np.ones_like(x)
    flops = _best(2 * 768**3, lambda: a @ a)
    rate = _best(3 * x.nbytes * 50, lambda: [np.add(x, y, out=x) for _ in range(50)])
    return Machine(cpu_name(), flops, rate)
