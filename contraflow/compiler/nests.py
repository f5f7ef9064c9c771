"""The LLVM text of a fused loop nest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

from contraflow.compiler.emit import Emitter
from contraflow.compiler.kernels import (
    LANES,
    Body,
    Text,
    rebuilt,
    strips,
)
from contraflow.compiler.loops import Kernel, Place, Reduction, Visits
from contraflow.compiler.sums import sum_row

__all__ = ["loops", "nest", "visits"]

CHUNK = 16  # neighbours of the last dimension that stay together, so that vectors are the same
ENOUGH = 16  # units that can be dealt out evenly


def loops(kernel: Kernel, divided: bool = False) -> Text:
    """The function of a kernel without an anchor; ``divided``: in parts, if it can be."""
    if not kernel.dims:
        kernel = one_dimensional(kernel)
    kernel, _ = collapsed(kernel)
    e = Emitter()
    body = Body(kernel, e)
    chosen = divisible(kernel) if divided and 0 not in kernel.dims else None
    cut = chosen and Cut(e, kernel, *chosen)
    if cut:
        clear_part(body, cut)
    else:
        body.clear()
    if prod(kernel.dims):
        nest(body, [], cut)
    e.line("ret void")
    return Text(e, body.buffers, cut.units if cut else 0)


def visits(v: Visits) -> Text:
    """The function of nests that look at one slice after the other; a unit of work is a slice."""
    e, units = Emitter(), v.members[0].dims[v.along[0]]
    members = [collapsed(kernel, d) for kernel, d in zip(v.members, v.along, strict=True)]
    bodies = [Body(kernel, e) for kernel, _ in members]
    buffers = list(dict.fromkeys(b for body in bodies for b in body.buffers))
    names = {b: f"%a{k}" for k, b in enumerate(buffers)}
    with e.loop("%begin", "%end") as i:
        for body, (kernel, d) in zip(bodies, members, strict=True):
            body.names = names
            cut = Slice(d, i)
            clear_part(body, cut)
            if prod(kernel.dims):
                nest(body, [], cut)
    e.line("ret void")
    return Text(e, buffers, units)


def collapsed(kernel: Kernel, apart: int = -1) -> tuple[Kernel, int]:
    """The same kernel with neighbouring dimensions walked as one where every stride allows it, but
    for the dimension ``apart``; and where that is now."""
    dims = list(kernel.dims)
    linear: list[tuple[int, ...]] = [p.strides for p in (*kernel.reads(), *kernel.writes())]
    linear += [n.value[1] for n in kernel.nodes() if n.op == "index"]
    fixed = [r.reduced for r in kernel.reductions]
    groups: list[list[int]] = []
    for d, size in enumerate(dims):
        if size == 1:  # a dimension of one place is no dimension
            continue
        if groups and apart not in (d, groups[-1][-1]):
            last = groups[-1][-1]
            alike = all((last in r) == (d in r) for r in fixed)
            if alike and all(s[last] == s[d] * size for s in linear):
                groups[-1].append(d)
                continue
        groups.append([d])
    groups = groups or [[0]]

    def strides(s: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(s[g[-1]] for g in groups)

    shape = tuple(prod(dims[d] for d in g) for g in groups)
    new = rebuilt(
        kernel, shape,
        lambda p: Place(p.buffer, p.offset, shape, strides(p.strides)),
        lambda start, s: (start, strides(s)),
        lambda reduced: tuple(i for i, g in enumerate(groups) if g[0] in reduced),
    )  # fmt: skip
    return new, groups.index([apart]) if apart >= 0 else -1


def one_dimensional(kernel: Kernel) -> Kernel:
    """A kernel over a single point, as one over a dimension of size 1."""
    return rebuilt(
        kernel, (1,), lambda p: Place(p.buffer, p.offset, (1,), (0,)),
        lambda start, strides: (start, (0,)),
    )  # fmt: skip


# ---- division ----------------------------------------------------------------------------------


def divisible(kernel: Kernel) -> tuple[int, int] | None:
    """The dimension along which a nest is divided, and into how many units: the outermost that
    nothing reduces and that has enough of them."""
    last = len(kernel.dims) - 1
    found = []
    for d, n in enumerate(kernel.dims):
        units = n // CHUNK if d == last else n
        shared = any(d in r.reduced for r in kernel.reductions)
        if units > 1 and not shared and all(place.strides[d] for place, _ in kernel.stores):
            found.append((d, units))
    enough = [cut for cut in found if cut[1] >= ENOUGH]
    return enough[0] if enough else max(found, key=lambda cut: cut[1], default=None)


class Cut:
    """The part of a dimension that belongs to units ``%begin`` up to ``%end``."""

    def __init__(self, e: Emitter, kernel: Kernel, dim: int, units: int) -> None:
        self.dim, self.units = dim, units
        self.first, self.stop = "%begin", "%end"
        if dim < len(kernel.dims) - 1:
            return
        # chunks of a row; what is left over, and shorter vectors, belong to the last of them
        size = kernel.dims[dim]
        self.at_end = e.value(f"icmp eq i64 %end, {units}", "i1")[0]
        self.first = e.value(f"mul nuw nsw i64 %begin, {CHUNK}", "i64")[0]
        stop = e.value(f"mul nuw nsw i64 %end, {CHUNK}", "i64")
        whole = (str(size // LANES * LANES), "i64")
        self.whole = e.select((self.at_end, "i1"), whole, stop)[0]
        self.stop = e.select((self.at_end, "i1"), (str(size), "i64"), stop)[0]

    def bounds(self, kernel: Kernel, d: int) -> tuple[Any, Any]:
        """From where to where dimension d is walked."""
        return (self.first, self.stop) if d == self.dim else (0, kernel.dims[d])


class Slice:
    """One place of a dimension."""

    def __init__(self, dim: int, index: str) -> None:
        self.dim, self.index = dim, index


def clear_part(body: Body, cut: Cut | Slice) -> None:
    """Fill what belongs to the part in the memory of the reductions with their identities."""
    e, kernel = body.e, body.kernel

    def walk(r: Reduction, kept: list[int], offset: str) -> None:
        if not kept:
            body.begin(r, offset)
            return
        with places(e, kernel, kept[0], cut) as i:
            step = e.value(f"mul nsw i64 {i}, {r.into.strides[kept[0]]}", "i64")[0]
            walk(r, kept[1:], e.value(f"add nsw i64 {offset}, {step}", "i64")[0])

    for r in kernel.reductions:
        walk(r, [d for d in range(len(kernel.dims)) if d not in r.reduced], str(r.into.offset))


# ---- the loops ---------------------------------------------------------------------------------


@contextmanager
def places(e: Emitter, kernel: Kernel, d: int, cut: Cut | Slice | None) -> Iterator[str]:
    """Walk a dimension, or what belongs to the part."""
    if isinstance(cut, Slice) and d == cut.dim:
        yield cut.index
        return
    bounds = cut.bounds(kernel, d) if isinstance(cut, Cut) else (0, kernel.dims[d])
    with e.loop(*bounds) as i:
        yield i


def nest(body: Body, indices: list[str], cut: Cut | Slice | None) -> None:
    """The loops over all dimensions but those whose indices are given."""
    e, kernel, d = body.e, body.kernel, len(indices)
    n = kernel.dims[d]
    if d < len(kernel.dims) - 1:
        with places(e, kernel, d, cut) as i:
            nest(body, [*indices, i], cut)
        return
    body.enter_row(indices)
    body.prepare()
    inner = [r for r in kernel.reductions if d in r.reduced]
    if inner:
        sum_row(body, n, inner)
    elif isinstance(cut, Slice) and cut.dim == d:
        with e.wide(1):
            body.point(cut.index)
    elif isinstance(cut, Cut) and cut.dim == d:
        with e.wide(LANES), e.loop(cut.first, cut.whole, LANES) as i:
            body.point(i)
        if n % LANES:
            with e.when(cut.at_end):
                _row(body, strips(n)[1:])
    else:
        _row(body, overlapping(n) if repeatable(kernel) else strips(n))


def repeatable(kernel: Kernel) -> bool:
    """Whether a point may be computed twice: nothing is added up, and nothing read is written."""
    written = {place.buffer for place, _ in kernel.stores}
    return not kernel.reductions and all(p.buffer not in written for p in kernel.reads())


def overlapping(n: int) -> list[tuple[int, int, int]]:
    """A row of n elements in whole vectors alone: the last one overlaps those before."""
    lanes = next(lanes for lanes in (LANES, LANES // 2, 1) if lanes <= n)
    rest = n % lanes
    return [(lanes, 0, n - rest)] + [(lanes, n - lanes, n)] * bool(rest)


def _row(body: Body, pieces: list[tuple[int, int, int]]) -> None:
    for lanes, begin, end in pieces:
        with body.e.wide(lanes), body.e.loop(begin, end, lanes) as i:
            body.point(i)
