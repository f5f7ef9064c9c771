"""Change of dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraflow.base.dtypes import DType, float32, float64, int64
from contraflow.ops.record import Aval, Op, Sample, op
from contraflow.ops.rules import rand

__all__: list[str] = []


def _samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(rand(rng, 3, 4), dtype=float32, smooth=False),
        Sample(rand(rng, 3), dtype=int64, smooth=False),
        Sample(np.arange(4), dtype=float32),
        Sample(rand(rng, 3), dtype=float64),
    ]


def _convert(x: Any, dtype: DType) -> Any:
    return np.asarray(x).astype(dtype.np)


convert: Op = op(
    "convert", "x",
    forward=_convert,
    shape=lambda x, dtype: Aval(x.shape, dtype),
    grad=lambda g, x_aval: convert(g, dtype=x_aval.dtype),
    samples=_samples,
)  # fmt: skip
