"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("contraflow", "numpy", "torch", "jax", "jaxlib", "tinygrad")
ROOT = Path(__file__).resolve().parent.parent


def cpu_name() -> str:
    """The processor's name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(cores: list[int]) -> None:
    """Keep this process, and with it all threads that it will start, on these cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


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


def busy() -> float | None:
    """Seconds that the machine's cores have worked for anybody but us; None where it is unknown."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    user, nice, system, _idle, _wait, irq, soft, steal = map(
        int, path.read_text().split("\n", 1)[0].split()[1:9]
    )
    all_of_it = (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
    return all_of_it - sum(os.times()[:4])


def describe(threads: tuple[int, ...], cores: list[int]) -> dict[str, Any]:
    """All that a reader needs to judge the numbers."""
    versions = {p: v for p in PACKAGES if (v := version(p)) is not None}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "machine": {"processor": cpu_name(), "cores": os.cpu_count(), "usable": len(cores),
                    "system": platform.platform()},
        "threads": list(threads),
        "versions": {"python": platform.python_version(), **versions, "BLAS of NumPy": blas()},
    }  # fmt: skip
