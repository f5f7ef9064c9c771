"""Scheduling of what works on parts of arrays: pooling windows, and parts put together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from contraflow.base.shapes import Shape
from contraflow.compiler.loops import Buffer, Node, Place
from contraflow.graph.ir import Equation, operands

if TYPE_CHECKING:
    from contraflow.compiler.schedule import Scheduler

__all__ = ["apart", "at_least", "inside", "join", "pool", "spread"]

MOST_TAPS = 16  # elements of a pooling window that are written out


def join(s: Scheduler, e: Equation) -> bool:
    """Parts stored side by side in one array (``cat``), or in the middle of it (``pad``)."""
    (out,), a = e.outputs, e.attrs
    buffer = Buffer("arena", out.dtype, out.size)
    whole = Place.of(buffer, out.shape)
    number = -1
    if e.op.name == "pad":
        number = s.open(out.shape)
        border = Node("const", (), out.dtype, value=a["value"])
        s.kernels[number].stores.append((whole, border))
        start = sum(lo * t for (lo, _), t in zip(a["widths"], whole.strides, strict=True))
    else:
        start = 0
    for x in e.values:
        s.place(x)
        part = Place(buffer, start, x.shape, whole.strides)
        number = s.open(x.shape)
        s.kernels[number].stores.append((part, s.node(x, x.dtype, x.shape, number)))
        s.kernels[number].ops.append(e.op.name)
        if e.op.name == "cat":
            start += x.shape[a["dim"]] * whole.strides[a["dim"]]
    s.born[buffer] = number
    s.places[out] = whole
    return True


def inside(
    sizes: Sequence[tuple[int, int]], kernel: Shape, stride: Shape, padding: Shape,
    dilation: Shape | None = None,
) -> bool:  # fmt: skip
    """Whether the windows, ``(elements, windows)`` for each dimension, are small and lie within
    the image."""
    ways = zip(sizes, kernel, stride, dilation or (1,) * len(kernel), strict=True)
    within = all((count - 1) * t + d * (k - 1) < n for (n, count), k, t, d in ways)
    return within and not max(padding) and prod(kernel) <= MOST_TAPS


def apart(kernel: Shape, stride: Shape, dilation: Shape | None = None) -> bool:
    """Whether no element belongs to two windows."""
    return all(k <= t for k, t in zip(kernel, stride, strict=True)) and max(dilation or (1,)) == 1


def windows(e: Equation, place: Place, out: Shape) -> list[Place] | None:
    """The elements of each window, one place for each offset in it; None if windows hang over
    the border, or are too large to be written out."""
    a, n = e.attrs, len(e.attrs["kernel"])
    dilation = a.get("dilation", (1,) * n)
    lead = len(place.shape) - n
    size, strides = place.shape[lead:], place.strides[lead:]
    sizes = list(zip(size, out[lead:], strict=True))
    if not inside(sizes, a["kernel"], a["stride"], a["padding"], dilation):
        return None
    steps = [t * step for t, step in zip(strides, a["stride"], strict=True)]
    found = []
    for offset in product(*map(range, a["kernel"])):
        moves = zip(offset, dilation, strides, strict=True)
        start = place.offset + sum(i * d * t for i, d, t in moves)
        found.append(Place(place.buffer, start, out, (*place.strides[:lead], *steps)))
    return found


def pool(s: Scheduler, e: Equation) -> bool:
    """The maximum or the mean of each window, over slices of the image."""
    (x,), (out,) = operands(e), e.outputs
    taps = windows(e, s.place(x), out.shape)
    if taps is None or not out.size:
        return False
    number = at_least(s, s.ready(x), out.shape)
    nodes = [loaded(s, number, tap) for tap in taps]
    if e.op.name == "max_pool":
        total = maxima(nodes)[0]
    else:
        total = nodes[0]
        for node in nodes[1:]:
            total = Node("add", (total, node), out.dtype)
        divisor = e.attrs["divisor"]
        count = divisor if isinstance(divisor, int) else len(taps)
        total = Node("div", (total, Node("const", (), out.dtype, value=count)), out.dtype)
    s.made[out] = (number, total)
    s.kernels[number].ops.append(e.op.name)
    return True


def loaded(s: Scheduler, number: int, place: Place) -> Node:
    """An element of a window, in kernel ``number``."""
    return s.loads.setdefault((number, place), Node("load", (), place.buffer.dtype, place))


def maxima(elements: list[Node]) -> tuple[Node, Node]:
    """The maximum of a window and its number in it: the first of equal ones, the last of several
    NaN."""
    best = elements[0]
    flag, count = np.dtype(bool), np.dtype(f"i{max(best.dtype.itemsize, 4)}")  # as wide: masks
    winner = Node("const", (), count, value=0)
    for k, element in enumerate(elements[1:], 1):
        wins = Node("gt", (element, best), flag)
        if best.dtype.kind == "f":
            wins = Node("logical_or", (wins, Node("isnan", (element,), flag)), flag)
        best = Node("where", (wins, element, best), best.dtype)
        winner = Node("where", (wins, Node("const", (), count, value=k), winner), count)
    return best, winner


def spread(s: Scheduler, e: Equation) -> bool:
    """Numbers of windows back to the image: to the first maximum of each, or to all alike."""
    g, (out,) = operands(e)[0], e.outputs
    a = e.attrs
    disjoint = apart(a["kernel"], a["stride"], a.get("dilation"))
    buffer = Buffer("arena", out.dtype, out.size)
    image = Place.of(buffer, out.shape)
    into = windows(e, image, g.shape)
    if not disjoint or into is None or not g.size:
        return False
    first = 0
    if prod(g.shape) * len(into) < out.size:  # what no window covers is 0
        first = s.open(out.shape) + 1
        zero = Node("const", (), out.dtype, value=0)
        s.kernels[first - 1].stores.append((image, zero))
    earliest = max(first, s.ready(g))
    if e.op.name == "max_pool_spread":
        winner = winners(s, e)
        earliest = max(earliest, s.born[winner.buffer] + 1)
    number = at_least(s, earliest, g.shape)
    arrived = s.node(g, g.dtype, g.shape, number)
    if e.op.name == "avg_pool_spread":
        divisor = e.attrs["divisor"]
        count = divisor if isinstance(divisor, int) else len(into)
        share = Node("div", (arrived, Node("const", (), out.dtype, value=count)), out.dtype)
        stores = [(place, share) for place in into]
    else:
        stores = to_maxima(arrived, loaded(s, number, winner), into)
    s.kernels[number].stores += stores
    s.kernels[number].ops.append(e.op.name)
    s.born[buffer] = number
    s.places[out] = image
    return True


def winners(s: Scheduler, e: Equation) -> Place:
    """Which element of each window is its maximum, a byte each: stored where the maxima are
    computed, so that what leads back to them need not read the image."""
    _, x, y = operands(e)
    taps = windows(e, s.place(x), y.shape)
    assert taps is not None
    ready, (number, _) = s.ready(x), s.made.get(y, (-1, None))
    if number < ready or s.kernels[number].dims != y.shape:
        number = at_least(s, ready, y.shape)
    elements = [loaded(s, number, tap) for tap in taps]
    buffer = Buffer("arena", np.dtype(np.int8), y.size)
    place = Place.of(buffer, y.shape)
    node = Node("convert", (maxima(elements)[1],), buffer.dtype)
    s.kernels[number].stores.append((place, node))
    s.born[buffer] = number
    return place


def to_maxima(arrived: Node, winner: Node, into: list[Place]) -> list[tuple[Place, Node]]:
    """What each element of a window receives: all of it if it is the maximum."""
    flag, count = np.dtype(bool), np.dtype(f"i{max(arrived.dtype.itemsize, 4)}")
    which, zero = Node("convert", (winner,), count), Node("const", (), arrived.dtype, value=0)
    return [
        (place, Node("where", (Node("eq", (which, Node("const", (), count, value=k)), flag),
                               arrived, zero), arrived.dtype))
        for k, place in enumerate(into)
    ]  # fmt: skip


def at_least(s: Scheduler, number: int, dims: Shape) -> int:
    """A kernel over ``dims`` without an anchor, at ``number`` or later."""
    for found in s.alike[dims]:
        if found >= number and s.kernels[found].anchor is None:
            return found
    return s.open(dims)
