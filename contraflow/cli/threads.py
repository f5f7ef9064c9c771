"""How many threads a command computes with."""

from __future__ import annotations

import ctypes
import os

from contraflow.base.threads import blas_function, set_num_threads

__all__ = ["set_blas_threads"]

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


def set_blas_threads(count: int | None) -> bool:
    """Set the threads of the OpenBLAS that came with NumPy; whether there was one to set.

    None means one, unless the environment says otherwise: the products of a small network are
    faster on one thread, and the last bits of a sum depend on how many share it. Environment
    variables alone would come too late, because NumPy reads them when it is imported. Compiled
    steps, whose bits do not depend on it, keep their own number.
    """
    put = blas_function("set")
    if count is not None:
        set_num_threads(count)
    elif put is None or any(variable in os.environ for variable in VARIABLES):
        return False
    else:
        put(ctypes.c_int(1))
    return put is not None
