"""How many threads NumPy's matrix products use."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from contraflow.base.errors import ArgumentError, lesson

__all__ = ["blas_function", "get_num_threads", "set_num_threads"]

FOLDERS = ("../numpy.libs", ".dylibs")  # where NumPy's wheels keep OpenBLAS
NAMES = (
    "scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads",
    "openblas_{}_num_threads64_", "openblas_{}_num_threads",
)  # fmt: skip


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


def get_num_threads() -> int:
    """The threads of NumPy's matrix products.

    >>> import contraflow as cf
    >>> cf.get_num_threads() >= 1
    True
    """
    get = blas_function("get")
    return int(get()) if get is not None else os.cpu_count() or 1


def set_num_threads(count: int) -> None:
    """Set the threads of NumPy's matrix products, if they are OpenBLAS's.

    Other libraries read their number when they are loaded (``OMP_NUM_THREADS``).

    >>> import contraflow as cf
    >>> cf.set_num_threads(cf.get_num_threads())

    Raises:
        ArgumentError: for fewer than one thread.
    """
    if not isinstance(count, int) or count < 1:
        rule = f"the number of threads is an integer of at least 1, received {count!r}"
        raise ArgumentError(lesson(rule, fix="cf.set_num_threads(1)"))
    put = blas_function("set")
    if put is not None:
        put(ctypes.c_int(count))
