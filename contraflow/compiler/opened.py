"""Ops that are native as a composition of plain ones, beyond those whose records define them so.

Each function does in plain ops what the record's ``forward`` does in NumPy, in the same precision.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from contraflow.base.dtypes import bool_, float64, int64
from contraflow.base.shapes import Shape
from contraflow.compiler.gamma import GAMMA
from contraflow.compiler.pools import POOLS
from contraflow.compiler.sorting import FEW
from contraflow.ops.arith import div_op, eq, ge, le, lt, maximum, minimum, mul, ne, where_op
from contraflow.ops.cast import convert
from contraflow.ops.creation import full, iota
from contraflow.ops.extrema import argmax_op
from contraflow.ops.index_records import (
    gather_op,
    index_add_op,
    scatter_add_op,
    scatter_op,
    scatter_reduce_op,
    select_op,
)
from contraflow.ops.join import pad_op
from contraflow.ops.logic import logical_and, logical_or, nan_to_num_op
from contraflow.ops.pool_records import axis_of
from contraflow.ops.quantile import median_index
from contraflow.ops.reduce import count, reduce_max, reduce_min, reduce_sum
from contraflow.ops.resample import taps
from contraflow.ops.rounding import round_op
from contraflow.ops.scan import cummax_index
from contraflow.ops.sort import argsort_op, search, topk_index
from contraflow.ops.view import expand, reshape_to, slice_dims
from contraflow.tensor.tensor import make

__all__ = ["OPENED"]

LONG = 64  # elements of a row


# ---- means and products ------------------------------------------------------------------------


def mean(x: Any, dims: Any, keepdim: bool) -> Any:
    return div_op(reduce_sum(x, dims=dims, keepdim=keepdim), float(count(x.shape, dims)))


def whole_numbers(a: Any, b: Any) -> Any:
    """A product of integer matrices: no tiles, but no detour either."""
    if a.dtype.is_floating_point:
        return NotImplemented
    (m, k), n = a.shape[-2:], b.shape[-1]
    left = reshape_to(a, shape=(*a.shape[:-2], m, k, 1))
    right = reshape_to(b, shape=(*b.shape[:-2], 1, k, n))
    every = mul(left, right)
    return reduce_sum(every, dims=(every.ndim - 2,), keepdim=False)


def rounded(x: Any, decimals: int) -> Any:
    """Decimal places are whole numbers of a smaller unit."""
    if decimals == 0 or not x.dtype.is_floating_point:
        return NotImplemented if x.dtype.is_floating_point else x
    scale = 10.0 ** abs(decimals)
    if decimals > 0:
        return div_op(round_op(mul(x, scale), decimals=0), scale)
    return mul(round_op(div_op(x, scale), decimals=0), scale)


# ---- order -------------------------------------------------------------------------------------


def some(x: Any, dim: int, first: int, last: int) -> Any:
    """The elements from ``first`` up to ``last`` along a dimension."""
    bounds = [(0, n, 1) for n in x.shape]
    bounds[dim] = (first, last, 1)
    return slice_dims(x, bounds=tuple(bounds))


def without(x: Any, dim: int) -> Any:
    """A dimension of size 1 taken away."""
    return reshape_to(x, shape=tuple(n for d, n in enumerate(x.shape) if d != dim))


def place_of(largest: bool) -> Callable[..., Any]:
    """Along long rows of memory the extremum comes first, then its place: eight at a time each."""

    def rule(x: Any, dim: int, keepdim: bool) -> Any:
        n = x.shape[dim]
        if n < LONG or dim != x.ndim - 1 or x.dtype is bool_:
            return NotImplemented
        extremum = (reduce_max if largest else reduce_min)(x, dims=(dim,), keepdim=True)
        reached = logical_or(eq(x, extremum), ne(x, x))
        place = where_op(reached, iota(size=n, start=0, step=1, dtype=int64), n - 1)
        return reduce_min(place, dims=(dim,), keepdim=keepdim)

    return rule


def topk(x: Any, k: int, dim: int, largest: bool) -> Any:
    if 0 < k <= FEW:
        return NotImplemented
    return some(argsort_op(x, dim=dim, descending=largest), dim, 0, k)


def kth(x: Any, k: int, dim: int, keepdim: bool) -> Any:
    first = topk_index(x, k=k + 1, dim=dim, largest=False)
    found = some(first, dim, k, k + 1)
    return found if keepdim else without(found, dim)


def median_place(x: Any, dim: int, keepdim: bool, skip: bool) -> Any:
    """The lower middle of the numbers; NaN sorts last, the first NaN right behind them."""
    order, n = argsort_op(x, dim=dim, descending=False), x.shape[dim]
    numbers = reduce_sum(convert(eq(x, x), dtype=int64), dims=(dim,), keepdim=True)
    # (n - 1) // 2 of a number that is not negative
    middle = convert(maximum(numbers - 1, 0) * 0.5, dtype=int64)
    if not skip:
        middle = where_op(lt(numbers, n), numbers, middle)
    place = gather_op(order, maximum(minimum(middle, n - 1), 0), dim=dim)
    return place if keepdim else without(place, dim)


def median(x: Any, skip: bool) -> Any:
    flat = reshape_to(x, shape=(prod(x.shape),))
    if not flat.shape[0]:
        return NotImplemented
    place = median_index(flat, dim=0, keepdim=False, skip=skip)
    return select_op(flat, place, dim=0)


def mode(x: Any, dim: int) -> Any:
    """Sorted, equal values lie in runs: the first of the longest ends at its last place."""
    n = x.shape[dim]
    order = argsort_op(x, dim=dim, descending=False)
    runs = gather_op(x, order, dim=dim)
    beside = tuple(n if d == dim else 1 for d in range(x.ndim))
    place = reshape_to(iota(size=n, start=0, step=1, dtype=int64), shape=beside)
    place = expand(place, shape=tuple(x.shape))
    if n > 1:
        fresh = ne(some(runs, dim, 1, n), some(runs, dim, 0, n - 1))
        widths = tuple((1, 0) if d == dim else (0, 0) for d in range(x.ndim))
        start = where_op(pad_op(fresh, widths=widths, value=True), place, 0)
        last = cummax_index(start, dim=dim, largest=True)
        length = place - gather_op(start, last, dim=dim)
    else:
        length = place * 0
    return gather_op(order, argmax_op(length, dim=dim, keepdim=True), dim=dim)


def searchsorted(sequence: Any, values: Any, right: bool) -> Any:
    """Bisection in steps of powers of two; every step is one comparison for each value."""
    n, single = sequence.shape[-1], sequence.ndim == 1
    found = full(shape=tuple(values.shape), value=0, dtype=int64)
    step = 1 << max(n.bit_length() - 1, 0)
    while step and n:
        further = found + step
        at = minimum(further, n) - 1
        element = (
            select_op(sequence, at, dim=0)
            if single
            else gather_op(sequence, at, dim=values.ndim - 1)
        )
        passed = le(element, values) if right else lt(element, values)
        if sequence.dtype.is_floating_point:  # NaN is the greatest
            ill = ne(values, values)
            passed = logical_or(passed, ill if right else logical_and(ill, eq(element, element)))
        found = where_op(logical_and(le(further, n), passed), further, found)
        step //= 2
    return found


def isin(elements: Any, tests: Any) -> Any:
    m = prod(tests.shape)
    if not m:
        return full(shape=tuple(elements.shape), value=False, dtype=bool_)
    flat = reshape_to(tests, shape=(m,))
    ordered = gather_op(flat, argsort_op(flat, dim=0, descending=False), dim=0)
    place = minimum(search(ordered, elements, right=False), m - 1)
    return eq(select_op(ordered, place, dim=0), elements)


def histc(x: Any, bins: int, min: float, max: float) -> Any:
    """Each element is counted in its bin, or in one more that is cut off."""
    dtype, n = x.dtype, prod(x.shape)
    if not n:
        return full(shape=(bins,), value=0, dtype=dtype)
    wide = convert(reshape_to(x, shape=(n,)), dtype=float64)
    low, high = (full(shape=(), value=v, dtype=float64) for v in (min, max))
    if min == max:
        low = reduce_min(wide, dims=(0,), keepdim=False)
        high = reduce_max(wide, dims=(0,), keepdim=False)
    single = eq(low, high)
    low, high = where_op(single, low - 1.0, low), where_op(single, high + 1.0, high)
    inside = logical_and(ge(wide, low), le(wide, high))
    place = where_op(inside, (wide - low) * float(bins) / (high - low), 0.0)
    place = maximum(minimum(convert(place, dtype=int64), bins - 1), 0)
    place = where_op(inside, place, bins)
    counts = full(shape=(bins + 1,), value=0, dtype=int64)
    counts = index_add_op(counts, place, full(shape=(n,), value=1, dtype=int64), dim=0)
    return convert(some(counts, 0, 0, bins), dtype=dtype)


# ---- indices -----------------------------------------------------------------------------------


def ravel_index(*indices: Any, sizes: Shape) -> Any:
    """One index into the flattened dimensions; -1, which exists nowhere, where one is wrong."""
    flat: Any = 0
    right: Any = None
    for index, size in zip(indices, sizes, strict=True):
        wide = convert(index, dtype=int64)
        wide = where_op(lt(wide, 0), wide + size, wide)
        fits = logical_and(ge(wide, 0), lt(wide, size))
        right = fits if right is None else logical_and(right, fits)
        flat = flat * size + wide
    return where_op(right, flat, -1)


def lifted(record: Any) -> Callable[..., Any]:
    """A single number is worked on as a row of one."""

    def rule(x: Any, *rest: Any, **attrs: Any) -> Any:
        if x.ndim:
            return NotImplemented
        flat = [reshape_to(t, shape=(1,)) for t in (x, *rest)]
        return reshape_to(record(*flat, **attrs), shape=())

    return rule


def window_places(
    size: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Any:
    """Where each element of each window stands in the padded image: [elements, windows]."""
    wide = [n + 2 * p for n, p in zip(size, padding, strict=True)]
    parts = []
    for n, k, t, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        out = axis_of(n, k, t, p, d, False).out
        parts.append(np.arange(k)[:, None] * d + np.arange(out) * t)  # [k, out]
    (rows, columns), (_, width) = parts, wide
    place = rows[:, None, :, None] * width + columns[None, :, None, :]
    return place.reshape(prod(kernel), -1)


def im2col(x: Any, kernel: Shape, **window: Any) -> Any:
    n, c, *size = x.shape
    places = window_places(tuple(size), kernel, **window)
    padded = pad_op(x, widths=((0, 0), (0, 0), *((p, p) for p in window["padding"])), value=0)
    flat = reshape_to(padded, shape=(n, c, prod(padded.shape[2:])))
    found = select_op(flat, make(places), dim=2)
    return reshape_to(found, shape=(n, c * prod(kernel), places.shape[1]))


def col2im(x: Any, size: Shape, kernel: Shape, **window: Any) -> Any:
    n, rows, _ = x.shape
    c, places = rows // prod(kernel), window_places(size, kernel, **window)
    wide = [m + 2 * p for m, p in zip(size, window["padding"], strict=True)]
    image = full(shape=(n, c, prod(wide)), value=0, dtype=x.dtype)
    columns = reshape_to(x, shape=(n, c, *places.shape))
    image = reshape_to(index_add_op(image, make(places), columns, dim=2), shape=(n, c, *wide))
    inner = [(p, p + m, 1) for m, p in zip(size, window["padding"], strict=True)]
    return slice_dims(image, bounds=((0, n, 1), (0, c, 1), *inner))


def resample(x: Any, axes: Any, adjoint: bool) -> Any:
    """Along each axis: the few old places of each new one, weighted and added."""
    lead = x.ndim - len(axes)
    for dim, way in enumerate(axes, lead):
        index, weight = taps(way, x.dtype.np.char)
        beside = (1,) * (x.ndim - dim - 1)
        weights = make(weight.reshape(*weight.shape, *beside))
        if adjoint:
            apart = reshape_to(x, shape=(*x.shape[: dim + 1], 1, *x.shape[dim + 1 :]))
            old = (*x.shape[:dim], way[1], *x.shape[dim + 1 :])
            image = full(shape=old, value=0, dtype=x.dtype)
            x = index_add_op(image, make(index), mul(apart, weights), dim=dim)
        elif index.shape[1] == 1 and (weight == 1).all():
            x = select_op(x, make(np.ascontiguousarray(index[:, 0])), dim=dim)
        else:
            found = mul(select_op(x, make(index), dim=dim), weights)
            x = reduce_sum(found, dims=(dim + 1,), keepdim=False)
    return x


def numbers_only(x: Any, **_: Any) -> Any:
    """Integers are their own rounding."""
    return NotImplemented if x.dtype.is_floating_point else x


def nan_to_num(x: Any, nan: float, posinf: float | None, neginf: float | None) -> Any:
    """The largest numbers of the dtype, where no others are given."""
    if not x.dtype.is_floating_point:
        return x
    if posinf is not None and neginf is not None:
        return NotImplemented
    limits = np.finfo(x.dtype.np)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    return nan_to_num_op(x, nan=nan, posinf=high, neginf=low)


OPENED: dict[str, Callable[..., Any]] = {
    "mean": mean, **POOLS, "overwrite": lambda x, new: new, **{
        record.name: lifted(record)
        for record in (gather_op, scatter_op, scatter_add_op, scatter_reduce_op)
    },
    "matmul": whole_numbers, "round": rounded,
    **dict.fromkeys(("floor", "ceil", "trunc"), numbers_only), "nan_to_num": nan_to_num,
    "argmax": place_of(True), "argmin": place_of(False),
    "topk_index": topk, "kthvalue": kth, "median_index": median_place, "median": median,
    "mode_index": mode, "searchsorted": searchsorted, "isin": isin, "histc": histc,
    "ravel_index": ravel_index, "im2col": im2col, "col2im": col2im, "resample": resample, **GAMMA,
}  # fmt: skip
