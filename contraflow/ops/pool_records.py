"""Pooling in 1 to 3 spatial dimensions: maxima and means of windows, and what leads back.

Attributes of all: ``kernel``, ``stride``, ``padding`` (one number for each of the last dimensions)
and ``ceil`` (a last window that only partly fits counts too); maxima also have ``dilation``.
Padding holds no values: a window at the border is smaller.

Maxima are closed under differentiation: ``max_pool_spread`` carries numbers from the windows to
their maxima, ``max_pool_take`` brings them back, and each is the gradient of the other. Means are
linear, ``avg_pool_spread`` is the adjoint of ``avg_pool``.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from contraflow.base.dtypes import int64
from contraflow.base.errors import ShapeError, lesson
from contraflow.base.shapes import Shape
from contraflow.ops.record import Aval, Op, Sample, op
from contraflow.ops.rules import rand

__all__: list[str] = []

Array = np.ndarray[Any, Any]
MANY = 16  # from here on NumPy is faster over a whole window than with a slice for each offset


class Tap(NamedTuple):
    """One offset in the window along one dimension: the results it serves, what it reads."""

    offset: int
    out: slice
    read: slice


class Axis(NamedTuple):
    """The windows along one dimension of size ``size``."""

    size: int
    out: int
    taps: tuple[Tap, ...]
    disjoint: bool  # no element belongs to two windows


@lru_cache(maxsize=1024)
def axis_of(n: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> Axis:
    """Where the windows lie along a dimension of size n.

    With ``ceil`` the last window may hang over the end, but must begin before the right padding.
    """
    reach = dilation * (kernel - 1) + 1
    room = n + 2 * padding - reach
    out = -(-room // stride) + 1 if ceil else room // stride + 1
    if ceil and (out - 1) * stride >= n + padding:
        out -= 1
    taps = []
    for offset in range(kernel):
        shift = offset * dilation - padding  # what result 0 reads
        first = max(0, -(shift // stride))
        end = min(out, (n - 1 - shift) // stride + 1)
        if first < end:
            start = first * stride + shift
            last = start + (end - first - 1) * stride
            taps.append(Tap(offset, slice(first, end), slice(start, last + 1, stride)))
    return Axis(n, out, tuple(taps), kernel <= stride and dilation == 1)


def axes_of(
    size: Shape, kernel: Shape, stride: Shape, padding: Shape, ceil: bool,
    dilation: Shape | None = None,
) -> list[Axis]:  # fmt: skip
    """The windows along each pooled dimension; an error if there is no room for one."""
    dilation = (1,) * len(kernel) if dilation is None else dilation
    axes = [
        axis_of(*numbers, ceil)
        for numbers in zip(size, kernel, stride, padding, dilation, strict=True)
    ]
    if any(axis.out < 1 or not covered(axis) for axis in axes):
        raise ShapeError(
            lesson(
                f"pooling: windows of {list(kernel)} do not fit on {list(size)}: the result "
                f"would have the size {[axis.out for axis in axes]}, or a window without a value",
                [("size", list(size)), ("kernel_size", list(kernel)), ("stride", list(stride)),
                 ("padding", list(padding)), ("dilation", list(dilation))],
                f"kernel_size={min(*kernel, *size)}, or one pooling layer less",
            )
        )  # fmt: skip
    return axes


def covered(axis: Axis) -> bool:
    """Whether every window holds an element."""
    reached = np.zeros(axis.out, bool)
    for tap in axis.taps:
        reached[tap.out] = True
    return bool(reached.all())


def at(ndim: int, dim: int, part: slice) -> tuple[slice, ...]:
    """An index that takes a part of one dimension."""
    return (*(slice(None),) * dim, part, *(slice(None),) * (ndim - dim - 1))


def pooled(x: Aval, kernel: Shape, divisor: Any = None, **window: Any) -> Aval:
    """The shape rule of pooling."""
    lead = x.ndim - len(kernel)
    axes = axes_of(x.shape[lead:], kernel, **window)
    return Aval((*x.shape[:lead], *(axis.out for axis in axes)), x.dtype)


# ---- maxima --------------------------------------------------------------------------------------


def lowest(dtype: Any) -> Any:
    """What no number is below."""
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _along(combine: np.ufunc, start: Any, x: Array, dim: int, axis: Axis) -> Any:
    """Combine the elements of each window along one dimension."""
    n, taps = x.ndim, axis.taps
    if axis.out == 1 and len(taps) == axis.size >= MANY:
        return combine.reduce(x, axis=dim, keepdims=True, dtype=x.dtype)
    everywhere = slice(0, axis.out)
    full = [tap for tap in taps if tap.out == everywhere]
    rest = [tap for tap in taps if tap.out != everywhere]
    if len(full) > 1:
        y: Array = combine(x[at(n, dim, full[0].read)], x[at(n, dim, full[1].read)])
    elif full:
        y = x[at(n, dim, full[0].read)].copy(order="C")
    else:
        y = np.full((*x.shape[:dim], axis.out, *x.shape[dim + 1 :]), start, x.dtype)
    for tap in full[2:]:
        combine(y, x[at(n, dim, tap.read)], out=y)
    for tap in rest:
        part = y[at(n, dim, tap.out)]
        combine(part, x[at(n, dim, tap.read)], out=part)
    return y


def _max_pool(x: Array, kernel: Shape, **window: Any) -> Array:
    lead = x.ndim - len(kernel)
    for i, axis in enumerate(axes_of(x.shape[lead:], kernel, **window)):
        x = _along(np.maximum, lowest(x.dtype), x, lead + i, axis)
    return x


def _places(axes: list[Axis]) -> Any:
    """For each offset in the window, in row-major order: the results it serves and its reads."""
    for taps in product(*(axis.taps for axis in axes)):
        yield (..., *(tap.out for tap in taps)), (..., *(tap.read for tap in taps))


def _winners(x: Array, axes: list[Axis]) -> Array:
    """Where the maximum of each window lies in the flattened image: the first of equal ones, the
    last of several NaN (PyTorch's choice, whose loop lets every NaN win)."""
    size = tuple(axis.size for axis in axes)
    numbers = np.arange(prod(size)).reshape(size)
    shape = (*x.shape[: x.ndim - len(axes)], *(axis.out for axis in axes))
    best, place = np.full(shape, lowest(x.dtype), x.dtype), np.full(shape, -1)
    for out, read in _places(axes):
        values = x[read]
        wins = (values > best[out]) | (values != values) | (place[out] < 0)
        np.copyto(best[out], values, where=wins)
        np.copyto(place[out], numbers[read], where=wins)
    return place


def _max_pool_index(x: Array, kernel: Shape, **window: Any) -> Array:
    return _winners(x, axes_of(x.shape[x.ndim - len(kernel) :], kernel, **window))


def _scatter(g: Array, x: Array, axes: list[Axis]) -> Array:
    place = _winners(x, axes)
    count = prod(axis.size for axis in axes)
    images = np.arange(x.size // count).reshape(*x.shape[: x.ndim - len(axes)], *(1,) * len(axes))
    dx = np.zeros(x.size, g.dtype)
    np.add.at(dx, (images * count + place).reshape(-1), g.reshape(-1))
    return dx.reshape(x.shape)


def _max_pool_spread(g: Array, x: Array, y: Array, kernel: Shape, **window: Any) -> Array:
    axes = axes_of(x.shape[x.ndim - len(kernel) :], kernel, **window)
    if not x.size or np.isnan(np.sum(y)):
        return _scatter(g, x, axes) if x.size else np.zeros(x.shape, g.dtype)
    disjoint = all(axis.disjoint for axis in axes)
    finite = bool(np.isfinite(np.sum(g)))  # 0 times infinity is not 0
    dx = np.zeros(x.shape, g.dtype)
    waiting = np.ones(g.shape, bool)  # windows whose maximum was not met yet: the first one wins
    for out, read in _places(axes):
        still, part, given = waiting[out], dx[read], g[out]
        wins = x[read] == y[out]
        wins &= still
        still ^= wins
        if disjoint and finite:
            np.multiply(given, wins, out=part)
        else:
            part += given * wins if finite else np.where(wins, given, 0)
    return dx


def _max_pool_take(v: Array, x: Array, kernel: Shape, **window: Any) -> Any:
    n = len(kernel)
    place = _winners(x, axes_of(x.shape[x.ndim - n :], kernel, **window))
    lead = x.shape[: x.ndim - n]
    flat = v.reshape(*lead, prod(v.shape[x.ndim - n :]))
    return np.take_along_axis(
        flat, place.reshape(*lead, prod(place.shape[len(lead) :])), -1
    ).reshape(place.shape)


PLAIN: dict[str, Any] = {
    "kernel": (2, 2),
    "stride": (2, 2),
    "padding": (0, 0),
    "dilation": (1, 1),
    "ceil": False,
}
OVER: dict[str, Any] = {
    "kernel": (3, 2),
    "stride": (2, 1),
    "padding": (1, 0),
    "dilation": (1, 2),
    "ceil": True,
}
LINE: dict[str, Any] = {
    "kernel": (3,),
    "stride": (2,),
    "padding": (1,),
    "dilation": (1,),
    "ceil": True,
}


def _window_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(rand(rng, 2, 2, 4, 5), **PLAIN),
        Sample(rand(rng, 2, 5, 6), **OVER),
        Sample(rand(rng, 2, 3, 7), **LINE),
        Sample(np.zeros((0, 3, 6)), **LINE),
        Sample(rand(rng, 1, 2, 17), **{**LINE, "kernel": (17,), "padding": (0,)}),
        Sample(rand(rng, 1, 1, 4), **PLAIN, error=ShapeError),
    ]


def _paired(operands: Any) -> Any:
    def make(rng: np.random.Generator) -> list[Sample]:
        return [
            Sample(*operands(rng, s.args[0], s.attrs), **s.attrs)
            for s in _window_samples(rng)
            if s.error is None
        ]

    return make


max_pool: Op = op(
    "max_pool", "x",
    forward=_max_pool, shape=pooled, samples=_window_samples,
    grad=lambda g, x, y, kernel, stride, padding, dilation, ceil: max_pool_spread(
        g, x, y, kernel=kernel, stride=stride, padding=padding, dilation=dilation, ceil=ceil),
)  # fmt: skip

# The place of each maximum, counted through the last dimensions.
max_pool_index: Op = op(
    "max_pool_index", "x",
    forward=_max_pool_index,
    shape=lambda x, **window: Aval(pooled(x, **window).shape, int64),
    samples=_window_samples,
)  # fmt: skip

# Each window's number of g, added at the place of the window's maximum y in x.
max_pool_spread: Op = op(
    "max_pool_spread", "g x y",
    forward=_max_pool_spread, shape=lambda g, x, y, **window: Aval(x.shape, g.dtype),
    grad={
        "g": lambda g, x, kernel, stride, padding, dilation, ceil: max_pool_take(
            g, x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, ceil=ceil),
    },
    samples=_paired(lambda rng, x, window: (
        rand(rng, *_max_pool(x, **window).shape), x, _max_pool(x, **window))),
)  # fmt: skip

# The number of v at the place of each window's maximum in x.
max_pool_take: Op = op(
    "max_pool_take", "v x",
    forward=_max_pool_take, shape=lambda v, x, **window: Aval(pooled(x, **window).shape, v.dtype),
    grad={
        "v": lambda g, x, kernel, stride, padding, dilation, ceil: max_pool_spread(
            g, x, max_pool(x, kernel=kernel, stride=stride, padding=padding, dilation=dilation,
                           ceil=ceil),
            kernel=kernel, stride=stride, padding=padding, dilation=dilation, ceil=ceil),
    },
    samples=_paired(lambda rng, x, window: (rand(rng, *x.shape), x)),
)  # fmt: skip


# ---- means ---------------------------------------------------------------------------------------
# `divisor` is a number, or what counts: "padded" (elements and padding) or "inside" (elements).


def _counts(axes: list[Axis], kernel: Shape, stride: Shape, padding: Shape, divisor: Any) -> Any:
    """What the sum of each window is divided by."""
    if not isinstance(divisor, str):
        return divisor
    counts: Any = 1
    for axis, k, s, p in zip(axes, kernel, stride, padding, strict=True):
        start = np.arange(axis.out) * s - p
        low = start if divisor == "padded" else np.maximum(start, 0)
        high = np.minimum(start + k, axis.size + (p if divisor == "padded" else 0))
        counts = np.multiply.outer(counts, high - low)
    return counts


def _avg_pool(
    x: Array, kernel: Shape, stride: Shape, padding: Shape, ceil: bool, divisor: Any
) -> Any:
    lead = x.ndim - len(kernel)
    axes = axes_of(x.shape[lead:], kernel, stride, padding, ceil)
    y: Array = x.astype(np.float32) if x.dtype.char == "e" else x
    if all(axis.out == 1 and len(axis.taps) == axis.size for axis in axes):
        y = np.add.reduce(y.reshape(*x.shape[:lead], -1), axis=-1) if y.size else y
        y = y.reshape(*x.shape[:lead], *(1,) * len(axes))
    else:
        for i, axis in enumerate(axes):
            y = _along(np.add, 0, y, lead + i, axis)
    counts = np.asarray(_counts(axes, kernel, stride, padding, divisor), y.dtype)
    y /= counts
    return y.astype(x.dtype, copy=False)


def _spread_along(g: Array, dim: int, axis: Axis) -> Array:
    """Each number of g at every element of its window, added up."""
    n = g.ndim
    shape = (*g.shape[:dim], axis.size, *g.shape[dim + 1 :])
    if axis.out == 1 and len(axis.taps) == axis.size:
        return np.broadcast_to(g, shape).copy()
    x = np.zeros(shape, g.dtype)
    for tap in axis.taps:
        part, given = x[at(n, dim, tap.read)], g[at(n, dim, tap.out)]
        if axis.disjoint:
            part[...] = given
        else:
            part += given
    return x


def _avg_pool_spread(
    g: Array, size: Shape, kernel: Shape, stride: Shape, padding: Shape, ceil: bool, divisor: Any
) -> Any:
    lead = g.ndim - len(kernel)
    axes = axes_of(size, kernel, stride, padding, ceil)
    if g.shape[lead:] != tuple(axis.out for axis in axes):
        raise ValueError("the shapes do not fit")
    wide = g.astype(np.float32) if g.dtype.char == "e" else g
    x: Array = wide / np.asarray(_counts(axes, kernel, stride, padding, divisor), wide.dtype)
    for i, axis in enumerate(axes):
        x = _spread_along(x, lead + i, axis)
    return x.astype(g.dtype, copy=False)


def _spread_shape(g: Aval, size: Shape, kernel: Shape, divisor: Any = None, **window: Any) -> Aval:
    lead = g.ndim - len(kernel)
    expected = tuple(axis.out for axis in axes_of(size, kernel, **window))
    if g.shape[lead:] != expected:
        raise ShapeError(
            lesson(f"avg_pool_spread: windows on {list(size)} give {list(expected)}", [("g", g)])
        )
    return Aval((*g.shape[:lead], *size), g.dtype)


def _mean_samples(rng: np.random.Generator) -> list[Sample]:
    divisors = ("padded", "inside", "padded", "inside", 3, "padded")
    samples = []
    for s, divisor in zip(_window_samples(rng), divisors, strict=True):
        window = {name: value for name, value in s.attrs.items() if name != "dilation"}
        samples.append(Sample(*s.args, error=s.error, **window, divisor=divisor))
    return samples


def _spread_samples(rng: np.random.Generator) -> list[Sample]:
    good = [s for s in _mean_samples(rng) if s.error is None]
    samples = [
        Sample(
            rand(rng, *_avg_pool(s.args[0], **s.attrs).shape),
            size=s.args[0].shape[-len(s.attrs["kernel"]) :],
            **s.attrs,
        )
        for s in good
    ]
    wrong = Sample(rand(rng, 2, 3), size=(9,), **good[2].attrs, error=ShapeError)
    return [*samples, wrong]


avg_pool: Op = op(
    "avg_pool", "x",
    forward=_avg_pool, shape=pooled, promote="float", samples=_mean_samples,
    grad=lambda g, x_aval, kernel, stride, padding, ceil, divisor: avg_pool_spread(
        g, size=x_aval.shape[x_aval.ndim - len(kernel):], kernel=kernel, stride=stride,
        padding=padding, ceil=ceil, divisor=divisor),
)  # fmt: skip

avg_pool_spread: Op = op(
    "avg_pool_spread", "g",
    forward=_avg_pool_spread, shape=_spread_shape, promote="float", samples=_spread_samples,
    grad=lambda g, kernel, stride, padding, ceil, divisor: avg_pool(
        g, kernel=kernel, stride=stride, padding=padding, ceil=ceil, divisor=divisor),
)  # fmt: skip
