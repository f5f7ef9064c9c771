"""Import times in fresh processes, to be seen above NumPy's own."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from bench.timing import timing

CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(module: str) -> float:
    """How long one import takes."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(module)], check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def run(rounds: int) -> dict[str, Any]:
    """Interleaved: every round imports each module once."""
    modules = ["numpy", "contraflow", *(m for m in ("torch", "jax", "tinygrad") if find_spec(m))]
    samples: dict[str, list[float]] = {m: [] for m in modules}
    for module in modules:
        seconds(module)  # the files come into the page cache
    for _ in range(max(rounds, 7)):
        for module in modules:
            samples[module].append(seconds(module))
    return {m: timing(s) for m, s in samples.items()}
