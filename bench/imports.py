"""Import times in fresh processes, to be seen above NumPy's own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from typing import Any

from bench.timing import timing

CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(module: str, bytecode: str) -> float:
    """How long one import takes, with bytecode at hand as installed code has it."""
    env = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", CODE.format(module)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    return float(done.stdout)


def run(rounds: int) -> dict[str, Any]:
    """Interleaved: every round imports each module once."""
    modules = [
        "numpy",
        "contraflow",
        "contraflow.nn, contraflow.optim",
        *(m for m in ("torch", "jax", "tinygrad") if find_spec(m)),
    ]
    samples: dict[str, list[float]] = {m: [] for m in modules}
    with tempfile.TemporaryDirectory() as bytecode:
        for module in modules:
            seconds(module, bytecode)  # writes the bytecode, and fills the page cache
        for _ in range(max(rounds, 7)):
            for module in modules:
                samples[module].append(seconds(module, bytecode))
    return {m: timing(s) for m, s in samples.items()}
