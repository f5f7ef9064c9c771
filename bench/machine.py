"""Where and with what a run was made, and what this machine can do at best: the floors' rates."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("contraflow", "numpy", "torch", "jax", "jaxlib", "tinygrad")
ROOT = Path(__file__).resolve().parent.parent


def _best(work: float, run: Callable[[], object], repeats: int = 12) -> float:
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        run()
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


def peaks() -> tuple[float, float]:
    """FLOP/s of a 768^3 float32 product, bytes/s of a streaming add over 1.5 MB; the best of 12."""
    a = np.ones((768, 768), np.float32)
    x = np.ones(1 << 17, np.float32)
    y = np.ones_like(x)
    flops = _best(2 * 768**3, lambda: a @ a)
    rate = _best(3 * x.nbytes * 50, lambda: [np.add(x, y, out=x) for _ in range(50)])
    return flops, rate


def pin(threads: int) -> None:
    """Keep this process, and with it every peer's threads, on as many cores as it may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def commit() -> str:
    """The commit that is measured; '+' if files differ from it."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--short", "-uno") else "")


def version(package: str) -> str | None:
    """The installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def blas() -> str:
    """The BLAS that NumPy carries."""
    found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{found.get('name')} {found.get('version')}"


def describe(threads: int, cores: int) -> dict[str, Any]:
    """All that a reader needs to judge the numbers."""
    flops, rate = peaks()
    versions = {p: v for p in PACKAGES if (v := version(p)) is not None}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "machine": {"processor": cpu_name(), "cores": cores, "system": platform.platform()},
        "threads": threads,
        "flops": flops,
        "bytes": rate,
        "versions": {"python": platform.python_version(), **versions, "BLAS of NumPy": blas()},
    }
