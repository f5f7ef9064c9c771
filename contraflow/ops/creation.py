"""Ops that make values from nothing: a constant fill and a range."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import DType, float32, float64, int64
from contraflow.base.shapes import Shape
from contraflow.ops.record import Aval, Sample, op

__all__: list[str] = []


def _full(shape: Shape, value: Any, dtype: DType) -> Any:
    if value == 0:
        return np.zeros(shape, dtype.np)
    return np.full(shape, value, dtype.np)


full = op(
    "full", "",
    forward=_full,
    shape=lambda shape, value, dtype: Aval(shape, dtype),
    samples=lambda rng: [
        Sample(shape=(2, 3), value=1.5, dtype=float32),
        Sample(shape=(), value=7, dtype=int64),
        Sample(shape=(0,), value=0, dtype=float64),
    ],
)  # fmt: skip

# start + step * (0, 1, ..., size - 1)
iota = op(
    "iota", "",
    forward=lambda size, start, step, dtype: (start + step * np.arange(size)).astype(dtype.np),
    shape=lambda size, start, step, dtype: Aval((size,), dtype),
    samples=lambda rng: [
        Sample(size=5, start=0, step=1, dtype=int64),
        Sample(size=4, start=0.5, step=-0.25, dtype=float32),
        Sample(size=0, start=0, step=1, dtype=int64),
    ],
)  # fmt: skip
