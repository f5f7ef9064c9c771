"""The LLVM text of a matrix product with a fused epilogue.

A panel of B, 16 columns wide (float32), is packed so that it is read in order; tiles of 6 rows by
16 columns are summed in registers, one broadcast of A against two vectors of B for each k. Each
tile then goes through the kernel's expressions (bias, activation, its gradient, the optimiser)
before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from contraflow.compiler.emit import LLVM, Emitter, Reg, kind_of
from contraflow.compiler.kernels import Body, Text, shuffled
from contraflow.compiler.loops import Buffer, Contraction, Kernel, Place

__all__ = ["panel_of", "product"]

ROWS = 6
FEW_ROWS = 12  # so few rows do not pay for packing a panel that is contiguous already
DEEP = 256  # so many k of a panel stay in the first cache; deeper products go in blocks
LARGE = 4_000_000  # multiplications from which packing a turned A pays


def lanes_of(kind: str) -> int:
    return 8 if kind == "f32" else 4


def depths(k: int) -> tuple[int, int, int]:
    """A depth as nearly equal blocks: (their size, how many of them, what is left)."""
    count = max(1, round(k / DEEP))
    size = -(-k // count)
    size += -size % 8 if count > 1 else 0
    return (size, *divmod(k, size)) if k else (0, 0, 0)


@dataclass(frozen=True)
class Scratch:
    """What a product needs beside its operands, in elements, one after the other."""

    panel: int  # a block of B, 16 columns wide
    sums: int  # all rows of a panel of the result, when the depth goes in blocks
    left: int  # A in blocks of 6 rows, when it is large and turned

    @staticmethod
    def of(c: Contraction, m: int, n: int, width: int) -> Scratch:
        size, count, rest = depths(c.k)
        whole = m + -m % ROWS
        deep = count + bool(rest) > 1
        turned_left = c.a.strides[-2] == 1 and c.a.strides[-1] != 1 and m * n * c.k >= LARGE
        return Scratch(
            max(size, 1) * width, whole * width if deep else 0, whole * c.k if turned_left else 0
        )


def panel_of(kernel: Kernel) -> Buffer:
    """The scratch memory of a product."""
    c = kernel.anchor
    assert isinstance(c, Contraction)
    dtype = c.b.buffer.dtype
    m, n = kernel.dims[-2:]
    need = Scratch.of(c, m, n, 2 * lanes_of(kind_of(dtype)))
    return Buffer("arena", dtype, need.panel + need.sums + need.left, "panel")


def product(kernel: Kernel, panel: Buffer) -> Text:
    """The function of a kernel that a contraction anchors."""
    return _Product(kernel, panel).text()


class _Product:
    def __init__(self, kernel: Kernel, panel: Buffer) -> None:
        c = kernel.anchor
        assert isinstance(c, Contraction)
        assert kernel.product is not None
        self.kernel, self.c = kernel, c
        self.kind = kind_of(kernel.product.dtype)
        self.lanes = lanes_of(self.kind)
        self.width = 2 * self.lanes
        self.m, self.n = kernel.dims[-2:]
        self.e = Emitter()
        self.body = Body(kernel, self.e, (panel,))
        self.panel = self.body.names[panel]
        self.a, self.b = self.body.names[c.a.buffer], self.body.names[c.b.buffer]
        self.a_m, self.a_k = c.a.strides[-2:]
        self.b_k, self.b_n = c.b.strides[-2:]
        self.need = Scratch.of(c, self.m, self.n, self.width)

    def text(self) -> Text:
        e = self.e
        e.line(f"%tile = alloca [{ROWS * self.width} x {LLVM[self.kind]}], align 32")
        self.body.clear()
        if self.m and self.n:
            self.batch(list(self.kernel.dims[:-2]), [])
        e.line("ret void")
        return Text(e, self.body.buffers)

    def batch(self, dims: list[int], indices: list[str]) -> None:
        """Loop over the leading dimensions."""
        if dims:
            with self.e.loop(0, dims[0]) as i:
                self.batch(dims[1:], [*indices, i])
            return
        self.indices = indices
        self.a_base = self.start(self.c.a)
        self.b_base = self.start(self.c.b)
        self.partial = self.e.gep(self.panel, str(self.need.panel), self.kind)
        if self.need.left:
            self.pack_left()
        full, rest = divmod(self.n, self.width)
        if full:
            with self.e.loop(0, full * self.width, self.width) as j:
                self.columns(j, self.width)
        if rest:
            self.columns(str(full * self.width), rest)

    def start(self, place: Place) -> str:
        """The address of the first element of a matrix of the batch."""
        e, total = self.e, str(place.offset)
        for index, stride in zip(self.indices, place.strides[:-2], strict=True):
            if stride:
                term = e.value(f"mul nsw i64 {index}, {stride}", "i64")[0]
                total = e.value(f"add nsw i64 {total}, {term}", "i64")[0]
        return e.gep(self.body.names[place.buffer], total, self.kind)

    # ---- a panel of columns --------------------------------------------------------------------

    def columns(self, j: str, valid: int) -> None:
        """All rows of the columns that begin at ``j``."""
        offset = self.e.value(f"mul nsw i64 {j}, {self.b_n}", "i64")[0]
        source = self.e.gep(self.b_base, offset, self.kind)
        if self.need.sums:
            self.columns_in_blocks(source, j, valid)
            return
        if self.b_n == 1 and valid == self.width and self.m <= FEW_ROWS:
            self.panel_at, self.panel_step = source, self.b_k
        else:
            self.pack(source, valid, self.c.k)
            self.panel_at, self.panel_step = self.panel, self.width
        for i, rows in self.row_blocks():
            self.tile(i, j, rows, valid)

    def row_blocks(self) -> Iterator[tuple[str, int]]:
        """The first row and the number of rows of each block: a loop over sixes, then the rest."""
        blocks, rest = divmod(self.m, ROWS)
        if blocks:
            with self.e.loop(0, blocks * ROWS, ROWS) as i:
                yield i, ROWS
        if rest:
            yield str(blocks * ROWS), rest

    def columns_in_blocks(self, source: str, j: str, valid: int) -> None:
        """A deep product: block after block of k is added to sums that lie in the first cache."""
        e, (size, count, rest) = self.e, depths(self.c.k)
        rows = self.need.sums // self.width
        with e.loop(0, rows * self.width, self.lanes) as i, e.wide(self.lanes):
            e.store(e.const(0, self.kind), e.gep(self.partial, i, self.kind))
        self.panel_at, self.panel_step = self.panel, self.width
        with e.loop(0, count * size, size) as k:
            self.add_block(source, k, size, valid)
        if rest:
            self.add_block(source, str(count * size), rest, valid)
        with e.loop(0, self.m) as i:
            self.finish_row(i, e.gep(self.partial, self.times(i, self.width), self.kind), j, valid)

    def add_block(self, source: str, k: str, size: int, valid: int) -> None:
        e = self.e
        self.pack(e.gep(source, self.times(k, self.b_k), self.kind), valid, size)
        for i, rows in self.row_blocks():
            first, a_m, a_k = self.left(i, k)
            at = e.gep(self.partial, self.times(i, self.width), self.kind)
            with e.wide(self.lanes):
                places = [
                    e.gep(at, str(r * self.width + h * self.lanes), self.kind)
                    for r in range(rows)
                    for h in range(2)
                ]
                starts = [e.load(place, self.kind) for place in places]
            sums = self.sums(first, a_m, a_k, rows, size, starts)
            with e.wide(self.lanes):
                for place, reg in zip(places, sums, strict=True):
                    e.store(reg, place)

    def times(self, index: str, factor: int) -> str:
        return index if factor == 1 else self.e.value(f"mul nsw i64 {index}, {factor}", "i64")[0]

    # ---- the left operand ----------------------------------------------------------------------

    def pack_left(self) -> None:
        """Copy a turned A, six rows side by side for each k: it is read in order from then on."""
        e = self.e
        self.packed = e.gep(self.partial, str(self.need.sums), self.kind)
        for i, rows in self.row_blocks():
            block = e.gep(self.packed, self.times(i, self.c.k), self.kind)
            source = e.gep(self.a_base, i, self.kind)
            with e.loop(0, self.c.k) as k:
                row = e.gep(source, self.times(k, self.a_k), self.kind)
                target = e.gep(block, self.times(k, ROWS), self.kind)
                for r in range(rows):
                    reg = e.load(e.gep(row, str(r), self.kind), self.kind)
                    e.store(reg, e.gep(target, str(r), self.kind))

    def left(self, i: str, k: str) -> tuple[str, int, int]:
        """Where row i and depth k of A begin, and the steps to the next row and the next k."""
        e = self.e
        if self.need.left:
            block = e.gep(self.packed, self.times(i, self.c.k), self.kind)
            return e.gep(block, self.times(k, ROWS), self.kind), 1, ROWS
        row = e.gep(self.a_base, self.times(i, self.a_m), self.kind)
        return e.gep(row, self.times(k, self.a_k), self.kind), self.a_m, self.a_k

    # ---- packing a panel -----------------------------------------------------------------------

    def pack(self, source: str, valid: int, depth: int) -> None:
        """Copy a panel of B, k by k, filled up with zeros."""
        if not depth:
            return
        whole = depth // self.lanes * self.lanes
        if valid < self.width:
            self.pack_slowly(source, valid, 0, depth)
        elif self.b_n == 1:
            self.pack_rows(source, depth)
        elif self.b_k == 1 and self.lanes == 8 and whole:
            self.pack_transposed(source, whole)
            if whole < depth:
                self.pack_slowly(source, valid, whole, depth)
        else:
            self.pack_slowly(source, valid, 0, depth)

    def pack_rows(self, source: str, depth: int) -> None:
        e = self.e
        with e.loop(0, depth) as k:
            at = e.value(f"mul nsw i64 {k}, {self.b_k}", "i64")[0]
            to = e.value(f"mul nsw i64 {k}, {self.width}", "i64")[0]
            row, target = e.gep(source, at, self.kind), e.gep(self.panel, to, self.kind)
            with e.wide(self.lanes):
                for half in (0, self.lanes):
                    reg = e.load(e.gep(row, str(half), self.kind), self.kind)
                    e.store(reg, e.gep(target, str(half), self.kind))

    def pack_slowly(self, source: str, valid: int, begin: int, depth: int) -> None:
        """Element by element: ragged panels and odd strides."""
        e = self.e
        with e.loop(begin, depth) as k:
            at = e.value(f"mul nsw i64 {k}, {self.b_k}", "i64")[0]
            to = e.value(f"mul nsw i64 {k}, {self.width}", "i64")[0]
            row, target = e.gep(source, at, self.kind), e.gep(self.panel, to, self.kind)
            for c in range(self.width):
                reg = e.const(0, self.kind)
                if c < valid:
                    reg = e.load(e.gep(row, str(c * self.b_n), self.kind), self.kind)
                e.store(reg, e.gep(target, str(c), self.kind))

    def pack_transposed(self, source: str, whole: int) -> None:
        """8 x 8 blocks, turned by shuffles."""
        e = self.e
        with e.loop(0, whole, 8) as k:
            to = e.value(f"mul nsw i64 {k}, {self.width}", "i64")[0]
            target = e.gep(self.panel, to, self.kind)
            block = e.gep(source, k, self.kind)
            with e.wide(8):
                for half in (0, 8):
                    rows = [
                        e.load(e.gep(block, str((half + r) * self.b_n), self.kind), self.kind)
                        for r in range(8)
                    ]
                    for c, column in enumerate(turned(e, rows)):
                        e.store(column, e.gep(target, str(c * self.width + half), self.kind))

    # ---- a tile --------------------------------------------------------------------------------

    def tile(self, i: str, j: str, rows: int, valid: int) -> None:
        """Sum a tile in registers, then run the kernel's expressions over it."""
        e = self.e
        first, a_m, a_k = self.left(i, "0")
        with e.wide(self.lanes):
            zeros = [e.const(0, self.kind)] * (2 * rows)
        sums = self.sums(first, a_m, a_k, rows, self.c.k, zeros)
        with e.wide(self.lanes):
            for k, reg in enumerate(sums):
                e.store(reg, e.gep("%tile", str(k * self.lanes), self.kind))
        with e.loop(0, rows) as r:
            i_r = e.value(f"add nsw i64 {i}, {r}", "i64")[0]
            self.finish_row(i_r, e.gep("%tile", self.times(r, self.width), self.kind), j, valid)

    def finish_row(self, i: str, line: str, j: str, valid: int) -> None:
        """The kernel's expressions over a row of a panel, whose sums lie at ``line``."""
        self.body.enter_row([*self.indices, i])
        self.body.prepare()
        self.epilogue(line, j, valid)

    def epilogue(self, line: str, j: str, valid: int) -> None:
        e = self.e
        whole = valid // self.lanes * self.lanes
        for c in range(0, whole, self.lanes):
            column = e.value(f"add nsw i64 {j}, {c}", "i64")[0] if c else j
            with e.wide(self.lanes):
                reg = e.load(e.gep(line, str(c), self.kind), self.kind)
                self.body.point(column, reg)
        if whole < valid:
            with e.loop(whole, valid) as c:
                column = e.value(f"add nsw i64 {j}, {c}", "i64")[0]
                reg = e.load(e.gep(line, c, self.kind), self.kind)
                self.body.point(column, reg)

    def sums(
        self, first: str, a_m: int, a_k: int, rows: int, depth: int, starts: list[Reg]
    ) -> list[Reg]:
        """``starts`` and the sums over k of ``rows`` rows by two vectors of columns."""
        e = self.e
        if not depth:
            return starts
        with e.wide(self.lanes):
            vector = e.type(self.kind)
        unroll = next(u for u in (4, 2, 1) if depth % u == 0)
        carried = [(reg, vector) for reg in starts]
        with e.loop(0, depth, unroll, carried) as (k, state):
            acc = list(state.now)
            b_at = e.gep(self.panel_at, self.times(k, self.panel_step), self.kind)
            a_at = e.gep(first, self.times(k, a_k), self.kind)
            with e.wide(self.lanes):
                for u in range(unroll):
                    lines = [e.gep(a_at, str(r * a_m + u * a_k), self.kind) for r in range(rows)]
                    acc = self.step(acc, lines, b_at, u)
            state.next.extend(acc)
        return list(state.final)

    def step(self, acc: list[Reg], lines: list[str], b_at: str, u: int) -> list[Reg]:
        """One k: two vectors of B, one number of A for each row."""
        e = self.e
        halves = [
            e.load(e.gep(b_at, str(u * self.panel_step + h * self.lanes), self.kind), self.kind)
            for h in range(2)
        ]
        found = []
        for r, line in enumerate(lines):
            a = e.splat(e.scalar_load(line, self.kind))
            found += [e.fma(a, halves[h], acc[2 * r + h]) for h in range(2)]
        return found


def turned(e: Emitter, rows: list[Reg]) -> list[Reg]:
    """The transpose of 8 vectors of 8."""
    for size in (1, 2, 4):  # exchange blocks of 1, 2 and 4 lanes between partners
        done: list[Reg] = [("", "")] * 8
        for r in range(8):
            if r & size:
                continue
            a, b = rows[r], rows[r + size]
            low = [k if not k & size else 8 + (k ^ size) for k in range(8)]
            high = [(k ^ size) if not k & size else 8 + k for k in range(8)]
            done[r], done[r + size] = shuffled(e, a, b, low), shuffled(e, a, b, high)
        rows = done
    return rows
