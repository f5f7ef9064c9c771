"""Random ops: pure functions of a seed and a position (see ``base.philox``).

``seed`` and ``offset`` are int64 scalars, the state of a ``Generator``; ``offset`` counts blocks of
four 32-bit words. A draw of n elements uses ``blocks_for(n, dtype)`` blocks.
"""

from __future__ import annotations

from math import factorial, log, pi, prod, sqrt
from typing import Any

import numpy as np

from contraflow.base.dtypes import DType, float32, float64, int64
from contraflow.base.philox import BLOCK, philox_words
from contraflow.base.shapes import Shape
from contraflow.ops.record import Aval, Sample, op

__all__: list[str] = []

CHUNK = 8192  # pairs of normal numbers made at once


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


class Arrays:
    """What ``box_muller`` needs besides arithmetic, for arrays."""

    sqrt, rint, where, either = np.sqrt, np.rint, np.where, np.logical_or

    @staticmethod
    def split(x: Any) -> tuple[Any, Any]:
        """x = m 2^n with m in [1/2, 1), both floating."""
        m, n = np.frexp(x)
        return m, n.astype(x.dtype)


def series(x: Any, terms: list[float]) -> Any:
    """The polynomial with these coefficients, the lowest power first."""
    y = x * terms[-1] + terms[-2]
    for c in terms[-3::-1]:
        y = y * x + c
    return y


def box_muller(u: Any, v: Any, math: Any, double: bool) -> tuple[Any, Any]:
    """Two normal numbers, sqrt(-2 ln(1-u)) times cos and sin of 2 pi v, from two uniform ones.

    Sums, products, quotients and roots are rounded alike everywhere: written with nothing else,
    it gives the same bits on every machine, by NumPy and by the compiled code.
    """
    m, n = math.split(1.0 - u)
    low = m < sqrt(0.5)  # from here on sqrt(1/2) <= m < sqrt(2)
    m, n = math.where(low, m + m, m), math.where(low, n - 1.0, n)
    s = (m - 1.0) / (m + 1.0)  # ln m = 2 (s + s^3/3 + s^5/5 + ...)
    odds = [2.0 / (2 * k + 1) for k in range(12 if double else 6)]
    radius = math.sqrt((n * log(2) + s * series(s * s, odds)) * -2.0)
    quarter = math.rint(v * 4.0)
    r = v * 4.0 - quarter  # within half a quarter: Taylor's series of sin and cos of r pi/2
    square, taylor = r * r, [
        (-1) ** (k // 2) * (pi / 2) ** k / factorial(k) for k in range(18 if double else 12)
    ]  # fmt: skip
    sin, cos = r * series(square, taylor[1::2]), series(square, taylor[0::2])
    turned = math.either(quarter == 1.0, quarter == 3.0)
    sin, cos = math.where(turned, cos, sin), math.where(turned, sin, cos)
    left = math.either(quarter == 1.0, quarter == 2.0)
    below = math.either(quarter == 2.0, quarter == 3.0)
    return radius * math.where(left, -cos, cos), radius * math.where(below, -sin, sin)


def _normal(seed: Any, offset: Any, shape: Shape, dtype: DType) -> Any:
    # words 2i and 2i+1 give elements 2i and 2i+1
    count = prod(shape)
    pairs = (count + 1) // 2
    wide = float64 if dtype.itemsize == 8 else float32
    u = _uniform(seed, offset, (pairs, 2), wide)
    found = np.empty((pairs, 2), wide.np)
    for begin in range(0, pairs, CHUNK):  # the many steps stay in the cache
        part = slice(begin, begin + CHUNK)
        found[part, 0], found[part, 1] = box_muller(
            u[part, 0], u[part, 1], Arrays, dtype.itemsize == 8
        )
    return found.reshape(-1)[:count].reshape(shape).astype(dtype.np, copy=False)


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
