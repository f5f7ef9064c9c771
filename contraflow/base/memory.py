"""What becomes of memory that arrays give back, and which arrays share it."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import numpy as np

__all__ = ["collected_later", "keep_freed_memory", "overlap", "owner_of"]

LIMIT = 30 << 20  # glibc never raises its threshold above 32 MB


def keep_freed_memory() -> None:
    """Have glibc keep up to 60 MB of what large arrays free, instead of returning it at once.

    Activations and gradients of a training step are freed and asked for again in every step.
    Memory from the system comes in pages that fault when first touched; for arrays of 100 kB to
    some MB that costs more than the arithmetic on them. glibc learns from use: once an array of
    some size was freed, it serves that size from its own memory. So free one, which nobody
    touched, before the first step. Where the C library is another one, nothing happens.
    """
    np.empty(LIMIT, np.uint8)


@contextmanager
def collected_later() -> Iterator[None]:
    """Inside, nobody looks for reference cycles.

    Whoever makes many objects that stay makes Python look again and again at all that there are:
    that takes a third of the time in which a step is made ready.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def owner_of(array: Any) -> Any:
    """The object that owns the memory which an array shows."""
    while (base := getattr(array, "base", None)) is not None:
        array = base
    return array


def overlap(arrays: Iterable[Any], others: Iterable[Any] = ()) -> bool:
    """Whether two of the arrays, or one of them and one of the others, show the same memory, as
    far as their bounds tell."""
    held: dict[int, list[Any]] = {}
    for array in arrays:
        held.setdefault(id(owner_of(array)), []).append(array)
    pairs = [pair for group in held.values() for pair in combinations(group, 2)]
    pairs += [(array, other) for other in others for array in held.get(id(owner_of(other)), ())]
    return any(np.may_share_memory(a, b) for a, b in pairs)
