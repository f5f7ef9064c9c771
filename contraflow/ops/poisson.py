"""Poisson numbers, as a pure function of the random state: inversion and transformed rejection."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from contraflow.base.dtypes import DType, float32, float64
from contraflow.base.philox import philox_words
from contraflow.base.shapes import Shape
from contraflow.ops.random import blocks_for
from contraflow.ops.record import Aval, Sample, op
from contraflow.ops.special import lgamma64

__all__: list[str] = []

Array = np.ndarray[Any, Any]
LARGE = 10.0  # from this rate on rejection takes over from inversion
ROUNDS = 64  # a round accepts at least 2 of 3: not to be done after 64 is beyond chance (3^-64)


def _uniform(seed: Any, offset: Any, count: int, stream: int) -> Array:
    words = philox_words(int(seed), int(offset), blocks_for(count, float64), stream)
    wide = (words[0::2].astype(np.uint64) << np.uint64(32)) | words[1::2]
    return (wide[:count] >> np.uint64(11)) * 2.0**-53  # type: ignore[no-any-return]


def _invert(u: Array, rate: Array) -> Array:
    """The k with P(X < k) <= u < P(X <= k), found by adding up the probabilities."""
    k = np.zeros(u.shape)
    p = np.exp(-rate)
    below = p.copy()
    for step in range(1, 100):
        more = u >= below
        if not more.any():
            break
        k += more
        p = p * rate / step
        below += p
    return k


def _reject(seed: Any, offset: Any, rate: Array, places: Array, count: int) -> Array:
    """Hoermann's PTRS: "The transformed rejection method for generating Poisson random variables"
    (Insurance: Mathematics and Economics 12, 1993). Each round draws from streams of its own."""
    b = 0.931 + 2.53 * np.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    quick = 0.9277 - 3.6224 / (b - 2)
    result = np.zeros(rate.shape)
    open_ = np.ones(rate.shape, bool)
    for turn in range(ROUNDS):
        u = _uniform(seed, offset, count, 2 * turn + 1)[places] - 0.5
        v = _uniform(seed, offset, count, 2 * turn + 2)[places]
        us = 0.5 - np.abs(u)
        k = np.floor((2 * a / us + b) * u + rate + 0.43)
        inside = (k >= 0) & ((us >= 0.013) | (v <= us))
        bound = k * np.log(rate) - rate - lgamma64(np.maximum(k, 0) + 1)
        exact = np.log(v * inverse_alpha / (a / (us * us) + b)) <= bound
        accept = open_ & (((us >= 0.07) & (v <= quick)) | (inside & exact))
        result[accept] = k[accept]
        open_ &= ~accept
        if not open_.any():
            break
    return result


def _poisson(seed: Any, offset: Any, rate: Array, shape: Shape, dtype: DType) -> Array:
    rates = np.broadcast_to(rate, shape).reshape(-1).astype(np.float64)
    count = prod(shape)
    y = _invert(_uniform(seed, offset, count, 0), np.minimum(rates, LARGE))
    places = np.flatnonzero(rates >= LARGE)
    if places.size:
        y[places] = _reject(seed, offset, rates[places], places, count)
    y[np.isnan(rates)] = np.nan
    return y.astype(dtype.np).reshape(shape)


random_poisson = op(
    "random_poisson", "seed offset rate",
    forward=_poisson, shape=lambda seed, offset, rate, shape, dtype: Aval(shape, dtype),
    random=True,
    samples=lambda rng: [
        Sample(np.array(7), np.array(3), np.array([0.0, 0.5, 4.0, 30.0, 1e4]), shape=(5,),
               dtype=float32),
        Sample(np.array(7), np.array(3), np.zeros((0, 2)), shape=(0, 2), dtype=float64),
    ],
)  # fmt: skip
