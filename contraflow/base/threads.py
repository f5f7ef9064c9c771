"""How many threads NumPy's matrix products and compiled steps use."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, lesson

__all__ = ["available", "blas_function", "chosen", "get_num_threads", "set_num_threads"]

FOLDERS = ("../numpy.libs", ".dylibs")  # where NumPy's wheels keep OpenBLAS
NAMES = (
    "scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads",
    "openblas_{}_num_threads64_", "openblas_{}_num_threads",
)  # fmt: skip
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
GROUPS = Path("/sys/fs/cgroup")

_chosen: int | None = None


def blas_function(verb: str) -> Callable[..., Any] | None:
    """``set`` or ``get`` the threads, of the OpenBLAS that came with NumPy; None without one."""
    root = Path(np.__file__).parent
    libraries = (path for folder in FOLDERS for path in (root / folder).glob("*openblas*"))
    for path in libraries:
        library = ctypes.CDLL(str(path))
        for name in NAMES:
            if hasattr(library, name.format(verb)):
                return getattr(library, name.format(verb))  # type: ignore[no-any-return]
    return None


# ---- what this process may use -----------------------------------------------------------------


def quotas(root: Path = GROUPS) -> Iterator[float]:
    """The numbers of cores that control groups leave to this process, of both versions."""
    for line in lines(Path("/proc/self/cgroup")):
        _, names, path = line.split(":", 2)
        if names and "cpu" not in names.split(","):
            continue
        folder = root / names if names else root
        for place in (folder, *parents(folder, path)):
            whole = "".join(lines(place / "cpu.max")) or " ".join(
                "".join(lines(place / f"cpu.cfs_{what}_us")) for what in ("quota", "period")
            )
            limit, _, period = whole.partition(" ")
            if limit.isdigit() and period.isdigit():
                yield int(limit) / int(period)


@cache
def quota() -> float:
    """The smallest of them."""
    return min(quotas(), default=float("inf"))


def parents(folder: Path, path: str) -> Iterator[Path]:
    """``folder/a``, ``folder/a/b`` ... for a path ``/a/b``."""
    for part in Path(path).parts[1:]:
        folder = folder / part
        yield folder


def lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def available() -> int:
    """The cores that this process may use: its affinity mask, and its control group's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, int(min(cores, quota())))


def chosen() -> int | None:
    """What ``set_num_threads`` said last."""
    return _chosen


def get_num_threads() -> int:
    """The threads of NumPy's matrix products and of compiled steps.

    Without ``set_num_threads``: the cores that this process may use (its affinity mask and its
    control group's quota), or fewer if ``OMP_NUM_THREADS`` or ``OPENBLAS_NUM_THREADS`` say so.

    >>> import contraflow as cf
    >>> cf.get_num_threads() >= 1
    True
    """
    if _chosen is not None:
        return _chosen
    said = [os.environ.get(name, "") for name in VARIABLES]
    return min([available(), *(int(text) for text in said if text.isdigit() and int(text))])


def set_num_threads(count: int) -> None:
    """Set the threads of compiled steps, and of NumPy's matrix products if they are OpenBLAS's.

    Other libraries read their number when they are loaded (``OMP_NUM_THREADS``). A compiled step
    gives the same bits for any number, and uses fewer where more would not be faster.

    >>> import contraflow as cf
    >>> cf.set_num_threads(cf.get_num_threads())

    Raises:
        ArgumentError: for fewer than one thread.
    """
    global _chosen
    if not isinstance(count, int) or count < 1:
        rule = f"the number of threads is an integer of at least 1, received {count!r}"
        raise ArgumentError(lesson(rule, fix="cf.set_num_threads(1)"))
    _chosen = count
    put = blas_function("set")
    if put is not None:
        put(ctypes.c_int(count))
