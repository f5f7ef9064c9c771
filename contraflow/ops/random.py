"""Random ops: pure functions of a seed and a position (see ``base.philox``).

``seed`` and ``offset`` are int64 scalars, the state of a ``Generator``; ``offset`` counts blocks of
four 32-bit words. A draw of n elements uses ``blocks_for(n, dtype)`` blocks.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from contraflow.base.dtypes import DType, float32, float64, int64
from contraflow.base.philox import BLOCK, philox_words
from contraflow.base.shapes import Shape
from contraflow.ops.record import Aval, Sample, op

__all__: list[str] = []


def blocks_for(count: int, dtype: DType) -> int:
    """Blocks that a draw of ``count`` elements uses: a word each, two for 8-byte dtypes."""
    words = count * (2 if dtype.itemsize == 8 else 1)
    return -(-words // BLOCK)


def _words(seed: Any, offset: Any, count: int, dtype: DType) -> Any:
    blocks = blocks_for(count, dtype)
    words = philox_words(int(seed), int(offset), blocks)
    if dtype.itemsize == 8:
        high = words[0::2].astype(np.uint64) << np.uint64(32)
        words = high | words[1::2]
    return words[:count]


def _uniform(seed: Any, offset: Any, shape: Shape, dtype: DType) -> Any:
    words = _words(seed, offset, prod(shape), dtype)
    if dtype.itemsize == 8:
        u = (words >> np.uint64(11)) * 2.0**-53
    elif dtype.itemsize == 4:
        u = (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    else:
        u = (words >> np.uint32(21)).astype(np.float16) * np.float16(2.0**-11)
    return u.reshape(shape)


def _normal(seed: Any, offset: Any, shape: Shape, dtype: DType) -> Any:
    # Box-Muller: words 2i and 2i+1 give elements 2i and 2i+1
    count = prod(shape)
    even = count + count % 2
    wide = float64 if dtype.itemsize == 8 else float32
    u = _uniform(seed, offset, (even // 2, 2), wide)
    radius = np.sqrt(-2.0 * np.log1p(-u[:, 0]))
    angle = u[:, 1] * wide.np.type(2 * np.pi)
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return pairs.reshape(-1)[:count].reshape(shape).astype(dtype.np, copy=False)


def _bits(seed: Any, offset: Any, shape: Shape, dtype: DType) -> Any:
    words = _words(seed, offset, prod(shape), dtype)
    return (words >> np.uint64(1)).astype(np.int64).reshape(shape)


def _samples(rng: np.random.Generator) -> list[Sample]:
    seed, offset = np.array(7), np.array(3)
    return [
        Sample(seed, offset, shape=(3, 5), dtype=float32),
        Sample(seed, offset, shape=(7,), dtype=float64),
        Sample(seed, offset, shape=(), dtype=float32),
        Sample(seed, offset, shape=(0, 2), dtype=float32),
    ]


def _drawn(seed: Aval, offset: Aval, shape: Shape, dtype: DType) -> Aval:
    return Aval(shape, dtype)


# uniform in [0, 1): 24 bits for float32, 53 for float64, 11 for float16
random_uniform = op(
    "random_uniform", "seed offset",
    forward=_uniform, shape=_drawn, random=True, samples=_samples,
)  # fmt: skip

random_normal = op(
    "random_normal", "seed offset",
    forward=_normal, shape=_drawn, random=True, samples=_samples,
)  # fmt: skip

# 63 random bits as a non-negative int64
random_bits = op(
    "random_bits", "seed offset",
    forward=_bits, shape=_drawn, random=True,
    samples=lambda rng: [Sample(np.array(7), np.array(3), shape=(5,), dtype=int64)],
)  # fmt: skip
