"""How many threads NumPy's matrix products use."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np

__all__ = ["set_blas_threads"]

FOLDERS = ("../numpy.libs", ".dylibs")  # where NumPy's wheels keep OpenBLAS
SETTERS = (
    "scipy_openblas_set_num_threads64_", "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_", "openblas_set_num_threads",
)  # fmt: skip
VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


def set_blas_threads(count: int | None) -> bool:
    """Set the threads of the OpenBLAS that came with NumPy; whether there was one to set.

    None means one, unless the environment says otherwise: the products of a small network are
    faster on one thread, and the last bits of a sum depend on how many share it. Environment
    variables alone would come too late, because NumPy reads them when it is imported.
    """
    if count is None:
        if any(variable in os.environ for variable in VARIABLES):
            return False
        count = 1
    root = Path(np.__file__).parent
    libraries = (path for folder in FOLDERS for path in (root / folder).glob("*openblas*"))
    for path in libraries:
        library = ctypes.CDLL(str(path))
        setter = next((getattr(library, n) for n in SETTERS if hasattr(library, n)), None)
        if setter is not None:
            setter(ctypes.c_int(count))
            return True
    return False
