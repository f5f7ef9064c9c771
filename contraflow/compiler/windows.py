"""Scheduling of what works on parts of arrays: pooling windows, and parts put together."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from contraflow.base.shapes import Shape
from contraflow.compiler.loops import Buffer, Node, Place
from contraflow.graph.ir import Equation, operands

if TYPE_CHECKING:
    from contraflow.compiler.schedule import Scheduler

__all__ = ["at_least", "join", "pool", "spread"]

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


def windows(e: Equation, place: Place, out: Shape) -> list[Place] | None:
    """The elements of each window, one place for each offset in it; None if windows hang over
    the border, or are too large to be written out."""
    a, n = e.attrs, len(e.attrs["kernel"])
    dilation = a.get("dilation", (1,) * n)
    lead = len(place.shape) - n
    size, strides = place.shape[lead:], place.strides[lead:]
    inside = all(
        (count - 1) * step + d * (k - 1) < n
        for n, k, step, d, count in zip(
            size, a["kernel"], a["stride"], dilation, out[lead:], strict=True
        )
    )
    if not inside or max(a["padding"]) or prod(a["kernel"]) > MOST_TAPS:
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
    nodes = [Node("load", (), out.dtype, tap) for tap in taps]
    op = "maximum" if e.op.name == "max_pool" else "add"
    total = nodes[0]
    for node in nodes[1:]:
        total = Node(op, (total, node), out.dtype)
    if op == "add":
        divisor = e.attrs["divisor"]
        count = divisor if isinstance(divisor, int) else len(taps)
        total = Node("div", (total, Node("const", (), out.dtype, value=count)), out.dtype)
    s.made[out] = (number, total)
    s.kernels[number].ops.append(e.op.name)
    return True


def spread(s: Scheduler, e: Equation) -> bool:
    """Numbers of windows back to the image: to the first maximum of each, or to all alike."""
    g, (out,) = operands(e)[0], e.outputs
    disjoint = all(k <= t for k, t in zip(e.attrs["kernel"], e.attrs["stride"], strict=True))
    buffer = Buffer("arena", out.dtype, out.size)
    image = Place.of(buffer, out.shape)
    into = windows(e, image, g.shape)
    if not disjoint or into is None or not g.size or max(e.attrs.get("dilation", (1,))) > 1:
        return False
    first = 0
    if prod(g.shape) * len(into) < out.size:  # what no window covers is 0
        first = s.open(out.shape) + 1
        zero = Node("const", (), out.dtype, value=0)
        s.kernels[first - 1].stores.append((image, zero))
    number = at_least(s, max(first, *map(s.ready, e.values)), g.shape)
    arrived = s.node(g, g.dtype, g.shape, number)
    if e.op.name == "avg_pool_spread":
        divisor = e.attrs["divisor"]
        count = divisor if isinstance(divisor, int) else len(into)
        share = Node("div", (arrived, Node("const", (), out.dtype, value=count)), out.dtype)
        stores = [(place, share) for place in into]
    else:
        stores = to_maxima(s, e, arrived, into, number)
    s.kernels[number].stores += stores
    s.kernels[number].ops.append(e.op.name)
    s.born[buffer] = number
    s.places[out] = image
    return True


def to_maxima(
    s: Scheduler, e: Equation, arrived: Node, into: list[Place], number: int
) -> list[tuple[Place, Node]]:
    """What each element of a window receives: all of it if it is the first maximum."""
    _, x, y = operands(e)
    taps = windows(e, s.place(x), y.shape)
    assert taps is not None
    largest = s.node(y, y.dtype, y.shape, number)
    flag = np.dtype(bool)
    zero = Node("const", (), arrived.dtype, value=0)
    met: Node | None = None
    stores = []
    for tap, place in zip(taps, into, strict=True):
        element = Node("load", (), x.dtype, tap)
        nan = Node("isnan", (element,), flag)
        wins = Node("logical_or", (Node("eq", (element, largest), flag), nan), flag)
        if met is None:
            met = wins
        else:
            free = Node("logical_not", (met,), flag)
            wins, met = (
                Node("logical_and", (wins, free), flag), Node("logical_or", (met, wins), flag)
            )  # fmt: skip
        stores.append((place, Node("where", (wins, arrived, zero), arrived.dtype)))
    return stores


def at_least(s: Scheduler, number: int, dims: Shape) -> int:
    """A kernel over ``dims`` without an anchor, at ``number`` or later."""
    for found in s.alike[dims]:
        if found >= number and s.kernels[found].anchor is None:
            return found
    return s.open(dims)
