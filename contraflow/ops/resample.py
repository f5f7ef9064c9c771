"""Resampling: along each axis, every new place is a weighted sum of a few old ones.

One linear op for all kinds of interpolation and for adaptive means; its adjoint, and so its
gradient, is the same op with ``adjoint`` the other way. The attribute ``axes`` has an entry
``(kind, old size, new size, aligned corners, step)`` for each of the last dimensions; ``step`` is
the distance of new places in old ones, None for old size / new size.

Source: Keys, "Cubic convolution interpolation for digital image processing" (1981).
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from contraflow.base.errors import ShapeError, lesson
from contraflow.ops.record import Aval, Op, Sample, op
from contraflow.ops.rules import rand

__all__: list[str] = []

Array = np.ndarray[Any, Any]
Way = tuple[str, int, int, bool, float | None]
Axes = tuple[Way, ...]
DENSE = 256  # up to here a product with the whole matrix of weights beats picking a few of them


def _step(way: Way, real: Any) -> Any:
    _, n, m, aligned, step = way
    if aligned:
        return real((n - 1) / (m - 1)) if m > 1 else real(0)
    return real(n / m) if step is None else real(step)


def _nearest(way: Way, real: Any) -> tuple[Array, Array]:
    kind, n, m, _, _ = way
    real = np.float32  # whatever the image's dtype, as PyTorch does for images
    shift = real(0.5 if kind == "nearest-exact" else 0.0)
    index = np.floor((np.arange(m).astype(real) + shift) * _step(way, real)).astype(np.int64)
    return np.minimum(index, n - 1)[:, None], np.ones((m, 1))


def _sources(way: Way, real: Any, clip: bool) -> tuple[Array, Array]:
    """Where each new place lies among the old ones: the place before it, and how far behind."""
    _, _, m, aligned, _ = way
    step, new = _step(way, real), np.arange(m).astype(real)
    where = new * step if aligned else (new + real(0.5)) * step - real(0.5)
    where = np.maximum(where, 0) if clip else where
    before = np.floor(where)
    return before.astype(np.int64), where - before


def _linear(way: Way, real: Any) -> tuple[Array, Array]:
    n = way[1]
    before, part = _sources(way, real, clip=True)
    before = np.minimum(before, n - 1)
    index = np.stack([before, np.minimum(before + 1, n - 1)], axis=1)
    return index, np.stack([1 - part, part], axis=1)


def _bump(t: Array, a: float) -> Array:
    """Keys' cubic kernel: 1 at 0, 0 at the other integers and beyond 2."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _cubic(way: Way, real: Any) -> tuple[Array, Array]:
    before, part = _sources(way, real, clip=False)
    offsets = np.arange(-1, 3)
    index = np.clip(before[:, None] + offsets, 0, way[1] - 1)
    return index, _bump(part[:, None] - offsets, -0.75)


def _smooth(way: Way, real: Any) -> tuple[Array, Array]:
    """Antialiased: where the image shrinks, the kernel widens with the step."""
    kind, n, m, _, _ = way
    step = float(_step(way, real))
    wide = max(step, 1.0)
    reach = (2.0 if kind == "smooth-cubic" else 1.0) * wide
    centre = step * (np.arange(m) + 0.5)
    low = np.maximum(np.trunc(centre - reach + 0.5), 0).astype(np.int64)
    high = np.minimum(np.trunc(centre + reach + 0.5), n).astype(np.int64)
    index = low[:, None] + np.arange(int((high - low).max(initial=1)))
    t = (index - centre[:, None] + 0.5) / wide
    weight = _bump(t, -0.5) if kind == "smooth-cubic" else np.maximum(1 - np.abs(t), 0)
    weight = np.where(index < high[:, None], weight, 0.0)
    return np.minimum(index, n - 1), weight / weight.sum(1, keepdims=True)


def _windows(n: int, m: int) -> tuple[Array, Array]:
    """Windows that cut n places into m parts as even as possible: their places (the last one
    repeated where a window is short), and how many are real."""
    new = np.arange(m)
    start, end = new * n // max(m, 1), -(-(new + 1) * n // max(m, 1))
    index = start[:, None] + np.arange(int((end - start).max(initial=1)))
    return np.minimum(index, end[:, None] - 1), end - start


def _area(way: Way, real: Any) -> tuple[Array, Array]:
    index, count = _windows(way[1], way[2])
    inside = np.arange(index.shape[1]) < count[:, None]
    return index, inside / count[:, None]


def _each(way: Way, real: Any) -> tuple[Array, Array]:
    """All places of all windows, one after the other."""
    index, _ = _windows(way[1], way[2])
    return index.reshape(-1, 1), np.ones((index.size, 1))


KINDS = {
    "nearest": _nearest, "nearest-exact": _nearest, "linear": _linear, "cubic": _cubic,
    "smooth-linear": _smooth, "smooth-cubic": _smooth, "area": _area, "windows": _each,
}  # fmt: skip


@lru_cache(maxsize=256)
def taps(way: Way, dtype: str) -> tuple[Array, Array]:
    """The old places of each new one, and their weights, computed in the image's precision."""
    index, weight = KINDS[way[0]](way, np.float64 if dtype == "d" else np.float32)
    return index, weight.astype(dtype)


@lru_cache(maxsize=64)
def matrix(way: Way, dtype: str) -> Array:
    """The weights as a matrix, [new, old]."""
    index, weight = taps(way, dtype)
    whole = np.zeros((len(index), way[1]), dtype)
    np.add.at(whole, (np.arange(len(index))[:, None], index), weight)
    return whole


def new_size(way: Way) -> int:
    """How many places there are after resampling."""
    return len(taps(way, "d")[0])


def _product(x: Array, dim: int, way: Way, adjoint: bool) -> Any:
    weights = matrix(way, x.dtype.char)
    weights = weights.T if adjoint else weights
    if dim == x.ndim - 1:
        return np.matmul(x, weights.T)
    lead, inner = prod(x.shape[:dim]), prod(x.shape[dim + 1 :])
    y = np.matmul(weights, x.reshape(lead, x.shape[dim], inner))
    return y.reshape(*x.shape[:dim], len(weights), *x.shape[dim + 1 :])


def _picked(x: Array, dim: int, way: Way, adjoint: bool) -> Any:
    """Tap by tap: for large images, and where 0 times infinity would spread over the row."""
    index, weight = taps(way, x.dtype.char)
    shape = (-1, *(1,) * (x.ndim - dim - 1))
    parts = ((index[:, k], weight[:, k].reshape(shape)) for k in range(index.shape[1]))
    if not adjoint:
        return sum(x.take(i, axis=dim) * w for i, w in parts)
    y = np.zeros((*x.shape[:dim], way[1], *x.shape[dim + 1 :]), x.dtype)
    for i, w in parts:
        np.add.at(np.moveaxis(y, dim, 0), i, np.moveaxis(x * w, dim, 0))
    return y


def _resample(x: Array, axes: Axes, adjoint: bool) -> Array:
    lead = x.ndim - len(axes)
    wide = x.astype(np.float32) if x.dtype.char == "e" else x
    for dim, way in enumerate(axes, lead):
        if wide.shape[dim] != (new_size(way) if adjoint else way[1]):
            raise ValueError("the shapes do not fit")
        if not adjoint and way[0] in ("nearest", "nearest-exact", "windows"):
            wide = wide.take(taps(way, wide.dtype.char)[0][:, 0], axis=dim)
            continue
        if min(way[1:3]) > DENSE:
            wide = _picked(wide, dim, way, adjoint)
            continue
        y = _product(wide, dim, way, adjoint)
        finite = np.isfinite(np.add.reduce(y, axis=None))
        wide = y if finite else _picked(wide, dim, way, adjoint)
    return wide.astype(x.dtype, copy=False)


def _resample_shape(x: Aval, axes: Axes, adjoint: bool) -> Aval:
    lead = x.ndim - len(axes)
    old, new = [way[1] for way in axes], [new_size(way) for way in axes]
    if adjoint:
        old, new = new, old
    if lead < 0 or list(x.shape[lead:]) != old:
        raise ShapeError(lesson(f"resample: the last sizes must be {old}", [("x", x)]))
    return Aval((*x.shape[:lead], *new), x.dtype)


WAYS: tuple[Axes, ...] = (
    (("linear", 4, 7, False, None), ("linear", 5, 3, True, None)),
    (("cubic", 5, 7, False, None), ("cubic", 4, 9, True, None)),
    (("nearest", 3, 7, False, None), ("nearest-exact", 5, 3, False, 1.7)),
    (("area", 5, 3, False, None), ("windows", 5, 3, False, None)),
    (("smooth-linear", 7, 3, False, None), ("smooth-cubic", 6, 4, False, None)),
    (("linear", 3, 1, False, None),),
)


def _resample_samples(rng: np.random.Generator) -> list[Sample]:
    samples = []
    for axes in WAYS:
        samples += [
            Sample(rand(rng, 2, *(way[1] for way in axes)), axes=axes, adjoint=False),
            Sample(rand(rng, 2, *map(new_size, axes)), axes=axes, adjoint=True),
        ]
    large: Axes = (("linear", DENSE + 1, DENSE + 3, False, None),)
    return [
        *samples,
        Sample(rand(rng, 1, DENSE + 1), axes=large, adjoint=False),
        Sample(rand(rng, 1, DENSE + 3), axes=large, adjoint=True),
        Sample(np.zeros((0, 4, 5)), axes=WAYS[0], adjoint=False),
        Sample(np.array([[np.inf, 0.0, 1.0]]), axes=WAYS[-1], adjoint=False, smooth=False),
        Sample(rand(rng, 2, 4, 4), axes=WAYS[0], adjoint=False, error=ShapeError),
    ]


resample: Op = op(
    "resample", "x",
    forward=_resample, shape=_resample_shape, samples=_resample_samples,
    grad=lambda g, axes, adjoint: resample(g, axes=axes, adjoint=not adjoint),
)  # fmt: skip
