"""Pooling of every kind as a composition of plain ops.

Small windows that lie inside the image have a form of their own (``windows.py``). All others are
opened here: the image is padded with what changes nothing, and each dimension is pooled by itself,
over slices of it, or over windows as a view if they are large. What leads back from maxima is
scattered to their places; what leads back from means is gathered, phase by phase of the stride.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from contraflow.base.shapes import Shape
from contraflow.compiler.windows import apart, inside
from contraflow.ops.arith import add_op, div_op, ge, gt, lt, maximum, where_op
from contraflow.ops.creation import full
from contraflow.ops.index_records import gather_op, scatter_add_op
from contraflow.ops.join import cat_op, pad_op
from contraflow.ops.logic import isnan, logical_and, logical_or
from contraflow.ops.pool_records import Axis, _counts, axes_of, lowest
from contraflow.ops.pool_records import max_pool_index as max_pool_index_op
from contraflow.ops.reduce import reduce_max, reduce_sum
from contraflow.ops.view import expand, reshape_to, slice_dims, sliding_windows
from contraflow.tensor.tensor import make

__all__ = ["POOLS"]

FEW = 8  # elements of a window that are combined one by one


# ---- parts of one dimension ----------------------------------------------------------------------


def cut(x: Any, dim: int, start: int, count: int, step: int = 1) -> Any:
    """``count`` elements of a dimension, ``step`` apart."""
    bounds = [(0, n, 1) for n in x.shape]
    bounds[dim] = (start, start + (count - 1) * step + 1 if count else start, step)
    return slice_dims(x, bounds=tuple(bounds))


def padded(x: Any, dim: int, before: int, after: int, value: Any) -> Any:
    if before <= 0 and after <= 0:
        return x
    widths = [(0, 0)] * x.ndim
    widths[dim] = (max(before, 0), max(after, 0))
    return pad_op(x, widths=tuple(widths), value=value)


def reach(axis: Axis, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How far the last window hangs over the end."""
    return (axis.out - 1) * stride + dilation * (kernel - 1) + 1 - padding - axis.size


def pooled(x: Any, dim: int, axis: Axis, how: tuple[int, int, int, int], combine: str) -> Any:
    """The maximum or the sum of each window along one dimension."""
    kernel, stride, padding, dilation = how
    start: Any = 0 if combine == "sum" else lowest(x.dtype.np)
    x = padded(x, dim, padding, reach(axis, *how), start)
    if kernel > FEW:
        size = dilation * (kernel - 1) + 1
        x = cut(x, dim, 0, (axis.out - 1) * stride + size)
        views = cut(
            sliding_windows(x, dim=dim, size=size, step=stride), x.ndim, 0, kernel, dilation
        )
        reduce = reduce_sum if combine == "sum" else reduce_max
        return reduce(views, dims=(x.ndim,), keepdim=False)
    slices = [cut(x, dim, k * dilation, axis.out, stride) for k in range(kernel)]
    total = slices[0]
    for part in slices[1:]:
        total = add_op(total, part) if combine == "sum" else maximum(total, part)
    return total


def sizes(axes: list[Axis]) -> list[tuple[int, int]]:
    """Elements and windows along each dimension."""
    return [(axis.size, axis.out) for axis in axes]


def steps(kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> list[Any]:
    return list(zip(kernel, stride, padding, dilation, strict=True))


# ---- maxima --------------------------------------------------------------------------------------


def max_pool(
    x: Any, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool
) -> Any:
    lead = x.ndim - len(kernel)
    axes = axes_of(x.shape[lead:], kernel, stride, padding, ceil, dilation)
    if inside(sizes(axes), kernel, stride, padding, dilation) and x.size:
        return NotImplemented
    for i, (axis, how) in enumerate(
        zip(axes, steps(kernel, stride, padding, dilation), strict=True)
    ):
        x = pooled(x, lead + i, axis, how, "max")
    return x


def max_pool_index(
    x: Any, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool
) -> Any:
    """The first of equal maxima, the last of several NaN: dimension by dimension, the last first.

    With each maximum so far goes its place; -1 where there is only padding.
    """
    lead = x.ndim - len(kernel)
    axes = axes_of(x.shape[lead:], kernel, stride, padding, ceil, dilation)
    inner, index = 1, None
    for dim, (axis, how) in reversed(
        list(enumerate(zip(axes, steps(kernel, stride, padding, dilation), strict=True), lead))
    ):
        before, after = how[2], reach(axis, *how)
        here = np.arange(axis.size).reshape(-1, *(1,) * (x.ndim - dim - 1)) * inner
        if index is None:
            index = expand(make(here), shape=tuple(x.shape))
        else:
            index = where_op(lt(index, 0), -1, add_op(index, make(here)))
        x = padded(x, dim, before, after, lowest(x.dtype.np))
        index = padded(index, dim, before, after, -1)
        inner *= axis.size
        x, index = first_maxima(x, index, dim, axis.out, *how)
    return index


def first_maxima(
    x: Any, index: Any, dim: int, out: int, kernel: int, stride: int, padding: int, dilation: int
) -> tuple[Any, Any]:
    """The maximum of each window along one dimension, and its place."""
    best, place = cut(x, dim, 0, out, stride), cut(index, dim, 0, out, stride)
    for k in range(1, kernel):
        value, at = (cut(t, dim, k * dilation, out, stride) for t in (x, index))
        wins = logical_or(gt(value, best), lt(place, 0))
        if x.dtype.is_floating_point:
            wins = logical_or(wins, isnan(value))
        wins = logical_and(wins, ge(at, 0))
        best, place = where_op(wins, value, best), where_op(wins, at, place)
    return best, place


def rows(x: Any, n: int) -> Any:
    """The last n dimensions as one."""
    lead = tuple(x.shape[: x.ndim - n])
    return reshape_to(x, shape=(*lead, prod(x.shape[x.ndim - n :])))


def max_pool_spread(g: Any, x: Any, y: Any, kernel: Shape, **window: Any) -> Any:
    n = len(kernel)
    axes = axes_of(x.shape[x.ndim - n :], kernel, **window)
    how = (window["stride"], window["padding"], window["dilation"])
    if inside(sizes(axes), kernel, *how) and apart(kernel, how[0], how[2]) and x.size:
        return NotImplemented
    place = rows(max_pool_index_op(x, kernel=kernel, **window), n)
    image = full(shape=tuple(rows(x, n).shape), value=0, dtype=g.dtype)
    dx = scatter_add_op(image, place, rows(g, n), dim=image.ndim - 1)
    return reshape_to(dx, shape=tuple(x.shape))


def max_pool_take(v: Any, x: Any, kernel: Shape, **window: Any) -> Any:
    place = max_pool_index_op(x, kernel=kernel, **window)
    n = len(kernel)
    found = gather_op(rows(v, n), rows(place, n), dim=v.ndim - n)
    return reshape_to(found, shape=tuple(place.shape))


# ---- means ---------------------------------------------------------------------------------------


def avg_pool(x: Any, kernel: Shape, stride: Shape, padding: Shape, ceil: bool, divisor: Any) -> Any:
    lead = x.ndim - len(kernel)
    axes = axes_of(x.shape[lead:], kernel, stride, padding, ceil)
    whole = tuple(x.shape[lead:]) == tuple(kernel) and not max(padding)
    if whole and not isinstance(divisor, int):
        dims = tuple(range(lead, x.ndim))
        return div_op(reduce_sum(x, dims=dims, keepdim=True), float(prod(kernel)))
    if inside(sizes(axes), kernel, stride, padding) and x.size:
        return NotImplemented
    ones = (1,) * len(kernel)
    for i, (axis, how) in enumerate(zip(axes, steps(kernel, stride, padding, ones), strict=True)):
        x = pooled(x, lead + i, axis, how, "sum")
    return div_op(x, counts(axes, kernel, stride, padding, divisor, x))


def counts(
    axes: list[Axis], kernel: Shape, stride: Shape, padding: Shape, divisor: Any, like: Any
) -> Any:
    """What the sums are divided by: a number, or one for each window."""
    found = np.asarray(_counts(axes, kernel, stride, padding, divisor), like.dtype.np)
    return make(found) if found.size > 1 else float(found.reshape(-1)[0])


def avg_pool_spread(
    g: Any, size: Shape, kernel: Shape, stride: Shape, padding: Shape, ceil: bool, divisor: Any
) -> Any:
    lead = g.ndim - len(kernel)
    axes = axes_of(size, kernel, stride, padding, ceil)
    if tuple(size) == tuple(kernel) and not max(padding) and not isinstance(divisor, int):
        return expand(div_op(g, float(prod(size))), shape=(*g.shape[:lead], *size))
    if inside(sizes(axes), kernel, stride, padding) and apart(kernel, stride) and g.size:
        return NotImplemented
    x = div_op(g, counts(axes, kernel, stride, padding, divisor, g))
    for i, (axis, k, s, p) in enumerate(zip(axes, kernel, stride, padding, strict=True)):
        x = spread_along(x, lead + i, axis.size, k, s, p)
    return x


def spread_along(g: Any, dim: int, size: int, kernel: int, stride: int, padding: int) -> Any:
    """Each number of g added to every element of its window, along one dimension.

    Element ``m * stride + phase`` belongs to the windows ``m + first - j``, one for each offset
    of its phase.
    """
    phases = min(stride, size)
    count = -(-size // stride)
    parts = []
    for phase in range(phases):
        offset = (phase + padding) % stride
        first = (phase + padding - offset) // stride
        windows = len(range(offset, kernel, stride))
        if not windows:
            shape = (*g.shape[:dim], count, *g.shape[dim + 1 :])
            parts.append(full(shape=shape, value=0, dtype=g.dtype))
            continue
        low = first - windows + 1  # what m = 0 adds first
        wide = padded(g, dim, -low, low + count + windows - 1 - g.shape[dim], 0)
        begin = max(low, 0)
        how = (windows, 1, 0, 1)
        part = cut(wide, dim, begin, count + windows - 1)
        parts.append(pooled(part, dim, Axis(part.shape[dim], count, (), False), how, "sum"))
    if phases == 1:
        return parts[0]
    shape = tuple(parts[0].shape)
    single = [reshape_to(p, shape=(*shape[: dim + 1], 1, *shape[dim + 1 :])) for p in parts]
    joined = cat_op(*single, dim=dim + 1)
    flat = reshape_to(joined, shape=(*shape[:dim], count * phases, *shape[dim + 1 :]))
    return cut(flat, dim, 0, size)


POOLS: dict[str, Callable[..., Any]] = {
    "max_pool": max_pool, "max_pool_index": max_pool_index, "max_pool_spread": max_pool_spread,
    "max_pool_take": max_pool_take, "avg_pool": avg_pool, "avg_pool_spread": avg_pool_spread,
}  # fmt: skip
