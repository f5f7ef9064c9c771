"""Copying parts of matrices to where they are read in order."""

from __future__ import annotations

from dataclasses import dataclass

from contraflow.compiler.emit import LLVM, Emitter, Reg
from contraflow.compiler.kernels import shuffled

__all__ = ["Grid", "lines", "narrowed", "pack", "pieces", "widened"]


@dataclass(frozen=True)
class Grid:
    """Numbers in memory by two indices: where the first lies, and the step of each index."""

    start: str
    down: int
    across: int

    def at(self, e: Emitter, kind: str, i: str = "0", j: str = "0") -> Grid:
        """The same grid, seen from row i and column j."""
        down = "0" if i == "0" else e.times(i, self.down)
        across = "0" if j == "0" else e.times(j, self.across)
        return Grid(e.gep(self.start, e.plus(down, across), kind), self.down, self.across)

    @property
    def turned(self) -> Grid:
        return Grid(self.start, self.across, self.down)


# ---- vectors -----------------------------------------------------------------------------------


def pieces(count: int, lanes: int) -> list[tuple[int, int]]:
    """So many numbers as vectors: (first, lanes); the last may have fewer lanes than the others."""
    return [(first, min(lanes, count - first)) for first in range(0, count, lanes)]


def widened(e: Emitter, reg: Reg, lanes: int) -> Reg:
    """A vector of ``e.lanes``, filled up with zeros to ``lanes``."""
    if e.lanes == lanes:
        return reg
    if e.lanes > 1:
        return shuffled(e, reg, e.const(0, reg[1]), [min(k, e.lanes) for k in range(lanes)])
    with e.wide(lanes):
        zeros, one = e.const(0, reg[1])[0], LLVM[reg[1]]
        return e.value(f"insertelement {e.type(reg[1])} {zeros}, {one} {reg[0]}, i64 0", reg[1])


def narrowed(e: Emitter, reg: Reg, lanes: int) -> Reg:
    """The first ``lanes`` of a vector of ``e.lanes``."""
    if e.lanes == lanes:
        return reg
    return e.lane(reg, 0) if lanes == 1 else shuffled(e, reg, reg, list(range(lanes)))


def turned(e: Emitter, rows: list[Reg]) -> list[Reg]:
    """The transpose of as many vectors as a vector has lanes."""
    n, size = len(rows), 1
    while size < n:  # exchange blocks of 1, 2, 4 ... lanes between partners
        done: list[Reg] = [("", "")] * n
        for r in range(n):
            if r & size:
                continue
            a, b = rows[r], rows[r + size]
            low = [k if not k & size else n + (k ^ size) for k in range(n)]
            high = [(k ^ size) if not k & size else n + k for k in range(n)]
            done[r], done[r + size] = shuffled(e, a, b, low), shuffled(e, a, b, high)
        rows, size = done, 2 * size
    return rows


# ---- panels ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """A vector of a row: its first column, where it goes, how many columns, and the room."""

    column: int
    target: int
    count: int
    room: int


@dataclass(frozen=True)
class _Packing:
    e: Emitter
    kind: str
    lanes: int
    width: int


def pack(
    e: Emitter, kind: str, lanes: int, source: Grid, target: str, depth: int, valid: int, width: int
) -> None:  # fmt: skip
    """Panels of ``width`` columns one after the other, in each of them row after row:
    ``target[panel, k, c] = source[k, panel * width + c]`` for ``valid`` columns. Vectors are
    filled up with zeros as far as the width has room."""
    p = _Packing(e, kind, lanes, width)
    parts = [
        _Part(panel + first, panel * depth + first, count, min(lanes, width - first))
        for panel in range(0, valid, width)
        for first, count in pieces(min(width, valid - panel), lanes)
    ]
    whole = depth // lanes * lanes if source.down == 1 != source.across else 0
    if whole:
        with e.loop(0, whole, lanes) as k:
            block, to = source.at(e, kind, k), e.gep(target, e.times(k, width), kind)
            for part in parts:
                _turn(p, block, to, part)
    if whole < depth:
        with e.loop(whole, depth) as k:
            row, to = source.at(e, kind, k), e.gep(target, e.times(k, width), kind)
            for part in parts:
                _store(p, _row(p, row, part), part, e.gep(to, str(part.target), kind))


def _row(p: _Packing, row: Grid, part: _Part) -> Reg:
    """Some columns of a row as a vector, filled up with zeros."""
    e = p.e
    if row.across == 1:
        with e.wide(part.count):
            reg = e.load(e.gep(row.start, str(part.column), p.kind), p.kind)
            return widened(e, reg, p.lanes)
    offsets = [str((part.column + c) * row.across) for c in range(part.count)]
    regs = [e.load(e.gep(row.start, offset, p.kind), p.kind) for offset in offsets]
    regs += [e.const(0, p.kind)] * (p.lanes - part.count)
    with e.wide(p.lanes):
        return e.packed(regs)


def _turn(p: _Packing, block: Grid, to: str, part: _Part) -> None:
    """A square block whose columns are contiguous, turned by shuffles."""
    e = p.e
    with e.wide(p.lanes):
        offsets = [str((part.column + c) * block.across) for c in range(part.count)]
        columns = [e.load(e.gep(block.start, offset, p.kind), p.kind) for offset in offsets]
        columns += [e.const(0, p.kind)] * (p.lanes - part.count)
        rows = turned(e, columns)
    for k, row in enumerate(rows):
        _store(p, row, part, e.gep(to, str(k * p.width + part.target), p.kind))


def _store(p: _Packing, reg: Reg, part: _Part, at: str) -> None:
    """As much of a vector as there is room for."""
    with p.e.wide(p.lanes):
        reg = narrowed(p.e, reg, part.room)
    with p.e.wide(part.room):
        p.e.store(reg, at)


def lines(
    e: Emitter, kind: str, lanes: int, source: Grid, target: str, rows: str, count: int, step: int
) -> None:  # fmt: skip
    """Copy contiguous rows of ``count`` numbers to rows that begin ``step`` apart."""
    whole = count // lanes * lanes
    with e.loop(0, rows) as r:
        row = e.gep(source.start, e.times(r, source.down), kind)
        to = e.gep(target, e.times(r, step), kind)
        if whole:
            with e.loop(0, whole, lanes) as k, e.wide(lanes):
                e.store(e.load(e.gep(row, k, kind), kind), e.gep(to, k, kind))
        if whole < count:
            with e.wide(count - whole):
                reg = e.load(e.gep(row, str(whole), kind), kind)
                e.store(reg, e.gep(to, str(whole), kind))
