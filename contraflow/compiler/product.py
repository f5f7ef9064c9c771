"""The LLVM text of a matrix product with a fused epilogue.

Tiles of the result, a few rows by a few vectors, are summed in registers: for each k one number
of A for each row against a row of vectors of B. Then the kernel's expressions (bias, activation,
its gradient, the optimiser) run over the sums, before anything else is written.

``tiling.Plan`` says in which order, and what is packed so that it is read in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

from contraflow.compiler.emit import Emitter, Reg, kind_of
from contraflow.compiler.kernels import Body, Text, identity
from contraflow.compiler.loops import Buffer, Contraction, Kernel, Place, Reduction
from contraflow.compiler.packing import Grid, lines, narrowed, pack, pieces, widened
from contraflow.compiler.tiling import plan_of

__all__ = ["panel_of", "product"]

ROUND = 24  # so many sums in a round of the innermost loop, at least: two k of a full tile
STRAIGHT = 8  # so small a depth is written out without a loop
TOGETHER = 8  # so many tiles of a turned A are packed together: they share lines of memory


def panel_of(kernel: Kernel) -> Buffer:
    """The scratch memory of a product."""
    c = kernel.anchor
    assert isinstance(c, Contraction)
    dtype = c.b.buffer.dtype
    return Buffer("arena", dtype, sum(plan_of(kernel, kind_of(dtype)).sizes), "panel")


def product(kernel: Kernel, panel: Buffer) -> Text:
    """The function of a kernel that a contraction anchors."""
    return _Product(kernel, panel).text()


class _Product:
    def __init__(self, kernel: Kernel, scratch: Buffer) -> None:
        c = kernel.anchor
        assert isinstance(c, Contraction)
        assert kernel.product is not None
        self.kernel, self.c, self.scratch = kernel, c, scratch
        self.kind = kind_of(kernel.product.dtype)
        self.plan = plan_of(kernel, self.kind)
        self.tile, self.lanes = self.plan.tile, self.plan.tile.lanes
        self.by, self.split = self.plan.divided(kernel)
        self.e = Emitter()
        self.body = Body(kernel, self.e, (scratch,))

    def text(self) -> Text:
        e, p = self.e, self.plan
        for r in self.kernel.reductions:
            self.clear(r, [])
        if p.m and p.n:
            self.panel = self.body.names[self.scratch]
            self.partial = e.gep(self.panel, str(p.sizes[0]), self.kind)
            self.copy = e.gep(self.partial, str(p.sizes[1]), self.kind)
            self.batch(list(self.kernel.dims[:-2]), [])
        e.line("ret void")
        return Text(e, self.body.buffers, self.split, (self.scratch,) if self.split else ())

    # ---- what this call does -------------------------------------------------------------------

    def units(self, by: str, count: int) -> tuple[str, str]:
        """The units of a dimension that this call does."""
        return ("%begin", "%end") if by == self.by else ("0", str(count))

    def clear(self, r: Reduction, indices: list[str]) -> None:
        """Fill a reduction's memory with its identity, as far as this call's units go."""
        e, d, last = self.e, len(indices), len(self.kernel.dims) - 1
        if d > last:
            self.body.enter_row(indices[:-1])
            kind = kind_of(r.into.buffer.dtype)
            self.body.store(
                r.into, e.const(identity(r.kind, r.into.buffer.dtype), kind), indices[-1]
            )
            return
        if d in r.reduced:
            self.clear(r, [*indices, "0"])
            return
        size = self.kernel.dims[d]
        dimension = {last: "columns", last - 1: "rows", 0: "batch"}.get(d, "")
        unit = {"columns": self.plan.unit, "rows": self.tile.rows}.get(dimension, 1)
        begin, end = self.units(dimension, -(-size // unit))
        if size:
            with e.loop(e.times(begin, unit), e.least(e.times(end, unit), str(size))) as i:
                self.clear(r, [*indices, i])

    def batch(self, dims: list[int], indices: list[str]) -> None:
        """Loop over the leading dimensions."""
        if dims:
            begin, end = ("0", str(dims[0])) if indices else self.units("batch", dims[0])
            if dims[0]:
                with self.e.loop(begin, end) as i:
                    self.batch(dims[1:], [*indices, i])
            return
        self.indices = indices
        self.a, self.b = self.matrix(self.c.a), self.matrix(self.c.b)
        self.tiles = self.units("rows", self.plan.tiles)
        self.corner = self.e.times(self.tiles[0], self.tile.rows)
        self.copy_left()
        columns = self.units("columns", self.plan.groups)
        for j, valid in self.walk(*columns, self.plan.n, self.plan.unit):
            self.columns(j, valid)

    def matrix(self, place: Place) -> Grid:
        """A matrix of the batch."""
        e, total = self.e, str(place.offset)
        for index, stride in zip(self.indices, place.strides[:-2], strict=True):
            if stride:
                total = e.plus(e.times(index, stride), total)
        return Grid(e.gep(self.body.names[place.buffer], total, self.kind), *place.strides[-2:])

    def walk(self, begin: str, end: str, size: int, unit: int) -> Iterator[tuple[str, int]]:
        """Units of a dimension as (first element, how many): a loop over full ones, then a rest."""
        e, (full, rest) = self.e, divmod(size, unit)
        all_of_it = (begin, end) == ("0", str(-(-size // unit)))
        if full:
            last = str(full) if all_of_it else e.least(end, str(full))
            some = nullcontext() if all_of_it else e.when(e.compares("ult", begin, last))
            with some, e.loop(e.times(begin, unit), e.times(last, unit), unit) as i:
                yield i, unit
        if rest:
            with nullcontext() if all_of_it else e.when(e.compares("ugt", end, str(full))):
                yield str(full * unit), rest

    # ---- the left operand ----------------------------------------------------------------------

    def copy_left(self) -> None:
        """Copy an A that lies badly to where it is read in order."""
        e, p, height = self.e, self.plan, self.tile.rows
        if p.left == "lines":
            last = e.least(e.times(self.tiles[1], height), str(p.m))
            source = self.a.at(e, self.kind, self.corner)
            to = Grid(self.copy, p.line, 1).at(e, self.kind, self.corner).start
            count = e.minus(last, self.corner)
            lines(e, self.kind, self.lanes, source, to, count, p.k, p.line)
        elif p.left:
            many = 1 if self.by == "rows" else TOGETHER
            begin, end = self.units("rows", -(-p.tiles // many))
            for i, rows in self.walk(begin, end, p.m, many * height):
                source = self.a.at(e, self.kind, i).turned
                to = e.gep(self.copy, e.times(i, p.k), self.kind)
                pack(e, self.kind, self.lanes, source, to, p.k, rows, height)

    def left(self, i: str, k: str) -> Grid:
        """A from row i and depth k on."""
        e, p = self.e, self.plan
        if p.left == "lines":
            return Grid(self.copy, p.line, 1).at(e, self.kind, i, k)
        if p.left:
            offset = e.plus(e.times(i, p.k), e.times(k, self.tile.rows))
            return Grid(e.gep(self.copy, offset, self.kind), 1, self.tile.rows)
        return self.a.at(e, self.kind, i, k)

    # ---- groups of panels of columns -----------------------------------------------------------

    def columns(self, j: str, valid: int) -> None:
        """All rows of the columns that begin at ``j``."""
        e, p = self.e, self.plan
        self.j, self.valid = j, valid
        source = self.b.at(e, self.kind, "0", j)
        if not p.deep:
            self.block(source, "0", p.k, "0")
            return
        with e.loop(0, p.sizes[1], self.lanes) as at, e.wide(self.lanes):
            e.store(e.const(0, self.kind), e.gep(self.partial, at, self.kind))
        whole = p.k // p.depth * p.depth
        with e.loop(0, whole, p.depth) as k:
            self.block(source, k, p.depth, str(p.k - p.depth))
        if whole < p.k:
            self.block(source, str(whole), p.k - whole, str(whole))

    def block(self, source: Grid, k: str, depth: int, last: str) -> None:
        """A block of k, over all rows; after the last one the sums are finished."""
        e, p, width = self.e, self.plan, self.tile.width
        self.right = source.at(e, self.kind, k)
        if p.right:
            pack(e, self.kind, self.lanes, self.right, self.panel, depth, self.valid, width)
        begin, end = self.tiles
        with e.loop(begin, end, p.band) as t:
            until = e.least(e.plus(t, p.band), end)
            self.band(t, until, k, depth)
            if not p.written:
                with nullcontext() if k == last else e.when(e.compares("eq", k, last)):
                    self.finish_band(t, until)

    def band(self, begin: str, end: str, k: str, depth: int) -> None:
        """A block of k of so many tiles of rows."""
        e, p, width = self.e, self.plan, self.tile.width
        self.top = self.corner if p.deep else e.times(begin, self.tile.rows)
        for c, valid in self.panels():
            right = self.right.at(e, self.kind, "0", c)
            if p.right:
                right = Grid(e.gep(self.panel, e.times(c, depth), self.kind), width, 1)
            for i, rows in self.walk(begin, end, p.m, self.tile.rows):
                self.add_tile(i, rows, c, valid, self.left(i, k), right, depth)

    def panels(self) -> Iterator[tuple[str, int]]:
        """The panels of the group: (first column, counted from the group's; how many)."""
        width = self.tile.width
        return self.walk("0", str(-(-self.valid // width)), self.valid, width)

    # ---- a tile --------------------------------------------------------------------------------

    def add_tile(
        self, i: str, rows: int, c: str, valid: int, left: Grid, right: Grid, depth: int
    ) -> None:
        """A block of k of one tile."""
        e, p, vectors = self.e, self.plan, pieces(valid, self.lanes)
        with e.wide(self.lanes):
            acc = [e.const(0, self.kind)] * (rows * len(vectors))
        if p.written:
            acc = self.sums(left, right, rows, valid, depth, acc)
            for r in range(rows):
                self.enter_row(e.plus(i, r))
                self.finish(c, valid, acc[r * len(vectors) : (r + 1) * len(vectors)])
            return
        at = e.gep(self.sums_of(i), c, self.kind)
        offsets = [str(r * p.unit + first) for r in range(rows) for first, _ in vectors]
        places = [e.gep(at, offset, self.kind) for offset in offsets]
        if p.deep:
            with e.wide(self.lanes):
                acc = [e.load(place, self.kind) for place in places]
        acc = self.sums(left, right, rows, valid, depth, acc)
        with e.wide(self.lanes):
            for place, reg in zip(places, acc, strict=True):
                e.store(reg, place)

    def sums(
        self, left: Grid, right: Grid, rows: int, valid: int, depth: int, acc: list[Reg]
    ) -> list[Reg]:
        """``acc`` and the sums over k of ``rows`` rows by the vectors of a panel."""
        e = self.e
        unroll = 2 if 2 * len(acc) >= ROUND else 4
        whole = depth // unroll * unroll if depth > STRAIGHT else 0
        if whole:
            with e.wide(self.lanes):
                carried = [(reg, e.type(self.kind)) for reg in acc]
            with e.loop(0, whole, unroll, carried) as (k, state):
                here = left.at(e, self.kind, "0", k), right.at(e, self.kind, k)
                acc = list(state.now)
                for u in range(unroll):
                    acc = self.step(*here, rows, valid, u, acc)
                state.next.extend(acc)
            acc = list(state.final)
        for u in range(whole, depth):
            acc = self.step(left, right, rows, valid, u, acc)
        return acc

    def step(
        self, left: Grid, right: Grid, rows: int, valid: int, u: int, acc: list[Reg]
    ) -> list[Reg]:
        """One k: a row of vectors of B, one number of A for each row."""
        e, vectors = self.e, []
        for first, count in pieces(valid, self.lanes):
            with e.wide(self.lanes if self.plan.right else count):
                place = e.gep(right.start, str(u * right.down + first), self.kind)
                vectors.append(widened(e, e.load(place, self.kind), self.lanes))
        found = []
        with e.wide(self.lanes):
            for r in range(rows):
                at = e.gep(left.start, str(r * left.down + u * left.across), self.kind)
                a = e.splat(e.scalar_load(at, self.kind))
                mine = acc[r * len(vectors) : (r + 1) * len(vectors)]
                # one rounding where the CPU has the instruction, two where it has not
                found += [e.call("fmuladd", a, *pair) for pair in zip(vectors, mine, strict=True)]
        return found

    # ---- the kernel's expressions --------------------------------------------------------------

    def sums_of(self, i: str) -> str:
        """Where the sums of a row of the group lie."""
        row = self.e.times(self.e.minus(i, self.top), self.plan.unit)
        return self.e.gep(self.partial, row, self.kind)

    def enter_row(self, i: str) -> None:
        self.body.enter_row([*self.indices, i])
        self.body.prepare()

    def finish_band(self, begin: str, end: str) -> None:
        """The kernel's expressions over the rows of a band."""
        e, height = self.e, self.tile.rows
        last = e.least(e.times(end, height), str(self.plan.m))
        with e.loop(e.times(begin, height), last) as i:
            self.enter_row(i)
            line = self.sums_of(i)
            for c, valid in self.panels():
                at = e.gep(line, c, self.kind)
                with e.wide(self.lanes):
                    places = [e.gep(at, str(f), self.kind) for f, _ in pieces(valid, self.lanes)]
                    regs = [e.load(place, self.kind) for place in places]
                self.finish(c, valid, regs)

    def finish(self, c: str, valid: int, regs: list[Reg]) -> None:
        """The kernel's expressions over a row of a panel."""
        e, start = self.e, self.e.plus(self.j, c)
        for (first, count), reg in zip(pieces(valid, self.lanes), regs, strict=True):
            with e.wide(self.lanes):
                part = narrowed(e, reg, count)
            with e.wide(count):
                self.body.point(e.plus(start, first), part)
