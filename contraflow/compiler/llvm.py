"""The one place where llvmlite is imported. Without it steps run eagerly, and a notice says so."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

try:
    from llvmlite import binding as found
except (ImportError, OSError):  # not installed, or its library does not load here
    found = None
binding: Any = found

__all__ = ["NOTICE", "available", "binding"]

NOTICE = (
    "llvmlite is not installed (or does not load), so nothing is compiled: steps run op by op, "
    "with the same numbers. To compile them: pip install llvmlite"
)


@cache
def available() -> bool:
    """Whether there is a compiler; says once if there is none."""
    if binding is None:
        warnings.warn(NOTICE, stacklevel=3)
    return binding is not None
